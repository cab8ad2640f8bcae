//! The checks a key's value must pass, written in the tables as `>=1`, `1..17`, `one-of[a,b]`, `list[a,b]+empty+null`, … Counterpart: ConfigDef's
//! Range, ValidString, ValidList and the few special validators of 4.3.1; each message is Kafka's.

use crate::listener::parse_host_port;
use crate::{ConfigError, Value};

#[derive(Clone, Debug, PartialEq)]
pub enum Validator {
    None,
    /// Bounds are kept as text too, because messages show them as the source wrote them (`0.5`, `1`).
    Range {
        min: Bound,
        max: Option<Bound>,
    },
    OneOf(Vec<&'static str>),
    OneOfAnyCase(Vec<&'static str>),
    List {
        allowed: Vec<&'static str>,
        empty: bool,
        null: bool,
    },
    NonEmpty,
    NonNull,
    GzipLevel,
    ThrottledReplicas,
    ShareOffsetReset,
    QuorumVoters,
    QuorumServers,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    text: &'static str,
    value: f64,
}

impl Bound {
    fn parse(text: &'static str) -> Option<Self> {
        Some(Self { text, value: text.parse().ok()? })
    }
}

impl Validator {
    /// Reads the notation of the tables.
    pub(crate) fn parse(text: &'static str) -> Option<Self> {
        Some(match text {
            "-" => Self::None,
            "non-empty" => Self::NonEmpty,
            "non-null" => Self::NonNull,
            "gzip-level" => Self::GzipLevel,
            "throttled-replicas" => Self::ThrottledReplicas,
            "share-offset-reset" => Self::ShareOffsetReset,
            "quorum-voters" => Self::QuorumVoters,
            "quorum-servers" => Self::QuorumServers,
            _ => {
                if let Some(min) = text.strip_prefix(">=") {
                    Self::Range { min: Bound::parse(min)?, max: None }
                } else if let Some(rest) = text.strip_prefix("one-of-any-case") {
                    Self::OneOfAnyCase(bracketed(rest)?.0)
                } else if let Some(rest) = text.strip_prefix("one-of") {
                    Self::OneOf(bracketed(rest)?.0)
                } else if let Some(rest) = text.strip_prefix("list") {
                    let (allowed, flags) = bracketed(rest)?;
                    Self::List { allowed, empty: flags.contains("+empty"), null: flags.contains("+null") }
                } else {
                    let (min, max) = text.split_once("..")?;
                    Self::Range { min: Bound::parse(min)?, max: Some(Bound::parse(max)?) }
                }
            }
        })
    }

    pub fn check(&self, name: &str, value: &Value) -> Result<(), ConfigError> {
        match self {
            Self::None => Ok(()),
            Self::Range { min, max } => check_range(name, value, *min, *max),
            Self::OneOf(allowed) => check_one_of(name, value, allowed),
            Self::OneOfAnyCase(allowed) => match value {
                Value::Str(s) if allowed.iter().any(|a| a.eq_ignore_ascii_case(s)) => Ok(()),
                _ => Err(ConfigError::value(name, value, format_args!("String must be one of (case insensitive): {}", allowed.join(", ")))),
            },
            Self::List { allowed, empty, null } => check_list(name, value, allowed, *empty, *null),
            Self::NonEmpty => match value {
                Value::Str(s) if s.is_empty() => Err(ConfigError::value(name, "", "String must be non-empty")),
                _ => Ok(()),
            },
            Self::NonNull => match value {
                Value::Null => Err(ConfigError::value(name, "null", "entry must be non null")),
                _ => Ok(()),
            },
            Self::GzipLevel => match value {
                Value::Int(level) if (1..=9).contains(level) || *level == -1 => Ok(()),
                _ => Err(ConfigError::value(name, value, "Value must be between 1 and 9 or equal to -1")),
            },
            Self::ThrottledReplicas => check_throttled_replicas(name, value),
            Self::ShareOffsetReset => check_share_offset_reset(name, value),
            Self::QuorumVoters => items(value).iter().try_for_each(|v| check_voter(v)),
            Self::QuorumServers => items(value).iter().try_for_each(|v| check_bootstrap_server(v)),
        }
    }
}

/// `[a,b]rest` to its items and the rest.
fn bracketed(text: &'static str) -> Option<(Vec<&'static str>, &'static str)> {
    let (items, rest) = text.strip_prefix('[')?.split_once(']')?;
    Some((if items.is_empty() { Vec::new() } else { items.split(',').collect() }, rest))
}

fn items(value: &Value) -> &[String] {
    match value {
        Value::List(items) => items,
        _ => &[],
    }
}

fn check_range(name: &str, value: &Value, min: Bound, max: Option<Bound>) -> Result<(), ConfigError> {
    let Some(number) = value.as_number() else {
        return Err(ConfigError::value(name, value, "Value must be non-null"));
    };
    if number < min.value {
        return Err(ConfigError::value(name, value, format_args!("Value must be at least {}", min.text)));
    }
    match max {
        Some(max) if number > max.value => Err(ConfigError::value(name, value, format_args!("Value must be no more than {}", max.text))),
        _ => Ok(()),
    }
}

fn check_one_of(name: &str, value: &Value, allowed: &[&str]) -> Result<(), ConfigError> {
    match value {
        Value::Str(s) if allowed.contains(&s.as_str()) => Ok(()),
        _ => Err(ConfigError::value(name, value, format_args!("String must be one of: {}", allowed.join(", ")))),
    }
}

fn check_list(name: &str, value: &Value, allowed: &[&str], empty: bool, null: bool) -> Result<(), ConfigError> {
    let Value::List(values) = value else {
        return if null { Ok(()) } else { Err(ConfigError::Invalid(format!("Configuration '{name}' values must not be null."))) };
    };
    if values.is_empty() && !empty {
        let valid = if allowed.is_empty() { "any non-empty value".to_owned() } else { format!("[{}]", allowed.join(", ")) };
        return Err(ConfigError::Invalid(format!("Configuration '{name}' must not be empty. Valid values include: {valid}")));
    }
    for item in values {
        if item.is_empty() {
            return Err(ConfigError::Invalid(format!("Configuration '{name}' values must not be empty.")));
        }
        if !allowed.is_empty() {
            check_one_of(name, &Value::Str(item.clone()), allowed)?;
        }
    }
    Ok(())
}

fn check_throttled_replicas(name: &str, value: &Value) -> Result<(), ConfigError> {
    let list = items(value);
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let pair = |s: &str| s.is_empty() || s.split_once(':').is_some_and(|(partition, broker)| digits(partition) && digits(broker));
    if list.iter().all(|item| pair(item.trim())) || list.concat() == "*" {
        return Ok(());
    }
    let format = "[partitionId]:[brokerId],[partitionId]:[brokerId],...";
    Err(ConfigError::value(
        name,
        value,
        format_args!("{name} must be the literal '*' or a list of replicas in the following format: {format}"),
    ))
}

fn check_share_offset_reset(name: &str, value: &Value) -> Result<(), ConfigError> {
    let text = value.to_text().unwrap_or_default();
    let ok = match text.strip_prefix("by_duration:") {
        Some(duration) => is_iso_duration(duration),
        None => text == "earliest" || text == "latest",
    };
    if ok {
        return Ok(());
    }
    let why = format!(
        "Invalid value `{text}` for configuration {name}. \
         The value must be either 'earliest', 'latest' or of the format 'by_duration:<PnDTnHnMn.nS>'."
    );
    Err(ConfigError::value(name, value, why))
}

/// `PnDTnHnMn.nS` as java.time.Duration reads it, without the negative ones that the strategy refuses.
fn is_iso_duration(text: &str) -> bool {
    let upper = text.to_ascii_uppercase();
    let Some(rest) = upper.strip_prefix('P') else { return false };
    let (days, time) = match rest.split_once('T') {
        Some((days, time)) if !time.is_empty() => (days, time),
        Some(_) => return false,
        None => (rest, ""),
    };
    if days.is_empty() && time.is_empty() {
        return false;
    }
    let mut parts = vec![(days, "D")];
    parts.push((time, "HMS"));
    parts.into_iter().all(|(text, units)| duration_units(text, units))
}

fn duration_units(mut text: &str, units: &str) -> bool {
    let mut allowed = units;
    while !text.is_empty() {
        let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '+')).unwrap_or(text.len());
        let (number, rest) = text.split_at(end);
        let Some(unit) = rest.chars().next() else { return false };
        let fraction_ok = !number.contains('.') || unit == 'S';
        let Some(at) = allowed.find(unit) else { return false };
        if !fraction_ok || number.trim_start_matches('+').parse::<f64>().is_err() {
            return false;
        }
        allowed = allowed.get(at + 1..).unwrap_or_default();
        text = rest.get(1..).unwrap_or_default();
    }
    true
}

