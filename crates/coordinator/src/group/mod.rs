//! The groups of a shard, by protocol.
//!
//! `classic` and `consumer` are complete. `modern` holds the groups of the share and streams protocols as their records; each of those
//! protocols gets a module of its own when it is served.

pub(crate) mod classic;
pub(crate) mod consumer;
pub(crate) mod modern;

use wire::messages::list_groups_response::ListedGroup;

use classic::ClassicGroup;
use consumer::ConsumerGroup;
use modern::ModernGroup;

// Nearly all groups are classic.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub(crate) enum Group {
    Classic(ClassicGroup),
    Consumer(ConsumerGroup),
    Modern(ModernGroup),
}

impl Group {
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Group::Classic(group) => group.is_empty(),
            Group::Consumer(group) => group.is_empty(),
            Group::Modern(group) => group.is_empty(),
        }
    }

    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        match self {
            Group::Classic(group) => group.is_subscribed_to(topic),
            Group::Consumer(group) => group.is_subscribed_to(topic),
            Group::Modern(group) => group.is_subscribed_to(topic),
        }
    }

    pub(crate) fn listed(&self, group_id: &str) -> ListedGroup {
        match self {
            Group::Classic(group) => group.listed(),
            Group::Consumer(group) => group.listed(),
            Group::Modern(group) => group.listed(group_id),
        }
    }
}
