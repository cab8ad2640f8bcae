//! Acknowledgements that wait for the disk: `flush.messages=1`, acks=all, 16 producers at a time. Both brokers run all the time and take turns,
//! so that a machine that is busy with other things is so for both.

use std::time::Duration;

use e2e::repo::Scratch;
use e2e::{Kind, Node};

use super::load::load;
use super::results::Results;
use super::tools::{start, topics};
use super::{Part, Plan};

pub const PART: Part = Part { name: "durable", what: "Durable acknowledgements", measure, bars: &[] };

const PRODUCERS: usize = 16;
const RECORD_BYTES: usize = 100;
/// (partitions, records that a producer has unanswered at most)
const CASES: [(usize, usize); 3] = [(1, 1), (1, 16), (16, 1)];

fn measure(plan: &Plan, results: &mut Results) {
    let scratch = Scratch::new("bench-durable");
    let mut running: Vec<(Kind, Node)> = plan.kinds.iter().map(|kind| (*kind, start(*kind, &scratch.join(&format!("{kind:?}"))))).collect();
    for (_, node) in &running {
        for partitions in [1, 16] {
            let (topic, partitions) = (format!("durable-{partitions}"), partitions.to_string());
            topics(node, &["--create", "--topic", &topic, "--partitions", &partitions, "--config", "flush.messages=1"]);
        }
    }
    for run in 0..=plan.runs {
        for (partitions, window) in CASES {
            for (kind, node) in &running {
                let seconds = plan.either(15, 3);
                let topic = format!("durable-{partitions}");
                let numbers = [PRODUCERS, window, RECORD_BYTES].map(|n| n.to_string());
                let mut args = vec!["producers".to_owned(), node.bootstrap(), topic];
                args.extend(numbers);
                args.push(seconds.to_string());
                let figures = load(&args, Duration::from_secs(seconds + 120));
                // The first is for warming up.
                if run == 0 {
                    continue;
                }
                let waiting =
                    if window == 1 { "each waiting for its answer".to_owned() } else { format!("each with up to {window} unanswered") };
                let name = format!("durable: {PRODUCERS} producers, {waiting}, partitions {partitions}");
                results.add(*kind, &format!("{name}, records/s"), figures["records_per_second"]);
                results.add(*kind, &format!("{name}, 99th, ms"), figures["answer_p99_us"] / 1000.0);
            }
        }
    }
    running.iter_mut().for_each(|(_, node)| node.stop());
}
