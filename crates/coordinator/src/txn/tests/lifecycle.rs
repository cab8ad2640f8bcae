//! Writes that wait or fail, markers, time, loading.

use super::*;

#[test]
fn replies_wait_for_the_high_watermark_and_others_are_told_so() {
    let mut f = found(TxnStatus::Ongoing, 3, |_| ());
    f.log.high_watermark = Some(1);
    let end = |f: &mut Fixture| f.step(|shard, step| shard.end_txn(step, Token(1), ID, (7, 3), true, 2));
    assert_eq!(end(&mut f), []);
    assert_eq!(end(&mut f), [failed(ErrorCode::ConcurrentTransactions)]);
    assert_eq!((f.state().0, f.markers.len()), (TxnStatus::Ongoing, 0));
    f.log.high_watermark = Some(2);
    assert_eq!(f.step(|_, _| TxnOutput::default()), [producer(7, 4)]);
    assert_eq!((f.state().0, f.markers.len()), (TxnStatus::PrepareCommit, 1));
}

#[test]
fn who_waits_too_long_is_told_and_the_write_stays_pending() {
    let mut f = found(TxnStatus::Ongoing, 3, |_| ());
    f.log.high_watermark = Some(1);
    assert_eq!(f.step(|shard, step| shard.end_txn(step, Token(1), ID, (7, 3), true, 2)), []);
    f.wait(TIMEOUT_MS as u64);
    assert_eq!(f.replies.pop(), Some(failed(ErrorCode::CoordinatorNotAvailable)));
    assert_eq!(f.end((7, 3), false, 2), failed(ErrorCode::ConcurrentTransactions));
    f.log.high_watermark = None;
    f.step(|_, _| TxnOutput::default());
    assert_eq!(f.state().0, TxnStatus::PrepareCommit);
}

#[test]
fn a_failed_append_leaves_everything_as_it_was() {
    for (log_error, told) in [
        (ErrorCode::NotEnoughReplicas, ErrorCode::CoordinatorNotAvailable),
        (ErrorCode::RequestTimedOut, ErrorCode::CoordinatorNotAvailable),
        (ErrorCode::KafkaStorageError, ErrorCode::NotCoordinator),
        (ErrorCode::NotLeaderOrFollower, ErrorCode::NotCoordinator),
        (ErrorCode::MessageTooLarge, ErrorCode::UnknownServerError),
    ] {
        let mut f = found(TxnStatus::Ongoing, 3, |_| ());
        let before = f.current().clone();
        f.log.failure = Some(log_error);
        assert_eq!(f.end((7, 3), true, 2), failed(told));
        assert_eq!(f.end((7, 3), true, 0), failed(told));
        assert_eq!(f.add((7, 3), &[5]), failed(told));
        assert_eq!(f.init(None), failed(told));
        assert_eq!(f.current(), &before);
        f.log.failure = None;
        assert_eq!(f.end((7, 3), true, 2), producer(7, 4));
    }
    let mut f = fixture();
    f.log.failure = Some(ErrorCode::NotEnoughReplicas);
    assert_eq!(f.init(None), failed(ErrorCode::CoordinatorNotAvailable));
    assert!(f.shard.txns.is_empty());
}

#[test]
fn markers_that_fail_are_written_again_and_the_completion_too() {
    let mut f = found(TxnStatus::Ongoing, 3, |_| ());
    f.end((7, 3), true, 2);
    let task = f.markers.remove(0);
    f.step(|shard, step| shard.markers_written(step, &task, vec![(tp(0), ErrorCode::None), (tp(1), ErrorCode::NotLeaderOrFollower)]));
    assert_eq!(f.current().partitions, [tp(1)].into());
    f.wait(99);
    assert!(f.markers.is_empty());
    f.wait(1);
    assert_eq!(f.markers[0].partitions, [tp(1)]);
    f.log.failure = Some(ErrorCode::NotEnoughReplicas);
    f.mark(ErrorCode::None);
    assert_eq!(f.state().0, TxnStatus::PrepareCommit);
    f.log.failure = None;
    f.wait(100);
    assert_eq!(f.state().0, TxnStatus::CompleteCommit);
    // What is reported late is of no interest any more.
    let records = f.log.records.len();
    f.step(|shard, step| shard.markers_written(step, &task, vec![(tp(1), ErrorCode::None)]));
    assert_eq!(f.log.records.len(), records);
}

#[test]
fn a_partition_that_knows_a_newer_coordinator_ends_the_matter_for_this_one() {
    for error in [ErrorCode::TransactionCoordinatorFenced, ErrorCode::InvalidProducerEpoch] {
        let mut f = found(TxnStatus::Ongoing, 3, |_| ());
        f.end((7, 3), true, 2);
        f.mark(error);
        f.wait(60_000);
        assert!(f.markers.is_empty());
        assert_eq!(f.state().0, TxnStatus::PrepareCommit);
        f.reload();
        f.mark(ErrorCode::None);
        assert_eq!(f.state().0, TxnStatus::CompleteCommit);
    }
}

