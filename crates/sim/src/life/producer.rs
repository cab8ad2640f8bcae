//! Producers of a life: idempotent ones and transactional ones of both generations. They retry, repeat what was acknowledged, send out of
//! order, begin anew when they are refused for good, and remember what they cannot know.

use super::history::{Commit, History, Transaction};
use super::{Kind, Life, requests};
use std::collections::{BTreeMap, VecDeque};
use wire::ErrorCode;

pub struct Producer {
    transactional: Option<Transactional>,
    /// −1 until the node has given one.
    id: i64,
    epoch: i16,
    /// By the number of the partition's history.
    parts: BTreeMap<usize, Part>,
    transaction: Option<usize>,
    /// Batches so far, of all ids and epochs.
    sent: i32,
}

struct Transactional {
    id: &'static str,
    /// Transactions version 2: partitions are added by writing to them, and every transaction has an epoch of its own (KIP-890).
    second_generation: bool,
    has_begun: bool,
}

#[derive(Default)]
struct Part {
    next_sequence: i32,
    /// Not acknowledged yet, in the order of sequences.
    pending: VecDeque<Sent>,
    acknowledged: VecDeque<Sent>,
    is_added: bool,
}

#[derive(Clone, Copy)]
struct Sent {
    batch: usize,
    sequence: i32,
}

/// As many as the node remembers.
const IN_FLIGHT: usize = 5;

impl Producer {
    pub fn idempotent() -> Producer {
        Producer { transactional: None, id: -1, epoch: -1, parts: BTreeMap::new(), transaction: None, sent: 0 }
    }

    pub fn transactional(id: &'static str, second_generation: bool) -> Producer {
        Producer { transactional: Some(Transactional { id, second_generation, has_begun: false }), ..Self::idempotent() }
    }

    /// Begins anew with another id or epoch; what was sent and not answered stays unknown. An open transaction will be aborted.
    pub fn reset(&mut self, history: &mut History) {
        if let Some(transaction) = self.transaction.take()
            && let Some(state @ Transaction::Open) = history.transactions.get_mut(transaction)
        {
            *state = Transaction::Asked { commit: false };
        }
        self.id = -1;
        self.parts.clear();
        if let Some(transactional) = &mut self.transactional {
            transactional.has_begun = false;
        }
    }

    /// The partition is no more.
    pub fn forget(&mut self, partition: usize) {
        self.parts.remove(&partition);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The same again, later.
    Retry,
    /// With a new id or epoch.
    Anew,
}

fn judge(code: i16) -> Result<(), Next> {
    use ErrorCode::*;
    match ErrorCode::from_code(code) {
        None => Ok(()),
        InvalidProducerEpoch
        | ProducerFenced
        | InvalidTxnState
        | UnknownProducerId
        | InvalidProducerIdMapping
        | TransactionAbortable
        | OutOfOrderSequenceNumber => Err(Next::Anew),
        _ => Err(Next::Retry),
    }
}

impl Life {
    /// Lets a producer do one thing.
    pub(super) fn produce(&mut self, at: usize) {
        if self.producers[at].id < 0 {
            return self.init(at);
        }
        let Some(transactional) = &self.producers[at].transactional else {
            return self.send_batch(at);
        };
        let has_begun = transactional.has_begun;
        let transaction = match self.producers[at].transaction {
            Some(transaction) => transaction,
            None => {
                self.history.transactions.push(Transaction::Open);
                let transaction = self.history.transactions.len() - 1;
                self.producers[at].transaction = Some(transaction);
                transaction
            }
        };
        if let Transaction::Asked { commit } = self.history.transactions[transaction] {
            // The answer to the end did not come: ask again, or come back as a new producer.
            return if self.rng.u32(0..5) == 0 { self.anew(at) } else { self.end_transaction(at, transaction, commit) };
        }
        match self.rng.u32(0..10) {
            0 if self.rng.u32(0..5) == 0 => self.anew(at),
            0..6 => self.send_batch(at),
            6 => self.commit_in_transaction(at, transaction),
            _ if !has_begun => self.send_batch(at),
            _ => {
                let is_settled = self.producers[at].parts.values().all(|part| part.pending.is_empty());
                match (is_settled, self.rng.u32(0..3) > 0) {
                    (true, commit) => self.end_transaction(at, transaction, commit),
                    // Nobody may commit what he does not know to be there.
                    (false, _) => self.send_batch(at),
                }
            }
        }
    }

    fn anew(&mut self, at: usize) {
        self.producers[at].reset(&mut self.history);
    }

