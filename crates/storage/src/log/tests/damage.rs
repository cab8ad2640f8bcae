//! Every file of a partition, damaged in many ways: the log opens and serves a prefix, everything but the damaged batch, or everything; or it
//! refuses with a message that names the file. It never makes records up, and it takes new ones.

use super::*;
use crate::index::txn::AbortedTxn;
use base::disk::OpenMode;
use std::collections::BTreeMap;

/// Offset to value of every record that was written.
type Written = BTreeMap<i64, Vec<u8>>;

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 700,
        index_interval_bytes: 150,
        segment_index_bytes: 4096,
        producer_id_expiration_ms: i64::MAX,
        ..LogConfig::default()
    }
}

/// Several segments with three leader epochs, transactions that committed and aborted, two live producers.
fn fill(disk: &MemDisk) -> (Log, Written) {
    let mut log = open(disk, config());
    let mut written = Written::new();
    let mut sequence = 0;
    for n in 0..24i64 {
        let epoch = (n / 9) as i32;
        let transactional = n % 4 == 1;
        let mut fields = BatchFields::default();
        if transactional {
            fields = BatchFields { producer_id: 7, producer_epoch: 0, base_sequence: sequence, transactional: true, ..fields };
            sequence += 3;
        }
        let info = log.append_as_leader(batch(3, T0 + n * 10, fields), epoch, Origin::Client, at(n)).unwrap();
        for i in 0..3 {
            written.insert(info.first_offset + i, format!("value {i}").into_bytes());
        }
        if transactional {
            let marker = EndTxnMarker { commit: n % 8 == 1, coordinator_epoch: 0 };
            let bytes = marker.batch(T0 + n * 10 + 3, 7, 0, epoch).unwrap();
            log.append_as_leader(bytes, epoch, Origin::Coordinator, at(n)).unwrap();
        }
        log.set_high_watermark(log.log_end_offset());
    }
    (log, written)
}

fn copy(from: &MemDisk) -> MemDisk {
    let to = disk();
    to.create_dir_all(&dir()).unwrap();
    for name in names(from) {
        let path = dir().join(name);
        to.open(&path, OpenMode::Create).unwrap().write_at(&from.read(&path).unwrap(), 0).unwrap();
    }
    to
}

#[derive(Clone, Copy, Debug)]
enum Harm {
    Remove,
    Empty,
    Cut(usize),
    Flip { byte: usize, bit: u8 },
    Garbage(u64),
    Zeros { from: usize, len: usize },
    Append(u64),
}

fn harms(len: usize, rng: &mut fastrand::Rng) -> Vec<Harm> {
    let mut all = vec![Harm::Remove, Harm::Empty, Harm::Garbage(1), Harm::Append(2)];
    if len == 0 {
        return all;
    }
    all.extend([1, len / 3, len / 2, len - 1].map(Harm::Cut));
    all.extend((0..24).map(|_| Harm::Flip { byte: rng.usize(0..len), bit: rng.u8(0..8) }));
    all.extend((0..4).map(|_| Harm::Zeros { from: rng.usize(0..len), len: rng.usize(1..80) }));
    all
}

fn harm(disk: &MemDisk, path: &Path, harm: Harm) {
    let mut bytes = disk.read(path).unwrap();
    match harm {
        Harm::Remove => return disk.remove_file(path).unwrap(),
        Harm::Empty => bytes.clear(),
        Harm::Cut(len) => bytes.truncate(len),
        Harm::Flip { byte, bit } => bytes[byte] ^= 1 << bit,
        Harm::Garbage(seed) => {
            let mut rng = fastrand::Rng::with_seed(seed);
            bytes = (0..bytes.len().max(37)).map(|_| rng.u8(..)).collect();
        }
        Harm::Zeros { from, len } => bytes.iter_mut().skip(from).take(len).for_each(|byte| *byte = 0),
        Harm::Append(seed) => {
            let mut rng = fastrand::Rng::with_seed(seed);
            bytes.extend((0..50).map(|_| rng.u8(..)));
        }
    }
    disk.open(path, OpenMode::Truncate).unwrap().write_at(&bytes, 0).unwrap();
}

