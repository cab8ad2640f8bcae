//! Scenarios of the classic protocol. Expectations follow Kafka's GroupMetadataManagerTest where it has the same case.

use bytes::Bytes;
use wire::ErrorCode;
use wire::messages::{JoinGroupRequest, JoinGroupResponse};

use crate::config::GroupConfig;
use crate::output::Token;
use crate::testing::{Harness, commit_request, join_request, subscription, sync_request};

fn error(response: &JoinGroupResponse) -> ErrorCode {
    ErrorCode::from_code(response.error_code)
}

fn static_request(group: &str, member: &str, instance: &str) -> JoinGroupRequest {
    JoinGroupRequest { group_instance_id: Some(instance.to_owned()), ..join_request(group, member, &["range"]) }
}

/// Gets a member id and sends the real join.
fn start_join(h: &mut Harness, group: &str) -> (String, Token) {
    let first = h.join(9, join_request(group, "", &["range"]));
    assert_eq!(error(&first), ErrorCode::MemberIdRequired);
    let token = h.send_join(9, join_request(group, &first.member_id, &["range"]));
    (first.member_id, token)
}

/// A stable group of `n` dynamic members in generation 1; the first is the leader.
fn stable_group(h: &mut Harness, group: &str, n: usize) -> Vec<String> {
    let joins: Vec<(String, Token)> = (0..n).map(|_| start_join(h, group)).collect();
    h.advance(6_000);
    let leader = h.joined(joins[0].1);
    assert_eq!(leader.leader, leader.member_id);
    assert_eq!(leader.members.len(), n);
    for (_, token) in &joins[1..] {
        let response = h.joined(*token);
        assert_eq!((error(&response), response.members.len()), (ErrorCode::None, 0));
    }
    let ids: Vec<String> = joins.into_iter().map(|(id, _)| id).collect();
    let followers: Vec<Token> = ids[1..].iter().map(|id| h.send_sync(sync_request(group, 1, id, &[]))).collect();
    let shares: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), id.as_str())).collect();
    let leader = h.send_sync(sync_request(group, 1, &ids[0], &shares));
    for (id, token) in ids.iter().zip(std::iter::once(leader).chain(followers)) {
        let response = h.synced(token);
        assert_eq!((response.error_code, &response.assignment[..]), (0, id.as_bytes()));
    }
    assert_eq!(h.state_of(group), "Stable");
    ids
}

#[test]
fn a_group_forms_and_its_members_work() {
    let mut h = Harness::new();
    let ids = stable_group(&mut h, "g", 3);
    for id in &ids {
        assert!(id.starts_with("client-") && id.len() == 43, "{id}");
        assert_eq!(h.heartbeat("g", 1, id), ErrorCode::None);
    }
    assert_eq!(h.commit(8, commit_request("g", 1, &ids[1], 0, 42)), ErrorCode::None);
    assert_eq!(h.fetch("g", "topic", 0, true), Ok(42));
}

#[test]
fn join_is_checked_before_the_group() {
    let mut h = Harness::new();
    let check = |h: &mut Harness, request: JoinGroupRequest, member: &str, expected: ErrorCode| {
        let response = h.join(9, request);
        assert_eq!((error(&response), response.member_id.as_str()), (expected, member));
        assert_eq!((response.generation_id, response.protocol_name), (-1, None));
    };
    check(&mut h, join_request("", "m", &["range"]), "m", ErrorCode::InvalidGroupId);
    let long = JoinGroupRequest { session_timeout_ms: 1_800_001, ..join_request("g", "", &["range"]) };
    check(&mut h, long, "", ErrorCode::InvalidSessionTimeout);
    let short = JoinGroupRequest { session_timeout_ms: 5_999, ..join_request("g", "", &["range"]) };
    check(&mut h, short, "", ErrorCode::InvalidSessionTimeout);
    check(&mut h, join_request("g", "ghost", &["range"]), "ghost", ErrorCode::UnknownMemberId);
    assert_eq!(h.log.entries.len(), 0);
    // As in Kafka, the group is there although its first member was refused.
    check(&mut h, join_request("g", "", &[]), "", ErrorCode::InconsistentGroupProtocol);
    assert_eq!(h.state_of("g"), "Empty");
    check(&mut h, join_request("g", "ghost", &["range"]), "ghost", ErrorCode::UnknownMemberId);
    // Old versions have no null.
    assert_eq!(h.join(6, join_request("g", "ghost", &["range"])).protocol_name.as_deref(), Some(""));
}

