//! One partition on this broker. Hot path: `append` and `read` run under the partition's lock, on the thread that read the socket.
//!
//! Guarantees: what `append` acknowledged with `high_watermark` above it is readable by consumers; offsets are dense and never
//! reused. With flush.messages, records are acknowledged and readable once they are flushed, which `flush.rs` does; else nothing is synced.

use crate::error::PartitionError;
use crate::flush::{FlushQueue, Flushing};
use crate::held::{Held, NewLog};
use crate::space::{Admission, Room};
use crate::traffic::Traffic;
use crate::watch::{Watch, WatchId, Watchers};
use base::{Now, Segment, TopicPartition, Uuid};
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;
use storage::{AppendError, AppendInfo, AppendOrigin, Log, LogConfig, ReadLimit, Verification, VerificationGuard};
use wire::ErrorCode;

/// How many replicas must have a record before the producer is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    None,
    Leader,
    /// All in-sync replicas, of which there must be at least min.insync.replicas.
    All,
}

pub struct Partition {
    pub topic_partition: TopicPartition,
    pub topic_id: Uuid,
    /// Shared by all partitions of the topic.
    pub traffic: Arc<Traffic>,
    /// Shared by all partitions.
    pub(crate) flushes: Arc<FlushQueue>,
    pub(crate) broker_id: i32,
    pub(crate) state: Mutex<State>,
}

pub(crate) struct State {
    pub held: Held,
    /// The log directory of a log that was given up.
    pub lost_from: Option<PathBuf>,
    /// In the directory of the log.
    pub room: Arc<Room>,
    /// Counts the logs that took each other's place here.
    pub log_generation: u64,
    pub flushing: Flushing,
    pub leader: i32,
    leader_epoch: i32,
    partition_epoch: i32,
    isr: Vec<i32>,
    replica_count: usize,
    /// Who waits for the high watermark.
    pub watchers: Watchers,
    /// Who waits for a flush.
    pub flush_watchers: Watchers,
}

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    HighWatermark,
    Flushed,
}

impl State {
    fn watchers(&mut self, which: Which) -> &mut Watchers {
        match which {
            Which::HighWatermark => &mut self.watchers,
            Which::Flushed => &mut self.flush_watchers,
        }
    }

    fn all_watchers(&mut self) -> Vec<Waker> {
        let mut woken = self.watchers.all();
        woken.extend(self.flush_watchers.all());
        woken
    }

    /// The log cannot be trusted any more: it is closed to everybody. Returns who is to be woken to find out.
    pub fn fail(&mut self) -> Vec<Waker> {
        if !self.held.is_nothing() {
            self.lost_from = self.held.log_dir().map(PathBuf::from);
            self.held = Held::Nothing;
        }
        self.log_generation += 1;
        self.all_watchers()
    }

    /// The log, created if it was not yet. One that cannot be is given up.
    pub fn log(&mut self) -> Option<&mut Log> {
        if let Held::New(new) = &self.held {
            match new.create() {
                Ok(log) => self.held = Held::Log(log),
                Err(error) => {
                    tracing::error!(partition = %new.topic_partition, %error, "partition cannot be served");
                    self.lost_from = new.dir.parent().map(PathBuf::from);
                    self.held = Held::Nothing;
                }
            }
        }
        self.held.opened_mut()
    }
}

#[derive(Clone, Debug)]
pub struct PartitionAppend {
    pub info: AppendInfo,
    /// With acks=all: answered when the high watermark reaches this.
    pub required_high_watermark: i64,
    pub high_watermark: i64,
    /// flush.messages asks for a flush before anybody is told that the records are there.
    pub must_flush: bool,
    /// The disk fills up too fast: by this the answer is to be held back.
    pub slowed: Duration,
}

impl PartitionAppend {
    /// Whether the answer has to wait; `Partition::watch_append` tells until when.
    pub fn must_wait(&self, acks: Acks) -> bool {
        match acks {
            Acks::None => false,
            Acks::Leader => self.must_flush,
            Acks::All => self.high_watermark < self.required_high_watermark,
        }
    }
}

/// What a Fetch got from one partition.
#[derive(Debug)]
pub struct FetchRead {
    pub records: Vec<Segment>,
    pub size: usize,
    pub aborted_transactions: Option<Vec<(i64, i64)>>,
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    pub log_start_offset: i64,
    pub log_end_offset: i64,
    /// Of the topic.
    pub traffic: Arc<Traffic>,
}

impl Partition {
    pub fn new(broker_id: i32, topic_id: Uuid, log: Log) -> Self {
        Self::with(broker_id, log.topic_partition().clone(), topic_id, Held::Log(log))
    }

