//! Owns: the network thread of one client and the clock. Every client drives its sockets and timers there, so its handles work from any async
//! runtime, or from none, and a caller that computes for minutes does not starve heartbeats. A process with many clients may have them share a
//! runtime of its own instead. Kafka: the producer's and the consumer's background threads.

use base::Instant;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

/// Reads both clocks; the only place of the crate that does.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: std::time::Instant,
}

impl Clock {
    fn start() -> Self {
        Self { origin: std::time::Instant::now() }
    }

    pub fn mono(&self) -> Instant {
        Instant::from_nanos(self.origin.elapsed().as_nanos() as u64)
    }

    pub fn wall_ms() -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as i64)
    }

    pub fn to_tokio(self, instant: Instant) -> tokio::time::Instant {
        // A century is as good as never, and cannot overflow the clock.
        const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);
        let since_origin = instant.saturating_since(Instant::ZERO).min(CENTURY);
        tokio::time::Instant::from_std(self.origin + since_origin)
    }
}

/// The thread ends with `stop`, or when the last clone is dropped; its tasks are dropped with it.
#[derive(Clone)]
pub struct NetworkThread {
    inner: Arc<Inner>,
}

struct Inner {
    handle: Handle,
    clock: Clock,
    running: Mutex<Running>,
}

enum Running {
    Thread {
        /// Its drop is the signal to stop.
        _stop: oneshot::Sender<()>,
    },
    /// On the runtime of somebody else: what to end when the client stops.
    Shared(Vec<AbortHandle>),
    Stopped,
}

impl NetworkThread {
    pub fn start(name: &str) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            // An error is the drop of the sender, which is the signal.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        })?;
        Ok(Self::with(handle, Running::Thread { _stop: stop }))
    }

    /// No thread: a runtime that other clients may use too.
    pub fn shared(handle: Handle) -> Self {
        Self::with(handle, Running::Shared(Vec::new()))
    }

    fn with(handle: Handle, running: Running) -> Self {
        Self { inner: Arc::new(Inner { handle, clock: Clock::start(), running: Mutex::new(running) }) }
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.inner.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the thread, or the client's tasks. Whoever still waits for one of its tasks sees the task vanish.
    pub fn stop(&self) {
        let stopped = std::mem::replace(&mut *self.running(), Running::Stopped);
        if let Running::Shared(tasks) = stopped {
            tasks.iter().for_each(AbortHandle::abort);
        }
    }

    pub fn clock(&self) -> Clock {
        self.inner.clock
    }

    pub fn spawn<F>(&self, future: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let task = self.inner.handle.spawn(future);
        match &mut *self.running() {
            Running::Thread { .. } => {}
            Running::Shared(tasks) => {
                if tasks.len() == tasks.capacity() {
                    tasks.retain(|task| !task.is_finished());
                }
                tasks.push(task.abort_handle());
            }
            Running::Stopped => task.abort(),
        }
        task
    }

    /// A timer of the network thread; may be awaited anywhere.
    pub fn sleep_until(&self, deadline: Instant) -> tokio::time::Sleep {
        let _context = self.inner.handle.enter();
        tokio::time::sleep_until(self.clock().to_tokio(deadline))
    }

    pub fn sleep(&self, duration: Duration) -> tokio::time::Sleep {
        self.sleep_until(self.clock().mono() + duration)
    }
}
