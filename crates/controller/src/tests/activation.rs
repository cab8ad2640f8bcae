//! What a new controller writes, compared with what Kafka wrote.

use super::*;
use metadata::MetadataVersion;

fn golden_records(name: &str) -> Vec<Record> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/metadata").join(name);
    let batches = raft::batch::decode_all(&std::fs::read(path).unwrap().into()).unwrap();
    let values = batches.into_iter().filter_map(|batch| match batch.content {
        raft::Content::Data(values) => Some(values),
        raft::Content::Control(_) => None,
    });
    values.flatten().map(|value| Record::decode(value).unwrap().0).collect()
}

#[test]
fn a_fresh_log_begins_as_kafkas_does() {
    let sim = Sim::new();
    let ours: Vec<Record> = sim.log().into_iter().map(|(_, record)| record).collect();
    let theirs = golden_records("kraft1.log");
    assert_eq!(ours[..9], theirs[..9], "the bootstrap transaction");
    let (Record::RegisterController(ours), Record::RegisterController(theirs)) = (&ours[9], &theirs[9]) else { panic!("registration") };
    let mut features = (ours.features.clone(), theirs.features.clone());
    features.0.sort_by(|a, b| a.name.cmp(&b.name));
    features.1.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(features.0, features.1);
    assert_eq!(sim.updates, 1, "what belongs together is shown together");
    assert_eq!(sim.image().metadata_version(), MetadataVersion::LATEST_PRODUCTION);
    sim.check();
}

#[test]
fn bootstrap_file_is_kafkas() {
    let theirs = golden_records("bootstrap.checkpoint");
    assert_eq!(crate::decide::bootstrap::default_feature_records(), theirs);
    let bytes = crate::node::write_bootstrap(&theirs, Now::default()).unwrap();
    assert_eq!(bytes.len(), 411);
    let content = raft::snapshot::decode(&bytes).unwrap();
    assert_eq!(crate::node::read_bootstrap(content).unwrap(), theirs);
}

#[test]
fn a_broker_joins_as_with_kafka() {
    let mut sim = Sim::new();
    let epoch = sim.join(1, 77, -1);
    let ours: Vec<(i64, Record)> = sim.log().into_iter().filter(|(_, r)| !matches!(r, Record::NoOp(_))).collect();
    let (at, Record::RegisterBroker(record)) = &ours[10] else { panic!("{:?}", ours[10]) };
    assert_eq!((*at, record.broker_epoch), (epoch, epoch), "the epoch is the record's offset");
    assert_eq!((record.fenced, &record.cordoned_log_dirs), (true, &None));
    let theirs: Vec<Record> = golden_records("kraft1.log").into_iter().filter(|r| !matches!(r, Record::NoOp(_))).collect();
    let kinds =
        |records: &[Record]| records.iter().map(|r| (r.type_id(), r.version_for(MetadataVersion::LATEST_PRODUCTION))).collect::<Vec<_>>();
    let all: Vec<Record> = ours.iter().map(|(_, r)| r.clone()).collect();
    assert_eq!(kinds(&all), kinds(&theirs[..all.len()]), "same records at the same versions");
    sim.check();
}

#[test]
fn an_open_transaction_of_a_dead_controller_is_aborted() {
    let settings = settings(&[]);
    let mut raft = raft::Node::open(raft_config(), Box::new(MemoryLog::default()), Now::default()).unwrap();
    raft.step(Now::default(), raft::Event::Start).unwrap();
    let begin = Record::from(BeginTransactionRecord::default()).encode_version(0).unwrap();
    let feature = crate::decide::bootstrap::default_feature_records()[0].encode_version(0).unwrap();
    let event = raft::Event::Propose { epoch: 1, values: vec![begin, feature], durability: raft::Durability::Flush };
    raft.step(Now::default(), event).unwrap();
    raft.step(Now::default(), raft::Event::Flush).unwrap();
    let mut node = open(&settings, raft.into_log(), 1, Now::default());
    node.turn(Now::default(), Event::Start).unwrap();
    assert_eq!(node.image().features.finalized().len(), 6);
    assert_eq!(node.image().provenance.offset + 1, node.raft().log_end().offset);
}

#[test]
fn requests_to_a_node_that_does_not_lead_fail() {
    let mut sim = Sim::new();
    sim.turn(Event::Resign);
    let answer = sim.ask(DeleteTopicsRequest::default());
    assert_eq!(answer, ControllerResponse::Failed(wire::ErrorCode::NotController.into()));
}

