//! `kafka-console-consumer`: prints the records of topics. Kafka counterpart: ConsoleConsumer.

mod format;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::{Duration, Instant};

use client::{Config, Consumer, ConsumerRecord, TopicPartition};

use regex::Regex;

use crate::args::key_values;
use crate::failure::Failure;
use crate::options::{Options, Parser};
use crate::out::{complain, say};
use crate::{properties, session};
use format::{Formatter, Shown};

const DEFAULT_FORMATTER: &str = "org.apache.kafka.tools.consumer.DefaultMessageFormatter";

fn parser() -> Parser {
    Parser::documented(
        "This tool helps to read data from Kafka topics and outputs it to standard output.",
        include_str!("../../help/kafka-console-consumer.txt"),
    )
    .default_of("offset", "latest")
    .default_of("formatter", DEFAULT_FORMATTER)
    .default_of("isolation-level", "read_uncommitted")
}

/// What the command line asks for.
struct Wanted {
    config: Config,
    formatter: Formatter,
    source: Source,
    max_messages: Option<u64>,
    timeout: Option<Duration>,
    skip_errors: bool,
}

enum Source {
    Topic(String),
    Pattern(Regex),
    Partition(TopicPartition, Start),
}

#[derive(Clone, Copy)]
enum Start {
    Earliest,
    Latest,
    Offset(i64),
}

pub fn run(args: &[String]) -> Result<(), Failure> {
    let options = match parser().parse(args) {
        Err(Failure::Options(message)) => return Err(parser().parse_quietly(&[])?.usage(message)),
        other => other?,
    };
    let wanted = read(&options)?;
    let systest = options.has("enable-systest-events");
    session::block_on(async {
        let ended = consume(wanted).await;
        if systest {
            say!("shutdown_complete");
        }
        ended
    })
}

fn read(options: &Options) -> Result<Wanted, Failure> {
    options.check_one_of(&["topic", "include"])?;
    let partition: Option<i32> = options.number("partition")?;
    if partition.is_some() {
        if !options.has("topic") {
            return Err(options.usage("The topic is required when partition is specified."));
        }
        if options.has("from-beginning") && options.has("offset") {
            return Err(options.usage("Options from-beginning and offset cannot be specified together."));
        }
    } else if options.has("offset") {
        return Err(options.usage("The partition is required when offset is specified."));
    }
    options.check_required(&["bootstrap-server"])?;
    for (old, new) in [("consumer-property", "command-property"), ("consumer.config", "command-config")] {
        if options.has(old) && options.has(new) {
            return Err(options.usage(format!("Options --{old} and --{new} cannot be specified together.")));
        }
    }
    for (old, new) in [("consumer-property", "command-property"), ("consumer.config", "command-config")] {
        if options.has(old) {
            say!("Option --{old} is deprecated and will be removed in a future version. Use --{new} instead.");
        }
    }
    let config = consumer_config(options, partition.is_some())?;
    let start = start(options)?;
    let timeout: Option<i64> = options.number("timeout-ms")?;
    let max: Option<i32> = options.number("max-messages")?;
    let formatter = formatter(options)?;
    let text = |name: &str| -> Result<String, Failure> { Ok(options.value(name)?.unwrap_or_default().to_owned()) };
    let source = match partition {
        Some(partition) => Source::Partition(TopicPartition::new(text("topic")?, partition), start),
        None if options.has("topic") => Source::Topic(text("topic")?),
        None => Source::Pattern(session::topic_pattern(&text("include")?)?),
    };
    if partition.is_none() && config.get("group.protocol").is_none_or(|protocol| protocol.eq_ignore_ascii_case("classic")) {
        complain!(
            "The consumer rebalance protocol (KIP-848) is production-ready! Set group.protocol=consumer to try it out. See \
             https://kafka.apache.org/documentation/#consumer_rebalance_protocol"
        );
    }
    Ok(Wanted {
        config,
        formatter,
        source,
        max_messages: max.filter(|max| *max != -1).map(|max| max.max(0) as u64),
        timeout: timeout.filter(|ms| *ms >= 0).map(|ms| Duration::from_millis(ms as u64)),
        skip_errors: options.has("skip-message-on-error"),
    })
}

