//! Cutting the end off (followers that diverged), and starting over at an offset. Kafka: UnifiedLog.truncateTo, truncateFullyAndStartAt.

use super::{Log, SNAPSHOT};
use crate::error::LogError;
use crate::scan::{HeadScan, unreadable};
use crate::segment::{Segment, file_name};
use crate::{producer_snapshot, producer_state};
use base::Now;
use record::{EndTxnMarker, Origin};
use std::io;

impl Log {
    /// Keeps only what is below `offset`. Returns whether anything was cut.
    pub fn truncate_to(&mut self, offset: i64, now: Now) -> Result<bool, LogError> {
        if offset < 0 {
            return Err(LogError::OutOfRange(format!(
                "Cannot truncate partition {} to a negative offset ({offset}).",
                self.topic_partition
            )));
        }
        if offset >= self.log_end_offset {
            return Ok(false);
        }
        if self.segments[0].base_offset > offset {
            self.truncate_fully_and_start_at(offset, now)?;
            return Ok(true);
        }
        self.finish_swap(now)?;
        self.note_truncation(offset);
        let keep = self.segment_at(offset) + 1;
        let gone: Vec<Segment> = self.segments.drain(keep..).collect();
        let disk = self.disk.clone();
        if !gone.is_empty() {
            // At no moment may a power cut leave a hole: the last one goes first, and none may come back once the one before is shorter.
            for segment in gone.iter().rev() {
                self.doom(segment, now)?;
            }
            disk.sync_dir(&self.dir).map_err(LogError::io("cannot sync", &self.dir))?;
        }
        self.active_mut().truncate(disk.as_ref(), offset, now.wall_ms)?;
        self.log_end_offset = offset;
        self.log_start_offset = self.log_start_offset.min(offset);
        self.recovery_point = self.recovery_point.min(offset);
        self.epochs.truncate_from_end(offset);
        self.high_watermark = self.high_watermark.min(offset);
        self.rebuild_producers(now)?;
        Ok(true)
    }

    /// Drops everything; the next record gets `offset`.
    pub fn truncate_fully_and_start_at(&mut self, offset: i64, now: Now) -> Result<(), LogError> {
        self.finish_swap(now)?;
        self.note_truncation(offset);
        let gone: Vec<Segment> = self.segments.drain(..).collect();
        // The files of a segment with the same base must be out of the way before the new one is created.
        let mut result = Ok(());
        for segment in gone {
            result = result.and(self.doom(&segment, now));
        }
        let segment = self.new_segment(offset, now)?;
        self.segments.push(segment);
        result?;
        self.dir_dirty = true;
        self.log_start_offset = offset;
        self.log_end_offset = offset;
        self.high_watermark = offset;
        self.recovery_point = self.recovery_point.min(offset);
        self.epochs.clear();
        self.producers.clear();
        for snapshot in self.snapshots.clone() {
            self.remove_snapshot(snapshot)?;
        }
        Ok(())
    }

    /// Producer state at the log end: the newest snapshot that is not beyond it, and what came after.
    pub(super) fn rebuild_producers(&mut self, now: Now) -> Result<(), LogError> {
        self.producers.clear();
        for beyond in self.snapshots.range(self.log_end_offset + 1..).copied().collect::<Vec<_>>() {
            self.remove_snapshot(beyond)?;
        }
        let from = self.load_newest_snapshot(self.log_end_offset, now)?.unwrap_or(self.log_start_offset);
        self.replay_producers(from, self.log_end_offset)?;
        self.producers.on_high_watermark(self.high_watermark);
        Ok(())
    }

    /// Loads the newest readable snapshot at or below `offset`, if there is one; returns where replay must go on.
    pub(super) fn load_newest_snapshot(&mut self, offset: i64, now: Now) -> Result<Option<i64>, LogError> {
        while let Some(at) = self.snapshots.range(self.log_start_offset..=offset.max(self.log_start_offset)).next_back().copied() {
            let path = self.dir.join(file_name(at, SNAPSHOT));
            let decoded = match self.disk.read(&path) {
                Ok(bytes) => producer_snapshot::decode(&bytes),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Err("is gone".into()),
                Err(e) => return Err(LogError::io("cannot read", path)(e)),
            };
            match decoded {
                Ok(entries) => {
                    self.producers.load(entries, now.wall_ms, self.config.producer_id_expiration_ms);
                    return Ok(Some(at));
                }
                Err(problem) => {
                    tracing::warn!(file = %path.display(), problem, "producer snapshot is not used; its batches are read again");
                    self.remove_snapshot(at)?;
                }
            }
        }
        Ok(None)
    }

    /// Reads the headers of batches in `from..to` and applies those that have a producer.
    pub(super) fn replay_producers(&mut self, from: i64, to: i64) -> Result<(), LogError> {
        if from >= to {
            return Ok(());
        }
        let disk = self.disk.clone();
        for at in self.segment_at(from)..self.segments.len() {
            let segment = &self.segments[at];
            let (size, path) = (segment.size, segment.log_path().to_owned());
            let place = match segment.find(disk.as_ref(), from) {
                Ok(Some(place)) => place,
                Ok(None) => continue,
                Err(error @ LogError::Damaged { .. }) => {
                    tracing::error!(partition = %self.topic_partition, %error, "producers of this segment are not known");
                    continue;
                }
                Err(error) => return Err(error),
            };
            let file = segment.file(disk.as_ref())?;
            let mut heads = HeadScan::of_segment(file.as_ref(), segment.base_offset, place.position, size);
            while let Some(head) = heads.next().map_err(unreadable(&path))? {
                let Some(view) = head.view() else { break };
                if view.base_offset() >= to {
                    return Ok(());
                }
                if !view.has_producer_id() {
                    continue;
                }
                let mut update = producer_state::Update::default();
                let context =
                    producer_state::Context { topic_partition: &self.topic_partition, origin: Origin::Replication, transaction_version: 0 };
                let (first, last) = (view.base_offset(), view.last_offset());
                let prepared = if view.is_control() {
                    let range = base::FileRange { file: file.clone(), position: head.position, len: head.size as usize };
                    let bytes = range.read().map_err(unreadable(&path))?;
                    match record::Batch::new(bytes).and_then(|batch| EndTxnMarker::from_batch(&batch)) {
                        Ok(Some((marker, ts))) => self.producers.prepare_marker(&mut update, context, &view, first, marker, ts),
                        Ok(None) => Ok(()),
                        Err(e) => {
                            tracing::error!(segment = %path.display(), offset = first, problem = %e, "a transaction marker is damaged and not followed");
                            Ok(())
                        }
                    }
                } else {
                    self.producers.prepare(&mut update, context, &view, first, last, view.max_timestamp())
                };
                if let Err(e) = prepared {
                    tracing::warn!(partition = %self.topic_partition, offset = first, problem = e.message, "batch does not fit the producer state");
                    continue;
                }
                self.producers.apply(&mut update);
                for completed in update.completed.drain(..) {
                    self.producers.complete(&completed);
                }
            }
        }
        Ok(())
    }
}
