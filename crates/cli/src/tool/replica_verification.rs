//! `kafka-replica-verification`: reads topics from all their replicas, side by side, and tells where they differ. Runs until it is stopped.
//! Kafka counterpart: ReplicaVerificationTool.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base::{TopicPartition, Uuid};
use bytes::Bytes;
use client::admin::Route;
use client::{Admin, Config, IsolationLevel, OffsetSpec};
use record::BatchView;
use regex::Regex;
use wire::messages::FetchRequest;
use wire::messages::fetch_request::{FetchPartition, FetchTopic, ReplicaState};

use crate::args::valid_bootstrap;
use crate::failure::Failure;
use crate::options::{Options, Parser};
use crate::out::{complain, say};
use crate::session::{self, IncludeList};
use crate::time;

/// The replica that only looks.
const DEBUGGING_CONSUMER: i32 = -2;

pub fn run(args: &[String]) -> Result<(), Failure> {
    let help = include_str!("../help/kafka-replica-verification.txt");
    let mut parser = Parser::documented("Validate that all replicas for a set of topics have the same data.", help);
    let defaults =
        [("fetch-size", "1048576"), ("max-wait-ms", "1000"), ("report-interval-ms", "30000"), ("time", "-1"), ("topics-include", ".*")];
    for (name, value) in defaults {
        parser = parser.default_of(name, value);
    }
    let options = parser.parse(args)?;
    options.check_required(&["broker-list"])?;
    let brokers = options.value("broker-list")?.unwrap_or_default();
    if !valid_bootstrap(brokers) {
        let text = if brokers.trim().is_empty() {
            "Error while validating the bootstrap address\n"
        } else {
            "Please provide valid host:port like host1:9091,host2:9092\n"
        };
        return Err(options.usage(text));
    }
    let admin = session::admin(Config::bootstrap(brokers))?;
    session::block_on(verify(&admin, &options))
}

fn now() -> String {
    time::format_pattern(time::wall_ms(), "yyyy-MM-dd HH:mm:ss,SSS")
}

/// A partition that is looked at: its replicas, and how far they agree.
struct Watched {
    partition: TopicPartition,
    topic_id: Uuid,
    replicas: Vec<i32>,
    offset: i64,
}

async fn verify(admin: &Admin, options: &Options) -> Result<(), Failure> {
    let raw = options.value("topics-include")?.unwrap_or(".*");
    if Regex::new(raw).is_err() {
        return Err(Failure::new(format!("{raw} is an invalid regex")));
    }
    let filter = IncludeList::new(raw).map_err(Failure::new)?;
    let (fetch_size, max_wait_ms) = (options.number("fetch-size")?.unwrap_or(0), options.number("max-wait-ms")?.unwrap_or(0));
    let report_every = Duration::from_millis(options.number("report-interval-ms")?.unwrap_or(0));
    let spec = match options.number::<i64>("time")? {
        None | Some(-1) => OffsetSpec::Latest,
        Some(-2) => OffsetSpec::Earliest,
        Some(timestamp) => OffsetSpec::Timestamp(timestamp),
    };
    let names: Vec<String> = admin.list_topics().await?.into_iter().map(|topic| topic.name).filter(|name| filter.allows(name)).collect();
    if names.is_empty() {
        complain!("No topics found. [topics-include] if specified, is either filtering out all topics or there is no topic.");
        return Err(Failure::Status(1));
    }
    let mut watched = Vec::new();
    for topic in session::describe_topics(admin, &names).await? {
        for p in topic.partitions {
            let replicas = p.replicas.into_iter().map(|node| node.id).collect();
            let partition = TopicPartition::new(topic.name.clone(), p.partition);
            watched.push(Watched { partition, topic_id: topic.topic_id, replicas, offset: 0 });
        }
    }
    let asked = watched.iter().map(|watched| (watched.partition.clone(), spec)).collect();
    let starts: BTreeMap<TopicPartition, i64> = (admin.list_offsets(asked, IsolationLevel::ReadUncommitted).await?.into_iter())
        .map(|(partition, listed)| Ok((partition, listed?.offset)))
        .collect::<Result<_, client::Error>>()?;
    for watched in &mut watched {
        watched.offset = starts.get(&watched.partition).copied().unwrap_or(0).max(0);
    }
    say!("{}: verification process is started", now());
    let mut reported = Instant::now();
    loop {
        let lag = round(admin, &mut watched, fetch_size, max_wait_ms).await?;
        if reported.elapsed() > report_every {
            reported = Instant::now();
            if let Some((lag, partition, offset)) = lag {
                let count = watched.len();
                say!("{}: max lag is {lag} for partition {partition} at offset {offset} among {count} partitions", now());
            }
        }
    }
}

/// What one replica gave: its high watermark, and its bytes.
struct Fetched {
    replica: i32,
    high_watermark: i64,
    bytes: Bytes,
}

