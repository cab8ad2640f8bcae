//! Drives the coordinator shards of this broker: one per partition of `__consumer_offsets` that it leads. A request runs its shard under
//! the shard's lock, appends what the shard wants written through the same call that Produce uses, and parks on a slot for the answer.
//! Lock order: shard, then partition. Kafka: `CoordinatorRuntime`, `CoordinatorLoaderImpl`.

mod load;
mod log;
mod marker;
mod view;

use crate::Broker;
use crate::alarm::Alarm;
use crate::auto_create::OFFSETS_TOPIC;
use base::{Instant, Now, Slot, TopicPartition, Uuid};
use config::BrokerConfig;
use coordinator::{Bounded, GroupConfig, MigrationPolicy, Output, Reply, Shard, Token, drive};
use log::PartitionLog;
use metadata::{Delta, Image};
use parking_lot::{Mutex, RwLock};
use replica::{Partition, Watch};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::task::Waker;
use storage::Verification;
pub use view::{CommittedOffsets, CoordinatorStates, GroupCounts};
use wire::ErrorCode;

pub(crate) type ReplySlot = Arc<Slot<Reply>>;

pub(crate) struct Groups {
    shards: RwLock<BTreeMap<i32, Arc<Mutex<Cell>>>>,
    /// How many partitions `__consumer_offsets` has; 0 while it does not exist.
    partitions: AtomicI32,
    config: Mutex<GroupConfig>,
    rng: Mutex<fastrand::Rng>,
    next_token: AtomicU64,
    alarm: Arc<Alarm>,
    counts: Arc<GroupCounts>,
}

struct Cell {
    epoch: i32,
    state: State,
}

enum State {
    Loading,
    Active(Box<Active>),
    /// The partition holds something that cannot be read; the error is in the log.
    Failed,
    /// Resigned while somebody still held the cell.
    Gone,
}

struct Active {
    shard: Shard,
    partition: Arc<Partition>,
    waiting: HashMap<Token, ReplySlot>,
    counts: Arc<GroupCounts>,
    /// A timer is what is being carried out.
    by_timer: bool,
    /// What a transactional write of the request that is being carried out has to show to the log.
    verification: Verification,
    /// There while replies wait for the high watermark: for other replicas, or for a flush.
    watch: Option<Watch>,
    committed: Waker,
}

impl Active {
    /// Carries out a step of the shard and hands out the replies that are ready.
    fn carry_out(&mut self, now: Now, output: Output) {
        let mut output = output;
        self.watch = None;
        loop {
            let mut log = PartitionLog {
                partition: &self.partition,
                now,
                counts: &self.counts,
                by_timer: self.by_timer,
                verification: self.verification,
            };
            let replies = drive(&mut self.shard, now, std::mem::take(&mut output), &mut log);
            for (token, reply) in replies {
                if let Some(slot) = self.waiting.remove(&token) {
                    slot.fill(reply);
                }
            }
            let Some(end) = self.shard.awaited_high_watermark() else { return };
            self.watch = self.partition.watch(end, &self.committed);
            // Without a watch the high watermark has got there meanwhile; or the log is gone, and the writes time out.
            if self.watch.is_some() || self.partition.high_watermark() < end {
                return;
            }
        }
    }

    /// Hands out what waited for the high watermark, if it has got there.
    fn follow_high_watermark(&mut self, now: Now) {
        if self.shard.awaited_high_watermark().is_some_and(|end| self.partition.high_watermark() >= end) {
            self.carry_out(now, Output::default());
        }
    }

    /// Runs the timers that are due.
    fn run_due(&mut self, now: Now) {
        while self.shard.next_deadline() <= now.mono {
            let output = self.shard.tick(now);
            self.by_timer = true;
            self.carry_out(now, output);
            self.by_timer = false;
        }
    }
}

impl Groups {
    pub fn new(config: &BrokerConfig, seed: u64) -> Self {
        Groups {
            shards: RwLock::default(),
            partitions: AtomicI32::new(0),
            config: Mutex::new(group_config(config)),
            rng: Mutex::new(fastrand::Rng::with_seed(seed)),
            next_token: AtomicU64::new(0),
            alarm: Alarm::new(),
            counts: Arc::default(),
        }
    }

    pub fn set_config(&self, config: &BrokerConfig) {
        let config = group_config(config);
        *self.config.lock() = config.clone();
        for cell in self.cells() {
            if let State::Active(active) = &mut cell.lock().state {
                active.shard.update_config(config.clone());
            }
        }
    }

    /// Woken when a timer is set that is due before the last `tick` said.
    pub fn set_alarm(&self, waker: Waker) {
        self.alarm.set_waker(waker);
    }

    /// Shards, in the order of their partitions.
    fn cells(&self) -> Vec<Arc<Mutex<Cell>>> {
        self.shards.read().values().cloned().collect()
    }

    pub fn partitions(&self) -> Vec<i32> {
        self.shards.read().keys().copied().collect()
    }

