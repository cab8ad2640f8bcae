//! DescribeLogDirs and AlterReplicaLogDirs: what lies in which log directory. Kafka: `ReplicaManager.describeLogDirs`,
//! `alterReplicaLogDirs`; KIP-113, KIP-827.

use crate::answer::Handled;
use crate::context::Context;
use base::TopicPartition;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use wire::ErrorCode;
use wire::messages::alter_replica_log_dirs_response::{AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult};
use wire::messages::describe_log_dirs_response::{DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic};
use wire::messages::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse, DescribeLogDirsRequest, DescribeLogDirsResponse};

pub(super) fn describe(c: &mut Context, request: DescribeLogDirsRequest) -> Handled {
    // Null asks for all.
    let wanted: Option<BTreeSet<(String, i32)>> = request.topics.map(|topics| {
        let named = topics.into_iter().flat_map(|t| t.partitions.into_iter().map(move |index| (t.topic.clone(), index)));
        named.collect()
    });
    let mut found: BTreeMap<&Path, Topics> = BTreeMap::new();
    let replicas = c.broker.replicas();
    for partition in replicas.all() {
        let TopicPartition { topic, partition: index } = &partition.topic_partition;
        if wanted.as_ref().is_some_and(|wanted| !wanted.contains(&(topic.clone(), *index))) {
            continue;
        }
        let Some((parent, size)) = partition.with_log(|log| (log.dir().parent().map(Path::to_owned), log.size())) else { continue };
        let Some(dir) = replicas.dirs().iter().find(|dir| Some(&dir.path) == parent.as_ref()) else { continue };
        let described = DescribeLogDirsPartition { partition_index: *index, partition_size: size as i64, ..Default::default() };
        found.entry(&dir.path).or_default().entry(topic.clone()).or_default().push(described);
    }
    for future in replicas.future_replicas() {
        let TopicPartition { topic, partition: index } = future.topic_partition;
        let Some(dir) = replicas.dirs().iter().find(|dir| dir.path == future.log_dir) else { continue };
        if wanted.as_ref().is_none_or(|wanted| wanted.contains(&(topic.clone(), index))) {
            let described = DescribeLogDirsPartition {
                partition_index: index,
                partition_size: future.size as i64,
                offset_lag: future.lag,
                is_future_key: true,
                ..Default::default()
            };
            found.entry(&dir.path).or_default().entry(topic).or_default().push(described);
        }
    }
    let results = replicas.dirs().iter().map(|dir| result(c, &dir.path, found.remove(&*dir.path).unwrap_or_default()));
    c.answer(&DescribeLogDirsResponse { results: results.collect(), ..Default::default() })
}

type Topics = BTreeMap<String, Vec<DescribeLogDirsPartition>>;

fn result(c: &Context, dir: &Path, topics: Topics) -> DescribeLogDirsResult {
    let log_dir = dir.display().to_string();
    match c.broker.replicas().disk().space(dir) {
        Ok(space) => DescribeLogDirsResult {
            log_dir,
            topics: topics.into_iter().map(|(name, partitions)| DescribeLogDirsTopic { name, partitions, ..Default::default() }).collect(),
            total_bytes: space.total.try_into().unwrap_or(i64::MAX),
            usable_bytes: space.usable.try_into().unwrap_or(i64::MAX),
            is_cordoned: c.image.metadata_version().supports_cordoned_log_dirs() && is_cordoned(c, dir),
            ..Default::default()
        },
        Err(error) => {
            tracing::warn!(dir = log_dir, %error, "log directory cannot be described");
            DescribeLogDirsResult { error_code: ErrorCode::KafkaStorageError.code(), log_dir, ..Default::default() }
        }
    }
}

fn is_cordoned(c: &Context, dir: &Path) -> bool {
    c.broker.replicas().cordoned_dirs().iter().any(|cordoned| cordoned.path == dir)
}

pub(super) fn alter(c: &mut Context, request: AlterReplicaLogDirsRequest) -> Handled {
    // Where a partition is named twice, the last counts.
    let mut wanted: BTreeMap<(String, i32), String> = BTreeMap::new();
    for dir in request.dirs {
        for topic in dir.topics {
            wanted.extend(topic.partitions.into_iter().map(|index| ((topic.name.clone(), index), dir.path.clone())));
        }
    }
    let mut results: Vec<AlterReplicaLogDirTopicResult> = Vec::new();
    for ((topic_name, partition_index), path) in wanted {
        let error_code = alter_one(c, &topic_name, partition_index, &path).map_or_else(ErrorCode::code, |()| 0);
        let partition = AlterReplicaLogDirPartitionResult { partition_index, error_code, ..Default::default() };
        match results.last_mut().filter(|topic| topic.topic_name == topic_name) {
            Some(topic) => topic.partitions.push(partition),
            None => results.push(AlterReplicaLogDirTopicResult { topic_name, partitions: vec![partition], ..Default::default() }),
        }
    }
    c.answer(&AlterReplicaLogDirsResponse { results, ..Default::default() })
}

/// `topic-partition.<32 digits>-future` must be a file name.
const NAME_MAX: usize = 255 - ".-future".len() - 32;

fn alter_one(c: &Context, topic: &str, index: i32, path: &str) -> Result<(), ErrorCode> {
    let name = TopicPartition::new(topic, index);
    if name.to_string().len() > NAME_MAX {
        return Err(ErrorCode::InvalidTopicException);
    }
    let replicas = c.broker.replicas();
    let dir = replicas.dirs().iter().find(|dir| dir.path.as_os_str() == path).ok_or(ErrorCode::LogDirNotFound)?;
    if is_cordoned(c, &dir.path) {
        return Err(ErrorCode::InvalidReplicaAssignment);
    }
    let Some(partition) = replicas.get(topic, index) else {
        let exists = c.image.topics.get(topic).is_some_and(|topic| topic.partitions.contains_key(&index));
        return Err(if exists { ErrorCode::ReplicaNotAvailable } else { ErrorCode::UnknownTopicOrPartition });
    };
    replicas.move_to(&partition, dir, c.now).map_err(|error| {
        tracing::warn!(partition = %name, dir = path, %error, "replica cannot be moved");
        ErrorCode::KafkaStorageError
    })
}
