//! `kafka-server-stop`: asks the nodes of this machine to stop, all of them or those of a role or an id. Kafka counterpart:
//! bin/kafka-server-stop.sh (KIP-979). The signal is TERM unless the variable SIGNAL names another.

use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use crate::failure::Failure;
use crate::out::say;
use crate::properties;

pub fn run(words: &[String]) -> Result<(), Failure> {
    let option = |name: &str| words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let (role, id) = (option("--process-role"), option("--node-id"));
    let signal = match std::env::var("SIGNAL").unwrap_or_default().trim_start_matches("SIG") {
        "" | "TERM" | "15" => Signal::TERM,
        "INT" | "2" => Signal::INT,
        "KILL" | "9" => Signal::KILL,
        other => return Err(Failure::new(format!("SIGNAL={other}: only TERM, INT and KILL stop a node"))),
    };
    let nodes: Vec<Node> = nodes().into_iter().filter(|node| node.is_wanted(role, id)).collect();
    if nodes.is_empty() {
        say!("No kafka server to stop");
        return Err(Failure::Status(1));
    }
    for node in nodes {
        // One that ended by itself meanwhile is no failure.
        let _ = Pid::from_raw(node.pid).map(|pid| kill_process(pid, signal));
    }
    Ok(())
}

/// A process that runs a node from a properties file.
#[derive(Debug, PartialEq, Eq)]
struct Node {
    pid: i32,
    file: PathBuf,
}

impl Node {
    /// What a file does not say matches nothing.
    fn is_wanted(&self, role: Option<&str>, id: Option<&str>) -> bool {
        if role.is_none() && id.is_none() {
            return true;
        }
        let Ok(properties) = properties::load(&self.file.to_string_lossy()) else { return false };
        let get = |name: &str| properties.get(name).map(|value| value.trim());
        let has_role = |role: &str| get("process.roles").is_some_and(|roles| roles.split(',').any(|found| found.trim() == role));
        role.is_none_or(has_role) && id.is_none_or(|id| get("node.id") == Some(id))
    }
}

fn nodes() -> Vec<Node> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
        let words: Vec<String> = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        Some(Node { pid, file: cwd.join(properties_file(&words)?) })
    })
    .collect()
}

/// The file of `kafka-server-start FILE`, `gregor server FILE` and `gregor server-start FILE`.
fn properties_file(words: &[String]) -> Option<&str> {
    let program = Path::new(words.first()?).file_name()?.to_str()?;
    let file = match program {
        "kafka-server-start" | "kafka-server-start.sh" => words.get(1),
        "gregor" if ["server", "server-start", "kafka-server-start"].contains(&words.get(1)?.as_str()) => words.get(2),
        _ => None,
    };
    file.map(String::as_str).filter(|file| !file.is_empty() && !file.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_known_by_their_command_line() {
        let file = |line: &str| properties_file(&line.split(' ').map(str::to_owned).collect::<Vec<_>>()).map(str::to_owned);
        assert_eq!(file("/opt/bin/kafka-server-start.sh a.properties --override x=y").as_deref(), Some("a.properties"));
        assert_eq!(file("target/gregor server a.properties").as_deref(), Some("a.properties"));
        assert_eq!(file("gregor start --data x"), None);
        assert_eq!(file("vi server a.properties"), None);
    }
}
