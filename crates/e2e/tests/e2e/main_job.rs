//! The README's walkthrough, then a live fleet feed read by two consumers of one group, one of them killed: with our tools on our broker,
//! with Apache's tools on our broker, and with our tools on Apache's broker.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use e2e::repo::{self, Scratch};
use e2e::wait::until;
use e2e::{Kind, Node, Running, Tools};

#[test]
fn gregor_tools_on_gregor() {
    main_job(Tools::Gregor, Kind::Gregor);
}

#[test]
fn apache_tools_on_gregor() {
    main_job(Tools::Apache, Kind::Gregor);
}

#[test]
fn gregor_tools_on_apache() {
    main_job(Tools::Gregor, Kind::Apache);
}

fn main_job(tools: Tools, kind: Kind) {
    let scratch = Scratch::new("main-job");
    let mut node = Node::start(kind, &scratch.join("node"), &[]);
    walkthrough(tools, &node.bootstrap());
    fleet(tools, &node.bootstrap(), scratch.path());
    node.assert_serves();
    node.stop();
}

fn walkthrough(tools: Tools, broker: &str) {
    let created = tools.run("kafka-topics", &["--create", "--topic", "MyTopic", "--bootstrap-server", broker]).ok();
    assert_eq!(created, "Created topic MyTopic.\n");
    let listed = tools.run("kafka-topics", &["--list", "--bootstrap-server", broker]).ok();
    assert!(listed.lines().any(|l| l == "MyTopic"), "{listed}");
    let described = tools.run("kafka-topics", &["--describe", "--topic", "MyTopic", "--bootstrap-server", broker]).ok();
    assert!(described.contains("PartitionCount: 1\tReplicationFactor: 1"), "{described}");
    assert!(described.contains("Topic: MyTopic\tPartition: 0\tLeader: 1\tReplicas: 1\tIsr: 1"), "{described}");
    let text = "This is my first event\nThis is my second event\nund das ist mein drittes: äöü\n";
    tools.run_with_input("kafka-console-producer", &["--topic", "MyTopic", "--bootstrap-server", broker], text).ok();
    let read = tools
        .run("kafka-console-consumer", &["--topic", "MyTopic", "--from-beginning", "--bootstrap-server", broker, "--max-messages", "3"])
        .ok();
    assert_eq!(read, text);
}

const TOPIC: &str = "shipment_updates";
const PARTITIONS: usize = 6;
const GROUP: &str = "fleet";

fn fleet(tools: Tools, broker: &str, dir: &Path) {
    tools.run("kafka-topics", &["--create", "--topic", TOPIC, "--partitions", "6", "--bootstrap-server", broker]).ok();
    let feed = Feed::start(tools, broker, dir);
    let mut first = consumer(tools, broker, &dir.join("first.out"));
    let mut second = consumer(tools, broker, &dir.join("second.out"));
    until("two members with three partitions each", || (assignment(tools, broker) == [3, 3]).then_some(()));
    until("both members read", || (updates(&first).len() > 10 && updates(&second).len() > 10).then_some(()));
    assert_in_order(&first, &second);
    assert_in_order(&second, &first);

    first.kill();
    let before = updates(&second).len();
    until("the survivor has all partitions", || (assignment(tools, broker) == [PARTITIONS]).then_some(()));
    until("the survivor reads all partitions", || {
        let partitions: BTreeSet<String> = updates(&second)[before..].iter().map(|u| u.partition.clone()).collect();
        (partitions.len() == PARTITIONS).then_some(())
    });
    let sent = feed.stop();
    until("every update was read by one of the two", || {
        let read: BTreeSet<u64> = updates(&first).iter().chain(&updates(&second)).map(|u| u.number).collect();
        (read.len() as u64 == sent && read.last() == Some(&sent)).then_some(())
    });
    assert_in_order(&second, &first);

    second.terminate();
    until("the group is empty", || {
        let state = tools.run("kafka-consumer-groups", &["--describe", "--state", "--group", GROUP, "--bootstrap-server", broker]).ok();
        state.contains("Empty").then_some(())
    });
    assert_eq!(lag(tools, broker), 0, "everything was read and committed");
    let more = Command::new(repo::root().join("examples/shipment-updates")).args(["30", "0"]).output().expect("generator");
    let args =
        ["--topic", TOPIC, "--bootstrap-server", broker, "--reader-property", "parse.key=true", "--reader-property", "key.separator=:"];
    tools.run_with_input("kafka-console-producer", &args, &String::from_utf8_lossy(&more.stdout)).ok();
    assert_eq!(lag(tools, broker), 30, "nobody reads what came now");
}

/// The generator piped into a console producer, the lines counted on the way.
struct Feed {
    generator: std::process::Child,
    pump: std::thread::JoinHandle<u64>,
}

