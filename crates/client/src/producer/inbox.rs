//! Owns: what wakes the sender task: events for it, and the word that the accumulator has something new. One short lock instead of a channel, a
//! notification and a watch that would each be asked on every turn. Used by: `sender`, and everybody who has news for it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

pub(super) struct Inbox<E> {
    state: Mutex<State<E>>,
}

struct State<E> {
    events: Vec<E>,
    work: bool,
    closed: bool,
    waiting: Option<Waker>,
}

impl<E> Inbox<E> {
    pub(super) fn new() -> Self {
        Self { state: Mutex::new(State { events: Vec::new(), work: false, closed: false, waiting: None }) }
    }

    fn state(&self) -> MutexGuard<'_, State<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An event that comes after the end is dropped: nobody is there to act on it.
    pub(super) fn post(&self, event: E) {
        let waiting = {
            let mut state = self.state();
            if state.closed {
                return;
            }
            state.events.push(event);
            state.waiting.take()
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// There may be something to do in the accumulator.
    pub(super) fn wake(&self) {
        let waiting = {
            let mut state = self.state();
            state.work = true;
            state.waiting.take()
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Ready when there is something; events move to the end of `into`.
    pub(super) fn poll(&self, waker: &Waker, into: &mut Vec<E>) -> Poll<()> {
        let mut state = self.state();
        if !state.work && state.events.is_empty() {
            match &mut state.waiting {
                Some(known) => known.clone_from(waker),
                None => state.waiting = Some(waker.clone()),
            }
            return Poll::Pending;
        }
        state.work = false;
        into.append(&mut state.events);
        Poll::Ready(())
    }

    pub(super) fn close(&self) {
        let events = {
            let mut state = self.state();
            state.closed = true;
            std::mem::take(&mut state.events)
        };
        drop(events);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_before_the_wait_is_not_lost() {
        let (inbox, mut events) = (Inbox::new(), Vec::new());
        assert!(inbox.poll(Waker::noop(), &mut events).is_pending());
        inbox.wake();
        inbox.wake();
        assert!(inbox.poll(Waker::noop(), &mut events).is_ready());
        assert!(inbox.poll(Waker::noop(), &mut events).is_pending());
        inbox.post(1);
        inbox.post(2);
        assert!(inbox.poll(Waker::noop(), &mut events).is_ready());
        assert_eq!(events, [1, 2]);
        inbox.post(3);
        inbox.close();
        inbox.post(4);
        assert!(inbox.poll(Waker::noop(), &mut events).is_pending());
    }
}
