//! Batches in transactions, under a clock that the test moves.

use super::tests::{Bench, config};
use super::*;
use crate::core::transaction::{Answer, Call, Next, State};
use crate::core::versions::FinalizedFeatures;
use wire::ErrorCode;

const P: ProducerId = ProducerId { id: 9, epoch: 0 };

fn bench(transaction_version: i16) -> (Bench, FinalizedFeatures) {
    let features = FinalizedFeatures { epoch: 1, transaction_version };
    let transaction = TransactionConfig { id: "tx".into(), timeout_ms: 60_000, retry_backoff: Duration::from_millis(100) };
    let mut bench = Bench::new(AccumulatorConfig { transaction: Some(transaction), ..config() });
    let init = bench.accumulator.transact(|transactions, _| transactions.init(None)).unwrap();
    call(&mut bench);
    let now = bench.now;
    bench.accumulator.transaction_answered(Answer::InitProducerId { code: ErrorCode::None, producer: P, bumps: true }, features, now);
    bench.accumulator.acknowledge(&init);
    bench.accumulator.transact(|transactions, producer| transactions.begin(producer)).unwrap();
    (bench, features)
}

fn call(bench: &mut Bench) -> Call {
    match bench.accumulator.next_transaction_request(bench.now) {
        Next::Send(request) => request.call,
        other => panic!("{other:?}"),
    }
}

fn state(bench: &Bench) -> State {
    bench.accumulator.transactions().unwrap().state()
}

#[test]
fn batches_wait_until_their_partition_is_in_the_transaction() {
    let (mut bench, features) = bench(1);
    bench.append(1, 900).unwrap();
    bench.pass(5);
    assert!(bench.send().is_none());
    let Call::AddPartitions(partitions) = call(&mut bench) else { panic!("another request") };
    assert_eq!(partitions, [base::TopicPartition::new("t", 0)]);
    let now = bench.now;
    bench.accumulator.transaction_answered(Answer::AddPartitions(vec![(partitions[0].clone(), ErrorCode::None)]), features, now);
    assert!(bench.send().is_some());
}

#[test]
fn a_commit_does_not_linger_and_ends_when_all_is_answered() {
    let (mut bench, features) = bench(2);
    bench.append(1, 10).unwrap();
    assert!(bench.send().is_none(), "lingers");
    let commit = bench.accumulator.transact(|transactions, producer| transactions.commit(producer, features)).unwrap();
    let (request, _) = bench.send().unwrap();
    assert_eq!(bench.accumulator.next_transaction_request(bench.now), Next::Nothing);
    bench.answer(request, ErrorCode::None, 0);
    bench.reported();
    assert_eq!(call(&mut bench), Call::End { commit: true });
    let (bumped, now) = (ProducerId { epoch: 1, ..P }, bench.now);
    bench.accumulator.transaction_answered(Answer::End { code: ErrorCode::None, producer: Some(bumped) }, features, now);
    assert_eq!(commit.get(), Some(&Ok(())));
    bench.accumulator.acknowledge(&commit);
    assert!(bench.append(2, 10).is_err(), "outside of a transaction");
    bench.accumulator.transact(|transactions, producer| transactions.begin(producer)).unwrap();
    bench.append(2, 900).unwrap();
    bench.pass(5);
    let (_, batches) = bench.send().unwrap();
    assert_eq!((batches[0].1, batches[0].2), (0, 1), "numbering starts again with the new epoch");
}

#[test]
fn an_abort_drops_what_never_left_and_waits_for_the_rest() {
    let (mut bench, features) = bench(2);
    bench.append(1, 900).unwrap();
    bench.pass(5);
    let (request, _) = bench.send().unwrap();
    bench.append(2, 900).unwrap();
    bench.accumulator.transact(|transactions, producer| transactions.abort(producer, features)).unwrap();
    assert!(bench.send().is_none());
    assert_eq!(bench.reported(), [(vec![2], false)]);
    assert_eq!(bench.accumulator.next_transaction_request(bench.now), Next::Nothing, "the broker may have the first");
    bench.answer(request, ErrorCode::NetworkException, -1);
    bench.pass(1_000);
    let (request, _) = bench.send().expect("another attempt, as nobody knows of the one before");
    bench.answer(request, ErrorCode::None, 0);
    bench.reported();
    assert_eq!(call(&mut bench), Call::End { commit: false });
}

#[test]
fn a_gap_ends_the_transaction_with_everything_that_was_held() {
    let (mut bench, _) = bench(2);
    bench.append(0, 900).unwrap();
    bench.pass(5);
    let (first, _) = bench.send().unwrap();
    bench.answer(first, ErrorCode::None, 0);
    bench.reported();
    bench.append(1, 900).unwrap();
    bench.append(2, 900).unwrap();
    bench.pass(5);
    let (one, _) = bench.send().unwrap();
    let (two, _) = bench.send().unwrap();
    bench.answer(one, ErrorCode::NetworkException, -1);
    bench.answer(two, ErrorCode::NetworkException, -1);
    bench.pass(1_000);
    let (one, _) = bench.send().unwrap();
    bench.answer(one, ErrorCode::OutOfOrderSequenceNumber, -1);
    assert_eq!(state(&bench), State::InTransaction, "in doubt: the broker may have both");
    let (two, _) = bench.send().unwrap();
    bench.answer(two, ErrorCode::OutOfOrderSequenceNumber, -1);
    assert_eq!(state(&bench), State::AbortableError);
    let mut failed = bench.reported();
    failed.sort();
    assert_eq!(failed, [(vec![1], false), (vec![2], false)]);
    assert!(bench.accumulator.is_empty());
}

#[test]
fn a_record_that_cannot_be_sent_spoils_the_transaction() {
    let (mut bench, features) = bench(2);
    let Err(Blocked::Failed(error)) = bench.append(1, 6_000) else { panic!("accepted") };
    bench.accumulator.send_failed(&error);
    assert_eq!(state(&bench), State::AbortableError);
    assert!(bench.accumulator.transact(|transactions, producer| transactions.commit(producer, features)).is_err());
    assert!(bench.accumulator.transact(|transactions, producer| transactions.abort(producer, features)).is_ok());
}
