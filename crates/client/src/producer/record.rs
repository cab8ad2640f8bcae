//! Owns: what goes into a producer and what comes back: records, headers, delivery handles and reports.

use crate::core::batch::BatchOutcome;
use crate::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// One header; keys may repeat and values may be null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    pub key: &'a str,
    pub value: Option<&'a [u8]>,
}

impl<'a> Header<'a> {
    pub const fn new(key: &'a str, value: Option<&'a [u8]>) -> Self {
        Self { key, value }
    }
}

/// A record to send, borrowed: its bytes are copied once, into the batch.
#[derive(Clone, Copy, Debug)]
pub struct ProducerRecord<'a> {
    pub topic: &'a str,
    pub partition: Option<i32>,
    /// Milliseconds since the epoch; now, if absent.
    pub timestamp: Option<i64>,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a [Header<'a>],
}

impl<'a> ProducerRecord<'a> {
    /// A record without key and value (null, not empty).
    pub const fn new(topic: &'a str) -> Self {
        Self { topic, partition: None, timestamp: None, key: None, value: None, headers: &[] }
    }

    pub const fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    pub const fn timestamp(mut self, timestamp: i64) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    pub const fn key(mut self, key: &'a [u8]) -> Self {
        self.key = Some(key);
        self
    }

    pub const fn value(mut self, value: &'a [u8]) -> Self {
        self.value = Some(value);
        self
    }

    pub const fn headers(mut self, headers: &'a [Header<'a>]) -> Self {
        self.headers = headers;
        self
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordMetadata {
    pub topic: Arc<str>,
    pub partition: i32,
    /// -1 with acks=0, or when the broker recognised a duplicate it no longer has the offset of.
    pub offset: i64,
    /// That of the record, or the broker's for topics with LogAppendTime.
    pub timestamp: i64,
    /// -1 for null.
    pub key_size: i32,
    pub value_size: i32,
}

/// The outcome of one `send`. Dropping it gives up nothing but the knowledge.
#[derive(Clone, Debug)]
#[must_use = "await the delivery, or use flush, to learn whether the record was written"]
pub struct Delivery {
    pub(super) outcome: Arc<BatchOutcome>,
    pub(super) index: u32,
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    pub(super) timestamp: i64,
    pub(super) key_size: i32,
    pub(super) value_size: i32,
}

impl Future for Delivery {
    type Output = Result<RecordMetadata, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.outcome.poll_record(this.index, context.waker()).map(|result| {
            result.map(|(offset, log_append_time)| RecordMetadata {
                topic: this.topic.clone(),
                partition: this.partition,
                offset,
                timestamp: if log_append_time >= 0 { log_append_time } else { this.timestamp },
                key_size: this.key_size,
                value_size: this.value_size,
            })
        })
    }
}

/// One finished batch, for producers that send tagged records.
pub struct DeliveryReport<'a> {
    pub topic: &'a Arc<str>,
    pub partition: i32,
    /// The offset of the first record; the others follow without gaps. -1 with acks=0 and on failure.
    pub base_offset: i64,
    /// The tags in the order of the records; `u64::MAX` for records sent without one.
    pub tags: &'a [u64],
    pub result: Result<(), &'a Error>,
}

/// Told about every finished batch, on the network thread: must be quick and must not block.
pub trait DeliveryListener: Send + Sync {
    fn on_delivery(&self, report: &DeliveryReport<'_>);
}

/// Why `try_send` did not take a record.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TrySendError {
    /// Memory is full or the topic is not known yet: `send` would wait.
    #[error("the producer cannot take the record without waiting; use send")]
    WouldBlock,
    #[error(transparent)]
    Failed(Error),
}
