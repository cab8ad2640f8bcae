//! Drives the transaction coordinator shards of this broker: one per partition of `__transaction_state` that it leads. As for groups: a request
//! runs its shard under the shard's lock, appends what the shard wants written, and parks on a slot for the answer. Markers are written by
//! `mark`, after the lock is let go of. Lock order: transaction shard, then group shard, then partition; who calls in holds none of these.
//! Kafka: `TransactionCoordinator`, `TransactionStateManager`, `AddPartitionsToTxnManager`.

mod cell;
mod load;
mod log;
mod mark;
mod view;

use crate::Broker;
use crate::alarm::Alarm;
use crate::auto_create::TRANSACTION_STATE_TOPIC;
use base::{Instant, Now, Slot, TopicPartition};
use cell::{Active, Cell, State};
use config::BrokerConfig;
use coordinator::Token;
use coordinator::txn::{TxnConfig, TxnOutput, TxnReply, TxnShard, TxnStep};
use metadata::features::TRANSACTION_VERSION;
use metadata::{Delta, Image};
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI16, AtomicI32, AtomicU64, Ordering};
use std::task::Waker;
pub use view::TxnStates;
use wire::ErrorCode;

pub(crate) type TxnSlot = Arc<Slot<TxnReply>>;

/// What Produce and TxnOffsetCommit ask before they append (KIP-890).
pub(crate) struct AddOrVerify {
    pub transactional_id: String,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub partitions: Vec<TopicPartition>,
    pub mode: TxnCheck,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TxnCheck {
    /// The partitions join the transaction (transactions v2 clients).
    Add,
    /// They must be in it already (older clients).
    Verify,
}

/// Filled at once when the coordinator is here and nothing waits.
pub(crate) type VerdictSlot = Arc<Slot<Vec<(TopicPartition, ErrorCode)>>>;

/// The protocol with an epoch per transaction.
pub(crate) const CLIENT_VERSION_2: i16 = 2;

/// Who waits for the answer to a step.
enum Waiter {
    Request(TxnSlot),
    Verdict(VerdictSlot, Vec<TopicPartition>),
}

impl Waiter {
    fn fill(self, reply: TxnReply) {
        match self {
            Waiter::Request(slot) => slot.fill(reply),
            Waiter::Verdict(slot, partitions) => slot.fill(verdicts(partitions, reply)),
        }
    }
}

/// Producers know a fenced epoch by another code than clients of the coordinator.
fn verdicts(partitions: Vec<TopicPartition>, reply: TxnReply) -> Vec<(TopicPartition, ErrorCode)> {
    let told = |error| if error == ErrorCode::ProducerFenced { ErrorCode::InvalidProducerEpoch } else { error };
    match reply {
        TxnReply::Verified(verdicts) => verdicts.into_iter().map(|(partition, error)| (partition, told(error))).collect(),
        TxnReply::Failed(error) => partitions.into_iter().map(|partition| (partition, told(error))).collect(),
        TxnReply::Added | TxnReply::Producer { .. } => partitions.into_iter().map(|partition| (partition, ErrorCode::None)).collect(),
    }
}

pub(crate) struct Txns {
    shards: RwLock<BTreeMap<i32, Arc<Mutex<Cell>>>>,
    /// How many partitions `__transaction_state` has; 0 while it does not exist.
    partitions: AtomicI32,
    /// The finalized level of the feature.
    transaction_version: AtomicI16,
    config: Mutex<TxnConfig>,
    next_token: AtomicU64,
    alarm: Arc<Alarm>,
    /// Markers in the logs of their partitions that the high watermark has not passed.
    marks: Mutex<Vec<mark::Waiting>>,
}

impl Txns {
    pub fn new(config: &BrokerConfig, image: &Image) -> Self {
        Txns {
            shards: RwLock::default(),
            partitions: AtomicI32::new(0),
            transaction_version: AtomicI16::new(transaction_version(image)),
            config: Mutex::new(txn_config(config)),
            next_token: AtomicU64::new(0),
            alarm: Alarm::new(),
            marks: Mutex::default(),
        }
    }

