//! Which log is cleaned next, how far each was, and which cannot be cleaned at the moment. The offsets are in memory and, per directory, in
//! `cleaner-offset-checkpoint` in Kafka's format. Kafka: LogCleanerManager.

use crate::checkpoint::{self, Offsets};
use base::{Instant, Now, TopicPartition, Uuid};
use parking_lot::Mutex;
use replica::{Partition, PartitionSet};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use storage::cleaner::{CleanError, CleanStats, Cleaned, LogToClean};
use storage::{Log, LogError};

/// A partition that cannot be cleaned is tried again after twice the time of the attempt before, at most after this.
const RETRY_MAX: Duration = Duration::from_secs(3600);
const RETRY_FIRST: Duration = Duration::from_secs(30);

/// A log that a thread has taken.
pub struct Work {
    pub partition: Arc<Partition>,
    /// The log directory it is in.
    pub dir: PathBuf,
    pub job: LogToClean,
}

pub struct Manager {
    replicas: Arc<PartitionSet>,
    state: Mutex<State>,
    threads: AtomicUsize,
    running: AtomicUsize,
}

#[derive(Default)]
struct State {
    /// First dirty offsets, by directory.
    checkpoints: BTreeMap<PathBuf, Offsets>,
    /// Directories whose checkpoint file is not what memory holds.
    unwritten: HashSet<PathBuf>,
    ids: HashMap<TopicPartition, Uuid>,
    in_progress: HashSet<TopicPartition>,
    uncleanable: BTreeMap<TopicPartition, Uncleanable>,
    dirtiest_ratio: f64,
    last_look: Option<Instant>,
    /// By thread.
    last: BTreeMap<usize, Last>,
    runs: u64,
    failures: u64,
}

struct Uncleanable {
    dir: PathBuf,
    attempts: u32,
    retry_at: Instant,
    bytes: u64,
}

#[derive(Clone, Default)]
struct Last {
    stats: CleanStats,
    compaction_delay_ms: i64,
}

/// What metrics show.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Numbers {
    /// By directory: partitions that cannot be cleaned, and their bytes that are due.
    pub uncleanable: Vec<(PathBuf, usize, u64)>,
    pub max_dirty_percent: i64,
    pub since_last_run_ms: i64,
    pub max_buffer_utilization_percent: i64,
    pub recopy_percent: i64,
    pub max_clean_time_secs: i64,
    pub max_compaction_delay_secs: i64,
    pub dead_threads: usize,
    pub runs: u64,
    pub failures: u64,
    pub bytes_read: u64,
}

impl Manager {
    /// Reads the checkpoints of all directories that are online.
    pub fn new(replicas: Arc<PartitionSet>) -> Manager {
        let mut state = State::default();
        for dir in replicas.dirs().iter().filter(|dir| replicas.is_online(&dir.path)) {
            let path = dir.path.join(checkpoint::CLEANER);
            let mut offsets = checkpoint::read(replicas.disk(), &path).unwrap_or_else(|error| {
                tracing::warn!(file = %path.display(), %error, "the cleaner's checkpoint is not used; all logs there count as dirty");
                Offsets::new()
            });
            offsets.retain(|partition, _| replicas.get(&partition.topic, partition.partition).is_some());
            state.checkpoints.insert(dir.path.clone(), offsets);
        }
        Manager { replicas, state: Mutex::new(state), threads: AtomicUsize::new(0), running: AtomicUsize::new(0) }
    }

    pub fn set_threads(&self, threads: usize) {
        self.threads.store(threads, Relaxed);
    }

