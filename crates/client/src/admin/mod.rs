//! Owns: the admin client — generic calls on wire messages with routing and Kafka's retries, and conveniences for what tools do most.
//! Used by: the command-line tools, tests. Kafka: `KafkaAdminClient`, `AdminApiDriver`.

mod cluster;
mod configs;
mod groups;
mod offsets;
mod topics;
mod transactions;

pub use crate::driver::CoordinatorKind;
pub use cluster::ClusterDescription;
pub use configs::{AlterConfigOp, ConfigEntry, ConfigResource, ConfigResourceType, ConfigSynonym, OpType};
pub use groups::{GroupDescription, GroupListing, GroupMember, ListGroupsOptions, MemberToRemove};
/// Requests and answers that the consumer shares.
pub(crate) mod groups_wire {
    pub(crate) use super::groups::{OFFSETS_BY_NAME, offset_commit_request, offset_fetch_request, read_offset_commit, read_offset_fetch};
    pub(crate) use super::offsets::{list_offsets_request, read_list_offsets};
}
pub use topics::{CreateTopicsOptions, CreatedTopic, NewPartitions, NewTopic, TopicDescription, TopicListing, TopicPartitionInfo};
pub use transactions::{
    AbortTransactionSpec, ListTransactionsOptions, ProducerState, TransactionDescription, TransactionListing, TransactionState,
};

use crate::config::{Config, ConnectionConfig};
use crate::driver::connection::Connection;
use crate::driver::{Cluster, Topics};
use crate::error::{Error, Result};
use crate::types::Node;
use base::{Instant, TopicPartition};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use wire::messages::{ApiVersionsRequest, ApiVersionsResponse, MetadataResponse};
use wire::{ErrorCode, Request};

/// An admin client; clones share its connections. Every call retries what Kafka calls retriable until default.api.timeout.ms.
///
/// ```no_run
/// # async fn run() -> client::Result<()> {
/// use client::admin::NewTopic;
/// use client::{Admin, Config};
///
/// let admin = Admin::connect(Config::bootstrap("localhost:9092")).await?;
/// for (name, created) in admin.create_topics(vec![NewTopic::new("orders", 6, 1)], Default::default()).await? {
///     println!("{name}: {created:?}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Admin {
    inner: Arc<Inner>,
    api_timeout: Duration,
}

struct Inner {
    cluster: Cluster,
    retries: u32,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.cluster.stop();
    }
}

/// Which broker a request goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    Any,
    Controller,
    Node(i32),
    Coordinator(CoordinatorKind, String),
}

/// What to do with an answer.
enum Verdict {
    Done,
    /// Ask again, after looking up the route again.
    Retry(ErrorCode),
}

fn verdict(code: i16) -> Verdict {
    match ErrorCode::from_code(code) {
        ErrorCode::None => Verdict::Done,
        // Not retriable as exceptions, but the admin client treats a moved coordinator like a moved leader.
        code if code.is_retriable() && code != ErrorCode::ThrottlingQuotaExceeded => Verdict::Retry(code),
        _ => Verdict::Done,
    }
}

impl Admin {
    /// Parses the configuration and starts the network thread; connects with the first call.
    pub fn new(config: Config) -> Result<Admin> {
        let connection = ConnectionConfig::parse(&config, "adminclient-1")?;
        let api_timeout = Duration::from_millis(config.number("default.api.timeout.ms", 60_000u64, 0, i32::MAX as u64)?);
        let retries = config.number("retries", i32::MAX as u32, 0, i32::MAX as u32)?;
        let cluster = Cluster::start(ConnectionConfig { allow_auto_topic_creation: false, ..connection }, "kafka-admin-client-thread")?;
        Ok(Admin { inner: Arc::new(Inner { cluster, retries }), api_timeout })
    }

    /// `new`, then a first look at the cluster.
    pub async fn connect(config: Config) -> Result<Admin> {
        let admin = Self::new(config)?;
        admin.nodes().await?;
        Ok(admin)
    }

    /// The same client with another time limit per call.
    pub fn with_timeout(&self, api_timeout: Duration) -> Admin {
        Admin { inner: self.inner.clone(), api_timeout }
    }

