//! `cargo xtask test`: every check of this repository in one go. What client tests need is installed through the ordinary package clients:
//! Java jars by mvn, Go modules by go, npm packages by npm, PyPI packages by pip, each into a directory of its own; kcat and valgrind by
//! apt-get where this user may.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use e2e::{clients, repo, streams};

const CONFLUENT_KAFKA: &str = "confluent-kafka==2.16.1";

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    /// Steps in order: name, seconds, whether it went well.
    steps: Vec<(String, f64, bool)>,
}

impl Tally {
    /// Runs one step. A step without cargo's `test result:` lines counts as one test.
    fn step(&mut self, name: &str, run: impl FnOnce(&mut Counts) -> Result<(), String>) {
        println!("\n== {name}");
        let begin = Instant::now();
        let mut counts = Counts::default();
        let outcome = run(&mut counts);
        let seconds = begin.elapsed().as_secs_f64();
        if let Err(message) = &outcome {
            println!("== {name} FAILED after {seconds:.0} s: {message}");
        } else {
            println!("== {name}: done in {seconds:.0} s");
        }
        if counts.passed + counts.failed == 0 {
            if outcome.is_ok() { counts.passed = 1 } else { counts.failed = 1 }
        } else if outcome.is_err() && counts.failed == 0 {
            counts.failed = 1; // it did not even compile, or died
        }
        self.passed += counts.passed;
        self.failed += counts.failed;
        self.steps.push((name.to_owned(), seconds, outcome.is_ok()));
    }
}

#[derive(Default)]
struct Counts {
    passed: usize,
    failed: usize,
}

impl Counts {
    /// Reads `test result: ok. 12 passed; 0 failed; ...`.
    fn read(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("test result: ") else { return };
        let number_before = |word: &str| {
            let (before, _) = rest.split_once(word)?;
            before.split_whitespace().last()?.parse::<usize>().ok()
        };
        self.passed += number_before(" passed").unwrap_or(0);
        self.failed += number_before(" failed").unwrap_or(0);
    }
}

