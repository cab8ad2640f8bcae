use crate::client::Sent;
use crate::life::{self, Summary};
use crate::{Client, FEW_FILES, Options, SimNode};
use base::disk::MemDisk;
use base::{Now, Uuid};
use bytes::Bytes;
use parking_lot::Mutex;
use record::{BatchBuilder, BatchFields};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use wire::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use wire::messages::fetch_request::{FetchPartition, FetchTopic};
use wire::messages::join_group_request::JoinGroupRequestProtocol;
use wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use wire::messages::sync_group_request::SyncGroupRequestAssignment;
use wire::messages::*;
use wire::{ErrorCode, Records};

mod room;

fn node(props: &[(&'static str, &'static str)]) -> SimNode {
    node_on(MemDisk::default(), props, 1)
}

fn node_on(disk: MemDisk, props: &[(&'static str, &'static str)], seed: u64) -> SimNode {
    let now = Now { mono: base::Instant::from_nanos(1_000_000_000), wall_ms: 1_700_000_000_000 };
    SimNode::start(Options { disk: Arc::new(disk), props: props.to_vec(), seed, open_files_max: FEW_FILES, now })
}

fn create(client: &mut Client, node: &mut SimNode, topic: &str, partitions: i32, configs: &[(&str, &str)]) -> Uuid {
    let configs = configs.iter().map(|(name, value)| CreatableTopicConfig {
        name: (*name).into(),
        value: Some((*value).into()),
        ..Default::default()
    });
    let topic = CreatableTopic {
        name: topic.into(),
        num_partitions: partitions,
        replication_factor: 1,
        configs: configs.collect(),
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
    let response = client.call(node, &request, 7);
    assert_eq!(response.topics[0].error_code, 0, "{response:?}");
    response.topics[0].topic_id
}

fn batch(now: Now, values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(BatchFields::default());
    for value in values {
        builder.append(now.wall_ms, None, Some(value.as_bytes()), &[]);
    }
    builder.build().unwrap()
}

fn produce_request(topic: &str, partition: i32, records: Bytes, acks: i16) -> ProduceRequest {
    let data = PartitionProduceData { index: partition, records: Some(Records::from(records)), ..Default::default() };
    let topic = TopicProduceData { name: topic.into(), partition_data: vec![data], ..Default::default() };
    ProduceRequest { acks, timeout_ms: 1000, topic_data: vec![topic], ..Default::default() }
}

fn produce(client: &mut Client, node: &mut SimNode, topic: &str, values: &[&str]) -> i64 {
    let records = batch(node.now, values);
    let response = client.call(node, &produce_request(topic, 0, records, -1), 12);
    let partition = &response.responses[0].partition_responses[0];
    assert_eq!(partition.error_code, 0, "{partition:?}");
    partition.base_offset
}

fn fetch_request(id: Uuid, offset: i64, max_wait_ms: i32) -> FetchRequest {
    let partition = FetchPartition { partition: 0, fetch_offset: offset, partition_max_bytes: 1 << 20, ..Default::default() };
    let topic = FetchTopic { topic_id: id, partitions: vec![partition], ..Default::default() };
    FetchRequest { max_wait_ms, min_bytes: 1, max_bytes: 1 << 20, session_epoch: -1, topics: vec![topic], ..Default::default() }
}

fn values(response: &FetchResponse) -> Vec<String> {
    let records = response.responses[0].partitions[0].records.clone().unwrap().to_bytes().unwrap();
    let mut out = Vec::new();
    for batch in record::batches(&records) {
        for record in batch.unwrap().records(1 << 20).unwrap() {
            out.push(String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap());
        }
    }
    out
}

fn list_offset(client: &mut Client, node: &mut SimNode, topic: &str, timestamp: i64) -> i64 {
    let partition = ListOffsetsPartition { partition_index: 0, timestamp, ..Default::default() };
    let topic = ListOffsetsTopic { name: topic.into(), partitions: vec![partition], ..Default::default() };
    let response = client.call(node, &ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() }, 7);
    assert_eq!(response.topics[0].partitions[0].error_code, 0);
    response.topics[0].partitions[0].offset
}

