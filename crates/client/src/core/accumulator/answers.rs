//! Owns: what happens to batches after they left: success, another attempt, splitting, expiry, giving up. Part of the accumulator.
//! Kafka: `Sender.completeBatch` and around it, `RecordAccumulator.splitAndReenqueue`, `expiredBatches`.

use super::{Accumulator, Completion, Drained, PartitionAnswer, Sent, meaning};
use crate::core::batch::{BatchFailure, HEADER, Outcome, ProducerBatch};
use crate::error::Error;
use base::Instant;
use std::sync::Arc;
use std::time::Duration;
use wire::ErrorCode;

impl Accumulator {
    /// The answer to a request, by (topic, partition). Returns whether metadata looks stale.
    pub fn complete(&mut self, request: u64, now: Instant, mut answer: impl FnMut(usize, i32) -> Option<PartitionAnswer>) -> bool {
        let mut stale = false;
        let place = self.in_flight.binary_search_by_key(&request, |(id, _)| *id);
        let batches = place.ok().and_then(|place| self.in_flight.remove(place)).map(|(_, batches)| batches);
        for sent in batches.unwrap_or_default() {
            let missing = || PartitionAnswer {
                code: ErrorCode::UnknownServerError.code(),
                message: Some("the broker did not answer for this partition".to_owned()),
                ..Default::default()
            };
            let answer = answer(sent.topic, sent.partition).unwrap_or_else(missing);
            stale |= meaning::is_metadata_error(ErrorCode::from_code(answer.code));
            self.finish_sent(sent, answer, now);
        }
        stale
    }

    /// The whole request failed before an answer came.
    pub fn fail_request(&mut self, request: u64, now: Instant, error: &Error) {
        let code = match error {
            Error::Broker { code, .. } => *code,
            Error::UnsupportedVersion(_) => ErrorCode::UnsupportedVersion,
            Error::InvalidResponse { .. } => ErrorCode::UnknownServerError,
            _ => ErrorCode::NetworkException,
        };
        let message = (code != ErrorCode::NetworkException).then(|| error.to_string());
        self.complete(request, now, |_, _| Some(PartitionAnswer { code: code.code(), message: message.clone(), ..Default::default() }));
    }

    fn finish_sent(&mut self, sent: Sent, answer: PartitionAnswer, now: Instant) {
        let Sent { topic, partition: number, mut batch } = sent;
        let partition = &mut self.topics[topic].partitions[number as usize];
        partition.in_flight = partition.in_flight.saturating_sub(1);
        let code = ErrorCode::from_code(answer.code);
        if code != ErrorCode::None {
            let name = &self.topics[topic].name;
            tracing::debug!(attempts = batch.attempts, sequence = batch.stamp.base_sequence, "produce to {name}-{number} failed: {code}");
        }
        let partition = &mut self.topics[topic].partitions[number as usize];
        match code {
            ErrorCode::None | ErrorCode::DuplicateSequenceNumber => {
                partition.sequences.acknowledged(batch.id, answer.base_offset);
                let result = Outcome::Written { base_offset: answer.base_offset, log_append_time: answer.log_append_time };
                self.counters.records_sent += batch.count as u64;
                self.finish(topic, number, *batch, result);
                self.recognise_held(topic, number);
            }
            ErrorCode::OutOfOrderSequenceNumber if self.in_doubt(topic, number, &batch, now) => self.hold(topic, number, batch),
            ErrorCode::MessageTooLarge if batch.count > 1 && !batch.expired => self.split(topic, number, *batch, now),
            _ if self.can_retry(topic, number, &batch, &answer, now) => {
                let silent =
                    matches!(code, ErrorCode::NetworkException | ErrorCode::RequestTimedOut | ErrorCode::NotEnoughReplicasAfterAppend);
                batch.maybe_written |= silent;
                self.requeue(topic, number, batch, now);
            }
            _ => {
                let failure = meaning::failure(code, &answer, &self.topics[topic].name, &batch);
                if meaning::is_fatal(code) && self.config.idempotent && !self.is_transactional() {
                    self.fatal = Some(failure.error.clone());
                }
                self.give_up(topic, number, *batch, failure);
            }
        }
    }

