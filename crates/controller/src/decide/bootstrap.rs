//! What a new active controller writes first. Kafka: `ActivationRecordsGenerator`, `BootstrapMetadata`; KIP-868.

use crate::settings::Settings;
use metadata::features::{ELR_VERSION, FEATURES, KRAFT_VERSION};
use metadata::{Image, MetadataVersion, Record, ResourceType};
use wire::messages::*;

/// The feature levels of a new cluster: metadata.version first, then the others that are above 0, sorted by name. For
/// bootstrap.checkpoint, and for an empty log without one.
pub fn feature_records(version: MetadataVersion, levels: &[(&str, i16)]) -> Vec<Record> {
    let record = |name: &str, feature_level: i16| FeatureLevelRecord { name: name.to_owned(), feature_level, ..Default::default() };
    let mut others: Vec<_> = levels.iter().filter(|(name, level)| *level > 0 && *name != MetadataVersion::FEATURE_NAME).collect();
    others.sort();
    let first = record(MetadataVersion::FEATURE_NAME, version.level());
    std::iter::once(first).chain(others.into_iter().map(|(name, level)| record(name, *level))).map(Record::from).collect()
}

/// The levels that a new cluster of this release gets; kraft.version is kept by raft.
pub fn default_feature_records() -> Vec<Record> {
    let levels: Vec<_> = FEATURES.iter().filter(|f| f.name != KRAFT_VERSION).map(|f| (f.name, f.latest_production)).collect();
    feature_records(MetadataVersion::LATEST_PRODUCTION, &levels)
}

/// What activation appends to a log that holds no metadata.version yet: the bootstrap records as one transaction, and with ELR a
/// cluster-wide min.insync.replicas. `aborted`: a transaction that an earlier controller left open.
pub fn records_for_empty_log(bootstrap: &[Record], settings: &Settings, aborted: bool) -> Vec<Record> {
    let level = |wanted: &str| {
        let levels = bootstrap.iter().filter_map(|record| match record {
            Record::FeatureLevel(r) if r.name == wanted => Some(r.feature_level),
            _ => None,
        });
        levels.last().unwrap_or(0)
    };
    let version = MetadataVersion::from_level(level(MetadataVersion::FEATURE_NAME)).unwrap_or(MetadataVersion::MINIMUM);
    let mut records = Vec::new();
    if aborted {
        records.push(abort_record());
    }
    if version.supports_transactions() {
        let name = Some("Bootstrap records".to_owned());
        records.push(BeginTransactionRecord { name, ..Default::default() }.into());
    }
    records.extend_from_slice(bootstrap);
    if level(ELR_VERSION) > 0 {
        const MIN_ISR: &str = "min.insync.replicas";
        let config = ConfigRecord {
            resource_type: ResourceType::BROKER.0,
            name: MIN_ISR.to_owned(),
            value: settings.broker.value(MIN_ISR).to_text(),
            ..Default::default()
        };
        records.push(config.into());
    }
    if version.supports_transactions() {
        records.push(EndTransactionRecord::default().into());
    }
    records
}

/// For a transaction that the previous controller did not finish.
pub fn abort_record() -> Record {
    AbortTransactionRecord { reason: Some("Controller failover".to_owned()), ..Default::default() }.into()
}

/// This controller's registration, unless the image has it already.
pub fn controller_registration(image: &Image, settings: &Settings) -> Option<Record> {
    let registered = image.cluster.controllers.get(&settings.node_id).is_some_and(|c| c.incarnation_id == settings.incarnation_id);
    if registered || !image.metadata_version().supports_controller_registration() {
        return None;
    }
    let record = RegisterControllerRecord {
        controller_id: settings.node_id,
        incarnation_id: settings.incarnation_id,
        end_points: settings.listeners.iter().map(Into::into).collect(),
        features: FEATURES.iter().map(|f| f.supported().into()).collect(),
        ..Default::default()
    };
    Some(record.into())
}
