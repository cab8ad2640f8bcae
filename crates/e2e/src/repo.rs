//! Where things are: the repository, the `gregor` binary, the launcher of Apache Kafka, scratch directories, free ports.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// With E2E_SELF_CHECK set, Apache Kafka plays Gregor's part too: then the tests themselves are on trial.
pub fn self_check() -> bool {
    std::env::var_os("E2E_SELF_CHECK").is_some()
}

pub fn apache_launcher() -> PathBuf {
    root().join("peers/apache-kafka")
}

static BINARY: OnceLock<PathBuf> = OnceLock::new();

/// Says which `gregor` is meant, before the first use of [`gregor`].
pub fn use_gregor(path: PathBuf) {
    BINARY.set(path).expect("gregor was not used yet");
}

/// `$GREGOR_BIN`, else the binary beside this test's own, built now when it is absent.
pub fn gregor() -> &'static Path {
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("GREGOR_BIN") {
            return path.into();
        }
        let this = std::env::current_exe().expect("the path of this program");
        let profile_dir = this.ancestors().find(|dir| dir.ends_with("debug") || dir.ends_with("release")).expect("target directory");
        let binary = profile_dir.join("gregor");
        if !binary.exists() {
            let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            cargo.args(["build", "--package", "cli"]).current_dir(root());
            if profile_dir.ends_with("release") {
                cargo.arg("--release");
            }
            assert!(cargo.status().is_ok_and(|s| s.success()), "building gregor failed");
        }
        binary
    })
}

/// A directory that is removed when dropped, unless the test panics: then it is kept and named.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique = format!("gregor-e2e-{}-{}-{name}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(unique);
        std::fs::create_dir_all(&dir).expect("scratch directory");
        Self(dir)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("kept for you to look at: {}", self.0.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// A port that is free now, with the next one free too; below the range from which the kernel takes ports for outgoing connections.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 1000) as u16 * 10;
    loop {
        let port = 20_000 + (start + NEXT.fetch_add(2, Ordering::Relaxed)) % 12_000;
        if [port, port + 1].iter().all(|p| TcpListener::bind(("127.0.0.1", *p)).is_ok()) {
            return port;
        }
    }
}
