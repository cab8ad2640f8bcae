//! Checks of what applications hook in, what clients measure, and of reading around aborted transactions.

use crate::{Bench, Check, Outcome, ensure, eventually, read, text, values};
use client::admin::CoordinatorKind;
use client::consumer::{ConsumerInterceptor, ConsumerRecords};
use client::producer::{OwnedHeader, OwnedRecord, Partitioner, ProducerInterceptor};
use client::serde::{List, Serde};
use client::{Error, Metric, OffsetAndMetadata, Producer, ProducerRecord, RecordMetadata, TopicPartition, Uuid};
use record::{BatchBuilder, BatchFields};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use wire::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use wire::messages::{AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest, ProduceRequest};

pub const CHECKS: &[(&str, Check)] = &[
    ("interceptors see and change everything", |bench| Box::pin(interceptors(bench))),
    ("partitioner of the application decides", |bench| Box::pin(partitioner(bench))),
    ("partitioner ignores keys when told", |bench| Box::pin(ignored_keys(bench))),
    ("serializers round trip through the broker", |bench| Box::pin(serializers(bench))),
    ("metrics have Kafka's names and the right numbers", |bench| Box::pin(metrics(bench))),
    ("read_committed hides aborted transactions", |bench| Box::pin(read_committed(bench))),
    ("bootstrap survives dead addresses", |bench| Box::pin(dead_addresses(bench))),
];

#[derive(Default)]
struct Spy(Mutex<Vec<String>>);

impl Spy {
    fn note(&self, line: String) {
        if let Ok(mut lines) = self.0.lock() {
            lines.push(line);
        }
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().map(|lines| lines.clone()).unwrap_or_default()
    }
}

impl ProducerInterceptor for Spy {
    fn on_send(&self, mut record: OwnedRecord) -> OwnedRecord {
        record.headers.push(OwnedHeader { key: "seen".into(), value: None });
        if let Some(value) = &mut record.value {
            value.push(b'!');
        }
        record
    }

    fn on_acknowledgement(&self, metadata: &RecordMetadata, headers: &[OwnedHeader], error: Option<&Error>) {
        self.note(format!("ack {}:{} {} {}", metadata.partition, metadata.offset, headers.len(), error.is_some()));
    }
}

impl ConsumerInterceptor for Spy {
    fn on_consume(&self, records: ConsumerRecords) -> ConsumerRecords {
        self.note(format!("consume {}", records.len()));
        ConsumerRecords::new(records.into_iter().filter(|record| record.offset != 1).collect())
    }

    fn on_commit(&self, offsets: &BTreeMap<TopicPartition, OffsetAndMetadata>) {
        self.note(format!("commit {:?}", offsets.values().map(|offset| offset.offset).collect::<Vec<_>>()));
    }
}

async fn interceptors(bench: &Bench) -> Outcome {
    let topic = bench.topic("interceptors", 1).await?;
    let spy = Arc::new(Spy::default());
    let config = bench.config().with("linger.ms", 50).with("max.request.size", 1_000);
    let producer = Producer::builder(config).interceptor(spy.clone()).build().map_err(text)?;
    let mut deliveries = Vec::new();
    for value in [b"a", b"b", b"c"] {
        deliveries.push(producer.send(&ProducerRecord::new(&topic).partition(0).value(value)).await.map_err(text)?);
    }
    for delivery in deliveries {
        delivery.await.map_err(text)?;
    }
    let large = vec![0; 2_000];
    ensure(producer.send(&ProducerRecord::new(&topic).partition(0).value(&large)).await.is_err(), || "too large a record".to_owned())?;
    producer.close(Duration::from_secs(10)).await.map_err(text)?;
    let mut lines = spy.lines();
    lines.sort();
    let expected = ["ack 0:-1 1 true", "ack 0:0 1 false", "ack 0:1 1 false", "ack 0:2 1 false"];
    ensure(lines == expected, || format!("{lines:?}"))?;

    let spy = Arc::new(Spy::default());
    let mut consumer = bench.consumer(&[("group.id", &bench.name("interceptors"))])?;
    consumer.add_interceptor(spy.clone());
    consumer.assign(vec![TopicPartition::new(&topic, 0)]).map_err(text)?;
    let records = read(&mut consumer, 2).await?;
    ensure(values(&records) == ["a!", "c!"], || format!("{:?}", values(&records)))?;
    ensure(records[0].headers[0].key == "seen", || format!("{:?}", records[0].headers))?;
    consumer.commit().await.map_err(text)?;
    ensure(spy.lines() == ["consume 3", "commit [3]"], || format!("{:?}", spy.lines()))
}

struct ByLength;