impl Feed {
    fn start(tools: Tools, broker: &str, dir: &Path) -> Self {
        let mut generator = Command::new(repo::root().join("examples/shipment-updates"))
            .args(["0", "40"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("generator");
        let lines = BufReader::new(generator.stdout.take().expect("its output"));
        let args =
            ["--topic", TOPIC, "--bootstrap-server", broker, "--reader-property", "parse.key=true", "--reader-property", "key.separator=:"];
        let mut producer = tools.spawn("kafka-console-producer", &args, &dir.join("producer.out"));
        let pump = std::thread::spawn(move || {
            let mut sent = 0;
            for line in lines.lines().map_while(Result::ok).filter(|l| l.ends_with('}')) {
                writeln!(producer.stdin.as_mut().expect("its input"), "{line}").expect("the producer reads");
                sent += 1;
            }
            let status = producer.finish();
            assert!(status.success(), "{status}: {}", producer.stderr());
            sent
        });
        Self { generator, pump }
    }

    fn stop(mut self) -> u64 {
        self.generator.kill().expect("stop the generator");
        let _ = self.generator.wait();
        self.pump.join().expect("the feed")
    }
}

fn consumer(tools: Tools, broker: &str, out: &Path) -> Running {
    let mut args = vec!["--topic", TOPIC, "--group", GROUP, "--from-beginning", "--bootstrap-server", broker];
    for property in ["print.partition=true", "print.offset=true", "print.key=true"] {
        args.extend(["--formatter-property", property]);
    }
    for property in ["session.timeout.ms=6000", "heartbeat.interval.ms=500", "auto.commit.interval.ms=500"] {
        args.extend(["--command-property", property]);
    }
    tools.spawn("kafka-console-consumer", &args, out)
}

struct Update {
    partition: String,
    offset: u64,
    truck: String,
    number: u64,
}

/// What a consumer printed, whole lines only: `Partition:2 Offset:17 truck-03 {"update":80,...}`, with tabs between.
fn updates(consumer: &Running) -> Vec<Update> {
    let text = consumer.stdout();
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    whole
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let [partition, offset, truck, json] = fields[..] else { panic!("unexpected line of the console consumer: {line}") };
            let number = json.split(&[':', ','][..]).nth(1).and_then(|n| n.parse().ok());
            Update {
                partition: partition.strip_prefix("Partition:").unwrap_or_else(|| panic!("{line}")).to_owned(),
                offset: offset.strip_prefix("Offset:").and_then(|o| o.parse().ok()).unwrap_or_else(|| panic!("{line}")),
                truck: truck.to_owned(),
                number: number.unwrap_or_else(|| panic!("{line}")),
            }
        })
        .collect()
}

/// Within one consumer: offsets of a partition ascend, a truck stays on its partition, and its updates come in the order they were sent.
/// (A partition that comes back after a rebalance may repeat what was not committed, and a run of repeats ascends again; or it goes on behind
/// what the other consumer has read meanwhile.)
#[track_caller]
fn assert_in_order(consumer: &Running, other: &Running) {
    let elsewhere: BTreeSet<(String, u64)> = updates(other).into_iter().map(|u| (u.partition, u.offset)).collect();
    let mut offsets = BTreeMap::<String, u64>::new();
    let mut trucks = BTreeMap::<String, (String, u64)>::new();
    for u in updates(consumer) {
        let last = offsets.insert(u.partition.clone(), u.offset);
        let repeated = last.is_some_and(|last| u.offset <= last);
        let read_elsewhere = |offset| elsewhere.contains(&(u.partition.clone(), offset));
        assert!(
            repeated || last.is_none_or(|last| (last + 1..u.offset).all(read_elsewhere)),
            "offset {} after {last:?} in partition {}",
            u.offset,
            u.partition
        );
        if let Some((partition, number)) = trucks.insert(u.truck.clone(), (u.partition.clone(), u.number)) {
            assert_eq!(partition, u.partition, "{} moved to another partition", u.truck);
            assert!(repeated || number < u.number, "{} went back from update {number} to {}", u.truck, u.number);
        }
    }
}

/// Numbers of partitions of the members, ascending.
fn assignment(tools: Tools, broker: &str) -> Vec<usize> {
    let out = tools.run("kafka-consumer-groups", &["--describe", "--members", "--group", GROUP, "--bootstrap-server", broker]);
    let lines = out.stdout.lines().filter(|l| l.starts_with(GROUP)).collect::<Vec<_>>();
    let mut partitions: Vec<usize> = lines.iter().filter_map(|l| l.split_whitespace().last()?.parse().ok()).collect();
    partitions.sort_unstable();
    partitions
}

/// The sum of the LAG column over all partitions.
fn lag(tools: Tools, broker: &str) -> u64 {
    let out = tools.run("kafka-consumer-groups", &["--describe", "--group", GROUP, "--bootstrap-server", broker]).ok();
    let header: Vec<&str> = out.lines().find(|l| l.starts_with("GROUP")).expect("a header").split_whitespace().collect();
    let column = header.iter().position(|c| *c == "LAG").expect("a LAG column");
    let rows: Vec<u64> = out
        .lines()
        .filter(|l| l.starts_with(GROUP))
        .map(|l| l.split_whitespace().nth(column).and_then(|c| c.parse().ok()).expect("a lag"))
        .collect();
    assert_eq!(rows.len(), PARTITIONS, "{out}");
    rows.iter().sum()
}
