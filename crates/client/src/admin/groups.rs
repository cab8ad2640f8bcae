//! Owns: group calls — list, describe (classic protocol), delete, committed offsets, removing members.

use super::{Admin, CoordinatorKind, Route};
use crate::core::consumer_protocol::decode_assignment;
use crate::error::{Error, Result};
use crate::types::{Node, OffsetAndMetadata};
use base::TopicPartition;
use bytes::Bytes;
use std::collections::BTreeMap;
use wire::ErrorCode;
use wire::messages::leave_group_request::MemberIdentity;
use wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use wire::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics};
use wire::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest, OffsetCommitResponse,
    OffsetDeleteRequest, OffsetFetchRequest, OffsetFetchResponse,
};

/// The newest versions of OffsetCommit and OffsetFetch that name topics instead of giving their ids.
pub(crate) const OFFSETS_BY_NAME: i16 = 9;

/// Empty lists mean no filter. Types and states by Kafka's names, such as `Stable` and `classic`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListGroupsOptions {
    pub states: Vec<String>,
    pub types: Vec<String>,
    /// Applied here; `consumer` is the protocol type of consumers, empty that of groups which only commit offsets.
    pub protocol_types: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupListing {
    pub group_id: String,
    pub protocol_type: String,
    pub state: String,
    pub group_type: String,
    /// The broker that listed it, its coordinator.
    pub node: i32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    pub group_id: String,
    pub state: String,
    pub protocol_type: String,
    pub assignor: String,
    pub members: Vec<GroupMember>,
    pub coordinator: Node,
    pub authorized_operations: i32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    pub member_id: String,
    pub group_instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    /// As the member sent it.
    pub metadata: Bytes,
    pub assignment_bytes: Bytes,
    /// Empty when the bytes are not a consumer's assignment.
    pub assignment: Vec<TopicPartition>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberToRemove {
    pub member_id: String,
    pub group_instance_id: Option<String>,
}

fn group_route(group: &str) -> Route {
    Route::Coordinator(CoordinatorKind::Group, group.to_owned())
}

impl Admin {
    /// Asks every broker; what some of them could not tell is in the second list.
    pub async fn list_groups(&self, options: ListGroupsOptions) -> Result<(Vec<GroupListing>, Vec<Error>)> {
        let (mut groups, mut errors) = (Vec::new(), Vec::new());
        for node in self.nodes().await? {
            let request =
                ListGroupsRequest { states_filter: options.states.clone(), types_filter: options.types.clone(), ..Default::default() };
            let response = match self.call(Route::Node(node.id), request, |response| response.error_code).await {
                Ok(response) => response,
                Err(error) => {
                    errors.push(error);
                    continue;
                }
            };
            if let Err(error) = Error::check(response.error_code, None) {
                errors.push(error);
                continue;
            }
            let wanted = |protocol: &String| options.protocol_types.is_empty() || options.protocol_types.contains(protocol);
            groups.extend(response.groups.into_iter().filter(|group| wanted(&group.protocol_type)).map(|group| GroupListing {
                group_id: group.group_id,
                protocol_type: group.protocol_type,
                state: group.group_state,
                group_type: group.group_type,
                node: node.id,
            }));
        }
        groups.sort_by(|a: &GroupListing, b| a.group_id.cmp(&b.group_id));
        groups.dedup_by(|a, b| a.group_id == b.group_id);
        Ok((groups, errors))
    }

    /// Groups by the classic DescribeGroups. A group that does not exist is GROUP_ID_NOT_FOUND (from version 6) or state `Dead`.
    pub async fn describe_groups(&self, groups: &[String]) -> Result<Vec<(String, Result<GroupDescription>)>> {
        let mut results = Vec::new();
        for group in groups {
            let described = self.describe_group(group).await;
            match described {
                Err(error @ (Error::Timeout(_) | Error::Disconnected(_))) if results.is_empty() => return Err(error),
                described => results.push((group.clone(), described)),
            }
        }
        Ok(results)
    }

    async fn describe_group(&self, group: &str) -> Result<GroupDescription> {
        let request = DescribeGroupsRequest { groups: vec![group.to_owned()], ..Default::default() };
        let code = |response: &wire::messages::DescribeGroupsResponse| response.groups.first().map_or(0, |group| group.error_code);
        let response = self.call(group_route(group), request, code).await?;
        let described = response.groups.into_iter().next().ok_or_else(|| Error::broker(ErrorCode::UnknownServerError, None))?;
        Error::check(described.error_code, described.error_message)?;
        let coordinator = self.cluster().find_coordinator(CoordinatorKind::Group, group, self.deadline()).await?;
        let consumers = described.protocol_type == "consumer";
        let members = described.members.into_iter().map(|member| GroupMember {
            assignment: if consumers {
                decode_assignment(&member.member_assignment).map_or_else(|_| Vec::new(), |a| a.partitions)
            } else {
                Vec::new()
            },
            member_id: member.member_id,
            group_instance_id: member.group_instance_id,
            client_id: member.client_id,
            client_host: member.client_host,
            metadata: member.member_metadata,
            assignment_bytes: member.member_assignment,
        });
        Ok(GroupDescription {
            group_id: described.group_id,
            state: described.group_state,
            protocol_type: described.protocol_type,
            assignor: described.protocol_data,
            members: members.collect(),
            coordinator,
            authorized_operations: described.authorized_operations,
        })
    }

    pub async fn delete_groups(&self, groups: &[String]) -> Result<Vec<(String, Result<()>)>> {
        let mut results = Vec::new();
        for group in groups {
            let request = DeleteGroupsRequest { groups_names: vec![group.clone()], ..Default::default() };
            let code = |response: &wire::messages::DeleteGroupsResponse| response.results.first().map_or(0, |result| result.error_code);
            let result = match self.call(group_route(group), request, code).await {
                Ok(response) => Error::check(code(&response), None),
                Err(error) => Err(error),
            };
            results.push((group.clone(), result));
        }
        Ok(results)
    }

    /// Committed offsets of a group, of all its partitions if `partitions` is None. A partition without one is `None`.
    pub async fn list_group_offsets(
        &self,
        group: &str,
        partitions: Option<&[TopicPartition]>,
        require_stable: bool,
    ) -> Result<BTreeMap<TopicPartition, Result<Option<OffsetAndMetadata>>>> {
        let build = |version: i16| offset_fetch_request(version, group, None, partitions, require_stable);
        let code = |response: &OffsetFetchResponse| {
            let group_error = response.groups.first().map_or(response.error_code, |group| group.error_code);
            if group_error != 0 { group_error } else { unstable(response) }
        };
        let response = self.call_versions(group_route(group), 1, OFFSETS_BY_NAME, build, code).await?;
        read_offset_fetch(response)
    }

    pub async fn alter_group_offsets(
        &self,
        group: &str,
        offsets: BTreeMap<TopicPartition, OffsetAndMetadata>,
    ) -> Result<BTreeMap<TopicPartition, Result<()>>> {
        let request = offset_commit_request(group, -1, "", None, &offsets);
        let code = |response: &OffsetCommitResponse| {
            let first = response.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code).next();
            first.filter(|code| *code != ErrorCode::UnknownTopicOrPartition.code()).unwrap_or(0)
        };
        let response = self.call_versions(group_route(group), 2, OFFSETS_BY_NAME, |_| request.clone(), code).await?;
        Ok(read_offset_commit(response).into_iter().collect())
    }

    pub async fn delete_group_offsets(&self, group: &str, partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, Result<()>>> {
        let mut topics: BTreeMap<&str, Vec<OffsetDeleteRequestPartition>> = BTreeMap::new();
        for partition in partitions {
            let entry = OffsetDeleteRequestPartition { partition_index: partition.partition, ..Default::default() };
            topics.entry(&partition.topic).or_default().push(entry);
        }
        let topics = topics.into_iter().map(|(name, partitions)| OffsetDeleteRequestTopic {
            name: name.to_owned(),
            partitions,
            ..Default::default()
        });
        let request = OffsetDeleteRequest { group_id: group.to_owned(), topics: topics.collect(), ..Default::default() };
        let response = self.call(group_route(group), request, |response| response.error_code).await?;
        Error::check(response.error_code, None)?;
        let mut results = BTreeMap::new();
        for topic in response.topics {
            for partition in topic.partitions {
                results.insert(TopicPartition::new(&topic.name, partition.partition_index), Error::check(partition.error_code, None));
            }
        }
        Ok(results)
    }

    /// Takes members out of a group, as if they had left.
    pub async fn remove_members(
        &self,
        group: &str,
        members: Vec<MemberToRemove>,
        reason: &str,
    ) -> Result<Vec<(MemberToRemove, Result<()>)>> {
        let identities = members.into_iter().map(|member| MemberIdentity {
            member_id: member.member_id,
            group_instance_id: member.group_instance_id,
            reason: Some(reason.to_owned()),
            ..Default::default()
        });
        let request = LeaveGroupRequest { group_id: group.to_owned(), members: identities.collect(), ..Default::default() };
        let response = self
            .call_versions(
                group_route(group),
                3,
                i16::MAX,
                |_| request.clone(),
                |response: &wire::messages::LeaveGroupResponse| response.error_code,
            )
            .await?;
        Error::check(response.error_code, None)?;
        let read = |member: wire::messages::leave_group_response::MemberResponse| {
            let result = Error::check(member.error_code, None);
            (MemberToRemove { member_id: member.member_id, group_instance_id: member.group_instance_id }, result)
        };
        Ok(response.members.into_iter().map(read).collect())
    }
}

fn unstable(response: &OffsetFetchResponse) -> i16 {
    let code = ErrorCode::UnstableOffsetCommit.code();
    let found = response.groups.iter().flat_map(|group| &group.topics).flat_map(|topic| &topic.partitions).any(|p| p.error_code == code);
    if found { code } else { 0 }
}

/// OffsetFetch for one group in `version` (at most `OFFSETS_BY_NAME`).
pub(crate) fn offset_fetch_request(
    version: i16,
    group: &str,
    member: Option<&str>,
    partitions: Option<&[TopicPartition]>,
    require_stable: bool,
) -> OffsetFetchRequest {
    let by_topic = partitions.map(|partitions| {
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for partition in partitions {
            topics.entry(&partition.topic).or_default().push(partition.partition);
        }
        topics
    });
    let mut request = OffsetFetchRequest { require_stable: require_stable && version >= 7, ..Default::default() };
    if version >= 8 {
        let topics = by_topic.map(|topics| {
            let topics = topics.into_iter();
            topics
                .map(|(name, partition_indexes)| OffsetFetchRequestTopics {
                    name: name.to_owned(),
                    partition_indexes,
                    ..Default::default()
                })
                .collect()
        });
        request.groups = vec![OffsetFetchRequestGroup {
            group_id: group.to_owned(),
            member_id: member.map(str::to_owned),
            topics,
            ..Default::default()
        }];
    } else {
        request.group_id = group.to_owned();
        request.topics = by_topic.map(|topics| {
            let topics = topics.into_iter();
            topics
                .map(|(name, partition_indexes)| OffsetFetchRequestTopic { name: name.to_owned(), partition_indexes, ..Default::default() })
                .collect()
        });
    }
    request
}

pub(crate) fn read_offset_fetch(mut response: OffsetFetchResponse) -> Result<BTreeMap<TopicPartition, Result<Option<OffsetAndMetadata>>>> {
    Error::check(response.error_code, None)?;
    let mut results = BTreeMap::new();
    let mut add = |topic: &str, index: i32, code: i16, offset: i64, epoch: i32, metadata: Option<String>| {
        let committed = (offset >= 0).then(|| OffsetAndMetadata {
            offset,
            leader_epoch: Some(epoch).filter(|epoch| *epoch >= 0),
            metadata: metadata.unwrap_or_default(),
        });
        results.insert(TopicPartition::new(topic, index), Error::check(code, None).map(|()| committed));
    };
    if let Some(group) = response.groups.pop() {
        Error::check(group.error_code, None)?;
        for topic in group.topics {
            for p in topic.partitions {
                add(&topic.name, p.partition_index, p.error_code, p.committed_offset, p.committed_leader_epoch, p.metadata);
            }
        }
    }
    for topic in response.topics {
        for p in topic.partitions {
            add(&topic.name, p.partition_index, p.error_code, p.committed_offset, p.committed_leader_epoch, p.metadata);
        }
    }
    Ok(results)
}

pub(crate) fn offset_commit_request(
    group: &str,
    generation: i32,
    member: &str,
    instance: Option<&str>,
    offsets: &BTreeMap<TopicPartition, OffsetAndMetadata>,
) -> OffsetCommitRequest {
    let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
    for (partition, committed) in offsets {
        topics.entry(&partition.topic).or_default().push(OffsetCommitRequestPartition {
            partition_index: partition.partition,
            committed_offset: committed.offset,
            committed_leader_epoch: committed.leader_epoch.unwrap_or(-1),
            committed_metadata: Some(committed.metadata.clone()),
            ..Default::default()
        });
    }
    let topics =
        topics.into_iter().map(|(name, partitions)| OffsetCommitRequestTopic { name: name.to_owned(), partitions, ..Default::default() });
    OffsetCommitRequest {
        group_id: group.to_owned(),
        generation_id_or_member_epoch: generation,
        member_id: member.to_owned(),
        group_instance_id: instance.map(str::to_owned),
        topics: topics.collect(),
        ..Default::default()
    }
}

pub(crate) fn read_offset_commit(response: OffsetCommitResponse) -> Vec<(TopicPartition, Result<()>)> {
    let mut results = Vec::new();
    for topic in response.topics {
        for partition in topic.partitions {
            results.push((TopicPartition::new(&topic.name, partition.partition_index), Error::check(partition.error_code, None)));
        }
    }
    results
}
