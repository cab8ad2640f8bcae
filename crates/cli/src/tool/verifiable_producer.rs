//! `kafka-verifiable-producer`: sends increasing numbers and prints what became of each as a line of JSON, for system tests.
//! Kafka counterpart: VerifiableProducer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use client::producer::Delivery;
use client::{Config, Error, Producer, ProducerRecord};

use super::events::{Event, text};
use super::producer_perf::Throttle;
use crate::argparse4j::{Level, Parsed, Program};
use crate::failure::Failure;
use crate::java::exception_class;
use crate::out::{complain, say};
use crate::{args, properties, session};

const PROGRAM: Program = Program {
    name: "verifiable-producer",
    top: Level {
        required: &["--topic"],
        exclusive: &["--bootstrap-server"],
        one_required: true,
        integers: &["--max-messages", "--throughput", "--acks", "--value-prefix", "--repeating-keys"],
        ..Level::new("", include_str!("../help/kafka-verifiable-producer.txt"))
    },
    commands: &[],
    from_file: false,
};

/// Records whose fate is not known yet.
const IN_FLIGHT_MAX: usize = 1 << 16;

struct Plan {
    config: Config,
    topic: String,
    /// None to send until the process is told to stop.
    messages: Option<u64>,
    throughput: i32,
    value_prefix: Option<i32>,
    repeating_keys: Option<i32>,
    create_time: Option<i64>,
}

pub fn run(words: &[String]) -> Result<(), Failure> {
    let plan = plan(&PROGRAM.parse_given(words)?)?;
    session::block_on(produce(plan))
}

/// What `--command-config` or its older name sets; `old` is that name.
pub fn load_config(program: &Program, parsed: &Parsed, old: &str) -> Result<Config, Failure> {
    let mut config = Config::new();
    if parsed.has(old) && parsed.has("command-config") {
        return Err(program.refuse(format!("Options --{old} and --command-config are mutually exclusive.")));
    }
    if parsed.has(old) {
        say!("Option --{old} has been deprecated and will be removed in a future version. Use --command-config instead.");
    }
    if let Some(file) = parsed.value(old).or_else(|| parsed.value("command-config")) {
        config.extend(properties::load(file).map_err(|_| program.refuse(file.to_owned()))?);
    }
    Ok(config)
}

/// A client that cannot be made, as the JVM reports an exception that nobody caught.
pub fn not_constructed(what: &str, error: &Error) -> Failure {
    let class = match error {
        Error::Config(_) => "org.apache.kafka.common.config.ConfigException".to_owned(),
        other => exception_class(other),
    };
    let cause = format!("{class}: {error}");
    let addresses = error.to_string().contains("bootstrap.servers");
    Failure::new(match error {
        // What a value alone shows is found before anything is constructed.
        Error::Config(_) if !addresses => format!("Exception in thread \"main\" {cause}"),
        _ => format!(
            "Exception in thread \"main\" org.apache.kafka.common.KafkaException: Failed to construct kafka {what}\nCaused by: {cause}"
        ),
    })
}

fn plan(parsed: &Parsed) -> Result<Plan, Failure> {
    let acks = parsed.integer("acks").unwrap_or(-1);
    if ![0, 1, -1].contains(&acks) {
        return Err(PROGRAM.refuse(format!("argument --acks: invalid choice: '{acks}' (choose from {{0,1,-1}})")));
    }
    let create_time = match parsed.value("message-create-time").map(|text| (text, text.parse::<i64>())) {
        None | Some((_, Ok(-1))) => None,
        Some((_, Ok(time))) => Some(time),
        Some((text, Err(_))) => {
            let text = format!("argument --message-create-time: could not convert '{text}' to Long (For input string: \"{text}\")");
            return Err(PROGRAM.refuse(text));
        }
    };
    let mut config = Config::new();
    config.set("bootstrap.servers", parsed.value("bootstrap-server").unwrap_or_default());
    config.set("acks", acks);
    config.set("retries", 0);
    config.extend(load_config(&PROGRAM, parsed, "producer.config")?.iter());
    Ok(Plan {
        config,
        topic: parsed.value("topic").unwrap_or_default().to_owned(),
        messages: parsed.integer("max-messages").and_then(|max| u64::try_from(max).ok()),
        throughput: parsed.integer("throughput").unwrap_or(-1),
        value_prefix: parsed.integer("value-prefix"),
        repeating_keys: parsed.integer("repeating-keys"),
        create_time,
    })
}