    /// Held by a thread for as long as it runs.
    pub fn running(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Relaxed);
        Running(self.clone())
    }

    /// Looks at all compacted logs and takes the dirtiest of those that are due. `done` gives it back.
    pub fn take_dirtiest(&self, now: Now, thread: usize) -> Option<Work> {
        let mut state = self.state.lock();
        let state = &mut *state;
        state.last_look = Some(now.mono);
        let partitions = self.replicas.snapshot();
        state.forget_absent(&self.replicas);
        // A log that is being copied stays as it is until that is done.
        let moving: HashSet<TopicPartition> = self.replicas.future_replicas().into_iter().map(|future| future.topic_partition).collect();
        let (mut dirtiest, mut ratio, mut delay_ms) = (None::<Work>, 0.0f64, 0);
        for partition in partitions.iter() {
            let name = &partition.topic_partition;
            if state.in_progress.contains(name)
                || moving.contains(name)
                || state.uncleanable.get(name).is_some_and(|failed| failed.retry_at > now.mono)
            {
                continue;
            }
            let (dir, job) = match state.look(partition, &self.replicas, now) {
                None => continue,
                Some(Ok(found)) => found,
                Some(Err((dir, error))) => {
                    tracing::warn!(partition = %name, %error, "it cannot be told what of a log is to be cleaned");
                    state.failed(name, dir, 0, now, RETRY_FIRST);
                    continue;
                }
            };
            delay_ms = delay_ms.max(job.compaction_delay_ms);
            ratio = ratio.max(job.cleanable_ratio());
            if job.is_due() && dirtiest.as_ref().is_none_or(|other| job.cleanable_ratio() > other.job.cleanable_ratio()) {
                dirtiest = Some(Work { partition: partition.clone(), dir, job });
            }
        }
        state.dirtiest_ratio = ratio;
        state.write_checkpoints(&self.replicas);
        let work = dirtiest?;
        state.in_progress.insert(work.partition.topic_partition.clone());
        state.last.entry(thread).or_default().compaction_delay_ms = delay_ms;
        Some(work)
    }

    /// A log that was taken has been cleaned, or not.
    pub fn done(&self, work: &Work, thread: usize, result: Result<Cleaned, CleanError>, now: Now, backoff: Duration) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let name = &work.partition.topic_partition;
        state.in_progress.remove(name);
        match result {
            Ok(Cleaned { end_offset, stats }) => {
                log_success(name, work, end_offset, &stats);
                state.uncleanable.remove(name);
                state.runs += 1;
                state.last.entry(thread).or_default().stats = stats;
                state.set_checkpoint(&work.dir, name, end_offset);
                state.write_checkpoints(&self.replicas);
            }
            Err(CleanError::Aborted) => tracing::debug!(partition = %name, "cleaning was given up"),
            Err(CleanError::Log(error)) => {
                // A directory that has failed is spoken of elsewhere, once.
                if self.replicas.is_online(&work.dir) {
                    tracing::warn!(partition = %name, %error, "a log cannot be cleaned; it is tried again later");
                }
                state.failures += 1;
                state.failed(name, work.dir.clone(), work.job.cleanable_bytes, now, backoff.max(RETRY_FIRST));
            }
        }
    }

    pub fn numbers(&self, now: Instant) -> Numbers {
        let state = self.state.lock();
        let most = |of: fn(&Last) -> f64| state.last.values().map(of).fold(0.0, f64::max) as i64;
        let sum = |of: fn(&CleanStats) -> u64| state.last.values().map(|last| of(&last.stats)).sum::<u64>();
        let (threads, running) = (self.threads.load(Relaxed), self.running.load(Relaxed));
        let by_dir = |dir: &PathBuf| {
            let here = || state.uncleanable.values().filter(move |failed| failed.dir == *dir);
            (dir.clone(), here().count(), here().map(|failed| failed.bytes).sum())
        };
        Numbers {
            uncleanable: self.replicas.dirs().iter().map(|dir| by_dir(&dir.path)).collect(),
            max_dirty_percent: (100.0 * state.dirtiest_ratio) as i64,
            since_last_run_ms: state.last_look.map_or(0, |at| (now - at).as_millis() as i64),
            max_buffer_utilization_percent: most(|last| last.stats.buffer_utilization * 100.0),
            recopy_percent: (100 * sum(|stats| stats.bytes_written) / sum(|stats| stats.bytes_read).max(1)) as i64,
            max_clean_time_secs: most(|last| (last.stats.ended - last.stats.started).as_secs_f64()),
            max_compaction_delay_secs: most(|last| last.compaction_delay_ms as f64 / 1000.0),
            dead_threads: threads.saturating_sub(running),
            runs: state.runs,
            failures: state.failures,
            bytes_read: sum(|stats| stats.bytes_read),
        }
    }
}

/// Tells, by its end, that a thread has ended.
pub struct Running(Arc<Manager>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Relaxed);
    }
}

type Looked = Result<(PathBuf, LogToClean), (PathBuf, LogError)>;

