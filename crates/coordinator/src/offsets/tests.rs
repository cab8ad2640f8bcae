//! Scenarios of committed offsets, and a randomized comparison of the live shard with one that loads its log.

use std::time::Duration;

use base::Uuid;
use wire::ErrorCode;
use wire::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use wire::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use wire::messages::txn_offset_commit_request::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic};
use wire::messages::{OffsetDeleteRequest, OffsetFetchRequest, TxnOffsetCommitRequest};

use crate::config::GroupConfig;
use crate::output::Reply;
use crate::testing::{Entry, Harness, commit_request, context, join_request, sync_request};
use crate::{assemble, errors};

fn txn_commit(h: &mut Harness, producer_id: i64, group: &str, partition: i32, offset: i64) -> ErrorCode {
    let token = h.token();
    let request = TxnOffsetCommitRequest {
        transactional_id: "t".to_owned(),
        group_id: group.to_owned(),
        producer_id,
        generation_id: -1,
        topics: vec![TxnOffsetCommitRequestTopic {
            name: "topic".to_owned(),
            partitions: vec![TxnOffsetCommitRequestPartition {
                partition_index: partition,
                committed_offset: offset,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let out = h.shard.txn_offset_commit(h.now, &context(3), token, &request);
    h.drive(out);
    match h.reply(token) {
        Some(Reply::TxnOffsetCommit(response)) => ErrorCode::from_code(response.topics[0].partitions[0].error_code),
        other => panic!("no TxnOffsetCommit response: {other:?}"),
    }
}

fn delete_offset(h: &mut Harness, group: &str, partition: i32) -> ErrorCode {
    let token = h.token();
    let request = OffsetDeleteRequest {
        group_id: group.to_owned(),
        topics: vec![OffsetDeleteRequestTopic {
            name: "topic".to_owned(),
            partitions: vec![OffsetDeleteRequestPartition { partition_index: partition, ..Default::default() }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let out = h.shard.offset_delete(h.now, &context(0), token, request);
    h.drive(out);
    match h.reply(token) {
        Some(Reply::OffsetDelete(response)) if response.error_code != 0 => ErrorCode::from_code(response.error_code),
        Some(Reply::OffsetDelete(response)) => ErrorCode::from_code(response.topics[0].partitions[0].error_code),
        other => panic!("no OffsetDelete response: {other:?}"),
    }
}

fn delete_group(h: &mut Harness, group: &str) -> ErrorCode {
    let token = h.token();
    let out = h.shard.delete_groups(h.now, &context(2), token, &[group.to_owned()]);
    h.drive(out);
    match h.reply(token) {
        Some(Reply::DeleteGroups(results)) => ErrorCode::from_code(results[0].error_code),
        other => panic!("no DeleteGroups response: {other:?}"),
    }
}

/// A stable group of one consumer of `topic`.
fn consumer(h: &mut Harness, group: &str) -> String {
    let id = h.join(9, join_request(group, "", &["range"])).member_id;
    let token = h.send_join(9, join_request(group, &id, &["range"]));
    h.advance(3_000);
    h.joined(token);
    let sync = h.send_sync(sync_request(group, 1, &id, &[(&id, "all")]));
    h.synced(sync);
    id
}

fn last_record(h: &Harness) -> &crate::CoordinatorRecord {
    match h.log.entries.last() {
        Some(Entry::Record { record, .. }) => record,
        other => panic!("no record: {other:?}"),
    }
}

#[test]
fn records_are_byte_for_byte_those_of_kafka() {
    let mut h = Harness::new();
    h.commit(9, commit_request("grp", -1, "", 3, 258));
    let record = last_record(&h);
    assert_eq!(&record.key[..], b"\0\x01\0\x03grp\0\x05topic\0\0\0\x03");
    let mut value = b"\0\x04\0\0\0\0\0\0\x01\x02\xff\xff\xff\xff\x05note".to_vec();
    value.extend(1_700_000_000_000i64.to_be_bytes());
    value.extend(b"\x01\0\x10");
    value.extend(Uuid::from_u128(77).0);
    assert_eq!(record.value.as_deref(), Some(&value[..]));

    // A retention time (versions 2 to 4) needs the version that holds an expire timestamp.
    let mut request = commit_request("grp", -1, "", 3, 1);
    request.retention_time_ms = 1_000;
    h.commit(4, request);
    let mut value = b"\0\x01\0\0\0\0\0\0\0\x01\0\x04note".to_vec();
    value.extend(1_700_000_000_000i64.to_be_bytes());
    value.extend(1_700_000_001_000i64.to_be_bytes());
    assert_eq!(last_record(&h).value.as_deref(), Some(&value[..]));
}

#[test]
fn a_simple_consumer_commits_and_fetches() {
    let mut h = Harness::new();
    assert_eq!(h.fetch("g", "topic", 0, false), Ok(-1));
    assert_eq!(h.commit(8, commit_request("g", -1, "", 0, 10)), ErrorCode::None);
    assert_eq!(h.commit(8, commit_request("", -1, "", 0, 11)), ErrorCode::None, "the empty group may commit");
    assert_eq!(h.fetch("g", "topic", 0, false), Ok(10));
    assert_eq!(h.fetch("g", "topic", 1, false), Ok(-1));
    assert_eq!(h.state_of("g"), "Empty");
    h.reload();
    assert_eq!(h.fetch("g", "topic", 0, true), Ok(10));
    assert_eq!((h.shard.group_count(), h.shard.offset_count()), (2, 2));
}

#[test]
fn metadata_is_kept_and_limited() {
    let mut h = Harness::with(GroupConfig { offset_metadata_max_bytes: 4, ..Default::default() }, 1);
    let mut request = commit_request("g", -1, "", 0, 1);
    request.topics[0].partitions[0].committed_metadata = Some("12345".to_owned());
    assert_eq!(h.commit(8, request), ErrorCode::OffsetMetadataTooLarge);
    assert_eq!(h.log.entries.len(), 0);
    let mut request = commit_request("g", -1, "", 0, 1);
    request.topics[0].partitions[0].committed_metadata = Some("äöü€".to_owned());
    assert_eq!(h.commit(8, request), ErrorCode::None);
    let mut request = commit_request("g", -1, "", 1, 1);
    request.topics[0].partitions[0].committed_metadata = None;
    assert_eq!(h.commit(8, request), ErrorCode::None);

    let token = h.token();
    let all = OffsetFetchRequestGroup { group_id: "g".to_owned(), member_id: None, member_epoch: -1, topics: None, ..Default::default() };
    let out = h.shard.offset_fetch(h.now, &context(9), token, all, false);
    h.drive(out);
    let Some(Reply::OffsetFetch(group)) = h.reply(token) else { panic!("no answer") };
    let metadata: Vec<_> = group.topics[0].partitions.iter().map(|p| p.metadata.as_deref()).collect();
    assert_eq!(metadata, [Some("äöü€"), Some("")]);
}

#[test]
fn an_offset_of_a_former_topic_of_the_same_name_is_not_given_out() {
    let mut h = Harness::new();
    h.commit(10, commit_request("g", -1, "", 0, 10));
    let token = h.token();
    let request = OffsetFetchRequestGroup {
        group_id: "g".to_owned(),
        member_id: None,
        member_epoch: -1,
        topics: Some(vec![OffsetFetchRequestTopics {
            name: "topic".to_owned(),
            topic_id: Uuid::from_u128(78),
            partition_indexes: vec![0],
            ..Default::default()
        }]),
        ..Default::default()
    };
    let out = h.shard.offset_fetch(h.now, &context(10), token, request, false);
    h.drive(out);
    let Some(Reply::OffsetFetch(group)) = h.reply(token) else { panic!("no answer") };
    assert_eq!(group.topics[0].partitions[0].committed_offset, -1);
}

#[test]
fn reads_wait_for_what_is_not_committed() {
    let mut h = Harness::new();
    h.log.held = true;
    let commit = h.send_commit(8, commit_request("g", -1, "", 0, 10));
    let token = h.token();
    let out = h.shard.describe_groups(h.now, &context(6), token, &["g".to_owned(), "nobody".to_owned()]);
    h.drive(out);
    assert!(h.reply(token).is_none());
    h.commit_log();
    assert_eq!(h.committed(commit), ErrorCode::None);
    let Some(Reply::DescribeGroups(groups)) = h.reply(token) else { panic!("no answer") };
    assert_eq!(groups[0].group_state, "Empty");
    assert_eq!((groups[1].error_code, groups[1].group_state.as_str()), (ErrorCode::GroupIdNotFound.code(), "Dead"));
    assert_eq!(groups[1].error_message.as_deref(), Some("Group nobody not found."));
}

#[test]
fn a_commit_that_is_not_written_changes_nothing() {
    let mut h = Harness::new();
    h.commit(8, commit_request("g", -1, "", 0, 10));
    h.log.fail = Some(ErrorCode::NotEnoughReplicas);
    assert_eq!(h.commit(8, commit_request("g", -1, "", 0, 11)), ErrorCode::CoordinatorNotAvailable);
    assert_eq!(h.commit(8, commit_request("other", -1, "", 0, 11)), ErrorCode::CoordinatorNotAvailable);
    h.log.fail = None;
    assert_eq!(h.fetch("g", "topic", 0, true), Ok(10));
    assert_eq!(h.state_of("other"), "Dead");
}

#[test]
fn transactional_offsets_wait_for_their_marker() {
    let mut h = Harness::new();
    h.commit(8, commit_request("g", -1, "", 0, 10));
    assert_eq!(txn_commit(&mut h, 9, "g", 0, 20), ErrorCode::None);
    assert_eq!(h.fetch("g", "topic", 0, false), Ok(10));
    assert_eq!(h.fetch("g", "topic", 0, true), Err(ErrorCode::UnstableOffsetCommit));
    h.reload();
    assert_eq!(h.fetch("g", "topic", 0, true), Err(ErrorCode::UnstableOffsetCommit));
    h.end_transaction(9, true);
    assert_eq!(h.fetch("g", "topic", 0, true), Ok(20));
    txn_commit(&mut h, 9, "g", 0, 30);
    h.end_transaction(9, false);
    assert_eq!(h.fetch("g", "topic", 0, true), Ok(20));
    // A commit that came later wins over one of a transaction that ended after it.
    txn_commit(&mut h, 9, "g", 0, 40);
    h.commit(8, commit_request("g", -1, "", 0, 35));
    h.end_transaction(9, true);
    assert_eq!(h.fetch("g", "topic", 0, true), Ok(35));
    h.reload();
    assert_eq!(h.fetch("g", "topic", 0, true), Ok(35));
}

#[test]
fn groups_and_offsets_are_deleted() {
    let mut h = Harness::new();
    let id = consumer(&mut h, "busy");
    h.commit(8, commit_request("busy", 1, &id, 0, 1));
    assert_eq!(delete_group(&mut h, "busy"), ErrorCode::NonEmptyGroup);
    assert_eq!(delete_offset(&mut h, "busy", 0), ErrorCode::GroupSubscribedToTopic);
    assert_eq!(delete_group(&mut h, "nobody"), ErrorCode::GroupIdNotFound);
    assert_eq!(delete_offset(&mut h, "nobody", 0), ErrorCode::GroupIdNotFound);
    assert_eq!(delete_offset(&mut h, "", 0), ErrorCode::InvalidGroupId);

    h.commit(8, commit_request("g", -1, "", 0, 1));
    h.commit(8, commit_request("g", -1, "", 1, 1));
    txn_commit(&mut h, 5, "g", 2, 1);
    assert_eq!(delete_offset(&mut h, "g", 0), ErrorCode::None);
    assert_eq!(delete_offset(&mut h, "g", 7), ErrorCode::None);
    assert_eq!(h.fetch("g", "topic", 0, true), Ok(-1));
    assert_eq!(delete_group(&mut h, "g"), ErrorCode::None);
    assert_eq!(h.state_of("g"), "Dead");
    h.end_transaction(5, true);
    h.reload();
    assert_eq!(h.state_of("g"), "Dead");
    assert_eq!(h.shard.offset_count(), 1);
}

#[test]
fn offsets_go_with_their_topic() {
    let mut h = Harness::new();
    h.commit(8, commit_request("g", -1, "", 0, 1));
    txn_commit(&mut h, 5, "g", 1, 1);
    let out = h.shard.topics_deleted(&[(Uuid::from_u128(1), "topic".to_owned())]);
    h.drive(out);
    assert_eq!(h.fetch("g", "topic", 0, true), Ok(1), "another topic of that name");
    assert_eq!(h.fetch("g", "topic", 1, true), Ok(-1), "stored without a topic id");
    let out = h.shard.topics_deleted(&[(Uuid::from_u128(77), "topic".to_owned())]);
    h.drive(out);
    assert_eq!(h.fetch("g", "topic", 0, true), Ok(-1));
}

const DAY: u64 = 24 * 60 * 60 * 1000;

#[test]
fn offsets_of_unused_groups_expire() {
    let mut h = Harness::new();
    h.commit(8, commit_request("simple", -1, "", 0, 1));
    let id = consumer(&mut h, "left");
    h.commit(8, commit_request("left", 1, &id, 0, 1));
    h.advance(3 * DAY);
    // Its session is long over: the group is empty since then.
    assert_eq!(h.state_of("left"), "Empty");
    h.advance(4 * DAY - 60_000);
    assert_eq!(h.fetch("simple", "topic", 0, true), Ok(1));
    h.advance(20 * 60_000);
    assert_eq!(h.fetch("simple", "topic", 0, true), Ok(-1));
    assert_eq!((h.state_of("simple").as_str(), h.state_of("left").as_str()), ("Dead", "Dead"));
    assert_eq!((h.shard.group_count(), h.shard.offset_count()), (0, 0));
    h.reload();
    assert_eq!((h.shard.group_count(), h.shard.offset_count()), (0, 0));
}

#[test]
fn offsets_in_use_do_not_expire() {
    let mut h = Harness::new();
    let id = consumer(&mut h, "g");
    h.commit(8, commit_request("g", 1, &id, 0, 1));
    txn_commit(&mut h, 5, "open", 0, 1);
    for _ in 0..(8 * DAY / 9_000) {
        h.advance(9_000);
        h.heartbeat("g", 1, &id);
    }
    assert_eq!(h.fetch("g", "topic", 0, true), Ok(1));
    assert_eq!(h.fetch("open", "topic", 0, true), Err(ErrorCode::UnstableOffsetCommit));
}

#[test]
fn an_expire_timestamp_of_old_clients_is_obeyed() {
    let mut h = Harness::new();
    let mut request = commit_request("g", -1, "", 0, 1);
    request.retention_time_ms = 60_000;
    h.commit(4, request);
    h.reload();
    h.advance(600_000);
    assert_eq!(h.fetch("g", "topic", 0, true), Ok(-1));
}

#[test]
fn an_offset_fetch_of_an_old_version_is_one_group() {
    let request = OffsetFetchRequest {
        group_id: "g".to_owned(),
        topics: Some(vec![wire::messages::offset_fetch_request::OffsetFetchRequestTopic {
            name: "topic".to_owned(),
            partition_indexes: vec![4],
            ..Default::default()
        }]),
        ..Default::default()
    };
    let groups = assemble::offset_fetch_groups(request, 1);
    assert_eq!(groups.len(), 1);
    let failed = errors::offset_fetch(&groups[0], ErrorCode::CoordinatorLoadInProgress, 1);
    let response = assemble::offset_fetch_response(vec![failed], 1);
    let partition = &response.topics[0].partitions[0];
    assert_eq!((partition.partition_index, partition.error_code), (4, ErrorCode::CoordinatorLoadInProgress.code()));
    let failed = errors::offset_fetch(&groups[0], ErrorCode::CoordinatorLoadInProgress, 5);
    let response = assemble::offset_fetch_response(vec![failed], 5);
    assert_eq!((response.topics.len(), response.error_code), (0, ErrorCode::CoordinatorLoadInProgress.code()));
    assert!(wire::to_bytes(&response, 5).is_ok());
}

/// Any mix of commits, transactions, deletions, expiry, failed writes and reloads: what a new shard loads is what the live one has.
#[test]
fn the_log_tells_all() {
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let config = GroupConfig { offsets_retention_minutes: 2, offsets_retention_check_interval_ms: 30_000, ..Default::default() };
        let mut h = Harness::with(config, seed);
        for step in 0..150 {
            h.log.fail = rng.bool().then_some(ErrorCode::NotEnoughReplicas).filter(|_| rng.u8(..5) == 0);
            let group = ["a", "b", "c"][rng.usize(..3)];
            let partition = rng.i32(..3);
            match rng.u8(..12) {
                0..=3 => {
                    let mut request = commit_request(group, -1, "", partition, step);
                    request.topics[0].topic_id = Uuid::from_u128(rng.u128(0..3));
                    if rng.u8(..8) == 0 {
                        request.retention_time_ms = rng.i64(..100_000);
                    }
                    h.commit(4, request);
                }
                4..=6 => {
                    txn_commit(&mut h, rng.i64(..3), group, partition, step);
                }
                7 => h.end_transaction(rng.i64(..3), rng.bool()),
                8 => {
                    delete_offset(&mut h, group, partition);
                }
                9 => {
                    delete_group(&mut h, group);
                }
                10 => h.advance(rng.u64(..40_000)),
                _ => {
                    let out = h.shard.topics_deleted(&[(Uuid::from_u128(rng.u128(0..3)), "topic".to_owned())]);
                    h.drive(out);
                }
            }
            if rng.u8(..10) == 0 {
                h.reload();
            }
        }
        assert!(h.open.is_empty(), "seed {seed}");
        let loaded = h.replayed();
        assert_eq!(loaded.offsets, h.shard.offsets, "seed {seed}");
        let names = |shard: &crate::Shard| shard.groups.keys().cloned().collect::<Vec<_>>();
        // A group made by a commit that is gone again is known to the log as well.
        assert_eq!(names(&loaded), names(&h.shard), "seed {seed}");
        h.advance(Duration::from_secs(1).as_millis() as u64);
    }
}
