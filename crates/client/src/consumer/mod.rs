//! Owns: the consumer that applications hold. `poll` takes what the fetcher task brought, and does inside it what a rebalance asks of the
//! application. Used by: tools, tests, the benchmark. Kafka: `KafkaConsumer` with the classic group protocol.

mod config;
mod fetcher;
mod group;
mod record;
mod shared;

pub use ::record::TimestampType;
pub use record::{ConsumerRecord, ConsumerRecords, RecordHeader};
pub use shared::Counters;

use crate::config::Config;
use crate::core::completed_fetch::CompletedFetch;
use crate::core::subscription::{Need, Position};
use crate::driver::{Cluster, Topics};
use crate::error::{Error, Result};
use crate::types::{ListedOffset, OffsetAndMetadata, OffsetSpec, PartitionInfo};
use base::{Instant, TopicPartition};
use config::ConsumerConfig;
use shared::{Change, Shared, Subscription, join};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use wire::ErrorCode;

pub type BoxFuture<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// Told about partitions that come and go; called inside `poll`, `unsubscribe` and `close`. May use the consumer: commit, seek, position.
pub trait RebalanceListener: Send {
    fn on_assigned<'a>(&'a mut self, _consumer: &'a mut Consumer, _partitions: &'a [TopicPartition]) -> BoxFuture<'a> {
        Box::pin(async { Ok(()) })
    }

    /// Before partitions are given up.
    fn on_revoked<'a>(&'a mut self, _consumer: &'a mut Consumer, _partitions: &'a [TopicPartition]) -> BoxFuture<'a> {
        Box::pin(async { Ok(()) })
    }

    /// When they belong to others already: commits would fail.
    fn on_lost<'a>(&'a mut self, consumer: &'a mut Consumer, partitions: &'a [TopicPartition]) -> BoxFuture<'a> {
        self.on_revoked(consumer, partitions)
    }
}

/// Which of the listener's functions is due.
#[derive(Clone, Copy)]
enum Event {
    Assigned,
    Revoked,
    Lost,
}

/// What `send_offsets`-like protocols and tools show of a membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMetadata {
    pub group_id: String,
    pub generation: i32,
    pub member_id: String,
    pub group_instance_id: Option<String>,
}

/// Interrupts a poll from elsewhere.
#[derive(Clone)]
pub struct Wakeup {
    shared: Arc<Shared>,
}

impl Wakeup {
    /// The current or next poll returns `Error::Wakeup`.
    pub fn wake(&self) {
        self.shared.state().wakeup = true;
        self.shared.data.notify_one();
    }
}

/// A consumer. Dropping it without `close` is like a crash: the group notices after the session timeout.
pub struct Consumer {
    shared: Arc<Shared>,
    /// The fetch that records are being taken from.
    current: Option<CompletedFetch>,
    listener: Option<Arc<tokio::sync::Mutex<Box<dyn RebalanceListener>>>>,
    closed: bool,
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.shared.cluster.stop();
    }
}

/// While it lives the application is polling.
struct InPoll(Arc<Shared>);

impl InPoll {
    fn enter(shared: &Arc<Shared>) -> Self {
        {
            let mut state = shared.state();
            state.in_poll = true;
            state.polls += 1;
            state.last_poll = Some(shared.now());
            state.partitions.mark_processed();
        }
        shared.group.notify_one();
        InPoll(shared.clone())
    }
}

impl Drop for InPoll {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.in_poll = false;
        state.last_poll = Some(self.0.now());
    }
}

impl Consumer {
    /// Parses the configuration and starts the network thread; connects when there is something to read.
    pub fn new(config: Config) -> Result<Consumer> {
        let config = ConsumerConfig::parse(&config)?;
        let cluster = Cluster::start(config.connection.clone(), "kafka-consumer-network-thread")?;
        let shared = Arc::new(Shared::new(config, cluster));
        let thread = shared.cluster.thread();
        thread.spawn(fetcher::run(shared.clone()));
        if shared.config.group_id.is_some() {
            thread.spawn(group::run(shared.clone()));
        }
        Ok(Consumer { shared, current: None, listener: None, closed: false })
    }

    fn open(&self) -> Result<()> {
        if self.closed { Err(Error::Closed("This consumer has already been closed.".into())) } else { Ok(()) }
    }

    pub fn set_rebalance_listener(&mut self, listener: Box<dyn RebalanceListener>) {
        self.listener = Some(Arc::new(tokio::sync::Mutex::new(listener)));
    }

