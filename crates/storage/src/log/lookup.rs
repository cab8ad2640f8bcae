//! Offsets by time, exact to the record. Kafka: UnifiedLog.fetchOffsetByTimestamp.

use super::Log;
use crate::error::LogError;
use record::TimestampType;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampOffset {
    /// -1 where the question was not about time.
    pub timestamp: i64,
    pub offset: i64,
    pub leader_epoch: Option<i32>,
}

impl TimestampOffset {
    fn found((timestamp, offset, epoch): (i64, i64, i32)) -> Self {
        Self { timestamp, offset, leader_epoch: (epoch >= 0).then_some(epoch) }
    }
}

impl Log {
    /// The first record with at least this timestamp.
    pub fn offset_for_timestamp(&self, timestamp: i64) -> Result<Option<TimestampOffset>, LogError> {
        let disk = self.disk.as_ref();
        for segment in &self.segments[self.segment_at(self.log_start_offset)..] {
            let (max, _) = segment.max_timestamp(disk)?;
            if segment.size == 0 || max < timestamp {
                continue;
            }
            let found = segment.find_timestamp(disk, timestamp, self.log_start_offset, self.config.max_decompressed_bytes)?;
            if let Some(found) = found {
                return Ok(Some(TimestampOffset::found(found)));
            }
        }
        Ok(None)
    }

    /// The timestamp of the first record at or after `offset` that consumers may read already, negative if it has none; None if there is
    /// no record. Told from the header of its batch, with one or two small reads: exact for the first record of a batch and for batches
    /// stamped by the broker, else the time of the batch's first record, which is earlier by what the producer lingered.
    pub fn timestamp_at(&self, offset: i64) -> Result<Option<i64>, LogError> {
        let offset = offset.max(self.log_start_offset);
        if offset >= self.high_watermark {
            return Ok(None);
        }
        let disk = self.disk.as_ref();
        for segment in &self.segments[self.segment_at(offset)..] {
            let Some(head) = segment.find_data(disk, offset)? else { continue };
            let Some(view) = head.view().filter(|view| view.base_offset() < self.high_watermark) else { return Ok(None) };
            let timestamp = match view.timestamp_type() {
                // Where the time of the first record stands, compaction may have written when tombstones are to go.
                TimestampType::CreateTime if view.delete_horizon_ms().is_some() => view.max_timestamp(),
                TimestampType::CreateTime => view.base_timestamp(),
                TimestampType::LogAppendTime => view.max_timestamp(),
            };
            return Ok(Some(timestamp));
        }
        Ok(None)
    }

    /// The log start.
    pub fn earliest_offset(&self) -> TimestampOffset {
        let leader_epoch = self.epochs.epoch_for_offset(self.log_start_offset);
        TimestampOffset { timestamp: -1, offset: self.log_start_offset, leader_epoch }
    }

    /// The first record that carries the largest timestamp of all.
    pub fn offset_of_max_timestamp(&self) -> Result<Option<TimestampOffset>, LogError> {
        let disk = self.disk.as_ref();
        let mut best: Option<(i64, usize)> = None;
        for (at, segment) in self.segments.iter().enumerate() {
            let (max, _) = segment.max_timestamp(disk)?;
            if max >= 0 && best.is_none_or(|(known, _)| max > known) {
                best = Some((max, at));
            }
        }
        let Some((_, at)) = best else { return Ok(None) };
        let found = self.segments[at].record_of_max_timestamp(disk, self.config.max_decompressed_bytes)?;
        Ok(found.map(TimestampOffset::found))
    }
}
