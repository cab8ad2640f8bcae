//! Small work: 64 producers without linger, one record of 100 bytes a request, each waiting for the answer before the next; and with up to 5
//! records unanswered, when several may leave in one request. Both brokers run all the time and take turns.

use std::time::Duration;

use e2e::repo::Scratch;
use e2e::{Kind, Node};

use super::bars::{Bar, Limit};
use super::load::load;
use super::measure::cpu_seconds;
use super::results::Results;
use super::tools::{start, topics};
use super::{Part, Plan};

pub const PART: Part = Part { name: "small", what: "64 producers, one record a request", measure, bars: BARS };

const BARS: &[Bar] = &[Bar { figure: "each waiting for its answer, requests/s", limits: &[Limit::AtLeastOfApache(3.0)] }];

const TOPIC: &str = "small";
const PRODUCERS: u32 = 64;
const RECORD_BYTES: u32 = 100;

fn measure(plan: &Plan, results: &mut Results) {
    let scratch = Scratch::new("bench-small");
    let mut running: Vec<(Kind, Node)> = plan.kinds.iter().map(|kind| (*kind, start(*kind, &scratch.join(&format!("{kind:?}"))))).collect();
    for (_, node) in &running {
        topics(node, &["--create", "--topic", TOPIC, "--partitions", &PRODUCERS.to_string()]);
    }
    // The first two are for warming up.
    for run in 0..plan.runs + 2 {
        for (window, name, unit) in [(1, "each waiting for its answer", "requests"), (5, "each with up to 5 unanswered", "records")] {
            for (kind, node) in &running {
                let seconds = plan.either(5, 2);
                let mut args = vec!["producers".to_owned(), node.bootstrap(), TOPIC.to_owned()];
                args.extend([PRODUCERS, window, RECORD_BYTES].map(|n| n.to_string()));
                args.push(seconds.to_string());
                let before = cpu_seconds(node.pid());
                let figures = load(&args, Duration::from_secs(seconds + 120));
                let cpu = cpu_seconds(node.pid()) - before;
                if run < 2 {
                    continue;
                }
                results.add(*kind, &format!("{name}, {unit}/s"), figures["records_per_second"]);
                results.add(*kind, &format!("{name}, broker CPU s/million {unit}"), cpu * 1e6 / figures["records"]);
                results.add(*kind, &format!("{name}, 99th, ms"), figures["answer_p99_us"] / 1000.0);
            }
        }
    }
    running.iter_mut().for_each(|(_, node)| node.stop());
}
