//! How long it takes until a broker serves: an empty one, and one with many partitions, after a clean stop and after kill -9.

use std::path::Path;

use e2e::repo::Scratch;
use e2e::{Kind, Tools, raw};

use super::measure::{all_led, resident_mib, seconds_until};
use super::results::Results;
use super::tools::{start, tool, topics};
use super::{Part, Plan};

pub const PART: Part = Part { name: "start", what: "Start and restart", measure, bars: &[] };

fn measure(plan: &Plan, results: &mut Results) {
    for kind in &plan.kinds {
        let scratch = Scratch::new("bench-start");
        let mut add = |name: &str, value: f64| results.add(*kind, name, value);
        let mut node = start(*kind, &scratch.join("empty"));
        node.stop();
        for _ in 0..plan.runs {
            add("start, s", seconds_until(&mut node, raw::answers));
            node.stop();
        }
        for count in if plan.quick { &[1000][..] } else { &[1000, 4000] } {
            restarts(*kind, *count, &scratch.join(&format!("restart-{count}")), &mut add);
        }
    }
}

/// Restart with many partitions that all hold records: after a clean stop, and after kill -9. Ready is when all of them have a leader.
fn restarts(kind: Kind, count: usize, dir: &Path, add: &mut impl FnMut(&str, f64)) {
    let mut node = start(kind, dir);
    topics(&node, &["--create", "--topic", "many", "--partitions", &count.to_string()]);
    e2e::wait::until("all partitions have leaders", || all_led(node.port, "many", count).then_some(()));
    let broker = format!("bootstrap.servers={}", node.bootstrap());
    let records = (count * 20).to_string();
    tool(
        Tools::Apache,
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
    node.stop();
    add(&format!("restart of {count} partitions, clean, s"), seconds_until(&mut node, |port| all_led(port, "many", count)));
    node.kill();
    add(&format!("restart of {count} partitions, after kill -9, s"), seconds_until(&mut node, |port| all_led(port, "many", count)));
    add(&format!("memory with {count} partitions, MiB"), resident_mib(node.pid()));
    node.stop();
}
