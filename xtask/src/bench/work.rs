//! The work one broker is measured on.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::process::run;
use e2e::repo::Scratch;
use e2e::{Kind, Node, Tools, raw};

use super::measure::{all_led, cpu_seconds, resident_mib, seconds_until};
use super::results::Results;
use super::{Part, Plan};

const GB: f64 = 1e9;
const RECORD: u64 = 1024;
/// Records a second of the latency run.
const LATENCY_RATE: u64 = 2000;
/// Room for the load of a run; the brokers write where the tests do.
const KEEP: &[&str] = &["log.retention.check.interval.ms=3600000", "log.segment.delete.delay.ms=1000"];

pub const PART: Part = Part { name: "load", what: "Start, throughput, latency and memory", measure, bars: &[] };

fn measure(plan: &Plan, results: &mut Results) {
    for kind in &plan.kinds {
        let scratch = Scratch::new("bench");
        let mut add = |name: &str, value: f64| results.add(*kind, name, value);
        load(*kind, plan, &scratch.join("load"), &mut add);
        for count in if plan.quick { &[1000][..] } else { &[1000, 4000] } {
            restarts(*kind, *count, &scratch.join(&format!("restart-{count}")), &mut add);
        }
    }
}

fn load(kind: Kind, plan: &Plan, dir: &Path, add: &mut impl FnMut(&str, f64)) {
    let records = plan.either(700_000, 100_000);
    let mut node = start(kind, dir);
    node.stop();
    for _ in 0..plan.runs {
        add("start, s", seconds_until(&mut node, raw::answers));
        node.stop();
    }
    node.start_again();
    std::thread::sleep(Duration::from_secs(5));
    add("memory idle, MiB", resident_mib(node.pid()));
    println!("{kind:?}: warming up by a full run");
    for run in 0..=plan.runs {
        let topic = format!("bench-{run}");
        topics(&node, &["--create", "--topic", &topic, "--partitions", "6"]);
        let (seconds, cpu) = timed(&node, || produce(&node, &topic, records));
        let gigabytes = (records * RECORD) as f64 / GB;
        let (read_seconds, read_cpu) = timed(&node, || consume(&node, &topic, records));
        if run > 0 {
            add("produce, MB/s", gigabytes * 1000.0 / seconds);
            add("produce, broker CPU s/GB", cpu / gigabytes);
            add("consume, MB/s", gigabytes * 1000.0 / read_seconds);
            add("consume, broker CPU s/GB", read_cpu / gigabytes);
        }
        topics(&node, &["--delete", "--topic", &topic]);
        std::thread::sleep(Duration::from_secs(2)); // its files are deleted one second later
    }
    add("memory after load, MiB", resident_mib(node.pid()));
    topics(&node, &["--create", "--topic", "latency", "--partitions", "1"]);
    for run in 0..=plan.runs {
        let percentiles = latency(&node, plan);
        if run > 0 {
            for (name, value) in ["50th", "95th", "99th", "99.9th"].iter().zip(percentiles) {
                add(&format!("latency at {} records/s, {name}, ms", LATENCY_RATE), value);
            }
        }
    }
    node.stop();
}

pub fn start(kind: Kind, dir: &Path) -> Node {
    let mut node = Node::prepare(kind, dir, KEEP);
    node.heap = "1g";
    node.format();
    node.start_again();
    node
}

/// Wall seconds and broker CPU seconds of some work.
fn timed(node: &Node, work: impl FnOnce() -> f64) -> (f64, f64) {
    let before = cpu_seconds(node.pid());
    let seconds = work();
    (seconds, cpu_seconds(node.pid()) - before)
}

pub fn topics(node: &Node, args: &[&str]) {
    let broker = node.bootstrap();
    let mut all = args.to_vec();
    all.extend(["--bootstrap-server", &broker]);
    perf_tool("kafka-topics", &all);
}

/// One of Apache's tools, with the compiler that long runs want.
fn perf_tool(tool: &str, args: &[&str]) -> String {
    let mut command: Command = Tools::Apache.command(tool, args);
    run(command.env("TIERED_STOP_AT_LEVEL", "4"), "", Duration::from_secs(600)).ok()
}

