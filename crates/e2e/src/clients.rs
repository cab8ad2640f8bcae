//! Clients of others: the Java sweeps compiled on Apache's jars of several versions, Go with franz-go, JavaScript with kafkajs, Python with
//! confluent-kafka, kcat. Installed by `cargo xtask test`.

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
    let mut command = jvm(classes(), class_path());
    command.arg(log4j()).arg(main).args(args);
    command
}

/// The same with all of the compiler, for measuring.
pub fn fast_java_command(main: &str, args: &[&str]) -> Command {
    let mut command = Command::new("java");
    command.args(["-XX:+UseSerialGC", "-Xmx512m", "-cp"]).arg(format!("{}:{}", classes().display(), class_path()));
    command.arg(log4j()).arg(main).args(args);
    command
}

fn classes() -> &'static Path {
    static CLASSES: OnceLock<repo::Scratch> = OnceLock::new();
    CLASSES.get_or_init(|| compile(class_path(), sources("java"))).path()
}

/// What makes Apache's programs log warnings and errors only, as its tools do.
pub(crate) fn log4j() -> String {
    format!("-Dlog4j2.configurationFile={}/tools-log4j2.properties", class_path().trim_end_matches("/*"))
}

/// Versions of `kafka-clients` beside that of Apache's own jars; `cargo xtask test` installs their jars in [`old_java_jars`].
pub const OLD_JAVA: [&str; 2] = ["2.8.2", "3.9.1"];

pub fn old_java_jars(version: &str) -> PathBuf {
    cache().join(format!("kafka-clients-{version}"))
}

/// `crates/e2e/java-old`, with what it shares with `crates/e2e/java`, compiled against an older client.
pub fn old_java(version: &str, args: &[&str]) -> Finished {
    let jars = format!("{}/*", old_java_jars(version).display());
    let shared =
        ["Check", "Member", "ConsumeChecks", "ProduceChecks"].map(|name| repo::root().join(format!("crates/e2e/java/{name}.java")));
    let classes = compile(&jars, sources("java-old").into_iter().chain(shared));
    run(jvm(classes.path(), &jars).arg("OldSweep").args(args), "", LIMIT)
}

pub(crate) fn sources(dir: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(repo::root().join("crates/e2e").join(dir)).expect("Java sources");
    entries.map(|e| e.expect("a source").path()).collect()
}

pub(crate) fn compile(class_path: &str, sources: impl IntoIterator<Item = PathBuf>) -> repo::Scratch {
    let classes = repo::Scratch::new("classes");
    run(Command::new("javac").args(["-cp", class_path, "-d"]).arg(classes.path()).args(sources), "", LIMIT).ok();
    classes
}

/// A small JVM that starts quickly.
pub(crate) fn jvm(classes: &Path, class_path: &str) -> Command {
    let mut command = Command::new("java");
    command.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx512m"]);
    command.arg("-cp").arg(format!("{}:{class_path}", classes.display()));
    command
}

/// The sweep of `crates/e2e/clients/go` (franz-go), built once for this process.
pub fn go_sweep(bootstrap: &str) -> Finished {
    static BINARY: OnceLock<repo::Scratch> = OnceLock::new();
    let binary = BINARY.get_or_init(|| {
        let scratch = repo::Scratch::new("go");
        run(go(&["build", "-o"]).arg(scratch.join("sweep")).arg("."), "", LIMIT).ok();
        scratch
    });
    run(Command::new(binary.join("sweep")).arg(bootstrap), "", LIMIT)
}

/// A command of Go in the module of its sweep.
pub fn go(args: &[&str]) -> Command {
    let mut command = Command::new("go");
    command.args(args).current_dir(repo::root().join("crates/e2e/clients/go"));
    command
}

/// The sweep of `crates/e2e/clients/js` (kafkajs), on the packages that `cargo xtask test` installed.
pub fn js_sweep(bootstrap: &str) -> Finished {
    let modules = cache().join("js/node_modules");
    assert!(modules.exists(), "{} is missing: `cargo xtask test` installs it", modules.display());
    run(Command::new("node").env("NODE_PATH", modules).arg(repo::root().join("crates/e2e/clients/js/sweep.js")).arg(bootstrap), "", LIMIT)
}

/// A script of `crates/e2e/clients` under the Python that has confluent-kafka.
pub fn python(script: &str, args: &[&str]) -> Finished {
    script_under("python", script, args)
}

/// The sweep with kafka-python.
pub fn kafka_python_sweep(bootstrap: &str) -> Finished {
    script_under("kafka-python", "sweep_kafka_python.py", &[bootstrap])
}

fn script_under(environment: &str, script: &str, args: &[&str]) -> Finished {
    run(Command::new(python_of(environment)).arg(repo::root().join("crates/e2e/clients").join(script)).args(args), "", LIMIT)
}

fn python_of(environment: &str) -> PathBuf {
    let python = cache().join(environment).join("bin/python");
    assert!(python.exists(), "{} is missing: `cargo xtask test` installs it", python.display());
    python
}

/// kafka-python's own integration tests, as its source package brings them.
pub fn kafka_python_tests(bootstrap: &str, deselected: &str) -> Finished {
    let package = kafka_python_package();
    let mut pytest = Command::new(python_of("kafka-python"));
    pytest.args([
        "-m",
        "pytest",
        "-q",
        "-rf",
        "--tb=short",
        "-p",
        "no:cacheprovider",
        "--timeout",
        "120",
        "-k",
        deselected,
        "test/integration",
    ]);
    pytest.current_dir(&package).env("PYTHONPATH", &package).env("PYTHONDONTWRITEBYTECODE", "1");
    // They look for a Kafka installation there, whether or not they start anything from it.
    pytest.env("KAFKA_ROOT", &package);
    pytest.env("KAFKA_URI", format!("kafka://{bootstrap}")).env("KAFKA_VERSION", "4.3.1");
    run(&mut pytest, "", LIMIT)
}

/// Where `cargo xtask test` unpacks the source package of [`KAFKA_PYTHON`].
pub fn kafka_python_package() -> PathBuf {
    cache().join("kafka-python/package").join(format!("kafka_python-{KAFKA_PYTHON}"))
}

pub const KAFKA_PYTHON: &str = "3.0.11";

/// franz-go's own tests of its client, as its module brings them; `skipped` is a regular expression over their names.
pub fn franz_go_tests(bootstrap: &str, skipped: &str) -> Finished {
    let mut go = go(&["test", "-v", "-count=1", "-timeout", "400s", "-skip", skipped, "github.com/twmb/franz-go/pkg/kgo"]);
    go.env("KGO_SEEDS", bootstrap).env("KGO_TEST_RF", "1").env("KGO_TEST_RECORDS", "5000").env("KGO_TEST_STABLE_FETCH", "true");
    go.env("KGO_LOG_LEVEL", "none").env("KGO_TEST_UNSAFE", "1");
    run(&mut go, "", LIMIT)
}

pub fn kcat_sweep(bootstrap: &str) -> Finished {
    run(Command::new(repo::root().join("crates/e2e/clients/kcat.sh")).arg(bootstrap), "", LIMIT)
}
