//! The requests of a life, and what its records look like.

use super::history::Name;
use crate::{Client, SimNode};
use base::{Now, Uuid};
use bytes::Bytes;
use record::{BatchBuilder, BatchFields, EndTxnMarker, Header};
use std::collections::BTreeSet;
use wire::Records;
use wire::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use wire::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use wire::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use wire::messages::delete_topics_request::DeleteTopicState;
use wire::messages::fetch_request::{FetchPartition, FetchTopic};
use wire::messages::fetch_response::PartitionData;
use wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use wire::messages::txn_offset_commit_request::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic};
use wire::messages::*;

const NAME: &str = "n";

pub fn create_topic(name: &str, partitions: i32, configs: &[(&str, &str)]) -> CreateTopicsRequest {
    let config =
        |(name, value): &(&str, &str)| CreatableTopicConfig { name: (*name).into(), value: Some((*value).into()), ..Default::default() };
    let topic = CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: 1,
        configs: configs.iter().map(config).collect(),
        ..Default::default()
    };
    CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() }
}

pub fn delete_topic(name: &str) -> DeleteTopicsRequest {
    let topic = DeleteTopicState { name: Some(name.into()), ..Default::default() };
    DeleteTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() }
}

pub fn delete_records(topic: &str, index: i32, offset: i64) -> DeleteRecordsRequest {
    let partition = DeleteRecordsPartition { partition_index: index, offset, ..Default::default() };
    let topic = DeleteRecordsTopic { name: topic.into(), partitions: vec![partition], ..Default::default() };
    DeleteRecordsRequest { topics: vec![topic], timeout_ms: 1_000, ..Default::default() }
}

pub fn earliest_offset(topic: &str, index: i32) -> ListOffsetsRequest {
    let partition = ListOffsetsPartition { partition_index: index, timestamp: -2, ..Default::default() };
    let topic = ListOffsetsTopic { name: topic.into(), partitions: vec![partition], ..Default::default() };
    ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() }
}

pub fn fetch(id: Uuid, index: i32, offset: i64, committed: bool) -> FetchRequest {
    let partition = FetchPartition { partition: index, fetch_offset: offset, partition_max_bytes: 1 << 20, ..Default::default() };
    let topic = FetchTopic { topic_id: id, partitions: vec![partition], ..Default::default() };
    FetchRequest {
        max_wait_ms: 0,
        min_bytes: 0,
        max_bytes: 1 << 20,
        session_epoch: -1,
        isolation_level: i8::from(committed),
        topics: vec![topic],
        ..Default::default()
    }
}

pub fn commit(group: &str, topic: &str, offset: i64) -> OffsetCommitRequest {
    let partition =
        OffsetCommitRequestPartition { partition_index: 0, committed_offset: offset, committed_leader_epoch: -1, ..Default::default() };
    let topic = OffsetCommitRequestTopic { name: topic.into(), partitions: vec![partition], ..Default::default() };
    OffsetCommitRequest { group_id: group.into(), generation_id_or_member_epoch: -1, topics: vec![topic], ..Default::default() }
}

pub fn offset_of(group: &str, topic: &str) -> OffsetFetchRequest {
    let topics = vec![OffsetFetchRequestTopics { name: topic.into(), partition_indexes: vec![0], ..Default::default() }];
    let group = OffsetFetchRequestGroup { group_id: group.into(), topics: Some(topics), ..Default::default() };
    OffsetFetchRequest { groups: vec![group], ..Default::default() }
}

/// Makes the topic of the coordinator, if it is not there yet.
pub fn find_coordinator(client: &mut Client, node: &mut SimNode, key: &str, transactional: bool) {
    let request = FindCoordinatorRequest { key_type: i8::from(transactional), coordinator_keys: vec![key.into()], ..Default::default() };
    client.attempt(node, &request, 4);
}

pub fn init_producer(transactional_id: Option<&str>) -> InitProducerIdRequest {
    InitProducerIdRequest {
        transactional_id: transactional_id.map(str::to_owned),
        // Longer than any life: what ends a transaction is known.
        transaction_timeout_ms: 900_000,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    }
}

pub struct Producing<'a> {
    pub transactional_id: Option<&'a str>,
    pub producer_id: i64,
    pub epoch: i16,
    pub sequence: i32,
}

