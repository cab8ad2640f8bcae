//! Owns: the server-side assignors of the consumer protocol (KIP-848): who gets which partitions. Pure functions of the subscriptions and of
//! what the members were assigned before.
//! Used by: consumer groups, whenever their target assignment is computed anew. Never does: look at what members really own; that is for the
//! reconciliation. Kafka: ConsumerGroupPartitionAssignor, UniformAssignor, RangeAssignor.

mod owners;
mod range;
#[cfg(test)]
mod recorded_tests;
#[cfg(test)]
mod tests;
mod uniform;
mod uniform_mixed;

use std::collections::{BTreeMap, BTreeSet};

use base::Uuid;

/// Partitions by topic. A topic without partitions is left out.
pub(crate) type Partitions = BTreeMap<Uuid, BTreeSet<i32>>;

/// One member as an assignor sees it.
#[derive(Clone, Debug)]
pub(crate) struct MemberSpec<'a> {
    pub(crate) member_id: &'a str,
    pub(crate) instance_id: Option<&'a str>,
    /// Every subscribed topic that exists, whether named or matched by a regular expression.
    pub(crate) topics: &'a BTreeSet<Uuid>,
    /// The target assignment it has so far.
    pub(crate) assigned: &'a Partitions,
}

#[derive(Clone, Debug)]
pub(crate) struct GroupSpec<'a> {
    /// Sorted by member id, each id once.
    pub(crate) members: Vec<MemberSpec<'a>>,
    /// The number of partitions of every topic that a member subscribes to.
    pub(crate) partition_counts: &'a BTreeMap<Uuid, i32>,
    /// Whether all members subscribe to the same topics by name. As in Kafka one topic that only a regular expression brings in, or one member
    /// that names a topic more (even one that does not exist), makes it false; the answers differ, though both are balanced. False is
    /// always correct.
    pub(crate) homogeneous: bool,
}

impl GroupSpec<'_> {
    /// Whether all members really subscribe to the same topics. A member that has just come with an expression which matches nothing may not be
    /// counted yet in what `homogeneous` was taken from; where Kafka believes that, it assigns nothing to anybody.
    fn is_alike(&self) -> bool {
        self.members.windows(2).all(|pair| std::ptr::eq(pair[0].topics, pair[1].topics) || pair[0].topics == pair[1].topics)
    }
}

/// Why nothing could be assigned. The texts are Kafka's: members get to see them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AssignorError {
    #[error("Members are subscribed to topic {0} which doesn't exist in the topic metadata.")]
    UnknownTopic(Uuid),
    #[error("Member is subscribed to a non-existent topic")]
    NonExistentTopic,
    #[error("Partitions were left unassigned")]
    LeftUnassigned,
}

/// What the group coordinator can be asked to assign with, in Kafka's default order: the first is used by members that name none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Assignor {
    Uniform,
    Range,
}

impl Assignor {
    /// The name members ask for it by.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Assignor::Uniform => "uniform",
            Assignor::Range => "range",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Assignor::Uniform, Assignor::Range].into_iter().find(|assignor| assignor.name() == name)
    }

    /// The new target assignment of every member, in the order of `spec.members`.
    pub(crate) fn assign(self, spec: &GroupSpec<'_>) -> Result<Vec<Partitions>, AssignorError> {
        if spec.members.is_empty() {
            return Ok(Vec::new());
        }
        match self {
            Assignor::Uniform if spec.homogeneous && spec.is_alike() => uniform::assign(spec),
            Assignor::Uniform => uniform_mixed::assign(spec),
            Assignor::Range => range::assign(spec),
        }
    }
}
