//! Text to model. Every error names its line.

use crate::model::{Field, Kind, Message, Struct, Type, Versions};

#[derive(Debug, PartialEq, Eq)]
pub struct ParseError {
    pub line: usize,
    pub what: String,
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

struct Line<'a> {
    number: usize,
    depth: usize,
    words: Vec<&'a str>,
}

impl Line<'_> {
    fn error(&self, what: impl Into<String>) -> ParseError {
        ParseError { line: self.number, what: what.into() }
    }

    fn word(&self, at: usize, what: &str) -> Result<&str, ParseError> {
        self.words.get(at).copied().ok_or_else(|| self.error(format!("{what} is missing")))
    }

    fn versions(&self, at: usize) -> Result<Versions, ParseError> {
        let text = self.word(at, "a version range")?;
        Versions::parse(text).ok_or_else(|| self.error(format!("'{text}' is not a version range")))
    }
}

/// Parses a whole file of messages; `#` starts a comment line.
pub fn parse(text: &str) -> Result<Vec<Message>, ParseError> {
    let lines: Vec<Line> = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
        .map(|(i, line)| {
            let indent = line.len() - line.trim_start().len();
            Line { number: i + 1, depth: indent / 2, words: line.split_whitespace().collect() }
        })
        .collect();
    let mut messages = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        messages.push(message(&lines, &mut at)?);
    }
    Ok(messages)
}

fn message(lines: &[Line], at: &mut usize) -> Result<Message, ParseError> {
    let line = &lines[*at];
    if line.depth != 0 {
        return Err(line.error("a message starts in the first column"));
    }
    let kind_name = line.words[0];
    let kind = Kind::NAMES.iter().find(|(n, _)| *n == kind_name).map(|(_, k)| *k);
    let kind = kind.ok_or_else(|| line.error(format!("'{kind_name}' is not a kind of message")))?;
    let api_key = line.word(1, "a name")?.parse().ok();
    let mut next = if api_key.is_some() { 2 } else { 1 };
    let name = line.word(next, "a name")?.to_owned();
    let versions = line.versions(next + 1)?;
    next += 2;
    let mut message = Message {
        kind,
        api_key,
        name,
        versions,
        flexible: Versions::NONE,
        listeners: Vec::new(),
        latest_unstable: false,
        fields: Vec::new(),
        structs: Vec::new(),
    };
    while let Some(word) = line.words.get(next) {
        match *word {
            "flexible" => message.flexible = line.versions(next + 1)?,
            "listeners" => message.listeners = line.word(next + 1, "listeners")?.split(',').map(str::to_owned).collect(),
            "unstable" => {
                message.latest_unstable = true;
                next += 1;
                continue;
            }
            other => return Err(line.error(format!("unknown word '{other}'"))),
        }
        next += 2;
    }
    *at += 1;
    message.fields = fields(lines, at, 1)?;
    while let Some(line) = lines.get(*at).filter(|l| l.depth == 1 && l.words[0] == "struct") {
        let (name, versions) = (line.word(1, "a struct name")?.to_owned(), line.versions(2)?);
        *at += 1;
        message.structs.push(Struct { name, versions, fields: fields(lines, at, 2)? });
    }
    Ok(message)
}

fn fields(lines: &[Line], at: &mut usize, depth: usize) -> Result<Vec<Field>, ParseError> {
    let mut out = Vec::new();
    while let Some(line) = lines.get(*at) {
        if line.depth < depth || line.words[0] == "struct" {
            break;
        }
        if line.depth > depth {
            return Err(line.error("indented too far"));
        }
        *at += 1;
        let mut field = field(line)?;
        field.fields = fields(lines, at, depth + 1)?;
        out.push(field);
    }
    Ok(out)
}

fn field(line: &Line) -> Result<Field, ParseError> {
    let mut field = Field {
        name: line.words[0].to_owned(),
        ty: Type::parse(line.word(1, "a type")?),
        versions: line.versions(2)?,
        nullable: Versions::NONE,
        default: None,
        tag: None,
        ignorable: false,
        never_flexible: false,
        fields: Vec::new(),
    };
    let mut next = 3;
    while let Some(word) = line.words.get(next) {
        next += match *word {
            "ignorable" => {
                field.ignorable = true;
                1
            }
            "never-flexible" => {
                field.never_flexible = true;
                1
            }
            "null" => {
                field.nullable = line.versions(next + 1)?;
                2
            }
            "default" => {
                field.default = Some(line.word(next + 1, "a default")?.to_owned());
                2
            }
            "tag" => {
                let tag = line.word(next + 1, "a tag")?;
                field.tag = Some(tag.parse().map_err(|_| line.error(format!("'{tag}' is not a tag")))?);
                2
            }
            other => return Err(line.error(format!("unknown word '{other}'"))),
        };
    }
    Ok(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
request 1 FetchRequest 4-18 flexible 12+ listeners broker,controller
  ClusterId string 12+ null 12+ default null tag 0 ignorable
  Topics []FetchTopic 0+
    Topic string 0-12 ignorable
    Partitions []Shared 0+
  struct Shared 0+
    Id int32 0+ default -1
data Empty 0
";

    #[test]
    fn text_survives_a_round_trip() {
        let messages = parse(SAMPLE).unwrap();
        assert_eq!(messages.len(), 2);
        assert_eq!(messages.iter().map(|m| m.to_string()).collect::<String>(), SAMPLE);
    }

    #[test]
    fn errors_name_the_line() {
        let error = parse("data A 0\n  B int32 zero\n").unwrap_err();
        assert_eq!(error.to_string(), "line 2: 'zero' is not a version range");
    }
}
