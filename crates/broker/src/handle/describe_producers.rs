//! DescribeProducers: whom a partition remembers as its producers, with their open transactions. Any replica can tell.
//! Kafka: `KafkaApis.handleDescribeProducersRequest`, `Partition.activeProducerState`.

use crate::answer::Handled;
use crate::context::Context;
use storage::Log;
use wire::ErrorCode;
use wire::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use wire::messages::{DescribeProducersRequest, DescribeProducersResponse};

pub(super) fn handle(c: &mut Context, request: DescribeProducersRequest) -> Handled {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partition_indexes.iter().map(|index| partition(c, &topic.name, *index));
        let partitions = partitions.collect();
        TopicResponse { name: topic.name, partitions, ..Default::default() }
    });
    let topics = topics.collect();
    c.answer(&DescribeProducersResponse { topics, ..Default::default() })
}

fn partition(c: &Context, topic: &str, index: i32) -> PartitionResponse {
    let refused = |error: ErrorCode, error_message: Option<String>| PartitionResponse {
        partition_index: index,
        error_code: error.code(),
        error_message,
        ..Default::default()
    };
    if let Err(problem) = config::topic::validate_name(topic) {
        return refused(ErrorCode::InvalidTopicException, Some(problem.to_string()));
    }
    let Some(known) = c.image.topics.get(topic) else {
        return refused(ErrorCode::UnknownTopicOrPartition, Some("This server does not host this topic-partition.".into()));
    };
    if !known.partitions.contains_key(&index) {
        return refused(ErrorCode::UnknownTopicOrPartition, None);
    }
    let Some(replica) = c.broker.replicas().get(topic, index) else { return refused(ErrorCode::NotLeaderOrFollower, None) };
    match replica.with_log(|log| active_producers(log)) {
        Some(active_producers) => PartitionResponse { partition_index: index, active_producers, ..Default::default() },
        None => refused(replica.with_leader_log(None, |_| ()).err().map_or(ErrorCode::KafkaStorageError, |error| error.code), None),
    }
}

fn active_producers(log: &Log) -> Vec<ProducerState> {
    let producers = log.producers().entries().into_iter().map(|entry| ProducerState {
        producer_id: entry.producer_id,
        producer_epoch: i32::from(entry.epoch),
        last_sequence: entry.last_sequence(),
        last_timestamp: entry.last_timestamp,
        coordinator_epoch: entry.coordinator_epoch,
        current_txn_start_offset: entry.current_txn_first_offset.unwrap_or(-1),
        ..Default::default()
    });
    producers.collect()
}
