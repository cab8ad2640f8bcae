//! How a classic group looks from outside: listed, described, and as the record that stores it.

use std::collections::HashMap;

use bytes::Bytes;
use wire::messages::GroupMetadataValue;
use wire::messages::describe_groups_response::DescribedGroup;
use wire::messages::group_metadata_value::MemberMetadata;
use wire::messages::list_groups_response::ListedGroup;

use super::{ClassicGroup, State};
use crate::offsets::OffsetAndMetadata;

impl ClassicGroup {
    pub(crate) fn listed(&self) -> ListedGroup {
        ListedGroup {
            group_id: self.id.to_string(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            group_state: self.state.name().to_owned(),
            group_type: "classic".to_owned(),
            ..Default::default()
        }
    }

    /// Protocol and metadata are only told while the group is stable.
    pub(crate) fn describe(&self) -> DescribedGroup {
        let protocol = self.protocol_name.as_deref().filter(|_| self.state == State::Stable);
        DescribedGroup {
            group_id: self.id.to_string(),
            group_state: self.state.name().to_owned(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol_data: protocol.unwrap_or_default().to_owned(),
            members: self.members.values().map(|m| m.describe(protocol)).collect(),
            ..Default::default()
        }
    }

    pub(crate) fn group_id(&self) -> &str {
        &self.id
    }

    /// The value that stores the group with these assignments.
    pub(crate) fn stored(&self, assignment: &[(String, Bytes)]) -> GroupMetadataValue {
        let protocol = self.protocol_name.as_deref().unwrap_or_default();
        let assignment: HashMap<&str, &Bytes> = assignment.iter().map(|(id, bytes)| (id.as_str(), bytes)).collect();
        GroupMetadataValue {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation_id,
            protocol: self.protocol_name.clone(),
            leader: self.leader_id.as_deref().map(str::to_owned),
            current_state_timestamp: self.state_timestamp_ms.unwrap_or(-1),
            members: self
                .members
                .values()
                .map(|m| MemberMetadata {
                    member_id: m.id.to_string(),
                    group_instance_id: m.instance_id.clone(),
                    client_id: m.client_id.clone(),
                    client_host: m.client_host.clone(),
                    rebalance_timeout: m.joined.rebalance_timeout_ms,
                    session_timeout: m.joined.session_timeout_ms,
                    subscription: m.metadata(protocol).cloned().unwrap_or_default(),
                    assignment: assignment.get(&*m.id).copied().cloned().unwrap_or_default(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }
    }

    /// What must hold between any two steps.
    #[cfg(test)]
    pub(crate) fn assert_consistent(&self) {
        use super::member::distinct_names;
        let mut supported: HashMap<String, usize> = HashMap::new();
        for (id, member) in &self.members {
            assert_eq!(*id, member.id);
            distinct_names(&member.joined.protocols).for_each(|name| *supported.entry(name.to_owned()).or_default() += 1);
            let instance = member.instance_id.as_ref();
            assert!(instance.is_none_or(|i| self.static_members.get(i) == Some(id)), "{member:?} is not under its instance id");
            assert!(!self.pending_join.contains(id));
            assert!(member.awaiting_sync.is_none() || self.state == State::CompletingRebalance);
        }
        assert_eq!(self.supported_protocols, supported);
        assert_eq!(self.static_members.len(), self.members.values().filter(|m| m.is_static()).count());
        assert_eq!(self.awaiting_join_count, self.members.values().filter(|m| m.is_awaiting_join()).count());
        assert!(self.pending_sync.iter().all(|id| self.members.contains_key(id)));
        assert_eq!(self.leader_id.is_some(), !self.members.is_empty());
        assert!(self.leader_id.iter().all(|id| self.members.contains_key(id)));
        assert!(self.state != State::Empty || self.members.is_empty());
        assert!(self.members.is_empty() || self.select_protocol().is_some());
        if matches!(self.state, State::CompletingRebalance | State::Stable) {
            assert!(!self.members.is_empty() && self.protocol_name.is_some());
        }
    }

    #[cfg(test)]
    pub(crate) fn has_member(&self, member_id: &str, generation_id: i32) -> bool {
        self.generation_id == generation_id && self.members.contains_key(member_id)
    }

    /// The value that stores the group as it is, without the time.
    #[cfg(test)]
    pub(crate) fn stored_now(&self) -> GroupMetadataValue {
        GroupMetadataValue { current_state_timestamp: 0, ..self.stored(&self.assignment()) }
    }

    /// What every member was given.
    pub(crate) fn assignment(&self) -> Vec<(String, Bytes)> {
        self.members.values().map(|m| (m.id.to_string(), m.assignment.clone())).collect()
    }

    /// Since when offsets of the group count as unused: `None` while they must be kept.
    pub(crate) fn expiration_base_ms(&self, offset: &OffsetAndMetadata) -> Option<i64> {
        match &self.protocol_type {
            // Used for offsets only.
            None => Some(offset.commit_timestamp_ms),
            Some(_) if self.state == State::Empty => Some(self.state_timestamp_ms.unwrap_or(offset.commit_timestamp_ms)),
            // Consumers are there: offsets of topics that they no longer subscribe to may go.
            Some(_) if self.state == State::Stable && self.uses_consumer_protocol() && self.subscribed_topics.is_some() => {
                Some(offset.commit_timestamp_ms)
            }
            Some(_) => None,
        }
    }
}
