//! IncrementalAlterConfigs and the older AlterConfigs. The broker checks what only it can know (its own configs, its loggers) and passes the rest on to
//! the controller; the answer puts both together in the order of the request.

use super::{layers, loggers};
use crate::Broker;
use crate::answer::Handled;
use crate::context::Context;
use config::alter::{Alteration, Op, ResourceType, prepare_broker_props};
use config::{ConfigError, Props};
use controller::ControllerError;
use metadata::Image;
use std::collections::{BTreeMap, BTreeSet};
use wire::ErrorCode;
use wire::messages::{
    AlterConfigsRequest, AlterConfigsResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, alter_configs_response,
    incremental_alter_configs_response,
};

/// One resource of either request.
struct Resource {
    type_: i8,
    name: String,
    /// With the code of the operation as it was sent; `None` where nobody knows it.
    ops: Vec<(i8, Option<Alteration>)>,
    keys: Vec<String>,
    nulls: Vec<String>,
}

/// Error code and message; NONE has no message.
type Outcome = (i16, Option<String>);
type Key = (i8, String);

pub(in crate::handle) fn incremental_alter(c: &mut Context, mut request: IncrementalAlterConfigsRequest) -> Handled {
    let resources: Vec<Resource> = request
        .resources
        .iter()
        .map(|resource| {
            let op = |code: i8, name: &str, value: &Option<String>| {
                Op::from_code(code).map(|op| Alteration { name: name.to_owned(), op, value: value.clone() })
            };
            let is_null = |code: i8, value: &Option<String>| value.is_none() && code != Op::Delete as i8;
            let configs = &resource.configs;
            Resource {
                type_: resource.resource_type,
                name: resource.resource_name.clone(),
                ops: configs.iter().map(|a| (a.config_operation, op(a.config_operation, &a.name, &a.value))).collect(),
                keys: configs.iter().map(|a| a.name.clone()).collect(),
                nulls: configs.iter().filter(|a| is_null(a.config_operation, &a.value)).map(|a| a.name.clone()).collect(),
            }
        })
        .collect();
    let mut outcomes = preprocess(c, &resources, false, request.validate_only);
    let order: Vec<Key> = resources.into_iter().map(|r| (r.type_, r.name)).collect();
    request.resources.retain(|r| !outcomes.contains_key(&(r.resource_type, r.resource_name.clone())));
    if request.resources.is_empty() {
        return c.answer(&incremental_response(&order, &outcomes));
    }
    let timeout_ms = c.broker.config().request_timeout_ms;
    c.ask_controller(request, timeout_ms, move |_, answer: Result<IncrementalAlterConfigsResponse, ControllerError>| {
        let answer = answer.map(|r| r.responses.into_iter().map(|r| ((r.resource_type, r.resource_name), (r.error_code, r.error_message))));
        add_answer(&mut outcomes, &order, answer);
        incremental_response(&order, &outcomes)
    })
}

pub(in crate::handle) fn alter(c: &mut Context, mut request: AlterConfigsRequest) -> Handled {
    let resources: Vec<Resource> = request
        .resources
        .iter()
        .map(|resource| {
            let set = |name: &str, value: &Option<String>| Alteration { name: name.to_owned(), op: Op::Set, value: value.clone() };
            let configs = &resource.configs;
            Resource {
                type_: resource.resource_type,
                name: resource.resource_name.clone(),
                ops: configs.iter().map(|a| (Op::Set as i8, Some(set(&a.name, &a.value)))).collect(),
                keys: configs.iter().map(|a| a.name.clone()).collect(),
                nulls: configs.iter().filter(|a| a.value.is_none()).map(|a| a.name.clone()).collect(),
            }
        })
        .collect();
    let mut outcomes = preprocess(c, &resources, true, request.validate_only);
    let order: Vec<Key> = resources.into_iter().map(|r| (r.type_, r.name)).collect();
    request.resources.retain(|r| !outcomes.contains_key(&(r.resource_type, r.resource_name.clone())));
    if request.resources.is_empty() {
        return c.answer(&legacy_response(&order, &outcomes));
    }
    let timeout_ms = c.broker.config().request_timeout_ms;
    c.ask_controller(request, timeout_ms, move |_, answer: Result<AlterConfigsResponse, ControllerError>| {
        let answer = answer.map(|r| r.responses.into_iter().map(|r| ((r.resource_type, r.resource_name), (r.error_code, r.error_message))));
        add_answer(&mut outcomes, &order, answer);
        legacy_response(&order, &outcomes)
    })
}

