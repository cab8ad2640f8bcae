//! Owns: the round robin assignor: all partitions of all topics dealt to members in turn. Kafka: `RoundRobinAssignor`.

use super::{Assignments, PartitionCounts, Subscriptions, member_order};
use base::TopicPartition;

pub fn assign(partitions: &PartitionCounts, subscriptions: &Subscriptions) -> Assignments {
    let mut assignments: Assignments = subscriptions.keys().map(|member| (member.clone(), Vec::new())).collect();
    let members = member_order(subscriptions.iter());
    let mut turn = 0;
    for (topic, count) in partitions {
        let wants = |member: &String| subscriptions.get(member).is_some_and(|subscription| subscription.topics.contains(topic));
        if !members.iter().any(|member| wants(member)) {
            continue;
        }
        for partition in 0..*count {
            while !wants(members[turn % members.len()]) {
                turn += 1;
            }
            if let Some(assigned) = assignments.get_mut(members[turn % members.len()]) {
                assigned.push(TopicPartition::new(topic, partition));
            }
            turn += 1;
        }
    }
    assignments
}
