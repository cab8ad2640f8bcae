//! Owns: log compaction: of each key the last record stays. The dirty part of a log is read into a map of keys and offsets; then all
//! segments up to there are written anew, in groups, without what the map knows a later record of, and swapped in.
//! Used by: the server's cleaner threads. Never does: choosing a log, clock reads, waiting; the log is locked only for moments.
//! Guarantees: a crash at any instant leaves the old segments or the new one; offsets stay; a record that is the last of its key, or that
//! lies behind what was read, stays. Kafka: Cleaner, KIP-354, KIP-534, KIP-280 is not there either.

mod batches;
mod filter;
mod hash;
mod offset_map;
mod output;
mod plan;
#[cfg(test)]
mod tests;
mod transactions;

use crate::config::LogConfig;
use crate::error::LogError;
use crate::index::txn::AbortedTxn;
use crate::log::Log;
use crate::log::replace::CleanSource;
use base::disk::Disk;
use base::{Instant, Now};
use batches::Batches;
pub(crate) use filter::LastRecord;
use filter::{Filter, Outcome};
pub use offset_map::OffsetMap;
use output::Output;
pub use plan::LogToClean;
use record::filter::{RawRecords, payload};
use std::sync::Arc;
use transactions::Transactions;

#[derive(Debug, thiserror::Error)]
pub enum CleanError {
    /// The log was truncated, moved or deleted meanwhile, or the cleaner was asked to stop. Nothing is wrong.
    #[error("cleaning was given up")]
    Aborted,
    #[error(transparent)]
    Log(#[from] LogError),
}

/// How the cleaner learns that it is to stop or to slow down.
pub trait Pace {
    /// Whether to go on; asked at least once for each piece that is read.
    fn check(&self) -> Result<(), CleanError>;
    /// So many bytes were read or written; may wait.
    fn moved(&self, bytes: u64);
    fn now(&self) -> Instant;
}

/// A log that others use at the same time.
pub trait SharedLog {
    /// Runs `f` under the log's lock; false when there is no log any more.
    fn with(&self, f: &mut dyn FnMut(&mut Log)) -> bool;
}

/// What one cleaning did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CleanStats {
    pub map_bytes_read: u64,
    pub map_messages_read: u64,
    pub bytes_read: u64,
    pub messages_read: u64,
    pub bytes_written: u64,
    pub messages_written: u64,
    /// Records without a key, which cannot stay.
    pub invalid_messages_read: u64,
    pub buffer_utilization: f64,
    /// Segments that stayed as they were, because nothing in them had to go.
    pub segments_untouched: u64,
    pub started: Instant,
    pub map_complete: Instant,
    pub ended: Instant,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Cleaned {
    /// The new first dirty offset.
    pub end_offset: i64,
    pub stats: CleanStats,
}

/// Reads and writes are at least of this size, however small log.cleaner.io.buffer.size is.
const IO_BUFFER_MIN: usize = 256 << 10;

/// One thread's cleaner with its buffers.
pub struct Cleaner {
    map: OffsetMap,
    read: Vec<u8>,
    write: Vec<u8>,
    scratch: Vec<u8>,
    io_buffer_bytes: usize,
}

/// A group of segments that become one.
struct Group<'a> {
    segments: &'a [CleanSource],
    config: &'a LogConfig,
}

/// What is taken from the log at the beginning, under its lock.
struct Snapshot {
    disk: Arc<dyn Disk>,
    config: LogConfig,
    version: u64,
    segments: Vec<CleanSource>,
    /// In which of them the dirty part begins, and where in it.
    dirty_from: usize,
    dirty_position: u64,
    aborted: Vec<AbortedTxn>,
}

impl Cleaner {
    /// `dedupe_bytes` bounds the map. What is read and what is written have a buffer each of `io_buffer_bytes`, or as large as the largest batch.
    pub fn new(dedupe_bytes: usize, load_factor: f64, io_buffer_bytes: usize, seed: [u64; 2]) -> Self {
        Self {
            map: OffsetMap::new(dedupe_bytes, load_factor, seed),
            read: Vec::new(),
            write: Vec::new(),
            scratch: Vec::new(),
            io_buffer_bytes: io_buffer_bytes.clamp(IO_BUFFER_MIN, 64 << 20),
        }
    }

    /// Cleans what `job` says. Nothing of the log is locked while it is read and written.
    pub fn clean(&mut self, log: &dyn SharedLog, job: &LogToClean, now: Now, pace: &dyn Pace) -> Result<Cleaned, CleanError> {
        self.read.resize(self.io_buffer_bytes, 0);
        let begun = locked(log, |log| (log.dir().to_owned(), log.clean_version()))?;
        let mut result = self.clean_all(log, job, now, pace);
        // Files that went away under us are no error of theirs.
        if matches!(result, Err(CleanError::Log(_))) && locked(log, |log| (log.dir().to_owned(), log.clean_version())).ok() != Some(begun) {
            result = Err(CleanError::Aborted);
        }
        self.map.clear();
        // One large batch must not hold memory for good.
        for buffer in [&mut self.read, &mut self.write, &mut self.scratch] {
            *buffer = Vec::new();
        }
        result
    }

