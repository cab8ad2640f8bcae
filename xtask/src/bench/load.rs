//! Runs the load generator, `crates/load`, and reads what it prints.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use e2e::process::run;
use e2e::repo;

/// The figures of one run of `load ARGS`, by name.
pub fn load<T: ToString>(args: &[T], limit: Duration) -> BTreeMap<String, f64> {
    let mut command = command(args);
    let out = run(&mut command, "", limit).ok();
    figures(out.lines().last().unwrap_or_default())
}

/// The pairs of one line.
pub fn figures(line: &str) -> BTreeMap<String, f64> {
    let pairs = line.trim_end().split(' ').filter_map(|pair| pair.split_once('='));
    pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}

pub fn command<T: ToString>(args: &[T]) -> Command {
    let mut command = Command::new(program());
    command.args(args.iter().map(ToString::to_string));
    command
}

/// Built with the release, beside the broker.
fn program() -> PathBuf {
    let path = repo::gregor().with_file_name("load");
    assert!(path.exists(), "{} is missing: cargo build --release --package load", path.display());
    path
}
