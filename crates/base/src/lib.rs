//! Owns: the handful of values that every crate needs — ids, time as a value, the disk seam, varints, Java-compatible hashes,
//! histograms.
//! Used by: everything. Never does: domain logic, clock reads, threads. Entry rule: every crate could want it.

pub mod disk;
pub mod hash;
pub mod histogram;
pub mod segment;
pub mod slot;
pub mod time;
pub mod uuid;
pub mod varint;

pub use histogram::{Histogram, Summary};
pub use segment::{FileRange, Segment};
pub use slot::Slot;
pub use time::{Clock, Instant, Now};
pub use uuid::Uuid;

/// A partition of a topic, by name. Displays as Kafka does in file and log names: `topic-partition`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    pub topic: String,
    pub partition: i32,
}

impl TopicPartition {
    pub fn new(topic: impl Into<String>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl std::fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}