    pub fn set_config(&self, config: &BrokerConfig) {
        let config = txn_config(config);
        *self.config.lock() = config.clone();
        for (_, cell) in self.cells() {
            if let State::Active(active) = &mut cell.lock().state {
                active.shard.update_config(config.clone());
            }
        }
    }

    /// Woken when a timer is set that is due before the last `tick` said, or what somebody waits for is committed.
    pub fn set_alarm(&self, waker: Waker) {
        self.alarm.set_waker(waker);
    }

    /// In the order of their partitions.
    fn cells(&self) -> Vec<(i32, Arc<Mutex<Cell>>)> {
        self.shards.read().iter().map(|(index, cell)| (*index, cell.clone())).collect()
    }

    fn cell(&self, index: i32) -> Option<Arc<Mutex<Cell>>> {
        self.shards.read().get(&index).cloned()
    }

    /// The partition that coordinates a transactional id; `None` while the topic does not exist.
    pub fn partition_of(&self, transactional_id: &str) -> Option<i32> {
        match self.partitions.load(Ordering::Acquire) {
            0 => None,
            n => Some(base::hash::coordinator_partition(transactional_id, n)),
        }
    }

    /// Runs a request on the shard of its transactional id. The slot is filled when the shard answers, which may be before this returns.
    pub fn call(
        &self,
        broker: &Broker,
        transactional_id: &str,
        now: Now,
        step: impl FnOnce(&mut TxnShard, &mut TxnStep, Token) -> TxnOutput,
    ) -> Result<TxnSlot, ErrorCode> {
        let slot = Slot::new();
        self.ask(broker, transactional_id, now, Waiter::Request(slot.clone()), step)?;
        Ok(slot)
    }

    pub fn add_or_verify(&self, broker: &Broker, now: Now, request: AddOrVerify) -> VerdictSlot {
        let AddOrVerify { transactional_id: id, producer_id, producer_epoch, partitions, mode } = request;
        let (slot, producer) = (Slot::new(), (producer_id, producer_epoch));
        let waiter = Waiter::Verdict(slot.clone(), partitions.clone());
        let asked = self.ask(broker, &id, now, waiter, |shard, step, token| match mode {
            TxnCheck::Add => shard.add_partitions(step, token, &id, producer, &partitions, CLIENT_VERSION_2),
            TxnCheck::Verify => shard.verify_partitions(token, &id, producer, &partitions),
        });
        if let Err(error) = asked {
            // To a producer it does not matter why the coordinator of its transaction cannot be asked here.
            let error = if self.partition_of(&id).is_none() { ErrorCode::CoordinatorNotAvailable } else { error };
            slot.fill(verdicts(partitions, TxnReply::Failed(error)));
        }
        slot
    }

    fn ask(
        &self,
        broker: &Broker,
        transactional_id: &str,
        now: Now,
        waiter: Waiter,
        step: impl FnOnce(&mut TxnShard, &mut TxnStep, Token) -> TxnOutput,
    ) -> Result<(), ErrorCode> {
        let index = self.partition_of(transactional_id).ok_or(ErrorCode::NotCoordinator)?;
        let cell = self.cell(index).ok_or(ErrorCode::NotCoordinator)?;
        let token = Token(self.next_token.fetch_add(1, Ordering::Relaxed));
        let markers = {
            let mut cell = cell.lock();
            let active = cell.state.serving()?;
            active.waiting.insert(token, waiter);
            self.run(broker, now, active, |shard, context| step(shard, context, token))
        };
        self.write_markers(broker, now, index, markers);
        Ok(())
    }

    /// Runs a step and carries it out; returns the markers that are to be written when the shard's lock is let go of.
    fn run(
        &self,
        broker: &Broker,
        now: Now,
        active: &mut Active,
        step: impl FnOnce(&mut TxnShard, &mut TxnStep) -> TxnOutput,
    ) -> Vec<coordinator::txn::MarkerTask> {
        let mut fresh_id = || broker.producer_ids.try_next(broker);
        let mut context = self.context(now, &mut fresh_id);
        let output = step(&mut active.shard, &mut context);
        let markers = active.carry_out(&mut context, output);
        self.ring_if_earlier(active.shard.next_deadline());
        markers
    }

