//! Owns: what the answers to a transaction's requests mean: done, another attempt, a transaction that can only be aborted, or the end of the
//! producer. Part of the transaction's state. Kafka: the response handlers inside `TransactionManager`, KIP-1050 for the classes of errors.

use super::{Place, State, Transactions};
use crate::core::idempotence::ProducerId;
use crate::core::versions::FinalizedFeatures;
use crate::driver::CoordinatorKind;
use crate::error::Error;
use base::{Instant, TopicPartition};
use std::time::Duration;
use wire::ErrorCode;

/// What came of a `TransactionRequest`.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The connection was lost or not made, or the time ran out.
    None(CoordinatorKind),
    /// The coordinator of `key` could not be found.
    NoCoordinator {
        kind: CoordinatorKind,
        key: String,
        code: ErrorCode,
        message: Option<String>,
    },
    /// The coordinator speaks no version of the request, or nonsense.
    Unusable(Error),
    InitProducerId {
        code: ErrorCode,
        producer: ProducerId,
        /// The coordinator can also raise the epoch of an id in use.
        bumps: bool,
    },
    AddPartitions(Vec<(TopicPartition, ErrorCode)>),
    AddOffsets(ErrorCode),
    CommitOffsets(Vec<(TopicPartition, ErrorCode)>),
    End {
        code: ErrorCode,
        /// Who the producer is from now on; since transactions of the second generation.
        producer: Option<ProducerId>,
    },
}

/// What changes outside the transaction's own state.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Ask for this coordinator again before the next request.
    pub forget: Option<CoordinatorKind>,
    /// The new id or epoch; with it all numbering starts again.
    pub producer: Option<ProducerId>,
    /// Partitions that are in the transaction now.
    pub joined: Vec<Place>,
}

/// The pause before the first partition of a transaction is added again while the previous transaction is still being completed.
const FIRST_PARTITION_BACKOFF: Duration = Duration::from_millis(20);

/// What an error code common to several answers means.
enum Meaning {
    Retry,
    FindCoordinator,
    Fenced,
    Fatal,
    Abortable,
    Lost,
    Other,
}

fn meaning(code: ErrorCode) -> Meaning {
    match code {
        ErrorCode::CoordinatorNotAvailable | ErrorCode::NotCoordinator => Meaning::FindCoordinator,
        code if code.is_retriable() => Meaning::Retry,
        // Older coordinators say the former.
        ErrorCode::InvalidProducerEpoch | ErrorCode::ProducerFenced => Meaning::Fenced,
        ErrorCode::TransactionalIdAuthorizationFailed | ErrorCode::InvalidTxnState | ErrorCode::InvalidProducerIdMapping => Meaning::Fatal,
        ErrorCode::TransactionAbortable => Meaning::Abortable,
        ErrorCode::UnknownProducerId => Meaning::Lost,
        _ => Meaning::Other,
    }
}

fn plain(code: ErrorCode) -> Error {
    Error::broker(code, None)
}

fn group_refused(group_id: &str) -> Error {
    Error::broker(ErrorCode::GroupAuthorizationFailed, Some(format!("Not authorized to access group: {group_id}")))
}

impl Transactions {
    /// The answer to the request that `next` gave.
    pub fn answered(&mut self, answer: Answer, features: FinalizedFeatures, now: Instant) -> Effects {
        self.in_flight = false;
        self.retry_at = now;
        let mut effects = Effects::default();
        if self.state == State::FatalError {
            return effects;
        }
        match answer {
            Answer::None(kind) => {
                effects.forget = Some(kind);
                self.retry(now);
            }
            Answer::NoCoordinator { kind, key, code, message } => {
                effects.forget = Some(kind);
                self.no_coordinator(kind, &key, code, message, now);
            }
            Answer::Unusable(error) => self.fatal(error),
            Answer::InitProducerId { code, producer, bumps } => {
                self.coordinator_bumps = bumps;
                self.got_producer_id(code, producer, features, now, &mut effects);
            }
            Answer::AddPartitions(answers) => self.partitions_added(&answers, now, &mut effects),
            Answer::AddOffsets(code) => self.offsets_added(code, now, &mut effects),
            Answer::CommitOffsets(answers) => self.offsets_committed(&answers, now, &mut effects),
            Answer::End { code, producer } => self.end_answered(code, producer, now, &mut effects),
        }
        effects
    }

    fn retry(&mut self, now: Instant) {
        self.retry_at = now + self.config.retry_backoff;
    }

    fn find_coordinator(&mut self, now: Instant, effects: &mut Effects) {
        effects.forget = Some(CoordinatorKind::Transaction);
        self.retry(now);
    }

