//! What a shard takes and gives: the context of a request, the token that names it, and the effects of a step.
//!
//! A step never performs anything. It returns replies that may leave at once and appends that the driver writes, in order, each as one
//! batch. The driver answers every append with `Shard::appended` or `Shard::append_failed`, and tells the shard each move of the high
//! watermark (`Shard::advance`); replies that depend on a write come out of those calls. `drive` is that loop.
//!
//! Every token handed to a request method comes back exactly once, from that call or from a later one.

use std::net::IpAddr;

use bytes::Bytes;
use wire::ErrorCode;
use wire::messages::consumer_group_describe_response::DescribedGroup as DescribedConsumerGroup;
use wire::messages::delete_groups_response::DeletableGroupResult;
use wire::messages::describe_groups_response::DescribedGroup;
use wire::messages::offset_fetch_response::OffsetFetchResponseGroup;
use wire::messages::{
    ConsumerGroupHeartbeatResponse, HeartbeatResponse, JoinGroupResponse, LeaveGroupResponse, ListGroupsResponse, OffsetCommitResponse,
    OffsetDeleteResponse, SyncGroupResponse, TxnOffsetCommitResponse,
};

/// Names one parked request. Chosen by the caller, unique while it is parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

#[derive(Clone, Debug)]
pub struct RequestContext {
    pub api_version: i16,
    /// The client id of the request header; empty when the client sent none.
    pub client_id: String,
    pub client_address: IpAddr,
}

/// The answer to one call. Whole responses where a request concerns one group; parts where the broker assembles one response from
/// several shards (OffsetFetch, DescribeGroups, DeleteGroups, ListGroups): see `assemble`.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    JoinGroup(JoinGroupResponse),
    SyncGroup(SyncGroupResponse),
    Heartbeat(HeartbeatResponse),
    LeaveGroup(LeaveGroupResponse),
    ConsumerGroupHeartbeat(ConsumerGroupHeartbeatResponse),
    /// The answers for the groups of a ConsumerGroupDescribe that live in this shard.
    ConsumerGroupDescribe(Vec<DescribedConsumerGroup>),
    OffsetCommit(OffsetCommitResponse),
    TxnOffsetCommit(TxnOffsetCommitResponse),
    OffsetDelete(OffsetDeleteResponse),
    /// The answer for one group of an OffsetFetch.
    OffsetFetch(OffsetFetchResponseGroup),
    /// The answers for the groups of a DescribeGroups that live in this shard.
    DescribeGroups(Vec<DescribedGroup>),
    /// The answers for the groups of a DeleteGroups that live in this shard.
    DeleteGroups(Vec<DeletableGroupResult>),
    /// The groups of this shard that pass the filters, or its error.
    ListGroups(ListGroupsResponse),
}

/// One record of `__consumer_offsets`, as it lies in a batch. `value: None` is a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinatorRecord {
    pub key: Bytes,
    pub value: Option<Bytes>,
}

/// The producer of a transactional batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    pub id: i64,
    pub epoch: i16,
}

/// Records to be written as one batch. Goes back to the shard by `appended` or `append_failed`.
#[derive(Debug)]
#[must_use = "an append must be written and handed back to the shard"]
pub struct Append {
    pub records: Vec<CoordinatorRecord>,
    /// Set when the batch is part of a transaction.
    pub producer: Option<Producer>,
    pub(crate) effect: Effect,
    pub(crate) completion: Completion,
}

/// How an append changes the shard once it is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The state is derived from the records.
    Replay,
    /// The state was changed by the step itself (classic group membership), or is changed when the write is committed.
    None,
}

/// What happens when an append is committed, or fails.
#[derive(Debug)]
pub(crate) enum Completion {
    Nothing,
    Replies(Deferred),
    /// The first record of a group made by a JoinGroup.
    GroupCreated(Box<GroupCreated>),
    /// The leader's assignment: committed, the group becomes stable; failed, it rebalances again.
    AssignmentStored {
        group_id: String,
        generation_id: i32,
        assignment: Vec<(String, Bytes)>,
    },
    /// A static member came back under a new member id while the group was stable.
    StaticMemberReplaced(Box<StaticMemberReplaced>),
    /// A step of a group of the consumer protocol.
    Consumer(Box<ConsumerStep>),
}

/// What comes with the records of a consumer group.
#[derive(Debug)]
pub(crate) struct ConsumerStep {
    pub(crate) group_id: String,
    /// Take effect when the records are in the log, or when they are not: then nobody of these names is found.
    pub(crate) timers: Vec<crate::group::consumer::step::TimerChange>,
    pub(crate) refreshed: Option<crate::group::consumer::Refreshed>,
    /// The group becomes a classic one.
    pub(crate) downgrade: Option<crate::group::consumer::Downgrade>,
    pub(crate) deferred: Deferred,
}

/// Replies that wait for a write; all belong to requests of one API version.
#[derive(Debug)]
pub(crate) struct Deferred {
    pub(crate) replies: Vec<(Token, Reply)>,
    pub(crate) api_version: i16,
}

#[derive(Debug)]
pub(crate) struct GroupCreated {
    pub(crate) group_id: String,
    /// The empty group of another type that the new one took the place of.
    pub(crate) replaced: Option<crate::group::Group>,
}

#[derive(Debug)]
pub(crate) struct StaticMemberReplaced {
    pub(crate) group_id: String,
    pub(crate) instance_id: String,
    pub(crate) waiting: Waiting,
    pub(crate) leader_before: Option<String>,
    pub(crate) old: crate::group::classic::member::Joined,
    pub(crate) old_member_id: String,
    pub(crate) new_member_id: String,
}

/// A parked JoinGroup or SyncGroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) token: Token,
    pub(crate) api_version: i16,
}

/// The effects of one step.
#[derive(Debug, Default)]
#[must_use = "the replies and appends of a step must be carried out"]
pub struct Output {
    /// May leave now.
    pub replies: Vec<(Token, Reply)>,
    /// To be written in this order.
    pub appends: Vec<Append>,
}

impl Output {
    pub(crate) fn reply(&mut self, token: Token, reply: Reply) {
        self.replies.push((token, reply));
    }

    /// Adds what `other` holds after what is already here.
    pub fn merge(&mut self, other: Output) {
        self.replies.extend(other.replies);
        self.appends.extend(other.appends);
    }
}

/// Where a shard's records go: one partition of `__consumer_offsets`.
pub trait ShardLog {
    /// Appends the records as one batch and returns the offset of the first.
    fn append(&mut self, records: &[CoordinatorRecord], producer: Option<Producer>) -> Result<i64, ErrorCode>;
    fn high_watermark(&self) -> i64;
}

/// Carries out the effects of a step: writes its appends, hands the results back, and returns the replies that may leave.
pub fn drive(shard: &mut crate::Shard, now: base::Now, output: Output, log: &mut dyn ShardLog) -> Vec<(Token, Reply)> {
    let mut replies = output.replies;
    let mut appends: std::collections::VecDeque<Append> = output.appends.into();
    // What was written before may have been committed in the meantime.
    let committed = shard.advance(now, log.high_watermark());
    replies.extend(committed.replies);
    appends.extend(committed.appends);
    while let Some(append) = appends.pop_front() {
        let next = match log.append(&append.records, append.producer) {
            Ok(first_offset) => {
                shard.appended(now, append, first_offset);
                shard.advance(now, log.high_watermark())
            }
            Err(error) => shard.append_failed(now, append, error),
        };
        replies.extend(next.replies);
        appends.extend(next.appends);
    }
    replies
}
