//! The consumer group protocol (KIP-848): ConsumerGroupHeartbeat and ConsumerGroupDescribe. Whether this cluster has it is decided here,
//! everything else by the coordinator.

use super::gather::{Gather, Part};
use super::group::{GROUP_OPERATIONS, by_shard, call, request_context};
use crate::answer::Handled;
use crate::context::Context;
use coordinator::{Reply, Shard, errors};
use wire::ErrorCode;
use wire::messages::consumer_group_describe_response::DescribedGroup;
use wire::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
};

/// The feature that brings the protocol, and the first level that does.
const GROUP_VERSION: &str = "group.version";
const LEVEL: i16 = 1;

fn is_enabled(c: &Context) -> bool {
    let configured = c.broker.config().group_coordinator_rebalance_protocols.iter().any(|p| p.eq_ignore_ascii_case("consumer"));
    configured && c.image.features.level(GROUP_VERSION) >= LEVEL
}

pub(super) fn heartbeat(c: &mut Context, request: ConsumerGroupHeartbeatRequest) -> Handled {
    if !is_enabled(c) {
        let error_code = ErrorCode::UnsupportedVersion.code();
        return c.answer(&ConsumerGroupHeartbeatResponse { error_code, ..Default::default() });
    }
    let (context, now) = (request_context(c), c.now);
    let group_id = request.group_id.clone();
    let step = |shard: &mut Shard, token| shard.consumer_group_heartbeat(now, &context, token, request);
    call(c, &group_id, step, |error| Reply::ConsumerGroupHeartbeat(errors::consumer_group_heartbeat(error)))
}

pub(super) fn describe(c: &mut Context, request: ConsumerGroupDescribeRequest) -> Handled {
    if !is_enabled(c) {
        let error_code = ErrorCode::UnsupportedVersion.code();
        let refused = |group_id| DescribedGroup { group_id, error_code, ..Default::default() };
        let groups = request.group_ids.into_iter().map(refused).collect();
        return c.answer(&ConsumerGroupDescribeResponse { groups, ..Default::default() });
    }
    let (context, now) = (request_context(c), c.now);
    let (nameless, ids): (Vec<String>, Vec<String>) = request.group_ids.into_iter().partition(|id| id.is_empty());
    let invalid = |group_id| DescribedGroup { group_id, error_code: ErrorCode::InvalidGroupId.code(), ..Default::default() };
    let mut groups: Vec<DescribedGroup> = nameless.into_iter().map(invalid).collect();
    let parts = by_shard(c, ids)
        .into_iter()
        .map(|(shard, ids)| {
            let call = |partition| {
                c.broker.groups.ask_partition(partition, now, |shard, token| shard.consumer_group_describe(now, &context, token, &ids))
            };
            let slot = shard.ok_or(ErrorCode::NotCoordinator).and_then(call);
            Part::of(slot, |error| Reply::ConsumerGroupDescribe(errors::consumer_group_describe(ids.iter().map(String::as_str), error)))
        })
        .collect();
    let operations = request.include_authorized_operations;
    Gather::park(c, parts, move |reply, replies| {
        groups.extend(replies.into_iter().filter_map(|r| if let Reply::ConsumerGroupDescribe(g) = r { Some(g) } else { None }).flatten());
        if operations {
            for group in groups.iter_mut().filter(|g| g.error_code == 0) {
                group.authorized_operations = GROUP_OPERATIONS;
            }
        }
        reply.encode(&ConsumerGroupDescribeResponse { groups, ..Default::default() })
    })
}
