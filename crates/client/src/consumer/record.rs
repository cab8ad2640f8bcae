//! Owns: what a poll returns.

use base::TopicPartition;
use bytes::Bytes;
use record::TimestampType;
use std::sync::Arc;

/// A record as it was stored. Key and value share the memory of the fetch they came with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerRecord {
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    pub timestamp: i64,
    pub timestamp_type: TimestampType,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    /// In the order they were sent; keys may repeat.
    pub headers: Vec<RecordHeader>,
    pub leader_epoch: Option<i32>,
}

impl ConsumerRecord {
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition::new(&*self.topic, self.partition)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    pub key: String,
    pub value: Option<Bytes>,
}

/// The records of one poll, in order within each partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerRecords {
    pub(super) records: Vec<ConsumerRecord>,
}

impl ConsumerRecords {
    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub fn iter(&self) -> std::slice::Iter<'_, ConsumerRecord> {
        self.records.iter()
    }

    /// A poll's worth of records, for interceptors that change them.
    pub fn new(records: Vec<ConsumerRecord>) -> Self {
        Self { records }
    }

    /// Partitions that have records here, in the order they appear.
    pub fn partitions(&self) -> Vec<TopicPartition> {
        let mut found: Vec<TopicPartition> = Vec::new();
        for record in &self.records {
            let known = found.iter().any(|partition| partition.partition == record.partition && *partition.topic == *record.topic);
            if !known {
                found.push(record.topic_partition());
            }
        }
        found
    }
}

impl IntoIterator for ConsumerRecords {
    type Item = ConsumerRecord;
    type IntoIter = std::vec::IntoIter<ConsumerRecord>;

    fn into_iter(self) -> Self::IntoIter {
        self.records.into_iter()
    }
}

impl<'a> IntoIterator for &'a ConsumerRecords {
    type Item = &'a ConsumerRecord;
    type IntoIter = std::slice::Iter<'a, ConsumerRecord>;

    fn into_iter(self) -> Self::IntoIter {
        self.records.iter()
    }
}
