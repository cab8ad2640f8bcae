//! Owns: the uniform assignor for members that all subscribe to the same topics: the same number of partitions for each, give or take one, and
//! as few of them moved as that allows. Kafka: UniformHomogeneousAssignmentBuilder.

use super::owners::Owners;
use super::{AssignorError, GroupSpec, Partitions};

pub(super) fn assign(spec: &GroupSpec<'_>) -> Result<Vec<Partitions>, AssignorError> {
    let Some(first) = spec.members.first() else { return Ok(Vec::new()) };
    let mut owners = Owners::new(spec, first.topics)?;
    for (member, of) in spec.members.iter().enumerate() {
        owners.enter(member, of.assigned, first.topics);
    }
    let mut free: Vec<(usize, usize)> = Vec::new();
    for topic in 0..owners.topics.len() {
        free.extend(owners.unassigned(topic).map(|partition| (topic, partition)));
    }

    let unfilled = revoke_excess(spec, &mut owners, &mut free);
    let mut free = free.into_iter();
    for (member, room) in unfilled {
        for (topic, partition) in free.by_ref().take(room) {
            owners.set(topic, partition, Some(member));
        }
    }
    match free.next() {
        Some(_) => Err(AssignorError::LeftUnassigned),
        None => Ok(owners.into_assignments(spec.members.len())),
    }
}

/// Takes from members what exceeds their share, adds it to `free`, and returns the members with room left, with how much.
fn revoke_excess(spec: &GroupSpec<'_>, owners: &mut Owners, free: &mut Vec<(usize, usize)>) -> Vec<(usize, usize)> {
    let members = spec.members.len();
    let share = owners.all_partitions() / members;
    // So many members get one partition more than `share`.
    let mut extras = owners.all_partitions() % members;
    let mut unfilled = Vec::new();

    for (member, of) in spec.members.iter().enumerate() {
        let mut takes_extra = extras > 0;
        let mut room = share + usize::from(takes_extra);
        for (id, partitions) in of.assigned {
            let Some(topic) = owners.topic(*id) else { continue };
            for partition in partitions.iter().filter_map(|partition| usize::try_from(*partition).ok()) {
                if owners.owner(topic, partition) != Some(member) {
                    continue;
                }
                if room > 0 {
                    room -= 1;
                } else {
                    owners.set(topic, partition, None);
                    free.push((topic, partition));
                }
            }
        }
        // A member that does not fill its extra partition leaves it to one after it that may have it already, as long as there are enough
        // members left to take them all.
        if room > 0 && takes_extra && members - member > extras {
            room -= 1;
            takes_extra = false;
        }
        if room > 0 {
            unfilled.push((member, room));
        }
        extras -= usize::from(takes_extra);
    }
    unfilled
}
