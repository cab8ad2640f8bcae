//! Leads one member from what it holds to its target: first it gives up, then it moves to the epoch, then it gets what is free.
//! Kafka: CurrentAssignmentBuilder.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::Uuid;
use wire::ErrorCode;
use wire::messages::consumer_group_heartbeat_request::TopicPartitions;

use super::member::{Member, MemberState, PartitionEpochs};
use super::step::TimerChange;
use super::{ConsumerGroup, Context, Refusal, Step, stored};
use crate::assignor::Partitions;
use crate::timers::{Due, Timer};

/// What is known of the member besides itself.
pub(super) struct Towards<'a> {
    pub(super) target_epoch: i32,
    pub(super) target: &'a Partitions,
    /// Partitions of topics that it no longer subscribes to are taken away at once.
    pub(super) subscription_changed: bool,
    /// What it says it holds; `None` when it did not say.
    pub(super) owned: Option<&'a [TopicPartitions]>,
}

impl ConsumerGroup {
    /// The member one step further, with the record and the timer for it.
    pub(super) fn reconcile(&self, c: &Context, member: Member, towards: &Towards, step: &mut Step) -> Result<Member, Refusal> {
        if !towards.subscription_changed && member.is_reconciled_to(towards.target_epoch) {
            return Ok(member);
        }
        let next = self.next_assignment(c, &member, towards)?;
        let Some(next) = next.filter(|next| *next != member) else { return Ok(member) };
        step.records.push(stored::current(&self.id, &next)?);
        // Members of the classic protocol have join and sync timers instead.
        if !next.uses_classic_protocol() {
            let timer = Timer::Rebalance { group: self.id.clone(), member: next.id.clone() };
            if next.state == MemberState::UnrevokedPartitions {
                let due = Due::Rebalance { epoch: next.epoch };
                step.timers.push(TimerChange::Set { timer, delay_ms: i64::from(next.rebalance_timeout_ms), due });
            } else {
                step.cancel(timer);
            }
        }
        Ok(next)
    }

    /// `None` when the member stays as it is.
    fn next_assignment(&self, c: &Context, member: &Member, towards: &Towards) -> Result<Option<Member>, Refusal> {
        Ok(match member.state {
            MemberState::Stable if member.epoch != towards.target_epoch => Some(self.advance(c, member, member.epoch, towards)),
            MemberState::Stable if towards.subscription_changed => self.drop_unsubscribed(c, member, towards),
            MemberState::Stable => None,
            MemberState::UnrevokedPartitions if owns_any(towards.owned, &member.pending_revocation) => {
                if towards.subscription_changed {
                    self.drop_unsubscribed(c, member, towards)
                } else {
                    None
                }
            }
            MemberState::UnrevokedPartitions | MemberState::UnreleasedPartitions => Some(self.advance(c, member, member.epoch, towards)),
            MemberState::Unknown => {
                if towards.owned.is_none_or(|owned| !owned.is_empty()) {
                    let text = "The consumer group member is in a unknown state. The member must abandon all its partitions and rejoin.";
                    return Err(Refusal::new(ErrorCode::FencedMemberEpoch, text));
                }
                Some(self.advance(c, member, towards.target_epoch, towards))
            }
        })
    }

    /// Whether the member subscribes to the topic, by name or by what its regular expression stood for when it was last resolved.
    fn subscribes(&self, c: &Context, member: &Member, topic: Uuid) -> bool {
        c.cluster.topic_by_id(topic).is_some_and(|topic| {
            let resolved = || member.regex().and_then(|regex| self.resolved.get(regex)).is_some_and(|r| r.topics.contains(&topic.name));
            member.topic_names.contains(&topic.name) || resolved()
        })
    }

    /// Within an epoch: partitions of topics that the member does not subscribe to any more have to go.
    fn drop_unsubscribed(&self, c: &Context, member: &Member, towards: &Towards) -> Option<Member> {
        let gone: Vec<Uuid> = member.assigned.keys().copied().filter(|topic| !self.subscribes(c, member, *topic)).collect();
        if gone.is_empty() {
            return None;
        }
        let mut assigned = PartitionEpochs::clone(&member.assigned);
        let mut pending_revocation = PartitionEpochs::clone(&member.pending_revocation);
        for topic in gone {
            if let Some(partitions) = assigned.remove(&topic) {
                pending_revocation.entry(topic).or_default().extend(partitions);
            }
        }
        let mut next = member.clone();
        next.move_to_epoch(member.epoch);
        next.assigned = Arc::new(assigned);
        if owns_any(towards.owned, &pending_revocation) {
            next.state = MemberState::UnrevokedPartitions;
            next.pending_revocation = Arc::new(pending_revocation);
        }
        Some(next)
    }

    /// Gives up what is not in the target; with that done, goes to the target's epoch and takes what nobody holds.
    fn advance(&self, c: &Context, member: &Member, epoch: i32, towards: &Towards) -> Member {
        let mut assigned = PartitionEpochs::new();
        let mut to_revoke = PartitionEpochs::new();
        let mut to_assign: Vec<(Uuid, Vec<i32>)> = Vec::new();
        let mut unreleased = false;

        for (topic, held) in member.assigned.iter() {
            let target = towards.target.get(topic).filter(|_| self.subscribes(c, member, *topic));
            let (keep, give_up): (BTreeMap<i32, i32>, BTreeMap<i32, i32>) =
                held.iter().partition(|(partition, _)| target.is_some_and(|t| t.contains(partition)));
            if !keep.is_empty() {
                assigned.insert(*topic, keep);
            }
            if !give_up.is_empty() {
                to_revoke.insert(*topic, give_up);
            }
        }
        for (topic, target) in towards.target {
            if !self.subscribes(c, member, *topic) {
                continue;
            }
            let held = member.assigned.get(topic);
            let mut free = Vec::new();
            for partition in target.iter().filter(|p| held.is_none_or(|h| !h.contains_key(p))) {
                // What it is about to give up itself is its own to take back.
                let own = || member.pending_revocation.get(topic).is_some_and(|p| p.contains_key(partition));
                if self.held_at(*topic, *partition).is_some() && !own() {
                    unreleased = true;
                } else {
                    free.push(*partition);
                }
            }
            if !free.is_empty() {
                to_assign.push((*topic, free));
            }
        }

        let mut next = member.clone();
        if owns_any(towards.owned, &to_revoke) {
            next.state = MemberState::UnrevokedPartitions;
            next.move_to_epoch(epoch);
            next.pending_revocation = Arc::new(to_revoke);
        } else {
            for (topic, partitions) in to_assign {
                assigned.entry(topic).or_default().extend(partitions.into_iter().map(|p| (p, towards.target_epoch)));
            }
            next.state = if unreleased { MemberState::UnreleasedPartitions } else { MemberState::Stable };
            next.move_to_epoch(towards.target_epoch);
            next.pending_revocation = Arc::default();
        }
        next.assigned = Arc::new(assigned);
        next
    }
}

/// Whether the member still owns any of these. One that does not say counts as owning them.
fn owns_any(owned: Option<&[TopicPartitions]>, partitions: &PartitionEpochs) -> bool {
    if partitions.is_empty() {
        return false;
    }
    let Some(owned) = owned else { return true };
    owned.iter().any(|t| partitions.get(&t.topic_id).is_some_and(|held| t.partitions.iter().any(|p| held.contains_key(p))))
}
