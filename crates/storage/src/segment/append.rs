//! Appends: one write; the indexes follow in memory. Hot path.

use super::{RECENT, Segment};
use crate::config::LogConfig;
use crate::error::LogError;
use crate::index::txn::AbortedTxn;
use crate::index::{Entry, OffsetEntry, TimeEntry};
use crate::producer_state::CompletedTxn;
use crate::scan::HeadScan;
use base::disk::Disk;
use std::sync::OnceLock;

/// What an append needs to know of each batch it writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Appended {
    pub last_offset: i64,
    pub max_timestamp: i64,
    pub size: u64,
}

impl Segment {
    /// Whether an append of `incoming` bytes must go to a new segment.
    pub fn should_roll(
        &self,
        disk: &dyn Disk,
        config: &LogConfig,
        incoming: u64,
        max_timestamp: i64,
        last_offset: i64,
        now_ms: i64,
    ) -> bool {
        let due = || self.size > 0 && self.waited_ms(disk, now_ms, max_timestamp) > config.max_segment_ms() - self.jitter_ms;
        let entries = |size: usize| config.segment_index_bytes.max(0) as usize / size;
        self.size + incoming > config.segment_bytes.max(0) as u64
            || last_offset.saturating_sub(self.base_offset) > i64::from(i32::MAX)
            || self.offsets.growing_len() >= entries(OffsetEntry::SIZE).max(1)
            || self.times.growing_len() >= entries(TimeEntry::SIZE).saturating_sub(1).max(1)
            || due()
    }

    /// Time from the first batch to `max_timestamp`, or since creation when batches carry no time.
    fn waited_ms(&self, disk: &dyn Disk, now_ms: i64, max_timestamp: i64) -> i64 {
        match self.first_timestamp(disk) {
            first if first >= 0 => max_timestamp.saturating_sub(first),
            _ => now_ms.saturating_sub(self.created_ms),
        }
    }

    /// Of the first batch; -1 if there is none.
    pub fn first_timestamp(&self, disk: &dyn Disk) -> i64 {
        if self.size == 0 {
            return -1;
        }
        if let Some(first) = self.first_timestamp.get() {
            return *first;
        }
        let read = || -> Option<i64> {
            let head = HeadScan::new(self.log.get(disk).ok()?.as_ref(), 0, self.size).next().ok()??;
            Some(head.view()?.max_timestamp())
        };
        *self.first_timestamp.get_or_init(|| read().unwrap_or(-1))
    }

    /// Writes `first` then `second` at the end; `batches` describes them.
    pub fn append(
        &mut self,
        disk: &dyn Disk,
        config: &LogConfig,
        first: &[u8],
        second: &[u8],
        batches: &[Appended],
    ) -> Result<(), LogError> {
        let file = self.log.get(disk).map_err(LogError::io("cannot open", self.log.path()))?;
        if let Err(error) = file.write_two_at(first, second, self.size) {
            // A part may have been written: a log that is closed and opened again must not find it. Cutting needs no space.
            file.set_len(self.size).map_err(LogError::io("cannot undo a failed append to", self.log.path()))?;
            return Err(LogError::io("cannot append to (is the disk full?)", self.log.path())(error));
        }
        if self.size == 0
            && let Some(batch) = batches.first()
        {
            self.first_timestamp = OnceLock::from(batch.max_timestamp);
        }
        let interval = config.index_interval_bytes.max(0) as u64;
        for batch in batches {
            self.note(batch, interval);
        }
        // So that memory stays bounded. What fails here is tried again by the next append, and by the flush, which reports it.
        if let Err(error) = self.persist_indexes(disk, false) {
            tracing::debug!(%error, "index entries stay in memory");
        }
        Ok(())
    }

    /// Bookkeeping for one batch that now lies at the end.
    pub(super) fn note(&mut self, batch: &Appended, interval: u64) {
        self.indexes_synced = false;
        let (mut max, mut max_offset) = self.max_timestamp.get().copied().unwrap_or((-1, -1));
        if batch.max_timestamp > max {
            (max, max_offset) = (batch.max_timestamp, batch.last_offset);
            self.max_timestamp = OnceLock::from((max, max_offset));
        }
        if self.bytes_since_index > interval {
            self.offsets.push(OffsetEntry { relative_offset: self.relative(batch.last_offset), position: self.size as u32 });
            if max >= 0 {
                self.times.push(TimeEntry { timestamp: max, relative_offset: self.relative(max_offset) });
            }
            self.bytes_since_index = 0;
        }
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((batch.last_offset, self.size));
        self.size += batch.size;
        self.bytes_since_index += batch.size;
    }

    pub fn add_aborted(&mut self, disk: &dyn Disk, txn: &CompletedTxn, last_stable_offset: i64) -> Result<(), LogError> {
        let entry =
            AbortedTxn { producer_id: txn.producer_id, first_offset: txn.first_offset, last_offset: txn.last_offset, last_stable_offset };
        self.txns.note(disk, entry).map_err(LogError::io("cannot write the transaction index of", self.log.path()))
    }
}
