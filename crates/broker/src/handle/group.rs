//! The classic group protocol: JoinGroup, SyncGroup, Heartbeat, LeaveGroup, and DescribeGroups, ListGroups, DeleteGroups.
//! Decisions are the coordinator's; here a request finds its shard and its answer finds the wire.

use super::gather::{Gather, Part};
use crate::Broker;
use crate::answer::{Handled, ReplyTo, Response, Wait};
use crate::context::Context;
use crate::groups::ReplySlot;
use base::{Instant, Now};
use coordinator::{Output, Reply, RequestContext, Shard, Token, errors};
use std::collections::{BTreeMap, BTreeSet};
use std::task::Waker;
use wire::ErrorCode;
use wire::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse, HeartbeatRequest, JoinGroupRequest,
    LeaveGroupRequest, ListGroupsRequest, ListGroupsResponse, SyncGroupRequest,
};

/// Bits of the operations on a group (KIP-430): read, delete, describe and both kinds of configs.
pub(super) const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

pub(super) fn request_context(c: &Context) -> RequestContext {
    RequestContext { api_version: c.version(), client_id: c.client_id.clone(), client_address: c.session.address() }
}

/// Runs a request of one group and parks for its answer; `refuse` makes the answer where there is no shard.
pub(super) fn call(
    c: &Context,
    group_id: &str,
    step: impl FnOnce(&mut Shard, Token) -> Output,
    refuse: impl FnOnce(ErrorCode) -> Reply,
) -> Handled {
    match c.broker.groups.call(group_id, c.now, step) {
        // The shard has its own timers for everything; it answers each request at some time.
        Ok(slot) => c.park(AwaitReply { reply: c.reply, slot }, Instant::FAR_FUTURE),
        Err(error) => match encode(c.reply, refuse(error)) {
            Some(response) => Handled::Response(response),
            None => Handled::Close("group response cannot be encoded".into()),
        },
    }
}

struct AwaitReply {
    reply: ReplyTo,
    slot: ReplySlot,
}

impl Wait for AwaitReply {
    fn poll(&mut self, _broker: &Broker, _now: Now, waker: &Waker) -> Option<Response> {
        self.slot.poll(waker).and_then(|reply| encode(self.reply, reply))
    }
}

fn encode(to: ReplyTo, reply: Reply) -> Option<Response> {
    match reply {
        Reply::JoinGroup(response) => to.encode(&response),
        Reply::SyncGroup(response) => to.encode(&response),
        Reply::Heartbeat(response) => to.encode(&response),
        Reply::LeaveGroup(response) => to.encode(&response),
        Reply::ConsumerGroupHeartbeat(response) => to.encode(&response),
        Reply::OffsetCommit(response) => to.encode(&response),
        Reply::OffsetDelete(response) => to.encode(&response),
        Reply::TxnOffsetCommit(response) => to.encode(&response),
        // Parts of an answer; `Gather` puts them together.
        Reply::OffsetFetch(_)
        | Reply::DescribeGroups(_)
        | Reply::ConsumerGroupDescribe(_)
        | Reply::DeleteGroups(_)
        | Reply::ListGroups(_) => None,
    }
}

pub(super) fn join(c: &mut Context, request: JoinGroupRequest) -> Handled {
    let (context, now, version) = (request_context(c), c.now, c.version());
    let group_id = request.group_id.clone();
    let step = |shard: &mut Shard, token| shard.join_group(now, &context, token, request);
    call(c, &group_id, step, |error| Reply::JoinGroup(errors::join_group(error, version)))
}

pub(super) fn sync(c: &mut Context, request: SyncGroupRequest) -> Handled {
    let (context, now) = (request_context(c), c.now);
    let group_id = request.group_id.clone();
    let step = |shard: &mut Shard, token| shard.sync_group(now, &context, token, request);
    call(c, &group_id, step, |error| Reply::SyncGroup(errors::sync_group(error)))
}

pub(super) fn heartbeat(c: &mut Context, request: HeartbeatRequest) -> Handled {
    let now = c.now;
    let group_id = request.group_id.clone();
    let step = |shard: &mut Shard, token| shard.heartbeat(now, token, request);
    call(c, &group_id, step, |error| Reply::Heartbeat(errors::heartbeat(error)))
}

