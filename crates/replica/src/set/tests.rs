//! Partitions that come and go, and log directories that fail, by a disk whose operations in one directory fail.

use super::*;
use crate::Acks;
use base::disk::{DirFailures, MemDisk, WatchedDisk};
use bytes::Bytes;
use metadata::Record;
use record::{BatchBuilder, BatchFields};
use std::task::Waker;
use storage::{AppendOrigin, ReadLimit};
use wire::ErrorCode;
use wire::messages::{PartitionRecord, TopicRecord};

const BROKER: i32 = 1;
const TOPIC: Uuid = Uuid::from_u128(7);

struct World {
    disk: MemDisk,
    failures: Arc<DirFailures>,
    replicas: PartitionSet,
    image: Image,
    now: Now,
}

fn dir_id(n: usize) -> Uuid {
    Uuid::from_u128(1000 + n as u128)
}

fn dir(n: usize) -> PathBuf {
    PathBuf::from(format!("/data/{n}"))
}

fn registration(partition_id: i32, directory: Uuid) -> Record {
    let (replicas, isr, directories) = (vec![BROKER], vec![BROKER], vec![directory]);
    PartitionRecord { partition_id, topic_id: TOPIC, replicas, isr, leader: BROKER, directories, ..Default::default() }.into()
}

impl World {
    /// Two directories, and a topic without partitions.
    fn new() -> World {
        let disk = MemDisk::new();
        let dirs: Vec<LogDir> = (0..2).map(|n| LogDir { path: dir(n), id: dir_id(n) }).collect();
        for dir in &dirs {
            disk.create_dir_all(&dir.path).unwrap();
        }
        let failures = Arc::new(DirFailures::new(dirs.iter().map(|dir| dir.path.clone()), &[]));
        let watched = Arc::new(WatchedDisk::new(Arc::new(disk.clone()), failures.clone(), 8));
        let props = [
            ("node.id", "1"),
            ("process.roles", "broker,controller"),
            ("listeners", "PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093"),
            ("advertised.listeners", "PLAINTEXT://localhost:9092"),
            ("controller.listener.names", "CONTROLLER"),
            ("controller.quorum.voters", "1@localhost:9093"),
        ];
        let props: Props = props.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let config = Arc::new(BrokerConfig::from_props(&props).unwrap());
        let replicas = PartitionSet::new(watched, BROKER, dirs, config);
        let now = Now { mono: Instant::from_nanos(1_000_000_000), wall_ms: 1_700_000_000_000 };
        let mut world = World { disk, failures, replicas, image: Image::default(), now };
        world.replay(TopicRecord { name: "t".into(), topic_id: TOPIC, ..Default::default() }.into());
        world
    }

    fn replay(&mut self, record: Record) {
        let mut delta = Delta::default();
        self.image.replay(&record, &mut delta).unwrap();
        self.replicas.apply(&delta, &self.image, self.now);
    }

    /// A partition that the controller has put into a directory.
    fn partition(&mut self, partition_id: i32, directory: Uuid) -> Arc<Partition> {
        self.replay(registration(partition_id, directory));
        self.replicas.get("t", partition_id).unwrap()
    }

    fn append(&self, partition: &Arc<Partition>) -> Result<i64, ErrorCode> {
        let mut builder = BatchBuilder::new(BatchFields::default());
        builder.append(self.now.wall_ms, None, Some(b"value"), &[]);
        let done = partition.append(builder.build().unwrap(), Acks::Leader, AppendOrigin::Client, self.now);
        done.map(|done| done.info.first_offset).map_err(|error| error.code)
    }

    /// As a flusher thread does.
    fn create_logs(&self) {
        while self.replicas.flushes().jobs() > 0 {
            self.replicas.run_next_flush(&|| self.now);
        }
    }

    fn exists(&self, n: usize, partition: i32) -> bool {
        self.disk.exists(&dir(n).join(format!("t-{partition}")))
    }

    /// Every operation in a directory fails, once.
    fn fail_dir(&self, n: usize) {
        self.failures.report(&dir(n), &std::io::Error::from_raw_os_error(5));
        for failure in self.failures.take_new(Waker::noop()) {
            self.replicas.directory_failed(&failure.dir);
        }
    }
}

