//! TxnOffsetCommit: offsets of a group as part of a producer's transaction. They are written to the group's partition of
//! `__consumer_offsets`, which belongs to the transaction like any partition, and count when its marker commits them.
//! Kafka: `KafkaApis.handleTxnOffsetCommitRequest`, `CoordinatorRuntime.scheduleTransactionalWriteOperation`.

use super::group::request_context;
use crate::Broker;
use crate::answer::{Handled, ReplyTo, Response, Wait};
use crate::auto_create::OFFSETS_TOPIC;
use crate::context::Context;
use crate::groups::ReplySlot;
use crate::verify::{Operation, Verifying, Writer};
use base::{Instant, Now, TopicPartition};
use coordinator::{Reply, RequestContext, errors};
use std::task::Waker;
use wire::ErrorCode;
use wire::messages::txn_offset_commit_request::TxnOffsetCommitRequestTopic;
use wire::messages::txn_offset_commit_response::{TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic};
use wire::messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};

/// Before it, producers break on COORDINATOR_LOAD_IN_PROGRESS (KAFKA-7296).
const LOADING_VERSION: i16 = 2;

pub(super) fn handle(c: &mut Context, mut request: TxnOffsetCommitRequest) -> Handled {
    let mut refused = Vec::new();
    let topics = std::mem::take(&mut request.topics);
    request.topics = topics.into_iter().filter_map(|topic| known_part(c, topic, &mut refused)).collect();
    if request.topics.is_empty() {
        return c.answer(&TxnOffsetCommitResponse { topics: refused, ..Default::default() });
    }
    let mut commit = Commit { reply: c.reply, context: request_context(c), request, refused, stage: Stage::Done };
    if commit.request.group_id.is_empty() {
        return match commit.refuse(ErrorCode::InvalidGroupId) {
            Some(response) => Handled::Response(response),
            None => Handled::Close("the answer cannot be encoded".into()),
        };
    }
    let Some(partition) = c.broker.groups.partition_of(&commit.request.group_id) else {
        return match commit.refuse(ErrorCode::CoordinatorNotAvailable) {
            Some(response) => Handled::Response(response),
            None => Handled::Close("the answer cannot be encoded".into()),
        };
    };
    let writer = Writer {
        transactional_id: commit.request.transactional_id.clone(),
        producer_id: commit.request.producer_id,
        producer_epoch: commit.request.producer_epoch,
        operation: Operation::of_txn_offset_commit(c.version()),
        partitions: vec![(TopicPartition::new(OFFSETS_TOPIC, partition), record::NO_SEQUENCE)],
    };
    commit.stage = Stage::Verifying { verifying: Verifying::new(c.broker, c.now, writer), partition };
    // The shard has its own timers; it answers each request at some time.
    c.park(commit, Instant::FAR_FUTURE)
}

/// The partitions of a topic that exist; the others go to `refused`.
fn known_part(
    c: &Context,
    mut topic: TxnOffsetCommitRequestTopic,
    refused: &mut Vec<TxnOffsetCommitResponseTopic>,
) -> Option<TxnOffsetCommitRequestTopic> {
    let known = c.image.topics.get(&topic.name);
    let exists = |index: i32| known.is_some_and(|t| t.partitions.contains_key(&index));
    let (good, bad): (Vec<_>, Vec<_>) = std::mem::take(&mut topic.partitions).into_iter().partition(|p| exists(p.partition_index));
    if !bad.is_empty() {
        let partitions = bad.into_iter().map(|p| TxnOffsetCommitResponsePartition {
            partition_index: p.partition_index,
            error_code: ErrorCode::UnknownTopicOrPartition.code(),
            ..Default::default()
        });
        let partitions = partitions.collect();
        refused.push(TxnOffsetCommitResponseTopic { name: topic.name.clone(), partitions, ..Default::default() });
    }
    topic.partitions = good;
    (!topic.partitions.is_empty()).then_some(topic)
}

struct Commit {
    reply: ReplyTo,
    context: RequestContext,
    request: TxnOffsetCommitRequest,
    refused: Vec<TxnOffsetCommitResponseTopic>,
    stage: Stage,
}

enum Stage {
    Verifying { verifying: Verifying, partition: i32 },
    Writing(ReplySlot),
    Done,
}

impl Wait for Commit {
    fn poll(&mut self, broker: &Broker, now: Now, waker: &Waker) -> Option<Response> {
        if let Stage::Verifying { verifying, partition } = &mut self.stage {
            let verified = verifying.poll(broker, now, waker)?;
            let verification = match verified.check(OFFSETS_TOPIC, *partition) {
                Ok(verification) => verification,
                Err(error) => return self.refuse(error),
            };
            let (context, request) = (&self.context, &self.request);
            let step = |shard: &mut coordinator::Shard, token| shard.txn_offset_commit(now, context, token, request);
            match broker.groups.call_in_transaction(&self.request.group_id, now, verification, step) {
                Ok(slot) => self.stage = Stage::Writing(slot),
                Err(error) => return self.refuse(error),
            }
        }
        let Stage::Writing(slot) = &self.stage else { return None };
        match slot.poll(waker)? {
            Reply::TxnOffsetCommit(response) => self.finish(response),
            _ => None,
        }
    }

    fn polled_again_at(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Verifying { verifying, .. } => Some(verifying.polled_again_at()),
            _ => None,
        }
    }

    /// Data of the same producer must not be decided on before its offsets are in the log.
    fn holds_next(&self) -> bool {
        matches!(self.stage, Stage::Verifying { .. })
    }
}

impl Commit {
    fn refuse(&mut self, error: ErrorCode) -> Option<Response> {
        let response = errors::txn_offset_commit(&self.request, error);
        self.finish(response)
    }

    /// The answer for the topics that exist, after that for the others.
    fn finish(&mut self, response: TxnOffsetCommitResponse) -> Option<Response> {
        let mut topics = std::mem::take(&mut self.refused);
        for topic in response.topics {
            match topics.iter_mut().find(|there| there.name == topic.name) {
                Some(there) => there.partitions.extend(topic.partitions),
                None => topics.push(topic),
            }
        }
        if self.reply.version < LOADING_VERSION {
            for partition in topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
                if partition.error_code == ErrorCode::CoordinatorLoadInProgress.code() {
                    partition.error_code = ErrorCode::CoordinatorNotAvailable.code();
                }
            }
        }
        self.stage = Stage::Done;
        self.reply.encode(&TxnOffsetCommitResponse { topics, ..response })
    }
}
