//! AlterPartitionReassignments and ListPartitionReassignments. Kafka: `ReplicationControlManager`,
//! `PartitionReassignmentRevert`; KIP-455, KIP-860.

use super::elections::situation;
use super::partitions::check_manual_assignment;
use super::{Context, Decided, Decision, MAX_RECORDS_PER_USER_OP};
use crate::change::{ChangeBuilder, Election};
use crate::seam::ControllerError;
use metadata::{Partition, Record, Topic};
use wire::ErrorCode;
use wire::messages::alter_partition_reassignments_request::ReassignablePartition;
use wire::messages::alter_partition_reassignments_response::{ReassignablePartitionResponse, ReassignableTopicResponse};
use wire::messages::list_partition_reassignments_response::{OngoingPartitionReassignment, OngoingTopicReassignment};
use wire::messages::*;

pub fn alter(ctx: &Context, request: &AlterPartitionReassignmentsRequest) -> Decided {
    let mut records = Vec::new();
    let mut responses = Vec::new();
    for topic in &request.topics {
        let mut partitions = Vec::new();
        for partition in &topic.partitions {
            let outcome = alter_one(ctx, &topic.name, partition, request.allow_replication_factor_change);
            let error = match outcome {
                Ok(record) => {
                    records.extend(record);
                    None
                }
                Err(error) => Some(error),
            };
            partitions.push(ReassignablePartitionResponse {
                partition_index: partition.partition_index,
                error_code: error.as_ref().map_or(0, |e| e.code.code()),
                error_message: error.and_then(|e| e.message),
                ..Default::default()
            });
        }
        responses.push(ReassignableTopicResponse { name: topic.name.clone(), partitions, ..Default::default() });
    }
    if records.len() > MAX_RECORDS_PER_USER_OP {
        let message = "Unable to perform excessively large batch operation.";
        return Err(ControllerError::new(ErrorCode::PolicyViolation, message));
    }
    let response = AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: request.allow_replication_factor_change,
        // As Kafka answers before it looks at anything.
        error_message: request.topics.is_empty().then(String::new),
        responses,
        ..Default::default()
    };
    Ok(Decision::atomic(records, response))
}

fn alter_one(
    ctx: &Context,
    name: &str,
    target: &ReassignablePartition,
    allow_factor_change: bool,
) -> Result<Option<Record>, ControllerError> {
    let unknown = |message: String| ControllerError::new(ErrorCode::UnknownTopicOrPartition, message);
    let topic = ctx.head.topics.get(name).ok_or_else(|| unknown(format!("Unable to find a topic named {name}.")))?;
    let index = target.partition_index;
    let partition = topic.partitions.get(&index).ok_or_else(|| unknown(format!("Unable to find partition {name}:{index}.")))?;
    let record = match &target.replicas {
        None => cancel(ctx, topic, index, partition)?,
        Some(replicas) => change(ctx, topic, index, partition, replicas, allow_factor_change)?,
    };
    Ok(record.map(Record::from))
}

/// Back to the replicas from before the reassignment.
fn cancel(ctx: &Context, topic: &Topic, index: i32, partition: &Partition) -> Result<Option<PartitionChangeRecord>, ControllerError> {
    if !partition.is_reassigning() {
        return Err(ErrorCode::NoReassignmentInProgress.into());
    }
    let was_there = |id: &i32| !partition.adding_replicas.contains(id);
    let replicas: Vec<i32> = partition.replicas.iter().copied().filter(was_there).collect();
    let mut isr: Vec<i32> = partition.isr.iter().copied().filter(was_there).collect();
    let unclean_enabled = ctx.settings.is_unclean_election_enabled(ctx.head, &topic.name);
    if isr.is_empty() {
        let invalid = |message: String| ControllerError::new(ErrorCode::InvalidReplicaAssignment, message);
        let first =
            replicas.first().ok_or_else(|| invalid("Invalid replica assignment: addingReplicas contains all replicas.".to_owned()))?;
        if !unclean_enabled {
            return Err(invalid(format!(
                "Unable to revert partition assignment for {}:{index} because it would require an unclean leader election.",
                topic.name
            )));
        }
        isr.push(*first);
    }
    let acceptable = |id: i32| ctx.head.cluster.is_active(id);
    let situation = situation(ctx, topic, partition, &acceptable);
    let mut builder = ChangeBuilder::new(&situation, partition);
    if unclean_enabled {
        builder.election = Election::Unclean;
    }
    builder.target_isr = isr;
    builder.target_replicas = replicas;
    builder.target_removing.clear();
    builder.target_adding.clear();
    Ok(builder.build(topic.id, index))
}

/// Adds the new replicas and marks the old; the rest happens as the new ones come into sync.
fn change(
    ctx: &Context,
    topic: &Topic,
    index: i32,
    partition: &Partition,
    target: &[i32],
    allow_factor_change: bool,
) -> Result<Option<PartitionChangeRecord>, ControllerError> {
    check_manual_assignment(ctx.head, target, None)?;
    let current = partition.replicas.iter().filter(|id| !partition.removing_replicas.contains(id)).count();
    if !allow_factor_change && current != target.len() {
        let message = format!("The replication factor is changed from {current} to {}", target.len());
        return Err(ControllerError::new(ErrorCode::InvalidReplicationFactor, message));
    }
    let difference = |a: &[i32], b: &[i32]| {
        let mut ids: Vec<i32> = a.iter().copied().filter(|id| !b.contains(id)).collect();
        ids.sort_unstable();
        ids
    };
    let removing = difference(&partition.replicas, target);
    let adding = difference(target, &partition.replicas);
    let acceptable = |id: i32| ctx.head.cluster.is_active(id);
    let situation = situation(ctx, topic, partition, &acceptable);
    let mut builder = ChangeBuilder::new(&situation, partition);
    builder.target_replicas = target.iter().chain(&removing).copied().collect();
    if !removing.is_empty() {
        builder.target_removing = removing;
    }
    if !adding.is_empty() {
        builder.target_adding = adding;
    }
    Ok(builder.build(topic.id, index))
}

pub fn list(ctx: &Context, request: &ListPartitionReassignmentsRequest) -> Decided {
    let topics: Vec<_> = match &request.topics {
        None => ctx.head.topics.iter().filter_map(|topic| ongoing(topic, topic.partitions.keys().copied())).collect(),
        Some(topics) => topics
            .iter()
            .filter_map(|wanted| ongoing(ctx.head.topics.get(&wanted.name)?, wanted.partition_indexes.iter().copied()))
            .collect(),
    };
    Ok(Decision::answer(ListPartitionReassignmentsResponse { error_message: None, topics, ..Default::default() }))
}

fn ongoing(topic: &Topic, partitions: impl Iterator<Item = i32>) -> Option<OngoingTopicReassignment> {
    let found: Vec<_> = partitions
        .filter_map(|index| Some((index, topic.partitions.get(&index).filter(|p| p.is_reassigning())?)))
        .map(|(partition_index, partition)| OngoingPartitionReassignment {
            partition_index,
            replicas: partition.replicas.clone(),
            adding_replicas: partition.adding_replicas.clone(),
            removing_replicas: partition.removing_replicas.clone(),
            ..Default::default()
        })
        .collect();
    (!found.is_empty()).then(|| OngoingTopicReassignment { name: topic.name.to_string(), partitions: found, ..Default::default() })
}
