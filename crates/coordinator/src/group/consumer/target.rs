//! The target assignment of a group: asks the assignor, and stores what is different. Kafka: TargetAssignmentBuilder.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use base::Uuid;
use wire::ErrorCode;

use super::member::Member;
use super::{ConsumerGroup, Context, Refusal, Step, stored};
use crate::assignor::{Assignor, GroupSpec, MemberSpec, Partitions};

/// The target of one member, and the epoch it is for.
pub(super) struct MemberTarget<'a> {
    pub(super) epoch: i32,
    pub(super) partitions: Cow<'a, Partitions>,
}

/// The subscription of a member, to be looked up once for all members that share it.
type SubscriptionKey<'a> = (&'a BTreeSet<Arc<str>>, Option<&'a str>);

impl ConsumerGroup {
    /// Makes a new target assignment when the group has moved past the one there is, but not more often than the interval allows: what
    /// many members change in a moment is assigned once, with a heartbeat after it.
    pub(super) fn update_target(
        &self,
        c: &Context,
        group_epoch: i32,
        before: &Member,
        updated: &Member,
        homogeneous: Option<bool>,
        step: &mut Step,
    ) -> Result<MemberTarget<'_>, Refusal> {
        if self.target.epoch >= group_epoch || !self.may_assign(c) {
            return Ok(self.current_target(updated));
        }
        let homogeneous = homogeneous.unwrap_or_else(|| self.subscriptions.is_homogeneous(self.members.len()));
        let assignor = self.preferred_assignor(c, Some(before), Some(updated));
        let assigned = self.assign(c, assignor, updated, homogeneous).map_err(|text| {
            let text = format!("Failed to compute a new target assignment for epoch {group_epoch}: {text}");
            tracing::error!(group = %self.id, "{text}");
            // Kafka logs the reason and does not tell it.
            Refusal { error: ErrorCode::UnknownServerError, message: None }
        })?;
        let mut own = Partitions::new();
        let mut changed = 0;
        for (member_id, partitions) in assigned {
            if self.target_of(member_id) != Some(&partitions) {
                step.records.push(stored::target(&self.id, member_id, &partitions)?);
                changed += 1;
            }
            if *member_id == *updated.id {
                own = partitions;
            }
        }
        tracing::debug!(group = %self.id, epoch = group_epoch, assignor = assignor.name(), changed, "computed a new target assignment");
        step.records.push(stored::target_metadata(&self.id, group_epoch, c.now.wall_ms)?);
        Ok(MemberTarget { epoch: group_epoch, partitions: Cow::Owned(own) })
    }

    fn current_target(&self, member: &Member) -> MemberTarget<'_> {
        let id = self.assigned_as(member);
        let partitions = id.and_then(|id| self.target_of(id)).map_or_else(|| Cow::Owned(Partitions::new()), Cow::Borrowed);
        MemberTarget { epoch: self.target.epoch, partitions }
    }

    /// Under which id the member is found in the target: a static member that replaces another one is there under the other's.
    pub(super) fn assigned_as<'a>(&'a self, member: &'a Member) -> Option<&'a str> {
        match &member.instance_id {
            None => Some(&member.id),
            Some(instance_id) => self.static_members.get(instance_id).map(|id| &**id),
        }
    }

    fn may_assign(&self, c: &Context) -> bool {
        let interval_ms = i64::from(c.settings.assignment_interval_ms);
        let made_at_ms = self.target.timestamp_ms;
        made_at_ms == 0 || interval_ms == 0 || c.now.wall_ms >= made_at_ms.saturating_add(interval_ms)
    }

    /// The assignor that most members ask for, were `before` replaced by `after`; else the first that the broker offers.
    pub(super) fn preferred_assignor(&self, c: &Context, before: Option<&Member>, after: Option<&Member>) -> Assignor {
        let votes = |name: &str| {
            let asks = |m: Option<&Member>| usize::from(m.and_then(|m| m.assignor.as_deref()) == Some(name));
            (self.assignors.get(name).copied().unwrap_or(0) + asks(after)).saturating_sub(asks(before))
        };
        let mut best = c.config.default_consumer_assignor();
        let mut most = 0;
        for name in self.assignors.keys().map(String::as_str).chain(after.and_then(|m| m.assignor.as_deref())) {
            let Some(assignor) = Assignor::from_name(name) else { continue };
            if votes(name) > most {
                (best, most) = (assignor, votes(name));
            }
        }
        best
    }

    /// The members with `updated` in place, in the order of their ids, and what each is to get.
    fn assign<'a>(
        &'a self,
        c: &Context,
        assignor: Assignor,
        updated: &'a Member,
        homogeneous: bool,
    ) -> Result<Vec<(&'a str, Partitions)>, String> {
        let replaced = self.assigned_as(updated).filter(|id| *id != &*updated.id);
        let mut members: BTreeMap<&str, &Member> =
            self.members.iter().filter(|(id, _)| Some(&***id) != replaced).map(|(id, m)| (&**id, &**m)).collect();
        members.insert(&updated.id, updated);

        let mut topic_ids: HashMap<SubscriptionKey, BTreeSet<Uuid>> = HashMap::new();
        let mut partition_counts = BTreeMap::new();
        for member in members.values() {
            topic_ids.entry((&*member.topic_names, member.regex())).or_insert_with(|| {
                let topics: Vec<_> = self.subscribed_names(member).filter_map(|name| c.cluster.topic(name)).collect();
                partition_counts.extend(topics.iter().map(|t| (t.id, i32::try_from(t.partitions.len()).unwrap_or(i32::MAX))));
                topics.iter().map(|t| t.id).collect()
            });
        }
        let nothing = Partitions::new();
        let no_topics = BTreeSet::new();
        let spec = |(id, member): (&&'a str, &&'a Member)| {
            let assigned_as = if **id == *updated.id { replaced.unwrap_or(id) } else { id };
            MemberSpec {
                member_id: id,
                instance_id: member.instance_id.as_deref(),
                topics: topic_ids.get(&(&*member.topic_names, member.regex())).unwrap_or(&no_topics),
                assigned: self.target_of(assigned_as).unwrap_or(&nothing),
            }
        };
        let spec = GroupSpec { members: members.iter().map(spec).collect(), partition_counts: &partition_counts, homogeneous };
        let assigned = assignor.assign(&spec).map_err(|error| error.to_string())?;
        Ok(members.into_keys().zip(assigned).collect())
    }

    fn subscribed_names<'a>(&'a self, member: &'a Member) -> impl Iterator<Item = &'a str> {
        let resolved = member.regex().and_then(|regex| self.resolved.get(regex)).map(|r| &r.topics);
        member.topic_names.iter().chain(resolved.into_iter().flatten()).map(|name| &**name)
    }
}
