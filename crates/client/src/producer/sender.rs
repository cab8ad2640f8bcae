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
use std::collections::{BTreeMap, HashSet};
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use wire::messages::{InitProducerIdRequest, ProduceRequest, ProduceResponse};
use wire::{ErrorCode, Records};

/// The newest version of Produce that names topics.
const LAST_VERSION_WITH_NAMES: i16 = 12;
/// The newest version of Produce that does not add partitions to a transaction (KIP-890).
const LAST_VERSION_WITHOUT_ADDING: i16 = 11;

pub(super) enum Event {
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
    /// Requests that are not answered yet, by node.
    in_flight: BTreeMap<i32, Arc<AtomicUsize>>,
    connecting: HashSet<i32>,
    asking_for_id: bool,
    coordinators: Coordinators,
}

/// However the task ends, nobody waits for it in vain.
struct EndOfSender(Arc<Shared>);

impl Drop for EndOfSender {
    fn drop(&mut self) {
        self.0.inbox.close();
        self.0.accumulator().abort(&Error::Closed("Producer is closed forcefully.".into()));
        report(&self.0);
        self.0.progress.notify_waiters();
    }
}

pub(super) async fn run(cluster: Cluster, shared: Arc<Shared>) {
    let _end = EndOfSender(shared.clone());
    let mut sender = Sender {
        cluster,
        shared: shared.clone(),
        in_flight: BTreeMap::new(),
        connecting: HashSet::new(),
        asking_for_id: false,
        coordinators: Coordinators::default(),
    };
    let mut events = Vec::new();
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
        poll_fn(|context| {
            if shared.inbox.poll(context.waker(), &mut events).is_ready() {
                return Poll::Ready(());
            }
            if wakes_at == base::Instant::FAR_FUTURE {
                return Poll::Pending;
            }
            sleep.as_mut().poll(context).map(|()| wakes_at = base::Instant::FAR_FUTURE)
        })
        .await;
        for event in events.drain(..) {
            sender.handle(event);
        }
        report(&shared);
    }
}

/// Tells the accumulator of new leaders and partitions, as long as the client lives.
pub(super) async fn follow_metadata(cluster: Cluster, shared: Arc<Shared>) {
    let mut metadata = cluster.watch_metadata();
    drop(cluster);
    while metadata.changed().await.is_ok() {
        let cache = metadata.borrow_and_update().clone();
        shared.accumulator().update_metadata(&cache, None);
        shared.inbox.wake();
    }
}

