//! Produce. Hot path: the records stay the slice of the frame they came in; the log patches their header and writes them.
//! Kafka: `KafkaApis.handleProduceRequest`, `ReplicaManager.handleProduceAppend`, `DelayedProduce`.

use crate::Broker;
use crate::answer::{Handled, ReplyTo, Response, Wait};
use crate::auto_create::is_internal;
use crate::context::Context;
use base::{Instant, Now};
use bytes::Bytes;
use replica::{Acks, Partition, PartitionError, Watch};
use std::sync::Arc;
use std::task::Waker;
use storage::AppendOrigin;
use wire::ErrorCode;
use wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use wire::messages::produce_response::{BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse};
use wire::messages::{ProduceRequest, ProduceResponse};

/// The client id that may write to internal topics, as tools that copy them use.
const ADMIN_CLIENT_ID: &str = "__admin_client";

pub(super) fn handle(c: &mut Context, request: ProduceRequest) -> Handled {
    let acks = match request.acks {
        0 => Some(Acks::None),
        1 => Some(Acks::Leader),
        -1 => Some(Acks::All),
        _ => None,
    };
    let mut append = Append { c, acks, transactional_id: request.transactional_id.as_deref(), pending: Vec::new(), failed: false };
    let responses: Vec<TopicProduceResponse> = request.topic_data.into_iter().map(|topic| append.topic(topic)).collect();
    let Append { pending, failed, .. } = append;

    if acks == Some(Acks::None) {
        // There is no answer that could carry an error; closing makes the client look for the leader again.
        return if failed { Handled::Close("a Produce with acks=0 failed".into()) } else { Handled::NoResponse };
    }
    let response = ProduceResponse { responses, ..Default::default() };
    if pending.is_empty() {
        return c.answer(&response);
    }
    let deadline = c.deadline(request.timeout_ms);
    c.park(AwaitReplicas { reply: c.reply, response, pending, deadline, watch: None }, deadline)
}

struct Append<'a, 'b> {
    c: &'a Context<'b>,
    acks: Option<Acks>,
    transactional_id: Option<&'a str>,
    pending: Vec<Pending>,
    failed: bool,
}

impl Append<'_, '_> {
    fn topic(&mut self, topic: TopicProduceData) -> TopicProduceResponse {
        let by_id = !topic.topic_id.is_zero();
        let known = match by_id {
            true => self.c.image.topics.get_by_id(topic.topic_id),
            false => self.c.image.topics.get(&topic.name),
        };
        let metrics = self.c.broker.metrics();
        let partitions = topic.partition_data.into_iter().map(|data| {
            metrics.traffic.produce_requests.add(1);
            let result = match known {
                Some(known) => self.partition(known, &data),
                None if by_id || self.c.version() >= 13 => Err(ErrorCode::UnknownTopicId.into()),
                None => Err(ErrorCode::UnknownTopicOrPartition.into()),
            };
            result.unwrap_or_else(|error| {
                self.failed = true;
                let traffic = known.and_then(|topic| self.c.broker.replicas().traffic_of(&topic.name));
                metrics.produce_failed(traffic.as_deref(), &error, data.records.as_ref().map_or(0, wire::Records::len) as u64);
                refused(data.index, error)
            })
        });
        let partition_responses = partitions.collect();
        TopicProduceResponse { name: topic.name, topic_id: topic.topic_id, partition_responses, ..Default::default() }
    }

    fn partition(&mut self, topic: &metadata::Topic, data: &PartitionProduceData) -> Result<PartitionProduceResponse, PartitionError> {
        if !topic.partitions.contains_key(&data.index) {
            return Err(ErrorCode::UnknownTopicOrPartition.into());
        }
        let Some(acks) = self.acks else {
            return Err(ErrorCode::InvalidRequiredAcks.into());
        };
        if is_internal(&topic.name) && self.c.client_id != ADMIN_CLIENT_ID {
            let message = format!("Cannot append to internal topic {}", topic.name);
            return Err(PartitionError::new(ErrorCode::InvalidTopicException, message));
        }
        let records = records(self.c.version(), self.transactional_id, data)?;
        let partition = self.c.broker.replicas().get_by_id(topic.id, data.index).ok_or(ErrorCode::NotLeaderOrFollower)?;
        let size = records.len() as u64;
        partition.traffic.produce_requests.add(1);
        let done = partition.append(records, acks, AppendOrigin::Client, self.c.now)?;
        let messages = done.info.record_count.max(0) as u64;
        for traffic in [&self.c.broker.metrics().traffic, &*partition.traffic] {
            traffic.bytes_in.add(size);
            traffic.messages_in.add(messages);
        }
        if acks == Acks::All && done.high_watermark < done.required_high_watermark {
            self.pending.push(Pending { partition, offset: done.required_high_watermark, topic_id: topic.id, index: data.index });
        }
        Ok(PartitionProduceResponse {
            index: data.index,
            base_offset: done.info.first_offset,
            log_append_time_ms: done.info.log_append_time_ms,
            log_start_offset: done.info.log_start_offset,
            ..Default::default()
        })
    }
}

