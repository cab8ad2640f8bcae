//! One history, cut off at every single operation of the disk: by a power cut, by a kill, or by a disk that is full for a moment. Whatever
//! the moment, the log opens again; what was flushed is there, in order and once; producers go on where the log ends; aborted records stay
//! aborted; and the log can be written to.

use super::*;
use base::disk::Survival;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// So many records of a producer without transactions.
    Append(i64),
    /// The same inside of the transaction of a producer.
    InTransaction(i64, i64),
    End(i64, bool),
    Roll,
    Flush,
    /// A flush that runs while the log is appended to and rolls.
    FlushMeanwhile,
    Checkpoint,
    DeleteBefore(i64),
    TruncateTo(i64),
    Close,
}

const SCRIPT: &[Step] = {
    use Step::*;
    &[
        Append(3),
        InTransaction(20, 2),
        Append(1),
        End(20, false),
        Flush,
        InTransaction(21, 2),
        Roll,
        Append(2),
        End(21, true),
        Checkpoint,
        InTransaction(20, 1),
        FlushMeanwhile,
        Append(2),
        Append(2),
        Flush,
        End(20, false),
        Roll,
        Append(1),
        Append(1),
        Checkpoint,
        Flush,
        DeleteBefore(4),
        Append(2),
        Checkpoint,
        DeleteBefore(9),
        Close,
        Append(3),
        InTransaction(21, 2),
        Append(1),
        Flush,
        End(21, false),
        FlushMeanwhile,
        Checkpoint,
        TruncateTo(23),
        Append(2),
        InTransaction(20, 3),
        Flush,
        End(20, true),
        TruncateTo(21),
        Append(1),
        Close,
        Append(1),
        InTransaction(21, 1),
        End(21, false),
        Flush,
        Checkpoint,
        Roll,
        Append(1),
    ]
};

/// A batch as it was sent: (first offset, last offset, bytes after the offset and epoch).
type Sent = (i64, i64, Bytes);

struct Life {
    disk: MemDisk,
    log: Option<Log>,
    /// What the log held after each truncation, and holds now.
    versions: Vec<Vec<Sent>>,
    /// The version that was current at the last flush, and how far that got.
    flushed: (usize, i64),
    /// What the files of the log directory say: recovery point, log start, clean stop.
    checkpoint: (i64, i64),
    clean: bool,
    log_start: i64,
    sequences: BTreeMap<i64, i32>,
    clock: i64,
    /// For messages.
    last: Option<Step>,
}

fn config() -> LogConfig {
    LogConfig { segment_bytes: 600, index_interval_bytes: 60, file_delete_delay_ms: 10, retention_ms: -1, ..LogConfig::default() }
}

impl Life {
    fn new(seed: u64) -> Life {
        let disk = disk();
        disk.set_seed(seed);
        Life {
            disk,
            log: None,
            versions: vec![Vec::new()],
            flushed: (0, 0),
            checkpoint: (0, 0),
            clean: false,
            log_start: 0,
            sequences: BTreeMap::new(),
            clock: 0,
            last: None,
        }
    }

    fn open(&mut self) -> Result<(), LogError> {
        let (recovery_point, log_start_offset) = self.checkpoint;
        // The marker goes before anything is opened.
        let clean_shutdown = std::mem::take(&mut self.clean);
        let how = LogOpen { recovery_point, log_start_offset, clean_shutdown, ..LogOpen::default() };
        let id = Some(Uuid::from_u128(77 << 64));
        let mut log = Log::open(Arc::new(self.disk.clone()), dir(), tp(), id, config(), how, at(self.clock))?;
        log.set_high_watermark(log.log_end_offset());
        self.log = Some(log);
        Ok(())
    }

    fn log(&mut self) -> &mut Log {
        self.log.as_mut().unwrap()
    }

    fn send(&mut self, bytes: Bytes, origin: Origin) -> Result<(), String> {
        let now = at(self.clock);
        let log = self.log.as_mut().unwrap();
        let first = log.log_end_offset();
        // The attempt counts: what fails may still be found by the next start.
        let view = record::Batch::new(bytes.clone()).unwrap();
        let last = first + (view.view().last_offset() - view.view().base_offset());
        let result = log.append_as_leader(bytes.clone(), 1, origin, now);
        let current = self.versions.last_mut().unwrap();
        current.retain(|(start, _, _)| *start < first);
        current.push((first, last, bytes.slice(16..)));
        match result {
            Ok(info) => {
                assert_eq!((info.first_offset, info.last_offset, info.duplicate), (first, last, false));
                log.set_high_watermark(log.log_end_offset());
                Ok(())
            }
            Err(error) => {
                if log.log_end_offset() == first {
                    current.pop();
                }
                Err(format!("{error:?}"))
            }
        }
    }

