//! Checks of the producer; what it wrote is read back by the consumer.

use crate::{Bench, Check, Outcome, ensure, read, text, values};
use client::admin::NewTopic;
use client::producer::{DeliveryListener, DeliveryReport};
use client::{Error, Header, Producer, ProducerRecord, TopicPartition};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use wire::ErrorCode;

pub const CHECKS: &[(&str, Check)] = &[
    ("producer writes with every codec, headers and nulls", |bench| Box::pin(codecs(bench))),
    ("producer sends keys to Java's partitions", |bench| Box::pin(keys(bench))),
    ("producer spreads records without keys", |bench| Box::pin(keyless(bench))),
    ("producer works with acks 0, 1 and all", |bench| Box::pin(acks(bench))),
    ("producer reports deliveries to its listener", |bench| Box::pin(listener(bench))),
    ("producer splits batches that are too large", |bench| Box::pin(split(bench))),
    ("producer explains what it refuses", |bench| Box::pin(refusals(bench))),
    ("producer is idempotent across dropped connections", |bench| Box::pin(dropped_connections(bench))),
    ("producer creates topics as it goes", |bench| Box::pin(auto_creation(bench))),
    ("producer blocks on memory and goes on", |bench| Box::pin(back_pressure(bench))),
];

async fn codecs(bench: &Bench) -> Outcome {
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = bench.topic(&format!("codec-{codec}"), 1).await?;
        let producer = Producer::new(bench.config().with("compression.type", codec).with("linger.ms", 50)).map_err(text)?;
        let headers = [Header::new("h", Some(b"1")), Header::new("h", Some(b"2")), Header::new("null", None)];
        let long = "x".repeat(5_000);
        let records = [
            ProducerRecord::new(&topic).key(b"k").value(b"v").headers(&headers).timestamp(77),
            ProducerRecord::new(&topic).key(b"").value(b""),
            ProducerRecord::new(&topic),
            ProducerRecord::new(&topic).value(long.as_bytes()),
        ];
        let mut deliveries = Vec::new();
        for record in &records {
            deliveries.push(producer.send(record).await.map_err(text)?);
        }
        for (number, delivery) in deliveries.into_iter().enumerate() {
            let written = delivery.await.map_err(text)?;
            ensure(written.offset == number as i64, || format!("{codec}: record {number} is at {}", written.offset))?;
        }
        let mut consumer = bench.consumer(&[])?;
        consumer.assign(vec![TopicPartition::new(&topic, 0)]).map_err(text)?;
        let found = read(&mut consumer, 4).await?;
        let pairs: Vec<(Option<&[u8]>, Option<usize>)> =
            found.iter().map(|record| (record.key.as_deref(), record.value.as_ref().map(|value| value.len()))).collect();
        let expected = [(Some(&b"k"[..]), Some(1)), (Some(&b""[..]), Some(0)), (None, None), (None, Some(5_000))];
        ensure(pairs == expected, || format!("{codec}: {pairs:?}"))?;
        let read_back: Vec<(&str, Option<&[u8]>)> =
            found[0].headers.iter().map(|header| (header.key.as_str(), header.value.as_deref())).collect();
        ensure(read_back == [("h", Some(&b"1"[..])), ("h", Some(&b"2"[..])), ("null", None)], || format!("{codec}: {read_back:?}"))?;
        ensure(found[0].timestamp == 77, || format!("timestamp {}", found[0].timestamp))?;
        consumer.close(Duration::from_secs(5)).await.map_err(text)?;
    }
    Ok(())
}

async fn keys(bench: &Bench) -> Outcome {
    let topic = bench.topic("keys", 10).await?;
    let producer = bench.producer()?;
    // murmur2 as Kafka's UtilsTest has it, positive, modulo 10.
    for (key, partition) in [("21", 0), ("foobar", 6), ("a-little-bit-long-string", 2), ("a-little-bit-longer-string", 9), ("abc", 7)] {
        let written = producer.send(&ProducerRecord::new(&topic).key(key.as_bytes())).await.map_err(text)?.await.map_err(text)?;
        ensure(written.partition == partition, || format!("{key} went to {} instead of {partition}", written.partition))?;
    }
    Ok(())
}

