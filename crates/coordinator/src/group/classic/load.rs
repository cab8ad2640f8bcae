//! A classic group as it comes back from its record.

use base::Now;
use bytes::Bytes;
use wire::messages::GroupMetadataValue;

use super::member::{Joined, Member, Protocol};
use super::{CONSUMER_PROTOCOL_TYPE, ClassicGroup, State, Step};

impl ClassicGroup {
    /// The group as of its last completed rebalance. Members come back with the chosen protocol only.
    pub(crate) fn from_stored(id: &str, value: GroupMetadataValue) -> Self {
        let mut group = ClassicGroup::new(id, Now::default());
        group.state = if value.members.is_empty() { State::Empty } else { State::Stable };
        group.state_timestamp_ms = (value.current_state_timestamp != -1).then_some(value.current_state_timestamp);
        group.generation_id = value.generation;
        group.protocol_name = value.protocol;
        group.leader_id = value.leader.map(|leader| leader.as_str().into());
        let protocol = group.protocol_name.clone().unwrap_or_default();
        for stored in value.members {
            let rebalance_timeout_ms = if stored.rebalance_timeout == -1 { stored.session_timeout } else { stored.rebalance_timeout };
            let member = Member {
                id: stored.member_id.as_str().into(),
                instance_id: stored.group_instance_id,
                client_id: stored.client_id,
                client_host: stored.client_host,
                joined: Joined {
                    session_timeout_ms: stored.session_timeout,
                    rebalance_timeout_ms,
                    protocols: vec![Protocol { name: protocol.clone(), metadata: Bytes::copy_from_slice(&stored.subscription) }],
                },
                assignment: Bytes::copy_from_slice(&stored.assignment),
                awaiting_join: None,
                awaiting_sync: None,
                is_new: false,
            };
            group.add(member, &value.protocol_type, None);
        }
        group.protocol_type = Some(value.protocol_type).filter(|t| !t.is_empty());
        group.subscribed_topics = group.compute_subscribed_topics();
        group
    }

    /// A group of these consumers, which were a group of another protocol before and are about to join again. It has no time of its state: its
    /// record tells by that, should the coordinator move before the rebalance is over, that there must be one. Kafka forgets it then, and what
    /// the members that left have held stays with nobody.
    pub(crate) fn of_consumers(id: &str, generation_id: i32, members: Vec<Member>) -> Self {
        let mut group = ClassicGroup::new(id, Now::default());
        group.state_timestamp_ms = None;
        group.state = State::Stable;
        group.generation_id = generation_id;
        group.protocol_type = Some(CONSUMER_PROTOCOL_TYPE.to_owned());
        for member in members {
            group.add(member, CONSUMER_PROTOCOL_TYPE, None);
        }
        group.protocol_name = group.select_protocol();
        group.subscribed_topics = group.compute_subscribed_topics();
        group
    }

    pub(crate) fn start_sessions(&self, step: &mut Step) {
        for member in self.members.values() {
            self.schedule_session(&member.id, member.joined.session_timeout_ms, step);
        }
    }

    /// The shard has its state: members must be heard of within their session timeouts.
    pub(crate) fn on_loaded(&mut self, step: &mut Step) {
        self.start_sessions(step);
        if self.members.len() > usize::try_from(step.config.group_max_size).unwrap_or(0) {
            self.prepare_rebalance("the group is larger than group.max.size", step);
        } else if self.state == State::Stable && self.state_timestamp_ms.is_none() && self.uses_consumer_protocol() {
            self.prepare_rebalance("the group was about to rebalance when it was stored", step);
        }
    }
}
