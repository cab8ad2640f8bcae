use super::*;
use crate::set::OpenTask;
use base::disk::{Disk, MemDisk};
use base::{TopicPartition, Uuid};
use bytes::Bytes;
use config::{BrokerConfig, Props};
use metadata::Image;
use record::{BatchBuilder, BatchFields};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;
use storage::{AppendOrigin, LogOpen};
use wire::messages::PartitionRecord;

const BROKER: i32 = 1;

struct World {
    disk: MemDisk,
    replicas: PartitionSet,
    now: Now,
}

impl World {
    fn new(flush_messages: &str) -> World {
        let disk = MemDisk::new();
        disk.create_dir_all(Path::new("/data")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let props = [
            ("node.id", "1"),
            ("process.roles", "broker,controller"),
            ("listeners", "PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093"),
            ("advertised.listeners", "PLAINTEXT://localhost:9092"),
            ("controller.listener.names", "CONTROLLER"),
            ("controller.quorum.voters", "1@localhost:9093"),
            ("log.flush.interval.messages", flush_messages),
        ];
        let props: Props = props.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let config = BrokerConfig::from_props(&props).unwrap();
        let replicas = PartitionSet::new(Arc::new(disk.clone()), BROKER, Vec::new(), Arc::new(config));
        let now = Now { mono: base::Instant::from_nanos(1_000_000_000), wall_ms: 1_700_000_000_000 };
        World { disk, replicas, now }
    }

    fn partition(&self, index: i32) -> Arc<Partition> {
        let task = OpenTask {
            topic_partition: TopicPartition::new("t", index),
            topic_id: Uuid::from_u128(7),
            dir: PathBuf::from(format!("/data/t-{index}")),
            open: LogOpen { clean_shutdown: true, ..LogOpen::default() },
        };
        self.replicas.open(task, &Image::default(), self.now).unwrap();
        let partition = self.replicas.get("t", index).unwrap();
        let registration = PartitionRecord { replicas: vec![BROKER], isr: vec![BROKER], leader: BROKER, ..PartitionRecord::default() };
        partition.apply(&metadata::Partition::from_record(&registration).unwrap());
        partition
    }

    fn append(&self, partition: &Arc<Partition>, acks: Acks) -> crate::PartitionAppend {
        partition.append(batch(self.now, 1), acks, AppendOrigin::Client, self.now).unwrap()
    }

    fn run_flush(&self) -> bool {
        self.replicas.run_next_flush(&|| self.now).is_some()
    }

    fn syncs(&self) -> u64 {
        self.disk.counts().1
    }
}

fn batch(now: Now, records: usize) -> Bytes {
    let mut builder = BatchBuilder::new(BatchFields::default());
    for _ in 0..records {
        builder.append(now.wall_ms, None, Some(b"value"), &[]);
    }
    builder.build().unwrap()
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn is_done(progress: &Progress) -> bool {
    matches!(progress, Progress::Done)
}

#[test]
fn one_sync_serves_all_who_wait() {
    let world = World::new("1");
    let partition = world.partition(0);
    world.append(&partition, Acks::All);
    world.run_flush();
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let mut waiting = Vec::new();
    for n in 0..20 {
        let acks = if n % 2 == 0 { Acks::All } else { Acks::Leader };
        let done = world.append(&partition, acks);
        assert!(done.must_wait(acks));
        waiting.push((done.required_high_watermark, acks, partition.watch_append(done.required_high_watermark, acks, &waker)));
    }
    assert_eq!((partition.high_watermark(), world.replicas.flushes().len()), (1, 1), "nobody sees what is not flushed");
    let before = world.syncs();
    assert!(world.run_flush());
    assert_eq!((world.syncs() - before, partition.high_watermark(), woken.0.load(Ordering::Relaxed)), (1, 21, 20));
    for (end, acks, _) in waiting {
        assert!(is_done(&partition.watch_append(end, acks, &waker)));
    }
    assert!(!world.run_flush(), "nothing is left to flush");
}

#[test]
fn what_comes_during_a_flush_is_covered_by_the_next() {
    let world = World::new("1");
    let partition = world.partition(0);
    let first = world.append(&partition, Acks::Leader).required_high_watermark;
    let late = Mutex::new(None);
    // The clock is read between the lock and the sync: a producer appends at that moment.
    let clock = || {
        late.lock().get_or_insert_with(|| world.append(&partition, Acks::Leader).required_high_watermark);
        world.now
    };
    assert!(world.replicas.run_next_flush(&clock).is_some());
    let late = late.into_inner().unwrap();
    let waker = Waker::noop();
    assert!(is_done(&partition.watch_append(first, Acks::Leader, waker)));
    assert!(!is_done(&partition.watch_append(late, Acks::Leader, waker)));
    assert!(world.run_flush());
    assert!(is_done(&partition.watch_append(late, Acks::Leader, waker)));
}

#[test]
fn a_failed_sync_is_an_error_for_all_who_wait_and_is_not_repeated() {
    let world = World::new("1");
    let (partition, other) = (world.partition(0), world.partition(1));
    let done = world.append(&partition, Acks::All);
    let progress = partition.watch_append(done.required_high_watermark, Acks::All, Waker::noop());
    assert!(matches!(progress, Progress::Waiting(_)));
    world.disk.fail_after(Some(0));
    assert!(world.run_flush());
    world.disk.fail_after(None);
    let progress = partition.watch_append(done.required_high_watermark, Acks::All, Waker::noop());
    assert!(matches!(progress, Progress::Failed(ErrorCode::KafkaStorageError)));
    assert_eq!((partition.high_watermark(), world.run_flush()), (-1, false));
    let refused = partition.append(batch(world.now, 1), Acks::All, AppendOrigin::Client, world.now);
    assert_eq!(refused.unwrap_err().code, ErrorCode::KafkaStorageError);
    let done = world.append(&other, Acks::All);
    assert!(world.run_flush());
    assert!(is_done(&other.watch_append(done.required_high_watermark, Acks::All, Waker::noop())));
}

#[test]
fn a_flush_that_cannot_begin_is_tried_again() {
    let world = World::new("1");
    let partition = world.partition(0);
    let done = world.append(&partition, Acks::All);
    // A new epoch is noted in a file before records are flushed, and that fails.
    partition.with_log(|log| log.assign_epoch(5, log.log_end_offset())).unwrap();
    world.disk.fail_after(Some(0));
    assert!(world.run_flush());
    assert!(!is_done(&partition.watch_append(done.required_high_watermark, Acks::All, Waker::noop())));
    assert!(world.replicas.flushes().is_empty(), "it does not spin");
    world.disk.fail_after(None);
    world.replicas.request_due_flushes(world.now);
    world.run_flush();
    assert!(is_done(&partition.watch_append(done.required_high_watermark, Acks::All, Waker::noop())));
}

#[test]
fn up_to_flush_messages_records_are_acknowledged_unflushed() {
    let world = World::new("5");
    let partition = world.partition(0);
    for _ in 0..4 {
        assert!(!world.append(&partition, Acks::All).must_wait(Acks::All));
    }
    let fifth = world.append(&partition, Acks::Leader);
    assert!(fifth.must_wait(Acks::Leader));
    assert_eq!(partition.high_watermark(), 4);
    assert!(world.run_flush());
    assert_eq!(partition.high_watermark(), 5);
    assert!(!world.append(&partition, Acks::Leader).must_wait(Acks::Leader));
}

#[test]
fn a_power_cut_takes_nothing_that_was_acknowledged() {
    for seed in 0..50 {
        let world = World::new("1");
        let partition = world.partition(0);
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut acknowledged = 0;
        for _ in 0..rng.usize(1..30) {
            let done = partition.append(batch(world.now, rng.usize(1..5)), Acks::All, AppendOrigin::Client, world.now).unwrap();
            if rng.bool() {
                world.run_flush();
            }
            if is_done(&partition.watch_append(done.required_high_watermark, Acks::All, Waker::noop())) {
                acknowledged = done.required_high_watermark;
            }
        }
        assert_eq!(acknowledged.max(partition.high_watermark()), partition.high_watermark());
        let seen = partition.high_watermark();
        world.disk.crash(&mut rng);
        let log = storage::Log::open(
            Arc::new(world.disk.clone()),
            PathBuf::from("/data/t-0"),
            TopicPartition::new("t", 0),
            Some(Uuid::from_u128(7)),
            storage::LogConfig::default(),
            LogOpen::default(),
            world.now,
        )
        .unwrap();
        assert!(log.log_end_offset() >= seen, "seed {seed}: {seen} records were seen, {} are left", log.log_end_offset());
    }
}

#[test]
fn what_has_begun_is_durable_before_its_first_record_and_makes_way_for_flushes() {
    let world = World::new("1");
    let (partition, other) = (world.partition(0), world.partition(1));
    world.replicas.flushes().push_begun(partition.clone());
    world.append(&other, Acks::All);
    assert!(world.run_flush(), "the flush comes first");
    let before = world.syncs();
    assert!(!world.run_flush());
    let durable = world.syncs();
    assert!(durable > before);
    world.append(&partition, Acks::Leader);
    assert_eq!(world.syncs(), durable, "the append syncs nothing");

    world.replicas.flushes().push_begun(world.partition(2));
    world.replicas.flushes().forget_ahead();
    let before = world.syncs();
    assert!(!world.run_flush() || world.syncs() > before, "only the flush of the append is left");
    assert_eq!(world.replicas.flushes().jobs(), 0);
}

#[test]
fn a_topic_begins_once_and_again_with_new_partitions() {
    let world = World::new("1");
    (0..3).for_each(|index| drop(world.partition(index)));
    let topic = world.replicas.topic(Uuid::from_u128(7)).unwrap();
    world.replicas.begin(&topic);
    world.replicas.begin(&topic);
    assert_eq!(world.replicas.flushes().jobs(), 3);
    while world.replicas.flushes().jobs() > 0 {
        assert!(!world.run_flush());
    }
    let durable = world.syncs();
    world.append(&world.replicas.get("t", 2).unwrap(), Acks::Leader);
    assert_eq!(world.syncs(), durable);
    world.partition(3);
    world.replicas.begin(&topic);
    assert_eq!(world.replicas.flushes().jobs(), 4 + 1, "and the flush that the append asked for");
}
