//! Very many topics and partitions: they are created, filled with a few records each, and asked about.

use crate::Result;
use crate::figures::Figures;
use crate::members::Connection;
use bytes::Bytes;
use record::{BatchBuilder, BatchFields};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use wire::messages::create_topics_request::CreatableTopic;
use wire::messages::describe_topic_partitions_request::TopicRequest;
use wire::messages::metadata_request::MetadataRequestTopic;
use wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use wire::messages::{CreateTopicsRequest, DescribeTopicPartitionsRequest, MetadataRequest, ProduceRequest};
use wire::{ErrorCode, Records, Segment};

const CREATE_TOPICS: i16 = 7;
const METADATA: i16 = 12;
const DESCRIBE_TOPIC_PARTITIONS: i16 = 0;
const PRODUCE: i16 = 9;
const TIMEOUT_MS: i32 = 300_000;
/// What a new partition answers until it has a leader.
const EARLY: [i16; 2] = [ErrorCode::UnknownTopicOrPartition as i16, ErrorCode::NotLeaderOrFollower as i16];
/// For leaders of new partitions.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two rounds of questions.
const PAUSE: Duration = Duration::from_millis(10);
/// A Produce request has about as many bytes, and at most this many partitions.
const REQUEST_BYTES: usize = 1 << 20;
const REQUEST_PARTITIONS: usize = 1000;

pub fn run(args: &[String]) -> Result<Figures> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["create", bootstrap, prefix, topics, partitions] => {
            runtime.block_on(create_all(bootstrap, prefix, topics.parse()?, partitions.parse()?))
        }
        ["fill", bootstrap, prefix, topics, partitions, batches, bytes] => {
            let fill = Fill { topics: topics.parse()?, partitions: partitions.parse()?, batches: batches.parse()?, bytes: bytes.parse()? };
            runtime.block_on(fill.run(bootstrap, prefix))
        }
        ["ask", bootstrap, topic, prefix, rounds] => runtime.block_on(ask(bootstrap, topic, prefix, rounds.parse()?)),
        _ => Err("topics create|fill|ask ...".into()),
    }
}

async fn create(connection: &mut Connection, name: String, num_partitions: i32) -> Result<Duration> {
    let topic = CreatableTopic { name, num_partitions, replication_factor: 1, ..Default::default() };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: TIMEOUT_MS, ..Default::default() };
    let start = Instant::now();
    let answer = connection.call(CREATE_TOPICS, &request).await?;
    match answer.topics.iter().find(|topic| topic.error_code != 0) {
        Some(topic) => Err(format!("topic {:?} cannot be created: error {}", topic.name, topic.error_code).into()),
        None => Ok(start.elapsed()),
    }
}

async fn create_all(bootstrap: &str, prefix: &str, topics: usize, partitions: i32) -> Result<Figures> {
    let mut connection = Connection::open(bootstrap, "load").await?;
    let start = Instant::now();
    let mut micros = Vec::new();
    for n in 0..topics {
        micros.push(create(&mut connection, format!("{prefix}-{n}"), partitions).await?.as_micros() as u64);
    }
    let mut figures = Figures::default();
    figures.add("seconds", start.elapsed().as_secs_f64());
    figures.add_latencies("create", micros);
    Ok(figures)
}

/// One after the other: Metadata and DescribeTopicPartitions of `topic`, and a new topic of one partition.
async fn ask(bootstrap: &str, topic: &str, prefix: &str, rounds: usize) -> Result<Figures> {
    let mut connection = Connection::open(bootstrap, "load").await?;
    let metadata = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic { name: Some(topic.to_owned()), ..Default::default() }]),
        ..Default::default()
    };
    let describe = DescribeTopicPartitionsRequest {
        topics: vec![TopicRequest { name: topic.to_owned(), ..Default::default() }],
        response_partition_limit: 2000,
        ..Default::default()
    };
    let (mut asked, mut described, mut created) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let start = Instant::now();
        let answer = connection.call(METADATA, &metadata).await?;
        asked.push(start.elapsed().as_micros() as u64);
        if answer.topics.iter().any(|topic| topic.error_code != 0 || topic.partitions.is_empty()) {
            return Err(format!("no metadata of {topic}").into());
        }
        let start = Instant::now();
        connection.call(DESCRIBE_TOPIC_PARTITIONS, &describe).await?;
        described.push(start.elapsed().as_micros() as u64);
        created.push(create(&mut connection, format!("{prefix}-{round}"), 1).await?.as_micros() as u64);
        tokio::time::sleep(PAUSE).await;
    }
    let mut figures = Figures::default();
    figures.add_latencies("metadata", asked);
    figures.add_latencies("describe", described);
    figures.add_latencies("create", created);
    Ok(figures)
}

struct Fill {
    topics: usize,
    partitions: i32,
    /// For every partition.
    batches: usize,
    bytes: usize,
}

impl Fill {
    async fn run(&self, bootstrap: &str, prefix: &str) -> Result<Figures> {
        let mut connection = Connection::open(bootstrap, "load").await?;
        let partitions: Vec<i32> = (0..self.partitions).collect();
        let mut bytes = 0;
        let start = Instant::now();
        for _ in 0..self.batches {
            // Times grow, as those of real records do.
            let batch = batch(self.bytes)?;
            let per_request = (REQUEST_BYTES / batch.len()).clamp(1, REQUEST_PARTITIONS);
            bytes += self.topics * partitions.len() * batch.len();
            for n in 0..self.topics {
                for some in partitions.chunks(per_request) {
                    write(&mut connection, format!("{prefix}-{n}"), some, &batch).await?;
                }
            }
        }
        let mut figures = Figures::default();
        figures.add("seconds", start.elapsed().as_secs_f64());
        figures.add("bytes", bytes as f64);
        Ok(figures)
    }
}

/// Partitions whose leader is not there yet, as just after their creation, are asked again.
async fn write(connection: &mut Connection, name: String, partitions: &[i32], batch: &Bytes) -> Result<()> {
    let mut left = partitions.to_vec();
    let until = Instant::now() + PATIENCE;
    loop {
        let data = |index: &i32| PartitionProduceData {
            index: *index,
            records: Some(Records::from_segments(vec![Segment::Bytes(batch.clone())])),
            ..Default::default()
        };
        let topic = TopicProduceData { name: name.clone(), partition_data: left.iter().map(data).collect(), ..Default::default() };
        let request = ProduceRequest { acks: -1, timeout_ms: TIMEOUT_MS, topic_data: vec![topic], ..Default::default() };
        let answer = connection.call(PRODUCE, &request).await?;
        let failed: Vec<_> =
            answer.responses.iter().flat_map(|topic| &topic.partition_responses).filter(|partition| partition.error_code != 0).collect();
        let Some(first) = failed.first() else { return Ok(()) };
        let early = failed.iter().all(|partition| EARLY.contains(&partition.error_code));
        if !early || Instant::now() > until {
            return Err(format!("partition {} takes no records: error {}", first.index, first.error_code).into());
        }
        left = failed.iter().map(|partition| partition.index).collect();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// One batch of about so many bytes, in records of at most 1 KiB.
fn batch(bytes: usize) -> Result<Bytes> {
    let mut batch = BatchBuilder::new(BatchFields::default());
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
    for at in (0..bytes.max(1)).step_by(1024) {
        batch.append(now_ms, None, Some(&vec![b'x'; 1024.min(bytes - at)]), &[]);
    }
    Ok(batch.build()?)
}
