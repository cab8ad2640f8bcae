//! Topics, found by name and by id. Kafka: `TopicsImage`, `TopicImage`.

use super::partition::Partition;
use base::Uuid;
use imbl::OrdMap;
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq)]
pub struct Topic {
    pub name: Arc<str>,
    pub id: Uuid,
    pub partitions: OrdMap<i32, Arc<Partition>>,
}

/// Both maps always hold the same topics.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Topics {
    by_id: OrdMap<Uuid, Arc<Topic>>,
    by_name: OrdMap<Arc<str>, Arc<Topic>>,
}

impl Topics {
    pub fn get(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_name.get(name)
    }

    pub fn get_by_id(&self, id: Uuid) -> Option<&Arc<Topic>> {
        self.by_id.get(&id)
    }

    pub fn partition(&self, name: &str, partition: i32) -> Option<&Arc<Partition>> {
        self.get(name)?.partitions.get(&partition)
    }

    pub fn partition_by_id(&self, id: Uuid, partition: i32) -> Option<&Arc<Partition>> {
        self.get_by_id(id)?.partitions.get(&partition)
    }

    /// All topics in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.by_name.values()
    }

    /// Topics from `name` on, in the order of their names.
    pub fn from_name(&self, name: &str) -> impl Iterator<Item = &Arc<Topic>> {
        let start: Arc<str> = Arc::from(name);
        self.by_name.range(start..).map(|(_, topic)| topic)
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(crate) fn put(&mut self, topic: Topic) {
        let topic = Arc::new(topic);
        self.by_id.insert(topic.id, topic.clone());
        self.by_name.insert(topic.name.clone(), topic);
    }

    pub(crate) fn remove(&mut self, id: Uuid) -> Option<Arc<Topic>> {
        let topic = self.by_id.remove(&id)?;
        self.by_name.remove(&topic.name);
        Some(topic)
    }
}
