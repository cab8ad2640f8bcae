//! Configs of topics, brokers, broker loggers, client metrics subscriptions and groups.

use client::Admin;
use client::admin::{AlterConfigOp, ConfigEntry, ConfigResource, ConfigResourceType, ListGroupsOptions};
use wire::ErrorCode;

use super::{Changes, singular};
use crate::failure::Failure;
use crate::java::{exception_text, hash_map_order, string_hash};
use crate::out::say;

/// As `processCommand` fails when a broker refuses.
pub fn refused(error: client::Error) -> Failure {
    Failure::Refused(format!("java.util.concurrent.ExecutionException: {}", exception_text(&error)))
}

/// What Kafka tells users of clusters older than 2.3.
const TOO_OLD: &str = "The INCREMENTAL_ALTER_CONFIGS API is not supported by the cluster. The API is supported starting from version 2.3.0. You may \
                       want to use an older version of this tool to interact with your cluster, or upgrade your brokers to version 2.3.0 or newer \
                       to avoid this error.";

/// `Topic.validate`
fn check_topic_name(name: &str) -> Result<(), Failure> {
    let bad = |text: String| Err(Failure::new(text));
    let is_known = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    match name {
        "" => bad("Topic name is invalid: the empty string is not allowed".to_owned()),
        "." => bad("Topic name is invalid: '.' is not allowed".to_owned()),
        ".." => bad("Topic name is invalid: '..' is not allowed".to_owned()),
        name if name.len() > 249 => bad(format!("Topic name is invalid: the length of '{name}' is longer than the max allowed length 249")),
        name if !name.chars().all(is_known) => {
            bad(format!("Topic name is invalid: '{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"))
        }
        _ => Ok(()),
    }
}

/// The resource type, and the source of the configs that are shown without `--all`; None shows every one.
fn resource_type(kind: &str, name: &str) -> (ConfigResourceType, Option<i8>) {
    match kind {
        "topics" => (ConfigResourceType::Topic, Some(1)),
        "brokers" if name.is_empty() => (ConfigResourceType::Broker, Some(3)),
        "brokers" => (ConfigResourceType::Broker, Some(2)),
        "broker-loggers" => (ConfigResourceType::BrokerLogger, None),
        "client-metrics" => (ConfigResourceType::ClientMetrics, Some(7)),
        _ => (ConfigResourceType::Group, Some(8)),
    }
}

pub async fn describe(admin: &Admin, kind: &str, name: Option<&str>, all: bool) -> Result<(), Failure> {
    if let Some(name) = name.filter(|_| kind == "topics") {
        check_topic_name(name)?;
    }
    let known = known(admin, kind).await?;
    let names = match name {
        Some(name) => {
            if !all && !known.iter().any(|known| known == name) {
                say!("The {} '{name}' doesn't exist and doesn't have dynamic config.", singular(kind));
                return Ok(());
            }
            vec![name.to_owned()]
        }
        None => known,
    };
    for name in names {
        if name.is_empty() {
            say!("Default configs for {kind} in the cluster are:");
        } else {
            say!("{} configs for {} {name} are:", if all { "All" } else { "Dynamic" }, singular(kind));
        }
        for entry in entries(admin, kind, &name, all).await? {
            let synonyms: Vec<String> =
                entry.synonyms.iter().map(|s| format!("{}:{}={}", s.source_name(), s.name, or_null(&s.value))).collect();
            let (value, synonyms) = (or_null(&entry.value), synonyms.join(", "));
            say!("  {}={value} sensitive={} synonyms={{{synonyms}}}", entry.name, entry.sensitive);
        }
    }
    Ok(())
}

fn or_null(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or("null")
}

/// What exists of a kind; for brokers also the default, which has no name.
async fn known(admin: &Admin, kind: &str) -> Result<Vec<String>, Failure> {
    match kind {
        "topics" => {
            let topics = admin.list_topics().await.map_err(refused)?.into_iter().map(|topic| topic.name).collect();
            Ok(hash_map_order(topics, 16, |name: &String| string_hash(name)))
        }
        "brokers" | "broker-loggers" => {
            let nodes = admin.describe_cluster().await.map_err(refused)?.nodes;
            Ok(nodes.into_iter().map(|(node, _)| node.id.to_string()).chain([String::new()]).collect())
        }
        "client-metrics" => listed(admin, ConfigResourceType::ClientMetrics).await,
        _ => {
            let (groups, _) = admin.list_groups(ListGroupsOptions::default()).await.map_err(refused)?;
            let mut names: Vec<String> = groups.into_iter().map(|group| group.group_id).collect();
            names.extend(listed(admin, ConfigResourceType::Group).await?);
            names.sort();
            names.dedup();
            Ok(names)
        }
    }
}

/// Resources of a kind that have configs; none where the broker cannot tell.
async fn listed(admin: &Admin, kind: ConfigResourceType) -> Result<Vec<String>, Failure> {
    match admin.list_config_resources(&[kind]).await {
        Ok(found) => Ok(found.into_iter().map(|resource| resource.name).collect()),
        Err(error) if matches!(error.code(), Some(ErrorCode::UnsupportedVersion | ErrorCode::ClusterAuthorizationFailed)) => Ok(Vec::new()),
        Err(error) => Err(refused(error)),
    }
}

async fn entries(admin: &Admin, kind: &str, name: &str, all: bool) -> Result<Vec<ConfigEntry>, Failure> {
    let (resource, source) = resource_type(kind, name);
    let found = admin.describe_configs(vec![ConfigResource::new(resource, name)], true, false).await.map_err(refused)?;
    let mut entries = Vec::new();
    for (_, described) in found {
        entries.extend(described.map_err(refused)?.into_iter().filter(|entry| all || source.is_none_or(|source| entry.source == source)));
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

pub async fn alter(admin: &Admin, kind: &str, name: &str, changes: &Changes) -> Result<(), Failure> {
    let (resource, _) = resource_type(kind, name);
    if kind == "broker-loggers" {
        let known: Vec<String> = entries(admin, kind, name, true).await?.into_iter().map(|entry| entry.name).collect();
        let unknown: Vec<&str> =
            changes.delete.iter().chain(changes.add.keys()).filter(|key| !known.contains(key)).map(String::as_str).collect();
        if !unknown.is_empty() {
            return Err(Failure::new(format!("Invalid broker logger(s): {}", unknown.join(","))));
        }
    }
    let delete = changes.delete.iter().map(AlterConfigOp::delete);
    let ops = delete.chain(changes.add.iter().map(|(key, value)| AlterConfigOp::set(key, value))).collect();
    let refused = |error: client::Error| match error.code() {
        Some(ErrorCode::UnsupportedVersion) if kind != "broker-loggers" => Failure::new(TOO_OLD),
        _ => refused(error),
    };
    let results = admin.incremental_alter_configs(vec![(ConfigResource::new(resource, name), ops)], false).await.map_err(refused)?;
    results.into_iter().try_for_each(|(_, result)| result).map_err(refused)
}