    /// The partition that coordinates a group; `None` while the topic does not exist.
    pub fn partition_of(&self, group_id: &str) -> Option<i32> {
        match self.partitions.load(Ordering::Acquire) {
            0 => None,
            n => Some(base::hash::coordinator_partition(group_id, n)),
        }
    }

    /// Runs a request on the shard of its group. The slot is filled when the shard answers, which may be before this returns.
    pub fn call(&self, group_id: &str, now: Now, step: impl FnOnce(&mut Shard, Token) -> Output) -> Result<ReplySlot, ErrorCode> {
        let partition = self.partition_of(group_id).ok_or(ErrorCode::NotCoordinator)?;
        self.call_partition(partition, now, step)
    }

    pub fn call_partition(&self, partition: i32, now: Now, step: impl FnOnce(&mut Shard, Token) -> Output) -> Result<ReplySlot, ErrorCode> {
        self.step(partition, now, |_| (), step)
    }

    /// As `call`, for a request that writes as part of a transaction, which was verified.
    pub fn call_in_transaction(
        &self,
        group_id: &str,
        now: Now,
        verification: Verification,
        step: impl FnOnce(&mut Shard, Token) -> Output,
    ) -> Result<ReplySlot, ErrorCode> {
        let partition = self.partition_of(group_id).ok_or(ErrorCode::NotCoordinator)?;
        self.step(partition, now, |active| active.verification = verification, step)
    }

    /// As `call_partition`, for who looks at groups from outside: members whose session has ended by `now` are gone, however late the timers are.
    /// Not for members: to them a late timer is a grace.
    pub fn ask_partition(&self, partition: i32, now: Now, step: impl FnOnce(&mut Shard, Token) -> Output) -> Result<ReplySlot, ErrorCode> {
        self.step(partition, now, |active| active.run_due(now), step)
    }

    fn step(
        &self,
        partition: i32,
        now: Now,
        before: impl FnOnce(&mut Active),
        step: impl FnOnce(&mut Shard, Token) -> Output,
    ) -> Result<ReplySlot, ErrorCode> {
        let cell = self.shards.read().get(&partition).cloned().ok_or(ErrorCode::NotCoordinator)?;
        let mut cell = cell.lock();
        let active = match &mut cell.state {
            State::Active(active) => active,
            State::Loading => return Err(ErrorCode::CoordinatorLoadInProgress),
            State::Failed | State::Gone => return Err(ErrorCode::NotCoordinator),
        };
        before(active);
        let token = Token(self.next_token.fetch_add(1, Ordering::Relaxed));
        let slot = Slot::new();
        active.waiting.insert(token, slot.clone());
        let output = step(&mut active.shard, token);
        active.carry_out(now, output);
        active.verification = Verification::NotRequired;
        // Work that a timer has come upon is for the next tick.
        let deadline = if active.shard.has_resolutions() { now.mono } else { active.shard.next_deadline() };
        drop(cell);
        self.ring_if_earlier(deadline);
        Ok(slot)
    }

    pub fn ring_if_earlier(&self, deadline: Instant) {
        self.alarm.ring_if_earlier(deadline);
    }

    /// Follows leadership of the topic's partitions: what is new is queued to be loaded, what is lost is told to its waiters.
    pub fn apply(&self, broker: &Broker, delta: &Delta, image: &Arc<Image>, now: Now) {
        if let Some(topic) = image.topics.get(OFFSETS_TOPIC) {
            self.partitions.store(topic.partitions.len() as i32, Ordering::Release);
            for (index, registration) in changed(delta, topic) {
                match registration.leader == broker.id() {
                    true => self.elect(index, registration.leader_epoch),
                    false => self.resign(index, now),
                }
            }
        }
        if delta.deleted_topics.values().any(|t| &*t.name == OFFSETS_TOPIC) && image.topics.get(OFFSETS_TOPIC).is_none() {
            self.partitions.store(0, Ordering::Release);
            self.partitions().into_iter().for_each(|index| self.resign(index, now));
        }
        self.tell_metadata(image, delta);
        let deleted: Vec<(Uuid, String)> = delta.deleted_topics.values().map(|t| (t.id, t.name.to_string())).collect();
        if !deleted.is_empty() {
            self.forget_topics(&deleted, now);
        }
    }

    /// A shard that is still to be loaded takes the image that is current when it is.
    fn tell_metadata(&self, image: &Arc<Image>, delta: &Delta) {
        for cell in self.cells() {
            if let State::Active(active) = &mut cell.lock().state {
                active.shard.metadata_changed(image, Some(delta));
            }
        }
    }

    fn elect(&self, index: i32, epoch: i32) {
        let mut shards = self.shards.write();
        // An epoch that only moved on leaves what is loaded as it is: this broker was leading all the time.
        shards
            .entry(index)
            .and_modify(|cell| cell.lock().epoch = epoch)
            .or_insert_with(|| Arc::new(Mutex::new(Cell { epoch, state: State::Loading })));
        drop(shards);
        self.alarm.ring();
    }

