//! Owns: one producer batch while it fills — records are encoded straight into its buffer — and the outcome that its senders wait for.
//! Used by: the accumulator (fills), the sender (seals and completes). Kafka: `ProducerBatch`, `MemoryRecordsBuilder`. Hot path: `append`.

use crate::error::Error;
use crate::producer::{Header, ProducerRecord};
use base::{Instant, varint};
use record::batch as layout;
use record::{Codec, Compression};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// The batch header, reserved at the start of every buffer.
pub const HEADER: usize = layout::RECORDS;
/// Length, attributes, timestamp delta and offset delta of a record at their longest (`DefaultRecord.MAX_RECORD_OVERHEAD`).
const MAX_RECORD_OVERHEAD: usize = 21;
/// Tag of records that were sent without one.
pub const NO_TAG: u64 = u64::MAX;

/// What the sender must write into the header when the batch leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerStamp {
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
}

impl ProducerStamp {
    pub const NONE: ProducerStamp = ProducerStamp { producer_id: -1, producer_epoch: -1, base_sequence: -1 };
}

#[derive(Debug)]
pub struct ProducerBatch {
    pub id: u64,
    /// Batches split from one another share it, so that `flush` waits for all parts.
    pub flush_id: u64,
    /// `HEADER` zero bytes, then encoded records.
    pub buffer: Vec<u8>,
    pub count: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub created: Instant,
    pub attempts: u32,
    pub last_attempt: Instant,
    /// Not to be sent before this.
    pub retry_at: Instant,
    /// Bytes of buffer.memory this batch holds.
    pub charged: usize,
    /// No more records go in.
    pub closed: bool,
    /// The batch was made by splitting a larger one: its compression estimate is not trusted again.
    pub is_split: bool,
    pub outcome: Option<Arc<BatchOutcome>>,
    /// One tag per record when the producer has a delivery listener.
    pub tags: Vec<u64>,
    pub stamp: ProducerStamp,
    /// The leader epoch of the last attempt: a newer one makes the backoff pointless (KIP-951).
    pub leader_epoch: i32,
    /// The senders were told that it timed out while its request was in flight.
    pub expired: bool,
    /// An earlier attempt got no answer: the broker may have it.
    pub maybe_written: bool,
    /// The sealed bytes of the last attempt, kept for the next one. Without compression they are the records themselves and `buffer` is empty.
    pub sealed: Option<Sealed>,
}

#[derive(Clone, Debug)]
pub struct Sealed {
    pub bytes: bytes::Bytes,
    pub stamp: ProducerStamp,
}

impl ProducerBatch {
    pub fn new(id: u64, mut buffer: Vec<u8>, capacity: usize, now: Instant) -> Self {
        buffer.clear();
        buffer.reserve(capacity.max(HEADER));
        buffer.resize(HEADER, 0);
        Self {
            id,
            flush_id: id,
            buffer,
            count: 0,
            base_timestamp: 0,
            max_timestamp: -1,
            created: now,
            attempts: 0,
            last_attempt: now,
            retry_at: now,
            charged: 0,
            closed: false,
            is_split: false,
            outcome: None,
            tags: Vec::new(),
            stamp: ProducerStamp::NONE,
            leader_epoch: -1,
            expired: false,
            maybe_written: false,
            sealed: None,
        }
    }

    /// Bytes written so far as they will be on the wire, when `ratio` is the expected effect of compression (1.0 for none).
    pub fn estimated_size(&self, ratio: f32) -> usize {
        if let Some(sealed) = &self.sealed {
            return sealed.bytes.len();
        }
        let records = self.buffer.len().saturating_sub(HEADER);
        if ratio >= 1.0 { HEADER + records } else { HEADER + (records as f32 * ratio * 1.05) as usize }
    }

    pub fn has_room(&self, record_size: usize, limit: usize, ratio: f32) -> bool {
        !self.closed && (self.count == 0 || (self.count < i32::MAX && self.estimated_size(ratio) + record_size <= limit))
    }

    pub fn is_full(&self, limit: usize, ratio: f32) -> bool {
        self.closed || (self.count > 0 && self.estimated_size(ratio) >= limit)
    }