#[test]
fn what_is_produced_is_fetched() {
    let mut node = node(&[]);
    let mut client = Client::new("test");
    let id = create(&mut client, &mut node, "t", 1, &[]);
    assert_eq!(produce(&mut client, &mut node, "t", &["a", "b"]), 0);
    assert_eq!(produce(&mut client, &mut node, "t", &["c"]), 2);
    let response = client.call(&mut node, &fetch_request(id, 0, 0), 13);
    assert_eq!(values(&response), ["a", "b", "c"]);
    assert_eq!(response.responses[0].partitions[0].high_watermark, 3);
    // An offset inside a batch gives the whole batch.
    assert_eq!(values(&client.call(&mut node, &fetch_request(id, 1, 0), 13)), ["a", "b", "c"]);
}

#[test]
fn a_fetch_waits_for_records_or_its_deadline() {
    let mut node = node(&[]);
    let (mut reader, mut writer) = (Client::new("reader"), Client::new("writer"));
    let id = create(&mut writer, &mut node, "t", 1, &[]);
    let Sent::Waiting(mut waiting) = reader.send(&mut node, &fetch_request(id, 0, 500), 13) else { panic!("it should wait") };
    assert!(waiting.poll(&mut node).is_none());
    produce(&mut writer, &mut node, "t", &["x"]);
    assert_eq!(values(&waiting.poll(&mut node).unwrap()), ["x"]);

    let Sent::Waiting(mut waiting) = reader.send(&mut node, &fetch_request(id, 1, 500), 13) else { panic!("it should wait") };
    node.advance(Duration::from_millis(499));
    assert!(waiting.poll(&mut node).is_none());
    node.advance(Duration::from_millis(1));
    assert_eq!(values(&waiting.poll(&mut node).unwrap()), [""; 0]);
}

#[test]
fn retention_follows_the_virtual_clock() {
    let mut node = node(&[]);
    let mut client = Client::new("test");
    create(&mut client, &mut node, "t", 1, &[("retention.ms", "3600000"), ("segment.ms", "60000"), ("file.delete.delay.ms", "1000")]);
    produce(&mut client, &mut node, "t", &["old"]);
    node.advance(Duration::from_secs(120));
    produce(&mut client, &mut node, "t", &["new"]);
    node.clean_logs();
    assert_eq!(list_offset(&mut client, &mut node, "t", -2), 0);
    node.advance(Duration::from_secs(3500));
    node.clean_logs();
    assert_eq!(list_offset(&mut client, &mut node, "t", -2), 1);
    assert_eq!(list_offset(&mut client, &mut node, "t", -1), 2);
}

#[test]
fn a_restart_keeps_records_topics_and_offsets() {
    for crash in [false, true] {
        let mut node = node(&[]);
        let mut client = Client::new("test");
        let id = create(&mut client, &mut node, "t", 1, &[]);
        produce(&mut client, &mut node, "t", &["a", "b"]);
        commit(&mut client, &mut node, "g", 2);
        node = if crash { node.restart_after_crash(|_| {}) } else { node.restart() };
        let mut client = Client::new("after");
        assert_eq!(values(&client.call(&mut node, &fetch_request(id, 0, 0), 13)), ["a", "b"], "crash: {crash}");
        assert_eq!(committed(&mut client, &mut node, "g"), 2, "crash: {crash}");
        assert_eq!(produce(&mut client, &mut node, "t", &["c"]), 2, "crash: {crash}");
    }
}

/// Asks for the coordinator until its topic is there and loaded.
fn find_coordinator(client: &mut Client, node: &mut SimNode, group: &str) {
    let request = FindCoordinatorRequest { coordinator_keys: vec![group.into()], ..Default::default() };
    for _ in 0..50 {
        let response = client.call(node, &request, 4);
        if response.coordinators[0].error_code == 0 {
            assert_eq!(response.coordinators[0].node_id, 1);
            return;
        }
        assert_eq!(response.coordinators[0].error_code, ErrorCode::CoordinatorNotAvailable.code());
        node.advance(Duration::from_millis(100));
    }
    panic!("no coordinator for {group}");
}