pub fn main(args: &[String]) -> Result<(), String> {
    if let Some(unknown) = args.iter().find(|a| !["--skip-lints", "--skip-e2e"].contains(&a.as_str())) {
        return Err(format!("'{unknown}' is neither --skip-lints nor --skip-e2e"));
    }
    let skip = |what: &str| args.iter().any(|a| a == what);
    let begin = Instant::now();
    let mut tally = Tally::default();
    if !skip("--skip-lints") {
        lints(&mut tally);
    }
    tally.step("build gregor", |c| run(cargo(&["build", "--package", "cli"]), c));
    tally.step("unit and scenario tests", |c| {
        run(cargo(&["test", "--workspace", "--exclude", "e2e", "--exclude", "fuzz-targets", "--no-fail-fast"]), c)
    });
    tally.step("install valgrind (apt-get)", |c| system_package("valgrind", &["--version"], c));
    tally.step("instructions and allocations of the hot pieces", |c| {
        run(cargo(&["test", "--profile", "counts", "--package", "counts", "--no-fail-fast"]), c)
    });
    tally.step("fuzz targets, a short run", |c| run(cargo(&["test", "--package", "fuzz-targets"]), c));
    if !skip("--skip-e2e") {
        tally.step("install Apache Kafka's jars (mvn)", |c| run(launcher(&["install"]), c));
        for version in clients::OLD_JAVA {
            tally.step(&format!("install kafka-clients {version} (mvn)"), |c| old_java(version, c));
        }
        tally.step("install Kafka Streams and its test drivers (mvn)", streams_jars);
        tally.step("install franz-go (go)", |c| run(clients::go(&["build", "-o", "/dev/null", "."]), c));
        tally.step("install kafkajs (npm)", javascript);
        tally.step("install confluent-kafka (pip)", |c| python("python", &[CONFLUENT_KAFKA], c).map(drop));
        tally.step("install kafka-python (pip)", kafka_python);
        tally.step("install kcat (apt-get)", |c| system_package("kcat", &["-V"], c));
        tally.step("wire notation against the schemas in the jars", |_| {
            let jars = clients::class_path().trim_end_matches("/*").to_owned();
            crate::schema::main(&["check".to_owned(), jars])
        });
        tally.step("end-to-end tests", |c| run(cargo(&["test", "--package", "e2e", "--no-fail-fast", "--", "--test-threads", "2"]), c));
    }
    println!("\n== {:.1} minutes in all", begin.elapsed().as_secs_f64() / 60.0);
    for (name, seconds, ok) in &tally.steps {
        println!("{seconds:7.0} s  {}  {name}", if *ok { "ok    " } else { "FAILED" });
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if tally.failed == 0 { Ok(()) } else { Err(format!("{} failed", tally.failed)) }
}

fn lints(tally: &mut Tally) {
    if has("cargo", &["fmt", "--version"]) {
        tally.step("format (rustfmt)", |c| run(cargo(&["fmt", "--all", "--check"]), c));
    } else {
        println!("\n== format: left out, this toolchain has no rustfmt (rustup component add rustfmt)");
    }
    if has("cargo", &["clippy", "--version"]) {
        tally.step("lints (clippy)", |c| run(cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"]), c));
    } else {
        println!("\n== lints: left out, this toolchain has no clippy (rustup component add clippy)");
    }
}

fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(repo::root());
    // This program was itself started by cargo, whose settings for its own package are not meant for others.
    for (key, _) in std::env::vars_os() {
        if key.to_str().is_some_and(|k| k.starts_with("CARGO_PKG_") || k == "CARGO_MANIFEST_DIR" || k == "CARGO_MANIFEST_PATH") {
            command.env_remove(key);
        }
    }
    command
}

fn launcher(args: &[&str]) -> Command {
    let mut command = Command::new(repo::apache_launcher());
    command.args(args);
    command
}

fn has(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

/// Runs a command, passes on what it prints and counts its tests.
fn run(mut command: Command, counts: &mut Counts) -> Result<(), String> {
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|e| format!("{}: {e}", command.get_program().display()))?;
    let stdout = child.stdout.take().expect("piped");
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        println!("{line}");
        counts.read(&line);
    }
    let status = child.wait().map_err(|e| e.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("{} ended with {status}", command.get_program().display())) }
}

