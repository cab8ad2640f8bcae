//! Opening a log: what is left of interrupted work is cleaned up; after an unclean stop everything from the recovery point on is read,
//! checked and indexed anew, and the first bad byte ends the log. After a clean stop only the tail behind the last index entry is
//! looked at. Kafka: LogLoader, LogSegment.recover.

use super::{CLEANED, DELETED, Log, SNAPSHOT, SWAP, jitter};
use crate::config::LogConfig;
use crate::epoch_cache::{self, EpochCache};
use crate::error::LogError;
use crate::index::txn::AbortedTxn;
use crate::partition_metadata;
use crate::producer_state::{self, ProducerState};
use crate::recovery::RecoveryProgress;
use crate::scan::{HeadScan, unreadable};
use crate::segment::{Damage, FILES, LOG, OFFSET_INDEX, Resumed, Segment, TIME_INDEX, TXN_INDEX, file_name};
use base::disk::{Disk, OpenMode};
use base::{Now, TopicPartition, Uuid};
use record::{EndTxnMarker, Origin};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How a log is found: what the checkpoints and the clean-shutdown marker of its directory say.
#[derive(Clone, Debug, Default)]
pub struct LogOpen {
    /// Everything below was flushed.
    pub recovery_point: i64,
    /// From log-start-offset-checkpoint; 0 if not listed.
    pub log_start_offset: i64,
    /// From replication-offset-checkpoint; 0 if not listed.
    pub high_watermark: i64,
    /// The directory has a clean-shutdown marker: nothing is recovered.
    pub clean_shutdown: bool,
    /// The cleaner has been here, whatever cleanup.policy says now: gaps between segments are no damage.
    pub compacted: bool,
    /// Damage that is followed by good batches is an error, which leaves the files as they are; for a log without which nothing makes sense.
    pub refuse_damage: bool,
    /// Seeds the jitter of segment.ms.
    pub jitter_seed: u64,
    /// Told how far a recovery has come.
    pub progress: Arc<RecoveryProgress>,
}

