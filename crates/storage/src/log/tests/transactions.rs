//! What transactions may write and when, beyond the checks of sequences: verification, markers of both generations, stable offsets.

use super::*;
use crate::{Verification, VerificationGuard};

const INVALID_PRODUCER_EPOCH: i16 = 47;
const INVALID_TXN_STATE: i16 = 48;
const OUT_OF_ORDER: i16 = 45;
const FENCED: i16 = 52;

fn in_transaction(producer_id: i64, epoch: i16, sequence: i32, count: i64) -> Bytes {
    let fields = BatchFields { producer_id, producer_epoch: epoch, base_sequence: sequence, transactional: true, ..BatchFields::default() };
    batch(count, T0, fields)
}

fn write(log: &mut Log, records: Bytes, guard: Option<VerificationGuard>) -> Result<AppendInfo, i16> {
    log.append_in_transaction(records, 0, Origin::Client, Verification::Required(guard), at(0)).map_err(|e| e.code())
}

fn ask(log: &mut Log, producer_id: i64, sequence: i32, epoch: i16, new_client: bool) -> Result<Option<VerificationGuard>, i16> {
    log.start_verification(producer_id, sequence, epoch, new_client, at(0)).map_err(|e| e.code())
}

fn end(log: &mut Log, producer_id: i64, epoch: i16, commit: bool, version: i16) -> Result<AppendInfo, i16> {
    end_by(log, producer_id, epoch, commit, version, 0)
}

fn end_by(log: &mut Log, producer_id: i64, epoch: i16, commit: bool, version: i16, coordinator_epoch: i32) -> Result<AppendInfo, i16> {
    let marker = EndTxnMarker { commit, coordinator_epoch }.batch(T0, producer_id, epoch, 0).unwrap();
    log.append_end_txn_marker(marker, 0, version, at(0)).map_err(|e| e.code())
}

fn aborted(log: &Log, offset: i64) -> Vec<(i64, i64)> {
    log.read(offset, 1 << 20, ReadLimit::LastStable, true).unwrap().aborted_transactions.unwrap()
}

#[test]
fn only_a_verified_producer_opens_a_transaction() {
    let mut log = open(&disk(), LogConfig::default());
    assert_eq!(write(&mut log, in_transaction(7, 0, 0, 1), None), Err(INVALID_TXN_STATE));
    let guard = ask(&mut log, 7, 0, 0, false).unwrap();
    assert!(guard.is_some());
    assert_eq!(write(&mut log, in_transaction(7, 0, 0, 1), None), Err(INVALID_TXN_STATE));
    assert!(write(&mut log, in_transaction(7, 0, 0, 1), guard).is_ok());
    // Now it is open: nobody needs to be asked, and nothing to be shown.
    assert_eq!(ask(&mut log, 7, 1, 0, false), Ok(None));
    assert!(write(&mut log, in_transaction(7, 0, 1, 1), None).is_ok());
    assert_eq!(ask(&mut log, 7, 0, -1, false), Err(INVALID_PRODUCER_EPOCH));
}

#[test]
fn a_marker_in_between_takes_the_verification_away() {
    let mut log = open(&disk(), LogConfig::default());
    let late = ask(&mut log, 7, 0, 0, false).unwrap();
    end(&mut log, 7, 0, false, 0).unwrap();
    assert_eq!(write(&mut log, in_transaction(7, 0, 0, 1), late), Err(INVALID_TXN_STATE));
    let fresh = ask(&mut log, 7, 0, 0, false).unwrap();
    assert_ne!(late, fresh);
    assert_eq!(write(&mut log, in_transaction(7, 0, 0, 1), late), Err(INVALID_TXN_STATE));
    assert!(write(&mut log, in_transaction(7, 0, 0, 1), fresh).is_ok());
}

#[test]
fn a_marker_of_the_second_generation_leaves_what_was_begun_for_the_next() {
    let mut log = open(&disk(), LogConfig::default());
    let guard = ask(&mut log, 7, 0, 4, true).unwrap();
    write(&mut log, in_transaction(7, 4, 0, 1), guard).unwrap();
    // The producer has its next epoch and asks before the marker, which has that epoch too, is here.
    let next = ask(&mut log, 7, 0, 5, true).unwrap();
    assert!(next.is_some());
    end(&mut log, 7, 5, true, 2).unwrap();
    assert!(write(&mut log, in_transaction(7, 5, 0, 1), next).is_ok());
}

#[test]
fn a_stale_epoch_is_told_before_a_missing_verification() {
    let mut log = open(&disk(), LogConfig::default());
    end(&mut log, 7, 5, true, 2).unwrap();
    assert_eq!(write(&mut log, in_transaction(7, 4, 0, 1), None), Err(INVALID_PRODUCER_EPOCH));
    assert_eq!(write(&mut log, in_transaction(7, 5, 0, 1), None), Err(INVALID_TXN_STATE));
}

