//! What was sent to a node, what it answered, and what it showed: and the judgement whether all that fits together. Pure: it knows no node.
//!
//! A record is known once it was acknowledged, or shown to a consumer. Each finding is a sentence about what is wrong; none is right.

use std::collections::{BTreeMap, BTreeSet};

/// A record is named by its batch and its place in it.
pub type Name = (usize, usize);

#[derive(Clone, Debug)]
pub struct Batch {
    pub partition: usize,
    /// One life of a producer: the same id and epoch line.
    pub producer: usize,
    /// Grows with each batch that the producer sends to the partition.
    pub sequence: i32,
    pub transaction: Option<usize>,
    /// Key, and whether the record deletes it.
    pub records: Vec<(Option<u64>, bool)>,
    pub acknowledged: bool,
    first_offset: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transaction {
    Open,
    /// The end was asked for, and the answer is not known; a commit may have happened.
    Asked {
        commit: bool,
    },
    Ended {
        commit: bool,
    },
}

#[derive(Clone, Debug, Default)]
pub struct Partition {
    pub compacted: bool,
    /// Every acknowledged record is on the medium.
    pub durable: bool,
    /// What may have been deleted on purpose: everything below.
    pub deleted_up_to: i64,
    known: BTreeMap<i64, Name>,
}

/// What one reading of a partition showed.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    pub start: i64,
    pub end: i64,
    /// In the order read, with offsets.
    pub records: Vec<(i64, Name)>,
    /// Offsets of end-of-transaction markers.
    pub markers: BTreeSet<i64>,
    /// What a reader of committed records sees, up to the last stable offset.
    pub committed: BTreeSet<Name>,
    pub stable: i64,
}

/// A commit of an offset of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    pub offset: i64,
    pub transaction: Option<usize>,
    pub acknowledged: bool,
}

/// How the node came to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The process stopped, or was killed: what the system holds stays.
    Process,
    Power,
}

#[derive(Debug, Default)]
pub struct History {
    pub partitions: Vec<Partition>,
    pub batches: Vec<Batch>,
    pub transactions: Vec<Transaction>,
    /// Of each group, in the order they were sent.
    pub commits: BTreeMap<usize, Vec<Commit>>,
    pub findings: Vec<String>,
}

impl Partition {
    pub fn new(compacted: bool, durable: bool) -> Partition {
        Partition { compacted, durable, ..Partition::default() }
    }

    /// The largest offset that is known to have a record.
    pub fn last_known(&self) -> Option<i64> {
        self.known.last_key_value().map(|(offset, _)| *offset)
    }
}

impl History {
    fn find(&mut self, finding: String) {
        if self.findings.len() < 20 {
            self.findings.push(finding);
        }
    }

    pub fn send(
        &mut self,
        partition: usize,
        producer: usize,
        sequence: i32,
        transaction: Option<usize>,
        records: Vec<(Option<u64>, bool)>,
    ) -> usize {
        self.batches.push(Batch { partition, producer, sequence, transaction, records, acknowledged: false, first_offset: None });
        self.batches.len() - 1
    }

    /// The node says that the batch is there; −1 when it does not say where.
    pub fn acknowledge(&mut self, batch: usize, offset: i64) {
        if offset >= 0 {
            self.place(batch, offset, "acknowledged");
        }
        self.batches[batch].acknowledged = true;
    }

    /// The batch begins at `offset`.
    fn place(&mut self, at: usize, offset: i64, how: &str) {
        let batch = self.batches[at].clone();
        match batch.first_offset {
            Some(known) if known == offset => return,
            Some(known) => {
                return self.find(format!("batch {at} is {how} at offset {offset}, and is at {known} already: it is there twice"));
            }
            None => {}
        }
        self.batches[at].first_offset = Some(offset);
        for i in 0..batch.records.len() {
            let place = offset + i as i64;
            if let Some(other) = self.partitions[batch.partition].known.insert(place, (at, i)) {
                self.find(format!("offset {place} of partition {} has record {:?} and, {how}, {:?}", batch.partition, other, (at, i)));
            }
        }
        // Where it lies between the others of its producer is where it was sent.
        let same = |(_, name): (&i64, &Name)| {
            let other = &self.batches[name.0];
            (name.0 != at && other.producer == batch.producer).then_some((name.0, other.sequence))
        };
        let known = &self.partitions[batch.partition].known;
        let before = known.range(..offset).rev().find_map(same);
        let after = known.range(offset..).find_map(same);
        if before.is_some_and(|(_, sequence)| sequence >= batch.sequence) || after.is_some_and(|(_, sequence)| sequence <= batch.sequence) {
            self.find(format!(
                "batch {at} (sequence {}) at offset {offset} is out of order: {before:?} before it, {after:?} after",
                batch.sequence
            ));
        }
    }

