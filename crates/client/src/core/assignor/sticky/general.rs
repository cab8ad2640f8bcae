//! Owns: the sticky assignment when members want different topics: start from what they own, hand out the rest, then move partitions while a
//! move makes the result more even. Kafka: `GeneralAssignmentBuilder`.

use super::{Assignments, PartitionCounts, Subscriptions};
use base::TopicPartition;
use std::collections::{BTreeMap, BTreeSet};

struct Builder<'a> {
    counts: &'a PartitionCounts,
    /// Topic to members that want it, and back.
    members_of: BTreeMap<String, Vec<String>>,
    topics_of: BTreeMap<String, Vec<String>>,
    current: Assignments,
    owner: BTreeMap<TopicPartition, String>,
    /// Members by (number of partitions, id): the poorest first.
    by_load: BTreeSet<(usize, String)>,
    previous: BTreeMap<TopicPartition, String>,
    movements: Movements,
    revocation_required: bool,
}

pub fn assign(
    counts: &PartitionCounts,
    subscriptions: &Subscriptions,
    owned: Assignments,
    previous: BTreeMap<TopicPartition, String>,
) -> Assignments {
    let mut members_of: BTreeMap<String, Vec<String>> = counts.keys().map(|topic| (topic.clone(), Vec::new())).collect();
    let mut topics_of: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (member, subscription) in subscriptions {
        let topics = topics_of.entry(member.clone()).or_default();
        for topic in subscription.topics.iter().filter(|topic| counts.contains_key(*topic)) {
            topics.push(topic.clone());
            members_of.entry(topic.clone()).or_default().push(member.clone());
        }
    }
    let mut builder = Builder {
        counts,
        members_of,
        topics_of,
        current: owned,
        owner: BTreeMap::new(),
        by_load: BTreeSet::new(),
        previous,
        movements: Movements::default(),
        revocation_required: false,
    };
    builder.drop_unwanted(subscriptions);
    builder.balance();
    builder.current
}

