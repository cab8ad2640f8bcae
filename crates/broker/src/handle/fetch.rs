//! Fetch for consumers. Hot path: what is read are ranges of files, which leave by sendfile; no record is touched.
//! Kafka: `KafkaApis.handleFetchRequest`, `ReplicaManager.fetchMessages`, `DelayedFetch`.

use crate::Broker;
use crate::answer::{Handled, ReplyTo, Response, Wait};
use crate::context::Context;
use crate::fetch_session::{FetchKind, Told, Want, WantKey};
use base::{Instant, Now};
use metadata::Image;
use replica::{FetchRead, Partition, PartitionError, Watch};
use std::sync::Arc;
use std::task::Waker;
use storage::{Log, ReadLimit};
use wire::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use wire::messages::fetch_response::{AbortedTransaction, EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, PartitionData};
use wire::messages::{FetchRequest, FetchResponse};
use wire::{ErrorCode, Records};

const READ_COMMITTED: i8 = 1;
/// From here on Fetch names topics by id.
const TOPIC_ID_VERSION: i16 = 13;
/// From here on an answer that sends the client elsewhere says where (KIP-951).
const LEADER_VERSION: i16 = 16;
/// From here on the limit on a response gives way to the first batch, however large.
const SOFT_LIMIT_VERSION: i16 = 3;

pub(super) fn handle(c: &mut Context, request: FetchRequest) -> Handled {
    let by_id = c.version() >= TOPIC_ID_VERSION;
    let wants = request.topics.into_iter().flat_map(|topic| wants(c, topic)).collect();
    let forgotten: Vec<WantKey> = request.forgotten_topics_data.iter().flat_map(forgotten).collect();
    let begun = c.broker.fetch_sessions.begin(c.now.mono, request.session_id, request.session_epoch, by_id, wants, &forgotten);
    let (kind, wants) = match begun {
        Ok(begun) => begun,
        Err(error) => return c.answer(&FetchResponse { error_code: error.code(), ..Default::default() }),
    };
    let deadline = c.deadline(request.max_wait_ms);
    let fetch = Fetch {
        reply: c.reply,
        kind,
        wants,
        limit: if request.isolation_level == READ_COMMITTED { ReadLimit::LastStable } else { ReadLimit::HighWatermark },
        min_bytes: request.min_bytes.max(0) as usize,
        max_bytes: request.max_bytes.min(c.broker.config().fetch_max_bytes).max(0) as usize,
        hard_limit: c.version() < SOFT_LIMIT_VERSION,
        deadline,
        watches: Vec::new(),
    };
    c.park(fetch, deadline)
}

fn wants(c: &Context, topic: FetchTopic) -> Vec<Want> {
    let name: Arc<str> = match topic.topic_id.is_zero() {
        true => topic.topic.into(),
        false => c.image.topics.get_by_id(topic.topic_id).map(|t| t.name.clone()).unwrap_or_default(),
    };
    let want = |p: FetchPartition| Want {
        topic: name.clone(),
        topic_id: topic.topic_id,
        partition: p.partition,
        fetch_offset: p.fetch_offset,
        max_bytes: p.partition_max_bytes,
        current_leader_epoch: p.current_leader_epoch,
        last_fetched_epoch: p.last_fetched_epoch,
    };
    topic.partitions.into_iter().map(want).collect()
}

fn forgotten(topic: &ForgottenTopic) -> Vec<WantKey> {
    topic.partitions.iter().map(|p| WantKey::new(&topic.topic, topic.topic_id, *p)).collect()
}

/// A Fetch from its start to its answer. It reads, and answers when that gave min.bytes, an error, or the deadline has passed; else it
/// waits for one of its partitions to grow and reads again.
struct Fetch {
    reply: ReplyTo,
    kind: FetchKind,
    wants: Vec<Want>,
    limit: ReadLimit,
    min_bytes: usize,
    max_bytes: usize,
    hard_limit: bool,
    deadline: Instant,
    watches: Vec<Watch>,
}

/// What one partition gave.
enum Got {
    Read(FetchRead),
    /// The client's log was cut: its last epoch ends here at this offset.
    Diverging {
        epoch: i32,
        end_offset: i64,
        high_watermark: i64,
        last_stable_offset: i64,
        log_start_offset: i64,
    },
    Refused(PartitionError),
}

