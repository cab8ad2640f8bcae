//! Owns: a table from partition to the member it is assigned to, the working state of the uniform assignors. Members and topics are small
//! numbers in it. Never does: decide anything.

use std::collections::{BTreeSet, HashMap};

use base::Uuid;

use super::{AssignorError, GroupSpec, Partitions};

const NOBODY: u32 = u32::MAX;

pub(super) struct Topic {
    pub(super) id: Uuid,
    /// By partition.
    owners: Vec<u32>,
}

pub(super) struct Owners {
    /// Sorted by id.
    pub(super) topics: Vec<Topic>,
    index: HashMap<Uuid, usize>,
}

impl Owners {
    /// Nobody owns anything yet. `ids` are the topics that are subscribed to, sorted.
    pub(super) fn new(spec: &GroupSpec<'_>, ids: &BTreeSet<Uuid>) -> Result<Self, AssignorError> {
        let mut topics = Vec::with_capacity(ids.len());
        for &id in ids {
            let count = *spec.partition_counts.get(&id).ok_or(AssignorError::UnknownTopic(id))?;
            topics.push(Topic { id, owners: vec![NOBODY; usize::try_from(count).unwrap_or(0)] });
        }
        let index = ids.iter().enumerate().map(|(at, &id)| (id, at)).collect();
        Ok(Owners { topics, index })
    }

    /// Enters what `member` has so far of the topics that `subscribed` says it still subscribes to. A partition that does not exist, or that an
    /// earlier member has, is not entered: no log of ours says that, yet what is replayed was written by others. Returns how many were.
    pub(super) fn enter(&mut self, member: usize, assigned: &Partitions, subscribed: &BTreeSet<Uuid>) -> usize {
        let mut entered = 0;
        for (id, partitions) in assigned {
            let Some(&topic) = self.index.get(id).filter(|_| subscribed.contains(id)) else { continue };
            for &partition in partitions {
                let slot = usize::try_from(partition).ok().and_then(|partition| self.topics[topic].owners.get_mut(partition));
                if let Some(slot) = slot.filter(|slot| **slot == NOBODY) {
                    *slot = member as u32;
                    entered += 1;
                }
            }
        }
        entered
    }

    pub(super) fn topic(&self, id: Uuid) -> Option<usize> {
        self.index.get(&id).copied()
    }

    pub(super) fn partitions(&self, topic: usize) -> usize {
        self.topics[topic].owners.len()
    }

    pub(super) fn all_partitions(&self) -> usize {
        self.topics.iter().map(|topic| topic.owners.len()).sum()
    }

    pub(super) fn owner(&self, topic: usize, partition: usize) -> Option<usize> {
        self.topics[topic].owners.get(partition).filter(|owner| **owner != NOBODY).map(|owner| *owner as usize)
    }

    pub(super) fn set(&mut self, topic: usize, partition: usize, member: Option<usize>) {
        self.topics[topic].owners[partition] = member.map_or(NOBODY, |member| member as u32);
    }

    pub(super) fn unassigned(&self, topic: usize) -> impl Iterator<Item = usize> + '_ {
        self.topics[topic].owners.iter().enumerate().filter(|(_, owner)| **owner == NOBODY).map(|(partition, _)| partition)
    }

    /// The assignment of each of `members` members.
    pub(super) fn into_assignments(self, members: usize) -> Vec<Partitions> {
        let mut assignments = vec![Partitions::new(); members];
        // One list per member, filled and emptied topic by topic: a set is built from a sorted list in one go.
        let mut of_topic: Vec<Vec<i32>> = vec![Vec::new(); members];
        for topic in self.topics {
            let mut touched = Vec::new();
            for (partition, owner) in topic.owners.into_iter().enumerate() {
                let Some(partitions) = of_topic.get_mut(owner as usize) else { continue };
                if partitions.is_empty() {
                    touched.push(owner as usize);
                }
                partitions.push(partition as i32);
            }
            for member in touched {
                assignments[member].insert(topic.id, of_topic[member].drain(..).collect());
            }
        }
        assignments
    }
}
