//! The metadata thread: one loop over `controller::Node` with the real log, disk and clock. Requests come through a bounded mailbox;
//! what is committed is shown to the listener, then answers are released.
//!
//! Several requests that are waiting at once share one fsync. Kafka: the event queues of `QuorumController`, `KafkaRaftClientDriver`
//! and `MetadataLoader`, which are three threads there.

use crate::metadata_log::MetadataLog;
use base::disk::Disk;
use base::{Instant, Now};
use controller::{
    ControllerClient, ControllerRequest, ControllerResponse, Effects, Event, MetadataListener, MetadataUpdate, Node, NodeError,
};
use controller::{RequestContext, ResponseSlot, Settings};
use metadata::Image;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use storage::LogConfig;
use wire::ErrorCode;

/// Requests that may wait; beyond that callers are told to try again.
const MAILBOX: usize = 1024;

pub struct MetadataOptions {
    pub disk: Arc<dyn Disk>,
    /// metadata.log.dir, which holds bootstrap.checkpoint and `__cluster_metadata-0`.
    pub directory: PathBuf,
    pub raft: raft::Config,
    pub settings: Settings,
    /// metadata.log.segment.bytes and .ms.
    pub segment_bytes: i32,
    pub segment_ms: i64,
    /// Seeds topic ids and placement.
    pub seed: u64,
    pub clock: fn() -> Now,
    /// Told how the quorum is.
    pub stats: Arc<QuorumStats>,
}

#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    #[error("cannot open the metadata log in {dir}: {error}")]
    Open { dir: String, error: io::Error },
    #[error(transparent)]
    Node(#[from] NodeError),
}

#[expect(clippy::large_enum_variant, reason = "every message but the last is a request")]
enum Message {
    Request { context: RequestContext, request: ControllerRequest, done: ResponseSlot },
    Stop,
}

/// The way to the metadata thread; clones share it.
#[derive(Clone)]
pub struct Mailbox(SyncSender<Message>);

impl ControllerClient for Mailbox {
    fn submit(&self, context: RequestContext, request: ControllerRequest, done: ResponseSlot) {
        let refused = match self.0.try_send(Message::Request { context, request, done }) {
            Ok(()) => return,
            Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) => message,
        };
        if let Message::Request { done, .. } = refused {
            // Clients try again with this one, at the latest when another node leads.
            done.fill(ControllerResponse::Failed(ErrorCode::NotController.into()));
        }
    }
}

/// What the metrics page tells of the quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumState {
    pub role: &'static str,
    /// -1 when it is not known.
    pub leader: i32,
    pub epoch: i32,
    /// -1 when it is not known.
    pub high_watermark: i64,
    pub log_end_offset: i64,
    pub log_end_epoch: i32,
    pub voters: usize,
}

/// Written by the metadata thread after each turn of its loop; empty before the first.
#[derive(Debug, Default)]
pub struct QuorumStats(Mutex<Option<QuorumState>>);

impl QuorumStats {
    pub fn get(&self) -> Option<QuorumState> {
        self.0.lock().clone()
    }

    fn set(&self, raft: &raft::Node) {
        let end = raft.log_end();
        *self.0.lock() = Some(QuorumState {
            role: raft.role().name(),
            leader: raft.leader_id().unwrap_or(-1),
            epoch: raft.epoch(),
            high_watermark: raft.high_watermark().unwrap_or(-1),
            log_end_offset: end.offset,
            log_end_epoch: end.epoch,
            voters: raft.voters().len(),
        });
    }
}

/// Loaded and active, but not yet answering: the broker is built on its image first.
pub struct Opened {
    node: Node,
    clock: fn() -> Now,
    stats: Arc<QuorumStats>,
    mailbox: Mailbox,
    receiver: Receiver<Message>,
    initial: MetadataUpdate,
}

/// Opens the metadata log, loads it and takes the lead. Requests can be submitted from now on; they are answered once it runs.
pub fn open(options: MetadataOptions) -> Result<Opened, MetadataError> {
    let MetadataOptions { disk, directory, raft, settings, segment_bytes, segment_ms, seed, clock, stats } = options;
    let open_error = |error| MetadataError::Open { dir: directory.display().to_string(), error };
    let config = LogConfig {
        segment_bytes,
        segment_ms,
        // Retention follows snapshots, not records.
        retention_ms: -1,
        retention_bytes: -1,
        max_message_bytes: raft::batch::MAX_BATCH_BYTES as i32,
        file_delete_delay_ms: 0,
        ..LogConfig::default()
    };
    let bootstrap = read_bootstrap(disk.as_ref(), &directory).map_err(open_error)?;
    let log = MetadataLog::open(disk, &directory, config, clock()).map_err(open_error)?;
    let raft = raft::Node::open(raft, Box::new(log), clock()).map_err(NodeError::from)?;
    let bootstrap = match bootstrap {
        Some(content) => controller::node::read_bootstrap(content)?,
        None => controller::decide::bootstrap::default_feature_records(),
    };
    let mut node = Node::open(settings, raft, bootstrap, seed, clock())?;
    let mut initial = MetadataUpdate { old: Arc::default(), image: Arc::default(), delta: Default::default() };
    for update in node.turn(clock(), Event::Start)?.updates {
        initial.image = update.image;
        initial.delta.extend(update.delta);
    }
    let (sender, receiver) = sync_channel(MAILBOX);
    Ok(Opened { node, clock, stats, mailbox: Mailbox(sender), receiver, initial })
}

