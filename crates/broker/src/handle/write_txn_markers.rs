//! WriteTxnMarkers: a transaction coordinator, or an administrator who aborts a hanging transaction, ends transactions on partitions of this
//! broker. Answered when every marker is on all in-sync replicas. Kafka: `KafkaApis.handleWriteTxnMarkersRequest`.

use crate::Broker;
use crate::answer::{Handled, ReplyTo, Response, Wait};
use crate::context::Context;
use crate::markers::{Marker, MarkerWritten, write_marker};
use base::{Instant, Now, TopicPartition};
use replica::Watch;
use std::task::Waker;
use wire::ErrorCode;
use wire::messages::write_txn_markers_response::{WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult};
use wire::messages::{WriteTxnMarkersRequest, WriteTxnMarkersResponse};

pub(super) fn handle(c: &mut Context, request: WriteTxnMarkersRequest) -> Handled {
    let mut written = Vec::new();
    let mut markers: Vec<WritableTxnMarkerResult> = Vec::new();
    for asked in request.markers {
        let marker = Marker {
            producer_id: asked.producer_id,
            producer_epoch: asked.producer_epoch,
            commit: asked.transaction_result,
            coordinator_epoch: asked.coordinator_epoch,
            transaction_version: i16::from(asked.transaction_version),
        };
        for topic in asked.topics {
            for index in topic.partition_indexes {
                let at = TopicPartition::new(topic.name.clone(), index);
                let error = match write_marker(c.broker, c.now, &marker, &at) {
                    Ok(done) => {
                        written.push(Written { producer_id: marker.producer_id, at: at.clone(), done });
                        ErrorCode::None
                    }
                    Err(error) => error,
                };
                set(&mut markers, marker.producer_id, &at, error);
            }
        }
    }
    let deadline = c.deadline(c.broker.config().request_timeout_ms);
    c.park(AwaitMarkers { reply: c.reply, markers, written, deadline, watch: None }, deadline)
}

/// Several markers of one producer are answered as one; what came last for a partition counts.
fn set(markers: &mut Vec<WritableTxnMarkerResult>, producer_id: i64, at: &TopicPartition, error: ErrorCode) {
    let marker = match markers.iter().position(|marker| marker.producer_id == producer_id) {
        Some(found) => &mut markers[found],
        None => push(markers, WritableTxnMarkerResult { producer_id, ..Default::default() }),
    };
    let topic = match marker.topics.iter().position(|topic| topic.name == at.topic) {
        Some(found) => &mut marker.topics[found],
        None => push(&mut marker.topics, WritableTxnMarkerTopicResult { name: at.topic.clone(), ..Default::default() }),
    };
    match topic.partitions.iter_mut().find(|partition| partition.partition_index == at.partition) {
        Some(partition) => partition.error_code = error.code(),
        None => topic.partitions.push(WritableTxnMarkerPartitionResult {
            partition_index: at.partition,
            error_code: error.code(),
            ..Default::default()
        }),
    }
}

fn push<T>(list: &mut Vec<T>, item: T) -> &mut T {
    list.push(item);
    let last = list.len() - 1;
    &mut list[last]
}

struct Written {
    producer_id: i64,
    at: TopicPartition,
    done: MarkerWritten,
}

struct AwaitMarkers {
    reply: ReplyTo,
    markers: Vec<WritableTxnMarkerResult>,
    /// Not yet known to be on all in-sync replicas.
    written: Vec<Written>,
    deadline: Instant,
    /// One at a time: all have to get there, in whatever order.
    watch: Option<Watch>,
}

impl Wait for AwaitMarkers {
    fn poll(&mut self, _broker: &Broker, now: Now, waker: &Waker) -> Option<Response> {
        self.watch = None;
        while let Some(next) = self.written.last() {
            let error = match next.done.partition.watch(next.done.offset + 1, waker) {
                _ if !next.done.partition.is_leader() => ErrorCode::NotLeaderOrFollower,
                None => ErrorCode::None,
                Some(watch) if now.mono < self.deadline => {
                    self.watch = Some(watch);
                    return None;
                }
                Some(_) => ErrorCode::RequestTimedOut,
            };
            let Written { producer_id, at, .. } = self.written.pop()?;
            if error != ErrorCode::None {
                set(&mut self.markers, producer_id, &at, error);
            }
        }
        self.reply.encode(&WriteTxnMarkersResponse { markers: std::mem::take(&mut self.markers), ..Default::default() })
    }
}
