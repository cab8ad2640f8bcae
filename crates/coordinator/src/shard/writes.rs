//! Owns: what waits for the high watermark: completions of writes, and reads that must not run ahead of them.

use std::collections::VecDeque;

use base::Instant;

use crate::output::Completion;

#[derive(Debug)]
struct Waiting {
    /// Done when the high watermark reaches this offset.
    offset: i64,
    deadline: Instant,
    completion: Completion,
}

#[derive(Debug, Default)]
pub(super) struct Writes {
    /// Ordered by offset, and so by deadline.
    waiting: VecDeque<Waiting>,
    /// The end of the last write.
    written: i64,
    high_watermark: i64,
}

impl Writes {
    pub(super) fn start(&mut self, log_end_offset: i64, high_watermark: i64) {
        self.written = log_end_offset;
        self.high_watermark = high_watermark;
    }

    /// Whether all that was written is committed, so that a read may be answered now.
    pub(super) fn is_settled(&self) -> bool {
        self.high_watermark >= self.written
    }

    pub(super) fn wrote(&mut self, end_offset: i64) {
        self.written = self.written.max(end_offset);
    }

    /// Runs `completion` when everything written so far is committed.
    pub(super) fn wait(&mut self, completion: Completion, deadline: Instant) {
        self.waiting.push_back(Waiting { offset: self.written, deadline, completion });
    }

    /// What the oldest of those that wait, waits for.
    pub(super) fn awaited(&self) -> Option<i64> {
        self.waiting.front().map(|waiting| waiting.offset)
    }

    pub(super) fn advance(&mut self, high_watermark: i64) {
        self.high_watermark = self.high_watermark.max(high_watermark);
    }

    pub(super) fn pop_committed(&mut self) -> Option<Completion> {
        if self.waiting.front()?.offset > self.high_watermark {
            return None;
        }
        self.pop_any()
    }

    pub(super) fn pop_timed_out(&mut self, now: Instant) -> Option<Completion> {
        if self.next_deadline() > now {
            return None;
        }
        self.pop_any()
    }

    pub(super) fn pop_any(&mut self) -> Option<Completion> {
        self.waiting.pop_front().map(|w| w.completion)
    }

    pub(super) fn next_deadline(&self) -> Instant {
        self.waiting.front().map_or(Instant::FAR_FUTURE, |w| w.deadline)
    }
}
