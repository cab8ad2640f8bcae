//! What the cleaner needs of a log under its lock: what there is to clean, and putting a cleaned segment in the place of those it was made of.
//! Kafka: LocalLog.replaceSegments, UnifiedLog.lastRecordsOfActiveProducers.
//!
//! Guarantees: files get their new names so that a crash at any instant leaves the old segments or the new one, for us and for Apache Kafka:
//! `.cleaned` (complete and durable) becomes `.swap`, the old ones become `.deleted`, `.swap` becomes final, each step durable before the next.

use super::{Log, SWAP};
use crate::cleaner::LastRecord;
use crate::error::LogError;
use crate::index::txn::AbortedTxn;
use crate::segment::{LOG, Segment, file_name};
use base::Now;
use base::disk::{Disk, File};
use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// A sealed segment, to be read without the log's lock.
pub(crate) struct CleanSource {
    pub base_offset: i64,
    /// Where the next segment starts.
    pub next_base: i64,
    pub size: u64,
    pub path: PathBuf,
    pub file: Arc<dyn File>,
    pub offset_index_bytes: u64,
    pub time_index_bytes: u64,
    pub modified_ms: i64,
}

impl Log {
    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    pub(crate) fn disk_shared(&self) -> Arc<dyn Disk> {
        self.disk.clone()
    }

    pub(crate) fn active_base_offset(&self) -> i64 {
        self.active().base_offset
    }

    /// All but the one that is appended to.
    pub(crate) fn sealed_segments(&self) -> &[Segment] {
        &self.segments[..self.segments.len() - 1]
    }

    /// Changes whenever records are cut off the end: what was read before may not be there any more.
    pub(crate) fn clean_version(&self) -> u64 {
        self.truncations
    }

    pub(super) fn note_truncation(&mut self, offset: i64) {
        self.truncations += 1;
        self.truncated_to = Some(self.truncated_to.map_or(offset, |lowest| lowest.min(offset)));
    }

    /// The lowest offset that the log was cut at since this was last asked: the cleaner's checkpoint must not be beyond it.
    pub fn take_truncation(&mut self) -> Option<i64> {
        self.truncated_to.take()
    }

    /// The sealed segments that start below `bound`.
    pub(crate) fn clean_sources(&self, bound: i64) -> Result<Vec<CleanSource>, LogError> {
        let disk = self.disk.as_ref();
        let sealed = self.sealed_segments();
        let count = sealed.partition_point(|s| s.base_offset < bound);
        let with_next = self.segments.iter().zip(self.segments.iter().skip(1)).take(count);
        let source = |(segment, next): (&Segment, &Segment)| {
            let (offset_index_bytes, time_index_bytes) = segment.index_bytes(disk)?;
            let path = segment.log_path().to_owned();
            Ok(CleanSource {
                base_offset: segment.base_offset,
                next_base: next.base_offset,
                size: segment.size,
                file: segment.file(disk)?,
                modified_ms: disk.info(&path).map_err(LogError::io("cannot stat", &path))?.modified_ms,
                path,
                offset_index_bytes,
                time_index_bytes,
            })
        };
        with_next.map(source).collect()
    }

    /// Where in the segment of `offset` a search for it begins.
    pub(crate) fn position_at_or_before(&self, offset: i64) -> Result<u64, LogError> {
        match self.segments.get(self.segment_at(offset)) {
            Some(segment) => segment.index_position(self.disk.as_ref(), offset),
            None => Ok(0),
        }
    }

    /// Aborted transactions that overlap `from..to`.
    pub(crate) fn aborted_between(&self, from: i64, to: i64) -> Result<Vec<AbortedTxn>, LogError> {
        let mut found = Vec::new();
        for segment in self.segments.get(self.segment_at(from)..).unwrap_or_default() {
            let complete = segment.txns.collect_entries(self.disk.as_ref(), from, to, &mut found);
            if complete.map_err(LogError::io("cannot read the transaction index of", segment.log_path()))? {
                break;
            }
        }
        Ok(found)
    }

    pub(crate) fn last_records(&self) -> HashMap<i64, LastRecord> {
        let last = |entry: &crate::producer_state::ProducerEntry| LastRecord {
            last_data_offset: entry.last_batch().map(|batch| batch.last_offset),
            producer_epoch: entry.epoch,
        };
        self.producers.entries().into_iter().map(|entry| (entry.producer_id, last(entry))).collect()
    }

