//! Altering stored configs: what IncrementalAlterConfigs and AlterConfigs turn into, and what the controller accepts.
//! Counterpart: ConfigurationControlManager and ControllerConfigurationValidator; the broker's own step is ConfigAdminManager.

use crate::{BrokerConfig, ConfigDef, ConfigError, Props, Type, broker, client_metrics, group, topic};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResourceType {
    Topic = 2,
    Broker = 4,
    BrokerLogger = 8,
    ClientMetrics = 16,
    Group = 32,
}

impl ResourceType {
    pub fn from_code(code: i8) -> Option<Self> {
        Some(match code {
            2 => Self::Topic,
            4 => Self::Broker,
            8 => Self::BrokerLogger,
            16 => Self::ClientMetrics,
            32 => Self::Group,
            _ => return None,
        })
    }

    pub fn code(self) -> i8 {
        self as i8
    }

    /// The table of this type's keys; loggers have none.
    pub fn def(self) -> Option<&'static ConfigDef> {
        match self {
            Self::Topic => Some(topic::def()),
            Self::Broker => Some(broker::def()),
            Self::ClientMetrics => Some(client_metrics::def()),
            Self::Group => Some(group::def()),
            Self::BrokerLogger => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Set = 0,
    Delete = 1,
    Append = 2,
    Subtract = 3,
}

impl Op {
    pub fn from_code(code: i8) -> Option<Self> {
        [Self::Set, Self::Delete, Self::Append, Self::Subtract].into_iter().find(|op| *op as i8 == code)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alteration {
    pub name: String,
    pub op: Op,
    /// `None` only for Delete; handlers refuse it elsewhere.
    pub value: Option<String>,
}

/// (name, new value or deletion), one ConfigRecord each.
pub type Changes = Vec<(String, Option<String>)>;

/// The largest value a ConfigRecord may carry, in UTF-16 units as Java counts them.
const VALUE_SIZE_MAX: usize = 32767;

/// The records that incremental alterations of one resource come to. Unchanged values write nothing, except for brokers, which reload files on it.
pub fn incremental(resource: ResourceType, current: &Props, alterations: &[Alteration]) -> Result<Changes, ConfigError> {
    let mut changes = Changes::new();
    for Alteration { name, op, value } in alterations {
        let old = current.get(name);
        let new = match op {
            Op::Set => value.clone(),
            Op::Delete => None,
            Op::Append | Op::Subtract => {
                let key = resource.def().and_then(|def| def.get(name));
                if key.is_none_or(|key| key.type_ != Type::List) {
                    let op = if *op == Op::Append { "APPEND" } else { "SUBTRACT" };
                    return Err(ConfigError::Conflict(format!("Can't {op} to key {name} because its type is not LIST.")));
                }
                let base = old.cloned().or_else(|| key.and_then(|key| key.default.to_text())).unwrap_or_default();
                let mut parts: Vec<&str> = base.split(',').filter(|part| !part.is_empty()).collect();
                for item in java_split(value.as_deref().unwrap_or_default()) {
                    let at = parts.iter().position(|part| *part == item);
                    match (op, at) {
                        (Op::Append, None) => parts.push(item),
                        (Op::Subtract, Some(at)) => drop(parts.remove(at)),
                        _ => {}
                    }
                }
                Some(parts.join(","))
            }
        };
        push_change(&mut changes, resource, name, old, new);
    }
    Ok(changes)
}

/// The records that the older AlterConfigs comes to: all configs of the resource are replaced by these.
pub fn replace(resource: ResourceType, current: &Props, configs: &[(String, Option<String>)]) -> Changes {
    let mut changes = Changes::new();
    for (name, value) in configs {
        push_change(&mut changes, resource, name, current.get(name), value.clone());
    }
    for name in current.keys().filter(|name| !configs.iter().any(|(set, _)| set == *name)) {
        changes.push((name.clone(), None));
    }
    changes
}

fn push_change(changes: &mut Changes, resource: ResourceType, name: &str, old: Option<&String>, new: Option<String>) {
    if old != new.as_ref() || resource == ResourceType::Broker {
        changes.push((name.to_owned(), new));
    }
}

/// String.split(","): trailing empty parts do not count.
fn java_split(text: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = text.split(',').collect();
    while parts.len() > 1 && parts.last().is_some_and(|part| part.is_empty()) {
        parts.pop();
    }
    parts
}

/// `current` after the changes.
pub fn apply(current: &Props, changes: &Changes) -> Props {
    let mut props = current.clone();
    for (name, value) in changes {
        match value {
            Some(value) => props.insert(name.clone(), value.clone()),
            None => props.remove(name),
        };
    }
    props
}

/// While eligible leader replicas are enabled, min.insync.replicas of brokers stands for the whole cluster and must stay set.
pub fn check_min_insync_replicas(resource: ResourceType, name: &str, changes: &Changes) -> Result<(), ConfigError> {
    let change = changes.iter().find(|(key, _)| key == "min.insync.replicas");
    match change {
        Some(_) if resource == ResourceType::Broker && !name.is_empty() => {
            Err(ConfigError::Conflict("Broker-level min.insync.replicas cannot be altered while ELR is enabled.".to_owned()))
        }
        Some((_, None)) if resource == ResourceType::Broker => {
            Err(ConfigError::Conflict("Cluster-level min.insync.replicas cannot be removed while ELR is enabled.".to_owned()))
        }
        _ => Ok(()),
    }
}

/// The controller's check of one resource: may `changes` be made? That the resource exists is for the caller to check.
pub fn validate(resource: ResourceType, name: &str, broker: &BrokerConfig, current: &Props, changes: &Changes) -> Result<(), ConfigError> {
    if changes.iter().any(|(_, value)| value.as_ref().is_some_and(|v| v.encode_utf16().count() > VALUE_SIZE_MAX)) {
        let message =
            format!("The configuration value cannot be added because it exceeds the maximum value size of {VALUE_SIZE_MAX} bytes.");
        return Err(ConfigError::Conflict(message));
    }
    let all = apply(current, changes);
    match resource {
        ResourceType::Topic => {
            validate_topic_name(name)?;
            topic::validate(broker, current, &all)
        }
        ResourceType::Broker => validate_broker_name(name),
        ResourceType::ClientMetrics => client_metrics::validate(name, &all),
        ResourceType::Group if name.is_empty() => Err(ConfigError::Request("Default group resources are not allowed.".to_owned())),
        ResourceType::Group => group::validate(broker, &all),
        ResourceType::BrokerLogger => Err(ConfigError::Request("Unknown resource type BROKER_LOGGER".to_owned())),
    }
}

fn validate_topic_name(name: &str) -> Result<(), ConfigError> {
    if name.is_empty() {
        return Err(ConfigError::Request("Default topic resources are not allowed.".to_owned()));
    }
    topic::validate_name(name)
}

fn validate_broker_name(name: &str) -> Result<(), ConfigError> {
    if name.is_empty() {
        return Ok(());
    }
    match name.parse::<i32>() {
        Ok(0..) => Ok(()),
        Ok(_) => Err(ConfigError::Request("Invalid negative broker ID.".to_owned())),
        Err(_) => Err(ConfigError::Request("Unable to parse broker name as a base 10 number.".to_owned())),
    }
}

/// The broker's own step before it passes an alteration of its configs on: the properties that would result, to be checked by
/// `Layers::validate_change`.
pub fn prepare_broker_props(current: &Props, alterations: &[Alteration]) -> Result<Props, ConfigError> {
    let mut props = current.clone();
    for Alteration { name, op, value } in alterations {
        let value = value.as_deref().unwrap_or_default();
        if let Op::Append | Op::Subtract = op {
            let word = if *op == Op::Append { "append" } else { "subtract" };
            match broker::def().get(name).filter(|key| !key.dynamic_only) {
                None => return Err(ConfigError::Conflict(format!("Unknown config name: {name}"))),
                Some(key) if key.type_ != Type::List => {
                    return Err(ConfigError::Conflict(format!("Config value {word} is not allowed for config key: {name}")));
                }
                Some(_) => {}
            }
        }
        match op {
            Op::Set => drop(props.insert(name.clone(), value.to_owned())),
            Op::Delete => drop(props.remove(name)),
            Op::Append | Op::Subtract => {
                let alteration = Alteration { name: name.clone(), op: *op, value: Some(value.to_owned()) };
                props = apply(&props, &incremental(ResourceType::Broker, &props, &[alteration])?);
            }
        }
    }
    Ok(props)
}
