//! `kafka-transactions find-hanging`: transactions that partitions hold open and that no coordinator will ever end. Kafka counterpart:
//! TransactionsCommand.FindHangingTransactionsCommand.

use std::collections::HashMap;

use base::TopicPartition;
use client::admin::{ListTransactionsOptions, ProducerState, TransactionDescription};
use client::{Admin, Error};
use wire::ErrorCode;

use super::{failed, now_ms};
use crate::argparse4j::Parsed;
use crate::failure::Failure;
use crate::java::{hash_map_order, partition_hash, string_hash};
use crate::{session, table};

/// Topics, and partitions, that are asked about at a time.
const MAX_BATCH_SIZE: usize = 500;
const DEFAULT_TIMEOUT_MINUTES: i32 = 15;

struct OpenTransaction {
    partition: TopicPartition,
    producer: ProducerState,
}

pub async fn find(admin: &Admin, parsed: &Parsed) -> Result<(), Failure> {
    let broker = parsed.integer("broker-id");
    let topic = parsed.value("topic");
    if topic.is_none() && broker.is_none() {
        return Err(Failure::new("The `find-hanging` command requires either --topic or --broker-id to limit the scope of the search"));
    }
    let partition: Option<i32> = parsed.integer("partition");
    if partition.is_some() && topic.is_none() {
        return Err(Failure::new("The --partition argument requires --topic to be provided"));
    }
    let timeout_ms = i64::from(parsed.integer("max-transaction-timeout").unwrap_or(DEFAULT_TIMEOUT_MINUTES)) * 60_000;
    let partitions = match (topic, partition) {
        (Some(topic), Some(partition)) => vec![TopicPartition::new(topic, partition)],
        (Some(topic), None) => partitions(admin, broker, &[topic.to_owned()]).await?,
        (None, _) => {
            let listed = admin.list_topics().await.map_err(failed("Failed to list topics"))?;
            let names: Vec<String> = listed.into_iter().map(|topic| topic.name).collect();
            partitions(admin, broker, &names).await?
        }
    };
    let candidates = candidates(admin, broker, timeout_ms, &partitions).await?;
    if candidates.is_empty() {
        print(&[]);
        return Ok(());
    }
    let mut ids: Vec<i64> = candidates.iter().map(|open| open.producer.producer_id).collect();
    ids.sort_unstable();
    ids.dedup();
    let names = transactional_ids(admin, &ids).await?;
    let descriptions = descriptions(admin, &names).await?;
    let mut by_producer: Vec<(i64, Vec<OpenTransaction>)> = Vec::new();
    for open in candidates {
        match by_producer.iter_mut().find(|(id, _)| *id == open.producer.producer_id) {
            Some((_, of_producer)) => of_producer.push(open),
            None => by_producer.push((open.producer.producer_id, vec![open])),
        }
    }
    let by_producer = hash_map_order(by_producer, 16, |(id, _)| (*id ^ (*id as u64 >> 32) as i64) as i32);
    let hanging: Vec<OpenTransaction> =
        by_producer.into_iter().flat_map(|(_, of_producer)| of_producer).filter(|open| is_hanging(open, &names, &descriptions)).collect();
    print(&hanging);
    Ok(())
}

/// Nobody will write the marker: the producer id belongs to no transactional id any more, or its coordinator does not have the partition in
/// the transaction.
fn is_hanging(open: &OpenTransaction, names: &HashMap<i64, String>, descriptions: &HashMap<String, TransactionDescription>) -> bool {
    let described = names.get(&open.producer.producer_id).and_then(|name| descriptions.get(name));
    described.is_none_or(|description| !description.topic_partitions.contains(&open.partition))
}

async fn partitions(admin: &Admin, broker: Option<i32>, topics: &[String]) -> Result<Vec<TopicPartition>, Failure> {
    let mut found = Vec::new();
    for batch in topics.chunks(MAX_BATCH_SIZE) {
        let what = failed(format!("Failed to describe {} topics", batch.len()));
        let described = session::describe_topics(admin, batch).await.map_err(what)?;
        for topic in hash_map_order(described, 16, |topic| string_hash(&topic.name)) {
            let wanted =
                topic.partitions.iter().filter(|partition| broker.is_none_or(|id| partition.replicas.iter().any(|node| node.id == id)));
            found.extend(wanted.map(|partition| TopicPartition::new(topic.name.as_str(), partition.partition)));
        }
    }
    Ok(found)
}

