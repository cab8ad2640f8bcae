//! Hours of idling, topic churn and restarts on a virtual clock, from seeds.

use super::topics::topic;
use super::*;
use wire::messages::create_partitions_request::CreatePartitionsTopic;
use wire::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};

#[test]
fn an_idle_hour_costs_no_flush() {
    let mut sim = Sim::new();
    let epoch = sim.join(1, 77, -1);
    let flushed = sim.node.raft().high_watermark();
    for _ in 0..1800 {
        sim.advance(Duration::from_secs(2));
        sim.heartbeat(1, epoch, false, false);
    }
    let noops = sim.log().len();
    assert!(sim.node.raft().log_end().offset >= 7200);
    assert_eq!(sim.node.raft().high_watermark(), flushed, "nothing was worth an fsync");
    assert!(noops < 20);
    sim.ask(CreateTopicsRequest { topics: vec![topic("t", 1, 1)], ..Default::default() });
    assert_eq!(sim.node.raft().high_watermark(), Some(sim.node.raft().log_end().offset));
    assert!(sim.node.image().topics.get("t").is_some());
}

#[test]
fn snapshots_come_by_time_and_by_size_and_suffice() {
    let mut sim = Sim::with(settings(&[("metadata.log.max.record.bytes.between.snapshots", "20000")]));
    sim.join(1, 77, -1);
    for i in 0..40 {
        sim.ask(CreateTopicsRequest { topics: vec![topic(&format!("t{i}"), 20, 1)], ..Default::default() });
    }
    let (id, _) = sim.node.raft().latest_snapshot().unwrap().expect("40 KiB of records");
    sim.check();
    let image = sim.image();
    // What is left when the log before the snapshot is gone.
    sim.restart(false);
    assert_eq!(sim.image().topics, image.topics);
    sim.advance(Duration::from_secs(3601));
    sim.ask(CreateTopicsRequest { topics: vec![topic("one-more", 1, 1)], ..Default::default() });
    sim.advance(Duration::from_secs(3601));
    let (later, content) = sim.node.raft().latest_snapshot().unwrap().unwrap();
    assert!(later.offset > id.offset);
    let records: Vec<Record> = content.values.into_iter().map(|v| Record::decode(v).unwrap().0).collect();
    assert!(snapshot::from_records(&records).unwrap().same_content(&sim.image()));
}

/// One random life of a cluster of up to three brokers, of which the first shares the process with the controller.
fn live(seed: u64) -> (i64, Arc<Image>) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut sim =
        Sim::with(settings(&[("metadata.log.max.record.bytes.between.snapshots", "30000"), ("broker.session.timeout.ms", "9000")]));
    let mut epochs = [-1i64; 4];
    let mut alive = [false; 4];
    // Once a broker wants to stop it says so in every heartbeat.
    let mut stopping = [false; 4];
    let mut incarnation = 1000u128;
    for step in 0..150 {
        let id = rng.i32(1..=3);
        let at = id as usize;
        match rng.u32(0..12) {
            0..=2 => {
                let request = CreateTopicsRequest {
                    topics: (0..rng.usize(1..4)).map(|_| topic(&format!("t.{}", rng.u32(0..30)), rng.i32(-1..6), rng.i16(-1..4))).collect(),
                    validate_only: rng.u32(0..10) == 0,
                    ..Default::default()
                };
                sim.ask(request);
            }
            3 => {
                let names = (0..rng.usize(1..3)).map(|_| format!("t.{}", rng.u32(0..30))).collect();
                sim.ask(DeleteTopicsRequest { topic_names: names, ..Default::default() });
            }
            4 => {
                let topics =
                    vec![CreatePartitionsTopic { name: format!("t.{}", rng.u32(0..30)), count: rng.i32(1..9), ..Default::default() }];
                sim.ask(CreatePartitionsRequest { topics, ..Default::default() });
            }
            5 => {
                let value = rng.u32(1..4).to_string();
                let config = AlterableConfig { name: "min.insync.replicas".into(), value: Some(value), ..Default::default() };
                let name = if rng.bool() { String::new() } else { format!("t.{}", rng.u32(0..30)) };
                let resource_type = if name.is_empty() { 4 } else { 2 };
                let resource = AlterConfigsResource { resource_type, resource_name: name, configs: vec![config], ..Default::default() };
                sim.ask(IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() });
            }
            6 | 7 if !alive[at] => {
                incarnation += 1;
                let previous = if rng.bool() { epochs[at] } else { -1 };
                let request = sim.registration(id, incarnation, previous);
                if let ControllerResponse::BrokerRegistration(r) = sim.ask(request) {
                    epochs[at] = r.broker_epoch;
                    alive[at] = true;
                    stopping[at] = false;
                }
            }
            8 => stopping[at] = true,
            9 if alive[at] => alive[at] = false,
            10 => {
                sim.restart(rng.bool());
                alive[1] = false;
            }
            _ => sim.advance(Duration::from_millis(rng.u64(1..4000))),
        }
        for id in (1..=3).filter(|id| alive[*id as usize]).collect::<Vec<i32>>() {
            let epoch = epochs[id as usize];
            // A broker that was fenced for good, or told to stop, is gone.
            let registered = sim.image().cluster.broker(id).is_some_and(|b| b.epoch == epoch);
            if registered && sim.heartbeat(id, epoch, false, stopping[id as usize]).should_shut_down {
                alive[id as usize] = false;
            }
        }
        if step % 25 == 24 {
            sim.check();
        }
        check_partitions(&sim.image());
    }
    let image = sim.image();
    sim.restart(true);
    assert_eq!(sim.image().topics, image.topics);
    (sim.node.raft().log_end().offset, image)
}

fn check_partitions(image: &Image) {
    for topic in image.topics.iter() {
        for (id, p) in topic.partitions.iter() {
            let what = format!("{}-{id}: {p:?}", topic.name);
            assert_eq!(p.directories.len(), p.replicas.len(), "{what}");
            assert!(p.isr.iter().chain(&p.elr).all(|id| p.replicas.contains(id)), "{what}");
            assert!(p.isr.iter().all(|id| !p.elr.contains(id)), "{what}");
            if p.has_leader() {
                assert!(p.isr.contains(&p.leader) && image.cluster.is_active(p.leader), "{what}");
            } else {
                assert!(p.isr.is_empty() || !p.isr.iter().any(|id| image.cluster.is_active(*id)), "{what}");
            }
        }
    }
}

#[test]
fn random_lives_keep_image_and_log_in_step() {
    for seed in 0..12 {
        live(seed);
    }
}

#[test]
fn the_same_seed_lives_the_same_life() {
    assert_eq!(live(4242), live(4242));
}
