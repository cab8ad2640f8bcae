//! A running node: how its parts are built, in which order they start, and in which order they stop.
//! Kafka: `KafkaRaftServer`, `SharedServer`, `BrokerServer.startup` and `shutdown`.

use crate::assignments::Assignments;
use crate::bell::Bell;
use crate::checkpoint::{self, offsets};
use crate::cleaner::{LogCleaner, Manager};
use crate::clock;
use crate::dir_failures::FailureWatch;
use crate::flushers::Flushers;
use crate::health::{Health, Phase};
use crate::housekeeping::Housekeeping;
use crate::lifecycle::{Lifecycle, Registration};
use crate::listeners::{self, ConnectionLimits, DynamicListeners, Listeners};
use crate::log_dirs::{self, DirLock, LogDirs};
use crate::loggers::LogLevels;
use crate::metadata_thread::{self, MetadataOptions, MetadataThread, QuorumStats};
use crate::metrics::Metrics;
use crate::service::BrokerService;
use crate::settings::Settings;
use crate::timers::Timers;
use crate::{StartError, limits, load, meta_properties};
use base::Uuid;
use base::disk::{DirFailures, Disk, RealDisk, WatchedDisk};
use broker::{Broker, BrokerListener, BrokerParts};
use controller::{MetadataListener, MetadataUpdate};
use net::Net;
use replica::PartitionSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::Waker;
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a clean stop waits for the controller, and for requests that are under way.
const LEAVE_LIMIT: Duration = Duration::from_secs(10);
const DRAIN_LIMIT: Duration = Duration::from_secs(1);
const UNFENCE_LIMIT: Duration = Duration::from_secs(60);
/// Large enough for every thread here, and address space only.
const STACK: usize = 2 * 1024 * 1024;

/// What exists before the node runs and outlives it: directories that are ours, ports that are open.
pub struct Prepared {
    pub settings: Settings,
    pub paths: Vec<PathBuf>,
    pub locks: Vec<Option<DirLock>>,
    pub listeners: Listeners,
    pub health: Arc<Health>,
    pub metrics: Arc<Metrics>,
    pub net_stats: Arc<net::Stats>,
    pub levels: Option<LogLevels>,
}

pub struct Node {
    broker: Arc<Broker>,
    net: Net,
    timers: Arc<Timers>,
    timers_thread: JoinHandle<i64>,
    housekeeping_bell: Arc<Bell>,
    housekeeping: JoinHandle<LogDirs>,
    flushers: Flushers,
    cleaner: LogCleaner,
    failures_bell: Arc<Bell>,
    failures_thread: JoinHandle<()>,
    metadata: MetadataThread,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
}

