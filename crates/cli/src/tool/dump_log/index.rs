//! Offset and time indexes, checked against their log.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::log::{Batches, records_of};
use super::{Problems, Settings, absolute, base_offset, cannot, put};
use crate::failure::Failure;

struct OffsetEntries {
    base: i64,
    bytes: Vec<u8>,
}

impl OffsetEntries {
    fn read(file: &Path, base: i64) -> Result<Self, Failure> {
        Ok(OffsetEntries { base, bytes: std::fs::read(file).map_err(|error| cannot(file, &error))? })
    }

    fn iter(&self) -> impl Iterator<Item = (i64, u64)> + '_ {
        self.bytes.chunks_exact(8).map(|entry| {
            let number = |at: usize| u32::from_be_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]);
            (self.base + i64::from(number(0)), u64::from(number(4)))
        })
    }

    /// The position of the last entry at or below an offset.
    fn lookup(&self, offset: i64) -> u64 {
        self.iter().take_while(|(at, _)| *at <= offset).last().map_or(0, |(_, position)| position)
    }
}

fn log_of(file: &Path, name: &str) -> PathBuf {
    file.with_file_name(format!("{}.log", name.split('.').next().unwrap_or_default()))
}

fn corrupt(file: &Path, what: &str) -> Failure {
    Failure::new(format!("Corrupt index found, index file ({}) {what}", absolute(file).display()))
}

pub fn dump_offsets(path: &Path, name: &str, settings: &Settings, problems: &mut Problems, out: &mut impl Write) -> Result<(), Failure> {
    let base = base_offset(name)?;
    let log_path = log_of(path, name);
    let log = File::open(&log_path).map_err(|error| cannot(&log_path, &error))?;
    let log_len = log.metadata()?.len();
    let index = OffsetEntries::read(path, base)?;
    let Some((last_offset, _)) = index.iter().last() else {
        return put(out, format_args!("{} is empty.\n", path.display()));
    };
    if settings.sanity_only {
        if last_offset < base {
            let text = format!("has non-zero size but the last offset is {last_offset} which is less than the base offset {base}");
            return Err(corrupt(path, &text));
        }
        if index.bytes.len() % 8 != 0 {
            return Err(corrupt(path, &format!("size {} is not a multiple of the entry size 8", index.bytes.len())));
        }
        return put(out, format_args!("{} passed sanity check.\n", path.display()));
    }
    for (i, (offset, position)) in index.iter().enumerate() {
        // The unused part of an index that was not trimmed is zeros.
        if offset == base && i > 0 {
            return Ok(());
        }
        if position > log_len {
            return Err(Failure::new(format!(
                "{}: the index points to position {position}, behind the end of {}",
                path.display(),
                log_path.display()
            )));
        }
        let end = log_len.min(position + settings.max_message_size);
        let Some(batch) = Batches::new(&log, &log_path, position, end).next()? else {
            return Err(Failure::new(format!("{}: there is no batch at position {position} of {}", path.display(), log_path.display())));
        };
        let found = batch.view().last_offset();
        if found != offset {
            problems.index_mismatches.entry(absolute(path)).or_default().insert(offset, found);
        }
        if !settings.verify_only {
            put(out, format_args!("offset: {offset} position: {position}\n"))?;
        }
    }
    Ok(())
}

pub fn dump_times(path: &Path, name: &str, settings: &Settings, problems: &mut Problems, out: &mut impl Write) -> Result<(), Failure> {
    let base = base_offset(name)?;
    let log_path = log_of(path, name);
    let log = File::open(&log_path).map_err(|error| cannot(&log_path, &error))?;
    let log_len = log.metadata()?.len();
    let index = OffsetEntries::read(&path.with_extension("index"), base)?;
    let bytes = std::fs::read(path).map_err(|error| cannot(path, &error))?;
    let entries: Vec<(i64, i64)> = bytes
        .chunks_exact(12)
        .map(|entry| {
            let (time, offset) = entry.split_at(8);
            let relative = offset.iter().fold(0, |sum, byte| sum << 8 | i64::from(*byte));
            (time.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte)) as i64, base + relative)
        })
        .collect();
    if settings.sanity_only {
        return sanity(path, base, &entries, bytes.len(), out);
    }
    let mut previous = record::NO_TIMESTAMP;
    for (i, (timestamp, offset)) in entries.iter().copied().enumerate() {
        if offset == base && i > 0 {
            return Ok(());
        }
        let mut batches = Batches::new(&log, &log_path, index.lookup(offset), log_len);
        let matching = loop {
            match batches.next()? {
                Some(batch) if batch.view().last_offset() < offset => {}
                found => break found,
            }
        };
        match matching {
            Some(batch) if batch.view().last_offset() == offset => {
                let mut max = record::NO_TIMESTAMP;
                for record in records_of(&batch)? {
                    max = max.max(record?.timestamp);
                }
                if max != timestamp {
                    problems.time_mismatches.entry(absolute(path)).or_default().push((timestamp, max));
                }
                if previous >= timestamp {
                    problems.time_out_of_order.entry(absolute(path)).or_default().push((timestamp, previous));
                }
            }
            other => {
                let found = other.map_or(-1, |batch| batch.view().last_offset());
                problems.time_offset_missing.entry(absolute(path)).or_default().push((offset, found));
            }
        }
        if !settings.verify_only {
            put(out, format_args!("timestamp: {timestamp} offset: {offset}\n"))?;
        }
        previous = timestamp;
    }
    Ok(())
}

fn sanity(path: &Path, base: i64, entries: &[(i64, i64)], len: usize, out: &mut impl Write) -> Result<(), Failure> {
    if let (Some((first, _)), Some((last, last_offset))) = (entries.first(), entries.last()) {
        if last < first {
            let text = format!("has non-zero size but the last timestamp is {last} which is less than the first timestamp {first}");
            return Err(corrupt(path, &text));
        }
        if *last_offset < base {
            let text = format!("has non-zero size but the last offset is {last_offset} which is less than the first offset {base}");
            return Err(corrupt(path, &text));
        }
    }
    if !len.is_multiple_of(12) {
        return Err(corrupt(path, &format!("size {len} is not a multiple of the entry size 12")));
    }
    put(out, format_args!("{} passed sanity check.\n", path.display()))
}
