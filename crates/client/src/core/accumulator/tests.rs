//! The accumulator under a clock that the test moves.

use super::*;
use crate::producer::ProducerRecord;
use wire::ErrorCode;
use wire::messages::MetadataResponse;
use wire::messages::metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic};

pub(super) fn config() -> AccumulatorConfig {
    AccumulatorConfig {
        batch_size: 1000,
        linger: Duration::from_millis(5),
        buffer_memory: 10_000,
        max_request_size: 5_000,
        delivery_timeout: Duration::from_secs(10),
        retries: 100,
        retry_backoff: ExponentialBackoff { initial: Duration::from_millis(100), max: Duration::from_secs(1) },
        partitioner: PartitionerKind::BuiltIn,
        ignore_keys: false,
        adaptive: true,
        availability_timeout: None,
        idempotent: true,
        transaction: None,
        guarantee_order: false,
        compressed: false,
        keep_tags: true,
    }
}

fn metadata(partitions: i32) -> MetadataCache {
    let partitions = (0..partitions).map(|partition_index| MetadataResponsePartition {
        partition_index,
        leader_id: 1,
        leader_epoch: 0,
        ..Default::default()
    });
    let response = MetadataResponse {
        brokers: vec![MetadataResponseBroker { node_id: 1, host: "h".into(), port: 1, ..Default::default() }],
        topics: vec![MetadataResponseTopic { name: Some("t".into()), partitions: partitions.collect(), ..Default::default() }],
        ..Default::default()
    };
    MetadataCache::default().updated(response, false)
}

pub(super) struct Bench {
    pub accumulator: Accumulator,
    pub now: Instant,
}

impl Bench {
    pub fn new(config: AccumulatorConfig) -> Self {
        let mut accumulator = Accumulator::new(config, fastrand::Rng::with_seed(1));
        accumulator.update_metadata(&metadata(2), Some("t"));
        accumulator.set_producer_id(ProducerId { id: 9, epoch: 0 });
        Self { accumulator, now: Instant::ZERO }
    }

    /// A bench whose partition 0 has one acknowledged record, so that batches may follow one another.
    fn established(config: AccumulatorConfig) -> Self {
        let mut bench = Bench::new(config);
        assert!(bench.append(1_000, 10).is_ok());
        bench.pass(5);
        let (request, _) = bench.send().unwrap();
        bench.answer(request, ErrorCode::None, 0);
        bench.reported();
        bench
    }

    pub fn pass(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
    }

    pub fn append(&mut self, tag: u64, size: usize) -> Result<Appended, Blocked> {
        let value = vec![b'x'; size];
        let now = self.now;
        self.accumulator.append(&ProducerRecord::new("t").partition(0).value(&value), 1, || now, Some(tag), false)
    }

    /// Drains and hands over one request; returns its id and the (batch id, base sequence, epoch) of its batches.
    pub fn send(&mut self) -> Option<(u64, Vec<(u64, i32, i16)>)> {
        let mut request = self.accumulator.drain(self.now, |_| true).requests.pop()?;
        for sent in &mut request.batches {
            sent.batch.seal(record::Codec::NONE, false).unwrap();
        }
        let batches = request.batches.iter().map(|sent| (sent.batch.id, sent.batch.stamp.base_sequence, sent.batch.stamp.producer_epoch));
        let result = (request.id, batches.collect());
        self.accumulator.sent(request.id, request.batches);
        Some(result)
    }

    pub fn answer(&mut self, request: u64, code: ErrorCode, base_offset: i64) {
        let answer = PartitionAnswer { code: code.code(), base_offset, log_append_time: -1, log_start_offset: 0, ..Default::default() };
        self.accumulator.complete(request, self.now, |_, _| Some(answer.clone()));
    }

    /// Tags that were reported, with how.
    pub fn reported(&mut self) -> Vec<(Vec<u64>, bool)> {
        let completions = self.accumulator.take_completions();
        let told = completions.iter().map(|done| (done.tags.clone(), matches!(done.result, Outcome::Written { .. }))).collect();
        self.accumulator.reported(completions);
        told
    }
}

#[test]
fn lingers_then_sends() {
    let mut bench = Bench::new(config());
    assert!(bench.append(1, 10).unwrap().wake);
    assert!(!bench.append(2, 10).unwrap().wake);
    assert!(bench.send().is_none());
    bench.pass(5);
    let (request, batches) = bench.send().unwrap();
    assert_eq!(batches.len(), 1);
    bench.answer(request, ErrorCode::None, 100);
    assert_eq!(bench.reported(), [(vec![1, 2], true)]);
    assert!(bench.accumulator.is_empty());
    assert_eq!(bench.accumulator.available_memory(), 10_000);
}