    /// Reads topics as a member of the group; replaces an earlier subscription.
    pub fn subscribe<T: Into<String>>(&mut self, topics: impl IntoIterator<Item = T>) -> Result<()> {
        let topics: BTreeSet<String> = topics.into_iter().map(Into::into).collect();
        if topics.iter().any(|topic| topic.trim().is_empty()) {
            return Err(Error::IllegalState("Topic collection to subscribe to cannot contain null or empty topic".into()));
        }
        self.shared.cluster.set_wanted(topics.clone(), false);
        self.set_subscription(Subscription::Topics(topics))
    }

    /// Reads all topics that `matches` accepts, also those that appear later. Internal ones are left out if exclude.internal.topics.
    pub fn subscribe_matching(&mut self, matches: impl Fn(&str) -> bool + Send + Sync + 'static) -> Result<()> {
        self.shared.cluster.set_wanted(BTreeSet::new(), true);
        self.set_subscription(Subscription::Matching(Arc::new(matches)))
    }

    fn set_subscription(&mut self, subscription: Subscription) -> Result<()> {
        self.open()?;
        self.shared.group_id()?;
        let mut state = self.shared.state();
        if matches!(state.subscription, Subscription::Assigned) {
            return Err(Error::IllegalState("Subscription to topics, partitions and pattern are mutually exclusive".into()));
        }
        state.subscription = subscription;
        drop(state);
        self.shared.group.notify_one();
        Ok(())
    }

    /// Reads these partitions, without group membership. An empty list is `unsubscribe` without waiting.
    pub fn assign(&mut self, partitions: Vec<TopicPartition>) -> Result<()> {
        self.open()?;
        let topics: BTreeSet<String> = partitions.iter().map(|partition| partition.topic.clone()).collect();
        {
            let mut state = self.shared.state();
            if state.subscription.is_group() {
                return Err(Error::IllegalState("Subscription to topics, partitions and pattern are mutually exclusive".into()));
            }
            state.subscription = if partitions.is_empty() { Subscription::None } else { Subscription::Assigned };
            state.partitions.assign(&partitions, Need::Committed);
        }
        self.shared.cluster.set_wanted(topics, false);
        self.drop_stale();
        self.shared.fetch.notify_one();
        Ok(())
    }