fn read_bootstrap(disk: &dyn Disk, directory: &std::path::Path) -> io::Result<Option<raft::snapshot::SnapshotContent>> {
    match disk.read(&directory.join(raft::snapshot::BOOTSTRAP_FILE)) {
        Ok(bytes) => raft::snapshot::decode(&bytes.into()).map(Some).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Opened {
    pub fn mailbox(&self) -> Mailbox {
        self.mailbox.clone()
    }

    /// Everything committed so far, as one step from nothing. It is not reported to the listener again.
    pub fn initial_update(&self) -> &MetadataUpdate {
        &self.initial
    }

    pub fn image(&self) -> &Arc<Image> {
        &self.initial.image
    }

    /// Starts the thread. `on_fatal` is called there when the metadata log fails: the process must stop, as its state and the log may
    /// differ.
    pub fn run(self, listener: Box<dyn MetadataListener>, on_fatal: Box<dyn FnOnce(NodeError) + Send>) -> io::Result<MetadataThread> {
        let Opened { node, clock, stats, mailbox, receiver, .. } = self;
        let mut worker = Worker { node, clock, stats, receiver, listener, waiting: BTreeMap::new(), next_token: 0 };
        let thread = std::thread::Builder::new().name("gregor-metadata".to_owned()).spawn(move || {
            if let Err(error) = worker.run() {
                tracing::error!(%error, "the metadata thread failed");
                worker.fail_waiting();
                on_fatal(error);
            }
        })?;
        Ok(MetadataThread { mailbox, thread })
    }
}

pub struct MetadataThread {
    mailbox: Mailbox,
    thread: JoinHandle<()>,
}

impl MetadataThread {
    pub fn mailbox(&self) -> Mailbox {
        self.mailbox.clone()
    }

    /// Commits what is there, gives up leadership, closes the log and waits for the thread's end.
    pub fn stop(self) {
        // Fails only when the thread has ended on its own.
        let _ = self.mailbox.0.send(Message::Stop);
        let _ = self.thread.join();
    }
}

struct Worker {
    node: Node,
    clock: fn() -> Now,
    stats: Arc<QuorumStats>,
    receiver: Receiver<Message>,
    listener: Box<dyn MetadataListener>,
    waiting: BTreeMap<u64, ResponseSlot>,
    next_token: u64,
}

impl Worker {
    fn run(&mut self) -> Result<(), NodeError> {
        loop {
            self.stats.set(self.node.raft());
            let mut stop = match self.receiver.recv_timeout(self.until_deadline()) {
                Ok(message) => self.handle(message)?,
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => true,
            };
            // Whatever else waits shares the commit below.
            for _ in 0..MAILBOX {
                match self.receiver.try_recv() {
                    Ok(message) if !stop => stop = self.handle(message)?,
                    _ => break,
                }
            }
            if self.node.next_deadline().is_some_and(|deadline| deadline <= (self.clock)().mono) {
                self.turn(Event::Tick)?;
            }
            if self.node.must_commit() {
                self.turn(Event::Commit)?;
            }
            if stop {
                self.turn(Event::Resign)?;
                self.node.close((self.clock)())?;
                self.fail_waiting();
                return Ok(());
            }
        }
    }

    fn until_deadline(&self) -> Duration {
        let now: Instant = (self.clock)().mono;
        self.node.next_deadline().map_or(Duration::from_secs(3600), |deadline| deadline.saturating_since(now))
    }

    /// Returns whether to stop.
    fn handle(&mut self, message: Message) -> Result<bool, NodeError> {
        match message {
            Message::Stop => Ok(true),
            Message::Request { context, request, done } => {
                let token = self.next_token;
                self.next_token += 1;
                self.waiting.insert(token, done);
                self.turn(Event::Request { token, context, request })?;
                Ok(false)
            }
        }
    }

    fn turn(&mut self, event: Event) -> Result<(), NodeError> {
        let Effects { updates, responses } = self.node.turn((self.clock)(), event)?;
        for update in &updates {
            self.listener.on_update(update);
        }
        for (token, response) in responses {
            if let Some(done) = self.waiting.remove(&token) {
                done.fill(response);
            }
        }
        Ok(())
    }

    fn fail_waiting(&mut self) {
        for (_, done) in std::mem::take(&mut self.waiting) {
            done.fill(ControllerResponse::Failed(ErrorCode::NotController.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use base::{Slot, Uuid};
    use config::{Layers, Props};
    use std::path::Path;
    use std::task::{Context, Poll, Waker};
    use std::thread::Thread;
    use wire::messages::broker_registration_request::{Feature, Listener};
    use wire::messages::create_topics_request::CreatableTopic;
    use wire::messages::*;

    fn options(dir: &Path) -> MetadataOptions {
        let mut props = Props::new();
        for (key, value) in [
            ("process.roles", "broker,controller"),
            ("node.id", "1"),
            ("listeners", "PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093"),
            ("controller.listener.names", "CONTROLLER"),
            ("controller.quorum.voters", "1@localhost:9093"),
        ] {
            props.insert(key.to_owned(), value.to_owned());
        }
        let layers = Layers::new(props);
        let broker = layers.config().unwrap();
        let voter = raft::Voter { key: raft::ReplicaKey { id: 1, directory_id: None }, endpoints: Vec::new(), kraft_versions: (0, 1) };
        MetadataOptions {
            disk: Arc::new(base::disk::RealDisk),
            directory: dir.to_owned(),
            raft: raft::Config {
                node_id: 1,
                directory_id: Uuid::from_u128(1000),
                static_voters: raft::VoterSet::new([voter]),
                endpoints: Vec::new(),
                retention_bytes: 1 << 20,
                retention_ms: -1,
            },
            settings: Settings::new("cluster".to_owned(), layers, broker, Vec::new(), Uuid::from_u128(5)),
            segment_bytes: 1 << 20,
            segment_ms: 1 << 40,
            seed: 1,
            clock: clock::now,
            stats: Arc::default(),
        }
    }

    struct Unpark(Thread);

    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    /// Submits and waits, as a parked request does.
    fn ask(client: &dyn ControllerClient, request: impl Into<ControllerRequest>) -> ControllerResponse {
        let slot = Slot::new();
        client.submit(RequestContext { api_version: 7, ..Default::default() }, request.into(), slot.clone());
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        let poll = |cx: &mut Context| slot.poll(cx.waker()).map_or(Poll::Pending, Poll::Ready);
        loop {
            match poll(&mut context) {
                Poll::Ready(response) => return response,
                Poll::Pending => std::thread::park(),
            }
        }
    }

    struct Seen(Arc<parking_lot::Mutex<Vec<MetadataUpdate>>>);

    impl MetadataListener for Seen {
        fn on_update(&mut self, update: &MetadataUpdate) {
            self.0.lock().push(update.clone());
        }
    }

    fn register(client: &dyn ControllerClient, incarnation: u128) -> i64 {
        let feature = |f: &metadata::Feature| Feature {
            name: f.name.to_owned(),
            min_supported_version: f.min,
            max_supported_version: f.max,
            ..Default::default()
        };
        let request = BrokerRegistrationRequest {
            broker_id: 1,
            cluster_id: "cluster".into(),
            incarnation_id: Uuid::from_u128(incarnation),
            listeners: vec![Listener { name: "PLAINTEXT".into(), host: "localhost".into(), port: 9092, ..Default::default() }],
            features: metadata::features::FEATURES.iter().map(feature).collect(),
            log_dirs: vec![Uuid::from_u128(1000)],
            ..Default::default()
        };
        let response = BrokerRegistrationResponse::try_from(ask(client, request)).unwrap();
        let beat = BrokerHeartbeatRequest {
            broker_id: 1,
            broker_epoch: response.broker_epoch,
            current_metadata_offset: i64::MAX,
            ..Default::default()
        };
        assert!(!BrokerHeartbeatResponse::try_from(ask(client, beat)).unwrap().is_fenced);
        response.broker_epoch
    }

    fn run(opened: Opened) -> (MetadataThread, Arc<parking_lot::Mutex<Vec<MetadataUpdate>>>) {
        let seen = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let fatal = Box::new(|error| panic!("{error}"));
        (opened.run(Box::new(Seen(seen.clone())), fatal).unwrap(), seen)
    }

    #[test]
    fn answers_come_after_updates_and_survive_a_restart() {
        let dir = std::env::temp_dir().join(format!("gregor-metadata-thread-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let opened = open(options(&dir)).unwrap();
        assert_eq!(opened.image().features.finalized().len(), 6);
        let (thread, seen) = run(opened);
        let client = thread.mailbox();
        let epoch = register(&client, 1);
        let topic = CreatableTopic { name: "MyTopic".into(), num_partitions: 3, replication_factor: 1, ..Default::default() };
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        let created = CreateTopicsResponse::try_from(ask(&client, request)).unwrap();
        assert_eq!(created.topics[0].error_code, 0);
        let last = seen.lock().last().cloned().unwrap();
        assert!(last.delta.created_topics.contains(&created.topics[0].topic_id), "shown before it was answered");
        thread.stop();
        let late = ask(&client, DeleteTopicsRequest::default());
        assert_eq!(late, ControllerResponse::Failed(ErrorCode::NotController.into()));

        let opened = open(options(&dir)).unwrap();
        assert_eq!(opened.initial_update().delta.created_topics.len(), 1);
        assert_eq!(opened.image().topics.get("MyTopic").unwrap().partitions.len(), 3);
        let (thread, _) = run(opened);
        assert!(register(&thread.mailbox(), 2) > epoch);
        thread.stop();
        let _ = std::fs::remove_dir_all(&dir);
    }
}