#[test]
fn while_the_coordinator_is_asked_the_lowest_sequence_comes_first() {
    let mut log = open(&disk(), LogConfig::default());
    // A client of the first generation may go on where it was, but not beyond what it has tried already.
    ask(&mut log, 7, 5, 0, false).unwrap();
    let guard = ask(&mut log, 7, 8, 0, false).unwrap();
    assert_eq!(write(&mut log, in_transaction(7, 0, 8, 1), guard), Err(OUT_OF_ORDER));
    assert!(write(&mut log, in_transaction(7, 0, 5, 3), guard).is_ok());
    assert!(write(&mut log, in_transaction(7, 0, 8, 1), None).is_ok());
    // One of the second generation begins each transaction at 0.
    let guard = ask(&mut log, 8, 5, 0, true).unwrap();
    assert_eq!(write(&mut log, in_transaction(8, 0, 5, 1), guard), Err(OUT_OF_ORDER));
    assert!(ask(&mut log, 8, 0, 0, true).unwrap() == guard && write(&mut log, in_transaction(8, 0, 0, 1), guard).is_ok());
}

#[test]
fn without_verification_nothing_has_to_be_shown() {
    let mut log = open(&disk(), LogConfig::default());
    let written = log.append_in_transaction(in_transaction(7, 0, 0, 1), 0, Origin::Client, Verification::NotRequired, at(0));
    assert!(written.is_ok());
}

#[test]
fn repeats_are_answered_without_verification() {
    let mut log = open(&disk(), LogConfig::default());
    let guard = ask(&mut log, 7, 0, 0, false).unwrap();
    write(&mut log, in_transaction(7, 0, 0, 2), guard).unwrap();
    end(&mut log, 7, 0, true, 0).unwrap();
    let again = write(&mut log, in_transaction(7, 0, 0, 2), None).unwrap();
    assert!(again.duplicate && again.first_offset == 0 && again.last_offset == 1);
}

#[test]
fn markers_by_generation_and_coordinator() {
    let mut log = open(&disk(), LogConfig::default());
    let open_at = |log: &mut Log, epoch: i16| {
        let guard = ask(log, 7, 0, epoch, false).unwrap();
        write(log, in_transaction(7, epoch, 0, 1), guard).unwrap();
    };
    open_at(&mut log, 3);
    assert_eq!(end(&mut log, 7, 3, true, 2), Err(INVALID_PRODUCER_EPOCH), "the second generation's has a higher epoch");
    assert_eq!(end(&mut log, 7, 2, true, 0), Err(INVALID_PRODUCER_EPOCH));
    end_by(&mut log, 7, 4, true, 2, 6).unwrap();
    assert!(end_by(&mut log, 7, 4, true, 2, 6).is_ok(), "the same again, with nothing open");
    assert_eq!(end_by(&mut log, 7, 4, true, 2, 5), Err(FENCED));
    assert_eq!(end(&mut log, 7, 3, true, 2), Err(INVALID_PRODUCER_EPOCH));
    open_at(&mut log, i16::MAX);
    assert!(end_by(&mut log, 7, i16::MAX, false, 2, 6).is_ok(), "there is no higher epoch");
    assert_eq!(log.producers().first_unstable_offset(), Some(0), "ended, but not replicated");
    log.set_high_watermark(log.log_end_offset());
    assert_eq!(log.last_stable_offset(), log.log_end_offset());
}

#[test]
fn several_open_transactions() {
    let mut log = open(&disk(), LogConfig::default());
    for id in [1, 2, 3] {
        let guard = ask(&mut log, id, 0, 0, false).unwrap();
        write(&mut log, in_transaction(id, 0, 0, 2), guard).unwrap();
    }
    log.set_high_watermark(6);
    end(&mut log, 2, 0, false, 0).unwrap();
    log.set_high_watermark(7);
    assert_eq!((log.last_stable_offset(), aborted(&log, 0)), (0, vec![]));
    end(&mut log, 1, 0, false, 0).unwrap();
    assert_eq!(log.last_stable_offset(), 0, "the marker is above the high watermark");
    log.set_high_watermark(8);
    assert_eq!((log.last_stable_offset(), aborted(&log, 0)), (4, vec![(2, 2), (1, 0)]));
    end(&mut log, 3, 0, true, 0).unwrap();
    log.set_high_watermark(9);
    assert_eq!(log.last_stable_offset(), 9);
    // Only what overlaps what was read; the first ended at 7, the second at 6.
    assert_eq!(aborted(&log, 7), [(1, 0)]);
    assert_eq!(aborted(&log, 8), []);
}

#[test]
fn an_empty_transaction_is_in_no_index() {
    let mut log = open(&disk(), LogConfig::default());
    end(&mut log, 7, 0, false, 0).unwrap();
    log.set_high_watermark(1);
    assert_eq!((log.last_stable_offset(), aborted(&log, 0)), (1, vec![]));
    let producer = log.producers().get(7).unwrap();
    assert_eq!((producer.epoch, producer.coordinator_epoch, producer.last_sequence()), (0, 0, -1));
}

#[test]
fn verifications_are_not_the_logs_and_expire() {
    let mut log = open(&disk(), LogConfig::default());
    append(&mut log, 2, 0);
    let guard = ask(&mut log, 7, 0, 0, false).unwrap();
    log.truncate_to(1, at(0)).unwrap();
    assert!(write(&mut log, in_transaction(7, 0, 0, 1), guard).is_ok());
    let guard = ask(&mut log, 8, 0, 0, false).unwrap();
    log.remove_expired_producers(at(log.config().producer_id_expiration_ms));
    assert_eq!(write(&mut log, in_transaction(8, 0, 0, 1), guard), Err(INVALID_TXN_STATE));
    assert!(log.producers().get(7).is_some(), "an open transaction is never forgotten");
}
