//! What the transaction coordinator does by itself, and what it keeps: timeouts, used-up epochs, prepared transactions and expired ids found at a
//! start, other levels of `transaction.version`. Both brokers get the same raw requests, and the same records put into `__transaction_state`; the
//! answers and the records of that topic are compared. Each line of the comparison is `name: answer`.

use crate::requests::{Asker, both_with, create};
use crate::requests_txn::{Id, add, batch, end, init, initialise, produce, settled, state, to};
use e2e::wait::until;
use record::{BatchBuilder, BatchFields};
use wire::messages::fetch_request::{FetchPartition, FetchTopic};
use wire::messages::transaction_log_value::PartitionsSchema;
use wire::messages::update_features_request::FeatureUpdateKey;
use wire::messages::*;
use wire::{Message, Reader, Writer};

const TOPIC: &str = "c-data";
const STATES: &str = "__transaction_state";

#[test]
fn transaction_coordinator() {
    let extra = [
        "offsets.topic.num.partitions=1",
        "transaction.state.log.num.partitions=1",
        "transaction.abort.timed.out.transaction.cleanup.interval.ms=300",
        "transaction.remove.expired.transaction.cleanup.interval.ms=500",
    ];
    both_with("requests-txn-coordinator", include_str!("../../known/requests_txn_coordinator.txt"), &extra, |a| {
        create(a, &[TOPIC]);
        initialise_when_there(a);
        timeouts(a);
        older_features(a);
        a.node_mut().expect_log("which may be left over from an aborted upgrade");
        put_used_up_epochs(a);
        found_at_a_start(a);
        used_up_epochs(a);
        records(a, "records at the end");
    });
}

fn initialise_when_there(a: &mut Asker) {
    until("the coordinator serves", || {
        let find = FindCoordinatorRequest { key: "c".into(), key_type: 1, ..Default::default() };
        a.send(&find, 3).ok().filter(|r| r.error_code == 0)?;
        a.send(&init("c-first"), 4).ok().filter(|r| r.error_code == 0).map(|_| ())
    });
}

/// A transaction that stays open is aborted, its producer fenced; what the producer does then.
fn timeouts(a: &mut Asker) {
    for (version, end_version, produce_version) in [(4, 4, 11), (5, 5, 12)] {
        let n = |what: &str| format!("timeout v{end_version}, {what}");
        let tid = format!("c-late-{end_version}");
        let short = InitProducerIdRequest { transaction_timeout_ms: 500, ..init(&tid) };
        let id = initialise(a, &n("init"), version, short);
        if end_version < 5 {
            a.ask(&n("add"), 3, add(&tid, id, TOPIC, &[0]));
        }
        a.ask(&n("produce"), produce_version, produce(Some(&tid), vec![to(TOPIC, 0, batch(id, 0, 1, true))]));
        until("the transaction is aborted", || (state(a, &tid).transaction_state == "CompleteAbort").then_some(()));
        settled(a, &n("aborted"), &tid);
        a.ask(&n("produce too late"), produce_version, produce(Some(&tid), vec![to(TOPIC, 0, batch(id, 1, 1, true))]));
        a.ask(&n("commit too late"), end_version, end(&tid, id, true));
        a.ask(&n("abort too late"), end_version, end(&tid, id, false));
        let resumed = InitProducerIdRequest { producer_id: id.0, producer_epoch: id.1, ..init(&tid) };
        a.ask(&n("resume with the old epoch"), version, resumed);
        let next = InitProducerIdRequest { producer_id: id.0, producer_epoch: id.1 + 1, ..init(&tid) };
        a.ask(&n("resume with the epoch that fenced"), version, next);
    }
    for timeout in [0, -1, 900_000, 900_001] {
        a.ask(&format!("timeout of {timeout}"), 4, InitProducerIdRequest { transaction_timeout_ms: timeout, ..init("c-timeout") });
    }
}

