//! Which transactions the batches belong to that the cleaner walks through: records of aborted ones go, a marker may go once nothing of its
//! transaction is left, and the transaction index of the new segment names the aborted ones of which something is.
//! Kafka: CleanedTransactionMetadata.

use crate::error::LogError;
use crate::index::txn::AbortedTxn;
use record::{BatchView, ControlType};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::path::Path;

#[derive(Default)]
pub(super) struct Transactions {
    /// Producers of open transactions that will commit.
    committing: HashSet<i64>,
    /// By producer: its open transaction, which will abort, and whether a batch of it was seen.
    aborting: HashMap<i64, (AbortedTxn, bool)>,
    /// Not yet reached, by first offset.
    ahead: BinaryHeap<Reverse<Ahead>>,
    /// Aborted ones with batches left, in the order of their markers; taken by whoever writes the index.
    pub kept: Vec<AbortedTxn>,
}

#[derive(PartialEq, Eq)]
struct Ahead(AbortedTxn);

impl Ord for Ahead {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let key = |txn: &AbortedTxn| (txn.first_offset, txn.last_offset, txn.producer_id);
        key(&self.0).cmp(&key(&other.0))
    }
}

impl PartialOrd for Ahead {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Transactions {
    pub fn add_aborted(&mut self, aborted: &[AbortedTxn]) {
        self.ahead.extend(aborted.iter().map(|txn| Reverse(Ahead(*txn))));
    }

    fn reach(&mut self, offset: i64) {
        while self.ahead.peek().is_some_and(|Reverse(Ahead(txn))| txn.first_offset <= offset) {
            if let Some(Reverse(Ahead(txn))) = self.ahead.pop() {
                self.aborting.entry(txn.producer_id).or_insert((txn, false));
            }
        }
    }

    /// Whether a batch with records of clients belongs to an aborted transaction, and so may go.
    pub fn on_batch(&mut self, batch: &BatchView<'_>) -> bool {
        self.reach(batch.last_offset());
        if !batch.is_transactional() {
            return false;
        }
        match self.aborting.get_mut(&batch.producer_id()) {
            Some((_, seen)) => {
                *seen = true;
                true
            }
            None => {
                self.committing.insert(batch.producer_id());
                false
            }
        }
    }

    /// Whether a control batch may go: nothing is left of its transaction.
    pub fn on_control_batch(&mut self, batch: &BatchView<'_>, path: &Path) -> Result<bool, LogError> {
        self.reach(batch.last_offset());
        let producer_id = batch.producer_id();
        match control_type(batch).map_err(|problem| LogError::corrupt(path, problem))? {
            // Cleaned already.
            None => Ok(true),
            Some(Some(ControlType::Abort)) => match self.aborting.remove(&producer_id) {
                Some((txn, true)) => {
                    self.kept.push(txn);
                    Ok(false)
                }
                _ => Ok(true),
            },
            Some(Some(ControlType::Commit)) => Ok(!self.committing.remove(&producer_id)),
            Some(_) => Ok(false),
        }
    }
}

/// The type of the first record; None in a batch without records, Some(None) for a type that is not known here.
fn control_type(batch: &BatchView<'_>) -> Result<Option<Option<ControlType>>, String> {
    let text = |e: record::RecordError| format!("control batch at offset {}: {e}", batch.base_offset());
    let mut records = record::filter::RawRecords::new(batch, batch.payload()).map_err(text)?;
    let Some(first) = records.next() else { return Ok(None) };
    ControlType::from_key(first.map_err(text)?.key.unwrap_or_default()).map(Some).map_err(text)
}
