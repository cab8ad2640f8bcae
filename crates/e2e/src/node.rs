//! One broker and controller, Gregor or Apache Kafka, from the same server.properties.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Finished, Running};
use crate::tools::Tools;
use crate::{raw, repo, wait};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Gregor,
    Apache,
}

impl Kind {
    pub fn tools(self) -> Tools {
        match self {
            Kind::Gregor => Tools::Gregor,
            Kind::Apache => Tools::Apache,
        }
    }
}

pub const CLUSTER_ID: &str = "MkU3OEVBNTcwNTJENDM2Qk";

/// Replication factor 1 wherever Kafka's default is 3, and no wait before the first rebalance.
const SINGLE_NODE: &[&str] = &[
    "group.initial.rebalance.delay.ms=0",
    "offsets.topic.replication.factor=1",
    "transaction.state.log.replication.factor=1",
    "transaction.state.log.min.isr=1",
    "share.coordinator.state.topic.replication.factor=1",
    "share.coordinator.state.topic.min.isr=1",
];

/// A node with its files in `dir`: `server.properties`, `data/`, `server.out` (the log). Killed when dropped.
pub struct Node {
    pub kind: Kind,
    pub dir: PathBuf,
    pub port: u16,
    /// The JVM's heap; small for tests, Kafka's own default for measuring.
    pub heap: &'static str,
    /// Where Gregor serves metrics and health, if anywhere.
    pub http: Option<u16>,
    running: Option<Running>,
    /// Parts of log lines of level WARN or ERROR that this test expects; from the start those about keys without effect, since both
    /// kinds get the same properties.
    expected: Vec<String>,
}

impl Node {
    /// Formats a new directory, starts, and waits until requests are answered.
    pub fn start(kind: Kind, dir: &Path, extra: &[&str]) -> Self {
        let mut node = Self::prepare(kind, dir, extra);
        if !dir.join("data/meta.properties").exists() {
            node.format();
        }
        node.start_again();
        node
    }

    /// Writes server.properties only.
    pub fn prepare(kind: Kind, dir: &Path, extra: &[&str]) -> Self {
        let kind = if repo::self_check() { Kind::Apache } else { kind };
        std::fs::create_dir_all(dir).expect("directory of a node");
        let port = repo::free_port();
        let controller = port + 1;
        let mut lines = vec![
            "process.roles=broker,controller".to_owned(),
            "node.id=1".into(),
            format!("listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}"),
            format!("advertised.listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}"),
            "controller.listener.names=CONTROLLER".into(),
            format!("controller.quorum.voters=1@127.0.0.1:{controller}"),
            format!("log.dirs={}", dir.join("data").display()),
        ];
        lines.extend(SINGLE_NODE.iter().chain(extra).map(|l| (*l).to_owned()));
        std::fs::write(dir.join("server.properties"), lines.join("\n") + "\n").expect("server.properties");
        Self { kind, dir: dir.to_owned(), port, heap: "512m", http: None, running: None, expected: vec!["has no effect".into()] }
    }

    /// `kafka-storage format` by this kind's own tool.
    pub fn format(&self) {
        let properties = self.properties();
        self.kind.tools().run("kafka-storage", &["format", "-t", CLUSTER_ID, "-c", properties.to_str().expect("utf-8 path")]).ok();
    }

    fn properties(&self) -> PathBuf {
        self.dir.join("server.properties")
    }

    fn command(&self) -> Command {
        let mut command = match self.kind {
            Kind::Gregor => {
                let mut c = Command::new(repo::gregor());
                let http = self.http.map_or("off".into(), |port| format!("127.0.0.1:{port}"));
                c.env("RUST_BACKTRACE", "1").arg("server").arg(self.properties());
                c.args(["--override", &format!("gregor.http.listener={http}")]);
                c
            }
            Kind::Apache => {
                let mut c = Command::new(repo::apache_launcher());
                c.arg("server").arg(self.properties());
                c
            }
        };
        command.env("KAFKA_HEAP", self.heap);
        command
    }

