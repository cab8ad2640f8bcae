//! Owns: the client's half of an incremental fetch session with one broker (KIP-227): what the broker already knows, so that a request names
//! only what changed. Used by: the fetcher. Kafka: `FetchSessionHandler`.

use base::{TopicPartition, Uuid};
use std::collections::BTreeMap;
use wire::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use wire::{ErrorCode, messages::FetchResponse};

/// Ends a session (`FetchMetadata.FINAL_EPOCH`).
const FINAL_EPOCH: i32 = -1;

/// What is asked of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub topic_id: Uuid,
    pub fetch_offset: i64,
    pub leader_epoch: i32,
    pub max_bytes: i32,
}

#[derive(Debug, Default)]
pub struct FetchSession {
    id: i32,
    epoch: i32,
    known: BTreeMap<TopicPartition, Wanted>,
}

/// The session part of a request.
#[derive(Debug, PartialEq)]
pub struct SessionRequest {
    pub id: i32,
    pub epoch: i32,
    pub topics: Vec<FetchTopic>,
    pub forgotten: Vec<ForgottenTopic>,
    /// Every partition has a topic id, so that versions which name topics by id can be used.
    pub all_ids: bool,
}

impl FetchSession {
    /// The next request for exactly these partitions; the session remembers them.
    pub fn build(&mut self, wanted: BTreeMap<TopicPartition, Wanted>) -> SessionRequest {
        let full = self.epoch == 0;
        let changed = wanted.iter().filter(|(partition, now)| full || self.known.get(partition) != Some(now));
        let mut topics: BTreeMap<(&str, Uuid), Vec<FetchPartition>> = BTreeMap::new();
        for (partition, now) in changed {
            topics.entry((&partition.topic, now.topic_id)).or_default().push(FetchPartition {
                partition: partition.partition,
                current_leader_epoch: now.leader_epoch,
                fetch_offset: now.fetch_offset,
                partition_max_bytes: now.max_bytes,
                ..Default::default()
            });
        }
        let mut forgotten: BTreeMap<(&str, Uuid), Vec<i32>> = BTreeMap::new();
        if !full {
            for (partition, before) in &self.known {
                // A topic that was created again is another one: the old one has to go.
                let replaced = wanted.get(partition).is_some_and(|now| now.topic_id != before.topic_id);
                if replaced || !wanted.contains_key(partition) {
                    forgotten.entry((&partition.topic, before.topic_id)).or_default().push(partition.partition);
                }
            }
        }
        let request = SessionRequest {
            id: self.id,
            epoch: self.epoch,
            all_ids: wanted.values().all(|now| !now.topic_id.is_zero()),
            topics: topics
                .into_iter()
                .map(|((topic, topic_id), partitions)| FetchTopic { topic: topic.to_owned(), topic_id, partitions, ..Default::default() })
                .collect(),
            forgotten: forgotten
                .into_iter()
                .map(|((topic, topic_id), partitions)| ForgottenTopic {
                    topic: topic.to_owned(),
                    topic_id,
                    partitions,
                    ..Default::default()
                })
                .collect(),
        };
        self.known = wanted;
        request
    }

    /// The last request: the broker forgets the session. None if it has none.
    pub fn close(self) -> Option<SessionRequest> {
        let all = SessionRequest { id: self.id, epoch: FINAL_EPOCH, topics: Vec::new(), forgotten: Vec::new(), all_ids: true };
        (self.id != 0).then_some(all)
    }

    /// What was asked of a partition in the last request.
    pub fn asked(&self, partition: &TopicPartition) -> Option<Wanted> {
        self.known.get(partition).copied()
    }

    pub fn partitions(&self) -> impl Iterator<Item = &TopicPartition> {
        self.known.keys()
    }

    /// Name of a topic of this session by its id.
    pub fn topic_of(&self, id: Uuid) -> Option<&str> {
        self.known.iter().find(|(_, wanted)| wanted.topic_id == id).map(|(partition, _)| partition.topic.as_str())
    }