/// `ProduceRequest.validateRecords`: exactly one batch, of the current format, no zstd before version 7; and no transaction without a
/// transactional id that is allowed to have it.
fn records(version: i16, transactional_id: Option<&str>, data: &PartitionProduceData) -> Result<Bytes, PartitionError> {
    let records = data.records.as_ref().and_then(|r| r.to_bytes().ok()).unwrap_or_default();
    record::check_produce(&records, version).map_err(|e| PartitionError::from(ErrorCode::from_code(e.code())))?;
    const TRANSACTIONAL: u8 = 0x10;
    if records.get(22).is_some_and(|attributes| attributes & TRANSACTIONAL != 0) {
        return Err(match transactional_id {
            Some(_) => PartitionError::new(ErrorCode::InvalidTxnState, "this broker does not take part in transactions yet"),
            None => ErrorCode::TransactionalIdAuthorizationFailed.into(),
        });
    }
    Ok(records)
}

/// Kafka sends its own text only where it names the records to blame, and no log start with the errors of a partition or a size.
fn refused(index: i32, error: PartitionError) -> PartitionProduceResponse {
    let without_start = [
        ErrorCode::CorruptMessage,
        ErrorCode::MessageTooLarge,
        ErrorCode::RecordListTooLarge,
        ErrorCode::KafkaStorageError,
        ErrorCode::NotLeaderOrFollower,
        ErrorCode::UnknownTopicOrPartition,
        ErrorCode::UnknownTopicId,
    ];
    let log_start_offset = if without_start.contains(&error.code) { -1 } else { error.log_start_offset };
    let error_message = error.message.filter(|_| !error.record_errors.is_empty());
    let record_errors = error.record_errors.into_iter().map(|e| BatchIndexAndErrorMessage {
        batch_index: e.batch_index,
        batch_index_error_message: Some(e.message),
        ..Default::default()
    });
    PartitionProduceResponse {
        index,
        error_code: error.code.code(),
        base_offset: -1,
        log_append_time_ms: -1,
        log_start_offset,
        record_errors: record_errors.collect(),
        error_message,
        ..Default::default()
    }
}

/// A batch that is in the leader's log and not yet on all in-sync replicas.
struct Pending {
    partition: Arc<Partition>,
    offset: i64,
    topic_id: base::Uuid,
    index: i32,
}

/// Produce with acks=all waits until every high watermark has passed its batch.
struct AwaitReplicas {
    reply: ReplyTo,
    response: ProduceResponse,
    pending: Vec<Pending>,
    deadline: Instant,
    /// One watch at a time: all have to be reached, in whatever order.
    watch: Option<Watch>,
}

impl Wait for AwaitReplicas {
    fn poll(&mut self, _broker: &Broker, now: Now, waker: &Waker) -> Option<Response> {
        self.watch = None;
        while let Some(next) = self.pending.last() {
            if !next.partition.is_leader() {
                let done = self.pending.pop()?;
                self.fail(&done, ErrorCode::NotLeaderOrFollower);
                continue;
            }
            match next.partition.watch(next.offset, waker) {
                None => {
                    self.pending.pop();
                }
                Some(watch) if now.mono < self.deadline => {
                    self.watch = Some(watch);
                    return None;
                }
                Some(_) => {
                    for late in std::mem::take(&mut self.pending) {
                        self.fail(&late, ErrorCode::RequestTimedOut);
                    }
                }
            }
        }
        self.reply.encode(&self.response)
    }
}

impl AwaitReplicas {
    fn fail(&mut self, pending: &Pending, error: ErrorCode) {
        let name = &pending.partition.topic_partition.topic;
        let topics = self.response.responses.iter_mut().filter(|t| t.topic_id == pending.topic_id || t.name == *name);
        for partition in topics.flat_map(|t| &mut t.partition_responses).filter(|p| p.index == pending.index) {
            *partition = refused(pending.index, error.into());
        }
    }
}
