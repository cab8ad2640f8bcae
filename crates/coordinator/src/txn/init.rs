//! InitProducerId with a transactional id: a producer begins, goes on after an error (KIP-360), or takes over from another one, whose
//! transaction is aborted first. Kafka: TransactionCoordinator.handleInitProducerId.

use wire::ErrorCode;

use super::metadata::{Metadata, TxnStatus, is_exhausted};
use super::output::{Then, TxnOutput, TxnReply, TxnStep};
use super::shard::{Txn, TxnShard};
use crate::output::Token;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InitProducerId {
    pub transactional_id: String,
    pub timeout_ms: i32,
    /// The producer id and epoch that the client has, if it goes on with them.
    pub expected: Option<(i64, i16)>,
    pub enable_two_phase_commit: bool,
    pub keep_prepared: bool,
}

impl TxnShard {
    pub fn init_producer_id(&mut self, step: &mut TxnStep, token: Token, request: &InitProducerId) -> TxnOutput {
        let mut out = TxnOutput::default();
        if let Err(error) = self.try_init(step, token, request, &mut out) {
            // An id that this request would have made is not left behind.
            if self.txns.get(&request.transactional_id).is_some_and(|txn| txn.current.is_unwritten() && txn.pending.is_none()) {
                self.txns.remove(&request.transactional_id);
            }
            out.fail(token, error);
        }
        out
    }

    fn try_init(&mut self, step: &mut TxnStep, token: Token, request: &InitProducerId, out: &mut TxnOutput) -> Result<(), ErrorCode> {
        let id = &request.transactional_id;
        let two_phase = request.enable_two_phase_commit;
        if id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        if two_phase && !self.config.transaction_two_phase_commit_enable {
            return Err(ErrorCode::TransactionalIdAuthorizationFailed);
        }
        if request.keep_prepared {
            return Err(ErrorCode::UnsupportedVersion);
        }
        if !two_phase && !(1..=self.config.transaction_max_timeout_ms).contains(&request.timeout_ms) {
            return Err(ErrorCode::InvalidTransactionTimeout);
        }
        let timeout_ms = if two_phase { i32::MAX } else { request.timeout_ms };
        if !self.txns.contains_key(id) {
            let current = Metadata::new((step.fresh_id)()?, timeout_ms, step.now.wall_ms);
            self.txns.insert(id.clone(), Txn { current, pending: None });
        }
        let Some(txn) = self.txns.get(id) else { return Ok(()) };
        if txn.pending.is_some() {
            return Err(ErrorCode::ConcurrentTransactions);
        }
        let current = &txn.current;
        if request.expected.is_some_and(|expected| !is_known(current, expected)) {
            return Err(ErrorCode::ProducerFenced);
        }
        match current.status {
            TxnStatus::PrepareCommit | TxnStatus::PrepareAbort => Err(ErrorCode::ConcurrentTransactions),
            TxnStatus::Empty | TxnStatus::CompleteCommit | TxnStatus::CompleteAbort => {
                let next = next_producer(current, step, timeout_ms, request.expected)?;
                let reply = TxnReply::Producer { producer_id: next.producer_id, producer_epoch: next.producer_epoch };
                self.begin(step, id, next, Then::Nothing, Some((token, reply)), out);
                Ok(())
            }
            // The client comes again, and finds the transaction aborted; the epoch that fences is given to nobody.
            TxnStatus::Ongoing => self.fence(step, id, Some((token, TxnReply::Failed(ErrorCode::ConcurrentTransactions))), out),
            TxnStatus::Dead | TxnStatus::PrepareEpochFence => Err(ErrorCode::UnknownServerError),
        }
    }
}

/// Whether a producer that has this id and epoch may go on: the id is the current one, or it was that until the epochs were used up and the
/// answer that said so may have been lost.
fn is_known(current: &Metadata, (producer_id, epoch): (i64, i16)) -> bool {
    current.is_unwritten() || producer_id == current.producer_id || (producer_id == current.prev_producer_id && is_exhausted(epoch))
}

fn next_producer(current: &Metadata, step: &mut TxnStep, timeout_ms: i32, expected: Option<(i64, i16)>) -> Result<Metadata, ErrorCode> {
    let now_ms = step.now.wall_ms;
    if current.epoch_is_exhausted() && expected.is_none_or(|(_, epoch)| epoch == current.producer_epoch) {
        return Ok(current.with_fresh_id((step.fresh_id)()?, timeout_ms, expected.is_some(), now_ms));
    }
    current.with_next_epoch(timeout_ms, expected.map(|(_, epoch)| epoch), now_ms)
}