    /// Encodes one record at the end; returns its index in the batch.
    pub fn append(&mut self, record: &ProducerRecord<'_>, timestamp: i64) -> u32 {
        if self.count == 0 {
            self.base_timestamp = timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let timestamp_delta = timestamp.wrapping_sub(self.base_timestamp);
        let offset_delta = self.count;
        let body = 1 + varint::len_i64(timestamp_delta) + varint::len_i32(offset_delta) + payload_size(record);
        let out = &mut self.buffer;
        out.reserve(body + 5);
        varint::write_i32(out, body as i32);
        out.push(0);
        varint::write_i64(out, timestamp_delta);
        varint::write_i32(out, offset_delta);
        write_sized(out, record.key);
        write_sized(out, record.value);
        varint::write_i32(out, record.headers.len() as i32);
        for header in record.headers {
            write_sized(out, Some(header.key.as_bytes()));
            write_sized(out, header.value);
        }
        self.count += 1;
        offset_delta as u32
    }

    /// Adds a record that is already encoded in another batch, with a new offset delta. `rest` is what follows the offset delta.
    pub fn append_encoded(&mut self, timestamp: i64, attributes: u8, rest: &[u8]) {
        if self.count == 0 {
            self.base_timestamp = timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let timestamp_delta = timestamp.wrapping_sub(self.base_timestamp);
        let body = 1 + varint::len_i64(timestamp_delta) + varint::len_i32(self.count) + rest.len();
        varint::write_i32(&mut self.buffer, body as i32);
        self.buffer.push(attributes);
        varint::write_i64(&mut self.buffer, timestamp_delta);
        varint::write_i32(&mut self.buffer, self.count);
        self.buffer.extend_from_slice(rest);
        self.count += 1;
    }

    /// The records as (timestamp, attributes, bytes after the offset delta). The buffer is our own writing; anything odd ends the walk.
    pub fn encoded_records(&self) -> impl Iterator<Item = (i64, u8, &[u8])> {
        let bytes: &[u8] = match &self.sealed {
            Some(sealed) if self.buffer.is_empty() => &sealed.bytes,
            _ => &self.buffer,
        };
        let mut rest = bytes.get(HEADER..).unwrap_or_default();
        let base = self.base_timestamp;
        std::iter::from_fn(move || {
            let (length, n) = varint::read_i32(rest).ok()?;
            let body = rest.get(n..n + usize::try_from(length).ok()?)?;
            rest = &rest[n + body.len()..];
            let (attributes, after) = body.split_first()?;
            let (delta, timestamp_len) = varint::read_i64(after).ok()?;
            let after = after.get(timestamp_len..)?;
            let (_, offset_len) = varint::read_i32(after).ok()?;
            Some((base.wrapping_add(delta), *attributes, after.get(offset_len..)?))
        })
    }

    /// The batch as it goes on the wire, numbered by `stamp`. Without compression the buffer itself becomes the batch.
    pub fn seal(&mut self, codec: Codec, transactional: bool) -> std::io::Result<bytes::Bytes> {
        if let Some(sealed) = &self.sealed
            && sealed.stamp == self.stamp
        {
            return Ok(sealed.bytes.clone());
        }
        let mut out = match self.sealed.take() {
            // Only the numbers change.
            Some(sealed) => sealed.bytes.to_vec(),
            None if codec.compression == Compression::None => std::mem::take(&mut self.buffer),
            None => {
                let mut out = Vec::with_capacity(HEADER + self.buffer.len() / 2);
                out.resize(HEADER, 0);
                codec.compress(&self.buffer[HEADER..], &mut out)?;
                out
            }
        };
        self.write_header(&mut out, codec.compression, transactional);
        let bytes = bytes::Bytes::from(out);
        self.sealed = Some(Sealed { bytes: bytes.clone(), stamp: self.stamp });
        Ok(bytes)
    }

    fn write_header(&self, out: &mut [u8], compression: Compression, transactional: bool) {
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        let attributes = i16::from(compression.id()) | if transactional { 0x10 } else { 0 };
        put(layout::BASE_OFFSET, &0i64.to_be_bytes());
        put(layout::LEADER_EPOCH, &record::NO_LEADER_EPOCH.to_be_bytes());
        put(layout::MAGIC, &[2]);
        put(layout::ATTRIBUTES, &attributes.to_be_bytes());
        put(layout::LAST_OFFSET_DELTA, &(self.count - 1).to_be_bytes());
        put(layout::BASE_TIMESTAMP, &self.base_timestamp.to_be_bytes());
        put(layout::MAX_TIMESTAMP, &self.max_timestamp.to_be_bytes());
        put(layout::PRODUCER_ID, &self.stamp.producer_id.to_be_bytes());
        put(layout::PRODUCER_EPOCH, &self.stamp.producer_epoch.to_be_bytes());
        put(layout::BASE_SEQUENCE, &self.stamp.base_sequence.to_be_bytes());
        put(layout::COUNT, &self.count.to_be_bytes());
        let length = (out.len() - layout::LOG_OVERHEAD) as i32;
        out[layout::LENGTH..layout::LENGTH + 4].copy_from_slice(&length.to_be_bytes());
        let crc = record::crc32c(&out[layout::ATTRIBUTES..]);
        out[layout::CRC..layout::CRC + 4].copy_from_slice(&crc.to_be_bytes());
    }

    /// Gives the memory of the batch back, if nobody else holds it.
    pub fn into_buffer(self) -> Option<Vec<u8>> {
        if self.buffer.capacity() > 0 {
            return Some(self.buffer);
        }
        self.sealed.map(|sealed| sealed.bytes).filter(bytes::Bytes::is_unique).map(Vec::from)
    }

    /// The handle of the record appended last.
    pub fn outcome_handle(&mut self) -> Arc<BatchOutcome> {
        self.outcome.get_or_insert_with(Default::default).clone()
    }
}

fn write_sized(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => varint::write_i32(out, -1),
        Some(bytes) => {
            varint::write_i32(out, bytes.len() as i32);
            out.extend_from_slice(bytes);
        }
    }
}

fn sized(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint::len_i32(bytes.len() as i32) + bytes.len())
}

