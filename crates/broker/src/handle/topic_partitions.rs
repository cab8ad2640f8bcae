//! Facts that several answers tell of topics, brokers and permissions.

use base::Uuid;
use metadata::{BrokerRegistration, Image, Partition};
use wire::ErrorCode;

/// Bits of all operations on a topic, a group, the cluster (KIP-430), told when nothing is forbidden.
pub(super) const TOPIC_OPERATIONS: i32 = bits(&[3, 4, 5, 6, 7, 8, 10, 11]);
pub(super) const CLUSTER_OPERATIONS: i32 = bits(&[5, 7, 8, 9, 10, 11, 12]);

const fn bits(operations: &[u8]) -> i32 {
    let mut sum = 0;
    let mut i = 0;
    while i < operations.len() {
        sum |= 1 << operations[i];
        i += 1;
    }
    sum
}

/// An address that clients of this listener can reach.
pub(super) struct Endpoint<'a> {
    pub id: i32,
    pub host: &'a str,
    pub port: i32,
    pub rack: Option<&'a str>,
    pub fenced: bool,
}

pub(super) fn endpoint<'a>(broker: &'a BrokerRegistration, listener: &str) -> Option<Endpoint<'a>> {
    let at = broker.listener(listener)?;
    Some(Endpoint { id: broker.id, host: &at.host, port: i32::from(at.port), rack: broker.rack.as_deref(), fenced: broker.fenced })
}

/// Brokers that are neither fenced nor unreachable by this listener, by id.
pub(super) fn alive<'a>(image: &'a Image, listener: &'a str) -> impl Iterator<Item = Endpoint<'a>> {
    image.cluster.brokers.values().filter(|b| !b.fenced).filter_map(move |b| endpoint(b, listener))
}

/// What Metadata and DescribeTopicPartitions tell of one partition.
pub(super) struct PartitionFacts {
    pub error: ErrorCode,
    pub leader: i32,
    pub offline: Vec<i32>,
}

/// `KRaftMetadataCache.partitionMetadata`: a leader that has no endpoint here is named by the error, not by its id.
pub(super) fn partition_facts(image: &Image, partition: &Partition, listener: &str, error_unavailable_listeners: bool) -> PartitionFacts {
    let offline = partition.replicas.iter().zip(&partition.directories).filter(|(id, dir)| is_offline(image, **id, **dir, listener));
    let offline = offline.map(|(id, _)| *id).collect();
    let leader_alive = image.cluster.broker(partition.leader).filter(|b| !b.fenced);
    let (error, leader) = match leader_alive {
        None => (ErrorCode::LeaderNotAvailable, -1),
        Some(b) if b.listener(listener).is_some() => (ErrorCode::None, b.id),
        Some(_) if error_unavailable_listeners => (ErrorCode::ListenerNotFound, -1),
        Some(_) => (ErrorCode::LeaderNotAvailable, -1),
    };
    PartitionFacts { error, leader, offline }
}

fn is_offline(image: &Image, broker: i32, directory: Uuid, listener: &str) -> bool {
    match image.cluster.broker(broker) {
        None => true,
        Some(b) => b.fenced || b.listener(listener).is_none() || !b.has_online_directory(directory),
    }
}
