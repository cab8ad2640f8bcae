//! Batches against those of Java, round trips, and what a leader refuses.

use super::*;
use crate::batch::*;
use base::TopicPartition;
use bytes::Bytes;
use proptest::prelude::*;

const T0: i64 = 1_700_000_000_000;
const CAP: usize = 1 << 20;

fn golden(name: &str) -> Bytes {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/batches").join(name);
    std::fs::read(path).unwrap().into()
}

fn expected(i: usize, headers: bool) -> (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<Header>) {
    let key = (!i.is_multiple_of(3)).then(|| format!("key-{i}").into_bytes());
    let value = (i % 5 != 4).then(|| format!("value {i} ").repeat(i).into_bytes());
    let both = vec![Header::new("h", Some(Bytes::from(format!("x{i}")))), Header::new("h", None)];
    (T0 + i as i64 * 7, key, value, if headers && i.is_multiple_of(2) { both } else { Vec::new() })
}

fn check_records(records: &[Record], headers: bool, timestamps: bool) {
    assert_eq!(records.len(), 50);
    for (i, record) in records.iter().enumerate() {
        let (timestamp, key, value, want) = expected(i, headers);
        assert_eq!(record.offset, 100 + i as i64);
        assert_eq!(record.timestamp, if timestamps { timestamp } else { -1 });
        assert_eq!(record.key.as_deref(), key.as_deref());
        assert_eq!(record.value.as_deref(), value.as_deref());
        assert_eq!(record.headers.to_vec(), want);
    }
}

