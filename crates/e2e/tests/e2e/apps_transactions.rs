//! Apache's own tools for testing transactions while the broker is killed (-9) and started again: VerifiableProducer fills a topic,
//! TransactionalMessageCopiers copy it (some abort at random, one is killed itself), a VerifiableConsumer reads along. At the end what was
//! acknowledged, the input, the committed output and what was read along are the same, to the record and in order. Kafka's own system test
//! of this kind is `transactions_test.py`.
//!
//! `APPS_KILLS` says how often the copiers' broker is killed (6 times otherwise); the more often, the more is copied.

use e2e::repo::Scratch;
use e2e::wait::{self, until};
use e2e::{Kind, Node, Running, clients};
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const PARTITIONS: usize = 4;
/// A kill comes each time the copiers have copied so many records more.
const RECORDS_PER_KILL: usize = 2_000;
const RECORDS_PER_TRANSACTION: usize = 20;
/// The copier whose transactions may not last long. Its successor after a kill waits for the offsets of the transaction that was left open;
/// it is told of them before it comes to say that it is the same producer.
const SHORT_LIVED: usize = 1;
const BROKER: &[&str] = &["offsets.topic.num.partitions=4", "transaction.state.log.num.partitions=4"];
/// What the broker says when it finds its directory as a kill left it.
const EXPECTED: &[&str] = &["not closed cleanly", "unclean", "recover"];

/// How the copiers share the input.
#[derive(Clone, Copy, PartialEq)]
enum Sharing {
    /// One copier a partition; offsets are committed without a member of a group. The broker speaks the older generation of transactions, in
    /// which partitions are added by a request of their own.
    ByPartition,
    /// Members of one group, fenced by its generations (KIP-447). Every transaction has an epoch of its own (KIP-890).
    Group,
}

#[test]
fn copiers_of_partitions() {
    copy(Kind::Gregor, Sharing::ByPartition);
}

#[test]
fn copiers_in_a_group() {
    copy(Kind::Gregor, Sharing::Group);
}

