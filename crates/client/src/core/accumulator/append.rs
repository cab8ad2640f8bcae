//! Owns: adding records: the choice of a partition, room in its batch, memory. Part of the accumulator. Kafka: `RecordAccumulator.append`,
//! `KafkaProducer.doSend`. Hot path: allocates nothing per record.

use super::{Accumulator, AccumulatorConfig, Appended, Blocked};
use crate::core::batch::{HEADER, NO_TAG, ProducerBatch, record_size_upper_bound};
use crate::core::partitioner::{PartitionerKind, partition_for_key};
use crate::error::Error;
use crate::producer::ProducerRecord;
use base::hash::to_positive;
use base::{Instant, TopicPartition};
use wire::ErrorCode;

impl Accumulator {
    /// Adds a record to the batch of its partition. `mono` reads the monotonic clock and is called only for new batches.
    pub fn append(
        &mut self,
        record: &ProducerRecord<'_>,
        wall_ms: i64,
        mono: impl FnOnce() -> Instant,
        tag: Option<u64>,
        want_handle: bool,
    ) -> Result<Appended, Blocked> {
        self.check_open().map_err(Blocked::Failed)?;
        if let Some(error) = &self.fatal {
            return Err(Blocked::Failed(error.clone()));
        }
        let config = &self.config;
        let size = record_size_upper_bound(record);
        check_size(HEADER + size, config)?;
        let index = *self.by_name.get(record.topic).ok_or(Blocked::Metadata)?;
        let topic = &mut self.topics[index];
        let count = topic.partitions.len() as i32;
        if count == 0 {
            return Err(Blocked::Metadata);
        }
        let mut sticky = false;
        let number = match record.partition {
            Some(partition) if partition < 0 => {
                return Err(Blocked::Failed(Error::IllegalState(format!(
                    "Invalid partition: {partition}. Partition number should always be non-negative or null."
                ))));
            }
            Some(partition) if partition >= count => return Err(Blocked::Metadata),
            Some(partition) => partition,
            None => match (&config.partitioner, record.key) {
                (PartitionerKind::Custom(partitioner), key) => {
                    own_choice(partitioner.partition(record.topic, key, record.value, count, &topic.available), count)?
                }
                (PartitionerKind::RoundRobin, _) => {
                    let turn = to_positive(topic.round_robin);
                    topic.round_robin = topic.round_robin.wrapping_add(1);
                    match topic.available.len() {
                        0 => turn % count,
                        available => topic.available[turn as usize % available],
                    }
                }
                (PartitionerKind::BuiltIn, Some(key)) if !config.ignore_keys => partition_for_key(key, count),
                _ => {
                    sticky = true;
                    self.stuck_to_a_partition = true;
                    topic.sticky.current(&topic.available, count, &mut self.rng)
                }
            },
        };
        if let Some(transactions) = &self.transactions {
            let allowed = transactions.check_send(self.producer, || TopicPartition::new(record.topic, number));
            allowed.map_err(Blocked::Failed)?;
        }
        let partition = &mut topic.partitions[number as usize];
        let limit = config.batch_size.max(HEADER + 1);
        let mut wake = false;
        let room = partition.queue.back().is_some_and(|batch| batch.has_room(size, limit, topic.ratio));
        if !room {
            let charge = limit.max(HEADER + size);
            if self.used_memory + charge > config.buffer_memory {
                return Err(Blocked::Memory(charge));
            }
            self.used_memory += charge;
            if let Some(full) = partition.queue.back_mut() {
                full.closed = true;
            }
            let id = self.next_batch_id;
            self.next_batch_id += 1;
            self.unfinished.add(id, 1);
            let mut batch = Box::new(ProducerBatch::new(id, self.free.pop().unwrap_or_default(), charge, mono()));
            batch.charged = charge;
            partition.queue.push_back(batch);
            if !partition.active {
                partition.active = true;
                self.active.push_back((index, number));
            }
            wake = true;
        }
        let Some(batch) = partition.queue.back_mut() else { return Err(Blocked::Metadata) };
        if let Some(transactions) = &mut self.transactions
            && partition.transaction != transactions.number()
        {
            partition.transaction = transactions.number();
            partition.joined = transactions.add_partition((index, number));
            wake = true;
        }
        let before = batch.buffer.len();
        let position = batch.append(record, record.timestamp.unwrap_or(wall_ms));
        if config.keep_tags {
            batch.tags.push(tag.unwrap_or(NO_TAG));
        }
        let grown = batch.buffer.capacity();
        if grown > batch.charged {
            self.used_memory += grown - batch.charged;
            batch.charged = grown;
        }
        let full = batch.is_full(limit, topic.ratio);
        wake |= full;
        let handle = want_handle.then(|| (batch.outcome_handle(), position, topic.name.clone()));
        let bytes = batch.buffer.len() - before;
        if sticky {
            topic.sticky.record_appended(bytes, limit, full, &topic.available, count, &mut self.rng);
        }
        Ok(Appended { partition: number, handle, wake })
    }
}

/// What a partitioner of the application may answer.
fn own_choice(partition: i32, count: i32) -> Result<i32, Blocked> {
    if (0..count).contains(&partition) {
        return Ok(partition);
    }
    Err(Blocked::Failed(Error::IllegalState(if partition < 0 {
        format!("The partitioner generated an invalid partition number: {partition}. Partition number should always be non-negative.")
    } else {
        format!("The partitioner generated partition number {partition}, but there are only {count} partitions")
    })))
}

fn check_size(size: usize, config: &AccumulatorConfig) -> Result<(), Blocked> {
    let text = if size > config.max_request_size {
        format!(
            "The message is {size} bytes when serialized which is larger than {}, which is the value of the max.request.size configuration.",
            config.max_request_size
        )
    } else if size > config.buffer_memory {
        format!(
            "The message is {size} bytes when serialized which is larger than the total memory buffer you have configured with the buffer.memory configuration."
        )
    } else {
        return Ok(());
    };
    Err(Blocked::Failed(Error::broker(ErrorCode::MessageTooLarge, Some(text))))
}
