//! Cleaning on a disk in memory.

mod history;
mod property;

use super::*;
use crate::log::{LogOpen, ReadLimit};
use base::disk::{Disk, MemDisk};
use base::{TopicPartition, Uuid};
use bytes::Bytes;
use record::{BatchBuilder, BatchFields, Codec, Compression, EndTxnMarker, Origin, Record, batches};
use std::cell::RefCell;
use std::path::{Path, PathBuf};

const T0: i64 = 1_700_000_000_000;
const DAY_MS: i64 = 86_400_000;

fn at(ms: i64) -> Now {
    Now { wall_ms: T0 + ms, ..Now::default() }
}

fn dir() -> PathBuf {
    Path::new("/data").join("topic-0")
}

fn disk() -> MemDisk {
    let disk = MemDisk::new();
    disk.create_dir_all(Path::new("/data")).unwrap();
    disk.sync_names();
    disk
}

fn config() -> LogConfig {
    LogConfig {
        cleanup_delete: false,
        cleanup_compact: true,
        segment_bytes: 2_000,
        index_interval_bytes: 100,
        segment_index_bytes: 4096,
        ..LogConfig::default()
    }
}

fn open(disk: &MemDisk, config: LogConfig, open: LogOpen) -> Log {
    Log::open(Arc::new(disk.clone()), dir(), TopicPartition::new("topic", 0), Some(Uuid::from_u128(77 << 64)), config, open, at(0)).unwrap()
}

struct Shared(RefCell<Option<Log>>);

impl SharedLog for Shared {
    fn with(&self, f: &mut dyn FnMut(&mut Log)) -> bool {
        self.0.borrow_mut().as_mut().map(f).is_some()
    }
}

struct Unhurried;

impl Pace for Unhurried {
    fn check(&self) -> Result<(), CleanError> {
        Ok(())
    }

    fn moved(&self, _bytes: u64) {}

    fn now(&self) -> Instant {
        Instant::ZERO
    }
}

fn cleaner() -> Cleaner {
    Cleaner::new(1 << 20, 0.9, 1 << 16, [1, 2])
}

/// Cleans once, whether it is due or not.
fn clean_with(cleaner: &mut Cleaner, log: Log, checkpoint: Option<i64>, now: Now) -> (Log, Result<Cleaned, CleanError>) {
    let job = log.to_clean(checkpoint, now).unwrap();
    let shared = Shared(RefCell::new(Some(log)));
    let cleaned = cleaner.clean(&shared, &job, now, &Unhurried);
    (shared.0.into_inner().unwrap(), cleaned)
}

fn clean(mut log: Log, checkpoint: Option<i64>, now: Now) -> (Log, Cleaned) {
    log.flush(log.log_end_offset(), now).unwrap();
    let (log, cleaned) = clean_with(&mut cleaner(), log, checkpoint, now);
    (log, cleaned.unwrap())
}

fn put(log: &mut Log, records: &[(&str, Option<&str>)], ms: i64) {
    let mut builder = BatchBuilder::new(BatchFields::default());
    for (key, value) in records {
        builder.append(T0 + ms, Some(key.as_bytes()), value.map(str::as_bytes), &[]);
    }
    log.append_as_leader(builder.build().unwrap(), 0, Origin::Client, at(ms)).unwrap();
    log.set_high_watermark(log.log_end_offset());
    log.flush(log.log_end_offset(), at(ms)).unwrap();
}

#[test]
fn what_is_not_flushed_is_no_reason_to_drop_what_is() {
    let disk = disk();
    let mut log = open(&disk, config(), LogOpen::default());
    put(&mut log, &[("a", Some("1"))], 0);
    log.roll(at(1)).unwrap();
    let mut builder = BatchBuilder::new(BatchFields::default());
    builder.append(T0, Some(b"a"), Some(b"2"), &[]);
    log.append_as_leader(builder.build().unwrap(), 0, Origin::Client, at(1)).unwrap();
    log.set_high_watermark(2);
    log.roll(at(2)).unwrap();
    assert_eq!(log.to_clean(None, at(3)).unwrap().first_uncleanable_offset, 1);
    log.flush(2, at(3)).unwrap();
    assert_eq!(log.to_clean(None, at(3)).unwrap().first_uncleanable_offset, 2);
}