#[test]
fn protocols_must_fit_those_of_the_group() {
    let mut h = Harness::new();
    stable_group(&mut h, "g", 2);
    let other = h.join(9, join_request("g", "", &["sticky"]));
    assert_eq!(error(&other), ErrorCode::InconsistentGroupProtocol);
    let connect = JoinGroupRequest { protocol_type: "connect".to_owned(), ..join_request("g", "", &["range"]) };
    assert_eq!(error(&h.join(9, connect)), ErrorCode::InconsistentGroupProtocol);
}

#[test]
fn members_vote_for_the_protocol() {
    let mut h = Harness::new();
    let tokens: Vec<Token> = [["range", "sticky"], ["sticky", "range"], ["sticky", "range"]]
        .iter()
        .map(|protocols| {
            let id = h.join(9, join_request("g", "", protocols)).member_id;
            h.send_join(9, join_request("g", &id, protocols))
        })
        .collect();
    h.advance(10_000);
    for token in tokens {
        assert_eq!(h.joined(token).protocol_name.as_deref(), Some("sticky"));
    }
}

#[test]
fn the_initial_rebalance_waits_for_latecomers() {
    let mut h = Harness::new();
    let (_, first) = start_join(&mut h, "g");
    h.advance(2_900);
    let (_, second) = start_join(&mut h, "g");
    h.advance(200);
    assert!(h.reply(first).is_none(), "the second member extends the delay");
    h.advance(3_000);
    assert_eq!(h.joined(first).members.len() + h.joined(second).members.len(), 2);
}

#[test]
fn without_delay_the_first_member_goes_alone() {
    let mut h = Harness::with(GroupConfig { group_initial_rebalance_delay_ms: 0, ..Default::default() }, 1);
    let (id, token) = start_join(&mut h, "g");
    h.advance(0);
    let response = h.joined(token);
    assert_eq!((response.leader, response.generation_id), (id, 1));
}

#[test]
fn versions_before_4_join_without_a_second_round() {
    let mut h = Harness::new();
    let request = JoinGroupRequest { rebalance_timeout_ms: -1, ..join_request("g", "", &["range"]) };
    let token = h.send_join(0, request);
    h.advance(3_000);
    let response = h.joined(token);
    assert_eq!(error(&response), ErrorCode::None);
    assert_eq!(response.leader, response.member_id);
}

#[test]
fn a_member_id_that_is_not_used_in_time_is_forgotten() {
    let mut h = Harness::new();
    let first = h.join(9, join_request("g", "", &["range"]));
    h.advance(10_000);
    let late = h.join(9, join_request("g", &first.member_id, &["range"]));
    assert_eq!(error(&late), ErrorCode::UnknownMemberId);
    assert_eq!(h.state_of("g"), "Empty");
}

#[test]
fn a_silent_member_is_dropped_and_the_others_rebalance() {
    let mut h = Harness::new();
    let ids = stable_group(&mut h, "g", 2);
    h.advance(9_000);
    assert_eq!(h.heartbeat("g", 1, &ids[0]), ErrorCode::None);
    h.advance(2_000);
    assert_eq!(h.heartbeat("g", 1, &ids[0]), ErrorCode::RebalanceInProgress);
    assert_eq!(h.heartbeat("g", 1, &ids[1]), ErrorCode::UnknownMemberId);
    let token = h.send_join(9, join_request("g", &ids[0], &["range"]));
    let response = h.joined(token);
    assert_eq!((response.generation_id, response.members.len()), (2, 1));
}

