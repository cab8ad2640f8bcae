//! Owns: what compaction does with one batch: records as they lie in a decompressed payload, a batch written anew with some of them, a
//! batch written without any. Used by: storage's cleaner. Never does: deciding what stays. Hot path: nothing here allocates per record.
//! Kafka: MemoryRecords.filterTo, MemoryRecordsBuilder, DefaultRecordBatch.writeEmptyHeader.

use crate::batch::{self, BatchView, CONTROL, DELETE_HORIZON, LOG_APPEND_TIME, RECORDS, TRANSACTIONAL, TimestampType};
use crate::compress::{Codec, Compression};
use crate::error::RecordError;
use crate::{NO_TIMESTAMP, compress};
use base::varint;
use std::borrow::Cow;
use std::io;

/// One record of a magic 2 batch, with what compaction wants to know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawRecord<'a> {
    pub offset_delta: i32,
    pub timestamp_delta: i64,
    pub key: Option<&'a [u8]>,
    pub has_value: bool,
    attributes: u8,
    /// Everything from the offset delta on.
    tail: &'a [u8],
    /// All bytes, length included.
    bytes: &'a [u8],
}

impl<'a> RawRecord<'a> {
    /// The whole record, its length field included.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// The records of a decompressed payload in order. After an error it ends.
pub struct RawRecords<'a> {
    rest: &'a [u8],
    left: i32,
}

/// The records part of a magic 2 batch, decompressed to at most `max_decompressed` bytes if need be.
pub fn payload<'a>(view: &BatchView<'a>, max_decompressed: usize) -> Result<Cow<'a, [u8]>, RecordError> {
    match view.compression()? {
        Compression::None => Ok(Cow::Borrowed(view.payload())),
        compression => compress::decompress(compression, view.payload(), max_decompressed).map(Cow::Owned),
    }
}

impl<'a> RawRecords<'a> {
    /// `payload` is that of `view`, decompressed.
    pub fn new(view: &BatchView<'_>, payload: &'a [u8]) -> Result<Self, RecordError> {
        match view.count() {
            Some(left) if left >= 0 => Ok(Self { rest: payload, left }),
            count => Err(RecordError::invalid(format!("found invalid record count {count:?} in magic v2 batch"))),
        }
    }

    fn read(&mut self) -> Result<RawRecord<'a>, RecordError> {
        let malformed = || RecordError::invalid("found invalid record structure");
        let all = self.rest;
        let (size, n) = varint::read_i32(all).map_err(|_| malformed())?;
        let end = usize::try_from(size).ok().and_then(|size| n.checked_add(size)).ok_or_else(malformed)?;
        let bytes = all.get(..end).ok_or_else(malformed)?;
        let attributes = *bytes.get(n).ok_or_else(malformed)?;
        let (timestamp_delta, taken) = varint::read_i64(&bytes[n + 1..]).map_err(|_| malformed())?;
        let tail = &bytes[n + 1 + taken..];
        let (offset_delta, taken) = varint::read_i32(tail).map_err(|_| malformed())?;
        let (key, rest) = take_sized(&tail[taken..]).ok_or_else(malformed)?;
        let (value, _) = take_sized(rest).ok_or_else(malformed)?;
        self.rest = &all[end..];
        Ok(RawRecord { offset_delta, timestamp_delta, key, has_value: value.is_some(), attributes, tail, bytes })
    }
}

/// A field with its length in front, and what follows it; a negative length is null.
fn take_sized(bytes: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let (len, n) = varint::read_i32(bytes).ok()?;
    let rest = &bytes[n..];
    match usize::try_from(len) {
        Err(_) => Some((None, rest)),
        Ok(len) => rest.split_at_checked(len).map(|(field, rest)| (Some(field), rest)),
    }
}

impl<'a> Iterator for RawRecords<'a> {
    type Item = Result<RawRecord<'a>, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            if self.rest.is_empty() {
                return None;
            }
            self.rest = &[];
            return Some(Err(RecordError::invalid("incorrect declared batch size, records still remaining in file")));
        }
        self.left -= 1;
        let record = self.read();
        if record.is_err() {
            self.left = 0;
            self.rest = &[];
        }
        Some(record)
    }
}

