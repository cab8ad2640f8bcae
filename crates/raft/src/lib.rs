//! Owns: KRaft as a state machine without I/O of its own: roles, elections, the voter set, the high watermark, control records,
//! the file images of quorum-state, snapshots (`.checkpoint`) and bootstrap.checkpoint.
//! Used by: controller (drives `Node`), server (implements `RaftLog` on storage and disk), cli (format, dump).
//! Never does: sockets, threads, clock reads; it knows nothing of what the data records mean. It reaches the log and its snapshots
//! only through `RaftLog`.
//! Kafka: `KafkaRaftClient`, `QuorumState`, `LeaderState`, `VoterSet`, `KafkaRaftLog`, `RecordsSnapshotWriter`; KIP-595, KIP-630, KIP-853.

pub mod batch;
pub mod log;
pub mod memory;
pub mod node;
pub mod quorum_state;
pub mod role;
pub mod snapshot;
pub mod voters;

pub use batch::{Content, ControlRecord, LogBatch};
pub use log::{OffsetAndEpoch, RaftLog};
pub use memory::MemoryLog;
pub use node::{Config, Durability, Effects, Event, Node, RaftError};
pub use quorum_state::ElectionState;
pub use role::Role;
pub use voters::{Endpoint, KRaftVersion, ReplicaKey, Voter, VoterSet};

#[cfg(test)]
mod tests;
