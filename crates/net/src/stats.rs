//! Counters of the network layer, read by the metrics page: per listener, and per API what every request cost from its first byte
//! handled to the last byte of its answer written. Hot path: adding is a handful of relaxed atomics.
//! Kafka: `socket-server-metrics`, `RequestMetrics`, the purgatories' sizes.

use base::{Histogram, Instant};
use std::array;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// More than there are API keys; requests with others are refused and not counted here.
const APIS: usize = 128;
/// More than any API has versions.
const VERSIONS: usize = 32;

#[derive(Debug)]
pub struct Stats {
    listeners: Mutex<BTreeMap<Arc<str>, Arc<ListenerStats>>>,
    apis: [OnceLock<Box<ApiStats>>; APIS],
    pub requests: AtomicU64,
    /// Requests that panicked; each cost its connection.
    pub panics: AtomicU64,
    /// Time that workers spent on connections, all workers together.
    pub busy_nanos: AtomicU64,
    pub workers: AtomicU64,
    /// When the workers started, as nanoseconds of the monotonic clock.
    pub started: AtomicU64,
}

impl Default for Stats {
    fn default() -> Self {
        Stats {
            listeners: Mutex::default(),
            apis: array::from_fn(|_| OnceLock::new()),
            requests: AtomicU64::default(),
            panics: AtomicU64::default(),
            busy_nanos: AtomicU64::default(),
            workers: AtomicU64::default(),
            started: AtomicU64::default(),
        }
    }
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

/// One API. Times are in microseconds.
#[derive(Debug)]
pub struct ApiStats {
    /// Requests that are done, by version.
    versions: [AtomicU64; VERSIONS],
    /// From the handler's start to the last byte of the answer.
    pub total: Histogram,
    /// In the handler.
    pub local: Histogram,
    /// Parked.
    pub remote: Histogram,
    /// From the answer's being ready to its last byte: earlier answers, and the client that reads too slowly.
    pub send: Histogram,
    pub request_bytes: Histogram,
    pub response_bytes: AtomicU64,
    parked: AtomicI64,
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
            parked: AtomicI64::default(),
        }
    }
}

impl ApiStats {
    /// (version, requests done) of every version that was asked for.
    pub fn versions(&self) -> impl Iterator<Item = (usize, u64)> {
        self.versions.iter().map(|n| n.load(Relaxed)).enumerate().filter(|(_, n)| *n > 0)
    }

    /// Requests that wait now.
    pub fn parked(&self) -> i64 {
        self.parked.load(Relaxed)
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

    /// (API key, its numbers) of every API that was used.
    pub fn apis(&self) -> impl Iterator<Item = (i16, &ApiStats)> {
        self.apis.iter().enumerate().filter_map(|(key, api)| Some((key as i16, &**api.get()?)))
    }

    /// Connections that are open, all listeners together.
    pub fn open(&self) -> u64 {
        self.listeners().iter().map(|(_, listener)| listener.open()).sum()
    }

    fn api(&self, key: i16) -> Option<&ApiStats> {
        let slot = self.apis.get(usize::try_from(key).ok()?)?;
        Some(slot.get_or_init(Box::default))
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
    pub fn done(&self, stats: &Stats, now: Instant) {
        let Some(api) = stats.api(self.key) else { return };
        if let Some(count) = usize::try_from(self.version).ok().and_then(|version| api.versions.get(version)) {
            count.fetch_add(1, Relaxed);
        }
        api.local.record_micros(self.handled - self.started, now);
        api.remote.record_micros(self.answered - self.handled, now);
        api.send.record_micros(now - self.answered, now);
        api.total.record_micros(now - self.started, now);
        api.request_bytes.record(self.request_bytes as u64, now);
        api.response_bytes.fetch_add(self.response_bytes as u64, Relaxed);
    }
}

/// Counts a request as parked until it is dropped.
pub(crate) struct ParkedCount {
    stats: Arc<Stats>,
    key: i16,
}

impl ParkedCount {
    pub fn new(stats: &Arc<Stats>, key: i16) -> Self {
        if let Some(api) = stats.api(key) {
            api.parked.fetch_add(1, Relaxed);
        }
        ParkedCount { stats: stats.clone(), key }
    }
}

impl Drop for ParkedCount {
    fn drop(&mut self) {
        if let Some(api) = self.stats.api(self.key) {
            api.parked.fetch_sub(1, Relaxed);
        }
    }
}
