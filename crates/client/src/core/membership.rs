//! Owns: what a member of a group of the consumer protocol (KIP-848) knows and says: its epoch, what it was told to own, what it owns, which
//! fields the coordinator has heard already, and what each answer changes. Used by: the consumer's member task, which carries it out. Pure.
//! Kafka: `AbstractMembershipManager`, `ConsumerMembershipManager`, `ConsumerHeartbeatRequestManager.HeartbeatState`.

use base::{TopicPartition, Uuid};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use wire::ErrorCode;
use wire::messages::consumer_group_heartbeat_request::TopicPartitions;
use wire::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

/// Epochs of a member that goes: for good, or (static members) for a while.
pub const LEAVE_EPOCH: i32 = -1;
pub const LEAVE_STATIC_EPOCH: i32 = -2;

/// Partitions by topic id, as the coordinator names them.
pub type Owned = BTreeMap<Uuid, BTreeSet<i32>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not in the group, and not on the way into it.
    Unsubscribed,
    /// The next heartbeat joins.
    Joining,
    /// Told to own something else than it owns.
    Reconciling,
    /// The next heartbeat says what is owned now.
    Acknowledging,
    Stable,
    /// Thrown out; joins again when what it owned is given up.
    Fenced,
    /// Left because the application did not poll; joins again when it does.
    Stale,
    /// Refused for good.
    Fatal,
}

/// An assignment and its number. The number makes a repeated assignment different, so that it is acknowledged again.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Numbered {
    number: u64,
    partitions: Owned,
}

/// What the coordinator has heard.
#[derive(Debug, Default)]
struct Heard {
    rebalance_timeout_ms: Option<i32>,
    topics: Option<BTreeSet<String>>,
    pattern: Option<String>,
    assignor: bool,
    assignment: Option<Option<Numbered>>,
}

/// What does not change during the life of a member.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    pub group_id: String,
    pub member_id: String,
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub server_assignor: Option<String>,
    pub rebalance_timeout_ms: i32,
}

/// How to get from what is owned to what should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    number: u64,
    resolved: Owned,
    pub assigned: Vec<TopicPartition>,
    pub revoked: Vec<TopicPartition>,
    pub added: Vec<TopicPartition>,
}

/// What the target assignment asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Nothing,
    Carry(Plan),
}

/// What a failed heartbeat means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Ask for the coordinator again, then repeat.
    FindCoordinator,
    /// Repeat after a pause.
    RetryLater,
    /// Tell the application, and repeat.
    Report,
    /// Give up what is owned and join again.
    Fenced,
    /// Tell the application; the membership is over.
    Fatal,
}

#[derive(Debug)]
pub struct Membership {
    pub identity: Identity,
    pub epoch: i32,
    state: State,
    target: Option<Numbered>,
    current: Option<Numbered>,
    heard: Heard,
    /// Names of topics that were assigned; metadata may have forgotten them when they are revoked.
    names: HashMap<Uuid, String>,
}

