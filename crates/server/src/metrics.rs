//! The metrics page. Names are those that the JMX exporter gives Kafka's beans with the rules most dashboards are built on:
//! `kafka.server:type=BrokerTopicMetrics,name=MessagesInPerSec` becomes `kafka_server_brokertopicmetrics_messagesin_total`.
//! docs/metrics.md lists them. Everything is computed when the page is asked for; nothing runs in between.

use crate::health::Health;
use broker::Broker;
use parking_lot::RwLock;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

pub struct Metrics {
    registry: Registry,
    broker: Arc<RwLock<Option<Arc<Broker>>>>,
}

impl Metrics {
    pub fn new(health: Arc<Health>, net: Arc<net::Stats>) -> Self {
        let broker = Arc::new(RwLock::new(None));
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Page { health, net, broker: broker.clone() }));
        Metrics { registry, broker }
    }

    /// From now on the page tells of this broker too.
    pub fn set_broker(&self, broker: Arc<Broker>) {
        *self.broker.write() = Some(broker);
    }

    /// Lets go of the broker, before its logs are closed.
    pub fn clear_broker(&self) {
        *self.broker.write() = None;
    }

    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

struct Page {
    health: Arc<Health>,
    net: Arc<net::Stats>,
    broker: Arc<RwLock<Option<Arc<Broker>>>>,
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Page")
    }
}

/// Label names and values of one series.
type Labels = Vec<(&'static str, String)>;

struct Writer<'a>(DescriptorEncoder<'a>);

impl Writer<'_> {
    /// The encoder adds `_total`.
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let metric = ConstCounter::new(value);
        metric.encode(self.0.encode_descriptor(name, help, None, metric.metric_type())?)
    }

    fn float_counter(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let metric = ConstCounter::new(value);
        metric.encode(self.0.encode_descriptor(name, help, None, metric.metric_type())?)
    }

    fn gauge(&mut self, name: &str, help: &str, value: i64) -> fmt::Result {
        let metric = ConstGauge::new(value);
        metric.encode(self.0.encode_descriptor(name, help, None, metric.metric_type())?)
    }

    fn gauges(&mut self, name: &str, help: &str, series: &[(Labels, i64)]) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, ConstGauge::new(0i64).metric_type())?;
        series.iter().try_for_each(|(labels, value)| ConstGauge::new(*value).encode(encoder.encode_family(labels)?))
    }
}

impl Collector for Page {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut out = Writer(encoder);
        self.process(&mut out)?;
        self.sockets(&mut out)?;
        let state = i64::from(self.health.phase().broker_state());
        out.gauge("kafka_server_kafkaserver_brokerstate", "1 starting, 2 recovery, 3 running, 6 stopping", state)?;
        let broker = self.broker.read().clone();
        match broker {
            Some(broker) => {
                requests(&mut out, &broker)?;
                cluster(&mut out, &broker)?;
                partitions(&mut out, &broker)
            }
            None => Ok(()),
        }
    }
}

impl Page {
    fn sockets(&self, out: &mut Writer<'_>) -> fmt::Result {
        let net = &self.net;
        let sum = |counter: fn(&net::ListenerStats) -> &std::sync::atomic::AtomicU64| {
            net.listeners().iter().map(|(_, listener)| counter(listener).load(Relaxed)).sum::<u64>()
        };
        let name = "kafka_server_socket_server_metrics_connection";
        out.gauge(&format!("{name}_count"), "Open connections", net.open() as i64)?;
        out.counter(&format!("{name}_creation"), "Connections accepted", sum(|l| &l.accepted))?;
        out.counter(&format!("{name}_close"), "Connections closed", sum(|l| &l.closed))?;
        let name = "kafka_server_socket_server_metrics";
        out.counter(&format!("{name}_incoming_byte"), "Bytes read from sockets", sum(|l| &l.bytes_in))?;
        out.counter(&format!("{name}_outgoing_byte"), "Bytes written to sockets", sum(|l| &l.bytes_out))?;
        let name = "kafka_network_socketserver_expiredconnectionskilledcount";
        out.gauge(name, "Connections closed by connections.max.idle.ms", sum(|l| &l.expired_idle) as i64)?;
        out.counter("gregor_connections_refused", "Connections refused by max.connections.per.ip", sum(|l| &l.refused))?;
        out.counter("gregor_handler_panics", "Requests that panicked and cost their connection", net.panics.load(Relaxed))
    }

