//! Asks the transaction coordinator, before the first batch of a transaction is appended to a partition, whether the partition belongs to the
//! transaction, or has it added (KIP-890). Used by Produce and TxnOffsetCommit while they hold back the next request of their connection.
//! Owns the question and its repetition; never appends. A partition whose log has the transaction open already is not asked about.
//! Kafka: `ReplicaManager.maybeSendPartitionsToTransactionCoordinator`, `AddPartitionsToTxnManager`.

use crate::Broker;
use crate::txns::{AddOrVerify, TxnCheck, VerdictSlot};
use base::{Instant, Now, TopicPartition};
use std::task::Waker;
use std::time::Duration;
use storage::{Verification, VerificationGuard};
use wire::ErrorCode;

/// What the version of a request says about its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Does not know TRANSACTION_ABORTABLE.
    DefaultError,
    GenericError,
    /// Transactions v2: the partition joins the transaction by being written to.
    AddPartition,
}

impl Operation {
    pub fn of_produce(version: i16) -> Self {
        match version {
            12.. => Operation::AddPartition,
            11 => Operation::GenericError,
            _ => Operation::DefaultError,
        }
    }

    pub fn of_txn_offset_commit(version: i16) -> Self {
        match version {
            5.. => Operation::AddPartition,
            4 => Operation::GenericError,
            _ => Operation::DefaultError,
        }
    }

    pub fn adds(self) -> bool {
        self == Operation::AddPartition
    }

    /// What producers know the coordinator's error by.
    fn translate(self, error: ErrorCode) -> ErrorCode {
        match error {
            ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
            ErrorCode::TransactionAbortable if self == Operation::DefaultError => ErrorCode::InvalidTxnState,
            other => other,
        }
    }
}

/// Who writes, and where: each partition with the first sequence of what is to be written.
pub(crate) struct Writer {
    pub transactional_id: String,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub operation: Operation,
    pub partitions: Vec<(TopicPartition, i32)>,
}

/// How each partition may be appended to.
#[derive(Debug, Default)]
pub(crate) struct Verified {
    /// `transaction.partition.verification.enable`: what opens a transaction has to show its guard.
    required: bool,
    guards: Vec<(TopicPartition, VerificationGuard)>,
    errors: Vec<(TopicPartition, ErrorCode)>,
}

impl Verified {
    pub fn check(&self, topic: &str, partition: i32) -> Result<Verification, ErrorCode> {
        let is = |at: &TopicPartition| at.partition == partition && at.topic == topic;
        if let Some((_, error)) = self.errors.iter().find(|(at, _)| is(at)) {
            return Err(*error);
        }
        if !self.required {
            return Ok(Verification::NotRequired);
        }
        Ok(Verification::Required(self.guards.iter().find(|(at, _)| is(at)).map(|(_, guard)| *guard)))
    }
}

/// One question, from its start to its answer.
pub(crate) struct Verifying {
    writer: Writer,
    stage: Stage,
    /// Until then CONCURRENT_TRANSACTIONS is asked about again: the markers of the transaction before are on their way.
    retry_until: Instant,
    retry_backoff: Duration,
    request_timeout: Duration,
}

enum Stage {
    AskAt(Instant),
    Asked { slot: VerdictSlot, verified: Verified, deadline: Instant },
}

impl Verifying {
    pub fn new(broker: &Broker, now: Now, writer: Writer) -> Self {
        let config = broker.config();
        let millis = |ms: i32| Duration::from_millis(ms.max(0) as u64);
        let retry_ms = config.add_partitions_to_txn_retry_backoff_max_ms.min(config.request_timeout_ms);
        Verifying {
            writer,
            stage: Stage::AskAt(now.mono),
            retry_until: now.mono + millis(retry_ms),
            retry_backoff: millis(config.add_partitions_to_txn_retry_backoff_ms),
            request_timeout: millis(config.request_timeout_ms),
        }
    }

