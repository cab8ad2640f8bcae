//! Loading, timers, the fate of writes, and the end of a shard.

use std::sync::Arc;

use base::{Now, Uuid};
use bytes::Bytes;
use wire::ErrorCode;

use super::{Shard, classic_step};
use crate::errors;
use crate::group::Group;
use crate::group::classic::{ClassicGroup, Step};
use crate::group::consumer::{ConsumerGroup, ConsumerRecord};
use crate::group::modern::{ModernGroup, ModernRecord};
use crate::offsets;
use crate::output::{Append, Completion, CoordinatorRecord, Deferred, Effect, GroupCreated, Output, Producer};
use crate::records::{self, ReplayError, StoredRecord};
use crate::timers::{Due, Timer};

/// Tombstones of the periodic clean-up are independent of each other, so they are written in batches of this many bytes.
const CLEANUP_BATCH_BYTES: usize = 256 * 1024;

impl Shard {
    /// Applies one record of the partition, in the order of offsets. `producer_id` is that of its batch, -1 outside transactions.
    /// An error means that the partition cannot be loaded; records of unknown types are skipped.
    pub fn replay(&mut self, offset: i64, producer_id: i64, key: &Bytes, value: Option<&Bytes>) -> Result<(), ReplayError> {
        match records::decode(offset, key, value)? {
            StoredRecord::OffsetCommit { group_id, topic, partition, value } => {
                if value.is_some() && !self.groups.contains_key(&group_id) {
                    // Committed without group membership: the group has no record of its own.
                    let group = ClassicGroup::new(&group_id, Now::default());
                    self.groups.insert(group_id.clone(), Group::Classic(group));
                }
                self.offsets.replay(offset, producer_id, &group_id, &topic, partition, value);
            }
            StoredRecord::ClassicGroup { group_id, value: Some(value) } => {
                let group = ClassicGroup::from_stored(&group_id, value);
                self.groups.insert(group_id, Group::Classic(group));
            }
            StoredRecord::ClassicGroup { group_id, value: None } => {
                if let Some(Group::Classic(group)) = self.groups.remove(&group_id) {
                    group.cancel_timers(&mut self.timers);
                }
            }
            StoredRecord::Consumer { group_id, record } => self.replay_consumer(group_id, record),
            StoredRecord::Modern(record) => self.replay_modern(record),
            StoredRecord::Unknown { record_type } => {
                tracing::warn!(
                    offset,
                    record_type,
                    "skipped a group record of unknown type, which may be left over from an aborted upgrade"
                );
            }
        }
        Ok(())
    }

    fn replay_consumer(&mut self, group_id: String, record: ConsumerRecord) {
        match self.groups.get_mut(&group_id) {
            Some(Group::Consumer(group)) => {
                if !group.replay(record) {
                    self.groups.remove(&group_id);
                }
                return;
            }
            // Tombstones of groups that are gone, or have become groups of another type, have done their work.
            _ if record.is_tombstone() => return,
            Some(Group::Classic(group)) if group.is_simple() => {}
            None => {}
            Some(_) => tracing::warn!(group = %group_id, "a group changes its type without having been deleted"),
        }
        let mut group = ConsumerGroup::new(&group_id);
        group.replay(record);
        self.groups.insert(group_id, Group::Consumer(group));
    }

    fn replay_modern(&mut self, record: ModernRecord) {
        let group_id = record.group_id.clone();
        let current = self.groups.get_mut(&group_id);
        if record.value.is_none() {
            // Tombstones of groups that are gone, or have become groups of another type, have done their work.
            if let Some(Group::Modern(group)) = current
                && group.kind() == record.kind
                && !group.apply(record)
            {
                self.groups.remove(&group_id);
            }
            return;
        }
        match current {
            Some(Group::Modern(group)) if group.kind() == record.kind => {
                group.apply(record);
                return;
            }
            Some(Group::Classic(group)) if group.is_simple() => {}
            None => {}
            Some(_) => tracing::warn!(group = %group_id, "a group changes its type without having been deleted"),
        }
        let mut group = ModernGroup::new(record.kind);
        group.apply(record);
        self.groups.insert(group_id, Group::Modern(group));
    }

