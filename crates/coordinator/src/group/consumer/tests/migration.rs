//! Groups that move between the protocols while they have members.

use bytes::Bytes;
use wire::messages::consumer_protocol_subscription::TopicPartition;
use wire::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription, JoinGroupRequest, JoinGroupResponse, SyncGroupResponse};
use wire::{Message, Reader};

use super::*;
use crate::config::{GroupConfig, MigrationPolicy};
use crate::testing::{join_request, sync_request};

fn metadata(topics: &[&str], owned: &[(&str, &[i32])]) -> Bytes {
    let owned = owned.iter().map(|(topic, partitions)| TopicPartition {
        topic: (*topic).to_owned(),
        partitions: partitions.to_vec(),
        ..Default::default()
    });
    let topics = topics.iter().map(|t| (*t).to_owned()).collect();
    let subscription = ConsumerProtocolSubscription { topics, owned_partitions: owned.collect(), ..Default::default() };
    crate::records::value(&subscription, 1).unwrap()
}

fn classic(member: &str, owned: &[i32]) -> JoinGroupRequest {
    let mut request = join_request(GROUP, member, &["range", "roundrobin"]);
    for protocol in &mut request.protocols {
        protocol.metadata = metadata(&["foo"], &[("foo", owned)]);
    }
    request
}

fn assigned(response: &SyncGroupResponse) -> Vec<i32> {
    let mut reader = Reader::new(response.assignment.clone());
    assert_eq!(reader.i16().unwrap(), 1);
    let assignment = ConsumerProtocolAssignment::decode(&mut reader, 1).unwrap();
    assignment.assigned_partitions.into_iter().flat_map(|t| t.partitions).collect()
}

impl Harness {
    fn synced_now(&mut self, generation: i32, member: &str) -> SyncGroupResponse {
        let token = self.send_sync(sync_request(GROUP, generation, member, &[]));
        self.synced(token)
    }

    /// A stable classic group whose members hold what is given.
    fn classic_group(&mut self, members: &[&[i32]]) -> Vec<JoinGroupResponse> {
        let ids: Vec<String> = (0..members.len()).map(|_| self.join(9, classic("", &[])).member_id).collect();
        let tokens: Vec<Token> = ids.iter().map(|id| self.send_join(9, classic(id, &[]))).collect();
        self.advance(6_000);
        let joined: Vec<JoinGroupResponse> = tokens.into_iter().map(|t| self.joined(t)).collect();
        let leader = joined[0].leader.clone();
        let encode = |partitions: &[i32]| {
            let topic = wire::messages::consumer_protocol_assignment::TopicPartition {
                topic: "foo".to_owned(),
                partitions: partitions.to_vec(),
                ..Default::default()
            };
            let assignment = ConsumerProtocolAssignment { assigned_partitions: vec![topic], ..Default::default() };
            crate::records::value(&assignment, 1).unwrap()
        };
        let mut request = sync_request(GROUP, 1, &leader, &[]);
        request.assignments = joined
            .iter()
            .zip(members)
            .map(|(j, partitions)| wire::messages::sync_group_request::SyncGroupRequestAssignment {
                member_id: j.member_id.clone(),
                assignment: encode(partitions),
                ..Default::default()
            })
            .collect();
        self.send_sync(request);
        for j in joined.iter().filter(|j| j.member_id != leader) {
            self.send_sync(sync_request(GROUP, 1, &j.member_id, &[]));
        }
        assert_eq!(self.state_of(GROUP), "Stable");
        joined
    }
}