/// Key, value and headers with their lengths.
fn payload_size(record: &ProducerRecord<'_>) -> usize {
    let headers: usize = record.headers.iter().map(|Header { key, value }| sized(Some(key.as_bytes())) + sized(*value)).sum();
    sized(record.key) + sized(record.value) + varint::len_i32(record.headers.len() as i32) + headers
}

/// An upper bound of what one record takes inside a batch (`DefaultRecord.recordSizeUpperBound`).
pub fn record_size_upper_bound(record: &ProducerRecord<'_>) -> usize {
    MAX_RECORD_OVERHEAD + payload_size(record)
}

/// What became of a batch; shared by it and the handles of its records.
#[derive(Debug, Default)]
pub struct BatchOutcome {
    state: Mutex<OutcomeState>,
}

#[derive(Debug, Default)]
struct OutcomeState {
    outcome: Option<Outcome>,
    /// As a rule one waits for it.
    first: Option<Waker>,
    others: Vec<Waker>,
}

#[derive(Clone, Debug)]
pub enum Outcome {
    /// `log_append_time` is -1 for topics with CreateTime, `base_offset` -1 with acks=0.
    Written {
        base_offset: i64,
        log_append_time: i64,
    },
    Failed(Arc<BatchFailure>),
    /// The batch was too large and went out as several: (index of the first record, its outcome), ascending.
    Split(Arc<Vec<(u32, Arc<BatchOutcome>)>>),
}

/// One error for the whole batch, or a particular one for the records that the broker named.
#[derive(Debug)]
pub struct BatchFailure {
    pub error: Error,
    pub by_record: Vec<(u32, Error)>,
}

impl BatchFailure {
    pub fn error_of(&self, index: u32) -> &Error {
        self.by_record.iter().find(|(at, _)| *at == index).map_or(&self.error, |(_, error)| error)
    }
}

impl BatchOutcome {
    fn lock(&self) -> MutexGuard<'_, OutcomeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the outcome, once, and wakes everybody who waits for it.
    pub fn complete(&self, outcome: Outcome) {
        let wakers = {
            let mut state = self.lock();
            if state.outcome.is_some() {
                return;
            }
            state.outcome = Some(outcome);
            state.first.take().into_iter().chain(std::mem::take(&mut state.others))
        };
        wakers.for_each(Waker::wake);
    }

