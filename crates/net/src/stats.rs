//! Counters of the network layer, read by the metrics page.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[derive(Debug, Default)]
pub struct Stats {
    pub accepted: AtomicU64,
    pub closed: AtomicU64,
    /// Closed right after accept because of `max.connections.per.ip`.
    pub refused: AtomicU64,
    pub expired_idle: AtomicU64,
    pub requests: AtomicU64,
    pub bytes_in: AtomicU64,
    pub bytes_out: AtomicU64,
    /// Requests that panicked; each cost its connection.
    pub panics: AtomicU64,
}

impl Stats {
    pub fn open(&self) -> u64 {
        self.accepted.load(Relaxed).saturating_sub(self.closed.load(Relaxed))
    }

    pub(crate) fn add(counter: &AtomicU64, n: usize) {
        counter.fetch_add(n as u64, Relaxed);
    }
}
