//! Traffic per topic, sizes and offsets per partition. Kafka: `BrokerTopicMetrics`, `Log`, `LogManager`, `LogFlushStats`.

use super::page::{Kind, Label, Page, escape};
use super::summary;
use base::{Histogram, Instant, Summary, TopicPartition};
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

/// What one look at a partition's log gives. There are tens of thousands of these while a page is written.
struct Row {
    /// Which partition, in the order of the snapshot.
    at: u32,
    segments: u32,
    size: i64,
    start: i64,
    end: i64,
}

/// Rows of partitions, by topic and partition.
struct Rows {
    partitions: Arc<[Arc<Partition>]>,
    rows: Vec<Row>,
}

impl Rows {
    fn name(&self, row: &Row) -> &TopicPartition {
        &self.partitions[row.at as usize].topic_partition
    }

    fn by_topic(&self, mut each: impl FnMut(&str, &[Row])) {
        for of_topic in self.rows.chunk_by(|a, b| self.name(a).topic == self.name(b).topic) {
            if let Some(first) = of_topic.first() {
                each(&self.name(first).topic, of_topic);
            }
        }
    }
}

/// Each log is locked for a look, one after the other, and never while text is written. `each` adds the series per partition.
pub fn logs(page: &mut Page, broker: &Broker, each: bool) {
    let partitions = broker.replicas().snapshot();
    let (mut rows, mut producers) = (Vec::with_capacity(partitions.len()), 0);
    for (at, partition) in partitions.iter().enumerate() {
        let look = partition.with_created_log(|log| {
            producers += log.producers().len();
            let (start, end) = (log.log_start_offset(), log.log_end_offset());
            Row { at: at as u32, size: log.size() as i64, segments: log.segment_count() as u32, start, end }
        });
        let to_be_created = || (!partition.is_offline()).then_some(Row { at: at as u32, size: 0, segments: 0, start: 0, end: 0 });
        rows.extend(look.or_else(to_be_created));
    }
    page.gauge("kafka_server_replicamanager_produceridcount", "Producers that partitions remember", producers);
    page.gauge("kafka_server_replicamanager_offlinereplicacount", "Partitions here whose log failed", partitions.len() - rows.len());

    let rows = Rows { partitions, rows };
    let mut family = page.family(Kind::Gauge, "gregor_topic_size_bytes", "Bytes of all partitions of a topic");
    rows.by_topic(|topic, rows| family.sample(&[("topic", topic.into())], rows.iter().map(|row| row.size).sum::<i64>()));
    let mut family = page.family(Kind::Gauge, "gregor_topic_partitions", "Partitions of a topic on this broker");
    rows.by_topic(|topic, rows| family.sample(&[("topic", topic.into())], rows.len()));
    if each {
        per_partition(page, &rows);
    }
}

/// The topic is escaped once for all its partitions.
fn per_partition(page: &mut Page, rows: &Rows) {
    let mut labels = String::new();
    let mut family = |name: &str, help: &str, value: fn(&Row) -> i64| {
        let mut family = page.family(Kind::Gauge, name, help);
        rows.by_topic(|topic, of_topic| {
            labels.clear();
            labels.push_str("{topic=\"");
            escape(&mut labels, topic);
            labels.push_str("\",partition=\"");
            of_topic.iter().for_each(|row| family.sample_numbered(&labels, rows.name(row).partition, value(row)));
        });
    };
    family("kafka_log_log_size", "Bytes of a partition", |row| row.size);
    family("kafka_log_log_numlogsegments", "Segments of a partition", |row| i64::from(row.segments));
    family("kafka_log_log_logstartoffset", "First offset of a partition", |row| row.start);
    family("kafka_log_log_logendoffset", "Next offset of a partition", |row| row.end);
}
