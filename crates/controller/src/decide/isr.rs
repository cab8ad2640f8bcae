//! AlterPartition: a partition leader reports a new ISR. Kafka: `ReplicationControlManager.alterPartition`; KIP-497, KIP-903.

use super::brokers::check_broker_epoch;
use super::elections::situation;
use super::{Context, Decided, Decision};
use crate::change::{ChangeBuilder, Election};
use metadata::image::partition::{LeaderRecoveryState, NO_LEADER_CHANGE};
use metadata::{Image, Partition, Record};
use wire::ErrorCode;
use wire::messages::alter_partition_request::{BrokerState, PartitionData};
use wire::messages::alter_partition_response::{PartitionData as PartitionResult, TopicData as TopicResult};
use wire::messages::{AlterPartitionRequest, AlterPartitionResponse};

pub fn alter(ctx: &Context, request: &AlterPartitionRequest) -> Decided {
    check_broker_epoch(ctx.head, request.broker_id, request.broker_epoch)?;
    let mut records = Vec::new();
    let mut topics = Vec::new();
    for topic in &request.topics {
        let alter = |data: &PartitionData| match alter_one(ctx, request.broker_id, topic.topic_id, data, &mut records) {
            Ok(result) => result,
            Err(code) => PartitionResult { partition_index: data.partition_index, error_code: code.code(), ..Default::default() },
        };
        let partitions = topic.partitions.iter().map(alter).collect();
        topics.push(TopicResult { topic_id: topic.topic_id, partitions, ..Default::default() });
    }
    Ok(Decision::in_parts(records, AlterPartitionResponse { topics, ..Default::default() }))
}

fn alter_one(
    ctx: &Context,
    broker: i32,
    topic_id: base::Uuid,
    data: &PartitionData,
    records: &mut Vec<Record>,
) -> Result<PartitionResult, ErrorCode> {
    let topic = ctx.head.topics.get_by_id(topic_id).ok_or(ErrorCode::UnknownTopicId)?;
    let partition = topic.partitions.get(&data.partition_index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let isr = new_isr(data, ctx.request.api_version);
    let recovery = LeaderRecoveryState::from_value(data.leader_recovery_state).ok_or(ErrorCode::InvalidRequest)?;
    check(ctx.head, broker, partition, data, &isr, recovery)?;
    let acceptable = |id: i32| ctx.head.cluster.is_active(id);
    let situation = situation(ctx, topic, partition, &acceptable);
    let mut builder = ChangeBuilder::new(&situation, partition);
    if ctx.settings.is_unclean_election_enabled(ctx.head, &topic.name) {
        builder.election = Election::Unclean;
    }
    builder.target_isr = isr.iter().map(|state| state.broker_id).collect();
    builder.target_recovery_state = recovery;
    let mut current = (**partition).clone();
    if let Some(change) = builder.build(topic_id, data.partition_index) {
        current = partition.merge(&change).map_err(|_| ErrorCode::UnknownServerError)?;
        let leader = change.leader;
        records.push(change.into());
        // The ISR completed a reassignment that moves the leader: a change and an error at once, so that the leader looks again.
        if leader != broker && leader != NO_LEADER_CHANGE {
            return Err(ErrorCode::NewLeaderElected);
        }
    }
    Ok(PartitionResult {
        partition_index: data.partition_index,
        leader_id: current.leader,
        leader_epoch: current.leader_epoch,
        isr: current.isr,
        leader_recovery_state: current.leader_recovery_state.value(),
        partition_epoch: current.partition_epoch,
        ..Default::default()
    })
}

/// Version 3 names broker epochs; before that −1 stands for not checking them.
fn new_isr(data: &PartitionData, api_version: i16) -> Vec<BrokerState> {
    if api_version >= 3 || data.new_isr.is_empty() {
        return data.new_isr_with_epochs.clone();
    }
    data.new_isr.iter().map(|id| BrokerState { broker_id: *id, broker_epoch: -1, ..Default::default() }).collect()
}

fn check(
    image: &Image,
    broker: i32,
    partition: &Partition,
    data: &PartitionData,
    isr: &[BrokerState],
    recovery: LeaderRecoveryState,
) -> Result<(), ErrorCode> {
    // A leader that knows more than this controller talks to one that has been replaced.
    if data.leader_epoch > partition.leader_epoch || data.partition_epoch > partition.partition_epoch {
        return Err(ErrorCode::NotController);
    }
    if data.leader_epoch < partition.leader_epoch {
        return Err(ErrorCode::FencedLeaderEpoch);
    }
    if broker != partition.leader {
        return Err(ErrorCode::InvalidRequest);
    }
    if data.partition_epoch < partition.partition_epoch {
        return Err(ErrorCode::InvalidUpdateVersion);
    }
    let mut ids: Vec<i32> = isr.iter().map(|state| state.broker_id).collect();
    let in_replicas = ids.iter().all(|id| partition.replicas.contains(id));
    ids.sort_unstable();
    let distinct = ids.windows(2).all(|pair| pair[0] != pair[1]);
    if ids.is_empty() || !in_replicas || !distinct || !ids.contains(&partition.leader) {
        return Err(ErrorCode::InvalidRequest);
    }
    let recovering = recovery == LeaderRecoveryState::Recovering;
    if recovering && (ids.len() > 1 || partition.leader_recovery_state == LeaderRecoveryState::Recovered) {
        return Err(ErrorCode::InvalidRequest);
    }
    let eligible = |state: &BrokerState| {
        let active = image.cluster.broker(state.broker_id).filter(|b| b.is_active());
        active.is_some_and(|b| state.broker_epoch == -1 || state.broker_epoch == b.epoch)
    };
    if isr.iter().all(eligible) { Ok(()) } else { Err(ErrorCode::IneligibleReplica) }
}
