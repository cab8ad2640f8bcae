//! Requests that the controller decides and whose answer goes to the client as it is: ElectLeaders, AlterPartitionReassignments,
//! ListPartitionReassignments, UpdateFeatures, UnregisterBroker, DescribeQuorum, AddRaftVoter, RemoveRaftVoter. What is here is how each of
//! them says that the request as a whole has failed. Kafka: `ControllerApis`, `getErrorResponse` of each request.

use crate::answer::Handled;
use crate::context::Context;
use controller::ControllerError;
use wire::messages::alter_partition_reassignments_response::{ReassignablePartitionResponse, ReassignableTopicResponse};
use wire::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use wire::messages::list_partition_reassignments_response::{OngoingPartitionReassignment, OngoingTopicReassignment};
use wire::messages::*;

pub(super) fn elect_leaders(c: &mut Context, request: ElectLeadersRequest) -> Handled {
    let asked = request.topic_partitions.clone().unwrap_or_default();
    let (timeout_ms, version) = (request.timeout_ms, c.version());
    c.ask_controller(request, timeout_ms, move |_, answer| {
        let mut response: ElectLeadersResponse = answer.unwrap_or_else(|error| {
            let partition = |partition_id| PartitionResult {
                partition_id,
                error_code: error.code.code(),
                error_message: Some(error.text()),
                ..Default::default()
            };
            let topics = asked.into_iter().map(|topic| ReplicaElectionResult {
                topic: topic.topic,
                partition_result: topic.partitions.into_iter().map(partition).collect(),
                ..Default::default()
            });
            ElectLeadersResponse { error_code: error.code.code(), replica_election_results: topics.collect(), ..Default::default() }
        });
        // Version 0 says it with each partition only.
        if version == 0 {
            response.error_code = 0;
        }
        response
    })
}

pub(super) fn alter_partition_reassignments(c: &mut Context, request: AlterPartitionReassignmentsRequest) -> Handled {
    let asked: Vec<(String, Vec<i32>)> =
        request.topics.iter().map(|t| (t.name.clone(), t.partitions.iter().map(|p| p.partition_index).collect())).collect();
    let timeout_ms = request.timeout_ms;
    c.ask_controller(request, timeout_ms, move |_, answer| {
        answer.unwrap_or_else(|error| {
            let partition = |partition_index| ReassignablePartitionResponse {
                partition_index,
                error_code: error.code.code(),
                error_message: Some(error.text()),
                ..Default::default()
            };
            let topics = asked.into_iter().map(|(name, partitions)| ReassignableTopicResponse {
                name,
                partitions: partitions.into_iter().map(partition).collect(),
                ..Default::default()
            });
            AlterPartitionReassignmentsResponse {
                error_code: error.code.code(),
                error_message: Some(error.text()),
                responses: topics.collect(),
                ..Default::default()
            }
        })
    })
}

pub(super) fn list_partition_reassignments(c: &mut Context, request: ListPartitionReassignmentsRequest) -> Handled {
    let asked = request.topics.clone().unwrap_or_default();
    let timeout_ms = own_timeout(c);
    c.ask_controller(request, timeout_ms, move |_, answer| {
        answer.unwrap_or_else(|error| {
            let partition = |partition_index| OngoingPartitionReassignment { partition_index, ..Default::default() };
            let topics = asked.into_iter().map(|topic| OngoingTopicReassignment {
                name: topic.name,
                partitions: topic.partition_indexes.into_iter().map(partition).collect(),
                ..Default::default()
            });
            ListPartitionReassignmentsResponse {
                error_code: error.code.code(),
                error_message: Some(error.text()),
                topics: topics.collect(),
                ..Default::default()
            }
        })
    })
}

pub(super) fn update_features(c: &mut Context, request: UpdateFeaturesRequest) -> Handled {
    let failed = |(error_code, error_message)| UpdateFeaturesResponse { error_code, error_message, ..Default::default() };
    c.ask_controller(request, own_timeout(c), move |_, answer| answer.unwrap_or_else(|error| failed(with_text(&error))))
}

pub(super) fn unregister_broker(c: &mut Context, request: UnregisterBrokerRequest) -> Handled {
    let failed = |(error_code, error_message)| UnregisterBrokerResponse { error_code, error_message, ..Default::default() };
    c.ask_controller(request, own_timeout(c), move |_, answer| answer.unwrap_or_else(|error| failed(with_text(&error))))
}

pub(super) fn describe_quorum(c: &mut Context, request: DescribeQuorumRequest) -> Handled {
    let failed = |(error_code, error_message)| DescribeQuorumResponse { error_code, error_message, ..Default::default() };
    c.ask_controller(request, own_timeout(c), move |_, answer| answer.unwrap_or_else(|error| failed(with_text(&error))))
}

pub(super) fn add_raft_voter(c: &mut Context, request: AddRaftVoterRequest) -> Handled {
    let failed = |(error_code, error_message)| AddRaftVoterResponse { error_code, error_message, ..Default::default() };
    c.ask_controller(request, own_timeout(c), move |_, answer| answer.unwrap_or_else(|error| failed(with_text(&error))))
}

pub(super) fn remove_raft_voter(c: &mut Context, request: RemoveRaftVoterRequest) -> Handled {
    let failed = |(error_code, error_message)| RemoveRaftVoterResponse { error_code, error_message, ..Default::default() };
    c.ask_controller(request, own_timeout(c), move |_, answer| answer.unwrap_or_else(|error| failed(with_text(&error))))
}

/// For requests without a timeout of their own, or whose timeout Kafka does not look at.
fn own_timeout(c: &Context) -> i32 {
    c.broker.config().request_timeout_ms
}

fn with_text(error: &ControllerError) -> (i16, Option<String>) {
    (error.code.code(), Some(error.text()))
}
