//! Transactions of our own client while the broker is killed (-9) and started again and the network cuts, delays and swallows answers; in both
//! generations of the protocol. Writers put each value into two topics, committing or aborting: what was committed is in both once, what was
//! aborted in neither, what the client could not tell in both or in neither. Copiers of one group move records to another topic with their
//! offsets in the same transaction: every record arrives exactly once.
//!
//! `CLIENT_CHAOS_SECONDS` makes the bad weather last longer (12 seconds otherwise).

use crate::storm::{self, Storm};
use crate::transactional::{self, PATIENCE, finish};
use client::admin::NewTopic;
use client::{Admin, Config, Consumer, Error, OffsetAndMetadata, Producer, ProducerRecord, TopicPartition};
use e2e::Kind;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PARTITIONS: i32 = 3;
const WRITERS: usize = 2;
const COPIERS: usize = 2;
#[test]
fn gregor_with_transactions_in_bad_weather() {
    storm(Kind::Gregor, 2);
}

#[test]
fn gregor_with_transactions_of_the_first_generation_in_bad_weather() {
    storm(Kind::Gregor, 1);
}

#[test]
fn apache_with_transactions_in_bad_weather() {
    storm(Kind::Apache, 2);
}

#[test]
#[ignore = "once in five runs, on a busy machine, a partition was left uncopied for two minutes; whether by Apache or by our client is not known yet"]
fn apache_with_transactions_of_the_first_generation_in_bad_weather() {
    storm(Kind::Apache, 1);
}

/// What became of a writer's transaction, as far as the client could tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Committed,
    Aborted,
    Unknown,
}

#[derive(Default)]
struct Report {
    calm: AtomicBool,
    /// All was copied.
    done: AtomicBool,
    filled: AtomicU64,
    fates: Mutex<BTreeMap<String, Fate>>,
    problems: Mutex<Vec<String>>,
}

impl Report {
    fn problem(&self, text: String) {
        self.problems.lock().expect("problems").push(text);
    }

    fn is(flag: &AtomicBool) -> bool {
        flag.load(Ordering::Relaxed)
    }

    /// Waits until writers have ended some more transactions.
    fn await_transactions(&self) {
        let ended = || self.fates.lock().expect("fates").len();
        let enough = ended() + 20;
        e2e::wait::until("the next transactions", || {
            (ended() >= enough || !self.problems.lock().expect("problems").is_empty()).then_some(())
        });
    }

    fn tell(&self, value: String, fate: Fate) {
        self.fates.lock().expect("fates").insert(value, fate);
    }
}

fn storm(kind: Kind, transaction_version: i16) {
    let mut storm = Storm::begin(kind, "client-transactions", &["transaction.state.log.num.partitions=4"], 11);
    if transaction_version < 2 {
        let level = format!("transaction.version={transaction_version}");
        kind.tools().run("kafka-features", &["--bootstrap-server", &storm.bootstrap(), "downgrade", "--feature", &level]).ok();
    }
    let report = Arc::new(Report::default());
    let clients = storm::clients(everything(report.clone(), storm.bootstrap()));
    report.await_transactions();
    let end = Instant::now() + storm::length(12);
    while (Instant::now() < end || storm.kills < 2) && !clients.is_finished() {
        storm.rage(5, Duration::ZERO);
        report.await_transactions();
    }
    report.calm.store(true, Ordering::Relaxed);
    clients.join().expect("the clients");
    let kills = storm.kills;
    storm.end(&report.problems);
    let fates = report.fates.lock().expect("fates");
    let count = |fate| fates.values().filter(|known| **known == fate).count();
    let (committed, unknown) = (count(Fate::Committed), count(Fate::Unknown));
    assert!(committed > 0, "{kind:?}: nothing was committed");
    println!(
        "{kind:?}, transaction.version {transaction_version}: {} transactions, {committed} committed, {unknown} in doubt, {} records copied, killed {kills} times",
        fates.len(),
        report.filled.load(Ordering::Relaxed)
    );
}

