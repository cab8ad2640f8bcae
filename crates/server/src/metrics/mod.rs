//! The metrics page. Names are those that the JMX exporter gives Kafka's beans with the rules most dashboards are built on:
//! `kafka.server:type=BrokerTopicMetrics,name=MessagesInPerSec` becomes `kafka_server_brokertopicmetrics_messagesin_total`.
//! docs/metrics.md lists them all. Everything is computed when the page is asked for; nothing runs in between.

mod cleaner;
mod cluster;
mod groups;
mod lag;
mod network;
mod page;
mod process;
mod recovery;
mod space;
mod topics;
mod transactions;

#[cfg(test)]
mod checker;
#[cfg(test)]
mod tests;

use crate::cleaner::Manager;
use crate::clock;
use crate::health::Health;
use crate::metadata_thread::QuorumStats;
use base::{Histogram, Now, Summary};
use broker::Broker;
use lag::LagCache;
pub use page::Format;
use page::{Family, Kind, Page};
use parking_lot::{Mutex, RwLock};
use std::path::PathBuf;
use std::sync::Arc;

/// The release whose protocol and files these are.
const KAFKA_VERSION: &str = "4.3.1";
/// The percentiles that Kafka's beans have, as the exporter's rules write them.
const QUANTILES: [(&str, f64); 6] = [("0.50", 0.5), ("0.75", 0.75), ("0.95", 0.95), ("0.98", 0.98), ("0.99", 0.99), ("0.999", 0.999)];

pub struct Metrics {
    health: Arc<Health>,
    net: Arc<net::Stats>,
    flushes: Arc<Histogram>,
    quorum: Arc<QuorumStats>,
    dirs: Vec<PathBuf>,
    /// Whether there are series per partition; without them a page stays small whatever the node holds.
    partitions: bool,
    started_wall_ms: i64,
    broker: RwLock<Option<Arc<Broker>>>,
    cleaner: RwLock<Option<Arc<Manager>>>,
    lags: Mutex<LagCache>,
}

impl Metrics {
    pub fn new(health: Arc<Health>, net: Arc<net::Stats>, dirs: Vec<PathBuf>, partitions: bool) -> Self {
        Metrics {
            health,
            net,
            flushes: Arc::default(),
            quorum: Arc::default(),
            dirs,
            partitions,
            started_wall_ms: clock::wall_ms(),
            broker: RwLock::new(None),
            cleaner: RwLock::new(None),
            lags: Mutex::default(),
        }
    }

    /// From now on the page tells of this broker too.
    pub fn set_broker(&self, broker: Arc<Broker>) {
        *self.broker.write() = Some(broker);
    }

    /// From now on the page tells of the cleaner too.
    pub fn set_cleaner(&self, cleaner: Arc<Manager>) {
        *self.cleaner.write() = Some(cleaner);
    }

    /// Lets go of the broker, before its logs are closed.
    pub fn clear_broker(&self) {
        *self.cleaner.write() = None;
        *self.broker.write() = None;
    }

    /// Times of flushes, in microseconds.
    pub fn flushes(&self) -> &Arc<Histogram> {
        &self.flushes
    }

    pub fn quorum(&self) -> &Arc<QuorumStats> {
        &self.quorum
    }

    /// The page goes to `take`, piece by piece. May take a while with very many partitions, and as long as `take` does; not for a thread
    /// that has anything else to do.
    pub fn render(&self, format: Format, take: &mut dyn FnMut(String)) {
        self.render_at(format, clock::now(), take);
    }

    fn render_at(&self, format: Format, now: Now, take: &mut dyn FnMut(String)) {
        let mut page = Page::new(format, take);
        let version = [("version", env!("CARGO_PKG_VERSION").into()), ("kafka", KAFKA_VERSION.into())];
        page.family(Kind::Info, "gregor_build", "The version of this program, and of the Kafka it is").sample(&version, 1);
        process::write(&mut page, self.started_wall_ms);
        process::disks(&mut page, &self.dirs);
        let state = self.health.phase().broker_state();
        page.gauge("kafka_server_kafkaserver_brokerstate", "1 starting, 2 recovery, 3 running, 6 stopping", state);
        recovery::write(&mut page, &self.health);
        network::listeners(&mut page, &self.net);
        network::workers(&mut page, &self.net, now.mono);
        // Held by this page while it is written: a node that stops waits for nobody, its logs are closed under their own locks.
        let broker = self.broker.read().clone();
        network::requests(&mut page, &self.net, broker.as_deref().map(Broker::metrics), now.mono);
        topics::flushes(&mut page, &self.flushes, now.mono);
        cluster::quorum(&mut page, &self.quorum);
        if let Some(manager) = self.cleaner.read().clone() {
            cleaner::write(&mut page, &manager, now.mono);
        }
        if let Some(broker) = broker {
            space::write(&mut page, &broker.replicas().space_facts());
            cluster::write(&mut page, &broker, now);
            topics::traffic(&mut page, &broker);
            topics::logs(&mut page, &broker, self.partitions);
            groups::coordinators(&mut page, &broker);
            transactions::coordinators(&mut page, &broker);
            let lags = self.lags.lock().read(&broker, now.wall_ms);
            groups::lags(&mut page, &lags, self.partitions);
        }
        page.finish();
    }
}

/// Quantiles, sum and count of a distribution; `divisor` makes the unit that is shown of the one that was recorded.
fn summary(family: &mut Family<'_, '_>, label: Option<(&str, &str)>, summary: &Summary, divisor: f64) {
    let values = summary.quantiles(QUANTILES.map(|(_, part)| part));
    for ((quantile, _), value) in QUANTILES.iter().zip(values) {
        match label {
            Some((name, text)) => family.sample(&[(name, text.into()), ("quantile", (*quantile).into())], value / divisor),
            None => family.sample(&[("quantile", (*quantile).into())], value / divisor),
        }
    }
    let (sum, count) = (summary.sum as f64 / divisor, summary.count);
    match label {
        Some((name, text)) => family.sum_and_count(&[(name, text.into())], sum, count),
        None => family.sum_and_count(&[], sum, count),
    }
}
