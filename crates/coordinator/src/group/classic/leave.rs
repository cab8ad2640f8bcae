//! LeaveGroup: any number of members at once, by member id or (for administrators) by instance id alone.

use wire::ErrorCode;
use wire::messages::leave_group_request::MemberIdentity;
use wire::messages::leave_group_response::MemberResponse;

use super::{ClassicGroup, State, Step};

impl ClassicGroup {
    pub(crate) fn leave(&mut self, members: &[MemberIdentity], step: &mut Step) -> Vec<MemberResponse> {
        let mut anybody_left = false;
        let responses = members
            .iter()
            .map(|identity| {
                let result = self.leave_one(identity, step);
                anybody_left |= result.is_ok();
                MemberResponse {
                    member_id: identity.member_id.clone(),
                    group_instance_id: identity.group_instance_id.clone(),
                    error_code: result.err().unwrap_or(ErrorCode::None).code(),
                    ..Default::default()
                }
            })
            .collect();
        if anybody_left {
            match self.state {
                State::Stable | State::CompletingRebalance => self.prepare_rebalance("members have left", step),
                State::PreparingRebalance => self.maybe_complete_join(step),
                State::Empty => {}
            }
        }
        responses
    }

    fn leave_one(&mut self, identity: &MemberIdentity, step: &mut Step) -> Result<(), ErrorCode> {
        let instance_id = identity.group_instance_id.as_deref();
        let member_id = if identity.member_id.is_empty() {
            let member_id = instance_id.and_then(|id| self.static_members.get(id));
            member_id.ok_or(ErrorCode::UnknownMemberId)?.to_string()
        } else {
            if !self.pending_join.contains(identity.member_id.as_str()) {
                self.validate_member(&identity.member_id, instance_id)?;
            }
            identity.member_id.clone()
        };
        tracing::info!(group = %self.id, member = %member_id, reason = identity.reason.as_deref().unwrap_or("not provided"), "a member has left");
        self.cancel_session(&member_id, step.timers);
        self.remove(&member_id, step.out);
        Ok(())
    }
}
