//! The writer of a compacted topic: updates of random keys at an even rate, so that there is always something to clean.

use super::connection::{Connection, wait};
use super::producer::{check, produce, wall_ms};
use super::{PARTITIONS, Plan};
use crate::Result;
use record::{BatchBuilder, BatchFields};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use wire::messages::ProduceRequest;

pub const TOPIC: &str = "tail-updates";
const VERSION: i16 = 9;
const BATCH: usize = 40;
/// 100 times 40 updates of 1 KiB: 4 MB/s.
const INTERVAL: Duration = Duration::from_millis(10);
const KEYS: u32 = 5_000;

pub fn run(plan: &Plan, running: &AtomicBool) -> Result<(&'static str, f64)> {
    super::step_back();
    let mut connection = Connection::open(&plan.bootstrap)?;
    super::consumer::ends(&mut connection, TOPIC)?;
    let value = vec![b'u'; 1000];
    let (mut sent, mut next) = (0, Instant::now());
    while running.load(Relaxed) {
        let mut builder = BatchBuilder::new(BatchFields::default());
        for _ in 0..BATCH {
            builder.append(wall_ms(), Some(&fastrand::u32(..KEYS).to_be_bytes()), Some(&value), &[]);
        }
        check(&connection.call(&produce(TOPIC, sent % PARTITIONS, builder.build()?), VERSION)?)?;
        sent += 1;
        next += INTERVAL;
        while Instant::now() < next {
            // Nothing comes; it only sleeps.
            wait(std::slice::from_mut(&mut connection), Some(next))?;
            if connection.receive::<ProduceRequest>(VERSION)?.is_some() {
                return Err("an answer without a question".into());
            }
        }
    }
    Ok(("updates", f64::from(sent) * BATCH as f64))
}