fn older_features(a: &mut Asker) {
    records(a, "records before the downgrade");
    for level in [1, 0] {
        let n = |what: &str| format!("level {level}, {what}");
        let update =
            FeatureUpdateKey { feature: "transaction.version".into(), max_version_level: level, upgrade_type: 2, ..Default::default() };
        a.ask(&n("downgrade"), 1, UpdateFeaturesRequest { timeout_ms: 10_000, feature_updates: vec![update], ..Default::default() });
        until("the level is known", || {
            let ask = ApiVersionsRequest { client_software_name: "e2e".into(), client_software_version: "1".into(), ..Default::default() };
            let answer = a.send(&ask, 4).ok()?;
            let known = answer.finalized_features.iter().find(|f| f.name == "transaction.version").map_or(0, |f| f.max_version_level);
            (known == level).then_some(())
        });
        let tid = format!("c-level-{level}");
        let id = initialise(a, &n("init"), 4, init(&tid));
        a.ask(&n("add"), 3, add(&tid, id, TOPIC, &[0, 1]));
        a.ask(&n("commit"), 4, end(&tid, id, true));
        settled(a, &n("committed"), &tid);
        a.ask(&n("commit again"), 4, end(&tid, id, true));
        a.ask(&n("add again"), 3, add(&tid, id, TOPIC, &[1]));
        a.ask(&n("taken over"), 4, init(&tid));
        settled(a, &n("aborted"), &tid);
        let late = InitProducerIdRequest { transaction_timeout_ms: 500, ..init(&tid) };
        let id = initialise(a, &n("taken over at last"), 4, late);
        a.ask(&n("add once more"), 3, add(&tid, id, TOPIC, &[1]));
        until("the transaction is aborted", || (state(a, &tid).producer_epoch > id.1).then_some(()));
        settled(a, &n("timed out"), &tid);
        records(a, &n("records"));
    }
    let update = FeatureUpdateKey { feature: "transaction.version".into(), max_version_level: 2, upgrade_type: 1, ..Default::default() };
    a.ask("back to level 2", 1, UpdateFeaturesRequest { timeout_ms: 10_000, feature_updates: vec![update], ..Default::default() });
}

/// A state as it is left by another coordinator.
fn stored(producer_id: i64, epoch: i16, status: i8, partitions: &[i32], client_version: i16) -> TransactionLogValue {
    TransactionLogValue {
        producer_id,
        previous_producer_id: producer_id,
        producer_epoch: epoch,
        transaction_timeout_ms: 60_000,
        transaction_status: status,
        transaction_partitions: (status != 0)
            .then(|| vec![PartitionsSchema { topic: TOPIC.into(), partition_ids: partitions.to_vec(), ..Default::default() }]),
        transaction_last_update_timestamp_ms: now_ms(),
        transaction_start_timestamp_ms: if status == 0 { -1 } else { now_ms() },
        client_transaction_version: client_version,
        ..Default::default()
    }
}

fn now_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

fn key(transactional_id: &str) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.i16(0);
    TransactionLogKey { transactional_id: transactional_id.into(), ..Default::default() }.encode(&mut writer, 0).expect("a key");
    writer.finish_bytes().expect("bytes").to_vec()
}

fn value(stored: &TransactionLogValue, version: i16) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.i16(version);
    stored.encode(&mut writer, version).expect("a value");
    writer.finish_bytes().expect("bytes").to_vec()
}

/// Puts records into the topic as only Kafka's own admin client may.
fn put(a: &mut Asker, name: &str, records: &[(Vec<u8>, Option<Vec<u8>>)]) {
    let mut builder = BatchBuilder::new(BatchFields::default());
    for (key, value) in records {
        builder.append(now_ms(), Some(key), value.as_deref(), &[]);
    }
    let request = produce(None, vec![to(STATES, 0, builder.build().expect("a batch"))]);
    let answer = a.send_as("__admin_client", &request, 9).expect("an answer");
    a.line(name, &format!("error {}", answer.responses[0].partition_responses[0].error_code));
}

fn restart(a: &mut Asker) {
    a.node_mut().stop();
    a.node_mut().start_again();
    until("the coordinator has loaded", || (state(a, "c-first").error_code == 0).then_some(()));
}

