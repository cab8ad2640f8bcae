//! Two brokers were asked the same: are the answers the same?

use std::collections::BTreeMap;
use std::fmt::Write;

/// Deviations we know and accept: one a line, `name: why`; blank lines and lines that begin with `#` say nothing.
pub fn known_deviations(text: &str) -> BTreeMap<String, String> {
    let entries = text.lines().filter(|l| !l.is_empty() && !l.starts_with('#'));
    entries.map(|l| l.split_once(": ").unwrap_or_else(|| panic!("no reason given in '{l}'"))).map(|(n, w)| (n.into(), w.into())).collect()
}

const DAY: u64 = 86_400_000;

/// Milliseconds since 1970 within a day of now become `NOW`.
pub fn without_clock(text: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
    let mut out = String::with_capacity(text.len());
    for run in text.split_inclusive(|c: char| !c.is_ascii_digit()) {
        let digits = run.trim_end_matches(|c: char| !c.is_ascii_digit());
        match digits.parse::<u64>() {
            Ok(t) if t.abs_diff(now) < DAY => out.push_str(&run.replace(digits, "NOW")),
            // A bound that is now minus the greatest number there is.
            Ok(t) if t.abs_diff(i64::MAX as u64 - now) < DAY => out.push_str(&run.replace(digits, "MAX-NOW")),
            _ => out.push_str(run),
        }
    }
    out
}

/// A number becomes a word where it stands for itself, not as a part of a longer one.
pub fn replace_number(text: &str, number: u16, word: &str) -> String {
    let number = number.to_string();
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(&number) {
        let (before, after) = (&rest[..at], &rest[at + number.len()..]);
        let part_of_more = out.ends_with(|c: char| c.is_ascii_digit()) && before.is_empty()
            || before.ends_with(|c: char| c.is_ascii_digit())
            || after.starts_with(|c: char| c.is_ascii_digit());
        out.push_str(before);
        out.push_str(if part_of_more { &number } else { word });
        rest = after;
    }
    out + rest
}

/// Lines `name: answer`, in the order they came; a name that comes again is numbered.
fn answers(text: &str) -> Vec<(String, String)> {
    let mut seen = BTreeMap::<String, usize>::new();
    text.lines()
        .map(|line| {
            let (name, answer) = line.split_once(": ").unwrap_or((line, ""));
            let count = seen.entry(name.to_owned()).or_default();
            *count += 1;
            (if *count == 1 { name.to_owned() } else { format!("{name} ({count})") }, answer.to_owned())
        })
        .collect()
}

/// Compares two outputs of `name: answer` lines. Panics with every unexpected difference, and with every known deviation that no longer is one.
#[track_caller]
pub fn assert_same(what: &str, apache: &str, gregor: &str, known: &str) {
    let known = known_deviations(known);
    let theirs = answers(apache);
    let ours: BTreeMap<String, String> = answers(gregor).into_iter().collect();
    let mut report = String::new();
    let mut differs = std::collections::BTreeSet::new();
    for (name, expected) in &theirs {
        let got = ours.get(name);
        if got == Some(expected) {
            continue;
        }
        differs.insert(name.as_str());
        if !known.contains_key(name) {
            let got = got.map_or("(no answer)", String::as_str);
            let _ = write!(report, "\n{name}\n  apache: {expected}\n  gregor: {got}");
        }
    }
    let asked: std::collections::BTreeSet<&str> = theirs.iter().map(|(name, _)| name.as_str()).collect();
    for (name, got) in ours.iter().filter(|(name, _)| !asked.contains(name.as_str())) {
        differs.insert(name);
        if !known.contains_key(name) {
            let _ = write!(report, "\n{name}\n  apache: (no answer)\n  gregor: {got}");
        }
    }
    for name in known.keys().filter(|name| !differs.contains(name.as_str())) {
        let _ = write!(report, "\n{name}\n  is listed as a known deviation, but the answers agree: take it off the list");
    }
    println!("{what}: {} answers compared, {} known deviations", theirs.len(), known.len());
    assert!(theirs.len() > 1, "{what}: nothing was answered: {apache}");
    assert!(report.is_empty(), "{what}: the answers differ{report}");
}

#[cfg(test)]
mod tests {
    use super::replace_number;

    #[test]
    fn numbers_are_replaced_whole() {
        let text = "127.0.0.1:20100, hash -620100494, 2010020100, port 20100";
        assert_eq!(replace_number(text, 20100, "PORT"), "127.0.0.1:PORT, hash -620100494, 2010020100, port PORT");
    }
}
