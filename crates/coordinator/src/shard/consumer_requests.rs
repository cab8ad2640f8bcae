//! Groups of the consumer protocol (KIP-848): ConsumerGroupHeartbeat, ConsumerGroupDescribe, their timers, and what they are told of the
//! cluster. Kafka: the same of GroupCoordinatorService and GroupMetadataManager.

use std::sync::Arc;

use base::{Now, Uuid};
use metadata::{Delta, Image};
use wire::ErrorCode;
use wire::messages::consumer_group_describe_response::DescribedGroup;
use wire::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

use super::lifecycle::replayed;
use super::{Shard, classic_step};
use crate::assignor::Assignor;
use crate::group::Group;
use crate::group::consumer::member::{LEAVE_EPOCH, LEAVE_STATIC_EPOCH, Member};
use crate::group::consumer::step::TimerChange;
use crate::group::consumer::{ConsumerGroup, Context, Downgrade, Refusal, Step, left};
use crate::output::{Append, Completion, ConsumerStep, Deferred, Effect, Output, Reply, RequestContext, Token};
use crate::records;
use crate::timers::{Due, Timer};

/// How soon a timer comes again whose records could not be written.
const RETRY_MS: i64 = 500;

impl Shard {
    /// Takes over what is known of the cluster: at the start, and after every change. `delta: None` when the change is not known.
    pub fn metadata_changed(&mut self, image: &Arc<Image>, delta: Option<&Delta>) {
        self.cluster.update(image.clone(), delta);
        let changed: Option<Vec<&str>> = delta.map(|delta| {
            let changed = delta.changed_partitions.keys().filter_map(|id| image.topics.get_by_id(*id));
            changed.chain(delta.deleted_topics.values()).map(|topic| &*topic.name).collect()
        });
        for group in self.groups.values_mut() {
            if let Group::Consumer(group) = group
                && changed.as_ref().is_none_or(|topics| topics.iter().any(|topic| group.is_subscribed_to(topic)))
            {
                group.request_refresh();
            }
        }
    }