    /// One whose log is still to be created.
    pub(crate) fn to_create(broker_id: i32, new: NewLog) -> Self {
        Self::with(broker_id, new.topic_partition.clone(), new.topic_id, Held::New(Box::new(new)))
    }

    /// One whose log cannot be used until the node starts again: it answers KAFKA_STORAGE_ERROR.
    pub fn offline(broker_id: i32, topic_partition: TopicPartition, topic_id: Uuid) -> Self {
        Self::with(broker_id, topic_partition, topic_id, Held::Nothing)
    }

    fn with(broker_id: i32, topic_partition: TopicPartition, topic_id: Uuid, held: Held) -> Self {
        Partition {
            topic_partition,
            topic_id,
            traffic: Arc::default(),
            flushes: Arc::default(),
            broker_id,
            state: Mutex::new(State {
                held,
                lost_from: None,
                room: Arc::new(Room::new(PathBuf::new())),
                log_generation: 0,
                flushing: Flushing::No,
                leader: metadata::image::partition::NO_LEADER,
                leader_epoch: -1,
                partition_epoch: -1,
                isr: Vec::new(),
                replica_count: 0,
                watchers: Watchers::default(),
                flush_watchers: Watchers::default(),
            }),
        }
    }

    /// Takes over what the controller decided. A new leader epoch is noted in the log before its first batch.
    pub fn apply(self: &Arc<Self>, registration: &metadata::Partition) {
        let mut state = self.state.lock();
        if registration.partition_epoch < state.partition_epoch {
            return;
        }
        let new_epoch = registration.leader_epoch > state.leader_epoch;
        state.leader = registration.leader;
        state.leader_epoch = registration.leader_epoch;
        state.partition_epoch = registration.partition_epoch;
        state.isr = registration.isr.clone();
        state.replica_count = registration.replicas.len();
        if new_epoch && state.leader == self.broker_id {
            state.held.begin_epoch(registration.leader_epoch);
        }
        // Whoever waits here must look again: the leader may be another, the in-sync replicas fewer.
        advance(self.broker_id, &mut state);
        let woken = state.all_watchers();
        drop(state);
        wake(woken);
        // What an unclean stop left unflushed is not readable until it is.
        self.request_flush(Log::flush_required);
    }

    /// Counts what is written here against the room in the log's directory, which may be another now.
    pub(crate) fn set_room(&self, room: impl FnOnce(&Path) -> Arc<Room>) {
        let mut state = self.state.lock();
        if let Some(dir) = state.held.log_dir() {
            state.room = room(dir);
        }
    }

    /// Whether the log is, or was until it was given up, in this log directory.
    pub fn is_in(&self, log_dir: &Path) -> bool {
        let state = self.state.lock();
        state.held.log_dir().or(state.lost_from.as_deref()) == Some(log_dir)
    }

    pub fn leader_epoch(&self) -> i32 {
        self.state.lock().leader_epoch
    }

    pub fn is_leader(&self) -> bool {
        self.state.lock().leader == self.broker_id
    }

    /// Appends one batch that a client or a coordinator sent.
    pub fn append(self: &Arc<Self>, records: Bytes, acks: Acks, origin: AppendOrigin, now: Now) -> Result<PartitionAppend, PartitionError> {
        let of_client = (origin == AppendOrigin::Client).then_some(records.len() as u64);
        self.append_with(acks, of_client, now, |log, epoch| log.append_as_leader(records, epoch, origin, now))
    }

    /// As `append`, for a batch of a transaction: the one that opens it on this partition needs the guard of its verification.
    pub fn append_in_transaction(
        self: &Arc<Self>,
        records: Bytes,
        acks: Acks,
        origin: AppendOrigin,
        verification: Verification,
        now: Now,
    ) -> Result<PartitionAppend, PartitionError> {
        let of_client = (origin == AppendOrigin::Client).then_some(records.len() as u64);
        self.append_with(acks, of_client, now, |log, epoch| log.append_in_transaction(records, epoch, origin, verification, now))
    }

    /// Before the transaction coordinator is asked whether a producer may write here (KIP-890): the guard to append with, `None` when its
    /// transaction is open on this partition and nobody needs to be asked.
    pub fn start_verification(
        &self,
        producer_id: i64,
        base_sequence: i32,
        epoch: i16,
        supports_epoch_bump: bool,
        now: Now,
    ) -> Result<Option<VerificationGuard>, PartitionError> {
        let mut state = self.state.lock();
        let log = leader_log(self.broker_id, &mut state, None)?;
        Ok(log.start_verification(producer_id, base_sequence, epoch, supports_epoch_bump, now)?)
    }

