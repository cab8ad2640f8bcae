//! Owns: noticing that a partition has a new leader, and asking it whether its log still holds what was read (KIP-320): after an unclean
//! election it may not. Used by: the fetcher. Kafka: `OffsetFetcherUtils.validatePositionsOnMetadataChange`, `OffsetsForLeaderEpochClient`.

use super::shared::Shared;
use crate::core::metadata::MetadataCache;
use crate::core::subscription::{Need, Position};
use crate::driver::thread::Clock;
use crate::error::{Error, Result};
use base::{Instant, TopicPartition};
use std::collections::BTreeMap;
use std::sync::Arc;
use wire::ErrorCode;
use wire::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use wire::messages::{OffsetForLeaderEpochRequest, offset_for_leader_epoch_response::EpochEndOffset};

/// The first version that consumers may send.
const FOR_CONSUMERS: i16 = 3;

/// One question.
#[derive(Clone)]
struct Question {
    partition: TopicPartition,
    /// Of the partition's state.
    epoch: u64,
    leader_epoch: i32,
    read_epoch: i32,
    offset: i64,
}

/// Marks what has to be asked of a new leader, and asks.
pub fn check_leaders(shared: &Arc<Shared>, metadata: &MetadataCache, now: Instant) {
    let mut questions: BTreeMap<i32, Vec<Question>> = BTreeMap::new();
    {
        let mut state = shared.state();
        for (partition, current) in state.partitions.iter_mut() {
            let Some((leader, leader_epoch)) = metadata.leader(partition) else { continue };
            if current.need == Need::Nothing && current.position.is_some() && leader_epoch > current.checked_epoch {
                match current.fetch_epoch {
                    Some(_) => current.need = Need::Validation,
                    // Nothing known to compare with.
                    None => current.checked_epoch = leader_epoch,
                }
            }
            let due = current.need == Need::Validation && !current.busy && current.retry_at <= now;
            let Some(read_epoch) = current.fetch_epoch.filter(|_| due) else { continue };
            current.busy = true;
            let question =
                Question { partition: partition.clone(), epoch: current.epoch, leader_epoch, read_epoch, offset: current.fetch_offset };
            questions.entry(leader).or_default().push(question);
        }
    }
    for (leader, questions) in questions {
        let shared = shared.clone();
        tokio::spawn(async move {
            let answers = ask(&shared, leader, &questions).await;
            settle(&shared, &questions, answers);
            shared.fetch.notify_one();
        });
    }
}

/// None: the broker is too old to be asked, and is believed.
async fn ask(shared: &Shared, leader: i32, questions: &[Question]) -> Result<Option<BTreeMap<TopicPartition, EpochEndOffset>>> {
    let deadline = shared.now() + shared.config.connection.request_timeout;
    let connection = shared.cluster.connection(leader, deadline).await?;
    let Ok(version) = connection.versions.choose::<OffsetForLeaderEpochRequest>(FOR_CONSUMERS, i16::MAX, connection.name()) else {
        return Ok(None);
    };
    let mut topics: BTreeMap<&str, Vec<OffsetForLeaderPartition>> = BTreeMap::new();
    for question in questions {
        topics.entry(&question.partition.topic).or_default().push(OffsetForLeaderPartition {
            partition: question.partition.partition,
            current_leader_epoch: question.leader_epoch,
            leader_epoch: question.read_epoch,
            ..Default::default()
        });
    }
    let topics =
        topics.into_iter().map(|(topic, partitions)| OffsetForLeaderTopic { topic: topic.to_owned(), partitions, ..Default::default() });
    let request = OffsetForLeaderEpochRequest { replica_id: -1, topics: topics.collect(), ..Default::default() };
    let response = connection.request(&request, version, deadline).await?;
    let mut answers = BTreeMap::new();
    for topic in response.topics {
        for answer in topic.partitions {
            answers.insert(TopicPartition::new(&topic.topic, answer.partition), answer);
        }
    }
    Ok(Some(answers))
}

fn settle(shared: &Shared, questions: &[Question], answers: Result<Option<BTreeMap<TopicPartition, EpochEndOffset>>>) {
    let retry_at = shared.now() + shared.config.connection.retry_backoff;
    for question in questions {
        let answer = match &answers {
            Ok(None) => {
                shared.state().partitions.validated(&question.partition, question.epoch, question.leader_epoch);
                continue;
            }
            Ok(Some(answers)) => answers.get(&question.partition),
            Err(_) => None,
        };
        match answer {
            Some(answer) if answer.error_code == 0 => apply(shared, question, answer),
            Some(answer) if answer.error_code == ErrorCode::TopicAuthorizationFailed.code() => {
                shared.state().partitions.lookup_failed(&question.partition, question.epoch, retry_at);
                let text = format!("Not authorized to access topics: [{}]", question.partition.topic);
                shared.report(Error::broker(ErrorCode::TopicAuthorizationFailed, Some(text)));
            }
            _ => {
                shared.state().partitions.lookup_failed(&question.partition, question.epoch, retry_at);
                shared.cluster.refresh_metadata();
            }
        }
    }
}

/// Believes the leader: what lies beyond its end of the epoch is not there.
fn apply(shared: &Shared, question: &Question, answer: &EpochEndOffset) {
    let Question { partition, epoch, leader_epoch, offset, .. } = question;
    let known = answer.end_offset >= 0 && answer.leader_epoch >= 0;
    let mut state = shared.state();
    if known && answer.end_offset >= *offset {
        state.partitions.validated(partition, *epoch, *leader_epoch);
        return;
    }
    let Some(position) = state.partitions.current(partition, *epoch).and_then(|current| current.position) else { return };
    if known && answer.end_offset >= position.offset {
        // Only what was fetched ahead is gone.
        state.partitions.refetch(partition);
        return;
    }
    tracing::warn!(
        "{partition} was truncated at offset {} of epoch {}, read up to {}",
        answer.end_offset,
        answer.leader_epoch,
        position.offset
    );
    match shared.config.reset.spec(Clock::wall_ms()) {
        Some(_) if known => {
            let to = Position { offset: answer.end_offset, leader_epoch: Some(answer.leader_epoch) };
            state.partitions.seek(partition, to);
        }
        Some(spec) => {
            state.partitions.reset(partition, spec);
        }
        None => {
            let divergent = if known { answer.end_offset } else { -1 };
            state.partitions.lookup_failed(partition, *epoch, shared.now() + shared.config.connection.retry_backoff_max);
            drop(state);
            shared.report(Error::LogTruncation { partition: partition.to_string(), divergent });
        }
    }
}