async fn keyless(bench: &Bench) -> Outcome {
    let topic = bench.topic("keyless", 4).await?;
    // Queue lengths under load are another matter.
    let evenly = bench.config().with("batch.size", 1_000).with("partitioner.adaptive.partitioning.enable", false);
    let sticky = Producer::new(evenly).map_err(text)?;
    let mut counts = [0; 4];
    let mut deliveries = Vec::new();
    for _ in 0..2_000 {
        deliveries.push(sticky.send(&ProducerRecord::new(&topic).value(&[b'x'; 200])).await.map_err(text)?);
    }
    for delivery in deliveries {
        counts[delivery.await.map_err(text)?.partition as usize] += 1;
    }
    ensure(counts.iter().all(|count| *count > 200), || format!("sticky: {counts:?}"))?;
    let in_turn = bench.config().with("partitioner.class", "org.apache.kafka.clients.producer.RoundRobinPartitioner");
    let producer = Producer::new(in_turn).map_err(text)?;
    let mut counts = [0; 4];
    for _ in 0..8 {
        let written = producer.send(&ProducerRecord::new(&topic)).await.map_err(text)?.await.map_err(text)?;
        counts[written.partition as usize] += 1;
    }
    ensure(counts == [2; 4], || format!("round robin: {counts:?}"))
}

async fn acks(bench: &Bench) -> Outcome {
    let topic = bench.topic("acks", 1).await?;
    for (acks, offset) in [("0", -1), ("1", 1), ("all", 2)] {
        let producer = Producer::new(bench.config().with("acks", acks)).map_err(text)?;
        let written = producer.send(&ProducerRecord::new(&topic).value(acks.as_bytes())).await.map_err(text)?.await.map_err(text)?;
        ensure(written.offset == offset, || format!("acks {acks}: offset {}", written.offset))?;
        producer.close(Duration::from_secs(10)).await.map_err(text)?;
    }
    let mut consumer = bench.consumer(&[])?;
    consumer.assign(vec![TopicPartition::new(&topic, 0)]).map_err(text)?;
    let found = values(&read(&mut consumer, 3).await?);
    ensure(found == ["0", "1", "all"], || format!("{found:?}"))
}

#[derive(Default)]
struct Tags {
    seen: Mutex<Vec<u64>>,
    failed: AtomicU64,
}

impl DeliveryListener for Tags {
    fn on_delivery(&self, report: &DeliveryReport<'_>) {
        if report.result.is_err() {
            self.failed.fetch_add(report.tags.len() as u64, Ordering::Relaxed);
        }
        self.seen.lock().expect("no check panics while it holds the lock").extend_from_slice(report.tags);
    }
}

async fn listener(bench: &Bench) -> Outcome {
    let topic = bench.topic("listener", 1).await?;
    let tags = Arc::new(Tags::default());
    let producer = Producer::with_listener(bench.config(), tags.clone()).map_err(text)?;
    for tag in 0..5_000 {
        producer.send_tagged(&ProducerRecord::new(&topic).value(b"x"), tag).await.map_err(text)?;
    }
    producer.flush().await.map_err(text)?;
    let seen = tags.seen.lock().map_err(|error| error.to_string())?.clone();
    ensure(seen == (0..5_000).collect::<Vec<u64>>(), || format!("{} tags, not in order or not all", seen.len()))?;
    ensure(tags.failed.load(Ordering::Relaxed) == 0, || "some failed".to_owned())
}

async fn split(bench: &Bench) -> Outcome {
    let name = bench.name("split");
    let topic = NewTopic::new(&name, 1, 1).config("max.message.bytes", 4_000);
    bench.admin.create_topics(vec![topic], Default::default()).await.map_err(text)?;
    let producer = Producer::new(bench.config().with("batch.size", 100_000).with("linger.ms", 100)).map_err(text)?;
    let mut deliveries = Vec::new();
    for number in 0..60 {
        let value = format!("{number:0500}");
        deliveries.push(producer.send(&ProducerRecord::new(&name).value(value.as_bytes())).await.map_err(text)?);
    }
    for (number, delivery) in deliveries.into_iter().enumerate() {
        let offset = delivery.await.map_err(text)?.offset;
        ensure(offset == number as i64, || format!("record {number} is at {offset}"))?;
    }
    ensure(producer.counters().splits > 0, || "nothing was split".to_owned())?;
    let too_large = vec![b'x'; 6_000];
    let error = producer.send(&ProducerRecord::new(&name).value(&too_large)).await.map_err(text)?.await.err();
    ensure(error.as_ref().and_then(Error::code) == Some(ErrorCode::MessageTooLarge), || format!("{error:?}"))
}

