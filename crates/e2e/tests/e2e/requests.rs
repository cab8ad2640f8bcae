//! Well-formed requests that ask for something wrong, and record batches that are damaged: both brokers get the same, and the whole decoded
//! answers are compared. Each line of the comparison is `name: answer`.

use std::fmt::Write;
use std::time::Duration;

use crate::both::assert_both_same;
use bytes::Bytes;
use e2e::raw::{Answer, RawConnection};
use e2e::repo::Scratch;
use e2e::{Kind, Node};
use wire::messages::create_partitions_request::CreatePartitionsTopic;
use wire::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use wire::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use wire::messages::delete_topics_request::DeleteTopicState;
use wire::messages::describe_configs_request::DescribeConfigsResource;
use wire::messages::fetch_request::{FetchPartition, FetchTopic};
use wire::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use wire::messages::join_group_request::JoinGroupRequestProtocol;
use wire::messages::leave_group_request::MemberIdentity;
use wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use wire::messages::metadata_request::MetadataRequestTopic;
use wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use wire::messages::*;
use wire::{Message, Reader, Records, Request, Segment};

pub(crate) struct Asker<'a> {
    node: &'a mut Node,
    out: String,
}

impl<'a> Asker<'a> {
    pub(crate) fn new(node: &'a mut Node) -> Self {
        Asker { node, out: String::new() }
    }

    pub(crate) fn send<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response, String> {
        self.send_as("e2e", request, version)
    }

    pub(crate) fn send_as<R: Request>(&mut self, client_id: &str, request: &R, version: i16) -> Result<R::Response, String> {
        let mut connection = self.connect();
        write(&mut connection, client_id, request, version);
        read::<R>(&mut connection, version)
    }

    pub(crate) fn connect(&self) -> RawConnection {
        RawConnection::open(self.node.port).expect("connects")
    }

    pub(crate) fn ask<R: Request>(&mut self, name: &str, version: i16, request: R) {
        let text = match self.send(&request, version) {
            Ok(body) => format!("{body:?}"),
            Err(e) => e,
        };
        self.line(name, &text);
    }

    pub(crate) fn line(&mut self, name: &str, answer: &str) {
        let _ = writeln!(self.out, "{name}: {}", answer.replace(", unknown_tags: UnknownTags(None)", "").replace('\n', " "));
        self.node.assert_serves();
    }

    pub(crate) fn node(&self) -> &Node {
        self.node
    }

    pub(crate) fn node_mut(&mut self) -> &mut Node {
        self.node
    }

    /// The lines so far.
    pub(crate) fn take(&mut self) -> String {
        std::mem::take(&mut self.out)
    }

    pub(crate) fn data_dir(&self) -> String {
        self.node.dir.join("data").display().to_string()
    }
}

/// Sends a request on a connection, without waiting for its answer.
pub(crate) fn write<R: Request>(connection: &mut RawConnection, client_id: &str, request: &R, version: i16) {
    for segment in wire::encode_request(request, version, 7, Some(client_id)).expect("a valid request") {
        let Segment::Bytes(bytes) = segment else { panic!("requests lie in memory") };
        connection.send(&bytes);
    }
}

/// The next answer on a connection.
pub(crate) fn read<R: Request>(connection: &mut RawConnection, version: i16) -> Result<R::Response, String> {
    match connection.answer(Duration::from_secs(8)) {
        Answer::Frame(bytes) => {
            let mut r = Reader::new(Bytes::from(bytes));
            ResponseHeader::decode(&mut r, R::KEY.response_header_version(version)).map_err(|e| e.to_string())?;
            let body = R::Response::decode(&mut r, version).map_err(|e| e.to_string())?;
            if r.remaining() == 0 { Ok(body) } else { Err(format!("{} bytes after the answer", r.remaining())) }
        }
        other => Err(format!("{other:?}")),
    }
}

/// Both brokers, the same questions, at the same time.
pub(crate) fn both(what: &str, known: &str, questions: fn(&mut Asker)) {
    both_with(what, known, &["offsets.topic.num.partitions=1", "group.consumer.assignment.interval.ms=0"], questions);
}

/// As `both`, with these lines in server.properties.
pub(crate) fn both_with(what: &str, known: &str, extra: &[&str], questions: fn(&mut Asker)) {
    let scratch = Scratch::new(what);
    let answers = |kind: Kind| {
        let mut node = Node::start(kind, &scratch.join(&format!("{kind:?}")), extra);
        node.expect_log("clos").expect_log("cannot read the subscription").expect_log("collides with existing topic");
        node.expect_log("the transaction is left to that");
        let mut asker = Asker::new(&mut node);
        questions(&mut asker);
        let text = std::mem::take(&mut asker.out);
        let text = node.normalise(&text);
        node.stop();
        (text, node)
    };
    assert_both_same(what, known, answers);
}