#[test]
fn reads_what_java_wrote() {
    for compression in Compression::ALL {
        let bytes = golden(&format!("v2-{}.bin", compression.name()));
        let batch = Batch::new(bytes.clone()).unwrap();
        let view = batch.view();
        assert!(view.is_valid());
        assert_eq!((view.base_offset(), view.last_offset(), view.leader_epoch(), view.count()), (100, 149, 5, Some(50)));
        assert_eq!((view.producer_id(), view.producer_epoch(), view.base_sequence(), view.last_sequence()), (4000, 3, 17, 66));
        assert_eq!(view.compression().unwrap(), compression);
        assert_eq!(view.is_transactional(), compression.id() % 2 == 0);
        assert_eq!((view.base_timestamp(), view.max_timestamp()), (T0, T0 + 49 * 7));
        let records: Vec<_> = batch.records(CAP).unwrap().map(|r| r.unwrap()).collect();
        check_records(&records, true, true);
        assert_eq!(records[3].sequence, 20);
        let mut heads = Vec::new();
        scan_records(&view, CAP, |head| {
            heads.push((head.offset, head.timestamp, head.key_len, head.value_len, head.size));
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
        let len = |bytes: &Option<Bytes>| bytes.as_ref().map_or(-1, |b| b.len() as i32);
        assert_eq!(heads, records.iter().map(|r| (r.offset, r.timestamp, len(&r.key), len(&r.value), r.size)).collect::<Vec<_>>());
    }
}

#[test]
fn builds_what_java_builds() {
    let mut builder = BatchBuilder::new(BatchFields {
        base_offset: 100,
        leader_epoch: 5,
        producer_id: 4000,
        producer_epoch: 3,
        base_sequence: 17,
        transactional: true,
        ..BatchFields::default()
    });
    for i in 0..50 {
        let (timestamp, key, value, headers) = expected(i, true);
        builder.append(timestamp, key.as_deref(), value.as_deref(), &headers);
    }
    assert_eq!(builder.build().unwrap(), golden("v2-none.bin"));
    let mut marker = EndTxnMarker { commit: true, coordinator_epoch: 9 }.batch(T0, 4000, 3, 5).unwrap().to_vec();
    patch_offset_and_epoch(&mut marker, 77, 5);
    assert_eq!(marker, golden("commit.bin"));
    let abort = Batch::new(golden("abort.bin")).unwrap();
    assert_eq!(EndTxnMarker::from_batch(&abort).unwrap(), Some((EndTxnMarker { commit: false, coordinator_epoch: 9 }, T0)));
}

#[test]
fn reads_legacy_message_sets() {
    for magic in 0..2 {
        for codec in ["none", "gzip", "snappy", "lz4"] {
            let bytes = golden(&format!("v{magic}-{codec}.bin"));
            let mut records = Vec::new();
            for batch in batches(&bytes) {
                let batch = batch.unwrap();
                assert!(batch.view().is_valid());
                assert_eq!(batch.view().magic(), magic);
                records.extend(batch.records(CAP).unwrap().map(|r| r.unwrap()));
            }
            check_records(&records, false, magic == 1);
        }
    }
}

fn rules() -> Rules {
    Rules {
        max_message_bytes: 1 << 20,
        compacted: false,
        compression: TargetCompression::Producer,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: 3_600_000,
        max_decompressed: CAP,
    }
}

fn leader(bytes: &Bytes, rules: &Rules) -> Result<Validated, ValidationError> {
    validate(bytes, &TopicPartition::new("t", 0), rules, Origin::Client, 1000, 8, T0)
}

fn sample(compression: Compression) -> BatchBuilder {
    let mut builder = BatchBuilder::new(BatchFields { codec: Codec::new(compression), ..BatchFields::default() });
    for i in 0..3 {
        builder.append(T0 + i, (i != 1).then_some(b"k"), Some(&[b'v'; 100]), &[]);
    }
    builder
}

#[test]
fn a_valid_batch_keeps_its_bytes() {
    for compression in Compression::ALL {
        let bytes = sample(compression).build().unwrap();
        let valid = leader(&bytes, &rules()).unwrap();
        assert!(!valid.rebuilt);
        assert_eq!((valid.base_offset, valid.last_offset, valid.max_timestamp, valid.record_count), (1000, 1002, T0 + 2, 3));
        let stored = valid.to_bytes();
        assert_eq!(stored[CRC..], bytes[CRC..]);
        let batch = Batch::new(stored).unwrap();
        assert!(batch.view().is_valid());
        assert_eq!((batch.view().base_offset(), batch.view().leader_epoch()), (1000, 8));
        // The payload is the very same memory.
        assert_eq!(valid.payload.as_ptr(), bytes[RECORDS..].as_ptr());
    }
}

#[test]
fn what_kafka_rewrites() {
    let append_time = Rules { timestamp_type: TimestampType::LogAppendTime, ..rules() };
    let zstd = Rules { compression: TargetCompression::Codec(Codec::new(Compression::Zstd)), ..rules() };
    for compression in Compression::ALL {
        let bytes = sample(compression).build().unwrap();
        let stored = Batch::new(leader(&bytes, &append_time).unwrap().to_bytes()).unwrap();
        assert!(stored.view().is_valid());
        assert_eq!(stored.view().timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!(stored.view().base_timestamp(), T0);
        assert!(stored.records(CAP).unwrap().all(|r| r.unwrap().timestamp == T0));

        let valid = leader(&bytes, &zstd).unwrap();
        assert_eq!(valid.rebuilt, compression != Compression::Zstd);
        let stored = Batch::new(valid.to_bytes()).unwrap();
        assert!(stored.view().is_valid());
        assert_eq!(stored.view().compression().unwrap(), Compression::Zstd);
        let offsets: Vec<_> = stored.records(CAP).unwrap().map(|r| r.unwrap().offset).collect();
        assert_eq!(offsets, [1000, 1001, 1002]);
    }
    // A wrong max timestamp is put right, with a new checksum.
    let mut bytes = sample(Compression::None).build().unwrap().to_vec();
    let payload = bytes[RECORDS..].to_vec();
    patch_max_timestamp(&mut bytes[..RECORDS], &payload, TimestampType::CreateTime, 7);
    let valid = leader(&bytes.into(), &rules()).unwrap();
    let stored = Batch::new(valid.to_bytes()).unwrap();
    assert_eq!(stored.view().max_timestamp(), T0 + 2);
    assert!(stored.view().is_valid());
}

fn refused(builder: BatchBuilder, rules: &Rules) -> ValidationError {
    leader(&builder.build().unwrap(), rules).unwrap_err()
}

fn patched(builder: BatchBuilder, at: usize, with: &[u8]) -> Bytes {
    let mut bytes = builder.build().unwrap().to_vec();
    bytes[at..at + with.len()].copy_from_slice(with);
    let crc = crate::crc32c(&bytes[ATTRIBUTES..]);
    bytes[CRC..CRC + 4].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

#[test]
fn refusals() {
    let error = refused(sample(Compression::Lz4), &Rules { compacted: true, ..rules() });
    assert_eq!(error.code, 87);
    assert_eq!(error.record_errors.len(), 1);
    assert_eq!(error.record_errors[0].batch_index, 1);
    assert_eq!(
        error.message,
        "One or more records have been rejected due to 1 record errors in total, and only showing the first three errors at most: \
         [RecordError(batchIndex=1, message='Compacted topic cannot accept message without key in topic partition t-0')]"
    );

    let error = refused(sample(Compression::None), &Rules { timestamp_after_max_ms: 1, ..rules() });
    assert_eq!((error.code, error.record_errors.len()), (32, 1));
    assert_eq!(error.message, "One or more records have been rejected due to invalid timestamp");

    let too_large = refused(sample(Compression::None), &Rules { max_message_bytes: 300, ..rules() });
    assert_eq!(too_large.code, 10);

    let bomb = {
        let mut builder = BatchBuilder::new(BatchFields { codec: Codec::new(Compression::Zstd), ..BatchFields::default() });
        builder.append(T0, None, Some(&vec![0; 2 << 20]), &[]);
        builder
    };
    assert_eq!(refused(bomb, &rules()).code, 87);

    for (at, with) in [
        (LAST_OFFSET_DELTA, 5i32.to_be_bytes().as_slice()),
        (LAST_OFFSET_DELTA, (-2i32).to_be_bytes().as_slice()),
        (COUNT, 4i32.to_be_bytes().as_slice()),
        (COUNT, (-1i32).to_be_bytes().as_slice()),
        (ATTRIBUTES, &[0, CONTROL]),
        (PRODUCER_ID, 9i64.to_be_bytes().as_slice()),
        (RECORDS, &[0x7f]),
    ] {
        assert_eq!(leader(&patched(sample(Compression::None), at, with), &rules()).unwrap_err().code, 87, "{at} {with:?}");
    }
    // Two more records than there are, and the header agrees with itself.
    let lies = patched(sample(Compression::Gzip), COUNT, &5i32.to_be_bytes());
    let mut lies = lies.to_vec();
    lies[LAST_OFFSET_DELTA..LAST_OFFSET_DELTA + 4].copy_from_slice(&4i32.to_be_bytes());
    let crc = crate::crc32c(&lies[ATTRIBUTES..]);
    lies[CRC..CRC + 4].copy_from_slice(&crc.to_be_bytes());
    assert_eq!(leader(&lies.into(), &rules()).unwrap_err().code, 87);
    assert_eq!(leader(&patched(sample(Compression::None), ATTRIBUTES, &[0, 7]), &rules()).unwrap_err().code, 76);
    assert_eq!(leader(&patched(sample(Compression::None), ATTRIBUTES, &[0, 4]), &rules()).unwrap_err().code, -1, "not zstd at all");

    let mut corrupt = sample(Compression::None).build().unwrap().to_vec();
    corrupt[RECORDS + 20] ^= 1;
    assert_eq!(leader(&corrupt.into(), &rules()).unwrap_err().code, 2);
    assert_eq!(leader(&golden("v2-none.bin"), &rules()).unwrap_err().code, 87, "its base offset is not 0");
}

#[test]
fn produce_takes_one_batch_of_magic_2() {
    let one = sample(Compression::Zstd).build().unwrap();
    assert!(check_produce(&one, 7).is_ok());
    assert_eq!(check_produce(&one, 6).unwrap_err().code(), 76);
    assert_eq!(check_produce(&[], 9).unwrap_err().code(), 87);
    assert_eq!(check_produce(&one[..one.len() - 1], 9).unwrap_err().code(), 87);
    assert_eq!(check_produce(&[&one[..], &one[..]].concat(), 9).unwrap_err().code(), 87);
    assert_eq!(check_produce(&golden("v1-none.bin"), 9).unwrap_err().code(), 87);
    assert_eq!(check_produce(&[0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 0, 0, 0], 9).unwrap_err().code(), 2);
}

#[test]
fn sequences_wrap() {
    assert_eq!(increment_sequence(i32::MAX, 1), 0);
    assert_eq!(increment_sequence(i32::MAX - 1, 3), 1);
    assert_eq!(decrement_sequence(1, 3), i32::MAX - 1);
    assert_eq!(decrement_sequence(5, 5), 0);
}

type AnyRecord = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Option<Vec<u8>>)>);

fn any_record() -> impl Strategy<Value = AnyRecord> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..200);
    let headers = proptest::collection::vec((bytes(), proptest::option::of(bytes())), 0..4);
    (T0 - 1000..T0 + 1000, proptest::option::of(bytes()), proptest::option::of(bytes()), headers)
}

