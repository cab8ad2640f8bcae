//! The thread of everything that takes its time: loading of coordinators, retention, checkpoints, removal of deleted files.
//! It sleeps until the next of these is due or somebody rings.
//! Kafka counterparts: `KafkaScheduler` with the periodic tasks of `LogManager` and `ReplicaManager`.

use crate::assignments::Assignments;
use crate::bell::Bell;
use crate::checkpoint::{self, offsets};
use crate::clock;
use crate::guard;
use crate::heap;
use crate::listeners::{ConnectionLimits, DynamicListeners};
use crate::log_dirs::LogDirs;
use crate::program;
use base::{Instant, Now};
use broker::Broker;
use parking_lot::Mutex;
use replica::Partition;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use storage::Log;

const FLUSH_CHECK: Duration = Duration::from_secs(1);
const SPACE_CHECK: Duration = Duration::from_secs(1);
const DELETED_FILES_CHECK: Duration = Duration::from_secs(5);
/// Time to have done once what a node does at rest.
const START: Duration = Duration::from_secs(1);

pub struct Housekeeping {
    pub broker: Arc<Broker>,
    pub dirs: LogDirs,
    pub connection_limits: ConnectionLimits,
    /// There once the node accepts connections.
    pub listeners: Arc<Mutex<Option<DynamicListeners>>>,
    pub bell: Arc<Bell>,
    pub assignments: Assignments,
}

/// When each kind of work is due next.
struct Due {
    retention: Instant,
    recovery_points: Instant,
    log_starts: Instant,
    high_watermarks: Instant,
    flush: Instant,
    space: Instant,
    deleted_files: Instant,
    deleted_dirs: Instant,
    producers: Instant,
    heap: Instant,
    /// Once, when the node serves.
    code: Instant,
}

impl Housekeeping {
    /// Runs until the bell says stop; gives the directories back for the last steps of a clean stop.
    pub fn run(mut self) -> LogDirs {
        let config = self.broker.config();
        let start = clock::now().mono;
        let initial = start + millis(config.log_initial_task_delay_ms);
        let mut due = Due {
            retention: initial,
            recovery_points: initial,
            log_starts: initial,
            high_watermarks: start + millis(config.replica_high_watermark_checkpoint_interval_ms),
            flush: start + FLUSH_CHECK,
            space: start,
            deleted_files: start + DELETED_FILES_CHECK,
            deleted_dirs: start,
            producers: start + millis(config.producer_id_expiration_check_interval_ms.into()),
            heap: start + heap::INTERVAL,
            code: start + START,
        };
        drop(config);
        loop {
            let now = clock::now();
            let next = guard::run("housekeeping", || {
                if self.broker.has_coordinators_to_load() {
                    self.broker.load_coordinators(now);
                }
                self.chores(now, &mut due)
            });
            let next = next.unwrap_or(now.mono + FLUSH_CHECK);
            if !self.bell.wait(next - clock::now().mono) {
                return self.dirs;
            }
        }
    }

