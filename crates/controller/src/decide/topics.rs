//! CreateTopics and DeleteTopics. Kafka: `ReplicationControlManager.createTopics`, `ControllerApis`.

use super::partitions::{check_manual_assignment, new_partition};
use super::{Context, Decided, Decision, MAX_RECORDS_PER_USER_OP, configs};
use crate::placement;
use crate::seam::ControllerError;
use crate::settings::Settings;
use base::Uuid;
use config::Props;
use config::alter::Op;
use metadata::{Image, Partition, Record};
use std::collections::{BTreeMap, BTreeSet};
use wire::ErrorCode;
use wire::messages::create_topics_request::CreatableTopic;
use wire::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use wire::messages::delete_topics_response::DeletableTopicResult;
use wire::messages::{
    CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse, RemoveTopicRecord, TopicRecord,
};

const CLUSTER_METADATA_TOPIC: &str = "__cluster_metadata";

pub fn create(ctx: &Context, rng: &mut fastrand::Rng, request: &CreateTopicsRequest) -> Decided {
    check_total_partitions(ctx.settings, request)?;
    let mut taken = Taken::new(ctx.head);
    let mut records = Vec::new();
    let mut results = Vec::new();
    let mut seen = BTreeMap::<&str, usize>::new();
    for topic in &request.topics {
        *seen.entry(&topic.name).or_default() += 1;
    }
    let mut effective = None;
    for topic in &request.topics {
        if seen[topic.name.as_str()] > 1 || topic.name == CLUSTER_METADATA_TOPIC {
            continue;
        }
        let result = create_one(ctx, rng, topic, &mut taken, &mut effective);
        match result {
            Ok((topic_records, result)) if records.len() + topic_records.len() <= MAX_RECORDS_PER_USER_OP => {
                records.extend(topic_records);
                results.push(result);
            }
            Ok(_) => return Err(too_many_records()),
            Err(error) => results.push(failed(&topic.name, error)),
        }
    }
    for (name, count) in seen {
        if count > 1 {
            results.push(failed(name, ControllerError::new(ErrorCode::InvalidRequest, "Duplicate topic name.")));
        } else if name == CLUSTER_METADATA_TOPIC {
            let message = format!("Creation of internal topic {CLUSTER_METADATA_TOPIC} is prohibited.");
            results.push(failed(name, ControllerError::new(ErrorCode::InvalidRequest, message)));
        }
    }
    if request.validate_only {
        records.clear();
    }
    Ok(Decision::atomic(records, CreateTopicsResponse { topics: results, ..Default::default() }))
}

fn too_many_records() -> ControllerError {
    ControllerError::new(ErrorCode::PolicyViolation, "Unable to perform excessively large batch operation.")
}

fn failed(name: &str, error: ControllerError) -> CreatableTopicResult {
    CreatableTopicResult { name: name.to_owned(), error_code: error.code.code(), error_message: Some(error.text()), ..Default::default() }
}

/// Refuses requests that would be too large before anything is built for them.
fn check_total_partitions(settings: &Settings, request: &CreateTopicsRequest) -> Result<(), ControllerError> {
    let total: i64 = request
        .topics
        .iter()
        .map(|topic| match (topic.assignments.len(), topic.num_partitions) {
            (0, -1) => i64::from(settings.broker.num_partitions),
            (0, count) => i64::from(count.max(0)),
            (count, _) => count as i64,
        })
        .sum();
    if total > MAX_RECORDS_PER_USER_OP as i64 {
        return Err(ControllerError::new(ErrorCode::PolicyViolation, "Excessively large number of partitions per request."));
    }
    Ok(())
}

/// Names in use, for collisions: '.' and '_' are the same in metric names.
struct Taken<'a> {
    head: &'a Image,
    normalized: Option<BTreeMap<String, String>>,
}

impl<'a> Taken<'a> {
    fn new(head: &'a Image) -> Self {
        Taken { head, normalized: None }
    }

    fn colliding(&mut self, name: &str) -> Option<&String> {
        if !has_collision_chars(name) {
            return None;
        }
        let head = self.head;
        let normalized = self.normalized.get_or_insert_with(|| {
            let names = head.topics.iter().map(|topic| topic.name.to_string()).filter(|name| has_collision_chars(name));
            names.map(|name| (name.replace('.', "_"), name)).collect()
        });
        normalized.get(&name.replace('.', "_"))
    }
}

fn has_collision_chars(name: &str) -> bool {
    name.contains(['.', '_'])
}

/// The configuration of this node with dynamic layers, worked out at most once per request.
type Effective = Option<(config::Layers, config::BrokerConfig)>;

