//! Owns: the fetcher task: finds positions for partitions that have none, keeps one fetch per broker under way, puts what comes back where
//! `poll` takes it, and commits automatically. Used by: `Consumer`, which starts it. Kafka: `Fetcher`, `OffsetFetcher`.

use super::shared::{Offsets, Shared};
use super::{offsets, validate};
use crate::core::accumulator::meaning::is_metadata_error;
use crate::core::completed_fetch::{CompletedFetch, end_of};
use crate::core::fetch_session::{FetchSession, Wanted};
use crate::core::metadata::MetadataCache;
use crate::core::subscription::Need;
use crate::driver::connection::Connection;
use crate::driver::thread::Clock;
use crate::error::{Error, Result};
use crate::types::IsolationLevel;
use base::{Instant, TopicPartition, Uuid};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::mpsc;
use wire::ErrorCode;
use wire::messages::fetch_response::PartitionData;
use wire::messages::{FetchRequest, FetchResponse};

/// The newest version of Fetch that names topics.
const LAST_VERSION_WITH_NAMES: i16 = 12;
/// From here on Fetch knows sessions (KIP-227).
const SESSIONS: i16 = 7;
/// How many answers per partition may wait for the application: one to take from while the next is under way.
const FETCHES_AHEAD: usize = 2;

enum Event {
    Fetched {
        node: i32,
        version: i16,
        connection: Arc<Connection>,
        asked: HashMap<TopicPartition, (u64, i64)>,
        sent: Instant,
        result: Result<Bytes>,
    },
    Connected(i32),
}

struct Fetcher {
    shared: Arc<Shared>,
    events: mpsc::UnboundedSender<Event>,
    sessions: HashMap<i32, FetchSession>,
    in_flight: HashSet<i32>,
    connecting: HashSet<i32>,
    next_commit: Option<Instant>,
}

pub async fn run(shared: Arc<Shared>) {
    let mut metadata = shared.cluster.watch_metadata();
    let (events, mut received) = mpsc::unbounded_channel();
    let next_commit = shared.config.auto_commit.map(|interval| shared.now() + interval);
    let mut fetcher = Fetcher {
        shared: shared.clone(),
        events,
        sessions: HashMap::new(),
        in_flight: HashSet::new(),
        connecting: HashSet::new(),
        next_commit,
    };
    loop {
        let end = shared.state().end_of_fetches.take();
        if let Some(end) = end {
            fetcher.close_sessions().await;
            // The consumer may be gone already.
            let _ = end.send(());
            return;
        }
        let next = fetcher.turn();
        let deadline = next.map(|next| shared.cluster.clock().to_tokio(next));
        let sleep = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(event) = received.recv() => fetcher.handle(event),
            changed = metadata.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = shared.fetch.notified() => {}
            () = sleep => {}
        }
    }
}

impl Fetcher {
    /// Starts whatever should be under way; returns when to look again.
    fn turn(&mut self) -> Option<Instant> {
        let now = self.shared.now();
        let metadata = self.shared.cluster.metadata();
        self.auto_commit(now);
        self.act_on_out_of_range();
        offsets::look_up_committed(&self.shared, now);
        offsets::look_up_offsets(&self.shared, now);
        validate::check_leaders(&self.shared, &metadata, now);
        self.fetch(&metadata);
        let retry = self.shared.state().partitions.next_retry(now);
        [retry, self.next_commit].into_iter().flatten().min()
    }

    fn auto_commit(&mut self, now: Instant) {
        let (Some(due), Some(interval)) = (self.next_commit, self.shared.config.auto_commit) else { return };
        if now < due {
            return;
        }
        self.next_commit = Some(now + interval);
        let offsets = self.shared.processed_offsets();
        let unchanged = {
            let state = self.shared.state();
            let member = state.subscription.is_group() && state.member.generation < 0;
            member || state.auto_committing || offsets == state.last_auto_commit
        };
        if unchanged || offsets.is_empty() {
            return;
        }
        let shared = self.shared.clone();
        shared.state().auto_committing = true;
        tokio::spawn(async move {
            let deadline = shared.now() + shared.config.connection.request_timeout;
            commit_and_remember(&shared, offsets, deadline).await;
            shared.state().auto_committing = false;
        });
    }