    pub(super) fn context(&self, now: Now, group_id: &str) -> Context<'_> {
        let settings = self.config.consumer_settings(self.cluster.image(), group_id);
        Context { now, config: &self.config, settings, cluster: &self.cluster }
    }

    pub fn consumer_group_heartbeat(
        &mut self,
        now: Now,
        context: &RequestContext,
        token: Token,
        mut request: ConsumerGroupHeartbeatRequest,
    ) -> Output {
        let mut out = Output::default();
        if let Err(refusal) = self.check_consumer_heartbeat(context, &request) {
            refuse(token, refusal, &mut out);
            return out;
        }
        if request.member_id.is_empty() {
            request.member_id = Uuid::random(&mut self.rng).to_string();
        }
        match self.decide_consumer_heartbeat(now, context, &request) {
            Ok((decided, response)) => {
                self.carry_out(now, context, &request.group_id, decided, (token, Reply::ConsumerGroupHeartbeat(response)), &mut out);
            }
            Err(refusal) => refuse(token, refusal, &mut out),
        }
        out
    }

    /// What is wrong with a request whatever the group.
    fn check_consumer_heartbeat(&self, context: &RequestContext, request: &ConsumerGroupHeartbeatRequest) -> Result<(), Refusal> {
        let invalid = |text: &str| Err(Refusal::new(ErrorCode::InvalidRequest, text));
        let blank = |text: &Option<String>| text.as_ref().is_some_and(|t| is_blank(t));
        let needs_member_id = context.api_version >= 1 || request.member_epoch > 0 || request.member_epoch == LEAVE_EPOCH;
        if needs_member_id && is_blank(&request.member_id) {
            return invalid("MemberId can't be empty.");
        }
        if is_blank(&request.group_id) {
            return invalid("GroupId can't be empty.");
        }
        if blank(&request.instance_id) {
            return invalid("InstanceId can't be empty.");
        }
        if blank(&request.rack_id) {
            return invalid("RackId can't be empty.");
        }
        if request.member_epoch == 0 {
            if request.rebalance_timeout_ms == -1 {
                return invalid("RebalanceTimeoutMs must be provided in first request.");
            }
            if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) {
                return invalid("TopicPartitions must be empty when (re-)joining.");
            }
            if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() {
                return invalid("Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.");
            }
        } else if request.member_epoch == LEAVE_STATIC_EPOCH {
            if request.instance_id.is_none() {
                return invalid("InstanceId can't be null.");
            }
        } else if request.member_epoch < LEAVE_STATIC_EPOCH {
            return invalid("MemberEpoch is invalid.");
        }
        self.check_assignor(request.server_assignor.as_deref())
    }

    fn check_assignor(&self, name: Option<&str>) -> Result<(), Refusal> {
        let Some(name) = name else { return Ok(()) };
        let offered: Vec<&str> = self.config.consumer_assignors.iter().filter_map(|n| Assignor::from_name(n)).map(Assignor::name).collect();
        if offered.contains(&name) {
            return Ok(());
        }
        let text = format!("ServerAssignor {name} is not supported. Supported assignors: {}.", offered.join(", "));
        Err(Refusal::new(ErrorCode::UnsupportedAssignor, text))
    }

    fn decide_consumer_heartbeat(
        &self,
        now: Now,
        from: &RequestContext,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<(Decided, ConsumerGroupHeartbeatResponse), Refusal> {
        let group_id = request.group_id.as_str();
        let c = self.context(now, group_id);
        let mut decided = Decided::default();
        if request.member_epoch == LEAVE_EPOCH || request.member_epoch == LEAVE_STATIC_EPOCH {
            let group = self.consumer_group(group_id)?;
            let member = group.leaving(request)?;
            if request.member_epoch == LEAVE_STATIC_EPOCH {
                let response = group.leave_for_now(&member, &mut decided.step)?;
                return Ok((decided, response));
            }
            tracing::info!(group = group_id, member = %member.id, "a member leaves");
            decided.downgrade = fence(group, &c, &[member], &mut decided.step)?;
            return Ok((decided, left(request)));
        }
        let response = match self.groups.get(group_id) {
            Some(Group::Consumer(group)) => group.heartbeat(&c, from, request, &mut decided.step)?,
            None if request.member_epoch == 0 => ConsumerGroup::new(group_id).heartbeat(&c, from, request, &mut decided.step)?,
            None => {
                let text = format!("Consumer group {group_id} not found.");
                return Err(Refusal::new(ErrorCode::GroupIdNotFound, text));
            }
            Some(Group::Classic(classic)) if request.member_epoch == 0 && classic.is_empty() => {
                // The group keeps its offsets and becomes one of this protocol.
                decided.step.records.push(records::group_metadata_tombstone(group_id)?);
                ConsumerGroup::new(group_id).heartbeat(&c, from, request, &mut decided.step)?
            }
            Some(Group::Classic(classic)) if request.member_epoch == 0 => {
                let group = ConsumerGroup::upgraded(&c, classic, &mut decided.step)?;
                group.heartbeat(&c, from, request, &mut decided.step)?
            }
            Some(_) => return Err(not_a_consumer_group(group_id)),
        };
        Ok((decided, response))
    }

    pub(super) fn consumer_group(&self, group_id: &str) -> Result<&ConsumerGroup, Refusal> {
        match self.groups.get(group_id) {
            Some(Group::Consumer(group)) => Ok(group),
            Some(_) => Err(not_a_consumer_group(group_id)),
            None => Err(Refusal::new(ErrorCode::GroupIdNotFound, format!("Group {group_id} not found."))),
        }
    }

    /// Writes what was decided, and answers when it is committed; without records, when everything before is.
    pub(super) fn carry_out(
        &mut self,
        now: Now,
        context: &RequestContext,
        group_id: &str,
        decided: Decided,
        reply: (Token, Reply),
        out: &mut Output,
    ) {
        let Decided { step, downgrade } = decided;
        let deferred = Deferred { replies: vec![reply], api_version: context.api_version };
        if let Some(Group::Classic(classic)) = self.groups.get_mut(group_id) {
            // It becomes a consumer group: members that wait in the rebalance of the classic one come back to the new one.
            classic.answer_all(ErrorCode::RebalanceInProgress, out);
        }
        let mut effects =
            ConsumerStep { group_id: group_id.to_owned(), timers: step.timers, refreshed: step.refreshed, downgrade, deferred };
        if step.records.is_empty() {
            self.consumer_applied(now, &mut effects);
            for (token, reply) in effects.deferred.replies {
                self.answer_when_settled(now, token, reply, context.api_version, out);
            }
            return;
        }
        out.appends.push(append(step.records, effects));
    }

    /// The records of a step are in the log and applied.
    pub(super) fn consumer_applied(&mut self, now: Now, step: &mut ConsumerStep) {
        self.change_timers(now, std::mem::take(&mut step.timers));
        if let Some(downgrade) = step.downgrade.take() {
            self.downgraded(now, &step.group_id, downgrade);
        }
        if let (Some(refreshed), Some(Group::Consumer(group))) = (step.refreshed, self.groups.get_mut(&step.group_id)) {
            group.set_refreshed(refreshed);
        }
    }

    pub(super) fn change_timers(&mut self, now: Now, changes: Vec<TimerChange>) {
        for change in changes {
            match change {
                TimerChange::Set { timer, delay_ms, due } => self.timers.schedule(timer, now.mono, delay_ms, due),
                TimerChange::SetIfAbsent { timer, delay_ms, due } => self.timers.schedule_if_absent(timer, now.mono, delay_ms, due),
                TimerChange::Cancel(timer) => self.timers.cancel(&timer),
            }
        }
    }

    /// The classic group takes the place of the consumer group.
    fn downgraded(&mut self, now: Now, group_id: &str, downgrade: Downgrade) {
        self.groups.insert(group_id.to_owned(), Group::Classic(*downgrade.group));
        let mut out = Output::default();
        if let Some((group, mut step)) = classic_step(self, group_id, now, &mut out) {
            group.start_sessions(&mut step);
            group.prepare_rebalance(&downgrade.reason, &mut step);
        }
        // Its members have yet to join, so nobody can be answered and nothing is written.
        debug_assert!(out.replies.is_empty() && out.appends.is_empty());
    }

    pub(super) fn fire_consumer(&mut self, now: Now, group_id: &str, timer: Timer, due: Due, out: &mut Output) {
        if let (Timer::Regexes { group }, Due::Regexes) = (&timer, due) {
            return self.note_resolution(now, group);
        }
        let Some(Group::Consumer(group)) = self.groups.get(group_id) else { return };
        let c = self.context(now, group_id);
        let mut decided = Decided::default();
        let Some(member) = group.timed_out(&timer, due) else { return };
        match fence(group, &c, &[member], &mut decided.step) {
            Ok(downgrade) => decided.downgrade = downgrade,
            Err(refusal) => {
                tracing::error!(group = group_id, ?refusal, "what a timer asks for cannot be done");
                return;
            }
        }
        self.push_timed(now, group_id, decided, (timer, due), out);
    }

    /// What a timer has led to. The timer comes again in case the write fails; with the write it is cancelled.
    pub(super) fn push_timed(&mut self, now: Now, group_id: &str, decided: Decided, timer: (Timer, Due), out: &mut Output) {
        let (mut decided, (timer, due)) = (decided, timer);
        if decided.step.records.is_empty() {
            self.timers.cancel(&timer);
            return;
        }
        self.timers.schedule(timer.clone(), now.mono, RETRY_MS, due);
        decided.step.timers.push(TimerChange::Cancel(timer));
        let effects = ConsumerStep {
            group_id: group_id.to_owned(),
            timers: decided.step.timers,
            refreshed: decided.step.refreshed,
            downgrade: decided.downgrade,
            deferred: Deferred { replies: Vec::new(), api_version: 0 },
        };
        out.appends.push(append(decided.step.records, effects));
    }

    /// The groups of a ConsumerGroupDescribe that this shard coordinates.
    pub fn consumer_group_describe(&mut self, now: Now, context: &RequestContext, token: Token, group_ids: &[String]) -> Output {
        let mut out = Output::default();
        let describe = |id: &String| match self.consumer_group(id) {
            Ok(group) => group.describe(&self.context(now, id)),
            Err(refusal) => DescribedGroup {
                group_id: id.clone(),
                error_code: refusal.error.code(),
                error_message: refusal.message,
                ..Default::default()
            },
        };
        let groups = group_ids.iter().map(describe).collect();
        self.answer_when_settled(now, token, Reply::ConsumerGroupDescribe(groups), context.api_version, &mut out);
        out
    }
}