    /// A consumer was shown a record.
    pub fn see(&mut self, partition: usize, offset: i64, name: Name) {
        let Some(batch) = self.batches.get(name.0) else { return self.find(format!("record {name:?} was never sent")) };
        if batch.partition != partition || name.1 >= batch.records.len() {
            return self.find(format!("record {name:?} of partition {} is in partition {partition} at offset {offset}", batch.partition));
        }
        self.place(name.0, offset - name.1 as i64, "seen");
    }

    /// The whole partition was read. `ended`: how the last life ended, when this is the first reading of a new one.
    pub fn read(&mut self, partition: usize, reading: &Reading, ended: Option<End>) {
        let was_sent = |name: &Name| self.batches.get(name.0).is_some_and(|batch| name.1 < batch.records.len());
        let shown: BTreeMap<i64, Name> = reading.records.iter().filter(|(_, name)| was_sent(name)).copied().collect();
        if !reading.records.is_sorted_by(|(a, _), (b, _)| a < b) {
            self.find(format!("partition {partition}: offsets go back or repeat"));
        }
        if reading.start > self.partitions[partition].deleted_up_to {
            let allowed = self.partitions[partition].deleted_up_to;
            self.find(format!("partition {partition} starts at {}, nothing was deleted above {allowed}", reading.start));
        }
        // A power cut may take an end that was not flushed.
        let lossy = ended == Some(End::Power) && !self.partitions[partition].durable;
        if lossy {
            // In a compacted log nobody can tell a lost end of a segment from what the cleaner took out of it.
            let last = shown.last_key_value().map_or(reading.start, |(offset, _)| offset + 1);
            let end = if self.partitions[partition].compacted { last } else { reading.end };
            let lost = self.partitions[partition].known.split_off(&end);
            for (batch, _) in lost.into_values() {
                self.batches[batch].first_offset = None;
                self.batches[batch].acknowledged = false;
            }
        }
        for (offset, name) in &reading.records {
            self.see(partition, *offset, *name);
        }
        if self.partitions[partition].compacted {
            self.check_compacted(partition, reading, &shown);
        } else {
            self.check_dense(partition, reading, &shown);
        }
        self.check_committed(partition, reading, &shown);
    }

    fn check_dense(&mut self, partition: usize, reading: &Reading, shown: &BTreeMap<i64, Name>) {
        let missing: Vec<(i64, Name)> = self.partitions[partition]
            .known
            .range(reading.start..)
            .filter(|(offset, _)| !shown.contains_key(offset))
            .map(|(o, n)| (*o, *n))
            .collect();
        if let Some((offset, name)) = missing.first() {
            let batch = &self.batches[name.0];
            self.find(format!(
                "partition {partition}: record {name:?} at offset {offset} is lost ({} in all; acknowledged: {}); the log is {}..{}",
                missing.len(),
                batch.acknowledged,
                reading.start,
                reading.end
            ));
        }
        let hole = (reading.start..reading.end).find(|offset| !shown.contains_key(offset) && !reading.markers.contains(offset));
        if let Some(hole) = hole {
            self.find(format!("partition {partition}: nothing at offset {hole} of {}..{}", reading.start, reading.end));
        }
    }

    /// Of each key the last record stays, unless it deletes the key; then nothing older may be there without it.
    fn check_compacted(&mut self, partition: usize, reading: &Reading, shown: &BTreeMap<i64, Name>) {
        let mut last: BTreeMap<u64, (i64, Name)> = BTreeMap::new();
        for (offset, name) in self.partitions[partition].known.range(reading.start..) {
            let batch = &self.batches[name.0];
            let counts = batch.transaction.is_none_or(|t| self.transactions[t] == Transaction::Ended { commit: true });
            let may_count = batch.transaction.is_some_and(|t| self.transactions[t] == Transaction::Asked { commit: true });
            match batch.records[name.1].0 {
                Some(key) if counts => drop(last.insert(key, (*offset, *name))),
                // One that may have been committed may have taken the place of the one before.
                Some(key) if may_count => drop(last.remove(&key)),
                _ => {}
            }
        }
        for (key, (offset, name)) in last {
            if shown.contains_key(&offset) {
                continue;
            }
            if !self.batches[name.0].records[name.1].1 {
                self.find(format!("partition {partition}: the last record of key {key}, {name:?} at offset {offset}, is lost; there are {shown:?} in {}..{}", reading.start, reading.end));
                continue;
            }
            let older = shown.range(..offset).find(|(_, name)| {
                let batch = &self.batches[name.0];
                let counts = batch.transaction.is_none_or(|t| self.transactions[t] == Transaction::Ended { commit: true });
                counts && batch.records[name.1].0 == Some(key)
            });
            if let Some((older, _)) = older {
                self.find(format!("partition {partition}: key {key} was deleted at offset {offset}, and is back at {older}"));
            }
        }
    }

