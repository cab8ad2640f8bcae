//! A group is what its records say: after every step of a random life, a shard that reads the log has the same one.

use wire::messages::ConsumerGroupHeartbeatRequest;

use super::*;

/// What is not stored is put aside.
fn stored(group: Option<&Group>) -> Option<ConsumerGroup> {
    match group {
        Some(Group::Consumer(group)) => Some(ConsumerGroup { refreshed: None, ..group.clone() }),
        _ => None,
    }
}

#[test]
fn the_log_holds_the_whole_group() {
    for seed in 0..20 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut h = Harness::new();
        // Reads the log as it grows.
        let (mut reader, mut read) = (h.replayed(), 0);
        let topics: Vec<Uuid> = (0..4).map(|i| h.topic(&format!("t{i}"), 10 + i, 0..3)).collect();
        // The epoch of each member as it was told last, and what it holds.
        let mut members: BTreeMap<String, (i32, BTreeMap<Uuid, Vec<i32>>)> = BTreeMap::new();
        for _ in 0..200 {
            let id = format!("m{}", rng.u8(..6));
            let (epoch, owned) = members.get(&id).cloned().unwrap_or_default();
            let topic_names = |rng: &mut fastrand::Rng| Some((0..4).filter(|_| rng.bool()).map(|i| format!("t{i}")).collect());
            let mut request = match rng.u8(..10) {
                0 => beat(&id, -1),
                1..=3 if epoch > 0 => ConsumerGroupHeartbeatRequest { subscribed_topic_names: topic_names(&mut rng), ..beat(&id, epoch) },
                4 if epoch > 0 => ConsumerGroupHeartbeatRequest { subscribed_topic_regex: Some("t[0-2]".to_owned()), ..beat(&id, epoch) },
                _ if epoch == 0 => ConsumerGroupHeartbeatRequest { subscribed_topic_names: topic_names(&mut rng), ..joining(&id, &[]) },
                _ => beat(&id, epoch),
            };
            if request.member_epoch > 0 {
                let owned: Vec<(Uuid, &[i32])> = owned.iter().map(|(t, p)| (*t, p.as_slice())).collect();
                request.topic_partitions = owning(&id, epoch, &owned).topic_partitions;
            }
            let response = h.consumer(request);
            match response.error_code {
                0 if response.member_epoch >= 0 => {
                    let held = response.assignment.map(|a| a.topic_partitions.into_iter().map(|t| (t.topic_id, t.partitions)).collect());
                    members.insert(id, (response.member_epoch, held.unwrap_or(owned)));
                }
                _ => {
                    members.remove(&id);
                }
            }
            // Members that were silent for too long know that they hold nothing any more.
            members.retain(|id, _| h.group().member(id).is_some());
            assert_disjoint(&members);
            for (offset, entry) in h.log.entries.iter().enumerate().skip(read) {
                let Entry::Record { record, .. } = entry else { panic!("no transactions here") };
                reader.replay(offset as i64, -1, &record.key, record.value.as_ref()).unwrap();
            }
            read = h.log.entries.len();
            assert_eq!(stored(reader.groups.get(GROUP)), stored(h.shard.groups.get(GROUP)));
            h.advance(rng.u64(..3_000));
        }
        // At rest, everybody has what is subscribed to.
        assert!(members.values().all(|(_, held)| held.keys().all(|t| topics.contains(t))));
    }
}

/// Nobody believes to hold what another one was told to hold and has not given up.
fn assert_disjoint(members: &BTreeMap<String, (i32, BTreeMap<Uuid, Vec<i32>>)>) {
    let mut holders: BTreeMap<(Uuid, i32), &str> = BTreeMap::new();
    for (id, (_, held)) in members {
        for (topic, partitions) in held {
            for partition in partitions {
                if let Some(other) = holders.insert((*topic, *partition), id) {
                    panic!("partition {partition} is held by {other} and {id}");
                }
            }
        }
    }
}
