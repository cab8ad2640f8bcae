//! Owns: the connections of one client and its metadata: which brokers there are, connecting with backoff, and keeping the snapshot fresh.
//! Used by: Producer, Consumer, Admin. Kafka: `NetworkClient`, `ClusterConnectionStates`, `Metadata`, KIP-899/1102 (back to the bootstrap list).

mod refresh;

use super::connection::Connection;
use super::thread::{Clock, NetworkThread};
use super::traffic::Traffic;
use crate::config::ConnectionConfig;
use crate::core::backoff::ExponentialBackoff;
use crate::core::metadata::MetadataCache;
use crate::core::versions::FinalizedFeatures;
use crate::error::{Error, Result};
use crate::types::Node;
use base::{Instant, TopicPartition, Uuid};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot, watch};
use wire::messages::MetadataResponse;
use wire::{ErrorCode, Request};

/// Which topics a metadata request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topics {
    All,
    Names(Vec<String>),
    Ids(Vec<Uuid>),
    None,
}

/// The endpoint type that asks for controllers.
pub const CONTROLLERS: i8 = 2;

/// Requests to coordinators travel on connections of their own, so that a heartbeat never queues behind a fetch that waits at the broker.
pub const fn coordinator_slot(node: i32) -> i32 {
    i32::MAX - node
}

#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    thread: NetworkThread,
    config: ConnectionConfig,
    metadata: watch::Sender<Arc<MetadataCache>>,
    refresh: Notify,
    traffic: Arc<Traffic>,
    state: Mutex<State>,
}

struct State {
    /// Few, and looked at for every request: no hashing.
    slots: BTreeMap<i32, Slot>,
    failures: HashMap<i32, Failure>,
    wanted: BTreeSet<String>,
    /// Topics whose names are sought.
    wanted_ids: BTreeSet<Uuid>,
    all_topics: bool,
    rng: fastrand::Rng,
    /// The last thing that went wrong while fetching metadata; tells a caller whose wait ends why.
    last_error: Option<Error>,
    features: FinalizedFeatures,
}

enum Slot {
    Connected(Arc<Connection>),
    Connecting(Vec<oneshot::Sender<Result<Arc<Connection>>>>),
}

#[derive(Clone)]
struct Failure {
    count: u32,
    until: Instant,
}

impl Cluster {
    /// Starts the network thread; connects to nothing yet.
    pub fn start(config: ConnectionConfig, thread_name: &str) -> Result<Cluster> {
        check_resolvable(&config.bootstrap)?;
        let thread = NetworkThread::start(thread_name)
            .map_err(|error| Error::IllegalState(format!("the network thread cannot be started: {error}")))?;
        Ok(Self::on(thread, config))
    }

    /// The same on a runtime that is there already.
    pub fn start_on(handle: Handle, config: ConnectionConfig) -> Result<Cluster> {
        check_resolvable(&config.bootstrap)?;
        Ok(Self::on(NetworkThread::shared(handle), config))
    }

    fn on(thread: NetworkThread, config: ConnectionConfig) -> Cluster {
        let state = State {
            slots: BTreeMap::new(),
            failures: HashMap::new(),
            wanted: BTreeSet::new(),
            wanted_ids: BTreeSet::new(),
            all_topics: false,
            rng: fastrand::Rng::new(),
            last_error: None,
            features: FinalizedFeatures::default(),
        };
        let inner = Inner {
            thread: thread.clone(),
            config,
            metadata: watch::Sender::new(Arc::default()),
            refresh: Notify::new(),
            traffic: Arc::default(),
            state: Mutex::new(state),
        };
        let cluster = Cluster { inner: Arc::new(inner) };
        thread.spawn(cluster.clone().keep_metadata_fresh());
        cluster
    }