    fn context<'a>(&self, now: Now, fresh_id: &'a mut dyn FnMut() -> Result<i64, ErrorCode>) -> TxnStep<'a> {
        TxnStep { now, transaction_version: self.transaction_version.load(Ordering::Acquire), fresh_id }
    }

    fn ring_if_earlier(&self, deadline: Instant) {
        self.alarm.ring_if_earlier(deadline);
    }

    fn committed_waker(&self) -> Waker {
        self.alarm.waker()
    }

    /// Follows leadership of the topic's partitions: what is new is queued to be loaded, what is lost is told to its waiters.
    pub fn apply(&self, broker: &Broker, delta: &Delta, image: &Arc<Image>) {
        self.transaction_version.store(transaction_version(image), Ordering::Release);
        if let Some(topic) = image.topics.get(TRANSACTION_STATE_TOPIC) {
            self.partitions.store(topic.partitions.len() as i32, Ordering::Release);
            for index in delta.changed_partitions.get(&topic.id).into_iter().flatten() {
                let Some(registration) = topic.partitions.get(index) else { continue };
                match registration.leader == broker.id() {
                    true => self.elect(*index, registration.leader_epoch),
                    false => self.resign(*index),
                }
            }
        }
        if delta.deleted_topics.values().any(|t| &*t.name == TRANSACTION_STATE_TOPIC) && image.topics.get(TRANSACTION_STATE_TOPIC).is_none()
        {
            self.partitions.store(0, Ordering::Release);
            self.cells().into_iter().for_each(|(index, _)| self.resign(index));
        }
    }

    /// A new leader epoch is a new coordinator: it starts from the log, and its markers go before those of the one before.
    fn elect(&self, index: i32, epoch: i32) {
        let known = self.cell(index).map(|cell| cell.lock().epoch);
        if known.is_some_and(|known| known >= epoch) {
            return;
        }
        self.resign(index);
        self.shards.write().insert(index, Arc::new(Mutex::new(Cell { epoch, state: State::Loading })));
        self.alarm.ring();
    }

    /// The directory of a partition has failed; if it was one of ours, its transactions have no coordinator any more.
    pub fn log_failed(&self, partition: &TopicPartition) {
        if partition.topic == TRANSACTION_STATE_TOPIC {
            self.resign(partition.partition);
        }
    }

    fn resign(&self, index: i32) {
        let Some(cell) = self.shards.write().remove(&index) else { return };
        if let State::Active(mut active) = std::mem::replace(&mut cell.lock().state, State::Gone) {
            let output = active.shard.unload();
            active.hand_out(output.replies);
        }
    }

    /// Does what is due in all shards; returns when to come again.
    pub fn tick(&self, broker: &Broker, now: Now) -> Instant {
        self.alarm.begin_tick();
        self.follow_markers(broker, now);
        let mut next = Instant::FAR_FUTURE;
        for (index, cell) in self.cells() {
            let markers = {
                let mut cell = cell.lock();
                let Ok(active) = cell.state.active() else { continue };
                let mut markers = active.follow_high_watermark(self, broker, now);
                if active.shard.next_deadline() <= now.mono {
                    markers.extend(self.run(broker, now, active, |shard, context| shard.tick(context)));
                }
                next = next.min(active.shard.next_deadline());
                markers
            };
            self.write_markers(broker, now, index, markers);
        }
        self.alarm.end_tick(next)
    }
}

fn transaction_version(image: &Image) -> i16 {
    image.features.levels.get(TRANSACTION_VERSION).copied().unwrap_or(0)
}

fn txn_config(config: &BrokerConfig) -> TxnConfig {
    TxnConfig {
        transactional_id_expiration_ms: config.transactional_id_expiration_ms,
        transaction_max_timeout_ms: config.transaction_max_timeout_ms,
        transaction_abort_timed_out_transaction_cleanup_interval_ms: config.transaction_abort_timed_out_transaction_cleanup_interval_ms,
        transaction_remove_expired_transaction_cleanup_interval_ms: config.transaction_remove_expired_transaction_cleanup_interval_ms,
        transaction_two_phase_commit_enable: config.transaction_two_phase_commit_enable,
    }
}
