//! Partitions of `__consumer_offsets` that Kafka 4.3.1 wrote, in `testdata`: a classic, a consumer and a share group after their
//! members have left. What they hold is what Kafka's tools report of them.

use bytes::Bytes;
use wire::ErrorCode;
use wire::messages::ListGroupsRequest;
use wire::messages::list_groups_response::ListedGroup;

use crate::config::GroupConfig;
use crate::group::Group;
use crate::output::Reply;
use crate::testing::{Entry, Harness, commit_request, context, join_request};
use crate::{CoordinatorRecord, records};

const CLASSIC: &[u8] = include_bytes!("../testdata/consumer_offsets-45.log");
const CONSUMER: &[u8] = include_bytes!("../testdata/consumer_offsets-7.log");
const SHARE: &[u8] = include_bytes!("../testdata/consumer_offsets-12.log");

fn records_of(file: &'static [u8]) -> Vec<CoordinatorRecord> {
    let mut records = Vec::new();
    for batch in record::batches(&Bytes::from_static(file)) {
        let batch = batch.unwrap();
        assert!(!batch.view().is_control());
        for record in batch.records(1 << 20).unwrap() {
            let record = record.unwrap();
            assert_eq!(record.offset, records.len() as i64);
            records.push(CoordinatorRecord { key: record.key.unwrap(), value: record.value });
        }
    }
    records
}

/// The shard after the first `count` records.
fn load(file: &'static [u8], count: usize) -> Harness {
    let mut h = Harness::with(GroupConfig::default(), 1);
    h.log.entries = records_of(file).into_iter().take(count).map(|record| Entry::Record { record, producer: None }).collect();
    h.now.wall_ms = 1_795_166_900_000;
    h.reload();
    h
}

fn list(h: &mut Harness, states: &[&str], types: &[&str]) -> Vec<ListedGroup> {
    let token = h.token();
    let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
    let request = ListGroupsRequest { states_filter: owned(states), types_filter: owned(types), ..Default::default() };
    let out = h.shard.list_groups(h.now, &context(5), token, &request);
    h.drive(out);
    match h.reply(token) {
        Some(Reply::ListGroups(response)) => response.groups,
        other => panic!("no ListGroups response: {other:?}"),
    }
}

fn listed(h: &mut Harness) -> Vec<[String; 4]> {
    list(h, &[], &[]).into_iter().map(|g| [g.group_id, g.protocol_type, g.group_state, g.group_type]).collect()
}

fn expect(rows: &[[&str; 4]]) -> Vec<[String; 4]> {
    rows.iter().map(|row| row.map(str::to_owned)).collect()
}

#[test]
fn a_classic_group() {
    let mut h = load(CLASSIC, 4);
    assert_eq!(listed(&mut h), expect(&[["gclassic", "consumer", "Empty", "classic"]]));
    assert_eq!(h.fetch("gclassic", "t1", 0, true), Ok(1000));

    // While its member was there.
    let mut h = load(CLASSIC, 3);
    assert_eq!(h.state_of("gclassic"), "Stable");
    let member = "console-consumer-4def2f46-c777-41bb-9b63-e5697bbd2e3e";
    assert_eq!(h.heartbeat("gclassic", 1, member), ErrorCode::None);
    let token = h.token();
    let out = h.shard.describe_groups(h.now, &context(6), token, &["gclassic".to_owned()]);
    h.drive(out);
    let Some(Reply::DescribeGroups(groups)) = h.reply(token) else { panic!("no answer") };
    assert_eq!((groups[0].protocol_type.as_str(), groups[0].protocol_data.as_str()), ("consumer", "range"));
    let described = &groups[0].members[0];
    assert_eq!((described.client_id.as_str(), described.client_host.as_str()), ("console-consumer", "/127.0.0.1"));
    assert!(h.shard.groups["gclassic"].is_subscribed_to("t1"));
    h.advance(60_000);
    assert_eq!(h.state_of("gclassic"), "Empty");
}

