//! Ten thousand connections that have done what a client does at first, and then nothing: what they add to the broker's memory, and to the
//! kernel's. Every run has a broker of its own, so that none finds memory that an earlier one has left.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use e2e::repo::Scratch;
use e2e::{Kind, Node};

use super::bars::{Bar, Limit};
use super::load::{command, figures};
use super::measure::{cpu_seconds, resident_mib};
use super::results::Results;
use super::tools::{start, topics};
use super::{Part, Plan};

/// Each process here may open 20,000 files.
const CONNECTIONS: u64 = 10_000;
const TOPIC: &str = "visited";

pub const PART: Part = Part {
    name: "connections",
    what: "10,000 idle connections",
    measure,
    // 80 MB.
    bars: &[Bar { figure: "memory they add, MiB", limits: &[Limit::AtMost(76.3)] }],
};

fn measure(plan: &Plan, results: &mut Results) {
    for run in 0..plan.runs {
        for kind in &plan.kinds {
            let scratch = Scratch::new("bench-connections");
            println!("run {run}");
            idle(*kind, plan, &scratch.join("node"), results);
        }
    }
}

fn idle(kind: Kind, plan: &Plan, dir: &Path, results: &mut Results) {
    let mut node = start(kind, dir);
    topics(&node, &["--create", "--topic", TOPIC, "--partitions", "1"]);
    settle();
    let before = (resident_mib(node.pid()), kernel_mib(), cpu_seconds(node.pid()));
    let open = Connections::open(&node, plan.either(CONNECTIONS, 1000));
    settle();
    results.add(kind, "memory they add, MiB", resident_mib(node.pid()) - before.0);
    results.add(kind, "kernel memory they add, both ends, MiB", kernel_mib() - before.1);
    results.add(kind, "broker CPU to serve them first, s", cpu_seconds(node.pid()) - before.2);
    open.close();
    settle();
    results.add(kind, "memory that stays when they are closed, MiB", resident_mib(node.pid()) - before.0);
    node.stop();
}

/// What was deferred by the broker or the kernel is done then.
fn settle() {
    std::thread::sleep(Duration::from_secs(2));
}

/// Connections that a process holds open.
pub struct Connections {
    process: std::process::Child,
    out: BufReader<std::process::ChildStdout>,
    count: u64,
}

impl Connections {
    pub fn open(node: &Node, count: u64) -> Self {
        let mut command = command(&["connections", &node.bootstrap(), TOPIC, &count.to_string()]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the load generator");
        let mut out = BufReader::new(process.stdout.take().expect("its output"));
        let mut line = String::new();
        out.read_line(&mut line).expect("a line");
        assert_eq!(figures(&line).get("open"), Some(&(count as f64)), "{line}");
        Connections { process, out, count }
    }

    /// Once each has been served again.
    pub fn close(mut self) {
        self.process.stdin = None;
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).expect("its output");
        assert_eq!(figures(&rest).get("served"), Some(&(self.count as f64)), "{rest}");
        self.process.wait().expect("its end");
    }
}

/// Kernel objects that cannot be reclaimed (sockets, their files, what epoll holds of them) and socket buffers.
fn kernel_mib() -> f64 {
    let meminfo = std::fs::read_to_string("/proc/meminfo").expect("meminfo");
    let slab = meminfo.lines().find_map(|line| line.strip_prefix("SUnreclaim:")).expect("SUnreclaim");
    let kib: f64 = slab.trim().trim_end_matches(" kB").parse().expect("a number");
    let sockets = std::fs::read_to_string("/proc/net/sockstat").expect("sockstat");
    let tcp = sockets.lines().find(|line| line.starts_with("TCP:")).expect("TCP");
    let pages: f64 = tcp.rsplit_once("mem ").expect("mem").1.trim().parse().expect("a number");
    kib / 1024.0 + pages / 256.0
}
