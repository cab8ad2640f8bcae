//! Owns: what an application may hook into a consumer: the listener that is told about partitions, and interceptors.
//! Kafka: `ConsumerRebalanceListener`, `ConsumerInterceptor`.

use super::{Consumer, ConsumerRecords};
use crate::error::Result;
use crate::types::OffsetAndMetadata;
use base::TopicPartition;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

pub type BoxFuture<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// Told about partitions that come and go; called inside `poll`, `unsubscribe` and `close`. May use the consumer: commit, seek, position.
pub trait RebalanceListener: Send {
    fn on_assigned<'a>(&'a mut self, _consumer: &'a mut Consumer, _partitions: &'a [TopicPartition]) -> BoxFuture<'a> {
        Box::pin(async { Ok(()) })
    }

    /// Before partitions are given up.
    fn on_revoked<'a>(&'a mut self, _consumer: &'a mut Consumer, _partitions: &'a [TopicPartition]) -> BoxFuture<'a> {
        Box::pin(async { Ok(()) })
    }

    /// When they belong to others already: commits would fail.
    fn on_lost<'a>(&'a mut self, consumer: &'a mut Consumer, partitions: &'a [TopicPartition]) -> BoxFuture<'a> {
        self.on_revoked(consumer, partitions)
    }
}

/// Sees records before the application does, and commits after the broker took them. Runs where `poll` runs (`on_consume`) and where the
/// commit ends (`on_commit`); must be quick.
///
/// ```
/// use client::consumer::{ConsumerInterceptor, ConsumerRecords};
///
/// struct Count(std::sync::atomic::AtomicUsize);
///
/// impl ConsumerInterceptor for Count {
///     fn on_consume(&self, records: ConsumerRecords) -> ConsumerRecords {
///         self.0.fetch_add(records.len(), std::sync::atomic::Ordering::Relaxed);
///         records
///     }
/// }
/// ```
pub trait ConsumerInterceptor: Send + Sync {
    /// May change, drop or add records; what comes back is what the next interceptor, and at last the application, gets.
    fn on_consume(&self, records: ConsumerRecords) -> ConsumerRecords {
        records
    }

    /// Offsets that were committed.
    fn on_commit(&self, _offsets: &BTreeMap<TopicPartition, OffsetAndMetadata>) {}

    /// The consumer ends.
    fn close(&self) {}
}
