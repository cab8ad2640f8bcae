//! The shard with its log, the high watermark that lags behind it, and moves to other brokers.

use std::collections::BTreeMap;

use base::Now;
use wire::ErrorCode;

use crate::output::{CoordinatorRecord, Token};
use crate::txn::metadata::{Metadata, NO_PRODUCER_EPOCH, NO_PRODUCER_ID};
use crate::txn::{MarkerTask, TxnConfig, TxnLog, TxnOutput, TxnReply, TxnShard, TxnStep, drive};

#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) records: Vec<CoordinatorRecord>,
    pub(super) high_watermark: usize,
    /// The high watermark follows each append at once.
    pub(super) lags: bool,
    /// What the next append comes to.
    pub(super) failure: Option<ErrorCode>,
}

impl TxnLog for Log {
    fn append(&mut self, records: &[CoordinatorRecord]) -> Result<i64, ErrorCode> {
        if let Some(error) = self.failure.take() {
            return Err(error);
        }
        let first = self.records.len();
        self.records.extend(records.iter().cloned());
        if !self.lags {
            self.high_watermark = self.records.len();
        }
        Ok(first as i64)
    }

    fn high_watermark(&self) -> i64 {
        self.high_watermark as i64
    }
}

pub(super) struct Coordinator {
    pub(super) shard: TxnShard,
    pub(super) log: Log,
    pub(super) epoch: i32,
    pub(super) transaction_version: i16,
    pub(super) next_id: i64,
    /// Fresh ids are not to be had at the moment.
    pub(super) no_ids: bool,
    pub(super) rotations: u64,
    /// The end of the log when this shard was loaded from it.
    loaded_end: usize,
}

pub(super) fn config() -> TxnConfig {
    TxnConfig {
        transactional_id_expiration_ms: 400_000,
        transaction_max_timeout_ms: 60_000,
        transaction_abort_timed_out_transaction_cleanup_interval_ms: 1_000,
        transaction_remove_expired_transaction_cleanup_interval_ms: 50_000,
        transaction_two_phase_commit_enable: false,
    }
}

/// What came out of a step, its appends carried out.
pub(super) struct Done {
    pub(super) replies: Vec<(Token, TxnReply)>,
    pub(super) markers: Vec<MarkerTask>,
}

impl Coordinator {
    pub(super) fn new(transaction_version: i16, now: Now) -> Self {
        let mut coordinator = Coordinator {
            shard: TxnShard::new(config(), 0),
            log: Log::default(),
            epoch: 0,
            transaction_version,
            next_id: 1_000,
            no_ids: false,
            rotations: 0,
            loaded_end: 0,
        };
        coordinator.load(now);
        coordinator
    }

    pub(super) fn step(&mut self, now: Now, step: impl FnOnce(&mut TxnShard, &mut TxnStep) -> TxnOutput) -> Done {
        let (next_id, no_ids) = (&mut self.next_id, self.no_ids);
        let mut fresh_id = || match no_ids {
            true => Err(ErrorCode::CoordinatorLoadInProgress),
            false => {
                *next_id += 1;
                Ok(*next_id - 1)
            }
        };
        let mut context = TxnStep { now, transaction_version: self.transaction_version, fresh_id: &mut fresh_id };
        let output = step(&mut self.shard, &mut context);
        let done = drive(&mut self.shard, &mut context, output, &mut self.log);
        Done { replies: done.replies, markers: done.markers }
    }

    /// The leader has gone; the next one has the log up to `end` at most, which is not below the high watermark.
    pub(super) fn fail_over(&mut self, now: Now, end: usize) -> Done {
        let lost = self.shard.unload();
        self.log.records.truncate(end.max(self.log.high_watermark));
        self.epoch += 1;
        let mut done = self.load(now);
        done.replies.extend(lost.replies);
        done
    }

    fn load(&mut self, now: Now) -> Done {
        self.shard = replayed(&self.log.records, self.epoch);
        self.loaded_end = self.log.records.len();
        let (end, high_watermark) = (self.loaded_end as i64, self.log.high_watermark());
        self.step(now, |shard, context| shard.on_loaded(context, end, high_watermark))
    }

    /// What the shard takes for committed is what the log says that is.
    pub(super) fn check_against_log(&self) -> Result<(), String> {
        let committed = self.log.high_watermark.max(self.loaded_end).min(self.log.records.len());
        let logged = states(&replayed(&self.log.records[..committed], self.epoch));
        let mut live = states(&self.shard);
        for (id, live) in &mut live {
            // The older format has no place for these.
            if logged.get(id).is_some_and(|logged| logged.prev_producer_id == NO_PRODUCER_ID) {
                (live.prev_producer_id, live.next_producer_id, live.client_version) = (NO_PRODUCER_ID, NO_PRODUCER_ID, 0);
            }
        }
        if live == logged { Ok(()) } else { Err(format!("the shard has {live:#?}, the log {logged:#?}")) }
    }
}

fn replayed(records: &[CoordinatorRecord], epoch: i32) -> TxnShard {
    let mut shard = TxnShard::new(config(), epoch);
    for (offset, record) in records.iter().enumerate() {
        shard.replay(offset as i64, &record.key, record.value.as_ref()).unwrap();
    }
    shard
}

/// Without what is not in the records, and without the partitions whose markers may be written by now.
fn states(shard: &TxnShard) -> BTreeMap<String, Metadata> {
    let plain = |current: &Metadata| {
        let mut plain = Metadata { last_producer_epoch: NO_PRODUCER_EPOCH, ..current.clone() };
        if plain.status.is_prepared() {
            plain.partitions.clear();
        }
        plain
    };
    let written = shard.txns.iter().filter(|(_, txn)| !txn.current.is_unwritten());
    written.map(|(id, txn)| (id.clone(), plain(&txn.current))).collect()
}
