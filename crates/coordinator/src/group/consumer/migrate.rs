//! A classic group of consumers becomes one of this protocol when the first member of it joins, and goes back when the last of them leaves;
//! nobody has to stop. Kafka: ConsumerGroup.fromClassicGroup, ClassicGroup.fromConsumerGroup and the validateOnline… checks.

use std::collections::HashMap;
use std::sync::Arc;

use base::Uuid;
use wire::ErrorCode;

use super::member::{ClassicMember, Member, with_epoch};
use super::step::TimerChange;
use super::{ConsumerGroup, Context, Downgrade, FIRST_EPOCH, Refusal, Step, Target, embedded};
use crate::assignor::Partitions;
use crate::group::classic::member::{Joined, Member as ClassicGroupMember, Protocol};
use crate::group::classic::{ClassicGroup, State};
use crate::records;
use crate::timers::{Due, Timer};

const CUSTOM_ASSIGNOR: &str = "an unsupported custom assignor is in use. Please refer to the documentation or switch to a default assignor \
                               before re-attempting the upgrade";

impl ConsumerGroup {
    /// The group that a classic one with members becomes, as of its last assignment; its records are added to the step.
    pub(crate) fn upgraded(c: &Context, classic: &ClassicGroup, step: &mut Step) -> Result<ConsumerGroup, Refusal> {
        let id = classic.group_id();
        let refuse = |why: &str| {
            tracing::info!(group = id, why, "cannot upgrade a classic group");
            let text = format!("Cannot upgrade classic group {id} to consumer group because {why}.");
            Refusal::new(ErrorCode::GroupIdNotFound, text)
        };
        if !c.config.consumer_migration_policy.allows_upgrade() {
            return Err(refuse("online upgrade is disabled"));
        }
        if !classic.uses_consumer_protocol() {
            return Err(refuse("the group does not use the consumer embedded protocol"));
        }
        if classic.members().len() > usize::try_from(c.config.consumer_max_size).unwrap_or(0) {
            return Err(refuse("the group size exceeds the consumer group maximum size"));
        }
        let mut group = ConsumerGroup::new(id);
        // A group whose first rebalance is not over has no generation, and epoch 0 is not one that a member can be in: Kafka gives it to a member
        // that subscribes by a regular expression, whose next heartbeat it then refuses.
        let generation = classic.generation_id().max(FIRST_EPOCH);
        group.target = Target { epoch: generation, timestamp_ms: 0, members: Default::default() };
        // What a rebalance was to bring is not in the last assignment, so there must be a new one, even if the member that comes changes nothing.
        group.epoch = if classic.state() == State::Stable { generation } else { generation.saturating_add(1) };
        let protocol = classic.chosen_protocol().unwrap_or_default();
        let mut members = Vec::new();
        for member in classic.members() {
            members.push(upgraded_member(c, member, &protocol, generation).map_err(&refuse)?);
        }
        add_claims(&mut members, generation);
        for Upgraded { member, target, .. } in members {
            group.target.members.insert(member.id.clone(), target);
            group.put_member(member);
        }
        group.metadata_hash = c.cluster.metadata_hash(group.subscriptions.topics());

        step.records.push(records::group_metadata_tombstone(id)?);
        step.records.extend(group.records()?);
        for member in group.members.values() {
            let Some(classic) = &member.classic else { continue };
            let timer = Timer::Session { group: group.id.clone(), member: member.id.clone() };
            let delay_ms = i64::from(classic.session_timeout_ms);
            step.timers.push(TimerChange::Set { timer, delay_ms, due: Due::Session });
        }
        tracing::info!(group = id, members = group.members.len(), "a classic group becomes a consumer group");
        Ok(group)
    }

    /// Whether the group goes back to the classic protocol without these members.
    pub(crate) fn downgrades_without(&self, c: &Context, leaving: &[Arc<Member>]) -> bool {
        let staying = self.members.len().saturating_sub(leaving.len());
        self.is_classic_except(leaving) && staying > 0 && self.may_downgrade(c, staying)
    }

    /// Whether the group goes back when a classic member takes the place of this one.
    pub(super) fn downgrades_in_place_of(&self, c: &Context, replaced: &Member) -> bool {
        let others_are_classic = self.classic_members + 1 == self.members.len() && !replaced.uses_classic_protocol();
        others_are_classic && self.may_downgrade(c, self.members.len())
    }

