//! Owns: randomized lives of a node on a disk that loses, tears and fails, with producers of every kind, groups, deletions and cleaning; and
//! the history by which `history.rs` judges them. Used by: tests. Never does: anything that its seed does not decide.
//!
//! In a durable life everything is flushed before it is acknowledged, and the power may go at any operation of the disk. In the others
//! the process is killed, and the power takes what it may take.

mod history;
#[cfg(test)]
mod history_tests;
mod producer;
mod requests;

use crate::node::Stopped;
use crate::{Client, FEW_FILES, Options, SimNode};
use base::disk::{Faults, MemDisk};
use base::{Now, Uuid};
use history::{Commit, End, History, Partition, Reading};
use producer::Producer;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What a life was made of.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    pub steps: u64,
    pub operations: u64,
    pub kills: u64,
    pub power_cuts: u64,
    pub clean_stops: u64,
    pub full_phases: u64,
    pub error_phases: u64,
    pub batches: u64,
    pub acknowledged: u64,
    pub transactions: u64,
    pub committed: u64,
    pub findings: Vec<String>,
    /// What happened, to understand a finding.
    pub trace: Vec<String>,
}

impl Summary {
    /// Adds the numbers of another life.
    pub fn add(&mut self, other: &Summary) {
        self.steps += other.steps;
        self.operations += other.operations;
        self.kills += other.kills;
        self.power_cuts += other.power_cuts;
        self.clean_stops += other.clean_stops;
        self.full_phases += other.full_phases;
        self.error_phases += other.error_phases;
        self.batches += other.batches;
        self.acknowledged += other.acknowledged;
        self.transactions += other.transactions;
        self.committed += other.committed;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Everything is flushed before it is acknowledged; any end.
    Durable,
    /// Nothing is, but for topics with flush.messages=1; no transactions.
    Lossy,
    /// Nothing is flushed; the process is killed, the power stays.
    Killed,
}

#[derive(Clone, Copy)]
struct Place {
    topic: usize,
    index: i32,
    /// Where its history is kept; another one once the topic was made anew.
    history: usize,
}

struct Topic {
    name: String,
    id: Uuid,
    configs: Vec<(&'static str, &'static str)>,
    partitions: i32,
    keyed: bool,
    /// Whether it is known to be there.
    known: bool,
}

struct Life {
    rng: fastrand::Rng,
    kind: Kind,
    disk: MemDisk,
    dirs: Vec<PathBuf>,
    node: Option<SimNode>,
    stopped: Option<Stopped>,
    client: Client,
    topics: Vec<Topic>,
    places: Vec<Place>,
    producers: Vec<Producer>,
    history: History,
    summary: Summary,
    /// How the last process ended, until the partitions have been read again.
    unread: BTreeMap<usize, End>,
    /// Something is wrong with a directory.
    faulty: bool,
}

const SEGMENT: (&str, &str) = ("internal.segment.bytes", "700");

/// Lives one life.
pub fn live(seed: u64) -> Summary {
    let mut life = Life::begin(seed);
    let steps = life.rng.u64(60..160);
    for _ in 0..steps {
        life.summary.steps += 1;
        life.step();
        if !life.history.findings.is_empty() {
            break;
        }
    }
    if life.history.findings.is_empty() {
        life.end();
    }
    life.summary.operations = life.disk.operations();
    life.summary.findings = std::mem::take(&mut life.history.findings);
    life.summary
}

impl Life {
    fn begin(seed: u64) -> Life {
        let mut rng = fastrand::Rng::with_seed(seed);
        let kind = [Kind::Durable, Kind::Durable, Kind::Lossy, Kind::Killed][rng.usize(0..4)];
        let disk = MemDisk::new();
        disk.set_seed(seed);
        let dirs: Vec<PathBuf> = ["/one", "/two", "/three"].iter().take(rng.usize(1..4)).map(PathBuf::from).collect();
        let names: &'static str = ["/one", "/one,/two", "/one,/two,/three"][dirs.len() - 1];
        let mut props = vec![
            ("log.dirs", names),
            ("transaction.state.log.replication.factor", "1"),
            ("transaction.state.log.min.isr", "1"),
            ("transaction.state.log.num.partitions", "2"),
            ("offsets.topic.num.partitions", "2"),
            ("log.segment.delete.delay.ms", "2000"),
        ];
        if kind == Kind::Durable {
            props.push(("log.flush.interval.messages", "1"));
        }
        let now = Now { mono: base::Instant::from_nanos(1_000_000_000), wall_ms: 1_700_000_000_000 };
        disk.set_time(now.wall_ms);
        let node = SimNode::start(Options { disk: Arc::new(disk.clone()), props, seed, open_files_max: FEW_FILES, now });
        let mut life = Life {
            rng,
            kind,
            disk,
            dirs,
            node: Some(node),
            stopped: None,
            client: Client::new("life"),
            topics: Vec::new(),
            places: Vec::new(),
            producers: Vec::new(),
            history: History::default(),
            summary: Summary::default(),
            unread: BTreeMap::new(),
            faulty: false,
        };
        life.disk.set_time(now.wall_ms);
        life.create_topics();
        life.producers.push(Producer::idempotent());
        life.producers.push(Producer::idempotent());
        if kind != Kind::Lossy {
            life.producers.push(Producer::transactional("first", true));
            life.producers.push(Producer::transactional("second", false));
        }
        life
    }

