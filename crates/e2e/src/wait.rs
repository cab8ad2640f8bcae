//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

pub const PATIENCE: Duration = Duration::from_secs(60);

/// As [`until`], without a pause between two looks: for what is over soon.
pub fn until_at_once<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "never came true: {what}");
    }
}

/// Polls until `condition` gives a value; panics with `what` when it does not come within [`PATIENCE`].
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
