//! What is done about a file that was left by an earlier process, or is cut: the end is found, batches are checked, indexes are made anew.

use super::{Appended, RECENT, Segment};
use crate::config::LogConfig;
use crate::error::LogError;
use crate::index::txn::TxnIndex;
use crate::index::{OffsetEntry, TimeEntry};
use crate::scan::{BatchScan, HeadScan, Scanned, find_next_batch, unreadable};
use base::disk::{Disk, File};
use std::collections::VecDeque;
use std::sync::OnceLock;

/// What a recovery does about bytes that are no batch.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Damage {
    /// Everything below was flushed: damage there is no torn write, and good batches behind it are kept.
    pub flushed_up_to: i64,
    /// Refuse the segment instead of passing over such damage.
    pub refuse: bool,
    /// Leave an unreadable end as it is: nothing will be appended here.
    pub keep_tail: bool,
}

/// A recovery that begins behind what was flushed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resumed {
    pub offset: i64,
    /// How long the file is.
    pub total: u64,
}

impl Segment {
    /// Takes the indexes into memory and finds the log end, scanning only behind the last index entry; a wrong index is rebuilt. None: the
    /// segment does not end with a batch.
    pub fn activate(&mut self, disk: &dyn Disk, config: &LogConfig) -> Result<Option<i64>, LogError> {
        self.offsets.open_end(disk).map_err(LogError::io("cannot read the index of", self.log.path()))?;
        self.times.open_end(disk).map_err(LogError::io("cannot read the time index of", self.log.path()))?;
        let mut last_entry = self.offsets.last(disk).map_err(self.io("cannot read the index of"))?;
        let mut last_time = self.times.last(disk).map_err(self.io("cannot read the time index of"))?;
        let wrong_entry =
            last_entry.is_some_and(|e| u64::from(e.position) >= self.size) || !last_entry.map_or(Ok(true), |e| self.is_right(disk, e))?;
        let wrong_time = match last_time {
            Some(entry) => self.size == 0 || !self.is_right_time(disk, entry)?,
            None => false,
        };
        if wrong_entry || wrong_time {
            self.distrust_indexes();
            self.rebuild_indexes(disk, config)?;
            last_entry = self.offsets.last(disk).map_err(self.io("cannot read the index of"))?;
            last_time = self.times.last(disk).map_err(self.io("cannot read the time index of"))?;
        }
        let start = last_entry.map_or(0, |e| u64::from(e.position));
        let mut max = last_time.map_or((-1, -1), |e| (e.timestamp, self.base_offset + i64::from(e.relative_offset)));
        let mut next_offset = self.base_offset;
        if self.size > 0 {
            let mut recent = VecDeque::new();
            let file = self.file(disk)?;
            let mut heads = HeadScan::of_segment(file.as_ref(), self.base_offset, start, self.size);
            while let Some(head) = heads.next().map_err(unreadable(self.log.path()))? {
                let Some(view) = head.view() else { break };
                next_offset = view.next_offset();
                if view.max_timestamp() > max.0 {
                    max = (view.max_timestamp(), view.last_offset());
                }
                if recent.len() == RECENT {
                    recent.pop_front();
                }
                recent.push_back((view.last_offset(), head.position));
            }
            if let Some(position) = heads.stopped_at() {
                tracing::error!(segment = %self.log.path().display(), position, offset = next_offset, "the segment is damaged");
                return Ok(None);
            }
            self.recent = recent;
            self.bytes_since_index = self.size - start;
            self.log.release();
        }
        self.max_timestamp = OnceLock::from(max);
        Ok(Some(next_offset))
    }

    /// Makes the indexes anew from the headers of the batches. Bytes that are no batch are left where they are, and passed over.
    pub fn rebuild_indexes(&mut self, disk: &dyn Disk, config: &LogConfig) -> Result<(), LogError> {
        let total = self.size;
        self.begin_anew(disk)?;
        let file = self.file(disk)?;
        let interval = config.index_interval_bytes.max(0) as u64;
        while self.size < total {
            let mut heads = HeadScan::of_segment(file.as_ref(), self.base_offset, self.size, total);
            while let Some(head) = heads.next().map_err(unreadable(self.log.path()))? {
                let Some(view) = head.view() else { break };
                self.note(&Appended { last_offset: view.last_offset(), max_timestamp: view.max_timestamp(), size: head.size }, interval);
            }
            let Some(stopped) = heads.stopped_at() else { break };
            let limit = self.base_offset.saturating_add(i64::from(i32::MAX));
            let next = find_next_batch(file.as_ref(), stopped + 1, total, self.base_offset, limit).map_err(unreadable(self.log.path()))?;
            tracing::error!(segment = %self.log.path().display(), position = stopped, next_batch_at = ?next, "the segment is damaged");
            match next {
                Some((position, _)) => self.pass_over(position, interval),
                None => self.size = total,
            }
        }
        self.recent.clear();
        *self.misled.get_mut() = false;
        Ok(())
    }

