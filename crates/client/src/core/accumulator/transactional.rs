//! Owns: what a transaction means for batches: which partitions are in it, what fails with it, when numbering starts again. Part of the
//! accumulator; the state of the transaction itself is `core::transaction`'s. Kafka: the parts of `Sender` and `RecordAccumulator` that ask
//! the `TransactionManager`, `RecordAccumulator.abortUndrainedBatches`.

use super::{Accumulator, Batches};
use crate::core::batch::{BatchFailure, Outcome};
use crate::core::idempotence::{ProducerId, Sequences};
use crate::core::transaction::{Answer, CallResult, Next, State, Transactions};
use crate::core::versions::FinalizedFeatures;
use crate::driver::CoordinatorKind;
use crate::error::{Error, Result};
use base::{Instant, TopicPartition};
use std::sync::Arc;

impl Accumulator {
    pub fn is_transactional(&self) -> bool {
        self.transactions.is_some()
    }

    pub fn transactions(&self) -> Option<&Transactions> {
        self.transactions.as_ref()
    }

    /// A call of the application on the transaction.
    pub fn transact<T>(&mut self, call: impl FnOnce(&mut Transactions, Option<ProducerId>) -> Result<T>) -> Result<T> {
        let Some(transactions) = &mut self.transactions else {
            return Err(Error::IllegalState(
                "Cannot use transactional methods without enabling transactions by setting the transactional.id configuration property"
                    .to_owned(),
            ));
        };
        call(transactions, self.producer)
    }

    /// The application knows how this call ended.
    pub fn acknowledge(&mut self, result: &CallResult) {
        if let Some(transactions) = &mut self.transactions {
            transactions.acknowledge(result);
        }
    }

    /// Nothing can be sent any more, now or later.
    pub fn has_fatal_error(&self) -> bool {
        self.fatal.is_some() || self.transactions.as_ref().is_some_and(|transactions| transactions.state() == State::FatalError)
    }

    pub fn check_open(&self) -> Result<()> {
        if self.closing {
            return Err(Error::Closed("Cannot perform operation after producer has been closed".into()));
        }
        Ok(())
    }

    /// What the coordinator is to be told next.
    pub fn next_transaction_request(&mut self, now: Instant) -> Next {
        let incomplete = !self.is_empty();
        let Some(transactions) = &mut self.transactions else { return Next::Nothing };
        let topics = &self.topics;
        transactions.next(self.producer, incomplete, now, |(topic, number)| TopicPartition::new(&*topics[topic].name, number))
    }

    /// The coordinator's answer; names the coordinator to be found again.
    pub fn transaction_answered(&mut self, answer: Answer, features: FinalizedFeatures, now: Instant) -> Option<CoordinatorKind> {
        let transactions = self.transactions.as_mut()?;
        let effects = transactions.answered(answer, features, now);
        for (topic, number) in effects.joined {
            self.topics[topic].partitions[number as usize].joined = true;
        }
        if let Some(producer) = effects.producer {
            self.producer = Some(producer);
            // No batch is under way between transactions.
            for partition in self.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
                partition.sequences = Sequences::default();
            }
        }
        effects.forget
    }

    /// A record could not be sent: without it the transaction is not what the application meant.
    pub fn send_failed(&mut self, error: &Error) {
        if let (Some(transactions), Error::Broker { .. } | Error::Timeout(_)) = (&mut self.transactions, error) {
            transactions.failed(error);
        }
    }

    /// Fails what waits in vain: in a transaction that will be aborted everything that never left, with a lost producer everything. What left
    /// without an answer goes on until it has one, lest it arrive after the transaction's end.
    pub(super) fn abandon_batches(&mut self) {
        let Some(transactions) = &self.transactions else { return };
        let last_error = || transactions.last_error().cloned().unwrap_or(Error::TransactionAborted);
        let (error, all) = match transactions.state() {
            State::FatalError => (last_error(), true),
            State::AbortableError => (last_error(), false),
            State::Aborting => (Error::TransactionAborted, false),
            _ => return,
        };
        let places: Vec<(usize, i32)> = self.active.iter().copied().collect();
        for (topic, number) in places {
            let partition = &mut self.topics[topic].partitions[number as usize];
            let mut abandoned = if all { std::mem::take(&mut partition.held) } else { Batches::new() };
            let waiting = std::mem::take(&mut partition.queue);
            let (lost, kept): (Batches, Batches) =
                waiting.into_iter().partition(|batch| all || partition.sequences.find(batch.id).is_none());
            partition.queue = kept;
            abandoned.extend(lost);
            for batch in &abandoned {
                partition.sequences.failed(batch.id);
            }
            for batch in abandoned {
                let failure = BatchFailure { error: error.clone(), by_record: Vec::new() };
                self.counters.records_failed += batch.count as u64;
                self.finish(topic, number, *batch, Outcome::Failed(Arc::new(failure)));
            }
        }
    }

    /// The batches that are held in doubt cannot be told from a gap any more.
    pub(super) fn fail_held(&mut self, topic: usize, number: i32, failure: &BatchFailure) {
        let partition = &mut self.topics[topic].partitions[number as usize];
        for batch in std::mem::take(&mut partition.held) {
            self.topics[topic].partitions[number as usize].sequences.failed(batch.id);
            self.counters.records_failed += batch.count as u64;
            let failure = BatchFailure { error: failure.error.clone(), by_record: Vec::new() };
            self.finish(topic, number, *batch, Outcome::Failed(Arc::new(failure)));
        }
    }

    /// Whether the transaction will be aborted, so that nothing is gained by another attempt whose end is known.
    pub(super) fn transaction_is_lost(&self) -> bool {
        let state = self.transactions.as_ref().map(Transactions::state);
        matches!(state, Some(State::AbortableError | State::Aborting | State::FatalError))
    }
}