    fn no_coordinator(&mut self, kind: CoordinatorKind, key: &str, code: ErrorCode, message: Option<String>, now: Instant) {
        match code {
            code if code.is_retriable() => self.retry(now),
            ErrorCode::TransactionalIdAuthorizationFailed => self.fatal(plain(code)),
            ErrorCode::GroupAuthorizationFailed => self.offsets_refused(group_refused(key)),
            ErrorCode::TransactionAbortable => self.abortable(plain(code)),
            _ => {
                let kind = if kind == CoordinatorKind::Group { "GROUP" } else { "TRANSACTION" };
                let why = message.unwrap_or_else(|| code.message().to_owned());
                let text = format!("Could not find a coordinator with type {kind} with key {key} due to unexpected error: {why}");
                self.fatal(Error::broker(code, Some(text)));
            }
        }
    }

    fn got_producer_id(&mut self, code: ErrorCode, producer: ProducerId, features: FinalizedFeatures, now: Instant, effects: &mut Effects) {
        if code == ErrorCode::None {
            effects.producer = Some(producer);
            self.state = State::Ready;
            self.last_error = None;
            self.bumping = false;
            self.take_over(features);
            self.finish_operation(Ok(()));
            return;
        }
        match meaning(code) {
            Meaning::FindCoordinator => self.find_coordinator(now, effects),
            Meaning::Retry => self.retry(now),
            Meaning::Fenced => self.fatal(plain(ErrorCode::ProducerFenced)),
            Meaning::Abortable => self.abortable(plain(code)),
            _ if matches!(code, ErrorCode::TransactionalIdAuthorizationFailed | ErrorCode::ClusterAuthorizationFailed) => {
                // Rights can be granted: the application may try again.
                self.fail_calls(&plain(code));
                self.state = State::Uninitialized;
            }
            _ => {
                let text = format!("Unexpected error in InitProducerIdResponse; {}", code.message());
                self.fatal(Error::broker(code, Some(text)));
            }
        }
    }

    fn partitions_added(&mut self, answers: &[(TopicPartition, ErrorCode)], now: Instant, effects: &mut Effects) {
        let mut refused: Vec<&str> = Vec::new();
        let mut others = false;
        for (partition, code) in answers.iter().filter(|(_, code)| *code != ErrorCode::None) {
            match meaning(*code) {
                Meaning::FindCoordinator => return self.find_coordinator(now, effects),
                Meaning::Retry => {
                    self.retry(now);
                    if *code == ErrorCode::ConcurrentTransactions && !self.any_added {
                        self.retry_at = now + FIRST_PARTITION_BACKOFF.min(self.config.retry_backoff);
                    }
                    return;
                }
                Meaning::Fenced => return self.fatal(plain(ErrorCode::ProducerFenced)),
                Meaning::Fatal => return self.fatal(plain(*code)),
                Meaning::Lost => {
                    self.adding.clear();
                    return self.abortable_if_possible(plain(*code));
                }
                Meaning::Abortable => {
                    self.adding.clear();
                    return self.abortable(plain(*code));
                }
                Meaning::Other if *code == ErrorCode::TopicAuthorizationFailed => {
                    if !refused.contains(&partition.topic.as_str()) {
                        refused.push(&partition.topic);
                    }
                }
                Meaning::Other => others = true,
            }
        }
        let places = std::mem::take(&mut self.adding);
        if !refused.is_empty() {
            let text = format!("Not authorized to access topics: [{}]", refused.join(", "));
            self.abortable(Error::broker(ErrorCode::TopicAuthorizationFailed, Some(text)));
        } else if others {
            let errors: Vec<String> = answers.iter().map(|(partition, code)| format!("{partition}={}", code.name())).collect();
            let text = format!("Could not add partitions to transaction due to errors: {{{}}}", errors.join(", "));
            let first =
                answers.iter().map(|(_, code)| *code).find(|code| *code != ErrorCode::None).unwrap_or(ErrorCode::UnknownServerError);
            self.abortable(Error::broker(first, Some(text)));
        } else {
            self.started = true;
            self.any_added = true;
            effects.joined = places;
        }
    }

    fn offsets_added(&mut self, code: ErrorCode, now: Instant, effects: &mut Effects) {
        if code == ErrorCode::None {
            self.started = true;
            if let Some(pending) = self.offsets.front_mut() {
                pending.added = true;
            }
            return;
        }
        match meaning(code) {
            Meaning::FindCoordinator => self.find_coordinator(now, effects),
            Meaning::Retry => self.retry(now),
            Meaning::Fenced => self.fatal(plain(ErrorCode::ProducerFenced)),
            Meaning::Fatal => self.fatal(plain(code)),
            Meaning::Lost => {
                self.drop_offsets(&plain(code));
                self.abortable_if_possible(plain(code));
            }
            Meaning::Abortable => self.offsets_refused(plain(code)),
            Meaning::Other if code == ErrorCode::GroupAuthorizationFailed => self.offsets_refused(group_refused(&self.front_group())),
            Meaning::Other => {
                let text = format!("Unexpected error in AddOffsetsToTxnResponse: {}", code.message());
                self.fatal(Error::broker(code, Some(text)));
            }
        }
    }

