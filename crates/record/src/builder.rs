//! Builds magic 2 batches: producers, coordinators, the controller and tests. Kafka: MemoryRecordsBuilder.

use crate::batch::{self, CONTROL, DELETE_HORIZON, LOG_APPEND_TIME, RECORDS, TRANSACTIONAL, TimestampType};
use crate::compress::{Codec, Compression};
use crate::record::Header;
use crate::{NO_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, NO_TIMESTAMP};
use base::varint;
use bytes::Bytes;
use std::io;

/// The header fields that the caller chooses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchFields {
    pub base_offset: i64,
    pub leader_epoch: i32,
    pub codec: Codec,
    pub timestamp_type: TimestampType,
    /// The time written as max timestamp when the type is LogAppendTime.
    pub log_append_time: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub transactional: bool,
    pub control: bool,
    /// Set by compaction: stands in the base timestamp field; record timestamps are then relative to it.
    pub delete_horizon_ms: Option<i64>,
}

impl Default for BatchFields {
    fn default() -> Self {
        Self {
            base_offset: 0,
            leader_epoch: NO_LEADER_EPOCH,
            codec: Codec::NONE,
            timestamp_type: TimestampType::CreateTime,
            log_append_time: NO_TIMESTAMP,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            base_sequence: NO_SEQUENCE,
            transactional: false,
            control: false,
            delete_horizon_ms: None,
        }
    }
}

/// Collects records; the batch is compressed and sealed by `build`. Fields may be changed until then (a producer learns its sequence
/// when it sends).
#[derive(Debug)]
pub struct BatchBuilder {
    pub fields: BatchFields,
    /// 61 bytes of room for the header, then the records, uncompressed.
    buffer: Vec<u8>,
    count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    last_offset_delta: i32,
}

impl BatchBuilder {
    pub fn new(fields: BatchFields) -> Self {
        Self::with_capacity(fields, 0)
    }

    /// With room for records of so many bytes.
    pub fn with_capacity(fields: BatchFields, capacity: usize) -> Self {
        let base_timestamp = fields.delete_horizon_ms.unwrap_or(NO_TIMESTAMP);
        let mut buffer = Vec::with_capacity(RECORDS + capacity);
        buffer.resize(RECORDS, 0);
        Self { fields, buffer, count: 0, base_timestamp, max_timestamp: NO_TIMESTAMP, last_offset_delta: -1 }
    }

    pub fn len(&self) -> usize {
        self.count as usize
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The size of the batch if it were sealed without compression.
    pub fn uncompressed_size(&self) -> usize {
        self.buffer.len()
    }

    pub fn max_timestamp(&self) -> i64 {
        self.max_timestamp
    }

    /// The last offset this batch reaches.
    pub fn last_offset(&self) -> i64 {
        self.fields.base_offset + i64::from(self.last_offset_delta)
    }

    /// What a record adds at most to `uncompressed_size`; used to decide whether it still fits.
    pub fn size_upper_bound(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header]) -> usize {
        let headers: usize = headers.iter().map(|h| 10 + h.key.len() + h.value.as_ref().map_or(0, Bytes::len)).sum();
        5 + 1 + 10 + 5 + 5 + key.map_or(0, <[u8]>::len) + 5 + value.map_or(0, <[u8]>::len) + 5 + headers
    }

