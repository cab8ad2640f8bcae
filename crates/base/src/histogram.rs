//! Owns: distributions that many threads write without a lock: how long something took, how large it was. Quantiles speak of the last
//! minutes, count and sum of everything since the start. Used by: net, server. Never does: clock reads; the time comes with the value.
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
    pub fn record(&self, value: u64, now: Instant) {
        self.count.fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
        let number = window_number(now);
        let window = &self.windows[(number & 1) as usize];
        let known = window.number.load(Relaxed);
        // Whoever comes first in a new window empties it. What others write into it meanwhile may be lost: some values of millions.
        if known != number && window.number.compare_exchange(known, number, Relaxed, Relaxed).is_ok() {
            window.buckets.iter().for_each(|bucket| bucket.store(0, Relaxed));
        }
        window.buckets[bucket_of(value)].fetch_add(1, Relaxed);
    }

    pub fn record_micros(&self, duration: Duration, now: Instant) {
        self.record(duration.as_micros() as u64, now);
    }

    pub fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    pub fn sum(&self) -> u64 {
        self.sum.load(Relaxed)
    }

    /// The values below which these parts (0 to 1, ascending) of the recent ones lie; 0 when there are none.
    pub fn quantiles<const N: usize>(&self, parts: [f64; N], now: Instant) -> [f64; N] {
        let number = window_number(now);
        let recent = |window: &&Window| matches!(number.checked_sub(window.number.load(Relaxed)), Some(0 | 1));
        let mut counts = [0u64; BUCKETS];
        for window in self.windows.iter().filter(recent) {
            counts.iter_mut().zip(&window.buckets).for_each(|(sum, bucket)| *sum += u64::from(bucket.load(Relaxed)));
        }
        let total: u64 = counts.iter().sum();
        let mut values = [0.0; N];
        let (mut seen, mut bucket) = (0, 0);
        for (value, part) in values.iter_mut().zip(parts) {
            let rank = ((total as f64 * part).ceil() as u64).max(1);
            while total > 0 && seen + counts[bucket] < rank {
                seen += counts[bucket];
                bucket += 1;
            }
            *value = if total == 0 { 0.0 } else { middle_of(bucket) };
        }
        values
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram").field("count", &self.count()).field("sum", &self.sum()).finish_non_exhaustive()
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

    #[test]
    fn quantiles_of_a_known_distribution() {
        let histogram = Histogram::default();
        assert_eq!(histogram.quantiles([0.5, 0.999], START), [0.0, 0.0]);
        (1..=1000).for_each(|value| histogram.record(value, START));
        let [half, most, all] = histogram.quantiles([0.5, 0.99, 0.999], START);
        assert!((440.0..=560.0).contains(&half) && (930.0..=1050.0).contains(&most) && all >= most, "{half} {most} {all}");
        assert_eq!((histogram.count(), histogram.sum()), (1000, 500_500));
    }

    #[test]
    fn what_is_long_ago_counts_in_sums_only() {
        let histogram = Histogram::default();
        histogram.record(1_000_000, START);
        assert!(histogram.quantiles([0.5], START + WINDOW)[0] > 900_000.0);
        histogram.record(3, START + WINDOW * 2);
        assert_eq!(histogram.quantiles([0.5, 0.999], START + WINDOW * 2), [3.0, 3.0]);
        assert_eq!(histogram.quantiles([0.5], START + WINDOW * 9), [0.0]);
        assert_eq!(histogram.count(), 2);
    }

    #[test]
    fn threads_write_at_once_and_nothing_is_lost_within_a_window() {
        let histogram = Histogram::default();
        histogram.record(1, START);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| histogram.record(1, START)));
            }
        });
        assert_eq!((histogram.count(), histogram.sum()), (4001, 4001));
    }
}
