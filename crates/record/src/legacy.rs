//! Message sets of magic 0 and 1, read only: old segments stay readable, nothing writes them any more.
//! Kafka: LegacyRecord, AbstractLegacyRecordBatch (KIP-32 for what changed with magic 1).

use crate::batch::{Batch, BatchView, LOG_OVERHEAD, TimestampType};
use crate::compress::{Compression, decompress};
use crate::error::RecordError;
use crate::record::{Headers, Record};
use bytes::{Buf, Bytes};

pub(crate) const CRC: usize = 12;
const MAGIC: usize = 16;
pub(crate) const ATTRIBUTES: usize = 17;
const TIMESTAMP: usize = 18;

/// Offset, size, CRC, magic, attributes, timestamp (magic 1), key and value length.
pub(crate) fn min_size(magic: u8) -> usize {
    if magic == 0 { LOG_OVERHEAD + 14 } else { LOG_OVERHEAD + 22 }
}

pub(crate) fn compute_crc(message: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(&message[MAGIC..]);
    crc.sum()
}

pub(crate) fn timestamp(message: &[u8]) -> i64 {
    if message[MAGIC] == 0 {
        return crate::NO_TIMESTAMP;
    }
    let mut b = &message[TIMESTAMP..TIMESTAMP + 8];
    b.get_i64()
}

/// The messages of one entry of a message set: itself, or those inside its compressed value.
pub(crate) fn messages(batch: &Batch, max_decompressed: usize) -> Result<Vec<Record>, RecordError> {
    let view = batch.view();
    if !view.is_valid() {
        return Err(RecordError::Corrupt(format!("record is corrupt (stored crc = {})", view.stored_crc())));
    }
    let outer = message(batch.bytes(), &view)?;
    let compression = view.compression()?;
    if compression == Compression::None {
        return Ok(vec![outer]);
    }
    let Some(payload) = outer.value else {
        return Err(RecordError::invalid("compressed message has no value"));
    };
    let inner = match (view.magic(), compression) {
        (0, Compression::Lz4) => decompress(compression, &lz4_with_right_checksum(&payload), max_decompressed)?,
        _ => decompress(compression, &payload, max_decompressed)?,
    };
    let mut records = Vec::new();
    for entry in crate::batch::batches(&Bytes::from(inner)) {
        let entry = entry?;
        let entry_view = entry.view();
        if entry_view.magic() != view.magic() {
            return Err(RecordError::invalid("inner message has another magic than its wrapper"));
        }
        if entry_view.compression()? != Compression::None {
            return Err(RecordError::invalid("inner message of a compressed message is itself compressed"));
        }
        records.push(message(entry.bytes(), &entry_view)?);
    }
    let Some(last) = records.last() else {
        return Err(RecordError::invalid("found compressed message set with no messages"));
    };
    // Magic 1 stores relative offsets inside and the offset of the last message outside.
    let shift = if view.magic() == 1 { view.base_offset().wrapping_sub(last.offset) } else { 0 };
    for record in &mut records {
        record.offset = record.offset.wrapping_add(shift);
        if view.timestamp_type() == TimestampType::LogAppendTime {
            record.timestamp = view.max_timestamp();
        }
    }
    Ok(records)
}

/// Magic 0 came with a checksum of the LZ4 frame header over the wrong bytes (KAFKA-3160); decoders want the right one.
fn lz4_with_right_checksum(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    // Magic number, flags, block descriptor, and with flag 8 the content size; then the checksum.
    let end = if frame.get(4).is_some_and(|flags| flags & 0x08 != 0) { 14 } else { 6 };
    if frame.len() > end {
        frame[end] = (xxhash_rust::xxh32::xxh32(&frame[4..end], 0) >> 8) as u8;
    }
    frame
}

fn message(bytes: &Bytes, view: &BatchView<'_>) -> Result<Record, RecordError> {
    let at = if view.magic() == 0 { TIMESTAMP } else { TIMESTAMP + 8 };
    let mut rest = bytes.slice(at..);
    let key = sized(&mut rest)?;
    let value = sized(&mut rest)?;
    Ok(Record {
        offset: view.base_offset(),
        timestamp: timestamp(bytes),
        sequence: crate::NO_SEQUENCE,
        attributes: 0,
        size: bytes.len(),
        key,
        value,
        headers: Headers::default(),
    })
}

fn sized(rest: &mut Bytes) -> Result<Option<Bytes>, RecordError> {
    let len = rest.try_get_i32().map_err(|_| RecordError::invalid("legacy message ends inside a length"))?;
    if len < 0 {
        return Ok(None);
    }
    if len as usize > rest.len() {
        return Err(RecordError::invalid("legacy message ends inside a key or value"));
    }
    Ok(Some(rest.split_to(len as usize)))
}
