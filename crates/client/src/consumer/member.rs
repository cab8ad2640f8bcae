//! Owns: the membership of one consumer in a group of the consumer protocol (KIP-848): heartbeats, and carrying out what the coordinator
//! assigns. Runs on the network thread; what concerns the application is queued for its next poll. Decides nothing: that is
//! `core::membership`. Used by: `Consumer`, which starts it. Kafka: `AsyncKafkaConsumer`'s background thread, `ConsumerHeartbeatRequestManager`.

use super::shared::{Callback, Change, LeaveOperation, Member, Shared, Subscription, leave_asked};
use crate::core::membership::{Identity, Membership, Plan, State, Step, Verdict, verdict};
use crate::error::{Error, Result};
use base::{Instant, Uuid};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use wire::ErrorCode;
use wire::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

const NOT_SUPPORTED: &str = "The cluster does not support the new CONSUMER group protocol. Set group.protocol=classic on the consumer configs to revert to the CLASSIC protocol until the cluster is upgraded.";
const REGEX_NOT_SUPPORTED: &str = "The cluster does not support regular expressions resolution on ConsumerGroupHeartbeat API version 0. It must be upgraded to use ConsumerGroupHeartbeat API version >= 1 to allow to subscribe to a SubscriptionPattern.";

struct MemberTask {
    shared: Arc<Shared>,
    membership: Membership,
    /// What the application is doing about an assignment.
    carrying: Option<(Plan, oneshot::Receiver<()>)>,
    interval: Duration,
    next_beat: Instant,
    failures: u32,
    /// The subscription that the last join was for.
    joined: u64,
    /// The topics that the last heartbeat was made from.
    topics: BTreeSet<String>,
}

pub async fn run(shared: Arc<Shared>) {
    let config = &shared.config;
    let identity = Identity {
        group_id: config.group_id.clone().unwrap_or_default(),
        member_id: Uuid::random(&mut fastrand::Rng::new()).to_string(),
        instance_id: config.group_instance_id.clone(),
        rack_id: Some(config.client_rack.clone()).filter(|rack| !rack.is_empty()),
        server_assignor: config.remote_assignor.clone(),
        rebalance_timeout_ms: i32::try_from(config.max_poll_interval.as_millis()).unwrap_or(i32::MAX),
    };
    let mut task = MemberTask {
        membership: Membership::new(identity),
        carrying: None,
        interval: Duration::ZERO,
        next_beat: Instant::ZERO,
        failures: 0,
        joined: 0,
        topics: BTreeSet::new(),
        shared: shared.clone(),
    };
    task.publish();
    loop {
        tokio::select! {
            biased;
            leave = leave_asked(&shared) => {
                task.leave(leave.operation).await;
                // Nobody may be waiting any more.
                let _ = leave.reply.send(());
            }
            () = task.stay() => return,
        }
    }
}

