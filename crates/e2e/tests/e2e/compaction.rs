//! Compaction beside Apache's: the same directory, cleaned by each of them, holds the same batches; Apache reads what Gregor has cleaned; and
//! Apache's own compaction tester finds nothing to say.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::disk::{assert_content, dump_everything};
use e2e::repo::Scratch;
use e2e::{Kind, Node, Tools, clients, wait};

const TOPICS: [&str; 6] = ["k-none", "k-gzip", "k-snappy", "k-lz4", "k-zstd", "k-append-time"];
const CLEANING: &[&str] = &["log.cleaner.backoff.ms=100"];

/// The first dirty offsets of a directory.
fn checkpoint(data: &Path) -> BTreeMap<String, i64> {
    let text = std::fs::read_to_string(data.join("cleaner-offset-checkpoint")).unwrap_or_default();
    let entry = |line: &str| {
        let mut words = line.split(' ');
        Some((format!("{}-{}", words.next()?, words.next()?), words.next()?.parse().ok()?))
    };
    text.lines().skip(2).filter_map(entry).collect()
}

/// Where the segment that is appended to begins: what a cleaner comes up to when no transaction is open.
fn active_base(partition: &Path) -> i64 {
    let names = std::fs::read_dir(partition).expect("a partition").map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned());
    names.filter_map(|name| name.strip_suffix(".log")?.parse().ok()).max().expect("a segment")
}

fn clean(kind: Kind, dir: &Path) -> String {
    let mut node = Node::start(kind, dir, CLEANING);
    let data = dir.join("data");
    wait::until("all topics are cleaned", || {
        let cleaned = checkpoint(&data);
        let is_clean = |topic: &&str| {
            let partition = format!("{topic}-0");
            cleaned.get(&partition) == Some(&active_base(&data.join(&partition)))
        };
        TOPICS.iter().all(is_clean).then_some(())
    });
    let contents = clients::java("Contents", &[&node.bootstrap()]).ok();
    node.stop();
    contents
}

/// What Apache's dump tool says of all segments of a topic, without the times that depend on when it was cleaned, and, where batches were
/// compressed anew, without what depends on the compressor.
fn dump(data: &Path, topic: &str) -> String {
    let dir = data.join(format!("{topic}-0"));
    let mut logs: Vec<_> = std::fs::read_dir(&dir).expect("a partition").map(|e| e.expect("an entry").path()).collect();
    logs.retain(|path| path.extension().is_some_and(|e| e == "log" || e == "txnindex"));
    logs.sort();
    let files: Vec<String> = logs.iter().map(|path| path.display().to_string()).collect();
    let text = Tools::Apache.run("kafka-dump-log", &["--deep-iteration", "--files", &files.join(",")]).ok();
    let compressed = !matches!(topic, "k-none" | "k-append-time");
    let mask = |line: &str| {
        let mut words: Vec<&str> = line.split(' ').collect();
        for at in 1..words.len() {
            let is_horizon = words[at - 1] == "deleteHorizonMs:" && words[at] != "OptionalLong.empty";
            let depends = words[at - 1] == "crc:" || is_horizon || compressed && matches!(words[at - 1], "size:" | "position:");
            if depends {
                words[at] = "X";
            }
        }
        words.join(" ")
    };
    text.lines().map(mask).collect::<Vec<_>>().join("\n").replace(&data.display().to_string(), "DATA")
}

#[test]
fn a_directory_cleaned_by_each_holds_the_same() {
    let scratch = Scratch::new("compaction");
    let (ours, theirs) = (scratch.join("ours"), scratch.join("theirs"));
    let mut node = Node::start(Kind::Gregor, &ours, &["log.cleaner.enable=false"]);
    clients::java("CompactFill", &[&node.bootstrap(), "12000"]).ok();
    node.stop();
    drop(node);
    let copied = Command::new("cp").arg("-a").arg(&ours).arg(&theirs).status().expect("cp");
    assert!(copied.success());
    let size = |data: &Path, topic: &str| {
        let files = std::fs::read_dir(data.join(format!("{topic}-0"))).expect("a partition").map(|e| e.expect("an entry"));
        let logs = files.filter(|e| e.path().extension().is_some_and(|e| e == "log"));
        logs.map(|e| e.metadata().expect("a file").len()).sum::<u64>()
    };
    let before = size(&ours.join("data"), "k-none");
    let read_from_ours = clean(Kind::Gregor, &ours);
    let read_from_theirs = clean(Kind::Apache, &theirs);
    e2e::compare::assert_same("cleaned by each", &read_from_theirs, &read_from_ours, include_str!("../../known/turns.txt"));
    assert!(size(&ours.join("data"), "k-none") * 2 < before, "hardly anything was cleaned");
    for topic in TOPICS {
        let (ours, theirs) = (dump(&ours.join("data"), topic), dump(&theirs.join("data"), topic));
        assert!(ours.lines().count() > 100, "{ours}");
        e2e::compare::assert_same(topic, &theirs, &ours, "");
    }
    dump_everything(&ours.join("data"), &["__consumer_offsets", "__transaction_state", "k"]);
    // Apache goes on with what Gregor has cleaned, without a recovery.
    let mut apache = Node::start(Kind::Apache, &ours, &[]);
    let taken_over = clients::java("Contents", &[&apache.bootstrap()]).ok();
    e2e::compare::assert_same("Apache on what Gregor has cleaned", &read_from_ours, &taken_over, include_str!("../../known/turns.txt"));
    apache.stop();
    assert_content(&apache);
}