    /// Forgets what is known of the content.
    fn begin_anew(&mut self, disk: &dyn Disk) -> Result<(), LogError> {
        let rebuild = "cannot rebuild the indexes of";
        self.offsets.reset(disk).map_err(LogError::io(rebuild, self.log.path()))?;
        self.times.reset(disk).map_err(LogError::io(rebuild, self.log.path()))?;
        self.forget_content();
        Ok(())
    }

    fn forget_content(&mut self) {
        self.max_timestamp = OnceLock::from((-1, -1));
        self.first_timestamp = OnceLock::new();
        self.recent.clear();
        self.holes.clear();
        self.size = 0;
        self.bytes_since_index = 0;
        self.indexes_synced = false;
    }

    /// The next batch begins at `position`, behind something unreadable; it gets an index entry, by which it can be found.
    fn pass_over(&mut self, position: u64, interval: u64) {
        self.holes.push(self.size);
        self.size = position;
        self.bytes_since_index = interval + 1;
        self.recent.clear();
    }

    /// After a crash, index entries of the last flushed segment may be missing although its batches are all there: they were written
    /// when it was sealed, and not yet synced. Walks the headers behind the entries that are left and adds what is missing.
    pub fn repair_indexes(&mut self, disk: &dyn Disk, config: &LogConfig) -> Result<(), LogError> {
        let error = "cannot read the indexes of";
        self.offsets.load(disk).map_err(LogError::io(error, self.log.path()))?;
        self.times.load(disk).map_err(LogError::io(error, self.log.path()))?;
        let last_time = self.times.last(disk).map_err(self.io(error))?;
        let mut max = last_time.map_or((-1, -1), |e| (e.timestamp, self.base_offset + i64::from(e.relative_offset)));
        let indexed = self.offsets.last(disk).map_err(self.io(error))?.map_or(0, |e| u64::from(e.position));
        let start = if max.1 < 0 { 0 } else { self.index_position(disk, max.1)?.min(indexed) };
        let interval = config.index_interval_bytes.max(0) as u64;
        let mut last_entry = start;
        let file = self.file(disk)?;
        let mut heads = HeadScan::of_segment(file.as_ref(), self.base_offset, start, self.size);
        while let Some(head) = heads.next().map_err(unreadable(self.log.path()))? {
            let Some(view) = head.view() else { break };
            if view.max_timestamp() > max.0 {
                max = (view.max_timestamp(), view.last_offset());
            }
            if head.position - last_entry > interval {
                self.offsets.push(OffsetEntry { relative_offset: self.relative(view.last_offset()), position: head.position as u32 });
                if max.0 >= 0 {
                    self.times.push(TimeEntry { timestamp: max.0, relative_offset: self.relative(max.1) });
                }
                last_entry = head.position;
            }
        }
        self.max_timestamp = OnceLock::from(max);
        self.log.release();
        self.seal(disk)
    }

