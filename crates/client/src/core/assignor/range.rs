//! Owns: the range assignor: per topic, consecutive partitions to members in order. Kafka: `RangeAssignor`.

use super::{Assignments, PartitionCounts, Subscriptions, member_order};
use base::TopicPartition;

pub fn assign(partitions: &PartitionCounts, subscriptions: &Subscriptions) -> Assignments {
    let mut assignments: Assignments = subscriptions.keys().map(|member| (member.clone(), Vec::new())).collect();
    for (topic, count) in partitions {
        let members = member_order(subscriptions.iter().filter(|(_, subscription)| subscription.topics.contains(topic)));
        if members.is_empty() {
            continue;
        }
        let (share, extra) = (*count / members.len() as i32, *count % members.len() as i32);
        let mut next = 0;
        for (index, member) in members.into_iter().enumerate() {
            let end = next + share + i32::from((index as i32) < extra);
            if let Some(assigned) = assignments.get_mut(member) {
                assigned.extend((next..end).map(|partition| TopicPartition::new(topic, partition)));
            }
            next = end;
        }
    }
    assignments
}
