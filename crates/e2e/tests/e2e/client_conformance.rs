//! The conformance run of our client library, the same on both brokers; and finding a cluster again that has moved.

use client::{Config, Consumer, Producer, ProducerRecord};
use e2e::proxy::Proxy;
use e2e::repo::{self, Scratch};
use e2e::{Kind, Node, process};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Heartbeats every half second instead of every five, so that groups settle quickly; transactions that are late are found as soon.
const QUICK: &[&str] = &[
    "group.consumer.min.heartbeat.interval.ms=500",
    "group.consumer.heartbeat.interval.ms=500",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms=500",
];

#[test]
fn gregor_with_our_client() {
    conform(Kind::Gregor);
}

#[test]
fn apache_with_our_client() {
    conform(Kind::Apache);
}

fn conform(kind: Kind) {
    let scratch = Scratch::new("client-conformance");
    let mut node = Node::start(kind, &scratch.join("node"), QUICK);
    let program = conformance();
    let run = |checks: &[&str]| {
        let mut run = Command::new(&program);
        run.env("GREGOR_TEST_BOOTSTRAP", node.bootstrap()).args(checks);
        let finished = process::run(&mut run, "", Duration::from_secs(240));
        let failed: Vec<&str> = finished.stdout.lines().filter(|line| line.starts_with("FAILED")).collect();
        assert!(failed.is_empty() && finished.code == Some(0), "{kind:?} {checks:?}:\n{}\n{}", failed.join("\n"), finished.stderr);
    };
    run(&[]);
    // Transactions once more, in the generation before.
    let downgrade = ["--bootstrap-server", &node.bootstrap(), "downgrade", "--feature", "transaction.version=1"];
    kind.tools().run("kafka-features", &downgrade).ok();
    run(&["transactions"]);
    node.stop();
}

/// The example program beside this test's own, built now.
fn conformance() -> PathBuf {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--package", "client", "--example", "client_conformance"]).current_dir(repo::root());
    assert!(cargo.status().is_ok_and(|status| status.success()), "building the conformance run failed");
    let this = std::env::current_exe().expect("the path of this program");
    let profile = this.ancestors().find(|dir| dir.ends_with("debug") || dir.ends_with("release")).expect("target directory");
    profile.join("examples/client_conformance")
}

#[test]
fn clients_of_gregor_find_a_broker_that_moved() {
    moved(Kind::Gregor);
}

#[test]
fn clients_of_apache_find_a_broker_that_moved() {
    moved(Kind::Apache);
}

/// The broker advertises one address, is started again and advertises another. The clients' first contact stays where it was (KIP-899).
fn moved(kind: Kind) {
    let scratch = Scratch::new("client-moved");
    let (first, first_listener) = Proxy::listen();
    let (second, second_listener) = Proxy::listen();
    let advertise = |port: u16| format!("advertised.listeners=PLAINTEXT://127.0.0.1:{port}");
    let mut node = Node::start(kind, &scratch.join("node"), &[&advertise(first.port)]);
    first.lead_to(first_listener, node.port);
    second.lead_to(second_listener, node.port);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let config = Config::bootstrap(format!("127.0.0.1:1,{}", node.bootstrap()));
    let producer = Producer::new(config.clone()).expect("a producer");
    let mut consumer = Consumer::new(config.with("group.id", "moved").with("auto.offset.reset", "earliest")).expect("a consumer");
    consumer.subscribe(["moved"]).expect("a subscription");
    let round = |consumer: &mut Consumer, value: &'static str| {
        runtime.block_on(async {
            let record = ProducerRecord::new("moved").value(value.as_bytes());
            producer.send(&record).await.expect("a send").await.expect("a delivery");
            for _ in 0..100 {
                let records = consumer.poll(Duration::from_millis(300)).await.expect("a poll");
                if let Some(record) = records.iter().next() {
                    assert_eq!(record.value.as_deref(), Some(value.as_bytes()));
                    return;
                }
            }
            panic!("{kind:?}: {value} was not read");
        });
    };
    round(&mut consumer, "before");
    node.stop();
    drop(first);
    let properties = scratch.join("node").join("server.properties");
    let text = std::fs::read_to_string(&properties).expect("server.properties");
    let lines: Vec<String> =
        text.lines().map(|line| if line.starts_with("advertised.listeners=") { advertise(second.port) } else { line.to_owned() }).collect();
    std::fs::write(&properties, lines.join("\n")).expect("server.properties");
    node.start_again();
    round(&mut consumer, "after");
    node.stop();
}
