//! Kafka's CamelCase to Rust's names.

/// `ThrottleTimeMs` to `throttle_time_ms`, `KRaftVersion` to `k_raft_version`; Rust's keywords get a trailing underscore.
pub fn snake(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (i, c) in chars.iter().enumerate() {
        let after_lower = i > 0 && !chars[i - 1].is_ascii_uppercase();
        let before_lower = chars.get(i + 1).is_some_and(|n| n.is_ascii_lowercase());
        if c.is_ascii_uppercase() && i > 0 && (after_lower || before_lower) {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    if matches!(out.as_str(), "type" | "match" | "ref" | "move" | "self" | "final" | "mod" | "use" | "where") {
        out.push('_');
    }
    out
}

/// A struct's name: the first letter large.
pub fn upper_first(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or(String::new(), |c| c.to_ascii_uppercase().to_string() + chars.as_str())
}

/// As Kafka's JSON converters print a field: the first letter small.
pub fn lower_first(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or(String::new(), |c| c.to_ascii_lowercase().to_string() + chars.as_str())
}

#[cfg(test)]
mod tests {
    #[test]
    fn snake_case() {
        for (name, expect) in [
            ("ThrottleTimeMs", "throttle_time_ms"),
            ("KRaftVersionFeature", "k_raft_version_feature"),
            ("Type", "type_"),
            ("ISR", "isr"),
            ("version", "version"),
            ("HWM", "hwm"),
            ("Http2Port", "http2_port"),
        ] {
            assert_eq!(super::snake(name), expect);
        }
    }
}
