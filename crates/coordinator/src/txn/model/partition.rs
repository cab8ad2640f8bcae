//! A partition that producers write to, with the rules of its leader for epochs, markers and verification (`storage`'s producer state).

use std::collections::BTreeMap;

use wire::ErrorCode;

use super::ledger::Ledger;
use crate::txn::MarkerTask;

#[derive(Debug, Default)]
struct Producer {
    epoch: i16,
    coordinator_epoch: i32,
    open: Vec<usize>,
    /// Set by a verification under way; a marker takes it away.
    guard: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Partition {
    producers: BTreeMap<i64, Producer>,
    guards: u64,
}

impl Partition {
    /// `None` when the transaction is open here and nobody needs to be asked.
    pub(super) fn start_verification(&mut self, producer_id: i64, epoch: i16) -> Result<Option<u64>, ErrorCode> {
        let producer =
            self.producers.entry(producer_id).or_insert_with(|| Producer { epoch: -1, coordinator_epoch: -1, ..Producer::default() });
        if epoch < producer.epoch {
            return Err(ErrorCode::InvalidProducerEpoch);
        }
        if !producer.open.is_empty() && epoch == producer.epoch {
            return Ok(None);
        }
        self.guards += 1;
        producer.guard = Some(self.guards);
        Ok(producer.guard)
    }

    pub(super) fn append(
        &mut self,
        (producer_id, epoch): (i64, i16),
        guard: Option<u64>,
        verified: bool,
        txn: usize,
    ) -> Result<(), ErrorCode> {
        let producer =
            self.producers.entry(producer_id).or_insert_with(|| Producer { epoch: -1, coordinator_epoch: -1, ..Producer::default() });
        if epoch < producer.epoch {
            return Err(ErrorCode::InvalidProducerEpoch);
        }
        if producer.open.is_empty() && verified && (guard.is_none() || guard != producer.guard) {
            return Err(ErrorCode::InvalidTxnState);
        }
        producer.epoch = epoch;
        producer.guard = None;
        producer.open.push(txn);
        Ok(())
    }

    pub(super) fn mark(&mut self, at: usize, task: &MarkerTask, ledger: &mut Ledger) -> Result<ErrorCode, String> {
        let producer =
            self.producers.entry(task.producer_id).or_insert_with(|| Producer { epoch: -1, coordinator_epoch: -1, ..Producer::default() });
        if task.coordinator_epoch < producer.coordinator_epoch {
            return Ok(ErrorCode::TransactionCoordinatorFenced);
        }
        let allowed = match task.transaction_version >= 2 {
            true => task.producer_epoch > producer.epoch || (task.producer_epoch == producer.epoch && producer.open.is_empty()),
            false => task.producer_epoch >= producer.epoch,
        };
        if !allowed {
            return Ok(ErrorCode::InvalidProducerEpoch);
        }
        producer.coordinator_epoch = task.coordinator_epoch;
        producer.epoch = task.producer_epoch;
        producer.guard = None;
        let mut ended = std::mem::take(&mut producer.open);
        ended.dedup();
        for txn in ended {
            ledger.ended(txn, at, task.commit)?;
        }
        Ok(ErrorCode::None)
    }
}
