//! Owns: what the client knows of the cluster — brokers, topics, leaders with their epochs. Used by: routing, the producer's partitions, the
//! consumer's fetches and assignors. An immutable snapshot; every update makes a new one. Kafka: `MetadataSnapshot`, `Metadata`.

use crate::types::{Node, PartitionInfo};
use base::{TopicPartition, Uuid};
use std::collections::{BTreeMap, HashMap};
use wire::ErrorCode;
use wire::messages::MetadataResponse;
use wire::messages::metadata_response::MetadataResponseTopic;

#[derive(Clone, Debug, Default)]
pub struct MetadataCache {
    /// Counts updates; 0 is the empty cache before the first answer.
    pub version: u64,
    pub cluster_id: Option<String>,
    pub controller: Option<i32>,
    pub nodes: BTreeMap<i32, Node>,
    pub topics: HashMap<String, TopicMetadata>,
    pub names: HashMap<Uuid, String>,
}

#[derive(Clone, Debug)]
pub struct TopicMetadata {
    pub id: Uuid,
    pub internal: bool,
    pub error: ErrorCode,
    /// By partition index, without gaps.
    pub partitions: Vec<PartitionMetadata>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionMetadata {
    pub leader: Option<i32>,
    pub leader_epoch: i32,
    pub replicas: Vec<i32>,
    pub in_sync_replicas: Vec<i32>,
    pub offline_replicas: Vec<i32>,
}

/// More partitions than any cluster has; an index beyond it is a broken answer.
const MAX_PARTITION_INDEX: usize = 1 << 20;

impl MetadataCache {
    /// The snapshot after `response`. A response about all topics replaces the known ones, else it adds to them.
    pub fn updated(&self, response: MetadataResponse, all_topics: bool) -> MetadataCache {
        let nodes = response.brokers.into_iter().map(|broker| {
            let port = u16::try_from(broker.port).unwrap_or(0);
            (broker.node_id, Node { id: broker.node_id, host: broker.host, port, rack: broker.rack })
        });
        let mut next = MetadataCache {
            version: self.version + 1,
            cluster_id: response.cluster_id,
            controller: Some(response.controller_id).filter(|id| *id >= 0),
            nodes: nodes.collect(),
            topics: if all_topics { HashMap::new() } else { self.topics.clone() },
            names: if all_topics { HashMap::new() } else { self.names.clone() },
        };
        for mut topic in response.topics {
            let Some(name) = topic.name.take() else { continue };
            next.update_topic(self, name, topic);
        }
        next
    }

    fn update_topic(&mut self, before: &MetadataCache, name: String, topic: MetadataResponseTopic) {
        let known = before.topics.get(&name);
        let error = ErrorCode::from_code(topic.error_code);
        if error != ErrorCode::None {
            // Keep serving what is known while a leader is being elected; forget topics that are gone.
            let keep = known.is_some() && error != ErrorCode::UnknownTopicOrPartition && error.is_retriable();
            if !keep {
                self.forget(&name);
                let entry = TopicMetadata { id: topic.topic_id, internal: topic.is_internal, error, partitions: Vec::new() };
                self.topics.insert(name, entry);
            }
            return;
        }
        let known = known.filter(|known| known.id == topic.topic_id);
        let mut partitions: Vec<PartitionMetadata> = Vec::new();
        for partition in topic.partitions {
            let Ok(index) = usize::try_from(partition.partition_index) else { continue };
            if index > MAX_PARTITION_INDEX {
                continue;
            }
            if partitions.len() <= index {
                partitions.resize_with(index + 1, PartitionMetadata::default);
            }
            let newer = known.and_then(|known| known.partitions.get(index)).filter(|known| known.leader_epoch > partition.leader_epoch);
            partitions[index] = match newer {
                // A broker that lags behind must not move us back to an old leader.
                Some(newer) if partition.leader_epoch >= 0 => newer.clone(),
                _ => PartitionMetadata {
                    leader: Some(partition.leader_id).filter(|id| *id >= 0),
                    leader_epoch: partition.leader_epoch,
                    replicas: partition.replica_nodes,
                    in_sync_replicas: partition.isr_nodes,
                    offline_replicas: partition.offline_replicas,
                },
            };
        }
        if let Some(old) = self.topics.get(&name).map(|old| old.id) {
            self.names.remove(&old);
        }
        if !topic.topic_id.is_zero() {
            self.names.insert(topic.topic_id, name.clone());
        }
        self.topics.insert(name, TopicMetadata { id: topic.topic_id, internal: topic.is_internal, error, partitions });
    }

    fn forget(&mut self, name: &str) {
        if let Some(old) = self.topics.remove(name) {
            self.names.remove(&old.id);
        }
    }

