//! The node: controller and broker joined by a mailbox that is emptied between requests, as the metadata thread empties its own. Everything
//! that lasts is on the disk it is given: metadata log, partitions, checkpoints and markers, in the directories of log.dirs.

use base::disk::{DirFailures, Disk, WatchedDisk};
use base::{Instant, Now, Slot, Uuid};
use broker::{Broker, BrokerParts, Metrics};
use config::{BrokerConfig, Layers, Props};
use controller::node::{Event, Node};
use controller::settings::Settings;
use controller::{ControllerClient, ControllerRequest, ControllerResponse, RequestContext, ResponseSlot};
use metadata::Image;
use parking_lot::Mutex;
use raft::{Endpoint, ReplicaKey, Voter, VoterSet};
use replica::{Partition, PartitionSet};
use server::assignments::Assignments;
use server::checkpoint::{self, offsets};
use server::dir_failures::FailureWatch;
use server::log_dirs::{DirLock, LogDirs};
use server::meta_properties::{self, MetaProperties};
use server::metadata_log::MetadataLog;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;
use storage::cleaner::{CleanError, Cleaner, Pace, SharedLog};
use storage::{Log, LogConfig};
use wire::messages::broker_registration_request::{Feature, Listener};
use wire::messages::{
    BrokerHeartbeatRequest, BrokerHeartbeatResponse, BrokerRegistrationRequest, BrokerRegistrationResponse, FeatureLevelRecord,
};

pub const NODE_ID: i32 = 1;
const CLUSTER_ID: &str = "c2ltdWxhdGlvbi1jbHVzdA";
const DATA: &str = "/data";
/// So few that files are closed and opened again all the time.
pub const FEW_FILES: usize = 4;

/// Everything that a run depends on.
pub struct Options {
    pub disk: Arc<dyn Disk>,
    /// server.properties beyond what a lone node needs.
    pub props: Vec<(&'static str, &'static str)>,
    pub seed: u64,
    /// How many files of logs stay open.
    pub open_files_max: usize,
    pub now: Now,
}

#[derive(Default)]
struct Mailbox(Mutex<Vec<(RequestContext, ControllerRequest, ResponseSlot)>>);

impl ControllerClient for Mailbox {
    fn submit(&self, context: RequestContext, request: ControllerRequest, done: ResponseSlot) {
        self.0.lock().push((context, request, done));
    }
}

pub struct SimNode {
    pub now: Now,
    pub broker: Arc<Broker>,
    /// Why the process would have ended by itself.
    pub died: Option<String>,
    disk: Arc<dyn Disk>,
    dirs: LogDirs,
    failures: FailureWatch,
    assignments: Assignments,
    controller: Node,
    mailbox: Arc<Mailbox>,
    waiting: BTreeMap<u64, ResponseSlot>,
    next_token: u64,
    props: Props,
    seed: u64,
    /// How much of what can wait is done when there is time for it.
    whim: fastrand::Rng,
    open_files_max: usize,
}

/// What is left of a node whose process has ended: the machine it ran on.
pub struct Stopped {
    pub now: Now,
    disk: Arc<dyn Disk>,
    props: Props,
    seed: u64,
    open_files_max: usize,
}

impl Stopped {
    /// Starts on the disk as it is. An error means that the process ended at its start.
    pub fn start(&mut self) -> Result<SimNode, String> {
        // After a crash the old session has to run out before the controller takes the successor.
        self.now = self.now.plus(Duration::from_secs(10));
        self.seed = self.seed.wrapping_add(1);
        SimNode::boot(self.disk.clone(), self.props.clone(), self.open_files_max, self.seed, self.now)
    }
}

