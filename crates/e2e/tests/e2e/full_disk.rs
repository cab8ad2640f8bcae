//! A disk that is full, for real: a small file system of its own. Producers are refused before it is, with a reason, while everything else
//! goes on, over restarts and kill -9; deleting makes room, and a producer that waited loses nothing. Apache's broker ends when its disk is full.

use crate::requests::{Asker, create};
use bytes::Bytes;
use client::{Config, Producer, ProducerRecord};
use e2e::repo::Scratch;
use e2e::{Kind, Node, wait};
use record::{BatchBuilder, BatchFields};
use std::path::{Path, PathBuf};
use std::process::Command;
use wire::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use wire::messages::delete_topics_request::DeleteTopicState;
use wire::messages::fetch_request::{FetchPartition, FetchTopic};
use wire::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use wire::messages::produce_response::PartitionProduceResponse;
use wire::messages::*;
use wire::{ErrorCode, Records};

const A: &str = "full-a";
const B: &str = "full-b";
const GROUP: &str = "full-group";
const RECORDS: usize = 16;
const RECORD_BYTES: usize = 16 * 1024;

/// A file system in memory, as large as said.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, mib: u32) -> SmallDisk {
        std::fs::create_dir_all(at).expect("a mount point");
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "none"]).arg(at).status();
        assert!(status.is_ok_and(|s| s.success()), "this test mounts a small file system at {}: run it as root", at.display());
        SmallDisk(at.to_owned())
    }

    fn free(&self) -> u64 {
        let out = Command::new("df").args(["--output=avail", "-B1"]).arg(&self.0).output().expect("df runs");
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        text.lines().nth(1).and_then(|line| line.trim().parse().ok()).expect("a number of bytes")
    }

    /// Somebody else takes all the space there is.
    fn hog(&self) -> PathBuf {
        let path = self.0.join("hog");
        let mut file = std::fs::File::create(&path).expect("a file");
        let block = vec![1; 64 * 1024];
        while std::io::Write::write(&mut file, &block).is_ok_and(|n| n > 0) {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Records that begin with their number.
fn batch(first: u64) -> Bytes {
    let now = std::time::UNIX_EPOCH.elapsed().expect("a clock").as_millis() as i64;
    let mut batch = BatchBuilder::new(BatchFields::default());
    for n in first..first + RECORDS as u64 {
        let mut value = n.to_be_bytes().to_vec();
        value.resize(RECORD_BYTES, b'x');
        batch.append(now, None, Some(&value), &[]);
    }
    batch.build().expect("a batch")
}

fn produce(a: &mut Asker, topic: &str, first: u64) -> PartitionProduceResponse {
    let data = PartitionProduceData { records: Some(Records::from(batch(first))), ..Default::default() };
    let topic = TopicProduceData { name: topic.into(), partition_data: vec![data], ..Default::default() };
    let request = ProduceRequest { acks: -1, timeout_ms: 5000, topic_data: vec![topic], ..Default::default() };
    let mut answer = a.send(&request, 9).expect("an answer");
    answer.responses.remove(0).partition_responses.remove(0)
}

/// Produces in turn to both topics until it is refused; returns how many records each took, and the refusal.
fn fill(a: &mut Asker, acknowledged: &mut [u64; 2]) -> PartitionProduceResponse {
    loop {
        for (topic, count) in [A, B].into_iter().zip(acknowledged.iter_mut()) {
            let answer = produce(a, topic, *count);
            if answer.error_code != 0 {
                return answer;
            }
            assert_eq!(answer.base_offset as u64, *count);
            *count += RECORDS as u64;
        }
    }
}

/// All numbers from an offset on.
fn read(a: &mut Asker, topic: &str, from: u64) -> Vec<u64> {
    let mut numbers = Vec::new();
    let mut offset = from as i64;
    loop {
        let partition =
            FetchPartition { fetch_offset: offset, current_leader_epoch: -1, partition_max_bytes: 4 << 20, ..Default::default() };
        let request = FetchRequest {
            replica_id: -1,
            max_wait_ms: 10,
            min_bytes: 1,
            max_bytes: 4 << 20,
            session_epoch: -1,
            topics: vec![FetchTopic { topic: topic.into(), partitions: vec![partition], ..Default::default() }],
            ..Default::default()
        };
        let mut answer = a.send(&request, 11).expect("an answer");
        let partition = answer.responses.remove(0).partitions.remove(0);
        assert_eq!(partition.error_code, 0);
        let bytes = partition.records.map(|records| records.to_bytes().expect("records")).unwrap_or_default();
        for batch in record::batches(&bytes).map_while(Result::ok) {
            for record in batch.records(1 << 26).expect("records").map(|record| record.expect("a record")) {
                if record.offset >= offset {
                    let value = record.value.expect("a value");
                    numbers.push(u64::from_be_bytes(*value.first_chunk().expect("a number")));
                    offset = record.offset + 1;
                }
            }
        }
        if offset >= partition.high_watermark {
            return numbers;
        }
    }
}

fn assert_all_there(a: &mut Asker, acknowledged: &[u64; 2]) {
    for (topic, count) in [A, B].into_iter().zip(acknowledged) {
        let numbers = read(a, topic, 0);
        assert!(numbers.iter().copied().eq(0..*count), "{topic} has {} records, {count} were acknowledged", numbers.len());
    }
}

fn commit(a: &mut Asker, offset: i64) -> i16 {
    let partition = OffsetCommitRequestPartition { committed_offset: offset, ..Default::default() };
    let topic = OffsetCommitRequestTopic { name: A.into(), partitions: vec![partition], ..Default::default() };
    let request =
        OffsetCommitRequest { group_id: GROUP.into(), generation_id_or_member_epoch: -1, topics: vec![topic], ..Default::default() };
    a.send(&request, 8).map_or(-1, |answer| answer.topics[0].partitions[0].error_code)
}

fn committed(a: &mut Asker) -> i64 {
    let topics = Some(vec![OffsetFetchRequestTopics { name: A.into(), partition_indexes: vec![0], ..Default::default() }]);
    let group = OffsetFetchRequestGroup { group_id: GROUP.into(), topics, member_epoch: -1, ..Default::default() };
    let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
    wait::until("the coordinator answers", || {
        let answer = a.send(&request, 8).ok()?;
        (answer.groups[0].error_code == 0).then(|| answer.groups[0].topics[0].partitions[0].committed_offset)
    })
}

fn alter(a: &mut Asker, topic: &str, key: &str, value: &str) -> i16 {
    let config = AlterableConfig { name: key.into(), value: Some(value.into()), ..Default::default() };
    let resource = AlterConfigsResource { resource_type: 2, resource_name: topic.into(), configs: vec![config], ..Default::default() };
    let answer = a.send(&IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() }, 1).expect("an answer");
    answer.responses[0].error_code
}

/// What must go on while producers are refused.
fn everything_else_works(a: &mut Asker, disk: &SmallDisk, round: i64, acknowledged: &[u64; 2]) {
    let refused = produce(a, A, acknowledged[0]);
    assert_eq!(refused.error_code, ErrorCode::KafkaStorageError.code());
    assert!(disk.free() > 0, "the reserve is kept");
    assert_all_there(a, acknowledged);
    assert_eq!(commit(a, round), 0);
    assert_eq!(committed(a), round);
    assert_eq!(alter(a, B, "retention.ms", &(86_400_000 + round).to_string()), 0);
    let topic = format!("full-new-{round}");
    create(a, &[&topic]);
    let delete = DeleteTopicsRequest {
        topics: vec![DeleteTopicState { name: Some(topic), ..Default::default() }],
        timeout_ms: 5000,
        ..Default::default()
    };
    assert_eq!(a.send(&delete, 6).expect("an answer").responses[0].error_code, 0);
}

#[test]
fn a_full_disk_is_survived() {
    let scratch = Scratch::new("full-disk");
    let dir = scratch.join("node");
    let disk = SmallDisk::mount(&dir.join("data"), 64);
    let extra = ["log.segment.bytes=1048576", "offsets.topic.num.partitions=1", "log.initial.task.delay.ms=500"];
    let mut node = Node::start(Kind::Gregor, &dir, &extra);
    node.expect_log("almost full").expect_log("is filling up").expect_log("closing");
    let broker = node.bootstrap();
    let mut a = Asker::new(&mut node);
    create(&mut a, &[A, B]);
    let find = FindCoordinatorRequest { coordinator_keys: vec![GROUP.into()], ..Default::default() };
    wait::until("there is a coordinator", || (a.send(&find, 4).ok()?.coordinators.first()?.error_code == 0).then_some(()));
    wait::until("an offset is committed", || (commit(&mut a, 0) == 0).then_some(()));

    let mut acknowledged = [0; 2];
    let refused = fill(&mut a, &mut acknowledged);
    assert_eq!(refused.error_code, ErrorCode::KafkaStorageError.code());
    let text = refused.error_message.expect("a reason");
    for part in [&*dir.join("data").display().to_string(), "bytes are free", "shorten retention"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(acknowledged[0] as usize * RECORD_BYTES > 16 << 20, "{acknowledged:?} records fit");
    everything_else_works(&mut a, &disk, 1, &acknowledged);

    a.node_mut().stop();
    a.node_mut().start_again();
    everything_else_works(&mut a, &disk, 2, &acknowledged);
    a.node_mut().kill();
    a.node_mut().start_again();
    everything_else_works(&mut a, &disk, 3, &acknowledged);

    // A producer with the defaults waits, and is served as soon as somebody has made room.
    let waiting = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let producer = Producer::new(Config::bootstrap(&broker)).expect("a producer");
            let value = acknowledged[0].to_be_bytes();
            producer.send(&ProducerRecord::new(A).partition(0).value(&value)).await?.await
        })
    });
    let half = acknowledged[1] as i64 / 2;
    let partition = DeleteRecordsPartition { offset: half, ..Default::default() };
    let topic = DeleteRecordsTopic { name: B.into(), partitions: vec![partition], ..Default::default() };
    let delete = DeleteRecordsRequest { topics: vec![topic], timeout_ms: 5000, ..Default::default() };
    assert_eq!(a.send(&delete, 2).expect("an answer").topics[0].partitions[0].error_code, 0);
    let delivered = waiting.join().expect("the thread ends").expect("the record is acknowledged in the end");
    assert_eq!(delivered.offset as u64, acknowledged[0]);
    acknowledged[0] += 1;

    let numbers = read(&mut a, A, 0);
    assert!(numbers.into_iter().eq(0..acknowledged[0]));
    let numbers = read(&mut a, B, half as u64);
    assert!(numbers.into_iter().eq(half as u64..acknowledged[1]));
    // A topic that is deleted gives its space back, too.
    let topics = vec![DeleteTopicState { name: Some(B.into()), ..Default::default() }];
    let delete = DeleteTopicsRequest { topics, timeout_ms: 5000, ..Default::default() };
    assert_eq!(a.send(&delete, 6).expect("an answer").responses[0].error_code, 0);
    let numbers = read(&mut a, A, 0);
    assert!(numbers.into_iter().eq(0..acknowledged[0]));
    node.stop();
}

