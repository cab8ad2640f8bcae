//! Compressed produce: the broker has to look into every batch. Batches of 64 KiB that lie ready (built by the native client's codecs, sent by
//! next to no CPU), of three kinds of records, and a Java producer with JSON events, whose codecs write other streams. CPU is per GB of records
//! before compression. The brokers take turns; the first two runs only warm up, for Apache's compiler.

use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::repo::Scratch;
use e2e::{Kind, Node, Tools};

use super::bars::{Bar, Limit};
use super::load::load;
use super::results::Results;
use super::tools::{last_line, start, timed, tool, topics};
use super::{Part, Plan};

const WARM_UP: usize = 2;
const PARTITIONS: &str = "6";
const CODECS: [&str; 4] = ["zstd", "lz4", "snappy", "gzip"];
/// As `load` names them, and what they are.
const PAYLOADS: [(&str, &str); 3] = [("events", "events of 1 KiB"), ("small", "events of 100 B"), ("letters", "letters, 1 KiB")];
/// Events that the Java producer chooses from.
const EVENTS: u64 = 20_000;

const THIRD: &[Limit] = &[Limit::AtMostOfApache(1.0 / 3.0)];

pub const PART: Part = Part {
    name: "compressed",
    what: "Compressed produce, broker CPU by uncompressed bytes",
    measure,
    bars: &[
        Bar { figure: "zstd, events of 1 KiB, s/GB", limits: THIRD },
        Bar { figure: "zstd, events of 100 B, s/GB", limits: THIRD },
        Bar { figure: "zstd, letters, 1 KiB, s/GB", limits: THIRD },
        Bar { figure: "zstd, Java producer, events of 1 KiB, s/GB", limits: THIRD },
        Bar { figure: "lz4, events of 1 KiB, s/GB", limits: THIRD },
        Bar { figure: "lz4, events of 100 B, s/GB", limits: THIRD },
        Bar { figure: "lz4, letters, 1 KiB, s/GB", limits: THIRD },
        Bar { figure: "lz4, Java producer, events of 1 KiB, s/GB", limits: THIRD },
        Bar { figure: "snappy, events of 1 KiB, s/GB", limits: THIRD },
        Bar { figure: "snappy, events of 100 B, s/GB", limits: THIRD },
        Bar { figure: "snappy, letters, 1 KiB, s/GB", limits: THIRD },
        Bar { figure: "snappy, Java producer, events of 1 KiB, s/GB", limits: THIRD },
        Bar { figure: "gzip, events of 1 KiB, s/GB", limits: THIRD },
        Bar { figure: "gzip, events of 100 B, s/GB", limits: THIRD },
        Bar { figure: "gzip, letters, 1 KiB, s/GB", limits: THIRD },
        Bar { figure: "gzip, Java producer, events of 1 KiB, s/GB", limits: THIRD },
    ],
};

fn measure(plan: &Plan, results: &mut Results) {
    let scratch = Scratch::new("bench-compressed");
    let events = scratch.join("events.txt");
    load(&["payload", "events", &EVENTS.to_string(), &events.display().to_string()], Duration::from_secs(60));
    let mut running: Vec<(Kind, Node)> = plan.kinds.iter().map(|kind| (*kind, start(*kind, &scratch.join(&format!("{kind:?}"))))).collect();
    let warm_up = if plan.quick { 0 } else { WARM_UP };
    for round in 0..warm_up + plan.runs {
        for (kind, node) in &running {
            // Only a Java broker warms up.
            if round < warm_up && *kind == Kind::Gregor {
                continue;
            }
            let mut ignored = Results::default();
            let counted = if round < warm_up { &mut ignored } else { &mut *results };
            for codec in CODECS {
                run(node, plan, round, codec, &events, &mut |name, value| counted.add(*kind, &format!("{codec}, {name}"), value));
            }
        }
    }
    running.iter_mut().for_each(|(_, node)| node.stop());
}

fn run(node: &Node, plan: &Plan, round: usize, codec: &str, events: &Path, add: &mut impl FnMut(&str, f64)) {
    let topic = format!("{codec}-{round}");
    topics(node, &["--create", "--topic", &topic, "--partitions", PARTITIONS]);
    // Enough for some tenths of a second of CPU.
    let megabytes = if codec == "gzip" { plan.either(150, 20) } else { plan.either(400, 40) };
    for (payload, what) in PAYLOADS {
        let broker = node.bootstrap();
        let args = ["batches", &broker, &topic, PARTITIONS, codec, payload, "65536", &megabytes.to_string()];
        let mut gigabytes = 0.0;
        // The load compresses before it sends, so its time is not the broker's; the broker does nothing meanwhile.
        let (_, cpu) = timed(node, || {
            let figures = load(&args, Duration::from_secs(120));
            gigabytes = figures["gigabytes"];
            figures["seconds"]
        });
        add(&format!("{what}, s/GB"), cpu / gigabytes);
    }
    let records = if codec == "gzip" { plan.either(100_000, 10_000) } else { plan.either(200_000, 10_000) };
    let mut bytes = 0.0;
    let (_, cpu) = timed(node, || {
        bytes = produce(node, &topic, codec, events, records);
        bytes
    });
    add("Java producer, events of 1 KiB, s/GB", cpu / bytes * 1e9);
    topics(node, &["--delete", "--topic", &topic]);
    // The files are deleted one second later.
    std::thread::sleep(Duration::from_millis(1200));
}

/// Gives the bytes of all records, by the mean of what the producer chose from.
fn produce(node: &Node, topic: &str, codec: &str, events: &Path, records: u64) -> f64 {
    let (broker, count) = (format!("bootstrap.servers={}", node.bootstrap()), records.to_string());
    let (file, codec): (PathBuf, String) = (events.into(), format!("compression.type={codec}"));
    let file = file.display().to_string();
    let args = ["--topic", topic, "--num-records", &count, "--payload-file", &file, "--throughput", "-1"];
    let properties = ["--command-property", &broker, "acks=all", "batch.size=65536", "linger.ms=5", &codec];
    let out = tool(Tools::Apache, "kafka-producer-perf-test", &[&args[..], &properties[..]].concat());
    assert!(last_line(&out).starts_with(&format!("{records} records sent")), "{out}");
    let bytes = std::fs::metadata(events).expect("the events were written").len() - EVENTS;
    bytes as f64 / EVENTS as f64 * records as f64
}
