//! Owns: the bytes that members of a classic consumer group exchange through the coordinator: subscriptions and assignments, each behind a
//! two-byte version. Used by: the assignors, the group task, group descriptions. Kafka: `ConsumerProtocol`.

use crate::error::{Error, Result};
use base::TopicPartition;
use bytes::{BufMut, Bytes, BytesMut};
use wire::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, consumer_protocol_assignment, consumer_protocol_subscription,
};
use wire::{Message, Reader};

/// What a member wants and has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscription {
    pub topics: Vec<String>,
    pub user_data: Option<Bytes>,
    pub owned_partitions: Vec<TopicPartition>,
    /// Absent before version 2, and for members that never had an assignment.
    pub generation: Option<i32>,
    pub rack_id: Option<String>,
    /// Static members are placed by this instead of their member id.
    pub group_instance_id: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    pub partitions: Vec<TopicPartition>,
    pub user_data: Option<Bytes>,
}

fn encode<M: Message>(message: &M, version: i16) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(version);
    // Strings of topics that came over the wire always fit; anything else would be our own bug and reads as an empty message.
    out.extend_from_slice(&wire::to_bytes(message, version).unwrap_or_default());
    out.freeze()
}

fn decode<M: Message>(bytes: &Bytes) -> Result<M> {
    let malformed = |reason: String| Error::InvalidResponse { node: "group coordinator".into(), reason: format!("{}: {reason}", M::NAME) };
    let version = bytes.first_chunk::<2>().map(|version| i16::from_be_bytes(*version)).ok_or_else(|| malformed("no version".into()))?;
    if version < 0 {
        return Err(malformed(format!("unsupported version {version}")));
    }
    // A newer version begins like the newest one known.
    let mut reader = Reader::new(bytes.slice(2..));
    M::decode(&mut reader, version.min(M::MAX_VERSION)).map_err(|error| malformed(error.to_string()))
}

pub fn encode_subscription(subscription: &Subscription) -> Bytes {
    let mut topics = subscription.topics.clone();
    topics.sort();
    let mut owned = subscription.owned_partitions.clone();
    owned.sort();
    let message = ConsumerProtocolSubscription {
        topics,
        user_data: subscription.user_data.clone(),
        owned_partitions: group(&owned)
            .into_iter()
            .map(|(topic, partitions)| consumer_protocol_subscription::TopicPartition { topic, partitions, ..Default::default() })
            .collect(),
        generation_id: subscription.generation.unwrap_or(-1),
        rack_id: subscription.rack_id.clone(),
        ..Default::default()
    };
    encode(&message, ConsumerProtocolSubscription::MAX_VERSION)
}

pub fn decode_subscription(bytes: &Bytes) -> Result<Subscription> {
    let message: ConsumerProtocolSubscription = decode(bytes)?;
    let owned = message.owned_partitions.into_iter();
    Ok(Subscription {
        topics: message.topics,
        user_data: message.user_data,
        owned_partitions: owned.flat_map(|topic| spread(topic.topic, topic.partitions)).collect(),
        generation: Some(message.generation_id).filter(|generation| *generation >= 0),
        rack_id: message.rack_id,
        group_instance_id: None,
    })
}

pub fn encode_assignment(assignment: &Assignment) -> Bytes {
    let message = ConsumerProtocolAssignment {
        assigned_partitions: group(&assignment.partitions)
            .into_iter()
            .map(|(topic, partitions)| consumer_protocol_assignment::TopicPartition { topic, partitions, ..Default::default() })
            .collect(),
        user_data: assignment.user_data.clone(),
        ..Default::default()
    };
    encode(&message, ConsumerProtocolAssignment::MAX_VERSION)
}

/// Empty bytes are an empty assignment: that is what a member gets that the leader left out.
pub fn decode_assignment(bytes: &Bytes) -> Result<Assignment> {
    if bytes.is_empty() {
        return Ok(Assignment::default());
    }
    let message: ConsumerProtocolAssignment = decode(bytes)?;
    let partitions = message.assigned_partitions.into_iter().flat_map(|topic| spread(topic.topic, topic.partitions));
    Ok(Assignment { partitions: partitions.collect(), user_data: message.user_data })
}

fn spread(topic: String, partitions: Vec<i32>) -> impl Iterator<Item = TopicPartition> {
    partitions.into_iter().map(move |partition| TopicPartition::new(topic.clone(), partition))
}

/// Partitions by topic, topics in the order of their first partition.
pub fn group(partitions: &[TopicPartition]) -> Vec<(String, Vec<i32>)> {
    let mut grouped: Vec<(String, Vec<i32>)> = Vec::new();
    for partition in partitions {
        match grouped.iter_mut().find(|(topic, _)| *topic == partition.topic) {
            Some((_, numbers)) => numbers.push(partition.partition),
            None => grouped.push((partition.topic.clone(), vec![partition.partition])),
        }
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tp(topic: &str, partition: i32) -> TopicPartition {
        TopicPartition::new(topic, partition)
    }

    #[test]
    fn bytes_of_a_subscription() {
        let subscription = Subscription {
            topics: vec!["b".into(), "a".into()],
            owned_partitions: vec![tp("b", 1), tp("a", 0), tp("b", 0)],
            generation: Some(5),
            ..Default::default()
        };
        let bytes = encode_subscription(&subscription);
        // Version 3; topics a, b; null user data; owned a:[0], b:[0, 1]; generation 5; null rack.
        let expected = [
            &[0, 3, 0, 0, 0, 2, 0, 1, b'a', 0, 1, b'b', 255, 255, 255, 255, 0, 0, 0, 2][..],
            &[0, 1, b'a', 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, b'b', 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1],
            &[0, 0, 0, 5, 255, 255],
        ]
        .concat();
        assert_eq!(bytes, expected);
        let read = decode_subscription(&bytes).unwrap();
        assert_eq!(read.topics, ["a", "b"]);
        assert_eq!(read.owned_partitions, [tp("a", 0), tp("b", 0), tp("b", 1)]);
    }

    #[test]
    fn old_and_newer_versions_are_read() {
        let old = Bytes::from_static(&[0, 0, 0, 0, 0, 1, 0, 1, b't', 255, 255, 255, 255]);
        let read = decode_subscription(&old).unwrap();
        assert_eq!((read.topics, read.generation), (vec!["t".to_owned()], None));
        let mut newer = BytesMut::from(&encode_assignment(&Assignment { partitions: vec![tp("t", 3)], user_data: None })[..]);
        newer[1] = 9;
        newer.extend_from_slice(b"more");
        assert_eq!(decode_assignment(&newer.freeze()).unwrap().partitions, [tp("t", 3)]);
    }

    #[test]
    fn hostile_bytes_are_errors() {
        for bytes in [&[][..], &[0], &[255, 255, 0], &[0, 1, 127, 255, 255, 255]] {
            assert!(decode_subscription(&Bytes::copy_from_slice(bytes)).is_err());
        }
        assert_eq!(decode_assignment(&Bytes::new()).unwrap(), Assignment::default());
    }
}