impl Node {
    /// Opens the metadata log and all partitions, registers the broker, and accepts connections once it may lead.
    pub fn start(prepared: Prepared) -> Result<Node, StartError> {
        let Prepared { settings, paths, locks, listeners, health, metrics, net_stats, levels } = prepared;
        let config = settings.config.clone();
        let failures = Arc::new(DirFailures::new(paths.clone(), &[meta_properties::FILE, log_dirs::LOCK]));
        let disk: Arc<dyn Disk> = Arc::new(WatchedDisk::new(Arc::new(RealDisk), failures.clone(), limits::open_files_max()));
        let mut rng = fastrand::Rng::new();
        let (mut dirs, cluster_id) = LogDirs::open(disk.clone(), failures.clone(), &paths, locks, config.node_id)?;
        let watch = FailureWatch { failures, metadata_dir: log_dirs::absolute(config.metadata_directory().unwrap_or_default()) };

        health.enter(Phase::Metadata);
        if dirs.id_of(&watch.metadata_dir).is_none() {
            watch.handle(Waker::noop(), |_| Vec::new())?;
        }
        let quorum = metrics.quorum().clone();
        let options = metadata_options(&settings, &cluster_id, &dirs, &listeners, disk.clone(), quorum, &mut rng)?;
        let opened = metadata_thread::open(options).map_err(|e| StartError::Metadata(e.to_string()))?;
        let image = opened.image().clone();

        health.enter(Phase::Logs);
        let previous_broker_epoch = dirs.take_markers();
        let replicas = Arc::new(PartitionSet::new(disk, config.node_id, dirs.for_replicas(&config), config.clone()));
        // What failed so far must be known before anything new is created.
        watch.handle(Waker::noop(), |dir| replicas.directory_failed(dir))?;
        load::logs(&mut dirs, &replicas, &image, &config, &health)?;
        watch.handle(Waker::noop(), |dir| replicas.directory_failed(dir))?;

        let broker = Arc::new(Broker::new(BrokerParts {
            id: config.node_id,
            cluster_id: cluster_id.clone(),
            config: config.clone(),
            static_props: settings.props().clone(),
            replicas,
            controller: Arc::new(opened.mailbox()),
            image,
            metrics: Arc::default(),
            seed: rng.u64(..),
        }));
        if let Some(levels) = levels {
            broker.set_loggers(Arc::new(levels));
        }
        broker.apply(opened.initial_update(), clock::now());
        metrics.set_broker(broker.clone());
        let housekeeping_bell = Arc::new(Bell::default());
        let follower = Follower {
            inner: BrokerListener { broker: broker.clone(), clock: Arc::new(clock::now) },
            broker: broker.clone(),
            bell: housekeeping_bell.clone(),
        };
        let metadata =
            opened.run(Box::new(follower), Box::new(metadata_failed(health.clone()))).map_err(|e| thread_error("metadata", &e))?;

        health.enter(Phase::Registering);
        let registration = Registration {
            broker_id: config.node_id,
            cluster_id,
            listeners: listeners.advertised_for_registration(&config)?,
            rack: config.broker_rack.clone(),
            directories: dirs.online_ids(&config),
            previous_broker_epoch,
        };
        let interval = Duration::from_millis(config.broker_heartbeat_interval_ms.max(1) as u64);
        let mut lifecycle = Lifecycle::new(Arc::new(metadata.mailbox()), registration, Uuid::random(&mut rng), interval);
        lifecycle.set_offline_limit(Duration::from_millis(config.log_dir_failure_timeout_ms.max(1) as u64));
        let connection_limits = ConnectionLimits::new(&broker.config());
        let limits = connection_limits.shared();
        let dynamic_listeners = Arc::default();
        let housekeeping = Housekeeping {
            broker: broker.clone(),
            dirs,
            connection_limits,
            listeners: Arc::clone(&dynamic_listeners),
            bell: housekeeping_bell.clone(),
            assignments: Assignments::default(),
        };
        // A disk that is full already takes nothing from the first client on.
        broker.replicas().measure_space(clock::now());
        let flushers = Flushers::start(broker.replicas().clone(), metrics.flushes().clone())?;
        let manager = Arc::new(Manager::new(broker.replicas().clone()));
        metrics.set_cleaner(manager.clone());
        let cleaner = LogCleaner::start(broker.clone(), manager)?;
        let housekeeping = spawn("gregor-keeper", move || housekeeping.run())?;
        let timers = Arc::new(Timers::default());
        let failures_bell = Arc::new(Bell::default());
        let (watched, bell, changed) = (broker.clone(), failures_bell.clone(), timers.bell.clone());
        let fatal = directories_failed(health.clone());
        let failures_thread = spawn("gregor-disks", move || watch.run(&watched, &bell, &changed, fatal))?;
        let (shared, timed) = (timers.clone(), broker.clone());
        let timers_thread = spawn("gregor-timers", move || shared.run(&timed, lifecycle))?;
        if !timers.wait_active(UNFENCE_LIMIT) {
            return Err(StartError::Metadata(format!(
                "the controller did not let broker {} start within a minute; see the log",
                broker.id()
            )));
        }

        let service = Arc::new(BrokerService { broker: broker.clone() });
        let net = listeners::accept(listeners, &config, limits, net_stats, service)?;
        *dynamic_listeners.lock() = Some(DynamicListeners::new(net.listeners(), &settings));
        health.enter(Phase::Ready);
        Ok(Node {
            broker,
            net,
            timers,
            timers_thread,
            housekeeping_bell,
            housekeeping,
            flushers,
            cleaner,
            failures_bell,
            failures_thread,
            metadata,
            health,
            metrics,
        })
    }

    /// A clean stop, in Kafka's order. After it the next start has nothing to recover.
    pub fn stop(self) -> Result<(), StartError> {
        self.health.enter(Phase::Stopping);
        if self.broker.config().controlled_shutdown_enable && !self.timers.leave(LEAVE_LIMIT) {
            tracing::warn!("the controller did not approve the shutdown in time; stopping anyway");
        }
        self.net.stop(DRAIN_LIMIT);
        self.timers.bell.stop();
        self.housekeeping_bell.stop();
        let panicked = |_| StartError::Disk("a thread of the node had panicked; the next start recovers the logs".into());
        let broker_epoch = self.timers_thread.join().map_err(panicked)?;
        let mut dirs = self.housekeeping.join().map_err(panicked)?;
        self.cleaner.stop();
        self.metrics.clear_broker();
        // After this no update reaches the broker, so nobody but this thread uses its logs.
        self.metadata.stop();
        self.flushers.stop();
        let closed = close_logs(&self.broker, &mut dirs);
        self.failures_bell.stop();
        self.failures_thread.join().map_err(panicked)?;
        if let Err(error) = closed.and_then(|()| dirs.write_markers(broker_epoch).map_err(|e| StartError::Disk(e.to_string()))) {
            return Err(StartError::Disk(format!("the stop was not clean: {error}; the next start recovers the logs")));
        }
        Ok(())
    }
}

