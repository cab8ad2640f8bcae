//! The state of a transactional producer against answers that a test makes up.

use super::*;
use crate::driver::CoordinatorKind;

const P: ProducerId = ProducerId { id: 7, epoch: 3 };
const V1: FinalizedFeatures = FinalizedFeatures { epoch: 1, transaction_version: 1 };
const V2: FinalizedFeatures = FinalizedFeatures { epoch: 2, transaction_version: 2 };
const PLACE: Place = (0, 4);

struct Bench {
    transactions: Transactions,
    producer: Option<ProducerId>,
    features: FinalizedFeatures,
    now: Instant,
}

impl Bench {
    fn new(features: FinalizedFeatures) -> Self {
        let config = TransactionConfig { id: "tx".into(), timeout_ms: 60_000, retry_backoff: Duration::from_millis(100) };
        Self { transactions: Transactions::new(config), producer: None, features, now: Instant::ZERO + Duration::from_secs(1) }
    }

    /// After init_transactions, with its end acknowledged.
    fn ready(features: FinalizedFeatures) -> Self {
        let mut bench = Self::new(features);
        let result = bench.transactions.init(None).unwrap();
        assert_eq!(bench.call(), Call::InitProducerId { timeout_ms: 60_000 });
        bench.answer(Answer::InitProducerId { code: ErrorCode::None, producer: P, bumps: true });
        bench.ended_well(&result);
        bench
    }

    /// In a transaction of the first generation with one partition in it.
    fn with_partition() -> Self {
        let mut bench = Self::ready(V1);
        bench.transactions.begin(bench.producer).unwrap();
        assert!(!bench.transactions.add_partition(PLACE));
        assert_eq!(bench.call(), Call::AddPartitions(vec![tp()]));
        assert_eq!(bench.answer(Answer::AddPartitions(vec![(tp(), ErrorCode::None)])).joined, [PLACE]);
        bench
    }

    fn next(&mut self, incomplete: bool) -> Next {
        self.transactions.next(self.producer, incomplete, self.now, |(_, number)| TopicPartition::new("t", number))
    }

    fn request(&mut self) -> TransactionRequest {
        match self.next(false) {
            Next::Send(request) => request,
            other => panic!("{other:?}"),
        }
    }

    fn call(&mut self) -> Call {
        self.request().call
    }

    fn answer(&mut self, answer: Answer) -> Effects {
        let effects = self.transactions.answered(answer, self.features, self.now);
        self.producer = effects.producer.or(self.producer);
        effects
    }

    fn commit(&mut self) -> CallResult {
        self.transactions.commit(self.producer, self.features).unwrap()
    }

    fn abort(&mut self) -> CallResult {
        self.transactions.abort(self.producer, self.features).unwrap()
    }

    fn ended_well(&mut self, result: &CallResult) {
        assert_eq!(result.get(), Some(&Ok(())));
        self.transactions.acknowledge(result);
    }

    /// The code of the error that a call ended with.
    fn failed(&mut self, result: &CallResult) -> ErrorCode {
        self.transactions.acknowledge(result);
        result.get().unwrap().as_ref().unwrap_err().code().unwrap()
    }
}

fn tp() -> TopicPartition {
    TopicPartition::new("t", 4)
}

fn ok_end() -> Answer {
    Answer::End { code: ErrorCode::None, producer: None }
}

#[test]
fn the_first_generation_adds_partitions_and_keeps_its_epoch() {
    let mut bench = Bench::with_partition();
    let commit = bench.commit();
    assert_eq!(bench.next(true), Next::Nothing, "batches are under way");
    let request = bench.request();
    assert_eq!((request.call, request.version2, request.producer), (Call::End { commit: true }, false, Some(P)));
    assert_eq!(bench.answer(ok_end()), Effects::default());
    bench.ended_well(&commit);
    assert!(bench.transactions.begin(bench.producer).is_ok());
}

#[test]
fn the_second_generation_goes_on_with_the_epoch_of_the_answer() {
    let mut bench = Bench::ready(V2);
    bench.transactions.begin(bench.producer).unwrap();
    assert!(bench.transactions.add_partition(PLACE));
    assert_eq!(bench.next(false), Next::Nothing);
    let commit = bench.commit();
    let request = bench.request();
    assert_eq!((request.call, request.version2), (Call::End { commit: true }, true));
    let bumped = ProducerId { epoch: 4, ..P };
    assert_eq!(bench.answer(Answer::End { code: ErrorCode::None, producer: Some(bumped) }).producer, Some(bumped));
    bench.ended_well(&commit);
}

#[test]
fn an_empty_transaction_asks_nobody() {
    for features in [V1, V2] {
        let mut bench = Bench::ready(features);
        bench.transactions.begin(bench.producer).unwrap();
        let commit = bench.commit();
        assert_eq!(bench.next(false), Next::Finished);
        bench.ended_well(&commit);
        bench.transactions.begin(bench.producer).unwrap();
        let abort = bench.abort();
        assert_eq!(bench.next(false), Next::Finished);
        bench.ended_well(&abort);
    }
}

