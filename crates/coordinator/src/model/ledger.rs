//! What was committed: every attempt in the order in which the coordinator saw it, and what became of it.

use std::collections::{BTreeMap, BTreeSet};

use super::Tp;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Unknown,
    Acknowledged,
    Refused,
}

#[derive(Debug)]
struct Attempt {
    offset: i64,
    fate: Fate,
}

/// By attempt; attempts are numbered in the order in which they reach the coordinator, and a number is the offset that it commits.
type Attempts = BTreeMap<u64, Attempt>;

#[derive(Default)]
pub(super) struct Ledger {
    partitions: BTreeMap<(String, Tp), Attempts>,
    keys: BTreeMap<u64, (String, Tp)>,
    gone: BTreeSet<u32>,
}

impl Ledger {
    /// An attempt reaches the coordinator.
    pub(super) fn attempted(&mut self, group: &str, tp: Tp, number: u64, offset: i64) {
        self.keys.insert(number, (group.to_owned(), tp));
        self.partitions.entry((group.to_owned(), tp)).or_default().insert(number, Attempt { offset, fate: Fate::Unknown });
    }

    fn set(&mut self, number: u64, fate: Fate) {
        let attempts = self.keys.get(&number).and_then(|key| self.partitions.get_mut(key));
        if let Some(attempt) = attempts.and_then(|attempts| attempts.get_mut(&number)) {
            attempt.fate = fate;
        }
    }

    pub(super) fn acknowledged(&mut self, number: u64) {
        self.set(number, Fate::Acknowledged);
    }

    pub(super) fn refused(&mut self, number: u64) {
        self.set(number, Fate::Refused);
    }

    /// Offsets of a topic go with it.
    pub(super) fn topic_deleted(&mut self, number: u32) {
        self.gone.insert(number);
    }

    pub(super) fn groups_deleted(&mut self) {
        self.partitions.clear();
    }

    pub(super) fn acknowledged_count(&self) -> usize {
        self.partitions.values().flat_map(|attempts| attempts.values()).filter(|attempt| attempt.fate == Fate::Acknowledged).count()
    }

    /// Compares with what an OffsetFetch tells of a group.
    pub(super) fn check(&self, group: &str, told: &BTreeMap<Tp, i64>) -> Result<(), String> {
        for ((_, tp), attempts) in self.partitions.iter().filter(|((of, tp), _)| of == group && !self.gone.contains(&tp.0)) {
            let last = attempts.iter().rev().find(|(_, attempt)| attempt.fate == Fate::Acknowledged);
            let Some(offset) = told.get(tp) else {
                if let Some((number, attempt)) = last {
                    return Err(format!("group {group}: the commit {number} of {} for {tp:?} is lost", attempt.offset));
                }
                continue;
            };
            let Some((number, found)) = attempts.iter().find(|(_, attempt)| attempt.offset == *offset) else {
                return Err(format!("group {group}: nobody committed {offset} for {tp:?}"));
            };
            if found.fate == Fate::Refused {
                return Err(format!("group {group}: {offset} for {tp:?} was refused, and counts"));
            }
            if last.is_some_and(|(last, _)| number < last) {
                return Err(format!("group {group}: {offset} for {tp:?} is older than the acknowledged {last:?}"));
            }
        }
        match told.keys().find(|tp| !self.gone.contains(&tp.0) && !self.partitions.contains_key(&(group.to_owned(), **tp))) {
            Some(tp) => Err(format!("group {group}: an offset for {tp:?} that nobody committed")),
            None => Ok(()),
        }
    }
}
