//! Directories that Apache Kafka 4.3.1 wrote: opened as it left them, and again as after a crash.

use super::*;
use base::disk::RealDisk;
use std::process::Command;

struct Unpacked(PathBuf);

impl Drop for Unpacked {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn unpack(name: &str, purpose: &str) -> Unpacked {
    let dir = std::env::temp_dir().join(format!("gregor-golden-{}-{name}-{purpose}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../golden/data-dirs/kafka-4.3.1-{name}.tar.gz"));
    assert!(Command::new("tar").arg("xzf").arg(archive).arg("-C").arg(&dir).status().unwrap().success());
    Unpacked(dir)
}

/// Every partition directory below `root`.
fn partitions(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        if dir.join("partition.metadata").exists() {
            found.push(dir);
            continue;
        }
        open.extend(std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()));
    }
    found.sort();
    found
}

fn open_real(dir: &Path, clean_shutdown: bool) -> Log {
    let name = dir.file_name().unwrap().to_str().unwrap();
    let (topic, partition) = name.rsplit_once('-').unwrap();
    let tp = TopicPartition::new(topic, partition.parse().unwrap());
    let how = LogOpen { clean_shutdown, ..LogOpen::default() };
    Log::open(Arc::new(RealDisk), dir.to_owned(), tp, None, LogConfig::default(), how, at(0)).unwrap()
}

fn files(dir: &Path, suffix: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.to_str().unwrap().ends_with(suffix))
        .map(|p| (p.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&p).unwrap()))
        .collect();
    files.sort();
    files
}

fn ends(log: &Log) -> (i64, i64, Vec<(i64, i64)>, Option<i32>) {
    (log.log_start_offset(), log.log_end_offset(), offsets_of(&read_all(log, log.log_start_offset(), 1 << 20)), log.latest_epoch())
}

#[test]
fn opens_what_apache_left() {
    for name in ["kraft0", "kraft1"] {
        let root = unpack(name, "open");
        let dirs = partitions(&root.0);
        assert!(!dirs.is_empty());
        for dir in dirs {
            let before = files(&dir, ".log");
            let snapshots = files(&dir, ".snapshot");
            let mut clean = open_real(&dir, true);
            assert!(clean.topic_id().is_some());
            let seen = ends(&clean);
            let newest = snapshots.last().map(|(name, _)| name.trim_end_matches(".snapshot").parse::<i64>().unwrap());
            assert_eq!(newest.unwrap_or(0), seen.1, "{dir:?} ends where its newest producer snapshot says");
            let mut records = 0;
            for batch in read_all(&clean, seen.0, 1 << 20) {
                assert!(batch.view().is_valid());
                records += batch.records(1 << 30).unwrap().inspect(|r| assert!(r.is_ok())).count();
                assert_eq!(batch.view().magic(), 2);
            }
            assert!(records > 0 || seen.0 == seen.1);
            let producers: Vec<_> = clean.producers().entries().into_iter().cloned().collect();
            clean.close(at(0)).unwrap();

            let mut recovered = open_real(&dir, false);
            assert_eq!(ends(&recovered), seen, "{dir:?}");
            assert_eq!(recovered.producers().entries().into_iter().cloned().collect::<Vec<_>>().len(), producers.len());
            recovered.close(at(0)).unwrap();
            assert_eq!(files(&dir, ".log"), before, "recovery of a sound log changes no record");
        }
    }
}

#[test]
fn rebuilds_the_indexes_apache_wrote() {
    let root = unpack("kraft0", "index");
    let dir = partitions(&root.0).into_iter().find(|d| d.ends_with("t1-0")).unwrap();
    let (offsets, times) = (files(&dir, ".index"), files(&dir, ".timeindex"));
    assert!(offsets.len() > 1 && offsets.iter().any(|(_, bytes)| !bytes.is_empty()));
    for (name, _) in offsets.iter().chain(&times) {
        std::fs::remove_file(dir.join(name)).unwrap();
    }
    open_real(&dir, false).close(at(0)).unwrap();
    assert_eq!(files(&dir, ".index"), offsets);
    assert_eq!(files(&dir, ".timeindex"), times);
}
