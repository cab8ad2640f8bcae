//! Members that go: by a good-bye, by a timeout, by LeaveGroup. Kafka: consumerGroupLeave and consumerGroupFenceMembers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wire::ErrorCode;
use wire::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

use super::member::{LEAVE_STATIC_EPOCH, Member, PartitionEpochs};
use super::{ConsumerGroup, Context, Refusal, Step, stored};
use crate::timers::{Due, Timer};

impl ConsumerGroup {
    /// Who says good-bye with this heartbeat.
    pub(crate) fn leaving(&self, request: &ConsumerGroupHeartbeatRequest) -> Result<Arc<Member>, Refusal> {
        match request.instance_id.as_deref() {
            None => match self.member(&request.member_id) {
                Some(member) => Ok(member.clone()),
                None => Err(Refusal::unknown_member(&self.id, &request.member_id)),
            },
            Some(instance_id) => self.known_static(self.static_member(instance_id), &request.member_id, instance_id).cloned(),
        }
    }

    /// A static member that will be back: it keeps its place and its partitions until its session ends.
    pub(crate) fn leave_for_now(&self, member: &Member, step: &mut Step) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        tracing::info!(group = %self.id, member = %member.id, "a static member leaves for now");
        let mut away = member.clone();
        away.epoch = LEAVE_STATIC_EPOCH;
        away.pending_revocation = Arc::default();
        let reset = |held: &BTreeMap<i32, i32>| held.keys().map(|partition| (*partition, 0)).collect();
        away.assigned = Arc::new(member.assigned.iter().map(|(topic, held)| (*topic, reset(held))).collect::<PartitionEpochs>());
        step.records.push(stored::current(&self.id, &away)?);
        Ok(ConsumerGroupHeartbeatResponse {
            member_id: Some(member.id.to_string()),
            member_epoch: LEAVE_STATIC_EPOCH,
            ..Default::default()
        })
    }

    /// Removes members; the group epoch moves on, and the others get what they had with the next assignment.
    pub(crate) fn fence(&self, c: &Context, members: &[Arc<Member>], step: &mut Step) -> Result<(), Refusal> {
        for member in members {
            self.remove_records(&member.id, step)?;
        }
        let mut next = self.subscriptions.clone();
        members.iter().for_each(|member| next.remove_member(member));
        let regexes: BTreeSet<&str> = members.iter().filter_map(|m| m.regex()).collect();
        for regex in regexes {
            if next.members_with(regex) > 0 {
                continue;
            }
            step.records.push(stored::regex_tombstone(&self.id, regex)?);
            if let Some(resolved) = self.resolved.get(regex) {
                next.remove_resolved(resolved);
            }
        }
        let hash = c.cluster.metadata_hash(next.topics());
        step.records.push(stored::epoch(&self.id, self.epoch.saturating_add(1), hash)?);
        for member in members {
            self.member_timers(&member.id).into_iter().for_each(|timer| step.cancel(timer));
        }
        Ok(())
    }

    pub(crate) fn member_timers(&self, member: &Arc<str>) -> [Timer; 4] {
        let (group, member) = (self.id.clone(), member.clone());
        [
            Timer::Session { group: group.clone(), member: member.clone() },
            Timer::Rebalance { group: group.clone(), member: member.clone() },
            Timer::MemberJoin { group: group.clone(), member: member.clone() },
            Timer::MemberSync { group, member },
        ]
    }

    /// Whether the member is to go now that its timer is due.
    pub(crate) fn timed_out(&self, timer: &Timer, due: Due) -> Option<Arc<Member>> {
        let (Timer::Session { member, .. }
        | Timer::Rebalance { member, .. }
        | Timer::MemberJoin { member, .. }
        | Timer::MemberSync { member, .. }) = timer
        else {
            return None;
        };
        let member = self.members.get(member)?;
        let why = match due {
            Due::Session => "the member session expired",
            Due::Rebalance { epoch } if epoch == member.epoch => "the member has not given up its partitions in time",
            Due::MemberJoin => "the classic member failed to join within the rebalance timeout",
            Due::MemberSync => "the member failed to sync within timeout",
            _ => return None,
        };
        tracing::info!(group = %self.id, member = %member.id, why, "a member is fenced");
        Some(member.clone())
    }
}

/// The answer to a good-bye for good.
pub(crate) fn left(request: &ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse {
        error_code: ErrorCode::None.code(),
        member_id: Some(request.member_id.clone()),
        member_epoch: request.member_epoch,
        ..Default::default()
    }
}