    /// Applies a control marker: the transaction of this producer has been committed or aborted.
    pub fn replay_end_transaction_marker(&mut self, producer_id: i64, committed: bool) {
        self.offsets.end_transaction(producer_id, committed);
    }

    /// All records are replayed: starts the timers. Requests may come from now on.
    pub fn on_loaded(&mut self, now: Now, log_end_offset: i64, high_watermark: i64) -> Output {
        let mut out = Output::default();
        self.writes.start(log_end_offset, high_watermark);
        for (id, group) in &mut self.groups {
            match group {
                Group::Classic(group) => {
                    group.on_loaded(&mut Step { now, config: &self.config, timers: &mut self.timers, out: &mut out });
                }
                Group::Consumer(group) => {
                    let settings = self.config.consumer_settings(self.cluster.image(), id);
                    group.on_loaded(now, settings, &mut self.timers);
                }
                Group::Modern(group) => {
                    for member in group.members() {
                        let timer = Timer::Session { group: id.as_str().into(), member: member.into() };
                        self.timers.schedule(timer, now.mono, i64::from(self.config.modern_session_timeout_ms), Due::Session);
                    }
                }
            }
        }
        self.schedule_expiration(now);
        out
    }

    /// The append is in the log, its first record at `first_offset`. Follow up with `advance`.
    pub fn appended(&mut self, now: Now, append: Append, first_offset: i64) {
        let mut append = append;
        if append.effect == Effect::Replay {
            let producer_id = append.producer.map_or(-1, |p| p.id);
            for (offset, record) in (first_offset..).zip(&append.records) {
                if let Err(error) = self.replay(offset, producer_id, &record.key, record.value.as_ref()) {
                    tracing::error!(%error, "a record that this shard wrote cannot be applied");
                }
            }
        }
        if let Completion::Consumer(step) = &mut append.completion {
            self.consumer_applied(now, step);
        }
        self.writes.wrote(first_offset.saturating_add(append.records.len() as i64));
        self.writes.wait(append.completion, self.write_deadline(now));
    }

    /// A control marker was written at `offset`, after `replay_end_transaction_marker`.
    pub fn wrote_marker(&mut self, offset: i64) {
        self.writes.wrote(offset.saturating_add(1));
    }

    /// The append is not in the log.
    pub fn append_failed(&mut self, now: Now, append: Append, error: ErrorCode) -> Output {
        let mut out = Output::default();
        if let Completion::GroupCreated(created) = append.completion {
            self.undo_creation(now, *created, error, &mut out);
        } else {
            self.fail(now, append.completion, error, &mut out);
        }
        out
    }

    /// Where the high watermark must get for the next reply that waits for it.
    pub fn awaited_high_watermark(&self) -> Option<i64> {
        self.writes.awaited()
    }

    /// The high watermark has moved.
    pub fn advance(&mut self, now: Now, high_watermark: i64) -> Output {
        let mut out = Output::default();
        self.writes.advance(high_watermark);
        while let Some(completion) = self.writes.pop_committed() {
            self.complete(now, completion, &mut out);
        }
        out
    }

    fn complete(&mut self, now: Now, completion: Completion, out: &mut Output) {
        match completion {
            Completion::Nothing | Completion::GroupCreated(_) => {}
            Completion::Replies(deferred) => out.replies.extend(deferred.replies),
            Completion::Consumer(step) => out.replies.extend(step.deferred.replies),
            Completion::AssignmentStored { group_id, generation_id, assignment } => {
                if let Some((group, mut step)) = classic_step(self, &group_id, now, out) {
                    group.assignment_stored(generation_id, assignment, &mut step);
                }
            }
            Completion::StaticMemberReplaced(replaced) => {
                if let Some((group, mut step)) = classic_step(self, &replaced.group_id.clone(), now, out) {
                    group.static_member_stored(*replaced, &mut step);
                }
            }
        }
    }

