//! Broker configuration in layers: the file, the cluster-wide dynamic defaults, this broker's dynamic configs; and what a dynamic change must satisfy.
//! Counterpart: DynamicBrokerConfig.

use crate::broker::def;
use crate::{BrokerConfig, ConfigError, Props, SecurityProtocol, UpdateMode, Value};

/// The raw properties of each level. What is stored in the metadata log may hold names or values that are refused today; `Layers` leaves those out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layers {
    /// server.properties and overrides of the command line.
    pub fixed: Props,
    /// Dynamic configs of the resource BROKER with the empty name.
    pub cluster: Props,
    /// Dynamic configs of the resource BROKER with this broker's id.
    pub broker: Props,
}

impl Layers {
    pub fn new(fixed: Props) -> Self {
        Self { fixed: crate::broker::with_node_id_synonyms(&fixed), ..Self::default() }
    }

    pub fn with_dynamic(&self, cluster: &Props, broker: &Props) -> Self {
        Self { fixed: self.fixed.clone(), cluster: usable(cluster, false), broker: usable(broker, true) }
    }

    /// One map: the broker's own dynamic configs over the cluster-wide over the file.
    pub fn effective(&self) -> Props {
        let mut props = self.fixed.clone();
        override_props(&mut props, &self.cluster);
        override_props(&mut props, &self.broker);
        clamp_assignment_intervals(&mut props);
        props
    }

    pub fn config(&self) -> Result<BrokerConfig, ConfigError> {
        BrokerConfig::from_props(&self.effective())
    }

    /// Would these dynamic configs (all that the resource would have) be acceptable? `current` is what the broker runs with now.
    pub fn validate_change(&self, current: &BrokerConfig, props: &Props, per_broker: bool) -> Result<(), ConfigError> {
        let request = |e: ConfigError| ConfigError::Request(e.to_string());
        check_names_and_values(props, per_broker).map_err(request)?;
        let mut changed = self.fixed.clone();
        if per_broker {
            override_props(&mut changed, &self.cluster);
            override_props(&mut changed, props);
        } else {
            override_props(&mut changed, props);
            override_props(&mut changed, &self.broker);
        }
        let new = BrokerConfig::from_props(&changed).map_err(request)?;
        // Kafka passes what a component says as if it were the value of a configuration of this name.
        let wrap = |e: ConfigError| format!("org.apache.kafka.common.config.ConfigException: {e}");
        check_reconfiguration(current, &new)
            .map_err(|e| ConfigError::Request(format!("Invalid value {} for configuration Invalid dynamic configuration", wrap(e))))
    }
}

/// Broker keys of which one stands for the others: the first has precedence.
pub fn synonym_group(name: &str) -> Option<&'static [&'static str]> {
    const ROLL: &[&str] = &["log.roll.ms", "log.roll.hours"];
    const JITTER: &[&str] = &["log.roll.jitter.ms", "log.roll.jitter.hours"];
    const RETENTION: &[&str] = &["log.retention.ms", "log.retention.minutes", "log.retention.hours"];
    const FLUSH: &[&str] = &["log.flush.interval.ms", "log.flush.scheduler.interval.ms"];
    match name {
        "log.roll.ms" | "log.roll.hours" => Some(ROLL),
        "log.roll.jitter.ms" | "log.roll.jitter.hours" => Some(JITTER),
        "log.retention.ms" | "log.retention.minutes" | "log.retention.hours" => Some(RETENTION),
        // The scheduler's interval is the default of this one, but not a synonym of its own.
        "log.flush.interval.ms" => Some(FLUSH),
        _ => None,
    }
}

/// `listener.name.<listener>.<key>` to the key after the prefix.
pub fn listener_override(name: &str) -> Option<&str> {
    let (listener, key) = name.strip_prefix("listener.name.")?.split_once('.')?;
    (!listener.is_empty() || !key.is_empty()).then_some(key)
}

fn override_props(props: &mut Props, overrides: &Props) {
    for (name, value) in overrides {
        for synonym in synonym_group(name).unwrap_or_default() {
            props.remove(*synonym);
        }
        props.insert(name.clone(), value.clone());
    }
}

fn is_security_key(name: &str) -> bool {
    def().get(name).is_some_and(|key| key.mode == UpdateMode::PerBroker) && name.starts_with("ssl.") && !matches!(name, "ssl.client.auth")
}

/// What of the stored dynamic configs can be applied.
fn usable(props: &Props, per_broker: bool) -> Props {
    let keep = |name: &str, value: &str| {
        let one = Props::from([(name.to_owned(), value.to_owned())]);
        check_names_and_values(&one, per_broker).is_ok()
    };
    props.iter().filter(|(name, value)| keep(name, value)).map(|(n, v)| (n.clone(), v.clone())).collect()
}