    /// (base offset plus index, log append time) of record `index`, following splits.
    pub fn poll_record(self: &Arc<Self>, index: u32, waker: &Waker) -> Poll<Result<(i64, i64), Error>> {
        let mut target = self.clone();
        let mut index = index;
        loop {
            let outcome = {
                let mut state = target.lock();
                match &state.outcome {
                    Some(outcome) => outcome.clone(),
                    None => {
                        if state.first.is_none() {
                            state.first = Some(waker.clone());
                        } else if !state.first.iter().chain(&state.others).any(|known| known.will_wake(waker)) {
                            state.others.push(waker.clone());
                        }
                        return Poll::Pending;
                    }
                }
            };
            match outcome {
                Outcome::Written { base_offset, log_append_time } => {
                    let offset = if base_offset < 0 { -1 } else { base_offset.saturating_add(i64::from(index)) };
                    return Poll::Ready(Ok((offset, log_append_time)));
                }
                Outcome::Failed(failure) => return Poll::Ready(Err(failure.error_of(index).clone())),
                Outcome::Split(parts) => {
                    let part = parts.partition_point(|(first, _)| *first <= index).saturating_sub(1);
                    let Some((first, child)) = parts.get(part) else {
                        return Poll::Ready(Err(Error::IllegalState("a batch was split into nothing".to_owned())));
                    };
                    index -= first;
                    target = child.clone();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> ProducerBatch {
        ProducerBatch::new(1, Vec::new(), 1024, Instant::ZERO)
    }

    #[test]
    fn size_bounds_hold() {
        let headers = [Header::new("h", Some(b"v")), Header::new("n", None)];
        let records = [
            ProducerRecord::new("t").key(b"key").value(b"value").headers(&headers),
            ProducerRecord::new("t"),
            ProducerRecord::new("t").value(&[7; 300]),
        ];
        let mut batch = batch();
        for record in &records {
            let before = batch.buffer.len();
            batch.append(record, 1_000);
            assert!(batch.buffer.len() - before <= record_size_upper_bound(record));
        }
        assert_eq!(batch.count, 3);
    }

    #[test]
    fn records_survive_re_encoding() {
        let mut first = batch();
        for i in 0..5i64 {
            first.append(&ProducerRecord::new("t").value(format!("v{i}").as_bytes()), 100 - i);
        }
        let mut second = batch();
        for (timestamp, attributes, rest) in first.encoded_records().skip(2) {
            second.append_encoded(timestamp, attributes, rest);
        }
        assert_eq!(second.count, 3);
        assert_eq!(second.base_timestamp, 98);
        let originals: Vec<_> = first.encoded_records().skip(2).collect();
        let copies: Vec<_> = second.encoded_records().collect();
        assert_eq!(originals, copies);
    }

    #[test]
    fn sealed_batches_are_what_readers_expect() {
        for compression in [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
            let mut batch = batch();
            let headers = [Header::new("h", Some(b"1")), Header::new("h", None)];
            batch.append(&ProducerRecord::new("t").key(b"k").value(b"v").headers(&headers), 50);
            batch.append(&ProducerRecord::new("t").value(b""), 40);
            batch.stamp = ProducerStamp { producer_id: 5, producer_epoch: 1, base_sequence: 9 };
            batch.seal(Codec::new(compression), false).unwrap();
            batch.stamp.base_sequence = 2;
            let bytes = batch.seal(Codec::new(compression), false).unwrap();
            let read = record::Batch::new(bytes).unwrap();
            assert!(read.view().is_valid());
            assert_eq!(read.view().base_sequence(), 2);
            assert_eq!((read.view().base_timestamp(), read.view().max_timestamp()), (50, 50));
            let records: Vec<_> = read.records(1 << 20).unwrap().map(Result::unwrap).collect();
            assert_eq!(records.len(), 2);
            assert_eq!(records[0].key.as_deref(), Some(&b"k"[..]));
            assert_eq!(records[0].headers.len(), 2);
            assert_eq!((records[1].timestamp, records[1].key.is_none(), records[1].value.as_deref()), (40, true, Some(&b""[..])));
            assert_eq!(batch.encoded_records().count(), 2);
        }
    }

    #[test]
    fn outcome_follows_splits() {
        let waker = Waker::noop();
        let outcome = Arc::new(BatchOutcome::default());
        assert!(outcome.poll_record(0, waker).is_pending());
        let (a, b) = (Arc::new(BatchOutcome::default()), Arc::new(BatchOutcome::default()));
        outcome.complete(Outcome::Split(Arc::new(vec![(0, a.clone()), (3, b.clone())])));
        a.complete(Outcome::Written { base_offset: 10, log_append_time: -1 });
        b.complete(Outcome::Written { base_offset: 40, log_append_time: 5 });
        assert_eq!(outcome.poll_record(2, waker), Poll::Ready(Ok((12, -1))));
        assert_eq!(outcome.poll_record(4, waker), Poll::Ready(Ok((41, 5))));
    }
}