    fn append(&mut self, producer_id: i64, count: i64, transactional: bool) -> Result<(), String> {
        let base_sequence = *self.sequences.entry(producer_id).or_default();
        self.clock += 7;
        let fields = BatchFields { producer_id, producer_epoch: 0, base_sequence, transactional, ..Default::default() };
        let bytes = batch(count, T0 + self.clock, fields);
        self.send(bytes, Origin::Client)?;
        self.sequences.insert(producer_id, base_sequence + count as i32);
        Ok(())
    }

    fn step(&mut self, step: Step) -> Result<(), String> {
        self.last = Some(step);
        let shown = |e: LogError| e.to_string();
        let now = at(self.clock);
        match step {
            Step::Append(count) => self.append(5, count, false)?,
            Step::InTransaction(producer, count) => self.append(producer, count, true)?,
            Step::End(producer, commit) => {
                let marker = EndTxnMarker { commit, coordinator_epoch: 0 }.batch(T0 + self.clock, producer, 0, 0).unwrap();
                self.send(marker, Origin::Coordinator)?;
            }
            Step::Roll => self.log().roll(now).map_err(shown)?,
            Step::Flush => {
                let end = self.log().log_end_offset();
                self.log().flush(end, now).map_err(shown)?;
                self.flushed = (self.versions.len() - 1, end);
            }
            Step::FlushMeanwhile => {
                let job = self.log().prepare_flush().map_err(shown)?;
                self.log().roll(now).map_err(shown)?;
                self.append(5, 1, false)?;
                if let Some(job) = job {
                    job.run().map_err(shown)?;
                    self.log().flushed(job.up_to, now);
                    self.flushed = (self.versions.len() - 1, job.up_to);
                }
                // What was appended in the meantime is for the next one.
                let end = self.log().log_end_offset();
                self.log().flush(end, now).map_err(shown)?;
                self.flushed.1 = end;
            }
            Step::Checkpoint => {
                let log = self.log();
                self.checkpoint = (log.recovery_point(), log.log_start_offset());
                // Housekeeping works on files whose delay has passed.
                self.clock += 20;
                let now = at(self.clock);
                self.log().remove_deleted_files(now).map_err(shown)?;
            }
            Step::DeleteBefore(offset) => {
                self.log().delete_records_before(offset, now).map_err(shown)?;
                self.log_start = offset;
                self.log().delete_old_segments(now).map_err(shown)?;
            }
            Step::TruncateTo(offset) => {
                // A follower's high watermark comes from its leader; here it only has to be out of the way.
                let mut version = self.versions.last().unwrap().clone();
                version.retain(|(_, last, _)| *last < offset);
                let left = version.last().map_or(0, |(_, last, _)| last + 1);
                self.versions.push(version);
                self.flushed = (self.versions.len() - 1, self.flushed.1.min(left));
                let cut = self.log().truncate_to(offset, now);
                let end = self.log().log_end_offset();
                cut.map_err(shown)?;
                assert!(end <= offset);
                let log = self.log.as_ref().unwrap();
                self.sequences = log.producers().entries().iter().map(|e| (e.producer_id, e.last_sequence() + 1)).collect();
                self.checkpoint.0 = self.checkpoint.0.min(end);
            }
            Step::Close => {
                self.log().close(now).map_err(shown)?;
                let log = self.log.take().unwrap();
                self.checkpoint = (log.log_end_offset(), log.log_start_offset());
                self.flushed = (self.versions.len() - 1, log.log_end_offset());
                self.clean = true;
                self.open().map_err(shown)?;
            }
        }
        Ok(())
    }

