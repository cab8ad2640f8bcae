//! A topic's configuration: its overrides over the broker's values over the defaults. Counterpart: LogConfig, TopicConfig, ServerTopicConfigSynonyms.

use std::sync::LazyLock;

use crate::{BrokerConfig, ConfigDef, ConfigError, Props, Value};

static DEF: LazyLock<ConfigDef> = LazyLock::new(|| ConfigDef::from_table(include_str!("tables/topic.txt")));

/// The 33 topic keys, and the internal one.
pub fn def() -> &'static ConfigDef {
    &DEF
}

/// compression.type: what batches are stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionType {
    /// Whatever the producer chose.
    Producer,
    Uncompressed,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    CreateTime,
    LogAppendTime,
}

/// Times in milliseconds, sizes in bytes; -1 is "no limit" where Kafka says so (retention), i64::MAX elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    pub segment_bytes: i32,
    pub segment_ms: i64,
    pub segment_jitter_ms: i64,
    pub segment_index_bytes: i32,
    pub flush_messages: i64,
    pub flush_ms: i64,
    pub retention_bytes: i64,
    pub retention_ms: i64,
    pub max_message_bytes: i32,
    pub index_interval_bytes: i32,
    pub delete_retention_ms: i64,
    pub min_compaction_lag_ms: i64,
    pub max_compaction_lag_ms: i64,
    pub file_delete_delay_ms: i64,
    pub min_cleanable_dirty_ratio: f64,
    /// cleanup.policy contains `compact`.
    pub compact: bool,
    /// cleanup.policy contains `delete`.
    pub delete: bool,
    pub unclean_leader_election_enable: bool,
    pub min_insync_replicas: i32,
    pub compression_type: CompressionType,
    pub compression_gzip_level: i32,
    pub compression_lz4_level: i32,
    pub compression_zstd_level: i32,
    pub preallocate: bool,
    pub message_timestamp_type: TimestampType,
    pub message_timestamp_before_max_ms: i64,
    pub message_timestamp_after_max_ms: i64,
    /// `partition:broker` pairs or `*`; empty is nothing throttled.
    pub leader_replication_throttled_replicas: Vec<String>,
    pub follower_replication_throttled_replicas: Vec<String>,
    pub remote_storage_enable: bool,
    pub remote_log_copy_disable: bool,
    pub remote_log_delete_on_disable: bool,
    /// -2: as retention.ms; `local_retention_ms()` resolves it.
    pub local_retention_ms_raw: i64,
    /// -2: as retention.bytes; `local_retention_bytes()` resolves it.
    pub local_retention_bytes_raw: i64,
}

impl Default for TopicConfig {
    /// Kafka's defaults, for a broker that configures nothing.
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 604_800_000,
            segment_jitter_ms: 0,
            segment_index_bytes: 10 << 20,
            flush_messages: i64::MAX,
            flush_ms: i64::MAX,
            retention_bytes: -1,
            retention_ms: 604_800_000,
            max_message_bytes: 1_048_588,
            index_interval_bytes: 4096,
            delete_retention_ms: 86_400_000,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            file_delete_delay_ms: 60_000,
            min_cleanable_dirty_ratio: 0.5,
            compact: false,
            delete: true,
            unclean_leader_election_enable: false,
            min_insync_replicas: 1,
            compression_type: CompressionType::Producer,
            compression_gzip_level: -1,
            compression_lz4_level: 9,
            compression_zstd_level: 3,
            preallocate: false,
            message_timestamp_type: TimestampType::CreateTime,
            message_timestamp_before_max_ms: i64::MAX,
            message_timestamp_after_max_ms: 3_600_000,
            leader_replication_throttled_replicas: Vec::new(),
            follower_replication_throttled_replicas: Vec::new(),
            remote_storage_enable: false,
            remote_log_copy_disable: false,
            remote_log_delete_on_disable: false,
            local_retention_ms_raw: -2,
            local_retention_bytes_raw: -2,
        }
    }
}

impl TopicConfig {
    /// The topic's overrides over what the broker gives. Fails only on an override that does not parse, names the key and leaves the rest to the caller.
    pub fn new(broker: &BrokerConfig, overrides: &Props) -> Result<Self, ConfigError> {
        broker.topic_defaults.with_overrides(overrides)
    }

    /// Names that are no topic configs are passed over, as Kafka does with what it finds stored.
    pub fn with_overrides(&self, overrides: &Props) -> Result<Self, ConfigError> {
        let mut config = self.clone();
        for key in DEF.keys() {
            if let Some(text) = overrides.get(key.name) {
                config.set(key.name, &key.parse(Some(text))?);
            }
        }
        Ok(config)
    }

