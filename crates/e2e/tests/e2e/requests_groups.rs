//! The consumer group protocol (KIP-848) as raw requests, right ones and wrong ones, and the two protocols in one group: both brokers get the
//! same, and the whole answers are compared. Each line of the comparison is `name: answer`.

use bytes::Bytes;
use wire::messages::consumer_group_heartbeat_request::TopicPartitions;
use wire::messages::join_group_request::JoinGroupRequestProtocol;
use wire::messages::leave_group_request::MemberIdentity;
use wire::messages::metadata_request::MetadataRequestTopic;
use wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use wire::messages::sync_group_request::SyncGroupRequestAssignment;
use wire::messages::*;

use crate::requests::{Asker, both_with, create};
use crate::requests_moves::moves;

const LEAVE: i32 = -1;
const LEAVE_STATIC: i32 = -2;

/// Heartbeats a second apart: while a group moves Gregor asks for that at most, however long the configured interval is.
const PROPERTIES: &[&str] = &[
    "offsets.topic.num.partitions=1",
    "group.consumer.assignment.interval.ms=0",
    "group.consumer.min.heartbeat.interval.ms=1000",
    "group.consumer.heartbeat.interval.ms=1000",
];

#[test]
fn consumer_group_requests() {
    both_with("requests-groups", include_str!("../../known/requests_groups.txt"), PROPERTIES, |a| {
        create(a, &["g-one", "g-two"]);
        let ids = topic_ids(a);
        coordinator_serves(a);
        wrong_heartbeats(a, &ids);
        life_of_a_member(a, &ids);
        static_members(a);
        patterns(a);
        both_protocols(a, &ids);
        moves(a, &ids);
        describe_and_delete(a);
    });
}

/// The topics' ids, which differ between the brokers, and the names that stand for them.
pub(crate) struct Ids(Vec<(base::Uuid, &'static str)>);

impl Ids {
    pub(crate) fn of(&self, name: &str) -> base::Uuid {
        self.0.iter().find(|(_, n)| *n == name).expect("a topic of this test").0
    }

    pub(crate) fn hide(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (id, name)| text.replace(&format!("{id:?}"), name).replace(&id.to_string(), name))
    }
}

fn topic_ids(a: &mut Asker) -> Ids {
    let names = ["g-one", "g-two"];
    let topics = Some(names.iter().map(|n| MetadataRequestTopic { name: Some((*n).into()), ..Default::default() }).collect());
    let answer = a.send(&MetadataRequest { topics, ..Default::default() }, 12).expect("metadata");
    Ids(names.iter().map(|n| (answer.topics.iter().find(|t| t.name.as_deref() == Some(*n)).expect("a topic").topic_id, *n)).collect())
}

fn coordinator_serves(a: &mut Asker) {
    e2e::wait::until("the coordinator serves", || {
        let find = FindCoordinatorRequest { key: "g".into(), ..Default::default() };
        a.send(&find, 3).ok().filter(|r| r.error_code == 0)?;
        let unknown = HeartbeatRequest { group_id: "g-none".into(), generation_id: 1, member_id: "m".into(), ..Default::default() };
        a.send(&unknown, 4).ok().filter(|r| ![14, 15, 16].contains(&r.error_code)).map(|_| ())
    });
}

/// The first heartbeat of a member.
fn joining(group: &str, member: &str, topics: &[&str]) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: group.into(),
        member_id: member.into(),
        rebalance_timeout_ms: 5_000,
        subscribed_topic_names: Some(topics.iter().map(|t| (*t).into()).collect()),
        topic_partitions: Some(vec![]),
        ..Default::default()
    }
}

/// A heartbeat that says nothing new.
fn beat(group: &str, member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest { group_id: group.into(), member_id: member.into(), member_epoch: epoch, ..Default::default() }
}

fn owning(ids: &Ids, topic: &str, partitions: &[i32]) -> Option<Vec<TopicPartitions>> {
    Some(vec![TopicPartitions { topic_id: ids.of(topic), partitions: partitions.to_vec(), ..Default::default() }])
}

/// A heartbeat whose answer names topics.
fn ask(a: &mut Asker, ids: &Ids, name: &str, request: ConsumerGroupHeartbeatRequest) {
    let answer = a.send(&request, 1);
    a.line(name, &ids.hide(&answer.map_or_else(|e| e, |r| format!("{r:?}"))));
}

