//! InitProducerId and AddPartitionsToTxn.

use super::*;

#[test]
fn a_new_id_gets_a_fresh_producer_id_and_each_start_the_next_epoch() {
    let mut f = fixture();
    assert_eq!(f.init(None), producer(100, 0));
    assert_eq!(f.init(None), producer(100, 1));
    let written = f.written();
    assert_eq!((written.status, written.producer_epoch, written.start_ms), (TxnStatus::Empty, 1, -1));
    assert_eq!((written.prev_producer_id, written.next_producer_id, written.timeout_ms), (100, -1, TIMEOUT_MS));
}

#[test]
fn a_request_is_checked_before_an_id_is_made() {
    let cases = [
        (InitProducerId { transactional_id: String::new(), timeout_ms: 1, ..Default::default() }, ErrorCode::InvalidRequest),
        (InitProducerId { transactional_id: ID.into(), timeout_ms: 0, ..Default::default() }, ErrorCode::InvalidTransactionTimeout),
        (InitProducerId { transactional_id: ID.into(), timeout_ms: 900_001, ..Default::default() }, ErrorCode::InvalidTransactionTimeout),
        (
            InitProducerId { transactional_id: ID.into(), timeout_ms: 1, enable_two_phase_commit: true, ..Default::default() },
            ErrorCode::TransactionalIdAuthorizationFailed,
        ),
        (
            InitProducerId { transactional_id: ID.into(), timeout_ms: 1, keep_prepared: true, ..Default::default() },
            ErrorCode::UnsupportedVersion,
        ),
    ];
    for (request, error) in cases {
        let mut f = fixture();
        assert_eq!(f.one(|shard, step, token| shard.init_producer_id(step, token, &request)), failed(error), "{request:?}");
        assert!(f.shard.txns.is_empty() && f.log.records.is_empty() && f.next_id == Ok(100));
    }
}

#[test]
fn without_a_fresh_id_nothing_is_left_behind() {
    let mut f = fixture();
    f.next_id = Err(ErrorCode::CoordinatorLoadInProgress);
    assert_eq!(f.init(None), failed(ErrorCode::CoordinatorLoadInProgress));
    assert!(f.shard.txns.is_empty());
}

#[test]
fn a_producer_goes_on_by_its_id_and_epoch() {
    let mut f = found(TxnStatus::CompleteAbort, 3, |_| ());
    assert_eq!(f.init(Some((7, 2))), failed(ErrorCode::ProducerFenced));
    assert_eq!(f.init(Some((8, 3))), failed(ErrorCode::ProducerFenced));
    assert_eq!(f.init(Some((7, 3))), producer(7, 4));
    // The answer was lost.
    assert_eq!(f.init(Some((7, 3))), producer(7, 4));
    // Somebody else has come in between.
    assert_eq!(f.init(None), producer(7, 5));
    assert_eq!(f.init(Some((7, 4))), failed(ErrorCode::ProducerFenced));
}

#[test]
fn who_takes_over_has_the_open_transaction_aborted_first() {
    for (transaction_version, last_epoch) in [(2, 3), (0, -1)] {
        let mut f = found(TxnStatus::Ongoing, 3, |_| ());
        f.transaction_version = transaction_version;
        assert_eq!(f.init(None), failed(ErrorCode::ConcurrentTransactions));
        assert_eq!(f.state(), (TxnStatus::PrepareAbort, 7, 4));
        assert_eq!(f.current().last_producer_epoch, last_epoch);
        let task = &f.markers[0];
        assert_eq!((task.commit, task.producer_epoch, task.coordinator_epoch), (false, 4, 6));
        assert_eq!((task.transaction_version, task.partitions.len()), (transaction_version, 2));
        assert_eq!(f.init(None), failed(ErrorCode::ConcurrentTransactions));
        f.mark(ErrorCode::None);
        assert_eq!(f.state(), (TxnStatus::CompleteAbort, 7, 4));
        assert_eq!(f.init(None), producer(7, 5));
    }
}

#[test]
fn used_up_epochs_give_way_to_a_fresh_id() {
    let mut f = found(TxnStatus::Empty, i16::MAX - 1, |_| ());
    assert_eq!(f.init(Some((7, 5))), failed(ErrorCode::UnknownServerError));
    assert_eq!(f.init(Some((7, i16::MAX - 1))), producer(100, 0));
    // The answer was lost: by the id before, whose last epoch it was.
    assert_eq!(f.init(Some((7, i16::MAX - 1))), producer(100, 0));
    assert_eq!(f.init(Some((7, 12))), failed(ErrorCode::ProducerFenced));
    assert_eq!(f.init(None), producer(100, 1));
}

#[test]
fn partitions_are_added_once() {
    let mut f = found(TxnStatus::CompleteCommit, 3, |txn| txn.start_ms = 5);
    assert_eq!(f.add((7, 3), &[0]), TxnReply::Added);
    assert_eq!((f.state(), f.written().start_ms), ((TxnStatus::Ongoing, 7, 3), f.now.wall_ms));
    let (began, records) = (f.now.wall_ms, f.log.records.len());
    f.now = f.now.plus(Duration::from_millis(50));
    assert_eq!(f.add((7, 3), &[0]), TxnReply::Added);
    assert_eq!(f.log.records.len(), records);
    assert_eq!(f.add((7, 3), &[0, 1]), TxnReply::Added);
    assert_eq!((f.written().start_ms, f.written().updated_ms), (began, began + 50));
    assert_eq!(f.written().partitions.len(), 2);
}

#[test]
fn adding_and_verifying_refuse_the_same() {
    let cases = [
        (TxnStatus::Ongoing, (8, 3), ErrorCode::InvalidProducerIdMapping),
        (TxnStatus::Ongoing, (7, 2), ErrorCode::ProducerFenced),
        (TxnStatus::Ongoing, (7, 4), ErrorCode::ProducerFenced),
        (TxnStatus::PrepareCommit, (7, 3), ErrorCode::ConcurrentTransactions),
        (TxnStatus::PrepareAbort, (7, 3), ErrorCode::ConcurrentTransactions),
    ];
    for (status, producer, error) in cases {
        let mut f = found(status, 3, |txn| txn.partitions = [tp(0)].into());
        let verdict = f.one(|shard, _, token| shard.verify_partitions(token, ID, producer, &[tp(0)]));
        assert_eq!(verdict, TxnReply::Verified(vec![(tp(0), error)]), "{status:?} {producer:?}");
        // A prepared transaction has a transition under way, which is looked at first.
        assert_eq!(f.add(producer, &[0]), failed(error), "{status:?} {producer:?}");
    }
    let mut f = found(TxnStatus::Ongoing, 3, |_| ());
    let verdicts = f.one(|shard, _, token| shard.verify_partitions(token, ID, (7, 3), &[tp(1), tp(2)]));
    assert_eq!(verdicts, TxnReply::Verified(vec![(tp(1), ErrorCode::None), (tp(2), ErrorCode::TransactionAbortable)]));
    let mut f = fixture();
    assert_eq!(f.add((7, 3), &[0]), failed(ErrorCode::InvalidProducerIdMapping));
}
