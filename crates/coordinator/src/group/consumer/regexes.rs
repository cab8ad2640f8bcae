//! What the regular expressions of a group stand for: resolved together, against all topics of the cluster, away from the requests that
//! brought them and from the group. Kafka: TopicRegexResolver, handleRegularExpressionsResult.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::subscriptions::Resolved;
use super::{ConsumerGroup, Context, Refreshed, Refusal, Step, stored};

/// What expressions were found to stand for.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) topics: BTreeMap<String, BTreeSet<Arc<str>>>,
    /// Of the image that they were resolved against.
    pub(crate) version: i64,
}

impl ConsumerGroup {
    /// All that it has now.
    pub(crate) fn regexes(&self) -> impl Iterator<Item = &String> {
        self.subscriptions.regexes()
    }

    /// Takes over what was found for those that it still has; the group epoch moves on when that brings other topics.
    pub(crate) fn regexes_resolved(&self, c: &Context, found: Found, step: &mut Step) -> Result<(), Refusal> {
        let mut found = found;
        let mut next = self.subscriptions.clone();
        let mut bump = false;
        for regex in self.subscriptions.regexes() {
            let Some(topics) = found.topics.remove(regex) else { continue };
            let resolved = Resolved { topics, version: found.version, timestamp_ms: c.now.wall_ms };
            let before = self.resolved.get(regex);
            if before.map_or(&BTreeSet::new(), |before| &before.topics) != &resolved.topics {
                bump = true;
                before.iter().for_each(|before| next.remove_resolved(before));
                next.add_resolved(&resolved);
            }
            step.records.push(stored::regex(&self.id, regex, &resolved)?);
        }
        if step.records.is_empty() {
            return Ok(());
        }
        let hash = c.cluster.metadata_hash(next.topics());
        if bump || hash != self.metadata_hash {
            let epoch = self.epoch.saturating_add(1);
            step.records.push(stored::epoch(&self.id, epoch, hash)?);
            step.refreshed = Some(Refreshed { until_ms: c.now.wall_ms.saturating_add(super::subscribe::REFRESH_INTERVAL_MS), epoch });
        }
        tracing::debug!(group = %self.id, version = found.version, bump, "resolved the regular expressions");
        Ok(())
    }
}
