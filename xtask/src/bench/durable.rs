//! Acknowledgements that wait for the disk: `flush.messages=1`, acks=all, 16 producers at a time. Both brokers run all the time and take turns,
//! so that a machine that is busy with other things is so for both. The producers are `client`'s example `concurrent_producers`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use e2e::process::run;
use e2e::repo::{self, Scratch};
use e2e::{Kind, Node};

use super::Plan;
use super::work::{Figures, start, topics};

const PRODUCERS: usize = 16;
const RECORD_BYTES: usize = 100;
/// (partitions, records that a producer has unanswered at most)
const CASES: [(usize, usize); 3] = [(1, 1), (1, 16), (16, 1)];

pub fn measure(kinds: &[Kind], plan: Plan) -> Vec<(Kind, Figures)> {
    println!("\n== durable acknowledgements");
    let program = program();
    let scratch = Scratch::new("bench-durable");
    let mut running: Vec<(Kind, Node, Figures)> =
        kinds.iter().map(|kind| (*kind, start(*kind, &scratch.join(&format!("{kind:?}"))), Figures::new())).collect();
    for (_, node, _) in &running {
        for partitions in [1, 16] {
            let (topic, partitions) = (format!("durable-{partitions}"), partitions.to_string());
            topics(node, &["--create", "--topic", &topic, "--partitions", &partitions, "--config", "flush.messages=1"]);
        }
    }
    for run in 0..=plan.runs {
        for (partitions, window) in CASES {
            for (kind, node, figures) in &mut running {
                let (rate, micros) = produce(&program, node, partitions, window, plan.durable_seconds);
                // The first is for warming up.
                if run == 0 {
                    continue;
                }
                let waiting =
                    if window == 1 { "each waiting for its answer".to_owned() } else { format!("each with up to {window} unanswered") };
                let name = format!("durable: {PRODUCERS} producers, {waiting}, partitions {partitions}");
                println!("{kind:?}: {name}: {rate:.0} records/s, 99 % within {micros} us");
                figures.entry(format!("{name}, records/s")).or_default().push(rate);
                figures.entry(format!("{name}, 99th, ms")).or_default().push(micros / 1000.0);
            }
        }
    }
    running
        .into_iter()
        .map(|(kind, mut node, figures)| {
            node.stop();
            (kind, figures)
        })
        .collect()
}

/// Records a second, and the 99th percentile in microseconds.
fn produce(program: &Path, node: &Node, partitions: usize, window: usize, seconds: u64) -> (f64, f64) {
    let topic = format!("durable-{partitions}");
    let numbers = [PRODUCERS, window, RECORD_BYTES].map(|n| n.to_string());
    let mut command = Command::new(program);
    command.args([node.bootstrap(), topic]).args(&numbers).arg(seconds.to_string());
    let out = run(&mut command, "", Duration::from_secs(seconds + 120)).ok();
    // 51234 records/sec, 310 us 50th, 900 us 99th, 512340 records
    let number = |unit: &str| out.trim().split(", ").find_map(|part| part.strip_suffix(unit)?.trim().parse::<f64>().ok());
    let found = number(" records/sec").zip(number(" us 99th"));
    found.unwrap_or_else(|| panic!("no figures in: {out}"))
}

/// Built with the release, beside the broker.
fn program() -> PathBuf {
    let path = repo::gregor().with_file_name("examples").join("concurrent_producers");
    assert!(path.exists(), "{} is missing: cargo build --release -p client --example concurrent_producers", path.display());
    path
}
