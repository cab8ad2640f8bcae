//! `kafka-transactions`, and what other tools show of transactions: Apache's and ours, each against both kinds of broker. All four transcripts
//! must agree. Among the transactions are open ones and ones that hang: records of a transaction that no coordinator knows, which a broker
//! takes only when it is told not to verify.

use client::admin::{CoordinatorKind, NewTopic, Route};
use client::{Admin, Config, Producer, ProducerRecord};
use e2e::compare::{assert_same, without_clock};
use e2e::repo::Scratch;
use e2e::{Finished, Kind, Node, Tools};
use record::{BatchBuilder, BatchFields};
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;
use wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use wire::messages::{InitProducerIdRequest, ProduceRequest};

use crate::tools::line;

/// A line each: the words behind `kafka-transactions --bootstrap-server HOST:PORT`. A line that begins with `+TEXT` is asked until TEXT (in
/// which _ is a space) is in the answer, one that begins with `-TEXT` until it is not: markers are written a moment after a call has ended.
const QUESTIONS: &str = "
+Empty list
list --duration-filter 86400000
list --duration-filter 0
list --transactional-id-pattern t-o.*
list --transactional-id-pattern [
+CompleteCommit describe --transactional-id t-committed
+CompleteAbort describe --transactional-id t-aborted
describe --transactional-id t-open
describe --transactional-id t-none
describe-producers --topic t-one --partition 0
describe-producers --topic t-one --partition 1
describe-producers --topic t-one --partition 0 --broker-id 1
describe-producers --topic t-hanging --partition 0
find-hanging
find-hanging --broker-id 1
find-hanging --topic t-one --max-transaction-timeout 0
find-hanging --topic t-hanging --max-transaction-timeout 0
abort --topic t-hanging --partition 0
abort --topic t-hanging --partition 0 --producer-id 1
abort --topic t-hanging --partition 0 --start-offset 77
abort --topic t-hanging --partition 0 --start-offset 0
-0_0_-1 find-hanging --topic t-hanging --max-transaction-timeout 0
abort --topic t-hanging --partition 1 --producer-id PRODUCER --producer-epoch 0 --coordinator-epoch -1
find-hanging --topic t-hanging --max-transaction-timeout 0
describe-producers --topic t-hanging --partition 0
describe-producers --topic t-hanging --partition 1
abort --topic t-hanging --partition 1 --producer-id PRODUCER --producer-epoch 0 --coordinator-epoch 5
abort --topic t-hanging --partition 1 --producer-id PRODUCER --producer-epoch 0 --coordinator-epoch 3
forceTerminateTransaction --transactionalId t-open
+Empty describe --transactional-id t-open
describe-producers --topic t-one --partition 1
list
";

/// Without a broker.
const USAGES: &str = "
--help
describe-producers --help
abort --help
find-hanging --help
forceTerminateTransaction --help
list
--bootstrap-server x:1
--bootstrap-server x:1 lst
--bootstrap-server x:1 describe-producers --topic t
--bootstrap-server x:1 abort --topic t --partition 0 --producer-id 9999999999999999999
--bootstrap-server x:1 abort --topic t --partition 0 --producer-epoch 70000
--bootstrap-server x:1 find-hanging --max-transaction-timeout 1.5
--bootstrap-server x:1 list --duration-filter
";

const BROKER: &[&str] = &["transaction.state.log.num.partitions=3", "transaction.partition.verification.enable=false"];

fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().filter(|line| !line.is_empty())
}