    fn init(&mut self, at: usize) {
        let id = self.producers[at].transactional.as_ref().map(|t| t.id);
        if let Some(id) = id {
            let Some(node) = self.node.as_mut() else { return };
            requests::find_coordinator(&mut self.client, node, id, true);
        }
        let Some(response) = self.ask(&requests::init_producer(id), 5) else { return };
        if response.error_code == 0 {
            let producer = &mut self.producers[at];
            (producer.id, producer.epoch) = (response.producer_id, response.producer_epoch);
        }
    }

    /// At the end of a life: whatever was begun is decided, by coming back as a new producer.
    pub(super) fn settle_producer(&mut self, at: usize) {
        if self.producers[at].transactional.is_none() {
            return;
        }
        self.anew(at);
        for _ in 0..50 {
            self.init(at);
            if self.producers[at].id >= 0 {
                return;
            }
            self.with_node(|node| node.advance(std::time::Duration::from_millis(200)));
        }
        self.history.findings.push(format!("transactional producer {at} cannot come back"));
    }

    fn send_batch(&mut self, at: usize) {
        let place = self.places[self.rng.usize(..self.places.len())];
        if !self.topics[place.topic].known {
            return;
        }
        let keyed = self.topics[place.topic].keyed;
        let part = self.producers[at].parts.entry(place.history).or_default();
        let what = self.rng.u32(0..10);
        let sent = if !part.pending.is_empty() && (what < 6 || part.pending.len() >= IN_FLIGHT) {
            // Mostly the oldest; sometimes another one overtakes it, but never the first of all: a partition that knows nothing of a producer
            // takes any sequence.
            part.pending[if what < 4 || part.acknowledged.is_empty() { 0 } else { self.rng.usize(..part.pending.len()) }]
        } else if what == 6 && !part.acknowledged.is_empty() {
            part.acknowledged[self.rng.usize(..part.acknowledged.len())]
        } else {
            let count = self.rng.usize(1..4);
            let rng = &mut self.rng;
            let mut record = || if keyed { (Some(rng.u64(0..5)), rng.u32(0..5) == 0) } else { (None, false) };
            let records: Vec<_> = (0..count).map(|_| record()).collect();
            let sequence = part.next_sequence;
            part.next_sequence += count as i32;
            let order = self.producers[at].sent;
            self.producers[at].sent += 1;
            let transaction = self.producers[at].transaction;
            let batch = self.history.send(place.history, at, order, transaction, records);
            let sent = Sent { batch, sequence };
            if let Some(part) = self.producers[at].parts.get_mut(&place.history) {
                part.pending.push_back(sent);
            }
            // It may be overtaken by the next one.
            if self.rng.u32(0..8) == 0 {
                return;
            }
            let part = &self.producers[at].parts[&place.history];
            if part.acknowledged.is_empty() { part.pending[0] } else { sent }
        };
        if !self.add_partition(at, place) {
            return;
        }
        let producer = &self.producers[at];
        let by = requests::Producing {
            transactional_id: producer.transactional.as_ref().map(|t| t.id),
            producer_id: producer.id,
            epoch: producer.epoch,
            sequence: sent.sequence,
        };
        let Some(node) = self.node.as_ref() else { return };
        let name = self.topics[place.topic].name.clone();
        let request = requests::produce(&name, place.index, sent.batch, &self.history.batches[sent.batch].records, &by, node.now);
        let version = if producer.transactional.as_ref().is_some_and(|t| !t.second_generation) { 11 } else { 12 };
        let Some(response) = self.ask(&request, version) else { return };
        let Some(answer) = response.responses.first().and_then(|topic| topic.partition_responses.first()) else { return };
        self.answered(at, place.history, sent, answer.error_code, answer.base_offset);
    }

    fn answered(&mut self, at: usize, partition: usize, sent: Sent, code: i16, offset: i64) {
        let Some(part) = self.producers[at].parts.get_mut(&partition) else { return };
        let is_next = part.pending.front().is_some_and(|first| first.batch == sent.batch);
        let is_known = part.pending.iter().all(|other| other.batch != sent.batch);
        match judge(code) {
            _ if code == ErrorCode::DuplicateSequenceNumber.code() => self.acknowledged(at, partition, sent, -1),
            Ok(()) => self.acknowledged(at, partition, sent, offset),
            // Out of order because it is out of order; or so old that the node has forgotten it.
            Err(Next::Anew) if code == ErrorCode::OutOfOrderSequenceNumber.code() && (is_known || !is_next) => {}
            Err(Next::Anew) => {
                // After a start a node knows the last batch of a producer only, as Kafka does: what came before that and was not answered is
                // neither new nor known to it.
                let is_before_others = part.acknowledged.iter().any(|other| other.sequence > sent.sequence);
                if !is_before_others && self.producers[at].transactional.is_none() && self.kind != Kind::Lossy {
                    let batch = &self.history.batches[sent.batch];
                    self.history.findings.push(format!("idempotent producer {at} cannot go on: error {code} for {batch:?}"));
                }
                self.anew(at);
            }
            Err(Next::Retry) => {}
        }
    }