/// Transactions that have been open for longer than any should be.
async fn candidates(
    admin: &Admin,
    broker: Option<i32>,
    timeout_ms: i64,
    partitions: &[TopicPartition],
) -> Result<Vec<OpenTransaction>, Failure> {
    let mut found = Vec::new();
    for batch in partitions.chunks(MAX_BATCH_SIZE) {
        let shown = broker.map_or("Optional.empty".to_owned(), |broker| format!("Optional[{broker}]"));
        let what = || failed(format!("Failed to describe producers for {} partitions on broker {shown}", batch.len()));
        let described = admin.describe_producers(batch, broker).await.map_err(what())?;
        let now = now_ms();
        let described: Vec<_> = described.into_iter().collect();
        let count = described.len();
        for (partition, producers) in hash_map_order(described, count, |(tp, _)| partition_hash(&tp.topic, tp.partition)) {
            let open = producers.map_err(what())?.into_iter().filter(|producer| {
                producer.current_transaction_start_offset.is_some() && now.saturating_sub(producer.last_timestamp) > timeout_ms
            });
            found.extend(open.map(|producer| OpenTransaction { partition: partition.clone(), producer }));
        }
    }
    Ok(found)
}

async fn transactional_ids(admin: &Admin, producer_ids: &[i64]) -> Result<HashMap<i64, String>, Failure> {
    let options = ListTransactionsOptions { producer_ids: producer_ids.to_vec(), ..Default::default() };
    let what = failed(format!("Failed to list transactions for {} producers", producer_ids.len()));
    let listed = admin.list_transactions(&options).await.map_err(what)?;
    let asked = listed.into_values().flatten().filter(|listing| producer_ids.contains(&listing.producer_id));
    Ok(asked.map(|listing| (listing.producer_id, listing.transactional_id)).collect())
}

async fn descriptions(admin: &Admin, names: &HashMap<i64, String>) -> Result<HashMap<String, TransactionDescription>, Failure> {
    let mut names: Vec<String> = names.values().cloned().collect();
    names.sort();
    let what = || failed(format!("Failed to describe {} transactions", names.len()));
    let mut found = HashMap::new();
    for (name, described) in admin.describe_transactions(&names).await.map_err(what())? {
        match described {
            Ok(description) => {
                found.insert(name, description);
            }
            Err(Error::Broker { code: ErrorCode::TransactionalIdNotFound, .. }) => {}
            Err(error) => return Err(what()(error)),
        }
    }
    Ok(found)
}

fn print(hanging: &[OpenTransaction]) {
    let now = now_ms();
    let rows: Vec<[String; 8]> = hanging
        .iter()
        .map(|OpenTransaction { partition, producer }| {
            [
                partition.topic.clone(),
                partition.partition.to_string(),
                producer.producer_id.to_string(),
                producer.producer_epoch.to_string(),
                producer.coordinator_epoch.unwrap_or(-1).to_string(),
                producer.current_transaction_start_offset.unwrap_or(-1).to_string(),
                producer.last_timestamp.to_string(),
                ((now - producer.last_timestamp) / 60_000).to_string(),
            ]
        })
        .collect();
    let header = ["Topic", "Partition", "ProducerId", "ProducerEpoch", "CoordinatorEpoch", "StartOffset", "LastTimestamp", "Duration(min)"];
    table::print(header, &rows);
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::admin::TransactionState;

    fn open(producer_id: i64, partition: i32) -> OpenTransaction {
        OpenTransaction {
            partition: TopicPartition::new("t", partition),
            producer: ProducerState {
                producer_id,
                producer_epoch: 0,
                last_sequence: 0,
                last_timestamp: 0,
                coordinator_epoch: None,
                current_transaction_start_offset: Some(5),
            },
        }
    }

    #[test]
    fn what_hangs() {
        let names = HashMap::from([(1, "one".to_owned()), (2, "gone".to_owned())]);
        let description = TransactionDescription {
            coordinator_id: 1,
            state: TransactionState::Ongoing,
            producer_id: 1,
            producer_epoch: 0,
            transaction_timeout_ms: 1,
            transaction_start_time_ms: None,
            topic_partitions: [TopicPartition::new("t", 0)].into(),
        };
        let descriptions = HashMap::from([("one".to_owned(), description)]);
        assert!(!is_hanging(&open(1, 0), &names, &descriptions), "its coordinator will end it");
        assert!(is_hanging(&open(1, 1), &names, &descriptions), "the partition is not in the transaction");
        assert!(is_hanging(&open(2, 0), &names, &descriptions), "the coordinator has forgotten the id");
        assert!(is_hanging(&open(3, 0), &names, &descriptions), "nobody has the producer id");
    }
}
