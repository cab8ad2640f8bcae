//! Markers: each partition of a transaction that has been decided on gets its end-of-transaction marker from the leader of that partition.
//! Written without the shard's lock; one counts when the high watermark has passed it. Kafka: `TransactionMarkerChannelManager`.

use super::Txns;
use crate::Broker;
use crate::markers::{Marker, MarkerWritten, write_marker};
use base::{Now, TopicPartition};
use coordinator::txn::MarkerTask;
use metadata::Image;
use replica::Watch;
use std::collections::VecDeque;
use std::sync::Arc;
use wire::ErrorCode;

/// A marker that is written and not yet committed.
pub(super) struct Waiting {
    index: i32,
    task: Arc<MarkerTask>,
    partition: TopicPartition,
    written: MarkerWritten,
    /// Kept so that it wakes.
    _watch: Option<Watch>,
}

impl Waiting {
    /// What became of it, once that is known.
    fn outcome(&self) -> Option<ErrorCode> {
        if self.written.partition.high_watermark() > self.written.offset {
            Some(ErrorCode::None)
        } else if !self.written.partition.is_leader() {
            Some(ErrorCode::NotLeaderOrFollower)
        } else {
            None
        }
    }
}

impl Txns {
    /// Writes the markers of these tasks, and of what follows from them.
    pub(super) fn write_markers(&self, broker: &Broker, now: Now, index: i32, tasks: Vec<MarkerTask>) {
        let mut tasks: VecDeque<MarkerTask> = tasks.into();
        while let Some(task) = tasks.pop_front() {
            let task = Arc::new(task);
            let mut results = Vec::new();
            for partition in &task.partitions {
                match self.write_one(broker, now, index, &task, partition) {
                    Ok(None) => results.push((partition.clone(), ErrorCode::None)),
                    Ok(Some(waiting)) => {
                        // Looked at with the list locked: who is woken from now on finds it there.
                        let mut marks = self.marks.lock();
                        match waiting.outcome() {
                            None => marks.push(waiting),
                            Some(outcome) => results.push((partition.clone(), outcome)),
                        }
                    }
                    Err(error) => results.push((partition.clone(), error)),
                }
            }
            if !results.is_empty() {
                tasks.extend(self.report(broker, now, index, &task, results));
            }
        }
    }

    /// `None`: no marker is needed.
    fn write_one(
        &self,
        broker: &Broker,
        now: Now,
        index: i32,
        task: &Arc<MarkerTask>,
        partition: &TopicPartition,
    ) -> Result<Option<Waiting>, ErrorCode> {
        // A partition that was deleted needs no marker.
        let Some(leader) = leader(&broker.image(), partition) else { return Ok(None) };
        if leader != broker.id() {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        let marker = Marker {
            producer_id: task.producer_id,
            producer_epoch: task.producer_epoch,
            commit: task.commit,
            coordinator_epoch: task.coordinator_epoch,
            transaction_version: task.transaction_version,
        };
        let written = write_marker(broker, now, &marker, partition)?;
        let watch = written.partition.watch(written.offset + 1, &self.committed_waker());
        Ok(Some(Waiting { index, task: task.clone(), partition: partition.clone(), written, _watch: watch }))
    }

    /// Reports the markers whose fate is known by now.
    pub(super) fn follow_markers(&self, broker: &Broker, now: Now) {
        let known: Vec<(Waiting, ErrorCode)> = {
            let mut marks = self.marks.lock();
            let all = std::mem::take(&mut *marks);
            let mut known = Vec::new();
            for waiting in all {
                match waiting.outcome() {
                    Some(outcome) => known.push((waiting, outcome)),
                    None => marks.push(waiting),
                }
            }
            known
        };
        for (waiting, outcome) in known {
            let tasks = self.report(broker, now, waiting.index, &waiting.task, vec![(waiting.partition, outcome)]);
            self.write_markers(broker, now, waiting.index, tasks);
        }
    }

    fn report(
        &self,
        broker: &Broker,
        now: Now,
        index: i32,
        task: &MarkerTask,
        results: Vec<(TopicPartition, ErrorCode)>,
    ) -> Vec<MarkerTask> {
        let Some(cell) = self.cell(index) else { return Vec::new() };
        let mut cell = cell.lock();
        let Ok(active) = cell.state.active() else { return Vec::new() };
        self.run(broker, now, active, |shard, context| shard.markers_written(context, task, results))
    }
}

/// The leader of a partition, -1 when there is none now; `None` when the partition does not exist.
fn leader(image: &Image, partition: &TopicPartition) -> Option<i32> {
    Some(image.topics.get(&partition.topic)?.partitions.get(&partition.partition)?.leader)
}
