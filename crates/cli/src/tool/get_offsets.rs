//! `kafka-get-offsets`: offsets of partitions at the start, the end or a time. Kafka counterpart: GetOffsetShell.

use std::collections::BTreeMap;

use base::TopicPartition;
use client::{Admin, IsolationLevel, OffsetSpec};
use regex::Regex;

use super::console_producer::check_bootstrap;
use crate::args::java_split;
use crate::failure::Failure;
use crate::java::exception_text;
use crate::options::{Options, Parser};
use crate::out::{complain, say};
use crate::session::{self, IncludeList};

fn parser() -> Parser {
    let about = "An interactive shell for getting topic-partition offsets.";
    Parser::documented(about, include_str!("../help/kafka-get-offsets.txt")).default_of("time", "latest")
}

pub fn run(args: &[String]) -> Result<(), Failure> {
    let occurred = |failure: Failure| match failure {
        Failure::Message(text) | Failure::Options(text) => Failure::Message(format!("Error occurred: {text}")),
        other => other,
    };
    let options = parser().parse(args).map_err(occurred)?;
    options.check_required(&["bootstrap-server"])?;
    check_bootstrap(&options)?;
    fetch(&options).map_err(occurred)
}

fn fetch(options: &Options) -> Result<(), Failure> {
    if options.has("topic-partitions") && (options.has("topic") || options.has("partitions")) {
        return Err(Failure::new("--topic-partitions cannot be used with --topic or --partitions"));
    }
    let spec = parse_spec(options.value("time")?.unwrap_or("latest"))?;
    let filters = match options.value("topic-partitions")? {
        Some(patterns) => java_split(patterns, ',').into_iter().map(Filter::parse).collect::<Result<Vec<_>, _>>()?,
        None => vec![Filter {
            topic: IncludeList::new(options.value("topic")?.unwrap_or(".*")).map_err(Failure::new)?,
            partitions: partition_set(options.value("partitions")?)?,
        }],
    };
    let mut config = session::config(options)?;
    config.set("client.id", "GetOffsetShell");
    session::block_on(async {
        let admin = session::admin(config)?;
        let wanted = partitions(&admin, &filters, options.has("exclude-internal-topics")).await?;
        if wanted.is_empty() {
            return Err(Failure::new("Could not match any topic-partitions with the specified filters"));
        }
        let wanted = wanted.into_iter().map(|partition| (partition, spec)).collect();
        let mut found = BTreeMap::new();
        for (partition, listed) in admin.list_offsets(wanted, IsolationLevel::ReadUncommitted).await? {
            match listed {
                Ok(listed) if listed.offset != -1 => {
                    found.insert(partition.to_string(), (partition, listed.offset));
                }
                Ok(_) => {}
                Err(error) => {
                    complain!("Skip getting offsets for topic-partition {partition} due to error: {}", exception_text(&error));
                }
            }
        }
        for (partition, offset) in found.values() {
            say!("{}:{}:{offset}", partition.topic, partition.partition);
        }
        Ok(())
    })
}

fn parse_spec(text: &str) -> Result<OffsetSpec, Failure> {
    match text {
        "earliest" => return Ok(OffsetSpec::Earliest),
        "latest" => return Ok(OffsetSpec::Latest),
        "max-timestamp" => return Ok(OffsetSpec::MaxTimestamp),
        "earliest-local" => return Ok(OffsetSpec::EarliestLocal),
        "latest-tiered" => return Ok(OffsetSpec::LatestTiered),
        "earliest-pending-upload" => return Ok(OffsetSpec::EarliestPendingUpload),
        _ => {}
    }
    match text.parse() {
        Ok(-1) => Ok(OffsetSpec::Latest),
        Ok(-2) => Ok(OffsetSpec::Earliest),
        Ok(-3) => Ok(OffsetSpec::MaxTimestamp),
        Ok(-4) => Ok(OffsetSpec::EarliestLocal),
        Ok(-5) => Ok(OffsetSpec::LatestTiered),
        Ok(-6) => Ok(OffsetSpec::EarliestPendingUpload),
        Ok(timestamp) => Ok(OffsetSpec::Timestamp(timestamp)),
        Err(_) => Err(Failure::new(format!(
            "Malformed time argument {text}. Please use -1 or latest / -2 or earliest / -3 or max-timestamp / -4 or earliest-local / -5 or \
             latest-tiered / -6 or earliest-pending-upload, or a specified long format timestamp"
        ))),
    }
}

