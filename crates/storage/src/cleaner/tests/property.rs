//! Whatever the history, the map's size and the instant of a crash: nobody who reads can tell that the log was cleaned, except that there is
//! less of it.

use super::history::{History, committed, producers, view};
use super::*;
use std::collections::BTreeMap;

/// Compares the log before and after one cleaning that ended at `end`. With `complete`, the map had room for everything.
fn check(before: &[Record], after: &[Record], end: i64, complete: bool) {
    assert!(view(after) == view(before), "what is in force differs:\n{after:?}\n{before:?}");
    let old: BTreeMap<i64, &Record> = before.iter().map(|record| (record.offset, record)).collect();
    for record in after {
        assert_eq!(old.get(&record.offset), Some(&record), "what stays is what it was");
    }
    let head = |records: &[Record]| records.iter().filter(|record| record.offset >= end).cloned().collect::<Vec<_>>();
    assert!(head(after) == head(before), "the head differs");
    if complete {
        let mut last: BTreeMap<&Bytes, i64> = BTreeMap::new();
        for record in before.iter().filter(|record| record.offset < end) {
            last.insert(record.key.as_ref().unwrap(), record.offset);
        }
        for record in after.iter().filter(|record| record.offset < end) {
            assert_eq!(last.get(record.key.as_ref().unwrap()), Some(&record.offset), "only the last record of a key stays");
        }
    }
}

/// Positions and times are found through the new indexes as by reading everything.
fn check_lookups(log: &Log, rng: &mut fastrand::Rng) {
    let batches = all_batches(log, ReadLimit::LogEnd);
    let ranges = batches.windows(2).all(|pair| pair[0].view().next_offset() <= pair[1].view().base_offset());
    assert!(ranges, "segments overlap");
    let records: Vec<Record> = batches.iter().flat_map(|b| b.records(1 << 20).unwrap()).map(Result::unwrap).collect();
    for _ in 0..10 {
        let target = T0 + rng.i64(0..4_000);
        let expected = records.iter().find(|record| record.timestamp >= target).map(|record| record.offset);
        assert_eq!(log.offset_for_timestamp(target).unwrap().map(|found| found.offset), expected);
        let offset = rng.i64(0..=log.log_end_offset());
        let read = log.read(offset, 10_000, ReadLimit::LogEnd, true).unwrap();
        let first = read.records.first().map(|piece| match piece {
            base::Segment::File(range) => record::Batch::new(range.read().unwrap()).unwrap().view().last_offset(),
            base::Segment::Bytes(_) => panic!("records are in files"),
        });
        let expected = batches.iter().map(|batch| batch.view().last_offset()).find(|last| *last >= offset);
        assert_eq!(first, expected);
    }
}

#[test]
fn nobody_can_tell() {
    for seed in 0..120 {
        let (mut history, mut log) = History::new(seed);
        let mut checkpoint = None;
        let mut cleaner = cleaner();
        let mut small = Cleaner::new(24 * 12, 0.6, 1 << 10, [seed, 2]);
        for round in 0..5 {
            let steps = history.rng.usize(5..60);
            history.go_on(&mut log, steps);
            let before = committed(&log);
            let known = producers(&log);
            let (end_offset, start) = (log.log_end_offset(), log.log_start_offset());
            history.clock_ms += if history.rng.u8(0..3) == 0 { DAY_MS } else { 0 };
            let complete = history.rng.u8(0..3) > 0;
            let used = if complete { &mut cleaner } else { &mut small };
            let (cleaned_log, cleaned) = clean_with(used, log, checkpoint, at(history.clock_ms));
            let cleaned = cleaned.unwrap();
            log = cleaned_log;
            checkpoint = Some(cleaned.end_offset);
            check(&before, &committed(&log), cleaned.end_offset, complete);
            check_lookups(&log, &mut history.rng);
            if history.rng.bool() {
                // As after a kill, with everything to be recovered, or as after a clean stop.
                let clean_stop = history.rng.bool();
                let flushed = if history.rng.bool() { log.log_end_offset() } else { 0 };
                if clean_stop {
                    log.close(at(history.clock_ms)).unwrap();
                }
                drop(log);
                log = history.reopen(flushed, clean_stop);
                check(&before, &committed(&log), cleaned.end_offset, complete);
                check_lookups(&log, &mut history.rng);
            }
            assert_eq!(producers(&log), known, "seed {seed}, round {round}");
            assert_eq!((log.log_end_offset(), log.log_start_offset()), (end_offset, start));
        }
        // With all transactions decided nothing of the aborted ones is left.
        history.end_all_transactions(&mut log);
        log.roll(at(history.clock_ms)).unwrap();
        let before = committed(&log);
        let (log, cleaned) = clean(log, Some(0), at(history.clock_ms));
        check(&before, &committed(&log), cleaned.end_offset, true);
        let data =
            all_batches(&log, ReadLimit::LogEnd).iter().filter(|b| !b.view().is_control()).map(|b| b.view().count().unwrap()).sum::<i32>();
        assert_eq!(data as usize, committed(&log).len());
    }
}

