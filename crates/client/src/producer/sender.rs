//! Owns: the sender task: takes ready batches out of the accumulator, seals and sends them, feeds answers back, keeps the producer id.
//! Used by: `Producer`, which starts it on its network thread. Every decision is the accumulator's. Kafka: `Sender`.

use super::coordinate::{self, Coordinators};
use super::{DeliveryReport, Shared};
use crate::core::accumulator::{PartitionAnswer, Request, Sent};
use crate::core::batch::Outcome;
use crate::core::idempotence::ProducerId;
use crate::core::transaction::{Answer, Next, TransactionRequest};
use crate::driver::connection::Connection;
use crate::driver::{Cluster, CoordinatorKind};
use crate::error::Error;
use base::{TopicPartition, Uuid};
use bytes::Bytes;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::mpsc;
use wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use wire::messages::{InitProducerIdRequest, ProduceRequest, ProduceResponse};
use wire::{ErrorCode, Records};

/// The newest version of Produce that names topics.
const LAST_VERSION_WITH_NAMES: i16 = 12;
/// The newest version of Produce that does not add partitions to a transaction (KIP-890).
const LAST_VERSION_WITHOUT_ADDING: i16 = 11;

enum Event {
    Answer {
        request: u64,
        node: i32,
        version: i16,
        connection: Arc<Connection>,
        result: Result<Bytes, Error>,
    },
    /// A connection attempt ended, well or badly.
    Connected(i32),
    ProducerId(Result<ProducerId, Error>),
    /// A request of the transaction was answered, by this coordinator.
    Transaction {
        kind: CoordinatorKind,
        key: String,
        node: Option<i32>,
        answer: Answer,
    },
}

struct Sender {
    cluster: Cluster,
    shared: Arc<Shared>,
    events: mpsc::UnboundedSender<Event>,
    in_flight: HashMap<i32, usize>,
    connecting: HashSet<i32>,
    asking_for_id: bool,
    coordinators: Coordinators,
    /// For matching answers by topic id; topics never change their place in the accumulator.
    topics_in_request: HashMap<u64, Vec<(usize, Arc<str>, Uuid)>>,
}

/// However the task ends, nobody waits for it in vain.
struct EndOfSender(Arc<Shared>);

impl Drop for EndOfSender {
    fn drop(&mut self) {
        self.0.accumulator().abort(&Error::Closed("Producer is closed forcefully.".into()));
        report(&self.0);
        self.0.progress.notify_waiters();
    }
}

pub(super) async fn run(cluster: Cluster, shared: Arc<Shared>) {
    let _end = EndOfSender(shared.clone());
    let mut metadata = cluster.watch_metadata();
    let (events, mut received) = mpsc::unbounded_channel();
    let mut sender = Sender {
        cluster,
        shared,
        events,
        in_flight: HashMap::new(),
        connecting: HashSet::new(),
        asking_for_id: false,
        coordinators: Coordinators::default(),
        topics_in_request: HashMap::new(),
    };
    let shared = sender.shared.clone();
    // Set anew only for an earlier time: mostly it is one that is never reached, such as the delivery timeout of what leaves now.
    let mut sleep = std::pin::pin!(sender.cluster.thread().sleep_until(base::Instant::FAR_FUTURE));
    let mut wakes_at = base::Instant::FAR_FUTURE;
    loop {
        if let Some(next) = sender.send_ready()
            && next < wakes_at
        {
            sleep.as_mut().reset(sender.cluster.clock().to_tokio(next));
            wakes_at = next;
        }
        tokio::select! {
            biased;
            event = received.recv() => {
                let mut event = event;
                while let Some(now) = event {
                    sender.handle(now);
                    event = received.try_recv().ok();
                }
                report(&shared);
            }
            changed = metadata.changed() => {
                if changed.is_err() {
                    return;
                }
                let cache = metadata.borrow_and_update().clone();
                shared.accumulator().update_metadata(&cache, None);
            }
            () = shared.work.notified() => {}
            () = &mut sleep, if wakes_at < base::Instant::FAR_FUTURE => wakes_at = base::Instant::FAR_FUTURE,
        }
    }
}