    pub fn poll(&mut self, broker: &Broker, now: Now, waker: &Waker) -> Option<Verified> {
        loop {
            match &mut self.stage {
                Stage::AskAt(at) if now.mono < *at => return None,
                Stage::AskAt(_) => {
                    let verified = self.writer.look_at_logs(broker, now);
                    if verified.guards.is_empty() {
                        return Some(verified);
                    }
                    let slot = broker.txns.add_or_verify(broker, now, self.writer.question(&verified));
                    self.stage = Stage::Asked { slot, verified, deadline: now.mono + self.request_timeout };
                }
                Stage::Asked { slot, verified, deadline } => {
                    let verdicts = match slot.poll(waker) {
                        Some(verdicts) => verdicts,
                        None if now.mono < *deadline => return None,
                        None => verified.guards.iter().map(|(at, _)| (at.clone(), ErrorCode::NetworkException)).collect(),
                    };
                    let verified = self.writer.note(std::mem::take(verified), verdicts);
                    let again = self.writer.operation.adds() && now.mono < self.retry_until;
                    if !again || !verified.errors.iter().any(|(_, error)| *error == ErrorCode::ConcurrentTransactions) {
                        return Some(verified);
                    }
                    self.stage = Stage::AskAt(now.mono + self.retry_backoff);
                }
            }
        }
    }

    pub fn polled_again_at(&self) -> Instant {
        match &self.stage {
            Stage::AskAt(at) => *at,
            Stage::Asked { deadline, .. } => *deadline,
        }
    }
}

impl Writer {
    /// The guards of the partitions that have to be asked about, and the errors of those that refuse at once.
    fn look_at_logs(&self, broker: &Broker, now: Now) -> Verified {
        let adds = self.operation.adds();
        let required = broker.config().transaction_partition_verification_enable;
        let mut verified = Verified { required, ..Verified::default() };
        if !adds && !required {
            return verified;
        }
        for (at, base_sequence) in &self.partitions {
            let started = match broker.replicas().get(&at.topic, at.partition) {
                Some(p) => p.start_verification(self.producer_id, *base_sequence, self.producer_epoch, adds, now).map_err(|e| e.code),
                None => Err(ErrorCode::NotLeaderOrFollower),
            };
            match started {
                Ok(Some(guard)) => verified.guards.push((at.clone(), guard)),
                Ok(None) => {}
                Err(error) => verified.errors.push((at.clone(), error)),
            }
        }
        verified
    }

    fn question(&self, verified: &Verified) -> AddOrVerify {
        AddOrVerify {
            transactional_id: self.transactional_id.clone(),
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            partitions: verified.guards.iter().map(|(at, _)| at.clone()).collect(),
            mode: if self.operation.adds() { TxnCheck::Add } else { TxnCheck::Verify },
        }
    }

    fn note(&self, mut verified: Verified, verdicts: Vec<(TopicPartition, ErrorCode)>) -> Verified {
        let refused = verdicts.into_iter().filter(|(_, error)| *error != ErrorCode::None);
        verified.errors.extend(refused.map(|(at, error)| (at, self.operation.translate(error))));
        verified
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_what_their_clients_understand() {
        assert_eq!([10, 11, 12, 13].map(Operation::of_produce).map(Operation::adds), [false, false, true, true]);
        assert_eq!([3, 4, 5].map(Operation::of_txn_offset_commit).map(Operation::adds), [false, false, true]);
        for (version, expected) in
            [(10, ErrorCode::InvalidTxnState), (11, ErrorCode::TransactionAbortable), (12, ErrorCode::TransactionAbortable)]
        {
            assert_eq!(Operation::of_produce(version).translate(ErrorCode::TransactionAbortable), expected);
            assert_eq!(Operation::of_produce(version).translate(ErrorCode::ProducerFenced), ErrorCode::InvalidProducerEpoch);
            assert_eq!(Operation::of_produce(version).translate(ErrorCode::NotCoordinator), ErrorCode::NotCoordinator);
        }
    }

    #[test]
    fn a_partition_is_appended_to_as_its_verdict_says() {
        let at = |partition| TopicPartition::new("t", partition);
        let verified = Verified { required: true, guards: Vec::new(), errors: vec![(at(1), ErrorCode::NotCoordinator)] };
        assert_eq!(verified.check("t", 1), Err(ErrorCode::NotCoordinator));
        assert_eq!(verified.check("t", 0), Ok(Verification::Required(None)));
        assert_eq!(Verified::default().check("t", 0), Ok(Verification::NotRequired));
    }
}
