//! Owns: the consumer that applications hold. `poll` takes what the fetcher task brought, and does inside it what a rebalance asks of the
//! application. Used by: tools, tests, the benchmark. Kafka: `KafkaConsumer` with both group protocols.

mod classic;
mod config;
mod fetcher;
mod listener;
mod lookups;
mod member;
mod offsets;
mod poll;
mod positions;
mod record;
mod shared;
mod validate;

pub use ::record::TimestampType;
pub use listener::{BoxFuture, ConsumerInterceptor, RebalanceListener};
pub use record::{ConsumerRecord, ConsumerRecords, RecordHeader};
pub use shared::{Counters, LeaveOperation};

use crate::config::Config;
use crate::core::completed_fetch::CompletedFetch;
use crate::core::subscription::Need;
use crate::driver::Cluster;
use crate::error::{Error, Result};
use base::{Instant, TopicPartition};
use config::{ConsumerConfig, GroupProtocol};
use shared::{Change, Leave, Shared, Subscription, join};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// What `send_offsets`-like protocols and tools show of a membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMetadata {
    pub group_id: String,
    pub generation: i32,
    pub member_id: String,
    pub group_instance_id: Option<String>,
}

impl GroupMetadata {
    /// A group without a member of it, for offsets of partitions that were assigned by hand.
    pub fn new(group_id: impl Into<String>) -> Self {
        Self { group_id: group_id.into(), generation: -1, member_id: String::new(), group_instance_id: None }
    }
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
///
/// ```no_run
/// # async fn run() -> client::Result<()> {
/// use client::{Config, Consumer};
/// use std::time::Duration;
///
/// let config = Config::bootstrap("localhost:9092").with("group.id", "billing").with("group.protocol", "consumer");
/// let mut consumer = Consumer::new(config)?;
/// consumer.subscribe_pattern("orders-.*")?;
/// loop {
///     let records = consumer.poll(Duration::from_millis(500)).await?;
///     for record in &records {
///         println!("{} at {}", record.topic, record.offset);
///     }
///     consumer.commit().await?;
/// }
/// # }
/// ```
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

impl Consumer {
    /// Parses the configuration and starts the network thread; connects when there is something to read.
    pub fn new(config: Config) -> Result<Consumer> {
        let config = ConsumerConfig::parse(&config)?;
        let cluster = Cluster::start(config.connection.clone(), "kafka-consumer-network-thread")?;
        let shared = Arc::new(Shared::new(config, cluster));
        let thread = shared.cluster.thread();
        thread.spawn(fetcher::run(shared.clone()));
        if shared.config.group_id.is_some() {
            match shared.config.protocol {
                GroupProtocol::Classic => thread.spawn(classic::run(shared.clone())),
                GroupProtocol::Consumer => thread.spawn(member::run(shared.clone())),
            };
        }
        Ok(Consumer { shared, current: None, listener: None, closed: false })
    }

    fn open(&self) -> Result<()> {
        if self.closed { Err(Error::Closed("This consumer has already been closed.".into())) } else { Ok(()) }
    }

    pub fn set_rebalance_listener(&mut self, listener: Box<dyn RebalanceListener>) {
        self.listener = Some(Arc::new(tokio::sync::Mutex::new(listener)));
    }

