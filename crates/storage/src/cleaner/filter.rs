//! What stays of each batch. Kafka: Cleaner.cleanInto, Cleaner.shouldRetainRecord, MemoryRecords.filterTo. Hot path.

use super::offset_map::OffsetMap;
use super::transactions::Transactions;
use super::{CleanError, CleanStats};
use crate::config::LogConfig;
use crate::error::LogError;
use bytes::Bytes;
use record::filter::{RawRecord, RawRecords, payload, write_empty, write_filtered};
use record::{Batch, BatchBuilder, BatchFields, BatchView, Codec, Record, TimestampType};
use std::collections::HashMap;
use std::path::Path;

/// The last thing the log knows of a producer that is still active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LastRecord {
    pub last_data_offset: Option<i64>,
    pub producer_epoch: i16,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Gone,
    /// Its bytes stay as they are.
    Untouched,
    /// Written anew, to the end of the output.
    Rewritten {
        last_offset: i64,
        max_timestamp: i64,
    },
}

/// One pass over the segments of a group.
pub(super) struct Filter<'a> {
    pub map: &'a OffsetMap,
    pub config: &'a LogConfig,
    pub transactions: &'a mut Transactions,
    pub last_records: &'a HashMap<i64, LastRecord>,
    /// Where this cleaning ends: the batch before it stays, empty if need be, so that the log's end is not forgotten.
    pub upper_bound: i64,
    pub now_ms: i64,
    /// For messages of formats before 2: their segment is young enough that tombstones stay.
    pub keeps_legacy_tombstones: bool,
    pub stats: &'a mut CleanStats,
    pub scratch: &'a mut Vec<u8>,
}