impl Builder<'_> {
    /// Takes away what a member owned of topics it no longer wants.
    fn drop_unwanted(&mut self, subscriptions: &Subscriptions) {
        for (member, partitions) in &mut self.current {
            let before = partitions.len();
            let wanted = |topic: &String| subscriptions.get(member).is_some_and(|subscription| subscription.topics.contains(topic));
            partitions.retain(|partition| wanted(&partition.topic));
            self.revocation_required |= partitions.len() < before;
            for partition in partitions.iter() {
                self.owner.insert(partition.clone(), member.clone());
            }
        }
    }

    /// All partitions, those of topics with the fewest interested members first.
    fn sorted_partitions(&self) -> Vec<TopicPartition> {
        let mut topics: Vec<(usize, &String)> = self.members_of.iter().map(|(topic, members)| (members.len(), topic)).collect();
        topics.sort();
        let numbers = |topic: &String| 0..self.counts.get(topic).copied().unwrap_or(0);
        topics.into_iter().flat_map(|(_, topic)| numbers(topic).map(move |number| TopicPartition::new(topic, number))).collect()
    }

    fn load(&self, member: &str) -> usize {
        self.current.get(member).map_or(0, Vec::len)
    }

    fn is_contested(&self, topic: &str) -> bool {
        self.members_of.get(topic).is_some_and(|members| members.len() >= 2)
    }

    fn balance(&mut self) {
        let all = self.sorted_partitions();
        let mut unassigned: Vec<TopicPartition> = all.iter().filter(|partition| !self.owner.contains_key(*partition)).cloned().collect();
        self.by_load = self.current.iter().map(|(member, partitions)| (partitions.len(), member.clone())).collect();
        let initializing = self.by_load.last().is_none_or(|(load, _)| *load == 0);
        for partition in &unassigned {
            self.hand_out(partition);
        }
        // Partitions and members that no move can touch are set aside.
        let contested: Vec<TopicPartition> = all.into_iter().filter(|partition| self.is_contested(&partition.topic)).collect();
        unassigned.retain(|partition| self.is_contested(&partition.topic));
        let mut fixed = Assignments::new();
        let members: Vec<String> = self.topics_of.keys().cloned().collect();
        for member in members {
            if !self.can_take_part(&member) {
                self.by_load.remove(&(self.load(&member), member.clone()));
                if let Some(partitions) = self.current.remove(&member) {
                    fixed.insert(member, partitions);
                }
            }
        }
        let before = (self.current.clone(), self.owner.clone());
        if !self.revocation_required {
            self.reassign(&unassigned);
        }
        let moved = self.reassign(&contested);
        // Moves that do not make it more even were for nothing.
        if !initializing && moved && spread(&self.current) >= spread(&before.0) {
            (self.current, self.owner) = before;
        }
        self.current.extend(fixed);
    }

    fn hand_out(&mut self, partition: &TopicPartition) {
        let wants = |member: &String| self.topics_of.get(member).is_some_and(|topics| topics.contains(&partition.topic));
        let Some((load, member)) = self.by_load.iter().find(|(_, member)| wants(member)).cloned() else { return };
        self.by_load.remove(&(load, member.clone()));
        self.by_load.insert((load + 1, member.clone()));
        self.current.entry(member.clone()).or_default().push(partition.clone());
        self.owner.insert(partition.clone(), member);
    }

    /// Whether giving to or taking from this member is possible at all.
    fn can_take_part(&self, member: &str) -> bool {
        self.load(member) < self.most_possible(member)
            || self.current.get(member).is_some_and(|partitions| partitions.iter().any(|partition| self.is_contested(&partition.topic)))
    }

    fn most_possible(&self, member: &str) -> usize {
        let topics = self.topics_of.get(member).map(Vec::as_slice).unwrap_or_default();
        topics.iter().filter_map(|topic| self.counts.get(topic)).map(|count| (*count).max(0) as usize).sum()
    }

    fn is_balanced(&self) -> bool {
        let (Some((min, _)), Some((max, _))) = (self.by_load.first(), self.by_load.last()) else { return true };
        if min + 1 >= *max {
            return true;
        }
        // Could anybody get a partition from somebody who has at least two more?
        for (load, member) in &self.by_load {
            if *load == self.most_possible(member) {
                continue;
            }
            for topic in self.topics_of.get(member).into_iter().flatten() {
                for number in 0..self.counts.get(topic).copied().unwrap_or(0) {
                    let partition = TopicPartition::new(topic, number);
                    let richer = self.owner.get(&partition).is_some_and(|owner| owner != member && load + 1 < self.load(owner));
                    if richer {
                        return false;
                    }
                }
            }
        }
        true
    }

    fn reassign(&mut self, partitions: &[TopicPartition]) -> bool {
        let mut moved_any = false;
        loop {
            let mut moved = false;
            for partition in partitions {
                if self.is_balanced() {
                    break;
                }
                let Some(owner) = self.owner.get(partition).cloned() else { continue };
                let load = self.load(&owner);
                if let Some(previous) = self.previous.get(partition).cloned()
                    && self.current.contains_key(&previous)
                    && load > self.load(&previous) + 1
                {
                    self.move_to(partition, &previous);
                    (moved, moved_any) = (true, true);
                    continue;
                }
                let members = self.members_of.get(&partition.topic).map(Vec::as_slice).unwrap_or_default();
                let poorer = members.iter().any(|other| self.current.contains_key(other) && load > self.load(other) + 1);
                let wants = |member: &String| self.topics_of.get(member).is_some_and(|topics| topics.contains(&partition.topic));
                let poorest = self.by_load.iter().map(|(_, member)| member).find(|member| wants(member)).cloned();
                if let (true, Some(poorest)) = (poorer, poorest) {
                    self.move_to(partition, &poorest);
                    (moved, moved_any) = (true, true);
                }
            }
            if !moved {
                return moved_any;
            }
        }
    }

    fn move_to(&mut self, partition: &TopicPartition, to: &str) {
        let Some(from) = self.owner.get(partition).cloned() else { return };
        // Moving back another partition of the topic that went the other way keeps more where it was.
        let partition = self.movements.better_choice(partition, &from, to);
        let Some(from) = self.owner.get(&partition).cloned() else { return };
        self.movements.record(&partition, &from, to);
        for member in [from.as_str(), to] {
            self.by_load.remove(&(self.load(member), member.to_owned()));
        }
        if let Some(partitions) = self.current.get_mut(&from) {
            partitions.retain(|candidate| *candidate != partition);
        }
        self.current.entry(to.to_owned()).or_default().push(partition.clone());
        self.owner.insert(partition, to.to_owned());
        for member in [from.as_str(), to] {
            self.by_load.insert((self.load(member), member.to_owned()));
        }
    }
}

/// How uneven an assignment is: the sum of all differences.
fn spread(assignments: &Assignments) -> usize {
    let loads: Vec<usize> = assignments.values().map(Vec::len).collect();
    loads.iter().enumerate().map(|(index, a)| loads[index + 1..].iter().map(|b| a.abs_diff(*b)).sum::<usize>()).sum()
}

/// Which partitions moved from whom to whom so far.
#[derive(Default)]
struct Movements {
    by_partition: BTreeMap<TopicPartition, (String, String)>,
}

impl Movements {
    fn record(&mut self, partition: &TopicPartition, from: &str, to: &str) {
        match self.by_partition.remove(partition) {
            // It came back: no movement at all.
            Some((origin, _)) if origin == to => {}
            Some((origin, _)) => {
                self.by_partition.insert(partition.clone(), (origin, to.to_owned()));
            }
            None => {
                self.by_partition.insert(partition.clone(), (from.to_owned(), to.to_owned()));
            }
        }
    }

    fn better_choice(&self, partition: &TopicPartition, from: &str, to: &str) -> TopicPartition {
        let origin = self.by_partition.get(partition).map_or(from, |(origin, _)| origin.as_str());
        let reverse = self.by_partition.iter().find(|(moved, (a, b))| moved.topic == partition.topic && a == to && b == origin);
        reverse.map_or_else(|| partition.clone(), |(moved, _)| moved.clone())
    }
}