fn read(partition: &Partition) -> Result<Bytes, ErrorCode> {
    let read = partition.read(0, 1 << 20, ReadLimit::HighWatermark, None, true).map_err(|error| error.code)?;
    let Some(base::Segment::File(range)) = read.records.first() else { return Ok(Bytes::new()) };
    Ok(range.read().unwrap())
}

#[test]
fn the_failure_of_a_directory_takes_its_partitions_and_no_others() {
    let mut world = World::new();
    let (lost, kept) = (world.partition(0, dir_id(0)), world.partition(1, dir_id(1)));
    assert_eq!((world.append(&lost), world.append(&kept)), (Ok(0), Ok(0)));
    let watch = lost.watch(5, Waker::noop());
    assert!(watch.is_some());

    world.disk.fail_after(Some(0));
    assert_eq!(world.append(&lost), Err(ErrorCode::KafkaStorageError));
    world.disk.fail_after(None);
    // Before anybody has looked: nothing more is written, and nothing is flushed that may be lost.
    assert_eq!(world.append(&lost), Err(ErrorCode::KafkaStorageError));
    assert!(lost.with_log(|log| log.flush(i64::MAX, world.now)).unwrap().is_err());

    let failed = world.failures.take_new(Waker::noop());
    assert_eq!(failed.len(), 1);
    assert_eq!(world.replicas.directory_failed(&failed[0].dir), [TopicPartition::new("t", 0)]);
    assert_eq!(world.append(&lost), Err(ErrorCode::KafkaStorageError));
    assert_eq!(read(&lost).unwrap_err(), ErrorCode::KafkaStorageError);
    assert!(lost.watch(5, Waker::noop()).is_none(), "who waits is woken, and does not wait again");
    assert_eq!(world.append(&kept), Ok(1));
    assert!(!read(&kept).unwrap().is_empty());
    assert_eq!(world.replicas.offline_dirs().iter().map(|dir| dir.id).collect::<Vec<_>>(), [dir_id(0)]);
}

#[test]
fn nothing_new_is_begun_where_a_log_may_exist_on_the_failed_directory() {
    let mut world = World::new();
    world.fail_dir(0);
    let assigned_there = world.partition(0, dir_id(0));
    assert_eq!(world.append(&assigned_there), Err(ErrorCode::KafkaStorageError));
    let assigned_to_unknown = world.partition(1, dir_id(9));
    assert_eq!(world.append(&assigned_to_unknown), Err(ErrorCode::KafkaStorageError));
    assert!(!world.disk.exists(&dir(1).join("t-0")) && !world.disk.exists(&dir(1).join("t-1")));
    // New partitions go to what is left.
    for index in 2..5 {
        let new = world.partition(index, directory_id::UNASSIGNED);
        assert_eq!(world.append(&new), Ok(0));
        assert!(world.disk.exists(&dir(1).join(format!("t-{index}"))));
    }
}

#[test]
fn a_move_into_a_failed_directory_is_given_up_and_the_partition_stays() {
    let mut world = World::new();
    let (staying, moving) = (world.partition(0, dir_id(0)), world.partition(1, dir_id(1)));
    world.append(&staying).unwrap();
    world.append(&moving).unwrap();
    let dirs = world.replicas.dirs().to_vec();
    world.replicas.move_to(&moving, &dirs[0], world.now).unwrap();
    world.replicas.move_to(&staying, &dirs[1], world.now).unwrap();
    world.fail_dir(0);
    assert_eq!(world.replicas.future_replicas(), []);
    assert!(!world.replicas.copy_moving(world.now));
    assert_eq!((world.append(&moving), world.append(&staying)), (Ok(1), Err(ErrorCode::KafkaStorageError)));
}

#[test]
fn a_partition_that_cannot_be_created_is_offline() {
    let mut world = World::new();
    world.disk.fail_after(Some(0));
    let partition = world.partition(0, dir_id(1));
    world.create_logs();
    world.disk.fail_after(None);
    assert_eq!(world.append(&partition), Err(ErrorCode::KafkaStorageError));
    assert!(world.failures.is_offline(&dir(1)));
    // Deleting its topic needs no disk.
    world.replay(metadata::Record::from(wire::messages::RemoveTopicRecord { topic_id: TOPIC, ..Default::default() }));
    assert!(world.replicas.get("t", 0).is_none());
}

