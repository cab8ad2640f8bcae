//! The log on a disk in memory.

use super::*;
use crate::Recovered;
use crate::error::{AppendError, ReadError};
use crate::index::{Entry, OffsetEntry, TimeEntry};
use base::disk::MemDisk;
use bytes::Bytes;
use record::{BatchBuilder, BatchFields, Codec, Compression, EndTxnMarker, Origin, TimestampType, batches};

mod crash;
mod damage;
mod every_cut;
mod golden;
mod no_space;
mod transactions;

const ROOT: &str = "/data";
const T0: i64 = 1_700_000_000_000;

fn at(ms: i64) -> Now {
    Now { wall_ms: T0 + ms, ..Now::default() }
}

fn tp() -> TopicPartition {
    TopicPartition::new("topic", 0)
}

fn dir() -> PathBuf {
    Path::new(ROOT).join("topic-0")
}

fn disk() -> MemDisk {
    let disk = MemDisk::new();
    disk.create_dir_all(Path::new(ROOT)).unwrap();
    disk.sync_names();
    disk
}

fn open_with(disk: &MemDisk, config: LogConfig, open: LogOpen) -> Log {
    Log::open(Arc::new(disk.clone()), dir(), tp(), Some(Uuid::from_u128(77 << 64)), config, open, at(0)).unwrap()
}

fn open(disk: &MemDisk, config: LogConfig) -> Log {
    open_with(disk, config, LogOpen::default())
}

fn clean() -> LogOpen {
    LogOpen { clean_shutdown: true, ..LogOpen::default() }
}

/// Small segments and dense indexes.
fn small() -> LogConfig {
    LogConfig { segment_bytes: 1_000, index_interval_bytes: 100, segment_index_bytes: 4096, ..LogConfig::default() }
}

fn batch(count: i64, timestamp: i64, fields: BatchFields) -> Bytes {
    let mut builder = BatchBuilder::new(fields);
    for i in 0..count {
        builder.append(timestamp + i, Some(b"key"), Some(format!("value {i}").as_bytes()), &[]);
    }
    builder.build().unwrap()
}

fn plain(count: i64, timestamp: i64) -> Bytes {
    batch(count, timestamp, BatchFields::default())
}

fn append(log: &mut Log, count: i64, ms: i64) -> AppendInfo {
    let info = log.append_as_leader(plain(count, T0 + ms), 0, Origin::Client, at(ms)).unwrap();
    log.set_high_watermark(log.log_end_offset());
    info
}

/// All batches from `offset` to the end, read piece by piece as a consumer does.
fn read_all(log: &Log, mut offset: i64, max_bytes: usize) -> Vec<record::Batch> {
    let mut all = Vec::new();
    loop {
        let read = log.read(offset, max_bytes, ReadLimit::LogEnd, true).unwrap();
        let before = all.len();
        for piece in &read.records {
            let bytes = match piece {
                base::Segment::File(range) => range.read().unwrap(),
                base::Segment::Bytes(bytes) => bytes.clone(),
            };
            all.extend(batches(&bytes).map(|b| b.unwrap()));
        }
        if all.len() == before {
            return all;
        }
        offset = all.last().unwrap().view().next_offset();
    }
}

fn offsets_of(batches: &[record::Batch]) -> Vec<(i64, i64)> {
    batches.iter().map(|b| (b.view().base_offset(), b.view().last_offset())).collect()
}

fn names(disk: &MemDisk) -> Vec<String> {
    disk.list(&dir()).unwrap().into_iter().map(|e| e.name).collect()
}

fn index<E: Entry>(disk: &MemDisk, name: &str) -> Vec<E> {
    disk.read(&dir().join(name)).unwrap().chunks(E::SIZE).map(E::decode).collect()
}

