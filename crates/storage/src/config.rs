//! A topic's configuration as plain values, with Kafka's defaults. Names and parsing live in the config crate. Kafka: LogConfig.

use record::{Codec, Compression, TargetCompression, TimestampType};

/// What `compression.type` may say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CompressionType {
    #[default]
    Producer,
    Fixed(Compression),
}

#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    /// cleanup.policy holds `delete`.
    pub cleanup_delete: bool,
    /// cleanup.policy holds `compact`.
    pub cleanup_compact: bool,
    pub compression_type: CompressionType,
    pub compression_gzip_level: i32,
    pub compression_lz4_level: i32,
    pub compression_zstd_level: i32,
    pub delete_retention_ms: i64,
    pub file_delete_delay_ms: i64,
    pub flush_messages: i64,
    pub flush_ms: i64,
    pub index_interval_bytes: i32,
    pub local_retention_bytes: i64,
    pub local_retention_ms: i64,
    pub max_compaction_lag_ms: i64,
    pub max_message_bytes: i32,
    pub message_timestamp_after_max_ms: i64,
    pub message_timestamp_before_max_ms: i64,
    pub message_timestamp_type: TimestampType,
    pub min_cleanable_dirty_ratio: f64,
    pub min_compaction_lag_ms: i64,
    pub min_insync_replicas: i32,
    pub preallocate: bool,
    pub remote_storage_enable: bool,
    pub remote_log_copy_disable: bool,
    pub remote_log_delete_on_disable: bool,
    /// -1: unlimited.
    pub retention_bytes: i64,
    /// -1: unlimited.
    pub retention_ms: i64,
    pub segment_bytes: i32,
    pub segment_index_bytes: i32,
    pub segment_jitter_ms: i64,
    pub segment_ms: i64,
    pub unclean_leader_election_enable: bool,
    pub leader_replication_throttled_replicas: Vec<String>,
    pub follower_replication_throttled_replicas: Vec<String>,
    /// `producer.id.expiration.ms` of the broker.
    pub producer_id_expiration_ms: i64,
    /// Bytes that one compressed batch may expand to while it is validated or searched; ours, not a Kafka config.
    pub max_decompressed_bytes: usize,
}

impl Default for LogConfig {
    fn default() -> Self {
        const HOUR_MS: i64 = 3_600_000;
        const DAY_MS: i64 = 24 * HOUR_MS;
        Self {
            cleanup_delete: true,
            cleanup_compact: false,
            compression_type: CompressionType::Producer,
            compression_gzip_level: -1,
            compression_lz4_level: 9,
            compression_zstd_level: 3,
            delete_retention_ms: DAY_MS,
            file_delete_delay_ms: 60_000,
            flush_messages: i64::MAX,
            flush_ms: i64::MAX,
            index_interval_bytes: 4096,
            local_retention_bytes: -2,
            local_retention_ms: -2,
            max_compaction_lag_ms: i64::MAX,
            max_message_bytes: 1024 * 1024 + 12,
            message_timestamp_after_max_ms: HOUR_MS,
            message_timestamp_before_max_ms: i64::MAX,
            message_timestamp_type: TimestampType::CreateTime,
            min_cleanable_dirty_ratio: 0.5,
            min_compaction_lag_ms: 0,
            min_insync_replicas: 1,
            preallocate: false,
            remote_storage_enable: false,
            remote_log_copy_disable: false,
            remote_log_delete_on_disable: false,
            retention_bytes: -1,
            retention_ms: 7 * DAY_MS,
            segment_bytes: 1024 * 1024 * 1024,
            segment_index_bytes: 10 * 1024 * 1024,
            segment_jitter_ms: 0,
            segment_ms: 7 * DAY_MS,
            unclean_leader_election_enable: false,
            leader_replication_throttled_replicas: Vec::new(),
            follower_replication_throttled_replicas: Vec::new(),
            producer_id_expiration_ms: DAY_MS,
            max_decompressed_bytes: 1 << 30,
        }
    }
}

impl LogConfig {
    /// The time after which a segment is rolled: a record that is due for compaction must not wait in the active segment.
    pub fn max_segment_ms(&self) -> i64 {
        if self.cleanup_compact && self.max_compaction_lag_ms > 0 {
            self.segment_ms.min(self.max_compaction_lag_ms)
        } else {
            self.segment_ms
        }
    }

    pub(crate) fn target_compression(&self) -> TargetCompression {
        match self.compression_type {
            CompressionType::Producer => TargetCompression::Producer,
            CompressionType::Fixed(compression) => TargetCompression::Codec(match compression {
                Compression::Gzip => Codec::with_level(compression, self.compression_gzip_level),
                Compression::Lz4 => Codec::with_level(compression, self.compression_lz4_level),
                Compression::Zstd => Codec::with_level(compression, self.compression_zstd_level),
                Compression::None | Compression::Snappy => Codec::new(compression),
            }),
        }
    }

    pub(crate) fn rules(&self) -> record::Rules {
        record::Rules {
            max_message_bytes: self.max_message_bytes.max(0) as usize,
            compacted: self.cleanup_compact,
            compression: self.target_compression(),
            timestamp_type: self.message_timestamp_type,
            timestamp_before_max_ms: self.message_timestamp_before_max_ms,
            timestamp_after_max_ms: self.message_timestamp_after_max_ms,
            max_decompressed: self.max_decompressed_bytes,
        }
    }
}