/// What a consumer gets who goes on behind what cannot be read, offset by offset; batches with a wrong checksum are no records.
fn consume(log: &Log) -> Written {
    let mut read = Written::new();
    let mut offset = log.log_start_offset();
    while offset < log.log_end_offset() {
        let got = match log.read(offset, 300, ReadLimit::LogEnd, true) {
            Ok(got) => got,
            Err(error) => {
                assert!(error.to_string().contains(".log"), "{error}");
                offset += 1;
                continue;
            }
        };
        let mut next = offset + 1;
        for piece in got.records {
            let base::Segment::File(range) = piece else { panic!("a range of a file") };
            let bytes = range.read().unwrap();
            for found in batches(&bytes) {
                let Ok(found) = found else { break };
                // The base offset is not covered by the checksum.
                if found.view().last_offset() >= log.log_end_offset() || found.view().next_offset() <= offset {
                    break;
                }
                if found.view().is_valid() && !found.view().is_control() {
                    for record in found.records(1 << 20).unwrap() {
                        let record = record.unwrap();
                        read.insert(record.offset, record.value.unwrap().to_vec());
                    }
                }
                next = next.max(found.view().next_offset());
            }
        }
        offset = next;
    }
    read
}

/// Opens a damaged copy; gives what it serves.
fn check(disk: &MemDisk, how: LogOpen, written: &Written, what: &str) -> Option<Written> {
    let opened = Log::open(Arc::new(disk.clone()), dir(), tp(), Some(Uuid::from_u128(77 << 64)), config(), how.clone(), at(100));
    let mut log = match opened {
        Ok(log) => log,
        Err(error) => {
            assert!(error.to_string().contains("topic-0"), "{what}: the message names no file: {error}");
            // The id of another topic is no damage that can be told from a mistake.
            assert!(what.starts_with("partition.metadata") && error.to_string().contains("belongs to topic id"), "{what}: {error}");
            return None;
        }
    };
    let read = consume(&log);
    for (offset, value) in &read {
        assert!(written.get(offset) == Some(value), "{what}: offset {offset} was never written so");
    }
    // Questions by time, offset and epoch end in answers or errors.
    for ms in [-5, 0, 55, 120, 233, 500] {
        if let Ok(Some(found)) = log.offset_for_timestamp(T0 + ms) {
            assert!(found.timestamp >= T0 + ms, "{what}: {found:?}");
        }
    }
    let _ = (log.offset_of_max_timestamp(), log.timestamp_at(3), log.end_offset_for_epoch(1), log.earliest_offset());
    log.set_high_watermark(log.log_end_offset());
    let _ = log.rebuild_wrong_indexes().unwrap_or_else(|e| panic!("{what}: {e}"));
    let before = read;
    let read = consume(&log);
    assert!(before.keys().all(|offset| read.contains_key(offset)), "{what}: rebuilt indexes hide something");
    // It takes new records, and has them after a clean stop.
    let end = append(&mut log, 2, 1000);
    let grown = consume(&log);
    assert_eq!((grown.len(), grown.contains_key(&end.last_offset)), (read.len() + 2, true), "{what}");
    log.close(at(1001)).unwrap_or_else(|e| panic!("{what}: {e}"));
    let start = log.log_start_offset();
    drop(log);
    let again = LogOpen { clean_shutdown: true, log_start_offset: start, ..LogOpen::default() };
    let log = Log::open(Arc::new(disk.clone()), dir(), tp(), None, config(), again, at(2000)).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert!(consume(&log) == grown, "{what}: after a clean stop");
    Some(read)
}

fn in_base_offset(segment: &[u8], byte: usize) -> bool {
    let mut start = 0;
    for found in batches(&Bytes::copy_from_slice(segment)) {
        if (start..start + 8).contains(&byte) {
            return true;
        }
        start += found.unwrap().view().size();
    }
    false
}

