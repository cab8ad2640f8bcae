//! `cargo xtask bench`: Apache Kafka 4.3.1 and Gregor on the same client work in one go; prints medians, ranges, ratios and whether bars are met.
//!
//! The work is in parts, a file each. CPU is what the broker process used (user and system, /proc/PID/stat), not the clients.

mod bars;
mod compaction;
mod compressed;
mod connections;
mod durable;
mod groups;
mod keyed;
mod load;
mod many;
mod measure;
mod memory;
mod results;
mod scrape;
mod small;
mod soak;
mod spread;
mod start;
mod table;
mod tail;
mod throughput;
mod tools;

use bars::Bar;
use e2e::{Kind, repo};
use results::Results;
use std::process::Command;

/// Every part is independent of the others, starts its own brokers and ends them.
struct Part {
    /// As `--part` names it.
    name: &'static str,
    /// Its title in the table.
    what: &'static str,
    measure: fn(&Plan, &mut Results),
    bars: &'static [Bar],
}

const PARTS: &[Part] = &[
    throughput::PART,
    start::PART,
    many::PART,
    durable::PART,
    compaction::PART,
    compressed::PART,
    tail::PART,
    groups::PART,
    small::PART,
    spread::PART,
    keyed::PART,
    memory::PART,
    connections::PART,
    scrape::PART,
];

/// These take too long for a run of all parts.
const ONLY_WHEN_ASKED_FOR: &[Part] = &[soak::PART];

/// How much work.
struct Plan {
    /// That count; parts warm up before.
    runs: usize,
    /// For trying the benchmark, not for its figures.
    quick: bool,
    kinds: Vec<Kind>,
}

impl Plan {
    /// The amount of work, or the one for trying.
    fn either(&self, full: u64, quick: u64) -> u64 {
        if self.quick { quick } else { full }
    }
}

pub fn main(args: &[String]) -> Result<(), String> {
    let mut plan = Plan { runs: 5, quick: false, kinds: vec![Kind::Apache, Kind::Gregor] };
    let mut wanted: Vec<&str> = Vec::new();
    let mut rest = args.iter().map(String::as_str);
    while let Some(arg) = rest.next() {
        match arg {
            "--quick" => (plan.quick, plan.runs) = (true, 1),
            "--runs" => plan.runs = rest.next().and_then(|n| n.parse().ok()).ok_or("--runs needs a number")?,
            "--only" => {
                plan.kinds = match rest.next() {
                    Some("apache") => vec![Kind::Apache],
                    Some("gregor") => vec![Kind::Gregor],
                    _ => return Err("--only apache or gregor".into()),
                }
            }
            "--part" => wanted.push(rest.next().ok_or_else(usage)?),
            other => return Err(format!("'{other}' is not known: {}", usage())),
        }
    }
    if let Some(unknown) = wanted.iter().find(|name| all_parts().all(|part| part.name != **name)) {
        return Err(format!("there is no part '{unknown}': {}", usage()));
    }
    build_release()?;
    let mut text = String::new();
    let file = repo::root().join("target/bench.md");
    let asked_for = all_parts().filter(|part| wanted.contains(&part.name));
    let parts: Vec<&Part> = if wanted.is_empty() { PARTS.iter().collect() } else { asked_for.collect() };
    for part in parts {
        println!("\n== {}", part.what);
        let mut results = Results::default();
        (part.measure)(&plan, &mut results);
        let table = table::markdown(part.what, &results, part.bars);
        println!("\n{table}");
        text.push_str(&table);
        text.push('\n');
        // After every part: what was measured is kept if a later one fails. Cargo may have its target directory elsewhere.
        let written = file.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(&file, &text));
        written.map_err(|e| format!("{}: {e}", file.display()))?;
    }
    println!("also in target/bench.md");
    Ok(())
}

fn all_parts() -> impl Iterator<Item = &'static Part> {
    PARTS.iter().chain(ONLY_WHEN_ASKED_FOR)
}

fn usage() -> String {
    let names: Vec<&str> = all_parts().map(|part| part.name).collect();
    format!("bench [--quick] [--runs N] [--only apache|gregor] [--part {}]...", names.join("|"))
}

/// Figures of a debug build mean nothing. GREGOR_BIN names a binary that is there already, with `load` beside it.
fn build_release() -> Result<(), String> {
    if std::env::var_os("GREGOR_BIN").is_some() {
        return Ok(());
    }
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "--package", "cli", "--package", "load"])
        .current_dir(repo::root())
        .status()
        .map_err(|e| format!("cargo: {e}"))?;
    if !status.success() {
        return Err("building gregor failed".into());
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repo::root().join("target"), Into::into);
    repo::use_gregor(target.join("release/gregor"));
    Ok(())
}
