//! Owns: what the consumer handle, the fetcher and the group task share: one lock, three bells. Also the way to the group coordinator and
//! commits, which all three need.

use super::config::ConsumerConfig;
use super::listener::ConsumerInterceptor;
use crate::admin::groups_wire::{OFFSETS_BY_NAME, offset_commit_request, offset_fetch_request, read_offset_commit, read_offset_fetch};
use crate::core::completed_fetch::CompletedFetch;
use crate::core::subscription::Partitions;
use crate::driver::cluster::coordinator_slot;
use crate::driver::connection::Connection;
use crate::driver::{Cluster, CoordinatorKind};
use crate::error::{Error, Result};
use crate::types::OffsetAndMetadata;
use base::{Instant, TopicPartition, Uuid};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use wire::ErrorCode;
use wire::messages::{OffsetCommitRequest, OffsetFetchRequest};

pub type Offsets = BTreeMap<TopicPartition, OffsetAndMetadata>;
pub type TopicMatcher = Arc<dyn Fn(&str) -> bool + Send + Sync>;

pub struct Shared {
    pub config: ConsumerConfig,
    pub cluster: Cluster,
    state: Mutex<State>,
    /// Poll should look again.
    pub data: Notify,
    /// The fetcher should look again.
    pub fetch: Notify,
    /// The group task should look again.
    pub group: Notify,
    /// The group task should leave the group.
    pub leave_bell: Notify,
    /// Commits go out one after another, in the order in which they were asked for.
    pub commits: Arc<Turns>,
}

#[derive(Default)]
pub struct State {
    pub subscription: Subscription,
    pub partitions: Partitions,
    pub ready: VecDeque<CompletedFetch>,
    pub buffered_bytes: usize,
    pub errors: VecDeque<Error>,
    pub wakeup: bool,
    pub coordinator: Option<i32>,
    pub member: Member,
    /// What the group task wants done inside a poll, in order.
    pub callbacks: VecDeque<Callback>,
    pub in_poll: bool,
    pub last_poll: Option<Instant>,
    pub polls: u64,
    /// Subscriptions so far, and how often the application had polled at the last one.
    pub subscriptions: u64,
    pub polls_at_subscription: u64,
    pub leave: Option<Leave>,
    /// No more fetches; told when their sessions are closed.
    pub end_of_fetches: Option<oneshot::Sender<()>>,
    /// The application wants a rebalance, and why.
    pub rebalance_wanted: Option<String>,
    pub last_auto_commit: Offsets,
    /// An automatic commit is under way; the next one waits for it.
    pub auto_committing: bool,
    pub counters: Counters,
    pub interceptors: Vec<Arc<dyn ConsumerInterceptor>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub records: u64,
    pub bytes: u64,
    pub fetches: u64,
    pub rebalances: u64,
    pub heartbeats: u64,
    pub commits: u64,
    pub fetch_micros: u64,
    pub fetch_micros_max: u64,
    pub fetch_bytes_max: u64,
}

#[derive(Clone, Default)]
pub enum Subscription {
    #[default]
    None,
    Assigned,
    Topics(BTreeSet<String>),
    /// A function decides here.
    Matching(TopicMatcher),
    /// An RE2 expression decides at the coordinator (KIP-848).
    Pattern(String),
}

impl Subscription {
    pub fn is_group(&self) -> bool {
        matches!(self, Subscription::Topics(_) | Subscription::Matching(_) | Subscription::Pattern(_))
    }
}

/// The identity that commits carry.
#[derive(Clone, Debug)]
pub struct Member {
    pub id: String,
    pub generation: i32,
}

