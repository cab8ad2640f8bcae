//! Owns: the questions to the cluster that several actions ask.

use std::collections::{BTreeMap, BTreeSet};

use base::TopicPartition;
use client::{Admin, Error};
use wire::ErrorCode;
use wire::messages::describe_log_dirs_request::DescribableLogDirTopic;
use wire::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use wire::messages::{DescribeLogDirsRequest, ListPartitionReassignmentsRequest};

use super::plan::Replica;
use crate::failure::Failure;
use crate::java::exception_text;

/// As Java's ExecutionException puts it.
pub fn executed(error: Error) -> Failure {
    Failure::new(exception_text(&error))
}

pub fn timeout_ms(admin: &Admin) -> i32 {
    i32::try_from(admin.timeout().as_millis()).unwrap_or(i32::MAX)
}

/// A partition that is on its way.
pub struct Reassignment {
    pub replicas: Vec<i32>,
    pub adding: Vec<i32>,
    pub removing: Vec<i32>,
}

pub async fn brokers(admin: &Admin) -> Result<BTreeSet<i32>, Failure> {
    Ok(admin.describe_cluster().await.map_err(executed)?.nodes.into_iter().map(|(node, _)| node.id).collect())
}

/// What is being moved, of some partitions or of all.
pub async fn reassignments(admin: &Admin, wanted: Option<&[TopicPartition]>) -> Result<BTreeMap<TopicPartition, Reassignment>, Failure> {
    let topics = wanted.map(|partitions| {
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for partition in partitions {
            topics.entry(partition.topic.as_ref()).or_default().push(partition.partition);
        }
        let topic = |(name, partition_indexes): (&str, Vec<i32>)| ListPartitionReassignmentsTopics {
            name: name.to_owned(),
            partition_indexes,
            ..Default::default()
        };
        topics.into_iter().map(topic).collect()
    });
    let request = ListPartitionReassignmentsRequest { timeout_ms: timeout_ms(admin), topics, ..Default::default() };
    let response = admin.controller(request).await.map_err(executed)?;
    if response.error_code != 0 {
        return Err(executed(Error::broker(ErrorCode::from_code(response.error_code), response.error_message)));
    }
    let mut found = BTreeMap::new();
    for topic in response.topics {
        for p in topic.partitions {
            let moving = Reassignment { replicas: p.replicas, adding: p.adding_replicas, removing: p.removing_replicas };
            found.insert(TopicPartition::new(topic.name.clone(), p.partition_index), moving);
        }
    }
    Ok(found)
}

/// The replicas of topics; None in the place of a topic that is not there.
pub async fn replicas(admin: &Admin, topics: &[String]) -> Result<Vec<(String, Option<Vec<Vec<i32>>>)>, Failure> {
    if topics.is_empty() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for (name, described) in admin.describe_topics(topics).await.map_err(executed)? {
        let replicas = match described {
            Ok(mut topic) => {
                topic.partitions.sort_by_key(|p| p.partition);
                Some(topic.partitions.into_iter().map(|p| p.replicas.into_iter().map(|node| node.id).collect()).collect())
            }
            Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => None,
            Err(error) => return Err(executed(error)),
        };
        found.push((name, replicas));
    }
    Ok(found)
}

/// As `replicas`, by partition; a topic that is not there is an error.
pub async fn assignments(admin: &Admin, topics: &[String]) -> Result<BTreeMap<TopicPartition, Vec<i32>>, Failure> {
    let mut found = BTreeMap::new();
    for (name, partitions) in replicas(admin, topics).await? {
        let Some(partitions) = partitions else {
            let text = format!("Topic {name} not found.");
            return Err(executed(Error::broker(ErrorCode::UnknownTopicOrPartition, Some(text))));
        };
        found.extend((0..).zip(partitions).map(|(partition, replicas)| (TopicPartition::new(name.clone(), partition), replicas)));
    }
    Ok(found)
}

/// Where a replica is, and where it is moved to.
#[derive(Default)]
pub struct Dirs {
    pub current: Option<String>,
    pub future: Option<String>,
}

pub async fn log_dirs<'a>(admin: &Admin, wanted: impl Iterator<Item = &'a Replica>) -> Result<BTreeMap<Replica, Dirs>, Failure> {
    let mut found: BTreeMap<Replica, Dirs> = wanted.map(|replica| (replica.clone(), Dirs::default())).collect();
    let brokers: BTreeSet<i32> = found.keys().map(|(_, broker)| *broker).collect();
    for broker in brokers {
        let mut topics: BTreeMap<String, Vec<i32>> = BTreeMap::new();
        for (partition, _) in found.keys().filter(|(_, at)| *at == broker) {
            topics.entry(partition.topic.to_string()).or_default().push(partition.partition);
        }
        let topics = topics.into_iter().map(|(topic, partitions)| DescribableLogDirTopic { topic, partitions, ..Default::default() });
        let request = DescribeLogDirsRequest { topics: Some(topics.collect()), ..Default::default() };
        let response = admin.node(broker, request).await.map_err(executed)?;
        for dir in response.results.into_iter().filter(|dir| dir.error_code == 0) {
            for topic in dir.topics {
                for p in topic.partitions {
                    let replica = (TopicPartition::new(topic.name.clone(), p.partition_index), broker);
                    let Some(dirs) = found.get_mut(&replica) else { continue };
                    let slot = if p.is_future_key { &mut dirs.future } else { &mut dirs.current };
                    *slot = Some(dir.log_dir.clone());
                }
            }
        }
    }
    Ok(found)
}

/// The directories of all replicas of some partitions, as far as they are known.
pub async fn current_log_dirs(
    admin: &Admin,
    partitions: &BTreeMap<TopicPartition, Vec<i32>>,
) -> Result<BTreeMap<Replica, String>, Failure> {
    let replicas: Vec<Replica> =
        partitions.iter().flat_map(|(partition, brokers)| brokers.iter().map(|broker| (partition.clone(), *broker))).collect();
    let found = log_dirs(admin, replicas.iter()).await?;
    Ok(found.into_iter().filter_map(|(replica, dirs)| Some((replica, dirs.current?))).collect())
}
