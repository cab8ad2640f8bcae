//! JoinGroup, SyncGroup, Heartbeat and LeaveGroup of members that are in a group of the consumer protocol.
//! Kafka: the …ToConsumerGroup halves of GroupMetadataManager.

use base::{Now, Uuid};
use wire::ErrorCode;
use wire::messages::{HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, SyncGroupRequest};

use super::Shard;
use super::consumer_requests::{Decided, fence};
use super::group_requests::left_response;
use crate::group::classic::{for_version, sync_error};
use crate::group::consumer::{Refusal, Step};
use crate::output::{Output, Reply, RequestContext, Token};

impl Shard {
    pub(super) fn join_consumer_group(
        &mut self,
        now: Now,
        context: &RequestContext,
        token: Token,
        request: &JoinGroupRequest,
        out: &mut Output,
    ) {
        let new_id = Uuid::random(&mut self.rng).to_string();
        let mut decided = Decided::default();
        let result = self.consumer_group(&request.group_id).and_then(|group| {
            let c = self.context(now, &request.group_id);
            group.classic_join(&c, context, request, &new_id, &mut decided.step)
        });
        let respond = |response| Reply::JoinGroup(for_version(response, context.api_version));
        match result {
            Ok((response, downgrade)) => {
                decided.downgrade = downgrade;
                self.carry_out(now, context, &request.group_id, decided, (token, respond(response)), out);
            }
            Err(Refusal { error, .. }) => {
                let response = JoinGroupResponse { error_code: error.code(), ..Default::default() };
                out.reply(token, respond(response));
            }
        }
    }

    pub(super) fn sync_consumer_group(
        &mut self,
        now: Now,
        context: &RequestContext,
        token: Token,
        request: &SyncGroupRequest,
        out: &mut Output,
    ) {
        let mut step = Step::default();
        let result = self.consumer_group(&request.group_id).and_then(|group| {
            let c = self.context(now, &request.group_id);
            group.classic_sync(&c, request, &mut step)
        });
        match result {
            Ok(response) => {
                let decided = Decided { step, downgrade: None };
                self.carry_out(now, context, &request.group_id, decided, (token, Reply::SyncGroup(response)), out);
            }
            Err(Refusal { error, .. }) => {
                self.change_timers(now, step.timers);
                out.reply(token, Reply::SyncGroup(sync_error(error)));
            }
        }
    }

    pub(super) fn heartbeat_consumer_group(&mut self, now: Now, request: &HeartbeatRequest) -> Result<(), ErrorCode> {
        let mut step = Step::default();
        let result = self.consumer_group(&request.group_id).and_then(|group| group.classic_heartbeat(request, &mut step));
        self.change_timers(now, step.timers);
        result.map_err(|refusal| refusal.error)
    }

    /// Members of either protocol can be removed this way.
    pub(super) fn leave_consumer_group(
        &mut self,
        now: Now,
        context: &RequestContext,
        token: Token,
        request: &LeaveGroupRequest,
        out: &mut Output,
    ) {
        let mut decided = Decided::default();
        let result = self.consumer_group(&request.group_id).and_then(|group| {
            let (leaving, responses) = group.classic_leave(&request.members);
            decided.downgrade = fence(group, &self.context(now, &request.group_id), &leaving, &mut decided.step)?;
            Ok(responses)
        });
        match result {
            Ok(responses) => {
                let reply = Reply::LeaveGroup(left_response(responses, context.api_version));
                self.carry_out(now, context, &request.group_id, decided, (token, reply), out);
            }
            Err(Refusal { error, .. }) => {
                out.reply(token, Reply::LeaveGroup(LeaveGroupResponse { error_code: error.code(), ..Default::default() }));
            }
        }
    }
}
