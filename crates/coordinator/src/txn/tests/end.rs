//! EndTxn, in both generations of the protocol.

use super::*;

/// One request against one state: the answer, and the state that is prepared.
fn check(status: TxnStatus, client_version: i16, producer: (i64, i16), commit: bool, version: i16) -> (TxnReply, TxnStatus) {
    let mut f = found(status, 3, |txn| txn.client_version = client_version);
    (f.end(producer, commit, version), f.current().status)
}

#[test]
fn the_older_protocol_ends_what_is_open() {
    use TxnStatus::*;
    let none = producer(-1, -1);
    let invalid = failed(ErrorCode::InvalidTxnState);
    let concurrent = failed(ErrorCode::ConcurrentTransactions);
    let cases = [
        (Ongoing, true, &none, PrepareCommit),
        (Ongoing, false, &none, PrepareAbort),
        (Empty, true, &invalid, Empty),
        (Empty, false, &invalid, Empty),
        (CompleteCommit, true, &none, CompleteCommit),
        (CompleteCommit, false, &invalid, CompleteCommit),
        (CompleteAbort, true, &invalid, CompleteAbort),
        (CompleteAbort, false, &none, CompleteAbort),
    ];
    for (status, commit, reply, then) in cases {
        assert_eq!(check(status, 0, (7, 3), commit, 0), (reply.clone(), then), "{status:?} {commit}");
    }
    let mut f = found(PrepareCommit, 3, |txn| txn.partitions = [tp(0)].into());
    assert_eq!(f.end((7, 3), true, 0), concurrent);
    assert_eq!(check(Ongoing, 0, (8, 3), true, 0), (failed(ErrorCode::InvalidProducerIdMapping), Ongoing));
    assert_eq!(check(Ongoing, 0, (7, 2), true, 0), (failed(ErrorCode::ProducerFenced), Ongoing));
    assert_eq!(check(Ongoing, 0, (7, 4), true, 0), (failed(ErrorCode::ProducerFenced), Ongoing));
}

#[test]
fn transactions_v2_tell_a_repeated_end_from_the_next_one() {
    use TxnStatus::*;
    let invalid = failed(ErrorCode::InvalidTxnState);
    let fenced = failed(ErrorCode::ProducerFenced);
    let (repeated, current) = ((7, 2), (7, 3));
    let cases = [
        (Empty, repeated, false, &fenced),
        (Empty, repeated, true, &fenced),
        (Empty, current, false, &producer(7, 4)),
        (Empty, current, true, &invalid),
        (CompleteAbort, repeated, false, &producer(7, 3)),
        (CompleteAbort, repeated, true, &invalid),
        (CompleteAbort, current, false, &producer(7, 4)),
        (CompleteAbort, current, true, &invalid),
        (CompleteCommit, repeated, false, &invalid),
        (CompleteCommit, repeated, true, &producer(7, 3)),
        (CompleteCommit, current, false, &producer(7, 4)),
        (CompleteCommit, current, true, &invalid),
        (Ongoing, repeated, true, &fenced),
        (Ongoing, current, true, &producer(7, 4)),
        (Ongoing, current, false, &producer(7, 4)),
        (Ongoing, (7, 4), true, &fenced),
        (Ongoing, (8, 3), true, &failed(ErrorCode::InvalidProducerIdMapping)),
    ];
    for (status, by, commit, reply) in cases {
        assert_eq!(&check(status, 2, by, commit, 2).0, reply, "{status:?} {by:?} {commit}");
    }
}

#[test]
fn an_end_in_the_older_protocol_lets_nobody_back_in() {
    let (reply, _) = check(TxnStatus::CompleteAbort, 0, (7, 2), false, 2);
    assert_eq!(reply, failed(ErrorCode::ProducerFenced));
}

#[test]
fn an_abort_of_nothing_takes_the_next_epoch_and_needs_no_marker() {
    let mut f = found(TxnStatus::Empty, 3, |_| ());
    assert_eq!(f.end((7, 3), false, 2), producer(7, 4));
    assert_eq!(f.state(), (TxnStatus::CompleteAbort, 7, 4));
    assert!(f.markers.is_empty());
    assert_eq!(f.log.records.len(), 3);
    assert_eq!(f.written().start_ms, f.now.wall_ms);
}

#[test]
fn the_answer_to_an_end_does_not_wait_for_its_markers() {
    let mut f = found(TxnStatus::Ongoing, 3, |_| ());
    assert_eq!(f.end((7, 3), true, 2), producer(7, 4));
    assert_eq!(f.markers[0].producer_epoch, 4);
    for commit in [true, false] {
        assert_eq!(f.end((7, 3), commit, 2), failed(ErrorCode::ConcurrentTransactions));
    }
    f.mark(ErrorCode::None);
    assert_eq!(f.state(), (TxnStatus::CompleteCommit, 7, 4));
    assert_eq!((f.written().status, f.written().partitions.len(), f.written().client_version), (TxnStatus::CompleteCommit, 0, 2));
    assert_eq!(f.end((7, 3), true, 2), producer(7, 4));
}

#[test]
fn the_last_epoch_ends_with_a_change_of_the_producer_id() {
    let last = i16::MAX - 1;
    let mut f = found(TxnStatus::Ongoing, last, |_| ());
    assert_eq!(f.end((7, last), true, 2), producer(100, 0));
    assert_eq!((f.markers[0].producer_id, f.markers[0].producer_epoch), (7, i16::MAX));
    assert_eq!((f.written().producer_id, f.written().next_producer_id), (7, 100));
    f.reload();
    f.markers.remove(0);
    f.mark(ErrorCode::None);
    assert_eq!(f.state(), (TxnStatus::CompleteCommit, 100, 0));
    assert_eq!((f.written().prev_producer_id, f.written().next_producer_id), (7, -1));
    assert_eq!(f.end((7, last), true, 2), producer(100, 0));
    assert_eq!(f.end((7, last), false, 2), failed(ErrorCode::InvalidTxnState));
    assert_eq!(f.add((100, 0), &[0]), TxnReply::Added);
    assert_eq!(f.end((7, last), true, 2), failed(ErrorCode::InvalidProducerIdMapping));
}

#[test]
fn without_a_fresh_id_the_last_epoch_stays_open() {
    let last = i16::MAX - 1;
    let mut f = found(TxnStatus::Ongoing, last, |_| ());
    f.next_id = Err(ErrorCode::CoordinatorLoadInProgress);
    assert_eq!(f.end((7, last), true, 2), failed(ErrorCode::CoordinatorLoadInProgress));
    assert_eq!(f.state(), (TxnStatus::Ongoing, 7, last));
    f.next_id = Ok(100);
    assert_eq!(f.end((7, last), true, 2), producer(100, 0));
}

#[test]
fn a_broken_epoch_can_be_aborted_but_not_committed() {
    let mut f = found(TxnStatus::Ongoing, i16::MAX, |_| ());
    assert_eq!(f.end((7, i16::MAX), true, 2), failed(ErrorCode::UnknownServerError));
    assert_eq!(f.end((7, i16::MAX), false, 2), producer(101, 0));
    assert_eq!(f.markers[0].producer_epoch, i16::MAX);
}