    /// Adds an interceptor behind those added before.
    pub fn add_interceptor(&mut self, interceptor: Arc<dyn ConsumerInterceptor>) {
        self.shared.state().interceptors.push(interceptor);
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

    /// Reads all topics whose whole name matches an RE2 expression, which the coordinator evaluates: topics that appear later are found
    /// without asking for the metadata of all topics. Needs `group.protocol=consumer`.
    pub fn subscribe_pattern(&mut self, pattern: impl Into<String>) -> Result<()> {
        let pattern = pattern.into();
        if self.shared.config.protocol == GroupProtocol::Classic {
            return Err(Error::UnsupportedVersion(format!(
                "Subscribe to RE2/J pattern is not supported when using the {} protocol defined in config group.protocol",
                "CLASSIC"
            )));
        }
        if pattern.is_empty() {
            return Err(Error::IllegalState("Topic pattern to subscribe to cannot be empty".into()));
        }
        self.shared.cluster.set_wanted(BTreeSet::new(), false);
        self.set_subscription(Subscription::Pattern(pattern))
    }

    fn set_subscription(&mut self, subscription: Subscription) -> Result<()> {
        self.open()?;
        self.shared.group_id()?;
        let mut state = self.shared.state();
        if matches!(state.subscription, Subscription::Assigned) {
            return Err(Error::IllegalState("Subscription to topics, partitions and pattern are mutually exclusive".into()));
        }
        state.subscription = subscription;
        state.subscriptions += 1;
        state.polls_at_subscription = state.polls;
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
            self.leave_group(LeaveOperation::Default, self.shared.config.api_timeout).await;
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

    /// The topics subscribed to, by name or by a function. Those of an expression are known to the coordinator only.
    pub fn subscription(&self) -> Vec<String> {
        let subscription = self.shared.state().subscription.clone();
        match subscription {
            Subscription::Topics(topics) => topics.into_iter().collect(),
            Subscription::Matching(matches) => self.shared.matching_topics(&matches).into_iter().collect(),
            Subscription::Pattern(_) | Subscription::None | Subscription::Assigned => Vec::new(),
        }
    }

    /// Has the group rebalance, in the classic protocol; the next polls join again.
    pub fn enforce_rebalance(&mut self, reason: &str) -> Result<()> {
        self.open()?;
        self.shared.group_id()?;
        match self.shared.config.protocol {
            GroupProtocol::Classic => {
                self.shared.state().rebalance_wanted = Some(reason.to_owned());
                self.shared.group.notify_one();
            }
            GroupProtocol::Consumer => tracing::warn!("enforcing a rebalance has no meaning in the consumer protocol"),
        }
        Ok(())
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
        let member = {
            let mut state = self.shared.state();
            state.partitions.mark_processed();
            state.member.clone()
        };
        let owned = self.assignment();
        if owned.is_empty() {
            return Ok(());
        }
        // Without a place in the group there is nothing left to give up in order.
        let change = if member.generation < 0 { Change::LoseAll } else { Change::Revoke(owned) };
        self.apply(&change).await
    }

    async fn leave_group(&self, operation: LeaveOperation, timeout: Duration) {
        let (reply, left) = oneshot::channel();
        self.shared.state().leave = Some(Leave { operation, reply });
        self.shared.leave_bell.notify_one();
        tokio::select! {
            // An error is the end of the group task, which is as good.
            _ = left => {}
            () = self.shared.cluster.thread().sleep(timeout) => tracing::debug!("leaving the group took too long"),
        }
    }

    async fn end_fetches(&self, deadline: Instant) {
        let (end, ended) = oneshot::channel();
        self.shared.state().end_of_fetches = Some(end);
        self.shared.fetch.notify_one();
        tokio::select! {
            // An error is the end of the fetcher, which is as good.
            _ = ended => {}
            () = self.shared.cluster.thread().sleep_until(deadline) => tracing::debug!("closing the fetch sessions took too long"),
        }
    }

    /// Commits (with auto commit), leaves the group and ends the consumer, all within `timeout`.
    pub async fn close(self, timeout: Duration) -> Result<()> {
        self.close_with(CloseOptions { timeout, ..CloseOptions::default() }).await
    }

    /// `close` that says what becomes of the membership.
    pub async fn close_with(mut self, options: CloseOptions) -> Result<()> {
        let CloseOptions { timeout, operation } = options;
        let deadline = self.shared.now() + timeout;
        let expiry = self.shared.cluster.thread().sleep_until(deadline);
        let in_group = self.shared.state().subscription.is_group();
        let work = async {
            let result = if in_group {
                let result = self.give_everything_up().await;
                self.shared.state().subscription = Subscription::None;
                self.leave_group(operation, timeout).await;
                result
            } else {
                self.shared.state().partitions.mark_processed();
                self.commit_before_revocation().await;
                Ok(())
            };
            self.closed = true;
            for interceptor in self.shared.interceptors() {
                interceptor.close();
            }
            result
        };
        let result = tokio::select! {
            result = work => result,
            () = expiry => return Err(Error::Timeout(format!("the consumer was not closed within {} ms", timeout.as_millis()))),
        };
        self.end_fetches(deadline).await;
        result
    }
}

#[cfg(test)]
pub(crate) fn parse_config(config: &Config) -> Result<()> {
    ConsumerConfig::parse(config).map(drop)
}

/// How to close a consumer. Kafka: `CloseOptions` (KIP-1092).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseOptions {
    pub timeout: Duration,
    pub operation: LeaveOperation,
}

impl Default for CloseOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(30), operation: LeaveOperation::Default }
    }
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Consumer({})", join(&self.assignment()))
    }
}