/// Python packages live in a virtual environment in the cache, nowhere else.
fn python(environment: &str, packages: &[&str], counts: &mut Counts) -> Result<PathBuf, String> {
    let home = clients::cache().join(environment);
    let done = home.join(format!(".{}", packages.join("+")));
    if done.exists() {
        return Ok(home);
    }
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv", "--clear"]).arg(&home);
    run(venv, counts)?;
    let mut pip = Command::new(home.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check"]).args(packages);
    run(pip, counts)?;
    std::fs::write(&done, "").map_err(|e| format!("{}: {e}", done.display()))?;
    Ok(home)
}

/// kafka-python, and its source package, which has its tests.
fn kafka_python(counts: &mut Counts) -> Result<(), String> {
    let package = format!("kafka-python=={}", clients::KAFKA_PYTHON);
    let packages = [package.as_str(), "crc32c", "lz4", "zstandard", "python-snappy", "pytest", "pytest-timeout", "py"];
    let home = python("kafka-python", &packages, counts)?;
    if clients::kafka_python_package().exists() {
        return Ok(());
    }
    let directory = home.join("package");
    let mut pip = Command::new(home.join("bin/pip"));
    pip.args(["download", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary", ":all:", &package, "--dest"])
        .arg(&directory);
    run(pip, counts)?;
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(directory.join(format!("kafka_python-{}.tar.gz", clients::KAFKA_PYTHON))).arg("-C").arg(&directory);
    run(tar, counts)?;
    // The package leaves two files out: one makes `test` theirs instead of Python's own, the other starts brokers.
    let test = clients::kafka_python_package().join("test");
    std::fs::write(test.join("__init__.py"), "").map_err(|e| e.to_string())?;
    let service = repo::root().join("crates/e2e/clients/kafka_python_service.py");
    std::fs::copy(service, test.join("service.py")).map(drop).map_err(|e| e.to_string())
}

/// One version of the Java client with what it needs.
fn old_java(version: &str, counts: &mut Counts) -> Result<(), String> {
    let jars = clients::old_java_jars(version);
    let done = jars.join(".complete");
    if done.exists() {
        return Ok(());
    }
    std::fs::create_dir_all(&jars).map_err(|e| format!("{}: {e}", jars.display()))?;
    let dependency = |group, artifact, version| {
        format!("<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>")
    };
    let dependencies = dependency("org.apache.kafka", "kafka-clients", version) + &dependency("org.slf4j", "slf4j-nop", "1.7.36");
    let project = format!(
        "<project><modelVersion>4.0.0</modelVersion><groupId>gregor</groupId><artifactId>old-clients</artifactId><version>1</version><packaging>pom</packaging>\
         <dependencies>{dependencies}</dependencies></project>"
    );
    std::fs::write(jars.join("pom.xml"), project).map_err(|e| e.to_string())?;
    let mut mvn = Command::new("mvn");
    mvn.args(["--quiet", "--batch-mode", "dependency:copy-dependencies"])
        .arg(format!("-DoutputDirectory={}", jars.display()))
        .current_dir(&jars);
    run(mvn, counts)?;
    std::fs::write(&done, "").map_err(|e| format!("{}: {e}", done.display()))
}

/// What Kafka Streams needs, and the jars with which Apache tests it.
fn streams_jars(counts: &mut Counts) -> Result<(), String> {
    std::fs::create_dir_all(streams::directory()).map_err(|e| format!("{}: {e}", streams::directory().display()))?;
    for jar in streams::JARS.iter().filter(|jar| !jar.path().exists()) {
        let mut mvn = Command::new("mvn");
        mvn.args(["--quiet", "--batch-mode", "dependency:copy", &format!("-Dartifact={}", jar.coordinates())])
            .arg(format!("-DoutputDirectory={}", streams::directory().display()))
            .current_dir(streams::directory());
        run(mvn, counts)?;
    }
    Ok(())
}

/// npm packages live in the cache, as the lock file beside the sweep says.
fn javascript(counts: &mut Counts) -> Result<(), String> {
    let home = clients::cache().join("js");
    std::fs::create_dir_all(&home).map_err(|e| format!("{}: {e}", home.display()))?;
    let mut current = true;
    for file in ["package.json", "package-lock.json"] {
        let wanted = std::fs::read(repo::root().join("crates/e2e/clients/js").join(file)).map_err(|e| format!("{file}: {e}"))?;
        current &= std::fs::read(home.join(file)).is_ok_and(|had| had == wanted);
        std::fs::write(home.join(file), wanted).map_err(|e| format!("{file}: {e}"))?;
    }
    if current && home.join("node_modules/.package-lock.json").exists() {
        return Ok(());
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(home);
    run(npm, counts)
}

/// A program that comes as a package of its own name.
fn system_package(program: &str, version: &[&str], counts: &mut Counts) -> Result<(), String> {
    if has(program, version) {
        return Ok(());
    }
    if !Path::new("/usr/bin/apt-get").exists() {
        return Err(format!("{program} is missing; install it with this machine's package manager"));
    }
    let apt = |args: &[&str]| {
        // Without being root, sudo may still be allowed without a password.
        let mut command = if has("test", &["-w", "/var/lib/dpkg"]) { Command::new("apt-get") } else { Command::new("sudo") };
        if command.get_program() == "sudo" {
            command.args(["-n", "apt-get"]);
        }
        command.args(["--quiet", "--yes"]).args(args).env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    let _ = run(apt(&["update"]), counts); // without it the install may still succeed
    run(apt(&["install", program]), counts).map_err(|e| format!("{e}; install {program} with this machine's package manager"))
}