fn consumer_config(options: &Options, has_partition: bool) -> Result<Config, Failure> {
    let file = if options.has("consumer.config") { "consumer.config" } else { "command-config" };
    let from_file = match options.value(file)? {
        Some(file) => properties::load(file)?,
        None => BTreeMap::new(),
    };
    let property = if options.has("consumer-property") { "consumer-property" } else { "command-property" };
    let extra: BTreeMap<String, String> = key_values(&options.values(property)).into_iter().collect();
    let given = [options.value("group")?, from_file.get("group.id").map(String::as_str), extra.get("group.id").map(String::as_str)];
    let groups: BTreeSet<&str> = given.into_iter().flatten().collect();
    if groups.len() > 1 {
        let list: Vec<String> = groups.iter().map(|group| format!("'{group}'")).collect();
        return Err(options.usage(format!(
            "The group ids provided in different places (directly using '--group', via '--consumer-property', or via '--consumer.config') \
             do not match. Detected group ids: {}",
            list.join(", ")
        )));
    }
    if !groups.is_empty() && has_partition {
        return Err(options.usage("Options group and partition cannot be specified together."));
    }
    let group = groups.first().map(|group| group.to_string());
    let mut config = Config::new();
    config.extend(from_file.clone());
    config.extend(extra.clone());
    let from_beginning = options.has("from-beginning");
    match config.get("auto.offset.reset") {
        Some(reset) if from_beginning && reset != "earliest" => {
            return Err(Failure::new(format!(
                "Can't simultaneously specify --from-beginning and 'auto.offset.reset={reset}', please remove one option"
            )));
        }
        Some(_) => {}
        None => config.set("auto.offset.reset", if from_beginning { "earliest" } else { "latest" }),
    }
    config.set("bootstrap.servers", options.value("bootstrap-server")?.unwrap_or_default());
    config.set_default("client.id", "console-consumer");
    if options.has("isolation-level") || config.get("isolation.level").is_none() {
        config.set("isolation.level", options.value("isolation-level")?.unwrap_or_default());
    }
    match group {
        Some(group) => config.set("group.id", group),
        None => {
            // Nobody comes back to a group with such a name.
            config.set("group.id", format!("console-consumer-{}", fastrand::u32(0..100_000)));
            config.set_default("enable.auto.commit", "false");
        }
    }
    Ok(config)
}

fn start(options: &Options) -> Result<Start, Failure> {
    if !options.has("offset") {
        return Ok(if options.has("from-beginning") { Start::Earliest } else { Start::Latest });
    }
    let text = options.value("offset")?.unwrap_or_default();
    match text.to_lowercase().as_str() {
        "earliest" => Ok(Start::Earliest),
        "latest" => Ok(Start::Latest),
        _ => match text.parse() {
            Ok(offset) if offset >= 0 => Ok(Start::Offset(offset)),
            _ => Err(options.usage(format!(
                "The provided offset value '{text}' is incorrect. Valid values are 'earliest', 'latest', or a non-negative long."
            ))),
        },
    }
}

fn formatter(options: &Options) -> Result<Formatter, Failure> {
    if options.has("formatter-property") && options.has("property") {
        return Err(options.usage("Options --property and --formatter-property cannot be specified together."));
    }
    if options.has("property") {
        say!("Option --property is deprecated and will be removed in a future version. Use --formatter-property instead.");
    }
    let mut found = match options.value("formatter-config")? {
        Some(file) => properties::load(file)?,
        None => BTreeMap::new(),
    };
    for (option, name) in [("key-deserializer", "key.deserializer"), ("value-deserializer", "value.deserializer")] {
        if let Some(class) = options.value(option)?.filter(|class| !class.is_empty()) {
            found.insert(name.to_owned(), class.to_owned());
        }
    }
    let name = if options.has("property") { "property" } else { "formatter-property" };
    found.extend(key_values(&options.values(name)));
    Formatter::new(options.value("formatter")?.unwrap_or(DEFAULT_FORMATTER), &found).map_err(|text| options.usage(text))
}

