//! Bulk: what one producer and one consumer move, and the broker's CPU for it. Once with Apache's perf tools (the same client on both brokers, so
//! the broker makes the difference), once with the native client (cheap enough to ask what the broker can do). The brokers take turns.
//!
//! A run writes to new topics of six partitions, with acks=all and idempotence, and deletes them: what stays in the page cache stays below
//! where the kernel begins to write back. The first two runs only warm up, for Apache's compiler.

use std::time::{Duration, Instant};

use e2e::repo::Scratch;
use e2e::{Kind, Node, Tools};

use super::bars::{Bar, Limit};
use super::load::load;
use super::measure::resident_mib;
use super::results::Results;
use super::tools::{last_line, start, timed, tool, topics};
use super::{Part, Plan};

const GB: f64 = 1e9;
const WARM_UP: usize = 2;
const PARTITIONS: &str = "6";
const LARGE: u64 = 1024;
const SMALL: u64 = 100;

const FASTER: Limit = Limit::AtLeastOfApache(1.0);

pub const PART: Part = Part {
    name: "throughput",
    what: "Bulk throughput and what it costs the broker",
    measure,
    bars: &[
        Bar { figure: "Java: produce 1 KiB, MB/s", limits: &[FASTER] },
        Bar { figure: "Java: produce 1 KiB, broker CPU s/GB", limits: &[Limit::AtMostOfApache(1.0 / 3.0), Limit::AtMost(0.6)] },
        Bar { figure: "Java: produce 100 B, million records/s", limits: &[FASTER] },
        Bar { figure: "Java: produce 100 B, broker CPU s/million", limits: &[Limit::AtMostOfApache(0.25)] },
        Bar { figure: "Java: consume, MB/s", limits: &[FASTER] },
        Bar { figure: "Java: consume, broker CPU s/GB", limits: &[Limit::AtMostOfApache(0.5)] },
        Bar { figure: "native: produce 1 KiB, MB/s", limits: &[Limit::AtLeast(1000.0), FASTER] },
        Bar { figure: "native: produce 1 KiB, broker CPU s/GB", limits: &[Limit::AtMostOfApache(1.0 / 3.0), Limit::AtMost(0.6)] },
        Bar { figure: "native: produce 100 B, million records/s", limits: &[Limit::AtLeast(2.5), FASTER] },
        Bar { figure: "native: produce 100 B, broker CPU s/million", limits: &[Limit::AtMostOfApache(0.25)] },
        Bar { figure: "native: consume, MB/s", limits: &[Limit::AtLeast(2000.0), FASTER] },
        Bar { figure: "native: consume, broker CPU s/GB", limits: &[Limit::AtMostOfApache(0.5)] },
    ],
};

fn measure(plan: &Plan, results: &mut Results) {
    let scratch = Scratch::new("bench-throughput");
    let mut running: Vec<(Kind, Node)> = plan.kinds.iter().map(|kind| (*kind, start(*kind, &scratch.join(&format!("{kind:?}"))))).collect();
    let warm_up = if plan.quick { 1 } else { WARM_UP };
    for round in 0..warm_up + plan.runs {
        for (kind, node) in &running {
            let mut ignored = Results::default();
            let counted = if round < warm_up { &mut ignored } else { &mut *results };
            for tools in [Tools::Apache, Tools::Gregor] {
                run(node, plan, round, tools, &mut |name, value| counted.add(*kind, &format!("{}: {name}", of(tools)), value));
            }
        }
    }
    limit(plan, &scratch, results);
    for (kind, node) in &mut running {
        results.add(*kind, "memory after it, MiB", resident_mib(node.pid()));
        node.stop();
    }
}

