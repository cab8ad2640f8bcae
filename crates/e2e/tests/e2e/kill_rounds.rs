//! Fifty times the broker is killed (-9) under load, twenty-five in each generation of transactions: a producer without transactions, writers
//! whose transactions commit and abort, and copiers that consume, produce and commit their offsets in one transaction. At the end everything
//! is read and judged: nothing acknowledged is lost, nothing is twice, nothing aborted was seen, each partition is in order, transactions are
//! whole, and the copy is the original.

use crate::transactional::{self, PATIENCE, finish};
use client::admin::NewTopic;
use client::{Admin, Config, Consumer, Error, OffsetAndMetadata, Producer, ProducerRecord, TopicPartition};
use e2e::repo::Scratch;
use e2e::{Kind, Node};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const ROUNDS: usize = 25;
const PARTITIONS: i32 = 3;
const WRITERS: usize = 2;
const COPIERS: usize = 2;
const BROKER: &[&str] = &[
    "offsets.topic.num.partitions=4",
    "transaction.state.log.num.partitions=4",
    "group.consumer.min.heartbeat.interval.ms=500",
    "group.consumer.heartbeat.interval.ms=500",
    "group.consumer.min.session.timeout.ms=6000",
    "group.consumer.session.timeout.ms=6000",
];

#[test]
fn kills_amid_transactions() {
    rounds(2);
}

#[test]
fn kills_amid_transactions_of_the_first_generation() {
    rounds(1);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Committed,
    Aborted,
    Unknown,
}

/// A record that a writer sent: by which writer, in its how manieth transaction, as which record of that.
type Written = (usize, u64, u64);

/// What the clients did, as far as they can tell.
#[derive(Clone, Default)]
struct History {
    /// Of each partition of `plain`, the numbers that were acknowledged.
    acknowledged: BTreeMap<i32, Vec<u64>>,
    /// Fate of each transaction, and how many records it has.
    transactions: BTreeMap<(usize, u64), (Fate, u64)>,
}

/// What readers of committed records found in each partition, in order.
#[derive(Clone, Default)]
struct Found {
    plain: BTreeMap<i32, Vec<u64>>,
    from: BTreeMap<i32, Vec<Written>>,
    to: BTreeMap<i32, Vec<Written>>,
}

fn judge(history: &History, found: &Found) -> Vec<String> {
    let mut problems = Vec::new();
    for (partition, numbers) in &found.plain {
        if !numbers.is_sorted_by(|a, b| a < b) {
            problems.push(format!("plain-{partition} is out of order, or has something twice"));
        }
        let acknowledged = history.acknowledged.get(partition).cloned().unwrap_or_default();
        let lost = acknowledged.iter().find(|number| numbers.binary_search(number).is_err());
        problems.extend(lost.map(|number| format!("{number} was acknowledged and is not in plain-{partition}")));
    }
    let mut counts: BTreeMap<(usize, u64), u64> = BTreeMap::new();
    for (partition, records) in &found.from {
        let mut last: BTreeMap<usize, Written> = BTreeMap::new();
        for record in records {
            if last.insert(record.0, *record).is_some_and(|before| before >= *record) {
                problems.push(format!("from-{partition}: {record:?} is out of order, or there twice"));
            }
            *counts.entry((record.0, record.1)).or_default() += 1;
        }
        if found.to.get(partition) != Some(records) {
            let copies = found.to.get(partition).map_or(0, Vec::len);
            let other = records.iter().zip(found.to.get(partition).into_iter().flatten()).find(|(a, b)| a != b);
            problems.push(format!("to-{partition} is no copy of its {} records: {copies}, first difference {other:?}", records.len()));
        }
    }
    for (transaction, (fate, size)) in &history.transactions {
        let count = counts.remove(transaction).unwrap_or(0);
        let fits = match fate {
            Fate::Committed => count == *size,
            Fate::Aborted => count == 0,
            Fate::Unknown => count == 0 || count == *size,
        };
        if !fits {
            problems.push(format!("transaction {transaction:?}: {fate:?}, but {count} of its {size} records are seen"));
        }
    }
    problems.extend(counts.keys().map(|transaction| format!("transaction {transaction:?} was never written")));
    problems
}

#[derive(Default)]
struct Load {
    calm: AtomicBool,
    copied: AtomicBool,
    acknowledged: AtomicU64,
    ended: AtomicU64,
    copies: AtomicU64,
    history: Mutex<History>,
    problems: Mutex<Vec<String>>,
}

impl Load {
    fn problem(&self, text: String) {
        self.problems.lock().expect("problems").push(text);
    }

    fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    fn progress(&self) -> [u64; 3] {
        [&self.acknowledged, &self.ended, &self.copies].map(|counter| counter.load(Ordering::Relaxed))
    }
}

