//! One partition's log: a row of segments, the state derived from them, and the offsets that bound what may be read.
//! Not locked and not timed: its owner wraps it in a lock and passes the time. Kafka: UnifiedLog, LocalLog.

mod append;
mod flush;
mod identity;
mod load;
mod lookup;
mod read;
pub(crate) mod replace;
mod retention;
mod truncate;

use crate::config::LogConfig;
use crate::epoch_cache::EpochCache;
use crate::error::LogError;
use crate::producer_snapshot;
use crate::producer_state::ProducerState;
use crate::segment::{Segment, file_name};
use base::disk::{Disk, OpenMode};
use base::{Now, TopicPartition, Uuid};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use append::AppendInfo;
pub use flush::FlushJob;
pub use identity::IdentityJob;
pub use load::LogOpen;
pub use lookup::TimestampOffset;
pub use read::{LogRead, ReadLimit};
pub use retention::{Deleted, unlink};

const SNAPSHOT: &str = ".snapshot";
const DELETED: &str = ".deleted";
pub(crate) const CLEANED: &str = ".cleaned";
pub(crate) const SWAP: &str = ".swap";

pub struct Log {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    topic_partition: TopicPartition,
    topic_id: Option<Uuid>,
    /// partition.metadata, and the directory itself, are durable.
    identity_synced: bool,
    config: LogConfig,
    /// By base offset; never empty. The last one is appended to.
    segments: Vec<Segment>,
    epochs: EpochCache,
    producers: ProducerState,
    /// Offsets of the producer snapshots on disk.
    snapshots: BTreeSet<i64>,
    unsynced_snapshots: Vec<i64>,
    log_start_offset: i64,
    log_end_offset: i64,
    high_watermark: i64,
    recovery_point: i64,
    last_flush_ms: i64,
    /// Renamed files and when they may go.
    doomed: Vec<(i64, Vec<PathBuf>)>,
    /// Names in the directory changed since it was last synced.
    dir_dirty: bool,
    /// The directory was made when the log was opened: nothing of before can come back into it.
    is_new: bool,
    jitter_seed: u64,
    /// How often records were cut off the end, and the lowest offset of that which the cleaner does not know yet.
    truncations: u64,
    truncated_to: Option<i64>,
    unfinished_swap: Option<replace::UnfinishedSwap>,
}

impl Log {
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn topic_partition(&self) -> &TopicPartition {
        &self.topic_partition
    }

    pub fn topic_id(&self) -> Option<Uuid> {
        self.topic_id
    }

    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    pub fn update_config(&mut self, config: LogConfig) {
        self.config = config;
    }

    pub fn log_start_offset(&self) -> i64 {
        self.log_start_offset
    }

    pub fn log_end_offset(&self) -> i64 {
        self.log_end_offset
    }

    pub fn high_watermark(&self) -> i64 {
        self.high_watermark
    }

    /// Returns whether it moved. Never beyond the log end, never below the log start.
    pub fn set_high_watermark(&mut self, offset: i64) -> bool {
        let offset = offset.min(self.log_end_offset).max(self.log_start_offset);
        if offset == self.high_watermark {
            return false;
        }
        self.high_watermark = offset;
        self.producers.on_high_watermark(offset);
        true
    }

    /// The first offset that a transaction not yet decided (or not yet replicated) holds back; else the high watermark.
    pub fn last_stable_offset(&self) -> i64 {
        match self.producers.first_unstable_offset() {
            Some(unstable) => unstable.max(self.log_start_offset).min(self.high_watermark),
            None => self.high_watermark,
        }
    }

    pub fn recovery_point(&self) -> i64 {
        self.recovery_point
    }

    /// Bytes in all segments.
    pub fn size(&self) -> u64 {
        self.segments.iter().map(|s| s.size).sum()
    }

    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    pub fn latest_epoch(&self) -> Option<i32> {
        self.epochs.latest().map(|(epoch, _)| epoch)
    }

    /// Notes where an epoch starts. It is on disk before the recovery point passes the first batch of that epoch.
    pub fn assign_epoch(&mut self, epoch: i32, start_offset: i64) {
        self.epochs.assign(epoch, start_offset);
    }

    /// (epoch, end offset): the largest known epoch not above the asked one; None if nothing is known.
    pub fn end_offset_for_epoch(&self, epoch: i32) -> Option<(i32, i64)> {
        self.epochs.end_offset_for(epoch, self.log_end_offset)
    }

    pub fn epoch_for_offset(&self, offset: i64) -> Option<i32> {
        self.epochs.epoch_for_offset(offset)
    }

