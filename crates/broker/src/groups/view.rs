//! What the metrics page reads of the groups: committed offsets, states, and how often what was written. A shard is locked for as long
//! as its offsets take to be copied, never two at once.

use super::{Groups, State};
use coordinator::CoordinatorRecord;
use replica::Count;
use wire::messages::GroupMetadataValue;
use wire::{Message, Reader};

/// Counted as records are appended. Kafka: the sensors of `GroupCoordinatorMetrics`.
#[derive(Debug, Default)]
pub struct GroupCounts {
    pub offset_commits: Count,
    pub offset_expirations: Count,
    pub offset_deletions: Count,
    /// Classic groups that got through a rebalance.
    pub classic_rebalances: Count,
    /// Consumer groups that began one.
    pub consumer_rebalances: Count,
}

/// First bytes of a record's key.
const LEGACY_OFFSET: i16 = 0;
const OFFSET: i16 = 1;
const CLASSIC_GROUP: i16 = 2;
const CONSUMER_GROUP: i16 = 3;

impl GroupCounts {
    /// `by_timer`: written because something expired, not because somebody asked.
    pub(super) fn add(&self, records: &[CoordinatorRecord], by_timer: bool) {
        for record in records {
            let Some(kind) = record.key.first_chunk::<2>().map(|bytes| i16::from_be_bytes(*bytes)) else { continue };
            match (kind, &record.value) {
                (LEGACY_OFFSET | OFFSET, Some(_)) => self.offset_commits.add(1),
                (LEGACY_OFFSET | OFFSET, None) if by_timer => self.offset_expirations.add(1),
                (LEGACY_OFFSET | OFFSET, None) => self.offset_deletions.add(1),
                (CLASSIC_GROUP, Some(value)) if has_members(value.clone()) => self.classic_rebalances.add(1),
                (CONSUMER_GROUP, Some(_)) => self.consumer_rebalances.add(1),
                _ => {}
            }
        }
    }
}

fn has_members(value: bytes::Bytes) -> bool {
    let Some(version) = value.first_chunk::<2>().map(|bytes| i16::from_be_bytes(*bytes)) else { return false };
    GroupMetadataValue::decode(&mut Reader::new(value.slice(2..)), version).is_ok_and(|group| !group.members.is_empty())
}

/// The committed offsets of one group for one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffsets {
    pub group: String,
    pub topic: String,
    /// (partition, offset), by partition.
    pub offsets: Vec<(i32, i64)>,
}

/// How many partitions of `__consumer_offsets` this broker has, by how far they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoordinatorStates {
    pub loading: usize,
    pub active: usize,
    pub failed: usize,
    /// Committed offsets in the active ones.
    pub offsets: usize,
}

impl Groups {
    pub fn committed_offsets(&self) -> Vec<CommittedOffsets> {
        let mut all: Vec<CommittedOffsets> = Vec::new();
        for cell in self.cells() {
            let State::Active(active) = &cell.lock().state else { continue };
            active.shard.committed_offsets(|group, topic, partition, offset| match all.last_mut() {
                Some(last) if last.group == group && last.topic == topic => last.offsets.push((partition, offset)),
                _ => {
                    let offsets = vec![(partition, offset)];
                    all.push(CommittedOffsets { group: group.to_owned(), topic: topic.to_owned(), offsets });
                }
            });
        }
        all.sort_by(|a, b| (&a.group, &a.topic).cmp(&(&b.group, &b.topic)));
        all
    }

    /// (group, protocol, members) of every group, by name.
    pub fn members(&self) -> Vec<(String, &'static str, usize)> {
        let mut all = Vec::new();
        for cell in self.cells() {
            if let State::Active(active) = &cell.lock().state {
                active.shard.groups(|group, protocol, members| all.push((group.to_owned(), protocol, members)));
            }
        }
        all.sort();
        all
    }

    pub fn states(&self) -> CoordinatorStates {
        let mut states = CoordinatorStates::default();
        for cell in self.cells() {
            match &cell.lock().state {
                State::Loading => states.loading += 1,
                State::Failed => states.failed += 1,
                State::Gone => {}
                State::Active(active) => {
                    states.active += 1;
                    states.offsets += active.shard.offset_count();
                }
            }
        }
        states
    }
}