    fn may_downgrade(&self, c: &Context, size: usize) -> bool {
        if !c.config.consumer_migration_policy.allows_downgrade() {
            tracing::info!(group = %self.id, "cannot become a classic group because the online downgrade is disabled");
            return false;
        }
        if size > usize::try_from(c.config.group_max_size).unwrap_or(0) {
            tracing::info!(group = %self.id, "cannot become a classic group because it is larger than group.max.size");
            return false;
        }
        true
    }

    /// Goes back without the leaving members. Those who stay join again.
    pub(crate) fn downgrade_without(&self, c: &Context, leaving: &[Arc<Member>], step: &mut Step) -> Result<Downgrade, Refusal> {
        step.records.extend(self.tombstones()?);
        let staying = self.members.values().filter(|m| !leaving.iter().any(|l| l.id == m.id));
        let members = staying.map(|m| downgraded_member(m));
        let reason = format!("Downgrade group {} from consumer to classic for member leaving.", self.id);
        self.downgrade(c, members.collect(), reason, step)
    }

    /// Goes back with `joining` in the place of the last member of this protocol, whose records it has taken over already.
    pub(super) fn downgrade_with(&self, c: &Context, joining: &Member, replaced: &str, step: &mut Step) -> Result<Downgrade, Refusal> {
        let tombstones = self.tombstones_with(|id| if id == replaced { &*joining.id } else { id })?;
        step.records.extend(tombstones);
        let others = self.members.values().map(|m| &**m).filter(|m| *m.id != *replaced);
        let members = others.chain([joining]).map(downgraded_member).collect();
        let reason = format!("Downgrade group {} from consumer to classic with stale assignment.", self.id);
        self.downgrade(c, members, reason, step)
    }

    fn downgrade(
        &self,
        c: &Context,
        members: Vec<(ClassicGroupMember, Partitions)>,
        reason: String,
        step: &mut Step,
    ) -> Result<Downgrade, Refusal> {
        let (members, targets): (Vec<_>, Vec<_>) = members.into_iter().unzip();
        let ids: Vec<Arc<str>> = members.iter().map(|m| m.id.clone()).collect();
        let mut group = ClassicGroup::of_consumers(&self.id, self.epoch, members);
        for (id, target) in ids.iter().zip(&targets) {
            let version = group.metadata_of(id).and_then(|metadata| embedded::version(metadata).ok());
            let Some(version) = version else {
                let text = format!("Cannot downgrade the classic group {}: the metadata of member {id} cannot be read.", self.id);
                return Err(Refusal::new(ErrorCode::GroupIdNotFound, text));
            };
            group.set_assignment(id, embedded::encode(c.cluster, target, version)?);
        }
        step.records.push(records::group_metadata(&group, &group.assignment())?);
        for member in self.members.keys() {
            self.member_timers(member).into_iter().for_each(|timer| step.cancel(timer));
        }
        tracing::info!(group = %self.id, members = ids.len(), "a consumer group becomes a classic group");
        Ok(Downgrade { group: Box::new(group), reason })
    }
}

/// A member as the classic group has it, with what it may still hold as its assignment. The target is void before a rebalance; but if the group
/// comes back to this protocol before the rebalance is over, nobody else may be given what is held. Kafka stores the target, and does give it.
fn downgraded_member(member: &Member) -> (ClassicGroupMember, Partitions) {
    let nothing = || Arc::new(ClassicMember { session_timeout_ms: 0, protocols: Vec::new() });
    let classic = member.classic.clone().unwrap_or_else(nothing);
    let protocols = classic.protocols.iter().map(|(name, metadata)| Protocol { name: name.clone(), metadata: metadata.clone() });
    let joined = Joined {
        session_timeout_ms: classic.session_timeout_ms,
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        protocols: protocols.collect(),
    };
    (
        ClassicGroupMember {
            id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            joined,
            assignment: bytes::Bytes::new(),
            awaiting_join: None,
            awaiting_sync: None,
            is_new: false,
        },
        held(member),
    )
}

/// Everything that a member has not given up yet.
fn held(member: &Member) -> Partitions {
    let mut held = Partitions::new();
    for (topic, partitions) in member.assigned.iter().chain(member.pending_revocation.iter()) {
        held.entry(*topic).or_default().extend(partitions.keys());
    }
    held
}

