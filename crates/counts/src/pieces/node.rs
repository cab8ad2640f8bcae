//! Whole requests, from the frame to the answer's segments, at a node that is real but for its disk and its clock.

use super::records::batch;
use super::{Run, frame, size};
use base::disk::MemDisk;
use base::{Instant, Now, Uuid};
use broker::{Handled, Session};
use bytes::Bytes;
use record::Compression;
use sim::{Client, Options, SimNode};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;
use wire::messages::consumer_group_heartbeat_request::TopicPartitions;
use wire::messages::create_topics_request::CreatableTopic;
use wire::messages::fetch_request::{FetchPartition, FetchTopic};
use wire::messages::join_group_request::JoinGroupRequestProtocol;
use wire::messages::metadata_request::MetadataRequestTopic;
use wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use wire::messages::sync_group_request::SyncGroupRequestAssignment;
use wire::messages::*;
use wire::{Records, Request};

const PRODUCE: i16 = 13;
const FETCH: i16 = 18;
const GROUP: &str = "group";

struct Bench {
    node: SimNode,
    client: Client,
    session: Session,
}

impl Bench {
    fn new() -> Self {
        let now = Now { mono: Instant::from_nanos(1_000_000_000), wall_ms: super::records::NOW_MS };
        let node = SimNode::start(Options { disk: Arc::new(MemDisk::new()), props: Vec::new(), seed: 1, open_files_max: 10_000, now });
        let session = Session::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000)), "PLAINTEXT".into());
        Bench { node, client: Client::new("counts"), session }
    }

    fn call<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        self.client.call(&mut self.node, request, version)
    }

    fn create(&mut self, topic: &str, partitions: i32) -> Uuid {
        let topic = CreatableTopic { name: topic.into(), num_partitions: partitions, replication_factor: 1, ..Default::default() };
        let answer = self.call(&CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() }, 7);
        assert_eq!(answer.topics[0].error_code, 0);
        answer.topics[0].topic_id
    }

    fn produce(&mut self, request: &ProduceRequest) {
        let answer = self.call(request, PRODUCE);
        assert!(answer.responses.iter().flat_map(|topic| &topic.partition_responses).all(|partition| partition.error_code == 0));
    }

    /// Asks for the coordinator until its topic is there and loaded.
    fn find_coordinator(&mut self) {
        let request = FindCoordinatorRequest { coordinator_keys: vec![GROUP.into()], ..Default::default() };
        while self.call(&request, 4).coordinators[0].error_code != 0 {
            self.node.advance(Duration::from_millis(100));
        }
    }

    /// Answers one frame a run; each must be answered at once.
    fn answer(mut self, frames: Vec<Bytes>) -> Run {
        let mut frames = frames.into_iter();
        Box::new(move || {
            let frame = frames.next().expect("a frame a run");
            match self.node.broker.handle(self.node.now, &mut self.session, frame, Waker::noop()) {
                Handled::Response(response) => size(&response.frame),
                _ => panic!("it should be answered at once"),
            }
        })
    }
}

fn same<R: Request>(request: &R, version: i16, runs: usize) -> Vec<Bytes> {
    (0..runs).map(|_| frame(request, version)).collect()
}

fn produce_request(topic_id: Uuid, partitions: i32, records: &Bytes) -> ProduceRequest {
    let data = |index| PartitionProduceData { index, records: Some(Records::from(records.clone())), ..Default::default() };
    let topic = TopicProduceData { topic_id, partition_data: (0..partitions).map(data).collect(), ..Default::default() };
    ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..Default::default() }
}

pub fn produce_one(runs: usize) -> Run {
    produce(runs, 1, &batch(1, 100, Compression::None))
}

pub fn produce_large(runs: usize) -> Run {
    produce(runs, 1, &batch(64, 1024, Compression::None))
}

pub fn produce_many(runs: usize) -> Run {
    produce(runs, 100, &batch(1, 100, Compression::None))
}

fn produce(runs: usize, partitions: i32, records: &Bytes) -> Run {
    let mut bench = Bench::new();
    let topic = bench.create("topic", partitions);
    let request = produce_request(topic, partitions, records);
    bench.produce(&request);
    bench.answer(same(&request, PRODUCE, runs))
}

