//! What a leader checks before it appends a batch, and the few bytes it changes. A valid batch leaves here as 61 patched header bytes
//! and its payload untouched; only another target codec or odd inner offsets make it be rebuilt.
//! Kafka: LogValidator, UnifiedLog.analyzeAndValidateRecords, ProduceRequest.validateRecords. Hot path.

use crate::batch::{self, Batch, BatchView, RECORDS, TimestampType};
use crate::builder::{BatchBuilder, BatchFields};
use crate::compress::{Codec, Compression};
use crate::error::RecordError;
use crate::scan::{RecordHead, scan_records};
use crate::{NO_TIMESTAMP, legacy};
use base::TopicPartition;
use bytes::Bytes;
use std::ops::ControlFlow;

/// Who appends; clients are trusted least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Client,
    Coordinator,
    RaftLeader,
    Replication,
}

/// The topic's `compression.type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetCompression {
    /// Keep what the producer chose.
    #[default]
    Producer,
    Codec(Codec),
}

#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub max_message_bytes: usize,
    pub compacted: bool,
    pub compression: TargetCompression,
    pub timestamp_type: TimestampType,
    pub timestamp_before_max_ms: i64,
    pub timestamp_after_max_ms: i64,
    /// Bytes a compressed batch may expand to while it is checked.
    pub max_decompressed: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordErrorDetail {
    /// Position of the record in its batch.
    pub batch_index: i32,
    pub message: String,
}

/// A refused batch: Kafka's error code and message, and which records are to blame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ValidationError {
    pub code: i16,
    pub message: String,
    pub record_errors: Vec<RecordErrorDetail>,
}

impl ValidationError {
    pub fn new(code: i16, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), record_errors: Vec::new() }
    }
}

impl From<RecordError> for ValidationError {
    fn from(error: RecordError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

const MESSAGE_TOO_LARGE: i16 = 10;
const INVALID_TIMESTAMP: i16 = 32;
const INVALID_RECORD: i16 = 87;
/// Errors beyond these are counted, not described.
const MAX_DESCRIBED: usize = 10_000;

/// A batch ready to be written: `header` then `payload`.
#[derive(Clone, Debug)]
pub struct Validated {
    pub header: [u8; RECORDS],
    pub payload: Bytes,
    pub base_offset: i64,
    pub last_offset: i64,
    pub max_timestamp: i64,
    pub record_count: i32,
    /// Compressed anew, so no longer the producer's bytes.
    pub rebuilt: bool,
}

impl Validated {
    pub fn size(&self) -> usize {
        RECORDS + self.payload.len()
    }

    pub fn to_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.size());
        out.extend_from_slice(&self.header);
        out.extend_from_slice(&self.payload);
        out.into()
    }
}

/// The checks that Produce makes on a partition's records before it looks at the partition: one batch, magic 2, no zstd before v7.
pub fn check_produce(records: &[u8], api_version: i16) -> Result<(), RecordError> {
    let Some(first) = BatchView::first(records)? else {
        return Err(RecordError::invalid(format!(
            "Produce requests with version {api_version} must have at least one record batch per partition"
        )));
    };
    if first.magic() != 2 {
        return Err(RecordError::invalid(format!(
            "Produce requests with version {api_version} are only allowed to contain record batches with magic version 2"
        )));
    }
    if api_version < 7 && first.compression()? == Compression::Zstd {
        return Err(RecordError::UnsupportedCompression(Compression::Zstd.id()));
    }
    if BatchView::first(&records[first.size()..])?.is_some() {
        return Err(RecordError::invalid(format!(
            "Produce requests with version {api_version} are only allowed to contain exactly one record batch per partition"
        )));
    }
    Ok(())
}

