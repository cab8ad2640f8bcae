//! Epochs, sessions, rebalance timeouts, static members, and requests that make no sense.

use wire::ErrorCode;
use wire::messages::ConsumerGroupHeartbeatRequest;

use super::*;
use crate::testing::context;

#[test]
fn requests_that_make_no_sense() {
    let mut h = Harness::new();
    let base = || joining("a", &["foo"]);
    let cases: Vec<(ConsumerGroupHeartbeatRequest, &str)> = vec![
        (ConsumerGroupHeartbeatRequest { member_id: " ".into(), ..base() }, "MemberId can't be empty."),
        (ConsumerGroupHeartbeatRequest { group_id: "".into(), ..base() }, "GroupId can't be empty."),
        (ConsumerGroupHeartbeatRequest { instance_id: Some("".into()), ..base() }, "InstanceId can't be empty."),
        (ConsumerGroupHeartbeatRequest { rack_id: Some("".into()), ..base() }, "RackId can't be empty."),
        (ConsumerGroupHeartbeatRequest { rebalance_timeout_ms: -1, ..base() }, "RebalanceTimeoutMs must be provided in first request."),
        (ConsumerGroupHeartbeatRequest { topic_partitions: None, ..base() }, "TopicPartitions must be empty when (re-)joining."),
        (
            ConsumerGroupHeartbeatRequest { subscribed_topic_names: None, ..base() },
            "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
        ),
        (ConsumerGroupHeartbeatRequest { member_epoch: -2, ..base() }, "InstanceId can't be null."),
        (ConsumerGroupHeartbeatRequest { member_epoch: -3, ..base() }, "MemberEpoch is invalid."),
    ];
    for (request, text) in cases {
        assert_eq!(h.refused(request), (ErrorCode::InvalidRequest, text.to_owned()));
    }
    assert_eq!(h.refused(beat("a", 5)), (ErrorCode::GroupIdNotFound, "Consumer group g not found.".to_owned()));
    assert_eq!(h.refused(beat("a", -1)), (ErrorCode::GroupIdNotFound, "Group g not found.".to_owned()));
    assert_eq!(h.shard.group_count(), 0);
}

#[test]
fn version_0_gives_out_member_ids() {
    let mut h = Harness::new();
    let token = h.token();
    let out = h.shard.consumer_group_heartbeat(h.now, &context(0), token, joining("", &["foo"]));
    h.drive(out);
    let Some(Reply::ConsumerGroupHeartbeat(response)) = h.reply(token) else { panic!("no answer") };
    assert_eq!(response.member_id.map(|id| id.len()), Some(22));
}

#[test]
fn epochs_that_are_not_the_members() {
    let mut h = Harness::new();
    let foo = h.topic("foo", 1, 0..2);
    h.told(joining("a", &["foo"]));
    let fenced = |which: &str, received: i32, known: i32| {
        let text = format!(
            "The consumer group member has a {which} member epoch ({received}) than the one known by the group coordinator ({known}). \
             The member must abandon all its partitions and rejoin."
        );
        (ErrorCode::FencedMemberEpoch, text)
    };
    assert_eq!(h.refused(beat("a", 3)), fenced("greater", 3, 2));
    assert_eq!(h.refused(beat("a", 1)), fenced("smaller", 1, 2));
    assert_eq!(h.refused(beat("b", 2)), (ErrorCode::UnknownMemberId, "Member b is not a member of group g.".to_owned()));
    // The answer that told the new epoch was lost: the one before is taken with partitions that are the member's.
    h.topic("foo", 1, 2..3);
    h.advance(1_000);
    assert_eq!(h.told(beat("a", 2)), (3, only(foo, &[0, 1, 2])));
    assert_eq!(h.refused(beat("a", 2)), fenced("smaller", 2, 3));
    assert_eq!(h.refused(owning("a", 2, &[(foo, &[7])])), fenced("smaller", 2, 3));
    assert_eq!(h.told(owning("a", 2, &[(foo, &[0, 1])])), (3, None));
    // A fenced member starts over with epoch 0, and gets what was its own.
    assert_eq!(h.told(joining("a", &["foo"])), (3, only(foo, &[0, 1, 2])));
}

#[test]
fn a_silent_member_is_fenced() {
    let mut h = Harness::new();
    let foo = h.topic("foo", 1, 0..2);
    h.told(joining("a", &["foo"]));
    h.advance(30_000);
    assert_eq!(h.told(joining("b", &["foo"])), (3, nothing()));
    let from = h.log.entries.len();
    h.advance(15_000);
    assert_eq!(h.written_since(from), [-8, -7, -5, 3]);
    assert_eq!(h.told(beat("b", 3)), (4, only(foo, &[0, 1])));
    // A fence that cannot be written is tried again.
    h.log.fail = Some(ErrorCode::NotEnoughReplicas);
    h.advance(45_000);
    assert_eq!(h.group().state(), "Stable");
    h.log.fail = None;
    h.advance(500);
    assert_eq!(h.group().state(), "Empty");
}