/// All batches, read as a consumer does.
fn all_batches(log: &Log, limit: ReadLimit) -> Vec<record::Batch> {
    let mut all: Vec<record::Batch> = Vec::new();
    let mut offset = log.log_start_offset();
    loop {
        let read = log.read(offset, 700, limit, true).unwrap();
        let before = all.len();
        for piece in &read.records {
            let base::Segment::File(range) = piece else { panic!("records are in files") };
            all.extend(batches(&range.read().unwrap()).map(Result::unwrap).filter(|b| b.view().next_offset() > offset));
        }
        match all.last() {
            Some(last) if all.len() > before => offset = last.view().next_offset(),
            _ => return all,
        }
    }
}

fn records(log: &Log) -> Vec<(i64, String, Option<String>)> {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let data = all_batches(log, ReadLimit::LogEnd).into_iter().filter(|batch| !batch.view().is_control());
    let records = data.flat_map(|batch| batch.records(1 << 20).unwrap().map(Result::unwrap).collect::<Vec<Record>>());
    records.map(|r| (r.offset, r.key.as_ref().map(text).unwrap_or_default(), r.value.as_ref().map(text))).collect()
}

fn file_names(disk: &MemDisk) -> Vec<String> {
    disk.list(&dir()).unwrap().into_iter().map(|entry| entry.name).filter(|name| !name.ends_with(".deleted")).collect()
}

#[test]
fn the_last_value_of_each_key_stays() {
    let disk = disk();
    let mut log = open(&disk, config(), LogOpen::default());
    put(&mut log, &[("a", Some("1")), ("b", Some("1")), ("a", Some("2"))], 0);
    put(&mut log, &[("c", Some("1")), ("b", Some("2"))], 1);
    log.roll(at(2)).unwrap();
    put(&mut log, &[("a", Some("head"))], 3);
    let job = log.to_clean(None, at(4)).unwrap();
    assert_eq!((job.first_dirty_offset, job.first_uncleanable_offset, job.clean_bytes), (0, 5, 0));
    assert!(job.is_due() && job.cleanable_ratio() == 1.0);
    let (log, cleaned) = clean(log, None, at(4));
    assert_eq!(cleaned.end_offset, 5);
    assert_eq!((cleaned.stats.messages_read, cleaned.stats.messages_written, cleaned.stats.map_messages_read), (5, 3, 5));
    let text = |offset: i64, key: &str, value: &str| (offset, key.to_owned(), Some(value.to_owned()));
    assert_eq!(records(&log), [text(2, "a", "2"), text(3, "c", "1"), text(4, "b", "2"), text(5, "a", "head")]);
    // The next start finds the same, and nothing to do.
    let names = file_names(&disk);
    assert!(names.iter().all(|name| !name.ends_with(".swap") && !name.ends_with(".cleaned")), "{names:?}");
    let log = open(&disk, config(), LogOpen::default());
    assert_eq!(records(&log).len(), 4);
    let job = log.to_clean(Some(5), at(4)).unwrap();
    assert_eq!((job.is_due(), job.cleanable_bytes), (false, 0));
}

#[test]
fn what_needs_no_change_is_not_written() {
    let disk = disk();
    let mut log = open(&disk, config(), LogOpen::default());
    for key in ["a", "b", "c", "d"] {
        put(&mut log, &[(key, Some("0123456789".repeat(120).as_str()))], 0);
        log.roll(at(0)).unwrap();
    }
    let writes = disk.counts().0;
    let (log, cleaned) = clean(log, None, at(1));
    assert_eq!((cleaned.end_offset, cleaned.stats.segments_untouched, disk.counts().0), (4, 4, writes));
    // One record becomes old: its segment is written anew, the others are left alone.
    let mut log = log;
    put(&mut log, &[("b", Some("new"))], 1);
    log.roll(at(1)).unwrap();
    let (log, cleaned) = clean(log, Some(4), at(2));
    assert_eq!((cleaned.end_offset, cleaned.stats.segments_untouched), (5, 2));
    assert_eq!(records(&log).iter().map(|r| r.0).collect::<Vec<_>>(), [0, 2, 3, 4]);
    let log = open(&disk, config(), LogOpen::default());
    assert_eq!(records(&log).iter().map(|r| r.0).collect::<Vec<_>>(), [0, 2, 3, 4]);
}