fn wrong_heartbeats(a: &mut Asker, ids: &Ids) {
    let good = || joining("g-wrong", "m", &["g-one"]);
    a.ask("beat, empty group", 1, ConsumerGroupHeartbeatRequest { group_id: String::new(), ..good() });
    a.ask("beat, empty member", 1, ConsumerGroupHeartbeatRequest { member_id: String::new(), ..good() });
    a.ask("beat, blank member", 1, ConsumerGroupHeartbeatRequest { member_id: "  ".into(), member_epoch: 3, ..good() });
    a.ask("beat, blank group", 1, ConsumerGroupHeartbeatRequest { group_id: " ".into(), member_epoch: 3, ..good() });
    a.ask("beat, empty instance", 1, ConsumerGroupHeartbeatRequest { instance_id: Some(String::new()), ..good() });
    a.ask("beat, empty rack", 1, ConsumerGroupHeartbeatRequest { rack_id: Some(String::new()), ..good() });
    a.ask("beat, no rebalance timeout", 1, ConsumerGroupHeartbeatRequest { rebalance_timeout_ms: -1, ..good() });
    a.ask("beat, negative rebalance timeout", 1, ConsumerGroupHeartbeatRequest { rebalance_timeout_ms: -7, member_epoch: 2, ..good() });
    a.ask("beat, null partitions", 1, ConsumerGroupHeartbeatRequest { topic_partitions: None, ..good() });
    a.ask("beat, partitions at joining", 1, ConsumerGroupHeartbeatRequest { topic_partitions: owning(ids, "g-one", &[0]), ..good() });
    a.ask("beat, no subscription", 1, ConsumerGroupHeartbeatRequest { subscribed_topic_names: None, ..good() });
    a.ask("beat, unknown assignor", 1, ConsumerGroupHeartbeatRequest { server_assignor: Some("magic".into()), ..good() });
    a.ask("beat, empty assignor", 1, ConsumerGroupHeartbeatRequest { server_assignor: Some(String::new()), ..good() });
    a.ask("beat, epoch -3", 1, ConsumerGroupHeartbeatRequest { member_epoch: -3, ..good() });
    a.ask("beat, smallest epoch", 1, ConsumerGroupHeartbeatRequest { member_epoch: i32::MIN, ..good() });
    a.ask("beat, static leave without instance", 1, ConsumerGroupHeartbeatRequest { member_epoch: LEAVE_STATIC, ..good() });
    a.ask("beat, leave of an unknown group", 1, beat("g-wrong", "m", LEAVE));
    a.ask("beat, unknown group with an epoch", 1, beat("g-wrong", "m", 5));
    a.ask("beat, bad pattern", 1, pattern("g-wrong", "m", "g-["));
    a.ask("beat, look-behind", 1, pattern("g-wrong", "m", "(?<=g)-one"));
    // Nested repetitions, which bring Apache Kafka down, are left to the coordinator's own tests.
    a.ask("beat, too many repetitions", 1, pattern("g-wrong", "m", "a{1001}"));
    a.ask("beat, back-reference", 1, pattern("g-wrong", "m", r"(g)\1"));
    a.ask("wrong heartbeats left no group", 5, ListGroupsRequest::default());
}

fn pattern(group: &str, member: &str, regex: &str) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        subscribed_topic_names: None,
        subscribed_topic_regex: Some(regex.into()),
        ..joining(group, member, &[])
    }
}

