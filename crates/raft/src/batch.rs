//! Batches of the metadata log: no producer, CreateTime, one timestamp for all records, uncompressed, epoch in every batch;
//! data records have null keys. Kafka: `BatchBuilder`, `RecordsIterator`, `ControlRecord`.

use crate::voters::{KRaftVersion, VoterSet};
use bytes::Bytes;
use record::{BatchBuilder, BatchFields, Compression, ControlType};
use std::io;
use wire::messages::{KRaftVersionRecord, LeaderChangeMessage, SnapshotFooterRecord, SnapshotHeaderRecord, VotersRecord};

/// No batch of the metadata log may be larger.
pub const MAX_BATCH_BYTES: usize = 8 << 20;

#[derive(Clone, Debug, PartialEq)]
pub enum ControlRecord {
    LeaderChange(LeaderChangeMessage),
    SnapshotHeader(SnapshotHeaderRecord),
    SnapshotFooter(SnapshotFooterRecord),
    KRaftVersion(KRaftVersionRecord),
    KRaftVoters(VotersRecord),
}

impl ControlRecord {
    pub fn kraft_version(version: KRaftVersion) -> Self {
        ControlRecord::KRaftVersion(KRaftVersionRecord { version: 0, k_raft_version: version.level(), ..Default::default() })
    }

    pub fn voters(voters: &VoterSet) -> Self {
        ControlRecord::KRaftVoters(voters.to_record())
    }

    fn encode(&self) -> Result<(ControlType, Bytes), wire::EncodeError> {
        // All are written at version 0, LeaderChange too: Kafka 4.3 knows a version 1 of it and does not write it.
        Ok(match self {
            ControlRecord::LeaderChange(m) => (ControlType::LeaderChange, wire::to_bytes(m, 0)?),
            ControlRecord::SnapshotHeader(m) => (ControlType::SnapshotHeader, wire::to_bytes(m, 0)?),
            ControlRecord::SnapshotFooter(m) => (ControlType::SnapshotFooter, wire::to_bytes(m, 0)?),
            ControlRecord::KRaftVersion(m) => (ControlType::KRaftVersion, wire::to_bytes(m, 0)?),
            ControlRecord::KRaftVoters(m) => (ControlType::KRaftVoters, wire::to_bytes(m, 0)?),
        })
    }