#[test]
fn every_file_in_many_ways() {
    let golden = disk();
    let (mut log, written) = fill(&golden);
    let end = log.log_end_offset();
    let sealed = log.segments.last().unwrap().base_offset;
    log.close(at(50)).unwrap();
    drop(log);
    let mut rng = fastrand::Rng::with_seed(20_260);
    let (mut cases, mut refused) = (0, 0);
    for name in names(&golden) {
        let path = dir().join(&name);
        let bytes = golden.read(&path).unwrap();
        for harm_done in harms(bytes.len(), &mut rng) {
            // No checksum covers the base offset: a batch that claims a later one cannot be told from a good one, as in Kafka.
            if name.ends_with(".log") && matches!(harm_done, Harm::Flip { byte, .. } if in_base_offset(&bytes, byte)) {
                continue;
            }
            for (state, how) in [
                ("clean", LogOpen { clean_shutdown: true, recovery_point: end, high_watermark: end, ..LogOpen::default() }),
                ("killed", LogOpen { recovery_point: sealed, high_watermark: end, ..LogOpen::default() }),
                ("killed without checkpoints", LogOpen::default()),
            ] {
                let what = format!("{name} {harm_done:?}, {state}");
                let disk = copy(&golden);
                harm(&disk, &path, harm_done);
                let read = check(&disk, how, &written, &what);
                cases += 1;
                refused += usize::from(read.is_none());
                let Some(read) = read else { continue };
                let is_log = name.ends_with(".log");
                if !is_log {
                    assert_eq!(read.len(), written.len(), "{what}: only an auxiliary file was harmed");
                } else if state != "killed without checkpoints" {
                    // One file is damaged; what is in the others is there, and below the recovery point so is what is not damaged.
                    let harmed: i64 = name[..20].parse().unwrap();
                    let others = written.keys().filter(|offset| **offset < harmed || (**offset >= harmed + 40 && harmed < sealed));
                    for offset in others {
                        assert!(read.contains_key(offset), "{what}: offset {offset} was in another segment");
                    }
                }
            }
        }
    }
    println!("{cases} cases, {refused} refused");
    assert!(cases > 800 && refused < 50, "{cases} cases, {refused} refused");
}

#[test]
fn damage_below_the_recovery_point_costs_only_what_is_damaged() {
    let golden = disk();
    let mut log = open(&golden, LogConfig::default());
    for n in 0..20 {
        let info = log.append_as_leader(plain(3, T0 + n), (n / 10) as i32, Origin::Client, at(n)).unwrap();
        assert_eq!(info.last_offset, n * 3 + 2);
    }
    log.set_high_watermark(60);
    log.flush(60, at(1)).unwrap();
    let size = log.size() as usize / 20;
    drop(log);
    let path = dir().join("00000000000000000000.log");
    // The payload of the fifth batch, or its header, or everything of it.
    for harm_done in [
        Harm::Flip { byte: 5 * size + 80, bit: 3 },
        Harm::Flip { byte: 5 * size + 10, bit: 6 },
        Harm::Flip { byte: 5 * size + 3, bit: 0 },
        Harm::Zeros { from: 5 * size, len: size },
    ] {
        for (recovery_point, served) in [(60, 57), (30, 57), (3, 15)] {
            let disk = copy(&golden);
            harm(&disk, &path, harm_done);
            let how = LogOpen { recovery_point, ..LogOpen::default() };
            let log = open_with(&disk, LogConfig::default(), how);
            let read = consume(&log);
            assert_eq!((read.len(), read.contains_key(&15)), (served, false), "{harm_done:?} with recovery point {recovery_point}");
            assert_eq!(log.log_end_offset(), if served == 57 { 60 } else { 15 });
        }
        // A log that must be whole says what is wrong and changes nothing.
        let disk = copy(&golden);
        harm(&disk, &path, harm_done);
        let how = LogOpen { refuse_damage: true, ..LogOpen::default() };
        let refused = Log::open(Arc::new(disk.clone()), dir(), tp(), None, LogConfig::default(), how, at(0)).err().unwrap().to_string();
        assert!(refused.contains("00000000000000000000.log") && refused.contains("restore the file"), "{refused}");
        assert_eq!(disk.read(&path).unwrap().len(), 20 * size);
    }
}

