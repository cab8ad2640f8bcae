//! Owns: one round of joining a classic group: JoinGroup, the assignment if this member leads, SyncGroup. Used by: the group task.
//! Kafka: `AbstractCoordinator.joinGroupIfNeeded`, `ConsumerCoordinator.onLeaderElected`.

use super::{GroupTask, JOIN_LAPSE, PROTOCOL_TYPE, millis};
use crate::consumer::shared::Subscription;
use crate::core::assignor::{Assignor, PartitionCounts, PartitionRacks, StickyMemory, Subscriptions};
use crate::core::consumer_protocol::{self as protocol, Assignment, decode_subscription, encode_assignment, encode_subscription};
use crate::driver::Topics;
use crate::error::{Error, Result};
use base::TopicPartition;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use wire::ErrorCode;
use wire::messages::join_group_request::JoinGroupRequestProtocol;
use wire::messages::sync_group_request::SyncGroupRequestAssignment;
use wire::messages::{JoinGroupRequest, JoinGroupResponse, SyncGroupRequest};

impl GroupTask {
    pub(super) async fn join_and_sync(&mut self) -> Result<(Assignor, Vec<TopicPartition>)> {
        let joined = self.join().await?;
        self.member.generation = joined.generation_id;
        self.member.id = joined.member_id.clone();
        let name = joined.protocol_name.clone().unwrap_or_default();
        let assignor = self.shared.config.assignors.iter().copied().find(|assignor| assignor.name() == name);
        let assignor = assignor.ok_or_else(|| Error::broker(ErrorCode::InconsistentGroupProtocol, None))?;
        let assignments = if joined.leader == joined.member_id { self.assign(assignor, &joined).await? } else { Vec::new() };
        let assignment = self.sync(&name, assignments).await?;
        let assignment = protocol::decode_assignment(&assignment)?;
        Ok((assignor, assignment.partitions))
    }

    async fn join(&mut self) -> Result<JoinGroupResponse> {
        self.joined_topics = self.topics();
        let config = &self.shared.config;
        let owned = if config.cooperative() { self.shared.state().partitions.names() } else { Vec::new() };
        let protocols = config.assignors.iter().map(|assignor| {
            let memory = self.memories.entry(assignor.name()).or_insert(StickyMemory { partitions: None, generation: -1 });
            let subscription = protocol::Subscription {
                topics: self.joined_topics.iter().cloned().collect(),
                user_data: assignor.user_data(memory),
                owned_partitions: owned.clone(),
                generation: Some(self.member.generation),
                rack_id: Some(config.client_rack.clone()).filter(|rack| !rack.is_empty()),
                group_instance_id: None,
            };
            JoinGroupRequestProtocol {
                name: assignor.name().to_owned(),
                metadata: encode_subscription(&subscription),
                ..Default::default()
            }
        });
        let protocols: Vec<JoinGroupRequestProtocol> = protocols.collect();
        loop {
            let config = &self.shared.config;
            let request = JoinGroupRequest {
                group_id: self.group(),
                session_timeout_ms: millis(config.session_timeout),
                rebalance_timeout_ms: millis(config.max_poll_interval),
                member_id: self.member.id.clone(),
                group_instance_id: config.group_instance_id.clone(),
                protocol_type: PROTOCOL_TYPE.to_owned(),
                protocols: protocols.clone(),
                reason: Some(self.reason.clone()),
                ..Default::default()
            };
            let patience = config.max_poll_interval + JOIN_LAPSE;
            let response = self.ask(&request, self.shared.now() + patience.max(config.connection.request_timeout)).await?;
            if response.error_code == ErrorCode::MemberIdRequired.code() && self.member.id != response.member_id {
                self.member.id = response.member_id;
                continue;
            }
            if response.error_code == ErrorCode::UnknownMemberId.code() && !self.member.id.is_empty() {
                self.member.id.clear();
            }
            Error::check(response.error_code, None)?;
            if response.protocol_type.as_deref().is_some_and(|kind| kind != PROTOCOL_TYPE) {
                return Err(Error::broker(ErrorCode::InconsistentGroupProtocol, None));
            }
            return Ok(response);
        }
    }

    /// This member leads: decides who reads what.
    async fn assign(&mut self, assignor: Assignor, joined: &JoinGroupResponse) -> Result<Vec<SyncGroupRequestAssignment>> {
        let mut subscriptions = Subscriptions::new();
        for member in &joined.members {
            let mut subscription = decode_subscription(&member.metadata)?;
            subscription.group_instance_id = member.group_instance_id.clone();
            subscriptions.insert(member.member_id.clone(), subscription);
        }
        let topics: BTreeSet<&String> = subscriptions.values().flat_map(|subscription| &subscription.topics).collect();
        let names: Vec<String> = topics.into_iter().cloned().collect();
        if !matches!(self.shared.state().subscription, Subscription::Matching(_)) {
            self.shared.cluster.want_topics(names.iter().map(String::as_str));
        }
        let (counts, racks) = self.partition_counts(names).await?;
        self.led = Some(counts.clone());
        if joined.skip_assignment {
            return Ok(Vec::new());
        }
        let assignments =
            assignor.assign_near(&counts, &racks, &subscriptions).into_iter().map(|(member_id, partitions)| SyncGroupRequestAssignment {
                member_id,
                assignment: encode_assignment(&Assignment { partitions, user_data: None }),
                ..Default::default()
            });
        Ok(assignments.collect())
    }

    /// Fresh partition counts of topics, those that do not exist count 0; and where their replicas are.
    async fn partition_counts(&self, names: Vec<String>) -> Result<(PartitionCounts, PartitionRacks)> {
        let deadline = self.shared.now() + self.shared.config.connection.request_timeout;
        let create = self.shared.config.connection.allow_auto_topic_creation;
        let response = self.shared.cluster.fetch_metadata(&Topics::Names(names.clone()), create, deadline).await?;
        let mut counts: BTreeMap<String, i32> = names.into_iter().map(|name| (name, 0)).collect();
        let rack_of: HashMap<i32, String> =
            response.brokers.into_iter().filter_map(|broker| Some((broker.node_id, broker.rack?))).collect();
        let mut racks = PartitionRacks::new();
        for mut topic in response.topics {
            let (Some(name), 0) = (topic.name, topic.error_code) else { continue };
            counts.insert(name.clone(), topic.partitions.len() as i32);
            topic.partitions.sort_by_key(|partition| partition.partition_index);
            let of_partition =
                topic.partitions.iter().map(|partition| partition.replica_nodes.iter().filter_map(|node| rack_of.get(node).cloned()));
            racks.insert(name, of_partition.map(Iterator::collect).collect());
        }
        Ok((counts, racks))
    }

    async fn sync(&mut self, protocol_name: &str, assignments: Vec<SyncGroupRequestAssignment>) -> Result<Bytes> {
        let request = SyncGroupRequest {
            group_id: self.group(),
            generation_id: self.member.generation,
            member_id: self.member.id.clone(),
            group_instance_id: self.shared.config.group_instance_id.clone(),
            protocol_type: Some(PROTOCOL_TYPE.to_owned()),
            protocol_name: Some(protocol_name.to_owned()),
            assignments,
            ..Default::default()
        };
        // The answer waits for the leader's assignment.
        let config = &self.shared.config;
        let deadline = self.shared.now() + (config.max_poll_interval + JOIN_LAPSE).max(config.connection.request_timeout);
        let response = self.ask(&request, deadline).await?;
        Error::check(response.error_code, None)?;
        Ok(response.assignment)
    }
}