/// Checks the one batch in `records` and assigns offsets from `base_offset` on. `origin` is Client or Coordinator: the others assign
/// their own offsets.
pub fn validate(
    records: &Bytes,
    topic_partition: &TopicPartition,
    rules: &Rules,
    origin: Origin,
    base_offset: i64,
    leader_epoch: i32,
    now_ms: i64,
) -> Result<Validated, ValidationError> {
    let Some(view) = BatchView::first(records)? else {
        return Err(RecordError::invalid("Record batch has no batches at all").into());
    };
    if view.magic() < 2 {
        return Err(RecordError::UnsupportedForMessageFormat(format!(
            "message format v{} is no longer written in topic partition {topic_partition}; use a client that writes record batches (0.11 or later)",
            view.magic()
        ))
        .into());
    }
    check_envelope(&view, topic_partition, rules, origin)?;
    if BatchView::first(&records[view.size()..])?.is_some() {
        return Err(RecordError::invalid("Compressed outer record has more than one batch").into());
    }
    check_batch(&view, topic_partition, origin)?;

    let source = view.compression()?;
    let target = match rules.compression {
        TargetCompression::Producer => Codec::new(source),
        TargetCompression::Codec(codec) => codec,
    };
    let plain = source == Compression::None && target.compression == Compression::None;
    let mut found = Findings::default();
    let in_order = found.scan(&view, topic_partition, rules, now_ms)?;
    found.check()?;

    let in_place = plain || (source == Compression::None && view.is_control()) || (source == target.compression && in_order);
    if !in_place {
        return rebuild(records, &view, rules, target, base_offset, leader_epoch, now_ms);
    }
    let mut header = [0u8; RECORDS];
    header.copy_from_slice(&view.bytes()[..RECORDS]);
    let payload = records.slice(RECORDS..view.size());
    let max_timestamp = match rules.timestamp_type {
        TimestampType::LogAppendTime => now_ms,
        TimestampType::CreateTime => found.max_timestamp,
    };
    if view.timestamp_type() != rules.timestamp_type || view.max_timestamp() != max_timestamp {
        batch::patch_max_timestamp(&mut header, &payload, rules.timestamp_type, max_timestamp);
    }
    let last_offset = base_offset + found.count as i64 - 1;
    batch::patch_offset_and_epoch(&mut header, last_offset - i64::from(view.last_offset_delta()), leader_epoch);
    Ok(Validated { header, payload, base_offset, last_offset, max_timestamp, record_count: found.count as i32, rebuilt: false })
}

/// What `UnifiedLog.analyzeAndValidateRecords` asks of a batch before anything is decoded.
fn check_envelope(view: &BatchView<'_>, topic_partition: &TopicPartition, rules: &Rules, origin: Origin) -> Result<(), ValidationError> {
    if origin == Origin::Client && view.base_offset() != 0 {
        return Err(RecordError::invalid(format!(
            "The baseOffset of the record batch in the append to {topic_partition} should be 0, but it is {}",
            view.base_offset()
        ))
        .into());
    }
    if view.size() > rules.max_message_bytes {
        return Err(ValidationError::new(
            MESSAGE_TOO_LARGE,
            format!(
                "The record batch size in the append to {topic_partition} is {} bytes which exceeds the maximum configured value of {}).",
                view.size(),
                rules.max_message_bytes
            ),
        ));
    }
    if !view.is_valid() {
        return Err(RecordError::Corrupt(format!(
            "Record is corrupt (stored crc = {}) in topic partition {topic_partition}.",
            view.stored_crc()
        ))
        .into());
    }
    Ok(())
}

