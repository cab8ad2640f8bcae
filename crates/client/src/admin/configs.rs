//! Owns: config calls — describe, incremental alter, list resources.

use super::{Admin, Route};
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use wire::messages::describe_configs_request::DescribeConfigsResource;
use wire::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use wire::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest, ListConfigResourcesRequest};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i8)]
pub enum ConfigResourceType {
    Topic = 2,
    Broker = 4,
    BrokerLogger = 8,
    ClientMetrics = 16,
    Group = 32,
}

impl ConfigResourceType {
    pub fn from_code(code: i8) -> Option<Self> {
        [Self::Topic, Self::Broker, Self::BrokerLogger, Self::ClientMetrics, Self::Group].into_iter().find(|kind| *kind as i8 == code)
    }
}

/// A broker's name is its id, empty for the cluster-wide default.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConfigResource {
    pub kind: ConfigResourceType,
    pub name: String,
}

impl ConfigResource {
    pub fn new(kind: ConfigResourceType, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }

    pub fn topic(name: impl Into<String>) -> Self {
        Self::new(ConfigResourceType::Topic, name)
    }

    /// Broker and logger configs are kept by the broker they are about; the rest any broker can tell or change.
    fn route(&self) -> Route {
        match (self.kind, self.name.parse()) {
            (ConfigResourceType::Broker | ConfigResourceType::BrokerLogger, Ok(id)) => Route::Node(id),
            _ => Route::Any,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    pub name: String,
    /// None for sensitive values.
    pub value: Option<String>,
    pub read_only: bool,
    /// Kafka's `ConfigSource` code: 1 topic, 2 dynamic broker, 3 dynamic default, 4 static, 5 default, 6 logger, 7 client metrics, 8 group.
    pub source: i8,
    pub sensitive: bool,
    pub synonyms: Vec<ConfigSynonym>,
    /// Kafka's `ConfigType` code.
    pub config_type: i8,
    pub documentation: Option<String>,
}

impl ConfigEntry {
    pub fn is_default(&self) -> bool {
        self.source == 5
    }

    /// Kafka's name of the source, such as `DYNAMIC_TOPIC_CONFIG`.
    pub fn source_name(&self) -> &'static str {
        source_name(self.source)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSynonym {
    pub name: String,
    pub value: Option<String>,
    pub source: i8,
}

impl ConfigSynonym {
    pub fn source_name(&self) -> &'static str {
        source_name(self.source)
    }
}

fn source_name(source: i8) -> &'static str {
    match source {
        1 => "DYNAMIC_TOPIC_CONFIG",
        2 => "DYNAMIC_BROKER_CONFIG",
        3 => "DYNAMIC_DEFAULT_BROKER_CONFIG",
        4 => "STATIC_BROKER_CONFIG",
        5 => "DEFAULT_CONFIG",
        6 => "DYNAMIC_BROKER_LOGGER_CONFIG",
        7 => "DYNAMIC_CLIENT_METRICS_CONFIG",
        8 => "DYNAMIC_GROUP_CONFIG",
        _ => "UNKNOWN",
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum OpType {
    Set = 0,
    Delete = 1,
    Append = 2,
    Subtract = 3,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterConfigOp {
    pub name: String,
    pub value: Option<String>,
    pub op: OpType,
}

impl AlterConfigOp {
    pub fn set(name: impl Into<String>, value: impl ToString) -> Self {
        Self { name: name.into(), value: Some(value.to_string()), op: OpType::Set }
    }

    pub fn delete(name: impl Into<String>) -> Self {
        Self { name: name.into(), value: None, op: OpType::Delete }
    }
}

/// Groups what goes to the same broker into one request.
fn by_route<T>(items: Vec<(ConfigResource, T)>) -> Vec<(Route, Vec<(ConfigResource, T)>)> {
    let mut groups: BTreeMap<Option<i32>, Vec<(ConfigResource, T)>> = BTreeMap::new();
    for (resource, item) in items {
        let key = match resource.route() {
            Route::Node(id) => Some(id),
            _ => None,
        };
        groups.entry(key).or_default().push((resource, item));
    }
    groups.into_iter().map(|(key, group)| (key.map_or(Route::Any, Route::Node), group)).collect()
}

fn resource(code: i8, name: String) -> Option<ConfigResource> {
    Some(ConfigResource { kind: ConfigResourceType::from_code(code)?, name })
}

impl Admin {
    pub async fn describe_configs(
        &self,
        resources: Vec<ConfigResource>,
        include_synonyms: bool,
        include_documentation: bool,
    ) -> Result<Vec<(ConfigResource, Result<Vec<ConfigEntry>>)>> {
        let mut results = Vec::new();
        for (route, group) in by_route(resources.into_iter().map(|resource| (resource, ())).collect()) {
            let resources = group.iter().map(|(resource, ())| DescribeConfigsResource {
                resource_type: resource.kind as i8,
                resource_name: resource.name.clone(),
                configuration_keys: None,
                ..Default::default()
            });
            let request =
                DescribeConfigsRequest { resources: resources.collect(), include_synonyms, include_documentation, ..Default::default() };
            let response = self.call(route, request, |_| 0).await?;
            for result in response.results {
                let Some(resource) = resource(result.resource_type, result.resource_name) else { continue };
                let entries = result.configs.into_iter().map(|config| ConfigEntry {
                    name: config.name,
                    value: config.value,
                    read_only: config.read_only,
                    source: config.config_source,
                    sensitive: config.is_sensitive,
                    synonyms: config
                        .synonyms
                        .into_iter()
                        .map(|synonym| ConfigSynonym { name: synonym.name, value: synonym.value, source: synonym.source })
                        .collect(),
                    config_type: config.config_type,
                    documentation: config.documentation,
                });
                let entries = Error::check(result.error_code, result.error_message).map(|()| entries.collect());
                results.push((resource, entries));
            }
        }
        Ok(results)
    }

    pub async fn incremental_alter_configs(
        &self,
        changes: Vec<(ConfigResource, Vec<AlterConfigOp>)>,
        validate_only: bool,
    ) -> Result<Vec<(ConfigResource, Result<()>)>> {
        let mut results = Vec::new();
        for (route, group) in by_route(changes) {
            let resources = group.into_iter().map(|(resource, ops)| AlterConfigsResource {
                resource_type: resource.kind as i8,
                resource_name: resource.name,
                configs: ops
                    .into_iter()
                    .map(|op| AlterableConfig { name: op.name, config_operation: op.op as i8, value: op.value, ..Default::default() })
                    .collect(),
                ..Default::default()
            });
            let request = IncrementalAlterConfigsRequest { resources: resources.collect(), validate_only, ..Default::default() };
            let not_controller = wire::ErrorCode::NotController.code();
            let response = self
                .call(route, request, |response| {
                    response.responses.iter().map(|result| result.error_code).find(|code| *code == not_controller).unwrap_or(0)
                })
                .await?;
            for result in response.responses {
                let Some(resource) = resource(result.resource_type, result.resource_name) else { continue };
                results.push((resource, Error::check(result.error_code, result.error_message)));
            }
        }
        Ok(results)
    }

    /// Resources that have configs; an empty list of kinds asks for all.
    pub async fn list_config_resources(&self, kinds: &[ConfigResourceType]) -> Result<Vec<ConfigResource>> {
        let resource_types = kinds.iter().map(|kind| *kind as i8).collect();
        let request = ListConfigResourcesRequest { resource_types, ..Default::default() };
        let response = self.call(Route::Any, request, |response| response.error_code).await?;
        Error::check(response.error_code, None)?;
        Ok(response.config_resources.into_iter().filter_map(|found| resource(found.resource_type, found.resource_name)).collect())
    }
}
