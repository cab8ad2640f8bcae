//! What appends and reads cost: nanoseconds per 16 KiB batch. `cargo run --release -p storage --example append_cost [-- DIR]`.

use base::disk::RealDisk;
use base::{Now, TopicPartition};
use bytes::Bytes;
use record::{BatchBuilder, BatchFields, Codec, Compression, Origin};
use std::sync::Arc;
use std::time::Instant;
use storage::{Log, LogConfig, LogOpen, ReadLimit};

const BATCHES: i32 = 40_000;

fn batch(compression: Compression, idempotent: bool) -> Bytes {
    let mut rng = fastrand::Rng::with_seed(1);
    let producer_id = if idempotent { 7 } else { -1 };
    let fields = BatchFields {
        codec: Codec::new(compression),
        producer_id,
        producer_epoch: if idempotent { 0 } else { -1 },
        base_sequence: if idempotent { 0 } else { -1 },
        ..BatchFields::default()
    };
    let mut builder = BatchBuilder::new(fields);
    while builder.uncompressed_size() < 16 * 1024 - 1024 {
        let value: String = std::iter::repeat_with(|| rng.alphanumeric()).take(1024).collect();
        builder.append(1_750_000_000_000, None, Some(value.as_bytes()), &[]);
    }
    builder.build().expect("a batch")
}

/// The same batch with the sequence that comes next.
fn with_sequence(template: &Bytes, sequence: i32) -> Bytes {
    let mut bytes = template.to_vec();
    bytes[record::batch::BASE_SEQUENCE..record::batch::COUNT].copy_from_slice(&sequence.to_be_bytes());
    let crc = record::crc32c(&bytes[record::batch::ATTRIBUTES..]);
    bytes[record::batch::CRC..record::batch::ATTRIBUTES].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

fn main() {
    let root = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into).join(format!("append-cost-{}", std::process::id()));
    let now = Now { wall_ms: 1_750_000_000_000, ..Now::default() };
    for (name, compression, idempotent) in [
        ("plain", Compression::None, false),
        ("idempotent", Compression::None, true),
        ("lz4", Compression::Lz4, false),
        ("zstd", Compression::Zstd, false),
        ("snappy", Compression::Snappy, false),
        ("gzip", Compression::Gzip, false),
    ] {
        let dir = root.join(format!("{name}-0"));
        let tp = TopicPartition::new(name, 0);
        let mut log = Log::open(Arc::new(RealDisk), dir, tp, None, LogConfig::default(), LogOpen::default(), now).expect("open");
        let template = batch(compression, idempotent);
        let records = record::Batch::new(template.clone()).expect("a batch").view().count().unwrap_or(0);
        let count = if compression == Compression::None { BATCHES } else { BATCHES / 8 };
        let mut spent = std::time::Duration::ZERO;
        for i in 0..count {
            let next = if idempotent { with_sequence(&template, i * records) } else { template.clone() };
            let start = Instant::now();
            log.append_as_leader(next, 0, Origin::Client, now).expect("append");
            log.set_high_watermark(log.log_end_offset());
            spent += start.elapsed();
        }
        let start = Instant::now();
        let (mut offset, mut reads, mut bytes) = (0, 0u32, 0);
        while offset < log.log_end_offset() {
            let read = log.read(offset, 1 << 20, ReadLimit::HighWatermark, true).expect("read");
            bytes += read.size;
            reads += 1;
            offset += (read.size / template.len()).max(1) as i64 * i64::from(records);
        }
        let reading = start.elapsed();
        println!(
            "{name:>10}: {} bytes a batch, append {} ns, find 1 MiB to send {} ns ({bytes} bytes)",
            template.len(),
            spent.as_nanos() / u128::from(count.unsigned_abs()),
            reading.as_nanos() / u128::from(reads.max(1))
        );
        log.close(now).expect("close");
    }
    std::fs::remove_dir_all(root).expect("remove the files");
}