impl Log {
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        topic_partition: TopicPartition,
        topic_id: Option<Uuid>,
        config: LogConfig,
        open: LogOpen,
        now: Now,
    ) -> Result<Log, LogError> {
        let is_new = !disk.exists(&dir);
        if is_new {
            disk.create_dir_all(&dir).map_err(LogError::io("cannot create the partition directory", &dir))?;
        }
        let names = tidy(disk.as_ref(), &dir, is_new)?;
        let (topic_id, had_identity) = identify(disk.as_ref(), &dir, &names, topic_id)?;
        let epochs = match has(&names, epoch_cache::FILE_NAME) {
            true => EpochCache::load(disk.as_ref(), &dir),
            false => Ok(EpochCache::default()),
        };
        let epochs = epochs.or_else(|error| match error {
            LogError::Corrupt { .. } => {
                tracing::warn!(%error, "leader epochs are taken from the batches");
                Ok(EpochCache::default())
            }
            error => Err(error),
        })?;
        let mut log = Log {
            epochs,
            disk,
            dir,
            topic_partition,
            topic_id,
            // A directory found after a kill may never have been synced by whoever made it.
            identity_synced: had_identity && open.clean_shutdown,
            config,
            segments: Vec::new(),
            producers: ProducerState::default(),
            snapshots: names.iter().filter_map(|name| offset_of(name, SNAPSHOT)).collect(),
            unsynced_snapshots: Vec::new(),
            log_start_offset: open.log_start_offset.max(0),
            log_end_offset: 0,
            high_watermark: 0,
            recovery_point: open.recovery_point.max(0),
            last_flush_ms: now.wall_ms,
            doomed: Vec::new(),
            dir_dirty: is_new,
            is_new,
            jitter_seed: open.jitter_seed,
            truncations: 0,
            truncated_to: None,
            unfinished_swap: None,
        };
        log.open_segments(&names, now)?;
        if log.epochs.latest().is_none() {
            log.rebuild_epochs()?;
        }
        if open.clean_shutdown {
            log.load_clean(now, &open)?
        } else {
            log.load_unclean(now, &open)?
        }
        log.identity_synced &= log.log_end_offset > 0;
        log.high_watermark = open.high_watermark.clamp(log.log_start_offset, log.log_end_offset);
        log.producers.on_high_watermark(log.high_watermark);
        Ok(log)
    }

    fn open_segments(&mut self, names: &[String], now: Now) -> Result<(), LogError> {
        let disk = self.disk.clone();
        let have: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        for base in names.iter().filter_map(|name| offset_of(name, LOG)) {
            let segment = Segment::open(disk.as_ref(), &self.dir, base, now.wall_ms, jitter(&self.config, self.jitter_seed, base))?;
            self.segments.push(segment);
            // Without its offset index a segment is read as if it had not been flushed.
            if !have.contains(file_name(base, OFFSET_INDEX).as_str()) {
                tracing::warn!(partition = %self.topic_partition, base, "offset index is missing; it is rebuilt from the segment");
                self.rebuild_index()?;
            }
        }
        for at in 0..self.segments.len() {
            let segment = &self.segments[at];
            let path = segment.txns.path().to_owned();
            if have.contains(file_name(segment.base_offset, TXN_INDEX).as_str())
                && !segment.txns.is_sane(disk.as_ref(), segment.base_offset).map_err(LogError::io("cannot read", &path))?
            {
                tracing::warn!(file = %path.display(), "the index of aborted transactions is damaged; it is rebuilt from the segment");
                self.rebuild_txn_index(at, now)?;
            }
        }
        if self.segments.is_empty() {
            let base = self.log_start_offset;
            self.segments.push(self.new_segment(base, now)?);
            self.dir_dirty = true;
        }
        Ok(())
    }

    /// Rebuilds the indexes of the segment opened last; nothing else changes.
    fn rebuild_index(&mut self) -> Result<(), LogError> {
        let disk = self.disk.clone();
        let config = self.config.clone();
        let segment = self.active_mut();
        segment.rebuild_indexes(disk.as_ref(), &config)?;
        segment.seal(disk.as_ref())
    }

    /// Which transactions ended in a segment is known to who has followed their producers up to there.
    fn rebuild_txn_index(&mut self, at: usize, now: Now) -> Result<(), LogError> {
        let (disk, base) = (self.disk.clone(), self.segments[at].base_offset);
        self.producers.clear();
        let from = self.load_newest_snapshot(base, now)?.unwrap_or(self.log_start_offset);
        self.replay_producers(from.max(self.segments[0].base_offset), base)?;
        let damage = Damage { flushed_up_to: i64::MAX, keep_tail: true, ..Damage::default() };
        self.recover_segment(at, None, damage, &RecoveryProgress::default())?;
        self.segments[at].seal(disk.as_ref())?;
        self.producers.clear();
        Ok(())
    }

    /// Epochs as the batches tell them, when the file is damaged, empty or gone although there are batches. Batches of old formats tell none.
    fn rebuild_epochs(&mut self) -> Result<(), LogError> {
        let disk = self.disk.clone();
        let mut found: Vec<(i32, i64)> = Vec::new();
        for segment in self.segments.iter().filter(|segment| segment.size > 0) {
            let file = segment.file(disk.as_ref())?;
            let mut heads = HeadScan::of_segment(file.as_ref(), segment.base_offset, 0, segment.size);
            while let Some(head) = heads.next().map_err(unreadable(segment.log_path()))? {
                let Some(view) = head.view() else { break };
                if view.leader_epoch() < 0 && found.is_empty() {
                    return Ok(());
                }
                if view.leader_epoch() >= 0 && found.last().is_none_or(|(epoch, _)| view.leader_epoch() > *epoch) {
                    found.push((view.leader_epoch(), view.base_offset()));
                }
            }
        }
        if !found.is_empty() {
            self.epochs = EpochCache::rebuilt(found.into_iter());
        }
        Ok(())
    }

    fn load_clean(&mut self, now: Now, open: &LogOpen) -> Result<(), LogError> {
        let disk = self.disk.clone();
        let config = self.config.clone();
        let Some(end) = self.active_mut().activate(disk.as_ref(), &config)? else {
            tracing::warn!(partition = %self.topic_partition, "recovering the log although it was closed cleanly");
            // Whatever the checkpoint says: a clean stop has flushed everything.
            self.recovery_point = self.recovery_point.max(self.active().base_offset);
            return self.load_unclean(now, open);
        };
        self.log_end_offset = end;
        if self.log_start_offset > end {
            tracing::error!(
                partition = %self.topic_partition, log_start_offset = self.log_start_offset, log_end_offset = end,
                "log-start-offset-checkpoint names an offset beyond the end of a log that was closed cleanly; it is not used"
            );
            self.log_start_offset = 0;
        }
        self.log_start_offset = self.log_start_offset.max(self.segments[0].base_offset);
        self.recovery_point = self.log_end_offset;
        self.epochs.drop_unused(self.log_end_offset);
        self.epochs.truncate_from_end(self.log_end_offset);
        self.epochs.truncate_from_start(self.log_start_offset);
        self.remove_stray_snapshots()?;
        // A clean stop leaves a snapshot. Where there is none at all, nothing is known of producers, and nothing is scanned for.
        if self.snapshots.is_empty() {
            return Ok(());
        }
        let from = self.load_newest_snapshot(self.log_end_offset, now)?.unwrap_or(self.log_start_offset);
        self.replay_producers(from, self.log_end_offset)
    }

    fn load_unclean(&mut self, now: Now, open: &LogOpen) -> Result<(), LogError> {
        let (compacted, progress) = (open.compacted, &*open.progress);
        let flushed_up_to = if open.refuse_damage { i64::MAX } else { self.recovery_point };
        let damage = Damage { flushed_up_to, refuse: open.refuse_damage, keep_tail: false };
        let disk = self.disk.clone();
        // A recovery point beyond the files (they were lost or replaced) says nothing about them.
        let first = self.segment_at(self.recovery_point);
        let flushed = self.recovery_point;
        let Log { segments, config, .. } = self;
        let total: u64 = segments[first..].iter().map(|segment| segment.size).sum();
        let resumed = match flushed > segments[first].base_offset {
            true => segments[first].resume(disk.as_ref(), config, flushed)?,
            false => None,
        };
        let kept = resumed.map_or(0, |_| segments[first].size);
        // From here on batches are read.
        let base = resumed.map_or(segments[first].base_offset, |resumed| resumed.offset);
        progress.begin((segments.len() - first) as u64, total - kept);
        self.log_start_offset = self.log_start_offset.max(self.segments[0].base_offset);
        for beyond in self.snapshots.range(base + 1..).copied().collect::<Vec<_>>() {
            self.remove_snapshot(beyond)?;
        }
        if let Some(before) = first.checked_sub(1) {
            let Log { segments, config, .. } = self;
            segments[before].repair_indexes(disk.as_ref(), config)?;
        }
        // Deleted records that are in a segment still may be sent again: who wrote them is looked for from its beginning.
        let without = self.log_start_offset.min(self.segments[first].base_offset);
        let from = self.load_newest_snapshot(base, now)?.unwrap_or(without);
        self.replay_producers(from.max(self.segments[0].base_offset), base)?;
        let mut end = base;
        for at in first..self.segments.len() {
            if at > first {
                self.write_snapshot(self.segments[at].base_offset)?;
            }
            let resumed = resumed.filter(|_| at == first);
            let (next, cut) = self.recover_segment(at, resumed, damage, progress)?;
            progress.read(cut);
            progress.segment_done();
            end = next.unwrap_or(resumed.map_or(self.segments[at].base_offset, |resumed| resumed.offset));
            let last = at + 1 == self.segments.len();
            // A tail lost exactly between two batches leaves no bad byte, only a gap. Compaction leaves gaps too.
            let gap = self.segments.get(at + 1).is_some_and(|s| s.base_offset > end) && !compacted && !self.config.cleanup_compact;
            if (cut > 0 || gap) && !last {
                let gone: Vec<Segment> = self.segments.drain(at + 1..).collect();
                for segment in gone {
                    tracing::warn!(partition = %self.topic_partition, base = segment.base_offset, "deleting a segment that follows a damaged one");
                    self.doom(&segment, now)?;
                }
                break;
            }
            if !last {
                self.segments[at].seal(disk.as_ref())?;
            }
        }
        self.log_end_offset = end;
        if self.drop_if_behind_start(now)? {
            return Ok(());
        }
        self.recovery_point = self.recovery_point.min(end);
        self.sync_rebuilt_transactions(first)?;
        self.epochs.truncate_from_end(end);
        self.epochs.truncate_from_start(self.log_start_offset);
        self.remove_stray_snapshots()
    }

    /// Reads a segment. Returns the offset after the last batch that was read and how many bytes were cut.
    fn recover_segment(
        &mut self,
        at: usize,
        resumed: Option<Resumed>,
        damage: Damage,
        progress: &RecoveryProgress,
    ) -> Result<(Option<i64>, u64), LogError> {
        let disk = self.disk.clone();
        let Log { segments, producers, epochs, topic_partition, config, .. } = self;
        let context = producer_state::Context { topic_partition, origin: Origin::Replication, transaction_version: 0 };
        let segment = &mut segments[at];
        let path = segment.log_path().to_owned();
        match resumed {
            Some(resumed) => segment
                .txns
                .truncate(disk.as_ref(), resumed.offset)
                .map_err(LogError::io("cannot truncate the transaction index of", &path))?,
            None => segment.txns.rebuild(),
        }
        let mut next = None;
        let cut = segment.recover(disk.as_ref(), config, resumed, damage, |txns, batch| {
            let view = batch.view();
            progress.read(view.size() as u64);
            next = Some(view.next_offset());
            if view.leader_epoch() >= 0 && epochs.latest().is_none_or(|(epoch, _)| view.leader_epoch() > epoch) {
                epochs.assign(view.leader_epoch(), view.base_offset());
            }
            if !view.has_producer_id() {
                return Ok(());
            }
            let mut update = producer_state::Update::default();
            let (first, last) = (view.base_offset(), view.last_offset());
            let prepared = if view.is_control() {
                match EndTxnMarker::from_batch(batch) {
                    Ok(Some((marker, ts))) => producers.prepare_marker(&mut update, context, &view, first, marker, ts),
                    Ok(None) => Ok(()),
                    Err(e) => {
                        tracing::error!(segment = %path.display(), offset = first, problem = %e, "a transaction marker is damaged and not followed");
                        Ok(())
                    }
                }
            } else {
                producers.prepare(&mut update, context, &view, first, last, view.max_timestamp())
            };
            if let Err(e) = prepared {
                tracing::warn!(partition = %topic_partition, offset = first, problem = e.message, "batch does not fit the producer state");
                return Ok(());
            }
            producers.apply(&mut update);
            for completed in update.completed.drain(..) {
                if completed.aborted {
                    let last_stable_offset = producers.last_stable_offset_after(&completed);
                    let aborted = AbortedTxn {
                        producer_id: completed.producer_id,
                        first_offset: completed.first_offset,
                        last_offset: completed.last_offset,
                        last_stable_offset,
                    };
                    txns.note(disk.as_ref(), aborted).map_err(LogError::io("cannot write the transaction index of", &path))?;
                }
                producers.complete(&completed);
            }
            Ok(())
        })?;
        if resumed.is_none() {
            segment.txns.rebuilt(disk.as_ref()).map_err(LogError::io("cannot write the transaction index of", &path))?;
        }
        Ok((next, cut))
    }

    /// The checkpoint may already say that nothing before the log end needs a recovery: what was rebuilt must not be lost with the power.
    fn sync_rebuilt_transactions(&mut self, first: usize) -> Result<(), LogError> {
        let disk = self.disk.clone();
        let mut any = false;
        for segment in self.segments.iter_mut().skip(first) {
            let log_path = segment.log_path().to_owned();
            let path = match segment.txns.unsynced(disk.as_ref()) {
                Ok(Some(path)) => path.to_owned(),
                Ok(None) => continue,
                // There is no room for it: the next flush begins here.
                Err(e) if e.kind() == io::ErrorKind::StorageFull => {
                    self.recovery_point = self.recovery_point.min(segment.base_offset);
                    continue;
                }
                Err(e) => return Err(LogError::io("cannot write the transaction index of", log_path)(e)),
            };
            let sync = || disk.open(&path, OpenMode::ReadWrite)?.sync_data();
            sync().map_err(LogError::io("cannot sync", &path))?;
            segment.txns.handed_over();
            any = true;
        }
        match any {
            true => disk.sync_dir(&self.dir).map_err(LogError::io("cannot sync", &self.dir)),
            false => Ok(()),
        }
    }

    /// A log that ends below the checkpointed start lost its files: what is left is not what was acknowledged.
    fn drop_if_behind_start(&mut self, now: Now) -> Result<bool, LogError> {
        if self.log_end_offset >= self.log_start_offset {
            return Ok(false);
        }
        tracing::warn!(
            partition = %self.topic_partition,
            log_end_offset = self.log_end_offset,
            log_start_offset = self.log_start_offset,
            "deleting all segments because the log ends before its start; were files removed?"
        );
        self.truncate_fully_and_start_at(self.log_start_offset, now)?;
        self.recovery_point = self.log_start_offset;
        Ok(true)
    }

    /// Keeps the snapshots at segment starts and the newest one.
    fn remove_stray_snapshots(&mut self) -> Result<(), LogError> {
        let Some(newest) = self.snapshots.last().copied() else { return Ok(()) };
        let stray: Vec<i64> = self
            .snapshots
            .iter()
            .copied()
            .filter(|offset| *offset != newest && !self.segments.iter().any(|s| s.base_offset == *offset))
            .collect();
        for offset in stray {
            self.remove_snapshot(offset)?;
        }
        Ok(())
    }
}

