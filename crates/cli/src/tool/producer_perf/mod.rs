//! `kafka-producer-perf-test`: sends records as fast as asked and prints rates and latencies. Kafka counterpart: ProducerPerformance.

mod stats;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use client::producer::{DeliveryListener, DeliveryReport, TrySendError};
use client::{Config, Producer, ProducerRecord};

use crate::argparse4j::{Level, Parsed, Program};
use crate::failure::Failure;
use crate::out::{complain, say};
use crate::{properties, session};
use stats::Stats;

const PROGRAM: Program = Program {
    name: "kafka-producer-perf-test",
    top: Level {
        required: &["--topic", "--num-records", "--throughput"],
        exclusive: &PAYLOADS,
        one_required: true,
        integers: &["--record-size"],
        ..Level::new("", include_str!("../../help/kafka-producer-perf-test.txt"))
    },
    commands: &[],
    from_file: false,
};

const PAYLOADS: [&str; 3] = ["--record-size", "--payload-file", "--payload-monotonic"];

/// Everything the command line says.
struct Plan {
    config: Config,
    topic: String,
    records: u64,
    warmup: u64,
    throughput: f64,
    interval: u64,
    payload: Payload,
    print_metrics: bool,
    /// Records are sent in transactions of this many milliseconds.
    transaction_ms: Option<u64>,
}

const DEFAULT_TRANSACTION_MS: i64 = 3000;

enum Payload {
    Random(usize),
    Lines(Vec<Vec<u8>>),
    Number,
}

pub fn run(words: &[String]) -> Result<(), Failure> {
    let plan = plan(&PROGRAM.parse_given(words)?)?;
    session::block_on(measure(plan))
}

fn number<T: std::str::FromStr>(parsed: &Parsed, name: &str, java: &str) -> Result<Option<T>, Failure> {
    match parsed.value(name) {
        None => Ok(None),
        Some(text) => match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => {
                Err(PROGRAM.refuse(format!("argument --{name}: could not convert '{text}' to {java} (For input string: \"{text}\")")))
            }
        },
    }
}

fn plan(parsed: &Parsed) -> Result<Plan, Failure> {
    let records: i64 = number(parsed, "num-records", "Long")?.unwrap_or(0);
    let throughput: f64 = number(parsed, "throughput", "Double")?.unwrap_or(-1.0);
    let size = parsed.integer("record-size");
    let warmup: i64 = number(parsed, "warmup-records", "Long")?.unwrap_or(0).max(0);
    let interval: i64 = number(parsed, "reporting-interval", "Long")?.unwrap_or(5000);
    let transaction_ms: Option<i64> = number(parsed, "transaction-duration-ms", "Long")?;
    let checks = [
        (records <= 0, "--num-records should be greater than zero."),
        (warmup >= records, "The value for --warmup-records must be strictly fewer than the number of records in the test, --num-records."),
        (size.is_some_and(|size| size <= 0), "--record-size should be greater than zero."),
        (
            !["bootstrap-server", "command-property", "producer-props", "producer.config", "command-config"].iter().any(|n| parsed.has(n)),
            "At least one of --bootstrap-server, --command-property, --producer-props, --producer.config or --command-config must be specified.",
        ),
        (
            parsed.has("command-property") && parsed.has("producer-props"),
            "--command-property and --producer-props cannot be specified together.",
        ),
        (
            parsed.has("command-config") && parsed.has("producer.config"),
            "--command-config and --producer.config cannot be specified together.",
        ),
        (transaction_ms.is_some_and(|ms| ms <= 0), "--transaction-duration-ms should be greater than zero."),
        (interval <= 0, "--reporting-interval should be greater than zero."),
    ];
    if let Some((_, text)) = checks.iter().find(|(wrong, _)| *wrong) {
        return Err(PROGRAM.refuse(*text));
    }
    let payload = match (size, parsed.value("payload-file")) {
        (Some(size), _) => Payload::Random(size as usize),
        (None, Some(file)) => Payload::Lines(read_payloads(file, parsed.value("payload-delimiter").unwrap_or("\\n"))?),
        (None, None) => Payload::Number,
    };
    let mut config = producer_config(parsed)?;
    let transactional = transaction_ms.is_some() || parsed.has("transactional-id") || config.get("transactional.id").is_some();
    if let Some(id) = parsed.value("transactional-id") {
        config.set("transactional.id", id);
    } else if transactional {
        config.set_default("transactional.id", format!("performance-producer-{}", base::Uuid::random(&mut fastrand::Rng::new())));
    }
    Ok(Plan {
        config,
        topic: parsed.value("topic").unwrap_or_default().to_owned(),
        records: records as u64,
        warmup: warmup as u64,
        throughput,
        interval: interval as u64,
        payload,
        print_metrics: parsed.has("print-metrics"),
        transaction_ms: transactional.then_some(transaction_ms.unwrap_or(DEFAULT_TRANSACTION_MS) as u64),
    })
}

