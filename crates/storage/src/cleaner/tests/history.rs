//! A random history of a compacted partition: plain, idempotent and transactional producers, tombstones, all codecs; and what a consumer
//! with isolation.level=read_committed makes of it.

use super::*;
use std::collections::{BTreeMap, BTreeSet};

pub(super) struct History {
    pub rng: fastrand::Rng,
    pub disk: MemDisk,
    pub config: LogConfig,
    /// By producer id.
    producers: BTreeMap<i64, Producer>,
    coordinator_epoch: i32,
    pub clock_ms: i64,
}

#[derive(Default)]
struct Producer {
    epoch: i16,
    sequence: i32,
    transactional: bool,
    is_open: bool,
}

impl History {
    pub fn new(seed: u64) -> (History, Log) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let config = LogConfig { segment_bytes: rng.i32(900..4_000), ..super::config() };
        let producers = (0..4).map(|id| (id, Producer { transactional: id < 2, ..Producer::default() })).collect();
        let disk = disk();
        let log = open(&disk, config.clone(), LogOpen::default());
        (History { rng, disk, config, producers, coordinator_epoch: 1, clock_ms: 0 }, log)
    }

    pub fn reopen(&self, recovery_point: i64, clean_shutdown: bool) -> Log {
        let open = LogOpen { recovery_point, clean_shutdown, high_watermark: i64::MAX, ..LogOpen::default() };
        let mut log = super::open(&self.disk, self.config.clone(), open);
        log.set_high_watermark(log.log_end_offset());
        log
    }

    pub fn go_on(&mut self, log: &mut Log, steps: usize) {
        for _ in 0..steps {
            self.clock_ms += self.rng.i64(1..20);
            match self.rng.u8(0..12) {
                0 => log.roll(at(self.clock_ms)).unwrap(),
                1..=3 => self.end_transaction(log),
                4 => self.bump(),
                _ => self.write(log),
            }
            log.set_high_watermark(log.log_end_offset());
        }
        log.flush(log.log_end_offset(), at(self.clock_ms)).unwrap();
    }

    /// So that nothing holds the last stable offset back.
    pub fn end_all_transactions(&mut self, log: &mut Log) {
        while self.producers.values().any(|producer| producer.is_open) {
            self.end_transaction(log);
        }
        log.set_high_watermark(log.log_end_offset());
    }

    fn write(&mut self, log: &mut Log) {
        let id = self.rng.i64(0..5);
        let codec = Codec::new(Compression::ALL[self.rng.usize(0..5)]);
        let mut fields = BatchFields { codec, ..BatchFields::default() };
        let count = self.rng.i32(1..5);
        if let Some(producer) = self.producers.get_mut(&id) {
            fields.producer_id = id;
            fields.producer_epoch = producer.epoch;
            fields.base_sequence = producer.sequence;
            fields.transactional = producer.transactional;
            producer.is_open |= producer.transactional;
            producer.sequence += count;
        }
        let mut builder = BatchBuilder::new(fields);
        for i in 0..count {
            let key = format!("key {}", self.rng.u8(0..12));
            let value = format!("{id} {} {}", self.clock_ms, "x".repeat(self.rng.usize(0..30)));
            let value = (self.rng.u8(0..5) > 0).then_some(value.as_bytes());
            builder.append(T0 + self.clock_ms + i64::from(i), Some(key.as_bytes()), value, &[]);
        }
        log.append_as_leader(builder.build().unwrap(), 3, Origin::Client, at(self.clock_ms)).unwrap();
    }

    fn end_transaction(&mut self, log: &mut Log) {
        let Some((id, producer)) = self.producers.iter_mut().find(|(_, producer)| producer.is_open) else { return };
        producer.is_open = false;
        let commit = self.rng.bool();
        let marker = EndTxnMarker { commit, coordinator_epoch: self.coordinator_epoch };
        let batch = marker.batch(T0 + self.clock_ms, *id, producer.epoch, 3).unwrap();
        log.append_end_txn_marker(batch, 3, 0, at(self.clock_ms)).unwrap();
    }

    fn bump(&mut self) {
        let id = self.rng.i64(0..4);
        if let Some(producer) = self.producers.get_mut(&id).filter(|producer| !producer.is_open) {
            producer.epoch += 1;
            producer.sequence = 0;
        }
    }
}

/// Records that a consumer gets with read_committed: aborted ones are left out by the list that comes with each piece that is read.
pub(super) fn committed(log: &Log) -> Vec<Record> {
    let mut out = Vec::new();
    let mut aborting: BTreeSet<i64> = BTreeSet::new();
    let mut offset = log.log_start_offset();
    loop {
        let read = log.read(offset, 700, ReadLimit::LastStable, true).unwrap();
        let mut ahead: Vec<(i64, i64)> = read.aborted_transactions.unwrap();
        ahead.sort_by_key(|(_, first)| *first);
        let before = offset;
        for piece in &read.records {
            let base::Segment::File(range) = piece else { panic!("records are in files") };
            for batch in batches(&range.read().unwrap()).map(Result::unwrap) {
                let view = batch.view();
                assert!(view.is_valid());
                let reached = ahead.iter().take_while(|(_, first)| *first <= view.last_offset()).count();
                aborting.extend(ahead.drain(..reached).map(|(producer, _)| producer));
                offset = view.next_offset();
                if view.is_control() {
                    if let Ok(Some((EndTxnMarker { commit: false, .. }, _))) = EndTxnMarker::from_batch(&batch) {
                        aborting.remove(&view.producer_id());
                    }
                    continue;
                }
                if !(view.is_transactional() && aborting.contains(&view.producer_id())) {
                    let records = batch.records(1 << 20).unwrap().map(Result::unwrap);
                    out.extend(records.filter(|record| record.offset >= before).map(|record| Record { size: 0, ..record }));
                }
            }
        }
        if offset == before {
            return out;
        }
    }
}

/// What is in force: of each key the last record, unless it is a tombstone.
pub(super) fn view(records: &[Record]) -> BTreeMap<Bytes, Record> {
    let mut view = BTreeMap::new();
    for record in records {
        let key = record.key.clone().unwrap();
        match record.value {
            Some(_) => drop(view.insert(key, record.clone())),
            None => drop(view.remove(&key)),
        }
    }
    view
}

/// What the log knows of its producers, as far as it matters to them.
pub(super) fn producers(log: &Log) -> Vec<(i64, i16, i32, Option<i64>)> {
    let entry = |e: &crate::producer_state::ProducerEntry| (e.producer_id, e.epoch, e.last_sequence(), e.current_txn_first_offset);
    log.producers().entries().into_iter().map(entry).collect()
}
