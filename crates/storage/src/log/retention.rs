//! What goes and when: by time, by size, by DeleteRecords. Files are renamed first and unlinked after file.delete.delay.ms.
//! Kafka: UnifiedLog.deleteOldSegments, LocalLog.deleteSegmentFiles.

use super::{DELETED, Log, SNAPSHOT};
use crate::error::LogError;
use crate::segment::{FILES, Segment, file_name};
use base::Now;
use base::disk::Disk;
use std::io;
use std::path::PathBuf;

/// What `delete_old_segments` removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    pub segments: usize,
    pub bytes: u64,
}

impl Log {
    /// DeleteRecords: moves the log start up to `offset`, at most the high watermark. Returns whether it moved.
    pub fn delete_records_before(&mut self, offset: i64, _now: Now) -> Result<bool, LogError> {
        if offset > self.high_watermark {
            return Err(LogError::OutOfRange(format!(
                "Cannot increment the log start offset to {offset} of partition {} since it is larger than the high watermark {}",
                self.topic_partition, self.high_watermark
            )));
        }
        self.advance_log_start(offset)
    }

    fn advance_log_start(&mut self, offset: i64) -> Result<bool, LogError> {
        if offset <= self.log_start_offset {
            return Ok(false);
        }
        self.log_start_offset = offset;
        self.high_watermark = self.high_watermark.max(offset);
        self.epochs.truncate_from_start(offset);
        Ok(true)
    }

    /// Applies cleanup.policy, retention.ms, retention.bytes and the log start.
    pub fn delete_old_segments(&mut self, now: Now) -> Result<Deleted, LogError> {
        self.finish_swap(now)?;
        let mut deleted = Deleted::default();
        self.delete_while(now, &mut deleted, |log, at| {
            Ok(log.segments.get(at + 1).is_some_and(|next| next.base_offset <= log.log_start_offset))
        })?;
        if self.config.cleanup_delete {
            self.delete_by_size(now, &mut deleted)?;
            self.delete_by_time(now, &mut deleted)?;
        }
        Ok(deleted)
    }

    fn delete_by_size(&mut self, now: Now, deleted: &mut Deleted) -> Result<(), LogError> {
        let Ok(retention) = u64::try_from(self.config.retention_bytes) else { return Ok(()) };
        let mut excess = self.size().saturating_sub(retention);
        self.delete_while(now, deleted, |log, at| {
            let size = log.segments[at].size;
            let fits = excess > 0 && excess >= size;
            if fits {
                excess -= size;
            }
            Ok(fits)
        })
    }

    fn delete_by_time(&mut self, now: Now, deleted: &mut Deleted) -> Result<(), LogError> {
        if self.config.retention_ms < 0 {
            return Ok(());
        }
        self.delete_while(now, deleted, |log, at| {
            let largest = log.segments[at].largest_timestamp(log.disk.as_ref())?;
            Ok(now.wall_ms.saturating_sub(largest) > log.config.retention_ms)
        })
    }

    /// Deletes leading segments below the high watermark as long as `old` says so; an empty active segment stays.
    fn delete_while(
        &mut self,
        now: Now,
        deleted: &mut Deleted,
        mut old: impl FnMut(&Log, usize) -> Result<bool, LogError>,
    ) -> Result<(), LogError> {
        let mut count = 0;
        for at in 0..self.segments.len() {
            let next = self.segments.get(at + 1).map(|s| s.base_offset);
            let empty_active = next.is_none() && self.segments[at].size == 0;
            let replicated = self.high_watermark >= next.unwrap_or(self.log_end_offset);
            if empty_active || !replicated || !old(self, at)? {
                break;
            }
            count += 1;
        }
        if count == 0 {
            return Ok(());
        }
        if count == self.segments.len() {
            self.roll(now)?;
        }
        let first_left = self.segments[count].base_offset;
        self.advance_log_start(first_left)?;
        let gone: Vec<Segment> = self.segments.drain(..count).collect();
        deleted.segments += gone.len();
        deleted.bytes += gone.iter().map(|s| s.size).sum::<u64>();
        for segment in gone {
            tracing::info!(partition = %self.topic_partition, base_offset = segment.base_offset, size = segment.size, "deleting a segment");
            self.doom(&segment, now)?;
        }
        // Producer state below the log start is of no use to a later replay.
        let old_snapshots: Vec<i64> = self.snapshots.range(..first_left).copied().collect();
        for offset in old_snapshots {
            self.remove_snapshot(offset)?;
        }
        Ok(())
    }

    /// Rebuilds indexes that were found to be wrong; returns of how many segments.
    pub fn rebuild_wrong_indexes(&mut self) -> Result<usize, LogError> {
        let (disk, config) = (self.disk.clone(), self.config.clone());
        let mut rebuilt = 0;
        for at in 0..self.segments.len() {
            let is_active = at + 1 == self.segments.len();
            let Some(segment) = self.segments.get_mut(at).filter(|segment| segment.is_misled()) else { continue };
            segment.rebuild_indexes(disk.as_ref(), &config)?;
            if !is_active {
                segment.seal(disk.as_ref())?;
            }
            tracing::info!(segment = %segment.log_path().display(), "rebuilt the indexes");
            rebuilt += 1;
        }
        Ok(rebuilt)
    }

    /// Renames a segment's files to `.deleted`; `remove_deleted_files` unlinks them later.
    pub(super) fn doom(&mut self, segment: &Segment, now: Now) -> Result<(), LogError> {
        let names = FILES.iter().map(|suffix| file_name(segment.base_offset, suffix));
        let snapshot = self.snapshots.contains(&segment.base_offset).then(|| file_name(segment.base_offset, SNAPSHOT));
        let mut renamed = Vec::new();
        for name in names.chain(snapshot) {
            let from = self.dir.join(&name);
            let to = self.dir.join(name + DELETED);
            match self.disk.rename(&from, &to) {
                Ok(()) => renamed.push(to),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(LogError::io("cannot rename for deletion", from)(e)),
            }
        }
        self.snapshots.remove(&segment.base_offset);
        self.unsynced_snapshots.retain(|o| *o != segment.base_offset);
        self.dir_dirty = true;
        let due = now.wall_ms.saturating_add(self.config.file_delete_delay_ms);
        self.doomed.push((due, renamed));
        Ok(())
    }

    /// Unlinks files renamed to `.deleted` at least file.delete.delay.ms ago. Returns how many.
    pub fn remove_deleted_files(&mut self, now: Now) -> Result<usize, LogError> {
        let paths = self.take_deleted_files(now);
        unlink(self.disk.as_ref(), &paths)?;
        Ok(paths.len())
    }

    /// The same files for who unlinks them without the log's lock, as that of large files takes its time.
    pub fn take_deleted_files(&mut self, now: Now) -> Vec<PathBuf> {
        let due = self.doomed.extract_if(.., |(due, _)| *due <= now.wall_ms);
        due.flat_map(|(_, paths)| paths).collect()
    }
}

/// Removes files; one that is gone already is no error.
pub fn unlink(disk: &dyn Disk, paths: &[PathBuf]) -> Result<(), LogError> {
    for path in paths {
        match disk.remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(LogError::io("cannot remove", path)(e)),
            _ => {}
        }
    }
    Ok(())
}