/// One fetch from every broker, and a comparison. The partition that is furthest behind: its lag, its name and its offset.
async fn round(
    admin: &Admin,
    watched: &mut [Watched],
    fetch_size: i32,
    max_wait_ms: i32,
) -> Result<Option<(i64, TopicPartition, i64)>, Failure> {
    let mut brokers: Vec<i32> = watched.iter().flat_map(|watched| watched.replicas.iter().copied()).collect();
    brokers.sort_unstable();
    brokers.dedup();
    let mut fetched: BTreeMap<TopicPartition, Vec<Fetched>> = BTreeMap::new();
    for broker in brokers {
        let of_broker: Vec<&Watched> = watched.iter().filter(|watched| watched.replicas.contains(&broker)).collect();
        let build = |version: i16| request(&of_broker, version, fetch_size, max_wait_ms);
        let response = admin.call_versions(Route::Node(broker), 4, i16::MAX, build, |_| 0).await?;
        for topic in response.responses {
            for data in topic.partitions {
                let same = |watched: &&&Watched| {
                    watched.partition.partition == data.partition_index
                        && (*watched.partition.topic == *topic.topic || watched.topic_id == topic.topic_id)
                };
                let Some(found) = of_broker.iter().find(same) else { continue };
                let bytes = data.records.and_then(|records| records.to_bytes().ok()).unwrap_or_default();
                let entry = Fetched { replica: broker, high_watermark: data.high_watermark, bytes };
                fetched.entry(found.partition.clone()).or_default().push(entry);
            }
        }
    }
    let mut worst: Option<(i64, TopicPartition, i64)> = None;
    for watched in watched {
        let replicas = fetched.remove(&watched.partition).unwrap_or_default();
        watched.offset = compare(&watched.partition, watched.offset, &replicas)?;
        let high_watermark = replicas.iter().map(|fetched| fetched.high_watermark).max().unwrap_or(-1);
        let lag = high_watermark - watched.offset;
        if worst.as_ref().is_none_or(|(most, ..)| lag > *most) {
            worst = Some((lag, watched.partition.clone(), watched.offset));
        }
    }
    Ok(worst)
}

fn request(watched: &[&Watched], version: i16, fetch_size: i32, max_wait_ms: i32) -> FetchRequest {
    let mut topics: Vec<FetchTopic> = Vec::new();
    for watched in watched {
        let partition = FetchPartition {
            partition: watched.partition.partition,
            fetch_offset: watched.offset,
            log_start_offset: if version >= 5 { 0 } else { -1 },
            partition_max_bytes: fetch_size,
            ..Default::default()
        };
        match topics.iter_mut().find(|topic| *topic.topic == *watched.partition.topic) {
            Some(topic) => topic.partitions.push(partition),
            None => topics.push(FetchTopic {
                topic: watched.partition.topic.to_string(),
                topic_id: watched.topic_id,
                partitions: vec![partition],
                ..Default::default()
            }),
        }
    }
    let state = ReplicaState { replica_id: DEBUGGING_CONSUMER, replica_epoch: -1, ..Default::default() };
    FetchRequest {
        replica_id: if version < 15 { DEBUGGING_CONSUMER } else { -1 },
        replica_state: if version < 15 { ReplicaState::default() } else { state },
        max_wait_ms,
        min_bytes: 1,
        session_epoch: -1,
        topics,
        ..Default::default()
    }
}

/// Batch by batch, as far as every replica has one below its high watermark. The offset up to which all agree.
fn compare(partition: &TopicPartition, mut offset: i64, replicas: &[Fetched]) -> Result<i64, Failure> {
    let mut rest: Vec<&[u8]> = replicas.iter().map(|fetched| fetched.bytes.as_ref()).collect();
    while !replicas.is_empty() {
        let mut first: Option<(i32, i64, i64, u32)> = None;
        for (fetched, rest) in replicas.iter().zip(&mut rest) {
            let Ok(Some(batch)) = BatchView::first(rest) else { return Ok(offset) };
            if batch.last_offset() >= fetched.high_watermark {
                return Ok(offset);
            }
            *rest = rest.get(batch.size()..).unwrap_or_default();
            let (last, sum) = (batch.last_offset(), batch.stored_crc());
            let Some((replica, its_last, _, its_sum)) = first else {
                first = Some((fetched.replica, last, batch.next_offset(), sum));
                continue;
            };
            if its_last != last {
                let other = fetched.replica;
                say!(
                    "{}: partition {partition}: replica {replica}'s offset {its_last} doesn't match replica {other}'s offset {last}",
                    now()
                );
                return Err(Failure::Status(1));
            }
            if its_sum != sum {
                let other = fetched.replica;
                say!(
                    "{}: partition {partition} has unmatched checksum at offset {last}; replica {replica}'s checksum {its_sum}; replica \
                     {other}'s checksum {sum}",
                    now()
                );
            }
        }
        offset = first.map_or(offset, |(_, _, next, _)| next);
    }
    Ok(offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_fetched_moves_nothing() {
        let partition = TopicPartition::new("t", 0);
        assert_eq!(compare(&partition, 7, &[]).ok(), Some(7));
        let empty = Fetched { replica: 1, high_watermark: 9, bytes: Bytes::new() };
        assert_eq!(compare(&partition, 7, &[empty]).ok(), Some(7));
    }

    #[test]
    fn asks_as_a_debugging_consumer_in_every_version() {
        let watched = Watched { partition: TopicPartition::new("t", 0), topic_id: Uuid::ZERO, replicas: vec![1], offset: 3 };
        let (old, new) = (request(&[&watched], 12, 10, 20), request(&[&watched], 15, 10, 20));
        assert_eq!((old.replica_id, old.replica_state.replica_id), (DEBUGGING_CONSUMER, -1));
        assert_eq!((new.replica_id, new.replica_state.replica_id), (-1, DEBUGGING_CONSUMER));
        assert_eq!(new.topics[0].partitions[0].fetch_offset, 3);
    }
}