#[test]
fn our_records_are_the_same_bytes() {
    let stored = records_of(CLASSIC);
    assert_eq!(records::empty_group_metadata("gclassic", 1_795_166_816_779).unwrap(), stored[0]);
    for (count, record) in [(2, &stored[1]), (4, &stored[3])] {
        let h = load(CLASSIC, count);
        let Group::Classic(group) = &h.shard.groups["gclassic"] else { panic!("not classic") };
        assert_eq!(records::group_metadata(group, &group.assignment()).unwrap(), *record);
    }
    let h = load(CLASSIC, 4);
    let offset = h.shard.offsets.committed.get("gclassic", "t1", 0).unwrap();
    assert_eq!(records::offset_commit("gclassic", "t1", 0, offset).unwrap(), stored[2]);
}

#[test]
fn a_consumer_group() {
    let mut h = load(CONSUMER, 10);
    assert_eq!(listed(&mut h), expect(&[["g848", "consumer", "Empty", "consumer"]]));
    assert_eq!(h.fetch("g848", "t1", 0, true), Ok(1000));
    assert_eq!(list(&mut h, &["EMPTY "], &["Consumer"]).len(), 1);
    assert_eq!(list(&mut h, &["stable"], &[]).len(), 0);
    assert_eq!(list(&mut h, &[], &["classic"]).len(), 0);
    assert_eq!(list(&mut h, &[], &["nonsense"]).len(), 0);
    assert_eq!(h.state_of("g848"), "Dead", "not a classic group");
    assert_eq!(h.commit(8, commit_request("g848", -1, "", 0, 5)), ErrorCode::None);

    // While its member was there.
    let mut h = load(CONSUMER, 6);
    assert_eq!(listed(&mut h), expect(&[["g848", "consumer", "Stable", "consumer"]]));
    let member = "90l6s3TuQbib3-ZGplbPVg";
    assert_eq!(h.commit(9, commit_request("g848", 2, member, 0, 5)), ErrorCode::None);
    assert_eq!(h.commit(8, commit_request("g848", 2, member, 0, 5)), ErrorCode::UnsupportedVersion);
    assert_eq!(h.commit(9, commit_request("g848", 1, member, 0, 5)), ErrorCode::StaleMemberEpoch);
    assert_eq!(h.commit(9, commit_request("g848", -1, "", 0, 5)), ErrorCode::UnknownMemberId);
    // Members of the classic protocol may join it.
    let joining = h.join(9, join_request("g848", "", &["range"]));
    assert_eq!(joining.error_code, ErrorCode::MemberIdRequired.code());
    assert_eq!(h.heartbeat("g848", 2, member), ErrorCode::UnknownMemberId);
}

#[test]
fn an_empty_consumer_group_gives_way_to_a_classic_one() {
    let mut h = load(CONSUMER, 10);
    let refused = h.join(9, join_request("g848", "ghost", &["range"]));
    assert_eq!(refused.error_code, ErrorCode::UnknownMemberId.code());
    h.log.fail = Some(ErrorCode::NotEnoughReplicas);
    let token = h.send_join(3, join_request("g848", "", &["range"]));
    assert_eq!(h.joined(token).error_code, ErrorCode::CoordinatorNotAvailable.code());
    assert_eq!(listed(&mut h), expect(&[["g848", "consumer", "Empty", "consumer"]]));
    h.log.fail = None;
    h.send_join(3, join_request("g848", "", &["range"]));
    assert_eq!(listed(&mut h), expect(&[["g848", "consumer", "PreparingRebalance", "classic"]]));
    h.reload();
    assert_eq!(listed(&mut h), expect(&[["g848", "", "Empty", "classic"]]));
    assert_eq!(h.fetch("g848", "t1", 0, true), Ok(1000));
}

#[test]
fn a_share_group() {
    let mut h = load(SHARE, 15);
    assert_eq!(listed(&mut h), expect(&[["gshare", "share", "Empty", "share"]]));
    assert_eq!(h.commit(9, commit_request("gshare", -1, "", 0, 5)), ErrorCode::GroupIdNotFound);
    assert_eq!(h.fetch("gshare", "t1", 0, true), Ok(-1));
    let refused = h.join(9, join_request("gshare", "", &["range"]));
    assert_eq!(refused.error_code, ErrorCode::InconsistentGroupProtocol.code());
    // It has no offsets here that could expire, so it stays.
    h.advance(30 * 24 * 60 * 60 * 1000);
    assert_eq!(listed(&mut h).len(), 1);

    let mut h = load(SHARE, 11);
    assert_eq!(listed(&mut h), expect(&[["gshare", "share", "Stable", "share"]]));
}

