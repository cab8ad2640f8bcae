//! `kafka-leader-election`: elects preferred or unclean leaders. Kafka counterpart: LeaderElectionCommand.

use std::collections::BTreeMap;

use base::TopicPartition;
use client::{Admin, Error};
use serde_json::Value;
use wire::ErrorCode;
use wire::messages::ElectLeadersRequest;
use wire::messages::elect_leaders_request::TopicPartitions;

use crate::failure::Failure;
use crate::java::{exception_text, hash_map_order, partition_hash};
use crate::options::{Options, Parser};
use crate::out::say;
use crate::{json, session};

const CHOICES: [&str; 3] = ["topic", "all-topic-partitions", "path-to-json-file"];

#[derive(Clone, Copy)]
enum ElectionType {
    Preferred,
    Unclean,
}

impl ElectionType {
    fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_uppercase().as_str() {
            "PREFERRED" => Some(ElectionType::Preferred),
            "UNCLEAN" => Some(ElectionType::Unclean),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            ElectionType::Preferred => "PREFERRED",
            ElectionType::Unclean => "UNCLEAN",
        }
    }
}

pub fn run(args: &[String]) -> Result<(), Failure> {
    let about = "This tool attempts to elect a new leader for a set of topic partitions. The type of elections supported are preferred replicas \
                 and unclean replicas.";
    let options = Parser::documented(about, include_str!("../help/kafka-leader-election.txt")).parse(args)?;
    check(&options)?;
    let text = options.value("election-type")?.unwrap_or_default();
    let unreadable = || Failure::Options(format!("Cannot parse argument '{text}' of option election-type"));
    let election_type = ElectionType::parse(text).ok_or_else(unreadable)?;
    let partitions = partitions(&options)?;
    if options.has("admin.config") {
        say!("Option --admin.config has been deprecated and will be removed in a future version. Use --command-config instead.");
    }
    let file = if options.has("admin.config") { "admin.config" } else { "command-config" };
    let mut config = session::config_from(&options, file)?;
    for (key, value) in [("default.api.timeout.ms", "30000"), ("request.timeout.ms", "15000")] {
        if config.get(key).is_none() {
            config.set(key, value);
        }
    }
    session::block_on(async { elect(&session::admin(config)?, election_type, partitions).await })
}

fn check(options: &Options) -> Result<(), Failure> {
    let missing: Vec<&str> = ["bootstrap-server", "election-type"].into_iter().filter(|name| !options.has(name)).collect();
    if !missing.is_empty() {
        return Err(Failure::new(format!("Missing required option(s): {}", missing.join(", "))));
    }
    options.check_invalid("admin.config", &["command-config"])?;
    if CHOICES.iter().filter(|name| options.has(name)).count() != 1 {
        return Err(Failure::new(format!("One and only one of the following options is required: {}", CHOICES.join(", "))));
    }
    match (options.has("topic"), options.has("partition")) {
        (true, false) => Err(Failure::new("Missing required option(s): partition")),
        (false, true) => Err(Failure::new("Option partition is only allowed if topic is used")),
        _ => Ok(()),
    }
}

/// None means all.
fn partitions(options: &Options) -> Result<Option<Vec<TopicPartition>>, Failure> {
    let from_file = options.value("path-to-json-file")?.map(read_file).transpose()?;
    let topic = options.value("topic")?;
    let partition: Option<i32> = options.number("partition")?;
    let single = topic.zip(partition).map(|(topic, partition)| vec![TopicPartition::new(topic, partition)]);
    Ok(from_file.or(single))
}

fn read_file(path: &str) -> Result<Vec<TopicPartition>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Failure::new(format!("java.io.IOException: Unable to read file {path}")),
        _ => Failure::new(format!("{path}: {error}")),
    })?;
    let value = json::parse(&text).ok_or_else(|| Failure::new("Replica election data is empty"))?;
    parse(&value).map_err(Failure::new)
}

