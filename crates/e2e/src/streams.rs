//! Owns: running Kafka Streams programs: the drivers that Apache tests Streams with, from its test jars, and our own in
//! `crates/e2e/java-streams`. `cargo xtask test` installs the jars. Never does: judging what they print.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::{clients, repo};

/// Test jars on Maven Central: artifact and version. The smoke test is in that of 4.3.1, with helpers from that of the clients; the test of
/// exactly-once was left out of it and is taken from 4.2.0, the last with it. What both have is taken from the first.
pub const TEST_JARS: [(&str, &str); 3] = [("kafka-streams", "4.3.1"), ("kafka-clients", "4.3.1"), ("kafka-streams", "4.2.0")];

pub fn jars() -> PathBuf {
    clients::cache().join("streams-tests")
}

pub fn jar((artifact, version): (&str, &str)) -> PathBuf {
    jars().join(format!("{artifact}-{version}-test.jar"))
}

fn class_path() -> &'static str {
    static PATH: OnceLock<String> = OnceLock::new();
    PATH.get_or_init(|| {
        let jars = TEST_JARS.map(jar);
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
    let classes = CLASSES.get_or_init(|| clients::compile(class_path(), clients::sources("java-streams")));
    let mut command = clients::jvm(classes.path(), class_path());
    command.arg(clients::log4j()).arg(main).args(args);
    command
}
