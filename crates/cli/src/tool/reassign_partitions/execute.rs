//! `--execute` and `--cancel`: starts moves and takes them back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use base::TopicPartition;
use client::{Admin, Error};
use wire::ErrorCode;
use wire::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use wire::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use wire::messages::{AlterPartitionReassignmentsRequest, AlterReplicaLogDirsRequest};

use super::cluster::{self, executed, timeout_ms};
use super::plan::{self, Plan, Replica};
use super::throttle;
use crate::failure::Failure;
use crate::out::{say, say_part};

pub struct Wishes {
    pub additional: bool,
    /// Bytes a second; negative means no limit.
    pub throttle: i64,
    pub log_dirs_throttle: i64,
    pub timeout_ms: i64,
    pub keep_replication_factor: bool,
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

pub async fn run(admin: &Admin, plan: &Plan, wishes: &Wishes) -> Result<(), Failure> {
    let under_way = cluster::reassignments(admin, None).await?;
    if !wishes.additional && !under_way.is_empty() {
        return Err(Failure::Refused(
            "Cannot execute because there is an existing partition assignment.  Use --additional to override this and create a new \
             partition assignment in addition to the existing one. The --additional flag can also be used to change the throttle by \
             resubmitting the current reassignment."
                .to_owned(),
        ));
    }
    let known = cluster::brokers(admin).await?;
    let wanted: BTreeSet<i32> = plan.partitions.iter().flat_map(|(_, replicas)| replicas).copied().collect();
    if let Some(unknown) = wanted.difference(&known).next() {
        return Err(Failure::new(format!("Unknown broker id {unknown}")));
    }
    let partitions: BTreeSet<&TopicPartition> = plan.partitions.iter().map(|(partition, _)| partition).collect();
    let mut current = cluster::assignments(admin, &plan.topics()).await?;
    current.retain(|partition, _| partitions.contains(partition));
    let missing: Vec<String> = partitions.iter().filter(|p| !current.contains_key(**p)).map(|p| p.to_string()).collect();
    if !missing.is_empty() {
        let text = format!("Unable to find partition: {}", missing.join(", "));
        return Err(executed(Error::broker(ErrorCode::UnknownTopicOrPartition, Some(text))));
    }
    let dirs = cluster::current_log_dirs(admin, &current).await?;
    say!("Current partition replica assignment\n\n{}\n", plan::format(&current, &dirs));
    say!("Save this to use as the --reassignment-json-file option during rollback");
    if wishes.throttle >= 0 || wishes.log_dirs_throttle >= 0 {
        say!("Warning: You must run --verify periodically, until the reassignment completes, to ensure the throttle is removed.");
        if wishes.throttle >= 0 {
            throttle::between_brokers(admin, &under_way, plan, &current, wishes.throttle).await?;
        }
        if wishes.log_dirs_throttle >= 0 {
            throttle::between_log_dirs(admin, plan, wishes.log_dirs_throttle).await?;
        }
    }
    let changes: BTreeMap<TopicPartition, Option<Vec<i32>>> =
        plan.partitions.iter().map(|(p, ids)| (p.clone(), Some(ids.clone()))).collect();
    let errors = reassign(admin, &changes, !wishes.keep_replication_factor).await;
    if !errors.is_empty() {
        return Err(Failure::Refused(format!("Error reassigning partition(s):\n{}", told(&errors))));
    }
    say!("Successfully started partition reassignment{} for {}", plural(changes.len()), joined(changes.keys()));
    if plan.log_dirs.is_empty() { Ok(()) } else { move_dirs(admin, plan.log_dirs.clone(), wishes.timeout_ms).await }
}

fn joined<'a>(partitions: impl Iterator<Item = &'a TopicPartition>) -> String {
    partitions.map(TopicPartition::to_string).collect::<Vec<_>>().join(",")
}

fn told(errors: &BTreeMap<TopicPartition, Error>) -> String {
    errors.iter().map(|(partition, error)| format!("{partition}: {error}")).collect::<Vec<_>>().join("\n")
}

/// New replicas for partitions, or None to call a move off; what could not be done and why.
async fn reassign(
    admin: &Admin,
    changes: &BTreeMap<TopicPartition, Option<Vec<i32>>>,
    allow_replication_factor_change: bool,
) -> BTreeMap<TopicPartition, Error> {
    let all = |error: Error| changes.keys().map(|partition| (partition.clone(), error.clone())).collect();
    let mut topics: BTreeMap<&str, Vec<ReassignablePartition>> = BTreeMap::new();
    for (partition, replicas) in changes {
        let entry = ReassignablePartition { partition_index: partition.partition, replicas: replicas.clone(), ..Default::default() };
        topics.entry(partition.topic.as_ref()).or_default().push(entry);
    }
    let topic = |(name, partitions): (&str, Vec<ReassignablePartition>)| ReassignableTopic {
        name: name.to_owned(),
        partitions,
        ..Default::default()
    };
    let request = AlterPartitionReassignmentsRequest {
        timeout_ms: timeout_ms(admin),
        allow_replication_factor_change,
        topics: topics.into_iter().map(topic).collect(),
        ..Default::default()
    };
    let response = match admin.controller(request).await {
        Ok(response) => response,
        Err(error) => return all(error),
    };
    if response.error_code != 0 {
        return all(Error::broker(ErrorCode::from_code(response.error_code), response.error_message));
    }
    let mut errors = BTreeMap::new();
    for topic in response.responses {
        for result in topic.partitions.into_iter().filter(|result| result.error_code != 0) {
            let error = Error::broker(ErrorCode::from_code(result.error_code), result.error_message);
            errors.insert(TopicPartition::new(topic.name.clone(), result.partition_index), error);
        }
    }
    errors
}

