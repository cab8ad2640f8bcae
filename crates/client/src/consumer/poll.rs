//! Owns: what happens inside `poll`: rebalances the group task asks for, taking records out of what the fetcher brought.
//! Used by: `Consumer`. Kafka: `AsyncKafkaConsumer.poll`, `FetchCollector`.

use super::shared::{Change, Shared};
use super::{Consumer, ConsumerRecord, ConsumerRecords, fetcher};
use crate::core::completed_fetch::CompletedFetch;
use crate::core::subscription::{Need, Position};
use crate::error::{Error, Result};
use base::TopicPartition;
use std::sync::Arc;
use std::time::Duration;

/// Which of the listener's functions is due.
#[derive(Clone, Copy)]
enum Event {
    Assigned,
    Revoked,
    Lost,
}

/// While it lives the application is polling.
struct InPoll(Arc<Shared>);

impl InPoll {
    fn enter(shared: &Arc<Shared>) -> Self {
        {
            let mut state = shared.state();
            state.in_poll = true;
            state.polls += 1;
            state.last_poll = Some(shared.now());
            state.partitions.mark_processed();
        }
        shared.group.notify_one();
        InPoll(shared.clone())
    }
}

impl Drop for InPoll {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.in_poll = false;
        state.last_poll = Some(self.0.now());
    }
}

impl Consumer {
    /// Up to max.poll.records records; waits up to `timeout` for the first. May be dropped at any time without losing records.
    pub async fn poll(&mut self, timeout: Duration) -> Result<ConsumerRecords> {
        self.open()?;
        if matches!(self.shared.state().subscription, super::shared::Subscription::None) {
            return Err(Error::IllegalState("Consumer is not subscribed to any topics or assigned any partitions".into()));
        }
        let deadline = self.shared.now() + timeout;
        let _polling = InPoll::enter(&self.shared);
        let mut timer = std::pin::pin!(None);
        loop {
            {
                let mut state = self.shared.state();
                if std::mem::take(&mut state.wakeup) {
                    return Err(Error::Wakeup);
                }
                if let Some(error) = state.errors.pop_front() {
                    return Err(error);
                }
            }
            self.run_callbacks().await?;
            let records = self.take_records()?;
            if !records.is_empty() {
                let records = ConsumerRecords { records };
                return Ok(self.shared.interceptors().iter().fold(records, |records, interceptor| interceptor.on_consume(records)));
            }
            if timer.is_none() {
                timer.set(Some(self.shared.cluster.thread().sleep_until(deadline)));
            }
            let Some(sleep) = timer.as_mut().as_pin_mut() else { continue };
            tokio::select! {
                biased;
                () = self.shared.data.notified() => {}
                () = sleep => return Ok(ConsumerRecords::default()),
            }
        }
    }

    /// Does what the group task asks for, one change after the other; a change that was interrupted is done again.
    async fn run_callbacks(&mut self) -> Result<()> {
        loop {
            let change = self.shared.state().callbacks.front().map(|callback| callback.change.clone());
            let Some(change) = change else { return Ok(()) };
            let result = self.apply(&change).await;
            {
                let mut state = self.shared.state();
                if state.callbacks.front().is_some_and(|callback| callback.change == change)
                    && let Some(callback) = state.callbacks.pop_front()
                {
                    // The group task may have moved on.
                    let _ = callback.done.send(());
                }
            }
            self.shared.group.notify_one();
            self.shared.fetch.notify_one();
            result?;
        }
    }

    pub(super) async fn apply(&mut self, change: &Change) -> Result<()> {
        match change {
            Change::Revoke(partitions) => {
                self.commit_before_revocation().await;
                let result = self.tell(Event::Revoked, partitions).await;
                self.shared.state().partitions.remove(partitions);
                self.drop_stale();
                result
            }
            Change::LoseAll => {
                let partitions = self.assignment();
                let result = if partitions.is_empty() { Ok(()) } else { self.tell(Event::Lost, &partitions).await };
                self.shared.state().partitions.clear();
                self.drop_stale();
                result
            }
            Change::Assign { all, added } => {
                self.shared.state().partitions.assign(all, Need::Committed);
                self.drop_stale();
                self.shared.cluster.want_topics(all.iter().map(|partition| partition.topic.as_str()));
                self.tell(Event::Assigned, added).await
            }
        }
    }

