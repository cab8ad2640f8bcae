//! Owns: the membership of one consumer in its classic group: join, sync, heartbeats, leaving. Runs on the network thread, so that heartbeats
//! continue while the application works; what concerns the application (giving partitions up, getting them) is queued for its next poll.
//! Used by: `Consumer`, which starts it. Kafka: `AbstractCoordinator`, `ConsumerCoordinator`.

mod join;

use crate::consumer::shared::{Callback, Change, LeaveOperation, Member, Shared, Subscription, leave_asked};
use crate::core::assignor::{Assignor, PartitionCounts, StickyMemory};
use crate::core::group::{Next, after_error, difference};
use crate::driver::connection::Connection;
use crate::error::{Error, Result};
use base::{Instant, TopicPartition};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use wire::messages::leave_group_request::MemberIdentity;
use wire::messages::{HeartbeatRequest, LeaveGroupRequest};
use wire::{ErrorCode, Request};

const PROTOCOL_TYPE: &str = "consumer";
/// How much longer than the rebalance timeout a JoinGroup may take (`JOIN_GROUP_TIMEOUT_LAPSE`).
const JOIN_LAPSE: Duration = Duration::from_secs(5);

struct GroupTask {
    shared: Arc<Shared>,
    member: Member,
    memories: HashMap<&'static str, StickyMemory>,
    reason: String,
    /// Topics that the last join named.
    joined_topics: BTreeSet<String>,
    /// Partition counts the last assignment was made from, if this member made it.
    led: Option<PartitionCounts>,
}

/// Why the steady state ended.
enum End {
    Rejoin(String),
    Lost(ErrorCode),
    Fatal(Error),
    PollExpired,
    Unsubscribed,
}

pub async fn run(shared: Arc<Shared>) {
    let mut task = GroupTask {
        member: Member::default(),
        memories: HashMap::new(),
        reason: String::new(),
        joined_topics: BTreeSet::new(),
        led: None,
        shared: shared.clone(),
    };
    loop {
        tokio::select! {
            biased;
            leave = leave_asked(&shared) => {
                task.leave(leave.operation).await;
                // Nobody may be waiting any more.
                let _ = leave.reply.send(());
            }
            () = task.membership() => {}
        }
    }
}

impl GroupTask {
    fn group(&self) -> String {
        self.shared.config.group_id.clone().unwrap_or_default()
    }

    /// One time around: join, stay, find out that it is time to join again.
    async fn membership(&mut self) {
        if !self.shared.state().subscription.is_group() {
            self.shared.group.notified().await;
            return;
        }
        if matches!(self.shared.state().subscription, Subscription::Matching(_)) {
            // What matches is not known before the first metadata.
            let deadline = self.shared.api_deadline();
            self.shared.cluster.await_metadata(deadline, |cache| (!cache.nodes.is_empty()).then_some(())).await;
        }
        if let Err(end) = self.prepare_join().await {
            self.handle_end(end);
            return;
        }
        match self.join_and_sync().await {
            Ok((assignor, assigned)) => self.take_over(assignor, assigned),
            Err(error) => {
                self.handle_join_error(error).await;
                return;
            }
        }
        let end = self.stay(false, None).await;
        self.handle_end(end);
    }

    /// Waits for the application to poll, and lets it give up what has to be given up before joining.
    async fn prepare_join(&mut self) -> Result<(), End> {
        self.wait(Wait::Callbacks).await?;
        let owned = self.shared.state().partitions.names();
        let change = if self.shared.config.cooperative() {
            let topics = self.topics();
            let unwanted: Vec<TopicPartition> = owned.into_iter().filter(|partition| !topics.contains(&partition.topic)).collect();
            Change::Revoke(unwanted)
        } else {
            Change::Revoke(owned)
        };
        if change != Change::Revoke(Vec::new()) {
            self.queue(change);
            self.wait(Wait::Callbacks).await?;
        }
        self.wait(Wait::Poll).await
    }

    /// Waits for the application while staying alive in the group.
    async fn wait(&mut self, wait: Wait) -> Result<(), End> {
        match self.stay(true, Some(wait)).await {
            End::Rejoin(_) => Ok(()),
            end => Err(end),
        }
    }

    fn queue(&self, change: Change) -> oneshot::Receiver<()> {
        let (done, finished) = oneshot::channel();
        self.shared.state().callbacks.push_back(Callback { change, done });
        self.shared.data.notify_one();
        finished
    }

    /// The topics this member wants now.
    fn topics(&self) -> BTreeSet<String> {
        let subscription = self.shared.state().subscription.clone();
        match subscription {
            Subscription::Topics(topics) => topics,
            Subscription::Matching(matches) => self.shared.matching_topics(&matches),
            // Refused when it was made.
            Subscription::Pattern(_) => BTreeSet::new(),
            Subscription::None | Subscription::Assigned => BTreeSet::new(),
        }
    }

