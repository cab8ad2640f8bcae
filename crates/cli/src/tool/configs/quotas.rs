//! Quotas of users, clients and addresses, and the names of users' credentials.

use std::collections::BTreeMap;

use client::Admin;
use wire::ErrorCode;
use wire::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use wire::messages::describe_client_quotas_request::ComponentData;
use wire::messages::describe_user_scram_credentials_request::UserName;
use wire::messages::{AlterClientQuotasRequest, DescribeClientQuotasRequest, DescribeUserScramCredentialsRequest};

use super::resources::refused;
use super::{Changes, Entities};
use crate::args::java_double;
use crate::failure::Failure;
use crate::java::{hash_map_order, string_hash};
use crate::out::say;

const CLIENT_QUOTAS: [&str; 4] = ["producer_byte_rate", "consumer_byte_rate", "request_percentage", "controller_mutation_rate"];
const IP_QUOTA: &str = "connection_creation_rate";

fn entity_type(kind: &str) -> &'static str {
    match kind {
        "users" => "user",
        "clients" => "client-id",
        _ => "ip",
    }
}

/// Entity type and name (None: the default), in the broker's order, with the quotas by name.
type Quotas = Vec<(Vec<(String, Option<String>)>, BTreeMap<String, f64>)>;

async fn quotas(admin: &Admin, entities: &Entities) -> Result<Quotas, Failure> {
    if entities.names.len() > entities.types.len() {
        return Err(Failure::new("More entity names specified than entity types"));
    }
    let component = |(i, kind): (usize, &String)| {
        // 0 is this name, 1 the default, 2 any.
        let (match_type, name) = match entities.names.get(i).map(String::as_str) {
            None => (2, None),
            Some("") => (1, None),
            Some(name) => (0, Some(name.to_owned())),
        };
        ComponentData { entity_type: entity_type(kind).to_owned(), match_type, match_: name, ..Default::default() }
    };
    let request = DescribeClientQuotasRequest {
        components: entities.types.iter().enumerate().map(component).collect(),
        strict: true,
        ..Default::default()
    };
    let response = admin.any(request).await.map_err(refused)?;
    if response.error_code != 0 {
        return Err(refused(client::Error::broker(ErrorCode::from_code(response.error_code), response.error_message)));
    }
    let entries = response.entries.unwrap_or_default().into_iter().map(|entry| {
        let entity = entry.entity.into_iter().map(|part| (part.entity_type, part.entity_name)).collect();
        (entity, entry.values.into_iter().map(|value| (value.key, value.value)).collect())
    });
    Ok(entries.collect())
}

/// `ClientQuotaEntity.hashCode`
fn entity_hash(entity: &[(String, Option<String>)]) -> i32 {
    let part = |(kind, name): &(String, Option<String>)| string_hash(kind) ^ name.as_deref().map_or(0, string_hash);
    entity.iter().fold(31, |hash, entry| hash.wrapping_add(part(entry)))
}

pub async fn describe(admin: &Admin, entities: &Entities) -> Result<(), Failure> {
    let found = {
        let found = quotas(admin, entities).await?;
        let count = found.len();
        hash_map_order(found, count, |(entity, _)| entity_hash(entity))
    };
    for (entity, values) in found {
        let part = |kind: &str, shown: &str| {
            let (_, name) = entity.iter().find(|(found, _)| found == kind)?;
            Some(name.as_ref().map_or(format!("the default {shown}"), |name| format!("{shown} '{name}'")))
        };
        let parts: Vec<String> = [("user", "user-principal"), ("client-id", "client-id"), ("ip", "ip")]
            .iter()
            .filter_map(|(kind, shown)| part(kind, shown))
            .collect();
        let values = hash_map_order(values.into_iter().collect(), 16, |(key, _)| string_hash(key));
        let values: Vec<String> = values.iter().map(|(key, value)| format!("{key}={}", java_double(*value))).collect();
        say!("Quota configs for {} are {}", parts.join(", "), values.join(", "));
    }
    Ok(())
}