#[test]
fn groups_of_any_kind_are_deleted_by_tombstones() {
    for (file, count, group) in [(CLASSIC, 4, "gclassic"), (CONSUMER, 10, "g848"), (SHARE, 15, "gshare")] {
        let mut h = load(file, count);
        let token = h.token();
        let out = h.shard.delete_groups(h.now, &context(2), token, &[group.to_owned()]);
        h.drive(out);
        let Some(Reply::DeleteGroups(results)) = h.reply(token) else { panic!("no answer") };
        assert_eq!(results[0].error_code, 0);
        assert_eq!(listed(&mut h), expect(&[]));
        h.reload();
        assert_eq!((h.shard.group_count(), h.shard.offset_count()), (0, 0));
    }
}

#[test]
fn what_cannot_be_read_fails_the_load_and_what_is_unknown_does_not() {
    let mut shard = Harness::new().shard;
    let key = |bytes: &'static [u8]| Bytes::from_static(bytes);
    let error = shard.replay(7, -1, &key(b"\0\x01\0\x03gr"), None).unwrap_err();
    assert!(error.to_string().starts_with("the record at offset 7 has a key that cannot be read"), "{error}");
    let error = shard.replay(8, -1, &key(b"\0\x02\0\x01g"), Some(&key(b"\0\x03\0"))).unwrap_err();
    assert!(error.to_string().starts_with("the record at offset 8 of type 2 has a value that cannot be read"), "{error}");
    assert!(shard.replay(9, -1, &key(b"\0\x02\0\x01g"), Some(&key(b"\0\x63"))).is_err(), "a version of the future");
    assert!(shard.replay(10, -1, &key(b""), None).is_err());
    shard.replay(11, -1, &key(b"\0\x09\0\x01g"), None).unwrap();
    shard.replay(12, -1, &key(b"\x7f\xff\0\x01g"), Some(&key(b"whatever"))).unwrap();
    assert_eq!(shard.group_count(), 0);
}

/// Members that Kafka had when it was stopped do not block their group for ever. What we then write is what Kafka writes.
#[test]
fn members_of_the_newer_protocols_time_out() {
    for (file, count, group) in [(CONSUMER, 6, "g848"), (SHARE, 11, "gshare")] {
        let mut h = load(file, count);
        h.log.fail = Some(ErrorCode::NotEnoughReplicas);
        h.advance(45_000);
        assert_eq!(list(&mut h, &["stable"], &[]).len(), 1);
        h.log.fail = None;
        h.advance(45_000);
        assert_eq!(list(&mut h, &["empty"], &[]).len(), 1, "{group}");
        let written: Vec<CoordinatorRecord> = h.log.entries[count..]
            .iter()
            .map(|entry| match entry {
                Entry::Record { record, .. } => record.clone(),
                other => panic!("not a record: {other:?}"),
            })
            .collect();
        assert_eq!(written, records_of(file)[count..]);
        h.reload();
        assert_eq!(list(&mut h, &["empty"], &[]).len(), 1);
    }
}

