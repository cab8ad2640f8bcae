//! AddPartitionsToTxn: from clients up to version 3, one transaction; from brokers since, several, and perhaps only to verify (KIP-890).
//! Kafka: `KafkaApis.handleAddPartitionsToTxnRequest`.

use super::txn::{TxnPart, error_of, park};
use crate::answer::Handled;
use crate::context::Context;
use crate::txns::CLIENT_VERSION_2;
use base::TopicPartition;
use coordinator::txn::TxnReply;
use metadata::Image;
use wire::ErrorCode;
use wire::messages::add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use wire::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use wire::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse};

/// From here on brokers ask, for several transactions at once.
const BROKER_VERSION: i16 = 4;
/// Clients know PRODUCER_FENCED from here on.
const FENCED_VERSION: i16 = 2;

pub(super) fn handle(c: &mut Context, request: AddPartitionsToTxnRequest) -> Handled {
    let version = c.version();
    let transactions = if version >= BROKER_VERSION { request.transactions } else { vec![of_client(request)] };
    let parts = transactions.iter().map(|transaction| ask(c, transaction)).collect();
    park(c, parts, move |reply, replies| {
        let results = transactions.iter().zip(&replies).map(|(transaction, answer)| result(transaction, answer, version));
        let response = if version >= BROKER_VERSION {
            AddPartitionsToTxnResponse { results_by_transaction: results.collect(), ..Default::default() }
        } else {
            let results_by_topic_v3_and_below = results.flat_map(|result| result.topic_results).collect();
            AddPartitionsToTxnResponse { results_by_topic_v3_and_below, ..Default::default() }
        };
        reply.encode(&response)
    })
}

fn of_client(request: AddPartitionsToTxnRequest) -> AddPartitionsToTxnTransaction {
    AddPartitionsToTxnTransaction {
        transactional_id: request.v3_and_below_transactional_id,
        producer_id: request.v3_and_below_producer_id,
        producer_epoch: request.v3_and_below_producer_epoch,
        topics: request.v3_and_below_topics,
        ..Default::default()
    }
}

fn ask(c: &Context, transaction: &AddPartitionsToTxnTransaction) -> TxnPart {
    let partitions: Vec<TopicPartition> = partitions(&transaction.topics).collect();
    if partitions.iter().any(|partition| !exists(&c.image, partition)) {
        // One that does not exist spoils it for all.
        let verdict = |partition: &TopicPartition| match exists(&c.image, partition) {
            true => ErrorCode::OperationNotAttempted,
            false => ErrorCode::UnknownTopicOrPartition,
        };
        let verdicts = partitions.iter().map(|partition| (partition.clone(), verdict(partition)));
        return TxnPart::Done(TxnReply::Verified(verdicts.collect()));
    }
    let id = &transaction.transactional_id;
    if id.is_empty() {
        return TxnPart::Done(TxnReply::Failed(ErrorCode::InvalidRequest));
    }
    let producer = (transaction.producer_id, transaction.producer_epoch);
    let client_version = if c.version() >= BROKER_VERSION { CLIENT_VERSION_2 } else { 0 };
    c.broker
        .txns
        .call(c.broker, id, c.now, |shard, step, token| match transaction.verify_only {
            true => shard.verify_partitions(token, id, producer, &partitions),
            false => shard.add_partitions(step, token, id, producer, &partitions, client_version),
        })
        .into()
}

fn partitions(topics: &[AddPartitionsToTxnTopic]) -> impl Iterator<Item = TopicPartition> {
    topics.iter().flat_map(|topic| topic.partitions.iter().map(|index| TopicPartition::new(topic.name.clone(), *index)))
}

fn exists(image: &Image, partition: &TopicPartition) -> bool {
    image.topics.get(&partition.topic).is_some_and(|topic| topic.partitions.contains_key(&partition.partition))
}

fn result(transaction: &AddPartitionsToTxnTransaction, reply: &TxnReply, version: i16) -> AddPartitionsToTxnResult {
    // Verdicts come in the order of the partitions.
    let mut verdicts = match reply {
        TxnReply::Verified(verdicts) => verdicts.as_slice(),
        _ => &[],
    }
    .iter();
    let error = error_of(reply, version, FENCED_VERSION);
    let topics = transaction.topics.iter().map(|topic| AddPartitionsToTxnTopicResult {
        name: topic.name.clone(),
        results_by_partition: topic
            .partitions
            .iter()
            .map(|index| AddPartitionsToTxnPartitionResult {
                partition_index: *index,
                partition_error_code: verdicts.next().map_or(error, |(_, error)| *error).code(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    AddPartitionsToTxnResult {
        transactional_id: transaction.transactional_id.clone(),
        topic_results: topics.collect(),
        ..Default::default()
    }
}
