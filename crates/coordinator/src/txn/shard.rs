//! Owns: one partition of `__transaction_state` — its transactional ids, unfinished writes and timers. Loading, the fate of writes and of
//! markers, what happens by the clock, and the end of a shard; requests are in `init`, `add` and `end`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use base::{Instant, Now, TopicPartition};
use bytes::Bytes;
use wire::ErrorCode;

use super::metadata::{EPOCH_PER_TRANSACTION, Metadata, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, TxnStatus};
use super::output::{Change, MarkerTask, Then, TxnAppend, TxnOutput, TxnReply, TxnStep};
use super::records::{self, StoredTxn};
use crate::output::Token;

/// How long to wait before a marker, or the record that completes a transaction, is tried again.
const RETRY: Duration = Duration::from_millis(100);
/// Tombstones of expired ids are written in batches of this many bytes.
const CLEANUP_BATCH_BYTES: usize = 256 * 1024;

/// Field names are Kafka's configuration names with dots replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnConfig {
    pub transactional_id_expiration_ms: i32,
    pub transaction_max_timeout_ms: i32,
    pub transaction_abort_timed_out_transaction_cleanup_interval_ms: i32,
    pub transaction_remove_expired_transaction_cleanup_interval_ms: i32,
    pub transaction_two_phase_commit_enable: bool,
}

impl Default for TxnConfig {
    fn default() -> Self {
        TxnConfig {
            transactional_id_expiration_ms: 7 * 24 * 3_600_000,
            transaction_max_timeout_ms: 900_000,
            transaction_abort_timed_out_transaction_cleanup_interval_ms: 10_000,
            transaction_remove_expired_transaction_cleanup_interval_ms: 3_600_000,
            transaction_two_phase_commit_enable: false,
        }
    }
}

/// One transactional id.
#[derive(Clone, Debug)]
pub(super) struct Txn {
    /// At the high watermark.
    pub(super) current: Metadata,
    pub(super) pending: Option<Pending>,
}

/// Why a transactional id takes no new transition.
#[derive(Clone, Debug)]
pub(super) enum Pending {
    /// A record is on its way.
    Writing,
    /// The transaction is prepared; the partitions of `current` still want their marker.
    Marking {
        completed: Box<Metadata>,
        /// Handed out, and not reported on.
        in_flight: BTreeSet<TopicPartition>,
        /// A partition knows a newer coordinator or producer: this one has nothing to say any more.
        stopped: bool,
        /// The record that completes the transaction is on its way.
        completing: bool,
    },
}

#[derive(Debug)]
struct Written {
    /// Done when the high watermark reaches this offset.
    offset: i64,
    /// The client is told by then, whatever becomes of the write.
    reply_by: Instant,
    change: Change,
}

#[derive(Debug)]
pub struct TxnShard {
    pub(super) config: TxnConfig,
    pub(super) coordinator_epoch: i32,
    pub(super) txns: BTreeMap<String, Txn>,
    written: VecDeque<Written>,
    /// The state is not known to be at the high watermark yet.
    is_loading: bool,
    abort_timed_out_at: Instant,
    expire_at: Instant,
    retries: BTreeSet<(Instant, String)>,
}

impl TxnShard {
    /// Empty, to be filled by `replay` and then started by `on_loaded`. `coordinator_epoch` is the leader epoch of the partition.
    pub fn new(config: TxnConfig, coordinator_epoch: i32) -> Self {
        TxnShard {
            config,
            coordinator_epoch,
            txns: BTreeMap::new(),
            written: VecDeque::new(),
            is_loading: true,
            abort_timed_out_at: Instant::FAR_FUTURE,
            expire_at: Instant::FAR_FUTURE,
            retries: BTreeSet::new(),
        }
    }

    /// Takes effect for what begins from now on.
    pub fn update_config(&mut self, config: TxnConfig) {
        self.config = config;
    }