/// An argument that Java refuses with an exception.
fn illegal(text: &str) -> Failure {
    Failure::new(format!("Exception in thread \"main\" java.lang.IllegalArgumentException: {text}"))
}

fn producer_config(parsed: &Parsed) -> Result<Config, Failure> {
    for (old, new) in [("producer-props", "command-property"), ("producer.config", "command-config")] {
        if parsed.has(old) {
            say!("Option --{old} has been deprecated and will be removed in a future version. Use --{new} instead.");
        }
    }
    let mut config = Config::new();
    if let Some(file) = parsed.value("command-config").or_else(|| parsed.value("producer.config")) {
        config.extend(properties::load(file)?);
    }
    for word in parsed.values("command-property").iter().chain(parsed.values("producer-props")) {
        match crate::args::java_split(word, '=')[..] {
            [key, value] => config.set(key, value),
            _ => return Err(illegal(&format!("Invalid property: {word}"))),
        }
    }
    config.set_default("client.id", "perf-producer-client");
    if let Some(servers) = parsed.value("bootstrap-server") {
        config.set("bootstrap.servers", servers);
    }
    Ok(config)
}

fn read_payloads(file: &str, delimiter: &str) -> Result<Vec<Vec<u8>>, Failure> {
    let path = std::path::absolute(file)?;
    say!("Reading payloads from: {}", path.display());
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    if text.is_empty() {
        return Err(illegal("File does not exist or empty file provided."));
    }
    let delimiter = if delimiter == "\\n" { "\n" } else { delimiter };
    let pattern = regex::Regex::new(delimiter).map_err(|error| Failure::new(format!("--payload-delimiter: {error}")))?;
    let mut lines: Vec<Vec<u8>> = pattern.split(&text).map(|line| line.as_bytes().to_vec()).collect();
    lines.pop_if(|last| last.is_empty());
    say!("Number of records read: {}", lines.len());
    Ok(lines)
}

/// Counts what the network thread reports. A record's tag carries when it was sent, how large it is, and whether it counts as steady.
struct Counting {
    begin: Instant,
    all: Mutex<Stats>,
    steady: Mutex<Option<Stats>>,
    /// Records whose fate is known.
    reported: AtomicU64,
}

const STEADY: u64 = 1 << 63;

impl Counting {
    fn now(&self) -> u64 {
        self.begin.elapsed().as_millis() as u64
    }

    fn tag(sent: u64, size: usize, steady: bool) -> u64 {
        (if steady { STEADY } else { 0 }) | (sent & 0x7fff_ffff) << 32 | (size as u64 & 0xffff_ffff)
    }
}

impl DeliveryListener for Counting {
    fn on_delivery(&self, report: &DeliveryReport<'_>) {
        self.count(report);
        self.reported.fetch_add(report.tags.len() as u64, Ordering::Release);
    }
}

impl Counting {
    fn count(&self, report: &DeliveryReport<'_>) {
        if let Err(error) = report.result {
            // Only what was written counts.
            report.tags.iter().for_each(|_| complain!("{}: {error}", error.java_exception()));
            return;
        }
        let now = self.now();
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let mut steady = self.steady.lock().unwrap_or_else(PoisonError::into_inner);
        for tag in report.tags {
            let sent = tag >> 32 & 0x7fff_ffff;
            let latency = (now & 0x7fff_ffff).saturating_sub(sent) as u32;
            let size = tag & 0xffff_ffff;
            all.record(latency, size, now);
            if tag & STEADY != 0
                && let Some(steady) = steady.as_mut()
            {
                steady.record(latency, size, now);
            }
        }
    }
}