fn commit(client: &mut Client, node: &mut SimNode, group: &str, offset: i64) {
    find_coordinator(client, node, group);
    let partition = OffsetCommitRequestPartition {
        partition_index: 0,
        committed_offset: offset,
        committed_metadata: Some("kept".into()),
        ..Default::default()
    };
    let topic = OffsetCommitRequestTopic { name: "t".into(), partitions: vec![partition], ..Default::default() };
    let request =
        OffsetCommitRequest { group_id: group.into(), generation_id_or_member_epoch: -1, topics: vec![topic], ..Default::default() };
    let response = client.call(node, &request, 8);
    assert_eq!(response.topics[0].partitions[0].error_code, 0);
}

fn committed(client: &mut Client, node: &mut SimNode, group: &str) -> i64 {
    let topics = vec![OffsetFetchRequestTopics { name: "t".into(), partition_indexes: vec![0], ..Default::default() }];
    let group = OffsetFetchRequestGroup { group_id: group.into(), topics: Some(topics), ..Default::default() };
    let response = client.call(node, &OffsetFetchRequest { groups: vec![group], ..Default::default() }, 8);
    let partition = &response.groups[0].topics[0].partitions[0];
    assert_eq!(partition.metadata.as_deref(), Some("kept"));
    partition.committed_offset
}

fn join_request(member_id: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 5_000,
        member_id: member_id.into(),
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol { name: "range".into(), metadata: Bytes::from_static(b"m"), ..Default::default() }],
        ..Default::default()
    }
}

#[test]
fn a_group_forms_rebalances_and_loses_a_silent_member() {
    let mut node = node(&[]);
    let (mut one, mut two) = (Client::new("one"), Client::new("two"));
    find_coordinator(&mut one, &mut node, "g");
    let first = one.call(&mut node, &join_request(""), 9);
    assert_eq!(first.error_code, ErrorCode::MemberIdRequired.code());
    let joined = one.call(&mut node, &join_request(&first.member_id), 9);
    assert_eq!((joined.error_code, joined.generation_id), (0, 1));
    assert_eq!(joined.leader, joined.member_id);
    sync(&mut one, &mut node, &joined, std::slice::from_ref(&joined.member_id));

    // A second member waits until the first has come back.
    let second = two.call(&mut node, &join_request(""), 9);
    let Sent::Waiting(mut second_joins) = two.send(&mut node, &join_request(&second.member_id), 9) else { panic!("it should wait") };
    let beat = HeartbeatRequest { group_id: "g".into(), generation_id: 1, member_id: joined.member_id.clone(), ..Default::default() };
    assert_eq!(one.call(&mut node, &beat, 4).error_code, ErrorCode::RebalanceInProgress.code());
    let again = one.call(&mut node, &join_request(&joined.member_id), 9);
    let second_joined = second_joins.poll(&mut node).unwrap();
    assert_eq!((again.generation_id, second_joined.generation_id, again.members.len()), (2, 2, 2));
    sync(&mut one, &mut node, &again, &[joined.member_id.clone(), second.member_id.clone()]);
    sync(&mut two, &mut node, &second_joined, &[]);

    // The second falls silent; the first keeps beating and finds the group rebalancing once the session has run out.
    let beat = HeartbeatRequest { generation_id: 2, ..beat };
    node.advance(Duration::from_secs(6));
    assert_eq!(one.call(&mut node, &beat, 4).error_code, 0);
    node.advance(Duration::from_secs(6));
    assert_eq!(one.call(&mut node, &beat, 4).error_code, ErrorCode::RebalanceInProgress.code());
    let alone = one.call(&mut node, &join_request(&joined.member_id), 9);
    assert_eq!((alone.generation_id, alone.members.len()), (3, 1));
}