#[test]
fn members_that_do_not_rejoin_are_dropped_at_the_rebalance_timeout() {
    let mut h = Harness::new();
    let ids = stable_group(&mut h, "g", 2);
    let token = h.send_join(9, join_request("g", &ids[0], &["range"]));
    for _ in 0..11 {
        assert!(h.reply(token).is_none());
        h.advance(5_000);
        assert_eq!(h.heartbeat("g", 1, &ids[1]), ErrorCode::RebalanceInProgress);
    }
    h.advance(5_000);
    assert_eq!(h.joined(token).members.len(), 1);
    assert_eq!(h.heartbeat("g", 2, &ids[1]), ErrorCode::UnknownMemberId);
}

#[test]
fn the_last_member_leaves_an_empty_group() {
    let mut h = Harness::new();
    let ids = stable_group(&mut h, "g", 2);
    assert_eq!(h.leave("g", &[(&ids[0], None), ("ghost", None)]), [ErrorCode::None, ErrorCode::UnknownMemberId]);
    assert_eq!(h.heartbeat("g", 1, &ids[1]), ErrorCode::RebalanceInProgress);
    assert_eq!(h.leave("g", &[(&ids[1], None)]), [ErrorCode::None]);
    assert_eq!(h.state_of("g"), "Empty");
    assert_eq!(h.heartbeat("g", 2, &ids[1]), ErrorCode::UnknownMemberId);
    h.reload();
    assert_eq!(h.state_of("g"), "Empty");
    assert_eq!(h.leave("nobody", &[("m", None)]), [ErrorCode::UnknownMemberId]);
    assert_eq!(h.leave("", &[("m", None)]), [ErrorCode::InvalidGroupId]);
}

#[test]
fn sync_is_checked() {
    let mut h = Harness::new();
    let ids = stable_group(&mut h, "g", 2);
    let sync = |h: &mut Harness, request| {
        let token = h.send_sync(request);
        ErrorCode::from_code(h.synced(token).error_code)
    };
    assert_eq!(sync(&mut h, sync_request("", 1, &ids[0], &[])), ErrorCode::InvalidGroupId);
    assert_eq!(sync(&mut h, sync_request("nobody", 1, &ids[0], &[])), ErrorCode::UnknownMemberId);
    assert_eq!(sync(&mut h, sync_request("g", 1, "ghost", &[])), ErrorCode::UnknownMemberId);
    assert_eq!(sync(&mut h, sync_request("g", 2, &ids[0], &[])), ErrorCode::IllegalGeneration);
    let mut other = sync_request("g", 1, &ids[0], &[]);
    other.protocol_type = Some("connect".to_owned());
    assert_eq!(sync(&mut h, other), ErrorCode::InconsistentGroupProtocol);
    let mut other = sync_request("g", 1, &ids[0], &[]);
    other.protocol_name = Some("sticky".to_owned());
    assert_eq!(sync(&mut h, other), ErrorCode::InconsistentGroupProtocol);
    assert_eq!(sync(&mut h, sync_request("g", 1, &ids[1], &[])), ErrorCode::None);
}

#[test]
fn the_assignment_is_handed_out_when_it_is_committed() {
    let mut h = Harness::new();
    let (id, token) = start_join(&mut h, "g");
    h.advance(3_000);
    h.joined(token);
    h.log.held = true;
    let sync = h.send_sync(sync_request("g", 1, &id, &[(&id, "all")]));
    assert!(h.reply(sync).is_none());
    assert_eq!(h.heartbeat("g", 1, &id), ErrorCode::None);
    h.commit_log();
    assert_eq!(&h.synced(sync).assignment[..], b"all");
}

#[test]
fn an_assignment_that_cannot_be_stored_leads_to_another_rebalance() {
    for (append_error, expected) in [
        (ErrorCode::NotEnoughReplicas, ErrorCode::CoordinatorNotAvailable),
        (ErrorCode::NotLeaderOrFollower, ErrorCode::NotCoordinator),
        (ErrorCode::KafkaStorageError, ErrorCode::NotCoordinator),
        (ErrorCode::MessageTooLarge, ErrorCode::UnknownServerError),
    ] {
        let mut h = Harness::new();
        let (id, token) = start_join(&mut h, "g");
        h.advance(3_000);
        h.joined(token);
        h.log.fail = Some(append_error);
        let sync = h.send_sync(sync_request("g", 1, &id, &[(&id, "all")]));
        assert_eq!(ErrorCode::from_code(h.synced(sync).error_code), expected);
        assert_eq!(h.state_of("g"), "PreparingRebalance");
        h.log.fail = None;
        let again = h.send_join(9, join_request("g", &id, &["range"]));
        assert_eq!(h.joined(again).generation_id, 2);
    }
}