fn found_at_a_start(a: &mut Asker) {
    let old = |mut value: TransactionLogValue| {
        value.transaction_last_update_timestamp_ms -= 30 * 24 * 3_600_000;
        value
    };
    let records_found = [
        (key("c-prepared"), Some(value(&stored(5_001, 3, 2, &[0, 1], 0), 1))),
        (key("c-prepared-2"), Some(value(&stored(5_002, 4, 3, &[1], 2), 1))),
        (key("c-prepared-empty"), Some(value(&stored(5_003, 4, 3, &[], 2), 1))),
        (key("c-prepared-gone"), Some(value(&stored(5_004, 4, 2, &[0, 7], 2), 1))),
        (
            key("c-prepared-rotates"),
            Some(value(&TransactionLogValue { next_producer_id: 6_000, ..stored(5_005, i16::MAX, 2, &[0], 2) }, 1)),
        ),
        (key("c-version-0"), Some(value(&TransactionLogValue { previous_producer_id: -1, ..stored(5_006, 4, 1, &[0], 0) }, 0))),
        (key("c-expired"), Some(value(&old(stored(5_007, 1, 4, &[], 2)), 1))),
        (key("c-old-and-open"), Some(value(&old(stored(5_008, 1, 1, &[0], 2)), 1))),
        (key("c-deleted"), Some(value(&stored(5_009, 1, 0, &[], 2), 1))),
        (key("c-deleted"), None),
        // Of a newer broker.
        ([0, 9].iter().chain(b"what").copied().collect(), Some(vec![0, 0, 1])),
        (key("c-newer"), Some(vec![0, 9, 1, 2, 3])),
    ];
    put(a, "put", &records_found);
    restart(a);
    for tid in ["c-prepared", "c-prepared-2", "c-prepared-empty", "c-prepared-gone", "c-prepared-rotates"] {
        settled(a, &format!("found {tid}"), tid);
    }
    until("the id is gone", || (state(a, "c-expired").error_code != 0).then_some(()));
    for tid in ["c-version-0", "c-expired", "c-deleted", "c-newer"] {
        let shown = state(a, tid);
        a.line(&format!("found {tid}"), &format!("{shown:?}"));
    }
    a.ask("the open one goes on", 3, add("c-version-0", Id(5_006, 4), TOPIC, &[1]));
    a.ask("the open one ends", 4, end("c-version-0", Id(5_006, 4), true));
    settled(a, "the open one is over", "c-version-0");
    a.ask("after the rotation, a repeated commit", 5, end("c-prepared-rotates", Id(5_005, i16::MAX - 1), true));
    a.ask("after the rotation, a repeated abort", 5, end("c-prepared-rotates", Id(5_005, i16::MAX - 1), false));
    a.ask("after the rotation, the old id", 5, end("c-prepared-rotates", Id(5_005, i16::MAX), true));
    a.ask("after the rotation, the new id adds", 3, add("c-prepared-rotates", Id(6_000, 0), TOPIC, &[1]));
    a.ask("after the rotation, the old id once more", 5, end("c-prepared-rotates", Id(5_005, i16::MAX - 1), true));
}

const LAST_EPOCH: i16 = i16::MAX - 1;

/// Ids with few epochs left.
fn put_used_up_epochs(a: &mut Asker) {
    let last = LAST_EPOCH;
    let records_found = [
        ("c-last-init", stored(7_001, last, 0, &[], 0)),
        ("c-last-resume", stored(7_002, last, 0, &[], 0)),
        ("c-last-wrong", stored(7_003, last, 4, &[], 0)),
        ("c-last-open", stored(7_004, last, 1, &[0], 0)),
        ("c-last-v2", stored(7_005, last, 1, &[0], 2)),
        ("c-last-v2-abort", stored(7_006, last, 5, &[], 2)),
        ("c-before-last", stored(7_007, last - 1, 4, &[], 2)),
        ("c-broken", stored(7_008, i16::MAX, 1, &[0], 2)),
    ]
    .map(|(tid, stored)| (key(tid), Some(value(&stored, 1))));
    put(a, "put used ones", &records_found);
}

