//! Owns: where a consumer stands: seeking, pausing, positions, committing, lag. Kafka: the methods of `KafkaConsumer` of these names.

use super::Consumer;
use crate::core::subscription::Position;
use crate::error::{Error, Result};
use crate::metrics::{Metric, Snapshot};
use crate::types::{IsolationLevel, OffsetAndMetadata, OffsetSpec};
use base::TopicPartition;
use std::collections::BTreeMap;
use std::time::Duration;

impl Consumer {
    fn not_assigned(partition: &TopicPartition) -> Error {
        Error::IllegalState(format!("No current assignment for partition {partition}"))
    }

    pub fn seek(&mut self, partition: &TopicPartition, offset: i64) -> Result<()> {
        self.seek_with_epoch(partition, offset, None)
    }

    /// `seek` that also says in which leader epoch the record before was read, so that truncation is noticed.
    pub fn seek_with_epoch(&mut self, partition: &TopicPartition, offset: i64, leader_epoch: Option<i32>) -> Result<()> {
        if offset < 0 {
            return Err(Error::IllegalState("seek offset must not be a negative number".into()));
        }
        let moved = self.shared.state().partitions.seek(partition, Position { offset, leader_epoch });
        self.after_move(partition, moved)
    }

    fn after_move(&mut self, partition: &TopicPartition, moved: bool) -> Result<()> {
        if !moved {
            return Err(Self::not_assigned(partition));
        }
        self.drop_stale();
        self.shared.fetch.notify_one();
        Ok(())
    }

    /// An empty list means all assigned partitions.
    pub fn seek_to_beginning(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.seek_to(partitions, OffsetSpec::Earliest)
    }

    pub fn seek_to_end(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.seek_to(partitions, OffsetSpec::Latest)
    }

    fn seek_to(&mut self, partitions: &[TopicPartition], spec: OffsetSpec) -> Result<()> {
        let all = if partitions.is_empty() { self.assignment() } else { partitions.to_vec() };
        for partition in &all {
            let moved = self.shared.state().partitions.reset(partition, spec);
            self.after_move(partition, moved)?;
        }
        Ok(())
    }

    pub fn pause(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.set_paused(partitions, true)
    }

    pub fn resume(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.set_paused(partitions, false)?;
        self.shared.fetch.notify_one();
        self.shared.data.notify_one();
        Ok(())
    }

    fn set_paused(&mut self, partitions: &[TopicPartition], paused: bool) -> Result<()> {
        let mut state = self.shared.state();
        for partition in partitions {
            state.partitions.get_mut(partition).ok_or_else(|| Self::not_assigned(partition))?.paused = paused;
        }
        Ok(())
    }

    pub fn paused(&self) -> Vec<TopicPartition> {
        let state = self.shared.state();
        state.partitions.iter().filter(|(_, partition)| partition.paused).map(|(name, _)| name.clone()).collect()
    }

    /// The offset of the next record that poll returns for the partition.
    pub async fn position(&mut self, partition: &TopicPartition) -> Result<i64> {
        let deadline = self.shared.api_deadline();
        loop {
            {
                let mut state = self.shared.state();
                let current = state.partitions.get(partition);
                let current = current.ok_or_else(|| {
                    Error::IllegalState("You can only check the position for partitions assigned to this consumer.".into())
                })?;
                if let Some(position) = current.position {
                    return Ok(position.offset);
                }
                if let Some(error) = state.errors.pop_front() {
                    return Err(error);
                }
            }
            self.shared.fetch.notify_one();
            if self.shared.now() >= deadline {
                let millis = self.shared.config.api_timeout.as_millis();
                let text = format!("Timeout of {millis}ms expired before the position for partition {partition} could be determined");
                return Err(Error::Timeout(text));
            }
            tokio::select! {
                () = self.shared.data.notified() => {}
                () = self.shared.cluster.thread().sleep(Duration::from_millis(100)) => {}
            }
        }
    }

