//! Brokers and Apache's tools as the parts of the benchmark run them.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use e2e::process::run;
use e2e::{Kind, Node, Tools};

use super::measure::cpu_seconds;

/// Room for the load of a run; the brokers write where the tests do.
const KEEP: &[&str] = &["log.retention.check.interval.ms=3600000", "log.segment.delete.delay.ms=1000"];

pub fn start(kind: Kind, dir: &Path) -> Node {
    let mut node = Node::prepare(kind, dir, KEEP);
    node.heap = "1g";
    node.format();
    node.start_again();
    node
}

/// Wall seconds, as `work` tells them, and broker CPU seconds of some work.
pub fn timed(node: &Node, work: impl FnOnce() -> f64) -> (f64, f64) {
    let before = cpu_seconds(node.pid());
    let seconds = work();
    (seconds, cpu_seconds(node.pid()) - before)
}

pub fn topics(node: &Node, args: &[&str]) {
    let broker = node.bootstrap();
    let mut all = args.to_vec();
    all.extend(["--bootstrap-server", &broker]);
    tool(Tools::Gregor, "kafka-topics", &all);
}

/// Runs a tool and gives what it prints; Apache's with the compiler that long runs want.
pub fn tool(tools: Tools, name: &str, args: &[&str]) -> String {
    let mut command: Command = tools.command(name, args);
    run(command.env("TIERED_STOP_AT_LEVEL", "4"), "", Duration::from_secs(600)).ok()
}

pub fn last_line(out: &str) -> &str {
    out.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("").trim_end_matches('.')
}
