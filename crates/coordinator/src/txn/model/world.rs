//! The schedule: what happens next, and who hears of it.

use std::collections::BTreeMap;
use std::time::Duration;

use base::{Now, TopicPartition};
use wire::ErrorCode;

use super::coordinator::{Coordinator, Done};
use super::ledger::Ledger;
use super::partition::Partition;
use super::producer::{Phase, Producer, Request};
use crate::output::Token;
use crate::txn::metadata::{Metadata, TxnStatus};
use crate::txn::records;
use crate::txn::{InitProducerId, MarkerTask, TxnReply};

const IDS: usize = 3;
const PARTITIONS: usize = 4;
const STEPS: usize = 800;
const TIMEOUT_MS: i32 = 20_000;

#[derive(Debug, Default)]
pub(super) struct Stats {
    pub(super) transactions: u64,
    pub(super) commits: u64,
    pub(super) aborts: u64,
    pub(super) fenced: u64,
    pub(super) failovers: u64,
    pub(super) rotations: u64,
    pub(super) late: u64,
}

impl Stats {
    pub(super) fn add(&mut self, other: &Stats) {
        self.transactions += other.transactions;
        self.commits += other.commits;
        self.aborts += other.aborts;
        self.fenced += other.fenced;
        self.failovers += other.failovers;
        self.rotations += other.rotations;
        self.late += other.late;
    }
}

/// Who waits for an answer; nobody, when the request was a late copy.
struct Asked {
    producer: Option<usize>,
    request: Request,
}

pub(super) struct World {
    rng: fastrand::Rng,
    now: Now,
    coordinator: Coordinator,
    partitions: Vec<Partition>,
    ledger: Ledger,
    producers: Vec<Producer>,
    asked: BTreeMap<Token, Asked>,
    next_token: u64,
    /// Markers that are to be written, of this coordinator and of its predecessors.
    markers: Vec<(MarkerTask, TopicPartition)>,
    /// Copies of requests that the network has kept: transactional id, producer, request.
    kept: Vec<(usize, (i64, i16), Request)>,
    /// By id: how many producers have been told their epoch.
    turns: [u64; IDS],
    calm: bool,
    tracing: bool,
    stats: Stats,
    pub(super) trace: Vec<String>,
}

