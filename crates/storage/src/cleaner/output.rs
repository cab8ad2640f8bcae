//! The segment that takes the place of a group: written beside it as `.cleaned`, made durable, and then swapped in. A single segment of
//! which everything stays is not written at all: the output begins with the first change.

use super::batches::Batches;
use super::{CleanError, Group, Pace};
use crate::error::LogError;
use crate::index::txn::AbortedTxn;
use crate::log::Log;
use crate::segment::{Appended, Segment};
use base::disk::Disk;
use record::BatchView;

pub(super) struct Output {
    /// Absent as long as the group's only segment is what it was.
    segment: Option<Segment>,
    pub pending: Vec<u8>,
    /// So many bytes are gathered for a write.
    write_bytes: usize,
    batches: Vec<Appended>,
}

impl Output {
    /// Buffers are handed from one output to the next.
    pub fn new(mut pending: Vec<u8>, write_bytes: usize) -> Self {
        pending.clear();
        Self { segment: None, pending, write_bytes, batches: Vec::new() }
    }

    pub fn has_begun(&self) -> bool {
        self.segment.is_some()
    }

    /// Creates the files, and copies the first `unchanged` bytes of the group's first segment.
    pub fn begin(
        &mut self,
        disk: &dyn Disk,
        segment: Segment,
        group: &Group<'_>,
        unchanged: u64,
        pace: &dyn Pace,
    ) -> Result<(), CleanError> {
        self.segment = Some(segment);
        let (Some(first), true) = (group.segments.first(), unchanged > 0) else { return Ok(()) };
        let kept_back = std::mem::take(&mut self.pending);
        let mut buffer = vec![0; self.write_bytes];
        let mut batches = Batches::new(first.file.as_ref(), &first.path, 0, unchanged, &mut buffer, pace);
        while let Some(view) = batches.next()? {
            self.copy(disk, group, &view, pace)?;
        }
        self.write(disk, group, pace)?;
        self.pending = kept_back;
        Ok(())
    }

    /// Takes over a batch as it is.
    pub fn copy(&mut self, disk: &dyn Disk, group: &Group<'_>, view: &BatchView<'_>, pace: &dyn Pace) -> Result<(), CleanError> {
        self.pending.extend_from_slice(view.bytes());
        self.note(view.last_offset(), view.max_timestamp(), view.size());
        self.write_if_full(disk, group, pace)
    }

    /// Notes a batch that was appended to `pending`.
    pub fn note(&mut self, last_offset: i64, max_timestamp: i64, size: usize) {
        self.batches.push(Appended { last_offset, max_timestamp, size: size as u64 });
    }

    pub fn write_if_full(&mut self, disk: &dyn Disk, group: &Group<'_>, pace: &dyn Pace) -> Result<(), CleanError> {
        if self.pending.len() < self.write_bytes { Ok(()) } else { self.write(disk, group, pace) }
    }

    fn write(&mut self, disk: &dyn Disk, group: &Group<'_>, pace: &dyn Pace) -> Result<(), CleanError> {
        let Some(segment) = &mut self.segment else { return Ok(()) };
        if self.pending.is_empty() {
            return Ok(());
        }
        // Batches that are compressed again can become larger.
        if segment.size + self.pending.len() as u64 > i32::MAX as u64 {
            return Err(CleanError::Log(LogError::OutOfRange(format!(
                "segment {} would grow beyond 2 GiB when it is cleaned",
                segment.log_path().display()
            ))));
        }
        segment.append(disk, group.config, &self.pending, &[], &self.batches)?;
        pace.moved(self.pending.len() as u64);
        self.pending.clear();
        self.batches.clear();
        Ok(())
    }

    /// Everything is written: indexes too, and all of it is made durable. Gives the segment, ready to be swapped in, and the buffer.
    pub fn finish(
        mut self,
        disk: &dyn Disk,
        group: &Group<'_>,
        aborted: &[AbortedTxn],
        pace: &dyn Pace,
    ) -> Result<(Option<Segment>, Vec<u8>), CleanError> {
        self.write(disk, group, pace)?;
        let Some(mut segment) = self.segment else { return Ok((None, self.pending)) };
        for txn in aborted {
            segment.txns.append(disk, *txn).map_err(LogError::io("cannot write the transaction index of", segment.log_path()))?;
        }
        segment.seal(disk)?;
        segment.sync(disk)?;
        if let Some(last) = group.segments.last() {
            let set = disk.set_modified(segment.log_path(), last.modified_ms);
            set.map_err(LogError::io("cannot set the time of", segment.log_path()))?;
        }
        Ok((Some(segment), self.pending))
    }
}

/// The files of an output that will not be used.
pub(super) fn remove_unfinished(log: &mut Log, base_offset: i64) {
    for suffix in crate::segment::FILES {
        let path = log.dir().join(crate::segment::file_name(base_offset, suffix) + crate::log::CLEANED);
        if let Err(error) = log.disk().remove_file(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(file = %path.display(), %error, "cannot remove unfinished output of the cleaner; the next start does it");
        }
    }
}