    fn acknowledged(&mut self, at: usize, partition: usize, sent: Sent, offset: i64) {
        self.history.acknowledge(sent.batch, offset);
        let producer = &mut self.producers[at];
        if let Some(transactional) = &mut producer.transactional {
            transactional.has_begun = true;
        }
        let Some(part) = producer.parts.get_mut(&partition) else { return };
        let before = part.pending.len();
        part.pending.retain(|other| other.batch != sent.batch);
        if part.pending.len() < before {
            part.acknowledged.push_back(sent);
            if part.acknowledged.len() > IN_FLIGHT {
                part.acknowledged.pop_front();
            }
        }
    }

    /// First generation: the coordinator is told before the partition is written to. Returns whether it may be.
    fn add_partition(&mut self, at: usize, place: super::Place) -> bool {
        let producer = &self.producers[at];
        let Some(Transactional { id, second_generation: false, .. }) = &producer.transactional else { return true };
        if producer.parts.get(&place.history).is_some_and(|part| part.is_added) {
            return true;
        }
        let request = requests::add_partition(id, producer.id, producer.epoch, &self.topics[place.topic].name, place.index);
        let Some(response) = self.ask(&request, 3) else { return false };
        let answer = response.results_by_topic_v3_and_below.first().and_then(|topic| topic.results_by_partition.first());
        match answer.map(|answer| judge(answer.partition_error_code)) {
            Some(Ok(())) => {
                let producer = &mut self.producers[at];
                producer.parts.entry(place.history).or_default().is_added = true;
                if let Some(transactional) = &mut producer.transactional {
                    transactional.has_begun = true;
                }
                true
            }
            Some(Err(Next::Anew)) => {
                self.anew(at);
                false
            }
            _ => false,
        }
    }

    fn commit_in_transaction(&mut self, at: usize, transaction: usize) {
        let producer = &self.producers[at];
        let Some(Transactional { id, second_generation, .. }) = producer.transactional else { return };
        let (producer_id, epoch) = (producer.id, producer.epoch);
        let group = format!("group-{at}");
        let Some(node) = self.node.as_mut() else { return };
        requests::find_coordinator(&mut self.client, node, &group, false);
        if !second_generation {
            match self.ask(&requests::add_offsets(id, producer_id, epoch, &group), 3).map(|r| judge(r.error_code)) {
                Some(Ok(())) => {}
                Some(Err(Next::Anew)) => return self.anew(at),
                _ => return,
            }
            if let Some(transactional) = &mut self.producers[at].transactional {
                transactional.has_begun = true;
            }
        }
        let commits = self.history.commits.entry(at).or_default();
        let offset = commits.len() as i64 + 1;
        commits.push(Commit { offset, transaction: Some(transaction), acknowledged: false });
        let version = if second_generation { 5 } else { 3 };
        let request = requests::commit_in_transaction(id, producer_id, epoch, &group, "plain", offset);
        let code = self.ask(&request, version).and_then(|r| Some(r.topics.first()?.partitions.first()?.error_code));
        match code.map(judge) {
            Some(Ok(())) => {
                if let Some(commit) = self.history.commits.get_mut(&at).and_then(|commits| commits.last_mut()) {
                    commit.acknowledged = true;
                }
                if let Some(transactional) = &mut self.producers[at].transactional {
                    transactional.has_begun = true;
                }
            }
            // It may be there or not: the transaction must not be committed.
            _ => self.anew(at),
        }
    }

    fn end_transaction(&mut self, at: usize, transaction: usize, commit: bool) {
        let producer = &self.producers[at];
        let Some(Transactional { id, second_generation, .. }) = producer.transactional else { return };
        self.history.transactions[transaction] = Transaction::Asked { commit };
        let request = requests::end_transaction(id, producer.id, producer.epoch, commit);
        let Some(response) = self.ask(&request, if second_generation { 5 } else { 3 }) else { return };
        match judge(response.error_code) {
            Ok(()) => {}
            Err(Next::Anew) => return self.anew(at),
            Err(Next::Retry) => return,
        }
        self.history.transactions[transaction] = Transaction::Ended { commit };
        let producer = &mut self.producers[at];
        producer.transaction = None;
        if let Some(transactional) = &mut producer.transactional {
            transactional.has_begun = false;
        }
        if second_generation {
            (producer.id, producer.epoch) = (response.producer_id, response.producer_epoch);
            producer.parts.clear();
        }
        for part in producer.parts.values_mut() {
            part.is_added = false;
            part.acknowledged.clear();
        }
    }
}