    /// Drops all connections and tasks. Calls that still wait end with `Error::Closed`.
    pub fn stop(&self) {
        self.inner.thread.stop();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn thread(&self) -> &NetworkThread {
        &self.inner.thread
    }

    pub fn clock(&self) -> Clock {
        self.inner.thread.clock()
    }

    pub fn config(&self) -> &ConnectionConfig {
        &self.inner.config
    }

    /// What went over the connections.
    pub fn traffic(&self) -> &Traffic {
        &self.inner.traffic
    }

    pub fn metadata(&self) -> Arc<MetadataCache> {
        self.inner.metadata.borrow().clone()
    }

    pub fn watch_metadata(&self) -> watch::Receiver<Arc<MetadataCache>> {
        self.inner.metadata.subscribe()
    }

    pub fn retry_backoff(&self) -> ExponentialBackoff {
        ExponentialBackoff { initial: self.inner.config.retry_backoff, max: self.inner.config.retry_backoff_max }
    }

    /// How long to wait before attempt `attempts + 1`.
    pub fn backoff_delay(&self, attempts: u32) -> Duration {
        let backoff = self.retry_backoff();
        backoff.delay(attempts, &mut self.state().rng)
    }

    /// Adds topics to those that are kept fresh; asks for them at once when they are new.
    pub fn want_topics<'a>(&self, topics: impl IntoIterator<Item = &'a str>) {
        let mut new = false;
        {
            let mut state = self.state();
            for topic in topics {
                if !state.wanted.contains(topic) {
                    state.wanted.insert(topic.to_owned());
                    new = true;
                }
            }
        }
        if new {
            self.refresh_metadata();
        }
    }

    /// The topics whose names are sought from now on; asks when there are new ones.
    pub fn want_topic_ids(&self, ids: BTreeSet<Uuid>) {
        let mut state = self.state();
        let new = !ids.is_subset(&state.wanted_ids);
        state.wanted_ids = ids;
        drop(state);
        if new {
            self.refresh_metadata();
        }
    }

    /// Replaces the topics that are kept fresh.
    pub fn set_wanted(&self, topics: BTreeSet<String>, all: bool) {
        let new = {
            let mut state = self.state();
            let new = (all && !state.all_topics) || topics.iter().any(|topic| !state.wanted.contains(topic));
            state.wanted = topics;
            state.all_topics = all;
            new
        };
        if new {
            self.refresh_metadata();
        }
    }

    /// Asks for a refresh soon; many requests become one.
    pub fn refresh_metadata(&self) {
        self.inner.refresh.notify_one();
    }

    /// Why metadata could not be fetched last time, if it could not.
    pub fn last_metadata_error(&self) -> Option<Error> {
        self.state().last_error.clone()
    }

    /// Waits until `ready` accepts the metadata, asking for refreshes meanwhile. None when the deadline passes.
    pub async fn await_metadata<T>(&self, deadline: Instant, mut ready: impl FnMut(&MetadataCache) -> Option<T>) -> Option<T> {
        let mut watcher = self.watch_metadata();
        let mut timer = std::pin::pin!(self.thread().sleep_until(deadline));
        loop {
            let current = watcher.borrow_and_update().clone();
            if let Some(value) = ready(&current) {
                return Some(value);
            }
            self.refresh_metadata();
            tokio::select! {
                changed = watcher.changed() => changed.ok()?,
                () = &mut timer => return None,
            }
        }
    }

    /// Applies what a broker said about a new leader in a produce or fetch answer (KIP-951).
    pub fn learn_leader(&self, partition: &TopicPartition, leader: i32, epoch: i32) {
        self.inner.metadata.send_if_modified(|current| match current.with_leader(partition, leader, epoch) {
            Some(next) => {
                *current = Arc::new(next);
                true
            }
            None => false,
        });
    }

    /// Applies a full metadata answer that a caller fetched for itself.
    fn apply(&self, response: MetadataResponse, all_topics: bool) {
        if response.brokers.is_empty() {
            // A starting broker may not know anybody yet; what is known is better.
            return;
        }
        self.inner.metadata.send_modify(|current| *current = Arc::new(current.updated(response, all_topics)));
    }