#[test]
fn a_batch_that_failed_ends_in_an_abort_and_a_new_epoch() {
    let mut bench = Bench::with_partition();
    let commit = bench.commit();
    bench.transactions.failed(&Error::broker(ErrorCode::MessageTooLarge, None));
    assert_eq!(bench.failed(&commit), ErrorCode::MessageTooLarge);
    let text = bench.transactions.commit(bench.producer, V1).unwrap_err().to_string();
    assert!(text.starts_with("Cannot execute transactional method because we are in an error state"), "{text}");
    let abort = bench.abort();
    assert_eq!(bench.call(), Call::End { commit: false });
    bench.answer(ok_end());
    assert_eq!(abort.get(), None, "the numbering is broken");
    let request = bench.request();
    assert_eq!((request.call, request.producer), (Call::InitProducerId { timeout_ms: 60_000 }, Some(P)));
    bench.answer(Answer::InitProducerId { code: ErrorCode::None, producer: ProducerId { epoch: 4, ..P }, bumps: true });
    bench.ended_well(&abort);
    assert_eq!(bench.transactions.state(), State::Ready);
}

#[test]
fn retriable_failures_abort_and_fatal_ones_end_the_producer() {
    let mut bench = Bench::ready(V2);
    bench.transactions.begin(bench.producer).unwrap();
    bench.transactions.failed(&Error::Timeout("late".into()));
    assert_eq!(bench.transactions.last_error().unwrap().code(), Some(ErrorCode::TransactionAbortable));
    bench.transactions.failed(&Error::broker(ErrorCode::ProducerFenced, None));
    assert_eq!(bench.transactions.state(), State::FatalError);
    let error = bench.transactions.begin(bench.producer).unwrap_err();
    let fenced =
        "Producer with transactionalId 'tx' and (producerId=7, epoch=3) has been fenced by another producer with the same transactionalId";
    assert_eq!(error, Error::broker(ErrorCode::ProducerFenced, Some(fenced.into())));
    assert!(bench.transactions.abort(bench.producer, V2).is_err());
}

#[test]
fn lost_answers_and_moved_coordinators_are_tried_again_after_a_pause() {
    let mut bench = Bench::with_partition();
    let commit = bench.commit();
    for (answer, forget) in [
        (Answer::None(CoordinatorKind::Transaction), Some(CoordinatorKind::Transaction)),
        (Answer::End { code: ErrorCode::NotCoordinator, producer: None }, Some(CoordinatorKind::Transaction)),
        (Answer::End { code: ErrorCode::ConcurrentTransactions, producer: None }, None),
        (Answer::End { code: ErrorCode::CoordinatorLoadInProgress, producer: None }, None),
    ] {
        assert_eq!(bench.call(), Call::End { commit: true });
        assert_eq!(bench.next(false), Next::Nothing, "one at a time");
        assert_eq!(bench.answer(answer).forget, forget);
        let later = bench.now + Duration::from_millis(100);
        assert_eq!(bench.next(false), Next::At(later));
        bench.now = later;
    }
    assert_eq!(bench.call(), Call::End { commit: true });
    bench.answer(ok_end());
    bench.ended_well(&commit);
}

#[test]
fn the_first_partition_waits_less_for_the_transaction_before() {
    let mut bench = Bench::ready(V1);
    bench.transactions.begin(bench.producer).unwrap();
    bench.transactions.add_partition(PLACE);
    bench.call();
    bench.answer(Answer::AddPartitions(vec![(tp(), ErrorCode::ConcurrentTransactions)]));
    bench.transactions.add_partition((0, 5));
    let later = bench.now + Duration::from_millis(20);
    assert_eq!(bench.next(false), Next::At(later));
    bench.now = later;
    assert_eq!(bench.call(), Call::AddPartitions(vec![tp(), TopicPartition::new("t", 5)]), "both in one request");
}

#[test]
fn an_abort_waits_for_partitions_whose_fate_is_unknown() {
    let mut bench = Bench::ready(V1);
    bench.transactions.begin(bench.producer).unwrap();
    bench.transactions.add_partition(PLACE);
    bench.call();
    let abort = bench.abort();
    bench.answer(Answer::None(CoordinatorKind::Transaction));
    bench.now = bench.now + Duration::from_millis(100);
    assert_eq!(bench.call(), Call::AddPartitions(vec![tp()]));
    bench.answer(Answer::AddPartitions(vec![(tp(), ErrorCode::None)]));
    assert_eq!(bench.call(), Call::End { commit: false });
    bench.answer(ok_end());
    bench.ended_well(&abort);
}