    /// Everything that must hold after a start, however the last life ended.
    fn check(&mut self, lost_power: bool, what: &str) {
        self.open().unwrap_or_else(|e| panic!("{what}: does not open: {e}"));
        let log = self.log.as_ref().unwrap();
        let (start, end) = (log.log_start_offset(), log.log_end_offset());
        assert!(start <= self.log_start.max(self.checkpoint.1), "{what}: starts at {start}");
        let found = read_all(log, start, 150);
        let mut expected = start.min(found.first().map_or(start, |b| b.view().base_offset()));
        for batch in &found {
            assert_eq!(batch.view().base_offset(), expected, "{what}: a hole or a repetition");
            expected = batch.view().next_offset();
        }
        assert_eq!(expected, end, "{what}");
        // A beginning of what was sent, at least up to the last flush; or what was there before a truncation that was not flushed.
        let same = |version: &Vec<Sent>| {
            let batches: Vec<&Sent> = version.iter().filter(|(_, last, _)| *last >= start && *last < end).collect();
            batches.len() == found.len()
                && batches.iter().zip(&found).all(|((first, last, bytes), batch)| {
                    (*first, *last, &bytes[..]) == (batch.view().base_offset(), batch.view().last_offset(), &batch.bytes()[16..])
                })
        };
        let (flushed_version, flushed) = self.flushed;
        assert!(end >= flushed, "{what}: flushed up to {flushed}, ends at {end}");
        let current = self.versions.len() - 1;
        let from = if lost_power { flushed_version.saturating_sub(1) } else { current };
        assert!(
            self.versions[from.min(current)..].iter().any(same) || self.versions[flushed_version.saturating_sub(1)..].iter().any(same),
            "{what}: not what was sent: {:?}, sent {:?}",
            offsets_of(&found),
            self.versions.last().unwrap().iter().map(|(f, l, _)| (f, l)).collect::<Vec<_>>()
        );
        self.check_producers(&found, what);
        self.check_committed(&found, what);
        self.check_times(&found, what);
    }

    /// What the log remembers of its producers is what its batches say.
    fn check_producers(&self, found: &[record::Batch], what: &str) {
        let log = self.log.as_ref().unwrap();
        let mut last = BTreeMap::new();
        let mut open = BTreeMap::new();
        for batch in found {
            let view = batch.view();
            let producer = view.producer_id();
            if view.is_control() {
                open.remove(&producer);
                continue;
            }
            last.insert(producer, view.last_sequence());
            if view.is_transactional() {
                open.entry(producer).or_insert(view.base_offset());
            }
        }
        for (producer, sequence) in last {
            let entry = log.producers().get(producer).unwrap_or_else(|| panic!("{what}: producer {producer} is forgotten"));
            assert_eq!(entry.last_sequence(), sequence, "{what}: producer {producer}");
            assert_eq!(entry.current_txn_first_offset, open.get(&producer).copied(), "{what}: producer {producer}");
        }
        let stable = open.values().min().copied().unwrap_or(log.log_end_offset());
        assert_eq!(log.last_stable_offset(), stable, "{what}");
    }

    /// A reader of committed records is told of every aborted transaction that it sees records of.
    fn check_committed(&self, found: &[record::Batch], what: &str) {
        let log = self.log.as_ref().unwrap();
        let mut open: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for batch in found {
            let view = batch.view();
            let producer = view.producer_id();
            if !view.is_control() {
                if view.is_transactional() {
                    open.entry(producer).or_default().push(view.base_offset());
                }
                continue;
            }
            let (marker, _) = EndTxnMarker::from_batch(batch).unwrap().unwrap();
            let Some(records) = open.remove(&producer) else { continue };
            for offset in records {
                let read = log.read(offset.max(log.log_start_offset()), 1, ReadLimit::LastStable, true).unwrap();
                if read.size == 0 {
                    continue;
                }
                let aborted = read.aborted_transactions.unwrap();
                let is_aborted = aborted.iter().any(|(id, first)| *id == producer && *first <= offset);
                assert_eq!(is_aborted, !marker.commit, "{what}: offset {offset} of producer {producer}: {aborted:?}");
            }
        }
    }

    fn check_times(&self, found: &[record::Batch], what: &str) {
        let log = self.log.as_ref().unwrap();
        for batch in found {
            let target = batch.view().max_timestamp();
            let records = found.iter().flat_map(|b| b.records(1 << 20).unwrap()).map(|r| r.unwrap());
            let expected = records.filter(|r| r.timestamp >= target && r.offset >= log.log_start_offset()).map(|r| (r.timestamp, r.offset));
            let found = log.offset_for_timestamp(target).unwrap().map(|f| (f.timestamp, f.offset));
            assert_eq!(found, expected.min_by_key(|(_, offset)| *offset), "{what}: time {target}");
        }
    }

