//! Produce with batches of a transaction: before anything is appended, the coordinator says which partitions belong to the transaction.
//! Until then the next request of the connection waits, as the sequences of a producer must arrive in their order.
//! Kafka: `ReplicaManager.handleProduceAppend`.

use super::produce::{Appended, AwaitReplicas, Produce, records};
use crate::Broker;
use crate::answer::{Handled, Response, Wait};
use crate::context::Context;
use crate::verify::{Operation, Verifying, Writer};
use base::{Instant, Now, Segment, TopicPartition};
use metadata::Image;
use record::BatchView;
use std::sync::Arc;
use std::task::Waker;
use wire::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use wire::messages::{ProduceRequest, ProduceResponse};
use wire::{ErrorCode, Records};

const MAGIC_AT: usize = 16;
const ATTRIBUTES_AT: usize = 22;
const TRANSACTIONAL: u8 = 0x10;

/// Whether the first batch is one of a transaction, whatever else may be wrong with it.
pub(super) fn is_part_of_transaction(records: &[u8]) -> bool {
    records.get(MAGIC_AT) == Some(&2) && records.get(ATTRIBUTES_AT).is_some_and(|attributes| attributes & TRANSACTIONAL != 0)
}

pub(super) fn is_transactional(request: &ProduceRequest) -> bool {
    let transactional = |records: &Records| match records.segments() {
        [Segment::Bytes(bytes), ..] => is_part_of_transaction(bytes),
        _ => false,
    };
    request.topic_data.iter().flat_map(|topic| &topic.partition_data).any(|data| data.records.as_ref().is_some_and(transactional))
}

pub(super) fn handle(c: &mut Context, request: ProduceRequest) -> Handled {
    let Some(transactional_id) = request.transactional_id.clone() else {
        return refuse_all(c, &request, ErrorCode::TransactionalIdAuthorizationFailed, None);
    };
    let produce = Produce::new(c, request.acks, request.timeout_ms);
    let batches = transactional_batches(c, &request);
    let Some(first) = batches.first() else {
        let wait = InTransaction { image: c.image.clone(), produce, request, stage: Stage::Refused };
        return c.park(wait, Instant::FAR_FUTURE);
    };
    let (producer_id, producer_epoch) = (first.producer_id, first.producer_epoch);
    if batches.iter().any(|batch| (batch.producer_id, batch.producer_epoch) != (producer_id, producer_epoch)) {
        let text = "Transactional records contained more than one producer ID";
        return refuse_all(c, &request, ErrorCode::InvalidProducerIdMapping, Some(text));
    }
    let partitions = batches.into_iter().map(|batch| (batch.partition, batch.base_sequence)).collect();
    let operation = Operation::of_produce(c.version());
    let writer = Writer { transactional_id, producer_id, producer_epoch, operation, partitions };
    let stage = Stage::Verifying(Verifying::new(c.broker, c.now, writer));
    c.park(InTransaction { image: c.image.clone(), produce, request, stage }, Instant::FAR_FUTURE)
}

struct TransactionalBatch {
    partition: TopicPartition,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
}

/// The batches that the coordinator has to be asked about: of partitions that exist, and fit to be written.
fn transactional_batches(c: &Context, request: &ProduceRequest) -> Vec<TransactionalBatch> {
    let mut batches = Vec::new();
    for topic in &request.topic_data {
        let known = match topic.topic_id.is_zero() {
            true => c.image.topics.get(&topic.name),
            false => c.image.topics.get_by_id(topic.topic_id),
        };
        let Some(known) = known else { continue };
        for data in topic.partition_data.iter().filter(|data| known.partitions.contains_key(&data.index)) {
            let Ok(records) = records(c.version(), data) else { continue };
            let Ok(Some(batch)) = BatchView::first(&records) else { continue };
            if batch.is_transactional() && batch.has_producer_id() {
                batches.push(TransactionalBatch {
                    partition: TopicPartition::new(&*known.name, data.index),
                    producer_id: batch.producer_id(),
                    producer_epoch: batch.producer_epoch(),
                    base_sequence: batch.base_sequence(),
                });
            }
        }
    }
    batches
}