#[test]
fn appends_and_reads() {
    let disk = disk();
    let mut log = open(&disk, LogConfig::default());
    assert_eq!((append(&mut log, 3, 0).first_offset, append(&mut log, 2, 1).first_offset), (0, 3));
    let all = read_all(&log, 0, 1 << 20);
    assert_eq!(offsets_of(&all), [(0, 2), (3, 4)]);
    assert_eq!(all[0].view().leader_epoch(), 0);
    assert!(all.iter().all(|b| b.view().is_valid()));
    // An offset inside a batch gives the whole batch.
    assert_eq!(offsets_of(&read_all(&log, 1, 1 << 20)), [(0, 2), (3, 4)]);
    assert_eq!(log.read(5, 100, ReadLimit::LogEnd, true).unwrap().size, 0);
    assert!(matches!(log.read(6, 100, ReadLimit::LogEnd, true), Err(ReadError::OffsetOutOfRange { log_end: 5, .. })));
    assert!(matches!(log.read(-1, 100, ReadLimit::LogEnd, true), Err(ReadError::OffsetOutOfRange { .. })));
    // Without min_one the limit holds, and a first batch that does not fit is left out whole.
    assert_eq!(log.read(0, 10, ReadLimit::LogEnd, false).unwrap().size, 0);
    assert_eq!(log.read(0, 10, ReadLimit::LogEnd, true).unwrap().size, all[0].view().size());
    assert_eq!(log.end_offset_for_epoch(0), Some((0, 5)));
    let metadata = disk.read(&dir().join("partition.metadata")).unwrap();
    assert_eq!(metadata.len(), 43);
}

#[test]
fn the_high_watermark_bounds_consumers() {
    let disk = disk();
    let mut log = open(&disk, LogConfig::default());
    log.append_as_leader(plain(2, T0), 0, Origin::Client, at(0)).unwrap();
    log.append_as_leader(plain(2, T0), 0, Origin::Client, at(0)).unwrap();
    assert_eq!(log.read(0, 1000, ReadLimit::HighWatermark, true).unwrap().size, 0);
    assert!(log.set_high_watermark(2));
    assert!(!log.set_high_watermark(2));
    let read = log.read(0, 1000, ReadLimit::HighWatermark, true).unwrap();
    assert_eq!(read.size, plain(2, T0).len());
    log.set_high_watermark(100);
    assert_eq!(log.high_watermark(), 4);
}

#[test]
fn rolls_by_size_and_finds_every_offset() {
    let disk = disk();
    let mut log = open(&disk, small());
    for i in 0..100 {
        append(&mut log, 1 + i % 3, i * 10);
    }
    assert!(log.segment_count() > 5);
    let end = log.log_end_offset();
    for reopened in 0..3 {
        for offset in 0..end {
            let read = log.read(offset, 1, ReadLimit::LogEnd, true).unwrap();
            let base::Segment::File(range) = &read.records[0] else { panic!("a file range") };
            let bytes = range.read().unwrap();
            let first = record::Batch::new(bytes).unwrap();
            assert!(first.view().base_offset() <= offset && offset <= first.view().last_offset());
        }
        assert_eq!(read_all(&log, 0, 300).len(), 100);
        log.close(at(2000)).unwrap();
        log = open_with(&disk, small(), if reopened == 0 { clean() } else { LogOpen::default() });
        assert_eq!(log.log_end_offset(), end);
    }
}

#[test]
fn index_files_have_kafkas_bytes() {
    let disk = disk();
    let mut log = open(&disk, LogConfig { index_interval_bytes: 100, ..LogConfig::default() });
    let size = plain(1, T0).len() as u32;
    for i in 0..5 {
        append(&mut log, 1, i);
    }
    log.close(at(9)).unwrap();
    // More than 100 bytes were appended before offset 2, and again before offset 4.
    assert!((51..=100).contains(&size));
    let offsets: Vec<OffsetEntry> = index(&disk, "00000000000000000000.index");
    assert_eq!(offsets, [(2, size * 2), (4, size * 4)].map(|(relative_offset, position)| OffsetEntry { relative_offset, position }));
    let times: Vec<TimeEntry> = index(&disk, "00000000000000000000.timeindex");
    assert_eq!(times, [(2, 2), (4, 4)].map(|(t, relative_offset)| TimeEntry { timestamp: T0 + t, relative_offset }));
    assert_eq!(disk.read(&dir().join("00000000000000000005.snapshot")).unwrap().len(), 10);
}