fn life_of_a_member(a: &mut Asker, ids: &Ids) {
    ask(a, ids, "life, joins", joining("g-life", "m1", &["g-one"]));
    ask(a, ids, "life, joins again", joining("g-life", "m1", &["g-one"]));
    ask(a, ids, "life, beats", beat("g-life", "m1", 2));
    ask(a, ids, "life, owns", ConsumerGroupHeartbeatRequest { topic_partitions: owning(ids, "g-one", &[0, 1]), ..beat("g-life", "m1", 2) });
    ask(a, ids, "life, an epoch too high", beat("g-life", "m1", 9));
    ask(a, ids, "life, an epoch too low", beat("g-life", "m1", 0));
    ask(a, ids, "life, a stranger", beat("g-life", "m9", 2));
    ask(a, ids, "life, second member joins", joining("g-life", "m2", &["g-one"]));
    ask(a, ids, "life, second member has nothing yet", beat("g-life", "m2", 3));
    ask(a, ids, "life, first member is told to revoke", beat("g-life", "m1", 2));
    ask(
        a,
        ids,
        "life, first member still owns",
        ConsumerGroupHeartbeatRequest { topic_partitions: owning(ids, "g-one", &[0, 1]), ..beat("g-life", "m1", 2) },
    );
    ask(
        a,
        ids,
        "life, first member has revoked",
        ConsumerGroupHeartbeatRequest { topic_partitions: owning(ids, "g-one", &[0]), ..beat("g-life", "m1", 2) },
    );
    ask(
        a,
        ids,
        "life, previous epoch and same partitions",
        ConsumerGroupHeartbeatRequest { topic_partitions: owning(ids, "g-one", &[0]), ..beat("g-life", "m1", 2) },
    );
    ask(
        a,
        ids,
        "life, previous epoch and other partitions",
        ConsumerGroupHeartbeatRequest { topic_partitions: owning(ids, "g-one", &[1]), ..beat("g-life", "m1", 2) },
    );
    ask(a, ids, "life, second member gets the rest", beat("g-life", "m2", 3));
    ask(
        a,
        ids,
        "life, second member acknowledges",
        ConsumerGroupHeartbeatRequest { topic_partitions: owning(ids, "g-one", &[1]), ..beat("g-life", "m2", 3) },
    );
    commits(a);
    ask(
        a,
        ids,
        "life, other topics",
        ConsumerGroupHeartbeatRequest { subscribed_topic_names: Some(vec!["g-one".into(), "g-two".into()]), ..beat("g-life", "m1", 3) },
    );
    ask(a, ids, "life, range", ConsumerGroupHeartbeatRequest { server_assignor: Some("range".into()), ..beat("g-life", "m2", 3) });
    ask(
        a,
        ids,
        "life, unknown topics",
        ConsumerGroupHeartbeatRequest { subscribed_topic_names: Some(vec!["g-nowhere".into()]), ..beat("g-life", "m2", 4) },
    );
    ask(a, ids, "life, leaves", beat("g-life", "m2", LEAVE));
    ask(a, ids, "life, leaves again", beat("g-life", "m2", LEAVE));
    ask(
        a,
        ids,
        "life, leaves with an instance nobody has",
        ConsumerGroupHeartbeatRequest { instance_id: Some("i".into()), ..beat("g-life", "m1", LEAVE_STATIC) },
    );
    a.ask(
        "life, version 0 makes the id",
        0,
        ConsumerGroupHeartbeatRequest { member_id: String::new(), rebalance_timeout_ms: -1, ..joining("g-zero", "", &["g-one"]) },
    );
    let zero = a.send(&joining("g-zero", "", &["g-one"]), 0);
    let shown = zero.map_or_else(
        |e| e,
        |r| format!("error {} epoch {} id given {}", r.error_code, r.member_epoch, r.member_id.is_some_and(|id| id.len() == 22)),
    );
    a.line("life, joins in version 0", &shown);
}