    /// Where `sources` are among the segments, if they are still what they were.
    fn unchanged(&self, version: u64, sources: &[CleanSource]) -> Option<Range<usize>> {
        let first = sources.first()?;
        if version != self.truncations || first.path.parent() != Some(&*self.dir) {
            return None;
        }
        let at = self.segments.iter().position(|s| s.base_offset == first.base_offset)?;
        let range = at..at + sources.len();
        let found = self.sealed_segments().get(range.clone())?;
        found.iter().zip(sources).all(|(s, source)| s.base_offset == source.base_offset && s.size == source.size).then_some(range)
    }

    /// The new files for a group; None if the log has changed meanwhile.
    pub(crate) fn begin_cleaned(&mut self, version: u64, sources: &[CleanSource], now: Now) -> Result<Option<Segment>, LogError> {
        self.finish_swap(now)?;
        let (Some(_), Some(first)) = (self.unchanged(version, sources), sources.first()) else { return Ok(None) };
        let left_over = |source: &CleanSource| self.dir.join(file_name(source.base_offset, LOG) + SWAP);
        if let Some(path) = sources.iter().map(left_over).find(|path| self.disk.exists(path)) {
            return Err(LogError::corrupt(path, "an earlier cleaning could not be completed; the next start does that"));
        }
        let jitter = self.jitter(first.base_offset);
        Segment::create_cleaned(&*self.disk, &self.dir, first.base_offset, now.wall_ms, jitter).map(Some)
    }

    /// Puts `cleaned`, which is durable, in the place of `sources`; false, and its files are gone, if the log has changed meanwhile.
    pub(crate) fn swap_in(&mut self, version: u64, mut cleaned: Segment, sources: &[CleanSource], now: Now) -> Result<bool, LogError> {
        let disk = self.disk.clone();
        let Some(range) = self.unchanged(version, sources) else {
            cleaned.remove_files(disk.as_ref());
            return Ok(false);
        };
        let sync = |dir: &PathBuf| disk.sync_dir(dir).map_err(LogError::io("cannot sync", dir));
        let swapped = cleaned.rename(disk.as_ref(), &self.dir, SWAP).and_then(|()| sync(&self.dir));
        if let Err(error) = swapped {
            // Left over, it would replace at the next start what may have changed by then.
            cleaned.remove_files(disk.as_ref());
            return Err(error);
        }
        // From here on the new one counts, whatever fails.
        let (at, base_offset) = (range.start, cleaned.base_offset);
        let (size, count) = (cleaned.size, range.len());
        let old: Vec<Segment> = self.segments.splice(range, [cleaned]).collect();
        let before: u64 = old.iter().map(|s| s.size).sum();
        debug_assert_eq!(self.segments.get(at).map(|s| s.base_offset), Some(base_offset));
        self.unfinished_swap = Some(UnfinishedSwap { base_offset, old });
        self.finish_swap(now)?;
        tracing::info!(partition = %self.topic_partition, base_offset, segments = count, before, after = size, "cleaned segments");
        Ok(true)
    }

    /// Carries out what is left of a swap after an error. Nothing else may touch the files of these segments before.
    pub(super) fn finish_swap(&mut self, now: Now) -> Result<(), LogError> {
        let Some(mut unfinished) = self.unfinished_swap.take() else { return Ok(()) };
        let result = self.try_finish_swap(&mut unfinished, now);
        if result.is_err() {
            self.unfinished_swap = Some(unfinished);
        }
        result
    }

    fn try_finish_swap(&mut self, unfinished: &mut UnfinishedSwap, now: Now) -> Result<(), LogError> {
        let disk = self.disk.clone();
        let base_offset = unfinished.base_offset;
        if !unfinished.old.is_empty() {
            // The producer state at the start of the segment is what it was.
            let has_snapshot = self.snapshots.remove(&base_offset);
            let is_unsynced = self.unsynced_snapshots.contains(&base_offset);
            let doomed = unfinished.old.iter().try_for_each(|segment| self.doom(segment, now));
            if has_snapshot {
                self.snapshots.insert(base_offset);
                self.unsynced_snapshots.extend(is_unsynced.then_some(base_offset));
            }
            doomed?;
            disk.sync_dir(&self.dir).map_err(LogError::io("cannot sync", &self.dir))?;
            // Their names are free now; the new segment's files get some of them.
            unfinished.old.clear();
        }
        if let Some(segment) = self.segments.iter_mut().find(|s| s.base_offset == base_offset) {
            segment.rename(disk.as_ref(), &self.dir, "")?;
        }
        self.dir_dirty = true;
        disk.sync_dir(&self.dir).map_err(LogError::io("cannot sync", &self.dir))
    }
}

/// A cleaned segment that counts already, while the files of the old ones may still have their names.
pub(super) struct UnfinishedSwap {
    base_offset: i64,
    /// Empty once their names are free, durably.
    old: Vec<Segment>,
}
