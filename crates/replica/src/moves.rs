//! Moving a partition to another log directory of this broker: a future log is filled beside the one in use, and takes its place once it holds
//! the same. Housekeeping copies; requests start moves and look at them. Kafka: `ReplicaAlterLogDirsThread`, `Partition.maybeReplaceCurrentWithFutureReplica`.
//!
//! Guarantees: the partition is served all the time, and never without all of its records on disk: the old directory goes only after the new
//! one is complete, flushed and in place. Non-guarantee: a move survives no restart; `resume` begins it again.

use crate::{LogDir, Partition, PartitionSet};
use base::{Now, TopicPartition, Uuid};
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::{AppendError, Log, LogError, LogOpen, ReadLimit};

/// Copied at once, with the list of moves locked.
const CHUNK: usize = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    #[error("the partition has no log here")]
    NoLog,
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("a batch cannot be copied: {0}")]
    Append(#[from] AppendError),
    #[error("the log cannot be read: {0}")]
    Read(String),
    #[error("the directory cannot be put in place: {0}")]
    Io(#[from] io::Error),
}

#[derive(Default)]
pub(crate) struct Moves(Mutex<BTreeMap<TopicPartition, Move>>);

struct Move {
    partition: Arc<Partition>,
    /// The log directory it goes to.
    destination: PathBuf,
    future: Log,
}

/// A log that is being filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FutureReplica {
    pub topic_partition: TopicPartition,
    pub log_dir: PathBuf,
    pub size: u64,
    /// Records that it does not have yet.
    pub lag: i64,
}

impl PartitionSet {
    /// Begins to move a partition, unless it is there or on its way there; a move to elsewhere is given up.
    pub fn move_to(&self, partition: &Arc<Partition>, dir: &LogDir, now: Now) -> Result<(), MoveError> {
        let mut moves = self.moves.0.lock();
        let name = &partition.topic_partition;
        if moves.get(name).is_some_and(|running| running.destination == dir.path) {
            return Ok(());
        }
        if let Some(given_up) = moves.remove(name) {
            self.adopt_deleted_dir(given_up.future.dir().to_owned(), now);
        }
        let facts = |log: &mut Log| (log.dir().parent() == Some(&dir.path), log.config().clone(), log.log_start_offset());
        let (is_there, config, start) = partition.with_log(facts).ok_or(MoveError::NoLog)?;
        if is_there {
            return Ok(());
        }
        let unique = partition.topic_id.as_u128() ^ u128::from(now.mono.as_nanos()) ^ (name.partition as u128) << 64;
        let path = dir.path.join(format!("{name}.{unique:032x}-future"));
        let open = LogOpen { clean_shutdown: true, ..LogOpen::default() };
        let mut future = Log::open(self.disk.clone(), path, name.clone(), Some(partition.topic_id), config, open, now)?;
        future.truncate_fully_and_start_at(start, now)?;
        tracing::info!(partition = %name, to = %dir.path.display(), "moving a replica to another log directory");
        moves.insert(name.clone(), Move { partition: partition.clone(), destination: dir.path.clone(), future });
        Ok(())
    }

    /// Begins again what a stop interrupted: `left_over` is a future log found at start-up.
    pub fn resume_move(&self, name: &TopicPartition, left_over: PathBuf, now: Now) {
        let dir = self.dirs().iter().find(|dir| Some(&*dir.path) == left_over.parent());
        self.adopt_deleted_dir(left_over.clone(), now);
        let (Some(dir), Some(partition)) = (dir, self.get(&name.topic, name.partition)) else { return };
        if let Err(error) = self.move_to(&partition, dir, now) {
            tracing::error!(partition = %name, %error, "the move of a replica cannot be resumed");
        }
    }

    pub(crate) fn forget_move(&self, name: &TopicPartition, now: Now) {
        if let Some(given_up) = self.moves.0.lock().remove(name) {
            self.adopt_deleted_dir(given_up.future.dir().to_owned(), now);
        }
    }

    /// Forgets moves into a failed directory, and those of partitions that have gone with it. What was copied so far stays where it is: a
    /// start finds it under its name and begins again.
    pub(crate) fn give_up_moves(&self, failed_dir: &Path, gone: &[TopicPartition]) {
        self.moves.0.lock().retain(|name, running| running.destination != failed_dir && !gone.contains(name));
    }

    pub fn future_replicas(&self) -> Vec<FutureReplica> {
        let moves = self.moves.0.lock();
        let show = |(name, running): (&TopicPartition, &Move)| {
            let end = running.partition.with_log(|log| log.log_end_offset()).unwrap_or(0);
            FutureReplica {
                topic_partition: name.clone(),
                log_dir: running.destination.clone(),
                size: running.future.size(),
                lag: (end - running.future.log_end_offset()).max(0),
            }
        };
        moves.iter().map(show).collect()
    }

