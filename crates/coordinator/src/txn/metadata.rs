//! Owns: what is known of one transactional id, and the transitions it can make. Each gives the metadata that is to be written; nothing here
//! changes anything. Kafka: TransactionMetadata, TransactionState, TxnTransitMetadata.

use std::collections::BTreeSet;

use base::TopicPartition;
use wire::ErrorCode;

pub(crate) const NO_PRODUCER_ID: i64 = -1;
pub(crate) const NO_PRODUCER_EPOCH: i16 = -1;
/// Transactions that are committed by somebody else have this timeout, which is none.
const NO_TIMEOUT_MS: i32 = i32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TxnStatus {
    Empty,
    Ongoing,
    PrepareCommit,
    PrepareAbort,
    CompleteCommit,
    CompleteAbort,
    Dead,
    PrepareEpochFence,
}

impl TxnStatus {
    /// In the order of their ids in records.
    pub const ALL: [TxnStatus; 8] = [
        TxnStatus::Empty,
        TxnStatus::Ongoing,
        TxnStatus::PrepareCommit,
        TxnStatus::PrepareAbort,
        TxnStatus::CompleteCommit,
        TxnStatus::CompleteAbort,
        TxnStatus::Dead,
        TxnStatus::PrepareEpochFence,
    ];

    pub(crate) fn id(self) -> i8 {
        self as i8
    }

    pub(crate) fn from_id(id: i8) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.id() == id)
    }

    pub fn name(self) -> &'static str {
        match self {
            TxnStatus::Empty => "Empty",
            TxnStatus::Ongoing => "Ongoing",
            TxnStatus::PrepareCommit => "PrepareCommit",
            TxnStatus::PrepareAbort => "PrepareAbort",
            TxnStatus::CompleteCommit => "CompleteCommit",
            TxnStatus::CompleteAbort => "CompleteAbort",
            TxnStatus::Dead => "Dead",
            TxnStatus::PrepareEpochFence => "PrepareEpochFence",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }

    pub(crate) fn is_prepared(self) -> bool {
        matches!(self, TxnStatus::PrepareCommit | TxnStatus::PrepareAbort)
    }

    pub(crate) fn has_ended(self) -> bool {
        matches!(self, TxnStatus::CompleteCommit | TxnStatus::CompleteAbort)
    }

    /// No transaction is open: the id may expire, and a new transaction may begin.
    pub(crate) fn is_at_rest(self) -> bool {
        matches!(self, TxnStatus::Empty | TxnStatus::CompleteCommit | TxnStatus::CompleteAbort)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) producer_id: i64,
    /// The producer id before the last transition.
    pub(crate) prev_producer_id: i64,
    /// The producer id from the end of the running transaction on, when its own has no epochs left.
    pub(crate) next_producer_id: i64,
    pub(crate) producer_epoch: i16,
    /// The epoch before the last bump, by which a repeated request is known. Not in the records, so forgotten when the partition moves.
    pub(crate) last_producer_epoch: i16,
    pub(crate) timeout_ms: i32,
    pub(crate) status: TxnStatus,
    pub(crate) partitions: BTreeSet<TopicPartition>,
    /// -1 outside transactions.
    pub(crate) start_ms: i64,
    pub(crate) updated_ms: i64,
    /// The protocol that the client spoke in the last transition: 2 with an epoch per transaction, else 0.
    pub(crate) client_version: i16,
}

/// From here on each transaction has an epoch of its own (KIP-890).
pub(crate) const EPOCH_PER_TRANSACTION: i16 = 2;

pub(crate) fn is_exhausted(epoch: i16) -> bool {
    epoch >= i16::MAX - 1
}

impl Metadata {
    /// Of an id that was not known until now.
    pub(crate) fn new(producer_id: i64, timeout_ms: i32, now_ms: i64) -> Self {
        Metadata {
            producer_id,
            prev_producer_id: NO_PRODUCER_ID,
            next_producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            last_producer_epoch: NO_PRODUCER_EPOCH,
            timeout_ms,
            status: TxnStatus::Empty,
            partitions: BTreeSet::new(),
            start_ms: -1,
            updated_ms: now_ms,
            client_version: 0,
        }
    }

    pub(crate) fn epoch_is_exhausted(&self) -> bool {
        is_exhausted(self.producer_epoch)
    }

    /// Nothing of it has ever been written.
    pub(crate) fn is_unwritten(&self) -> bool {
        self.producer_epoch == NO_PRODUCER_EPOCH
    }

    pub(crate) fn has_timed_out(&self, now_ms: i64) -> bool {
        self.status == TxnStatus::Ongoing
            && self.timeout_ms != NO_TIMEOUT_MS
            && self.start_ms.saturating_add(i64::from(self.timeout_ms)) < now_ms
    }

