//! Owns: topic calls — list, describe, create, delete, more partitions, delete records.

use super::{Admin, Route};
use crate::driver::Topics;
use crate::error::{Error, Result};
use crate::types::Node;
use base::{TopicPartition, Uuid};
use std::collections::{BTreeMap, HashMap};
use wire::ErrorCode;
use wire::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use wire::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig};
use wire::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use wire::messages::delete_topics_request::DeleteTopicState;
use wire::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use wire::messages::describe_topic_partitions_response::DescribeTopicPartitionsResponseTopic;
use wire::messages::metadata_request::MetadataRequestTopic;
use wire::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest, DeleteRecordsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
    DescribeTopicPartitionsRequest, MetadataRequest, MetadataResponse,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicListing {
    pub name: String,
    pub topic_id: Uuid,
    pub internal: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    pub name: String,
    pub topic_id: Uuid,
    pub internal: bool,
    /// By partition.
    pub partitions: Vec<TopicPartitionInfo>,
    pub authorized_operations: i32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPartitionInfo {
    pub partition: i32,
    pub leader: Option<Node>,
    pub leader_epoch: i32,
    pub replicas: Vec<Node>,
    pub isr: Vec<Node>,
    /// Eligible leader replicas; None if the broker did not say.
    pub elr: Option<Vec<Node>>,
    pub last_known_elr: Option<Vec<Node>>,
}

/// -1 for partitions or replication factor takes the broker's default; assignments replace both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewTopic {
    pub name: String,
    pub num_partitions: i32,
    pub replication_factor: i16,
    pub assignments: BTreeMap<i32, Vec<i32>>,
    pub configs: BTreeMap<String, String>,
}

impl NewTopic {
    pub fn new(name: impl Into<String>, num_partitions: i32, replication_factor: i16) -> Self {
        Self { name: name.into(), num_partitions, replication_factor, ..Default::default() }
    }

