//! A broker's configuration as typed fields. Only keys that Gregor acts on have a field; the table `tables/broker.txt` knows all of them.
//! Counterpart: KafkaConfig.

use std::sync::LazyLock;

use crate::listener::{self, Endpoint, ProtocolMap};
use crate::own::OwnConfig;
use crate::validator::parse_voter;
use crate::{ConfigDef, ConfigError, Props, TopicConfig, Value};

static DEF: LazyLock<ConfigDef> = LazyLock::new(|| ConfigDef::from_table(include_str!("tables/broker.txt")));

/// All broker keys of Kafka 4.3.1, with the three dynamic-only replication throttles.
pub fn def() -> &'static ConfigDef {
    &DEF
}

/// How a parsed value becomes a field. A value of another type cannot occur: the table fixes the type of each key, and a test reads every field.
trait Field: Sized {
    fn from_value(value: &Value) -> Option<Self>;
}

macro_rules! field {
    ($type:ty, $pattern:pat => $value:expr) => {
        impl Field for $type {
            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    $pattern => $value,
                    _ => None,
                }
            }
        }
    };
}
field!(bool, Value::Bool(v) => Some(*v));
field!(i16, Value::Short(v) => Some(*v));
field!(i32, Value::Int(v) => Some(*v));
field!(i64, Value::Long(v) => Some(*v));
field!(f64, Value::Double(v) => Some(*v));
field!(String, Value::Str(v) => Some(v.clone()));
field!(Vec<String>, Value::List(v) => Some(v.clone()));

impl<T: Field> Field for Option<T> {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            other => T::from_value(other).map(Some),
        }
    }
}

macro_rules! broker_config {
    ($($field:ident: $type:ty = $key:literal,)*) => {
        /// Built from properties; every field has Kafka's default. Fields carry the key's name with underscores.
        #[derive(Clone, Debug, PartialEq)]
        pub struct BrokerConfig {
            $(pub $field: $type,)*
            /// What a topic without overrides gets.
            pub topic_defaults: TopicConfig,
            /// Keys that Kafka does not have.
            pub own: OwnConfig,
            values: Vec<Value>,
            listener_map_is_explicit: bool,
        }

        /// The keys that have a field.
        pub const FIELD_KEYS: &[&str] = &[$($key,)*];

        impl BrokerConfig {
            fn from_values(values: Vec<Value>, own: OwnConfig, listener_map_is_explicit: bool) -> Result<Self, ConfigError> {
                $(let $field: $type = field(&values, $key)?;)*
                let topic_defaults = TopicConfig::from_broker_values(&|key| value(&values, key))?;
                Ok(Self { $($field,)* topic_defaults, own, values, listener_map_is_explicit })
            }
        }
    };
}

