//! Owns: batches about which an idempotent producer is in doubt: an earlier attempt got no answer, and the broker refuses the next one as out
//! of sequence. A broker that was killed and started again knows only the last batch of each producer, so it no longer recognises earlier ones
//! as the duplicates they are; bumping the epoch at once, as Java does, would write them twice. Instead such a batch is held and the one
//! numbered after it is tried: if the broker takes or recognises that one, it has everything before it; if it refuses all, there is a true
//! gap. Part of the accumulator. Kafka: none; `TransactionManager.canRetry` decides without asking.

use super::Accumulator;
use crate::core::batch::{BatchFailure, Outcome, ProducerBatch};
use crate::error::Error;
use base::Instant;
use wire::ErrorCode;

impl Accumulator {
    /// Whether the broker may have a batch that it refused as out of sequence.
    pub(super) fn in_doubt(&self, topic: usize, number: i32, batch: &ProducerBatch, now: Instant) -> bool {
        let partition = &self.topics[topic].partitions[number as usize];
        let sequences = &partition.sequences;
        let same_numbers = sequences.find(batch.id).is_some_and(|entry| entry.base_sequence == batch.stamp.base_sequence);
        let on_time = !batch.expired && now.saturating_since(batch.created) < self.config.delivery_timeout;
        let turn = sequences.position(batch.id) == Some(partition.held.len());
        self.config.idempotent && batch.maybe_written && same_numbers && on_time && turn && !sequences.unresolved
    }

    /// Puts a batch in doubt aside, for the next numbered one to be tried.
    pub(super) fn hold(&mut self, topic: usize, number: i32, batch: Box<ProducerBatch>) {
        let partition = &mut self.topics[topic].partitions[number as usize];
        if partition.sequences.overtaken(batch.id) {
            return self.recognise(topic, number, *batch);
        }
        partition.held.push_back(batch);
        if partition.sequences.unfinished() == partition.held.len() {
            // Nobody is left to tell: nothing of it is there.
            if self.transactions.is_none() {
                self.bump.push((topic, number));
            } else if let Some(last) = partition.held.pop_back() {
                let error = Error::broker(ErrorCode::OutOfOrderSequenceNumber, None);
                self.give_up(topic, number, *last, BatchFailure { error, by_record: Vec::new() });
            }
        }
    }

    /// A later batch was acknowledged: what is held is in the log before it.
    pub(super) fn recognise_held(&mut self, topic: usize, number: i32) {
        for batch in std::mem::take(&mut self.topics[topic].partitions[number as usize].held) {
            self.recognise(topic, number, *batch);
        }
    }

    fn recognise(&mut self, topic: usize, number: i32, batch: ProducerBatch) {
        tracing::debug!(sequence = batch.stamp.base_sequence, "an earlier attempt of a batch was written after all");
        self.topics[topic].partitions[number as usize].sequences.acknowledged(batch.id, -1);
        self.counters.records_sent += batch.count as u64;
        self.finish(topic, number, batch, Outcome::Written { base_offset: -1, log_append_time: -1 });
    }

    /// There is a true gap: what is held goes out again, under new numbers.
    pub(super) fn release(&mut self, topic: usize, number: i32) {
        for batch in std::mem::take(&mut self.topics[topic].partitions[number as usize].held) {
            self.insert_in_order(topic, number, batch);
        }
    }
}
