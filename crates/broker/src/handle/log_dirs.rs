//! DescribeLogDirs and AlterReplicaLogDirs: what lies in which log directory. Kafka: `ReplicaManager.describeLogDirs`,
//! `alterReplicaLogDirs`; KIP-113, KIP-827.

use crate::answer::Handled;
use crate::context::Context;
use base::TopicPartition;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use wire::ErrorCode;
use wire::messages::describe_log_dirs_response::{DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic};
use wire::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};

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
            ..Default::default()
        },
        Err(error) => {
            tracing::warn!(dir = log_dir, %error, "log directory cannot be described");
            DescribeLogDirsResult { error_code: ErrorCode::KafkaStorageError.code(), log_dir, ..Default::default() }
        }
    }
}