#[test]
fn apaches_compaction_tester() {
    let scratch = Scratch::new("compaction-tester");
    let dir = scratch.join("node");
    let settings = ["log.cleaner.backoff.ms=100", "log.segment.bytes=1048576", "log.cleaner.min.cleanable.ratio=0.01"];
    let mut node = Node::start(Kind::Gregor, &dir, &settings);
    for (codec, deletes) in [("none", "10"), ("lz4", "0")] {
        let broker = node.bootstrap();
        let args = ["--bootstrap-server", &broker, "--messages", "120000", "--duplicates", "20", "--percent-deletes", deletes];
        let mut command = clients::java_command("org.apache.kafka.tools.LogCompactionTester", &args);
        command.args(["--compression-type", codec, "--sleep", "1"]);
        let said = e2e::process::run(&mut command, "", Duration::from_secs(300));
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.stdout.contains("Data verification is completed"), "{said:?}");
    }
    // What was verified had been cleaned, or was while it was read.
    wait::until("logs are cleaned", || {
        let cleaned = checkpoint(&dir.join("data"));
        (cleaned.iter().filter(|(partition, offset)| partition.starts_with("log-cleaner-test") && **offset > 0).count() >= 2).then_some(())
    });
    node.stop();
}

/// Overwrites a piece of the first segment.
fn damage(partition: &Path) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options().read(true).write(true).open(partition.join("00000000000000000000.log")).expect("a segment");
    let mut piece = [0; 20];
    file.read_exact_at(&mut piece, 500_000).expect("bytes");
    file.write_all_at(&piece.map(|byte| byte ^ 0xff), 500_000).expect("written");
}

#[test]
fn a_damaged_partition_stops_no_other() {
    if e2e::repo::self_check() {
        return;
    }
    let scratch = Scratch::new("compaction-damaged");
    let dir = scratch.join("node");
    let data = dir.join("data");
    let mut node = Node::start(Kind::Gregor, &dir, &["log.cleaner.enable=false"]);
    let fill = |node: &Node, topic: &str| clients::java("Updates", &[&node.bootstrap(), topic, "30000", "500", "100"]).ok();
    for topic in ["bad", "good"] {
        let create = ["--create", "--topic", topic, "--bootstrap-server", &node.bootstrap()];
        let configs =
            ["--config", "cleanup.policy=compact", "--config", "segment.bytes=1048576", "--config", "min.cleanable.dirty.ratio=0.01"];
        Tools::Gregor.run("kafka-topics", &[&create[..], &configs].concat()).ok();
        fill(&node, topic);
    }
    node.stop();
    drop(node);
    damage(&data.join("bad-0"));

    let mut node = Node::prepare(Kind::Gregor, &dir, CLEANING);
    node.expect_log("cannot be cleaned").http = Some(e2e::repo::free_port());
    node.start_again();
    let is_clean = |topic: &str| checkpoint(&data).get(topic) == Some(&active_base(&data.join(topic)));
    wait::until("the good one is cleaned", || is_clean("good-0").then_some(()));
    let http = node.http.expect("a port");
    let metric = |name: &str| {
        let (_, page) = e2e::http::get(http, "/metrics", "text/plain")?;
        let line = page.lines().find(|line| line.starts_with(name))?;
        line.rsplit_once(' ')?.1.parse::<i64>().ok()
    };
    let uncleanable = || metric("kafka_log_logcleanermanager_uncleanable_partitions_count{");
    wait::until("the bad one is shown", || (uncleanable() == Some(1)).then_some(()));
    assert_eq!(metric("kafka_log_logcleaner_deadthreadcount"), Some(0));
    assert!(node.log().contains("partition=bad-0"), "{}", node.log());

    // A second thread comes while the node runs, and the good one is cleaned again.
    let threads =
        ["--alter", "--entity-type", "brokers", "--entity-default", "--add-config", "log.cleaner.threads=2", "--bootstrap-server"];
    Tools::Gregor.run("kafka-configs", &[&threads[..], &[&node.bootstrap()]].concat()).ok();
    let names = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", node.pid())).expect("threads").flatten();
        tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok()).collect::<String>()
    };
    wait::until("a second cleaner thread", || names().contains("gregor-clean-1").then_some(()));
    let before = active_base(&data.join("good-0"));
    fill(&node, "good");
    wait::until("the good one is cleaned again", || (is_clean("good-0") && active_base(&data.join("good-0")) > before).then_some(()));
    node.stop();
}
