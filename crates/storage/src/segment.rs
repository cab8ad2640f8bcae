//! One segment: a file of batches and its indexes. Appends are one write; indexes follow in memory. Kafka: LogSegment. Hot path.

use crate::config::LogConfig;
use crate::error::LogError;
use crate::index::txn::{AbortedTxn, TxnIndex};
use crate::index::{Entry, Index, OffsetEntry, TimeEntry};
use crate::lazy_file::LazyFile;
use crate::log::CLEANED;
use crate::producer_state::CompletedTxn;
use crate::scan::{BatchScan, Head, HeadScan, Scanned, find_next_batch, unreadable};
use base::disk::{Disk, File, OpenMode};
use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// The batches appended last, whose places need no index; most fetches read here.
const RECENT: usize = 128;

/// What an append needs to know of each batch it writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Appended {
    pub last_offset: i64,
    pub max_timestamp: i64,
    pub size: u64,
}

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

/// What came of looking for a batch.
enum Walk {
    Found(Head),
    End,
    /// Where the bytes are no batch, or not the one that the index promised, and which offset was expected there.
    Stopped((u64, i64)),
}

/// A batch's place in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub position: u64,
    pub size: u64,
}

pub(crate) struct Segment {
    pub base_offset: i64,
    pub size: u64,
    log: LazyFile,
    offsets: Index<OffsetEntry>,
    times: Index<TimeEntry>,
    pub txns: TxnIndex,
    /// (timestamp, last offset of its batch); -1 when there is none.
    max_timestamp: OnceLock<(i64, i64)>,
    /// Max timestamp of the first batch: where segment.ms starts to count.
    first_timestamp: OnceLock<i64>,
    bytes_since_index: u64,
    pub created_ms: i64,
    pub jitter_ms: i64,
    recent: VecDeque<(i64, u64)>,
    /// The index files hold all entries, durably.
    pub indexes_synced: bool,
    /// An index entry was found to point wrong: until the indexes are rebuilt they are not used.
    misled: AtomicBool,
    /// Where bytes begin that are known to be no batch.
    holes: Vec<u64>,
    /// More space than the records need was set aside for the file.
    reserved: bool,
}

pub(crate) fn file_name(offset: i64, suffix: &str) -> String {
    format!("{offset:020}{suffix}")
}

pub(crate) const LOG: &str = ".log";
pub(crate) const OFFSET_INDEX: &str = ".index";
pub(crate) const TIME_INDEX: &str = ".timeindex";
pub(crate) const TXN_INDEX: &str = ".txnindex";
pub(crate) const FILES: [&str; 4] = [LOG, OFFSET_INDEX, TIME_INDEX, TXN_INDEX];

impl Segment {
    pub fn create(disk: &dyn Disk, dir: &Path, base_offset: i64, created_ms: i64, jitter_ms: i64) -> Result<Segment, LogError> {
        Self::create_as(disk, dir, base_offset, "", created_ms, jitter_ms)
    }

