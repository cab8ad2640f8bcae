//! Groups: a thousand members of the consumer protocol over 3,000 partitions and 300 of the classic one over 900, with the heartbeat intervals that
//! are the defaults. What takes time in a rebalance are these intervals, so both brokers run and rebalance at the same time; what takes CPU to
//! the limit, commits, they do in turns. Members are those of `load members`: raw connections that behave as Java's clients do.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use e2e::repo::Scratch;
use e2e::{Kind, Node};

use super::bars::{Bar, Limit};
use super::load;
use super::measure::{all_led, cpu_seconds, resident_mib};
use super::results::Results;
use super::tools::{start, topics};
use super::{Part, Plan};

/// How long members may take to say good-bye.
const LEAVING_MS: u64 = 30_000;

const JOIN: &str = "consumer group, 1,000 members, 3,000 partitions: stable after the last join, s";
const CLASSIC_JOIN: &str = "classic group, 300 members, 900 partitions: stable after the last join, s";
const REST: &str = "at rest with both groups: broker CPU, % of a core";

pub const PART: Part = Part {
    name: "groups",
    what: "Groups",
    measure,
    bars: &[
        Bar { figure: JOIN, limits: &[Limit::AtMost(5.0)] },
        Bar { figure: CLASSIC_JOIN, limits: &[Limit::AtMost(5.0)] },
        Bar { figure: REST, limits: &[Limit::AtMost(2.0)] },
    ],
};

/// What has been measured, to be added when both brokers are done.
type Measured = Vec<(&'static str, f64)>;

struct Size {
    members: u64,
    classic: u64,
    rest_ms: u64,
    /// Heartbeats of a group that has just moved come more often for a while.
    settle_ms: u64,
    roll_ms: u64,
}

fn measure(plan: &Plan, results: &mut Results) {
    let size = Size {
        members: plan.either(1000, 100),
        classic: plan.either(300, 30),
        rest_ms: plan.either(10_000, 1_000),
        settle_ms: plan.either(4_000, 100),
        roll_ms: plan.either(20_000, 1_000),
    };
    let scratch = Scratch::new("bench-groups");
    let mut running: Vec<(Kind, Node)> = plan.kinds.iter().map(|kind| (*kind, start(*kind, &scratch.join(&format!("{kind:?}"))))).collect();
    for (_, node) in &running {
        for (topic, partitions) in [("many", 3000), ("classic", 900)] {
            topics(node, &["--create", "--topic", topic, "--partitions", &partitions.to_string()]);
            e2e::wait::until("all partitions have leaders", || all_led(node.port, topic, partitions).then_some(()));
        }
    }
    // The first is for warming up: the topic of the offsets is made, its coordinators are loaded.
    let first = if plan.quick { 1 } else { 0 };
    for run in first..=plan.runs {
        let mut add = |kind: Kind, measured: Measured| {
            if run > 0 {
                measured.into_iter().for_each(|(name, value)| results.add(kind, name, value));
            }
        };
        let groups = both(&mut running, |node| rebalances(node, run, &size));
        let mut members = Vec::new();
        for ((kind, node), (measured, group)) in running.iter().zip(groups) {
            add(*kind, measured);
            members.push((*kind, node, group));
        }
        for (kind, node, group) in &mut members {
            add(*kind, commits(node, group, plan.either(3_000, 500)));
        }
        drop(members);
    }
    let fill = plan.either(1_000_000, 20_000);
    for (measured, kind) in both(&mut running, |node| restarts(node, &size, fill)).into_iter().zip(&plan.kinds) {
        measured.into_iter().for_each(|(name, value)| results.add(*kind, name, value));
    }
    running.iter_mut().for_each(|(_, node)| node.stop());
}

/// The same on both brokers at a time.
fn both<T: Send>(running: &mut [(Kind, Node)], work: impl Fn(&mut Node) -> T + Sync) -> Vec<T> {
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = running.iter_mut().map(|(_, node)| scope.spawn(move || work(node))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread of the benchmark")).collect()
    })
}

