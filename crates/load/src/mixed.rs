//! A bit of everything at once, for as long as it is told: a paced producer under retention, a keyed one under compaction, transactions, members
//! of a classic and of a consumer group that stay and others that come and go, topics that are created, written and deleted, connections
//! that come and go. Names of groups and transactional ids are few, so that a broker has nothing to remember that grows. Memory is what is
//! looked at meanwhile, from outside.

use crate::Result;
use crate::connections::Visitor;
use crate::figures::Figures;
use client::admin::{CreateTopicsOptions, NewTopic};
use client::{Admin, Config, Consumer, ErrorClass, Producer, ProducerRecord};
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::time::sleep;

const PLAIN: &str = "mixed-plain";
const COMPACTED: &str = "mixed-compacted";
const TRANSACTIONAL_IDS: u64 = 4;
const KEYS: u64 = 5_000;
const CLOSE: Duration = Duration::from_secs(60);
/// Between two looks of a paced producer at how much is due.
const PACE: Duration = Duration::from_millis(20);
const POLL: Duration = Duration::from_millis(500);

#[derive(Clone)]
struct Plan {
    bootstrap: String,
    /// Records a second of the paced producer; the others take theirs from it.
    rate: u64,
    end: Instant,
}

impl Plan {
    fn over(&self) -> bool {
        Instant::now() >= self.end
    }

    fn config(&self, name: &str) -> Config {
        Config::bootstrap(&self.bootstrap).with("client.id", name)
    }
}

#[derive(Default)]
struct Counts {
    records: Cell<u64>,
    consumed: Cell<u64>,
    transactions: Cell<u64>,
    topics: Cell<u64>,
    memberships: Cell<u64>,
    connections: Cell<u64>,
}

fn add(counter: &Cell<u64>, n: u64) {
    counter.set(counter.get() + n);
}

pub fn run(args: &[String]) -> Result<Figures> {
    let [bootstrap, rate, seconds] = args else {
        return Err("mixed BOOTSTRAP RECORDS_PER_SECOND SECONDS".into());
    };
    let end = Instant::now() + Duration::from_secs(seconds.parse()?);
    let plan = Plan { bootstrap: bootstrap.clone(), rate: rate.parse()?, end };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(all(plan))
}

async fn all(plan: Plan) -> Result<Figures> {
    create_topics(&plan).await?;
    let counts = Rc::new(Counts::default());
    let tasks = tokio::task::LocalSet::new();
    let run = |plan: &Plan| (plan.clone(), counts.clone());
    let mut running = Vec::new();
    let (p, c) = run(&plan);
    running.push(tasks.spawn_local(async move { produce(&p, &c, PLAIN, 1024, p.rate, None).await }));
    let (p, c) = run(&plan);
    running.push(tasks.spawn_local(async move { produce(&p, &c, COMPACTED, 100, p.rate / 2, Some(KEYS)).await }));
    let (p, c) = run(&plan);
    running.push(tasks.spawn_local(async move { transactions(&p, &c).await }));
    for protocol in ["classic", "consumer"] {
        for _ in 0..2 {
            let (p, c) = run(&plan);
            running.push(tasks.spawn_local(async move { stay(&p, &c, protocol).await }));
        }
        let (p, c) = run(&plan);
        running.push(tasks.spawn_local(async move { come_and_go(&p, &c, protocol).await }));
    }
    let (p, c) = run(&plan);
    running.push(tasks.spawn_local(async move { topics(&p, &c).await }));
    let (p, c) = run(&plan);
    running.push(tasks.spawn_local(async move { visits(&p, &c).await }));
    tasks.await;
    for task in running {
        task.await??;
    }
    let mut figures = Figures::default();
    let all = [
        ("records", &counts.records),
        ("consumed", &counts.consumed),
        ("transactions", &counts.transactions),
        ("topics", &counts.topics),
        ("memberships", &counts.memberships),
        ("connections", &counts.connections),
    ];
    all.iter().for_each(|(name, count)| figures.add(*name, count.get() as f64));
    Ok(figures)
}

async fn create_topics(plan: &Plan) -> Result<()> {
    let admin = Admin::connect(plan.config("mixed-admin")).await?;
    let small = |topic: NewTopic| topic.config("segment.bytes", 4 * 1024 * 1024).config("segment.ms", 20_000);
    let plain = small(NewTopic::new(PLAIN, 6, 1)).config("retention.bytes", 8 * 1024 * 1024).config("retention.ms", 30_000);
    let compacted = small(NewTopic::new(COMPACTED, 2, 1)).config("cleanup.policy", "compact").config("min.cleanable.dirty.ratio", 0.1);
    for (_, created) in admin.create_topics(vec![plain, compacted], CreateTopicsOptions::default()).await? {
        created?;
    }
    Ok(())
}

