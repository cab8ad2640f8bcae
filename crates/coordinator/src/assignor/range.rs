//! Owns: the range assignor: of every topic each subscriber gets one contiguous range, in the order of the members, so that topics with equally
//! many partitions and the same subscribers are co-partitioned. It knows no previous assignment. Kafka: RangeAssignor.

use std::cmp::Ordering;
use std::collections::HashMap;

use base::Uuid;

use super::{AssignorError, GroupSpec, MemberSpec, Partitions};

/// What is left of a topic.
struct Topic {
    partitions: i32,
    subscribers: i32,
    /// So many subscribers so far; the first `partitions % subscribers` get one partition more.
    served: i32,
    next: i32,
}

pub(super) fn assign(spec: &GroupSpec<'_>) -> Result<Vec<Partitions>, AssignorError> {
    let mut topics: HashMap<Uuid, Topic> = HashMap::new();
    for id in spec.members.iter().flat_map(|member| member.topics) {
        if let Some(topic) = topics.get_mut(id) {
            topic.subscribers += 1;
        } else {
            let partitions = *spec.partition_counts.get(id).ok_or(AssignorError::NonExistentTopic)?;
            topics.insert(*id, Topic { partitions: partitions.max(0), subscribers: 1, served: 0, next: 0 });
        }
    }

    let mut order: Vec<usize> = (0..spec.members.len()).collect();
    order.sort_by(|a, b| compare(&spec.members[*a], &spec.members[*b]));

    let mut assignments = vec![Partitions::new(); spec.members.len()];
    for member in order {
        for id in spec.members[member].topics {
            let Some(topic) = topics.get_mut(id) else { continue };
            let start = topic.next;
            topic.next += topic.partitions / topic.subscribers + i32::from(topic.served < topic.partitions % topic.subscribers);
            topic.served += 1;
            if start < topic.next {
                assignments[member].insert(*id, (start..topic.next).collect());
            }
        }
    }
    Ok(assignments)
}

/// Static members by their instance ids, then dynamic members by their member ids: a static member that comes back under a new member id finds
/// its place again.
fn compare(a: &MemberSpec<'_>, b: &MemberSpec<'_>) -> Ordering {
    match (a.instance_id, b.instance_id) {
        (Some(a), Some(b)) => compare_strings(a, b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => compare_strings(a.member_id, b.member_id),
    }
}

/// Java compares UTF-16 units, which is another order than that of UTF-8 beyond the basic plane.
fn compare_strings(a: &str, b: &str) -> Ordering {
    a.encode_utf16().cmp(b.encode_utf16())
}
