//! A consumer that reads a topic from its start again and again, each time after its pages were dropped from the page cache.

use super::connection::Connection;
use super::consumer::{FETCH_VERSION, Offsets, advance, ends, fetch};
use super::producer::{check, produce, wall_ms};
use super::{PARTITIONS, Plan};
use crate::Result;
use record::{BatchBuilder, BatchFields};
use rustix::fs::Advice;
use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

pub const TOPIC: &str = "tail-cold";
const PRODUCE_VERSION: i16 = 9;
const BYTES: usize = 1 << 30;
const BATCH_RECORDS: usize = 16;

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
    while running.load(Relaxed) {
        if offsets == ends {
            drop_pages(&plan.dir)?;
            offsets = Offsets::default();
        }
        let response = connection.call(&fetch(TOPIC, &offsets), FETCH_VERSION)?;
        for partition in response.responses.iter().flat_map(|topic| &topic.partitions) {
            bytes += advance(partition, &mut offsets)?;
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
            rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?;
        }
    }
    Ok(())
}