fn check_batch(view: &BatchView<'_>, topic_partition: &TopicPartition, origin: Origin) -> Result<(), RecordError> {
    if origin != Origin::Client {
        return Ok(());
    }
    let (first, last) = (view.base_offset(), view.last_offset());
    let by_offsets = i64::from(view.last_offset_delta()) + 1;
    let count = view.count().unwrap_or(0);
    if by_offsets <= 0 {
        return Err(RecordError::invalid(format!(
            "Batch has an invalid offset range: [{first}, {last}] in topic partition {topic_partition}"
        )));
    }
    if count <= 0 {
        return Err(RecordError::invalid(format!("Invalid reported count for record batch: {count} in topic partition {topic_partition}")));
    }
    if by_offsets != i64::from(count) {
        return Err(RecordError::invalid(format!(
            "Inconsistent batch offset range [{first}, {last}] and count of records {count} in topic partition {topic_partition}"
        )));
    }
    if view.is_control() {
        return Err(RecordError::invalid(format!("Clients are not allowed to write control records in topic partition {topic_partition}")));
    }
    if view.has_producer_id() && view.base_sequence() < 0 {
        return Err(RecordError::invalid(format!(
            "Invalid sequence number {} in record batch with producerId {} in topic partition {topic_partition}",
            view.base_sequence(),
            view.producer_id()
        )));
    }
    Ok(())
}

/// What a look at every record compares it with; only those it falls on are looked at closely.
struct Suspicion {
    earliest: i64,
    latest: i64,
    flagged_append_time: bool,
    /// Timestamps outside are suspicious.
    low: i64,
    high: i64,
    /// So are keys that are shorter.
    least_key_len: i32,
}

impl Suspicion {
    fn new(view: &BatchView<'_>, rules: &Rules, now_ms: i64) -> Self {
        let earliest = now_ms.saturating_sub(rules.timestamp_before_max_ms);
        let latest = now_ms.saturating_add(rules.timestamp_after_max_ms);
        let flagged_append_time = view.timestamp_type() == TimestampType::LogAppendTime;
        let (low, high) = match rules.timestamp_type {
            // All of them.
            _ if flagged_append_time => (i64::MAX, i64::MIN),
            TimestampType::CreateTime => (earliest, latest),
            TimestampType::LogAppendTime => (i64::MIN, i64::MAX),
        };
        Self { earliest, latest, flagged_append_time, low, high, least_key_len: if rules.compacted { 0 } else { i32::MIN } }
    }

    #[inline(always)]
    fn falls_on(&self, head: &RecordHead) -> bool {
        head.timestamp < self.low || head.timestamp > self.high || head.key_len < self.least_key_len
    }
}

#[derive(Default)]
struct Findings {
    errors: Vec<RecordErrorDetail>,
    error_count: usize,
    bad_timestamp: bool,
    max_timestamp: i64,
    count: usize,
}

impl Findings {
    /// Visits every record; returns whether inner offsets are 0..n-1.
    fn scan(&mut self, view: &BatchView<'_>, topic_partition: &TopicPartition, rules: &Rules, now_ms: i64) -> Result<bool, RecordError> {
        let suspicion = Suspicion::new(view, rules, now_ms);
        let mut in_order = true;
        self.max_timestamp = NO_TIMESTAMP;
        scan_records(view, rules.max_decompressed, |head| {
            in_order &= head.offset_delta as usize == self.count;
            if suspicion.falls_on(head) {
                self.look_closer(head, &suspicion, topic_partition, rules);
            }
            self.max_timestamp = self.max_timestamp.max(head.timestamp);
            self.count += 1;
            ControlFlow::Continue(())
        })?;
        Ok(in_order)
    }

    #[cold]
    fn look_closer(&mut self, head: &RecordHead, suspicion: &Suspicion, topic_partition: &TopicPartition, rules: &Rules) {
        let Suspicion { earliest, latest, .. } = *suspicion;
        if rules.compacted && head.key_len < 0 {
            self.add(false, || format!("Compacted topic cannot accept message without key in topic partition {topic_partition}"));
        } else if rules.timestamp_type == TimestampType::CreateTime && head.timestamp != NO_TIMESTAMP {
            if head.timestamp < earliest || head.timestamp > latest {
                self.add(true, || out_of_range(head, earliest, latest));
            }
        } else if suspicion.flagged_append_time {
            self.add(true, || wrong_type(head));
        }
    }

