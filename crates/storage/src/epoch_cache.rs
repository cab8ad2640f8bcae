//! Where each leader epoch of a partition starts: what followers ask to find where logs part. On disk before the recovery point passes the first
//! batch of an epoch: up to there nobody reads the batches again, from there on a recovery finds the epochs in them. So an append waits for no
//! sync, though the first to each partition after a start begins an epoch. Only what the file says and is no longer so, after a truncation, is
//! corrected before the next append: a recovery adds epochs, it does not doubt the ones that are there.
//! Kafka: LeaderEpochFileCache, LeaderEpochCheckpointFile (KIP-101), which syncs the file when an epoch begins.

use crate::checkpoint::{read_lines, to_text};
use crate::error::LogError;
use base::disk::Disk;
use std::collections::BTreeMap;
use std::path::Path;

pub const FILE_NAME: &str = "leader-epoch-checkpoint";

#[derive(Debug, Default)]
pub struct EpochCache {
    /// Epoch to its first offset; both grow.
    epochs: BTreeMap<i32, i64>,
    dirty: bool,
    /// The latest epoch in the file; 0 is none, which epoch 0 may share: it costs a write too many.
    in_file: i32,
    /// The next append must not come before the file: it says what is not so, or the recovery point went past what it does not say.
    overdue: bool,
    /// The file says more than it has to: entries that begin before the log does. A start passes over them, so nobody waits for a write.
    trimmed: bool,
}

impl EpochCache {
    pub fn load(disk: &dyn Disk, dir: &Path) -> Result<Self, LogError> {
        let path = dir.join(FILE_NAME);
        let mut epochs = BTreeMap::new();
        for line in read_lines(disk, &path)? {
            let entry = line.split_once(' ').and_then(|(epoch, start)| Some((epoch.parse().ok()?, start.trim().parse().ok()?)));
            let Some((epoch, start)) = entry else {
                return Err(LogError::corrupt(path, format!("malformed line in checkpoint file: '{line}'")));
            };
            epochs.insert(epoch, start);
        }
        let in_file = epochs.last_key_value().map_or(0, |(epoch, _)| *epoch);
        Ok(Self { epochs, in_file, ..Self::default() })
    }

    /// For a file that is gone or damaged: what `heads`, the (epoch, offset) of batches in order, tell. It is written with the next `persist`.
    pub fn rebuilt(heads: impl Iterator<Item = (i32, i64)>) -> Self {
        let mut cache = Self::default();
        for (epoch, offset) in heads {
            if cache.latest().is_none_or(|(latest, _)| epoch > latest) {
                cache.assign(epoch, offset);
            }
        }
        cache.dirty = true;
        cache
    }

    /// Notes that `epoch` starts at `start_offset`; entries that contradict it go. Not yet on disk: see `persist`.
    pub fn assign(&mut self, epoch: i32, start_offset: i64) {
        if epoch < 0 || start_offset < 0 {
            return;
        }
        if self.latest().is_some_and(|(latest, start)| latest == epoch && start_offset >= start) {
            return;
        }
        self.retain(|e, start| e < epoch && start < start_offset);
        self.epochs.insert(epoch, start_offset);
        self.dirty = true;
    }

    /// A flush goes on without the file, for want of room: the next append tries again.
    pub fn postpone(&mut self) {
        self.overdue = true;
    }

    /// Before an append: what a flush had to leave out.
    pub fn persist_overdue(&mut self, disk: &dyn Disk, dir: &Path) -> Result<(), LogError> {
        if self.overdue { self.persist(disk, dir) } else { Ok(()) }
    }

    /// Writes and syncs the file if anything changed that a start would miss.
    pub fn persist(&mut self, disk: &dyn Disk, dir: &Path) -> Result<(), LogError> {
        if !self.dirty {
            return Ok(());
        }
        let path = dir.join(FILE_NAME);
        let text = to_text(self.epochs.iter().map(|(epoch, start)| format!("{epoch} {start}")));
        disk.write_atomically(&path, text.as_bytes()).map_err(LogError::io("cannot write", path))?;
        (self.dirty, self.overdue, self.trimmed) = (false, false, false);
        self.in_file = self.latest().map_or(0, |(epoch, _)| epoch);
        Ok(())
    }

