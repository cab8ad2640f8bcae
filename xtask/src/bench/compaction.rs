//! Compaction: a topic of many updates over few keys is written once; each broker then starts on a copy and cleans it with one thread. The
//! time is what each says of it in its own log, from the start of the cleaning to its end; memory is the most that the process ever had.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::process::run;
use e2e::repo::Scratch;
use e2e::{Kind, Node, clients};

use super::measure::{cpu_seconds, resident_mib_max};
use super::results::Results;
use super::tools::topics;
use super::{Part, Plan};

const TOPIC: &str = "updates";
const KEYS: u64 = 100_000;
const VALUE_BYTES: u64 = 100;
const LIMIT: Duration = Duration::from_secs(900);

pub const PART: Part = Part { name: "compaction", what: "Compaction", measure, bars: &[] };

fn measure(plan: &Plan, results: &mut Results) {
    let updates = plan.either(10_000_000, 2_000_000);
    println!("{updates} updates over {KEYS} keys");
    let scratch = Scratch::new("bench-compaction");
    let prepared = scratch.join("prepared");
    prepare(&prepared, updates);
    for _ in 0..plan.runs {
        for kind in &plan.kinds {
            let dir = scratch.join("copy");
            copy(&prepared, &dir);
            let before = size(&dir);
            let cleaned = clean(*kind, &dir);
            println!("{kind:?}: {before} to {} bytes", size(&dir));
            let mut add = |name: &str, value: f64| results.add(*kind, &format!("compaction: {name}"), value);
            add("time, s", cleaned.seconds);
            add("broker CPU from start to the end of cleaning, s", cleaned.cpu);
            add("most memory, MiB", cleaned.memory);
            add("bytes left, share", size(&dir) as f64 / before as f64);
            std::fs::remove_dir_all(&dir).expect("the copy");
        }
    }
}

fn prepare(dir: &Path, updates: u64) {
    let mut node = Node::start(Kind::Gregor, dir, &["log.cleaner.enable=false"]);
    let config = ["cleanup.policy=compact", "segment.bytes=104857600", "segment.ms=1000"];
    let mut args = vec!["--create", "--topic", TOPIC, "--partitions", "1"];
    args.extend(config.iter().flat_map(|config| ["--config", config]));
    topics(&node, &args);
    let send = |count: u64| {
        let numbers = [count, KEYS, VALUE_BYTES].map(|n| n.to_string());
        let broker = node.bootstrap();
        let mut args = vec![broker.as_str(), TOPIC];
        args.extend(numbers.iter().map(String::as_str));
        run(&mut clients::java_command("Updates", &args), "", LIMIT).ok();
    };
    send(updates);
    // A second later this one goes to a segment of its own, so that all before it can be cleaned.
    std::thread::sleep(Duration::from_millis(1100));
    send(1);
    node.stop();
}

/// With nothing left for the kernel to write, so that every run begins alike.
fn copy(from: &Path, to: &Path) {
    for command in [Command::new("cp").arg("-a").args([from, to]), &mut Command::new("sync")] {
        assert!(command.status().is_ok_and(|status| status.success()), "{command:?}");
    }
}

/// Bytes of the topic's segments, without those that wait for their removal.
fn size(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir.join(format!("data/{TOPIC}-0"))).expect("the partition").map(|entry| entry.expect("an entry"));
    let logs = files.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "log"));
    logs.map(|entry| entry.metadata().expect("a segment").len()).sum()
}

#[derive(Debug)]
struct Cleaned {
    seconds: f64,
    cpu: f64,
    memory: f64,
}

fn clean(kind: Kind, dir: &Path) -> Cleaned {
    let mut node = Node::prepare(kind, dir, &["log.cleaner.threads=1", "log.cleaner.backoff.ms=1000"]);
    node.heap = "1g";
    node.clear_log();
    node.start_again();
    let begin = Instant::now();
    let seconds = loop {
        if let Some(seconds) = seconds_said(kind, &node.log()) {
            break seconds;
        }
        assert!(begin.elapsed() < LIMIT, "not cleaned:\n{}", node.log());
        std::thread::sleep(Duration::from_millis(50));
    };
    let cleaned = Cleaned { seconds, cpu: cpu_seconds(node.pid()), memory: resident_mib_max(node.pid()) };
    node.stop();
    cleaned
}

/// What the broker's log says of how long the cleaning of the topic took.
fn seconds_said(kind: Kind, log: &str) -> Option<f64> {
    match kind {
        Kind::Gregor => {
            let line = log.lines().find(|line| line.contains("cleaned a log") && line.contains(&format!("{TOPIC}-0")))?;
            let (_, after) = line.split_once("total_ms=")?;
            Some(after.split_whitespace().next()?.parse::<f64>().ok()? / 1000.0)
        }
        Kind::Apache => {
            // "... cleaned log updates-0 (dirty section = [0, 10000000])", then "1,203.4 MB of log processed in 12.3 seconds (97.8 MB/sec)."
            let (_, after) = log.split_once(&format!("cleaned log {TOPIC}-0 "))?;
            let (_, after) = after.split_once(" of log processed in ")?;
            after.split_whitespace().next()?.replace(',', "").parse().ok()
        }
    }
}