    fn can_retry(&mut self, topic: usize, number: i32, batch: &ProducerBatch, answer: &PartitionAnswer, now: Instant) -> bool {
        let late = now.saturating_since(batch.created) >= self.config.delivery_timeout;
        if late || batch.expired || batch.attempts >= self.config.retries {
            return false;
        }
        let code = ErrorCode::from_code(answer.code);
        if !self.config.idempotent {
            return code.is_retriable();
        }
        let partition = &self.topics[topic].partitions[number as usize];
        let renumbered = partition.sequences.find(batch.id).is_some_and(|entry| entry.base_sequence != batch.stamp.base_sequence);
        match code {
            ErrorCode::UnknownProducerId => {
                if answer.log_start_offset != -1 && !renumbered {
                    let deleted = partition.sequences.last_acked_offset.unwrap_or(-1) < answer.log_start_offset;
                    if self.is_transactional() && !deleted {
                        return false;
                    }
                    self.bump.push((topic, number));
                }
                true
            }
            ErrorCode::OutOfOrderSequenceNumber if self.transaction_is_lost() => false,
            ErrorCode::OutOfOrderSequenceNumber => {
                // Expected behind a batch that failed; a true gap only when the broker has everything before this one.
                let sequences = &partition.sequences;
                let after_held = !partition.held.is_empty() && sequences.position(batch.id) == Some(partition.held.len());
                let gap = !renumbered && (after_held || sequences.is_next(batch.stamp.base_sequence) || sequences.overtaken(batch.id));
                if gap && self.is_transactional() {
                    return false;
                }
                if gap {
                    self.bump.push((topic, number));
                }
                true
            }
            _ => code.is_retriable(),
        }
    }

    fn requeue(&mut self, topic: usize, number: i32, mut batch: Box<ProducerBatch>, now: Instant) {
        batch.attempts += 1;
        batch.retry_at = now + self.config.retry_backoff.delay(batch.attempts - 1, &mut self.rng);
        self.counters.retries += 1;
        self.insert_in_order(topic, number, batch);
    }

    /// Puts a batch back: before everything that is numbered later, or not at all.
    pub(super) fn insert_in_order(&mut self, topic: usize, number: i32, batch: Box<ProducerBatch>) {
        let partition = &mut self.topics[topic].partitions[number as usize];
        let position = match partition.sequences.position(batch.id) {
            Some(own) => {
                let later = |other: u64| partition.sequences.position(other).is_none_or(|position| position > own);
                partition.queue.iter().position(|other| later(other.id)).unwrap_or(partition.queue.len())
            }
            None => 0,
        };
        partition.queue.insert(position, batch);
        if !partition.active {
            partition.active = true;
            self.active.push_back((topic, number));
        }
    }

    /// The broker found the batch too large: halves go out instead.
    fn split(&mut self, topic: usize, number: i32, mut batch: ProducerBatch, now: Instant) {
        let total: usize = batch.encoded_records().map(|(_, _, rest)| rest.len() + 16).sum();
        let largest = batch.encoded_records().map(|(_, _, rest)| rest.len() + 16).max().unwrap_or(0);
        let target = (total / 2).max(largest);
        let mut parts: Vec<(u32, Box<ProducerBatch>)> = Vec::new();
        let mut part_bytes = 0;
        for (index, (timestamp, attributes, rest)) in batch.encoded_records().enumerate() {
            let bytes = rest.len() + 16;
            if parts.is_empty() || part_bytes + bytes > target {
                let mut part = Box::new(ProducerBatch::new(self.next_batch_id, Vec::new(), HEADER + target, now));
                self.next_batch_id += 1;
                part.created = batch.created;
                part.flush_id = batch.flush_id;
                part.closed = true;
                part.is_split = true;
                part.attempts = batch.attempts;
                parts.push((index as u32, part));
                part_bytes = 0;
            }
            part_bytes += bytes;
            if let Some((_, part)) = parts.last_mut() {
                part.append_encoded(timestamp, attributes, rest);
            }
        }
        let mut tags = std::mem::take(&mut batch.tags);
        for (first, part) in parts.iter_mut().rev() {
            part.tags = tags.split_off((*first as usize).min(tags.len()));
        }
        if let Some(outcome) = batch.outcome.take() {
            let children = parts.iter_mut().map(|(first, part)| (*first, part.outcome_handle())).collect();
            self.completions.push(Completion {
                flush_id: None,
                topic: self.topics[topic].name.clone(),
                partition: number,
                tags: Vec::new(),
                outcome: Some(outcome),
                result: Outcome::Split(Arc::new(children)),
            });
        }
        self.counters.splits += 1;
        let charge = batch.charged / parts.len().max(1);
        let mut left = batch.charged;
        let ids: Vec<(u64, i32)> = parts.iter().map(|(_, part)| (part.id, part.count)).collect();
        self.unfinished.add(batch.flush_id, ids.len() as u32);
        self.unfinished.finish(batch.flush_id);
        let state = &mut self.topics[topic];
        state.ratio = 1.0;
        let numbered = state.partitions[number as usize].sequences.split(batch.id, &ids);
        let last = parts.len().saturating_sub(1);
        // Without numbers each goes to the front, so the last one goes first.
        let order: Box<dyn Iterator<Item = (usize, Box<ProducerBatch>)>> = {
            let parts = parts.into_iter().map(|(_, part)| part).enumerate();
            if numbered { Box::new(parts) } else { Box::new(parts.rev()) }
        };
        for (index, mut part) in order {
            part.charged = if index == last { left } else { charge };
            left -= part.charged.min(left);
            self.insert_in_order(topic, number, part);
        }
        self.recycle(batch);
    }