#[test]
fn a_member_that_keeps_what_it_must_revoke_is_fenced() {
    let mut h = Harness::new();
    let foo = h.topic("foo", 1, 0..2);
    h.told(joining("a", &["foo"]));
    h.advance(1_000);
    h.told(joining("b", &["foo"]));
    assert_eq!(h.told(beat("a", 2)), (2, only(foo, &[0])));
    h.advance(10_000);
    h.told(beat("a", 2));
    h.told(beat("b", 3));
    h.advance(9_999);
    assert!(h.group().member("a").is_some());
    h.advance(1);
    assert!(h.group().member("a").is_none());
    assert_eq!(h.told(beat("b", 3)), (4, only(foo, &[0, 1])));

    // One that has revoked in time stays.
    h.advance(1_000);
    h.told(joining("c", &["foo"]));
    h.told(beat("b", 4));
    h.told(owning("b", 4, &[(foo, &[0])]));
    h.advance(25_000);
    assert!(h.group().member("b").is_some());
}

#[test]
fn a_rebalance_timeout_survives_a_move_of_the_coordinator() {
    let mut h = Harness::new();
    h.topic("foo", 1, 0..2);
    h.told(joining("a", &["foo"]));
    h.advance(1_000);
    h.told(joining("b", &["foo"]));
    h.told(beat("a", 2));
    h.reload();
    h.advance(20_000);
    assert!(h.group().member("a").is_none());
}

#[test]
fn a_static_member_comes_back_to_what_it_had() {
    let mut h = Harness::new();
    let foo = h.topic("foo", 1, 0..2);
    h.told(joining_static("a1", "i1", &["foo"]));
    h.advance(1_000);
    h.told(joining_static("b1", "i2", &["foo"]));
    let owned = |m: &str, e: i32, p: &[i32]| ConsumerGroupHeartbeatRequest {
        instance_id: Some(if m.starts_with('a') { "i1" } else { "i2" }.to_owned()),
        ..owning(m, e, &[(foo, p)])
    };
    h.told(owned("a1", 2, &[0, 1]));
    h.told(owned("a1", 2, &[0]));
    assert_eq!(h.told(owned("b1", 3, &[])), (3, only(foo, &[1])));
    let epoch = h.group().epoch;

    // Two of the same instance id.
    let text = "Static member a2 with instance id i1 cannot join the group because the instance id is owned by a1 member.";
    assert_eq!(h.refused(joining_static("a2", "i1", &["foo"])), (ErrorCode::UnreleasedInstanceId, text.to_owned()));

    let from = h.log.entries.len();
    let away = ConsumerGroupHeartbeatRequest { member_epoch: -2, ..owned("a1", -2, &[]) };
    assert_eq!(h.consumer(away).member_epoch, -2);
    assert_eq!(h.written_since(from), [8]);
    let from = h.log.entries.len();
    assert_eq!(h.told(joining_static("a2", "i1", &["foo"])), (3, only(foo, &[0])));
    // The old id goes, the new one gets its records; nobody else notices.
    assert_eq!(h.written_since(from), [-8, -7, -5, 5, 7, 8, 8]);
    assert_eq!(h.group().epoch, epoch);
    assert_eq!(h.told(owned("b1", 3, &[1])), (3, None));

    let text = "Static member a1 with instance id i1 was fenced by member a2.";
    assert_eq!(h.refused(owned("a1", 3, &[0])), (ErrorCode::FencedInstanceId, text.to_owned()));
    let unknown = ConsumerGroupHeartbeatRequest { instance_id: Some("i9".to_owned()), ..beat("x", 3) };
    assert_eq!(h.refused(unknown), (ErrorCode::UnknownMemberId, "Instance id i9 is unknown.".to_owned()));
}

#[test]
fn a_static_member_that_stays_away_loses_its_place() {
    let mut h = Harness::new();
    h.topic("foo", 1, 0..2);
    h.told(joining_static("a1", "i1", &["foo"]));
    h.consumer(ConsumerGroupHeartbeatRequest { member_epoch: -2, instance_id: Some("i1".to_owned()), ..beat("a1", -2) });
    h.advance(45_000);
    assert_eq!(h.group().state(), "Empty");
}

#[test]
fn what_is_not_stored_has_not_happened() {
    let mut h = Harness::new();
    h.topic("foo", 1, 0..2);
    h.log.fail = Some(ErrorCode::NotEnoughReplicas);
    assert_eq!(h.refused(joining("a", &["foo"])).0, ErrorCode::CoordinatorNotAvailable);
    assert_eq!(h.shard.group_count(), 0);
    h.log.fail = None;
    // An answer waits for the high watermark.
    h.log.held = true;
    let token = h.send_consumer(joining("a", &["foo"]));
    assert_eq!(h.reply(token), None);
    h.commit_log();
    assert!(matches!(h.reply(token), Some(Reply::ConsumerGroupHeartbeat(r)) if r.member_epoch == 2));
}