    /// One attempt of `request` on a given connection, limited by the deadline and the request timeout.
    pub async fn request_on<R: Request>(&self, connection: &Connection, request: &R, deadline: Instant) -> Result<R::Response> {
        let version = connection.versions.choose::<R>(0, i16::MAX, connection.name())?;
        connection.request(request, version, self.request_deadline(deadline)).await
    }

    pub fn request_deadline(&self, deadline: Instant) -> Instant {
        deadline.min(self.clock().mono() + self.inner.config.request_timeout)
    }

    /// One attempt of `request` at a broker.
    pub async fn request<R: Request>(&self, node: i32, request: &R, deadline: Instant) -> Result<R::Response> {
        let connection = self.connection(node, deadline).await?;
        self.request_on(&connection, request, deadline).await
    }

    fn address_of(&self, node: i32) -> Option<Node> {
        if node < 0 {
            let (host, port) = self.inner.config.bootstrap.get(usize::try_from(-1 - i64::from(node)).ok()?)?;
            return Some(Node { id: node, host: host.clone(), port: *port, rack: None });
        }
        let node = if node > i32::MAX / 2 { i32::MAX - node } else { node };
        self.inner.metadata.borrow().nodes.get(&node).cloned()
    }

    /// Adds a broker that an answer named before the metadata did.
    pub fn learn_node(&self, node: &Node) {
        self.inner.metadata.send_if_modified(|current| {
            if current.nodes.contains_key(&node.id) {
                return false;
            }
            let mut next = MetadataCache::clone(current);
            next.version += 1;
            next.nodes.insert(node.id, node.clone());
            *current = Arc::new(next);
            true
        });
    }

    /// The open connection to a broker, if there is one.
    pub fn existing_connection(&self, node: i32) -> Option<Arc<Connection>> {
        match self.state().slots.get(&node) {
            Some(Slot::Connected(connection)) if !connection.is_closed() => Some(connection.clone()),
            _ => None,
        }
    }

    /// The newest that any broker has told about what the cluster agreed on.
    pub fn features(&self) -> FinalizedFeatures {
        self.state().features
    }

    /// Closes all connections, as a network failure would.
    pub fn drop_connections(&self) {
        for slot in self.state().slots.values() {
            if let Slot::Connected(connection) = slot {
                connection.close();
            }
        }
    }

    /// A connection to whichever broker is best: an open one with the least to do, else a random known one, else a bootstrap address.
    pub async fn any_connection(&self, deadline: Instant) -> Result<Arc<Connection>> {
        let node = self.least_loaded();
        self.connection(node, deadline).await
    }

    pub fn least_loaded(&self) -> i32 {
        let known: Vec<i32> = self.inner.metadata.borrow().nodes.keys().copied().collect();
        // Without rebootstrapping the list serves for the first contact only.
        let listed = known.is_empty() || self.inner.config.rebootstrap_after.is_some();
        let bootstrap = (0..self.inner.config.bootstrap.len() as i32).map(|index| -1 - index).filter(|_| listed);
        let now = self.clock().mono();
        let mut state = self.state();
        let open = state.slots.iter().filter_map(|(id, slot)| match slot {
            Slot::Connected(connection) if !connection.is_closed() && (known.is_empty() || known.contains(id)) => {
                Some((connection.pending(), *id))
            }
            _ => None,
        });
        if let Some((_, id)) = open.min() {
            return id;
        }
        let mut usable = |candidates: Vec<i32>| {
            let free: Vec<i32> =
                candidates.into_iter().filter(|id| state.failures.get(id).is_none_or(|failure| failure.until <= now)).collect();
            (!free.is_empty()).then(|| free[state.rng.usize(..free.len())])
        };
        // Brokers that failed lately are left to rest; when all do, the bootstrap list is tried as well.
        if let Some(id) = usable(known.clone()).or_else(|| usable(bootstrap.clone().collect())) {
            return id;
        }
        let until = |id: &i32| state.failures.get(id).map_or(Instant::ZERO, |failure| failure.until);
        known.into_iter().chain(bootstrap).min_by_key(until).unwrap_or(-1)
    }

