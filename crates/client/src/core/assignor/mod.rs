//! Owns: the assignors of the classic group protocol: who reads which partition. Used by: the group task of a member that leads its group.
//! Results are those of Java's assignors; where Java follows the order of a hash map, order here is by name.
//! Kafka: `ConsumerPartitionAssignor` and its implementations. Racks are considered by the range assignor (KIP-881).

mod range;
mod round_robin;
mod sticky;

use super::consumer_protocol::Subscription;
use base::TopicPartition;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// Member id to what it wants; topic to its number of partitions; member id to what it gets.
pub type Subscriptions = BTreeMap<String, Subscription>;
pub type PartitionCounts = BTreeMap<String, i32>;
/// Topic to the racks of the replicas of each partition.
pub type PartitionRacks = BTreeMap<String, Vec<BTreeSet<String>>>;
pub type Assignments = BTreeMap<String, Vec<TopicPartition>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    Range,
    RoundRobin,
    Sticky,
    CooperativeSticky,
}

/// What a member remembers for its next subscription: its last assignment and the generation it came with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StickyMemory {
    pub partitions: Option<Vec<TopicPartition>>,
    pub generation: i32,
}

impl Assignor {
    /// By Java class name (with or without package) or protocol name.
    pub fn from_config(text: &str) -> Option<Self> {
        let name = text.rsplit('.').next().unwrap_or(text);
        Some(match name {
            "RangeAssignor" | "range" => Assignor::Range,
            "RoundRobinAssignor" | "roundrobin" => Assignor::RoundRobin,
            "StickyAssignor" | "sticky" => Assignor::Sticky,
            "CooperativeStickyAssignor" | "cooperative-sticky" => Assignor::CooperativeSticky,
            _ => return None,
        })
    }

    /// The name in the group protocol.
    pub fn name(self) -> &'static str {
        match self {
            Assignor::Range => "range",
            Assignor::RoundRobin => "roundrobin",
            Assignor::Sticky => "sticky",
            Assignor::CooperativeSticky => "cooperative-sticky",
        }
    }

    pub fn is_cooperative(self) -> bool {
        self == Assignor::CooperativeSticky
    }

    /// The user data of a member's subscription.
    pub fn user_data(self, memory: &StickyMemory) -> Option<Bytes> {
        match self {
            Assignor::Range | Assignor::RoundRobin => None,
            Assignor::Sticky => memory.partitions.as_ref().map(|partitions| sticky::encode_memory(partitions, memory.generation)),
            Assignor::CooperativeSticky => Some(Bytes::copy_from_slice(&memory.generation.to_be_bytes())),
        }
    }

    /// Without looking at racks.
    pub fn assign(self, partitions: &PartitionCounts, subscriptions: &Subscriptions) -> Assignments {
        self.assign_near(partitions, &PartitionRacks::new(), subscriptions)
    }

    /// `partitions` may hold topics that nobody wants; they are left out.
    pub fn assign_near(self, partitions: &PartitionCounts, racks: &PartitionRacks, subscriptions: &Subscriptions) -> Assignments {
        let wanted: BTreeSet<&String> = subscriptions.values().flat_map(|subscription| &subscription.topics).collect();
        let partitions: PartitionCounts =
            partitions.iter().filter(|(topic, _)| wanted.contains(topic)).map(|(topic, count)| (topic.clone(), *count)).collect();
        match self {
            Assignor::Range => range::assign(&partitions, racks, subscriptions),
            Assignor::RoundRobin => round_robin::assign(&partitions, subscriptions),
            Assignor::Sticky => sticky::assign(&partitions, subscriptions, sticky::member_data_from_user_data).assignments,
            Assignor::CooperativeSticky => sticky::assign_cooperatively(&partitions, subscriptions),
        }
    }
}

/// Members of a topic in the order in which range and round robin serve them: static members by instance id, before dynamic ones by member id.
fn member_order<'a>(members: impl Iterator<Item = (&'a String, &'a Subscription)>) -> Vec<&'a String> {
    let mut members: Vec<(&String, &Subscription)> = members.collect();
    members.sort_by(|(id_a, a), (id_b, b)| match (&a.group_instance_id, &b.group_instance_id) {
        (Some(a), Some(b)) => a.cmp(b),
        (Some(_), None) => std::cmp::Ordering::Less,
        (None, Some(_)) => std::cmp::Ordering::Greater,
        (None, None) => id_a.cmp(id_b),
    });
    members.into_iter().map(|(id, _)| id).collect()
}

#[cfg(test)]
mod tests;
