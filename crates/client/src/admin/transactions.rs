//! Owns: what admins ask about transactions and do to those that hang: producers of a partition, transactional ids, aborting and fencing.
//! Used by: `kafka-transactions`, tests. Kafka: `DescribeProducersHandler`, `DescribeTransactionsHandler`, `ListTransactionsHandler`,
//! `AbortTransactionHandler`, `FenceProducersHandler`, KIP-664.

use super::{Admin, CoordinatorKind, Route};
use crate::error::{Error, Result};
use base::TopicPartition;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use wire::ErrorCode;
use wire::messages::describe_producers_request::TopicRequest;
use wire::messages::describe_producers_response::DescribeProducersResponse;
use wire::messages::describe_transactions_response::TransactionState as StateAnswer;
use wire::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use wire::messages::{
    DescribeProducersRequest, DescribeTransactionsRequest, InitProducerIdRequest, ListTransactionsRequest, WriteTxnMarkersRequest,
    WriteTxnMarkersResponse,
};

/// What a partition knows of one producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerState {
    pub producer_id: i64,
    pub producer_epoch: i32,
    pub last_sequence: i32,
    pub last_timestamp: i64,
    /// Of the last marker; None before the first.
    pub coordinator_epoch: Option<i32>,
    pub current_transaction_start_offset: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TransactionState {
    Ongoing,
    PrepareAbort,
    PrepareCommit,
    CompleteAbort,
    CompleteCommit,
    Empty,
    PrepareEpochFence,
    Unknown,
}

impl TransactionState {
    const ALL: [TransactionState; 8] = [
        TransactionState::Ongoing,
        TransactionState::PrepareAbort,
        TransactionState::PrepareCommit,
        TransactionState::CompleteAbort,
        TransactionState::CompleteCommit,
        TransactionState::Empty,
        TransactionState::PrepareEpochFence,
        TransactionState::Unknown,
    ];

    /// The name in requests and answers.
    pub fn name(self) -> &'static str {
        match self {
            TransactionState::Ongoing => "Ongoing",
            TransactionState::PrepareAbort => "PrepareAbort",
            TransactionState::PrepareCommit => "PrepareCommit",
            TransactionState::CompleteAbort => "CompleteAbort",
            TransactionState::CompleteCommit => "CompleteCommit",
            TransactionState::Empty => "Empty",
            TransactionState::PrepareEpochFence => "PrepareEpochFence",
            TransactionState::Unknown => "Unknown",
        }
    }

    fn parse(name: &str) -> Self {
        Self::ALL.into_iter().find(|state| state.name() == name).unwrap_or(TransactionState::Unknown)
    }
}

impl fmt::Display for TransactionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionDescription {
    pub coordinator_id: i32,
    pub state: TransactionState,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub transaction_timeout_ms: i32,
    pub transaction_start_time_ms: Option<i64>,
    /// Those that are in the transaction and have no marker yet.
    pub topic_partitions: BTreeSet<TopicPartition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionListing {
    pub transactional_id: String,
    pub producer_id: i64,
    pub state: TransactionState,
}

/// Which transactional ids to list; nothing restricts to nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListTransactionsOptions {
    pub states: Vec<TransactionState>,
    pub producer_ids: Vec<i64>,
    /// Only transactions that have been running for longer, in milliseconds.
    pub duration_ms: Option<i64>,
    /// An RE2 expression for the whole id.
    pub transactional_id_pattern: Option<String>,
}

/// An open transaction of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbortTransactionSpec {
    pub topic_partition: TopicPartition,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub coordinator_epoch: i32,
}

impl fmt::Display for AbortTransactionSpec {
    /// As Java prints it in messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "AbortTransactionSpec(topicPartition={}, producerId={}, producerEpoch={}, coordinatorEpoch={})",
            self.topic_partition, self.producer_id, self.producer_epoch, self.coordinator_epoch
        )
    }
}

