//! `<offset>.snapshot`: producer state up to an offset. Kafka: ProducerStateManager.readSnapshot, ProducerSnapshot.json.

use crate::producer_state::{BatchMeta, ProducerEntry};
use bytes::{Buf, BufMut};

const VERSION: i16 = 1;
const ENTRY: usize = 46;
const CRC_AT: usize = 2;
const ENTRIES_AT: usize = 6;

pub fn encode<'a>(entries: impl ExactSizeIterator<Item = &'a ProducerEntry>) -> Vec<u8> {
    let mut out = Vec::with_capacity(10 + entries.len() * ENTRY);
    out.put_i16(VERSION);
    out.put_u32(0);
    out.put_i32(entries.len() as i32);
    for entry in entries {
        let last = entry.last_batch();
        out.put_i64(entry.producer_id);
        out.put_i16(entry.epoch);
        out.put_i32(last.map_or(-1, |b| b.last_sequence));
        out.put_i64(last.map_or(-1, |b| b.last_offset));
        out.put_i32(last.map_or(0, |b| b.offset_delta));
        out.put_i64(entry.last_timestamp);
        out.put_i32(entry.coordinator_epoch);
        out.put_i64(entry.current_txn_first_offset.unwrap_or(-1));
    }
    let crc = record::crc32c(&out[ENTRIES_AT..]);
    out[CRC_AT..ENTRIES_AT].copy_from_slice(&crc.to_be_bytes());
    out
}

/// The entries, or what is wrong with the file.
pub fn decode(bytes: &[u8]) -> Result<Vec<ProducerEntry>, String> {
    let mut rest = bytes;
    let (Ok(version), Ok(stored), Ok(count)) = (rest.try_get_i16(), rest.try_get_u32(), rest.try_get_i32()) else {
        return Err("is shorter than its header".into());
    };
    if version != VERSION {
        return Err(format!("has version {version}, expected {VERSION}"));
    }
    let computed = record::crc32c(&bytes[ENTRIES_AT..]);
    if stored != computed {
        return Err(format!("is corrupt (stored crc {stored}, computed crc {computed})"));
    }
    if count < 0 || rest.len() < count as usize * ENTRY {
        return Err(format!("claims {count} producers and has {} bytes for them", rest.len()));
    }
    let mut entries = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let producer_id = rest.get_i64();
        let epoch = rest.get_i16();
        let last_sequence = rest.get_i32();
        let last_offset = rest.get_i64();
        let offset_delta = rest.get_i32();
        let timestamp = rest.get_i64();
        let coordinator_epoch = rest.get_i32();
        let txn = rest.get_i64();
        let mut entry = ProducerEntry::new(producer_id);
        entry.epoch = epoch;
        entry.coordinator_epoch = coordinator_epoch;
        entry.last_timestamp = timestamp;
        entry.current_txn_first_offset = (txn >= 0).then_some(txn);
        if last_offset >= 0 {
            entry.add_batch(epoch, BatchMeta { last_sequence, last_offset, offset_delta, timestamp });
        }
        entries.push(entry);
    }
    Ok(entries)
}