#[test]
fn tombstones_go_after_their_time() {
    let disk = disk();
    let mut log = open(&disk, config(), LogOpen::default());
    put(&mut log, &[("a", Some("1")), ("b", Some("1")), ("a", None)], 0);
    log.roll(at(0)).unwrap();
    put(&mut log, &[("z", Some("1"))], 1);
    log.roll(at(1)).unwrap();
    let tombstone = |log: &Log| records(log).iter().any(|(_, key, value)| key == "a" && value.is_none());
    // The first cleaning gives the tombstone a day to be seen.
    let (log, cleaned) = clean(log, None, at(10));
    assert_eq!(records(&log).len(), 3);
    let first = &all_batches(&log, ReadLimit::LogEnd)[0];
    assert_eq!(first.view().delete_horizon_ms(), Some(T0 + 10 + DAY_MS));
    assert_eq!(first.view().max_timestamp(), T0);
    // Where nothing is dirty nothing is done, so that something is written in between.
    let mut log = log;
    put(&mut log, &[("z", Some("2"))], 2);
    log.roll(at(2)).unwrap();
    let (mut log, cleaned) = clean(log, Some(cleaned.end_offset), at(9 + DAY_MS));
    assert!(tombstone(&log));
    put(&mut log, &[("z", Some("3"))], 3);
    log.roll(at(3)).unwrap();
    let (log, _) = clean(log, Some(cleaned.end_offset), at(10 + DAY_MS));
    assert!(!tombstone(&log));
    assert_eq!(records(&log).len(), 2);
}

#[test]
fn records_without_a_key_go() {
    let disk = disk();
    let mut log = open(&disk, LogConfig { cleanup_compact: false, ..config() }, LogOpen::default());
    let mut builder = BatchBuilder::new(BatchFields::default());
    builder.append(T0, None, Some(b"from before the topic was compacted"), &[]);
    builder.append(T0, Some(b"a"), Some(b"1"), &[]);
    log.append_as_leader(builder.build().unwrap(), 0, Origin::Client, at(0)).unwrap();
    log.set_high_watermark(2);
    log.roll(at(0)).unwrap();
    log.update_config(config());
    let (log, cleaned) = clean(log, None, at(1));
    assert_eq!((cleaned.stats.invalid_messages_read, records(&log).len()), (1, 1));
}

#[test]
fn a_full_map_stops_where_it_is_full() {
    let disk = disk();
    let mut log = open(&disk, config(), LogOpen::default());
    for i in 0..200 {
        put(&mut log, &[(&format!("key {}", i % 100), Some("value"))], i);
    }
    log.roll(at(200)).unwrap();
    // Room for 36 keys.
    let mut small = Cleaner::new(24 * 61, 0.6, 1 << 16, [1, 2]);
    let (mut checkpoint, mut rounds) = (0, 0);
    while checkpoint < 200 {
        let before = checkpoint;
        let (next, cleaned) = clean_with(&mut small, log, Some(checkpoint), at(300));
        log = next;
        checkpoint = cleaned.unwrap().end_offset;
        assert!(checkpoint > before);
        rounds += 1;
    }
    assert!(rounds > 3);
    let left = records(&log);
    assert_eq!(left.iter().map(|r| r.0).collect::<Vec<_>>(), (100..200).collect::<Vec<i64>>());
}

#[test]
fn lags_hold_back_and_push_on() {
    let disk = disk();
    let mut log = open(&disk, LogConfig { min_compaction_lag_ms: 1_000, ..config() }, LogOpen::default());
    for ms in [0, 500, 2_000] {
        put(&mut log, &[("a", Some("1"))], ms);
        log.roll(at(ms)).unwrap();
    }
    put(&mut log, &[("a", Some("active"))], 2_100);
    assert_eq!(log.to_clean(None, at(900)).unwrap().first_uncleanable_offset, 0);
    assert_eq!(log.to_clean(None, at(1_500)).unwrap().first_uncleanable_offset, 2);
    assert_eq!(log.to_clean(None, at(3_000)).unwrap().first_uncleanable_offset, 3);
    // Not dirty enough, but too old.
    log.update_config(LogConfig { max_compaction_lag_ms: 2_500, min_cleanable_dirty_ratio: 1.0, ..config() });
    let job = log.to_clean(None, at(2_400)).unwrap();
    assert!(!job.is_due() && job.compaction_delay_ms == 0);
    let job = log.to_clean(None, at(2_600)).unwrap();
    assert!(job.is_due() && job.compaction_delay_ms == 100);
    assert_eq!(LogConfig { max_compaction_lag_ms: 7, ..config() }.max_segment_ms(), 7);
}