fn create_one(
    ctx: &Context,
    rng: &mut fastrand::Rng,
    topic: &CreatableTopic,
    taken: &mut Taken,
    effective: &mut Effective,
) -> Result<(Vec<Record>, CreatableTopicResult), ControllerError> {
    let name = &topic.name;
    // Kafka checks existence last and lets it win over what was wrong with the name.
    if ctx.head.topics.get(name).is_some() {
        return Err(ControllerError::new(ErrorCode::TopicAlreadyExists, format!("Topic '{name}' already exists.")));
    }
    config::topic::validate_name(name)?;
    if let Some(other) = taken.colliding(name) {
        let message = format!("Topic '{name}' collides with existing topic: {other}");
        return Err(ControllerError::new(ErrorCode::InvalidTopicException, message));
    }
    let config_records = creation_configs(ctx, topic)?;
    let partitions = assign(ctx, rng, topic)?;
    let topic_id = Uuid::random(rng);
    let creation: Props = topic.configs.iter().filter_map(|c| Some((c.name.clone(), c.value.clone()?))).collect();
    let replication_factor = partitions.first().map_or(0, |p| p.replicas.len());
    let result = CreatableTopicResult {
        name: name.clone(),
        topic_id,
        num_partitions: partitions.len() as i32,
        replication_factor: replication_factor as i16,
        error_message: None,
        configs: Some(returned_configs(ctx, effective, &creation)),
        ..Default::default()
    };
    let mut records = vec![TopicRecord { name: name.clone(), topic_id, ..Default::default() }.into()];
    records.extend(config_records);
    records.extend((0..).zip(&partitions).map(|(id, partition)| Record::from(partition.to_record(topic_id, id))));
    Ok((records, result))
}

fn creation_configs(ctx: &Context, topic: &CreatableTopic) -> Result<Vec<Record>, ControllerError> {
    let nulls: Vec<&str> = topic.configs.iter().filter(|c| c.value.is_none()).map(|c| c.name.as_str()).collect();
    if !nulls.is_empty() {
        let message = format!("Null value not supported for topic configs: {}", nulls.join(","));
        return Err(ControllerError::new(ErrorCode::InvalidConfig, message));
    }
    let alterations: Vec<_> = topic.configs.iter().map(|c| (c.name.as_str(), Op::Set, c.value.as_deref())).collect();
    configs::new_topic_records(ctx, &topic.name, &alterations)
}

fn returned_configs(ctx: &Context, effective: &mut Effective, creation: &Props) -> Vec<CreatableTopicConfigs> {
    let (layers, broker) = effective.get_or_insert_with(|| {
        let layers = ctx.settings.effective_layers(ctx.head);
        let broker = layers.config().unwrap_or_else(|_| ctx.settings.broker.clone());
        (layers, broker)
    });
    let mut entries = config::describe::topic(layers, broker, creation);
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries
        .into_iter()
        .map(|entry| CreatableTopicConfigs {
            value: entry.value.filter(|_| !entry.sensitive),
            read_only: entry.read_only,
            config_source: entry.source.code(),
            is_sensitive: entry.sensitive,
            name: entry.name,
            ..Default::default()
        })
        .collect()
}

fn assign(ctx: &Context, rng: &mut fastrand::Rng, topic: &CreatableTopic) -> Result<Vec<Partition>, ControllerError> {
    let error = |code, message: &str| Err(ControllerError::new(code, message));
    if !topic.assignments.is_empty() {
        return assign_manually(ctx, topic);
    }
    if topic.replication_factor < -1 || topic.replication_factor == 0 {
        let message = "Replication factor must be larger than 0, or -1 to use the default value.";
        return error(ErrorCode::InvalidReplicationFactor, message);
    }
    if topic.num_partitions < -1 || topic.num_partitions == 0 {
        return error(ErrorCode::InvalidPartitions, "Number of partitions was set to an invalid non-positive value.");
    }
    let or_default = |value: i32, default: i32| if value == -1 { default } else { value };
    let count = or_default(topic.num_partitions, ctx.settings.broker.num_partitions).max(0) as usize;
    let factor = or_default(i32::from(topic.replication_factor), ctx.settings.broker.default_replication_factor) as i16;
    let unable = |why: String| {
        let message = format!("Unable to replicate the partition {factor} time(s): {why}");
        ControllerError::new(ErrorCode::InvalidReplicationFactor, message)
    };
    let placed = placement::place(ctx.head, ctx.heartbeats, rng, count, factor).map_err(unable)?;
    let partition = |replicas: Vec<i32>| {
        let none_active = || unable("All brokers are currently fenced or in controlled shutdown.".to_owned());
        new_partition(ctx.head, replicas).ok_or_else(none_active)
    };
    placed.into_iter().map(partition).collect()
}

