//! What RE2J 1.8 itself answers, recorded, and what it has no limits for.

use super::{Pattern, build, parser};

/// Lines of `testdata/regex.txt`, after a first one of topics: `pattern<TAB>error`, or `pattern<TAB>=` and for each topic whether it matches.
#[test]
fn accepts_refuses_and_matches_as_re2j_does() {
    let mut lines = include_str!("../../testdata/regex.txt").lines();
    let topics: Vec<&str> = lines.next().unwrap().split(' ').collect();
    let mut count = 0;
    for line in lines {
        let (pattern, expected) = line.rsplit_once('\t').unwrap();
        let answer = match build(pattern) {
            Err(error) => error.to_string(),
            Ok(regex) => {
                let pattern = Pattern(regex);
                format!("={}", topics.iter().map(|topic| if pattern.matches(topic) { '1' } else { '0' }).collect::<String>())
            }
        };
        assert_eq!(answer, expected, "{pattern}");
        count += 1;
    }
    assert!(count > 100);
}

#[test]
fn the_error_is_the_text_that_kafka_answers() {
    assert_eq!(Pattern::compile("[").unwrap_err(), "SubscribedTopicRegex `[` is not a valid regular expression: missing closing ].");
    assert_eq!(
        Pattern::compile("a)").unwrap_err(),
        "SubscribedTopicRegex `a)` is not a valid regular expression: regexp/syntax: internal error."
    );
}

#[test]
fn what_would_explode_is_refused() {
    assert_eq!(build("(a{1000}){1000}").unwrap_err(), parser::Error::TooLarge);
    assert_eq!(build("((((a{100}){100}){100}){100}){100}").unwrap_err(), parser::Error::TooLarge);
    assert_eq!(build(&"(?i)?".repeat(100_000).replacen("(?i)", "a", 1)).unwrap_err(), parser::Error::TooDeep);
    assert_eq!(build(&"(".repeat(1_000_000)).unwrap_err(), parser::Error::TooDeep);
    assert_eq!(build(&"a".repeat(2_000_000)).unwrap_err(), parser::Error::TooLarge);
}

#[test]
fn what_is_only_large_is_not() {
    assert!(build(&format!("{}a{}", "(b|c".repeat(39), ")".repeat(39))).is_ok());
    assert!(build(&format!("{}a{}", "(b|c".repeat(20), ")*".repeat(20))).is_ok());
    let topics: Vec<String> = (0..3000).map(|n| format!("a-topic-with-a-long-name-{n}")).collect();
    let pattern = Pattern::compile(&topics.join("|")).unwrap();
    assert!(pattern.matches(&topics[2999]) && !pattern.matches("a-topic-with-a-long-name-3000"));
    assert!(Pattern::compile("a{1000}").unwrap().matches(&"a".repeat(1000)));
}

/// A classic that takes backtracking engines for ever.
#[test]
fn takes_linear_time() {
    let pattern = Pattern::compile("(a*)*(a*)*(a*)*b").unwrap();
    assert!(!pattern.matches(&"a".repeat(249)));
}
