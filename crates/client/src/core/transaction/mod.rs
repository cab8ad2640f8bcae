//! Owns: the state of a transactional producer: what the application may call now, which request the coordinator gets next, and what an error
//! means for the transaction. Used by: the accumulator, under its lock; the sender task carries the requests. Pure. Both generations of the
//! protocol: before transaction.version 2 partitions and groups are added by requests of their own and a broken transaction is followed by an
//! epoch from InitProducerId; since then (KIP-890) adding is implied and every EndTxn answers with the next epoch.
//! Never does: two-phase commit (KIP-939). Kafka: `TransactionManager`, `TransactionalRequestResult`.

mod answer;
mod request;
#[cfg(test)]
mod tests;

pub use answer::{Answer, Effects};
pub use request::{Call, Next, TransactionRequest};

use crate::consumer::GroupMetadata;
use crate::core::idempotence::ProducerId;
use crate::core::versions::FinalizedFeatures;
use crate::error::{Error, Result};
use crate::types::OffsetAndMetadata;
use base::{Instant, TopicPartition};
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use wire::ErrorCode;

/// A partition by the accumulator's index of its topic.
pub type Place = (usize, i32);

/// How a call ended, once it has; the caller looks at it whenever the sender made progress.
pub type CallResult = Arc<OnceLock<Result<()>>>;

#[derive(Clone, Debug)]
pub struct TransactionConfig {
    pub id: String,
    pub timeout_ms: i32,
    pub retry_backoff: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Uninitialized,
    Initializing,
    Ready,
    InTransaction,
    Committing,
    Aborting,
    AbortableError,
    FatalError,
}

impl State {
    /// The name that error texts show.
    pub fn name(self) -> &'static str {
        match self {
            State::Uninitialized => "UNINITIALIZED",
            State::Initializing => "INITIALIZING",
            State::Ready => "READY",
            State::InTransaction => "IN_TRANSACTION",
            State::Committing => "COMMITTING_TRANSACTION",
            State::Aborting => "ABORTING_TRANSACTION",
            State::AbortableError => "ABORTABLE_ERROR",
            State::FatalError => "FATAL_ERROR",
        }
    }

    /// The call that leads there, for the states that a call waits in.
    fn call(self) -> &'static str {
        match self {
            State::Committing => "commitTransaction",
            State::Aborting => "abortTransaction",
            _ => "initTransactions",
        }
    }
}

/// A call that changes the state and that the application has not seen the end of: it may run into max.block.ms and be repeated.
struct Operation {
    state: State,
    result: CallResult,
}

/// Offsets on their way into the transaction.
struct PendingOffsets {
    group: GroupMetadata,
    offsets: Vec<(TopicPartition, OffsetAndMetadata)>,
    /// The coordinator of the transaction knows the group.
    added: bool,
    result: CallResult,
}

pub struct Transactions {
    config: TransactionConfig,
    state: State,
    last_error: Option<Error>,
    /// The generation of the present transaction.
    version2: bool,
    /// The generation that the cluster has told of since.
    next_version2: bool,
    features_epoch: i64,
    /// Counts transactions; a partition whose number is another one is not in the present one.
    number: u64,
    /// The coordinator may have something to end.
    started: bool,
    /// The transaction ends with an epoch from InitProducerId, because the numbering of some partition is broken.
    bump_required: bool,
    /// InitProducerId is for the next epoch of the id that the producer has.
    bumping: bool,
    /// The coordinator grants such epochs (Kafka 2.5).
    coordinator_bumps: bool,
    operation: Option<Operation>,
    offsets: VecDeque<PendingOffsets>,
    new_partitions: Vec<Place>,
    adding: Vec<Place>,
    any_added: bool,
    in_flight: bool,
    retry_at: Instant,
}

impl Transactions {
    pub fn new(config: TransactionConfig) -> Self {
        Self {
            config,
            state: State::Uninitialized,
            last_error: None,
            version2: false,
            next_version2: false,
            features_epoch: -1,
            number: 0,
            started: false,
            bump_required: false,
            bumping: false,
            coordinator_bumps: false,
            operation: None,
            offsets: VecDeque::new(),
            new_partitions: Vec::new(),
            adding: Vec::new(),
            any_added: false,
            in_flight: false,
            retry_at: Instant::ZERO,
        }
    }

