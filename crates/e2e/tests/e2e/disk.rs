//! The files: Apache's dump tool reads all that Gregor writes, Apache runs on Gregor's directory and Gregor on it again after, and a
//! directory that cannot be used is refused with a message that says why.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::repo::Scratch;
use e2e::{Kind, Node, Tools, clients};

const KEEP: &[&str] = &["log.retention.check.interval.ms=3600000"];

/// Topics of all codecs with several segments, a group with committed offsets, changed configs, deleted topics and records.
fn fill(node: &Node) {
    let broker = node.bootstrap();
    let run = |tool: &str, args: &[&str], input: &str| {
        let mut all = args.to_vec();
        all.extend(["--bootstrap-server", &broker]);
        Tools::Apache.run_with_input(tool, &all, input).ok()
    };
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = format!("d-{codec}");
        run(
            "kafka-topics",
            &[
                "--create",
                "--topic",
                &topic,
                "--partitions",
                "2",
                "--config",
                "segment.bytes=1048576",
                "--config",
                "index.interval.bytes=1024",
            ],
            "",
        );
        let args = ["--topic", &topic, "--num-records", "3000", "--record-size", "1000", "--throughput", "-1", "--producer-props"];
        let mut command = Tools::Apache.command("kafka-producer-perf-test", &args);
        command.args([format!("bootstrap.servers={broker}"), format!("compression.type={codec}"), "batch.size=20000".into()]);
        e2e::process::run(&mut command, "", std::time::Duration::from_secs(60)).ok();
    }
    run("kafka-topics", &["--create", "--topic", "d-gone"], "");
    run("kafka-topics", &["--delete", "--topic", "d-gone"], "");
    run("kafka-topics", &["--create", "--topic", "d-keys", "--config", "cleanup.policy=compact,delete"], "");
    run("kafka-topics", &["--alter", "--topic", "d-keys", "--partitions", "3"], "");
    run("kafka-configs", &["--alter", "--entity-type", "topics", "--entity-name", "d-keys", "--add-config", "retention.ms=86400000"], "");
    run(
        "kafka-console-producer",
        &["--topic", "d-keys", "--reader-property", "parse.key=true", "--reader-property", "key.separator=:"],
        "a:1\nb:2\nc:3\na:4\n",
    );
    run("kafka-console-consumer", &["--topic", "d-none", "--group", "d-group", "--from-beginning", "--max-messages", "700"], "");
    run("kafka-console-consumer", &["--topic", "d-keys", "--group", "d-group-2", "--from-beginning", "--max-messages", "4"], "");
}

fn files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        // A deleted topic's files wait for their removal as they were, indexes not yet trimmed.
        let deleted = path.extension().is_some_and(|e| e.to_string_lossy().ends_with("-delete"));
        if path.is_dir() && !deleted {
            files(&path, out);
        } else if !deleted {
            out.push(path);
        }
    }
}