    fn create_topics(&mut self) {
        let all: [(&str, bool, &[(&str, &str)]); 6] = [
            ("plain", false, &[SEGMENT]),
            ("safe", false, &[("flush.messages", "1"), SEGMENT]),
            (
                "compacted",
                true,
                &[("cleanup.policy", "compact"), SEGMENT, ("min.cleanable.dirty.ratio", "0.01"), ("delete.retention.ms", "5000")],
            ),
            (
                "both",
                true,
                &[("cleanup.policy", "compact,delete"), SEGMENT, ("min.cleanable.dirty.ratio", "0.01"), ("flush.messages", "1")],
            ),
            ("stamped", false, &[("message.timestamp.type", "LogAppendTime"), SEGMENT]),
            ("again", false, &[SEGMENT]),
        ];
        for (name, keyed, configs) in all {
            let partitions = self.rng.i32(1..3);
            let topic = Topic { name: name.to_owned(), id: Uuid::ZERO, configs: configs.to_vec(), partitions, keyed, known: false };
            let at = self.topics.len();
            for index in 0..partitions {
                self.places.push(Place { topic: at, index, history: self.history.partitions.len() });
                let flushed = configs.iter().any(|(name, _)| *name == "flush.messages");
                let durable = self.kind == Kind::Durable || flushed;
                self.history.partitions.push(Partition::new(keyed, durable));
            }
            self.topics.push(topic);
            self.create(at);
        }
    }

    fn create(&mut self, topic: usize) {
        let Topic { name, configs, partitions, .. } = &self.topics[topic];
        let request = requests::create_topic(name, *partitions, configs);
        if let Some(response) = self.ask(&request, 7)
            && let Some(created) = response.topics.first()
            && created.error_code == 0
        {
            self.topics[topic].id = created.topic_id;
            self.topics[topic].known = true;
        }
    }

    /// One request; `None` when the answer never came.
    fn ask<R: wire::Request>(&mut self, request: &R, version: i16) -> Option<R::Response> {
        let node = self.node.as_mut()?;
        self.disk.set_time(node.now.wall_ms);
        let response = self.client.attempt(node, request, version);
        let text = format!("{} {request:?} -> {response:?}", R::NAME);
        self.summary.trace.push(text);
        // Nobody hears a machine without power.
        if self.disk.is_off() || self.node.as_ref().is_none_or(|node| node.died.is_some()) {
            self.bury();
            return None;
        }
        response
    }