/// Gives the seconds the producer itself measured, without its start.
fn produce(node: &Node, topic: &str, records: u64) -> f64 {
    let (broker, count) = (format!("bootstrap.servers={}", node.bootstrap()), records.to_string());
    let out = perf_tool(
        "kafka-producer-perf-test",
        &[
            "--topic",
            topic,
            "--num-records",
            &count,
            "--record-size",
            "1024",
            "--throughput",
            "-1",
            "--command-property",
            &broker,
            "batch.size=65536",
            "linger.ms=5",
            "acks=all",
        ],
    );
    let rate = last_line(&out).split(", ").find_map(|p| p.split(" records/sec").next()?.parse::<f64>().ok());
    records as f64 / rate.unwrap_or_else(|| panic!("no rate in: {out}"))
}

/// Gives the seconds of fetching the consumer itself measured, without its start and rebalance.
fn consume(node: &Node, topic: &str, records: u64) -> f64 {
    let (broker, count) = (node.bootstrap(), records.to_string());
    let begin = Instant::now();
    let out = perf_tool(
        "kafka-consumer-perf-test",
        &[
            "--topic",
            topic,
            "--bootstrap-server",
            &broker,
            "--num-records",
            &count,
            "--group",
            topic,
            "--hide-header",
            "--timeout",
            "60000",
        ],
    );
    let fields: Vec<&str> = last_line(&out).split(", ").collect();
    // start, end, MB, MB/s, records, records/s, rebalance ms, fetch ms, ...
    fields.get(7).and_then(|ms| ms.parse::<f64>().ok()).map_or(begin.elapsed().as_secs_f64(), |ms| ms / 1000.0)
}

fn latency(node: &Node, plan: &Plan) -> Vec<f64> {
    let broker = format!("bootstrap.servers={}", node.bootstrap());
    let (count, rate) = ((LATENCY_RATE * plan.either(15, 5)).to_string(), LATENCY_RATE.to_string());
    let out = perf_tool(
        "kafka-producer-perf-test",
        &[
            "--topic",
            "latency",
            "--num-records",
            &count,
            "--record-size",
            "1024",
            "--throughput",
            &rate,
            "--command-property",
            &broker,
            "linger.ms=0",
            "acks=all",
        ],
    );
    let of = |name: &str| last_line(&out).split(", ").find_map(|p| p.strip_suffix(&format!(" ms {name}"))?.trim().parse::<f64>().ok());
    ["50th", "95th", "99th", "99.9th"]
        .iter()
        .map(|n| of(n).or_else(|| of(&format!("{n}."))).unwrap_or_else(|| panic!("no {n} in: {out}")))
        .collect()
}

fn last_line(out: &str) -> &str {
    out.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("").trim_end_matches('.')
}

/// Restart with many partitions that all hold records: after a clean stop, and after kill -9. Ready is when all of them have a leader.
fn restarts(kind: Kind, count: usize, dir: &Path, add: &mut impl FnMut(&str, f64)) {
    let mut node = start(kind, dir);
    topics(&node, &["--create", "--topic", "many", "--partitions", &count.to_string()]);
    e2e::wait::until("all partitions have leaders", || all_led(node.port, "many", count).then_some(()));
    let broker = format!("bootstrap.servers={}", node.bootstrap());
    let records = (count * 20).to_string();
    perf_tool(
        "kafka-producer-perf-test",
        &[
            "--topic",
            "many",
            "--num-records",
            &records,
            "--record-size",
            "200",
            "--throughput",
            "-1",
            "--command-property",
            &broker,
            "partitioner.class=org.apache.kafka.clients.producer.RoundRobinPartitioner",
            "linger.ms=50",
        ],
    );
    {
        node.stop();
        add(&format!("restart of {count} partitions, clean, s"), seconds_until(&mut node, |port| all_led(port, "many", count)));
        node.kill();
        add(&format!("restart of {count} partitions, after kill -9, s"), seconds_until(&mut node, |port| all_led(port, "many", count)));
    }
    add(&format!("memory with {count} partitions, MiB"), resident_mib(node.pid()));
    node.stop();
}
