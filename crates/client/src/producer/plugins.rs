//! Owns: what an application may hook into a producer: interceptors, and a partitioner of its own. Kafka: `ProducerInterceptor`, `Partitioner`.

use super::{Header, ProducerRecord, RecordMetadata};
use crate::error::Error;

/// A header that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedHeader {
    pub key: String,
    pub value: Option<Vec<u8>>,
}

/// A record that interceptors may change before it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedRecord {
    pub topic: String,
    pub partition: Option<i32>,
    pub timestamp: Option<i64>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<OwnedHeader>,
}

impl OwnedRecord {
    pub(super) fn borrowed_headers(&self) -> Vec<Header<'_>> {
        self.headers.iter().map(|header| Header::new(&header.key, header.value.as_deref())).collect()
    }

    pub(super) fn borrowed<'a>(&'a self, headers: &'a [Header<'a>]) -> ProducerRecord<'a> {
        ProducerRecord {
            topic: &self.topic,
            partition: self.partition,
            timestamp: self.timestamp,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers,
        }
    }
}

/// Sees every record before it is sent and learns what became of it. A producer with interceptors copies each record once more.
///
/// ```
/// use client::producer::{OwnedHeader, OwnedRecord, ProducerInterceptor};
///
/// struct Stamp;
///
/// impl ProducerInterceptor for Stamp {
///     fn on_send(&self, mut record: OwnedRecord) -> OwnedRecord {
///         record.headers.push(OwnedHeader { key: "origin".into(), value: Some(b"here".to_vec()) });
///         record
///     }
/// }
/// ```
pub trait ProducerInterceptor: Send + Sync {
    /// What comes back is what the next interceptor, and at last the broker, gets.
    fn on_send(&self, record: OwnedRecord) -> OwnedRecord {
        record
    }

    /// The record was acknowledged, or could not be sent or written: then there is an error, and the offset is -1. Called on the network
    /// thread, or by `send`: must be quick.
    fn on_acknowledgement(&self, _metadata: &RecordMetadata, _headers: &[OwnedHeader], _error: Option<&Error>) {}

    /// The producer ends.
    fn close(&self) {}
}

/// Chooses the partition of records that name none.
pub trait Partitioner: Send + Sync {
    /// `available` are the partitions that have a leader; it may be empty. The answer must lie within `0..partitions`.
    fn partition(&self, topic: &str, key: Option<&[u8]>, value: Option<&[u8]>, partitions: i32, available: &[i32]) -> i32;
}
