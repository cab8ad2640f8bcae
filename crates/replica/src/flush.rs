//! Group commit. A partition whose records must be on disk before they are acknowledged (flush.messages) joins a queue; whoever drives
//! the queue (flusher threads of the server, the simulator) syncs its file once for everything appended until then. Appends go on meanwhile
//! and are covered by the next flush. Flushes of different partitions may run at the same time, two of one partition never do.
//!
//! Guarantees: what waits is answered only after a sync that began after its append succeeded. A failed sync is never repeated: nobody
//! could tell what the disk has lost, so the log goes offline. Never does: syncing under a partition's lock, or on the thread of a request.
//! Kafka: `flush.messages` in `UnifiedLog.append`, which syncs under the log's lock, once for every append.

use crate::Partition;
use crate::partition::{self, State, Which};
use crate::watch::Watch;
use crate::{Acks, PartitionSet};
use base::Now;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;
use storage::{FlushJob, LogError};
use wire::ErrorCode;

/// Where a partition stands with its flush.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Flushing {
    #[default]
    No,
    Queued,
    Running,
}

/// The partitions that wait for a flush, in the order they asked.
#[derive(Default)]
pub struct FlushQueue(Mutex<Due>);

#[derive(Default)]
struct Due {
    partitions: VecDeque<Arc<Partition>>,
    /// Of topics that get their first records: to be made durable before the first of their own, when there is nothing else to do.
    begun: VecDeque<Arc<Partition>>,
    /// Whose logs are to be created.
    new: VecDeque<Arc<Partition>>,
    /// One thread at a time does, so that the others are free for those who wait for a flush.
    creating: Flushing,
    waker: Option<Waker>,
}

impl FlushQueue {
    /// Woken whenever a partition joins.
    pub fn set_waker(&self, waker: Waker) {
        self.0.lock().waker = Some(waker);
    }

    pub fn len(&self) -> usize {
        self.0.lock().partitions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everything that there is to do: flushes, partitions to be made durable, and, as one, logs to be created.
    pub fn jobs(&self) -> usize {
        let due = self.0.lock();
        due.partitions.len() + due.begun.len() + usize::from(due.creating == Flushing::Queued)
    }

    pub(crate) fn push(&self, partition: Arc<Partition>) {
        self.join(|due| {
            due.partitions.push_back(partition);
            true
        });
    }

    pub(crate) fn push_begun(&self, partition: Arc<Partition>) {
        self.join(|due| {
            due.begun.push_back(partition);
            true
        });
    }

    pub(crate) fn push_new(&self, partitions: Vec<Arc<Partition>>) {
        if !partitions.is_empty() {
            self.join(|due| {
                due.new.extend(partitions);
                due.queue_creation()
            });
        }
    }

    /// `join` says whether that is one more job.
    fn join(&self, join: impl FnOnce(&mut Due) -> bool) {
        let mut due = self.0.lock();
        let waker = if join(&mut due) { due.waker.clone() } else { None };
        drop(due);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn pop(&self) -> Option<Arc<Partition>> {
        self.0.lock().partitions.pop_front()
    }

    /// Creates logs until there are no more to create, if that is to be done; returns whether it was.
    fn create_new(&self) -> bool {
        let creating = {
            let mut due = self.0.lock();
            if due.creating != Flushing::Queued {
                return false;
            }
            due.creating = Flushing::Running;
            Creating(self)
        };
        while let Some(partition) = creating.next() {
            partition.create_log();
        }
        true
    }

    fn pop_begun(&self) -> Option<Arc<Partition>> {
        self.0.lock().begun.pop_front()
    }

    /// The node stops: what is only done ahead of those who need it is left to the next start.
    pub fn forget_ahead(&self) {
        let mut due = self.0.lock();
        due.begun.clear();
        due.new.clear();
    }
}

impl Due {
    /// Whether that is a new job.
    fn queue_creation(&mut self) -> bool {
        let new_job = self.creating == Flushing::No;
        if new_job {
            self.creating = Flushing::Queued;
        }
        new_job
    }
}

/// While it lives, logs are created; if it ends early, by a panic, another thread goes on.
struct Creating<'a>(&'a FlushQueue);

impl Creating<'_> {
    fn next(&self) -> Option<Arc<Partition>> {
        self.0.0.lock().new.pop_front()
    }
}

impl Drop for Creating<'_> {
    fn drop(&mut self) {
        self.0.join(|due| {
            due.creating = Flushing::No;
            !due.new.is_empty() && due.queue_creation()
        });
    }
}

/// A flush that ran.
pub struct Flushed {
    pub partition: Arc<Partition>,
    pub took: Duration,
}

/// Where an append stands that must be replicated, or flushed, before it is acknowledged.
pub enum Progress {
    Done,
    Waiting(Watch),
    Failed(ErrorCode),
}

