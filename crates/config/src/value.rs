//! Parsing of one value by Java's rules, and back to text. Counterpart: ConfigDef.parseType and ConfigDef.convertToString.

use crate::ConfigError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Boolean,
    String,
    Int,
    Short,
    Long,
    Double,
    List,
    Class,
    Password,
}

impl Type {
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "BOOLEAN" => Self::Boolean,
            "STRING" => Self::String,
            "INT" => Self::Int,
            "SHORT" => Self::Short,
            "LONG" => Self::Long,
            "DOUBLE" => Self::Double,
            "LIST" => Self::List,
            "CLASS" => Self::Class,
            "PASSWORD" => Self::Password,
            _ => return None,
        })
    }

    /// As ConfigDef.Type prints.
    pub fn name(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::String => "STRING",
            Self::Int => "INT",
            Self::Short => "SHORT",
            Self::Long => "LONG",
            Self::Double => "DOUBLE",
            Self::List => "LIST",
            Self::Class => "CLASS",
            Self::Password => "PASSWORD",
        }
    }

    /// `config_type` of DescribeConfigs (0 is "unknown").
    pub fn code(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::String => 2,
            Self::Int => 3,
            Self::Short => 4,
            Self::Long => 5,
            Self::Double => 6,
            Self::List => 7,
            Self::Class => 8,
            Self::Password => 9,
        }
    }

    pub fn is_sensitive(self) -> bool {
        self == Self::Password
    }
}

/// A parsed value. Passwords and class names are strings: there is nothing to load.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i32),
    Short(i16),
    Long(i64),
    Double(f64),
    Str(String),
    List(Vec<String>),
}

impl Value {
    pub fn parse(name: &str, text: &str, type_: Type) -> Result<Self, ConfigError> {
        let trimmed = java_trim(text);
        let not_a_number = || ConfigError::value(name, text, format_args!("Not a number of type {}", type_.name()));
        Ok(match type_ {
            Type::Boolean if trimmed.eq_ignore_ascii_case("true") => Self::Bool(true),
            Type::Boolean if trimmed.eq_ignore_ascii_case("false") => Self::Bool(false),
            Type::Boolean => return Err(ConfigError::value(name, text, "Expected value to be either true or false")),
            Type::String | Type::Class | Type::Password => Self::Str(trimmed.to_owned()),
            Type::Int => Self::Int(trimmed.parse().map_err(|_| not_a_number())?),
            Type::Short => Self::Short(trimmed.parse().map_err(|_| not_a_number())?),
            Type::Long => Self::Long(trimmed.parse().map_err(|_| not_a_number())?),
            Type::Double => Self::Double(parse_java_double(trimmed).ok_or_else(not_a_number)?),
            Type::List if trimmed.is_empty() => Self::List(Vec::new()),
            Type::List => Self::List(split_commas(trimmed)),
        })
    }

    /// The text DescribeConfigs shows; `None` for null.
    pub fn to_text(&self) -> Option<String> {
        Some(match self {
            Self::Null => return None,
            Self::Bool(v) => v.to_string(),
            Self::Int(v) => v.to_string(),
            Self::Short(v) => v.to_string(),
            Self::Long(v) => v.to_string(),
            Self::Double(v) => java_double(*v),
            Self::Str(v) => v.clone(),
            Self::List(v) => v.join(","),
        })
    }

    /// For range checks, which Kafka makes on doubles whatever the type.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Int(v) => Some(f64::from(*v)),
            Self::Short(v) => Some(f64::from(*v)),
            Self::Long(v) => Some(*v as f64),
            Self::Double(v) => Some(*v),
            _ => None,
        }
    }
}

/// As Java's `toString` prints the object in an error message.
impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::List(items) => write!(f, "[{}]", items.join(", ")),
            other => f.write_str(other.to_text().as_deref().unwrap_or("null")),
        }
    }
}

/// String.trim: everything up to and including the space character counts as blank.
pub(crate) fn java_trim(text: &str) -> &str {
    text.trim_matches(|c: char| c <= ' ')
}

/// Splits at commas and drops the white space around them; empty items stay, as Kafka's validators want to see them.
pub(crate) fn split_commas(text: &str) -> Vec<String> {
    let blank = |c: char| matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r');
    text.split(',').map(|item| item.trim_matches(blank).to_owned()).collect()
}

fn parse_java_double(text: &str) -> Option<f64> {
    let unsigned = text.trim_start_matches(['+', '-']);
    match unsigned {
        "NaN" => return Some(f64::NAN),
        "Infinity" => return Some(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY }),
        _ => {}
    }
    let digits = text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text);
    let plain = digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'));
    if plain { digits.parse().ok() } else { None }
}

/// Double.toString: plain notation between 1e-3 and 1e7, otherwise a computerised scientific one.
pub(crate) fn java_double(v: f64) -> String {
    if v.is_nan() {
        return "NaN".to_owned();
    }
    if v.is_infinite() {
        return if v > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let magnitude = v.abs();
    if v == 0.0 || (1e-3..1e7).contains(&magnitude) {
        return format!("{v:?}");
    }
    let scientific = format!("{v:e}");
    match scientific.split_once('e') {
        Some((mantissa, exponent)) if mantissa.contains('.') => format!("{mantissa}E{exponent}"),
        Some((mantissa, exponent)) => format!("{mantissa}.0E{exponent}"),
        None => scientific,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(type_: Type, text: &str) -> String {
        Value::parse("k", text, type_).unwrap_err().to_string()
    }

    #[test]
    fn values_are_trimmed_and_parsed_as_java_does() {
        assert_eq!(Value::parse("k", " TRUE\t", Type::Boolean), Ok(Value::Bool(true)));
        assert_eq!(Value::parse("k", " +12 ", Type::Int), Ok(Value::Int(12)));
        assert_eq!(Value::parse("k", "a , b,,c", Type::List), Ok(Value::List(["a", "b", "", "c"].map(String::from).to_vec())));
        assert_eq!(Value::parse("k", "  ", Type::List), Ok(Value::List(vec![])));
        assert_eq!(Value::parse("k", "1e3", Type::Double), Ok(Value::Double(1000.0)));
        assert_eq!(Value::parse("k", "0.5d", Type::Double), Ok(Value::Double(0.5)));
    }

    #[test]
    fn refusals_quote_the_raw_text() {
        assert_eq!(error(Type::Long, "abc"), "Invalid value abc for configuration k: Not a number of type LONG");
        assert_eq!(error(Type::Int, "2147483648"), "Invalid value 2147483648 for configuration k: Not a number of type INT");
        assert_eq!(error(Type::Int, " 1.5 "), "Invalid value  1.5  for configuration k: Not a number of type INT");
        assert_eq!(error(Type::Short, "40000"), "Invalid value 40000 for configuration k: Not a number of type SHORT");
        assert_eq!(error(Type::Double, "inf"), "Invalid value inf for configuration k: Not a number of type DOUBLE");
        assert_eq!(error(Type::Boolean, "yes"), "Invalid value yes for configuration k: Expected value to be either true or false");
    }

    #[test]
    fn doubles_print_as_java_prints_them() {
        assert_eq!(java_double(0.5), "0.5");
        assert_eq!(java_double(f64::MAX), "1.7976931348623157E308");
        assert_eq!(java_double(1e7), "1.0E7");
        assert_eq!(java_double(0.0001), "1.0E-4");
        assert_eq!(java_double(100.0), "100.0");
    }
}
