//! ListOffsets: where a partition starts, ends, or reaches a time. Kafka: `ReplicaManager.fetchOffset`, `Partition.fetchOffsetForTimestamp`.

use crate::answer::Handled;
use crate::context::Context;
use replica::PartitionError;
use std::collections::BTreeSet;
use storage::{Log, LogError};
use wire::ErrorCode;
use wire::messages::list_offsets_request::ListOffsetsPartition;
use wire::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use wire::messages::{ListOffsetsRequest, ListOffsetsResponse};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

const READ_UNCOMMITTED: i8 = 0;
const READ_COMMITTED: i8 = 1;

/// Who asks as a consumer; all others may see records before consumers do.
const CONSUMER: i32 = -1;

/// Where what the asker could fetch ends.
#[derive(Clone, Copy)]
enum Bound {
    HighWatermark,
    LastStable,
    LogEnd,
}

pub(super) fn handle(c: &mut Context, request: ListOffsetsRequest) -> Handled {
    let bound = match (request.replica_id, request.isolation_level) {
        (CONSUMER, READ_UNCOMMITTED) => Ok(Bound::HighWatermark),
        (CONSUMER, READ_COMMITTED) => Ok(Bound::LastStable),
        (_, READ_UNCOMMITTED | READ_COMMITTED) => Ok(Bound::LogEnd),
        // What Kafka makes of an isolation level that it does not know.
        _ => Err(ErrorCode::UnknownServerError),
    };
    let mut seen = BTreeSet::new();
    let mut duplicates = BTreeSet::new();
    for (topic, partition) in request.topics.iter().flat_map(|t| t.partitions.iter().map(|p| (&t.name, p.partition_index))) {
        if !seen.insert((topic, partition)) {
            duplicates.insert((topic, partition));
        }
    }
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|p| {
            let bound = match bound {
                Ok(bound) => bound,
                Err(error) => return refused(p, error),
            };
            if duplicates.contains(&(&topic.name, p.partition_index)) {
                return refused(p, ErrorCode::InvalidRequest);
            }
            partition(c, &topic.name, p, bound).unwrap_or_else(|error| refused(p, error.code))
        });
        ListOffsetsTopicResponse { name: topic.name.clone(), partitions: partitions.collect(), ..Default::default() }
    });
    let topics = topics.collect();
    c.answer(&ListOffsetsResponse { topics, ..Default::default() })
}

fn partition(c: &Context, topic: &str, asked: &ListOffsetsPartition, bound: Bound) -> Result<ListOffsetsPartitionResponse, PartitionError> {
    let needs_version = match asked.timestamp {
        MAX_TIMESTAMP => 7,
        EARLIEST_LOCAL => 8,
        LATEST_TIERED => 9,
        EARLIEST_PENDING_UPLOAD => 11,
        ..EARLIEST_PENDING_UPLOAD => i16::MAX,
        _ => 1,
    };
    if c.version() < needs_version {
        return Err(ErrorCode::UnsupportedVersion.into());
    }
    if c.image.topics.partition(topic, asked.partition_index).is_none() {
        return Err(ErrorCode::UnknownTopicOrPartition.into());
    }
    let partition = c.broker.replicas().get(topic, asked.partition_index).ok_or(ErrorCode::NotLeaderOrFollower)?;
    let leader_epoch = partition.leader_epoch();
    let found = partition.with_leader_log(Some(asked.current_leader_epoch), |log| look_up(log, asked.timestamp, bound, leader_epoch))??;
    Ok(ListOffsetsPartitionResponse {
        partition_index: asked.partition_index,
        timestamp: found.timestamp,
        offset: found.offset,
        leader_epoch: if c.version() >= 4 { found.leader_epoch.unwrap_or(-1) } else { -1 },
        ..Default::default()
    })
}

struct Found {
    timestamp: i64,
    offset: i64,
    leader_epoch: Option<i32>,
}

const NOTHING: Found = Found { timestamp: -1, offset: -1, leader_epoch: None };

fn look_up(log: &mut Log, timestamp: i64, bound: Bound, leader_epoch: i32) -> Result<Found, LogError> {
    let end = match bound {
        Bound::HighWatermark => log.high_watermark(),
        Bound::LastStable => log.last_stable_offset(),
        Bound::LogEnd => log.log_end_offset(),
    };
    let below_end = |found: Option<storage::TimestampOffset>| match found.filter(|f| f.offset < end) {
        Some(f) => Found { timestamp: f.timestamp, offset: f.offset, leader_epoch: f.leader_epoch },
        None => NOTHING,
    };
    Ok(match timestamp {
        LATEST => Found { timestamp: -1, offset: end, leader_epoch: Some(leader_epoch) },
        EARLIEST | EARLIEST_LOCAL => {
            let first = log.earliest_offset();
            Found { timestamp: -1, offset: first.offset, leader_epoch: first.leader_epoch }
        }
        MAX_TIMESTAMP => below_end(log.offset_of_max_timestamp()?),
        // Nothing is tiered, so there is no last tiered offset, and nothing waits to be uploaded.
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => NOTHING,
        at => below_end(log.offset_for_timestamp(at)?),
    })
}

fn refused(asked: &ListOffsetsPartition, error: ErrorCode) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse {
        partition_index: asked.partition_index,
        error_code: error.code(),
        timestamp: -1,
        offset: -1,
        ..Default::default()
    }
}
