//! Counters that handlers bump and `/metrics` reads. Names there are Kafka's; here they say what is counted.

use std::sync::atomic::{AtomicU64, Ordering};
use wire::ApiKey;

/// A monotonically growing count.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub struct ApiMetrics {
    pub requests: Count,
    pub errors: Count,
    /// Nanoseconds spent in handlers, waiting not included.
    pub handle_nanos: Count,
}

#[derive(Debug)]
pub struct Metrics {
    pub messages_in: Count,
    pub bytes_in: Count,
    pub bytes_out: Count,
    pub failed_produce: Count,
    pub failed_fetch: Count,
    /// Requests refused before they reached a handler.
    pub malformed: Count,
    apis: Vec<ApiMetrics>,
}

impl Default for Metrics {
    fn default() -> Self {
        let top = ApiKey::ALL.last().map_or(0, |k| k.code() as usize);
        Metrics {
            messages_in: Count::default(),
            bytes_in: Count::default(),
            bytes_out: Count::default(),
            failed_produce: Count::default(),
            failed_fetch: Count::default(),
            malformed: Count::default(),
            apis: (0..=top).map(|_| ApiMetrics::default()).collect(),
        }
    }
}

impl Metrics {
    pub fn api(&self, key: ApiKey) -> &ApiMetrics {
        &self.apis[key.code() as usize]
    }
}