#[test]
fn a_write_that_is_not_committed_in_time_fails() {
    let mut h = Harness::new();
    let ids = stable_group(&mut h, "g", 1);
    h.log.held = true;
    let commit = h.send_commit(8, commit_request("g", 1, &ids[0], 0, 7));
    h.advance(4_999);
    assert!(h.reply(commit).is_none());
    h.advance(1);
    assert_eq!(h.committed(commit), ErrorCode::CoordinatorNotAvailable);
}

#[test]
fn a_group_that_cannot_be_stored_is_not_made() {
    let mut h = Harness::new();
    h.log.fail = Some(ErrorCode::NotEnoughReplicas);
    let token = h.send_join(3, join_request("g", "", &["range"]));
    assert_eq!(error(&h.joined(token)), ErrorCode::CoordinatorNotAvailable);
    assert_eq!(h.state_of("g"), "Dead");
    assert_eq!(h.shard.group_count(), 0);
    h.advance(600_000);
}

#[test]
fn a_static_member_restarts_without_a_rebalance() {
    let mut h = Harness::new();
    let a = h.send_join(9, static_request("g", "", "a"));
    let b = h.send_join(9, static_request("g", "", "b"));
    h.advance(6_000);
    let (a, b) = (h.joined(a), h.joined(b));
    assert!(a.member_id.starts_with("a-"));
    let (leader, follower, follower_instance) = if a.leader == a.member_id { (&a, &b, "b") } else { (&b, &a, "a") };
    let sync = h.send_sync(sync_request("g", 1, &follower.member_id, &[]));
    h.send_sync(sync_request("g", 1, &leader.member_id, &[(&follower.member_id, "share")]));
    h.synced(sync);

    let back = h.join(9, static_request("g", "", follower_instance));
    assert_eq!((error(&back), back.generation_id, back.skip_assignment), (ErrorCode::None, 1, false));
    assert_ne!(back.member_id, follower.member_id);
    let sync = h.send_sync(sync_request("g", 1, &back.member_id, &[]));
    assert_eq!(&h.synced(sync).assignment[..], b"share");
    assert_eq!(h.heartbeat_static("g", 1, &back.member_id, Some(follower_instance)), ErrorCode::None);
    assert_eq!(h.heartbeat_static("g", 1, &follower.member_id, Some(follower_instance)), ErrorCode::FencedInstanceId);
    assert_eq!(h.heartbeat("g", 1, &follower.member_id), ErrorCode::UnknownMemberId);

    // The leader comes back and is told not to assign again (version 9), or that the old one leads.
    let leader_instance = leader.member_id[..1].to_owned();
    let back = h.join(9, static_request("g", "", &leader_instance));
    assert_eq!((back.skip_assignment, back.members.len()), (true, 2));
    assert_eq!(back.leader, back.member_id);
    let old = h.join(8, static_request("g", "", &leader_instance));
    assert_eq!((old.skip_assignment, old.members.len()), (false, 0));
    assert_eq!(old.leader, back.member_id);
    assert_ne!(old.leader, old.member_id);
    assert_eq!(h.state_of("g"), "Stable");

    h.reload();
    assert_eq!(h.heartbeat_static("g", 1, &old.member_id, Some(&leader_instance)), ErrorCode::None);
}

#[test]
fn a_static_member_that_cannot_be_stored_keeps_its_old_id() {
    let mut h = Harness::new();
    let a = h.send_join(9, static_request("g", "", "a"));
    h.advance(3_000);
    let a = h.joined(a);
    let sync = h.send_sync(sync_request("g", 1, &a.member_id, &[(&a.member_id, "all")]));
    h.synced(sync);
    h.log.fail = Some(ErrorCode::NotEnoughReplicas);
    let back = h.join(9, static_request("g", "", "a"));
    assert_eq!((error(&back), back.member_id.as_str()), (ErrorCode::CoordinatorNotAvailable, ""));
    assert_eq!(h.heartbeat_static("g", 1, &a.member_id, Some("a")), ErrorCode::None);
    assert_eq!(h.state_of("g"), "Stable");
}