struct Upgraded {
    member: Member,
    target: Partitions,
    /// What it said it owned when it last joined: of a cooperative member, which keeps that through a rebalance.
    claims: Partitions,
    /// The generation of its claims.
    generation_id: i32,
}

/// A rebalance that fails or has not ended leaves members without an assignment in the group, though cooperative ones go on with what they own.
/// That is theirs still, unless it is assigned to another member or another has claimed it in a later generation. Kafka forgets it, and
/// gives it to others before its owner has let go of it.
fn add_claims(members: &mut [Upgraded], epoch: i32) {
    let mut owners: HashMap<(Uuid, i32), (i32, usize)> = HashMap::new();
    for (at, upgraded) in members.iter().enumerate() {
        for (topic, partition) in upgraded.target.iter().flat_map(|(topic, set)| set.iter().map(|p| (*topic, *p))) {
            owners.insert((topic, partition), (i32::MAX, at));
        }
    }
    for (at, upgraded) in members.iter().enumerate() {
        for (topic, partition) in upgraded.claims.iter().flat_map(|(topic, set)| set.iter().map(|p| (*topic, *p))) {
            let owner = owners.entry((topic, partition)).or_insert((upgraded.generation_id, at));
            if owner.0 < upgraded.generation_id {
                *owner = (upgraded.generation_id, at);
            }
        }
    }
    for ((topic, partition), (_, at)) in owners {
        let assigned = Arc::make_mut(&mut members[at].member.assigned);
        assigned.entry(topic).or_default().entry(partition).or_insert(epoch);
    }
}

/// Partitions by the ids of their topics; topics that are gone are left out.
fn by_id(c: &Context, topics: impl IntoIterator<Item = (String, Vec<i32>)>) -> Partitions {
    let mut partitions = Partitions::new();
    for (topic, of_topic) in topics.into_iter().filter(|(_, of_topic)| !of_topic.is_empty()) {
        if let Some(id) = c.cluster.topic_id(&topic) {
            partitions.entry(id).or_default().extend(of_topic);
        }
    }
    partitions
}

/// The member at rest with what the leader assigned to it last.
fn upgraded_member(c: &Context, classic: &ClassicGroupMember, protocol: &str, epoch: i32) -> Result<Upgraded, &'static str> {
    const MALFORMED: &str = "the embedded consumer protocol is malformed";
    let mut target = Partitions::new();
    // It is empty where a member joined and has never synced.
    if !classic.assignment.is_empty() {
        let assignment = embedded::assignment(&classic.assignment).map_err(|_| MALFORMED)?;
        if assignment.user_data.is_some_and(|data| !data.is_empty()) {
            return Err(CUSTOM_ASSIGNOR);
        }
        target = by_id(c, assignment.assigned_partitions.into_iter().map(|topic| (topic.topic, topic.partitions)));
    }
    let metadata = classic.metadata(protocol).ok_or(MALFORMED)?;
    let subscription = embedded::subscription(metadata).map_err(|_| MALFORMED)?;
    let mut claims = by_id(c, subscription.owned_partitions.into_iter().map(|topic| (topic.topic, topic.partitions)));
    for (topic, partitions) in &mut claims {
        partitions.retain(|partition| c.cluster.topic_by_id(*topic).is_some_and(|topic| topic.partitions.contains_key(partition)));
    }
    let mut member = Member::new(&classic.id);
    member.epoch = epoch;
    member.previous_epoch = epoch;
    member.instance_id = classic.instance_id.clone();
    member.rack_id = subscription.rack_id.filter(|rack| !rack.is_empty());
    member.rebalance_timeout_ms = classic.joined.rebalance_timeout_ms;
    member.client_id = classic.client_id.clone();
    member.client_host = classic.client_host.clone();
    member.topic_names = Arc::new(subscription.topics.into_iter().map(Arc::from).collect());
    member.assigned = Arc::new(with_epoch(&target, epoch));
    member.classic = Some(Arc::new(ClassicMember {
        session_timeout_ms: classic.joined.session_timeout_ms,
        protocols: classic.joined.protocols.iter().map(|p| (p.name.clone(), p.metadata.clone())).collect(),
    }));
    Ok(Upgraded { member, target, claims, generation_id: subscription.generation_id })
}
