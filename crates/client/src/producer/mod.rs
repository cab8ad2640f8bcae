//! Owns: the producer that applications hold. `send` encodes into a batch under one short lock; the sender task on the network thread does the
//! rest. Used by: tools, tests, the benchmark. Kafka: `KafkaProducer`. Hot path: `try_append`.

mod config;
mod coordinate;
mod inbox;
mod intercept;
mod plugins;
mod record;
mod sender;
mod transactions;

pub use plugins::{OwnedHeader, OwnedRecord, Partitioner, ProducerInterceptor};
pub use record::{Delivery, DeliveryListener, DeliveryReport, Header, ProducerRecord, RecordMetadata, TrySendError};

use crate::config::Config;
use crate::core::accumulator::{Accumulator, Appended, Blocked, Counters};
use crate::core::partitioner::PartitionerKind;
use crate::driver::Cluster;
use crate::driver::thread::Clock;
use crate::error::{Error, Result};
use crate::metrics::{Metric, Snapshot};
use crate::types::PartitionInfo;
use base::Instant;
use config::ProducerConfig;
use inbox::Inbox;
use intercept::Interceptors;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use wire::ErrorCode;

/// A producer; clones share it. The last clone closes it without waiting: call `close` to be sure that everything was written.
#[derive(Clone)]
pub struct Producer {
    inner: Arc<Inner>,
}

struct Inner {
    cluster: Cluster,
    shared: Arc<Shared>,
}

/// What senders and the sender task share.
struct Shared {
    config: ProducerConfig,
    accumulator: Mutex<Accumulator>,
    inbox: Inbox<sender::Event>,
    /// Memory was freed.
    memory: Notify,
    /// Batches were finished.
    progress: Notify,
    listener: Option<Arc<dyn DeliveryListener>>,
    interceptors: Interceptors,
    clock: Clock,
}

impl Shared {
    fn accumulator(&self) -> MutexGuard<'_, Accumulator> {
        self.accumulator.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let error = Error::Closed("Producer is closed forcefully.".into());
        self.shared.accumulator().abort(&error);
        sender::report(&self.shared);
        self.shared.progress.notify_waiters();
        self.cluster.stop();
    }
}

impl Producer {
    /// Parses the configuration and starts the network thread; connects when the first record is sent.
    ///
    /// ```no_run
    /// # async fn run() -> client::Result<()> {
    /// use client::{Config, Producer, ProducerRecord};
    ///
    /// let producer = Producer::new(Config::bootstrap("localhost:9092").with("linger.ms", 10))?;
    /// let delivery = producer.send(&ProducerRecord::new("orders").key(b"42").value(b"two of them")).await?;
    /// println!("written at {}", delivery.await?.offset);
    /// producer.close(std::time::Duration::from_secs(10)).await
    /// # }
    /// ```
    pub fn new(config: Config) -> Result<Producer> {
        Self::builder(config).build()
    }

    /// A producer that reports finished batches to `listener`; the cheap way to follow millions of records (`send_tagged`).
    pub fn with_listener(config: Config, listener: Arc<dyn DeliveryListener>) -> Result<Producer> {
        Self::builder(config).listener(listener).build()
    }

    /// A producer with interceptors or a partitioner of your own.
    pub fn builder(config: Config) -> ProducerBuilder {
        ProducerBuilder { config, listener: None, interceptors: Vec::new(), partitioner: None, runtime: None }
    }

    /// Adds a record to its batch; waits up to max.block.ms for metadata or memory. The handle resolves when the broker has answered.
    pub async fn send(&self, record: &ProducerRecord<'_>) -> Result<Delivery> {
        self.noted(self.send_untold(record).await)
    }

    /// What could not be sent makes a transaction worthless.
    fn noted<T>(&self, sent: Result<T>) -> Result<T> {
        if let Err(error) = &sent {
            self.inner.shared.accumulator().send_failed(error);
        }
        sent
    }