#[test]
fn markers_go_after_their_data() {
    let (mut history, mut log) = History::new(7);
    history.go_on(&mut log, 80);
    history.end_all_transactions(&mut log);
    let markers = |log: &Log| all_batches(log, ReadLimit::LogEnd).iter().filter(|b| b.view().is_control()).count();
    let (before, mut checkpoint) = (markers(&log), None);
    for _ in 0..4 {
        put(&mut log, &[("later", Some("value"))], history.clock_ms);
        log.roll(at(history.clock_ms)).unwrap();
        let (cleaned_log, cleaned) = clean(log, checkpoint, at(history.clock_ms));
        (log, checkpoint) = (cleaned_log, Some(cleaned.end_offset));
        history.clock_ms += DAY_MS + 1;
    }
    let transactional = all_batches(&log, ReadLimit::LogEnd);
    let with_data = transactional.iter().filter(|b| b.view().is_transactional() && !b.view().is_control()).count();
    assert!(markers(&log) < before && markers(&log) <= with_data + 2, "{} of {before}, {with_data} batches", markers(&log));
}

/// The same history, flushed, to be cleaned again and again.
fn prepared(seed: u64) -> (History, Log) {
    let (mut history, mut log) = History::new(seed);
    history.go_on(&mut log, 60);
    log.flush(log.log_end_offset(), at(history.clock_ms)).unwrap();
    (history, log)
}

#[test]
fn a_power_cut_at_every_operation() {
    let mut cuts = 0;
    for seed in 0..6 {
        for at_operation in 1.. {
            let (mut history, log) = prepared(seed);
            let (before, known, flushed) = (committed(&log), producers(&log), log.recovery_point());
            history.disk.cut_power_at(Some(history.disk.operations() + at_operation));
            let (log, cleaned) = clean_with(&mut cleaner(), log, None, at(history.clock_ms));
            let survived = cleaned.is_ok();
            drop(log);
            history.disk.crash(&mut history.rng);
            let recovery_point = if history.rng.bool() { flushed } else { 0 };
            let log = history.reopen(recovery_point, false);
            check(&before, &committed(&log), i64::MAX, false);
            check_lookups(&log, &mut history.rng);
            assert_eq!((producers(&log), log.log_end_offset()), (known.clone(), flushed), "seed {seed}, operation {at_operation}");
            // Cleaned again, it is as if nothing had happened.
            let (log, cleaned) = clean(log, None, at(history.clock_ms));
            check(&before, &committed(&log), cleaned.end_offset, true);
            let left = file_names(&history.disk);
            assert!(left.iter().all(|name| !name.ends_with(".swap") && !name.ends_with(".cleaned")), "{left:?}");
            if survived {
                break;
            }
            cuts += 1;
        }
    }
    assert!(cuts > 100, "{cuts}");
}

#[test]
fn errors_of_the_disk_leave_a_log_that_works() {
    for seed in 0..6 {
        for operations in 0.. {
            let (history, log) = prepared(seed);
            let (before, known) = (committed(&log), producers(&log));
            history.disk.fail_after(Some(operations));
            let (log, cleaned) = clean_with(&mut cleaner(), log, None, at(history.clock_ms));
            history.disk.fail_after(None);
            check(&before, &committed(&log), i64::MAX, false);
            assert_eq!(producers(&log), known);
            if cleaned.is_ok() {
                break;
            }
            // The next attempt succeeds, at the latest after a start.
            eprintln!(
                "{seed} {operations} {cleaned:?} {:?}",
                history.disk.list(&dir()).unwrap().iter().map(|e| e.name.clone()).collect::<Vec<_>>()
            );
            let (log, again) = clean_with(&mut cleaner(), log, None, at(history.clock_ms));
            eprintln!("again {again:?} {:?}", history.disk.list(&dir()).unwrap().iter().map(|e| e.name.clone()).collect::<Vec<_>>());
            check(&before, &committed(&log), i64::MAX, false);
            drop(log);
            let log = history.reopen(0, false);
            check(&before, &committed(&log), i64::MAX, false);
            let (log, cleaned) = clean(log, None, at(history.clock_ms));
            check(&before, &committed(&log), cleaned.end_offset, true);
        }
    }
}

#[test]
fn a_full_disk_changes_nothing() {
    let (history, log) = prepared(3);
    let before = committed(&log);
    let names = file_names(&history.disk);
    history.disk.set_free_space(Some(200));
    let (log, cleaned) = clean_with(&mut cleaner(), log, None, at(history.clock_ms));
    assert!(matches!(cleaned, Err(CleanError::Log(LogError::Io { .. }))), "{cleaned:?}");
    history.disk.set_free_space(None);
    assert_eq!((committed(&log), file_names(&history.disk)), (before.clone(), names));
    let (log, cleaned) = clean(log, None, at(history.clock_ms));
    check(&before, &committed(&log), cleaned.end_offset, true);
}