fn check_voter(entry: &str) -> Result<(), ConfigError> {
    parse_voter(entry).map(|_| ())
}

/// `id@host:port` of controller.quorum.voters.
pub(crate) fn parse_voter(entry: &str) -> Result<(i32, String, u16), ConfigError> {
    let form = "Each entry should be in the form `{id}@{host}:{port}`.";
    let key = "controller.quorum.voters";
    let (id, address) = match entry.split_once('@') {
        Some((id, address)) if !address.is_empty() && !address.contains('@') => (id, address),
        _ => return Err(ConfigError::Invalid(format!("Invalid configuration value for {key}. {form}"))),
    };
    let id = id.parse().map_err(|_| ConfigError::Invalid(format!("Failed to parse voter ID as an integer from {id}")))?;
    let (host, port) = parse_host_port(address)
        .ok_or_else(|| ConfigError::Invalid(format!("Failed to parse host name from entry {entry} for the configuration {key}. {form}")))?;
    Ok((id, host, port))
}

fn check_bootstrap_server(entry: &str) -> Result<(), ConfigError> {
    if parse_host_port(entry).is_some() {
        return Ok(());
    }
    let key = "controller.quorum.bootstrap.servers";
    let form = "Each entry should be in the form \"{host}:{port}\"";
    Err(ConfigError::Invalid(format!("Failed to parse host name from {entry} for the configuration {key}. {form}")))
}