#[test]
fn a_second_instance_fences_the_one_that_waits() {
    let mut h = Harness::new();
    let first = h.send_join(9, static_request("g", "", "a"));
    let second = h.send_join(9, static_request("g", "", "a"));
    assert_eq!(error(&h.joined(first)), ErrorCode::FencedInstanceId);
    h.advance(6_000);
    assert_eq!(error(&h.joined(second)), ErrorCode::None);
    // An administrator removes it by its instance id alone.
    assert_eq!(h.leave("g", &[("", Some("a"))]), [ErrorCode::None]);
    assert_eq!(h.leave("g", &[("", Some("a"))]), [ErrorCode::UnknownMemberId]);
}

#[test]
fn static_members_that_do_not_rejoin_stay_until_their_session_ends() {
    let mut h = Harness::new();
    let a = h.send_join(9, static_request("g", "", "a"));
    let b = h.send_join(9, static_request("g", "", "b"));
    h.advance(6_000);
    let (a, b) = (h.joined(a), h.joined(b));
    for id in [&a.member_id, &b.member_id] {
        h.send_sync(sync_request("g", 1, id, &[]));
    }
    let third = h.send_join(9, static_request("g", "", "c"));
    let again = h.send_join(9, JoinGroupRequest { group_instance_id: Some("a".into()), ..join_request("g", &a.member_id, &["range"]) });
    assert!(h.reply(third).is_none());
    // b is silent: its session (10 s) ends before the rebalance timeout (60 s).
    h.advance(10_000);
    assert_eq!(h.joined(again).generation_id, 2);
    assert_eq!(error(&h.joined(third)), ErrorCode::None);
}

#[test]
fn the_size_of_a_group_is_limited() {
    let mut h = Harness::with(GroupConfig { group_max_size: 2, ..Default::default() }, 1);
    let ids = stable_group(&mut h, "g", 2);
    let refused = h.join(9, join_request("g", "", &["range"]));
    assert_eq!((error(&refused), refused.member_id.as_str()), (ErrorCode::GroupMaxSizeReached, ""));
    // The limit was lowered while the coordinator was away: the group rebalances, and the last to come is turned away.
    h.config.group_max_size = 1;
    h.reload();
    assert_eq!(h.state_of("g"), "PreparingRebalance");
    let first = h.send_join(9, join_request("g", &ids[1], &["range"]));
    let second = h.join(9, join_request("g", &ids[0], &["range"]));
    assert_eq!(error(&second), ErrorCode::GroupMaxSizeReached);
    h.advance(60_000);
    assert_eq!(h.joined(first).members.len(), 1);
}

#[test]
fn members_must_sync_in_time() {
    let mut h = Harness::new();
    let (a, first) = start_join(&mut h, "g");
    let (b, second) = start_join(&mut h, "g");
    h.advance(6_000);
    let leader = h.joined(first).leader;
    h.joined(second);
    let follower = if leader == a { &b } else { &a };
    let sync = h.send_sync(sync_request("g", 1, &leader, &[]));
    h.synced(sync);
    for _ in 0..12 {
        h.advance(5_000);
        h.heartbeat("g", 1, &leader);
        h.heartbeat("g", 1, follower);
    }
    assert_eq!(h.heartbeat("g", 1, follower), ErrorCode::UnknownMemberId);
    assert_eq!(h.heartbeat("g", 1, &leader), ErrorCode::RebalanceInProgress);
}

#[test]
fn a_rejoin_with_the_same_metadata_is_answered_from_the_current_generation() {
    let mut h = Harness::new();
    let ids = stable_group(&mut h, "g", 2);
    let follower = h.join(9, join_request("g", &ids[1], &["range"]));
    assert_eq!((follower.generation_id, follower.leader.as_str(), follower.members.len()), (1, ids[0].as_str(), 0));
    assert_eq!(h.state_of("g"), "Stable");
    // New metadata, or the leader, starts a rebalance.
    let mut changed = join_request("g", &ids[1], &["range"]);
    changed.protocols[0].metadata = subscription(&["topic", "more"]);
    let token = h.send_join(9, changed);
    assert!(h.reply(token).is_none());
    assert_eq!(h.state_of("g"), "PreparingRebalance");
}

