//! Owns: running Kafka Streams programs: the drivers that Apache tests Streams with, from its test jars, and our own in
//! `crates/e2e/java-streams`. `cargo xtask test` installs the jars. Never does: judging what they print.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::{clients, repo};

/// A jar on Maven Central.
pub struct Jar {
    pub group: &'static str,
    pub artifact: &'static str,
    pub version: &'static str,
    pub classifier: Option<&'static str>,
}

const fn test_jar(artifact: &'static str, version: &'static str) -> Jar {
    Jar { group: "org.apache.kafka", artifact, version, classifier: Some("test") }
}

/// What is needed beside Apache's jars. The smoke test is in the test jar of 4.3.1, with helpers from that of the clients; the test of
/// exactly-once was left out of it and is taken from 4.2.0, the last with it. What both have is taken from the first.
pub const JARS: [Jar; 4] = [
    test_jar("kafka-streams", "4.3.1"),
    test_jar("kafka-clients", "4.3.1"),
    test_jar("kafka-streams", "4.2.0"),
    Jar { group: "org.rocksdb", artifact: "rocksdbjni", version: "10.1.3", classifier: None },
];

/// Where `cargo xtask test` puts them.
pub fn directory() -> PathBuf {
    clients::cache().join("streams")
}

impl Jar {
    pub fn path(&self) -> PathBuf {
        let classifier = self.classifier.map_or(String::new(), |name| format!("-{name}"));
        directory().join(format!("{}-{}{classifier}.jar", self.artifact, self.version))
    }

    /// As Maven writes it.
    pub fn coordinates(&self) -> String {
        let classifier = self.classifier.map_or(String::new(), |name| format!(":jar:{name}"));
        format!("{}:{}:{}{classifier}", self.group, self.artifact, self.version)
    }
}

fn class_path() -> &'static str {
    static PATH: OnceLock<String> = OnceLock::new();
    PATH.get_or_init(|| {
        let jars = JARS.map(|jar| jar.path());
        for jar in &jars {
            assert!(jar.exists(), "{} is missing: `cargo xtask test` installs it", jar.display());
        }
        let all = jars.iter().map(|jar| jar.display().to_string()).chain([clients::class_path().to_owned()]);
        all.collect::<Vec<_>>().join(":")
    })
}

/// A program of `crates/e2e/java-streams`, compiled once for this process, or a class of Apache's test jars.
pub fn command(main: &str, args: &[&str]) -> Command {
    static CLASSES: OnceLock<repo::Scratch> = OnceLock::new();
    let classes = CLASSES.get_or_init(|| {
        let shared = repo::root().join("crates/e2e/java/Check.java");
        clients::compile(class_path(), clients::sources("java-streams").into_iter().chain([shared]))
    });
    let mut command = clients::jvm(classes.path(), class_path());
    command.arg(clients::log4j()).arg(main).args(args);
    command
}
