//! Owns: the form in which clients show their metrics. Used by: `Producer::metrics`, `Consumer::metrics`, `Admin::metrics`.
//! Names and groups are Kafka's. Averages and maxima are those since the client was made, not of a sliding window, and there are no rates:
//! whoever takes two snapshots can divide. Kafka: `KafkaMetric`, `SenderMetricsRegistry`, `FetchMetricsRegistry`.

/// One number of a snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    pub group: &'static str,
    pub name: &'static str,
    /// Such as `topic` and `partition`.
    pub tags: Vec<(&'static str, String)>,
    pub value: f64,
}

/// What a snapshot is put together in.
pub(crate) struct Snapshot {
    group: &'static str,
    metrics: Vec<Metric>,
}

impl Snapshot {
    pub fn new() -> Self {
        Self { group: "", metrics: Vec::new() }
    }

    /// What follows belongs to this group.
    pub fn group(&mut self, group: &'static str) -> &mut Self {
        self.group = group;
        self
    }

    pub fn add(&mut self, name: &'static str, value: f64) -> &mut Self {
        self.add_tagged(name, Vec::new(), value)
    }

    pub fn count(&mut self, name: &'static str, value: u64) -> &mut Self {
        self.add(name, value as f64)
    }

    /// NaN when there was nothing, as in Kafka.
    pub fn average(&mut self, name: &'static str, sum: f64, count: u64) -> &mut Self {
        self.add(name, if count == 0 { f64::NAN } else { sum / count as f64 })
    }

    pub fn add_tagged(&mut self, name: &'static str, tags: Vec<(&'static str, String)>, value: f64) -> &mut Self {
        self.metrics.push(Metric { group: self.group, name, tags, value });
        self
    }

    pub fn finish(self) -> Vec<Metric> {
        self.metrics
    }
}
