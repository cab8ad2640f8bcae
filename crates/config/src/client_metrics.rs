//! Subscriptions to metrics that clients push (KIP-714). Counterpart: ClientMetricsConfigs.

use std::sync::LazyLock;

use crate::{ConfigDef, ConfigError, Props, Value};

static DEF: LazyLock<ConfigDef> = LazyLock::new(|| ConfigDef::from_table(include_str!("tables/client-metrics.txt")));

pub fn def() -> &'static ConfigDef {
    &DEF
}

const MATCH_KEYS: [&str; 6] =
    ["client_instance_id", "client_id", "client_software_name", "client_software_version", "client_source_address", "client_source_port"];

/// Checks all configs a subscription would have. That a match pattern is a regular expression is not checked here.
pub fn validate(name: &str, configs: &Props) -> Result<(), ConfigError> {
    if name.is_empty() {
        return Err(ConfigError::Request("Subscription name can't be empty".to_owned()));
    }
    if let Some(unknown) = configs.keys().find(|key| DEF.get(key).is_none()) {
        return Err(ConfigError::Request(format!("Unknown client metrics configuration: {unknown}")));
    }
    for key in DEF.keys() {
        let Some(text) = configs.get(key.name) else { continue };
        match key.parse(Some(text))? {
            Value::Int(interval) if !(100..=3_600_000).contains(&interval) => {
                let message = format!("Invalid value {interval} for interval.ms, interval must be between 100 and 3600000 (1 hour)");
                return Err(ConfigError::Request(message));
            }
            Value::List(patterns) if key.name == "match" => patterns.iter().try_for_each(|pattern| check_pattern(pattern))?,
            _ => {}
        }
    }
    Ok(())
}

fn check_pattern(pattern: &str) -> Result<(), ConfigError> {
    match pattern.split_once('=') {
        Some((key, value)) if MATCH_KEYS.contains(&key.trim()) && !value.is_empty() && !value.contains('=') => Ok(()),
        _ => Err(ConfigError::Conflict(format!("Illegal client matching pattern: {pattern}"))),
    }
}
