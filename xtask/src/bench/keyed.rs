//! One Java producer with its defaults, keyed records of 200 bytes over 1,000 partitions that nothing was written to before. Of the first million
//! the compiler of the JVM takes both cores for seconds, whatever the broker does; so the same producer writes a second million to the
//! same partitions, and the figure that is judged is that of a third one, to 1,000 other new partitions.
//! Apache gets fewer records, as it would take minutes.

use std::time::Duration;

use e2e::process::run;
use e2e::repo::Scratch;
use e2e::{Kind, Node, clients};

use super::bars::{Bar, Limit};
use super::measure::cpu_seconds;
use super::results::Results;
use super::tools::{start, topics};
use super::{Part, Plan};

pub const PART: Part = Part { name: "keyed", what: "One Java producer, 1,000 new partitions, keyed", measure, bars: BARS };

const BARS: &[Bar] = &[Bar { figure: NEW, limits: &[Limit::AtLeast(300_000.0)] }];

const NEW: &str = "new partitions, records/s";
const FIRST: &str = "new partitions, the first records of a JVM, records/s";
const AGAIN: &str = "the same partitions again, records/s";
const RECORD_BYTES: u64 = 200;

fn measure(plan: &Plan, results: &mut Results) {
    let partitions = plan.either(1000, 200);
    for kind in &plan.kinds {
        let scratch = Scratch::new("bench-keyed");
        let mut node = start(*kind, &scratch.join("node"));
        let records = match kind {
            Kind::Gregor => plan.either(1_000_000, 100_000),
            Kind::Apache => plan.either(100_000, 20_000),
        };
        for n in 0..plan.runs {
            let names = ["first", "new"].map(|name| format!("{name}-{n}"));
            for topic in &names {
                topics(&node, &["--create", "--topic", topic, "--partitions", &partitions.to_string()]);
            }
            let [first, new] = &names;
            let before = cpu_seconds(node.pid());
            let rates = send(&node, &[first, first, new], records);
            let cpu = cpu_seconds(node.pid()) - before;
            for (name, rate) in [FIRST, AGAIN, NEW].into_iter().zip(rates) {
                results.add(*kind, name, rate);
            }
            results.add(*kind, "broker CPU s/million records", cpu * 1e6 / (3 * records) as f64);
            for topic in &names {
                topics(&node, &["--delete", "--topic", topic]);
            }
        }
        node.stop();
    }
}

/// Records a second, for each of the topics in turn.
fn send(node: &Node, topics: &[&String; 3], records: u64) -> [f64; 3] {
    let mut args = vec![node.bootstrap(), RECORD_BYTES.to_string()];
    args.extend(topics.iter().flat_map(|topic| [(*topic).clone(), records.to_string()]));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let out = run(&mut clients::fast_java_command("Keyed", &args), "", Duration::from_secs(600)).ok();
    let rates: Vec<f64> = out.lines().filter_map(|line| line.trim().parse().ok()).collect();
    rates.try_into().unwrap_or_else(|_| panic!("not three rates: {out}"))
}