    pub fn timeout(&self) -> Duration {
        self.api_timeout
    }

    fn cluster(&self) -> &Cluster {
        &self.inner.cluster
    }

    fn deadline(&self) -> Instant {
        self.cluster().clock().mono() + self.api_timeout
    }

    fn timeout_ms(&self) -> i32 {
        i32::try_from(self.api_timeout.as_millis()).unwrap_or(i32::MAX)
    }

    /// Any broker. Errors inside the answer are the caller's to read.
    pub async fn any<R: Request>(&self, request: R) -> Result<R::Response> {
        self.call(Route::Any, request, |_| 0).await
    }

    /// The controller, as far as brokers name one.
    pub async fn controller<R: Request>(&self, request: R) -> Result<R::Response> {
        self.call(Route::Controller, request, |_| 0).await
    }

    pub async fn node<R: Request>(&self, broker: i32, request: R) -> Result<R::Response> {
        self.call(Route::Node(broker), request, |_| 0).await
    }

    pub async fn coordinator<R: Request>(&self, kind: CoordinatorKind, key: &str, request: R) -> Result<R::Response> {
        self.call(Route::Coordinator(kind, key.to_owned()), request, |_| 0).await
    }

    /// One call with retries. `code` reads the error that says the whole answer is no good: a retriable one leads to another attempt, at a
    /// freshly looked-up broker; other errors are returned inside the answer.
    pub async fn call<R: Request>(&self, route: Route, request: R, code: impl Fn(&R::Response) -> i16) -> Result<R::Response> {
        self.call_versions(route, 0, i16::MAX, |_| request.clone(), code).await
    }

    /// `call` within a range of versions, with a request made for the version.
    pub async fn call_versions<R: Request>(
        &self,
        route: Route,
        min: i16,
        max: i16,
        build: impl Fn(i16) -> R,
        code: impl Fn(&R::Response) -> i16,
    ) -> Result<R::Response> {
        self.call_located(route, min, max, build, code).await.map(|(_, response)| response)
    }

    /// `call_versions`, telling also which broker answered.
    async fn call_located<R: Request>(
        &self,
        route: Route,
        min: i16,
        max: i16,
        build: impl Fn(i16) -> R,
        code: impl Fn(&R::Response) -> i16,
    ) -> Result<(i32, R::Response)> {
        let deadline = self.deadline();
        let mut attempts = 0;
        loop {
            let error = match self.attempt(&route, min, max, &build, deadline).await {
                Ok((node, response)) => match verdict(code(&response)) {
                    Verdict::Done => return Ok((node, response)),
                    Verdict::Retry(code) => {
                        self.cluster().refresh_metadata();
                        Error::broker(code, None)
                    }
                },
                Err(error) if error.is_retriable() || error.code() == Some(ErrorCode::BrokerNotAvailable) => error,
                Err(error) => return Err(error),
            };
            self.pause_or_give_up::<R>(&mut attempts, deadline, error).await?;
        }
    }

    async fn pause_or_give_up<R: Request>(&self, attempts: &mut u32, deadline: Instant, error: Error) -> Result<()> {
        let delay = self.cluster().backoff_delay(*attempts);
        *attempts += 1;
        let out_of_time = self.cluster().clock().mono() + delay >= deadline;
        if *attempts > self.inner.retries {
            return Err(error);
        }
        if out_of_time {
            return Err(timed_out(R::KEY.name(), &error));
        }
        tracing::debug!("{} will be tried again: {error}", R::KEY.name());
        self.cluster().thread().sleep(delay).await;
        Ok(())
    }

    async fn attempt<R: Request>(
        &self,
        route: &Route,
        min: i16,
        max: i16,
        build: &impl Fn(i16) -> R,
        deadline: Instant,
    ) -> Result<(i32, R::Response)> {
        let connection = self.route(route, deadline).await?;
        let version = connection.versions.choose::<R>(min, max, connection.name())?;
        let response = connection.request(&build(version), version, self.cluster().request_deadline(deadline)).await?;
        Ok((connection.node.id, response))
    }

