//! Owns: the sticky assignment when all members want the same topics: everybody gets the same number, give or take one.
//! Kafka: `ConstrainedAssignmentBuilder`.

use super::{Assignments, PartitionCounts};
use base::TopicPartition;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub fn assign(
    counts: &PartitionCounts,
    owned: BTreeMap<String, Vec<TopicPartition>>,
    disputed: &BTreeSet<TopicPartition>,
) -> (Assignments, BTreeMap<TopicPartition, String>) {
    let total: usize = counts.values().map(|count| (*count).max(0) as usize).sum();
    let members = owned.len().max(1);
    let (min_quota, max_quota) = (total / members, total.div_ceil(members));
    // How many members get one more than the others.
    let over_quota = total % members;
    let mut over = 0;
    let mut assignments = Assignments::new();
    let mut taken: BTreeSet<TopicPartition> = BTreeSet::new();
    let mut given_up: BTreeMap<TopicPartition, String> = BTreeMap::new();
    let mut below: Vec<String> = Vec::new();
    let mut at_min: VecDeque<String> = VecDeque::new();
    for (member, mut partitions) in owned {
        partitions.sort_by(|a, b| (a.partition, &a.topic).cmp(&(b.partition, &b.topic)));
        partitions.retain(|partition| !disputed.contains(partition));
        let keep = if partitions.len() < min_quota {
            below.push(member.clone());
            partitions.len()
        } else if partitions.len() >= max_quota && over < over_quota {
            over += 1;
            if over == over_quota {
                at_min.clear();
            }
            max_quota
        } else {
            if over < over_quota {
                at_min.push_back(member.clone());
            }
            min_quota
        };
        for partition in partitions.drain(keep..) {
            given_up.insert(partition, member.clone());
        }
        taken.extend(partitions.iter().cloned());
        assignments.insert(member, partitions);
    }
    below.sort();
    at_min.make_contiguous().sort();
    let mut transferring = BTreeMap::new();
    let free = counts.iter().flat_map(|(topic, count)| (0..*count).map(move |number| TopicPartition::new(topic, number)));
    let mut turn = 0;
    for partition in free.filter(|partition| !taken.contains(partition)) {
        if turn >= below.len() {
            turn = 0;
        }
        // Round robin over the members that still miss some; then one more for those at the minimum.
        let (member, from_below) = match below.get(turn) {
            Some(member) => (member.clone(), true),
            None => match at_min.pop_front() {
                Some(member) => (member, false),
                None => break,
            },
        };
        let changes_hands = given_up.get(&partition).is_some_and(|owner| *owner != member) || disputed.contains(&partition);
        if changes_hands {
            transferring.insert(partition.clone(), member.clone());
        }
        let Some(assigned) = assignments.get_mut(&member) else { break };
        assigned.push(partition);
        match (from_below, assigned.len() == min_quota) {
            (true, true) => {
                below.remove(turn);
                at_min.push_back(member);
            }
            (true, false) if assigned.len() >= max_quota => {
                // Only when the minimum is 0.
                below.remove(turn);
            }
            (true, false) => turn += 1,
            (false, _) => {}
        }
    }
    (assignments, transferring)
}