#[test]
fn wrong_requests() {
    both("requests", include_str!("../../known/requests.txt"), |a| {
        topics(a);
        configs(a);
        data(a);
        groups(a);
    });
}

#[test]
fn damaged_batches() {
    both("batches", include_str!("../../known/batches.txt"), batches);
}

fn topic(name: &str, partitions: i32) -> CreatableTopic {
    CreatableTopic { name: name.into(), num_partitions: partitions, replication_factor: 1, ..Default::default() }
}

/// Creates topics of two partitions each, as [`create_as`].
pub(crate) fn create(a: &mut Asker, names: &[&str]) {
    create_as(a, names.iter().map(|name| topic(name, 2)).collect());
}

/// Creates topics and waits until every partition is served: a broker tells of a leader before the leader takes requests, and clients ask
/// again where these tests compare the first answer.
pub(crate) fn create_as(a: &mut Asker, topics: Vec<CreatableTopic>) {
    let request = CreateTopicsRequest { topics, timeout_ms: 10_000, ..Default::default() };
    let answer = a.send(&request, 5).expect("topics are created");
    assert!(answer.topics.iter().all(|t| t.error_code == 0), "{answer:?}");
    for topic in request.topics {
        leader_epochs(a, &topic.name, topic.num_partitions);
    }
}

/// The leader epoch of every partition, once all have a leader that serves.
pub(crate) fn leader_epochs(a: &mut Asker, name: &str, partitions: i32) -> Vec<i32> {
    e2e::wait::until("the partitions have leaders", || {
        let topics = Some(vec![MetadataRequestTopic { name: Some(name.into()), ..Default::default() }]);
        let answer = a.send(&MetadataRequest { topics, allow_auto_topic_creation: false, ..Default::default() }, 8).ok()?;
        let mut told = answer.topics.into_iter().next()?.partitions;
        told.sort_by_key(|p| p.partition_index);
        let led = told.len() == partitions as usize && told.iter().all(|p| p.leader_id >= 0 && p.error_code == 0);
        let served = led.then(|| a.send(&ends(name, partitions), 6).ok())??;
        served.topics[0].partitions.iter().all(|p| p.error_code == 0).then(|| told.iter().map(|p| p.leader_epoch).collect())
    })
}

/// Asks where every partition ends.
fn ends(name: &str, partitions: i32) -> ListOffsetsRequest {
    let partition = |partition_index| ListOffsetsPartition { partition_index, timestamp: -1, ..Default::default() };
    let topic = ListOffsetsTopic { name: name.into(), partitions: (0..partitions).map(partition).collect(), ..Default::default() };
    ListOffsetsRequest { replica_id: -1, topics: vec![topic], timeout_ms: 5000, ..Default::default() }
}

