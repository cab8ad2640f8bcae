//! The records of `__transaction_state`, both ways. Kafka: TransactionLog.

use std::collections::BTreeMap;

use base::TopicPartition;
use bytes::Bytes;
use wire::messages::transaction_log_value::PartitionsSchema;
use wire::messages::{TransactionLogKey, TransactionLogValue};
use wire::{EncodeError, Message, Reader};

use super::metadata::{Metadata, NO_PRODUCER_EPOCH, TxnStatus};
use crate::output::CoordinatorRecord;
use crate::records;

const KEY_TYPE: i16 = 0;
const VALUE_VERSION_MAX: i16 = 1;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum StoredTxn {
    Txn(String, Box<Metadata>),
    Tombstone(String),
    /// The left-over of a newer broker: what it is, and its version.
    Unknown(&'static str, i16),
}

/// The error says what cannot be read.
pub(crate) fn decode(key: &Bytes, value: Option<&Bytes>) -> Result<StoredTxn, String> {
    let in_key = |error| format!("its key cannot be read: {error}");
    let mut reader = Reader::new(key.clone());
    let key_type = reader.i16().map_err(in_key)?;
    if key_type != KEY_TYPE {
        return Ok(StoredTxn::Unknown("key", key_type));
    }
    let transactional_id = TransactionLogKey::decode(&mut reader, 0).map_err(in_key)?.transactional_id;
    let Some(value) = value else { return Ok(StoredTxn::Tombstone(transactional_id)) };
    let in_value = |error| format!("the value of transactional id {transactional_id:?} cannot be read: {error}");
    let mut reader = Reader::new(value.clone());
    let version = reader.i16().map_err(in_value)?;
    if !(0..=VALUE_VERSION_MAX).contains(&version) {
        return Ok(StoredTxn::Unknown("value", version));
    }
    let stored = TransactionLogValue::decode(&mut reader, version).map_err(in_value)?;
    let status = TxnStatus::from_id(stored.transaction_status)
        .ok_or_else(|| format!("transactional id {transactional_id:?} has the unknown state {}", stored.transaction_status))?;
    let mut metadata = Metadata {
        producer_id: stored.producer_id,
        prev_producer_id: stored.previous_producer_id,
        next_producer_id: stored.next_producer_id,
        producer_epoch: stored.producer_epoch,
        last_producer_epoch: NO_PRODUCER_EPOCH,
        timeout_ms: stored.transaction_timeout_ms,
        status,
        partitions: Default::default(),
        start_ms: stored.transaction_start_timestamp_ms,
        updated_ms: stored.transaction_last_update_timestamp_ms,
        client_version: stored.client_transaction_version,
    };
    if status != TxnStatus::Empty {
        for topic in stored.transaction_partitions.into_iter().flatten() {
            metadata.partitions.extend(topic.partition_ids.iter().map(|p| TopicPartition::new(topic.topic.clone(), *p)));
        }
    }
    Ok(StoredTxn::Txn(transactional_id, Box::new(metadata)))
}

/// `transaction_version`: the finalized level of the feature, which decides on the format.
pub(crate) fn encode(transactional_id: &str, txn: &Metadata, transaction_version: i16) -> Result<CoordinatorRecord, EncodeError> {
    let version = if transaction_version >= 1 { 1 } else { 0 };
    let tagged = version >= 1;
    let stored = TransactionLogValue {
        producer_id: txn.producer_id,
        previous_producer_id: if tagged { txn.prev_producer_id } else { -1 },
        next_producer_id: if tagged { txn.next_producer_id } else { -1 },
        producer_epoch: txn.producer_epoch,
        transaction_timeout_ms: txn.timeout_ms,
        transaction_status: txn.status.id(),
        transaction_partitions: (txn.status != TxnStatus::Empty).then(|| by_topic(txn)),
        transaction_last_update_timestamp_ms: txn.updated_ms,
        transaction_start_timestamp_ms: txn.start_ms,
        client_transaction_version: if tagged { txn.client_version } else { 0 },
        ..Default::default()
    };
    Ok(CoordinatorRecord { key: key(transactional_id)?, value: Some(records::value(&stored, version)?) })
}

pub(crate) fn tombstone(transactional_id: &str) -> Result<CoordinatorRecord, EncodeError> {
    Ok(CoordinatorRecord { key: key(transactional_id)?, value: None })
}

fn key(transactional_id: &str) -> Result<Bytes, EncodeError> {
    records::key(&TransactionLogKey { transactional_id: transactional_id.to_owned(), ..Default::default() })
}

fn by_topic(txn: &Metadata) -> Vec<PartitionsSchema> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in &txn.partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition);
    }
    let schema =
        |(topic, partition_ids): (&str, Vec<i32>)| PartitionsSchema { topic: topic.to_owned(), partition_ids, ..Default::default() };
    topics.into_iter().map(schema).collect()
}
