//! Owns: the choice of a partition. Used by: the accumulator.
//! Keyed records go where Java sends them (murmur2); keyless ones stick to one partition for `batch.size` bytes and then move on, weighted by
//! queue lengths. Kafka: `BuiltInPartitioner` (KIP-794), `RoundRobinPartitioner`.

use crate::producer::Partitioner;
use base::hash::{murmur2, to_positive};
use std::sync::Arc;

pub fn partition_for_key(key: &[u8], partitions: i32) -> i32 {
    to_positive(murmur2(key)) % partitions.max(1)
}

#[derive(Clone)]
pub enum PartitionerKind {
    /// Keys by murmur2, keyless sticky.
    BuiltIn,
    RoundRobin,
    /// The application's own.
    Custom(Arc<dyn Partitioner>),
}

impl std::fmt::Debug for PartitionerKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            PartitionerKind::BuiltIn => "BuiltIn",
            PartitionerKind::RoundRobin => "RoundRobin",
            PartitionerKind::Custom(_) => "Custom",
        })
    }
}

/// The sticky partition of one topic.
#[derive(Debug, Default)]
pub struct StickyPartitioner {
    current: Option<i32>,
    produced_bytes: usize,
    /// Running sums of weights and the partitions they belong to; empty means a uniform choice.
    weights: Vec<u32>,
    weighted_partitions: Vec<i32>,
}

impl StickyPartitioner {
    /// The partition that keyless records go to now. `available` are the partitions with a leader (may be empty).
    pub fn current(&mut self, available: &[i32], partitions: i32, rng: &mut fastrand::Rng) -> i32 {
        match self.current {
            Some(partition) if partition < partitions => partition,
            _ => self.switch(available, partitions, rng),
        }
    }

    /// Counts what was appended to the sticky partition and moves on once it had its share. While `may_switch` is false (a batch is filling and
    /// not ready) the move is put off, at most until twice the batch size.
    pub fn record_appended(
        &mut self,
        bytes: usize,
        batch_size: usize,
        may_switch: bool,
        available: &[i32],
        partitions: i32,
        rng: &mut fastrand::Rng,
    ) {
        self.produced_bytes += bytes;
        let share = batch_size.max(1);
        if (self.produced_bytes >= share && may_switch) || self.produced_bytes >= share.saturating_mul(2) {
            self.switch(available, partitions, rng);
        }
    }

    fn switch(&mut self, available: &[i32], partitions: i32, rng: &mut fastrand::Rng) -> i32 {
        let next = match self.weights.last() {
            Some(&total) if total > 0 => {
                let ticket = rng.u32(..total);
                let index = self.weights.partition_point(|sum| *sum <= ticket);
                self.weighted_partitions.get(index).copied().unwrap_or(0)
            }
            _ if available.is_empty() => rng.i32(0..partitions.max(1)),
            _ => available[rng.usize(..available.len())],
        };
        self.current = Some(next);
        self.produced_bytes = 0;
        next
    }

    /// New queue lengths (batches waiting) of the partitions that have a leader. A shorter queue gets a larger share of the choices.
    pub fn update_load(&mut self, queues: &[(i32, u32)], partitions: usize) {
        self.weights.clear();
        self.weighted_partitions.clear();
        let longest = queues.iter().map(|(_, length)| *length).max().unwrap_or(0);
        let all_equal = queues.iter().all(|(_, length)| *length == longest);
        if queues.is_empty() || partitions < 2 || (all_equal && queues.len() == partitions) {
            return;
        }
        let mut sum = 0u32;
        for (partition, length) in queues {
            sum = sum.saturating_add(longest + 1 - length);
            self.weights.push(sum);
            self.weighted_partitions.push(*partition);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_where_java_sends_them() {
        // murmur2 of "21" is -973932308, of "foobar" -790332482, as Kafka's UtilsTest documents.
        assert_eq!(partition_for_key(b"21", 10), ((-973932308i32 & 0x7fff_ffff) % 10));
        assert_eq!(partition_for_key(b"foobar", 7), ((-790332482i32 & 0x7fff_ffff) % 7));
        assert_eq!(partition_for_key(b"", 1), 0);
    }

    #[test]
    fn sticks_for_a_batch_and_spreads_evenly() {
        let mut rng = fastrand::Rng::with_seed(3);
        let mut sticky = StickyPartitioner::default();
        let mut counts = [0usize; 4];
        let mut switches = 0;
        let mut last = -1;
        for _ in 0..40_000 {
            let partition = sticky.current(&[0, 1, 2, 3], 4, &mut rng);
            switches += usize::from(partition != last);
            last = partition;
            counts[partition as usize] += 1;
            sticky.record_appended(100, 1000, true, &[0, 1, 2, 3], 4, &mut rng);
        }
        assert!(switches <= 4_000, "{switches}");
        for count in counts {
            assert!((9_000..11_000).contains(&count), "{counts:?}");
        }
    }

    #[test]
    fn the_move_waits_for_a_ready_batch_but_not_forever() {
        let mut rng = fastrand::Rng::with_seed(3);
        let mut sticky = StickyPartitioner::default();
        sticky.current(&[0, 1], 2, &mut rng);
        sticky.record_appended(1500, 1000, false, &[0, 1], 2, &mut rng);
        assert_eq!(sticky.produced_bytes, 1500);
        sticky.record_appended(500, 1000, false, &[0, 1], 2, &mut rng);
        assert_eq!(sticky.produced_bytes, 0);
    }

    #[test]
    fn short_queues_are_preferred() {
        let mut rng = fastrand::Rng::with_seed(9);
        let mut sticky = StickyPartitioner::default();
        // Java's example: queues 0, 3, 1 become the running sums 4, 5, 8.
        sticky.update_load(&[(0, 0), (1, 3), (2, 1)], 3);
        assert_eq!(sticky.weights, [4, 5, 8]);
        let mut counts = [0usize; 3];
        for _ in 0..8_000 {
            counts[sticky.switch(&[0, 1, 2], 3, &mut rng) as usize] += 1;
        }
        assert!(counts[0] > counts[2] && counts[2] > counts[1], "{counts:?}");
        sticky.update_load(&[(0, 2), (1, 2), (2, 2)], 3);
        assert!(sticky.weights.is_empty());
    }
}