/// To whom looks at a group from outside, a session ends when it ends, even where the timer comes late.
#[test]
fn a_group_can_be_deleted_as_soon_as_its_last_session_has_ended() {
    let mut node = node(&[]);
    let mut client = Client::new("one");
    find_coordinator(&mut client, &mut node, "g");
    let first = client.call(&mut node, &join_request(""), 9);
    let joined = client.call(&mut node, &join_request(&first.member_id), 9);
    sync(&mut client, &mut node, &joined, std::slice::from_ref(&joined.member_id));

    let delete = DeleteGroupsRequest { groups_names: vec!["g".into()], ..Default::default() };
    node.advance(Duration::from_secs(9));
    assert_eq!(client.call(&mut node, &delete, 2).results[0].error_code, ErrorCode::NonEmptyGroup.code());
    node.now = node.now.plus(Duration::from_secs(1));
    assert_eq!(client.call(&mut node, &delete, 2).results[0].error_code, 0);
}

fn sync(client: &mut Client, node: &mut SimNode, joined: &JoinGroupResponse, members: &[String]) {
    let assignments = members.iter().map(|member_id| SyncGroupRequestAssignment {
        member_id: member_id.clone(),
        assignment: Bytes::from_static(b"a"),
        ..Default::default()
    });
    let request = SyncGroupRequest {
        group_id: "g".into(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: assignments.collect(),
        ..Default::default()
    };
    let response = client.call(node, &request, 5);
    assert_eq!((response.error_code, &response.assignment[..]), (0, &b"a"[..]));
}

fn consumer_heartbeat(member: &str, epoch: i32, regex: Option<&str>) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: "new".into(),
        member_id: member.into(),
        member_epoch: epoch,
        rebalance_timeout_ms: if epoch == 0 { 30_000 } else { -1 },
        subscribed_topic_regex: regex.map(str::to_owned),
        topic_partitions: (epoch == 0).then(Vec::new),
        ..Default::default()
    }
}

/// Through the whole broker: topics and features come from the controller, records go to the log, timers run by the node's clock.
#[test]
fn a_consumer_group_survives_a_crash_and_follows_the_metadata() {
    let mut node = node(&[]);
    let mut client = Client::new("test");
    let id = create(&mut client, &mut node, "orders", 2, &[]);
    find_coordinator(&mut client, &mut node, "new");
    let first = client.call(&mut node, &consumer_heartbeat("m", 0, Some("ord.*")), 1);
    assert_eq!((first.error_code, first.member_epoch), (0, 1));
    node.advance(Duration::from_millis(10));
    let told = client.call(&mut node, &consumer_heartbeat("m", 1, None), 1);
    let assignment = told.assignment.expect("the expression is resolved").topic_partitions;
    assert_eq!((told.member_epoch, assignment[0].topic_id, &assignment[0].partitions[..]), (2, id, &[0, 1][..]));

    node = node.restart_after_crash(|_| {});
    let same = client.call(&mut node, &consumer_heartbeat("m", 2, None), 1);
    assert_eq!((same.error_code, same.member_epoch, same.assignment), (0, 2, None));
    create(&mut client, &mut node, "orders-eu", 1, &[]);
    node.advance(Duration::from_secs(11));
    // The expression is resolved again by the first or the second heartbeat, as the restart may have had it done already.
    let mut told = client.call(&mut node, &consumer_heartbeat("m", 2, None), 1);
    if told.assignment.is_none() {
        node.advance(Duration::from_millis(10));
        told = client.call(&mut node, &consumer_heartbeat("m", 2, None), 1);
    }
    assert_eq!((told.member_epoch, told.assignment.map(|a| a.topic_partitions.len())), (3, Some(2)));

    // A member that is not heard of loses its place.
    node.advance(Duration::from_secs(46));
    let gone = client.call(&mut node, &consumer_heartbeat("m", 3, None), 1);
    assert_eq!(gone.error_code, ErrorCode::UnknownMemberId.code());
}

#[test]
fn the_consumer_protocol_can_be_switched_off() {
    let mut node = node(&[("group.coordinator.rebalance.protocols", "classic")]);
    let mut client = Client::new("test");
    let refused = client.call(&mut node, &consumer_heartbeat("m", 0, Some("x")), 1);
    assert_eq!(refused.error_code, ErrorCode::UnsupportedVersion.code());
    let describe = ConsumerGroupDescribeRequest { group_ids: vec!["new".into()], ..Default::default() };
    let refused = client.call(&mut node, &describe, 1);
    assert_eq!(refused.groups[0].error_code, ErrorCode::UnsupportedVersion.code());
}

