//! `kafka-topics`: creates, alters, deletes, describes and lists topics. Kafka counterpart: TopicCommand.

use std::collections::{BTreeMap, BTreeSet};

use client::admin::{
    ConfigEntry, ConfigResourceType, CreateTopicsOptions, NewPartitions, NewTopic, TopicDescription, TopicListing, TopicPartitionInfo,
};
use client::{Admin, Error, Node};
use wire::ErrorCode;
use wire::messages::ListPartitionReassignmentsRequest;
use wire::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;

use crate::args::java_split;
use crate::failure::Failure;
use crate::java;
use crate::java::{hash_map_order, string_hash};
use crate::options::{Options, Parser};
use crate::out::{complain, say};
use crate::session::{self, IncludeList};

/// How long the controller may take for a change.
const TIMEOUT_MS: i32 = 30_000;
const ACTIONS: [&str; 5] = ["create", "list", "alter", "describe", "delete"];
const REPORTS: [&str; 4] = ["under-replicated-partitions", "under-min-isr-partitions", "at-min-isr-partitions", "unavailable-partitions"];
const CONFIGS_HINT: &str = " (To alter topic configurations, the kafka-configs tool can be used.)";

fn parser() -> Parser {
    Parser::documented("This tool helps to create, delete, describe, or change a topic.", include_str!("../help/kafka-topics.txt"))
}

pub fn run(args: &[String]) -> Result<(), Failure> {
    if args.is_empty() {
        return Err(parser().parse_quietly(args)?.usage("Create, delete, describe, or change a topic."));
    }
    let options = parser().parse(args)?;
    check(&options)?;
    let config = session::config(&options)?;
    let admin = session::admin(config)?;
    let result = session::block_on(async {
        admin.nodes().await?;
        if options.has("create") {
            create(&admin, &options).await
        } else if options.has("alter") {
            alter(&admin, &options).await
        } else if options.has("list") {
            let topics = topics(&admin, options.value("topic")?, options.has("exclude-internal")).await?;
            say!("{}", topics.join("\n"));
            Ok(())
        } else if options.has("describe") {
            describe(&admin, &options).await
        } else {
            delete(&admin, &options).await
        }
    });
    // Kafka says what went wrong on stdout here.
    match result {
        Err(Failure::Message(text) | Failure::Options(text)) => {
            say!("Error while executing topic command : {text}");
            Err(Failure::Status(1))
        }
        other => other,
    }
}

