//! Owns: the network thread of one client and the clock. Every client drives its sockets and timers there, so its handles work from any async
//! runtime, or from none, and a caller that computes for minutes does not starve heartbeats. Kafka: the producer's and the consumer's
//! background threads.

use base::Instant;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

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
    stop: Mutex<Option<oneshot::Sender<()>>>,
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
        Ok(Self { inner: Arc::new(Inner { handle, clock: Clock::start(), stop: Mutex::new(Some(stop)) }) })
    }

    /// Ends the thread. Whoever still waits for one of its tasks sees the task vanish.
    pub fn stop(&self) {
        self.inner.stop.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    pub fn clock(&self) -> Clock {
        self.inner.clock
    }

    pub fn spawn<F>(&self, future: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.inner.handle.spawn(future)
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
