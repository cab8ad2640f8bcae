//! DescribeQuorum. Kafka: `KafkaRaftClient.handleDescribeQuorumRequest`; KIP-595, KIP-836.

use crate::seam::ControllerResponse;
use base::{Now, Uuid};
use wire::ErrorCode;
use wire::messages::describe_quorum_response::{Listener, Node, PartitionData, ReplicaState, TopicData};
use wire::messages::{DescribeQuorumRequest, DescribeQuorumResponse};

const TOPIC: &str = "__cluster_metadata";

pub fn describe(raft: &raft::Node, request: &DescribeQuorumRequest, now: Now) -> ControllerResponse {
    let valid = matches!(&request.topics[..], [topic] if topic.topic_name == TOPIC
        && matches!(&topic.partitions[..], [partition] if partition.partition_index == 0));
    if !valid {
        let topics = request.topics.iter().map(|topic| TopicData {
            topic_name: topic.topic_name.clone(),
            partitions: topic.partitions.iter().map(|p| unknown_partition(p.partition_index)).collect(),
            ..Default::default()
        });
        return DescribeQuorumResponse { topics: topics.collect(), ..Default::default() }.into();
    }
    let Some(epoch) = raft.leader_epoch() else {
        let partition = PartitionData { error_code: ErrorCode::NotLeaderOrFollower.code(), ..Default::default() };
        return response(DescribeQuorumResponse::default(), partition);
    };
    let replica = |voter: &raft::Voter| {
        let local = voter.key.id == raft.local().id;
        ReplicaState {
            replica_id: voter.key.id,
            replica_directory_id: voter.key.directory_id.unwrap_or(Uuid::ZERO),
            log_end_offset: if local { raft.log_end().offset } else { -1 },
            last_fetch_timestamp: if local { now.wall_ms } else { -1 },
            last_caught_up_timestamp: if local { now.wall_ms } else { -1 },
            ..Default::default()
        }
    };
    let partition = PartitionData {
        leader_id: raft.local().id,
        leader_epoch: epoch,
        high_watermark: raft.high_watermark().unwrap_or(-1),
        current_voters: raft.voters().iter().map(replica).collect(),
        ..Default::default()
    };
    let node = |voter: &raft::Voter| Node {
        node_id: voter.key.id,
        listeners: voter
            .endpoints
            .iter()
            .map(|e| Listener { name: e.listener.clone(), host: e.host.clone(), port: e.port, ..Default::default() })
            .collect(),
        ..Default::default()
    };
    response(DescribeQuorumResponse { nodes: raft.voters().iter().map(node).collect(), ..Default::default() }, partition)
}

fn response(response: DescribeQuorumResponse, partition: PartitionData) -> ControllerResponse {
    let topic = TopicData { topic_name: TOPIC.to_owned(), partitions: vec![partition], ..Default::default() };
    DescribeQuorumResponse { topics: vec![topic], ..response }.into()
}

fn unknown_partition(partition_index: i32) -> PartitionData {
    PartitionData { partition_index, error_code: ErrorCode::UnknownTopicOrPartition.code(), ..Default::default() }
}
