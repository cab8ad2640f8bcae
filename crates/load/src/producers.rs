//! Some producers that write to one topic at the same time, each with a connection and a window of its own: it sends a record, and the next one
//! once no more than `window` of them are unanswered. With a window of 1 every record waits for the answer to the one before. All of them
//! share one thread, and begin when the last one is ready.

use crate::Result;
use crate::figures::Figures;
use client::{Config, Producer, ProducerRecord};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::Barrier;

#[derive(Clone)]
struct Plan {
    bootstrap: String,
    topic: String,
    producers: i32,
    window: usize,
    record_bytes: usize,
    seconds: u64,
    /// Every record has another key, so that those of one producer go to many partitions.
    keyed: bool,
}

pub fn run(args: &[String]) -> Result<Figures> {
    let ([bootstrap, topic, producers, window, record_bytes, seconds], rest) =
        args.split_first_chunk().ok_or("producers BOOTSTRAP TOPIC PRODUCERS WINDOW RECORD_BYTES SECONDS [keyed]")?;
    let plan = Plan {
        bootstrap: bootstrap.clone(),
        topic: topic.clone(),
        producers: producers.parse()?,
        window: window.parse()?,
        record_bytes: record_bytes.parse()?,
        seconds: seconds.parse()?,
        keyed: rest.first().is_some_and(|word| word == "keyed"),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(produce_all(plan))
}

async fn produce_all(plan: Plan) -> Result<Figures> {
    let ready = Arc::new(Barrier::new(plan.producers.max(0) as usize));
    let running: Vec<_> = (0..plan.producers).map(|n| tokio::spawn(produce(plan.clone(), n, ready.clone()))).collect();
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
async fn produce(plan: Plan, n: i32, ready: Arc<Barrier>) -> client::Result<(f64, Vec<u64>)> {
    let config = Config::bootstrap(&plan.bootstrap).with("acks", "all").with("linger.ms", 0).with("client.id", format!("producer-{n}"));
    // Of records that are written one at a time, or a few to a partition, none fills a batch: a thousand producers need not hold so much memory.
    let config = if plan.keyed { config.with("batch.size", 2048) } else { config };
    let producer = Producer::builder(config).runtime(Handle::current()).build()?;
    let value = vec![b'x'; plan.record_bytes];
    // Spread over the partitions there are; all to one if there is one.
    let partitions = producer.partitions_for(&plan.topic).await?.len().max(1) as i32;
    let to_one = ProducerRecord::new(&plan.topic).partition(n % partitions).value(&value);
    producer.send(&to_one).await?.await?;
    ready.wait().await;
    let mut count = 0u32;
    let mut micros = Vec::new();
    let mut unanswered = VecDeque::new();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(plan.seconds) {
        count += 1;
        let key = [n.to_be_bytes(), count.to_be_bytes()].concat();
        let record = if plan.keyed { ProducerRecord::new(&plan.topic).key(&key).value(&value) } else { to_one };
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