/// The topic id of the directory, and whether its file was already there. A new one is written; the first append syncs it.
fn identify(disk: &dyn Disk, dir: &Path, names: &[String], topic_id: Option<Uuid>) -> Result<(Option<Uuid>, bool), LogError> {
    let found = match has(names, partition_metadata::FILE_NAME) {
        true => partition_metadata::read(disk, dir),
        false => Ok(None),
    };
    let known = match found {
        // Torn by a crash before anything was appended: there is nothing that it could mislabel.
        Err(LogError::Corrupt { .. }) if topic_id.is_some() && !has_data(disk, dir, names) => None,
        // Whoever opens the log knows by other means whose it is.
        Err(error @ LogError::Corrupt { .. }) if topic_id.is_some() => {
            tracing::warn!(%error, "the file is written anew");
            None
        }
        known => known?,
    };
    match (known, topic_id) {
        (Some(known), Some(wanted)) if known != wanted => Err(LogError::corrupt(
            dir,
            format!(
                "belongs to topic id {known}, but the metadata says {wanted}; move the directory away to start with an empty partition"
            ),
        )),
        (Some(known), _) => Ok((Some(known), true)),
        (None, None) => Ok((None, false)),
        (None, Some(wanted)) => {
            partition_metadata::write(disk, dir, wanted)?;
            Ok((Some(wanted), false))
        }
    }
}