    pub(super) fn expire_queue(&mut self, topic: usize, number: i32, now: Instant) {
        loop {
            let timeout = self.config.delivery_timeout;
            let state = &mut self.topics[topic];
            let partition = &mut state.partitions[number as usize];
            let due = |batch: Option<&Box<ProducerBatch>>| batch.is_some_and(|batch| now.saturating_since(batch.created) >= timeout);
            let batch = if due(partition.held.front()) {
                partition.held.pop_front()
            } else if due(partition.queue.front()) {
                partition.queue.pop_front()
            } else {
                None
            };
            let Some(batch) = batch else { return };
            if partition.sequences.find(batch.id).is_some() {
                partition.sequences.unresolved = true;
            }
            let failure = BatchFailure { error: expired(&batch, &state.name, number, timeout), by_record: Vec::new() };
            partition.sequences.failed(batch.id);
            if let Some(transactions) = &mut self.transactions {
                transactions.failed(&failure.error);
            }
            self.counters.records_failed += batch.count as u64;
            self.finish(topic, number, *batch, Outcome::Failed(Arc::new(failure)));
        }
    }

    /// Tells the senders of overdue batches; the batches themselves wait for their answers, because their numbers may have been used.
    pub(super) fn expire_in_flight(&mut self, now: Instant, drained: &mut Drained) {
        let timeout = self.config.delivery_timeout;
        for sent in self.in_flight.iter_mut().flat_map(|(_, batches)| batches) {
            if sent.batch.expired {
                continue;
            }
            if now.saturating_since(sent.batch.created) < timeout {
                drained.wait_until(sent.batch.created + timeout);
                continue;
            }
            sent.batch.expired = true;
            let topic = &mut self.topics[sent.topic];
            topic.partitions[sent.partition as usize].sequences.unresolved = self.config.idempotent;
            let failure = BatchFailure { error: expired(&sent.batch, &topic.name, sent.partition, timeout), by_record: Vec::new() };
            if let Some(transactions) = &mut self.transactions {
                transactions.failed(&failure.error);
            }
            self.counters.records_failed += sent.batch.count as u64;
            self.completions.push(Completion {
                flush_id: None,
                topic: topic.name.clone(),
                partition: sent.partition,
                tags: std::mem::take(&mut sent.batch.tags),
                outcome: sent.batch.outcome.take(),
                result: Outcome::Failed(Arc::new(failure)),
            });
        }
    }

    pub(super) fn give_up(&mut self, topic: usize, number: i32, batch: ProducerBatch, failure: BatchFailure) {
        let sequences = &mut self.topics[topic].partitions[number as usize].sequences;
        if sequences.find(batch.id).is_some() {
            sequences.failed(batch.id);
            if self.is_transactional() {
                self.fail_held(topic, number, &failure);
            } else {
                self.bump.push((topic, number));
            }
        }
        if let Some(transactions) = &mut self.transactions {
            transactions.failed(&failure.error);
        }
        self.counters.records_failed += batch.count as u64;
        self.finish(topic, number, batch, Outcome::Failed(Arc::new(failure)));
    }

    /// Reports a batch and frees its memory.
    pub(super) fn finish(&mut self, topic: usize, number: i32, mut batch: ProducerBatch, result: Outcome) {
        self.used_memory = self.used_memory.saturating_sub(batch.charged);
        self.completions.push(Completion {
            flush_id: Some(batch.flush_id),
            topic: self.topics[topic].name.clone(),
            partition: number,
            tags: std::mem::take(&mut batch.tags),
            outcome: batch.outcome.take(),
            result,
        });
        self.recycle(batch);
    }

    fn recycle(&mut self, batch: ProducerBatch) {
        const FREE_MAX: usize = 256;
        if self.free.len() < FREE_MAX
            && let Some(buffer) = batch.into_buffer().filter(|buffer| buffer.capacity() <= self.config.batch_size.max(HEADER) * 2)
        {
            self.free.push(buffer);
        }
    }
}

fn expired(batch: &ProducerBatch, topic: &str, partition: i32, timeout: Duration) -> Error {
    Error::Timeout(format!(
        "Expiring {} record(s) for {topic}-{partition}:{} ms has passed since batch creation",
        batch.count,
        timeout.as_millis()
    ))
}
