//! The records of `__consumer_offsets`: their keys and values in Kafka's formats, both ways.
//! A key is its int16 type and body, a value its int16 version and body. Kafka: GroupCoordinatorRecordHelpers, GroupCoordinatorRecordSerde.

use std::net::IpAddr;

use bytes::Bytes;
use wire::messages::{
    ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupCurrentMemberAssignmentValue, ConsumerGroupMemberMetadataKey,
    ConsumerGroupMemberMetadataValue, ConsumerGroupMetadataKey, ConsumerGroupMetadataValue, ConsumerGroupPartitionMetadataKey,
    ConsumerGroupPartitionMetadataValue, ConsumerGroupRegularExpressionKey, ConsumerGroupRegularExpressionValue,
    ConsumerGroupTargetAssignmentMemberKey, ConsumerGroupTargetAssignmentMemberValue, ConsumerGroupTargetAssignmentMetadataKey,
    ConsumerGroupTargetAssignmentMetadataValue, GroupMetadataKey, GroupMetadataValue, LegacyOffsetCommitKey, LegacyOffsetCommitValue,
    OffsetCommitKey, OffsetCommitValue, ShareGroupCurrentMemberAssignmentKey, ShareGroupCurrentMemberAssignmentValue,
    ShareGroupMemberMetadataKey, ShareGroupMemberMetadataValue, ShareGroupMetadataKey, ShareGroupMetadataValue,
    ShareGroupStatePartitionMetadataKey, ShareGroupStatePartitionMetadataValue, ShareGroupTargetAssignmentMemberKey,
    ShareGroupTargetAssignmentMemberValue, ShareGroupTargetAssignmentMetadataKey, ShareGroupTargetAssignmentMetadataValue,
    StreamsGroupCurrentMemberAssignmentKey, StreamsGroupCurrentMemberAssignmentValue, StreamsGroupMemberMetadataKey,
    StreamsGroupMemberMetadataValue, StreamsGroupMetadataKey, StreamsGroupMetadataValue, StreamsGroupTargetAssignmentMemberKey,
    StreamsGroupTargetAssignmentMemberValue, StreamsGroupTargetAssignmentMetadataKey, StreamsGroupTargetAssignmentMetadataValue,
    StreamsGroupTopologyKey, StreamsGroupTopologyValue,
};
use wire::{DecodeError, EncodeError, Message, Reader, Writer};

use crate::group::classic::ClassicGroup;
use crate::group::consumer::ConsumerRecord;
use crate::group::modern::{Kind, ModernRecord, ModernValue};
use crate::offsets::OffsetAndMetadata;
use crate::output::CoordinatorRecord;

/// Written at this version by Kafka 4.3; version 4 is only read.
const GROUP_METADATA_VERSION: i16 = 3;
const OFFSET_COMMIT_VERSION: i16 = 4;
/// Bytes of a committed offset's key beside its names, and the most of its value beside the metadata: with them there is room for all of it at once.
const OFFSET_COMMIT_KEY_FIXED: usize = 10;
const OFFSET_COMMIT_VALUE_FIXED: usize = 42;
/// The only version that holds an expire timestamp.
const OFFSET_COMMIT_VERSION_WITH_EXPIRY: i16 = 1;

#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("the record at offset {offset} has a key that cannot be read: {source}")]
    Key { offset: i64, source: DecodeError },
    #[error("the record at offset {offset} of type {record_type} has a value that cannot be read: {source}")]
    Value { offset: i64, record_type: i16, source: DecodeError },
}

/// A record as the shard applies it. `None` for a value is a tombstone.
#[derive(Debug)]
pub(crate) enum StoredRecord {
    OffsetCommit {
        group_id: String,
        topic: String,
        partition: i32,
        value: Option<OffsetCommitValue>,
    },
    ClassicGroup {
        group_id: String,
        value: Option<GroupMetadataValue>,
    },
    Consumer {
        group_id: String,
        record: ConsumerRecord,
    },
    Modern(ModernRecord),
    /// A type that this version does not know, such as the left-over of a newer broker.
    Unknown {
        record_type: i16,
    },
}

