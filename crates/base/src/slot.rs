//! A place for one answer that is produced on another thread: the asker polls it, the answerer fills it once.

use parking_lot::Mutex;
use std::sync::Arc;
use std::task::Waker;

/// Filled at most once; polled by one asker. Runtime free: whoever polls leaves a `Waker`.
pub struct Slot<T>(Mutex<State<T>>);

struct State<T> {
    value: Option<T>,
    waker: Option<Waker>,
}

impl<T> Slot<T> {
    /// Shared from the start, as a slot only makes sense between two sides.
    pub fn new() -> Arc<Self> {
        Arc::new(Slot(Mutex::new(State { value: None, waker: None })))
    }

    /// Stores the answer and wakes the asker. A second answer replaces one that was not taken yet.
    pub fn fill(&self, value: T) {
        let waker = {
            let mut state = self.0.lock();
            state.value = Some(value);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes the answer, or leaves `waker` to be woken when it comes.
    pub fn poll(&self, waker: &Waker) -> Option<T> {
        let mut state = self.0.lock();
        match state.value.take() {
            Some(value) => Some(value),
            None => {
                if !state.waker.as_ref().is_some_and(|w| w.will_wake(waker)) {
                    state.waker = Some(waker.clone());
                }
                None
            }
        }
    }

    /// Takes the answer if it is there.
    pub fn take(&self) -> Option<T> {
        self.0.lock().value.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn wakes_once_and_hands_over() {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(count.clone());
        let slot = Slot::new();
        assert_eq!(slot.poll(&waker), None);
        assert_eq!(slot.poll(&waker), None);
        slot.fill(7);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert_eq!(slot.poll(&waker), Some(7));
        assert_eq!(slot.take(), None);
    }
}