    async fn send_untold(&self, record: &ProducerRecord<'_>) -> Result<Delivery> {
        if !self.inner.shared.interceptors.is_empty() {
            return self.send_intercepted(record, None).await;
        }
        let wall_ms = Clock::wall_ms();
        match self.try_append(record, wall_ms, None, true) {
            Ok(appended) => self.delivery(record, wall_ms, appended),
            Err(Blocked::Failed(error)) => Err(error),
            Err(blocked) => {
                let appended = self.append_waiting(record, wall_ms, None, true, blocked).await?;
                self.delivery(record, wall_ms, appended)
            }
        }
    }

    /// Like `send`, but the outcome goes to the delivery listener with this tag.
    pub async fn send_tagged(&self, record: &ProducerRecord<'_>, tag: u64) -> Result<()> {
        self.noted(self.send_tagged_untold(record, tag).await)
    }

    async fn send_tagged_untold(&self, record: &ProducerRecord<'_>, tag: u64) -> Result<()> {
        if !self.inner.shared.interceptors.is_empty() {
            return self.send_intercepted(record, Some(tag)).await.map(drop);
        }
        let wall_ms = Clock::wall_ms();
        match self.try_append(record, wall_ms, Some(tag), false) {
            Ok(_) => Ok(()),
            Err(Blocked::Failed(error)) => Err(error),
            Err(blocked) => self.append_waiting(record, wall_ms, Some(tag), false, blocked).await.map(drop),
        }
    }

    async fn send_intercepted(&self, record: &ProducerRecord<'_>, tag: Option<u64>) -> Result<Delivery> {
        let interceptors = &self.inner.shared.interceptors;
        let owned = interceptors.on_send(record);
        let headers = owned.borrowed_headers();
        let record = owned.borrowed(&headers);
        let wall_ms = Clock::wall_ms();
        let appended = match self.try_append(&record, wall_ms, tag, true) {
            Ok(appended) => Ok(appended),
            Err(blocked) => self.append_waiting(&record, wall_ms, tag, true, blocked).await,
        };
        match appended.and_then(|appended| self.delivery(&record, wall_ms, appended)) {
            Ok(delivery) => {
                interceptors.sent(delivery.clone(), owned.headers.clone());
                Ok(delivery)
            }
            Err(error) => {
                interceptors.failed(&owned, &error);
                Err(error)
            }
        }
    }

    /// `send` that never waits.
    pub fn try_send(&self, record: &ProducerRecord<'_>) -> Result<Delivery, TrySendError> {
        if !self.inner.shared.interceptors.is_empty() {
            return self.try_send_intercepted(record, None);
        }
        let wall_ms = Clock::wall_ms();
        let appended = self.try_append(record, wall_ms, None, true).map_err(|blocked| self.would_block(record, blocked))?;
        self.delivery(record, wall_ms, appended).map_err(TrySendError::Failed)
    }

    /// `send_tagged` that never waits.
    pub fn try_send_tagged(&self, record: &ProducerRecord<'_>, tag: u64) -> Result<(), TrySendError> {
        if !self.inner.shared.interceptors.is_empty() {
            return self.try_send_intercepted(record, Some(tag)).map(drop);
        }
        let appended = self.try_append(record, Clock::wall_ms(), Some(tag), false);
        appended.map(drop).map_err(|blocked| self.would_block(record, blocked))
    }

    /// Interceptors see the record again when it is tried again.
    fn try_send_intercepted(&self, record: &ProducerRecord<'_>, tag: Option<u64>) -> Result<Delivery, TrySendError> {
        let interceptors = &self.inner.shared.interceptors;
        let owned = interceptors.on_send(record);
        let headers = owned.borrowed_headers();
        let record = owned.borrowed(&headers);
        let wall_ms = Clock::wall_ms();
        let sent = self.try_append(&record, wall_ms, tag, true).map_err(|blocked| self.would_block(&record, blocked));
        let sent = sent.and_then(|appended| self.delivery(&record, wall_ms, appended).map_err(TrySendError::Failed));
        match &sent {
            Ok(delivery) => interceptors.sent(delivery.clone(), owned.headers.clone()),
            Err(TrySendError::Failed(error)) => interceptors.failed(&owned, error),
            Err(TrySendError::WouldBlock) => {}
        }
        sent
    }

