//! The broker: owns its parts, dispatches requests, follows the metadata.

use crate::fetch_session::FetchSessionCache;
use crate::groups::{CommittedOffsets, CoordinatorStates, GroupCounts, Groups};
use crate::metrics::Metrics;
use crate::producer_ids::ProducerIds;
use crate::txns::{TxnStates, Txns};
use crate::{Handled, Loggers, Session, auto_create::AutoCreate, handle};
use arc_swap::ArcSwap;
use base::{Instant, Now, TopicPartition};
use bytes::Bytes;
use config::{BrokerConfig, Props};
use controller::{ControllerClient, MetadataListener, MetadataUpdate};
use metadata::Image;
use parking_lot::Mutex;
use replica::PartitionSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;

/// What a broker is built from.
pub struct BrokerParts {
    pub id: i32,
    pub cluster_id: String,
    /// As of server.properties; dynamic configs are laid over it from the metadata.
    pub config: Arc<BrokerConfig>,
    /// The raw properties behind `config`, for DescribeConfigs.
    pub static_props: Props,
    pub replicas: Arc<PartitionSet>,
    pub controller: Arc<dyn ControllerClient>,
    /// The committed metadata at start; `Broker::apply` moves it on.
    pub image: Arc<Image>,
    pub metrics: Arc<Metrics>,
    /// Seeds member ids, session ids and the like.
    pub seed: u64,
}

pub struct Broker {
    id: i32,
    cluster_id: String,
    static_props: Props,
    static_config: Arc<BrokerConfig>,
    config: ArcSwap<BrokerConfig>,
    image: ArcSwap<Image>,
    replicas: Arc<PartitionSet>,
    controller: Arc<dyn ControllerClient>,
    metrics: Arc<Metrics>,
    broker_epoch: AtomicI64,
    pub(crate) groups: Groups,
    pub(crate) txns: Txns,
    pub(crate) fetch_sessions: FetchSessionCache,
    pub(crate) producer_ids: ProducerIds,
    pub(crate) auto_create: AutoCreate,
    pub(crate) rng: Mutex<fastrand::Rng>,
    loggers: OnceLock<Arc<dyn Loggers>>,
}

impl Broker {
    pub fn new(parts: BrokerParts) -> Self {
        let mut rng = fastrand::Rng::with_seed(parts.seed);
        let broker = Broker {
            id: parts.id,
            cluster_id: parts.cluster_id,
            static_props: parts.static_props,
            groups: Groups::new(&parts.config, rng.u64(..)),
            txns: Txns::new(&parts.config, &parts.image),
            fetch_sessions: FetchSessionCache::new(parts.config.max_incremental_fetch_session_cache_slots.max(0) as usize),
            config: ArcSwap::new(parts.config.clone()),
            static_config: parts.config,
            image: ArcSwap::new(parts.image),
            replicas: parts.replicas,
            controller: parts.controller,
            metrics: parts.metrics,
            broker_epoch: AtomicI64::new(-1),
            producer_ids: ProducerIds::default(),
            auto_create: AutoCreate::default(),
            rng: Mutex::new(rng),
            loggers: OnceLock::new(),
        };
        handle::configs::apply_dynamic_broker_configs(&broker, &broker.image());
        broker
    }

    pub fn id(&self) -> i32 {
        self.id
    }

    /// A new connection from `peer` through one of the node's listeners.
    pub fn open_session(&self, peer: SocketAddr, listener: Arc<str>) -> Session {
        Session { on_controller: self.config.load().is_controller_listener(&listener), ..Session::new(peer, listener) }
    }

    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// The effective configuration: server.properties under the dynamic configs.
    pub fn config(&self) -> Arc<BrokerConfig> {
        self.config.load_full()
    }

    pub fn static_config(&self) -> &Arc<BrokerConfig> {
        &self.static_config
    }

    pub fn static_props(&self) -> &Props {
        &self.static_props
    }

    /// Replaces the effective configuration, after dynamic configs changed.
    pub fn set_config(&self, config: Arc<BrokerConfig>) {
        self.groups.set_config(&config);
        self.txns.set_config(&config);
        self.replicas.set_broker_config(config.clone(), &self.image.load());
        self.config.store(config);
    }

    pub fn image(&self) -> Arc<Image> {
        self.image.load_full()
    }

    pub fn replicas(&self) -> &Arc<PartitionSet> {
        &self.replicas
    }

    pub fn controller(&self) -> &dyn ControllerClient {
        &*self.controller
    }

    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What the resource BROKER_LOGGER stands for; without it there are no loggers to see or alter. Can be given once.
    pub fn set_loggers(&self, loggers: Arc<dyn Loggers>) {
        let _ = self.loggers.set(loggers);
    }