impl Admin {
    /// The producers that partitions remember, as their leaders or the replicas on `broker` know them.
    pub async fn describe_producers(
        &self,
        partitions: &[TopicPartition],
        broker: Option<i32>,
    ) -> Result<BTreeMap<TopicPartition, Result<Vec<ProducerState>>>> {
        let Some(broker) = broker else {
            let build = |group: &[(TopicPartition, i32)]| producers_request(group.iter().map(|(partition, _)| partition));
            return self.per_leader(partitions, 0, build, |response| read_producers(response, None)).await;
        };
        // A topic that the broker has not heard of yet may come.
        let unknown = |response: &DescribeProducersResponse| {
            let codes = response.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code);
            codes.into_iter().find(|code| *code == ErrorCode::UnknownTopicOrPartition.code()).unwrap_or(0)
        };
        let response = self.call(Route::Node(broker), producers_request(partitions.iter()), unknown).await?;
        Ok(read_producers(response, Some(broker)).into_iter().collect())
    }

    pub async fn describe_transactions(&self, transactional_ids: &[String]) -> Result<Vec<(String, Result<TransactionDescription>)>> {
        let mut found = Vec::new();
        for id in transactional_ids {
            let route = Route::Coordinator(CoordinatorKind::Transaction, id.clone());
            let request = DescribeTransactionsRequest { transactional_ids: vec![id.clone()], ..Default::default() };
            let answered = self
                .call_located(
                    route,
                    0,
                    i16::MAX,
                    |_| request.clone(),
                    |response| response.transaction_states.first().map_or(0, |state| state.error_code),
                )
                .await;
            let described = answered.and_then(|(coordinator, response)| {
                let state = response.transaction_states.into_iter().find(|state| state.transactional_id == *id);
                described(id, coordinator, state.unwrap_or_default())
            });
            found.push((id.clone(), described));
        }
        Ok(found)
    }

    /// Transactional ids by the broker that coordinates them.
    pub async fn list_transactions(&self, options: &ListTransactionsOptions) -> Result<BTreeMap<i32, Vec<TransactionListing>>> {
        let request = ListTransactionsRequest {
            state_filters: options.states.iter().map(|state| state.name().to_owned()).collect(),
            producer_id_filters: options.producer_ids.clone(),
            duration_filter: options.duration_ms.unwrap_or(-1),
            transactional_id_pattern: options.transactional_id_pattern.clone().filter(|pattern| !pattern.is_empty()),
            ..Default::default()
        };
        let mut found = BTreeMap::new();
        for node in self.nodes().await? {
            // Of the retriable errors only this one goes away by itself.
            let loading = ErrorCode::CoordinatorLoadInProgress.code();
            let code = |code: i16| if code == loading { code } else { 0 };
            let response = self.call(Route::Node(node.id), request.clone(), |response| code(response.error_code)).await?;
            let problem = match ErrorCode::from_code(response.error_code) {
                ErrorCode::None => {
                    let listings = response.transaction_states.into_iter().map(|listing| TransactionListing {
                        transactional_id: listing.transactional_id,
                        producer_id: listing.producer_id,
                        state: TransactionState::parse(&listing.transaction_state),
                    });
                    found.insert(node.id, listings.collect());
                    continue;
                }
                ErrorCode::CoordinatorNotAvailable => "failed because the coordinator is shutting down",
                _ => "failed with an unexpected exception",
            };
            let text = format!("ListTransactions request sent to broker {} {problem}", node.id);
            return Err(Error::from_code(response.error_code, Some(text)));
        }
        Ok(found)
    }

    /// Writes an abort marker into one partition, whatever the coordinator knows; for transactions that hang.
    pub async fn abort_transaction(&self, spec: &AbortTransactionSpec) -> Result<()> {
        let partition = &spec.topic_partition;
        let build = |_: &[(TopicPartition, i32)]| WriteTxnMarkersRequest {
            markers: vec![WritableTxnMarker {
                producer_id: spec.producer_id,
                producer_epoch: spec.producer_epoch,
                transaction_result: false,
                topics: vec![WritableTxnMarkerTopic {
                    name: partition.topic.clone(),
                    partition_indexes: vec![partition.partition],
                    ..Default::default()
                }],
                coordinator_epoch: spec.coordinator_epoch,
                ..Default::default()
            }],
            ..Default::default()
        };
        let read = |response| vec![(partition.clone(), read_marker(response, spec))];
        let mut results = self.per_leader(std::slice::from_ref(partition), 0, build, read).await?;
        results.remove(partition).unwrap_or_else(|| Err(Error::broker(ErrorCode::UnknownTopicOrPartition, None)))
    }

    /// Ends what the producers of these transactional ids have under way, and them; the producer ids and epochs they would have had next.
    pub async fn fence_producers(&self, transactional_ids: &[String]) -> Result<Vec<(String, Result<(i64, i16)>)>> {
        let timeout_ms = i32::try_from(self.cluster().config().request_timeout.as_millis()).unwrap_or(i32::MAX);
        let mut fenced = Vec::new();
        for id in transactional_ids {
            let route = Route::Coordinator(CoordinatorKind::Transaction, id.clone());
            let request = InitProducerIdRequest {
                transactional_id: Some(id.clone()),
                transaction_timeout_ms: timeout_ms,
                producer_id: -1,
                producer_epoch: -1,
                ..Default::default()
            };
            // Later versions are for two-phase commit.
            let answered = self.call_versions(route, 0, 5, |_| request.clone(), |response| response.error_code).await;
            let result = answered.and_then(|response| {
                let why = match ErrorCode::from_code(response.error_code) {
                    ErrorCode::None => return Ok((response.producer_id, response.producer_epoch)),
                    ErrorCode::ClusterAuthorizationFailed => "cluster authorization failure",
                    ErrorCode::TransactionalIdAuthorizationFailed => "transactional ID authorization failure",
                    _ => "unexpected error",
                };
                let text = format!("InitProducerId request for transactionalId `{id}` failed due to {why}");
                Err(Error::from_code(response.error_code, Some(text)))
            });
            fenced.push((id.clone(), result));
        }
        Ok(fenced)
    }

    /// Aborts the open transaction of a transactional id by fencing its producer (KIP-939).
    pub async fn force_terminate_transaction(&self, transactional_id: &str) -> Result<()> {
        let fenced = self.fence_producers(&[transactional_id.to_owned()]).await?;
        fenced.into_iter().try_for_each(|(_, result)| result.map(drop))
    }
}

