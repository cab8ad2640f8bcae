//! Owns: what goes out next: which batches are ready, in which requests, with which sequence numbers; epochs that start numbering again.
//! Part of the accumulator. Kafka: `RecordAccumulator.ready` and `drain`, `TransactionManager` for the numbers, KIP-360.

use super::{Accumulator, Batches, Drained, Partition, Request, Sent};
use crate::core::batch::ProducerStamp;
use crate::core::idempotence::ProducerId;
use crate::core::transaction::Transactions;
use base::Instant;

impl Accumulator {
    /// Takes out everything that should be sent now to nodes that `can_send`, and expires what waited too long.
    pub fn drain(&mut self, now: Instant, mut can_send: impl FnMut(i32) -> bool) -> Drained {
        let mut drained = Drained::default();
        self.abandon_batches();
        self.apply_epoch_bump();
        self.expire_in_flight(now, &mut drained);
        let transaction = self.transactions.as_ref().map(Transactions::number);
        let completing = self.transactions.as_ref().is_some_and(Transactions::is_completing);
        let urgent = self.memory_waiters > 0 || self.flushing > 0 || self.closing || completing;
        let (mut allowed, mut refused): (Option<i32>, Vec<i32>) = (None, Vec::new());
        for _ in 0..self.active.len() {
            let Some((index, number)) = self.active.pop_front() else { break };
            self.expire_queue(index, number, now);
            let topic = &mut self.topics[index];
            let partition = &mut topic.partitions[number as usize];
            let Some(front) = partition.queue.front() else {
                partition.active = false;
                continue;
            };
            self.active.push_back((index, number));
            let deadline = front.created + self.config.delivery_timeout;
            let Some(leader) = partition.leader else {
                drained.need_metadata = true;
                drained.wait_until(deadline);
                continue;
            };
            if transaction.is_some_and(|transaction| partition.transaction != transaction || !partition.joined) {
                drained.wait_until(deadline);
                continue;
            }
            let newer_leader = front.attempts > 0 && partition.leader_epoch > front.leader_epoch;
            if front.retry_at > now && !newer_leader {
                drained.wait_until(front.retry_at);
                continue;
            }
            let waited = now.saturating_since(front.created) >= self.config.linger;
            let full = partition.queue.len() > 1 || front.is_full(self.config.batch_size, topic.ratio);
            if !(urgent || waited || full || front.attempts > 0 || front.is_split) {
                drained.wait_until(front.created + self.config.linger);
                continue;
            }
            if self.config.guarantee_order && partition.in_flight > 0 {
                drained.wait_until(deadline);
                continue;
            }
            if allowed != Some(leader) && (refused.contains(&leader) || !can_send(leader)) {
                self.refusing.entry(leader).or_insert(now);
                refused.push(leader);
                drained.wait_until(deadline);
                if !drained.waiting_nodes.contains(&leader) {
                    drained.waiting_nodes.push(leader);
                }
                continue;
            }
            if allowed != Some(leader) {
                allowed = Some(leader);
                self.refusing.remove(&leader);
            }
            let size = front.estimated_size(topic.ratio);
            let request = drained.requests.iter().position(|request| request.node == leader);
            if request.is_some_and(|place| drained.requests[place].size + size > self.config.max_request_size) {
                drained.wait_until(now);
                continue;
            }
            let stamp = if self.config.idempotent {
                let Some(producer) = self.producer else {
                    drained.need_producer_id = transaction.is_none();
                    continue;
                };
                match stamp_next(partition, producer) {
                    Stamp::Go(stamp) => stamp,
                    Stamp::Wait => {
                        drained.wait_until(deadline);
                        continue;
                    }
                    Stamp::Bump => {
                        match &mut self.transactions {
                            Some(transactions) => transactions.lost_track(),
                            None => self.bump.push((index, number)),
                        }
                        drained.wait_until(now);
                        continue;
                    }
                }
            } else {
                ProducerStamp::NONE
            };
            let Some(mut batch) = partition.queue.pop_front() else { continue };
            batch.stamp = stamp;
            batch.closed = true;
            batch.last_attempt = now;
            batch.leader_epoch = partition.leader_epoch;
            partition.in_flight += 1;
            drained.wait_until(deadline);
            if partition.queue.is_empty() {
                partition.active = false;
                partition.queue = Batches::new();
                self.active.pop_back();
            } else {
                drained.more = true;
            }
            let sent = Sent { topic: index, partition: number, batch };
            match request {
                Some(place) => {
                    drained.requests[place].size += size;
                    drained.requests[place].batches.push(sent);
                }
                None => {
                    let id = self.next_request_id;
                    self.next_request_id += 1;
                    drained.requests.push(Request { id, node: leader, batches: vec![sent], size });
                }
            }
        }
        if std::mem::take(&mut self.stuck_to_a_partition) && self.config.adaptive {
            self.update_load(now);
        }
        drained
    }