fn check(options: &Options) -> Result<(), Failure> {
    if ACTIONS.iter().filter(|action| options.has(action)).count() != 1 {
        return Err(options.usage("Command must include exactly one action: --list, --describe, --create, --alter or --delete"));
    }
    if options.has("delete-config") {
        complain!(
            "delete-config option is no longer supported and deprecated since version 4.0. The config will be fully removed in future releases."
        );
    }
    if !options.has("bootstrap-server") {
        return Err(Failure::new("--bootstrap-server must be specified"));
    }
    if options.has("describe") && options.has("if-exists") {
        if !options.has("topic") && !options.has("topic-id") {
            return Err(options.usage("--topic or --topic-id is required to describe a topic"));
        }
        if options.has("topic") && options.has("topic-id") {
            say!("Only topic id will be used when both --topic and --topic-id are specified and topicId is not Uuid.ZERO_UUID");
        }
    }
    if !options.has("list") && !options.has("describe") {
        options.check_required(&["topic"])?;
    }
    if options.has("alter") {
        if options.has("config") {
            return Err(options.usage(format!(
                "Option combination \"[[bootstrap-server], [config]]\" can't be used with option \"[alter]\"{CONFIGS_HINT}"
            )));
        }
        options.check_required(&["partitions"])?;
    }
    let others = |allowed: &[&'static str]| -> Vec<&'static str> { ACTIONS.into_iter().filter(|name| !allowed.contains(name)).collect() };
    options.check_invalid("config", &others(&["alter", "create"]))?;
    options.check_invalid("partitions", &others(&["alter", "create"]))?;
    options.check_invalid("replication-factor", &others(&["create"]))?;
    options.check_invalid("replica-assignment", &others(&["alter", "create"]))?;
    if options.has("create") {
        options.check_invalid("replica-assignment", &["partitions", "replication-factor"])?;
    }
    for report in REPORTS {
        options.check_invalid(report, &[&others(&["describe"])[..], &["topics-with-overrides"]].concat())?;
    }
    options.check_invalid("topics-with-overrides", &[&others(&["describe"])[..], &REPORTS].concat())?;
    options.check_invalid("if-exists", &others(&["alter", "delete", "describe"]))?;
    options.check_invalid("if-not-exists", &others(&["create"]))?;
    options.check_invalid("exclude-internal", &others(&["list", "describe"]))
}

/// Names of topics, sorted; all of them, or those that a regular expression matches.
async fn topics(admin: &Admin, include: Option<&str>, exclude_internal: bool) -> Result<Vec<String>, Failure> {
    let include = include.map(IncludeList::new).transpose().map_err(Failure::new)?;
    let wanted = |topic: &TopicListing| {
        let internal = topic.internal || session::is_internal(&topic.name);
        !(exclude_internal && internal) && include.as_ref().is_none_or(|include| include.allows(&topic.name))
    };
    Ok(admin.list_topics().await?.into_iter().filter(wanted).map(|topic| topic.name).collect())
}

fn ensure_exists(found: &[String], options: &Options) -> Result<(), Failure> {
    match options.value("topic")? {
        Some(topic) if !topic.is_empty() && !options.has("if-exists") && found.is_empty() => {
            Err(Failure::new(format!("Topic '{topic}' does not exist as expected")))
        }
        _ => Ok(()),
    }
}

/// `1:2,2:3`: the brokers of partition 0, of partition 1, ...
fn replica_assignment(options: &Options) -> Result<Vec<Vec<i32>>, Failure> {
    let Some(text) = options.value("replica-assignment")?.filter(|text| !text.is_empty()) else { return Ok(Vec::new()) };
    let mut partitions: Vec<Vec<i32>> = Vec::new();
    for (i, list) in java_split(text, ',').into_iter().enumerate() {
        let brokers: Vec<i32> = java_split(list, ':')
            .into_iter()
            .map(|id| id.trim().parse().map_err(|_| Failure::new(format!("For input string: \"{}\"", id.trim()))))
            .collect::<Result<_, _>>()?;
        let twice: BTreeSet<String> =
            brokers.iter().filter(|id| brokers.iter().filter(|other| other == id).count() > 1).map(i32::to_string).collect();
        if !twice.is_empty() {
            let twice: Vec<String> = twice.into_iter().collect();
            return Err(Failure::new(format!("Partition replica lists may not contain duplicate entries: {}", twice.join(","))));
        }
        if partitions.first().is_some_and(|first| first.len() != brokers.len()) {
            return Err(Failure::new(format!("Partition {i} has different replication factor: {brokers:?}")));
        }
        partitions.push(brokers);
    }
    Ok(partitions)
}

async fn create(admin: &Admin, options: &Options) -> Result<(), Failure> {
    let name = options.value("topic")?.unwrap_or_default().to_owned();
    let partitions: Option<i32> = options.number("partitions")?;
    let replication: Option<i32> = options.number("replication-factor")?;
    let assignment = replica_assignment(options)?;
    let mut configs: BTreeMap<String, String> = BTreeMap::new();
    for word in options.values("config") {
        match word.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
            Some((key, value)) if !key.is_empty() && !value.is_empty() && !value.contains('=') => {
                configs.insert(key.to_owned(), value.to_owned());
            }
            _ => {
                let text = "requirement failed: Invalid topic config: all configs to be added must be in the format \"key=val\".";
                return Err(Failure::new(text));
            }
        }
    }
    if name.contains(['.', '_']) {
        say!(
            "WARNING: Due to limitations in metric names, topics with a period ('.') or underscore ('_') could collide. To avoid issues \
             it is best to use either, but not both."
        );
    }
    if replication.is_some_and(|factor| !(1..=i32::from(i16::MAX)).contains(&factor)) {
        return Err(Failure::new(format!("The replication factor must be between 1 and {} inclusive", i16::MAX)));
    }
    if partitions.is_some_and(|count| count < 1) {
        return Err(Failure::new("The partitions must be greater than 0"));
    }
    let topic = NewTopic {
        name: name.clone(),
        num_partitions: if assignment.is_empty() { partitions.unwrap_or(-1) } else { -1 },
        replication_factor: replication.map_or(-1, |factor| factor as i16),
        assignments: (0..).zip(assignment).collect(),
        configs,
    };
    for (_, created) in admin.create_topics(vec![topic], CreateTopicsOptions::default()).await? {
        match created {
            Ok(_) => say!("Created topic {name}."),
            Err(error) if error.code() == Some(ErrorCode::TopicAlreadyExists) && options.has("if-not-exists") => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

async fn alter(admin: &Admin, options: &Options) -> Result<(), Failure> {
    let count: i32 = options.number("partitions")?.unwrap_or(-1);
    let assignment = replica_assignment(options)?;
    let topics = topics(admin, options.value("topic")?, options.has("exclude-internal")).await?;
    ensure_exists(&topics, options)?;
    if topics.is_empty() {
        return Ok(());
    }
    let changes = session::describe_topics(admin, &topics).await?.into_iter().map(|topic| {
        let new = assignment.iter().skip(topic.partitions.len()).cloned().collect();
        NewPartitions { topic: topic.name, total_count: count, assignments: (!assignment.is_empty()).then_some(new) }
    });
    let results = admin.create_partitions(changes.collect(), false).await?;
    Ok(results.into_iter().try_for_each(|(_, result)| result)?)
}

async fn delete(admin: &Admin, options: &Options) -> Result<(), Failure> {
    let topics = topics(admin, options.value("topic")?, options.has("exclude-internal")).await?;
    ensure_exists(&topics, options)?;
    if topics.is_empty() {
        return Ok(());
    }
    let results = admin.delete_topics(&topics).await?;
    Ok(results.into_iter().try_for_each(|(_, result)| result)?)
}

/// What is being moved where, for partitions that are being moved.
struct Reassignment {
    replicas: Vec<i32>,
    adding: Vec<i32>,
    removing: Vec<i32>,
}

async fn reassignments(admin: &Admin, topics: &[TopicDescription]) -> Result<BTreeMap<(String, i32), Reassignment>, Failure> {
    let asked = |topic: &TopicDescription| ListPartitionReassignmentsTopics {
        name: topic.name.clone(),
        partition_indexes: topic.partitions.iter().map(|p| p.partition).collect(),
        ..Default::default()
    };
    let request = ListPartitionReassignmentsRequest {
        timeout_ms: TIMEOUT_MS,
        topics: Some(topics.iter().map(asked).collect()),
        ..Default::default()
    };
    let response = match admin.controller(request).await {
        Ok(response) => response,
        Err(error) if matches!(error.code(), Some(ErrorCode::UnsupportedVersion | ErrorCode::ClusterAuthorizationFailed)) => {
            return Ok(BTreeMap::new());
        }
        Err(error) => return Err(error.into()),
    };
    match ErrorCode::from_code(response.error_code) {
        ErrorCode::None => {}
        ErrorCode::UnsupportedVersion | ErrorCode::ClusterAuthorizationFailed => return Ok(BTreeMap::new()),
        code => return Err(Error::broker(code, response.error_message).into()),
    }
    let mut found = BTreeMap::new();
    for topic in response.topics {
        for p in topic.partitions {
            let moving = Reassignment { replicas: p.replicas, adding: p.adding_replicas, removing: p.removing_replicas };
            found.insert((topic.name.clone(), p.partition_index), moving);
        }
    }
    Ok(found)
}

async fn describe(admin: &Admin, options: &Options) -> Result<(), Failure> {
    let id = options.value("topic-id")?.map(|text| java::uuid(text).map_err(Failure::new)).transpose()?;
    let exclude_internal = options.has("exclude-internal");
    let mut descriptions = if let Some(id) = id.filter(|id| !id.is_zero()) {
        let all = admin.list_topics().await?;
        let known = all.iter().any(|topic| topic.topic_id == id && !(exclude_internal && topic.internal));
        if !known && !options.has("if-exists") {
            return Err(Failure::new(format!("TopicId '{id}' does not exist as expected")));
        }
        let found = if known { admin.describe_topics_by_id(&[id]).await? } else { Vec::new() };
        found.into_iter().map(|(_, described)| described).collect::<Result<_, _>>()?
    } else {
        let names = topics(admin, options.value("topic")?, exclude_internal).await?;
        ensure_exists(&names, options)?;
        let count = names.len();
        hash_map_order(session::describe_topics(admin, &names).await?, count, |topic| string_hash(&topic.name))
    };
    let names: Vec<String> = descriptions.iter().map(|topic| topic.name.clone()).collect();
    if !names.is_empty() {
        // One answer holds all partitions; the limit is only checked to be a number.
        options.number::<i32>("partition-size-limit-per-response")?;
    }
    let configs = session::describe_configs(admin, ConfigResourceType::Topic, &names, false).await?;
    let live: BTreeSet<i32> = admin.describe_cluster().await?.nodes.into_iter().map(|(node, _)| node.id).collect();
    let moving = if descriptions.is_empty() { BTreeMap::new() } else { reassignments(admin, &descriptions).await? };
    for topic in &mut descriptions {
        topic.partitions.sort_by_key(|p| p.partition);
        let Some((_, config)) = configs.iter().find(|(name, _)| *name == topic.name) else { continue };
        describe_topic(options, topic, config, &moving, &live);
    }
    Ok(())
}

fn describe_topic(
    options: &Options,
    topic: &TopicDescription,
    config: &[ConfigEntry],
    moving: &BTreeMap<(String, i32), Reassignment>,
    live: &BTreeSet<i32>,
) {
    let describe_configs = !REPORTS.iter().any(|report| options.has(report));
    let overridden: Vec<_> = config.iter().collect();
    let overridden = hash_map_order(overridden, 16, |entry| string_hash(&entry.name));
    let overridden: Vec<_> = overridden.into_iter().filter(|entry| !entry.is_default()).collect();
    let move_of = |p: &TopicPartitionInfo| moving.get(&(topic.name.clone(), p.partition));
    if describe_configs && (!options.has("topics-with-overrides") || !overridden.is_empty()) {
        let pairs: Vec<String> =
            overridden.iter().map(|entry| format!("{}={}", entry.name, entry.value.as_deref().unwrap_or("null"))).collect();
        let id = if topic.topic_id.is_zero() { String::new() } else { format!("\tTopicId: {}", topic.topic_id) };
        let factor = topic.partitions.first().map_or(0, |first| replication_factor(first, move_of(first)));
        say!(
            "Topic: {}{id}\tPartitionCount: {}\tReplicationFactor: {factor}\tConfigs: {}",
            topic.name,
            topic.partitions.len(),
            pairs.join(",")
        );
    }
    if options.has("topics-with-overrides") {
        return;
    }
    let min_isr = config.iter().find(|entry| entry.name == "min.insync.replicas");
    let min_isr: usize = min_isr.and_then(|entry| entry.value.as_deref()?.parse().ok()).unwrap_or(1);
    for p in &topic.partitions {
        let shown = describe_configs
            || (options.has("under-replicated-partitions") && replication_factor(p, move_of(p)) > p.isr.len())
            || (options.has("unavailable-partitions") && p.leader.as_ref().is_none_or(|leader| !live.contains(&leader.id)))
            || (options.has("under-min-isr-partitions") && (p.leader.is_none() || p.isr.len() < min_isr))
            || (options.has("at-min-isr-partitions") && p.isr.len() == min_isr);
        if shown {
            say!("{}", partition_line(&topic.name, p, move_of(p)));
        }
    }
}

/// While replicas are being moved, the new ones do not count.
fn replication_factor(p: &TopicPartitionInfo, moving: Option<&Reassignment>) -> usize {
    match moving {
        Some(r) if p.replicas.iter().any(|node| r.adding.contains(&node.id) || r.removing.contains(&node.id)) => {
            r.replicas.len() - r.adding.len()
        }
        _ => p.replicas.len(),
    }
}

fn partition_line(topic: &str, p: &TopicPartitionInfo, moving: Option<&Reassignment>) -> String {
    let ids = |ids: &[i32]| ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
    let nodes = |nodes: &[Node]| nodes.iter().map(|node| node.id.to_string()).collect::<Vec<_>>().join(",");
    let known = |list: &Option<Vec<Node>>| list.as_ref().map_or("N/A".to_owned(), |list| nodes(list));
    let leader = p.leader.as_ref().map_or("none".to_owned(), |node| node.id.to_string());
    let moving =
        moving.map_or(String::new(), |r| format!("\tAdding Replicas: {}\tRemoving Replicas: {}", ids(&r.adding), ids(&r.removing)));
    format!(
        "\tTopic: {topic}\tPartition: {}\tLeader: {leader}\tReplicas: {}\tIsr: {}{moving}\tElr: {}\tLastKnownElr: {}",
        p.partition,
        nodes(&p.replicas),
        nodes(&p.isr),
        known(&p.elr),
        known(&p.last_known_elr),
    )
}
