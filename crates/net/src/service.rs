//! The seam to whatever answers requests. `server` implements it with the broker, tests with a script.

use base::{Instant, Now, Segment};
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Waker;

/// What is known about a connection when it opens.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    pub peer: SocketAddr,
    pub local: SocketAddr,
    /// The name of the listener it arrived at, e.g. `PLAINTEXT`.
    pub listener: Arc<str>,
    /// Unique within the process.
    pub id: u64,
}

/// Shared by all workers.
pub trait Service: Send + Sync + 'static {
    fn open_session(&self, info: SessionInfo) -> Box<dyn Session>;
}

/// The state of one connection. Lives on one worker thread and is dropped when the connection closes.
pub trait Session {
    /// Handles one request to its end or parks it; must not block on anything slower than the page cache. `frame` comes without
    /// its length prefix. `waker` makes the connection poll its parked requests again; it may be fired from any thread.
    fn handle(&mut self, now: Now, frame: Bytes, waker: &Waker) -> Handled;
}

pub enum Handled {
    /// The whole response, length prefix included.
    Response(Vec<Segment>),
    /// The request has no response (Produce with acks=0).
    NoResponse,
    Parked(Box<dyn Parked>),
    /// Answer what came before, then close. The text goes to the log.
    Close(String),
}

pub enum Waited {
    Waiting,
    /// The whole response, length prefix included.
    Answered(Vec<Segment>),
    /// It will never be answered: answer what came before, then close. The text goes to the log.
    Close(String),
}

/// A request that waits (Kafka's delayed operations). Dropped unanswered when the connection closes.
pub trait Parked {
    /// Called whenever the waker fired or the deadline passed, and at other times too.
    fn poll(&mut self, now: Now, waker: &Waker) -> Waited;
    fn deadline(&self) -> Instant;

    /// Whether the next request of the connection has to wait for this one, because it must not overtake it. May turn false, not true.
    fn holds_next(&self) -> bool {
        false
    }
}