    fn step(&mut self) {
        if self.disk.is_off() || self.node.as_ref().is_some_and(|node| node.died.is_some()) {
            self.bury();
        }
        if self.node.is_none() {
            return self.rise();
        }
        match self.rng.u32(0..100) {
            0..62 => {
                let at = self.rng.usize(..self.producers.len());
                self.produce(at);
            }
            62..67 => self.commit_offset(),
            67..72 => {
                let at = self.rng.usize(..self.places.len());
                self.check_partition(at);
            }
            72..75 => self.delete_records(),
            75..77 => self.delete_and_create(),
            77..80 => self.with_node(SimNode::write_checkpoints),
            80..84 => self.with_node(SimNode::flush_logs),
            84..87 => {
                self.with_node(SimNode::compact_logs);
                self.with_node(SimNode::clean_logs);
            }
            87..90 => {
                let ms = self.rng.u64(1..4_000);
                self.with_node(|node| node.advance(Duration::from_millis(ms)));
            }
            90..93 => self.toggle_fault(),
            93..96 => {
                self.summary.kills += 1;
                self.node_ends(End::Process, |node| node.kill());
            }
            96..97 => {
                self.summary.clean_stops += 1;
                self.node_ends(End::Process, SimNode::stop);
            }
            _ if self.kind == Kind::Killed => {}
            _ => {
                let after = self.rng.u64(1..120);
                self.disk.cut_power_at(Some(self.disk.operations() + after));
            }
        }
    }

    fn with_node(&mut self, f: impl FnOnce(&mut SimNode)) {
        if let Some(node) = self.node.as_mut() {
            f(node);
            // Retention looks at the age of files whose records are all compacted away.
            self.disk.set_time(node.now.wall_ms);
        }
    }

    fn node_ends(&mut self, end: End, f: impl FnOnce(SimNode) -> Stopped) {
        let Some(node) = self.node.take() else { return };
        self.summary.trace.push(format!("ends: {end:?}, {:?}", node.died));
        self.stopped = Some(f(node));
        if self.faulty {
            self.disk.remount();
        }
        self.note_end(end);
    }

    fn note_end(&mut self, end: End) {
        for place in 0..self.places.len() {
            let worst = self.unread.entry(self.places[place].history).or_insert(end);
            if end == End::Power {
                *worst = end;
            }
        }
        if end == End::Power && self.kind == Kind::Lossy {
            // What producers and groups were told counts no more, as nobody promised it.
            self.producers.iter_mut().for_each(|producer| producer.reset(&mut self.history));
            for commit in self.history.commits.values_mut().flatten() {
                commit.acknowledged = false;
            }
        }
    }

    /// The process has ended by itself, or with the power.
    fn bury(&mut self) {
        self.node_ends(End::Process, SimNode::kill);
        self.power_returns();
    }

    fn power_returns(&mut self) {
        if self.disk.is_off() {
            self.summary.power_cuts += 1;
            self.disk.crash(&mut self.rng);
            self.summary.trace.push("the power was cut and is back".to_owned());
            self.note_end(End::Power);
        }
    }

    /// Starts the node again, which may itself be cut short, and reads everything.
    fn rise(&mut self) {
        let Some(mut stopped) = self.stopped.take() else { return };
        if self.kind != Kind::Killed && self.rng.u32(0..4) == 0 {
            self.disk.cut_power_at(Some(self.disk.operations() + self.rng.u64(1..40)));
        }
        self.disk.set_time(stopped.now.wall_ms);
        let started = stopped.start();
        self.summary.trace.push(format!("starts: {:?}, without power: {}", started.as_ref().err(), self.disk.is_off()));
        if self.disk.is_off() {
            self.stopped = Some(started.map_or(stopped, SimNode::kill));
            return self.power_returns();
        }
        match started {
            Ok(node) => {
                self.node = Some(node);
                self.read_unread();
            }
            Err(why) => {
                self.stopped = Some(stopped);
                if !self.faulty {
                    return self.history.findings.push(format!("the node does not start: {why}"));
                }
                self.heal();
            }
        }
    }

    fn read_unread(&mut self) {
        for place in 0..self.places.len() {
            if self.unread.contains_key(&self.places[place].history) {
                self.check_partition(place);
            }
        }
        self.check_groups();
    }

    /// No process runs meanwhile. Who restarts on a disk that has forgotten what it was to write cannot know: it is mounted again first.
    fn heal(&mut self) {
        self.faulty = false;
        self.disk.remount();
        for dir in &self.dirs {
            self.disk.set_faults(dir, Faults::default());
            self.disk.set_free_space_of(dir, None);
        }
    }

