//! Finding batches: by the index, or by their headers where the index is wrong. Hot path.

use super::{Place, Segment};
use crate::error::LogError;
use crate::index::OffsetEntry;
use crate::scan::{Head, HeadScan, unreadable};
use base::disk::Disk;
use std::sync::atomic::Ordering;

/// What came of looking for a batch.
enum Walk {
    Found(Head),
    End,
    /// Where the bytes are no batch, or not the one that the index promised, and which offset was expected there.
    Stopped((u64, i64)),
}

impl Segment {
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

    pub(super) fn find_head(&self, disk: &dyn Disk, offset: i64) -> Result<Option<Head>, LogError> {
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
        let file = self.file(disk)?;
        let mut heads = HeadScan::of_segment(file.as_ref(), self.base_offset, start, self.size);
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

    pub(super) fn damaged_at(&self, (position, offset): (u64, i64)) -> LogError {
        LogError::Damaged { path: self.log.path().to_owned(), position, offset }
    }

    /// Up to where what begins at `position` can be read in one piece, as far as is known.
    pub fn whole_until(&self, position: u64) -> u64 {
        self.holes.iter().copied().find(|hole| *hole > position).map_or(self.size, |hole| hole.min(self.size))
    }

    /// The indexes of this segment say what the segment does not: from here on they are passed over.
    pub(super) fn distrust_indexes(&self) {
        if !self.misled.swap(true, Ordering::Relaxed) {
            tracing::warn!(segment = %self.log.path().display(), "the indexes of this segment are wrong; they are not used and will be rebuilt");
        }
    }

    pub fn is_misled(&self) -> bool {
        self.misled.load(Ordering::Relaxed)
    }

    pub(super) fn index_entry(&self, disk: &dyn Disk, offset: i64) -> Result<Option<OffsetEntry>, LogError> {
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
    pub(super) fn is_right(&self, disk: &dyn Disk, entry: OffsetEntry) -> Result<bool, LogError> {
        let indexed = self.base_offset + i64::from(entry.relative_offset);
        let file = self.file(disk)?;
        let mut heads = HeadScan::of_segment(file.as_ref(), self.base_offset, u64::from(entry.position), self.size);
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
}
