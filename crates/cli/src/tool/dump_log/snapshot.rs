//! Producer state snapshots and indexes of aborted transactions.

use std::io::Write;
use std::path::Path;

use super::{cannot, put};
use crate::failure::Failure;
use crate::out::complain;

fn number(bytes: &[u8]) -> i64 {
    let negative = bytes.first().is_some_and(|byte| *byte >= 0x80);
    bytes.iter().fold(if negative { -1 } else { 0 }, |sum, byte| sum << 8 | i64::from(*byte))
}

/// What is wrong with a snapshot goes to stderr, as with Kafka, and does not end the tool.
pub fn dump_producers(path: &Path, out: &mut impl Write) -> Result<(), Failure> {
    let bytes = std::fs::read(path).map_err(|error| cannot(path, &error))?;
    match producers(&bytes) {
        Ok(lines) => lines.iter().try_for_each(|line| put(out, format_args!("{line}\n"))),
        Err(problem) => {
            let _ = out.flush();
            complain!("{problem}");
            Ok(())
        }
    }
}

const HEADER: usize = 10;
const ENTRY: usize = 46;

fn producers(bytes: &[u8]) -> Result<Vec<String>, String> {
    if bytes.len() < HEADER {
        return Err(format!("Snapshot failed schema validation: it has {} bytes", bytes.len()));
    }
    let version = number(&bytes[..2]);
    if version != 1 {
        return Err(format!("Snapshot contained an unknown file version {version}"));
    }
    let stored = number(&bytes[2..6]) & 0xffff_ffff;
    let computed = i64::from(record::crc32c(&bytes[6..]));
    if stored != computed {
        return Err(format!("Snapshot is corrupt (CRC is no longer valid). Stored crc: {stored}. Computed crc: {computed}"));
    }
    Ok(bytes[HEADER..].chunks_exact(ENTRY).map(producer_line).collect())
}

fn producer_line(entry: &[u8]) -> String {
    let (last_sequence, last_offset, delta) = (number(&entry[10..14]), number(&entry[14..22]), number(&entry[22..26]));
    let timestamp = number(&entry[26..34]);
    let mut line = format!(
        "producerId: {} producerEpoch: {} coordinatorEpoch: {} currentTxnFirstOffset: {} lastTimestamp: {timestamp}",
        number(&entry[..8]),
        number(&entry[8..10]),
        number(&entry[34..38]),
        match number(&entry[38..46]) {
            offset if offset >= 0 => format!("OptionalLong[{offset}]"),
            _ => "OptionalLong.empty".to_owned(),
        },
    );
    if last_offset >= 0 {
        let first_sequence = record::decrement_sequence(last_sequence as i32, delta as i32);
        line.push_str(&format!(
            " firstSequence: {first_sequence} lastSequence: {last_sequence} lastOffset: {last_offset} offsetDelta: {delta} timestamp: {timestamp}"
        ));
    }
    line
}

pub fn dump_aborted(path: &Path, out: &mut impl Write) -> Result<(), Failure> {
    let bytes = std::fs::read(path).map_err(|error| cannot(path, &error))?;
    for entry in bytes.chunks_exact(34) {
        let version = number(&entry[..2]);
        if version > 0 {
            let file = path.display();
            let text = format!("Unexpected aborted transaction version {version} in transaction index {file}, current version is 0");
            return Err(Failure::new(text));
        }
        put(
            out,
            format_args!(
                "version: {version} producerId: {} firstOffset: {} lastOffset: {} lastStableOffset: {}\n",
                number(&entry[2..10]),
                number(&entry[10..18]),
                number(&entry[18..26]),
                number(&entry[26..34]),
            ),
        )?;
    }
    Ok(())
}
