//! One member of a classic group. Kafka: ClassicGroupMember.

use std::sync::Arc;

use bytes::Bytes;
use wire::messages::JoinGroupRequest;
use wire::messages::describe_groups_response::DescribedGroupMember;

use crate::output::Waiting;

/// A protocol (assignor) that a member supports; the metadata is opaque to the coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Protocol {
    pub(crate) name: String,
    pub(crate) metadata: Bytes,
}

/// What a member told with its last JoinGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Joined {
    pub(crate) session_timeout_ms: i32,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) protocols: Vec<Protocol>,
}

impl Joined {
    /// Metadata is copied, so that a member does not keep the buffer of its whole request alive.
    pub(crate) fn from_request(request: &JoinGroupRequest) -> Self {
        Self {
            session_timeout_ms: request.session_timeout_ms,
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            protocols: request
                .protocols
                .iter()
                .map(|p| Protocol { name: p.name.clone(), metadata: Bytes::copy_from_slice(&p.metadata) })
                .collect(),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) id: Arc<str>,
    pub(crate) instance_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) joined: Joined,
    pub(crate) assignment: Bytes,
    pub(crate) awaiting_join: Option<Waiting>,
    pub(crate) awaiting_sync: Option<Waiting>,
    /// Joined without having been given its member id yet: it cannot send heartbeats, so its timer runs even while it waits.
    pub(crate) is_new: bool,
}

impl Member {
    pub(crate) fn is_static(&self) -> bool {
        self.instance_id.is_some()
    }

    pub(crate) fn is_awaiting_join(&self) -> bool {
        self.awaiting_join.is_some()
    }

    /// A member that waits for a rebalance needs no heartbeats, unless it is new.
    pub(crate) fn has_satisfied_heartbeat(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }

    pub(crate) fn metadata(&self, protocol: &str) -> Option<&Bytes> {
        self.joined.protocols.iter().find(|p| p.name == protocol).map(|p| &p.metadata)
    }

    /// The names of its protocols, each once, in its order of preference.
    pub(crate) fn protocol_names(&self) -> impl Iterator<Item = &str> {
        distinct_names(&self.joined.protocols)
    }

    pub(crate) fn describe(&self, protocol: Option<&str>) -> DescribedGroupMember {
        DescribedGroupMember {
            member_id: self.id.to_string(),
            group_instance_id: self.instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            member_metadata: protocol.and_then(|name| self.metadata(name)).cloned().unwrap_or_default(),
            member_assignment: self.assignment.clone(),
            ..Default::default()
        }
    }
}

pub(crate) fn distinct_names(protocols: &[Protocol]) -> impl Iterator<Item = &str> {
    protocols.iter().enumerate().filter(|(i, p)| !protocols[..*i].iter().any(|q| q.name == p.name)).map(|(_, p)| p.name.as_str())
}
