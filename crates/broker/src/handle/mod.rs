//! From a frame to a handler: one file per API, named as the API.

mod add_offsets_to_txn;
mod add_partitions_to_txn;
mod api_versions;
pub(crate) mod configs;
mod consumer_group;
mod controller_requests;
mod create_partitions;
mod create_topics;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_producers;
mod describe_topic_partitions;
mod describe_transactions;
mod end_txn;
mod fetch;
mod find_coordinator;
mod gather;
mod group;
mod init_producer_id;
mod list_offsets;
mod list_transactions;
mod log_dirs;
mod metadata;
mod offset_for_leader_epoch;
mod offsets;
mod produce;
mod produce_in_transaction;
mod topic_partitions;
mod txn;
mod txn_offset_commit;
mod unavailable;
mod write_txn_markers;

use crate::answer::{Handled, ReplyTo};
use crate::context::Context;
use crate::{Broker, Session};
use base::Now;
use bytes::Bytes;
use std::task::Waker;
use wire::{ApiKey, Message, Reader, RequestHead};

/// Decodes the header and the body, finds the handler, runs it.
pub(crate) fn dispatch(broker: &Broker, now: Now, session: &mut Session, frame: Bytes, waker: &Waker) -> Handled {
    let mut reader = Reader::new(frame);
    let head = match wire::decode_request_header(&mut reader) {
        Ok(head) => head,
        Err(error) => return refuse(broker, format!("request header cannot be read: {error}")),
    };
    let Some(key) = ApiKey::from_code(head.api_key) else {
        return refuse(broker, format!("request with api key {} is not known", head.api_key));
    };
    let reply = ReplyTo { key, version: head.api_version, correlation_id: head.correlation_id };
    // The one request that is answered whatever its version: the client learns from it which ones to use.
    if key == ApiKey::ApiVersions && !(0..=key.max_version()).contains(&head.api_version) {
        return api_versions::unsupported(reply);
    }
    if !(key.min_version()..=key.max_version()).contains(&head.api_version) {
        return refuse(broker, format!("{} has no version {}", key.name(), head.api_version));
    }
    if session.on_controller && !api_versions::is_for_controllers(key) {
        return refuse(broker, format!("{} is not served by a controller", key.name()));
    }
    let RequestHead { client_id, .. } = head;
    let image = broker.image();
    let context = Context { broker, now, session, waker, reply, client_id: client_id.unwrap_or_default(), image };
    route(key, context, reader)
}