/// Values of all versions that brokers have written.
#[test]
fn old_versions_are_read() {
    let mut h = Harness::new();
    let mut replay = |key: Vec<u8>, value: Vec<u8>| h.shard.replay(0, -1, &key.into(), Some(&value.into())).unwrap();
    // A legacy offset key, and value version 0.
    replay(b"\0\0\0\x01g\0\x01t\0\0\0\0".to_vec(), [b"\0\0".as_slice(), &41i64.to_be_bytes(), b"\0\x01m", &7i64.to_be_bytes()].concat());
    replay(b"\0\x01\0\x01g\0\x01t\0\0\0\x01".to_vec(), [b"\0\x02".as_slice(), &42i64.to_be_bytes(), b"\0\0", &7i64.to_be_bytes()].concat());
    let v3 = [b"\0\x03".as_slice(), &43i64.to_be_bytes(), &5i32.to_be_bytes(), b"\0\0", &7i64.to_be_bytes()].concat();
    replay(b"\0\x01\0\x01g\0\x01t\0\0\0\x02".to_vec(), v3);
    for (partition, offset) in [(0, 41), (1, 42), (2, 43)] {
        assert_eq!(h.fetch("g", "t", partition, false), Ok(offset));
    }
    // Group metadata version 0: no rebalance timeout, no timestamp.
    let member = [b"\0\x01m\0\x01c\0\x01h".as_slice(), &9_000i32.to_be_bytes(), b"\0\0\0\0", b"\0\0\0\0"].concat();
    let value = [b"\0\0\0\x07connect".as_slice(), &4i32.to_be_bytes(), b"\0\x02v1", b"\0\x01m", &1i32.to_be_bytes(), &member].concat();
    h.shard.replay(9, -1, &Bytes::from_static(b"\0\x02\0\x01w"), Some(&value.into())).unwrap();
    let out = h.shard.on_loaded(h.now, 0, 0);
    h.drive(out);
    assert_eq!(h.heartbeat("w", 4, "m"), ErrorCode::None);
    h.advance(8_999);
    assert_eq!(h.state_of("w"), "Stable");
    h.advance(1);
    assert_eq!(h.state_of("w"), "Empty");
}

/// All 22 kinds of records: read at every version, kept under the right type of group, and gone with their tombstones.
#[test]
fn every_record_type_is_known() {
    use wire::codec::MessageKind;
    let group_of = |name: &str| ["Consumer", "Share", "Streams"].into_iter().find(|t| name.starts_with(&format!("{t}Group")));
    let registry = wire::messages::REGISTRY;
    let mut types = 0;
    for pair in registry.windows(2).filter(|p| p[0].kind == MessageKind::CoordinatorKey) {
        let [key, value] = pair else { continue };
        let group_type = group_of(key.name);
        if group_type.is_none() && !key.name.contains("OffsetCommit") && !key.name.starts_with("GroupMetadata") {
            continue;
        }
        types += 1;
        let key_bytes = [&key.api_key.unwrap().to_be_bytes()[..], &(key.encode_default)(0).unwrap()].concat();
        let key_bytes = Bytes::from(key_bytes);
        for version in value.min_version..=value.max_version {
            // GroupMetadata has no null for the leader of an empty group before it was nullable, and so no default.
            let Ok(body) = (value.encode_default)(version) else { panic!("{} v{version}", value.name) };
            let value_bytes = Bytes::from([&version.to_be_bytes()[..], &body].concat());
            let mut h = Harness::new();
            h.shard.replay(1, -1, &key_bytes, Some(&value_bytes)).unwrap();
            let listed = list(&mut h, &[], &[]);
            assert_eq!(listed.len(), 1, "{}", key.name);
            assert_eq!(listed[0].group_type, group_type.unwrap_or("classic").to_lowercase());
            h.shard.replay(2, -1, &key_bytes, None).unwrap();
        }
    }
    assert_eq!(types, 22);
}

#[test]
fn damaged_records_never_panic() {
    let mut rng = fastrand::Rng::with_seed(3);
    let originals: Vec<CoordinatorRecord> = [CLASSIC, CONSUMER, SHARE].into_iter().flat_map(records_of).collect();
    for _ in 0..2_000 {
        let mut shard = Harness::new().shard;
        for offset in 0..8 {
            let record = &originals[rng.usize(..originals.len())];
            let mut damage = |bytes: &Bytes| {
                let mut bytes = bytes.to_vec();
                for _ in 0..rng.usize(..3) {
                    let at = rng.usize(..bytes.len());
                    bytes[at] = rng.u8(..);
                }
                bytes.truncate(rng.usize(bytes.len() / 2..=bytes.len() * 2));
                Bytes::from(bytes)
            };
            let (key, value) = (damage(&record.key), record.value.as_ref().map(damage));
            let _ = shard.replay(offset, -1, &key, value.as_ref());
        }
        let now = Harness::new().now;
        let out = shard.on_loaded(now, 8, 8);
        drop(out);
        let out = shard.tick(now.plus(std::time::Duration::from_secs(100_000)));
        drop(out);
    }
}