#[test]
fn a_partition_is_led_before_its_log_is_there_and_whoever_comes_first_creates_it() {
    let mut world = World::new();
    let partitions: Vec<_> = (0..3).map(|index| world.partition(index, dir_id(0))).collect();
    assert!((0..3).all(|index| !world.exists(0, index)), "nothing waits for the disk");
    assert!(partitions.iter().all(|p| p.is_leader() && p.high_watermark() == 0 && p.is_in(&dir(0))));
    assert_eq!(world.replicas.flushes().jobs(), 1, "one thread creates all");
    assert_eq!(world.append(&partitions[2]), Ok(0));
    assert!(world.exists(0, 2) && !world.exists(0, 0));
    world.create_logs();
    assert!((0..3).all(|index| world.exists(0, index)));
    assert_eq!(read(&partitions[0]), Ok(Bytes::new()));
    assert_eq!((world.append(&partitions[0]), world.append(&partitions[2])), (Ok(0), Ok(1)));
}

#[test]
fn what_is_decided_before_a_log_is_there_holds_when_it_is() {
    let mut world = World::new();
    let partition = world.partition(0, dir_id(0));
    let config = wire::messages::ConfigRecord {
        resource_type: metadata::ResourceType::TOPIC.0,
        resource_name: "t".into(),
        name: "segment.bytes".into(),
        value: Some("2097152".into()),
        ..Default::default()
    };
    world.replay(config.into());
    for leader in [metadata::image::partition::NO_LEADER, BROKER] {
        world.replay(wire::messages::PartitionChangeRecord { partition_id: 0, topic_id: TOPIC, leader, ..Default::default() }.into());
    }
    let epoch = partition.leader_epoch();
    assert_eq!(epoch, 1);
    world.create_logs();
    let (segment_bytes, latest) = partition.with_log(|log| (log.config().segment_bytes, log.latest_epoch())).unwrap();
    assert_eq!((segment_bytes, latest), (2_097_152, Some(epoch)));
}

#[test]
fn a_topic_that_is_deleted_before_its_logs_are_there_leaves_nothing() {
    let mut world = World::new();
    let (first, second) = (world.partition(0, dir_id(0)), world.partition(1, dir_id(0)));
    world.append(&first).unwrap();
    world.replay(metadata::Record::from(wire::messages::RemoveTopicRecord { topic_id: TOPIC, ..Default::default() }));
    world.create_logs();
    assert_eq!(world.append(&second), Err(ErrorCode::KafkaStorageError));
    assert!(!world.exists(0, 0) && !world.exists(0, 1));
    assert!(first.with_log(|_| ()).is_none());
    let left: Vec<_> = world.disk.list(&dir(0)).unwrap().into_iter().map(|entry| entry.name).collect();
    assert!(left.len() == 1 && left[0].starts_with("t-0.") && left[0].ends_with("-delete"), "{left:?}");
}

#[test]
fn partitions_that_the_controller_leaves_to_the_broker_go_where_there_are_fewest() {
    let mut world = World::new();
    for index in 0..3 {
        world.partition(index, dir_id(1));
    }
    let mut delta = Delta::default();
    for partition_id in 3..10 {
        world.image.replay(&registration(partition_id, directory_id::UNASSIGNED), &mut delta).unwrap();
    }
    world.replicas.apply(&delta, &world.image, world.now);
    world.create_logs();
    assert_eq!([0, 1].map(|n| (0..10).filter(|index| world.exists(n, *index)).count()), [5, 5]);
}

#[test]
fn a_failed_directory_takes_what_was_to_be_created_there() {
    let mut world = World::new();
    let partition = world.partition(0, dir_id(0));
    world.failures.report(&dir(0), &std::io::Error::from_raw_os_error(5));
    world.failures.take_new(Waker::noop());
    assert_eq!(world.replicas.directory_failed(&dir(0)), [TopicPartition::new("t", 0)]);
    world.create_logs();
    assert_eq!(world.append(&partition), Err(ErrorCode::KafkaStorageError));
    assert!(!world.exists(0, 0));
}
