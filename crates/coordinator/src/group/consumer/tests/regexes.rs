//! Subscriptions by regular expression.

use wire::ErrorCode;
use wire::messages::ConsumerGroupHeartbeatRequest;

use super::*;
use crate::Resolution;

fn matching(member: &str, regex: &str) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest { subscribed_topic_regex: Some(regex.to_owned()), subscribed_topic_names: None, ..joining(member, &[]) }
}

#[test]
fn a_regular_expression_is_resolved_after_the_heartbeat_that_brings_it() {
    let mut h = Harness::new();
    let foo = h.topic("foo-1", 1, 0..1);
    h.topic("bar", 2, 0..1);
    let from = h.log.entries.len();
    // The group epoch moves on when it is known what the expression stands for. Without one yet, the first one holds.
    assert_eq!(h.told(matching("a", "foo.*")), (1, nothing()));
    assert_eq!(h.written_since(from), [5, 8, 16, 3]);
    assert_eq!(h.told(beat("a", 1)), (2, only(foo, &[0])));
    assert!(h.group().is_subscribed_to("foo-1"));
    assert!(!h.group().is_subscribed_to("bar"));

    // A second member with the same expression need not wait.
    h.advance(1_000);
    assert_eq!(h.told(matching("b", "foo.*")), (3, nothing()));
}

#[test]
fn new_topics_are_noticed_and_old_ones_go() {
    let mut h = Harness::new();
    let one = h.topic("foo-1", 1, 0..1);
    h.told(matching("a", "foo.*"));
    h.told(beat("a", 1));
    let two = h.topic("foo-2", 2, 0..1);
    // Not more often than every ten seconds.
    h.advance(10_000);
    assert_eq!(h.told(beat("a", 2)), (2, None));
    h.advance(1);
    assert_eq!(h.told(beat("a", 2)), (2, None));
    let (epoch, assignment) = h.told(beat("a", 2));
    assert_eq!((epoch, assignment.map(|a| a.into_keys().collect())), (3, Some(vec![one, two])));
    // Nothing new: nothing is looked at for ten minutes.
    let from = h.log.entries.len();
    for _ in 0..19 {
        h.advance(30_000);
        h.told(beat("a", 3));
    }
    assert_eq!(h.written_since(from), []);
    h.advance(30_001);
    h.told(beat("a", 3));
    assert_eq!(h.written_since(from), [16]);
}

#[test]
fn an_expression_that_nobody_uses_any_more_goes() {
    let mut h = Harness::new();
    let foo = h.topic("foo-1", 1, 0..1);
    h.told(matching("a", "foo.*"));
    h.told(beat("a", 1));
    let from = h.log.entries.len();
    h.advance(1_000);
    let by_name = ConsumerGroupHeartbeatRequest {
        subscribed_topic_names: Some(vec!["foo-1".to_owned()]),
        subscribed_topic_regex: Some(String::new()),
        ..beat("a", 2)
    };
    assert_eq!(h.told(by_name), (3, None));
    assert_eq!(h.written_since(from), [5, -16, 3, 6, 8]);
    assert_eq!(h.told(ConsumerGroupHeartbeatRequest { member_epoch: 3, ..joining("a", &["foo-1"]) }), (3, only(foo, &[0])));

    h.advance(1_000);
    h.told(matching("b", "foo.*"));
    h.told(beat("b", 3));
    let from = h.log.entries.len();
    h.consumer(beat("b", -1));
    assert_eq!(h.written_since(from), [-8, -7, -5, -16, 3]);
    assert!(h.group().is_subscribed_to("foo-1"), "by name still");
}

#[test]
fn expressions_that_cannot_be_read() {
    let mut h = Harness::new();
    let (error, text) = h.refused(matching("a", "["));
    assert_eq!(error, ErrorCode::InvalidRegularExpression);
    assert_eq!(text, "SubscribedTopicRegex `[` is not a valid regular expression: missing closing ].");
    assert_eq!(h.shard.group_count(), 0);
    // An empty one subscribes to nothing.
    assert_eq!(h.told(matching("a", "")), (1, nothing()));
}

/// The work that a heartbeat leaves, taken away from the shard.
fn resolution_after(h: &mut Harness, request: ConsumerGroupHeartbeatRequest) -> Resolution {
    let token = h.token();
    let out = h.shard.consumer_group_heartbeat(h.now, &context(1), token, request);
    h.drive(out);
    let out = h.shard.tick(h.now);
    h.drive(out);
    let resolution = h.shard.next_resolution().unwrap();
    assert!(!h.shard.has_resolutions());
    resolution
}

#[test]
fn what_is_resolved_may_come_to_a_group_that_has_changed() {
    let mut h = Harness::new();
    h.topic("foo-1", 1, 0..1);
    h.topic("bar-1", 2, 0..1);
    h.told(matching("a", "foo.*"));
    h.told(beat("a", 1));
    h.advance(20_000);
    h.topic("foo-2", 3, 0..1);
    let resolution = resolution_after(&mut h, beat("a", 2));
    // Meanwhile the member has come to want something else.
    h.told(ConsumerGroupHeartbeatRequest { subscribed_topic_regex: Some("bar.*".to_owned()), ..beat("a", 2) });
    let from = h.log.entries.len();
    let out = h.shard.resolved(h.now, resolution.run());
    h.drive(out);
    assert_eq!(h.written_since(from), [], "nobody asks for foo any more");
    let epoch = h.group().member("a").unwrap().epoch;
    h.told(beat("a", epoch));
    assert!(h.group().is_subscribed_to("bar-1") && !h.group().is_subscribed_to("foo-2"));

    // And to a group that is gone.
    let mut h = Harness::new();
    h.topic("foo-1", 1, 0..1);
    let resolution = resolution_after(&mut h, matching("a", "foo.*"));
    h.shard.groups.clear();
    assert!(h.shard.resolved(h.now, resolution.run()).appends.is_empty());
}
