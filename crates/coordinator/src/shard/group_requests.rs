//! JoinGroup, SyncGroup, Heartbeat, LeaveGroup, DescribeGroups, ListGroups, DeleteGroups: the checks that come before the group, and
//! the way to it.

use base::Now;
use wire::ErrorCode;
use wire::messages::delete_groups_response::DeletableGroupResult;
use wire::messages::describe_groups_response::DescribedGroup;
use wire::messages::leave_group_request::MemberIdentity;
use wire::messages::leave_group_response::MemberResponse;
use wire::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, LeaveGroupRequest, LeaveGroupResponse, ListGroupsRequest, ListGroupsResponse,
    SyncGroupRequest,
};

use super::lifecycle::{group_tombstones, replayed};
use super::{Shard, classic_step};
use crate::errors;
use crate::group::Group;
use crate::group::classic::{ClassicGroup, for_version, join_error, sync_error};
use crate::group::modern::Kind;
use crate::offsets;
use crate::output::{Append, Completion, CoordinatorRecord, Deferred, Effect, GroupCreated, Output, Reply, RequestContext, Token, Waiting};
use crate::records;

impl Shard {
    pub fn join_group(&mut self, now: Now, context: &RequestContext, token: Token, mut request: JoinGroupRequest) -> Output {
        let mut out = Output::default();
        let api_version = context.api_version;
        if api_version == 0 {
            request.rebalance_timeout_ms = request.session_timeout_ms;
        }
        if let Err((member_id, error)) = self.check_join(&request) {
            let response = for_version(join_error(member_id, error), api_version);
            out.reply(token, Reply::JoinGroup(response));
            return out;
        }

        if matches!(self.groups.get(&request.group_id), Some(Group::Consumer(group)) if !group.is_empty()) {
            self.join_consumer_group(now, context, token, &request, &mut out);
            return out;
        }
        let waiting = Waiting { token, api_version };
        let mut creation = None;
        if !matches!(self.groups.get(&request.group_id), Some(Group::Classic(_))) {
            // An empty group of a newer protocol gives way.
            let replaced = match self.groups.remove(&request.group_id) {
                Some(Group::Classic(_)) | None => None,
                replaced => replaced,
            };
            self.groups.insert(request.group_id.clone(), Group::Classic(ClassicGroup::new(&request.group_id, now)));
            creation = Some(GroupCreated { group_id: request.group_id.clone(), replaced });
        }
        let mut rng = self.rng.fork();
        if let Some((group, mut step)) = classic_step(self, &request.group_id, now, &mut out) {
            group.join(context, &request, waiting, &mut rng, &mut step);
        }
        if let Some(creation) = creation {
            self.announce_group(now, creation, &mut out);
        }
        out
    }

