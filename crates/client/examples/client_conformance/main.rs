//! Runs the client against a broker and checks what it promises, one line per check; exits with 1 if any failed.
//!
//!     GREGOR_TEST_BOOTSTRAP=localhost:9092 cargo run --example client_conformance [-- NAME_PART...]
//!
//! The broker may be Gregor or Apache Kafka: both have to pass. With name parts, only checks whose names contain one of them are run.

mod admin;
mod consumer;
mod consumer_protocol;
mod group;
mod plugins;
mod producer;
mod transactions;

use client::admin::NewTopic;
use client::{Admin, Config, Consumer, ConsumerRecord, Producer, ProducerRecord, Topics};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::LocalSet;

pub type Outcome = Result<(), String>;
pub type Check = fn(&Bench) -> Pin<Box<dyn Future<Output = Outcome> + '_>>;

/// Checks under way at a time; each has topics and groups of its own.
const AT_ONCE: usize = 6;

/// What every check starts from.
pub struct Bench {
    pub bootstrap: String,
    pub admin: Admin,
    /// Makes names unique between runs on the same broker.
    pub run: String,
}

impl Bench {
    pub fn config(&self) -> Config {
        Config::bootstrap(&self.bootstrap)
    }

    pub fn name(&self, part: &str) -> String {
        format!("conformance-{}-{part}", self.run)
    }

    pub async fn topic(&self, part: &str, partitions: i32) -> Result<String, String> {
        let name = self.name(part);
        // Records of 1970, as `fill` writes them, are there to stay.
        let topic = NewTopic::new(&name, partitions, 1).config("retention.ms", -1);
        let created = self.admin.create_topics(vec![topic], Default::default()).await.map_err(text)?;
        match created.into_iter().next() {
            Some((_, Ok(_))) => {
                self.settled(&name, partitions).await?;
                Ok(name)
            }
            other => Err(format!("topic {name} was not created: {other:?}")),
        }
    }

    /// Waits until brokers know a new topic with leaders for all its partitions.
    async fn settled(&self, topic: &str, partitions: i32) -> Outcome {
        eventually(async || {
            let metadata = self.admin.metadata(Topics::Names(vec![topic.to_owned()])).await.map_err(text)?;
            let led = metadata.topics.iter().flat_map(|topic| &topic.partitions).filter(|partition| partition.leader_id >= 0).count();
            ensure(led == partitions as usize, || format!("{topic} has {led} of {partitions} partitions"))
        })
        .await
    }

    pub fn producer(&self) -> Result<Producer, String> {
        Producer::new(self.config()).map_err(text)
    }

    /// Sends `v0`, `v1`, ... to one partition and waits for them.
    pub async fn fill(&self, topic: &str, partition: i32, count: usize) -> Outcome {
        let producer = self.producer()?;
        for number in 0..count {
            let value = format!("v{number}");
            let record = ProducerRecord::new(topic).partition(partition).value(value.as_bytes()).timestamp(1_000 + number as i64);
            drop(producer.send(&record).await.map_err(text)?);
        }
        producer.close(Duration::from_secs(30)).await.map_err(text)
    }

    pub fn consumer(&self, properties: &[(&str, &str)]) -> Result<Consumer, String> {
        let mut config = self.config().with("auto.offset.reset", "earliest");
        config.extend(properties.iter().copied());
        Consumer::new(config).map_err(text)
    }
}

pub fn text(error: client::Error) -> String {
    error.to_string()
}

pub fn ensure(condition: bool, problem: impl FnOnce() -> String) -> Outcome {
    if condition { Ok(()) } else { Err(problem()) }
}

/// Brokers learn of changes a moment after they were made: tries for ten seconds.
pub async fn eventually(attempt: impl AsyncFn() -> Outcome) -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match attempt().await {
            Err(_) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(50)).await,
            outcome => return outcome,
        }
    }
}

/// Polls until `count` records arrived, or fails after 90 seconds.
pub async fn read(consumer: &mut Consumer, count: usize) -> Result<Vec<ConsumerRecord>, String> {
    let mut records = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(90);
    while records.len() < count {
        if Instant::now() > deadline {
            return Err(format!("only {} of {count} records arrived", records.len()));
        }
        records.extend(consumer.poll(Duration::from_millis(500)).await.map_err(text)?);
    }
    Ok(records)
}

pub fn values(records: &[ConsumerRecord]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8_lossy(record.value.as_deref().unwrap_or(b"null")).into_owned()).collect()
}

fn main() {
    // RUST_LOG=client=debug shows what the client does.
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).with_writer(std::io::stderr).init();
    let Ok(bootstrap) = std::env::var("GREGOR_TEST_BOOTSTRAP") else {
        eprintln!(
            "client_conformance: set GREGOR_TEST_BOOTSTRAP to the broker to test against, as in GREGOR_TEST_BOOTSTRAP=localhost:9092"
        );
        std::process::exit(2);
    };
    let parts: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a tokio runtime can be started");
    let failed = runtime.block_on(run(bootstrap, &parts));
    std::process::exit(i32::from(failed > 0));
}

fn all_checks() -> Vec<(&'static str, Check)> {
    [admin::CHECKS, producer::CHECKS, consumer::CHECKS, group::CHECKS, consumer_protocol::CHECKS, plugins::CHECKS, transactions::CHECKS]
        .concat()
}

async fn run(bootstrap: String, parts: &[String]) -> usize {
    let admin = match Admin::connect(Config::bootstrap(&bootstrap)).await {
        Ok(admin) => admin,
        Err(error) => {
            println!("FAILED connect: {error}");
            return 1;
        }
    };
    let run = format!("{:x}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |age| age.as_millis()));
    let bench = Rc::new(Bench { bootstrap, admin, run });
    let places = Rc::new(Semaphore::new(AT_ONCE));
    let local = LocalSet::new();
    let mut running = Vec::new();
    for (name, check) in all_checks() {
        if !parts.is_empty() && !parts.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        let (bench, places) = (bench.clone(), places.clone());
        running.push(local.spawn_local(async move {
            let _place = places.acquire().await;
            let start = Instant::now();
            let outcome = tokio::time::timeout(Duration::from_secs(120), check(&bench)).await;
            let outcome = outcome.unwrap_or_else(|_| Err("no end after 120 s".to_owned()));
            let millis = start.elapsed().as_millis();
            match &outcome {
                Ok(()) => println!("ok     {name} ({millis} ms)"),
                Err(problem) => println!("FAILED {name} ({millis} ms): {problem}"),
            }
            outcome.is_ok()
        }));
    }
    let (mut passed, mut failed) = (0, 0);
    local
        .run_until(async {
            for check in running {
                // A check that panics has failed.
                if check.await.unwrap_or(false) { passed += 1 } else { failed += 1 }
            }
        })
        .await;
    let prefix = bench.name("");
    let topics = bench.admin.list_topics().await.unwrap_or_default();
    let ours: Vec<String> = topics.into_iter().map(|topic| topic.name).filter(|name| name.starts_with(&prefix)).collect();
    // Leftovers do no harm to the next run, whose names differ.
    let _ = bench.admin.delete_topics(&ours).await;
    println!("{passed} passed, {failed} failed");
    failed
}