#[test]
fn rolls_by_time_between_records() {
    let disk = disk();
    let mut log = open(&disk, LogConfig { segment_ms: 1_000, ..LogConfig::default() });
    append(&mut log, 1, 0);
    append(&mut log, 1, 1_000);
    assert_eq!(log.segment_count(), 1);
    append(&mut log, 1, 1_001);
    assert_eq!(log.segment_count(), 2);
}

#[test]
fn the_time_of_what_a_consumer_has_not_read() {
    let disk = disk();
    let mut log = open(&disk, small());
    assert_eq!(log.timestamp_at(0).unwrap(), None);
    for ms in 0..40 {
        append(&mut log, 5, ms * 1000);
    }
    assert!(log.segment_count() > 3);
    for offset in 0..200 {
        // Of a record inside a batch, the time of the batch's first.
        assert_eq!(log.timestamp_at(offset).unwrap(), Some(T0 + offset / 5 * 1000), "{offset}");
    }
    assert_eq!(log.timestamp_at(200).unwrap(), None);
    assert_eq!(log.timestamp_at(i64::MAX).unwrap(), None);
    // What consumers cannot read yet is no backlog.
    log.append_as_leader(plain(5, T0 + 50_000), 0, Origin::Client, at(50_000)).unwrap();
    assert_eq!(log.timestamp_at(200).unwrap(), None);
    // Before the log start the first record that is left counts.
    log.set_high_watermark(log.log_end_offset());
    log.delete_records_before(103, at(60_000)).unwrap();
    assert_eq!(log.timestamp_at(7).unwrap(), Some(T0 + 20_000));
    assert_eq!(log.timestamp_at(-1).unwrap(), Some(T0 + 20_000));
}

#[test]
fn markers_of_transactions_are_no_backlog() {
    let disk = disk();
    let mut log = open(&disk, LogConfig::default());
    let transactional =
        |seq| BatchFields { producer_id: 9, producer_epoch: 0, base_sequence: seq, transactional: true, ..Default::default() };
    let append = |log: &mut Log, bytes, origin| {
        log.append_as_leader(bytes, 0, origin, at(0)).unwrap();
        log.set_high_watermark(log.log_end_offset());
    };
    append(&mut log, batch(2, T0 + 10, transactional(0)), Origin::Client);
    append(&mut log, EndTxnMarker { commit: true, coordinator_epoch: 0 }.batch(T0 + 20, 9, 0, 0).unwrap(), Origin::Coordinator);
    assert_eq!(log.timestamp_at(1).unwrap(), Some(T0 + 10));
    assert_eq!(log.timestamp_at(2).unwrap(), None, "only a marker is left");
    append(&mut log, batch(1, T0 + 30, transactional(2)), Origin::Client);
    assert_eq!(log.timestamp_at(2).unwrap(), Some(T0 + 30));
}

#[test]
fn recovery_tells_how_far_it_has_come() {
    let disk = disk();
    let mut log = open(&disk, small());
    for ms in 0..40 {
        append(&mut log, 5, ms * 1000);
    }
    let (segments, size) = (log.segment_count() as u64, log.size());
    let half = log.segments[log.segment_count() / 2].base_offset;
    let rest: u64 = log.segments.iter().filter(|s| s.base_offset >= half).map(|s| s.size).sum();
    drop(log);
    for (recovery_point, segments, bytes) in [(0, segments, size), (half, segments - segments / 2, rest)] {
        let how = LogOpen { recovery_point, ..LogOpen::default() };
        let progress = how.progress.clone();
        assert_eq!(progress.get().fraction(), 0.0);
        open_with(&disk, small(), how);
        assert_eq!(progress.get(), Recovered { segments: (segments, segments), bytes: (bytes, bytes) });
        assert_eq!(progress.get().fraction(), 1.0);
    }
    let how = clean();
    let progress = how.progress.clone();
    open_with(&disk, small(), how);
    assert_eq!(progress.get(), Recovered::default());
}