/// What receiving, checking, writing and sending the same bytes takes without a broker.
fn limit(plan: &Plan, scratch: &Scratch, results: &mut Results) {
    let dir = scratch.join("limit").display().to_string();
    for _ in 0..plan.runs {
        for (batch_bytes, name) in [("65140", "batches of 64 KiB"), ("16384", "batches of 16 KiB")] {
            let figures = load(&["limit", &dir, batch_bytes, &plan.either(700, 50).to_string()], Duration::from_secs(60));
            for (work, of) in [("receive", "receiving"), ("checksum", "checksums"), ("write", "writing"), ("send", "sending")] {
                results.add(Kind::Gregor, &format!("no broker: {of} {name}, CPU s/GB"), figures[&format!("{work}_s_per_gb")]);
            }
        }
    }
}

fn of(tools: Tools) -> &'static str {
    match tools {
        Tools::Apache => "Java",
        Tools::Gregor => "native",
    }
}

fn run(node: &Node, plan: &Plan, round: usize, tools: Tools, add: &mut impl FnMut(&str, f64)) {
    // The native client is several times faster; enough for a second at least.
    let (large, small) = match tools {
        Tools::Apache => (plan.either(700_000, 50_000), plan.either(2_000_000, 100_000)),
        Tools::Gregor => (plan.either(1_200_000, 50_000), plan.either(5_000_000, 100_000)),
    };
    let names = [LARGE, SMALL].map(|bytes| format!("{}-{bytes}-{round}", of(tools)));
    for name in &names {
        topics(node, &["--create", "--topic", name, "--partitions", PARTITIONS]);
    }
    let (gigabytes, millions) = ((large * LARGE) as f64 / GB, small as f64 / 1e6);
    let (seconds, cpu) = timed(node, || produce(node, tools, &names[0], LARGE, large));
    add("produce 1 KiB, MB/s", gigabytes * 1000.0 / seconds);
    add("produce 1 KiB, broker CPU s/GB", cpu / gigabytes);
    let (seconds, cpu) = timed(node, || consume(node, tools, &names[0], large));
    add("consume, MB/s", gigabytes * 1000.0 / seconds);
    add("consume, broker CPU s/GB", cpu / gigabytes);
    let (seconds, cpu) = timed(node, || produce(node, tools, &names[1], SMALL, small));
    add("produce 100 B, million records/s", millions / seconds);
    add("produce 100 B, broker CPU s/million", cpu / millions);
    for name in &names {
        topics(node, &["--delete", "--topic", name]);
    }
    // The files are deleted one second later.
    std::thread::sleep(Duration::from_millis(1500));
}

/// Gives the seconds the producer itself measured, without its start.
fn produce(node: &Node, tools: Tools, topic: &str, bytes: u64, records: u64) -> f64 {
    let (broker, count, size) = (format!("bootstrap.servers={}", node.bootstrap()), records.to_string(), bytes.to_string());
    let mut args = vec!["--topic", topic, "--num-records", &count, "--record-size", &size, "--throughput", "-1"];
    args.extend(["--command-property", &broker, "acks=all"]);
    if bytes == LARGE {
        args.push("batch.size=65536");
    }
    let out = tool(tools, "kafka-producer-perf-test", &args);
    let rate = last_line(&out).split(", ").find_map(|p| p.split(" records/sec").next()?.parse::<f64>().ok());
    records as f64 / rate.unwrap_or_else(|| panic!("no rate in: {out}"))
}

/// Gives the seconds of fetching the consumer itself measured, without its start and rebalance.
fn consume(node: &Node, tools: Tools, topic: &str, records: u64) -> f64 {
    let (broker, count) = (node.bootstrap(), records.to_string());
    let mut args = vec!["--topic", topic, "--bootstrap-server", &broker, "--num-records", &count, "--group", topic];
    args.extend(["--hide-header", "--timeout", "60000"]);
    let begin = Instant::now();
    let out = tool(tools, "kafka-consumer-perf-test", &args);
    let fields: Vec<&str> = last_line(&out).split(", ").collect();
    // start, end, MB, MB/s, records, records/s, rebalance ms, fetch ms, ...
    fields.get(7).and_then(|ms| ms.parse::<f64>().ok()).map_or(begin.elapsed().as_secs_f64(), |ms| ms / 1000.0)
}