#[test]
fn bad_requests_cost_nothing() {
    let mut node = node(&[]);
    let mut client = Client::new("test");
    create(&mut client, &mut node, "t", 1, &[]);
    let mut damaged = batch(node.now, &["x"]).to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    let response = client.call(&mut node, &produce_request("t", 0, damaged.into(), -1), 12);
    assert_eq!(response.responses[0].partition_responses[0].error_code, ErrorCode::CorruptMessage.code());
    let response = client.call(&mut node, &produce_request("absent", 0, batch(Now::default(), &["x"]), 1), 12);
    assert_eq!(response.responses[0].partition_responses[0].error_code, ErrorCode::UnknownTopicOrPartition.code());
    let late = batch(node.now.plus(Duration::from_secs(7200)), &["x"]);
    let response = client.call(&mut node, &produce_request("t", 0, late, -1), 12);
    assert_eq!(response.responses[0].partition_responses[0].error_code, ErrorCode::InvalidTimestamp.code());
    let records = batch(node.now, &["x"]);
    assert!(matches!(client.send(&mut node, &produce_request("t", 0, records, 0), 12), Sent::Nothing));
    let records = batch(node.now, &["x"]);
    assert!(matches!(client.send(&mut node, &produce_request("absent", 0, records, 0), 12), Sent::Closed(_)));
    assert_eq!(list_offset(&mut client, &mut node, "t", -1), 1);
}

#[test]
fn producer_ids_come_in_blocks_and_never_twice() {
    let mut node = node(&[]);
    let mut client = Client::new("test");
    let request = InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: i32::MAX,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    let mut last = -1;
    for round in 0..3 {
        for _ in 0..3 {
            let response = client.call(&mut node, &request, 5);
            assert_eq!((response.error_code, response.producer_epoch), (0, 0));
            assert!(response.producer_id > last);
            last = response.producer_id;
        }
        assert!(last >= round * 1000, "a block that was begun is not used again after a restart");
        node = node.restart();
    }
}

/// Two thousand lives; `GREGOR_SIM_SEEDS` sets another number, `GREGOR_SIM_SEED` picks one life and tells all of it.
#[test]
fn nothing_is_lost_and_nothing_is_twice() {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let first = number("GREGOR_SIM_SEED");
    let seeds = match first {
        Some(seed) => seed..seed + 1,
        None => 0..number("GREGOR_SIM_SEEDS").unwrap_or(2_000),
    };
    let next = AtomicU64::new(seeds.start);
    let total = Mutex::new(Summary::default());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while total.lock().findings.len() < 30 {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let summary = std::panic::catch_unwind(|| life::live(seed)).unwrap_or_else(|panic| {
                        let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|s| s.to_string()));
                        Summary { findings: vec![format!("panic: {}", text.unwrap_or_default())], ..Summary::default() }
                    });
                    let mut total = total.lock();
                    total.add(&summary);
                    let replay = format!("seed {seed}; replay with GREGOR_SIM_SEED={seed} cargo test -p sim nothing_is_lost");
                    if first.is_some() {
                        println!("{}", summary.trace.join("\n"));
                    }
                    total.findings.extend(summary.findings.iter().map(|finding| format!("{finding} ({replay})")));
                }
            });
        }
    });
    let total = total.into_inner();
    println!("{} lives: {total:?}", seeds.end - seeds.start);
    assert!(total.findings.is_empty(), "{}", total.findings.join("\n"));
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let mut node = node(&[]);
        let mut client = Client::new("test");
        let id = create(&mut client, &mut node, "t", 3, &[]);
        find_coordinator(&mut client, &mut node, "g");
        let member = client.call(&mut node, &join_request(""), 9).member_id;
        (id, member, node.now)
    };
    assert_eq!(run(), run());
}
