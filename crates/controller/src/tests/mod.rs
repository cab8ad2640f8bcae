//! A controller on a log in memory with a virtual clock.

mod activation;
mod brokers;
mod configs;
mod simulation;
mod topics;

use crate::seam::{ControllerRequest, ControllerResponse, RequestContext};
use crate::settings::Settings;
use crate::{Effects, Event, Node};
use base::{Now, Uuid};
use config::{BrokerConfig, Layers, Props};
use metadata::{Image, Listener, Record, snapshot};
use raft::{MemoryLog, RaftLog, ReplicaKey, Voter, VoterSet};
use std::sync::Arc;
use std::time::Duration;
use wire::messages::broker_registration_request::{Feature, Listener as BrokerListener};
use wire::messages::*;

pub const CLUSTER: &str = "MkU3OEVBNTcwNTJENDM2Qk";

pub fn settings(extra: &[(&str, &str)]) -> Settings {
    let mut props = Props::new();
    let fixed = [
        ("process.roles", "broker,controller"),
        ("node.id", "1"),
        ("listeners", "PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093"),
        ("controller.listener.names", "CONTROLLER"),
        ("controller.quorum.voters", "1@localhost:9093"),
    ];
    for (key, value) in fixed.iter().chain(extra) {
        props.insert((*key).to_owned(), (*value).to_owned());
    }
    let listener = Listener { name: "CONTROLLER".into(), host: "localhost".into(), port: 9093, security_protocol: 0 };
    let layers = Layers::new(props);
    let broker = layers.config().unwrap();
    let _: &BrokerConfig = &broker;
    Settings::new(CLUSTER.to_owned(), layers, broker, vec![listener], Uuid::from_u128(900))
}

fn raft_config() -> raft::Config {
    let voter = Voter { key: ReplicaKey { id: 1, directory_id: None }, endpoints: Vec::new(), kraft_versions: (0, 1) };
    raft::Config {
        node_id: 1,
        directory_id: directory(1),
        static_voters: VoterSet::new([voter]),
        endpoints: Vec::new(),
        retention_bytes: 1 << 20,
        retention_ms: -1,
    }
}

pub fn directory(broker: i32) -> Uuid {
    Uuid::from_u128(10_000 + broker as u128)
}

pub struct Sim {
    pub now: Now,
    pub node: Node,
    pub settings: Settings,
    pub updates: usize,
    token: u64,
    starts: u64,
}

impl Sim {
    pub fn new() -> Sim {
        Sim::with(settings(&[]))
    }

    pub fn with(settings: Settings) -> Sim {
        let now = Now { mono: base::Instant::from_nanos(60_000_000_000), wall_ms: 1_700_000_000_000 };
        let node = open(&settings, Box::new(MemoryLog::default()), 1, now);
        let mut sim = Sim { now, node, settings, updates: 0, token: 0, starts: 1 };
        sim.turn(Event::Start);
        sim
    }

    pub fn turn(&mut self, event: Event) -> Effects {
        let before = self.node.image().clone();
        let effects = self.node.turn(self.now, event).unwrap();
        let mut image = before;
        for update in &effects.updates {
            assert!(Arc::ptr_eq(&update.old, &image) || update.old.provenance == image.provenance, "updates follow one another");
            assert_eq!(update.delta, metadata::Delta::between(&update.old, &update.image).union_of_unchanged(&update.delta));
            image = update.image.clone();
        }
        self.updates += effects.updates.len();
        effects
    }

    /// Sends a request and commits; the answer must be there by then.
    pub fn ask(&mut self, request: impl Into<ControllerRequest>) -> ControllerResponse {
        self.ask_version(request, 7)
    }

    pub fn ask_version(&mut self, request: impl Into<ControllerRequest>, api_version: i16) -> ControllerResponse {
        let context = RequestContext { api_version, ..Default::default() };
        self.token += 1;
        let token = self.token;
        let mut responses = self.turn(Event::Request { token, context, request: request.into() }).responses;
        responses.extend(self.turn(Event::Commit).responses);
        let mut mine = responses.into_iter().filter(|(t, _)| *t == token);
        let (_, response) = mine.next().expect("answered");
        assert!(mine.next().is_none(), "answered once");
        response
    }

    pub fn get<R: TryFrom<ControllerResponse, Error = crate::ControllerError>>(&mut self, request: impl Into<ControllerRequest>) -> R {
        R::try_from(self.ask(request)).unwrap()
    }

    pub fn image(&self) -> Arc<Image> {
        self.node.image().clone()
    }

    /// Lets time pass, running every timer when it is due.
    pub fn advance(&mut self, time: Duration) {
        let end = self.now.plus(time);
        while let Some(deadline) = self.node.next_deadline().filter(|at| *at <= end.mono) {
            self.now = self.now.plus(deadline.saturating_since(self.now.mono));
            self.turn(Event::Tick);
            if self.node.must_commit() {
                self.turn(Event::Commit);
            }
            assert!(self.node.next_deadline().is_none_or(|at| at > self.now.mono), "a timer that fired is set anew");
        }
        self.now = end;
    }

