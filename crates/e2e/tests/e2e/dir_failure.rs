//! One of two disks fails for good while the node runs: every operation on it is refused. Both brokers get the same requests before, after,
//! after a restart with the disk still broken, and after its repair.

use crate::both::assert_both_same;
use crate::requests::{Asker, create};
use base::Uuid;
use base::hash::coordinator_partition;
use bytes::Bytes;
use e2e::repo::Scratch;
use e2e::{Kind, Node, wait};
use record::{BatchBuilder, BatchFields};
use std::path::{Path, PathBuf};
use std::process::Command;
use wire::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use wire::messages::create_topics_request::CreatableTopic;
use wire::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use wire::messages::describe_producers_request::TopicRequest;
use wire::messages::fetch_request::{FetchPartition, FetchTopic};
use wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use wire::messages::metadata_request::MetadataRequestTopic;
use wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use wire::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use wire::messages::*;
use wire::{Records, Request};

/// A file system of its own that can be made to fail as a whole, and be repaired.
struct BreakableDisk {
    image: PathBuf,
    at: PathBuf,
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|out| out.status.success())
}

impl BreakableDisk {
    fn new(scratch: &Scratch, name: &str) -> Option<BreakableDisk> {
        let disk = BreakableDisk { image: scratch.join(&format!("{name}.ext4")), at: scratch.join(name) };
        std::fs::create_dir_all(&disk.at).expect("directory");
        std::fs::File::create(&disk.image).and_then(|file| file.set_len(96 << 20)).expect("an image");
        let ready = succeeds(Command::new("mkfs.ext4").args(["-q", "-m", "0", "-F"]).arg(&disk.image)) && disk.mount();
        if !ready {
            println!("NOT TESTED: this user may not make and mount an ext4 file system, which a disk that fails needs");
        }
        ready.then_some(disk)
    }

    fn mount(&self) -> bool {
        succeeds(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.at))
    }

    /// From now on reads, writes and syncs return EIO, as after an error of the device.
    fn fail(&self) {
        // What is in the page cache only would be lost, of one broker more than of the other.
        assert!(succeeds(Command::new("sync").arg("-f").arg(&self.at)));
        let shut_down = "import fcntl,os,struct,sys; fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 1))";
        assert!(succeeds(Command::new("python3").args(["-c", shut_down]).arg(&self.at)), "the file system shuts down");
    }

    fn repair(&self) {
        assert!(succeeds(Command::new("umount").arg(&self.at)) && self.mount(), "the file system is mounted again");
    }

    /// Below the root, in which ext4 has a directory of its own.
    fn log_dir(&self) -> PathBuf {
        self.at.join("logs")
    }
}

impl Drop for BreakableDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

const TOPIC: &str = "f-a";

/// What is on the disk that fails.
struct Lost {
    partition: i32,
    group: String,
    kept_group: String,
    transactional_id: String,
    kept_transactional_id: String,
    topic_id: Uuid,
}

impl Lost {
    fn partition(&self, lost: bool) -> i32 {
        if lost { self.partition } else { 1 - self.partition }
    }

    fn group(&self, lost: bool) -> &str {
        if lost { &self.group } else { &self.kept_group }
    }

    fn transactional_id(&self, lost: bool) -> &str {
        if lost { &self.transactional_id } else { &self.kept_transactional_id }
    }
}

fn batch(value: &str) -> Bytes {
    let mut batch = BatchBuilder::new(BatchFields::default());
    batch.append(1_700_000_000_000, None, Some(value.as_bytes()), &[]);
    batch.build().expect("a batch")
}

