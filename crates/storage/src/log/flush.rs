//! Making the log durable, now or by a job that runs without the log's lock. Kafka: UnifiedLog.flush, LogManager.flushDirtyLogs.

use super::{Log, SNAPSHOT};
use crate::error::LogError;
use crate::segment::file_name;
use base::Now;
use base::disk::{Disk, File, OpenMode};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

/// Files to sync without holding the log's lock; report back by `Log::flushed`. When it fails, the log is not to be trusted any more: what
/// the job was to sync is not synced by a later one.
pub struct FlushJob {
    /// Everything below is durable once the job has run.
    pub up_to: i64,
    disk: Arc<dyn Disk>,
    files: Vec<(PathBuf, Arc<dyn File>)>,
    dir: Option<PathBuf>,
}

/// What a flush is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// The segments that get no more appends.
    Rolled,
    Whole,
    /// All, and the indexes of the active segment with it.
    Closing,
}

impl FlushJob {
    pub fn run(&self) -> Result<(), LogError> {
        for (path, file) in &self.files {
            file.sync_data().map_err(LogError::io("cannot sync", path))?;
        }
        match &self.dir {
            Some(dir) => self.disk.sync_dir(dir).map_err(LogError::io("cannot sync", dir)),
            None => Ok(()),
        }
    }
}

impl Log {
    /// Makes everything below `up_to` durable; does nothing if it already is.
    pub fn flush(&mut self, up_to: i64, now: Now) -> Result<(), LogError> {
        if up_to <= self.recovery_point && self.recovery_point > 0 {
            return Ok(());
        }
        if let Some(job) = self.flush_job(Extent::Whole)? {
            job.run()?;
            self.flushed(job.up_to, now);
        }
        Ok(())
    }

    /// Whether flush.messages or flush.ms ask for a flush now, or a segment was rolled and waits for its own.
    pub fn flush_due(&self, now: Now) -> bool {
        let unflushed = self.log_end_offset - self.recovery_point;
        unflushed > 0
            && (unflushed >= self.config.flush_messages
                || now.wall_ms.saturating_sub(self.last_flush_ms) >= self.config.flush_ms
                || self.recovery_point < self.active().base_offset)
    }

    /// The work of a flush; None if there is none. Where nobody has asked for flushes (flush.messages, flush.ms) it ends with the segments that
    /// were rolled: to sync the one that is appended to would hold up who writes to it. While no segment was rolled it is one file: the indexes
    /// of the active segment are checked and completed after a crash.
    pub fn prepare_flush(&mut self) -> Result<Option<FlushJob>, LogError> {
        let wanted = self.config.flush_messages < i64::MAX || self.config.flush_ms < i64::MAX;
        self.flush_job(if wanted || self.recovery_point >= self.active().base_offset { Extent::Whole } else { Extent::Rolled })
    }

    /// Whether there are as many unflushed records as flush.messages does not want to be there.
    pub fn flush_required(&self) -> bool {
        self.log_end_offset - self.recovery_point >= self.config.flush_messages
    }

    /// What lies below is as safe on this disk as flush.messages asks for.
    pub fn settled_end(&self) -> i64 {
        if self.flush_required() { self.recovery_point } else { self.log_end_offset }
    }

