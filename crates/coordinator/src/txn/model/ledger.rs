//! What is known of every transaction: who wrote what where, what its producer was told, what its partitions say. Finds the lies.

use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct Entry {
    /// Records in the partitions, acknowledged to the producer or not.
    pub(super) written: BTreeMap<usize, usize>,
    /// By markers.
    pub(super) outcomes: BTreeMap<usize, bool>,
    pub(super) acknowledged: Option<bool>,
    /// Another producer of the id had been answered when this transaction began, or wrote again.
    pub(super) taken_over: bool,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) txns: Vec<Entry>,
}

impl Ledger {
    pub(super) fn begin(&mut self) -> usize {
        self.txns.push(Entry::default());
        self.txns.len() - 1
    }

    pub(super) fn wrote(&mut self, txn: usize, partition: usize, taken_over: bool) -> Result<(), String> {
        let entry = &mut self.txns[txn];
        *entry.written.entry(partition).or_default() += 1;
        entry.taken_over |= taken_over;
        match entry.outcomes.get(&partition) {
            Some(outcome) => Err(format!("transaction {txn} writes to partition {partition} after its end ({outcome}) there")),
            None => Ok(()),
        }
    }

    pub(super) fn ended(&mut self, txn: usize, partition: usize, commit: bool) -> Result<(), String> {
        let entry = &mut self.txns[txn];
        if let Some((other, outcome)) = entry.outcomes.iter().find(|(_, outcome)| **outcome != commit) {
            return Err(format!("transaction {txn}: {outcome} in partition {other}, {commit} in {partition}"));
        }
        if entry.acknowledged.is_some_and(|told| told != commit) {
            return Err(format!("transaction {txn}: acknowledged the other way, but commit={commit} in partition {partition}"));
        }
        if commit && entry.taken_over {
            return Err(format!(
                "transaction {txn} is committed in partition {partition}, though its producer had been taken over when it wrote"
            ));
        }
        entry.outcomes.insert(partition, commit);
        Ok(())
    }

    pub(super) fn acknowledged(&mut self, txn: usize, commit: bool) -> Result<(), String> {
        let entry = &mut self.txns[txn];
        entry.acknowledged = Some(commit);
        match entry.outcomes.values().find(|outcome| **outcome != commit) {
            Some(_) => Err(format!("transaction {txn}: commit={commit} is acknowledged, the markers say otherwise")),
            None => Ok(()),
        }
    }

    /// When everything has come to rest.
    pub(super) fn all_whole(&self) -> Result<(), String> {
        for (txn, entry) in self.txns.iter().enumerate() {
            if let Some(partition) = entry.written.keys().find(|partition| !entry.outcomes.contains_key(partition)) {
                return Err(format!("transaction {txn} hangs in partition {partition}: {entry:?}"));
            }
        }
        Ok(())
    }
}
