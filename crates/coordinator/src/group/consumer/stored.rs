//! The records of a consumer group, made. Kafka: GroupCoordinatorRecordHelpers.

use wire::EncodeError;
use wire::Message;
use wire::messages::consumer_group_target_assignment_member_value::TopicPartition;
use wire::messages::{
    ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupMemberMetadataKey, ConsumerGroupMetadataKey, ConsumerGroupMetadataValue,
    ConsumerGroupPartitionMetadataKey, ConsumerGroupRegularExpressionKey, ConsumerGroupRegularExpressionValue,
    ConsumerGroupTargetAssignmentMemberKey, ConsumerGroupTargetAssignmentMemberValue, ConsumerGroupTargetAssignmentMetadataKey,
    ConsumerGroupTargetAssignmentMetadataValue,
};

use super::ConsumerGroup;
use super::member::Member;
use super::subscriptions::Resolved;
use crate::assignor::Partitions;
use crate::output::CoordinatorRecord;
use crate::records::{key, value};

/// The one version of all these records.
const VERSION: i16 = 0;

type Encoded = Result<CoordinatorRecord, EncodeError>;

fn record<K: Message, V: Message>(record_key: &K, record_value: &V) -> Encoded {
    Ok(CoordinatorRecord { key: key(record_key)?, value: Some(value(record_value, VERSION)?) })
}

fn tombstone<K: Message>(record_key: &K) -> Encoded {
    Ok(CoordinatorRecord { key: key(record_key)?, value: None })
}

fn group_key(group_id: &str) -> ConsumerGroupMetadataKey {
    ConsumerGroupMetadataKey { group_id: group_id.to_owned(), ..Default::default() }
}

fn member_key(group_id: &str, member_id: &str) -> ConsumerGroupMemberMetadataKey {
    ConsumerGroupMemberMetadataKey { group_id: group_id.to_owned(), member_id: member_id.to_owned(), ..Default::default() }
}

fn target_key(group_id: &str, member_id: &str) -> ConsumerGroupTargetAssignmentMemberKey {
    ConsumerGroupTargetAssignmentMemberKey { group_id: group_id.to_owned(), member_id: member_id.to_owned(), ..Default::default() }
}

fn current_key(group_id: &str, member_id: &str) -> ConsumerGroupCurrentMemberAssignmentKey {
    ConsumerGroupCurrentMemberAssignmentKey { group_id: group_id.to_owned(), member_id: member_id.to_owned(), ..Default::default() }
}

fn regex_key(group_id: &str, regex: &str) -> ConsumerGroupRegularExpressionKey {
    ConsumerGroupRegularExpressionKey { group_id: group_id.to_owned(), regular_expression: regex.to_owned(), ..Default::default() }
}

fn target_metadata_key(group_id: &str) -> ConsumerGroupTargetAssignmentMetadataKey {
    ConsumerGroupTargetAssignmentMetadataKey { group_id: group_id.to_owned(), ..Default::default() }
}

pub(super) fn epoch(group_id: &str, epoch: i32, metadata_hash: i64) -> Encoded {
    record(&group_key(group_id), &ConsumerGroupMetadataValue { epoch, metadata_hash, ..Default::default() })
}

fn epoch_tombstone(group_id: &str) -> Encoded {
    tombstone(&group_key(group_id))
}

pub(super) fn partition_metadata_tombstone(group_id: &str) -> Encoded {
    tombstone(&ConsumerGroupPartitionMetadataKey { group_id: group_id.to_owned(), ..Default::default() })
}

pub(super) fn member(group_id: &str, member: &Member) -> Encoded {
    record(&member_key(group_id, &member.id), &member.stored_metadata())
}

pub(super) fn member_tombstone(group_id: &str, member_id: &str) -> Encoded {
    tombstone(&member_key(group_id, member_id))
}