    /// The connection to a broker, made if there is none; waits out the reconnect backoff.
    pub async fn connection(&self, node: i32, deadline: Instant) -> Result<Arc<Connection>> {
        let Some(address) = self.address_of(node) else {
            return Err(Error::broker(ErrorCode::BrokerNotAvailable, Some(format!("node {node} is not known to the cluster"))));
        };
        let receiver = {
            let mut state = self.state();
            let (sender, receiver) = oneshot::channel();
            match state.slots.get_mut(&node) {
                Some(Slot::Connected(connection))
                    if !connection.is_closed() && connection.node.host == address.host && connection.node.port == address.port =>
                {
                    return Ok(connection.clone());
                }
                Some(Slot::Connecting(waiters)) => waiters.push(sender),
                _ => {
                    let failure = state.failures.get(&node).cloned();
                    state.slots.insert(node, Slot::Connecting(vec![sender]));
                    drop(state);
                    self.inner.thread.spawn(self.clone().connect(node, address, failure));
                }
            }
            receiver
        };
        tokio::select! {
            result = receiver => result.unwrap_or_else(|_| Err(Error::Closed("the client was closed".into()))),
            () = self.inner.thread.sleep_until(deadline) => {
                Err(Error::Disconnected(format!("no connection to node {node} in time")))
            }
        }
    }

    async fn connect(self, slot: i32, node: Node, failure: Option<Failure>) {
        if let Some(failure) = &failure {
            tokio::time::sleep_until(self.clock().to_tokio(failure.until)).await;
        }
        let count = failure.map_or(0, |failure| failure.count);
        let config = &self.inner.config;
        let result = self.connect_any_address(&node, count).await;
        let mut state = self.state();
        match &result {
            Ok(connection) => {
                state.failures.remove(&slot);
                let features = connection.versions.features;
                if features.epoch > state.features.epoch {
                    state.features = features;
                }
            }
            Err(error) => {
                tracing::debug!("{error}");
                let backoff = ExponentialBackoff { initial: config.reconnect_backoff, max: config.reconnect_backoff_max };
                let until = self.clock().mono() + backoff.delay(count, &mut state.rng);
                state.failures.insert(slot, Failure { count: count + 1, until });
            }
        }
        let replaced = match &result {
            Ok(connection) => state.slots.insert(slot, Slot::Connected(connection.clone())),
            Err(_) => state.slots.remove(&slot),
        };
        drop(state);
        if result.is_err() && node.id >= 0 {
            // The broker may have moved.
            self.refresh_metadata();
        }
        if let Some(Slot::Connecting(waiters)) = replaced {
            for waiter in waiters {
                // A waiter that is gone ran into its deadline.
                let _ = waiter.send(result.clone());
            }
        }
    }

    /// Tries every address the name resolves to.
    async fn connect_any_address(&self, node: &Node, failures: u32) -> Result<Arc<Connection>> {
        let config = &self.inner.config;
        let backoff = ExponentialBackoff { initial: config.connection_setup_timeout, max: config.connection_setup_timeout_max };
        let timeout = backoff.delay(failures, &mut self.state().rng);
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host((node.host.as_str(), node.port))
            .await
            .map_err(|error| Error::Disconnected(format!("host {} cannot be resolved: {error}", node.host)))?
            .collect();
        let mut last = Error::Disconnected(format!("host {} resolves to no address", node.host));
        for address in addresses {
            match Connection::open(&self.inner.thread, config, node.clone(), address, timeout, self.inner.traffic.clone()).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// Java refuses to construct a client none of whose bootstrap servers can be resolved.
fn check_resolvable(bootstrap: &[(String, u16)]) -> Result<()> {
    let resolvable = |(host, port): &(String, u16)| (host.as_str(), *port).to_socket_addrs().is_ok_and(|mut found| found.next().is_some());
    if bootstrap.iter().any(resolvable) {
        return Ok(());
    }
    Err(Error::Config("No resolvable bootstrap urls given in bootstrap.servers".to_owned()))
}
