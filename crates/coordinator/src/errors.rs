//! The answers that a group coordinator gives when it cannot do what was asked: per request type, with Kafka's mapping of log errors to
//! errors that clients of a coordinator understand. The broker uses these while a shard is absent or loading.
//! Kafka: CoordinatorOperationExceptionHelper and the exception handlers of GroupCoordinatorService.

use bytes::Bytes;
use wire::ErrorCode;
use wire::messages::consumer_group_describe_response::DescribedGroup as DescribedConsumerGroup;
use wire::messages::delete_groups_response::DeletableGroupResult;
use wire::messages::describe_groups_response::DescribedGroup;
use wire::messages::leave_group_response::MemberResponse;
use wire::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use wire::messages::offset_fetch_request::OffsetFetchRequestGroup;
use wire::messages::offset_fetch_response::{OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics};
use wire::messages::txn_offset_commit_response::{TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic};
use wire::messages::{
    ConsumerGroupHeartbeatResponse, HeartbeatResponse, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, ListGroupsResponse,
    OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteResponse, SyncGroupResponse, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};

use crate::group::classic::for_version;
use crate::output::Reply;

/// What a client of a coordinator is told when the log, or the search for the coordinator, gave this error.
pub fn coordinator_error(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UnknownTopicOrPartition | ErrorCode::NotEnoughReplicas | ErrorCode::RequestTimedOut => {
            ErrorCode::CoordinatorNotAvailable
        }
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge | ErrorCode::InvalidFetchSize => ErrorCode::UnknownServerError,
        // From the check of a transaction with its coordinator: a retry without a new search for the coordinator is right.
        ErrorCode::NetworkException => ErrorCode::CoordinatorLoadInProgress,
        other => other,
    }
}

pub fn join_group(error: ErrorCode, api_version: i16) -> JoinGroupResponse {
    for_version(JoinGroupResponse { error_code: coordinator_error(error).code(), ..Default::default() }, api_version)
}

pub fn sync_group(error: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse { error_code: coordinator_error(error).code(), assignment: Bytes::new(), ..Default::default() }
}

/// While the shard loads, members are not troubled: they are told that all is well.
pub fn heartbeat(error: ErrorCode) -> HeartbeatResponse {
    let error = match coordinator_error(error) {
        ErrorCode::CoordinatorLoadInProgress => ErrorCode::None,
        error => error,
    };
    HeartbeatResponse { error_code: error.code(), ..Default::default() }
}

/// Errors that are passed on come with their text; what they are turned into has none.
pub fn consumer_group_heartbeat(error: ErrorCode) -> ConsumerGroupHeartbeatResponse {
    let told = coordinator_error(error);
    let error_message = (told == error && told != ErrorCode::UnknownServerError).then(|| told.message().to_owned());
    ConsumerGroupHeartbeatResponse { error_code: told.code(), error_message, ..Default::default() }
}

pub fn consumer_group_describe<'a>(group_ids: impl IntoIterator<Item = &'a str>, error: ErrorCode) -> Vec<DescribedConsumerGroup> {
    let error_code = coordinator_error(error).code();
    let described = |id: &str| DescribedConsumerGroup { group_id: id.to_owned(), error_code, ..Default::default() };
    group_ids.into_iter().map(described).collect()
}

pub fn leave_group(error: ErrorCode) -> LeaveGroupResponse {
    LeaveGroupResponse { error_code: coordinator_error(error).code(), ..Default::default() }
}

/// The group does not exist: said per member, or in the only place that old versions have.
pub(crate) fn leave_unknown_group(request: &LeaveGroupRequest, api_version: i16) -> LeaveGroupResponse {
    if api_version < 3 {
        return leave_group(ErrorCode::UnknownMemberId);
    }
    let members = request.members.iter().map(|m| MemberResponse {
        member_id: m.member_id.clone(),
        group_instance_id: m.group_instance_id.clone(),
        error_code: ErrorCode::UnknownMemberId.code(),
        ..Default::default()
    });
    LeaveGroupResponse { members: members.collect(), ..Default::default() }
}

pub fn offset_commit(request: &OffsetCommitRequest, error: ErrorCode) -> OffsetCommitResponse {
    let error_code = coordinator_error(error).code();
    let topics = request.topics.iter().map(|t| OffsetCommitResponseTopic {
        name: t.name.clone(),
        topic_id: t.topic_id,
        partitions: t
            .partitions
            .iter()
            .map(|p| OffsetCommitResponsePartition { partition_index: p.partition_index, error_code, ..Default::default() })
            .collect(),
        ..Default::default()
    });
    OffsetCommitResponse { topics: topics.collect(), ..Default::default() }
}

pub fn txn_offset_commit(request: &TxnOffsetCommitRequest, error: ErrorCode) -> TxnOffsetCommitResponse {
    let error_code = coordinator_error(error).code();
    let topics = request.topics.iter().map(|t| TxnOffsetCommitResponseTopic {
        name: t.name.clone(),
        partitions: t
            .partitions
            .iter()
            .map(|p| TxnOffsetCommitResponsePartition { partition_index: p.partition_index, error_code, ..Default::default() })
            .collect(),
        ..Default::default()
    });
    TxnOffsetCommitResponse { topics: topics.collect(), ..Default::default() }
}

