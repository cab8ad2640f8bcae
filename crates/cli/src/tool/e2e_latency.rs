//! `kafka-e2e-latency`: sends one record at a time, waits until it can be read, and prints how long that takes.
//! Kafka counterpart: EndToEndLatency.

use std::time::{Duration, Instant};

use base::TopicPartition;
use client::admin::{CreateTopicsOptions, NewTopic};
use client::{Admin, Config, Consumer, ConsumerRecord, Header, Producer, ProducerRecord};

use crate::failure::Failure;
use crate::java::exception_text;
use crate::options::{Options, Parser};
use crate::out::say;
use crate::{args, properties, session, time};

const POLL_TIMEOUT: Duration = Duration::from_secs(60);
/// How the words of the old command line, which had no options, are called now.
const POSITIONS: [&str; 6] = ["--bootstrap-server", "--topic", "--num-records", "--producer-acks", "--record-size", "--command-config"];

fn parser() -> Parser {
    let parser = Parser::documented(
        "This tool measures end-to-end latency in Kafka by sending messages and timing their reception.",
        include_str!("../help/kafka-e2e-latency.txt"),
    );
    ["record-key-size", "record-header-key-size", "record-header-size", "num-headers"]
        .into_iter()
        .fold(parser, |parser, name| parser.default_of(name, "0"))
}

pub fn run(words: &[String]) -> Result<(), Failure> {
    let words = named(words)?;
    let options = match parser().parse(&words) {
        Err(Failure::Options(message)) => return Err(parser().parse_quietly(&[])?.usage(message)),
        other => other?,
    };
    let plan = plan(&options)?;
    session::block_on(measure(plan))
}

fn named(words: &[String]) -> Result<Vec<String>, Failure> {
    if words.is_empty() || words.iter().any(|word| POSITIONS[..5].contains(&word.as_str())) {
        return Ok(words.to_vec());
    }
    if words.len() != 5 && words.len() != 6 {
        return Err(Failure::new(format!(
            "Invalid number of arguments. Expected 5 or 6 positional arguments, but got {}. Usage: bootstrap-server topic num-records \
             producer-acks record-size [optional] command-config",
            words.len()
        )));
    }
    say!(
        "WARNING: Positional argument usage is deprecated and will be removed in Apache Kafka 5.0. Please use named arguments instead: {}",
        POSITIONS.join(", ")
    );
    Ok(POSITIONS.iter().zip(words).flat_map(|(name, word)| [(*name).to_owned(), word.clone()]).collect())
}

/// What each record looks like, and how many there are.
struct Plan {
    config: Config,
    topic: String,
    records: usize,
    acks: String,
    value_size: usize,
    key_size: usize,
    headers: usize,
    header_key_size: usize,
    /// None for headers without a value.
    header_size: Option<usize>,
}

fn plan(options: &Options) -> Result<Plan, Failure> {
    options.check_required(&["bootstrap-server", "topic", "num-records", "producer-acks", "record-size"])?;
    let acks = options.value("producer-acks")?.unwrap_or_default();
    if !["1", "all"].contains(&acks) {
        return Err(options
            .usage("Invalid value for --producer-acks. Latency testing requires synchronous acknowledgement. Please use '1' or 'all'."));
    }
    let number = |name: &str, min: i32, what: &str| -> Result<usize, Failure> {
        let value: i32 = options.number(name)?.unwrap_or(0);
        match value < min {
            true => Err(options.usage(format!("Value for --{name} must be a {what}."))),
            false => Ok(usize::try_from(value).unwrap_or(usize::MAX)),
        }
    };
    let records = number("num-records", 1, "positive integer")?;
    let value_size = number("record-size", 0, "non-negative integer")?;
    let key_size = number("record-key-size", 0, "non-negative integer")?;
    let header_key_size = number("record-header-key-size", 0, "non-negative integer")?;
    let header_size = number("record-header-size", -1, "non-negative integer or -1 for null header value")?;
    let headers = number("num-headers", 0, "non-negative integer")?;
    let mut config = Config::new();
    if let Some(file) = options.value("command-config")?.filter(|file| !file.is_empty()) {
        config.extend(properties::load(file).map_err(|_| Failure::new(file))?);
    }
    config.set("bootstrap.servers", options.value("bootstrap-server")?.unwrap_or_default());
    Ok(Plan {
        config,
        topic: options.value("topic")?.unwrap_or_default().to_owned(),
        records,
        acks: acks.to_owned(),
        value_size,
        key_size,
        headers,
        header_key_size,
        header_size: Some(header_size).filter(|size| *size != usize::MAX),
    })
}

/// Some letter, over and over.
fn letters(rng: &mut fastrand::Rng, size: usize) -> Vec<u8> {
    vec![rng.u8(b'A'..=b'Z'); size]
}

