//! Produce. Hot path: the records stay the slice of the frame they came in; the log patches their header and writes them.
//! Kafka: `KafkaApis.handleProduceRequest`, `ReplicaManager.handleProduceAppend`, `DelayedProduce`.

use super::produce_in_transaction::{self, is_part_of_transaction};
use crate::Broker;
use crate::answer::{Handled, ReplyTo, Response, Wait};
use crate::auto_create::is_internal;
use crate::context::Context;
use crate::verify::Verified;
use base::{Instant, Now};
use bytes::Bytes;
use metadata::Image;
use replica::{Acks, Partition, PartitionError, Progress, Topic, Watch};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;
use storage::{AppendOrigin, Verification};
use wire::ErrorCode;
use wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use wire::messages::produce_response::{BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse};
use wire::messages::{ProduceRequest, ProduceResponse};

/// The client id that may write to internal topics, as tools that copy them use.
const ADMIN_CLIENT_ID: &str = "__admin_client";

pub(super) fn handle(c: &mut Context, request: ProduceRequest) -> Handled {
    if produce_in_transaction::is_transactional(&request) {
        return produce_in_transaction::handle(c, request);
    }
    let produce = Produce::new(c, request.acks, request.timeout_ms);
    match produce.append_all(c.broker, &c.image, c.now, request.topic_data, None) {
        Appended::Done(response) => c.answer(&response),
        Appended::Unanswered { failed: None } => Handled::NoResponse,
        Appended::Unanswered { failed: Some(reason) } => Handled::Close(reason),
        Appended::Waiting(wait) => {
            let next_look = wait.next_look(c.now);
            c.park(wait, next_look)
        }
    }
}

/// What a Produce says besides its records.
pub(super) struct Produce {
    pub reply: ReplyTo,
    acks: Option<Acks>,
    timeout_ms: i32,
    /// May write to internal topics.
    is_admin: bool,
}

pub(super) enum Appended {
    Done(ProduceResponse),
    /// Acks=0: there is no answer that could carry an error; closing makes the client look for the leader again.
    Unanswered {
        failed: Option<String>,
    },
    Waiting(AwaitReplicas),
}

impl Produce {
    pub fn new(c: &Context, acks: i16, timeout_ms: i32) -> Self {
        let acks = match acks {
            0 => Some(Acks::None),
            1 => Some(Acks::Leader),
            -1 => Some(Acks::All),
            _ => None,
        };
        Produce { reply: c.reply, acks, timeout_ms, is_admin: c.client_id == ADMIN_CLIENT_ID }
    }

    /// Appends every batch; those of a transaction as far as `verified` lets them.
    pub fn append_all(
        &self,
        broker: &Broker,
        image: &Image,
        now: Now,
        topics: Vec<TopicProduceData>,
        verified: Option<&Verified>,
    ) -> Appended {
        let mut append = Append { produce: self, broker, image, now, verified, pending: Vec::new(), failed: false, slowed: Duration::ZERO };
        let responses: Vec<TopicProduceResponse> = topics.into_iter().map(|topic| append.topic(topic)).collect();
        let Append { pending, failed, slowed, .. } = append;
        if self.acks == Some(Acks::None) {
            return Appended::Unanswered { failed: failed.then(|| "a Produce with acks=0 failed".into()) };
        }
        let response = ProduceResponse { responses, throttle_time_ms: slowed.as_millis() as i32, ..Default::default() };
        // Clients that heed the throttle time are slowed down by it, the others by an answer that comes late. In a transaction nobody would
        // look again by the clock.
        let not_before = if verified.is_none() { now.mono + slowed } else { now.mono };
        let Some(acks) = self.acks.filter(|_| !pending.is_empty() || not_before > now.mono) else { return Appended::Done(response) };
        let deadline = now.mono + Duration::from_millis(self.timeout_ms.max(0) as u64);
        Appended::Waiting(AwaitReplicas { reply: self.reply, acks, response, pending, deadline, not_before, watch: None })
    }
}

struct Append<'a> {
    produce: &'a Produce,
    broker: &'a Broker,
    image: &'a Image,
    now: Now,
    /// What the transaction coordinator said about the partitions; `None` where it was not to be asked.
    verified: Option<&'a Verified>,
    pending: Vec<Pending>,
    failed: bool,
    slowed: Duration,
}

