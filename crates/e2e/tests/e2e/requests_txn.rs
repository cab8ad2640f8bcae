//! Transactions as raw requests of both protocol generations, right ones and wrong ones: both brokers get the same, and the whole answers are
//! compared, with what the logs hold after them. Each line of the comparison is `name: answer`.

use crate::requests::{Asker, both_with, create, read as receive, write as send_on};
use bytes::Bytes;
use e2e::wait::until;
use record::{BatchBuilder, BatchFields, EndTxnMarker};
use std::fmt::Write;
use wire::messages::add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use wire::messages::fetch_request::{FetchPartition, FetchTopic};
use wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use wire::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use wire::messages::txn_offset_commit_request::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic};
use wire::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use wire::messages::*;

const RETRIABLE: [i16; 4] = [14, 15, 16, 51];

#[test]
fn transaction_requests() {
    let extra = [
        "offsets.topic.num.partitions=1",
        "transaction.state.log.num.partitions=1",
        "transaction.max.timeout.ms=600000",
        "add.partitions.to.txn.retry.backoff.max.ms=8000",
    ];
    both_with("requests-txn", include_str!("../../known/requests_txn.txt"), &extra, |a| {
        create(
            a,
            &[
                "t-wrong", "t-1-old", "t-1", "t-2", "t-2-late", "t-lso", "t-idem", "t-mark", "t-group", "t-fence", "t-gone", "t-pipe",
                "t-wait",
            ],
        );
        coordinator_serves(a);
        producers(a);
        wrong_requests(a);
        first_generation(a, "t-1-old", Versions { init: 1, add: 1, produce: 8, end: 1 });
        first_generation(a, "t-1", Versions { init: 4, add: 3, produce: 11, end: 4 });
        second_generation(a);
        open_transactions(a);
        sequences(a);
        markers(a);
        offsets(a);
        fencing(a);
        batched_adds(a);
        one_connection(a);
        waiting_consumer(a);
        described(a);
    });
}

#[derive(Clone, Copy)]
struct Versions {
    init: i16,
    add: i16,
    produce: i16,
    end: i16,
}

/// Who produces: an id and its epoch as the coordinator gave them.
#[derive(Clone, Copy)]
pub(crate) struct Id(pub(crate) i64, pub(crate) i16);

fn coordinator_serves(a: &mut Asker) {
    until("the coordinator serves", || {
        let find = FindCoordinatorRequest { key: "t".into(), key_type: 1, ..Default::default() };
        a.send(&find, 3).ok().filter(|r| r.error_code == 0)?;
        let find = FindCoordinatorRequest { key: "t".into(), key_type: 0, ..Default::default() };
        a.send(&find, 3).ok().filter(|r| r.error_code == 0)?;
        let unknown = HeartbeatRequest { group_id: "t-none".into(), generation_id: 1, member_id: "m".into(), ..Default::default() };
        a.send(&unknown, 4).ok().filter(|r| !RETRIABLE.contains(&r.error_code))?;
        a.send(&init("t-warm-up"), 4).ok().filter(|r| !RETRIABLE.contains(&r.error_code)).map(|_| ())
    });
}

pub(crate) fn init(transactional_id: &str) -> InitProducerIdRequest {
    InitProducerIdRequest { transactional_id: Some(transactional_id.into()), transaction_timeout_ms: 60_000, ..Default::default() }
}

/// Asks until the coordinator is done with what went before, and tells the last answer.
pub(crate) fn initialise(a: &mut Asker, name: &str, version: i16, request: InitProducerIdRequest) -> Id {
    let answer = until("the transaction before is over", || {
        let answer = a.send(&request, version).expect("an answer");
        (!RETRIABLE.contains(&answer.error_code)).then_some(answer)
    });
    a.line(name, &format!("{answer:?}"));
    Id(answer.producer_id, answer.producer_epoch)
}

pub(crate) fn state(a: &mut Asker, transactional_id: &str) -> describe_transactions_response::TransactionState {
    let request = DescribeTransactionsRequest { transactional_ids: vec![transactional_id.into()], ..Default::default() };
    let mut state = a.send(&request, 0).expect("an answer").transaction_states.remove(0);
    // Kafka lists them in the order of a hash map.
    state.topics.iter_mut().for_each(|t| t.partitions.sort_unstable());
    state
}

/// Waits for the markers, and tells where the transaction is.
pub(crate) fn settled(a: &mut Asker, name: &str, transactional_id: &str) {
    let state = until("the markers are written", || {
        let state = state(a, transactional_id);
        (!state.transaction_state.starts_with("Prepare")).then_some(state)
    });
    a.line(name, &format!("{state:?}"));
}

fn now_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

/// `count` records from sequence `first` on.
pub(crate) fn batch(id: Id, first: i32, count: i32, transactional: bool) -> Bytes {
    let fields = BatchFields { producer_id: id.0, producer_epoch: id.1, base_sequence: first, transactional, ..Default::default() };
    let mut builder = BatchBuilder::new(fields);
    for n in 0..count {
        builder.append(now_ms(), Some(b"k"), Some(format!("v{n}").as_bytes()), &[]);
    }
    builder.build().expect("a batch")
}

pub(crate) fn to(topic: &str, partition: i32, batch: Bytes) -> TopicProduceData {
    TopicProduceData {
        name: topic.into(),
        partition_data: vec![PartitionProduceData { index: partition, records: Some(batch.into()), ..Default::default() }],
        ..Default::default()
    }
}

pub(crate) fn produce(transactional_id: Option<&str>, topic_data: Vec<TopicProduceData>) -> ProduceRequest {
    ProduceRequest { transactional_id: transactional_id.map(str::to_owned), acks: -1, timeout_ms: 10_000, topic_data, ..Default::default() }
}

