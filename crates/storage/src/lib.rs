//! Owns: what a broker keeps in a partition's directory — segments, indexes, producer state, epoch cache, topic id.
//! Used by: replica (topic partitions), server (the metadata log, the checkpoints of a log directory), dump-log.
//! Never does: threads, clock reads, locking of logs (a `Log` is owned by whoever wraps it in a lock), replication decisions.
//! Kafka: UnifiedLog, LocalLog, LogSegment, LogLoader, ProducerStateManager, LeaderEpochFileCache.

pub mod checkpoint;
pub mod cleaner;
pub mod config;
pub mod epoch_cache;
mod error;
pub mod index;
mod lazy_file;
pub mod log;
pub mod partition_metadata;
pub mod producer_snapshot;
pub mod producer_state;
mod recovery;
mod scan;
mod segment;
mod verification;

pub use config::LogConfig;
pub use error::{AppendError, LogError, ReadError};
pub use log::{AppendInfo, Deleted, FlushJob, IdentityJob, Log, LogOpen, LogRead, ReadLimit, TimestampOffset, unlink};
pub use record::{Compression, Origin as AppendOrigin, RecordErrorDetail, TargetCompression, TimestampType};
pub use recovery::{Recovered, RecoveryProgress};
pub use verification::{Verification, VerificationGuard};