fn rounds(transaction_version: i16) {
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .try_init();
    let scratch = Scratch::new("kill-rounds");
    let mut node = Node::start(Kind::Gregor, &scratch.join("node"), BROKER);
    for text in ["not closed cleanly", "not clean", "unclean", "recover", "cut", "truncat"] {
        node.expect_log(text);
    }
    if transaction_version < 2 {
        let level = format!("transaction.version={transaction_version}");
        Kind::Gregor.tools().run("kafka-features", &["--bootstrap-server", &node.bootstrap(), "downgrade", "--feature", &level]).ok();
    }
    let load = Arc::new(Load::default());
    let clients = {
        let (load, bootstrap) = (load.clone(), node.bootstrap());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(everything(&load, &bootstrap))
        })
    };
    let mut rng = fastrand::Rng::with_seed(transaction_version as u64);
    for round in 0..ROUNDS {
        // Each kind of work has gone on since the last kill; and then some more, so that each kill comes at another moment.
        let before = load.progress();
        let more = rng.u64(1..40);
        e2e::wait::until_at_once(&format!("progress in round {round}"), || {
            let [acknowledged, ended, copies] = load.progress();
            let goes_on = acknowledged >= before[0] + more && ended > before[1] && copies > before[2];
            (goes_on || clients.is_finished()).then_some(())
        });
        if clients.is_finished() {
            break;
        }
        node.kill();
        node.start_again();
    }
    load.calm.store(true, Ordering::Relaxed);
    let found = clients.join().expect("the clients");
    let history = load.history.lock().expect("history").clone();
    let mut problems = std::mem::take(&mut *load.problems.lock().expect("problems"));
    problems.extend(judge(&history, &found));
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems[..problems.len().min(20)].join("\n"));
    let count = |fate| history.transactions.values().filter(|(known, _)| *known == fate).count();
    let (committed, aborted, unknown) = (count(Fate::Committed), count(Fate::Aborted), count(Fate::Unknown));
    assert!(committed > ROUNDS && aborted > 0, "{committed} committed, {aborted} aborted");
    println!(
        "transaction.version {transaction_version}: killed {ROUNDS} times; {} records acknowledged, {committed} transactions committed, \
         {aborted} aborted, {unknown} in doubt, {} records copied in {} transactions",
        load.progress()[0],
        found.to.values().map(Vec::len).sum::<usize>(),
        load.progress()[2],
    );
    node.stop();
}