impl Sender {
    /// Sends everything that may go; returns when to look again.
    fn send_ready(&mut self) -> Option<base::Instant> {
        loop {
            let now = self.cluster.clock().mono();
            let (cluster, in_flight, max) = (&self.cluster, &self.in_flight, self.shared.config.max_in_flight);
            let can_send = |node: i32| in_flight.get(&node).copied().unwrap_or(0) < max && cluster.existing_connection(node).is_some();
            let drained = self.shared.accumulator().drain(now, can_send);
            report(&self.shared);
            if drained.need_metadata {
                self.cluster.refresh_metadata();
            }
            if drained.need_producer_id {
                self.ask_for_producer_id();
            }
            for node in &drained.waiting_nodes {
                self.connect(*node);
            }
            tracing::trace!(
                requests = drained.requests.len(),
                next = ?drained.next,
                waiting = ?drained.waiting_nodes,
                need_metadata = drained.need_metadata,
                need_producer_id = drained.need_producer_id,
                "drained"
            );
            let idle = drained.requests.is_empty();
            for request in drained.requests {
                self.send(request);
            }
            if idle {
                let look_again = self.go_on_with_transaction(now);
                return drained.next.into_iter().chain(look_again).min();
            }
        }
    }

    /// Sends what the transaction needs next; returns when to look again.
    fn go_on_with_transaction(&mut self, now: base::Instant) -> Option<base::Instant> {
        loop {
            let next = self.shared.accumulator().next_transaction_request(now);
            match next {
                Next::Nothing => return None,
                Next::At(instant) => return Some(instant),
                Next::Finished => self.shared.progress.notify_waiters(),
                Next::Send(request) => self.ask_coordinator(request),
            }
        }
    }

    fn ask_coordinator(&self, request: TransactionRequest) {
        let (kind, key) = coordinate::target(&request);
        let known = self.coordinators.of(kind, &key);
        tracing::trace!(?request, ?known, "transaction");
        let (cluster, events) = (self.cluster.clone(), self.events.clone());
        self.cluster.thread().spawn(async move {
            let (node, answer) = coordinate::carry_out(&cluster, request, known).await;
            // The sender may be gone already.
            let _ = events.send(Event::Transaction { kind, key, node, answer });
        });
    }

    fn connect(&mut self, node: i32) {
        if self.cluster.existing_connection(node).is_some() || !self.connecting.insert(node) {
            return;
        }
        let (cluster, events) = (self.cluster.clone(), self.events.clone());
        self.cluster.thread().spawn(async move {
            let deadline = cluster.clock().mono() + cluster.config().connection_setup_timeout_max;
            if let Err(error) = cluster.connection(node, deadline).await {
                tracing::debug!("{error}");
                // An unknown or unreachable leader: there may be a new one.
                cluster.refresh_metadata();
                tokio::time::sleep(cluster.config().reconnect_backoff).await;
            }
            // The sender may be gone already.
            let _ = events.send(Event::Connected(node));
        });
    }

    fn ask_for_producer_id(&mut self) {
        if std::mem::replace(&mut self.asking_for_id, true) {
            return;
        }
        let (cluster, events) = (self.cluster.clone(), self.events.clone());
        self.cluster.thread().spawn(async move {
            let deadline = cluster.clock().mono() + cluster.config().request_timeout;
            let result = init_producer_id(&cluster, deadline).await;
            if result.as_ref().is_err_and(Error::is_retriable) {
                tokio::time::sleep(cluster.config().retry_backoff).await;
            }
            let _ = events.send(Event::ProducerId(result));
        });
    }