pub(crate) fn decode(offset: i64, key: &Bytes, value: Option<&Bytes>) -> Result<StoredRecord, ReplayError> {
    let mut reader = Reader::new(key.clone());
    let record_type = reader.i16().map_err(|source| ReplayError::Key { offset, source })?;
    let in_key = |source| ReplayError::Key { offset, source };
    let in_value = |source| ReplayError::Value { offset, record_type, source };

    // A record about one group, or one member of a group, of the newer protocols.
    macro_rules! modern {
        ($kind:ident, $key:ty, $value:ty, $member:expr, $summary:expr) => {{
            let decoded = <$key>::decode(&mut reader, 0).map_err(in_key)?;
            let member_of: fn(&$key) -> Option<String> = $member;
            let summary_of: fn($value) -> ModernValue = $summary;
            let name = member_of(&decoded);
            let value = match value {
                Some(bytes) => Some((bytes.clone(), summary_of(versioned::<$value>(bytes).map_err(in_value)?))),
                None => None,
            };
            StoredRecord::Modern(ModernRecord { kind: Kind::$kind, record_type, group_id: decoded.group_id, name, key: key.clone(), value })
        }};
    }

    // A record of a consumer group.
    macro_rules! consumer {
        ($key:ty, $value:ty, $make:expr) => {{
            let decoded = <$key>::decode(&mut reader, 0).map_err(in_key)?;
            let value = value.map(versioned::<$value>).transpose().map_err(in_value)?;
            let make: fn(&$key, Option<$value>) -> ConsumerRecord = $make;
            let record = make(&decoded, value);
            StoredRecord::Consumer { group_id: decoded.group_id, record }
        }};
    }

    Ok(match record_type {
        0 => {
            let key = LegacyOffsetCommitKey::decode(&mut reader, 0).map_err(in_key)?;
            let value = value.map(versioned::<LegacyOffsetCommitValue>).transpose().map_err(in_value)?;
            StoredRecord::OffsetCommit {
                group_id: key.group,
                topic: key.topic,
                partition: key.partition,
                value: value.map(|v| OffsetCommitValue {
                    offset: v.offset,
                    metadata: v.metadata,
                    commit_timestamp: v.commit_timestamp,
                    ..Default::default()
                }),
            }
        }
        1 => {
            let key = OffsetCommitKey::decode(&mut reader, 0).map_err(in_key)?;
            let value = value.map(versioned::<OffsetCommitValue>).transpose().map_err(in_value)?;
            StoredRecord::OffsetCommit { group_id: key.group, topic: key.topic, partition: key.partition, value }
        }
        2 => {
            let key = GroupMetadataKey::decode(&mut reader, 0).map_err(in_key)?;
            let value = value.map(versioned::<GroupMetadataValue>).transpose().map_err(in_value)?;
            StoredRecord::ClassicGroup { group_id: key.group, value }
        }
        3 => consumer!(ConsumerGroupMetadataKey, ConsumerGroupMetadataValue, |_, value| ConsumerRecord::Group(value)),
        4 => consumer!(ConsumerGroupPartitionMetadataKey, ConsumerGroupPartitionMetadataValue, |_, value| {
            ConsumerRecord::PartitionMetadata { present: value.is_some() }
        }),
        5 => consumer!(ConsumerGroupMemberMetadataKey, ConsumerGroupMemberMetadataValue, |key, value| ConsumerRecord::Member {
            id: key.member_id.clone(),
            value: value.map(Box::new)
        }),
        6 => consumer!(ConsumerGroupTargetAssignmentMetadataKey, ConsumerGroupTargetAssignmentMetadataValue, |_, value| {
            ConsumerRecord::TargetMetadata(value)
        }),
        7 => consumer!(ConsumerGroupTargetAssignmentMemberKey, ConsumerGroupTargetAssignmentMemberValue, |key, value| {
            ConsumerRecord::TargetMember { id: key.member_id.clone(), value }
        }),
        8 => consumer!(ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupCurrentMemberAssignmentValue, |key, value| {
            ConsumerRecord::Current { id: key.member_id.clone(), value }
        }),
        10 => modern!(Share, ShareGroupMemberMetadataKey, ShareGroupMemberMetadataValue, |k| Some(k.member_id.clone()), |v| {
            ModernValue::Member { topics: v.subscribed_topic_names }
        }),
        11 => modern!(Share, ShareGroupMetadataKey, ShareGroupMetadataValue, |_| None, |v| ModernValue::Group {
            epoch: v.epoch,
            topology_epoch: None
        }),
        12 => modern!(Share, ShareGroupTargetAssignmentMetadataKey, ShareGroupTargetAssignmentMetadataValue, |_| None, |v| {
            ModernValue::Target { epoch: v.assignment_epoch }
        }),
        13 => modern!(
            Share,
            ShareGroupTargetAssignmentMemberKey,
            ShareGroupTargetAssignmentMemberValue,
            |k| Some(k.member_id.clone()),
            |_| ModernValue::Other
        ),
        14 => modern!(
            Share,
            ShareGroupCurrentMemberAssignmentKey,
            ShareGroupCurrentMemberAssignmentValue,
            |k| Some(k.member_id.clone()),
            |v| ModernValue::Current { epoch: v.member_epoch, state: v.state }
        ),
        15 => modern!(Share, ShareGroupStatePartitionMetadataKey, ShareGroupStatePartitionMetadataValue, |_| None, |_| ModernValue::Other),
        16 => consumer!(ConsumerGroupRegularExpressionKey, ConsumerGroupRegularExpressionValue, |key, value| {
            ConsumerRecord::Regex { regex: key.regular_expression.clone(), value }
        }),
        17 => modern!(Streams, StreamsGroupMetadataKey, StreamsGroupMetadataValue, |_| None, |v| ModernValue::Group {
            epoch: v.epoch,
            topology_epoch: Some(v.validated_topology_epoch)
        }),
        19 => modern!(Streams, StreamsGroupMemberMetadataKey, StreamsGroupMemberMetadataValue, |k| Some(k.member_id.clone()), |_| {
            ModernValue::Member { topics: Vec::new() }
        }),
        20 => modern!(Streams, StreamsGroupTargetAssignmentMetadataKey, StreamsGroupTargetAssignmentMetadataValue, |_| None, |v| {
            ModernValue::Target { epoch: v.assignment_epoch }
        }),
        21 => modern!(
            Streams,
            StreamsGroupTargetAssignmentMemberKey,
            StreamsGroupTargetAssignmentMemberValue,
            |k| Some(k.member_id.clone()),
            |_| ModernValue::Other
        ),
        22 => modern!(
            Streams,
            StreamsGroupCurrentMemberAssignmentKey,
            StreamsGroupCurrentMemberAssignmentValue,
            |k| Some(k.member_id.clone()),
            |v| ModernValue::Current { epoch: v.member_epoch, state: v.state }
        ),
        23 => modern!(Streams, StreamsGroupTopologyKey, StreamsGroupTopologyValue, |_| None, |v| ModernValue::Topology {
            epoch: v.epoch,
            topics: v.subtopologies.into_iter().flat_map(|s| s.source_topics).collect()
        }),
        record_type => StoredRecord::Unknown { record_type },
    })
}

