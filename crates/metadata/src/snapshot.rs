//! An image as the records of a snapshot, and back. Kafka: `MetadataImage.write`, `RaftSnapshotWriter`.

use crate::delta::Delta;
use crate::features::MetadataVersion;
use crate::image::Image;
use crate::record::Record;
use crate::replay::ReplayError;
use wire::messages::*;

/// Snapshots are written in batches of at most this many records.
pub const RECORDS_PER_BATCH: usize = 1024;

/// All records that recreate `image`, in the order in which Kafka writes them: features with metadata.version first, brokers,
/// controllers, each topic with its partitions, configs, quotas, producer ids, ACLs, SCRAM credentials, delegation tokens.
pub fn to_records(image: &Image) -> Vec<Record> {
    let mut records = Vec::new();
    let version = image.metadata_version();
    write_features(image, &mut records);
    records.extend(image.cluster.brokers.values().map(|broker| Record::from(broker.to_record())));
    if version.supports_controller_registration() {
        records.extend(image.cluster.controllers.values().map(|controller| Record::from(controller.to_record())));
    }
    for topic in image.topics.iter() {
        records.push(TopicRecord { name: topic.name.to_string(), topic_id: topic.id, ..Default::default() }.into());
        records.extend(topic.partitions.iter().map(|(id, partition)| Record::from(partition.to_record(topic.id, *id))));
    }
    write_configs(image, &mut records);
    write_quotas(image, &mut records);
    if let Some(next_producer_id) = image.next_producer_id {
        records.push(ProducerIdsRecord { broker_id: -1, broker_epoch: -1, next_producer_id, ..Default::default() }.into());
    }
    records.extend(image.security.acls.values().map(|acl| Record::AccessControlEntry((**acl).clone())));
    if version.supports_scram() {
        records.extend(image.security.scram.values().map(|credential| Record::UserScramCredential((**credential).clone())));
    }
    if version.supports_delegation_tokens() {
        records.extend(image.security.delegation_tokens.values().map(|token| Record::DelegationToken((**token).clone())));
    }
    records
}

/// The image that a snapshot's records describe.
pub fn from_records<'a>(records: impl IntoIterator<Item = &'a Record>) -> Result<Image, ReplayError> {
    let mut image = Image::default();
    let mut delta = Delta::default();
    for record in records {
        image.replay(record, &mut delta)?;
    }
    Ok(image)
}

fn write_features(image: &Image, records: &mut Vec<Record>) {
    let mut level = |name: &str, feature_level: i16| {
        records.push(FeatureLevelRecord { name: name.to_owned(), feature_level, ..Default::default() }.into());
    };
    if let Some(version) = image.features.metadata_version {
        level(MetadataVersion::FEATURE_NAME, version.level());
    }
    for (name, value) in image.features.levels.iter() {
        level(name, *value);
    }
}

fn write_configs(image: &Image, records: &mut Vec<Record>) {
    for (resource, entries) in image.configs.iter() {
        records.extend(entries.iter().map(|(name, value)| {
            Record::from(ConfigRecord {
                resource_type: resource.type_.0,
                resource_name: resource.name.clone(),
                name: name.clone(),
                value: Some(value.clone()),
                ..Default::default()
            })
        }));
    }
}

fn write_quotas(image: &Image, records: &mut Vec<Record>) {
    for (entity, limits) in image.quotas.iter() {
        records.extend(limits.iter().map(|(key, value)| {
            Record::from(ClientQuotaRecord {
                entity: entity.to_record(),
                key: key.clone(),
                value: *value,
                remove: false,
                ..Default::default()
            })
        }));
    }
}