    /// Applies one record of the partition, in the order of offsets. An error says what is wrong with it; Kafka stops loading there.
    pub fn replay(&mut self, offset: i64, key: &Bytes, value: Option<&Bytes>) -> Result<(), String> {
        match records::decode(key, value).map_err(|error| format!("the record at offset {offset}: {error}"))? {
            StoredTxn::Txn(id, metadata) => {
                self.txns.insert(id, Txn { current: *metadata, pending: None });
            }
            StoredTxn::Tombstone(id) => {
                self.txns.remove(&id);
            }
            StoredTxn::Unknown(what, version) => tracing::warn!(
                offset,
                "skipped a transaction record with {what} version {version}, which may be left over from an aborted upgrade"
            ),
        }
        Ok(())
    }

    /// All records are replayed. Once the high watermark has passed them too, prepared transactions go on and the timers start: a state that
    /// may still be lost with this leader must not become markers.
    pub fn on_loaded(&mut self, step: &TxnStep, log_end_offset: i64, high_watermark: i64) -> TxnOutput {
        self.is_loading = true;
        self.written.push_back(Written { offset: log_end_offset, reply_by: Instant::FAR_FUTURE, change: Change::Loaded });
        self.advance(step, high_watermark)
    }

    /// Whether requests have to wait still.
    pub fn is_loading(&self) -> bool {
        self.is_loading
    }

    fn start(&mut self, step: &TxnStep, out: &mut TxnOutput) {
        self.is_loading = false;
        self.abort_timed_out_at = after(step.now, self.config.transaction_abort_timed_out_transaction_cleanup_interval_ms);
        self.expire_at = after(step.now, self.config.transaction_remove_expired_transaction_cleanup_interval_ms);
        let prepared: Vec<String> =
            self.txns.iter().filter(|(_, txn)| txn.current.status.is_prepared()).map(|(id, _)| id.clone()).collect();
        for id in prepared {
            self.write_markers(step, &id, out);
        }
    }

    /// The transition of an id, if no other one is under way.
    pub(super) fn begin(
        &mut self,
        step: &TxnStep,
        transactional_id: &str,
        next: Metadata,
        then: Then,
        reply: Option<(Token, TxnReply)>,
        out: &mut TxnOutput,
    ) {
        match records::encode(transactional_id, &next, step.transaction_version) {
            Ok(record) => {
                if let Some(txn) = self.txns.get_mut(transactional_id)
                    && txn.pending.is_none()
                {
                    txn.pending = Some(Pending::Writing);
                }
                let transactional_id = transactional_id.to_owned();
                let change = Change::Transition { transactional_id, next: Box::new(next), then, reply };
                out.appends.push(TxnAppend { records: vec![record], change });
            }
            Err(error) => {
                tracing::error!(transactional_id, %error, "the state of a transaction cannot be encoded");
                if let Some((token, _)) = reply {
                    out.fail(token, ErrorCode::UnknownServerError);
                }
            }
        }
    }

    /// The append is in the log, its first record at `first_offset`. Follow up with `advance`.
    pub fn appended(&mut self, step: &TxnStep, append: TxnAppend, first_offset: i64) {
        let offset = first_offset.saturating_add(append.records.len() as i64);
        let reply_by = match &append.change {
            Change::Transition { next, reply: Some(_), .. } => after(step.now, next.timeout_ms),
            _ => Instant::FAR_FUTURE,
        };
        self.written.push_back(Written { offset, reply_by, change: append.change });
    }

