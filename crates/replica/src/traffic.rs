//! Owns: what producers and consumers moved, per topic and once for all topics. Handlers add, the metrics page reads. A topic's numbers
//! go with the topic. Kafka: `BrokerTopicStats`, `BrokerTopicMetrics`.

use std::sync::atomic::{AtomicU64, Ordering};

/// A monotonically growing count.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub struct Traffic {
    /// Records that producers appended.
    pub messages_in: Count,
    pub bytes_in: Count,
    /// Bytes of records sent to consumers.
    pub bytes_out: Count,
    /// Bytes of batches that were too large.
    pub bytes_rejected: Count,
    /// Partitions in Produce and in Fetch requests.
    pub produce_requests: Count,
    pub fetch_requests: Count,
    /// Those that failed for a reason the client could not know of.
    pub failed_produce: Count,
    pub failed_fetch: Count,
    /// Batches whose checksum was wrong.
    pub invalid_crc: Count,
    /// Records without a key for a compacted topic.
    pub no_key: Count,
    /// Batches with a sequence that does not follow, or offsets that are not dense.
    pub invalid_sequence: Count,
}