    /// KIP-360: partitions whose numbering is broken start again at 0 under the next epoch; the others follow when they are quiet.
    fn apply_epoch_bump(&mut self) {
        if self.bump.is_empty() {
            return;
        }
        let mut partitions = std::mem::take(&mut self.bump);
        if let (true, Some(producer)) = (self.is_transactional(), self.producer) {
            // The partition has nothing of this producer: the epoch can stay, and with it the transaction.
            for (topic, number) in partitions {
                self.topics[topic].partitions[number as usize].sequences.restart(producer);
            }
            return;
        }
        for (topic, number) in &partitions {
            self.release(*topic, *number);
        }
        let Some(producer) = self.producer else {
            self.renumber.append(&mut partitions);
            return;
        };
        let bumped = match producer.epoch {
            // The epochs of this id are used up: a new one is asked for, and numbering starts over with it.
            i16::MAX => {
                self.producer = None;
                self.renumber.append(&mut partitions);
                return;
            }
            epoch => ProducerId { id: producer.id, epoch: epoch + 1 },
        };
        tracing::debug!(producer_id = bumped.id, epoch = bumped.epoch, "producer epoch bumped");
        self.producer = Some(bumped);
        for (topic, number) in partitions {
            self.topics[topic].partitions[number as usize].sequences.restart(bumped);
        }
    }

    fn update_load(&mut self, now: Instant) {
        let mut queues = Vec::new();
        let (refusing, timeout) = (&self.refusing, self.config.availability_timeout);
        let stuck = |leader: Option<i32>| {
            let since = leader.and_then(|leader| refusing.get(&leader));
            since.zip(timeout).is_some_and(|(since, timeout)| now.saturating_since(*since) > timeout)
        };
        for topic in self.topics.iter_mut().filter(|topic| topic.partitions.len() > 1) {
            queues.clear();
            for number in &topic.available {
                let partition = &topic.partitions[*number as usize];
                if !stuck(partition.leader) {
                    queues.push((*number, partition.queue.len() as u32));
                }
            }
            topic.sticky.update_load(&queues, topic.partitions.len());
        }
    }
}

enum Stamp {
    Go(ProducerStamp),
    Wait,
    Bump,
}

/// The numbers of the next batch of a partition, if it may go now.
fn stamp_next(partition: &mut Partition, producer: ProducerId) -> Stamp {
    let Some(front) = partition.queue.front() else { return Stamp::Wait };
    let held = partition.held.len();
    if held > 0 && partition.sequences.find(front.id).is_none() {
        // Numbers go on when it is known what the broker has.
        return Stamp::Wait;
    }
    if partition.sequences.unresolved {
        if partition.sequences.unfinished() > 0 && partition.sequences.find(front.id).is_none() {
            return Stamp::Wait;
        }
        if partition.sequences.unfinished() == 0 {
            if !partition.sequences.everything_acknowledged() {
                return Stamp::Bump;
            }
            partition.sequences.unresolved = false;
        }
    }
    let entry = match partition.sequences.find(front.id) {
        // Another attempt waits until everything numbered before it is done, or held because this attempt can tell what became of it.
        Some(entry) if partition.sequences.position(entry.batch) == Some(held) => entry,
        Some(_) => return Stamp::Wait,
        None => match partition.sequences.number(front.id, front.count, producer) {
            Some(entry) => entry,
            None => return Stamp::Wait,
        },
    };
    Stamp::Go(ProducerStamp { producer_id: entry.producer.id, producer_epoch: entry.producer.epoch, base_sequence: entry.base_sequence })
}
