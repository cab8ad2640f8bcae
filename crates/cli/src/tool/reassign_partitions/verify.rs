//! `--verify` and `--list`: how far moves are.

use base::TopicPartition;
use client::Admin;

use super::plan::{Plan, Replica};
use super::{cluster, throttle};
use crate::failure::Failure;
use crate::out::say;

fn joined(ids: &[i32]) -> String {
    ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",")
}

pub async fn list(admin: &Admin) -> Result<(), Failure> {
    let found = cluster::reassignments(admin, None).await?;
    if found.is_empty() {
        say!("No partition reassignments found.");
        return Ok(());
    }
    say!("Current partition reassignments:");
    for (partition, moving) in found {
        let part = |name: &str, ids: &[i32]| if ids.is_empty() { String::new() } else { format!(" {name}: {}.", joined(ids)) };
        let (adding, removing) = (part("adding", &moving.adding), part("removing", &moving.removing));
        say!("{partition}: replicas: {}.{adding}{removing}", joined(&moving.replicas));
    }
    Ok(())
}

pub async fn run(admin: &Admin, plan: &Plan, keep_throttles: bool) -> Result<(), Failure> {
    let (status, moving) = partitions(admin, plan).await?;
    say!("{status}");
    let (status, moving_dirs) = replicas(admin, plan).await?;
    say!("{status}");
    if moving || moving_dirs || keep_throttles {
        return Ok(());
    }
    throttle::clear(admin, cluster::brokers(admin).await?, plan).await
}

/// What is to be said of the partitions, and whether any partition of the cluster is on its way.
async fn partitions(admin: &Admin, plan: &Plan) -> Result<(String, bool), Failure> {
    let under_way = cluster::reassignments(admin, None).await?;
    let still: Vec<String> = plan.partitions.iter().filter(|(p, _)| !under_way.contains_key(p)).map(|(p, _)| p.topic.to_string()).collect();
    let topics: Vec<String> = plan.topics().into_iter().filter(|topic| still.contains(topic)).collect();
    let known = cluster::replicas(admin, &topics).await?;
    let mut sorted: Vec<&(TopicPartition, Vec<i32>)> = plan.partitions.iter().collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    sorted.dedup_by(|a, b| a.0 == b.0);
    let mut lines = vec!["Status of partition reassignment:".to_owned()];
    for (partition, target) in sorted {
        if under_way.contains_key(partition) {
            lines.push(format!("Reassignment of partition {partition} is still in progress."));
            continue;
        }
        let topic = known.iter().find(|(name, _)| **name == *partition.topic).and_then(|(_, partitions)| partitions.as_ref());
        let found = usize::try_from(partition.partition).ok().and_then(|at| topic?.get(at)).cloned().unwrap_or_default();
        lines.push(if found == *target {
            format!("Reassignment of partition {partition} is completed.")
        } else {
            let (found, target) = (joined(&found), joined(target));
            format!("There is no active reassignment of partition {partition}, but replica set is {found} rather than {target}.")
        });
    }
    Ok((lines.join("\n"), !under_way.is_empty()))
}

/// What is to be said of the log directories, and whether any replica of the plan is on its way.
async fn replicas(admin: &Admin, plan: &Plan) -> Result<(String, bool), Failure> {
    let found = cluster::log_dirs(admin, plan.log_dirs.keys()).await?;
    let mut sorted: Vec<(&Replica, &String)> = plan.log_dirs.iter().collect();
    sorted.sort_by_key(|((partition, broker), _)| (*broker, partition));
    let mut moving = false;
    let mut lines = Vec::new();
    for (replica, target) in sorted {
        let (partition, broker) = replica;
        let Some(dirs) = found.get(replica) else { continue };
        let line = match (&dirs.current, &dirs.future) {
            (None, _) => {
                moving = true;
                format!(
                    "Partition {partition} is not found in any live log dir on broker {broker}. There is likely an offline log directory on \
                     the broker."
                )
            }
            (Some(current), None) if current == target => format!("Reassignment of replica {partition}-{broker} completed successfully."),
            (Some(current), None) => {
                format!("Partition {partition} on broker {broker} is not being moved from log dir {current} to {target}.")
            }
            (Some(_), Some(future)) => {
                moving = true;
                if future == target {
                    format!("Reassignment of replica {partition}-{broker} is still in progress.")
                } else {
                    format!("Partition {partition} on broker {broker} is being moved to log dir {future} instead of {target}.")
                }
            }
        };
        lines.push(line);
    }
    Ok((lines.join("\n"), moving))
}
