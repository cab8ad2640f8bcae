//! Joining, rebalancing, leaving.

use wire::ErrorCode;
use wire::messages::ConsumerGroupHeartbeatRequest;

use super::*;
use crate::config::GroupConfig;
use crate::testing::commit_request;

#[test]
fn the_first_member_gets_everything_and_its_records_are_kafkas() {
    let mut h = Harness::new();
    let foo = h.topic("foo", 1, 0..3);
    let from = h.log.entries.len();
    assert_eq!(h.told(joining("a", &["foo"])), (2, only(foo, &[0, 1, 2])));
    assert_eq!(h.written_since(from), [5, 3, 7, 6, 8]);
    assert_eq!(h.group().state(), "Stable");

    // Nothing new is told, and nothing written, until something changes; a full request is answered in full.
    let from = h.log.entries.len();
    assert_eq!(h.told(beat("a", 2)), (2, None));
    let full = ConsumerGroupHeartbeatRequest { member_epoch: 2, ..joining("a", &["foo"]) };
    assert_eq!(h.told(full), (2, only(foo, &[0, 1, 2])));
    assert_eq!(h.written_since(from), []);
}

#[test]
fn partitions_move_once_their_owner_has_given_them_up() {
    let mut h = Harness::new();
    let foo = h.topic("foo", 1, 0..4);
    h.told(joining("a", &["foo"]));
    h.advance(1_000);
    // The new member is in the new epoch, and waits.
    assert_eq!(h.told(joining("b", &["foo"])), (3, nothing()));
    assert_eq!(h.group().state(), "Reconciling");
    // The old one is told what to keep, and stays in its epoch until it has revoked the rest.
    assert_eq!(h.told(beat("a", 2)), (2, only(foo, &[0, 1])));
    assert_eq!(h.told(beat("a", 2)), (2, None));
    assert_eq!(h.told(owning("a", 2, &[(foo, &[0, 1, 2, 3])])), (2, None));
    assert_eq!(h.told(beat("b", 3)), (3, None));
    assert_eq!(h.told(owning("a", 2, &[(foo, &[0, 1])])), (3, None));
    assert_eq!(h.told(beat("b", 3)), (3, only(foo, &[2, 3])));
    assert_eq!(h.group().state(), "Stable");

    let described = h.described();
    assert_eq!((described.group_epoch, described.assignment_epoch, described.assignor_name.as_str()), (3, 3, "uniform"));
    assert_eq!(described.members.iter().map(|m| (m.member_id.as_str(), m.member_epoch)).collect::<Vec<_>>(), [("a", 3), ("b", 3)]);
    assert_eq!(described.members[1].assignment.topic_partitions[0].topic_name, "foo");
    assert_eq!(described.members[1].target_assignment, described.members[1].assignment);
    assert_eq!(described.members[1].member_type, 1);
}

#[test]
fn many_joins_are_assigned_once_an_interval() {
    let mut h = Harness::new();
    h.topic("foo", 1, 0..10);
    h.told(joining("m00", &["foo"]));
    let assignments = |h: &Harness| h.written_since(0).iter().filter(|t| **t == 6).count();
    assert_eq!(assignments(&h), 1);
    for i in 1..50 {
        assert_eq!(h.told(joining(&format!("m{i:02}"), &["foo"])).0, 2);
    }
    assert_eq!(assignments(&h), 1);
    assert_eq!(h.group().state(), "Assigning");
    h.advance(1_000);
    h.told(beat("m01", 2));
    assert_eq!(assignments(&h), 2);
    assert_eq!(h.group().epoch, 51);
}

#[test]
fn a_member_leaves_and_the_others_take_over() {
    let mut h = Harness::new();
    let foo = h.topic("foo", 1, 0..2);
    h.told(joining("a", &["foo"]));
    h.advance(1_000);
    h.told(joining("b", &["foo"]));
    h.told(beat("a", 2));
    h.told(owning("a", 2, &[(foo, &[0])]));
    assert_eq!(h.told(beat("b", 3)), (3, only(foo, &[1])));
    let from = h.log.entries.len();
    let left = h.consumer(beat("a", -1));
    assert_eq!((left.member_epoch, left.heartbeat_interval_ms), (-1, 0));
    assert_eq!(h.written_since(from), [-8, -7, -5, 3]);
    h.advance(1_000);
    assert_eq!(h.told(beat("b", 3)), (4, only(foo, &[0, 1])));
    h.consumer(beat("b", -1));
    assert_eq!(h.group().state(), "Empty");
    assert_eq!(h.group().metadata_hash, 0);
    assert_eq!(h.refused(beat("b", -1)), (ErrorCode::UnknownMemberId, "Member b is not a member of group g.".to_owned()));
}