#[test]
fn commits_are_fenced_by_generation() {
    let mut h = Harness::new();
    let ids = stable_group(&mut h, "g", 1);
    assert_eq!(h.commit(8, commit_request("g", 0, &ids[0], 0, 1)), ErrorCode::IllegalGeneration);
    assert_eq!(h.commit(8, commit_request("g", 1, "ghost", 0, 1)), ErrorCode::UnknownMemberId);
    assert_eq!(h.commit(8, commit_request("g", -1, "", 0, 1)), ErrorCode::UnknownMemberId);
    assert_eq!(h.commit(8, commit_request("nobody", 3, "m", 0, 1)), ErrorCode::IllegalGeneration);
    assert_eq!(h.commit(9, commit_request("nobody", 3, "m", 0, 1)), ErrorCode::GroupIdNotFound);
    let again = h.send_join(9, join_request("g", &ids[0], &["range"]));
    assert_eq!(h.joined(again).generation_id, 2);
    assert_eq!(h.commit(8, commit_request("g", 2, &ids[0], 0, 1)), ErrorCode::RebalanceInProgress);
    assert_eq!(h.fetch("g", "topic", 0, true), Ok(-1));
}

#[test]
fn a_loaded_group_goes_on() {
    let mut h = Harness::new();
    let ids = stable_group(&mut h, "g", 3);
    h.commit(8, commit_request("g", 1, &ids[0], 0, 5));
    h.reload();
    assert_eq!(h.state_of("g"), "Stable");
    for id in &ids {
        assert_eq!(h.heartbeat("g", 1, id), ErrorCode::None);
        let sync = h.send_sync(sync_request("g", 1, id, &[]));
        assert_eq!(h.synced(sync).assignment, Bytes::copy_from_slice(id.as_bytes()));
    }
    assert_eq!(h.fetch("g", "topic", 0, true), Ok(5));
    h.advance(10_000);
    assert_eq!(h.state_of("g"), "Empty");
}

#[test]
fn requests_that_wait_are_answered_when_the_shard_goes() {
    let mut h = Harness::new();
    let (_, join) = start_join(&mut h, "g");
    h.reload();
    assert_eq!(error(&h.joined(join)), ErrorCode::NotCoordinator);
    assert!(h.open.is_empty());
}

#[test]
fn a_request_sent_twice_is_answered_twice() {
    let mut h = Harness::new();
    let (id, first) = start_join(&mut h, "g");
    let second = h.send_join(9, join_request("g", &id, &["range"]));
    assert_eq!(error(&h.joined(first)), ErrorCode::RebalanceInProgress);
    h.advance(6_000);
    assert_eq!(error(&h.joined(second)), ErrorCode::None);
}

#[test]
fn a_protocol_named_twice_does_no_harm() {
    let mut h = Harness::new();
    let id = h.join(9, join_request("g", "", &["range", "range"])).member_id;
    let token = h.send_join(9, join_request("g", &id, &["range", "range"]));
    h.advance(6_000);
    assert_eq!(h.joined(token).protocol_name.as_deref(), Some("range"));
}

#[test]
fn a_group_id_too_long_for_a_record_is_refused() {
    let mut h = Harness::new();
    let group = "g".repeat(40_000);
    let token = h.send_join(3, join_request(&group, "", &["range"]));
    assert_eq!(error(&h.joined(token)), ErrorCode::UnknownServerError);
    assert_eq!(h.commit(8, commit_request(&group, -1, "", 0, 1)), ErrorCode::UnknownServerError);
    assert_eq!(h.shard.group_count(), 0);
}

#[test]
fn thousands_of_members_form_a_group() {
    let mut h = Harness::new();
    let ids = stable_group(&mut h, "g", 3_000);
    for id in &ids {
        assert_eq!(h.heartbeat("g", 1, id), ErrorCode::None);
    }
    h.reload();
    assert_eq!(h.state_of("g"), "Stable");
}