fn producers_request<'a>(partitions: impl Iterator<Item = &'a TopicPartition>) -> DescribeProducersRequest {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition);
    }
    let topics =
        topics.into_iter().map(|(name, partition_indexes)| TopicRequest { name: name.to_owned(), partition_indexes, ..Default::default() });
    DescribeProducersRequest { topics: topics.collect(), ..Default::default() }
}

fn read_producers(response: DescribeProducersResponse, broker: Option<i32>) -> Vec<(TopicPartition, Result<Vec<ProducerState>>)> {
    let mut found = Vec::new();
    for topic in response.topics {
        for partition in topic.partitions {
            let place = TopicPartition::new(topic.name.as_str(), partition.partition_index);
            let code = ErrorCode::from_code(partition.error_code);
            let text = match (code, broker) {
                (ErrorCode::None, _) => None,
                (ErrorCode::NotLeaderOrFollower, Some(broker)) => {
                    Some(format!("Failed to describe active producers for partition {place} on brokerId {broker}"))
                }
                (ErrorCode::InvalidTopicException, _) => {
                    let why = partition.error_message.unwrap_or_else(|| code.message().to_owned());
                    Some(format!("Failed to fetch metadata for partition {place} due to invalid topic error: {why}"))
                }
                (ErrorCode::TopicAuthorizationFailed, _) => Some(format!(
                    "Failed to describe active producers for partition {place} due to authorization failure on topic `{}`",
                    place.topic
                )),
                _ => Some(format!("Failed to describe active producers for partition {place} due to unexpected error")),
            };
            let result = match text {
                Some(text) => Err(Error::broker(code, Some(text))),
                None => Ok(partition
                    .active_producers
                    .into_iter()
                    .map(|producer| ProducerState {
                        producer_id: producer.producer_id,
                        producer_epoch: producer.producer_epoch,
                        last_sequence: producer.last_sequence,
                        last_timestamp: producer.last_timestamp,
                        coordinator_epoch: Some(producer.coordinator_epoch).filter(|epoch| *epoch >= 0),
                        current_transaction_start_offset: Some(producer.current_txn_start_offset).filter(|offset| *offset >= 0),
                    })
                    .collect()),
            };
            found.push((place, result));
        }
    }
    found
}

fn described(id: &str, coordinator_id: i32, state: StateAnswer) -> Result<TransactionDescription> {
    let why = match ErrorCode::from_code(state.error_code) {
        ErrorCode::None => {
            let partitions = |topic: &wire::messages::describe_transactions_response::TopicData| {
                let name = topic.topic.clone();
                topic.partitions.iter().map(move |partition| TopicPartition::new(name.as_str(), *partition)).collect::<Vec<_>>()
            };
            return Ok(TransactionDescription {
                coordinator_id,
                state: TransactionState::parse(&state.transaction_state),
                producer_id: state.producer_id,
                producer_epoch: state.producer_epoch,
                transaction_timeout_ms: state.transaction_timeout_ms,
                transaction_start_time_ms: Some(state.transaction_start_time_ms).filter(|ms| *ms >= 0),
                topic_partitions: state.topics.iter().flat_map(partitions).collect(),
            });
        }
        ErrorCode::TransactionalIdAuthorizationFailed => "due to authorization failure",
        ErrorCode::TransactionalIdNotFound => "because the ID could not be found",
        _ => "due to unexpected error",
    };
    let text = format!("DescribeTransactions request for transactionalId `{id}` failed {why}");
    Err(Error::from_code(state.error_code, Some(text)))
}

fn read_marker(response: WriteTxnMarkersResponse, spec: &AbortTransactionSpec) -> Result<()> {
    let answer = response
        .markers
        .iter()
        .filter(|marker| marker.producer_id == spec.producer_id)
        .flat_map(|marker| &marker.topics)
        .filter(|topic| topic.name == spec.topic_partition.topic)
        .flat_map(|topic| &topic.partitions)
        .find(|partition| partition.partition_index == spec.topic_partition.partition);
    let Some(answer) = answer else {
        let text = format!("WriteTxnMarkers response included unexpected marker entries (expected to find {})", spec.topic_partition);
        return Err(Error::broker(ErrorCode::UnknownServerError, Some(text)));
    };
    let code = ErrorCode::from_code(answer.error_code);
    let why = match code {
        ErrorCode::None => return Ok(()),
        ErrorCode::ClusterAuthorizationFailed => "due to cluster authorization error".to_owned(),
        ErrorCode::InvalidProducerEpoch => "due an invalid producer epoch".to_owned(),
        ErrorCode::TransactionCoordinatorFenced => {
            format!("since the provided coordinator epoch {} has been fenced by the active coordinator", spec.coordinator_epoch)
        }
        code => format!("due to unexpected error: {}", code.message()),
    };
    Err(Error::broker(code, Some(format!("WriteTxnMarkers request with {spec} failed {why}"))))
}
