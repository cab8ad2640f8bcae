//! Registered brokers and controllers. Kafka: `ClusterImage`, `BrokerRegistration`, `ControllerRegistration`.

use super::partition::directory_id;
use base::Uuid;
use imbl::OrdMap;
use std::collections::BTreeMap;
use std::sync::Arc;
use wire::messages::register_broker_record::{BrokerEndpoint, BrokerFeature};
use wire::messages::register_controller_record::{ControllerEndpoint, ControllerFeature};
use wire::messages::{RegisterBrokerRecord, RegisterControllerRecord, broker_registration_request, controller_registration_request};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub name: String,
    pub host: String,
    pub port: u16,
    /// Kafka's id: 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL.
    pub security_protocol: i16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionRange {
    pub min: i16,
    pub max: i16,
}

/// A listener as a message says it, in both directions.
macro_rules! listener_conversions {
    ($($message:ty),*) => {
        $(
            impl From<&$message> for Listener {
                fn from(e: &$message) -> Self {
                    Listener { name: e.name.clone(), host: e.host.clone(), port: e.port, security_protocol: e.security_protocol }
                }
            }

            impl From<&Listener> for $message {
                fn from(l: &Listener) -> Self {
                    let Listener { name, host, port, security_protocol } = l.clone();
                    Self { name, host, port, security_protocol, ..Default::default() }
                }
            }
        )*
    };
}
listener_conversions!(BrokerEndpoint, ControllerEndpoint, broker_registration_request::Listener, controller_registration_request::Listener);

/// A feature with the levels that a node supports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupportedFeature {
    pub name: String,
    pub range: VersionRange,
}

/// A supported feature as a message says it, in both directions.
macro_rules! feature_conversions {
    ($($message:ty),*) => {
        $(
            impl From<&$message> for SupportedFeature {
                fn from(f: &$message) -> Self {
                    SupportedFeature { name: f.name.clone(), range: VersionRange { min: f.min_supported_version, max: f.max_supported_version } }
                }
            }

            impl From<SupportedFeature> for $message {
                fn from(f: SupportedFeature) -> Self {
                    let VersionRange { min, max } = f.range;
                    Self { name: f.name, min_supported_version: min, max_supported_version: max, ..Default::default() }
                }
            }
        )*
    };
}
feature_conversions!(BrokerFeature, ControllerFeature, broker_registration_request::Feature, controller_registration_request::Feature);

