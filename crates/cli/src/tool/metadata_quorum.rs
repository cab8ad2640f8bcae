//! `kafka-metadata-quorum`: shows the quorum of controllers, adds to it and removes from it. Kafka counterpart: MetadataQuorumCommand.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use base::Uuid;
use client::{Admin, Error};
use wire::ErrorCode;
use wire::messages::describe_quorum_request::{PartitionData as AskedPartition, TopicData as AskedTopic};
use wire::messages::describe_quorum_response::{Node, PartitionData, ReplicaState};
use wire::messages::{AddRaftVoterRequest, DescribeQuorumRequest, RemoveRaftVoterRequest, add_raft_voter_request};

use crate::argparse4j::{Level, Parsed, Program};
use crate::failure::Failure;
use crate::java::exception_text;
use crate::out::say;
use crate::{java, properties, session, table};

const PROGRAM: Program = Program {
    name: "kafka-metadata-quorum",
    top: Level {
        exclusive: &["--bootstrap-server", "--bootstrap-controller"],
        one_required: true,
        ..Level::new("", include_str!("../help/kafka-metadata-quorum.txt"))
    },
    commands: &[
        Level::new("describe", include_str!("../help/kafka-metadata-quorum-describe.txt")),
        Level::new("add-controller", include_str!("../help/kafka-metadata-quorum-add-controller.txt")),
        Level {
            required: &["--controller-id", "--controller-directory-id"],
            integers: &["--controller-id"],
            ..Level::new("remove-controller", include_str!("../help/kafka-metadata-quorum-remove-controller.txt"))
        },
    ],
    from_file: false,
};

const METADATA_TOPIC: &str = "__cluster_metadata";

pub fn run(args: &[String]) -> Result<(), Failure> {
    let parsed = PROGRAM.parse(args)?;
    if let Some(file) = parsed.value("command-config").filter(|file| !Path::new(file).exists()) {
        return Err(Failure::new(format!("Properties file {file} does not exists!")));
    }
    let config = session::bootstrap_config(&parsed, "command-config")?;
    session::block_on(async {
        let admin = session::admin(config)?;
        match parsed.command {
            "describe" => describe(&admin, &parsed).await,
            "add-controller" => add_controller(&admin, &parsed).await,
            _ => remove_controller(&admin, &parsed).await,
        }
    })
}

fn executed(error: Error) -> Failure {
    Failure::new(exception_text(&error))
}

struct Quorum {
    partition: PartitionData,
    nodes: Vec<Node>,
}

impl Quorum {
    fn leader(&self) -> Result<&ReplicaState, Failure> {
        let leader = self.partition.current_voters.iter().find(|voter| voter.replica_id == self.partition.leader_id);
        leader.ok_or_else(|| Failure::new("No value present"))
    }
}

async fn quorum(admin: &Admin) -> Result<Quorum, Error> {
    let topic = AskedTopic {
        topic_name: METADATA_TOPIC.to_owned(),
        partitions: vec![AskedPartition { partition_index: 0, ..Default::default() }],
        ..Default::default()
    };
    let request = DescribeQuorumRequest { topics: vec![topic], ..Default::default() };
    let response = admin.any(request).await?;
    if response.error_code != 0 {
        return Err(Error::broker(ErrorCode::from_code(response.error_code), response.error_message));
    }
    let unexpected = |text: String| Error::broker(ErrorCode::UnknownServerError, Some(text));
    let count = response.topics.len();
    let mut topics = response.topics.into_iter();
    let (Some(topic), None) = (topics.next(), topics.next()) else {
        return Err(unexpected(format!("DescribeMetadataQuorum received {count} topics when 1 was expected")));
    };
    let mut partitions = topic.partitions.into_iter();
    let Some(partition) = partitions.next() else {
        return Err(unexpected(format!(
            "DescribeMetadataQuorum received a topic {} with 0 partitions when 1 was expected",
            topic.topic_name
        )));
    };
    match ErrorCode::from_code(partition.error_code) {
        ErrorCode::None => Ok(Quorum { partition, nodes: response.nodes }),
        code => Err(Error::broker(code, partition.error_message)),
    }
}

