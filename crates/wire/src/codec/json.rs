//! JSON text as Kafka's generated converters and Jackson's compact printer give it, for `kafka-dump-log` and request logs.

use std::fmt::{Display, Write};

#[derive(Default)]
pub struct Json {
    out: String,
}

impl Json {
    pub fn open(&mut self, bracket: char) {
        self.out.push(bracket);
    }

    pub fn close(&mut self, bracket: char) {
        self.out.push(bracket);
    }

    /// Separates elements of an array.
    pub fn element(&mut self) {
        if !self.out.ends_with(['[', '{', ':']) {
            self.out.push(',');
        }
    }

    pub fn key(&mut self, name: &str) {
        self.element();
        self.text(name);
        self.out.push(':');
    }

    pub fn null(&mut self) {
        self.out.push_str("null");
    }

    pub fn number(&mut self, value: impl Display) {
        write!(self.out, "{value}").expect("a String takes all");
    }

    pub fn text(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if c < ' ' => write!(self.out, "\\u{:04X}", c as u32).expect("a String takes all"),
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }

    /// Bytes as standard base64, as Jackson prints binary nodes.
    pub fn base64(&mut self, bytes: &[u8]) {
        self.text(&base::uuid::base64_standard(bytes));
    }

    pub fn finish(self) -> String {
        self.out
    }
}