impl Partitioner for ByLength {
    fn partition(&self, _: &str, _: Option<&[u8]>, value: Option<&[u8]>, partitions: i32, _: &[i32]) -> i32 {
        value.map_or(-1, |value| value.len() as i32 % partitions)
    }
}

async fn partitioner(bench: &Bench) -> Outcome {
    let topic = bench.topic("partitioner", 3).await?;
    let producer = Producer::builder(bench.config()).partitioner(Arc::new(ByLength)).build().map_err(text)?;
    for length in 0..6 {
        let value = vec![b'x'; length];
        let metadata = producer.send(&ProducerRecord::new(&topic).value(&value)).await.map_err(text)?.await.map_err(text)?;
        ensure(metadata.partition == length as i32 % 3, || format!("{length} went to {}", metadata.partition))?;
    }
    let error = producer.send(&ProducerRecord::new(&topic)).await.err().map(text);
    ensure(error.is_some_and(|error| error.contains("invalid partition number: -1")), || "a negative partition".to_owned())
}

async fn ignored_keys(bench: &Bench) -> Outcome {
    let topic = bench.topic("ignored-keys", 4).await?;
    let producer = Producer::new(bench.config().with("partitioner.ignore.keys", true).with("batch.size", 500)).map_err(text)?;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let record = ProducerRecord::new(&topic).key(b"always the same").value(&[0; 100]);
        seen.insert(producer.send(&record).await.map_err(text)?.await.map_err(text)?.partition);
    }
    ensure(seen.len() > 1, || format!("all went to {seen:?}"))
}

async fn serializers(bench: &Bench) -> Outcome {
    let topic = bench.topic("serializers", 1).await?;
    let producer = bench.producer()?;
    let (id, list) = (Uuid::from_u128(7), List(vec![Some(1i64), None]));
    let written =
        [7i32.to_bytes(), true.to_bytes(), 1.5f64.to_bytes(), id.to_bytes(), list.to_bytes(), "ä".to_owned().to_bytes(), ().to_bytes()];
    for value in &written {
        let mut record = ProducerRecord::new(&topic).partition(0);
        record.value = value.as_deref();
        drop(producer.send(&record).await.map_err(text)?);
    }
    producer.flush().await.map_err(text)?;
    let mut consumer = bench.consumer(&[])?;
    consumer.assign(vec![TopicPartition::new(&topic, 0)]).map_err(text)?;
    let records = read(&mut consumer, written.len()).await?;
    let value = |index: usize| records[index].value.as_deref();
    ensure(i32::from_bytes(value(0)).map_err(text)? == 7, || "i32".to_owned())?;
    ensure(bool::from_bytes(value(1)).map_err(text)?, || "bool".to_owned())?;
    ensure(f64::from_bytes(value(2)).map_err(text)? == 1.5, || "f64".to_owned())?;
    ensure(Uuid::from_bytes(value(3)).map_err(text)? == id, || "uuid".to_owned())?;
    ensure(List::<i64>::from_bytes(value(4)).map_err(text)? == list, || "list".to_owned())?;
    ensure(String::from_bytes(value(5)).map_err(text)? == "ä", || "text".to_owned())?;
    <()>::from_bytes(value(6)).map_err(text)
}

fn value_of(metrics: &[Metric], name: &str) -> f64 {
    metrics.iter().find(|metric| metric.name == name).map_or(-1.0, |metric| metric.value)
}

async fn metrics(bench: &Bench) -> Outcome {
    let topic = bench.topic("metrics", 1).await?;
    let producer = bench.producer()?;
    for _ in 0..100 {
        drop(producer.send(&ProducerRecord::new(&topic).value(b"0123456789")).await.map_err(text)?);
    }
    producer.flush().await.map_err(text)?;
    let of_producer = producer.metrics();
    for (name, expected) in [("record-send-total", 100.0), ("record-error-total", 0.0), ("requests-in-flight", 0.0)] {
        let found = value_of(&of_producer, name);
        ensure(found == expected, || format!("{name} is {found}"))?;
    }
    ensure(value_of(&of_producer, "outgoing-byte-total") > 1_000.0, || format!("{of_producer:?}"))?;
    let mut consumer = bench.consumer(&[("max.poll.records", "10")])?;
    consumer.assign(vec![TopicPartition::new(&topic, 0)]).map_err(text)?;
    read(&mut consumer, 10).await?;
    let of_consumer = consumer.metrics();
    for (name, expected) in [("records-consumed-total", 10.0), ("records-lag-max", 90.0), ("records-lag", 90.0), ("records-lead", 10.0)] {
        let found = value_of(&of_consumer, name);
        ensure(found == expected, || format!("{name} is {found}"))?;
    }
    ensure(value_of(&of_consumer, "fetch-total") >= 1.0, || format!("{of_consumer:?}"))
}