async fn describe(admin: &Admin, parsed: &Parsed) -> Result<(), Failure> {
    let text = match (parsed.has("status"), parsed.has("replication")) {
        (true, true) => "Only one of --status or --replication should be specified with describe sub-command",
        (false, true) => return replication(&quorum(admin).await.map_err(executed)?, parsed.has("human-readable")),
        (true, false) if parsed.has("human-readable") => "The option --human-readable is only supported along with --replication",
        (true, false) => return status(admin).await,
        (false, false) => "One of --status or --replication must be specified with describe sub-command",
    };
    Err(Failure::new(text))
}

fn replication(quorum: &Quorum, human_readable: bool) -> Result<(), Failure> {
    let leader = quorum.leader()?;
    let mut rows = Vec::new();
    let followers = quorum.partition.current_voters.iter().filter(|voter| voter.replica_id != leader.replica_id);
    let roles = [("Leader", vec![leader]), ("Follower", followers.collect()), ("Observer", quorum.partition.observers.iter().collect())];
    for (role, replicas) in roles {
        for replica in replicas {
            rows.push([
                replica.replica_id.to_string(),
                replica.replica_directory_id.to_string(),
                replica.log_end_offset.to_string(),
                (leader.log_end_offset - replica.log_end_offset).to_string(),
                timestamp(replica.last_fetch_timestamp, human_readable, "last fetch")?,
                timestamp(replica.last_caught_up_timestamp, human_readable, "last caught up")?,
                role.to_owned(),
            ]);
        }
    }
    table::print(["NodeId", "DirectoryId", "LogEndOffset", "Lag", "LastFetchTimestamp", "LastCaughtUpTimestamp", "Status"], &rows);
    Ok(())
}

fn timestamp(timestamp: i64, human_readable: bool, what: &str) -> Result<String, Failure> {
    if timestamp == -1 || !human_readable {
        return Ok(timestamp.to_string());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as i64);
    if timestamp <= 0 || timestamp > now {
        return Err(Failure::new(format!(
            "Error while computing relative time, possible drift in system clock.\nCurrent timestamp is {now}, {what} timestamp is {timestamp}"
        )));
    }
    Ok(format!("{} ms ago", now - timestamp))
}

