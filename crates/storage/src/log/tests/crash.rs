//! Random lives with power cuts: nothing that was flushed is lost, what is left is a prefix, and it is indexed right.

use super::*;

struct Life {
    disk: MemDisk,
    config: LogConfig,
    rng: fastrand::Rng,
    /// (first offset, bytes after the offset and epoch) of each batch appended, in order.
    written: Vec<(i64, Bytes)>,
    flushed: i64,
    recovery_point: i64,
    sequence: i32,
}

impl Life {
    fn open(&self, clean: bool) -> Log {
        open_with(
            &self.disk,
            self.config.clone(),
            LogOpen { recovery_point: self.recovery_point, clean_shutdown: clean, ..LogOpen::default() },
        )
    }

    fn append(&mut self, log: &mut Log) {
        let count = self.rng.i64(1..4);
        let codec = Codec::new(Compression::ALL[self.rng.usize(0..5)]);
        let fields = BatchFields { codec, producer_id: 5, producer_epoch: 0, base_sequence: self.sequence, ..Default::default() };
        let timestamp = T0 + self.rng.i64(0..10_000);
        let info = log.append_as_leader(batch(count, timestamp, fields), 3, Origin::Client, at(10_000)).unwrap();
        assert!(!info.duplicate);
        self.sequence += count as i32;
        let all = read_all(log, info.first_offset, 1 << 20);
        self.written.push((info.first_offset, all[0].bytes().clone()));
    }

    fn check(&mut self, log: &Log) {
        let all = read_all(log, 0, self.rng.usize(1..3_000));
        let end = log.log_end_offset();
        assert!(end >= self.flushed, "flushed up to {}, found {end}", self.flushed);
        self.written.retain(|(first, _)| *first < end);
        assert_eq!(all.len(), self.written.len());
        for (found, (first, bytes)) in all.iter().zip(&self.written) {
            assert_eq!(found.view().base_offset(), *first);
            assert_eq!(found.bytes(), bytes);
        }
        for _ in 0..5 {
            let target = T0 + self.rng.i64(0..10_000);
            let expected = all.iter().flat_map(|b| b.records(1 << 20).unwrap()).map(|r| r.unwrap()).find(|r| r.timestamp >= target);
            let found = log.offset_for_timestamp(target).unwrap();
            assert_eq!(found.map(|f| (f.timestamp, f.offset)), expected.map(|r| (r.timestamp, r.offset)));
        }
        // The producer goes on exactly where the log ends.
        self.sequence = all.last().map_or(0, |b| b.view().last_sequence() + 1);
        if end > 0 {
            assert_eq!(log.producers().get(5).unwrap().last_sequence() + 1, self.sequence);
            assert_eq!(log.latest_epoch(), Some(3));
        }
    }
}

#[test]
fn power_cuts_lose_nothing_flushed() {
    for seed in 0..300 {
        let config = LogConfig { segment_bytes: 1_500, index_interval_bytes: 150, segment_index_bytes: 1024, ..LogConfig::default() };
        let rng = fastrand::Rng::with_seed(seed);
        let mut life = Life { disk: disk(), config, rng, written: Vec::new(), flushed: 0, recovery_point: 0, sequence: 0 };
        let mut log = life.open(false);
        for _ in 0..life.rng.usize(10..80) {
            match life.rng.u8(0..20) {
                0 => {
                    log.flush(log.log_end_offset(), at(0)).unwrap();
                    life.flushed = log.log_end_offset();
                    assert_eq!(log.recovery_point(), life.flushed);
                    // The checkpoint is written later, or not at all.
                    if life.rng.bool() {
                        life.recovery_point = log.recovery_point();
                    }
                }
                1 => {
                    life.disk.crash(&mut life.rng);
                    log = life.open(false);
                    life.check(&log);
                    life.recovery_point = life.recovery_point.min(log.recovery_point());
                }
                2 => {
                    log.close(at(0)).unwrap();
                    life.flushed = log.log_end_offset();
                    life.recovery_point = log.recovery_point();
                    if life.rng.bool() {
                        life.disk.crash(&mut life.rng);
                    }
                    let clean = life.rng.bool();
                    log = life.open(clean);
                    life.check(&log);
                }
                3 => log.roll(at(0)).unwrap(),
                _ => life.append(&mut log),
            }
        }
        life.check(&log);
    }
}

#[test]
fn garbage_at_the_end_is_cut() {
    let disk = disk();
    let mut log = open(&disk, small());
    for i in 0..30 {
        append(&mut log, 1, i);
    }
    log.close(at(0)).unwrap();
    let last = names(&disk).into_iter().rfind(|n| n.ends_with(".log")).unwrap();
    let path = dir().join(last);
    let good = disk.read(&path).unwrap();
    for garbage in [vec![0u8; 500], vec![0xff; 70], good[..good.len().min(40)].to_vec(), plain(1, T0).to_vec()] {
        disk.open(&path, OpenMode::ReadWrite).unwrap().write_at(&garbage, good.len() as u64).unwrap();
        let log = open(&disk, small());
        assert_eq!(log.log_end_offset(), 30);
        assert_eq!(disk.read(&path).unwrap(), good);
    }
}

#[test]
fn a_recovery_reads_only_what_was_not_flushed() {
    let disk = disk();
    let config = LogConfig { index_interval_bytes: 100, ..LogConfig::default() };
    let producer = |sequence| BatchFields { producer_id: 5, producer_epoch: 0, base_sequence: sequence, ..BatchFields::default() };
    let mut log = open(&disk, config.clone());
    for n in 0..40 {
        log.append_as_leader(batch(1, T0 + i64::from(n), producer(n)), 0, Origin::Client, at(0)).unwrap();
        match n {
            // A clean stop leaves a snapshot and whole indexes, a flush neither.
            19 => {
                log.close(at(0)).unwrap();
                log = open_with(&disk, config.clone(), LogOpen { recovery_point: 20, ..clean() });
            }
            29 => log.flush(30, at(0)).unwrap(),
            _ => {}
        }
    }
    let size = log.size() / 40;
    drop(log);
    for (recovery_point, read) in [(20, 20), (30, 10), (40, 0), (0, 40), (41, 40)] {
        let how = LogOpen { recovery_point, ..LogOpen::default() };
        let progress = how.progress.clone();
        let log = open_with(&disk, config.clone(), how);
        assert_eq!(progress.get().bytes, (size * read, size * read), "recovery point {recovery_point}");
        assert_eq!((log.log_end_offset(), read_all(&log, 0, 200).len()), (40, 40));
        assert_eq!(log.producers().get(5).unwrap().last_sequence(), 39);
        assert_eq!(log.offset_for_timestamp(T0 + 33).unwrap().map(|found| found.offset), Some(33));
        assert_eq!(log.offset_for_timestamp(T0 + 7).unwrap().map(|found| found.offset), Some(7));
    }
}