pub fn offset_delete(error: ErrorCode) -> OffsetDeleteResponse {
    OffsetDeleteResponse { error_code: coordinator_error(error).code(), ..Default::default() }
}

/// Version 1 has no place for an error of the group, so every partition gets it.
pub fn offset_fetch(request: &OffsetFetchRequestGroup, error: ErrorCode, api_version: i16) -> OffsetFetchResponseGroup {
    let partitions = request.topics.iter().flatten().map(|t| (t.name.clone(), t.partition_indexes.clone()));
    let topics: Vec<(String, Vec<i32>)> = if api_version < 2 { partitions.collect() } else { Vec::new() };
    offset_fetch_error(&request.group_id, topics, error, api_version)
}

fn offset_fetch_error(group_id: &str, topics: Vec<(String, Vec<i32>)>, error: ErrorCode, api_version: i16) -> OffsetFetchResponseGroup {
    let error_code = match error {
        // Consumers before 3.9 do not retry on the usual answers to these.
        ErrorCode::UnknownTopicOrPartition | ErrorCode::NotEnoughReplicas | ErrorCode::RequestTimedOut => ErrorCode::NotCoordinator,
        error => coordinator_error(error),
    }
    .code();
    let group = OffsetFetchResponseGroup { group_id: group_id.to_owned(), ..Default::default() };
    if api_version >= 2 {
        return OffsetFetchResponseGroup { error_code, ..group };
    }
    let topics = topics.into_iter().map(|(name, partitions)| OffsetFetchResponseTopics {
        name,
        partitions: partitions
            .into_iter()
            .map(|partition_index| OffsetFetchResponsePartitions {
                partition_index,
                error_code,
                committed_offset: -1,
                committed_leader_epoch: -1,
                metadata: Some(String::new()),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    OffsetFetchResponseGroup { topics: topics.collect(), ..group }
}

pub fn describe_groups<'a>(group_ids: impl IntoIterator<Item = &'a str>, error: ErrorCode) -> Vec<DescribedGroup> {
    let error_code = coordinator_error(error).code();
    let described = |id: &str| DescribedGroup { group_id: id.to_owned(), error_code, ..Default::default() };
    group_ids.into_iter().map(described).collect()
}

pub fn delete_groups<'a>(group_ids: impl IntoIterator<Item = &'a str>, error: ErrorCode) -> Vec<DeletableGroupResult> {
    let error_code = coordinator_error(error).code();
    let deleted = |id: &str| DeletableGroupResult { group_id: id.to_owned(), error_code, ..Default::default() };
    group_ids.into_iter().map(deleted).collect()
}

pub fn list_groups(error: ErrorCode) -> ListGroupsResponse {
    ListGroupsResponse { error_code: coordinator_error(error).code(), ..Default::default() }
}

/// The same reply, had the write it waited for failed.
pub(crate) fn failed(reply: Reply, error: ErrorCode, api_version: i16) -> Reply {
    let error_code = coordinator_error(error).code();
    match reply {
        Reply::JoinGroup(_) => Reply::JoinGroup(join_group(error, api_version)),
        Reply::SyncGroup(_) => Reply::SyncGroup(sync_group(error)),
        Reply::Heartbeat(_) => Reply::Heartbeat(heartbeat(error)),
        Reply::LeaveGroup(_) => Reply::LeaveGroup(leave_group(error)),
        Reply::ConsumerGroupHeartbeat(_) => Reply::ConsumerGroupHeartbeat(consumer_group_heartbeat(error)),
        Reply::ConsumerGroupDescribe(groups) => {
            Reply::ConsumerGroupDescribe(consumer_group_describe(groups.iter().map(|g| g.group_id.as_str()), error))
        }
        Reply::OffsetDelete(_) => Reply::OffsetDelete(offset_delete(error)),
        Reply::ListGroups(_) => Reply::ListGroups(list_groups(error)),
        Reply::OffsetCommit(mut response) => {
            response.topics.iter_mut().flat_map(|t| &mut t.partitions).for_each(|p| p.error_code = error_code);
            Reply::OffsetCommit(response)
        }
        Reply::TxnOffsetCommit(mut response) => {
            response.topics.iter_mut().flat_map(|t| &mut t.partitions).for_each(|p| p.error_code = error_code);
            Reply::TxnOffsetCommit(response)
        }
        Reply::OffsetFetch(group) => {
            let topics = group.topics.into_iter().map(|t| (t.name, t.partitions.iter().map(|p| p.partition_index).collect()));
            Reply::OffsetFetch(offset_fetch_error(&group.group_id, topics.collect(), error, api_version))
        }
        Reply::DescribeGroups(groups) => Reply::DescribeGroups(describe_groups(groups.iter().map(|g| g.group_id.as_str()), error)),
        Reply::DeleteGroups(groups) => Reply::DeleteGroups(delete_groups(groups.iter().map(|g| g.group_id.as_str()), error)),
    }
}
