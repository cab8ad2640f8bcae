//! Owns: the producer id and the sequence numbers per partition of an idempotent producer: which batch gets which number, what an error about
//! them means, and the epoch bump that starts numbering again. Used by: the accumulator. Kafka: `TransactionManager` without transactions,
//! `TxnPartitionMap`, KIP-360.

use record::increment_sequence;
use std::collections::VecDeque;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerId {
    pub id: i64,
    pub epoch: i16,
}

/// A batch that has numbers and is not finished (in flight, or back in the queue for another attempt), in the order of those numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbered {
    pub batch: u64,
    pub base_sequence: i32,
    pub count: i32,
    pub producer: ProducerId,
}

/// The sequences of one partition.
#[derive(Debug, Default)]
pub struct Sequences {
    producer: Option<ProducerId>,
    next: i32,
    last_acked: Option<i32>,
    pub last_acked_offset: Option<i64>,
    unfinished: VecDeque<Numbered>,
    /// A batch with numbers expired: whether the broker has it is unknown, so nothing more is sent until the rest has been answered.
    pub unresolved: bool,
}

impl Sequences {
    pub fn unfinished(&self) -> usize {
        self.unfinished.len()
    }

    pub fn find(&self, batch: u64) -> Option<Numbered> {
        self.unfinished.iter().copied().find(|entry| entry.batch == batch)
    }

    pub fn first_unfinished(&self) -> Option<Numbered> {
        self.unfinished.front().copied()
    }

    /// Numbers a batch that is sent for the first time; None says "not yet". With a newer producer id or epoch numbering starts at 0, but only
    /// after everything numbered under the old one is finished. And until the broker has acknowledged a first batch only one may be under way:
    /// a broker that does not know the producer yet accepts any number, so a second batch could take the place of a first that failed.
    pub fn number(&mut self, batch: u64, count: i32, producer: ProducerId) -> Option<Numbered> {
        if self.producer != Some(producer) {
            if !self.unfinished.is_empty() {
                return None;
            }
            self.restart(producer);
        }
        if self.last_acked.is_none() && !self.unfinished.is_empty() {
            return None;
        }
        let entry = Numbered { batch, base_sequence: self.next, count, producer };
        self.next = increment_sequence(self.next, count);
        self.unfinished.push_back(entry);
        Some(entry)
    }

    /// The broker has the batch.
    pub fn acknowledged(&mut self, batch: u64, base_offset: i64) {
        let Some(entry) = self.remove(batch) else { return };
        let last = increment_sequence(entry.base_sequence, entry.count - 1);
        if self.producer == Some(entry.producer) && self.last_acked.is_none_or(|acked| last > acked || acked - last > i32::MAX / 2) {
            self.last_acked = Some(last);
        }
        if base_offset >= 0 {
            let last_offset = base_offset.saturating_add(i64::from(entry.count) - 1);
            self.last_acked_offset = Some(self.last_acked_offset.map_or(last_offset, |offset| offset.max(last_offset)));
        }
    }

    /// The batch is given up; the caller asks for a new epoch, under which the rest is numbered again.
    pub fn failed(&mut self, batch: u64) {
        self.remove(batch);
    }

    /// The batch goes out as several: they take over its numbers in order. True if it had any.
    pub fn split(&mut self, batch: u64, parts: &[(u64, i32)]) -> bool {
        let Some(position) = self.unfinished.iter().position(|entry| entry.batch == batch) else { return false };
        let Some(entry) = self.unfinished.remove(position) else { return false };
        let mut base_sequence = entry.base_sequence;
        for (index, (id, count)) in parts.iter().enumerate() {
            self.unfinished.insert(position + index, Numbered { batch: *id, base_sequence, count: *count, producer: entry.producer });
            base_sequence = increment_sequence(base_sequence, *count);
        }
        true
    }

    /// Where the batch stands among the unfinished ones.
    pub fn position(&self, batch: u64) -> Option<usize> {
        self.unfinished.iter().position(|entry| entry.batch == batch)
    }

    /// After a batch expired and everything else was answered: whether the broker has all that was numbered.
    pub fn everything_acknowledged(&self) -> bool {
        self.is_next(self.next)
    }

    /// Renumbers everything unfinished from 0 under a new producer id or epoch.
    pub fn restart(&mut self, producer: ProducerId) {
        self.producer = Some(producer);
        self.next = 0;
        self.last_acked = None;
        self.unresolved = false;
        for entry in &mut self.unfinished {
            entry.base_sequence = self.next;
            entry.producer = producer;
            self.next = increment_sequence(self.next, entry.count);
        }
    }