broker_config! {
    // identity and roles
    node_id: i32 = "node.id",
    broker_id: i32 = "broker.id",
    process_roles: Vec<String> = "process.roles",
    broker_rack: Option<String> = "broker.rack",
    // network
    listeners: Vec<String> = "listeners",
    advertised_listeners: Option<Vec<String>> = "advertised.listeners",
    listener_security_protocol_map: String = "listener.security.protocol.map",
    inter_broker_listener_name: Option<String> = "inter.broker.listener.name",
    security_inter_broker_protocol: String = "security.inter.broker.protocol",
    controller_listener_names: Vec<String> = "controller.listener.names",
    num_network_threads: i32 = "num.network.threads",
    num_io_threads: i32 = "num.io.threads",
    num_replica_fetchers: i32 = "num.replica.fetchers",
    num_recovery_threads_per_data_dir: i32 = "num.recovery.threads.per.data.dir",
    background_threads: i32 = "background.threads",
    socket_send_buffer_bytes: i32 = "socket.send.buffer.bytes",
    socket_receive_buffer_bytes: i32 = "socket.receive.buffer.bytes",
    socket_request_max_bytes: i32 = "socket.request.max.bytes",
    socket_listen_backlog_size: i32 = "socket.listen.backlog.size",
    max_connections: i32 = "max.connections",
    max_connections_per_ip: i32 = "max.connections.per.ip",
    max_connections_per_ip_overrides: String = "max.connections.per.ip.overrides",
    max_connection_creation_rate: i32 = "max.connection.creation.rate",
    connections_max_idle_ms: i64 = "connections.max.idle.ms",
    connection_failed_authentication_delay_ms: i32 = "connection.failed.authentication.delay.ms",
    queued_max_request_bytes: i64 = "queued.max.request.bytes",
    request_timeout_ms: i32 = "request.timeout.ms",
    // quorum and metadata
    controller_quorum_voters: Vec<String> = "controller.quorum.voters",
    controller_quorum_bootstrap_servers: Vec<String> = "controller.quorum.bootstrap.servers",
    controller_quorum_auto_join_enable: bool = "controller.quorum.auto.join.enable",
    controller_quorum_election_timeout_ms: i32 = "controller.quorum.election.timeout.ms",
    controller_quorum_election_backoff_max_ms: i32 = "controller.quorum.election.backoff.max.ms",
    controller_quorum_fetch_timeout_ms: i32 = "controller.quorum.fetch.timeout.ms",
    controller_quorum_request_timeout_ms: i32 = "controller.quorum.request.timeout.ms",
    controller_quorum_append_linger_ms: i32 = "controller.quorum.append.linger.ms",
    metadata_log_dir: Option<String> = "metadata.log.dir",
    metadata_log_segment_bytes: i32 = "metadata.log.segment.bytes",
    metadata_log_segment_ms: i64 = "metadata.log.segment.ms",
    metadata_max_retention_bytes: i64 = "metadata.max.retention.bytes",
    metadata_max_retention_ms: i64 = "metadata.max.retention.ms",
    metadata_log_max_record_bytes_between_snapshots: i64 = "metadata.log.max.record.bytes.between.snapshots",
    metadata_log_max_snapshot_interval_ms: i64 = "metadata.log.max.snapshot.interval.ms",
    metadata_max_idle_interval_ms: i32 = "metadata.max.idle.interval.ms",
    broker_heartbeat_interval_ms: i32 = "broker.heartbeat.interval.ms",
    broker_session_timeout_ms: i32 = "broker.session.timeout.ms",
    initial_broker_registration_timeout_ms: i32 = "initial.broker.registration.timeout.ms",
    controlled_shutdown_enable: bool = "controlled.shutdown.enable",
    // topics
    auto_create_topics_enable: bool = "auto.create.topics.enable",
    delete_topic_enable: bool = "delete.topic.enable",
    num_partitions: i32 = "num.partitions",
    default_replication_factor: i32 = "default.replication.factor",
    // log
    log_dir: Vec<String> = "log.dir",
    log_dirs: Option<Vec<String>> = "log.dirs",
    cordoned_log_dirs: Vec<String> = "cordoned.log.dirs",
    log_retention_check_interval_ms: i64 = "log.retention.check.interval.ms",
    log_initial_task_delay_ms: i64 = "log.initial.task.delay.ms",
    log_flush_scheduler_interval_ms: i64 = "log.flush.scheduler.interval.ms",
    log_flush_offset_checkpoint_interval_ms: i32 = "log.flush.offset.checkpoint.interval.ms",
    log_flush_start_offset_checkpoint_interval_ms: i32 = "log.flush.start.offset.checkpoint.interval.ms",
    log_dir_failure_timeout_ms: i64 = "log.dir.failure.timeout.ms",
    replica_high_watermark_checkpoint_interval_ms: i64 = "replica.high.watermark.checkpoint.interval.ms",
    replica_lag_time_max_ms: i64 = "replica.lag.time.max.ms",
    replica_socket_timeout_ms: i32 = "replica.socket.timeout.ms",
    replica_fetch_wait_max_ms: i32 = "replica.fetch.wait.max.ms",
    log_cleaner_enable: bool = "log.cleaner.enable",
    log_cleaner_threads: i32 = "log.cleaner.threads",
    log_cleaner_dedupe_buffer_size: i64 = "log.cleaner.dedupe.buffer.size",
    log_cleaner_io_buffer_size: i32 = "log.cleaner.io.buffer.size",
    log_cleaner_io_buffer_load_factor: f64 = "log.cleaner.io.buffer.load.factor",
    log_cleaner_io_max_bytes_per_second: f64 = "log.cleaner.io.max.bytes.per.second",
    log_cleaner_backoff_ms: i64 = "log.cleaner.backoff.ms",
    remote_log_storage_system_enable: bool = "remote.log.storage.system.enable",
    // produce and fetch
    fetch_max_bytes: i32 = "fetch.max.bytes",
    max_incremental_fetch_session_cache_slots: i32 = "max.incremental.fetch.session.cache.slots",
    max_request_partition_size_limit: i32 = "max.request.partition.size.limit",
    producer_id_expiration_ms: i32 = "producer.id.expiration.ms",
    producer_id_expiration_check_interval_ms: i32 = "producer.id.expiration.check.interval.ms",
    // groups and offsets
    group_min_session_timeout_ms: i32 = "group.min.session.timeout.ms",
    group_max_session_timeout_ms: i32 = "group.max.session.timeout.ms",
    group_initial_rebalance_delay_ms: i32 = "group.initial.rebalance.delay.ms",
    group_max_size: i32 = "group.max.size",
    group_coordinator_rebalance_protocols: Vec<String> = "group.coordinator.rebalance.protocols",
    group_consumer_session_timeout_ms: i32 = "group.consumer.session.timeout.ms",
    group_consumer_min_session_timeout_ms: i32 = "group.consumer.min.session.timeout.ms",
    group_consumer_max_session_timeout_ms: i32 = "group.consumer.max.session.timeout.ms",
    group_consumer_heartbeat_interval_ms: i32 = "group.consumer.heartbeat.interval.ms",
    group_consumer_min_heartbeat_interval_ms: i32 = "group.consumer.min.heartbeat.interval.ms",
    group_consumer_max_heartbeat_interval_ms: i32 = "group.consumer.max.heartbeat.interval.ms",
    group_consumer_assignment_interval_ms: i32 = "group.consumer.assignment.interval.ms",
    group_consumer_min_assignment_interval_ms: i32 = "group.consumer.min.assignment.interval.ms",
    group_consumer_max_assignment_interval_ms: i32 = "group.consumer.max.assignment.interval.ms",
    group_consumer_max_size: i32 = "group.consumer.max.size",
    group_consumer_assignors: Vec<String> = "group.consumer.assignors",
    group_consumer_migration_policy: String = "group.consumer.migration.policy",
    group_consumer_regex_refresh_interval_ms: i32 = "group.consumer.regex.refresh.interval.ms",
    offset_metadata_max_bytes: i32 = "offset.metadata.max.bytes",
    offsets_commit_timeout_ms: i32 = "offsets.commit.timeout.ms",
    offsets_load_buffer_size: i32 = "offsets.load.buffer.size",
    offsets_retention_minutes: i32 = "offsets.retention.minutes",
    offsets_retention_check_interval_ms: i64 = "offsets.retention.check.interval.ms",
    offsets_topic_num_partitions: i32 = "offsets.topic.num.partitions",
    offsets_topic_replication_factor: i16 = "offsets.topic.replication.factor",
    offsets_topic_segment_bytes: i32 = "offsets.topic.segment.bytes",
    offsets_topic_compression_codec: i32 = "offsets.topic.compression.codec",
    // transactions
    transactional_id_expiration_ms: i32 = "transactional.id.expiration.ms",
    transaction_max_timeout_ms: i32 = "transaction.max.timeout.ms",
    transaction_state_log_num_partitions: i32 = "transaction.state.log.num.partitions",
    transaction_state_log_replication_factor: i16 = "transaction.state.log.replication.factor",
    transaction_state_log_segment_bytes: i32 = "transaction.state.log.segment.bytes",
    transaction_state_log_min_isr: i32 = "transaction.state.log.min.isr",
    transaction_abort_timed_out_transaction_cleanup_interval_ms: i32 = "transaction.abort.timed.out.transaction.cleanup.interval.ms",
    transaction_remove_expired_transaction_cleanup_interval_ms: i32 = "transaction.remove.expired.transaction.cleanup.interval.ms",
    transaction_two_phase_commit_enable: bool = "transaction.two.phase.commit.enable",
    transaction_partition_verification_enable: bool = "transaction.partition.verification.enable",
    add_partitions_to_txn_retry_backoff_ms: i32 = "add.partitions.to.txn.retry.backoff.ms",
    add_partitions_to_txn_retry_backoff_max_ms: i32 = "add.partitions.to.txn.retry.backoff.max.ms",
    // not for production
    unstable_api_versions_enable: bool = "unstable.api.versions.enable",
    unstable_feature_versions_enable: bool = "unstable.feature.versions.enable",
}

