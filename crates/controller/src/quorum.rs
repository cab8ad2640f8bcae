//! Requests about the quorum itself: DescribeQuorum, AddRaftVoter, RemoveRaftVoter. They are answered from raft's state and write no records.
//! Kafka: `KafkaRaftClient.handleDescribeQuorumRequest`, `AddVoterHandler`, `RemoveVoterHandler`; KIP-595, KIP-836, KIP-853.

use crate::seam::{ControllerRequest, ControllerResponse};
use base::{Now, Uuid};
use raft::{KRaftVersion, ReplicaKey, VoterSet};
use wire::ErrorCode;
use wire::messages::describe_quorum_response::{Listener, Node, PartitionData, ReplicaState, TopicData};
use wire::messages::{
    AddRaftVoterRequest, AddRaftVoterResponse, DescribeQuorumRequest, DescribeQuorumResponse, RemoveRaftVoterRequest,
    RemoveRaftVoterResponse,
};

const TOPIC: &str = "__cluster_metadata";

/// What there is to know about this node's quorum.
pub struct Quorum<'a> {
    pub raft: &'a raft::Node,
    pub cluster_id: &'a str,
    /// The first of controller.listener.names, by which the voters find each other.
    pub listener: &'a str,
}

impl Quorum<'_> {
    /// `None` for requests that are not about the quorum.
    pub fn answer(&self, request: &ControllerRequest, version: i16, now: Now) -> Option<ControllerResponse> {
        Some(match request {
            ControllerRequest::DescribeQuorum(request) => self.describe(request, version, now).into(),
            ControllerRequest::AddRaftVoter(request) => {
                let (error_code, error_message) = told(self.check_new_voter(request));
                AddRaftVoterResponse { error_code, error_message, ..Default::default() }.into()
            }
            ControllerRequest::RemoveRaftVoter(request) => {
                let (error_code, error_message) = told(self.check_old_voter(request));
                RemoveRaftVoterResponse { error_code, error_message, ..Default::default() }.into()
            }
            _ => return None,
        })
    }

    fn describe(&self, request: &DescribeQuorumRequest, version: i16, now: Now) -> DescribeQuorumResponse {
        let raft = self.raft;
        let valid = matches!(&request.topics[..], [topic] if topic.topic_name == TOPIC
            && matches!(&topic.partitions[..], [partition] if partition.partition_index == 0));
        if !valid {
            let topics = request.topics.iter().map(|topic| TopicData {
                topic_name: topic.topic_name.clone(),
                partitions: topic.partitions.iter().map(|p| failed(p.partition_index, ErrorCode::UnknownTopicOrPartition)).collect(),
                ..Default::default()
            });
            return DescribeQuorumResponse { topics: topics.collect(), ..Default::default() };
        }
        let Some(epoch) = raft.leader_epoch() else {
            return only(failed(0, ErrorCode::NotLeaderOrFollower));
        };
        let replica = |voter: &raft::Voter| {
            let local = voter.key.id == raft.local().id;
            ReplicaState {
                replica_id: voter.key.id,
                replica_directory_id: voter.key.directory_id.filter(|_| version >= 2).unwrap_or(Uuid::ZERO),
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
        let nodes = if version >= 2 { raft.voters().iter().map(node).collect() } else { Vec::new() };
        DescribeQuorumResponse { nodes, ..only(partition) }
    }

    fn check_cluster(&self, cluster_id: Option<&str>) -> Result<(), Refusal> {
        match cluster_id.filter(|id| *id != self.cluster_id) {
            Some(other) => {
                let ours = self.cluster_id;
                refuse(ErrorCode::InconsistentClusterId, format!("The given id \"{other}\" doesn't match the cluster id \"{ours}\""))
            }
            None => Ok(()),
        }
    }

    /// The voters, if they can be changed now.
    fn changeable_voters(&self, change: &str) -> Result<&VoterSet, Refusal> {
        if self.raft.high_watermark().is_none() {
            let message = "Request timed out waiting for leader to establish HWM and fence previous voter changes";
            return refuse(ErrorCode::RequestTimedOut, message);
        }
        match self.raft.kraft_version() {
            KRaftVersion::V0 => {
                let message = format!("Cluster doesn't support {change} voter because the kraft.version feature is 0");
                refuse(ErrorCode::UnsupportedVersion, message)
            }
            KRaftVersion::V1 => Ok(self.raft.voters()),
        }
    }

    fn check_new_voter(&self, request: &AddRaftVoterRequest) -> Result<(), Refusal> {
        self.check_cluster(request.cluster_id.as_deref())?;
        self.check_leader()?;
        let Some(key) = valid_key(request.voter_id, request.voter_directory_id) else {
            return refuse(ErrorCode::InvalidRequest, "Add voter request didn't include a valid voter");
        };
        if !request.listeners.iter().any(|listener| listener.name.eq_ignore_ascii_case(self.listener)) {
            let endpoint = |l: &wire::messages::add_raft_voter_request::Listener| {
                format!("ListenerName({})={}/<unresolved>:{}", l.name.to_ascii_uppercase(), l.host, l.port)
            };
            let endpoints: Vec<String> = request.listeners.iter().map(endpoint).collect();
            let message = format!(
                "Add voter request didn't include the endpoint (Endpoints(endpoints={{{}}})) for the default listener ListenerName({})",
                endpoints.join(", "),
                self.listener
            );
            return refuse(ErrorCode::InvalidRequest, message);
        }
        let voters = self.changeable_voters("adding")?;
        if voters.get(key.id).is_some() {
            let message = format!("The voter id for {} is already part of the set of voters {}.", show(key), show_all(voters));
            return refuse(ErrorCode::DuplicateVoter, message);
        }
        // Quorums of several voters come with replication.
        refuse(ErrorCode::UnsupportedVersion, "This node runs quorums of one voter only")
    }

    fn check_old_voter(&self, request: &RemoveRaftVoterRequest) -> Result<(), Refusal> {
        self.check_cluster(request.cluster_id.as_deref())?;
        self.check_leader()?;
        let Some(key) = valid_key(request.voter_id, request.voter_directory_id) else {
            return refuse(ErrorCode::InvalidRequest, "Remove voter request didn't include a valid voter");
        };
        // The last voter stays, so that nobody of a quorum of one can be removed.
        let voters = self.changeable_voters("removing")?;
        refuse(ErrorCode::VoterNotFound, format!("Cannot remove voter {} from the set of voters {}", show(key), show_all(voters)))
    }

    fn check_leader(&self) -> Result<(), Refusal> {
        match self.raft.leader_epoch() {
            Some(_) => Ok(()),
            None => Err((ErrorCode::NotLeaderOrFollower, None)),
        }
    }
}

/// Code and text, where Kafka gives one.
type Refusal = (ErrorCode, Option<String>);

fn refuse<T>(code: ErrorCode, message: impl Into<String>) -> Result<T, Refusal> {
    Err((code, Some(message.into())))
}

fn told(result: Result<(), Refusal>) -> (i16, Option<String>) {
    result.map_or_else(|(code, message)| (code.code(), message), |()| (0, None))
}

fn valid_key(id: i32, directory_id: Uuid) -> Option<ReplicaKey> {
    (id >= 0 && !directory_id.is_zero()).then(|| ReplicaKey::new(id, directory_id))
}

fn show(key: ReplicaKey) -> String {
    let directory = key.directory_id.map_or_else(|| "<undefined>".to_owned(), |id| id.to_string());
    format!("ReplicaKey(id={}, directoryId={directory})", key.id)
}

fn show_all(voters: &VoterSet) -> String {
    let keys: Vec<String> = voters.iter().map(|voter| show(voter.key)).collect();
    format!("[{}]", keys.join(", "))
}

fn node(voter: &raft::Voter) -> Node {
    let listener = |e: &raft::Endpoint| Listener { name: e.listener.clone(), host: e.host.clone(), port: e.port, ..Default::default() };
    Node { node_id: voter.key.id, listeners: voter.endpoints.iter().map(listener).collect(), ..Default::default() }
}

fn only(partition: PartitionData) -> DescribeQuorumResponse {
    let topic = TopicData { topic_name: TOPIC.to_owned(), partitions: vec![partition], ..Default::default() };
    DescribeQuorumResponse { topics: vec![topic], ..Default::default() }
}

fn failed(partition_index: i32, code: ErrorCode) -> PartitionData {
    PartitionData { partition_index, error_code: code.code(), error_message: Some(code.message().to_owned()), ..Default::default() }
}
