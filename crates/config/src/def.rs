//! The tables: one line a key, read once at first use. `tables/*.txt` explain their own columns. Counterpart: ConfigDef and ConfigKey.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::validator::Validator;
use crate::{ConfigError, Props, Type, Value};

/// How a broker key can be changed while the broker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateMode {
    ReadOnly,
    PerBroker,
    ClusterWide,
}

/// What Gregor does with a key that somebody sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Honoured,
    /// Known and validated, but without effect; the text says why.
    Ignored(&'static str),
}

#[derive(Clone, Debug)]
pub struct ConfigKey {
    pub name: &'static str,
    pub type_: Type,
    /// The default as text, where there is one that is not null.
    pub default_text: Option<&'static str>,
    pub default: Value,
    /// No default exists: the key must be set.
    pub required: bool,
    pub validator: Validator,
    /// The validator as the table writes it.
    pub validator_text: &'static str,
    /// HIGH, MEDIUM or LOW.
    pub importance: &'static str,
    /// Broker keys only; the others are `ReadOnly` here and always changeable.
    pub mode: UpdateMode,
    /// A broker key that exists as a dynamic config only (the replication throttles), so that it cannot be in server.properties.
    pub dynamic_only: bool,
    /// Hidden from DescribeConfigs unless it is set.
    pub internal: bool,
    /// Topic and group keys: the broker keys that provide their default, in order of precedence, with the factor to this key's unit.
    pub synonyms: Vec<(&'static str, i64)>,
    pub usage: Use,
    /// Empty where nobody has written one.
    pub doc: &'static str,
}

impl ConfigKey {
    /// Parses and validates; `None` is an unset key and gives the default.
    pub fn parse(&self, text: Option<&str>) -> Result<Value, ConfigError> {
        let mut value = match text {
            Some(text) => Value::parse(self.name, text, self.type_)?,
            None if self.required => {
                let message = format!("Missing required configuration \"{}\" which has no default value.", self.name);
                return Err(ConfigError::Invalid(message));
            }
            None => return Ok(self.default.clone()),
        };
        if let (Validator::List { .. }, Value::List(items)) = (&self.validator, &mut value) {
            let mut seen = Vec::new();
            items.retain(|item| {
                !seen.contains(item) && {
                    seen.push(item.clone());
                    true
                }
            });
        }
        self.validator.check(self.name, &value)?;
        Ok(value)
    }

    /// What the key is for; where nobody has written that, why it has no effect.
    pub fn documentation(&self) -> Cow<'static, str> {
        match self.usage {
            Use::Ignored(reason) if self.doc.is_empty() => format!("Has no effect: {reason}.").into(),
            _ => self.doc.into(),
        }
    }

    pub fn is_sensitive(&self) -> bool {
        self.type_.is_sensitive()
    }
}

pub struct ConfigDef {
    keys: Vec<ConfigKey>,
    by_name: HashMap<&'static str, usize>,
}

impl ConfigDef {
    /// Reads a table. It is part of the program, so a mistake in it is found by the first test that touches it.
    pub(crate) fn from_table(table: &'static str) -> Self {
        let mut reasons = HashMap::new();
        let mut keys = Vec::new();
        for line in table.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(reason) = line.strip_prefix("reason ") {
                let (word, text) = reason.split_once(' ').unwrap_or((reason, ""));
                reasons.insert(word, text.trim());
            } else {
                keys.push(parse_line(line, &reasons).unwrap_or_else(|| panic!("bad line in a config table: {line}")));
            }
        }
        let by_name = keys.iter().enumerate().map(|(i, key)| (key.name, i)).collect();
        Self { keys, by_name }
    }

    pub fn keys(&self) -> &[ConfigKey] {
        &self.keys
    }

    pub fn get(&self, name: &str) -> Option<&ConfigKey> {
        self.by_name.get(name).and_then(|i| self.keys.get(*i))
    }

    /// Where in `keys` (and in the answer of `parse`) a key is.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// All keys, set or not, parsed and validated; the values come in the order of the table.
    pub fn parse(&self, props: &Props) -> Result<Vec<Value>, ConfigError> {
        self.keys.iter().map(|key| key.parse(props.get(key.name).map(String::as_str))).collect()
    }
}

fn parse_line(line: &'static str, reasons: &HashMap<&'static str, &'static str>) -> Option<ConfigKey> {
    let (columns, doc) = line.split_once(" | ").unwrap_or((line, ""));
    let mut columns = columns.split_whitespace();
    let name = columns.next()?;
    let type_ = Type::from_name(columns.next()?)?;
    let default_text = match columns.next()? {
        "null" | "required" => None,
        "\"\"" => Some(""),
        text => Some(text),
    };
    let required = line.split_whitespace().nth(2) == Some("required");
    let validator_text = columns.next()?;
    let validator = Validator::parse(validator_text)?;
    let importance = columns.next()?;
    let how = columns.next()?;
    let usage = match columns.next()? {
        "yes" => Use::Honoured,
        word => Use::Ignored(reasons.get(word)?),
    };
    let default = match default_text {
        Some(text) => Value::parse(name, text, type_).ok()?,
        None => Value::Null,
    };
    let (mode, synonyms) = match how {
        "ro" | "ro,internal" | "-" | "internal" => (UpdateMode::ReadOnly, Vec::new()),
        "broker" => (UpdateMode::PerBroker, Vec::new()),
        "cluster" | "dynamic-only" => (UpdateMode::ClusterWide, Vec::new()),
        list => (UpdateMode::ReadOnly, list.split(',').map(parse_synonym).collect::<Option<_>>()?),
    };
    Some(ConfigKey {
        name,
        type_,
        default_text,
        default,
        required,
        validator,
        validator_text,
        importance,
        mode,
        dynamic_only: how == "dynamic-only",
        internal: how.ends_with("internal"),
        synonyms,
        usage,
        doc: doc.trim(),
    })
}

/// `log.roll.hours*3600000` or a plain name.
fn parse_synonym(text: &'static str) -> Option<(&'static str, i64)> {
    match text.split_once('*') {
        Some((name, factor)) => Some((name, factor.parse().ok()?)),
        None => Some((text, 1)),
    }
}