fn metadata_options(
    settings: &Settings,
    cluster_id: &str,
    dirs: &LogDirs,
    listeners: &Listeners,
    disk: Arc<dyn Disk>,
    quorum: Arc<QuorumStats>,
    rng: &mut fastrand::Rng,
) -> Result<MetadataOptions, StartError> {
    let config = &settings.config;
    let directory = log_dirs::absolute(config.metadata_directory().unwrap_or_default());
    let directory_id = dirs.id_of(&directory).unwrap_or_default();
    let endpoints = listeners.advertised_controllers(config)?;
    let raft_endpoint =
        |e: &config::Endpoint| raft::Endpoint { listener: e.listener.clone(), host: e.host.clone().unwrap_or_default(), port: e.port };
    let raft_endpoints: Vec<raft::Endpoint> = endpoints.iter().map(raft_endpoint).collect();
    let voter = |id: i32, endpoints: Vec<raft::Endpoint>| raft::Voter {
        key: raft::ReplicaKey { id, directory_id: None },
        endpoints,
        kraft_versions: (0, raft::KRaftVersion::LATEST.level()),
    };
    let listener = config.controller_listener_names.first().cloned().unwrap_or_default();
    let configured = config.voters().map_err(|e| StartError::Config(e.to_string()))?;
    let mut voters: Vec<raft::Voter> =
        configured.into_iter().map(|(id, host, port)| voter(id, vec![raft::Endpoint { listener: listener.clone(), host, port }])).collect();
    if settings.zero_config {
        // Counts only for a directory that was formatted for controller.quorum.voters.
        voters.push(voter(config.node_id, raft_endpoints.clone()));
    }
    let registered = endpoints.iter().map(|e| metadata::Listener {
        name: e.listener.clone(),
        host: e.host.clone().unwrap_or_default(),
        port: e.port,
        security_protocol: e.protocol.id(),
    });
    Ok(MetadataOptions {
        disk,
        directory,
        raft: raft::Config {
            node_id: config.node_id,
            directory_id,
            static_voters: raft::VoterSet::new(voters),
            endpoints: raft_endpoints,
            retention_bytes: config.metadata_max_retention_bytes,
            retention_ms: config.metadata_max_retention_ms,
        },
        settings: controller::Settings::new(
            cluster_id.to_owned(),
            settings.layers.clone(),
            (**config).clone(),
            registered.collect(),
            Uuid::random(rng),
        ),
        segment_bytes: config.metadata_log_segment_bytes,
        segment_ms: config.metadata_log_segment_ms,
        seed: rng.u64(..),
        clock: clock::now,
        stats: quorum,
    })
}

/// The metadata log cannot be written or read: what this process believes and what is on disk may differ, so it must not go on.
fn metadata_failed(health: Arc<Health>) -> impl FnOnce(controller::NodeError) + Send {
    move |_logged| {
        health.failed();
        tracing::error!("the node stops at once; when the disk is well again, start it and it recovers");
        std::process::exit(1);
    }
}

/// Nothing is left to serve, or the metadata log is gone. Kafka halts with the same exit code.
fn directories_failed(health: Arc<Health>) -> impl Fn() + Send {
    move || {
        health.failed();
        std::process::exit(1);
    }
}

fn thread_error(name: &str, e: &std::io::Error) -> StartError {
    StartError::Disk(format!("cannot start the thread {name}: {e}; check the limit of processes (ulimit -u)"))
}

/// Flushes and closes all logs and writes the last checkpoints.
fn close_logs(broker: &Broker, dirs: &mut LogDirs) -> Result<(), StartError> {
    let partitions = broker.replicas().all();
    let ends = offsets(&partitions, storage::Log::log_end_offset);
    let starts = offsets(&partitions, storage::Log::log_start_offset);
    let marks = offsets(&partitions, storage::Log::high_watermark);
    load::close_all(&partitions, |dir| dirs.is_offline(dir))?;
    for (file, offsets) in [(checkpoint::RECOVERY_POINT, ends), (checkpoint::LOG_START, starts), (checkpoint::HIGH_WATERMARK, marks)] {
        dirs.write_checkpoint(file, &offsets).map_err(|e| StartError::Disk(format!("{file}: {e}")))?;
    }
    Ok(())
}

/// Shows the broker committed metadata, and wakes housekeeping when that gave it something to load.
struct Follower {
    inner: BrokerListener,
    broker: Arc<Broker>,
    bell: Arc<Bell>,
}

impl MetadataListener for Follower {
    fn on_update(&mut self, update: &MetadataUpdate) {
        self.inner.on_update(update);
        if self.broker.has_coordinators_to_load() {
            self.bell.ring();
        }
    }
}

pub fn spawn<T: Send + 'static>(name: &str, run: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>, StartError> {
    let builder = std::thread::Builder::new().name(name.to_owned()).stack_size(STACK);
    builder.spawn(run).map_err(|e| thread_error(name, &e))
}
