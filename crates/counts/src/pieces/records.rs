//! Batches by themselves.

use super::Run;
use base::TopicPartition;
use bytes::Bytes;
use record::{Batch, BatchBuilder, BatchFields, BatchView, Codec, Compression, Origin, Rules, TargetCompression, TimestampType};
use std::hint::black_box;

pub const NOW_MS: i64 = 1_700_000_000_000;

/// A producer's batch of records without keys, whose values are random capital letters as in Kafka's own benchmark tool.
pub fn batch(records: usize, size: usize, compression: Compression) -> Bytes {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut builder = BatchBuilder::new(BatchFields { codec: Codec::new(compression), ..BatchFields::default() });
    for _ in 0..records {
        let value: Vec<u8> = (0..size).map(|_| rng.u8(b'A'..=b'Z')).collect();
        builder.append(NOW_MS, None, Some(&value), &[]);
    }
    builder.build().expect("the batch builds")
}

pub fn checksum(_: usize) -> Run {
    let batch = batch(64, 1024, Compression::None);
    Box::new(move || {
        let view = BatchView::first(black_box(&batch)).expect("it is a batch").expect("it is whole");
        assert!(view.is_valid());
        view.size()
    })
}

pub fn validate_small(_: usize) -> Run {
    validate(batch(640, 100, Compression::None))
}

pub fn validate_plain(_: usize) -> Run {
    validate(batch(64, 1024, Compression::None))
}

pub fn validate_gzip(_: usize) -> Run {
    validate(batch(64, 1024, Compression::Gzip))
}

pub fn validate_snappy(_: usize) -> Run {
    validate(batch(64, 1024, Compression::Snappy))
}

pub fn validate_lz4(_: usize) -> Run {
    validate(batch(64, 1024, Compression::Lz4))
}

pub fn validate_zstd(_: usize) -> Run {
    validate(batch(64, 1024, Compression::Zstd))
}

fn validate(batch: Bytes) -> Run {
    let topic_partition = TopicPartition::new("topic", 0);
    let rules = Rules {
        max_message_bytes: 1 << 20,
        compacted: false,
        compression: TargetCompression::Producer,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: 3_600_000,
        max_decompressed: 64 << 20,
    };
    Box::new(move || {
        let valid = record::validate(&batch, &topic_partition, black_box(&rules), Origin::Client, 1000, 3, NOW_MS).expect("it is valid");
        assert!(!valid.rebuilt);
        valid.record_count as usize
    })
}

pub fn read(_: usize) -> Run {
    let batch = Batch::new(batch(640, 100, Compression::None)).expect("it is a batch");
    Box::new(move || {
        let records = black_box(&batch).records(64 << 20).expect("they can be read");
        records.map(|record| record.expect("it can be read").value.map_or(0, |value| value.len())).sum()
    })
}