/// Nothing is kept back, and somebody else fills the disk: writes fail half-way. They are undone, and the log goes on.
#[test]
fn a_write_that_fails_for_lack_of_space_is_undone() {
    let scratch = Scratch::new("no-space");
    let dir = scratch.join("node");
    // The metadata log is elsewhere: what the other one takes does not concern it.
    let disk = SmallDisk::mount(&dir.join("data"), 16);
    let elsewhere = format!("metadata.log.dir={}", dir.join("metadata").display());
    let extra = ["log.dir.reserve.bytes=0", "log.dir.throttle.horizon.ms=0", "log.segment.bytes=1048576", &elsewhere];
    let mut node = Node::start(Kind::Gregor, &dir, &extra);
    node.expect_log("almost full").expect_log("o space left").expect_log("cannot write a checkpoint");
    let mut a = Asker::new(&mut node);
    create(&mut a, &[A, B]);
    let mut acknowledged = [0; 2];
    for round in 0..3 {
        for (topic, count) in [A, B].into_iter().zip(acknowledged.iter_mut()) {
            let answer = produce(&mut a, topic, *count);
            assert_eq!((answer.error_code, answer.base_offset as u64), (0, *count), "round {round}");
            *count += RECORDS as u64;
        }
        let hog = disk.hog();
        let refused = fill(&mut a, &mut acknowledged);
        assert_eq!(refused.error_code, ErrorCode::KafkaStorageError.code(), "{refused:?}");
        assert_all_there(&mut a, &acknowledged);
        std::fs::remove_file(hog).expect("the other one goes");
        wait::until("there is room again", || {
            let answer = produce(&mut a, A, acknowledged[0]);
            (answer.error_code == 0).then(|| assert_eq!(answer.base_offset as u64, acknowledged[0]))
        });
        acknowledged[0] += RECORDS as u64;
        match round {
            0 => {}
            1 => {
                a.node_mut().kill();
                a.node_mut().start_again();
            }
            _ => {
                a.node_mut().stop();
                a.node_mut().start_again();
            }
        }
        assert_all_there(&mut a, &acknowledged);
    }
    node.stop();
}