    /// At a clean stop. An epoch without a batch is not worth a sync, for every partition at every stop: the next start takes it out anyway.
    /// A file that differs in nothing else stays as it is. That the log begins later is written here.
    pub fn persist_used(&mut self, disk: &dyn Disk, dir: &Path, end_offset: i64) -> Result<(), LogError> {
        self.dirty |= self.trimmed;
        if !self.dirty {
            return Ok(());
        }
        self.truncate_from_end(end_offset);
        let in_file = Self::load(disk, dir).map(|mut in_file| {
            in_file.truncate_from_end(end_offset);
            in_file.epochs
        });
        match in_file {
            Ok(in_file) if in_file == self.epochs => Ok(()),
            _ => self.persist(disk, dir),
        }
    }

    pub fn latest(&self) -> Option<(i32, i64)> {
        self.epochs.last_key_value().map(|(epoch, start)| (*epoch, *start))
    }

    /// (epoch, end offset) for OffsetsForLeaderEpoch; None when the epoch is not defined (-1) or too new. One that is older than all, and
    /// be it no epoch, ends where the log starts.
    pub fn end_offset_for(&self, epoch: i32, log_end_offset: i64) -> Option<(i32, i64)> {
        if epoch == -1 {
            return None;
        }
        if self.latest().is_some_and(|(latest, _)| latest == epoch) {
            return Some((epoch, log_end_offset));
        }
        let (_, end) = self.epochs.range(epoch.checked_add(1)?..).next()?;
        let floor = self.epochs.range(..=epoch).next_back().map_or(epoch, |(epoch, _)| *epoch);
        Some((floor, *end))
    }

    pub fn epoch_for_offset(&self, offset: i64) -> Option<i32> {
        self.epochs.iter().rev().find(|(_, start)| **start <= offset).map(|(epoch, _)| *epoch)
    }

    pub fn truncate_from_end(&mut self, end_offset: i64) {
        self.retain(|_, start| start < end_offset);
    }

    /// After a clean stop at `end_offset`: an epoch that begins there has no batch, and every batch to come will be read by a recovery.
    pub fn drop_unused(&mut self, end_offset: i64) {
        self.epochs.retain(|_, start| *start != end_offset);
    }

    fn retain(&mut self, stays: impl Fn(i32, i64) -> bool) {
        let mut overdue = false;
        let in_file = self.in_file;
        let before = self.epochs.len();
        self.epochs.retain(|epoch, start| {
            let stays = stays(*epoch, *start);
            overdue |= !stays && *epoch <= in_file;
            stays
        });
        self.overdue |= overdue;
        self.dirty |= before != self.epochs.len();
    }

    /// The epoch in force at `start_offset` now starts there; older ones go.
    pub fn truncate_from_start(&mut self, start_offset: i64) {
        let Some(epoch) = self.epoch_for_offset(start_offset) else { return };
        if self.epochs.first_key_value() == Some((&epoch, &start_offset)) {
            return;
        }
        self.epochs.retain(|e, _| *e >= epoch);
        self.epochs.insert(epoch, start_offset);
        self.trimmed = true;
    }

    pub fn clear(&mut self) {
        self.retain(|_, _| false);
    }