/// What can be decided here: refusals, and loggers, which are altered at once. The resources that are left out go to the controller.
fn preprocess(c: &Context, resources: &[Resource], replace: bool, validate_only: bool) -> BTreeMap<Key, Outcome> {
    let mut outcomes = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for resource in resources {
        if !seen.insert((resource.type_, &resource.name)) {
            let once = "Each resource must appear at most once.".to_owned();
            outcomes.insert((resource.type_, resource.name.clone()), outcome(Err(ConfigError::Request(once))));
        }
    }
    for resource in resources {
        let key = (resource.type_, resource.name.clone());
        if !outcomes.contains_key(&key)
            && let Some(result) = preprocess_one(c.broker, &c.image, resource, replace, validate_only)
        {
            outcomes.insert(key, outcome(result));
        }
    }
    outcomes
}

fn outcome(result: Result<(), ConfigError>) -> Outcome {
    match result {
        Ok(()) => (0, None),
        Err(error) => (error.error_code(), Some(error.to_string())),
    }
}

/// `None` is for the controller to decide.
fn preprocess_one(
    broker: &Broker,
    image: &Image,
    resource: &Resource,
    replace: bool,
    validate_only: bool,
) -> Option<Result<(), ConfigError>> {
    let refuse = |message: String| Some(Err(ConfigError::Request(message)));
    if resource.keys.iter().collect::<BTreeSet<_>>().len() < resource.keys.len() {
        return refuse("Error due to duplicate config keys".to_owned());
    }
    if !resource.nulls.is_empty() {
        return refuse(format!("Null value not supported for : {}", resource.nulls.join(", ")));
    }
    match ResourceType::from_code(resource.type_) {
        Some(ResourceType::BrokerLogger) if !replace => Some(loggers::alter(broker, &resource.name, &resource.ops, validate_only)),
        Some(ResourceType::Broker) => check_broker_change(broker, image, resource, replace).err().map(Err),
        Some(ResourceType::Topic | ResourceType::ClientMetrics | ResourceType::Group) => None,
        Some(ResourceType::BrokerLogger) | None => refuse(format!("Unknown resource type {}", resource.type_)),
    }
}

/// Only the broker itself can tell whether it could run with the changed configs.
fn check_broker_change(broker: &Broker, image: &Image, resource: &Resource, replace: bool) -> Result<(), ConfigError> {
    let name = &resource.name;
    if !name.is_empty() {
        let expected = broker.id();
        match name.parse::<i32>() {
            Ok(id) if id == expected => {}
            Ok(_) => return Err(ConfigError::Request(format!("Unexpected broker id, expected {expected}, but received {name}"))),
            Err(_) => return Err(ConfigError::Request(format!("Node id must be an integer, but it is: {name}"))),
        }
    }
    let mut alterations = Vec::with_capacity(resource.ops.len());
    for (code, alteration) in &resource.ops {
        let unknown = || ConfigError::Request(format!("Unknown operations type {code}"));
        alterations.push(alteration.clone().ok_or_else(unknown)?);
    }
    let layers = layers(broker, image);
    let current = match (replace, name.is_empty()) {
        (true, _) => Props::new(),
        (false, true) => layers.cluster.clone(),
        (false, false) => layers.broker.clone(),
    };
    let changed = prepare_broker_props(&current, &alterations)?;
    layers.validate_change(&broker.config(), &changed, !name.is_empty())
}

/// The controller's answer beside what was decided here; a resource it said nothing about has failed.
fn add_answer(outcomes: &mut BTreeMap<Key, Outcome>, order: &[Key], answer: Result<impl Iterator<Item = (Key, Outcome)>, ControllerError>) {
    let missing = match answer {
        Ok(answers) => {
            outcomes.extend(answers);
            (ErrorCode::UnknownServerError.code(), None)
        }
        Err(error) => (error.code.code(), Some(error.text())),
    };
    for key in order {
        outcomes.entry(key.clone()).or_insert_with(|| missing.clone());
    }
}

fn incremental_response(order: &[Key], outcomes: &BTreeMap<Key, Outcome>) -> IncrementalAlterConfigsResponse {
    let response = |key: &Key| {
        let (error_code, error_message) = outcomes.get(key).cloned().unwrap_or_default();
        incremental_alter_configs_response::AlterConfigsResourceResponse {
            error_code,
            error_message,
            resource_type: key.0,
            resource_name: key.1.clone(),
            ..Default::default()
        }
    };
    IncrementalAlterConfigsResponse { responses: order.iter().map(response).collect(), ..Default::default() }
}

fn legacy_response(order: &[Key], outcomes: &BTreeMap<Key, Outcome>) -> AlterConfigsResponse {
    let response = |key: &Key| {
        let (error_code, error_message) = outcomes.get(key).cloned().unwrap_or_default();
        alter_configs_response::AlterConfigsResourceResponse {
            error_code,
            error_message,
            resource_type: key.0,
            resource_name: key.1.clone(),
            ..Default::default()
        }
    };
    AlterConfigsResponse { responses: order.iter().map(response).collect(), ..Default::default() }
}