/// Asked before a file is read that new directories do not have: one that is not found makes the disk look after the whole log directory.
fn has(names: &[String], name: &str) -> bool {
    names.iter().any(|n| n == name)
}

fn has_data(disk: &dyn Disk, dir: &Path, names: &[String]) -> bool {
    names.iter().filter(|name| name.ends_with(LOG)).any(|name| disk.info(&dir.join(name)).map_or(true, |info| info.len > 0))
}

/// `<20 digits><suffix>`
fn offset_of(name: &str, suffix: &str) -> Option<i64> {
    let digits = name.strip_suffix(suffix)?;
    (digits.len() == 20).then(|| digits.parse().ok()).flatten()
}

/// Ends what a crash interrupted: deletions, compaction output, swaps, indexes without a segment. Returns the names that are left.
fn tidy(disk: &dyn Disk, dir: &Path, is_new: bool) -> Result<Vec<String>, LogError> {
    if is_new {
        return Ok(Vec::new());
    }
    let entries = disk.list(dir).map_err(LogError::io("cannot list", dir))?;
    let mut names: Vec<String> = entries.into_iter().filter(|e| !e.is_dir).map(|e| e.name).collect();
    let remove = |name: &String| match disk.remove_file(&dir.join(name)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(LogError::io("cannot remove", dir.join(name))(e)),
        _ => Ok(()),
    };
    let with = |names: &[String], suffix: &str| -> Vec<String> { names.iter().filter(|n| n.ends_with(suffix)).cloned().collect() };

    for name in with(&names, DELETED) {
        remove(&name)?;
    }
    let base = |name: &String| name.get(..20).and_then(|digits| digits.parse::<i64>().ok());
    let cleaned = with(&names, CLEANED);
    let first_cleaned = cleaned.iter().filter_map(base).min().unwrap_or(i64::MAX);
    for name in &cleaned {
        remove(name)?;
    }
    names.retain(|n| !n.ends_with(DELETED) && !n.ends_with(CLEANED));
    // Swaps at or above unfinished output belong to it; the others were complete and replace what they cover.
    for name in with(&names, SWAP) {
        if base(&name).is_none_or(|offset| offset >= first_cleaned) {
            remove(&name)?;
            names.retain(|n| *n != name);
        }
    }
    finish_swaps(disk, dir, &mut names, &remove)?;
    for name in names.clone() {
        let orphan = [OFFSET_INDEX, TIME_INDEX, TXN_INDEX]
            .iter()
            .filter_map(|suffix| offset_of(&name, suffix))
            .any(|offset| !names.contains(&file_name(offset, LOG)));
        if orphan {
            tracing::warn!(file = %dir.join(&name).display(), "removing an index without its segment");
            remove(&name)?;
            names.retain(|n| *n != name);
        }
    }
    names.sort();
    Ok(names)
}

