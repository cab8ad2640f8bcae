//! What must hold between the values of a broker, at start and at every dynamic change.
//! Counterpart: KafkaConfig.validateValues, GroupCoordinatorConfig, ShareGroupConfig.

use crate::{BrokerConfig, ConfigError, Endpoint, Value};

fn require(holds: bool, message: impl FnOnce() -> String) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(ConfigError::Invalid(format!("requirement failed: {}", message()))) }
}

/// What must hold between values, in the order in which Kafka looks.
pub(crate) fn check(config: &BrokerConfig) -> Result<(), ConfigError> {
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
    check_connection_limits(config)?;
    let (delay, idle) = (config.connection_failed_authentication_delay_ms, config.connections_max_idle_ms);
    require(idle < 0 || i64::from(delay) < idle, || {
        format!(
            "connection.failed.authentication.delay.ms={delay} should always be less than connections.max.idle.ms={idle} \
             to prevent failed authentication responses from timing out"
        )
    })
}

/// `address:number` pairs.
fn check_connection_limits(config: &BrokerConfig) -> Result<(), ConfigError> {
    let key = "max.connections.per.ip.overrides";
    let mut wrong = Vec::new();
    for entry in config.max_connections_per_ip_overrides.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let (host, number) = entry.rsplit_once(':').ok_or_else(|| crate::listener::no_colon(key, entry))?;
        if number.trim().parse::<i32>().is_err() {
            return Err(ConfigError::Invalid(format!("For input string: \"{}\"", number.trim())));
        }
        if !host.trim().bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'%' | b'.' | b'_' | b':')) {
            wrong.push(host.trim());
        }
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(ConfigError::Invalid(format!("{key} contains invalid addresses : {}", wrong.join(",")))),
    }
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
        "replica.fetch.wait.max.ms should always be less than or equal to replica.lag.time.max.ms to prevent frequent changes in ISR"
            .to_owned()
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
    let bound = config.listener_endpoints()?;
    if !config.is_broker() {
        require(bound.iter().all(|e| config.is_controller_listener(&e.listener)), || {
            "The listeners config must only contain KRaft controller listeners from controller.listener.names when process.roles=controller"
                .to_owned()
        })?;
    }
    if config.is_controller() {
        require(voters.is_empty() || voters.contains(&id), || {
            format!("If process.roles contains the 'controller' role, the node id {id} must be included in {}", described())
        })?;
        require(!config.advertised_controller_endpoints()?.is_empty(), || {
            "controller.listener.names must contain at least one value appearing in the 'listeners' configuration when running the KRaft \
             controller role"
                .to_owned()
        })?;
        require(config.controller_listener_names.iter().all(|n| bound.iter().any(|e| e.listener == *n)), || {
            "controller.listener.names must only contain values appearing in the 'listeners' configuration when running the KRaft controller \
             role"
                .to_owned()
        })?;
    } else {
        require(!voters.contains(&id), || {
            format!("If process.roles contains just the 'broker' role, the node id {id} must not be included in {}", described())
        })?;
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
        if config.inter_broker_listener_name.is_some() && !config.protocol_map()?.contains_key(&inter) {
            return Err(ConfigError::Invalid(format!(
                "Listener with name {inter} defined in inter.broker.listener.name not found in listener.security.protocol.map."
            )));
        }
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
