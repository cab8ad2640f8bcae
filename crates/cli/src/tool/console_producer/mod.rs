//! `kafka-console-producer`: sends the lines of standard input. Kafka counterpart: ConsoleProducer.

mod reader;

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal};

use client::{Config, Header, Producer, ProducerRecord};

use crate::args::{key_values, valid_bootstrap};
use crate::failure::Failure;
use crate::options::{Options, Parser};
use crate::out::{complain, say, say_part};
use crate::{properties, session};
use reader::LineReader;

const READER: &str = "org.apache.kafka.tools.LineMessageReader";

/// Option and the producer config it controls; the order is Kafka's, a later one wins.
const MERGED: [(&str, &str); 11] = [
    ("timeout", "linger.ms"),
    ("request-required-acks", "acks"),
    ("request-timeout-ms", "request.timeout.ms"),
    ("message-send-max-retries", "retries"),
    ("retry-backoff-ms", "retry.backoff.ms"),
    ("socket-buffer-size", "send.buffer.bytes"),
    ("max-memory-bytes", "buffer.memory"),
    ("batch-size", "batch.size"),
    ("max-partition-memory-bytes", "batch.size"),
    ("metadata-expiry-ms", "metadata.max.age.ms"),
    ("max-block-ms", "max.block.ms"),
];

/// Values of options that are absent.
const DEFAULTS: [(&str, &str); 12] = [
    ("batch-size", "16384"),
    ("message-send-max-retries", "3"),
    ("retry-backoff-ms", "100"),
    ("timeout", "1000"),
    ("request-required-acks", "-1"),
    ("request-timeout-ms", "1500"),
    ("metadata-expiry-ms", "300000"),
    ("max-block-ms", "60000"),
    ("max-memory-bytes", "33554432"),
    ("max-partition-memory-bytes", "16384"),
    ("line-reader", READER),
    ("socket-buffer-size", "102400"),
];

fn parser() -> Parser {
    let parser = Parser::documented(
        "This tool helps to read data from standard input and publish it to Kafka.",
        include_str!("../../help/kafka-console-producer.txt"),
    );
    DEFAULTS.into_iter().fold(parser, |parser, (name, value)| parser.default_of(name, value))
}

pub fn run(args: &[String]) -> Result<(), Failure> {
    let options = match parser().parse(args) {
        // Here Kafka shows the help behind an unreadable command line.
        Err(Failure::Options(message)) => return Err(parser().parse_quietly(&[])?.usage(message)),
        other => other?,
    };
    check(&options)?;
    let mut reader = LineReader::new(&reader_properties(&options)?).map_err(|failure| thrown(KAFKA_EXCEPTION, failure))?;
    let config = producer_config(&options)?;
    let topic = options.value("topic")?.unwrap_or_default().to_owned();
    let sync = options.has("sync");
    session::block_on(async {
        let producer = Producer::new(config).map_err(|error| thrown(CONFIG_EXCEPTION, error.into()))?;
        let result = send_lines(&producer, &topic, &mut reader, sync).await;
        // What was read before a bad line is still sent.
        let closed = producer.close(session::FOREVER).await;
        result?;
        Ok(closed?)
    })
}

const KAFKA_EXCEPTION: &str = "org.apache.kafka.common.KafkaException";
const CONFIG_EXCEPTION: &str = "org.apache.kafka.common.config.ConfigException";

/// A failure as the JVM prints the exception.
fn thrown(class: &str, failure: Failure) -> Failure {
    match failure {
        Failure::Message(text) => Failure::Message(format!("{class}: {text}")),
        other => other,
    }
}

fn check(options: &Options) -> Result<(), Failure> {
    options.check_required(&["topic"])?;
    let pairs = [("command-config", "producer.config"), ("command-property", "producer-property"), ("reader-property", "property")];
    for (new, old) in pairs {
        if options.has(new) && options.has(old) {
            return Err(options.usage(format!("Options --{new} and --{old} cannot be specified together.")));
        }
    }
    for (old, new) in [("producer-property", "command-property"), ("producer.config", "command-config"), ("property", "reader-property")] {
        if options.has(old) {
            say!("Warning: --{old} is deprecated and will be removed in a future version. Use --{new} instead.");
        }
    }
    if options.has("max-partition-memory-bytes") {
        say!("Warning: --max-partition-memory-bytes is deprecated and will be removed in Apache Kafka 5.0. Use --batch-size instead.");
    }
    check_bootstrap(options)?;
    match options.value("line-reader")? {
        Some(READER) | None => Ok(()),
        Some(class) => Err(Failure::new(format!("java.lang.ClassNotFoundException: {class}\nlines are read by {READER} only"))),
    }
}

