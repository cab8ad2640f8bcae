//! `cargo xtask bench`: Apache Kafka 4.3.1, then Gregor, on the same client work, in one go; prints medians, ranges and ratios.
//!
//! The clients are Apache's own perf tools on both sides. CPU is what the broker process used (user and system, /proc/PID/stat), not the clients.

mod compaction;
mod durable;
mod measure;
mod table;
mod work;

use e2e::{Kind, repo};
use std::process::Command;

/// How much work; `--quick` is for trying the benchmark, not for its figures.
#[derive(Clone, Copy)]
pub struct Plan {
    pub runs: usize,
    /// Records of 1 KiB for one produce run and one consume run.
    pub records: u64,
    /// Seconds of the latency run, and its rate.
    pub latency_seconds: u64,
    pub latency_rate: u64,
    pub partitions: &'static [usize],
    pub restarts: usize,
    /// Of one run of producers that wait for the disk.
    pub durable_seconds: u64,
    /// Of the topic that is compacted.
    pub updates: u64,
    /// Only this part.
    part: Option<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Start, throughput, latency, memory and restarts.
    Load,
    Durable,
    Compaction,
}

impl Plan {
    fn wants(&self, part: Part) -> bool {
        self.part.is_none_or(|only| only == part)
    }
}

pub fn main(args: &[String]) -> Result<(), String> {
    let mut plan = Plan {
        runs: 3,
        records: 700_000,
        latency_seconds: 15,
        latency_rate: 2000,
        partitions: &[1000, 4000],
        restarts: 1,
        durable_seconds: 15,
        updates: 10_000_000,
        part: None,
    };
    let mut only = None;
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "--quick" => {
                plan = Plan {
                    runs: 1,
                    records: 100_000,
                    latency_seconds: 5,
                    partitions: &[1000],
                    durable_seconds: 3,
                    updates: 2_000_000,
                    ..plan
                }
            }
            "--runs" => plan.runs = rest.next().and_then(|n| n.parse().ok()).ok_or("--runs needs a number")?,
            "--only" => only = rest.next().map(String::as_str),
            "--part" => {
                plan.part = match rest.next().map(String::as_str) {
                    Some("load") => Some(Part::Load),
                    Some("durable") => Some(Part::Durable),
                    Some("compaction") => Some(Part::Compaction),
                    _ => return Err("--part load, durable or compaction".into()),
                }
            }
            other => {
                return Err(format!(
                    "'{other}' is not known: bench [--quick] [--runs N] [--only apache|gregor] [--part load|durable|compaction]"
                ));
            }
        }
    }
    build_release()?;
    let kinds: &[Kind] = match only {
        None => &[Kind::Apache, Kind::Gregor],
        Some("apache") => &[Kind::Apache],
        Some("gregor") => &[Kind::Gregor],
        Some(other) => return Err(format!("--only {other}: apache or gregor")),
    };
    let mut results: Vec<(Kind, work::Figures)> = kinds.iter().map(|kind| (*kind, work::Figures::new())).collect();
    let add = |results: &mut Vec<(Kind, work::Figures)>, kind: Kind, figures: work::Figures| {
        results.iter_mut().filter(|(k, _)| *k == kind).for_each(|(_, all)| all.extend(figures.clone()));
    };
    if plan.wants(Part::Load) {
        for kind in kinds {
            add(&mut results, *kind, work::measure(*kind, plan));
        }
    }
    if plan.wants(Part::Durable) {
        for (kind, figures) in durable::measure(kinds, plan) {
            add(&mut results, kind, figures);
        }
    }
    if plan.wants(Part::Compaction) {
        for (kind, figures) in compaction::measure(kinds, plan) {
            add(&mut results, kind, figures);
        }
    }
    let text = table::markdown(&results, plan);
    println!("\n{text}");
    let file = repo::root().join("target/bench.md");
    std::fs::write(&file, &text).map_err(|e| format!("{}: {e}", file.display()))?;
    println!("also in target/bench.md");
    Ok(())
}

/// Figures of a debug build mean nothing. GREGOR_BIN names a binary that is there already.
fn build_release() -> Result<(), String> {
    if std::env::var_os("GREGOR_BIN").is_some() {
        return Ok(());
    }
    for what in [&["--package", "cli"][..], &["--package", "client", "--example", "concurrent_producers"]] {
        let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--release"])
            .args(what)
            .current_dir(repo::root())
            .status()
            .map_err(|e| format!("cargo: {e}"))?;
        if !status.success() {
            return Err("building gregor failed".into());
        }
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repo::root().join("target"), Into::into);
    repo::use_gregor(target.join("release/gregor"));
    Ok(())
}
