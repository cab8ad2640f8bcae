//! Owns: the committed offsets of a shard, and those of open transactions. Used by the shard. Derived from records alone.
//! Kafka: OffsetMetadataManager.

mod commit;
mod expire;
mod fetch;
mod pending;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use base::Uuid;
use wire::messages::OffsetCommitValue;

pub(crate) use commit::{Committed, decide_commit, decide_txn_commit};
pub(crate) use expire::{deleted_topic_tombstones, expired_offsets, group_tombstones};
pub(crate) use fetch::{decide_delete, fetch, fetch_all};
use pending::PendingOffsets;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OffsetAndMetadata {
    pub(crate) offset: i64,
    /// -1 when the client did not tell.
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: Box<str>,
    pub(crate) commit_timestamp_ms: i64,
    pub(crate) expire_timestamp_ms: Option<i64>,
    /// The offset of the record in `__consumer_offsets`; of two commits the one with the higher wins, whatever compaction did.
    pub(crate) record_offset: i64,
    /// Zero when not known.
    pub(crate) topic_id: Uuid,
}

impl OffsetAndMetadata {
    fn from_stored(record_offset: i64, value: OffsetCommitValue) -> Self {
        Self {
            offset: value.offset,
            leader_epoch: value.leader_epoch,
            metadata: value.metadata.into_boxed_str(),
            commit_timestamp_ms: value.commit_timestamp,
            expire_timestamp_ms: (value.expire_timestamp != -1).then_some(value.expire_timestamp),
            record_offset,
            topic_id: value.topic_id,
        }
    }
}

pub(crate) type ByPartition = BTreeMap<i32, OffsetAndMetadata>;
pub(crate) type ByTopic = BTreeMap<String, ByPartition>;

/// Offsets by group, topic and partition, without empty branches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OffsetTable(HashMap<String, ByTopic>);

impl OffsetTable {
    pub(crate) fn group(&self, group_id: &str) -> Option<&ByTopic> {
        self.0.get(group_id)
    }

    pub(crate) fn get(&self, group_id: &str, topic: &str, partition: i32) -> Option<&OffsetAndMetadata> {
        self.0.get(group_id)?.get(topic)?.get(&partition)
    }

    /// Keys are only copied when they are new: most commits move an offset that is there already.
    fn put(&mut self, group_id: &str, topic: &str, partition: i32, offset: OffsetAndMetadata) {
        if !self.0.contains_key(group_id) {
            self.0.insert(group_id.to_owned(), ByTopic::new());
        }
        let Some(topics) = self.0.get_mut(group_id) else { return };
        match topics.get_mut(topic) {
            Some(partitions) => {
                partitions.insert(partition, offset);
            }
            None => {
                topics.insert(topic.to_owned(), ByPartition::from([(partition, offset)]));
            }
        }
    }

    fn remove(&mut self, group_id: &str, topic: &str, partition: i32) {
        let Some(topics) = self.0.get_mut(group_id) else { return };
        let Some(partitions) = topics.get_mut(topic) else { return };
        partitions.remove(&partition);
        if partitions.is_empty() {
            topics.remove(topic);
        }
        if topics.is_empty() {
            self.0.remove(group_id);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str, i32, &OffsetAndMetadata)> {
        self.0.iter().flat_map(|(group, topics)| {
            topics.iter().flat_map(move |(topic, partitions)| {
                partitions.iter().map(move |(partition, offset)| (group.as_str(), topic.as_str(), *partition, offset))
            })
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.0.values().flat_map(ByTopic::values).map(ByPartition::len).sum()
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offsets {
    pub(crate) committed: OffsetTable,
    pub(crate) pending: PendingOffsets,
}

impl Offsets {
    /// Applies an offset commit record, or its tombstone. `producer_id` is -1 outside transactions.
    pub(crate) fn replay(
        &mut self,
        record_offset: i64,
        producer_id: i64,
        group_id: &str,
        topic: &str,
        partition: i32,
        value: Option<OffsetCommitValue>,
    ) {
        match value {
            Some(value) => {
                let offset = OffsetAndMetadata::from_stored(record_offset, value);
                if producer_id == -1 {
                    self.committed.put(group_id, topic, partition, offset);
                } else {
                    self.pending.put(producer_id, group_id, topic, partition, offset);
                }
            }
            None => {
                self.committed.remove(group_id, topic, partition);
                self.pending.clear(group_id, topic, partition);
            }
        }
    }

    /// A transaction has ended: its offsets become the group's, unless a later commit is already there, or are forgotten.
    pub(crate) fn end_transaction(&mut self, producer_id: i64, committed: bool) {
        let Some(offsets) = self.pending.take(producer_id) else { return };
        if !committed {
            return;
        }
        for (group_id, topic, partition, offset) in offsets.iter() {
            let newer = self.committed.get(group_id, topic, partition).is_none_or(|c| offset.record_offset > c.record_offset);
            if newer {
                self.committed.put(group_id, topic, partition, offset.clone());
            }
        }
    }
}
