//! A consumer that reads a topic from its start again and again, each time after its pages were dropped from the page cache; at the rate of
//! a disk, or as fast as it comes.

use super::connection::Connection;
use super::consumer::{FETCH_VERSION, Offsets, advance, ends, fetch};
use super::producer::{check, produce, wall_ms};
use super::{Cold, PARTITIONS, Plan};
use crate::Result;
use record::{BatchBuilder, BatchFields};
use rustix::fs::Advice;
use std::fs::{self, File};
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

pub const TOPIC: &str = "tail-cold";
const PRODUCE_VERSION: i16 = 9;
const BYTES: usize = 1 << 30;
const BATCH_RECORDS: usize = 16;
const DROP_BYTES: u64 = 1 << 20;
/// What a disk gives, in bytes a second. More, and two processors are busy with nothing but this reader.
const DISK_RATE: f64 = 300e6;

/// Batches of 16 KiB, all partitions alike.
pub fn fill(plan: &Plan) -> Result<()> {
    let mut connection = Connection::open(&plan.bootstrap)?;
    ends(&mut connection, TOPIC)?;
    let value = vec![b'c'; 1024];
    let mut builder = BatchBuilder::new(BatchFields::default());
    for _ in 0..BATCH_RECORDS {
        builder.append(wall_ms(), None, Some(&value), &[]);
    }
    let batch = builder.build()?;
    for n in 0..BYTES / batch.len() {
        check(&connection.call(&produce(TOPIC, n as i32 % PARTITIONS, batch.clone()), PRODUCE_VERSION)?)?;
    }
    Ok(())
}

pub fn run(plan: &Plan, running: &AtomicBool) -> Result<(&'static str, f64)> {
    super::step_back();
    let mut connection = Connection::open(&plan.bootstrap)?;
    let ends = ends(&mut connection, TOPIC)?;
    let mut bytes = 0;
    let mut offsets = ends;
    let begin = Instant::now();
    while running.load(Relaxed) {
        if offsets == ends {
            drop_pages(&plan.dir)?;
            offsets = Offsets::default();
        }
        let response = connection.call(&fetch(TOPIC, &offsets), FETCH_VERSION)?;
        for partition in response.responses.iter().flat_map(|topic| &topic.partitions) {
            bytes += advance(partition, &mut offsets)?;
        }
        if plan.cold == Some(Cold::DiskRate) {
            let due = begin + Duration::from_secs_f64(bytes as f64 / DISK_RATE);
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
    Ok(("cold_mib", bytes as f64 / f64::from(1 << 20)))
}

/// Of all files of the topic, in all log directories under `dir`.
fn drop_pages(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        if !entry.file_name().to_string_lossy().starts_with(TOPIC) {
            drop_pages(&entry.path())?;
            continue;
        }
        for file in fs::read_dir(entry.path())? {
            let file = File::open(file?.path())?;
            // Only clean pages can go.
            file.sync_data()?;
            // A little at a time: the system does nothing else meanwhile.
            for at in (0..file.metadata()?.len()).step_by(DROP_BYTES as usize) {
                rustix::fs::fadvise(&file, at, NonZeroU64::new(DROP_BYTES), Advice::DontNeed)?;
                thread::sleep(Duration::from_micros(500));
            }
        }
    }
    Ok(())
}