async fn measure(mut plan: Plan) -> Result<(), Failure> {
    let counting = Arc::new(Counting {
        begin: Instant::now(),
        all: Mutex::new(Stats::new(plan.records, plan.interval, false, 0)),
        steady: Mutex::new(None),
        reported: AtomicU64::new(0),
    });
    let producer = Producer::with_listener(plan.config.clone(), counting.clone())?;
    if plan.transaction_ms.is_some() {
        producer.init_transactions().await?;
    }
    if plan.warmup > 0 {
        say!("Warmup first {} records. Steady state results will print after the complete test summary.", plan.warmup);
    }
    let mut throttle = Throttle::new(plan.throughput);
    let mut rng = fastrand::Rng::with_seed(0);
    let mut buffer = Vec::new();
    let mut accepted = 0;
    let mut transaction_begin = None;
    for i in 0..plan.records {
        let value = fill(&mut plan.payload, &mut buffer, &mut rng, i);
        if plan.transaction_ms.is_some() && transaction_begin.is_none() {
            producer.begin_transaction()?;
            transaction_begin = Some(counting.now());
        }
        let sent = counting.now();
        if plan.warmup > 0 && i == plan.warmup {
            let steady = Stats::new(plan.records - plan.warmup, plan.interval, true, sent);
            *counting.steady.lock().unwrap_or_else(PoisonError::into_inner) = Some(steady);
            counting.all.lock().unwrap_or_else(PoisonError::into_inner).silent = true;
        }
        let record = ProducerRecord::new(&plan.topic).value(value);
        let tag = Counting::tag(sent, value.len(), plan.warmup > 0 && i >= plan.warmup);
        match producer.try_send_tagged(&record, tag) {
            Ok(()) => accepted += 1,
            Err(TrySendError::WouldBlock) => match producer.send_tagged(&record, tag).await {
                Ok(()) => accepted += 1,
                Err(error) => complain!("{}: {error}", error.java_exception()),
            },
            Err(TrySendError::Failed(error)) => complain!("{}: {error}", error.java_exception()),
        }
        if let Some((begin, duration)) = transaction_begin.zip(plan.transaction_ms)
            && duration <= sent.saturating_sub(begin)
        {
            producer.commit_transaction().await?;
            transaction_begin = None;
        }
        throttle.wait(i, sent).await;
    }
    if transaction_begin.is_some() {
        producer.commit_transaction().await?;
    }
    let closed = if plan.print_metrics { producer.flush().await } else { producer.close(session::FOREVER).await };
    // The network thread may still be reporting the last batches.
    while counting.reported.load(Ordering::Acquire) < accepted {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let now = counting.now();
    say!("{}", counting.all.lock().unwrap_or_else(PoisonError::into_inner).total_line(now));
    if let Some(steady) = counting.steady.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
        say!("{}", steady.total_line(now));
    }
    if plan.print_metrics {
        say!("\nMetric Name   Value\n{:#?}", producer.counters());
        producer.close(session::FOREVER).await?;
    }
    Ok(closed?)
}

/// The next value. Random ones are letters, as Kafka's, so that both compress alike.
fn fill<'a>(payload: &'a mut Payload, buffer: &'a mut Vec<u8>, rng: &mut fastrand::Rng, i: u64) -> &'a [u8] {
    match payload {
        Payload::Random(size) => {
            buffer.resize(*size, 0);
            let (eights, rest) = buffer.as_chunks_mut::<8>();
            eights.iter_mut().for_each(|eight| *eight = letters(rng.u64(..)));
            rest.copy_from_slice(&letters(rng.u64(..))[..rest.len()]);
            buffer
        }
        Payload::Lines(lines) => &lines[rng.usize(..lines.len())],
        Payload::Number => {
            *buffer = i.to_string().into_bytes();
            buffer
        }
    }
}

/// A letter for each random byte: 26 times the byte, divided by 256. Four at a time, in lanes of 16 bits.
fn letters(random: u64) -> [u8; 8] {
    const EVEN: u64 = 0x00ff_00ff_00ff_00ff;
    let even = (((random & EVEN) * 26) >> 8) & EVEN;
    let odd = (((random >> 8) & EVEN) * 26) & !EVEN;
    ((even | odd) + u64::from_le_bytes([b'A'; 8])).to_le_bytes()
}

/// Keeps to about a number of records in a second (`ThroughputThrottler`).
pub struct Throttle {
    target: f64,
    deficit: Duration,
}

impl Throttle {
    pub fn new(target: f64) -> Self {
        Throttle { target, deficit: Duration::ZERO }
    }

    /// `sent` is milliseconds since the start.
    pub async fn wait(&mut self, so_far: u64, sent: u64) {
        if self.target < 0.0 {
            return;
        }
        if self.target == 0.0 {
            return std::future::pending().await;
        }
        let elapsed = sent as f64 / 1000.0;
        if elapsed <= 0.0 || so_far as f64 / elapsed <= self.target {
            return;
        }
        self.deficit += Duration::from_secs_f64(1.0 / self.target);
        // Shorter sleeps are not kept precisely by timers.
        if self.deficit >= Duration::from_millis(2) {
            let begin = Instant::now();
            tokio::time::sleep(self.deficit).await;
            self.deficit = self.deficit.saturating_sub(begin.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn random_bytes_become_letters() {
        for byte in 0..=255u8 {
            let letter = b'A' + (u16::from(byte) * 26 / 256) as u8;
            assert_eq!(super::letters(u64::from_le_bytes([byte; 8])), [letter; 8]);
            assert_eq!(super::letters(u64::from(byte) << 24), [b'A', b'A', b'A', letter, b'A', b'A', b'A', b'A']);
        }
    }
}
