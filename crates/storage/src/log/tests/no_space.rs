//! The disk is full at every possible byte: what fails is undone, and the log goes on once there is room.

use super::*;

fn try_append(log: &mut Log, n: i64) -> Result<AppendInfo, AppendError> {
    log.append_as_leader(plain(3, T0 + n), 0, Origin::Client, at(n))
}

fn everything(log: &Log) -> Vec<(i64, i64)> {
    let all = read_all(log, 0, 1 << 20);
    assert!(all.iter().all(|batch| batch.view().is_valid()));
    offsets_of(&all)
}

#[test]
fn an_append_without_space_is_undone_wherever_it_fails() {
    // Every third one rolls a segment, which needs space for more than the batch.
    let config = || LogConfig { segment_bytes: 400, index_interval_bytes: 0, ..LogConfig::default() };
    for room in 0..700 {
        let disk = disk();
        let mut log = open(&disk, config());
        for n in 0..4 {
            try_append(&mut log, n).unwrap();
        }
        disk.set_free_space(Some(room));
        let mut appended = 4;
        let refused = loop {
            match try_append(&mut log, appended) {
                Ok(_) => appended += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(refused.code(), 56, "{refused}");
        assert_eq!((log.log_end_offset(), everything(&log).len() as i64), (appended * 3, appended), "{room} bytes");
        let written: u64 = disk
            .list(&dir())
            .unwrap()
            .iter()
            .filter(|file| file.name.ends_with(".log"))
            .fold(0, |sum, file| sum + disk.info(&dir().join(&file.name)).unwrap().len);
        assert_eq!(written, log.size(), "{room} bytes: nothing is left of what failed");

        disk.set_free_space(None);
        try_append(&mut log, appended).unwrap();
        try_append(&mut log, appended + 1).unwrap();
        let all = everything(&log);
        let expected: Vec<(i64, i64)> = (0..appended + 2).map(|n| (n * 3, n * 3 + 2)).collect();
        assert_eq!(all, expected, "{room} bytes");
        let crashed = open(&disk, config());
        assert_eq!(everything(&crashed), expected, "{room} bytes, opened after a crash");
        log.close(at(100)).unwrap();
        let open = LogOpen { recovery_point: log.log_end_offset(), ..clean() };
        let again = open_with(&disk, config(), open);
        assert_eq!(everything(&again), expected, "{room} bytes, opened after a clean stop");
    }
}
