//! `kafka-storage format`: from flags and server.properties to what `server::format` does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use base::Uuid;
use base::disk::RealDisk;
use config::BrokerConfig;
use raft::{Endpoint, ReplicaKey, Voter, VoterSet};
use server::format::{FormatOptions, Quorum};

use super::{released_version, uncaught};
use crate::argparse4j::Parsed;
use crate::failure::Failure;
use crate::out::say;
use crate::properties;

pub fn run(parsed: &Parsed) -> Result<(), Failure> {
    let properties = properties::load(parsed.value("config").unwrap_or_default())?;
    if properties.get("process.roles").is_none_or(|roles| roles.trim().is_empty()) {
        return Err(Failure::new(
            "The kafka configuration file appears to be for a legacy cluster. Formatting is only supported for clusters in KRaft mode.",
        ));
    }
    let config = BrokerConfig::from_props(&properties).map_err(|error| Failure::new(error.to_string()))?;
    let release_version = parsed.value("release-version").map(released_version).transpose()?;
    let named = |word: &String| {
        name_and_level(word).map_err(|failure| match failure {
            Failure::Message(text) => uncaught("java.lang.RuntimeException", &text),
            other => other,
        })
    };
    let features: BTreeMap<String, i16> = parsed.values("feature").iter().map(named).collect::<Result<_, _>>()?;
    if parsed.has("add-scram") {
        return Err(Failure::new("--add-scram: credentials cannot be stored yet; format without it"));
    }
    let metadata_directory = config.metadata_directory().unwrap_or_default().to_owned();
    let mut directories: BTreeSet<String> = config.log_directories().iter().cloned().collect();
    directories.insert(metadata_directory.clone());
    let options = FormatOptions {
        cluster_id: parsed.value("cluster-id").unwrap_or_default().to_owned(),
        node_id: config.node_id,
        directories,
        metadata_directory,
        release_version,
        features,
        quorum: quorum(parsed, &config)?,
        extra_records: Vec::new(),
        ignore_formatted: parsed.has("ignore-formatted"),
    };
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as i64);
    let lines = server::format::format(&RealDisk, &options, &mut fastrand::Rng::new(), now_ms);
    for line in lines.map_err(|error| Failure::new(error.to_string()))? {
        say!("{line}");
    }
    Ok(())
}

pub(in crate::tool) fn name_and_level(word: &str) -> Result<(String, i16), Failure> {
    let Some((name, level)) = word.split_once('=') else {
        return Err(Failure::new(format!("Can't parse feature=level string {word}: equals sign not found.")));
    };
    let level = level.trim();
    match level.parse() {
        Ok(number) => Ok((name.trim().to_owned(), number)),
        Err(_) => Err(Failure::new(format!("Can't parse feature=level string {word}: unable to parse {level} as a short."))),
    }
}

fn quorum(parsed: &Parsed, config: &BrokerConfig) -> Result<Quorum, Failure> {
    let explain = |error: config::ConfigError| Failure::new(error.to_string());
    let is_static = !config.voters().map_err(explain)?.is_empty();
    if is_static && (parsed.has("initial-controllers") || parsed.has("standalone")) {
        return Err(Failure::new(
            "You cannot specify controller.quorum.voters and format the node with --initial-controllers or --standalone. If you want to use \
             dynamic quorum, please remove controller.quorum.voters and specify controller.quorum.bootstrap.servers instead.",
        ));
    }
    if is_static {
        return Ok(Quorum::Static);
    }
    if let Some(list) = parsed.value("initial-controllers") {
        let listener = config.controller_listener_names.first().cloned().unwrap_or_default();
        let voters = initial_controllers(list, &listener).map_err(|failure| match failure {
            Failure::Message(text) => uncaught("java.lang.IllegalArgumentException", &text),
            other => other,
        })?;
        return Ok(Quorum::Initial(voters));
    }
    if parsed.has("standalone") {
        if !config.is_controller() {
            return Err(Failure::new("You can only use --standalone on a controller."));
        }
        let endpoints: Vec<Endpoint> = config
            .advertised_controller_endpoints()
            .map_err(explain)?
            .into_iter()
            .take(1)
            .map(|endpoint| Endpoint {
                listener: endpoint.listener.to_uppercase(),
                host: endpoint.host.filter(|host| !host.is_empty()).unwrap_or_else(|| "localhost".to_owned()),
                port: endpoint.port,
            })
            .collect();
        if endpoints.is_empty() {
            return Err(Failure::new("No controller listeners found."));
        }
        return Ok(Quorum::Standalone { endpoints });
    }
    if !parsed.has("no-initial-controllers") && config.is_controller() {
        return Err(Failure::new(
            "Because controller.quorum.voters is not set on this controller, you must specify one of the following: --standalone, \
             --initial-controllers, or --no-initial-controllers.",
        ));
    }
    Ok(Quorum::JoinsLater)
}

