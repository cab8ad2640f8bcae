//! SyncGroup: the leader hands in the assignment, everybody gets a share of it once it is in the log.

use std::collections::HashMap;

use bytes::Bytes;
use wire::ErrorCode;
use wire::messages::{SyncGroupRequest, SyncGroupResponse};

use super::{ClassicGroup, State, Step, sync_error};
use crate::output::{Append, Completion, Effect, Reply, Waiting};
use crate::records;
use crate::timers::Timer;

impl ClassicGroup {
    pub(crate) fn sync(&mut self, request: &SyncGroupRequest, waiting: Waiting, step: &mut Step) {
        if let Err(error) = self.validate_sync(request) {
            return step.out.reply(waiting.token, Reply::SyncGroup(sync_error(error)));
        }
        let member_id = request.member_id.as_str();
        match self.state {
            State::Empty => step.out.reply(waiting.token, Reply::SyncGroup(sync_error(ErrorCode::UnknownMemberId))),
            State::PreparingRebalance => {
                step.out.reply(waiting.token, Reply::SyncGroup(sync_error(ErrorCode::RebalanceInProgress)));
            }
            State::CompletingRebalance => {
                // A client that gave up on an earlier SyncGroup sends a second one: the first still has to be answered.
                self.answer_sync(member_id, sync_error(ErrorCode::RebalanceInProgress), step.out);
                if let Some(member) = self.members.get_mut(member_id) {
                    member.awaiting_sync = Some(waiting);
                }
                self.sync_arrived(member_id, step);
                if self.is_leader(member_id) {
                    self.store_assignment(request, step);
                }
            }
            State::Stable => {
                self.sync_arrived(member_id, step);
                let response = self.sync_response(member_id, ErrorCode::None);
                step.out.reply(waiting.token, Reply::SyncGroup(response));
            }
        }
    }

    fn validate_sync(&self, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
        self.validate_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation_id {
            return Err(ErrorCode::IllegalGeneration);
        }
        if differs(&request.protocol_type, &self.protocol_type) || differs(&request.protocol_name, &self.protocol_name) {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn sync_arrived(&mut self, member_id: &str, step: &mut Step) {
        self.pending_sync.remove(member_id);
        if self.pending_sync.is_empty() {
            step.timers.cancel(&Timer::Sync { group: self.id.clone() });
        }
    }

    pub(super) fn sync_response(&self, member_id: &str, error: ErrorCode) -> SyncGroupResponse {
        if error != ErrorCode::None {
            return sync_error(error);
        }
        SyncGroupResponse {
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            assignment: self.members.get(member_id).map(|m| m.assignment.clone()).unwrap_or_default(),
            ..Default::default()
        }
    }

    /// Members that the leader left out get an empty assignment; members that it made up are ignored.
    fn store_assignment(&mut self, request: &SyncGroupRequest, step: &mut Step) {
        let given: HashMap<&str, &Bytes> = request.assignments.iter().map(|a| (a.member_id.as_str(), &a.assignment)).collect();
        let assignment: Vec<(String, Bytes)> = self
            .members
            .keys()
            .map(|id| (id.to_string(), given.get(&**id).map(|a| Bytes::copy_from_slice(a)).unwrap_or_default()))
            .collect();
        match records::group_metadata(self, &assignment) {
            Ok(record) => step.out.appends.push(Append {
                records: vec![record],
                producer: None,
                effect: Effect::None,
                completion: Completion::AssignmentStored { group_id: self.id.to_string(), generation_id: self.generation_id, assignment },
            }),
            Err(error) => {
                tracing::error!(group = %self.id, %error, "cannot store an assignment");
                self.assignment_failed(self.generation_id, ErrorCode::UnknownServerError, step);
            }
        }
    }

    /// The assignment is in the log. The group may have moved on since it was written; then nothing happens.
    pub(crate) fn assignment_stored(&mut self, generation_id: i32, assignment: Vec<(String, Bytes)>, step: &mut Step) {
        if self.state != State::CompletingRebalance || self.generation_id != generation_id {
            return;
        }
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
        }
        for (id, bytes) in assignment {
            if let Some(member) = self.members.get_mut(id.as_str()) {
                member.assignment = bytes;
            }
        }
        self.propagate_assignments(ErrorCode::None, step);
        self.transition_to(State::Stable, step.now);
    }

    /// The assignment could not be stored: everybody is told, and the group rebalances again.
    pub(crate) fn assignment_failed(&mut self, generation_id: i32, error: ErrorCode, step: &mut Step) {
        if self.state != State::CompletingRebalance || self.generation_id != generation_id {
            return;
        }
        self.reset_assignments(error, step);
        self.prepare_rebalance("the assignment could not be stored", step);
    }
}

/// Old clients do not send these, and then they are not checked.
fn differs(requested: &Option<String>, current: &Option<String>) -> bool {
    matches!((requested, current), (Some(requested), Some(current)) if requested != current)
}