#[test]
fn a_due_flush_leaves_the_segment_alone_that_is_appended_to() {
    let disk = disk();
    let mut log = open(&disk, small());
    while log.segment_count() < 3 {
        append(&mut log, 1, 0);
    }
    let rolled = log.active().base_offset;
    let job = log.prepare_flush().unwrap().unwrap();
    assert_eq!(job.up_to, rolled);
    job.run().unwrap();
    log.flushed(job.up_to, at(0));
    assert_eq!(log.recovery_point(), rolled);
    assert!(!log.flush_due(at(1)));
    log.update_config(LogConfig { flush_ms: 10, ..small() });
    assert_eq!(log.prepare_flush().unwrap().unwrap().up_to, log.log_end_offset());
}

#[test]
fn retention_by_time_and_size() {
    let disk = disk();
    let mut log = open(&disk, LogConfig { retention_ms: 500, ..small() });
    for i in 0..100 {
        append(&mut log, 1, i * 10);
    }
    let segments = log.segment_count();
    assert_eq!(log.delete_old_segments(at(0)).unwrap(), Deleted::default());
    let deleted = log.delete_old_segments(at(1_000)).unwrap();
    assert!(deleted.segments > 0 && deleted.segments < segments);
    let start = log.log_start_offset();
    assert!(start > 0 && start <= 51, "{start}");
    assert!(names(&disk).iter().any(|n| n.ends_with(".log.deleted")));
    assert_eq!(log.remove_deleted_files(at(1_000)).unwrap(), 0);
    assert!(log.remove_deleted_files(at(61_000)).unwrap() > 0);
    assert!(!names(&disk).iter().any(|n| n.ends_with(".deleted")));

    log.update_config(LogConfig { retention_ms: -1, retention_bytes: 2_500, ..small() });
    log.delete_old_segments(at(1_000)).unwrap();
    assert!(log.size() >= 2_500 && log.size() < 2_500 + 1_000);
    // Everything is old: a new empty segment takes over.
    log.update_config(LogConfig { retention_ms: 500, ..small() });
    log.delete_old_segments(at(10_000)).unwrap();
    assert_eq!((log.segment_count(), log.size(), log.log_start_offset()), (1, 0, 100));
    assert_eq!(append(&mut log, 1, 10_000).first_offset, 100);
    log.close(at(10_000)).unwrap();
    let log = open_with(&disk, small(), clean());
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (100, 101));
}

#[test]
fn delete_records() {
    let disk = disk();
    let mut log = open(&disk, small());
    for i in 0..50 {
        append(&mut log, 1, i);
    }
    assert!(log.delete_records_before(51, at(0)).is_err());
    assert!(log.delete_records_before(33, at(0)).unwrap());
    assert!(!log.delete_records_before(32, at(0)).unwrap());
    assert!(matches!(log.read(32, 100, ReadLimit::LogEnd, true), Err(ReadError::OffsetOutOfRange { log_start: 33, .. })));
    assert_eq!(log.earliest_offset().offset, 33);
    assert!(log.delete_old_segments(at(0)).unwrap().segments > 0);
    assert_eq!(log.log_start_offset(), 33);
    log.close(at(0)).unwrap();
    let log = open_with(&disk, small(), LogOpen { log_start_offset: 33, ..clean() });
    assert_eq!(log.log_start_offset(), 33);
}