    /// The append is not in the log: everything is as it was.
    pub fn append_failed(&mut self, step: &TxnStep, append: TxnAppend, error: ErrorCode) -> TxnOutput {
        let mut out = TxnOutput::default();
        match append.change {
            Change::Transition { transactional_id, reply, .. } => {
                let Some(txn) = self.txns.get_mut(&transactional_id) else { return out };
                if let Some(Pending::Marking { completing, .. }) = &mut txn.pending {
                    *completing = false;
                    self.retries.insert((step.now.mono + RETRY, transactional_id));
                } else if txn.current.is_unwritten() {
                    self.txns.remove(&transactional_id);
                } else {
                    txn.pending = None;
                }
                if let Some((token, _)) = reply {
                    out.fail(token, coordinator_error(error));
                }
            }
            Change::Expire { transactional_ids } => {
                for id in transactional_ids {
                    if let Some(txn) = self.txns.get_mut(&id) {
                        txn.pending = None;
                    }
                }
            }
            Change::Loaded => {}
        }
        out
    }

    /// The high watermark has moved.
    pub fn advance(&mut self, step: &TxnStep, high_watermark: i64) -> TxnOutput {
        let mut out = TxnOutput::default();
        while self.written.front().is_some_and(|w| w.offset <= high_watermark)
            && let Some(written) = self.written.pop_front()
        {
            match written.change {
                Change::Transition { transactional_id, next, then, reply } => {
                    let Some(txn) = self.txns.get_mut(&transactional_id) else { continue };
                    txn.current = *next;
                    txn.pending = None;
                    if then == Then::WriteMarkers {
                        self.write_markers(step, &transactional_id, &mut out);
                    }
                    out.replies.extend(reply);
                }
                Change::Expire { transactional_ids } => {
                    for id in transactional_ids {
                        self.txns.remove(&id);
                    }
                }
                Change::Loaded => self.start(step, &mut out),
            }
        }
        out
    }

    /// Whether the high watermark has something to pass.
    pub fn waits_for(&self) -> Option<i64> {
        self.written.front().map(|w| w.offset)
    }

    /// Hands out the markers that a prepared transaction still needs and that nobody is writing; without any the transaction is complete.
    fn write_markers(&mut self, step: &TxnStep, transactional_id: &str, out: &mut TxnOutput) {
        let Some(txn) = self.txns.get_mut(transactional_id) else { return };
        let pending = txn.pending.get_or_insert_with(|| {
            let completed = Box::new(txn.current.completed(step.now.wall_ms));
            Pending::Marking { completed, in_flight: BTreeSet::new(), stopped: false, completing: false }
        });
        let Pending::Marking { in_flight, stopped: false, .. } = pending else { return };
        if txn.current.partitions.is_empty() {
            return self.complete(step, transactional_id, out);
        }
        let partitions: Vec<TopicPartition> = txn.current.partitions.difference(in_flight).cloned().collect();
        if partitions.is_empty() {
            return;
        }
        in_flight.extend(partitions.iter().cloned());
        out.markers.push(MarkerTask {
            transactional_id: transactional_id.to_owned(),
            producer_id: txn.current.producer_id,
            producer_epoch: txn.current.producer_epoch,
            commit: txn.current.status == TxnStatus::PrepareCommit,
            coordinator_epoch: self.coordinator_epoch,
            transaction_version: txn.current.client_version,
            partitions,
        });
    }

    /// What became of the markers of a task; each partition with its error, that is none for those that are at their high watermark.
    pub fn markers_written(&mut self, step: &TxnStep, task: &MarkerTask, results: Vec<(TopicPartition, ErrorCode)>) -> TxnOutput {
        let mut out = TxnOutput::default();
        let id = &task.transactional_id;
        let Some(txn) = self.txns.get_mut(id) else { return out };
        // A task of an earlier transaction, or of this shard's predecessor, has no effect.
        let is_current = (txn.current.producer_id, txn.current.producer_epoch) == (task.producer_id, task.producer_epoch);
        let Some(Pending::Marking { in_flight, stopped, .. }) = &mut txn.pending else { return out };
        if !is_current || task.coordinator_epoch != self.coordinator_epoch {
            return out;
        }
        let mut again = false;
        for (partition, error) in results {
            in_flight.remove(&partition);
            match error {
                ErrorCode::None | ErrorCode::UnsupportedForMessageFormat | ErrorCode::UnsupportedVersion => {
                    txn.current.partitions.remove(&partition);
                }
                ErrorCode::InvalidProducerEpoch | ErrorCode::TransactionCoordinatorFenced => {
                    tracing::warn!(
                        transactional_id = id,
                        %partition,
                        %error,
                        "a partition knows a newer producer or coordinator; the transaction is left to that"
                    );
                    *stopped = true;
                }
                _ => again = true,
            }
        }
        if *stopped {
            return out;
        }
        if txn.current.partitions.is_empty() {
            let id = id.clone();
            self.complete(step, &id, &mut out);
        } else if again {
            self.retries.insert((step.now.mono + RETRY, id.clone()));
        }
        out
    }

