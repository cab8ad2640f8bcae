//! A member of the classic protocol, eager or cooperative. Kafka's client: AbstractCoordinator, ConsumerCoordinator, RangeAssignor,
//! CooperativeStickyAssignor.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use wire::ErrorCode;
use wire::codec::{Message, Reader};
use wire::messages::join_group_request::JoinGroupRequestProtocol;
use wire::messages::leave_group_request::MemberIdentity;
use wire::messages::sync_group_request::SyncGroupRequestAssignment;
use wire::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    SyncGroupRequest, SyncGroupResponse, consumer_protocol_assignment, consumer_protocol_subscription,
};

use super::client::{Actions, Common, Member, is_lost, numbers};
use super::coordinator::Request;
use super::{Ms, Tp, number_of, topic_name};
use crate::output::Reply;
use crate::records;

const BACKOFF_MS: Ms = 100;
const HEARTBEAT_INTERVAL_MS: Ms = 1_000;
const REQUEST_TIMEOUT_MS: Ms = 5_000;
/// Longer than any rebalance takes: a client that gives up before has to start another.
const JOIN_TIMEOUT_MS: Ms = 30_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Unjoined,
    /// The application lets go of partitions; done at this time.
    Revoking(Ms),
    Joining,
    Syncing,
    Stable,
    Left,
}

pub(super) struct ClassicClient {
    cooperative: bool,
    member_id: String,
    /// -1 when it is in none.
    generation: i32,
    /// The member id and generation of its last assignment.
    given: (String, i32),
    phase: Phase,
    rejoin: bool,
    /// What has to go before joining is gone.
    prepared: bool,
    /// The topics of the subscription it joined with.
    joined_topics: BTreeSet<u32>,
    /// As leader: the topics of the group, and what it knew of them when it assigned.
    led: Option<(BTreeSet<u32>, BTreeMap<u32, i32>)>,
    /// The parked join or sync.
    parked_since: Option<Ms>,
    heartbeat_since: Option<Ms>,
    heartbeat_at: Ms,
    retry_at: Ms,
}

/// One member as the leader sees it.
struct Subscriber {
    id: String,
    topics: BTreeSet<u32>,
    owned: BTreeSet<Tp>,
    generation: i32,
}

impl ClassicClient {
    pub(super) fn new(cooperative: bool) -> Self {
        Self {
            cooperative,
            member_id: String::new(),
            generation: -1,
            given: (String::new(), -1),
            phase: Phase::Unjoined,
            rejoin: true,
            prepared: false,
            joined_topics: BTreeSet::new(),
            led: None,
            parked_since: None,
            heartbeat_since: None,
            heartbeat_at: 0,
            retry_at: 0,
        }
    }