impl MemberTask {
    /// Until the consumer ends (or this is dropped, for leaving): whatever is due, then wait for something to happen.
    async fn stay(&mut self) {
        let mut metadata = self.shared.cluster.watch_metadata();
        loop {
            self.join_if_due();
            self.note_poll_interval();
            self.note_new_topics();
            if self.membership.beats() && (self.membership.in_a_hurry() && self.failures == 0 || self.shared.now() >= self.next_beat) {
                self.beat().await;
            }
            self.reconcile();
            if self.membership.beats() && self.membership.in_a_hurry() && self.failures == 0 {
                continue;
            }
            let until = self.next_look();
            tokio::select! {
                () = tokio::time::sleep_until(self.shared.cluster.clock().to_tokio(until)) => {}
                () = self.shared.group.notified() => {}
                changed = metadata.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// A changed subscription is told at once.
    fn note_new_topics(&mut self) {
        let subscribed = self.shared.state().subscriptions;
        if self.membership.beats() && (self.joined != subscribed || self.wanted().0 != self.topics) && self.failures == 0 {
            self.joined = subscribed;
            self.next_beat = Instant::ZERO;
        }
    }

    /// Topics and pattern of the subscription.
    fn wanted(&self) -> (BTreeSet<String>, Option<String>) {
        let subscription = self.shared.state().subscription.clone();
        match subscription {
            Subscription::Topics(topics) => (topics, None),
            Subscription::Pattern(pattern) => (BTreeSet::new(), Some(pattern)),
            Subscription::Matching(matches) => (self.shared.matching_topics(&matches), None),
            Subscription::None | Subscription::Assigned => (BTreeSet::new(), None),
        }
    }

    fn next_look(&self) -> Instant {
        let now = self.shared.now();
        let last_poll = self.shared.state().last_poll.unwrap_or(now);
        let expiry = last_poll + self.shared.config.max_poll_interval;
        let beat = if self.membership.beats() { self.next_beat } else { now + Duration::from_secs(1) };
        beat.min(expiry.max(now + Duration::from_millis(10)))
    }

    /// Joins when the application polls: after subscribing, after having been silent, after having been thrown out.
    fn join_if_due(&mut self) {
        let (in_group, subscribed, polled, idle) = {
            let state = self.shared.state();
            let silent = state.last_poll.map_or(Duration::MAX, |last| self.shared.now().saturating_since(last));
            let polled = state.polls > state.polls_at_subscription;
            (state.subscription.is_group(), state.subscriptions, polled, !state.in_poll && silent > self.shared.config.max_poll_interval)
        };
        let released = self.shared.state().callbacks.is_empty();
        let due = match self.membership.state() {
            State::Unsubscribed => in_group && polled && self.joined != subscribed,
            State::Stale => in_group && !idle && released,
            State::Fenced => in_group && released,
            _ => false,
        };
        if due {
            self.joined = subscribed;
            self.failures = 0;
            self.membership.join();
            self.publish();
        }
    }

    /// A member that does not poll leaves, so that others can read what it holds.
    fn note_poll_interval(&mut self) {
        let silent = {
            let state = self.shared.state();
            let silence = state.last_poll.map_or(Duration::ZERO, |last| self.shared.now().saturating_since(last));
            !state.in_poll && silence > self.shared.config.max_poll_interval
        };
        if !silent || !self.membership.beats() {
            return;
        }
        tracing::warn!("no poll within max.poll.interval.ms: leaving the group");
        let request = self.membership.leave(false);
        self.membership.left(true);
        self.give_up();
        let shared = self.shared.clone();
        tokio::spawn(async move { say_goodbye(&shared, request).await });
    }

    /// What was owned is owned no more; the application is told in its next poll.
    fn give_up(&mut self) {
        self.carrying = None;
        self.publish();
        let mut state = self.shared.state();
        state.callbacks.clear();
        let (done, _) = oneshot::channel();
        state.callbacks.push_back(Callback { change: Change::LoseAll, done });
        drop(state);
        self.shared.data.notify_one();
    }

    fn publish(&self) {
        let membership = &self.membership;
        // Before the coordinator has given an epoch, commits would be those of a stranger.
        let generation = if membership.beats() && membership.epoch > 0 { membership.epoch } else { -1 };
        self.shared.state().member = Member { id: membership.identity.member_id.clone(), generation };
    }

    async fn beat(&mut self) {
        let (topics, pattern) = self.wanted();
        let request = self.membership.heartbeat(&topics, pattern.as_deref());
        self.topics = topics;
        let sent = self.shared.now();
        let result = self.shared.heartbeat(&request).await;
        self.next_beat = sent + self.interval;
        self.shared.state().counters.heartbeats += 1;
        match result {
            Ok(response) if response.error_code == 0 => {
                self.interval = Duration::from_millis(u64::try_from(response.heartbeat_interval_ms).unwrap_or(0).max(1));
                self.next_beat = sent + self.interval;
                self.failures = 0;
                self.membership.answered(response);
                self.publish();
            }
            Ok(response) => self.refused(response),
            Err(error) => self.unanswered(error),
        }
    }

    fn unanswered(&mut self, error: Error) {
        self.membership.unheard();
        if error.is_retriable() || error.code() == Some(ErrorCode::BrokerNotAvailable) {
            tracing::debug!("heartbeat failed: {error}");
            self.shared.forget_coordinator();
            return self.back_off();
        }
        self.end(error);
    }

    fn refused(&mut self, response: ConsumerGroupHeartbeatResponse) {
        self.membership.unheard();
        let code = ErrorCode::from_code(response.error_code);
        let message = response.error_message;
        tracing::debug!("heartbeat refused: {code}");
        match verdict(code) {
            Verdict::FindCoordinator => {
                self.shared.forget_coordinator();
                self.back_off();
            }
            Verdict::RetryLater => self.back_off(),
            Verdict::Report => {
                self.shared.report(Error::broker(code, message));
                self.back_off();
            }
            Verdict::Fenced => {
                tracing::info!("thrown out of the group: {code}");
                self.membership.fenced();
                self.give_up();
            }
            Verdict::Fatal => {
                let text = match code {
                    ErrorCode::UnsupportedVersion => Some(NOT_SUPPORTED.to_owned()),
                    ErrorCode::InvalidRegularExpression => {
                        let reason = message.unwrap_or_default();
                        Some(format!("Invalid RE2J SubscriptionPattern provided in the call to subscribe. {reason}"))
                    }
                    ErrorCode::GroupAuthorizationFailed => {
                        Some(format!("Not authorized to access group: {}", self.membership.identity.group_id))
                    }
                    _ => message,
                };
                let error = match code {
                    ErrorCode::UnsupportedVersion => Error::UnsupportedVersion(text.unwrap_or_default()),
                    _ => Error::broker(code, text),
                };
                self.end(error);
            }
        }
    }

    fn back_off(&mut self) {
        let delay = self.shared.cluster.backoff_delay(self.failures);
        self.failures += 1;
        self.next_beat = self.shared.now() + delay;
    }

    fn end(&mut self, error: Error) {
        tracing::debug!("membership ended: {error}");
        self.membership.fatal();
        self.give_up();
        self.shared.report(error);
    }

    /// Has the application give up and take what the target assignment asks for, one assignment after the other.
    fn reconcile(&mut self) {
        if let Some((plan, mut done)) = self.carrying.take() {
            match done.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => {
                    self.carrying = Some((plan, done));
                    return;
                }
                // Done, or dropped with the queue, which happens only together with the membership.
                _ => self.membership.reconciled(&plan),
            }
        }
        if self.membership.state() != State::Reconciling {
            return;
        }
        let unresolved = self.membership.unresolved(&self.shared.cluster.metadata().names);
        self.shared.cluster.want_topic_ids(unresolved);
        let owned = self.shared.state().partitions.names();
        let Step::Carry(plan) = self.membership.next_step(&owned) else { return };
        tracing::info!(epoch = self.membership.epoch, "assigned {}", super::shared::join(&plan.assigned));
        let (done, finished) = oneshot::channel();
        let mut state = self.shared.state();
        state.counters.rebalances += 1;
        if !plan.revoked.is_empty() {
            let (revoked, _) = oneshot::channel();
            state.callbacks.push_back(Callback { change: Change::Revoke(plan.revoked.clone()), done: revoked });
        }
        state.callbacks.push_back(Callback { change: Change::Assign { all: plan.assigned.clone(), added: plan.added.clone() }, done });
        drop(state);
        self.carrying = Some((plan, finished));
        self.shared.data.notify_one();
    }

    async fn leave(&mut self, operation: LeaveOperation) {
        let goes = operation != LeaveOperation::RemainInGroup || self.membership.identity.instance_id.is_some();
        let request = self.membership.leave(operation == LeaveOperation::LeaveGroup);
        let member = self.membership.beats();
        self.membership.left(false);
        self.carrying = None;
        self.shared.state().callbacks.clear();
        if member && goes {
            say_goodbye(&self.shared, request).await;
        }
        self.publish();
    }
}

async fn say_goodbye(shared: &Shared, request: ConsumerGroupHeartbeatRequest) {
    // The leave is sent once; whether it arrives, the session timeout decides otherwise.
    match shared.heartbeat(&request).await {
        Ok(response) if response.error_code == 0 => {}
        Ok(response) => tracing::debug!("leaving the group failed: {}", ErrorCode::from_code(response.error_code)),
        Err(error) => tracing::debug!("leaving the group failed: {error}"),
    }
}

impl Shared {
    /// One heartbeat to the coordinator. The error names the fix when the coordinator does not know the protocol.
    async fn heartbeat(&self, request: &ConsumerGroupHeartbeatRequest) -> Result<ConsumerGroupHeartbeatResponse> {
        let deadline = self.now() + self.config.connection.request_timeout;
        let connection = self.coordinator(deadline).await?;
        let version = connection.versions.choose::<ConsumerGroupHeartbeatRequest>(0, i16::MAX, connection.name());
        let version = version.map_err(|_| Error::UnsupportedVersion(NOT_SUPPORTED.to_owned()))?;
        if version == 0 && request.subscribed_topic_regex.as_deref().is_some_and(|pattern| !pattern.is_empty()) {
            return Err(Error::UnsupportedVersion(REGEX_NOT_SUPPORTED.to_owned()));
        }
        connection.request(request, version, deadline).await
    }
}