impl Membership {
    pub fn new(identity: Identity) -> Self {
        Self { identity, epoch: 0, state: State::Unsubscribed, target: None, current: None, heard: Heard::default(), names: HashMap::new() }
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// A heartbeat should go out at once.
    pub fn in_a_hurry(&self) -> bool {
        matches!(self.state, State::Joining | State::Acknowledging)
    }

    /// Heartbeats are due at all.
    pub fn beats(&self) -> bool {
        matches!(self.state, State::Joining | State::Reconciling | State::Acknowledging | State::Stable)
    }

    pub fn join(&mut self) {
        if self.state == State::Fatal {
            return;
        }
        self.epoch = 0;
        self.state = State::Joining;
        self.forget_assignments();
    }

    fn forget_assignments(&mut self) {
        self.target = None;
        self.current = None;
        self.heard = Heard::default();
        self.names.clear();
    }

    /// The next heartbeat: everything when joining, else what changed since the last one that was answered.
    pub fn heartbeat(&mut self, topics: &BTreeSet<String>, pattern: Option<&str>) -> ConsumerGroupHeartbeatRequest {
        let all = self.state == State::Joining;
        let identity = &self.identity;
        let mut request = ConsumerGroupHeartbeatRequest {
            group_id: identity.group_id.clone(),
            member_id: identity.member_id.clone(),
            member_epoch: self.epoch,
            instance_id: identity.instance_id.clone(),
            rebalance_timeout_ms: -1,
            ..Default::default()
        };
        if all || self.heard.rebalance_timeout_ms != Some(identity.rebalance_timeout_ms) {
            request.rebalance_timeout_ms = identity.rebalance_timeout_ms;
            self.heard.rebalance_timeout_ms = Some(identity.rebalance_timeout_ms);
        }
        if all || self.heard.topics.as_ref() != Some(topics) {
            request.subscribed_topic_names = Some(topics.iter().cloned().collect());
            self.heard.topics = Some(topics.clone());
        }
        if (all && pattern.is_some()) || self.heard.pattern.as_deref() != pattern {
            // Empty takes an earlier pattern back.
            request.subscribed_topic_regex = Some(pattern.unwrap_or("").to_owned());
            self.heard.pattern = pattern.map(str::to_owned);
        }
        if all || !self.heard.assignor {
            request.server_assignor = identity.server_assignor.clone();
            self.heard.assignor = true;
        }
        if all || self.heard.assignment.as_ref() != Some(&self.current) {
            let owned = self.current.iter().flat_map(|current| &current.partitions);
            let list = |(topic_id, partitions): (&Uuid, &BTreeSet<i32>)| TopicPartitions {
                topic_id: *topic_id,
                partitions: partitions.iter().copied().collect(),
                ..Default::default()
            };
            request.topic_partitions = Some(owned.map(list).collect());
            self.heard.assignment = Some(self.current.clone());
        }
        if all {
            request.rack_id = identity.rack_id.clone();
        }
        if self.state == State::Acknowledging {
            self.state = if self.current == self.target { State::Stable } else { State::Reconciling };
        }
        request
    }

    /// Says goodbye; static members may stay for their session.
    pub fn leave(&mut self, for_good: bool) -> ConsumerGroupHeartbeatRequest {
        let epoch = if self.identity.instance_id.is_some() && !for_good { LEAVE_STATIC_EPOCH } else { LEAVE_EPOCH };
        ConsumerGroupHeartbeatRequest {
            group_id: self.identity.group_id.clone(),
            member_id: self.identity.member_id.clone(),
            member_epoch: epoch,
            instance_id: self.identity.instance_id.clone(),
            rebalance_timeout_ms: -1,
            ..Default::default()
        }
    }

    /// The membership ended by the application's will (or, `stale`, by its silence).
    pub fn left(&mut self, stale: bool) {
        if self.state != State::Fatal {
            self.state = if stale { State::Stale } else { State::Unsubscribed };
        }
        self.epoch = 0;
        self.forget_assignments();
    }

    /// What was said may not have been heard: it is all said again.
    pub fn unheard(&mut self) {
        self.heard = Heard::default();
    }

    /// A good answer.
    pub fn answered(&mut self, response: ConsumerGroupHeartbeatResponse) {
        if !self.beats() || response.member_epoch < 0 {
            return;
        }
        if let Some(id) = response.member_id.filter(|id| !id.is_empty()) {
            self.identity.member_id = id;
        }
        self.epoch = response.member_epoch;
        let Some(assignment) = response.assignment else { return };
        let mut partitions = Owned::new();
        for topic in assignment.topic_partitions {
            partitions.entry(topic.topic_id).or_default().extend(topic.partitions);
        }
        if self.target.as_ref().is_none_or(|target| target.partitions != partitions) {
            let number = self.target.as_ref().map_or(0, |target| target.number + 1);
            self.target = Some(Numbered { number, partitions });
        }
        if self.current != self.target {
            self.state = State::Reconciling;
        } else if matches!(self.state, State::Reconciling | State::Joining) {
            self.state = State::Stable;
        }
    }

    /// Topics of the target assignment whose names are not known.
    pub fn unresolved(&mut self, names: &HashMap<Uuid, String>) -> BTreeSet<Uuid> {
        let Some(target) = &self.target else { return BTreeSet::new() };
        let mut missing = BTreeSet::new();
        for id in target.partitions.keys() {
            match names.get(id) {
                Some(name) => {
                    self.names.insert(*id, name.clone());
                }
                None if self.names.contains_key(id) => {}
                None => {
                    missing.insert(*id);
                }
            }
        }
        missing
    }

    /// What to do about the target assignment, as far as its topics have names (`unresolved` looked them up).
    pub fn next_step(&mut self, owned: &[TopicPartition]) -> Step {
        let Some(target) = self.target.as_ref().filter(|_| self.state == State::Reconciling) else { return Step::Nothing };
        let known = target.partitions.iter().filter(|(id, _)| self.names.contains_key(*id));
        let resolved: Owned = known.map(|(id, partitions)| (*id, partitions.clone())).collect();
        if self.current.as_ref().is_some_and(|current| current.partitions == resolved) {
            // What can be done is done already: say so, and wait for the other names.
            if self.current.as_ref().is_some_and(|current| current.number != target.number) {
                self.current = Some(Numbered { number: target.number, partitions: resolved });
                self.state = State::Acknowledging;
            }
            return Step::Nothing;
        }
        let name = |id: &Uuid| self.names.get(id).map_or("", String::as_str);
        let mut assigned: Vec<TopicPartition> = resolved
            .iter()
            .flat_map(|(id, partitions)| partitions.iter().map(move |partition| TopicPartition::new(name(id), *partition)))
            .collect();
        assigned.sort();
        let plan = Plan {
            number: target.number,
            revoked: owned.iter().filter(|partition| !assigned.contains(partition)).cloned().collect(),
            added: assigned.iter().filter(|partition| !owned.contains(partition)).cloned().collect(),
            assigned,
            resolved,
        };
        Step::Carry(plan)
    }

    /// The application has done its part of `plan`: the coordinator is told.
    pub fn reconciled(&mut self, plan: &Plan) {
        if self.state == State::Reconciling {
            self.current = Some(Numbered { number: plan.number, partitions: plan.resolved.clone() });
            self.state = State::Acknowledging;
        }
    }

    pub fn fenced(&mut self) {
        self.state = State::Fenced;
        self.epoch = 0;
        self.forget_assignments();
    }

    pub fn fatal(&mut self) {
        self.state = State::Fatal;
        self.forget_assignments();
    }
}

/// What an error code in a heartbeat's answer means.
pub fn verdict(code: ErrorCode) -> Verdict {
    match code {
        ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable => Verdict::FindCoordinator,
        ErrorCode::CoordinatorLoadInProgress => Verdict::RetryLater,
        ErrorCode::TopicAuthorizationFailed => Verdict::Report,
        ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId => Verdict::Fenced,
        _ => Verdict::Fatal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions as Assigned};

    const T: Uuid = Uuid::from_u128(1);
    const U: Uuid = Uuid::from_u128(2);

    fn member() -> Membership {
        let identity = Identity { group_id: "g".into(), member_id: "m".into(), rebalance_timeout_ms: 300_000, ..Default::default() };
        Membership::new(identity)
    }

    fn answer(epoch: i32, assignment: Option<&[(Uuid, &[i32])]>) -> ConsumerGroupHeartbeatResponse {
        let topic = |(topic_id, partitions): &(Uuid, &[i32])| Assigned {
            topic_id: *topic_id,
            partitions: partitions.to_vec(),
            ..Default::default()
        };
        let assignment = assignment.map(|topics| Assignment { topic_partitions: topics.iter().map(topic).collect(), ..Default::default() });
        ConsumerGroupHeartbeatResponse { member_epoch: epoch, heartbeat_interval_ms: 5_000, assignment, ..Default::default() }
    }

    fn topics() -> BTreeSet<String> {
        ["t".to_owned()].into()
    }

    fn names() -> HashMap<Uuid, String> {
        [(T, "t".to_owned())].into()
    }

    fn tp(partition: i32) -> TopicPartition {
        TopicPartition::new("t", partition)
    }

    /// A member that joined and owns these partitions of `t`.
    fn settled(partitions: &[i32]) -> Membership {
        let mut member = member();
        member.join();
        member.heartbeat(&topics(), None);
        member.answered(answer(1, Some(&[(T, partitions)])));
        member.unresolved(&names());
        let Step::Carry(plan) = member.next_step(&[]) else { panic!("nothing to do") };
        member.reconciled(&plan);
        member.heartbeat(&topics(), None);
        assert_eq!(member.state(), State::Stable);
        member
    }

    #[test]
    fn joining_says_everything_and_later_heartbeats_only_news() {
        let mut member = member();
        member.join();
        let first = member.heartbeat(&topics(), None);
        assert_eq!((first.member_epoch, first.rebalance_timeout_ms), (0, 300_000));
        assert_eq!(first.subscribed_topic_names, Some(vec!["t".to_owned()]));
        assert_eq!(first.topic_partitions, Some(Vec::new()));
        assert_eq!(first.subscribed_topic_regex, None);
        let member = &mut settled(&[0]);
        let next = member.heartbeat(&topics(), None);
        assert_eq!((next.member_epoch, next.rebalance_timeout_ms), (1, -1));
        assert!(next.subscribed_topic_names.is_none() && next.topic_partitions.is_none());
        let pattern = member.heartbeat(&BTreeSet::new(), Some("t.*"));
        assert_eq!(pattern.subscribed_topic_regex.as_deref(), Some("t.*"));
        assert_eq!(member.heartbeat(&topics(), None).subscribed_topic_regex.as_deref(), Some(""));
    }

    #[test]
    fn what_was_not_heard_is_said_again() {
        let mut member = settled(&[0]);
        member.unheard();
        let again = member.heartbeat(&topics(), None);
        assert_eq!(again.topic_partitions.map(|topics| topics.len()), Some(1));
        assert!(again.subscribed_topic_names.is_some());
    }

    #[test]
    fn an_assignment_is_carried_out_and_acknowledged() {
        let mut member = settled(&[0, 1]);
        member.answered(answer(2, Some(&[(T, &[1, 2])])));
        let owned = [tp(0), tp(1)];
        let Step::Carry(plan) = member.next_step(&owned) else { panic!("nothing to do") };
        assert_eq!((plan.revoked.clone(), plan.added.clone()), (vec![tp(0)], vec![tp(2)]));
        // Heartbeats go on meanwhile and do not claim what is not owned yet.
        assert!(member.heartbeat(&topics(), None).topic_partitions.is_none());
        member.reconciled(&plan);
        assert!(member.in_a_hurry());
        let ack = member.heartbeat(&topics(), None).topic_partitions.unwrap();
        assert_eq!(ack[0].partitions, [1, 2]);
        assert_eq!(member.state(), State::Stable);
    }

    #[test]
    fn an_empty_first_assignment_is_told_to_the_application() {
        let mut member = member();
        member.join();
        member.heartbeat(&topics(), None);
        member.answered(answer(1, Some(&[])));
        assert!(matches!(member.next_step(&[]), Step::Carry(plan) if plan.added.is_empty()));
    }

    #[test]
    fn a_newer_target_follows_the_acknowledgement_of_the_older() {
        let mut member = settled(&[0]);
        member.answered(answer(2, Some(&[(T, &[0, 1])])));
        let Step::Carry(plan) = member.next_step(&[tp(0)]) else { panic!("nothing to do") };
        member.answered(answer(3, Some(&[(T, &[1])])));
        member.reconciled(&plan);
        member.heartbeat(&topics(), None);
        assert_eq!(member.state(), State::Reconciling);
        assert!(matches!(member.next_step(&[tp(0), tp(1)]), Step::Carry(plan) if plan.revoked == [tp(0)]));
    }

    #[test]
    fn topics_without_a_name_wait() {
        let mut member = settled(&[0]);
        member.answered(answer(2, Some(&[(T, &[0]), (U, &[5])])));
        assert_eq!(member.unresolved(&names()), [U].into());
        assert_eq!(member.next_step(&[tp(0)]), Step::Nothing);
        assert!(member.in_a_hurry());
        member.heartbeat(&topics(), None);
        assert_eq!(member.state(), State::Reconciling);
        assert_eq!(member.next_step(&[tp(0)]), Step::Nothing);
        assert!(!member.in_a_hurry());
        member.unresolved(&[(U, "u".to_owned())].into());
        assert!(matches!(member.next_step(&[tp(0)]), Step::Carry(plan) if plan.added == [TopicPartition::new("u", 5)]));
    }

    #[test]
    fn fencing_starts_over_with_the_same_member_id() {
        let mut member = settled(&[0]);
        member.fenced();
        member.join();
        let again = member.heartbeat(&topics(), None);
        assert_eq!((again.member_id.as_str(), again.member_epoch), ("m", 0));
        assert_eq!(again.topic_partitions, Some(Vec::new()));
    }

    #[test]
    fn leaving_says_for_how_long() {
        let mut member = settled(&[0]);
        assert_eq!(member.leave(false).member_epoch, LEAVE_EPOCH);
        member.identity.instance_id = Some("i".into());
        assert_eq!(member.leave(false).member_epoch, LEAVE_STATIC_EPOCH);
        assert_eq!(member.leave(true).member_epoch, LEAVE_EPOCH);
    }
}