#[test]
fn restarts_register_the_controller_again_and_nothing_else() {
    let mut sim = Sim::new();
    let before = sim.log().len();
    sim.restart(true);
    let log = sim.log();
    assert_eq!(log.len(), before + 1);
    assert!(matches!(log.last(), Some((_, Record::RegisterController(_)))));
    assert_eq!(sim.node.raft().epoch(), 2);
    sim.check();
}

/// Takes over a cluster that Kafka stopped cleanly: every partition comes back with its replica in sync.
#[test]
fn continues_where_kafka_stopped() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/metadata/kraft0.log");
    let mut log = MemoryLog::default();
    for batch in record::batches(&std::fs::read(path).unwrap().into()) {
        log.append(batch.unwrap().bytes().clone(), Now::default()).unwrap();
    }
    let mut sim = Sim::new();
    sim.node = open(&sim.settings, Box::new(log), 1, sim.now);
    sim.turn(Event::Start);
    let before = sim.image();
    let stopped = before.cluster.broker(1).unwrap().clone();
    let mut request = sim.registration(1, 77, stopped.epoch);
    request.log_dirs = stopped.directories.clone();
    let epoch = sim.get::<BrokerRegistrationResponse>(request).broker_epoch;
    assert!(epoch > stopped.epoch);
    sim.heartbeat(1, epoch, false, false);
    let after = sim.image();
    for topic in after.topics.iter() {
        for (id, now) in topic.partitions.iter() {
            let then = before.topics.partition_by_id(topic.id, *id).unwrap();
            assert_eq!((now.leader, &now.isr[..], now.elr.len(), now.last_known_elr.len()), (1, &[1][..], 0, 0));
            assert_eq!((now.leader_epoch, now.partition_epoch), (then.leader_epoch + 1, then.partition_epoch + 1));
            assert_eq!(now.leader_recovery_state, metadata::image::partition::LeaderRecoveryState::Recovered);
        }
    }
    // Producer ids go on after the last block.
    let request = AllocateProducerIdsRequest { broker_id: 1, broker_epoch: epoch, ..Default::default() };
    let block: AllocateProducerIdsResponse = sim.get(request);
    assert_eq!(Some(block.producer_id_start), before.next_producer_id);
}

/// What Kafka's controller wrote when its broker came back and when it left, ours decides too, record by record.
#[test]
fn decides_as_kafka_did() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/metadata/kraft0.log");
    let batches = raft::batch::decode_all(&std::fs::read(path).unwrap().into()).unwrap();
    let mut records = Vec::new();
    for batch in batches {
        if let raft::Content::Data(values) = batch.content {
            records.extend((batch.base_offset..).zip(values.into_iter().map(|v| Record::decode(v).unwrap().0)));
        }
    }
    let settings = settings(&[]);
    let decide = |from: i64, to: i64, want_shut_down: bool| {
        let mut head = Image::default();
        for (_, record) in records.iter().filter(|(offset, _)| *offset < from) {
            head.replay(record, &mut Default::default()).unwrap();
        }
        let now = Now::default();
        let heartbeats = crate::heartbeats::Heartbeats::new(&head, Duration::from_secs(9), Some(1), now);
        let context = RequestContext::default();
        let ctx =
            crate::decide::Context { head: &head, heartbeats: &heartbeats, settings: &settings, request: &context, now, next_offset: from };
        let request = BrokerHeartbeatRequest {
            broker_id: 1,
            broker_epoch: head.cluster.broker(1).unwrap().epoch,
            current_metadata_offset: from - 1,
            want_shut_down,
            cordoned_log_dirs: Some(Vec::new()),
            ..Default::default()
        };
        let (decision, _) = crate::decide::brokers::heartbeat(&ctx, &request, request.broker_epoch).unwrap();
        let json = |record: &Record| record.to_json(record.version_for(head.metadata_version()));
        let mut ours: Vec<String> = decision.records.iter().map(json).collect();
        let theirs = records.iter().filter(|(offset, record)| (from..=to).contains(offset) && !matches!(record, Record::NoOp(_)));
        let mut theirs: Vec<String> = theirs.map(|(_, record)| json(record)).collect();
        assert_eq!(ours.first(), theirs.first(), "the change of the registration comes first");
        ours.sort();
        theirs.sort();
        assert_eq!(ours, theirs);
        assert_eq!(ours.len(), 153);
    };
    decide(970, 1123, false);
    decide(802, 954, true);
    decide(1171, 1323, true);
}
