//! Owns: small pieces of reading words: the program's name, `key=value` lists, Java's idea of trimming and of numbers.

/// `/opt/kafka/bin/kafka-topics.sh` -> `kafka-topics`.
pub fn program_name(argv0: &str) -> &str {
    let name = argv0.rsplit('/').next().unwrap_or(argv0);
    name.strip_suffix(".sh").unwrap_or(name)
}

/// `CommandLineUtils.parseKeyValueArgs`: each `key=value`; the value may hold equals signs or be missing.
pub fn key_values(words: &[&str]) -> Vec<(String, String)> {
    let pair = |word: &&str| match word.split_once('=') {
        Some((key, value)) => (key.to_owned(), value.to_owned()),
        None => ((*word).to_owned(), String::new()),
    };
    words.iter().map(pair).collect()
}

/// `String.split(separator)` of Java: trailing empty pieces are dropped.
pub fn java_split(text: &str, separator: char) -> Vec<&str> {
    let mut pieces: Vec<&str> = text.split(separator).collect();
    while pieces.len() > 1 && pieces.last() == Some(&"") {
        pieces.pop();
    }
    pieces
}

/// Java's `Double.toString` for what the tools print through `%s`.
pub fn java_double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity".into() } else { "-Infinity".into() };
    }
    let magnitude = value.abs();
    if value == 0.0 || (1e-3..1e7).contains(&magnitude) {
        let text = format!("{value}");
        return if text.contains('.') { text } else { format!("{text}.0") };
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0E{exponent}"),
        Some((mantissa, exponent)) => format!("{mantissa}E{exponent}"),
        None => text,
    }
}

/// Whether a host:port list is usable: every entry ends in a port.
pub fn valid_bootstrap(list: &str) -> bool {
    let port = |entry: &str| entry.trim().rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    !list.trim().is_empty() && java_split(list, ',').into_iter().all(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_pairs() {
        assert_eq!(program_name("/opt/kafka/bin/kafka-topics.sh"), "kafka-topics");
        assert_eq!(program_name("gregor"), "gregor");
        assert_eq!(key_values(&["a=b=c", "d"]), [("a".into(), "b=c".into()), ("d".into(), String::new())]);
        assert_eq!(java_split("a,,b,,", ','), ["a", "", "b"]);
        assert!(valid_bootstrap("a:1,b:2") && !valid_bootstrap("a") && !valid_bootstrap("") && !valid_bootstrap("a:1,b"));
    }

    #[test]
    fn doubles_as_java_prints_them() {
        for (value, text) in [(1.0, "1.0"), (0.5, "0.5"), (1e7, "1.0E7"), (12345678.9, "1.23456789E7"), (0.0001, "1.0E-4"), (0.0, "0.0")] {
            assert_eq!(java_double(value), text);
        }
    }
}