/// Reads a value: its version, then its body. Kafka allows bytes to follow.
fn versioned<M: Message>(bytes: &Bytes) -> Result<M, DecodeError> {
    let mut reader = Reader::new(bytes.clone());
    let version = reader.i16()?;
    M::decode(&mut reader, version)
}

fn prefixed<M: Message>(prefix: i16, message: &M, version: i16, mut writer: Writer) -> Result<Bytes, EncodeError> {
    writer.i16(prefix);
    message.encode(&mut writer, version)?;
    writer.finish_bytes()
}

pub(crate) fn key<K: Message>(key: &K) -> Result<Bytes, EncodeError> {
    prefixed(K::API_KEY.unwrap_or_default(), key, 0, Writer::new())
}

pub(crate) fn value<V: Message>(value: &V, version: i16) -> Result<Bytes, EncodeError> {
    prefixed(version, value, version, Writer::new())
}

/// The value of a group's own record with its epoch moved on. Without members a group subscribes to nothing, whose hash is 0.
pub(crate) fn next_group_epoch(kind: Kind, stored: &Bytes, without_members: bool) -> Result<Bytes, EncodeError> {
    // What is kept was read before, so the defaults are never used.
    macro_rules! next {
        ($value:ty) => {{
            let mut group = versioned::<$value>(stored).unwrap_or_default();
            group.epoch = group.epoch.saturating_add(1);
            if without_members {
                group.metadata_hash = 0;
            }
            value(&group, 0)
        }};
    }
    match kind {
        Kind::Share => next!(ShareGroupMetadataValue),
        Kind::Streams => next!(StreamsGroupMetadataValue),
    }
}

