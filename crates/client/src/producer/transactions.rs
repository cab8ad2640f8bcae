//! Owns: the calls of a transactional producer. Each changes the state under the accumulator's lock and waits until the sender task has done
//! its part. Used by: applications. Kafka: the transactional methods of `KafkaProducer`.

use super::{Producer, sender};
use crate::consumer::GroupMetadata;
use crate::core::transaction::{CallResult, State, Transactions};
use crate::error::{Error, Result};
use crate::types::OffsetAndMetadata;
use base::{Instant, TopicPartition};
use std::time::Duration;

/// What the error of a call that ran into max.block.ms says.
struct Waiting {
    operation: &'static str,
    hint: &'static str,
}

const INIT: Waiting = Waiting {
    operation: "InitProducerId",
    hint: "InitTransactions timed out - did not complete coordinator discovery or receive the InitProducerId response within max.block.ms.",
};
const OFFSETS: Waiting = Waiting {
    operation: "AddOffsetsToTxn",
    hint: "SendOffsetsToTransaction timed out - did not reach the coordinator or receive the TxnOffsetCommit/AddOffsetsToTxn response within max.block.ms",
};
const OFFSETS_IMPLIED: Waiting = Waiting { operation: "TxnOffsetCommitHandler", ..OFFSETS };
const COMMIT: Waiting = Waiting {
    operation: "EndTxn(true)",
    hint: "CommitTransaction timed out - did not complete EndTxn with the transaction coordinator within max.block.ms",
};
const ABORT: Waiting = Waiting {
    operation: "EndTxn(false)",
    hint: "AbortTransaction timed out - did not complete EndTxn(abort) with the transaction coordinator within max.block.ms",
};

impl Producer {
    /// Makes this producer the only one of its transactional.id: transactions that an earlier one left open are aborted, and whatever it still
    /// sends is refused. To be called once, before the first transaction.
    ///
    /// ```no_run
    /// # async fn run() -> client::Result<()> {
    /// use client::{Config, ErrorClass, Producer, ProducerRecord};
    ///
    /// let producer = Producer::new(Config::bootstrap("localhost:9092").with("transactional.id", "shipments-1"))?;
    /// producer.init_transactions().await?;
    /// producer.begin_transaction()?;
    /// let sent = producer.send(&ProducerRecord::new("orders").value(b"two of them")).await;
    /// match sent.and(producer.commit_transaction().await) {
    ///     Ok(()) => {}
    ///     Err(error) if producer.has_fatal_error() => return Err(error),
    ///     Err(_) => producer.abort_transaction().await?,
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn init_transactions(&self) -> Result<()> {
        let result = self.transact(Transactions::init)?;
        self.await_call(result, &INIT).await
    }

    /// From here on records belong to a transaction. Asks nobody.
    pub fn begin_transaction(&self) -> Result<()> {
        self.transact(Transactions::begin)
    }

    /// Commits what was consumed together with what is produced: the next offset to read for each partition, in the name of the consumer that
    /// `Consumer::group_metadata` describes (KIP-447). That consumer must not commit by itself (`enable.auto.commit` false).
    pub async fn send_offsets_to_transaction(
        &self,
        offsets: impl IntoIterator<Item = (TopicPartition, OffsetAndMetadata)>,
        group: &GroupMetadata,
    ) -> Result<()> {
        if group.generation > 0 && group.member_id.is_empty() {
            let text = format!("Passed in group metadata {group:?} has generationId > 0 but the member.id is unknown");
            return Err(Error::IllegalState(text));
        }
        let offsets: Vec<(TopicPartition, OffsetAndMetadata)> = offsets.into_iter().collect();
        if offsets.is_empty() {
            return self.transact(|_, _| Ok(()));
        }
        let (result, implied) = self.transact(|transactions, producer| {
            let result = transactions.send_offsets(producer, offsets, group.clone())?;
            Ok((result, transactions.version2()))
        })?;
        self.await_call(result, if implied { &OFFSETS_IMPLIED } else { &OFFSETS }).await
    }

    /// Sends what is left and commits. When it returns an error the transaction is not committed, unless it ran into max.block.ms: then the
    /// end is unknown and the call has to be repeated.
    pub async fn commit_transaction(&self) -> Result<()> {
        let features = self.inner.cluster.features();
        let result = self.transact(|transactions, producer| transactions.commit(producer, features))?;
        self.await_call(result, &COMMIT).await
    }

    /// Drops what has not been sent and aborts: consumers that read committed records see nothing of the transaction.
    pub async fn abort_transaction(&self) -> Result<()> {
        let features = self.inner.cluster.features();
        let result = self.transact(|transactions, producer| transactions.abort(producer, features))?;
        self.await_call(result, &ABORT).await
    }

    /// Nothing helps but another producer: this one was fenced, or its numbering is lost. Otherwise a transaction that has met an error can be
    /// aborted and the next one begun.
    pub fn has_fatal_error(&self) -> bool {
        let accumulator = self.inner.shared.accumulator();
        accumulator.has_fatal_error()
    }

    fn transact<T>(&self, call: impl FnOnce(&mut Transactions, Option<crate::core::idempotence::ProducerId>) -> Result<T>) -> Result<T> {
        let shared = &self.inner.shared;
        let value = {
            let mut accumulator = shared.accumulator();
            accumulator.check_open()?;
            accumulator.transact(call)?
        };
        shared.inbox.wake();
        Ok(value)
    }

    async fn await_call(&self, result: CallResult, waiting: &Waiting) -> Result<()> {
        let shared = &self.inner.shared;
        let max_block = shared.config.max_block;
        match self.await_result(&result, shared.clock.mono() + max_block).await {
            Some(outcome) => outcome,
            None => Err(Error::Timeout(format!(
                "Timeout expired after {}ms while awaiting {}. {}",
                max_block.as_millis(),
                waiting.operation,
                waiting.hint
            ))),
        }
    }

    /// None when the deadline passes first.
    async fn await_result(&self, result: &CallResult, deadline: Instant) -> Option<Result<()>> {
        let shared = &self.inner.shared;
        let mut timer = std::pin::pin!(self.inner.cluster.thread().sleep_until(deadline));
        loop {
            let progress = shared.progress.notified();
            let mut progress = std::pin::pin!(progress);
            progress.as_mut().enable();
            if let Some(outcome) = result.get() {
                shared.accumulator().acknowledge(result);
                return Some(outcome.clone());
            }
            tokio::select! {
                () = progress => {}
                () = &mut timer => return None,
            }
        }
    }

    /// What an orderly end does about a transaction: one that is ending is awaited, an open one aborted.
    pub(super) async fn settle_transaction(&self, timeout: Duration) -> Result<()> {
        let shared = &self.inner.shared;
        let features = self.inner.cluster.features();
        let result = {
            let mut accumulator = shared.accumulator();
            if !accumulator.transactions().is_some_and(Transactions::is_ongoing) {
                return Ok(());
            }
            accumulator.transact(|transactions, producer| match transactions.state() {
                State::Committing => transactions.commit(producer, features),
                _ => transactions.abort(producer, features),
            })?
        };
        shared.inbox.wake();
        sender::report(shared);
        let deadline = shared.clock.mono() + timeout;
        self.await_result(&result, deadline).await.unwrap_or_else(|| Err(Error::Timeout("the transaction did not end in time".into())))
    }
}
