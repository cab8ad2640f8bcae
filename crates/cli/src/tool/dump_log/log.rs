//! Log segments and metadata snapshots: batches, their records, and the bytes at the end that are no batch.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;
use record::{Batch, Record};

use super::{Problems, Settings, absolute, base_offset, cannot, control, put};
use crate::failure::Failure;

/// Offset, length, epoch or CRC, and magic: what `FileLogInputStream` wants to see before it believes in a batch.
const HEADER_UP_TO_MAGIC: u64 = 17;
const LOG_OVERHEAD: u64 = 12;
const MIN_BATCH: i32 = 14;
/// A batch that decompresses to more than this is called corrupt.
const MAX_DECOMPRESSED: usize = i32::MAX as usize;

/// Batches of a file from `position` to `end`, one in memory at a time.
pub struct Batches<'a> {
    file: &'a File,
    name: &'a Path,
    position: u64,
    end: u64,
}

impl<'a> Batches<'a> {
    pub fn new(file: &'a File, name: &'a Path, position: u64, end: u64) -> Self {
        Batches { file, name, position, end }
    }

    /// The next batch, with what record iteration would complain about left for later; None where the file ends or the rest is no batch.
    pub fn next(&mut self) -> Result<Option<Batch>, Failure> {
        if self.position + HEADER_UP_TO_MAGIC > self.end {
            return Ok(None);
        }
        let mut header = [0; LOG_OVERHEAD as usize];
        self.file.read_exact_at(&mut header, self.position).map_err(|error| cannot(self.name, &error))?;
        let length = i32::from_be_bytes([header[8], header[9], header[10], header[11]]);
        if length < MIN_BATCH {
            return Err(Failure::new(format!(
                "Found record size {length} smaller than minimum record overhead ({MIN_BATCH}) in file {}.",
                self.name.display()
            )));
        }
        let size = LOG_OVERHEAD + length as u64;
        if self.position + size > self.end {
            return Ok(None);
        }
        let mut bytes = vec![0; size as usize];
        self.file.read_exact_at(&mut bytes, self.position).map_err(|error| cannot(self.name, &error))?;
        self.position += size;
        Batch::new(Bytes::from(bytes)).map(Some).map_err(|error| Failure::new(format!("{}: {error}", self.name.display())))
    }
}

pub fn records_of(batch: &Batch) -> Result<impl Iterator<Item = Result<Record, Failure>>, Failure> {
    let records = batch.records(MAX_DECOMPRESSED).map_err(|error| Failure::new(error.to_string()))?;
    Ok(records.map(|record| record.map_err(|error| Failure::new(error.to_string()))))
}

pub fn dump(path: &Path, name: &str, settings: &Settings, problems: &mut Problems, out: &mut impl Write) -> Result<(), Failure> {
    if name.ends_with(".log") {
        put(out, format_args!("Log starting offset: {}\n", base_offset(name)?))?;
    } else if name == "bootstrap.checkpoint" {
        put(out, format_args!("KRaft bootstrap snapshot\n"))?;
    } else {
        let (offset, epoch) = snapshot_id(name).ok_or_else(|| Failure::new(format!("{name} is not the name of a snapshot")))?;
        put(out, format_args!("Snapshot end offset: {offset}, epoch: {epoch}\n"))?;
    }
    let file = File::open(path).map_err(|error| cannot(path, &error))?;
    let end = file.metadata()?.len().min(settings.max_bytes);
    let mut batches = Batches::new(&file, path, 0, end);
    let mut valid_bytes = 0;
    let mut last_offset = -1;
    while let Some(batch) = batches.next()? {
        print_batch(&batch, valid_bytes, out)?;
        if settings.deep {
            for record in records_of(&batch)? {
                let record = record?;
                if record.offset != last_offset + 1 {
                    problems.non_consecutive.entry(absolute(path)).or_default().insert(last_offset, record.offset);
                }
                last_offset = record.offset;
                print_record(&batch, &record, settings, out)?;
            }
        }
        valid_bytes += batch.view().size() as u64;
    }
    if end > valid_bytes && settings.max_bytes == i32::MAX as u64 {
        put(out, format_args!("Found {} invalid bytes at the end of {name}\n", end - valid_bytes))?;
    }
    Ok(())
}

/// `00000000000000000000-0000000000.checkpoint` -> (0, 0)
fn snapshot_id(name: &str) -> Option<(i64, i32)> {
    let (offset, rest) = name.split_once('-')?;
    Some((offset.parse().ok()?, rest.get(..10)?.parse().ok()?))
}

fn print_batch(batch: &Batch, position: u64, out: &mut impl Write) -> Result<(), Failure> {
    let view = batch.view();
    if view.magic() >= 2 {
        let horizon = view.delete_horizon_ms().map_or("OptionalLong.empty".to_owned(), |ms| format!("OptionalLong[{ms}]"));
        put(
            out,
            format_args!(
                "baseOffset: {} lastOffset: {} count: {} baseSequence: {} lastSequence: {} producerId: {} producerEpoch: {} \
                 partitionLeaderEpoch: {} isTransactional: {} isControl: {} deleteHorizonMs: {horizon}",
                view.base_offset(),
                view.last_offset(),
                view.count().unwrap_or(-1),
                view.base_sequence(),
                view.last_sequence(),
                view.producer_id(),
                view.producer_epoch(),
                view.leader_epoch(),
                view.is_transactional(),
                view.is_control(),
            ),
        )?;
    } else {
        put(out, format_args!("offset: {}", view.last_offset()))?;
    }
    let codec = view.compression().map_err(|error| Failure::new(error.to_string()))?;
    put(
        out,
        format_args!(
            " position: {position} {}: {} size: {} magic: {} compresscodec: {} crc: {} isvalid: {}\n",
            timestamp_type(batch),
            view.max_timestamp(),
            view.size(),
            view.magic(),
            codec.name(),
            view.stored_crc(),
            view.is_valid(),
        ),
    )
}

fn timestamp_type(batch: &Batch) -> &'static str {
    match batch.view().magic() {
        0 => "NoTimestampType",
        _ => batch.view().timestamp_type().name(),
    }
}

fn print_record(batch: &Batch, record: &Record, settings: &Settings, out: &mut impl Write) -> Result<(), Failure> {
    let size = |bytes: &Option<Bytes>| bytes.as_ref().map_or(-1, |bytes| bytes.len() as i64);
    let is_control = batch.view().is_control();
    if !settings.skip_metadata {
        let (key, value) = (size(&record.key), size(&record.value));
        let stamp = timestamp_type(batch);
        put(out, format_args!("| offset: {} {stamp}: {} keySize: {key} valueSize: {value}", record.offset, record.timestamp))?;
        if batch.view().magic() >= 2 {
            let keys: Vec<String> = record.headers.iter().map(|header| header.key_str().into_owned()).collect();
            put(out, format_args!(" sequence: {} headerKeys: [{}]", record.sequence, keys.join(",")))?;
        } else {
            put(out, format_args!(" isValid: {} crc: {}", batch.view().is_valid(), batch.view().stored_crc()))?;
        }
        if is_control {
            put(out, format_args!("{}", control::describe(record)?))?;
        }
    }
    if settings.print_data && !is_control {
        let decoded = settings.decoder.decode(record)?;
        let mut prefix = if settings.skip_metadata { "| " } else { " " };
        if let Some(key) = decoded.key {
            put(out, format_args!("{prefix}key: {key}"))?;
            prefix = " ";
        }
        if let Some(value) = decoded.value {
            put(out, format_args!("{prefix}payload: {value}"))?;
        }
    }
    put(out, format_args!("\n"))
}
