//! CreateTopics, DeleteTopics, CreatePartitions: Kafka's codes and texts.

use super::*;
use wire::ErrorCode;
use wire::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use wire::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig};
use wire::messages::create_topics_response::CreatableTopicResult;
use wire::messages::delete_topics_request::DeleteTopicState;

pub fn topic(name: &str, num_partitions: i32, replication_factor: i16) -> CreatableTopic {
    CreatableTopic { name: name.to_owned(), num_partitions, replication_factor, ..Default::default() }
}

pub fn create(sim: &mut Sim, topics: Vec<CreatableTopic>) -> Vec<CreatableTopicResult> {
    sim.get::<CreateTopicsResponse>(CreateTopicsRequest { topics, ..Default::default() }).topics
}

fn error(sim: &mut Sim, topic: CreatableTopic) -> (ErrorCode, String) {
    let result = create(sim, vec![topic]).remove(0);
    (ErrorCode::from_code(result.error_code), result.error_message.unwrap_or_default())
}

#[test]
fn creates_with_configs_in_one_batch() {
    let mut sim = Sim::new();
    sim.join(1, 77, -1);
    let mut wanted = topic("MyTopic", 3, 1);
    wanted.configs = vec![CreatableTopicConfig { name: "retention.ms".into(), value: Some("1000".into()), ..Default::default() }];
    let start = sim.node.raft().log_end().offset;
    let result = create(&mut sim, vec![wanted]).remove(0);
    assert_eq!((result.error_code, &result.error_message), (0, &None));
    assert_eq!((result.num_partitions, result.replication_factor), (3, 1));
    let configs = result.configs.unwrap();
    let retention = configs.iter().find(|c| c.name == "retention.ms").unwrap();
    assert_eq!((retention.value.as_deref(), retention.config_source), (Some("1000"), 1));
    let min_isr = configs.iter().find(|c| c.name == "min.insync.replicas").unwrap();
    assert_eq!((min_isr.value.as_deref(), min_isr.config_source), (Some("1"), 3), "set for the cluster at bootstrap");
    assert!(configs.windows(2).all(|pair| pair[0].name < pair[1].name));

    let batches = sim.node.raft().read_committed(start).unwrap();
    assert_eq!(batches.len(), 1);
    let kinds: Vec<u32> = sim.log().iter().filter(|(at, _)| *at >= start).map(|(_, r)| r.type_id()).collect();
    assert_eq!(kinds, [2, 4, 3, 3, 3]);
    let image = sim.image();
    let created = image.topics.get("MyTopic").unwrap();
    assert_eq!(created.id, result.topic_id);
    let partition = created.partitions.get(&2).unwrap();
    assert_eq!((partition.leader, &partition.isr[..], &partition.directories[..]), (1, &[1][..], &[directory(1)][..]));
    sim.check();
}

