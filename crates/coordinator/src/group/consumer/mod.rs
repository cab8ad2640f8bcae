//! Owns: one group of the consumer protocol (KIP-848), as its records tell it. Used by the shard.
//! Only `replay` changes a group: a request is decided on as `&self` (`heartbeat`, `fence`, `classic_members`, `regexes`), gives records and
//! timers, and takes effect when its records are in the log. Never reads a clock, never writes. Kafka: ConsumerGroup, ModernGroup.
//!
//! `member` and `subscriptions` are the parts of the state; `target` asks the assignors, `reconcile` leads one member to its target;
//! `migrate` turns classic groups into these and back.

mod classic_members;
mod describe;
mod embedded;
mod fence;
mod heartbeat;
pub(crate) mod member;
mod migrate;
mod offsets;
mod reconcile;
mod regexes;
mod replay;
mod static_member;
pub(crate) mod step;
mod stored;
mod subscribe;
mod subscriptions;
mod target;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use base::{Now, Uuid};
use wire::messages::list_groups_response::ListedGroup;

use crate::assignor::Partitions;
use crate::config::ConsumerSettings;
use crate::group::classic::ClassicGroup;
use crate::timers::{Due, Timer, Timers};
pub(crate) use fence::left;
use member::{Member, MemberState};
pub(crate) use offsets::CommitCheck;
pub(crate) use regexes::Found;
pub(crate) use replay::ConsumerRecord;
pub(crate) use step::{Context, Refusal, Step};
use subscriptions::{Resolved, Subscriptions};

/// The epoch of a group, and of its assignment, before the first record.
const FIRST_EPOCH: i32 = 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The group epoch that it was made for.
    pub(crate) epoch: i32,
    /// When it was made; 0 when that is not known.
    pub(crate) timestamp_ms: i64,
    members: BTreeMap<Arc<str>, Partitions>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConsumerGroup {
    id: Arc<str>,
    epoch: i32,
    metadata_hash: i64,
    members: BTreeMap<Arc<str>, Arc<Member>>,
    /// Instance id to member id.
    static_members: HashMap<String, Arc<str>>,
    subscriptions: Subscriptions,
    resolved: BTreeMap<String, Resolved>,
    target: Target,
    /// At which epoch a partition is held, and so not free for another member.
    held: HashMap<Uuid, HashMap<i32, i32>>,
    /// How many members ask for each assignor.
    assignors: BTreeMap<String, usize>,
    classic_members: usize,
    /// How many of the classic members support each protocol.
    classic_protocols: BTreeMap<String, usize>,
    /// Brokers before 4.1 stored what they knew of the topics; that record is removed when the group next changes.
    has_partition_metadata: bool,
    /// Until when, and since which group epoch, the metadata hash is known to be right. Not stored: after a load it is checked once.
    refreshed: Option<Refreshed>,
}

/// The group becomes a classic one, whose records are in the step.
#[derive(Debug)]
pub(crate) struct Downgrade {
    pub(crate) group: Box<ClassicGroup>,
    /// Why the members have to join again.
    pub(crate) reason: String,
}

/// The topics were looked at: nothing has changed up to here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refreshed {
    pub(crate) until_ms: i64,
    pub(crate) epoch: i32,
}

impl ConsumerGroup {
    pub(crate) fn new(id: &str) -> Self {
        Self {
            id: id.into(),
            epoch: FIRST_EPOCH,
            metadata_hash: 0,
            members: BTreeMap::new(),
            static_members: HashMap::new(),
            subscriptions: Subscriptions::default(),
            resolved: BTreeMap::new(),
            target: Target { epoch: FIRST_EPOCH, timestamp_ms: 0, members: BTreeMap::new() },
            held: HashMap::new(),
            assignors: BTreeMap::new(),
            classic_members: 0,
            classic_protocols: BTreeMap::new(),
            has_partition_metadata: false,
            refreshed: None,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(crate) fn member_count(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn member(&self, member_id: &str) -> Option<&Arc<Member>> {
        self.members.get(member_id)
    }

    pub(crate) fn static_member(&self, instance_id: &str) -> Option<&Arc<Member>> {
        self.members.get(self.static_members.get(instance_id)?)
    }

    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        self.subscriptions.contains(topic)
    }

    pub(crate) fn state(&self) -> &'static str {
        if self.members.is_empty() {
            "Empty"
        } else if self.epoch > self.target.epoch {
            "Assigning"
        } else if self.members.values().all(|m| m.is_reconciled_to(self.target.epoch)) {
            "Stable"
        } else {
            "Reconciling"
        }
    }

    pub(crate) fn listed(&self) -> ListedGroup {
        ListedGroup {
            group_id: self.id.to_string(),
            protocol_type: "consumer".to_owned(),
            group_state: self.state().to_owned(),
            group_type: "consumer".to_owned(),
            ..Default::default()
        }
    }

    /// The shard has its state: members must be heard of within their sessions.
    pub(crate) fn on_loaded(&self, now: Now, settings: ConsumerSettings, timers: &mut Timers) {
        for member in self.members.values() {
            let session = Timer::Session { group: self.id.clone(), member: member.id.clone() };
            timers.schedule(session, now.mono, i64::from(settings.session_timeout_ms), Due::Session);
            if member.state == MemberState::UnrevokedPartitions {
                let rebalance = Timer::Rebalance { group: self.id.clone(), member: member.id.clone() };
                timers.schedule(rebalance, now.mono, i64::from(member.rebalance_timeout_ms), Due::Rebalance { epoch: member.epoch });
            }
        }
    }

    /// Topics that the group subscribes to have changed: the next heartbeat looks at them again.
    pub(crate) fn request_refresh(&mut self) {
        self.refreshed = None;
    }

    pub(crate) fn set_refreshed(&mut self, refreshed: Refreshed) {
        self.refreshed = Some(refreshed);
    }

    /// Also when a step that looked at the topics did not take effect.
    fn needs_refresh(&self, now_ms: i64) -> bool {
        self.refreshed.is_none_or(|r| now_ms >= r.until_ms || self.epoch < r.epoch)
    }

    fn target_of(&self, member_id: &str) -> Option<&Partitions> {
        self.target.members.get(member_id)
    }

    /// The epoch at which a partition is held by some member.
    fn held_at(&self, topic: Uuid, partition: i32) -> Option<i32> {
        self.held.get(&topic)?.get(&partition).copied()
    }

    /// Whether everybody but these uses the classic protocol.
    fn is_classic_except(&self, leaving: &[Arc<Member>]) -> bool {
        let leaving_classic = leaving.iter().filter(|m| m.uses_classic_protocol()).count();
        self.classic_members - leaving_classic == self.members.len() - leaving.len()
    }
}