#[test]
fn a_full_batch_does_not_linger_and_memory_is_bounded() {
    let mut bench = Bench::new(config());
    let mut sent = 0;
    let needed = loop {
        match bench.append(sent, 400) {
            Ok(_) => sent += 1,
            Err(Blocked::Memory(bytes)) => break bytes,
            Err(other) => panic!("{other:?}"),
        }
    };
    assert_eq!((sent, needed), (20, 1000));
    let (first, batches) = bench.send().unwrap();
    assert_eq!(batches.len(), 1, "one batch per partition and request");
    bench.answer(first, ErrorCode::None, 0);
    assert!(bench.append(99, 400).is_ok());
}

#[test]
fn what_cannot_fit_is_refused_at_once() {
    let mut bench = Bench::new(config());
    let Err(Blocked::Failed(error)) = bench.append(1, 6_000) else { panic!("accepted") };
    assert_eq!(error.code(), Some(ErrorCode::MessageTooLarge));
    assert!(error.to_string().contains("max.request.size"));
}

#[test]
fn order_survives_a_failed_first_batch() {
    let mut bench = Bench::established(config());
    for tag in 0..6 {
        bench.append(tag, 400).unwrap();
    }
    let (first, first_batches) = bench.send().unwrap();
    let (second, second_batches) = bench.send().unwrap();
    assert_eq!((first_batches[0].1, second_batches[0].1), (1, 3));
    bench.answer(first, ErrorCode::NotLeaderOrFollower, -1);
    bench.answer(second, ErrorCode::OutOfOrderSequenceNumber, -1);
    assert!(bench.send().is_none(), "backoff");
    bench.pass(1000);
    let (retry, batches) = bench.send().unwrap();
    assert_eq!(batches, first_batches);
    assert!(bench.send().is_none(), "the second waits for the first");
    bench.answer(retry, ErrorCode::None, 0);
    let (retry, batches) = bench.send().unwrap();
    assert_eq!(batches, second_batches);
    bench.answer(retry, ErrorCode::None, 2);
    let (third, batches) = bench.send().unwrap();
    assert_eq!(batches[0].1, 5);
    bench.answer(third, ErrorCode::None, 4);
    assert_eq!(bench.reported(), [(vec![0, 1], true), (vec![2, 3], true), (vec![4, 5], true)]);
}

#[test]
fn a_true_gap_bumps_the_epoch_and_renumbers() {
    let mut bench = Bench::new(config());
    bench.append(1, 900).unwrap();
    bench.pass(5);
    let (request, _) = bench.send().unwrap();
    bench.answer(request, ErrorCode::None, 0);
    bench.append(2, 900).unwrap();
    bench.pass(5);
    let (request, batches) = bench.send().unwrap();
    assert_eq!((batches[0].1, batches[0].2), (1, 0));
    // The broker lost what it knew of this producer.
    bench.answer(request, ErrorCode::OutOfOrderSequenceNumber, -1);
    bench.pass(1000);
    let (request, batches) = bench.send().unwrap();
    assert_eq!((batches[0].1, batches[0].2), (0, 1));
    bench.answer(request, ErrorCode::None, 1);
    assert_eq!(bench.reported(), [(vec![1], true), (vec![2], true)]);
}

/// Three batches of which the broker answered none; returns their base sequences.
fn three_unanswered() -> (Bench, Vec<i32>) {
    let mut bench = Bench::established(config());
    for tag in 0..6 {
        bench.append(tag, 400).unwrap();
    }
    bench.pass(5);
    let requests: Vec<_> = std::iter::from_fn(|| bench.send()).take(3).collect();
    let sequences = requests.iter().map(|(_, batches)| batches[0].1).collect();
    for (request, _) in requests {
        bench.answer(request, ErrorCode::NetworkException, -1);
    }
    bench.pass(2000);
    (bench, sequences)
}

#[test]
fn a_broker_that_knows_only_the_last_batch_does_not_get_the_others_twice() {
    let (mut bench, sequences) = three_unanswered();
    for (index, sequence) in sequences.iter().enumerate() {
        let (request, batches) = bench.send().unwrap();
        assert_eq!((batches[0].1, batches[0].2), (*sequence, 0));
        assert!(bench.send().is_none(), "one after the other");
        let code = if index < 2 { ErrorCode::OutOfOrderSequenceNumber } else { ErrorCode::None };
        bench.answer(request, code, 40);
    }
    let mut reported = bench.reported();
    reported.sort();
    assert_eq!(reported, [(vec![0, 1], true), (vec![2, 3], true), (vec![4, 5], true)]);
    assert!(bench.accumulator.is_empty());
    assert_eq!(bench.accumulator.available_memory(), 10_000);
}

#[test]
fn batches_that_the_broker_never_got_are_renumbered_in_order() {
    let (mut bench, _) = three_unanswered();
    for _ in 0..3 {
        let (request, _) = bench.send().unwrap();
        bench.answer(request, ErrorCode::OutOfOrderSequenceNumber, -1);
    }
    let mut again = Vec::new();
    while let Some((request, batches)) = bench.send() {
        again.push((batches[0].1, batches[0].2));
        bench.answer(request, ErrorCode::None, i64::from(batches[0].1));
    }
    assert_eq!(again, [(0, 1), (2, 1), (4, 1)]);
    assert_eq!(bench.reported(), [(vec![0, 1], true), (vec![2, 3], true), (vec![4, 5], true)]);
}