    /// Appends a record at the next offset.
    pub fn append(&mut self, timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header]) {
        self.append_at(self.last_offset_delta + 1, timestamp, key, value, headers);
    }

    /// Appends a record at an offset relative to the base offset; offsets must grow.
    pub fn append_at(&mut self, offset_delta: i32, timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header]) {
        if self.count == 0 && self.fields.delete_horizon_ms.is_none() {
            self.base_timestamp = timestamp;
        }
        let timestamp_delta = timestamp.wrapping_sub(self.base_timestamp);
        let body = 1
            + varint::len_i64(timestamp_delta)
            + varint::len_i32(offset_delta)
            + sized_len(key)
            + sized_len(value)
            + varint::len_i32(headers.len() as i32)
            + headers.iter().map(|h| sized_len(Some(&h.key)) + sized_len(h.value.as_deref())).sum::<usize>();
        let out = &mut self.buffer;
        varint::write_i32(out, body as i32);
        out.push(0);
        varint::write_i64(out, timestamp_delta);
        varint::write_i32(out, offset_delta);
        put_sized(out, key);
        put_sized(out, value);
        varint::write_i32(out, headers.len() as i32);
        for header in headers {
            put_sized(out, Some(&header.key));
            put_sized(out, header.value.as_deref());
        }
        self.count += 1;
        self.last_offset_delta = offset_delta;
        self.max_timestamp = self.max_timestamp.max(timestamp);
    }

    /// Compaction keeps the offset range of a batch whose last records went away.
    pub fn set_last_offset_delta(&mut self, last_offset_delta: i32) {
        self.last_offset_delta = last_offset_delta;
    }

    /// Compresses, fills in the header and computes the checksum.
    pub fn build(self) -> io::Result<Bytes> {
        let Self { fields, mut buffer, count, base_timestamp, max_timestamp, last_offset_delta } = self;
        if fields.codec.compression != Compression::None {
            let mut out = Vec::with_capacity(RECORDS + buffer.len() / 2);
            out.resize(RECORDS, 0);
            fields.codec.compress(&buffer[RECORDS..], &mut out)?;
            buffer = out;
        }
        let max_timestamp = match fields.timestamp_type {
            TimestampType::LogAppendTime => fields.log_append_time,
            TimestampType::CreateTime => max_timestamp,
        };
        let mut attributes = fields.codec.compression.id();
        for (set, bit) in [
            (fields.timestamp_type == TimestampType::LogAppendTime, LOG_APPEND_TIME),
            (fields.transactional, TRANSACTIONAL),
            (fields.control, CONTROL),
            (fields.delete_horizon_ms.is_some(), DELETE_HORIZON),
        ] {
            if set {
                attributes |= bit;
            }
        }
        let length =
            i32::try_from(buffer.len() - batch::LOG_OVERHEAD).map_err(|_| io::Error::other("a record batch is larger than 2 GiB"))?;
        let mut put = |at: usize, bytes: &[u8]| buffer[at..at + bytes.len()].copy_from_slice(bytes);
        put(batch::BASE_OFFSET, &fields.base_offset.to_be_bytes());
        put(batch::LENGTH, &length.to_be_bytes());
        put(batch::LEADER_EPOCH, &fields.leader_epoch.to_be_bytes());
        put(batch::MAGIC, &[2]);
        put(batch::ATTRIBUTES, &i16::from(attributes).to_be_bytes());
        put(batch::LAST_OFFSET_DELTA, &last_offset_delta.to_be_bytes());
        put(batch::BASE_TIMESTAMP, &base_timestamp.to_be_bytes());
        put(batch::MAX_TIMESTAMP, &max_timestamp.to_be_bytes());
        put(batch::PRODUCER_ID, &fields.producer_id.to_be_bytes());
        put(batch::PRODUCER_EPOCH, &fields.producer_epoch.to_be_bytes());
        put(batch::BASE_SEQUENCE, &fields.base_sequence.to_be_bytes());
        put(batch::COUNT, &count.to_be_bytes());
        let crc = crate::crc32c(&buffer[batch::ATTRIBUTES..]);
        buffer[batch::CRC..batch::CRC + 4].copy_from_slice(&crc.to_be_bytes());
        Ok(buffer.into())
    }
}

fn sized_len(bytes: Option<&[u8]>) -> usize {
    match bytes {
        None => 1,
        Some(bytes) => varint::len_i32(bytes.len() as i32) + bytes.len(),
    }
}

fn put_sized(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => varint::write_i32(out, -1),
        Some(bytes) => {
            varint::write_i32(out, bytes.len() as i32);
            out.extend_from_slice(bytes);
        }
    }
}
