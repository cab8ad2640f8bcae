//! `kafka-verifiable-consumer`: reads a topic as a member of a group and prints what happens as lines of JSON, for system tests.
//! Kafka counterpart: VerifiableConsumer.

use std::collections::BTreeMap;
use std::time::Duration;

use base::TopicPartition;
use client::consumer::{BoxFuture, ConsumerRecords, RebalanceListener};
use client::{Config, Consumer, ConsumerRecord, Error, OffsetAndMetadata};
use wire::ErrorCode;

use super::events::{Event, object, text};
use super::verifiable_producer::{load_config, not_constructed};
use crate::argparse4j::{Level, Parsed, Program};
use crate::failure::Failure;
use crate::out::complain;
use crate::session;

const PROGRAM: Program = Program {
    name: "verifiable-consumer",
    top: Level {
        required: &["--topic", "--group-id"],
        exclusive: &["--bootstrap-server"],
        one_required: true,
        integers: &["--max-messages", "--session-timeout"],
        ..Level::new("", include_str!("../help/kafka-verifiable-consumer.txt"))
    },
    commands: &[],
    from_file: false,
};

const POLL: Duration = Duration::from_secs(3600);

struct Plan {
    config: Config,
    topic: String,
    /// None to read until the process is told to stop.
    messages: Option<u64>,
    auto_commit: bool,
    verbose: bool,
}

pub fn run(words: &[String]) -> Result<(), Failure> {
    let plan = plan(&PROGRAM.parse_given(words)?)?;
    session::block_on(consume(plan))
}

fn plan(parsed: &Parsed) -> Result<Plan, Failure> {
    let mut config = load_config(&PROGRAM, parsed, "consumer.config")?;
    let protocol = parsed.value("group-protocol").unwrap_or("classic").to_uppercase();
    match protocol.as_str() {
        "CONSUMER" => {
            if let Some(assignor) = parsed.value("group-remote-assignor") {
                config.set("group.remote.assignor", assignor);
            }
        }
        "CLASSIC" => {
            let strategy = parsed.value("assignment-strategy").unwrap_or("org.apache.kafka.clients.consumer.RangeAssignor");
            config.set("partition.assignment.strategy", strategy);
        }
        other => {
            return Err(Failure::new(format!(
                "Exception in thread \"main\" java.lang.IllegalArgumentException: No enum constant \
                 org.apache.kafka.clients.consumer.GroupProtocol.{other}"
            )));
        }
    }
    config.set("group.protocol", protocol);
    if let Some(timeout) = parsed.integer("session-timeout") {
        config.set("session.timeout.ms", timeout);
    }
    config.set("group.id", parsed.value("group-id").unwrap_or_default());
    if let Some(instance) = parsed.value("group-instance-id") {
        config.set("group.instance.id", instance);
    }
    config.set("bootstrap.servers", parsed.value("bootstrap-server").unwrap_or_default());
    config.set("enable.auto.commit", parsed.has("enable-autocommit"));
    config.set("auto.offset.reset", parsed.value("reset-policy").unwrap_or("earliest"));
    Ok(Plan {
        config,
        topic: parsed.value("topic").unwrap_or_default().to_owned(),
        messages: parsed.integer("max-messages").and_then(|max| u64::try_from(max).ok()),
        auto_commit: parsed.has("enable-autocommit"),
        verbose: parsed.has("verbose"),
    })
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

fn place(partition: &TopicPartition) -> [(&'static str, String); 2] {
    [("topic", text(Some(&partition.topic))), ("partition", partition.partition.to_string())]
}

/// Prints which partitions come and go.
struct Announce;

fn announce(name: &str, partitions: &[TopicPartition]) {
    Event::new(name).field("partitions", list(partitions.iter().map(|partition| object(&place(partition))))).print();
}

impl RebalanceListener for Announce {
    fn on_assigned<'a>(&'a mut self, _consumer: &'a mut Consumer, partitions: &'a [TopicPartition]) -> BoxFuture<'a> {
        announce("partitions_assigned", partitions);
        Box::pin(async { Ok(()) })
    }

    fn on_revoked<'a>(&'a mut self, _consumer: &'a mut Consumer, partitions: &'a [TopicPartition]) -> BoxFuture<'a> {
        announce("partitions_revoked", partitions);
        Box::pin(async { Ok(()) })
    }
}

