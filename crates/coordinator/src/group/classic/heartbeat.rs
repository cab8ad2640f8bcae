//! Heartbeat, and the checks of an offset commit, which counts as one.

use wire::ErrorCode;
use wire::messages::HeartbeatRequest;

use super::{ClassicGroup, State, Step};

impl ClassicGroup {
    pub(crate) fn heartbeat(&mut self, request: &HeartbeatRequest, step: &mut Step) -> Result<(), ErrorCode> {
        self.validate_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation_id {
            return Err(ErrorCode::IllegalGeneration);
        }
        match self.state {
            State::Empty => Err(ErrorCode::UnknownMemberId),
            State::PreparingRebalance => {
                self.restart_session(&request.member_id, step);
                Err(ErrorCode::RebalanceInProgress)
            }
            // Clients start to send heartbeats when they have their JoinGroup response.
            State::CompletingRebalance | State::Stable => {
                self.restart_session(&request.member_id, step);
                Ok(())
            }
        }
    }

    pub(crate) fn validate_offset_commit(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
        generation_id: i32,
        transactional: bool,
    ) -> Result<(), ErrorCode> {
        if generation_id < 0 && self.state == State::Empty {
            // From an admin client, or a consumer that assigns itself.
            return Ok(());
        }
        if generation_id >= 0 || !member_id.is_empty() || instance_id.is_some() {
            self.validate_member(member_id, instance_id)?;
            if generation_id != self.generation_id {
                return Err(ErrorCode::IllegalGeneration);
            }
        } else if !transactional {
            return Err(ErrorCode::UnknownMemberId);
        }
        if !transactional && self.state == State::CompletingRebalance {
            // The member has the generation from its JoinGroup response but must not commit for it yet.
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }

    /// An accepted commit of a member keeps its session alive.
    pub(crate) fn offsets_committed(&mut self, member_id: &str, step: &mut Step) {
        if matches!(self.state, State::Stable | State::PreparingRebalance) {
            self.restart_session(member_id, step);
        }
    }
}