fn group_metadata_key(group_id: &str) -> Result<Bytes, EncodeError> {
    key(&GroupMetadataKey { group: group_id.to_owned(), ..Default::default() })
}

/// The record that stores a classic group with these assignments.
pub(crate) fn group_metadata(group: &ClassicGroup, assignment: &[(String, Bytes)]) -> Result<CoordinatorRecord, EncodeError> {
    Ok(CoordinatorRecord {
        key: group_metadata_key(group.group_id())?,
        value: Some(value(&group.stored(assignment), GROUP_METADATA_VERSION)?),
    })
}

/// The record that announces a new classic group, before it has a generation.
pub(crate) fn empty_group_metadata(group_id: &str, timestamp_ms: i64) -> Result<CoordinatorRecord, EncodeError> {
    let empty = GroupMetadataValue { protocol: None, leader: None, current_state_timestamp: timestamp_ms, ..Default::default() };
    Ok(CoordinatorRecord { key: group_metadata_key(group_id)?, value: Some(value(&empty, GROUP_METADATA_VERSION)?) })
}

pub(crate) fn group_metadata_tombstone(group_id: &str) -> Result<CoordinatorRecord, EncodeError> {
    Ok(CoordinatorRecord { key: group_metadata_key(group_id)?, value: None })
}

fn offset_commit_key(group_id: &str, topic: &str, partition: i32) -> Result<Bytes, EncodeError> {
    let room = OFFSET_COMMIT_KEY_FIXED + group_id.len() + topic.len();
    let key = OffsetCommitKey { group: group_id.to_owned(), topic: topic.to_owned(), partition, ..Default::default() };
    prefixed(OffsetCommitKey::API_KEY.unwrap_or_default(), &key, 0, Writer::with_capacity(room))
}

pub(crate) fn offset_commit(
    group_id: &str,
    topic: &str,
    partition: i32,
    offset: &OffsetAndMetadata,
) -> Result<CoordinatorRecord, EncodeError> {
    let version = if offset.expire_timestamp_ms.is_some() { OFFSET_COMMIT_VERSION_WITH_EXPIRY } else { OFFSET_COMMIT_VERSION };
    let stored = OffsetCommitValue {
        offset: offset.offset,
        leader_epoch: offset.leader_epoch,
        metadata: offset.metadata.to_string(),
        commit_timestamp: offset.commit_timestamp_ms,
        expire_timestamp: offset.expire_timestamp_ms.unwrap_or(-1),
        topic_id: offset.topic_id,
        ..Default::default()
    };
    let room = Writer::with_capacity(OFFSET_COMMIT_VALUE_FIXED + stored.metadata.len());
    Ok(CoordinatorRecord { key: offset_commit_key(group_id, topic, partition)?, value: Some(prefixed(version, &stored, version, room)?) })
}

pub(crate) fn offset_commit_tombstone(group_id: &str, topic: &str, partition: i32) -> Result<CoordinatorRecord, EncodeError> {
    Ok(CoordinatorRecord { key: offset_commit_key(group_id, topic, partition)?, value: None })
}

/// How Java prints the address of a client (`InetAddress.toString` without a host name): `/127.0.0.1`, `/0:0:0:0:0:0:0:1`.
pub(crate) fn java_client_host(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => format!("/{v4}"),
        IpAddr::V6(v6) => {
            let groups: Vec<String> = v6.segments().iter().map(|s| format!("{s:x}")).collect();
            format!("/{}", groups.join(":"))
        }
    }
}