fn parse(value: &Value) -> Result<Vec<TopicPartition>, String> {
    let mapping = |text: String| format!("com.fasterxml.jackson.databind.JsonMappingException: {text}");
    let value = json::object(value).map_err(mapping)?;
    let list = value.get("partitions").ok_or("Replica election data is missing \"partitions\" field")?;
    let entry = |entry: &Value| {
        let entry = json::object(entry)?;
        let topic = json::string(json::field(entry, "topic")?)?;
        Ok(TopicPartition::new(topic, json::integer(json::field(entry, "partition")?)?))
    };
    let found: Result<Vec<TopicPartition>, String> = json::array(list).and_then(|list| list.iter().map(entry).collect());
    let found = found.map_err(|text| mapping(mapping(text)))?;
    let mut twice: Vec<&TopicPartition> = found.iter().enumerate().filter(|(i, p)| found[..*i].contains(p)).map(|(_, p)| p).collect();
    twice.dedup();
    if !twice.is_empty() {
        let list: Vec<String> = twice.into_iter().map(TopicPartition::to_string).collect();
        return Err(format!("Replica election data contains duplicate partitions: [{}]", list.join(", ")));
    }
    Ok(found)
}

async fn elect(admin: &Admin, election_type: ElectionType, partitions: Option<Vec<TopicPartition>>) -> Result<(), Failure> {
    let by_topic = partitions.map(|partitions| {
        let mut topics: BTreeMap<String, Vec<i32>> = BTreeMap::new();
        for partition in partitions {
            topics.entry(partition.topic).or_default().push(partition.partition);
        }
        topics.into_iter().map(|(topic, partitions)| TopicPartitions { topic, partitions, ..Default::default() }).collect()
    });
    let request = ElectLeadersRequest {
        election_type: election_type as i8,
        topic_partitions: by_topic,
        timeout_ms: i32::try_from(admin.timeout().as_millis()).unwrap_or(i32::MAX),
        ..Default::default()
    };
    let response = admin.controller(request).await.map_err(failed)?;
    match ErrorCode::from_code(response.error_code) {
        ErrorCode::None => {}
        code => return Err(failed(Error::broker(code, None))),
    }
    let (mut elected, mut unneeded, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for topic in response.replica_election_results {
        for result in topic.partition_result {
            let partition = TopicPartition::new(topic.topic.clone(), result.partition_id);
            match ErrorCode::from_code(result.error_code) {
                ErrorCode::None => elected.push(partition),
                ErrorCode::ElectionNotNeeded => unneeded.push(partition),
                code => refused.push((partition, Error::broker(code, result.error_message))),
            }
        }
    }
    let hash = |partition: &TopicPartition| partition_hash(&partition.topic, partition.partition);
    let list = |partitions: Vec<TopicPartition>| {
        let ordered = hash_map_order(partitions, 16, hash);
        ordered.iter().map(TopicPartition::to_string).collect::<Vec<_>>().join(", ")
    };
    let kind = election_type.name();
    if !elected.is_empty() {
        say!("Successfully completed leader election ({kind}) for partitions {}", list(elected));
    }
    if !unneeded.is_empty() {
        say!("Valid replica already elected for partitions {}", list(unneeded));
    }
    if refused.is_empty() {
        return Ok(());
    }
    let count = refused.len();
    for (partition, error) in hash_map_order(refused, 16, |(partition, _)| hash(partition)) {
        say!("Error completing leader election ({kind}) for partition: {partition}: {}", exception_text(&error));
    }
    Err(Failure::new(format!("{count} replica(s) could not be elected")))
}

fn failed(error: Error) -> Failure {
    let known = match error.code() {
        _ if error.is_timeout() => "Timeout waiting for election results",
        Some(ErrorCode::ClusterAuthorizationFailed) => "Not authorized to perform leader election",
        _ => return Failure::new(format!("java.util.concurrent.ExecutionException: {}", exception_text(&error))),
    };
    say!("{known}");
    Failure::new(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans() {
        let read = |text: &str| parse(&json::parse(text).unwrap_or_default());
        let two = r#"{"partitions": [{"topic": "a", "partition": 1}, {"topic": "b", "partition": 2}]}"#;
        assert_eq!(read(two), Ok(vec![TopicPartition::new("a", 1), TopicPartition::new("b", 2)]));
        let twice = r#"{"partitions": [{"topic": "a", "partition": 1}, {"topic": "a", "partition": 1}]}"#;
        assert_eq!(read(twice), Err("Replica election data contains duplicate partitions: [a-1]".to_owned()));
        assert_eq!(read("{}"), Err("Replica election data is missing \"partitions\" field".to_owned()));
    }
}