/// Each goes its own way to the next producer id.
fn used_up_epochs(a: &mut Asker) {
    let last = LAST_EPOCH;
    initialise(a, "last epoch, init", 4, init("c-last-init"));
    let resume = |tid: &str, id: Id| InitProducerIdRequest { producer_id: id.0, producer_epoch: id.1, ..init(tid) };
    a.ask("last epoch, resume", 4, resume("c-last-resume", Id(7_002, last)));
    a.ask("last epoch, resume again", 4, resume("c-last-resume", Id(7_002, last)));
    a.ask("last epoch, resume with another", 4, resume("c-last-wrong", Id(7_003, 12)));
    a.ask("last epoch, resume with another id", 4, resume("c-last-wrong", Id(7_999, last)));
    a.ask("last epoch, taken over while open", 4, init("c-last-open"));
    settled(a, "last epoch, aborted", "c-last-open");
    initialise(a, "last epoch, taken over", 4, init("c-last-open"));
    a.ask("last epoch, commit v5", 5, end("c-last-v2", Id(7_005, last), true));
    settled(a, "last epoch, committed v5", "c-last-v2");
    a.ask("last epoch, commit v5 again", 5, end("c-last-v2", Id(7_005, last), true));
    a.ask("last epoch, empty abort v5", 5, end("c-last-v2-abort", Id(7_006, last), false));
    settled(a, "last epoch, aborted v5", "c-last-v2-abort");
    a.ask("last epoch but one, empty abort v5", 5, end("c-before-last", Id(7_007, last - 1), false));
    settled(a, "last epoch but one, aborted v5", "c-before-last");
    a.ask("last epoch but one, and the last", 5, end("c-before-last", Id(7_007, last), false));
    settled(a, "last epoch but one, rotated", "c-before-last");
    a.ask("broken, commit v5", 5, end("c-broken", Id(7_008, i16::MAX), true));
    a.ask("broken, abort v5", 5, end("c-broken", Id(7_008, i16::MAX), false));
    settled(a, "broken, aborted", "c-broken");
}

/// The whole topic, times of day left out.
fn records(a: &mut Asker, name: &str) {
    let request = FetchRequest {
        replica_id: -1,
        max_wait_ms: 10,
        max_bytes: 1 << 20,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic: STATES.into(),
            partitions: vec![FetchPartition {
                current_leader_epoch: -1,
                last_fetched_epoch: -1,
                log_start_offset: -1,
                partition_max_bytes: 1 << 20,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let answer = a.send(&request, 11).expect("an answer").responses.remove(0).partitions.remove(0);
    let bytes = answer.records.map(|r| r.to_bytes().expect("bytes")).unwrap_or_default();
    // In the order of ids: what the coordinator does by itself has no order among them.
    let mut lines: std::collections::BTreeMap<String, Vec<String>> = Default::default();
    for batch in record::batches(&bytes) {
        let batch = batch.expect("whole batches");
        let view = batch.view();
        let head = format!("{} {} {}", view.producer_id(), view.base_sequence(), view.is_transactional());
        for record in batch.records(1 << 20).expect("records") {
            let record = record.expect("a record");
            let key = record.key.expect("a key");
            let id = String::from_utf8_lossy(&key[2..]).into_owned();
            lines.entry(id).or_default().push(format!("[{head}] {}", record.value.map_or("gone".into(), |value| shown(&value))));
        }
    }
    for (id, states) in lines {
        for (n, state) in states.iter().enumerate() {
            a.line(&format!("{name}, {id:?} {n}"), state);
        }
    }
}

fn shown(bytes: &bytes::Bytes) -> String {
    let mut reader = Reader::new(bytes.clone());
    let version = reader.i16().expect("a version");
    let Ok(mut stored) = TransactionLogValue::decode(&mut reader, version) else { return format!("{bytes:?}") };
    let time = |ms: i64| if ms > 0 { 1 } else { ms };
    stored.transaction_last_update_timestamp_ms = time(stored.transaction_last_update_timestamp_ms);
    stored.transaction_start_timestamp_ms = time(stored.transaction_start_timestamp_ms);
    stored.transaction_partitions.iter_mut().flatten().for_each(|topic| topic.partition_ids.sort_unstable());
    format!("v{version}, {} bytes, {} left, {stored:?}", bytes.len(), reader.remaining())
}
