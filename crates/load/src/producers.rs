//! Some producers that write to one topic at the same time, each with a connection and a window of its own: it sends a record, and the next one
//! once no more than `window` of them are unanswered. With a window of 1 every record waits for the answer to the one before. All of them
//! share one thread.

use crate::Result;
use crate::figures::Figures;
use client::{Config, Producer, ProducerRecord};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

#[derive(Clone)]
struct Plan {
    bootstrap: String,
    topic: String,
    producers: i32,
    window: usize,
    record_bytes: usize,
    seconds: u64,
}

pub fn run(args: &[String]) -> Result<Figures> {
    let [bootstrap, topic, producers, window, record_bytes, seconds] = args else {
        return Err("producers BOOTSTRAP TOPIC PRODUCERS WINDOW RECORD_BYTES SECONDS".into());
    };
    let plan = Plan {
        bootstrap: bootstrap.clone(),
        topic: topic.clone(),
        producers: producers.parse()?,
        window: window.parse()?,
        record_bytes: record_bytes.parse()?,
        seconds: seconds.parse()?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(produce_all(plan))
}

async fn produce_all(plan: Plan) -> Result<Figures> {
    let running: Vec<_> = (0..plan.producers).map(|n| tokio::spawn(produce(plan.clone(), n))).collect();
    let mut rate = 0.0;
    let mut micros = Vec::new();
    for producer in running {
        let (own_rate, own_micros) = producer.await??;
        rate += own_rate;
        micros.extend(own_micros);
    }
    let mut figures = Figures::default();
    figures.add("records_per_second", rate);
    figures.add("records", micros.len() as f64);
    figures.add_latencies("answer", micros);
    Ok(figures)
}

/// Gives records per second and the latency of each.
async fn produce(plan: Plan, n: i32) -> client::Result<(f64, Vec<u64>)> {
    let config = Config::bootstrap(&plan.bootstrap).with("acks", "all").with("linger.ms", 0).with("client.id", format!("producer-{n}"));
    let producer = Producer::builder(config).runtime(Handle::current()).build()?;
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
