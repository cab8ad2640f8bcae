use super::*;
use crate::snapshot;
use base::{Now, Uuid};
use bytes::Bytes;

const DIRECTORY: Uuid = Uuid::from_u128(0x1234_5678_9abc);

fn now() -> Now {
    Now { mono: base::Instant::ZERO, wall_ms: 1_700_000_000_000 }
}

fn voter(directory: Option<Uuid>) -> Voter {
    let endpoint = Endpoint { listener: "CONTROLLER".to_owned(), host: "localhost".to_owned(), port: 9093 };
    Voter { key: ReplicaKey { id: 1, directory_id: directory }, endpoints: vec![endpoint], kraft_versions: (0, 1) }
}

fn config(static_voters: VoterSet) -> Config {
    Config { node_id: 1, directory_id: DIRECTORY, static_voters, endpoints: voter(None).endpoints, retention_bytes: 100, retention_ms: -1 }
}

fn start(config: Config, log: impl RaftLog + 'static) -> Node {
    let mut node = Node::open(config, Box::new(log), now()).unwrap();
    let effects = node.step(now(), Event::Start).unwrap();
    assert_eq!(effects.leader_changed, Some((Some(1), node.epoch())));
    assert_eq!(effects.high_watermark, Some(node.log_end().offset));
    node
}