fn produce(partition: i32, value: &str) -> ProduceRequest {
    ProduceRequest {
        acks: -1,
        timeout_ms: 5000,
        topic_data: vec![TopicProduceData {
            name: TOPIC.into(),
            partition_data: vec![PartitionProduceData {
                index: partition,
                records: Some(Records::from(batch(value))),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn commit(group: &str, offset: i64) -> OffsetCommitRequest {
    OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: -1,
        topics: vec![OffsetCommitRequestTopic {
            name: TOPIC.into(),
            partitions: vec![OffsetCommitRequestPartition { committed_offset: offset, ..Default::default() }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn describe_log_dirs() -> DescribeLogDirsRequest {
    DescribeLogDirsRequest { topics: None, ..Default::default() }
}

/// Where the partitions of a topic are: those in directories that end with `logs`.
fn partition_on_second(a: &mut Asker, topic: &str) -> i32 {
    wait::until("one partition is on each disk", || {
        let answer = a.send(&describe_log_dirs(), 4).ok()?;
        let second = answer.results.iter().find(|dir| dir.log_dir.ends_with("logs"))?;
        let described = second.topics.iter().find(|t| t.name == topic)?;
        (described.partitions.len() == 1).then(|| described.partitions[0].partition_index)
    })
}

fn prepare(a: &mut Asker) -> Lost {
    create(a, &[TOPIC]);
    for key_type in [0, 1] {
        wait::until("the coordinator is there", || {
            let find = FindCoordinatorRequest { coordinator_keys: vec!["f-g0".into()], key_type, ..Default::default() };
            let answer = a.send(&find, 4).ok()?;
            (answer.coordinators.first()?.error_code == 0).then_some(())
        });
    }
    let offsets_partition = partition_on_second(a, "__consumer_offsets");
    let transactions_partition = partition_on_second(a, "__transaction_state");
    let group = |partition: i32| {
        (0..).map(|n| format!("f-g{n}")).find(|group| coordinator_partition(group, 2) == partition).expect("a name for each partition")
    };
    let metadata = a.send(&metadata(), 12).expect("metadata");
    let lost = Lost {
        partition: partition_on_second(a, TOPIC),
        group: group(offsets_partition),
        kept_group: group(1 - offsets_partition),
        transactional_id: group(transactions_partition),
        kept_transactional_id: group(1 - transactions_partition),
        topic_id: metadata.topics[0].topic_id,
    };
    for is_lost in [true, false] {
        let done = a.send(&produce(lost.partition(is_lost), "before"), 9).expect("an answer");
        assert_eq!(done.responses[0].partition_responses[0].error_code, 0);
        wait::until("an offset is committed", || {
            let done = a.send(&commit(lost.group(is_lost), 1), 8).ok()?;
            (done.topics[0].partitions[0].error_code == 0).then_some(())
        });
        wait::until("a producer is initialised", || {
            let done = a.send(&init_producer_id(lost.transactional_id(is_lost)), 4).ok()?;
            (done.error_code == 0).then_some(())
        });
    }
    lost
}

fn init_producer_id(transactional_id: &str) -> InitProducerIdRequest {
    InitProducerIdRequest { transactional_id: Some(transactional_id.into()), transaction_timeout_ms: 60_000, ..Default::default() }
}

/// The transactions of an id on the disk that fails have no coordinator until it is repaired; those of the other always have.
fn ask_transactions(a: &mut Asker, when: &str, what: &Lost, lost: bool) {
    let id = what.transactional_id(lost);
    let gone = lost && (when == "failed" || when == "restarted");
    let name = |api: &str| format!("{when}, {api}");
    let state = wait::until("the coordinator has heard of it", || {
        let describe = DescribeTransactionsRequest { transactional_ids: vec![id.into()], ..Default::default() };
        let state = a.send(&describe, 0).ok()?.transaction_states.into_iter().next()?;
        (if gone { state.error_code == 16 } else { state.error_code == 0 }).then_some(state)
    });
    let state = format!("{} {} epoch {}", state.error_code, state.transaction_state, state.producer_epoch);
    a.line(&format!("{}, {}", name("transaction"), if lost { "lost" } else { "kept" }), &state);
    let find = FindCoordinatorRequest { coordinator_keys: vec![id.into()], key_type: 1, ..Default::default() };
    ask(a, &name("find coordinator of transactions"), lost, 4, find, |answer| format!("{}", answer.coordinators[0].error_code));
    ask(a, &name("init producer id"), lost, 4, init_producer_id(id), |answer| {
        format!("{} epoch {}", answer.error_code, answer.producer_epoch)
    });
}

fn metadata() -> MetadataRequest {
    let topics = Some(vec![MetadataRequestTopic { name: Some(TOPIC.into()), ..Default::default() }]);
    MetadataRequest { topics, allow_auto_topic_creation: false, ..Default::default() }
}

fn leader(a: &mut Asker, partition: i32) -> Option<i32> {
    let answer = a.send(&metadata(), 8).ok()?;
    answer.topics.first()?.partitions.iter().find(|p| p.partition_index == partition).map(|p| p.leader_id)
}

fn serves(a: &mut Asker, partition_index: i32) -> Option<()> {
    let answer = a.send(&offsets(partition_index, -1), 7).ok()?;
    (answer.topics[0].partitions[0].error_code == 0).then_some(())
}

fn offsets(partition_index: i32, timestamp: i64) -> ListOffsetsRequest {
    let partition = ListOffsetsPartition { partition_index, current_leader_epoch: -1, timestamp, ..Default::default() };
    let topic = ListOffsetsTopic { name: TOPIC.into(), partitions: vec![partition], ..Default::default() };
    ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() }
}

/// One partition's part of the answers, which one it is left out: the two brokers choose differently.
fn ask<R: Request>(a: &mut Asker, name: &str, lost: bool, version: i16, request: R, tell: impl Fn(R::Response) -> String) {
    let name = format!("{name}, {}", if lost { "lost" } else { "kept" });
    let text = a.send(&request, version).map_or_else(|e| e, tell);
    // A broker that starts without the disk says NOT_LEADER_OR_FOLLOWER or KAFKA_STORAGE_ERROR, Kafka too: it depends on whether the first
    // metadata it gets still has it as the leader.
    let code = text.split(' ').next().unwrap_or_default();
    let either = lost && name.starts_with("restarted") && ["6", "56"].contains(&code);
    a.line(&name, &if either { text.replacen(code, "6 or 56", 1) } else { text.clone() });
}

fn questions(a: &mut Asker, when: &str, what: &Lost) {
    for lost in [true, false] {
        let index = what.partition(lost);
        let name = |api: &str| format!("{when}, {api}");
        ask(a, &name("metadata"), lost, 8, metadata(), |answer| {
            let topic = &answer.topics[0];
            let p = topic.partitions.iter().find(|p| p.partition_index == index).expect("the partition");
            format!(
                "{} {} leader {} replicas {:?} isr {:?} offline {:?}",
                topic.error_code, p.error_code, p.leader_id, p.replica_nodes, p.isr_nodes, p.offline_replicas
            )
        });
        ask(a, &name("produce"), lost, 9, produce(index, "after"), |answer| {
            format!("{:?}", answer.responses[0].partition_responses[0].error_code)
        });
        let fetch = FetchRequest {
            replica_id: -1,
            max_wait_ms: 10,
            min_bytes: 1,
            max_bytes: 1 << 20,
            session_epoch: -1,
            topics: vec![FetchTopic {
                topic: TOPIC.into(),
                partitions: vec![FetchPartition {
                    partition: index,
                    current_leader_epoch: -1,
                    partition_max_bytes: 1 << 20,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        ask(a, &name("fetch"), lost, 11, fetch, |answer| {
            let p = &answer.responses[0].partitions[0];
            let size = p.records.as_ref().map_or(0, Records::len);
            format!("{} hw {} start {} lso {} bytes {}", p.error_code, p.high_watermark, p.log_start_offset, p.last_stable_offset, size > 0)
        });
        for timestamp in [-1, -2, -3, 0] {
            ask(a, &name(&format!("offset at {timestamp}")), lost, 7, offsets(index, timestamp), |answer| {
                let p = &answer.topics[0].partitions[0];
                format!("{} offset {} time {}", p.error_code, p.offset, p.timestamp)
            });
        }
        let epoch = OffsetForLeaderEpochRequest {
            replica_id: -2,
            topics: vec![OffsetForLeaderTopic {
                topic: TOPIC.into(),
                partitions: vec![OffsetForLeaderPartition {
                    partition: index,
                    current_leader_epoch: -1,
                    leader_epoch: 0,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        ask(a, &name("epoch end"), lost, 4, epoch, |answer| {
            let p = &answer.topics[0].partitions[0];
            format!("{} epoch {} end {}", p.error_code, p.leader_epoch, p.end_offset)
        });
        let delete = DeleteRecordsRequest {
            topics: vec![DeleteRecordsTopic {
                name: TOPIC.into(),
                partitions: vec![DeleteRecordsPartition { partition_index: index, offset: 0, ..Default::default() }],
                ..Default::default()
            }],
            timeout_ms: 2000,
            ..Default::default()
        };
        ask(a, &name("delete records"), lost, 2, delete, |answer| {
            let p = &answer.topics[0].partitions[0];
            format!("{} low {}", p.error_code, p.low_watermark)
        });
        let producers = DescribeProducersRequest {
            topics: vec![TopicRequest { name: TOPIC.into(), partition_indexes: vec![index], ..Default::default() }],
            ..Default::default()
        };
        ask(a, &name("producers"), lost, 0, producers, |answer| {
            let p = &answer.topics[0].partitions[0];
            format!("{} {:?} {:?}", p.error_code, p.error_message, p.active_producers)
        });
        let group = what.group(lost);
        ask(a, &name("commit"), lost, 8, commit(group, 2), |answer| format!("{:?}", answer.topics[0].partitions[0].error_code));
        let committed = OffsetFetchRequest {
            groups: vec![OffsetFetchRequestGroup {
                group_id: group.into(),
                topics: Some(vec![OffsetFetchRequestTopics { name: TOPIC.into(), partition_indexes: vec![0], ..Default::default() }]),
                member_epoch: -1,
                ..Default::default()
            }],
            ..Default::default()
        };
        ask(a, &name("committed"), lost, 8, committed, |answer| {
            let group = &answer.groups[0];
            format!("{} {:?}", group.error_code, group.topics.iter().map(|t| t.partitions[0].committed_offset).collect::<Vec<_>>())
        });
        let find = FindCoordinatorRequest { coordinator_keys: vec![group.into()], ..Default::default() };
        ask(a, &name("find coordinator"), lost, 4, find, |answer| format!("{}", answer.coordinators[0].error_code));
        let heartbeat = HeartbeatRequest { group_id: group.into(), generation_id: 1, member_id: "m".into(), ..Default::default() };
        ask(a, &name("heartbeat"), lost, 4, heartbeat, |answer| format!("{}", answer.error_code));
        ask_transactions(a, when, what, lost);
    }
    // Only what is told of whole directories: which partitions a directory has is different on the two.
    let told = a.send(&describe_log_dirs(), 4).map(|answer| {
        let mut dirs: Vec<String> = answer
            .results
            .iter()
            .map(|dir| {
                let of_topic = dir.topics.iter().filter(|t| t.name == TOPIC).map(|t| t.partitions.len()).sum::<usize>();
                format!("{} {} {of_topic} {}", dir.log_dir, dir.error_code, dir.total_bytes > 0)
            })
            .collect();
        dirs.sort();
        format!("{dirs:?}")
    });
    let second = a.second_dir();
    a.line(&format!("{when}, log dirs"), &told.unwrap_or_else(|e| e).replace(&second, "SECOND"));
    if when != "failed" && when != "restarted" {
        return;
    }
    let alter = AlterReplicaLogDirsRequest {
        dirs: vec![AlterReplicaLogDir {
            path: second,
            topics: vec![AlterReplicaLogDirTopic {
                name: TOPIC.into(),
                partitions: vec![what.partition(false), what.partition(true)],
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let moved = a.send(&alter, 2).map(|answer| {
        let mut errors: Vec<i16> = answer.results[0].partitions.iter().map(|p| p.error_code).collect();
        errors.sort_unstable();
        format!("{errors:?}")
    });
    a.line(&format!("{when}, move both to the failed one"), &moved.unwrap_or_else(|e| e));
}

fn create_another(a: &mut Asker, when: &str, name: &str) {
    let topic = CreatableTopic { name: name.into(), num_partitions: 3, replication_factor: 1, ..Default::default() };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
    let created = a.send(&request, 5).map_or_else(|e| e, |answer| format!("{}", answer.topics[0].error_code));
    a.line(&format!("{when}, create {name}"), &created);
    for index in 0..3 {
        let mut request = produce(index, "new");
        request.topic_data[0].name = name.into();
        let done = wait::until("the new partition takes records or refuses for good", || {
            let done = a.send(&request, 9).ok()?.responses[0].partition_responses[0].error_code;
            // Until the broker knows.
            (done != 3 && done != 6).then_some(done)
        });
        a.line(&format!("{when}, produce to {name}-{index}"), &done.to_string());
    }
}

impl Asker<'_> {
    fn second_dir(&self) -> String {
        let properties = std::fs::read_to_string(self.node().dir.join("server.properties")).expect("properties");
        let dirs = properties.lines().rev().find_map(|l| l.strip_prefix("log.dirs=")).expect("log.dirs");
        dirs.split(',').next_back().expect("two directories").to_owned()
    }
}

fn node_with(kind: Kind, dir: &Path, disk: &BreakableDisk, extra: &[&str]) -> Node {
    let dirs = format!("log.dirs={},{}", dir.join("data").display(), disk.log_dir().display());
    std::fs::create_dir_all(disk.log_dir()).expect("directory");
    let mut lines = vec![dirs.as_str(), "offsets.topic.num.partitions=2", "transaction.state.log.num.partitions=2", "log.retention.ms=-1"];
    lines.extend(extra);
    let mut node = Node::start(kind, dir, &lines);
    for expected in
        ["failed log dir", "log directory", "lock file", "os error 5", "Input/output", "is offline", "storage error", "cannot be moved"]
    {
        node.expect_log(expected);
    }
    node
}

#[test]
fn one_of_two_disks_fails() {
    let scratch = Scratch::new("dir-failure");
    let disks = [Kind::Apache, Kind::Gregor].map(|kind| (kind, BreakableDisk::new(&scratch, &format!("disk-{kind:?}"))));
    if disks.iter().any(|(_, disk)| disk.is_none()) {
        return;
    }
    let answers = |kind: Kind| {
        let disk = disks.iter().find(|(of, _)| *of == kind).and_then(|(_, disk)| disk.as_ref()).expect("a disk for each kind");
        let mut node = node_with(kind, &scratch.join(&format!("{kind:?}")), disk, &[]);
        let mut a = Asker::new(&mut node);
        let what = prepare(&mut a);
        questions(&mut a, "before", &what);

        disk.fail();
        let refused = a.send(&produce(what.partition, "refused"), 9).expect("an answer").responses[0].partition_responses[0].error_code;
        a.line("the first append after the failure", &refused.to_string());
        wait::until("the controller has heard of it", || (leader(&mut a, what.partition) == Some(-1)).then_some(()));
        questions(&mut a, "failed", &what);
        create_another(&mut a, "failed", "f-new");

        a.node_mut().stop();
        a.node_mut().start_again();
        wait::until("the broker is unfenced", || serves(&mut a, what.partition(false)));
        questions(&mut a, "restarted", &what);
        create_another(&mut a, "restarted", "f-newer");
        a.node_mut().stop();

        disk.repair();
        a.node_mut().start_again();
        for lost in [true, false] {
            wait::until("all partitions are back", || serves(&mut a, what.partition(lost)));
        }
        questions(&mut a, "repaired", &what);
        let text = a.take().replace(&what.topic_id.to_string(), "TOPIC-ID");
        let text = node.normalise(&text);
        node.stop();
        (text, node)
    };
    assert_both_same("dir failure", include_str!("../../known/dir_failure.txt"), answers);
}

/// The disk with the metadata log, or the only one: the node ends, with the exit code that Kafka has.
#[test]
fn the_disk_with_the_metadata_log_fails() {
    let scratch = Scratch::new("metadata-dir-failure");
    let mut codes = Vec::new();
    for kind in [Kind::Apache, Kind::Gregor] {
        let Some(disk) = BreakableDisk::new(&scratch, &format!("disk-{kind:?}")) else { return };
        let dir = scratch.join(&format!("{kind:?}"));
        std::fs::create_dir_all(disk.log_dir()).expect("directory");
        let dirs = format!("log.dirs={}", disk.log_dir().display());
        let mut node = Node::start(kind, &dir, &[&dirs]);
        for expected in [" ERROR ", " WARN "] {
            node.expect_log(expected);
        }
        let mut a = Asker::new(&mut node);
        create(&mut a, &[TOPIC]);
        disk.fail();
        codes.push(node.wait_for_end());
        if kind == Kind::Gregor {
            assert!(node.log().contains(&disk.log_dir().display().to_string()), "the log names the directory:\n{}", node.log());
        }
    }
    assert_eq!(codes, [Some(1), Some(1)]);
}