/// Writes values in one transaction by requests of our own: this client's producer is not transactional. False if the broker is not either.
async fn transaction(bench: &Bench, topic: &str, values: &[&str], committed: bool) -> Result<bool, String> {
    let id = bench.name("transaction");
    let init = InitProducerIdRequest {
        transactional_id: Some(id.clone()),
        transaction_timeout_ms: 60_000,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    let served = bench.admin.api_versions(None).await.map_err(text)?;
    if !served.api_keys.iter().any(|api| api.api_key == wire::ApiKey::EndTxn.code()) {
        return Ok(false);
    }
    let find = |code: i16| ensure(code == 0, || format!("error {code} in a transaction"));
    let producer = Mutex::new(None);
    eventually(async || {
        let answer = bench.admin.coordinator(CoordinatorKind::Transaction, &id, init.clone()).await.map_err(text)?;
        find(answer.error_code)?;
        *producer.lock().map_err(|error| error.to_string())? = Some((answer.producer_id, answer.producer_epoch));
        Ok(())
    })
    .await?;
    let (producer_id, producer_epoch) = producer.into_inner().map_err(|error| error.to_string())?.ok_or("no producer id")?;
    let add = AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: id.clone(),
        v3_and_below_producer_id: producer_id,
        v3_and_below_producer_epoch: producer_epoch,
        v3_and_below_topics: vec![AddPartitionsToTxnTopic { name: topic.to_owned(), partitions: vec![0], ..Default::default() }],
        ..Default::default()
    };
    let route = client::admin::Route::Coordinator(CoordinatorKind::Transaction, id.clone());
    bench.admin.call_versions(route, 0, 3, |_| add.clone(), |_| 0).await.map_err(text)?;
    let mut batch =
        BatchBuilder::new(BatchFields { producer_id, producer_epoch, base_sequence: 0, transactional: true, ..Default::default() });
    for value in values {
        batch.append(1, None, Some(value.as_bytes()), &[]);
    }
    let records = batch.build().map_err(|error| error.to_string())?;
    let partition = PartitionProduceData { index: 0, records: Some(wire::Records::from(records)), ..Default::default() };
    let produce = ProduceRequest {
        transactional_id: Some(id.clone()),
        acks: -1,
        timeout_ms: 10_000,
        topic_data: vec![TopicProduceData { name: topic.to_owned(), partition_data: vec![partition], ..Default::default() }],
        ..Default::default()
    };
    let leader = bench.admin.leader_for(&TopicPartition::new(topic, 0)).await.map_err(text)?.id;
    eventually(async || {
        let route = client::admin::Route::Node(leader);
        let answer = bench.admin.call_versions(route, 3, 11, |_| produce.clone(), |_| 0).await.map_err(text)?;
        find(answer.responses[0].partition_responses[0].error_code)
    })
    .await?;
    let end = EndTxnRequest { transactional_id: id.clone(), producer_id, producer_epoch, committed, ..Default::default() };
    let route = client::admin::Route::Coordinator(CoordinatorKind::Transaction, id.clone());
    let answer = bench.admin.call_versions(route, 0, 4, |_| end.clone(), |_| 0).await.map_err(text)?;
    find(answer.error_code)?;
    Ok(true)
}

async fn read_committed(bench: &Bench) -> Outcome {
    let topic = bench.topic("transactions", 1).await?;
    if !transaction(bench, &topic, &["a1", "a2"], false).await? {
        return Ok(());
    }
    transaction(bench, &topic, &["b1", "b2"], true).await?;
    transaction(bench, &topic, &["c1"], false).await?;
    bench.fill(&topic, 0, 1).await?;
    for (level, expected) in [("read_committed", &["b1", "b2", "v0"][..]), ("read_uncommitted", &["a1", "a2", "b1", "b2", "c1", "v0"])] {
        let mut consumer = bench.consumer(&[("isolation.level", level)])?;
        consumer.assign(vec![TopicPartition::new(&topic, 0)]).map_err(text)?;
        let records = read(&mut consumer, expected.len()).await?;
        ensure(values(&records) == expected, || format!("{level}: {:?}", values(&records)))?;
        ensure(records.iter().any(|record| record.offset > 6), || "no control records in between".to_owned())?;
    }
    Ok(())
}

async fn dead_addresses(bench: &Bench) -> Outcome {
    let topic = bench.topic("dead-addresses", 1).await?;
    let config = bench.config().with("bootstrap.servers", format!("127.0.0.1:1,127.0.0.1:2,{}", bench.bootstrap));
    let producer = Producer::new(config).map_err(text)?;
    producer.send(&ProducerRecord::new(&topic).value(b"x")).await.map_err(text)?.await.map_err(text)?;
    Ok(())
}