    fn would_block(&self, record: &ProducerRecord<'_>, blocked: Blocked) -> TrySendError {
        match blocked {
            Blocked::Failed(error) => {
                self.inner.shared.accumulator().send_failed(&error);
                return TrySendError::Failed(error);
            }
            Blocked::Metadata => self.inner.cluster.want_topics([record.topic]),
            Blocked::Memory(_) => self.inner.shared.inbox.wake(),
        }
        TrySendError::WouldBlock
    }

    fn try_append(&self, record: &ProducerRecord<'_>, wall_ms: i64, tag: Option<u64>, handle: bool) -> Result<Appended, Blocked> {
        let shared = &self.inner.shared;
        if let Some(timestamp) = record.timestamp.filter(|timestamp| *timestamp < 0) {
            let text = format!("Invalid timestamp: {timestamp}. Timestamp should always be non-negative or null.");
            return Err(Blocked::Failed(Error::IllegalState(text)));
        }
        let appended = shared.accumulator().append(record, wall_ms, || shared.clock.mono(), tag, handle)?;
        if appended.wake {
            shared.inbox.wake();
        }
        Ok(appended)
    }

    fn delivery(&self, record: &ProducerRecord<'_>, wall_ms: i64, appended: Appended) -> Result<Delivery> {
        let size = |bytes: Option<&[u8]>| bytes.map_or(-1, |bytes| bytes.len() as i32);
        let (outcome, index, topic) = appended.handle.ok_or_else(|| Error::IllegalState("the record has no delivery handle".into()))?;
        Ok(Delivery {
            outcome,
            index,
            topic,
            partition: appended.partition,
            timestamp: record.timestamp.unwrap_or(wall_ms),
            key_size: size(record.key),
            value_size: size(record.value),
        })
    }

    async fn append_waiting(
        &self,
        record: &ProducerRecord<'_>,
        wall_ms: i64,
        tag: Option<u64>,
        handle: bool,
        mut blocked: Blocked,
    ) -> Result<Appended> {
        let shared = &self.inner.shared;
        let deadline = shared.clock.mono() + shared.config.max_block;
        loop {
            match blocked {
                Blocked::Failed(error) => return Err(error),
                Blocked::Metadata => self.await_partition(record.topic, record.partition, deadline).await?,
                Blocked::Memory(bytes) => self.await_memory(bytes, deadline).await?,
            }
            match self.try_append(record, wall_ms, tag, handle) {
                Ok(appended) => return Ok(appended),
                Err(again) => blocked = again,
            }
        }
    }

    /// Waits until the topic (and the partition) is in the metadata, and tells the accumulator.
    async fn await_partition(&self, topic: &str, partition: Option<i32>, deadline: Instant) -> Result<()> {
        let cluster = &self.inner.cluster;
        let max_block = self.inner.shared.config.max_block.as_millis();
        cluster.want_topics([topic]);
        let mut seen = 0;
        let found = cluster
            .await_metadata(deadline, |cache| {
                let entry = cache.topics.get(topic)?;
                if entry.error != ErrorCode::None && !entry.error.is_retriable() {
                    let text = match entry.error {
                        ErrorCode::InvalidTopicException => Some(format!("Invalid topics: [{topic}]")),
                        ErrorCode::TopicAuthorizationFailed => Some(format!("Not authorized to access topics: [{topic}]")),
                        _ => None,
                    };
                    return Some(Err(Error::broker(entry.error, text)));
                }
                seen = entry.partitions.len();
                (seen > 0 && partition.is_none_or(|partition| (partition as usize) < seen)).then_some(Ok(()))
            })
            .await;
        match found {
            Some(Ok(())) => {
                self.inner.shared.accumulator().update_metadata(&cluster.metadata(), Some(topic));
                Ok(())
            }
            Some(Err(error)) => Err(error),
            None => Err(Error::Timeout(match partition {
                Some(partition) if seen > 0 => format!(
                    "Partition {partition} of topic {topic} with partition count {seen} is not present in metadata after {max_block} ms."
                ),
                _ => format!("Topic {topic} not present in metadata after {max_block} ms."),
            })),
        }
    }