fn topics(a: &mut Asker) {
    let creating = |topics| CreateTopicsRequest { topics, timeout_ms: 10_000, ..Default::default() };
    a.ask("create nothing", 5, creating(vec![]));
    a.ask("create one name twice", 5, creating(vec![topic("q-twice", 1), topic("q-twice", 1)]));
    let mut config = topic("q-config", 1);
    config.configs = vec![CreatableTopicConfig { name: "retention.ms".into(), value: None, ..Default::default() }];
    a.ask("create with a null config", 5, creating(vec![config]));
    a.ask(
        "create with no time",
        5,
        CreateTopicsRequest { topics: vec![topic("q-timeless", 1)], timeout_ms: 0, validate_only: true, ..Default::default() },
    );
    let deleting = |topics| DeleteTopicsRequest { topics, timeout_ms: 5000, ..Default::default() };
    a.ask("delete nothing", 6, deleting(vec![]));
    a.ask("delete by neither name nor id", 6, deleting(vec![DeleteTopicState::default()]));
    let unknown = DeleteTopicState { name: Some("q-unknown".into()), ..Default::default() };
    a.ask("delete one name twice", 6, deleting(vec![unknown.clone(), unknown]));
    let partitions = |topics| CreatePartitionsRequest { topics, timeout_ms: 5000, ..Default::default() };
    let more = CreatePartitionsTopic { name: "q-unknown".into(), count: 3, assignments: None, ..Default::default() };
    a.ask("partitions for one name twice", 3, partitions(vec![more.clone(), more]));
    let metadata = |name: Option<&str>| MetadataRequest {
        topics: Some(vec![MetadataRequestTopic { name: name.map(str::to_owned), ..Default::default() }]),
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    for name in ["q-unknown", "", "not/valid", "..", &"n".repeat(300)] {
        // Version 4 has neither ids nor a cluster id in it that would differ; brokers are named in every version.
        a.ask(&format!("metadata of '{}'", &name[..name.len().min(12)]), 4, metadata(Some(name)));
    }
    a.ask(
        "describe topic partitions of nothing known",
        0,
        DescribeTopicPartitionsRequest {
            topics: vec![describe_topic_partitions_request::TopicRequest { name: "q-unknown".into(), ..Default::default() }],
            response_partition_limit: 10,
            ..Default::default()
        },
    );
}

fn configs(a: &mut Asker) {
    create(a, &["q-conf"]);
    let describe = |kind, name: &str, keys: Option<Vec<String>>| DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: kind,
            resource_name: name.into(),
            configuration_keys: keys,
            ..Default::default()
        }],
        include_synonyms: true,
        ..Default::default()
    };
    let one = || Some(vec!["retention.ms".to_owned(), "no.such".to_owned()]);
    a.ask("describe chosen keys", 4, describe(2, "q-conf", one()));
    a.ask("describe no keys", 4, describe(2, "q-conf", Some(vec![])));
    a.ask("describe unknown kind", 4, describe(77, "q-conf", one()));
    a.ask("describe broker by a word", 4, describe(4, "one", one()));
    a.ask("describe another broker", 4, describe(4, "17", one()));
    a.ask("describe bad topic", 4, describe(2, "not/valid", one()));
    a.ask("describe empty topic", 4, describe(2, "", one()));
    let alter = |kind, name: &str, configs: &[(&str, i8, Option<&str>)]| IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: kind,
            resource_name: name.into(),
            configs: configs
                .iter()
                .map(|(k, op, v)| AlterableConfig {
                    name: (*k).into(),
                    config_operation: *op,
                    value: v.map(str::to_owned),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    a.ask("alter one key twice", 1, alter(2, "q-conf", &[("retention.ms", 0, Some("1000")), ("retention.ms", 0, Some("2000"))]));
    a.ask("alter to null", 1, alter(2, "q-conf", &[("retention.ms", 0, None)]));
    a.ask("alter by an unknown operation", 1, alter(2, "q-conf", &[("retention.ms", 9, Some("1000"))]));
    a.ask("alter an unknown kind", 1, alter(77, "q-conf", &[("retention.ms", 0, Some("1000"))]));
    a.ask("alter nothing", 1, alter(2, "q-conf", &[]));
    a.ask("alter a broker by a word", 1, alter(4, "one", &[("log.cleaner.threads", 0, Some("1"))]));
    a.ask("alter an empty key", 1, alter(2, "q-conf", &[("", 0, Some("1000"))]));
    let mut twice = alter(2, "q-conf", &[("retention.ms", 0, Some("1000"))]);
    twice.resources.push(twice.resources[0].clone());
    a.ask("alter one topic twice", 1, twice);
}

fn data(a: &mut Asker) {
    create(a, &["q-data"]);
    let offsets = |name: &str, wanted: &[(i32, i32, i64)]| ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: name.into(),
            partitions: wanted
                .iter()
                .map(|(p, epoch, t)| ListOffsetsPartition {
                    partition_index: *p,
                    current_leader_epoch: *epoch,
                    timestamp: *t,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    a.ask("offsets of an unknown topic", 6, offsets("q-unknown", &[(0, -1, -1)]));
    a.ask("offsets of an unknown partition", 6, offsets("q-data", &[(9, -1, -1), (-1, -1, -1)]));
    a.ask("offsets of one partition twice", 6, offsets("q-data", &[(0, -1, -1), (0, -1, -2)]));
    a.ask("offsets with epochs", 6, offsets("q-data", &[(0, 0, -1), (1, 99, -1)]));
    a.ask("offsets of strange times", 6, offsets("q-data", &[(0, -1, -99), (1, -1, i64::MIN)]));
    for timestamp in -7..0 {
        a.ask(&format!("offsets at {timestamp}"), 10, offsets("q-data", &[(0, -1, timestamp)]));
    }
    let fetch = |name: &str, partition: i32, offset: i64, epoch: i32| FetchRequest {
        replica_id: -1,
        max_wait_ms: 10,
        min_bytes: 1,
        max_bytes: 1 << 20,
        session_id: 0,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic: name.into(),
            partitions: vec![FetchPartition {
                partition,
                current_leader_epoch: epoch,
                fetch_offset: offset,
                last_fetched_epoch: -1,
                log_start_offset: -1,
                partition_max_bytes: 1 << 20,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    a.ask("fetch from an unknown topic", 12, fetch("q-unknown", 0, 0, -1));
    a.ask("fetch from an unknown partition", 12, fetch("q-data", 9, 0, -1));
    a.ask("fetch before the start", 12, fetch("q-data", 0, -5, -1));
    a.ask("fetch past the end", 12, fetch("q-data", 0, 5, -1));
    a.ask("fetch with a newer epoch", 12, fetch("q-data", 0, 0, 9));
    a.ask("fetch at the end", 12, fetch("q-data", 0, 0, -1));
    let mut unknown_id = fetch("", 0, 0, -1);
    unknown_id.topics[0].topic_id = base_uuid();
    a.ask("fetch from an unknown topic id", 13, unknown_id);
    let mut unknown_session = fetch("q-data", 0, 0, -1);
    (unknown_session.session_id, unknown_session.session_epoch) = (4711, 3);
    a.ask("fetch in an unknown session", 12, unknown_session);
    let mut bad_epoch = fetch("q-data", 0, 0, -1);
    (bad_epoch.session_id, bad_epoch.session_epoch) = (0, 7);
    a.ask("fetch with session 0 and an epoch", 12, bad_epoch);
    let mut nothing = fetch("q-data", 0, 0, -1);
    nothing.topics.clear();
    a.ask("fetch nothing", 12, nothing);
    let delete = |partitions: &[(i32, i64)]| DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: "q-data".into(),
            partitions: partitions
                .iter()
                .map(|(p, o)| DeleteRecordsPartition { partition_index: *p, offset: *o, ..Default::default() })
                .collect(),
            ..Default::default()
        }],
        timeout_ms: 2000,
        ..Default::default()
    };
    a.ask("delete records of an unknown partition", 2, delete(&[(9, 0)]));
    a.ask("delete records past the end", 2, delete(&[(0, 10)]));
    a.ask("delete records before zero", 2, delete(&[(0, -3)]));
    a.ask(
        "init producer with a wrong epoch",
        4,
        InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: 1000,
            producer_id: 5,
            producer_epoch: -1,
            ..Default::default()
        },
    );
    let given = e2e::wait::until("a block of producer ids is there", || {
        let given = a.send(&InitProducerIdRequest { transactional_id: None, transaction_timeout_ms: 1000, ..Default::default() }, 4);
        (!given.as_ref().is_ok_and(|r| r.error_code == 14)).then_some(given)
    });
    a.line(
        "init producer",
        &given.map_or_else(|e| e, |r| format!("error {} epoch {} id known {}", r.error_code, r.producer_epoch, r.producer_id >= 0)),
    );
}

fn base_uuid() -> base::Uuid {
    base::Uuid::from_u128(0x0707)
}

fn groups(a: &mut Asker) {
    create(a, &["q-group"]);
    let find = |kind, key: &str| FindCoordinatorRequest { key: key.into(), key_type: kind, ..Default::default() };
    a.ask("coordinator of an unknown kind", 3, find(9, "q"));
    a.ask("coordinator of kind -1", 3, find(-1, "q"));
    e2e::wait::until("the coordinator is there", || {
        let answer = a.send(&find(0, "q"), 3).ok()?;
        (answer.error_code == 0).then_some(())
    });
    a.ask("coordinator of an empty group", 3, find(0, ""));
    a.ask("coordinators of none", 4, FindCoordinatorRequest { key_type: 0, coordinator_keys: vec![], ..Default::default() });
    a.ask(
        "coordinators of two",
        4,
        FindCoordinatorRequest { key_type: 0, coordinator_keys: vec!["a".into(), "b".into()], ..Default::default() },
    );
    let join = |group: &str, member: &str, kind: &str, protocols: &[&str], session: i32| JoinGroupRequest {
        group_id: group.into(),
        session_timeout_ms: session,
        rebalance_timeout_ms: 5000,
        member_id: member.into(),
        protocol_type: kind.into(),
        protocols: protocols
            .iter()
            .map(|p| JoinGroupRequestProtocol { name: (*p).into(), metadata: Bytes::from_static(b"m"), ..Default::default() })
            .collect(),
        ..Default::default()
    };
    e2e::wait::until("the coordinator serves", || {
        let unknown = HeartbeatRequest { group_id: "q-none".into(), generation_id: 1, member_id: "m".into(), ..Default::default() };
        let answer = a.send(&unknown, 4).ok()?;
        (![14, 15, 16].contains(&answer.error_code)).then_some(())
    });
    a.ask("join an empty group id", 9, join("", "", "consumer", &["range"], 10_000));
    a.ask("join without protocols", 9, join("q-1", "", "consumer", &[], 10_000));
    a.ask("join without a type", 9, join("q-1", "", "", &["range"], 10_000));
    a.ask("join as a stranger", 9, join("q-1", "stranger", "consumer", &["range"], 10_000));
    a.ask("join with a short session", 9, join("q-1", "", "consumer", &["range"], 10));
    a.ask("join with a negative session", 9, join("q-1", "", "consumer", &["range"], -1));
    let must_ask_again = a.send(&join("q-2", "", "consumer", &["range"], 10_000), 9);
    let id = must_ask_again.as_ref().map(|r| r.member_id.clone()).unwrap_or_default();
    a.line(
        "join without an id",
        &must_ask_again.map_or_else(|e| e, |r| format!("error {} id given {}", r.error_code, r.member_id.starts_with("e2e-"))),
    );
    let joined = a.send(&join("q-2", &id, "consumer", &["range"], 10_000), 9);
    a.line("join with it", &joined.map_or_else(|e| e, |r| format!("{r:?}").replace(&id, "ID")));
    let sync = |group: &str, member: &str, generation: i32| SyncGroupRequest {
        group_id: group.into(),
        generation_id: generation,
        member_id: member.into(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        ..Default::default()
    };
    a.ask("sync an unknown group", 5, sync("q-none", "m", 1));
    a.ask("sync as a stranger", 5, sync("q-2", "stranger", 1));
    a.ask("sync another generation", 5, sync("q-2", &id, 7));
    let mut other_protocol = sync("q-2", &id, 1);
    other_protocol.protocol_name = Some("roundrobin".into());
    a.ask("sync another protocol", 5, other_protocol);
    let beat = |group: &str, member: &str, generation: i32| HeartbeatRequest {
        group_id: group.into(),
        generation_id: generation,
        member_id: member.into(),
        ..Default::default()
    };
    a.ask("heartbeat while syncing", 4, beat("q-2", &id, 1));
    a.ask("sync", 5, sync("q-2", &id, 1));
    a.ask("heartbeat", 4, beat("q-2", &id, 1));
    a.ask("heartbeat of an unknown group", 4, beat("q-none", "m", 1));
    a.ask("heartbeat of an empty group", 4, beat("", "m", 1));
    a.ask("heartbeat of a stranger", 4, beat("q-2", "stranger", 1));
    a.ask("heartbeat of another generation", 4, beat("q-2", &id, 9));
    let commit = |group: &str, member: &str, generation: i32, partition: i32, offset: i64, metadata: Option<&str>| OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: generation,
        member_id: member.into(),
        topics: vec![OffsetCommitRequestTopic {
            name: "q-group".into(),
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: partition,
                committed_offset: offset,
                committed_metadata: metadata.map(str::to_owned),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    a.ask("commit", 8, commit("q-2", &id, 1, 0, 5, Some("m")));
    a.ask("commit of another generation", 8, commit("q-2", &id, 4, 0, 5, None));
    a.ask("commit of a stranger", 8, commit("q-2", "stranger", 1, 0, 5, None));
    a.ask("commit without a member", 8, commit("q-2", "", -1, 0, 5, None));
    a.ask("commit to a new group with a generation", 8, commit("q-none", "m", 3, 0, 5, None));
    a.ask("commit to an empty group id", 8, commit("", "", -1, 0, 5, None));
    a.ask("commit to an unknown partition", 8, commit("q-3", "", -1, 9, 5, None));
    a.ask("commit a negative offset", 8, commit("q-3", "", -1, 0, -5, Some("")));
    a.ask("commit null metadata", 8, commit("q-3", "", -1, 1, 5, None));
    let fetch = |groups: &[&str], topics: Option<Vec<OffsetFetchRequestTopics>>| OffsetFetchRequest {
        groups: groups
            .iter()
            .map(|g| OffsetFetchRequestGroup { group_id: (*g).into(), topics: topics.clone(), ..Default::default() })
            .collect(),
        ..Default::default()
    };
    a.ask("offsets of groups", 8, fetch(&["q-2", "q-3", "q-none", ""], None));
    let chosen = OffsetFetchRequestTopics { name: "q-group".into(), partition_indexes: vec![0, 1, 9], ..Default::default() };
    let unknown = OffsetFetchRequestTopics { name: "q-unknown".into(), partition_indexes: vec![0], ..Default::default() };
    a.ask("chosen offsets of groups", 8, fetch(&["q-2", "q-none"], Some(vec![chosen, unknown])));
    a.ask("offsets of no group", 8, fetch(&[], None));
    let leave = |group: &str, members: &[&str]| LeaveGroupRequest {
        group_id: group.into(),
        members: members.iter().map(|m| MemberIdentity { member_id: (*m).into(), ..Default::default() }).collect(),
        ..Default::default()
    };
    a.ask("leave an unknown group", 5, leave("q-none", &["m"]));
    a.ask("leave as a stranger", 5, leave("q-2", &["stranger"]));
    a.ask("leave as nobody", 5, leave("q-2", &[]));
    a.ask("describe groups", 5, DescribeGroupsRequest { groups: vec!["q-none".into(), "q-3".into(), String::new()], ..Default::default() });
    a.ask(
        "describe groups of the newest version",
        6,
        DescribeGroupsRequest { groups: vec!["q-none".into(), "q-3".into()], ..Default::default() },
    );
    a.ask("list groups in an unknown state", 5, ListGroupsRequest { states_filter: vec!["sleeping".into()], ..Default::default() });
    a.ask("list groups of an unknown type", 5, ListGroupsRequest { types_filter: vec!["strange".into()], ..Default::default() });
    a.ask("list groups in lower case", 5, ListGroupsRequest { states_filter: vec!["stable".into()], ..Default::default() });
    a.ask(
        "delete groups",
        2,
        DeleteGroupsRequest { groups_names: vec!["q-2".into(), "q-none".into(), String::new(), "q-3".into()], ..Default::default() },
    );
    let left = a.send(&leave("q-2", &[&id]), 5);
    a.line("leave", &left.map_or_else(|e| e, |r| format!("{r:?}").replace(&id, "ID")));
    a.ask("delete an empty group", 2, DeleteGroupsRequest { groups_names: vec!["q-2".into()], ..Default::default() });
}

/// One batch of format 2, every field open to be wrong. The checksum is right unless a test says otherwise.
#[derive(Clone)]
pub(crate) struct Batch {
    base_offset: i64,
    length_error: i32,
    magic: i8,
    checksum_error: u32,
    attributes: i16,
    last_offset_delta: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    count: i32,
    records: Vec<u8>,
}

impl Batch {
    /// One record: no key, value `v`, no headers.
    pub(crate) fn good() -> Self {
        Batch {
            base_offset: 0,
            length_error: 0,
            magic: 2,
            checksum_error: 0,
            attributes: 0,
            last_offset_delta: 0,
            base_timestamp: 1_700_000_000_000,
            max_timestamp: 1_700_000_000_000,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            count: 1,
            records: record(0, b"v"),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut checked = Vec::new();
        checked.extend_from_slice(&self.attributes.to_be_bytes());
        checked.extend_from_slice(&self.last_offset_delta.to_be_bytes());
        checked.extend_from_slice(&self.base_timestamp.to_be_bytes());
        checked.extend_from_slice(&self.max_timestamp.to_be_bytes());
        checked.extend_from_slice(&self.producer_id.to_be_bytes());
        checked.extend_from_slice(&self.producer_epoch.to_be_bytes());
        checked.extend_from_slice(&self.base_sequence.to_be_bytes());
        checked.extend_from_slice(&self.count.to_be_bytes());
        checked.extend_from_slice(&self.records);
        let mut batch = self.base_offset.to_be_bytes().to_vec();
        batch.extend_from_slice(&(checked.len() as i32 + 9 + self.length_error).to_be_bytes());
        batch.extend_from_slice(&(-1_i32).to_be_bytes()); // leader epoch
        batch.push(self.magic as u8);
        batch.extend_from_slice(&(crc32c::crc32c(&checked) ^ self.checksum_error).to_be_bytes());
        batch.extend(checked);
        batch
    }
}

/// A record with its length in front; lengths below 64 are one varint byte, twice the number.
fn record(offset_delta: u8, value: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 0, offset_delta * 2, 1, value.len() as u8 * 2];
    body.extend_from_slice(value);
    body.push(0);
    body.insert(0, body.len() as u8 * 2);
    body
}

pub(crate) fn produce(records: Option<Vec<u8>>) -> ProduceRequest {
    ProduceRequest {
        acks: -1,
        timeout_ms: 5000,
        topic_data: vec![TopicProduceData {
            name: "q-batch".into(),
            partition_data: vec![PartitionProduceData {
                index: 0,
                records: records.map(|r| Records::from(Bytes::from(r))),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn batches(a: &mut Asker) {
    create(a, &["q-batch"]);
    // Old timestamps are kept, or retention would come between.
    a.ask(
        "keep",
        1,
        IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: 2,
                resource_name: "q-batch".into(),
                configs: vec![AlterableConfig {
                    name: "retention.ms".into(),
                    config_operation: 0,
                    value: Some("-1".into()),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        },
    );
    let good = Batch::good();
    a.ask("good", 9, produce(Some(good.encode())));
    a.ask("null", 9, produce(None));
    a.ask("empty", 9, produce(Some(vec![])));
    a.ask("noise", 9, produce(Some((0..100).collect())));
    a.ask("cut in the header", 9, produce(Some(good.encode()[..40].to_vec())));
    a.ask("cut in the record", 9, produce(Some(good.encode()[..65].to_vec())));
    a.ask("two batches", 9, produce(Some([good.encode(), good.encode()].concat())));
    a.ask("a batch and noise", 9, produce(Some([good.encode(), vec![1; 30]].concat())));
    let changes: &[(&str, fn(&mut Batch))] = &[
        ("wrong checksum", |b| b.checksum_error = 1),
        ("length too large", |b| b.length_error = 50),
        ("length too small", |b| b.length_error = -3),
        ("length negative", |b| b.length_error = -1000),
        ("length below the header", |b| b.length_error = -30),
        ("magic 0", |b| b.magic = 0),
        ("magic 1", |b| b.magic = 1),
        ("magic 3", |b| b.magic = 3),
        ("magic -1", |b| b.magic = -1),
        ("count 0", |b| b.count = 0),
        ("count 2 of 1", |b| b.count = 2),
        ("count negative", |b| b.count = -4),
        ("count huge", |b| b.count = i32::MAX),
        ("two records, count 1", |b| b.records = [record(0, b"a"), record(1, b"b")].concat()),
        ("last offset delta 5", |b| b.last_offset_delta = 5),
        ("last offset delta -1", |b| b.last_offset_delta = -1),
        ("offset deltas not in order", |b| {
            (b.count, b.last_offset_delta) = (2, 1);
            b.records = [record(1, b"a"), record(0, b"b")].concat();
        }),
        ("base offset not zero", |b| b.base_offset = 77),
        ("base offset negative", |b| b.base_offset = -3),
        ("a control batch", |b| b.attributes = 0x20),
        ("transactional without an id", |b| (b.attributes, b.producer_id, b.producer_epoch, b.base_sequence) = (0x10, 5, 0, 0)),
        ("transactional without a producer", |b| b.attributes = 0x10),
        ("log append time from a client", |b| b.attributes = 0x08),
        ("delete horizon flag", |b| b.attributes = 0x40),
        ("unused flags", |b| b.attributes = 0x0f00),
        ("codec 5", |b| b.attributes = 5),
        ("codec 7", |b| b.attributes = 7),
        ("gzip that is none", |b| b.attributes = 1),
        ("snappy that is none", |b| b.attributes = 2),
        ("lz4 that is none", |b| b.attributes = 3),
        ("zstd that is none", |b| b.attributes = 4),
        ("record length too large", |b| b.records[0] = 120),
        ("record length too small", |b| b.records[0] = 4),
        ("record length negative", |b| b.records[0] = 3),
        ("record attributes", |b| b.records[1] = 9),
        ("key length -2", |b| b.records[4] = 3),
        ("key length too large", |b| b.records[4] = 126),
        ("value length too large", |b| b.records[5] = 126),
        ("header count negative", |b| b.records[7] = 1),
        ("header count too large", |b| b.records[7] = 126),
        ("header with a null key", |b| b.records = vec![20, 0, 0, 0, 1, 2, b'v', 2, 1, 1, 0]),
        ("timestamp negative", |b| (b.base_timestamp, b.max_timestamp) = (-5, -5)),
        ("timestamp missing", |b| (b.base_timestamp, b.max_timestamp) = (-1, -1)),
        ("timestamp far ahead", |b| (b.base_timestamp, b.max_timestamp) = (i64::MAX, i64::MAX)),
        ("max timestamp wrong", |b| b.max_timestamp += 1000),
        ("producer without a sequence", |b| (b.producer_id, b.producer_epoch) = (3000, 0)),
        ("sequence without a producer", |b| b.base_sequence = 4),
        ("epoch negative", |b| (b.producer_id, b.producer_epoch, b.base_sequence) = (3000, -1, 0)),
        ("unknown producer, sequence 0", |b| (b.producer_id, b.producer_epoch, b.base_sequence) = (4000, 0, 0)),
        ("same again", |b| (b.producer_id, b.producer_epoch, b.base_sequence) = (4000, 0, 0)),
        ("sequence too high", |b| (b.producer_id, b.producer_epoch, b.base_sequence) = (4000, 0, 9)),
        ("next sequence", |b| (b.producer_id, b.producer_epoch, b.base_sequence) = (4000, 0, 1)),
        ("old sequence", |b| (b.producer_id, b.producer_epoch, b.base_sequence) = (4000, 0, 0)),
        ("new epoch, sequence 3", |b| (b.producer_id, b.producer_epoch, b.base_sequence) = (4000, 2, 3)),
        ("new epoch, sequence 0", |b| (b.producer_id, b.producer_epoch, b.base_sequence) = (4000, 2, 0)),
        ("old epoch", |b| (b.producer_id, b.producer_epoch, b.base_sequence) = (4000, 1, 0)),
        ("unknown producer, sequence 7", |b| (b.producer_id, b.producer_epoch, b.base_sequence) = (4001, 0, 7)),
    ];
    for (name, change) in changes {
        let mut batch = good.clone();
        change(&mut batch);
        a.ask(name, 9, produce(Some(batch.encode())));
    }
    let mut bomb = good.clone();
    bomb.attributes = 1;
    bomb.records = gzip_bomb();
    a.ask("gzip bomb", 9, produce(Some(bomb.encode())));
    for acks in [2, -2, 1] {
        a.ask(&format!("acks {acks}"), 9, ProduceRequest { acks, ..produce(Some(good.encode())) });
    }
    let to = |name: &str, index: i32| {
        let mut r = produce(Some(good.encode()));
        r.topic_data[0].name = name.into();
        r.topic_data[0].partition_data[0].index = index;
        r
    };
    a.ask("unknown topic", 9, to("q-unknown", 0));
    a.ask("bad topic", 9, to("not/valid", 0));
    a.ask("unknown partition", 9, to("q-batch", 9));
    a.ask("negative partition", 9, to("q-batch", -1));
    let mut by_id = to("", 0);
    by_id.topic_data[0].topic_id = base_uuid();
    a.ask("unknown topic id", 13, by_id);
    a.ask("a transactional id", 9, ProduceRequest { transactional_id: Some("t".into()), ..produce(Some(good.encode())) });
    let mut twice = produce(Some(good.encode()));
    let again = twice.topic_data[0].partition_data[0].clone();
    twice.topic_data[0].partition_data.push(again);
    a.ask("one partition twice", 9, twice);
    let mut large = good.clone();
    large.records = vec![0; 1_100_000];
    a.ask("too large", 9, produce(Some(large.encode())));
    a.ask(
        "the end",
        6,
        ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsTopic {
                name: "q-batch".into(),
                partitions: vec![ListOffsetsPartition {
                    partition_index: 0,
                    current_leader_epoch: -1,
                    timestamp: -1,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        },
    );
}

/// One record of 64 MiB of zeros in a few dozen kilobytes.
fn gzip_bomb() -> Vec<u8> {
    use std::io::Write as _;
    const SIZE: usize = 64 << 20;
    let varint = |n: usize| {
        let (mut z, mut out) = (n << 1, Vec::new());
        while z > 0x7f {
            out.push(z as u8 | 0x80);
            z >>= 7;
        }
        out.push(z as u8);
        out
    };
    let mut head = vec![0, 0, 0, 1];
    head.extend(varint(SIZE));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&varint(head.len() + SIZE + 1)).expect("in memory");
    gzip.write_all(&head).expect("in memory");
    let block = vec![0; 1 << 20];
    for _ in 0..SIZE >> 20 {
        gzip.write_all(&block).expect("in memory");
    }
    gzip.write_all(&[0]).expect("in memory");
    gzip.finish().expect("in memory")
}
