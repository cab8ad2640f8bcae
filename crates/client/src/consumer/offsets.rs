//! Owns: finding out where partitions start: committed offsets, ends, offsets by time. Used by: the fetcher, and the consumer's questions.
//! Kafka: `OffsetFetcher`, `OffsetsRequestManager`.

use super::shared::{Shared, join};
use crate::admin::groups_wire::{list_offsets_request, read_list_offsets};
use crate::core::subscription::{Need, Position};
use crate::driver::thread::Clock;
use crate::error::{Error, Result};
use crate::types::{ListedOffset, OffsetAndMetadata, OffsetSpec};
use base::{Instant, TopicPartition};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use wire::ErrorCode;
use wire::messages::ListOffsetsRequest;

/// Committed offsets of partitions that start where their group stopped.
pub fn look_up_committed(this: &Arc<Shared>, now: Instant) {
    let wanted = this.state().partitions.take_needs(now, |need| need == Need::Committed);
    if wanted.is_empty() {
        return;
    }
    let shared = this.clone();
    tokio::spawn(async move {
        let names: Vec<TopicPartition> = wanted.iter().map(|(partition, _, _)| partition.clone()).collect();
        let found = match shared.config.group_id {
            Some(_) => shared.committed(&names, shared.api_deadline()).await,
            None => Ok(BTreeMap::new()),
        };
        settle_committed(&shared, &wanted, found);
        shared.fetch.notify_one();
    });
}

/// Offsets of partitions that start at an end, or at a time.
pub fn look_up_offsets(this: &Arc<Shared>, now: Instant) {
    let wanted = this.state().partitions.take_needs(now, |need| matches!(need, Need::Reset(_)));
    if wanted.is_empty() {
        return;
    }
    let shared = this.clone();
    tokio::spawn(async move {
        let specs: Vec<(TopicPartition, i64)> = wanted
            .iter()
            .map(|(partition, _, need)| {
                let timestamp = match need {
                    Need::Reset(spec) => spec.timestamp(),
                    _ => -1,
                };
                (partition.clone(), timestamp)
            })
            .collect();
        let mut found = list_offsets_once(&shared, &specs, shared.api_deadline()).await;
        let retry_at = shared.now() + shared.config.connection.retry_backoff;
        for (partition, epoch, need) in wanted {
            match found.remove(&partition) {
                Some(Ok(listed)) if listed.offset >= 0 => {
                    let position = Position { offset: listed.offset, leader_epoch: listed.leader_epoch };
                    shared.state().partitions.found(&partition, epoch, position);
                }
                // No record that young: the end.
                Some(Ok(_)) if need != Need::Reset(OffsetSpec::Latest) => {
                    if shared.state().partitions.current(&partition, epoch).is_some() {
                        shared.state().partitions.reset(&partition, OffsetSpec::Latest);
                    }
                }
                Some(Err(error)) if !error.is_retriable() => {
                    shared.state().partitions.lookup_failed(&partition, epoch, retry_at);
                    shared.report(error);
                }
                _ => {
                    shared.state().partitions.lookup_failed(&partition, epoch, retry_at);
                    shared.cluster.refresh_metadata();
                }
            }
        }
        shared.fetch.notify_one();
        shared.data.notify_one();
    });
}

type Wants = [(TopicPartition, u64, Need)];

fn settle_committed(shared: &Shared, wanted: &Wants, found: Result<BTreeMap<TopicPartition, Option<OffsetAndMetadata>>>) {
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            let retry_at = shared.now() + shared.config.connection.retry_backoff;
            let mut state = shared.state();
            for (partition, epoch, _) in wanted {
                state.partitions.lookup_failed(partition, *epoch, retry_at);
            }
            drop(state);
            if !error.is_retriable() {
                shared.report(error);
            }
            return;
        }
    };
    let mut missing = Vec::new();
    let mut state = shared.state();
    for (partition, epoch, _) in wanted {
        match found.get(partition).and_then(Option::as_ref) {
            Some(committed) => {
                let position = Position { offset: committed.offset, leader_epoch: committed.leader_epoch };
                state.partitions.found(partition, *epoch, position);
            }
            None if state.partitions.current(partition, *epoch).is_none() => {}
            None => match shared.config.reset.spec(Clock::wall_ms()) {
                Some(spec) => {
                    state.partitions.reset(partition, spec);
                }
                None => {
                    let retry_at = shared.now() + shared.config.connection.retry_backoff_max;
                    state.partitions.lookup_failed(partition, *epoch, retry_at);
                    missing.push(partition.clone());
                }
            },
        }
    }
    if !missing.is_empty() {
        state.errors.push_back(Error::NoOffsetForPartition(join(&missing)));
    }
    drop(state);
    shared.data.notify_one();
}

/// One round of ListOffsets at the leaders; what could not be asked is a retriable error.
pub async fn list_offsets_once(
    shared: &Shared,
    wanted: &[(TopicPartition, i64)],
    deadline: Instant,
) -> HashMap<TopicPartition, Result<ListedOffset>> {
    let mut results = HashMap::new();
    shared.cluster.want_topics(wanted.iter().map(|(partition, _)| partition.topic.as_str()));
    let metadata = shared.cluster.metadata();
    let mut by_leader: BTreeMap<i32, Vec<(&TopicPartition, i64, i32)>> = BTreeMap::new();
    for (partition, timestamp) in wanted {
        match metadata.leader(partition) {
            Some((leader, epoch)) => by_leader.entry(leader).or_default().push((partition, *timestamp, epoch)),
            None => {
                shared.cluster.refresh_metadata();
                results.insert(partition.clone(), Err(Error::broker(ErrorCode::LeaderNotAvailable, None)));
            }
        }
    }
    for (leader, group) in by_leader {
        let names: Vec<TopicPartition> = group.iter().map(|(partition, _, _)| (*partition).clone()).collect();
        let timeout_ms = i32::try_from(shared.config.connection.request_timeout.as_millis()).unwrap_or(i32::MAX);
        let request: ListOffsetsRequest = list_offsets_request(group.into_iter(), shared.config.isolation, timeout_ms);
        match shared.cluster.request(leader, &request, deadline).await {
            Ok(response) => results.extend(read_list_offsets(response)),
            Err(error) => {
                shared.cluster.refresh_metadata();
                results.extend(names.into_iter().map(|partition| (partition, Err(error.clone()))));
            }
        }
    }
    results
}
