//! Counters of the network layer, read by the metrics page: per listener, and per API what every request cost from its first byte
//! handled to the last byte of its answer written. Hot path: what is counted per request belongs to one worker, so adding is a plain store.
//! Kafka: `socket-server-metrics`, `RequestMetrics`, the purgatories' sizes.

use base::{Histogram, Instant, Summary};
use std::array;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// More than there are API keys; requests with others are refused and not counted here.
const APIS: usize = 128;
/// More than any API has versions.
const VERSIONS: usize = 32;

#[derive(Debug, Default)]
pub struct Stats {
    listeners: Mutex<BTreeMap<Arc<str>, Arc<ListenerStats>>>,
    workers: Mutex<Vec<Arc<WorkerStats>>>,
    /// Requests that panicked; each cost its connection.
    pub panics: AtomicU64,
    /// When the workers started, as nanoseconds of the monotonic clock.
    pub started: AtomicU64,
}

/// What one worker alone writes.
#[derive(Debug)]
pub(crate) struct WorkerStats {
    apis: [OnceLock<Box<ApiStats>>; APIS],
    busy_nanos: AtomicU64,
}

impl WorkerStats {
    fn api(&self, key: i16) -> Option<&ApiStats> {
        let slot = self.apis.get(usize::try_from(key).ok()?)?;
        Some(slot.get_or_init(Box::default))
    }

    pub fn busy(&self, time: Duration) {
        add_alone(&self.busy_nanos, time.as_nanos() as u64);
    }
}

/// One thread writes, so nothing can come between the load and the store.
fn add_alone(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(n), Relaxed);
}

#[derive(Debug, Default)]
pub struct ListenerStats {
    pub accepted: AtomicU64,
    pub closed: AtomicU64,
    /// Closed right after accept because of `max.connections.per.ip`.
    pub refused: AtomicU64,
    pub expired_idle: AtomicU64,
    pub bytes_in: AtomicU64,
    pub bytes_out: AtomicU64,
}

impl ListenerStats {
    pub fn open(&self) -> u64 {
        self.accepted.load(Relaxed).saturating_sub(self.closed.load(Relaxed))
    }
}

/// One API on one worker. Times are in microseconds.
#[derive(Debug)]
struct ApiStats {
    /// Requests that are done, by version.
    versions: [AtomicU64; VERSIONS],
    total: Histogram,
    local: Histogram,
    remote: Histogram,
    send: Histogram,
    request_bytes: Histogram,
    response_bytes: AtomicU64,
    parked: AtomicU64,
}

impl Default for ApiStats {
    fn default() -> Self {
        ApiStats {
            versions: array::from_fn(|_| AtomicU64::new(0)),
            total: Histogram::default(),
            local: Histogram::default(),
            remote: Histogram::default(),
            send: Histogram::default(),
            request_bytes: Histogram::default(),
            response_bytes: AtomicU64::default(),
            parked: AtomicU64::default(),
        }
    }
}

/// One API, all workers together. Times are in microseconds.
#[derive(Clone, Debug, Default)]
pub struct ApiSummary {
    versions: [u64; VERSIONS],
    /// From the handler's start to the last byte of the answer.
    pub total: Summary,
    /// In the handler.
    pub local: Summary,
    /// Parked.
    pub remote: Summary,
    /// From the answer's being ready to its last byte: earlier answers, and the client that reads too slowly.
    pub send: Summary,
    pub request_bytes: Summary,
    pub response_bytes: u64,
    /// Requests that wait now.
    pub parked: u64,
}

impl ApiSummary {
    /// (version, requests done) of every version that was asked for.
    pub fn versions(&self) -> impl Iterator<Item = (usize, u64)> {
        self.versions.iter().copied().enumerate().filter(|(_, n)| *n > 0)
    }

    fn add(&mut self, api: &ApiStats, now: Instant) {
        self.versions.iter_mut().zip(&api.versions).for_each(|(sum, n)| *sum += n.load(Relaxed));
        self.total.add(&api.total, now);
        self.local.add(&api.local, now);
        self.remote.add(&api.remote, now);
        self.send.add(&api.send, now);
        self.request_bytes.add(&api.request_bytes, now);
        self.response_bytes += api.response_bytes.load(Relaxed);
        self.parked += api.parked.load(Relaxed);
    }
}

