//! OffsetCommit and TxnOffsetCommit: which records they write, and the answer.

use base::{Now, Uuid};
use wire::ErrorCode;
use wire::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use wire::messages::txn_offset_commit_response::{TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic};
use wire::messages::{OffsetCommitRequest, OffsetCommitResponse, TxnOffsetCommitRequest, TxnOffsetCommitResponse};

use super::OffsetAndMetadata;
use crate::group::consumer::CommitCheck;
use crate::output::CoordinatorRecord;
use crate::records;

#[derive(Debug)]
pub(crate) struct Committed<R> {
    pub(crate) records: Vec<CoordinatorRecord>,
    pub(crate) response: R,
}

/// The member is already validated. `RetentionTimeMs` of old clients gives the offsets a time of their own to expire at.
pub(crate) fn decide_commit(
    now: Now,
    request: &OffsetCommitRequest,
    metadata_max_bytes: i32,
    check: &CommitCheck,
) -> Result<Committed<OffsetCommitResponse>, ErrorCode> {
    let expire_timestamp_ms = (request.retention_time_ms != -1).then(|| now.wall_ms.saturating_add(request.retention_time_ms));
    let partitions = request.topics.iter().map(|topic| topic.partitions.len()).sum();
    let mut records = Vec::with_capacity(partitions);
    let mut response = OffsetCommitResponse { topics: Vec::with_capacity(request.topics.len()), ..Default::default() };
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let metadata = partition.committed_metadata.as_deref().unwrap_or_default();
            let error = check_metadata(metadata, metadata_max_bytes);
            if error == ErrorCode::None {
                check.partition(topic.topic_id, partition.partition_index)?;
                let offset = OffsetAndMetadata {
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: metadata.into(),
                    commit_timestamp_ms: now.wall_ms,
                    expire_timestamp_ms,
                    record_offset: -1,
                    topic_id: topic.topic_id,
                };
                records
                    .push(records::offset_commit(&request.group_id, &topic.name, partition.partition_index, &offset).map_err(unencodable)?);
            }
            partitions.push(OffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code: error.code(),
                ..Default::default()
            });
        }
        let name = topic.name.clone();
        response.topics.push(OffsetCommitResponseTopic { name, topic_id: topic.topic_id, partitions, ..Default::default() });
    }
    Ok(Committed { records, response })
}

pub(crate) fn decide_txn_commit(
    now: Now,
    request: &TxnOffsetCommitRequest,
    metadata_max_bytes: i32,
    check: &CommitCheck,
    topic_id: impl Fn(&str) -> Option<Uuid>,
) -> Result<Committed<TxnOffsetCommitResponse>, ErrorCode> {
    let partitions = request.topics.iter().map(|topic| topic.partitions.len()).sum();
    let mut records = Vec::with_capacity(partitions);
    let mut response = TxnOffsetCommitResponse { topics: Vec::with_capacity(request.topics.len()), ..Default::default() };
    for topic in &request.topics {
        let known_id = topic_id(&topic.name);
        if known_id.is_none() && !check.is_nothing() {
            return Err(ErrorCode::IllegalGeneration);
        }
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let metadata = partition.committed_metadata.as_deref().unwrap_or_default();
            let error = check_metadata(metadata, metadata_max_bytes);
            if error == ErrorCode::None {
                check.partition(known_id.unwrap_or_default(), partition.partition_index)?;
                let offset = OffsetAndMetadata {
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: metadata.into(),
                    commit_timestamp_ms: now.wall_ms,
                    expire_timestamp_ms: None,
                    record_offset: -1,
                    topic_id: Uuid::ZERO,
                };
                records
                    .push(records::offset_commit(&request.group_id, &topic.name, partition.partition_index, &offset).map_err(unencodable)?);
            }
            partitions.push(TxnOffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code: error.code(),
                ..Default::default()
            });
        }
        response.topics.push(TxnOffsetCommitResponseTopic { name: topic.name.clone(), partitions, ..Default::default() });
    }
    Ok(Committed { records, response })
}

fn unencodable(error: wire::EncodeError) -> ErrorCode {
    tracing::error!(%error, "an offset cannot be stored");
    ErrorCode::UnknownServerError
}

/// Kafka measures the metadata in UTF-16 units, which are never more than the bytes.
fn check_metadata(metadata: &str, max: i32) -> ErrorCode {
    let max = usize::try_from(max).unwrap_or(0);
    if metadata.len() > max && metadata.encode_utf16().count() > max { ErrorCode::OffsetMetadataTooLarge } else { ErrorCode::None }
}
