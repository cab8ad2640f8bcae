//! Owns: what the error codes of a produce answer mean to the producer. Used by: the accumulator. Kafka: `Sender.completeBatch`, `failBatch`.

use super::PartitionAnswer;
use crate::core::batch::{BatchFailure, ProducerBatch};
use crate::error::Error;
use wire::ErrorCode;

/// Errors after which the client's picture of the cluster is stale (`InvalidMetadataException`).
pub fn is_metadata_error(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::UnknownTopicOrPartition
            | ErrorCode::LeaderNotAvailable
            | ErrorCode::NotLeaderOrFollower
            | ErrorCode::ReplicaNotAvailable
            | ErrorCode::NetworkException
            | ErrorCode::KafkaStorageError
            | ErrorCode::ListenerNotFound
            | ErrorCode::FencedLeaderEpoch
            | ErrorCode::UnknownTopicId
            | ErrorCode::InconsistentTopicId
    )
}

/// After these an idempotent producer cannot send anything any more.
pub fn is_fatal(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::ClusterAuthorizationFailed
            | ErrorCode::TransactionalIdAuthorizationFailed
            | ErrorCode::ProducerFenced
            | ErrorCode::UnsupportedVersion
    )
}

pub fn failure(code: ErrorCode, answer: &PartitionAnswer, topic: &str, batch: &ProducerBatch) -> BatchFailure {
    let text = match code {
        ErrorCode::TopicAuthorizationFailed => Some(format!("Not authorized to access topics: [{topic}]")),
        ErrorCode::ClusterAuthorizationFailed => Some("The producer is not authorized to do idempotent sends".to_owned()),
        _ => answer.message.clone(),
    };
    let whole = Error::broker(code, text);
    if answer.record_errors.is_empty() {
        return BatchFailure { error: whole, by_record: Vec::new() };
    }
    let single = answer.record_errors.len() == 1;
    let by_record = answer.record_errors.iter().filter(|(index, _)| (0..batch.count).contains(index)).map(|(index, message)| {
        let text = message.clone().or_else(|| answer.message.clone());
        (*index as u32, Error::broker(if single { code } else { ErrorCode::InvalidRecord }, text))
    });
    let others = "Failed to append record because it was part of a batch which had one more more invalid records";
    BatchFailure { by_record: by_record.collect(), error: Error::broker(code, Some(others.to_owned())) }
}