    async fn route(&self, route: &Route, deadline: Instant) -> Result<Arc<Connection>> {
        let cluster = self.cluster();
        match route {
            Route::Any if !cluster.config().of_controllers => cluster.any_connection(deadline).await,
            Route::Any | Route::Controller => {
                let controller = self.await_cluster(deadline, |cache| cache.controller).await?;
                cluster.connection(controller, deadline).await
            }
            Route::Node(id) => {
                let known = cluster.metadata().nodes.contains_key(id);
                if !known && cluster.config().of_controllers {
                    return Box::pin(self.route(&Route::Controller, deadline)).await;
                }
                if !known {
                    self.await_cluster(deadline, |cache| (!cache.nodes.is_empty()).then_some(())).await?;
                }
                cluster.connection(*id, deadline).await
            }
            Route::Coordinator(kind, key) => {
                let node = cluster.find_coordinator(*kind, key, deadline).await?;
                cluster.connection(node.id, deadline).await
            }
        }
    }

    async fn await_cluster<T>(
        &self,
        deadline: Instant,
        ready: impl FnMut(&crate::core::metadata::MetadataCache) -> Option<T>,
    ) -> Result<T> {
        let found = self.cluster().await_metadata(deadline, ready).await;
        found.ok_or_else(|| {
            let why = self.cluster().last_metadata_error();
            timed_out("Metadata", &why.unwrap_or_else(|| Error::Disconnected("no broker answered".into())))
        })
    }

    /// What went over the connections, by Kafka's names.
    pub fn metrics(&self) -> Vec<crate::Metric> {
        let mut snapshot = crate::metrics::Snapshot::new();
        self.cluster().traffic().show(snapshot.group("admin-client-metrics"));
        snapshot.finish()
    }

    /// The brokers of the cluster.
    pub async fn nodes(&self) -> Result<Vec<Node>> {
        let deadline = self.deadline();
        self.await_cluster(deadline, |cache| (!cache.nodes.is_empty()).then(|| cache.nodes.values().cloned().collect())).await
    }

    /// What a broker serves; None asks any.
    pub async fn api_versions(&self, node: Option<i32>) -> Result<ApiVersionsResponse> {
        let request = ApiVersionsRequest {
            client_software_name: "gregor".into(),
            client_software_version: env!("CARGO_PKG_VERSION").into(),
            ..Default::default()
        };
        self.call(node.map_or(Route::Any, Route::Node), request, |response| response.error_code).await
    }

