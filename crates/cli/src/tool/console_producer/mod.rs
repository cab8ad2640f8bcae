//! `kafka-console-producer`: sends the lines of standard input. Kafka counterpart: ConsoleProducer.

mod reader;

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal};

use client::{Config, Header, Producer, ProducerRecord};

use crate::args::{key_values, valid_bootstrap};
use crate::failure::Failure;
use crate::options::{Kind, Options, Parser};
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

fn parser() -> Parser {
    let properties = "A property of the line reader as key=value: parse.key, key.separator, parse.headers, headers.delimiter, \
                      headers.separator, headers.key.separator, null.marker, ignore.error. May be repeated.";
    Parser::new("This tool helps to read data from standard input and publish it to Kafka.")
        .text("topic", "topic", "REQUIRED: The topic to send to.")
        .text("bootstrap-server", "server to connect to", "REQUIRED: The servers to connect to, HOST1:PORT1,HOST2:PORT2.")
        .flag("sync", "Wait for the answer to each record before the next is read.")
        .optional_text("compression-codec", "compression-codec", "none, gzip, snappy, lz4 or zstd; gzip when no value is given.")
        .value("batch-size", Kind::Integer, "size", "Bytes of a batch (batch.size).")
        .default("16384")
        .value("message-send-max-retries", Kind::Integer, "", "How often a send is tried again (retries).")
        .default("3")
        .value("retry-backoff-ms", Kind::Long, "", "How long to wait before trying again (retry.backoff.ms).")
        .default("100")
        .value("timeout", Kind::Long, "timeout_ms", "How long a record waits for company (linger.ms).")
        .default("1000")
        .text("request-required-acks", "request required acks", "Who has to acknowledge (acks).")
        .default("-1")
        .value("request-timeout-ms", Kind::Integer, "request timeout ms", "How long an acknowledgement may take (request.timeout.ms).")
        .default("1500")
        .value(
            "metadata-expiry-ms",
            Kind::Long,
            "metadata expiration interval",
            "Age at which metadata is fetched anew (metadata.max.age.ms).",
        )
        .default("300000")
        .value("max-block-ms", Kind::Long, "max block on send", "How long a send may block (max.block.ms).")
        .default("60000")
        .value("max-memory-bytes", Kind::Long, "total memory in bytes", "Memory for records that wait (buffer.memory).")
        .default("33554432")
        .value("max-partition-memory-bytes", Kind::Integer, "memory in bytes per partition", "(Deprecated) Use --batch-size.")
        .default("16384")
        .text("line-reader", "reader_class", "The class that reads lines; only LineMessageReader exists.")
        .default(READER)
        .value("socket-buffer-size", Kind::Integer, "size", "Size of the socket's send buffer (send.buffer.bytes).")
        .default("102400")
        .text("property", "prop", "(Deprecated) Use --reader-property.")
        .text("reader-property", "prop", properties)
        .text("reader-config", "config file", "Property file for the line reader; --reader-property goes first.")
        .text("producer-property", "producer_prop", "(Deprecated) Use --command-property.")
        .text("command-property", "producer_prop", "A producer config as key=value; may be repeated.")
        .text("producer.config", "config file", "(Deprecated) Use --command-config.")
        .text("command-config", "config file", "Property file with producer configs; --command-property goes first.")
}

pub fn run(args: &[String]) -> Result<(), Failure> {
    let options = match parser().parse(args) {
        // Here Kafka shows the help behind an unreadable command line.
        Err(Failure::Options(message)) => return Err(parser().parse_quietly(&[])?.usage(message)),
        other => other?,
    };
    check(&options)?;
    let mut reader = LineReader::new(&reader_properties(&options)?)?;
    let config = producer_config(&options)?;
    let topic = options.value("topic")?.unwrap_or_default().to_owned();
    let sync = options.has("sync");
    session::block_on(async {
        let producer = Producer::new(config)?;
        let result = send_lines(&producer, &topic, &mut reader, sync).await;
        // What was read before a bad line is still sent.
        let closed = producer.close(session::FOREVER).await;
        result?;
        Ok(closed?)
    })
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
        Some(class) => Err(Failure::new(format!("java.lang.ClassNotFoundException: {class} (lines are read by {READER} only)"))),
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
        found.extend(properties::load(file)?);
    }
    let name = if options.has("property") { "property" } else { "reader-property" };
    found.extend(key_values(&options.values(name)));
    Ok(found)
}

fn producer_config(options: &Options) -> Result<Config, Failure> {
    let mut config = Config::new();
    let file = if options.has("producer.config") { "producer.config" } else { "command-config" };
    if let Some(file) = options.value(file)? {
        config.extend(properties::load(file)?);
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
        let line = reader.read(&line?)?;
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