#[test]
fn who_wrote_deleted_records_is_known_after_a_kill() {
    let disk = disk();
    let mut log = open(&disk, LogConfig::default());
    let write = |log: &mut Log, sequence| log.append_as_leader(of_producer(7, 0, sequence, 1), 0, Origin::Client, at(0)).unwrap();
    for sequence in 0..3 {
        assert!(!write(&mut log, sequence).duplicate);
    }
    log.set_high_watermark(3);
    log.delete_records_before(3, at(0)).unwrap();
    log.flush(3, at(0)).unwrap();
    drop(log);
    // Everything is flushed, so nothing is recovered; and nothing that is still to be read has a producer.
    let mut log = open_with(&disk, LogConfig::default(), LogOpen { log_start_offset: 3, recovery_point: 3, ..LogOpen::default() });
    let again = write(&mut log, 2);
    assert!(again.duplicate && again.first_offset == 2);
    assert!(!write(&mut log, 3).duplicate);
}

#[test]
fn truncation() {
    let disk = disk();
    let mut log = open(&disk, small());
    for i in 0..60 {
        append(&mut log, 2, i);
    }
    assert!(!log.truncate_to(120, at(0)).unwrap());
    // Inside a batch: the whole batch goes.
    assert!(log.truncate_to(71, at(0)).unwrap());
    assert_eq!(log.log_end_offset(), 71);
    log.truncate_to(70, at(0)).unwrap();
    assert_eq!(read_all(&log, 0, 1 << 20).len(), 35);
    append(&mut log, 2, 99);
    assert_eq!(read_all(&log, 0, 1 << 20).len(), 36);
    assert_eq!(log.offset_for_timestamp(T0 + 50).unwrap().unwrap().offset, 70);
    log.truncate_fully_and_start_at(500, at(0)).unwrap();
    assert_eq!((log.log_start_offset(), log.log_end_offset(), log.size()), (500, 500, 0));
    assert_eq!(append(&mut log, 1, 100).first_offset, 500);
}

#[test]
fn timestamps_are_found_to_the_record() {
    let disk = disk();
    let mut log = open(&disk, small());
    // Batches of three records: 0,1,2 then 10,11,12 and so on; some compressed.
    for i in 0..40 {
        let codec = Codec::new(Compression::ALL[i as usize % 5]);
        let records = batch(3, T0 + i * 10, BatchFields { codec, ..Default::default() });
        log.append_as_leader(records, 0, Origin::Client, at(0)).unwrap();
    }
    for reopen in 0..2 {
        for i in 0..40 {
            for within in 0..10 {
                let found = log.offset_for_timestamp(T0 + i * 10 + within).unwrap();
                let expected = if within < 3 { Some(i * 3 + within) } else { (i < 39).then_some((i + 1) * 3) };
                assert_eq!(found.map(|f| f.offset), expected, "{i} {within}");
            }
        }
        let max = log.offset_of_max_timestamp().unwrap().unwrap();
        assert_eq!((max.offset, max.timestamp), (119, T0 + 392));
        if reopen == 0 {
            log.close(at(0)).unwrap();
            log = open_with(&disk, small(), clean());
        }
    }
}

fn of_producer(producer_id: i64, epoch: i16, sequence: i32, count: i64) -> Bytes {
    batch(count, T0, BatchFields { producer_id, producer_epoch: epoch, base_sequence: sequence, ..Default::default() })
}

fn code(result: Result<AppendInfo, AppendError>) -> i16 {
    result.unwrap_err().code()
}