    fn clean_all(&mut self, log: &dyn SharedLog, job: &LogToClean, now: Now, pace: &dyn Pace) -> Result<Cleaned, CleanError> {
        let mut stats = CleanStats { started: pace.now(), ..CleanStats::default() };
        let snapshot = locked(log, |log| snapshot(log, job))??;
        self.build_map(&snapshot, job, &mut stats, pace)?;
        stats.buffer_utilization = self.map.utilization();
        stats.map_complete = pace.now();
        let end_offset = (self.map.latest_offset() + 1).max(job.first_dirty_offset);
        let count = snapshot.segments.partition_point(|s| s.base_offset < end_offset);
        let segments = snapshot.segments.get(..count).unwrap_or_default();
        let before = segments.iter().take_while(|s| s.base_offset < job.first_dirty_offset).last();
        let legacy_horizon_ms = before.map_or(0, |s| s.modified_ms.saturating_sub(snapshot.config.delete_retention_ms));
        let mut transactions = Transactions::default();
        for group in groups(segments, &snapshot.config, job.first_uncleanable_offset) {
            let group = Group { segments: group, config: &snapshot.config };
            let Some(base_offset) = group.segments.first().map(|s| s.base_offset) else { continue };
            let done = self.clean_group(log, &snapshot, &group, job, now, legacy_horizon_ms, &mut transactions, &mut stats, pace);
            if let Err(error) = done {
                let _ = locked(log, |log| {
                    if log.clean_version() == snapshot.version {
                        output::remove_unfinished(log, base_offset);
                    }
                });
                return Err(error);
            }
        }
        stats.ended = pace.now();
        Ok(Cleaned { end_offset, stats })
    }

    /// Reads the dirty part until its end, or until the map is full.
    fn build_map(&mut self, snapshot: &Snapshot, job: &LogToClean, stats: &mut CleanStats, pace: &dyn Pace) -> Result<(), CleanError> {
        self.map.clear();
        let mut transactions = Transactions::default();
        transactions.add_aborted(&snapshot.aborted);
        let start = job.first_dirty_offset;
        let cap = snapshot.config.max_decompressed_bytes;
        let mut position = snapshot.dirty_position;
        for source in snapshot.segments.get(snapshot.dirty_from..).unwrap_or_default() {
            let mut batches = Batches::new(source.file.as_ref(), &source.path, position, source.size, &mut self.read, pace);
            position = 0;
            while let Some(view) = batches.next()? {
                stats.map_bytes_read += view.size() as u64;
                stats.map_messages_read += i64::from(view.count().unwrap_or(1).max(0)) as u64;
                let corrupt =
                    |e: record::RecordError| LogError::corrupt(&source.path, format!("batch at offset {}: {e}", view.base_offset()));
                if view.is_control() {
                    transactions.on_control_batch(&view, &source.path)?;
                } else if !transactions.on_batch(&view)
                    && view.last_offset() >= start
                    && !note_keys(&mut self.map, &view, start, cap).map_err(corrupt)?
                {
                    return Ok(());
                }
                if view.last_offset() >= start {
                    self.map.update_latest_offset(view.last_offset());
                }
            }
            // What is missing at the end of a segment is missing for good.
            self.map.update_latest_offset(source.next_base - 1);
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "one step of one function, split for its length")]
    fn clean_group(
        &mut self,
        log: &dyn SharedLog,
        snapshot: &Snapshot,
        group: &Group<'_>,
        job: &LogToClean,
        now: Now,
        legacy_horizon_ms: i64,
        transactions: &mut Transactions,
        stats: &mut CleanStats,
        pace: &dyn Pace,
    ) -> Result<(), CleanError> {
        let disk = snapshot.disk.as_ref();
        let (Some(first), Some(last)) = (group.segments.first(), group.segments.last()) else { return Ok(()) };
        let begin = || {
            locked(log, |log| log.begin_cleaned(snapshot.version, group.segments, now))?
                .map_err(CleanError::from)?
                .ok_or(CleanError::Aborted)
        };
        let aborted = |from: i64, to: i64| locked(log, |log| log.aborted_between(from, to))?.map_err(CleanError::from);
        let last_records = locked(log, |log| log.last_records())?;
        let mut output = Output::new(std::mem::take(&mut self.write), self.io_buffer_bytes);
        if group.segments.len() > 1 {
            output.begin(disk, begin()?, group, 0, pace)?;
        }
        for source in group.segments {
            let to = if source.base_offset == last.base_offset { last.next_base } else { source.next_base };
            transactions.add_aborted(&aborted(source.base_offset, to)?);
            let mut filter = Filter {
                map: &self.map,
                config: group.config,
                transactions: &mut *transactions,
                last_records: &last_records,
                upper_bound: job.first_uncleanable_offset,
                now_ms: now.wall_ms,
                keeps_legacy_tombstones: source.modified_ms > legacy_horizon_ms,
                stats: &mut *stats,
                scratch: &mut self.scratch,
            };
            let mut batches = Batches::new(source.file.as_ref(), &source.path, 0, source.size, &mut self.read, pace);
            let mut position = 0;
            while let Some(view) = batches.next()? {
                let size = view.size();
                let before = output.pending.len();
                let outcome = filter.batch(&view, &source.path, &mut output.pending)?;
                if outcome != Outcome::Untouched && !output.has_begun() {
                    output.begin(disk, begin()?, group, position, pace)?;
                }
                position += size as u64;
                match outcome {
                    Outcome::Gone => {}
                    Outcome::Untouched if output.has_begun() => output.copy(disk, group, &view, pace)?,
                    Outcome::Untouched => {}
                    Outcome::Rewritten { last_offset, max_timestamp } => {
                        let written = output.pending.len() - before.min(output.pending.len());
                        output.note(last_offset, max_timestamp, written);
                        output.write_if_full(disk, group, pace)?;
                    }
                }
            }
        }
        pace.check()?;
        let aborted = std::mem::take(&mut transactions.kept);
        let (segment, buffer) = output.finish(disk, group, &aborted, pace)?;
        self.write = buffer;
        let Some(segment) = segment else {
            stats.segments_untouched += 1;
            return Ok(());
        };
        tracing::debug!(
            base_offset = first.base_offset,
            segments = group.segments.len(),
            size = segment.size,
            "swapping in a cleaned segment"
        );
        let swapped = locked(log, |log| log.swap_in(snapshot.version, segment, group.segments, now))?;
        if swapped.map_err(CleanError::from)? { Ok(()) } else { Err(CleanError::Aborted) }
    }
}

