//! How old the oldest record is that a group has not consumed yet, for `--lag-seconds`. An addition of Gregor's, made with Kafka's requests
//! alone, so that it works on any broker. Never does: read more than a few batches of a partition.

use std::collections::BTreeMap;

use base::{TopicPartition, Uuid};
use client::Admin;
use client::admin::TopicDescription;
use wire::ErrorCode;
use wire::messages::FetchRequest;
use wire::messages::fetch_request::{FetchPartition, FetchTopic};

/// Batches without a record that a consumer would see (markers of transactions) are passed over; so many of them.
const BATCHES_MAX: usize = 8;
/// Batches that decompress to more than this are not looked into.
const DECOMPRESSED_MAX: usize = 64 << 20;

/// Where a group stands in a partition, and where the partition ends.
pub struct Standing {
    pub offset: i64,
    pub end: i64,
}

/// Seconds by partition; those that cannot be told are left out.
pub async fn ages(admin: &Admin, standings: &BTreeMap<TopicPartition, Standing>, now_ms: i64) -> BTreeMap<TopicPartition, i64> {
    let mut topics: Vec<String> = standings.keys().map(|partition| partition.topic.clone()).collect();
    topics.dedup();
    let described = admin.describe_topics(&topics).await.unwrap_or_default();
    let described: BTreeMap<String, TopicDescription> =
        described.into_iter().filter_map(|(name, result)| Some((name, result.ok()?))).collect();
    let mut found = BTreeMap::new();
    for (partition, standing) in standings {
        let topic = described.get(&partition.topic);
        let info = topic.and_then(|topic| topic.partitions.iter().find(|info| info.partition == partition.partition));
        let age = match (topic, info.and_then(|info| info.leader.as_ref())) {
            _ if standing.offset >= standing.end => Some(0),
            (Some(topic), Some(leader)) => age(admin, leader.id, topic.topic_id, partition, standing, now_ms).await,
            _ => None,
        };
        if let Some(seconds) = age {
            found.insert(partition.clone(), seconds);
        }
    }
    found
}

async fn age(admin: &Admin, leader: i32, id: Uuid, partition: &TopicPartition, standing: &Standing, now_ms: i64) -> Option<i64> {
    let mut offset = standing.offset;
    for _ in 0..BATCHES_MAX {
        if offset >= standing.end {
            return Some(0);
        }
        let response = admin.node(leader, fetch_one(id, partition, offset)).await.ok()?;
        let data = response.responses.into_iter().next()?.partitions.into_iter().next()?;
        if data.error_code != ErrorCode::None.code() {
            return None;
        }
        let batch = record::batches(&data.records?.to_bytes().ok()?).next()?.ok()?;
        if !batch.view().is_control() {
            let mut records = batch.records(DECOMPRESSED_MAX).ok()?.filter_map(Result::ok);
            if let Some(record) = records.find(|record| record.offset >= offset) {
                return (record.timestamp >= 0).then(|| (now_ms - record.timestamp).max(0) / 1000);
            }
        }
        offset = batch.view().next_offset();
    }
    None
}

/// Asks for the batch with an offset and, by a limit of one byte, for no other.
fn fetch_one(id: Uuid, partition: &TopicPartition, offset: i64) -> FetchRequest {
    let wanted = FetchPartition { partition: partition.partition, fetch_offset: offset, partition_max_bytes: 1, ..Default::default() };
    let topic = FetchTopic { topic: partition.topic.clone(), topic_id: id, partitions: vec![wanted], ..Default::default() };
    FetchRequest { max_bytes: 1, topics: vec![topic], ..Default::default() }
}
