//! Owns: everything of the client that waits: the network thread, connections, routing and metadata refresh.
//! Used by: Producer, Consumer, Admin. The decisions are in `core`.

pub mod cluster;
pub mod connection;
pub mod coordinator;
pub mod thread;
pub mod traffic;

pub use cluster::{CONTROLLERS, Cluster, Topics};
pub use coordinator::CoordinatorKind;