    fn decode(key: &[u8], value: Bytes) -> Result<Self, BatchError> {
        let kind = ControlType::from_key(key).map_err(|e| BatchError::Record(e.to_string()))?;
        let version = match value.get(..2) {
            Some(version) => i16::from_be_bytes([version[0], version[1]]),
            None => return Err(BatchError::Record("control record without a version".to_owned())),
        };
        let wrong = |e: wire::DecodeError| BatchError::Record(e.to_string());
        Ok(match kind {
            Some(ControlType::LeaderChange) => ControlRecord::LeaderChange(wire::from_bytes(value, version).map_err(wrong)?),
            Some(ControlType::SnapshotHeader) => ControlRecord::SnapshotHeader(wire::from_bytes(value, version).map_err(wrong)?),
            Some(ControlType::SnapshotFooter) => ControlRecord::SnapshotFooter(wire::from_bytes(value, version).map_err(wrong)?),
            Some(ControlType::KRaftVersion) => ControlRecord::KRaftVersion(wire::from_bytes(value, version).map_err(wrong)?),
            Some(ControlType::KRaftVoters) => ControlRecord::KRaftVoters(wire::from_bytes(value, version).map_err(wrong)?),
            other => return Err(BatchError::Record(format!("control record {other:?} does not belong into the metadata log"))),
        })
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    Control(Vec<ControlRecord>),
    /// Record values, whose framing belongs to the metadata crate.
    Data(Vec<Bytes>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct LogBatch {
    pub base_offset: i64,
    pub last_offset: i64,
    pub epoch: i32,
    pub timestamp_ms: i64,
    pub size: usize,
    pub content: Content,
}

#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    #[error("metadata batch is damaged: {0}")]
    Record(String),
    #[error("metadata batch at offset {0} is not one that raft writes ({1})")]
    Unexpected(i64, &'static str),
    #[error("metadata batch at offset {0} has a wrong checksum")]
    Checksum(i64),
}

pub fn encode_control(base_offset: i64, epoch: i32, timestamp_ms: i64, records: &[ControlRecord]) -> io::Result<Bytes> {
    let encoded = records.iter().map(ControlRecord::encode).collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?;
    record::control::control_batch(base_offset, epoch, timestamp_ms, encoded.iter().map(|(kind, value)| (*kind, &value[..])))
}

pub fn encode_data(base_offset: i64, epoch: i32, timestamp_ms: i64, values: &[Bytes]) -> io::Result<Bytes> {
    let mut builder = BatchBuilder::new(BatchFields { base_offset, leader_epoch: epoch, ..Default::default() });
    for value in values {
        builder.append(timestamp_ms, None, Some(value), &[]);
    }
    builder.build()
}

/// Cuts record values into batches of at most `max_records` and of a size that raft accepts.
pub fn split(values: &[Bytes], max_records: usize) -> Vec<&[Bytes]> {
    // What a record adds besides its value is less than this.
    const OVERHEAD: usize = 32;
    let mut chunks = Vec::new();
    let mut start = 0;
    let mut size = 0;
    for (i, value) in values.iter().enumerate() {
        let len = value.len() + OVERHEAD;
        if i > start && (size + len > MAX_BATCH_BYTES - 128 || i - start >= max_records) {
            chunks.push(&values[start..i]);
            start = i;
            size = 0;
        }
        size += len;
    }
    if start < values.len() {
        chunks.push(&values[start..]);
    }
    chunks
}

/// Decodes all batches in `bytes`; they must be whole.
pub fn decode_all(bytes: &Bytes) -> Result<Vec<LogBatch>, BatchError> {
    let mut out = Vec::new();
    let mut batches = record::batches(bytes);
    for batch in &mut batches {
        let batch = batch.map_err(|e| BatchError::Record(e.to_string()))?;
        out.push(decode(&batch)?);
    }
    if !batches.rest().is_empty() {
        return Err(BatchError::Record(format!("{} bytes after the last whole batch", batches.rest().len())));
    }
    Ok(out)
}

fn decode(batch: &record::Batch) -> Result<LogBatch, BatchError> {
    let view = batch.view();
    let base_offset = view.base_offset();
    if !view.is_valid() {
        return Err(BatchError::Checksum(base_offset));
    }
    if view.magic() != 2 {
        return Err(BatchError::Unexpected(base_offset, "old magic"));
    }
    let compression = view.compression().map_err(|e| BatchError::Record(e.to_string()))?;
    if view.is_control() && compression != Compression::None {
        return Err(BatchError::Unexpected(base_offset, "compressed control records"));
    }
    let records = batch.records(MAX_BATCH_BYTES * 8).map_err(|e| BatchError::Record(e.to_string()))?;
    let mut control = Vec::new();
    let mut data = Vec::new();
    for record in records {
        let record = record.map_err(|e| BatchError::Record(e.to_string()))?;
        let value = record.value.ok_or(BatchError::Unexpected(base_offset, "record without a value"))?;
        if view.is_control() {
            control.push(ControlRecord::decode(record.key.as_deref().unwrap_or_default(), value)?);
        } else {
            data.push(value);
        }
    }
    let count = control.len() + data.len();
    if count as i64 != view.last_offset() - base_offset + 1 {
        return Err(BatchError::Unexpected(base_offset, "offsets and records differ in number"));
    }
    Ok(LogBatch {
        base_offset,
        last_offset: view.last_offset(),
        epoch: view.leader_epoch(),
        timestamp_ms: view.max_timestamp(),
        size: view.size(),
        content: if view.is_control() { Content::Control(control) } else { Content::Data(data) },
    })
}
