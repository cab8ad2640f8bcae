//! What becomes of a request: an answer now, none at all, or a wait.

use crate::Broker;
use base::{Instant, Now, Segment};
use std::task::Waker;
use wire::{ApiKey, Message};

/// A whole response frame, its length in front, ready to be written in order.
#[derive(Debug)]
pub struct Response {
    pub frame: Vec<Segment>,
    pub(crate) key: ApiKey,
    pub(crate) errors: ErrorCounts,
    /// There is no answer; the connection closes, and this says why.
    pub closes: Option<String>,
}

impl Response {
    /// The end of a request that waited and has no answer: Produce with acks=0. Without a reason to close the connection goes on.
    pub(crate) fn nothing(key: ApiKey, closes: Option<String>) -> Self {
        Response { frame: Vec::new(), key, errors: ErrorCounts::default(), closes }
    }
}

impl IntoIterator for Response {
    type Item = Segment;
    type IntoIter = std::vec::IntoIter<Segment>;

    fn into_iter(self) -> Self::IntoIter {
        self.frame.into_iter()
    }
}

/// The error codes of a response with their numbers, for the metrics; most responses have none but `NONE`.
#[derive(Debug, Default)]
pub(crate) struct ErrorCounts {
    pub none: u64,
    pub others: Vec<(i16, u64)>,
}

impl ErrorCounts {
    fn of<M: Message>(body: &M) -> Self {
        let mut counts = ErrorCounts::default();
        body.error_codes(&mut |code| match code {
            0 => counts.none += 1,
            code => match counts.others.iter_mut().find(|(known, _)| *known == code) {
                Some((_, n)) => *n += 1,
                None => counts.others.push((code, 1)),
            },
        });
        counts
    }
}

pub enum Handled {
    Response(Response),
    /// Produce with acks=0.
    NoResponse,
    Parked(Parked),
    /// Answer what came before, then close. The text says why.
    Close(String),
}

/// A request that waits: Kafka's delayed operations.
pub struct Parked {
    wait: Box<dyn Wait>,
    deadline: Instant,
}

/// A wait looks again whenever it is polled: its waker fired, its deadline passed, or for no reason.
pub(crate) trait Wait: Send {
    /// Must answer once `now` has reached the deadline it was parked with.
    fn poll(&mut self, broker: &Broker, now: Now, waker: &Waker) -> Option<Response>;

    /// When it wants to be polled again before its deadline.
    fn polled_again_at(&self) -> Option<Instant> {
        None
    }

    /// Whether the next request of the connection has to wait until this one has gone on: it is not where it has an effect yet.
    fn holds_next(&self) -> bool {
        false
    }
}

impl Parked {
    pub(crate) fn new(wait: impl Wait + 'static, deadline: Instant) -> Self {
        Parked { wait: Box::new(wait), deadline }
    }

    pub fn poll(&mut self, broker: &Broker, now: Now, waker: &Waker) -> Option<Response> {
        let response = self.wait.poll(broker, now, waker)?;
        broker.metrics().count_errors(&response);
        Some(response)
    }

    /// When it has to be polled, whether it is woken or not.
    pub fn deadline(&self) -> Instant {
        self.wait.polled_again_at().map_or(self.deadline, |at| at.min(self.deadline))
    }

    /// Whether the next request of the connection must not overtake this one.
    pub fn holds_next(&self) -> bool {
        self.wait.holds_next()
    }
}

/// Which request an answer belongs to, and how it is encoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplyTo {
    pub key: ApiKey,
    pub version: i16,
    pub correlation_id: i32,
}

impl ReplyTo {
    /// Encodes an answer. One that this version cannot carry is a defect of the handler: it is logged, and the client sees a timeout
    /// instead of a lie.
    pub fn encode<M: Message>(self, body: &M) -> Option<Response> {
        match wire::encode_response(self.key, self.version, self.correlation_id, body) {
            Ok(frame) => Some(Response { frame, key: self.key, errors: ErrorCounts::of(body), closes: None }),
            Err(error) => {
                tracing::error!(api = self.key.name(), version = self.version, %error, "response cannot be encoded");
                None
            }
        }
    }

    pub fn answer<M: Message>(self, body: &M) -> Handled {
        match self.encode(body) {
            Some(response) => Handled::Response(response),
            None => Handled::Close(format!("the {} response cannot be encoded at version {}", self.key.name(), self.version)),
        }
    }

    /// Answers now if the wait is already over, else parks it.
    pub fn park(self, mut wait: impl Wait + 'static, broker: &Broker, now: Now, waker: &Waker, deadline: Instant) -> Handled {
        match wait.poll(broker, now, waker) {
            Some(Response { closes: Some(reason), .. }) => Handled::Close(reason),
            Some(response) if response.frame.is_empty() => Handled::NoResponse,
            Some(response) => Handled::Response(response),
            None => Handled::Parked(Parked::new(wait, deadline)),
        }
    }
}
