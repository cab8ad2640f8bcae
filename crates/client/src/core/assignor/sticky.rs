//! Owns: the sticky assignors: balance first, then as few moves as possible; the cooperative one also holds back what its old owner must
//! give up first. Kafka: `AbstractStickyAssignor`, `StickyAssignor`, `CooperativeStickyAssignor` (KIP-429).

mod general;
mod uniform;

use super::{Assignments, PartitionCounts, Subscriptions};
use crate::core::consumer_protocol::{Subscription, group};
use base::TopicPartition;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::collections::{BTreeMap, BTreeSet};

pub const DEFAULT_GENERATION: i32 = -1;

/// What a member says it owned, and since which generation.
pub struct MemberData {
    pub partitions: Vec<TopicPartition>,
    pub generation: Option<i32>,
}

pub struct Outcome {
    pub assignments: Assignments,
    /// Partitions that go to another member than the one that owns them, when the algorithm kept track.
    pub transferring: Option<BTreeMap<TopicPartition, String>>,
}

/// The owned partitions that count, after claims of the same partition are settled by generation.
struct Claims {
    owned: BTreeMap<String, Vec<TopicPartition>>,
    /// Claimed twice in one generation: belongs to nobody.
    disputed: BTreeSet<TopicPartition>,
    max_generation: i32,
    same_topics: bool,
}

pub fn assign(counts: &PartitionCounts, subscriptions: &Subscriptions, data: fn(&Subscription) -> MemberData) -> Outcome {
    if subscriptions.is_empty() {
        return Outcome { assignments: Assignments::new(), transferring: None };
    }
    let claims = settle_claims(counts, subscriptions, data);
    if claims.same_topics {
        let (assignments, transferring) = uniform::assign(counts, claims.owned, &claims.disputed);
        return Outcome { assignments, transferring: Some(transferring) };
    }
    let previous = previous_owners(subscriptions, data, claims.max_generation);
    Outcome { assignments: general::assign(counts, subscriptions, claims.owned, previous), transferring: None }
}

/// The cooperative variant: a partition that changes hands is left out for one round, in which its old owner gives it up.
pub fn assign_cooperatively(counts: &PartitionCounts, subscriptions: &Subscriptions) -> Assignments {
    let Outcome { mut assignments, transferring } = assign(counts, subscriptions, member_data_from_subscription);
    let transferring = transferring.unwrap_or_else(|| ownership_changes(subscriptions, &assignments));
    for (partition, member) in transferring {
        if let Some(assigned) = assignments.get_mut(&member) {
            assigned.retain(|candidate| *candidate != partition);
        }
    }
    assignments
}

fn ownership_changes(subscriptions: &Subscriptions, assignments: &Assignments) -> BTreeMap<TopicPartition, String> {
    let mut added = BTreeMap::new();
    let mut revoked = BTreeSet::new();
    for (member, assigned) in assignments {
        let Some(subscription) = subscriptions.get(member) else { continue };
        let owned: BTreeSet<&TopicPartition> = subscription.owned_partitions.iter().collect();
        let assigned: BTreeSet<&TopicPartition> = assigned.iter().collect();
        added.extend(assigned.difference(&owned).map(|partition| ((*partition).clone(), member.clone())));
        revoked.extend(owned.difference(&assigned).map(|partition| (*partition).clone()));
    }
    added.retain(|partition, _| revoked.contains(partition));
    added
}

