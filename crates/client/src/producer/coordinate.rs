//! Owns: carrying one request of a transaction to its coordinator: finding it, the version of the request, and its answer in the terms of
//! `core::transaction`. Used by: the sender task. Decides nothing. Kafka: `Sender.maybeSendAndPollTransactionalRequest`.

use crate::consumer::GroupMetadata;
use crate::core::idempotence::ProducerId;
use crate::core::transaction::{Answer, Call, TransactionRequest};
use crate::driver::connection::Connection;
use crate::driver::{Cluster, CoordinatorKind};
use crate::error::{Error, Result};
use crate::types::OffsetAndMetadata;
use base::{Instant, TopicPartition};
use std::collections::BTreeMap;
use wire::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use wire::messages::txn_offset_commit_request::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic};
use wire::messages::{AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest, TxnOffsetCommitRequest};
use wire::{ApiKey, ErrorCode};

/// The last versions that clients use without transaction.version 2, where nothing is implied. (KIP-890)
const END_VERSION1: i16 = 4;
const COMMIT_OFFSETS_VERSION1: i16 = 4;
/// Later versions are for brokers.
const ADD_PARTITIONS_MAX: i16 = 3;
/// Later versions are for two-phase commit.
const INIT_PRODUCER_ID_MAX: i16 = 5;
/// From here on InitProducerId can raise the epoch of an id in use.
const INIT_PRODUCER_ID_BUMPS: i16 = 3;
/// From here on the member that processed the records is named (KIP-447).
const COMMIT_OFFSETS_MEMBER: i16 = 3;

/// The coordinators that were found.
#[derive(Default)]
pub struct Coordinators {
    transaction: Option<i32>,
    group: Option<(String, i32)>,
}

impl Coordinators {
    pub fn of(&self, kind: CoordinatorKind, key: &str) -> Option<i32> {
        match kind {
            CoordinatorKind::Group => self.group.as_ref().filter(|(group, _)| group == key).map(|(_, node)| *node),
            _ => self.transaction,
        }
    }

    pub fn learn(&mut self, kind: CoordinatorKind, key: String, node: i32) {
        match kind {
            CoordinatorKind::Group => self.group = Some((key, node)),
            _ => self.transaction = Some(node),
        }
    }

    pub fn forget(&mut self, kind: CoordinatorKind) {
        match kind {
            CoordinatorKind::Group => self.group = None,
            _ => self.transaction = None,
        }
    }
}

/// Whose coordinator a request goes to.
pub fn target(request: &TransactionRequest) -> (CoordinatorKind, String) {
    match &request.call {
        Call::CommitOffsets { group, .. } => (CoordinatorKind::Group, group.group_id.clone()),
        _ => (CoordinatorKind::Transaction, request.transactional_id.clone()),
    }
}

/// One attempt; returns the coordinator that was asked as well.
pub async fn carry_out(cluster: &Cluster, request: TransactionRequest, known: Option<i32>) -> (Option<i32>, Answer) {
    let (kind, key) = target(&request);
    let deadline = cluster.clock().mono() + cluster.config().request_timeout;
    let node = match known {
        Some(node) => node,
        None => match cluster.find_coordinator(kind, &key, deadline).await {
            Ok(node) => node.id,
            Err(Error::Broker { code, message }) => return (None, Answer::NoCoordinator { kind, key, code, message: Some(message) }),
            Err(error) => return (None, failed(kind, error)),
        },
    };
    let answer = match cluster.connection(node, deadline).await {
        Ok(connection) => ask(cluster, &connection, request, deadline).await.unwrap_or_else(|error| failed(kind, error)),
        Err(error) => {
            tracing::debug!("{error}");
            Answer::None(kind)
        }
    };
    (Some(node), answer)
}

fn failed(kind: CoordinatorKind, error: Error) -> Answer {
    tracing::debug!("{error}");
    match error {
        Error::UnsupportedVersion(_) | Error::InvalidResponse { .. } => Answer::Unusable(error),
        _ => Answer::None(kind),
    }
}