pub(crate) fn add(transactional_id: &str, id: Id, topic: &str, partitions: &[i32]) -> AddPartitionsToTxnRequest {
    AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: transactional_id.into(),
        v3_and_below_producer_id: id.0,
        v3_and_below_producer_epoch: id.1,
        v3_and_below_topics: vec![AddPartitionsToTxnTopic { name: topic.into(), partitions: partitions.to_vec(), ..Default::default() }],
        ..Default::default()
    }
}

pub(crate) fn end(transactional_id: &str, id: Id, committed: bool) -> EndTxnRequest {
    EndTxnRequest { transactional_id: transactional_id.into(), producer_id: id.0, producer_epoch: id.1, committed, ..Default::default() }
}

/// Adds once the transaction before is over; classic clients repeat the request for as long.
fn add_when_over(a: &mut Asker, name: &str, version: i16, request: AddPartitionsToTxnRequest) {
    let answer = until("the transaction before is over", || {
        let answer = a.send(&request, version).expect("an answer");
        let codes = answer.results_by_topic_v3_and_below.iter().flat_map(|t| &t.results_by_partition);
        (!codes.into_iter().any(|p| RETRIABLE.contains(&p.partition_error_code))).then_some(answer)
    });
    a.line(name, &format!("{answer:?}"));
}

