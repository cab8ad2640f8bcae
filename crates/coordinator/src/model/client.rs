//! What the clients of both protocols have in common: the subscription, what they know of the topics, what they own, and their connection.

use std::collections::{BTreeMap, BTreeSet};

use wire::ErrorCode;
use wire::messages::OffsetCommitRequest;
use wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};

use super::coordinator::Request;
use super::{Ms, Tp, number_of, topic_id, topic_name};
use crate::output::Reply;
use crate::regex::Pattern;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Subscription {
    Names(BTreeSet<u32>),
    Pattern(&'static str),
}

impl Subscription {
    pub(super) fn contains(&self, number: u32) -> bool {
        match self {
            Subscription::Names(names) => names.contains(&number),
            Subscription::Pattern(pattern) => Pattern::compile(pattern).unwrap().matches(&topic_name(number)),
        }
    }
}

pub(super) struct Common {
    pub(super) group: String,
    pub(super) instance: Option<String>,
    pub(super) subscription: Subscription,
    /// Topics and their partitions, as this client last heard.
    pub(super) view: BTreeMap<u32, i32>,
    pub(super) owned: BTreeSet<Tp>,
    pub(super) session_timeout_ms: i32,
    pub(super) rebalance_timeout_ms: i32,
    /// How long the application takes to let go of partitions.
    pub(super) callback_ms: Ms,
    pub(super) connected: bool,
}

impl Common {
    /// The topics it subscribes to that it knows to exist.
    pub(super) fn topics(&self) -> BTreeSet<u32> {
        self.view.keys().copied().filter(|number| self.subscription.contains(*number)).collect()
    }
}

/// What a step of a client leads to.
#[derive(Default)]
pub(super) struct Actions {
    pub(super) sends: Vec<Request>,
    /// Gives up on its connection and looks for the coordinator again.
    pub(super) disconnects: bool,
    /// It cannot go on, for this reason.
    pub(super) dies: Option<ErrorCode>,
}

impl Actions {
    pub(super) fn send(&mut self, request: Request) {
        self.sends.push(request);
    }
}

pub(super) trait Member {
    /// Time has passed.
    fn poll(&mut self, c: &mut Common, at: Ms, actions: &mut Actions);
    fn answered(&mut self, c: &mut Common, at: Ms, reply: Reply, actions: &mut Actions);
    /// Requests that were not answered have failed.
    fn disconnected(&mut self, c: &mut Common, at: Ms);
    /// Lets go of everything and says good-bye. `forever` is for static members, who otherwise mean to come back.
    fn close(&mut self, c: &mut Common, forever: bool, actions: &mut Actions);
    fn member_id(&self) -> &str;
    /// The generation or member epoch.
    fn epoch(&self) -> i32;
    /// The member id and generation or epoch under which it was given what it owns. A cooperative client of Java keeps what it owns while it joins
    /// anew after it was fenced; that it is a member again makes it no owner.
    fn owns_as(&self) -> (&str, i32);
    /// Whether the client would send a commit at all.
    fn may_commit(&self) -> bool;
    /// In the group, and with nothing left to do.
    fn is_stable(&self) -> bool;
    fn protocol(&self) -> &'static str;

    fn commit(&self, c: &Common, offsets: &[(Tp, i64)]) -> Request {
        let mut topics: BTreeMap<u32, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        for ((number, partition), offset) in offsets {
            topics.entry(*number).or_default().push(OffsetCommitRequestPartition {
                partition_index: *partition,
                committed_offset: *offset,
                ..Default::default()
            });
        }
        let topic = |(number, partitions)| OffsetCommitRequestTopic {
            name: topic_name(number),
            topic_id: topic_id(number),
            partitions,
            ..Default::default()
        };
        Request::Commit(OffsetCommitRequest {
            group_id: c.group.clone(),
            generation_id_or_member_epoch: self.epoch(),
            member_id: self.member_id().to_owned(),
            group_instance_id: c.instance.clone(),
            topics: topics.into_iter().map(topic).collect(),
            ..Default::default()
        })
    }
}

/// Errors of a coordinator that is not one any more, or not yet.
pub(super) fn is_lost(error: ErrorCode) -> bool {
    matches!(error, ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable)
}

pub(super) fn numbers(names: impl IntoIterator<Item = String>) -> BTreeSet<u32> {
    names.into_iter().filter_map(|name| number_of(&name)).collect()
}
