//! The only place of the broker that reads clocks.

use base::{Clock, Instant, Now};
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// The origin of the monotonic clock. A minute before its first use, so that "a while ago" never falls below zero.
static ORIGIN: LazyLock<std::time::Instant> = LazyLock::new(|| {
    let now = std::time::Instant::now();
    now.checked_sub(std::time::Duration::from_secs(60)).unwrap_or(now)
});

pub const CLOCK: Clock = Clock { now, mono };

pub fn now() -> Now {
    Now { mono: mono(), wall_ms: wall_ms() }
}

pub fn mono() -> Instant {
    Instant::from_nanos(ORIGIN.elapsed().as_nanos() as u64)
}

pub fn wall_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}
