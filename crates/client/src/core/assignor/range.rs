//! Owns: the range assignor: per topic, consecutive partitions to members in order. Where members and replicas have racks in common, partitions
//! go to members of their racks first, those of the same number in topics with the same members together (KIP-881). Kafka: `RangeAssignor`.

use super::{Assignments, PartitionCounts, PartitionRacks, Subscriptions, member_order};
use base::TopicPartition;
use std::collections::{BTreeMap, BTreeSet};

pub fn assign(partitions: &PartitionCounts, racks: &PartitionRacks, subscriptions: &Subscriptions) -> Assignments {
    let mut assignments: Assignments = subscriptions.keys().map(|member| (member.clone(), Vec::new())).collect();
    let mut topics: Vec<Topic> = partitions
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(name, count)| Topic::new(name, *count, racks.get(name).map_or(&[], Vec::as_slice), subscriptions))
        .collect();
    let rack_aware = topics.iter().any(|topic| topic.needs_racks);
    if rack_aware {
        assign_near(&mut topics, &mut assignments);
    }
    for topic in &mut topics {
        topic.assign_ranges(false, &mut assignments);
    }
    if rack_aware {
        assignments.values_mut().for_each(|assigned| assigned.sort());
    }
    assignments
}

/// Topics with the same members and as many partitions are assigned together.
fn assign_near(topics: &mut [Topic], assignments: &mut Assignments) {
    let mut groups: BTreeMap<(Vec<(String, Option<String>)>, usize), Vec<&mut Topic>> = BTreeMap::new();
    for topic in topics {
        let mut members = topic.members.clone();
        members.sort();
        groups.entry((members, topic.racks.len())).or_default().push(topic);
    }
    for group in groups.into_values() {
        match group {
            mut alone if alone.len() == 1 => {
                if let Some(topic) = alone.pop().filter(|topic| topic.needs_racks) {
                    topic.assign_ranges(true, assignments);
                }
            }
            together => assign_together(together, assignments),
        }
    }
}

fn assign_together(mut topics: Vec<&mut Topic>, assignments: &mut Assignments) {
    let Some(first) = topics.first() else { return };
    let partitions = first.racks.len() as i32;
    let mut members: Vec<String> = first.members.iter().map(|(member, _)| member.clone()).collect();
    for partition in 0..partitions {
        let fits = |member: &String| topics.iter().all(|topic| topic.near(member, partition) && topic.room(member) > 0);
        let Some(index) = members.iter().position(fits) else { continue };
        let member = members[index].clone();
        for topic in &mut topics {
            topic.give(&member, &[partition], assignments);
        }
        if topics.iter().all(|topic| topic.room(&member) == 0) {
            members.remove(index);
        }
    }
}

/// One topic on its way to being assigned.
struct Topic<'a> {
    name: &'a str,
    /// In the order they are served, with their racks.
    members: Vec<(String, Option<String>)>,
    /// Of each partition's replicas; empty when no member has a rack.
    racks: &'a [BTreeSet<String>],
    needs_racks: bool,
    unassigned: BTreeSet<i32>,
    assigned: BTreeMap<String, i32>,
    share: i32,
    extra: i32,
}

impl<'a> Topic<'a> {
    fn new(name: &'a str, count: i32, racks: &'a [BTreeSet<String>], subscriptions: &Subscriptions) -> Self {
        let subscribed = subscriptions.iter().filter(|(_, subscription)| subscription.topics.iter().any(|topic| topic == name));
        let rack = |member: &String| {
            subscriptions.get(member).and_then(|subscription| subscription.rack_id.clone()).filter(|rack| !rack.is_empty())
        };
        let members: Vec<(String, Option<String>)> =
            member_order(subscribed).into_iter().map(|member| (member.clone(), rack(member))).collect();
        let size = (members.len() as i32).max(1);
        let of_members: BTreeSet<&String> = members.iter().filter_map(|(_, rack)| rack.as_ref()).collect();
        let racks = if of_members.is_empty() { &[] } else { racks };
        let all: BTreeSet<&String> = racks.iter().flatten().collect();
        let everywhere = racks.iter().all(|racks| racks.len() == all.len());
        Self {
            name,
            needs_racks: !of_members.is_disjoint(&all) && !everywhere,
            racks,
            unassigned: (0..count).collect(),
            assigned: BTreeMap::new(),
            share: if members.is_empty() { 0 } else { count / size },
            extra: if members.is_empty() { 0 } else { count % size },
            members,
        }
    }

    /// Whether a member without a rack, or with one of the partition's.
    fn near(&self, member: &str, partition: i32) -> bool {
        let rack = self.members.iter().find(|(name, _)| name == member).and_then(|(_, rack)| rack.as_ref());
        rack.is_none_or(|rack| self.racks.get(partition as usize).is_some_and(|racks| racks.contains(rack)))
    }

    /// How many more partitions the member may get.
    fn room(&self, member: &str) -> i32 {
        let has = self.assigned.get(member).copied().unwrap_or(0);
        (self.share + i32::from(self.extra > 0) - has).max(0)
    }

    fn give(&mut self, member: &str, partitions: &[i32], assignments: &mut Assignments) {
        if let Some(all) = assignments.get_mut(member) {
            all.extend(partitions.iter().map(|partition| TopicPartition::new(self.name, *partition)));
        }
        let has = self.assigned.entry(member.to_owned()).or_default();
        *has += partitions.len() as i32;
        if *has > self.share {
            self.extra -= 1;
        }
        for partition in partitions {
            self.unassigned.remove(partition);
        }
    }

    fn assign_ranges(&mut self, only_near: bool, assignments: &mut Assignments) {
        let members: Vec<String> = self.members.iter().map(|(member, _)| member.clone()).collect();
        for member in members {
            let room = self.room(&member) as usize;
            let fitting = self.unassigned.iter().copied().filter(|partition| !only_near || self.near(&member, *partition));
            let partitions: Vec<i32> = fitting.take(room).collect();
            if !partitions.is_empty() {
                self.give(&member, &partitions, assignments);
            }
        }
    }
}