    /// Before `recover`: takes what lies below `offset`, which was flushed, as it is. The indexes tell where that ends; where entries are
    /// missing, headers do. The segment ends at `offset` afterwards, and `recover` reads what is behind it. None, and everything has to be
    /// read: the indexes are wrong, or no batch ends there.
    pub fn resume(&mut self, disk: &dyn Disk, config: &LogConfig, offset: i64) -> Result<Option<Resumed>, LogError> {
        let total = self.size;
        let relative = self.relative(offset);
        let error = "cannot read the indexes of";
        self.offsets.truncate(disk, |e| e.relative_offset < relative).map_err(self.io(error))?;
        self.times.truncate(disk, |e| e.relative_offset < relative).map_err(self.io(error))?;
        let last_entry = self.offsets.last(disk).map_err(self.io(error))?;
        // Without a place to begin at, the headers are read from the start, and the times with them.
        if last_entry.is_none() {
            self.times.reset(disk).map_err(self.io(error))?;
        }
        let last_time = self.times.last(disk).map_err(self.io(error))?;
        let inside = |e: OffsetEntry| u64::from(e.position) < total;
        let entry_is_right = last_entry.map_or(Ok(true), |entry| Ok(inside(entry) && self.is_right(disk, entry)?))?;
        let time_is_right = last_time.map_or(Ok(true), |time| self.is_right_time(disk, time))?;
        if !(entry_is_right && time_is_right) {
            return Ok(None);
        }
        self.forget_content();
        // An entry of the time index may have been lost although the offset index has what came later.
        self.size = match (last_entry, last_time) {
            (Some(entry), Some(time)) => {
                let of_time = self.index_entry(disk, self.base_offset + i64::from(time.relative_offset))?;
                u64::from(entry.position).min(of_time.map_or(0, |e| u64::from(e.position)))
            }
            _ => 0,
        };
        if let Some(time) = last_time {
            self.max_timestamp = OnceLock::from((time.timestamp, self.base_offset + i64::from(time.relative_offset)));
        }
        let interval = config.index_interval_bytes.max(0) as u64;
        let file = self.file(disk)?;
        let mut heads = HeadScan::of_segment(file.as_ref(), self.base_offset, self.size, total);
        let mut next_offset = self.base_offset;
        while let Some(head) = heads.next().map_err(unreadable(self.log.path()))? {
            let Some(view) = head.view() else { break };
            if view.last_offset() >= offset {
                // Compaction leaves gaps; but nothing that was flushed ends in the middle of a batch.
                let whole = view.base_offset() >= offset;
                return Ok(whole.then_some(Resumed { offset, total }).or_else(|| self.not_resumed(total)));
            }
            next_offset = view.next_offset();
            self.note(&Appended { last_offset: view.last_offset(), max_timestamp: view.max_timestamp(), size: head.size }, interval);
        }
        // What is left may be a torn batch; or what was flushed is not all there.
        let complete = next_offset == offset;
        Ok(complete.then_some(Resumed { offset, total }).or_else(|| self.not_resumed(total)))
    }

    fn not_resumed(&mut self, total: u64) -> Option<Resumed> {
        self.size = total;
        None
    }

    /// Reads every batch, or those that `resume` left, and rebuilds the indexes; `damage` says what is done about bytes that are no batch.
    /// `visit` sees each good batch in order and may refuse one. Returns how many bytes were cut.
    pub fn recover(
        &mut self,
        disk: &dyn Disk,
        config: &LogConfig,
        resumed: Option<Resumed>,
        damage: Damage,
        mut visit: impl FnMut(&mut TxnIndex, &record::Batch) -> Result<(), LogError>,
    ) -> Result<u64, LogError> {
        let (total, mut expected) = match resumed {
            Some(resumed) => (resumed.total, resumed.offset),
            None => {
                let total = self.size;
                self.begin_anew(disk)?;
                (total, self.base_offset)
            }
        };
        let file = self.file(disk)?;
        let interval = config.index_interval_bytes.max(0) as u64;
        let limit = self.base_offset.saturating_add(i64::from(i32::MAX));
        let mut batches = BatchScan::new(file.as_ref(), self.size, total);
        let mut epoch = -1;
        let problem = loop {
            let problem = match batches.next().map_err(unreadable(self.log.path()))? {
                Scanned::End => break None,
                Scanned::Bad(_, error) => error.to_string(),
                Scanned::Batch(batch) => {
                    let view = batch.view();
                    let (first, last) = (view.base_offset(), view.last_offset());
                    if !view.is_valid() {
                        format!("checksum of the batch at offset {first} is wrong")
                    } else if last < first || last > limit || last < expected {
                        format!("batch {first}..={last} does not follow offset {expected}")
                    } else {
                        expected = last + 1;
                        epoch = epoch.max(view.leader_epoch());
                        visit(&mut self.txns, &batch)?;
                        self.note(&Appended { last_offset: last, max_timestamp: view.max_timestamp(), size: view.size() as u64 }, interval);
                        continue;
                    }
                }
            };
            // What was flushed is not torn: behind the damage may be more that somebody relies on.
            let next = match expected < damage.flushed_up_to {
                true => find_next_batch(file.as_ref(), self.size + 1, total, expected, limit).map_err(unreadable(self.log.path()))?,
                false => None,
            };
            let Some((position, offset)) = next else { break Some(problem) };
            // Batches that share a flush may get out in any order, so good ones may lie behind a torn one; but every epoch begins with a
            // flush of all that was there before it.
            if damage.refuse && !has_later_epoch(file.as_ref(), position, total, epoch).map_err(unreadable(self.log.path()))? {
                break Some(problem);
            }
            if damage.refuse {
                let why = format!(
                    "{problem} (position {}), but the batch at position {position} is good: this is no torn end, and cutting here would lose \
                     offset {offset} and all behind it; restore the file from a backup, or cut it to {} bytes to accept the loss",
                    self.size, self.size
                );
                return Err(LogError::corrupt(self.log.path(), why));
            }
            tracing::error!(
                segment = %self.log.path().display(), position = self.size, bytes = position - self.size, first_offset = expected, next_offset = offset,
                problem, "records that were flushed are damaged; they stay in the file, and whoever reads them gets an error; records behind them are served"
            );
            self.pass_over(position, interval);
            expected = offset;
            batches = BatchScan::new(file.as_ref(), position, total);
        };
        if let Some(problem) = problem {
            self.report_end(&problem, total, expected, damage);
        }
        if damage.keep_tail {
            self.size = total;
        }
        let cut = total - self.size;
        if cut > 0 {
            // Synced at once: the recovery point does not come back below this, so no later flush would cover it.
            file.set_len(self.size).and_then(|()| file.sync_data()).map_err(self.io("cannot truncate"))?;
        }
        *self.misled.get_mut() = false;
        Ok(cut)
    }