fn fetch_request(topic_id: Uuid, partitions: impl Iterator<Item = i32>, session_id: i32, session_epoch: i32) -> FetchRequest {
    let partition = |partition| FetchPartition {
        partition,
        current_leader_epoch: 0,
        last_fetched_epoch: -1,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    let partitions: Vec<_> = partitions.map(partition).collect();
    let topics = if partitions.is_empty() { Vec::new() } else { vec![FetchTopic { topic_id, partitions, ..Default::default() }] };
    FetchRequest { max_bytes: 50 << 20, session_id, session_epoch, topics, ..Default::default() }
}

pub fn fetch_one(runs: usize) -> Run {
    fetch(runs, 1, true)
}

pub fn fetch_empty(runs: usize) -> Run {
    fetch(runs, 100, false)
}

pub fn fetch_some(runs: usize) -> Run {
    fetch(runs, 100, true)
}

/// A session of so many partitions. With news, its first partition has a batch that is asked for again and again, as by a consumer that has
/// not moved on.
fn fetch(runs: usize, partitions: i32, news: bool) -> Run {
    let mut bench = Bench::new();
    let topic = bench.create("topic", partitions);
    let session = bench.call(&fetch_request(topic, 0..partitions, 0, 0), FETCH).session_id;
    assert_ne!(session, 0);
    if news {
        bench.produce(&produce_request(topic, 1, &batch(64, 1024, Compression::None)));
    }
    let frames = (1..).take(runs).map(|epoch| frame(&fetch_request(topic, 0..i32::from(news), session, epoch), FETCH));
    let frames = frames.collect();
    bench.answer(frames)
}

pub fn heartbeat_classic(runs: usize) -> Run {
    let mut bench = Bench::new();
    bench.find_coordinator();
    let mut join = JoinGroupRequest {
        group_id: GROUP.into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 5_000,
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol { name: "range".into(), metadata: Bytes::from_static(b"m"), ..Default::default() }],
        ..Default::default()
    };
    join.member_id = bench.call(&join, 9).member_id;
    let joined = bench.call(&join, 9);
    assert_eq!(joined.error_code, 0);
    let (member_id, generation_id) = (joined.member_id, joined.generation_id);
    let assignment = Bytes::from_static(b"a");
    let sync = SyncGroupRequest {
        group_id: GROUP.into(),
        generation_id,
        member_id: member_id.clone(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: vec![SyncGroupRequestAssignment { member_id: member_id.clone(), assignment, ..Default::default() }],
        ..Default::default()
    };
    assert_eq!(bench.call(&sync, 5).error_code, 0);
    let beat = HeartbeatRequest { group_id: GROUP.into(), generation_id, member_id, ..Default::default() };
    assert_eq!(bench.call(&beat, 4).error_code, 0);
    bench.answer(same(&beat, 4, runs))
}

pub fn heartbeat_consumer(runs: usize) -> Run {
    let mut bench = Bench::new();
    let topic_id = bench.create("topic", 10);
    bench.find_coordinator();
    let mut beat = ConsumerGroupHeartbeatRequest {
        group_id: GROUP.into(),
        member_id: "member".into(),
        rebalance_timeout_ms: 30_000,
        subscribed_topic_names: Some(vec!["topic".into()]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    };
    let answer = bench.call(&beat, 1);
    assert_eq!((answer.error_code, answer.assignment.map(|a| a.topic_partitions.len())), (0, Some(1)));
    let owned = TopicPartitions { topic_id, partitions: (0..10).collect(), ..Default::default() };
    beat.topic_partitions = Some(vec![owned]);
    beat.member_epoch = answer.member_epoch;
    assert_eq!(bench.call(&beat, 1).error_code, 0);
    // What has not changed is left out.
    beat = ConsumerGroupHeartbeatRequest { rebalance_timeout_ms: -1, subscribed_topic_names: None, topic_partitions: None, ..beat };
    let answer = bench.call(&beat, 1);
    assert_eq!((answer.error_code, answer.assignment), (0, None));
    bench.answer(same(&beat, 1, runs))
}

pub fn commit(runs: usize) -> Run {
    let mut bench = Bench::new();
    bench.create("topic", 1);
    bench.find_coordinator();
    let partition = OffsetCommitRequestPartition { committed_offset: 1234, committed_metadata: Some(String::new()), ..Default::default() };
    let topic = OffsetCommitRequestTopic { name: "topic".into(), partitions: vec![partition], ..Default::default() };
    let request =
        OffsetCommitRequest { group_id: GROUP.into(), generation_id_or_member_epoch: -1, topics: vec![topic], ..Default::default() };
    assert_eq!(bench.call(&request, 9).topics[0].partitions[0].error_code, 0);
    bench.answer(same(&request, 9, runs))
}

pub fn metadata(runs: usize) -> Run {
    let mut bench = Bench::new();
    bench.create("topic", 1_000);
    let topic = MetadataRequestTopic { name: Some("topic".into()), ..Default::default() };
    let request = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
    assert_eq!(bench.call(&request, 13).topics[0].partitions.len(), 1_000);
    bench.answer(same(&request, 13, runs))
}
