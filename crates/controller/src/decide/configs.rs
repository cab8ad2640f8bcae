//! IncrementalAlterConfigs and AlterConfigs. Values are checked by crate `config`; what depends on the cluster is checked here.
//! Kafka: `ConfigurationControlManager`, `ControllerConfigurationValidator`.

use super::{Context, Decided, Decision, MAX_RECORDS_PER_USER_OP};
use crate::change::is_elr_enabled;
use crate::seam::ControllerError;
use crate::settings::props;
use config::alter::{Alteration, Changes, Op, ResourceType};
use metadata::{ConfigResource, MetadataVersion, Record};
use std::collections::BTreeMap;
use wire::ErrorCode;
use wire::messages::alter_configs_response::AlterConfigsResourceResponse as LegacyResponse;
use wire::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use wire::messages::{
    AlterConfigsRequest, AlterConfigsResponse, ClearElrRecord, ConfigRecord, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};

const MIN_ISR: &str = "min.insync.replicas";
const CORDONED_LOG_DIRS: &str = "cordoned.log.dirs";

/// The records for the configs of a topic that is about to be created.
pub fn new_topic_records(ctx: &Context, topic: &str, configs: &[(&str, Op, Option<&str>)]) -> Result<Vec<Record>, ControllerError> {
    if configs.is_empty() {
        return Ok(Vec::new());
    }
    let alterations: Vec<_> =
        configs.iter().map(|(name, op, value)| Alteration { name: (*name).to_owned(), op: *op, value: value.map(str::to_owned) }).collect();
    let changes = config::alter::incremental(ResourceType::Topic, &Default::default(), &alterations)?;
    let resource = ConfigResource::topic(topic);
    let mut records = change_records(ctx, ResourceType::Topic, &resource, &changes, true)?;
    records.extend(clear_elr_records(ctx, &records));
    Ok(records)
}

pub fn incremental(ctx: &Context, request: &IncrementalAlterConfigsRequest) -> Decided {
    let mut count = BTreeMap::<(i8, &str), usize>::new();
    for resource in &request.resources {
        *count.entry((resource.resource_type, &resource.resource_name)).or_default() += 1;
    }
    let mut outcomes = Vec::new();
    let mut records = Vec::new();
    let mut reported = std::collections::BTreeSet::new();
    for resource in &request.resources {
        let key = (resource.resource_type, resource.resource_name.as_str());
        if count[&key] > 1 && !reported.insert(key) {
            continue;
        }
        let outcome = known_type(resource.resource_type).and_then(|type_| {
            if count[&key] > 1 {
                return Err(ControllerError::new(ErrorCode::InvalidRequest, "Duplicate resource."));
            }
            let mut alterations = BTreeMap::new();
            for config in &resource.configs {
                let op = Op::from_code(config.config_operation).ok_or_else(|| {
                    let message = format!("Unknown config operation {}", config.config_operation);
                    ControllerError::new(ErrorCode::InvalidRequest, message)
                })?;
                if config.value.is_none() && op != Op::Delete {
                    let message = format!("Null value not supported for : {}", config.name);
                    return Err(ControllerError::new(ErrorCode::InvalidRequest, message));
                }
                alterations.insert(&config.name, Alteration { name: config.name.clone(), op, value: config.value.clone() });
            }
            let resource = ConfigResource { type_: metadata::ResourceType(resource.resource_type), name: resource.resource_name.clone() };
            let alterations: Vec<_> = alterations.into_values().collect();
            let changes = config::alter::incremental(type_, &props(ctx.head, &resource), &alterations)?;
            change_records(ctx, type_, &resource, &changes, false)
        });
        outcomes.push((key, collect(outcome, &mut records)));
    }
    check_size(&records)?;
    records.extend(clear_elr_records(ctx, &records));
    if request.validate_only {
        records.clear();
    }
    let responses = outcomes
        .into_iter()
        .map(|((resource_type, name), error)| AlterConfigsResourceResponse {
            error_code: error.as_ref().map_or(0, |e| e.code.code()),
            error_message: error.map(|e| e.text()),
            resource_type,
            resource_name: name.to_owned(),
            ..Default::default()
        })
        .collect();
    Ok(Decision::atomic(records, IncrementalAlterConfigsResponse { responses, ..Default::default() }))
}

/// The older AlterConfigs: what is not named is reset.
pub fn replace(ctx: &Context, request: &AlterConfigsRequest) -> Decided {
    let mut count = BTreeMap::<(i8, &str), usize>::new();
    for resource in &request.resources {
        *count.entry((resource.resource_type, &resource.resource_name)).or_default() += 1;
    }
    let mut outcomes = Vec::new();
    let mut records = Vec::new();
    let mut reported = std::collections::BTreeSet::new();
    for resource in &request.resources {
        let key = (resource.resource_type, resource.resource_name.as_str());
        if count[&key] > 1 && !reported.insert(key) {
            continue;
        }
        let outcome = known_type(resource.resource_type).and_then(|type_| {
            if count[&key] > 1 {
                return Err(ControllerError::new(ErrorCode::InvalidRequest, "Duplicate resource."));
            }
            let configs: BTreeMap<_, _> = resource.configs.iter().map(|c| (c.name.clone(), c.value.clone())).collect();
            let configs: Vec<_> = configs.into_iter().collect();
            let resource = ConfigResource { type_: metadata::ResourceType(resource.resource_type), name: resource.resource_name.clone() };
            let changes = config::alter::replace(type_, &props(ctx.head, &resource), &configs);
            change_records(ctx, type_, &resource, &changes, false)
        });
        outcomes.push((key, collect(outcome, &mut records)));
    }
    check_size(&records)?;
    records.extend(clear_elr_records(ctx, &records));
    if request.validate_only {
        records.clear();
    }
    let responses = outcomes
        .into_iter()
        .map(|((resource_type, name), error)| LegacyResponse {
            error_code: error.as_ref().map_or(0, |e| e.code.code()),
            error_message: error.map(|e| e.text()),
            resource_type,
            resource_name: name.to_owned(),
            ..Default::default()
        })
        .collect();
    Ok(Decision::atomic(records, AlterConfigsResponse { responses, ..Default::default() }))
}

