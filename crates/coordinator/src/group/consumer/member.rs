//! One member of a consumer group: what it subscribes to, what it holds, and its stored forms.
//! Values; changed by building a new one. Kafka: ConsumerGroupMember, MemberState.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base::Uuid;
use bytes::Bytes;
use wire::messages::consumer_group_current_member_assignment_value::TopicPartitions;
use wire::messages::consumer_group_member_metadata_value::{ClassicMemberMetadata, ClassicProtocol};
use wire::messages::{ConsumerGroupCurrentMemberAssignmentValue, ConsumerGroupMemberMetadataValue};

use crate::assignor::Partitions;

/// The epoch by which a member says that it leaves, and which a stored member that is half gone has.
pub(crate) const LEAVE_EPOCH: i32 = -1;
/// The epoch of a static member that left to come back.
pub(crate) const LEAVE_STATIC_EPOCH: i32 = -2;

/// Partitions, each with the epoch at which the member got it.
pub(crate) type PartitionEpochs = BTreeMap<Uuid, BTreeMap<i32, i32>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberState {
    Stable,
    /// Has to give up partitions before it can go on.
    UnrevokedPartitions,
    /// Waits for partitions that others have not given up yet.
    UnreleasedPartitions,
    /// Stored by a later version.
    Unknown,
}

impl MemberState {
    fn from_code(code: i8) -> Self {
        match code {
            0 => MemberState::Stable,
            1 => MemberState::UnrevokedPartitions,
            2 => MemberState::UnreleasedPartitions,
            _ => MemberState::Unknown,
        }
    }

    fn code(self) -> i8 {
        match self {
            MemberState::Stable => 0,
            MemberState::UnrevokedPartitions => 1,
            MemberState::UnreleasedPartitions => 2,
            MemberState::Unknown => 127,
        }
    }
}

/// What a member brings that joined by JoinGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClassicMember {
    pub(crate) session_timeout_ms: i32,
    /// In the order of the member's preference.
    pub(crate) protocols: Vec<(String, Bytes)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) id: Arc<str>,
    pub(crate) epoch: i32,
    pub(crate) previous_epoch: i32,
    pub(crate) state: MemberState,
    pub(crate) instance_id: Option<String>,
    pub(crate) rack_id: Option<String>,
    /// -1 when it was never told.
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) topic_names: Arc<BTreeSet<Arc<str>>>,
    pub(crate) topic_regex: Option<String>,
    pub(crate) assignor: Option<String>,
    pub(crate) assigned: Arc<PartitionEpochs>,
    pub(crate) pending_revocation: Arc<PartitionEpochs>,
    pub(crate) classic: Option<Arc<ClassicMember>>,
}

impl Member {
    pub(crate) fn new(id: &str) -> Self {
        Self {
            id: id.into(),
            epoch: 0,
            previous_epoch: -1,
            state: MemberState::Stable,
            instance_id: None,
            rack_id: None,
            rebalance_timeout_ms: -1,
            client_id: String::new(),
            client_host: String::new(),
            topic_names: Arc::default(),
            topic_regex: Some(String::new()),
            assignor: None,
            assigned: Arc::default(),
            pending_revocation: Arc::default(),
            classic: None,
        }
    }

    pub(crate) fn uses_classic_protocol(&self) -> bool {
        self.classic.is_some()
    }

    /// The regular expression it subscribes to, if any.
    pub(crate) fn regex(&self) -> Option<&str> {
        self.topic_regex.as_deref().filter(|regex| !regex.is_empty())
    }

    pub(crate) fn is_reconciled_to(&self, epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == epoch
    }

    /// Moves on to an epoch, remembering the one before in case the answer gets lost.
    pub(crate) fn move_to_epoch(&mut self, epoch: i32) {
        self.previous_epoch = self.epoch;
        self.epoch = epoch;
    }

    /// The epoch at which it got a partition that it still holds.
    pub(crate) fn held_since(&self, topic: Uuid, partition: i32) -> Option<i32> {
        let epoch = |held: &PartitionEpochs| held.get(&topic)?.get(&partition).copied();
        epoch(&self.assigned).or_else(|| epoch(&self.pending_revocation))
    }

