//! The threads that sync logs: for records whose acknowledgement waits for it (flush.messages), for flush.ms, for rolled segments, and for
//! partitions of topics that get their first records. They also create the logs of new partitions.
//! One thread is there from the start; more are started while partitions wait and all that are there are busy, since a disk serves several
//! syncs at a time better than one after the other. Never does: decide what to flush; that is the queue's. Kafka: `LogManager.flushDirtyLogs`.

use crate::StartError;
use crate::clock;
use crate::guard;
use crate::node::spawn;
use base::Histogram;
use parking_lot::{Condvar, Mutex};
use replica::PartitionSet;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread::JoinHandle;

/// Enough for the disk to put syncs together.
const THREADS_MAX: usize = 8;

pub struct Flushers(Arc<Shared>);

struct Shared {
    replicas: Arc<PartitionSet>,
    /// Told how long each flush took.
    took: Arc<Histogram>,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    /// Partitions that joined the queue and that no thread has gone for yet.
    due: usize,
    idle: usize,
    stop: bool,
    threads: Vec<JoinHandle<()>>,
}

impl Flushers {
    pub fn start(replicas: Arc<PartitionSet>, took: Arc<Histogram>) -> Result<Flushers, StartError> {
        let shared = Arc::new(Shared { replicas, took, state: Mutex::default(), work: Condvar::new() });
        let first = shared.spawn(0)?;
        let mut state = shared.state.lock();
        state.threads.push(first);
        // What the opening of logs has queued already.
        state.due = shared.replicas.flushes().jobs();
        drop(state);
        shared.replicas.flushes().set_waker(Waker::from(shared.clone()));
        shared.work.notify_one();
        Ok(Flushers(shared))
    }

    /// Ends the threads once nothing is due.
    pub fn stop(self) {
        self.0.replicas.flushes().forget_ahead();
        self.0.state.lock().stop = true;
        self.0.work.notify_all();
        loop {
            let threads = std::mem::take(&mut self.0.state.lock().threads);
            if threads.is_empty() {
                return;
            }
            for thread in threads {
                // A flush that panicked was logged; its log is flushed once more when it is closed.
                let _ = thread.join();
            }
        }
    }
}

impl Wake for Shared {
    /// A partition has joined the queue.
    fn wake(self: Arc<Self>) {
        self.state.lock().due += 1;
        self.work.notify_one();
    }
}

impl Shared {
    fn spawn(self: &Arc<Self>, n: usize) -> Result<JoinHandle<()>, StartError> {
        let shared = self.clone();
        spawn(&format!("gregor-flush-{n}"), move || shared.run())
    }

    fn run(self: Arc<Self>) {
        while self.next() {
            let flushed = guard::run("flush", || self.replicas.run_next_flush(&clock::now)).flatten();
            if let Some(flushed) = flushed {
                // A histogram takes one writer at a time.
                let _one = self.state.lock();
                self.took.record_micros(flushed.took, clock::now().mono);
            }
        }
    }

    /// Waits for something to flush; false means: end.
    fn next(self: &Arc<Self>) -> bool {
        let mut state = self.state.lock();
        while state.due == 0 {
            if state.stop {
                return false;
            }
            state.idle += 1;
            self.work.wait(&mut state);
            state.idle -= 1;
        }
        state.due -= 1;
        let threads = state.threads.len();
        if state.due > 0 && state.idle == 0 && threads < THREADS_MAX && !state.stop {
            match self.spawn(threads) {
                Ok(thread) => state.threads.push(thread),
                Err(error) => tracing::warn!(%error, "flushes go on with the threads there are"),
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::disk::MemDisk;
    use config::{BrokerConfig, Props};

    #[test]
    fn what_joins_is_taken_and_a_stop_ends_the_threads() {
        let props = [
            ("node.id", "1"),
            ("process.roles", "broker,controller"),
            ("listeners", "PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093"),
            ("advertised.listeners", "PLAINTEXT://localhost:9092"),
            ("controller.listener.names", "CONTROLLER"),
            ("controller.quorum.voters", "1@localhost:9093"),
        ];
        let props: Props = props.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let config = Arc::new(BrokerConfig::from_props(&props).unwrap());
        let replicas = Arc::new(PartitionSet::new(Arc::new(MemDisk::new()), 1, Vec::new(), config));
        let flushers = Flushers::start(replicas, Arc::default()).unwrap();
        let shared = flushers.0.clone();
        for _ in 0..100 {
            shared.clone().wake();
        }
        flushers.stop();
        assert_eq!(shared.state.lock().due, 0);
    }
}