/// Somebody else takes every byte, also those that were kept back. The cluster can still be administered, and comes back after a restart.
#[test]
fn a_disk_filled_by_somebody_else_is_survived() {
    let scratch = Scratch::new("hogged");
    let dir = scratch.join("node");
    let disk = SmallDisk::mount(&dir.join("data"), 64);
    let mut node = Node::start(Kind::Gregor, &dir, &["log.segment.bytes=1048576"]);
    node.expect_log("almost full").expect_log("o space left").expect_log("cannot write a checkpoint").expect_log("is filling up");
    let mut a = Asker::new(&mut node);
    create(&mut a, &[A, B]);
    let mut acknowledged = [0; 2];
    for _ in 0..3 {
        for (topic, count) in [A, B].into_iter().zip(acknowledged.iter_mut()) {
            assert_eq!(produce(&mut a, topic, *count).error_code, 0);
            *count += RECORDS as u64;
        }
    }
    let hog = disk.hog();
    let refused = fill(&mut a, &mut acknowledged);
    assert_eq!(refused.error_code, ErrorCode::KafkaStorageError.code(), "{refused:?}");
    for restart in 0..3 {
        assert_all_there(&mut a, &acknowledged);
        assert_eq!(alter(&mut a, B, "retention.ms", &(86_400_000 + restart).to_string()), 0);
        match restart {
            0 => a.node_mut().kill(),
            _ => a.node_mut().stop(),
        }
        a.node_mut().start_again();
    }
    let topics = vec![DeleteTopicState { name: Some(B.into()), ..Default::default() }];
    let delete = DeleteTopicsRequest { topics, timeout_ms: 5000, ..Default::default() };
    assert_eq!(a.send(&delete, 6).expect("an answer").responses[0].error_code, 0);
    std::fs::remove_file(hog).expect("the other one goes");
    wait::until("there is room again", || (produce(&mut a, A, acknowledged[0]).error_code == 0).then_some(()));
    acknowledged[0] += RECORDS as u64;
    let numbers = read(&mut a, A, 0);
    assert!(numbers.into_iter().eq(0..acknowledged[0]));
    node.stop();
}
