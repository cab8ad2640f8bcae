//! Owns: what is configurable. The tables of all broker, topic, group and client-metrics keys of Apache Kafka 4.3.1 (one line a key, in `tables/`),
//! the rules by which values are parsed and checked, the typed `BrokerConfig` and `TopicConfig`, and the answers of DescribeConfigs.
//! Used by: server (server.properties), controller (validation of topics and alterations), broker (config handlers), replica (log settings), cli.
//! Never does: I/O, logging, or acting on a value. Kafka counterpart: ConfigDef, KafkaConfig, LogConfig, GroupConfig, DynamicBrokerConfig, ConfigHelper.

pub mod alter;
pub mod broker;
pub mod client_metrics;
pub mod def;
pub mod describe;
pub mod dynamic;
mod error;
pub mod group;
pub mod listener;
pub mod notice;
pub mod own;
pub mod properties;
mod relations;
pub mod topic;
mod validator;
mod value;

#[cfg(test)]
mod tests;

pub use broker::BrokerConfig;
pub use def::{ConfigDef, ConfigKey, UpdateMode};
pub use dynamic::Layers;
pub use error::ConfigError;
pub use listener::{Endpoint, SecurityProtocol};
pub use own::OwnConfig;
pub use topic::{CompressionType, TimestampType, TopicConfig};
pub use value::{Type, Value};

/// Property names and their raw text, as in a server.properties file or the config records of one resource.
pub type Props = std::collections::BTreeMap<String, String>;