    fn fail(&mut self, now: Now, completion: Completion, error: ErrorCode, out: &mut Output) {
        let mapped = errors::coordinator_error(error);
        match completion {
            // An empty generation that is lost hurts nobody. A join that is parked in a new group stays so until its rebalance ends.
            Completion::Nothing | Completion::GroupCreated(_) => tracing::warn!(%error, "a group record could not be stored"),
            Completion::Replies(deferred) => fail_replies(deferred, error, out),
            Completion::Consumer(step) => fail_replies(step.deferred, error, out),
            Completion::AssignmentStored { group_id, generation_id, .. } => {
                if let Some((group, mut step)) = classic_step(self, &group_id, now, out) {
                    group.assignment_failed(generation_id, mapped, &mut step);
                }
            }
            Completion::StaticMemberReplaced(replaced) => {
                if let Some((group, mut step)) = classic_step(self, &replaced.group_id.clone(), now, out) {
                    group.static_member_failed(*replaced, mapped, &mut step);
                }
            }
        }
    }

    /// A group whose first record is not in the log is not there, and the one it replaced is back.
    fn undo_creation(&mut self, now: Now, created: GroupCreated, error: ErrorCode, out: &mut Output) {
        tracing::warn!(group = %created.group_id, %error, "the first record of a group could not be stored");
        if let Some((group, mut step)) = classic_step(self, &created.group_id, now, out) {
            group.creation_failed(errors::coordinator_error(error), &mut step);
        }
        match created.replaced {
            Some(group) => self.groups.insert(created.group_id, group),
            None => self.groups.remove(&created.group_id),
        };
    }

    /// Not later than the next thing that happens by itself.
    pub fn next_deadline(&self) -> base::Instant {
        self.timers.next_deadline().min(self.writes.next_deadline())
    }

    /// Does what is due, up to the first thing that has to be written: what comes after it may depend on that. To be called again, with the
    /// output carried out in between, until `next_deadline` has passed `now`.
    pub fn tick(&mut self, now: Now) -> Output {
        let mut out = Output::default();
        while let Some(completion) = self.writes.pop_timed_out(now.mono) {
            self.fail(now, completion, ErrorCode::RequestTimedOut, &mut out);
        }
        while out.appends.is_empty()
            && let Some((timer, due)) = self.timers.pop_due(now.mono)
        {
            self.fire(now, timer, due, &mut out);
        }
        out
    }

    fn fire(&mut self, now: Now, timer: Timer, due: Due, out: &mut Output) {
        let group_id = match &timer {
            Timer::Session { group, .. } | Timer::Join { group } | Timer::Sync { group } => group.clone(),
            Timer::Rebalance { group, .. } | Timer::MemberJoin { group, .. } | Timer::MemberSync { group, .. } => group.clone(),
            Timer::Regexes { group } => group.clone(),
            Timer::Expiration => return self.expire(now, out),
        };
        if let Some(Group::Consumer(_)) = self.groups.get(&*group_id) {
            return self.fire_consumer(now, &group_id, timer, due, out);
        }
        if let (Some(Group::Modern(_)), Timer::Session { member, .. }) = (self.groups.get(&*group_id), &timer) {
            return self.fence_modern(now, &group_id, member, out);
        }
        let Some((group, mut step)) = classic_step(self, &group_id, now, out) else { return };
        match (timer, due) {
            (Timer::Session { member, .. }, _) => group.on_session_timeout(&member, &mut step),
            (_, Due::InitialRebalance { delay_ms, remaining_ms }) => group.on_initial_delay(delay_ms, remaining_ms, &mut step),
            (_, Due::CompleteJoin) => group.complete_join(&mut step),
            (_, Due::Sync { generation_id }) => group.on_sync_timeout(generation_id, &mut step),
            (_, Due::Session | Due::Rebalance { .. } | Due::MemberJoin | Due::MemberSync | Due::Regexes | Due::Expiration) => {}
        }
    }