fn check_names_and_values(props: &Props, per_broker: bool) -> Result<(), ConfigError> {
    let refuse = |why: &str, bad: Vec<&str>| match bad.is_empty() {
        true => Ok(()),
        false => Err(ConfigError::Invalid(format!("{why}: [{}]", bad.join(", ")))),
    };
    let names = || props.keys().map(String::as_str);
    let fixed = |name: &&str| def().get(name).is_some_and(|key| key.mode == UpdateMode::ReadOnly);
    refuse("Cannot update these configs dynamically", names().filter(fixed).collect())?;
    let unprefixed = |name: &&str| is_security_key(name);
    refuse(
        "These security configs can be dynamically updated only per-listener using the listener prefix",
        names().filter(unprefixed).collect(),
    )?;
    for (name, value) in props {
        let key = def().get(listener_override(name).unwrap_or(name)).filter(|key| key.mode != UpdateMode::ReadOnly);
        if let Some(key) = key {
            key.parse(Some(value))?;
        }
    }
    if per_broker {
        return Ok(());
    }
    let needs_id = |name: &&str| match listener_override(name) {
        Some(base) => !matches!(base, "max.connections" | "max.connection.creation.rate" | "num.network.threads"),
        None => def().get(name).is_some_and(|key| key.mode == UpdateMode::PerBroker),
    };
    refuse("Cannot update these configs at default cluster level, broker id must be specified", names().filter(needs_id).collect())
}

/// Dynamic assignment intervals are brought into the range of the static ones instead of being refused.
fn clamp_assignment_intervals(props: &mut Props) {
    for kind in ["consumer", "share", "streams"] {
        let number = |key: &str| {
            let key = def().get(key)?;
            match key.parse(props.get(key.name).map(String::as_str)) {
                Ok(Value::Int(v)) => Some(v),
                _ => None,
            }
        };
        let name = format!("group.{kind}.assignment.interval.ms");
        let (min, max) =
            (number(&format!("group.{kind}.min.assignment.interval.ms")), number(&format!("group.{kind}.max.assignment.interval.ms")));
        if let (Some(value), Some(min), Some(max), true) = (number(&name), min, max, props.contains_key(&name)) {
            let clamped = value.min(max).max(min);
            if clamped != value {
                props.insert(name, clamped.to_string());
            }
        }
    }
}

/// What Kafka's components refuse when they are told of the new values.
fn check_reconfiguration(old: &BrokerConfig, new: &BrokerConfig) -> Result<(), ConfigError> {
    check_thread_counts(old, new)?;
    check_cleaner_threads(old.log_cleaner_threads, new.log_cleaner_threads)?;
    let topic = &new.topic_defaults;
    check_local_retention("ms", topic.local_retention_ms_raw, topic.retention_ms, topic.retention_ms != -1)?;
    check_local_retention("bytes", topic.local_retention_bytes_raw, topic.retention_bytes, topic.retention_bytes > -1)?;
    let bound = new.listener_endpoints()?;
    if let Some(secured) = bound.iter().find(|e| e.protocol != SecurityProtocol::Plaintext) {
        return Err(ConfigError::Invalid(format!("Listener '{}' is not PLAINTEXT, and only that is supported so far", secured.listener)));
    }
    match old.advertised_broker_endpoints()?.iter().find(|e| bound.iter().all(|b| b.listener != e.listener)) {
        Some(lost) => Err(ConfigError::Invalid(format!("Advertised listener '{}' must be one of the listeners", lost.listener))),
        None => Ok(()),
    }
}

/// A thread pool at most doubles or halves in one step.
fn check_thread_counts(old: &BrokerConfig, new: &BrokerConfig) -> Result<(), ConfigError> {
    for key in ["num.io.threads", "num.replica.fetchers", "num.recovery.threads.per.data.dir", "background.threads", "num.network.threads"]
    {
        let (Value::Int(was), Value::Int(becomes)) = (old.value(key), new.value(key)) else { continue };
        let limit = if *becomes < was / 2 {
            "should be at least half"
        } else if i64::from(*becomes) > i64::from(*was) * 2 {
            "should not be greater than double"
        } else {
            continue;
        };
        let what = format!("Dynamic thread count update validation failed for {key}={becomes}");
        return Err(ConfigError::Invalid(format!("{what}, value {limit} the current value {was}")));
    }
    Ok(())
}

fn check_cleaner_threads(was: i32, becomes: i32) -> Result<(), ConfigError> {
    let refuse = |how: &str| Err(ConfigError::Invalid(format!("Log cleaner threads cannot be {how} the current value {was}")));
    match becomes {
        _ if becomes < 1 => Err(ConfigError::Invalid("Log cleaner threads should be at least 1".to_owned())),
        _ if becomes < was / 2 => refuse("reduced to less than half"),
        _ if i64::from(becomes) > i64::from(was) * 2 => refuse("increased to more than double"),
        _ => Ok(()),
    }
}

fn check_local_retention(unit: &str, local: i64, total: i64, limited: bool) -> Result<(), ConfigError> {
    let (local_key, total_key) = (format!("log.local.retention.{unit}"), format!("log.retention.{unit}"));
    if limited && local == -1 {
        return Err(ConfigError::value(&local_key, local, format_args!("Value must not be -1 as {total_key} value is set as {total}.")));
    }
    if limited && local > total {
        return Err(ConfigError::value(&local_key, local, format_args!("Value must not be more than {total_key} property value: {total}")));
    }
    Ok(())
}