    /// Every partition has its marker: what is left is to say so.
    fn complete(&mut self, step: &TxnStep, transactional_id: &str, out: &mut TxnOutput) {
        let Some(txn) = self.txns.get_mut(transactional_id) else { return };
        let Some(Pending::Marking { completed, completing, .. }) = &mut txn.pending else { return };
        if std::mem::replace(completing, true) {
            return;
        }
        let completed = (**completed).clone();
        self.begin(step, transactional_id, completed, Then::Nothing, None, out);
    }

    /// Not later than the next thing that happens by itself.
    pub fn next_deadline(&self) -> Instant {
        let reply = self.written.iter().map(|w| w.reply_by).min().unwrap_or(Instant::FAR_FUTURE);
        let retry = self.retries.first().map_or(Instant::FAR_FUTURE, |(at, _)| *at);
        self.abort_timed_out_at.min(self.expire_at).min(reply).min(retry)
    }

    /// Does what is due.
    pub fn tick(&mut self, step: &mut TxnStep) -> TxnOutput {
        let mut out = TxnOutput::default();
        let now = step.now;
        self.reply_to_the_impatient(now, &mut out);
        while self.retries.first().is_some_and(|(at, _)| *at <= now.mono)
            && let Some((_, id)) = self.retries.pop_first()
        {
            if self.txns.get(&id).is_some_and(|txn| matches!(txn.pending, Some(Pending::Marking { .. }))) {
                self.write_markers(step, &id, &mut out);
            }
        }
        if self.abort_timed_out_at <= now.mono {
            self.abort_timed_out_at = after(now, self.config.transaction_abort_timed_out_transaction_cleanup_interval_ms);
            self.abort_timed_out(step, &mut out);
        }
        if self.expire_at <= now.mono {
            self.expire_at = after(now, self.config.transaction_remove_expired_transaction_cleanup_interval_ms);
            self.expire(now, &mut out);
        }
        out
    }

    /// Whoever has waited for a write as long as its transaction may last hears that nobody knows. The write stays pending: it is in the log.
    fn reply_to_the_impatient(&mut self, now: Now, out: &mut TxnOutput) {
        for written in &mut self.written {
            if written.reply_by <= now.mono
                && let Change::Transition { reply, .. } = &mut written.change
            {
                written.reply_by = Instant::FAR_FUTURE;
                if let Some((token, _)) = reply.take() {
                    out.fail(token, ErrorCode::CoordinatorNotAvailable);
                }
            }
        }
    }

    fn abort_timed_out(&mut self, step: &mut TxnStep, out: &mut TxnOutput) {
        let late = |txn: &Txn| txn.pending.is_none() && txn.current.has_timed_out(step.now.wall_ms);
        let ids: Vec<String> = self.txns.iter().filter(|(_, txn)| late(txn)).map(|(id, _)| id.clone()).collect();
        for id in ids {
            match self.fence(step, &id, None, out) {
                Ok(()) => tracing::info!(transactional_id = id, "a transaction has timed out and is aborted"),
                Err(error) => tracing::warn!(transactional_id = id, %error, "a transaction has timed out and cannot be aborted now"),
            }
        }
    }

