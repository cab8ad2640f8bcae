//! The node: controller and broker joined by a mailbox that is emptied between requests, as the metadata thread empties its own.

use base::disk::Disk;
use base::{Instant, Now, Slot, TopicPartition, Uuid};
use broker::{Broker, BrokerParts, Metrics};
use config::{BrokerConfig, Layers, Props};
use controller::node::{Event, Node};
use controller::settings::Settings;
use controller::{ControllerClient, ControllerRequest, ControllerResponse, RequestContext, ResponseSlot};
use metadata::Image;
use parking_lot::Mutex;
use raft::{Endpoint, MemoryLog, RaftLog, ReplicaKey, Voter, VoterSet};
use replica::{LogDir, OpenTask, PartitionSet};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;
use storage::LogOpen;
use wire::messages::broker_registration_request::{Feature, Listener};
use wire::messages::{
    BrokerHeartbeatRequest, BrokerHeartbeatResponse, BrokerRegistrationRequest, BrokerRegistrationResponse, FeatureLevelRecord,
};

pub const NODE_ID: i32 = 1;
const CLUSTER_ID: &str = "c2ltdWxhdGlvbi1jbHVzdA";
const DATA: &str = "/data";
const DIRECTORY: Uuid = Uuid::from_u128(0x1234_5678_9abc_4def_8000_0000_0000_0001);