    fn send(&mut self, mut request: Request) {
        let now = self.cluster.clock().mono();
        let Some(connection) = self.cluster.existing_connection(request.node) else {
            let error = Error::Disconnected("the connection was lost before the request left".into());
            let mut accumulator = self.shared.accumulator();
            accumulator.sent(request.id, request.batches);
            accumulator.fail_request(request.id, now, &error);
            return;
        };
        let codec = self.shared.config.codec;
        let transaction =
            self.shared.accumulator().transactions().map(|transactions| (transactions.id().to_owned(), transactions.version2()));
        let transactional = transaction.is_some();
        let without_adding = transaction.as_ref().is_some_and(|(_, version2)| !version2);
        let mut sealed = Vec::with_capacity(request.batches.len());
        for sent in &mut request.batches {
            match sent.batch.seal(codec, transactional) {
                Ok(bytes) => sealed.push(bytes),
                Err(error) => {
                    let error = Error::CorruptRecord(format!("a batch could not be compressed: {error}"));
                    let mut accumulator = self.shared.accumulator();
                    accumulator.sent(request.id, request.batches);
                    accumulator.fail_request(request.id, now, &Error::broker(ErrorCode::UnknownServerError, Some(error.to_string())));
                    return;
                }
            }
        }
        let (mut message, topics) = self.produce_request(&request.batches, sealed);
        message.transactional_id = transaction.map(|(id, _)| id);
        let newest = match topics.iter().any(|(_, _, id)| id.is_zero()) {
            _ if without_adding => LAST_VERSION_WITHOUT_ADDING,
            true => LAST_VERSION_WITH_NAMES,
            false => i16::MAX,
        };
        let version = connection.versions.choose::<ProduceRequest>(3, newest, connection.name());
        let (id, node) = (request.id, request.node);
        self.shared.accumulator().sent(id, request.batches);
        let version = match version {
            Ok(version) => version,
            Err(error) => {
                self.shared.accumulator().fail_request(id, now, &error);
                return;
            }
        };
        tracing::trace!(id, node, batches = message.topic_data.iter().map(|topic| topic.partition_data.len()).sum::<usize>(), "produce");
        self.topics_in_request.insert(id, topics);
        *self.in_flight.entry(node).or_default() += 1;
        let (events, answered) = (self.events.clone(), connection.clone());
        let sink = Box::new(move |result| {
            // The sender may be gone already.
            let _ = events.send(Event::Answer { request: id, node, version, connection: answered, result });
        });
        if message.acks == 0 {
            connection.send_without_response(&message, version, sink);
        } else {
            connection.send(&message, version, now + self.shared.config.request_timeout, sink);
        }
    }

    fn produce_request(&self, batches: &[Sent], sealed: Vec<Bytes>) -> (ProduceRequest, Vec<(usize, Arc<str>, Uuid)>) {
        let mut topics: Vec<(usize, Arc<str>, Uuid)> = Vec::new();
        let mut topic_data: Vec<TopicProduceData> = Vec::new();
        let accumulator = self.shared.accumulator();
        for (sent, bytes) in batches.iter().zip(sealed) {
            let data = PartitionProduceData { index: sent.partition, records: Some(Records::from(bytes)), ..Default::default() };
            match topics.iter().position(|(topic, _, _)| *topic == sent.topic) {
                Some(position) => topic_data[position].partition_data.push(data),
                None => {
                    let (name, topic_id) = (accumulator.topic_name(sent.topic).clone(), accumulator.topic_id(sent.topic));
                    topic_data.push(TopicProduceData {
                        name: name.to_string(),
                        topic_id,
                        partition_data: vec![data],
                        ..Default::default()
                    });
                    topics.push((sent.topic, name, topic_id));
                }
            }
        }
        let request = ProduceRequest {
            acks: self.shared.config.acks,
            timeout_ms: i32::try_from(self.shared.config.request_timeout.as_millis()).unwrap_or(i32::MAX),
            topic_data,
            ..Default::default()
        };
        (request, topics)
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Connected(node) => {
                self.connecting.remove(&node);
            }
            Event::ProducerId(result) => {
                self.asking_for_id = false;
                match result {
                    Ok(producer) => self.shared.accumulator().set_producer_id(producer),
                    Err(error) if error.is_retriable() => tracing::debug!("no producer id yet: {error}"),
                    Err(error) => self.shared.accumulator().set_fatal(error),
                }
            }
            Event::Transaction { kind, key, node, answer } => {
                tracing::trace!(?node, ?answer, "transaction answered");
                if let Some(node) = node {
                    self.coordinators.learn(kind, key, node);
                }
                let (features, now) = (self.cluster.features(), self.cluster.clock().mono());
                if let Some(kind) = self.shared.accumulator().transaction_answered(answer, features, now) {
                    self.coordinators.forget(kind);
                }
                self.shared.progress.notify_waiters();
            }
            Event::Answer { request, node, version, connection, result } => {
                if let Some(count) = self.in_flight.get_mut(&node) {
                    *count = count.saturating_sub(1);
                }
                let topics = self.topics_in_request.remove(&request).unwrap_or_default();
                self.handle_answer(request, version, &connection, &topics, result);
            }
        }
    }

    fn handle_answer(
        &mut self,
        request: u64,
        version: i16,
        connection: &Connection,
        topics: &[(usize, Arc<str>, Uuid)],
        result: Result<Bytes, Error>,
    ) {
        let now = self.cluster.clock().mono();
        tracing::trace!(request, ok = result.is_ok(), "answer");
        if self.shared.config.acks == 0 && result.is_ok() {
            let written = |_, _| Some(PartitionAnswer { base_offset: -1, log_append_time: -1, ..Default::default() });
            self.shared.accumulator().complete(request, now, written);
            return;
        }
        let response = match result.and_then(|body| connection.decode::<ProduceResponse>(body, version)) {
            Ok(response) => response,
            Err(error) => {
                self.shared.accumulator().fail_request(request, now, &error);
                self.cluster.refresh_metadata();
                return;
            }
        };
        let mut answers: HashMap<(usize, i32), PartitionAnswer> = HashMap::new();
        for topic in response.responses {
            let by_id = version > LAST_VERSION_WITH_NAMES;
            let known = topics.iter().find(|(_, name, id)| if by_id { *id == topic.topic_id } else { **name == *topic.name });
            let Some((index, name, _)) = known else { continue };
            for partition in topic.partition_responses {
                if partition.current_leader.leader_epoch >= 0 {
                    let tp = TopicPartition::new(&**name, partition.index);
                    self.cluster.learn_leader(&tp, partition.current_leader.leader_id, partition.current_leader.leader_epoch);
                }
                let record_errors = partition.record_errors.into_iter().map(|error| (error.batch_index, error.batch_index_error_message));
                let answer = PartitionAnswer {
                    code: partition.error_code,
                    base_offset: partition.base_offset,
                    log_append_time: partition.log_append_time_ms,
                    log_start_offset: partition.log_start_offset,
                    message: partition.error_message,
                    record_errors: record_errors.collect(),
                };
                answers.insert((*index, partition.index), answer);
            }
        }
        let stale = self.shared.accumulator().complete(request, now, |topic, partition| answers.remove(&(topic, partition)));
        if stale {
            self.cluster.refresh_metadata();
        }
    }
}

