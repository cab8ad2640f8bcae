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
