//! AddPartitionsToTxn and AddOffsetsToTxn, and the check of whether partitions are in a transaction.
//! Kafka: TransactionCoordinator.handleAddPartitionsToTransaction, handleVerifyPartitionsInTransaction.

use base::TopicPartition;
use wire::ErrorCode;

use super::metadata::TxnStatus;
use super::output::{Then, TxnOutput, TxnReply, TxnStep};
use super::shard::{Txn, TxnShard};
use crate::output::Token;

impl TxnShard {
    /// `client_version`: 2 when partitions are added by those who append to them, 0 when the client adds them itself.
    #[allow(clippy::too_many_arguments)]
    pub fn add_partitions(
        &mut self,
        step: &TxnStep,
        token: Token,
        transactional_id: &str,
        (producer_id, producer_epoch): (i64, i16),
        partitions: &[TopicPartition],
        client_version: i16,
    ) -> TxnOutput {
        let mut out = TxnOutput::default();
        let Some(txn) = self.txns.get(transactional_id).filter(|_| !transactional_id.is_empty()) else {
            out.fail(token, unknown(transactional_id));
            return out;
        };
        let current = &txn.current;
        // Before all else: the transition under way may be the one to the producer id that the client has already been told.
        if txn.pending.is_some() {
            out.fail(token, ErrorCode::ConcurrentTransactions);
        } else if let Some(error) = refusal(txn, producer_id, producer_epoch) {
            out.fail(token, error);
        } else if current.status == TxnStatus::Ongoing && partitions.iter().all(|p| current.partitions.contains(p)) {
            out.reply(token, TxnReply::Added);
        } else {
            let next = current.with_partitions(partitions, client_version, step.now.wall_ms);
            self.begin(step, transactional_id, next, Then::Nothing, Some((token, TxnReply::Added)), &mut out);
        }
        out
    }

    /// Says of each partition whether it is in the transaction; answers at once.
    pub fn verify_partitions(
        &self,
        token: Token,
        transactional_id: &str,
        (producer_id, producer_epoch): (i64, i16),
        partitions: &[TopicPartition],
    ) -> TxnOutput {
        let mut out = TxnOutput::default();
        let verdict = match self.txns.get(transactional_id).filter(|_| !transactional_id.is_empty()) {
            None => Err(unknown(transactional_id)),
            Some(txn) => refusal(txn, producer_id, producer_epoch).map_or(Ok(&txn.current.partitions), Err),
        };
        let of = |partition: &TopicPartition| match &verdict {
            Err(error) => *error,
            Ok(known) if known.contains(partition) => ErrorCode::None,
            Ok(_) => ErrorCode::TransactionAbortable,
        };
        out.reply(token, TxnReply::Verified(partitions.iter().map(|p| (p.clone(), of(p))).collect()));
        out
    }
}

fn unknown(transactional_id: &str) -> ErrorCode {
    if transactional_id.is_empty() { ErrorCode::InvalidRequest } else { ErrorCode::InvalidProducerIdMapping }
}

fn refusal(txn: &Txn, producer_id: i64, producer_epoch: i16) -> Option<ErrorCode> {
    let current = &txn.current;
    if current.producer_id != producer_id {
        Some(ErrorCode::InvalidProducerIdMapping)
    } else if current.producer_epoch != producer_epoch {
        Some(ErrorCode::ProducerFenced)
    } else if current.status.is_prepared() {
        Some(ErrorCode::ConcurrentTransactions)
    } else {
        None
    }
}