    fn chores(&mut self, now: Now, due: &mut Due) -> Instant {
        let config = self.broker.config();
        let moving = self.broker.replicas().copy_moving(now);
        if due.retention <= now.mono {
            due.retention = now.mono + millis(config.log_retention_check_interval_ms);
            self.retention(now);
        }
        if due.flush <= now.mono {
            due.flush = now.mono + FLUSH_CHECK.min(millis(config.log_flush_scheduler_interval_ms).max(Duration::from_millis(1)));
            self.broker.replicas().request_due_flushes(now);
            self.connection_limits.follow(&config);
            if let Some(listeners) = &mut *self.listeners.lock() {
                listeners.follow(&config);
            }
            self.assignments.step(&self.broker);
        }
        if due.recovery_points <= now.mono {
            due.recovery_points = now.mono + millis(config.log_flush_offset_checkpoint_interval_ms.into());
            self.checkpoint(checkpoint::RECOVERY_POINT, Log::recovery_point);
        }
        if due.log_starts <= now.mono {
            due.log_starts = now.mono + millis(config.log_flush_start_offset_checkpoint_interval_ms.into());
            self.checkpoint(checkpoint::LOG_START, Log::log_start_offset);
        }
        if due.high_watermarks <= now.mono {
            due.high_watermarks = now.mono + millis(config.replica_high_watermark_checkpoint_interval_ms);
            self.checkpoint(checkpoint::HIGH_WATERMARK, Log::high_watermark);
        }
        if due.space <= now.mono {
            due.space = now.mono + SPACE_CHECK;
            let short = self.broker.replicas().measure_space(now);
            if !short.is_empty() {
                self.make_room(&short, now);
            }
        }
        if due.deleted_files <= now.mono {
            due.deleted_files = now.mono + DELETED_FILES_CHECK;
            for partition in self.broker.replicas().snapshot().iter() {
                self.remove_deleted_files(partition, now);
            }
            self.each_log("rebuild indexes", |log| log.rebuild_wrong_indexes().map(drop));
            // A directory that is gone is noticed although nothing is written there.
            for dir in self.broker.replicas().dirs() {
                let _ = self.broker.replicas().disk().info(&dir.path.join(crate::meta_properties::FILE));
            }
        }
        if due.deleted_dirs <= now.mono {
            let next = self.broker.replicas().remove_deleted_dirs(now).unwrap_or(Instant::FAR_FUTURE);
            due.deleted_dirs = next.min(now.mono + DELETED_FILES_CHECK).max(now.mono + Duration::from_millis(100));
        }
        if due.producers <= now.mono {
            due.producers = now.mono + millis(config.producer_id_expiration_check_interval_ms.into());
            self.each_log("expire producers", |log| {
                log.remove_expired_producers(now);
                Ok(())
            });
        }
        if due.heap <= now.mono {
            due.heap = now.mono + heap::INTERVAL;
            heap::trim();
        }
        if due.code <= now.mono {
            due.code = now.mono + START;
            if self.listeners.lock().is_some() {
                due.code = Instant::FAR_FUTURE;
                program::let_go_of_code();
            }
        }
        let checkpoints = due.recovery_points.min(due.log_starts).min(due.high_watermarks);
        let soon = [due.retention, due.flush, checkpoints, due.space, due.deleted_files, due.deleted_dirs, due.heap, due.code];
        if moving { now.mono } else { soon.into_iter().fold(due.producers, Instant::min) }
    }

    fn retention(&self, now: Now) {
        for partition in self.broker.replicas().all() {
            match partition.with_created_log(|log| log.delete_old_segments(now)) {
                Some(Ok(deleted)) if deleted.segments > 0 => {
                    let name = &partition.topic_partition;
                    tracing::info!(partition = %name, segments = deleted.segments, bytes = deleted.bytes, "deleted old segments");
                }
                Some(Err(error)) => tracing::error!(partition = %partition.topic_partition, %error, "retention failed"),
                _ => {}
            }
        }
    }

    /// Where room is short, what may go goes now: old segments, and files and directories that only wait for readers, which keep theirs open.
    fn make_room(&self, short: &[PathBuf], now: Now) {
        self.retention(now);
        let all_due = now.plus(Duration::from_secs(366 * 24 * 3600));
        for partition in self.broker.replicas().snapshot().iter().filter(|partition| short.iter().any(|dir| partition.is_in(dir))) {
            self.remove_deleted_files(partition, all_due);
        }
        self.broker.replicas().remove_deleted_dirs(all_due);
    }

    fn remove_deleted_files(&self, partition: &Partition, now: Now) {
        let paths = partition.with_created_log(|log| log.take_deleted_files(now)).unwrap_or_default();
        if let Err(error) = storage::unlink(self.broker.replicas().disk(), &paths) {
            tracing::error!(partition = %partition.topic_partition, %error, "cannot remove deleted files");
        }
    }

    fn each_log(&self, what: &str, f: impl Fn(&mut Log) -> Result<(), storage::LogError>) {
        for partition in self.broker.replicas().all() {
            if let Some(Err(error)) = partition.with_created_log(&f) {
                tracing::error!(partition = %partition.topic_partition, %error, "cannot {what}");
            }
        }
    }

    fn checkpoint(&mut self, file: &'static str, offset: impl Fn(&Log) -> i64) {
        let replicas = self.broker.replicas();
        let _writing = replicas.checkpoints().begin_writing();
        let offsets = offsets(&replicas.all(), offset);
        if let Err(error) = self.dirs.write_checkpoint(file, &offsets) {
            tracing::error!(file, %error, "cannot write a checkpoint; check the disk");
        }
    }
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(ms.max(0) as u64)
}
