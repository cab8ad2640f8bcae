//! A member of the consumer protocol. Kafka's client: AbstractMembershipManager, ConsumerMembershipManager, ConsumerHeartbeatRequestManager.

use std::collections::{BTreeMap, BTreeSet};

use base::Uuid;
use wire::ErrorCode;
use wire::messages::consumer_group_heartbeat_request::TopicPartitions;
use wire::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

use super::client::{Actions, Common, Member, Subscription, is_lost};
use super::coordinator::Request;
use super::{Ms, Tp, topic_id, topic_name, topic_number};
use crate::output::Reply;

const REQUEST_TIMEOUT_MS: Ms = 5_000;
const BACKOFF_MS: Ms = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Joining,
    Reconciling,
    Acknowledging,
    Stable,
    Left,
}

/// With the count of assignments that led to it, so that the same partitions assigned anew are acknowledged anew.
#[derive(Clone, Debug, PartialEq)]
struct LocalAssignment {
    count: u64,
    partitions: BTreeSet<Tp>,
}

/// An application being told of what it loses and gets.
struct Reconciliation {
    resolved: LocalAssignment,
    revoked_at: Ms,
}

/// What the last request said; what has not changed is left out of the next.
#[derive(Default)]
struct Sent {
    rebalance_timeout_ms: Option<i32>,
    names: Option<Vec<String>>,
    pattern: Option<&'static str>,
    assignor: bool,
    /// The outer is whether it was sent, the inner what.
    assignment: Option<Option<LocalAssignment>>,
}

pub(super) struct ConsumerClient {
    member_id: String,
    epoch: i32,
    assignor: Option<&'static str>,
    state: State,
    current: Option<LocalAssignment>,
    target: Option<LocalAssignment>,
    reconciliation: Option<Reconciliation>,
    sent: Sent,
    in_flight_since: Option<Ms>,
    heartbeat_at: Ms,
    retry_at: Ms,
    interval_ms: Ms,
}

impl ConsumerClient {
    pub(super) fn new(rng: &mut fastrand::Rng, assignor: Option<&'static str>) -> Self {
        Self {
            member_id: Uuid::random(rng).to_string(),
            epoch: 0,
            assignor,
            state: State::Joining,
            current: None,
            target: None,
            reconciliation: None,
            sent: Sent::default(),
            in_flight_since: None,
            heartbeat_at: 0,
            retry_at: 0,
            interval_ms: 1_000,
        }
    }

    fn reconcile(&mut self, c: &mut Common, at: Ms) {
        if self.state != State::Reconciling {
            self.reconciliation = None;
            return;
        }
        if self.reconciliation.is_none() && self.target != self.current {
            let Some(target) = &self.target else { return };
            // Topics that it has not heard of yet wait for the next metadata.
            let partitions = target.partitions.iter().copied().filter(|(number, _)| c.view.contains_key(number)).collect();
            let resolved = LocalAssignment { count: target.count, partitions };
            if self.current.as_ref().is_some_and(|current| current.partitions == resolved.partitions) {
                self.current = Some(resolved);
                self.state = State::Acknowledging;
                return;
            }
            let revokes = !c.owned.is_subset(&resolved.partitions);
            self.reconciliation = Some(Reconciliation { resolved, revoked_at: if revokes { at + c.callback_ms } else { at } });
        }
        if let Some(reconciliation) = self.reconciliation.take_if(|reconciliation| at >= reconciliation.revoked_at) {
            c.owned = reconciliation.resolved.partitions.clone();
            self.current = Some(reconciliation.resolved);
            self.state = State::Acknowledging;
        }
    }

    fn request(&mut self, c: &Common) -> ConsumerGroupHeartbeatRequest {
        let all = self.state == State::Joining;
        let mut request = ConsumerGroupHeartbeatRequest {
            group_id: c.group.clone(),
            member_id: self.member_id.clone(),
            member_epoch: self.epoch,
            instance_id: c.instance.clone(),
            rebalance_timeout_ms: -1,
            ..Default::default()
        };
        let sent = &mut self.sent;
        if all || sent.rebalance_timeout_ms != Some(c.rebalance_timeout_ms) {
            request.rebalance_timeout_ms = c.rebalance_timeout_ms;
            sent.rebalance_timeout_ms = Some(c.rebalance_timeout_ms);
        }
        let (names, pattern) = match &c.subscription {
            Subscription::Names(names) => (names.iter().map(|number| topic_name(*number)).collect(), None),
            Subscription::Pattern(pattern) => (Vec::new(), Some(*pattern)),
        };
        if all || sent.names.as_ref() != Some(&names) {
            request.subscribed_topic_names = Some(names.clone());
            sent.names = Some(names);
        }
        if (all && pattern.is_some()) || pattern != sent.pattern {
            request.subscribed_topic_regex = Some(pattern.unwrap_or("").to_owned());
            sent.pattern = pattern;
        }
        if self.assignor.is_some() && (all || !sent.assignor) {
            request.server_assignor = self.assignor.map(str::to_owned);
            sent.assignor = true;
        }
        if all || sent.assignment.as_ref() != Some(&self.current) {
            let mut topics: BTreeMap<u32, Vec<i32>> = BTreeMap::new();
            for (number, partition) in self.current.iter().flat_map(|current| &current.partitions) {
                topics.entry(*number).or_default().push(*partition);
            }
            let topic = |(number, partitions)| TopicPartitions { topic_id: topic_id(number), partitions, ..Default::default() };
            request.topic_partitions = Some(topics.into_iter().map(topic).collect());
            sent.assignment = Some(self.current.clone());
        }
        request
    }

