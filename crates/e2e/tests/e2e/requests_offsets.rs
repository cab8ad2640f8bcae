//! Where logs begin, end and reach a time or an epoch, asked of both brokers in raw requests: ListOffsets, DeleteRecords and
//! OffsetForLeaderEpoch, with what Produce and Fetch say of the same, before and after restarts. Records carry fixed times, so that answers
//! depend on nothing else. Each line of the comparison is `name: answer`.

use crate::requests::{Asker, both_with, create_as, leader_epochs};
use crate::requests_txn::{Id, init, initialise};
use bytes::Bytes;
use e2e::wait::until;
use record::{BatchBuilder, BatchFields, Codec, Compression};
use std::fmt::Write;
use wire::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use wire::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use wire::messages::fetch_request::{FetchPartition, FetchTopic};
use wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use wire::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use wire::messages::*;

/// A time long ago; nothing here is deleted for its age.
const T: i64 = 1_600_000_000_000;

/// Later than all that is there before the first restart.
const LIVES: i64 = T + 1_000_000;

/// Topics whose records are all there from the beginning, by what is special about their times.
const TIMES: [&str; 14] = [
    "o-empty",
    "o-order",
    "o-mixed",
    "o-equal",
    "o-timeless",
    "o-none",
    "o-gzip",
    "o-snappy",
    "o-lz4",
    "o-zstd",
    "o-segments",
    "o-segments-back",
    "o-large",
    "o-txn",
];

#[test]
fn offset_requests() {
    let extra = ["transaction.state.log.num.partitions=1", "log.cleaner.backoff.ms=100"];
    both_with("requests-offsets", include_str!("../../known/requests_offsets.txt"), &extra, |a| {
        fill(a);
        special_offsets(a);
        times(a);
        stamped_by_the_broker(a);
        records_deleted(a);
        compacted(a);
        epochs(a, "first");
        for round in ["second", "third"] {
            a.node_mut().stop();
            a.node_mut().start_again();
            leaders_serve(a);
            starts(a, &format!("{round} life"), &DELETED);
            append_in_this_life(a, round);
            epochs(a, round);
        }
        records_deleted_past_epochs(a);
    });
}

fn create(a: &mut Asker, name: &str, partitions: i32, configs: &[(&str, &str)]) {
    let config =
        |(key, value): &(&str, &str)| CreatableTopicConfig { name: (*key).into(), value: Some((*value).into()), ..Default::default() };
    let topic = CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: 1,
        configs: configs.iter().chain(&[("retention.ms", "-1")]).map(config).collect(),
        ..Default::default()
    };
    create_as(a, vec![topic]);
}

fn leaders_serve(a: &mut Asker) {
    for topic in TIMES.iter().chain(&["o-epochs"]) {
        leader_epochs(a, topic, 1);
    }
    leader_epochs(a, "o-del", 3);
}

/// One batch with a record of each time.
fn batch(codec: Compression, times: &[i64]) -> Bytes {
    keyed(codec, &times.iter().map(|t| (*t, "k")).collect::<Vec<_>>(), BatchFields::default())
}

fn keyed(codec: Compression, records: &[(i64, &str)], fields: BatchFields) -> Bytes {
    let mut builder = BatchBuilder::new(BatchFields { codec: Codec::new(codec), ..fields });
    for (n, (time, key)) in records.iter().enumerate() {
        builder.append(*time, Some(key.as_bytes()), Some(format!("a value that compresses, number {n}").as_bytes()), &[]);
    }
    builder.build().expect("a batch")
}

fn produce(a: &mut Asker, topic: &str, partition: i32, version: i16, batch: Bytes) -> ProduceResponse {
    produce_as(a, None, topic, partition, version, batch)
}

fn produce_as(a: &mut Asker, tid: Option<&str>, topic: &str, partition: i32, version: i16, batch: Bytes) -> ProduceResponse {
    let partition_data = vec![PartitionProduceData { index: partition, records: Some(batch.into()), ..Default::default() }];
    let topic_data = vec![TopicProduceData { name: topic.into(), partition_data, ..Default::default() }];
    let transactional_id = tid.map(str::to_owned);
    let request = ProduceRequest { transactional_id, acks: -1, timeout_ms: 10_000, topic_data, ..Default::default() };
    let answer = a.send(&request, version).expect("an answer");
    let name = format!("produce to {topic}-{partition}");
    a.line(&name, &format!("{answer:?}"));
    answer
}