fn commit(group: &str, member: &str, epoch: i32, topic: &str, offset: i64) -> OffsetCommitRequest {
    OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: epoch,
        member_id: member.into(),
        topics: vec![OffsetCommitRequestTopic {
            name: topic.into(),
            partitions: vec![OffsetCommitRequestPartition {
                committed_offset: offset,
                committed_metadata: Some("note".into()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn commits(a: &mut Asker) {
    a.ask("commit, member", 9, commit("g-life", "m1", 3, "g-one", 3));
    a.ask("commit, stale epoch", 9, commit("g-life", "m1", 2, "g-one", 4));
    a.ask("commit, epoch too high", 9, commit("g-life", "m1", 7, "g-one", 4));
    a.ask("commit, stranger", 9, commit("g-life", "m7", 3, "g-one", 4));
    a.ask("commit, nobody", 9, commit("g-life", "", -1, "g-one", 4));
    a.ask("commit, old version", 8, commit("g-life", "m1", 3, "g-one", 4));
    a.ask("commit, unknown group", 9, commit("g-nobody", "m1", 2, "g-one", 4));
    a.ask("commit, unknown group without a member", 9, commit("g-simple", "", -1, "g-one", 4));
    a.ask("commit, unknown topic", 9, commit("g-life", "m1", 3, "g-nowhere", 4));
    let mut by_id = commit("g-life", "m1", 3, "", 4);
    by_id.topics[0].topic_id = base::Uuid::from_u128(9);
    a.ask("commit, unknown id", 10, by_id);
    a.ask("commit, no id", 10, commit("g-life", "m1", 3, "", 4));
    let fetch = |group: &str, member: Option<&str>, epoch: i32, topics| OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: group.into(),
            member_id: member.map(str::to_owned),
            member_epoch: epoch,
            topics,
            ..Default::default()
        }],
        ..Default::default()
    };
    let one = || Some(vec![OffsetFetchRequestTopics { name: "g-one".into(), partition_indexes: vec![0], ..Default::default() }]);
    a.ask("offsets, member", 9, fetch("g-life", Some("m1"), 3, one()));
    a.ask("offsets, stale epoch", 9, fetch("g-life", Some("m1"), 2, one()));
    a.ask("offsets, stranger", 9, fetch("g-life", Some("m7"), 3, one()));
    a.ask("offsets, stranger asks for all", 9, fetch("g-life", Some("m7"), 3, None));
    a.ask("offsets, nobody", 9, fetch("g-life", None, -1, one()));
    a.ask("offsets, nobody with an epoch", 9, fetch("g-life", None, 2, one()));
    a.ask("offsets, all", 9, fetch("g-life", None, -1, None));
    a.ask("offsets, unknown group with a member", 9, fetch("g-nobody", Some("m"), 2, one()));
    let unknown_id = OffsetFetchRequestTopics { topic_id: base::Uuid::from_u128(9), partition_indexes: vec![0, 1], ..Default::default() };
    a.ask("offsets, unknown id", 10, fetch("g-life", None, -1, Some(vec![unknown_id])));
    let no_id = OffsetFetchRequestTopics { partition_indexes: vec![0], ..Default::default() };
    a.ask("offsets, no id", 10, fetch("g-life", None, -1, Some(vec![no_id])));
}

fn static_members(a: &mut Asker) {
    let of = |member: &str, epoch: i32| {
        let base = if epoch == 0 { joining("g-static", member, &["g-nowhere"]) } else { beat("g-static", member, epoch) };
        ConsumerGroupHeartbeatRequest { instance_id: Some("i1".into()), ..base }
    };
    a.ask("static, joins", 1, of("s1", 0));
    a.ask("static, another with the same instance", 1, of("s2", 0));
    a.ask("static, another beats with the same instance", 1, of("s2", 2));
    a.ask("static, beats", 1, of("s1", 2));
    a.ask("static, goes for a moment", 1, of("s1", LEAVE_STATIC));
    a.ask("static, beats while away", 1, of("s1", 2));
    a.ask("static, comes back as another", 1, of("s3", 0));
    a.ask("static, the old one beats", 1, of("s1", 2));
    a.ask("static, the old one leaves for good", 1, of("s1", LEAVE));
    a.ask("static, the new one beats", 1, of("s3", 2));
    a.ask("static, leaves for good", 1, of("s3", LEAVE));
}

fn patterns(a: &mut Asker) {
    for (name, regex) in [
        ("whole names only", "g-on"),
        ("all", "g-.*"),
        ("quoted", r"\Qg-one\E"),
        ("alternatives", "g-(one|two)"),
        ("empty", ""),
        ("case", "(?i)G-ONE"),
    ] {
        let group = format!("g-pattern-{}", name.replace(' ', "-"));
        let _ = a.send(&pattern(&group, "p", regex), 1);
        // The pattern is resolved beside the heartbeats; wait until the member is up to date or nothing moves any more.
        let mut epoch = 1;
        let mut found = None;
        for _ in 0..40 {
            let Ok(answer) = a.send(&beat(&group, "p", epoch), 1) else { break };
            if answer.error_code == 0 {
                epoch = answer.member_epoch;
            }
            found = answer.assignment.or(found);
            if found.as_ref().is_some_and(|f| !f.topic_partitions.is_empty()) || name == "whole names only" || name == "empty" {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let topics = found.map_or(0, |f| f.topic_partitions.len());
        a.line(&format!("pattern, {name}"), &format!("{topics} topics"));
    }
}

fn both_protocols(a: &mut Asker, ids: &Ids) {
    // A subscription of Java's classic consumer: version 0, one topic.
    let subscription = Bytes::from_static(b"\0\0\0\0\0\x01\0\x05g-one\xff\xff\xff\xff");
    let join = |group: &str, member: &str, kind: &str, metadata: Bytes| JoinGroupRequest {
        group_id: group.into(),
        session_timeout_ms: 45_000,
        rebalance_timeout_ms: 5_000,
        member_id: member.into(),
        protocol_type: kind.into(),
        protocols: vec![JoinGroupRequestProtocol { name: "range".into(), metadata, ..Default::default() }],
        ..Default::default()
    };
    ask(a, ids, "both, consumer member", joining("g-both", "c1", &["g-one"]));
    let garbage = a.send(&join("g-both", "", "consumer", Bytes::from_static(b"m")), 9);
    a.line("both, classic member with odd metadata", &garbage.map_or_else(|e| e, |r| format!("error {}", r.error_code)));
    a.ask("both, classic member of another type", 9, join("g-both", "x", "connect", subscription.clone()));
    a.ask("both, classic stranger", 9, join("g-both", "x", "consumer", subscription.clone()));
    let asked = a.send(&join("g-both", "", "consumer", subscription.clone()), 9);
    let id = asked.as_ref().map(|r| r.member_id.clone()).unwrap_or_default();
    a.line("both, classic member without an id", &asked.map_or_else(|e| e, |r| format!("error {}", r.error_code)));
    let joined = a.send(&join("g-both", &id, "consumer", subscription), 9);
    a.line("both, classic member joins", &joined.map_or_else(|e| e, |r| format!("{r:?}").replace(&id, "ID")));
    let sync = SyncGroupRequest {
        group_id: "g-both".into(),
        generation_id: 4,
        member_id: id.clone(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: vec![SyncGroupRequestAssignment::default()],
        ..Default::default()
    };
    a.ask("both, classic member syncs another generation", 5, SyncGroupRequest { generation_id: 7, ..sync.clone() });
    a.ask("both, stranger syncs", 5, SyncGroupRequest { member_id: "x".into(), ..sync.clone() });
    a.ask("both, classic member syncs", 5, sync);
    let heartbeat = |member: &str, generation| HeartbeatRequest {
        group_id: "g-both".into(),
        generation_id: generation,
        member_id: member.into(),
        ..Default::default()
    };
    a.ask("both, classic heartbeat", 4, heartbeat(&id, 4));
    a.ask("both, classic heartbeat of another generation", 4, heartbeat(&id, 8));
    a.ask("both, classic heartbeat of the consumer member", 4, heartbeat("c1", 2));
    let crossed = a.send(&beat("g-both", &id, 4), 1);
    a.line("both, consumer heartbeat of the classic member", &crossed.map_or_else(|e| e, |r| format!("{r:?}").replace(&id, "ID")));
    a.ask("both, described as classic", 5, DescribeGroupsRequest { groups: vec!["g-both".into()], ..Default::default() });
    a.ask("both, described as classic in version 6", 6, DescribeGroupsRequest { groups: vec!["g-both".into()], ..Default::default() });
    let leave = |member: &str| LeaveGroupRequest {
        group_id: "g-both".into(),
        members: vec![MemberIdentity { member_id: member.into(), ..Default::default() }],
        ..Default::default()
    };
    a.ask("both, stranger leaves", 5, leave("x"));
    let left = a.send(&leave(&id), 5);
    a.line("both, classic member leaves", &left.map_or_else(|e| e, |r| format!("{r:?}").replace(&id, "ID")));
}

fn describe_and_delete(a: &mut Asker) {
    let ids = vec!["g-static".into(), "g-nobody".into(), "g-simple".into(), String::new()];
    a.ask(
        "describe consumer groups",
        1,
        ConsumerGroupDescribeRequest { group_ids: ids, include_authorized_operations: true, ..Default::default() },
    );
    a.ask("describe no consumer groups", 1, ConsumerGroupDescribeRequest::default());
    a.ask(
        "describe, one group twice",
        0,
        ConsumerGroupDescribeRequest { group_ids: vec!["g-nobody".into(), "g-nobody".into()], ..Default::default() },
    );
    let delete = |group: &str| DeleteGroupsRequest { groups_names: vec![group.into()], ..Default::default() };
    a.ask("delete a consumer group with members", 2, delete("g-life"));
    a.ask("delete an empty consumer group", 2, delete("g-static"));
    a.ask("delete it again", 2, delete("g-static"));
}