fn check_size(records: &[Record]) -> Result<(), ControllerError> {
    match records.len() {
        0..=MAX_RECORDS_PER_USER_OP => Ok(()),
        _ => Err(ControllerError::new(ErrorCode::PolicyViolation, "Unable to perform excessively large batch operation.")),
    }
}

fn known_type(code: i8) -> Result<ResourceType, ControllerError> {
    let unknown = || ControllerError::new(ErrorCode::UnsupportedVersion, format!("Unknown resource type {code}."));
    ResourceType::from_code(code).ok_or_else(unknown)
}

fn collect(outcome: Result<Vec<Record>, ControllerError>, records: &mut Vec<Record>) -> Option<ControllerError> {
    match outcome {
        Ok(new) => {
            records.extend(new);
            None
        }
        Err(error) => Some(error),
    }
}

/// Checks the changes of one resource and turns them into records.
fn change_records(
    ctx: &Context,
    type_: ResourceType,
    resource: &ConfigResource,
    changes: &Changes,
    is_new: bool,
) -> Result<Vec<Record>, ControllerError> {
    for (name, value) in changes {
        check_cluster_rules(ctx, resource, name, value.as_deref())?;
    }
    let current = props(ctx.head, resource);
    config::alter::validate(type_, &resource.name, &ctx.settings.broker, &current, changes)?;
    if !is_new {
        check_exists(ctx, type_, &resource.name)?;
    }
    Ok(changes
        .iter()
        .map(|(name, value)| {
            Record::from(ConfigRecord {
                resource_type: resource.type_.0,
                resource_name: resource.name.clone(),
                name: name.clone(),
                value: value.clone(),
                ..Default::default()
            })
        })
        .collect())
}

fn check_cluster_rules(ctx: &Context, resource: &ConfigResource, name: &str, value: Option<&str>) -> Result<(), ControllerError> {
    if resource.type_ != metadata::ResourceType::BROKER {
        return Ok(());
    }
    let refuse = |message: String| Err(ControllerError::new(ErrorCode::InvalidConfig, message));
    if name == MIN_ISR && is_elr_enabled(ctx.head) {
        if !resource.name.is_empty() {
            return refuse(format!("Broker-level {MIN_ISR} cannot be altered while ELR is enabled."));
        }
        if value.is_none() {
            return refuse(format!("Cluster-level {MIN_ISR} cannot be removed while ELR is enabled."));
        }
    }
    if name == CORDONED_LOG_DIRS && !ctx.head.metadata_version().supports_cordoned_log_dirs() {
        return refuse(format!(
            "The {CORDONED_LOG_DIRS} configuration value cannot be set because it requires metadata.version >= {}",
            MetadataVersion::LATEST_PRODUCTION
        ));
    }
    Ok(())
}

fn check_exists(ctx: &Context, type_: ResourceType, name: &str) -> Result<(), ControllerError> {
    match type_ {
        ResourceType::Topic if ctx.head.topics.get(name).is_none() => {
            let message = format!("The topic '{name}' does not exist.");
            Err(ControllerError::new(ErrorCode::UnknownTopicOrPartition, message))
        }
        ResourceType::Broker if !name.is_empty() => {
            let known = name.parse::<i32>().is_ok_and(|id| ctx.head.cluster.broker(id).is_some() || is_controller(ctx, id));
            let message = || format!("No node with id {name} found.");
            if known { Ok(()) } else { Err(ControllerError::new(ErrorCode::BrokerIdNotRegistered, message())) }
        }
        _ => Ok(()),
    }
}

fn is_controller(ctx: &Context, id: i32) -> bool {
    id == ctx.settings.node_id || ctx.head.cluster.controllers.contains_key(&id)
}

/// A new min.insync.replicas makes what ELRs say obsolete.
fn clear_elr_records(ctx: &Context, records: &[Record]) -> Vec<Record> {
    if !is_elr_enabled(ctx.head) {
        return Vec::new();
    }
    records
        .iter()
        .filter_map(|record| match record {
            Record::Config(r) if r.name == MIN_ISR && r.resource_type == metadata::ResourceType::TOPIC.0 => {
                Some(ClearElrRecord { topic_name: r.resource_name.clone(), ..Default::default() }.into())
            }
            Record::Config(r) if r.name == MIN_ISR => Some(ClearElrRecord::default().into()),
            _ => None,
        })
        .collect()
}
