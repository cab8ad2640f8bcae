//! OffsetForLeaderEpoch (KIP-101, KIP-320): where an epoch ends in the leader's log, by which clients find that theirs was cut.

use crate::answer::Handled;
use crate::context::Context;
use replica::PartitionError;
use wire::ErrorCode;
use wire::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use wire::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use wire::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

pub(super) fn handle(c: &mut Context, request: OffsetForLeaderEpochRequest) -> Handled {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            partition(c, &topic.topic, asked).unwrap_or_else(|error| EpochEndOffset {
                error_code: error.code.code(),
                partition: asked.partition,
                ..Default::default()
            })
        });
        OffsetForLeaderTopicResult { topic: topic.topic.clone(), partitions: partitions.collect(), ..Default::default() }
    });
    let topics = topics.collect();
    c.answer(&OffsetForLeaderEpochResponse { topics, ..Default::default() })
}

fn partition(c: &Context, topic: &str, asked: &OffsetForLeaderPartition) -> Result<EpochEndOffset, PartitionError> {
    if c.image.topics.partition(topic, asked.partition).is_none() {
        return Err(ErrorCode::UnknownTopicOrPartition.into());
    }
    let partition = c.broker.replicas().get(topic, asked.partition).ok_or(ErrorCode::NotLeaderOrFollower)?;
    let found = partition.with_leader_log(Some(asked.current_leader_epoch), |log| log.end_offset_for_epoch(asked.leader_epoch))?;
    let (leader_epoch, end_offset) = found.unwrap_or((-1, -1));
    Ok(EpochEndOffset { partition: asked.partition, leader_epoch, end_offset, ..Default::default() })
}