#[test]
fn an_open_transaction_is_aborted_when_its_time_is_up() {
    for transaction_version in [0, 2] {
        let mut f = found(TxnStatus::Ongoing, 3, |_| ());
        f.transaction_version = transaction_version;
        f.wait(TIMEOUT_MS as u64);
        assert_eq!(f.state().0, TxnStatus::Ongoing);
        f.wait(10_000);
        assert_eq!(f.state(), (TxnStatus::PrepareAbort, 7, 4));
        assert_eq!(f.add((7, 3), &[9]), failed(ErrorCode::ConcurrentTransactions));
        f.mark(ErrorCode::None);
        assert_eq!(f.add((7, 3), &[9]), failed(ErrorCode::ProducerFenced));
    }
    let mut f = found(TxnStatus::Ongoing, 3, |txn| txn.timeout_ms = i32::MAX);
    f.wait(u64::from(u32::MAX));
    assert_eq!(f.state().0, TxnStatus::Ongoing);
}

#[test]
fn ids_that_are_not_used_expire() {
    let expiration = 7 * 24 * 3_600_000;
    for status in [TxnStatus::Empty, TxnStatus::CompleteCommit, TxnStatus::CompleteAbort] {
        let mut f = found(status, 3, |_| ());
        f.wait(expiration - 1);
        assert_eq!(f.shard.txns.len(), 1);
        f.log.failure = Some(ErrorCode::NotEnoughReplicas);
        f.wait(3_600_000);
        assert_eq!(f.shard.txns.len(), 1);
        f.log.failure = None;
        f.wait(3_600_000);
        assert!(f.shard.txns.is_empty());
        assert_eq!(f.log.records.last().unwrap().value, None);
        f.reload();
        assert!(f.shard.txns.is_empty());
    }
    let mut f = found(TxnStatus::Ongoing, 3, |txn| txn.timeout_ms = i32::MAX);
    f.wait(expiration * 2);
    assert_eq!(f.shard.txns.len(), 1);
}

#[test]
fn prepared_transactions_go_on_once_they_are_at_the_high_watermark() {
    let mut f = fixture();
    let prepared = |id: i64, partitions: &[i32]| Metadata {
        producer_epoch: 3,
        status: TxnStatus::PrepareCommit,
        partitions: partitions.iter().map(|p| tp(*p)).collect(),
        start_ms: 1,
        ..Metadata::new(id, TIMEOUT_MS, f.now.wall_ms)
    };
    let with_markers = prepared(7, &[0]);
    let without = prepared(8, &[]);
    f.log.records.push(records::encode(ID, &with_markers, 2).unwrap());
    f.log.records.push(records::encode("other", &without, 2).unwrap());
    f.log.high_watermark = Some(1);
    f.reload();
    assert!(f.shard.is_loading() && f.markers.is_empty());
    f.log.high_watermark = None;
    f.step(|_, _| TxnOutput::default());
    assert!(!f.shard.is_loading());
    assert_eq!(f.markers[0].partitions, [tp(0)]);
    assert_eq!(f.shard.txns["other"].current.status, TxnStatus::CompleteCommit);
    f.mark(ErrorCode::None);
    assert_eq!(f.state().0, TxnStatus::CompleteCommit);
}

#[test]
fn whoever_waits_when_the_partition_moves_is_told() {
    let mut f = found(TxnStatus::Ongoing, 3, |_| ());
    f.log.high_watermark = Some(1);
    f.step(|shard, step| shard.end_txn(step, Token(1), ID, (7, 3), true, 2));
    assert_eq!(f.step(|shard, _| shard.unload()), [failed(ErrorCode::NotCoordinator)]);
}

#[test]
fn records_that_cannot_be_read_are_named_and_newer_ones_passed_over() {
    let mut f = fixture();
    let good = records::encode(ID, &Metadata::new(7, 1, 1), 2).unwrap();
    let mut replay = |key: &[u8], value: Option<&[u8]>| {
        f.shard.replay(42, &bytes::Bytes::copy_from_slice(key), value.map(bytes::Bytes::copy_from_slice).as_ref())
    };
    assert!(replay(&[], None).unwrap_err().contains("offset 42"));
    assert!(replay(&[0, 0, 0], None).unwrap_err().contains("key"));
    assert!(replay(&good.key, Some(&[0, 1, 5])).unwrap_err().contains("\"id\""));
    assert_eq!(replay(&[0, 3, 1, 2, 3], Some(&[1])), Ok(()));
    assert_eq!(replay(&good.key, Some(&[0, 2, 1])), Ok(()));
    let mut unknown_state = good.value.clone().unwrap().to_vec();
    let at = 2 + 8 + 2 + 4;
    assert_eq!(unknown_state[at], 0);
    unknown_state[at] = 9;
    assert!(replay(&good.key, Some(&unknown_state)).unwrap_err().contains("state 9"));
    assert_eq!(replay(&good.key, good.value.as_deref()), Ok(()));
    assert_eq!(replay(&good.key, None), Ok(()));
    assert!(f.shard.txns.is_empty());
}

#[test]
fn the_format_depends_on_the_level_of_the_feature() {
    let txn = Metadata { producer_epoch: 3, client_version: 2, next_producer_id: 9, partitions: [tp(1)].into(), ..Metadata::new(7, 1, 5) };
    let txn = Metadata { status: TxnStatus::PrepareCommit, prev_producer_id: 6, start_ms: 4, ..txn };
    for (level, version, expected) in [
        (2, 1, txn.clone()),
        (1, 1, txn.clone()),
        (0, 0, Metadata { client_version: 0, next_producer_id: -1, prev_producer_id: -1, ..txn.clone() }),
    ] {
        let record = records::encode(ID, &txn, level).unwrap();
        assert_eq!(record.value.as_ref().unwrap()[..2], [0, version]);
        assert_eq!(records::decode(&record.key, record.value.as_ref()), Ok(StoredTxn::Txn(ID.into(), Box::new(expected))));
    }
}
