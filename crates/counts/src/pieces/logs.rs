//! One partition's log.

use super::Run;
use super::records::{NOW_MS, batch};
use base::disk::{Disk, MemDisk, RealDisk};
use base::{Now, TopicPartition, Uuid};
use record::{BatchBuilder, BatchFields, Compression, EndTxnMarker, Origin};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::{Log, LogConfig, LogOpen, ReadLimit, Verification};

const EPOCH: i32 = 3;

/// A directory that goes with its owner.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("gregor-counts-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a temporary directory can be made");
        Scratch(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn now() -> Now {
    Now { wall_ms: NOW_MS, ..Now::default() }
}

fn open(disk: Arc<dyn Disk>, root: &Path) -> Log {
    disk.create_dir_all(root).expect("the directory can be made");
    let topic_partition = TopicPartition::new("topic", 0);
    let id = Some(Uuid::from_u128(77 << 64));
    let config = LogConfig::default();
    Log::open(disk, root.join("topic-0"), topic_partition, id, config, LogOpen::default(), now()).expect("the log opens")
}

pub fn append_memory(_: usize) -> Run {
    append(open(Arc::new(MemDisk::new()), Path::new("/data")), 64, 1024)
}

pub fn append_file(_: usize) -> Run {
    on_files(64, 1024)
}

pub fn append_one(_: usize) -> Run {
    on_files(1, 100)
}

fn on_files(records: usize, size: usize) -> Run {
    let scratch = Scratch::new();
    let mut run = append(open(Arc::new(RealDisk), &scratch.0), records, size);
    Box::new(move || {
        let _kept = &scratch;
        run()
    })
}

fn append(mut log: Log, records: usize, size: usize) -> Run {
    let batch = batch(records, size, Compression::None);
    Box::new(move || {
        let before = log.log_end_offset();
        log.append_as_leader(batch.clone(), EPOCH, Origin::Client, now()).expect("it can be appended");
        log.set_high_watermark(log.log_end_offset());
        (log.log_end_offset() - before) as usize
    })
}

pub fn lookup(_: usize) -> Run {
    const BATCHES: i64 = 2_000;
    let mut log = open(Arc::new(MemDisk::new()), Path::new("/data"));
    let batch = batch(10, 500, Compression::None);
    for _ in 0..BATCHES {
        log.append_as_leader(batch.clone(), EPOCH, Origin::Client, now()).expect("it can be appended");
    }
    log.set_high_watermark(log.log_end_offset());
    let mut rng = fastrand::Rng::with_seed(1);
    Box::new(move || {
        let offset = rng.i64(0..(BATCHES - 1) * 10);
        log.read(offset, batch.len() * 3 / 2, ReadLimit::HighWatermark, true).expect("it can be read").records.len()
    })
}

pub fn read_committed(_: usize) -> Run {
    const TRANSACTIONS: i32 = 2_000;
    const PRODUCER: i64 = 7;
    let mut log = open(Arc::new(MemDisk::new()), Path::new("/data"));
    for n in 0..TRANSACTIONS {
        let fields =
            BatchFields { producer_id: PRODUCER, producer_epoch: 0, base_sequence: n, transactional: true, ..BatchFields::default() };
        let mut batch = BatchBuilder::new(fields);
        batch.append(NOW_MS, None, Some(&[1; 5_000]), &[]);
        let batch = batch.build().expect("the batch builds");
        log.append_in_transaction(batch, EPOCH, Origin::Client, Verification::NotRequired, now()).expect("it can be appended");
        let marker = EndTxnMarker { commit: false, coordinator_epoch: 0 }.batch(NOW_MS, PRODUCER, 0, EPOCH).expect("the marker builds");
        log.append_end_txn_marker(marker, EPOCH, 0, now()).expect("it can be appended");
        log.set_high_watermark(log.log_end_offset());
    }
    let mut rng = fastrand::Rng::with_seed(1);
    Box::new(move || {
        // A transaction is a record and its marker.
        let offset = i64::from(rng.i32(0..TRANSACTIONS - 1)) * 2;
        let read = log.read(offset, 5_000, ReadLimit::LastStable, true).expect("it can be read");
        let aborted = read.aborted_transactions.expect("a reader of committed records is told");
        assert!(aborted.contains(&(PRODUCER, offset)));
        read.records.len()
    })
}