#[test]
fn a_group_is_rolled_to_the_consumer_protocol_and_back() {
    let mut h = Harness::new();
    let foo = h.topic("foo", 1, 0..4);
    let joined = h.classic_group(&[&[0, 1, 2, 3]]);
    let a = joined[0].member_id.as_str();

    // The first member of the new protocol turns the group over.
    let from = h.log.entries.len();
    assert_eq!(h.told(joining("b", &["foo"])), (2, nothing()));
    assert_eq!(h.written_since(from), [-2, 5, 3, 7, 6, 8, 5, 3, 7, 7, 6, 8]);
    assert_eq!(h.described().members.iter().map(|m| m.member_type).sum::<i8>(), 1);

    // The classic member learns by its heartbeat, gives up half, and joins again for the rest of the way.
    assert_eq!(h.heartbeat(GROUP, 1, a), ErrorCode::RebalanceInProgress);
    let response = h.join(9, classic(a, &[0, 1, 2, 3]));
    assert_eq!((response.error_code, response.generation_id), (0, 1));
    assert_eq!((response.protocol_type.as_deref(), response.protocol_name.as_deref()), (Some("consumer"), Some("range")));
    assert_eq!(assigned(&h.synced_now(1, a)), [0, 1]);
    assert_eq!(h.heartbeat(GROUP, 1, a), ErrorCode::RebalanceInProgress);
    assert_eq!(h.join(9, classic(a, &[0, 1])).generation_id, 2);
    assert_eq!(assigned(&h.synced_now(2, a)), [0, 1]);
    assert_eq!(h.heartbeat(GROUP, 2, a), ErrorCode::None);
    assert_eq!(h.told(beat("b", 2)), (2, only(foo, &[2, 3])));
    assert_eq!(h.group().state(), "Stable");
    assert_eq!(h.commit(8, crate::testing::commit_request(GROUP, 1, a, 0, 5)), ErrorCode::IllegalGeneration);

    // The last member of the new protocol leaves: the group is classic again, and rebalances.
    let from = h.log.entries.len();
    h.consumer(beat("b", -1));
    assert_eq!(h.written_since(from), [-8, -8, -7, -7, -6, -5, -5, -4, -3, 2]);
    assert_eq!(h.state_of(GROUP), "PreparingRebalance");
    assert_eq!(h.heartbeat(GROUP, 2, a), ErrorCode::RebalanceInProgress);
    let response = h.join(9, classic(a, &[0, 1]));
    assert_eq!((response.generation_id, response.leader.as_str()), (3, a));
    // What b has held must find a new owner, also when the coordinator moves before the rebalance is over.
    h.reload();
    assert_eq!(h.state_of(GROUP), "PreparingRebalance");
    assert_eq!(h.join(9, classic(a, &[0, 1])).leader, a);
}

#[test]
fn a_member_that_changes_its_protocol_as_itself() {
    let mut h = Harness::new();
    let foo = h.topic("foo", 1, 0..2);
    h.told(joining_static("b1", "i1", &["foo"]));
    let joined = {
        let token = h.send_join(9, JoinGroupRequest { group_instance_id: Some("i2".to_owned()), ..classic("", &[]) });
        h.joined(token)
    };
    assert_eq!(joined.error_code, 0);
    // The static member of the new protocol comes back as a classic one: nobody is left to keep the group.
    let token = h.send_join(9, JoinGroupRequest { group_instance_id: Some("i1".to_owned()), ..classic("", &[]) });
    let back = h.joined(token);
    assert_eq!(back.error_code, 0);
    assert_eq!(h.state_of(GROUP), "PreparingRebalance");
    // And the other way: a classic static member is replaced by one of the new protocol.
    let (epoch, assignment) = h.told(joining_static("b2", "i1", &["foo"]));
    assert!(epoch > 0 && assignment.is_some_and(|a| a.keys().all(|t| *t == foo)));
    assert_eq!(h.described().members.len(), 2);
}

#[test]
fn parked_members_of_a_classic_rebalance_come_back() {
    let mut h = Harness::new();
    h.topic("foo", 1, 0..2);
    let joined = h.classic_group(&[&[0], &[1]]);
    let parked = h.send_join(9, classic(&joined[0].member_id, &[]));
    h.told(joining("b", &["foo"]));
    let answer = h.joined(parked);
    assert_eq!(ErrorCode::from_code(answer.error_code), ErrorCode::RebalanceInProgress);
}

