//! What the regular expressions of a group stand for: resolved together, against all topics of the cluster, away from the requests that
//! brought them. Kafka: TopicRegexResolver, handleRegularExpressionsResult.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::subscriptions::Resolved;
use super::{ConsumerGroup, Context, Refreshed, Refusal, Step, stored};
use crate::regex::Pattern;

impl ConsumerGroup {
    /// Resolves all; the group epoch moves on when that brings other topics.
    pub(crate) fn resolve_regexes(&self, c: &Context, step: &mut Step) -> Result<(), Refusal> {
        let mut next = self.subscriptions.clone();
        let mut bump = false;
        for regex in self.subscriptions.regexes() {
            let resolved = Resolved { topics: matching(c, regex), version: c.cluster.version(), timestamp_ms: c.now.wall_ms };
            let before = self.resolved.get(regex);
            if before.map_or(&BTreeSet::new(), |before| &before.topics) != &resolved.topics {
                bump = true;
                before.iter().for_each(|before| next.remove_resolved(before));
                next.add_resolved(&resolved);
            }
            step.records.push(stored::regex(&self.id, regex, &resolved)?);
        }
        let hash = c.cluster.metadata_hash(next.topics());
        if bump || hash != self.metadata_hash {
            let epoch = self.epoch.saturating_add(1);
            step.records.push(stored::epoch(&self.id, epoch, hash)?);
            step.refreshed = Some(Refreshed { until_ms: c.now.wall_ms.saturating_add(super::subscribe::REFRESH_INTERVAL_MS), epoch });
        }
        tracing::debug!(group = %self.id, topics = c.cluster.image().topics.len(), bump, "resolved the regular expressions");
        Ok(())
    }
}

fn matching(c: &Context, regex: &str) -> BTreeSet<Arc<str>> {
    match Pattern::compile(regex) {
        Ok(pattern) => c.cluster.image().topics.iter().map(|topic| &topic.name).filter(|name| pattern.matches(name)).cloned().collect(),
        Err(error) => {
            // It was checked when it came, so this is one that another broker took.
            tracing::error!(regex, error, "a regular expression cannot be read and matches nothing");
            BTreeSet::new()
        }
    }
}
