//! Owns: questions about partitions that do not concern what is assigned: offsets by time, beginnings and ends, topics.
//! Kafka: `OffsetFetcher`, `TopicMetadataFetcher`.

use super::{Consumer, offsets};
use crate::driver::Topics;
use crate::error::{Error, Result};
use crate::types::{ListedOffset, OffsetSpec, PartitionInfo};
use base::{Instant, TopicPartition};
use std::collections::BTreeMap;
use wire::ErrorCode;

impl Consumer {
    /// The first offset at or after a timestamp; partitions without one are None.
    pub async fn offsets_for_times(&self, wanted: &[(TopicPartition, i64)]) -> Result<BTreeMap<TopicPartition, Option<ListedOffset>>> {
        if let Some((partition, time)) = wanted.iter().find(|(_, time)| *time < 0) {
            return Err(Error::IllegalState(format!(
                "The target time for partition {partition} is {time}. The target time cannot be negative."
            )));
        }
        let found = self.list_offsets(wanted).await?;
        Ok(found.into_iter().map(|(partition, listed)| (partition, Some(listed).filter(|listed| listed.offset >= 0))).collect())
    }

    pub async fn beginning_offsets(&self, partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, i64>> {
        self.edges(partitions, OffsetSpec::Earliest).await
    }

    /// The end of each partition; with read_committed the last stable offset.
    pub async fn end_offsets(&self, partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, i64>> {
        self.edges(partitions, OffsetSpec::Latest).await
    }

    async fn edges(&self, partitions: &[TopicPartition], spec: OffsetSpec) -> Result<BTreeMap<TopicPartition, i64>> {
        let wanted: Vec<(TopicPartition, i64)> = partitions.iter().map(|partition| (partition.clone(), spec.timestamp())).collect();
        Ok(self.list_offsets(&wanted).await?.into_iter().map(|(partition, listed)| (partition, listed.offset)).collect())
    }

    async fn list_offsets(&self, wanted: &[(TopicPartition, i64)]) -> Result<BTreeMap<TopicPartition, ListedOffset>> {
        self.open()?;
        let deadline = self.shared.api_deadline();
        let mut open = wanted.to_vec();
        let mut results = BTreeMap::new();
        let mut attempts = 0;
        loop {
            let mut last = None;
            for (partition, result) in offsets::list_offsets_once(&self.shared, &open, deadline).await {
                match result {
                    Ok(listed) => {
                        results.insert(partition, listed);
                    }
                    Err(error) if error.is_retriable() => last = Some(error),
                    Err(error) => return Err(error),
                }
            }
            open.retain(|(partition, _)| !results.contains_key(partition));
            let Some(error) = last else { return Ok(results) };
            let delay = self.shared.cluster.backoff_delay(attempts);
            attempts += 1;
            if self.shared.now() + delay >= deadline {
                let millis = self.shared.config.api_timeout.as_millis();
                return Err(Error::Timeout(format!("Failed to get offsets by times in {millis}ms: {error}")));
            }
            self.shared.sleep(delay).await;
        }
    }

    pub async fn partitions_for(&self, topic: &str) -> Result<Vec<PartitionInfo>> {
        let topics = self.describe(Topics::Names(vec![topic.to_owned()])).await?;
        Ok(topics.into_iter().find(|(name, _)| name == topic).map(|(_, partitions)| partitions).unwrap_or_default())
    }

    pub async fn list_topics(&self) -> Result<BTreeMap<String, Vec<PartitionInfo>>> {
        Ok(self.describe(Topics::All).await?.into_iter().collect())
    }

    async fn describe(&self, topics: Topics) -> Result<Vec<(String, Vec<PartitionInfo>)>> {
        self.open()?;
        let deadline: Instant = self.shared.api_deadline();
        let create = self.shared.config.connection.allow_auto_topic_creation;
        let mut attempts = 0;
        loop {
            let error = match self.shared.cluster.fetch_metadata(&topics, create, deadline).await {
                Err(error) if error.is_retriable() => error,
                Err(error) => return Err(error),
                Ok(response) => {
                    let starting = response.topics.iter().find(|topic| topic.error_code == ErrorCode::LeaderNotAvailable.code());
                    match starting {
                        Some(topic) => Error::from_code(topic.error_code, None),
                        None => {
                            let cache = crate::core::metadata::MetadataCache::default().updated(response, true);
                            let known = cache.topics.iter().filter(|(_, topic)| topic.error == ErrorCode::None);
                            return Ok(known.map(|(name, _)| (name.clone(), cache.partition_infos(name))).collect());
                        }
                    }
                }
            };
            let delay = self.shared.cluster.backoff_delay(attempts);
            attempts += 1;
            if self.shared.now() + delay >= deadline {
                return Err(Error::Timeout(format!("Timeout expired while fetching topic metadata: {error}")));
            }
            self.shared.sleep(delay).await;
        }
    }
}
