//! Java's .properties syntax: comments, three separators, escapes, continuation lines. Counterpart: java.util.Properties.load.

use crate::Props;

/// A later line wins over an earlier one with the same key. Bytes that are not UTF-8 are read as ISO-8859-1, which is what Java expects.
pub fn parse(bytes: &[u8]) -> Result<Props, String> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|b| char::from(*b)).collect(),
    };
    let mut props = Props::new();
    for (number, line) in logical_lines(text.strip_prefix('\u{feff}').unwrap_or(&text)) {
        let (key, value) = split(&line);
        let explain = |why: String| format!("line {number}: {why}");
        props.insert(unescape(key).map_err(explain)?, unescape(value).map_err(explain)?);
    }
    Ok(props)
}

/// Lines without comments and blanks, continuations joined, each with the number of its first natural line.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut continues = false;
    let normal = text.replace("\r\n", "\n").replace('\r', "\n");
    for (i, natural) in normal.split('\n').enumerate() {
        let content = natural.trim_start_matches([' ', '\t', '\x0c']);
        if !continues && (content.is_empty() || content.starts_with(['#', '!'])) {
            continue;
        }
        // An odd number of backslashes at the end joins the next line to this one.
        let joins = content.len() - content.trim_end_matches('\\').len();
        let (content, joins) = if joins % 2 == 1 { (content.get(..content.len() - 1).unwrap_or(""), true) } else { (content, false) };
        match lines.last_mut() {
            Some((_, line)) if continues => line.push_str(content),
            _ => lines.push((i + 1, content.to_owned())),
        }
        continues = joins;
    }
    lines
}

/// The key ends at the first unescaped `=`, `:` or blank; blanks and one `=` or `:` lie between it and the value.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.char_indices().find(|(_, c)| {
        let ends = !escaped && matches!(c, '=' | ':' | ' ' | '\t' | '\x0c');
        escaped = *c == '\\' && !escaped;
        ends
    });
    let Some((end, _)) = end else { return (line, "") };
    let (key, rest) = line.split_at(end);
    let blank = [' ', '\t', '\x0c'];
    let rest = rest.trim_start_matches(blank);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, rest.trim_start_matches(blank))
}

fn unescape(text: &str) -> Result<String, String> {
    let mut units = Vec::with_capacity(text.len());
    let mut buffer = [0u16; 2];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            '\\' => match chars.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\x0c',
                Some('u') => {
                    let hex: String = chars.by_ref().take(4).collect();
                    let unit = u16::from_str_radix(&hex, 16).ok().filter(|_| hex.len() == 4 && !hex.starts_with('+'));
                    units.push(unit.ok_or_else(|| format!("\\u must be followed by four hexadecimal digits, not by \"{hex}\""))?);
                    continue;
                }
                Some(other) => other,
                None => continue,
            },
            other => other,
        };
        units.extend_from_slice(c.encode_utf16(&mut buffer));
    }
    Ok(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &[(&str, &str)]) {
        let want: Props = expect.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        assert_eq!(parse(text.as_bytes()).unwrap(), want, "{text}");
    }

    #[test]
    fn separators_comments_and_blanks() {
        check("a=1\n b = 2 \nc:3\nd 4\n\n#x=1\n  ! y=2\ne", &[("a", "1"), ("b", "2 "), ("c", "3"), ("d", "4"), ("e", "")]);
        check("a==b\nc\t:\t=d", &[("a", "=b"), ("c", "=d")]);
        check("a=1\r\nb=2\rc=3", &[("a", "1"), ("b", "2"), ("c", "3")]);
    }

    #[test]
    fn continuations() {
        check("a=1,\\\n   2,\\\n   3\nb=4", &[("a", "1,2,3"), ("b", "4")]);
        check("a=x\\\\\nb=y", &[("a", "x\\"), ("b", "y")]);
        check("a=x\\\n#not a comment", &[("a", "x#not a comment")]);
        check("a=x\\", &[("a", "x")]);
    }

    #[test]
    fn escapes_and_unicode() {
        check(r"a\=b=c\:d\tE", &[("a=b", "c:d\tE")]);
        check("path=C:\\\\kafka\\data", &[("path", "C:\\kafkadata")]);
        check(r"a=\u00e9\ud83d\ude00", &[("a", "é😀")]);
        check("a=grün", &[("a", "grün")]);
        assert_eq!(parse(b"a=gr\xfcn").unwrap().get("a").map(String::as_str), Some("grün"));
        assert_eq!(parse(b"x=1\na=\\u12").unwrap_err(), "line 2: \\u must be followed by four hexadecimal digits, not by \"12\"");
    }

    #[test]
    fn the_last_one_wins() {
        check("a=1\na=2", &[("a", "2")]);
    }
}
