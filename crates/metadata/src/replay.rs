//! Moves an image by one record. As strict as Kafka's standby controllers are: what they refuse is refused here, so that a record
//! which passes may be written. Kafka: `MetadataDelta.replay` and the `replay` methods of the control managers.

use crate::delta::Delta;
use crate::features::{self, MetadataVersion};
use crate::image::Image;
use crate::image::cluster::{BrokerRegistration, ControllerRegistration};
use crate::image::configs::{ConfigResource, ResourceType};
use crate::image::partition::Partition;
use crate::image::security::QuotaEntity;
use crate::image::topics::Topic;
use crate::record::Record;
use base::Uuid;
use std::sync::Arc;
use wire::messages::*;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    #[error("metadata.version {0} is not supported; this software reads 7 (3.3-IV3) to 30 (4.3-IV0)")]
    UnsupportedMetadataVersion(i16),
    #[error("feature {name} has level {level}, which is not supported")]
    UnsupportedFeatureLevel { name: String, level: i16 },
    #[error("{record} for broker {broker}, which is not registered with epoch {epoch}")]
    UnknownBroker { record: &'static str, broker: i32, epoch: i64 },
    #[error("{record} for broker {broker} has a field out of range")]
    BadBrokerChange { record: &'static str, broker: i32 },
    #[error("{record} for topic {topic}, which does not exist")]
    UnknownTopic { record: &'static str, topic: String },
    #[error("second TopicRecord for {0}")]
    DuplicateTopic(String),
    #[error("{record} for partition {topic}-{partition}, which does not exist")]
    UnknownPartition { record: &'static str, topic: String, partition: i32 },
    #[error("{record} for partition {topic}-{partition}: {reason}")]
    BadPartition { record: &'static str, topic: String, partition: i32, reason: String },
    #[error("ProducerIdsRecord moves the next producer id from {from} back to {to}")]
    ProducerIdsBackwards { from: i64, to: i64 },
    #[error("RemoveAccessControlEntryRecord for {0}, which does not exist")]
    UnknownAcl(Uuid),
    #[error("RemoveUserScramCredentialRecord for user {0}, who has no such credential")]
    UnknownScramCredential(String),
    #[error("{0} inside a metadata transaction that is already open")]
    TransactionOpen(&'static str),
    #[error("{0} without an open metadata transaction")]
    NoTransaction(&'static str),
}

impl Image {
    /// Applies one record and adds to `delta` what it changed. On error nothing has changed. The records that frame a transaction
    /// change nothing here; `Loader` gives them their meaning.
    pub fn replay(&mut self, record: &Record, delta: &mut Delta) -> Result<(), ReplayError> {
        match record {
            Record::RegisterBroker(r) => self.register_broker(r, delta),
            Record::UnregisterBroker(r) => self.unregister_broker(r, delta)?,
            Record::BrokerRegistrationChange(r) => self.change_broker(r, delta)?,
            Record::FenceBroker(r) => self.set_fenced("FenceBrokerRecord", r.id, r.epoch, true, delta)?,
            Record::UnfenceBroker(r) => self.set_fenced("UnfenceBrokerRecord", r.id, r.epoch, false, delta)?,
            Record::RegisterController(r) => {
                self.cluster.controllers.insert(r.controller_id, Arc::new(ControllerRegistration::from_record(r)));
                delta.controllers.insert(r.controller_id);
            }
            Record::Topic(r) => self.create_topic(r, delta)?,
            Record::Partition(r) => self.put_partition(r, delta)?,
            Record::PartitionChange(r) => self.change_partition(r, delta)?,
            Record::RemoveTopic(r) => self.remove_topic(r.topic_id, delta)?,
            Record::ClearElr(r) => self.clear_elr(&r.topic_name, delta)?,
            Record::Config(r) => {
                let resource = ConfigResource { type_: ResourceType(r.resource_type), name: r.resource_name.clone() };
                self.configs.set(&resource, &r.name, r.value.as_ref());
                delta.configs.insert(resource);
            }
            Record::FeatureLevel(r) => self.set_feature(r, delta)?,
            Record::ProducerIds(r) => self.set_producer_ids(r, delta)?,
            Record::ClientQuota(r) => self.set_quota(r, delta),
            Record::AccessControlEntry(r) => {
                self.security.acls.insert(r.id, Arc::new(r.clone()));
                delta.acls.insert(r.id);
            }
            Record::RemoveAccessControlEntry(r) => {
                self.security.acls.remove(&r.id).ok_or(ReplayError::UnknownAcl(r.id))?;
                delta.acls.insert(r.id);
            }
            Record::UserScramCredential(r) => {
                let key = (r.mechanism, r.name.clone());
                self.security.scram.insert(key.clone(), Arc::new(r.clone()));
                delta.scram.insert(key);
            }
            Record::RemoveUserScramCredential(r) => {
                let key = (r.mechanism, r.name.clone());
                self.security.scram.remove(&key).ok_or_else(|| ReplayError::UnknownScramCredential(r.name.clone()))?;
                delta.scram.insert(key);
            }
            Record::DelegationToken(r) => {
                self.security.delegation_tokens.insert(r.token_id.clone(), Arc::new(r.clone()));
                delta.delegation_tokens.insert(r.token_id.clone());
            }
            Record::RemoveDelegationToken(r) => {
                self.security.delegation_tokens.remove(&r.token_id);
                delta.delegation_tokens.insert(r.token_id.clone());
            }
            Record::NoOp(_) => {}
            // Left by migrations from ZooKeeper; 4.x reads it and keeps nothing of it.
            Record::ZkMigrationState(_) => {}
            Record::BeginTransaction(_) | Record::EndTransaction(_) | Record::AbortTransaction(_) => {}
        }
        Ok(())
    }

    fn register_broker(&mut self, record: &RegisterBrokerRecord, delta: &mut Delta) {
        self.cluster.brokers.insert(record.broker_id, Arc::new(BrokerRegistration::from_record(record)));
        delta.brokers.insert(record.broker_id);
    }

    fn unregister_broker(&mut self, record: &UnregisterBrokerRecord, delta: &mut Delta) -> Result<(), ReplayError> {
        self.broker_at("UnregisterBrokerRecord", record.broker_id, record.broker_epoch)?;
        self.cluster.brokers.remove(&record.broker_id);
        delta.brokers.insert(record.broker_id);
        Ok(())
    }

    fn change_broker(&mut self, record: &BrokerRegistrationChangeRecord, delta: &mut Delta) -> Result<(), ReplayError> {
        const NAME: &str = "BrokerRegistrationChangeRecord";
        let bad = || ReplayError::BadBrokerChange { record: NAME, broker: record.broker_id };
        let old = self.broker_at(NAME, record.broker_id, record.broker_epoch)?;
        let mut new = (*old).clone();
        match record.fenced {
            1 => new.fenced = true,
            -1 => new.fenced = false,
            0 => {}
            _ => return Err(bad()),
        }
        match record.in_controlled_shutdown {
            1 => new.in_controlled_shutdown = true,
            0 => {}
            _ => return Err(bad()),
        }
        if !record.log_dirs.is_empty() {
            new.set_directories(&record.log_dirs);
        }
        if let Some(cordoned) = &record.cordoned_log_dirs {
            new.set_cordoned_directories(cordoned);
        }
        if new != *old {
            self.cluster.brokers.insert(record.broker_id, Arc::new(new));
            delta.brokers.insert(record.broker_id);
        }
        Ok(())
    }

    fn set_fenced(&mut self, name: &'static str, id: i32, epoch: i64, fenced: bool, delta: &mut Delta) -> Result<(), ReplayError> {
        let mut broker = (*self.broker_at(name, id, epoch)?).clone();
        broker.fenced = fenced;
        self.cluster.brokers.insert(id, Arc::new(broker));
        delta.brokers.insert(id);
        Ok(())
    }

    fn broker_at(&self, record: &'static str, broker: i32, epoch: i64) -> Result<Arc<BrokerRegistration>, ReplayError> {
        let found = self.cluster.broker(broker).filter(|b| b.epoch == epoch);
        found.cloned().ok_or(ReplayError::UnknownBroker { record, broker, epoch })
    }

    fn create_topic(&mut self, record: &TopicRecord, delta: &mut Delta) -> Result<(), ReplayError> {
        if self.topics.get(&record.name).is_some() || self.topics.get_by_id(record.topic_id).is_some() {
            return Err(ReplayError::DuplicateTopic(record.name.clone()));
        }
        self.topics.put(Topic { name: Arc::from(record.name.as_str()), id: record.topic_id, partitions: Default::default() });
        delta.created_topics.insert(record.topic_id);
        Ok(())
    }

    fn put_partition(&mut self, record: &PartitionRecord, delta: &mut Delta) -> Result<(), ReplayError> {
        const NAME: &str = "PartitionRecord";
        let topic = self.topic_at(NAME, record.topic_id)?;
        let partition = Partition::from_record(record).map_err(|reason| bad_partition(NAME, &topic, record.partition_id, reason))?;
        self.update_partition(topic, record.partition_id, partition, delta);
        Ok(())
    }

    fn change_partition(&mut self, record: &PartitionChangeRecord, delta: &mut Delta) -> Result<(), ReplayError> {
        const NAME: &str = "PartitionChangeRecord";
        let topic = self.topic_at(NAME, record.topic_id)?;
        let old = topic.partitions.get(&record.partition_id).ok_or_else(|| ReplayError::UnknownPartition {
            record: NAME,
            topic: topic.name.to_string(),
            partition: record.partition_id,
        })?;
        let new = old.merge(record).map_err(|reason| bad_partition(NAME, &topic, record.partition_id, reason))?;
        self.update_partition(topic, record.partition_id, new, delta);
        Ok(())
    }

    fn update_partition(&mut self, mut topic: Topic, id: i32, partition: Partition, delta: &mut Delta) {
        delta.changed_partitions.entry(topic.id).or_default().insert(id);
        topic.partitions.insert(id, Arc::new(partition));
        self.topics.put(topic);
    }

    fn remove_topic(&mut self, id: Uuid, delta: &mut Delta) -> Result<(), ReplayError> {
        let topic =
            self.topics.remove(id).ok_or_else(|| ReplayError::UnknownTopic { record: "RemoveTopicRecord", topic: id.to_string() })?;
        let resource = ConfigResource::topic(&*topic.name);
        if self.configs.remove(&resource) {
            delta.configs.insert(resource);
        }
        delta.changed_partitions.remove(&id);
        if !delta.created_topics.remove(&id) {
            delta.deleted_topics.insert(id, topic);
        }
        Ok(())
    }

    fn clear_elr(&mut self, name: &str, delta: &mut Delta) -> Result<(), ReplayError> {
        let topics: Vec<Arc<Topic>> = if name.is_empty() {
            self.topics.iter().cloned().collect()
        } else {
            let unknown = || ReplayError::UnknownTopic { record: "ClearElrRecord", topic: name.to_owned() };
            vec![self.topics.get(name).cloned().ok_or_else(unknown)?]
        };
        for topic in topics {
            for (id, partition) in topic.partitions.iter() {
                if partition.elr.is_empty() && partition.last_known_elr.is_empty() {
                    continue;
                }
                let mut cleared = (**partition).clone();
                cleared.elr.clear();
                cleared.last_known_elr.clear();
                cleared.partition_epoch += 1;
                let current = self.topic_at("ClearElrRecord", topic.id)?;
                self.update_partition(current, *id, cleared, delta);
            }
        }
        Ok(())
    }

    fn topic_at(&self, record: &'static str, id: Uuid) -> Result<Topic, ReplayError> {
        let topic = self.topics.get_by_id(id).ok_or_else(|| ReplayError::UnknownTopic { record, topic: id.to_string() })?;
        Ok((**topic).clone())
    }

    fn set_feature(&mut self, record: &FeatureLevelRecord, delta: &mut Delta) -> Result<(), ReplayError> {
        let FeatureLevelRecord { name, feature_level: level, .. } = record;
        if name == MetadataVersion::FEATURE_NAME {
            let version = MetadataVersion::from_level(*level).ok_or(ReplayError::UnsupportedMetadataVersion(*level))?;
            self.features.metadata_version = Some(version);
        } else if name == features::KRAFT_VERSION {
            // Kept in control records; an early 3.9 wrote it here too, which is to be forgotten.
            return Ok(());
        } else if *level == 0 {
            self.features.levels.remove(name);
        } else {
            let supported = features::feature(name).is_some_and(|f| (f.min..=f.max).contains(level));
            if !supported {
                return Err(ReplayError::UnsupportedFeatureLevel { name: name.clone(), level: *level });
            }
            self.features.levels.insert(name.clone(), *level);
        }
        delta.features.insert(name.clone());
        Ok(())
    }

    fn set_producer_ids(&mut self, record: &ProducerIdsRecord, delta: &mut Delta) -> Result<(), ReplayError> {
        match self.next_producer_id {
            Some(from) if record.next_producer_id <= from => Err(ReplayError::ProducerIdsBackwards { from, to: record.next_producer_id }),
            _ => {
                self.next_producer_id = Some(record.next_producer_id);
                delta.producer_ids = true;
                Ok(())
            }
        }
    }

    fn set_quota(&mut self, record: &ClientQuotaRecord, delta: &mut Delta) {
        let entity = QuotaEntity::from_record(&record.entity);
        let mut limits = self.quotas.get(&entity).cloned().unwrap_or_default();
        if record.remove {
            limits.remove(&record.key);
        } else {
            limits.insert(record.key.clone(), record.value);
        }
        if limits.is_empty() {
            self.quotas.remove(&entity);
        } else {
            self.quotas.insert(entity.clone(), limits);
        }
        delta.quotas.insert(entity);
    }
}

fn bad_partition(record: &'static str, topic: &Topic, partition: i32, reason: String) -> ReplayError {
    ReplayError::BadPartition { record, topic: topic.name.to_string(), partition, reason }
}
