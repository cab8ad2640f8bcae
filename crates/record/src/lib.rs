//! Owns: Kafka's record batches as bytes — viewing, iterating, building, compressing, and everything a leader must check before it
//! appends one. Used by: storage, coordinator, controller, client, dump-log. Never does: I/O, clock reads, offsets of a real log.
//! Kafka: DefaultRecordBatch, DefaultRecord, MemoryRecords, LogValidator, ControlRecordType, LegacyRecord.

pub mod batch;
pub mod builder;
pub mod checksum;
pub mod compress;
pub mod control;
mod error;
pub mod filter;
pub mod legacy;
pub mod record;
pub mod scan;
pub mod validate;

pub use batch::{Batch, BatchIter, BatchView, TimestampType, batches};
pub use builder::{BatchBuilder, BatchFields};
pub use checksum::crc32c;
pub use compress::{Codec, Compression};
pub use control::{ControlType, EndTxnMarker};
pub use error::RecordError;
pub use record::{Header, Headers, Record, RecordIter};
pub use scan::{RecordHead, scan_records};
pub use validate::{Origin, RecordErrorDetail, Rules, TargetCompression, Validated, ValidationError, check_produce, validate};

pub const NO_TIMESTAMP: i64 = -1;
pub const NO_PRODUCER_ID: i64 = -1;
pub const NO_PRODUCER_EPOCH: i16 = -1;
pub const NO_SEQUENCE: i32 = -1;
pub const NO_LEADER_EPOCH: i32 = -1;

/// Sequences wrap from `i32::MAX` to 0.
pub fn increment_sequence(sequence: i32, by: i32) -> i32 {
    if sequence > i32::MAX - by { by - (i32::MAX - sequence) - 1 } else { sequence + by }
}

/// The inverse of `increment_sequence`.
pub fn decrement_sequence(sequence: i32, by: i32) -> i32 {
    if sequence < by { i32::MAX - (by - sequence) + 1 } else { sequence - by }
}

#[cfg(test)]
mod tests;