impl Append<'_> {
    fn topic(&mut self, topic: TopicProduceData) -> TopicProduceResponse {
        let by_id = !topic.topic_id.is_zero();
        let known = match by_id {
            true => self.image.topics.get_by_id(topic.topic_id),
            false => self.image.topics.get(&topic.name),
        };
        let here = known.and_then(|known| self.broker.replicas().topic(known.id));
        if let Some(here) = &here {
            self.broker.replicas().begin(here);
        }
        let metrics = self.broker.metrics();
        let partitions = topic.partition_data.into_iter().map(|data| {
            metrics.traffic.produce_requests.add(1);
            let result = match known {
                Some(known) => self.partition(known, here.as_deref(), &data),
                None if by_id || self.produce.reply.version >= 13 => Err(ErrorCode::UnknownTopicId.into()),
                None => Err(ErrorCode::UnknownTopicOrPartition.into()),
            };
            result.unwrap_or_else(|error| {
                self.failed = true;
                let traffic = known.and_then(|topic| self.broker.replicas().traffic_of(&topic.name));
                metrics.produce_failed(traffic.as_deref(), &error, data.records.as_ref().map_or(0, wire::Records::len) as u64);
                refused(data.index, error)
            })
        });
        let partition_responses = partitions.collect();
        TopicProduceResponse { name: topic.name, topic_id: topic.topic_id, partition_responses, ..Default::default() }
    }

    /// `here`: the partitions of the topic that are on this broker.
    fn partition(
        &mut self,
        topic: &metadata::Topic,
        here: Option<&Topic>,
        data: &PartitionProduceData,
    ) -> Result<PartitionProduceResponse, PartitionError> {
        if !topic.partitions.contains_key(&data.index) {
            return Err(ErrorCode::UnknownTopicOrPartition.into());
        }
        let records = records(self.produce.reply.version, data)?;
        // Somebody else's answer to a batch of a transaction comes before any of our own.
        let verification = match self.verified.filter(|_| is_part_of_transaction(&records)) {
            Some(verified) => match verified.check(&topic.name, data.index) {
                Ok(verification) => verification,
                Err(error) => {
                    self.failed = true;
                    return Ok(produce_in_transaction::refused(data.index, error, self.produce.reply.version));
                }
            },
            None => Verification::NotRequired,
        };
        let Some(acks) = self.produce.acks else {
            return Err(ErrorCode::InvalidRequiredAcks.into());
        };
        if is_internal(&topic.name) && !self.produce.is_admin {
            let message = format!("Cannot append to internal topic {}", topic.name);
            return Err(PartitionError::new(ErrorCode::InvalidTopicException, message));
        }
        let partition = here.and_then(|here| here.get(data.index)).ok_or(ErrorCode::NotLeaderOrFollower)?;
        let size = records.len() as u64;
        partition.traffic.produce_requests.add(1);
        let done = match verification {
            Verification::NotRequired => partition.append(records, acks, AppendOrigin::Client, self.now)?,
            required => partition.append_in_transaction(records, acks, AppendOrigin::Client, required, self.now)?,
        };
        let messages = done.info.record_count.max(0) as u64;
        for traffic in [&self.broker.metrics().traffic, &*partition.traffic] {
            traffic.bytes_in.add(size);
            traffic.messages_in.add(messages);
        }
        self.slowed = self.slowed.max(done.slowed);
        if done.must_wait(acks) {
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

/// `ProduceRequest.validateRecords`: exactly one batch, of the current format, no zstd before version 7.
pub(super) fn records(version: i16, data: &PartitionProduceData) -> Result<Bytes, PartitionError> {
    let records = data.records.as_ref().and_then(|r| r.to_bytes().ok()).unwrap_or_default();
    record::check_produce(&records, version).map_err(|e| PartitionError::from(ErrorCode::from_code(e.code())))?;
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
    // Where Kafka would have stopped, there is something to say.
    let is_own = error.code == ErrorCode::KafkaStorageError;
    let error_message = error.message.filter(|_| is_own || !error.record_errors.is_empty());
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

/// A batch that is in the leader's log and not yet on all in-sync replicas, or not yet flushed.
struct Pending {
    partition: Arc<Partition>,
    offset: i64,
    topic_id: base::Uuid,
    index: i32,
}

/// Produce with acks=all waits until every high watermark has passed its batch; with acks=1, for flushes where flush.messages wants them.
pub(super) struct AwaitReplicas {
    reply: ReplyTo,
    acks: Acks,
    response: ProduceResponse,
    pending: Vec<Pending>,
    pub deadline: Instant,
    /// For producers that are slowed down.
    not_before: Instant,
    /// One watch at a time: all have to be reached, in whatever order.
    watch: Option<Watch>,
}

impl Wait for AwaitReplicas {
    fn poll(&mut self, _broker: &Broker, now: Now, waker: &Waker) -> Option<Response> {
        self.watch = None;
        while let Some(next) = self.pending.last() {
            match next.partition.watch_append(next.offset, self.acks, waker) {
                Progress::Done => {
                    self.pending.pop();
                }
                Progress::Failed(error) => {
                    let failed = self.pending.pop()?;
                    self.fail(&failed, error);
                }
                Progress::Waiting(watch) if now.mono < self.deadline => {
                    self.watch = Some(watch);
                    return None;
                }
                Progress::Waiting(_) => {
                    for late in std::mem::take(&mut self.pending) {
                        self.fail(&late, ErrorCode::RequestTimedOut);
                    }
                }
            }
        }
        if now.mono < self.not_before {
            return None;
        }
        self.reply.encode(&self.response)
    }
}

impl AwaitReplicas {
    /// When to poll although nobody woke it.
    fn next_look(&self, now: Now) -> Instant {
        if self.not_before > now.mono { self.not_before } else { self.deadline }
    }

    fn fail(&mut self, pending: &Pending, error: ErrorCode) {
        let name = &pending.partition.topic_partition.topic;
        let topics = self.response.responses.iter_mut().filter(|t| t.topic_id == pending.topic_id || t.name == *name);
        for partition in topics.flat_map(|t| &mut t.partition_responses).filter(|p| p.index == pending.index) {
            *partition = refused(pending.index, error.into());
        }
    }
}
