//! When the coordinators of this broker are ticked next, and how to make it come earlier. One for groups, one for transactions.

use base::Instant;
use parking_lot::Mutex;
use std::sync::Arc;
use std::task::{Wake, Waker};

pub(crate) struct Alarm(Mutex<State>);

struct State {
    at: Instant,
    waker: Waker,
}

impl Alarm {
    pub fn new() -> Arc<Self> {
        Arc::new(Alarm(Mutex::new(State { at: Instant::FAR_FUTURE, waker: Waker::noop().clone() })))
    }

    /// Whom to wake.
    pub fn set_waker(&self, waker: Waker) {
        self.0.lock().waker = waker;
    }

    /// A tick begins: whatever is set while it runs must ring again.
    pub fn begin_tick(&self) {
        self.0.lock().at = Instant::FAR_FUTURE;
    }

    /// A tick has ended, and has come upon `next`. When to come again.
    pub fn end_tick(&self, next: Instant) -> Instant {
        let mut state = self.0.lock();
        state.at = state.at.min(next);
        state.at
    }

    pub fn ring(&self) {
        self.0.lock().waker.wake_by_ref();
    }

    pub fn ring_if_earlier(&self, deadline: Instant) {
        let mut state = self.0.lock();
        if deadline < state.at {
            state.at = deadline;
            state.waker.wake_by_ref();
        }
    }

    /// For watches: rings when records of a shard are committed, for which replies wait.
    pub fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(self.clone())
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[derive(Default)]
    struct Rings(AtomicUsize);
    impl Wake for Rings {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn only_what_is_due_earlier_rings() {
        let at = |ms| Instant::ZERO + Duration::from_millis(ms);
        let rings = Arc::new(Rings::default());
        let alarm = Alarm::new();
        alarm.set_waker(Waker::from(rings.clone()));
        let count = || rings.0.load(Ordering::SeqCst);
        alarm.begin_tick();
        assert_eq!(alarm.end_tick(at(100)), at(100));
        alarm.ring_if_earlier(at(100));
        assert_eq!(count(), 0);
        alarm.ring_if_earlier(at(50));
        alarm.ring_if_earlier(at(70));
        assert_eq!(count(), 1);
        // What is set while a tick runs rings, and is not forgotten by its end.
        alarm.begin_tick();
        alarm.ring_if_earlier(at(60));
        assert_eq!((count(), alarm.end_tick(at(80))), (2, at(60)));
        alarm.waker().wake();
        assert_eq!(count(), 3);
    }
}