/// `id@host:port:directory`, separated by commas.
fn initial_controllers(list: &str, listener: &str) -> Result<VoterSet, Failure> {
    let voters: Vec<Voter> =
        list.trim().split(',').filter(|entry| !entry.is_empty()).map(|entry| voter(entry.trim(), listener)).collect::<Result<_, _>>()?;
    let mut ids = BTreeSet::new();
    if let Some(voter) = voters.iter().find(|voter| !ids.insert(voter.key.id)) {
        return Err(Failure::new(format!("Node id {} was specified more than once.", voter.key.id)));
    }
    if voters.is_empty() {
        return Err(Failure::new("No voters given."));
    }
    Ok(VoterSet::new(voters))
}

fn voter(entry: &str, listener: &str) -> Result<Voter, Failure> {
    let bad = |text: &str| Failure::new(text);
    let (id, rest) = entry.split_once('@').ok_or_else(|| bad("No @ found in dynamic voter string."))?;
    if id.is_empty() {
        return Err(bad("Invalid @ at beginning of dynamic voter string."));
    }
    let id: i32 = id.parse().map_err(|_| bad("Failed to parse node id in dynamic voter string."))?;
    if id < 0 {
        return Err(Failure::new(format!("Invalid negative node id {id} in dynamic voter string.")));
    }
    if rest.is_empty() {
        return Err(bad("No hostname found after node id."));
    }
    let (host, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or_else(|| bad("Hostname began with left bracket, but no right bracket was found."))?,
        None => {
            let colon = rest.find(':').ok_or_else(|| bad("No colon following hostname could be found."))?;
            rest.split_at(colon)
        }
    };
    let rest = rest.strip_prefix(':').ok_or_else(|| bad("Port section must start with a colon."))?;
    let (port, directory) = rest.split_once(':').ok_or_else(|| bad("No colon following port could be found."))?;
    let number: i64 = port.parse().map_err(|_| bad("Failed to parse port in dynamic voter string."))?;
    let port = u16::try_from(number).map_err(|_| Failure::new(format!("Invalid port {number} in dynamic voter string.")))?;
    let directory: Uuid = directory.parse().map_err(|_| bad("Failed to parse directory ID in dynamic voter string."))?;
    let endpoint = Endpoint { listener: listener.to_owned(), host: host.to_owned(), port };
    Ok(Voter { key: ReplicaKey::new(id, directory), endpoints: vec![endpoint], kraft_versions: (0, 1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_as_kafka_writes_them() {
        let set = match initial_controllers("0@a:8082:JEXY6aqzQY-32P5TStzaFg,1@[::1]:8083:MvDxzVmcRsaTz33bUuRU6A", "CONTROLLER") {
            Ok(set) => set,
            Err(failure) => panic!("{failure:?}"),
        };
        assert_eq!(set.ids().into_iter().collect::<Vec<_>>(), [0, 1]);
        assert_eq!(set.get(1).unwrap().endpoints[0].host, "::1");
        let text = |entry: &str| match initial_controllers(entry, "C") {
            Err(Failure::Message(text)) => text,
            _ => String::new(),
        };
        assert_eq!(text("x"), "No @ found in dynamic voter string.");
        assert_eq!(text("1@a"), "No colon following hostname could be found.");
        assert_eq!(text("1@a:99999:JEXY6aqzQY-32P5TStzaFg"), "Invalid port 99999 in dynamic voter string.");
    }
}