/// Asks until every broker has taken its moves on: one that does not have the replica yet will have it soon.
async fn move_dirs(admin: &Admin, mut pending: BTreeMap<Replica, String>, timeout_ms: i64) -> Result<(), Failure> {
    let deadline = Instant::now() + Duration::from_millis(timeout_ms.max(0).unsigned_abs());
    loop {
        let mut started = start_moves(admin, &pending).await?;
        started.sort_by(|(a, at), (b, bt)| at.cmp(bt).then(a.cmp(b)));
        for replica in started {
            let (partition, broker) = &replica;
            let dir = pending.remove(&replica).unwrap_or_default();
            say!("Successfully started moving log directory to {dir} for replica {partition} with broker {broker} ");
        }
        if pending.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let mut left: Vec<&Replica> = pending.keys().collect();
            left.sort_by_key(|(partition, broker)| (*broker, partition));
            let left: Vec<String> = left.into_iter().map(|(partition, broker)| format!("{partition}-{broker}")).collect();
            let count = plural(left.len());
            return Err(Failure::Refused(format!("Timed out before log directory move{count} could be started for: {}", left.join(","))));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn start_moves(admin: &Admin, pending: &BTreeMap<Replica, String>) -> Result<Vec<Replica>, Failure> {
    let brokers: BTreeSet<i32> = pending.keys().map(|(_, broker)| *broker).collect();
    let mut started = Vec::new();
    for broker in brokers {
        let mut dirs: BTreeMap<&str, BTreeMap<String, Vec<i32>>> = BTreeMap::new();
        for ((partition, _), dir) in pending.iter().filter(|((_, at), _)| *at == broker) {
            dirs.entry(dir).or_default().entry(partition.topic.to_string()).or_default().push(partition.partition);
        }
        let topic = |(name, partitions): (String, Vec<i32>)| AlterReplicaLogDirTopic { name, partitions, ..Default::default() };
        let dir = |(path, topics): (&str, BTreeMap<String, Vec<i32>>)| AlterReplicaLogDir {
            path: path.to_owned(),
            topics: topics.into_iter().map(topic).collect(),
            ..Default::default()
        };
        let request = AlterReplicaLogDirsRequest { dirs: dirs.into_iter().map(dir).collect(), ..Default::default() };
        let response = admin.node(broker, request).await.map_err(executed)?;
        for topic in response.results {
            for result in topic.partitions {
                let partition = TopicPartition::new(topic.topic_name.clone(), result.partition_index);
                match ErrorCode::from_code(result.error_code) {
                    ErrorCode::None => started.push((partition, broker)),
                    ErrorCode::ReplicaNotAvailable => {}
                    _ => return Err(Failure::new(format!("Failed to alter dir for {partition}-{broker}"))),
                }
            }
        }
    }
    Ok(started)
}

pub async fn cancel(admin: &Admin, plan: &Plan, keep_throttles: bool, timeout_ms: i64) -> Result<(), Failure> {
    let partitions: Vec<TopicPartition> = plan.partitions.iter().map(|(partition, _)| partition.clone()).collect();
    let mut under_way = cluster::reassignments(admin, Some(&partitions)).await?;
    under_way.retain(|_, moving| !moving.adding.is_empty() || !moving.removing.is_empty());
    if under_way.is_empty() {
        say!("None of the specified partition reassignments are active.");
    } else {
        let changes = under_way.keys().map(|partition| (partition.clone(), None)).collect();
        let errors = reassign(admin, &changes, true).await;
        if !errors.is_empty() {
            let count = plural(errors.len());
            return Err(Failure::Refused(format!("Error cancelling partition reassignment{count} for:\n{}", told(&errors))));
        }
        say!("Successfully cancelled partition reassignment{} for: {}", plural(changes.len()), joined(changes.keys()));
    }
    let dirs = cluster::log_dirs(admin, plan.log_dirs.keys()).await?;
    let back: BTreeMap<Replica, String> =
        dirs.into_iter().filter(|(_, dirs)| dirs.future.is_some()).filter_map(|(replica, dirs)| Some((replica, dirs.current?))).collect();
    if back.is_empty() {
        say_part!("None of the specified partition moves are active.");
    } else {
        move_dirs(admin, back, timeout_ms).await?;
    }
    if keep_throttles { Ok(()) } else { throttle::clear(admin, cluster::brokers(admin).await?, plan).await }
}
