//! Owns: the threads that compact logs. Each takes the dirtiest log that is due, cleans it, and looks again; with nothing to do it sleeps
//! log.cleaner.backoff.ms. They run at a lower priority than those that serve clients. Used by: the node; the metrics page reads `Manager`.
//! Never does: cleaning itself (storage::cleaner), choosing (manager.rs). Kafka: LogCleaner, CleanerThread.
//!
//! Guarantees: no thread ends because of a log: an error or a panic makes that partition uncleanable for a while, which metrics show and the
//! log tells, and it is tried again. Changed configurations are in effect with the next log that is cleaned, the rate at once.

mod manager;
mod pace;

use crate::StartError;
use crate::bell::Bell;
use crate::clock;
use crate::guard;
use crate::node::spawn;
use broker::Broker;
use config::BrokerConfig;
pub use manager::Manager;
use manager::Work;
use pace::{CleanerPace, Throttle};
use parking_lot::Mutex;
use replica::Partition;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;
use storage::Log;
use storage::cleaner::{CleanError, Cleaner, SharedLog};

/// Changed configurations are looked for this often.
const LOOK: Duration = Duration::from_secs(1);
/// Serving clients goes first: so much is added to the niceness of the process.
const NICE: i32 = 5;
/// Even with a backoff of 0 a thread does not spin.
const BACKOFF_MIN: Duration = Duration::from_millis(10);

/// The running threads.
pub struct LogCleaner {
    shared: Arc<Shared>,
    first: Option<JoinHandle<()>>,
}

struct Shared {
    broker: Arc<Broker>,
    manager: Arc<Manager>,
    throttle: Throttle,
    stopping: AtomicBool,
    bells: Mutex<Vec<Arc<Bell>>>,
    more: Mutex<Vec<JoinHandle<()>>>,
}

/// What a thread works with; a change makes it begin anew.
#[derive(Clone, Copy, PartialEq)]
struct Limits {
    dedupe_bytes: usize,
    load_factor: f64,
    io_buffer_bytes: usize,
}

impl Limits {
    fn of(config: &BrokerConfig) -> Limits {
        let threads = config.log_cleaner_threads.max(1) as usize;
        // Java's arrays end at 2 GiB; here it only keeps a slip of the keyboard from taking all memory.
        let dedupe_bytes = usize::try_from(config.log_cleaner_dedupe_buffer_size).unwrap_or(0) / threads;
        Limits {
            dedupe_bytes: dedupe_bytes.min(i32::MAX as usize),
            load_factor: config.log_cleaner_io_buffer_load_factor,
            io_buffer_bytes: config.log_cleaner_io_buffer_size.max(0) as usize / threads / 2,
        }
    }
}

impl LogCleaner {
    /// Starts the threads, unless log.cleaner.enable says that there are none.
    pub fn start(broker: Arc<Broker>, manager: Arc<Manager>) -> Result<LogCleaner, StartError> {
        let is_enabled = broker.config().log_cleaner_enable;
        let shared = Arc::new(Shared {
            broker,
            manager,
            throttle: Throttle::default(),
            stopping: AtomicBool::new(false),
            bells: Mutex::default(),
            more: Mutex::default(),
        });
        let first = if is_enabled { Some(Shared::start(&shared, 0)?) } else { None };
        Ok(LogCleaner { shared, first })
    }

    /// What is being cleaned is given up; nothing of it is lost.
    pub fn stop(self) {
        self.shared.stopping.store(true, Relaxed);
        for bell in &*self.shared.bells.lock() {
            bell.stop();
        }
        // The first one starts the others.
        let first = self.first.map(JoinHandle::join);
        let more = std::mem::take(&mut *self.shared.more.lock());
        let more = more.into_iter().map(JoinHandle::join);
        if first.into_iter().chain(more).any(|ended| ended.is_err()) {
            tracing::error!("a thread of the cleaner had panicked");
        }
    }
}

impl Shared {
    fn start(this: &Arc<Shared>, index: usize) -> Result<JoinHandle<()>, StartError> {
        let bell = Arc::new(Bell::default());
        let (shared, own) = (this.clone(), bell.clone());
        let running = this.manager.running();
        let run = move || {
            let _running = running;
            shared.run(index, &own);
        };
        let thread = spawn(&format!("gregor-clean-{index}"), run)?;
        this.bells.lock().push(bell);
        Ok(thread)
    }

