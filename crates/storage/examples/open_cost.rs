//! What opening costs: microseconds per partition after a clean stop and after a kill.
//! `cargo run --release -p storage --example open_cost [-- DIR]`.

use base::disk::RealDisk;
use base::{Now, TopicPartition, Uuid};
use record::{BatchBuilder, BatchFields, Origin};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use storage::{Log, LogConfig, LogOpen};

const PARTITIONS: i32 = 1_000;
const NOW: Now = Now { mono: base::Instant::ZERO, wall_ms: 1_750_000_000_000 };

fn open(root: &Path, partition: i32, clean_shutdown: bool) -> Log {
    let tp = TopicPartition::new("cost", partition);
    let how = LogOpen { clean_shutdown, ..LogOpen::default() };
    let dir = root.join(tp.to_string());
    Log::open(Arc::new(RealDisk), dir, tp, Some(Uuid::from_u128(1 << 70)), LogConfig::default(), how, NOW).expect("open")
}

fn timed(what: &str, mut f: impl FnMut(i32)) {
    let start = Instant::now();
    (0..PARTITIONS).for_each(&mut f);
    println!("{what}: {} us a partition", start.elapsed().as_micros() / PARTITIONS.unsigned_abs() as u128);
}

fn main() {
    let root = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into).join(format!("open-cost-{}", std::process::id()));
    let mut builder = BatchBuilder::new(BatchFields { producer_id: 4, producer_epoch: 0, base_sequence: 0, ..BatchFields::default() });
    builder.append(NOW.wall_ms, None, Some(&[b'x'; 1024]), &[]);
    let batch = builder.build().expect("a batch");
    let mut logs = Vec::new();
    timed("create", |p| logs.push(open(&root, p, true)));
    let mut at = logs.iter_mut();
    timed("first append", |_| {
        let log = at.next().expect("a log");
        log.append_as_leader(batch.clone(), 0, Origin::Client, NOW).expect("append");
    });
    let mut at = logs.iter_mut();
    timed("close", |_| at.next().expect("a log").close(NOW).expect("close"));
    logs.clear();
    timed("open after a clean stop", |p| logs.push(open(&root, p, true)));
    logs.clear();
    timed("open after a kill", |p| logs.push(open(&root, p, false)));
    std::fs::remove_dir_all(root).expect("remove the files");
}