    /// A partition whose fetch offset is gone starts again by the policy, once everything buffered was taken.
    fn act_on_out_of_range(&mut self) {
        let mut state = self.shared.state();
        let due: Vec<(TopicPartition, i64)> = state
            .partitions
            .iter()
            .filter(|(_, partition)| partition.out_of_range && partition.buffered_fetches == 0)
            .map(|(name, partition)| (name.clone(), partition.fetch_offset))
            .collect();
        for (partition, offset) in due {
            match self.shared.config.reset.spec(Clock::wall_ms()) {
                Some(spec) => {
                    tracing::info!("fetch position {offset} of {partition} is out of range, resetting it");
                    state.partitions.reset(&partition, spec);
                }
                None => {
                    state.errors.push_back(Error::OffsetOutOfRange { partition: partition.to_string(), offset });
                    if let Some(partition) = state.partitions.get_mut(&partition) {
                        partition.out_of_range = false;
                        partition.retry_at = self.shared.now() + self.shared.config.connection.retry_backoff;
                    }
                    self.shared.data.notify_one();
                }
            }
        }
    }

    /// One fetch for every broker that leads something wanted and has none under way.
    fn fetch(&mut self, metadata: &MetadataCache) {
        let config = &self.shared.config;
        let mut by_leader: BTreeMap<i32, BTreeMap<TopicPartition, Wanted>> = BTreeMap::new();
        let mut epochs: HashMap<TopicPartition, (u64, i64)> = HashMap::new();
        let mut full: HashSet<i32> = HashSet::new();
        let mut leaderless = false;
        {
            let state = self.shared.state();
            if state.buffered_bytes >= config.fetch_max_bytes.max(1) as usize {
                return;
            }
            let now = self.shared.now();
            for (partition, current) in state.partitions.iter() {
                let wanted = current.position.is_some() && current.need == Need::Nothing && !current.paused && !current.out_of_range;
                if !wanted || current.retry_at > now {
                    continue;
                }
                let Some((leader, leader_epoch)) = metadata.leader(partition) else {
                    leaderless = true;
                    continue;
                };
                let leader = current.read_from(now).filter(|node| metadata.can_serve(partition, *node)).unwrap_or(leader);
                if current.buffered_fetches >= FETCHES_AHEAD {
                    // A fetch without this partition could wait at the broker long after the application has caught up.
                    full.insert(leader);
                    continue;
                }
                let entry = Wanted {
                    topic_id: metadata.topic_id(&partition.topic).unwrap_or(Uuid::ZERO),
                    fetch_offset: current.fetch_offset,
                    leader_epoch,
                    max_bytes: config.max_partition_fetch_bytes,
                };
                epochs.insert(partition.clone(), (current.epoch, current.fetch_offset));
                by_leader.entry(leader).or_default().insert(partition.clone(), entry);
            }
        }
        if leaderless {
            self.shared.cluster.refresh_metadata();
        }
        for (node, wanted) in by_leader {
            if full.contains(&node) || self.in_flight.contains(&node) {
                continue;
            }
            match self.shared.cluster.existing_connection(node) {
                Some(connection) => {
                    let asked = wanted.keys().filter_map(|name| Some((name.clone(), *epochs.get(name)?))).collect();
                    self.send_fetch(node, &connection, wanted, asked);
                }
                None => self.connect(node),
            }
        }
    }

    /// So that brokers need not remember them until their cache is full. Waits behind fetches that are under way, as Java does.
    async fn close_sessions(&mut self) {
        let deadline = self.shared.now() + self.shared.config.connection.request_timeout;
        let mut closing = tokio::task::JoinSet::new();
        for (node, session) in std::mem::take(&mut self.sessions) {
            let (Some(part), Some(connection)) = (session.close(), self.shared.cluster.existing_connection(node)) else { continue };
            let Ok(version) = connection.versions.choose::<FetchRequest>(SESSIONS, i16::MAX, connection.name()) else { continue };
            let request = FetchRequest { session_id: part.id, session_epoch: part.epoch, ..Default::default() };
            closing.spawn(async move {
                if let Err(error) = connection.request(&request, version, deadline).await {
                    tracing::debug!(node, session = request.session_id, "the fetch session was not closed: {error}");
                }
            });
        }
        closing.join_all().await;
    }