/// Puts the keys of a batch into the map; false when it is full.
fn note_keys(map: &mut OffsetMap, view: &record::BatchView<'_>, start: i64, cap: usize) -> Result<bool, record::RecordError> {
    if view.magic() < 2 {
        let batch = record::Batch::new(bytes::Bytes::copy_from_slice(view.bytes()))?;
        for record in batch.records(cap)? {
            let record = record?;
            if let Some(key) = record.key.as_deref().filter(|_| record.offset >= start)
                && !map.put(key, record.offset)
            {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    let records = payload(view, cap)?;
    for record in RawRecords::new(view, &records)? {
        let record = record?;
        let offset = view.base_offset() + i64::from(record.offset_delta);
        if let Some(key) = record.key.filter(|_| offset >= start)
            && !map.put(key, offset)
        {
            return Ok(false);
        }
    }
    Ok(true)
}

fn locked<T>(log: &dyn SharedLog, f: impl FnOnce(&mut Log) -> T) -> Result<T, CleanError> {
    let (mut f, mut out) = (Some(f), None);
    log.with(&mut |log| out = f.take().map(|f| f(log)));
    out.ok_or(CleanError::Aborted)
}

fn snapshot(log: &mut Log, job: &LogToClean) -> Result<Snapshot, CleanError> {
    let segments = log.clean_sources(job.first_uncleanable_offset)?;
    let dirty_from = segments.partition_point(|s| s.base_offset <= job.first_dirty_offset).saturating_sub(1);
    Ok(Snapshot {
        disk: log.disk_shared(),
        config: log.config().clone(),
        version: log.clean_version(),
        dirty_position: log.position_at_or_before(job.first_dirty_offset)?,
        dirty_from,
        segments,
        aborted: log.aborted_between(job.first_dirty_offset, job.first_uncleanable_offset)?,
    })
}

/// Neighbours together make at most one segment: by size, by the sizes of their indexes, and by offsets that fit into an index.
fn groups<'a>(segments: &'a [CleanSource], config: &LogConfig, first_uncleanable_offset: i64) -> Vec<&'a [CleanSource]> {
    let most = config.segment_bytes.max(0) as u64;
    let most_index = config.segment_index_bytes.max(0) as u64;
    let mut groups = Vec::new();
    let mut start = 0;
    while let Some(first) = segments.get(start) {
        let (mut size, mut offsets, mut times) = (first.size, first.offset_index_bytes, first.time_index_bytes);
        let mut end = start + 1;
        while let Some(next) = segments.get(end) {
            let last_offset = segments.get(end + 1).map_or(first_uncleanable_offset, |after| after.base_offset) - 1;
            let fits = size + next.size <= most
                && offsets + next.offset_index_bytes <= most_index
                && times + next.time_index_bytes <= most_index
                && (next.size == 0 || last_offset - first.base_offset <= i64::from(i32::MAX));
            if !fits {
                break;
            }
            size += next.size;
            offsets += next.offset_index_bytes;
            times += next.time_index_bytes;
            end += 1;
        }
        groups.extend(segments.get(start..end));
        start = end;
    }
    groups
}