async fn consume(plan: Plan) -> Result<(), Failure> {
    let mut consumer = Consumer::new(plan.config.clone()).map_err(|error| not_constructed("consumer", &error))?;
    consumer.set_rebalance_listener(Box::new(Announce));
    Event::new("startup_complete").print();
    let signal = match read(&mut consumer, &plan).await {
        Ok(signal) => signal,
        Err(error) => {
            complain!("ERROR Error during processing, terminating consumer process: {error}");
            None
        }
    };
    if signal.is_some() {
        Event::new("shutdown_requested").print();
    }
    if let Err(error) = consumer.close(Duration::from_secs(30)).await {
        complain!("ERROR {error}");
    }
    Event::new("shutdown_complete").print();
    match signal {
        Some(code) => Err(Failure::Status(code)),
        None => {
            Event::new("shutdown_requested").print();
            Ok(())
        }
    }
}

/// Reads until there were enough records, or a signal came: its exit code.
async fn read(consumer: &mut Consumer, plan: &Plan) -> Result<Option<i32>, Error> {
    consumer.subscribe([plan.topic.as_str()])?;
    let signalled = super::console_consumer::signalled();
    let mut signalled = std::pin::pin!(signalled);
    let mut consumed = 0;
    while plan.messages.is_none_or(|max| consumed < max) {
        let records = tokio::select! {
            records = consumer.poll(POLL) => records?,
            code = &mut signalled => return Ok(Some(code)),
        };
        if records.is_empty() {
            continue;
        }
        let offsets = tell(&records, plan, &mut consumed);
        if !plan.auto_commit {
            commit(consumer, offsets).await?;
        }
    }
    Ok(None)
}

type Offsets = Vec<(TopicPartition, i64)>;

/// Prints the records of one poll, up to the wanted count; where each partition is to be committed.
fn tell(records: &ConsumerRecords, plan: &Plan, consumed: &mut u64) -> Offsets {
    let mut offsets = Vec::new();
    let mut summaries = Vec::new();
    for partition in records.partitions() {
        let left = plan.messages.map_or(usize::MAX, |max| usize::try_from(max.saturating_sub(*consumed)).unwrap_or(usize::MAX));
        let of_partition = |record: &&ConsumerRecord| record.partition == partition.partition && *record.topic == *partition.topic;
        let found: Vec<&ConsumerRecord> = records.iter().filter(of_partition).take(left).collect();
        let (Some(first), Some(last)) = (found.first(), found.last()) else { break };
        offsets.push((partition.clone(), last.offset + 1));
        let [topic, number] = place(&partition);
        let counts = [("count", found.len().to_string()), ("minOffset", first.offset.to_string()), ("maxOffset", last.offset.to_string())];
        summaries.push(object(&[&[topic, number], &counts[..]].concat()));
        if plan.verbose {
            found.iter().for_each(|record| tell_record(record));
        }
        *consumed += found.len() as u64;
    }
    Event::new("records_consumed").field("count", records.len()).field("partitions", list(summaries.into_iter())).print();
    offsets
}

fn tell_record(record: &ConsumerRecord) {
    let shown = |bytes: Option<&[u8]>| text(bytes.map(String::from_utf8_lossy).as_deref());
    Event::new("record_data")
        .field("key", shown(record.key.as_deref()))
        .field("value", shown(record.value.as_deref()))
        .field("topic", text(Some(&record.topic)))
        .field("partition", record.partition)
        .field("offset", record.offset)
        .print();
}

async fn commit(consumer: &mut Consumer, offsets: Offsets) -> Result<(), Error> {
    let wanted: BTreeMap<_, _> = offsets.iter().map(|(partition, offset)| (partition.clone(), OffsetAndMetadata::new(*offset))).collect();
    let result = consumer.commit_offsets(wanted).await;
    if let Err(error) = &result
        && error.code() == Some(ErrorCode::FencedInstanceId)
    {
        return result;
    }
    let committed = offsets.iter().map(|(partition, offset)| {
        let [topic, number] = place(partition);
        object(&[topic, number, ("offset", offset.to_string())])
    });
    let mut event = Event::new("offsets_committed").field("offsets", list(committed));
    if let Err(error) = &result {
        event = event.field("error", text(Some(&error.to_string())));
    }
    event.field("success", result.is_ok()).print();
    Ok(())
}
