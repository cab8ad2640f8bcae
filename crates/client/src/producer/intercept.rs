//! Owns: the records of a producer with interceptors that are not acknowledged yet, and telling the interceptors about each.
//! Used by: `Producer::send` (adds) and the sender's reports (settles). Costs nothing without interceptors. Kafka: `ProducerInterceptors`.

use super::plugins::{OwnedHeader, OwnedRecord, ProducerInterceptor};
use super::{Delivery, Header, ProducerRecord, RecordMetadata};
use crate::error::Error;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

type Waiting = HashMap<(Arc<str>, i32), Vec<(Delivery, Vec<OwnedHeader>)>>;

#[derive(Default)]
pub(super) struct Interceptors {
    chain: Vec<Arc<dyn ProducerInterceptor>>,
    waiting: Mutex<Waiting>,
}

impl Interceptors {
    pub fn new(chain: Vec<Arc<dyn ProducerInterceptor>>) -> Self {
        Self { chain, waiting: Mutex::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.chain.is_empty()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn on_send(&self, record: &ProducerRecord<'_>) -> OwnedRecord {
        let header = |header: &Header<'_>| OwnedHeader { key: header.key.to_owned(), value: header.value.map(<[u8]>::to_vec) };
        let owned = OwnedRecord {
            topic: record.topic.to_owned(),
            partition: record.partition,
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers.iter().map(header).collect(),
        };
        self.chain.iter().fold(owned, |record, interceptor| interceptor.on_send(record))
    }

    /// The record is in a batch.
    pub fn sent(&self, delivery: Delivery, headers: Vec<OwnedHeader>) {
        let mut waiting = self.waiting();
        let entry = waiting.entry((delivery.topic.clone(), delivery.partition)).or_default();
        entry.push((delivery, headers));
        // The batch may have been finished before we got here.
        let settled = settled(entry);
        drop(waiting);
        self.acknowledge(settled);
    }

    /// The record never got into a batch.
    pub fn failed(&self, record: &OwnedRecord, error: &Error) {
        let metadata = RecordMetadata {
            topic: record.topic.as_str().into(),
            partition: record.partition.unwrap_or(-1),
            offset: -1,
            timestamp: -1,
            key_size: -1,
            value_size: -1,
        };
        for interceptor in &self.chain {
            interceptor.on_acknowledgement(&metadata, &record.headers, Some(error));
        }
    }

    /// Batches of a partition were finished.
    pub fn progress(&self, topic: &Arc<str>, partition: i32) {
        let mut waiting = self.waiting();
        let Some(entry) = waiting.get_mut(&(topic.clone(), partition)) else { return };
        let settled = settled(entry);
        drop(waiting);
        self.acknowledge(settled);
    }

    fn acknowledge(&self, settled: Vec<(Result<RecordMetadata, (RecordMetadata, Error)>, Vec<OwnedHeader>)>) {
        for (result, headers) in settled {
            for interceptor in &self.chain {
                match &result {
                    Ok(metadata) => interceptor.on_acknowledgement(metadata, &headers, None),
                    Err((metadata, error)) => interceptor.on_acknowledgement(metadata, &headers, Some(error)),
                }
            }
        }
    }

    pub fn close(&self) {
        for interceptor in &self.chain {
            interceptor.close();
        }
    }
}

/// Takes out what has an outcome.
fn settled(entry: &mut Vec<(Delivery, Vec<OwnedHeader>)>) -> Vec<(Result<RecordMetadata, (RecordMetadata, Error)>, Vec<OwnedHeader>)> {
    let mut context = Context::from_waker(Waker::noop());
    let mut settled = Vec::new();
    let mut left = Vec::new();
    for (mut delivery, headers) in entry.drain(..) {
        match Pin::new(&mut delivery).poll(&mut context) {
            Poll::Pending => left.push((delivery, headers)),
            Poll::Ready(Ok(metadata)) => settled.push((Ok(metadata), headers)),
            Poll::Ready(Err(error)) => {
                let (topic, partition) = (delivery.topic.clone(), delivery.partition);
                let metadata = RecordMetadata { topic, partition, offset: -1, timestamp: -1, key_size: -1, value_size: -1 };
                settled.push((Err((metadata, error)), headers));
            }
        }
    }
    *entry = left;
    settled
}
