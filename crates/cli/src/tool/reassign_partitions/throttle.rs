//! Owns: limits on what moves: configs of brokers (how fast) and of topics (which replicas), set before a move and cleared after it.

use std::collections::{BTreeMap, BTreeSet};

use base::TopicPartition;
use client::Admin;
use client::admin::{AlterConfigOp, ConfigResource, ConfigResourceType};

use super::cluster::{Reassignment, executed};
use super::plan::Plan;
use crate::failure::Failure;
use crate::out::say;

const LEADER_RATE: &str = "leader.replication.throttled.rate";
const FOLLOWER_RATE: &str = "follower.replication.throttled.rate";
const LOG_DIRS_RATE: &str = "replica.alter.log.dirs.io.max.bytes.per.second";
const LEADER_REPLICAS: &str = "leader.replication.throttled.replicas";
const FOLLOWER_REPLICAS: &str = "follower.replication.throttled.replicas";

async fn alter(admin: &Admin, changes: Vec<(ConfigResource, Vec<AlterConfigOp>)>) -> Result<(), Failure> {
    let results = admin.incremental_alter_configs(changes, false).await.map_err(executed)?;
    results.into_iter().try_for_each(|(_, result)| result).map_err(executed)
}

fn of_broker(id: i32, ops: Vec<AlterConfigOp>) -> (ConfigResource, Vec<AlterConfigOp>) {
    (ConfigResource::new(ConfigResourceType::Broker, id.to_string()), ops)
}

/// Nobody knows which brokers took part in a move, so that all of them are cleared.
pub async fn clear(admin: &Admin, mut brokers: BTreeSet<i32>, plan: &Plan) -> Result<(), Failure> {
    brokers.extend(plan.partitions.iter().flat_map(|(_, replicas)| replicas));
    let list: Vec<String> = brokers.iter().map(i32::to_string).collect();
    say!("Clearing broker-level throttles on broker{} {}", if list.len() == 1 { "" } else { "s" }, list.join(","));
    let rates = || [LEADER_RATE, FOLLOWER_RATE, LOG_DIRS_RATE].map(AlterConfigOp::delete).to_vec();
    alter(admin, brokers.iter().map(|id| of_broker(*id, rates())).collect()).await?;
    let topics = plan.topics();
    say!("Clearing topic-level throttles on topic{} {}", if topics.len() == 1 { "" } else { "s" }, topics.join(","));
    let replicas = || [LEADER_REPLICAS, FOLLOWER_REPLICAS].map(AlterConfigOp::delete).to_vec();
    alter(admin, topics.iter().map(|topic| (ConfigResource::topic(topic), replicas())).collect()).await
}

/// From which brokers a partition comes and to which it goes.
struct Move {
    sources: BTreeSet<i32>,
    destinations: BTreeSet<i32>,
}

/// All moves: those under way and those of the plan, by topic and partition.
fn moves(
    under_way: &BTreeMap<TopicPartition, Reassignment>,
    plan: &Plan,
    current: &BTreeMap<TopicPartition, Vec<i32>>,
) -> BTreeMap<TopicPartition, Move> {
    let mut moves: BTreeMap<TopicPartition, Move> = BTreeMap::new();
    for (partition, reassignment) in under_way {
        let destinations: BTreeSet<i32> = reassignment.adding.iter().copied().collect();
        let sources = reassignment.replicas.iter().copied().filter(|id| !destinations.contains(id)).collect();
        moves.insert(partition.clone(), Move { sources, destinations });
    }
    for (partition, replicas) in &plan.partitions {
        let known = moves.remove(partition).map(|known| known.sources);
        let sources = known.unwrap_or_else(|| current.get(partition).into_iter().flatten().copied().collect());
        let destinations = replicas.iter().copied().filter(|id| !sources.contains(id)).collect();
        moves.insert(partition.clone(), Move { sources, destinations });
    }
    moves
}

/// `partition:broker`, sorted as text.
fn throttled<'a>(moves: &BTreeMap<TopicPartition, Move>, topic: &str, side: impl Fn(&Move) -> &BTreeSet<i32> + 'a) -> String {
    let mut parts = BTreeSet::new();
    for (partition, found) in moves.iter().filter(|(partition, _)| *partition.topic == *topic) {
        parts.extend(side(found).iter().map(|broker| format!("{}:{broker}", partition.partition)));
    }
    parts.into_iter().collect::<Vec<_>>().join(",")
}

pub async fn between_brokers(
    admin: &Admin,
    under_way: &BTreeMap<TopicPartition, Reassignment>,
    plan: &Plan,
    current: &BTreeMap<TopicPartition, Vec<i32>>,
    rate: i64,
) -> Result<(), Failure> {
    let moves = moves(under_way, plan, current);
    let topics: BTreeSet<String> = moves.keys().map(|partition| partition.topic.to_string()).collect();
    let of_topic = |topic: &String| {
        let leaders = AlterConfigOp::set(LEADER_REPLICAS, throttled(&moves, topic, |found| &found.sources));
        let followers = AlterConfigOp::set(FOLLOWER_REPLICAS, throttled(&moves, topic, |found| &found.destinations));
        (ConfigResource::topic(topic), vec![leaders, followers])
    };
    alter(admin, topics.iter().map(of_topic).collect()).await?;
    let brokers: BTreeSet<i32> = moves.values().flat_map(|found| found.sources.iter().chain(&found.destinations)).copied().collect();
    let rates = || [LEADER_RATE, FOLLOWER_RATE].map(|name| AlterConfigOp::set(name, rate)).to_vec();
    alter(admin, brokers.into_iter().map(|id| of_broker(id, rates())).collect()).await?;
    say!("The inter-broker throttle limit was set to {rate} B/s");
    Ok(())
}

pub async fn between_log_dirs(admin: &Admin, plan: &Plan, rate: i64) -> Result<(), Failure> {
    let brokers: BTreeSet<i32> = plan.log_dirs.keys().map(|(_, broker)| *broker).collect();
    alter(admin, brokers.into_iter().map(|id| of_broker(id, vec![AlterConfigOp::set(LOG_DIRS_RATE, rate)])).collect()).await?;
    say!("The replica-alter-dir throttle limit was set to {rate} B/s");
    Ok(())
}
