//! Offsets that were committed in transactions that have not ended.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{OffsetAndMetadata, OffsetTable};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PendingOffsets {
    by_producer: HashMap<i64, OffsetTable>,
    /// Which producers hold a partition open: what a fetch of stable offsets asks.
    open: HashMap<String, BTreeMap<(String, i32), BTreeSet<i64>>>,
}

impl PendingOffsets {
    pub(super) fn put(&mut self, producer_id: i64, group_id: &str, topic: &str, partition: i32, offset: OffsetAndMetadata) {
        self.by_producer.entry(producer_id).or_default().put(group_id, topic, partition, offset);
        let group = self.open.entry(group_id.to_owned()).or_default();
        group.entry((topic.to_owned(), partition)).or_default().insert(producer_id);
    }

    /// Forgets the partition in every open transaction.
    pub(super) fn clear(&mut self, group_id: &str, topic: &str, partition: i32) {
        let Some(group) = self.open.get_mut(group_id) else { return };
        for producer_id in group.remove(&(topic.to_owned(), partition)).unwrap_or_default() {
            if let Some(offsets) = self.by_producer.get_mut(&producer_id) {
                offsets.remove(group_id, topic, partition);
            }
        }
        if group.is_empty() {
            self.open.remove(group_id);
        }
    }

    pub(super) fn take(&mut self, producer_id: i64) -> Option<OffsetTable> {
        let offsets = self.by_producer.remove(&producer_id)?;
        for (group_id, topic, partition, _) in offsets.iter() {
            let Some(group) = self.open.get_mut(group_id) else { continue };
            let key = (topic.to_owned(), partition);
            if let Some(producers) = group.get_mut(&key) {
                producers.remove(&producer_id);
                if producers.is_empty() {
                    group.remove(&key);
                }
            }
            if group.is_empty() {
                self.open.remove(group_id);
            }
        }
        Some(offsets)
    }

    pub(crate) fn has_group(&self, group_id: &str) -> bool {
        self.open.contains_key(group_id)
    }

    pub(crate) fn contains(&self, group_id: &str, topic: &str, partition: i32) -> bool {
        self.open.get(group_id).is_some_and(|group| group.contains_key(&(topic.to_owned(), partition)))
    }

    pub(super) fn partitions_of(&self, group_id: &str) -> impl Iterator<Item = (&str, i32)> {
        self.open.get(group_id).into_iter().flat_map(|group| group.keys().map(|(topic, partition)| (topic.as_str(), *partition)))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str, i32, &OffsetAndMetadata)> {
        self.by_producer.values().flat_map(OffsetTable::iter)
    }
}
