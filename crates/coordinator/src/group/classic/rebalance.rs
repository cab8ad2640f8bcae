//! The phases of a rebalance: prepare, complete the join, wait for syncs; and the timers that push them on.

use std::sync::Arc;

use wire::ErrorCode;
use wire::messages::JoinGroupResponse;
use wire::messages::join_group_response::JoinGroupResponseMember;

use super::{ClassicGroup, State, Step};
use crate::output::{Append, Completion, Effect};
use crate::records;
use crate::timers::{Due, Timer};

/// Members may ask for a rebalance timeout of 0, and must not keep the timer busy with it.
const POSTPONED_JOIN_MS_MIN: i32 = 500;

impl ClassicGroup {
    /// Starts a rebalance when the state allows it, else completes the one that runs if all members are there.
    pub(super) fn prepare_rebalance_or_complete_join(&mut self, reason: &str, step: &mut Step) {
        if self.state == State::PreparingRebalance {
            self.maybe_complete_join(step);
        } else {
            self.prepare_rebalance(reason, step);
        }
    }

    pub(crate) fn prepare_rebalance(&mut self, reason: &str, step: &mut Step) {
        if self.state == State::CompletingRebalance {
            self.reset_assignments(ErrorCode::RebalanceInProgress, step);
        }
        self.pending_sync.clear();
        step.timers.cancel(&Timer::Sync { group: self.id.clone() });

        let initial = self.state == State::Empty;
        self.transition_to(State::PreparingRebalance, step.now);
        tracing::info!(group = %self.id, generation = self.generation_id, reason, "preparing to rebalance");
        if initial {
            // The first members of a group rarely come alone: wait a little for the others.
            let delay_ms = step.config.group_initial_rebalance_delay_ms;
            let remaining_ms = self.rebalance_timeout_ms().saturating_sub(delay_ms).max(0);
            self.schedule_join(delay_ms, Due::InitialRebalance { delay_ms, remaining_ms }, step);
        } else if self.has_all_members_joined() {
            self.complete_join(step);
        } else {
            self.schedule_join(self.rebalance_timeout_ms(), Due::CompleteJoin, step);
        }
    }

    fn schedule_join(&self, delay_ms: i32, due: Due, step: &mut Step) {
        step.timers.schedule(Timer::Join { group: self.id.clone() }, step.now.mono, i64::from(delay_ms), due);
    }

    /// The initial delay is over. It is extended while members keep coming, up to the rebalance timeout.
    pub(crate) fn on_initial_delay(&mut self, delay_ms: i32, remaining_ms: i32, step: &mut Step) {
        if self.new_member_added && remaining_ms != 0 {
            self.new_member_added = false;
            let next_delay_ms = step.config.group_initial_rebalance_delay_ms.min(remaining_ms);
            let next_remaining_ms = remaining_ms.saturating_sub(delay_ms).max(0);
            self.schedule_join(next_delay_ms, Due::InitialRebalance { delay_ms: next_delay_ms, remaining_ms: next_remaining_ms }, step);
        } else {
            self.complete_join(step);
        }
    }

    /// Completes the join phase if nobody is missing; never during the initial delay.
    pub(super) fn maybe_complete_join(&mut self, step: &mut Step) {
        let initial = self.previous_state == Some(State::Empty);
        if self.state == State::PreparingRebalance && !initial && self.has_all_members_joined() {
            self.complete_join(step);
        }
    }

    /// Ends the join phase: members that did not join are dropped (static ones are kept), and the next generation begins.
    pub(crate) fn complete_join(&mut self, step: &mut Step) {
        if self.state != State::PreparingRebalance {
            return;
        }
        step.timers.cancel(&Timer::Join { group: self.id.clone() });
        let absent: Vec<Arc<str>> =
            self.members.values().filter(|m| !m.is_awaiting_join() && !m.is_static()).map(|m| m.id.clone()).collect();
        for id in &absent {
            self.remove(id, step.out);
            self.cancel_session(id, step.timers);
        }
        if !absent.is_empty() {
            tracing::info!(group = %self.id, members = ?absent, "removed members that have not joined");
        }
        if !self.members.is_empty() && !self.elect_joined_leader() {
            // Only static members, none of which joined: wait until one does or their sessions end.
            self.schedule_join(self.rebalance_timeout_ms().max(POSTPONED_JOIN_MS_MIN), Due::CompleteJoin, step);
            return;
        }
        self.new_member_added = false;
        self.generation_id = self.generation_id.wrapping_add(1).max(0);
        self.pending_sync.clear();
        if self.members.is_empty() {
            self.become_empty(step);
        } else {
            self.start_generation(step);
        }
    }