fn assign_manually(ctx: &Context, topic: &CreatableTopic) -> Result<Vec<Partition>, ControllerError> {
    let error = |code, message: &str| ControllerError::new(code, message);
    if topic.replication_factor != -1 {
        let message = "A manual partition assignment was specified, but replication factor was not set to -1.";
        return Err(error(ErrorCode::InvalidRequest, message));
    }
    if topic.num_partitions != -1 {
        let message = "A manual partition assignment was specified, but numPartitions was not set to -1.";
        return Err(error(ErrorCode::InvalidRequest, message));
    }
    let mut partitions = BTreeMap::new();
    let mut factor = None;
    for assignment in &topic.assignments {
        let index = assignment.partition_index;
        if partitions.contains_key(&index) {
            let message = format!("Found multiple manual partition assignments for partition {index}");
            return Err(error(ErrorCode::InvalidReplicaAssignment, &message));
        }
        check_manual_assignment(ctx.head, &assignment.broker_ids, factor)?;
        factor = Some(assignment.broker_ids.len());
        let partition = new_partition(ctx.head, assignment.broker_ids.clone()).ok_or_else(|| {
            let message = format!(
                "All brokers specified in the manual partition assignment for partition {index} are fenced or in controlled shutdown."
            );
            error(ErrorCode::InvalidReplicaAssignment, &message)
        })?;
        partitions.insert(index, partition);
    }
    if !partitions.keys().copied().eq(0..partitions.len() as i32) {
        let message = "partitions should be a consecutive 0-based integer sequence";
        return Err(error(ErrorCode::InvalidReplicaAssignment, message));
    }
    Ok(partitions.into_values().collect())
}

pub fn delete(ctx: &Context, request: &DeleteTopicsRequest) -> Decided {
    if ctx.settings.broker.value("delete.topic.enable").to_text().as_deref() == Some("false") {
        return Err(match ctx.request.api_version {
            ..3 => ControllerError::new(ErrorCode::InvalidRequest, "This version does not support topic deletion."),
            _ => ControllerError::of(ErrorCode::TopicDeletionDisabled),
        });
    }
    let mut results = Vec::new();
    let mut answer = |name: Option<&str>, topic_id: Uuid, error: Option<ControllerError>| {
        results.push(DeletableTopicResult {
            name: name.map(str::to_owned),
            topic_id,
            error_code: error.as_ref().map_or(0, |e| e.code.code()),
            error_message: error.map(|e| e.text()),
            ..Default::default()
        });
    };
    let invalid = |message: &str| Some(ControllerError::new(ErrorCode::InvalidRequest, message));
    let mut names = BTreeMap::<&str, usize>::new();
    let mut ids = BTreeMap::<Uuid, usize>::new();
    for name in &request.topic_names {
        *names.entry(name).or_default() += 1;
    }
    for topic in &request.topics {
        match (&topic.name, topic.topic_id.is_zero()) {
            (None, true) => answer(None, Uuid::ZERO, invalid("Neither topic name nor id were specified.")),
            (None, false) => *ids.entry(topic.topic_id).or_default() += 1,
            (Some(name), true) => *names.entry(name).or_default() += 1,
            (Some(name), false) => answer(Some(name), topic.topic_id, invalid("You may not specify both topic name and topic id.")),
        }
    }
    let mut deleted = BTreeMap::<Uuid, &str>::new();
    for (id, count) in &ids {
        match ctx.head.topics.get_by_id(*id) {
            _ if *count > 1 => answer(None, *id, invalid("Duplicate topic id.")),
            None => answer(None, *id, Some(ErrorCode::UnknownTopicId.into())),
            Some(topic) => drop(deleted.insert(*id, &topic.name)),
        }
    }
    let mut twice = BTreeSet::new();
    for (name, count) in names {
        match ctx.head.topics.get(name) {
            _ if count > 1 => answer(Some(name), Uuid::ZERO, invalid("Duplicate topic name.")),
            None => answer(Some(name), Uuid::ZERO, Some(ErrorCode::UnknownTopicOrPartition.into())),
            Some(topic) if ids.contains_key(&topic.id) => {
                twice.insert(topic.id);
                answer(Some(name), topic.id, invalid("The provided topic name maps to an ID that was already supplied."));
            }
            Some(topic) => drop(deleted.insert(topic.id, &topic.name)),
        }
    }
    deleted.retain(|id, _| !twice.contains(id));
    for (id, name) in &deleted {
        answer(Some(name), *id, None);
    }
    if deleted.len() > MAX_RECORDS_PER_USER_OP {
        return Err(too_many_records());
    }
    let records = deleted.keys().map(|id| RemoveTopicRecord { topic_id: *id, ..Default::default() }.into()).collect();
    Ok(Decision::atomic(records, DeleteTopicsResponse { responses: results, ..Default::default() }))
}