    pub fn producers(&self) -> &ProducerState {
        &self.producers
    }

    pub fn remove_expired_producers(&mut self, now: Now) {
        self.producers.remove_expired(now.wall_ms, self.config.producer_id_expiration_ms);
    }

    fn active(&self) -> &Segment {
        &self.segments[self.segments.len() - 1]
    }

    fn active_mut(&mut self) -> &mut Segment {
        let last = self.segments.len() - 1;
        &mut self.segments[last]
    }

    /// Index of the segment that holds `offset`, or would.
    fn segment_at(&self, offset: i64) -> usize {
        self.segments.partition_point(|s| s.base_offset <= offset).saturating_sub(1)
    }

    fn jitter(&self, base_offset: i64) -> i64 {
        jitter(&self.config, self.jitter_seed, base_offset)
    }

    fn new_segment(&self, base: i64, now: Now) -> Result<Segment, LogError> {
        let mut segment = Segment::create(&*self.disk, &self.dir, base, now.wall_ms, self.jitter(base))?;
        if self.config.preallocate {
            segment.reserve(&*self.disk, self.config.segment_bytes.max(0) as u64)?;
        }
        Ok(segment)
    }

    /// Sets space aside so that about `bytes` more can be appended although the disk is full; a hint.
    pub fn reserve_ahead(&mut self, bytes: u64) -> Result<(), LogError> {
        let disk = self.disk.clone();
        let segment = self.active_mut();
        segment.reserve(disk.as_ref(), segment.size.saturating_add(bytes))
    }

    /// Gives back what was set aside, for something more urgent.
    pub fn give_back_reserve(&mut self) -> Result<(), LogError> {
        let disk = self.disk.clone();
        self.active_mut().give_back_reserve(disk.as_ref())
    }

    /// Closes the active segment and starts one at the log end, with a producer snapshot at that offset.
    pub fn roll(&mut self, now: Now) -> Result<(), LogError> {
        let base = self.log_end_offset;
        if self.active().base_offset == base {
            return Ok(());
        }
        let disk = self.disk.clone();
        // First what needs new space: if there is none, the active segment stays what it is.
        let segment = self.new_segment(base, now)?;
        self.active_mut().seal(disk.as_ref())?;
        self.segments.push(segment);
        self.dir_dirty = true;
        self.write_snapshot(base)
    }

    /// Producer state as of `offset`, synced with the next flush.
    fn write_snapshot(&mut self, offset: i64) -> Result<(), LogError> {
        let path = self.dir.join(file_name(offset, SNAPSHOT));
        let bytes = producer_snapshot::encode(self.producers.entries().into_iter());
        let write = || self.disk.open(&path, OpenMode::Truncate)?.write_at(&bytes, 0);
        write().map_err(LogError::io("cannot write", &path))?;
        self.snapshots.insert(offset);
        self.unsynced_snapshots.push(offset);
        self.dir_dirty = true;
        Ok(())
    }

    fn remove_snapshot(&mut self, offset: i64) -> Result<(), LogError> {
        let path = self.dir.join(file_name(offset, SNAPSHOT));
        self.snapshots.remove(&offset);
        self.unsynced_snapshots.retain(|o| *o != offset);
        match self.disk.remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(LogError::io("cannot remove", path)(e)),
            _ => Ok(()),
        }
    }

    /// Renames the directory to `<tp>.<32 hex>-delete`; returns the new path, to be removed after file.delete.delay.ms.
    pub fn rename_for_delete(&mut self, unique: Uuid) -> Result<PathBuf, LogError> {
        let suffix = format!(".{:032x}-delete", unique.as_u128());
        // Directory names are capped at 255 bytes; the end must stay.
        let name: String = self.topic_partition.to_string().chars().take(255 - suffix.len()).collect();
        let to = self.dir.with_file_name(name + &suffix);
        self.disk.rename(&self.dir, &to).map_err(LogError::io("cannot rename for deletion", &self.dir))?;
        if let Some(parent) = to.parent() {
            self.disk.sync_dir(parent).map_err(LogError::io("cannot sync", parent))?;
        }
        self.dir = to.clone();
        Ok(to)
    }
}

/// A fixed draw per segment, so that partitions filled alike do not roll all at once.
fn jitter(config: &LogConfig, seed: u64, base_offset: i64) -> i64 {
    match config.segment_jitter_ms.min(config.segment_ms) {
        max if max <= 0 => 0,
        max => {
            let mixed = (seed ^ base_offset as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            ((mixed >> 16) % max as u64) as i64
        }
    }
}

#[cfg(test)]
mod tests;