#[test]
fn idempotence() {
    let disk = disk();
    let mut log = open(&disk, LogConfig::default());
    let put =
        |log: &mut Log, epoch, sequence, count| log.append_as_leader(of_producer(9, epoch, sequence, count), 0, Origin::Client, at(0));
    for i in 0..6 {
        assert!(!put(&mut log, 0, i * 2, 2).unwrap().duplicate);
    }
    for reopen in 0..3 {
        let again = put(&mut log, 0, 10, 2).unwrap();
        assert_eq!((again.duplicate, again.first_offset, again.last_offset), (true, 10, 11));
        if reopen == 0 {
            assert_eq!(put(&mut log, 0, 2, 2).unwrap().first_offset, 2);
        }
        assert_eq!(code(put(&mut log, 0, 0, 2)), 45, "older than the five batches kept");
        assert_eq!(code(put(&mut log, 0, 13, 1)), 45, "a gap");
        assert_eq!(code(put(&mut log, 0, 11, 1)), 45, "an overlap");
        assert_eq!(code(put(&mut log, 1, 3, 1)), 45, "a new epoch starts at 0");
        assert_eq!(log.log_end_offset(), 12);
        log.close(at(0)).unwrap();
        log = open_with(&disk, LogConfig::default(), if reopen == 0 { clean() } else { LogOpen::default() });
    }
    put(&mut log, 1, 0, 1).unwrap();
    assert_eq!(code(put(&mut log, 0, 12, 1)), 47, "an old epoch");
    // One that was forgotten may go on anywhere.
    log.remove_expired_producers(at(log.config().producer_id_expiration_ms));
    put(&mut log, 0, 40, 1).unwrap();
}

#[test]
fn sequences_wrap() {
    let disk = disk();
    let mut log = open(&disk, LogConfig::default());
    let mut put = |sequence, count| log.append_as_leader(of_producer(9, 0, sequence, count), 0, Origin::Client, at(0));
    put(i32::MAX - 1, 3).unwrap();
    assert!(put(i32::MAX - 1, 3).unwrap().duplicate);
    put(1, 2).unwrap();
    assert_eq!(code(put(4, 1)), 45);
}

#[test]
fn transactions_hold_back_the_stable_offset() {
    let disk = disk();
    let mut log = open(&disk, small());
    let data = |pid, sequence| {
        batch(
            2,
            T0,
            BatchFields { producer_id: pid, producer_epoch: 0, base_sequence: sequence, transactional: true, ..Default::default() },
        )
    };
    let marker = |pid, commit| EndTxnMarker { commit, coordinator_epoch: 0 }.batch(T0, pid, 0, 0).unwrap();
    let put = |log: &mut Log, records| {
        log.append_as_leader(records, 0, Origin::Client, at(0)).unwrap();
        log.set_high_watermark(log.log_end_offset());
    };
    put(&mut log, plain(1, T0));
    put(&mut log, data(1, 0));
    put(&mut log, data(2, 0));
    assert_eq!((log.log_end_offset(), log.last_stable_offset()), (5, 1));
    log.append_end_txn_marker(marker(2, false), 0, 0, at(0)).unwrap();
    log.set_high_watermark(6);
    assert_eq!(log.last_stable_offset(), 1);
    log.append_end_txn_marker(marker(1, true), 0, 0, at(0)).unwrap();
    assert_eq!(log.last_stable_offset(), 1, "not before the marker is replicated");
    log.set_high_watermark(7);
    assert_eq!(log.last_stable_offset(), 7);
    put(&mut log, data(1, 2));
    for reopen in 0..3 {
        let read = log.read(0, 10_000, ReadLimit::LastStable, true).unwrap();
        assert_eq!(read.aborted_transactions, Some(vec![(2, 3)]));
        assert_eq!(log.last_stable_offset(), 7);
        assert_eq!(log.read(7, 10_000, ReadLimit::LastStable, true).unwrap().size, 0);
        assert_eq!(disk.read(&dir().join("00000000000000000000.txnindex")).unwrap().len(), 34);
        log.close(at(0)).unwrap();
        let how = if reopen == 0 { clean() } else { LogOpen::default() };
        log = open_with(&disk, small(), LogOpen { high_watermark: 9, ..how });
    }
    // A zombie coordinator and a data batch outside the open transaction.
    let zombie = EndTxnMarker { commit: true, coordinator_epoch: -2 }.batch(T0, 1, 0, 0).unwrap();
    assert_eq!(code(log.append_end_txn_marker(zombie, 0, 0, at(0))), 52);
    assert_eq!(code(log.append_as_leader(of_producer(1, 0, 4, 1), 0, Origin::Client, at(0))), 48);
}