pub(super) fn leave(c: &mut Context, request: LeaveGroupRequest) -> Handled {
    let (context, now) = (request_context(c), c.now);
    let group_id = request.group_id.clone();
    let step = |shard: &mut Shard, token| shard.leave_group(now, &context, token, request);
    call(c, &group_id, step, |error| Reply::LeaveGroup(errors::leave_group(error)))
}

pub(super) fn describe(c: &mut Context, request: DescribeGroupsRequest) -> Handled {
    let (context, now) = (request_context(c), c.now);
    let parts = by_shard(c, request.groups)
        .into_iter()
        .map(|(shard, ids)| {
            let call =
                |partition| c.broker.groups.ask_partition(partition, now, |shard, token| shard.describe_groups(now, &context, token, &ids));
            let slot = shard.ok_or(ErrorCode::NotCoordinator).and_then(call);
            Part::of(slot, |error| Reply::DescribeGroups(errors::describe_groups(ids.iter().map(String::as_str), error)))
        })
        .collect();
    let operations = request.include_authorized_operations;
    Gather::park(c, parts, move |reply, replies| {
        let mut groups: Vec<_> =
            replies.into_iter().filter_map(|r| if let Reply::DescribeGroups(g) = r { Some(g) } else { None }).flatten().collect();
        if operations {
            for group in groups.iter_mut().filter(|g| g.error_code == 0) {
                group.authorized_operations = GROUP_OPERATIONS;
            }
        }
        reply.encode(&DescribeGroupsResponse { groups, ..Default::default() })
    })
}

pub(super) fn delete(c: &mut Context, request: DeleteGroupsRequest) -> Handled {
    let (context, now) = (request_context(c), c.now);
    let once: BTreeSet<String> = request.groups_names.into_iter().collect();
    let parts = by_shard(c, once.into_iter().collect())
        .into_iter()
        .map(|(shard, ids)| {
            let call =
                |partition| c.broker.groups.ask_partition(partition, now, |shard, token| shard.delete_groups(now, &context, token, &ids));
            let slot = shard.ok_or(ErrorCode::NotCoordinator).and_then(call);
            Part::of(slot, |error| Reply::DeleteGroups(errors::delete_groups(ids.iter().map(String::as_str), error)))
        })
        .collect();
    Gather::park(c, parts, |reply, replies| {
        let results = replies.into_iter().filter_map(|r| if let Reply::DeleteGroups(g) = r { Some(g) } else { None }).flatten().collect();
        reply.encode(&DeleteGroupsResponse { results, ..Default::default() })
    })
}

pub(super) fn list(c: &mut Context, request: ListGroupsRequest) -> Handled {
    let (context, now) = (request_context(c), c.now);
    let call = |partition| c.broker.groups.ask_partition(partition, now, |shard, token| shard.list_groups(now, &context, token, &request));
    let parts = c
        .broker
        .groups
        .partitions()
        .into_iter()
        .map(call)
        // A shard that has just moved away is another broker's to list.
        .filter(|slot| !matches!(slot, Err(ErrorCode::NotCoordinator)))
        .map(|slot| Part::of(slot, |error| Reply::ListGroups(errors::list_groups(error))))
        .collect();
    Gather::park(c, parts, |reply, replies| {
        let mut all = ListGroupsResponse::default();
        for part in replies {
            let Reply::ListGroups(part) = part else { continue };
            if part.error_code != 0 {
                all = part;
                break;
            }
            all.groups.extend(part.groups);
        }
        reply.encode(&all)
    })
}

/// Group ids by the shard that coordinates them, as often as they were named.
pub(super) fn by_shard(c: &Context, ids: Vec<String>) -> BTreeMap<Option<i32>, Vec<String>> {
    let mut out: BTreeMap<Option<i32>, Vec<String>> = BTreeMap::new();
    for id in ids {
        out.entry(c.broker.groups.partition_of(&id)).or_default().push(id);
    }
    out
}
