//! Members of a consumer group that speak the classic protocol: JoinGroup leads them one step towards their target, SyncGroup tells what
//! they hold, Heartbeat tells them to join again. Kafka: classicGroupJoinToConsumerGroup, …SyncTo…, …HeartbeatTo… and …LeaveTo….

use std::sync::Arc;

use bytes::Bytes;
use wire::ErrorCode;
use wire::messages::consumer_group_heartbeat_request::TopicPartitions;
use wire::messages::leave_group_request::MemberIdentity;
use wire::messages::leave_group_response::MemberResponse;
use wire::messages::{
    ConsumerProtocolSubscription, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, SyncGroupRequest, SyncGroupResponse,
};

use super::heartbeat::topic_names;
use super::member::{ClassicMember, Member, MemberState};
use super::reconcile::Towards;
use super::static_member::Claim;
use super::step::TimerChange;
use super::subscribe::RegexChange;
use super::{ConsumerGroup, Context, Downgrade, Refusal, Step, embedded};
use crate::assignor::Partitions;
use crate::config::MigrationPolicy;
use crate::group::classic::CONSUMER_PROTOCOL_TYPE;
use crate::output::RequestContext;
use crate::records::java_client_host;
use crate::timers::{Due, Timer};

/// From here on a dynamic member is given its id before it joins.
const KNOWN_MEMBER_ID_VERSION: i16 = 4;

/// The member that sends a request of the classic protocol after it has joined.
struct Sender<'a> {
    member: &'a Arc<Member>,
    classic: &'a ClassicMember,
}

impl ConsumerGroup {
    /// A JoinGroup. `new_id` is for a member that has no id yet.
    pub(crate) fn classic_join(
        &self,
        c: &Context,
        from: &RequestContext,
        request: &JoinGroupRequest,
        new_id: &str,
        step: &mut Step,
    ) -> Result<(JoinGroupResponse, Option<Downgrade>), Refusal> {
        if c.config.consumer_migration_policy == MigrationPolicy::Disabled {
            let text =
                format!("Cannot join the consumer group {} with the classic protocol because the group migration is disabled.", self.id);
            return Err(Refusal::new(ErrorCode::InconsistentGroupProtocol, text));
        }
        let is_unknown = request.member_id.is_empty();
        let member_id = if is_unknown { new_id } else { &request.member_id };
        self.check_room(c, member_id)?;
        if !self.supports_classic(request) {
            let text = format!("Member {member_id}'s protocols are not supported.");
            return Err(Refusal::new(ErrorCode::InconsistentGroupProtocol, text));
        }
        let instance_id = request.group_instance_id.as_deref();
        if is_unknown && instance_id.is_none() && from.api_version >= KNOWN_MEMBER_ID_VERSION {
            let error_code = ErrorCode::MemberIdRequired.code();
            return Ok((JoinGroupResponse { member_id: member_id.to_owned(), error_code, ..Default::default() }, None));
        }
        let claim = Claim { member_id, instance_id, joins: instance_id.is_none() || is_unknown, epoch: None };
        let before = self.identify(&claim, step)?;
        let replaced = instance_id.and_then(|id| self.static_member(id)).filter(|former| self.downgrades_in_place_of(c, former));
        let subscription = subscription_of(request)?;
        let updated = told(&before, from, request, &subscription);
        let protocol_name = request.protocols.first().map(|p| p.name.clone());

        let names_changed = self.store_member(&before, &updated, step)?;
        let regex_change = self.update_regexes(c, &before, &updated, step)?;
        let bump = names_changed || regex_change != RegexChange::None;
        let next = self.update_metadata(c, bump, &before, &updated, step)?;
        let owned = owned_of(c, &subscription);
        let towards = |target_epoch, target| Towards { target_epoch, target, subscription_changed: bump, owned: Some(&owned) };

        let (member, downgrade) = if let Some(replaced) = replaced {
            // Kafka goes on without a rebalance when the target is up to date. Yet others may still hold what it gives to this member, and nobody
            // would know that it is the leader, who alone looks after changes of the topics.
            let downgrade = self.downgrade_with(c, &updated, &replaced.id, step)?;
            (updated, Some(downgrade))
        } else {
            let target = self.update_target(c, next.epoch, &before, &updated, next.homogeneous, step)?;
            (self.reconcile(c, updated, &towards(target.epoch, &target.partitions), step)?, None)
        };

        step.cancel(self.timer_of(&member, |group, member| Timer::MemberJoin { group, member }));
        if downgrade.is_none() {
            step.set(self.timer_of(&member, session), request.session_timeout_ms, Due::Session);
            let sync = self.timer_of(&member, |group, member| Timer::MemberSync { group, member });
            step.set(sync, request.rebalance_timeout_ms, Due::MemberSync);
        }
        let response = JoinGroupResponse {
            member_id: member.id.to_string(),
            generation_id: member.epoch,
            protocol_type: Some(CONSUMER_PROTOCOL_TYPE.to_owned()),
            protocol_name,
            ..Default::default()
        };
        Ok((response, downgrade))
    }

