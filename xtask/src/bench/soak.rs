//! Half an hour of a bit of everything (`load mixed`), at a modest rate: whether memory, threads or open files grow. Only when asked for.
//!
//! Windows of five minutes are compared, the first of them is left out as warm-up; the verdict is on the difference between the median of the
//! last window and that of the second.

use std::time::{Duration, Instant};

use e2e::Kind;
use e2e::repo::{Scratch, free_port};
use e2e::{Node, http};

use super::bars::{Bar, Limit};
use super::load::command;
use super::measure::{cpu_seconds, resident_mib};
use super::results::{Results, median};
use super::{Part, Plan};

const WINDOWS: u64 = 6;
const RECORDS_PER_SECOND: u64 = 300;

pub const PART: Part = Part {
    name: "soak",
    what: "Half an hour of a bit of everything",
    measure,
    bars: &[Bar { figure: "memory, last window less the second, MiB", limits: &[Limit::AtMost(1.0)] }],
};

/// What is remembered of producers, deleted segments and dirty logs is looked through more than once a window.
const PROPERTIES: &[&str] = &[
    "log.retention.check.interval.ms=10000",
    "log.segment.delete.delay.ms=1000",
    "log.cleaner.backoff.ms=5000",
    "producer.id.expiration.ms=60000",
];

fn measure(plan: &Plan, results: &mut Results) {
    for kind in &plan.kinds {
        let scratch = Scratch::new("bench-soak");
        let mut node = Node::prepare(*kind, &scratch.join("node"), PROPERTIES);
        node.http = (*kind == Kind::Gregor).then(free_port);
        node.heap = "1g";
        node.format();
        node.start_again();
        soak(&node, plan, &mut |name, value| results.add(*kind, name, value));
        node.stop();
    }
}

fn soak(node: &Node, plan: &Plan, add: &mut impl FnMut(&str, f64)) {
    let window = Duration::from_secs(plan.either(300, 4));
    let seconds = window.as_secs() * WINDOWS;
    let args = ["mixed".to_owned(), node.bootstrap(), RECORDS_PER_SECOND.to_string(), seconds.to_string()];
    let mut load = command(&args).spawn().expect("the load generator");
    let (begin, cpu) = (Instant::now(), cpu_seconds(node.pid()));
    let mut medians = Vec::new();
    for n in 1..=WINDOWS {
        let mut resident = Vec::new();
        while begin.elapsed() < window * n as u32 {
            resident.push(resident_mib(node.pid()));
            // Prometheus is part of the mixture.
            if let Some(port) = node.http
                && resident.len() % 15 == 1
            {
                http::get(port, "/metrics", "text/plain").expect("the page");
            }
            std::thread::sleep(Duration::from_secs(1));
        }
        medians.push(median(&resident));
        println!("window {n}: {:.2} MiB resident, {} open files", medians[medians.len() - 1], open_files(node.pid()));
    }
    add("broker CPU, share of a core", (cpu_seconds(node.pid()) - cpu) / begin.elapsed().as_secs_f64());
    assert!(load.wait().expect("its end").success(), "the load generator failed");
    add("memory, second window, MiB", medians[1]);
    add("memory, last window, MiB", medians[medians.len() - 1]);
    add("memory, last window less the second, MiB", medians[medians.len() - 1] - medians[1]);
}

fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the broker runs").count()
}
