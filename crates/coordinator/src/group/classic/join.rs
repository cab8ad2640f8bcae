//! JoinGroup: new members, members that come back, static members that return under a new member id.

use std::sync::Arc;

use bytes::Bytes;
use wire::ErrorCode;
use wire::messages::{JoinGroupRequest, JoinGroupResponse};

use super::member::{Joined, Member};
use super::{ClassicGroup, State, Step, for_version, join_error};
use crate::output::{Append, Completion, Effect, Reply, RequestContext, StaticMemberReplaced, Waiting};
use crate::records;

/// One JoinGroup on its way through the group.
struct Join<'a> {
    context: &'a RequestContext,
    request: &'a JoinGroupRequest,
    joined: Joined,
    waiting: Waiting,
}

impl Join<'_> {
    fn reply(&self, response: JoinGroupResponse, step: &mut Step) {
        step.out.reply(self.waiting.token, Reply::JoinGroup(for_version(response, self.waiting.api_version)));
    }

    fn reason(&self) -> &str {
        self.request.reason.as_deref().filter(|r| !r.is_empty()).unwrap_or("not provided")
    }
}

impl ClassicGroup {
    /// Answers now, or parks the request until the rebalance is complete.
    pub(crate) fn join(
        &mut self,
        context: &RequestContext,
        request: &JoinGroupRequest,
        waiting: Waiting,
        rng: &mut fastrand::Rng,
        step: &mut Step,
    ) {
        let join = Join { context, request, joined: Joined::from_request(request), waiting };
        if !self.has_room_for(&request.member_id, step) {
            self.remove(&request.member_id, step.out);
            join.reply(join_error("", ErrorCode::GroupMaxSizeReached), step);
        } else if request.member_id.is_empty() {
            self.join_new(join, rng, step);
        } else {
            self.join_existing(join, step);
        }
    }

    /// New members are accepted up to group.max.size. While a rebalance is prepared only those that wait are counted: the group may be
    /// too large already because the limit was lowered, and then the last to rejoin are turned away.
    fn has_room_for(&self, member_id: &str, step: &Step) -> bool {
        let max = usize::try_from(step.config.group_max_size).unwrap_or(0);
        match self.state {
            State::Empty => true,
            State::PreparingRebalance => {
                self.members.get(member_id).is_some_and(Member::is_awaiting_join) || self.awaiting_join_count < max
            }
            State::CompletingRebalance | State::Stable => self.members.contains_key(member_id) || self.members.len() < max,
        }
    }

    fn join_new(&mut self, join: Join, rng: &mut fastrand::Rng, step: &mut Step) {
        if !self.supports(&join.request.protocol_type, &join.joined.protocols) {
            return join.reply(join_error("", ErrorCode::InconsistentGroupProtocol), step);
        }
        let instance_id = join.request.group_instance_id.as_deref();
        let new_id = generate_member_id(instance_id.unwrap_or(&join.context.client_id), rng);
        match instance_id {
            Some(instance_id) => match self.static_members.get(instance_id).cloned() {
                Some(old_id) => self.rejoin_static(join, instance_id, &old_id, &new_id, step),
                None => self.add_member(join, &new_id, step),
            },
            None if join.waiting.api_version >= 4 => {
                // The member joins again with this id: so a client that gives up does not leave a member behind.
                let id: Arc<str> = new_id.as_str().into();
                self.schedule_session(&id, join.request.session_timeout_ms, step);
                self.pending_join.insert(id);
                join.reply(join_error(&new_id, ErrorCode::MemberIdRequired), step);
            }
            None => self.add_member(join, &new_id, step),
        }
    }

    fn add_member(&mut self, join: Join, member_id: &str, step: &mut Step) {
        if self.state == State::PreparingRebalance && self.previous_state == Some(State::Empty) {
            self.new_member_added = true;
        }
        let reason = format!("new member {member_id}; client reason: {}", join.reason());
        let member = Member {
            id: member_id.into(),
            instance_id: join.request.group_instance_id.clone(),
            client_id: join.context.client_id.clone(),
            client_host: records::java_client_host(join.context.client_address),
            joined: join.joined,
            assignment: Bytes::new(),
            awaiting_join: None,
            awaiting_sync: None,
            is_new: true,
        };
        let id = member.id.clone();
        self.add(member, &join.request.protocol_type, Some(join.waiting));
        // A new member cannot send heartbeats while its first JoinGroup is parked, and its disconnect is not seen.
        self.schedule_session(&id, step.config.new_member_join_timeout_ms, step);
        self.prepare_rebalance_or_complete_join(&reason, step);
    }