/// Every log, index and snapshot through Apache's kafka-dump-log. Only `compacted` topics may have gaps, and batches whose records are all gone,
/// in which the tool finds no timestamp that agrees with the time index.
pub(crate) fn dump_everything(data: &Path, compacted: &[&str]) {
    let mut all = Vec::new();
    files(data, &mut all);
    let mut kinds = BTreeMap::<(&str, bool), Vec<String>>::new();
    for path in &all {
        let text = path.to_str().expect("utf-8");
        let decoder = if text.contains("__cluster_metadata-0/") || text.ends_with("bootstrap.checkpoint") {
            "--cluster-metadata-decoder"
        } else if text.contains("/__consumer_offsets-") {
            "--offsets-decoder"
        } else if text.contains("/__transaction_state-") {
            "--transaction-log-decoder"
        } else if text.contains("/__share_group_state-") {
            "--share-group-state-decoder"
        } else {
            "--deep-iteration"
        };
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
        if ["log", "index", "timeindex", "txnindex", "snapshot", "checkpoint"].contains(&extension) {
            kinds.entry((decoder, extension.ends_with("index"))).or_default().push(text.to_owned());
        }
    }
    assert!(kinds.len() >= 3, "{kinds:?}");
    for ((decoder, _), paths) in kinds {
        let out = Tools::Apache.run("kafka-dump-log", &[decoder, "--files", &paths.join(",")]);
        let text = format!("{}\n{}", out.stdout, out.stderr);
        assert_eq!(out.code, Some(0), "{text}");
        let mut gaps_allowed = false;
        let is_compacted = |path: &str| compacted.iter().any(|topic| path.contains(&format!("/{topic}-")));
        let lines: Vec<&str> = text.lines().collect();
        let complaints: Vec<&str> = lines
            .iter()
            .enumerate()
            .filter(|(at, l)| {
                if let Some((_, path)) = l.split_once("Non-consecutive offsets in ") {
                    gaps_allowed = is_compacted(path);
                }
                let emptied = lines.get(at + 1).is_some_and(|next| next.ends_with("log timestamp: -1"));
                if gaps_allowed && l.contains("is followed by") || emptied && l.contains("timestamp mismatch") && is_compacted(l) {
                    return false;
                }
                [
                    "isvalid: false",
                    "Exception",
                    "Mismatches",
                    "mismatch",
                    "out of order",
                    "is followed by",
                    "Could not",
                    "Unable",
                    "corrupt",
                    "failed",
                ]
                .iter()
                .any(|c| l.contains(c))
            })
            .map(|(_, l)| *l)
            // The tool itself says this of every compressed segment that does not begin at 0.
            .filter(|l| !l.trim().starts_with("-1 is followed by"))
            .collect();
        assert!(complaints.is_empty(), "kafka-dump-log {decoder}:\n{}", complaints.join("\n"));
        assert!(text.contains("Dumping"), "{text}");
    }
}

/// Apache has started on this directory without a recovery, and found nothing strange.
#[track_caller]
pub(crate) fn assert_content(apache: &Node) {
    let log = apache.log();
    let alarming: Vec<&str> = log
        .lines()
        .filter(|l| ["Recovering", "stray", "Rebuilding", "unclean", "orrupt", " ERROR "].iter().any(|a| l.contains(a)))
        // The metadata log is read anew at every start, also after a clean stop.
        .filter(|l| !l.contains("__cluster_metadata-0") && !l.contains("Skipping recovery") && !l.contains("unclean.leader"))
        .collect();
    assert!(alarming.is_empty(), "Apache is not content with Gregor's directory:\n{}", alarming.join("\n"));
}

#[test]
fn apache_reads_every_file_and_takes_turns() {
    let scratch = Scratch::new("turns");
    let dir = scratch.join("node");
    let mut gregor = Node::start(Kind::Gregor, &dir, KEEP);
    fill(&gregor);
    let written = clients::java("Contents", &[&gregor.bootstrap()]).ok();
    gregor.stop();
    dump_everything(&dir.join("data"), &["__consumer_offsets"]);

    gregor.clear_log();
    let mut apache = Node::start(Kind::Apache, &dir, KEEP);
    let taken_over = clients::java("Contents", &[&apache.bootstrap()]).ok();
    e2e::compare::assert_same("Apache on Gregor's directory", &written, &taken_over, include_str!("../../known/turns.txt"));
    Tools::Apache
        .run_with_input("kafka-console-producer", &["--topic", "d-zstd", "--bootstrap-server", &apache.bootstrap()], "from Apache\n")
        .ok();
    Tools::Apache.run("kafka-topics", &["--create", "--topic", "d-by-apache", "--bootstrap-server", &apache.bootstrap()]).ok();
    let written = clients::java("Contents", &[&apache.bootstrap()]).ok();
    apache.stop();
    assert_content(&apache);

    apache.clear_log();
    drop(apache);
    let mut gregor = Node::start(Kind::Gregor, &dir, KEEP);
    let back = clients::java("Contents", &[&gregor.bootstrap()]).ok();
    e2e::compare::assert_same("Gregor back on its directory", &written, &back, include_str!("../../known/turns.txt"));
    let broker = gregor.bootstrap();
    Tools::Gregor
        .run_with_input("kafka-console-producer", &["--topic", "d-by-apache", "--bootstrap-server", &broker], "from Gregor\n")
        .ok();
    gregor.stop();
    dump_everything(&dir.join("data"), &["__consumer_offsets"]);
}