/// A record that was given to the producer.
struct Sent {
    key: Option<String>,
    value: String,
    outcome: Result<Delivery, Error>,
}

async fn produce(plan: Plan) -> Result<(), Failure> {
    let producer = Producer::new(plan.config.clone()).map_err(|error| not_constructed("producer", &error))?;
    let begin = Instant::now();
    let sent = AtomicU64::new(0);
    Event::new("startup_complete").print();
    let (queue, mut outcomes) = tokio::sync::mpsc::channel::<Sent>(IN_FLIGHT_MAX);
    let report = async {
        let mut acked = 0u64;
        while let Some(sent) = outcomes.recv().await {
            acked += u64::from(tell(&plan.topic, sent).await);
        }
        acked
    };
    let send = async {
        let signal = tokio::select! {
            () = send_all(&producer, &plan, &sent, &queue) => None,
            code = super::console_consumer::signalled() => Some(code),
        };
        drop(queue);
        // Flushed here so that the outcomes come in.
        if let Err(error) = producer.flush().await {
            complain!("{error}");
        }
        signal
    };
    let (acked, signal) = tokio::join!(report, send);
    let closed = producer.close(session::FOREVER).await;
    Event::new("shutdown_complete").print();
    let elapsed = begin.elapsed().as_millis().max(1) as f64;
    Event::new("tool_data")
        .field("sent", sent.load(Ordering::Relaxed))
        .field("acked", acked)
        .field("target_throughput", plan.throughput)
        .field("avg_throughput", args::java_double(1000.0 * (acked as f64 / elapsed)))
        .print();
    match signal {
        Some(code) => Err(Failure::Status(code)),
        None => Ok(closed?),
    }
}

async fn send_all(producer: &Producer, plan: &Plan, sent: &AtomicU64, queue: &tokio::sync::mpsc::Sender<Sent>) {
    let mut throttle = Throttle::new(f64::from(plan.throughput));
    let begin = Instant::now();
    let mut create_time = plan.create_time;
    let mut key_counter = 0;
    for i in 0..plan.messages.unwrap_or(u64::MAX) {
        let started = begin.elapsed().as_millis() as u64;
        let key = plan.repeating_keys.map(|count| {
            let key = key_counter;
            key_counter = if key + 1 == count { 0 } else { key + 1 };
            key.to_string()
        });
        let value = match plan.value_prefix {
            Some(prefix) => format!("{prefix}.{i}"),
            None => i.to_string(),
        };
        let mut record = ProducerRecord::new(&plan.topic).value(value.as_bytes());
        record.key = key.as_deref().map(str::as_bytes);
        record.timestamp = create_time;
        if let Some(time) = &mut create_time {
            *time += begin.elapsed().as_millis() as i64;
        }
        sent.fetch_add(1, Ordering::Relaxed);
        let outcome = producer.send(&record).await;
        if queue.send(Sent { key, value, outcome }).await.is_err() {
            return;
        }
        throttle.wait(i, started).await;
        // Lets outcomes be printed while the producer always has room.
        if i % 256 == 0 {
            tokio::time::sleep(Duration::ZERO).await;
        }
    }
}

/// Prints what became of a record; whether it was acknowledged.
async fn tell(topic: &str, sent: Sent) -> bool {
    let (key, value) = (text(sent.key.as_deref()), text(Some(&sent.value)));
    let outcome = match sent.outcome {
        Ok(delivery) => delivery.await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(metadata) => {
            Event::new("producer_send_success")
                .field("key", key)
                .field("value", value)
                .field("offset", metadata.offset)
                .field("topic", text(Some(&metadata.topic)))
                .field("partition", metadata.partition)
                .print();
            true
        }
        Err(error) => {
            Event::new("producer_send_error")
                .field("topic", text(Some(topic)))
                .field("key", key)
                .field("value", value)
                .field("exception", text(Some(&format!("class {}", exception_class(&error)))))
                .field("message", text(Some(&error.to_string())))
                .print();
            false
        }
    }
}