    /// As `with_overrides`, but an override that is no longer valid counts as absent; its error is returned beside.
    pub fn with_valid_overrides(&self, overrides: &Props) -> (Self, Vec<ConfigError>) {
        let mut config = self.clone();
        let mut errors = Vec::new();
        for (name, text) in overrides {
            match DEF.get(name).map(|key| key.parse(Some(text))) {
                Some(Ok(value)) => config.set(name, &value),
                Some(Err(error)) => errors.push(error),
                None => {}
            }
        }
        (config, errors)
    }

    /// Each topic key from the first broker key of its synonyms that has a value.
    pub(crate) fn from_broker_values<'a>(value: &dyn Fn(&str) -> &'a Value) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        for key in DEF.keys() {
            let found = key.synonyms.iter().map(|(name, factor)| (value(name), *factor)).find(|(value, _)| **value != Value::Null);
            if let Some((value, factor)) = found {
                config.set(key.name, &scaled(value, factor));
            }
        }
        // log.retention.* may be any negative number; all mean "no limit".
        config.retention_ms = config.retention_ms.max(-1);
        Ok(config)
    }

    pub fn local_retention_ms(&self) -> i64 {
        if self.local_retention_ms_raw == -2 { self.retention_ms } else { self.local_retention_ms_raw }
    }

    pub fn local_retention_bytes(&self) -> i64 {
        if self.local_retention_bytes_raw == -2 { self.retention_bytes } else { self.local_retention_bytes_raw }
    }

    /// Compaction wants segments to roll in time for max.compaction.lag.ms.
    pub fn max_segment_ms(&self) -> i64 {
        if self.compact && self.max_compaction_lag_ms > 0 { self.segment_ms.min(self.max_compaction_lag_ms) } else { self.segment_ms }
    }
}

/// Broker keys in hours or minutes are 32 bits wide, the topic's milliseconds 64.
fn scaled(value: &Value, factor: i64) -> Value {
    match value {
        Value::Int(v) if factor != 1 => Value::Long(i64::from(*v) * factor),
        other => other.clone(),
    }
}

/// One line a key: which field a value goes to.
macro_rules! fields {
    ($($key:literal $variant:ident $field:ident,)*) => {
        impl TopicConfig {
            fn set(&mut self, name: &str, value: &Value) {
                match (name, value) {
                    $(($key, Value::$variant(v)) => self.$field = v.clone(),)*
                    ("cleanup.policy", Value::List(v)) => {
                        self.compact = v.iter().any(|p| p == "compact");
                        self.delete = v.iter().any(|p| p == "delete");
                    }
                    ("compression.type", Value::Str(v)) => self.compression_type = CompressionType::from_name(v).unwrap_or(self.compression_type),
                    ("message.timestamp.type", Value::Str(v)) => {
                        self.message_timestamp_type =
                            if v == "LogAppendTime" { TimestampType::LogAppendTime } else { TimestampType::CreateTime };
                    }
                    ("internal.segment.bytes", Value::Int(v)) => self.segment_bytes = *v,
                    _ => {}
                }
            }
        }
    };
}

fields! {
    "segment.bytes" Int segment_bytes,
    "segment.ms" Long segment_ms,
    "segment.jitter.ms" Long segment_jitter_ms,
    "segment.index.bytes" Int segment_index_bytes,
    "flush.messages" Long flush_messages,
    "flush.ms" Long flush_ms,
    "retention.bytes" Long retention_bytes,
    "retention.ms" Long retention_ms,
    "max.message.bytes" Int max_message_bytes,
    "index.interval.bytes" Int index_interval_bytes,
    "delete.retention.ms" Long delete_retention_ms,
    "min.compaction.lag.ms" Long min_compaction_lag_ms,
    "max.compaction.lag.ms" Long max_compaction_lag_ms,
    "file.delete.delay.ms" Long file_delete_delay_ms,
    "min.cleanable.dirty.ratio" Double min_cleanable_dirty_ratio,
    "unclean.leader.election.enable" Bool unclean_leader_election_enable,
    "min.insync.replicas" Int min_insync_replicas,
    "compression.gzip.level" Int compression_gzip_level,
    "compression.lz4.level" Int compression_lz4_level,
    "compression.zstd.level" Int compression_zstd_level,
    "preallocate" Bool preallocate,
    "message.timestamp.before.max.ms" Long message_timestamp_before_max_ms,
    "message.timestamp.after.max.ms" Long message_timestamp_after_max_ms,
    "leader.replication.throttled.replicas" List leader_replication_throttled_replicas,
    "follower.replication.throttled.replicas" List follower_replication_throttled_replicas,
    "remote.storage.enable" Bool remote_storage_enable,
    "remote.log.copy.disable" Bool remote_log_copy_disable,
    "remote.log.delete.on.disable" Bool remote_log_delete_on_disable,
    "local.retention.ms" Long local_retention_ms_raw,
    "local.retention.bytes" Long local_retention_bytes_raw,
}

