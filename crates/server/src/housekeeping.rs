//! The thread that does what no request does: heartbeats, timers of groups, loading of coordinators, retention, flushes, checkpoints,
//! removal of deleted files. It sleeps until the next of these is due or somebody wakes it.
//! Kafka counterparts: `KafkaScheduler`, `LogManager`'s and `ReplicaManager`'s periodic tasks, `BrokerLifecycleManager`'s queue.

use crate::checkpoint;
use crate::clock;
use crate::lifecycle::{Lifecycle, Standing};
use crate::log_dirs::LogDirs;
use base::{Instant, Now, TopicPartition};
use broker::Broker;
use parking_lot::{Condvar, Mutex};
use replica::Partition;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;
use storage::Log;

/// Group timers that requests set meanwhile are noticed within this.
const TICK: Duration = Duration::from_millis(100);
const FLUSH_CHECK: Duration = Duration::from_secs(1);
const DELETED_FILES_CHECK: Duration = Duration::from_secs(5);

/// How other threads reach the housekeeping thread.
#[derive(Default)]
pub struct Bell {
    state: Mutex<State>,
    rung: Condvar,
    standing: Condvar,
}

#[derive(Default)]
struct State {
    rings: bool,
    leave: bool,
    stop: bool,
    standing: Option<Standing>,
}

impl Bell {
    /// Makes the thread look whether there is something to do.
    pub fn ring(&self) {
        self.state.lock().rings = true;
        self.rung.notify_one();
    }

    /// Asks for controlled shutdown and waits until the controller agrees, at most for `limit`.
    pub fn leave(&self, limit: Duration) -> bool {
        let mut state = self.state.lock();
        state.leave = true;
        state.rings = true;
        self.rung.notify_one();
        self.standing.wait_while_for(&mut state, |state| state.standing != Some(Standing::MayStop), limit);
        state.standing == Some(Standing::MayStop)
    }

    /// Waits until the broker may lead, at most for `limit`.
    pub fn wait_active(&self, limit: Duration) -> bool {
        let mut state = self.state.lock();
        self.standing.wait_while_for(&mut state, |state| state.standing != Some(Standing::Active), limit);
        state.standing == Some(Standing::Active)
    }

    /// Ends the thread.
    pub fn stop(&self) {
        let mut state = self.state.lock();
        state.stop = true;
        state.rings = true;
        self.rung.notify_one();
    }

    fn wait(&self, limit: Duration) {
        let mut state = self.state.lock();
        self.rung.wait_while_for(&mut state, |state| !state.rings, limit);
        state.rings = false;
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }
}

pub struct Housekeeping {
    pub broker: Arc<Broker>,
    pub dirs: LogDirs,
    pub lifecycle: Lifecycle,
    pub bell: Arc<Bell>,
}

/// When each kind of work is due next.
struct Due {
    retention: Instant,
    recovery_points: Instant,
    log_starts: Instant,
    high_watermarks: Instant,
    flush: Instant,
    deleted_files: Instant,
    deleted_dirs: Instant,
    producers: Instant,
}

impl Housekeeping {
    /// Runs until `Bell::stop`; gives the directories back for the last steps of a clean stop, with the broker's epoch.
    pub fn run(mut self) -> (LogDirs, i64) {
        let config = self.broker.config();
        let start = clock::now().mono;
        let initial = start + millis(config.log_initial_task_delay_ms);
        let mut due = Due {
            retention: initial,
            recovery_points: initial,
            log_starts: initial,
            high_watermarks: start + millis(config.replica_high_watermark_checkpoint_interval_ms),
            flush: start + FLUSH_CHECK,
            deleted_files: start + DELETED_FILES_CHECK,
            deleted_dirs: start,
            producers: start + millis(config.producer_id_expiration_check_interval_ms.into()),
        };
        drop(config);
        let waker = Waker::from(self.bell.clone());
        loop {
            let now = clock::now();
            let (leave, stop) = {
                let state = self.bell.state.lock();
                (state.leave, state.stop)
            };
            if stop {
                return (self.dirs, self.lifecycle.epoch());
            }
            let heartbeat = self.beat(now, leave, &waker);
            let timers = self.timers(now);
            let chores = self.chores(now, &mut due);
            let next = heartbeat.min(timers).min(chores);
            let now = clock::now().mono;
            if next > now {
                self.bell.wait(next - now);
            }
        }
    }