    fn connect(&mut self, node: i32) {
        if !self.connecting.insert(node) {
            return;
        }
        let (shared, events) = (self.shared.clone(), self.events.clone());
        tokio::spawn(async move {
            let deadline = shared.now() + shared.config.connection.connection_setup_timeout_max;
            if let Err(error) = shared.cluster.connection(node, deadline).await {
                tracing::debug!("{error}");
                shared.cluster.refresh_metadata();
                tokio::time::sleep(shared.config.connection.reconnect_backoff).await;
            }
            // The fetcher may be gone already.
            let _ = events.send(Event::Connected(node));
        });
    }

    fn send_fetch(
        &mut self,
        node: i32,
        connection: &Arc<Connection>,
        wanted: BTreeMap<TopicPartition, Wanted>,
        asked: HashMap<TopicPartition, (u64, i64)>,
    ) {
        let config = &self.shared.config;
        let session = self.sessions.entry(node).or_default();
        let part = session.build(wanted);
        let newest = if part.all_ids { i16::MAX } else { LAST_VERSION_WITH_NAMES };
        let version = match connection.versions.choose::<FetchRequest>(4, newest, connection.name()) {
            Ok(version) => version,
            Err(error) => {
                session.on_failure();
                self.shared.report(error);
                return;
            }
        };
        let request = FetchRequest {
            max_wait_ms: i32::try_from(config.fetch_max_wait.as_millis()).unwrap_or(i32::MAX),
            min_bytes: config.fetch_min_bytes,
            max_bytes: config.fetch_max_bytes,
            isolation_level: config.isolation.code(),
            session_id: part.id,
            session_epoch: part.epoch,
            topics: part.topics,
            forgotten_topics_data: part.forgotten,
            rack_id: config.client_rack.clone(),
            ..Default::default()
        };
        self.in_flight.insert(node);
        tracing::trace!(node, version, session = request.session_id, epoch = request.session_epoch, ?asked, "fetch");
        let (events, answered) = (self.events.clone(), connection.clone());
        let sent = self.shared.now();
        let deadline = sent + config.connection.request_timeout.max(config.fetch_max_wait * 2);
        let sink = Box::new(move |result| {
            // The fetcher may be gone already.
            let _ = events.send(Event::Fetched { node, version, connection: answered, asked, sent, result });
        });
        connection.send(&request, version, sent, deadline, sink);
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Connected(node) => {
                self.connecting.remove(&node);
            }
            Event::Fetched { node, version, connection, asked, sent, result } => {
                self.in_flight.remove(&node);
                self.measure(sent, &result);
                let response = result.and_then(|body| connection.decode::<FetchResponse>(body, version));
                match response {
                    Ok(response) => self.handle_response(node, version, asked, response),
                    Err(error) => {
                        tracing::debug!("fetch failed: {error}");
                        self.shared.state().partitions.forget_preferred(asked.keys());
                        self.sessions.entry(node).or_default().on_failure();
                        self.shared.cluster.refresh_metadata();
                    }
                }
            }
        }
    }

    fn measure(&self, sent: Instant, result: &Result<Bytes>) {
        let Ok(body) = result else { return };
        let micros = u64::try_from(self.shared.now().saturating_since(sent).as_micros()).unwrap_or(u64::MAX);
        let mut state = self.shared.state();
        let counters = &mut state.counters;
        counters.fetch_micros = counters.fetch_micros.saturating_add(micros);
        counters.fetch_micros_max = counters.fetch_micros_max.max(micros);
        counters.fetch_bytes_max = counters.fetch_bytes_max.max(body.len() as u64);
    }

    fn handle_response(&mut self, node: i32, version: i16, asked: HashMap<TopicPartition, (u64, i64)>, response: FetchResponse) {
        let session = self.sessions.entry(node).or_default();
        if !session.on_response(&response) {
            tracing::debug!(node, "fetch session starts over: {}", ErrorCode::from_code(response.error_code));
            return;
        }
        tracing::trace!(node, session = response.session_id, topics = response.responses.len(), "fetched");
        let mut news = false;
        for topic in response.responses {
            let name =
                if version > LAST_VERSION_WITH_NAMES { session.topic_of(topic.topic_id).map(str::to_owned) } else { Some(topic.topic) };
            let Some(name) = name else { continue };
            for data in topic.partitions {
                let partition = TopicPartition::new(&name, data.partition_index);
                if let Some((epoch, offset)) = asked.get(&partition) {
                    news |= handle_partition(&self.shared, partition, *epoch, *offset, data);
                }
            }
        }
        let mut state = self.shared.state();
        state.counters.fetches += 1;
        drop(state);
        if news {
            self.shared.data.notify_one();
        }
    }
}