pub(super) fn target(group_id: &str, member_id: &str, partitions: &Partitions) -> Encoded {
    let topic = |(topic_id, partitions): (&base::Uuid, &std::collections::BTreeSet<i32>)| TopicPartition {
        topic_id: *topic_id,
        partitions: partitions.iter().copied().collect(),
        ..Default::default()
    };
    let topic_partitions = partitions.iter().map(topic).collect();
    record(&target_key(group_id, member_id), &ConsumerGroupTargetAssignmentMemberValue { topic_partitions, ..Default::default() })
}

pub(super) fn target_tombstone(group_id: &str, member_id: &str) -> Encoded {
    tombstone(&target_key(group_id, member_id))
}

pub(super) fn target_metadata(group_id: &str, assignment_epoch: i32, assignment_timestamp: i64) -> Encoded {
    let stored = ConsumerGroupTargetAssignmentMetadataValue { assignment_epoch, assignment_timestamp, ..Default::default() };
    record(&target_metadata_key(group_id), &stored)
}

fn target_metadata_tombstone(group_id: &str) -> Encoded {
    tombstone(&target_metadata_key(group_id))
}

pub(super) fn current(group_id: &str, member: &Member) -> Encoded {
    record(&current_key(group_id, &member.id), &member.stored_assignment())
}

pub(super) fn current_tombstone(group_id: &str, member_id: &str) -> Encoded {
    tombstone(&current_key(group_id, member_id))
}

pub(super) fn regex(group_id: &str, regex: &str, resolved: &Resolved) -> Encoded {
    let stored = ConsumerGroupRegularExpressionValue {
        topics: resolved.topics.iter().map(|t| t.to_string()).collect(),
        version: resolved.version,
        timestamp: resolved.timestamp_ms,
        ..Default::default()
    };
    record(&regex_key(group_id, regex), &stored)
}

pub(super) fn regex_tombstone(group_id: &str, regex: &str) -> Encoded {
    tombstone(&regex_key(group_id, regex))
}

impl ConsumerGroup {
    /// The tombstones that delete the group: members lose what they hold before the group goes.
    pub(crate) fn tombstones(&self) -> Result<Vec<CoordinatorRecord>, EncodeError> {
        self.tombstones_with(|member_id| member_id)
    }

    /// The same where some members are already stored under another id.
    pub(super) fn tombstones_with<'a>(&'a self, stored_as: impl Fn(&'a str) -> &'a str) -> Result<Vec<CoordinatorRecord>, EncodeError> {
        let id = &*self.id;
        let ids = || self.members.keys().map(|member_id| stored_as(member_id));
        let mut records = Vec::with_capacity(3 * self.members.len() + self.resolved.len() + 3);
        for member_id in ids() {
            records.push(current_tombstone(id, member_id)?);
        }
        for member_id in ids() {
            records.push(target_tombstone(id, member_id)?);
        }
        records.push(target_metadata_tombstone(id)?);
        for member_id in ids() {
            records.push(member_tombstone(id, member_id)?);
        }
        for regex in self.resolved.keys() {
            records.push(regex_tombstone(id, regex)?);
        }
        records.push(partition_metadata_tombstone(id)?);
        records.push(epoch_tombstone(id)?);
        Ok(records)
    }

    /// The records that a new group starts from.
    pub(super) fn records(&self) -> Result<Vec<CoordinatorRecord>, EncodeError> {
        let id = &*self.id;
        let mut records = Vec::with_capacity(3 * self.members.len() + 2);
        for m in self.members.values() {
            records.push(member(id, m)?);
        }
        records.push(epoch(id, self.epoch, self.metadata_hash)?);
        for m in self.members.values() {
            records.push(target(id, &m.id, self.target_of(&m.id).unwrap_or(&Partitions::new()))?);
        }
        records.push(target_metadata(id, self.target.epoch, self.target.timestamp_ms)?);
        for m in self.members.values() {
            records.push(current(id, m)?);
        }
        Ok(records)
    }
}