impl Wait for Fetch {
    fn poll(&mut self, broker: &Broker, now: Now, waker: &Waker) -> Option<Response> {
        self.watches.clear();
        loop {
            let (got, bytes) = self.read_all(broker);
            let answers_at_once = got.iter().any(|g| !matches!(g, Got::Read(_)));
            if bytes >= self.min_bytes || answers_at_once || self.wants.is_empty() || now.mono >= self.deadline {
                return self.respond(broker, now, got);
            }
            // A partition that grew between the read and the watch is read again.
            if self.watch_all(broker, &got, waker) {
                return None;
            }
            self.watches.clear();
        }
    }
}

impl Fetch {
    fn read_all(&self, broker: &Broker) -> (Vec<Got>, usize) {
        let image = broker.image();
        let mut left = self.max_bytes;
        let mut min_one = !self.hard_limit;
        let mut bytes = 0;
        let got = self
            .wants
            .iter()
            .map(|want| {
                let got = self.read(broker, &image, want, left, min_one);
                if let Got::Read(read) = &got
                    && read.size > 0
                {
                    min_one = false;
                    left = left.saturating_sub(read.size);
                    bytes += read.size;
                }
                got
            })
            .collect();
        (got, bytes)
    }

    fn read(&self, broker: &Broker, image: &Image, want: &Want, left: usize, min_one: bool) -> Got {
        let partition = match find(broker, image, want) {
            Ok(partition) => partition,
            Err(error) => return Got::Refused(error.into()),
        };
        let epoch = Some(want.current_leader_epoch);
        if want.last_fetched_epoch >= 0 {
            match partition.with_leader_log(epoch, |log| diverging(log, want)) {
                Err(error) => return Got::Refused(error),
                Ok(Some(got)) => return got,
                Ok(None) => {}
            }
        }
        let max_bytes = left.min(want.max_bytes.max(0) as usize);
        match partition.read(want.fetch_offset, max_bytes, self.limit, epoch, min_one) {
            Ok(read) => Got::Read(read),
            Err(error) => Got::Refused(error),
        }
    }

    /// Watches every partition for growth; false when one has grown already.
    fn watch_all(&mut self, broker: &Broker, got: &[Got], waker: &Waker) -> bool {
        let image = broker.image();
        for (want, got) in self.wants.iter().zip(got) {
            let (Ok(partition), Got::Read(read)) = (find(broker, &image, want), got) else { return false };
            match partition.watch(read.high_watermark + 1, waker) {
                Some(watch) => self.watches.push(watch),
                None => return false,
            }
        }
        true
    }

    fn respond(&mut self, broker: &Broker, now: Now, got: Vec<Got>) -> Option<Response> {
        let by_id = self.reply.version >= TOPIC_ID_VERSION;
        let told: Vec<Told> = got.iter().map(told).collect();
        let wants = std::mem::take(&mut self.wants);
        let mut include = vec![true; wants.len()];
        let session_id = match self.kind {
            FetchKind::Sessionless => 0,
            FetchKind::Full if self.reply.version < 7 => 0,
            FetchKind::Full => broker.fetch_sessions.open(now.mono, &broker.rng, by_id, wants.iter().cloned().zip(told.iter().copied())),
            FetchKind::Incremental { session_id } => {
                match broker.fetch_sessions.tell(session_id, &wants, &told) {
                    Some(which) => include = which,
                    None => {
                        return self
                            .reply
                            .encode(&FetchResponse { error_code: ErrorCode::FetchSessionIdNotFound.code(), ..Default::default() });
                    }
                }
                session_id
            }
        };
        let mut responses: Vec<FetchableTopicResponse> = Vec::new();
        for ((want, got), _) in wants.into_iter().zip(got).zip(include).filter(|(_, include)| *include) {
            count(broker, &want, &got);
            let data = partition_data(broker, self.reply.version, &want, got);
            match responses.last_mut().filter(|t| t.topic == *want.topic && t.topic_id == want.topic_id) {
                Some(topic) => topic.partitions.push(data),
                None => responses.push(FetchableTopicResponse {
                    topic: want.topic.to_string(),
                    topic_id: want.topic_id,
                    partitions: vec![data],
                    ..Default::default()
                }),
            }
        }
        self.reply.encode(&FetchResponse { session_id, responses, ..Default::default() })
    }
}

