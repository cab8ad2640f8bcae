//! Our own client while the network and the broker misbehave: the broker is killed (-9) and started again on its directory, connections are cut
//! in the middle of answers, answers come late or never. Then: every record that was sent is there once and in order; groups of both protocols
//! saw every record; committed offsets never went back.
//!
//! `CLIENT_CHAOS_SECONDS` makes the bad weather last longer (20 seconds otherwise).

use crate::storm::{self, Storm};
use client::consumer::CloseOptions;
use client::{Admin, Config, Consumer, Producer, ProducerRecord, TopicPartition};
use e2e::Kind;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const TOPIC: &str = "chaos";
const PARTITIONS: i32 = 4;
const GROUPS: [(&str, &[(&str, &str)]); 3] = [
    ("eager", &[("partition.assignment.strategy", "range"), ("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "500")]),
    (
        "cooperative",
        &[("partition.assignment.strategy", "cooperative-sticky"), ("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "500")],
    ),
    ("consumer", &[("group.protocol", "consumer")]),
];
#[test]
fn gregor_in_bad_weather() {
    storm(Kind::Gregor);
}

#[test]
fn apache_in_bad_weather() {
    storm(Kind::Apache);
}

/// What the tasks of one test share.
#[derive(Default)]
struct Report {
    calm: AtomicBool,
    sent: AtomicUsize,
    problems: Mutex<Vec<String>>,
    /// Per group: the numbers seen of each partition.
    seen: Mutex<BTreeMap<&'static str, BTreeMap<i32, BTreeSet<u64>>>>,
}

impl Report {
    fn problem(&self, text: String) {
        self.problems.lock().expect("problems").push(text);
    }

    fn calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    fn saw(&self, group: &'static str, partition: i32, number: u64) {
        self.seen.lock().expect("seen").entry(group).or_default().entry(partition).or_default().insert(number);
    }

    /// How many different records the group has seen.
    fn seen(&self, group: &str) -> usize {
        self.seen.lock().expect("seen").get(group).map_or(0, |partitions| partitions.values().map(BTreeSet::len).sum())
    }
}

fn storm(kind: Kind) {
    let mut storm = Storm::begin(kind, "client-chaos", &[], 7);
    let report = Arc::new(Report::default());
    let clients = storm::clients(everything(report.clone(), storm.bootstrap()));
    let end = Instant::now() + storm::length(20);
    while Instant::now() < end && !clients.is_finished() {
        storm.rage(10, Duration::from_millis(500));
        storm.moment();
    }
    report.calm.store(true, Ordering::Relaxed);
    clients.join().expect("the clients");
    let (sent, kills) = (report.sent.load(Ordering::Relaxed), storm.kills);
    storm.end(&report.problems);
    println!("{kind:?}: {sent} records, killed {kills} times, none lost, none twice, all in order");
}

async fn everything(report: Arc<Report>, bootstrap: String) {
    let admin = Admin::connect(Config::bootstrap(&bootstrap)).await.expect("an admin client");
    let topic = client::admin::NewTopic::new(TOPIC, PARTITIONS, 1);
    admin.create_topics(vec![topic], Default::default()).await.expect("the topic is created");
    let mut tasks = Vec::new();
    for (group, properties) in GROUPS {
        for member in 0..2 {
            tasks.push(tokio::spawn(read(report.clone(), bootstrap.clone(), group, properties, member)));
        }
    }
    tasks.push(tokio::spawn(watch_commits(report.clone(), bootstrap.clone())));
    write(&report, &bootstrap).await;
    for task in tasks {
        if let Err(error) = task.await {
            report.problem(format!("a task panicked: {error}"));
        }
    }
    check_log(&report, &bootstrap).await;
}

/// Sends numbers to every partition until it is calm, and demands that each is acknowledged.
async fn write(report: &Report, bootstrap: &str) {
    let config = Config::bootstrap(bootstrap)
        .with("request.timeout.ms", 1_500)
        .with("retry.backoff.max.ms", 300)
        .with("linger.ms", 1)
        .with("batch.size", 2_000);
    let producer = Producer::new(config).expect("a producer");
    let mut next = 0u64;
    let mut deliveries = Vec::new();
    while !report.calm() {
        for _ in 0..20 {
            for partition in 0..PARTITIONS {
                let value = next.to_string();
                match producer.send(&ProducerRecord::new(TOPIC).partition(partition).value(value.as_bytes())).await {
                    Ok(delivery) => deliveries.push((partition, next, delivery)),
                    Err(error) => report.problem(format!("send of {next}: {error}")),
                }
            }
            next += 1;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    if producer.flush().await.is_err() {
        report.problem("flush failed".to_owned());
    }
    for (partition, number, delivery) in deliveries {
        if let Err(error) = delivery.await {
            report.problem(format!("delivery of {number} to {partition}: {error}"));
        }
    }
    report.sent.store(next as usize * PARTITIONS as usize, Ordering::Relaxed);
    let counters = producer.counters();
    println!("{counters:?}, producer id and epoch {:?}", producer.producer_id());
    if let Err(error) = producer.close(Duration::from_secs(10)).await {
        report.problem(format!("close: {error}"));
    }
}

/// A member of a group: reads, commits, and now and then goes and comes back, until the group has seen everything.
async fn read(report: Arc<Report>, bootstrap: String, group: &'static str, properties: &'static [(&str, &str)], member: u64) {
    let mut rng = fastrand::Rng::with_seed(member);
    let deadline = Instant::now() + Duration::from_secs(3_600);
    let mut patience: Option<Instant> = None;
    loop {
        let mut config = Config::bootstrap(&bootstrap)
            .with("group.id", group)
            .with("auto.offset.reset", "earliest")
            .with("request.timeout.ms", 2_000)
            .with("default.api.timeout.ms", 5_000)
            .with("auto.commit.interval.ms", 300)
            .with("enable.auto.commit", member == 0);
        config.extend(properties.iter().copied());
        let mut consumer = Consumer::new(config).expect("a consumer");
        consumer.subscribe([TOPIC]).expect("a subscription");
        let stay = Instant::now() + Duration::from_secs(rng.u64(6..15));
        while Instant::now() < stay || report.calm() {
            match consumer.poll(Duration::from_millis(100)).await {
                Ok(records) => {
                    let mut last: BTreeMap<i32, i64> = BTreeMap::new();
                    for record in &records {
                        if last.insert(record.partition, record.offset).is_some_and(|before| before >= record.offset) {
                            report.problem(format!("{group}: offsets of partition {} go back", record.partition));
                        }
                        let number = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).parse();
                        report.saw(group, record.partition, number.unwrap_or(u64::MAX));
                    }
                }
                Err(error) => report.problem(format!("{group}: poll: {error}")),
            }
            if member == 1 && rng.u32(0..5) == 0 {
                // A rebalance may have taken the partitions away, a broker may be gone: others read it again then.
                let _ = consumer.commit().await;
            }
            if report.calm() {
                let sent = report.sent.load(Ordering::Relaxed);
                if sent > 0 && report.seen(group) >= sent {
                    let _ = consumer.close_with(CloseOptions { timeout: Duration::from_secs(5), ..CloseOptions::default() }).await;
                    return;
                }
                let patience = *patience.get_or_insert(Instant::now() + Duration::from_secs(60));
                if Instant::now() > patience.min(deadline) {
                    let assignment = consumer.assignment();
                    report.problem(format!("{group}: saw {} of {sent} records; member {member} has {assignment:?}", report.seen(group)));
                    return;
                }
            }
        }
        if rng.bool() {
            // Closing may run into its limit while the broker is away.
            let _ = consumer.close(Duration::from_secs(2)).await;
        }
    }
}

/// Committed offsets of every group only grow.
async fn watch_commits(report: Arc<Report>, bootstrap: String) {
    let admin = Admin::connect(Config::bootstrap(&bootstrap).with("request.timeout.ms", 2_000)).await.expect("an admin client");
    let mut committed: BTreeMap<(&str, TopicPartition), i64> = BTreeMap::new();
    while !report.calm() {
        for (group, _) in GROUPS {
            let Ok(offsets) = admin.list_group_offsets(group, None, false).await else { continue };
            for (partition, offset) in offsets {
                let Ok(Some(offset)) = offset else { continue };
                let before = committed.insert((group, partition.clone()), offset.offset);
                if before.is_some_and(|before| before > offset.offset) {
                    report.problem(format!("{group}: committed offset of {partition} went from {before:?} to {}", offset.offset));
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Reads everything: per partition 0, 1, 2, ... without a gap and without a repetition.
async fn check_log(report: &Report, bootstrap: &str) {
    let each = report.sent.load(Ordering::Relaxed) as u64 / PARTITIONS as u64;
    let mut consumer = Consumer::new(Config::bootstrap(bootstrap)).expect("a consumer");
    let partitions: Vec<TopicPartition> = (0..PARTITIONS).map(|partition| TopicPartition::new(TOPIC, partition)).collect();
    consumer.assign(partitions.clone()).expect("an assignment");
    consumer.seek_to_beginning(&partitions).expect("a seek");
    let ends = match consumer.end_offsets(&partitions).await {
        Ok(ends) => ends,
        Err(error) => return report.problem(format!("end offsets: {error}")),
    };
    let mut next: BTreeMap<i32, u64> = BTreeMap::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut open: BTreeSet<i32> = (0..PARTITIONS).collect();
    while !open.is_empty() {
        if Instant::now() > deadline {
            return report.problem(format!("the log was not read to its end: {next:?} of {ends:?}"));
        }
        let records = match consumer.poll(Duration::from_millis(500)).await {
            Ok(records) => records,
            Err(error) => return report.problem(format!("reading the log: {error}")),
        };
        for record in &records {
            let number: u64 = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).parse().unwrap_or(u64::MAX);
            let expected = next.entry(record.partition).or_default();
            if number != *expected {
                report.problem(format!("partition {} offset {}: {number} instead of {expected}", record.partition, record.offset));
            }
            *expected = number.saturating_add(1);
        }
        for partition in &partitions {
            let position = consumer.position(partition).await.unwrap_or(-1);
            if ends.get(partition).is_some_and(|end| position >= *end) {
                open.remove(&partition.partition);
            }
        }
    }
    if next.values().any(|count| *count != each) || next.len() != PARTITIONS as usize {
        report.problem(format!("{each} numbers were sent to each partition, the log ends at {next:?}"));
    }
}
