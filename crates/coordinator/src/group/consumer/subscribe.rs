//! A member is new, or has changed what it subscribes to: its record, and the next group epoch. Kafka: hasMemberSubscriptionChanged,
//! maybeUpdateRegularExpressions and updateSubscriptionMetadata of GroupMetadataManager.

use wire::ErrorCode;

use super::member::Member;
use super::step::TimerChange;
use super::{ConsumerGroup, Context, Refreshed, Refusal, Step, stored};
use crate::regex::Pattern;
use crate::timers::{Due, Timer};

/// For how long a look at the topics holds when nothing is heard of changes.
pub(super) const REFRESH_INTERVAL_MS: i64 = i32::MAX as i64;
/// Regular expressions are not resolved again sooner than this.
const REGEX_BATCH_REFRESH_MIN_INTERVAL_MS: i64 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RegexChange {
    None,
    /// What it stands for is not known yet; the group epoch moves on when it is.
    Unresolved,
    Resolved,
}

/// The group as it is going to be with the records of the step.
pub(super) struct NextGroup {
    pub(super) epoch: i32,
    /// Whether all members subscribe to the same; `None` when that is as it was.
    pub(super) homogeneous: Option<bool>,
}

impl ConsumerGroup {
    /// Stores a member that has changed. Whether the topics that it names have.
    pub(super) fn store_member(&self, before: &Member, updated: &Member, step: &mut Step) -> Result<bool, Refusal> {
        if updated == before {
            return Ok(false);
        }
        step.records.push(stored::member(&self.id, updated)?);
        Ok(updated.topic_names != before.topic_names)
    }

    pub(super) fn update_regexes(&self, c: &Context, before: &Member, updated: &Member, step: &mut Step) -> Result<RegexChange, Refusal> {
        let (old, new) = (before.regex(), updated.regex());
        let mut change = RegexChange::None;
        let mut refresh = false;
        if before.topic_regex != updated.topic_regex {
            change = RegexChange::Unresolved;
            if let Some(old) = old
                && self.subscriptions.members_with(old) == 1
            {
                step.records.push(stored::regex_tombstone(&self.id, old)?);
            }
            match new {
                Some(new) if self.subscriptions.members_with(new) == 0 => {
                    check_regex(new)?;
                    refresh = true;
                }
                Some(new) if self.resolved.contains_key(new) => change = RegexChange::Resolved,
                Some(_) => {}
                None if old.is_some() => change = RegexChange::Resolved,
                None => {}
            }
        }
        self.schedule_regexes(c, before, updated, refresh, step);
        Ok(change)
    }

    /// Has the regular expressions resolved when one is new, topics are new, or it was long ago.
    fn schedule_regexes(&self, c: &Context, before: &Member, updated: &Member, asked: bool, step: &mut Step) {
        if !asked && self.subscriptions.regexes().len() == 0 {
            return;
        }
        let last = self.resolved.values().next();
        let now_ms = c.now.wall_ms;
        if last.is_some_and(|last| now_ms <= last.timestamp_ms.saturating_add(REGEX_BATCH_REFRESH_MIN_INTERVAL_MS)) {
            return;
        }
        let regexes = self.regexes_with(before.regex(), updated.regex());
        let (version, at_ms) = last.map_or((0, i64::MIN), |last| (last.version, last.timestamp_ms));
        let old = now_ms > at_ms.saturating_add(i64::from(c.config.consumer_regex_refresh_interval_ms));
        let due = asked || regexes != self.resolved.len() || version < c.cluster.topics_added_at() || old;
        if due && regexes > 0 {
            let timer = Timer::Regexes { group: self.id.clone() };
            step.timers.push(TimerChange::SetIfAbsent { timer, delay_ms: 0, due: Due::Regexes });
        }
    }

    /// How many regular expressions the group has once a member has changed its own.
    fn regexes_with(&self, old: Option<&str>, new: Option<&str>) -> usize {
        let regexes = self.subscriptions.regexes().len();
        if old == new {
            return regexes;
        }
        let gone = old.is_some_and(|old| self.subscriptions.members_with(old) == 1);
        let came = new.is_some_and(|new| self.subscriptions.members_with(new) == 0);
        regexes + usize::from(came) - usize::from(gone)
    }

    /// The next group epoch, if the subscriptions, or the topics behind them, have changed.
    pub(super) fn update_metadata(
        &self,
        c: &Context,
        bump: bool,
        before: &Member,
        updated: &Member,
        step: &mut Step,
    ) -> Result<NextGroup, Refusal> {
        if !bump && !self.needs_refresh(c.now.wall_ms) {
            return Ok(NextGroup { epoch: self.epoch, homogeneous: None });
        }
        // A new member has nothing to remove.
        let mut next = self.subscriptions.clone();
        next.remove_member(before);
        next.add_member(updated);
        let replaces = updated.instance_id.as_deref().is_some_and(|instance_id| self.static_member(instance_id).is_some());
        let is_new = !replaces && self.member(&updated.id).is_none();
        let members = self.members.len() + usize::from(is_new);
        // An expression that nobody uses any more brings no topics.
        if let Some(old) = before.regex()
            && next.members_with(old) == 0
            && let Some(resolved) = self.resolved.get(old)
        {
            next.remove_resolved(resolved);
        }
        let hash = c.cluster.metadata_hash(next.topics());
        let mut epoch = self.epoch;
        if bump || hash != self.metadata_hash {
            epoch = epoch.saturating_add(1);
            step.records.push(stored::epoch(&self.id, epoch, hash)?);
            tracing::debug!(group = %self.id, epoch, "the group epoch moves on");
        }
        step.refreshed = Some(Refreshed { until_ms: c.now.wall_ms.saturating_add(REFRESH_INTERVAL_MS), epoch });
        if self.has_partition_metadata {
            step.records.push(stored::partition_metadata_tombstone(&self.id)?);
        }
        Ok(NextGroup { epoch, homogeneous: Some(next.is_homogeneous(members)) })
    }
}

fn check_regex(regex: &str) -> Result<(), Refusal> {
    Pattern::compile(regex).map(|_| ()).map_err(|text| Refusal::new(ErrorCode::InvalidRegularExpression, text))
}
