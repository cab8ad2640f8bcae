//! `kafka-log-dirs`: what the log directories of brokers hold, as JSON. Kafka counterpart: LogDirsCommand.

use std::collections::BTreeSet;

use base::TopicPartition;
use client::Error;
use wire::ErrorCode;
use wire::messages::describe_log_dirs_response::DescribeLogDirsResult;
use wire::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};

use crate::args::java_split;
use crate::failure::Failure;
use crate::java::{exception_class, exception_text, hash_map_order, partition_hash, string_hash};
use crate::options::Parser;
use crate::out::say;
use crate::session;

pub fn run(args: &[String]) -> Result<(), Failure> {
    let about = "This tool helps to query log directory usage on the specified brokers.";
    let parser = Parser::documented(about, include_str!("../help/kafka-log-dirs.txt"));
    let options = parser.default_of("topic-list", "").default_of("broker-list", "").parse(args)?;
    options.check_required(&["bootstrap-server", "describe"])?;
    let mut config = session::config(&options)?;
    if config.get("client.id").is_none() {
        config.set("client.id", "log-dirs-tool");
    }
    let list = |name: &str| -> Result<Vec<String>, Failure> {
        let words = java_split(options.value(name)?.unwrap_or_default(), ',');
        Ok(words.into_iter().filter(|word| !word.is_empty()).map(str::to_owned).collect())
    };
    let topics = list("topic-list")?;
    let wanted = list("broker-list")?;
    session::block_on(async {
        let admin = session::admin(config)?;
        let executed = |error: Error| Failure::new(exception_text(&error));
        let known: BTreeSet<i32> = admin.describe_cluster().await.map_err(executed)?.nodes.into_iter().map(|(node, _)| node.id).collect();
        let number = |word: &String| word.parse::<i32>().map_err(|_| Failure::new(format!("For input string: \"{word}\"")));
        let wanted: BTreeSet<i32> = wanted.iter().map(number).collect::<Result<_, _>>()?;
        let missing: BTreeSet<i32> = wanted.difference(&known).copied().collect();
        if !missing.is_empty() {
            return Err(Failure::new(format!(
                "ERROR: The given brokers do not exist from --broker-list: {}. Current existent brokers: {}",
                joined(&missing),
                joined(&known)
            )));
        }
        let asked = if wanted.is_empty() { known } else { wanted };
        say!("Querying brokers for log directories information");
        let mut found = Vec::new();
        for broker in &asked {
            let response = admin.node(*broker, DescribeLogDirsRequest { topics: None, ..Default::default() }).await.map_err(executed)?;
            found.push((*broker, checked(response).map_err(executed)?));
        }
        say!("Received log directory information from brokers {}", joined(&asked));
        let brokers: Vec<String> = found.into_iter().map(|(id, dirs)| broker(id, dirs, &topics)).collect();
        say!("{}", json_object(&[("version", "1".to_owned()), ("brokers", format!("[{}]", brokers.join(",")))]));
        Ok(())
    })
}

fn joined(ids: &BTreeSet<i32>) -> String {
    ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",")
}

/// An answer without any directory says why in its own error code.
fn checked(response: DescribeLogDirsResponse) -> Result<Vec<DescribeLogDirsResult>, Error> {
    let code = match response.error_code {
        // Older brokers have no error code, and leave the list empty when they refuse.
        0 if response.results.is_empty() => ErrorCode::ClusterAuthorizationFailed,
        code => ErrorCode::from_code(code),
    };
    if response.results.is_empty() { Err(Error::broker(code, None)) } else { Ok(response.results) }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Fields in the order in which a Java HashMap has them.
fn json_object(fields: &[(&str, String)]) -> String {
    let fields = hash_map_order(fields.iter().collect(), 16, |(name, _)| string_hash(name));
    let fields: Vec<String> = fields.into_iter().map(|(name, value)| format!("{}:{value}", quoted(name))).collect();
    format!("{{{}}}", fields.join(","))
}

fn broker(id: i32, dirs: Vec<DescribeLogDirsResult>, topics: &[String]) -> String {
    let dirs = hash_map_order(dirs, 16, |dir| string_hash(&dir.log_dir));
    let dirs: Vec<String> = dirs.into_iter().map(|dir| log_dir(dir, topics)).collect();
    json_object(&[("broker", id.to_string()), ("logDirs", format!("[{}]", dirs.join(",")))])
}

fn log_dir(dir: DescribeLogDirsResult, topics: &[String]) -> String {
    let mut partitions = Vec::new();
    for topic in dir.topics.into_iter().filter(|topic| topics.is_empty() || topics.contains(&topic.name)) {
        partitions.extend(
            topic.partitions.into_iter().map(|partition| (TopicPartition::new(topic.name.clone(), partition.partition_index), partition)),
        );
    }
    let partitions = hash_map_order(partitions, 16, |(partition, _)| partition_hash(&partition.topic, partition.partition));
    let partition = |(name, found): (TopicPartition, wire::messages::describe_log_dirs_response::DescribeLogDirsPartition)| {
        json_object(&[
            ("partition", quoted(&name.to_string())),
            ("size", found.partition_size.to_string()),
            ("offsetLag", found.offset_lag.to_string()),
            ("isFuture", found.is_future_key.to_string()),
        ])
    };
    let partitions: Vec<String> = partitions.into_iter().map(partition).collect();
    let error = match ErrorCode::from_code(dir.error_code) {
        ErrorCode::None => "null".to_owned(),
        code => quoted(&exception_class(&Error::broker(code, None))),
    };
    json_object(&[("logDir", quoted(&dir.log_dir)), ("error", error), ("partitions", format!("[{}]", partitions.join(",")))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_as_a_java_map_orders_them() {
        let dir = DescribeLogDirsResult { log_dir: "/d".to_owned(), ..Default::default() };
        assert_eq!(broker(1, vec![dir], &[]), r#"{"broker":1,"logDirs":[{"partitions":[],"error":null,"logDir":"/d"}]}"#);
    }

    #[test]
    fn an_empty_answer_is_a_refusal() {
        assert!(checked(DescribeLogDirsResponse::default()).is_err());
    }
}