/// Takes in one partition of an answer; true if poll has something to see.
fn handle_partition(shared: &Shared, partition: TopicPartition, epoch: u64, asked: i64, data: PartitionData) -> bool {
    if data.current_leader.leader_epoch >= 0 {
        shared.cluster.learn_leader(&partition, data.current_leader.leader_id, data.current_leader.leader_epoch);
    }
    let retry_at = shared.now() + shared.config.connection.retry_backoff;
    let mut guard = shared.state();
    let state = &mut *guard;
    let Some(current) = state.partitions.current(&partition, epoch) else { return false };
    if current.fetch_offset != asked {
        return false;
    }
    let code = ErrorCode::from_code(data.error_code);
    match code {
        ErrorCode::None => {}
        ErrorCode::OffsetOutOfRange if current.preferred.take().is_some() => {
            // A follower may lag behind; the leader knows.
            shared.fetch.notify_one();
            return false;
        }
        ErrorCode::OffsetOutOfRange => {
            current.out_of_range = true;
            shared.fetch.notify_one();
            return false;
        }
        ErrorCode::TopicAuthorizationFailed => {
            current.retry_at = retry_at;
            let text = format!("Not authorized to access topics: [{}]", partition.topic);
            state.errors.push_back(Error::broker(code, Some(text)));
            return true;
        }
        ErrorCode::CorruptMessage => {
            current.retry_at = retry_at;
            let text = format!("Encountered corrupt message when fetching offset {asked} for topic-partition {partition}");
            state.errors.push_back(Error::CorruptRecord(text));
            return true;
        }
        code => {
            current.retry_at = retry_at;
            current.preferred = None;
            if is_metadata_error(code) || matches!(code, ErrorCode::OffsetNotAvailable | ErrorCode::UnknownLeaderEpoch) {
                shared.cluster.refresh_metadata();
            } else {
                tracing::warn!("fetch of {partition} at offset {asked} failed: {code}");
            }
            return false;
        }
    }
    current.high_watermark = Some(data.high_watermark);
    current.last_stable_offset = Some(data.last_stable_offset).filter(|offset| *offset >= 0);
    current.log_start_offset = Some(data.log_start_offset).filter(|offset| *offset >= 0);
    if data.preferred_read_replica >= 0 {
        // The leader knows a replica nearer to us (KIP-392).
        let until = shared.now() + shared.config.connection.metadata_max_age;
        current.preferred = Some((data.preferred_read_replica, until));
        shared.fetch.notify_one();
    }
    let Some(Ok(bytes)) = data.records.map(|records| records.to_bytes()) else { return false };
    if bytes.is_empty() {
        return false;
    }
    let (next, last_epoch) = end_of(&bytes, asked);
    current.fetch_offset = next;
    current.fetch_epoch = last_epoch.or(current.fetch_epoch);
    current.buffered_fetches += 1;
    let aborted = (shared.config.isolation == IsolationLevel::ReadCommitted).then(|| {
        let aborted = data.aborted_transactions.unwrap_or_default();
        aborted.into_iter().map(|transaction| (transaction.producer_id, transaction.first_offset)).collect()
    });
    state.buffered_bytes += bytes.len();
    state.ready.push_back(CompletedFetch::new(partition, epoch, asked, bytes, aborted, shared.config.check_crcs));
    true
}

/// Commits automatically; failures are only logged, the next commit makes up for them. An epoch that moved on meanwhile is another attempt.
pub async fn commit_and_remember(shared: &Shared, offsets: Offsets, deadline: Instant) {
    let mut attempts = 0;
    loop {
        let error = match shared.commit(&offsets, deadline).await {
            Ok(()) => {
                shared.state().last_auto_commit = offsets;
                return;
            }
            Err(error) => error,
        };
        let delay = shared.cluster.backoff_delay(attempts);
        attempts += 1;
        let newer_epoch = error.code() == Some(ErrorCode::StaleMemberEpoch) && shared.state().member.generation > 0;
        if !newer_epoch || shared.now() + delay >= deadline {
            if error.is_retriable() {
                tracing::debug!("automatic offset commit failed: {error}");
            } else {
                tracing::warn!("automatic offset commit failed: {error}");
            }
            return;
        }
        shared.sleep(delay).await;
    }
}