impl Sender {
    /// Sends everything that may go; returns when to look again.
    fn send_ready(&mut self) -> Option<base::Instant> {
        loop {
            let now = self.cluster.clock().mono();
            let (cluster, in_flight, max) = (&self.cluster, &self.in_flight, self.shared.config.max_in_flight);
            let room = |node: i32| in_flight.get(&node).is_none_or(|count| count.load(Ordering::Relaxed) < max);
            let can_send = |node: i32| room(node) && cluster.existing_connection(node).is_some();
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
            let due = drained.next.is_some_and(|next| next <= now);
            let again = !drained.requests.is_empty() && (drained.more || due);
            for request in drained.requests {
                self.send(request, now);
            }
            if !again {
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
        let (cluster, shared) = (self.cluster.clone(), self.shared.clone());
        self.cluster.thread().spawn(async move {
            let (node, answer) = coordinate::carry_out(&cluster, request, known).await;
            shared.inbox.post(Event::Transaction { kind, key, node, answer });
        });
    }

    fn connect(&mut self, node: i32) {
        if self.cluster.existing_connection(node).is_some() || !self.connecting.insert(node) {
            return;
        }
        let (cluster, shared) = (self.cluster.clone(), self.shared.clone());
        self.cluster.thread().spawn(async move {
            let deadline = cluster.clock().mono() + cluster.config().connection_setup_timeout_max;
            if let Err(error) = cluster.connection(node, deadline).await {
                tracing::debug!("{error}");
                // An unknown or unreachable leader: there may be a new one.
                cluster.refresh_metadata();
                tokio::time::sleep(cluster.config().reconnect_backoff).await;
            }
            shared.inbox.post(Event::Connected(node));
        });
    }

    fn ask_for_producer_id(&mut self) {
        if std::mem::replace(&mut self.asking_for_id, true) {
            return;
        }
        let (cluster, shared) = (self.cluster.clone(), self.shared.clone());
        self.cluster.thread().spawn(async move {
            let deadline = cluster.clock().mono() + cluster.config().request_timeout;
            let result = init_producer_id(&cluster, deadline).await;
            if result.as_ref().is_err_and(Error::is_retriable) {
                tokio::time::sleep(cluster.config().retry_backoff).await;
            }
            shared.inbox.post(Event::ProducerId(result));
        });
    }

    fn send(&mut self, mut request: Request, now: base::Instant) {
        let Some(connection) = self.cluster.existing_connection(request.node) else {
            return self.refuse(request, now, &Error::Disconnected("the connection was lost before the request left".into()));
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
                    return self.refuse(request, now, &Error::broker(ErrorCode::UnknownServerError, Some(error.to_string())));
                }
            }
        }
        let topics = self.topics_of(&request.batches);
        let newest = match topics.iter().any(|topic| topic.id.is_zero()) {
            _ if without_adding => LAST_VERSION_WITHOUT_ADDING,
            true => LAST_VERSION_WITH_NAMES,
            false => i16::MAX,
        };
        let version = match connection.versions.choose::<ProduceRequest>(3, newest, connection.name()) {
            Ok(version) => version,
            Err(error) => return self.refuse(request, now, &error),
        };
        let message = self.produce_request(&request.batches, sealed, &topics, version, transaction.map(|(id, _)| id));
        let Request { id, node, batches, .. } = request;
        self.shared.accumulator().sent(id, batches);
        tracing::trace!(id, node, batches = message.topic_data.iter().map(|topic| topic.partition_data.len()).sum::<usize>(), "produce");
        let in_flight = self.in_flight.entry(node).or_default().clone();
        in_flight.fetch_add(1, Ordering::Relaxed);
        let awaited = Awaited { request: id, version, topics, in_flight, connection: connection.clone() };
        let (cluster, shared) = (self.cluster.clone(), self.shared.clone());
        // On the network thread, by the connection that read it: the sender is woken only if there is more to send.
        let sink = Box::new(move |result| awaited.answered(&cluster, &shared, result));
        if message.acks == 0 {
            connection.send_without_response(&message, version, now, sink);
        } else {
            connection.send(&message, version, now, now + self.shared.config.request_timeout, sink);
        }
    }

    /// It does not leave.
    fn refuse(&self, request: Request, now: base::Instant, error: &Error) {
        let mut accumulator = self.shared.accumulator();
        accumulator.sent(request.id, request.batches);
        accumulator.fail_request(request.id, now, error);
    }

    fn topics_of(&self, batches: &[Sent]) -> Vec<TopicInRequest> {
        let accumulator = self.shared.accumulator();
        let mut topics: Vec<TopicInRequest> = Vec::with_capacity(1);
        for sent in batches {
            if !topics.iter().any(|topic| topic.place == sent.topic) {
                let (name, id) = (accumulator.topic_name(sent.topic).clone(), accumulator.topic_id(sent.topic));
                topics.push(TopicInRequest { place: sent.topic, name, id });
            }
        }
        topics
    }