async fn status(admin: &Admin) -> Result<(), Failure> {
    let cluster_id = admin.describe_cluster().await.map_err(executed)?.cluster_id;
    let quorum = quorum(admin).await.map_err(executed)?;
    let leader = quorum.leader()?;
    let voters = &quorum.partition.current_voters;
    let slowest = voters.iter().min_by_key(|voter| voter.log_end_offset).unwrap_or(leader);
    let lag_time = match (leader.last_caught_up_timestamp, slowest.last_caught_up_timestamp) {
        _ if slowest == leader => 0,
        (-1, _) | (_, -1) => -1,
        (newest, oldest) => newest - oldest,
    };
    say!("ClusterId:              {cluster_id}");
    say!("LeaderId:               {}", quorum.partition.leader_id);
    say!("LeaderEpoch:            {}", quorum.partition.leader_epoch);
    say!("HighWatermark:          {}", quorum.partition.high_watermark);
    say!("MaxFollowerLag:         {}", leader.log_end_offset - slowest.log_end_offset);
    say!("MaxFollowerLagTimeMs:   {lag_time}");
    say!("CurrentVoters:          {}", replicas(voters, &quorum.nodes));
    say!("CurrentObservers:       {}", replicas(&quorum.partition.observers, &quorum.nodes));
    Ok(())
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

fn replicas(replicas: &[ReplicaState], nodes: &[Node]) -> String {
    let shown = |replica: &ReplicaState| {
        let mut parts = vec![format!("\"id\": {}", replica.replica_id)];
        if !replica.replica_directory_id.is_zero() {
            parts.push(format!("\"directoryId\": \"{}\"", replica.replica_directory_id));
        }
        let node = nodes.iter().find(|node| node.node_id == replica.replica_id);
        let endpoints = node.map_or(&[][..], |node| &node.listeners).iter();
        let endpoints: Vec<String> = endpoints.map(|l| format!("\"{}://{}:{}\"", l.name, bracketed(&l.host), l.port)).collect();
        if !endpoints.is_empty() {
            parts.push(format!("\"endpoints\": [{}]", endpoints.join(", ")));
        }
        format!("{{{}}}", parts.join(", "))
    };
    format!("[{}]", replicas.iter().map(shown).collect::<Vec<_>>().join(", "))
}

/// What a controller's configuration file says about it.
struct Controller {
    id: i32,
    directory_id: Uuid,
    /// Listener, host and port.
    endpoints: Vec<(String, String, u16)>,
}

impl Controller {
    fn read(file: &str) -> Result<Self, Failure> {
        let properties = properties::load(file)?;
        let valid = "configuration file. Is this a valid controller configuration file?";
        let Some(id) = properties.get("node.id") else { return Err(Failure::new(format!("node.id not found in {valid}"))) };
        let id: i32 = id.parse().map_err(|_| Failure::new(format!("For input string: \"{id}\"")))?;
        if id < 0 {
            return Err(Failure::new(format!("node.id was negative in {valid}")));
        }
        if !properties.get("process.roles").is_some_and(|roles| roles.contains("controller")) {
            return Err(Failure::new(format!("process.roles did not contain 'controller' in {valid}")));
        }
        let first_log_dir = || properties.get("log.dirs").and_then(|dirs| dirs.trim().split(',').next());
        let Some(directory) = properties.get("metadata.log.dir").map(String::as_str).or_else(first_log_dir) else {
            let text = "Neither metadata.log.dir nor log.dirs were found. Is this a valid controller configuration file?";
            return Err(Failure::new(text));
        };
        Ok(Controller { id, directory_id: directory_id(directory)?, endpoints: endpoints(&properties)? })
    }
}

fn directory_id(directory: &str) -> Result<Uuid, Failure> {
    let file = Path::new(directory).join("meta.properties");
    let Ok(meta) = properties::load(&file.to_string_lossy()) else {
        return Err(Failure::new(format!("Unable to read meta.properties from {directory}")));
    };
    let id = meta.get("directory.id").ok_or_else(|| Failure::new(format!("No directory id found in {directory}")))?;
    id.parse().map_err(|_| Failure::new(format!("No directory id found in {directory}")))
}

/// Where each of the controller listeners is reached: as advertised, else where it listens.
fn endpoints(properties: &BTreeMap<String, String>) -> Result<Vec<(String, String, u16)>, Failure> {
    let mut known: BTreeMap<String, (String, u16)> = BTreeMap::new();
    for list in ["listeners", "advertised.listeners"].iter().filter_map(|key| properties.get(*key)) {
        for entry in list.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let bad = || Failure::new(format!("Unable to parse {entry} to a broker endpoint"));
            let (name, address) = entry.split_once("://").ok_or_else(bad)?;
            let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
            let port = port.parse().map_err(|_| bad())?;
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let host = if host.is_empty() { "localhost" } else { host };
            known.insert(name.to_uppercase(), (host.to_owned(), port));
        }
    }
    let Some(names) = properties.get("controller.listener.names") else {
        return Err(Failure::new("controller.listener.names was not found. Is this a valid controller configuration file?"));
    };
    let endpoint = |name: &str| {
        let name = name.to_uppercase();
        match known.get(&name) {
            Some((host, port)) => Ok((name, host.clone(), *port)),
            None => Err(Failure::new(format!("Cannot find information about controller listener name: {name}"))),
        }
    };
    names.split(',').map(endpoint).collect()
}