    /// Copies a piece of every partition that moves, and puts in place what is complete. Returns whether there is more to do.
    pub fn copy_moving(&self, now: Now) -> bool {
        let mut moves = self.moves.0.lock();
        let mut ended = Vec::new();
        for (name, running) in moves.iter_mut() {
            match running.step(self, now) {
                Ok(false) => {}
                Ok(true) => ended.push(name.clone()),
                Err(error) => {
                    tracing::error!(partition = %name, %error, "the move of a replica is given up");
                    self.adopt_deleted_dir(running.future.dir().to_owned(), now);
                    ended.push(name.clone());
                }
            }
        }
        moves.retain(|name, _| !ended.contains(name));
        !moves.is_empty()
    }
}

impl Move {
    /// Returns whether the future log has taken the place of the old one.
    fn step(&mut self, set: &PartitionSet, now: Now) -> Result<bool, MoveError> {
        let (end, start) = self.partition.with_log(|log| (log.log_end_offset(), log.log_start_offset())).ok_or(MoveError::NoLog)?;
        if self.future.log_end_offset() < start {
            self.future.truncate_fully_and_start_at(start, now)?;
        }
        if self.copy(now)? < end {
            return Ok(false);
        }
        // What is left to be flushed in the partition's lock is little.
        self.future.flush(self.future.log_end_offset(), now)?;
        let Move { partition, destination, future } = self;
        let replaced = partition.replace_log(|old, leader_epoch| {
            if old.log_end_offset() != future.log_end_offset() {
                return Ok(None);
            }
            take_place(set, old, future, destination, leader_epoch, now).map(Some)
        })?;
        if replaced {
            self.partition.set_room(|dir| set.room_in(dir));
            tracing::info!(partition = %self.partition.topic_partition, to = %self.destination.display(), "moved a replica");
        }
        Ok(replaced)
    }

    /// Copies the next whole batches; returns the end of the future log.
    fn copy(&mut self, now: Now) -> Result<i64, MoveError> {
        let from = self.future.log_end_offset();
        let limit = CHUNK.min(self.future.config().segment_bytes.max(1) as usize);
        let read = self.partition.with_log(|log| log.read(from, limit, ReadLimit::LogEnd, true)).ok_or(MoveError::NoLog)?;
        let read = read.map_err(|error| MoveError::Read(error.to_string()))?;
        let mut bytes = BytesMut::with_capacity(read.size);
        for piece in read.records {
            match piece {
                base::Segment::Bytes(piece) => bytes.extend_from_slice(&piece),
                base::Segment::File(range) => bytes.extend_from_slice(&range.read()?),
            }
        }
        let records = bytes.freeze();
        // The log may begin in the middle of a batch; the future log then begins with the batch.
        if let Some(first) = base_offset(&records).filter(|first| *first < from && from == self.future.log_start_offset()) {
            self.future.truncate_fully_and_start_at(first, now)?;
        }
        if !records.is_empty() {
            self.future.append_as_follower(records, i32::MAX, now)?;
        }
        Ok(self.future.log_end_offset())
    }
}

fn base_offset(records: &Bytes) -> Option<i64> {
    records.first_chunk().map(|bytes| i64::from_be_bytes(*bytes))
}

/// Closes the future log, gives it the partition's name, and opens it there. The old directory is renamed only after that.
fn take_place(
    set: &PartitionSet,
    old: &mut Log,
    future: &mut Log,
    destination: &Path,
    leader_epoch: i32,
    now: Now,
) -> Result<Log, MoveError> {
    let name = future.topic_partition().clone();
    let path = destination.join(name.to_string());
    future.close(now)?;
    set.disk.rename(future.dir(), &path)?;
    set.disk.sync_dir(destination)?;
    let open = LogOpen {
        recovery_point: future.log_end_offset(),
        log_start_offset: old.log_start_offset(),
        high_watermark: old.high_watermark(),
        clean_shutdown: true,
        ..LogOpen::default()
    };
    let mut log = Log::open(set.disk.clone(), path, name, future.topic_id(), old.config().clone(), open, now)?;
    if leader_epoch >= 0 && log.latest_epoch().is_none_or(|latest| latest < leader_epoch) {
        log.assign_epoch(leader_epoch, log.log_end_offset());
    }
    let unique = Uuid::from_u128(u128::from(now.mono.as_nanos()) ^ future.topic_id().unwrap_or_default().as_u128());
    set.adopt_deleted_dir(old.rename_for_delete(unique)?, now);
    Ok(log)
}