    /// With the names of compaction output.
    pub fn create_cleaned(disk: &dyn Disk, dir: &Path, base_offset: i64, created_ms: i64, jitter_ms: i64) -> Result<Segment, LogError> {
        let left_over = dir.join(file_name(base_offset, TXN_INDEX) + CLEANED);
        match disk.remove_file(&left_over) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(LogError::io("cannot remove", left_over)(e)),
            _ => {}
        }
        Self::create_as(disk, dir, base_offset, CLEANED, created_ms, jitter_ms)
    }

    fn create_as(
        disk: &dyn Disk,
        dir: &Path,
        base_offset: i64,
        ending: &str,
        created_ms: i64,
        jitter_ms: i64,
    ) -> Result<Segment, LogError> {
        let path = |suffix| dir.join(file_name(base_offset, suffix) + ending);
        let error = |path: &PathBuf| LogError::io("cannot create", path.clone());
        let (log, offsets, times) = (path(LOG), path(OFFSET_INDEX), path(TIME_INDEX));
        Ok(Segment {
            base_offset,
            size: 0,
            log: LazyFile::create(disk, log.clone()).map_err(error(&log))?,
            offsets: Index::create(disk, offsets.clone()).map_err(error(&offsets))?,
            times: Index::create(disk, times.clone()).map_err(error(&times))?,
            txns: TxnIndex::new(path(TXN_INDEX)),
            max_timestamp: OnceLock::from((-1, -1)),
            first_timestamp: OnceLock::new(),
            bytes_since_index: 0,
            created_ms,
            jitter_ms,
            recent: VecDeque::new(),
            indexes_synced: false,
            misled: AtomicBool::new(false),
            holes: Vec::new(),
            reserved: false,
        })
    }

    /// An existing segment; nothing but its length is looked at.
    pub fn open(disk: &dyn Disk, dir: &Path, base_offset: i64, created_ms: i64, jitter_ms: i64) -> Result<Segment, LogError> {
        let path = |suffix| dir.join(file_name(base_offset, suffix));
        let log = path(LOG);
        let size = disk.info(&log).map_err(LogError::io("cannot stat", &log))?.len;
        Ok(Segment {
            base_offset,
            size,
            log: LazyFile::new(log),
            offsets: Index::cold(path(OFFSET_INDEX)),
            times: Index::cold(path(TIME_INDEX)),
            txns: TxnIndex::new(path(TXN_INDEX)),
            max_timestamp: OnceLock::new(),
            first_timestamp: OnceLock::new(),
            bytes_since_index: 0,
            created_ms,
            jitter_ms,
            recent: VecDeque::new(),
            indexes_synced: true,
            misled: AtomicBool::new(false),
            holes: Vec::new(),
            reserved: false,
        })
    }

    fn io(&self, action: &'static str) -> impl FnOnce(std::io::Error) -> LogError {
        LogError::io(action, self.log.path())
    }

    pub fn log_path(&self) -> &Path {
        self.log.path()
    }

    /// For preallocate: sets the space of a whole segment aside.
    pub fn reserve(&mut self, disk: &dyn Disk, bytes: u64) -> Result<(), LogError> {
        self.file(disk)?.reserve(bytes);
        self.reserved = true;
        Ok(())
    }

    /// What was set aside and is not needed goes back.
    pub fn give_back_reserve(&mut self, disk: &dyn Disk) -> Result<(), LogError> {
        if std::mem::take(&mut self.reserved) {
            self.file(disk)?.set_len(self.size).map_err(self.io("cannot give back the rest of"))?;
        }
        Ok(())
    }

    pub fn file(&self, disk: &dyn Disk) -> Result<&Arc<dyn File>, LogError> {
        self.log.get(disk).map_err(self.io("cannot open"))
    }

    fn relative(&self, offset: i64) -> u32 {
        offset.saturating_sub(self.base_offset).clamp(0, i64::from(i32::MAX)) as u32
    }

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
            || self.offsets.memory_len() >= entries(OffsetEntry::SIZE).max(1)
            || self.times.memory_len() >= entries(TimeEntry::SIZE).saturating_sub(1).max(1)
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
        Ok(())
    }

    /// Bookkeeping for one batch that now lies at the end.
    fn note(&mut self, batch: &Appended, interval: u64) {
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

    /// The first batch whose last offset is at least `offset`.
    pub fn find(&self, disk: &dyn Disk, offset: i64) -> Result<Option<Place>, LogError> {
        if self.recent.front().is_some_and(|(last, position)| *position == 0 || *last < offset) {
            let at = self.recent.partition_point(|(last, _)| *last < offset);
            let Some((_, position)) = self.recent.get(at) else { return Ok(None) };
            let end = self.recent.get(at + 1).map_or(self.size, |(_, next)| *next);
            return Ok(Some(Place { position: *position, size: end - position }));
        }
        Ok(self.find_head(disk, offset)?.map(|head| Place { position: head.position, size: head.size }))
    }

    fn find_head(&self, disk: &dyn Disk, offset: i64) -> Result<Option<Head>, LogError> {
        self.find_head_where(disk, offset, |_| true)
    }

    /// The header of the first batch with records of clients that ends at or after `offset`; markers of transactions are passed over.
    pub fn find_data(&self, disk: &dyn Disk, offset: i64) -> Result<Option<Head>, LogError> {
        self.find_head_where(disk, offset, |view| !view.is_control())
    }

    fn find_head_where(&self, disk: &dyn Disk, offset: i64, wanted: impl Fn(record::BatchView) -> bool) -> Result<Option<Head>, LogError> {
        if self.size == 0 {
            return Ok(None);
        }
        let entry = self.index_entry(disk, offset)?;
        match (self.walk(disk, entry, offset, &wanted)?, entry) {
            (Walk::Found(head), _) => Ok(Some(head)),
            (Walk::End, _) => Ok(None),
            (Walk::Stopped(stop), None) => Err(self.damaged_at(stop)),
            // Either the index is wrong, or the segment is damaged.
            (Walk::Stopped(stop), Some(_)) => match self.walk(disk, None, offset, &wanted)? {
                Walk::Stopped(again) if again.0 == stop.0 => Err(self.damaged_at(again)),
                walked => {
                    self.distrust_indexes();
                    match walked {
                        Walk::Found(head) => Ok(Some(head)),
                        Walk::End => Ok(None),
                        Walk::Stopped(stop) => Err(self.damaged_at(stop)),
                    }
                }
            },
        }
    }

    /// Looks for a batch that ends at or after `offset`, from where an index entry points, or from the beginning.
    fn walk(
        &self,
        disk: &dyn Disk,
        entry: Option<OffsetEntry>,
        offset: i64,
        wanted: &impl Fn(record::BatchView) -> bool,
    ) -> Result<Walk, LogError> {
        let start = entry.map_or(0, |e| u64::from(e.position));
        if start >= self.size {
            return Ok(Walk::Stopped((start, self.base_offset)));
        }
        let mut heads = HeadScan::of_segment(self.file(disk)?.as_ref(), self.base_offset, start, self.size);
        let mut next_offset = self.base_offset;
        while let Some(head) = heads.next().map_err(unreadable(self.log.path()))? {
            let Some(view) = head.view() else { break };
            // Kafka's entries name the last offset of the batch, or of the append, that begins there.
            let indexed = entry.filter(|_| head.position == start).map_or(i64::MAX, |e| self.base_offset + i64::from(e.relative_offset));
            if view.last_offset() > indexed {
                return Ok(Walk::Stopped((start, next_offset)));
            }
            next_offset = view.next_offset();
            if view.last_offset() >= offset && wanted(view) {
                return Ok(Walk::Found(head));
            }
        }
        Ok(heads.stopped_at().map_or(Walk::End, |position| Walk::Stopped((position, next_offset))))
    }

    fn damaged_at(&self, (position, offset): (u64, i64)) -> LogError {
        LogError::Damaged { path: self.log.path().to_owned(), position, offset }
    }

    /// Up to where what begins at `position` can be read in one piece, as far as is known.
    pub fn whole_until(&self, position: u64) -> u64 {
        self.holes.iter().copied().find(|hole| *hole > position).map_or(self.size, |hole| hole.min(self.size))
    }

    /// The indexes of this segment say what the segment does not: from here on they are passed over.
    fn distrust_indexes(&self) {
        if !self.misled.swap(true, Ordering::Relaxed) {
            tracing::warn!(segment = %self.log.path().display(), "the indexes of this segment are wrong; they are not used and will be rebuilt");
        }
    }

    pub fn is_misled(&self) -> bool {
        self.misled.load(Ordering::Relaxed)
    }

    fn index_entry(&self, disk: &dyn Disk, offset: i64) -> Result<Option<OffsetEntry>, LogError> {
        if self.is_misled() {
            return Ok(None);
        }
        let relative = self.relative(offset);
        self.offsets.floor(disk, |e| e.relative_offset <= relative).map_err(self.io("cannot search the index of"))
    }

    /// Where a scan for `offset` may start.
    pub fn index_position(&self, disk: &dyn Disk, offset: i64) -> Result<u64, LogError> {
        let Some(entry) = self.index_entry(disk, offset)? else { return Ok(0) };
        Ok(if self.is_right(disk, entry)? { u64::from(entry.position) } else { 0 })
    }

    /// Whether a batch begins where an entry points, and one that ends there or before.
    fn is_right(&self, disk: &dyn Disk, entry: OffsetEntry) -> Result<bool, LogError> {
        let indexed = self.base_offset + i64::from(entry.relative_offset);
        let mut heads = HeadScan::of_segment(self.file(disk)?.as_ref(), self.base_offset, u64::from(entry.position), self.size);
        let head = heads.next().map_err(unreadable(self.log.path()))?;
        let right = head.is_some_and(|head| head.view().is_some_and(|view| view.last_offset() <= indexed));
        if !right {
            self.distrust_indexes();
        }
        Ok(right)
    }

    /// An offset that is not below any in the first `position` bytes; None without an index entry behind them.
    pub fn upper_offset(&self, disk: &dyn Disk, position: u64) -> Result<Option<i64>, LogError> {
        let at = self.offsets.partition_point(disk, |e| u64::from(e.position) < position).map_err(self.io("cannot search the index of"))?;
        let entry = self.offsets.get(disk, at).map_err(self.io("cannot search the index of"))?;
        match entry {
            Some(entry) if !self.is_misled() && self.is_right(disk, entry)? => {
                Ok(Some(self.base_offset + i64::from(entry.relative_offset)))
            }
            _ => Ok(None),
        }
    }

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
    fn is_right_time(&self, disk: &dyn Disk, entry: TimeEntry) -> Result<bool, LogError> {
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

    fn scan_max_timestamp(&self, disk: &dyn Disk, from: u64, mut max: (i64, i64)) -> Result<(i64, i64), LogError> {
        if from >= self.size {
            return Ok(max);
        }
        let mut heads = HeadScan::of_segment(self.file(disk)?.as_ref(), self.base_offset, from, self.size);
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
        let mut batches = BatchScan::new(self.file(disk)?.as_ref(), start, self.size);
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

    pub fn add_aborted(&mut self, disk: &dyn Disk, txn: &CompletedTxn, last_stable_offset: i64) -> Result<(), LogError> {
        let entry =
            AbortedTxn { producer_id: txn.producer_id, first_offset: txn.first_offset, last_offset: txn.last_offset, last_stable_offset };
        self.txns.note(disk, entry).map_err(LogError::io("cannot write the transaction index of", self.log.path()))
    }

    /// Takes the indexes into memory and finds the log end, scanning only behind the last index entry; a wrong index is rebuilt. None: the
    /// segment does not end with a batch.
    pub fn activate(&mut self, disk: &dyn Disk, config: &LogConfig) -> Result<Option<i64>, LogError> {
        self.offsets.load(disk).map_err(LogError::io("cannot read the index of", self.log.path()))?;
        self.times.load(disk).map_err(LogError::io("cannot read the time index of", self.log.path()))?;
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
            let mut heads = HeadScan::of_segment(self.file(disk)?.as_ref(), self.base_offset, start, self.size);
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
        let file = self.file(disk)?.clone();
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
        self.max_timestamp = OnceLock::from((-1, -1));
        self.first_timestamp = OnceLock::new();
        self.recent.clear();
        self.holes.clear();
        self.size = 0;
        self.bytes_since_index = 0;
        Ok(())
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
        let file = self.file(disk)?.clone();
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

    /// Reads every batch and rebuilds the indexes; `damage` says what is done about bytes that are no batch. `visit` sees each good batch in
    /// order and may refuse one. Returns how many bytes were cut.
    pub fn recover(
        &mut self,
        disk: &dyn Disk,
        config: &LogConfig,
        damage: Damage,
        mut visit: impl FnMut(&mut TxnIndex, &record::Batch) -> Result<(), LogError>,
    ) -> Result<u64, LogError> {
        let total = self.size;
        self.begin_anew(disk)?;
        let file = self.file(disk)?.clone();
        let interval = config.index_interval_bytes.max(0) as u64;
        let limit = self.base_offset.saturating_add(i64::from(i32::MAX));
        let mut batches = BatchScan::new(file.as_ref(), 0, total);
        let mut expected = self.base_offset;
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

    /// The last time entry, forced, when the segment gets no more appends.
    fn finish_times(&mut self, disk: &dyn Disk) -> Result<(), LogError> {
        let (max, offset) = self.max_timestamp(disk)?;
        if max >= 0 {
            self.times.push(TimeEntry { timestamp: max, relative_offset: self.relative(offset) });
        }
        Ok(())
    }

    /// At roll: indexes get their last entries and go to their files for good.
    pub fn seal(&mut self, disk: &dyn Disk) -> Result<(), LogError> {
        self.indexes_synced = false;
        self.give_back_reserve(disk)?;
        self.finish_times(disk)?;
        let error = "cannot write the indexes of";
        self.offsets.seal(disk).map_err(LogError::io(error, self.log.path()))?;
        self.times.seal(disk).map_err(LogError::io(error, self.log.path()))?;
        self.recent = VecDeque::new();
        Ok(())
    }

    /// Sizes of the offset index and the time index.
    pub fn index_bytes(&self, disk: &dyn Disk) -> Result<(u64, u64), LogError> {
        let bytes = |entries: usize, size: usize| (entries * size) as u64;
        let offsets = self.offsets.len(disk).map_err(self.io("cannot read the indexes of"))?;
        let times = self.times.len(disk).map_err(self.io("cannot read the indexes of"))?;
        Ok((bytes(offsets, OffsetEntry::SIZE), bytes(times, TimeEntry::SIZE)))
    }

    fn paths(&self) -> [(&'static str, &Path); 4] {
        [(LOG, self.log.path()), (OFFSET_INDEX, self.offsets.path()), (TIME_INDEX, self.times.path()), (TXN_INDEX, self.txns.path())]
    }

    /// Makes a sealed segment durable with its indexes; the names are for the caller.
    pub fn sync(&mut self, disk: &dyn Disk) -> Result<(), LogError> {
        for (_, path) in self.paths() {
            match disk.open(path, OpenMode::ReadWrite).and_then(|file| file.sync_data()) {
                Err(e) if e.kind() != io::ErrorKind::NotFound || path != self.txns.path() => {
                    return Err(LogError::io("cannot sync", path)(e));
                }
                _ => {}
            }
        }
        self.indexes_synced = true;
        Ok(())
    }

    /// Gives all files names with another ending, the segment first, as Kafka does: a start tells by it how far this came.
    pub fn rename(&mut self, disk: &dyn Disk, dir: &Path, ending: &str) -> Result<(), LogError> {
        for (suffix, from) in self.paths().map(|(suffix, path)| (suffix, path.to_owned())) {
            let to = dir.join(file_name(self.base_offset, suffix) + ending);
            if from == to {
                continue;
            }
            match disk.rename(&from, &to) {
                Err(e) if e.kind() != io::ErrorKind::NotFound || suffix != TXN_INDEX => return Err(LogError::io("cannot rename", from)(e)),
                _ => {}
            }
            match suffix {
                LOG => self.log.set_path(to),
                OFFSET_INDEX => self.offsets.set_path(to),
                TIME_INDEX => self.times.set_path(to),
                _ => self.txns.set_path(to),
            }
        }
        Ok(())
    }

    /// Removes what is there of its files; what cannot be removed is logged.
    pub fn remove_files(&self, disk: &dyn Disk) {
        for (_, path) in self.paths() {
            if let Err(error) = disk.remove_file(path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(file = %path.display(), %error, "cannot remove output of the cleaner");
            }
        }
    }

    /// Before a flush: the index files hold what memory holds.
    pub fn persist_indexes(&mut self, disk: &dyn Disk) -> Result<(), LogError> {
        let error = "cannot write the indexes of";
        self.offsets.persist(disk).map_err(LogError::io(error, self.log.path()))?;
        self.times.persist(disk).map_err(LogError::io(error, self.log.path()))
    }

    /// The index files, for a sync elsewhere.
    pub fn index_paths(&self, dir: &Path) -> Vec<PathBuf> {
        let always = [OFFSET_INDEX, TIME_INDEX].map(|suffix| dir.join(file_name(self.base_offset, suffix)));
        always.into_iter().chain(self.txns.path_if_any().map(Path::to_owned)).collect()
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
