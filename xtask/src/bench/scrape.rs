//! The metrics page of a broker with 40,000 partitions: how long it takes, what memory it leaves behind, and whether producers notice it.
//! Apache Kafka has no such page of its own.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use e2e::repo::{Scratch, free_port};
use e2e::{Kind, Node, http};

use super::bars::{Bar, Limit};
use super::load::load;
use super::measure::{cpu_seconds, resident_mib};
use super::results::{Results, median};
use super::tools::topics;
use super::{Part, Plan};

const TOPICS: u64 = 20;

pub const PART: Part = Part {
    name: "scrape",
    what: "Scrapes of 40,000 partitions",
    measure,
    bars: &[
        Bar { figure: "scrape, ms", limits: &[Limit::AtMost(200.0)] },
        Bar { figure: "scrape, producer at 10,000 records/s meanwhile, ms", limits: &[Limit::AtMost(200.0)] },
        Bar { figure: "acks=all with a scrape a second, 99th, ms", limits: &[Limit::AtMost(2.0)] },
        Bar { figure: "acks=all with a scrape a second, 99.9th, ms", limits: &[Limit::AtMost(5.0)] },
    ],
};

fn measure(plan: &Plan, results: &mut Results) {
    if !plan.kinds.contains(&Kind::Gregor) {
        return;
    }
    let scratch = Scratch::new("bench-scrape");
    let mut node = Node::prepare(Kind::Gregor, &scratch.join("node"), &[]);
    node.http = Some(free_port());
    node.format();
    node.start_again();
    let partitions = plan.either(2000, 100);
    for n in 0..TOPICS {
        topics(&node, &["--create", "--topic", &format!("topic-with-a-name-{n}"), "--partitions", &partitions.to_string()]);
    }
    let mut add = |name: &str, value: f64| results.add(Kind::Gregor, name, value);
    let before = resident_mib(node.pid());
    add("memory before, MiB", before);
    for _ in 0..plan.runs {
        let cpu = cpu_seconds(node.pid());
        let (millis, page) = scrape(&node);
        assert!(page.lines().filter(|line| line.starts_with("kafka_log_log_size{")).count() as u64 >= TOPICS * partitions);
        add("scrape, ms", millis);
        add("page, MB", page.len() as f64 / 1e6);
        let more = (0..4).map(|_| scrape(&node).0).sum::<f64>();
        println!("four more: {more:.0} ms");
        add("broker CPU of a scrape, ms", (cpu_seconds(node.pid()) - cpu) * 1000.0 / 5.0);
        add("memory that stays after scrapes, MiB", resident_mib(node.pid()) - before);
        tail(&node, plan, "alone", &mut add);
        let done = AtomicBool::new(false);
        let millis = std::thread::scope(|scope| {
            let scraper = scope.spawn(|| scrape_until(&node, &done));
            tail(&node, plan, "with a scrape a second", &mut add);
            done.store(true, Relaxed);
            scraper.join().expect("the scraper")
        });
        add("scrape, producer at 10,000 records/s meanwhile, ms", median(&millis));
    }
    node.stop();
}

/// One a second.
fn scrape_until(node: &Node, done: &AtomicBool) -> Vec<f64> {
    let mut millis = Vec::new();
    while !done.load(Relaxed) {
        millis.push(scrape(node).0);
        std::thread::sleep(Duration::from_secs(1));
    }
    millis
}

/// Milliseconds, and the page.
fn scrape(node: &Node) -> (f64, String) {
    let begin = Instant::now();
    let (status, page) = http::get(node.http.expect("a port"), "/metrics", "text/plain").expect("the page");
    assert_eq!(status, 200);
    (begin.elapsed().as_secs_f64() * 1000.0, page)
}

fn tail(node: &Node, plan: &Plan, name: &str, add: &mut impl FnMut(&str, f64)) {
    let seconds = plan.either(8, 3);
    let args = ["tail", &node.bootstrap(), "10000", "1024", &seconds.to_string(), "none", &node.dir.display().to_string()];
    let figures = load(&args, Duration::from_secs(seconds + 60));
    for (suffix, percentile) in [("p50", "50th"), ("p99", "99th"), ("p999", "99.9th")] {
        add(&format!("acks=all {name}, {percentile}, ms"), figures[&format!("answer_{suffix}_us")] / 1000.0);
    }
}