fn find(broker: &Broker, image: &Image, want: &Want) -> Result<Arc<Partition>, ErrorCode> {
    if want.topic_id.is_zero() {
        if image.topics.partition(&want.topic, want.partition).is_none() {
            return Err(ErrorCode::UnknownTopicOrPartition);
        }
        return broker.replicas().get(&want.topic, want.partition).ok_or(ErrorCode::NotLeaderOrFollower);
    }
    let topic = image.topics.get_by_id(want.topic_id).ok_or(ErrorCode::UnknownTopicId)?;
    if !topic.partitions.contains_key(&want.partition) {
        return Err(ErrorCode::UnknownTopicOrPartition);
    }
    broker.replicas().get_by_id(want.topic_id, want.partition).ok_or(ErrorCode::NotLeaderOrFollower)
}

/// Where the log parts from what the client has of it; None when it has the same.
fn diverging(log: &Log, want: &Want) -> Option<Got> {
    let Some((epoch, end_offset)) = log.end_offset_for_epoch(want.last_fetched_epoch) else {
        return Some(Got::Refused(ErrorCode::OffsetOutOfRange.into()));
    };
    // Whoever is below the log's start has to know that first: there is nothing to truncate to.
    if want.fetch_offset < log.log_start_offset() {
        return Some(Got::Refused(ErrorCode::OffsetOutOfRange.into()));
    }
    (epoch < want.last_fetched_epoch || end_offset < want.fetch_offset).then(|| Got::Diverging {
        epoch,
        end_offset,
        high_watermark: log.high_watermark(),
        last_stable_offset: log.last_stable_offset(),
        log_start_offset: log.log_start_offset(),
    })
}

/// Counts a partition as one fetched, for all topics and for its own.
fn count(broker: &Broker, want: &Want, got: &Got) {
    let metrics = broker.metrics();
    let own = match got {
        Got::Read(read) => Some(read.traffic.clone()),
        _ => broker.replicas().traffic_of(&want.topic),
    };
    for traffic in [Some(&metrics.traffic), own.as_deref()].into_iter().flatten() {
        traffic.fetch_requests.add(1);
        match got {
            Got::Read(read) => traffic.bytes_out.add(read.size as u64),
            Got::Refused(_) => traffic.failed_fetch.add(1),
            Got::Diverging { .. } => {}
        }
    }
}

fn told(got: &Got) -> Told {
    match got {
        Got::Read(read) => Told {
            has_records: read.size > 0,
            is_error: false,
            high_watermark: read.high_watermark,
            log_start_offset: read.log_start_offset,
            diverging: false,
        },
        Got::Diverging { high_watermark, log_start_offset, .. } => Told {
            has_records: false,
            is_error: false,
            high_watermark: *high_watermark,
            log_start_offset: *log_start_offset,
            diverging: true,
        },
        Got::Refused(_) => Told { has_records: false, is_error: true, high_watermark: -1, log_start_offset: -1, diverging: false },
    }
}

fn partition_data(broker: &Broker, version: i16, want: &Want, got: Got) -> PartitionData {
    let base = PartitionData { partition_index: want.partition, records: Some(Records::default()), ..Default::default() };
    match got {
        Got::Read(read) => PartitionData {
            high_watermark: read.high_watermark,
            last_stable_offset: read.last_stable_offset,
            log_start_offset: read.log_start_offset,
            aborted_transactions: read.aborted_transactions.map(|list| list.into_iter().map(aborted).collect()),
            records: Some(Records::from_segments(read.records)),
            ..base
        },
        Got::Diverging { epoch, end_offset, high_watermark, last_stable_offset, log_start_offset } => PartitionData {
            high_watermark,
            last_stable_offset,
            log_start_offset,
            diverging_epoch: EpochEndOffset { epoch, end_offset, ..Default::default() },
            aborted_transactions: None,
            ..base
        },
        Got::Refused(error) => {
            let mut data = PartitionData { error_code: error.code.code(), high_watermark: -1, ..base };
            if !matches!(error.code, ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId) {
                data.aborted_transactions = None;
            }
            if version >= LEADER_VERSION && matches!(error.code, ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch) {
                data.current_leader = leader(broker, want);
            }
            data
        }
    }
}

fn aborted((producer_id, first_offset): (i64, i64)) -> AbortedTransaction {
    AbortedTransaction { producer_id, first_offset, ..Default::default() }
}

fn leader(broker: &Broker, want: &Want) -> LeaderIdAndEpoch {
    let image = broker.image();
    match image.topics.partition(&want.topic, want.partition) {
        Some(p) => LeaderIdAndEpoch { leader_id: p.leader, leader_epoch: p.leader_epoch, ..Default::default() },
        None => LeaderIdAndEpoch::default(),
    }
}
