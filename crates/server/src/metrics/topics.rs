//! Traffic per topic, sizes and offsets per partition. Kafka: `BrokerTopicMetrics`, `Log`, `LogManager`, `LogFlushStats`.

use super::page::{Family, Kind, Label, Page, write_labels};
use super::summary;
use base::{Histogram, Instant, Summary};
use broker::Broker;
use replica::{Count, Partition, Traffic};
use std::sync::Arc;

type Read = fn(&Traffic) -> &Count;

const TRAFFIC: [(&str, &str, Read); 11] = [
    ("messagesin", "Records appended by producers", |t| &t.messages_in),
    ("bytesin", "Bytes appended by producers", |t| &t.bytes_in),
    ("bytesout", "Bytes of records sent to consumers", |t| &t.bytes_out),
    ("bytesrejected", "Bytes of batches that were too large", |t| &t.bytes_rejected),
    ("totalproducerequests", "Partitions in Produce requests", |t| &t.produce_requests),
    ("totalfetchrequests", "Partitions in Fetch requests", |t| &t.fetch_requests),
    ("failedproducerequests", "Partitions in Produce requests that failed", |t| &t.failed_produce),
    ("failedfetchrequests", "Partitions in Fetch requests that failed", |t| &t.failed_fetch),
    ("invalidmessagecrcrecords", "Batches with a wrong checksum", |t| &t.invalid_crc),
    ("nokeycompactedtopicrecords", "Records without a key for a compacted topic", |t| &t.no_key),
    ("invalidoffsetorsequencerecords", "Batches out of sequence", |t| &t.invalid_sequence),
];

/// As Kafka does, first the sum of all topics without a label, then each topic.
pub fn traffic(page: &mut Page, broker: &Broker) {
    let topics = broker.replicas().traffic();
    for (metric, help, read) in TRAFFIC {
        let name = format!("kafka_server_brokertopicmetrics_{metric}");
        let mut family = page.family(Kind::Counter, &name, help);
        family.sample(&[], read(&broker.metrics().traffic).get());
        for (topic, traffic) in &topics {
            family.sample(&[("topic", Label::Text(topic))], read(traffic).get());
        }
    }
    // Batches go to disk and to consumers as they came.
    page.counter("kafka_server_brokertopicmetrics_producemessageconversions", "Batches converted to another format", 0);
    page.counter("kafka_server_brokertopicmetrics_fetchmessageconversions", "Batches converted to another format", 0);
}

pub fn flushes(page: &mut Page, flushes: &Histogram, now: Instant) {
    let name = "kafka_log_logflushstats_logflushrateandtimems";
    summary(&mut page.family(Kind::Summary, name, "Flushes of logs to disk, in milliseconds"), None, &Summary::of(flushes, now), 1000.0);
}

/// What one look at a partition's log gives.
struct Row {
    partition: Arc<Partition>,
    size: u64,
    segments: usize,
    start: i64,
    end: i64,
}

/// Each log is locked for a look, one after the other, and never while text is written. `each` adds the series per partition.
pub fn logs(page: &mut Page, broker: &Broker, each: bool) {
    let snapshot = broker.replicas().snapshot();
    let (mut rows, mut producers) = (Vec::with_capacity(snapshot.len()), 0);
    for partition in snapshot.iter() {
        let look = partition.with_log(|log| {
            producers += log.producers().len();
            let (start, end) = (log.log_start_offset(), log.log_end_offset());
            Row { partition: partition.clone(), size: log.size(), segments: log.segment_count(), start, end }
        });
        rows.extend(look);
    }
    page.gauge("kafka_server_replicamanager_produceridcount", "Producers that partitions remember", producers);
    page.gauge("kafka_server_replicamanager_offlinereplicacount", "Partitions here whose log failed", snapshot.len() - rows.len());

    let mut family = page.family(Kind::Gauge, "gregor_topic_size_bytes", "Bytes of all partitions of a topic");
    by_topic(&rows, |topic, rows| family.sample(&[("topic", topic.into())], rows.iter().map(|row| row.size).sum::<u64>()));
    let mut family = page.family(Kind::Gauge, "gregor_topic_partitions", "Partitions of a topic on this broker");
    by_topic(&rows, |topic, rows| family.sample(&[("topic", topic.into())], rows.len()));
    if each {
        per_partition(page, &rows);
    }
}

fn by_topic(rows: &[Row], mut each: impl FnMut(&str, &[Row])) {
    for of_topic in rows.chunk_by(|a, b| a.partition.topic_partition.topic == b.partition.topic_partition.topic) {
        if let Some(first) = of_topic.first() {
            each(&first.partition.topic_partition.topic, of_topic);
        }
    }
}

/// Labels are written once for the four families.
fn per_partition(page: &mut Page, rows: &[Row]) {
    let mut labels = String::new();
    let mut ends = Vec::with_capacity(rows.len());
    for row in rows {
        let name = &row.partition.topic_partition;
        write_labels(&mut labels, &[("topic", Label::Text(&name.topic)), ("partition", name.partition.into())]);
        ends.push(labels.len());
    }
    let mut family = |name: &str, help: &str, value: fn(&Row) -> i64| {
        let mut family: Family = page.family(Kind::Gauge, name, help);
        let mut begin = 0;
        for (row, end) in rows.iter().zip(&ends) {
            family.sample_with(&labels[begin..*end], value(row));
            begin = *end;
        }
    };
    family("kafka_log_log_size", "Bytes of a partition", |row| row.size as i64);
    family("kafka_log_log_numlogsegments", "Segments of a partition", |row| row.segments as i64);
    family("kafka_log_log_logstartoffset", "First offset of a partition", |row| row.start);
    family("kafka_log_log_logendoffset", "Next offset of a partition", |row| row.end);
}