impl Default for Member {
    fn default() -> Self {
        Self { id: String::new(), generation: -1 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Give these up; the others stay.
    Revoke(Vec<TopicPartition>),
    /// Everything owned belongs to others already.
    LoseAll,
    /// All partitions from now on, and the ones among them that are new.
    Assign { all: Vec<TopicPartition>, added: Vec<TopicPartition> },
}

/// What becomes of the membership when a consumer goes (KIP-1092).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeaveOperation {
    /// Dynamic members leave, static ones stay for their session timeout.
    #[default]
    Default,
    LeaveGroup,
    RemainInGroup,
}

/// A wish to leave the group, and whom to tell.
pub struct Leave {
    pub operation: LeaveOperation,
    pub reply: oneshot::Sender<()>,
}

/// Waits until the application wants to leave its group.
pub async fn leave_asked(shared: &Shared) -> Leave {
    loop {
        // The bell may have rung for an earlier wish.
        if let Some(leave) = shared.state().leave.take() {
            return leave;
        }
        shared.leave_bell.notified().await;
    }
}

pub struct Callback {
    pub change: Change,
    pub done: oneshot::Sender<()>,
}

impl Shared {
    pub fn new(config: ConsumerConfig, cluster: Cluster) -> Self {
        Self {
            config,
            cluster,
            state: Mutex::default(),
            data: Notify::new(),
            fetch: Notify::new(),
            group: Notify::new(),
            leave_bell: Notify::new(),
            commits: Arc::default(),
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn now(&self) -> Instant {
        self.cluster.clock().mono()
    }

    pub fn api_deadline(&self) -> Instant {
        self.now() + self.config.api_timeout
    }

    pub fn group_id(&self) -> Result<&str> {
        let text = "To use the group management or offset commit APIs, you must provide a valid group.id in the consumer configuration.";
        self.config.group_id.as_deref().ok_or_else(|| Error::broker(ErrorCode::InvalidGroupId, Some(text.to_owned())))
    }

    pub fn interceptors(&self) -> Vec<Arc<dyn ConsumerInterceptor>> {
        self.state().interceptors.clone()
    }

    /// The known topics that a subscription by function wants.
    pub fn matching_topics(&self, matches: &TopicMatcher) -> BTreeSet<String> {
        let metadata = self.cluster.metadata();
        let hide_internal = self.config.exclude_internal_topics;
        let names = metadata.topics.iter().filter(|(_, topic)| topic.error == ErrorCode::None && !(hide_internal && topic.internal));
        names.map(|(name, _)| name).filter(|name| matches(name)).cloned().collect()
    }

    /// An error that the next poll returns.
    pub fn report(&self, error: Error) {
        self.state().errors.push_back(error);
        self.data.notify_one();
    }

    pub async fn sleep(&self, duration: Duration) {
        self.cluster.thread().sleep(duration).await;
    }

    /// A connection to the group coordinator, on its own socket.
    pub async fn coordinator(&self, deadline: Instant) -> Result<Arc<Connection>> {
        let group = self.group_id()?;
        let known = self.state().coordinator;
        let node = match known {
            Some(node) => node,
            None => {
                let node = self.cluster.find_coordinator(CoordinatorKind::Group, group, deadline).await?.id;
                self.state().coordinator = Some(node);
                node
            }
        };
        let connection = self.cluster.connection(coordinator_slot(node), deadline).await;
        if connection.is_err() {
            self.forget_coordinator();
        }
        connection
    }

    pub fn forget_coordinator(&self) {
        self.state().coordinator = None;
    }

    /// Whether an error means that the coordinator is elsewhere; forgets it then.
    pub fn note_coordinator_error(&self, error: &Error) {
        let moved = match error {
            Error::Disconnected(_) => true,
            _ => matches!(error.code(), Some(ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable | ErrorCode::RequestTimedOut)),
        };
        if moved {
            self.forget_coordinator();
        }
    }

    /// Commits, retrying what can be retried until `deadline`.
    pub async fn commit(&self, offsets: &Offsets, deadline: Instant) -> Result<()> {
        self.commit_in_turn(self.commits.take(), offsets, deadline).await
    }

    /// Commits when everything that drew its turn before is done.
    pub async fn commit_in_turn(&self, turn: Turn, offsets: &Offsets, deadline: Instant) -> Result<()> {
        self.group_id()?;
        if offsets.is_empty() {
            return Ok(());
        }
        turn.come().await;
        let mut attempts = 0;
        loop {
            let error = match self.try_commit(offsets, deadline).await {
                Ok(()) => {
                    self.state().counters.commits += 1;
                    for interceptor in self.interceptors() {
                        interceptor.on_commit(offsets);
                    }
                    return Ok(());
                }
                Err(error) => error,
            };
            self.note_coordinator_error(&error);
            if error.code() == Some(ErrorCode::UnknownTopicId) {
                // The topic was created anew: its new id is in newer metadata.
                self.cluster.refresh_metadata();
            }
            let delay = self.cluster.backoff_delay(attempts);
            attempts += 1;
            if !error.is_retriable() {
                return Err(commit_failure(error));
            }
            if self.now() + delay >= deadline {
                let millis = self.config.api_timeout.as_millis();
                return Err(Error::Timeout(format!("Timeout of {millis}ms expired before successfully committing offsets: {error}")));
            }
            self.sleep(delay).await;
        }
    }

    async fn try_commit(&self, offsets: &Offsets, deadline: Instant) -> Result<()> {
        let connection = self.coordinator(deadline).await?;
        let member = {
            let state = self.state();
            if state.subscription.is_group() { state.member.clone() } else { Member::default() }
        };
        if member.generation < 0 && self.state().subscription.is_group() {
            return Err(Error::broker(ErrorCode::UnknownMemberId, None));
        }
        let instance = self.config.group_instance_id.as_deref().filter(|_| member.generation >= 0);
        let mut request = offset_commit_request(self.group_id()?, member.generation, &member.id, instance, offsets);
        let metadata = self.cluster.metadata();
        for topic in &mut request.topics {
            topic.topic_id = metadata.topic_id(&topic.name).unwrap_or(Uuid::ZERO);
        }
        let ids: HashMap<Uuid, String> = request.topics.iter().map(|topic| (topic.topic_id, topic.name.clone())).collect();
        let newest = if ids.contains_key(&Uuid::ZERO) { OFFSETS_BY_NAME } else { i16::MAX };
        let version = connection.versions.choose::<OffsetCommitRequest>(2, newest, connection.name())?;
        let mut response = connection.request(&request, version, self.cluster.request_deadline(deadline)).await?;
        for topic in &mut response.topics {
            if let Some(name) = ids.get(&topic.topic_id).filter(|_| version > OFFSETS_BY_NAME) {
                topic.name.clone_from(name);
            }
        }
        let mut first = Ok(());
        for (partition, result) in read_offset_commit(response) {
            if let Err(error) = result {
                tracing::debug!("offset of {partition} was not committed: {error}");
                // An error that no retry can help weighs more.
                let weighs_more = first.as_ref().err().is_none_or(|known: &Error| known.is_retriable() && !error.is_retriable());
                if weighs_more {
                    first = Err(error);
                }
            }
        }
        first
    }

    /// Committed offsets; partitions without one are None.
    pub async fn committed(
        &self,
        partitions: &[TopicPartition],
        deadline: Instant,
    ) -> Result<BTreeMap<TopicPartition, Option<OffsetAndMetadata>>> {
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut attempts = 0;
        loop {
            let error = match self.try_committed(partitions, deadline).await {
                Ok(found) => return Ok(found),
                Err(error) => error,
            };
            self.note_coordinator_error(&error);
            if error.code() == Some(ErrorCode::UnknownTopicId) {
                // The topic was created anew: its new id is in newer metadata.
                self.cluster.refresh_metadata();
            }
            let delay = self.cluster.backoff_delay(attempts);
            attempts += 1;
            if !error.is_retriable() {
                return Err(error);
            }
            if self.now() + delay >= deadline {
                let millis = self.config.api_timeout.as_millis();
                return Err(Error::Timeout(format!(
                    "Timeout of {millis}ms expired before the last committed offset for partitions [{}] could be determined. Try tuning default.api.timeout.ms larger to relax the threshold.",
                    join(partitions)
                )));
            }
            self.sleep(delay).await;
        }
    }

    async fn try_committed(
        &self,
        partitions: &[TopicPartition],
        deadline: Instant,
    ) -> Result<BTreeMap<TopicPartition, Option<OffsetAndMetadata>>> {
        let connection = self.coordinator(deadline).await?;
        let metadata = self.cluster.metadata();
        let all_ids = partitions.iter().all(|partition| metadata.topic_id(&partition.topic).is_some());
        let newest = if all_ids { i16::MAX } else { OFFSETS_BY_NAME };
        let version = connection.versions.choose::<OffsetFetchRequest>(1, newest, connection.name())?;
        let mut request = offset_fetch_request(version, self.group_id()?, None, Some(partitions), version >= 7);
        let mut ids: HashMap<Uuid, String> = HashMap::new();
        for topic in request.groups.iter_mut().filter_map(|group| group.topics.as_mut()).flatten() {
            topic.topic_id = metadata.topic_id(&topic.name).unwrap_or(Uuid::ZERO);
            ids.insert(topic.topic_id, topic.name.clone());
        }
        let mut response = connection.request(&request, version, self.cluster.request_deadline(deadline)).await?;
        for topic in response.groups.iter_mut().flat_map(|group| &mut group.topics) {
            if let Some(name) = ids.get(&topic.topic_id).filter(|_| version > OFFSETS_BY_NAME) {
                topic.name.clone_from(name);
            }
        }
        let mut found = read_offset_fetch(response)?;
        let one = |partition: &TopicPartition| Ok((partition.clone(), found.remove(partition).unwrap_or(Ok(None))?));
        partitions.iter().map(one).collect()
    }

    /// The offsets an automatic commit would write: what the application has processed.
    pub fn processed_offsets(&self) -> Offsets {
        let state = self.state();
        let offset = |(partition, state): (&TopicPartition, &crate::core::subscription::PartitionState)| {
            let position = state.processed?;
            let committed = OffsetAndMetadata { offset: position.offset, leader_epoch: position.leader_epoch, metadata: String::new() };
            Some((partition.clone(), committed))
        };
        state.partitions.iter().filter_map(offset).collect()
    }
}

/// A queue whose places are drawn at once and waited for later.
#[derive(Default)]
pub struct Turns {
    state: Mutex<TurnState>,
    moved: Notify,
}

#[derive(Default)]
struct TurnState {
    next: u64,
    waiting: BTreeSet<u64>,
}

/// A place in the queue; dropping it lets the next one go.
pub struct Turn {
    turns: Arc<Turns>,
    number: u64,
}

impl Turns {
    fn state(&self) -> MutexGuard<'_, TurnState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn take(self: &Arc<Self>) -> Turn {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.waiting.insert(number);
        Turn { turns: self.clone(), number }
    }
}

impl Turn {
    async fn come(&self) {
        loop {
            let moved = self.turns.moved.notified();
            let mut moved = std::pin::pin!(moved);
            moved.as_mut().enable();
            if self.turns.state().waiting.first() == Some(&self.number) {
                return;
            }
            moved.await;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.state().waiting.remove(&self.number);
        self.turns.moved.notify_waiters();
    }
}

pub fn join(partitions: &[TopicPartition]) -> String {
    partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Java's explanations for commits that a rebalance overtook (`CommitFailedException`, `RebalanceInProgressException`).
fn commit_failure(error: Error) -> Error {
    let text = match error.code() {
        Some(ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration) => {
            "Offset commit cannot be completed since the consumer is not part of an active group for auto partition assignment; it is likely that the consumer was kicked out of the group."
        }
        Some(ErrorCode::RebalanceInProgress) => {
            "Offset commit cannot be completed since the consumer is undergoing a rebalance for auto partition assignment. You can try completing the rebalance by calling poll() and then retry the operation."
        }
        Some(ErrorCode::StaleMemberEpoch) => {
            let reason = ErrorCode::StaleMemberEpoch.message();
            return Error::broker(ErrorCode::StaleMemberEpoch, Some(format!("OffsetCommit failed with stale member epoch. {reason}")));
        }
        _ => return error,
    };
    Error::broker(error.code().unwrap_or(ErrorCode::UnknownServerError), Some(text.to_owned()))
}