impl State {
    /// What there is to clean of a partition; None if its log is not compacted, or not here. Retention is applied on the way.
    fn look(&mut self, partition: &Partition, replicas: &PartitionSet, now: Now) -> Option<Looked> {
        let name = &partition.topic_partition;
        // A topic of the same name is another topic.
        if self.ids.get(name).is_some_and(|known| *known != partition.topic_id) {
            self.forget(name);
        }
        let compacted =
            |log: &mut Log| log.config().cleanup_compact.then(|| (log.dir().parent().map(PathBuf::from), log.take_truncation()));
        let (Some(dir), truncation) = partition.with_created_log(compacted)?? else { return None };
        if !replicas.is_online(&dir) {
            return None;
        }
        self.ids.insert(name.clone(), partition.topic_id);
        self.follow_move(name, &dir);
        let noted = self.checkpoints.get(&dir).and_then(|offsets| offsets.get(name)).copied();
        let checkpoint = match (noted, truncation) {
            (Some(noted), Some(cut)) if cut < noted => {
                self.set_checkpoint(&dir, name, cut);
                Some(cut)
            }
            _ => noted,
        };
        let job = partition.with_created_log(|log| log.delete_old_segments(now).and_then(|_| log.to_clean(checkpoint, now)))?;
        Some(match job {
            Ok(job) => {
                if job.checkpoint_reset {
                    self.set_checkpoint(&dir, name, job.first_dirty_offset);
                }
                Ok((dir, job))
            }
            Err(error) => Err((dir, error)),
        })
    }

    /// A log that was moved to another directory takes its checkpoint with it.
    fn follow_move(&mut self, name: &TopicPartition, dir: &Path) {
        if self.checkpoints.get(dir).is_some_and(|offsets| offsets.contains_key(name)) {
            return;
        }
        let from = self.checkpoints.iter_mut().find_map(|(other, offsets)| offsets.remove(name).map(|offset| (other.clone(), offset)));
        if let Some((other, offset)) = from {
            self.unwritten.insert(other);
            self.set_checkpoint(dir, name, offset);
        }
    }

    fn set_checkpoint(&mut self, dir: &Path, name: &TopicPartition, offset: i64) {
        self.checkpoints.entry(dir.to_owned()).or_default().insert(name.clone(), offset);
        self.unwritten.insert(dir.to_owned());
    }

    fn forget(&mut self, name: &TopicPartition) {
        self.ids.remove(name);
        self.uncleanable.remove(name);
        for (dir, offsets) in &mut self.checkpoints {
            if offsets.remove(name).is_some() {
                self.unwritten.insert(dir.clone());
            }
        }
    }

    /// Partitions that are not here any more.
    fn forget_absent(&mut self, replicas: &PartitionSet) {
        let known = self.checkpoints.values().flat_map(|offsets| offsets.keys()).chain(self.ids.keys()).chain(self.uncleanable.keys());
        let absent: HashSet<TopicPartition> = known.filter(|name| replicas.get(&name.topic, name.partition).is_none()).cloned().collect();
        for name in absent {
            self.forget(&name);
        }
    }

    fn failed(&mut self, name: &TopicPartition, dir: PathBuf, bytes: u64, now: Now, first: Duration) {
        let attempts = self.uncleanable.get(name).map_or(0, |failed| failed.attempts).saturating_add(1);
        let wait = first.saturating_mul(1 << (attempts - 1).min(20)).min(RETRY_MAX);
        self.uncleanable.insert(name.clone(), Uncleanable { dir, attempts, retry_at: now.mono + wait, bytes });
    }

    /// Writes the checkpoints that have changed; what cannot be written is tried again with the next.
    fn write_checkpoints(&mut self, replicas: &PartitionSet) {
        let State { checkpoints, unwritten, .. } = self;
        unwritten.retain(|dir| {
            let Some(offsets) = checkpoints.get(dir).filter(|_| replicas.is_online(dir)) else { return false };
            let path = dir.join(checkpoint::CLEANER);
            match checkpoint::write(replicas.disk(), &path, offsets) {
                Ok(()) => false,
                Err(error) => {
                    tracing::warn!(file = %path.display(), %error, "the cleaner's checkpoint cannot be written; it is tried again");
                    true
                }
            }
        });
    }
}

fn log_success(name: &TopicPartition, work: &Work, end_offset: i64, stats: &CleanStats) {
    let ms = |from: Instant, to: Instant| (to - from).as_millis() as u64;
    tracing::info!(
        partition = %name,
        from = work.job.first_dirty_offset,
        to = end_offset,
        bytes_before = stats.bytes_read,
        bytes_after = stats.bytes_written,
        messages_before = stats.messages_read,
        messages_after = stats.messages_written,
        segments_untouched = stats.segments_untouched,
        map_ms = ms(stats.started, stats.map_complete),
        total_ms = ms(stats.started, stats.ended),
        buffer_utilization = format_args!("{:.3}", stats.buffer_utilization),
        "cleaned a log"
    );
    if stats.invalid_messages_read > 0 {
        tracing::warn!(partition = %name, messages = stats.invalid_messages_read, "removed records without a key during compaction");
    }
}

#[cfg(test)]
mod tests;