    pub fn config(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.configs.insert(name.into(), value.to_string());
        self
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CreateTopicsOptions {
    pub validate_only: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    pub topic_id: Uuid,
    pub num_partitions: i32,
    pub replication_factor: i16,
    /// Name and value of every config; None if the broker would not say.
    pub configs: Option<Vec<(String, Option<String>)>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPartitions {
    pub topic: String,
    /// How many partitions the topic has afterwards.
    pub total_count: i32,
    /// Brokers of each new partition.
    pub assignments: Option<Vec<Vec<i32>>>,
}

/// The error that makes a whole answer worth another try: a controller or coordinator that is not there.
fn moved(codes: impl IntoIterator<Item = i16>) -> i16 {
    let transient =
        [ErrorCode::NotController, ErrorCode::CoordinatorNotAvailable, ErrorCode::CoordinatorLoadInProgress, ErrorCode::NotCoordinator];
    codes.into_iter().find(|code| transient.iter().any(|error| error.code() == *code)).unwrap_or(0)
}

impl Admin {
    /// All topics, internal ones too, by name.
    pub async fn list_topics(&self) -> Result<Vec<TopicListing>> {
        let response = self.metadata(Topics::All).await?;
        let mut topics: Vec<TopicListing> = response
            .topics
            .into_iter()
            .filter_map(|topic| Some(TopicListing { name: topic.name?, topic_id: topic.topic_id, internal: topic.is_internal }))
            .collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// Topics by name, in the order asked for. Uses DescribeTopicPartitions, or Metadata on brokers without it.
    pub async fn describe_topics(&self, names: &[String]) -> Result<Vec<(String, Result<TopicDescription>)>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        match self.describe_by_pages(names).await {
            Err(error) if error.code() == Some(ErrorCode::UnsupportedVersion) => self.describe_by_metadata(names).await,
            result => result,
        }
    }

    async fn describe_by_pages(&self, names: &[String]) -> Result<Vec<(String, Result<TopicDescription>)>> {
        let nodes: HashMap<i32, Node> = self.nodes().await?.into_iter().map(|node| (node.id, node)).collect();
        let mut sorted = names.to_vec();
        sorted.sort();
        sorted.dedup();
        let mut found: HashMap<String, Result<TopicDescription>> = HashMap::new();
        let mut cursor: Option<Cursor> = None;
        loop {
            let from = cursor.as_ref().map_or("", |cursor| cursor.topic_name.as_str()).to_owned();
            let topics = sorted.iter().filter(|name| **name >= from);
            let topics = topics.map(|name| TopicRequest { name: name.clone(), ..Default::default() }).collect();
            let request = DescribeTopicPartitionsRequest { topics, cursor: cursor.clone(), ..Default::default() };
            let response = self.any(request).await?;
            for topic in response.topics {
                let Some(name) = topic.name.clone() else { continue };
                merge_page(&mut found, name, topic, &nodes);
            }
            cursor = match response.next_cursor {
                None => break,
                Some(next) => {
                    let next = Cursor { topic_name: next.topic_name, partition_index: next.partition_index, ..Default::default() };
                    // A cursor that stands still would page for ever.
                    if cursor.as_ref() == Some(&next) {
                        break;
                    }
                    Some(next)
                }
            };
        }
        let missing = |name: &String| Err(unknown_topic(name));
        Ok(names.iter().map(|name| (name.clone(), found.remove(name).unwrap_or_else(|| missing(name)))).collect())
    }

    async fn describe_by_metadata(&self, names: &[String]) -> Result<Vec<(String, Result<TopicDescription>)>> {
        let response = self.metadata(Topics::Names(names.to_vec())).await?;
        let mut described = describe_metadata(response);
        let by_name = |name: &String, described: &mut Vec<(Option<String>, Uuid, Result<TopicDescription>)>| {
            let position = described.iter().position(|(found, _, _)| found.as_ref() == Some(name))?;
            Some(described.swap_remove(position).2)
        };
        Ok(names.iter().map(|name| (name.clone(), by_name(name, &mut described).unwrap_or_else(|| Err(unknown_topic(name))))).collect())
    }

    pub async fn describe_topics_by_id(&self, ids: &[Uuid]) -> Result<Vec<(Uuid, Result<TopicDescription>)>> {
        let topics = ids.iter().map(|id| MetadataRequestTopic { topic_id: *id, name: None, ..Default::default() }).collect();
        let request = MetadataRequest { topics: Some(topics), allow_auto_topic_creation: false, ..Default::default() };
        let response = self.call_versions(Route::Any, 12, i16::MAX, |_| request.clone(), |response: &MetadataResponse| response.error_code);
        Ok(describe_metadata(response.await?).into_iter().map(|(_, id, description)| (id, description)).collect())
    }

    pub async fn create_topics(&self, topics: Vec<NewTopic>, options: CreateTopicsOptions) -> Result<Vec<(String, Result<CreatedTopic>)>> {
        let topics = topics.into_iter().map(|topic| {
            let by_hand = !topic.assignments.is_empty();
            let assignments = topic.assignments.into_iter();
            let configs = topic.configs.into_iter();
            CreatableTopic {
                name: topic.name,
                num_partitions: if by_hand { -1 } else { topic.num_partitions },
                replication_factor: if by_hand { -1 } else { topic.replication_factor },
                assignments: assignments
                    .map(|(partition_index, broker_ids)| CreatableReplicaAssignment { partition_index, broker_ids, ..Default::default() })
                    .collect(),
                configs: configs.map(|(name, value)| CreatableTopicConfig { name, value: Some(value), ..Default::default() }).collect(),
                ..Default::default()
            }
        });
        let request = CreateTopicsRequest {
            topics: topics.collect(),
            timeout_ms: self.timeout_ms(),
            validate_only: options.validate_only,
            ..Default::default()
        };
        let response =
            self.call(Route::Controller, request, |response| moved(response.topics.iter().map(|topic| topic.error_code))).await?;
        self.cluster().refresh_metadata();
        let read = |topic: wire::messages::create_topics_response::CreatableTopicResult| {
            let configs = topic.configs.map(|configs| configs.into_iter().map(|config| (config.name, config.value)).collect());
            let created = Error::check(topic.error_code, topic.error_message).map(|()| CreatedTopic {
                topic_id: topic.topic_id,
                num_partitions: topic.num_partitions,
                replication_factor: topic.replication_factor,
                configs,
            });
            (topic.name, created)
        };
        Ok(response.topics.into_iter().map(read).collect())
    }

    pub async fn delete_topics(&self, names: &[String]) -> Result<Vec<(String, Result<()>)>> {
        let build = |version: i16| DeleteTopicsRequest {
            topics: if version >= 6 {
                names.iter().map(|name| DeleteTopicState { name: Some(name.clone()), ..Default::default() }).collect()
            } else {
                Vec::new()
            },
            topic_names: if version < 6 { names.to_vec() } else { Vec::new() },
            timeout_ms: self.timeout_ms(),
            ..Default::default()
        };
        let code = |response: &DeleteTopicsResponse| moved(response.responses.iter().map(|topic| topic.error_code));
        let response = self.call_versions(Route::Controller, 0, i16::MAX, build, code).await?;
        let read = |topic: wire::messages::delete_topics_response::DeletableTopicResult| {
            (topic.name.unwrap_or_default(), Error::check(topic.error_code, topic.error_message))
        };
        Ok(response.responses.into_iter().map(read).collect())
    }

    pub async fn delete_topics_by_id(&self, ids: &[Uuid]) -> Result<Vec<(Uuid, Result<()>)>> {
        let build = |_: i16| DeleteTopicsRequest {
            topics: ids.iter().map(|id| DeleteTopicState { name: None, topic_id: *id, ..Default::default() }).collect(),
            timeout_ms: self.timeout_ms(),
            ..Default::default()
        };
        let code = |response: &DeleteTopicsResponse| moved(response.responses.iter().map(|topic| topic.error_code));
        let response = self.call_versions(Route::Controller, 6, i16::MAX, build, code).await?;
        let read = |topic: wire::messages::delete_topics_response::DeletableTopicResult| {
            (topic.topic_id, Error::check(topic.error_code, topic.error_message))
        };
        Ok(response.responses.into_iter().map(read).collect())
    }

    pub async fn create_partitions(&self, topics: Vec<NewPartitions>, validate_only: bool) -> Result<Vec<(String, Result<()>)>> {
        let topics = topics.into_iter().map(|topic| CreatePartitionsTopic {
            name: topic.topic,
            count: topic.total_count,
            assignments: topic.assignments.map(|brokers| {
                brokers.into_iter().map(|broker_ids| CreatePartitionsAssignment { broker_ids, ..Default::default() }).collect()
            }),
            ..Default::default()
        });
        let request =
            CreatePartitionsRequest { topics: topics.collect(), timeout_ms: self.timeout_ms(), validate_only, ..Default::default() };
        let response =
            self.call(Route::Controller, request, |response| moved(response.results.iter().map(|topic| topic.error_code))).await?;
        self.cluster().refresh_metadata();
        Ok(response.results.into_iter().map(|topic| (topic.name, Error::check(topic.error_code, topic.error_message))).collect())
    }

    /// Deletes what lies before an offset (-1: the high watermark); returns the new low watermarks.
    pub async fn delete_records(&self, before: Vec<(TopicPartition, i64)>) -> Result<Vec<(TopicPartition, Result<i64>)>> {
        let offsets: HashMap<TopicPartition, i64> = before.iter().cloned().collect();
        let partitions: Vec<TopicPartition> = before.into_iter().map(|(partition, _)| partition).collect();
        let timeout_ms = self.timeout_ms();
        let build = |group: &[(TopicPartition, i32)]| {
            let mut topics: BTreeMap<&str, Vec<DeleteRecordsPartition>> = BTreeMap::new();
            for (partition, _) in group {
                topics.entry(&partition.topic).or_default().push(DeleteRecordsPartition {
                    partition_index: partition.partition,
                    offset: offsets.get(partition).copied().unwrap_or(-1),
                    ..Default::default()
                });
            }
            let topics =
                topics.into_iter().map(|(name, partitions)| DeleteRecordsTopic { name: name.to_owned(), partitions, ..Default::default() });
            DeleteRecordsRequest { topics: topics.collect(), timeout_ms, ..Default::default() }
        };
        let read = |response: DeleteRecordsResponse| {
            let mut results = Vec::new();
            for topic in response.topics {
                for partition in topic.partitions {
                    let result = Error::check(partition.error_code, None).map(|()| partition.low_watermark);
                    results.push((TopicPartition::new(&topic.name, partition.partition_index), result));
                }
            }
            results
        };
        Ok(self.per_leader(&partitions, 0, build, read).await?.into_iter().collect())
    }
}

fn unknown_topic(name: &str) -> Error {
    Error::broker(ErrorCode::UnknownTopicOrPartition, Some(format!("Topic {name} not found.")))
}

fn node_of(nodes: &HashMap<i32, Node>, id: i32) -> Node {
    // Java too shows a broker it knows no address of, with an empty one.
    nodes.get(&id).cloned().unwrap_or(Node { id, host: String::new(), port: 0, rack: None })
}

fn merge_page(
    found: &mut HashMap<String, Result<TopicDescription>>,
    name: String,
    topic: DescribeTopicPartitionsResponseTopic,
    nodes: &HashMap<i32, Node>,
) {
    if topic.error_code != 0 {
        found.insert(name, Err(Error::from_code(topic.error_code, None)));
        return;
    }
    let resolve = |ids: Vec<i32>| -> Vec<Node> { ids.into_iter().map(|id| node_of(nodes, id)).collect() };
    let entry = found.entry(name.clone()).or_insert_with(|| {
        Ok(TopicDescription {
            name,
            topic_id: topic.topic_id,
            internal: topic.is_internal,
            partitions: Vec::new(),
            authorized_operations: topic.topic_authorized_operations,
        })
    });
    let Ok(description) = entry else { return };
    for partition in topic.partitions {
        description.partitions.push(TopicPartitionInfo {
            partition: partition.partition_index,
            leader: (partition.leader_id >= 0).then(|| node_of(nodes, partition.leader_id)),
            leader_epoch: partition.leader_epoch,
            replicas: resolve(partition.replica_nodes),
            isr: resolve(partition.isr_nodes),
            elr: partition.eligible_leader_replicas.map(resolve),
            last_known_elr: partition.last_known_elr.map(resolve),
        });
    }
    description.partitions.sort_by_key(|partition| partition.partition);
}

fn describe_metadata(response: MetadataResponse) -> Vec<(Option<String>, Uuid, Result<TopicDescription>)> {
    let nodes: HashMap<i32, Node> = response
        .brokers
        .into_iter()
        .map(|broker| {
            let port = u16::try_from(broker.port).unwrap_or(0);
            (broker.node_id, Node { id: broker.node_id, host: broker.host, port, rack: broker.rack })
        })
        .collect();
    let resolve = |ids: Vec<i32>| -> Vec<Node> { ids.into_iter().map(|id| node_of(&nodes, id)).collect() };
    let read = |topic: wire::messages::metadata_response::MetadataResponseTopic| {
        let (name, id) = (topic.name.clone(), topic.topic_id);
        let description = Error::check(topic.error_code, None).map(|()| {
            let mut partitions: Vec<TopicPartitionInfo> = topic
                .partitions
                .into_iter()
                .map(|partition| TopicPartitionInfo {
                    partition: partition.partition_index,
                    leader: (partition.leader_id >= 0).then(|| node_of(&nodes, partition.leader_id)),
                    leader_epoch: partition.leader_epoch,
                    replicas: resolve(partition.replica_nodes),
                    isr: resolve(partition.isr_nodes),
                    elr: None,
                    last_known_elr: None,
                })
                .collect();
            partitions.sort_by_key(|partition| partition.partition);
            TopicDescription {
                name: topic.name.unwrap_or_default(),
                topic_id: topic.topic_id,
                internal: topic.is_internal,
                partitions,
                authorized_operations: topic.topic_authorized_operations,
            }
        });
        (name, id, description)
    };
    response.topics.into_iter().map(read).collect()
}
