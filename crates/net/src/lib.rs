//! Owns: sockets. Listeners, one current-thread runtime per core, the connection loop (the only place on the request path that
//! awaits), in-order answers, sendfile, connection limits.
//! Used by: `server`, which plugs the broker in as a `Service`. Never does: protocol logic; a frame is opaque bytes here, so the
//! crate is tested without a broker.
//! Kafka counterparts: `SocketServer`, `Acceptor`, `Processor`, `Selector`, `ConnectionQuotas`. Unlike Kafka a connection is not
//! muted while a request waits: the next request is handled at once, and answers leave in request order.
//!
//! Threads: connections are accepted on the first worker and handed to the worker with the fewest open ones. SO_REUSEPORT (an
//! accept queue per worker) was not chosen: the kernel spreads by address hash, so few connections can all land on one core, and a
//! second process of the same user could bind the same port unnoticed.

mod cold;
mod connection;
mod frame;
mod limits;
mod listener;
mod output;
mod service;
mod stats;
mod worker;

#[cfg(test)]
mod tests;

pub use limits::Limits;
pub use listener::{BoundListener, SocketOptions, bind};
pub use service::{Handled, Parked, Service, Session, SessionInfo, Waited};
pub use stats::{ApiSummary, ListenerStats, Stats};
pub use worker::{ListenerControl, Net, NetConfig};