fn settle_claims(counts: &PartitionCounts, subscriptions: &Subscriptions, data: fn(&Subscription) -> MemberData) -> Claims {
    let mut claims = Claims { owned: BTreeMap::new(), disputed: BTreeSet::new(), max_generation: DEFAULT_GENERATION, same_topics: true };
    let mut owners: BTreeMap<TopicPartition, (String, i32)> = BTreeMap::new();
    let mut topics: Option<BTreeSet<&String>> = None;
    for (member, subscription) in subscriptions {
        let own_topics: BTreeSet<&String> = subscription.topics.iter().collect();
        match &topics {
            None => topics = Some(own_topics),
            Some(first) => claims.same_topics &= *first == own_topics,
        }
        let MemberData { partitions, generation } = data(subscription);
        let generation = generation.unwrap_or(DEFAULT_GENERATION);
        claims.max_generation = claims.max_generation.max(generation);
        claims.owned.entry(member.clone()).or_default();
        for partition in partitions {
            let exists = counts.get(&partition.topic).is_some_and(|count| (0..*count).contains(&partition.partition));
            if !exists {
                continue;
            }
            let give_up = match owners.get(&partition) {
                None => None,
                Some((_, other)) if *other > generation => continue,
                Some((owner, other)) => Some((owner.clone(), *other == generation)),
            };
            let disputed = give_up.as_ref().is_some_and(|(_, same)| *same);
            if let Some((owner, _)) = give_up
                && let Some(owned) = claims.owned.get_mut(&owner)
            {
                owned.retain(|candidate| *candidate != partition);
            }
            if disputed {
                claims.disputed.insert(partition.clone());
            } else if let Some(owned) = claims.owned.get_mut(member) {
                owned.push(partition.clone());
            }
            owners.insert(partition, (member.clone(), generation));
        }
    }
    claims
}

/// Who had a partition in an older generation; the latest one counts.
fn previous_owners(
    subscriptions: &Subscriptions,
    data: fn(&Subscription) -> MemberData,
    max_generation: i32,
) -> BTreeMap<TopicPartition, String> {
    let mut previous: BTreeMap<TopicPartition, (String, i32)> = BTreeMap::new();
    for (member, subscription) in subscriptions {
        let MemberData { partitions, generation } = data(subscription);
        let generation = match generation {
            Some(generation) if generation < max_generation => generation,
            None if max_generation > DEFAULT_GENERATION => DEFAULT_GENERATION,
            _ => continue,
        };
        for partition in partitions {
            if previous.get(&partition).is_none_or(|(_, known)| generation > *known) {
                previous.insert(partition, (member.clone(), generation));
            }
        }
    }
    previous.into_iter().map(|(partition, (member, _))| (partition, member)).collect()
}

/// `StickyAssignor`'s user data: topics with their partitions, then the generation.
pub fn encode_memory(partitions: &[TopicPartition], generation: i32) -> Bytes {
    let mut out = BytesMut::new();
    let topics = group(partitions);
    out.put_i32(topics.len() as i32);
    for (topic, numbers) in topics {
        out.put_i16(topic.len() as i16);
        out.put_slice(topic.as_bytes());
        out.put_i32(numbers.len() as i32);
        for number in numbers {
            out.put_i32(number);
        }
    }
    out.put_i32(generation);
    out.freeze()
}

/// `StickyAssignor` reads memories from user data, because an eager member owns nothing when it joins.
pub fn member_data_from_user_data(subscription: &Subscription) -> MemberData {
    let Some(bytes) = subscription.user_data.clone().filter(|bytes| !bytes.is_empty()) else {
        return MemberData { partitions: Vec::new(), generation: None };
    };
    decode_memory(bytes).unwrap_or(MemberData { partitions: Vec::new(), generation: Some(DEFAULT_GENERATION) })
}

fn decode_memory(mut bytes: Bytes) -> Option<MemberData> {
    let mut partitions = Vec::new();
    let topics = bytes.try_get_i32().ok()?;
    for _ in 0..topics {
        let length = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
        if length > bytes.len() {
            return None;
        }
        let topic = String::from_utf8(bytes.split_to(length).to_vec()).ok()?;
        let count = bytes.try_get_i32().ok()?;
        for _ in 0..count {
            partitions.push(TopicPartition::new(topic.clone(), bytes.try_get_i32().ok()?));
        }
    }
    // Version 0 has no generation.
    Some(MemberData { partitions, generation: bytes.try_get_i32().ok() })
}

/// `CooperativeStickyAssignor` takes them from the subscription, or the generation from user data before version 2.
fn member_data_from_subscription(subscription: &Subscription) -> MemberData {
    let partitions = subscription.owned_partitions.clone();
    if subscription.generation.is_some() {
        return MemberData { partitions, generation: subscription.generation };
    }
    let generation = subscription.user_data.clone().map(|mut bytes| bytes.try_get_i32().unwrap_or(DEFAULT_GENERATION));
    MemberData { partitions, generation }
}