    /// Takes note of an answer. False: its content is not usable, and the next request starts over.
    pub fn on_response(&mut self, response: &FetchResponse) -> bool {
        let error = ErrorCode::from_code(response.error_code);
        if error != ErrorCode::None {
            match error {
                // Same session, opened anew.
                ErrorCode::InvalidFetchSessionEpoch => self.epoch = 0,
                _ => self.reset(),
            }
            return false;
        }
        if self.epoch == 0 {
            // Full answers name what they hold; session id 0 means that the broker keeps none.
            self.id = response.session_id;
            self.epoch = i32::from(response.session_id != 0);
            return true;
        }
        if response.session_id == 0 {
            // The broker closed the session; this answer is still good.
            self.reset();
            return true;
        }
        if response.session_id != self.id {
            self.reset();
            return false;
        }
        self.epoch = next_epoch(self.epoch);
        true
    }

    /// The request never arrived, or its answer did not: whether the broker moved on is unknown.
    pub fn on_failure(&mut self) {
        self.epoch = 0;
    }

    fn reset(&mut self) {
        self.id = 0;
        self.epoch = 0;
    }
}

fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(offsets: &[(i32, i64)]) -> BTreeMap<TopicPartition, Wanted> {
        let entry = |(partition, fetch_offset): &(i32, i64)| {
            let wanted = Wanted { topic_id: Uuid::from_u128(1), fetch_offset: *fetch_offset, leader_epoch: 0, max_bytes: 10 };
            (TopicPartition::new("t", *partition), wanted)
        };
        offsets.iter().map(entry).collect()
    }

    fn answer(session_id: i32, error: ErrorCode) -> FetchResponse {
        FetchResponse { session_id, error_code: error.code(), ..Default::default() }
    }

    fn asked(request: &SessionRequest) -> Vec<(i32, i64)> {
        request.topics.iter().flat_map(|topic| &topic.partitions).map(|p| (p.partition, p.fetch_offset)).collect()
    }

    #[test]
    fn only_changes_travel() {
        let mut session = FetchSession::default();
        let full = session.build(wanted(&[(0, 0), (1, 0)]));
        assert_eq!((full.id, full.epoch, asked(&full)), (0, 0, vec![(0, 0), (1, 0)]));
        assert!(session.on_response(&answer(7, ErrorCode::None)));
        let second = session.build(wanted(&[(0, 5), (1, 0)]));
        assert_eq!((second.id, second.epoch, asked(&second)), (7, 1, vec![(0, 5)]));
        assert!(session.on_response(&answer(7, ErrorCode::None)));
        let third = session.build(wanted(&[(1, 0), (2, 3)]));
        assert_eq!((third.epoch, asked(&third)), (2, vec![(2, 3)]));
        assert_eq!(third.forgotten[0].partitions, [0]);
    }

    #[test]
    fn errors_and_failures_start_over() {
        let mut session = FetchSession::default();
        session.build(wanted(&[(0, 0)]));
        session.on_response(&answer(7, ErrorCode::None));
        session.build(wanted(&[(0, 0)]));
        assert!(!session.on_response(&answer(0, ErrorCode::FetchSessionIdNotFound)));
        let again = session.build(wanted(&[(0, 0)]));
        assert_eq!((again.id, again.epoch, asked(&again)), (0, 0, vec![(0, 0)]));
        session.on_response(&answer(8, ErrorCode::None));
        session.on_failure();
        let again = session.build(wanted(&[(0, 0)]));
        assert_eq!((again.id, again.epoch), (8, 0));
    }

    #[test]
    fn a_broker_may_keep_no_session() {
        let mut session = FetchSession::default();
        session.build(wanted(&[(0, 0)]));
        assert!(session.on_response(&answer(0, ErrorCode::None)));
        assert_eq!(session.build(wanted(&[(0, 0)])).epoch, 0);
    }
}