#[test]
fn log_append_time_and_compression() {
    let disk = disk();
    let mut config = LogConfig { message_timestamp_type: TimestampType::LogAppendTime, ..LogConfig::default() };
    config.compression_type = crate::config::CompressionType::Fixed(Compression::Zstd);
    let mut log = open(&disk, config);
    let info = log.append_as_leader(plain(3, 5), 0, Origin::Client, at(42)).unwrap();
    assert_eq!(info.log_append_time_ms, T0 + 42);
    let all = read_all(&log, 0, 1000);
    assert_eq!(all[0].view().compression().unwrap(), Compression::Zstd);
    let records: Vec<_> = all[0].records(1 << 20).unwrap().map(|r| r.unwrap().timestamp).collect();
    assert_eq!(records, [T0 + 42; 3]);
}

#[test]
fn followers_copy_and_drop_later_epochs() {
    let (disk, other) = (disk(), disk());
    let mut leader = open(&disk, small());
    let mut follower = open(&other, small());
    for i in 0..30 {
        leader.append_as_leader(plain(2, T0 + i), (i / 10) as i32, Origin::Client, at(0)).unwrap();
    }
    let copy = |follower: &mut Log, epoch| {
        loop {
            let read = leader.read(follower.log_end_offset(), 500, ReadLimit::LogEnd, true).unwrap();
            let Some(base::Segment::File(range)) = read.records.first() else { break };
            let info = follower.append_as_follower(range.read().unwrap(), epoch, at(0)).unwrap();
            if info.size == 0 {
                break;
            }
        }
    };
    copy(&mut follower, 1);
    assert_eq!(follower.log_end_offset(), 40, "batches of epoch 2 are left out");
    copy(&mut follower, 2);
    let bytes = |log: &Log| read_all(log, 0, 10_000).iter().flat_map(|b| b.bytes().to_vec()).collect::<Vec<_>>();
    assert_eq!(bytes(&leader), bytes(&follower));
    assert_eq!(follower.end_offset_for_epoch(1), Some((1, 40)));
    let stale = plain(1, T0);
    assert!(matches!(follower.append_as_follower(stale, 2, at(0)), Err(AppendError::UnexpectedOffset(_))));
}

#[test]
fn refusals_cost_nothing() {
    let disk = disk();
    let mut log = open(&disk, LogConfig { max_message_bytes: 500, segment_bytes: 400, ..LogConfig::default() });
    append(&mut log, 1, 0);
    let mut broken = plain(1, T0).to_vec();
    broken[70] ^= 1;
    assert_eq!(code(log.append_as_leader(broken.into(), 0, Origin::Client, at(0))), 2);
    assert_eq!(code(log.append_as_leader(plain(100, T0), 0, Origin::Client, at(0))), 10);
    assert_eq!(code(log.append_as_leader(plain(22, T0), 0, Origin::Client, at(0))), 18);
    assert_eq!((log.log_end_offset(), log.segment_count()), (1, 1));
    disk.set_free_space(Some(10));
    assert_eq!(code(log.append_as_leader(plain(1, T0), 0, Origin::Client, at(0))), 56);
    disk.set_free_space(None);
    assert_eq!(append(&mut log, 1, 0).first_offset, 1);
    assert_eq!(read_all(&log, 0, 1000).len(), 2);
}