fn propose(node: &mut Node, values: &[&'static [u8]], durability: Durability) -> Effects {
    let values = values.iter().map(|v| Bytes::from_static(v)).collect();
    node.step(now(), Event::Propose { epoch: node.epoch(), values, durability }).unwrap()
}

fn restart(node: Node, config: Config) -> Node {
    let mut node = Node::open(config, node.into_log(), now()).unwrap();
    node.step(now(), Event::Start).unwrap();
    node
}

#[test]
fn lone_static_voter_leads_at_once_and_counts_epochs() {
    let config = config(VoterSet::new([voter(None)]));
    let mut node = start(config.clone(), MemoryLog::default());
    assert_eq!(node.epoch(), 1);
    let batches = node.read_committed(0).unwrap();
    assert_eq!(batches.len(), 1);
    let Content::Control(records) = &batches[0].content else { panic!("not control") };
    assert!(
        matches!(&records[..], [ControlRecord::LeaderChange(m)] if m.leader_id == 1 && m.voters.len() == 1 && m.granting_voters.len() == 1)
    );

    let effects = propose(&mut node, &[b"a", b"b"], Durability::Flush);
    assert_eq!(effects.appended, Some(1..=2));
    assert!(node.read_committed(1).unwrap().is_empty(), "not committed before the flush");
    assert_eq!(node.step(now(), Event::Flush).unwrap().high_watermark, Some(3));
    assert_eq!(node.read_committed(1).unwrap()[0].content, Content::Data(vec![Bytes::from_static(b"a"), Bytes::from_static(b"b")]));

    let node = restart(node, config.clone());
    assert_eq!(node.epoch(), 2);
    assert_eq!(node.high_watermark(), Some(4));
    let mut node = restart(node, config);
    assert_eq!(node.epoch(), 3);
    node.step(now(), Event::Resign).unwrap();
    assert_eq!(node.role().name(), "resigned");
    let late = node.step(now(), Event::Propose { epoch: 3, values: vec![Bytes::from_static(b"x")], durability: Durability::Flush });
    assert!(matches!(late, Err(RaftError::NotLeader(3))));
}

#[test]
fn lazy_appends_wait_for_the_next_flush() {
    let mut node = start(config(VoterSet::new([voter(None)])), MemoryLog::default());
    propose(&mut node, &[b"noop"], Durability::Lazy);
    assert!(!node.must_flush());
    assert_eq!(node.step(now(), Event::Flush).unwrap().high_watermark, None);
    propose(&mut node, &[b"real"], Durability::Flush);
    assert!(node.must_flush());
    assert_eq!(node.step(now(), Event::Flush).unwrap().high_watermark, Some(3));
}

#[test]
fn voters_of_the_bootstrap_snapshot_go_into_the_log_once() {
    let mut log = MemoryLog::default();
    let voters = VoterSet::new([voter(Some(DIRECTORY))]);
    log.store_snapshot(snapshot::BOOTSTRAP_ID, snapshot::encode_voters(&voters, 1).unwrap()).unwrap();
    let node = start(config(VoterSet::default()), log);
    assert_eq!(node.kraft_version(), KRaftVersion::V1);
    assert_eq!(node.log_end().offset, 3);
    let batches = node.read_committed(0).unwrap();
    let Content::Control(records) = &batches[0].content else { panic!("not control") };
    assert!(matches!(&records[..], [ControlRecord::LeaderChange(_), ControlRecord::KRaftVersion(_), ControlRecord::KRaftVoters(_)]));

    let node = restart(node, config(VoterSet::default()));
    assert_eq!(node.log_end().offset, 4, "nothing new to say about the voters");
    // On another port the leader says so.
    let mut moved = config(VoterSet::default());
    moved.endpoints[0].port = 19093;
    let node = restart(node, moved.clone());
    assert_eq!(node.log_end().offset, 7);
    assert_eq!(node.voters().get(1).unwrap().endpoints[0].port, 19093);
    let node = restart(node, moved);
    assert_eq!(node.log_end().offset, 8);
    let state = node.into_log().read_quorum_state().unwrap().unwrap();
    let text = r#"{"leaderId":1,"leaderEpoch":4,"votedId":-1,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA","data_version":1}"#;
    assert_eq!(&state[..], text.as_bytes());
}

#[test]
fn refuses_quorums_it_cannot_serve() {
    let open = |config| Node::open(config, Box::new(MemoryLog::default()), now()).unwrap().step(now(), Event::Start);
    assert!(matches!(open(config(VoterSet::default())), Err(RaftError::NoVoters)));
    let other = Voter { key: ReplicaKey { id: 2, directory_id: None }, ..voter(None) };
    assert!(matches!(open(config(VoterSet::new([other.clone()]))), Err(RaftError::NotAVoter { node: 1, .. })));
    assert!(matches!(open(config(VoterSet::new([voter(None), other]))), Err(RaftError::SeveralVoters(2))));
    let elsewhere = VoterSet::new([voter(Some(Uuid::from_u128(7777)))]);
    assert!(matches!(open(config(elsewhere)), Err(RaftError::NotAVoter { .. })));
}

#[test]
fn a_static_quorum_of_one_needs_no_configuration_to_continue() {
    let node = start(config(VoterSet::new([voter(None)])), MemoryLog::default());
    let node = restart(node, config(VoterSet::default()));
    assert_eq!((node.epoch(), node.kraft_version()), (2, KRaftVersion::V0));
}

#[test]
fn continues_at_the_epoch_of_the_log_without_quorum_state() {
    let config = config(VoterSet::new([voter(None)]));
    let mut log = MemoryLog::default();
    log.append(batch::encode_data(0, 7, 1, &[Bytes::from_static(b"x")]).unwrap(), now()).unwrap();
    let node = start(config, log);
    assert_eq!(node.epoch(), 8);
}

#[test]
fn snapshots_bound_the_log() {
    let config = config(VoterSet::new([voter(None)]));
    let mut node = start(config.clone(), MemoryLog::default());
    let mut ids = Vec::new();
    for _ in 0..3 {
        propose(&mut node, &[b"record", b"record"], Durability::Flush);
        node.step(now(), Event::Flush).unwrap();
        let id = node.log_end();
        assert!(node.store_snapshot(now(), id, 5, &[Bytes::from_static(b"state")], 1024).unwrap());
        assert!(!node.store_snapshot(now(), id, 5, &[], 1024).unwrap(), "there is one already");
        ids.push(id);
    }
    let (id, content) = node.latest_snapshot().unwrap().unwrap();
    assert_eq!(id, ids[2]);
    assert_eq!(content.values, vec![Bytes::from_static(b"state")]);
    node.clean(now()).unwrap();
    assert_eq!(node.log_start_offset(), ids[2].offset, "only the newest snapshot fits into the retention");
    let node = restart(node, config.clone());
    assert_eq!(node.read_committed(0).unwrap()[0].base_offset, ids[2].offset);

    // Without the snapshot that its start relies on, a log is not complete.
    let mut log = node.into_log();
    log.delete_snapshot(ids[2]).unwrap();
    assert!(matches!(Node::open(config, log, now()), Err(RaftError::MissingSnapshot { .. })));
}

#[test]
fn a_snapshot_newer_than_the_log_replaces_it() {
    let config = config(VoterSet::new([voter(None)]));
    let mut log = MemoryLog::default();
    let id = OffsetAndEpoch::new(100, 4);
    log.store_snapshot(id, snapshot::encode(id, 1, (KRaftVersion::V0, &VoterSet::default()), &[], 10, 1).unwrap()).unwrap();
    let node = start(config, log);
    assert_eq!(node.read_committed(0).unwrap()[0].base_offset, 100);
    assert_eq!(node.epoch(), 5);
}

#[test]
fn snapshot_files_read_back_and_damage_is_seen() {
    let values: Vec<Bytes> = (0..3000u32).map(|i| Bytes::from(i.to_be_bytes().to_vec())).collect();
    let voters = VoterSet::new([voter(Some(DIRECTORY))]);
    let id = OffsetAndEpoch::new(5000, 3);
    let bytes = snapshot::encode(id, 42, (KRaftVersion::V1, &voters), &values, 1024, 7).unwrap();
    let batches = batch::decode_all(&bytes).unwrap();
    assert_eq!(batches.len(), 5);
    assert!(batches.iter().all(|b| b.epoch == 3));
    assert_eq!(batches[1].base_offset, 3);
    let content = snapshot::decode(&bytes).unwrap();
    assert_eq!(content.voters, Some(voters));
    assert_eq!(content.values, values);
    assert_eq!(content.last_contained_log_timestamp, 42);
    assert!(snapshot::decode(&bytes.slice(..bytes.len() - 75)).is_err(), "no footer");
    let mut flipped = bytes.to_vec();
    flipped[200] ^= 1;
    assert!(snapshot::decode(&flipped.into()).is_err());
    for len in 0..300 {
        assert!(snapshot::decode(&bytes.slice(..len)).is_err());
    }
}

#[test]
fn snapshot_names() {
    let id = OffsetAndEpoch::new(59, 1);
    assert_eq!(snapshot::file_name(id), "00000000000000000059-0000000001.checkpoint");
    assert_eq!(snapshot::parse_file_name("00000000000000000059-0000000001.checkpoint"), Some(id));
    for other in ["00000000000000000059-0000000001.checkpoint.deleted", "bootstrap.checkpoint", "59-1.checkpoint", ".checkpoint"] {
        assert_eq!(snapshot::parse_file_name(other), None);
    }
}

#[test]
fn majority_moves_the_high_watermark_only_past_the_epoch_start() {
    let voters = VoterSet::new((1..=3).map(|id| Voter { key: ReplicaKey { id, directory_id: None }, ..voter(None) }));
    let mut leadership = role::Leadership::new(5, 10);
    assert_eq!(leadership.on_durable(1, 11, &voters), None);
    assert_eq!(leadership.on_durable(2, 10, &voters), None, "the epoch start itself is not replicated");
    assert_eq!(leadership.on_durable(2, 11, &voters), Some(11));
    assert_eq!(leadership.on_durable(1, 20, &voters), None);
    assert_eq!(leadership.on_durable(3, 15, &voters), Some(15));
}

mod golden {
    use super::*;

    fn read(name: &str) -> Bytes {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/metadata").join(name);
        std::fs::read(path).unwrap().into()
    }

    /// What Kafka wrote, decoded and encoded again, comes out the same to the byte.
    #[test]
    fn batches_are_written_as_kafka_writes_them() {
        for name in ["kraft0.log", "kraft1.log", "kraft1-00000000000000000139-0000000001.checkpoint", "bootstrap.checkpoint"] {
            let bytes = read(name);
            let mut position = 0;
            for b in batch::decode_all(&bytes).unwrap() {
                let again = match &b.content {
                    Content::Control(records) => batch::encode_control(b.base_offset, b.epoch, b.timestamp_ms, records).unwrap(),
                    Content::Data(values) => batch::encode_data(b.base_offset, b.epoch, b.timestamp_ms, values).unwrap(),
                };
                assert_eq!(again, bytes.slice(position..position + b.size), "{name} at offset {}", b.base_offset);
                position += b.size;
            }
            assert_eq!(position, bytes.len());
        }
    }

    #[test]
    fn snapshots_are_framed_as_kafka_frames_them() {
        let bytes = read("kraft1-00000000000000000139-0000000001.checkpoint");
        let content = snapshot::decode(&bytes).unwrap();
        let quorum = (content.kraft_version, content.voters.as_ref().unwrap());
        let id = OffsetAndEpoch::new(139, 1);
        let ours = snapshot::encode(id, content.last_contained_log_timestamp, quorum, &content.values, 1024, 0).unwrap();
        assert_eq!(ours.len(), bytes.len());
        let strip =
            |bytes: &Bytes| batch::decode_all(bytes).unwrap().into_iter().map(|b| (b.base_offset, b.epoch, b.content)).collect::<Vec<_>>();
        assert_eq!(strip(&ours), strip(&bytes));

        let bytes = read("bootstrap.checkpoint");
        let ours = snapshot::encode_bootstrap(&snapshot::decode(&bytes).unwrap().values, 0).unwrap();
        assert_eq!(strip(&ours), strip(&bytes));
        let bytes = read("kraft1-00000000000000000000-0000000000.checkpoint");
        let content = snapshot::decode(&bytes).unwrap();
        let ours = snapshot::encode_voters(content.voters.as_ref().unwrap(), content.last_contained_log_timestamp).unwrap();
        assert_eq!(strip(&ours), strip(&bytes));
    }

    #[test]
    fn opens_logs_that_kafka_wrote() {
        let mut log = MemoryLog::default();
        for b in record::batches(&read("kraft1.log")) {
            log.append(b.unwrap().bytes().clone(), now()).unwrap();
        }
        for end in ["00000000000000000000-0000000000", "00000000000000000139-0000000001"] {
            let name = format!("{end}.checkpoint");
            log.store_snapshot(snapshot::parse_file_name(&name).unwrap(), read(&format!("kraft1-{name}"))).unwrap();
        }
        log.write_quorum_state(
            br#"{"leaderId":1,"leaderEpoch":1,"votedId":-1,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA","data_version":1}"#,
        )
        .unwrap();
        let end = log.end();
        let config = Config {
            directory_id: "yoR7R0yITsacWdYGUxNgFQ".parse().unwrap(),
            endpoints: vec![Endpoint { listener: "CONTROLLER".into(), host: "127.0.0.1".into(), port: 29093 }],
            ..config(VoterSet::default())
        };
        let node = start(config, log);
        assert_eq!((node.epoch(), node.kraft_version()), (2, KRaftVersion::V1));
        assert_eq!(node.log_end(), OffsetAndEpoch::new(end.offset + 1, 2), "only the leader change is new");
    }
}
