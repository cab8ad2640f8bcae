//! Hot path. One connection: the only loop of the broker that waits for a socket.
//!
//! A turn of the loop: poll what is parked, handle the frames that are there, write the answers that are next in order, read more.
//! Requests are handled in the order they came and answered in that order, but the next one is handled while earlier ones wait,
//! except for those that say that they must not be overtaken.
//! At most `UNANSWERED_MAX` requests are unanswered; then reading stops, so a client that does not read its answers is held back
//! by its own socket.

use crate::frame::FrameReader;
use crate::limits::Permit;
use crate::listener::Admission;
use crate::output::{Flushed, Output};
use crate::service::{Handled, Parked, Session, Waited};
use crate::stats::{ListenerStats, ParkedCount, Stats, Timing};
use crate::worker::Worker;
use base::{Instant, Now, Segment};
use bytes::Bytes;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// Answers a connection may owe before it is no longer read.
pub(crate) const UNANSWERED_MAX: usize = 16;
/// After this much work a connection lets the others of its worker run.
const FRAMES_PER_TURN: usize = 64;
const BYTES_PER_TURN: usize = 4 * 1024 * 1024;

pub(crate) enum Closed {
    ByPeer,
    Idle,
    Stopping,
    Failed(io::Error),
    /// By the service or because of a malformed frame; the text is for the log.
    Refused(String),
}

enum Slot {
    Ready(Vec<Segment>, Timing),
    Parked(Waiting),
    /// Earlier answers leave, then the connection closes.
    Close(String),
}

struct Waiting {
    parked: Box<dyn Parked>,
    timing: Timing,
    _count: ParkedCount,
}

pub(crate) struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    session: Box<dyn Session>,
    input: FrameReader,
    slots: VecDeque<Slot>,
    output: Output,
    /// The output goes on when others had their turn.
    yields: bool,
    last_active: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    timer_at: Instant,
    /// No more frames will be handled: the peer is done sending, or the connection is about to close.
    input_done: bool,
    key: u64,
    /// What the worker knows it by.
    waker: Option<Waker>,
    worker: Rc<Worker>,
    listener: Arc<ListenerStats>,
    listener_closed: Arc<AtomicBool>,
    _permit: Permit,
}

impl Connection {
    pub(crate) fn new(
        stream: TcpStream,
        peer: SocketAddr,
        session: Box<dyn Session>,
        key: u64,
        worker: Rc<Worker>,
        admission: Admission,
    ) -> Self {
        let last_active = (worker.clock.mono)();
        Self {
            stream,
            peer,
            session,
            input: FrameReader::default(),
            slots: VecDeque::new(),
            output: Output::default(),
            yields: false,
            last_active,
            timer: None,
            timer_at: Instant::FAR_FUTURE,
            input_done: false,
            key,
            waker: None,
            worker,
            listener: admission.stats,
            listener_closed: admission.closed,
            _permit: admission.permit,
        }
    }

    fn mono(&self) -> Instant {
        (self.worker.clock.mono)()
    }

    fn unanswered(&self) -> usize {
        self.slots.len() + self.output.responses()
    }

    fn may_read(&self) -> bool {
        !self.input_done && self.unanswered() < UNANSWERED_MAX && !self.is_held() && !self.is_stopping()
    }

    /// While a request holds the next one back, no other comes after it: only the last can.
    fn is_held(&self) -> bool {
        matches!(self.slots.back(), Some(Slot::Parked(waiting)) if waiting.parked.holds_next())
    }

    fn is_stopping(&self) -> bool {
        self.worker.stopping.get() || self.listener_closed.load(Relaxed)
    }

