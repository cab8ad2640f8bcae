//! The records of a consumer group, applied. Everything else in the state is counted from them here.
//! Kafka: GroupMetadataManager.replay for ConsumerGroup records, ConsumerGroup.updateMember and removeMember.

use std::collections::BTreeMap;
use std::sync::Arc;

use wire::messages::{
    ConsumerGroupCurrentMemberAssignmentValue, ConsumerGroupMemberMetadataValue, ConsumerGroupMetadataValue,
    ConsumerGroupRegularExpressionValue, ConsumerGroupTargetAssignmentMemberValue, ConsumerGroupTargetAssignmentMetadataValue,
};

use super::member::{LEAVE_EPOCH, Member, PartitionEpochs};
use super::subscriptions::Resolved;
use super::{ConsumerGroup, Target};

/// A record of a consumer group; a value of `None` is a tombstone.
#[derive(Debug)]
pub(crate) enum ConsumerRecord {
    Group(Option<ConsumerGroupMetadataValue>),
    /// What it says is not used any more; only that it is there.
    PartitionMetadata {
        present: bool,
    },
    Member {
        id: String,
        value: Option<Box<ConsumerGroupMemberMetadataValue>>,
    },
    TargetMetadata(Option<ConsumerGroupTargetAssignmentMetadataValue>),
    TargetMember {
        id: String,
        value: Option<ConsumerGroupTargetAssignmentMemberValue>,
    },
    Current {
        id: String,
        value: Option<ConsumerGroupCurrentMemberAssignmentValue>,
    },
    Regex {
        regex: String,
        value: Option<ConsumerGroupRegularExpressionValue>,
    },
}

impl ConsumerRecord {
    pub(crate) fn is_tombstone(&self) -> bool {
        match self {
            ConsumerRecord::Group(value) => value.is_none(),
            ConsumerRecord::PartitionMetadata { present } => !present,
            ConsumerRecord::Member { value, .. } => value.is_none(),
            ConsumerRecord::TargetMetadata(value) => value.is_none(),
            ConsumerRecord::TargetMember { value, .. } => value.is_none(),
            ConsumerRecord::Current { value, .. } => value.is_none(),
            ConsumerRecord::Regex { value, .. } => value.is_none(),
        }
    }
}

impl ConsumerGroup {
    /// Whether the group lives on.
    pub(crate) fn replay(&mut self, record: ConsumerRecord) -> bool {
        match record {
            ConsumerRecord::Group(Some(value)) => {
                self.epoch = value.epoch;
                self.metadata_hash = value.metadata_hash;
            }
            ConsumerRecord::Group(None) => return false,
            ConsumerRecord::PartitionMetadata { present } => self.has_partition_metadata = present,
            ConsumerRecord::Member { id, value: Some(value) } => {
                let mut member = self.member_or_new(&id);
                member.apply_metadata(*value);
                self.put_member(member);
            }
            ConsumerRecord::Member { id, value: None } => {
                self.remove_member(&id);
            }
            ConsumerRecord::TargetMetadata(value) => {
                let gone = ConsumerGroupTargetAssignmentMetadataValue { assignment_epoch: -1, ..Default::default() };
                let value = value.unwrap_or(gone);
                self.target = Target {
                    epoch: value.assignment_epoch,
                    timestamp_ms: value.assignment_timestamp,
                    members: std::mem::take(&mut self.target.members),
                };
            }
            ConsumerRecord::TargetMember { id, value: Some(value) } => {
                let partitions = value.topic_partitions.into_iter().filter(|t| !t.partitions.is_empty());
                let partitions = partitions.map(|t| (t.topic_id, t.partitions.into_iter().collect())).collect();
                self.target.members.insert(id.as_str().into(), partitions);
            }
            ConsumerRecord::TargetMember { id, value: None } => {
                self.target.members.remove(id.as_str());
            }
            ConsumerRecord::Current { id, value: Some(value) } => {
                let mut member = self.member_or_new(&id);
                member.apply_assignment(value);
                self.put_member(member);
            }
            ConsumerRecord::Current { id, value: None } => {
                if let Some(member) = self.members.get(id.as_str()) {
                    let mut member = Member::clone(member);
                    member.epoch = LEAVE_EPOCH;
                    member.previous_epoch = LEAVE_EPOCH;
                    member.assigned = Arc::default();
                    member.pending_revocation = Arc::default();
                    self.put_member(member);
                }
            }
            ConsumerRecord::Regex { regex, value } => self.put_resolved(regex, value),
        }
        true
    }