    fn beat(&mut self, now: Now, leave: bool, waker: &Waker) -> Instant {
        if leave && !self.lifecycle.is_stopping() {
            self.lifecycle.begin_stop();
        }
        let next = self.lifecycle.step(now, self.broker.image().provenance.offset, waker);
        if self.broker.broker_epoch() != self.lifecycle.epoch() {
            self.broker.set_broker_epoch(self.lifecycle.epoch());
        }
        let standing = Some(self.lifecycle.standing());
        let mut state = self.bell.state.lock();
        if state.standing != standing {
            state.standing = standing;
            self.bell.standing.notify_all();
        }
        next
    }

    fn timers(&self, now: Now) -> Instant {
        if self.broker.has_coordinators_to_load() {
            self.broker.load_coordinators(now);
        }
        self.broker.tick(now).min(now.mono + TICK)
    }

    fn chores(&mut self, now: Now, due: &mut Due) -> Instant {
        let config = self.broker.config();
        if due.retention <= now.mono {
            due.retention = now.mono + millis(config.log_retention_check_interval_ms);
            self.retention(now);
        }
        if due.flush <= now.mono {
            due.flush = now.mono + FLUSH_CHECK.min(millis(config.log_flush_scheduler_interval_ms).max(Duration::from_millis(1)));
            self.flush(now);
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
        if due.deleted_files <= now.mono {
            due.deleted_files = now.mono + DELETED_FILES_CHECK;
            self.each_log("remove deleted files", |log| log.remove_deleted_files(now).map(drop));
        }
        if due.deleted_dirs <= now.mono {
            let next = self.broker.replicas().remove_deleted_dirs(now).unwrap_or(Instant::FAR_FUTURE);
            due.deleted_dirs = next.min(now.mono + DELETED_FILES_CHECK).max(now.mono + TICK);
        }
        if due.producers <= now.mono {
            due.producers = now.mono + millis(config.producer_id_expiration_check_interval_ms.into());
            self.each_log("expire producers", |log| {
                log.remove_expired_producers(now);
                Ok(())
            });
        }
        let soon =
            [due.retention, due.flush, due.recovery_points, due.log_starts, due.high_watermarks, due.deleted_files, due.deleted_dirs];
        soon.into_iter().fold(due.producers, Instant::min)
    }

    fn retention(&self, now: Now) {
        for partition in self.broker.replicas().all() {
            match partition.with_log(|log| log.delete_old_segments(now)) {
                Some(Ok(deleted)) if deleted.segments > 0 => {
                    let name = &partition.topic_partition;
                    tracing::info!(partition = %name, segments = deleted.segments, bytes = deleted.bytes, "deleted old segments");
                }
                Some(Err(error)) => tracing::error!(partition = %partition.topic_partition, %error, "retention failed"),
                _ => {}
            }
        }
    }

    /// Syncs what flush.messages or flush.ms ask for, without holding the log's lock.
    fn flush(&self, now: Now) {
        for partition in self.broker.replicas().all() {
            let job = partition.with_log(|log| if log.flush_due(now) { log.prepare_flush() } else { Ok(None) });
            match job {
                Some(Ok(Some(job))) => match job.run() {
                    Ok(()) => drop(partition.with_log(|log| log.flushed(job.up_to, now))),
                    Err(error) => tracing::error!(partition = %partition.topic_partition, %error, "flush failed"),
                },
                Some(Err(error)) => tracing::error!(partition = %partition.topic_partition, %error, "flush failed"),
                _ => {}
            }
        }
    }

    fn each_log(&self, what: &str, f: impl Fn(&mut Log) -> Result<(), storage::LogError>) {
        for partition in self.broker.replicas().all() {
            if let Some(Err(error)) = partition.with_log(&f) {
                tracing::error!(partition = %partition.topic_partition, %error, "cannot {what}");
            }
        }
    }

    fn checkpoint(&mut self, file: &'static str, offset: impl Fn(&Log) -> i64) {
        let offsets = offsets(&self.broker.replicas().all(), offset);
        if let Err(error) = self.dirs.write_checkpoint(file, &offsets) {
            tracing::error!(file, %error, "cannot write a checkpoint; check the disk");
        }
    }
}

/// One offset of every partition, with the directory it is in.
pub fn offsets(partitions: &[Arc<Partition>], offset: impl Fn(&Log) -> i64) -> Vec<(PathBuf, TopicPartition, i64)> {
    let of = |partition: &Arc<Partition>| partition.with_log(|log| (log.dir().to_path_buf(), log.topic_partition().clone(), offset(log)));
    partitions.iter().filter_map(of).collect()
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(ms.max(0) as u64)
}
