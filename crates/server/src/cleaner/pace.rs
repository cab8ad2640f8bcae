//! The rate of log.cleaner.io.max.bytes.per.second, kept by all cleaner threads together, and the end of all cleaning when the node stops.
//! Kafka: Throttler.

use crate::clock;
use base::Instant;
use broker::Broker;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use storage::cleaner::{CleanError, Pace};

/// The rate is looked at this often.
const PERIOD: Duration = Duration::from_millis(300);
/// Nobody sleeps longer without asking whether the node stops.
const NAP: Duration = Duration::from_millis(50);
/// Beyond it no disk needs to be slowed down.
const UNLIMITED: f64 = 1e15;

#[derive(Default)]
pub struct Throttle(Mutex<Period>);

#[derive(Default)]
struct Period {
    start: Instant,
    bytes: u64,
}

impl Throttle {
    /// So many bytes more were moved: how long to wait for them not to exceed the rate.
    fn note(&self, bytes: u64, bytes_per_second: f64, now: Instant) -> Duration {
        if bytes_per_second >= UNLIMITED {
            return Duration::ZERO;
        }
        let mut period = self.0.lock();
        if period.start == Instant::ZERO {
            period.start = now;
        }
        period.bytes += bytes;
        let elapsed = now - period.start;
        let due = Duration::try_from_secs_f64(period.bytes as f64 / bytes_per_second.max(1.0)).unwrap_or(Duration::MAX);
        let wait = due.saturating_sub(elapsed);
        if elapsed < PERIOD && wait < PERIOD {
            return Duration::ZERO;
        }
        // What the others move meanwhile counts from the end of this wait.
        *period = Period { start: now + wait, bytes: 0 };
        wait
    }
}

pub struct CleanerPace<'a> {
    pub throttle: &'a Throttle,
    pub stopping: &'a AtomicBool,
    pub broker: &'a Broker,
}

impl Pace for CleanerPace<'_> {
    fn check(&self) -> Result<(), CleanError> {
        if self.stopping.load(Relaxed) { Err(CleanError::Aborted) } else { Ok(()) }
    }

    fn moved(&self, bytes: u64) {
        let rate = |broker: &Broker| broker.config().log_cleaner_io_max_bytes_per_second;
        let asked = rate(self.broker);
        let until = clock::now().mono + self.throttle.note(bytes, asked, clock::now().mono);
        // A rate that is changed ends the wait for the old one.
        while self.check().is_ok() && rate(self.broker) == asked {
            match until - clock::now().mono {
                Duration::ZERO => return,
                left => std::thread::sleep(left.min(NAP)),
            }
        }
    }

    fn now(&self) -> Instant {
        clock::now().mono
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept_on_average() {
        for rate in [1_000.0, 1_000_000.0] {
            let throttle = Throttle::default();
            let start = Instant::ZERO + Duration::from_secs(1);
            let (mut now, mut moved) = (start, 0u64);
            while moved < 100_000_000 && now - start < Duration::from_secs(1_000) {
                moved += 50_000;
                now = now + Duration::from_millis(1) + throttle.note(50_000, rate, now);
            }
            let measured = moved as f64 / (now - start).as_secs_f64();
            assert!((0.5 * rate..1.1 * rate).contains(&measured), "{measured} for {rate}");
        }
    }

    #[test]
    fn by_default_nobody_waits() {
        let throttle = Throttle::default();
        assert_eq!(throttle.note(u64::MAX, f64::MAX, Instant::ZERO), Duration::ZERO);
    }
}
