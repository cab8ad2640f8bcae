//! Owns: the membership of one classic group (JoinGroup, SyncGroup, Heartbeat, LeaveGroup). Used by the shard.
//! Membership while a rebalance runs is memory only; the log holds what the last completed rebalance stored. Protocols and assignments
//! are opaque bytes here, so eager and cooperative consumers, Connect and everything else are the same. Never reads a clock, never writes.
//! Kafka: ClassicGroup, ClassicGroupState.
//!
//! `rebalance` holds the phases; `join`, `sync`, `heartbeat` and `leave` are the requests; `load` is the way back from the log.

mod heartbeat;
mod join;
mod leave;
mod load;
pub(crate) mod member;
mod protocol;
mod rebalance;
mod sync;
mod view;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use base::Now;
use bytes::Bytes;
use wire::ErrorCode;
use wire::messages::{JoinGroupResponse, SyncGroupResponse};

use crate::config::GroupConfig;
use crate::output::{Output, Reply, Waiting};
use crate::timers::{Due, Timer, Timers};
use member::{Joined, Member};

/// The protocol type of consumers, whose metadata the coordinator may look into for the topic names.
pub(crate) const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// No members; kept for its offsets.
    Empty,
    /// Waits for the members to join.
    PreparingRebalance,
    /// Waits for the leader's assignment.
    CompletingRebalance,
    Stable,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }
}

/// What a step of a group works with besides the group.
pub(crate) struct Step<'a> {
    pub(crate) now: Now,
    pub(crate) config: &'a GroupConfig,
    pub(crate) timers: &'a mut Timers,
    pub(crate) out: &'a mut Output,
}

#[derive(Debug)]
pub(crate) struct ClassicGroup {
    id: Arc<str>,
    state: State,
    previous_state: Option<State>,
    /// When the group entered its state, in wall-clock milliseconds. Unknown for groups stored by old brokers.
    state_timestamp_ms: Option<i64>,
    protocol_type: Option<String>,
    protocol_name: Option<String>,
    generation_id: i32,
    leader_id: Option<Arc<str>>,
    members: BTreeMap<Arc<str>, Member>,
    /// Instance id to member id.
    static_members: HashMap<String, Arc<str>>,
    /// Member ids given out by MEMBER_ID_REQUIRED that have not joined yet.
    pending_join: BTreeSet<Arc<str>>,
    /// Members that must still send SyncGroup in this generation.
    pending_sync: BTreeSet<Arc<str>>,
    awaiting_join_count: usize,
    /// How many members support each protocol.
    supported_protocols: HashMap<String, usize>,
    /// The topics that the members subscribe to; `None` when that cannot be known.
    subscribed_topics: Option<BTreeSet<String>>,
    /// A member joined during the initial rebalance delay, so the delay may be extended.
    new_member_added: bool,
}

