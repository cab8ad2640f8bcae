//! What changed between two images, by key; the values are looked up in the images. Kafka: `MetadataDelta` and its parts.

use crate::image::Image;
use crate::image::configs::ConfigResource;
use crate::image::security::QuotaEntity;
use crate::image::topics::Topic;
use base::Uuid;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delta {
    /// Topics that are new; their partitions are in `changed_partitions` too.
    pub created_topics: BTreeSet<Uuid>,
    /// Topics that are gone, as they last were. A topic that came and went within one delta is not listed.
    pub deleted_topics: BTreeMap<Uuid, Arc<Topic>>,
    /// Created or changed partitions of topics that still exist.
    pub changed_partitions: BTreeMap<Uuid, BTreeSet<i32>>,
    pub configs: BTreeSet<ConfigResource>,
    /// Registered, changed or unregistered.
    pub brokers: BTreeSet<i32>,
    pub controllers: BTreeSet<i32>,
    pub features: BTreeSet<String>,
    pub producer_ids: bool,
    pub quotas: BTreeSet<QuotaEntity>,
    pub acls: BTreeSet<Uuid>,
    pub scram: BTreeSet<(i8, String)>,
    pub delegation_tokens: BTreeSet<String>,
}

impl Delta {
    pub fn is_empty(&self) -> bool {
        *self == Delta::default()
    }

    /// Adds what `later`, which starts where this one ends, changed.
    pub fn extend(&mut self, later: Delta) {
        for (id, topic) in later.deleted_topics {
            self.changed_partitions.remove(&id);
            if !self.created_topics.remove(&id) {
                self.deleted_topics.insert(id, topic);
            }
        }
        self.created_topics.extend(later.created_topics);
        for (id, partitions) in later.changed_partitions {
            self.changed_partitions.entry(id).or_default().extend(partitions);
        }
        self.configs.extend(later.configs);
        self.brokers.extend(later.brokers);
        self.controllers.extend(later.controllers);
        self.features.extend(later.features);
        self.producer_ids |= later.producer_ids;
        self.quotas.extend(later.quotas);
        self.acls.extend(later.acls);
        self.scram.extend(later.scram);
        self.delegation_tokens.extend(later.delegation_tokens);
    }

    /// What leads from `old` to `new` when the records between are not at hand, as after loading a snapshot.
    pub fn between(old: &Image, new: &Image) -> Delta {
        let mut delta = Delta::default();
        for topic in old.topics.iter().filter(|t| new.topics.get_by_id(t.id).is_none()) {
            delta.deleted_topics.insert(topic.id, topic.clone());
        }
        for topic in new.topics.iter() {
            let before = old.topics.get_by_id(topic.id);
            if before.is_none() {
                delta.created_topics.insert(topic.id);
            }
            let changed: BTreeSet<i32> = topic
                .partitions
                .iter()
                .filter(|(id, partition)| before.and_then(|t| t.partitions.get(*id)) != Some(*partition))
                .map(|(id, _)| *id)
                .collect();
            if !changed.is_empty() {
                delta.changed_partitions.insert(topic.id, changed);
            }
        }
        let configs = |image: &Image| image.configs.iter().map(|(r, m)| (r.clone(), m.clone())).collect::<BTreeMap<_, _>>();
        delta.configs = changed_keys(&configs(old), &configs(new));
        delta.brokers = changed_keys(&to_map(&old.cluster.brokers), &to_map(&new.cluster.brokers));
        delta.controllers = changed_keys(&to_map(&old.cluster.controllers), &to_map(&new.cluster.controllers));
        let features = |image: &Image| image.features.finalized().into_iter().collect::<BTreeMap<_, _>>();
        delta.features = changed_keys(&features(old), &features(new));
        delta.producer_ids = old.next_producer_id != new.next_producer_id;
        delta.quotas = changed_keys(&to_map(&old.quotas), &to_map(&new.quotas));
        delta.acls = changed_keys(&to_map(&old.security.acls), &to_map(&new.security.acls));
        delta.scram = changed_keys(&to_map(&old.security.scram), &to_map(&new.security.scram));
        delta.delegation_tokens = changed_keys(&to_map(&old.security.delegation_tokens), &to_map(&new.security.delegation_tokens));
        delta
    }
}

fn to_map<K: Ord + Clone, V: Clone>(map: &imbl::OrdMap<K, V>) -> BTreeMap<K, V> {
    map.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn changed_keys<K: Ord + Clone, V: PartialEq>(old: &BTreeMap<K, V>, new: &BTreeMap<K, V>) -> BTreeSet<K> {
    let gone = old.keys().filter(|key| !new.contains_key(key));
    let changed = new.iter().filter(|(key, value)| old.get(key) != Some(value)).map(|(key, _)| key);
    gone.chain(changed).cloned().collect()
}