    /// Consumers only, and with a protocol that all classic members have.
    fn supports_classic(&self, request: &JoinGroupRequest) -> bool {
        let common = |name: &str| self.classic_protocols.get(name).copied().unwrap_or(0) == self.classic_members;
        request.protocol_type == CONSUMER_PROTOCOL_TYPE && request.protocols.iter().any(|p| common(&p.name))
    }

    fn timer_of(&self, member: &Member, timer: fn(Arc<str>, Arc<str>) -> Timer) -> Timer {
        timer(self.id.clone(), member.id.clone())
    }

    /// A SyncGroup: what the member holds. Timers of the step count also when it is refused.
    pub(crate) fn classic_sync(&self, c: &Context, request: &SyncGroupRequest, step: &mut Step) -> Result<SyncGroupResponse, Refusal> {
        let Sender { member, classic } = self.sender(&request.member_id, request.group_instance_id.as_deref(), request.generation_id)?;
        let Some((protocol, metadata)) = classic.protocols.first() else {
            return Err(Refusal { error: ErrorCode::UnknownServerError, message: None });
        };
        let other_type = request.protocol_type.as_deref().is_some_and(|t| t != CONSUMER_PROTOCOL_TYPE);
        if other_type || request.protocol_name.as_ref().is_some_and(|name| name != protocol) {
            return Err(Refusal { error: ErrorCode::InconsistentGroupProtocol, message: None });
        }
        // A member that has to revoke has joined for this rebalance already.
        if self.target.epoch > member.epoch && member.state != MemberState::UnrevokedPartitions {
            self.expect_join(member, step);
            return Err(Refusal { error: ErrorCode::RebalanceInProgress, message: None });
        }
        let held: Partitions = member.assigned.iter().map(|(topic, held)| (*topic, held.keys().copied().collect())).collect();
        let version = embedded::version(metadata).map_err(|_| Refusal { error: ErrorCode::UnknownServerError, message: None })?;
        let assignment: Bytes = embedded::encode(c.cluster, &held, version)?;
        step.cancel(self.timer_of(member, |group, member| Timer::MemberSync { group, member }));
        step.set(self.timer_of(member, session), classic.session_timeout_ms, Due::Session);
        Ok(SyncGroupResponse {
            protocol_type: request.protocol_type.clone(),
            protocol_name: request.protocol_name.clone(),
            assignment,
            ..Default::default()
        })
    }

    /// A Heartbeat. REBALANCE_IN_PROGRESS makes the member join again, which is how it gets on.
    pub(crate) fn classic_heartbeat(&self, request: &HeartbeatRequest, step: &mut Step) -> Result<(), Refusal> {
        let Sender { member, classic } = self.sender(&request.member_id, request.group_instance_id.as_deref(), request.generation_id)?;
        step.set(self.timer_of(member, session), classic.session_timeout_ms, Due::Session);
        let can_get_on = member.epoch < self.target.epoch
            || member.state == MemberState::UnrevokedPartitions
            || (member.state == MemberState::UnreleasedPartitions && !self.waits_for_others(member));
        if can_get_on {
            self.expect_join(member, step);
            return Err(Refusal { error: ErrorCode::RebalanceInProgress, message: None });
        }
        Ok(())
    }

    /// Whether something of its target is still held by another member.
    fn waits_for_others(&self, member: &Member) -> bool {
        self.target_of(&member.id).into_iter().flatten().any(|(topic, target)| {
            let held = member.assigned.get(topic);
            target.iter().any(|p| held.is_none_or(|h| !h.contains_key(p)) && self.held_at(*topic, *p).is_some())
        })
    }

    fn expect_join(&self, member: &Member, step: &mut Step) {
        let timer = self.timer_of(member, |group, member| Timer::MemberJoin { group, member });
        step.timers.push(TimerChange::SetIfAbsent { timer, delay_ms: i64::from(member.rebalance_timeout_ms), due: Due::MemberJoin });
    }

