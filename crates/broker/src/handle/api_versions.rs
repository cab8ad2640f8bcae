//! ApiVersions (KIP-35, KIP-511, KIP-584): what this node serves. Kafka: `DefaultApiVersionManager`, `ApiVersionsResponse.Builder`.

use crate::answer::{Handled, ReplyTo};
use crate::context::Context;
use wire::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use wire::messages::{ApiVersionsRequest, ApiVersionsResponse};
use wire::{ApiKey, ErrorCode};

/// What clients are told of, in the order Kafka lists them: by key. `unavailable.rs` answers some more.
const ADVERTISED: &[ApiKey] = &[
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::Metadata,
    ApiKey::OffsetCommit,
    ApiKey::OffsetFetch,
    ApiKey::FindCoordinator,
    ApiKey::JoinGroup,
    ApiKey::Heartbeat,
    ApiKey::LeaveGroup,
    ApiKey::SyncGroup,
    ApiKey::DescribeGroups,
    ApiKey::ListGroups,
    ApiKey::ApiVersions,
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::DeleteRecords,
    ApiKey::InitProducerId,
    ApiKey::OffsetForLeaderEpoch,
    ApiKey::AddPartitionsToTxn,
    ApiKey::AddOffsetsToTxn,
    ApiKey::EndTxn,
    ApiKey::WriteTxnMarkers,
    ApiKey::TxnOffsetCommit,
    ApiKey::DescribeConfigs,
    ApiKey::AlterConfigs,
    ApiKey::AlterReplicaLogDirs,
    ApiKey::DescribeLogDirs,
    ApiKey::CreatePartitions,
    ApiKey::DeleteGroups,
    ApiKey::ElectLeaders,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::AlterPartitionReassignments,
    ApiKey::ListPartitionReassignments,
    ApiKey::OffsetDelete,
    ApiKey::DescribeQuorum,
    ApiKey::UpdateFeatures,
    ApiKey::DescribeCluster,
    ApiKey::DescribeProducers,
    ApiKey::UnregisterBroker,
    ApiKey::DescribeTransactions,
    ApiKey::ListTransactions,
    ApiKey::ConsumerGroupHeartbeat,
    ApiKey::ConsumerGroupDescribe,
    ApiKey::ListConfigResources,
    ApiKey::DescribeTopicPartitions,
    ApiKey::AddRaftVoter,
    ApiKey::RemoveRaftVoter,
];

/// What controllers are asked by admin clients that go to them directly (KIP-919).
const ADVERTISED_BY_CONTROLLER: &[ApiKey] = &[
    ApiKey::ApiVersions,
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::DescribeConfigs,
    ApiKey::AlterConfigs,
    ApiKey::CreatePartitions,
    ApiKey::ElectLeaders,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::AlterPartitionReassignments,
    ApiKey::ListPartitionReassignments,
    ApiKey::DescribeQuorum,
    ApiKey::UpdateFeatures,
    ApiKey::DescribeCluster,
    ApiKey::UnregisterBroker,
    ApiKey::AddRaftVoter,
    ApiKey::RemoveRaftVoter,
];

pub(super) fn is_for_controllers(key: ApiKey) -> bool {
    ADVERTISED_BY_CONTROLLER.contains(&key)
}

pub(super) fn handle(c: &mut Context, request: ApiVersionsRequest) -> Handled {
    if c.version() >= 3 {
        let (name, version) = (request.client_software_name, request.client_software_version);
        if !is_valid_software(&name) || !is_valid_software(&version) {
            return c.answer(&ApiVersionsResponse { error_code: ErrorCode::InvalidRequest.code(), ..Default::default() });
        }
        c.session.client_software = Some((name, version));
    }
    let image = &c.image;
    c.answer(&ApiVersionsResponse {
        api_keys: if c.session.on_controller { ADVERTISED_BY_CONTROLLER } else { ADVERTISED }.iter().map(|key| api_version(*key)).collect(),
        supported_features: supported_features(c.version() < 4),
        finalized_features_epoch: image.provenance.offset,
        finalized_features: image
            .features
            .finalized()
            .into_iter()
            .map(|(name, level)| FinalizedFeatureKey { name, max_version_level: level, min_version_level: level, ..Default::default() })
            .collect(),
        ..Default::default()
    })
}

/// An answer every client can read, in version 0: the code and the versions of ApiVersions itself.
pub(super) fn unsupported(reply: ReplyTo) -> Handled {
    ReplyTo { version: 0, ..reply }.answer(&ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion.code(),
        api_keys: vec![api_version(ApiKey::ApiVersions)],
        ..Default::default()
    })
}

fn api_version(key: ApiKey) -> ApiVersion {
    // Old librdkafka looks for Produce v0 before it compresses; Kafka advertises what it does not serve (KAFKA-18659).
    let min_version = if key == ApiKey::Produce { 0 } else { key.min_version() };
    ApiVersion { api_key: key.code(), min_version, max_version: key.max_version(), ..Default::default() }
}

/// Some clients stumble over a feature whose range starts at 0; those are told only to clients of version 4 (KAFKA-17011).
fn supported_features(without_level_0: bool) -> Vec<SupportedFeatureKey> {
    metadata::features::FEATURES
        .iter()
        .filter(|f| !(without_level_0 && f.min == 0))
        .map(|f| SupportedFeatureKey {
            name: f.name.to_owned(),
            min_version: f.min,
            max_version: f.latest_production,
            ..Default::default()
        })
        .collect()
}

/// `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?`
fn is_valid_software(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
}