    fn heartbeat(&mut self, c: &Common, at: Ms, actions: &mut Actions) {
        let request = self.request(c);
        if self.state == State::Acknowledging {
            self.state = if self.target == self.current { State::Stable } else { State::Reconciling };
        }
        self.in_flight_since = Some(at);
        self.heartbeat_at = at + self.interval_ms;
        actions.send(Request::ConsumerHeartbeat(request));
    }

    /// The coordinator does not know it any more: what it owned is lost, and it joins anew under the same member id.
    fn fenced(&mut self, c: &mut Common) {
        c.owned.clear();
        self.epoch = 0;
        self.current = None;
        self.target = None;
        self.reconciliation = None;
        self.state = State::Joining;
    }

    fn failed(&mut self, c: &mut Common, at: Ms, error: ErrorCode, actions: &mut Actions) {
        self.sent = Sent::default();
        self.retry_at = at + BACKOFF_MS;
        match error {
            _ if is_lost(error) => actions.disconnects = true,
            ErrorCode::CoordinatorLoadInProgress => {}
            ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId => self.fenced(c),
            error => actions.dies = Some(error),
        }
    }

    fn succeeded(&mut self, response: ConsumerGroupHeartbeatResponse) {
        if self.state == State::Left || response.member_epoch < 0 {
            return;
        }
        self.epoch = response.member_epoch;
        self.interval_ms = response.heartbeat_interval_ms as Ms;
        let Some(assignment) = response.assignment else { return };
        let partitions: BTreeSet<Tp> = assignment
            .topic_partitions
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|partition| (topic_number(topic.topic_id), *partition)))
            .collect();
        if self.target.as_ref().is_none_or(|target| target.partitions != partitions) {
            let count = self.target.as_ref().map_or(0, |target| target.count + 1);
            self.target = Some(LocalAssignment { count, partitions });
        }
        if self.target != self.current {
            self.state = State::Reconciling;
        } else if matches!(self.state, State::Reconciling | State::Joining) {
            self.state = State::Stable;
        }
    }
}

impl Member for ConsumerClient {
    fn poll(&mut self, c: &mut Common, at: Ms, actions: &mut Actions) {
        if self.state == State::Left {
            return;
        }
        self.reconcile(c, at);
        match self.in_flight_since {
            Some(since) if at >= since + REQUEST_TIMEOUT_MS => actions.disconnects = true,
            Some(_) => {}
            None if !c.connected || at < self.retry_at => {}
            None if at >= self.heartbeat_at || matches!(self.state, State::Acknowledging | State::Joining) => {
                self.heartbeat(c, at, actions);
            }
            None => {}
        }
    }

    fn answered(&mut self, c: &mut Common, at: Ms, reply: Reply, actions: &mut Actions) {
        // Commits are not waited for, and their errors are left to the heartbeats.
        let Reply::ConsumerGroupHeartbeat(response) = reply else { return };
        self.in_flight_since = None;
        match ErrorCode::from_code(response.error_code) {
            ErrorCode::None => self.succeeded(response),
            error => self.failed(c, at, error, actions),
        }
    }

    fn disconnected(&mut self, _c: &mut Common, at: Ms) {
        if self.in_flight_since.take().is_some() {
            self.sent = Sent::default();
            self.heartbeat_at = at;
        }
        self.retry_at = at + BACKOFF_MS;
    }

    fn close(&mut self, c: &mut Common, forever: bool, actions: &mut Actions) {
        c.owned.clear();
        if self.epoch > 0 && c.connected {
            self.epoch = if c.instance.is_some() && !forever { -2 } else { -1 };
            let request = self.request(c);
            actions.send(Request::ConsumerHeartbeat(request));
        }
        self.state = State::Left;
    }

    fn member_id(&self) -> &str {
        &self.member_id
    }

    fn epoch(&self) -> i32 {
        self.epoch
    }

    fn owns_as(&self) -> (&str, i32) {
        (&self.member_id, self.epoch)
    }

    fn may_commit(&self) -> bool {
        self.epoch > 0
    }

    fn is_stable(&self) -> bool {
        self.state == State::Stable && self.epoch > 0
    }

    fn protocol(&self) -> &'static str {
        "consumer"
    }
}
