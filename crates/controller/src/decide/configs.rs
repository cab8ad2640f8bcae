//! IncrementalAlterConfigs and AlterConfigs. Values are checked by crate `config`; what depends on the cluster is checked here.
//! Kafka: `ConfigurationControlManager`, `ControllerConfigurationValidator`.

use super::{Context, Decided, Decision, MAX_RECORDS_PER_USER_OP};
use crate::change::is_elr_enabled;
use crate::seam::ControllerError;
use crate::settings::props;
use config::Props;
use config::alter::{Alteration, Changes, Op, ResourceType};
use metadata::{ConfigResource, MetadataVersion, Record};
use std::collections::{BTreeMap, BTreeSet};
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
    let resources = request.resources.iter().map(|r| (r.resource_type, r.resource_name.as_str(), &r.configs));
    let (records, outcomes) = alter_all(ctx, resources, request.validate_only, |type_, current, configs| {
        let mut alterations = BTreeMap::new();
        for config in configs.iter() {
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
        let alterations: Vec<_> = alterations.into_values().collect();
        Ok(config::alter::incremental(type_, current, &alterations)?)
    })?;
    let response = |(resource_type, resource_name, error_code, error_message)| AlterConfigsResourceResponse {
        resource_type,
        resource_name,
        error_code,
        error_message,
        ..Default::default()
    };
    let responses = outcomes.into_iter().map(response).collect();
    Ok(Decision::atomic(records, IncrementalAlterConfigsResponse { responses, ..Default::default() }))
}

/// The older AlterConfigs: what is not named is reset.
pub fn replace(ctx: &Context, request: &AlterConfigsRequest) -> Decided {
    let resources = request.resources.iter().map(|r| (r.resource_type, r.resource_name.as_str(), &r.configs));
    let (records, outcomes) = alter_all(ctx, resources, request.validate_only, |type_, current, configs| {
        let configs: BTreeMap<_, _> = configs.iter().map(|c| (c.name.clone(), c.value.clone())).collect();
        let configs: Vec<_> = configs.into_iter().collect();
        Ok(config::alter::replace(type_, current, &configs))
    })?;
    let response = |(resource_type, resource_name, error_code, error_message)| LegacyResponse {
        resource_type,
        resource_name,
        error_code,
        error_message,
        ..Default::default()
    };
    let responses = outcomes.into_iter().map(response).collect();
    Ok(Decision::atomic(records, AlterConfigsResponse { responses, ..Default::default() }))
}

/// Type, name, error code and text of one resource, as both answers hold them.
type Outcome = (i8, String, i16, Option<String>);

/// Alters resource by resource: `change` says what becomes of the current configs. A resource that is named twice is refused once.
fn alter_all<'a, C: 'a>(
    ctx: &Context,
    resources: impl Iterator<Item = (i8, &'a str, &'a C)> + Clone,
    validate_only: bool,
    change: impl Fn(ResourceType, &Props, &C) -> Result<Changes, ControllerError>,
) -> Result<(Vec<Record>, Vec<Outcome>), ControllerError> {
    let mut count = BTreeMap::<(i8, &str), usize>::new();
    for (type_, name, _) in resources.clone() {
        *count.entry((type_, name)).or_default() += 1;
    }
    let mut outcomes = Vec::new();
    let mut records = Vec::new();
    let mut reported = BTreeSet::new();
    for (code, name, configs) in resources {
        let is_double = count.get(&(code, name)).is_some_and(|n| *n > 1);
        if is_double && !reported.insert((code, name)) {
            continue;
        }
        let altered = known_type(code).and_then(|type_| {
            if is_double {
                return Err(ControllerError::new(ErrorCode::InvalidRequest, "Duplicate resource."));
            }
            let resource = ConfigResource { type_: metadata::ResourceType(code), name: name.to_owned() };
            let changes = change(type_, &props(ctx.head, &resource), configs)?;
            change_records(ctx, type_, &resource, &changes, false)
        });
        let (error_code, error_message) = match altered {
            Ok(new) => {
                records.extend(new);
                (0, None)
            }
            Err(error) => (error.code.code(), Some(error.text())),
        };
        outcomes.push((code, name.to_owned(), error_code, error_message));
    }
    check_size(&records)?;
    records.extend(clear_elr_records(ctx, &records));
    if validate_only {
        records.clear();
    }
    Ok((records, outcomes))
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