/// Starts on a directory that must be refused; gives what is said on stderr. Nothing in the directory may have changed.
#[track_caller]
fn refused(node: &Node, words: &[&str]) {
    let out = node.start_refused();
    assert!(out.code.is_some_and(|c| c != 0), "must not start: {out:?}");
    let said = out.stderr.to_lowercase();
    for word in words {
        assert!(said.contains(word), "the message should say '{word}':\n{}", out.stderr);
    }
    assert!(!said.contains("panicked"), "{}", out.stderr);
}

#[test]
fn unusable_directories_are_refused() {
    let scratch = Scratch::new("refused");
    let dir = scratch.join("node");
    let mut node = Node::start(Kind::Gregor, &dir, &[]);
    node.expect_log(" ERROR ");

    // Locked by Gregor, and locked by Apache. (The third case is not tried: Apache writes to the metadata log before it looks at the lock.)
    refused(&Node::prepare(Kind::Gregor, &dir, &[]), &["lock"]);
    node.assert_serves();
    node.stop();
    let mut apache = Node::start(Kind::Apache, &dir, &[]);
    let mut other = Node::prepare(Kind::Gregor, &dir, &[]);
    other.expect_log("org.apache.kafka"); // they share the file
    refused(&other, &["lock"]);
    apache.assert_serves();
    apache.stop();
    apache.clear_log();
    drop(other);
    let mut node = Node::prepare(Kind::Gregor, &dir, &[]);
    node.expect_log(" ERROR ");

    // Another node's, another cluster's.
    let meta = dir.join("data/meta.properties");
    let good = std::fs::read_to_string(&meta).expect("meta.properties");
    std::fs::write(&meta, good.replace("node.id=1", "node.id=5")).expect("written");
    refused(&node, &["node.id", "5"]);
    std::fs::write(&meta, good.replace("version=1", "version=9")).expect("written");
    refused(&node, &["version"]);
    std::fs::write(&meta, "").expect("written");
    refused(&node, &["meta.properties"]);
    std::fs::write(&meta, &good).expect("written");
    let second = scratch.join("second");
    std::fs::create_dir_all(&second).expect("directory");
    // Another directory of another cluster: both ids differ in their first character.
    let id = good.split_once("directory.id=").expect("a directory id").1;
    let other_id = if id.starts_with('A') { "B" } else { "A" };
    let foreign =
        good.replace("cluster.id=M", "cluster.id=N").replace(&format!("directory.id={}", &id[..1]), &format!("directory.id={other_id}"));
    std::fs::write(second.join("meta.properties"), foreign).expect("written");
    let properties = std::fs::read_to_string(dir.join("server.properties")).expect("properties");
    let both = properties.replace(
        &format!("log.dirs={}", dir.join("data").display()),
        &format!("log.dirs={},{}", dir.join("data").display(), second.display()),
    );
    std::fs::write(dir.join("server.properties"), &both).expect("written");
    refused(&node, &["cluster"]);
    std::fs::write(dir.join("server.properties"), &properties).expect("written");

    // A file where the directory should be.
    let blocked = scratch.join("file");
    std::fs::write(&blocked, "x").expect("written");
    let file = scratch.join("blocked");
    std::fs::create_dir_all(&file).expect("directory");
    let other = Node::prepare(Kind::Gregor, &file, &[]);
    let text = std::fs::read_to_string(file.join("server.properties")).expect("properties");
    std::fs::write(file.join("server.properties"), text.replace(&file.join("data").display().to_string(), &blocked.display().to_string()))
        .expect("written");
    refused(&other, &["file"]);

    // And after all that, unharmed.
    node.start_again();
    node.stop();
}