    fn protocol_name(&self) -> &'static str {
        if self.cooperative { "cooperative-sticky" } else { "range" }
    }

    /// What it must let go of before it may join again.
    fn to_revoke(&self, c: &Common) -> BTreeSet<Tp> {
        let topics = c.topics();
        c.owned.iter().copied().filter(|(number, _)| !self.cooperative || !topics.contains(number)).collect()
    }

    fn prepare(&mut self, c: &mut Common, at: Ms, actions: &mut Actions) {
        if !self.prepared {
            if self.generation < 0 {
                // Others may have them by now: nothing to let go of in good order.
                c.owned.clear();
            } else if !self.to_revoke(c).is_empty() {
                self.phase = Phase::Revoking(at + c.callback_ms);
                return;
            }
            self.prepared = true;
        }
        self.join(c, at, actions);
    }

    fn revoked(&mut self, c: &mut Common, at: Ms, actions: &mut Actions) {
        let gone = if self.generation < 0 { c.owned.clone() } else { self.to_revoke(c) };
        c.owned.retain(|partition| !gone.contains(partition));
        self.prepared = true;
        self.phase = Phase::Unjoined;
        if c.connected {
            self.join(c, at, actions);
        }
    }

    fn join(&mut self, c: &Common, at: Ms, actions: &mut Actions) {
        self.joined_topics = c.topics();
        let mut owned: BTreeMap<u32, Vec<i32>> = BTreeMap::new();
        for (number, partition) in &c.owned {
            owned.entry(*number).or_default().push(*partition);
        }
        let subscription = ConsumerProtocolSubscription {
            topics: self.joined_topics.iter().map(|number| topic_name(*number)).collect(),
            owned_partitions: owned
                .into_iter()
                .map(|(number, partitions)| consumer_protocol_subscription::TopicPartition {
                    topic: topic_name(number),
                    partitions,
                    ..Default::default()
                })
                .collect(),
            generation_id: self.generation,
            ..Default::default()
        };
        self.phase = Phase::Joining;
        self.rejoin = false;
        self.parked_since = Some(at);
        actions.send(Request::Join(JoinGroupRequest {
            group_id: c.group.clone(),
            session_timeout_ms: c.session_timeout_ms,
            rebalance_timeout_ms: c.rebalance_timeout_ms,
            member_id: self.member_id.clone(),
            group_instance_id: c.instance.clone(),
            protocol_type: "consumer".to_owned(),
            protocols: vec![JoinGroupRequestProtocol {
                name: self.protocol_name().to_owned(),
                metadata: records::value(&subscription, 3).unwrap(),
                ..Default::default()
            }],
            ..Default::default()
        }));
    }

    fn joined(&mut self, c: &mut Common, at: Ms, response: JoinGroupResponse, actions: &mut Actions) {
        if self.phase != Phase::Joining {
            return;
        }
        self.parked_since = None;
        match ErrorCode::from_code(response.error_code) {
            ErrorCode::None => {}
            ErrorCode::MemberIdRequired => {
                self.member_id = response.member_id;
                self.generation = -1;
                return self.join(c, at, actions);
            }
            error => return self.failed(error, at, actions),
        }
        self.generation = response.generation_id;
        self.member_id = response.member_id.clone();
        self.heartbeat_at = at + HEARTBEAT_INTERVAL_MS;
        self.phase = Phase::Syncing;
        self.parked_since = Some(at);
        self.led = None;
        let mut assignments = Vec::new();
        if response.leader == response.member_id {
            let subscribers: Vec<Subscriber> = response.members.iter().map(|member| read(&member.member_id, &member.metadata)).collect();
            let topics = subscribers.iter().flat_map(|subscriber| &subscriber.topics).copied().collect();
            self.led = Some((topics, c.view.clone()));
            if !response.skip_assignment {
                let assigned = if self.cooperative { sticky(&subscribers, &c.view) } else { range(&subscribers, &c.view) };
                assignments = assigned.into_iter().map(|(id, partitions)| written(id, &partitions)).collect();
            }
        }
        actions.send(Request::Sync(SyncGroupRequest {
            group_id: c.group.clone(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: c.instance.clone(),
            protocol_type: Some("consumer".to_owned()),
            protocol_name: Some(self.protocol_name().to_owned()),
            assignments,
            ..Default::default()
        }));
    }

    fn synced(&mut self, c: &mut Common, at: Ms, response: SyncGroupResponse, actions: &mut Actions) {
        if self.phase != Phase::Syncing {
            return;
        }
        self.parked_since = None;
        match ErrorCode::from_code(response.error_code) {
            ErrorCode::None => {}
            error => return self.failed(error, at, actions),
        }
        let mut reader = Reader::new(response.assignment);
        let assigned = reader.i16().ok().and_then(|version| ConsumerProtocolAssignment::decode(&mut reader, version).ok());
        let assigned: BTreeSet<Tp> = assigned
            .iter()
            .flat_map(|assignment| &assignment.assigned_partitions)
            .filter_map(|topic| Some((number_of(&topic.topic)?, &topic.partitions)))
            .flat_map(|(number, partitions)| partitions.iter().map(move |partition| (number, *partition)))
            .collect();
        let revokes = !c.owned.is_subset(&assigned);
        self.phase = Phase::Stable;
        self.prepared = false;
        if assigned.iter().any(|(number, _)| !self.joined_topics.contains(number)) {
            // Not for the subscription it has: as if nothing had been assigned.
            self.rejoin = true;
            return;
        }
        c.owned = assigned;
        self.given = (self.member_id.clone(), self.generation);
        // What was taken from it can only now be given to another.
        self.rejoin |= self.cooperative && revokes;
    }

    /// An error of a join or a sync, with which it is out of the group's rebalance.
    fn failed(&mut self, error: ErrorCode, at: Ms, actions: &mut Actions) {
        self.phase = Phase::Unjoined;
        self.rejoin = true;
        self.retry_at = at + BACKOFF_MS;
        match error {
            ErrorCode::RebalanceInProgress | ErrorCode::CoordinatorLoadInProgress => {}
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration => self.reset(error),
            _ if is_lost(error) => actions.disconnects = true,
            error => actions.dies = Some(error),
        }
    }

    fn reset(&mut self, error: ErrorCode) {
        self.generation = -1;
        if error == ErrorCode::UnknownMemberId {
            self.member_id.clear();
        }
        self.rejoin = true;
        if matches!(self.phase, Phase::Syncing | Phase::Stable) {
            self.phase = Phase::Unjoined;
            self.parked_since = None;
        }
    }

    /// An error of a heartbeat or a commit sent in the present generation.
    fn refused(&mut self, error: ErrorCode, actions: &mut Actions) {
        match error {
            ErrorCode::RebalanceInProgress => self.rejoin |= self.phase == Phase::Stable,
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration if self.generation >= 0 && self.phase != Phase::Joining => {
                self.reset(error);
            }
            ErrorCode::FencedInstanceId => actions.dies = Some(error),
            _ if is_lost(error) => actions.disconnects = true,
            _ => {}
        }
    }

    /// Whether the topics have changed since it joined, or, as leader, since it assigned.
    fn is_outdated(&self, c: &Common) -> bool {
        let changed = |(topics, view): &(BTreeSet<u32>, BTreeMap<u32, i32>)| topics.iter().any(|n| view.get(n) != c.view.get(n));
        self.phase == Phase::Stable && (c.topics() != self.joined_topics || self.led.as_ref().is_some_and(changed))
    }
}