    /// Members of the newer protocols that were found in the log cannot be heard of, so they go when their session would have ended.
    fn fence_modern(&mut self, now: Now, group_id: &str, member_id: &Arc<str>, out: &mut Output) {
        let Some(Group::Modern(group)) = self.groups.get(group_id) else { return };
        if !group.has_member(member_id) {
            return;
        }
        match group.fence(member_id) {
            Ok(records) => {
                tracing::info!(group = group_id, member = %member_id, "the session of a member has timed out");
                out.appends.push(replayed(records, None, Completion::Nothing));
                // Tried again in case the write fails.
                let timer = Timer::Session { group: group_id.into(), member: member_id.clone() };
                self.timers.schedule(timer, now.mono, i64::from(self.config.modern_session_timeout_ms.max(1_000)), Due::Session);
            }
            Err(error) => tracing::error!(group = group_id, member = %member_id, %error, "cannot remove a member"),
        }
    }

    fn schedule_expiration(&mut self, now: Now) {
        self.timers.schedule(Timer::Expiration, now.mono, self.config.offsets_retention_check_interval_ms.max(1), Due::Expiration);
    }

    /// Writes tombstones for expired offsets, and for empty groups that hold none.
    fn expire(&mut self, now: Now, out: &mut Output) {
        self.schedule_expiration(now);
        let retention_ms = self.config.offsets_retention_ms();
        let mut tombstones = Vec::new();
        for (id, group) in &self.groups {
            match offsets::expired_offsets(&self.offsets, id, group, now, retention_ms, &mut tombstones) {
                Ok(true) if group.is_empty() => tombstones.extend(group_tombstones(id, group)),
                Ok(_) => {}
                Err(error) => tracing::error!(group = %id, %error, "cannot expire the offsets of a group"),
            }
        }
        push_cleanup(tombstones, out);
    }

    /// Removes the offsets of deleted topics.
    pub fn topics_deleted(&mut self, topics: &[(Uuid, String)]) -> Output {
        let mut out = Output::default();
        match offsets::deleted_topic_tombstones(&self.offsets, topics) {
            Ok(tombstones) => push_cleanup(tombstones, &mut out),
            Err(error) => tracing::error!(%error, "cannot delete the offsets of deleted topics"),
        }
        out
    }

    /// The partition has moved away: every request that waits is told so. The shard is done.
    pub fn unload(&mut self, now: Now) -> Output {
        let mut out = Output::default();
        for group in self.groups.values_mut() {
            if let Group::Classic(group) = group {
                group.answer_all(ErrorCode::NotCoordinator, &mut out);
            }
        }
        while let Some(completion) = self.writes.pop_any() {
            if matches!(completion, Completion::Replies(_) | Completion::Consumer(_)) {
                self.fail(now, completion, ErrorCode::NotCoordinator, &mut out);
            }
        }
        self.groups.clear();
        self.timers = Default::default();
        self.to_resolve.clear();
        out.appends.clear();
        out
    }
}

/// The tombstones that delete a group, without those of its offsets.
pub(super) fn group_tombstones(group_id: &str, group: &Group) -> Vec<CoordinatorRecord> {
    let tombstones = match group {
        Group::Modern(group) => return group.tombstones(),
        Group::Consumer(group) => group.tombstones(),
        Group::Classic(_) => records::group_metadata_tombstone(group_id).map(|tombstone| vec![tombstone]),
    };
    tombstones.unwrap_or_else(|error| {
        tracing::error!(group = %group_id, %error, "cannot delete a group");
        Vec::new()
    })
}

fn fail_replies(deferred: Deferred, error: ErrorCode, out: &mut Output) {
    let failed = deferred.replies.into_iter().map(|(token, r)| (token, errors::failed(r, error, deferred.api_version)));
    out.replies.extend(failed);
}

fn push_cleanup(tombstones: Vec<CoordinatorRecord>, out: &mut Output) {
    let mut batch = Vec::new();
    let mut bytes = 0;
    for tombstone in tombstones {
        bytes += tombstone.key.len() + 16;
        batch.push(tombstone);
        if bytes >= CLEANUP_BATCH_BYTES {
            out.appends.push(replayed(std::mem::take(&mut batch), None, Completion::Nothing));
            bytes = 0;
        }
    }
    if !batch.is_empty() {
        out.appends.push(replayed(batch, None, Completion::Nothing));
    }
}

/// An append whose records make the change.
pub(super) fn replayed(records: Vec<CoordinatorRecord>, producer: Option<Producer>, completion: Completion) -> Append {
    Append { records, producer, effect: Effect::Replay, completion }
}
