//! CreatePartitions, and what creating partitions has in common everywhere. Kafka: `ReplicationControlManager.createPartitions`.

use super::{Context, Decided, Decision, MAX_RECORDS_PER_USER_OP};
use crate::change::default_directory;
use crate::placement;
use crate::seam::ControllerError;
use metadata::image::partition::LeaderRecoveryState;
use metadata::{Image, Partition, Record};
use std::collections::BTreeMap;
use wire::ErrorCode;
use wire::messages::create_partitions_request::CreatePartitionsTopic;
use wire::messages::create_partitions_response::CreatePartitionsTopicResult;
use wire::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

/// A partition as it starts: in sync are the active replicas, the first of them leads. `None` when no replica is active.
pub fn new_partition(image: &Image, replicas: Vec<i32>) -> Option<Partition> {
    let isr: Vec<i32> = replicas.iter().copied().filter(|id| image.cluster.is_active(*id)).collect();
    Some(Partition {
        leader: *isr.first()?,
        directories: replicas.iter().map(|id| default_directory(image, *id)).collect(),
        replicas,
        isr,
        removing_replicas: Vec::new(),
        adding_replicas: Vec::new(),
        elr: Vec::new(),
        last_known_elr: Vec::new(),
        leader_recovery_state: LeaderRecoveryState::Recovered,
        leader_epoch: 0,
        partition_epoch: 0,
    })
}

pub fn check_manual_assignment(image: &Image, replicas: &[i32], factor: Option<usize>) -> Result<(), ControllerError> {
    let invalid = |message: String| Err(ControllerError::new(ErrorCode::InvalidReplicaAssignment, message));
    if replicas.is_empty() {
        return invalid("The manual partition assignment includes an empty replica list.".to_owned());
    }
    let mut sorted = replicas.to_vec();
    sorted.sort_unstable();
    for (i, id) in sorted.iter().enumerate() {
        if image.cluster.broker(*id).is_none() {
            return invalid(format!("The manual partition assignment includes broker {id}, but no such broker is registered."));
        }
        if i > 0 && sorted[i - 1] == *id {
            return invalid(format!("The manual partition assignment includes the broker {id} more than once."));
        }
    }
    match factor {
        Some(factor) if factor != sorted.len() => invalid(format!(
            "The manual partition assignment includes a partition with {} replica(s), but this is not consistent with previous \
             partitions, which have {factor} replica(s).",
            sorted.len()
        )),
        _ => Ok(()),
    }
}

pub fn create(ctx: &Context, rng: &mut fastrand::Rng, request: &CreatePartitionsRequest) -> Decided {
    let mut seen = BTreeMap::<&str, usize>::new();
    for topic in &request.topics {
        *seen.entry(&topic.name).or_default() += 1;
    }
    let mut results: Vec<_> = seen
        .iter()
        .filter(|(_, count)| **count > 1)
        .map(|(name, _)| result(name, Some(ControllerError::new(ErrorCode::InvalidRequest, "Duplicate topic name."))))
        .collect();
    let mut records = Vec::new();
    for topic in request.topics.iter().filter(|topic| seen[topic.name.as_str()] == 1) {
        match create_one(ctx, rng, topic) {
            Ok(created) => {
                records.extend(created);
                results.push(result(&topic.name, None));
            }
            Err(error) => results.push(result(&topic.name, Some(error))),
        }
        if records.len() > MAX_RECORDS_PER_USER_OP {
            let message = "Unable to perform excessively large batch operation.";
            return Err(ControllerError::new(ErrorCode::PolicyViolation, message));
        }
    }
    if request.validate_only {
        records.clear();
    }
    Ok(Decision::atomic(records, CreatePartitionsResponse { results, ..Default::default() }))
}

fn result(name: &str, error: Option<ControllerError>) -> CreatePartitionsTopicResult {
    CreatePartitionsTopicResult {
        name: name.to_owned(),
        error_code: error.as_ref().map_or(0, |e| e.code.code()),
        // Kafka sends no text of its own here where the code says it all.
        error_message: error.and_then(|e| e.message),
        ..Default::default()
    }
}

fn create_one(ctx: &Context, rng: &mut fastrand::Rng, request: &CreatePartitionsTopic) -> Result<Vec<Record>, ControllerError> {
    let topic = ctx.head.topics.get(&request.name).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let existing = topic.partitions.len() as i32;
    let invalid = |message: String| Err(ControllerError::new(ErrorCode::InvalidPartitions, message));
    if request.count == existing {
        return invalid(format!("Topic already has {existing} partition(s)."));
    }
    if request.count < existing {
        return invalid(format!(
            "The topic {} currently has {existing} partition(s); {} would not be an increase.",
            request.name, request.count
        ));
    }
    let additional = (request.count - existing) as usize;
    if additional > MAX_RECORDS_PER_USER_OP {
        let message = "Unable to perform excessively large batch operation.";
        return Err(ControllerError::new(ErrorCode::PolicyViolation, message));
    }
    let factor = topic.partitions.values().next().map_or(1, |p| p.replicas.len());
    let partitions = match &request.assignments {
        Some(assignments) if assignments.len() != additional => {
            let message = format!(
                "Attempted to add {additional} additional partition(s), but only {} assignment(s) were specified.",
                assignments.len()
            );
            return Err(ControllerError::new(ErrorCode::InvalidReplicaAssignment, message));
        }
        Some(assignments) => {
            let mut partitions = Vec::new();
            for (id, assignment) in (existing..).zip(assignments) {
                check_manual_assignment(ctx.head, &assignment.broker_ids, Some(factor))?;
                partitions.push(new_partition(ctx.head, assignment.broker_ids.clone()).ok_or_else(|| {
                    let message = format!(
                        "All brokers specified in the manual partition assignment for partition {id} are fenced or in controlled shutdown."
                    );
                    ControllerError::new(ErrorCode::InvalidReplicaAssignment, message)
                })?);
            }
            partitions
        }
        None => {
            let bad = |message: String| ControllerError::new(ErrorCode::InvalidReplicationFactor, message);
            let placed = placement::place(ctx.head, ctx.heartbeats, rng, additional, factor as i16).map_err(bad)?;
            let none_active = || {
                bad(format!(
                    "Unable to replicate the partition {factor} time(s): All brokers are currently fenced or in controlled shutdown."
                ))
            };
            let partition = |replicas| new_partition(ctx.head, replicas).ok_or_else(none_active);
            placed.into_iter().map(partition).collect::<Result<Vec<_>, _>>()?
        }
    };
    Ok((existing..).zip(partitions).map(|(id, partition)| partition.to_record(topic.id, id).into()).collect())
}