/// What to ask of each partition: its index, the leader epoch known, the time.
type Wanted<'a> = (&'a str, &'a [(i32, i32, i64)]);

fn list(wanted: &[Wanted], isolation_level: i8) -> ListOffsetsRequest {
    let partition = |&(partition_index, current_leader_epoch, timestamp): &(i32, i32, i64)| ListOffsetsPartition {
        partition_index,
        current_leader_epoch,
        timestamp,
        ..Default::default()
    };
    let topics = wanted.iter().map(|(name, partitions)| ListOffsetsTopic {
        name: (*name).into(),
        partitions: partitions.iter().map(partition).collect(),
        ..Default::default()
    });
    ListOffsetsRequest { replica_id: -1, isolation_level, topics: topics.collect(), timeout_ms: 5000, ..Default::default() }
}

fn list_line(a: &mut Asker, name: &str, version: i16, request: &ListOffsetsRequest) {
    let text = list_text(a, version, request);
    a.line(name, &text);
}

fn list_text(a: &mut Asker, version: i16, request: &ListOffsetsRequest) -> String {
    match a.send(request, version) {
        Ok(mut answer) => {
            // Kafka lists them in the order of a hash map.
            answer.topics.sort_by_key(|t| t.name.clone());
            answer.topics.iter_mut().for_each(|t| t.partitions.sort_by_key(|p| p.partition_index));
            let mut text = format!("throttled {}", answer.throttle_time_ms);
            for topic in answer.topics {
                let _ = write!(text, " | {}", topic.name);
                for p in topic.partitions {
                    let (timestamp, offset) = (p.timestamp, p.offset);
                    let _ =
                        write!(text, " [{} error {} {timestamp} at {offset} epoch {}]", p.partition_index, p.error_code, p.leader_epoch);
                }
            }
            text
        }
        Err(e) => e,
    }
}

/// Asks all topics, of one partition each, for the same.
fn list_all(a: &mut Asker, name: &str, version: i16, isolation: i8, topics: &[&str], timestamp: i64) {
    let partition = [(0, -1, timestamp)];
    let wanted: Vec<Wanted> = topics.iter().map(|t| (*t, &partition[..])).collect();
    list_line(a, name, version, &list(&wanted, isolation));
}

fn fill(a: &mut Asker) {
    for topic in TIMES {
        match topic.starts_with("o-segments") {
            // By the times of the records: each batch that is ten seconds later rolls the log.
            true => create(a, topic, 1, &[("segment.ms", "10000")]),
            false => create(a, topic, 1, &[("segment.bytes", "1048576"), ("index.interval.bytes", "512")]),
        }
    }
    for n in 0..4 {
        let at = T + n * 100;
        produce(a, "o-order", 0, 9, batch(Compression::None, &[at, at + 10, at + 20, at + 30]));
    }
    for times in [[500, 100, 300], [50, 700, 200], [700, 0, 650], [600, 600, 10]] {
        produce(a, "o-mixed", 0, 9, batch(Compression::None, &times.map(|t| T + t)));
    }
    for _ in 0..3 {
        produce(a, "o-equal", 0, 9, batch(Compression::Lz4, &[T, T, T]));
    }
    for times in [[-1, -1], [-1, T], [0, -1]] {
        produce(a, "o-timeless", 0, 9, batch(Compression::None, &times));
    }
    for codec in Compression::ALL {
        for times in [[0, 100, 50, 200], [150, 400, 300, 400], [300, 250, 100, 260]] {
            produce(a, &format!("o-{}", codec.name()), 0, 9, batch(codec, &times.map(|t| T + t)));
        }
    }
    for n in [0, 1, 2, 5, 3, 4] {
        let at = T + n * 20_000;
        produce(a, "o-segments", 0, 9, batch(Compression::Zstd, &[at, at + 2000, at + 1000]));
    }
    for n in [9, 0, 12, 3, 4, 30, 1] {
        let at = T + n * 20_000;
        produce(a, "o-segments-back", 0, 9, batch(Compression::None, &[at, at + 2000, at + 1000]));
    }
    large(a);
    transactions(a);
}