impl Filter<'_> {
    /// Decides on a batch, and appends it to `out` if it has to be written anew.
    pub fn batch(&mut self, view: &BatchView<'_>, path: &Path, out: &mut Vec<u8>) -> Result<Outcome, CleanError> {
        let corrupt =
            |problem: String| CleanError::Log(LogError::corrupt(path, format!("batch at offset {}: {problem}", view.base_offset())));
        if !view.is_valid() {
            return Err(corrupt("its checksum is wrong".into()));
        }
        self.stats.messages_read += i64::from(view.count().unwrap_or(0).max(0)) as u64;
        self.stats.bytes_read += view.size() as u64;
        let discardable =
            if view.is_control() { self.transactions.on_control_batch(view, path)? } else { self.transactions.on_batch(view) };
        // A marker waits as long as a tombstone once nothing of its transaction is left.
        let horizon = view.delete_horizon_ms();
        let discarded = discardable && (!view.is_control() || horizon.is_some_and(|at| at <= self.now_ms));
        let empty_if_needed = self.is_last_of_producer(view) || view.next_offset() == self.upper_bound;
        if discarded {
            return self.without_records(view, empty_if_needed, out);
        }
        if view.magic() < 2 {
            return self.legacy(view, out).map_err(|e| corrupt(e.to_string()));
        }
        let records = payload(view, self.config.max_decompressed_bytes).map_err(|e| corrupt(e.to_string()))?;
        let mut kept: Vec<RawRecord<'_>> = Vec::new();
        let (mut all, mut tombstones) = (true, false);
        for record in RawRecords::new(view, &records).map_err(|e| corrupt(e.to_string()))? {
            let record = record.map_err(|e| corrupt(e.to_string()))?;
            let offset = view.base_offset() + i64::from(record.offset_delta);
            let keeps_tombstones = horizon.is_none_or(|at| self.now_ms < at);
            if view.is_control() || self.stays(record.key, record.has_value, offset, keeps_tombstones) {
                tombstones |= !record.has_value;
                kept.push(record);
            } else {
                all = false;
            }
        }
        if kept.is_empty() {
            return self.without_records(view, empty_if_needed, out);
        }
        self.stats.messages_written += kept.len() as u64;
        let needs_horizon = (tombstones || (discardable && view.is_control())) && horizon.is_none();
        if all && !needs_horizon {
            self.stats.bytes_written += view.size() as u64;
            return Ok(Outcome::Untouched);
        }
        let horizon = if needs_horizon { Some(self.now_ms.saturating_add(self.config.delete_retention_ms)) } else { horizon };
        let before = out.len();
        let max_timestamp = write_filtered(view, &kept, horizon, self.scratch, out).map_err(|e| corrupt(e.to_string()))?;
        self.stats.bytes_written += (out.len() - before) as u64;
        Ok(Outcome::Rewritten { last_offset: view.last_offset(), max_timestamp })
    }

    /// The batch with the last sequence of an active producer stays, or the marker with its last epoch when no data is known.
    fn is_last_of_producer(&self, view: &BatchView<'_>) -> bool {
        if !view.has_producer_id() {
            return false;
        }
        self.last_records.get(&view.producer_id()).is_some_and(|last| match last.last_data_offset {
            Some(offset) => view.last_offset() == offset,
            None => view.is_control() && view.producer_epoch() == last.producer_epoch,
        })
    }

    fn without_records(&mut self, view: &BatchView<'_>, stays: bool, out: &mut Vec<u8>) -> Result<Outcome, CleanError> {
        // Formats before 2 know no empty batches.
        if !stays || view.magic() < 2 {
            return Ok(Outcome::Gone);
        }
        if view.count() == Some(0) {
            self.stats.bytes_written += view.size() as u64;
            return Ok(Outcome::Untouched);
        }
        let before = out.len();
        write_empty(view, out).map_err(|e| CleanError::Log(LogError::OutOfRange(e.to_string())))?;
        self.stats.bytes_written += (out.len() - before) as u64;
        Ok(Outcome::Rewritten { last_offset: view.last_offset(), max_timestamp: view.max_timestamp() })
    }

    #[inline]
    fn stays(&mut self, key: Option<&[u8]>, has_value: bool, offset: i64, keeps_tombstones: bool) -> bool {
        if offset > self.map.latest_offset() {
            return true;
        }
        match key {
            Some(key) => (has_value || keeps_tombstones) && offset >= self.map.get(key),
            None => {
                self.stats.invalid_messages_read += 1;
                false
            }
        }
    }

    /// Messages of formats before 2 become batches of format 2.
    fn legacy(&mut self, view: &BatchView<'_>, out: &mut Vec<u8>) -> Result<Outcome, record::RecordError> {
        let batch = Batch::new(Bytes::copy_from_slice(view.bytes()))?;
        let mut kept: Vec<Record> = Vec::new();
        for record in batch.records(self.config.max_decompressed_bytes)? {
            let record = record?;
            if self.stays(record.key.as_deref(), record.value.is_some(), record.offset, self.keeps_legacy_tombstones) {
                kept.push(record);
            }
        }
        let (Some(first), Some(last)) = (kept.first(), kept.last()) else { return Ok(Outcome::Gone) };
        let tombstones = kept.iter().any(|record| record.value.is_none());
        let last_offset = last.offset;
        let mut builder = BatchBuilder::new(BatchFields {
            base_offset: first.offset,
            codec: Codec::new(view.compression()?),
            timestamp_type: view.timestamp_type(),
            log_append_time: if view.timestamp_type() == TimestampType::LogAppendTime {
                view.max_timestamp()
            } else {
                record::NO_TIMESTAMP
            },
            delete_horizon_ms: tombstones.then(|| self.now_ms.saturating_add(self.config.delete_retention_ms)),
            ..BatchFields::default()
        });
        for record in &kept {
            let delta = i32::try_from(record.offset - first.offset);
            let delta = delta.map_err(|_| record::RecordError::Invalid("its offsets are too far apart".into()))?;
            builder.append_at(delta, record.timestamp, record.key.as_deref(), record.value.as_deref(), &[]);
        }
        let bytes = builder.build().map_err(|e| record::RecordError::Invalid(format!("cannot be written anew: {e}")))?;
        let max_timestamp = BatchView::first(&bytes)?.map_or(record::NO_TIMESTAMP, |view| view.max_timestamp());
        self.stats.messages_written += kept.len() as u64;
        self.stats.bytes_written += bytes.len() as u64;
        out.extend_from_slice(&bytes);
        Ok(Outcome::Rewritten { last_offset, max_timestamp })
    }
}