    /// The directory of a partition has failed; if it was one of ours, its groups have no coordinator any more.
    pub fn log_failed(&self, partition: &TopicPartition, now: Now) {
        if partition.topic == OFFSETS_TOPIC {
            self.resign(partition.partition, now);
        }
    }

    fn resign(&self, index: i32, now: Now) {
        let Some(cell) = self.shards.write().remove(&index) else { return };
        if let State::Active(mut active) = std::mem::replace(&mut cell.lock().state, State::Gone) {
            let output = active.shard.unload(now);
            active.carry_out(now, output);
        }
    }

    fn forget_topics(&self, deleted: &[(Uuid, String)], now: Now) {
        for cell in self.cells() {
            if let State::Active(active) = &mut cell.lock().state {
                let output = active.shard.topics_deleted(deleted);
                active.carry_out(now, output);
            }
        }
    }

    /// Runs due timers of all shards; returns when to come again.
    pub fn tick(&self, now: Now) -> Instant {
        self.alarm.begin_tick();
        let mut next = Instant::FAR_FUTURE;
        for cell in self.cells() {
            let mut locked = cell.lock();
            let State::Active(active) = &mut locked.state else { continue };
            active.follow_high_watermark(now);
            active.run_due(now);
            if active.shard.has_resolutions() {
                drop(locked);
                resolve_regexes(&cell, now);
                locked = cell.lock();
            }
            if let State::Active(active) = &locked.state {
                next = next.min(active.shard.next_deadline());
            }
        }
        self.alarm.end_tick(next)
    }

    /// For the watches of shards.
    fn committed_waker(&self) -> Waker {
        self.alarm.waker()
    }

    fn next_rng(&self) -> fastrand::Rng {
        self.rng.lock().fork()
    }

    pub fn counts(&self) -> &GroupCounts {
        &self.counts
    }

    /// Groups by type and state over all shards, for metrics.
    pub fn groups_by_state(&self) -> BTreeMap<(&'static str, &'static str), usize> {
        let mut sum = BTreeMap::new();
        for cell in self.cells() {
            if let State::Active(active) = &cell.lock().state {
                for (key, n) in active.shard.groups_by_state() {
                    *sum.entry(key).or_default() += n;
                }
            }
        }
        sum
    }
}

/// Without the shard's lock, which others wait for.
fn resolve_regexes(cell: &Mutex<Cell>, now: Now) {
    let next = || match &mut cell.lock().state {
        State::Active(active) => active.shard.next_resolution(),
        _ => None,
    };
    while let Some(resolution) = next() {
        let resolved = resolution.run();
        if let State::Active(active) = &mut cell.lock().state {
            let output = active.shard.resolved(now, resolved);
            active.by_timer = true;
            active.carry_out(now, output);
            active.by_timer = false;
        }
    }
}

/// The partitions of the topic that a delta touches.
fn changed<'a>(delta: &'a Delta, topic: &'a metadata::Topic) -> impl Iterator<Item = (i32, &'a metadata::Partition)> {
    let touched = delta.changed_partitions.get(&topic.id).into_iter().flatten();
    touched.filter_map(|index| Some((*index, &**topic.partitions.get(index)?)))
}

fn group_config(config: &BrokerConfig) -> GroupConfig {
    GroupConfig {
        group_min_session_timeout_ms: config.group_min_session_timeout_ms,
        group_max_session_timeout_ms: config.group_max_session_timeout_ms,
        group_initial_rebalance_delay_ms: config.group_initial_rebalance_delay_ms,
        group_max_size: config.group_max_size,
        offset_metadata_max_bytes: config.offset_metadata_max_bytes,
        offsets_retention_minutes: config.offsets_retention_minutes,
        offsets_retention_check_interval_ms: config.offsets_retention_check_interval_ms,
        offsets_commit_timeout_ms: config.offsets_commit_timeout_ms,
        consumer_session_timeout_ms: Bounded {
            value: config.group_consumer_session_timeout_ms,
            min: config.group_consumer_min_session_timeout_ms,
            max: config.group_consumer_max_session_timeout_ms,
        },
        consumer_heartbeat_interval_ms: Bounded {
            value: config.group_consumer_heartbeat_interval_ms,
            min: config.group_consumer_min_heartbeat_interval_ms,
            max: config.group_consumer_max_heartbeat_interval_ms,
        },
        consumer_assignment_interval_ms: Bounded {
            value: config.group_consumer_assignment_interval_ms,
            min: config.group_consumer_min_assignment_interval_ms,
            max: config.group_consumer_max_assignment_interval_ms,
        },
        consumer_max_size: config.group_consumer_max_size,
        consumer_assignors: config.group_consumer_assignors.clone(),
        consumer_migration_policy: MigrationPolicy::from_name(&config.group_consumer_migration_policy)
            .unwrap_or(MigrationPolicy::Bidirectional),
        consumer_regex_refresh_interval_ms: config.group_consumer_regex_refresh_interval_ms,
        ..GroupConfig::default()
    }
}