proptest! {
    #[test]
    fn batches_round_trip(records in proptest::collection::vec(any_record(), 1..30), codec in 0usize..5) {
        let codec = Codec::new(Compression::ALL[codec]);
        let mut builder = BatchBuilder::new(BatchFields { codec, ..BatchFields::default() });
        for (timestamp, key, value, headers) in &records {
            let headers: Vec<_> = headers.iter().map(|(k, v)| Header::new(k.clone(), v.clone().map(Bytes::from))).collect();
            let before = builder.uncompressed_size();
            builder.append(*timestamp, key.as_deref(), value.as_deref(), &headers);
            let bound = BatchBuilder::size_upper_bound(key.as_deref(), value.as_deref(), &headers);
            prop_assert!(builder.uncompressed_size() - before <= bound);
        }
        let bytes = builder.build().unwrap();
        let valid = leader(&bytes, &rules()).unwrap();
        prop_assert!(!valid.rebuilt);
        let batch = Batch::new(valid.to_bytes()).unwrap();
        prop_assert_eq!(batch.view().max_timestamp(), records.iter().map(|r| r.0).max().unwrap());
        let read: Vec<_> = batch.records(CAP).unwrap().map(|r| r.unwrap()).collect();
        prop_assert_eq!(read.len(), records.len());
        for (i, (record, (timestamp, key, value, headers))) in read.iter().zip(&records).enumerate() {
            prop_assert_eq!(record.offset, 1000 + i as i64);
            prop_assert_eq!(record.timestamp, *timestamp);
            prop_assert_eq!(record.key.as_deref(), key.as_deref());
            prop_assert_eq!(record.value.as_deref(), value.as_deref());
            let found: Vec<_> = record.headers.iter().map(|h| (h.key.to_vec(), h.value.map(|v| v.to_vec()))).collect();
            prop_assert_eq!(&found, headers);
        }
    }

    #[test]
    fn damage_never_panics(codec in 0usize..5, at in 0usize..200, with in any::<u8>(), fix_crc in any::<bool>(), cut in 0usize..300) {
        let mut bytes = sample(Compression::ALL[codec]).build().unwrap().to_vec();
        let at = at % bytes.len();
        bytes[at] = with;
        if fix_crc && bytes.len() > RECORDS {
            let crc = crate::crc32c(&bytes[ATTRIBUTES..]);
            bytes[CRC..CRC + 4].copy_from_slice(&crc.to_be_bytes());
        }
        bytes.truncate(cut.max(1));
        let bytes = Bytes::from(bytes);
        let _ = check_produce(&bytes, 9);
        let _ = leader(&bytes, &rules());
        for batch in batches(&bytes) {
            let Ok(batch) = batch else { break };
            let Ok(records) = batch.records(CAP) else { break };
            for record in records.flatten() {
                record.headers.iter().count();
            }
        }
    }
}