impl CompressionType {
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "producer" => Self::Producer,
            "uncompressed" => Self::Uncompressed,
            "gzip" => Self::Gzip,
            "snappy" => Self::Snappy,
            "lz4" => Self::Lz4,
            "zstd" => Self::Zstd,
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Uncompressed => "uncompressed",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl TimestampType {
    pub fn name(self) -> &'static str {
        match self {
            Self::CreateTime => "CreateTime",
            Self::LogAppendTime => "LogAppendTime",
        }
    }
}

/// Checks the complete overrides a topic would have (CreateTopics, AlterConfigs): names, values, and what must hold between them together with the
/// broker's values. `existing` are the overrides before the change.
pub fn validate(broker: &BrokerConfig, existing: &Props, overrides: &Props) -> Result<(), ConfigError> {
    if let Some(name) = overrides.keys().find(|name| DEF.get(name).is_none()) {
        return Err(ConfigError::Conflict(format!("Unknown topic config name: {name}")));
    }
    let config = broker.topic_defaults.with_overrides(overrides)?;
    if config.min_compaction_lag_ms > config.max_compaction_lag_ms {
        return Err(ConfigError::Conflict(format!(
            "conflict topic config setting min.compaction.lag.ms ({}) > max.compaction.lag.ms ({})",
            config.min_compaction_lag_ms, config.max_compaction_lag_ms
        )));
    }
    if config.remote_storage_enable {
        return validate_remote_storage(&config, broker.remote_log_storage_system_enable);
    }
    let was_enabled = existing.get("remote.storage.enable").is_some_and(|v| v.eq_ignore_ascii_case("true"));
    if was_enabled && !config.remote_log_delete_on_disable {
        return Err(ConfigError::Conflict(
            "It is invalid to disable remote storage without deleting remote data. If you want to keep the remote data and turn to read only, \
             please set `remote.storage.enable=true,remote.log.copy.disable=true`. If you want to disable remote storage and delete all remote \
             data, please set `remote.storage.enable=false,remote.log.delete.on.disable=true`."
                .to_owned(),
        ));
    }
    Ok(())
}

fn validate_remote_storage(config: &TopicConfig, system_enabled: bool) -> Result<(), ConfigError> {
    if !system_enabled {
        return Err(ConfigError::Invalid(
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.".to_owned(),
        ));
    }
    if config.compact {
        return Err(ConfigError::Invalid(
            "Remote log storage only supports topics with cleanup.policy=delete or cleanup.policy being an empty list.".to_owned(),
        ));
    }
    let bytes = (config.local_retention_bytes_raw, config.retention_bytes, config.retention_bytes > -1);
    let ms = (config.local_retention_ms_raw, config.retention_ms, config.retention_ms != -1);
    for (unit, (local, total, limited)) in [("bytes", bytes), ("ms", ms)] {
        let (local_key, total_key) = (format!("local.retention.{unit}"), format!("retention.{unit}"));
        if limited && local == -1 {
            return Err(ConfigError::value(
                &local_key,
                local,
                format_args!("Value must not be -1 as {total_key} value is set as {total}."),
            ));
        }
        if limited && local > total {
            let why = format_args!("Value must not be more than {total_key} property value: {total}");
            return Err(ConfigError::value(&local_key, local, why));
        }
    }
    for (unit, (local, total, _)) in [("bytes", bytes), ("ms", ms)] {
        if config.remote_log_copy_disable && local != -2 && local != total {
            return Err(ConfigError::Conflict(format!(
                "When `remote.log.copy.disable` is set to true, the `local.retention.{unit}` and `retention.{unit}` must be set to the identical \
                 value because there will be no more logs copied to the remote storage."
            )));
        }
    }
    Ok(())
}

/// Topic.validate: what a topic may be called.
pub fn validate_name(name: &str) -> Result<(), ConfigError> {
    let reason = match name {
        "" => "the empty string is not allowed".to_owned(),
        "." => "'.' is not allowed".to_owned(),
        ".." => "'..' is not allowed".to_owned(),
        _ if name.len() > 249 => format!("the length of '{name}' is longer than the max allowed length 249"),
        _ if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) => {
            format!("'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'")
        }
        _ => return Ok(()),
    };
    Err(ConfigError::Topic(format!("Topic name is invalid: {reason}")))
}
