//! Owns: all records that were sent and are not yet acknowledged: batches filling and waiting per partition, requests in flight, memory,
//! sequence numbers. Decides what goes out next and what an answer means; knows neither sockets nor clocks.
//! Used by: `Producer::send` (append) and the sender task (drain, complete), under one lock. Kafka: `RecordAccumulator`, the deciding part of
//! `Sender`. Hot path: `append` allocates nothing per record.

mod answers;
mod append;
mod drain;
mod held;
pub mod meaning;
mod transactional;
mod unfinished;

use crate::core::backoff::ExponentialBackoff;
use crate::core::batch::{BatchFailure, BatchOutcome, HEADER, Outcome, ProducerBatch};
use crate::core::idempotence::{ProducerId, Sequences};
use crate::core::metadata::MetadataCache;
use crate::core::partitioner::{PartitionerKind, StickyPartitioner};
use crate::core::transaction::{TransactionConfig, Transactions};
use crate::error::Error;
use base::{Instant, Uuid};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use unfinished::Unfinished;

#[derive(Clone, Debug)]
pub struct AccumulatorConfig {
    pub batch_size: usize,
    pub linger: Duration,
    pub buffer_memory: usize,
    pub max_request_size: usize,
    pub delivery_timeout: Duration,
    pub retries: u32,
    pub retry_backoff: ExponentialBackoff,
    pub partitioner: PartitionerKind,
    pub ignore_keys: bool,
    pub adaptive: bool,
    /// A broker that has not taken anything for so long gets no keyless records; None never gives up on one.
    pub availability_timeout: Option<Duration>,
    pub idempotent: bool,
    /// Records are sent in transactions only.
    pub transaction: Option<TransactionConfig>,
    /// With one request in flight per connection, a partition waits for its batch even across a leader change.
    pub guarantee_order: bool,
    pub compressed: bool,
    /// Keep a tag per record for the delivery listener.
    pub keep_tags: bool,
}

pub struct Accumulator {
    pub(super) config: AccumulatorConfig,
    pub(super) topics: Vec<Topic>,
    by_name: HashMap<Arc<str>, usize>,
    metadata_version: u64,
    used_memory: usize,
    /// Senders that wait for memory: everything goes out at once then.
    pub memory_waiters: usize,
    /// Flushes under way, likewise.
    pub flushing: usize,
    closing: bool,
    next_batch_id: u64,
    next_request_id: u64,
    unfinished: Unfinished,
    /// Partitions with a queue, in drain order.
    active: VecDeque<(usize, i32)>,
    /// In the order of their numbers.
    in_flight: VecDeque<(u64, Vec<Sent>)>,
    /// Keyless records were appended since the loads were looked at.
    stuck_to_a_partition: bool,
    /// Since when brokers with work for them cannot be sent any.
    refusing: HashMap<i32, Instant>,
    producer: Option<ProducerId>,
    transactions: Option<Transactions>,
    pub(super) fatal: Option<Error>,
    bump: Vec<(usize, i32)>,
    /// Partitions that start numbering again with the next producer id.
    renumber: Vec<(usize, i32)>,
    free: Vec<Vec<u8>>,
    rng: fastrand::Rng,
    completions: Vec<Completion>,
    pub counters: Counters,
}

pub struct Topic {
    pub name: Arc<str>,
    pub id: Uuid,
    partitions: Vec<Partition>,
    /// Partitions with a leader.
    available: Vec<i32>,
    sticky: StickyPartitioner,
    round_robin: i32,
    /// Expected effect of compression.
    ratio: f32,
}

/// Batches of a partition. Boxed, because a list keeps the room it has had: of a producer to a thousand partitions each keeps a few pointers.
type Batches = VecDeque<Box<ProducerBatch>>;

#[derive(Default)]
struct Partition {
    leader: Option<i32>,
    leader_epoch: i32,
    queue: Batches,
    in_flight: u32,
    sequences: Sequences,
    /// Refused although the broker may have them; in the order of their numbers, before everything else that is numbered.
    held: Batches,
    active: bool,
    /// The number of the last transaction that it had records in, and whether batches of it may leave.
    transaction: u64,
    joined: bool,
}

/// A batch on its way to a broker.
pub struct Sent {
    pub topic: usize,
    pub partition: i32,
    pub batch: Box<ProducerBatch>,
}

/// What `append` did.
pub struct Appended {
    pub partition: i32,
    /// The outcome to wait on, the index of the record in it and the topic, when they were asked for.
    pub handle: Option<(Arc<BatchOutcome>, u32, Arc<str>)>,
    /// The sender has something new to look at.
    pub wake: bool,
}

/// Why nothing was appended.
#[derive(Debug)]
pub enum Blocked {
    /// The topic or the partition is not known yet.
    Metadata,
    Memory(usize),
    Failed(Error),
}

/// What the sender should do now.
#[derive(Default)]
pub struct Drained {
    pub requests: Vec<Request>,
    /// Partitions that something was taken out of have more: to be asked again at once.
    pub more: bool,
    /// Nothing changes before this unless something happens.
    pub next: Option<Instant>,
    /// Leaders with work that are not connected or have no room in flight.
    pub waiting_nodes: Vec<i32>,
    pub need_metadata: bool,
    pub need_producer_id: bool,
}