    /// Leaves the group and reads nothing any more.
    pub async fn unsubscribe(&mut self) -> Result<()> {
        self.open()?;
        let was_group = self.shared.state().subscription.is_group();
        if was_group {
            self.give_everything_up().await?;
            self.leave_group(self.shared.config.api_timeout).await;
        }
        let mut state = self.shared.state();
        state.subscription = Subscription::None;
        state.partitions.clear();
        drop(state);
        self.drop_stale();
        self.shared.cluster.set_wanted(BTreeSet::new(), false);
        Ok(())
    }

    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.shared.state().partitions.names()
    }

    /// The topics subscribed to by name.
    pub fn subscription(&self) -> Vec<String> {
        match &self.shared.state().subscription {
            Subscription::Topics(topics) => topics.iter().cloned().collect(),
            _ => Vec::new(),
        }
    }

    /// Up to max.poll.records records; waits up to `timeout` for the first. May be dropped at any time without losing records.
    pub async fn poll(&mut self, timeout: Duration) -> Result<ConsumerRecords> {
        self.open()?;
        if matches!(self.shared.state().subscription, Subscription::None) {
            return Err(Error::IllegalState("Consumer is not subscribed to any topics or assigned any partitions".into()));
        }
        let deadline = self.shared.now() + timeout;
        let _polling = InPoll::enter(&self.shared);
        let mut timer = std::pin::pin!(None);
        loop {
            {
                let mut state = self.shared.state();
                if std::mem::take(&mut state.wakeup) {
                    return Err(Error::Wakeup);
                }
                if let Some(error) = state.errors.pop_front() {
                    return Err(error);
                }
            }
            self.run_callbacks().await?;
            let records = self.take_records()?;
            if !records.is_empty() {
                return Ok(ConsumerRecords { records });
            }
            if timer.is_none() {
                timer.set(Some(self.shared.cluster.thread().sleep_until(deadline)));
            }
            let Some(sleep) = timer.as_mut().as_pin_mut() else { continue };
            tokio::select! {
                biased;
                () = self.shared.data.notified() => {}
                () = sleep => return Ok(ConsumerRecords::default()),
            }
        }
    }

    /// Does what the group task asks for, one change after the other; a change that was interrupted is done again.
    async fn run_callbacks(&mut self) -> Result<()> {
        loop {
            let change = self.shared.state().callbacks.front().map(|callback| callback.change.clone());
            let Some(change) = change else { return Ok(()) };
            let result = self.apply(&change).await;
            {
                let mut state = self.shared.state();
                if state.callbacks.front().is_some_and(|callback| callback.change == change)
                    && let Some(callback) = state.callbacks.pop_front()
                {
                    // The group task may have moved on.
                    let _ = callback.done.send(());
                }
            }
            self.shared.group.notify_one();
            self.shared.fetch.notify_one();
            result?;
        }
    }

    async fn apply(&mut self, change: &Change) -> Result<()> {
        match change {
            Change::Revoke(partitions) => {
                self.commit_before_revocation().await;
                let result = self.tell(Event::Revoked, partitions).await;
                self.shared.state().partitions.remove(partitions);
                self.drop_stale();
                result
            }
            Change::Lose(partitions) => {
                let result = self.tell(Event::Lost, partitions).await;
                self.shared.state().partitions.remove(partitions);
                self.drop_stale();
                result
            }
            Change::Assign { all, added } => {
                self.shared.state().partitions.assign(all, Need::Committed);
                self.drop_stale();
                self.shared.cluster.want_topics(all.iter().map(|partition| partition.topic.as_str()));
                self.tell(Event::Assigned, added).await
            }
        }
    }

    async fn tell(&mut self, event: Event, partitions: &[TopicPartition]) -> Result<()> {
        let Some(listener) = self.listener.clone() else { return Ok(()) };
        let mut listener = listener.lock().await;
        match event {
            Event::Assigned => listener.on_assigned(self, partitions).await,
            Event::Revoked => listener.on_revoked(self, partitions).await,
            Event::Lost => listener.on_lost(self, partitions).await,
        }
    }

    async fn commit_before_revocation(&mut self) {
        if self.shared.config.auto_commit.is_none() {
            return;
        }
        let offsets = self.shared.processed_offsets();
        if offsets.is_empty() || offsets == self.shared.state().last_auto_commit {
            return;
        }
        let deadline = self.shared.now() + self.shared.config.connection.request_timeout;
        fetcher::commit_and_remember(&self.shared, offsets, deadline).await;
    }

    /// Forgets fetched bytes of partitions that are not assigned any more or were moved.
    fn drop_stale(&mut self) {
        let mut guard = self.shared.state();
        let state = &mut *guard;
        let partitions = &mut state.partitions;
        let mut freed = 0;
        let mut stale = |fetch: &CompletedFetch| {
            let stale = partitions.current(&fetch.partition, fetch.epoch).is_none();
            if stale {
                freed += fetch.size;
            }
            stale
        };
        state.ready.retain(|fetch| !stale(fetch));
        if self.current.as_ref().is_some_and(&mut stale) {
            self.current = None;
        }
        state.buffered_bytes = state.buffered_bytes.saturating_sub(freed);
    }

    fn take_records(&mut self) -> Result<Vec<ConsumerRecord>> {
        let max = self.shared.config.max_poll_records;
        let mut records = Vec::new();
        while records.len() < max {
            if self.current.is_none() {
                self.current = self.next_fetch();
            }
            let Some(fetch) = &mut self.current else { break };
            let paused = {
                let mut state = self.shared.state();
                match state.partitions.current(&fetch.partition, fetch.epoch) {
                    None => {
                        state.buffered_bytes = state.buffered_bytes.saturating_sub(fetch.size);
                        drop(state);
                        self.current = None;
                        continue;
                    }
                    Some(partition) => partition.paused,
                }
            };
            if paused {
                if let Some(fetch) = self.current.take() {
                    self.shared.state().ready.push_front(fetch);
                }
                continue;
            }
            if records.capacity() == 0 {
                records.reserve(max.min(1024));
            }
            let taken = fetch.take(max - records.len(), &mut records);
            let (offset, leader_epoch) = fetch.position();
            let finished = !matches!(taken, Ok(false));
            let mut guard = self.shared.state();
            let state = &mut *guard;
            if let Some(partition) = state.partitions.current(&fetch.partition, fetch.epoch) {
                let leader_epoch = leader_epoch.or(partition.position.and_then(|position| position.leader_epoch));
                partition.position = Some(Position { offset, leader_epoch });
                if finished {
                    partition.buffered_fetches = partition.buffered_fetches.saturating_sub(1);
                }
            }
            if finished {
                state.counters.bytes += fetch.size as u64;
                state.buffered_bytes = state.buffered_bytes.saturating_sub(fetch.size);
                drop(guard);
                let broken = self.current.take();
                self.shared.fetch.notify_one();
                if let (Err(error), Some(fetch)) = (taken, broken) {
                    // Fetch again from there; the records before it are delivered first.
                    self.shared.state().partitions.seek(&fetch.partition, Position { offset, leader_epoch });
                    if records.is_empty() {
                        return Err(error);
                    }
                    self.shared.state().errors.push_back(error);
                    break;
                }
            }
        }
        self.shared.state().counters.records += records.len() as u64;
        Ok(records)
    }

    /// The oldest fetch of a partition that is not paused.
    fn next_fetch(&self) -> Option<CompletedFetch> {
        let mut guard = self.shared.state();
        let state = &mut *guard;
        let partitions = &state.partitions;
        let position = state.ready.iter().position(|fetch| partitions.get(&fetch.partition).is_none_or(|partition| !partition.paused))?;
        state.ready.remove(position)
    }

    fn not_assigned(partition: &TopicPartition) -> Error {
        Error::IllegalState(format!("No current assignment for partition {partition}"))
    }

    pub fn seek(&mut self, partition: &TopicPartition, offset: i64) -> Result<()> {
        if offset < 0 {
            return Err(Error::IllegalState("seek offset must not be a negative number".into()));
        }
        let moved = self.shared.state().partitions.seek(partition, Position { offset, leader_epoch: None });
        self.after_move(partition, moved)
    }

    fn after_move(&mut self, partition: &TopicPartition, moved: bool) -> Result<()> {
        if !moved {
            return Err(Self::not_assigned(partition));
        }
        self.drop_stale();
        self.shared.fetch.notify_one();
        Ok(())
    }

    /// An empty list means all assigned partitions.
    pub fn seek_to_beginning(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.seek_to(partitions, OffsetSpec::Earliest)
    }

    pub fn seek_to_end(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.seek_to(partitions, OffsetSpec::Latest)
    }

    fn seek_to(&mut self, partitions: &[TopicPartition], spec: OffsetSpec) -> Result<()> {
        let all = if partitions.is_empty() { self.assignment() } else { partitions.to_vec() };
        for partition in &all {
            let moved = self.shared.state().partitions.reset(partition, spec);
            self.after_move(partition, moved)?;
        }
        Ok(())
    }

    pub fn pause(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.set_paused(partitions, true)
    }

    pub fn resume(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.set_paused(partitions, false)?;
        self.shared.fetch.notify_one();
        self.shared.data.notify_one();
        Ok(())
    }

    fn set_paused(&mut self, partitions: &[TopicPartition], paused: bool) -> Result<()> {
        let mut state = self.shared.state();
        for partition in partitions {
            state.partitions.get_mut(partition).ok_or_else(|| Self::not_assigned(partition))?.paused = paused;
        }
        Ok(())
    }

    pub fn paused(&self) -> Vec<TopicPartition> {
        let state = self.shared.state();
        state.partitions.iter().filter(|(_, partition)| partition.paused).map(|(name, _)| name.clone()).collect()
    }

    /// The offset of the next record that poll returns for the partition.
    pub async fn position(&mut self, partition: &TopicPartition) -> Result<i64> {
        let deadline = self.shared.api_deadline();
        loop {
            {
                let mut state = self.shared.state();
                let current = state.partitions.get(partition);
                let current = current.ok_or_else(|| {
                    Error::IllegalState("You can only check the position for partitions assigned to this consumer.".into())
                })?;
                if let Some(position) = current.position {
                    return Ok(position.offset);
                }
                if let Some(error) = state.errors.pop_front() {
                    return Err(error);
                }
            }
            self.shared.fetch.notify_one();
            if self.shared.now() >= deadline {
                let millis = self.shared.config.api_timeout.as_millis();
                let text = format!("Timeout of {millis}ms expired before the position for partition {partition} could be determined");
                return Err(Error::Timeout(text));
            }
            tokio::select! {
                () = self.shared.data.notified() => {}
                () = self.shared.cluster.thread().sleep(Duration::from_millis(100)) => {}
            }
        }
    }

    pub async fn committed(&self, partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, Option<OffsetAndMetadata>>> {
        self.open()?;
        self.shared.committed(partitions, self.shared.api_deadline()).await
    }

    /// Where every assigned partition stands, as offsets to commit.
    fn positions(&self) -> BTreeMap<TopicPartition, OffsetAndMetadata> {
        let state = self.shared.state();
        let offset = |position: Position| OffsetAndMetadata {
            offset: position.offset,
            leader_epoch: position.leader_epoch,
            metadata: String::new(),
        };
        state.partitions.iter().filter_map(|(name, partition)| Some((name.clone(), offset(partition.position?)))).collect()
    }

    /// Commits the positions of all assigned partitions: everything poll has returned.
    pub async fn commit(&mut self) -> Result<()> {
        let offsets = self.positions();
        self.commit_offsets(offsets).await
    }

    pub async fn commit_offsets(&mut self, offsets: BTreeMap<TopicPartition, OffsetAndMetadata>) -> Result<()> {
        self.open()?;
        if let Some((partition, bad)) = offsets.iter().find(|(_, committed)| committed.offset < 0) {
            return Err(Error::IllegalState(format!("Invalid negative offset {} for {partition}", bad.offset)));
        }
        self.shared.commit(&offsets, self.shared.api_deadline()).await
    }

    /// Commits in the background; None means the current positions. Calls are done in order; `done` runs on the network thread.
    pub fn commit_async(
        &mut self,
        offsets: Option<BTreeMap<TopicPartition, OffsetAndMetadata>>,
        done: impl FnOnce(Result<()>) + Send + 'static,
    ) {
        let offsets = offsets.unwrap_or_else(|| self.positions());
        let (shared, turn) = (self.shared.clone(), self.shared.commits.take());
        self.shared.cluster.thread().spawn(async move {
            // Like Java, an asynchronous commit is tried for one request timeout only: a newer one will follow.
            let deadline = shared.now() + shared.config.connection.request_timeout;
            done(shared.commit_in_turn(turn, &offsets, deadline).await);
        });
    }

    /// The first offset at or after a timestamp; partitions without one are None.
    pub async fn offsets_for_times(&self, wanted: &[(TopicPartition, i64)]) -> Result<BTreeMap<TopicPartition, Option<ListedOffset>>> {
        if let Some((partition, time)) = wanted.iter().find(|(_, time)| *time < 0) {
            return Err(Error::IllegalState(format!(
                "The target time for partition {partition} is {time}. The target time cannot be negative."
            )));
        }
        let found = self.list_offsets(wanted).await?;
        Ok(found.into_iter().map(|(partition, listed)| (partition, Some(listed).filter(|listed| listed.offset >= 0))).collect())
    }

    pub async fn beginning_offsets(&self, partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, i64>> {
        self.edges(partitions, OffsetSpec::Earliest).await
    }

    /// The end of each partition; with read_committed the last stable offset.
    pub async fn end_offsets(&self, partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, i64>> {
        self.edges(partitions, OffsetSpec::Latest).await
    }

    async fn edges(&self, partitions: &[TopicPartition], spec: OffsetSpec) -> Result<BTreeMap<TopicPartition, i64>> {
        let wanted: Vec<(TopicPartition, i64)> = partitions.iter().map(|partition| (partition.clone(), spec.timestamp())).collect();
        Ok(self.list_offsets(&wanted).await?.into_iter().map(|(partition, listed)| (partition, listed.offset)).collect())
    }

    async fn list_offsets(&self, wanted: &[(TopicPartition, i64)]) -> Result<BTreeMap<TopicPartition, ListedOffset>> {
        self.open()?;
        let deadline = self.shared.api_deadline();
        let mut open = wanted.to_vec();
        let mut results = BTreeMap::new();
        let mut attempts = 0;
        loop {
            let mut last = None;
            for (partition, result) in fetcher::list_offsets_once(&self.shared, &open, deadline).await {
                match result {
                    Ok(listed) => {
                        results.insert(partition, listed);
                    }
                    Err(error) if error.is_retriable() => last = Some(error),
                    Err(error) => return Err(error),
                }
            }
            open.retain(|(partition, _)| !results.contains_key(partition));
            let Some(error) = last else { return Ok(results) };
            let delay = self.shared.cluster.backoff_delay(attempts);
            attempts += 1;
            if self.shared.now() + delay >= deadline {
                let millis = self.shared.config.api_timeout.as_millis();
                return Err(Error::Timeout(format!("Failed to get offsets by times in {millis}ms: {error}")));
            }
            self.shared.sleep(delay).await;
        }
    }

    pub async fn partitions_for(&self, topic: &str) -> Result<Vec<PartitionInfo>> {
        let topics = self.describe(Topics::Names(vec![topic.to_owned()])).await?;
        Ok(topics.into_iter().find(|(name, _)| name == topic).map(|(_, partitions)| partitions).unwrap_or_default())
    }

    pub async fn list_topics(&self) -> Result<BTreeMap<String, Vec<PartitionInfo>>> {
        Ok(self.describe(Topics::All).await?.into_iter().collect())
    }

    async fn describe(&self, topics: Topics) -> Result<Vec<(String, Vec<PartitionInfo>)>> {
        self.open()?;
        let deadline: Instant = self.shared.api_deadline();
        let create = self.shared.config.connection.allow_auto_topic_creation;
        let mut attempts = 0;
        loop {
            let error = match self.shared.cluster.fetch_metadata(&topics, create, deadline).await {
                Err(error) if error.is_retriable() => error,
                Err(error) => return Err(error),
                Ok(response) => {
                    let starting = response.topics.iter().find(|topic| topic.error_code == ErrorCode::LeaderNotAvailable.code());
                    match starting {
                        Some(topic) => Error::from_code(topic.error_code, None),
                        None => {
                            let cache = crate::core::metadata::MetadataCache::default().updated(response, true);
                            let known = cache.topics.iter().filter(|(_, topic)| topic.error == ErrorCode::None);
                            return Ok(known.map(|(name, _)| (name.clone(), cache.partition_infos(name))).collect());
                        }
                    }
                }
            };
            let delay = self.shared.cluster.backoff_delay(attempts);
            attempts += 1;
            if self.shared.now() + delay >= deadline {
                return Err(Error::Timeout(format!("Timeout expired while fetching topic metadata: {error}")));
            }
            self.shared.sleep(delay).await;
        }
    }

    /// Records between the position and the end as the last fetch saw it.
    pub fn current_lag(&self, partition: &TopicPartition) -> Option<i64> {
        let committed_only = self.shared.config.isolation == crate::types::IsolationLevel::ReadCommitted;
        let state = self.shared.state();
        let partition = state.partitions.get(partition)?;
        let end = if committed_only { partition.last_stable_offset } else { partition.high_watermark }?;
        Some(end.saturating_sub(partition.position?.offset).max(0))
    }

    pub fn group_metadata(&self) -> Result<GroupMetadata> {
        let group_id = self.shared.group_id()?.to_owned();
        let member = self.shared.state().member.clone();
        Ok(GroupMetadata {
            group_id,
            generation: member.generation,
            member_id: member.id,
            group_instance_id: self.shared.config.group_instance_id.clone(),
        })
    }

    pub fn wakeup(&self) -> Wakeup {
        Wakeup { shared: self.shared.clone() }
    }

    pub fn counters(&self) -> Counters {
        self.shared.state().counters
    }

    /// Closes the connections to all brokers, as a network failure would; for tests of reading across failures.
    pub fn drop_connections(&self) {
        self.shared.cluster.drop_connections();
    }

    async fn give_everything_up(&mut self) -> Result<()> {
        self.shared.state().partitions.mark_processed();
        let owned = self.assignment();
        if owned.is_empty() {
            return Ok(());
        }
        self.apply(&Change::Revoke(owned)).await
    }

    async fn leave_group(&self, timeout: Duration) {
        let (reply, left) = oneshot::channel();
        self.shared.state().leave = Some(reply);
        self.shared.leave_bell.notify_one();
        tokio::select! {
            // An error is the end of the group task, which is as good.
            _ = left => {}
            () = self.shared.cluster.thread().sleep(timeout) => tracing::debug!("leaving the group took too long"),
        }
    }

    /// Commits (with auto commit), leaves the group and ends the consumer, all within `timeout`.
    pub async fn close(mut self, timeout: Duration) -> Result<()> {
        let deadline = self.shared.now() + timeout;
        let expiry = self.shared.cluster.thread().sleep_until(deadline);
        let in_group = self.shared.state().subscription.is_group();
        let work = async {
            let result = if in_group {
                let result = self.give_everything_up().await;
                self.shared.state().subscription = Subscription::None;
                self.leave_group(timeout).await;
                result
            } else {
                self.shared.state().partitions.mark_processed();
                self.commit_before_revocation().await;
                Ok(())
            };
            self.closed = true;
            result
        };
        tokio::select! {
            result = work => result,
            () = expiry => Err(Error::Timeout(format!("the consumer was not closed within {} ms", timeout.as_millis()))),
        }
    }
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Consumer({})", join(&self.assignment()))
    }
}
