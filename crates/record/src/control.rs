//! Control records: markers that end transactions and what raft writes into the metadata log and its snapshots.
//! Values of raft's control records are `wire` messages; this module only knows their keys and the transaction marker.
//! Kafka: ControlRecordType, EndTransactionMarker.

use crate::batch::Batch;
use crate::builder::{BatchBuilder, BatchFields};
use crate::error::RecordError;
use bytes::{Buf, Bytes};
use std::io;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum ControlType {
    Abort = 0,
    Commit = 1,
    LeaderChange = 2,
    SnapshotHeader = 3,
    SnapshotFooter = 4,
    KRaftVersion = 5,
    KRaftVoters = 6,
}

impl ControlType {
    pub fn from_code(code: i16) -> Option<Self> {
        use ControlType::*;
        [Abort, Commit, LeaderChange, SnapshotHeader, SnapshotFooter, KRaftVersion, KRaftVoters].get(usize::try_from(code).ok()?).copied()
    }

    /// Kafka's name, as dump-log prints it.
    pub fn name(self) -> &'static str {
        match self {
            ControlType::Abort => "ABORT",
            ControlType::Commit => "COMMIT",
            ControlType::LeaderChange => "LEADER_CHANGE",
            ControlType::SnapshotHeader => "SNAPSHOT_HEADER",
            ControlType::SnapshotFooter => "SNAPSHOT_FOOTER",
            ControlType::KRaftVersion => "KRAFT_VERSION",
            ControlType::KRaftVoters => "KRAFT_VOTERS",
        }
    }

    /// The key of a control record: version 0 and the type.
    pub fn key(self) -> [u8; 4] {
        let [hi, lo] = (self as i16).to_be_bytes();
        [0, 0, hi, lo]
    }

    /// None for types that a later Kafka may add; they are to be skipped.
    pub fn from_key(key: &[u8]) -> Result<Option<Self>, RecordError> {
        let mut key = key;
        let (Ok(version), Ok(code)) = (key.try_get_i16(), key.try_get_i16()) else {
            return Err(RecordError::invalid("invalid value size found for control record key: it needs at least 4 bytes"));
        };
        if version < 0 {
            return Err(RecordError::invalid(format!("invalid version found for control record: {version}; may indicate data corruption")));
        }
        Ok(Self::from_code(code))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndTxnMarker {
    pub commit: bool,
    pub coordinator_epoch: i32,
}

impl EndTxnMarker {
    pub fn value(self) -> [u8; 6] {
        let mut value = [0; 6];
        value[2..].copy_from_slice(&self.coordinator_epoch.to_be_bytes());
        value
    }

    /// None if the record is a control record of another kind.
    pub fn from_record(key: &[u8], value: &[u8]) -> Result<Option<Self>, RecordError> {
        let commit = match ControlType::from_key(key)? {
            Some(ControlType::Commit) => true,
            Some(ControlType::Abort) => false,
            _ => return Ok(None),
        };
        let mut value = value;
        let (Ok(version), Ok(coordinator_epoch)) = (value.try_get_i16(), value.try_get_i32()) else {
            return Err(RecordError::invalid("transaction marker is shorter than its 6 bytes"));
        };
        if version < 0 {
            return Err(RecordError::invalid(format!(
                "invalid version found for end transaction marker: {version}; may indicate data corruption"
            )));
        }
        Ok(Some(EndTxnMarker { commit, coordinator_epoch }))
    }

    /// The marker that the first record of a control batch holds, with its timestamp.
    pub fn from_batch(batch: &Batch) -> Result<Option<(Self, i64)>, RecordError> {
        let Some(first) = batch.records(MAX_CONTROL_BYTES)?.next() else { return Ok(None) };
        let first = first?;
        let marker = Self::from_record(first.key.as_deref().unwrap_or_default(), first.value.as_deref().unwrap_or_default())?;
        Ok(marker.map(|marker| (marker, first.timestamp)))
    }

    /// A batch with this marker alone, as a partition leader appends it for WriteTxnMarkers.
    pub fn batch(self, timestamp: i64, producer_id: i64, producer_epoch: i16, leader_epoch: i32) -> io::Result<Bytes> {
        let fields = BatchFields { leader_epoch, producer_id, producer_epoch, transactional: true, control: true, ..Default::default() };
        let kind = if self.commit { ControlType::Commit } else { ControlType::Abort };
        let mut builder = BatchBuilder::new(fields);
        builder.append(timestamp, Some(&kind.key()), Some(&self.value()), &[]);
        builder.build()
    }
}

/// Control batches are never compressed; this is far more than any of them takes.
const MAX_CONTROL_BYTES: usize = 64 << 20;

/// A batch of raft control records (type and serialized value each), without producer.
pub fn control_batch<'a>(
    base_offset: i64,
    leader_epoch: i32,
    timestamp: i64,
    records: impl IntoIterator<Item = (ControlType, &'a [u8])>,
) -> io::Result<Bytes> {
    let mut builder = BatchBuilder::new(BatchFields { base_offset, leader_epoch, control: true, ..Default::default() });
    for (kind, value) in records {
        builder.append(timestamp, Some(&kind.key()), Some(value), &[]);
    }
    builder.build()
}
