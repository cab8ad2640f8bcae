//! ConsumerGroupHeartbeat: join, keep alive, change the subscription, and get closer to the target assignment.
//! Kafka: GroupMetadataManager.consumerGroupHeartbeat.

use std::collections::BTreeSet;
use std::sync::Arc;

use wire::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use wire::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

use super::member::{Member, PartitionEpochs};
use super::reconcile::Towards;
use super::static_member::{Claim, Epoch};
use super::subscribe::{NextGroup, RegexChange};
use super::target::MemberTarget;
use super::{ConsumerGroup, Context, Refusal, Step};
use crate::output::RequestContext;
use crate::records::java_client_host;
use crate::timers::{Due, Timer};

/// The interval between heartbeats while a group moves to a new assignment, if the configured one is not shorter.
const MOVING_INTERVAL_MS: i32 = 1_000;
/// For how long after an assignment more changes are expected: members rarely come alone.
const MOVING_MS: i64 = 3_000;

impl ConsumerGroup {
    /// A heartbeat that is not a good-bye. `self` may be a group that exists only with the records that `step` holds already.
    pub(crate) fn heartbeat(
        &self,
        c: &Context,
        from: &RequestContext,
        request: &ConsumerGroupHeartbeatRequest,
        step: &mut Step,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let joins = request.member_epoch == 0;
        self.check_room(c, &request.member_id)?;
        let owned = request.topic_partitions.as_deref();
        let claim = Claim {
            member_id: &request.member_id,
            instance_id: request.instance_id.as_deref(),
            joins,
            epoch: Some(Epoch { received: request.member_epoch, owned }),
        };
        let before = self.identify(&claim, step)?;
        let updated = told(&before, from, request);

        let names_changed = self.store_member(&before, &updated, step)?;
        let regex_change = self.update_regexes(c, &before, &updated, step)?;
        let bump = names_changed || regex_change == RegexChange::Resolved;
        let NextGroup { epoch, homogeneous } = self.update_metadata(c, bump, &before, &updated, step)?;
        let target = self.update_target(c, epoch, &before, &updated, homogeneous, step)?;
        let towards = Towards {
            target_epoch: target.epoch,
            target: &target.partitions,
            subscription_changed: names_changed || regex_change != RegexChange::None,
            owned,
        };
        let member = self.reconcile(c, updated, &towards, step)?;

        let session = Timer::Session { group: self.id.clone(), member: member.id.clone() };
        step.set(session, c.settings.session_timeout_ms, Due::Session);
        let is_full = request.rebalance_timeout_ms != -1
            && (request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some())
            && owned.is_some();
        let tell = joins || is_full || member.assigned != before.assigned;
        Ok(ConsumerGroupHeartbeatResponse {
            member_id: Some(member.id.to_string()),
            member_epoch: member.epoch,
            heartbeat_interval_ms: self.interval_ms(c, epoch, &target, &member),
            assignment: tell.then(|| told_assignment(&member.assigned)),
            ..Default::default()
        })
    }

    /// When the member is to come again. While the group moves this is soon: members learn of a new target, and of partitions that others have
    /// given up, by nothing but their heartbeats, and a rebalance takes two of them one after the other.
    fn interval_ms(&self, c: &Context, epoch: i32, target: &MemberTarget, member: &Member) -> i32 {
        let made_at_ms = if target.epoch > self.target.epoch { c.now.wall_ms } else { self.target.timestamp_ms };
        let moves = !member.is_reconciled_to(epoch) || (0..MOVING_MS).contains(&c.now.wall_ms.saturating_sub(made_at_ms));
        if moves { c.settings.heartbeat_interval_ms.min(MOVING_INTERVAL_MS) } else { c.settings.heartbeat_interval_ms }
    }
}

/// The member with what the request says; what it leaves out stays.
fn told(before: &Member, from: &RequestContext, request: &ConsumerGroupHeartbeatRequest) -> Member {
    let or = |new: &Option<String>, old: &Option<String>| new.clone().or_else(|| old.clone());
    Member {
        instance_id: or(&request.instance_id, &before.instance_id),
        rack_id: or(&request.rack_id, &before.rack_id),
        rebalance_timeout_ms: if request.rebalance_timeout_ms == -1 { before.rebalance_timeout_ms } else { request.rebalance_timeout_ms },
        assignor: or(&request.server_assignor, &before.assignor),
        topic_names: topic_names(before, request.subscribed_topic_names.as_deref()),
        topic_regex: or(&request.subscribed_topic_regex, &before.topic_regex),
        client_id: from.client_id.clone(),
        client_host: java_client_host(from.client_address),
        classic: None,
        ..before.clone()
    }
}

/// The set of before where nothing has changed: most heartbeats of full requests repeat it.
pub(super) fn topic_names(before: &Member, names: Option<&[String]>) -> Arc<BTreeSet<Arc<str>>> {
    let Some(names) = names else { return before.topic_names.clone() };
    let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    if names.iter().copied().eq(before.topic_names.iter().map(|name| &**name)) {
        return before.topic_names.clone();
    }
    Arc::new(names.into_iter().map(Arc::from).collect())
}

fn told_assignment(partitions: &PartitionEpochs) -> Assignment {
    let topic = |(topic_id, epochs): (&base::Uuid, &std::collections::BTreeMap<i32, i32>)| TopicPartitions {
        topic_id: *topic_id,
        partitions: epochs.keys().copied().collect(),
        ..Default::default()
    };
    Assignment { topic_partitions: partitions.iter().map(topic).collect(), ..Default::default() }
}