fn finish_swaps(
    disk: &dyn Disk,
    dir: &Path,
    names: &mut Vec<String>,
    remove: &impl Fn(&String) -> Result<(), LogError>,
) -> Result<(), LogError> {
    let swaps: Vec<String> = names.iter().filter(|n| n.ends_with(SWAP)).cloned().collect();
    let mut covered: Option<(i64, i64)> = None;
    for name in &swaps {
        let Some(base) = name.strip_suffix(SWAP).and_then(|plain| offset_of(plain, LOG)) else { continue };
        let path = dir.join(name);
        let file = disk.open(&path, OpenMode::Read).map_err(LogError::io("cannot open", &path))?;
        let len = file.len().map_err(LogError::io("cannot stat", &path))?;
        let mut heads = crate::scan::HeadScan::new(file.as_ref(), 0, len);
        let mut next = base;
        while let Some(head) = heads.next().map_err(LogError::io("cannot read", &path))? {
            next = head.view().map_or(next, |view| view.next_offset());
        }
        covered = Some(covered.map_or((base, next), |(low, high)| (low.min(base), high.max(next))));
    }
    if let Some((low, high)) = covered {
        let replaced: Vec<String> = names
            .iter()
            .filter(|name| FILES.iter().chain([&SNAPSHOT]).filter_map(|suffix| offset_of(name, suffix)).any(|o| o >= low && o < high))
            .cloned()
            .collect();
        for name in replaced {
            remove(&name)?;
            names.retain(|n| *n != name);
        }
        // What was replaced must not come back beside what replaces it.
        disk.sync_dir(dir).map_err(LogError::io("cannot sync", dir))?;
    }
    for name in swaps {
        let Some(plain) = name.strip_suffix(SWAP).map(str::to_owned) else { continue };
        disk.rename(&dir.join(&name), &dir.join(&plain)).map_err(LogError::io("cannot rename", dir.join(&name)))?;
        names.retain(|n| *n != name && *n != plain);
        names.push(plain);
    }
    Ok(())
}
