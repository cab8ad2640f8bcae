//! Clients of others: the Java sweep compiled on Apache's jars, Python with confluent-kafka, kcat. Installed by `cargo xtask test`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::process::{Finished, run};
use crate::repo;

const LIMIT: Duration = Duration::from_secs(600);

/// Where `cargo xtask test` keeps what it installs: `$GREGOR_CACHE`, else `~/.cache/gregor`.
pub fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache/gregor");
    std::env::var_os("GREGOR_CACHE").map_or_else(home, PathBuf::from)
}

/// Apache's jars, as a Java class path.
pub fn class_path() -> &'static str {
    static PATH: OnceLock<String> = OnceLock::new();
    PATH.get_or_init(|| run(Command::new(repo::apache_launcher()).arg("classpath"), "", LIMIT).ok().trim().to_owned())
}

/// Runs a program of `crates/e2e/java`.
pub fn java(main: &str, args: &[&str]) -> Finished {
    run(&mut java_command(main, args), "", LIMIT)
}

/// A program of `crates/e2e/java`, compiled once for this process.
pub fn java_command(main: &str, args: &[&str]) -> Command {
    static CLASSES: OnceLock<repo::Scratch> = OnceLock::new();
    let classes = CLASSES.get_or_init(|| {
        let classes = repo::Scratch::new("classes");
        let sources = std::fs::read_dir(repo::root().join("crates/e2e/java")).expect("Java sources").map(|e| e.expect("a source").path());
        run(Command::new("javac").args(["-cp", class_path(), "-d"]).arg(classes.path()).args(sources), "", LIMIT).ok();
        classes
    });
    let log4j = Path::new(class_path().trim_end_matches("/*")).join("tools-log4j2.properties");
    let mut command = Command::new("java");
    command.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx512m"]);
    command.arg(format!("-Dlog4j2.configurationFile={}", log4j.display()));
    command.arg("-cp").arg(format!("{}:{}", classes.path().display(), class_path())).arg(main).args(args);
    command
}

/// A script of `crates/e2e/clients` under the Python that has confluent-kafka.
pub fn python(script: &str, args: &[&str]) -> Finished {
    let python = cache().join("python/bin/python");
    assert!(python.exists(), "{} is missing: `cargo xtask test` installs it", python.display());
    run(Command::new(python).arg(repo::root().join("crates/e2e/clients").join(script)).args(args), "", LIMIT)
}

pub fn kcat_sweep(bootstrap: &str) -> Finished {
    run(Command::new(repo::root().join("crates/e2e/clients/kcat.sh")).arg(bootstrap), "", LIMIT)
}