    fn join_existing(&mut self, join: Join, step: &mut Step) {
        let member_id = join.request.member_id.as_str();
        if !self.supports(&join.request.protocol_type, &join.joined.protocols) {
            return join.reply(join_error(member_id, ErrorCode::InconsistentGroupProtocol), step);
        }
        if self.pending_join.contains(member_id) {
            if join.request.group_instance_id.is_some() {
                // Reserved ids are only given to dynamic members.
                return join.reply(join_error("", ErrorCode::UnknownServerError), step);
            }
            let member_id = member_id.to_owned();
            return self.add_member(join, &member_id, step);
        }
        if let Err(error) = self.validate_member(member_id, join.request.group_instance_id.as_deref()) {
            return join.reply(join_error(member_id, error), step);
        }
        let unchanged = self.members.get(member_id).is_some_and(|m| m.joined.protocols == join.joined.protocols);
        let answer_now = match self.state {
            State::PreparingRebalance => false,
            // The answer to the first JoinGroup was lost.
            State::CompletingRebalance => unchanged,
            // The leader may ask for a rebalance for reasons that its metadata does not show, such as new partitions.
            State::Stable => unchanged && !self.is_leader(member_id),
            State::Empty => return join.reply(join_error(member_id, ErrorCode::UnknownMemberId), step),
        };
        if answer_now {
            let response = self.join_response(member_id, false);
            return join.reply(response, step);
        }
        let reason = format!("member {member_id} is joining again in state {}; client reason: {}", self.state.name(), join.reason());
        self.update_member(member_id, join.joined, Some(join.waiting), step.out);
        self.prepare_rebalance_or_complete_join(&reason, step);
    }

    /// A static member that restarted takes the place of its former self. In a stable group that needs no rebalance.
    fn rejoin_static(&mut self, join: Join, instance_id: &str, old_id: &str, new_id: &str, step: &mut Step) {
        let leader_before = self.leader_id.as_deref().map(str::to_owned);
        self.replace_static_member(instance_id, old_id, new_id, step.out);
        self.cancel_session(old_id, step.timers);
        self.restart_session(new_id, step);
        let Some(old) = self.members.get(new_id).map(|m| m.joined.clone()) else { return };
        let waiting = join.waiting;
        let reason = format!("static member {instance_id} joined as {new_id}; client reason: {}", join.reason());
        self.update_member(new_id, join.joined, Some(waiting), step.out);
        match self.state {
            State::Stable if self.protocol_name == self.select_protocol() => {
                let append = StaticMemberReplaced {
                    group_id: self.id.to_string(),
                    instance_id: instance_id.to_owned(),
                    waiting,
                    leader_before,
                    old,
                    old_member_id: old_id.to_owned(),
                    new_member_id: new_id.to_owned(),
                };
                self.store_static_member(append, step);
            }
            State::Stable => self.prepare_rebalance(&reason, step),
            // The leader may have been told the old member id already, so its assignment would miss the new one.
            State::CompletingRebalance => self.prepare_rebalance(&reason, step),
            State::PreparingRebalance | State::Empty => self.maybe_complete_join(step),
        }
    }

    fn store_static_member(&mut self, replaced: StaticMemberReplaced, step: &mut Step) {
        match records::group_metadata(self, &self.assignment()) {
            Ok(record) => step.out.appends.push(Append {
                records: vec![record],
                producer: None,
                effect: Effect::None,
                completion: Completion::StaticMemberReplaced(Box::new(replaced)),
            }),
            Err(error) => {
                tracing::error!(group = %self.id, %error, "cannot store a static member");
                self.static_member_failed(replaced, ErrorCode::UnknownServerError, step);
            }
        }
    }

    /// The new member id is in the log: the member goes on with the assignment it had.
    pub(crate) fn static_member_stored(&mut self, replaced: StaticMemberReplaced, step: &mut Step) {
        let id = replaced.new_member_id.as_str();
        if self.members.get(id).and_then(|m| m.awaiting_join) != Some(replaced.waiting) {
            return;
        }
        let response = if replaced.waiting.api_version >= 9 {
            self.join_response(id, self.is_leader(id))
        } else {
            // Older clients cannot be told to skip the assignment: they are told the old leader, so they do not compute one.
            JoinGroupResponse { leader: replaced.leader_before.unwrap_or_default(), members: Vec::new(), ..self.join_response(id, false) }
        };
        self.answer_join(id, response, step.out);
    }

    /// The new member id could not be stored: the old one stays.
    pub(crate) fn static_member_failed(&mut self, replaced: StaticMemberReplaced, error: ErrorCode, step: &mut Step) {
        let new_id = replaced.new_member_id.as_str();
        if self.static_members.get(&replaced.instance_id).map(|id| &**id) != Some(new_id) {
            return;
        }
        let response = JoinGroupResponse {
            error_code: error.code(),
            member_id: String::new(),
            leader: replaced.leader_before.unwrap_or_default(),
            members: Vec::new(),
            ..self.join_response(new_id, false)
        };
        self.answer_join(new_id, response, step.out);
        self.update_member(new_id, replaced.old, None, step.out);
        self.replace_static_member(&replaced.instance_id, new_id, &replaced.old_member_id, step.out);
        self.cancel_session(new_id, step.timers);
        self.restart_session(&replaced.old_member_id, step);
    }

    /// The first record of the group could not be stored; the group is about to be dropped.
    pub(crate) fn creation_failed(&mut self, error: ErrorCode, step: &mut Step) {
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            self.answer_join(&id, join_error("", error), step.out);
        }
        self.cancel_timers(step.timers);
    }
}

/// Client id or instance id, a dash, and a random UUID in Java's form.
fn generate_member_id(prefix: &str, rng: &mut fastrand::Rng) -> String {
    let mut bytes = rng.u128(..).to_be_bytes();
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let n = u128::from_be_bytes(bytes);
    format!(
        "{prefix}-{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        (n >> 96) as u32,
        (n >> 80) as u16,
        (n >> 64) as u16,
        (n >> 48) as u16,
        n & 0xffff_ffff_ffff
    )
}