    fn add(&mut self, timestamp: bool, message: impl FnOnce() -> String) {
        self.bad_timestamp |= timestamp;
        self.error_count += 1;
        if self.errors.len() < MAX_DESCRIBED {
            self.errors.push(RecordErrorDetail { batch_index: self.count as i32, message: message() });
        }
    }

    fn check(&mut self) -> Result<(), ValidationError> {
        if self.error_count == 0 {
            return Ok(());
        }
        let record_errors = std::mem::take(&mut self.errors);
        if self.bad_timestamp {
            let message = "One or more records have been rejected due to invalid timestamp".into();
            return Err(ValidationError { code: INVALID_TIMESTAMP, message, record_errors });
        }
        let shown: Vec<String> =
            record_errors.iter().take(3).map(|e| format!("RecordError(batchIndex={}, message='{}')", e.batch_index, e.message)).collect();
        let message = format!(
            "One or more records have been rejected due to {} record errors in total, and only showing the first three errors at most: [{}]",
            self.error_count,
            shown.join(", ")
        );
        Err(ValidationError { code: INVALID_RECORD, message, record_errors })
    }
}

fn out_of_range(head: &RecordHead, earliest: i64, latest: i64) -> String {
    format!(
        "Timestamp {} of message with offset {} is out of range. The timestamp should be within [{earliest}, {latest}]",
        head.timestamp, head.offset
    )
}

fn wrong_type(head: &RecordHead) -> String {
    format!(
        "Invalid timestamp type in message DefaultRecord(offset={}, timestamp={}, key={} bytes, value={} bytes). \
         Producer should not set timestamp type to LogAppendTime.",
        head.offset,
        head.timestamp,
        head.key_len.max(0),
        head.value_len.max(0)
    )
}

fn rebuild(
    records: &Bytes,
    view: &BatchView<'_>,
    rules: &Rules,
    codec: Codec,
    base_offset: i64,
    leader_epoch: i32,
    now_ms: i64,
) -> Result<Validated, ValidationError> {
    let source = Batch::new(records.clone())?;
    let mut builder = BatchBuilder::with_capacity(
        BatchFields {
            base_offset,
            leader_epoch,
            codec,
            timestamp_type: rules.timestamp_type,
            log_append_time: now_ms,
            producer_id: view.producer_id(),
            producer_epoch: view.producer_epoch(),
            base_sequence: view.base_sequence(),
            transactional: view.is_transactional(),
            control: false,
            delete_horizon_ms: None,
        },
        view.size(),
    );
    for record in source.records(rules.max_decompressed)? {
        let record = record?;
        builder.append(record.timestamp, record.key.as_deref(), record.value.as_deref(), &record.headers.to_vec());
    }
    let record_count = builder.len() as i32;
    let last_offset = builder.last_offset();
    let max_timestamp = if rules.timestamp_type == TimestampType::LogAppendTime { now_ms } else { builder.max_timestamp() };
    let bytes = builder.build().map_err(|e| ValidationError::new(-1, format!("failed to compress a record batch: {e}")))?;
    if bytes.len() > rules.max_message_bytes {
        return Err(ValidationError::new(
            MESSAGE_TOO_LARGE,
            format!(
                "Message batch size is {} bytes in append to partition which exceeds the maximum configured size of {}.",
                bytes.len(),
                rules.max_message_bytes
            ),
        ));
    }
    let mut header = [0u8; RECORDS];
    header.copy_from_slice(&bytes[..RECORDS]);
    Ok(Validated { header, payload: bytes.slice(RECORDS..), base_offset, last_offset, max_timestamp, record_count, rebuilt: true })
}

/// The least bytes any batch or message of the given magic takes; used by readers that size their first read.
pub fn min_batch_size(magic: u8) -> usize {
    if magic < 2 { legacy::min_size(magic) } else { RECORDS }
}