#[test]
fn checkpoints_that_do_not_fit_are_reset() {
    let disk = disk();
    let mut log = open(&disk, config(), LogOpen::default());
    for ms in 0..4 {
        put(&mut log, &[("a", Some("1"))], ms);
        log.roll(at(ms)).unwrap();
    }
    log.delete_records_before(2, at(5)).unwrap();
    for (checkpoint, first_dirty, reset) in [(Some(1), 2, true), (Some(9), 2, true), (Some(3), 3, false), (None, 2, false)] {
        let job = log.to_clean(checkpoint, at(5)).unwrap();
        assert_eq!((job.first_dirty_offset, job.checkpoint_reset), (first_dirty, reset), "{checkpoint:?}");
    }
    assert_eq!(log.take_truncation(), None);
    log.truncate_to(3, at(6)).unwrap();
    log.truncate_to(2, at(6)).unwrap();
    assert_eq!((log.take_truncation(), log.take_truncation()), (Some(2), None));
}

#[test]
fn gaps_are_no_damage_to_a_log_that_was_compacted_once() {
    let disk = disk();
    let mut log = open(&disk, LogConfig { segment_bytes: 500, ..config() }, LogOpen::default());
    for ms in 0..3 {
        put(&mut log, &[("a", Some("0123456789".repeat(40).as_str()))], ms);
        log.roll(at(ms)).unwrap();
    }
    put(&mut log, &[("b", Some("1"))], 4);
    log.flush(4, at(5)).unwrap();
    let (log, _) = clean(log, None, at(5));
    assert_eq!(records(&log).iter().map(|r| r.0).collect::<Vec<_>>(), [2, 3]);
    drop(log);
    // The policy was changed, and after a power cut all of it is read.
    let plain = LogConfig { cleanup_delete: true, cleanup_compact: false, ..config() };
    let log = open(&disk, plain, LogOpen { compacted: true, ..LogOpen::default() });
    assert_eq!(records(&log).iter().map(|r| r.0).collect::<Vec<_>>(), [2, 3]);
}

/// Cuts the log when the cleaner asks whether to go on.
struct Truncating<'a>(&'a Shared);

impl Pace for Truncating<'_> {
    fn check(&self) -> Result<(), CleanError> {
        self.0.with(&mut |log| {
            log.truncate_to(3, at(0)).unwrap();
        });
        Ok(())
    }

    fn moved(&self, _bytes: u64) {}

    fn now(&self) -> Instant {
        Instant::ZERO
    }
}

#[test]
fn a_log_that_is_cut_meanwhile_is_left_alone() {
    let disk = disk();
    let mut log = open(&disk, config(), LogOpen::default());
    for ms in 0..6 {
        put(&mut log, &[("a", Some("1"))], ms);
        log.roll(at(ms)).unwrap();
    }
    let job = log.to_clean(None, at(9)).unwrap();
    let shared = Shared(RefCell::new(Some(log)));
    let result = cleaner().clean(&shared, &job, at(9), &Truncating(&shared));
    assert!(matches!(result, Err(CleanError::Aborted)), "{result:?}");
    let log = shared.0.into_inner().unwrap();
    assert_eq!(records(&log).len(), 3);
    assert!(file_names(&disk).iter().all(|name| !name.ends_with(".swap")));
    let gone = Shared(RefCell::new(None));
    assert!(matches!(cleaner().clean(&gone, &job, at(9), &Unhurried), Err(CleanError::Aborted)));
}

#[test]
fn a_damaged_batch_is_not_spread() {
    let disk = disk();
    let mut log = open(&disk, config(), LogOpen::default());
    put(&mut log, &[("a", Some("1")), ("a", Some("2"))], 0);
    log.roll(at(0)).unwrap();
    let path = dir().join("00000000000000000000.log");
    let mut byte = [0];
    let file = disk.open(&path, base::disk::OpenMode::ReadWrite).unwrap();
    file.read_exact_at(&mut byte, 70).unwrap();
    file.write_at(&[byte[0] ^ 1], 70).unwrap();
    let before = disk.read(&path).unwrap();
    let (_, result) = clean_with(&mut cleaner(), log, None, at(1));
    assert!(matches!(result, Err(CleanError::Log(LogError::Corrupt { .. }))), "{result:?}");
    assert_eq!(disk.read(&path).unwrap(), before);
    assert!(file_names(&disk).iter().all(|name| !name.ends_with(".cleaned")));
}