    fn flush_job(&mut self, extent: Extent) -> Result<Option<FlushJob>, LogError> {
        let closing = extent == Extent::Closing;
        let active = self.segments.len() - 1;
        let sealed_unsynced = self.segments[..active].iter().any(|s| !s.indexes_synced);
        if self.recovery_point >= self.log_end_offset
            && !self.dir_dirty
            && !sealed_unsynced
            && !closing
            && self.unsynced_snapshots.is_empty()
        {
            return Ok(None);
        }
        self.sync_identity()?;
        let disk = self.disk.clone();
        match self.epochs.persist(disk.as_ref(), &self.dir) {
            // Records must not stay unreadable for want of room for an epoch: the next append writes it, or a recovery finds it in them.
            Err(LogError::Io { source, .. }) if source.kind() == ErrorKind::StorageFull && !closing => self.epochs.postpone(),
            persisted => persisted?,
        }
        let mut files = Vec::new();
        let first = self.segment_at(self.recovery_point);
        let (count, up_to) = match extent {
            Extent::Rolled => (active, self.active().base_offset),
            Extent::Whole | Extent::Closing => (active + 1, self.log_end_offset),
        };
        for (at, segment) in self.segments[..count].iter_mut().enumerate() {
            if at >= first {
                files.push((segment.log_path().to_owned(), segment.file(disk.as_ref())?));
                match segment.persist_indexes(disk.as_ref(), at < active || closing) {
                    // A recovery reads more of the active segment then.
                    Err(LogError::Io { source, .. }) if source.kind() == ErrorKind::StorageFull && at == active && !closing => {}
                    persisted => persisted?,
                }
                // Once the recovery point is the end of this segment, nothing rebuilds what aborted in it.
                let log_path = segment.log_path().to_owned();
                if let Some(path) =
                    segment.txns.unsynced(disk.as_ref()).map_err(LogError::io("cannot write the transaction index of", log_path))?
                {
                    let file = disk.open(path, OpenMode::Create).map_err(LogError::io("cannot open", path))?;
                    files.push((path.to_owned(), file));
                    self.dir_dirty = true;
                }
            }
            // The segment with the recovery point has its indexes checked and completed after a crash; older ones must be right on disk.
            if (at < active || closing) && !segment.indexes_synced {
                for path in segment.index_paths(&self.dir) {
                    let file = disk.open(&path, OpenMode::Create).map_err(LogError::io("cannot open", &path))?;
                    files.push((path, file));
                }
            }
        }
        for offset in &self.unsynced_snapshots {
            let path = self.dir.join(file_name(*offset, SNAPSHOT));
            let file = disk.open(&path, OpenMode::ReadWrite).map_err(LogError::io("cannot open", &path))?;
            files.push((path, file));
        }
        // What changes while the job runs is for the next one.
        self.segments[first.min(count)..count].iter_mut().for_each(|segment| segment.txns.handed_over());
        self.unsynced_snapshots.clear();
        let dir = std::mem::take(&mut self.dir_dirty).then(|| self.dir.clone());
        Ok(Some(FlushJob { up_to, disk, files, dir }))
    }

    /// A flush job ran: the recovery point moves up.
    pub fn flushed(&mut self, up_to: i64, now: Now) {
        self.recovery_point = self.recovery_point.max(up_to.min(self.log_end_offset));
        self.last_flush_ms = now.wall_ms;
        // One that was sealed exactly at `up_to` may have been sealed after the job was made; it is synced once more.
        for at in 1..self.segments.len() {
            if self.segments[at].base_offset < up_to {
                self.segments[at - 1].indexes_synced = true;
            }
        }
    }

    /// Flushes, writes the producer snapshot at the log end and trims the indexes, so that the next start scans nothing.
    /// The log is not to be used afterwards.
    pub fn close(&mut self, now: Now) -> Result<(), LogError> {
        let disk = self.disk.clone();
        // Created by this start and never written to: what a power cut took of it the next start would create again.
        if self.is_new && !self.identity_synced && self.log_end_offset == 0 {
            return Ok(());
        }
        self.epochs.persist_used(disk.as_ref(), &self.dir, self.log_end_offset)?;
        // As in Kafka, a log without records gets no snapshot.
        let nothing_to_remember = self.log_end_offset == self.log_start_offset && self.producers.is_empty();
        // A log that never had a record loses nothing with its directory; its first append syncs it, whoever opened it.
        let unchanged = (self.identity_synced || self.log_end_offset == 0)
            && self.recovery_point >= self.log_end_offset
            && (self.snapshots.contains(&self.log_end_offset) || nothing_to_remember)
            && self.segments.iter().all(|s| s.indexes_synced)
            && !self.dir_dirty
            && self.unsynced_snapshots.is_empty();
        if unchanged {
            return Ok(());
        }
        if !nothing_to_remember {
            self.write_snapshot(self.log_end_offset)?;
        }
        self.active_mut().seal(disk.as_ref())?;
        if let Some(job) = self.flush_job(Extent::Closing)? {
            job.run()?;
            self.flushed(job.up_to, now);
        }
        Ok(())
    }
}