    async fn await_memory(&self, bytes: usize, deadline: Instant) -> Result<()> {
        let shared = &self.inner.shared;
        let waiting = MemoryWait::new(shared);
        let freed = shared.memory.notified();
        let mut freed = std::pin::pin!(freed);
        freed.as_mut().enable();
        if shared.accumulator().available_memory() >= bytes {
            return Ok(());
        }
        shared.inbox.wake();
        let result = tokio::select! {
            () = freed => Ok(()),
            () = self.inner.cluster.thread().sleep_until(deadline) => {
                let config = &shared.config;
                Err(Error::Timeout(format!(
                    "Failed to allocate {bytes} bytes within the configured max blocking time {} ms. Total memory: {} bytes. Available memory: {} bytes. Poolable size: {} bytes",
                    config.max_block.as_millis(),
                    config.accumulator.buffer_memory,
                    shared.accumulator().available_memory(),
                    config.accumulator.batch_size,
                )))
            }
        };
        drop(waiting);
        result
    }

    /// Waits until everything sent so far is written or has failed.
    pub async fn flush(&self) -> Result<()> {
        let shared = &self.inner.shared;
        let flush = FlushWait::new(shared);
        shared.inbox.wake();
        loop {
            let progress = shared.progress.notified();
            let mut progress = std::pin::pin!(progress);
            progress.as_mut().enable();
            if shared.accumulator().flushed(flush.mark) {
                return Ok(());
            }
            progress.await;
        }
    }

    /// Sends what is there, for at most `timeout`, and ends the producer for all its clones. What is not written by then fails. A transaction
    /// that is open is aborted.
    pub async fn close(&self, timeout: Duration) -> Result<()> {
        let shared = &self.inner.shared;
        shared.accumulator().close();
        shared.inbox.wake();
        let timely = tokio::select! {
            result = self.finish(timeout) => result.is_ok(),
            () = self.inner.cluster.thread().sleep(timeout) => false,
        };
        let error = Error::Closed("Producer is closed forcefully.".into());
        shared.accumulator().abort(&error);
        sender::report(shared);
        shared.progress.notify_waiters();
        shared.interceptors.close();
        self.inner.cluster.stop();
        if timely { Ok(()) } else { Err(Error::Timeout(format!("records were left after closing for {} ms", timeout.as_millis()))) }
    }

    async fn finish(&self, timeout: Duration) -> Result<()> {
        self.flush().await?;
        self.settle_transaction(timeout).await
    }

    /// The partitions of a topic, waiting up to max.block.ms for its metadata.
    pub async fn partitions_for(&self, topic: &str) -> Result<Vec<PartitionInfo>> {
        let shared = &self.inner.shared;
        self.await_partition(topic, None, shared.clock.mono() + shared.config.max_block).await?;
        Ok(self.inner.cluster.metadata().partition_infos(topic))
    }

    pub fn counters(&self) -> Counters {
        self.inner.shared.accumulator().counters
    }

    /// Everything that is measured, by Kafka's names, such as `record-send-total`.
    pub fn metrics(&self) -> Vec<Metric> {
        let shared = &self.inner.shared;
        let (counters, available, waiting, in_flight) = {
            let accumulator = shared.accumulator();
            (accumulator.counters, accumulator.available_memory(), accumulator.memory_waiters, accumulator.in_flight())
        };
        let mut snapshot = Snapshot::new();
        snapshot
            .group("producer-metrics")
            .count("record-send-total", counters.records_sent)
            .count("record-error-total", counters.records_failed)
            .count("record-retry-total", counters.retries)
            .count("batch-split-total", counters.splits)
            .average("batch-size-avg", counters.bytes_sent as f64, counters.batches_sent)
            .average("records-per-request-avg", counters.records_sent as f64, counters.requests)
            .average("compression-rate-avg", counters.bytes_sent as f64, counters.raw_bytes)
            .average("record-queue-time-avg", counters.queue_micros as f64 / 1000.0, counters.batches_sent)
            .add("record-queue-time-max", counters.queue_micros_max as f64 / 1000.0)
            .add("requests-in-flight", in_flight as f64)
            .add("buffer-total-bytes", shared.config.accumulator.buffer_memory as f64)
            .add("buffer-available-bytes", available as f64)
            .add("waiting-threads", waiting as f64);
        self.inner.cluster.traffic().show(&mut snapshot);
        snapshot.finish()
    }