#[test]
fn an_index_that_points_wrong_is_noticed_and_rebuilt() {
    let golden = disk();
    let mut log = open(&golden, config());
    for n in 0..60 {
        append(&mut log, 2, n * 10);
    }
    let written = consume(&log);
    log.close(at(1)).unwrap();
    let names = names(&golden);
    let mut noticed = 0;
    for name in names.iter().filter(|name| name.ends_with("index")) {
        let path = dir().join(name);
        let len = golden.read(&path).unwrap().len();
        for byte in 0..len {
            let disk = copy(&golden);
            harm(&disk, &path, Harm::Flip { byte, bit: (byte % 8) as u8 });
            let mut log = open_with(&disk, config(), clean());
            for offset in 0..log.log_end_offset() {
                let read = log.read(offset, 1, ReadLimit::LogEnd, true).unwrap();
                let base::Segment::File(range) = &read.records[0] else { panic!("a range") };
                let bytes = range.read().unwrap();
                let first = record::BatchView::first(&bytes).unwrap().unwrap();
                assert!((first.base_offset()..=first.last_offset()).contains(&offset), "{name} byte {byte}: {first:?} for offset {offset}");
            }
            for n in 0..60 {
                let found = log.offset_for_timestamp(T0 + n * 10).unwrap().unwrap();
                assert_eq!((found.offset, found.timestamp), (n * 2, T0 + n * 10), "{name} byte {byte}");
            }
            noticed += log.rebuild_wrong_indexes().unwrap();
            assert_eq!(consume(&log), written);
            assert_eq!(log.rebuild_wrong_indexes().unwrap(), 0);
        }
    }
    assert!(noticed > 50, "{noticed}");
}

#[test]
fn aborted_transactions_survive_a_damaged_index() {
    let golden = disk();
    let (mut log, _) = fill(&golden);
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    let aborted = |log: &Log| {
        let mut all: Vec<AbortedTxn> = Vec::new();
        for segment in &log.segments {
            segment.txns.collect_entries(log.disk.as_ref(), start, end, &mut all).unwrap();
        }
        all.iter().map(|txn| (txn.producer_id, txn.first_offset, txn.last_offset)).collect::<Vec<_>>()
    };
    let before = aborted(&log);
    assert!(before.len() >= 2, "{before:?}");
    log.close(at(50)).unwrap();
    for name in names(&golden).iter().filter(|name| name.ends_with(".txnindex")) {
        let path = dir().join(name);
        for harm_done in [Harm::Garbage(3), Harm::Cut(20), Harm::Flip { byte: 0, bit: 4 }, Harm::Flip { byte: 11, bit: 7 }, Harm::Append(4)]
        {
            let disk = copy(&golden);
            harm(&disk, &path, harm_done);
            let log = open_with(&disk, config(), clean());
            assert_eq!(aborted(&log), before, "{name} {harm_done:?}");
        }
    }
}

#[test]
fn epochs_are_taken_from_the_batches_when_their_file_is_damaged() {
    let golden = disk();
    let (mut log, _) = fill(&golden);
    let epochs: Vec<_> = (0..4).map(|epoch| log.end_offset_for_epoch(epoch)).collect();
    log.close(at(50)).unwrap();
    for harm_done in [Harm::Remove, Harm::Empty, Harm::Garbage(5), Harm::Cut(3), Harm::Cut(5)] {
        let disk = copy(&golden);
        harm(&disk, &dir().join("leader-epoch-checkpoint"), harm_done);
        let log = open_with(&disk, config(), clean());
        let found: Vec<_> = (0..4).map(|epoch| log.end_offset_for_epoch(epoch)).collect();
        assert_eq!(found, epochs, "{harm_done:?}");
    }
}