    fn become_empty(&mut self, step: &mut Step) {
        self.protocol_name = None;
        self.subscribed_topics = self.compute_subscribed_topics();
        self.transition_to(State::Empty, step.now);
        tracing::info!(group = %self.id, generation = self.generation_id, "the group is now empty");
        match records::group_metadata(self, &[]) {
            // If this is lost, the last stored generation comes back after a load, and its members time out.
            Ok(record) => step.out.appends.push(Append {
                records: vec![record],
                producer: None,
                effect: Effect::None,
                completion: Completion::Nothing,
            }),
            Err(error) => tracing::error!(group = %self.id, %error, "cannot store that the group is empty"),
        }
    }

    fn start_generation(&mut self, step: &mut Step) {
        self.protocol_name = self.select_protocol();
        self.subscribed_topics = self.compute_subscribed_topics();
        self.transition_to(State::CompletingRebalance, step.now);
        tracing::info!(group = %self.id, generation = self.generation_id, members = self.members.len(), "a new generation begins");
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            let response = self.join_response(&id, false);
            self.answer_join(&id, response, step.out);
            self.restart_session(&id, step);
            if let Some(member) = self.members.get_mut(&id) {
                member.is_new = false;
            }
            self.pending_sync.insert(id);
        }
        let timer = Timer::Sync { group: self.id.clone() };
        let due = Due::Sync { generation_id: self.generation_id };
        step.timers.schedule(timer, step.now.mono, i64::from(self.rebalance_timeout_ms()), due);
    }

    /// What a member is told about the current generation; only the leader sees the members.
    pub(super) fn join_response(&self, member_id: &str, skip_assignment: bool) -> JoinGroupResponse {
        JoinGroupResponse {
            error_code: 0,
            generation_id: self.generation_id,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            leader: self.leader_name(),
            skip_assignment,
            member_id: member_id.to_owned(),
            members: if self.is_leader(member_id) { self.current_members() } else { Vec::new() },
            ..Default::default()
        }
    }

    fn current_members(&self) -> Vec<JoinGroupResponseMember> {
        let protocol = self.protocol_name.as_deref().unwrap_or_default();
        self.members
            .values()
            .map(|m| JoinGroupResponseMember {
                member_id: m.id.to_string(),
                group_instance_id: m.instance_id.clone(),
                metadata: m.metadata(protocol).cloned().unwrap_or_default(),
                ..Default::default()
            })
            .collect()
    }

    /// The leader must be one of those who joined. Whether there is one.
    fn elect_joined_leader(&mut self) -> bool {
        let joined = |m: &super::Member| m.is_awaiting_join();
        let Some(leader) = &self.leader_id else { return false };
        if self.members.get(leader).is_some_and(joined) {
            return true;
        }
        match self.members.values().find(|m| joined(m)) {
            Some(member) => {
                tracing::info!(group = %self.id, old = %leader, new = %member.id, "the leader did not join: elected another");
                self.leader_id = Some(member.id.clone());
                true
            }
            None => false,
        }
    }

    pub(super) fn reset_assignments(&mut self, error: ErrorCode, step: &mut Step) {
        for member in self.members.values_mut() {
            member.assignment = Default::default();
        }
        self.propagate_assignments(error, step);
    }

    /// Answers the members that wait in SyncGroup, and expects heartbeats of them again.
    pub(super) fn propagate_assignments(&mut self, error: ErrorCode, step: &mut Step) {
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            let response = self.sync_response(&id, error);
            if self.answer_sync(&id, response, step.out) {
                self.restart_session(&id, step);
            }
        }
    }

    /// Members that have not sent SyncGroup in time are dropped, and the rest rebalances.
    pub(crate) fn on_sync_timeout(&mut self, generation_id: i32, step: &mut Step) {
        let waits = matches!(self.state, State::CompletingRebalance | State::Stable);
        if generation_id != self.generation_id || !waits || self.pending_sync.is_empty() {
            return;
        }
        let absent: Vec<Arc<str>> = self.pending_sync.iter().cloned().collect();
        for id in &absent {
            self.remove(id, step.out);
            self.cancel_session(id, step.timers);
        }
        self.prepare_rebalance("members did not send SyncGroup in time", step);
    }

    /// A session ended, or a reserved member id was not used in time.
    pub(crate) fn on_session_timeout(&mut self, member_id: &str, step: &mut Step) {
        if self.pending_join.contains(member_id) {
            tracing::info!(group = %self.id, member = member_id, "a member id was not used in time");
            self.remove(member_id, step.out);
            if self.state == State::PreparingRebalance && self.has_all_members_joined() {
                self.complete_join(step);
            }
            return;
        }
        let Some(member) = self.members.get(member_id) else { return };
        if member.has_satisfied_heartbeat() {
            return;
        }
        tracing::info!(group = %self.id, member = member_id, "the session of a member has timed out");
        self.remove(member_id, step.out);
        match self.state {
            State::Stable | State::CompletingRebalance => self.prepare_rebalance("a session has timed out", step),
            State::PreparingRebalance if self.has_all_members_joined() => self.complete_join(step),
            State::PreparingRebalance | State::Empty => {}
        }
    }
}
