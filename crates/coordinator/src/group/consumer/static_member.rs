//! Who a request is from: new and known members, static members that come back, and the epochs they come with.
//! Kafka: getOrMaybeSubscribe…ConsumerGroupMember and the throwIf… checks of GroupMetadataManager.

use std::sync::Arc;

use wire::ErrorCode;
use wire::messages::consumer_group_heartbeat_request::TopicPartitions;

use super::member::{LEAVE_STATIC_EPOCH, Member, PartitionEpochs};
use super::{ConsumerGroup, Context, Refusal, Step, stored};
use crate::assignor::Partitions;

/// What a request says of its member.
pub(super) struct Claim<'a> {
    pub(super) member_id: &'a str,
    pub(super) instance_id: Option<&'a str>,
    pub(super) joins: bool,
    /// Absent for members of the classic protocol, whose generation is checked elsewhere.
    pub(super) epoch: Option<Epoch<'a>>,
}

#[derive(Clone, Copy)]
pub(super) struct Epoch<'a> {
    pub(super) received: i32,
    pub(super) owned: Option<&'a [TopicPartitions]>,
}

impl ConsumerGroup {
    pub(super) fn check_room(&self, c: &Context, member_id: &str) -> Result<(), Refusal> {
        let max = c.config.consumer_max_size;
        let full = self.members.len() >= usize::try_from(max).unwrap_or(0);
        if full && (member_id.is_empty() || self.member(member_id).is_none()) {
            let text = format!("The consumer group has reached its maximum capacity of {max} members.");
            return Err(Refusal::new(ErrorCode::GroupMaxSizeReached, text));
        }
        Ok(())
    }

    /// The member that the request is from; a new one when it joins. A static member that comes back takes the place of its former self.
    pub(super) fn identify(&self, claim: &Claim, step: &mut Step) -> Result<Arc<Member>, Refusal> {
        match claim.instance_id {
            None => self.identify_dynamic(claim),
            Some(instance_id) => self.identify_static(claim, instance_id, step),
        }
    }

    fn identify_dynamic(&self, claim: &Claim) -> Result<Arc<Member>, Refusal> {
        let member = match self.member(claim.member_id) {
            Some(member) => member.clone(),
            None if claim.joins => Arc::new(Member::new(claim.member_id)),
            None => return Err(Refusal::unknown_member(&self.id, claim.member_id)),
        };
        if let Some(epoch) = claim.epoch {
            check_epoch(&member, epoch)?;
        }
        if claim.joins {
            tracing::info!(group = %self.id, member = claim.member_id, "a member joins");
        }
        Ok(member)
    }

    fn identify_static(&self, claim: &Claim, instance_id: &str, step: &mut Step) -> Result<Arc<Member>, Refusal> {
        let known = self.static_member(instance_id);
        if !claim.joins {
            let member = self.known_static(known, claim.member_id, instance_id)?;
            if let Some(epoch) = claim.epoch {
                check_epoch(member, epoch)?;
            }
            return Ok(member.clone());
        }
        tracing::info!(group = %self.id, member = claim.member_id, instance_id, "a static member joins");
        let Some(former) = known else {
            // A member that was dynamic keeps what it has.
            return Ok(self.member(claim.member_id).cloned().unwrap_or_else(|| Arc::new(Member::new(claim.member_id))));
        };
        let uses_classic_protocol = claim.epoch.is_none();
        if !uses_classic_protocol && !former.uses_classic_protocol() && former.epoch != LEAVE_STATIC_EPOCH {
            let text = format!(
                "Static member {} with instance id {instance_id} cannot join the group because the instance id is owned by {} member.",
                claim.member_id, former.id
            );
            return Err(Refusal::new(ErrorCode::UnreleasedInstanceId, text));
        }
        let mut member = Member::clone(former);
        member.id = claim.member_id.into();
        member.epoch = 0;
        member.previous_epoch = 0;
        self.replace(former, &member, step)?;
        Ok(Arc::new(member))
    }

    /// The static member of this instance id, if it is the one that asks.
    pub(super) fn known_static<'a>(
        &self,
        known: Option<&'a Arc<Member>>,
        member_id: &str,
        instance_id: &str,
    ) -> Result<&'a Arc<Member>, Refusal> {
        let Some(member) = known else {
            return Err(Refusal::new(ErrorCode::UnknownMemberId, format!("Instance id {instance_id} is unknown.")));
        };
        if *member.id != *member_id {
            let text = format!("Static member {member_id} with instance id {instance_id} was fenced by member {}.", member.id);
            return Err(Refusal::new(ErrorCode::FencedInstanceId, text));
        }
        Ok(member)
    }

    /// Stores a member under a new id, with the assignment of the old one.
    fn replace(&self, former: &Member, member: &Member, step: &mut Step) -> Result<(), Refusal> {
        self.remove_records(&former.id, step)?;
        step.records.push(stored::member(&self.id, member)?);
        step.records.push(stored::target(&self.id, &member.id, self.target_of(&former.id).unwrap_or(&Partitions::new()))?);
        step.records.push(stored::current(&self.id, member)?);
        Ok(())
    }

    /// The tombstones of one member.
    pub(super) fn remove_records(&self, member_id: &str, step: &mut Step) -> Result<(), Refusal> {
        step.records.push(stored::current_tombstone(&self.id, member_id)?);
        step.records.push(stored::target_tombstone(&self.id, member_id)?);
        step.records.push(stored::member_tombstone(&self.id, member_id)?);
        Ok(())
    }
}

/// The epoch of a heartbeat must be the member's. The one before is taken from a member that owns no more than what it has now: then the
/// answer that told it the new one was lost. With 0 a member starts over.
fn check_epoch(member: &Member, epoch: Epoch) -> Result<(), Refusal> {
    let received = epoch.received;
    if received == 0 || received == member.epoch {
        return Ok(());
    }
    let known = member.epoch;
    if received > known {
        return Err(fenced("greater", received, known));
    }
    if received != member.previous_epoch || !is_subset(epoch.owned, &member.assigned) {
        return Err(fenced("smaller", received, known));
    }
    Ok(())
}

fn fenced(which: &str, received: i32, known: i32) -> Refusal {
    let text = format!(
        "The consumer group member has a {which} member epoch ({received}) than the one known by the group coordinator ({known}). \
         The member must abandon all its partitions and rejoin."
    );
    Refusal::new(ErrorCode::FencedMemberEpoch, text)
}

fn is_subset(owned: Option<&[TopicPartitions]>, assigned: &PartitionEpochs) -> bool {
    let Some(owned) = owned else { return false };
    owned.iter().all(|t| assigned.get(&t.topic_id).is_some_and(|held| t.partitions.iter().all(|p| held.contains_key(p))))
}
