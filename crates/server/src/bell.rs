//! What a thread of the node sleeps on: others ring to make it look, or tell it to end.

use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::task::Wake;
use std::time::Duration;

#[derive(Default)]
pub struct Bell {
    state: Mutex<State>,
    rung: Condvar,
}

#[derive(Default)]
struct State {
    ringing: bool,
    stop: bool,
}

impl Bell {
    /// Makes the thread look whether there is something to do.
    pub fn ring(&self) {
        self.state.lock().ringing = true;
        self.rung.notify_one();
    }

    /// Asks the thread to end.
    pub fn stop(&self) {
        self.state.lock().stop = true;
        self.rung.notify_one();
    }

    /// Sleeps until somebody rings, at most for `limit`. False means: end.
    pub fn wait(&self, limit: Duration) -> bool {
        let mut state = self.state.lock();
        self.rung.wait_while_for(&mut state, |state| !state.ringing && !state.stop, limit);
        state.ringing = false;
        !state.stop
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_before_the_wait_counts() {
        let bell = Bell::default();
        bell.ring();
        assert!(bell.wait(Duration::from_secs(60)));
        assert!(bell.wait(Duration::ZERO));
        bell.stop();
        assert!(!bell.wait(Duration::from_secs(60)));
    }
}
