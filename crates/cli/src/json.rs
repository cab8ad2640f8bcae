//! Owns: reading the JSON files that some tools take, with Kafka's words for what is wrong in them. Kafka counterpart:
//! org.apache.kafka.server.util.Json and what is in the package json.

use serde_json::Value;

/// The first value of a text; what follows it is not looked at.
pub fn parse(text: &str) -> Option<Value> {
    serde_json::Deserializer::from_str(text).into_iter::<Value>().next()?.ok()
}

pub fn object(value: &Value) -> Result<&Value, String> {
    if value.is_object() { Ok(value) } else { Err(format!("Expected JSON object, received {value}")) }
}

pub fn array(value: &Value) -> Result<&[Value], String> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| format!("Expected JSON array, received {value}"))
}

pub fn field<'a>(value: &'a Value, name: &str) -> Result<&'a Value, String> {
    value.get(name).ok_or_else(|| format!("No such field exists: `{name}`"))
}

pub fn string(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("Expected `String` value, received {value}"))
}

pub fn integer(value: &Value) -> Result<i32, String> {
    let number = value.as_i64().and_then(|number| i32::try_from(number).ok());
    number.ok_or_else(|| format!("Expected `Integer` value, received {value}"))
}

pub fn long(value: &Value) -> Result<i64, String> {
    value.as_i64().ok_or_else(|| format!("Expected `Long` value, received {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_complaints() {
        let value = parse("{\"a\": [1, \"x\"]} rest").unwrap_or_default();
        let list = field(&value, "a").and_then(array).unwrap_or_default();
        assert_eq!((integer(&list[0]), string(&list[1])), (Ok(1), Ok("x")));
        assert_eq!(string(&list[0]), Err("Expected `String` value, received 1".to_owned()));
        assert_eq!(field(&value, "b"), Err("No such field exists: `b`".to_owned()));
        assert_eq!(array(&value), Err("Expected JSON array, received {\"a\":[1,\"x\"]}".to_owned()));
        assert!(parse("nope").is_none());
    }
}