    /// Heartbeats until something happens; with `wait`, until the application did its part (reported as `Rejoin`). While `rebalancing` it
    /// is known already that the group rebalances.
    async fn stay(&mut self, rebalancing: bool, wait: Option<Wait>) -> End {
        let interval = self.shared.config.heartbeat_interval;
        let mut metadata = self.shared.cluster.watch_metadata();
        let mut next_beat = self.shared.now() + interval;
        let mut last_answer = self.shared.now();
        loop {
            if let Some(end) = self.look_around(wait) {
                return end;
            }
            let joined = self.member.generation >= 0;
            let now = self.shared.now();
            if joined && now >= next_beat {
                match self.heartbeat().await {
                    Ok(()) => {
                        last_answer = self.shared.now();
                        next_beat = last_answer + interval;
                    }
                    Err(error) => {
                        self.shared.note_coordinator_error(&error);
                        let now = self.shared.now();
                        let code = error.code().unwrap_or(ErrorCode::NetworkException);
                        match after_error(&error) {
                            Next::Rejoin if rebalancing => next_beat = now + interval,
                            Next::Rejoin => return End::Rejoin("group is already rebalancing".into()),
                            Next::StartOver => return End::Lost(code),
                            Next::Fail => return End::Fatal(error),
                            Next::FindCoordinator | Next::RetryLater => {
                                self.shared.forget_coordinator();
                                next_beat = now + self.shared.config.connection.retry_backoff;
                                if now.saturating_since(last_answer) > self.shared.config.session_timeout {
                                    tracing::debug!("no heartbeat was answered within the session timeout");
                                    last_answer = now;
                                }
                            }
                        }
                    }
                }
                continue;
            }
            let until = if joined { next_beat } else { now + interval };
            tokio::select! {
                () = tokio::time::sleep_until(self.shared.cluster.clock().to_tokio(until)) => {}
                () = self.shared.group.notified() => {}
                changed = metadata.changed() => {
                    if changed.is_err() {
                        return End::Unsubscribed;
                    }
                }
            }
        }
    }

    /// What the application or the metadata did meanwhile.
    fn look_around(&self, wait: Option<Wait>) -> Option<End> {
        let now = self.shared.now();
        {
            let state = self.shared.state();
            if !state.subscription.is_group() {
                return Some(End::Unsubscribed);
            }
            let silent = state.last_poll.map_or(Duration::ZERO, |last| now.saturating_since(last));
            if !state.in_poll && self.member.generation >= 0 && silent > self.shared.config.max_poll_interval {
                return Some(End::PollExpired);
            }
            let done = match wait {
                None => false,
                Some(Wait::Poll) => state.in_poll,
                Some(Wait::Callbacks) => state.callbacks.is_empty(),
            };
            if done {
                return Some(End::Rejoin(String::new()));
            }
        }
        if wait.is_some() {
            return None;
        }
        if let Some(reason) = self.shared.state().rebalance_wanted.take() {
            return Some(End::Rejoin(format!("rebalance enforced by user: {reason}")));
        }
        if self.topics() != self.joined_topics {
            return Some(End::Rejoin("the subscription has changed".into()));
        }
        if let Some(led) = &self.led {
            let metadata = self.shared.cluster.metadata();
            let count = |topic: &String| metadata.topic(topic).map_or(0, |topic| topic.partitions.len() as i32);
            if led.iter().any(|(topic, known)| count(topic) != *known) {
                return Some(End::Rejoin("the number of partitions has changed".into()));
            }
        }
        None
    }

    fn handle_end(&mut self, end: End) {
        match end {
            End::Rejoin(reason) => {
                tracing::debug!("joining the group again: {reason}");
                self.reason = reason;
            }
            End::Lost(code) => {
                tracing::info!("membership lost: {code}");
                self.reason = format!("encountered {code} from the coordinator");
                self.start_over(code != ErrorCode::IllegalGeneration);
            }
            End::Fatal(error) => {
                self.start_over(true);
                self.shared.report(error);
                self.shared.state().in_poll = false;
            }
            End::PollExpired => {
                tracing::warn!("no poll within max.poll.interval.ms: leaving the group");
                let (shared, member) = (self.shared.clone(), self.member.clone());
                if shared.config.group_instance_id.is_none() {
                    tokio::spawn(async move { send_leave(&shared, &member, "consumer poll timeout has expired.").await });
                }
                self.start_over(true);
            }
            End::Unsubscribed => {}
        }
    }

    /// Forgets the generation (and the member id); what was owned is lost to others.
    fn start_over(&mut self, forget_id: bool) {
        self.member.generation = -1;
        if forget_id {
            self.member.id.clear();
        }
        self.led = None;
        self.publish();
        if !self.shared.state().partitions.is_empty() {
            self.queue(Change::LoseAll);
        }
    }

