//! Owns: the connection of a tool to a cluster (`--bootstrap-server`, `--command-config`) and the questions that several tools ask.
//! Used by: all tools that talk to a broker. Never does: print.

use std::collections::{BTreeMap, BTreeSet};

use std::time::Duration;

use base::Uuid;
use client::{Admin, Config, Error};
use regex::Regex;
use wire::ErrorCode;
use wire::messages::describe_configs_request::DescribeConfigsResource;
use wire::messages::describe_configs_response::DescribeConfigsResult;
use wire::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use wire::messages::metadata_request::MetadataRequestTopic;
use wire::messages::*;

use crate::failure::Failure;
use crate::options::Options;
use crate::properties;

/// How long a tool waits for what it cannot do without.
pub const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Runs a tool's asynchronous part on this thread.
pub fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// The client properties of `--command-config`, with the servers of `--bootstrap-server`.
pub fn config(options: &Options) -> Result<Config, Failure> {
    let mut config = Config::new();
    if let Some(file) = options.value("command-config")? {
        config.extend(properties::load(file)?);
    }
    if let Some(servers) = options.value("bootstrap-server")? {
        config.set("bootstrap.servers", servers);
    }
    Ok(config)
}

pub struct TopicListing {
    pub name: String,
    pub id: Uuid,
    pub internal: bool,
}

pub struct TopicDescription {
    pub name: String,
    pub id: Uuid,
    pub partitions: Vec<PartitionDescription>,
}

pub struct PartitionDescription {
    pub partition: i32,
    pub leader: Option<i32>,
    pub replicas: Vec<i32>,
    pub isr: Vec<i32>,
    /// None when the broker was asked in a way that does not tell.
    pub elr: Option<Vec<i32>>,
    pub last_known_elr: Option<Vec<i32>>,
}

pub const TOPIC: i8 = 2;
pub const BROKER: i8 = 4;

pub async fn list_topics(admin: &Admin) -> Result<Vec<TopicListing>, Error> {
    let request = MetadataRequest { topics: None, allow_auto_topic_creation: false, ..Default::default() };
    let response = admin.any(request).await?;
    let mut topics: Vec<TopicListing> = response
        .topics
        .into_iter()
        .filter_map(|topic| Some(TopicListing { name: topic.name?, id: topic.topic_id, internal: topic.is_internal }))
        .collect();
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(topics)
}

/// Descriptions in the order of `names`; the first topic that cannot be described fails the whole.
pub async fn describe_topics(admin: &Admin, names: &[String], page: i32) -> Result<Vec<TopicDescription>, Error> {
    let mut found: BTreeMap<String, TopicDescription> = BTreeMap::new();
    let mut cursor: Option<Cursor> = None;
    if names.is_empty() {
        return Ok(Vec::new());
    }
    loop {
        // Brokers answer in order of name, and a cursor goes on from the topic it stands in.
        let from = cursor.as_ref().map(|cursor| cursor.topic_name.clone());
        let mut wanted: Vec<&String> = names.iter().filter(|name| from.as_ref().is_none_or(|from| *name >= from)).collect();
        wanted.sort();
        let request = DescribeTopicPartitionsRequest {
            topics: wanted.into_iter().map(|name| TopicRequest { name: name.clone(), ..Default::default() }).collect(),
            response_partition_limit: page,
            cursor: cursor.take(),
            ..Default::default()
        };
        let response = match admin.any(request).await {
            Err(Error::UnsupportedVersion(_)) => return describe_by_metadata(admin, names, &[]).await,
            other => other?,
        };
        for topic in response.topics {
            let name = topic.name.unwrap_or_default();
            if topic.error_code != 0 {
                return Err(Error::broker(ErrorCode::from_code(topic.error_code), None));
            }
            let entry = found.entry(name.clone()).or_insert(TopicDescription { name, id: topic.topic_id, partitions: Vec::new() });
            entry.partitions.extend(topic.partitions.into_iter().map(|p| PartitionDescription {
                partition: p.partition_index,
                leader: Some(p.leader_id).filter(|id| *id >= 0),
                replicas: p.replica_nodes,
                isr: p.isr_nodes,
                elr: Some(p.eligible_leader_replicas.unwrap_or_default()),
                last_known_elr: Some(p.last_known_elr.unwrap_or_default()),
            }));
        }
        match response.next_cursor {
            Some(next) => {
                cursor = Some(Cursor { topic_name: next.topic_name, partition_index: next.partition_index, ..Default::default() });
            }
            None => break,
        }
    }
    Ok(names.iter().filter_map(|name| found.remove(name)).collect())
}