#[test]
fn refusals_of_creation() {
    let mut sim = Sim::new();
    let (code, text) = error(&mut sim, topic("early", 1, 1));
    assert_eq!(code, ErrorCode::InvalidReplicationFactor);
    assert_eq!(
        text,
        "Unable to replicate the partition 1 time(s): All brokers are currently fenced, or have all their log directories cordoned."
    );
    sim.join(1, 77, -1);
    create(&mut sim, vec![topic("a.b", 1, 1)]);
    let cases = [
        (topic("a.b", 1, 1), ErrorCode::TopicAlreadyExists, "Topic 'a.b' already exists."),
        (topic("a_b", 1, 1), ErrorCode::InvalidTopicException, "Topic 'a_b' collides with existing topic: a.b"),
        (topic("", 1, 1), ErrorCode::InvalidTopicException, "Topic name is invalid: the empty string is not allowed"),
        (topic("..", 1, 1), ErrorCode::InvalidTopicException, "Topic name is invalid: '..' is not allowed"),
        (topic("t", 0, 1), ErrorCode::InvalidPartitions, "Number of partitions was set to an invalid non-positive value."),
        (
            topic("t", 1, 0),
            ErrorCode::InvalidReplicationFactor,
            "Replication factor must be larger than 0, or -1 to use the default value.",
        ),
        (
            topic("t", 1, 2),
            ErrorCode::InvalidReplicationFactor,
            "Unable to replicate the partition 2 time(s): The target replication factor of 2 cannot be reached because only 1 broker(s) \
             are registered or some brokers have all their log directories cordoned.",
        ),
        (topic("__cluster_metadata", 1, 1), ErrorCode::InvalidRequest, "Creation of internal topic __cluster_metadata is prohibited."),
    ];
    for (wanted, code, text) in cases {
        assert_eq!(error(&mut sim, wanted), (code, text.to_owned()));
    }
    let twice = create(&mut sim, vec![topic("d", 1, 1), topic("d", 2, 1)]);
    assert_eq!(twice.len(), 1);
    assert_eq!(twice[0].error_message.as_deref(), Some("Duplicate topic name."));
    let mut unknown = topic("t", 1, 1);
    unknown.configs = vec![CreatableTopicConfig { name: "no.such".into(), value: Some("1".into()), ..Default::default() }];
    assert_eq!(error(&mut sim, unknown.clone()).0, ErrorCode::InvalidConfig);
    unknown.configs[0].value = None;
    assert_eq!(error(&mut sim, unknown), (ErrorCode::InvalidConfig, "Null value not supported for topic configs: no.such".into()));
    let many = sim.ask(CreateTopicsRequest { topics: vec![topic("big", 10_001, 1)], ..Default::default() });
    let ControllerResponse::Failed(failure) = many else { panic!("{many:?}") };
    assert_eq!(failure.text(), "Excessively large number of partitions per request.");
    assert_eq!(sim.image().topics.len(), 1);
    sim.check();
}

#[test]
fn manual_assignments() {
    let mut sim = Sim::new();
    sim.join(1, 77, -1);
    let assigned = |replicas: &[&[i32]]| CreatableTopic {
        assignments: (0..)
            .zip(replicas)
            .map(|(partition_index, ids)| CreatableReplicaAssignment { partition_index, broker_ids: ids.to_vec(), ..Default::default() })
            .collect(),
        ..topic("m", -1, -1)
    };
    let code = |sim: &mut Sim, wanted| error(sim, wanted);
    assert_eq!(
        code(&mut sim, assigned(&[&[1], &[2]])),
        (
            ErrorCode::InvalidReplicaAssignment,
            "The manual partition assignment includes broker 2, but no such broker is registered.".into()
        )
    );
    assert_eq!(code(&mut sim, assigned(&[&[1, 1]])).1, "The manual partition assignment includes the broker 1 more than once.");
    assert_eq!(code(&mut sim, assigned(&[&[]])).1, "The manual partition assignment includes an empty replica list.");
    let mut gap = assigned(&[&[1], &[1]]);
    gap.assignments[1].partition_index = 2;
    assert_eq!(code(&mut sim, gap).1, "partitions should be a consecutive 0-based integer sequence");
    let both = CreatableTopic { num_partitions: 2, ..assigned(&[&[1]]) };
    assert_eq!(code(&mut sim, both).0, ErrorCode::InvalidRequest);
    assert_eq!(code(&mut sim, assigned(&[&[1], &[1]])).0, ErrorCode::None);
}

#[test]
fn validate_only_changes_nothing() {
    let mut sim = Sim::new();
    sim.join(1, 77, -1);
    let end = sim.node.raft().log_end();
    let request = CreateTopicsRequest { topics: vec![topic("v", 4, 1)], validate_only: true, ..Default::default() };
    let response: CreateTopicsResponse = sim.get(request);
    assert_eq!((response.topics[0].error_code, response.topics[0].num_partitions), (0, 4));
    assert_eq!(sim.node.raft().log_end(), end);
}

