//! Reads a page as strictly as the OpenMetrics specification allows a parser to be, so that a page which passes is taken by any scraper.

use std::collections::{BTreeMap, BTreeSet};

/// What a page says: samples by name and labels, in the order of the page within a family.
pub struct Parsed {
    /// Family name to type.
    pub families: BTreeMap<String, String>,
    /// `name{labels}` as on the page, to value.
    pub samples: BTreeMap<String, f64>,
    /// Names of samples.
    pub names: BTreeSet<String>,
}

impl Parsed {
    /// The value of one sample, by its text before the value.
    pub fn value(&self, series: &str) -> Option<f64> {
        self.samples.get(series).copied()
    }
}

/// Panics with the line at the first violation.
pub fn check(page: &str) -> Parsed {
    let body = page.strip_suffix("# EOF\n").expect("the last line is # EOF");
    let mut parsed = Parsed { families: BTreeMap::new(), samples: BTreeMap::new(), names: BTreeSet::new() };
    // The family that is open: name, type, whether it has samples already.
    let mut open: Option<(String, String, bool)> = None;
    let mut described = String::new();
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect(line);
            assert!(is_name(name) && !help.is_empty() && !parsed.families.contains_key(name), "{line}");
            described = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect(line);
            assert!(["counter", "gauge", "summary", "info"].contains(&kind) && described == name, "{line}");
            assert!(!name.ends_with("_total") && !name.ends_with("_info"), "{line}");
            assert!(parsed.families.insert(name.to_owned(), kind.to_owned()).is_none(), "twice: {line}");
            open = Some((name.to_owned(), kind.to_owned(), false));
        } else if let Some(rest) = line.strip_prefix("# UNIT ") {
            let (name, unit) = rest.split_once(' ').expect(line);
            let (family, _, has_samples) = open.as_ref().expect(line);
            assert!(family == name && name.ends_with(&format!("_{unit}")) && !has_samples, "{line}");
        } else {
            let (family, kind, has_samples) = open.as_mut().expect(line);
            *has_samples = true;
            sample(line, family, kind, &mut parsed);
        }
    }
    parsed
}

fn sample(line: &str, family: &str, kind: &str, parsed: &mut Parsed) {
    let name_len = line.find(['{', ' ']).expect(line);
    let (name, rest) = line.split_at(name_len);
    let (labels, value) = if rest.starts_with('{') { labels(line, rest) } else { (Vec::new(), &rest[1..]) };
    let suffix = name.strip_prefix(family).unwrap_or_else(|| panic!("{line} in the family {family}"));
    let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}: {value} is no number"));
    assert!(value.is_finite(), "{line}");
    let quantile = labels.iter().find(|(name, _)| name == "quantile");
    match (kind, suffix) {
        ("counter", "_total") => assert!(value >= 0.0, "{line}"),
        ("gauge", "") => {}
        ("info", "_info") => assert!(value == 1.0 && !labels.is_empty(), "{line}"),
        ("summary", "") => {
            let (_, quantile) = quantile.unwrap_or_else(|| panic!("{line} has no quantile"));
            assert!((0.0..=1.0).contains(&quantile.parse::<f64>().expect(line)), "{line}");
        }
        ("summary", "_sum" | "_count") => assert!(value >= 0.0 && quantile.is_none(), "{line}"),
        _ => panic!("{line} in a {kind}"),
    }
    let names: BTreeSet<&String> = labels.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), labels.len(), "a label twice: {line}");
    let series = &line[..line.rfind(' ').expect(line)];
    assert!(parsed.samples.insert(series.to_owned(), value).is_none(), "twice: {line}");
    parsed.names.insert(name.to_owned());
}

/// `{a="b"}` and what follows the blank behind it. Values are unescaped.
fn labels<'a>(line: &str, text: &'a str) -> (Vec<(String, String)>, &'a str) {
    let mut labels = Vec::new();
    let mut rest = &text[1..];
    loop {
        let (name, after) = rest.split_once("=\"").expect(line);
        assert!(is_name(name) && !name.contains(':'), "{line}");
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().expect(line) {
                (at, '"') => break at,
                (_, '\\') => value.push(match chars.next().expect(line).1 {
                    'n' => '\n',
                    c @ ('\\' | '"') => c,
                    other => panic!("{line}: \\{other} is no escape"),
                }),
                (_, c) => value.push(c),
            }
        };
        labels.push((name.to_owned(), value));
        rest = &after[end + 1..];
        match rest.split_at(1) {
            (",", more) => rest = more,
            ("}", more) => return (labels, more.strip_prefix(' ').expect(line)),
            _ => panic!("{line}"),
        }
    }
}

fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    chars.next().is_some_and(is_first) && chars.all(|c| is_first(c) || c.is_ascii_digit())
}