impl VersionRange {
    pub fn contains(self, level: i16) -> bool {
        (self.min..=self.max).contains(&level)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerRegistration {
    pub id: i32,
    pub epoch: i64,
    pub incarnation_id: Uuid,
    /// In the order in which the broker sent them; the first is its default.
    pub listeners: Vec<Listener>,
    pub supported_features: BTreeMap<String, VersionRange>,
    pub rack: Option<String>,
    pub fenced: bool,
    pub in_controlled_shutdown: bool,
    pub is_migrating_zk_broker: bool,
    /// Ids of the log directories that are online, sorted.
    pub directories: Vec<Uuid>,
    /// Directories that take no new replicas; `None` when the broker never said.
    pub cordoned_directories: Option<Vec<Uuid>>,
}

impl BrokerRegistration {
    pub fn from_record(record: &RegisterBrokerRecord) -> Self {
        BrokerRegistration {
            id: record.broker_id,
            epoch: record.broker_epoch,
            incarnation_id: record.incarnation_id,
            listeners: record.end_points.iter().map(Listener::from).collect(),
            supported_features: by_name(record.features.iter().map(SupportedFeature::from)),
            rack: record.rack.clone(),
            fenced: record.fenced,
            in_controlled_shutdown: record.in_controlled_shutdown,
            is_migrating_zk_broker: record.is_migrating_zk_broker,
            directories: sorted(&record.log_dirs),
            cordoned_directories: record.cordoned_log_dirs.as_deref().map(sorted),
        }
    }

    pub fn to_record(&self) -> RegisterBrokerRecord {
        RegisterBrokerRecord {
            broker_id: self.id,
            is_migrating_zk_broker: self.is_migrating_zk_broker,
            incarnation_id: self.incarnation_id,
            broker_epoch: self.epoch,
            end_points: self.listeners.iter().map(Into::into).collect(),
            features: features(&self.supported_features).map(Into::into).collect(),
            rack: self.rack.clone(),
            fenced: self.fenced,
            in_controlled_shutdown: self.in_controlled_shutdown,
            log_dirs: self.directories.clone(),
            cordoned_log_dirs: self.cordoned_directories.clone(),
            ..Default::default()
        }
    }

    pub(crate) fn set_directories(&mut self, directories: &[Uuid]) {
        self.directories = sorted(directories);
    }

    pub(crate) fn set_cordoned_directories(&mut self, directories: &[Uuid]) {
        self.cordoned_directories = Some(sorted(directories));
    }

    pub fn listener(&self, name: &str) -> Option<&Listener> {
        self.listeners.iter().find(|listener| listener.name == name)
    }

    /// Neither fenced nor on its way out.
    pub fn is_active(&self) -> bool {
        !self.fenced && !self.in_controlled_shutdown
    }

    /// Whether a replica in `directory` can serve. A directory not yet chosen counts as online, and so does any directory of a
    /// broker that registered before directories had ids.
    pub fn has_online_directory(&self, directory: Uuid) -> bool {
        match directory {
            directory_id::UNASSIGNED | directory_id::MIGRATING => true,
            directory_id::LOST => false,
            _ => self.directories.is_empty() || self.directories.contains(&directory),
        }
    }

    /// Whether any directory takes new replicas.
    pub fn has_uncordoned_directory(&self) -> bool {
        match &self.cordoned_directories {
            Some(cordoned) => self.directories.is_empty() || self.directories.iter().any(|d| !cordoned.contains(d)),
            None => true,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerRegistration {
    pub id: i32,
    pub incarnation_id: Uuid,
    pub zk_migration_ready: bool,
    pub listeners: Vec<Listener>,
    pub supported_features: BTreeMap<String, VersionRange>,
}

impl ControllerRegistration {
    pub fn from_record(record: &RegisterControllerRecord) -> Self {
        ControllerRegistration {
            id: record.controller_id,
            incarnation_id: record.incarnation_id,
            zk_migration_ready: record.zk_migration_ready,
            listeners: record.end_points.iter().map(Listener::from).collect(),
            supported_features: by_name(record.features.iter().map(SupportedFeature::from)),
        }
    }

    pub fn to_record(&self) -> RegisterControllerRecord {
        RegisterControllerRecord {
            controller_id: self.id,
            incarnation_id: self.incarnation_id,
            zk_migration_ready: self.zk_migration_ready,
            end_points: self.listeners.iter().map(Into::into).collect(),
            features: features(&self.supported_features).map(Into::into).collect(),
            ..Default::default()
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cluster {
    pub brokers: OrdMap<i32, Arc<BrokerRegistration>>,
    pub controllers: OrdMap<i32, Arc<ControllerRegistration>>,
}

impl Cluster {
    pub fn broker(&self, id: i32) -> Option<&Arc<BrokerRegistration>> {
        self.brokers.get(&id)
    }

    /// Registered and neither fenced nor shutting down.
    pub fn is_active(&self, id: i32) -> bool {
        self.broker(id).is_some_and(|broker| broker.is_active())
    }

    pub fn is_unfenced(&self, id: i32) -> bool {
        self.broker(id).is_some_and(|broker| !broker.fenced)
    }

    pub fn has_online_directory(&self, id: i32, directory: Uuid) -> bool {
        self.broker(id).is_some_and(|broker| broker.has_online_directory(directory))
    }

    /// Which broker claims a log directory.
    pub fn owner_of_directory(&self, directory: Uuid) -> Option<i32> {
        self.brokers.values().find(|b| b.directories.contains(&directory)).map(|b| b.id)
    }
}

fn by_name(features: impl Iterator<Item = SupportedFeature>) -> BTreeMap<String, VersionRange> {
    features.map(|feature| (feature.name, feature.range)).collect()
}

fn features(by_name: &BTreeMap<String, VersionRange>) -> impl Iterator<Item = SupportedFeature> {
    by_name.iter().map(|(name, range)| SupportedFeature { name: name.clone(), range: *range })
}

fn sorted(ids: &[Uuid]) -> Vec<Uuid> {
    let mut ids = ids.to_vec();
    // The order of Java's signed halves, so that what is re-emitted in snapshots comes in Kafka's order.
    ids.sort_by_key(|id| (id.most_significant_bits(), id.least_significant_bits()));
    ids
}