impl Member for ClassicClient {
    fn poll(&mut self, c: &mut Common, at: Ms, actions: &mut Actions) {
        if self.phase == Phase::Left {
            return;
        }
        if let Phase::Revoking(until) = self.phase
            && at >= until
        {
            self.revoked(c, at, actions);
        }
        let timeout = if self.phase == Phase::Joining { JOIN_TIMEOUT_MS } else { REQUEST_TIMEOUT_MS };
        let is_late = |since: Option<Ms>, timeout: Ms| since.is_some_and(|since| at >= since + timeout);
        if is_late(self.parked_since, timeout) || is_late(self.heartbeat_since, REQUEST_TIMEOUT_MS) {
            actions.disconnects = true;
            return;
        }
        self.rejoin |= self.is_outdated(c);
        if !c.connected {
            return;
        }
        if self.rejoin && matches!(self.phase, Phase::Unjoined | Phase::Stable) && at >= self.retry_at {
            self.prepare(c, at, actions);
        }
        let beats = matches!(self.phase, Phase::Revoking(_) | Phase::Syncing | Phase::Stable) && self.generation >= 0;
        if beats && self.heartbeat_since.is_none() && at >= self.heartbeat_at {
            self.heartbeat_since = Some(at);
            self.heartbeat_at = at + HEARTBEAT_INTERVAL_MS;
            actions.send(Request::Heartbeat(HeartbeatRequest {
                group_id: c.group.clone(),
                generation_id: self.generation,
                member_id: self.member_id.clone(),
                group_instance_id: c.instance.clone(),
                ..Default::default()
            }));
        }
    }

    fn answered(&mut self, c: &mut Common, at: Ms, reply: Reply, actions: &mut Actions) {
        match reply {
            Reply::JoinGroup(response) => self.joined(c, at, response, actions),
            Reply::SyncGroup(response) => self.synced(c, at, response, actions),
            Reply::Heartbeat(response) => {
                self.heartbeat_since = None;
                self.refused(ErrorCode::from_code(response.error_code), actions);
            }
            Reply::OffsetCommit(response) => {
                let errors = response.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code);
                if let Some(error) = errors.into_iter().find(|error| *error != 0) {
                    self.refused(ErrorCode::from_code(error), actions);
                }
            }
            _ => {}
        }
    }

    fn disconnected(&mut self, _c: &mut Common, at: Ms) {
        self.heartbeat_since = None;
        if self.parked_since.take().is_some() {
            self.phase = Phase::Unjoined;
            self.rejoin = true;
        }
        self.retry_at = at + BACKOFF_MS;
    }

    fn close(&mut self, c: &mut Common, forever: bool, actions: &mut Actions) {
        c.owned.clear();
        if !self.member_id.is_empty() && c.connected && (c.instance.is_none() || forever) {
            actions.send(Request::Leave(LeaveGroupRequest {
                group_id: c.group.clone(),
                members: vec![MemberIdentity {
                    member_id: self.member_id.clone(),
                    group_instance_id: c.instance.clone(),
                    ..Default::default()
                }],
                ..Default::default()
            }));
        }
        self.phase = Phase::Left;
    }

    fn member_id(&self) -> &str {
        &self.member_id
    }

    fn epoch(&self) -> i32 {
        self.generation
    }

    fn owns_as(&self) -> (&str, i32) {
        (&self.given.0, self.given.1)
    }

    fn may_commit(&self) -> bool {
        self.generation >= 0 && matches!(self.phase, Phase::Stable | Phase::Revoking(_))
    }

    fn is_stable(&self) -> bool {
        self.phase == Phase::Stable && !self.rejoin
    }

    fn protocol(&self) -> &'static str {
        "classic"
    }
}