    /// The producer id and epoch, once the broker has given them.
    pub fn producer_id(&self) -> Option<(i64, i16)> {
        self.inner.shared.accumulator().producer_id().map(|producer| (producer.id, producer.epoch))
    }

    /// Closes the connections to all brokers, as a network failure would; for tests of delivery across failures.
    pub fn drop_connections(&self) {
        self.inner.cluster.drop_connections();
    }
}

#[cfg(test)]
pub(crate) fn parse_config(config: &Config) -> Result<()> {
    ProducerConfig::parse(config, false).map(drop)
}

/// What a producer is made of.
///
/// ```no_run
/// # fn build() -> client::Result<client::Producer> {
/// use client::{Config, Producer};
/// use client::producer::Partitioner;
/// use std::sync::Arc;
///
/// struct First;
///
/// impl Partitioner for First {
///     fn partition(&self, _: &str, _: Option<&[u8]>, _: Option<&[u8]>, _: i32, available: &[i32]) -> i32 {
///         available.first().copied().unwrap_or(0)
///     }
/// }
///
/// Producer::builder(Config::bootstrap("localhost:9092")).partitioner(Arc::new(First)).build()
/// # }
/// ```
pub struct ProducerBuilder {
    config: Config,
    listener: Option<Arc<dyn DeliveryListener>>,
    interceptors: Vec<Arc<dyn ProducerInterceptor>>,
    partitioner: Option<Arc<dyn Partitioner>>,
    runtime: Option<Handle>,
}

impl ProducerBuilder {
    pub fn listener(mut self, listener: Arc<dyn DeliveryListener>) -> Self {
        self.listener = Some(listener);
        self
    }

    /// Adds an interceptor behind those added before.
    pub fn interceptor(mut self, interceptor: Arc<dyn ProducerInterceptor>) -> Self {
        self.interceptors.push(interceptor);
        self
    }

    pub fn partitioner(mut self, partitioner: Arc<dyn Partitioner>) -> Self {
        self.partitioner = Some(partitioner);
        self
    }

    /// Sockets and timers are driven on this runtime, which needs both, instead of a thread of the producer's own: for processes with many
    /// producers. Like that thread, it must not be kept busy for long by anything else.
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    pub fn build(self) -> Result<Producer> {
        let mut config = ProducerConfig::parse(&self.config, self.listener.is_some())?;
        if let Some(partitioner) = self.partitioner {
            config.accumulator.partitioner = PartitionerKind::Custom(partitioner);
        }
        let cluster = match self.runtime {
            Some(runtime) => Cluster::start_on(runtime, config.connection.clone())?,
            None => Cluster::start(config.connection.clone(), "kafka-producer-network-thread")?,
        };
        let shared = Arc::new(Shared {
            accumulator: Mutex::new(Accumulator::new(config.accumulator.clone(), fastrand::Rng::new())),
            inbox: Inbox::new(),
            memory: Notify::new(),
            progress: Notify::new(),
            listener: self.listener,
            interceptors: Interceptors::new(self.interceptors),
            clock: cluster.clock(),
            config,
        });
        cluster.thread().spawn(sender::run(cluster.clone(), shared.clone()));
        cluster.thread().spawn(sender::follow_metadata(cluster.clone(), shared.clone()));
        Ok(Producer { inner: Arc::new(Inner { cluster, shared }) })
    }
}

/// While it lives, the sender hurries because somebody waits for memory.
struct MemoryWait<'a>(&'a Shared);

impl<'a> MemoryWait<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.accumulator().memory_waiters += 1;
        Self(shared)
    }
}

impl Drop for MemoryWait<'_> {
    fn drop(&mut self) {
        self.0.accumulator().memory_waiters -= 1;
    }
}

/// While it lives, the sender does not linger.
struct FlushWait<'a> {
    shared: &'a Shared,
    mark: u64,
}

impl<'a> FlushWait<'a> {
    fn new(shared: &'a Shared) -> Self {
        let mut accumulator = shared.accumulator();
        accumulator.flushing += 1;
        let mark = accumulator.flush_mark();
        Self { shared, mark }
    }
}

impl Drop for FlushWait<'_> {
    fn drop(&mut self) {
        self.shared.accumulator().flushing -= 1;
    }
}