impl PartitionSet {
    /// Runs the flush that is due first; `None` when none is, and something else may have been done instead. `clock` is read around the sync.
    pub fn run_next_flush(&self, clock: &dyn Fn() -> Now) -> Option<Flushed> {
        let Some(partition) = self.flushes().pop() else {
            if !self.flushes().create_new() {
                self.flushes().pop_begun().inspect(|partition| partition.sync_identity());
            }
            return None;
        };
        let took = partition.flush(clock);
        Some(Flushed { partition, took })
    }

    /// Has every log flushed that flush.messages, flush.ms or a rolled segment ask it for.
    pub fn request_due_flushes(&self, now: Now) {
        for partition in self.snapshot().iter() {
            partition.request_flush(|log| log.flush_due(now));
        }
    }
}

impl Partition {
    /// Joins the queue if `wanted` says so and it is not in it.
    pub fn request_flush(self: &Arc<Self>, wanted: impl FnOnce(&storage::Log) -> bool) {
        let mut state = self.state.lock();
        let join = state.flushing == Flushing::No && state.held.opened().is_some_and(wanted);
        if join {
            state.flushing = Flushing::Queued;
        }
        drop(state);
        if join {
            self.flushes.push(self.clone());
        }
    }

    /// So that the first append need not. Whatever goes wrong here (the partition may be deleted already) goes wrong again there.
    fn sync_identity(&self) {
        let (job, generation) = {
            let mut state = self.state.lock();
            (state.log().and_then(|log| log.identity_job()), state.log_generation)
        };
        let Some(job) = job else { return };
        if let Err(error) = job.run() {
            tracing::debug!(partition = %self.topic_partition, %error, "a new partition is not durable yet");
            return;
        }
        let mut state = self.state.lock();
        if state.log_generation == generation
            && let Some(log) = state.held.opened_mut()
        {
            log.identity_synced(&job);
        }
    }

    /// Syncs what has been appended so far and wakes who waited for it; returns how long the sync took.
    fn flush(self: &Arc<Self>, clock: &dyn Fn() -> Now) -> Duration {
        let mut state = self.state.lock();
        state.flushing = Flushing::Running;
        let generation = state.log_generation;
        let prepared = match state.held.opened_mut() {
            Some(log) => log.prepare_flush(),
            None => Ok(None),
        };
        let job = match prepared {
            Ok(job) => job,
            Err(error) => {
                // Nothing was synced, so nothing is in doubt: it may be for lack of space. Housekeeping asks again.
                tracing::error!(partition = %self.topic_partition, %error, "a flush cannot begin; it is tried again");
                state.flushing = Flushing::No;
                return Duration::ZERO;
            }
        };
        drop(state);
        let start = clock();
        let ran = job.map(|job| job.run().map(|()| job)).transpose();
        let end = clock();
        self.flushed(ran, generation, end);
        end.mono - start.mono
    }

    fn flushed(self: &Arc<Self>, ran: Result<Option<FlushJob>, LogError>, generation: u64, now: Now) {
        let mut state = self.state.lock();
        state.flushing = Flushing::No;
        let mut woken = Vec::new();
        match ran {
            // Another log has taken the place of the one that was flushed; it was flushed before it did.
            Ok(_) if state.log_generation != generation => {}
            Ok(job) => {
                if let (Some(job), Some(log)) = (job, state.held.opened_mut()) {
                    log.flushed(job.up_to, now);
                    let settled = log.settled_end();
                    woken = state.flush_watchers.reached(settled);
                }
                woken.extend(partition::advance(self.broker_id, &mut state));
            }
            Err(error) => {
                tracing::error!(partition = %self.topic_partition, %error, "flush failed; the partition is offline until the next start");
                woken = state.fail();
            }
        }
        let again = state.held.opened().is_some_and(storage::Log::flush_required);
        if again {
            state.flushing = Flushing::Queued;
        }
        drop(state);
        partition::wake(woken);
        if again {
            self.flushes.push(self.clone());
        }
    }

    /// Where an append stands whose last offset is below `end`; with `Waiting`, `waker` is woken when that changes.
    pub fn watch_append(self: &Arc<Self>, end: i64, acks: Acks, waker: &Waker) -> Progress {
        let mut state = self.state.lock();
        if state.leader != self.broker_id {
            return Progress::Failed(ErrorCode::NotLeaderOrFollower);
        }
        let State { held, watchers, flush_watchers, .. } = &mut *state;
        let Some(log) = held.opened() else {
            return Progress::Failed(ErrorCode::KafkaStorageError);
        };
        let (reached, watchers, which) = match acks {
            Acks::All => (log.high_watermark(), watchers, Which::HighWatermark),
            Acks::None | Acks::Leader => (log.settled_end(), flush_watchers, Which::Flushed),
        };
        if reached >= end {
            return Progress::Done;
        }
        let id = watchers.add(end, waker.clone());
        Progress::Waiting(Watch { partition: self.clone(), id, which })
    }
}

#[cfg(test)]
mod tests;