/// Everything that a run depends on.
pub struct Options {
    pub disk: Arc<dyn Disk>,
    /// server.properties beyond what a lone node needs.
    pub props: Vec<(&'static str, &'static str)>,
    pub seed: u64,
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
    disk: Arc<dyn Disk>,
    controller: Node,
    mailbox: Arc<Mailbox>,
    waiting: BTreeMap<u64, ResponseSlot>,
    next_token: u64,
    props: Props,
    seed: u64,
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
        options.disk.create_dir_all(Path::new(DATA)).expect("the data directory can be made");
        options.disk.sync_dir(Path::new("/")).expect("the root can be synced");
        Self::boot(options.disk, Box::<MemoryLog>::default(), props, options.seed, options.now, None)
    }

    fn boot(disk: Arc<dyn Disk>, log: Box<dyn RaftLog>, props: Props, seed: u64, now: Now, clean: Option<Checkpoints>) -> SimNode {
        let config = BrokerConfig::from_props(&props).expect("the properties are valid");
        let endpoint = Endpoint { listener: "CONTROLLER".into(), host: "localhost".into(), port: 9093 };
        let voter = Voter { key: ReplicaKey::new(NODE_ID, Uuid::ZERO), endpoints: vec![endpoint.clone()], kraft_versions: (0, 1) };
        let raft_config = raft::Config {
            node_id: NODE_ID,
            directory_id: DIRECTORY,
            static_voters: VoterSet::new([voter]),
            endpoints: vec![endpoint],
            retention_bytes: -1,
            retention_ms: -1,
        };
        let raft = raft::Node::open(raft_config, log, now).expect("the metadata log opens");
        let incarnation = Uuid::random(&mut fastrand::Rng::with_seed(seed));
        let settings = Settings::new(CLUSTER_ID.into(), Layers::new(props.clone()), config.clone(), Vec::new(), incarnation);
        let mut controller = Node::open(settings, raft, bootstrap(), seed, now).expect("the controller opens");
        let effects = controller.turn(now, Event::Start).expect("the controller starts");
        drop(effects);
        let image = controller.image().clone();

        let dirs = vec![LogDir { path: PathBuf::from(DATA), id: DIRECTORY }];
        let config = Arc::new(config);
        let replicas = Arc::new(PartitionSet::new(disk.clone(), NODE_ID, dirs, config.clone()));
        open_logs(&replicas, &image, clean.as_ref(), now);
        let mailbox = Arc::new(Mailbox::default());
        let broker = Broker::new(BrokerParts {
            id: NODE_ID,
            cluster_id: CLUSTER_ID.into(),
            config,
            static_props: props.clone(),
            replicas,
            controller: mailbox.clone(),
            image: Arc::new(Image::default()),
            metrics: Arc::new(Metrics::default()),
            seed,
        });
        let mut node =
            SimNode { now, broker: Arc::new(broker), disk, controller, mailbox, waiting: BTreeMap::new(), next_token: 0, props, seed };
        let first = controller::MetadataUpdate {
            old: Arc::new(Image::default()),
            delta: metadata::Delta::between(&Image::default(), &image),
            image,
        };
        node.broker.apply(&first, now);
        node.register(incarnation, clean.map_or(-1, |c| c.broker_epoch));
        node
    }

    fn register(&mut self, incarnation_id: Uuid, previous_broker_epoch: i64) {
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
            log_dirs: vec![DIRECTORY],
            previous_broker_epoch,
            ..Default::default()
        };
        let answer: BrokerRegistrationResponse = self.ask(registration);
        assert_eq!(answer.error_code, 0, "the controller takes the registration");
        self.broker.set_broker_epoch(answer.broker_epoch);
        for _ in 0..10 {
            let beat = self.heartbeat(false);
            if !beat.is_fenced {
                return;
            }
        }
        panic!("the controller never let the broker lead");
    }

    /// Tells the controller that this broker is alive, and how far it has applied the metadata.
    pub fn heartbeat(&mut self, want_shut_down: bool) -> BrokerHeartbeatResponse {
        self.ask(BrokerHeartbeatRequest {
            broker_id: NODE_ID,
            broker_epoch: self.broker.broker_epoch(),
            current_metadata_offset: self.broker.image().provenance.offset,
            want_shut_down,
            ..Default::default()
        })
    }

    fn ask<R>(&mut self, request: impl Into<ControllerRequest>) -> R
    where
        R: TryFrom<ControllerResponse, Error = controller::ControllerError>,
    {
        let slot = Slot::new();
        self.mailbox.submit(RequestContext::default(), request.into(), slot.clone());
        self.settle();
        let answer = slot.take().expect("the controller answers");
        R::try_from(answer).expect("the controller does what is asked")
    }

    /// Lets the controller, the metadata listeners and the loading of coordinators do what there is to do.
    pub fn settle(&mut self) {
        loop {
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
            if idle && !loaded && !flushed {
                return;
            }
        }
    }

    /// Syncs what flush.messages asks for, as the flusher threads do, and lets the groups see it.
    fn run_due_flushes(&mut self) -> bool {
        let now = self.now;
        let mut any = false;
        while self.broker.replicas().run_next_flush(&|| now).is_some() {
            any = true;
        }
        if any {
            self.broker.tick(now);
        }
        any
    }

    fn turn(&mut self, event: Event) {
        let effects = self.controller.turn(self.now, event).expect("the controller goes on");
        for update in effects.updates {
            self.broker.apply(&update, self.now);
        }
        for (token, response) in effects.responses {
            if let Some(slot) = self.waiting.remove(&token) {
                slot.fill(response);
            }
        }
    }

    /// Moves the clock in steps, doing at each what housekeeping and the metadata thread would do.
    pub fn advance(&mut self, by: Duration) {
        let end = self.now.plus(by);
        while self.now.mono < end.mono {
            let group_timer = self.broker.tick(self.now);
            let controller_timer = self.controller.next_deadline().unwrap_or(Instant::FAR_FUTURE);
            let heartbeat = self.now.mono + Duration::from_secs(2);
            let next = group_timer.min(controller_timer).min(heartbeat).min(end.mono).max(self.now.mono + Duration::from_millis(1));
            self.now = self.now.plus(next - self.now.mono);
            if controller_timer <= self.now.mono {
                self.turn(Event::Tick);
            }
            if heartbeat <= self.now.mono {
                self.heartbeat(false);
            }
            self.settle();
        }
        self.broker.tick(self.now);
        self.settle();
    }

    /// Retention and removal of deleted files, as housekeeping does them.
    pub fn clean_logs(&mut self) {
        for partition in self.broker.replicas().all() {
            partition.with_log(|log| {
                log.delete_old_segments(self.now).expect("retention works");
                log.remove_deleted_files(self.now).expect("deleted files go");
            });
        }
        self.broker.replicas().remove_deleted_dirs(self.now);
    }

    /// Stops cleanly and starts again on the same disk.
    pub fn restart(mut self) -> SimNode {
        for _ in 0..10 {
            if self.heartbeat(true).should_shut_down {
                break;
            }
        }
        let checkpoints = self.checkpoints();
        self.broker.replicas().close(self.now).expect("logs close");
        self.turn(Event::Resign);
        self.again(Some(checkpoints))
    }

    /// Dies without a word and starts again; what the disk then still holds is the caller's to decide before `restart_after_crash`.
    pub fn restart_after_crash(self, lose: impl FnOnce(&Arc<dyn Disk>)) -> SimNode {
        lose(&self.disk);
        self.again(None)
    }

    fn again(self, clean: Option<Checkpoints>) -> SimNode {
        let SimNode { now, disk, controller, props, seed, .. } = self;
        let log = controller.into_raft().into_log();
        // After a crash the old session has to run out before the controller takes the successor.
        let now = now.plus(Duration::from_secs(10));
        Self::boot(disk, log, props, seed.wrapping_add(1), now, clean)
    }

    fn checkpoints(&self) -> Checkpoints {
        let mut out = Checkpoints { broker_epoch: self.broker.broker_epoch(), logs: BTreeMap::new() };
        for partition in self.broker.replicas().all() {
            let found = partition.with_log(|log| (log.log_end_offset(), log.log_start_offset(), log.high_watermark()));
            if let Some(found) = found {
                out.logs.insert(partition.topic_partition.clone(), found);
            }
        }
        out
    }
}

/// What a clean stop leaves in the checkpoint files: recovery point, log start, high watermark.
struct Checkpoints {
    broker_epoch: i64,
    logs: BTreeMap<TopicPartition, (i64, i64, i64)>,
}

fn open_logs(replicas: &PartitionSet, image: &Image, clean: Option<&Checkpoints>, now: Now) {
    for topic in image.topics.iter() {
        for index in topic.partitions.keys() {
            let topic_partition = TopicPartition::new(&*topic.name, *index);
            let checkpoint = clean.and_then(|c| c.logs.get(&topic_partition)).copied().unwrap_or_default();
            let task = OpenTask {
                dir: Path::new(DATA).join(topic_partition.to_string()),
                topic_partition,
                topic_id: topic.id,
                open: LogOpen {
                    recovery_point: checkpoint.0,
                    log_start_offset: checkpoint.1,
                    high_watermark: checkpoint.2,
                    clean_shutdown: clean.is_some(),
                    ..LogOpen::default()
                },
            };
            replicas.open(task, image, now).expect("the log opens");
        }
    }
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
