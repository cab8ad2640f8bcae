//! EndTxn, in both generations of the protocol. Kafka: TransactionCoordinator.endTransaction, endTransactionWithTV1.
//!
//! In the older one an epoch belongs to a producer, so that a repeated EndTxn looks like the first. With transactions v2 the end of a
//! transaction takes the next epoch: a request with the epoch before the current one is a repeated one, and is answered with what the first
//! was. An abort outside a transaction only takes the next epoch: the client does not know whether anything was added.

use wire::ErrorCode;

use super::metadata::{EPOCH_PER_TRANSACTION, Metadata, TxnStatus};
use super::output::{Then, TxnOutput, TxnReply, TxnStep};
use super::shard::{NO_PRODUCER, TxnShard, next_id};
use crate::output::Token;

/// What a request to end a transaction comes to.
enum Decision {
    /// It has been done; nothing is written.
    Done,
    /// `nothing_added`: there is no transaction, only an epoch to be taken.
    Prepare { nothing_added: bool },
}

impl TxnShard {
    /// `client_version`: 2 from EndTxn version 5 on, else 0.
    pub fn end_txn(
        &mut self,
        step: &mut TxnStep,
        token: Token,
        transactional_id: &str,
        producer: (i64, i16),
        commit: bool,
        client_version: i16,
    ) -> TxnOutput {
        let mut out = TxnOutput::default();
        let ended = match client_version >= EPOCH_PER_TRANSACTION {
            true => self.end_with_bump(step, token, transactional_id, producer, commit, client_version, &mut out),
            false => self.end_classic(step, token, transactional_id, producer, commit, &mut out),
        };
        if let Err(error) = ended {
            out.fail(token, error);
        }
        out
    }

    fn end_classic(
        &mut self,
        step: &TxnStep,
        token: Token,
        id: &str,
        (producer_id, producer_epoch): (i64, i16),
        commit: bool,
        out: &mut TxnOutput,
    ) -> Result<(), ErrorCode> {
        if id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        let txn = self.txns.get(id).ok_or(ErrorCode::InvalidProducerIdMapping)?;
        let current = &txn.current;
        if current.producer_id != producer_id {
            return Err(ErrorCode::InvalidProducerIdMapping);
        }
        if current.producer_epoch != producer_epoch {
            return Err(ErrorCode::ProducerFenced);
        }
        if txn.pending.is_some() {
            return Err(ErrorCode::ConcurrentTransactions);
        }
        match decide_classic(id, current, commit)? {
            Decision::Done => out.reply(token, NO_PRODUCER),
            Decision::Prepare { .. } => {
                let next = current.prepared(commit, false, step.now.wall_ms);
                self.begin(step, id, next, Then::WriteMarkers, Some((token, NO_PRODUCER)), out);
            }
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn end_with_bump(
        &mut self,
        step: &mut TxnStep,
        token: Token,
        id: &str,
        (producer_id, producer_epoch): (i64, i16),
        commit: bool,
        client_version: i16,
        out: &mut TxnOutput,
    ) -> Result<(), ErrorCode> {
        if id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        let txn = self.txns.get(id).ok_or(ErrorCode::InvalidProducerIdMapping)?;
        let current = &txn.current;
        // Before all else: the transition under way may be the one to another producer id.
        if txn.pending.is_some() {
            return Err(ErrorCode::ConcurrentTransactions);
        }
        let repeated_after_overflow =
            current.prev_producer_id == producer_id && producer_epoch == i16::MAX - 1 && current.producer_epoch == 0;
        // Only an end that took an epoch can be repeated so. Kafka does not look at that: there, a producer that was taken over by one of the
        // older protocol is let in again when that one has ended a transaction.
        let repeated_after_bump = i32::from(current.producer_epoch) == i32::from(producer_epoch) + 1
            && (!current.status.has_ended() || current.client_version >= EPOCH_PER_TRANSACTION);
        if current.producer_id != producer_id && !repeated_after_overflow {
            return Err(ErrorCode::InvalidProducerIdMapping);
        }
        let same_epoch = producer_epoch == current.producer_epoch;
        let is_valid = match current.status {
            TxnStatus::Ongoing | TxnStatus::Empty | TxnStatus::Dead | TxnStatus::PrepareEpochFence => same_epoch,
            TxnStatus::PrepareCommit | TxnStatus::PrepareAbort => repeated_after_bump,
            TxnStatus::CompleteCommit | TxnStatus::CompleteAbort => repeated_after_bump || repeated_after_overflow || same_epoch,
        };
        if !is_valid {
            return Err(ErrorCode::ProducerFenced);
        }
        match decide_with_bump(id, current, commit, repeated_after_bump || repeated_after_overflow)? {
            Decision::Done => {
                out.reply(token, TxnReply::Producer { producer_id: current.producer_id, producer_epoch: current.producer_epoch });
            }
            Decision::Prepare { nothing_added } => {
                let next_id = next_id(current, step)?;
                let next = current.prepared_with_bump(commit, client_version, next_id, nothing_added, step.now.wall_ms)?;
                let completed = next.completed(step.now.wall_ms);
                let reply = TxnReply::Producer { producer_id: completed.producer_id, producer_epoch: completed.producer_epoch };
                self.begin(step, id, next, Then::WriteMarkers, Some((token, reply)), out);
            }
        }
        Ok(())
    }
}

fn decide_classic(id: &str, current: &Metadata, commit: bool) -> Result<Decision, ErrorCode> {
    match (current.status, commit) {
        (TxnStatus::Ongoing, _) => Ok(Decision::Prepare { nothing_added: false }),
        (TxnStatus::CompleteCommit, true) | (TxnStatus::CompleteAbort, false) => Ok(Decision::Done),
        (TxnStatus::PrepareCommit, true) | (TxnStatus::PrepareAbort, false) => Err(ErrorCode::ConcurrentTransactions),
        _ => Err(invalid(id, current, commit)),
    }
}

fn decide_with_bump(id: &str, current: &Metadata, commit: bool, repeated: bool) -> Result<Decision, ErrorCode> {
    match (current.status, commit, repeated) {
        (TxnStatus::Ongoing, ..) => Ok(Decision::Prepare { nothing_added: false }),
        (TxnStatus::CompleteCommit, true, true) | (TxnStatus::CompleteAbort, false, true) => Ok(Decision::Done),
        (TxnStatus::CompleteCommit | TxnStatus::CompleteAbort, false, false) => Ok(Decision::Prepare { nothing_added: true }),
        (TxnStatus::Empty, false, _) => Ok(Decision::Prepare { nothing_added: true }),
        (TxnStatus::PrepareCommit, true, _) | (TxnStatus::PrepareAbort, false, _) => Err(ErrorCode::ConcurrentTransactions),
        _ => Err(invalid(id, current, commit)),
    }
}

fn invalid(id: &str, current: &Metadata, commit: bool) -> ErrorCode {
    tracing::info!(transactional_id = id, state = current.status.name(), commit, "a transaction in this state cannot be ended so");
    ErrorCode::InvalidTxnState
}