#[test]
fn unknown_and_outdated_properties() {
    let scratch = Scratch::new("properties");
    let zookeeper = Node::prepare(Kind::Gregor, &scratch.join("zk"), &["zookeeper.connect=localhost:2181"]);
    zookeeper.format();
    let mut node = zookeeper;
    node.expect_log("zookeeper.connect");
    node.start_again();
    assert!(node.log().contains("zookeeper.connect"), "advice about zookeeper.connect: {}", node.log());
    node.stop();
    let broken = Node::prepare(Kind::Gregor, &scratch.join("bad"), &["num.partitions=many"]);
    refused(&broken, &["num.partitions", "many"]);
}

/// A mount, undone when dropped. None where mounting is not allowed.
struct Mount(PathBuf);

impl Mount {
    fn tmpfs(at: &Path, options: &str) -> Option<Self> {
        std::fs::create_dir_all(at).expect("directory");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).output().is_ok_and(|o| o.status.success());
        if !mounted {
            println!("NOT TESTED: this user may not mount a small file system, which a full or read-only disk needs");
        }
        mounted.then(|| Self(at.to_owned()))
    }

    fn remount(&self, options: &str) {
        let status = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.0).status().expect("mount");
        assert!(status.success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn read_only_disk() {
    let scratch = Scratch::new("read-only");
    let dir = scratch.join("node");
    let Some(mount) = Mount::tmpfs(&dir, "size=64m") else { return };
    let mut node = Node::start(Kind::Gregor, &dir, &[]);
    let tools = Kind::Gregor.tools();
    tools.run("kafka-topics", &["--create", "--topic", "kept", "--bootstrap-server", &node.bootstrap()]).ok();
    tools.run_with_input("kafka-console-producer", &["--topic", "kept", "--bootstrap-server", &node.bootstrap()], "kept\n").ok();
    node.stop();
    mount.remount("ro");
    node.expect_log("ead-only");
    refused(&node, &["read-only"]);
    mount.remount("rw");
    node.start_again();
    let args = ["--topic", "kept", "--from-beginning", "--max-messages", "1", "--bootstrap-server", &node.bootstrap()];
    assert_eq!(tools.run("kafka-console-consumer", &args).ok(), "kept\n");
    node.stop();
    drop(node);
    drop(mount);
}

/// The disk fills up under load: producers get an error, nothing that was acknowledged is lost, and with room again the node starts again.
#[test]
fn full_disk() {
    let scratch = Scratch::new("full");
    let dir = scratch.join("node");
    let Some(mount) = Mount::tmpfs(&dir, "size=48m") else { return };
    let mut node = Node::start(Kind::Gregor, &dir, &["offsets.topic.num.partitions=1", "log.index.size.max.bytes=65536"]);
    for expected in ["No space", "no space", "full", "offline", "disk", "storage", "I/O", "log dir"] {
        node.expect_log(expected);
    }
    let broker = node.bootstrap();
    Tools::Gregor.run("kafka-topics", &["--create", "--topic", "full", "--bootstrap-server", &broker]).ok();
    let mut load = clients::java_command("Fill", &[&broker, "full"]);
    let out = e2e::process::run(&mut load, "", std::time::Duration::from_secs(90)).ok();
    let acknowledged: u64 = out.lines().find_map(|l| l.strip_prefix("acknowledged ")?.parse().ok()).expect("a count");
    assert!(out.contains("refused with "), "the producer must be told: {out}");
    println!("{}", out.trim());
    assert!(acknowledged > 1000, "{out}");
    node.kill();
    mount.remount("size=128m");
    node.start_again();
    let end = Tools::Apache.run("kafka-get-offsets", &["--topic", "full", "--bootstrap-server", &node.bootstrap()]).ok();
    let end: u64 = end.trim().rsplit(':').next().and_then(|e| e.parse().ok()).unwrap_or_else(|| panic!("{end}"));
    assert!(end >= acknowledged, "{acknowledged} were acknowledged, {end} are there");
    node.stop();
    drop(node);
    drop(mount);
}
