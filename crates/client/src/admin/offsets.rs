//! Owns: ListOffsets for admins and consumers.

use super::Admin;
use crate::error::{Error, Result};
use crate::types::{IsolationLevel, ListedOffset, OffsetSpec};
use base::TopicPartition;
use std::collections::{BTreeMap, HashMap};
use wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use wire::messages::{ListOffsetsRequest, ListOffsetsResponse};

impl Admin {
    pub async fn list_offsets(
        &self,
        wanted: Vec<(TopicPartition, OffsetSpec)>,
        isolation: IsolationLevel,
    ) -> Result<Vec<(TopicPartition, Result<ListedOffset>)>> {
        let min_version = wanted.iter().map(|(_, spec)| spec.min_version()).max().unwrap_or(1);
        let specs: HashMap<TopicPartition, OffsetSpec> = wanted.iter().cloned().collect();
        let partitions: Vec<TopicPartition> = wanted.into_iter().map(|(partition, _)| partition).collect();
        let timeout_ms = self.timeout_ms();
        let build = |group: &[(TopicPartition, i32)]| {
            let timestamps = group.iter().map(|(partition, _)| {
                let spec = specs.get(partition).copied().unwrap_or(OffsetSpec::Latest);
                (partition, spec.timestamp(), -1)
            });
            list_offsets_request(timestamps, isolation, timeout_ms)
        };
        Ok(self.per_leader(&partitions, min_version, build, read_list_offsets).await?.into_iter().collect())
    }
}

/// (partition, timestamp, leader epoch or -1) as a request.
pub(crate) fn list_offsets_request<'a>(
    wanted: impl Iterator<Item = (&'a TopicPartition, i64, i32)>,
    isolation: IsolationLevel,
    timeout_ms: i32,
) -> ListOffsetsRequest {
    let mut topics: BTreeMap<&str, Vec<ListOffsetsPartition>> = BTreeMap::new();
    for (partition, timestamp, current_leader_epoch) in wanted {
        topics.entry(&partition.topic).or_default().push(ListOffsetsPartition {
            partition_index: partition.partition,
            timestamp,
            current_leader_epoch,
            ..Default::default()
        });
    }
    let topics = topics.into_iter().map(|(name, partitions)| ListOffsetsTopic { name: name.to_owned(), partitions, ..Default::default() });
    ListOffsetsRequest { replica_id: -1, isolation_level: isolation.code(), topics: topics.collect(), timeout_ms, ..Default::default() }
}

pub(crate) fn read_list_offsets(response: ListOffsetsResponse) -> Vec<(TopicPartition, Result<ListedOffset>)> {
    let mut results = Vec::new();
    for topic in response.topics {
        for partition in topic.partitions {
            let result = Error::check(partition.error_code, None).map(|()| ListedOffset {
                offset: partition.offset,
                timestamp: partition.timestamp,
                leader_epoch: Some(partition.leader_epoch).filter(|epoch| *epoch >= 0),
            });
            results.push((TopicPartition::new(&topic.name, partition.partition_index), result));
        }
    }
    results
}
