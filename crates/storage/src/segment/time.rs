//! Finding times: the largest of the segment, and the first record at or after one.

use super::Segment;
use crate::error::LogError;
use crate::index::TimeEntry;
use crate::scan::{BatchScan, HeadScan, Scanned, unreadable};
use base::disk::Disk;
use std::ops::ControlFlow;

impl Segment {
    /// (timestamp, last offset of its batch), -1 when nothing has one.
    pub fn max_timestamp(&self, disk: &dyn Disk) -> Result<(i64, i64), LogError> {
        if let Some(max) = self.max_timestamp.get() {
            return Ok(*max);
        }
        // A sealed segment's last time entry is its maximum; without entries the headers tell.
        let entry = self.times.last(disk).map_err(self.io("cannot read the time index of"))?;
        let max = match entry {
            Some(entry) if self.is_right_time(disk, entry)? => (entry.timestamp, self.base_offset + i64::from(entry.relative_offset)),
            _ => self.scan_max_timestamp(disk, 0, (-1, -1))?,
        };
        Ok(*self.max_timestamp.get_or_init(|| max))
    }

    /// Whether the batch that a time entry names has that time: a wrong one would hide records, or have retention delete them early.
    pub(super) fn is_right_time(&self, disk: &dyn Disk, entry: TimeEntry) -> Result<bool, LogError> {
        if self.is_misled() {
            return Ok(false);
        }
        let offset = self.base_offset + i64::from(entry.relative_offset);
        let right = match self.find_head(disk, offset) {
            Ok(head) => {
                head.is_some_and(|head| head.view().is_some_and(|v| v.max_timestamp() == entry.timestamp && v.base_offset() <= offset))
            }
            Err(LogError::Damaged { .. }) => false,
            Err(error) => return Err(error),
        };
        if !right {
            self.distrust_indexes();
        }
        Ok(right)
    }

    pub(super) fn scan_max_timestamp(&self, disk: &dyn Disk, from: u64, mut max: (i64, i64)) -> Result<(i64, i64), LogError> {
        if from >= self.size {
            return Ok(max);
        }
        let file = self.file(disk)?;
        let mut heads = HeadScan::of_segment(file.as_ref(), self.base_offset, from, self.size);
        while let Some(head) = heads.next().map_err(unreadable(self.log.path()))? {
            if let Some(view) = head.view()
                && view.max_timestamp() > max.0
            {
                max = (view.max_timestamp(), view.last_offset());
            }
        }
        Ok(max)
    }

    /// The largest timestamp, or when the file was last changed if no record has one.
    pub fn largest_timestamp(&self, disk: &dyn Disk) -> Result<i64, LogError> {
        let (max, _) = self.max_timestamp(disk)?;
        if max >= 0 {
            return Ok(max);
        }
        Ok(disk.info(self.log.path()).map_err(self.io("cannot stat"))?.modified_ms)
    }

    /// The first record at or after `timestamp` and at or after `from`: (timestamp, offset, epoch).
    pub fn find_timestamp(&self, disk: &dyn Disk, timestamp: i64, from: i64, cap: usize) -> Result<Option<(i64, i64, i32)>, LogError> {
        let mut entry = self.times.floor(disk, |e| e.timestamp <= timestamp).map_err(self.io("cannot search the time index of"))?;
        if let Some(found) = entry
            && !self.is_right_time(disk, found)?
        {
            entry = None;
        }
        let indexed = entry.map_or(self.base_offset, |e| self.base_offset + i64::from(e.relative_offset));
        let start = self.index_position(disk, indexed.max(from))?;
        let file = self.file(disk)?;
        let mut batches = BatchScan::new(file.as_ref(), start, self.size);
        loop {
            let batch = match batches.next().map_err(unreadable(self.log.path()))? {
                Scanned::Batch(batch) => batch,
                Scanned::Bad(at, _) => return Err(self.damaged_at((at, indexed))),
                Scanned::End => return Ok(None),
            };
            let view = batch.view();
            if view.max_timestamp() < timestamp || view.last_offset() < from {
                continue;
            }
            let found = first_record(&batch, cap, |ts, offset| ts >= timestamp && offset >= from)
                .map_err(|e| LogError::corrupt(self.log.path(), format!("batch at offset {}: {e}", view.base_offset())))?;
            if let Some((ts, offset)) = found {
                return Ok(Some((ts, offset, view.leader_epoch())));
            }
        }
    }

    /// The first record that carries the segment's largest timestamp.
    pub fn record_of_max_timestamp(&self, disk: &dyn Disk, cap: usize) -> Result<Option<(i64, i64, i32)>, LogError> {
        match self.max_timestamp(disk)? {
            (max, _) if max < 0 => Ok(None),
            (max, _) => self.find_timestamp(disk, max, self.base_offset, cap),
        }
    }
}

/// The first record of a batch that satisfies `wanted`: (timestamp, offset).
fn first_record(batch: &record::Batch, cap: usize, wanted: impl Fn(i64, i64) -> bool) -> Result<Option<(i64, i64)>, record::RecordError> {
    if batch.view().magic() < 2 {
        for record in batch.records(cap)? {
            let record = record?;
            if wanted(record.timestamp, record.offset) {
                return Ok(Some((record.timestamp, record.offset)));
            }
        }
        return Ok(None);
    }
    let mut found = None;
    record::scan_records(&batch.view(), cap, |head| {
        if wanted(head.timestamp, head.offset) {
            found = Some((head.timestamp, head.offset));
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}
