//! What a shard of transactions takes and gives, and the loop that carries out its effects. As for groups (`crate::output`): replies that may
//! leave, appends to be written in order and handed back, and besides these the markers to be written to partitions.

use std::collections::VecDeque;

use base::{Now, TopicPartition};
use wire::ErrorCode;

use super::TxnShard;
use super::metadata::Metadata;
use crate::output::{CoordinatorRecord, Token};

/// What a step is given besides its request.
pub struct TxnStep<'a> {
    pub now: Now,
    /// The finalized level of `transaction.version`.
    pub transaction_version: i16,
    /// Gives a producer id that was never used, or says why it cannot.
    pub fresh_id: &'a mut dyn FnMut() -> Result<i64, ErrorCode>,
}

/// The answer to one call; who sends it turns PRODUCER_FENCED into what old versions know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnReply {
    /// InitProducerId and EndTxn: the producer id and epoch to go on with, -1 in the older protocol's EndTxn.
    Producer {
        producer_id: i64,
        producer_epoch: i16,
    },
    /// AddPartitionsToTxn, AddOffsetsToTxn.
    Added,
    /// What is known of each partition, in the order of the request.
    Verified(Vec<(TopicPartition, ErrorCode)>),
    Failed(ErrorCode),
}

/// One transaction has been decided on: the marker to be written to each of the partitions. Goes back by `TxnShard::markers_written`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkerTask {
    pub transactional_id: String,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub commit: bool,
    pub coordinator_epoch: i32,
    pub transaction_version: i16,
    pub partitions: Vec<TopicPartition>,
}

pub type AppendRecords = Vec<CoordinatorRecord>;

/// Records to be written as one batch. Goes back to the shard by `appended` or `append_failed`.
#[derive(Debug)]
#[must_use = "an append must be written and handed back to the shard"]
pub struct TxnAppend {
    pub records: AppendRecords,
    pub(super) change: Change,
}

/// What an append changes once the high watermark has passed it.
#[derive(Debug)]
pub(super) enum Change {
    Transition {
        transactional_id: String,
        next: Box<Metadata>,
        then: Then,
        reply: Option<(Token, TxnReply)>,
    },
    Expire {
        transactional_ids: Vec<String>,
    },
    /// What was loaded is at the high watermark.
    Loaded,
}

/// What follows a transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Nothing,
    /// The markers are written.
    WriteMarkers,
}

/// The effects of one step.
#[derive(Debug, Default)]
#[must_use = "the replies, appends and markers of a step must be carried out"]
pub struct TxnOutput {
    /// May leave now.
    pub replies: Vec<(Token, TxnReply)>,
    /// To be written in this order.
    pub appends: Vec<TxnAppend>,
    /// To be written to their partitions, in any order.
    pub markers: Vec<MarkerTask>,
}

impl TxnOutput {
    pub(super) fn reply(&mut self, token: Token, reply: TxnReply) {
        self.replies.push((token, reply));
    }

    pub(super) fn fail(&mut self, token: Token, error: ErrorCode) {
        self.reply(token, TxnReply::Failed(error));
    }
}

/// Where a shard's records go: one partition of `__transaction_state`.
pub trait TxnLog {
    /// Appends the records as one batch and returns the offset of the first.
    fn append(&mut self, records: &[CoordinatorRecord]) -> Result<i64, ErrorCode>;
    fn high_watermark(&self) -> i64;
}

/// Carries out the appends of a step and hands the results back. What is returned has no appends left.
pub fn drive(shard: &mut TxnShard, step: &mut TxnStep, output: TxnOutput, log: &mut dyn TxnLog) -> TxnOutput {
    let mut done = TxnOutput { replies: output.replies, appends: Vec::new(), markers: output.markers };
    let mut appends: VecDeque<TxnAppend> = output.appends.into();
    let mut take = |next: TxnOutput, appends: &mut VecDeque<TxnAppend>| {
        done.replies.extend(next.replies);
        done.markers.extend(next.markers);
        appends.extend(next.appends);
    };
    // What was written before may have been committed in the meantime.
    take(shard.advance(step, log.high_watermark()), &mut appends);
    while let Some(append) = appends.pop_front() {
        let next = match log.append(&append.records) {
            Ok(first_offset) => {
                shard.appended(step, append, first_offset);
                shard.advance(step, log.high_watermark())
            }
            Err(error) => shard.append_failed(step, append, error),
        };
        take(next, &mut appends);
    }
    done
}