async fn init_producer_id(cluster: &Cluster, deadline: base::Instant) -> Result<ProducerId, Error> {
    let connection = cluster.any_connection(deadline).await?;
    let request = InitProducerIdRequest { transactional_id: None, transaction_timeout_ms: i32::MAX, ..Default::default() };
    let response = cluster.request_on(&connection, &request, deadline).await?;
    Error::check(response.error_code, None)?;
    Ok(ProducerId { id: response.producer_id, epoch: response.producer_epoch })
}

/// Tells everybody about finished batches; outside the lock.
pub(super) fn report(shared: &Shared) {
    let completions = {
        let mut accumulator = shared.accumulator();
        accumulator.take_completions()
    };
    if completions.is_empty() {
        return;
    }
    shared.memory.notify_waiters();
    let mut flush_ids = Vec::with_capacity(completions.len());
    for completion in completions {
        if let (Some(listener), false) = (&shared.listener, completion.tags.is_empty()) {
            tell(listener.as_ref(), &completion.topic, completion.partition, &completion.tags, &completion.result);
        }
        if let Some(outcome) = completion.outcome {
            outcome.complete(completion.result);
        }
        if !shared.interceptors.is_empty() {
            shared.interceptors.progress(&completion.topic, completion.partition);
        }
        flush_ids.extend(completion.flush_id);
    }
    shared.accumulator().reported(flush_ids.into_iter());
    shared.progress.notify_waiters();
}

fn tell(listener: &dyn super::DeliveryListener, topic: &Arc<str>, partition: i32, tags: &[u64], result: &Outcome) {
    match result {
        Outcome::Written { base_offset, .. } => {
            listener.on_delivery(&DeliveryReport { topic, partition, base_offset: *base_offset, tags, result: Ok(()) });
        }
        Outcome::Failed(failure) if failure.by_record.is_empty() => {
            listener.on_delivery(&DeliveryReport { topic, partition, base_offset: -1, tags, result: Err(&failure.error) });
        }
        Outcome::Failed(failure) => {
            for (index, tag) in tags.iter().enumerate() {
                let error = failure.error_of(index as u32);
                listener.on_delivery(&DeliveryReport {
                    topic,
                    partition,
                    base_offset: -1,
                    tags: std::slice::from_ref(tag),
                    result: Err(error),
                });
            }
        }
        // The parts carry the tags.
        Outcome::Split(_) => {}
    }
}
