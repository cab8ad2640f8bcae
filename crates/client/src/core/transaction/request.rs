//! Owns: which request a transactional producer sends next, one at a time: first the producer id, then what joins the transaction, its end
//! last and only when every batch is answered. Part of the transaction's state. Kafka: `TransactionManager.nextRequest` and its priorities.

use super::{Place, State, Transactions};
use crate::consumer::GroupMetadata;
use crate::core::idempotence::ProducerId;
use crate::types::OffsetAndMetadata;
use base::{Instant, TopicPartition};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionRequest {
    pub transactional_id: String,
    /// None in the first InitProducerId.
    pub producer: Option<ProducerId>,
    /// Transactions of the second generation: newer versions of the same requests.
    pub version2: bool,
    pub call: Call,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    InitProducerId { timeout_ms: i32 },
    AddPartitions(Vec<TopicPartition>),
    AddOffsets { group_id: String },
    CommitOffsets { group: GroupMetadata, offsets: Vec<(TopicPartition, OffsetAndMetadata)> },
    End { commit: bool },
}

/// What is to be done for the transaction now.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    Nothing,
    /// Look again then.
    At(Instant),
    /// To be answered by `Transactions::answered`.
    Send(TransactionRequest),
    /// A call ended without a request: there was nothing to end.
    Finished,
}

impl Transactions {
    /// `incomplete`: some batch is not answered yet.
    pub fn next(&mut self, producer: Option<ProducerId>, incomplete: bool, now: Instant, name: impl Fn(Place) -> TopicPartition) -> Next {
        if self.in_flight {
            return Next::Nothing;
        }
        let call = match self.state {
            State::Initializing => Call::InitProducerId { timeout_ms: self.config.timeout_ms },
            State::InTransaction | State::Committing | State::Aborting => {
                self.adding.append(&mut self.new_partitions);
                if !self.adding.is_empty() {
                    Call::AddPartitions(self.adding.iter().copied().map(name).collect())
                } else if let Some(pending) = self.offsets.front() {
                    match pending.added {
                        false => Call::AddOffsets { group_id: pending.group.group_id.clone() },
                        true => Call::CommitOffsets { group: pending.group.clone(), offsets: pending.offsets.clone() },
                    }
                } else if self.state == State::InTransaction || incomplete {
                    return Next::Nothing;
                } else if self.started {
                    Call::End { commit: self.state == State::Committing }
                } else {
                    self.ended(None);
                    return Next::Finished;
                }
            }
            State::Uninitialized | State::Ready | State::AbortableError | State::FatalError => return Next::Nothing,
        };
        if now < self.retry_at {
            return Next::At(self.retry_at);
        }
        self.in_flight = true;
        let producer = producer.filter(|_| self.state != State::Initializing || self.bumping);
        Next::Send(TransactionRequest { transactional_id: self.config.id.clone(), producer, version2: self.version2, call })
    }
}
