//! Time as a value. The core crates never read a clock: whoever calls them passes `Now`.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A point on the monotonic clock, in nanoseconds since an arbitrary origin (process start, or the start of a simulation).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    pub const ZERO: Instant = Instant(0);
    /// Later than any deadline that is ever set.
    pub const FAR_FUTURE: Instant = Instant(u64::MAX);

    pub const fn from_nanos(nanos: u64) -> Self {
        Instant(nanos)
    }

    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    pub fn saturating_since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, d: Duration) -> Instant {
        Instant(self.0.saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;
    fn sub(self, earlier: Instant) -> Duration {
        self.saturating_since(earlier)
    }
}

/// Both clocks at one moment: `mono` for timeouts, `wall_ms` (milliseconds since the Unix epoch) for what is written to records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    pub mono: Instant,
    pub wall_ms: i64,
}

impl Now {
    /// A little later, when the monotonic clock says `mono`: a moment for one clock read instead of two.
    pub fn at(self, mono: Instant) -> Now {
        self.plus(mono - self.mono)
    }

    /// This moment moved forward on both clocks; for virtual clocks.
    pub fn plus(self, d: Duration) -> Now {
        Now { mono: self.mono + d, wall_ms: self.wall_ms.saturating_add(d.as_millis() as i64) }
    }
}

/// Reads the clocks.
#[derive(Clone, Copy)]
pub struct Clock {
    pub now: fn() -> Now,
    /// The monotonic clock alone, for what is measured often.
    pub mono: fn() -> Instant,
}