    fn turn(&mut self, begin: Now, cx: &mut Context<'_>) -> Poll<Closed> {
        let mut now = begin;
        self.poll_parked(now, cx.waker());
        let mut frames = 0;
        let mut bytes = 0;
        loop {
            let mut drained = false;
            while self.may_read() && frames < FRAMES_PER_TURN && bytes < BYTES_PER_TURN {
                match self.input.next_frame(self.worker.request_max_bytes) {
                    Ok(Some(frame)) => {
                        frames += 1;
                        bytes += frame.len();
                        now = begin.at(self.mono());
                        self.handle(now, frame, cx.waker());
                    }
                    Ok(None) => {
                        drained = true;
                        break;
                    }
                    Err(e) => self.refuse(e.to_string()),
                }
            }
            if let Some(closed) = self.write(now, cx) {
                return Poll::Ready(closed);
            }
            if std::mem::take(&mut self.yields) {
                yield_turn(cx);
                break;
            }
            if !self.may_read() {
                break;
            }
            if frames >= FRAMES_PER_TURN || bytes >= BYTES_PER_TURN {
                yield_turn(cx);
                break;
            }
            if !drained {
                // The limit of unanswered requests held back frames that are here already; answers have left since.
                continue;
            }
            match self.input.fill(&mut self.stream, &self.worker.pool, self.worker.request_max_bytes, cx) {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => self.input_done = true,
                Poll::Ready(Ok(n)) => {
                    Stats::add(&self.listener.bytes_in, n);
                    self.last_active = now.mono;
                }
                Poll::Ready(Err(e)) => return Poll::Ready(Closed::Failed(e)),
            }
        }
        if self.unanswered() == 0 {
            if self.is_stopping() {
                return Poll::Ready(Closed::Stopping);
            }
            if self.input_done {
                return Poll::Ready(Closed::ByPeer);
            }
        }
        if !self.may_read() {
            self.input.release(&self.worker.pool);
        }
        self.wait_until(now, cx)
    }

    fn handle(&mut self, now: Now, frame: Bytes, waker: &Waker) {
        let mut timing = Timing::begin(&frame, now.mono);
        let handled = catch_unwind(AssertUnwindSafe(|| self.session.handle(now, frame, waker)));
        timing.handled = self.mono();
        timing.answered = timing.handled;
        match handled {
            Ok(Handled::Response(response)) if self.slots.is_empty() => self.output.push(response, timing),
            Ok(Handled::Response(response)) => self.slots.push_back(Slot::Ready(response, timing)),
            Ok(Handled::NoResponse) => timing.done(&self.worker.own, timing.handled),
            Ok(Handled::Parked(parked)) => {
                let count = ParkedCount::new(&self.worker.own, timing.key);
                self.slots.push_back(Slot::Parked(Waiting { parked, timing, _count: count }));
            }
            Ok(Handled::Close(reason)) => self.refuse(reason),
            Err(_) => self.panicked(Some(timing.key)),
        }
    }

    fn poll_parked(&mut self, now: Now, waker: &Waker) {
        for i in 0..self.slots.len() {
            let Some(Slot::Parked(waiting)) = self.slots.get_mut(i) else { continue };
            match catch_unwind(AssertUnwindSafe(|| waiting.parked.poll(now, waker))) {
                Ok(Waited::Answered(response)) => {
                    let timing = Timing { answered: now.mono.max(waiting.timing.handled), ..waiting.timing };
                    self.slots[i] = Slot::Ready(response, timing);
                }
                Ok(Waited::Waiting) => {}
                Ok(Waited::Close(reason)) => {
                    self.slots.truncate(i);
                    self.refuse(reason);
                    return;
                }
                Err(_) => {
                    self.slots.truncate(i);
                    self.panicked(None);
                    return;
                }
            }
        }
    }

    fn refuse(&mut self, reason: String) {
        self.input_done = true;
        self.slots.push_back(Slot::Close(reason));
    }

    /// The panic hook has logged where and why.
    fn panicked(&mut self, api_key: Option<i16>) {
        Stats::add(&self.worker.stats.panics, 1);
        tracing::error!(peer = %self.peer, api_key, "a request handler panicked; its connection is closed");
        self.refuse("a request handler panicked".into());
    }