async fn add_controller(admin: &Admin, parsed: &Parsed) -> Result<(), Failure> {
    let Some(file) = parsed.value("command-config") else {
        let text = "You must supply the configuration file of the controller you are adding when using add-controller.";
        return Err(Failure::new(text));
    };
    let controller = Controller::read(file)?;
    if !parsed.has("dry-run") {
        let listener = |(name, host, port): &(String, String, u16)| add_raft_voter_request::Listener {
            name: name.clone(),
            host: host.clone(),
            port: *port,
            ..Default::default()
        };
        let request = AddRaftVoterRequest {
            timeout_ms: i32::try_from(admin.timeout().as_millis()).unwrap_or(i32::MAX),
            voter_id: controller.id,
            voter_directory_id: controller.directory_id,
            listeners: controller.endpoints.iter().map(listener).collect(),
            ..Default::default()
        };
        let response = admin.any(request).await.map_err(executed)?;
        check(response.error_code, response.error_message)?;
    }
    let shown = controller.endpoints.iter().map(|(name, host, port)| format!("{name}://{}:{port}", bracketed(host)));
    say!(
        "{} controller {} with directory id {} and endpoints: {}",
        if parsed.has("dry-run") { "DRY RUN of adding" } else { "Added" },
        controller.id,
        controller.directory_id,
        shown.collect::<Vec<_>>().join(", ")
    );
    Ok(())
}

fn check(code: i16, message: Option<String>) -> Result<(), Failure> {
    match ErrorCode::from_code(code) {
        ErrorCode::None => Ok(()),
        code => Err(executed(Error::broker(code, message))),
    }
}

async fn remove_controller(admin: &Admin, parsed: &Parsed) -> Result<(), Failure> {
    let id = parsed.integer("controller-id").unwrap_or(-1);
    if id < 0 {
        return Err(Failure::new(format!("Invalid negative --controller-id: {id}")));
    }
    let text = parsed.value("controller-directory-id").unwrap_or_default();
    let unparsed = |error| Failure::new(format!("Failed to parse --controller-directory-id: {error}"));
    let directory_id = java::uuid(text).map_err(unparsed)?;
    if !parsed.has("dry-run") {
        let request = RemoveRaftVoterRequest { voter_id: id, voter_directory_id: directory_id, ..Default::default() };
        let response = admin.any(request).await.map_err(executed)?;
        check(response.error_code, response.error_message)?;
    }
    let what = if parsed.has("dry-run") { "DRY RUN of removing " } else { "Removed " };
    say!("{what} KRaft controller {id} with directory id {directory_id}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_as_json() {
        let replica = ReplicaState { replica_id: 1, ..Default::default() };
        assert_eq!(replicas(std::slice::from_ref(&replica), &[]), "[{\"id\": 1}]");
        let listener = wire::messages::describe_quorum_response::Listener {
            name: "C".to_owned(),
            host: "::1".to_owned(),
            port: 9,
            ..Default::default()
        };
        let node = Node { node_id: 1, listeners: vec![listener], ..Default::default() };
        assert_eq!(replicas(&[replica], &[node]), "[{\"id\": 1, \"endpoints\": [\"C://[::1]:9\"]}]");
    }

    #[test]
    fn endpoints_prefer_what_is_advertised() {
        let properties = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let both = properties(&[
            ("listeners", "CONTROLLER://:1,B://x:2"),
            ("advertised.listeners", "CONTROLLER://h:3"),
            ("controller.listener.names", "controller"),
        ]);
        assert_eq!(endpoints(&both).ok(), Some(vec![("CONTROLLER".to_owned(), "h".to_owned(), 3)]));
        let listens = properties(&[("listeners", "C://:1"), ("controller.listener.names", "C")]);
        assert_eq!(endpoints(&listens).ok(), Some(vec![("C".to_owned(), "localhost".to_owned(), 1)]));
    }
}