#[test]
fn changes_of_topics_bring_a_new_assignment() {
    let mut h = Harness::new();
    assert_eq!(h.told(joining("a", &["foo"])), (2, nothing()));
    let foo = h.topic("foo", 1, 0..1);
    h.advance(1_000);
    assert_eq!(h.told(beat("a", 2)), (3, only(foo, &[0])));
    h.topic("foo", 1, 1..3);
    // Topics of others do not matter.
    h.topic("bar", 2, 0..3);
    h.advance(1_000);
    assert_eq!(h.told(beat("a", 3)), (4, only(foo, &[0, 1, 2])));
    h.metadata(&[wire::messages::RemoveTopicRecord { topic_id: foo, ..Default::default() }.into()]);
    h.advance(1_000);
    // The member still has to give up what it had.
    assert_eq!(h.told(beat("a", 4)), (4, nothing()));
    assert_eq!(h.told(owning("a", 4, &[])), (5, None));
}

#[test]
fn a_subscription_changes() {
    let mut h = Harness::new();
    let (foo, bar) = (h.topic("foo", 1, 0..1), h.topic("bar", 2, 0..1));
    h.told(joining("a", &["foo"]));
    // Within the interval there is no new target yet, but what is not subscribed to any more has to go.
    let changed = ConsumerGroupHeartbeatRequest { member_epoch: 2, ..joining("a", &["bar"]) };
    let request = ConsumerGroupHeartbeatRequest { topic_partitions: None, rebalance_timeout_ms: -1, ..changed };
    assert_eq!(h.told(request), (2, nothing()));
    h.advance(1_000);
    assert_eq!(h.told(owning("a", 2, &[(foo, &[0])])), (2, None));
    assert_eq!(h.told(owning("a", 2, &[])), (3, only(bar, &[0])));
}

#[test]
fn the_assignor_that_most_members_ask_for() {
    let mut h = Harness::new();
    h.topic("foo", 1, 0..1);
    let asking = |member: &str, assignor: Option<&str>| ConsumerGroupHeartbeatRequest {
        server_assignor: assignor.map(str::to_owned),
        ..joining(member, &["foo"])
    };
    h.told(asking("a", None));
    assert_eq!(h.described().assignor_name, "uniform");
    h.told(asking("b", Some("range")));
    assert_eq!(h.described().assignor_name, "range");
    let text = "ServerAssignor sticky is not supported. Supported assignors: ";
    let (error, message) = h.refused(asking("c", Some("sticky")));
    assert_eq!(error, ErrorCode::UnsupportedAssignor);
    assert!(message.starts_with(text), "{message}");
}

#[test]
fn a_full_group_takes_nobody_else() {
    let config = GroupConfig { consumer_max_size: 1, ..GroupConfig::default() };
    let mut h = Harness::with(config, 1);
    h.told(joining("a", &["foo"]));
    let full = (ErrorCode::GroupMaxSizeReached, "The consumer group has reached its maximum capacity of 1 members.".to_owned());
    assert_eq!(h.refused(joining("b", &["foo"])), full);
    h.told(joining("a", &["foo"]));
}

#[test]
fn members_come_sooner_while_the_group_moves() {
    let mut h = Harness::new();
    h.topic("foo", 1, 0..2);
    let interval = |h: &mut Harness, member: &str, epoch: i32| h.consumer(beat(member, epoch)).heartbeat_interval_ms;
    h.told(joining("a", &["foo"]));
    // Whoever comes first is rarely alone for long.
    assert_eq!(interval(&mut h, "a", 2), 1_000);
    h.advance(3_000);
    assert_eq!(interval(&mut h, "a", 2), 5_000);
    // The new member waits for what the old one has to give up, which comes when it comes.
    let joined = h.consumer(joining("b", &["foo"]));
    assert_eq!((joined.member_epoch, joined.heartbeat_interval_ms), (3, 1_000));
    h.advance(4_000);
    assert_eq!(interval(&mut h, "b", 3), 1_000);
    assert_eq!(interval(&mut h, "a", 2), 1_000);
    let given_up = ConsumerGroupHeartbeatRequest { topic_partitions: Some(vec![]), ..beat("a", 2) };
    assert_eq!(h.consumer(given_up).heartbeat_interval_ms, 5_000);
    assert_eq!(interval(&mut h, "b", 3), 5_000);
    assert_eq!(h.group().state(), "Stable");
}

