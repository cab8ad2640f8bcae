//! What the producer's performance test counts and prints. Kafka counterpart: ProducerPerformance.Stats.

use crate::out::say;

/// At most this many latencies are kept.
const SAMPLES: u64 = 500_000;

/// All times are milliseconds since the same moment.
pub struct Stats {
    start: u64,
    latencies: Vec<u32>,
    capacity: usize,
    sampling: u64,
    interval: u64,
    count: u64,
    bytes: u64,
    max: u32,
    total: u64,
    window: Window,
    steady_state: bool,
    pub silent: bool,
}

#[derive(Default)]
struct Window {
    start: u64,
    count: u64,
    bytes: u64,
    max: u32,
    total: u64,
}

impl Stats {
    pub fn new(records: u64, interval: u64, steady_state: bool, now: u64) -> Self {
        let sampling = records / records.clamp(1, SAMPLES);
        Stats {
            start: now,
            latencies: Vec::new(),
            capacity: (records / sampling.max(1)) as usize + 1,
            sampling: sampling.max(1),
            interval,
            count: 0,
            bytes: 0,
            max: 0,
            total: 0,
            window: Window { start: now, ..Window::default() },
            steady_state,
            silent: false,
        }
    }

    // Hot path.
    pub fn record(&mut self, latency: u32, bytes: u64, now: u64) {
        if self.count.is_multiple_of(self.sampling) && self.latencies.len() < self.capacity {
            self.latencies.push(latency);
        }
        self.count += 1;
        self.bytes += bytes;
        self.total += u64::from(latency);
        self.max = self.max.max(latency);
        let window = &mut self.window;
        window.count += 1;
        window.bytes += bytes;
        window.total += u64::from(latency);
        window.max = window.max.max(latency);
        if now - window.start >= self.interval {
            if self.steady_state && self.count == window.count {
                say!("In steady state.");
            }
            if !self.silent {
                say!("{}", self.window_line(now));
            }
            self.window = Window { start: now, ..Window::default() };
        }
    }

    fn window_line(&self, now: u64) -> String {
        let window = &self.window;
        let elapsed = (now - window.start) as f64;
        format!(
            "{} records sent, {:.1} records/sec ({:.2} MB/sec), {:.1} ms avg latency, {:.1} ms max latency.",
            window.count,
            1000.0 * window.count as f64 / elapsed,
            1000.0 * window.bytes as f64 / elapsed / (1024.0 * 1024.0),
            window.total as f64 / window.count as f64,
            f64::from(window.max),
        )
    }

    pub fn total_line(&mut self, now: u64) -> String {
        let elapsed = (now - self.start) as f64;
        self.latencies.sort_unstable();
        let size = self.latencies.len();
        let percentile = |part: f64| self.latencies.get((part * size as f64) as usize).copied().unwrap_or(0);
        format!(
            "{}{} records sent, {:.6} records/sec ({:.2} MB/sec), {:.2} ms avg latency, {:.2} ms max latency, {} ms 50th, {} ms 95th, {} ms \
             99th, {} ms 99.9th.",
            self.count,
            if self.steady_state { " steady state" } else { "" },
            1000.0 * self.count as f64 / elapsed,
            1000.0 * self.bytes as f64 / elapsed / (1024.0 * 1024.0),
            self.total as f64 / self.count as f64,
            f64::from(self.max),
            percentile(0.5),
            percentile(0.95),
            percentile(0.99),
            percentile(0.999),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_and_rates() {
        let mut stats = Stats::new(1000, 1_000_000, false, 0);
        for latency in 1..=1000 {
            stats.record(latency, 1024, 10);
        }
        assert_eq!(
            stats.total_line(2000),
            "1000 records sent, 500.000000 records/sec (0.49 MB/sec), 500.50 ms avg latency, 1000.00 ms max latency, 501 ms 50th, 951 ms \
             95th, 991 ms 99th, 1000 ms 99.9th."
        );
    }

    #[test]
    fn windows_start_anew() {
        let mut stats = Stats::new(10, 100, false, 0);
        stats.silent = true;
        stats.record(5, 1, 100);
        assert_eq!((stats.window.count, stats.window.start, stats.count), (0, 100, 1));
    }
}