    /// The offsets under way never become part of the transaction, which is therefore of no use.
    fn offsets_refused(&mut self, error: Error) {
        self.drop_offsets(&error);
        self.abortable(error);
    }

    fn drop_offsets(&mut self, error: &Error) {
        if let Some(pending) = self.offsets.pop_front() {
            // Nobody else sets it.
            let _ = pending.result.set(Err(error.clone()));
        }
    }

    fn front_group(&self) -> String {
        self.offsets.front().map(|pending| pending.group.group_id.clone()).unwrap_or_default()
    }

    fn offsets_committed(&mut self, answers: &[(TopicPartition, ErrorCode)], now: Instant, effects: &mut Effects) {
        // Without a front the call was failed by something else meanwhile.
        let Some(pending) = self.offsets.front_mut() else { return };
        pending.offsets.retain(|(partition, _)| !answers.contains(&(partition.clone(), ErrorCode::None)));
        for (_, code) in answers {
            match *code {
                ErrorCode::None => {}
                ErrorCode::CoordinatorNotAvailable | ErrorCode::NotCoordinator | ErrorCode::RequestTimedOut => {
                    effects.forget = Some(CoordinatorKind::Group);
                }
                code if code.is_retriable() => {}
                ErrorCode::GroupAuthorizationFailed => return self.offsets_refused(group_refused(&self.front_group())),
                ErrorCode::FencedInstanceId | ErrorCode::TransactionAbortable => return self.offsets_refused(plain(*code)),
                ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration => {
                    let text = format!("Transaction offset Commit failed due to consumer group metadata mismatch: {}", code.message());
                    return self.offsets_refused(Error::broker(*code, Some(text)));
                }
                ErrorCode::InvalidProducerEpoch | ErrorCode::ProducerFenced => return self.fatal(plain(ErrorCode::ProducerFenced)),
                ErrorCode::TransactionalIdAuthorizationFailed | ErrorCode::UnsupportedForMessageFormat => return self.fatal(plain(*code)),
                code => {
                    let text = format!("Unexpected error in TxnOffsetCommitResponse: {}", code.message());
                    return self.fatal(Error::broker(code, Some(text)));
                }
            }
        }
        if self.offsets.front().is_some_and(|pending| pending.offsets.is_empty()) {
            if let Some(pending) = self.offsets.pop_front() {
                // Nobody else sets it.
                let _ = pending.result.set(Ok(()));
            }
        } else {
            self.retry(now);
        }
    }

    fn end_answered(&mut self, code: ErrorCode, producer: Option<ProducerId>, now: Instant, effects: &mut Effects) {
        if code == ErrorCode::None {
            effects.producer = producer;
            return self.ended(producer);
        }
        match meaning(code) {
            Meaning::FindCoordinator => self.find_coordinator(now, effects),
            Meaning::Retry => self.retry(now),
            Meaning::Fenced => self.fatal(plain(ErrorCode::ProducerFenced)),
            Meaning::Fatal => self.fatal(plain(code)),
            Meaning::Lost => {
                // An abort that fails cannot be followed by another.
                if self.state == State::Aborting { self.fatal(plain(code)) } else { self.abortable_if_possible(plain(code)) }
            }
            Meaning::Abortable if self.state == State::Aborting => {
                let message = "Failed to abort transaction".to_owned();
                self.fatal(Error::Transaction { message, cause: Box::new(plain(code)) });
            }
            Meaning::Abortable => self.abortable(plain(code)),
            Meaning::Other => {
                let text = format!("Unhandled error in EndTxnResponse: {}", code.message());
                self.fatal(Error::broker(code, Some(text)));
            }
        }
    }

    /// The transaction is over, but for an epoch that the client has to ask for.
    pub(super) fn ended(&mut self, producer: Option<ProducerId>) {
        self.started = false;
        self.any_added = false;
        self.new_partitions.clear();
        self.adding.clear();
        self.last_error = None;
        self.bumping = self.bump_required && producer.is_none();
        self.bump_required = false;
        if self.bumping {
            self.state = State::Initializing;
            return;
        }
        self.state = State::Ready;
        self.finish_operation(Ok(()));
    }
}