pub struct Request {
    pub id: u64,
    pub node: i32,
    pub batches: Vec<Sent>,
    /// Of the batches, as estimated.
    size: usize,
}

/// A finished batch; to be reported outside the lock, and then to `reported`.
pub struct Completion {
    /// What `flush` waits for; None for parts of the story that end nothing.
    pub flush_id: Option<u64>,
    pub topic: Arc<str>,
    pub partition: i32,
    pub tags: Vec<u64>,
    pub outcome: Option<Arc<BatchOutcome>>,
    pub result: Outcome,
}

/// The broker's answer for one partition.
#[derive(Clone, Debug, Default)]
pub struct PartitionAnswer {
    pub code: i16,
    pub base_offset: i64,
    pub log_append_time: i64,
    pub log_start_offset: i64,
    pub message: Option<String>,
    pub record_errors: Vec<(i32, Option<String>)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub records_sent: u64,
    pub records_failed: u64,
    pub batches_sent: u64,
    pub bytes_sent: u64,
    pub retries: u64,
    pub splits: u64,
    pub requests: u64,
    /// Time that batches spent here before they left, in microseconds.
    pub queue_micros: u64,
    pub queue_micros_max: u64,
    /// Bytes of records before compression.
    pub raw_bytes: u64,
}

impl Accumulator {
    pub fn new(config: AccumulatorConfig, rng: fastrand::Rng) -> Self {
        Self {
            transactions: config.transaction.clone().map(Transactions::new),
            config,
            topics: Vec::new(),
            by_name: HashMap::new(),
            metadata_version: 0,
            used_memory: 0,
            memory_waiters: 0,
            flushing: 0,
            closing: false,
            next_batch_id: 1,
            next_request_id: 1,
            unfinished: Unfinished::default(),
            active: VecDeque::new(),
            in_flight: VecDeque::new(),
            stuck_to_a_partition: false,
            refusing: HashMap::new(),
            producer: None,
            fatal: None,
            bump: Vec::new(),
            renumber: Vec::new(),
            free: Vec::new(),
            rng,
            completions: Vec::new(),
            counters: Counters::default(),
        }
    }

    pub fn topic_name(&self, topic: usize) -> &Arc<str> {
        &self.topics[topic].name
    }

    pub fn topic_id(&self, topic: usize) -> Uuid {
        self.topics[topic].id
    }

    /// How many partitions the topic has, once it is known.
    pub fn partition_count(&self, topic: &str) -> Option<usize> {
        let index = *self.by_name.get(topic)?;
        Some(self.topics[index].partitions.len()).filter(|count| *count > 0)
    }

    pub fn available_memory(&self) -> usize {
        self.config.buffer_memory.saturating_sub(self.used_memory)
    }

    /// Takes over leaders and partition counts. `topic` is added if the metadata knows it.
    pub fn update_metadata(&mut self, cache: &MetadataCache, topic: Option<&str>) {
        if let Some(name) = topic
            && !self.by_name.contains_key(name)
            && cache.topic(name).is_some_and(|known| !known.partitions.is_empty())
        {
            let name: Arc<str> = name.into();
            self.by_name.insert(name.clone(), self.topics.len());
            self.topics.push(Topic {
                name,
                id: Uuid::ZERO,
                partitions: Vec::new(),
                available: Vec::new(),
                sticky: StickyPartitioner::default(),
                round_robin: 0,
                ratio: 1.0,
            });
            self.metadata_version = 0;
        }
        if cache.version == self.metadata_version {
            return;
        }
        self.metadata_version = cache.version;
        for (index, topic) in self.topics.iter_mut().enumerate() {
            let Some(known) = cache.topic(&topic.name) else {
                for partition in &mut topic.partitions {
                    partition.leader = None;
                }
                topic.available.clear();
                continue;
            };
            if topic.id != known.id && !topic.id.is_zero() {
                // Deleted and created again: nobody there knows our sequences.
                for partition in 0..topic.partitions.len() {
                    self.bump.push((index, partition as i32));
                }
            }
            topic.id = known.id;
            if topic.partitions.len() < known.partitions.len() {
                topic.partitions.resize_with(known.partitions.len(), Partition::default);
            }
            topic.available.clear();
            for (number, partition) in topic.partitions.iter_mut().enumerate() {
                let metadata = known.partitions.get(number);
                partition.leader = metadata.and_then(|metadata| metadata.leader);
                partition.leader_epoch = metadata.map_or(-1, |metadata| metadata.leader_epoch);
                if partition.leader.is_some() {
                    topic.available.push(number as i32);
                }
            }
        }
    }

