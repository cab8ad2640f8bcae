//! Connections per listener, requests per API. Kafka: `socket-server-metrics`, `SocketServer`, `RequestMetrics`,
//! `KafkaRequestHandlerPool`, `DelayedOperationPurgatory`.

use super::page::{Kind, Label, Page};
use super::summary;
use base::{Instant, Summary};
use broker::Metrics;
use net::{ApiSummary, ListenerStats, Stats};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use wire::ApiKey;

pub fn listeners(page: &mut Page, stats: &Stats) {
    type Read = fn(&ListenerStats) -> u64;
    let listeners: Vec<(Arc<str>, Arc<ListenerStats>)> = stats.listeners();
    let mut each = |kind, name: &str, help: &str, read: Read| {
        let mut family = page.family(kind, name, help);
        listeners.iter().for_each(|(listener, stats)| family.sample(&[("listener", Label::Text(listener))], read(stats)));
    };
    let socket = |metric: &str| format!("kafka_server_socket_server_metrics_{metric}");
    each(Kind::Gauge, &socket("connection_count"), "Open connections", ListenerStats::open);
    each(Kind::Counter, &socket("connection_creation"), "Connections accepted", |s| s.accepted.load(Relaxed));
    each(Kind::Counter, &socket("connection_close"), "Connections closed", |s| s.closed.load(Relaxed));
    each(Kind::Counter, &socket("incoming_byte"), "Bytes read from sockets", |s| s.bytes_in.load(Relaxed));
    each(Kind::Counter, &socket("outgoing_byte"), "Bytes written to sockets", |s| s.bytes_out.load(Relaxed));
    each(Kind::Counter, "gregor_connections_refused", "Connections refused by max.connections.per.ip", |s| s.refused.load(Relaxed));
    each(Kind::Gauge, "kafka_network_socketserver_expiredconnectionskilledcount", "Connections closed by connections.max.idle.ms", |s| {
        s.expired_idle.load(Relaxed)
    });
}

pub fn workers(page: &mut Page, stats: &Stats, now: Instant) {
    let (busy, threads) = (stats.busy().as_secs_f64(), stats.workers());
    let elapsed = now.saturating_since(Instant::from_nanos(stats.started.load(Relaxed))).as_secs_f64() * threads as f64;
    let idle = if elapsed > 0.0 { (1.0 - busy / elapsed).clamp(0.0, 1.0) } else { 1.0 };
    page.gauge("gregor_workers", "Threads that read, handle and answer requests", threads);
    page.family(Kind::Counter, "gregor_worker_busy_seconds", "Time these threads spent on connections").sample(&[], busy);
    let name = "kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent";
    page.gauge(name, "Part of their time these threads were idle, since the start", idle);
    let name = "kafka_network_socketserver_networkprocessoravgidlepercent";
    page.gauge(name, "The same: requests are handled on the threads that read them", idle);
    page.counter("gregor_handler_panics", "Requests that panicked and cost their connection", stats.panics.load(Relaxed));
}

/// Kafka reports a Fetch twice: as such, and as that of a consumer or of a follower. Without followers all are consumers'.
fn names(key: ApiKey) -> impl Iterator<Item = &'static str> {
    std::iter::once(key.name()).chain((key == ApiKey::Fetch).then_some("FetchConsumer"))
}

pub fn requests(page: &mut Page, stats: &Stats, broker: Option<&Metrics>, now: Instant) {
    let used = stats.apis(now).into_iter();
    let apis: Vec<(ApiKey, ApiSummary)> = used.filter_map(|(key, api)| Some((ApiKey::from_code(key)?, api))).collect();
    let rows = || apis.iter().flat_map(|(key, api)| names(*key).map(move |name| (name, api)));
    let metrics = |metric: &str| format!("kafka_network_requestmetrics_{metric}");

    let name = metrics("requests");
    let mut family = page.family(Kind::Counter, &name, "Requests answered, by kind and version");
    for (request, api) in rows() {
        for (version, count) in api.versions() {
            family.sample(&[("request", request.into()), ("version", Label::Number(version as i64))], count);
        }
    }
    let name = metrics("errors");
    let mut family = page.family(Kind::Counter, &name, "Error codes in answers, by kind of request; NONE is success");
    for (key, _) in &apis {
        let Some(errors) = broker.and_then(|broker| broker.errors(*key)) else { continue };
        for (error, count) in errors.counts() {
            for request in names(*key) {
                family.sample(&[("request", request.into()), ("error", error.name().into())], count);
            }
        }
    }
    type Pick = fn(&ApiSummary) -> &Summary;
    let times: [(&str, &str, Pick); 4] = [
        ("totaltimems", "From a request's arrival to the last byte of its answer, in milliseconds", |api| &api.total),
        ("localtimems", "In the handler, in milliseconds", |api| &api.local),
        ("remotetimems", "Waiting for records, replicas, a group or the controller, in milliseconds", |api| &api.remote),
        ("responsesendtimems", "From the answer's being ready to its last byte, in milliseconds", |api| &api.send),
    ];
    for (metric, help, pick) in times {
        let name = metrics(metric);
        let mut family = page.family(Kind::Summary, &name, help);
        rows().for_each(|(request, api)| summary(&mut family, Some(("request", request)), pick(api), 1000.0));
    }
    let name = metrics("requestbytes");
    let mut family = page.family(Kind::Summary, &name, "Size of requests, in bytes");
    rows().for_each(|(request, api)| summary(&mut family, Some(("request", request)), &api.request_bytes, 1.0));
    let mut family = page.family(Kind::Counter, "gregor_response_bytes", "Size of answers");
    rows().for_each(|(request, api)| family.sample(&[("request", request.into())], api.response_bytes));

    let name = "kafka_server_delayedoperationpurgatory_purgatorysize";
    let mut family = page.family(Kind::Gauge, name, "Requests that wait, by kind");
    for (key, api) in &apis {
        family.sample(&[("delayedOperation", key.name().into())], api.parked);
    }
    if let Some(broker) = broker {
        page.counter("gregor_malformed_requests", "Requests that could not be decoded", broker.malformed.get());
    }
}