async fn refusals(bench: &Bench) -> Outcome {
    let producer = Producer::new(bench.config().with("max.block.ms", 1_500)).map_err(text)?;
    let error = producer.send(&ProducerRecord::new("not a topic name!")).await.err();
    ensure(error.as_ref().and_then(Error::code) == Some(ErrorCode::InvalidTopicException), || format!("{error:?}"))?;
    let topic = bench.topic("refusals", 1).await?;
    let error = producer.send(&ProducerRecord::new(&topic).partition(5)).await.err();
    ensure(matches!(&error, Some(Error::Timeout(text)) if text.contains("Partition 5 of topic")), || format!("{error:?}"))?;
    let huge = vec![0; 2 << 20];
    let error = producer.send(&ProducerRecord::new(&topic).value(&huge)).await.err();
    ensure(error.as_ref().and_then(Error::code) == Some(ErrorCode::MessageTooLarge), || format!("{error:?}"))?;
    let compacted = bench.name("compacted");
    let new = NewTopic::new(&compacted, 1, 1).config("cleanup.policy", "compact");
    bench.admin.create_topics(vec![new], Default::default()).await.map_err(text)?;
    let error = producer.send(&ProducerRecord::new(&compacted).value(b"no key")).await.map_err(text)?.await.err();
    ensure(error.as_ref().and_then(Error::code) == Some(ErrorCode::InvalidRecord), || format!("{error:?}"))?;
    producer.close(Duration::from_secs(5)).await.map_err(text)?;
    ensure(producer.send(&ProducerRecord::new(&topic)).await.is_err(), || "a closed producer took a record".to_owned())
}

async fn dropped_connections(bench: &Bench) -> Outcome {
    let topic = bench.topic("dropped", 2).await?;
    let config = bench.config().with("linger.ms", 0).with("batch.size", 500).with("retry.backoff.ms", 10);
    let producer = Producer::new(config).map_err(text)?;
    let mut deliveries = Vec::new();
    for number in 0..6_000u32 {
        if number % 500 == 250 {
            producer.drop_connections();
        }
        let value = number.to_string();
        let record = ProducerRecord::new(&topic).partition((number % 2) as i32).value(value.as_bytes());
        deliveries.push(producer.send(&record).await.map_err(text)?);
        if number % 50 == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    for (number, delivery) in deliveries.into_iter().enumerate() {
        delivery.await.map_err(|error| format!("record {number}: {error}"))?;
    }
    ensure(producer.counters().retries > 0, || "no connection was dropped under a request".to_owned())?;
    for partition in 0..2 {
        let mut consumer = bench.consumer(&[])?;
        consumer.assign(vec![TopicPartition::new(&topic, partition)]).map_err(text)?;
        let found = values(&read(&mut consumer, 3_000).await?);
        let expected: Vec<String> = (0..6_000).filter(|number| number % 2 == partition).map(|number: i32| number.to_string()).collect();
        ensure(found == expected, || {
            let at = found.iter().zip(&expected).position(|(a, b)| a != b).unwrap_or(0);
            let around = &found[at.saturating_sub(3)..(at + 10).min(found.len())];
            format!("partition {partition}: duplicated, lost or out of order at {at}: {around:?}")
        })?;
        let end = consumer.end_offsets(&[TopicPartition::new(&topic, partition)]).await.map_err(text)?;
        ensure(end.values().all(|end| *end == 3_000), || format!("{end:?}"))?;
    }
    Ok(())
}

async fn auto_creation(bench: &Bench) -> Outcome {
    let topic = bench.name("auto-created");
    let producer = bench.producer()?;
    let written = producer.send(&ProducerRecord::new(&topic).value(b"first")).await.map_err(text)?.await.map_err(text)?;
    ensure(written.offset == 0, || format!("offset {}", written.offset))?;
    let partitions = producer.partitions_for(&topic).await.map_err(text)?;
    ensure(!partitions.is_empty(), || "no partitions".to_owned())
}

async fn back_pressure(bench: &Bench) -> Outcome {
    let topic = bench.topic("memory", 3).await?;
    let config = bench.config().with("buffer.memory", 200_000).with("linger.ms", 1_000_000).with("delivery.timeout.ms", 2_000_000);
    let producer = Producer::new(config).map_err(text)?;
    let value = [b'x'; 1_000];
    let start = Instant::now();
    for _ in 0..5_000 {
        drop(producer.send(&ProducerRecord::new(&topic).value(&value)).await.map_err(text)?);
    }
    producer.flush().await.map_err(text)?;
    ensure(producer.counters().records_sent == 5_000, || format!("{:?}", producer.counters()))?;
    ensure(start.elapsed() < Duration::from_secs(30), || "full memory did not make it hurry".to_owned())
}