    /// Whether the broker should expect this batch next: all before it are acknowledged.
    pub fn is_next(&self, base_sequence: i32) -> bool {
        match self.last_acked {
            Some(acked) => base_sequence == increment_sequence(acked, 1),
            None => base_sequence == 0,
        }
    }

    /// The broker acknowledged a batch numbered after this one, so it will never accept this one.
    pub fn overtaken(&self, batch: u64) -> bool {
        let Some(entry) = self.find(batch) else { return false };
        self.last_acked.is_some_and(|acked| self.position(batch) == Some(0) && entry.base_sequence <= acked)
    }

    fn remove(&mut self, batch: u64) -> Option<Numbered> {
        let position = self.unfinished.iter().position(|entry| entry.batch == batch)?;
        let entry = self.unfinished.remove(position);
        if self.unfinished.is_empty() {
            // Of many partitions few have something under way.
            self.unfinished = VecDeque::new();
        }
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: ProducerId = ProducerId { id: 7, epoch: 0 };

    /// Sequences whose first `count` records are acknowledged, so that batches may follow one another.
    fn established(count: i32) -> Sequences {
        let mut sequences = Sequences::default();
        sequences.number(100, count, P);
        sequences.acknowledged(100, 0);
        sequences
    }

    #[test]
    fn numbers_follow_one_another() {
        let mut sequences = established(1);
        assert_eq!(sequences.number(1, 10, P).unwrap().base_sequence, 1);
        assert_eq!(sequences.number(2, 5, P).unwrap().base_sequence, 11);
        assert!(sequences.is_next(1));
        sequences.acknowledged(1, 100);
        assert!(sequences.is_next(11));
        assert_eq!(sequences.last_acked_offset, Some(109));
    }

    #[test]
    fn the_first_batch_goes_alone() {
        let mut sequences = Sequences::default();
        sequences.number(1, 10, P).unwrap();
        assert!(sequences.number(2, 5, P).is_none());
        sequences.acknowledged(1, 0);
        assert_eq!(sequences.number(2, 5, P).unwrap().base_sequence, 10);
    }

    #[test]
    fn a_batch_that_was_overtaken_is_recognised() {
        let mut sequences = established(1);
        sequences.number(1, 4, P);
        sequences.number(2, 4, P);
        assert!(!sequences.overtaken(1));
        sequences.acknowledged(2, 10);
        assert!(sequences.overtaken(1));
    }

    #[test]
    fn numbers_wrap() {
        let mut sequences = established(i32::MAX);
        assert_eq!(sequences.number(2, 3, P).unwrap().base_sequence, i32::MAX);
        assert_eq!(sequences.number(3, 1, P).unwrap().base_sequence, 2);
    }

    #[test]
    fn parts_of_a_split_batch_share_its_numbers() {
        let mut sequences = established(1);
        sequences.number(1, 4, P);
        sequences.number(2, 4, P);
        assert!(sequences.split(1, &[(10, 3), (11, 1)]));
        assert_eq!(sequences.find(10).unwrap().base_sequence, 1);
        assert_eq!(sequences.find(11).unwrap().base_sequence, 4);
        assert_eq!(sequences.position(2), Some(2));
    }

    #[test]
    fn an_epoch_bump_renumbers_what_is_unfinished_in_order() {
        let mut sequences = established(1);
        sequences.number(1, 4, P);
        sequences.number(2, 4, P);
        sequences.number(3, 4, P);
        sequences.acknowledged(1, 0);
        let bumped = ProducerId { epoch: 1, ..P };
        sequences.restart(bumped);
        assert_eq!(sequences.find(2).unwrap(), Numbered { batch: 2, base_sequence: 0, count: 4, producer: bumped });
        assert_eq!(sequences.find(3).unwrap().base_sequence, 4);
        assert!(sequences.is_next(0));
    }

    #[test]
    fn other_partitions_wait_for_their_old_numbers() {
        let mut sequences = Sequences::default();
        sequences.number(1, 4, P);
        let bumped = ProducerId { epoch: 1, ..P };
        assert!(sequences.number(2, 1, bumped).is_none());
        sequences.acknowledged(1, 0);
        assert_eq!(sequences.number(2, 1, bumped).unwrap().base_sequence, 0);
    }
}
