//! A group that moves from the classic protocol to the consumer protocol and back while it has members, as raw requests; part of the
//! comparison of `requests_groups`.

use bytes::Bytes;
use wire::messages::consumer_group_heartbeat_request::TopicPartitions;
use wire::messages::join_group_request::JoinGroupRequestProtocol;
use wire::messages::leave_group_request::MemberIdentity;
use wire::messages::sync_group_request::SyncGroupRequestAssignment;
use wire::messages::*;
use wire::{Message, Request, Writer};

use crate::requests::Asker;
use crate::requests_groups::Ids;

const GROUP: &str = "g-moves";

/// What is told apart in answers: member ids that the brokers made up.
struct Names(Vec<(String, &'static str)>);

impl Names {
    fn ask<R: Request>(&self, a: &mut Asker, ids: &Ids, name: &str, version: i16, request: R) -> Option<R::Response> {
        let answer = a.send(&request, version);
        let text = answer.as_ref().map_or_else(Clone::clone, |r| format!("{r:?}"));
        let text = self.0.iter().fold(ids.hide(&text), |text, (id, name)| text.replace(id, name));
        a.line(&format!("moves, {name}"), &text);
        answer.ok()
    }
}

fn embedded<M: Message>(message: &M) -> Bytes {
    let mut writer = Writer::new();
    writer.i16(1);
    message.encode(&mut writer, 1).expect("it encodes");
    writer.finish_bytes().expect("it lies in memory")
}

fn join(member: &str, owned: &[i32]) -> JoinGroupRequest {
    let owned = consumer_protocol_subscription::TopicPartition { topic: "g-one".into(), partitions: owned.to_vec(), ..Default::default() };
    let subscription = ConsumerProtocolSubscription { topics: vec!["g-one".into()], owned_partitions: vec![owned], ..Default::default() };
    let protocol = |name: &str| JoinGroupRequestProtocol { name: name.into(), metadata: embedded(&subscription), ..Default::default() };
    JoinGroupRequest {
        group_id: GROUP.into(),
        session_timeout_ms: 45_000,
        rebalance_timeout_ms: 20_000,
        member_id: member.into(),
        protocol_type: "consumer".into(),
        protocols: vec![protocol("range"), protocol("cooperative-sticky")],
        ..Default::default()
    }
}

fn sync(member: &str, generation_id: i32, assigned: Option<&[i32]>) -> SyncGroupRequest {
    let assignment = assigned.map(|partitions| {
        let topic =
            consumer_protocol_assignment::TopicPartition { topic: "g-one".into(), partitions: partitions.to_vec(), ..Default::default() };
        let assignment = embedded(&ConsumerProtocolAssignment { assigned_partitions: vec![topic], ..Default::default() });
        SyncGroupRequestAssignment { member_id: member.into(), assignment, ..Default::default() }
    });
    SyncGroupRequest {
        group_id: GROUP.into(),
        generation_id,
        member_id: member.into(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: assignment.into_iter().collect(),
        ..Default::default()
    }
}

fn beat(member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest { group_id: GROUP.into(), member_id: member.into(), member_epoch: epoch, ..Default::default() }
}

pub(crate) fn moves(a: &mut Asker, ids: &Ids) {
    let heartbeat = |member: &str, generation_id| HeartbeatRequest {
        group_id: GROUP.into(),
        generation_id,
        member_id: member.into(),
        ..Default::default()
    };
    let described = || DescribeGroupsRequest { groups: vec![GROUP.into()], ..Default::default() };

    let asked = a.send(&join("", &[]), 9).expect("a member id");
    let classic = asked.member_id.as_str();
    let names = Names(vec![(classic.to_owned(), "CLASSIC")]);
    names.ask(a, ids, "classic member joins", 9, join(classic, &[]));
    names.ask(a, ids, "classic member syncs", 5, sync(classic, 1, Some(&[0, 1])));

    let first = ConsumerGroupHeartbeatRequest {
        rebalance_timeout_ms: 20_000,
        subscribed_topic_names: Some(vec!["g-one".into()]),
        topic_partitions: Some(vec![]),
        ..beat("new", 0)
    };
    names.ask(a, ids, "consumer member joins", 1, first);
    names.ask(a, ids, "no classic group any more", 6, described());
    names.ask(a, ids, "classic member is told to join again", 4, heartbeat(classic, 1));
    names.ask(a, ids, "classic member asks for its assignment too early", 5, sync(classic, 1, None));
    names.ask(a, ids, "classic member joins again", 9, join(classic, &[0, 1]));
    names.ask(a, ids, "classic member is told what to keep", 5, sync(classic, 1, None));
    names.ask(a, ids, "classic member has to get on", 4, heartbeat(classic, 1));
    names.ask(a, ids, "classic member has revoked", 9, join(classic, &[0]));
    names.ask(a, ids, "classic member is in the new epoch", 5, sync(classic, 2, None));
    names.ask(a, ids, "classic member is at rest", 4, heartbeat(classic, 2));
    let owned = vec![TopicPartitions { topic_id: ids.of("g-one"), partitions: vec![], ..Default::default() }];
    names.ask(
        a,
        ids,
        "consumer member gets the rest",
        1,
        ConsumerGroupHeartbeatRequest { topic_partitions: Some(owned), ..beat("new", 2) },
    );

    names.ask(a, ids, "consumer member leaves", 1, beat("new", -1));
    names.ask(a, ids, "a classic group again", 6, described());
    names.ask(a, ids, "classic member is told of the rebalance", 4, heartbeat(classic, 2));
    names.ask(a, ids, "classic member leads again", 9, join(classic, &[0]));
    let leaves = MemberIdentity { member_id: classic.into(), ..Default::default() };
    names.ask(
        a,
        ids,
        "classic member leaves",
        5,
        LeaveGroupRequest { group_id: GROUP.into(), members: vec![leaves], ..Default::default() },
    );
    names.ask(a, ids, "an empty classic group", 6, described());
}
