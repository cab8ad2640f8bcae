//! Owns: the partitions of this broker: which it leads, their logs, in-sync replicas, high watermarks, and who waits for them.
//! Used by: broker (all handlers that touch records), server (opening, housekeeping, clean stop).
//! Never does: threads, clock reads, network. Locks: one mutex per partition, never two at once.
//! Kafka counterpart: `ReplicaManager`, `Partition`, `LogManager`, the purgatories for Produce and Fetch.

mod checkpoints;
mod error;
mod flush;
mod held;
mod log_config;
mod moves;
mod partition;
mod set;
mod space;
mod traffic;
mod watch;

pub use checkpoints::Checkpoints;
pub use error::PartitionError;
pub use flush::{FlushQueue, Flushed, Progress};
pub use log_config::log_config;
pub use moves::{FutureReplica, MoveError};
pub use partition::{Acks, FetchRead, Partition, PartitionAppend};
pub use set::{LogDir, OpenTask, PartitionSet, Topic};
pub use space::{Level, RoomFacts, SpacePolicy};
pub use traffic::{Count, Traffic};
pub use watch::{Watch, WatchId};
