//! Broker configuration in layers: the file, the cluster-wide dynamic defaults, this broker's dynamic configs; and what a dynamic change must satisfy.
//! Counterpart: DynamicBrokerConfig, KafkaConfig.validateValues, GroupCoordinatorConfig.

use crate::broker::def;
use crate::{BrokerConfig, ConfigError, Endpoint, Props, UpdateMode, Value};

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
        check_reconfiguration(current, &new).map_err(|e| {
            ConfigError::Request(format!("Invalid value {} for configuration Invalid dynamic configuration", wrap(e)))
        })
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
    let topic = &new.topic_defaults;
    check_local_retention("ms", topic.local_retention_ms_raw, topic.retention_ms, topic.retention_ms != -1)?;
    check_local_retention("bytes", topic.local_retention_bytes_raw, topic.retention_bytes, topic.retention_bytes > -1)?;
    let bound = new.listener_endpoints()?;
    match old.advertised_broker_endpoints()?.iter().find(|e| bound.iter().all(|b| b.listener != e.listener)) {
        Some(lost) => Err(ConfigError::Invalid(format!("Advertised listener '{}' must be one of the listeners", lost.listener))),
        None => Ok(()),
    }
}

/// A thread pool at most doubles or halves in one step.
fn check_thread_counts(old: &BrokerConfig, new: &BrokerConfig) -> Result<(), ConfigError> {
    for key in ["num.io.threads", "num.replica.fetchers", "num.recovery.threads.per.data.dir", "background.threads", "num.network.threads"] {
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

fn require(holds: bool, message: impl FnOnce() -> String) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(ConfigError::Invalid(format!("requirement failed: {}", message()))) }
}

/// What must hold between values, in the order in which Kafka looks.
pub(crate) fn check_relations(config: &BrokerConfig) -> Result<(), ConfigError> {
    check_groups(config)?;
    if config.node_id != config.broker_id {
        return Err(ConfigError::Invalid("You must set `node.id` to the same value as `broker.id`.".to_owned()));
    }
    check_logs(config)?;
    check_roles(config)?;
    check_listeners(config)?;
    let (queued, request) = (config.queued_max_request_bytes, config.socket_request_max_bytes);
    require(queued <= 0 || queued >= i64::from(request), || {
        "queued.max.request.bytes must be larger or equal to socket.request.max.bytes".to_owned()
    })?;
    require(config.max_connections_per_ip != 0 || !config.max_connections_per_ip_overrides.is_empty(), || {
        "max.connections.per.ip can be set to zero only if max.connections.per.ip.overrides property is set.".to_owned()
    })?;
    let (delay, idle) = (config.connection_failed_authentication_delay_ms, config.connections_max_idle_ms);
    require(idle < 0 || i64::from(delay) < idle, || {
        format!(
            "connection.failed.authentication.delay.ms={delay} should always be less than connections.max.idle.ms={idle} \
             to prevent failed authentication responses from timing out"
        )
    })
}

fn check_groups(config: &BrokerConfig) -> Result<(), ConfigError> {
    let number = |key: &str| match config.value(key) {
        Value::Int(v) => *v,
        _ => 0,
    };
    let order = |larger: &str, smaller: &str, words: &str, first: &str, second: &str| match number(larger) >= number(smaller) {
        true => Ok(()),
        false => Err(ConfigError::Invalid(format!("{first} must be {words} {second}"))),
    };
    let at_least = |larger: &str, smaller: &str| order(larger, smaller, "greater than or equal to", larger, smaller);
    let at_most = |smaller: &str, larger: &str| order(larger, smaller, "less than or equal to", smaller, larger);
    for kind in ["consumer", "share", "streams"] {
        for what in ["heartbeat.interval.ms", "session.timeout.ms", "assignment.interval.ms"] {
            let (value, min, max) =
                (format!("group.{kind}.{what}"), format!("group.{kind}.min.{what}"), format!("group.{kind}.max.{what}"));
            at_least(&max, &min)?;
            at_least(&value, &min)?;
            at_most(&value, &max)?;
            if what == "session.timeout.ms" {
                let heartbeat = format!("group.{kind}.heartbeat.interval.ms");
                if number(&heartbeat) >= number(&value) {
                    return Err(ConfigError::Invalid(format!("{heartbeat} must be less than {value}")));
                }
            }
        }
    }
    at_most("group.streams.num.standby.replicas", "group.streams.max.standby.replicas")?;
    for what in ["delivery.count.limit", "partition.max.record.locks", "record.lock.duration.ms"] {
        let (value, min, max) = (format!("group.share.{what}"), format!("group.share.min.{what}"), format!("group.share.max.{what}"));
        at_least(&max, &value)?;
        at_least(&value, &min)?;
    }
    at_least("group.share.max.share.sessions", "group.share.max.size")?;
    match config.value("group.coordinator.rebalance.protocols") {
        Value::List(protocols) if !protocols.iter().any(|p| p == "classic") => {
            Err(ConfigError::Invalid("Disabling the 'classic' protocol is not supported.".to_owned()))
        }
        _ => Ok(()),
    }
}