fn value<'a>(values: &'a [Value], key: &str) -> &'a Value {
    DEF.position(key).and_then(|i| values.get(i)).unwrap_or(&Value::Null)
}

fn field<T: Field>(values: &[Value], key: &str) -> Result<T, ConfigError> {
    T::from_value(value(values, key)).ok_or_else(|| ConfigError::Invalid(format!("{key} has no value")))
}

impl BrokerConfig {
    /// From the properties of a file, or from `Layers::effective`. Checks every value and what must hold between them, with Kafka's messages.
    pub fn from_props(props: &Props) -> Result<Self, ConfigError> {
        let config = Self::unchecked(props)?;
        if config.inter_broker_listener_name.is_some() && props.contains_key("security.inter.broker.protocol") {
            let message = "Only one of inter.broker.listener.name and security.inter.broker.protocol should be set.";
            return Err(ConfigError::Invalid(message.to_owned()));
        }
        crate::relations::check(&config)?;
        Ok(config)
    }

    /// Each value by itself is checked, the relations between them are not.
    pub(crate) fn unchecked(props: &Props) -> Result<Self, ConfigError> {
        let values = DEF.parse(&with_node_id_synonyms(props))?;
        Self::from_values(values, OwnConfig::from_props(props)?, props.contains_key("listener.security.protocol.map"))
    }

    /// The parsed value of any key, with its default; Null where the key is unknown or has none.
    pub fn value(&self, key: &str) -> &Value {
        value(&self.values, key)
    }

