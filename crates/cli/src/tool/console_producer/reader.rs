//! Lines into records: key, headers and value by separators. Kafka counterpart: LineMessageReader.

use std::collections::BTreeMap;

use regex::Regex;

use crate::failure::Failure;

pub type Header = (String, Option<Vec<u8>>);

#[derive(Debug, PartialEq)]
pub struct Line {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<Header>,
}

pub struct LineReader {
    parse_key: bool,
    parse_headers: bool,
    ignore_error: bool,
    key_separator: String,
    headers_delimiter: String,
    headers_separator: Regex,
    headers_key_separator: String,
    null_marker: Option<String>,
    line_number: u64,
}

impl LineReader {
    pub fn new(properties: &BTreeMap<String, String>) -> Result<Self, Failure> {
        let is_true = |name: &str| properties.get(name).is_some_and(|value| value.trim().eq_ignore_ascii_case("true"));
        let text = |name: &str, default: &str| properties.get(name).cloned().unwrap_or_else(|| default.to_owned());
        let separator = text("headers.separator", ",");
        let reader = LineReader {
            parse_key: is_true("parse.key"),
            parse_headers: is_true("parse.headers"),
            ignore_error: is_true("ignore.error"),
            key_separator: text("key.separator", "\t"),
            headers_delimiter: text("headers.delimiter", "\t"),
            headers_separator: Regex::new(&separator).map_err(|error| Failure::new(format!("headers.separator: {error}")))?,
            headers_key_separator: text("headers.key.separator", ":"),
            null_marker: properties.get("null.marker").cloned(),
            line_number: 0,
        };
        let named = [
            ("headers.delimiter", &reader.headers_delimiter),
            ("headers.separator", &separator),
            ("headers.key.separator", &reader.headers_key_separator),
        ];
        for (i, (first, a)) in named.iter().enumerate() {
            if let Some((second, _)) = named[i + 1..].iter().find(|(_, b)| a == b) {
                return Err(Failure::new(format!("{first} and {second} may not be equal")));
            }
        }
        if let Some(marker) = &reader.null_marker {
            let separators = [("key.separator", &reader.key_separator), named[1], named[0], named[2]];
            if let Some((name, _)) = separators.iter().find(|(_, separator)| *separator == marker) {
                return Err(Failure::new(format!("null.marker and {name} may not be equal")));
            }
        }
        Ok(reader)
    }

    /// The piece of the line in front of a separator.
    fn piece<'a>(&self, line: &'a str, separator: &str, what: &str) -> Result<Option<&'a str>, Failure> {
        self.piece_from(line, line, separator, what)
    }

    fn piece_from<'a>(&self, line: &str, rest: &'a str, separator: &str, what: &str) -> Result<Option<&'a str>, Failure> {
        match rest.find(separator) {
            Some(at) => Ok(Some(&rest[..at])),
            None if self.ignore_error => Ok(None),
            None => Err(Failure::new(format!("No {what} found on line number {}: '{line}'", self.line_number))),
        }
    }

    fn unless_null(&self, text: &str) -> Option<Vec<u8>> {
        (self.null_marker.as_deref() != Some(text)).then(|| text.as_bytes().to_vec())
    }

    pub fn read(&mut self, line: &str) -> Result<Line, Failure> {
        self.line_number += 1;
        let mut rest = line;
        let headers = if self.parse_headers { self.piece(line, &self.headers_delimiter, "headers delimiter")? } else { None };
        if let Some(headers) = headers {
            rest = &rest[headers.len() + self.headers_delimiter.len()..];
        }
        let key = if self.parse_key { self.piece_from(line, rest, &self.key_separator, "key separator")? } else { None };
        if let Some(key) = key {
            rest = &rest[key.len() + self.key_separator.len()..];
        }
        let headers = match headers {
            Some(headers) if self.null_marker.as_deref() != Some(headers) => self.split_headers(headers)?,
            _ => Vec::new(),
        };
        Ok(Line { key: key.and_then(|key| self.unless_null(key)), value: self.unless_null(rest), headers })
    }

    fn split_headers(&self, text: &str) -> Result<Vec<Header>, Failure> {
        let mut pairs: Vec<&str> = self.headers_separator.split(text).collect();
        while pairs.len() > 1 && pairs.last() == Some(&"") {
            pairs.pop();
        }
        let mut headers = Vec::new();
        for pair in pairs {
            let Some((key, value)) = pair.split_once(self.headers_key_separator.as_str()) else {
                if self.ignore_error {
                    headers.push((pair.to_owned(), None));
                    continue;
                }
                return Err(Failure::new(format!("No header key separator found in pair '{pair}' on line number {}", self.line_number)));
            };
            if let Some(marker) = self.null_marker.as_ref().filter(|marker| *marker == key) {
                return Err(Failure::new(format!("Header keys should not be equal to the null marker '{marker}' as they can't be null")));
            }
            headers.push((key.to_owned(), self.unless_null(value)));
        }
        Ok(headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(properties: &[(&str, &str)]) -> LineReader {
        match LineReader::new(&properties.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()) {
            Ok(reader) => reader,
            Err(_) => panic!("the properties are valid"),
        }
    }

    fn message(result: Result<Line, Failure>) -> String {
        match result {
            Err(Failure::Message(text)) => text,
            _ => String::new(),
        }
    }

    fn line(key: Option<&str>, value: Option<&str>, headers: &[(&str, Option<&str>)]) -> Line {
        let bytes = |text: Option<&str>| text.map(|text| text.as_bytes().to_vec());
        Line { key: bytes(key), value: bytes(value), headers: headers.iter().map(|(k, v)| (k.to_string(), bytes(*v))).collect() }
    }

    #[test]
    fn plain_lines_are_values() {
        assert_eq!(reader(&[]).read("a\tb").ok(), Some(line(None, Some("a\tb"), &[])));
    }

    #[test]
    fn keys_headers_and_null() {
        let mut both = reader(&[("parse.key", "true"), ("parse.headers", "TRUE"), ("null.marker", "NULL")]);
        assert_eq!(both.read("h1:v1,h2:NULL\tk\tv").ok(), Some(line(Some("k"), Some("v"), &[("h1", Some("v1")), ("h2", None)])));
        assert_eq!(both.read("NULL\tNULL\tNULL").ok(), Some(line(None, None, &[])));
        assert_eq!(message(both.read("nothing")), "No headers delimiter found on line number 3: 'nothing'");
        assert_eq!(message(both.read("h\tk\tv")), "No header key separator found in pair 'h' on line number 4");
    }

    #[test]
    fn errors_can_be_ignored() {
        let mut lenient = reader(&[("parse.key", "true"), ("ignore.error", "true"), ("key.separator", ":")]);
        assert_eq!(lenient.read("value").ok(), Some(line(None, Some("value"), &[])));
        let mut strict = reader(&[("parse.key", "true"), ("key.separator", ":")]);
        assert_eq!(message(strict.read("value")), "No key separator found on line number 1: 'value'");
        let same = [("headers.delimiter", ",")].iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        assert!(LineReader::new(&same).is_err());
    }
}
