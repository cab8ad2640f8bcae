//! Threads that bring bytes of files into the page cache, so that sendfile does not make a worker wait for a disk, and with it all the other
//! connections of that worker. Threads are started when they are needed first.
//!
//! Used by: `Output`, for ranges that are not resident. Never does: sending, deciding what is cold (`File::resident`), telling errors: who
//! sends meets them again.

use base::Slot;
use base::disk::File;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;

/// Serving what is in memory goes first: so much is added to the niceness of the process.
const NICE: i32 = 5;
/// Enough for a disk to serve several readers at a time.
const THREADS_MAX: usize = 4;

#[derive(Default)]
pub(crate) struct ColdReads(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
}

/// At most one job of each connection is in the queue.
#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    stop: bool,
}

struct Job {
    file: Arc<dyn File>,
    offset: u64,
    len: usize,
    done: Arc<Slot<()>>,
}

impl ColdReads {
    /// Has the bytes brought into the page cache; the slot is filled when they are there, or could not be read.
    pub(crate) fn read(&self, file: Arc<dyn File>, offset: u64, len: usize) -> Arc<Slot<()>> {
        let done = Slot::new();
        let mut state = self.0.state.lock();
        state.jobs.push_back(Job { file, offset, len, done: done.clone() });
        if state.idle < state.jobs.len() && state.threads < THREADS_MAX {
            let shared = self.0.clone();
            let name = format!("gregor-read-{}", state.threads);
            match thread::Builder::new().name(name).spawn(move || shared.run()) {
                Ok(_) => state.threads += 1,
                // The worker then waits for the disk itself.
                Err(error) if state.threads == 0 => {
                    tracing::warn!(%error, "cannot start a thread for cold reads");
                    state.jobs.clear();
                    done.fill(());
                }
                Err(error) => tracing::debug!(%error, "cold reads go on with the threads there are"),
            }
        }
        drop(state);
        self.0.work.notify_one();
        done
    }
}

impl Drop for ColdReads {
    fn drop(&mut self) {
        self.0.state.lock().stop = true;
        self.0.work.notify_all();
    }
}

impl Shared {
    fn run(&self) {
        if let Err(error) = rustix::process::nice(NICE) {
            tracing::debug!(%error, "cold reads run at normal priority");
        }
        let mut state = self.state.lock();
        while !state.stop {
            match state.jobs.pop_front() {
                Some(job) => {
                    drop(state);
                    job.file.warm(job.offset, job.len);
                    job.done.fill(());
                    state = self.state.lock();
                }
                None => {
                    state.idle += 1;
                    self.work.wait(&mut state);
                    state.idle -= 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::mpsc;
    use std::task::{Wake, Waker};

    /// Tells what it was asked to warm.
    struct Told(Mutex<mpsc::Sender<(u64, usize)>>);

    impl File for Told {
        fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
            Ok(0)
        }
        fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
            Ok(())
        }
        fn len(&self) -> io::Result<u64> {
            Ok(0)
        }
        fn set_len(&self, _: u64) -> io::Result<()> {
            Ok(())
        }
        fn sync_data(&self) -> io::Result<()> {
            Ok(())
        }
        fn warm(&self, offset: u64, len: usize) {
            let _ = self.0.lock().send((offset, len));
        }
    }

    struct Woken(mpsc::SyncSender<()>);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            let _ = self.0.send(());
        }
    }

    #[test]
    fn every_job_is_done_and_its_asker_woken() {
        let reads = ColdReads::default();
        let (sender, told) = mpsc::channel();
        let file = Arc::new(Told(Mutex::new(sender)));
        for n in 0..50 {
            let (sender, woken) = mpsc::sync_channel(1);
            let done = reads.read(file.clone(), n, 10);
            if done.poll(&Waker::from(Arc::new(Woken(sender)))).is_none() {
                woken.recv().unwrap();
                assert_eq!(done.take(), Some(()));
            }
            assert_eq!(told.try_recv(), Ok((n, 10)));
        }
        assert!(reads.0.state.lock().threads <= THREADS_MAX);
    }
}
