//! Tail latencies of a paced load, with coordinated omission accounted for: a record's latency counts from the moment it was due, not from when
//! it could be sent. What else goes on meanwhile is chosen by name: segments that roll and are deleted, a compacted topic, and a reader of
//! old data that is in no page cache.
//!
//! Raw messages on plain sockets, a thread each for producing and consuming, so that the load costs little and measures the broker.

mod cold;
mod connection;
mod consumer;
mod producer;
mod updates;

use crate::Result;
use crate::figures::Figures;
use client::admin::{CreateTopicsOptions, NewTopic};
use client::{Admin, Config};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// Of every topic; there is a producer for each.
const PARTITIONS: i32 = 4;
/// Until then nothing is counted: connections and caches warm up.
const WARM_UP: Duration = Duration::from_secs(1);
/// What is late at the end is waited for this long.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone)]
struct Plan {
    bootstrap: String,
    records_per_second: u32,
    record_bytes: usize,
    seconds: u64,
    rolls: bool,
    compaction: bool,
    cold: Option<Cold>,
    /// The broker's log directory, to drop the pages of old data from the page cache.
    dir: PathBuf,
}

/// How fast old data is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cold {
    DiskRate,
    FlatOut,
}

impl Plan {
    fn topic(&self) -> &'static str {
        if self.rolls { "tail-rolls" } else { "tail" }
    }
}

pub fn run(args: &[String]) -> Result<Figures> {
    let [bootstrap, records_per_second, record_bytes, seconds, background, dir] = args else {
        return Err("tail BOOTSTRAP RECORDS_PER_SECOND RECORD_BYTES SECONDS none|rolls,compaction,cold,cold-flat-out DIR".into());
    };
    let names: Vec<&str> = background.split(',').collect();
    if let Some(unknown) = names.iter().find(|name| !["none", "rolls", "compaction", "cold", "cold-flat-out"].contains(name)) {
        return Err(format!("'{unknown}' is not known").into());
    }
    let plan = Plan {
        bootstrap: bootstrap.clone(),
        records_per_second: records_per_second.parse()?,
        record_bytes: record_bytes.parse()?,
        seconds: seconds.parse()?,
        rolls: names.contains(&"rolls"),
        compaction: names.contains(&"compaction"),
        cold: match names.contains(&"cold-flat-out") {
            true => Some(Cold::FlatOut),
            false => names.contains(&"cold").then_some(Cold::DiskRate),
        },
        dir: dir.into(),
    };
    let created = tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(create_topics(&plan))?;
    if created.iter().any(|name| name == cold::TOPIC) {
        cold::fill(&plan)?;
    }
    measure(&plan)
}

/// Gives the names of those that were not there.
async fn create_topics(plan: &Plan) -> Result<Vec<String>> {
    let topic = |name: &str, configs: &[(&str, &str)]| {
        configs.iter().fold(NewTopic::new(name, PARTITIONS, 1), |topic, (name, value)| topic.config(*name, value))
    };
    let mut wanted = vec![match plan.rolls {
        true => topic(plan.topic(), &[("segment.bytes", "4194304"), ("retention.bytes", "16777216"), ("file.delete.delay.ms", "1000")]),
        false => topic(plan.topic(), &[]),
    }];
    if plan.compaction {
        let small = [("cleanup.policy", "compact"), ("segment.bytes", "1048576"), ("min.cleanable.dirty.ratio", "0.01")];
        wanted.push(topic(updates::TOPIC, &small));
    }
    if plan.cold.is_some() {
        wanted.push(topic(cold::TOPIC, &[("segment.bytes", "67108864")]));
    }
    let admin = Admin::connect(Config::bootstrap(&plan.bootstrap)).await?;
    let mut created = Vec::new();
    for (name, result) in admin.create_topics(wanted, CreateTopicsOptions::default()).await? {
        match result {
            Ok(_) => created.push(name),
            Err(error) if error.to_string().contains("already exists") => {}
            Err(error) => return Err(format!("{name}: {error}").into()),
        }
    }
    Ok(created)
}

fn measure(plan: &Plan) -> Result<Figures> {
    let begin = Instant::now();
    let running = Arc::new(AtomicBool::new(true));
    let mut background = Vec::new();
    if plan.compaction {
        let (plan, running) = (plan.clone(), running.clone());
        background.push(thread::spawn(move || updates::run(&plan, &running).map_err(|e| e.to_string())));
    }
    if plan.cold.is_some() {
        let (plan, running) = (plan.clone(), running.clone());
        background.push(thread::spawn(move || cold::run(&plan, &running).map_err(|e| e.to_string())));
    }
    let start = Instant::now() + Duration::from_millis(200);
    let span = Span { start, count_from: start + WARM_UP, end: start + WARM_UP + Duration::from_secs(plan.seconds) };
    let mut consumer = consumer::Consumer::open(plan)?;
    let consuming = thread::spawn(move || consumer.run(span).map_err(|e| e.to_string()));
    let produced = producer::run(plan, span)?;
    let consumed = consuming.join().map_err(|_| "the consumer panicked")??;
    running.store(false, Relaxed);
    let mut figures = Figures::default();
    figures.add("seconds", begin.elapsed().as_secs_f64());
    figures.add("records", produced.answers.len() as f64);
    figures.add("consumed", consumed.len() as f64);
    figures.add_latencies("answer", produced.answers);
    figures.add_latencies("end_to_end", consumed);
    figures.add_latencies("late", produced.late);
    for thread in background {
        let (name, value) = thread.join().map_err(|_| "a thread panicked")??;
        figures.add(name, value);
    }
    Ok(figures)
}

/// What is due at or after `count_from` and before `end` counts.
#[derive(Clone, Copy)]
struct Span {
    start: Instant,
    count_from: Instant,
    end: Instant,
}

impl Span {
    fn counts(&self, due: Instant) -> bool {
        due >= self.count_from && due < self.end
    }
}

/// What is measured stands for clients on machines of their own: it does not queue for a processor behind the broker and its other clients, if
/// the system lets it.
pub fn step_forward() {
    let _ = rustix::process::nice(-15);
    // Sleeps end when they should, not up to 50 us later.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
}

/// What goes on in the background stands for clients on other machines: where processors are short, it leaves them to the broker and to what is
/// measured.
fn step_back() {
    let _ = rustix::process::nice(10);
}