#[test]
fn deletes_by_name_and_by_id() {
    let mut sim = Sim::new();
    sim.join(1, 77, -1);
    let created = create(&mut sim, vec![topic("a", 1, 1), topic("b", 1, 1), topic("c", 1, 1)]);
    let by_id = DeleteTopicState { topic_id: created[1].topic_id, ..Default::default() };
    let by_name = |name: &str| DeleteTopicState { name: Some(name.into()), ..Default::default() };
    let both = DeleteTopicState { name: Some("c".into()), topic_id: created[2].topic_id, ..Default::default() };
    let unknown = DeleteTopicState { topic_id: Uuid::from_u128(5), ..Default::default() };
    let topics = vec![by_name("a"), by_id, by_name("x"), both, unknown, DeleteTopicState::default()];
    let response: DeleteTopicsResponse = sim.get(DeleteTopicsRequest { topics, ..Default::default() });
    let outcome = |name: Option<&str>, id: Uuid| {
        let found = response.responses.iter().find(|r| r.name.as_deref() == name && r.topic_id == id).unwrap();
        ErrorCode::from_code(found.error_code)
    };
    assert_eq!(outcome(Some("a"), created[0].topic_id), ErrorCode::None);
    assert_eq!(outcome(Some("b"), created[1].topic_id), ErrorCode::None);
    assert_eq!(outcome(Some("x"), Uuid::ZERO), ErrorCode::UnknownTopicOrPartition);
    assert_eq!(outcome(Some("c"), created[2].topic_id), ErrorCode::InvalidRequest);
    assert_eq!(outcome(None, Uuid::from_u128(5)), ErrorCode::UnknownTopicId);
    assert_eq!(outcome(None, Uuid::ZERO), ErrorCode::InvalidRequest);
    let image = sim.image();
    assert_eq!(image.topics.iter().map(|t| t.name.to_string()).collect::<Vec<_>>(), ["c"]);
    sim.check();
}

#[test]
fn adds_partitions() {
    let mut sim = Sim::new();
    sim.join(1, 77, -1);
    create(&mut sim, vec![topic("p", 2, 1)]);
    let mut add = |count: i32, assignments: Option<Vec<Vec<i32>>>| {
        let assignments = assignments
            .map(|all| all.into_iter().map(|broker_ids| CreatePartitionsAssignment { broker_ids, ..Default::default() }).collect());
        let topics = vec![CreatePartitionsTopic { name: "p".into(), count, assignments, ..Default::default() }];
        let response: CreatePartitionsResponse = sim.get(CreatePartitionsRequest { topics, ..Default::default() });
        (response.results[0].error_code, response.results[0].error_message.clone().unwrap_or_default())
    };
    assert_eq!(add(2, None), (37, "Topic already has 2 partition(s).".into()));
    assert_eq!(add(1, None), (37, "The topic p currently has 2 partition(s); 1 would not be an increase.".into()));
    let text = "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified.";
    assert_eq!(add(4, Some(vec![vec![1]])), (39, text.into()));
    assert_eq!(add(4, Some(vec![vec![1], vec![1]])).0, 0);
    assert_eq!(add(5, None).0, 0);
    assert_eq!(sim.image().topics.get("p").unwrap().partitions.len(), 5);
    sim.check();
}

#[test]
fn placement_is_even_over_brokers() {
    let mut sim = Sim::new();
    for id in 1..=5 {
        sim.join(id, 70 + id as u128, -1);
    }
    create(&mut sim, vec![topic("even", 100, 3)]);
    let image = sim.image();
    let (mut leaders, mut replicas) = ([0; 6], [0; 6]);
    for partition in image.topics.get("even").unwrap().partitions.values() {
        let mut ids = partition.replicas.clone();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 3);
        leaders[partition.leader as usize] += 1;
        ids.iter().for_each(|id| replicas[*id as usize] += 1);
    }
    assert_eq!(leaders[1..], [20; 5]);
    assert_eq!(replicas[1..], [60; 5]);
}