/// Enough batches that segments are full and have indexes, with a time that goes back now and then.
fn large(a: &mut Asker) {
    let value = "x".repeat(1000);
    for n in 0..6 {
        let mut batches = Vec::new();
        let mut builder = BatchBuilder::new(BatchFields::default());
        for record in 0..400 {
            let at = T + n * 10_000 + if record % 7 == 3 { -5000 } else { record * 10 };
            builder.append(at, None, Some(value.as_bytes()), &[]);
        }
        batches.extend_from_slice(&builder.build().expect("a batch"));
        produce(a, "o-large", 0, 9, batches.into());
    }
    for n in 0..300 {
        let at = T + 100_000 + n * 10;
        let partition = batch(Compression::None, &[at, at + 3]);
        send_quietly(a, "o-large", partition);
    }
}

fn send_quietly(a: &mut Asker, topic: &str, batch: Bytes) {
    let partition_data = vec![PartitionProduceData { records: Some(batch.into()), ..Default::default() }];
    let topic_data = vec![TopicProduceData { name: topic.into(), partition_data, ..Default::default() }];
    let request = ProduceRequest { acks: -1, timeout_ms: 10_000, topic_data, ..Default::default() };
    let answer = a.send(&request, 9).expect("an answer");
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0, "{answer:?}");
}

/// Committed records, then a transaction that stays open, then others' records.
fn transactions(a: &mut Asker) {
    until("the transaction coordinator serves", || {
        let find = FindCoordinatorRequest { key: "o-txn".into(), key_type: 1, ..Default::default() };
        a.send(&find, 3).ok().filter(|r| r.error_code == 0).map(|_| ())
    });
    let of = |id: Id, transactional: bool| BatchFields {
        producer_id: id.0,
        producer_epoch: id.1,
        base_sequence: if id.0 < 0 { -1 } else { 0 },
        transactional,
        ..Default::default()
    };
    produce(a, "o-txn", 0, 9, batch(Compression::None, &[T, T + 100]));
    let id = initialise(a, "transaction, init", 5, init("o-txn"));
    let open = keyed(Compression::None, &[(T + 200, "k"), (T + 50, "k"), (T + 900, "k")], of(id, true));
    produce_as(a, Some("o-txn"), "o-txn", 0, 12, open);
    produce(a, "o-txn", 0, 9, batch(Compression::None, &[T + 300, T + 250]));
}

fn special_offsets(a: &mut Asker) {
    for version in 1..=11 {
        for timestamp in -7..0 {
            list_all(a, &format!("offsets v{version} at {timestamp}"), version, 0, &TIMES, timestamp);
        }
        if version >= 2 {
            for timestamp in -4..0 {
                list_all(a, &format!("offsets v{version} at {timestamp}, committed"), version, 1, &TIMES, timestamp);
            }
        }
    }
    let odd = list(&[("o-order", &[(0, -1, -1), (7, -1, -2)]), ("o-nowhere", &[(0, -1, -1)])], 0);
    list_line(a, "offsets, some unknown", 7, &odd);
    list_line(a, "offsets, an unknown isolation level", 7, &ListOffsetsRequest { isolation_level: 3, ..odd.clone() });
    for replica_id in [-2, 1, 7] {
        let as_replica = ListOffsetsRequest { replica_id, ..list(&[("o-txn", &[(0, -1, -1)]), ("o-order", &[(0, 0, -2)])], 1) };
        list_line(a, &format!("offsets, as replica {replica_id}"), 7, &as_replica);
    }
    for version in [3, 4, 7, 11] {
        for epoch in [0, 1, 99] {
            for timestamp in [-3, -2, -1, T] {
                let request = list(&[("o-order", &[(0, epoch, timestamp)]), ("o-empty", &[(0, epoch, timestamp)])], 0);
                list_line(a, &format!("offsets v{version} at {timestamp}, epoch {epoch}"), version, &request);
            }
        }
    }
}

