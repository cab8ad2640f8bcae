//! The protocol that classic consumers embed in JoinGroup and SyncGroup: a version, and a subscription or an assignment. Newer versions are
//! read as the newest known. Kafka: ConsumerProtocol.

use base::Uuid;
use bytes::Bytes;
use wire::messages::consumer_protocol_assignment::TopicPartition;
use wire::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
use wire::{DecodeError, EncodeError, Message, Reader, Writer};

use crate::assignor::Partitions;
use crate::cluster::Cluster;

fn decode<M: Message>(bytes: &Bytes) -> Result<M, DecodeError> {
    let mut reader = Reader::new(bytes.clone());
    let version = reader.i16()?.min(M::MAX_VERSION);
    M::decode(&mut reader, version)
}

pub(super) fn subscription(metadata: &Bytes) -> Result<ConsumerProtocolSubscription, DecodeError> {
    decode(metadata)
}

pub(super) fn assignment(bytes: &Bytes) -> Result<ConsumerProtocolAssignment, DecodeError> {
    decode(bytes)
}

/// The version that a member speaks, by its metadata.
pub(super) fn version(metadata: &Bytes) -> Result<i16, DecodeError> {
    Reader::new(metadata.clone()).i16()
}

/// An assignment as a classic consumer reads it; topics that are gone are left out.
pub(super) fn encode(cluster: &Cluster, partitions: &Partitions, version: i16) -> Result<Bytes, EncodeError> {
    let topic = |(id, partitions): (&Uuid, &std::collections::BTreeSet<i32>)| {
        let topic = cluster.topic_by_id(*id)?.name.to_string();
        Some(TopicPartition { topic, partitions: partitions.iter().copied().collect(), ..Default::default() })
    };
    let message = ConsumerProtocolAssignment { assigned_partitions: partitions.iter().filter_map(topic).collect(), ..Default::default() };
    let version = version.min(ConsumerProtocolAssignment::MAX_VERSION);
    let mut writer = Writer::new();
    writer.i16(version);
    message.encode(&mut writer, version)?;
    writer.finish_bytes()
}