    pub fn entries(&self) -> impl Iterator<Item = (i32, i64)> + '_ {
        self.epochs.iter().map(|(epoch, start)| (*epoch, *start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(entries: &[(i32, i64)]) -> EpochCache {
        let mut cache = EpochCache::default();
        for (epoch, start) in entries {
            cache.assign(*epoch, *start);
        }
        cache
    }

    #[test]
    fn end_offsets_as_kafka_answers() {
        let cache = cache(&[(1, 0), (3, 10), (7, 25)]);
        assert_eq!(cache.end_offset_for(7, 40), Some((7, 40)));
        assert_eq!(cache.end_offset_for(3, 40), Some((3, 25)));
        assert_eq!(cache.end_offset_for(5, 40), Some((3, 25)));
        assert_eq!(cache.end_offset_for(0, 40), Some((0, 0)));
        assert_eq!(cache.end_offset_for(8, 40), None);
        assert_eq!(cache.end_offset_for(-1, 40), None);
        assert_eq!(cache.end_offset_for(-2, 40), Some((-2, 0)));
        assert_eq!(EpochCache::default().end_offset_for(-2, 40), None);
    }

    #[test]
    fn later_entries_win_over_contradictions() {
        let mut cache = cache(&[(1, 0), (3, 10), (7, 25)]);
        cache.assign(4, 12);
        assert_eq!(cache.entries().collect::<Vec<_>>(), [(1, 0), (3, 10), (4, 12)]);
        cache.assign(5, 12);
        assert_eq!(cache.entries().collect::<Vec<_>>(), [(1, 0), (3, 10), (5, 12)]);
        cache.assign(5, 20);
        assert_eq!(cache.latest(), Some((5, 12)));
    }

    #[test]
    fn a_stop_writes_no_epoch_without_a_batch() {
        let (disk, dir) = (base::disk::MemDisk::new(), Path::new("/data"));
        disk.create_dir_all(dir).unwrap();
        let in_file = || EpochCache::load(&disk, dir).unwrap().entries().collect::<Vec<_>>();
        let mut epochs = cache(&[(1, 0), (3, 10)]);
        epochs.persist_used(&disk, dir, 10).unwrap();
        assert_eq!(in_file(), [(1, 0)]);
        epochs.assign(4, 10);
        disk.fail_after(Some(0));
        epochs.persist_used(&disk, dir, 10).unwrap();
        disk.fail_after(None);
        // The log is used after all.
        epochs.assign(4, 10);
        epochs.persist(&disk, dir).unwrap();
        assert_eq!(in_file(), [(1, 0), (4, 10)]);
        epochs.assign(5, 20);
        epochs.persist_used(&disk, dir, 20).unwrap();
        assert_eq!(in_file(), [(1, 0), (4, 10)]);
    }

    #[test]
    fn an_append_waits_only_for_a_file_that_says_what_is_not_so() {
        let (disk, dir) = (base::disk::MemDisk::new(), Path::new("/t-0"));
        disk.create_dir_all(dir).unwrap();
        let in_file = || EpochCache::load(&disk, dir).unwrap().entries().collect::<Vec<_>>();
        let mut epochs = cache(&[(1, 0), (3, 10)]);
        epochs.persist_overdue(&disk, dir).unwrap();
        assert_eq!(in_file(), []);
        epochs.persist(&disk, dir).unwrap();
        // A new epoch, and one without a batch that the next takes the place of.
        epochs.assign(5, 20);
        epochs.assign(6, 20);
        epochs.persist_overdue(&disk, dir).unwrap();
        assert_eq!(in_file(), [(1, 0), (3, 10)]);
        // The log was cut below an epoch of the file.
        epochs.truncate_from_end(8);
        epochs.assign(7, 8);
        epochs.persist_overdue(&disk, dir).unwrap();
        assert_eq!(in_file(), [(1, 0), (7, 8)]);
        // An epoch without a batch at a clean stop contradicts nothing.
        let mut epochs = EpochCache::load(&disk, dir).unwrap();
        epochs.drop_unused(8);
        epochs.assign(8, 8);
        epochs.persist_overdue(&disk, dir).unwrap();
        assert_eq!(in_file(), [(1, 0), (7, 8)]);
    }

    #[test]
    fn truncations() {
        let mut cache = cache(&[(1, 0), (3, 10), (7, 25)]);
        cache.truncate_from_start(12);
        assert_eq!(cache.entries().collect::<Vec<_>>(), [(3, 12), (7, 25)]);
        cache.truncate_from_end(25);
        assert_eq!(cache.entries().collect::<Vec<_>>(), [(3, 12)]);
        assert_eq!(cache.epoch_for_offset(11), None);
        assert_eq!(cache.epoch_for_offset(30), Some(3));
    }

    #[test]
    fn a_log_that_begins_later_writes_nothing_before_it_is_closed() {
        let (disk, dir) = (base::disk::MemDisk::new(), Path::new("/t-0"));
        disk.create_dir_all(dir).unwrap();
        let mut cache = cache(&[(1, 0), (3, 10)]);
        cache.persist(&disk, dir).unwrap();
        cache.truncate_from_start(12);
        cache.persist(&disk, dir).unwrap();
        let mut found = EpochCache::load(&disk, dir).unwrap();
        assert_eq!(found.entries().collect::<Vec<_>>(), [(1, 0), (3, 10)]);
        found.truncate_from_start(12);
        assert_eq!(found.entries().collect::<Vec<_>>(), [(3, 12)]);
        cache.persist_used(&disk, dir, i64::MAX).unwrap();
        assert_eq!(EpochCache::load(&disk, dir).unwrap().entries().collect::<Vec<_>>(), [(3, 12)]);
    }
}
