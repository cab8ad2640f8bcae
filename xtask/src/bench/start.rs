//! How long it takes until a broker serves: an empty one, and one with 4,000 partitions, with little and with much in them, after a clean stop
//! and after kill -9; and how much it reads for that. Ready is when all partitions have a leader.

use std::path::Path;
use std::time::Duration;

use e2e::repo::Scratch;
use e2e::{Kind, Node};

use super::bars::{Bar, Limit};
use super::load::load;
use super::measure::{all_led, answers_metadata, read_mib, seconds_until};
use super::results::Results;
use super::tools::start;
use super::{Part, Plan};

pub const PART: Part = Part { name: "start", what: "Start and restart", measure, bars: BARS };

const BARS: &[Bar] = &[
    Bar { figure: "empty, s", limits: &[Limit::AtMost(0.05)] },
    Bar { figure: "4,000 partitions, little data, clean, s", limits: &[Limit::AtMost(0.4)] },
    Bar { figure: "4,000 partitions, much data, clean, s", limits: &[Limit::AtMost(0.4)] },
    Bar { figure: "4,000 partitions, little data, after kill -9, nothing of it flushed, s", limits: &[Limit::AtMost(1.0)] },
    Bar { figure: "4,000 partitions, much data, after kill -9, all of it flushed, s", limits: &[Limit::AtMost(1.0)] },
    Bar { figure: "4,000 partitions, much data, after kill -9, a little not flushed, s", limits: &[Limit::AtMost(1.0)] },
];

const PARTITIONS: usize = 4000;
const TOPIC: &str = "many";
/// Of one batch.
const BYTES: u64 = 4 << 10;

fn measure(plan: &Plan, results: &mut Results) {
    let scratch = Scratch::new("bench-start");
    for kind in &plan.kinds {
        let mut add = |name: &str, value: f64| results.add(*kind, name, value);
        let mut node = start(*kind, &scratch.join(&format!("empty-{kind:?}")));
        node.stop();
        for _ in 0..plan.runs {
            add("empty, s", seconds_until(&mut node, answers_metadata));
            node.stop();
        }
        // Apache takes half a minute each time.
        let runs = if *kind == Kind::Apache { 1 } else { plan.runs };
        many(*kind, plan, runs, &scratch.join(&format!("many-{kind:?}")), &mut add);
    }
}

fn many(kind: Kind, plan: &Plan, runs: usize, dir: &Path, add: &mut impl FnMut(&str, f64)) {
    let mut node = start(kind, dir);
    let name = format!("{TOPIC}-0");
    load(&["topics", "create", &node.bootstrap(), TOPIC, "1", &PARTITIONS.to_string()], Duration::from_secs(120));
    e2e::wait::until("all partitions have leaders", || all_led(node.port, &name, PARTITIONS).then_some(()));
    let mut again = |node: &mut Node, how: &str| {
        add(&format!("4,000 partitions, {how}, s"), seconds_until(node, |port| all_led(port, &name, PARTITIONS)));
        add(&format!("4,000 partitions, {how}, MiB read"), read_mib(node.pid()));
    };
    fill(&node, 1);
    for _ in 0..runs {
        node.kill();
        again(&mut node, "little data, after kill -9, nothing of it flushed");
    }
    for _ in 0..runs {
        node.stop();
        again(&mut node, "little data, clean");
    }
    fill(&node, plan.either(100, 10));
    for _ in 0..runs {
        node.stop();
        again(&mut node, "much data, clean");
    }
    for _ in 0..runs {
        node.kill();
        again(&mut node, "much data, after kill -9, all of it flushed");
    }
    fill(&node, 1);
    for _ in 0..runs {
        node.kill();
        again(&mut node, "much data, after kill -9, a little not flushed");
    }
    node.stop();
}

fn fill(node: &Node, batches: u64) {
    let [partitions, batches, bytes] = [PARTITIONS as u64, batches, BYTES].map(|n| n.to_string());
    load(&["topics", "fill", &node.bootstrap(), TOPIC, "1", &partitions, &batches, &bytes], Duration::from_secs(300));
}