async fn everything(report: Arc<Report>, bootstrap: String) {
    let admin = Admin::connect(config(&bootstrap)).await.expect("an admin client");
    let topics = ["left", "right", "from", "to"].map(|name| NewTopic::new(name, PARTITIONS, 1));
    for (name, created) in admin.create_topics(topics.into(), Default::default()).await.expect("topics") {
        created.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let mut tasks = vec![tokio::spawn(fill(report.clone(), bootstrap.clone()))];
    tasks.extend((0..WRITERS).map(|number| tokio::spawn(write(report.clone(), bootstrap.clone(), number))));
    let copiers: Vec<_> = (0..COPIERS).map(|number| tokio::spawn(copy(report.clone(), bootstrap.clone(), number))).collect();
    for task in tasks {
        if let Err(error) = task.await {
            report.problem(format!("a task panicked: {error}"));
        }
    }
    check_writers(&report, &bootstrap).await;
    check_copies(&report, &bootstrap).await;
    report.done.store(true, Ordering::Relaxed);
    for copier in copiers {
        if let Err(error) = copier.await {
            report.problem(format!("a copier panicked: {error}"));
        }
    }
}

fn config(bootstrap: &str) -> Config {
    Config::bootstrap(bootstrap).with("request.timeout.ms", 2_000).with("retry.backoff.max.ms", 300).with("reconnect.backoff.max.ms", 300)
}

/// What the copiers will find.
async fn fill(report: Arc<Report>, bootstrap: String) {
    let producer = Producer::new(config(&bootstrap)).expect("a producer");
    let mut next = 0u64;
    while !Report::is(&report.calm) {
        for _ in 0..10 {
            let (partition, value) = ((next % PARTITIONS as u64) as i32, next.to_string());
            match producer.send(&ProducerRecord::new("from").partition(partition).value(value.as_bytes())).await {
                Ok(_) => next += 1,
                Err(error) => report.problem(format!("filling: {error}")),
            }
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    if let Err(error) = producer.close(PATIENCE).await {
        report.problem(format!("filling: {error}"));
    }
    report.filled.store(next, Ordering::Relaxed);
}

/// A producer that may begin a transaction, or a problem.
async fn started(report: &Report, bootstrap: &str, id: &str) -> Option<Producer> {
    transactional::started(config(bootstrap), id).await.map_err(|problem| report.problem(problem)).ok()
}

/// Puts an end to a transaction that has met an error. False if the producer is of no use any more.
async fn back_out(report: &Report, producer: &Producer, who: &str) -> bool {
    if producer.has_fatal_error() {
        return false;
    }
    match finish(producer, false).await {
        Ok(()) => true,
        Err(error) => {
            if !producer.has_fatal_error() {
                report.problem(format!("{who}: abort: {error}"));
            }
            false
        }
    }
}

async fn write(report: Arc<Report>, bootstrap: String, number: usize) {
    let id = format!("writer-{number}");
    let Some(mut producer) = started(&report, &bootstrap, &id).await else { return };
    let mut next = 0;
    while !Report::is(&report.calm) {
        let value = format!("{id}-{next}");
        next += 1;
        let fate = write_once(&report, &producer, &value, next).await;
        report.tell(value, fate);
        if producer.has_fatal_error() {
            match started(&report, &bootstrap, &id).await {
                Some(another) => producer = another,
                None => return,
            }
        }
    }
    if let Err(error) = producer.close(PATIENCE).await {
        report.problem(format!("{id}: close: {error}"));
    }
}

async fn write_once(report: &Report, producer: &Producer, value: &str, number: usize) -> Fate {
    if let Err(error) = producer.begin_transaction() {
        report.problem(format!("{value}: begin: {error}"));
        return Fate::Aborted;
    }
    for topic in ["left", "right"] {
        let record = ProducerRecord::new(topic).partition(number as i32 % PARTITIONS).value(value.as_bytes());
        if producer.send(&record).await.is_err() {
            back_out(report, producer, value).await;
            return Fate::Aborted;
        }
    }
    if number.is_multiple_of(5) {
        back_out(report, producer, value).await;
        return Fate::Aborted;
    }
    match finish(producer, true).await {
        Ok(()) => Fate::Committed,
        Err(_) if producer.has_fatal_error() => Fate::Unknown,
        Err(_) => {
            back_out(report, producer, value).await;
            Fate::Aborted
        }
    }
}

async fn copy(report: Arc<Report>, bootstrap: String, number: usize) {
    let id = format!("copier-{number}");
    let Some(mut producer) = started(&report, &bootstrap, &id).await else { return };
    while !Report::is(&report.done) {
        let config = config(&bootstrap)
            .with("group.id", "copiers")
            .with("group.protocol", "consumer")
            .with("auto.offset.reset", "earliest")
            .with("isolation.level", "read_committed")
            .with("enable.auto.commit", false)
            .with("default.api.timeout.ms", 5_000);
        let mut consumer = Consumer::new(config).expect("a consumer");
        consumer.subscribe(["from"]).expect("a subscription");
        // A transaction that failed is copied again by a consumer that begins at what is committed.
        while !Report::is(&report.done) {
            match copy_once(&producer, &mut consumer).await {
                Ok(()) => {}
                Err(Copying::Reading) => break,
                Err(Copying::InTransaction) => {
                    if !back_out(&report, &producer, &id).await {
                        match started(&report, &bootstrap, &id).await {
                            Some(another) => producer = another,
                            None => return,
                        }
                    }
                    break;
                }
            }
        }
        // The broker may be away.
        let _ = consumer.close(Duration::from_secs(2)).await;
    }
    // Everything is checked already.
    let _ = producer.close(Duration::from_secs(2)).await;
}

/// Where copying failed.
enum Copying {
    Reading,
    InTransaction,
}

async fn copy_once(producer: &Producer, consumer: &mut Consumer) -> Result<(), Copying> {
    let records = consumer.poll(Duration::from_millis(200)).await.map_err(|_| Copying::Reading)?;
    if records.is_empty() {
        return Ok(());
    }
    let inside = |_: Error| Copying::InTransaction;
    producer.begin_transaction().map_err(inside)?;
    let mut offsets: BTreeMap<TopicPartition, OffsetAndMetadata> = BTreeMap::new();
    for record in &records {
        let value = record.value.as_deref().unwrap_or_default();
        drop(producer.send(&ProducerRecord::new("to").partition(record.partition).value(value)).await.map_err(inside)?);
        offsets.insert(record.topic_partition(), OffsetAndMetadata::new(record.offset + 1));
    }
    let group = consumer.group_metadata().map_err(inside)?;
    producer.send_offsets_to_transaction(offsets, &group).await.map_err(inside)?;
    finish(producer, true).await.map_err(inside)
}

/// How often each value is in a topic, for readers of committed records.
async fn committed(bootstrap: &str, topic: &str) -> Result<BTreeMap<String, usize>, Error> {
    let partitions: Vec<TopicPartition> = (0..PARTITIONS).map(|partition| TopicPartition::new(topic, partition)).collect();
    let mut consumer = Consumer::new(config(bootstrap).with("isolation.level", "read_committed").with("auto.offset.reset", "earliest"))?;
    let ends = consumer.end_offsets(&partitions).await?;
    consumer.assign(partitions.clone())?;
    let mut counts = BTreeMap::new();
    let limit = Instant::now() + PATIENCE;
    loop {
        for record in &consumer.poll(Duration::from_millis(200)).await? {
            let value = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned();
            *counts.entry(value).or_insert(0) += 1;
        }
        let mut at_end = true;
        for partition in &partitions {
            at_end &= consumer.position(partition).await? >= ends[partition];
        }
        if at_end {
            return Ok(counts);
        }
        if Instant::now() > limit {
            return Err(Error::Timeout(format!("{topic} was not read to its end")));
        }
    }
}

async fn check_writers(report: &Report, bootstrap: &str) {
    let (left, right) = match (committed(bootstrap, "left").await, committed(bootstrap, "right").await) {
        (Ok(left), Ok(right)) => (left, right),
        (left, right) => return report.problem(format!("reading what was written: {left:?} {right:?}")),
    };
    let fates = report.fates.lock().expect("fates").clone();
    for (value, fate) in &fates {
        let found = (left.get(value).copied().unwrap_or(0), right.get(value).copied().unwrap_or(0));
        let right = match fate {
            Fate::Committed => found == (1, 1),
            Fate::Aborted => found == (0, 0),
            Fate::Unknown => found == (1, 1) || found == (0, 0),
        };
        if !right {
            report.problem(format!("{value}: {fate:?}, but {found:?} times left and right"));
        }
    }
    for value in left.keys().chain(right.keys()).filter(|value| !fates.contains_key(*value)) {
        report.problem(format!("{value} was never sent"));
    }
}

/// The copiers finish what was filled in.
async fn check_copies(report: &Report, bootstrap: &str) {
    let expected: BTreeSet<String> = (0..report.filled.load(Ordering::Relaxed)).map(|number| number.to_string()).collect();
    let limit = Instant::now() + PATIENCE;
    loop {
        match committed(bootstrap, "to").await {
            Ok(found) => {
                if let Some((value, count)) = found.iter().find(|(_, count)| **count > 1) {
                    return report.problem(format!("{value} was copied {count} times"));
                }
                if found.len() == expected.len() {
                    if found.keys().any(|value| !expected.contains(value)) {
                        report.problem("copies of nothing".to_owned());
                    }
                    return;
                }
                if Instant::now() > limit {
                    return report.problem(format!("{} of {} records were copied", found.len(), expected.len()));
                }
            }
            Err(error) if Instant::now() > limit => return report.problem(format!("reading the copies: {error}")),
            Err(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}
