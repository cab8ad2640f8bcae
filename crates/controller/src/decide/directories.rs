//! AssignReplicasToDirs: a broker tells in which log directory its replicas are. Kafka: KIP-858.

use super::brokers::check_broker_epoch;
use super::elections::{Shift, leader_and_isr_updates, situation};
use super::{Context, Decided, Decision};
use crate::change::ChangeBuilder;
use crate::seam::ControllerError;
use base::Uuid;
use metadata::Record;
use wire::ErrorCode;
use wire::messages::assign_replicas_to_dirs_response::{DirectoryData, PartitionData, TopicData};
use wire::messages::{AssignReplicasToDirsRequest, AssignReplicasToDirsResponse};

pub fn assign(ctx: &Context, request: &AssignReplicasToDirsRequest) -> Decided {
    if !ctx.head.metadata_version().supports_directory_assignment() {
        return Err(ControllerError::new(ErrorCode::UnsupportedVersion, "Directory assignment is not supported yet."));
    }
    check_broker_epoch(ctx.head, request.broker_id, request.broker_epoch)?;
    let mut records = Vec::new();
    let mut offline = Vec::new();
    let mut directories = Vec::new();
    for directory in &request.directories {
        let online = ctx.head.cluster.has_online_directory(request.broker_id, directory.id);
        let mut topics = Vec::new();
        for topic in &directory.topics {
            let mut partitions = Vec::new();
            for partition in &topic.partitions {
                let index = partition.partition_index;
                let outcome = assign_one(ctx, request.broker_id, directory.id, topic.topic_id, index, &mut records);
                if outcome.is_ok() && !online {
                    offline.push((topic.topic_id, index));
                }
                let error_code = outcome.err().map_or(0, ErrorCode::code);
                partitions.push(PartitionData { partition_index: index, error_code, ..Default::default() });
            }
            topics.push(TopicData { topic_id: topic.topic_id, partitions, ..Default::default() });
        }
        directories.push(DirectoryData { id: directory.id, topics, ..Default::default() });
    }
    if !offline.is_empty() {
        let shift = Shift { remove: Some(request.broker_id), ..Default::default() };
        let is_listed = |p: &metadata::Partition| {
            offline.iter().any(|(id, index)| ctx.head.topics.partition_by_id(*id, *index).is_some_and(|listed| std::ptr::eq(&**listed, p)))
        };
        leader_and_isr_updates(ctx, shift, &mut records, is_listed);
    }
    Ok(Decision::in_parts(records, AssignReplicasToDirsResponse { directories, ..Default::default() }))
}

fn assign_one(ctx: &Context, broker: i32, directory: Uuid, topic_id: Uuid, index: i32, records: &mut Vec<Record>) -> Result<(), ErrorCode> {
    let topic = ctx.head.topics.get_by_id(topic_id).ok_or(ErrorCode::UnknownTopicId)?;
    let partition = topic.partitions.get(&index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if !partition.replicas.contains(&broker) {
        return Err(ErrorCode::NotLeaderOrFollower);
    }
    let acceptable = |id: i32| ctx.head.cluster.is_active(id);
    let situation = situation(ctx, topic, partition, &acceptable);
    let mut builder = ChangeBuilder::new(&situation, partition);
    builder.set_directory(broker, directory);
    records.extend(builder.build(topic_id, index).map(Record::from));
    Ok(())
}
