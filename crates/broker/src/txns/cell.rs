//! One shard with what belongs to it on this broker: its partition, and who waits for its answers.

use super::log::PartitionLog;
use super::{Txns, Waiter};
use crate::Broker;
use base::Now;
use coordinator::Token;
use coordinator::txn::{MarkerTask, TxnOutput, TxnReply, TxnShard, TxnStep, drive};
use replica::{Partition, Watch};
use std::collections::HashMap;
use std::sync::Arc;
use std::task::Waker;
use wire::ErrorCode;

pub(super) struct Cell {
    /// The leader epoch of the partition, that is the coordinator's.
    pub epoch: i32,
    pub state: State,
}

pub(super) enum State {
    Loading,
    Active(Box<Active>),
    /// Resigned while somebody still held the cell.
    Gone,
}

impl State {
    /// For requests, which have to wait until all that was loaded is at the high watermark.
    pub fn serving(&mut self) -> Result<&mut Active, ErrorCode> {
        match self.active()? {
            active if active.shard.is_loading() => Err(ErrorCode::CoordinatorLoadInProgress),
            active => Ok(active),
        }
    }

    pub fn active(&mut self) -> Result<&mut Active, ErrorCode> {
        match self {
            State::Active(active) => Ok(active),
            State::Loading => Err(ErrorCode::CoordinatorLoadInProgress),
            State::Gone => Err(ErrorCode::NotCoordinator),
        }
    }
}

pub(super) struct Active {
    pub shard: TxnShard,
    pub partition: Arc<Partition>,
    pub waiting: HashMap<Token, Waiter>,
    /// There while something waits for the high watermark: for other replicas, or for a flush.
    pub watch: Option<Watch>,
    pub committed: Waker,
}

impl Active {
    /// Carries out a step of the shard and hands out the replies that are ready.
    pub fn carry_out(&mut self, step: &mut TxnStep, output: TxnOutput) -> Vec<MarkerTask> {
        let mut output = output;
        let mut markers = Vec::new();
        self.watch = None;
        loop {
            let mut log = PartitionLog { partition: &self.partition, now: step.now };
            let done = drive(&mut self.shard, step, std::mem::take(&mut output), &mut log);
            self.hand_out(done.replies);
            markers.extend(done.markers);
            let Some(end) = self.shard.waits_for() else { return markers };
            self.watch = self.partition.watch(end, &self.committed);
            // Without a watch the high watermark has got there meanwhile; or the log is gone, and this broker will resign.
            if self.watch.is_some() || self.partition.high_watermark() < end {
                return markers;
            }
        }
    }

    pub fn hand_out(&mut self, replies: Vec<(Token, TxnReply)>) {
        for (token, reply) in replies {
            if let Some(waiter) = self.waiting.remove(&token) {
                waiter.fill(reply);
            }
        }
    }

    /// Goes on with what waited for the high watermark, if it has got there.
    pub fn follow_high_watermark(&mut self, txns: &Txns, broker: &Broker, now: Now) -> Vec<MarkerTask> {
        match self.shard.waits_for() {
            Some(end) if self.partition.high_watermark() >= end => txns.run(broker, now, self, |_, _| TxnOutput::default()),
            _ => Vec::new(),
        }
    }
}