/// Appends to `out` the batch `view` with only `kept` of its records, which are not empty. Offsets, sequence and producer stay; the range of
/// offsets stays too, so that the producer's last sequence is not lost. Returns the new max timestamp. `scratch` is for records that are
/// to be compressed.
pub fn write_filtered(
    view: &BatchView<'_>,
    kept: &[RawRecord<'_>],
    delete_horizon_ms: Option<i64>,
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<i64, RecordError> {
    let compression = view.compression()?;
    let appended = view.timestamp_type() == TimestampType::LogAppendTime;
    let of = |record: &RawRecord<'_>| match appended {
        true => view.max_timestamp(),
        false => view.base_timestamp().wrapping_add(record.timestamp_delta),
    };
    let base_timestamp = delete_horizon_ms.or_else(|| kept.first().map(of)).unwrap_or(NO_TIMESTAMP);
    let max_timestamp = if appended { view.max_timestamp() } else { kept.iter().map(of).max().unwrap_or(NO_TIMESTAMP).max(NO_TIMESTAMP) };
    let start = out.len();
    out.resize(start + RECORDS, 0);
    if compression == Compression::None {
        put_records(kept, base_timestamp, of, out);
    } else {
        scratch.clear();
        put_records(kept, base_timestamp, of, scratch);
        Codec::new(compression).compress(scratch, out).map_err(|e| RecordError::invalid(format!("cannot compress a batch again: {e}")))?;
    }
    let mut attributes = compression.id() | kind_of(view);
    if delete_horizon_ms.is_some() {
        attributes |= DELETE_HORIZON;
    }
    let header = Header { attributes, base_timestamp, max_timestamp, count: kept.len() as i32 };
    seal(view, &header, &mut out[start..])?;
    Ok(max_timestamp)
}

fn put_records(kept: &[RawRecord<'_>], base_timestamp: i64, of: impl Fn(&RawRecord<'_>) -> i64, out: &mut Vec<u8>) {
    for record in kept {
        let delta = of(record).wrapping_sub(base_timestamp);
        if delta == record.timestamp_delta && record.attributes == 0 {
            out.extend_from_slice(record.bytes);
            continue;
        }
        varint::write_i32(out, (1 + varint::len_i64(delta) + record.tail.len()) as i32);
        out.push(0);
        varint::write_i64(out, delta);
        out.extend_from_slice(record.tail);
    }
}

/// Appends to `out` the header of `view` as a batch without records, which keeps its offsets and the state of its producer.
pub fn write_empty(view: &BatchView<'_>, out: &mut Vec<u8>) -> Result<(), RecordError> {
    let start = out.len();
    out.resize(start + RECORDS, 0);
    let header = Header { attributes: kind_of(view), base_timestamp: NO_TIMESTAMP, max_timestamp: view.max_timestamp(), count: 0 };
    seal(view, &header, &mut out[start..])
}

/// The attributes that say what a batch is.
fn kind_of(view: &BatchView<'_>) -> u8 {
    view.attributes() & (LOG_APPEND_TIME | TRANSACTIONAL | CONTROL)
}

struct Header {
    attributes: u8,
    base_timestamp: i64,
    max_timestamp: i64,
    count: i32,
}

/// Fills in the header and the checksum of a batch whose records are in place.
fn seal(view: &BatchView<'_>, header: &Header, bytes: &mut [u8]) -> Result<(), RecordError> {
    let length = i32::try_from(bytes.len() - batch::LOG_OVERHEAD).map_err(|_| io::Error::other("larger than 2 GiB"));
    let length = length.map_err(|e| RecordError::invalid(format!("a batch cannot be written anew: {e}")))?;
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(batch::BASE_OFFSET, &view.base_offset().to_be_bytes());
    put(batch::LENGTH, &length.to_be_bytes());
    put(batch::LEADER_EPOCH, &view.leader_epoch().to_be_bytes());
    put(batch::MAGIC, &[2]);
    put(batch::ATTRIBUTES, &i16::from(header.attributes).to_be_bytes());
    put(batch::LAST_OFFSET_DELTA, &view.last_offset_delta().to_be_bytes());
    put(batch::BASE_TIMESTAMP, &header.base_timestamp.to_be_bytes());
    put(batch::MAX_TIMESTAMP, &header.max_timestamp.to_be_bytes());
    put(batch::PRODUCER_ID, &view.producer_id().to_be_bytes());
    put(batch::PRODUCER_EPOCH, &view.producer_epoch().to_be_bytes());
    put(batch::BASE_SEQUENCE, &view.base_sequence().to_be_bytes());
    put(batch::COUNT, &header.count.to_be_bytes());
    let crc = crate::crc32c(&bytes[batch::ATTRIBUTES..]);
    bytes[batch::CRC..batch::CRC + 4].copy_from_slice(&crc.to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Batch, BatchBuilder, BatchFields, Record};

    fn batch(fields: BatchFields) -> Batch {
        let mut builder = BatchBuilder::new(fields);
        for (i, value) in [Some(b"one".as_slice()), None, Some(b"three")].into_iter().enumerate() {
            let header = crate::Header::new(&b"h"[..], None);
            builder.append(1_000 + 10 * i as i64, Some(format!("key {i}").as_bytes()), value, &[header]);
        }
        Batch::new(builder.build().unwrap()).unwrap()
    }

    fn records(bytes: &[u8]) -> Vec<Record> {
        let batch = Batch::new(bytes.to_vec().into()).unwrap();
        assert!(batch.view().is_valid());
        batch.records(1 << 20).unwrap().map(Result::unwrap).collect()
    }

    /// Keeps the records at `keep`, and compares what is then in the batch with what was.
    fn check(fields: BatchFields, keep: &[usize], horizon: Option<i64>) -> Batch {
        let batch = batch(fields);
        let view = batch.view();
        let payload = payload(&view, 1 << 20).unwrap();
        let raw: Vec<RawRecord<'_>> = RawRecords::new(&view, &payload).unwrap().map(Result::unwrap).collect();
        let kept: Vec<RawRecord<'_>> = keep.iter().map(|i| raw[*i]).collect();
        let mut out = Vec::new();
        write_filtered(&view, &kept, horizon, &mut Vec::new(), &mut out).unwrap();
        let before: Vec<Record> = batch.records(1 << 20).unwrap().map(Result::unwrap).collect();
        let after = records(&out);
        assert_eq!(after.len(), keep.len());
        for (record, i) in after.iter().zip(keep) {
            assert_eq!(Record { size: 0, ..record.clone() }, Record { size: 0, ..before[*i].clone() });
        }
        let written = Batch::new(out.into()).unwrap();
        assert_eq!(written.view().last_offset(), view.last_offset());
        assert_eq!(written.view().delete_horizon_ms(), horizon);
        written
    }

    #[test]
    fn what_is_kept_is_as_it_was() {
        for codec in Compression::ALL.map(Codec::new) {
            for (timestamp_type, log_append_time) in [(TimestampType::CreateTime, -1), (TimestampType::LogAppendTime, 7_777)] {
                let fields = BatchFields {
                    base_offset: 40,
                    leader_epoch: 3,
                    codec,
                    timestamp_type,
                    log_append_time,
                    producer_id: 9,
                    producer_epoch: 1,
                    base_sequence: 17,
                    transactional: true,
                    ..BatchFields::default()
                };
                for keep in [&[0, 1, 2][..], &[0], &[1], &[2], &[0, 2], &[1, 2]] {
                    for horizon in [None, Some(123_456)] {
                        let written = check(fields.clone(), keep, horizon);
                        let view = written.view();
                        assert_eq!((view.leader_epoch(), view.producer_id(), view.base_sequence()), (3, 9, 17));
                        assert_eq!(view.timestamp_type(), timestamp_type);
                        assert!(view.is_transactional() && !view.is_control());
                    }
                }
            }
        }
    }

    #[test]
    fn timestamps_start_with_the_first_that_is_left() {
        let written = check(BatchFields::default(), &[1, 2], None);
        assert_eq!((written.view().base_timestamp(), written.view().max_timestamp()), (1_010, 1_020));
        assert_eq!(check(BatchFields::default(), &[0], None).view().max_timestamp(), 1_000);
    }

    #[test]
    fn an_empty_batch_keeps_offsets_and_sequence() {
        let fields =
            BatchFields { base_offset: 40, codec: Codec::new(Compression::Zstd), producer_id: 9, base_sequence: 17, ..Default::default() };
        let batch = batch(fields);
        let mut out = Vec::new();
        write_empty(&batch.view(), &mut out).unwrap();
        let empty = Batch::new(out.into()).unwrap();
        let view = empty.view();
        assert!(view.is_valid());
        assert_eq!((view.size(), view.count(), view.base_timestamp()), (RECORDS, Some(0), -1));
        assert_eq!((view.base_offset(), view.last_offset(), view.last_sequence()), (40, 42, 19));
        assert_eq!((view.max_timestamp(), view.compression().unwrap()), (1_020, Compression::None));
        assert_eq!(empty.records(100).unwrap().count(), 0);
    }

    #[test]
    fn damaged_payloads_are_refused() {
        let batch = batch(BatchFields::default());
        let view = batch.view();
        let payload = view.payload();
        for len in 0..payload.len() {
            assert!(RawRecords::new(&view, &payload[..len]).unwrap().any(|record| record.is_err()), "{len}");
        }
        let longer: Vec<u8> = payload.iter().copied().chain([0]).collect();
        assert!(RawRecords::new(&view, &longer).unwrap().any(|record| record.is_err()));
    }
}