struct Filter {
    topic: IncludeList,
    partitions: Partitions,
}

enum Partitions {
    /// None of them means all.
    Set(Vec<i32>),
    Range(std::ops::Range<i32>),
}

impl Partitions {
    fn allows(&self, partition: i32) -> bool {
        match self {
            Partitions::Set(set) => set.is_empty() || set.contains(&partition),
            Partitions::Range(range) => range.contains(&partition),
        }
    }
}

fn partition_set(text: Option<&str>) -> Result<Partitions, Failure> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(Partitions::Set(Vec::new())) };
    let numbers: Result<Vec<i32>, _> = java_split(text, ',').into_iter().map(str::parse).collect();
    match numbers {
        Ok(set) => Ok(Partitions::Set(set)),
        Err(_) => Err(Failure::new(format!("--partitions expects a comma separated list of numeric partition ids, but received: {text}"))),
    }
}

impl Filter {
    /// `topic`, `topic:3`, `topic:1-3` (without 3), `topic:1-`, `topic:-3`; the topic may be left out.
    fn parse(rule: &str) -> Result<Self, Failure> {
        let invalid = || Failure::new(format!("org.apache.kafka.tools.TerseException: Invalid rule specification: {rule}"));
        let pattern = Regex::new("^([^:,]*)(?::(?:([0-9]*)|(?:([0-9]*)-([0-9]*))))?$").map_err(|_| invalid())?;
        let groups = pattern.captures(rule).ok_or_else(invalid)?;
        let group = |i: usize| groups.get(i).map(|found| found.as_str()).filter(|text| !text.is_empty());
        let number = |i: usize, default: i32| group(i).map_or(Ok(default), |text| text.parse().map_err(|_| invalid()));
        Ok(Filter {
            topic: IncludeList::new(group(1).unwrap_or(".*")).map_err(Failure::new)?,
            partitions: match group(2) {
                Some(_) => Partitions::Set(vec![number(2, 0)?]),
                None => Partitions::Range(number(3, 0)?..number(4, i32::MAX)?),
            },
        })
    }
}

async fn partitions(admin: &Admin, filters: &[Filter], exclude_internal: bool) -> Result<Vec<TopicPartition>, Failure> {
    let topics = admin.list_topics().await?.into_iter().filter(|topic| !(exclude_internal && topic.internal)).map(|topic| topic.name);
    let topics: Vec<String> = topics.filter(|topic| filters.iter().any(|filter| filter.topic.allows(topic))).collect();
    let mut wanted = Vec::new();
    for topic in session::describe_topics(admin, &topics).await? {
        for p in topic.partitions {
            if filters.iter().any(|filter| filter.topic.allows(&topic.name) && filter.partitions.allows(p.partition)) {
                wanted.push(TopicPartition::new(topic.name.clone(), p.partition));
            }
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        let allows = |rule: &str, topic: &str, partition: i32| {
            let filter = Filter::parse(rule).unwrap_or_else(|failure| panic!("{failure:?}"));
            filter.topic.allows(topic) && filter.partitions.allows(partition)
        };
        assert!(allows("t:3", "t", 3) && !allows("t:3", "t", 2) && !allows("t:3", "u", 3));
        assert!(allows("t:1-3", "t", 1) && !allows("t:1-3", "t", 3));
        assert!(allows("t:5-", "t", 500) && allows(":-3", "x", 2) && !allows(":-3", "x", 3));
        assert!(allows("t.*", "tx", 9));
        assert!(Filter::parse("t:x").is_err());
    }
}