    fn run(self: Arc<Self>, index: usize, bell: &Bell) {
        if let Err(error) = rustix::process::nice(NICE) {
            tracing::debug!(%error, "the cleaner runs at normal priority");
        }
        let seed = [fastrand::u64(..), fastrand::u64(..)];
        let (mut limits, mut cleaner) = (None, None);
        while !self.stopping.load(Relaxed) {
            let config = self.broker.config();
            let threads = config.log_cleaner_threads.max(1) as usize;
            if index >= threads {
                break;
            }
            if index == 0 {
                guard::run("starting of cleaner threads", || self.start_missing(threads));
            }
            let wanted = Limits::of(&config);
            if limits != Some(wanted) {
                limits = Some(wanted);
                cleaner = Some(Cleaner::new(wanted.dedupe_bytes, wanted.load_factor, wanted.io_buffer_bytes, seed));
            }
            let Some(cleaner) = &mut cleaner else { break };
            let cleaned = guard::run("cleaner", || self.clean_dirtiest(cleaner, index, &config));
            if cleaned != Some(true) && !self.sleep(bell, &config) {
                break;
            }
        }
    }

    /// The first thread starts the others when there are to be more of them.
    fn start_missing(self: &Arc<Self>, threads: usize) {
        let mut more = self.more.lock();
        more.retain(|thread| !thread.is_finished());
        while more.len() + 1 < threads && !self.stopping.load(Relaxed) {
            // Indexes of threads that still end are given again; one too many ends by itself.
            match Shared::start(self, more.len() + 1) {
                Ok(thread) => more.push(thread),
                Err(error) => {
                    tracing::warn!(%error, "a thread of the cleaner cannot be started");
                    return;
                }
            }
        }
        self.manager.set_threads(threads);
    }

    /// Sleeps the backoff, looking for changed configurations; false when the node stops.
    fn sleep(&self, bell: &Bell, config: &BrokerConfig) -> bool {
        let until = clock::now().mono + Duration::from_millis(config.log_cleaner_backoff_ms.max(0) as u64).max(BACKOFF_MIN);
        loop {
            let left = until - clock::now().mono;
            if !bell.wait(left.min(LOOK)) {
                return false;
            }
            let now = self.broker.config();
            let is_changed = Limits::of(&now) != Limits::of(config)
                || now.log_cleaner_backoff_ms != config.log_cleaner_backoff_ms
                || now.log_cleaner_threads != config.log_cleaner_threads;
            if left <= LOOK || is_changed {
                return true;
            }
        }
    }

    /// Returns whether there was a log to clean and it was.
    fn clean_dirtiest(&self, cleaner: &mut Cleaner, index: usize, config: &BrokerConfig) -> bool {
        let now = clock::now();
        let Some(work) = self.manager.take_dirtiest(now, index) else { return false };
        let Work { partition, dir, job } = &work;
        let pace = CleanerPace { throttle: &self.throttle, stopping: &self.stopping, broker: &self.broker };
        tracing::debug!(
            partition = %partition.topic_partition, from = job.first_dirty_offset, to = job.first_uncleanable_offset,
            ratio = job.cleanable_ratio(), "cleaning a log"
        );
        let target = Target(partition);
        let result = guard::run("cleaning of a log", || cleaner.clean(&target, job, now, &pace));
        let is_cleaned = matches!(result, Some(Ok(_)));
        let result = result.unwrap_or_else(|| Err(CleanError::Log(storage::LogError::corrupt(dir, "the cleaner panicked; see the log"))));
        let backoff = Duration::from_millis(config.log_cleaner_backoff_ms.max(0) as u64);
        self.manager.done(&work, index, result, clock::now(), backoff);
        is_cleaned
    }
}

struct Target<'a>(&'a Arc<Partition>);

impl SharedLog for Target<'_> {
    fn with(&self, f: &mut dyn FnMut(&mut Log)) -> bool {
        self.0.with_log(f).is_some()
    }
}
