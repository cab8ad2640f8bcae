//! What the logs of both coordinators say when a record cannot be appended.

use replica::Partition;
use wire::ErrorCode;

/// That another broker leads now, or none, is no trouble: the shard is given up as soon as its coordinator hears of it, and clients ask again.
/// Kafka: TransactionStateManager.appendTransactionToLog.
pub(crate) fn cannot_append(what: &'static str, partition: &Partition, error: ErrorCode) {
    let partition = &partition.topic_partition;
    match error {
        ErrorCode::NotLeaderOrFollower => tracing::debug!(%partition, %error, "{what} records cannot be appended"),
        _ => tracing::warn!(%partition, %error, "{what} records cannot be appended"),
    }
}
