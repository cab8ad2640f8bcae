//! Owns: the group coordinator as a pure state machine. One `Shard` is one partition of `__consumer_offsets`: classic groups, committed
//! offsets, and every other kind of group that Kafka stores there.
//! Used by: the broker, which drives it (see `output`). Never does: clock reads, I/O, threads, locks; what it knows of the cluster is handed in.
//! Kafka: GroupCoordinatorService, GroupCoordinatorShard, GroupMetadataManager, OffsetMetadataManager.
//!
//! The map: `shard` takes the requests; `group/classic`, `group/consumer` and `offsets` decide; `records` is the format on disk; `timers` are data;
//! `errors` and `assemble` help the broker to answer what no shard can, and what several shards answer together.

pub mod assemble;
mod assignor;
mod cluster;
pub mod config;
pub mod errors;
#[cfg(test)]
mod golden_tests;
mod group;
pub mod metadata_hash;
#[cfg(test)]
mod model;
mod offsets;
pub mod output;
mod records;
pub mod regex;
#[cfg(test)]
mod seeds;
mod shard;
#[cfg(test)]
mod testing;
mod timers;
pub mod txn;

pub use config::{Bounded, GroupConfig, MigrationPolicy};
pub use output::{Append, CoordinatorRecord, Output, Producer, Reply, RequestContext, ShardLog, Token, drive};
pub use records::ReplayError;
pub use shard::{Resolution, Resolved, Shard};
