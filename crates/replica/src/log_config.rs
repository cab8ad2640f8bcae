//! A topic's configuration in the form the log takes it.

use config::{BrokerConfig, TopicConfig};
use storage::LogConfig;
use storage::config::CompressionType;

pub fn log_config(topic: &TopicConfig, broker: &BrokerConfig) -> LogConfig {
    LogConfig {
        cleanup_delete: topic.delete,
        cleanup_compact: topic.compact,
        compression_type: match topic.compression_type {
            config::CompressionType::Producer => CompressionType::Producer,
            config::CompressionType::Uncompressed => CompressionType::Fixed(storage::Compression::None),
            config::CompressionType::Gzip => CompressionType::Fixed(storage::Compression::Gzip),
            config::CompressionType::Snappy => CompressionType::Fixed(storage::Compression::Snappy),
            config::CompressionType::Lz4 => CompressionType::Fixed(storage::Compression::Lz4),
            config::CompressionType::Zstd => CompressionType::Fixed(storage::Compression::Zstd),
        },
        compression_gzip_level: topic.compression_gzip_level,
        compression_lz4_level: topic.compression_lz4_level,
        compression_zstd_level: topic.compression_zstd_level,
        delete_retention_ms: topic.delete_retention_ms,
        file_delete_delay_ms: topic.file_delete_delay_ms,
        flush_messages: topic.flush_messages,
        flush_ms: topic.flush_ms,
        index_interval_bytes: topic.index_interval_bytes,
        local_retention_bytes: topic.local_retention_bytes(),
        local_retention_ms: topic.local_retention_ms(),
        max_compaction_lag_ms: topic.max_compaction_lag_ms,
        max_message_bytes: topic.max_message_bytes,
        message_timestamp_after_max_ms: topic.message_timestamp_after_max_ms,
        message_timestamp_before_max_ms: topic.message_timestamp_before_max_ms,
        message_timestamp_type: match topic.message_timestamp_type {
            config::TimestampType::CreateTime => storage::TimestampType::CreateTime,
            config::TimestampType::LogAppendTime => storage::TimestampType::LogAppendTime,
        },
        min_cleanable_dirty_ratio: topic.min_cleanable_dirty_ratio,
        min_compaction_lag_ms: topic.min_compaction_lag_ms,
        min_insync_replicas: topic.min_insync_replicas,
        preallocate: topic.preallocate,
        remote_storage_enable: topic.remote_storage_enable,
        remote_log_copy_disable: topic.remote_log_copy_disable,
        remote_log_delete_on_disable: topic.remote_log_delete_on_disable,
        retention_bytes: topic.retention_bytes,
        retention_ms: topic.retention_ms,
        segment_bytes: topic.segment_bytes,
        segment_index_bytes: topic.segment_index_bytes,
        segment_jitter_ms: topic.segment_jitter_ms,
        segment_ms: topic.segment_ms,
        unclean_leader_election_enable: topic.unclean_leader_election_enable,
        leader_replication_throttled_replicas: topic.leader_replication_throttled_replicas.clone(),
        follower_replication_throttled_replicas: topic.follower_replication_throttled_replicas.clone(),
        producer_id_expiration_ms: i64::from(broker.producer_id_expiration_ms),
        ..LogConfig::default()
    }
}
