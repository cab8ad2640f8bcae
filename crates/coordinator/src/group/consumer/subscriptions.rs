//! Which topics a group subscribes to: by how many members' names, and by how many of its regular expressions. Kept by `replay`; a decision
//! that would change it works on a copy. Kafka: SubscriptionCount, ResolvedRegularExpression, and the counting in ModernGroup.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::member::Member;

/// What a regular expression stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) topics: BTreeSet<Arc<str>>,
    /// The version of the cluster image it was resolved against.
    pub(crate) version: i64,
    pub(crate) timestamp_ms: i64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) by_name: usize,
    pub(crate) by_regex: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subscriptions {
    topics: BTreeMap<Arc<str>, Count>,
    /// Regular expressions by the number of members that use them.
    regexes: BTreeMap<String, usize>,
}

impl Subscriptions {
    pub(crate) fn contains(&self, topic: &str) -> bool {
        self.topics.contains_key(topic)
    }

    pub(crate) fn topics(&self) -> impl Iterator<Item = &str> {
        self.topics.keys().map(|topic| &**topic)
    }

    pub(crate) fn regexes(&self) -> impl ExactSizeIterator<Item = &String> {
        self.regexes.keys()
    }

    pub(crate) fn members_with(&self, regex: &str) -> usize {
        self.regexes.get(regex).copied().unwrap_or(0)
    }

    pub(super) fn add_member(&mut self, member: &Member) {
        for topic in member.topic_names.iter() {
            self.count(topic).by_name += 1;
        }
        if let Some(regex) = member.regex() {
            *self.regexes.entry(regex.to_owned()).or_default() += 1;
        }
    }

    pub(super) fn remove_member(&mut self, member: &Member) {
        for topic in member.topic_names.iter() {
            self.lower(topic, |count| &mut count.by_name);
        }
        if let Some(regex) = member.regex()
            && let Some(members) = self.regexes.get_mut(regex)
        {
            *members -= 1;
            if *members == 0 {
                self.regexes.remove(regex);
            }
        }
    }

    pub(super) fn add_resolved(&mut self, resolved: &Resolved) {
        for topic in &resolved.topics {
            self.count(topic).by_regex += 1;
        }
    }

    pub(super) fn remove_resolved(&mut self, resolved: &Resolved) {
        for topic in &resolved.topics {
            self.lower(topic, |count| &mut count.by_regex);
        }
    }

    fn count(&mut self, topic: &Arc<str>) -> &mut Count {
        self.topics.entry(topic.clone()).or_default()
    }

    fn lower(&mut self, topic: &str, which: fn(&mut Count) -> &mut usize) {
        let Some(count) = self.topics.get_mut(topic) else { return };
        let which = which(count);
        *which = which.saturating_sub(1);
        if *count == Count::default() {
            self.topics.remove(topic);
        }
    }

    /// Whether all members subscribe to the same: to the same names without any regular expression, or to one expression and nothing else.
    pub(crate) fn is_homogeneous(&self, members: usize) -> bool {
        match self.regexes.values().next() {
            None => self.topics.values().all(|count| count.by_name == members),
            Some(users) => *users == members && self.topics.values().all(|count| count.by_regex == 1 && count.by_name == 0),
        }
    }
}