/// The same error for everything, before anything was looked at.
fn refuse_all(c: &Context, request: &ProduceRequest, error: ErrorCode, text: Option<&str>) -> Handled {
    if request.acks == 0 {
        return Handled::Close(format!("a Produce with acks=0 failed: {error}"));
    }
    let mut responses: Vec<TopicProduceResponse> = Vec::new();
    for topic in &request.topic_data {
        let refused = topic.partition_data.iter().map(|data| partition_response(data.index, error, text.map(str::to_owned)));
        match responses.iter_mut().find(|there| there.name == topic.name && there.topic_id == topic.topic_id) {
            Some(there) => there.partition_responses.extend(refused),
            None => responses.push(TopicProduceResponse {
                name: topic.name.clone(),
                topic_id: topic.topic_id,
                partition_responses: refused.collect(),
                ..Default::default()
            }),
        }
    }
    c.answer(&ProduceResponse { responses, ..Default::default() })
}

/// A partition that the coordinator, or the log before it was asked, refused. Errors that older clients would not repeat the request
/// after become one that they do, without a refresh of their metadata.
pub(super) fn refused(index: i32, error: ErrorCode, version: i16) -> PartitionProduceResponse {
    let retriable = match error {
        ErrorCode::NetworkException
        | ErrorCode::CoordinatorLoadInProgress
        | ErrorCode::CoordinatorNotAvailable
        | ErrorCode::NotCoordinator => true,
        ErrorCode::ConcurrentTransactions => !Operation::of_produce(version).adds(),
        _ => false,
    };
    if retriable {
        let text = format!("Unable to verify the partition has been added to the transaction. Underlying error: {}", error.name());
        return partition_response(index, ErrorCode::NotEnoughReplicas, Some(text));
    }
    let text = (error == ErrorCode::InvalidTxnState).then(|| "Partition was not added to the transaction".into());
    partition_response(index, error, text)
}

fn partition_response(index: i32, error: ErrorCode, error_message: Option<String>) -> PartitionProduceResponse {
    PartitionProduceResponse {
        index,
        error_code: error.code(),
        base_offset: -1,
        log_append_time_ms: -1,
        log_start_offset: -1,
        error_message,
        ..Default::default()
    }
}

/// A Produce from the question to its answer.
struct InTransaction {
    /// The cluster as the request saw it when it came.
    image: Arc<Image>,
    produce: Produce,
    request: ProduceRequest,
    stage: Stage,
}

enum Stage {
    /// Nothing of the transaction is fit to be asked about.
    Refused,
    Verifying(Verifying),
    Appended(AwaitReplicas),
}

impl Wait for InTransaction {
    fn poll(&mut self, broker: &Broker, now: Now, waker: &Waker) -> Option<Response> {
        let verified = match &mut self.stage {
            Stage::Refused => Default::default(),
            Stage::Verifying(verifying) => verifying.poll(broker, now, waker)?,
            Stage::Appended(wait) => return wait.poll(broker, now, waker),
        };
        let topics = std::mem::take(&mut self.request.topic_data);
        match self.produce.append_all(broker, &self.image, now, topics, Some(&verified)) {
            Appended::Done(response) => self.produce.reply.encode(&response),
            Appended::Unanswered { failed } => Some(Response::nothing(self.produce.reply.key, failed)),
            Appended::Waiting(mut wait) => {
                let response = wait.poll(broker, now, waker);
                self.stage = Stage::Appended(wait);
                response
            }
        }
    }

    fn polled_again_at(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Refused => None,
            Stage::Verifying(verifying) => Some(verifying.polled_again_at()),
            Stage::Appended(wait) => Some(wait.deadline),
        }
    }

    fn holds_next(&self) -> bool {
        !matches!(self.stage, Stage::Appended(_))
    }
}
