//! kill -9 under load, again and again: what was acknowledged is there, once, in order.

use std::collections::BTreeMap;

use e2e::repo::Scratch;
use e2e::wait::until;
use e2e::{Kind, Node, Running, clients};
use std::path::Path;
use std::process::Command;

const ROUNDS: usize = 5;
const PARTITIONS: usize = 3;

/// A Java producer with its defaults (idempotent, acks=all) sends numbers and prints each that is acknowledged, while the broker is killed
/// and started again under it. Then everything is read back.
#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    let scratch = Scratch::new("kill-9");
    let mut node = Node::start(Kind::Gregor, &scratch.join("node"), &["log.segment.bytes=1048576"]);
    let broker = node.bootstrap();
    Kind::Gregor.tools().run("kafka-topics", &["--create", "--topic", "numbers", "--partitions", "3", "--bootstrap-server", &broker]).ok();
    let mut load =
        Running::spawn(&mut clients::java_command("Load", &[&broker, "numbers"]), &scratch.join("load.out"), &scratch.join("load.err"));
    let mut before = 0;
    for round in 0..ROUNDS {
        until("more is acknowledged", || (acknowledged(&load).len() > before + 2000).then_some(()));
        before = acknowledged(&load).len();
        node.kill();
        node.start_again();
        println!("round {round}: {before} acknowledged when killed");
    }
    until("more is acknowledged", || (acknowledged(&load).len() > before + 2000).then_some(()));
    let status = load.finish();
    assert!(status.success(), "{}", load.stderr());
    let acknowledged = acknowledged(&load);

    let mut read = BTreeMap::<u64, usize>::new();
    for partition in 0..PARTITIONS {
        let numbers = read_all(&broker, partition);
        assert!(numbers.is_sorted(), "partition {partition} is out of order");
        for n in numbers {
            *read.entry(n).or_default() += 1;
        }
    }
    let lost: Vec<u64> = acknowledged.iter().copied().filter(|n| !read.contains_key(n)).collect();
    let twice: Vec<u64> = read.iter().filter(|(_, count)| **count > 1).map(|(n, _)| *n).collect();
    assert!(
        lost.is_empty(),
        "{} of {} acknowledged records are lost, e.g. {:?}",
        lost.len(),
        acknowledged.len(),
        &lost[..lost.len().min(10)]
    );
    assert!(twice.is_empty(), "{} records are there twice, e.g. {:?}", twice.len(), &twice[..twice.len().min(10)]);
    println!("{} acknowledged, {} stored, none lost, none twice", acknowledged.len(), read.len());
    node.stop();
}

fn acknowledged(load: &Running) -> Vec<u64> {
    let text = load.stdout();
    text[..text.rfind('\n').map_or(0, |end| end + 1)].lines().filter_map(|l| l.parse().ok()).collect()
}

fn read_all(broker: &str, partition: usize) -> Vec<u64> {
    let end = e2e::Tools::Apache
        .run("kafka-get-offsets", &["--topic-partitions", &format!("numbers:{partition}"), "--bootstrap-server", broker])
        .ok();
    let end = end.trim().rsplit(':').next().expect("an offset").to_owned();
    if end == "0" {
        return Vec::new();
    }
    let args = [
        "--topic",
        "numbers",
        "--partition",
        &partition.to_string(),
        "--offset",
        "earliest",
        "--max-messages",
        &end,
        "--bootstrap-server",
        broker,
    ];
    e2e::Tools::Apache.run("kafka-console-consumer", &args).ok().lines().map(|l| l.parse().expect("a number")).collect()
}