    /// Appends the marker that ends a transaction, for all in-sync replicas; version 2 transactions are checked more strictly (KIP-1228).
    pub fn append_end_txn_marker(
        self: &Arc<Self>,
        marker: Bytes,
        transaction_version: i16,
        now: Now,
    ) -> Result<PartitionAppend, PartitionError> {
        self.append_with(Acks::All, None, now, |log, epoch| log.append_end_txn_marker(marker, epoch, transaction_version, now))
    }

    /// `of_client`: as many bytes of a client, for which there must be room beyond the reserve of the disk.
    fn append_with(
        self: &Arc<Self>,
        acks: Acks,
        of_client: Option<u64>,
        now: Now,
        append: impl FnOnce(&mut Log, i32) -> Result<AppendInfo, AppendError>,
    ) -> Result<PartitionAppend, PartitionError> {
        let mut state = self.state.lock();
        let in_sync = state.isr.len();
        let room = state.room.clone();
        let (epoch, replica_count) = (state.leader_epoch, state.replica_count);
        let log = leader_log(self.broker_id, &mut state, None)?;
        // More than all replicas cannot be asked for (KIP-966).
        let needed = (log.config().min_insync_replicas.max(1) as usize).min(replica_count.max(1));
        if acks == Acks::All && in_sync < needed {
            let message = format!(
                "The size of the current ISR : {in_sync} is insufficient to satisfy the min.isr requirement of {needed} for partition {}",
                self.topic_partition
            );
            return Err(PartitionError::new(ErrorCode::NotEnoughReplicas, message));
        }
        let slowed = match of_client.map_or(Admission::Granted, |bytes| room.admit(bytes, now)) {
            Admission::Granted => Duration::ZERO,
            Admission::Slowed(delay) => delay,
            Admission::Refused(text) => return Err(PartitionError::new(ErrorCode::KafkaStorageError, text)),
        };
        let info = append(log, epoch).map_err(|error| {
            let mut error = PartitionError::from(error);
            error.log_start_offset = log.log_start_offset();
            error
        })?;
        room.take(info.size as u64);
        let must_flush = log.flush_required();
        let required_high_watermark = info.last_offset + 1;
        let woken = advance(self.broker_id, &mut state);
        let high_watermark = state.held.high_watermark().unwrap_or(0);
        // A flush that runs already has begun before this append; it asks for the next one when it ends.
        let queue = must_flush && state.flushing == Flushing::No;
        if queue {
            state.flushing = Flushing::Queued;
        }
        drop(state);
        wake(woken);
        if queue {
            self.flushes.push(self.clone());
        }
        Ok(PartitionAppend { info, required_high_watermark, high_watermark, must_flush, slowed })
    }

    /// Reads for a consumer: never beyond the high watermark, or the last stable offset.
    pub fn read(
        &self,
        offset: i64,
        max_bytes: usize,
        limit: ReadLimit,
        current_leader_epoch: Option<i32>,
        min_one: bool,
    ) -> Result<FetchRead, PartitionError> {
        let mut state = self.state.lock();
        let log = leader_log(self.broker_id, &mut state, current_leader_epoch)?;
        let read = log.read(offset, max_bytes, limit, min_one).map_err(|error| {
            let mut error = PartitionError::from(error);
            error.log_start_offset = log.log_start_offset();
            error
        })?;
        Ok(FetchRead {
            records: read.records,
            size: read.size,
            aborted_transactions: read.aborted_transactions,
            high_watermark: read.high_watermark,
            last_stable_offset: read.last_stable_offset,
            log_start_offset: read.log_start_offset,
            log_end_offset: read.log_end_offset,
            traffic: self.traffic.clone(),
        })
    }

    /// Runs `f` on the log if this broker leads the partition at the epoch the client knows.
    pub fn with_leader_log<T>(&self, current_leader_epoch: Option<i32>, f: impl FnOnce(&mut Log) -> T) -> Result<T, PartitionError> {
        let mut state = self.state.lock();
        Ok(f(leader_log(self.broker_id, &mut state, current_leader_epoch)?))
    }

    /// Runs `f` on the log whoever leads; `None` when there is no log here any more.
    pub fn with_log<T>(&self, f: impl FnOnce(&mut Log) -> T) -> Option<T> {
        self.state.lock().log().map(f)
    }

    /// As `with_log`, for whoever has nothing to do with a log that is not created yet: `None` for that, too.
    pub fn with_created_log<T>(&self, f: impl FnOnce(&mut Log) -> T) -> Option<T> {
        self.state.lock().held.opened_mut().map(f)
    }

    /// Whether there is no log here any more.
    pub fn is_offline(&self) -> bool {
        self.state.lock().held.is_nothing()
    }