pub(crate) fn kills() -> usize {
    std::env::var("APPS_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

fn copy(kind: Kind, sharing: Sharing) {
    let scratch = Scratch::new("copiers");
    let mut node = Node::start(kind, &scratch.join("node"), BROKER);
    for text in EXPECTED {
        node.expect_log(text);
    }
    let broker = node.bootstrap();
    for topic in ["input", "output"] {
        let partitions = PARTITIONS.to_string();
        let create = ["--create", "--topic", topic, "--partitions", &partitions, "--bootstrap-server", &broker];
        kind.tools().run("kafka-topics", &create).ok();
    }
    if sharing == Sharing::ByPartition {
        let downgrade = ["--bootstrap-server", &broker, "downgrade", "--feature", "transaction.version=1"];
        kind.tools().run("kafka-features", &downgrade).ok();
    }
    let mut rng = fastrand::Rng::with_seed(5);
    let kills = kills();
    let records = (kills + 1) * RECORDS_PER_KILL;
    let acknowledged = fill(&mut node, &scratch, records, kills.div_ceil(3), &mut rng);

    let mut along = read_along(&scratch, &broker);
    let names: Vec<usize> = if sharing == Sharing::Group { (0..3).collect() } else { (0..PARTITIONS).collect() };
    let mut copiers: Vec<Copier> = names.into_iter().map(|n| Copier::start(&scratch, &broker, sharing, n)).collect();
    for kill in 1..=kills {
        watch(&mut copiers, &format!("kill {kill} is due"), |copied| copied >= kill * RECORDS_PER_KILL);
        std::thread::sleep(Duration::from_millis(rng.u64(0..300)));
        node.kill();
        std::thread::sleep(Duration::from_millis(rng.u64(0..500)));
        node.start_again();
        if sharing == Sharing::Group && kill % 3 == 0 || kill == 1 {
            let victim = if kill == 1 { SHORT_LIVED } else { rng.usize(0..copiers.len()) };
            copiers[victim].kill_and_start();
        }
    }
    watch(&mut copiers, "everything is copied", |copied| copied >= records);
    finish(&mut copiers);

    let input = committed(&broker, "input");
    let output = committed(&broker, "output");
    check_same(&acknowledged, &input, &output, records);
    until("who reads along has read everything", || (read_so_far(&along).len() >= records).then_some(()));
    along.terminate();
    assert_eq!(read_so_far(&along), output, "what was read along is what is committed");
    let runs: usize = copiers.iter().map(|c| c.runs).sum();
    let transactions: usize = copiers.iter().map(Copier::transactions).sum();
    println!(
        "{kind:?}: {records} records acknowledged, copied once each and in order; about {transactions} transactions by {runs} runs of {} copiers; \
         the broker was killed {} times",
        copiers.len(),
        kills + kills.div_ceil(3)
    );
    node.stop();
}

/// VerifiableProducer sends 0, 1, 2, ...; gives what it says is acknowledged: values by partition and offset.
fn fill(node: &mut Node, scratch: &Scratch, records: usize, kills: usize, rng: &mut fastrand::Rng) -> Records {
    let config = scratch.join("producer.properties");
    // By itself this tool does not send again what failed.
    std::fs::write(&config, "retries=2147483647\nenable.idempotence=true\nreconnect.backoff.max.ms=200\n").expect("a file");
    let (count, broker) = (records.to_string(), node.bootstrap());
    let config = config.to_str().expect("utf-8 path");
    let args =
        ["--topic", "input", "--max-messages", &count, "--throughput", "4000", "--bootstrap-server", &broker, "--command-config", config];
    let mut command = clients::java_command("org.apache.kafka.tools.VerifiableProducer", &args);
    let mut producer = Running::spawn(&mut command, &scratch.join("producer.out"), &scratch.join("producer.err"));
    for kill in 1..=kills {
        until("more is acknowledged", || (lines(&producer) > records * kill / (kills + 1)).then_some(()));
        node.kill();
        std::thread::sleep(Duration::from_millis(rng.u64(0..300)));
        node.start_again();
    }
    let status = until("the producer ends", || producer.ended());
    assert!(status.success(), "{status}: {}", producer.stderr());
    let events = events(&producer);
    let failed: Vec<_> = events.iter().filter(|e| e["name"] == "producer_send_error").take(3).collect();
    assert!(failed.is_empty(), "a record was not sent: {failed:?}");
    events.iter().filter(|e| e["name"] == "producer_send_success").map(record).collect()
}

/// Values by partition and offset.
type Records = BTreeMap<(u64, u64), String>;

fn record(event: &serde_json::Value) -> ((u64, u64), String) {
    let number = |name: &str| event[name].as_u64().unwrap_or_else(|| panic!("no {name} in {event}"));
    ((number("partition"), number("offset")), event["value"].as_str().expect("a value").to_owned())
}

fn lines(running: &Running) -> usize {
    running.stdout().bytes().filter(|b| *b == b'\n').count()
}

/// What these tools print: one JSON object a line. The last line may not be whole yet.
fn events(running: &Running) -> Vec<serde_json::Value> {
    let text = running.stdout();
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    whole.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn read_along(scratch: &Scratch, broker: &str) -> Running {
    let config = scratch.join("consumer.properties");
    std::fs::write(&config, "isolation.level=read_committed\n").expect("a file");
    let config = config.to_str().expect("utf-8 path");
    let args = ["--topic", "output", "--group-id", "along", "--verbose", "--bootstrap-server", broker, "--command-config", config];
    let mut command = clients::java_command("org.apache.kafka.tools.VerifiableConsumer", &args);
    Running::spawn(&mut command, &scratch.join("along.out"), &scratch.join("along.err"))
}

/// Who commits offsets while the broker dies may read some records again; that they say the same then is checked here.
fn read_so_far(along: &Running) -> Records {
    let mut records = Records::new();
    for event in events(along).iter().filter(|e| e["name"] == "record_data") {
        let (at, value) = record(event);
        let before = records.insert(at, value.clone());
        assert!(before.as_ref().is_none_or(|before| *before == value), "offset {at:?} was {before:?} and is {value}");
    }
    records
}

fn committed(broker: &str, topic: &str) -> Records {
    let text = clients::java("Committed", &[broker, topic]).ok();
    let parse = |line: &str| {
        let mut words = line.splitn(3, ' ');
        let mut number = || words.next()?.parse().ok();
        Some(((number()?, number()?), words.next()?.to_owned()))
    };
    text.lines().map(|line| parse(line).unwrap_or_else(|| panic!("unexpected line {line}"))).collect()
}

fn check_same(acknowledged: &Records, input: &Records, output: &Records, records: usize) {
    assert_eq!(acknowledged, input, "what is stored is what was acknowledged");
    let numbers: BTreeSet<usize> = input.values().map(|value| value.parse().expect("a number")).collect();
    assert_eq!((numbers.len(), input.len()), (records, records), "every number is stored once");
    for partition in 0..PARTITIONS as u64 {
        let values =
            |records: &Records| records.iter().filter(|((p, _), _)| *p == partition).map(|(_, value)| value.clone()).collect::<Vec<_>>();
        let (theirs, ours) = (values(input), values(output));
        let differs = theirs.iter().zip(&ours).position(|(a, b)| a != b);
        let report =
            format!("partition {partition}: {} records in, {} committed out, first difference at {differs:?}", theirs.len(), ours.len());
        assert!(theirs == ours, "{report}");
        println!("{report}");
    }
}

/// One TransactionalMessageCopier, and its successors under the same transactional id.
struct Copier {
    args: Vec<String>,
    out: PathBuf,
    running: Running,
    runs: usize,
    done: bool,
    short_lived: bool,
    /// What the runs before this one copied, and where in the output this one's begins.
    before: usize,
    begin: usize,
}

impl Copier {
    fn start(scratch: &Scratch, broker: &str, sharing: Sharing, n: usize) -> Self {
        let (partition, id, size) = (n % PARTITIONS, format!("copier-{n}"), RECORDS_PER_TRANSACTION);
        let timeout = if n == SHORT_LIVED { 8_000 } else { 40_000 };
        let mut args = format!(
            "--input-topic input --output-topic output --input-partition {partition} --broker-list {broker} --consumer-group copiers \
             --transactional-id {id} --transaction-size {size} --transaction-timeout {timeout}"
        );
        if sharing == Sharing::Group {
            args += " --group-mode --use-group-metadata";
        }
        if n.is_multiple_of(2) {
            args += " --enable-random-aborts";
        }
        let args: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
        let out = scratch.join(&format!("{id}.out"));
        let running = Self::spawn(&args, &out);
        Self { args, out, running, runs: 1, done: false, short_lived: n == SHORT_LIVED, before: 0, begin: 0 }
    }

    fn spawn(args: &[String], out: &std::path::Path) -> Running {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut command = clients::java_command("org.apache.kafka.tools.TransactionalMessageCopier", &args);
        Running::spawn(&mut command, out, &out.with_extension("err"))
    }

    fn kill_and_start(&mut self) {
        self.running.signal(Signal::KILL);
        until("a killed copier ends", || self.running.ended());
        self.start_again();
    }

    fn start_again(&mut self) {
        self.before = self.copied();
        self.begin = self.running.stdout().len();
        self.running = Self::spawn(&self.args, &self.out);
        self.runs += 1;
        self.done = false;
    }

    /// A copier that ends by itself has copied what it found at its start; in a group, what it was last given.
    fn look_after(&mut self) {
        let Some(status) = self.running.ended().filter(|_| !self.done) else { return };
        if status.success() {
            self.done = true;
        } else {
            // On a machine that has too much to do, its transactions end before it has ended them.
            assert!(self.short_lived, "{} ended with {status}: {}", self.out.display(), self.running.stderr());
            self.start_again();
        }
    }

    /// How much this one and those before it say they have copied; each counts from 0 and says so before it does more.
    fn copied(&self) -> usize {
        self.before + self.copied_by_this_run()
    }

    fn copied_by_this_run(&self) -> usize {
        let text = self.running.stdout();
        let whole = &text[self.begin.min(text.len())..text.rfind('\n').unwrap_or(0).max(self.begin).min(text.len())];
        let last = whole.rsplit("\"totalProcessed\":").next().filter(|rest| rest.len() < whole.len());
        last.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0)
    }

    fn transactions(&self) -> usize {
        self.copied() / RECORDS_PER_TRANSACTION
    }
}

/// Waits until the copiers have copied enough or have all ended.
fn watch(copiers: &mut [Copier], what: &str, enough: impl Fn(usize) -> bool) {
    let mut before = 0;
    let mut deadline = Instant::now() + wait::PATIENCE;
    loop {
        copiers.iter_mut().for_each(Copier::look_after);
        let copied = copiers.iter().map(Copier::copied).sum();
        if enough(copied) || copiers.iter().all(|c| c.done) {
            return;
        }
        if copied > before {
            before = copied;
            deadline = Instant::now() + wait::PATIENCE;
        }
        assert!(Instant::now() < deadline, "{what}: the copiers stand still at {copied}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// All copiers end by themselves. One whose partitions were with another for a while may have ended before that other was killed, so one
/// more run looks whether there is anything left.
fn finish(copiers: &mut [Copier]) {
    until("the copiers end", || {
        copiers.iter_mut().for_each(Copier::look_after);
        copiers.iter().all(|c| c.done).then_some(())
    });
    copiers[0].start_again();
    until("the last copier ends", || {
        copiers[0].look_after();
        copiers[0].done.then_some(())
    });
}