/// Why reading ended.
enum End {
    Done,
    Failed(Failure),
    Signal(i32),
}

async fn consume(wanted: Wanted) -> Result<(), Failure> {
    let mut consumer = Consumer::new(wanted.config.clone())?;
    let mut count = 0u64;
    let end = tokio::select! {
        end = read_records(&mut consumer, &wanted, &mut count) => end,
        signal = signalled() => End::Signal(signal),
    };
    let closed = consumer.close(Duration::from_secs(30)).await;
    complain!("Processed a total of {count} messages");
    match end {
        End::Done => Ok(closed?),
        End::Failed(failure) => Err(failure),
        End::Signal(code) => Err(Failure::Status(code)),
    }
}

/// The exit code that a shell sees after the signal that came.
pub async fn signalled() -> i32 {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => 130,
        _ = terminate.recv() => 143,
    }
}

async fn read_records(consumer: &mut Consumer, wanted: &Wanted, count: &mut u64) -> End {
    if let Err(error) = begin(consumer, &wanted.source).await {
        return End::Failed(error.into());
    }
    let mut out = Vec::new();
    let mut last = Instant::now();
    let is_full = |count: u64| wanted.max_messages.is_some_and(|max| count >= max);
    while !is_full(*count) {
        let wait = wanted.timeout.unwrap_or(Duration::from_secs(3600));
        let records = match consumer.poll(wait).await {
            Ok(records) => records,
            Err(error) => {
                complain!("ERROR Error processing message, terminating consumer process: {error}");
                return End::Done;
            }
        };
        let mut unread: BTreeMap<(String, i32), i64> = BTreeMap::new();
        let mut any = false;
        for record in records {
            if is_full(*count) {
                // Offsets of records that were not printed must not be committed.
                unread.entry((record.topic.to_string(), record.partition)).or_insert(record.offset);
                continue;
            }
            any = true;
            *count += 1;
            if let Err(text) = wanted.formatter.write(&shown(&record), &mut out) {
                if !wanted.skip_errors {
                    let _ = flush(&mut out);
                    return End::Failed(Failure::new(text));
                }
                complain!("ERROR Error processing message, skipping this message: {text}");
            }
            if out.len() > 1 << 16 && flush(&mut out).is_err() {
                return stdout_gone();
            }
        }
        if flush(&mut out).is_err() {
            return stdout_gone();
        }
        for ((topic, partition), offset) in unread {
            let _ = consumer.seek(&TopicPartition::new(topic, partition), offset);
        }
        if any {
            last = Instant::now();
        } else if wanted.timeout.is_some_and(|timeout| last.elapsed() >= timeout) {
            return End::Done;
        }
    }
    End::Done
}

fn shown(record: &ConsumerRecord) -> Shown<'_> {
    Shown {
        partition: record.partition,
        offset: record.offset,
        timestamp: record.timestamp,
        timestamp_type: Some(record.timestamp_type),
        key: record.key.as_ref(),
        value: record.value.as_ref(),
        headers: &record.headers,
    }
}

fn flush(out: &mut Vec<u8>) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(out)?;
    out.clear();
    stdout.flush()
}

fn stdout_gone() -> End {
    complain!("Unable to write to standard out, closing consumer.");
    End::Done
}

async fn begin(consumer: &mut Consumer, source: &Source) -> Result<(), client::Error> {
    match source {
        Source::Topic(topic) => consumer.subscribe([topic.clone()]),
        Source::Pattern(pattern) => {
            let pattern = pattern.clone();
            consumer.subscribe_matching(move |topic| pattern.is_match(topic))
        }
        Source::Partition(partition, start) => {
            consumer.assign(vec![partition.clone()])?;
            match start {
                Start::Earliest => consumer.seek_to_beginning(std::slice::from_ref(partition)),
                Start::Latest => consumer.seek_to_end(std::slice::from_ref(partition)),
                Start::Offset(offset) => consumer.seek(partition, *offset),
            }
        }
    }
}