    /// The checks before a group is made or found. The error goes with the member id to answer.
    fn check_join<'a>(&self, request: &'a JoinGroupRequest) -> Result<(), (&'a str, ErrorCode)> {
        let member_id = request.member_id.as_str();
        if request.group_id.is_empty() {
            return Err((member_id, ErrorCode::InvalidGroupId));
        }
        let allowed = self.config.group_min_session_timeout_ms..=self.config.group_max_session_timeout_ms;
        if !allowed.contains(&request.session_timeout_ms) {
            return Err((member_id, ErrorCode::InvalidSessionTimeout));
        }
        match self.groups.get(&request.group_id) {
            Some(Group::Classic(_)) => Ok(()),
            // Its members may be of either protocol.
            Some(Group::Consumer(group)) if !group.is_empty() => Ok(()),
            Some(Group::Modern(group)) if !group.is_empty() || group.kind() == Kind::Share => {
                Err(("", ErrorCode::InconsistentGroupProtocol))
            }
            // A member that has an id cannot be of a group that is not there.
            _ if !member_id.is_empty() => Err((member_id, ErrorCode::UnknownMemberId)),
            _ => Ok(()),
        }
    }

    /// A new group is stored before its first rebalance, so that it is not lost with its offsets' owner.
    fn announce_group(&mut self, now: Now, creation: GroupCreated, out: &mut Output) {
        let mut stored: Vec<CoordinatorRecord> =
            creation.replaced.as_ref().map(|group| group_tombstones(&creation.group_id, group)).unwrap_or_default();
        match records::empty_group_metadata(&creation.group_id, now.wall_ms) {
            Ok(record) => {
                stored.push(record);
                let completion = Completion::GroupCreated(Box::new(creation));
                out.appends.push(Append { records: stored, producer: None, effect: Effect::None, completion });
            }
            Err(error) => {
                tracing::error!(%error, "cannot store a new group");
                let append = Append {
                    records: Vec::new(),
                    producer: None,
                    effect: Effect::None,
                    completion: Completion::GroupCreated(Box::new(creation)),
                };
                out.merge(self.append_failed(now, append, ErrorCode::UnknownServerError));
            }
        }
    }

    pub fn sync_group(&mut self, now: Now, context: &RequestContext, token: Token, request: SyncGroupRequest) -> Output {
        let mut out = Output::default();
        let names_missing = request.protocol_type.is_none() || request.protocol_name.is_none();
        let error = if context.api_version >= 5 && names_missing {
            ErrorCode::InconsistentGroupProtocol
        } else if request.group_id.is_empty() {
            ErrorCode::InvalidGroupId
        } else if matches!(self.groups.get(&request.group_id), Some(Group::Consumer(_))) {
            self.sync_consumer_group(now, context, token, &request, &mut out);
            return out;
        } else if let Some((group, mut step)) = classic_step(self, &request.group_id, now, &mut out) {
            if !group.is_empty() {
                group.sync(&request, Waiting { token, api_version: context.api_version }, &mut step);
                return out;
            }
            ErrorCode::UnknownMemberId
        } else {
            ErrorCode::UnknownMemberId
        };
        out.reply(token, Reply::SyncGroup(sync_error(error)));
        out
    }

    pub fn heartbeat(&mut self, now: Now, token: Token, request: HeartbeatRequest) -> Output {
        let mut out = Output::default();
        let result = if request.group_id.is_empty() {
            Err(ErrorCode::InvalidGroupId)
        } else if matches!(self.groups.get(&request.group_id), Some(Group::Consumer(_))) {
            self.heartbeat_consumer_group(now, &request)
        } else if let Some((group, mut step)) = classic_step(self, &request.group_id, now, &mut out) {
            group.heartbeat(&request, &mut step)
        } else {
            Err(ErrorCode::UnknownMemberId)
        };
        let error_code = result.err().unwrap_or(ErrorCode::None).code();
        out.reply(token, Reply::Heartbeat(HeartbeatResponse { error_code, ..Default::default() }));
        out
    }

    pub fn leave_group(&mut self, now: Now, context: &RequestContext, token: Token, mut request: LeaveGroupRequest) -> Output {
        let mut out = Output::default();
        if request.group_id.is_empty() {
            out.reply(token, Reply::LeaveGroup(errors::leave_group(ErrorCode::InvalidGroupId)));
            return out;
        }
        if context.api_version < 3 {
            request.members = vec![MemberIdentity { member_id: std::mem::take(&mut request.member_id), ..Default::default() }];
        }
        if matches!(self.groups.get(&request.group_id), Some(Group::Consumer(_))) {
            self.leave_consumer_group(now, context, token, &request, &mut out);
            return out;
        }
        let Some((group, mut step)) = classic_step(self, &request.group_id, now, &mut out) else {
            out.reply(token, Reply::LeaveGroup(errors::leave_unknown_group(&request, context.api_version)));
            return out;
        };
        let members = group.leave(&request.members, &mut step);
        let reply = (token, Reply::LeaveGroup(left_response(members, context.api_version)));
        // The answer to the last member waits until the empty group is stored.
        match out.appends.last_mut() {
            Some(append) if matches!(append.completion, Completion::Nothing) => {
                append.completion = Completion::Replies(Deferred { replies: vec![reply], api_version: context.api_version });
            }
            _ => out.replies.push(reply),
        }
        out
    }

    /// Describes those of the groups that are classic. Before version 6 a group that is not there is dead rather than an error.
    pub fn describe_groups(&mut self, now: Now, context: &RequestContext, token: Token, group_ids: &[String]) -> Output {
        let mut out = Output::default();
        let groups = group_ids.iter().map(|id| self.describe(id, context.api_version)).collect();
        self.answer_when_settled(now, token, Reply::DescribeGroups(groups), context.api_version, &mut out);
        out
    }

    fn describe(&self, group_id: &str, api_version: i16) -> DescribedGroup {
        let why = match self.groups.get(group_id) {
            Some(Group::Classic(group)) => return group.describe(),
            Some(Group::Consumer(_) | Group::Modern(_)) => "is not a classic group.",
            None => "not found.",
        };
        let dead = DescribedGroup { group_id: group_id.to_owned(), group_state: "Dead".to_owned(), ..Default::default() };
        if api_version < 6 {
            return dead;
        }
        let error_message = Some(format!("Group {group_id} {why}"));
        DescribedGroup { error_code: ErrorCode::GroupIdNotFound.code(), error_message, ..dead }
    }

    /// The groups that pass the filters; states and types are compared without case, unknown ones match nothing.
    pub fn list_groups(&mut self, now: Now, context: &RequestContext, token: Token, request: &ListGroupsRequest) -> Output {
        let mut out = Output::default();
        let states: Vec<String> = request.states_filter.iter().map(|s| s.to_lowercase().trim().to_owned()).collect();
        let types: Vec<String> = request.types_filter.iter().map(|t| t.to_lowercase()).collect();
        let groups = self
            .groups
            .iter()
            .map(|(id, group)| group.listed(id))
            .filter(|g| states.is_empty() || states.contains(&g.group_state.to_lowercase()))
            .filter(|g| types.is_empty() || types.contains(&g.group_type))
            .collect();
        let response = ListGroupsResponse { groups, ..Default::default() };
        self.answer_when_settled(now, token, Reply::ListGroups(response), context.api_version, &mut out);
        out
    }

    /// Deletes empty groups with their offsets, all in one batch.
    pub fn delete_groups(&mut self, now: Now, context: &RequestContext, token: Token, group_ids: &[String]) -> Output {
        let mut out = Output::default();
        let mut tombstones = Vec::new();
        let results = group_ids
            .iter()
            .map(|id| DeletableGroupResult {
                group_id: id.clone(),
                error_code: self.delete(id, &mut tombstones).err().unwrap_or(ErrorCode::None).code(),
                ..Default::default()
            })
            .collect();
        let reply = Reply::DeleteGroups(results);
        if tombstones.is_empty() {
            self.answer_when_settled(now, token, reply, context.api_version, &mut out);
        } else {
            let replies = vec![(token, reply)];
            let completion = Completion::Replies(Deferred { replies, api_version: context.api_version });
            out.appends.push(replayed(tombstones, None, completion));
        }
        out
    }

    fn delete(&self, group_id: &str, tombstones: &mut Vec<CoordinatorRecord>) -> Result<(), ErrorCode> {
        let group = self.groups.get(group_id).ok_or(ErrorCode::GroupIdNotFound)?;
        if !group.is_empty() {
            return Err(ErrorCode::NonEmptyGroup);
        }
        tombstones.extend(offsets::group_tombstones(&self.offsets, group_id).map_err(|_| ErrorCode::UnknownServerError)?);
        tombstones.extend(group_tombstones(group_id, group));
        Ok(())
    }
}

/// Before version 3 one member leaves, and there is one place for its error.
pub(super) fn left_response(members: Vec<MemberResponse>, api_version: i16) -> LeaveGroupResponse {
    if api_version < 3 {
        return LeaveGroupResponse { error_code: members.first().map_or(0, |m| m.error_code), ..Default::default() };
    }
    LeaveGroupResponse { members, ..Default::default() }
}
