//! What DescribeTransactions, ListTransactions and the metrics page read of the transactions: the state at the high watermark.

use super::Txns;
use super::cell::State;
use base::Now;
use coordinator::txn::ListFilter;
use std::collections::BTreeMap;
use wire::ErrorCode;
use wire::messages::{describe_transactions_response, list_transactions_response};

/// How many partitions of `__transaction_state` this broker has, and how many transactional ids in each state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxnStates {
    pub loading: usize,
    pub active: usize,
    pub by_state: BTreeMap<&'static str, usize>,
    /// Markers that wait for the high watermark of their partition.
    pub markers_waiting: usize,
}

impl Txns {
    pub fn describe(&self, transactional_id: &str) -> describe_transactions_response::TransactionState {
        match self.try_describe(transactional_id) {
            Ok(described) => described,
            Err(error) => describe_transactions_response::TransactionState {
                transactional_id: transactional_id.to_owned(),
                error_code: error.code(),
                ..Default::default()
            },
        }
    }

    fn try_describe(&self, transactional_id: &str) -> Result<describe_transactions_response::TransactionState, ErrorCode> {
        if transactional_id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        let index = self.partition_of(transactional_id).ok_or(ErrorCode::NotCoordinator)?;
        let cell = self.cell(index).ok_or(ErrorCode::NotCoordinator)?;
        let mut cell = cell.lock();
        Ok(cell.state.serving()?.shard.describe(transactional_id))
    }

    /// While a shard is loading nobody knows what there is.
    pub fn all_loaded(&self) -> Result<(), ErrorCode> {
        let is_loading = |state: &State| match state {
            State::Loading => true,
            State::Active(active) => active.shard.is_loading(),
            State::Gone => false,
        };
        match self.cells().iter().any(|(_, cell)| is_loading(&cell.lock().state)) {
            true => Err(ErrorCode::CoordinatorLoadInProgress),
            false => Ok(()),
        }
    }

    /// All that pass the filter, of the shards that are loaded.
    pub fn list(&self, filter: &ListFilter, now: Now) -> Vec<list_transactions_response::TransactionState> {
        let mut found = Vec::new();
        for (_, cell) in self.cells() {
            if let State::Active(active) = &cell.lock().state {
                active.shard.list(filter, now.wall_ms, &mut found);
            }
        }
        found
    }

    pub fn states(&self) -> TxnStates {
        let mut states = TxnStates { markers_waiting: self.marks.lock().len(), ..TxnStates::default() };
        for (_, cell) in self.cells() {
            match &cell.lock().state {
                State::Loading => states.loading += 1,
                State::Active(active) => {
                    states.active += 1;
                    active.shard.count_by_status(&mut states.by_state);
                }
                State::Gone => {}
            }
        }
        states
    }
}
