//! 1,000 producers over 1,000 partitions: keyed records of 100 bytes, up to 16 of each producer unanswered. Both brokers run all the time and
//! take turns.

use std::time::Duration;

use e2e::repo::Scratch;
use e2e::{Kind, Node};

use super::bars::{Bar, Limit};
use super::load::load;
use super::measure::cpu_seconds;
use super::results::Results;
use super::tools::{start, topics};
use super::{Part, Plan};

pub const PART: Part = Part { name: "spread", what: "1,000 producers over 1,000 partitions, keyed", measure, bars: BARS };

const BARS: &[Bar] = &[Bar { figure: "records/s", limits: &[Limit::AtLeastOfApache(3.0)] }];

const TOPIC: &str = "spread";
const WINDOW: u64 = 16;
const RECORD_BYTES: u64 = 100;

fn measure(plan: &Plan, results: &mut Results) {
    let scratch = Scratch::new("bench-spread");
    let count = plan.either(1000, 100);
    let mut running: Vec<(Kind, Node)> = plan.kinds.iter().map(|kind| (*kind, start(*kind, &scratch.join(&format!("{kind:?}"))))).collect();
    for (_, node) in &running {
        topics(node, &["--create", "--topic", TOPIC, "--partitions", &count.to_string()]);
    }
    // The first two are for warming up.
    for run in 0..plan.runs + 2 {
        for (kind, node) in &running {
            let seconds = plan.either(8, 2);
            let mut args = vec!["producers".to_owned(), node.bootstrap(), TOPIC.to_owned()];
            args.extend([count, WINDOW, RECORD_BYTES, seconds].map(|n| n.to_string()));
            args.push("keyed".to_owned());
            let before = cpu_seconds(node.pid());
            let figures = load(&args, Duration::from_secs(seconds + 300));
            let cpu = cpu_seconds(node.pid()) - before;
            if run < 2 {
                continue;
            }
            results.add(*kind, "records/s", figures["records_per_second"]);
            results.add(*kind, "broker CPU s/million records", cpu * 1e6 / figures["records"]);
        }
    }
    running.iter_mut().for_each(|(_, node)| node.stop());
}