    pub async fn committed(&self, partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, Option<OffsetAndMetadata>>> {
        self.open()?;
        self.shared.committed(partitions, self.shared.api_deadline()).await
    }

    /// Where every assigned partition stands, as offsets to commit.
    fn positions(&self) -> BTreeMap<TopicPartition, OffsetAndMetadata> {
        let state = self.shared.state();
        let offset = |position: Position| OffsetAndMetadata {
            offset: position.offset,
            leader_epoch: position.leader_epoch,
            metadata: String::new(),
        };
        state.partitions.iter().filter_map(|(name, partition)| Some((name.clone(), offset(partition.position?)))).collect()
    }

    /// Commits the positions of all assigned partitions: everything poll has returned.
    pub async fn commit(&mut self) -> Result<()> {
        let offsets = self.positions();
        self.commit_offsets(offsets).await
    }

    pub async fn commit_offsets(&mut self, offsets: BTreeMap<TopicPartition, OffsetAndMetadata>) -> Result<()> {
        self.open()?;
        if let Some((partition, bad)) = offsets.iter().find(|(_, committed)| committed.offset < 0) {
            return Err(Error::IllegalState(format!("Invalid negative offset {} for {partition}", bad.offset)));
        }
        self.shared.commit(&offsets, self.shared.api_deadline()).await
    }

    /// Commits in the background; None means the current positions. Calls are done in order; `done` runs on the network thread.
    pub fn commit_async(
        &mut self,
        offsets: Option<BTreeMap<TopicPartition, OffsetAndMetadata>>,
        done: impl FnOnce(Result<()>) + Send + 'static,
    ) {
        let offsets = offsets.unwrap_or_else(|| self.positions());
        let (shared, turn) = (self.shared.clone(), self.shared.commits.take());
        self.shared.cluster.thread().spawn(async move {
            // Like Java, an asynchronous commit is tried for one request timeout only: a newer one will follow.
            let deadline = shared.now() + shared.config.connection.request_timeout;
            done(shared.commit_in_turn(turn, &offsets, deadline).await);
        });
    }

    /// Records between the position and the end as the last fetch saw it.
    pub fn current_lag(&self, partition: &TopicPartition) -> Option<i64> {
        let committed_only = self.shared.config.isolation == IsolationLevel::ReadCommitted;
        let state = self.shared.state();
        let partition = state.partitions.get(partition)?;
        let end = if committed_only { partition.last_stable_offset } else { partition.high_watermark }?;
        Some(end.saturating_sub(partition.position?.offset).max(0))
    }

    /// Everything that is measured, by Kafka's names, such as `records-consumed-total` and, per partition, `records-lag`.
    pub fn metrics(&self) -> Vec<Metric> {
        let committed_only = self.shared.config.isolation == IsolationLevel::ReadCommitted;
        let mut snapshot = Snapshot::new();
        let now = self.shared.now();
        let state = self.shared.state();
        let counters = state.counters;
        snapshot
            .group("consumer-fetch-manager-metrics")
            .count("records-consumed-total", counters.records)
            .count("bytes-consumed-total", counters.bytes)
            .count("fetch-total", counters.fetches)
            .average("fetch-latency-avg", counters.fetch_micros as f64 / 1000.0, counters.fetches)
            .add("fetch-latency-max", counters.fetch_micros_max as f64 / 1000.0)
            .average("fetch-size-avg", counters.bytes as f64, counters.fetches)
            .count("fetch-size-max", counters.fetch_bytes_max)
            .average("records-per-request-avg", counters.records as f64, counters.fetches);
        let (mut lag_max, mut lead_min) = (f64::NAN, f64::NAN);
        for (name, partition) in state.partitions.iter() {
            let tags = || vec![("topic", name.topic.clone()), ("partition", name.partition.to_string())];
            let end = if committed_only { partition.last_stable_offset } else { partition.high_watermark };
            let Some(position) = partition.position else { continue };
            if let Some(end) = end {
                let lag = end.saturating_sub(position.offset).max(0) as f64;
                lag_max = lag.max(lag_max);
                snapshot.add_tagged("records-lag", tags(), lag);
            }
            if let Some(start) = partition.log_start_offset {
                let lead = position.offset.saturating_sub(start).max(0) as f64;
                lead_min = lead.min(lead_min);
                snapshot.add_tagged("records-lead", tags(), lead);
            }
        }
        snapshot
            .add("records-lag-max", lag_max)
            .add("records-lead-min", lead_min)
            .group("consumer-coordinator-metrics")
            .count("commit-total", counters.commits)
            .count("heartbeat-total", counters.heartbeats)
            .count("rebalance-total", counters.rebalances)
            .count("assigned-partitions", state.partitions.iter().count() as u64)
            .group("consumer-metrics")
            .add("last-poll-seconds-ago", state.last_poll.map_or(-1.0, |last| now.saturating_since(last).as_secs() as f64));
        drop(state);
        self.shared.cluster.traffic().show(&mut snapshot);
        snapshot.finish()
    }
}
