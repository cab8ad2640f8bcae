//! What the controller takes from configuration, static and dynamic.

use crate::seam::ControllerError;
use config::{BrokerConfig, Layers, Props};
use metadata::image::partition::Partition;
use metadata::{ConfigResource, Image, Listener};
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Settings {
    pub cluster_id: String,
    pub node_id: i32,
    /// A broker with the same id runs in this process.
    pub combined: bool,
    /// The layer of server.properties; dynamic layers come from the image.
    pub layers: Layers,
    pub broker: BrokerConfig,
    /// Own controller listeners, as they are registered.
    pub listeners: Vec<Listener>,
    pub incarnation_id: base::Uuid,
    pub session_timeout: Duration,
    /// How often an idle log gets a NoOp; `None` never.
    pub max_idle_interval: Option<Duration>,
    pub leader_imbalance_check_interval: Option<Duration>,
    pub snapshot_max_new_bytes: u64,
    pub snapshot_max_interval: Option<Duration>,
}

impl Settings {
    /// From parsed server.properties.
    pub fn new(cluster_id: String, layers: Layers, broker: BrokerConfig, listeners: Vec<Listener>, incarnation_id: base::Uuid) -> Settings {
        let millis = |ms: i64| (ms > 0).then(|| Duration::from_millis(ms as u64));
        let seconds = broker.value("leader.imbalance.check.interval.seconds").as_number().unwrap_or(300.0) as i64;
        let balance = broker.value("auto.leader.rebalance.enable").to_text().is_none_or(|text| text != "false");
        Settings {
            cluster_id,
            node_id: broker.node_id,
            combined: broker.is_broker(),
            listeners,
            incarnation_id,
            session_timeout: Duration::from_millis(broker.broker_session_timeout_ms.max(0) as u64),
            max_idle_interval: millis(i64::from(broker.metadata_max_idle_interval_ms)),
            leader_imbalance_check_interval: millis(seconds.saturating_mul(1000)).filter(|_| balance),
            snapshot_max_new_bytes: broker.metadata_log_max_record_bytes_between_snapshots.max(1) as u64,
            snapshot_max_interval: millis(broker.metadata_log_max_snapshot_interval_ms),
            layers,
            broker,
        }
    }

    /// The effective layers of this node under `image`.
    pub fn effective_layers(&self, image: &Image) -> Layers {
        let cluster = props(image, &ConfigResource::default_broker());
        let node = props(image, &ConfigResource::broker(self.node_id));
        self.layers.with_dynamic(&cluster, &node)
    }

    /// The broker configuration with dynamic configs applied; what is static where those do not parse.
    pub fn effective_broker(&self, image: &Image) -> BrokerConfig {
        self.effective_layers(image).config().unwrap_or_else(|_| self.broker.clone())
    }

    /// Effective text of a topic config whose broker key has the same unit: topic, then this node, then cluster, then file or default.
    fn topic_value(&self, image: &Image, topic: &str, topic_key: &str, broker_key: &str) -> String {
        let stored = |resource: ConfigResource, key: &str| image.configs.value(&resource, key).cloned();
        stored(ConfigResource::topic(topic), topic_key)
            .or_else(|| stored(ConfigResource::broker(self.node_id), broker_key))
            .or_else(|| stored(ConfigResource::default_broker(), broker_key))
            .or_else(|| self.broker.value(broker_key).to_text())
            .unwrap_or_default()
    }

    /// min.insync.replicas of a topic, at most its number of replicas.
    pub fn effective_min_isr(&self, image: &Image, topic: &str, partition: &Partition) -> usize {
        const KEY: &str = "min.insync.replicas";
        let configured = self.topic_value(image, topic, KEY, KEY).trim().parse().unwrap_or(1);
        // Kafka takes the replication factor from partition 0; all partitions of a topic have the same outside reassignments.
        let first = image.topics.partition(topic, 0).map_or(partition.replicas.len(), |p| p.replicas.len());
        configured.min(first)
    }

    pub fn is_unclean_election_enabled(&self, image: &Image, topic: &str) -> bool {
        const KEY: &str = "unclean.leader.election.enable";
        self.topic_value(image, topic, KEY, KEY).trim().eq_ignore_ascii_case("true")
    }
}

/// The stored configs of a resource in the form that `config` reads.
pub fn props(image: &Image, resource: &ConfigResource) -> Props {
    image.configs.get(resource).iter().map(|(k, v)| (k.clone(), v.clone())).collect()
}

impl From<config::ConfigError> for ControllerError {
    fn from(error: config::ConfigError) -> Self {
        ControllerError::new(wire::ErrorCode::from_code(error.error_code()), error.to_string())
    }
}
