//! Owns: distributions that one thread writes and any other reads, without a lock: how long something took, how large it was. Quantiles
//! speak of the last minutes, count and sum of everything since the start. Who writes from several threads gives each its own and adds
//! them up in a `Summary`. Used by: net, server. Never does: clock reads; the time comes with the value. Hot path: adding is a few plain
//! stores.
//! Kafka: Yammer's `Histogram` and `Timer` with an exponentially decaying sample; here two windows take turns.

use crate::Instant;
use std::array;
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Each power of two is divided into so many buckets, so a quantile is off by at most an eighth of itself.
const STEPS: u64 = 8;
const STEPS_LOG2: u32 = STEPS.trailing_zeros();
/// Up to 2^36: nineteen hours in microseconds, 64 GiB in bytes. What is above counts as that.
const BUCKETS: usize = ((36 - STEPS_LOG2 as usize) + 1) * STEPS as usize;
/// Quantiles look back at least one window and at most two.
const WINDOW: Duration = Duration::from_secs(150);

pub struct Histogram {
    count: AtomicU64,
    sum: AtomicU64,
    windows: [Window; 2],
}

struct Window {
    /// Which stretch of time the buckets belong to.
    number: AtomicU64,
    buckets: [AtomicU32; BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        let window = || Window { number: AtomicU64::new(0), buckets: array::from_fn(|_| AtomicU32::new(0)) };
        Histogram { count: AtomicU64::new(0), sum: AtomicU64::new(0), windows: [window(), window()] }
    }
}

impl Histogram {
    /// For one thread at a time.
    pub fn record(&self, value: u64, now: Instant) {
        add(&self.count, 1);
        add(&self.sum, value);
        let number = window_number(now);
        let window = &self.windows[(number & 1) as usize];
        if window.number.load(Relaxed) != number {
            window.buckets.iter().for_each(|bucket| bucket.store(0, Relaxed));
            window.number.store(number, Relaxed);
        }
        let bucket = &window.buckets[bucket_of(value)];
        bucket.store(bucket.load(Relaxed).wrapping_add(1), Relaxed);
    }

    pub fn record_micros(&self, duration: Duration, now: Instant) {
        self.record(duration.as_micros() as u64, now);
    }
}

/// A single writer needs no read-modify-write.
fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(n), Relaxed);
}

/// What one or several histograms have seen.
#[derive(Clone, Debug)]
pub struct Summary {
    pub count: u64,
    pub sum: u64,
    recent: [u64; BUCKETS],
}

impl Default for Summary {
    fn default() -> Self {
        Summary { count: 0, sum: 0, recent: [0; BUCKETS] }
    }
}

impl Summary {
    pub fn of(histogram: &Histogram, now: Instant) -> Self {
        let mut summary = Summary::default();
        summary.add(histogram, now);
        summary
    }

    pub fn add(&mut self, histogram: &Histogram, now: Instant) {
        self.count += histogram.count.load(Relaxed);
        self.sum += histogram.sum.load(Relaxed);
        let number = window_number(now);
        let is_recent = |window: &&Window| matches!(number.checked_sub(window.number.load(Relaxed)), Some(0 | 1));
        for window in histogram.windows.iter().filter(is_recent) {
            self.recent.iter_mut().zip(&window.buckets).for_each(|(sum, bucket)| *sum += u64::from(bucket.load(Relaxed)));
        }
    }

    /// The values below which these parts (0 to 1, ascending) of the recent ones lie; 0 when there are none.
    pub fn quantiles<const N: usize>(&self, parts: [f64; N]) -> [f64; N] {
        let total: u64 = self.recent.iter().sum();
        let mut values = [0.0; N];
        let (mut seen, mut bucket) = (0, 0);
        for (value, part) in values.iter_mut().zip(parts) {
            let rank = ((total as f64 * part).ceil() as u64).max(1);
            while total > 0 && seen + self.recent[bucket] < rank {
                seen += self.recent[bucket];
                bucket += 1;
            }
            *value = if total == 0 { 0.0 } else { middle_of(bucket) };
        }
        values
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram").field("count", &self.count).field("sum", &self.sum).finish_non_exhaustive()
    }
}

/// Never 0, which is what an unused window has.
fn window_number(now: Instant) -> u64 {
    now.as_nanos() / WINDOW.as_nanos() as u64 + 2
}

/// Values below `STEPS` have a bucket each; from there on the leading bits choose.
fn bucket_of(value: u64) -> usize {
    if value < STEPS {
        return value as usize;
    }
    let shift = value.ilog2() - STEPS_LOG2;
    let bucket = (u64::from(shift) + 1) * STEPS + (value >> shift) - STEPS;
    (bucket as usize).min(BUCKETS - 1)
}

fn middle_of(bucket: usize) -> f64 {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return bucket as f64;
    }
    let width = 1u64 << (bucket / STEPS - 1);
    let low = (STEPS + bucket % STEPS) * width;
    low as f64 + (width - 1) as f64 / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Instant = Instant::from_nanos(7_000_000_000);

    #[test]
    fn buckets_hold_what_they_stand_for() {
        let mut last = 0;
        for value in (0..5000).chain((13..36).map(|power| (1u64 << power) + 1)) {
            let bucket = bucket_of(value);
            let off = (middle_of(bucket) - value as f64).abs();
            assert!(off <= value as f64 / 8.0, "{value} became {}", middle_of(bucket));
            assert!(bucket == last || bucket == last + 1 || value > 5000, "{value} went to bucket {bucket} after {last}");
            last = bucket;
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    fn quantiles<const N: usize>(histogram: &Histogram, parts: [f64; N], now: Instant) -> [f64; N] {
        Summary::of(histogram, now).quantiles(parts)
    }

    #[test]
    fn quantiles_of_a_known_distribution() {
        let histogram = Histogram::default();
        assert_eq!(quantiles(&histogram, [0.5, 0.999], START), [0.0, 0.0]);
        (1..=1000).for_each(|value| histogram.record(value, START));
        let [half, most, all] = quantiles(&histogram, [0.5, 0.99, 0.999], START);
        assert!((440.0..=560.0).contains(&half) && (930.0..=1050.0).contains(&most) && all >= most, "{half} {most} {all}");
        let summary = Summary::of(&histogram, START);
        assert_eq!((summary.count, summary.sum), (1000, 500_500));
    }

    #[test]
    fn what_is_long_ago_counts_in_sums_only() {
        let histogram = Histogram::default();
        histogram.record(1_000_000, START);
        assert!(quantiles(&histogram, [0.5], START + WINDOW)[0] > 900_000.0);
        histogram.record(3, START + WINDOW * 2);
        assert_eq!(quantiles(&histogram, [0.5, 0.999], START + WINDOW * 2), [3.0, 3.0]);
        assert_eq!(quantiles(&histogram, [0.5], START + WINDOW * 9), [0.0]);
        assert_eq!(Summary::of(&histogram, START + WINDOW * 9).count, 2);
    }

    #[test]
    fn the_histograms_of_several_threads_add_up() {
        let histograms: Vec<Histogram> = (0..4).map(|_| Histogram::default()).collect();
        std::thread::scope(|scope| {
            for (i, histogram) in histograms.iter().enumerate() {
                scope.spawn(move || (0..1000).for_each(|_| histogram.record(i as u64, START)));
            }
        });
        let mut summary = Summary::default();
        histograms.iter().for_each(|histogram| summary.add(histogram, START));
        assert_eq!((summary.count, summary.sum), (4000, 6000));
        assert_eq!(summary.quantiles([0.2, 0.5, 0.7, 1.0]), [0.0, 1.0, 2.0, 3.0]);
    }
}