fn route(key: ApiKey, c: Context, r: Reader) -> Handled {
    match key {
        ApiKey::Produce => run(c, r, produce::handle),
        ApiKey::Fetch => run(c, r, fetch::handle),
        ApiKey::ListOffsets => run(c, r, list_offsets::handle),
        ApiKey::Metadata => run(c, r, metadata::handle),
        ApiKey::OffsetCommit => run(c, r, offsets::commit),
        ApiKey::OffsetFetch => run(c, r, offsets::fetch),
        ApiKey::FindCoordinator => run(c, r, find_coordinator::handle),
        ApiKey::JoinGroup => run(c, r, group::join),
        ApiKey::Heartbeat => run(c, r, group::heartbeat),
        ApiKey::LeaveGroup => run(c, r, group::leave),
        ApiKey::SyncGroup => run(c, r, group::sync),
        ApiKey::ConsumerGroupHeartbeat => run(c, r, consumer_group::heartbeat),
        ApiKey::ConsumerGroupDescribe => run(c, r, consumer_group::describe),
        ApiKey::DescribeGroups => run(c, r, group::describe),
        ApiKey::ListGroups => run(c, r, group::list),
        ApiKey::DeleteGroups => run(c, r, group::delete),
        ApiKey::OffsetDelete => run(c, r, offsets::delete),
        ApiKey::TxnOffsetCommit => run(c, r, txn_offset_commit::handle),
        ApiKey::WriteTxnMarkers => run(c, r, write_txn_markers::handle),
        ApiKey::DescribeProducers => run(c, r, describe_producers::handle),
        ApiKey::ApiVersions => run(c, r, api_versions::handle),
        ApiKey::CreateTopics => run(c, r, create_topics::handle),
        ApiKey::DeleteTopics => run(c, r, delete_topics::handle),
        ApiKey::CreatePartitions => run(c, r, create_partitions::handle),
        ApiKey::DeleteRecords => run(c, r, delete_records::handle),
        ApiKey::InitProducerId => run(c, r, init_producer_id::handle),
        ApiKey::AddPartitionsToTxn => run(c, r, add_partitions_to_txn::handle),
        ApiKey::AddOffsetsToTxn => run(c, r, add_offsets_to_txn::handle),
        ApiKey::EndTxn => run(c, r, end_txn::handle),
        ApiKey::DescribeTransactions => run(c, r, describe_transactions::handle),
        ApiKey::ListTransactions => run(c, r, list_transactions::handle),
        ApiKey::OffsetForLeaderEpoch => run(c, r, offset_for_leader_epoch::handle),
        ApiKey::DescribeConfigs => run(c, r, configs::describe),
        ApiKey::AlterConfigs => run(c, r, configs::alter),
        ApiKey::IncrementalAlterConfigs => run(c, r, configs::incremental_alter),
        ApiKey::ListConfigResources => run(c, r, configs::list_resources),
        ApiKey::DescribeCluster => run(c, r, describe_cluster::handle),
        ApiKey::DescribeTopicPartitions => run(c, r, describe_topic_partitions::handle),
        ApiKey::AlterReplicaLogDirs => run(c, r, log_dirs::alter),
        ApiKey::DescribeLogDirs => run(c, r, log_dirs::describe),
        ApiKey::ElectLeaders => run(c, r, controller_requests::elect_leaders),
        ApiKey::AlterPartitionReassignments => run(c, r, controller_requests::alter_partition_reassignments),
        ApiKey::ListPartitionReassignments => run(c, r, controller_requests::list_partition_reassignments),
        ApiKey::DescribeQuorum => run(c, r, controller_requests::describe_quorum),
        ApiKey::UpdateFeatures => run(c, r, controller_requests::update_features),
        ApiKey::UnregisterBroker => run(c, r, controller_requests::unregister_broker),
        ApiKey::AddRaftVoter => run(c, r, controller_requests::add_raft_voter),
        ApiKey::RemoveRaftVoter => run(c, r, controller_requests::remove_raft_voter),
        ApiKey::SaslHandshake => run(c, r, unavailable::sasl_handshake),
        ApiKey::SaslAuthenticate => run(c, r, unavailable::sasl_authenticate),
        ApiKey::DescribeAcls => run(c, r, unavailable::describe_acls),
        ApiKey::CreateAcls => run(c, r, unavailable::create_acls),
        ApiKey::DeleteAcls => run(c, r, unavailable::delete_acls),
        ApiKey::CreateDelegationToken => run(c, r, unavailable::create_delegation_token),
        ApiKey::RenewDelegationToken => run(c, r, unavailable::renew_delegation_token),
        ApiKey::ExpireDelegationToken => run(c, r, unavailable::expire_delegation_token),
        ApiKey::DescribeDelegationToken => run(c, r, unavailable::describe_delegation_token),
        ApiKey::GetTelemetrySubscriptions => run(c, r, unavailable::get_telemetry_subscriptions),
        ApiKey::PushTelemetry => run(c, r, unavailable::push_telemetry),
        ApiKey::ShareGroupHeartbeat => run(c, r, unavailable::share_group_heartbeat),
        ApiKey::ShareGroupDescribe => run(c, r, unavailable::share_group_describe),
        ApiKey::ShareFetch => run(c, r, unavailable::share_fetch),
        ApiKey::ShareAcknowledge => run(c, r, unavailable::share_acknowledge),
        ApiKey::DescribeShareGroupOffsets => run(c, r, unavailable::describe_share_group_offsets),
        ApiKey::AlterShareGroupOffsets => run(c, r, unavailable::alter_share_group_offsets),
        ApiKey::DeleteShareGroupOffsets => run(c, r, unavailable::delete_share_group_offsets),
        ApiKey::StreamsGroupHeartbeat => run(c, r, unavailable::streams_group_heartbeat),
        ApiKey::StreamsGroupDescribe => run(c, r, unavailable::streams_group_describe),
        other => refuse(c.broker, format!("{} is not served here", other.name())),
    }
}

/// Decodes the body and hands it over. What cannot be decoded closes the connection, as in Kafka: nobody knows what was asked.
fn run<M: Message>(mut context: Context, mut reader: Reader, handler: fn(&mut Context, M) -> Handled) -> Handled {
    let version = context.version();
    match M::decode(&mut reader, version) {
        Ok(request) => handler(&mut context, request),
        Err(error) => refuse(context.broker, format!("{} v{version} cannot be read: {error}", context.reply.key.name())),
    }
}

fn refuse(broker: &Broker, why: String) -> Handled {
    broker.metrics().malformed.add(1);
    Handled::Close(why)
}