    /// Keeps the batches of a request that left, until `complete` or `fail_request`.
    pub fn sent(&mut self, request: u64, batches: Vec<Sent>) {
        self.counters.batches_sent += batches.len() as u64;
        self.counters.requests += 1;
        for sent in &batches {
            let waited = sent.batch.last_attempt.saturating_since(sent.batch.created);
            let waited = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
            self.counters.queue_micros = self.counters.queue_micros.saturating_add(waited);
            self.counters.queue_micros_max = self.counters.queue_micros_max.max(waited);
            // Without compression the sealed bytes are the buffer.
            let raw = sent
                .batch
                .sealed
                .as_ref()
                .filter(|_| sent.batch.buffer.is_empty())
                .map_or(sent.batch.buffer.len(), |sealed| sealed.bytes.len());
            self.counters.raw_bytes += raw as u64;
            if let Some(sealed) = &sent.batch.sealed {
                self.counters.bytes_sent += sealed.bytes.len() as u64;
                if self.config.compressed {
                    self.topics[sent.topic].learn_ratio(sealed.bytes.len(), sent.batch.buffer.len());
                }
            }
        }
        self.in_flight.push_back((request, batches));
    }

    /// Finished batches since the last call.
    pub fn take_completions(&mut self) -> Vec<Completion> {
        // The room of an empty list stays for the next ones.
        if self.completions.is_empty() { Vec::new() } else { std::mem::take(&mut self.completions) }
    }

    /// Whether the sender should look again, now that answers have been taken in.
    pub fn has_work(&self) -> bool {
        !self.active.is_empty() || !self.bump.is_empty() || self.transactions.is_some()
    }

    /// These completions were told to whoever waits; a flush may end now.
    pub fn reported(&mut self, mut completions: Vec<Completion>) {
        for id in completions.iter().filter_map(|done| done.flush_id) {
            self.unfinished.finish(id);
        }
        if self.completions.is_empty() {
            completions.clear();
            self.completions = completions;
        }
    }

    /// A mark for `flushed`: everything appended until now.
    pub fn flush_mark(&self) -> u64 {
        self.next_batch_id
    }

    pub fn flushed(&self, mark: u64) -> bool {
        self.unfinished.first().is_none_or(|first| first >= mark)
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub fn is_empty(&self) -> bool {
        self.unfinished.first().is_none()
    }

    /// No more records; what is here still goes out.
    pub fn close(&mut self) {
        self.closing = true;
    }

    /// Fails everything that is not in flight, and the senders of what is.
    pub fn abort(&mut self, error: &Error) {
        self.closing = true;
        self.fatal.get_or_insert_with(|| error.clone());
        if let Some(transactions) = &mut self.transactions {
            transactions.fatal(error.clone());
        }
        let failed = || Outcome::Failed(Arc::new(BatchFailure { error: error.clone(), by_record: Vec::new() }));
        let mut aborted = Vec::new();
        for (index, topic) in self.topics.iter_mut().enumerate() {
            for (number, partition) in topic.partitions.iter_mut().enumerate() {
                aborted.extend(partition.held.drain(..).map(|batch| (index, number as i32, batch)));
                aborted.extend(partition.queue.drain(..).map(|batch| (index, number as i32, batch)));
            }
        }
        let in_flight = std::mem::take(&mut self.in_flight);
        aborted.extend(in_flight.into_iter().flat_map(|(_, batches)| batches).map(|sent| (sent.topic, sent.partition, sent.batch)));
        for (topic, partition, batch) in aborted {
            self.counters.records_failed += batch.count as u64;
            self.finish(topic, partition, *batch, failed());
        }
    }

    /// The answer to InitProducerId.
    pub fn set_producer_id(&mut self, producer: ProducerId) {
        self.producer = Some(producer);
        for (topic, number) in std::mem::take(&mut self.renumber) {
            self.topics[topic].partitions[number as usize].sequences.restart(producer);
        }
    }

    pub fn producer_id(&self) -> Option<ProducerId> {
        self.producer
    }

    /// Nothing can be sent any more; whatever waits fails.
    pub fn set_fatal(&mut self, error: Error) {
        let waiting: Vec<(usize, i32)> = self.active.drain(..).collect();
        for (topic, number) in waiting {
            let partition = &mut self.topics[topic].partitions[number as usize];
            partition.active = false;
            let held = std::mem::take(&mut partition.held);
            for batch in held.into_iter().chain(std::mem::take(&mut partition.queue)) {
                let failure = BatchFailure { error: error.clone(), by_record: Vec::new() };
                self.counters.records_failed += batch.count as u64;
                self.finish(topic, number, *batch, Outcome::Failed(Arc::new(failure)));
            }
        }
        self.fatal = Some(error);
    }
}

impl Topic {
    /// Follows the compression that was achieved: slowly down, quickly up (`CompressionRatioEstimator`).
    fn learn_ratio(&mut self, compressed: usize, raw: usize) {
        let records = raw.saturating_sub(HEADER).max(1);
        let observed = compressed.saturating_sub(HEADER) as f32 / records as f32;
        self.ratio = if observed > self.ratio { (self.ratio + 0.05).max(observed) } else { (self.ratio - 0.005).max(observed) };
        self.ratio = self.ratio.clamp(0.02, 1.0);
    }
}

impl Drained {
    fn wait_until(&mut self, instant: Instant) {
        self.next = Some(self.next.map_or(instant, |next| next.min(instant)));
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod transactional_tests;