async fn ask(cluster: &Cluster, connection: &Connection, request: TransactionRequest, deadline: Instant) -> Result<Answer> {
    let deadline = cluster.request_deadline(deadline);
    let ProducerId { id: producer_id, epoch: producer_epoch } = request.producer.unwrap_or(ProducerId { id: -1, epoch: -1 });
    let transactional_id = request.transactional_id;
    let (versions, name) = (&connection.versions, connection.name());
    let newest = |version1: i16| if request.version2 { i16::MAX } else { version1 };
    match request.call {
        Call::InitProducerId { timeout_ms } => {
            let message = InitProducerIdRequest {
                transactional_id: Some(transactional_id),
                transaction_timeout_ms: timeout_ms,
                producer_id,
                producer_epoch,
                ..Default::default()
            };
            let version = versions.choose::<InitProducerIdRequest>(0, INIT_PRODUCER_ID_MAX, name)?;
            let response = connection.request(&message, version, deadline).await?;
            Ok(Answer::InitProducerId {
                code: ErrorCode::from_code(response.error_code),
                producer: ProducerId { id: response.producer_id, epoch: response.producer_epoch },
                bumps: versions.range(ApiKey::InitProducerId).is_some_and(|(_, max)| max >= INIT_PRODUCER_ID_BUMPS),
            })
        }
        Call::AddPartitions(partitions) => {
            let topics = by_topic(partitions.into_iter().map(|partition| (partition.topic, partition.partition)));
            let message = AddPartitionsToTxnRequest {
                v3_and_below_transactional_id: transactional_id,
                v3_and_below_producer_id: producer_id,
                v3_and_below_producer_epoch: producer_epoch,
                v3_and_below_topics: topics
                    .into_iter()
                    .map(|(name, partitions)| AddPartitionsToTxnTopic { name, partitions, ..Default::default() })
                    .collect(),
                ..Default::default()
            };
            let version = versions.choose::<AddPartitionsToTxnRequest>(0, ADD_PARTITIONS_MAX, name)?;
            let response = connection.request(&message, version, deadline).await?;
            let answers = response.results_by_topic_v3_and_below.iter().flat_map(|topic| {
                topic.results_by_partition.iter().map(|partition| {
                    let place = TopicPartition::new(topic.name.as_str(), partition.partition_index);
                    (place, ErrorCode::from_code(partition.partition_error_code))
                })
            });
            Ok(Answer::AddPartitions(answers.collect()))
        }
        Call::AddOffsets { group_id } => {
            let message = AddOffsetsToTxnRequest { transactional_id, producer_id, producer_epoch, group_id, ..Default::default() };
            let version = versions.choose::<AddOffsetsToTxnRequest>(0, i16::MAX, name)?;
            let response = connection.request(&message, version, deadline).await?;
            Ok(Answer::AddOffsets(ErrorCode::from_code(response.error_code)))
        }
        Call::CommitOffsets { group, offsets } => {
            let min = if is_member(&group) { COMMIT_OFFSETS_MEMBER } else { 0 };
            let message = TxnOffsetCommitRequest {
                transactional_id,
                group_id: group.group_id,
                producer_id,
                producer_epoch,
                generation_id: group.generation,
                member_id: group.member_id,
                group_instance_id: group.group_instance_id,
                topics: commit_topics(offsets),
                ..Default::default()
            };
            let version = versions.choose::<TxnOffsetCommitRequest>(min, newest(COMMIT_OFFSETS_VERSION1), name)?;
            let response = connection.request(&message, version, deadline).await?;
            let answers = response.topics.iter().flat_map(|topic| {
                topic.partitions.iter().map(|partition| {
                    let place = TopicPartition::new(topic.name.as_str(), partition.partition_index);
                    (place, ErrorCode::from_code(partition.error_code))
                })
            });
            Ok(Answer::CommitOffsets(answers.collect()))
        }
        Call::End { commit } => {
            let message = EndTxnRequest { transactional_id, producer_id, producer_epoch, committed: commit, ..Default::default() };
            let version = versions.choose::<EndTxnRequest>(0, newest(END_VERSION1), name)?;
            let response = connection.request(&message, version, deadline).await?;
            let producer = ProducerId { id: response.producer_id, epoch: response.producer_epoch };
            Ok(Answer::End {
                code: ErrorCode::from_code(response.error_code),
                producer: Some(producer).filter(|producer| producer.id != -1),
            })
        }
    }
}

fn is_member(group: &GroupMetadata) -> bool {
    !group.member_id.is_empty() || group.generation != -1 || group.group_instance_id.is_some()
}

fn by_topic<T>(items: impl Iterator<Item = (String, T)>) -> BTreeMap<String, Vec<T>> {
    let mut topics: BTreeMap<String, Vec<T>> = BTreeMap::new();
    for (topic, item) in items {
        topics.entry(topic).or_default().push(item);
    }
    topics
}

fn commit_topics(offsets: Vec<(TopicPartition, OffsetAndMetadata)>) -> Vec<TxnOffsetCommitRequestTopic> {
    let partitions = offsets.into_iter().map(|(partition, committed)| {
        let offset = TxnOffsetCommitRequestPartition {
            partition_index: partition.partition,
            committed_offset: committed.offset,
            committed_leader_epoch: committed.leader_epoch.unwrap_or(-1),
            committed_metadata: Some(committed.metadata),
            ..Default::default()
        };
        (partition.topic, offset)
    });
    by_topic(partitions)
        .into_iter()
        .map(|(name, partitions)| TxnOffsetCommitRequestTopic { name, partitions, ..Default::default() })
        .collect()
}
