//! Leader elections: as brokers come and go, on request, and back to preferred leaders.
//! Kafka: `ReplicationControlManager.generateLeaderAndIsrUpdates`, `electLeaders`, `maybeBalancePartitionLeaders`.

use super::{Context, Decided, Decision, MAX_RECORDS_PER_USER_OP};
use crate::change::{ChangeBuilder, Election, Situation};
use crate::seam::ControllerError;
use metadata::{Partition, Record, Topic};
use wire::ErrorCode;
use wire::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use wire::messages::{ElectLeadersRequest, ElectLeadersResponse};

/// One periodic round of elections changes at most this many partitions.
pub const MAX_ELECTIONS_PER_ROUND: usize = 1_000;

/// A change of the set of brokers that is being decided and not yet in the image.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shift {
    /// Leaves ISRs and leads nothing.
    pub remove: Option<i32>,
    /// May lead although the image still shows it fenced.
    pub add: Option<i32>,
    /// Leaves ISRs and ELRs and leads nothing.
    pub unclean_shutdown: Option<i32>,
}

/// Adds the records by which partitions that `affected` names follow a shift.
pub fn leader_and_isr_updates(ctx: &Context, shift: Shift, records: &mut Vec<Record>, affected: impl Fn(&Partition) -> bool) {
    let leaves = |id: i32| Some(id) == shift.remove || Some(id) == shift.unclean_shutdown;
    let acceptable = |id: i32| !leaves(id) && (Some(id) == shift.add || ctx.head.cluster.is_active(id));
    for topic in ctx.head.topics.iter() {
        let mut unclean = None;
        for (id, partition) in topic.partitions.iter().filter(|(_, p)| affected(p)) {
            let situation = situation(ctx, topic, partition, &acceptable);
            let mut builder = ChangeBuilder::new(&situation, partition);
            if *unclean.get_or_insert_with(|| ctx.settings.is_unclean_election_enabled(ctx.head, &topic.name)) {
                builder.election = Election::Unclean;
            }
            builder.unclean_shutdown_replica = shift.unclean_shutdown;
            builder.target_isr.retain(|id| !leaves(*id));
            records.extend(builder.build(topic.id, *id).map(Record::from));
        }
    }
}

pub fn situation<'a>(ctx: &'a Context, topic: &Topic, partition: &Partition, acceptable: &'a dyn Fn(i32) -> bool) -> Situation<'a> {
    Situation {
        image: ctx.head,
        is_acceptable_leader: acceptable,
        min_isr: ctx.settings.effective_min_isr(ctx.head, &topic.name, partition),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ElectionType {
    Preferred,
    Unclean,
}

pub fn elect(ctx: &Context, request: &ElectLeadersRequest) -> Decided {
    let kind = match request.election_type {
        0 => ElectionType::Preferred,
        1 => ElectionType::Unclean,
        other => return Err(ControllerError::new(ErrorCode::InvalidRequest, format!("Unknown election type {other}"))),
    };
    let mut records = Vec::new();
    let mut results = Vec::new();
    match &request.topic_partitions {
        None => {
            for topic in ctx.head.topics.iter() {
                let all = topic.partitions.keys().map(|id| (*id, elect_one(ctx, &topic.name, *id, kind, &mut records)));
                // Partitions that already have the leader they should have are not worth mentioning.
                let told = all.filter(|(_, outcome)| outcome.as_ref().err().is_none_or(|e| e.code != ErrorCode::ElectionNotNeeded));
                results.push(topic_result(&topic.name, told.collect()));
            }
        }
        Some(topics) => {
            for topic in topics {
                let outcomes = topic.partitions.iter().map(|id| (*id, elect_one(ctx, &topic.topic, *id, kind, &mut records)));
                results.push(topic_result(&topic.topic, outcomes.collect()));
            }
        }
    }
    if records.len() > MAX_RECORDS_PER_USER_OP {
        let message = "Unable to perform excessively large batch operation.";
        return Err(ControllerError::new(ErrorCode::PolicyViolation, message));
    }
    Ok(Decision::in_parts(records, ElectLeadersResponse { replica_election_results: results, ..Default::default() }))
}

fn topic_result(topic: &str, outcomes: Vec<(i32, Result<(), ControllerError>)>) -> ReplicaElectionResult {
    let partition_result = outcomes
        .into_iter()
        .map(|(partition_id, outcome)| {
            let error = outcome.err();
            PartitionResult {
                partition_id,
                error_code: error.as_ref().map_or(0, |e| e.code.code()),
                error_message: error.map(|e| e.text()),
                ..Default::default()
            }
        })
        .collect();
    ReplicaElectionResult { topic: topic.to_owned(), partition_result, ..Default::default() }
}

fn elect_one(ctx: &Context, topic: &str, id: i32, kind: ElectionType, records: &mut Vec<Record>) -> Result<(), ControllerError> {
    let unknown = |message: String| ControllerError::new(ErrorCode::UnknownTopicOrPartition, message);
    let topic = ctx.head.topics.get(topic).ok_or_else(|| unknown(format!("No such topic as {topic}")))?;
    let partition = topic.partitions.get(&id).ok_or_else(|| unknown(format!("No such partition as {}-{id}", topic.name)))?;
    let (not_needed, election, not_available) = match kind {
        ElectionType::Preferred => (partition.has_preferred_leader(), Election::Preferred, ErrorCode::PreferredLeaderNotAvailable),
        ElectionType::Unclean => (partition.has_leader(), Election::Unclean, ErrorCode::EligibleLeadersNotAvailable),
    };
    if not_needed {
        return Err(ErrorCode::ElectionNotNeeded.into());
    }
    let acceptable = |id: i32| ctx.head.cluster.is_active(id);
    let situation = situation(ctx, topic, partition, &acceptable);
    let mut builder = ChangeBuilder::new(&situation, partition);
    builder.election = election;
    let record = builder.build(topic.id, id).ok_or(not_available)?;
    records.push(record.into());
    Ok(())
}

/// Elections towards preferred leaders, one round.
pub fn balance_leaders(ctx: &Context) -> Vec<Record> {
    let mut records = Vec::new();
    let acceptable = |id: i32| ctx.head.cluster.is_active(id);
    for topic in ctx.head.topics.iter() {
        for (id, partition) in topic.partitions.iter().filter(|(_, p)| !p.has_preferred_leader()) {
            if records.len() >= MAX_ELECTIONS_PER_ROUND {
                return records;
            }
            let situation = situation(ctx, topic, partition, &acceptable);
            let mut builder = ChangeBuilder::new(&situation, partition);
            builder.election = Election::Preferred;
            records.extend(builder.build(topic.id, *id).map(Record::from));
        }
    }
    records
}

/// Unclean elections for leaderless partitions of topics that allow them, one round.
pub fn elect_unclean(ctx: &Context) -> Vec<Record> {
    let mut records = Vec::new();
    for topic in ctx.head.topics.iter() {
        let mut enabled = None;
        for (id, _) in topic.partitions.iter().filter(|(_, p)| !p.has_leader()) {
            if records.len() >= MAX_ELECTIONS_PER_ROUND {
                return records;
            }
            if *enabled.get_or_insert_with(|| ctx.settings.is_unclean_election_enabled(ctx.head, &topic.name)) {
                // A partition none of whose replicas is alive stays as it is until the next round.
                let _ = elect_one(ctx, &topic.name, *id, ElectionType::Unclean, &mut records);
            }
        }
    }
    records
}