/// `ToolsUtils.validateBootstrapServer`
pub fn check_bootstrap(options: &Options) -> Result<(), Failure> {
    match options.value("bootstrap-server")? {
        Some(servers) if valid_bootstrap(servers) => Ok(()),
        Some(servers) if !servers.trim().is_empty() => Err(options.usage("Please provide valid host:port like host1:9091,host2:9092\n")),
        _ => Err(options.usage("Error while validating the bootstrap address\n")),
    }
}

fn reader_properties(options: &Options) -> Result<BTreeMap<String, String>, Failure> {
    let mut found = BTreeMap::new();
    if let Some(file) = options.value("reader-config")? {
        found.extend(properties::load(file).map_err(|_| Failure::new(format!("java.nio.file.NoSuchFileException: {file}")))?);
    }
    let name = if options.has("property") { "property" } else { "reader-property" };
    found.extend(key_values(&options.values(name)));
    Ok(found)
}

fn producer_config(options: &Options) -> Result<Config, Failure> {
    let mut config = Config::new();
    let file = if options.has("producer.config") { "producer.config" } else { "command-config" };
    if let Some(file) = options.value(file)? {
        config.extend(properties::load(file).map_err(|_| Failure::new(format!("java.nio.file.NoSuchFileException: {file}")))?);
    }
    let property = if options.has("producer-property") { "producer-property" } else { "command-property" };
    config.extend(key_values(&options.values(property)));
    config.set("bootstrap.servers", options.value("bootstrap-server")?.unwrap_or_default());
    let codec = match options.has("compression-codec") {
        true => options.value("compression-codec")?.filter(|codec| !codec.is_empty()).unwrap_or("gzip"),
        false => "none",
    };
    config.set("compression.type", codec);
    config.set_default("client.id", "console-producer");
    for (option, name) in MERGED {
        if let Some(value) = options.value(option)?
            && (options.has(option) || config.get(name).is_none())
        {
            config.set(name, value);
        }
    }
    Ok(config)
}

/// Reads lines on a thread of its own, so that batches leave while the reader waits for more.
fn lines_of_stdin() -> tokio::sync::mpsc::Receiver<std::io::Result<String>> {
    let (sender, receiver) = tokio::sync::mpsc::channel(1024);
    let prompt = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        loop {
            if prompt {
                say_part!(">");
            }
            let mut bytes = Vec::new();
            let line = match input.read_until(b'\n', &mut bytes) {
                Ok(0) => return,
                Ok(_) => {
                    let end = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
                    let end = end.strip_suffix(b"\r").unwrap_or(end);
                    Ok(String::from_utf8_lossy(end).into_owned())
                }
                Err(error) => Err(error),
            };
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

async fn send_lines(producer: &Producer, topic: &str, reader: &mut LineReader, sync: bool) -> Result<(), Failure> {
    let mut lines = lines_of_stdin();
    while let Some(line) = lines.recv().await {
        let line = reader.read(&line?).map_err(|failure| thrown(KAFKA_EXCEPTION, failure))?;
        let sizes = (line.key.as_ref().map(Vec::len), line.value.as_ref().map(Vec::len));
        let headers: Vec<Header<'_>> = line.headers.iter().map(|(key, value)| Header::new(key, value.as_deref())).collect();
        let mut record = ProducerRecord::new(topic).headers(&headers);
        (record.key, record.value) = (line.key.as_deref(), line.value.as_deref());
        let delivery = producer.send(&record).await;
        let delivery = match delivery {
            Ok(delivery) => delivery,
            Err(error) if sync => return Err(error.into()),
            Err(error) => {
                log_error(topic, sizes, &error);
                continue;
            }
        };
        if sync {
            delivery.await?;
            continue;
        }
        let topic = topic.to_owned();
        tokio::spawn(async move {
            if let Err(error) = delivery.await {
                log_error(&topic, sizes, &error);
            }
        });
    }
    producer.flush().await?;
    Ok(())
}

/// What `ErrorLoggingCallback` writes to the log of Kafka's tool.
fn log_error(topic: &str, (key, value): (Option<usize>, Option<usize>), error: &client::Error) {
    let size = |size: Option<usize>| size.map_or("null".to_owned(), |size| format!("{size} bytes"));
    complain!("ERROR Error when sending message to topic {topic} with key: {}, value: {} with error: {error}", size(key), size(value));
}
