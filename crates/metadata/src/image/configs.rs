//! Configs that are stored in the metadata log, by resource. Kafka: `ConfigurationsImage`, `ConfigResource`.

use imbl::OrdMap;

/// Kafka's ids of resource types that can carry configs; others are kept by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceType(pub i8);

impl ResourceType {
    pub const UNKNOWN: ResourceType = ResourceType(0);
    pub const TOPIC: ResourceType = ResourceType(2);
    pub const BROKER: ResourceType = ResourceType(4);
    pub const BROKER_LOGGER: ResourceType = ResourceType(8);
    pub const CLIENT_METRICS: ResourceType = ResourceType(16);
    pub const GROUP: ResourceType = ResourceType(32);

    pub fn name(self) -> &'static str {
        match self {
            Self::TOPIC => "TOPIC",
            Self::BROKER => "BROKER",
            Self::BROKER_LOGGER => "BROKER_LOGGER",
            Self::CLIENT_METRICS => "CLIENT_METRICS",
            Self::GROUP => "GROUP",
            _ => "UNKNOWN",
        }
    }
}

/// `name` is "" for the default of all brokers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigResource {
    pub type_: ResourceType,
    pub name: String,
}

impl ConfigResource {
    pub fn topic(name: impl Into<String>) -> Self {
        ConfigResource { type_: ResourceType::TOPIC, name: name.into() }
    }

    pub fn broker(id: i32) -> Self {
        ConfigResource { type_: ResourceType::BROKER, name: id.to_string() }
    }

    pub fn default_broker() -> Self {
        ConfigResource { type_: ResourceType::BROKER, name: String::new() }
    }

    pub fn group(name: impl Into<String>) -> Self {
        ConfigResource { type_: ResourceType::GROUP, name: name.into() }
    }
}

pub type ConfigMap = OrdMap<String, String>;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Configs {
    resources: OrdMap<ConfigResource, ConfigMap>,
}

impl Configs {
    /// The entries stored for a resource; empty when there are none.
    pub fn get(&self, resource: &ConfigResource) -> ConfigMap {
        self.resources.get(resource).cloned().unwrap_or_default()
    }

    pub fn value(&self, resource: &ConfigResource, key: &str) -> Option<&String> {
        self.resources.get(resource)?.get(key)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&ConfigResource, &ConfigMap)> {
        self.resources.iter()
    }

    pub(crate) fn set(&mut self, resource: &ConfigResource, key: &str, value: Option<&String>) {
        let mut map = self.get(resource);
        match value {
            Some(value) => map.insert(key.to_owned(), value.clone()),
            None => map.remove(key),
        };
        if map.is_empty() {
            self.resources.remove(resource);
        } else {
            self.resources.insert(resource.clone(), map);
        }
    }

    pub(crate) fn remove(&mut self, resource: &ConfigResource) -> bool {
        self.resources.remove(resource).is_some()
    }
}
