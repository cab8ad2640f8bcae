//! Owns: the transaction coordinator as a pure state machine. One `TxnShard` is one partition of `__transaction_state`.
//! Used by: the broker, which drives it: appends what it asks for, writes the markers it names, parks requests, hands in fresh producer ids.
//! Never does: clock reads, I/O, threads, locks. Kafka: TransactionCoordinator, TransactionStateManager, TransactionMetadata, TransactionLog.
//!
//! A transition is decided against the state that is at the high watermark, its record appended, and it takes effect when the high watermark
//! has passed the record; until then the transactional id is pending, and everybody else is told CONCURRENT_TRANSACTIONS. A failed append so
//! leaves the state as it was. Preparing a commit or an abort answers the client; the markers follow, and the record that completes the
//! transaction is appended when every partition has its marker.

mod add;
mod end;
mod init;
mod metadata;
#[cfg(test)]
mod model;
mod output;
mod records;
mod shard;
#[cfg(test)]
mod tests;
mod view;

pub use init::InitProducerId;
pub use metadata::TxnStatus;
pub use output::{AppendRecords, MarkerTask, TxnAppend, TxnLog, TxnOutput, TxnReply, TxnStep, drive};
pub use shard::{TxnConfig, TxnShard};
pub use view::{ListFilter, TxnView};