/// At a steady rate, whatever the answers take.
async fn produce(plan: &Plan, counts: &Counts, topic: &str, bytes: usize, rate: u64, keys: Option<u64>) -> Result<()> {
    let producer = Producer::new(plan.config("mixed-producer").with("acks", "all").with("linger.ms", 5))?;
    let value = vec![b'x'; bytes];
    let (begin, mut sent) = (Instant::now(), 0);
    while !plan.over() {
        let due = (begin.elapsed().as_secs_f64() * rate as f64) as u64;
        while sent < due {
            let key = keys.map(|keys| (sent * 7919 % keys).to_string());
            let record = ProducerRecord::new(topic).value(&value);
            let record = match &key {
                Some(key) => record.key(key.as_bytes()),
                None => record,
            };
            producer.send_tagged(&record, sent).await?;
            sent += 1;
        }
        sleep(PACE).await;
    }
    producer.close(CLOSE).await?;
    add(&counts.records, sent);
    Ok(())
}

/// One after the other, every third aborted, by producers that take over from each other.
async fn transactions(plan: &Plan, counts: &Counts) -> Result<()> {
    let mut generation = 0;
    while !plan.over() {
        let id = format!("mixed-{}", generation % TRANSACTIONAL_IDS);
        let producer = Producer::new(plan.config("mixed-transactional").with("transactional.id", id))?;
        producer.init_transactions().await?;
        for n in 0..20 {
            producer.begin_transaction()?;
            for topic in [PLAIN, COMPACTED, PLAIN, COMPACTED] {
                producer.send_tagged(&ProducerRecord::new(topic).key(b"transactional").value(&[b'y'; 200]), 0).await?;
            }
            if n % 3 == 2 {
                producer.abort_transaction().await?
            } else {
                producer.commit_transaction().await?
            }
            add(&counts.transactions, 1);
            sleep(Duration::from_millis(100)).await;
        }
        producer.close(CLOSE).await?;
        generation += 1;
    }
    Ok(())
}

fn consumer(plan: &Plan, protocol: &str) -> Result<Consumer> {
    let config = plan.config("mixed-consumer").with("group.id", format!("mixed-{protocol}")).with("group.protocol", protocol);
    let config = config.with("auto.offset.reset", "latest").with("auto.commit.interval.ms", 1000).with("isolation.level", "read_committed");
    let mut consumer = Consumer::new(config)?;
    consumer.subscribe([PLAIN])?;
    Ok(consumer)
}

/// What passes by itself is no failure of the load.
async fn poll(consumer: &mut Consumer) -> Result<u64> {
    match consumer.poll(POLL).await {
        Ok(records) => Ok(records.iter().count() as u64),
        Err(error) if error.class() == ErrorClass::Retriable => Ok(0),
        Err(error) => Err(error.into()),
    }
}

async fn stay(plan: &Plan, counts: &Counts, protocol: &str) -> Result<()> {
    let mut consumer = consumer(plan, protocol)?;
    while !plan.over() {
        add(&counts.consumed, poll(&mut consumer).await?);
    }
    Ok(consumer.close(CLOSE).await?)
}

async fn come_and_go(plan: &Plan, counts: &Counts, protocol: &str) -> Result<()> {
    while !plan.over() {
        let mut consumer = consumer(plan, protocol)?;
        for _ in 0..10 {
            add(&counts.consumed, poll(&mut consumer).await?);
        }
        consumer.close(CLOSE).await?;
        add(&counts.memberships, 1);
        sleep(Duration::from_secs(2)).await;
    }
    Ok(())
}

async fn topics(plan: &Plan, counts: &Counts) -> Result<()> {
    let admin = Admin::connect(plan.config("mixed-admin")).await?;
    let mut round = 0;
    while !plan.over() {
        let name = format!("mixed-passing-{round}");
        for (_, created) in admin.create_topics(vec![NewTopic::new(&name, 3, 1)], CreateTopicsOptions::default()).await? {
            created?;
        }
        let producer = Producer::new(plan.config("mixed-passing").with("enable.idempotence", "false"))?;
        for partition in 0..3 {
            producer.send_tagged(&ProducerRecord::new(&name).partition(partition).value(b"passing"), 0).await?;
        }
        producer.close(CLOSE).await?;
        sleep(Duration::from_millis(500)).await;
        for (_, deleted) in admin.delete_topics(&[name]).await? {
            deleted?;
        }
        add(&counts.topics, 1);
        round += 1;
    }
    Ok(())
}

/// Ten connections at a time, each after a few requests.
async fn visits(plan: &Plan, counts: &Counts) -> Result<()> {
    let mut visitor = Visitor::new(&plan.bootstrap, PLAIN)?;
    while !plan.over() {
        let mut open = Vec::new();
        for _ in 0..10 {
            open.push(visitor.visit()?);
            add(&counts.connections, 1);
        }
        sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}
