//! Owns: counts of what goes over the connections of one client. Used by: `connection` (counts), `metrics` (shows). Kafka: `Selector`'s metrics.

use crate::metrics::Snapshot;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

#[derive(Debug, Default)]
pub struct Traffic {
    opened: AtomicU64,
    closed: AtomicU64,
    requests: AtomicU64,
    responses: AtomicU64,
    bytes_out: AtomicU64,
    bytes_in: AtomicU64,
    latency_micros: AtomicU64,
    latency_micros_max: AtomicU64,
}

impl Traffic {
    pub fn opened(&self) {
        self.opened.fetch_add(1, Relaxed);
    }

    pub fn closed(&self) {
        self.closed.fetch_add(1, Relaxed);
    }

    pub fn sent(&self, bytes: usize) {
        self.requests.fetch_add(1, Relaxed);
        self.bytes_out.fetch_add(bytes as u64, Relaxed);
    }

    pub fn received(&self, bytes: usize, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.responses.fetch_add(1, Relaxed);
        self.bytes_in.fetch_add(bytes as u64, Relaxed);
        self.latency_micros.fetch_add(micros, Relaxed);
        self.latency_micros_max.fetch_max(micros, Relaxed);
    }

    pub fn show(&self, snapshot: &mut Snapshot) {
        let responses = self.responses.load(Relaxed);
        let (opened, closed) = (self.opened.load(Relaxed), self.closed.load(Relaxed));
        snapshot
            .count("connection-creation-total", opened)
            .count("connection-close-total", closed)
            .count("connection-count", opened.saturating_sub(closed))
            .count("request-total", self.requests.load(Relaxed))
            .count("response-total", responses)
            .count("outgoing-byte-total", self.bytes_out.load(Relaxed))
            .count("incoming-byte-total", self.bytes_in.load(Relaxed))
            .count("network-io-total", self.requests.load(Relaxed) + responses)
            .average("request-latency-avg", self.latency_micros.load(Relaxed) as f64 / 1000.0, responses)
            .add("request-latency-max", self.latency_micros_max.load(Relaxed) as f64 / 1000.0);
    }
}
