//! Offsets that go: with time, with their group, with their topic.

use base::{Now, Uuid};
use wire::EncodeError;

use super::Offsets;
use crate::group::Group;
use crate::group::modern::Kind;
use crate::output::CoordinatorRecord;
use crate::records;

/// Adds tombstones for the expired offsets of a group. Whether the group then holds no offsets at all.
pub(crate) fn expired_offsets(
    offsets: &Offsets,
    group_id: &str,
    group: &Group,
    now: Now,
    retention_ms: i64,
    tombstones: &mut Vec<CoordinatorRecord>,
) -> Result<bool, EncodeError> {
    if matches!(group, Group::Modern(modern) if modern.kind() == Kind::Share) {
        return Ok(false);
    }
    let mut all_expired = !offsets.pending.has_group(group_id);
    for (topic, by_partition) in offsets.committed.group(group_id).into_iter().flatten() {
        if group.is_subscribed_to(topic) {
            all_expired = false;
            continue;
        }
        for (&partition, offset) in by_partition {
            let base_ms = match group {
                Group::Classic(classic) => classic.expiration_base_ms(offset),
                Group::Consumer(_) | Group::Modern(_) => Some(offset.commit_timestamp_ms),
            };
            let Some(base_ms) = base_ms else {
                all_expired = false;
                continue;
            };
            let expired = match offset.expire_timestamp_ms {
                Some(at_ms) => now.wall_ms >= at_ms,
                None => now.wall_ms.saturating_sub(base_ms) >= retention_ms,
            };
            if expired && !offsets.pending.contains(group_id, topic, partition) {
                tombstones.push(records::offset_commit_tombstone(group_id, topic, partition)?);
            } else {
                all_expired = false;
            }
        }
    }
    Ok(all_expired)
}

/// Tombstones for every offset of a group, committed or pending.
pub(crate) fn group_tombstones(offsets: &Offsets, group_id: &str) -> Result<Vec<CoordinatorRecord>, EncodeError> {
    let mut tombstones = Vec::new();
    for (topic, by_partition) in offsets.committed.group(group_id).into_iter().flatten() {
        for &partition in by_partition.keys() {
            tombstones.push(records::offset_commit_tombstone(group_id, topic, partition)?);
        }
    }
    for (topic, partition) in offsets.pending.partitions_of(group_id) {
        if offsets.committed.get(group_id, topic, partition).is_none() {
            tombstones.push(records::offset_commit_tombstone(group_id, topic, partition)?);
        }
    }
    Ok(tombstones)
}

/// Tombstones for the offsets of deleted topics. Offsets stored without a topic id go by name.
pub(crate) fn deleted_topic_tombstones(offsets: &Offsets, topics: &[(Uuid, String)]) -> Result<Vec<CoordinatorRecord>, EncodeError> {
    let mut tombstones = Vec::new();
    for (group_id, topic, partition, offset) in offsets.committed.iter().chain(offsets.pending.iter()) {
        let deleted = topics.iter().any(|(id, name)| name == topic && (offset.topic_id.is_zero() || offset.topic_id == *id));
        if deleted {
            tombstones.push(records::offset_commit_tombstone(group_id, topic, partition)?);
        }
    }
    Ok(tombstones)
}