fn times(a: &mut Asker) {
    let small = [-1000, 0, 1, 10, 15, 30, 31, 50, 60, 99, 100, 101, 200, 250, 260, 300, 301, 330, 331, 400, 500, 600, 700, 701, 900, 901];
    let large = (0..16).flat_map(|n| [n * 10_000 - 5000, n * 10_000, n * 10_000 + 1, n * 10_000 + 1500]);
    for after in small.into_iter().chain(large).chain([102_990, 102_993, 102_994, 400_000, 602_000, 602_001]) {
        list_all(a, &format!("offsets at T+{after}"), 7, 0, &TIMES, T + after);
        if after < 1000 {
            list_all(a, &format!("offsets at T+{after}, committed"), 7, 1, &["o-txn", "o-order"], T + after);
        }
    }
    for version in 1..=11 {
        list_all(a, &format!("offsets v{version} at T+300"), version, 0, &TIMES, T + 300);
    }
    for timestamp in [0, 1, i64::MAX, i64::MAX - 1, i64::MIN] {
        list_all(a, &format!("offsets at the time {timestamp}"), 7, 0, &TIMES, timestamp);
    }
}

fn now_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

/// LogAppendTime: every batch has the time at which the broker took it, as the answer to its producer says.
fn stamped_by_the_broker(a: &mut Asker) {
    create(a, "o-stamped", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let mut stamps = Vec::new();
    for codec in [Compression::None, Compression::Gzip, Compression::Lz4] {
        let answer = produce(a, "o-stamped", 0, 9, batch(codec, &[T + 500, T, T + 100]));
        let stamp = answer.responses[0].partition_responses[0].log_append_time_ms;
        until("the clock goes on", || (now_ms() > stamp + 1).then_some(()));
        stamps.push(stamp);
    }
    for timestamp in [-4, -3, -2, -1, T] {
        list_all(a, &format!("stamped, offsets at {timestamp}"), 11, 0, &["o-stamped"], timestamp);
    }
    for (n, stamp) in stamps.into_iter().enumerate() {
        for (name, timestamp) in [("before", stamp - 1), ("exact", stamp), ("after", stamp + 1)] {
            list_all(a, &format!("stamped, offsets of batch {n}, {name}"), 7, 0, &["o-stamped"], timestamp);
        }
    }
}

fn fetch(topic: &str, partition: i32, offset: i64, last_fetched_epoch: i32) -> FetchRequest {
    let partitions = vec![FetchPartition {
        partition,
        current_leader_epoch: -1,
        fetch_offset: offset,
        last_fetched_epoch,
        log_start_offset: -1,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    }];
    let topics = vec![FetchTopic { topic: topic.into(), partitions, ..Default::default() }];
    FetchRequest { replica_id: -1, max_wait_ms: 0, min_bytes: 0, max_bytes: 1 << 20, session_epoch: -1, topics, ..Default::default() }
}

fn fetch_line(a: &mut Asker, name: &str, version: i16, request: &FetchRequest) {
    let text = fetch_text(a, version, request);
    a.line(name, &text);
}

fn fetch_text(a: &mut Asker, version: i16, request: &FetchRequest) -> String {
    match a.send(request, version) {
        Ok(mut answer) => {
            let p = answer.responses.remove(0).partitions.remove(0);
            let (hw, lso, start) = (p.high_watermark, p.last_stable_offset, p.log_start_offset);
            let mut text = format!("error {} hw {hw} lso {lso} start {start} aborted {:?}", p.error_code, p.aborted_transactions);
            if p.diverging_epoch.epoch >= 0 || p.diverging_epoch.end_offset >= 0 {
                let _ = write!(text, " diverging at {} of epoch {}", p.diverging_epoch.end_offset, p.diverging_epoch.epoch);
            }
            let records = p.records.as_ref().map(|r| r.to_bytes().expect("bytes")).unwrap_or_default();
            for batch in record::batches(&records) {
                let batch = batch.expect("whole batches");
                let view = batch.view();
                let _ = write!(text, " | {}-{} epoch {}", view.base_offset(), view.last_offset(), view.leader_epoch());
            }
            text
        }
        Err(e) => e,
    }
}

/// Where the logs of these partitions start, as everybody says it.
fn starts(a: &mut Asker, name: &str, partitions: &[(&str, i32)]) {
    for (topic, p) in partitions {
        // Apache finds no time before a segment that is deleted but still there: those are not asked for.
        let times = if *topic == "o-del-segments" { [T + 40_000, T + 60_000, T + 65_000] } else { [T, T + 130, T + 20_000] };
        let mut text = String::new();
        for timestamp in [-4, -3, -2, -1, T + 200_000].into_iter().chain(times) {
            text += &list_text(a, 9, &list(&[(topic, &[(*p, -1, timestamp)])], 0));
        }
        a.line(&format!("{name}, offsets of {topic}-{p}"), &text);
        for offset in [0, 4, 5, 7, 8, 12, 15, 19, 20, 21] {
            fetch_line(a, &format!("{name}, fetch {topic}-{p} at {offset}"), 12, &fetch(topic, *p, offset, -1));
        }
        for version in [4, 5, 11] {
            fetch_line(a, &format!("{name}, fetch v{version} {topic}-{p}"), version, &fetch(topic, *p, 19, -1));
        }
    }
}

const DELETED: [(&str, i32); 4] = [("o-del", 0), ("o-del", 1), ("o-del", 2), ("o-del-segments", 0)];

fn delete(wanted: &[(&str, &[(i32, i64)])]) -> DeleteRecordsRequest {
    let partition = |&(partition_index, offset): &(i32, i64)| DeleteRecordsPartition { partition_index, offset, ..Default::default() };
    let topics = wanted.iter().map(|(name, partitions)| DeleteRecordsTopic {
        name: (*name).into(),
        partitions: partitions.iter().map(partition).collect(),
        ..Default::default()
    });
    DeleteRecordsRequest { topics: topics.collect(), timeout_ms: 10_000, ..Default::default() }
}

fn delete_line(a: &mut Asker, name: &str, version: i16, request: &DeleteRecordsRequest) {
    let mut answer = a.send(request, version);
    if let Ok(answer) = &mut answer {
        // Kafka lists them in the order of a hash map.
        answer.topics.sort_by_key(|t| t.name.clone());
        answer.topics.iter_mut().for_each(|t| t.partitions.sort_by_key(|p| p.partition_index));
    }
    a.line(name, &answer.map_or_else(|e| e, |r| format!("{r:?}")));
}

fn records_deleted(a: &mut Asker) {
    create(a, "o-del", 3, &[]);
    create(a, "o-del-segments", 1, &[("segment.ms", "10000")]);
    create(a, "o-del-compact", 1, &[("cleanup.policy", "compact")]);
    create(a, "o-del-both", 1, &[("cleanup.policy", "compact,delete")]);
    for n in 0..4 {
        let times = [T + n * 100, T + n * 100 + 50, T + n * 100 + 20, T + n * 100 + 40, T + n * 100 + 30];
        for partition in 0..3 {
            produce(a, "o-del", partition, 7, batch(Compression::Zstd, &times));
        }
        produce(a, "o-del-segments", 0, 7, batch(Compression::None, &times.map(|t| T + 10 * (t - T) * 20)));
        produce(a, "o-del-compact", 0, 5, batch(Compression::None, &times));
        produce(a, "o-del-both", 0, 5, batch(Compression::None, &times));
    }
    starts(a, "nothing deleted", &DELETED);
    for version in 0..=2 {
        let n = |what: &str| format!("delete v{version}, {what}");
        let cut = 3 + 4 * i64::from(version);
        delete_line(a, &n("nothing"), version, &delete(&[]));
        delete_line(a, &n("no partitions"), version, &delete(&[("o-del", &[])]));
        delete_line(a, &n("at the start"), version, &delete(&[("o-del", &[(0, cut - 3), (1, 0)])]));
        delete_line(a, &n("in the middle"), version, &delete(&[("o-del", &[(0, cut), (1, cut + 2)]), ("o-del-segments", &[(0, cut)])]));
        delete_line(a, &n("the same again"), version, &delete(&[("o-del", &[(0, cut)])]));
        delete_line(a, &n("below the start"), version, &delete(&[("o-del", &[(0, 1), (1, 2)])]));
        delete_line(a, &n("past the end"), version, &delete(&[("o-del", &[(0, 21), (1, i64::MAX), (2, -2)])]));
        delete_line(a, &n("one partition twice"), version, &delete(&[("o-del", &[(0, cut), (0, cut + 1)])]));
        delete_line(a, &n("one topic twice"), version, &delete(&[("o-del", &[(0, cut + 1)]), ("o-del", &[(1, cut + 3)])]));
        let unknown: [(&str, &[(i32, i64)]); 4] =
            [("o-del", &[(0, -1 - i64::MAX), (9, 0), (-1, 0)]), ("o-nowhere", &[(0, 0)]), ("", &[(0, 0)]), ("not/valid", &[(0, -1)])];
        delete_line(a, &n("what is not there"), version, &delete(&unknown));
        let by_policy: [(&str, &[(i32, i64)]); 4] =
            [("o-del-compact", &[(0, 3)]), ("o-del-both", &[(0, 2)]), ("__transaction_state", &[(0, 0)]), ("o-empty", &[(0, -1)])];
        delete_line(a, &n("by policy"), version, &delete(&by_policy));
        delete_line(a, &n("with no time"), version, &DeleteRecordsRequest { timeout_ms: 0, ..delete(&[("o-del", &[(1, cut + 4)])]) });
        starts(a, &n("starts"), &DELETED);
    }
    delete_line(a, "delete to the high watermark", 2, &delete(&[("o-del", &[(1, 20), (2, -1)]), ("o-txn", &[(0, -1)])]));
    starts(a, "deleted to the high watermark", &DELETED);
    for timestamp in [-3, -2, -1, T] {
        list_all(a, &format!("deleted under a transaction, at {timestamp}"), 7, 1, &["o-txn"], timestamp);
    }
    for version in 4..=12 {
        produce(a, "o-del", 2, version, batch(Compression::None, &[T + 700 + i64::from(version)]));
    }
    starts(a, "appended after it", &DELETED);
}

/// Offsets that compaction has taken away are passed over.
fn compacted(a: &mut Asker) {
    let config = [("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0.01"), ("segment.ms", "10000")];
    create(a, "o-compact", 1, &config);
    for (n, keys) in [["a", "b", "c"], ["a", "d", "b"], ["b", "a", "e"], ["f", "g", "a"]].into_iter().enumerate() {
        let at = T + n as i64 * 20_000;
        let records: Vec<(i64, &str)> = keys.iter().zip([0, 500, 250]).map(|(key, after)| (at + after, *key)).collect();
        produce(a, "o-compact", 0, 9, keyed(Compression::Snappy, &records, BatchFields::default()));
    }
    until("the log is compacted", || {
        let mut answer = a.send(&fetch("o-compact", 0, 0, -1), 11).ok()?;
        let records = answer.responses.remove(0).partitions.remove(0).records?.to_bytes().ok()?;
        // The active segment comes with the next fetch.
        let left = record::batches(&records).map(|b| b.expect("a batch").view().count().unwrap_or(0)).sum::<i32>();
        (left == 5).then_some(())
    });
    for after in [-1, 0, 1, 250, 251, 500, 501, 20_000, 20_250, 20_400, 20_500, 20_501, 40_000, 40_250, 40_251, 40_500, 60_250, 60_501] {
        list_all(a, &format!("compacted, at T+{after}"), 7, 0, &["o-compact"], T + after);
    }
    for timestamp in [-4, -3, -2, -1] {
        list_all(a, &format!("compacted, at {timestamp}"), 9, 0, &["o-compact"], timestamp);
    }
    for offset in 0..=12 {
        fetch_line(a, &format!("compacted, fetch at {offset}"), 12, &fetch("o-compact", 0, offset, -1));
    }
}

fn append_in_this_life(a: &mut Asker, round: &str) {
    let at = LIVES + round.len() as i64;
    for topic in ["o-epochs", "o-del", "o-segments"] {
        produce(a, topic, 0, 9, batch(Compression::None, &[at, at + 1, at + 2]));
    }
}

fn end_offsets(wanted: &[(&str, i32, i32)]) -> OffsetForLeaderEpochRequest {
    let topics = wanted.iter().map(|&(topic, current_leader_epoch, leader_epoch)| OffsetForLeaderTopic {
        topic: topic.into(),
        partitions: vec![OffsetForLeaderPartition { partition: 0, current_leader_epoch, leader_epoch, ..Default::default() }],
        ..Default::default()
    });
    OffsetForLeaderEpochRequest { replica_id: -1, topics: topics.collect(), ..Default::default() }
}

fn end_line(a: &mut Asker, name: &str, version: i16, request: &OffsetForLeaderEpochRequest) {
    let mut answer = a.send(request, version);
    if let Ok(answer) = &mut answer {
        answer.topics.sort_by_key(|t| t.topic.clone());
        answer.topics.iter_mut().for_each(|t| t.partitions.sort_by_key(|p| p.partition));
    }
    a.line(name, &answer.map_or_else(|e| e, |r| format!("{r:?}")));
}

/// Where each epoch ends, for whoever knows the leader's epoch, an older one, one to come, or none.
fn epochs(a: &mut Asker, life: &str) {
    if life == "first" {
        create(a, "o-epochs", 1, &[]);
        append_in_this_life(a, life);
    }
    const TOPICS: [&str; 4] = ["o-epochs", "o-del", "o-empty", "o-segments"];
    let latest = TOPICS.map(|topic| leader_epochs(a, topic, if topic == "o-del" { 3 } else { 1 })[0]);
    a.line(&format!("{life} life, leader epochs"), &format!("{latest:?}"));
    // Old versions differ in nothing that a restart changes.
    let versions = if life == "first" || life == "second" { 2..=4 } else { 4..=4 };
    for version in versions {
        for leader_epoch in [i32::MIN, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, i32::MAX] {
            let wanted = TOPICS.map(|topic| (topic, -1, leader_epoch));
            end_line(a, &format!("{life} life, v{version}, end of epoch {leader_epoch}"), version, &end_offsets(&wanted));
        }
        for (name, other) in [("stale", -1), ("current", 0), ("unknown", 1), ("far", 100)] {
            for leader_epoch in [-1, 0, 2, 50] {
                let wanted: Vec<_> = TOPICS.iter().zip(latest).map(|(topic, epoch)| (*topic, epoch + other, leader_epoch)).collect();
                end_line(a, &format!("{life} life, v{version}, {name}, end of epoch {leader_epoch}"), version, &end_offsets(&wanted));
            }
        }
        let mut odd = end_offsets(&[("o-nowhere", -1, 0), ("", -1, 0), ("o-epochs", 0, 0), ("o-epochs", -1, 0)]);
        odd.topics[2].partitions.push(OffsetForLeaderPartition { partition: 5, ..Default::default() });
        end_line(a, &format!("{life} life, v{version}, end of epochs of what is not there"), version, &odd);
    }
    for replica_id in [-2, 0, 1, 9] {
        let request = OffsetForLeaderEpochRequest { replica_id, ..end_offsets(&[("o-epochs", -1, 0)]) };
        end_line(a, &format!("{life} life, end of an epoch, as replica {replica_id}"), 4, &request);
    }
    for (topic, current) in TOPICS.into_iter().zip(latest) {
        for (name, epoch) in [("stale", current - 1), ("current", current), ("unknown", current + 1)] {
            let mut text = String::new();
            for timestamp in [-3, -2, -1, LIVES] {
                text += &list_text(a, 10, &list(&[(topic, &[(0, epoch, timestamp)])], 0));
            }
            a.line(&format!("{life} life, {topic}, {name} epoch, offsets"), &text);
            let mut request = fetch(topic, 0, 0, -1);
            request.topics[0].partitions[0].current_leader_epoch = epoch;
            fetch_line(a, &format!("{life} life, {topic}, {name} epoch, fetch"), 12, &request);
        }
        for last_fetched in [-1, 0, 1, 2, 3, 9] {
            let offsets = [0, 1, 3, 5, 12, 20, 40];
            let text = offsets.map(|offset| fetch_text(a, 12, &fetch(topic, 0, offset, last_fetched))).join("; ");
            a.line(&format!("{life} life, {topic}, fetch after epoch {last_fetched}"), &text);
        }
    }
}

/// The log starts in a later epoch, then after the last.
fn records_deleted_past_epochs(a: &mut Asker) {
    for (name, offset) in [("into the first epoch", 1), ("past the first epoch", 4), ("to the start of the last", 6), ("to the end", -1)] {
        delete_line(a, &format!("epochs, delete {name}"), 2, &delete(&[("o-epochs", &[(0, offset)]), ("o-segments", &[(0, offset)])]));
        epochs(a, &format!("third, deleted {name},"));
        for timestamp in [-4, -3, -2, -1, LIVES, LIVES + 6] {
            list_all(a, &format!("epochs, deleted {name}, at {timestamp}"), 9, 0, &["o-epochs", "o-segments"], timestamp);
        }
    }
}