    /// Nothing aborted or open is shown to readers of committed records; committed records below the last stable offset are.
    fn check_committed(&mut self, partition: usize, reading: &Reading, shown: &BTreeMap<i64, Name>) {
        for (offset, name) in shown {
            let is_seen = reading.committed.contains(name);
            let expected = match self.batches[name.0].transaction.map(|t| self.transactions[t]) {
                None | Some(Transaction::Ended { commit: true }) => (*offset < reading.stable).then_some(true),
                Some(Transaction::Open | Transaction::Ended { commit: false } | Transaction::Asked { commit: false }) => Some(false),
                Some(Transaction::Asked { commit: true }) => None,
            };
            if expected.is_some_and(|expected| expected != is_seen) {
                let transaction = self.batches[name.0].transaction.map(|t| (t, self.transactions[t]));
                self.find(format!(
                    "partition {partition}: record {name:?} at offset {offset} of {transaction:?} is seen as committed: {is_seen}"
                ));
            }
        }
        if reading.stable > reading.end {
            self.find(format!("partition {partition}: the last stable offset {} is beyond the end {}", reading.stable, reading.end));
        }
        let is_open =
            |(_, (batch, _)): &(&i64, &Name)| self.batches[*batch].transaction.is_some_and(|t| self.transactions[t] == Transaction::Open);
        if let Some((open, _)) = shown.iter().find(is_open)
            && reading.stable > *open
        {
            self.find(format!("partition {partition}: the last stable offset {} has passed an open transaction at {open}", reading.stable));
        }
    }

    /// A group shows `offset`; what it shows must have been committed, and be the newest that was.
    pub fn committed(&mut self, group: usize, offset: Option<i64>) {
        let commits = self.commits.get(&group).cloned().unwrap_or_default();
        let decided = |commit: &Commit| match commit.transaction {
            None => commit.acknowledged,
            Some(t) => commit.acknowledged && self.transactions[t] == Transaction::Ended { commit: true },
        };
        let possible = |commit: &Commit| match commit.transaction {
            None => true,
            Some(t) => matches!(self.transactions[t], Transaction::Ended { commit: true } | Transaction::Asked { commit: true }),
        };
        let from = commits.iter().rposition(decided);
        let fits = match offset {
            None => from.is_none(),
            Some(offset) => commits[from.unwrap_or(0)..].iter().any(|commit| commit.offset == offset && possible(commit)),
        };
        if !fits {
            let newest = from.map(|at| commits[at]);
            self.find(format!(
                "group {group} shows offset {offset:?}; the newest that was acknowledged is {newest:?} of {} commits",
                commits.len()
            ));
        }
    }

    /// When everything is decided: a transaction is there in all of its partitions and groups, or in none.
    pub fn check_whole(&mut self, readings: &BTreeMap<usize, Reading>, groups: &BTreeMap<usize, Option<i64>>) {
        let seen: BTreeSet<usize> =
            readings.values().flat_map(|r| &r.committed).filter_map(|(batch, _)| self.batches[*batch].transaction).collect();
        for (t, state) in self.transactions.clone().into_iter().enumerate() {
            let mut hidden = None;
            for (at, batch) in self.batches.iter().enumerate().filter(|(_, batch)| batch.transaction == Some(t) && batch.acknowledged) {
                let (Some(reading), Some(first)) = (readings.get(&batch.partition), batch.first_offset) else { continue };
                let is_left = |i: &usize| first + *i as i64 >= reading.start && reading.records.iter().any(|(_, name)| *name == (at, *i));
                hidden =
                    hidden.or((0..batch.records.len()).filter(is_left).map(|i| (at, i)).find(|name| !reading.committed.contains(name)));
            }
            let newest =
                |group: &usize| self.commits[group].iter().rev().find(|c| c.transaction.is_some_and(|o| self.is_committed(o, &seen)));
            for (group, commits) in &self.commits {
                let mine = commits.iter().rev().find(|c| c.transaction == Some(t) && c.acknowledged);
                if let (Some(mine), Some(shown)) = (mine, groups.get(group))
                    && self.is_committed(t, &seen)
                    && newest(group) == Some(mine)
                    && shown.is_none_or(|offset| offset < mine.offset)
                {
                    hidden = hidden.or(Some((usize::MAX, *group)));
                }
            }
            let partly = seen.contains(&t) && hidden.is_some();
            if partly || (state == (Transaction::Ended { commit: true }) && hidden.is_some()) {
                self.find(format!("transaction {t} ({state:?}) is not whole: {hidden:?} is not seen"));
            }
        }
    }

    fn is_committed(&self, transaction: usize, seen: &BTreeSet<usize>) -> bool {
        self.transactions[transaction] == (Transaction::Ended { commit: true }) || seen.contains(&transaction)
    }
}