#[test]
fn a_broker_that_takes_nothing_gets_no_keyless_records() {
    let mut bench = Bench::new(AccumulatorConfig { availability_timeout: Some(Duration::from_millis(50)), ..config() });
    let response = MetadataResponse {
        topics: vec![MetadataResponseTopic {
            name: Some("t".into()),
            partitions: (0..2)
                .map(|index| MetadataResponsePartition {
                    partition_index: index,
                    leader_id: 1 + index,
                    leader_epoch: 1,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let mut cache = metadata(2).updated(response, false);
    cache.version += 1;
    bench.accumulator.update_metadata(&cache, None);
    bench.append(1, 10).unwrap();
    bench.pass(5);
    assert_eq!(bench.accumulator.drain(bench.now, |node| node == 2).waiting_nodes, [1]);
    bench.pass(60);
    bench.accumulator.drain(bench.now, |node| node == 2);
    let now = bench.now;
    for _ in 0..8 {
        // Enough for the sticky partition to move on each time.
        let appended = bench.accumulator.append(&ProducerRecord::new("t").value(&[0; 1_000]), 1, || now, None, false);
        let partition = appended.map_or(1, |appended| appended.partition);
        bench.accumulator.drain(bench.now, |node| node == 2);
        assert_eq!(partition, 1);
    }
}

#[test]
fn what_is_held_expires_too() {
    let (mut bench, _) = three_unanswered();
    let (request, _) = bench.send().unwrap();
    bench.answer(request, ErrorCode::OutOfOrderSequenceNumber, -1);
    bench.pass(10_000);
    assert!(bench.send().is_none());
    assert_eq!(bench.reported(), [(vec![0, 1], false), (vec![2, 3], false), (vec![4, 5], false)]);
    assert!(bench.accumulator.is_empty());
}

#[test]
fn too_large_batches_are_split_and_keep_their_numbers() {
    let mut bench = Bench::established(config());
    for tag in 0..4 {
        bench.append(tag, 200).unwrap();
    }
    bench.pass(5);
    let (request, batches) = bench.send().unwrap();
    assert_eq!(batches.len(), 1);
    bench.answer(request, ErrorCode::MessageTooLarge, -1);
    let mut seen = Vec::new();
    while let Some((request, batches)) = bench.send() {
        seen.push(batches[0].1);
        bench.answer(request, ErrorCode::None, i64::from(batches[0].1));
    }
    assert_eq!(seen, [1, 3]);
    assert_eq!(bench.reported(), [(vec![0, 1], true), (vec![2, 3], true)]);
    assert!(bench.accumulator.is_empty());
    assert_eq!(bench.accumulator.available_memory(), 10_000);
}

#[test]
fn a_single_record_that_is_too_large_fails() {
    let mut bench = Bench::new(config());
    bench.append(7, 800).unwrap();
    bench.pass(5);
    let (request, _) = bench.send().unwrap();
    bench.answer(request, ErrorCode::MessageTooLarge, -1);
    assert_eq!(bench.reported(), [(vec![7], false)]);
}

#[test]
fn batches_expire_after_the_delivery_timeout() {
    let mut bench = Bench::new(config());
    bench.append(1, 10).unwrap();
    bench.pass(10_000);
    assert!(bench.send().is_none());
    assert_eq!(bench.reported(), [(vec![1], false)]);
    bench.append(2, 10).unwrap();
    bench.pass(5);
    assert!(bench.send().is_some());
    bench.pass(10_000);
    bench.accumulator.drain(bench.now, |_| true);
    assert_eq!(bench.reported(), [(vec![2], false)]);
    assert!(!bench.accumulator.is_empty(), "its request is still out");
}

#[test]
fn flush_covers_what_was_there_before_it() {
    let mut bench = Bench::new(config());
    bench.append(1, 900).unwrap();
    let mark = bench.accumulator.flush_mark();
    bench.append(2, 900).unwrap();
    assert!(!bench.accumulator.flushed(mark));
    let (request, _) = bench.send().unwrap();
    bench.answer(request, ErrorCode::None, 0);
    assert!(!bench.accumulator.flushed(mark), "not before it is reported");
    bench.reported();
    assert!(bench.accumulator.flushed(mark));
    assert!(!bench.accumulator.is_empty());
}

#[test]
fn without_idempotence_only_retriable_errors_are_retried() {
    let mut bench = Bench::new(AccumulatorConfig { idempotent: false, ..config() });
    bench.append(1, 900).unwrap();
    bench.pass(5);
    let (request, batches) = bench.send().unwrap();
    assert_eq!(batches[0].1, -1);
    bench.answer(request, ErrorCode::NotEnoughReplicas, -1);
    bench.pass(1000);
    let (request, _) = bench.send().unwrap();
    bench.answer(request, ErrorCode::InvalidRecord, -1);
    assert_eq!(bench.reported(), [(vec![1], false)]);
}
