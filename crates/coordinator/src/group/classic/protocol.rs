//! Which protocol a classic group uses, and which topics its consumers subscribe to.

use std::collections::{BTreeSet, HashSet};

use wire::Message;
use wire::Reader;
use wire::messages::ConsumerProtocolSubscription;

use super::member::{Joined, Protocol, distinct_names};
use super::{ClassicGroup, State};

impl ClassicGroup {
    pub(super) fn count_protocols(&mut self, joined: &Joined, by: isize) {
        for name in distinct_names(&joined.protocols) {
            let count = self.supported_protocols.get(name).copied().unwrap_or(0).saturating_add_signed(by);
            if count == 0 {
                self.supported_protocols.remove(name);
            } else {
                self.supported_protocols.insert(name.to_owned(), count);
            }
        }
    }

    /// Whether a member with these protocols may join: it shares the type and at least one protocol with all members.
    pub(super) fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.state == State::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|p| self.supported_protocols.get(&p.name).copied().unwrap_or(0) == self.members.len())
    }

    /// Every member votes for the first of its protocols that all members support; the most votes win. `None` when there is no member
    /// or no common protocol, which `supports` keeps from happening.
    pub(super) fn select_protocol(&self) -> Option<String> {
        let candidates: HashSet<&str> =
            self.supported_protocols.iter().filter(|(_, count)| **count == self.members.len()).map(|(name, _)| name.as_str()).collect();
        let mut votes: Vec<(&str, usize)> = Vec::new();
        for member in self.members.values() {
            let choice = member.protocol_names().find(|name| candidates.contains(name))?;
            match votes.iter_mut().find(|(name, _)| *name == choice) {
                Some((_, count)) => *count += 1,
                None => votes.push((choice, 1)),
            }
        }
        in_java_map_order(&mut votes);
        let most = votes.iter().map(|(_, count)| *count).max()?;
        votes.iter().find(|(_, count)| *count == most).map(|(name, _)| (*name).to_owned())
    }

    /// The union of the subscriptions of all members. `None` when they are not consumers or one of them cannot be read.
    pub(super) fn compute_subscribed_topics(&self) -> Option<BTreeSet<String>> {
        if !self.uses_consumer_protocol() {
            return None;
        }
        let mut topics = BTreeSet::new();
        if self.members.is_empty() {
            return Some(topics);
        }
        let protocol = self.protocol_name.as_deref()?;
        for member in self.members.values() {
            // Version 0 is a prefix of all versions, so what follows it is left alone.
            let mut reader = Reader::new(member.metadata(protocol)?.clone());
            let read = reader.i16().ok().and_then(|_version| ConsumerProtocolSubscription::decode(&mut reader, 0).ok());
            let Some(subscription) = read else {
                tracing::warn!(group = %self.id, member = %member.id, "cannot read the subscription of a consumer: its topics are not known");
                return None;
            };
            topics.extend(subscription.topics);
        }
        Some(topics)
    }
}

/// Equal votes are decided by the iteration order of a Java HashMap, which clients can observe; so it is reproduced.
fn in_java_map_order(votes: &mut [(&str, usize)]) {
    let mut capacity = 16u32;
    while votes.len() as u32 > capacity / 4 * 3 {
        capacity *= 2;
    }
    votes.sort_by_key(|(name, _)| {
        let hash = base::hash::java_string_hash(name) as u32;
        (hash ^ (hash >> 16)) & (capacity - 1)
    });
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn java_map_order() {
        // System.out.println(new HashMap<>(Map.of("range", 1, "roundrobin", 1, "sticky", 1, "cooperative-sticky", 1)).keySet())
        let mut votes = vec![("sticky", 1), ("roundrobin", 1), ("range", 1), ("cooperative-sticky", 1)];
        in_java_map_order(&mut votes);
        let names: HashMap<&str, usize> = votes.iter().enumerate().map(|(i, (name, _))| (*name, i)).collect();
        assert_eq!(names.len(), 4);
        let bucket = |name: &str| {
            let h = base::hash::java_string_hash(name) as u32;
            (h ^ (h >> 16)) & 15
        };
        assert!(votes.windows(2).all(|w| bucket(w[0].0) <= bucket(w[1].0)));
    }
}