    fn publish(&self) {
        self.shared.state().member = self.member.clone();
    }

    async fn handle_join_error(&mut self, error: Error) {
        tracing::debug!("joining the group failed: {error}");
        self.shared.note_coordinator_error(&error);
        match after_error(&error) {
            Next::RetryLater => {}
            Next::FindCoordinator => self.shared.forget_coordinator(),
            Next::Rejoin => return,
            Next::StartOver => {
                let forget = error.code() == Some(ErrorCode::UnknownMemberId);
                self.start_over(forget);
                return;
            }
            Next::Fail => {
                let polls = self.shared.state().polls;
                self.start_over(true);
                self.shared.report(error);
                // The application sees it first; its next poll tries again.
                while self.shared.state().polls == polls && self.shared.state().subscription.is_group() {
                    self.shared.group.notified().await;
                }
                return;
            }
        }
        self.shared.sleep(self.shared.cluster.backoff_delay(0)).await;
    }

    /// Takes note of an assignment and queues what it means for the application.
    fn take_over(&mut self, assignor: Assignor, assigned: Vec<TopicPartition>) {
        self.publish();
        let memory = StickyMemory { partitions: Some(assigned.clone()), generation: self.member.generation };
        self.memories.insert(assignor.name(), memory);
        self.reason.clear();
        let owned = {
            let mut state = self.shared.state();
            state.counters.rebalances += 1;
            state.partitions.names()
        };
        tracing::info!(generation = self.member.generation, "assigned {}", crate::consumer::shared::join(&assigned));
        let changes = difference(&owned, &assigned);
        let gives_up = !changes.revoked.is_empty();
        if gives_up {
            self.queue(Change::Revoke(changes.revoked));
        }
        self.queue(Change::Assign { all: assigned, added: changes.added });
        if gives_up {
            // The others wait for what was given up: another round hands it out.
            self.joined_topics.clear();
        }
    }

    async fn heartbeat(&self) -> Result<()> {
        let request = HeartbeatRequest {
            group_id: self.group(),
            generation_id: self.member.generation,
            member_id: self.member.id.clone(),
            group_instance_id: self.shared.config.group_instance_id.clone(),
            ..Default::default()
        };
        let patience = self.shared.config.connection.request_timeout.min(self.shared.config.session_timeout);
        self.shared.state().counters.heartbeats += 1;
        let response = self.ask(&request, self.shared.now() + patience).await?;
        Error::check(response.error_code, None)
    }

    /// One request to the coordinator. Older brokers get what they understand.
    async fn ask<R: Request>(&self, request: &R, deadline: Instant) -> Result<R::Response> {
        ask(&self.shared, request, deadline).await
    }

    async fn leave(&mut self, operation: LeaveOperation) {
        let goes = match operation {
            // Static members stay, so that they can come back within the session timeout (KIP-345).
            LeaveOperation::Default => self.shared.config.group_instance_id.is_none(),
            LeaveOperation::LeaveGroup => true,
            LeaveOperation::RemainInGroup => false,
        };
        if goes && !self.member.id.is_empty() {
            send_leave(&self.shared, &self.member, "the consumer is being closed").await;
        }
        self.member = Member::default();
        self.memories.clear();
        self.led = None;
        self.joined_topics.clear();
        let mut state = self.shared.state();
        state.member = Member::default();
        state.callbacks.clear();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// The application is inside a poll.
    Poll,
    /// Everything queued was done.
    Callbacks,
}

async fn ask<R: Request>(shared: &Shared, request: &R, deadline: Instant) -> Result<R::Response> {
    let connect_by = shared.now() + shared.config.connection.request_timeout;
    let connection: Arc<Connection> = shared.coordinator(connect_by).await?;
    let version = connection.versions.choose::<R>(0, i16::MAX, connection.name())?;
    connection.request(request, version, deadline).await
}

async fn send_leave(shared: &Shared, member: &Member, reason: &str) {
    let deadline = shared.now() + shared.config.connection.request_timeout;
    let Ok(connection) = shared.coordinator(deadline).await else { return };
    let Ok(version) = connection.versions.choose::<LeaveGroupRequest>(0, i16::MAX, connection.name()) else { return };
    let mut request = LeaveGroupRequest { group_id: shared.config.group_id.clone().unwrap_or_default(), ..Default::default() };
    if version >= 3 {
        request.members = vec![MemberIdentity {
            member_id: member.id.clone(),
            group_instance_id: shared.config.group_instance_id.clone(),
            reason: Some(reason.to_owned()).filter(|_| version >= 5),
            ..Default::default()
        }];
    } else {
        request.member_id = member.id.clone();
    }
    if let Err(error) = connection.request(&request, version, deadline).await {
        tracing::debug!("leaving the group failed: {error}");
    }
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