/// What the tools will find: transactions that ended well and badly, one that is open, one producer that has begun nothing, two that hang.
/// The open one lasts as long as its producer.
async fn prepare(bootstrap: &str) -> (Producer, i64) {
    let admin = Admin::connect(Config::bootstrap(bootstrap)).await.expect("an admin client");
    let topics = [("t-one", 3), ("t-hanging", 2), ("t-perf", 1)].map(|(name, partitions)| NewTopic::new(name, partitions, 1)).into();
    for (name, created) in admin.create_topics(topics, Default::default()).await.expect("topics") {
        created.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let started = async |id: &str| {
        // The maximum, so that none ends by itself.
        let config = Config::bootstrap(bootstrap).with("transactional.id", id).with("transaction.timeout.ms", 900_000);
        let producer = Producer::new(config).expect("a producer");
        producer.init_transactions().await.expect("a producer id");
        producer
    };
    for (id, commit) in [("t-committed", true), ("t-aborted", false)] {
        let producer = started(id).await;
        producer.begin_transaction().expect("a transaction");
        drop(producer.send(&ProducerRecord::new("t-one").partition(0).value(b"v")).await.expect("a record"));
        producer.flush().await.expect("a flush");
        let ended = if commit { producer.commit_transaction().await } else { producer.abort_transaction().await };
        ended.expect("an end");
        // The coordinator has written the markers, and its own record of that.
        while !described(&admin, id).await.starts_with("Complete") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    started("t-empty").await;
    let open = started("t-open").await;
    open.begin_transaction().expect("a transaction");
    drop(open.send(&ProducerRecord::new("t-one").partition(1).value(b"v")).await.expect("a record"));
    open.flush().await.expect("a flush");
    let mut hanging = 0;
    for partition in 0..2 {
        hanging = hang(&admin, &format!("t-gone-{partition}"), partition).await;
    }
    (open, hanging)
}

async fn described(admin: &Admin, transactional_id: &str) -> &'static str {
    let mut found = admin.describe_transactions(&[transactional_id.to_owned()]).await.expect("an answer");
    found.pop().and_then(|(_, description)| description.ok()).expect("a description").state.name()
}

/// Puts a record of a transaction into a partition that its coordinator never hears of, and returns whose it is.
async fn hang(admin: &Admin, transactional_id: &str, partition: i32) -> i64 {
    let request = InitProducerIdRequest {
        transactional_id: Some(transactional_id.to_owned()),
        transaction_timeout_ms: 60_000,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    let route = Route::Coordinator(CoordinatorKind::Transaction, transactional_id.to_owned());
    let producer = admin.call_versions(route, 0, 5, |_| request.clone(), |response| response.error_code).await.expect("a producer id");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time after 1970").as_millis() as i64;
    let mut batch = BatchBuilder::new(BatchFields {
        producer_id: producer.producer_id,
        producer_epoch: producer.producer_epoch,
        base_sequence: 0,
        transactional: true,
        ..Default::default()
    });
    batch.append(now, None, Some(b"hangs"), &[]);
    let data = PartitionProduceData { index: partition, records: Some(batch.build().expect("a batch").into()), ..Default::default() };
    let topic = TopicProduceData { name: "t-hanging".into(), partition_data: vec![data], ..Default::default() };
    let request = ProduceRequest {
        transactional_id: Some(transactional_id.to_owned()),
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![topic],
        ..Default::default()
    };
    // Versions after 11 add the partition by themselves.
    let answer = admin.call_versions(Route::Node(1), 3, 11, |_| request.clone(), |_| 0).await.expect("an answer");
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    producer.producer_id
}

fn ask(tools: Tools, node: &Node) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (open, hanging) = runtime.block_on(prepare(&node.bootstrap()));
    let bootstrap = node.bootstrap();
    let mut out = String::new();
    for question in lines(QUESTIONS) {
        let (awaited, asked) = match question.strip_prefix(['+', '-']).and_then(|rest| rest.split_once(' ')) {
            Some((text, asked)) => (Some((text.replace('_', " "), question.starts_with('+'))), asked),
            None => (None, question),
        };
        let words = asked.replace("PRODUCER", &hanging.to_string());
        let arguments: Vec<&str> = ["--bootstrap-server", &bootstrap].into_iter().chain(words.split(' ')).collect();
        let answers = (0..20).map(|_| tools.run("kafka-transactions", &arguments));
        let mut answers =
            answers.skip_while(|answer| awaited.as_ref().is_some_and(|(text, there)| line(answer).contains(text.as_str()) != *there));
        let answer = answers.next().unwrap_or_else(|| panic!("{question}: not in 20 attempts"));
        let _ = writeln!(out, "{asked}: {}", normalised(node, asked, &answer));
    }
    drop(open);
    out
}

/// Without times: what is a number of milliseconds since 1970, and behind it for how long a transaction has been open. Lists are in the order of
/// Java's maps on Apache, which is none.
fn normalised(node: &Node, asked: &str, finished: &Finished) -> String {
    let mut sorted = Finished { code: finished.code, stdout: finished.stdout.clone(), stderr: finished.stderr.clone() };
    if asked.starts_with("list") {
        let mut rows: Vec<&str> = finished.stdout.lines().collect();
        rows.sort_unstable();
        sorted.stdout = rows.join("\n");
    }
    let answer = without_clock(&node.normalise(&line(&sorted)));
    let mut words: Vec<&str> = answer.split(' ').collect();
    if asked.starts_with("describe ") || asked.starts_with("find-hanging") {
        for i in 1..words.len() {
            if words[i - 1] == "NOW" {
                words[i] = "DURATION";
            }
        }
    }
    words.join(" ")
}

/// The log of transactions and a partition with markers, as `kafka-dump-log` prints them.
fn dump(tools: Tools, node: &Node) -> String {
    let mut out = String::new();
    for (directory, decoder) in
        [("__transaction_state-0", true), ("__transaction_state-1", true), ("__transaction_state-2", true), ("t-one-0", false)]
    {
        let file = node.dir.join("data").join(directory).join("00000000000000000000.log");
        let file = file.to_str().expect("utf-8 path");
        let flag = if decoder { "--transaction-log-decoder" } else { "--print-data-log" };
        let finished = tools.run("kafka-dump-log", &["--files", file, flag]);
        // Checksums are those of the times in the records.
        for (number, text) in finished.stdout.lines().enumerate() {
            let text: Vec<&str> = text.split(' ').collect();
            let without_crc: Vec<&str> =
                text.iter().enumerate().map(|(i, word)| if i > 0 && text[i - 1] == "crc:" { "CRC" } else { word }).collect();
            let _ = writeln!(out, "dump of {directory}, line {number}: {}", without_clock(&node.normalise(&without_crc.join(" "))));
        }
    }
    out
}

/// Everything that is no log line or stack trace.
fn told(finished: Finished) -> String {
    let stderr: Vec<&str> = finished.stderr.lines().filter(|line| !line.starts_with("[20")).collect();
    format!("exit {:?} {}{}", finished.code, finished.stdout.replace('\n', "\\n"), stderr.join("\\n"))
}

fn usages(tools: Tools) -> String {
    let mut out = String::new();
    for usage in lines(USAGES) {
        let words: Vec<&str> = usage.split(' ').collect();
        let _ = writeln!(out, "usage, {usage}: {}", told(tools.run("kafka-transactions", &words)));
    }
    out
}

/// Records in transactions from the performance test: all are committed.
fn perf(tools: Tools, node: &Node, dir: &Path) -> String {
    let config = dir.join("perf.properties");
    std::fs::write(&config, "transactional.id=perf-of-file\n").expect("a file for the tool");
    let mut out = String::new();
    let bootstrap = node.bootstrap();
    let common =
        ["--bootstrap-server", &bootstrap, "--topic", "t-perf", "--num-records", "100", "--record-size", "10", "--throughput", "-1"];
    for (name, more) in [
        ("id", vec!["--transactional-id", "perf-id"]),
        ("duration", vec!["--transactional-id", "perf-id", "--transaction-duration-ms", "1"]),
        ("file", vec!["--command-config", config.to_str().expect("utf-8 path")]),
        ("property", vec!["--command-property", "transactional.id=perf-property"]),
        ("both", vec!["--command-property", "transactional.id=perf-property", "--transactional-id", "perf-both"]),
        ("nothing", vec!["--transaction-duration-ms", "0"]),
    ] {
        let arguments: Vec<&str> = common.iter().copied().chain(more).collect();
        let finished = tools.run("kafka-producer-perf-test", &arguments);
        let sent = finished.stdout.split(',').next().unwrap_or_default().to_owned();
        let _ = writeln!(
            out,
            "perf, {name}: exit {:?} {sent} {}",
            finished.code,
            finished.stderr.lines().rfind(|line| !line.starts_with("[20")).unwrap_or_default()
        );
    }
    let listed = tools.run("kafka-transactions", &["--bootstrap-server", &bootstrap, "list", "--transactional-id-pattern", "perf-.*"]);
    let mut ids: Vec<&str> = listed.stdout.lines().skip(1).filter_map(|row| row.split_whitespace().next()).collect();
    ids.sort_unstable();
    let _ = writeln!(out, "perf, ids: {}", ids.join(" "));
    let arguments =
        ["--bootstrap-server", &bootstrap, "--topic", "t-perf", "--from-beginning", "--timeout-ms", "10000", "--max-messages", "500"];
    let committed: Vec<&str> = arguments.into_iter().chain(["--isolation-level", "read_committed"]).collect();
    let read = tools.run("kafka-console-consumer", &committed);
    let _ = writeln!(out, "perf, committed: {}", read.stdout.lines().count());
    out
}

#[test]
fn four_transcripts_of_transactions() {
    let scratch = Scratch::new("tools-transactions");
    let run = |tools: Tools, kind: Kind| {
        let dir = scratch.join(&format!("{tools:?}-{kind:?}"));
        let mut node = Node::start(kind, &dir, BROKER);
        let mut text = ask(tools, &node);
        node.stop();
        text += &dump(tools, &node);
        node.start_again();
        text += &perf(tools, &node, &dir);
        node.assert_serves();
        node.stop();
        text
    };
    let (all, [mut expected, mut found]) = std::thread::scope(|s| {
        let run = &run;
        let pairs =
            [(Tools::Apache, Kind::Apache), (Tools::Apache, Kind::Gregor), (Tools::Gregor, Kind::Apache), (Tools::Gregor, Kind::Gregor)];
        let running = pairs.map(|(tools, kind)| s.spawn(move || run(tools, kind)));
        let usage = [Tools::Apache, Tools::Gregor].map(usages);
        (running.map(|thread| thread.join().expect("a transcript")), usage)
    });
    let [measure, others @ ..] = &all;
    for (label, text) in ["Apache's tool on Gregor", "Gregor's tool on Apache", "Gregor's tool on Gregor"].iter().zip(others) {
        measure.lines().for_each(|line| expected.push_str(&format!("{label}, {line}\n")));
        text.lines().for_each(|line| found.push_str(&format!("{label}, {line}\n")));
    }
    assert_same("tools_transactions", &expected, &found, include_str!("../../known/tools_transactions.txt"));
}
