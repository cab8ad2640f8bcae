//! Owns: what a shard knows of the cluster: the image, and the hashes of the topics that groups subscribe to.
//! Used by groups of the consumer protocol. Handed in by the broker; nothing here looks anything up elsewhere.
//! Kafka: CoordinatorMetadataImage, and the topic hash cache of GroupMetadataManager.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use base::Uuid;
use metadata::{Delta, Image, Topic};

use crate::metadata_hash;

#[derive(Debug, Default)]
pub(crate) struct Cluster {
    image: Arc<Image>,
    /// Filled as asked for, so that a join does not go through all partitions of the group's topics.
    hashes: RefCell<HashMap<Uuid, i64>>,
    /// The version of the image that last brought new topics. Regular expressions resolved before it are out of date.
    topics_added_at: Option<i64>,
}

impl Cluster {
    /// Takes over an image; `delta` is what changed, or `None` when that is not known.
    pub(crate) fn update(&mut self, image: Arc<Image>, delta: Option<&Delta>) {
        let version = image.provenance.offset;
        match delta {
            Some(delta) => {
                if self.topics_added_at.is_none() || !delta.created_topics.is_empty() {
                    self.topics_added_at = Some(version);
                }
                let hashes = self.hashes.get_mut();
                for id in delta.changed_partitions.keys().chain(delta.deleted_topics.keys()) {
                    hashes.remove(id);
                }
            }
            None => {
                self.topics_added_at = Some(version);
                self.hashes.get_mut().clear();
            }
        }
        self.image = image;
    }

    pub(crate) fn image(&self) -> &Arc<Image> {
        &self.image
    }

    pub(crate) fn topics_added_at(&self) -> i64 {
        self.topics_added_at.unwrap_or(-1)
    }

    pub(crate) fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.image.topics.get(name)
    }

    pub(crate) fn topic_by_id(&self, id: Uuid) -> Option<&Arc<Topic>> {
        self.image.topics.get_by_id(id)
    }

    pub(crate) fn topic_id(&self, name: &str) -> Option<Uuid> {
        self.topic(name).map(|topic| topic.id)
    }

    /// The hash of those of the topics that exist.
    pub(crate) fn metadata_hash<'a>(&self, names: impl Iterator<Item = &'a str>) -> i64 {
        let mut hashes = self.hashes.borrow_mut();
        let known = names.filter_map(|name| {
            let topic = self.topic(name)?;
            Some((name, *hashes.entry(topic.id).or_insert_with(|| self.topic_hash(topic))))
        });
        metadata_hash::group_hash(known.collect::<Vec<_>>())
    }

    fn topic_hash(&self, topic: &Topic) -> i64 {
        let racks = topic.partitions.values().map(|partition| {
            partition.replicas.iter().filter_map(|replica| self.image.cluster.broker(*replica)?.rack.as_deref()).collect::<Vec<&str>>()
        });
        metadata_hash::topic_hash(topic.id, &topic.name, racks.collect::<Vec<_>>().into_iter())
    }
}
