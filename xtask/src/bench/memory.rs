//! Resident memory of the broker: idle; some seconds after Java's and native producers and consumers have run at full speed, all at once; and the
//! most it ever was with everything together: the same clients, ten thousand idle connections, and groups, transactions, compaction,
//! retention, topics and connections that come and go. Every run has a broker of its own.

use std::path::Path;
use std::time::Duration;

use e2e::repo::Scratch;
use e2e::{Kind, Node, Tools};

use super::bars::{Bar, Limit};
use super::connections::Connections;
use super::load::load;
use super::measure::{resident_mib, resident_mib_max};
use super::results::Results;
use super::tools::{start, tool, topics};
use super::{Part, Plan};

const SETTLE: Duration = Duration::from_secs(3);

pub const PART: Part = Part {
    name: "memory",
    what: "Memory",
    measure,
    // 15, 30 and 120 MB.
    bars: &[
        Bar { figure: "idle, MiB", limits: &[Limit::AtMost(14.3)] },
        Bar { figure: "after producers and consumers at full speed, MiB", limits: &[Limit::AtMost(28.6)] },
        Bar { figure: "most with everything together, MiB", limits: &[Limit::AtMost(114.4)] },
    ],
};

fn measure(plan: &Plan, results: &mut Results) {
    for run in 0..plan.runs {
        for kind in &plan.kinds {
            let scratch = Scratch::new("bench-memory");
            // The first run alone has the last stage: it is long, and the figure hardly moves.
            once(*kind, plan, &scratch.join("node"), run == 0, &mut |name, value| results.add(*kind, name, value));
        }
    }
}

fn once(kind: Kind, plan: &Plan, dir: &Path, everything: bool, add: &mut impl FnMut(&str, f64)) {
    let mut node = start(kind, dir);
    std::thread::sleep(SETTLE);
    add("idle, MiB", resident_mib(node.pid()));
    full_speed(&node, plan, "first");
    add("most with producers and consumers at full speed, MiB", resident_mib_max(node.pid()));
    std::thread::sleep(SETTLE);
    add("after producers and consumers at full speed, MiB", resident_mib(node.pid()));
    if everything {
        topics(&node, &["--create", "--topic", "visited", "--partitions", "1"]);
        let open = Connections::open(&node, plan.either(10_000, 1000));
        std::thread::scope(|scope| {
            let seconds = plan.either(20, 5);
            let args = ["mixed".to_owned(), node.bootstrap(), "2000".into(), seconds.to_string()];
            scope.spawn(move || load(&args, Duration::from_secs(seconds + 120)));
            full_speed(&node, plan, "second");
        });
        add("most with everything together, MiB", resident_mib_max(node.pid()));
        open.close();
        std::thread::sleep(SETTLE);
        add("after everything, MiB", resident_mib(node.pid()));
    }
    node.stop();
}

/// Producers and consumers of both kinds at the same time.
fn full_speed(node: &Node, plan: &Plan, name: &str) {
    let records = plan.either(600_000, 50_000).to_string();
    std::thread::scope(|scope| {
        for tools in [Tools::Apache, Tools::Gregor] {
            let topic = format!("{name}-{tools:?}");
            topics(node, &["--create", "--topic", &topic, "--partitions", "6"]);
            let (broker, count, group) = (node.bootstrap(), records.clone(), topic.clone());
            scope.spawn(move || {
                let args = ["--topic", &group, "--bootstrap-server", &broker, "--num-records", &count, "--group", &group];
                tool(tools, "kafka-consumer-perf-test", &[&args[..], &["--hide-header", "--timeout", "60000"]].concat());
            });
            let (broker, count) = (format!("bootstrap.servers={}", node.bootstrap()), records.clone());
            scope.spawn(move || {
                let args =
                    ["--topic", &topic, "--num-records", &count, "--record-size", "1024", "--throughput", "-1", "--command-property"];
                tool(tools, "kafka-producer-perf-test", &[&args[..], &[&broker, "acks=all", "batch.size=65536"]].concat());
            });
        }
    });
}