/// Mechanisms and iterations of users' credentials, unless clients or defaults are asked for.
pub async fn describe_credentials(admin: &Admin, entities: &Entities) -> Result<(), Failure> {
    if entities.has("clients") || entities.names.iter().any(String::is_empty) {
        return Ok(());
    }
    let users = entities.names.iter().map(|name| UserName { name: name.clone(), ..Default::default() }).collect();
    let request = DescribeUserScramCredentialsRequest { users: Some(users), ..Default::default() };
    let response = admin.any(request).await.map_err(refused)?;
    if response.error_code != 0 {
        return Err(refused(client::Error::broker(ErrorCode::from_code(response.error_code), response.error_message)));
    }
    for user in response.results.into_iter().filter(|user| user.error_code == 0) {
        let mechanism = |code: i8| if code == 1 { "SCRAM-SHA-256" } else { "SCRAM-SHA-512" };
        let infos: Vec<String> =
            user.credential_infos.iter().map(|info| format!("{}=iterations={}", mechanism(info.mechanism), info.iterations)).collect();
        say!("SCRAM credential configs for user-principal '{}' are {}", user.user, infos.join(", "));
    }
    Ok(())
}

/// `QuotaConfig.isClientOrUserQuotaConfig`
pub fn is_client_quota(key: &str) -> bool {
    CLIENT_QUOTAS.contains(&key)
}

pub async fn alter_ips(admin: &Admin, entities: &Entities, changes: &Changes) -> Result<(), Failure> {
    let keys = changes.add.keys().chain(&changes.delete);
    let unknown: Vec<&str> = keys.filter(|key| *key != IP_QUOTA).map(String::as_str).collect();
    if !unknown.is_empty() {
        return Err(Failure::new(format!(
            "Only connection quota configs can be added for 'ips' using --bootstrap-server. Unexpected config names: {}",
            unknown.join(",")
        )));
    }
    alter(admin, entities, changes).await
}

pub async fn alter(admin: &Admin, entities: &Entities, changes: &Changes) -> Result<(), Failure> {
    if entities.names.len() != entities.types.len() {
        return Err(Failure::new("Exactly one entity name must be specified for every entity type"));
    }
    let current: BTreeMap<String, f64> = quotas(admin, entities).await?.into_iter().next().map(|(_, values)| values).unwrap_or_default();
    let missing: Vec<&str> = changes.delete.iter().filter(|key| !current.contains_key(*key)).map(String::as_str).collect();
    if !missing.is_empty() {
        return Err(Failure::new(format!("Invalid config(s): {}", missing.join(","))));
    }
    let mut ops: Vec<OpData> =
        changes.delete.iter().map(|key| OpData { key: key.clone(), value: 0.0, remove: true, ..Default::default() }).collect();
    for (key, text) in &changes.add {
        let value = text.parse().map_err(|_| Failure::new(format!("Cannot parse quota configuration value for {key}: {text}")))?;
        ops.push(OpData { key: key.clone(), value, remove: false, ..Default::default() });
    }
    let part = |(kind, name): (&String, &String)| EntityData {
        entity_type: entity_type(kind).to_owned(),
        entity_name: Some(name.clone()).filter(|name| !name.is_empty()),
        ..Default::default()
    };
    let entry = EntryData { entity: entities.types.iter().zip(&entities.names).map(part).collect(), ops, ..Default::default() };
    let request = AlterClientQuotasRequest { entries: vec![entry], validate_only: false, ..Default::default() };
    let response = admin.any(request).await.map_err(refused)?;
    match response.entries.into_iter().find(|entry| entry.error_code != 0) {
        Some(entry) => Err(refused(client::Error::broker(ErrorCode::from_code(entry.error_code), entry.error_message))),
        None => Ok(()),
    }
}
