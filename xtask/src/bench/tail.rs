//! Tail latencies at 10,000 records/s with acks=all, counted from the moment a record was due, alone and with everything going on that a broker
//! does besides: segments that roll and are deleted, compaction, and a consumer that reads old data which is in no page cache, at 300 MB/s as
//! from a disk, or as fast as it can. What the machine alone does to threads is measured before. The brokers run
//! one after the other, as an idle JVM would show in the other's tail; each is warmed up by a full run first.

use std::time::Duration;

use e2e::Node;
use e2e::repo::Scratch;

use super::bars::{Bar, Limit};
use super::load::load;
use super::results::Results;
use super::{Part, Plan};

pub const PART: Part = Part { name: "tail", what: "Tail latencies at 10,000 records/s", measure, bars: BARS };

const RECORDS_PER_SECOND: u32 = 10_000;
const RECORD_BYTES: u32 = 1024;
/// What `load tail` calls it, and the table.
const CASES: [(&str, &str); 3] = [
    ("none", "alone"),
    ("rolls,compaction,cold", "with everything going on"),
    ("rolls,compaction,cold-flat-out", "with everything, old data read without a limit"),
];

/// What the machine does alone, idle and about as busy as with a broker and its load: percent, and how the table says it.
const NO_BROKER: [(&str, &str); 2] = [("0", "that do nothing"), ("50", "that compute half the time")];

const BARS: &[Bar] = &[
    Bar { figure: "acks=all with everything going on, 99th, ms", limits: &[Limit::AtMost(2.0), Limit::AtMostOfApache(0.1)] },
    Bar { figure: "acks=all with everything going on, 99.9th, ms", limits: &[Limit::AtMost(5.0), Limit::AtMostOfApache(0.1)] },
    Bar { figure: "end to end alone, 99.9th, ms", limits: &[Limit::AtMost(3.0)] },
    Bar { figure: "end to end with everything going on, 99.9th, ms", limits: &[Limit::AtMost(3.0)] },
];

/// Segments that are old are found, and logs that are dirty, as soon as they are.
const PROPERTIES: &[&str] = &["log.retention.check.interval.ms=1000", "log.cleaner.backoff.ms=1000", "log.segment.delete.delay.ms=1000"];

fn measure(plan: &Plan, results: &mut Results) {
    for kind in &plan.kinds {
        let scratch = Scratch::new("bench-tail");
        for _ in 0..plan.runs {
            for (busy_percent, threads) in NO_BROKER {
                let figures = load(&["jitter", if plan.quick { "2" } else { "5" }, busy_percent], Duration::from_secs(60));
                for (suffix, percentile) in [("p99", "99th"), ("p999", "99.9th")] {
                    let value = figures[&format!("late_{suffix}_us")] / 1000.0;
                    results.add(*kind, &format!("no broker: how late threads are {threads}, {percentile}, ms"), value);
                }
            }
        }
        let mut node = Node::prepare(*kind, &scratch.join("node"), PROPERTIES);
        node.heap = "1g";
        node.format();
        node.start_again();
        for run in 0..=plan.runs {
            for (background, name) in CASES {
                let figures = tail(&node, plan, background);
                // The first is for warming up.
                if run == 0 {
                    continue;
                }
                for (figure, what) in [("answer", "acks=all"), ("end_to_end", "end to end")] {
                    for (suffix, percentile) in [("p50", "50th"), ("p99", "99th"), ("p999", "99.9th"), ("max", "longest")] {
                        let value = figures[&format!("{figure}_{suffix}_us")] / 1000.0;
                        results.add(*kind, &format!("{what} {name}, {percentile}, ms"), value);
                    }
                }
                if let Some(mib) = figures.get("cold_mib") {
                    results.add(*kind, &format!("old data read {name}, MB/s"), mib * 1.048_576 / figures["seconds"]);
                }
            }
        }
        node.stop();
    }
}

fn tail(node: &Node, plan: &Plan, background: &str) -> std::collections::BTreeMap<String, f64> {
    let seconds = plan.either(10, 3);
    let numbers = [RECORDS_PER_SECOND.to_string(), RECORD_BYTES.to_string(), seconds.to_string()];
    let mut args = vec!["tail".to_owned(), node.bootstrap()];
    args.extend(numbers);
    args.push(background.to_owned());
    args.push(node.dir.display().to_string());
    load(&args, Duration::from_secs(seconds + 120))
}