    fn process(&self, out: &mut Writer<'_>) -> fmt::Result {
        let Some(process) = ProcessInfo::read() else { return Ok(()) };
        out.float_counter("process_cpu_seconds", "User and system time", process.cpu_seconds)?;
        out.gauge("process_resident_memory_bytes", "Resident memory", process.resident_bytes)?;
        out.gauge("process_open_fds", "Open file descriptors", process.open_fds)
    }
}

fn requests(out: &mut Writer<'_>, broker: &Broker) -> fmt::Result {
    let traffic = &broker.metrics().traffic;
    let name = "kafka_server_brokertopicmetrics";
    out.counter(&format!("{name}_messagesin"), "Records appended by producers", traffic.messages_in.get())?;
    out.counter(&format!("{name}_bytesin"), "Bytes appended by producers", traffic.bytes_in.get())?;
    out.counter(&format!("{name}_bytesout"), "Bytes of records sent to consumers", traffic.bytes_out.get())?;
    out.counter("gregor_malformed_requests", "Requests that could not be decoded", broker.metrics().malformed.get())
}

fn cluster(out: &mut Writer<'_>, broker: &Broker) -> fmt::Result {
    let image = broker.image();
    let brokers: Vec<bool> = image.cluster.brokers.values().map(|b| b.fenced).collect();
    let fenced = brokers.iter().filter(|fenced| **fenced).count();
    let partitions = || image.topics.iter().flat_map(|topic| topic.partitions.values());
    let name = "kafka_controller_kafkacontroller";
    out.gauge(&format!("{name}_activebrokercount"), "Unfenced brokers", (brokers.len() - fenced) as i64)?;
    out.gauge(&format!("{name}_fencedbrokercount"), "Fenced brokers", fenced as i64)?;
    out.gauge(&format!("{name}_globaltopiccount"), "Topics of the cluster", image.topics.len() as i64)?;
    out.gauge(&format!("{name}_globalpartitioncount"), "Partitions of the cluster", partitions().count() as i64)?;
    let offline = partitions().filter(|p| p.leader < 0).count();
    out.gauge(&format!("{name}_offlinepartitionscount"), "Partitions without a leader", offline as i64)?;
    let name = "kafka_server_replicamanager";
    let mine = || partitions().filter(|p| p.replicas.contains(&broker.id()));
    let led = || partitions().filter(|p| p.leader == broker.id());
    out.gauge(&format!("{name}_leadercount"), "Partitions led by this broker", led().count() as i64)?;
    out.gauge(&format!("{name}_partitioncount"), "Partitions on this broker", mine().count() as i64)?;
    let behind = led().filter(|p| p.isr.len() < p.replicas.len()).count();
    out.gauge(&format!("{name}_underreplicatedpartitions"), "Led partitions with replicas out of sync", behind as i64)
}

fn partitions(out: &mut Writer<'_>, broker: &Broker) -> fmt::Result {
    let mut columns: [Vec<(Labels, i64)>; 4] = Default::default();
    for partition in broker.replicas().all() {
        let values =
            partition.with_log(|log| [log.size() as i64, log.segment_count() as i64, log.log_start_offset(), log.log_end_offset()]);
        let Some(values) = values else { continue };
        let name = &partition.topic_partition;
        for (column, value) in columns.iter_mut().zip(values) {
            column.push((vec![("topic", name.topic.clone()), ("partition", name.partition.to_string())], value));
        }
    }
    let [size, segments, start, end] = columns;
    out.gauges("kafka_log_log_size", "Bytes of a partition", &size)?;
    out.gauges("kafka_log_log_numlogsegments", "Segments of a partition", &segments)?;
    out.gauges("kafka_log_log_logstartoffset", "First offset of a partition", &start)?;
    out.gauges("kafka_log_log_logendoffset", "Next offset of a partition", &end)
}

struct ProcessInfo {
    cpu_seconds: f64,
    resident_bytes: i64,
    open_fds: i64,
}

impl ProcessInfo {
    /// From /proc; `None` where there is none.
    fn read() -> Option<ProcessInfo> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The command's name, in parentheses, may hold blanks; fields are counted from behind it.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |i: usize| fields.get(i)?.parse::<i64>().ok();
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let open_fds = std::fs::read_dir("/proc/self/fd").ok()?.count() as i64;
        Some(ProcessInfo {
            // In ticks of 10 ms on every Linux that Rust supports.
            cpu_seconds: (number(11)? + number(12)?) as f64 / 100.0,
            resident_bytes: resident.trim().trim_end_matches(" kB").parse::<i64>().ok()? * 1024,
            open_fds,
        })
    }
}