    async fn tell(&mut self, event: Event, partitions: &[TopicPartition]) -> Result<()> {
        let Some(listener) = self.listener.clone() else { return Ok(()) };
        let mut listener = listener.lock().await;
        match event {
            Event::Assigned => listener.on_assigned(self, partitions).await,
            Event::Revoked => listener.on_revoked(self, partitions).await,
            Event::Lost => listener.on_lost(self, partitions).await,
        }
    }

    pub(super) async fn commit_before_revocation(&mut self) {
        if self.shared.config.auto_commit.is_none() {
            return;
        }
        let offsets = self.shared.processed_offsets();
        if offsets.is_empty() || offsets == self.shared.state().last_auto_commit {
            return;
        }
        let deadline = self.shared.now() + self.shared.config.connection.request_timeout;
        fetcher::commit_and_remember(&self.shared, offsets, deadline).await;
    }

    /// Forgets fetched bytes of partitions that are not assigned any more or were moved.
    pub(super) fn drop_stale(&mut self) {
        let mut guard = self.shared.state();
        let state = &mut *guard;
        let partitions = &mut state.partitions;
        let mut freed = 0;
        let mut stale = |fetch: &CompletedFetch| {
            let stale = partitions.current(&fetch.partition, fetch.epoch).is_none();
            if stale {
                freed += fetch.size;
            }
            stale
        };
        state.ready.retain(|fetch| !stale(fetch));
        if self.current.as_ref().is_some_and(&mut stale) {
            self.current = None;
        }
        state.buffered_bytes = state.buffered_bytes.saturating_sub(freed);
    }

    fn take_records(&mut self) -> Result<Vec<ConsumerRecord>> {
        let max = self.shared.config.max_poll_records;
        let mut records = Vec::new();
        while records.len() < max {
            if self.current.is_none() {
                self.current = self.next_fetch();
            }
            let Some(fetch) = &mut self.current else { break };
            let paused = {
                let mut state = self.shared.state();
                match state.partitions.current(&fetch.partition, fetch.epoch) {
                    None => {
                        state.buffered_bytes = state.buffered_bytes.saturating_sub(fetch.size);
                        drop(state);
                        self.current = None;
                        continue;
                    }
                    Some(partition) => partition.paused,
                }
            };
            if paused {
                if let Some(fetch) = self.current.take() {
                    self.shared.state().ready.push_front(fetch);
                }
                continue;
            }
            if records.capacity() == 0 {
                records.reserve(max.min(1024));
            }
            let taken = fetch.take(max - records.len(), &mut records);
            let (offset, leader_epoch) = fetch.position();
            let finished = !matches!(taken, Ok(false));
            let mut guard = self.shared.state();
            let state = &mut *guard;
            if let Some(partition) = state.partitions.current(&fetch.partition, fetch.epoch) {
                let leader_epoch = leader_epoch.or(partition.position.and_then(|position| position.leader_epoch));
                partition.position = Some(Position { offset, leader_epoch });
                if finished {
                    partition.buffered_fetches = partition.buffered_fetches.saturating_sub(1);
                }
            }
            if finished {
                state.counters.bytes += fetch.size as u64;
                state.buffered_bytes = state.buffered_bytes.saturating_sub(fetch.size);
                drop(guard);
                let broken = self.current.take();
                self.shared.fetch.notify_one();
                if let (Err(error), Some(fetch)) = (taken, broken) {
                    // Fetch again from there; the records before it are delivered first.
                    self.shared.state().partitions.refetch(&fetch.partition);
                    if records.is_empty() {
                        return Err(error);
                    }
                    self.shared.state().errors.push_back(error);
                    break;
                }
            }
        }
        self.shared.state().counters.records += records.len() as u64;
        Ok(records)
    }

    /// The oldest fetch of a partition that is not paused.
    fn next_fetch(&self) -> Option<CompletedFetch> {
        let mut guard = self.shared.state();
        let state = &mut *guard;
        let partitions = &state.partitions;
        let position = state.ready.iter().position(|fetch| partitions.get(&fetch.partition).is_none_or(|partition| !partition.paused))?;
        state.ready.remove(position)
    }
}