    /// Starts on the directory as it is and waits until requests are answered.
    pub fn start_again(&mut self) {
        self.spawn();
        let mut running = self.running.take().expect("just spawned");
        wait::until(&format!("{:?} answers on port {}", self.kind, self.port), || {
            if let Some(status) = running.ended() {
                panic!("{:?} ended at its start with {status}:\n{}", self.kind, tail(&running.stdout()));
            }
            raw::answers(self.port).then_some(())
        });
        self.running = Some(running);
    }

    /// The other kind starts on the same directory, port and properties, after this one has stopped or was killed.
    pub fn take_over(&mut self, kind: Kind) {
        self.clear_log();
        self.kind = if repo::self_check() { Kind::Apache } else { kind };
        self.start_again();
    }

    /// Starts without waiting for anything.
    pub fn spawn(&mut self) {
        let log = self.log_file();
        self.running = Some(Running::spawn(&mut self.command(), &log, &log));
    }

    /// Starts a node that is supposed to refuse, and gives what it said.
    pub fn start_refused(&self) -> Finished {
        crate::process::run(&mut self.command(), "", wait::PATIENCE)
    }

    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn pid(&self) -> u32 {
        self.running.as_ref().expect("the node runs").pid()
    }

    /// SIGTERM; a clean end is demanded.
    pub fn stop(&mut self) {
        let status = self.running.take().expect("the node runs").terminate();
        // A JVM that ends by a signal says 143.
        assert!(status.success() || status.code() == Some(143), "{:?} ended with {status}:\n{}", self.kind, tail(&self.log()));
    }

    /// Waits until the process ends on its own; gives its exit code.
    pub fn wait_for_end(&mut self) -> Option<i32> {
        let mut running = self.running.take().expect("the node runs");
        wait::until("the node ends", || running.ended()).code()
    }

    pub fn kill(&mut self) {
        self.running.take().expect("the node runs").kill();
    }

    pub fn log_file(&self) -> PathBuf {
        self.dir.join("server.out")
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log_file()).unwrap_or_default()).into_owned()
    }

    pub fn clear_log(&self) {
        let _ = std::fs::File::options().write(true).truncate(true).open(self.log_file());
    }

    /// Log lines of level WARN or ERROR that contain `text` are no failure of this test.
    pub fn expect_log(&mut self, text: &str) -> &mut Self {
        self.expected.push(text.to_owned());
        self
    }

    pub fn assert_serves(&mut self) {
        if let Some(status) = self.running.as_mut().expect("the node runs").ended() {
            panic!("{:?} ended with {status}:\n{}", self.kind, tail(&self.log()));
        }
        assert!(raw::answers(self.port), "{:?} does not answer any more:\n{}", self.kind, tail(&self.log()));
    }

    /// Ports, directories and times of day differ between two nodes; in what they say each becomes a word.
    pub fn normalise(&self, text: &str) -> String {
        let text = crate::compare::without_clock(text);
        let text = crate::compare::replace_number(&text, self.port + 1, "CONTROLLER-PORT");
        crate::compare::replace_number(&text, self.port, "PORT").replace(&self.dir.display().to_string(), "DIR")
    }

    fn unexpected_log_lines(&self) -> Vec<String> {
        let log = self.log();
        let alarming = log.lines().filter(|l| [" WARN ", " ERROR ", "panicked at"].iter().any(|level| l.contains(level)));
        alarming.filter(|l| !self.expected.iter().any(|e| l.contains(e.as_str()))).map(str::to_owned).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.running = None;
        if std::thread::panicking() {
            eprintln!("{:?} on port {}, end of its log:\n{}", self.kind, self.port, tail(&self.log()));
        } else if self.kind == Kind::Gregor {
            let lines = self.unexpected_log_lines();
            let first = &lines[..lines.len().min(20)];
            assert!(lines.is_empty(), "Gregor logged {} lines that this test does not expect:\n{}", lines.len(), first.join("\n"));
        }
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