impl World {
    pub(super) fn new(seed: u64, tracing: bool) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let now = Now::default().plus(Duration::from_secs(1_000));
        let transaction_version = if rng.bool() { 2 } else { 0 };
        let mut coordinator = Coordinator::new(transaction_version, now);
        if rng.u8(..3) == 0 {
            // An id that has been used much.
            let used = Metadata { producer_epoch: i16::MAX - rng.i16(1..8), ..Metadata::new(7, TIMEOUT_MS, now.wall_ms) };
            coordinator.log.records.push(records::encode("id0", &used, transaction_version).unwrap());
            coordinator.log.high_watermark = 1;
            let _ = coordinator.fail_over(now, 1);
        }
        World {
            rng,
            now,
            coordinator,
            partitions: (0..PARTITIONS).map(|_| Partition::default()).collect(),
            ledger: Ledger::default(),
            producers: Vec::new(),
            asked: BTreeMap::new(),
            next_token: 0,
            markers: Vec::new(),
            kept: Vec::new(),
            turns: [0; IDS],
            calm: false,
            tracing,
            stats: Stats::default(),
            trace: Vec::new(),
        }
    }

    fn say(&mut self, text: impl FnOnce(&World) -> String) {
        if self.tracing {
            let line = format!("{:>8} {}", self.now.wall_ms, text(self));
            self.trace.push(line);
        }
    }

    pub(super) fn run(&mut self) -> Result<Stats, String> {
        for step in 0..STEPS {
            self.chaos()?;
            if step % 8 == 0 {
                self.coordinator.check_against_log()?;
            }
        }
        self.settle()?;
        self.stats.rotations = self.coordinator.rotations;
        self.stats.transactions = self.ledger.txns.len() as u64;
        Ok(std::mem::take(&mut self.stats))
    }

    fn chaos(&mut self) -> Result<(), String> {
        match self.rng.u8(..100) {
            0..60 => self.producer_acts(),
            60..75 => self.write_a_marker(),
            75..82 => self.high_watermark_moves(),
            82..86 => {
                let ms = self.rng.u64(..3_000);
                self.time_passes(ms)
            }
            86 => {
                let ms = self.rng.u64(..40_000);
                self.time_passes(ms)
            }
            87 => self.fail_over(),
            88..92 => {
                self.coordinator.log.lags = self.rng.u8(..3) == 0;
                Ok(())
            }
            92..94 => {
                let error = [ErrorCode::NotEnoughReplicas, ErrorCode::KafkaStorageError, ErrorCode::NotLeaderOrFollower];
                self.coordinator.log.failure = Some(error[self.rng.usize(..error.len())]);
                Ok(())
            }
            94 => {
                self.coordinator.no_ids = self.rng.u8(..4) == 0;
                Ok(())
            }
            95 => {
                if self.rng.u8(..4) == 0 {
                    self.coordinator.transaction_version = 2;
                }
                Ok(())
            }
            96..99 => self.kept_copy_arrives(),
            _ => {
                if let Some(producer) = self.any_producer() {
                    self.producers[producer].die();
                }
                Ok(())
            }
        }
    }

    fn any_producer(&mut self) -> Option<usize> {
        let alive: Vec<usize> = (0..self.producers.len()).filter(|p| self.producers[*p].phase != Phase::Dead).collect();
        if alive.is_empty() { None } else { Some(alive[self.rng.usize(..alive.len())]) }
    }

    fn producer_acts(&mut self) -> Result<(), String> {
        if self.producers.iter().filter(|p| p.phase != Phase::Dead).count() < 2 || self.rng.u8(..60) == 0 {
            let id = self.rng.usize(..IDS);
            let v2 = self.coordinator.transaction_version >= 2 && self.rng.u8(..5) > 0;
            self.producers.push(Producer::new(id, v2));
        }
        let Some(at) = self.any_producer() else { return Ok(()) };
        if self.asked.values().any(|asked| asked.producer == Some(at)) {
            // The answer does not come, or is late: asked once more. In the older protocol a copy may not overtake, so it waits.
            if self.producers[at].v2 && self.rng.u8(..8) == 0 {
                self.asked.values_mut().filter(|asked| asked.producer == Some(at)).for_each(|asked| asked.producer = None);
            }
            return Ok(());
        }
        match self.producers[at].wants.clone() {
            Some(request) => self.send(at, request),
            None => self.decide(at),
        }
    }

    fn decide(&mut self, at: usize) -> Result<(), String> {
        let producer = &mut self.producers[at];
        match producer.phase {
            Phase::Dead => Ok(()),
            Phase::Starting { resume } => {
                let expected = (resume && producer.producer.0 >= 0).then_some(producer.producer);
                self.send(at, Request::Init { expected })
            }
            Phase::Idle => {
                let txn = self.ledger.begin();
                producer.begin(txn);
                let (name, v2) = (producer.name(), producer.v2);
                self.say(|_| format!("producer {at} of {name} begins transaction {txn}, v2={v2}"));
                Ok(())
            }
            Phase::Failed { txn } => {
                producer.phase = Phase::Ending { txn, commit: false };
                self.send(at, Request::End { commit: false })
            }
            Phase::Ending { commit, .. } => self.send(at, Request::End { commit }),
            Phase::Open { txn } => {
                if self.rng.u8(..5) == 0 {
                    let commit = self.rng.u8(..3) > 0;
                    if !producer.asked {
                        // Nothing to be ended.
                        producer.phase = Phase::Idle;
                        return Ok(());
                    }
                    producer.phase = Phase::Ending { txn, commit };
                    return self.send(at, Request::End { commit });
                }
                let partition = self.rng.usize(..PARTITIONS);
                self.write(at, partition)
            }
        }
    }

    fn write(&mut self, at: usize, partition: usize) -> Result<(), String> {
        let producer = &self.producers[at];
        let (v2, by) = (producer.v2, producer.producer);
        if !v2 && !producer.added.contains(&partition) {
            return self.send(at, Request::Add { partition, then_append: false });
        }
        match self.partitions[partition].start_verification(by.0, by.1) {
            Ok(None) => self.append(at, partition, None, false),
            Ok(Some(guard)) if !v2 => self.send(at, Request::Verify { partition, guard }),
            Ok(Some(_)) => self.send(at, Request::Add { partition, then_append: true }),
            Err(_) => {
                self.producers[at].fail();
                Ok(())
            }
        }
    }

    fn append(&mut self, at: usize, partition: usize, guard: Option<u64>, verified: bool) -> Result<(), String> {
        let producer = &mut self.producers[at];
        let Phase::Open { txn } = producer.phase else { return Ok(()) };
        let result = self.partitions[partition].append(producer.producer, guard, verified, txn);
        let taken_over = self.turns[producer.id] > producer.turn;
        let by = producer.producer;
        match result {
            Ok(()) => self.ledger.wrote(txn, partition, taken_over)?,
            Err(_) => producer.fail(),
        }
        self.say(|_| format!("producer {at} {by:?} writes of transaction {txn} to partition {partition}: {result:?}"));
        Ok(())
    }

    fn send(&mut self, at: usize, request: Request) -> Result<(), String> {
        let producer = &mut self.producers[at];
        producer.wants = Some(request.clone());
        producer.asked |= !matches!(request, Request::Init { .. } | Request::Verify { .. });
        let (id, by, v2) = (producer.id, producer.producer, producer.v2);
        if v2 && !matches!(request, Request::Init { .. }) && self.rng.u8(..12) == 0 {
            self.kept.push((id, by, request.clone()));
        }
        self.deliver(Some(at), id, by, v2, request)
    }

    fn deliver(&mut self, from: Option<usize>, id: usize, by: (i64, i16), v2: bool, request: Request) -> Result<(), String> {
        if self.coordinator.shard.is_loading() {
            self.say(|_| format!("{from:?} asks {request:?}: loading"));
            return Ok(());
        }
        let token = Token(self.next_token);
        self.next_token += 1;
        self.say(|_| format!("{from:?} of id{id} as {by:?} asks {request:?}, v2={v2}: {}", token.0));
        self.asked.insert(token, Asked { producer: from, request: request.clone() });
        let name = format!("id{id}");
        let version = if v2 { 2 } else { 0 };
        let done = self.coordinator.step(self.now, |shard, step| match request {
            Request::Init { expected } => {
                let request = InitProducerId { transactional_id: name, timeout_ms: TIMEOUT_MS, expected, ..Default::default() };
                shard.init_producer_id(step, token, &request)
            }
            Request::Add { partition, .. } => shard.add_partitions(step, token, &name, by, &[tp(partition)], version),
            Request::Verify { partition, .. } => shard.verify_partitions(token, &name, by, &[tp(partition)]),
            Request::End { commit } => shard.end_txn(step, token, &name, by, commit, version),
        });
        self.carry_out(done)
    }

    fn carry_out(&mut self, done: Done) -> Result<(), String> {
        for task in done.markers {
            self.say(|_| format!("to be marked: {task:?}"));
            self.markers.extend(task.partitions.iter().map(|partition| (task.clone(), partition.clone())));
        }
        for (token, reply) in done.replies {
            let asked = self.asked.remove(&token).ok_or_else(|| format!("{token:?} is answered twice"))?;
            self.say(|_| format!("answer to {}: {reply:?}", token.0));
            let lost = !self.calm
                && self.rng.u8(..10) == 0
                && asked.producer.is_some_and(|p| !matches!(asked.request, Request::Verify { .. }) && self.producers[p].wants.is_some());
            // Told or not: whoever had an epoch before this is taken over when somebody else is given one.
            if let (Request::Init { .. }, TxnReply::Producer { .. }, false, Some(at)) = (&asked.request, &reply, lost, asked.producer)
                && self.producers[at].phase != Phase::Dead
            {
                let id = self.producers[at].id;
                self.turns[id] += 1;
                self.producers[at].turn = self.turns[id];
            }
            match asked.producer {
                Some(at) if !lost => self.answered(at, asked.request, reply)?,
                Some(at) => self.say(|_| format!("producer {at} does not hear of it")),
                None => self.stats.late += 1,
            }
        }
        Ok(())
    }

    fn answered(&mut self, at: usize, request: Request, reply: TxnReply) -> Result<(), String> {
        if self.producers[at].phase == Phase::Dead || self.producers[at].wants.as_ref() != Some(&request) {
            return Ok(());
        }
        let retriable = matches!(
            reply,
            TxnReply::Failed(
                ErrorCode::ConcurrentTransactions
                    | ErrorCode::CoordinatorLoadInProgress
                    | ErrorCode::CoordinatorNotAvailable
                    | ErrorCode::NotCoordinator
            )
        );
        if retriable {
            return Ok(());
        }
        self.producers[at].wants = None;
        if let TxnReply::Failed(error) = reply {
            return self.refused(at, request, error);
        }
        match (request, reply) {
            (Request::Init { .. }, TxnReply::Producer { producer_id, producer_epoch }) => {
                let producer = &mut self.producers[at];
                producer.producer = (producer_id, producer_epoch);
                producer.phase = Phase::Idle;
            }
            (Request::Add { partition, then_append }, TxnReply::Added) => {
                self.producers[at].added.insert(partition);
                if then_append {
                    return self.append(at, partition, None, false);
                }
            }
            (Request::Verify { partition, guard }, TxnReply::Verified(verdicts)) => match verdicts[0].1 {
                ErrorCode::None => return self.append(at, partition, Some(guard), true),
                ErrorCode::ConcurrentTransactions => {}
                _ => self.producers[at].fail(),
            },
            (Request::End { commit }, TxnReply::Producer { producer_id, producer_epoch }) => {
                let upgrade = self.coordinator.transaction_version >= 2 && self.rng.bool();
                let producer = &mut self.producers[at];
                let Phase::Ending { txn, .. } = producer.phase else { return Err(format!("producer {at} ends what is not open")) };
                if producer.v2 {
                    if producer_id < 0 || (producer_id == producer.producer.0 && producer_epoch <= producer.producer.1) {
                        return Err(format!("producer {at} is told to go on as {producer_id} {producer_epoch}"));
                    }
                    self.coordinator.rotations += u64::from(producer_id != producer.producer.0);
                    producer.producer = (producer_id, producer_epoch);
                }
                // After errors the older producers bump their epoch themselves (KIP-360), and before they go over to the newer protocol.
                let bump = !producer.v2 && (upgrade || (!commit && self.rng.bool()));
                producer.phase = if bump { Phase::Starting { resume: true } } else { Phase::Idle };
                producer.v2 |= upgrade;
                let entry = &self.ledger.txns[txn];
                if commit && entry.taken_over {
                    return Err(format!("producer {at} commits transaction {txn} though it was taken over"));
                }
                self.ledger.acknowledged(txn, commit)?;
                if commit { self.stats.commits += 1 } else { self.stats.aborts += 1 }
            }
            (request, reply) => return Err(format!("{request:?} is answered by {reply:?}")),
        }
        Ok(())
    }

    fn refused(&mut self, at: usize, request: Request, error: ErrorCode) -> Result<(), String> {
        match (request, error) {
            // The last answer was lost, and the log with the epoch before it is gone with its leader: in Kafka too.
            (_, ErrorCode::ProducerFenced | ErrorCode::InvalidProducerEpoch | ErrorCode::InvalidProducerIdMapping) => {
                self.stats.fenced += 1;
                self.producers[at].die();
            }
            (Request::Add { .. }, _) => self.producers[at].fail(),
            (Request::End { .. }, ErrorCode::InvalidTxnState) => self.producers[at].die(),
            (_, ErrorCode::UnknownServerError) => self.producers[at].die(),
            (request, error) => return Err(format!("{request:?} is refused with {error}")),
        }
        Ok(())
    }

    fn write_a_marker(&mut self) -> Result<(), String> {
        if self.markers.is_empty() {
            return Ok(());
        }
        let at = self.rng.usize(..self.markers.len());
        let (task, partition) = self.markers.swap_remove(at);
        let result = match !self.calm && self.rng.u8(..6) == 0 {
            true => ErrorCode::NotLeaderOrFollower,
            false => self.partitions[partition.partition as usize].mark(partition.partition as usize, &task, &mut self.ledger)?,
        };
        self.say(|_| format!("marker for {partition} of {} {} {}: {result}", task.transactional_id, task.producer_id, task.producer_epoch));
        let done = self.coordinator.step(self.now, |shard, step| shard.markers_written(step, &task, vec![(partition, result)]));
        self.carry_out(done)
    }

    fn high_watermark_moves(&mut self) -> Result<(), String> {
        let (now, end) = (self.coordinator.log.high_watermark, self.coordinator.log.records.len());
        self.coordinator.log.high_watermark = self.rng.usize(now..=end);
        let done = self.coordinator.step(self.now, |_, _| Default::default());
        self.carry_out(done)
    }

    fn time_passes(&mut self, ms: u64) -> Result<(), String> {
        self.now = self.now.plus(Duration::from_millis(ms));
        while self.coordinator.shard.next_deadline() <= self.now.mono {
            let done = self.coordinator.step(self.now, |shard, step| shard.tick(step));
            self.carry_out(done)?;
        }
        Ok(())
    }

    fn fail_over(&mut self) -> Result<(), String> {
        self.stats.failovers += 1;
        let end = self.rng.usize(self.coordinator.log.high_watermark..=self.coordinator.log.records.len());
        self.say(|_| format!("the coordinator moves; the log ends at {end}"));
        let done = self.coordinator.fail_over(self.now, end);
        self.carry_out(done)
    }

    fn kept_copy_arrives(&mut self) -> Result<(), String> {
        if self.kept.is_empty() {
            return Ok(());
        }
        let at = self.rng.usize(..self.kept.len());
        let (id, by, request) = self.kept.swap_remove(at);
        self.deliver(None, id, by, true, request)
    }

    /// The chaos stops, and every producer with it: what is open is aborted when its time is up.
    fn settle(&mut self) -> Result<(), String> {
        self.calm = true;
        self.say(|_| "the chaos stops".to_owned());
        self.producers.iter_mut().for_each(Producer::die);
        self.coordinator.log.failure = None;
        self.coordinator.log.lags = false;
        self.coordinator.no_ids = false;
        for _ in 0..200 {
            self.coordinator.log.high_watermark = self.coordinator.log.records.len();
            let done = self.coordinator.step(self.now, |_, _| Default::default());
            self.carry_out(done)?;
            while !self.markers.is_empty() {
                self.write_a_marker()?;
            }
            self.time_passes(1_000)?;
        }
        self.coordinator.check_against_log()?;
        if let Some((token, asked)) = self.asked.first_key_value() {
            return Err(format!("{token:?} is never answered: {:?}", asked.request));
        }
        if let Some((id, txn)) =
            self.coordinator.shard.txns.iter().find(|(_, txn)| txn.pending.is_some() || !txn.current.status.is_at_rest())
        {
            return Err(format!("{id} does not come to rest: {txn:?}"));
        }
        self.ledger.all_whole()?;
        // Whoever comes now is served, and when nobody comes for long nothing is left.
        for id in 0..IDS {
            let mut newcomer = Producer::new(id, false);
            newcomer.wants = Some(Request::Init { expected: None });
            self.producers.push(newcomer);
            self.deliver(Some(self.producers.len() - 1), id, (-1, -1), false, Request::Init { expected: None })?;
            if self.producers.last().is_none_or(|p| p.phase != Phase::Idle) {
                return Err(format!("a new producer of id{id} is not served"));
            }
        }
        self.time_passes(500_000)?;
        self.time_passes(60_000)?;
        match self.coordinator.shard.txns.keys().next() {
            Some(id) => Err(format!(
                "{id} does not expire: {:?}",
                self.coordinator.shard.txns.get(id).map(|t| t.current.status == TxnStatus::Empty)
            )),
            None => self.coordinator.check_against_log(),
        }
    }
}

fn tp(partition: usize) -> TopicPartition {
    TopicPartition::new("t", partition as i32)
}
