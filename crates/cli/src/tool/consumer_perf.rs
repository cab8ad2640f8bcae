//! `kafka-consumer-perf-test`: reads records as fast as they come and prints rates. Kafka counterpart: ConsumerPerformance.

use std::time::{Duration, Instant};

use client::{Config, Consumer};

use crate::args::key_values;
use crate::failure::Failure;
use crate::options::{Options, Parser};
use crate::out::say;
use crate::{properties, session, time};

const MEGABYTE: f64 = 1024.0 * 1024.0;

fn parser() -> Parser {
    Parser::documented("This tool is used to verify the consumer performance.", include_str!("../help/kafka-consumer-perf-test.txt"))
        .default_of("group", format!("perf-consumer-{}", fastrand::u32(0..100_000)))
        .default_of("fetch-size", "1048576")
        .default_of("socket-buffer-size", "2097152")
        .default_of("timeout", "10000")
        .default_of("reporting-interval", "5000")
        .default_of("date-format", "yyyy-MM-dd HH:mm:ss:SSS")
}

struct Plan {
    config: Config,
    topic: Option<String>,
    include: Option<String>,
    records: u64,
    timeout: Duration,
    interval: Duration,
    detailed: bool,
    header: bool,
    date_format: String,
}

pub fn run(args: &[String]) -> Result<(), Failure> {
    let options = match parser().parse(args) {
        Err(Failure::Options(message)) => return Err(parser().parse_quietly(&[])?.usage(message)),
        other => other?,
    };
    let plan = plan(&options)?;
    session::block_on(measure(plan))
}

fn plan(options: &Options) -> Result<Plan, Failure> {
    options.check_required(&["bootstrap-server"])?;
    options.check_one_of(&["topic", "include"])?;
    options.check_one_of(&["messages", "num-records"])?;
    options.check_invalid("consumer.config", &["command-config"])?;
    for (old, new) in [("messages", "num-records"), ("consumer.config", "command-config")] {
        if options.has(old) {
            say!("Warning: --{old} is deprecated. Use --{new} instead.");
        }
    }
    let interval: i64 = options.number("reporting-interval")?.unwrap_or(5000);
    let mut config = Config::new();
    let file = if options.has("consumer.config") { "consumer.config" } else { "command-config" };
    if let Some(file) = options.value(file)? {
        config.extend(properties::load(file)?);
    }
    config.extend(key_values(&options.values("command-property")));
    let text = |name: &str| -> Result<String, Failure> { Ok(options.value(name)?.unwrap_or_default().to_owned()) };
    config.set("bootstrap.servers", text("bootstrap-server")?);
    config.set("group.id", text("group")?);
    config.set("receive.buffer.bytes", options.number::<i32>("socket-buffer-size")?.unwrap_or(-1));
    config.set("max.partition.fetch.bytes", options.number::<i32>("fetch-size")?.unwrap_or(1 << 20));
    config.set("auto.offset.reset", if options.has("from-latest") { "latest" } else { "earliest" });
    config.set("check.crcs", "false");
    config.set_default("client.id", "perf-consumer-client");
    let count = if options.has("messages") { "messages" } else { "num-records" };
    Ok(Plan {
        config,
        topic: options.has("topic").then(|| text("topic")).transpose()?,
        include: options.has("include").then(|| text("include")).transpose()?,
        records: options.number::<i64>(count)?.unwrap_or(0).max(0) as u64,
        timeout: Duration::from_millis(options.number::<i64>("timeout")?.unwrap_or(10_000).max(0) as u64),
        interval: Duration::from_millis(u64::try_from(interval).unwrap_or(0)),
        detailed: options.has("show-detailed-stats"),
        header: !options.has("hide-header"),
        date_format: text("date-format")?,
    })
}

/// Milliseconds spent without partitions: waiting to join, or between losing all and getting some.
#[derive(Default)]
struct Joining {
    since: Option<Instant>,
    total_ms: u64,
    this_round_ms: u64,
}

impl Joining {
    fn see(&mut self, has_partitions: bool) {
        match (self.since, has_partitions) {
            (Some(since), true) => {
                let elapsed = since.elapsed().as_millis() as u64;
                self.total_ms += elapsed;
                self.this_round_ms += elapsed;
                self.since = None;
            }
            (None, false) => self.since = Some(Instant::now()),
            _ => {}
        }
    }
}

/// Four decimals, and Java's names of what is no number.
fn rate(value: f64) -> String {
    if value.is_finite() { format!("{value:.4}") } else { crate::args::java_double(value) }
}