#[test]
fn a_group_overrides_intervals_and_timeouts() {
    let mut h = Harness::new();
    let config = |name: &str, value: &str| {
        let value = Some(value.to_owned());
        let record = wire::messages::ConfigRecord {
            resource_type: 32,
            resource_name: GROUP.to_owned(),
            name: name.to_owned(),
            value,
            ..Default::default()
        };
        record.into()
    };
    h.told(joining("a", &["foo"]));
    h.advance(3_000);
    assert_eq!(h.consumer(beat("a", 2)).heartbeat_interval_ms, 5_000);
    h.metadata(&[config("consumer.heartbeat.interval.ms", "7000"), config("consumer.session.timeout.ms", "1000000")]);
    assert_eq!(h.consumer(beat("a", 2)).heartbeat_interval_ms, 7_000);
    // The broker's maximum holds.
    h.advance(59_999);
    assert_eq!(h.group().state(), "Stable");
    h.advance(1);
    assert_eq!(h.group().state(), "Empty");
}

#[test]
fn offsets_are_committed_by_members_in_their_epoch_or_for_what_they_held() {
    let mut h = Harness::new();
    // The partition of `commit_request`.
    let topic = h.topic("topic", 77, 0..2);
    h.told(joining("a", &["topic"]));
    assert_eq!(h.commit(9, commit_request(GROUP, 2, "a", 0, 5)), ErrorCode::None);
    assert_eq!(h.commit(8, commit_request(GROUP, 2, "a", 0, 5)), ErrorCode::UnsupportedVersion);
    assert_eq!(h.commit(9, commit_request(GROUP, 3, "a", 0, 5)), ErrorCode::StaleMemberEpoch);
    assert_eq!(h.commit(9, commit_request(GROUP, 1, "a", 0, 5)), ErrorCode::StaleMemberEpoch, "assigned in epoch 2");
    assert_eq!(h.commit(9, commit_request(GROUP, 2, "b", 0, 5)), ErrorCode::UnknownMemberId);
    assert_eq!(h.commit(9, commit_request(GROUP, -1, "", 0, 5)), ErrorCode::UnknownMemberId);
    // The epoch has moved on while the commit was on its way.
    h.topic("topic", 77, 2..3);
    h.advance(1_000);
    assert_eq!(h.told(beat("a", 2)), (3, only(topic, &[0, 1, 2])));
    assert_eq!(h.commit(9, commit_request(GROUP, 2, "a", 1, 6)), ErrorCode::None);
    assert_eq!(h.commit(9, commit_request(GROUP, 2, "a", 2, 6)), ErrorCode::StaleMemberEpoch);
    // Offsets of a group with members stay for as long as it subscribes to the topic; then they expire by their own age.
    h.consumer(beat("a", -1));
    h.advance(8 * 24 * 60 * 60 * 1_000);
    assert_eq!(h.shard.group_count(), 0);
}

/// What a deployment of many members does to one shard: none of it may cost as the square of them.
#[test]
fn a_thousand_members_join_and_settle() {
    let mut h = Harness::new();
    let foo = h.topic("foo", 1, 0..2_000);
    let ids: Vec<String> = (0..1_000).map(|i| format!("m{i:04}")).collect();
    let mut epochs: Vec<i32> = ids.iter().map(|id| h.told(joining(id, &["foo"])).0).collect();
    let first_heartbeats = h.log.entries.len();
    let mut held: Vec<Vec<i32>> = vec![Vec::new(); ids.len()];
    held[0] = (0..2_000).collect();
    for _ in 0..4 {
        h.advance(5_000);
        for (i, id) in ids.iter().enumerate() {
            let (epoch, assignment) = h.told(owning(id, epochs[i], &[(foo, &held[i])]));
            epochs[i] = epoch;
            if let Some(assignment) = assignment {
                held[i] = assignment.into_values().flatten().collect();
            }
        }
    }
    assert_eq!(h.group().state(), "Stable");
    assert!(held.iter().all(|partitions| partitions.len() == 2));
    // One more assignment for all, and a few steps of each member to it.
    assert!(h.log.entries.len() - first_heartbeats < 5 * ids.len());
}
