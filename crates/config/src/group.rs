//! Group configs: what `kafka-configs --entity-type groups` sets for one group. Counterpart: GroupConfig.

use std::sync::LazyLock;

use crate::{BrokerConfig, ConfigDef, ConfigError, Props, Value};

static DEF: LazyLock<ConfigDef> = LazyLock::new(|| ConfigDef::from_table(include_str!("tables/group.txt")));

/// The 17 group keys.
pub fn def() -> &'static ConfigDef {
    &DEF
}

/// The group's own value, else the broker's, else the default. An override that no longer parses counts as absent.
pub fn value(broker: &BrokerConfig, overrides: &Props, name: &str) -> Value {
    let Some(key) = DEF.get(name) else { return Value::Null };
    if let Some(Ok(value)) = overrides.get(name).map(|text| key.parse(Some(text))) {
        return value;
    }
    match key.synonyms.first() {
        Some((synonym, _)) => broker.value(synonym).clone(),
        None => key.default.clone(),
    }
}

/// Checks all overrides a group would have: names, values, the broker's bounds, and sessions longer than heartbeats.
pub fn validate(broker: &BrokerConfig, overrides: &Props) -> Result<(), ConfigError> {
    if let Some(name) = overrides.keys().find(|name| DEF.get(name).is_none()) {
        return Err(ConfigError::Conflict(format!("Unknown group config name: {name}")));
    }
    for key in DEF.keys() {
        if let Some(text) = overrides.get(key.name) {
            key.parse(Some(text))?;
        }
    }
    let number = |name: &str| match value(broker, overrides, name) {
        Value::Int(v) => v,
        _ => 0,
    };
    let bound = |name: &str, min: bool| {
        let (kind, rest) = name.split_once('.').unwrap_or((name, ""));
        let limit = format!("group.{kind}.{}.{rest}", if min { "min" } else { "max" });
        let Value::Int(allowed) = broker.value(&limit) else { return Ok(()) };
        let (ok, words) =
            if min { (number(name) >= *allowed, "greater than or equal to") } else { (number(name) <= *allowed, "less than or equal to") };
        if ok { Ok(()) } else { Err(ConfigError::Conflict(format!("{name} must be {words} {limit}"))) }
    };
    let within = |name: &str| bound(name, true).and_then(|()| bound(name, false));
    for kind in ["consumer", "share", "streams"] {
        within(&format!("{kind}.heartbeat.interval.ms"))?;
        within(&format!("{kind}.session.timeout.ms"))?;
        if kind == "share" {
            within("share.record.lock.duration.ms")?;
            within("share.delivery.count.limit")?;
            within("share.partition.max.record.locks")?;
        }
        if kind == "streams" && number("streams.num.standby.replicas") > max_standby_replicas(broker) {
            let message = "streams.num.standby.replicas must be less than or equal to group.streams.max.standby.replicas";
            return Err(ConfigError::Conflict(message.to_owned()));
        }
        let assignment = format!("{kind}.assignment.interval.ms");
        if overrides.contains_key(&assignment) {
            within(&assignment)?;
        }
    }
    for kind in ["consumer", "share", "streams"] {
        let (session, heartbeat) = (format!("{kind}.session.timeout.ms"), format!("{kind}.heartbeat.interval.ms"));
        if number(&session) <= number(&heartbeat) {
            return Err(ConfigError::Conflict(format!("{session} must be greater than {heartbeat}")));
        }
    }
    Ok(())
}

fn max_standby_replicas(broker: &BrokerConfig) -> i32 {
    match broker.value("group.streams.max.standby.replicas") {
        Value::Int(v) => *v,
        _ => i32::MAX,
    }
}