    /// The snapshot after a broker named a newer leader in an answer (KIP-951); None if it is not news.
    pub fn with_leader(&self, partition: &TopicPartition, leader: i32, epoch: i32) -> Option<MetadataCache> {
        let known = self.partition(partition)?;
        if leader < 0 || epoch <= known.leader_epoch || !self.nodes.contains_key(&leader) {
            return None;
        }
        let mut next = self.clone();
        next.version += 1;
        let slot = next.topics.get_mut(&partition.topic)?.partitions.get_mut(usize::try_from(partition.partition).ok()?)?;
        slot.leader = Some(leader);
        slot.leader_epoch = epoch;
        Some(next)
    }

    /// The topic if it exists without an error.
    pub fn topic(&self, name: &str) -> Option<&TopicMetadata> {
        self.topics.get(name).filter(|topic| topic.error == ErrorCode::None)
    }

    pub fn partition(&self, partition: &TopicPartition) -> Option<&PartitionMetadata> {
        self.topic(&partition.topic)?.partitions.get(usize::try_from(partition.partition).ok()?)
    }

    pub fn leader(&self, partition: &TopicPartition) -> Option<(i32, i32)> {
        let metadata = self.partition(partition)?;
        Some((metadata.leader?, metadata.leader_epoch))
    }

    /// Whether a broker is there and has the partition.
    pub fn can_serve(&self, partition: &TopicPartition, node: i32) -> bool {
        let replica = |metadata: &PartitionMetadata| metadata.replicas.contains(&node) && !metadata.offline_replicas.contains(&node);
        self.nodes.contains_key(&node) && self.partition(partition).is_some_and(replica)
    }

    pub fn topic_id(&self, name: &str) -> Option<Uuid> {
        self.topics.get(name).map(|topic| topic.id).filter(|id| !id.is_zero())
    }

    pub fn partition_infos(&self, name: &str) -> Vec<PartitionInfo> {
        let Some(topic) = self.topic(name) else { return Vec::new() };
        topic.partitions.iter().enumerate().map(|(index, partition)| partition_info(name, index as i32, partition)).collect()
    }
}

pub fn partition_info(topic: &str, index: i32, partition: &PartitionMetadata) -> PartitionInfo {
    PartitionInfo {
        topic: topic.to_owned(),
        partition: index,
        leader: partition.leader,
        leader_epoch: partition.leader_epoch,
        replicas: partition.replicas.clone(),
        in_sync_replicas: partition.in_sync_replicas.clone(),
        offline_replicas: partition.offline_replicas.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::messages::metadata_response::{MetadataResponseBroker, MetadataResponsePartition};

    fn response(leader: i32, epoch: i32, error: ErrorCode) -> MetadataResponse {
        MetadataResponse {
            brokers: vec![MetadataResponseBroker { node_id: 1, host: "h".into(), port: 9092, ..Default::default() }],
            topics: vec![MetadataResponseTopic {
                error_code: error.code(),
                name: Some("t".into()),
                topic_id: Uuid::from_u128(9),
                partitions: vec![MetadataResponsePartition {
                    partition_index: 0,
                    leader_id: leader,
                    leader_epoch: epoch,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    #[test]
    fn old_leader_epochs_do_not_win() {
        let tp = TopicPartition::new("t", 0);
        let cache = MetadataCache::default().updated(response(1, 5, ErrorCode::None), false);
        assert_eq!(cache.leader(&tp), Some((1, 5)));
        assert_eq!(cache.updated(response(2, 4, ErrorCode::None), false).leader(&tp), Some((1, 5)));
        assert_eq!(cache.updated(response(2, 6, ErrorCode::None), false).leader(&tp), Some((2, 6)));
        assert_eq!(cache.with_leader(&tp, 1, 7).unwrap().leader(&tp), Some((1, 7)));
        assert!(cache.with_leader(&tp, 44, 7).is_none());
    }

    #[test]
    fn errors_forget_only_what_is_gone() {
        let cache = MetadataCache::default().updated(response(1, 5, ErrorCode::None), false);
        assert!(cache.updated(response(1, 5, ErrorCode::LeaderNotAvailable), false).topic("t").is_some());
        let gone = cache.updated(response(1, 5, ErrorCode::UnknownTopicOrPartition), false);
        assert!(gone.topic("t").is_none());
        assert!(gone.names.is_empty());
    }

    #[test]
    fn odd_partition_indexes_are_ignored() {
        let mut odd = response(1, 5, ErrorCode::None);
        odd.topics[0].partitions[0].partition_index = i32::MAX;
        assert!(MetadataCache::default().updated(odd, true).topic("t").unwrap().partitions.is_empty());
    }
}
