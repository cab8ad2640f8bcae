//! Appending: as leader (offsets are assigned), as raft leader and follower (offsets are given). Kafka: UnifiedLog.append. Hot path.

use super::Log;
use crate::error::AppendError;
use crate::producer_state::{Context, ProducerError, Update};
use crate::segment::Appended;
use crate::verification::{Verification, VerificationGuard};
use base::Now;
use bytes::Bytes;
use record::{BatchView, EndTxnMarker, Origin, TimestampType, ValidationError};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendInfo {
    pub first_offset: i64,
    pub last_offset: i64,
    /// -1 unless the topic uses LogAppendTime.
    pub log_append_time_ms: i64,
    pub max_timestamp: i64,
    pub log_start_offset: i64,
    /// The batch was already there; the offsets are those of then.
    pub duplicate: bool,
    /// Bytes written.
    pub size: usize,
    pub record_count: i64,
}

impl From<ProducerError> for AppendError {
    fn from(error: ProducerError) -> Self {
        AppendError::Producer { code: error.code, message: error.message }
    }
}

impl Log {
    /// Checks the one batch in `records`, assigns offsets from the log end on and writes it. A raft leader's batches have offsets and
    /// epoch already and are written as they are.
    pub fn append_as_leader(&mut self, records: Bytes, leader_epoch: i32, origin: Origin, now: Now) -> Result<AppendInfo, AppendError> {
        if matches!(origin, Origin::RaftLeader | Origin::Replication) {
            return self.append_as_is(&records, leader_epoch, origin, now);
        }
        self.append_validated(&records, leader_epoch, origin, Verification::NotRequired, 0, now)
    }

    /// The same for a batch that may be part of a transaction: the one that opens it needs the guard of `start_verification`.
    pub fn append_in_transaction(
        &mut self,
        records: Bytes,
        leader_epoch: i32,
        origin: Origin,
        verification: Verification,
        now: Now,
    ) -> Result<AppendInfo, AppendError> {
        self.append_validated(&records, leader_epoch, origin, verification, 0, now)
    }

    /// Begins the verification of a producer's transaction (KIP-890); `None` when the transaction is open in this log.
    pub fn start_verification(
        &mut self,
        producer_id: i64,
        base_sequence: i32,
        epoch: i16,
        supports_epoch_bump: bool,
        now: Now,
    ) -> Result<Option<VerificationGuard>, AppendError> {
        Ok(self.producers.start_verification(producer_id, base_sequence, epoch, supports_epoch_bump, now.wall_ms)?)
    }

    /// An end-of-transaction marker; version 2 transactions want a bumped epoch.
    pub fn append_end_txn_marker(
        &mut self,
        records: Bytes,
        leader_epoch: i32,
        transaction_version: i16,
        now: Now,
    ) -> Result<AppendInfo, AppendError> {
        self.append_validated(&records, leader_epoch, Origin::Coordinator, Verification::NotRequired, transaction_version, now)
    }

    /// `leader_epoch`: the epoch the replica fetched with; batches from the first one with a later epoch on are dropped.
    pub fn append_as_follower(&mut self, records: Bytes, leader_epoch: i32, now: Now) -> Result<AppendInfo, AppendError> {
        self.append_as_is(&records, leader_epoch, Origin::Replication, now)
    }

    fn append_validated(
        &mut self,
        records: &Bytes,
        leader_epoch: i32,
        origin: Origin,
        verification: Verification,
        transaction_version: i16,
        now: Now,
    ) -> Result<AppendInfo, AppendError> {
        let base = self.log_end_offset;
        let rules = self.config.rules();
        let valid = record::validate(records, &self.topic_partition, &rules, origin, base, leader_epoch, now.wall_ms)?;
        let size = valid.size();
        self.check_segment_size(size)?;
        let log_append_time_ms = match self.config.message_timestamp_type {
            TimestampType::LogAppendTime => now.wall_ms,
            TimestampType::CreateTime => record::NO_TIMESTAMP,
        };
        let Some((header, _)) = BatchView::head(&valid.header)? else {
            return Err(ValidationError::new(-1, "a validated batch has no header").into());
        };
        let mut info = AppendInfo {
            first_offset: base,
            last_offset: valid.last_offset,
            log_append_time_ms,
            max_timestamp: valid.max_timestamp,
            log_start_offset: self.log_start_offset,
            duplicate: false,
            size,
            record_count: i64::from(valid.record_count),
        };
        let mut update = Update::default();
        if header.has_producer_id() {
            if origin == Origin::Client
                && let Some(earlier) = self.producers.duplicate_of(&header)
            {
                info.first_offset = earlier.first_offset();
                info.last_offset = earlier.last_offset;
                info.log_append_time_ms = earlier.timestamp;
                info.duplicate = true;
                info.size = 0;
                return Ok(info);
            }
            self.producers.check_verification(&header, verification)?;
            let context = Context { topic_partition: &self.topic_partition, origin, transaction_version };
            self.prepare(&mut update, context, &header, || valid.to_bytes())?;
        }
        self.epochs.assign(leader_epoch, base);
        let appended = Appended { last_offset: valid.last_offset, max_timestamp: valid.max_timestamp, size: size as u64 };
        self.write(&valid.header, &valid.payload, &[appended], base, &mut update, now)?;
        Ok(info)
    }