#[test]
fn opening_cleanly_reads_only_the_tail() {
    let disk = disk();
    let mut log = open(&disk, small());
    for i in 0..100 {
        append(&mut log, 1, i);
    }
    log.close(at(0)).unwrap();
    // Bytes of older segments are not looked at: damage there is found when they are read.
    disk.open(&dir().join("00000000000000000000.log"), OpenMode::ReadWrite).unwrap().write_at(&[0xff; 100], 0).unwrap();
    let (writes, syncs) = disk.counts();
    let mut log = open_with(&disk, small(), clean());
    assert_eq!(log.log_end_offset(), 100);
    assert_eq!(disk.counts(), (writes, syncs));
    append(&mut log, 1, 0);
}

#[test]
fn a_log_that_was_never_written_to_is_closed_without_a_sync_and_a_power_cut_takes_nothing_but_it() {
    for seed in 0..100 {
        let disk = disk();
        let mut log = open(&disk, small());
        log.assign_epoch(3, 0);
        let (_, syncs) = disk.counts();
        log.close(at(0)).unwrap();
        assert_eq!(disk.counts().1, syncs);
        disk.crash(&mut fastrand::Rng::with_seed(seed));
        let mut log = open_with(&disk, small(), clean());
        log.assign_epoch(4, 0);
        assert_eq!(append(&mut log, 1, 0).first_offset, 0);
        log.close(at(0)).unwrap();
        disk.crash(&mut fastrand::Rng::with_seed(seed));
        assert_eq!(open_with(&disk, small(), clean()).log_end_offset(), 1, "what was written is kept");
    }
}

#[test]
fn what_a_recovery_cut_off_does_not_come_back_after_a_clean_stop() {
    let mut all_gone = 0;
    for seed in 0..300 {
        let disk = disk();
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut log = open(&disk, LogConfig { segment_bytes: 400, ..LogConfig::default() });
        for i in 0..6 {
            append(&mut log, 3, i);
        }
        drop(log);
        disk.crash(&mut rng);
        let mut log = open_with(&disk, small(), LogOpen::default());
        let end = log.log_end_offset();
        log.close(at(0)).unwrap();
        all_gone += u32::from(end == 0);
        disk.crash(&mut rng);
        assert_eq!(open_with(&disk, small(), LogOpen { recovery_point: end, ..clean() }).log_end_offset(), end, "seed {seed}");
    }
    assert!(all_gone > 30, "nothing was left in {all_gone} of 300 lives");
}

#[test]
fn interrupted_work_is_tidied_up() {
    let disk = disk();
    let mut log = open(&disk, small());
    for i in 0..100 {
        append(&mut log, 1, i);
    }
    log.close(at(0)).unwrap();
    for name in ["00000000000000000000.log.deleted", "00000000000000000003.index", "00000000000000000000.log.cleaned"] {
        disk.open(&dir().join(name), OpenMode::Create).unwrap();
    }
    disk.remove_file(&dir().join("00000000000000000000.index")).unwrap();
    let log = open_with(&disk, small(), clean());
    assert_eq!(read_all(&log, 0, 1 << 20).len(), 100);
    let names = names(&disk);
    assert!(!names.iter().any(|n| n.ends_with(".deleted") || n.ends_with(".cleaned")));
    assert!(!names.contains(&"00000000000000000003.index".into()));
    assert!(names.contains(&"00000000000000000000.index".into()));
}

#[test]
fn another_topic_id_is_refused() {
    let disk = disk();
    open(&disk, small()).close(at(0)).unwrap();
    let result = Log::open(Arc::new(disk.clone()), dir(), tp(), Some(Uuid::from_u128(5)), small(), clean(), at(0));
    assert!(result.err().unwrap().to_string().contains("topic id"));
}

#[test]
fn deleted_directories_get_kafkas_name() {
    let disk = disk();
    let mut log = open(&disk, small());
    let to = log.rename_for_delete(Uuid::from_u128(0xabc)).unwrap();
    assert_eq!(to.file_name().unwrap().to_str().unwrap(), "topic-0.00000000000000000000000000000abc-delete");
    assert!(disk.exists(&to));
}