impl SimNode {
    /// A node on an empty disk, registered and serving.
    pub fn start(options: Options) -> SimNode {
        let mut props: Props = [
            ("node.id", "1"),
            ("process.roles", "broker,controller"),
            ("listeners", "PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093"),
            ("advertised.listeners", "PLAINTEXT://localhost:9092"),
            ("controller.listener.names", "CONTROLLER"),
            ("controller.quorum.voters", "1@localhost:9093"),
            ("log.dirs", DATA),
            ("offsets.topic.replication.factor", "1"),
            ("offsets.topic.num.partitions", "3"),
            ("group.initial.rebalance.delay.ms", "0"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
        props.extend(options.props.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        let config = BrokerConfig::from_props(&props).expect("the properties are valid");
        for (i, dir) in config.log_directories().iter().enumerate() {
            format(&*options.disk, Path::new(dir), i).expect("the directories can be formatted");
        }
        Self::boot(options.disk, props, options.open_files_max, options.seed, options.now).expect("the node starts")
    }

    /// In the order of `server::node::Node::start`.
    fn boot(raw: Arc<dyn Disk>, props: Props, open_files_max: usize, seed: u64, now: Now) -> Result<SimNode, String> {
        let config = BrokerConfig::from_props(&props).expect("the properties are valid");
        let paths: Vec<PathBuf> = config.log_directories().iter().map(PathBuf::from).collect();
        let metadata_dir = paths[0].clone();
        let failures = Arc::new(DirFailures::new(paths.clone(), &[meta_properties::FILE]));
        let disk: Arc<dyn Disk> = Arc::new(WatchedDisk::new(raw.clone(), failures.clone(), open_files_max));
        let locks = paths.iter().map(|_| Some(DirLock::of_own_disk())).collect();
        let opened = LogDirs::open(disk.clone(), failures.clone(), &paths, locks, NODE_ID);
        let (mut dirs, _) = opened.map_err(|e| e.to_string())?;
        let failures = FailureWatch { failures, metadata_dir: metadata_dir.clone() };

        let endpoint = Endpoint { listener: "CONTROLLER".into(), host: "localhost".into(), port: 9093 };
        let voter = Voter { key: ReplicaKey::new(NODE_ID, Uuid::ZERO), endpoints: vec![endpoint.clone()], kraft_versions: (0, 1) };
        let raft_config = raft::Config {
            node_id: NODE_ID,
            directory_id: directory_id(0),
            static_voters: VoterSet::new([voter]),
            endpoints: vec![endpoint],
            retention_bytes: -1,
            retention_ms: -1,
        };
        let log_config = LogConfig { retention_ms: -1, file_delete_delay_ms: 0, segment_bytes: 1 << 20, ..LogConfig::default() };
        let log = MetadataLog::open(disk.clone(), &metadata_dir, log_config, now).map_err(|e| e.to_string())?;
        let raft = raft::Node::open(raft_config, Box::new(log), now).map_err(|e| e.to_string())?;
        let incarnation = Uuid::random(&mut fastrand::Rng::with_seed(seed));
        let settings = Settings::new(CLUSTER_ID.into(), Layers::new(props.clone()), config.clone(), Vec::new(), incarnation);
        let mut controller = Node::open(settings, raft, bootstrap(), seed, now).map_err(|e| e.to_string())?;
        controller.turn(now, Event::Start).map_err(|e| e.to_string())?;
        let image = controller.image().clone();

        let previous_broker_epoch = dirs.take_markers();
        let replicas = Arc::new(PartitionSet::new(disk, NODE_ID, dirs.for_replicas(&config), Arc::new(config.clone())));
        let offline = |failures: &FailureWatch| failures.handle(Waker::noop(), |dir| replicas.directory_failed(dir));
        offline(&failures).map_err(|e| e.to_string())?;
        let found = dirs.scan(&image, NODE_ID);
        for path in found.to_delete {
            replicas.adopt_deleted_dir(path, now);
        }
        for task in found.open {
            let (name, topic_id) = (task.topic_partition.clone(), task.topic_id);
            if replicas.open(task, &image, now).is_err() {
                replicas.insert_offline(name, topic_id);
            }
        }
        offline(&failures).map_err(|e| e.to_string())?;
        let mailbox = Arc::new(Mailbox::default());
        let broker = Broker::new(BrokerParts {
            id: NODE_ID,
            cluster_id: CLUSTER_ID.into(),
            config: Arc::new(config),
            static_props: props.clone(),
            replicas,
            controller: mailbox.clone(),
            image: Arc::new(Image::default()),
            metrics: Arc::new(Metrics::default()),
            seed,
        });
        let mut node = SimNode {
            now,
            broker: Arc::new(broker),
            died: None,
            disk: raw,
            dirs,
            failures,
            assignments: Assignments::default(),
            controller,
            mailbox,
            waiting: BTreeMap::new(),
            next_token: 0,
            props,
            seed,
            whim: fastrand::Rng::with_seed(seed),
            open_files_max,
        };
        let first = controller::MetadataUpdate {
            old: Arc::new(Image::default()),
            delta: metadata::Delta::between(&Image::default(), &image),
            image,
        };
        node.broker.apply(&first, now);
        node.register(incarnation, previous_broker_epoch)?;
        Ok(node)
    }

    fn register(&mut self, incarnation_id: Uuid, previous_broker_epoch: i64) -> Result<(), String> {
        let range = |f: &metadata::Feature| Feature {
            name: f.name.to_owned(),
            min_supported_version: f.min,
            max_supported_version: f.max,
            ..Default::default()
        };
        let registration = BrokerRegistrationRequest {
            broker_id: NODE_ID,
            cluster_id: CLUSTER_ID.into(),
            incarnation_id,
            listeners: vec![Listener { name: "PLAINTEXT".into(), host: "localhost".into(), port: 9092, ..Default::default() }],
            features: metadata::features::FEATURES.iter().map(range).collect(),
            log_dirs: self.dirs.online_ids(&self.broker.config()),
            previous_broker_epoch,
            ..Default::default()
        };
        let answer: BrokerRegistrationResponse = self.ask(registration)?;
        assert_eq!(answer.error_code, 0, "the controller takes the registration");
        self.broker.set_broker_epoch(answer.broker_epoch);
        for _ in 0..10 {
            if !self.heartbeat(false)?.is_fenced {
                return Ok(());
            }
        }
        panic!("the controller never let the broker lead");
    }

    /// Tells the controller that this broker is alive, and how far it has applied the metadata.
    pub fn heartbeat(&mut self, want_shut_down: bool) -> Result<BrokerHeartbeatResponse, String> {
        let offline_log_dirs = self.broker.replicas().offline_dirs().into_iter().map(|dir| dir.id).collect();
        self.ask(BrokerHeartbeatRequest {
            broker_id: NODE_ID,
            broker_epoch: self.broker.broker_epoch(),
            current_metadata_offset: self.broker.image().provenance.offset,
            want_shut_down,
            offline_log_dirs,
            ..Default::default()
        })
    }

    /// An error means that the process has ended before the answer.
    fn ask<R>(&mut self, request: impl Into<ControllerRequest>) -> Result<R, String>
    where
        R: TryFrom<ControllerResponse, Error = controller::ControllerError>,
    {
        let slot = Slot::new();
        self.mailbox.submit(RequestContext::default(), request.into(), slot.clone());
        self.settle();
        match (slot.take(), &self.died) {
            (_, Some(why)) => Err(why.clone()),
            (answer, None) => Ok(R::try_from(answer.expect("the controller answers")).expect("the controller does what is asked")),
        }
    }

    /// Lets the controller, the metadata listeners and the loading of coordinators do what there is to do.
    pub fn settle(&mut self) {
        while self.died.is_none() {
            let posted = std::mem::take(&mut *self.mailbox.0.lock());
            let idle = posted.is_empty();
            for (context, request, slot) in posted {
                let token = self.next_token;
                self.next_token += 1;
                self.waiting.insert(token, slot);
                self.turn(Event::Request { token, context, request });
            }
            if self.controller.must_commit() {
                self.turn(Event::Commit);
            }
            let loaded = self.broker.load_coordinators(self.now);
            let flushed = self.run_due_flushes();
            self.look_after_directories();
            if idle && !loaded && !flushed {
                return;
            }
        }
    }

    /// Syncs what flush.messages asks for, as the flusher threads do, and lets the groups see it. What is only done ahead of those who need it
    /// (logs to be created, new partitions to be made durable) may come late.
    fn run_due_flushes(&mut self) -> bool {
        let now = self.now;
        let replicas = self.broker.replicas();
        let any = !replicas.flushes().is_empty();
        while !replicas.flushes().is_empty() || (replicas.flushes().jobs() > 0 && self.whim.u8(0..4) > 0) {
            replicas.run_next_flush(&|| now);
        }
        if any {
            self.broker.tick(now);
        }
        any
    }

    fn turn(&mut self, event: Event) {
        let effects = match self.controller.turn(self.now, event) {
            Ok(effects) => effects,
            Err(error) => {
                self.died.get_or_insert(error.to_string());
                return;
            }
        };
        for update in effects.updates {
            self.broker.apply(&update, self.now);
        }
        for (token, response) in effects.responses {
            if let Some(slot) = self.waiting.remove(&token) {
                slot.fill(response);
            }
        }
    }

    /// Takes the partitions of failed log directories away, as the thread that waits for failures does.
    fn look_after_directories(&mut self) {
        let (broker, now) = (&self.broker, self.now);
        if let Err(error) = self.failures.handle(Waker::noop(), |dir| broker.directory_failed(dir, now)) {
            self.died.get_or_insert(error.to_string());
        }
    }

    /// Moves the clock in steps, doing at each what housekeeping and the metadata thread would do.
    pub fn advance(&mut self, by: Duration) {
        let end = self.now.plus(by);
        while self.now.mono < end.mono && self.died.is_none() {
            let group_timer = self.broker.tick(self.now);
            let controller_timer = self.controller.next_deadline().unwrap_or(Instant::FAR_FUTURE);
            let heartbeat = self.now.mono + Duration::from_secs(2);
            let next = group_timer.min(controller_timer).min(heartbeat).min(end.mono).max(self.now.mono + Duration::from_millis(1));
            self.now = self.now.plus(next - self.now.mono);
            if controller_timer <= self.now.mono {
                self.turn(Event::Tick);
            }
            if heartbeat <= self.now.mono {
                if self.heartbeat(false).is_err() {
                    return;
                }
                self.assignments.step(&self.broker);
            }
            self.settle();
        }
        self.broker.tick(self.now);
        self.settle();
    }

    /// Retention and removal of deleted files, as housekeeping does them. What fails is tried again next time.
    pub fn clean_logs(&mut self) {
        for partition in self.broker.replicas().all() {
            partition.with_created_log(|log| {
                let _ = log.delete_old_segments(self.now);
                let _ = log.remove_deleted_files(self.now);
            });
        }
        self.broker.replicas().remove_deleted_dirs(self.now);
        self.settle();
    }

    /// Compacts what is due, as the cleaner threads do; where an earlier life had come to is not remembered.
    pub fn compact_logs(&mut self) {
        let mut cleaner = Cleaner::new(64 << 10, 0.9, 4096, [self.seed, 1]);
        for partition in self.broker.replicas().all() {
            let shared = SharedPartition(&partition);
            let job = partition.with_created_log(|log| if log.config().cleanup_compact { log.to_clean(None, self.now).ok() } else { None });
            // What fails is tried again next time.
            if let Some(job) = job.flatten() {
                let _ = cleaner.clean(&shared, &job, self.now, &AtOnce(self.now.mono));
            }
        }
        self.settle();
    }

    /// Flushes what housekeeping would flush: rolled segments, and what flush.ms asks for.
    pub fn flush_logs(&mut self) {
        self.assignments.step(&self.broker);
        self.broker.replicas().request_due_flushes(self.now);
        self.settle();
    }

    /// Writes the checkpoints of recovery points, log starts and high watermarks.
    pub fn write_checkpoints(&mut self) {
        let partitions = self.broker.replicas().all();
        let _ = self.dirs.write_checkpoint(checkpoint::RECOVERY_POINT, &offsets(&partitions, Log::recovery_point));
        let _ = self.dirs.write_checkpoint(checkpoint::LOG_START, &offsets(&partitions, Log::log_start_offset));
        let _ = self.dirs.write_checkpoint(checkpoint::HIGH_WATERMARK, &offsets(&partitions, Log::high_watermark));
        self.settle();
    }

    /// Stops cleanly and starts again on the same disk.
    pub fn restart(self) -> SimNode {
        self.stop().start().expect("the node starts")
    }

    /// Stops cleanly, as far as the disk lets it.
    pub fn stop(mut self) -> Stopped {
        for _ in 0..10 {
            if self.heartbeat(true).is_ok_and(|beat| beat.should_shut_down) {
                break;
            }
        }
        self.turn(Event::Resign);
        let partitions = self.broker.replicas().all();
        let ends = offsets(&partitions, Log::log_end_offset);
        let starts = offsets(&partitions, Log::log_start_offset);
        let marks = offsets(&partitions, Log::high_watermark);
        let mut closed = true;
        for partition in &partitions {
            closed &= partition.with_created_log(|log| log.close(self.now).is_ok()).unwrap_or(true);
        }
        if closed && self.controller.close(self.now).is_ok() {
            let files = [(checkpoint::RECOVERY_POINT, ends), (checkpoint::LOG_START, starts), (checkpoint::HIGH_WATERMARK, marks)];
            if files.into_iter().all(|(file, offsets)| self.dirs.write_checkpoint(file, &offsets).is_ok()) {
                let _ = self.dirs.write_markers(self.broker.broker_epoch());
            }
        }
        self.kill()
    }

    /// Dies without a word.
    pub fn kill(self) -> Stopped {
        let SimNode { now, disk, props, seed, open_files_max, .. } = self;
        Stopped { now, disk, props, seed, open_files_max }
    }

    /// Dies without a word and starts again; what the disk then still holds is the caller's to decide before `restart_after_crash`.
    pub fn restart_after_crash(self, lose: impl FnOnce(&Arc<dyn Disk>)) -> SimNode {
        lose(&self.disk);
        self.kill().start().expect("the node starts")
    }
}

struct SharedPartition<'a>(&'a Partition);

impl SharedLog for SharedPartition<'_> {
    fn with(&self, f: &mut dyn FnMut(&mut Log)) -> bool {
        self.0.with_log(|log| f(log)).is_some()
    }
}

/// A cleaner that nothing holds up.
struct AtOnce(Instant);

impl Pace for AtOnce {
    fn check(&self) -> Result<(), CleanError> {
        Ok(())
    }