impl Stats {
    pub fn listener(&self, name: &Arc<str>) -> Arc<ListenerStats> {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.entry(name.clone()).or_default().clone()
    }

    pub fn listeners(&self) -> Vec<(Arc<str>, Arc<ListenerStats>)> {
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.iter().map(|(name, stats)| (name.clone(), stats.clone())).collect()
    }

    /// Connections that are open, all listeners together.
    pub fn open(&self) -> u64 {
        self.listeners().iter().map(|(_, listener)| listener.open()).sum()
    }

    /// (API key, its numbers) of every API that was used, by key.
    pub fn apis(&self, now: Instant) -> Vec<(i16, ApiSummary)> {
        let workers = self.worker_list();
        let of_api = |key: usize| {
            let mut used = workers.iter().filter_map(|worker| worker.apis.get(key)?.get()).peekable();
            used.peek()?;
            let mut sum = ApiSummary::default();
            used.for_each(|api| sum.add(api, now));
            Some((key as i16, sum))
        };
        (0..APIS).filter_map(of_api).collect()
    }

    pub fn workers(&self) -> usize {
        self.worker_list().len()
    }

    /// Time that workers spent on connections, all together.
    pub fn busy(&self) -> Duration {
        Duration::from_nanos(self.worker_list().iter().map(|worker| worker.busy_nanos.load(Relaxed)).sum())
    }

    fn worker_list(&self) -> Vec<Arc<WorkerStats>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn add_worker(&self) -> Arc<WorkerStats> {
        let worker = Arc::new(WorkerStats { apis: array::from_fn(|_| OnceLock::new()), busy_nanos: AtomicU64::new(0) });
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(worker.clone());
        worker
    }

    pub(crate) fn add(counter: &AtomicU64, n: usize) {
        counter.fetch_add(n as u64, Relaxed);
    }
}

/// What a request has cost so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    pub key: i16,
    pub version: i16,
    pub request_bytes: usize,
    pub response_bytes: usize,
    pub started: Instant,
    /// The handler has returned.
    pub handled: Instant,
    /// There is an answer.
    pub answered: Instant,
}

impl Timing {
    /// Key and version are the first fields of every request.
    pub fn begin(frame: &[u8], started: Instant) -> Timing {
        let field = |at: usize| frame.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(-1, i16::from_be_bytes);
        let (key, version) = (field(0), field(2));
        Timing { key, version, request_bytes: frame.len(), response_bytes: 0, started, handled: started, answered: started }
    }

    /// The last byte of the answer has left, or there is none.
    pub fn done(&self, worker: &WorkerStats, now: Instant) {
        let Some(api) = worker.api(self.key) else { return };
        if let Some(count) = usize::try_from(self.version).ok().and_then(|version| api.versions.get(version)) {
            add_alone(count, 1);
        }
        api.local.record_micros(self.handled - self.started, now);
        api.remote.record_micros(self.answered - self.handled, now);
        api.send.record_micros(now - self.answered, now);
        api.total.record_micros(now - self.started, now);
        api.request_bytes.record(self.request_bytes as u64, now);
        add_alone(&api.response_bytes, self.response_bytes as u64);
    }
}

/// Counts a request as parked until it is dropped, on the same worker.
pub(crate) struct ParkedCount {
    worker: Arc<WorkerStats>,
    key: i16,
}

impl ParkedCount {
    pub fn new(worker: &Arc<WorkerStats>, key: i16) -> Self {
        if let Some(api) = worker.api(key) {
            add_alone(&api.parked, 1);
        }
        ParkedCount { worker: worker.clone(), key }
    }
}

impl Drop for ParkedCount {
    fn drop(&mut self) {
        if let Some(api) = self.worker.api(self.key) {
            // Wraps below: one less.
            add_alone(&api.parked, u64::MAX);
        }
    }
}