/// What came of a request.
#[derive(Default)]
pub(super) struct Decided {
    pub(super) step: Step,
    pub(super) downgrade: Option<Downgrade>,
}

/// Removes members; when only classic ones are left, the group goes back to their protocol.
pub(super) fn fence(group: &ConsumerGroup, c: &Context, members: &[Arc<Member>], step: &mut Step) -> Result<Option<Downgrade>, Refusal> {
    if members.is_empty() {
        return Ok(None);
    }
    if group.downgrades_without(c, members) {
        return group.downgrade_without(c, members, step).map(Some);
    }
    group.fence(c, members, step).map(|()| None)
}

fn append(step_records: Vec<crate::CoordinatorRecord>, effects: ConsumerStep) -> Append {
    let downgrades = effects.downgrade.is_some();
    let append = replayed(step_records, None, Completion::Consumer(Box::new(effects)));
    // A downgrade puts the new group in place itself: its records do not tell all of it.
    if downgrades { Append { effect: Effect::None, ..append } } else { append }
}

fn refuse(token: Token, refusal: Refusal, out: &mut Output) {
    let response =
        ConsumerGroupHeartbeatResponse { error_code: refusal.error.code(), error_message: refusal.message, ..Default::default() };
    out.reply(token, Reply::ConsumerGroupHeartbeat(response));
}

fn not_a_consumer_group(group_id: &str) -> Refusal {
    Refusal::new(ErrorCode::GroupIdNotFound, format!("Group {group_id} is not a consumer group."))
}

/// As Java's `trim().isEmpty()`.
fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c <= ' ')
}