fn read(member_id: &str, metadata: &Bytes) -> Subscriber {
    let mut reader = Reader::new(metadata.clone());
    let version = reader.i16().unwrap();
    let subscription = ConsumerProtocolSubscription::decode(&mut reader, version).unwrap();
    let owned = subscription.owned_partitions.iter().filter_map(|topic| Some((number_of(&topic.topic)?, &topic.partitions)));
    Subscriber {
        id: member_id.to_owned(),
        owned: owned.flat_map(|(number, partitions)| partitions.iter().map(move |partition| (number, *partition))).collect(),
        topics: numbers(subscription.topics),
        generation: subscription.generation_id,
    }
}

fn written(member_id: String, partitions: &BTreeSet<Tp>) -> SyncGroupRequestAssignment {
    let mut topics: BTreeMap<u32, Vec<i32>> = BTreeMap::new();
    for (number, partition) in partitions {
        topics.entry(*number).or_default().push(*partition);
    }
    let topic =
        |(number, partitions)| consumer_protocol_assignment::TopicPartition { topic: topic_name(number), partitions, ..Default::default() };
    let assignment = ConsumerProtocolAssignment { assigned_partitions: topics.into_iter().map(topic).collect(), ..Default::default() };
    SyncGroupRequestAssignment { member_id, assignment: records::value(&assignment, 3).unwrap(), ..Default::default() }
}

fn range(members: &[Subscriber], view: &BTreeMap<u32, i32>) -> BTreeMap<String, BTreeSet<Tp>> {
    let mut assigned: BTreeMap<String, BTreeSet<Tp>> = members.iter().map(|member| (member.id.clone(), BTreeSet::new())).collect();
    for (number, count) in view {
        let subscribers: Vec<&Subscriber> = members.iter().filter(|member| member.topics.contains(number)).collect();
        for partition in 0..*count {
            if !subscribers.is_empty() {
                let at = partition as usize * subscribers.len() / *count as usize;
                assigned.entry(subscribers[at].id.clone()).or_default().insert((*number, partition));
            }
        }
    }
    assigned
}

/// As the cooperative-sticky assignor: everybody keeps what it owns as far as the balance allows, and what has to change hands is assigned to
/// nobody until its owner has let go of it.
fn sticky(members: &[Subscriber], view: &BTreeMap<u32, i32>) -> BTreeMap<String, BTreeSet<Tp>> {
    let all: Vec<Tp> = view.iter().flat_map(|(number, count)| (0..*count).map(|partition| (*number, partition))).collect();
    let subscribers = |tp: &Tp| (0..members.len()).filter(|at| members[*at].topics.contains(&tp.0)).collect::<Vec<usize>>();
    // Of two that claim a partition the one of the later generation is believed, of equals neither.
    let mut claims: BTreeMap<Tp, Vec<usize>> = BTreeMap::new();
    for (at, member) in members.iter().enumerate() {
        for tp in member.owned.iter().filter(|tp| member.topics.contains(&tp.0)) {
            let claim = claims.entry(*tp).or_default();
            let known = claim.first().map_or(i32::MIN, |other| members[*other].generation);
            if member.generation > known {
                claim.clear();
            }
            if member.generation >= known {
                claim.push(at);
            }
        }
    }
    let mut owner: BTreeMap<Tp, usize> = BTreeMap::new();
    let mut load = vec![0usize; members.len()];
    for tp in &all {
        if let Some([at]) = claims.get(tp).map(Vec::as_slice) {
            owner.insert(*tp, *at);
            load[*at] += 1;
        }
    }
    for tp in &all {
        if let (None, Some(at)) = (owner.get(tp), subscribers(tp).into_iter().min_by_key(|at| load[*at])) {
            owner.insert(*tp, at);
            load[at] += 1;
        }
    }
    for tp in all.iter().chain(&all) {
        let (Some(from), Some(to)) = (owner.get(tp).copied(), subscribers(tp).into_iter().min_by_key(|at| load[*at])) else { continue };
        if load[to] + 1 < load[from] {
            owner.insert(*tp, to);
            load[from] -= 1;
            load[to] += 1;
        }
    }
    let mut assigned: BTreeMap<String, BTreeSet<Tp>> = members.iter().map(|member| (member.id.clone(), BTreeSet::new())).collect();
    for (tp, at) in owner {
        let claimed_by_another = members.iter().enumerate().any(|(other, member)| other != at && member.owned.contains(&tp));
        if !claimed_by_another {
            assigned.entry(members[at].id.clone()).or_default().insert(tp);
        }
    }
    assigned
}