    /// The log goes on: appends, a flush, a clean stop.
    fn go_on(&mut self, what: &str) {
        self.clock += 100;
        let log = self.log.as_ref().unwrap();
        self.sequences = log.producers().entries().iter().map(|e| (e.producer_id, e.last_sequence() + 1)).collect();
        let (start, end) = (log.log_start_offset(), log.log_end_offset());
        let open: Vec<i64> =
            log.producers().entries().iter().filter(|e| e.current_txn_first_offset.is_some()).map(|e| e.producer_id).collect();
        let kept = read_all(log, start, 1 << 20);
        let as_sent = |b: &record::Batch| (b.view().base_offset(), b.view().last_offset(), b.bytes().slice(16..));
        self.versions = vec![kept.iter().map(as_sent).collect()];
        self.flushed = (0, 0);
        for producer in open {
            self.step(Step::End(producer, false)).unwrap_or_else(|e| panic!("{what}: {e}"));
        }
        for step in [Step::Append(2), Step::InTransaction(20, 2), Step::Flush, Step::End(20, false), Step::Append(1), Step::Flush] {
            self.step(step).unwrap_or_else(|e| panic!("{what}: {step:?}: {e}"));
        }
        assert!(self.log().log_end_offset() >= end + 6);
        self.disk.crash_to(Survival::Nothing, &mut fastrand::Rng::with_seed(1));
        self.check(true, &format!("{what}, and once more"));
        self.step(Step::Close).unwrap_or_else(|e| panic!("{what}: {e}"));
        self.check(false, &format!("{what}, and a clean stop"));
    }
}

/// Runs the script until something fails; returns whether it came to its end.
fn run(life: &mut Life, goes_on_after_errors: bool) -> bool {
    if life.log.is_none() && life.open().is_err() && (!goes_on_after_errors || life.open().is_err()) {
        return false;
    }
    for step in SCRIPT {
        if life.log.is_none() && life.open().is_err() {
            return false;
        }
        if life.step(*step).is_err() && !goes_on_after_errors {
            return false;
        }
    }
    true
}

fn operations() -> u64 {
    let mut life = Life::new(0);
    assert!(run(&mut life, false));
    let count = life.disk.operations();
    life.check(false, "the whole history");
    life.go_on("the whole history");
    count
}

#[test]
fn a_power_cut_at_every_operation() {
    let count = operations();
    assert!(count > 150, "{count}");
    for cut in 1..=count + 1 {
        for seed in 0..10 {
            let mut life = Life::new(seed);
            let base = life.disk.operations();
            life.disk.cut_power_at(Some(base + cut));
            run(&mut life, false);
            let mut rng = fastrand::Rng::with_seed(seed);
            match seed {
                0 => life.disk.crash_to(Survival::Nothing, &mut rng),
                1 => life.disk.crash_to(Survival::All, &mut rng),
                _ => life.disk.crash_to(Survival::Some, &mut rng),
            }
            let what = format!("power cut at operation {cut} of {count} in {:?}, seed {seed}", life.last);
            life.check(true, &what);
            life.go_on(&what);
        }
    }
}

/// The start after a power cut is itself cut off at every operation.
#[test]
fn a_power_cut_during_the_recovery() {
    let count = operations();
    for cut in (1..=count).step_by(7) {
        let prepare = |seed| {
            let mut life = Life::new(seed);
            let base = life.disk.operations();
            life.disk.cut_power_at(Some(base + cut));
            run(&mut life, false);
            life.disk.crash_to(Survival::Some, &mut fastrand::Rng::with_seed(seed));
            life.log = None;
            life
        };
        for seed in 0..3 {
            for again in 1..200 {
                let mut life = prepare(seed);
                let base = life.disk.operations();
                life.disk.cut_power_at(Some(base + again));
                let opened = life.open();
                let interrupted = life.disk.is_off();
                assert!(opened.is_ok() || interrupted, "{:?}", opened.err().map(|e| e.to_string()));
                life.disk.crash_to(Survival::Some, &mut fastrand::Rng::with_seed(again));
                life.check(true, &format!("power cut at {cut}, seed {seed}, again at operation {again} of the recovery"));
                if !interrupted {
                    break;
                }
            }
        }
    }
}