fn fetch(topic: &str, offset: i64, committed: bool) -> FetchRequest {
    FetchRequest {
        replica_id: -1,
        max_wait_ms: 10,
        min_bytes: 0,
        max_bytes: 1 << 20,
        isolation_level: i8::from(committed),
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic: topic.into(),
            partitions: vec![FetchPartition {
                current_leader_epoch: -1,
                fetch_offset: offset,
                last_fetched_epoch: -1,
                log_start_offset: -1,
                partition_max_bytes: 1 << 20,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// Reads a partition from `offset` on.
fn read(a: &mut Asker, name: &str, topic: &str, offset: i64, committed: bool) {
    let mut answer = a.send(&fetch(topic, offset, committed), 11).expect("an answer");
    a.line(name, &tell(&answer.responses.remove(0).partitions.remove(0)));
}

/// The offsets of an answer, the aborted transactions, and the batches by their headers.
fn tell(answer: &fetch_response::PartitionData) -> String {
    let mut text = format!("error {} hw {} lso {} ", answer.error_code, answer.high_watermark, answer.last_stable_offset);
    let aborted = answer.aborted_transactions.as_ref().map(|list| list.iter().map(|t| (t.producer_id, t.first_offset)).collect::<Vec<_>>());
    let _ = write!(text, "aborted {aborted:?}");
    let records = answer.records.as_ref().map(|r| r.to_bytes().expect("bytes")).unwrap_or_default();
    for batch in record::batches(&records) {
        let batch = batch.expect("whole batches");
        let view = batch.view();
        let (id, epoch, sequence) = (view.producer_id(), view.producer_epoch(), view.base_sequence());
        let _ = write!(text, " | {}-{} {id}/{epoch} seq {sequence}", view.base_offset(), view.last_offset());
        if view.is_transactional() {
            text += " txn";
        }
        if view.is_control()
            && let Ok(Some((marker, _))) = EndTxnMarker::from_batch(&batch)
        {
            let _ = write!(text, " {marker:?}");
        }
    }
    text
}

fn latest(topic: &str, committed: bool) -> ListOffsetsRequest {
    ListOffsetsRequest {
        replica_id: -1,
        isolation_level: i8::from(committed),
        topics: vec![ListOffsetsTopic {
            name: topic.into(),
            partitions: vec![ListOffsetsPartition { current_leader_epoch: -1, timestamp: -1, ..Default::default() }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// All that consumers and administrators can see of partition 0 of a topic.
fn look(a: &mut Asker, name: &str, topic: &str) {
    read(a, &format!("{name}, read uncommitted"), topic, 0, false);
    read(a, &format!("{name}, read committed"), topic, 0, true);
    a.ask(&format!("{name}, latest uncommitted"), 6, latest(topic, false));
    a.ask(&format!("{name}, latest committed"), 6, latest(topic, true));
    let topics = vec![describe_producers_request::TopicRequest { name: topic.into(), partition_indexes: vec![0], ..Default::default() }];
    let answer = a.send(&DescribeProducersRequest { topics, ..Default::default() }, 0).expect("an answer");
    // Kafka lists them in the order of a hash map.
    let mut partition = answer.topics[0].partitions[0].clone();
    partition.active_producers.sort_by_key(|p| p.producer_id);
    a.line(&format!("{name}, producers"), &format!("{partition:?}"));
}

fn producers(a: &mut Asker) {
    for version in 0..=5 {
        initialise(a, &format!("init v{version}"), version, init(&format!("t-init-{version}")));
        initialise(a, &format!("init v{version} again"), version, init(&format!("t-init-{version}")));
    }
    let with = |timeout: i32| InitProducerIdRequest { transaction_timeout_ms: timeout, ..init("t-timeout") };
    for timeout in [600_001, i32::MAX, 0, -1, i32::MIN] {
        a.ask(&format!("init, timeout {timeout}"), 4, with(timeout));
    }
    initialise(a, "init, longest timeout", 4, with(600_000));
    a.ask("init, empty id", 4, init(""));
    let resumed = |id: i64, epoch: i16| InitProducerIdRequest { producer_id: id, producer_epoch: epoch, ..init("t-resume") };
    a.ask("resume, never known", 4, resumed(77, 3));
    let id = initialise(a, "resume, first", 4, init("t-resume"));
    let again = initialise(a, "resume, as given", 4, resumed(id.0, id.1));
    initialise(a, "resume, as given before", 4, resumed(id.0, id.1));
    a.ask("resume, epoch too high", 4, resumed(id.0, again.1 + 5));
    a.ask("resume, another id", 4, resumed(id.0 + 1000, again.1));
    a.ask("resume, id without an epoch", 4, resumed(id.0, -1));
    a.ask("resume, epoch without an id", 4, resumed(-1, 2));
    for key in ["", "t-any"] {
        a.ask(&format!("find coordinator of '{key}'"), 3, FindCoordinatorRequest { key: key.into(), key_type: 1, ..Default::default() });
    }
}

fn wrong_requests(a: &mut Asker) {
    let stranger = Id(4711, 0);
    for version in [0, 2, 3] {
        a.ask(&format!("add v{version}, unknown id"), version, add("t-unknown", stranger, "t-wrong", &[0]));
    }
    let id = initialise(a, "wrong, init", 4, init("t-w"));
    a.ask("add, another producer", 3, add("t-w", stranger, "t-wrong", &[0]));
    for version in [1, 2, 3] {
        a.ask(&format!("add v{version}, epoch too high"), version, add("t-w", Id(id.0, id.1 + 1), "t-wrong", &[0]));
    }
    a.ask("add, empty id", 3, add("", id, "t-wrong", &[0]));
    a.ask("add, unknown topic", 3, add("t-w", id, "t-nowhere", &[0]));
    let mut answer = a.send(&add("t-w", id, "t-wrong", &[0, 9]), 3).expect("an answer");
    answer.results_by_topic_v3_and_below.iter_mut().for_each(|t| t.results_by_partition.sort_by_key(|p| p.partition_index));
    a.line("add, unknown partition and a known one", &format!("{answer:?}"));
    a.ask("add, nothing", 3, AddPartitionsToTxnRequest { v3_and_below_topics: vec![], ..add("t-w", id, "", &[]) });
    for version in [0, 3, 4, 5] {
        a.ask(&format!("end v{version}, unknown id"), version, end("t-unknown", stranger, true));
        a.ask(&format!("end v{version}, another producer"), version, end("t-w", stranger, true));
        a.ask(&format!("end v{version}, epoch too high"), version, end("t-w", Id(id.0, id.1 + 7), true));
        a.ask(&format!("end v{version}, empty id"), version, end("", id, true));
    }
    for version in [0, 3, 4] {
        let offsets = AddOffsetsToTxnRequest {
            transactional_id: "t-unknown".into(),
            producer_id: 5,
            producer_epoch: 0,
            group_id: "t-g".into(),
            ..Default::default()
        };
        a.ask(&format!("add offsets v{version}, unknown id"), version, offsets);
    }
    for version in [3, 8, 10, 11, 12] {
        let v = |what: &str| format!("produce v{version}, {what}");
        a.ask(&v("not added"), version, produce(Some("t-never"), vec![to("t-wrong", 0, batch(stranger, 0, 1, true))]));
        a.ask(&v("no id"), version, produce(None, vec![to("t-wrong", 0, batch(id, 0, 1, true)), to("t-wrong", 1, batch(id, 0, 1, false))]));
        a.ask(&v("empty id"), version, produce(Some(""), vec![to("t-wrong", 0, batch(id, 0, 1, true))]));
        a.ask(&v("epoch too high"), version, produce(Some("t-w"), vec![to("t-wrong", 0, batch(Id(id.0, id.1 + 3), 0, 1, true))]));
        a.ask(&v("another producer"), version, produce(Some("t-w"), vec![to("t-wrong", 0, batch(stranger, 0, 1, true))]));
        let two = vec![to("t-wrong", 0, batch(id, 0, 1, true)), to("t-wrong", 1, batch(stranger, 0, 1, true))];
        a.ask(&v("two producers"), version, produce(Some("t-w"), two));
        a.ask(&v("unknown topic"), version, produce(Some("t-w"), vec![to("t-nowhere", 0, batch(id, 0, 1, true))]));
        a.ask(&v("internal topic"), version, produce(Some("t-never"), vec![to("__consumer_offsets", 0, batch(stranger, 0, 1, true))]));
        a.ask(&v("no producer"), version, produce(Some("t-never"), vec![to("t-wrong", 0, batch(Id(-1, -1), -1, 1, true))]));
        let wrong_acks = ProduceRequest { acks: 2, ..produce(Some("t-never"), vec![to("t-wrong", 0, batch(stranger, 0, 1, true))]) };
        a.ask(&v("wrong acks"), version, wrong_acks);
    }
    look(a, "wrong", "t-wrong");
    a.ask("wrong, end", 4, end("t-w", id, false));
}

fn first_generation(a: &mut Asker, topic: &str, v: Versions) {
    let n = |what: &str| format!("{topic}, {what}");
    let tid = topic;
    let id = initialise(a, &n("init"), v.init, init(tid));
    let send = |batch: Bytes| produce(Some(tid), vec![to(topic, 0, batch)]);
    a.ask(&n("produce before add"), v.produce, send(batch(id, 0, 1, true)));
    a.ask(&n("end of nothing"), v.end, end(tid, id, true));
    a.ask(&n("abort of nothing"), v.end, end(tid, id, false));
    add_when_over(a, &n("add"), v.add, add(tid, id, topic, &[0]));
    a.ask(&n("add again"), v.add, add(tid, id, topic, &[0]));
    a.ask(&n("produce to a partition not added"), v.produce, produce(Some(tid), vec![to(topic, 1, batch(id, 0, 1, true))]));
    a.ask(&n("produce"), v.produce, send(batch(id, 0, 3, true)));
    a.ask(&n("produce the same"), v.produce, send(batch(id, 0, 3, true)));
    a.ask(&n("produce with a gap"), v.produce, send(batch(id, 5, 1, true)));
    a.ask(&n("produce part of it"), v.produce, send(batch(id, 1, 1, true)));
    a.ask(&n("produce more"), v.produce, send(batch(id, 3, 2, true)));
    a.ask(&n("produce outside"), v.produce, send(batch(id, 5, 1, false)));
    a.ask(&n("produce with a higher epoch"), v.produce, send(batch(Id(id.0, id.1 + 1), 0, 1, true)));
    a.ask(&n("produce with a stale epoch"), v.produce, send(batch(Id(id.0, -1), 0, 1, true)));
    look(a, &n("open"), topic);
    let shown = state(a, tid);
    a.line(&n("open, described"), &format!("{shown:?}"));
    a.ask(&n("commit"), v.end, end(tid, id, true));
    settled(a, &n("committed"), tid);
    look(a, &n("committed"), topic);
    a.ask(&n("commit again"), v.end, end(tid, id, true));
    a.ask(&n("abort what is committed"), v.end, end(tid, id, false));
    a.ask(&n("produce after the end"), v.produce, send(batch(id, 5, 1, true)));
    a.ask(&n("repeat after the end"), v.produce, send(batch(id, 3, 2, true)));
    add_when_over(a, &n("add for the second"), v.add, add(tid, id, topic, &[0]));
    a.ask(&n("the second"), v.produce, send(batch(id, 5, 2, true)));
    a.ask(&n("abort"), v.end, end(tid, id, false));
    settled(a, &n("aborted"), tid);
    look(a, &n("aborted"), topic);
    a.ask(&n("commit what is aborted"), v.end, end(tid, id, true));
    a.ask(&n("abort again"), v.end, end(tid, id, false));
    // Without a batch there is nothing to abort, but a marker.
    add_when_over(a, &n("add for an empty one"), v.add, add(tid, id, topic, &[0]));
    a.ask(&n("commit an empty one"), v.end, end(tid, id, true));
    settled(a, &n("empty"), tid);
    look(a, &n("empty"), topic);
    // A new instance takes over and aborts what is open.
    add_when_over(a, &n("add for one to be taken over"), v.add, add(tid, id, topic, &[0]));
    a.ask(&n("produce what is to be taken over"), v.produce, send(batch(id, 7, 1, true)));
    let next = initialise(a, &n("taken over"), v.init, init(tid));
    a.ask(&n("produce of the old one"), v.produce, send(batch(id, 8, 1, true)));
    a.ask(&n("add of the old one"), v.add, add(tid, id, topic, &[0]));
    a.ask(&n("end of the old one"), v.end, end(tid, id, true));
    look(a, &n("taken over"), topic);
    add_when_over(a, &n("add of the new one"), v.add, add(tid, next, topic, &[0]));
    a.ask(&n("produce of the new one, odd sequence"), v.produce, send(batch(next, 8, 1, true)));
    a.ask(&n("produce of the new one"), v.produce, send(batch(next, 0, 1, true)));
    a.ask(&n("commit of the new one"), v.end, end(tid, next, true));
    settled(a, &n("all over"), tid);
    look(a, &n("all over"), topic);
}

/// Ends a transaction and tells the producer for the next one.
fn end_v5(a: &mut Asker, name: &str, transactional_id: &str, id: Id, committed: bool) -> Id {
    let answer = a.send(&end(transactional_id, id, committed), 5).expect("an answer");
    a.line(name, &format!("{answer:?}"));
    Id(answer.producer_id, answer.producer_epoch)
}

fn second_generation(a: &mut Asker) {
    let (tid, topic) = ("t-2", "t-2");
    let send = |batch: Bytes| produce(Some(tid), vec![to(topic, 0, batch)]);
    let first = initialise(a, "v2, init", 5, init(tid));
    a.ask("v2, odd first sequence", 12, send(batch(first, 3, 1, true)));
    a.ask("v2, first", 12, send(batch(first, 0, 2, true)));
    a.ask("v2, the same", 12, send(batch(first, 0, 2, true)));
    a.ask("v2, gap", 12, send(batch(first, 4, 2, true)));
    a.ask("v2, next", 12, send(batch(first, 2, 1, true)));
    let mut both = to(topic, 0, batch(first, 3, 1, true));
    both.partition_data.extend(to(topic, 1, batch(first, 0, 1, true)).partition_data);
    let mut answer = a.send(&produce(Some(tid), vec![both]), 12).expect("an answer");
    answer.responses.iter_mut().for_each(|t| t.partition_responses.sort_by_key(|p| p.index));
    a.line("v2, both partitions", &format!("{answer:?}"));
    look(a, "v2, open", topic);
    let shown = state(a, tid);
    a.line("v2, open, described", &format!("{shown:?}"));
    let second = end_v5(a, "v2, commit", tid, first, true);
    settled(a, "v2, committed", tid);
    end_v5(a, "v2, commit again", tid, first, true);
    end_v5(a, "v2, abort what is committed", tid, first, false);
    look(a, "v2, committed", topic);
    a.ask("v2, late batch of the first", 12, send(batch(first, 4, 1, true)));
    a.ask("v2, late repeat of the first", 12, send(batch(first, 2, 1, true)));
    a.ask("v2, second, sequence of the first", 12, send(batch(second, 4, 1, true)));
    a.ask("v2, second", 12, send(batch(second, 0, 1, true)));
    let third = end_v5(a, "v2, abort", tid, second, false);
    settled(a, "v2, aborted", tid);
    end_v5(a, "v2, abort again", tid, second, false);
    end_v5(a, "v2, commit what is aborted", tid, second, true);
    look(a, "v2, aborted", topic);
    let fourth = end_v5(a, "v2, empty abort", tid, third, false);
    settled(a, "v2, empty abort settled", tid);
    end_v5(a, "v2, empty commit", tid, fourth, true);
    settled(a, "v2, empty commit settled", tid);
    a.ask("v2, classic add of a new client", 3, add(tid, fourth, topic, &[0]));
    a.ask("v2, classic end of a new client", 4, end(tid, fourth, true));
    settled(a, "v2, after the classic end", tid);
    let resumed = InitProducerIdRequest { producer_id: fourth.0, producer_epoch: fourth.1, ..init(tid) };
    initialise(a, "v2, init with the last epoch", 5, resumed);
    let fifth = initialise(a, "v2, init anew", 5, init(tid));
    a.ask("v2, batch before an init", 12, send(batch(fifth, 0, 1, true)));
    let sixth = initialise(a, "v2, init in a transaction", 5, init(tid));
    look(a, "v2, aborted by init", topic);
    a.ask("v2, batch of who was fenced", 12, send(batch(fifth, 1, 1, true)));
    end_v5(a, "v2, end of who was fenced", tid, fifth, true);
    a.ask("v2, batch after the init", 12, send(batch(sixth, 0, 1, true)));
    end_v5(a, "v2, last end", tid, sixth, true);
    settled(a, "v2, over", tid);
    look(a, "v2, over", topic);
    // A client of the first generation goes on with the same id.
    let old = initialise(a, "v2, old client", 4, init(tid));
    add_when_over(a, "v2, old client adds", 3, add(tid, old, topic, &[0]));
    a.ask("v2, old client produces", 11, send(batch(old, 0, 1, true)));
    a.ask("v2, old client commits", 4, end(tid, old, true));
    settled(a, "v2, old client done", tid);
    look(a, "v2, old client", topic);
}

/// Several transactions on one partition: the last stable offset and who is aborted before it.
fn open_transactions(a: &mut Asker) {
    let topic = "t-lso";
    let ids: Vec<Id> = (0..3).map(|n| initialise(a, &format!("lso, init {n}"), 4, init(&format!("t-lso-{n}")))).collect();
    let tid = |n: usize| format!("t-lso-{n}");
    for (n, id) in ids.iter().enumerate() {
        add_when_over(a, &format!("lso, add {n}"), 3, add(&tid(n), *id, topic, &[0]));
        a.ask(&format!("lso, produce {n}"), 11, produce(Some(&tid(n)), vec![to(topic, 0, batch(*id, 0, 2, true))]));
    }
    a.ask("lso, outside of any", 11, produce(None, vec![to(topic, 0, batch(Id(-1, -1), -1, 2, false))]));
    look(a, "lso, three open", topic);
    for (n, committed) in [(1, false), (0, false), (2, true)] {
        a.ask(&format!("lso, end {n}"), 4, end(&tid(n), ids[n], committed));
        settled(a, &format!("lso, ended {n}"), &tid(n));
        look(a, &format!("lso, {n} ended"), topic);
    }
    // Stable data, then an open transaction, and behind it one that is aborted: what is aborted lies beyond what may be read.
    for (n, id) in ids.iter().enumerate() {
        add_when_over(a, &format!("lso, second add {n}"), 3, add(&tid(n), *id, topic, &[0]));
        a.ask(&format!("lso, second produce {n}"), 11, produce(Some(&tid(n)), vec![to(topic, 0, batch(*id, 2, 1, true))]));
    }
    for n in [2, 1, 0] {
        a.ask(&format!("lso, second end {n}"), 4, end(&tid(n), ids[n], n == 1));
        settled(a, &format!("lso, second ended {n}"), &tid(n));
        look(a, &format!("lso, second {n} ended"), topic);
    }
    for offset in 1..=18 {
        read(a, &format!("lso, read from {offset}"), topic, offset, true);
    }
}

/// Idempotence without transactions.
fn sequences(a: &mut Asker) {
    let id = Id(900_001, 3);
    let mut send = |name: &str, batch: Bytes| a.ask(&format!("sequence, {name}"), 11, produce(None, vec![to("t-idem", 0, batch)]));
    send("begins in the middle", batch(id, 40, 2, false));
    for n in 0..6 {
        send(&format!("batch {n}"), batch(id, 42 + n, 1, false));
    }
    for n in 0..6 {
        send(&format!("batch {n} again"), batch(id, 42 + n, 1, false));
    }
    send("two batches as one", batch(id, 46, 2, false));
    send("epoch before", batch(Id(id.0, 2), 48, 1, false));
    send("next epoch, next sequence", batch(Id(id.0, 4), 48, 1, false));
    send("next epoch", batch(Id(id.0, 4), 0, 1, false));
    send("old epoch again", batch(id, 47, 1, false));
    send("with a transactional id", batch(Id(id.0, 4), 1, 1, false));
    let wrap = Id(900_002, 0);
    send("near the end", batch(wrap, i32::MAX - 1, 1, false));
    send("over the end", batch(wrap, i32::MAX, 3, false));
    send("over the end again", batch(wrap, i32::MAX, 3, false));
    send("after the end", batch(wrap, 2, 1, false));
    send("after the end, too far", batch(wrap, 4, 1, false));
    send("to the very end", batch(Id(900_003, 0), i32::MAX, 1, false));
    send("begins anew", batch(Id(900_003, 0), 0, 1, false));
    send("of the highest epoch", batch(Id(900_004, i16::MAX), 0, 1, false));
    look(a, "sequence", "t-idem");
}

fn marker(id: Id, committed: bool, coordinator_epoch: i32, version: i8, topic: &str, partitions: &[i32]) -> WritableTxnMarker {
    WritableTxnMarker {
        producer_id: id.0,
        producer_epoch: id.1,
        transaction_result: committed,
        topics: vec![WritableTxnMarkerTopic { name: topic.into(), partition_indexes: partitions.to_vec(), ..Default::default() }],
        coordinator_epoch,
        transaction_version: version,
        ..Default::default()
    }
}

/// Markers as a coordinator sends them to leaders, also a deposed one.
fn markers(a: &mut Asker) {
    let topic = "t-mark";
    let write = |markers: Vec<WritableTxnMarker>| WriteTxnMarkersRequest { markers, ..Default::default() };
    a.ask("markers, none", 1, write(vec![]));
    a.ask("markers, unknown topic", 1, write(vec![marker(Id(1, 0), true, 0, 0, "t-nowhere", &[0])]));
    a.ask("markers, unknown partition", 2, write(vec![marker(Id(1, 0), true, 0, 2, topic, &[7])]));
    let id = Id(910_000, 5);
    a.ask("markers, unknown producer", 1, write(vec![marker(id, true, 4, 0, topic, &[0])]));
    a.ask("markers, same again", 1, write(vec![marker(id, true, 4, 0, topic, &[0])]));
    a.ask("markers, deposed coordinator", 1, write(vec![marker(id, false, 3, 0, topic, &[0])]));
    a.ask("markers, stale epoch", 1, write(vec![marker(Id(id.0, 4), false, 4, 0, topic, &[0])]));
    a.ask("markers, higher epoch", 1, write(vec![marker(Id(id.0, 6), false, 5, 0, topic, &[0])]));
    a.ask("markers v2, same epoch, nothing open", 2, write(vec![marker(Id(id.0, 6), false, 5, 2, topic, &[0])]));
    a.ask("markers v2, lower epoch", 2, write(vec![marker(Id(id.0, 5), false, 5, 2, topic, &[0])]));
    a.ask("markers v2 of version 1, same epoch", 2, write(vec![marker(Id(id.0, 6), true, 5, 1, topic, &[0])]));
    // An open transaction whose coordinator knows nothing of the markers that come.
    let tid = "t-mark";
    let open = initialise(a, "markers, init", 4, init(tid));
    add_when_over(a, "markers, add", 3, add(tid, open, topic, &[0]));
    a.ask("markers, produce", 11, produce(Some(tid), vec![to(topic, 0, batch(open, 0, 2, true))]));
    look(a, "markers, open", topic);
    a.ask("markers v2, same epoch, open", 2, write(vec![marker(open, true, 9, 2, topic, &[0])]));
    a.ask("markers v1, same epoch, open", 1, write(vec![marker(open, false, 9, 0, topic, &[0])]));
    look(a, "markers, ended behind its back", topic);
    a.ask("markers, produce on", 11, produce(Some(tid), vec![to(topic, 0, batch(open, 2, 1, true))]));
    a.ask("markers v2, next epoch, open", 2, write(vec![marker(Id(open.0, open.1 + 1), true, 9, 2, topic, &[0])]));
    a.ask("markers, produce with the old epoch", 11, produce(Some(tid), vec![to(topic, 0, batch(open, 3, 1, true))]));
    look(a, "markers, over", topic);
    let several = vec![
        marker(Id(920_000, 0), true, 0, 0, topic, &[0, 1]),
        marker(Id(920_000, 1), false, 0, 0, topic, &[1]),
        marker(Id(920_001, 0), false, 0, 0, "__consumer_offsets", &[0]),
    ];
    let mut answer = a.send(&write(several), 1).expect("an answer");
    answer.markers.sort_by_key(|m| m.producer_id);
    answer.markers.iter_mut().flat_map(|m| &mut m.topics).for_each(|t| t.partitions.sort_by_key(|p| p.partition_index));
    a.line("markers, several", &format!("{answer:?}"));
    a.ask("markers, unknown offsets partition", 1, write(vec![marker(Id(1, 0), true, 0, 0, "__consumer_offsets", &[3])]));
    a.ask("markers, end of the rest", 4, end(tid, open, false));
    let topics = [("t-nowhere", vec![0]), ("t-mark", vec![9]), ("not/valid", vec![0]), ("", vec![0]), ("t-idem", vec![])]
        .map(|(name, p)| describe_producers_request::TopicRequest { name: name.into(), partition_indexes: p, ..Default::default() });
    a.ask("producers of what is not there", 0, DescribeProducersRequest { topics: topics.to_vec(), ..Default::default() });
}

fn offset_commit(tid: &str, group: &str, id: Id, topic: &str, offset: i64) -> TxnOffsetCommitRequest {
    TxnOffsetCommitRequest {
        transactional_id: tid.into(),
        group_id: group.into(),
        producer_id: id.0,
        producer_epoch: id.1,
        topics: vec![TxnOffsetCommitRequestTopic {
            name: topic.into(),
            partitions: vec![TxnOffsetCommitRequestPartition {
                partition_index: 0,
                committed_offset: offset,
                committed_metadata: Some("note".into()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// The group's offset of the topic, with and without what is pending.
fn group_offsets(a: &mut Asker, name: &str, group: &str, topic: &str) {
    for require_stable in [false, true] {
        for all in [false, true] {
            let one = vec![OffsetFetchRequestTopics { name: topic.into(), partition_indexes: vec![0, 1], ..Default::default() }];
            let group = OffsetFetchRequestGroup {
                group_id: group.into(),
                member_epoch: -1,
                topics: if all { None } else { Some(one) },
                ..Default::default()
            };
            let request = OffsetFetchRequest { groups: vec![group], require_stable, ..Default::default() };
            a.ask(&format!("{name}, offsets, stable {require_stable}, all {all}"), 9, request);
        }
    }
}

fn offsets(a: &mut Asker) {
    let (tid, topic) = ("t-group", "t-group");
    let mut id = initialise(a, "offsets, init", 4, init(tid));
    for version in 0..=5 {
        let n = |what: &str| format!("offsets v{version}, {what}");
        let group = &format!("t-group-{version}");
        a.ask(&n("not added"), version, offset_commit("t-never", group, Id(4711, 0), topic, 1));
        a.ask(&n("unknown topic"), version, offset_commit(tid, group, id, "t-nowhere", 1));
        a.ask(&n("empty group"), version, offset_commit(tid, "", id, topic, 1));
        if version < 5 {
            let offsets = AddOffsetsToTxnRequest {
                transactional_id: tid.into(),
                producer_id: id.0,
                producer_epoch: id.1,
                group_id: group.clone(),
                ..Default::default()
            };
            let answer = until("the transaction before is over", || {
                let answer = a.send(&offsets, version.min(4)).expect("an answer");
                (!RETRIABLE.contains(&answer.error_code)).then_some(answer)
            });
            a.line(&n("added"), &format!("{answer:?}"));
        }
        a.ask(&n("written"), version, offset_commit(tid, group, id, topic, 10 + i64::from(version)));
        let mut mixed = offset_commit(tid, group, id, topic, 20);
        mixed.topics[0].partitions.push(TxnOffsetCommitRequestPartition { partition_index: 7, ..Default::default() });
        mixed.topics.push(TxnOffsetCommitRequestTopic { name: "t-nowhere".into(), ..mixed.topics[0].clone() });
        a.ask(&n("with unknown partitions"), version, mixed);
        a.ask(&n("stale epoch"), version, offset_commit(tid, group, Id(id.0, id.1 - 1), topic, 30));
        if version >= 3 {
            let member = TxnOffsetCommitRequest { generation_id: 3, member_id: "m".into(), ..offset_commit(tid, group, id, topic, 40) };
            a.ask(&n("of a generation nobody knows"), version, member);
        }
        let mut large = offset_commit(tid, group, id, topic, 50);
        large.topics[0].partitions[0].committed_metadata = Some("x".repeat(5000));
        a.ask(&n("large metadata"), version, large);
        group_offsets(a, &n("open"), group, topic);
        let committed = version % 3 != 1;
        if version < 5 {
            a.ask(&n("end"), 4, end(tid, id, committed));
        } else {
            id = end_v5(a, &n("end"), tid, id, committed);
        }
        settled(a, &n("settled"), tid);
        group_offsets(a, &n("ended"), group, topic);
        if version == 4 {
            id = initialise(a, "offsets, init of the second generation", 5, init(tid));
        }
    }
    let plain = OffsetCommitRequest {
        group_id: "t-group-5".into(),
        generation_id_or_member_epoch: -1,
        topics: vec![offset_commit_request::OffsetCommitRequestTopic {
            name: topic.into(),
            partitions: vec![offset_commit_request::OffsetCommitRequestPartition { committed_offset: 99, ..Default::default() }],
            ..Default::default()
        }],
        ..Default::default()
    };
    a.ask("offsets, in a transaction before a plain commit", 5, offset_commit(tid, "t-group-5", id, topic, 77));
    a.ask("offsets, plain commit", 8, plain);
    group_offsets(a, "offsets, plain commit meanwhile", "t-group-5", topic);
    a.ask(
        "offsets, delete a group with pending offsets",
        2,
        DeleteGroupsRequest { groups_names: vec!["t-group-5".into()], ..Default::default() },
    );
    end_v5(a, "offsets, end after a plain commit", tid, id, true);
    settled(a, "offsets, over", tid);
    group_offsets(a, "offsets, over", "t-group-5", topic);
}

/// Two producers with one transactional id.
fn fencing(a: &mut Asker) {
    let (tid, topic) = ("t-fence", "t-fence");
    for (init_version, add_version, end_version, produce_version) in [(2, 1, 1, 8), (3, 2, 2, 9), (4, 3, 4, 11), (5, 3, 5, 12)] {
        let n = |what: &str| format!("fence v{init_version}, {what}");
        let old = initialise(a, &n("old"), init_version, init(tid));
        let new = initialise(a, &n("new"), init_version, init(tid));
        a.ask(&n("old adds"), add_version, add(tid, old, topic, &[0]));
        a.ask(&n("old ends"), end_version, end(tid, old, true));
        a.ask(&n("old produces"), produce_version, produce(Some(tid), vec![to(topic, 0, batch(old, 0, 1, true))]));
        a.ask(&n("old commits offsets"), 3, offset_commit(tid, "t-fence", old, topic, 1));
        let offsets = AddOffsetsToTxnRequest {
            transactional_id: tid.into(),
            producer_id: old.0,
            producer_epoch: old.1,
            group_id: "t-fence".into(),
            ..Default::default()
        };
        a.ask(&n("old adds offsets"), add_version.min(3), offsets);
        let resumed = InitProducerIdRequest { producer_id: old.0, producer_epoch: old.1, ..init(tid) };
        if init_version >= 3 {
            a.ask(&n("old asks for a new epoch"), init_version, resumed);
        }
        a.ask(&n("new ends nothing"), end_version, end(tid, new, true));
        settled(a, &n("over"), tid);
    }
}

/// What brokers ask each other: several transactions at once, adding or verifying.
fn batched_adds(a: &mut Asker) {
    let id = initialise(a, "batched, init", 4, init("t-many"));
    let one = |tid: &str, id: Id, topic: &str, partitions: &[i32], verify_only: bool| AddPartitionsToTxnTransaction {
        transactional_id: tid.into(),
        producer_id: id.0,
        producer_epoch: id.1,
        verify_only,
        topics: vec![AddPartitionsToTxnTopic { name: topic.into(), partitions: partitions.to_vec(), ..Default::default() }],
        ..Default::default()
    };
    for version in [4, 5] {
        let n = |what: &str| format!("batched v{version}, {what}");
        let mut ask = |name: &str, transactions: Vec<AddPartitionsToTxnTransaction>| {
            let mut answer = a.send(&AddPartitionsToTxnRequest { transactions, ..Default::default() }, version);
            if let Ok(answer) = &mut answer {
                answer.results_by_transaction.sort_by_key(|r| r.transactional_id.clone());
                let topics = answer.results_by_transaction.iter_mut().flat_map(|r| &mut r.topic_results);
                topics.for_each(|t| t.results_by_partition.sort_by_key(|p| p.partition_index));
            }
            a.line(&n(name), &answer.map_or_else(|e| e, |r| format!("{r:?}")));
        };
        ask("verify what is not there", vec![one("t-many", id, "t-gone", &[0], true)]);
        ask("unknown id", vec![one("t-unknown", id, "t-gone", &[0], true)]);
        ask("unknown id to be added to", vec![one("t-unknown", id, "t-gone", &[0], false)]);
        ask("unknown partition", vec![one("t-many", id, "t-gone", &[0, 9], false)]);
        ask("unknown partition to be verified", vec![one("t-many", id, "t-nowhere", &[0], true)]);
        ask("another producer", vec![one("t-many", Id(id.0 + 9, 0), "t-gone", &[0], true)]);
        ask("epoch too high", vec![one("t-many", Id(id.0, id.1 + 9), "t-gone", &[0], true)]);
        ask("two", vec![one("t-many", id, "t-gone", &[0], false), one("t-unknown", id, "t-gone", &[0], true)]);
        ask("verify what is there and what is not", vec![one("t-many", id, "t-gone", &[0, 1], true)]);
    }
    a.ask("batched, end", 4, end("t-many", id, false));
    settled(a, "batched, over", "t-many");
}

/// Several batches at once on one connection, the first of which waits for the coordinator: none may overtake it.
fn one_connection(a: &mut Asker) {
    let (tid, topic) = ("t-pipe", "t-pipe");
    let mut id = initialise(a, "pipelined, init", 5, init(tid));
    for round in 0..3 {
        let mut connection = a.connect();
        for sequence in 0..10 {
            let request = produce(Some(tid), vec![to(topic, 0, batch(id, sequence, 1, true))]);
            send_on(&mut connection, "e2e", &request, 12);
        }
        for sequence in 0..10 {
            let answer = receive::<ProduceRequest>(&mut connection, 12);
            a.line(&format!("pipelined, round {round}, batch {sequence}"), &format!("{answer:?}"));
        }
        // The next round comes while the markers of this one are written.
        id = end_v5(a, &format!("pipelined, end {round}"), tid, id, round != 1);
    }
    settled(a, "pipelined, settled", tid);
    look(a, "pipelined", topic);
}

/// A consumer of committed records who waits is woken by the marker, long before its time is over.
fn waiting_consumer(a: &mut Asker) {
    let (tid, topic) = ("t-wait", "t-wait");
    let mut id = initialise(a, "waiting, init", 5, init(tid));
    for committed in [true, false] {
        a.ask(&format!("waiting, produce, {committed}"), 12, produce(Some(tid), vec![to(topic, 0, batch(id, 0, 1, true))]));
        let offset = if committed { 0 } else { 2 };
        let fetch = FetchRequest { max_wait_ms: 120_000, min_bytes: 1, ..fetch(topic, offset, true) };
        let mut connection = a.connect();
        send_on(&mut connection, "e2e", &fetch, 11);
        id = end_v5(a, &format!("waiting, end, {committed}"), tid, id, committed);
        let answer = receive::<FetchRequest>(&mut connection, 11).map(|mut answer| tell(&answer.responses.remove(0).partitions.remove(0)));
        a.line(&format!("waiting, read, {committed}"), &answer.unwrap_or_else(|e| e));
        settled(a, &format!("waiting, settled, {committed}"), tid);
    }
}

fn described(a: &mut Asker) {
    let describe = |ids: &[&str]| DescribeTransactionsRequest {
        transactional_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        ..Default::default()
    };
    a.ask("describe nothing", 0, describe(&[]));
    a.ask("describe some", 0, describe(&["t-1", "t-unknown", "", "t-2", "t-1"]));
    let mut list = |name: &str, version: i16, request: ListTransactionsRequest| {
        let mut answer = a.send(&request, version);
        if let Ok(answer) = &mut answer {
            answer.transaction_states.sort_by_key(|s| s.transactional_id.clone());
            answer.unknown_state_filters.sort();
        }
        a.line(name, &answer.map_or_else(|e| e, |r| format!("{r:?}")));
    };
    let all = ListTransactionsRequest { duration_filter: -1, ..Default::default() };
    list("list all", 0, all.clone());
    list("list by state", 1, ListTransactionsRequest { state_filters: vec!["CompleteAbort".into(), "Empty".into()], ..all.clone() });
    list("list by unknown states", 1, ListTransactionsRequest { state_filters: vec!["Done".into(), "Empty".into()], ..all.clone() });
    list("list by producer", 1, ListTransactionsRequest { producer_id_filters: vec![1, 3, 4711], ..all.clone() });
    list("list by duration", 1, ListTransactionsRequest { duration_filter: 0, ..all.clone() });
    let matching = |pattern: &str| ListTransactionsRequest { transactional_id_pattern: Some(pattern.into()), ..all.clone() };
    for pattern in ["t-init-.*", "t", "", "t-[", "T-2|t-2"] {
        list(&format!("list matching '{pattern}'"), 2, matching(pattern));
    }
}