    /// Writes the answers that are next in order.
    fn write(&mut self, now: Now, cx: &mut Context<'_>) -> Option<Closed> {
        let mut close = None;
        loop {
            match self.slots.front() {
                Some(Slot::Ready(..)) => {
                    if let Some(Slot::Ready(response, timing)) = self.slots.pop_front() {
                        self.output.push(response, timing);
                    }
                }
                Some(Slot::Close(reason)) => {
                    close = Some(reason.clone());
                    break;
                }
                Some(Slot::Parked(_)) | None => break,
            }
        }
        if self.output.is_empty() {
            return close.map(Closed::Refused);
        }
        let mut written = 0;
        let flushed = self.output.flush(&self.stream, &self.worker.cold, cx, &mut written);
        if written > 0 {
            Stats::add(&self.listener.bytes_out, written);
            self.last_active = now.mono;
        }
        self.count_written();
        match flushed {
            Ok(Flushed::All) => close.map(Closed::Refused),
            Ok(Flushed::Waiting) => None,
            Ok(Flushed::Yielded) => {
                self.yields = true;
                None
            }
            Err(e) => Some(Closed::Failed(e)),
        }
    }

    fn count_written(&mut self) {
        let Some(first) = self.output.pop_written() else { return };
        let now = self.mono();
        first.done(&self.worker.own, now);
        while let Some(next) = self.output.pop_written() {
            next.done(&self.worker.own, now);
        }
    }

    /// Sleeps until a parked request is due or the connection has been idle for too long.
    fn wait_until(&mut self, now: Now, cx: &mut Context<'_>) -> Poll<Closed> {
        let mut due = Instant::FAR_FUTURE;
        let mut parked = false;
        for slot in &self.slots {
            if let Slot::Parked(waiting) = slot {
                due = due.min(waiting.parked.deadline());
                parked = true;
            }
        }
        // A connection whose request waits is not idle; one whose peer stopped reading its answers is.
        if !parked && let Some(idle_max) = self.worker.idle_max {
            let idle_at = self.last_active + idle_max;
            if idle_at <= now.mono {
                Stats::add(&self.listener.expired_idle, 1);
                return Poll::Ready(Closed::Idle);
            }
            due = due.min(idle_at);
        }
        if due == Instant::FAR_FUTURE {
            return Poll::Pending;
        }
        // At least a millisecond: a request that is due and still does not answer must not spin.
        let due = due.max(now.mono + Duration::from_millis(1));
        loop {
            if due < self.timer_at {
                let at = tokio::time::Instant::now() + (due - now.mono);
                match &mut self.timer {
                    Some(timer) => timer.as_mut().reset(at),
                    None => self.timer = Some(Box::pin(tokio::time::sleep_until(at))),
                }
                self.timer_at = due;
            }
            let Some(timer) = &mut self.timer else { return Poll::Pending };
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            // It was set for an earlier deadline than there is now, or the time has come: set it anew; a due request is polled then.
            self.timer_at = Instant::FAR_FUTURE;
            if due <= self.mono() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }
}

/// Has the task polled again behind all others that are ready, those whose sockets have become ready meanwhile among them.
fn yield_turn(cx: &mut Context<'_>) {
    let mut yielded = std::pin::pin!(tokio::task::yield_now());
    // The first poll leaves the waker.
    let _ = yielded.as_mut().poll(cx);
}

impl Future for Connection {
    type Output = Closed;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Closed> {
        let this = self.get_mut();
        if this.waker.as_ref().is_none_or(|known| !known.will_wake(cx.waker())) {
            this.worker.register(this.key, cx.waker());
            this.waker = Some(cx.waker().clone());
        }
        let begin = (this.worker.clock.now)();
        let turned = this.turn(begin, cx);
        this.worker.own.busy(this.mono() - begin.mono);
        turned
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.worker.deregister(self.key);
        self.listener.closed.fetch_add(1, Relaxed);
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Closed::ByPeer => f.write_str("closed by the peer"),
            Closed::Idle => f.write_str("idle for longer than connections.max.idle.ms"),
            Closed::Stopping => f.write_str("the node stops"),
            Closed::Failed(e) => write!(f, "{e}"),
            Closed::Refused(reason) => f.write_str(reason),
        }
    }
}