    fn sender(&self, member_id: &str, instance_id: Option<&str>, generation_id: i32) -> Result<Sender<'_>, Refusal> {
        let member = match instance_id {
            None => self.member(member_id).ok_or_else(|| Refusal::unknown_member(&self.id, member_id))?,
            Some(instance_id) => self.known_static(self.static_member(instance_id), member_id, instance_id)?,
        };
        let Some(classic) = &member.classic else {
            let text = format!("Member {member_id} does not use the classic protocol.");
            return Err(Refusal::new(ErrorCode::UnknownMemberId, text));
        };
        if member.epoch != generation_id {
            return Err(Refusal { error: ErrorCode::IllegalGeneration, message: None });
        }
        Ok(Sender { member, classic })
    }

    /// Who of a LeaveGroup is a member, and the answer for each.
    pub(crate) fn classic_leave(&self, identities: &[MemberIdentity]) -> (Vec<Arc<Member>>, Vec<MemberResponse>) {
        let mut leaving: Vec<Arc<Member>> = Vec::new();
        let mut responses = Vec::with_capacity(identities.len());
        for identity in identities {
            let found = self.who_leaves(identity);
            responses.push(MemberResponse {
                member_id: identity.member_id.clone(),
                group_instance_id: identity.group_instance_id.clone(),
                error_code: found.as_ref().err().map_or(ErrorCode::None, |refusal| refusal.error).code(),
                ..Default::default()
            });
            if let Ok(member) = found {
                let reason = identity.reason.as_deref().unwrap_or("not provided");
                tracing::info!(group = %self.id, member = %member.id, reason, "a member has left");
                if !leaving.iter().any(|m| m.id == member.id) {
                    leaving.push(member.clone());
                }
            }
        }
        (leaving, responses)
    }

    fn who_leaves(&self, identity: &MemberIdentity) -> Result<&Arc<Member>, Refusal> {
        let member_id = identity.member_id.as_str();
        match identity.group_instance_id.as_deref() {
            None => self.member(member_id).ok_or_else(|| Refusal::unknown_member(&self.id, member_id)),
            Some(instance_id) => {
                let known = self.static_member(instance_id);
                // Administrators remove static members by their instance ids alone.
                let member_id = if member_id.is_empty() { known.map_or("", |m| &m.id) } else { member_id };
                self.known_static(known, member_id, instance_id)
            }
        }
    }
}

fn session(group: Arc<str>, member: Arc<str>) -> Timer {
    Timer::Session { group, member }
}

fn subscription_of(request: &JoinGroupRequest) -> Result<ConsumerProtocolSubscription, Refusal> {
    let metadata = request.protocols.first().map(|p| &p.metadata);
    let subscription = metadata.and_then(|metadata| embedded::subscription(metadata).ok());
    subscription.ok_or_else(|| {
        tracing::warn!(group = %request.group_id, member = %request.member_id, "the subscription of a classic member cannot be read");
        Refusal { error: ErrorCode::UnknownServerError, message: None }
    })
}

/// What the member says that it holds.
fn owned_of(c: &Context, subscription: &ConsumerProtocolSubscription) -> Vec<TopicPartitions> {
    let topic = |t: &wire::messages::consumer_protocol_subscription::TopicPartition| {
        let topic_id = c.cluster.topic_id(&t.topic)?;
        Some(TopicPartitions { topic_id, partitions: t.partitions.clone(), ..Default::default() })
    };
    subscription.owned_partitions.iter().filter_map(topic).collect()
}

fn told(before: &Member, from: &RequestContext, request: &JoinGroupRequest, subscription: &ConsumerProtocolSubscription) -> Member {
    let rack_id = subscription.rack_id.clone().filter(|rack| !rack.is_empty());
    let mut protocols: Vec<(String, Bytes)> = Vec::new();
    for protocol in &request.protocols {
        if !protocols.iter().any(|(name, _)| *name == protocol.name) {
            // Copied, so that a member does not keep the buffer of its whole request alive.
            protocols.push((protocol.name.clone(), Bytes::copy_from_slice(&protocol.metadata)));
        }
    }
    Member {
        instance_id: request.group_instance_id.clone().or_else(|| before.instance_id.clone()),
        rack_id: rack_id.or_else(|| before.rack_id.clone()),
        rebalance_timeout_ms: if request.rebalance_timeout_ms == -1 { before.rebalance_timeout_ms } else { request.rebalance_timeout_ms },
        topic_names: topic_names(before, Some(&subscription.topics)),
        topic_regex: Some(String::new()),
        client_id: from.client_id.clone(),
        client_host: java_client_host(from.client_address),
        classic: Some(Arc::new(ClassicMember { session_timeout_ms: request.session_timeout_ms, protocols })),
        ..before.clone()
    }
}
