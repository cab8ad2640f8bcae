//! What a partition remembers of its producers: the last five batches of each (to recognise repeats and gaps) and open transactions
//! (to know the last stable offset). Kafka: ProducerStateManager, ProducerStateEntry, ProducerAppendInfo (KIP-98, KIP-360).

use crate::verification::{Verification, VerificationGuard, Verifications};
use base::TopicPartition;
use record::{BatchView, EndTxnMarker, NO_PRODUCER_EPOCH, NO_SEQUENCE, NO_TIMESTAMP, Origin, decrement_sequence};
use std::collections::{BTreeMap, HashMap};

const BATCHES_KEPT: usize = 5;

const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
const INVALID_PRODUCER_EPOCH: i16 = 47;
const INVALID_TXN_STATE: i16 = 48;
const TRANSACTION_COORDINATOR_FENCED: i16 = 52;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchMeta {
    pub last_sequence: i32,
    pub last_offset: i64,
    pub offset_delta: i32,
    pub timestamp: i64,
}

impl BatchMeta {
    pub fn first_offset(&self) -> i64 {
        self.last_offset - i64::from(self.offset_delta)
    }

    pub fn first_sequence(&self) -> i32 {
        decrement_sequence(self.last_sequence, self.offset_delta)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerEntry {
    pub producer_id: i64,
    pub epoch: i16,
    pub coordinator_epoch: i32,
    pub last_timestamp: i64,
    pub current_txn_first_offset: Option<i64>,
    batches: [BatchMeta; BATCHES_KEPT],
    batch_count: usize,
}

impl ProducerEntry {
    pub fn new(producer_id: i64) -> Self {
        Self {
            producer_id,
            epoch: NO_PRODUCER_EPOCH,
            coordinator_epoch: -1,
            last_timestamp: NO_TIMESTAMP,
            current_txn_first_offset: None,
            batches: Default::default(),
            batch_count: 0,
        }
    }

    /// Oldest first.
    pub fn batches(&self) -> &[BatchMeta] {
        &self.batches[..self.batch_count]
    }

    pub fn last_batch(&self) -> Option<&BatchMeta> {
        self.batches().last()
    }

    pub fn last_sequence(&self) -> i32 {
        self.last_batch().map_or(NO_SEQUENCE, |b| b.last_sequence)
    }

    /// A new epoch forgets the batches of the one before.
    fn set_epoch(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.batch_count = 0;
            self.epoch = epoch;
        }
    }

    pub fn add_batch(&mut self, epoch: i16, batch: BatchMeta) {
        self.set_epoch(epoch);
        if self.batch_count == BATCHES_KEPT {
            self.batches.rotate_left(1);
            self.batch_count -= 1;
        }
        self.batches[self.batch_count] = batch;
        self.batch_count += 1;
        self.last_timestamp = batch.timestamp;
    }

    fn duplicate_of(&self, batch: &BatchView<'_>) -> Option<BatchMeta> {
        if batch.producer_epoch() != self.epoch {
            return None;
        }
        let (first, last) = (batch.base_sequence(), batch.last_sequence());
        self.batches().iter().find(|b| b.first_sequence() == first && b.last_sequence == last).copied()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompletedTxn {
    pub producer_id: i64,
    pub first_offset: i64,
    pub last_offset: i64,
    pub aborted: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerError {
    pub code: i16,
    pub message: String,
}

/// What an append will change, computed before anything is written.
#[derive(Debug, Default)]
pub struct Update {
    entries: Vec<ProducerEntry>,
    /// (first offset, producer id)
    started: Vec<(i64, i64)>,
    /// Producers that nobody needs to be asked about any more.
    verified: Vec<i64>,
    pub completed: Vec<CompletedTxn>,
}

impl Update {
    /// As of batches without a producer id.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.started.is_empty() && self.verified.is_empty() && self.completed.is_empty()
    }

    fn entry<'a>(&'a mut self, state: &ProducerState, producer_id: i64) -> &'a mut ProducerEntry {
        let at = match self.entries.iter().position(|e| e.producer_id == producer_id) {
            Some(at) => at,
            None => {
                let entry = state.producers.get(&producer_id).cloned().unwrap_or_else(|| ProducerEntry::new(producer_id));
                self.entries.push(entry);
                self.entries.len() - 1
            }
        };
        &mut self.entries[at]
    }
}

/// Who writes a batch and where; what the checks need besides the batch.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub topic_partition: &'a TopicPartition,
    pub origin: Origin,
    /// Of the marker's transaction; 0 and 1 allow equal epochs, 2 wants a bumped one.
    pub transaction_version: i16,
}