    /// Raw metadata; never creates topics.
    pub async fn metadata(&self, topics: Topics) -> Result<MetadataResponse> {
        let deadline = self.deadline();
        let mut attempts = 0;
        loop {
            match self.cluster().fetch_metadata(&topics, false, deadline).await {
                Ok(response) => return Ok(response),
                Err(error) if error.is_retriable() => {
                    self.pause_or_give_up::<wire::messages::MetadataRequest>(&mut attempts, deadline, error).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The current leader of a partition.
    pub async fn leader_for(&self, partition: &TopicPartition) -> Result<Node> {
        let (mut leaders, mut failed) = self.leaders(std::slice::from_ref(partition)).await?;
        if let Some((_, error)) = failed.pop() {
            return Err(error);
        }
        let leader = leaders.remove(partition).ok_or_else(|| Error::broker(ErrorCode::LeaderNotAvailable, None))?;
        let nodes = self.nodes().await?;
        nodes.into_iter().find(|node| node.id == leader.0).ok_or_else(|| Error::broker(ErrorCode::LeaderNotAvailable, None))
    }

    /// Leaders with their epochs, and the partitions that have none and why.
    pub(crate) async fn leaders(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<(BTreeMap<TopicPartition, (i32, i32)>, Vec<(TopicPartition, Error)>)> {
        let mut names: Vec<String> = partitions.iter().map(|partition| partition.topic.clone()).collect();
        names.sort();
        names.dedup();
        let response = self.metadata(Topics::Names(names)).await?;
        for broker in &response.brokers {
            let port = u16::try_from(broker.port).unwrap_or(0);
            self.cluster().learn_node(&Node { id: broker.node_id, host: broker.host.clone(), port, rack: broker.rack.clone() });
        }
        let (mut leaders, mut failed) = (BTreeMap::new(), Vec::new());
        for partition in partitions {
            let topic = response.topics.iter().find(|topic| topic.name.as_deref() == Some(&partition.topic));
            let code = topic.map_or(ErrorCode::UnknownTopicOrPartition.code(), |topic| topic.error_code);
            let entry = topic.and_then(|topic| topic.partitions.iter().find(|entry| entry.partition_index == partition.partition));
            match entry {
                _ if code != 0 => failed.push((partition.clone(), Error::from_code(code, None))),
                None => failed.push((partition.clone(), Error::broker(ErrorCode::UnknownTopicOrPartition, None))),
                Some(entry) if entry.leader_id < 0 => {
                    failed.push((partition.clone(), Error::broker(ErrorCode::LeaderNotAvailable, None)));
                }
                Some(entry) => {
                    leaders.insert(partition.clone(), (entry.leader_id, entry.leader_epoch));
                }
            }
        }
        Ok((leaders, failed))
    }

    /// Asks the leaders of `partitions`: one request per broker made by `build`, answers per partition read by `read`. Partitions that moved
    /// or have no leader yet are asked again until the time is up.
    pub(crate) async fn per_leader<R: Request, T>(
        &self,
        partitions: &[TopicPartition],
        min_version: i16,
        build: impl Fn(&[(TopicPartition, i32)]) -> R,
        read: impl Fn(R::Response) -> Vec<(TopicPartition, Result<T>)>,
    ) -> Result<BTreeMap<TopicPartition, Result<T>>> {
        let deadline = self.deadline();
        let mut attempts = 0;
        let mut results = BTreeMap::new();
        let mut open: Vec<TopicPartition> = partitions.to_vec();
        loop {
            let (leaders, unknown) = self.leaders(&open).await?;
            let mut again: Vec<(TopicPartition, Error)> = Vec::new();
            let mut sort = |partition: TopicPartition, error: Error| {
                if error.is_retriable() {
                    again.push((partition, error));
                } else {
                    results.insert(partition, Err(error));
                }
            };
            for (partition, error) in unknown {
                sort(partition, error);
            }
            let mut by_node: BTreeMap<i32, Vec<(TopicPartition, i32)>> = BTreeMap::new();
            for (partition, (leader, epoch)) in leaders {
                by_node.entry(leader).or_default().push((partition, epoch));
            }
            let mut answered = Vec::new();
            for (node, group) in by_node {
                match self.attempt(&Route::Node(node), min_version, i16::MAX, &|_| build(&group), deadline).await {
                    Ok((_, response)) => answered.extend(read(response)),
                    Err(error) => {
                        for (partition, _) in group {
                            sort(partition, error.clone());
                        }
                    }
                }
            }
            let mut values = Vec::new();
            for (partition, result) in answered {
                match result {
                    Err(error) => sort(partition, error),
                    Ok(value) => values.push((partition, Ok(value))),
                }
            }
            results.extend(values);
            let Some((_, error)) = again.first() else { return Ok(results) };
            let error = error.clone();
            if let Err(last) = self.pause_or_give_up::<R>(&mut attempts, deadline, error).await {
                let last = &last;
                results.extend(again.into_iter().map(|(partition, error)| {
                    (partition, Err(if error.code() == Some(ErrorCode::UnknownTopicOrPartition) { error } else { last.clone() }))
                }));
                return Ok(results);
            }
            open = again.into_iter().map(|(partition, _)| partition).collect();
        }
    }
}

/// Java's message when a call runs out of time; the cause follows.
fn timed_out(api: &str, cause: &Error) -> Error {
    let mut name = api.to_owned();
    if let Some(first) = name.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    match cause {
        Error::Disconnected(_) => Error::Timeout(format!("Timed out waiting for a node assignment. Call: {name}")),
        _ => Error::Timeout(format!("Call(callName={name}) timed out: {cause}")),
    }
}