pub fn produce(topic: &str, index: i32, batch: usize, records: &[(Option<u64>, bool)], by: &Producing<'_>, now: Now) -> ProduceRequest {
    let mut builder = BatchBuilder::new(BatchFields {
        producer_id: by.producer_id,
        producer_epoch: by.epoch,
        base_sequence: by.sequence,
        transactional: by.transactional_id.is_some(),
        ..BatchFields::default()
    });
    for (i, (key, deletes)) in records.iter().enumerate() {
        let key = key.map(|key| key.to_string());
        let header = Header { key: Bytes::from_static(NAME.as_bytes()), value: Some(format!("{batch}.{i}").into()) };
        let value = (!deletes).then(|| format!("value of {batch}.{i} {}", "x".repeat(batch % 40)));
        builder.append(now.wall_ms, key.as_ref().map(|k| k.as_bytes()), value.as_ref().map(|v| v.as_bytes()), &[header]);
    }
    let bytes = builder.build().expect("the batch is small");
    let data = PartitionProduceData { index, records: Some(Records::from(bytes)), ..Default::default() };
    let topic = TopicProduceData { name: topic.into(), partition_data: vec![data], ..Default::default() };
    ProduceRequest {
        transactional_id: by.transactional_id.map(str::to_owned),
        acks: -1,
        timeout_ms: 1_000,
        topic_data: vec![topic],
        ..Default::default()
    }
}

pub fn add_partition(id: &str, producer_id: i64, epoch: i16, topic: &str, index: i32) -> AddPartitionsToTxnRequest {
    AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: id.into(),
        v3_and_below_producer_id: producer_id,
        v3_and_below_producer_epoch: epoch,
        v3_and_below_topics: vec![AddPartitionsToTxnTopic { name: topic.into(), partitions: vec![index], ..Default::default() }],
        ..Default::default()
    }
}

pub fn add_offsets(id: &str, producer_id: i64, epoch: i16, group: &str) -> AddOffsetsToTxnRequest {
    AddOffsetsToTxnRequest { transactional_id: id.into(), producer_id, producer_epoch: epoch, group_id: group.into(), ..Default::default() }
}

pub fn commit_in_transaction(id: &str, producer_id: i64, epoch: i16, group: &str, topic: &str, offset: i64) -> TxnOffsetCommitRequest {
    let partition =
        TxnOffsetCommitRequestPartition { partition_index: 0, committed_offset: offset, committed_leader_epoch: -1, ..Default::default() };
    TxnOffsetCommitRequest {
        transactional_id: id.into(),
        group_id: group.into(),
        producer_id,
        producer_epoch: epoch,
        generation_id: -1,
        topics: vec![TxnOffsetCommitRequestTopic { name: topic.into(), partitions: vec![partition], ..Default::default() }],
        ..Default::default()
    }
}

pub fn end_transaction(id: &str, producer_id: i64, producer_epoch: i16, committed: bool) -> EndTxnRequest {
    EndTxnRequest { transactional_id: id.into(), producer_id, producer_epoch, committed, ..Default::default() }
}

/// What one Fetch brought.
#[derive(Default)]
pub struct Piece {
    pub records: Vec<(i64, Name)>,
    pub markers: BTreeSet<i64>,
    /// Those of committed transactions, or of none.
    pub committed: Vec<Name>,
    pub next_offset: i64,
    pub is_empty: bool,
}

/// Goes through an answer as a consumer does that began at `offset`.
pub fn decode(answer: PartitionData, offset: i64) -> Piece {
    let mut aborted: Vec<(i64, i64)> =
        answer.aborted_transactions.unwrap_or_default().iter().map(|a| (a.first_offset, a.producer_id)).collect();
    aborted.sort_unstable();
    let mut aborting = BTreeSet::new();
    let mut piece = Piece { next_offset: offset, is_empty: true, ..Piece::default() };
    let bytes = answer.records.map(|records| records.to_bytes().expect("the records are in memory")).unwrap_or_default();
    for batch in record::batches(&bytes) {
        let batch = batch.expect("a whole batch");
        let view = batch.view();
        assert!(view.is_valid(), "a batch with a wrong checksum is given to consumers");
        piece.is_empty = false;
        piece.next_offset = piece.next_offset.max(view.next_offset());
        let begun = aborted.iter().take_while(|(first, _)| *first <= view.last_offset()).count();
        aborting.extend(aborted.drain(..begun).map(|(_, producer)| producer));
        if view.is_control() {
            let marker = EndTxnMarker::from_batch(&batch).expect("a marker can be read");
            if marker.is_some_and(|(marker, _)| !marker.commit) {
                aborting.remove(&view.producer_id());
            }
            piece.markers.insert(view.base_offset());
            continue;
        }
        for record in batch.records(1 << 20).expect("records can be read") {
            let record = record.expect("a record can be read");
            let name = record.headers.iter().find_map(|header| name_of(&header));
            let name = name.expect("every record has a name");
            if record.offset < offset {
                continue;
            }
            piece.records.push((record.offset, name));
            if !view.is_transactional() || !aborting.contains(&view.producer_id()) {
                piece.committed.push(name);
            }
        }
    }
    piece
}

fn name_of(header: &Header) -> Option<Name> {
    let text = std::str::from_utf8(header.value.as_ref()?).ok()?;
    let (batch, index) = text.split_once('.')?;
    Some((batch.parse().ok()?, index.parse().ok()?))
}
