//! DeleteRecords (KIP-107): moves the start of a log; -1 stands for the high watermark. Kafka: `ReplicaManager.deleteRecords`.

use crate::answer::Handled;
use crate::auto_create::is_internal;
use crate::context::Context;
use replica::PartitionError;
use std::collections::BTreeMap;
use wire::ErrorCode;
use wire::messages::delete_records_request::DeleteRecordsPartition;
use wire::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use wire::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

const HIGH_WATERMARK: i64 = -1;

pub(super) fn handle(c: &mut Context, request: DeleteRecordsRequest) -> Handled {
    // Where a partition is named twice, the last counts; each topic is answered for once.
    let mut wanted = BTreeMap::<&str, BTreeMap<i32, &DeleteRecordsPartition>>::new();
    for (topic, asked) in request.topics.iter().flat_map(|t| t.partitions.iter().map(|p| (&*t.name, p))) {
        wanted.entry(topic).or_default().insert(asked.partition_index, asked);
    }
    let topics = wanted.into_iter().map(|(topic, partitions)| {
        let partitions = partitions.into_values().map(|asked| {
            let result = delete(c, topic, asked);
            let (low_watermark, error) = result.map_or_else(|e| (-1, e.code), |low| (low, ErrorCode::None));
            DeleteRecordsPartitionResult {
                partition_index: asked.partition_index,
                low_watermark,
                error_code: error.code(),
                ..Default::default()
            }
        });
        DeleteRecordsTopicResult { name: topic.to_owned(), partitions: partitions.collect(), ..Default::default() }
    });
    let topics = topics.collect();
    c.answer(&DeleteRecordsResponse { topics, ..Default::default() })
}

fn delete(c: &Context, topic: &str, asked: &DeleteRecordsPartition) -> Result<i64, PartitionError> {
    if c.image.topics.partition(topic, asked.partition_index).is_none() {
        return Err(ErrorCode::UnknownTopicOrPartition.into());
    }
    if is_internal(topic) {
        return Err(ErrorCode::InvalidTopicException.into());
    }
    let partition = c.broker.replicas().get(topic, asked.partition_index).ok_or(ErrorCode::NotLeaderOrFollower)?;
    partition.with_leader_log_and_wake(None, |log| {
        if !log.config().cleanup_delete {
            return Err(PartitionError::from(ErrorCode::PolicyViolation));
        }
        let to = if asked.offset == HIGH_WATERMARK { log.high_watermark() } else { asked.offset };
        if to < 0 || to > log.high_watermark() {
            return Err(ErrorCode::OffsetOutOfRange.into());
        }
        log.delete_records_before(to, c.now)?;
        Ok(log.log_start_offset())
    })?
}