    fn produce_request(
        &self,
        batches: &[Sent],
        sealed: Vec<Bytes>,
        topics: &[TopicInRequest],
        version: i16,
        transactional_id: Option<String>,
    ) -> ProduceRequest {
        let named = version <= LAST_VERSION_WITH_NAMES;
        let topic_data = topics.iter().map(|topic| TopicProduceData {
            name: if named { topic.name.to_string() } else { String::new() },
            topic_id: topic.id,
            partition_data: Vec::with_capacity(if topics.len() == 1 { batches.len() } else { 0 }),
            ..Default::default()
        });
        let mut topic_data: Vec<TopicProduceData> = topic_data.collect();
        for (sent, bytes) in batches.iter().zip(sealed) {
            let data = PartitionProduceData { index: sent.partition, records: Some(Records::from(bytes)), ..Default::default() };
            if let Some(place) = topics.iter().position(|topic| topic.place == sent.topic) {
                topic_data[place].partition_data.push(data);
            }
        }
        ProduceRequest {
            transactional_id,
            acks: self.shared.config.acks,
            timeout_ms: i32::try_from(self.shared.config.request_timeout.as_millis()).unwrap_or(i32::MAX),
            topic_data,
            ..Default::default()
        }
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
        }
    }
}

/// For matching answers by topic id; topics never change their place in the accumulator.
struct TopicInRequest {
    place: usize,
    name: Arc<str>,
    id: Uuid,
}

/// A Produce request on its way.
struct Awaited {
    request: u64,
    version: i16,
    topics: Vec<TopicInRequest>,
    in_flight: Arc<AtomicUsize>,
    connection: Arc<Connection>,
}

impl Awaited {
    fn answered(self, cluster: &Cluster, shared: &Shared, result: Result<Bytes, Error>) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        tracing::trace!(request = self.request, ok = result.is_ok(), "answer");
        if self.take_in(cluster, shared, result) {
            cluster.refresh_metadata();
        }
        report(shared);
        if shared.accumulator().has_work() {
            shared.inbox.wake();
        }
    }

    /// Returns whether metadata looks stale.
    fn take_in(&self, cluster: &Cluster, shared: &Shared, result: Result<Bytes, Error>) -> bool {
        let now = cluster.clock().mono();
        if shared.config.acks == 0 && result.is_ok() {
            let written = |_, _| Some(PartitionAnswer { base_offset: -1, log_append_time: -1, ..Default::default() });
            return shared.accumulator().complete(self.request, now, written);
        }
        let response = match result.and_then(|body| self.connection.decode::<ProduceResponse>(body, self.version)) {
            Ok(response) => response,
            Err(error) => {
                shared.accumulator().fail_request(self.request, now, &error);
                return true;
            }
        };
        let mut answers: Vec<((usize, i32), PartitionAnswer)> = Vec::with_capacity(1);
        for topic in response.responses {
            let by_id = self.version > LAST_VERSION_WITH_NAMES;
            let known = self.topics.iter().find(|known| if by_id { known.id == topic.topic_id } else { *known.name == *topic.name });
            let Some(known) = known else { continue };
            for partition in topic.partition_responses {
                if partition.current_leader.leader_epoch >= 0 {
                    let tp = TopicPartition::new(&*known.name, partition.index);
                    cluster.learn_leader(&tp, partition.current_leader.leader_id, partition.current_leader.leader_epoch);
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
                answers.push(((known.place, partition.index), answer));
            }
        }
        // In that order already, as a rule.
        answers.sort_by_key(|(place, _)| *place);
        let answer = |topic, partition| {
            let place = answers.binary_search_by_key(&(topic, partition), |(place, _)| *place).ok()?;
            Some(std::mem::take(&mut answers[place].1))
        };
        shared.accumulator().complete(self.request, now, answer)
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
    let mut completions = shared.accumulator().take_completions();
    if completions.is_empty() {
        return;
    }
    shared.memory.notify_waiters();
    for completion in &mut completions {
        if let (Some(listener), false) = (&shared.listener, completion.tags.is_empty()) {
            tell(listener.as_ref(), &completion.topic, completion.partition, &completion.tags, &completion.result);
        }
        if let Some(outcome) = completion.outcome.take() {
            outcome.complete(completion.result.clone());
        }
        if !shared.interceptors.is_empty() {
            shared.interceptors.progress(&completion.topic, completion.partition);
        }
    }
    shared.accumulator().reported(completions);
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