    /// Starts again on the same log, after a clean stop or as if killed.
    pub fn restart(&mut self, clean: bool) {
        if clean {
            self.turn(Event::Resign);
        }
        self.starts += 1;
        let fresh = open(&self.settings, Box::new(MemoryLog::default()), 0, self.now);
        let node = std::mem::replace(&mut self.node, fresh);
        let log = node.into_raft().into_log();
        self.settings.incarnation_id = Uuid::from_u128(900 + u128::from(self.starts));
        self.node = open(&self.settings, log, self.starts, self.now);
        self.turn(Event::Start);
    }

    pub fn registration(&self, id: i32, incarnation: u128, previous_epoch: i64) -> BrokerRegistrationRequest {
        let feature = |f: &metadata::Feature| Feature {
            name: f.name.to_owned(),
            min_supported_version: f.min,
            max_supported_version: f.max,
            ..Default::default()
        };
        BrokerRegistrationRequest {
            broker_id: id,
            cluster_id: CLUSTER.to_owned(),
            incarnation_id: Uuid::from_u128(incarnation),
            listeners: vec![BrokerListener { name: "PLAINTEXT".into(), host: "localhost".into(), port: 9092, ..Default::default() }],
            features: metadata::features::FEATURES.iter().map(feature).collect(),
            log_dirs: vec![directory(id)],
            previous_broker_epoch: previous_epoch,
            ..Default::default()
        }
    }

    /// Registers and unfences a broker; returns its epoch.
    pub fn join(&mut self, id: i32, incarnation: u128, previous_epoch: i64) -> i64 {
        let request = self.registration(id, incarnation, previous_epoch);
        let epoch = self.get::<BrokerRegistrationResponse>(request).broker_epoch;
        let answer = self.heartbeat(id, epoch, false, false);
        assert!(answer.is_caught_up && !answer.is_fenced);
        epoch
    }

    pub fn heartbeat(&mut self, id: i32, epoch: i64, want_fence: bool, want_shut_down: bool) -> BrokerHeartbeatResponse {
        self.get(BrokerHeartbeatRequest {
            broker_id: id,
            broker_epoch: epoch,
            current_metadata_offset: self.node.raft().log_end().offset,
            want_fence,
            want_shut_down,
            cordoned_log_dirs: Some(Vec::new()),
            ..Default::default()
        })
    }

    /// Controlled shutdown of a broker until it may stop.
    pub fn leave(&mut self, id: i32, epoch: i64) {
        for _ in 0..5 {
            if self.heartbeat(id, epoch, false, true).should_shut_down {
                return;
            }
            // The others must have seen that leadership moved.
            let others: Vec<_> = self.image().cluster.brokers.values().filter(|b| b.id != id && b.is_active()).cloned().collect();
            for other in others {
                self.heartbeat(other.id, other.epoch, false, false);
            }
        }
        panic!("broker {id} may not shut down");
    }

    /// All data records of the log with their offsets.
    pub fn log(&self) -> Vec<(i64, Record)> {
        let mut out = Vec::new();
        for batch in self.node.raft().read_committed(0).unwrap() {
            if let raft::Content::Data(values) = batch.content {
                out.extend((batch.base_offset..).zip(values.into_iter().map(|v| Record::decode(v).unwrap().0)));
            }
        }
        out
    }

    /// The image says what the log says, and what a snapshot of it would say.
    pub fn check(&self) {
        let image = self.node.image();
        if let Some(head) = self.node.head() {
            assert!(head.same_content(image), "head and committed image agree when all is committed");
        }
        let again = snapshot::from_records(&snapshot::to_records(image)).unwrap();
        assert!(again.same_content(image));
        if self.node.raft().log_start_offset() == 0 {
            let mut loader = metadata::Loader::default();
            for (offset, record) in self.log() {
                loader.apply(offset, 1, 0, [&record], &mut Default::default()).unwrap();
            }
            assert!(loader.image().same_content(image));
        }
    }
}

fn open(settings: &Settings, log: Box<dyn RaftLog>, seed: u64, now: Now) -> Node {
    let raft = raft::Node::open(raft_config(), log, now).unwrap();
    Node::open(settings.clone(), raft, crate::decide::bootstrap::default_feature_records(), seed, now).unwrap()
}

trait UnionOfUnchanged {
    fn union_of_unchanged(self, other: &metadata::Delta) -> metadata::Delta;
}

impl UnionOfUnchanged for metadata::Delta {
    /// A delta of records may also name what was set to what it was; comparing images does not see that.
    fn union_of_unchanged(mut self, other: &metadata::Delta) -> metadata::Delta {
        self.configs.extend(other.configs.iter().cloned());
        self.brokers.extend(&other.brokers);
        self.controllers.extend(&other.controllers);
        self.features.extend(other.features.iter().cloned());
        self
    }
}
