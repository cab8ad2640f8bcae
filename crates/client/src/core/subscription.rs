//! Owns: the partitions a consumer reads: where each one stands, what it still needs before it can be fetched, what is fetched ahead.
//! Used by: `Consumer` and its fetcher and group tasks, under one lock. Pure. Kafka: `SubscriptionState`.

use crate::types::OffsetSpec;
use base::{Instant, TopicPartition};
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub offset: i64,
    pub leader_epoch: Option<i32>,
}

/// Why a partition cannot be fetched yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The committed offset of the group, else the reset policy.
    Committed,
    /// A lookup by the reset policy or a seek.
    Reset(OffsetSpec),
    /// There is a new leader: whether its log still holds what was read has to be asked (KIP-320).
    Validation,
    Nothing,
}

#[derive(Clone, Debug)]
pub struct PartitionState {
    /// Changes with every assignment and seek, so that answers to older questions are recognised.
    pub epoch: u64,
    /// The next record to hand to the application.
    pub position: Option<Position>,
    /// What the application has certainly seen: the position when it polled last.
    pub processed: Option<Position>,
    /// The next record to ask the broker for; ahead of `position` by what is buffered.
    pub fetch_offset: i64,
    /// The leader epoch of the record before `fetch_offset`, as far as known.
    pub fetch_epoch: Option<i32>,
    /// The leader epoch under which the position was found good.
    pub checked_epoch: i32,
    /// A replica that the leader told us to read from, and until when to believe it (KIP-392).
    pub preferred: Option<(i32, Instant)>,
    pub need: Need,
    /// A lookup is under way.
    pub busy: bool,
    pub retry_at: Instant,
    pub paused: bool,
    pub buffered_fetches: usize,
    /// The broker does not have `fetch_offset`; acted on once the application has taken what is buffered.
    pub out_of_range: bool,
    pub high_watermark: Option<i64>,
    pub last_stable_offset: Option<i64>,
    pub log_start_offset: Option<i64>,
}

impl PartitionState {
    fn new(epoch: u64, need: Need) -> Self {
        Self {
            epoch,
            position: None,
            processed: None,
            fetch_offset: 0,
            fetch_epoch: None,
            checked_epoch: -1,
            preferred: None,
            need,
            busy: false,
            retry_at: Instant::ZERO,
            paused: false,
            buffered_fetches: 0,
            out_of_range: false,
            high_watermark: None,
            last_stable_offset: None,
            log_start_offset: None,
        }
    }

    /// Which replica to read from instead of the leader.
    pub fn read_from(&self, now: Instant) -> Option<i32> {
        self.preferred.filter(|(_, until)| *until > now).map(|(node, _)| node)
    }

    fn move_to(&mut self, position: Position) {
        self.position = Some(position);
        self.processed = Some(position);
        self.fetch_offset = position.offset;
        self.fetch_epoch = position.leader_epoch;
        self.checked_epoch = -1;
        self.need = Need::Nothing;
        self.busy = false;
    }
}

#[derive(Debug, Default)]
pub struct Partitions {
    states: BTreeMap<TopicPartition, PartitionState>,
    next_epoch: u64,
}

impl Partitions {
    fn epoch(&mut self) -> u64 {
        self.next_epoch += 1;
        self.next_epoch
    }

    pub fn get(&self, partition: &TopicPartition) -> Option<&PartitionState> {
        self.states.get(partition)
    }

    pub fn get_mut(&mut self, partition: &TopicPartition) -> Option<&mut PartitionState> {
        self.states.get_mut(partition)
    }

    /// The state, if it is still the one that `epoch` belongs to.
    pub fn current(&mut self, partition: &TopicPartition, epoch: u64) -> Option<&mut PartitionState> {
        self.states.get_mut(partition).filter(|state| state.epoch == epoch)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&TopicPartition, &PartitionState)> {
        self.states.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&TopicPartition, &mut PartitionState)> {
        self.states.iter_mut()
    }

    pub fn names(&self) -> Vec<TopicPartition> {
        self.states.keys().cloned().collect()
    }

    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// Makes exactly these partitions the assigned ones; those that stay keep their state.
    pub fn assign(&mut self, partitions: &[TopicPartition], need: Need) {
        self.states.retain(|partition, _| partitions.contains(partition));
        for partition in partitions {
            if !self.states.contains_key(partition) {
                let epoch = self.epoch();
                self.states.insert(partition.clone(), PartitionState::new(epoch, need));
            }
        }
    }