    fn toggle_fault(&mut self) {
        if self.faulty {
            // A directory that failed comes back with a restart only.
            self.node_ends(End::Process, SimNode::kill);
            return self.heal();
        }
        self.faulty = true;
        self.summary.trace.push("a directory gets faults".to_owned());
        let dir = self.dirs[self.rng.usize(..self.dirs.len())].clone();
        let has_metadata = dir == self.dirs[0];
        match self.rng.u32(0..5) {
            0 | 1 => {
                self.summary.full_phases += 1;
                self.disk.set_free_space_of(&dir, Some(self.rng.u64(0..4_000)));
            }
            2 => self.disk.set_faults(&dir, Faults { short_reads: true, ..Faults::default() }),
            // A disk that fails syncs may lose what nobody has promised to be there.
            _ if self.kind != Kind::Durable && has_metadata => {}
            3 if !has_metadata => {
                self.summary.error_phases += 1;
                self.disk.set_faults(&dir, Faults { broken: true, ..Faults::default() });
            }
            _ if self.kind != Kind::Durable => {
                self.summary.error_phases += 1;
                self.disk.set_faults(&dir, Faults { broken: true, ..Faults::default() });
            }
            _ => {
                self.summary.error_phases += 1;
                let errors_per_mille = self.rng.u32(1..300);
                self.disk.set_faults(&dir, Faults { errors_per_mille, ..Faults::default() });
            }
        }
    }

    /// Reads a whole partition, as consumers of both kinds do, and has it judged.
    fn check_partition(&mut self, place: usize) {
        if let Some(reading) = self.read_partition(place) {
            let history = self.places[place].history;
            let is_short = self.history.partitions[history].last_known().is_some_and(|last| reading.end <= last);
            // While a disk is full or failing, what a start found may wait for its flush before it is shown.
            let may_be_lost = self.unread.get(&history) == Some(&End::Power) && !self.history.partitions[history].durable;
            if self.faulty && is_short && !may_be_lost {
                return;
            }
            let ended = self.unread.remove(&history);
            self.history.read(history, &reading, ended);
        }
    }

    fn read_partition(&mut self, place: usize) -> Option<Reading> {
        let Place { topic, index, .. } = self.places[place];
        let Topic { id, name, known, .. } = &self.topics[topic];
        if !known {
            return None;
        }
        let (id, name) = (*id, name.clone());
        let response = self.ask(&requests::earliest_offset(&name, index), 7)?;
        let found = response.topics.first()?.partitions.first()?.clone();
        if found.error_code != 0 {
            return None;
        }
        let mut reading = Reading { start: found.offset, end: found.offset, ..Reading::default() };
        for committed in [false, true] {
            let mut offset = reading.start;
            loop {
                let response = self.ask(&requests::fetch(id, index, offset, committed), 13)?;
                let answer = response.responses.into_iter().next()?.partitions.into_iter().next()?;
                if answer.error_code != 0 {
                    return None;
                }
                if answer.last_stable_offset > answer.high_watermark || answer.log_start_offset > reading.start {
                    self.history.findings.push(format!(
                        "{name}-{index}: stable {} high watermark {} start {}, read from {}",
                        answer.last_stable_offset, answer.high_watermark, answer.log_start_offset, reading.start
                    ));
                }
                let end = if committed { answer.last_stable_offset } else { answer.high_watermark };
                let piece = requests::decode(answer, offset);
                offset = piece.next_offset;
                if committed {
                    reading.stable = end;
                    reading.committed.extend(piece.committed);
                } else {
                    reading.end = end;
                    reading.records.extend(piece.records);
                    reading.markers.extend(piece.markers);
                }
                if offset >= end || piece.is_empty {
                    break;
                }
            }
        }
        Some(reading)
    }

    fn commit_offset(&mut self) {
        let commits = self.history.commits.entry(0).or_default();
        let offset = commits.len() as i64 + 1;
        commits.push(Commit { offset, transaction: None, acknowledged: false });
        let at = commits.len() - 1;
        let response = self.ask(&requests::commit("group-0", "plain", offset), 8);
        let done = response.is_some_and(|r| r.topics.first().and_then(|t| t.partitions.first()).is_some_and(|p| p.error_code == 0));
        if let Some(commit) = self.history.commits.get_mut(&0).and_then(|commits| commits.get_mut(at)) {
            commit.acknowledged = done;
        }
    }

