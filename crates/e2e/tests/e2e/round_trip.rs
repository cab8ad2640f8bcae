//! One data directory and four owners: Apache, Gregor, Apache, Gregor. Each serves record by record, offset by offset and group by group what
//! the one before it left, ends the transaction that was open, and adds to everything; stopped cleanly, and killed.

use std::path::Path;

use e2e::process::Running;
use e2e::repo::Scratch;
use e2e::{Kind, Node, clients, compare, wait};

use crate::disk::{assert_content, dump_everything};

const PROPERTIES: &[&str] = &[
    "log.retention.check.interval.ms=3600000",
    // Compaction runs, and is over before the contents are noted.
    "log.cleaner.backoff.ms=200",
    "log.cleaner.dedupe.buffer.size=8388608",
    // A kill forgets deleted records whose log start is not in the checkpoint yet.
    "log.flush.start.offset.checkpoint.interval.ms=200",
    "offsets.topic.num.partitions=5",
    "transaction.state.log.num.partitions=5",
    "share.coordinator.state.topic.num.partitions=5",
];

const COMPACTED: &[&str] = &["rt-compacted", "rt-both", "__consumer_offsets", "__transaction_state", "__share_group_state"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Stop,
    Kill,
}

#[test]
fn after_clean_stops() {
    in_turns("round-trip", End::Stop);
}

#[test]
fn after_kills() {
    in_turns("round-trip-killed", End::Kill);
}

fn in_turns(name: &str, end: End) {
    let scratch = Scratch::new(name);
    let dir = scratch.join("node");
    let mut node = Node::start(Kind::Apache, &dir, PROPERTIES);
    let mut turn = Turn::fill(&node, 1, &scratch);
    clients::java("RoundTrip", &[&node.bootstrap(), "share-and-streams", "1"]).ok();
    let foreign = clients::java("RoundTrip", &[&node.bootstrap(), "describe-share-and-streams", "1"]).ok();
    turn.note(&node);
    for (step, kind, outcome) in [(2, Kind::Gregor, "commit"), (3, Kind::Apache, "abort"), (4, Kind::Gregor, "commit")] {
        match end {
            End::Stop => {
                node.stop();
                dump_everything(&dir.join("data"), COMPACTED);
            }
            End::Kill => node.kill(),
        }
        node.take_over(kind);
        turn.compare(&node, step);
        if kind == Kind::Apache {
            let described = clients::java("RoundTrip", &[&node.bootstrap(), "describe-share-and-streams", "1"]).ok();
            assert_eq!(foreign, described, "share and streams groups after they were in Gregor's keeping");
            if end == End::Stop {
                assert_content(&node);
            }
        }
        turn.finish(outcome);
        turn = Turn::fill(&node, step, &scratch);
        turn.note(&node);
    }
    node.stop();
    dump_everything(&dir.join("data"), COMPACTED);
}

/// What one owner leaves: its contents, and a producer in the middle of a transaction.
struct Turn {
    step: usize,
    open: Running,
    contents: String,
}

impl Turn {
    fn fill(node: &Node, number: usize, scratch: &Scratch) -> Turn {
        let step = number.to_string();
        clients::java("RoundTrip", &[&node.bootstrap(), "fill", &step]).ok();
        let out = scratch.join(&format!("open-{step}"));
        let mut command = clients::java_command("RoundTrip", &[&node.bootstrap(), "transact", &step]);
        let open = Running::spawn(&mut command, &out, &out.with_extension("err"));
        said(&open, "open");
        Turn { step: number, open, contents: String::new() }
    }

    /// Compaction is over, deleted records are noted; from now on nothing changes.
    fn note(&mut self, node: &Node) {
        let data = node.dir.join("data");
        wait::until("the log start is in its checkpoint", || {
            (checkpoint(&data, "log-start-offset-checkpoint", "rt-plain 0") == Some(7 * self.step as i64)).then_some(())
        });
        wait::until("the compacted topics are clean", || {
            ["rt-compacted", "rt-both"].iter().all(|topic| (0..2).all(|p| is_clean(&data, topic, p))).then_some(())
        });
        self.contents = contents(node);
    }

    fn compare(&self, node: &Node, step: usize) {
        let what = format!("{:?} on what the owner before left, step {step}", node.kind);
        compare::assert_same(&what, &self.contents, &contents(node), include_str!("../../known/turns.txt"));
    }

    /// The producer, which has only seen its connection break, ends its transaction with the new owner and begins another.
    fn finish(mut self, outcome: &str) {
        use std::io::Write;
        let stdin = self.open.stdin.as_mut().expect("its standard input");
        stdin.write_all(format!("{outcome}\n").as_bytes()).expect("told");
        said(&self.open, &format!("done: {outcome}"));
        said(&self.open, "went on");
        assert!(self.open.finish().success());
    }
}

fn contents(node: &Node) -> String {
    clients::java("Contents", &[&node.bootstrap()]).ok()
}

#[track_caller]
fn said(running: &Running, line: &str) {
    wait::until(&format!("the producer says '{line}'"), || running.stdout().lines().any(|l| l == line).then_some(()));
}

/// The cleaner's checkpoint is where the active segment begins.
fn is_clean(data: &Path, topic: &str, partition: usize) -> bool {
    let cleaned = checkpoint(data, "cleaner-offset-checkpoint", &format!("{topic} {partition}"));
    let entries = std::fs::read_dir(data.join(format!("{topic}-{partition}"))).expect("the partition");
    let names = entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned());
    let active = names.filter_map(|n| n.strip_suffix(".log")?.parse::<i64>().ok()).max();
    cleaned.is_some() && cleaned == active
}

fn checkpoint(data: &Path, file: &str, partition: &str) -> Option<i64> {
    let text = std::fs::read_to_string(data.join(file)).unwrap_or_default();
    text.lines().find_map(|l| l.strip_prefix(partition)?.strip_prefix(' ')?.parse().ok())
}
