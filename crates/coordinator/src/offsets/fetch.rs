//! OffsetFetch and OffsetDelete.

use base::Uuid;
use wire::EncodeError;
use wire::ErrorCode;
use wire::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use wire::messages::offset_fetch_request::OffsetFetchRequestTopics;
use wire::messages::offset_fetch_response::{OffsetFetchResponsePartitions, OffsetFetchResponseTopics};
use wire::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

use super::{Committed, OffsetAndMetadata, Offsets};
use crate::group::Group;
use crate::records;

/// The offsets of the topics asked for. `group_known: false` answers that nothing is committed.
pub(crate) fn fetch(
    offsets: &Offsets,
    group_id: &str,
    topics: &[OffsetFetchRequestTopics],
    require_stable: bool,
    group_known: bool,
) -> Vec<OffsetFetchResponseTopics> {
    let committed = offsets.committed.group(group_id).filter(|_| group_known);
    topics
        .iter()
        .map(|topic| {
            let by_partition = committed.and_then(|c| c.get(&topic.name));
            let partitions = topic
                .partition_indexes
                .iter()
                .map(|&partition| {
                    let offset = by_partition
                        .and_then(|p| p.get(&partition))
                        // An offset of a deleted topic of the same name is none of this topic's.
                        .filter(|o| o.topic_id.is_zero() || topic.topic_id.is_zero() || o.topic_id == topic.topic_id);
                    let unstable = require_stable && offsets.pending.contains(group_id, &topic.name, partition);
                    answer(partition, offset, unstable)
                })
                .collect();
            OffsetFetchResponseTopics { name: topic.name.clone(), topic_id: topic.topic_id, partitions, ..Default::default() }
        })
        .collect()
}

/// All offsets of the group. The broker fills in the topic ids.
pub(crate) fn fetch_all(offsets: &Offsets, group_id: &str, require_stable: bool) -> Vec<OffsetFetchResponseTopics> {
    let committed = offsets.committed.group(group_id).into_iter().flatten();
    committed
        .map(|(topic, by_partition)| OffsetFetchResponseTopics {
            name: topic.clone(),
            topic_id: Uuid::ZERO,
            partitions: by_partition
                .iter()
                .map(|(&partition, offset)| {
                    let unstable = require_stable && offsets.pending.contains(group_id, topic, partition);
                    answer(partition, Some(offset), unstable)
                })
                .collect(),
            ..Default::default()
        })
        .collect()
}

fn answer(partition: i32, offset: Option<&OffsetAndMetadata>, unstable: bool) -> OffsetFetchResponsePartitions {
    let none = OffsetFetchResponsePartitions {
        partition_index: partition,
        committed_offset: -1,
        committed_leader_epoch: -1,
        metadata: Some(String::new()),
        ..Default::default()
    };
    match offset {
        _ if unstable => OffsetFetchResponsePartitions { error_code: ErrorCode::UnstableOffsetCommit.code(), ..none },
        None => none,
        Some(offset) => OffsetFetchResponsePartitions {
            committed_offset: offset.offset,
            committed_leader_epoch: offset.leader_epoch,
            metadata: Some(offset.metadata.to_string()),
            ..none
        },
    }
}

/// The tombstones and the answer of an OffsetDelete; topics that members subscribe to are refused.
pub(crate) fn decide_delete(
    offsets: &Offsets,
    group: &Group,
    request: &OffsetDeleteRequest,
) -> Result<Committed<OffsetDeleteResponse>, EncodeError> {
    let mut records = Vec::new();
    let mut response = OffsetDeleteResponse::default();
    for topic in &request.topics {
        let subscribed = group.is_subscribed_to(&topic.name);
        let error = if subscribed { ErrorCode::GroupSubscribedToTopic } else { ErrorCode::None };
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let partition = partition.partition_index;
            let exists = offsets.committed.get(&request.group_id, &topic.name, partition).is_some()
                || offsets.pending.contains(&request.group_id, &topic.name, partition);
            if !subscribed && exists {
                records.push(records::offset_commit_tombstone(&request.group_id, &topic.name, partition)?);
            }
            partitions.push(OffsetDeleteResponsePartition { partition_index: partition, error_code: error.code(), ..Default::default() });
        }
        response.topics.push(OffsetDeleteResponseTopic { name: topic.name.clone(), partitions, ..Default::default() });
    }
    Ok(Committed { records, response })
}