#[test]
fn offsets_join_before_the_end() {
    let offsets = || vec![(tp(), OffsetAndMetadata::new(5)), (TopicPartition::new("t", 5), OffsetAndMetadata::new(6))];
    let group = GroupMetadata::new("g");
    let mut bench = Bench::ready(V1);
    bench.transactions.begin(bench.producer).unwrap();
    let sent = bench.transactions.send_offsets(bench.producer, offsets(), group.clone()).unwrap();
    assert_eq!(bench.call(), Call::AddOffsets { group_id: "g".into() });
    bench.answer(Answer::AddOffsets(ErrorCode::None));
    assert_eq!(bench.call(), Call::CommitOffsets { group: group.clone(), offsets: offsets() });
    let half = vec![(tp(), ErrorCode::None), (TopicPartition::new("t", 5), ErrorCode::NotCoordinator)];
    assert_eq!(bench.answer(Answer::CommitOffsets(half)).forget, Some(CoordinatorKind::Group));
    bench.now = bench.now + Duration::from_millis(100);
    let rest = offsets().split_off(1);
    assert_eq!(bench.call(), Call::CommitOffsets { group: group.clone(), offsets: rest.clone() });
    bench.answer(Answer::CommitOffsets(vec![(rest[0].0.clone(), ErrorCode::None)]));
    assert_eq!(sent.get(), Some(&Ok(())));

    let mut bench = Bench::ready(V2);
    bench.transactions.begin(bench.producer).unwrap();
    let sent = bench.transactions.send_offsets(bench.producer, offsets(), group.clone()).unwrap();
    assert_eq!(bench.call(), Call::CommitOffsets { group, offsets: offsets() });
    bench.answer(Answer::CommitOffsets(vec![(tp(), ErrorCode::IllegalGeneration)]));
    assert_eq!(bench.failed(&sent), ErrorCode::IllegalGeneration);
    assert_eq!(bench.transactions.state(), State::AbortableError);
    bench.abort();
    assert_eq!(bench.call(), Call::End { commit: false });
}

#[test]
fn a_call_that_ran_out_of_time_is_repeated_before_any_other() {
    let mut bench = Bench::with_partition();
    let first = bench.commit();
    let text = "Cannot attempt operation `abortTransaction` because the previous call to `commitTransaction` timed out and must be retried";
    assert_eq!(bench.transactions.abort(bench.producer, V1).unwrap_err(), Error::IllegalState(text.into()));
    bench.call();
    bench.answer(ok_end());
    let text = text.replace("abortTransaction", "beginTransaction");
    assert_eq!(bench.transactions.begin(bench.producer).unwrap_err(), Error::IllegalState(text));
    let again = bench.commit();
    assert!(Arc::ptr_eq(&first, &again));
    bench.ended_well(&again);
    assert!(bench.transactions.begin(bench.producer).is_ok());
}

#[test]
fn an_upgrade_to_the_second_generation_takes_effect_with_the_next_transaction() {
    let mut bench = Bench::with_partition();
    bench.features = V2;
    let commit = bench.commit();
    assert!(!bench.request().version2);
    bench.answer(ok_end());
    assert_eq!(bench.request().producer, Some(P), "an epoch of its own");
    bench.answer(Answer::InitProducerId { code: ErrorCode::None, producer: ProducerId { epoch: 4, ..P }, bumps: true });
    bench.ended_well(&commit);
    bench.transactions.begin(bench.producer).unwrap();
    assert!(bench.transactions.add_partition(PLACE));
}

#[test]
fn fencing_and_refusals_by_the_coordinator() {
    for (code, state, told) in [
        (ErrorCode::ProducerFenced, State::FatalError, ErrorCode::ProducerFenced),
        (ErrorCode::InvalidProducerEpoch, State::FatalError, ErrorCode::ProducerFenced),
        (ErrorCode::InvalidTxnState, State::FatalError, ErrorCode::InvalidTxnState),
        (ErrorCode::TransactionAbortable, State::AbortableError, ErrorCode::TransactionAbortable),
        (ErrorCode::UnknownProducerId, State::AbortableError, ErrorCode::UnknownProducerId),
        (ErrorCode::PolicyViolation, State::FatalError, ErrorCode::PolicyViolation),
    ] {
        let mut bench = Bench::with_partition();
        let commit = bench.commit();
        bench.call();
        bench.answer(Answer::End { code, producer: None });
        assert_eq!((bench.transactions.state(), bench.failed(&commit)), (state, told), "{code}");
    }
    let mut bench = Bench::with_partition();
    let abort = bench.abort();
    bench.call();
    bench.answer(Answer::End { code: ErrorCode::TransactionAbortable, producer: None });
    assert_eq!(bench.transactions.state(), State::FatalError, "an abort is not followed by another");
    assert_eq!(bench.failed(&abort), ErrorCode::TransactionAbortable);
}

#[test]
fn permission_to_be_a_producer_can_be_asked_for_again() {
    let mut bench = Bench::new(V2);
    let init = bench.transactions.init(None).unwrap();
    bench.call();
    bench.answer(Answer::InitProducerId { code: ErrorCode::TransactionalIdAuthorizationFailed, producer: P, bumps: true });
    assert_eq!(bench.failed(&init), ErrorCode::TransactionalIdAuthorizationFailed);
    assert!(bench.transactions.init(None).is_ok());
}