    /// Aborts the running transaction under the next epoch, so that its producer is fenced.
    pub(super) fn fence(
        &mut self,
        step: &mut TxnStep,
        transactional_id: &str,
        reply: Option<(Token, TxnReply)>,
        out: &mut TxnOutput,
    ) -> Result<(), ErrorCode> {
        let Some(txn) = self.txns.get(transactional_id) else { return Ok(()) };
        let (current, now_ms) = (&txn.current, step.now.wall_ms);
        let next = if step.transaction_version >= EPOCH_PER_TRANSACTION {
            let next_id = next_id(current, step)?;
            current.prepared_with_bump(false, step.transaction_version, next_id, false, now_ms)?
        } else {
            current.prepared(false, true, now_ms)
        };
        self.begin(step, transactional_id, next, Then::WriteMarkers, reply, out);
        Ok(())
    }

    /// Writes tombstones for the ids that have not been used for long.
    fn expire(&mut self, now: Now, out: &mut TxnOutput) {
        let expiration_ms = i64::from(self.config.transactional_id_expiration_ms);
        let (mut tombstones, mut ids, mut bytes) = (Vec::new(), Vec::new(), 0);
        for (id, txn) in &mut self.txns {
            if txn.pending.is_some() || !txn.current.has_expired(now.wall_ms, expiration_ms) {
                continue;
            }
            match records::tombstone(id) {
                Ok(tombstone) => tombstones.push(tombstone),
                Err(error) => {
                    tracing::error!(transactional_id = id, %error, "a transactional id cannot be expired");
                    continue;
                }
            }
            txn.pending = Some(Pending::Writing);
            bytes += id.len() + 16;
            ids.push(id.clone());
            if bytes >= CLEANUP_BATCH_BYTES {
                out.appends.push(expiration(std::mem::take(&mut tombstones), std::mem::take(&mut ids)));
                bytes = 0;
            }
        }
        if !ids.is_empty() {
            out.appends.push(expiration(tombstones, ids));
        }
    }

    /// The partition has moved away: every request that waits is told so. The shard is done.
    pub fn unload(&mut self) -> TxnOutput {
        let mut out = TxnOutput::default();
        for written in self.written.drain(..) {
            if let Change::Transition { reply: Some((token, _)), .. } = written.change {
                out.fail(token, ErrorCode::NotCoordinator);
            }
        }
        self.txns.clear();
        self.retries.clear();
        self.abort_timed_out_at = Instant::FAR_FUTURE;
        self.expire_at = Instant::FAR_FUTURE;
        out
    }
}

/// A fresh producer id where the epochs of this one end with the running transaction.
pub(super) fn next_id(current: &Metadata, step: &mut TxnStep) -> Result<i64, ErrorCode> {
    if current.epoch_is_exhausted() { (step.fresh_id)() } else { Ok(NO_PRODUCER_ID) }
}

/// The producer that EndTxn of the older protocol answers with: none.
pub(super) const NO_PRODUCER: TxnReply = TxnReply::Producer { producer_id: NO_PRODUCER_ID, producer_epoch: NO_PRODUCER_EPOCH };

fn expiration(records: Vec<crate::output::CoordinatorRecord>, transactional_ids: Vec<String>) -> TxnAppend {
    TxnAppend { records, change: Change::Expire { transactional_ids } }
}

fn after(now: Now, ms: i32) -> Instant {
    now.mono + Duration::from_millis(u64::from(ms.max(1).unsigned_abs()))
}

/// What a client is told when the log gave this error. Kafka: `TransactionStateManager.appendTransactionToLog`.
fn coordinator_error(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::NotEnoughReplicasAfterAppend
        | ErrorCode::RequestTimedOut => ErrorCode::CoordinatorNotAvailable,
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => ErrorCode::UnknownServerError,
        other => other,
    }
}