    /// Batches that carry their offsets: checked for damage and order, written unchanged.
    fn append_as_is(&mut self, records: &Bytes, leader_epoch: i32, origin: Origin, now: Now) -> Result<AppendInfo, AppendError> {
        let mut batches = Vec::with_capacity(4);
        let mut update = Update::default();
        let mut epochs: Vec<(i32, i64)> = Vec::new();
        let mut info = AppendInfo {
            first_offset: -1,
            last_offset: -1,
            log_append_time_ms: record::NO_TIMESTAMP,
            max_timestamp: record::NO_TIMESTAMP,
            log_start_offset: self.log_start_offset,
            duplicate: false,
            size: 0,
            record_count: 0,
        };
        let mut expected = self.log_end_offset;
        while let Some(view) = BatchView::first(&records[info.size..])? {
            if origin == Origin::RaftLeader && view.leader_epoch() != leader_epoch {
                let problem = format!(
                    "Append from Raft leader did not set the batch epoch correctly, expected {leader_epoch} but the batch has {}",
                    view.leader_epoch()
                );
                return Err(record::RecordError::Invalid(problem).into());
            }
            if origin == Origin::Replication && view.leader_epoch() > leader_epoch {
                tracing::info!(partition = %self.topic_partition, ?view, leader_epoch, "dropping batches of a later leader epoch");
                break;
            }
            if !view.is_valid() {
                let problem =
                    format!("Record is corrupt (stored crc = {}) in topic partition {}.", view.stored_crc(), self.topic_partition);
                return Err(record::RecordError::Corrupt(problem).into());
            }
            let (first, last) = (view.base_offset(), view.last_offset());
            if first < expected || last < first {
                return Err(AppendError::UnexpectedOffset(format!(
                    "Unexpected offset in append to {}: batch {first}..={last} does not follow offset {expected}. Log start offset = {}",
                    self.topic_partition, self.log_start_offset
                )));
            }
            expected = last + 1;
            if view.magic() >= 2 && epochs.last().is_none_or(|(epoch, _)| *epoch != view.leader_epoch()) {
                epochs.push((view.leader_epoch(), first));
            }
            if view.has_producer_id() {
                let context = Context { topic_partition: &self.topic_partition, origin, transaction_version: 0 };
                let start = info.size;
                self.prepare(&mut update, context, &view, || records.slice(start..start + view.size()))?;
            }
            if info.first_offset < 0 {
                info.first_offset = first;
            }
            info.last_offset = last;
            info.max_timestamp = info.max_timestamp.max(view.max_timestamp());
            info.size += view.size();
            info.record_count += i64::from(view.count().unwrap_or(1));
            batches.push(Appended { last_offset: last, max_timestamp: view.max_timestamp(), size: view.size() as u64 });
        }
        if info.size == 0 {
            return Ok(info);
        }
        self.check_segment_size(info.size)?;
        for (epoch, start) in epochs {
            self.epochs.assign(epoch, start);
        }
        self.write(&records[..info.size], &[], &batches, info.first_offset, &mut update, now)?;
        Ok(info)
    }

    /// What a producer's batch changes. `bytes` is only asked for when the batch holds a marker.
    fn prepare(
        &self,
        update: &mut Update,
        context: Context<'_>,
        view: &BatchView<'_>,
        bytes: impl FnOnce() -> Bytes,
    ) -> Result<(), AppendError> {
        let (first, last) = (view.base_offset(), view.last_offset());
        if !view.is_control() {
            return Ok(self.producers.prepare(update, context, view, first, last, view.max_timestamp())?);
        }
        let marker = EndTxnMarker::from_batch(&record::Batch::new(bytes())?)?;
        match marker {
            Some((marker, timestamp)) => Ok(self.producers.prepare_marker(update, context, view, first, marker, timestamp)?),
            None => Ok(()),
        }
    }

    fn check_segment_size(&self, size: usize) -> Result<(), AppendError> {
        if size <= self.config.segment_bytes.max(0) as usize {
            return Ok(());
        }
        Err(AppendError::BatchTooLarge(format!(
            "Message batch size is {size} bytes in append to partition {}, which exceeds the maximum configured segment size of {}.",
            self.topic_partition, self.config.segment_bytes
        )))
    }

    /// Everything is checked: identity to disk, roll if needed, one write, then the state that follows from it.
    fn write(
        &mut self,
        first: &[u8],
        second: &[u8],
        batches: &[Appended],
        first_offset: i64,
        update: &mut Update,
        now: Now,
    ) -> Result<(), AppendError> {
        self.sync_identity()?;
        self.epochs.persist_overdue(self.disk.as_ref(), &self.dir)?;
        let Some(last) = batches.last() else { return Ok(()) };
        let max_timestamp = batches.iter().map(|b| b.max_timestamp).max().unwrap_or(record::NO_TIMESTAMP);
        let incoming = (first.len() + second.len()) as u64;
        if self.active().should_roll(self.disk.as_ref(), &self.config, incoming, max_timestamp, last.last_offset, now.wall_ms) {
            // A gap before the first batch belongs to neither segment; the new one starts where the batch does.
            let end = self.log_end_offset;
            self.log_end_offset = first_offset.max(end);
            let rolled = self.roll(now);
            if rolled.is_err() {
                self.log_end_offset = end;
            }
            rolled?;
        }
        let at = self.segments.len() - 1;
        self.segments[at].append(self.disk.as_ref(), &self.config, first, second, batches)?;
        self.log_end_offset = last.last_offset + 1;
        if update.is_empty() {
            return Ok(());
        }
        self.producers.apply(update);
        for completed in update.completed.drain(..) {
            let last_stable_offset = self.producers.last_stable_offset_after(&completed);
            if completed.aborted {
                self.segments[at].add_aborted(self.disk.as_ref(), &completed, last_stable_offset)?;
            }
            self.producers.complete(&completed);
        }
        Ok(())
    }
}