async fn everything(load: &Arc<Load>, bootstrap: &str) -> Found {
    let admin = Admin::connect(config(bootstrap)).await.expect("an admin client");
    let topics = ["plain", "from", "to"].map(|name| NewTopic::new(name, PARTITIONS, 1));
    for (name, created) in admin.create_topics(topics.into(), Default::default()).await.expect("topics") {
        created.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let mut tasks = vec![tokio::spawn(produce(load.clone(), bootstrap.to_owned()))];
    tasks.extend((0..WRITERS).map(|number| tokio::spawn(write(load.clone(), bootstrap.to_owned(), number))));
    let copiers: Vec<_> = (0..COPIERS).map(|number| tokio::spawn(copy(load.clone(), bootstrap.to_owned(), number))).collect();
    for task in tasks {
        if let Err(error) = task.await {
            load.problem(format!("a task panicked: {error}"));
        }
    }
    let from = read(load, bootstrap, "from", written).await;
    // The copiers come to the end of what was written.
    let limit = Instant::now() + PATIENCE;
    let to = loop {
        let to = read(load, bootstrap, "to", written).await;
        let count = |records: &BTreeMap<i32, Vec<Written>>| records.values().map(Vec::len).sum::<usize>();
        if count(&to) >= count(&from) || Instant::now() > limit {
            break to;
        }
    };
    load.copied.store(true, Ordering::Relaxed);
    for copier in copiers {
        if let Err(error) = copier.await {
            load.problem(format!("a copier panicked: {error}"));
        }
    }
    Found { plain: read(load, bootstrap, "plain", |text| text.parse().ok()).await, from, to }
}

fn config(bootstrap: &str) -> Config {
    Config::bootstrap(bootstrap).with("request.timeout.ms", 2_000).with("retry.backoff.max.ms", 100).with("reconnect.backoff.max.ms", 100)
}

/// Numbers, in order, to every partition of `plain`.
async fn produce(load: Arc<Load>, bootstrap: String) {
    let producer = Producer::new(config(&bootstrap).with("batch.size", 500)).expect("a producer");
    let mut next = 0u64;
    let mut deliveries = Vec::new();
    while !load.is_calm() {
        for _ in 0..5 {
            let (partition, number) = ((next % PARTITIONS as u64) as i32, next);
            next += 1;
            match producer.send(&ProducerRecord::new("plain").partition(partition).value(number.to_string().as_bytes())).await {
                Ok(delivery) => deliveries.push(tokio::spawn(note(load.clone(), partition, number, delivery))),
                Err(error) => load.problem(format!("send of {number}: {error}")),
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for delivery in deliveries {
        if let Err(error) = delivery.await {
            load.problem(format!("a delivery panicked: {error}"));
        }
    }
    if let Err(error) = producer.close(PATIENCE).await {
        load.problem(format!("close of the producer: {error}"));
    }
}

async fn note(load: Arc<Load>, partition: i32, number: u64, delivery: client::producer::Delivery) {
    match delivery.await {
        Ok(_) => {
            load.history.lock().expect("history").acknowledged.entry(partition).or_default().push(number);
            load.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        // An idempotent producer has all the time it needs.
        Err(error) => load.problem(format!("delivery of {number} to plain-{partition}: {error}")),
    }
}

/// A producer that may begin a transaction, or a problem.
async fn started(load: &Load, bootstrap: &str, id: &str) -> Option<Producer> {
    transactional::started(config(bootstrap), id).await.map_err(|problem| load.problem(problem)).ok()
}

async fn write(load: Arc<Load>, bootstrap: String, number: usize) {
    let id = format!("writer-{number}");
    let Some(mut producer) = started(&load, &bootstrap, &id).await else { return };
    let mut rng = fastrand::Rng::with_seed(number as u64);
    for transaction in 0.. {
        if load.is_calm() {
            break;
        }
        let size = rng.u64(1..6);
        let fate = write_once(&producer, (number, transaction), size, rng.u32(0..4) > 0).await;
        load.history.lock().expect("history").transactions.insert((number, transaction), (fate, size));
        load.ended.fetch_add(1, Ordering::Relaxed);
        // Whatever went wrong, one that comes back under the same id ends it.
        if fate == Fate::Unknown || producer.has_fatal_error() {
            match started(&load, &bootstrap, &id).await {
                Some(another) => producer = another,
                None => return,
            }
        }
    }
    if let Err(error) = producer.close(PATIENCE).await {
        load.problem(format!("{id}: close: {error}"));
    }
}

async fn write_once(producer: &Producer, (writer, transaction): (usize, u64), size: u64, commit: bool) -> Fate {
    let attempt = async {
        producer.begin_transaction()?;
        for index in 0..size {
            let value = format!("{writer} {transaction} {index}");
            let partition = ((transaction + index) % PARTITIONS as u64) as i32;
            drop(producer.send(&ProducerRecord::new("from").partition(partition).value(value.as_bytes())).await?);
        }
        producer.flush().await
    };
    if attempt.await.is_err() {
        // Nobody asked for a commit, whatever becomes of the abort.
        let _ = finish(producer, false).await;
        return Fate::Aborted;
    }
    match (finish(producer, commit).await, commit) {
        (Ok(()), true) => Fate::Committed,
        (_, false) => Fate::Aborted,
        (Err(_), true) => Fate::Unknown,
    }
}

/// Moves records of committed transactions from `from` to the same partition of `to`, with the offsets in the same transaction.
async fn copy(load: Arc<Load>, bootstrap: String, number: usize) {
    let id = format!("copier-{number}");
    let Some(mut producer) = started(&load, &bootstrap, &id).await else { return };
    let mut rng = fastrand::Rng::with_seed(number as u64);
    let is_done = || load.copied.load(Ordering::Relaxed);
    while !is_done() {
        let config = config(&bootstrap)
            .with("group.id", "copiers")
            .with("group.protocol", "consumer")
            .with("auto.offset.reset", "earliest")
            .with("isolation.level", "read_committed")
            .with("enable.auto.commit", false)
            .with("default.api.timeout.ms", 5_000);
        let mut consumer = Consumer::new(config).expect("a consumer");
        consumer.subscribe(["from"]).expect("a subscription");
        while !is_done() {
            match copy_once(&producer, &mut consumer, rng.u32(0..10) == 0).await {
                Ok(true) => {
                    load.copies.fetch_add(1, Ordering::Relaxed);
                }
                Ok(false) => {}
                // What was aborted is read again, by a consumer that begins at what is committed.
                Err(_) => {
                    let _ = finish(&producer, false).await;
                    break;
                }
            }
        }
        let _ = consumer.close(Duration::from_secs(2)).await;
        if producer.has_fatal_error() {
            match started(&load, &bootstrap, &id).await {
                Some(another) => producer = another,
                None => return,
            }
        }
    }
    let _ = producer.close(Duration::from_secs(2)).await;
}

/// Whether there was anything. With `changes_mind` it is given up after it was written.
async fn copy_once(producer: &Producer, consumer: &mut Consumer, changes_mind: bool) -> Result<bool, Error> {
    let records = consumer.poll(Duration::from_millis(100)).await?;
    if records.is_empty() {
        return Ok(false);
    }
    producer.begin_transaction()?;
    let mut offsets: BTreeMap<TopicPartition, OffsetAndMetadata> = BTreeMap::new();
    for record in &records {
        let value = record.value.as_deref().unwrap_or_default();
        drop(producer.send(&ProducerRecord::new("to").partition(record.partition).value(value)).await?);
        offsets.insert(record.topic_partition(), OffsetAndMetadata::new(record.offset + 1));
    }
    producer.send_offsets_to_transaction(offsets, &consumer.group_metadata()?).await?;
    if changes_mind {
        producer.flush().await?;
        return Err(Error::Timeout("it was given up".to_owned()));
    }
    finish(producer, true).await?;
    Ok(true)
}

fn written(text: &str) -> Option<Written> {
    let mut words = text.split(' ');
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

/// Everything in a topic that readers of committed records see, by partition, in order.
async fn read<T>(load: &Load, bootstrap: &str, topic: &str, parse: impl Fn(&str) -> Option<T>) -> BTreeMap<i32, Vec<T>> {
    let mut out: BTreeMap<i32, Vec<T>> = (0..PARTITIONS).map(|partition| (partition, Vec::new())).collect();
    let partitions: Vec<TopicPartition> = (0..PARTITIONS).map(|partition| TopicPartition::new(topic, partition)).collect();
    let reading = async {
        let mut consumer =
            Consumer::new(config(bootstrap).with("isolation.level", "read_committed").with("auto.offset.reset", "earliest"))?;
        let ends = consumer.end_offsets(&partitions).await?;
        consumer.assign(partitions.clone())?;
        let limit = Instant::now() + PATIENCE;
        loop {
            for record in &consumer.poll(Duration::from_millis(100)).await? {
                let text = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned();
                match parse(&text) {
                    Some(value) => out.entry(record.partition).or_default().push(value),
                    None => load.problem(format!("{topic}-{} has '{text}'", record.partition)),
                }
            }
            let mut at_end = true;
            for partition in &partitions {
                at_end &= consumer.position(partition).await? >= ends[partition];
            }
            if at_end {
                return Ok(());
            }
            if Instant::now() > limit {
                return Err(Error::Timeout(format!("{topic} was not read to its end")));
            }
        }
    };
    if let Err(error) = reading.await {
        load.problem(format!("reading {topic}: {error}"));
    }
    out
}

#[test]
fn wrong_histories_are_found_out() {
    let committed = |history: &mut History, transaction, size| {
        history.transactions.insert((0, transaction), (Fate::Committed, size));
    };
    let mut history = History::default();
    history.acknowledged.insert(0, vec![1, 2, 3]);
    committed(&mut history, 0, 2);
    history.transactions.insert((0, 1), (Fate::Aborted, 1));
    history.transactions.insert((0, 2), (Fate::Unknown, 2));
    let records = vec![(0, 0, 0), (0, 0, 1)];
    let mut right = Found::default();
    right.plain.insert(0, vec![1, 2, 3, 4]);
    right.from.insert(0, records.clone());
    right.to.insert(0, records.clone());
    assert_eq!(judge(&history, &right), [""; 0]);
    let wrong: [(&str, fn(&mut Found)); 8] = [
        ("not in plain-0", |found| drop(found.plain.insert(0, vec![1, 3]))),
        ("twice", |found| drop(found.plain.insert(0, vec![1, 2, 2, 3]))),
        ("out of order", |found| drop(found.plain.insert(0, vec![2, 1, 3]))),
        ("is no copy", |found| drop(found.to.insert(0, vec![(0, 0, 0)]))),
        ("is no copy", |found| drop(found.to.insert(0, vec![(0, 0, 1), (0, 0, 0)]))),
        ("Aborted, but 1", |found| found.from.entry(0).or_default().push((0, 1, 0))),
        ("Unknown, but 1", |found| found.from.entry(0).or_default().push((0, 2, 0))),
        ("never written", |found| found.from.entry(0).or_default().push((0, 9, 0))),
    ];
    for (expected, change) in wrong {
        let mut found = right.clone();
        change(&mut found);
        let problems = judge(&history, &found);
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{expected}: {problems:?}");
    }
    let mut short = right.clone();
    short.from.insert(0, vec![(0, 0, 1), (0, 0, 0)]);
    assert!(judge(&history, &short).iter().any(|problem| problem.contains("out of order")));
    committed(&mut history, 0, 3);
    assert!(judge(&history, &right).iter().any(|problem| problem.contains("Committed, but 2")));
}
