//! Very many partitions on one node: 50,000 on Gregor, 4,000 on Apache, which takes minutes for more. How fast they are created and opened, what
//! they take of memory and of a core at rest, and how fast other requests are answered meanwhile and after.

use std::path::Path;
use std::time::{Duration, Instant};

use e2e::repo::Scratch;
use e2e::{Kind, Node, Tools};

use super::bars::{Bar, Limit};
use super::load::load;
use super::measure::{all_led, cpu_seconds, resident_mib, seconds_until};
use super::results::Results;
use super::tools::{start, tool};
use super::{Part, Plan};

pub const PART: Part = Part { name: "many", what: "Very many partitions: 50,000 on Gregor, 4,000 on Apache", measure, bars: BARS };

const BARS: &[Bar] = &[
    Bar { figure: "open all, clean, s", limits: &[Limit::AtMost(5.0)] },
    Bar { figure: "open all, after kill -9, s", limits: &[Limit::AtMost(5.0)] },
    Bar { figure: "memory, all open, MiB", limits: &[Limit::AtMost(572.0)] },
    Bar { figure: "memory, all created, MiB", limits: &[Limit::AtMost(572.0)] },
];

const EACH: usize = 1000;
const TOPIC: &str = "many";
const REST: Duration = Duration::from_secs(10);

fn measure(plan: &Plan, results: &mut Results) {
    let scratch = Scratch::new("bench-many");
    for kind in &plan.kinds {
        let topics = if *kind == Kind::Apache { 4 } else { plan.either(50, 5) as usize };
        let mut add = |name: &str, value: f64| results.add(*kind, name, value);
        let dir = scratch.join(&format!("{kind:?}"));
        let mut node = start(*kind, &dir);
        // Whoever asks is asked for one topic that is there before.
        load(&["topics", "create", &node.bootstrap(), "one", "1", "10"], Duration::from_secs(60));
        let bootstrap = node.bootstrap();
        let data = dir.join("data");
        let creating = std::thread::spawn(move || {
            let begin = Instant::now();
            let created = load(&["topics", "create", &bootstrap, TOPIC, &topics.to_string(), &EACH.to_string()], Duration::from_secs(300));
            await_logs(&data, topics * EACH);
            (created, begin.elapsed().as_secs_f64())
        });
        ask(&node, "meanwhile", 50, &mut add);
        let (created, all_there) = creating.join().expect("all topics are created");
        add("all logs created after, s", all_there);
        add("create topics of 1,000 partitions, partitions/s", (topics * EACH) as f64 / created["seconds"]);
        add("create a topic of 1,000 partitions, median, ms", created["create_p50_us"] / 1000.0);
        add("create a topic of 1,000 partitions, longest, ms", created["create_max_us"] / 1000.0);
        let last = format!("{TOPIC}-{}", topics - 1);
        e2e::wait::until("all partitions have leaders", || all_led(node.port, &last, EACH).then_some(()));
        add("memory, all created, MiB", resident_mib(node.pid()));
        ask(&node, "after", 100, &mut add);
        describe(&node, &mut add);
        let runs = if *kind == Kind::Apache { 1 } else { plan.runs };
        for _ in 0..runs {
            let begin = Instant::now();
            node.stop();
            add("stop cleanly, s", begin.elapsed().as_secs_f64());
            add("open all, clean, s", seconds_until(&mut node, |port| all_led(port, &last, EACH)));
            add("memory, all open, MiB", resident_mib(node.pid()));
        }
        std::thread::sleep(REST);
        let before = cpu_seconds(node.pid());
        std::thread::sleep(REST);
        add("at rest, % of a core", (cpu_seconds(node.pid()) - before) / REST.as_secs_f64() * 100.0);
        for _ in 0..runs {
            node.kill();
            add("open all, after kill -9, s", seconds_until(&mut node, |port| all_led(port, &last, EACH)));
        }
        node.stop();
    }
}

/// Until there are directories of so many partitions: neither broker lets CreateTopics wait for them. A file system that deleted as many files a
/// minute ago may take a minute for it.
fn await_logs(data: &Path, partitions: usize) {
    let deadline = Instant::now() + Duration::from_secs(300);
    let count = || {
        std::fs::read_dir(data)
            .expect("the data directory")
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(TOPIC))
            .count()
    };
    while count() < partitions {
        assert!(Instant::now() < deadline, "the logs of {partitions} partitions are not all there after five minutes");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn ask(node: &Node, when: &str, rounds: usize, add: &mut impl FnMut(&str, f64)) {
    let args = ["topics", "ask", &node.bootstrap(), "one-0", &format!("new-{when}"), &rounds.to_string()];
    let figures = load(&args, Duration::from_secs(300));
    for (what, name) in
        [("metadata", "Metadata of a topic"), ("describe", "DescribeTopicPartitions of a topic"), ("create", "CreateTopics of one")]
    {
        add(&format!("{name}, {when}, median, ms"), figures[&format!("{what}_p50_us")] / 1000.0);
        add(&format!("{name}, {when}, longest, ms"), figures[&format!("{what}_max_us")] / 1000.0);
    }
}

/// The same tool for both.
fn describe(node: &Node, add: &mut impl FnMut(&str, f64)) {
    let begin = Instant::now();
    tool(Tools::Gregor, "kafka-topics", &["--describe", "--topic", &format!("{TOPIC}-0"), "--bootstrap-server", &node.bootstrap()]);
    add("kafka-topics --describe of 1,000 partitions, s", begin.elapsed().as_secs_f64());
}