    fn member_or_new(&self, id: &str) -> Member {
        self.members.get(id).map_or_else(|| Member::new(id), |member| Member::clone(member))
    }

    fn put_resolved(&mut self, regex: String, value: Option<ConsumerGroupRegularExpressionValue>) {
        if let Some(old) = self.resolved.remove(&regex) {
            self.subscriptions.remove_resolved(&old);
        }
        if let Some(value) = value {
            let topics = value.topics.into_iter().map(Arc::from).collect();
            let resolved = Resolved { topics, version: value.version, timestamp_ms: value.timestamp };
            self.subscriptions.add_resolved(&resolved);
            self.resolved.insert(regex, resolved);
        }
    }

    /// Puts a member in place, or in the place of its former self.
    pub(super) fn put_member(&mut self, member: Member) {
        if let Some(old) = self.members.remove(&member.id) {
            self.uncount(&old);
        }
        self.subscriptions.add_member(&member);
        if let Some(assignor) = &member.assignor {
            *self.assignors.entry(assignor.clone()).or_default() += 1;
        }
        if let Some(classic) = &member.classic {
            self.classic_members += 1;
            for (name, _) in &classic.protocols {
                *self.classic_protocols.entry(name.clone()).or_default() += 1;
            }
        }
        self.hold(&member.assigned, member.epoch);
        self.hold(&member.pending_revocation, member.epoch);
        if let Some(instance_id) = &member.instance_id {
            self.static_members.insert(instance_id.clone(), member.id.clone());
        }
        self.members.insert(member.id.clone(), Arc::new(member));
    }

    fn remove_member(&mut self, id: &str) {
        let Some(old) = self.members.remove(id) else { return };
        self.uncount(&old);
        if let Some(instance_id) = &old.instance_id
            && self.static_members.get(instance_id) == Some(&old.id)
        {
            self.static_members.remove(instance_id);
        }
    }

    fn uncount(&mut self, member: &Member) {
        self.subscriptions.remove_member(member);
        if let Some(assignor) = &member.assignor {
            lower(&mut self.assignors, assignor);
        }
        if let Some(classic) = &member.classic {
            self.classic_members -= 1;
            for (name, _) in &classic.protocols {
                lower(&mut self.classic_protocols, name);
            }
        }
        self.release(&member.assigned, member.epoch);
        self.release(&member.pending_revocation, member.epoch);
    }

    fn hold(&mut self, partitions: &PartitionEpochs, epoch: i32) {
        for (topic, partitions) in partitions {
            let held = self.held.entry(*topic).or_default();
            for partition in partitions.keys() {
                // After a compaction a partition may show up with its new owner before its old one has let go: the later epoch counts.
                let at = held.entry(*partition).or_insert(epoch);
                *at = epoch.max(*at);
            }
        }
    }

    fn release(&mut self, partitions: &PartitionEpochs, epoch: i32) {
        for (topic, partitions) in partitions {
            let Some(held) = self.held.get_mut(topic) else { continue };
            for partition in partitions.keys() {
                if held.get(partition) == Some(&epoch) {
                    held.remove(partition);
                }
            }
            if held.is_empty() {
                self.held.remove(topic);
            }
        }
    }
}

fn lower(counts: &mut BTreeMap<String, usize>, name: &str) {
    if let Some(count) = counts.get_mut(name) {
        *count -= 1;
        if *count == 0 {
            counts.remove(name);
        }
    }
}