#[test]
fn who_may_not_move() {
    let with = |policy| GroupConfig { consumer_migration_policy: policy, ..GroupConfig::default() };
    let mut h = Harness::with(with(MigrationPolicy::Downgrade), 1);
    h.topic("foo", 1, 0..2);
    h.classic_group(&[&[0]]);
    let text = "Cannot upgrade classic group g to consumer group because online upgrade is disabled.";
    assert_eq!(h.refused(joining("b", &["foo"])), (ErrorCode::GroupIdNotFound, text.to_owned()));

    let mut h = Harness::with(with(MigrationPolicy::Disabled), 1);
    h.told(joining("b", &["foo"]));
    let refused = h.join(9, classic("", &[]));
    assert_eq!(ErrorCode::from_code(refused.error_code), ErrorCode::InconsistentGroupProtocol);

    // Without downgrades, a group of classic members stays a consumer group.
    let mut h = Harness::with(with(MigrationPolicy::Upgrade), 1);
    h.topic("foo", 1, 0..2);
    h.classic_group(&[&[0, 1]]);
    h.told(joining("b", &["foo"]));
    h.consumer(beat("b", -1));
    assert_eq!(h.described().members.len(), 1);

    // Connect and the like are no consumers.
    let mut h = Harness::new();
    let mut worker = join_request(GROUP, "", &["default"]);
    worker.protocol_type = "connect".to_owned();
    h.send_join(3, worker);
    let text = "Cannot upgrade classic group g to consumer group because the group does not use the consumer embedded protocol.";
    assert_eq!(h.refused(joining("b", &["foo"])), (ErrorCode::GroupIdNotFound, text.to_owned()));
    let mut h = Harness::new();
    h.told(joining("b", &["foo"]));
    let mut worker = join_request(GROUP, "", &["default"]);
    worker.protocol_type = "connect".to_owned();
    let token = h.send_join(3, worker);
    assert_eq!(ErrorCode::from_code(h.joined(token).error_code), ErrorCode::InconsistentGroupProtocol);
}

#[test]
fn classic_members_that_do_not_come_back_are_fenced() {
    let mut h = Harness::new();
    h.topic("foo", 1, 0..2);
    let joined = h.classic_group(&[&[0, 1]]);
    let a = joined[0].member_id.as_str();
    h.told(joining("b", &["foo"]));
    // It keeps its session alive but does not join within its rebalance timeout.
    for _ in 0..11 {
        assert_eq!(h.heartbeat(GROUP, 1, a), ErrorCode::RebalanceInProgress);
        h.advance(5_000);
        h.told(beat("b", 2));
    }
    assert!(h.group().member(a).is_some());
    h.heartbeat(GROUP, 1, a);
    h.advance(5_000);
    assert!(h.group().member(a).is_none());

    // One that joins and does not sync.
    h.advance(1_000);
    let id = h.join(9, classic("", &[])).member_id;
    let request = JoinGroupRequest { session_timeout_ms: 100_000, rebalance_timeout_ms: 3_000, ..classic(&id, &[]) };
    assert_eq!(h.join(9, request).error_code, 0);
    h.advance(3_000);
    assert!(h.group().member(&id).is_none());
}

#[test]
fn leave_group_removes_members_of_both_protocols() {
    let mut h = Harness::new();
    h.topic("foo", 1, 0..2);
    h.told(joining_static("b", "i1", &["foo"]));
    h.told(joining("c", &["foo"]));
    let results = h.leave(GROUP, &[("", Some("i1")), ("nobody", None), ("x", Some("i1")), ("c", None)]);
    assert_eq!(results, [ErrorCode::None, ErrorCode::UnknownMemberId, ErrorCode::FencedInstanceId, ErrorCode::None]);
    assert_eq!(h.group().state(), "Empty");
}

#[test]
fn a_downgrade_that_is_not_stored_has_not_happened() {
    let mut h = Harness::new();
    h.topic("foo", 1, 0..2);
    h.classic_group(&[&[0, 1]]);
    h.told(joining("b", &["foo"]));
    h.log.fail = Some(ErrorCode::NotEnoughReplicas);
    assert_eq!(h.refused(beat("b", -1)).0, ErrorCode::CoordinatorNotAvailable);
    assert_eq!(h.group().members.len(), 2);
    h.log.fail = None;
    h.consumer(beat("b", -1));
    assert_eq!(h.state_of(GROUP), "PreparingRebalance");
}