    pub fn id(&self) -> &str {
        &self.config.id
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// Whether the present transaction is of the second generation.
    pub fn version2(&self) -> bool {
        self.version2
    }

    pub fn number(&self) -> u64 {
        self.number
    }

    pub fn last_error(&self) -> Option<&Error> {
        self.last_error.as_ref()
    }

    pub fn is_completing(&self) -> bool {
        matches!(self.state, State::Committing | State::Aborting)
    }

    /// Something is open that an orderly end should settle.
    pub fn is_ongoing(&self) -> bool {
        self.is_completing() || matches!(self.state, State::InTransaction | State::AbortableError)
    }

    /// Asks for a producer id, which ends what earlier producers of this transactional id have left open.
    pub fn init(&mut self, producer: Option<ProducerId>) -> Result<CallResult> {
        self.fail_with_error(producer)?;
        if let Some(result) = self.repeated(State::Initializing)? {
            return Ok(result);
        }
        if self.state != State::Uninitialized {
            return Err(self.invalid_transition(State::Initializing));
        }
        self.state = State::Initializing;
        self.bumping = false;
        Ok(self.operation(State::Initializing))
    }

    pub fn begin(&mut self, producer: Option<ProducerId>) -> Result<()> {
        self.not_pending("beginTransaction")?;
        self.fail_with_error(producer)?;
        if self.state != State::Ready {
            return Err(self.invalid_transition(State::InTransaction));
        }
        self.state = State::InTransaction;
        self.version2 = self.next_version2;
        self.number += 1;
        Ok(())
    }

    pub fn send_offsets(
        &mut self,
        producer: Option<ProducerId>,
        offsets: Vec<(TopicPartition, OffsetAndMetadata)>,
        group: GroupMetadata,
    ) -> Result<CallResult> {
        self.not_pending("sendOffsetsToTransaction")?;
        self.fail_with_error(producer)?;
        if self.state != State::InTransaction {
            let state = self.state.name();
            let text = format!("Cannot send offsets if a transaction is not in progress (currentState= {state})");
            return Err(Error::IllegalState(text));
        }
        let result = CallResult::default();
        self.started |= self.version2;
        self.offsets.push_back(PendingOffsets { group, offsets, added: self.version2, result: result.clone() });
        Ok(result)
    }

    pub fn commit(&mut self, producer: Option<ProducerId>, features: FinalizedFeatures) -> Result<CallResult> {
        if let Some(result) = self.repeated(State::Committing)? {
            return Ok(result);
        }
        self.fail_with_error(producer)?;
        if self.state != State::InTransaction {
            return Err(self.invalid_transition(State::Committing));
        }
        Ok(self.complete(State::Committing, features))
    }

    pub fn abort(&mut self, producer: Option<ProducerId>, features: FinalizedFeatures) -> Result<CallResult> {
        if let Some(result) = self.repeated(State::Aborting)? {
            return Ok(result);
        }
        if self.state != State::AbortableError {
            self.fail_with_error(producer)?;
        }
        if !matches!(self.state, State::InTransaction | State::AbortableError) {
            return Err(self.invalid_transition(State::Aborting));
        }
        self.new_partitions.clear();
        Ok(self.complete(State::Aborting, features))
    }

    fn complete(&mut self, state: State, features: FinalizedFeatures) -> CallResult {
        self.state = state;
        self.last_error = None;
        self.take_over(features);
        // The first transaction of the new generation needs an epoch that no transaction of the old one used.
        self.bump_required |= self.next_version2 && !self.version2;
        self.operation(state)
    }

    fn take_over(&mut self, features: FinalizedFeatures) {
        if features.epoch > self.features_epoch {
            self.features_epoch = features.epoch;
            self.next_version2 = features.transaction_version >= 2;
        }
    }

    /// The application has seen how a call ended: other calls may follow.
    pub fn acknowledge(&mut self, result: &CallResult) {
        if self.operation.as_ref().is_some_and(|operation| Arc::ptr_eq(&operation.result, result)) {
            self.operation = None;
        }
    }

    /// Whether a record may be sent now.
    pub fn check_send(&self, producer: Option<ProducerId>, partition: impl Fn() -> TopicPartition) -> Result<()> {
        if self.state == State::InTransaction && self.operation.is_none() {
            return Ok(());
        }
        self.fail_with_error(producer)?;
        self.not_pending("send")?;
        let text = if producer.is_none() {
            format!("Cannot add partition {} to transaction before completing a call to initTransactions", partition())
        } else {
            format!("Cannot add partition {} to transaction while in state  {}", partition(), self.state.name())
        };
        Err(Error::IllegalState(text))
    }

    /// The first record of this transaction for a partition. True if batches of it may leave, false if the coordinator is asked first.
    pub fn add_partition(&mut self, place: Place) -> bool {
        if self.version2 {
            self.started = true;
        } else {
            self.new_partitions.push(place);
        }
        self.version2
    }

    /// Something that belongs to the transaction failed for good.
    pub fn failed(&mut self, error: &Error) {
        let fatal = matches!(
            error.code(),
            Some(
                ErrorCode::ClusterAuthorizationFailed
                    | ErrorCode::TransactionalIdAuthorizationFailed
                    | ErrorCode::ProducerFenced
                    | ErrorCode::UnsupportedVersion
                    | ErrorCode::InvalidProducerIdMapping
            )
        );
        if fatal {
            return self.fatal(error.clone());
        }
        if !self.is_ongoing() {
            return;
        }
        let error = if error.is_retriable() || error.code() == Some(ErrorCode::InvalidTxnState) {
            tracing::debug!("no more attempts: {error}");
            let text = "Transaction Request was aborted after exhausting retries.";
            Error::broker(ErrorCode::TransactionAbortable, Some(text.to_owned()))
        } else {
            error.clone()
        };
        self.bump_required |= self.client_bumps();
        self.abortable(error);
    }

    /// Batches were given up whose fate nobody knows: their numbers cannot be used again.
    pub fn lost_track(&mut self) {
        let text = "The client hasn't received acknowledgment for some previously sent messages and can no longer retry them. ";
        if self.coordinator_bumps || self.version2 {
            self.bump_required |= self.client_bumps();
            let text = format!("{text}It is safe to abort the transaction and continue.");
            self.abortable(Error::broker(ErrorCode::TransactionAbortable, Some(text)));
        } else {
            let text = format!("{text}It isn't safe to continue.");
            self.fatal(Error::broker(ErrorCode::UnknownServerError, Some(text)));
        }
    }

    /// Whether the next epoch comes from InitProducerId rather than from EndTxn.
    fn client_bumps(&self) -> bool {
        self.coordinator_bumps && !self.version2
    }

    /// The transaction can only be aborted.
    fn abortable(&mut self, error: Error) {
        match self.state {
            State::InTransaction | State::Committing | State::Initializing | State::AbortableError => {}
            // The abort is under way, or there is nothing to abort.
            _ => return,
        }
        tracing::debug!(id = self.config.id, "the transaction can only be aborted: {error}");
        self.state = State::AbortableError;
        self.fail_calls(&error);
        self.last_error = Some(error);
    }

    fn abortable_if_possible(&mut self, error: Error) {
        if self.coordinator_bumps || self.version2 {
            self.bump_required |= self.client_bumps();
            self.abortable(error);
        } else {
            self.fatal(error);
        }
    }

    /// Nothing more can be done with this producer.
    pub fn fatal(&mut self, error: Error) {
        if self.state == State::FatalError {
            return;
        }
        tracing::debug!(id = self.config.id, "the producer is at its end: {error}");
        self.state = State::FatalError;
        self.new_partitions.clear();
        self.adding.clear();
        self.fail_calls(&error);
        self.last_error = Some(error);
    }

    fn fail_calls(&mut self, error: &Error) {
        self.finish_operation(Err(error.clone()));
        for pending in self.offsets.drain(..) {
            // Nobody else sets it.
            let _ = pending.result.set(Err(error.clone()));
        }
    }

    fn finish_operation(&mut self, result: Result<()>) {
        if let Some(operation) = &self.operation {
            // An operation that has ended already keeps its end.
            let _ = operation.result.set(result);
        }
    }

    fn operation(&mut self, state: State) -> CallResult {
        let result = CallResult::default();
        self.operation = Some(Operation { state, result: result.clone() });
        result
    }

    /// The result of the same call made earlier, if the application has not seen its end.
    fn repeated(&self, state: State) -> Result<Option<CallResult>> {
        match &self.operation {
            None => Ok(None),
            Some(operation) if operation.state == state => Ok(Some(operation.result.clone())),
            Some(_) => self.not_pending(state.call()).map(|()| None),
        }
    }

    fn not_pending(&self, call: &str) -> Result<()> {
        match &self.operation {
            None => Ok(()),
            Some(operation) => Err(Error::IllegalState(format!(
                "Cannot attempt operation `{call}` because the previous call to `{}` timed out and must be retried",
                operation.state.call()
            ))),
        }
    }

    fn invalid_transition(&self, target: State) -> Error {
        Error::IllegalState(format!(
            "TransactionalId {}: Invalid transition attempted from state {} to state {}",
            self.config.id,
            self.state.name(),
            target.name()
        ))
    }

    fn fail_with_error(&self, producer: Option<ProducerId>) -> Result<()> {
        if !matches!(self.state, State::AbortableError | State::FatalError) {
            return Ok(());
        }
        let Some(cause) = &self.last_error else { return Ok(()) };
        let ProducerId { id, epoch } = producer.unwrap_or(ProducerId { id: -1, epoch: -1 });
        let who = format!("Producer with transactionalId '{}' and (producerId={id}, epoch={epoch})", self.config.id);
        let text = match cause.code() {
            Some(ErrorCode::ProducerFenced) => format!("{who} has been fenced by another producer with the same transactionalId"),
            Some(ErrorCode::InvalidProducerEpoch) => format!("{who} attempted to produce with an old epoch"),
            _ => {
                let message = "Cannot execute transactional method because we are in an error state".to_owned();
                return Err(Error::Transaction { message, cause: Box::new(cause.clone()) });
            }
        };
        Err(Error::broker(cause.code().unwrap_or(ErrorCode::UnknownServerError), Some(text)))
    }
}