#[derive(Debug, Default)]
pub struct ProducerState {
    producers: HashMap<i64, ProducerEntry>,
    /// Open transactions by first offset.
    ongoing: BTreeMap<i64, i64>,
    /// Ended above the high watermark: first offset to last offset.
    unreplicated: BTreeMap<i64, i64>,
    verifications: Verifications,
}

impl ProducerState {
    pub fn load(&mut self, entries: Vec<ProducerEntry>, now_ms: i64, expiration_ms: i64) {
        for entry in entries {
            if expired(&entry, now_ms, expiration_ms) {
                continue;
            }
            if let Some(first) = entry.current_txn_first_offset {
                self.ongoing.insert(first, entry.producer_id);
            }
            self.producers.insert(entry.producer_id, entry);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// In order of producer id.
    pub fn entries(&self) -> Vec<&ProducerEntry> {
        let mut entries: Vec<_> = self.producers.values().collect();
        entries.sort_by_key(|e| e.producer_id);
        entries
    }

    pub fn get(&self, producer_id: i64) -> Option<&ProducerEntry> {
        self.producers.get(&producer_id)
    }

    /// The earlier batch that this one repeats.
    pub fn duplicate_of(&self, batch: &BatchView<'_>) -> Option<BatchMeta> {
        self.producers.get(&batch.producer_id())?.duplicate_of(batch)
    }

    /// Checks a batch of a producer that will be written at `base_offset..=last_offset`, and adds what it changes to `update`.
    pub fn prepare(
        &self,
        update: &mut Update,
        context: Context<'_>,
        batch: &BatchView<'_>,
        base_offset: i64,
        last_offset: i64,
        max_timestamp: i64,
    ) -> Result<(), ProducerError> {
        let producer_id = batch.producer_id();
        let entry = update.entry(self, producer_id);
        let epoch = batch.producer_epoch();
        check_epoch(entry, context, epoch, base_offset, -1)?;
        if context.origin == Origin::Client {
            self.check_verified_sequence(entry, context, batch.base_sequence(), base_offset)?;
            check_sequence(entry, context, epoch, batch.base_sequence(), base_offset)?;
        }
        let txn_open = entry.current_txn_first_offset.is_some();
        if txn_open && !batch.is_transactional() {
            return Err(ProducerError {
                code: INVALID_TXN_STATE,
                message: format!(
                    "Expected transactional write from producer {producer_id} at offset {base_offset} in partition {}",
                    context.topic_partition
                ),
            });
        }
        entry.add_batch(
            epoch,
            BatchMeta {
                last_sequence: batch.last_sequence(),
                last_offset,
                offset_delta: (last_offset - base_offset) as i32,
                timestamp: max_timestamp,
            },
        );
        if batch.is_transactional() && !txn_open {
            entry.current_txn_first_offset = Some(base_offset);
            update.started.push((base_offset, producer_id));
        }
        if batch.is_transactional() && self.verifications.is_settled_by(producer_id, epoch, false) {
            update.verified.push(producer_id);
        }
        Ok(())
    }

    /// The same for a batch that holds an end-of-transaction marker.
    pub fn prepare_marker(
        &self,
        update: &mut Update,
        context: Context<'_>,
        batch: &BatchView<'_>,
        offset: i64,
        marker: EndTxnMarker,
        timestamp: i64,
    ) -> Result<(), ProducerError> {
        let producer_id = batch.producer_id();
        let entry = update.entry(self, producer_id);
        check_epoch(entry, context, batch.producer_epoch(), offset, context.transaction_version)?;
        if entry.coordinator_epoch > marker.coordinator_epoch && !lenient(context.origin) {
            return Err(ProducerError {
                code: TRANSACTION_COORDINATOR_FENCED,
                message: format!(
                    "Invalid coordinator epoch for producerId {producer_id} at offset {offset} in partition {}: {} (zombie), {} (current)",
                    context.topic_partition, marker.coordinator_epoch, entry.coordinator_epoch
                ),
            });
        }
        let first = entry.current_txn_first_offset.take();
        entry.set_epoch(batch.producer_epoch());
        entry.coordinator_epoch = marker.coordinator_epoch;
        entry.last_timestamp = timestamp;
        if self.verifications.is_settled_by(producer_id, batch.producer_epoch(), true) {
            update.verified.push(producer_id);
        }
        if let Some(first_offset) = first {
            update.completed.push(CompletedTxn { producer_id, first_offset, last_offset: offset, aborted: !marker.commit });
        }
        Ok(())
    }

    /// Takes over what `prepare` computed; completed transactions follow one by one with `complete`.
    pub fn apply(&mut self, update: &mut Update) {
        for entry in update.entries.drain(..) {
            self.producers.insert(entry.producer_id, entry);
        }
        for (first_offset, producer_id) in update.started.drain(..) {
            self.ongoing.insert(first_offset, producer_id);
        }
        for producer_id in update.verified.drain(..) {
            self.verifications.remove(producer_id);
        }
    }

    /// Before the coordinator is asked whether this producer may write here: the guard to append with, `None` when its transaction is open.
    pub fn start_verification(
        &mut self,
        producer_id: i64,
        base_sequence: i32,
        epoch: i16,
        supports_epoch_bump: bool,
        now_ms: i64,
    ) -> Result<Option<VerificationGuard>, ProducerError> {
        self.check_not_stale(producer_id, epoch)?;
        if self.has_ongoing_transaction(producer_id, epoch) {
            return Ok(None);
        }
        Ok(Some(self.verifications.start(producer_id, base_sequence, epoch, supports_epoch_bump, now_ms)))
    }

    /// A batch that opens a transaction needs the guard of a verification that is still current.
    pub fn check_verification(&self, batch: &BatchView<'_>, verification: Verification) -> Result<(), ProducerError> {
        let Verification::Required(guard) = verification else { return Ok(()) };
        let (producer_id, epoch) = (batch.producer_id(), batch.producer_epoch());
        if !batch.is_transactional() || batch.is_control() || self.has_ongoing_transaction(producer_id, epoch) {
            return Ok(());
        }
        self.check_not_stale(producer_id, epoch)?;
        if guard.is_some() && self.verifications.get(producer_id).map(|state| state.guard) == guard {
            return Ok(());
        }
        Err(ProducerError { code: INVALID_TXN_STATE, message: "Record was not part of an ongoing transaction".into() })
    }

    fn check_not_stale(&self, producer_id: i64, epoch: i16) -> Result<(), ProducerError> {
        match self.producers.get(&producer_id) {
            Some(entry) if epoch < entry.epoch => Err(ProducerError {
                code: INVALID_PRODUCER_EPOCH,
                message: format!("Epoch of producer {producer_id} is {epoch}, which is smaller than the last seen epoch {}", entry.epoch),
            }),
            _ => Ok(()),
        }
    }

    /// While the coordinator is asked about a producer, nothing may come before the lowest sequence it has tried to write.
    fn check_verified_sequence(&self, entry: &ProducerEntry, context: Context<'_>, first: i32, offset: i64) -> Result<(), ProducerError> {
        let Some(state) = self.verifications.get(entry.producer_id) else { return Ok(()) };
        let (id, partition) = (entry.producer_id, context.topic_partition);
        let message = if state.supports_epoch_bump && first != 0 && entry.batch_count == 0 {
            format!(
                "Invalid sequence number for producer {id} at offset {offset} in partition {partition}: {first} (incoming seq. number). \
                 Expected sequence 0 for transactions v2 idempotent producer with no existing state."
            )
        } else if first > state.lowest_sequence {
            format!(
                "Out of order sequence number for producer {id} at offset {offset} in partition {partition}: \
                 {first} (incoming seq. number), {} (earliest seen sequence)",
                state.lowest_sequence
            )
        } else {
            return Ok(());
        };
        Err(ProducerError { code: OUT_OF_ORDER_SEQUENCE_NUMBER, message })
    }

    /// The last stable offset once this transaction is complete; goes into the transaction index.
    pub fn last_stable_offset_after(&self, completed: &CompletedTxn) -> i64 {
        self.ongoing.iter().find(|(_, producer)| **producer != completed.producer_id).map_or(completed.last_offset + 1, |(first, _)| *first)
    }

    pub fn complete(&mut self, completed: &CompletedTxn) {
        self.ongoing.remove(&completed.first_offset);
        self.unreplicated.insert(completed.first_offset, completed.last_offset);
    }

    /// Transactions that ended below the high watermark hold nothing back any more.
    pub fn on_high_watermark(&mut self, high_watermark: i64) {
        if !self.unreplicated.is_empty() {
            self.unreplicated.retain(|_, last| *last >= high_watermark);
        }
    }

    pub fn first_unstable_offset(&self) -> Option<i64> {
        let ongoing = self.ongoing.first_key_value().map(|(first, _)| *first);
        let unreplicated = self.unreplicated.first_key_value().map(|(first, _)| *first);
        match (ongoing, unreplicated) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    pub fn has_ongoing_transaction(&self, producer_id: i64, epoch: i16) -> bool {
        self.producers.get(&producer_id).is_some_and(|e| e.epoch == epoch && e.current_txn_first_offset.is_some())
    }

    pub fn remove_expired(&mut self, now_ms: i64, expiration_ms: i64) {
        self.producers.retain(|_, entry| !expired(entry, now_ms, expiration_ms));
        self.verifications.remove_expired(now_ms, expiration_ms);
    }

    /// Forgets what the log said. Whom the coordinator is being asked about is no matter of the log.
    pub fn clear(&mut self) {
        let verifications = std::mem::take(&mut self.verifications);
        *self = Self { verifications, ..Self::default() };
    }
}

fn expired(entry: &ProducerEntry, now_ms: i64, expiration_ms: i64) -> bool {
    entry.current_txn_first_offset.is_none() && now_ms.saturating_sub(entry.last_timestamp) >= expiration_ms
}

/// What a leader already accepted is not judged again by those who copy or replay it.
fn lenient(origin: Origin) -> bool {
    origin == Origin::Replication
}

fn check_epoch(entry: &ProducerEntry, context: Context<'_>, epoch: i16, offset: i64, version: i16) -> Result<(), ProducerError> {
    let invalid = if version >= 2 { epoch <= entry.epoch } else { epoch < entry.epoch };
    // With version 2 a repeated marker of a transaction that is over does no harm.
    let retried = version >= 2 && epoch == entry.epoch && (entry.current_txn_first_offset.is_none() || epoch == i16::MAX);
    if !invalid || retried || lenient(context.origin) {
        return Ok(());
    }
    let comparison = if version >= 2 { "<=" } else { "<" };
    Err(ProducerError {
        code: INVALID_PRODUCER_EPOCH,
        message: format!(
            "Epoch of producer {} at offset {offset} in {} is {epoch}, which is {comparison} the last seen epoch {} (TV{version})",
            entry.producer_id, context.topic_partition, entry.epoch
        ),
    })
}

fn check_sequence(entry: &ProducerEntry, context: Context<'_>, epoch: i16, first: i32, offset: i64) -> Result<(), ProducerError> {
    let out_of_order = |message: String| Err(ProducerError { code: OUT_OF_ORDER_SEQUENCE_NUMBER, message });
    let (id, partition) = (entry.producer_id, context.topic_partition);
    if epoch != entry.epoch {
        // A producer nobody remembers may go on where it was.
        if first != 0 && entry.epoch != NO_PRODUCER_EPOCH {
            return out_of_order(format!(
                "Invalid sequence number for new epoch of producer {id}at offset {offset} in partition {partition}: \
                 {epoch} (request epoch), {first} (seq. number), {} (current producer epoch)",
                entry.epoch
            ));
        }
        return Ok(());
    }
    let last = entry.last_sequence();
    let follows = i64::from(first) == i64::from(last) + 1 || (first == 0 && last == i32::MAX);
    if entry.epoch != NO_PRODUCER_EPOCH && !follows {
        return out_of_order(format!(
            "Out of order sequence number for producer {id} at offset {offset} in partition {partition}: \
             {first} (incoming seq. number), {last} (current end sequence number)"
        ));
    }
    Ok(())
}
