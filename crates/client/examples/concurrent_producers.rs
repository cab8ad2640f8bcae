//! Some producers that write to one topic at the same time, each with a connection and a window of its own: it sends a record, and the next one
//! once no more than `window` of them are unanswered. With a window of 1 every record waits for the answer to the one before.
//! The benchmark of durable acknowledgements runs it against both brokers; it prints one line: records per second, and percentiles.
//!
//! concurrent_producers BOOTSTRAP TOPIC PRODUCERS WINDOW RECORD_BYTES SECONDS

use client::{Config, Producer, ProducerRecord};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

#[derive(Clone)]
struct Plan {
    bootstrap: String,
    topic: String,
    producers: i32,
    window: usize,
    record_bytes: usize,
    seconds: u64,
}

fn plan() -> Option<Plan> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [bootstrap, topic, producers, window, record_bytes, seconds] = args.as_slice() else { return None };
    Some(Plan {
        bootstrap: bootstrap.clone(),
        topic: topic.clone(),
        producers: producers.parse().ok()?,
        window: window.parse().ok()?,
        record_bytes: record_bytes.parse().ok()?,
        seconds: seconds.parse().ok()?,
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let plan = plan().ok_or("usage: concurrent_producers BOOTSTRAP TOPIC PRODUCERS WINDOW RECORD_BYTES SECONDS")?;
    let tasks = tokio::task::LocalSet::new();
    let running: Vec<_> = (0..plan.producers).map(|n| tasks.spawn_local(produce(plan.clone(), n))).collect();
    let mut rate = 0.0;
    let mut micros = Vec::new();
    tasks.await;
    for producer in running {
        let (own_rate, own_micros) = producer.await??;
        rate += own_rate;
        micros.extend(own_micros);
    }
    micros.sort_unstable();
    let percentile = |p: usize| micros.get(micros.len() * p / 100).copied().unwrap_or_default();
    println!("{rate:.0} records/sec, {} us 50th, {} us 99th, {} records", percentile(50), percentile(99), micros.len());
    Ok(())
}

/// Gives records per second and the latency of each.
async fn produce(plan: Plan, n: i32) -> client::Result<(f64, Vec<u64>)> {
    let config = Config::bootstrap(&plan.bootstrap).with("acks", "all").with("linger.ms", 0).with("client.id", format!("producer-{n}"));
    let producer = Producer::new(config)?;
    let value = vec![b'x'; plan.record_bytes];
    // Spread over the partitions there are; all to one if there is one.
    let partitions = producer.partitions_for(&plan.topic).await?.len().max(1) as i32;
    let record = ProducerRecord::new(&plan.topic).partition(n % partitions).value(&value);
    producer.send(&record).await?.await?;
    let mut micros = Vec::new();
    let mut unanswered = VecDeque::new();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(plan.seconds) {
        unanswered.push_back((Instant::now(), producer.send(&record).await?));
        if unanswered.len() >= plan.window
            && let Some((sent, delivery)) = unanswered.pop_front()
        {
            delivery.await?;
            micros.push(sent.elapsed().as_micros() as u64);
        }
    }
    for (sent, delivery) in unanswered {
        delivery.await?;
        micros.push(sent.elapsed().as_micros() as u64);
    }
    let rate = micros.len() as f64 / start.elapsed().as_secs_f64();
    producer.close(Duration::from_secs(10)).await?;
    Ok((rate, micros))
}