    fn report_end(&self, problem: &str, total: u64, offset: i64, damage: Damage) {
        let (segment, position, bytes) = (self.log.path().display(), self.size, total - self.size);
        if damage.keep_tail {
            tracing::error!(%segment, position, bytes, offset, problem, "the end of the segment is damaged; it stays as it is and cannot be read");
        } else if offset < damage.flushed_up_to {
            let flushed_up_to = damage.flushed_up_to;
            tracing::error!(%segment, position, bytes, offset, flushed_up_to, problem, "cutting the segment: records that had been flushed are lost");
        } else {
            tracing::warn!(%segment, valid_bytes = position, cut_bytes = bytes, offset, problem, "cutting the segment at the first bad byte");
        }
    }

    /// Cuts everything from `offset` on. Returns whether anything went.
    pub fn truncate(&mut self, disk: &dyn Disk, offset: i64, now_ms: i64) -> Result<bool, LogError> {
        let place = self.find(disk, offset)?;
        let relative = self.relative(offset);
        let base = self.base_offset;
        let error = "cannot truncate the indexes of";
        let path = self.log.path().to_owned();
        self.indexes_synced = false;
        self.offsets.truncate(disk, |e| e.relative_offset < relative && offset > base).map_err(LogError::io(error, &path))?;
        self.times.truncate(disk, |e| e.relative_offset < relative && offset > base).map_err(LogError::io(error, &path))?;
        self.txns.truncate(disk, offset).map_err(LogError::io(error, &path))?;
        let cut = match place {
            None => false,
            Some(place) => {
                let file = self.file(disk)?;
                file.set_len(place.position).and_then(|()| file.sync_data()).map_err(LogError::io("cannot truncate", &path))?;
                self.size = place.position;
                while self.recent.back().is_some_and(|(_, position)| *position >= self.size) {
                    self.recent.pop_back();
                }
                true
            }
        };
        if self.size == 0 {
            self.created_ms = now_ms;
            self.first_timestamp = OnceLock::new();
            self.recent.clear();
        }
        let last_time = self.times.last(disk).map_err(LogError::io(error, &path))?;
        let max = last_time.map_or((-1, -1), |e| (e.timestamp, base + i64::from(e.relative_offset)));
        let from = if max.1 >= 0 { self.index_position(disk, max.1)? } else { 0 };
        let max = self.scan_max_timestamp(disk, from, max)?;
        self.max_timestamp = OnceLock::from(max);
        let last_indexed = self.offsets.last(disk).map_err(LogError::io(error, &path))?;
        self.bytes_since_index = self.size - last_indexed.map_or(0, |e| u64::from(e.position)).min(self.size);
        Ok(cut)
    }
}

/// Whether the good batches from `position` on come to a later epoch than `epoch`, or than their first one's where that is not known.
fn has_later_epoch(file: &dyn File, position: u64, end: u64, mut epoch: i32) -> std::io::Result<bool> {
    let mut batches = BatchScan::new(file, position, end);
    while let Scanned::Batch(batch) = batches.next()? {
        let view = batch.view();
        if epoch < 0 {
            epoch = view.leader_epoch();
        }
        if view.is_valid() && view.leader_epoch() > epoch {
            return Ok(true);
        }
    }
    Ok(false)
}
