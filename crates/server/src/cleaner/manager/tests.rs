//! Choosing and checkpoints, with partitions on a disk in memory.

use super::*;
use base::disk::{Disk, MemDisk};
use config::{Layers, Props};
use metadata::Image;
use record::{BatchBuilder, BatchFields, Origin};
use replica::{LogDir, OpenTask};
use std::path::Path;
use storage::{LogConfig, LogOpen};

fn now(ms: u64) -> Now {
    Now { wall_ms: 1_700_000_000_000, ..Now::default() }.plus(Duration::from_millis(ms))
}

fn set(disk: &MemDisk) -> Arc<PartitionSet> {
    let props = [("process.roles", "broker,controller"), ("node.id", "1"), ("controller.quorum.bootstrap.servers", "localhost:9093")];
    let more = [("listeners", "PLAINTEXT://:9092,CONTROLLER://:9093"), ("controller.listener.names", "CONTROLLER"), ("log.dirs", "/a,/b")];
    let props: Props = props.iter().chain(&more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let config = Layers::new(props).config().unwrap();
    let dirs = ["/a", "/b"].map(|dir| LogDir { path: dir.into(), id: Uuid::from_u128(u128::from(dir.as_bytes()[1])) });
    for dir in &dirs {
        disk.create_dir_all(&dir.path).unwrap();
    }
    Arc::new(PartitionSet::new(Arc::new(disk.clone()), 1, dirs.to_vec(), Arc::new(config)))
}

fn compacted() -> LogConfig {
    LogConfig { cleanup_compact: true, cleanup_delete: false, min_cleanable_dirty_ratio: 0.2, ..LogConfig::default() }
}

/// Adds a compacted partition with `dirty` records in a sealed segment.
fn add(replicas: &PartitionSet, dir: &str, topic: &str, id: u128, dirty: usize) -> Arc<Partition> {
    let topic_partition = TopicPartition::new(topic, 0);
    let path = Path::new(dir).join(topic_partition.to_string());
    let open = LogOpen { clean_shutdown: true, ..LogOpen::default() };
    replicas.open(OpenTask { topic_partition, topic_id: Uuid::from_u128(id), dir: path, open }, &Image::default(), now(0)).unwrap();
    let partition = replicas.get(topic, 0).unwrap();
    partition.update_config(compacted());
    write(&partition, dirty);
    partition
}

fn write(partition: &Partition, count: usize) {
    partition.with_log(|log| {
        for _ in 0..count {
            let mut builder = BatchBuilder::new(BatchFields::default());
            builder.append(1, Some(b"key"), Some(b"value"), &[]);
            log.append_as_leader(builder.build().unwrap(), 0, Origin::Client, now(0)).unwrap();
        }
        log.set_high_watermark(log.log_end_offset());
        log.roll(now(0)).unwrap();
        log.flush(log.log_end_offset(), now(0)).unwrap();
    });
}

fn cleaned(end_offset: i64) -> Result<Cleaned, CleanError> {
    Ok(Cleaned { end_offset, stats: CleanStats::default() })
}

fn checkpoint(disk: &MemDisk, dir: &str) -> Vec<(String, i64)> {
    let offsets = checkpoint::read(disk, &Path::new(dir).join(checkpoint::CLEANER)).unwrap();
    offsets.into_iter().map(|(partition, offset)| (partition.topic, offset)).collect()
}

fn take(manager: &Manager, at_ms: u64) -> Option<Work> {
    manager.take_dirtiest(now(at_ms), 0)
}

fn name(work: &Option<Work>) -> Option<&str> {
    work.as_ref().map(|work| &*work.partition.topic_partition.topic)
}

const BACKOFF: Duration = Duration::from_secs(15);

#[test]
fn the_dirtiest_goes_first_and_nobody_gets_it_twice() {
    let disk = MemDisk::new();
    let replicas = set(&disk);
    checkpoint::write(&disk, Path::new("/a/cleaner-offset-checkpoint"), &Offsets::from([(TopicPartition::new("half", 0), 2)])).unwrap();
    add(&replicas, "/a", "all", 1, 4);
    let half = add(&replicas, "/a", "half", 2, 2);
    write(&half, 3);
    add(&replicas, "/b", "plain", 3, 4).update_config(LogConfig::default());
    let manager = Manager::new(replicas);
    let (first, second) = (take(&manager, 0), take(&manager, 0));
    assert_eq!((name(&first), name(&second), name(&take(&manager, 0))), (Some("all"), Some("half"), None));
    let second = second.unwrap();
    assert_eq!((second.job.first_dirty_offset, second.job.first_uncleanable_offset), (2, 5));
    manager.done(&second, 0, cleaned(5), now(0), BACKOFF);
    manager.done(&first.unwrap(), 1, cleaned(4), now(0), BACKOFF);
    assert_eq!(checkpoint(&disk, "/a"), [("all".into(), 4), ("half".into(), 5)]);
    assert_eq!(name(&take(&manager, 0)), None);
    let numbers = manager.numbers(now(7).mono);
    assert_eq!((numbers.runs, numbers.since_last_run_ms, numbers.max_dirty_percent), (2, 7, 0));
}

#[test]
fn a_failure_is_seen_and_tried_again() {
    let disk = MemDisk::new();
    let replicas = set(&disk);
    add(&replicas, "/b", "bad", 1, 4);
    let manager = Manager::new(replicas);
    let mut at_ms = 0;
    for expected in [30_000, 60_000, 120_000] {
        let work = take(&manager, at_ms).unwrap();
        let error = LogError::corrupt("/b/bad-0", "damaged");
        manager.done(&work, 0, Err(CleanError::Log(error)), now(at_ms), BACKOFF);
        let numbers = manager.numbers(now(at_ms).mono);
        assert_eq!(numbers.uncleanable, [("/a".into(), 0, 0), ("/b".into(), 1, work.job.cleanable_bytes)]);
        assert!(take(&manager, at_ms + expected - 1).is_none());
        at_ms += expected;
    }
    let work = take(&manager, at_ms).unwrap();
    manager.done(&work, 0, cleaned(4), now(at_ms), BACKOFF);
    let numbers = manager.numbers(now(at_ms).mono);
    assert_eq!((numbers.uncleanable[1].1, numbers.runs, numbers.failures), (0, 1, 3));
    // To be given up is no failure.
    write(&work.partition, 8);
    let work = take(&manager, at_ms).unwrap();
    manager.done(&work, 0, Err(CleanError::Aborted), now(at_ms), BACKOFF);
    assert!(take(&manager, at_ms).is_some());
}

#[test]
fn checkpoints_follow_their_logs() {
    let disk = MemDisk::new();
    let replicas = set(&disk);
    let name = |topic: &str| TopicPartition::new(topic, 0);
    // One that was moved here, one that is gone, one beyond its log.
    let left = Offsets::from([(name("moved"), 3), (name("gone"), 3), (name("short"), 30)]);
    checkpoint::write(&disk, Path::new("/a/cleaner-offset-checkpoint"), &left).unwrap();
    add(&replicas, "/b", "moved", 1, 3);
    let short = add(&replicas, "/a", "short", 2, 3);
    let cut = add(&replicas, "/a", "cut", 3, 3);
    let manager = Manager::new(replicas);
    let work = take(&manager, 0).unwrap();
    assert_eq!((checkpoint(&disk, "/b"), checkpoint(&disk, "/a")), (vec![("moved".into(), 3)], vec![("short".into(), 0)]));
    let other = take(&manager, 0).unwrap();
    for work in [work, other] {
        manager.done(&work, 0, cleaned(3), now(0), BACKOFF);
    }
    // A log that is cut is dirty from there on, whatever is appended later.
    cut.with_log(|log| log.truncate_to(1, now(0)).unwrap());
    write(&cut, 5);
    let work = take(&manager, 1).unwrap();
    assert_eq!((work.partition.topic_partition.clone(), work.job.first_dirty_offset), (cut.topic_partition.clone(), 1));
    short.with_log(|log| log.delete_records_before(2, now(0)).unwrap());
    assert_eq!(checkpoint(&disk, "/a").iter().find(|(topic, _)| topic == "cut"), Some(&("cut".to_owned(), 1)));
}