    /// Creates the log, unless somebody who needed it already has.
    pub(crate) fn create_log(self: &Arc<Self>) {
        let mut state = self.state.lock();
        state.log();
        // A directory that was there all the same may have records.
        let woken = advance(self.broker_id, &mut state);
        drop(state);
        wake(woken);
        self.request_flush(Log::flush_required);
    }

    /// Runs `f` on the log and wakes whoever the result concerns: deleting records moves the log start.
    pub fn with_leader_log_and_wake<T>(
        &self,
        current_leader_epoch: Option<i32>,
        f: impl FnOnce(&mut Log) -> T,
    ) -> Result<T, PartitionError> {
        let mut state = self.state.lock();
        let out = f(leader_log(self.broker_id, &mut state, current_leader_epoch)?);
        let woken = state.watchers.all();
        drop(state);
        wake(woken);
        Ok(out)
    }

    pub fn update_config(&self, config: LogConfig) {
        self.state.lock().held.update_config(config);
    }

    pub fn high_watermark(&self) -> i64 {
        self.state.lock().held.high_watermark().unwrap_or(-1)
    }

    /// Wakes `waker` once the high watermark reaches `threshold`, or the partition changes hands. Returns `None`, and wakes nobody,
    /// when that is so already.
    pub fn watch(self: &Arc<Self>, threshold: i64, waker: &Waker) -> Option<Watch> {
        let mut state = self.state.lock();
        if state.held.high_watermark().is_none_or(|reached| reached >= threshold) {
            return None;
        }
        let id = state.watchers.add(threshold, waker.clone());
        Some(Watch { partition: self.clone(), id, which: Which::HighWatermark })
    }

    pub(crate) fn unwatch(&self, which: Which, id: WatchId) {
        self.state.lock().watchers(which).remove(id);
    }

    /// Puts another log in the place of this one, if `f`, which sees it and the leader epoch, gives one; returns whether it did.
    pub(crate) fn replace_log<E>(&self, f: impl FnOnce(&mut Log, i32) -> Result<Option<Log>, E>) -> Result<bool, E> {
        let mut state = self.state.lock();
        let epoch = state.leader_epoch;
        let Some(old) = state.log() else { return Ok(false) };
        let Some(new) = f(old, epoch)? else { return Ok(false) };
        state.held = Held::Log(new);
        state.log_generation += 1;
        Ok(true)
    }

    /// The directory of the log has failed; whoever waits is woken to find out.
    pub(crate) fn lose_log(&self) {
        let woken = self.state.lock().fail();
        wake(woken);
    }

    /// Takes the log out, to be closed or deleted; whoever waits is woken and finds the partition gone.
    pub(crate) fn take_log(&self) -> Option<Log> {
        let mut state = self.state.lock();
        let log = state.held.take();
        let woken = state.fail();
        drop(state);
        wake(woken);
        log
    }
}

/// The log, if this broker leads. Epoch errors as in `Partition.localReplicaWithEpochOrThrow`; without a log nothing else matters.
fn leader_log<'a>(broker_id: i32, state: &'a mut MutexGuard<'_, State>, client_epoch: Option<i32>) -> Result<&'a mut Log, PartitionError> {
    let leads = state.leader == broker_id;
    // Of a log that was on a failed disk before this process began, Kafka only knows that nobody leads the partition.
    if state.held.is_nothing() && (state.lost_from.is_some() || leads) {
        return Err(ErrorCode::KafkaStorageError.into());
    }
    if let Some(epoch) = client_epoch.filter(|epoch| *epoch >= 0) {
        if epoch < state.leader_epoch {
            return Err(ErrorCode::FencedLeaderEpoch.into());
        }
        if epoch > state.leader_epoch {
            return Err(ErrorCode::UnknownLeaderEpoch.into());
        }
    }
    if !leads {
        return Err(ErrorCode::NotLeaderOrFollower.into());
    }
    state.log().ok_or_else(|| ErrorCode::KafkaStorageError.into())
}

/// Moves the high watermark to what all in-sync replicas have, and takes out who waited for that. Followers of other brokers report
/// their position by fetching; as long as none has, only a leader that is alone in sync moves it. What flush.messages wants flushed before
/// it counts, the leader itself does not have until it is.
pub(crate) fn advance(broker_id: i32, state: &mut MutexGuard<'_, State>) -> Vec<Waker> {
    if state.leader != broker_id || state.isr != [broker_id] {
        return Vec::new();
    }
    let Some(log) = state.held.opened_mut() else { return Vec::new() };
    let end = log.settled_end().max(log.high_watermark());
    if !log.set_high_watermark(end) {
        return Vec::new();
    }
    state.watchers.reached(end)
}

pub(crate) fn wake(wakers: Vec<Waker>) {
    for waker in wakers {
        waker.wake();
    }
}