async fn measure(plan: Plan) -> Result<(), Failure> {
    if plan.header {
        let first = if plan.detailed { "time, threadId" } else { "start.time, end.time" };
        say!(
            "{first}, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, rebalance.time.ms, fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec"
        );
    }
    // Kafka comes to these behind the header.
    if plan.interval.is_zero() {
        return Err(Failure::new("Reporting interval must be greater than 0."));
    }
    if let Some(letter) = time::unknown_letter(&plan.date_format) {
        return Err(Failure::new(format!("Illegal pattern character '{letter}'")));
    }
    let mut consumer = Consumer::new(plan.config.clone())?;
    let (start_ms, start) = (time::wall_ms(), Instant::now());
    let mut joining = Joining { since: Some(start), ..Joining::default() };
    let (records, bytes) = read(&mut consumer, &plan, &mut joining).await?;
    let end_ms = start_ms + start.elapsed().as_millis() as i64;
    if records < plan.records {
        say!(
            "WARNING: Exiting before consuming the expected number of records: timeout ({} ms) exceeded. You can use the --timeout option to \
             increase the timeout.",
            plan.timeout.as_millis()
        );
    }
    if !plan.detailed {
        let seconds = (end_ms - start_ms) as f64 / 1000.0;
        let fetch_ms = end_ms - start_ms - joining.total_ms as i64;
        let (megabytes, records) = (bytes as f64 / MEGABYTE, records as f64);
        say!(
            "{}, {}, {megabytes:.4}, {}, {records:.0}, {}, {}, {fetch_ms}, {}, {}",
            time::format_pattern(start_ms, &plan.date_format),
            time::format_pattern(end_ms, &plan.date_format),
            rate(megabytes / seconds),
            rate(records / seconds),
            joining.total_ms,
            rate(megabytes / (fetch_ms as f64 / 1000.0)),
            rate(records / (fetch_ms as f64 / 1000.0)),
        );
    }
    consumer.close(Duration::from_secs(30)).await?;
    Ok(())
}

/// Reads until there were enough records or none came for too long; how many, and their bytes.
async fn read(consumer: &mut Consumer, plan: &Plan, joining: &mut Joining) -> Result<(u64, u64), Failure> {
    match (&plan.topic, &plan.include) {
        (Some(topic), _) => consumer.subscribe([topic.as_str()])?,
        (None, pattern) => {
            let pattern = session::topic_pattern(pattern.as_deref().unwrap_or_default())?;
            consumer.subscribe_matching(move |topic| pattern.is_match(topic))?;
        }
    }
    let (mut records, mut bytes) = (0u64, 0u64);
    let (mut last_records, mut last_bytes) = (0, 0);
    let mut last_report = Instant::now();
    let mut last_record = Instant::now();
    while records < plan.records && last_record.elapsed() <= plan.timeout {
        let polled = consumer.poll(Duration::from_millis(100)).await?;
        joining.see(!consumer.assignment().is_empty());
        if !polled.is_empty() {
            last_record = Instant::now();
        }
        for record in polled.iter() {
            records += 1;
            bytes += (record.key.as_ref().map_or(0, |key| key.len()) + record.value.as_ref().map_or(0, |value| value.len())) as u64;
        }
        let elapsed = last_report.elapsed();
        if !polled.is_empty() && elapsed >= plan.interval {
            if plan.detailed {
                say!("{}", progress(plan, elapsed, (records, bytes), (records - last_records, bytes - last_bytes), joining.this_round_ms));
            }
            joining.this_round_ms = 0;
            last_report = Instant::now();
            (last_records, last_bytes) = (records, bytes);
        }
    }
    Ok((records, bytes))
}

fn progress(plan: &Plan, elapsed: Duration, total: (u64, u64), interval: (u64, u64), join_ms: u64) -> String {
    let elapsed_ms = elapsed.as_millis() as f64;
    let fetch_ms = elapsed.as_millis() as i64 - join_ms as i64;
    let (records, megabytes) = (interval.0 as f64, interval.1 as f64 / MEGABYTE);
    let per_second = |amount: f64| if fetch_ms <= 0 { 0.0 } else { 1000.0 * amount / fetch_ms as f64 };
    format!(
        "{}, 0, {:.4}, {:.4}, {}, {:.4}, {join_ms}, {fetch_ms}, {:.4}, {:.4}",
        time::format_pattern(time::wall_ms(), &plan.date_format),
        total.1 as f64 / MEGABYTE,
        1000.0 * megabytes / elapsed_ms,
        total.0,
        records / elapsed_ms * 1000.0,
        per_second(megabytes),
        per_second(records),
    )
}
