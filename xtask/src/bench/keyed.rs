//! One Java producer with its defaults, keyed records of 200 bytes over 1,000 partitions that nothing was written to before, a new topic a run.
//! Apache gets fewer records, as it would take minutes; the rate over more of them is in `again`, on the same partitions.

use std::time::Duration;

use e2e::process::run;
use e2e::repo::Scratch;
use e2e::{Kind, Node, clients};

use super::bars::{Bar, Limit};
use super::results::Results;
use super::tools::{start, topics};
use super::{Part, Plan};

pub const PART: Part = Part { name: "keyed", what: "One Java producer, 1,000 new partitions, keyed", measure, bars: BARS };

const BARS: &[Bar] = &[Bar { figure: "new partitions, records/s", limits: &[Limit::AtLeast(300_000.0)] }];

const RECORD_BYTES: u64 = 200;

fn measure(plan: &Plan, results: &mut Results) {
    let partitions = plan.either(1000, 200);
    for kind in &plan.kinds {
        let scratch = Scratch::new("bench-keyed");
        let mut node = start(*kind, &scratch.join("node"));
        for n in 0..plan.runs {
            let topic = format!("keyed-{n}");
            topics(&node, &["--create", "--topic", &topic, "--partitions", &partitions.to_string()]);
            let records = match kind {
                Kind::Gregor => plan.either(1_000_000, 100_000),
                Kind::Apache => plan.either(100_000, 20_000),
            };
            results.add(*kind, "new partitions, records/s", send(&node, &topic, records));
            results.add(*kind, "again, records/s", send(&node, &topic, plan.either(1_000_000, 100_000)));
            topics(&node, &["--delete", "--topic", &topic]);
        }
        node.stop();
    }
}

fn send(node: &Node, topic: &str, records: u64) -> f64 {
    let args = [node.bootstrap(), topic.to_owned(), records.to_string(), RECORD_BYTES.to_string()];
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let out = run(&mut clients::fast_java_command("Keyed", &args), "", Duration::from_secs(300)).ok();
    out.trim().parse().unwrap_or_else(|_| panic!("no rate in: {out}"))
}