struct Sent {
    key: Vec<u8>,
    value: Vec<u8>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Sent {
    fn new(plan: &Plan, rng: &mut fastrand::Rng) -> Self {
        let (key, value) = (letters(rng, plan.key_size), letters(rng, plan.value_size));
        let mut header = || {
            let key = String::from_utf8_lossy(&letters(rng, plan.header_key_size)).into_owned();
            (key, plan.header_size.map(|size| letters(rng, size)))
        };
        let headers = (0..plan.headers).map(|_| header()).collect();
        Sent { key, value, headers }
    }

    /// What is wrong with the records that came back.
    fn difference(&self, records: &[ConsumerRecord]) -> Option<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let Some(record) = records.first() else {
            return Some(format!("poll() timed out before finding a result (timeout:[{}ms])", POLL_TIMEOUT.as_millis()));
        };
        let value = record.value.as_deref().unwrap_or_default();
        if value != self.value {
            return Some(format!("The message value read [{}] did not match the message value sent [{}]", text(value), text(&self.value)));
        }
        match record.key.as_deref() {
            None => return Some("Expected message key but received null".to_owned()),
            Some(key) if key != self.key => {
                return Some(format!("The message key read [{}] did not match the message key sent [{}]", text(key), text(&self.key)));
            }
            Some(_) => {}
        }
        if !self.headers.is_empty() && record.headers.is_empty() {
            return Some("Expected message headers but received none".to_owned());
        }
        let list = |bytes: Option<&[u8]>| bytes.map_or("null".to_owned(), |bytes| format!("{bytes:?}"));
        for ((key, value), read) in self.headers.iter().zip(&record.headers) {
            if *key != read.key || value.as_deref() != read.value.as_deref() {
                let (read_value, sent_value) = (list(read.value.as_deref()), list(value.as_deref()));
                return Some(format!(
                    "The message header read [{}:{read_value}] did not match the message header sent [{key}:{sent_value}]",
                    read.key
                ));
            }
        }
        if !self.headers.is_empty() && self.headers.len() != record.headers.len() {
            return Some("Header count mismatch between sent and received messages".to_owned());
        }
        (records.len() != 1).then(|| format!("Only one result was expected during this test. We found [{}]", records.len()))
    }
}

async fn measure(plan: Plan) -> Result<(), Failure> {
    let mut config = plan.config.clone();
    config.set("group.id", format!("test-group-{}", time::wall_ms()));
    config.set("enable.auto.commit", "false");
    config.set("auto.offset.reset", "latest");
    config.set("fetch.max.wait.ms", "0");
    let mut consumer = Consumer::new(config)?;
    let mut config = plan.config.clone();
    config.set("linger.ms", "0");
    config.set("max.block.ms", i64::MAX);
    config.set("acks", &plan.acks);
    let producer = Producer::new(config)?;
    if !consumer.list_topics().await?.contains_key(&plan.topic) {
        create_topic(&plan).await?;
    }
    let partitions = consumer.partitions_for(&plan.topic).await?;
    let partitions: Vec<_> = partitions.into_iter().map(|info| TopicPartition::new(&info.topic, info.partition)).collect();
    consumer.assign(partitions.clone())?;
    consumer.seek_to_end(&partitions)?;
    for partition in &partitions {
        consumer.position(partition).await?;
    }
    let mut latencies = Vec::with_capacity(plan.records.min(1 << 20));
    let mut total = Duration::ZERO;
    let mut rng = fastrand::Rng::with_seed(0);
    for i in 0..plan.records {
        let sent = Sent::new(&plan, &mut rng);
        let headers: Vec<Header<'_>> = sent.headers.iter().map(|(key, value)| Header::new(key, value.as_deref())).collect();
        let record = ProducerRecord::new(&plan.topic).key(&sent.key).value(&sent.value).headers(&headers);
        let begin = Instant::now();
        producer.send(&record).await?.await.map_err(|error| Failure::new(exception_text(&error)))?;
        let read: Vec<ConsumerRecord> = consumer.poll(POLL_TIMEOUT).await?.into_iter().collect();
        let elapsed = begin.elapsed();
        if let Some(text) = sent.difference(&read) {
            consumer.commit().await?;
            return Err(Failure::new(text));
        }
        if i % 1000 == 0 {
            say!("{i}\t{}", args::java_double(elapsed.as_nanos() as f64 / 1000.0 / 1000.0));
        }
        total += elapsed;
        latencies.push(elapsed.as_millis() as u64);
    }
    say!("Avg latency: {:.4} ms", total.as_nanos() as f64 / plan.records as f64 / 1000.0 / 1000.0);
    latencies.sort_unstable();
    let percentile = |part: f64| latencies.get((latencies.len() as f64 * part) as usize).copied().unwrap_or(0);
    say!("Percentiles: 50th = {}, 99th = {}, 99.9th = {}", percentile(0.5), percentile(0.99), percentile(0.999));
    consumer.commit().await?;
    producer.close(session::FOREVER).await?;
    consumer.close(Duration::from_secs(30)).await?;
    Ok(())
}

async fn create_topic(plan: &Plan) -> Result<(), Failure> {
    say!("Topic \"{}\" does not exist. Will create topic with 1 partition(s) and replication factor = 1", plan.topic);
    let admin = Admin::new(plan.config.clone())?;
    let created = admin.create_topics(vec![NewTopic::new(&plan.topic, 1, 1)], CreateTopicsOptions::default()).await;
    let result = created.map(|topics| topics.into_iter().find_map(|(_, result)| result.err()));
    match result {
        Ok(None) => Ok(()),
        Ok(Some(error)) | Err(error) => {
            say!("Creation of topic {} failed", plan.topic);
            Err(Failure::new(format!("java.util.concurrent.ExecutionException: {}", exception_text(&error))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_command_line() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let found = named(&words("b:1 t 5 all 10")).ok();
        assert_eq!(found, Some(words("--bootstrap-server b:1 --topic t --num-records 5 --producer-acks all --record-size 10")));
        assert!(named(&words("b:1 t 5")).is_err());
        assert_eq!(named(&words("--topic t")).ok(), Some(words("--topic t")));
    }
}