impl ClassicGroup {
    pub(crate) fn new(id: &str, now: Now) -> Self {
        Self {
            id: id.into(),
            state: State::Empty,
            previous_state: None,
            state_timestamp_ms: Some(now.wall_ms),
            protocol_type: None,
            protocol_name: None,
            generation_id: 0,
            leader_id: None,
            members: BTreeMap::new(),
            static_members: HashMap::new(),
            pending_join: BTreeSet::new(),
            pending_sync: BTreeSet::new(),
            awaiting_join_count: 0,
            supported_protocols: HashMap::new(),
            subscribed_topics: None,
            new_member_added: false,
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.state == State::Empty
    }

    /// Holds offsets for clients that do not use group membership; not backed by a record of its own.
    pub(crate) fn is_simple(&self) -> bool {
        self.protocol_type.is_none() && self.is_empty() && self.pending_join.is_empty()
    }

    pub(crate) fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL_TYPE)
    }

    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed_topics {
            Some(topics) => topics.contains(topic),
            None => self.uses_consumer_protocol(),
        }
    }

    pub(crate) fn generation_id(&self) -> i32 {
        self.generation_id
    }

    pub(crate) fn members(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.members.values()
    }

    /// The protocol of the generation; before there is one, that which would be chosen now.
    pub(crate) fn chosen_protocol(&self) -> Option<String> {
        self.protocol_name.clone().or_else(|| self.select_protocol())
    }

    /// What a member says of itself in the protocol of the generation.
    pub(crate) fn metadata_of(&self, member_id: &str) -> Option<&Bytes> {
        self.members.get(member_id)?.metadata(self.protocol_name.as_deref()?)
    }

    pub(crate) fn set_assignment(&mut self, member_id: &str, assignment: Bytes) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.assignment = assignment;
        }
    }

    fn is_leader(&self, member_id: &str) -> bool {
        self.leader_id.as_deref() == Some(member_id)
    }

    fn leader_name(&self) -> String {
        self.leader_id.as_deref().unwrap_or_default().to_owned()
    }

    fn has_all_members_joined(&self) -> bool {
        self.members.len() == self.awaiting_join_count && self.pending_join.is_empty()
    }

    fn rebalance_timeout_ms(&self) -> i32 {
        self.members.values().map(|m| m.joined.rebalance_timeout_ms).max().unwrap_or(0).max(0)
    }

    fn transition_to(&mut self, state: State, now: Now) {
        let valid = match state {
            State::Empty | State::CompletingRebalance => self.state == State::PreparingRebalance,
            State::PreparingRebalance => self.state != State::PreparingRebalance,
            State::Stable => self.state == State::CompletingRebalance,
        };
        assert!(valid, "group {} cannot go from {:?} to {:?}", self.id, self.state, state);
        self.previous_state = Some(self.state);
        self.state = state;
        self.state_timestamp_ms = Some(now.wall_ms);
    }

    /// The checks that every request of a member passes: an instance id must be known and must belong to the member id.
    pub(crate) fn validate_member(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance_id) = instance_id {
            match self.static_members.get(instance_id) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(current) if &**current != member_id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) { Ok(()) } else { Err(ErrorCode::UnknownMemberId) }
    }

    fn add(&mut self, mut member: Member, protocol_type: &str, waiting: Option<Waiting>) {
        if self.members.is_empty() {
            self.protocol_type = Some(protocol_type.to_owned());
        }
        if let Some(instance_id) = &member.instance_id {
            self.static_members.insert(instance_id.clone(), member.id.clone());
        }
        if self.leader_id.is_none() {
            self.leader_id = Some(member.id.clone());
        }
        self.pending_join.remove(&member.id);
        member.awaiting_join = waiting;
        if waiting.is_some() {
            self.awaiting_join_count += 1;
        }
        self.count_protocols(&member.joined, 1);
        self.members.insert(member.id.clone(), member);
    }

    /// Forgets a member or a reserved member id. Requests of it that are still parked are told that it is unknown.
    fn remove(&mut self, member_id: &str, out: &mut Output) {
        self.answer_join(member_id, unknown_member(), out);
        self.answer_sync(member_id, sync_error(ErrorCode::UnknownMemberId), out);
        if let Some(member) = self.members.remove(member_id) {
            self.count_protocols(&member.joined, -1);
            if let Some(instance_id) = &member.instance_id {
                self.static_members.remove(instance_id);
            }
        }
        if self.is_leader(member_id) {
            self.leader_id = self.members.keys().next().cloned();
        }
        self.pending_join.remove(member_id);
        self.pending_sync.remove(member_id);
    }

    /// Takes what a member says when it joins again, and parks its request.
    fn update_member(&mut self, member_id: &str, joined: Joined, waiting: Option<Waiting>, out: &mut Output) {
        // A client that gave up on an earlier JoinGroup sends a second one: the first still has to be answered.
        self.answer_join(member_id, join_error(member_id, ErrorCode::RebalanceInProgress), out);
        let Some(member) = self.members.get_mut(member_id) else { return };
        let before = std::mem::replace(&mut member.joined, joined.clone());
        member.awaiting_join = waiting;
        if waiting.is_some() {
            self.awaiting_join_count += 1;
        }
        self.count_protocols(&before, -1);
        self.count_protocols(&joined, 1);
    }

    /// Puts a static member under a new member id. Whoever still waits under the old one is fenced.
    fn replace_static_member(&mut self, instance_id: &str, old_id: &str, new_id: &str, out: &mut Output) {
        self.answer_join(old_id, join_error(old_id, ErrorCode::FencedInstanceId), out);
        self.answer_sync(old_id, sync_error(ErrorCode::FencedInstanceId), out);
        let Some(mut member) = self.members.remove(old_id) else { return };
        let new_id: Arc<str> = new_id.into();
        member.id = new_id.clone();
        member.is_new = false;
        self.members.insert(new_id.clone(), member);
        if self.is_leader(old_id) {
            self.leader_id = Some(new_id.clone());
        }
        if self.pending_sync.remove(old_id) {
            self.pending_sync.insert(new_id.clone());
        }
        self.static_members.insert(instance_id.to_owned(), new_id);
    }

    fn answer_join(&mut self, member_id: &str, response: JoinGroupResponse, out: &mut Output) {
        let Some(waiting) = self.members.get_mut(member_id).and_then(|m| m.awaiting_join.take()) else { return };
        self.awaiting_join_count -= 1;
        out.reply(waiting.token, Reply::JoinGroup(for_version(response, waiting.api_version)));
    }

    /// Whether there was a request to answer.
    fn answer_sync(&mut self, member_id: &str, response: SyncGroupResponse, out: &mut Output) -> bool {
        let Some(waiting) = self.members.get_mut(member_id).and_then(|m| m.awaiting_sync.take()) else { return false };
        out.reply(waiting.token, Reply::SyncGroup(response));
        true
    }

    fn schedule_session(&self, member_id: &Arc<str>, delay_ms: i32, step: &mut Step) {
        let timer = Timer::Session { group: self.id.clone(), member: member_id.clone() };
        step.timers.schedule(timer, step.now.mono, i64::from(delay_ms), Due::Session);
    }

    /// Expects the next heartbeat of the member within its session timeout.
    pub(crate) fn restart_session(&self, member_id: &str, step: &mut Step) {
        if let Some(member) = self.members.get(member_id) {
            self.schedule_session(&member.id, member.joined.session_timeout_ms, step);
        }
    }

    fn cancel_session(&self, member_id: &str, timers: &mut Timers) {
        timers.cancel(&Timer::Session { group: self.id.clone(), member: member_id.into() });
    }

    /// Drops every timer of the group; for when it is deleted.
    pub(crate) fn cancel_timers(&self, timers: &mut Timers) {
        timers.cancel(&Timer::Join { group: self.id.clone() });
        timers.cancel(&Timer::Sync { group: self.id.clone() });
        for member in self.members.keys().chain(&self.pending_join) {
            timers.cancel(&Timer::Session { group: self.id.clone(), member: member.clone() });
        }
    }

    /// Answers every parked request with `error`; for when the shard is taken away.
    pub(crate) fn answer_all(&mut self, error: ErrorCode, out: &mut Output) {
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            self.answer_join(&id, join_error(&id, error), out);
            self.answer_sync(&id, sync_error(error), out);
        }
    }
}

pub(crate) fn join_error(member_id: &str, error: ErrorCode) -> JoinGroupResponse {
    JoinGroupResponse { member_id: member_id.to_owned(), error_code: error.code(), ..Default::default() }
}

pub(crate) fn sync_error(error: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse { error_code: error.code(), assignment: Bytes::new(), ..Default::default() }
}

fn unknown_member() -> JoinGroupResponse {
    join_error("", ErrorCode::UnknownMemberId)
}

/// Versions before 7 cannot say that there is no protocol; later ones do not say it with an empty name.
pub(crate) fn for_version(mut response: JoinGroupResponse, api_version: i16) -> JoinGroupResponse {
    if api_version < 7 {
        response.protocol_name.get_or_insert_default();
    } else if response.protocol_name.as_deref() == Some("") {
        response.protocol_name = None;
    }
    response
}