    /// What each group shows; `None` where it cannot be asked.
    fn read_group(&mut self, group: usize) -> Option<Option<i64>> {
        requests::find_coordinator(&mut self.client, self.node.as_mut()?, &format!("group-{group}"), false);
        let response = self.ask(&requests::offset_of(&format!("group-{group}"), "plain"), 8)?;
        let answer = response.groups.first()?;
        let partition = answer.topics.first()?.partitions.first()?;
        if answer.error_code != 0 || partition.error_code != 0 {
            return None;
        }
        Some((partition.committed_offset >= 0).then_some(partition.committed_offset))
    }

    /// While a disk is faulty, what a transaction has committed may wait for its marker.
    fn check_groups(&mut self) {
        if self.faulty {
            return;
        }
        for group in self.history.commits.keys().copied().collect::<Vec<_>>() {
            if let Some(shown) = self.read_group(group) {
                self.history.committed(group, shown);
            }
        }
    }

    fn delete_records(&mut self) {
        let at = self.rng.usize(..self.places.len());
        let Place { topic, index, history } = self.places[at];
        if !self.topics[topic].known {
            return;
        }
        let upper = self.history.partitions[history].last_known().unwrap_or(0);
        let offset = self.rng.i64(0..=upper);
        if self.topics[topic].keyed && self.topics[topic].name == "compacted" {
            // Refused: only topics with cleanup.policy delete lose records this way.
            return;
        }
        let allowed = &mut self.history.partitions[history].deleted_up_to;
        *allowed = offset.max(*allowed);
        let name = self.topics[topic].name.clone();
        self.ask(&requests::delete_records(&name, index, offset), 2);
    }

    /// The topic that comes and goes.
    fn delete_and_create(&mut self) {
        let Some(at) = self.topics.iter().position(|topic| topic.name == "again") else { return };
        self.topics[at].known = false;
        let Some(deleted) = self.ask(&requests::delete_topic("again"), 6) else { return };
        const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
        if !deleted.responses.first().is_some_and(|r| matches!(r.error_code, 0 | UNKNOWN_TOPIC_OR_PARTITION)) {
            return;
        }
        for place in self.places.iter_mut().filter(|place| place.topic == at) {
            let durable = self.history.partitions[place.history].durable;
            self.producers.iter_mut().for_each(|producer| producer.forget(place.history));
            self.unread.remove(&place.history);
            place.history = self.history.partitions.len();
            self.history.partitions.push(Partition::new(false, durable));
        }
        self.create(at);
    }

    /// All is healed, everything is decided, everything is read.
    fn end(&mut self) {
        self.disk.cut_power_at(None);
        self.node_ends(End::Process, SimNode::kill);
        self.heal();
        self.power_returns();
        let Some(mut stopped) = self.stopped.take() else { return };
        self.node = match stopped.start() {
            Ok(node) => Some(node),
            Err(why) => return self.history.findings.push(format!("the node does not start: {why}")),
        };
        self.read_unread();
        for at in 0..self.producers.len() {
            self.settle_producer(at);
        }
        self.with_node(|node| node.advance(Duration::from_secs(5)));
        let mut readings = BTreeMap::new();
        for place in 0..self.places.len() {
            if !self.topics[self.places[place].topic].known {
                continue;
            }
            let Some(reading) = self.read_partition(place) else {
                self.history.findings.push(format!("partition {place} cannot be read at the end"));
                continue;
            };
            if reading.stable < reading.end {
                let (stable, end) = (reading.stable, reading.end);
                self.history.findings.push(format!("partition {place}: stable offset {stable} hangs, the log ends at {end}"));
            }
            let history = self.places[place].history;
            self.history.read(history, &reading, None);
            readings.insert(history, reading);
        }
        let mut groups = BTreeMap::new();
        for group in self.history.commits.keys().copied().collect::<Vec<_>>() {
            match self.read_group(group) {
                Some(shown) => {
                    self.history.committed(group, shown);
                    groups.insert(group, shown);
                }
                None => self.history.findings.push(format!("group {group} cannot be read at the end")),
            }
        }
        self.history.check_whole(&readings, &groups);
        self.summary.batches = self.history.batches.len() as u64;
        self.summary.acknowledged = self.history.batches.iter().filter(|batch| batch.acknowledged).count() as u64;
        self.summary.transactions = self.history.transactions.len() as u64;
        let committed = |t: &&history::Transaction| **t == history::Transaction::Ended { commit: true };
        self.summary.committed = self.history.transactions.iter().filter(committed).count() as u64;
    }
}