fn check_logs(config: &BrokerConfig) -> Result<(), ConfigError> {
    let topic = &config.topic_defaults;
    require(topic.segment_ms >= 1, || "log.roll.ms must be greater than or equal to 1".to_owned())?;
    require(topic.segment_jitter_ms >= 0, || "log.roll.jitter.ms must be greater than or equal to 0".to_owned())?;
    require(topic.retention_ms >= 1 || topic.retention_ms == -1, || {
        "log.retention.ms must be unlimited (-1) or, greater than or equal to 1".to_owned()
    })?;
    let per_thread = config.log_cleaner_dedupe_buffer_size.checked_div(i64::from(config.log_cleaner_threads)).unwrap_or(i64::MAX);
    require(per_thread > 1024 * 1024, || "log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.".to_owned())?;
    require(config.replica_fetch_wait_max_ms <= config.replica_socket_timeout_ms, || {
        "replica.socket.timeout.ms should always be at least replica.fetch.wait.max.ms to prevent unnecessary socket timeouts".to_owned()
    })?;
    require(i64::from(config.replica_fetch_wait_max_ms) <= config.replica_lag_time_max_ms, || {
        "replica.fetch.wait.max.ms should always be less than or equal to replica.lag.time.max.ms to prevent frequent changes in ISR".to_owned()
    })
}

fn check_roles(config: &BrokerConfig) -> Result<(), ConfigError> {
    let voters: Vec<i32> = config.voters()?.iter().map(|(id, _, _)| *id).collect();
    let id = config.node_id;
    let described = || {
        let ids: Vec<String> = voters.iter().map(i32::to_string).collect();
        format!("the set of voters controller.quorum.voters=Set({})", ids.join(", "))
    };
    if voters.is_empty() && config.controller_quorum_bootstrap_servers.is_empty() {
        return Err(ConfigError::Invalid(
            "If using process.roles, either controller.quorum.bootstrap.servers must contain the set of bootstrap controllers or \
             controller.quorum.voters must contain a parseable set of controllers."
                .to_owned(),
        ));
    }
    if config.is_controller() {
        require(voters.is_empty() || voters.contains(&id), || {
            format!("If process.roles contains the 'controller' role, the node id {id} must be included in {}", described())
        })?;
        let names = config.listener_endpoints()?;
        require(!config.advertised_controller_endpoints()?.is_empty(), || {
            "controller.listener.names must contain at least one value appearing in the 'listeners' configuration when running the KRaft \
             controller role"
                .to_owned()
        })?;
        require(config.controller_listener_names.iter().all(|n| names.iter().any(|e| e.listener == *n)), || {
            "controller.listener.names must only contain values appearing in the 'listeners' configuration when running the KRaft controller \
             role"
                .to_owned()
        })?;
    } else {
        require(!voters.contains(&id), || {
            format!("If process.roles contains just the 'broker' role, the node id {id} must not be included in {}", described())
        })?;
        let bound = config.listener_endpoints()?;
        require(!bound.iter().any(|e| config.is_controller_listener(&e.listener)), || {
            "controller.listener.names must not contain a value appearing in the 'listeners' configuration when running KRaft with just the \
             broker role"
                .to_owned()
        })?;
    }
    Ok(())
}

fn check_listeners(config: &BrokerConfig) -> Result<(), ConfigError> {
    let advertised = config.advertised_broker_endpoints()?;
    let join = |endpoints: &[Endpoint]| endpoints.iter().map(|e| e.listener.as_str()).collect::<Vec<_>>().join(",");
    if config.is_broker() {
        require(!advertised.is_empty(), || {
            "There must be at least one broker advertised listener. Perhaps all listeners appear in controller.listener.names?".to_owned()
        })?;
        let inter = config.inter_broker_listener();
        require(advertised.iter().any(|e| e.listener == inter), || {
            format!(
                "inter.broker.listener.name must be a listener name defined in advertised.listeners. \
                 The valid options based on currently configured listeners are {}",
                join(&advertised)
            )
        })?;
        let bound = config.listener_endpoints()?;
        require(advertised.iter().all(|a| bound.iter().any(|b| b.listener == a.listener)), || {
            format!(
                "advertised.listeners listener names must be equal to or a subset of the ones defined in listeners. Found {}. \
                 The valid options based on the current configuration are {}",
                join(&advertised),
                join(&bound)
            )
        })?;
        check_cordoned(config)?;
    }
    let meta_address = |endpoints: &[Endpoint]| endpoints.iter().any(|e| e.host.as_deref() == Some("0.0.0.0"));
    require(!meta_address(&advertised) && !meta_address(&config.advertised_controller_endpoints()?), || {
        "advertised.listeners cannot use the nonroutable meta-address 0.0.0.0. Use a routable IP address.".to_owned()
    })
}


fn check_cordoned(config: &BrokerConfig) -> Result<(), ConfigError> {
    let cordoned = &config.cordoned_log_dirs;
    if cordoned.iter().any(|dir| dir == "*") {
        return require(cordoned.len() == 1, || "When cordoned.log.dirs is set to *, it must not contain other values".to_owned());
    }
    let dirs = config.log_directories();
    let missing: Vec<&str> = cordoned.iter().filter(|dir| !dirs.contains(dir)).map(String::as_str).collect();
    require(missing.is_empty(), || {
        format!("All entries in cordoned.log.dirs must be present in log.dirs or log.dir. Missing entries : {}", missing.join(", "))
    })
}