    pub(crate) fn stored_metadata(&self) -> ConsumerGroupMemberMetadataValue {
        ConsumerGroupMemberMetadataValue {
            instance_id: self.instance_id.clone(),
            rack_id: self.rack_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            subscribed_topic_names: self.topic_names.iter().map(|t| t.to_string()).collect(),
            subscribed_topic_regex: self.topic_regex.clone(),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            server_assignor: self.assignor.clone(),
            classic_member_metadata: self.classic.as_ref().map(|classic| ClassicMemberMetadata {
                session_timeout_ms: classic.session_timeout_ms,
                supported_protocols: classic
                    .protocols
                    .iter()
                    .map(|(name, metadata)| ClassicProtocol { name: name.clone(), metadata: metadata.clone(), ..Default::default() })
                    .collect(),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    pub(crate) fn apply_metadata(&mut self, value: ConsumerGroupMemberMetadataValue) {
        self.instance_id = value.instance_id;
        self.rack_id = value.rack_id;
        self.client_id = value.client_id;
        self.client_host = value.client_host;
        self.topic_names = Arc::new(value.subscribed_topic_names.into_iter().map(Arc::from).collect());
        self.topic_regex = value.subscribed_topic_regex;
        self.rebalance_timeout_ms = value.rebalance_timeout_ms;
        self.assignor = value.server_assignor;
        self.classic = value.classic_member_metadata.map(|classic| {
            // Copied, so that a member does not keep the batch alive that it came in.
            let protocols = classic.supported_protocols.into_iter().map(|p| (p.name, Bytes::copy_from_slice(&p.metadata)));
            Arc::new(ClassicMember { session_timeout_ms: classic.session_timeout_ms, protocols: protocols.collect() })
        });
    }

    pub(crate) fn stored_assignment(&self) -> ConsumerGroupCurrentMemberAssignmentValue {
        ConsumerGroupCurrentMemberAssignmentValue {
            member_epoch: self.epoch,
            previous_member_epoch: self.previous_epoch,
            state: self.state.code(),
            assigned_partitions: stored_partitions(&self.assigned),
            partitions_pending_revocation: stored_partitions(&self.pending_revocation),
            ..Default::default()
        }
    }

    pub(crate) fn apply_assignment(&mut self, value: ConsumerGroupCurrentMemberAssignmentValue) {
        self.epoch = value.member_epoch;
        self.previous_epoch = value.previous_member_epoch;
        self.state = MemberState::from_code(value.state);
        self.assigned = Arc::new(partitions_of(value.assigned_partitions, value.member_epoch));
        self.pending_revocation = Arc::new(partitions_of(value.partitions_pending_revocation, value.member_epoch));
    }
}

fn stored_partitions(partitions: &PartitionEpochs) -> Vec<TopicPartitions> {
    let topic = |(topic_id, epochs): (&Uuid, &BTreeMap<i32, i32>)| TopicPartitions {
        topic_id: *topic_id,
        partitions: epochs.keys().copied().collect(),
        assignment_epochs: Some(epochs.values().copied().collect()),
        ..Default::default()
    };
    partitions.iter().map(topic).collect()
}

/// Epochs of partitions were not stored by old brokers; then the member's own counts.
fn partitions_of(stored: Vec<TopicPartitions>, member_epoch: i32) -> PartitionEpochs {
    let fallback = member_epoch.max(0);
    let topic = |t: TopicPartitions| {
        let epochs = t.assignment_epochs.filter(|epochs| epochs.len() == t.partitions.len());
        let epoch_at = |i: usize| epochs.as_ref().and_then(|e| e.get(i).copied()).unwrap_or(fallback);
        (t.topic_id, t.partitions.iter().enumerate().map(|(i, partition)| (*partition, epoch_at(i))).collect())
    };
    stored.into_iter().map(topic).collect()
}

/// All of these partitions, got at `epoch`.
pub(crate) fn with_epoch(partitions: &Partitions, epoch: i32) -> PartitionEpochs {
    partitions.iter().map(|(topic, partitions)| (*topic, partitions.iter().map(|p| (*p, epoch)).collect())).collect()
}