/// A new group of each protocol; then a tenth of the larger goes and comes back.
fn rebalances(node: &Node, run: usize, size: &Size) -> (Measured, Members) {
    let mut out = Measured::new();
    let memory = resident_mib(node.pid());
    let mut group = Members::start(node, &format!("consumer-{run}"), "many", "consumer");
    let before = cpu_seconds(node.pid());
    let joined = group.order(&format!("join {} 0", size.members));
    out.push((JOIN, joined["stable_after_last_ms"] / 1000.0));
    out.push(("consumer group: all join, broker CPU s", cpu_seconds(node.pid()) - before));
    out.push(("consumer group: partitions owned by two at a time", joined["overlaps"]));

    let mut classic = Members::start(node, &format!("classic-{run}"), "classic", "classic");
    let joined = classic.order(&format!("join {} 0", size.classic));
    out.push((CLASSIC_JOIN, joined["stable_after_last_ms"] / 1000.0));
    out.push(("memory more with both groups, MiB", resident_mib(node.pid()) - memory));

    group.order(&format!("rest {}", size.settle_ms));
    let before = cpu_seconds(node.pid());
    std::thread::scope(|scope| {
        let others = scope.spawn(|| classic.order(&format!("rest {}", size.rest_ms)));
        let rested = group.order(&format!("rest {}", size.rest_ms));
        let heartbeats = rested["heartbeats"] + others.join().expect("a thread of the benchmark")["heartbeats"];
        let cpu = cpu_seconds(node.pid()) - before;
        out.push((REST, cpu * 100_000.0 / size.rest_ms as f64));
        out.push(("at rest: broker CPU per heartbeat, us", cpu * 1e6 / heartbeats.max(1.0)));
    });
    drop(classic);

    let tenth = size.members / 10;
    let left = group.order(&format!("leave {tenth}"));
    out.push(("consumer group: stable after a tenth has left, s", left["stable_after_last_ms"] / 1000.0));
    let back = group.order(&format!("join {tenth} 0"));
    out.push(("consumer group: stable after a tenth has come back, s", back["stable_after_last_ms"] / 1000.0));
    (out, group)
}

/// Every member one request after the other, each for the partitions it owns.
fn commits(node: &Node, group: &mut Members, ms: u64) -> Measured {
    let before = cpu_seconds(node.pid());
    let done = group.order(&format!("commit {ms}"));
    let cpu = cpu_seconds(node.pid()) - before;
    let commits = done["commits_per_second"] * done["seconds"];
    vec![
        ("commits of all members, requests/s", done["commits_per_second"]),
        ("commits of all members, broker CPU us a request", cpu * 1e6 / commits.max(1.0)),
    ]
}

/// Everybody leaves and comes back, one after the other; then the broker is killed, with many commits to load.
fn restarts(node: &mut Node, size: &Size, fill: u64) -> Measured {
    let mut group = Members::start(node, "restarts", "many", "consumer");
    group.order(&format!("join {} 0", size.members));
    let before = cpu_seconds(node.pid());
    let rolled = group.order(&format!("roll {}", size.roll_ms));
    let cpu = cpu_seconds(node.pid()) - before;
    group.order(&format!("fill {fill}"));
    group.order(&format!("rest {}", size.settle_ms));
    node.kill();
    let mut again = group;
    let back = std::thread::scope(|scope| {
        let back = scope.spawn(|| again.order("again"));
        node.start_again();
        back.join().expect("a thread of the benchmark")
    });
    vec![
        ("rolling restart of all members in 20 s: stable after the last, s", rolled["stable_after_last_ms"] / 1000.0),
        ("rolling restart of all members in 20 s: broker CPU s", cpu),
        ("kill -9 with a million commits to load: group served after, s", back["served_ms"] / 1000.0),
        ("kill -9 with a million commits to load: all members back after, s", back["stable_ms"] / 1000.0),
    ]
}

/// A running `load members`.
struct Members {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Members {
    fn start(node: &Node, group: &str, topic: &str, protocol: &str) -> Self {
        let broker = node.bootstrap();
        let mut command = load::command(&["members", &broker, group, topic, protocol]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("load members");
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().expect("a pipe"));
        Members { child, orders, answers }
    }

    /// The figures that the answer holds.
    fn order(&mut self, order: &str) -> BTreeMap<String, f64> {
        let orders = self.orders.as_mut().expect("only taken at the end");
        writeln!(orders, "{order}").expect("load members listens");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("load members answers");
        assert!(!line.is_empty(), "load members has ended at '{order}'");
        load::figures(&line)
    }
}

/// Everybody leaves.
impl Drop for Members {
    fn drop(&mut self) {
        self.orders = None;
        for _ in 0..LEAVING_MS / 20 {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