    pub(crate) fn loggers(&self) -> Option<&dyn Loggers> {
        self.loggers.get().map(|loggers| &**loggers)
    }

    /// The epoch of this broker's registration; -1 before it is registered.
    pub fn broker_epoch(&self) -> i64 {
        self.broker_epoch.load(Ordering::Acquire)
    }

    pub fn set_broker_epoch(&self, epoch: i64) {
        self.broker_epoch.store(epoch, Ordering::Release);
    }

    /// Answers one request. `frame` comes without its length; `waker` is kept by whatever parks.
    pub fn handle(&self, now: Now, session: &mut Session, frame: Bytes, waker: &Waker) -> Handled {
        let handled = handle::dispatch(self, now, session, frame, waker);
        if let Handled::Response(response) = &handled {
            self.metrics.count_errors(response);
        }
        handled
    }

    /// Takes over committed metadata: partitions first, so that whoever sees the new image finds them.
    pub fn apply(&self, update: &MetadataUpdate, now: Now) {
        if !update.delta.is_empty() {
            self.replicas.apply(&update.delta, &update.image, now);
        }
        self.image.store(update.image.clone());
        if !update.delta.is_empty() {
            self.apply_broker_configs(&update.delta, &update.image);
            self.groups.apply(self, &update.delta, &update.image, now);
            self.txns.apply(self, &update.delta, &update.image);
        }
    }

    /// A log directory has failed: its partitions go offline, and coordinators whose state was there end; returns the partitions.
    pub fn directory_failed(&self, dir: &Path, now: Now) -> Vec<TopicPartition> {
        let gone = self.replicas.directory_failed(dir);
        for partition in &gone {
            self.groups.log_failed(partition, now);
            self.txns.log_failed(partition);
        }
        gone
    }

    fn apply_broker_configs(&self, delta: &metadata::Delta, image: &Image) {
        if delta.configs.iter().any(|resource| resource.type_ == metadata::ResourceType::BROKER) {
            handle::configs::apply_dynamic_broker_configs(self, image);
        }
    }

    /// Loads what became ours to coordinate; called by housekeeping, away from the threads that answer requests. Returns whether
    /// there was anything.
    pub fn load_coordinators(&self, now: Now) -> bool {
        // Groups first: transactions that were prepared may have markers for them.
        let groups = self.groups.load_pending(self, now);
        self.txns.load_pending(self, now) || groups
    }

    /// Whether a coordinator waits to be loaded.
    pub fn has_coordinators_to_load(&self) -> bool {
        self.groups.has_pending() || self.txns.has_pending()
    }

    /// Runs what is due by the clock: group timers, expired fetch sessions. Returns when to come again.
    pub fn tick(&self, now: Now) -> Instant {
        let groups = self.groups.tick(now).min(self.txns.tick(self, now));
        // After the groups, whose tick sets the alarm that a new topic rings.
        groups.min(self.auto_create.tick(self, now))
    }

    /// Woken when something is due before the last `tick` said, or a coordinator waits to be loaded.
    pub fn set_alarm(&self, waker: Waker) {
        self.txns.set_alarm(waker.clone());
        self.groups.set_alarm(waker);
    }

    /// Every committed offset, by group and topic, for metrics.
    pub fn committed_offsets(&self) -> Vec<CommittedOffsets> {
        self.groups.committed_offsets()
    }

    /// (group, protocol, members) of every group, for metrics.
    pub fn group_members(&self) -> Vec<(String, &'static str, usize)> {
        self.groups.members()
    }

    /// How far the coordinators are, for metrics.
    pub fn coordinator_states(&self) -> CoordinatorStates {
        self.groups.states()
    }

    /// How far the transaction coordinators are, for metrics.
    pub fn transaction_states(&self) -> TxnStates {
        self.txns.states()
    }

    /// What the coordinators have written, for metrics.
    pub fn group_counts(&self) -> &GroupCounts {
        self.groups.counts()
    }

    /// (fetch sessions, partitions in them), for metrics.
    pub fn fetch_session_counts(&self) -> (usize, usize) {
        (self.fetch_sessions.len(), self.fetch_sessions.partitions())
    }

    /// Groups by type and state, for metrics.
    pub fn groups_by_state(&self) -> std::collections::BTreeMap<(&'static str, &'static str), usize> {
        self.groups.groups_by_state()
    }
}

/// Lets the metadata thread drive a broker; the clock is the server's.
pub struct BrokerListener {
    pub broker: Arc<Broker>,
    pub clock: Arc<dyn Fn() -> Now + Send + Sync>,
}

impl MetadataListener for BrokerListener {
    fn on_update(&mut self, update: &MetadataUpdate) {
        self.broker.apply(update, (self.clock)());
    }
}