    pub fn remove(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.states.remove(partition);
        }
    }

    pub fn clear(&mut self) {
        self.states.clear();
    }

    /// Moves a partition; false if it is not assigned. What is buffered or on its way becomes stale.
    pub fn seek(&mut self, partition: &TopicPartition, position: Position) -> bool {
        let epoch = self.epoch();
        let Some(state) = self.states.get_mut(partition) else { return false };
        state.epoch = epoch;
        state.move_to(position);
        state.buffered_fetches = 0;
        state.out_of_range = false;
        true
    }

    /// Fetches again from where the application stands; what is buffered or on its way becomes stale.
    pub fn refetch(&mut self, partition: &TopicPartition) {
        let epoch = self.epoch();
        let Some(state) = self.states.get_mut(partition) else { return };
        let Some(position) = state.position else { return };
        let processed = state.processed;
        state.epoch = epoch;
        state.move_to(position);
        state.processed = processed;
        state.buffered_fetches = 0;
        state.out_of_range = false;
    }

    /// Forgets the position; it is looked up again. False if the partition is not assigned.
    pub fn reset(&mut self, partition: &TopicPartition, spec: OffsetSpec) -> bool {
        let epoch = self.epoch();
        let Some(state) = self.states.get_mut(partition) else { return false };
        state.epoch = epoch;
        state.position = None;
        state.need = Need::Reset(spec);
        state.busy = false;
        state.buffered_fetches = 0;
        state.out_of_range = false;
        true
    }

    /// The result of a lookup, unless the application moved on.
    pub fn found(&mut self, partition: &TopicPartition, epoch: u64, position: Position) {
        if let Some(state) = self.current(partition, epoch) {
            state.move_to(position);
        }
    }

    /// The leader of `leader_epoch` has what was read.
    pub fn validated(&mut self, partition: &TopicPartition, epoch: u64, leader_epoch: i32) {
        if let Some(state) = self.current(partition, epoch).filter(|state| state.need == Need::Validation) {
            state.need = Need::Nothing;
            state.busy = false;
            state.checked_epoch = leader_epoch;
        }
    }

    /// These are read from their leaders again.
    pub fn forget_preferred<'a>(&mut self, partitions: impl Iterator<Item = &'a TopicPartition>) {
        for partition in partitions {
            if let Some(state) = self.states.get_mut(partition) {
                state.preferred = None;
            }
        }
    }

    /// A lookup failed; it is tried again at `retry_at`.
    pub fn lookup_failed(&mut self, partition: &TopicPartition, epoch: u64, retry_at: Instant) {
        if let Some(state) = self.current(partition, epoch) {
            state.busy = false;
            state.retry_at = retry_at;
        }
    }

    /// Marks what needs `need` as being looked up and returns it.
    pub fn take_needs(&mut self, now: Instant, matches: impl Fn(Need) -> bool) -> Vec<(TopicPartition, u64, Need)> {
        let mut found = Vec::new();
        for (partition, state) in &mut self.states {
            if !state.busy && state.retry_at <= now && matches(state.need) {
                state.busy = true;
                found.push((partition.clone(), state.epoch, state.need));
            }
        }
        found
    }

    /// When the next failed lookup or fetch may be tried again.
    pub fn next_retry(&self, now: Instant) -> Option<Instant> {
        let waits = |state: &&PartitionState| !state.busy && (state.need != Need::Nothing || state.retry_at > now);
        self.states.values().filter(waits).map(|state| state.retry_at).min()
    }

    /// At the start of a poll everything returned before counts as processed.
    pub fn mark_processed(&mut self) {
        for state in self.states.values_mut() {
            state.processed = state.position;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tp(partition: i32) -> TopicPartition {
        TopicPartition::new("t", partition)
    }

    const AT_5: Position = Position { offset: 5, leader_epoch: None };

    #[test]
    fn partitions_that_stay_keep_their_position() {
        let mut partitions = Partitions::default();
        partitions.assign(&[tp(0), tp(1)], Need::Committed);
        assert!(partitions.seek(&tp(0), AT_5));
        partitions.assign(&[tp(0), tp(2)], Need::Committed);
        assert_eq!(partitions.get(&tp(0)).unwrap().position, Some(AT_5));
        assert!(partitions.get(&tp(1)).is_none());
        assert_eq!(partitions.get(&tp(2)).unwrap().need, Need::Committed);
    }

    #[test]
    fn answers_to_old_questions_are_ignored() {
        let mut partitions = Partitions::default();
        partitions.assign(&[tp(0)], Need::Committed);
        let (partition, epoch, _) = partitions.take_needs(Instant::ZERO, |_| true).pop().unwrap();
        assert!(partitions.take_needs(Instant::ZERO, |_| true).is_empty());
        partitions.seek(&partition, AT_5);
        partitions.found(&partition, epoch, Position { offset: 77, leader_epoch: None });
        assert_eq!(partitions.get(&partition).unwrap().position, Some(AT_5));
    }

    #[test]
    fn fetching_again_does_not_count_as_processed() {
        let mut partitions = Partitions::default();
        partitions.assign(&[tp(0)], Need::Committed);
        partitions.seek(&tp(0), AT_5);
        partitions.get_mut(&tp(0)).unwrap().position = Some(Position { offset: 9, leader_epoch: Some(2) });
        partitions.refetch(&tp(0));
        let state = partitions.get(&tp(0)).unwrap();
        assert_eq!((state.processed, state.fetch_offset, state.fetch_epoch), (Some(AT_5), 9, Some(2)));
    }

    #[test]
    fn a_validated_position_is_fetched_and_a_preferred_replica_believed_for_a_while() {
        let mut partitions = Partitions::default();
        partitions.assign(&[tp(0)], Need::Committed);
        partitions.seek(&tp(0), Position { offset: 5, leader_epoch: Some(1) });
        let state = partitions.get_mut(&tp(0)).unwrap();
        state.need = Need::Validation;
        state.preferred = Some((3, Instant::from_nanos(10)));
        let epoch = state.epoch;
        partitions.validated(&tp(0), epoch, 7);
        let state = partitions.get(&tp(0)).unwrap();
        assert_eq!((state.need, state.checked_epoch), (Need::Nothing, 7));
        assert_eq!((state.read_from(Instant::from_nanos(9)), state.read_from(Instant::from_nanos(10))), (Some(3), None));
    }

    #[test]
    fn failed_lookups_wait() {
        let mut partitions = Partitions::default();
        partitions.assign(&[tp(0)], Need::Reset(OffsetSpec::Earliest));
        let (partition, epoch, _) = partitions.take_needs(Instant::ZERO, |_| true).pop().unwrap();
        let later = Instant::from_nanos(100);
        partitions.lookup_failed(&partition, epoch, later);
        assert!(partitions.take_needs(Instant::ZERO, |_| true).is_empty());
        assert_eq!(partitions.next_retry(Instant::ZERO), Some(later));
        assert_eq!(partitions.take_needs(later, |_| true).len(), 1);
    }
}
