//! The events that the verifiable clients print: one JSON object a line, `timestamp` and `name` first.

use std::fmt::{Display, Write};

use crate::out::say;
use crate::time;

pub struct Event {
    line: String,
}

/// JSON text, or null.
pub fn text(value: Option<&str>) -> String {
    value.map_or("null".to_owned(), |value| serde_json::Value::from(value).to_string())
}

/// `{"a":1,"b":2}` of names and values that are JSON already.
pub fn object(fields: &[(&str, String)]) -> String {
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

impl Event {
    pub fn new(name: &str) -> Self {
        Event { line: format!("{{\"timestamp\":{},\"name\":\"{name}\"", time::wall_ms()) }
    }

    /// A field whose value is JSON already.
    pub fn field(mut self, name: &str, json: impl Display) -> Self {
        let _ = write!(self.line, ",\"{name}\":{json}");
        self
    }

    pub fn print(self) {
        say!("{}}}", self.line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_in_order() {
        let event = Event::new("a").field("n", 1).field("t", text(Some("x\"y"))).field("none", text(None));
        let line = event.line.split_once(",\"name\"").map(|(_, rest)| rest.to_owned());
        assert_eq!(line.as_deref(), Some(":\"a\",\"n\":1,\"t\":\"x\\\"y\",\"none\":null"));
        assert_eq!(object(&[("topic", text(Some("t"))), ("partition", "3".into())]), "{\"topic\":\"t\",\"partition\":3}");
    }
}
