//! `--generate`: proposes a plan that spreads topics evenly over brokers. Kafka counterpart: StripedReplicaPlacer beside the command.

use std::collections::BTreeMap;

use base::TopicPartition;
use client::Admin;

use super::{cluster, plan};
use crate::failure::Failure;
use crate::out::say;

pub async fn run(admin: &Admin, topics: &str, brokers: &str, rack_aware: bool) -> Result<(), Failure> {
    let brokers = plan::parse_brokers(brokers)?;
    let topics = plan::parse_topics(topics)?;
    let current = cluster::assignments(admin, &topics).await?;
    let dirs = cluster::current_log_dirs(admin, &current).await?;
    let nodes = admin.describe_cluster().await.map_err(cluster::executed)?.nodes;
    let usable: Vec<(i32, Option<String>)> = nodes
        .into_iter()
        .filter(|(node, _)| brokers.contains(&node.id))
        .map(|(node, _)| (node.id, node.rack.filter(|_| rack_aware)))
        .collect();
    let without_rack = usable.iter().filter(|(_, rack)| rack.is_none()).count();
    if rack_aware && without_rack != 0 && without_rack != usable.len() {
        return Err(Failure::new(
            "Not all brokers have rack information. Add --disable-rack-aware in command line to make replica assignment without rack information.",
        ));
    }
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for (partition, replicas) in &current {
        counts.entry(partition.topic.to_string()).or_insert((0, replicas.len())).0 += 1;
    }
    let mut proposed = BTreeMap::new();
    let mut rng = fastrand::Rng::new();
    for (topic, (partitions, replicas)) in counts {
        let placed = place(&usable, partitions, replicas, &mut rng).map_err(Failure::new)?;
        proposed.extend((0..).zip(placed).map(|(partition, brokers)| (TopicPartition::new(topic.clone(), partition), brokers)));
    }
    say!("Current partition replica assignment\n{}\n", plan::format(&current, &dirs));
    say!("Proposed partition reassignment configuration\n{}", plan::format(&proposed, &BTreeMap::new()));
    Ok(())
}

/// The leaders of partitions go round over racks and within a rack over its brokers; followers go to the racks that come next.
fn place(brokers: &[(i32, Option<String>)], partitions: usize, replicas: usize, rng: &mut fastrand::Rng) -> Result<Vec<Vec<i32>>, String> {
    if brokers.is_empty() {
        return Err("All brokers are currently fenced, or have all their log directories cordoned.".to_owned());
    }
    if replicas > brokers.len() {
        return Err(format!(
            "The target replication factor of {replicas} cannot be reached because only {} broker(s) are registered or some brokers have \
             all their log directories cordoned.",
            brokers.len()
        ));
    }
    let mut racks: BTreeMap<Option<&str>, Vec<i32>> = BTreeMap::new();
    for (id, rack) in brokers {
        racks.entry(rack.as_deref()).or_default().push(*id);
    }
    let mut racks: Vec<Vec<i32>> = racks.into_values().collect();
    for rack in &mut racks {
        rack.sort_unstable();
        let by = rng.usize(..rack.len());
        rack.rotate_left(by);
    }
    let first = rng.usize(..racks.len());
    let mut placed = Vec::with_capacity(partitions);
    for at in 0..partitions {
        let mut chosen = Vec::with_capacity(replicas);
        // Round over the racks: of each the next broker that has no replica yet.
        for step in 0..racks.len() * brokers.len() {
            let rack = &racks[(first + at + step) % racks.len()];
            let turn = (at + step / racks.len()) % rack.len();
            let broker = rack[turn];
            if chosen.len() < replicas && !chosen.contains(&broker) {
                chosen.push(broker);
            }
        }
        placed.push(chosen);
    }
    Ok(placed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_its_replicas_and_racks_are_used() {
        let brokers = [(1, Some("a".to_owned())), (2, Some("a".to_owned())), (3, Some("b".to_owned()))];
        let mut rng = fastrand::Rng::with_seed(7);
        let placed = place(&brokers, 6, 2, &mut rng).unwrap_or_default();
        assert_eq!(placed.len(), 6);
        for replicas in &placed {
            assert!(replicas.len() == 2 && replicas.contains(&3), "{placed:?}");
        }
        assert!(place(&brokers, 1, 3, &mut rng).is_ok_and(|placed| placed[0].len() == 3));
        assert!(place(&brokers, 1, 4, &mut rng).is_err());
        assert!(place(&[], 1, 1, &mut rng).is_err());
    }
}