    fn moved(&self, _bytes: u64) {}

    fn now(&self) -> Instant {
        self.0
    }
}

fn directory_id(index: usize) -> Uuid {
    Uuid::from_u128(0x1234_5678_9abc_4def_8000_0000_0000_0001 + index as u128)
}

/// What `kafka-storage format` leaves in a directory.
fn format(disk: &dyn Disk, dir: &Path, index: usize) -> std::io::Result<()> {
    disk.create_dir_all(dir)?;
    let meta = MetaProperties { cluster_id: CLUSTER_ID.into(), node_id: NODE_ID, directory_id: Some(directory_id(index)) };
    meta.write(disk, dir)?;
    disk.sync_dir(Path::new("/"))
}

/// What `kafka-storage format` would leave for an empty log: every feature at its newest level.
fn bootstrap() -> Vec<metadata::Record> {
    let in_log = metadata::features::FEATURES.iter().filter(|f| f.name != metadata::features::KRAFT_VERSION);
    in_log
        .map(|f| {
            metadata::Record::FeatureLevel(FeatureLevelRecord {
                name: f.name.to_owned(),
                feature_level: f.latest_production,
                ..Default::default()
            })
        })
        .collect()
}

/// A waker for callers that poll again by themselves.
pub(crate) fn no_waker() -> &'static Waker {
    Waker::noop()
}