    pub fn is_broker(&self) -> bool {
        self.process_roles.iter().any(|role| role == "broker")
    }

    pub fn is_controller(&self) -> bool {
        self.process_roles.iter().any(|role| role == "controller")
    }

    /// `log.dirs`, else `log.dir`.
    pub fn log_directories(&self) -> &[String] {
        self.log_dirs.as_deref().unwrap_or(&self.log_dir)
    }

    /// `metadata.log.dir`, else the first log directory.
    pub fn metadata_directory(&self) -> Option<&str> {
        self.metadata_log_dir.as_deref().or_else(|| self.log_directories().first().map(String::as_str))
    }

    pub fn protocol_map(&self) -> Result<ProtocolMap, ConfigError> {
        let map = &self.listener_security_protocol_map;
        listener::protocol_map(map, self.listener_map_is_explicit, &self.controller_listener_names, &self.listeners)
    }

    /// Everything this process listens on.
    pub fn listener_endpoints(&self) -> Result<Vec<Endpoint>, ConfigError> {
        listener::parse_list(&self.listeners, &self.protocol_map()?, true)
    }

    pub fn is_controller_listener(&self, name: &str) -> bool {
        self.controller_listener_names.iter().any(|n| n.eq_ignore_ascii_case(name))
    }

    /// What clients are told to connect to: `advertised.listeners`, else `listeners`, without the controllers' ones.
    pub fn advertised_broker_endpoints(&self) -> Result<Vec<Endpoint>, ConfigError> {
        let endpoints = match &self.advertised_listeners {
            Some(advertised) => listener::parse_list(advertised, &self.protocol_map()?, false)?,
            None => self.listener_endpoints()?,
        };
        Ok(endpoints.into_iter().filter(|e| !self.is_controller_listener(&e.listener)).collect())
    }

    /// The advertised address of each controller listener, in the order of `controller.listener.names`.
    pub fn advertised_controller_endpoints(&self) -> Result<Vec<Endpoint>, ConfigError> {
        let map = self.protocol_map()?;
        let advertised = match &self.advertised_listeners {
            Some(advertised) => listener::parse_list(advertised, &map, false)?,
            None => Vec::new(),
        };
        let bound = self.listener_endpoints()?;
        let voter = self.voters()?.into_iter().find(|(id, _, _)| *id == self.node_id);
        let mut endpoints = Vec::new();
        for (i, name) in self.controller_listener_names.iter().enumerate() {
            let by_name = |e: &&Endpoint| e.listener.eq_ignore_ascii_case(name);
            if let Some(endpoint) = advertised.iter().find(by_name) {
                endpoints.push(endpoint.clone());
            } else if let Some(endpoint) = bound.iter().find(by_name) {
                let wildcard = matches!(endpoint.host.as_deref(), None | Some("0.0.0.0"));
                let mut endpoint = endpoint.clone();
                match &voter {
                    Some((_, host, port)) if i == 0 && wildcard => {
                        (endpoint.host, endpoint.port) = (Some(host.clone()), *port);
                    }
                    _ if wildcard => endpoint.host = None,
                    _ => {}
                }
                endpoints.push(endpoint);
            }
        }
        Ok(endpoints)
    }

    /// The listener that brokers use among themselves.
    pub fn inter_broker_listener(&self) -> String {
        match &self.inter_broker_listener_name {
            Some(name) => name.to_ascii_uppercase(),
            None => self.security_inter_broker_protocol.clone(),
        }
    }

    /// (id, host, port) of `controller.quorum.voters`.
    pub fn voters(&self) -> Result<Vec<(i32, String, u16)>, ConfigError> {
        self.controller_quorum_voters.iter().map(|entry| parse_voter(entry)).collect()
    }

    pub fn offsets_retention_ms(&self) -> i64 {
        i64::from(self.offsets_retention_minutes) * 60_000
    }

    /// Address to connection limit, from `max.connections.per.ip.overrides`.
    pub fn connection_limits_by_address(&self) -> Vec<(String, i32)> {
        let entries = self.max_connections_per_ip_overrides.split(',').map(str::trim).filter(|e| !e.is_empty());
        entries.filter_map(|e| e.rsplit_once(':')).filter_map(|(host, n)| Some((host.trim().to_owned(), n.trim().parse().ok()?))).collect()
    }
}

/// node.id and broker.id name the same thing; either gives the other its value.
pub(crate) fn with_node_id_synonyms(props: &Props) -> Props {
    let mut props = props.clone();
    match (props.get("broker.id").cloned(), props.get("node.id").cloned()) {
        (None, Some(id)) => props.insert("broker.id".to_owned(), id),
        (Some(id), None) => props.insert("node.id".to_owned(), id),
        _ => None,
    };
    props
}