/// By name, or by id when ids are given.
pub async fn describe_by_metadata(admin: &Admin, names: &[String], ids: &[Uuid]) -> Result<Vec<TopicDescription>, Error> {
    let by_name = names.iter().map(|name| MetadataRequestTopic { name: Some(name.clone()), ..Default::default() });
    let by_id = ids.iter().map(|id| MetadataRequestTopic { topic_id: *id, name: None, ..Default::default() });
    let request =
        MetadataRequest { topics: Some(by_name.chain(by_id).collect()), allow_auto_topic_creation: false, ..Default::default() };
    let response = admin.any(request).await?;
    let mut topics = Vec::new();
    for topic in response.topics {
        if topic.error_code != 0 {
            return Err(Error::broker(ErrorCode::from_code(topic.error_code), None));
        }
        topics.push(TopicDescription {
            name: topic.name.unwrap_or_default(),
            id: topic.topic_id,
            partitions: topic
                .partitions
                .into_iter()
                .map(|p| PartitionDescription {
                    partition: p.partition_index,
                    leader: Some(p.leader_id).filter(|id| *id >= 0),
                    replicas: p.replica_nodes,
                    isr: p.isr_nodes,
                    elr: None,
                    last_known_elr: None,
                })
                .collect(),
        });
    }
    Ok(topics)
}

/// The configs of resources in the order asked; broker resources are asked of that broker itself.
pub async fn describe_configs(
    admin: &Admin,
    kind: i8,
    names: &[String],
    include_synonyms: bool,
) -> Result<Vec<DescribeConfigsResult>, Error> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let resource = |name: &String| DescribeConfigsResource {
        resource_type: kind,
        resource_name: name.clone(),
        configuration_keys: None,
        ..Default::default()
    };
    let request = |names: &[String]| DescribeConfigsRequest {
        resources: names.iter().map(resource).collect(),
        include_synonyms,
        include_documentation: false,
        ..Default::default()
    };
    let mut results = Vec::new();
    if matches!(kind, 4 | 8) {
        for name in names {
            let response = match name.parse() {
                Ok(id) => admin.node(id, request(std::slice::from_ref(name))).await?,
                Err(_) => admin.any(request(std::slice::from_ref(name))).await?,
            };
            results.extend(response.results);
        }
    } else {
        results = admin.any(request(names)).await?.results;
    }
    match results.iter().find(|result| result.error_code != 0) {
        Some(result) => Err(Error::broker(ErrorCode::from_code(result.error_code), result.error_message.clone())),
        None => Ok(results),
    }
}

/// Ids of the brokers that are alive.
pub async fn live_brokers(admin: &Admin) -> Result<BTreeSet<i32>, Error> {
    let response = admin.any(DescribeClusterRequest { endpoint_type: 1, ..Default::default() }).await?;
    if response.error_code != 0 {
        return Err(Error::broker(ErrorCode::from_code(response.error_code), response.error_message));
    }
    Ok(response.brokers.into_iter().map(|broker| broker.broker_id).collect())
}

/// `TopicFilter.IncludeList`: a Java regular expression that has to match the whole name; commas separate alternatives.
pub struct IncludeList {
    pattern: Regex,
}

impl IncludeList {
    pub fn new(raw: &str) -> Result<Self, String> {
        let text = raw.trim().replace(',', "|").replace(' ', "");
        let text = text.trim_matches(['"', '\'']);
        match Regex::new(&format!("^(?:{text})$")) {
            Ok(pattern) => Ok(IncludeList { pattern }),
            Err(_) => Err(format!("{text} is an invalid regex.")),
        }
    }

    pub fn allows(&self, topic: &str) -> bool {
        self.pattern.is_match(topic)
    }
}

/// Topics that Kafka keeps for itself (`Topic.isInternal`).
pub fn is_internal(topic: &str) -> bool {
    matches!(topic, "__consumer_offsets" | "__transaction_state" | "__share_group_state")
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Message(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn include_lists() {
        let list = IncludeList::new("'a, b.*'").unwrap();
        assert!(list.allows("a") && list.allows("bcd") && !list.allows("ab"));
        assert_eq!(IncludeList::new("[").err().unwrap(), "[ is an invalid regex.");
    }
}