/// A torn write at the end of a log, as a power cut leaves it, is cut off; what came before it is served, and writing goes on behind it.
#[test]
fn torn_tail_is_cut() {
    let scratch = Scratch::new("torn");
    let mut node = Node::start(Kind::Gregor, &scratch.join("node"), &[]);
    let broker = node.bootstrap();
    let tools = Kind::Gregor.tools();
    tools.run("kafka-topics", &["--create", "--topic", "torn", "--bootstrap-server", &broker]).ok();
    for text in ["one\n", "two\n"] {
        tools.run_with_input("kafka-console-producer", &["--topic", "torn", "--bootstrap-server", &broker], text).ok();
    }
    node.kill();
    tear(&node.dir.join("data/torn-0/00000000000000000000.log"));
    node.expect_log("torn").expect_log("recover").expect_log("truncat").expect_log("cut");
    node.start_again();
    let broker = node.bootstrap();
    tools.run_with_input("kafka-console-producer", &["--topic", "torn", "--bootstrap-server", &broker], "three\n").ok();
    let read = tools
        .run("kafka-console-consumer", &["--topic", "torn", "--from-beginning", "--max-messages", "3", "--bootstrap-server", &broker])
        .ok();
    assert_eq!(read, "one\ntwo\nthree\n");
    node.stop();
}

/// Appends the first half of the last batch once more.
fn tear(log: &Path) {
    let bytes = std::fs::read(log).expect("a log");
    let half = &bytes[..40.min(bytes.len())];
    let mut file = std::fs::File::options().append(true).open(log).expect("a log");
    std::io::Write::write_all(&mut file, half).expect("written");
}

/// Retention by size and time at work in a running node, and a log that begins later for it.
#[test]
fn retention_moves_the_start() {
    let scratch = Scratch::new("retention");
    let extra = ["log.retention.check.interval.ms=500", "log.segment.delete.delay.ms=100", "log.initial.task.delay.ms=100"];
    let mut node = Node::start(Kind::Gregor, &scratch.join("node"), &extra);
    let broker = node.bootstrap();
    let tools = Kind::Gregor.tools();
    let create = |topic: &str, config: &str| {
        let args = ["--create", "--topic", topic, "--config", "segment.bytes=1048576", "--config", config, "--bootstrap-server", &broker];
        tools.run("kafka-topics", &args).ok();
        let text = format!("{}\n", "x".repeat(1000)).repeat(4000);
        tools.run_with_input("kafka-console-producer", &["--topic", topic, "--bootstrap-server", &broker], &text).ok();
    };
    create("by-size", "retention.bytes=1500000");
    create("by-time", "retention.ms=1000");
    for topic in ["by-size", "by-time"] {
        until("old segments go", || {
            let out = tools.run("kafka-get-offsets", &["--topic", topic, "--time", "earliest", "--bootstrap-server", &broker]).ok();
            (out.trim() != format!("{topic}:0:0")).then_some(())
        });
        until("their files go too", || {
            let first = node.dir.join(format!("data/{topic}-0/00000000000000000000.log"));
            let deleted = std::fs::read_dir(node.dir.join(format!("data/{topic}-0")))
                .ok()?
                .flatten()
                .any(|e| e.path().extension().is_some_and(|x| x == "deleted"));
            (!first.exists() && !deleted).then_some(())
        });
    }
    node.stop();
}

#[test]
fn stops_on_sigint_too() {
    let scratch = Scratch::new("sigint");
    let mut command = Command::new(e2e::repo::gregor());
    let port = e2e::repo::free_port();
    command.args(["start", "--data"]).arg(scratch.join("data")).args(["--listen", &format!("127.0.0.1:{port}"), "--http", "off"]);
    let mut running = Running::spawn(&mut command, &scratch.join("out"), &scratch.join("err"));
    until("it answers", || e2e::raw::answers(port).then_some(()));
    running.signal(rustix::process::Signal::INT);
    let status = until("it ends", || running.ended());
    assert!(status.success(), "{status}: {}", running.stderr());
    assert!(running.stdout().contains(&port.to_string()), "says where it listens: {}", running.stdout());
    assert!(scratch.join("data").join(".kafka_cleanshutdown").exists(), "the marker of a clean stop");
}