    pub(crate) fn has_expired(&self, now_ms: i64, expiration_ms: i64) -> bool {
        self.status.is_at_rest() && self.updated_ms <= now_ms.saturating_sub(expiration_ms)
    }

    fn to(&self, status: TxnStatus) -> Metadata {
        Metadata { status, prev_producer_id: self.producer_id, ..self.clone() }
    }

    fn to_empty(&self, timeout_ms: i32, now_ms: i64) -> Metadata {
        Metadata { timeout_ms, partitions: BTreeSet::new(), start_ms: -1, updated_ms: now_ms, ..self.to(TxnStatus::Empty) }
    }

    /// A producer begins, or goes on after an error: with the next epoch, or the same one when its first request was answered and the answer
    /// lost.
    pub(crate) fn with_next_epoch(&self, timeout_ms: i32, expected_epoch: Option<i16>, now_ms: i64) -> Result<Metadata, ErrorCode> {
        if self.epoch_is_exhausted() {
            return Err(ErrorCode::UnknownServerError);
        }
        let next = self.producer_epoch.saturating_add(1);
        let (producer_epoch, last_producer_epoch) = match expected_epoch {
            None => (next, NO_PRODUCER_EPOCH),
            Some(expected) if self.is_unwritten() || expected == self.producer_epoch => (next, self.producer_epoch),
            Some(expected) if expected == self.last_producer_epoch => (self.producer_epoch, self.last_producer_epoch),
            Some(_) => return Err(ErrorCode::ProducerFenced),
        };
        Ok(Metadata { producer_epoch, last_producer_epoch, ..self.to_empty(timeout_ms, now_ms) })
    }

    /// A producer begins under a fresh id, as the epochs of the old one are used up.
    pub(crate) fn with_fresh_id(&self, producer_id: i64, timeout_ms: i32, remember_epoch: bool, now_ms: i64) -> Metadata {
        let last_producer_epoch = if remember_epoch { self.producer_epoch } else { NO_PRODUCER_EPOCH };
        Metadata { producer_id, producer_epoch: 0, last_producer_epoch, ..self.to_empty(timeout_ms, now_ms) }
    }

    pub(crate) fn with_partitions(&self, added: &[TopicPartition], client_version: i16, now_ms: i64) -> Metadata {
        let start_ms = if self.status.is_at_rest() { now_ms } else { self.start_ms };
        let mut next = Metadata { start_ms, updated_ms: now_ms, client_version, ..self.to(TxnStatus::Ongoing) };
        next.partitions.extend(added.iter().cloned());
        next
    }

    /// The classic protocol: the epoch stays, except that fencing takes the next one.
    pub(crate) fn prepared(&self, commit: bool, fence: bool, now_ms: i64) -> Metadata {
        let mut next = Metadata { next_producer_id: NO_PRODUCER_ID, updated_ms: now_ms, client_version: 0, ..self.to(prepare(commit)) };
        if fence {
            next.producer_epoch = self.producer_epoch.saturating_add(1);
            next.last_producer_epoch = NO_PRODUCER_EPOCH;
        }
        next
    }

    /// Transactions v2: the end of a transaction takes the next epoch. `nothing_added`: no transaction was open.
    pub(crate) fn prepared_with_bump(
        &self,
        commit: bool,
        client_version: i16,
        next_producer_id: i64,
        nothing_added: bool,
        now_ms: i64,
    ) -> Result<Metadata, ErrorCode> {
        let producer_epoch = match self.producer_epoch.checked_add(1) {
            Some(epoch) => epoch,
            // Broken already; the abort goes through, so that the id can go on.
            None if !commit => self.producer_epoch,
            None => return Err(ErrorCode::UnknownServerError),
        };
        Ok(Metadata {
            producer_epoch,
            last_producer_epoch: self.producer_epoch,
            next_producer_id,
            start_ms: if nothing_added { now_ms } else { self.start_ms },
            updated_ms: now_ms,
            client_version,
            ..self.to(prepare(commit))
        })
    }

    /// What a prepared transaction becomes when all its markers are written.
    pub(crate) fn completed(&self, now_ms: i64) -> Metadata {
        let status = if self.status == TxnStatus::PrepareCommit { TxnStatus::CompleteCommit } else { TxnStatus::CompleteAbort };
        let mut next = Metadata { next_producer_id: NO_PRODUCER_ID, updated_ms: now_ms, partitions: BTreeSet::new(), ..self.to(status) };
        if self.client_version >= EPOCH_PER_TRANSACTION && self.next_producer_id != NO_PRODUCER_ID {
            next.producer_id = self.next_producer_id;
            next.producer_epoch = 0;
        }
        next
    }
}

fn prepare(commit: bool) -> TxnStatus {
    if commit { TxnStatus::PrepareCommit } else { TxnStatus::PrepareAbort }
}
