//! The CSV of offset plans, `[group,]topic,partition,offset`, quoted as Jackson's writer does.

use base::TopicPartition;

/// Texts longer than this are quoted without a look.
const MAX_QUOTE_CHECK: usize = 24;

fn field(text: &str) -> String {
    // Everything up to the comma's code may mean something.
    if text.encode_utf16().count() > MAX_QUOTE_CHECK || text.chars().any(|c| c <= ',') {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text.to_owned()
}

pub fn line(group: Option<&str>, partition: &TopicPartition, offset: i64) -> String {
    let group = group.map_or(String::new(), |group| format!("{},", field(group)));
    format!("{group}{},{},{offset}\n", field(&partition.topic), partition.partition)
}

/// The fields of one line; None if quotes do not match.
pub fn fields(line: &str) -> Option<Vec<String>> {
    let line = line.strip_suffix('\r').unwrap_or(line);
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let trimmed = rest.trim_start_matches(' ');
        if let Some(mut quoted) = trimmed.strip_prefix('"') {
            let mut text = String::new();
            loop {
                let (before, after) = quoted.split_once('"')?;
                text.push_str(before);
                match after.strip_prefix('"') {
                    Some(after) => {
                        text.push('"');
                        quoted = after;
                    }
                    None => {
                        rest = after;
                        break;
                    }
                }
            }
            fields.push(text);
        } else {
            let end = trimmed.find(',').unwrap_or(trimmed.len());
            fields.push(trimmed[..end].to_owned());
            rest = &trimmed[end..];
        }
        match rest.trim_start_matches(' ').strip_prefix(',') {
            Some(next) => rest = next,
            None if rest.trim().is_empty() => return Some(fields),
            None => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let long = "a-topic-with-a-rather-long-name";
        let text = line(Some("my group"), &TopicPartition::new(long, 3), 42);
        assert_eq!(text, format!("\"my group\",\"{long}\",3,42\n"));
        assert_eq!(fields(text.trim_end()).unwrap(), ["my group", long, "3", "42"]);
        assert_eq!(line(None, &TopicPartition::new("t.a-b_c", 0), 1), "t.a-b_c,0,1\n");
        assert_eq!(fields("a, \"b\"\"c\" ,3").unwrap(), ["a", "b\"c", "3"]);
        assert_eq!(fields("\"open"), None);
    }
}
