//! Each transition by itself: what is answered, what is written, and what is left when the write fails or has to wait.

mod end;
mod init;
mod lifecycle;
mod view;

use std::time::Duration;

use base::{Now, TopicPartition};
use wire::ErrorCode;

use super::metadata::{Metadata, TxnStatus};
use super::records::{self, StoredTxn};
use super::{InitProducerId, MarkerTask, TxnConfig, TxnLog, TxnOutput, TxnReply, TxnShard, TxnStep, drive};
use crate::output::{CoordinatorRecord, Token};

const ID: &str = "id";
const TIMEOUT_MS: i32 = 10_000;

#[derive(Default)]
struct Log {
    records: Vec<CoordinatorRecord>,
    high_watermark: Option<i64>,
    failure: Option<ErrorCode>,
}

impl TxnLog for Log {
    fn append(&mut self, records: &[CoordinatorRecord]) -> Result<i64, ErrorCode> {
        if let Some(error) = self.failure {
            return Err(error);
        }
        let first = self.records.len();
        self.records.extend(records.iter().cloned());
        Ok(first as i64)
    }

    fn high_watermark(&self) -> i64 {
        self.high_watermark.unwrap_or(self.records.len() as i64)
    }
}

/// A shard with its log; markers are written by nobody until the test says so.
struct Fixture {
    shard: TxnShard,
    log: Log,
    now: Now,
    transaction_version: i16,
    next_id: Result<i64, ErrorCode>,
    replies: Vec<TxnReply>,
    markers: Vec<MarkerTask>,
}

fn fixture() -> Fixture {
    let mut fixture = Fixture {
        shard: TxnShard::new(TxnConfig::default(), 5),
        log: Log::default(),
        now: Now::default().plus(Duration::from_secs(1_000_000)),
        transaction_version: 2,
        next_id: Ok(100),
        replies: Vec::new(),
        markers: Vec::new(),
    };
    fixture.step(|shard, step| shard.on_loaded(step, 0, 0));
    fixture
}

/// A shard that finds the id in this state.
fn found(status: TxnStatus, epoch: i16, change: impl FnOnce(&mut Metadata)) -> Fixture {
    let mut fixture = fixture();
    let mut metadata = Metadata { producer_epoch: epoch, status, ..Metadata::new(7, TIMEOUT_MS, fixture.now.wall_ms) };
    if status != TxnStatus::Empty {
        metadata.start_ms = fixture.now.wall_ms;
    }
    if matches!(status, TxnStatus::Ongoing) {
        metadata.partitions = [tp(0), tp(1)].into();
    }
    change(&mut metadata);
    fixture.log.records.push(records::encode(ID, &metadata, 2).unwrap());
    fixture.reload();
    fixture
}

fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

impl Fixture {
    fn step(&mut self, step: impl FnOnce(&mut TxnShard, &mut TxnStep) -> TxnOutput) -> Vec<TxnReply> {
        let next_id = &mut self.next_id;
        let mut fresh_id = || {
            let id = (*next_id)?;
            *next_id = Ok(id + 1);
            Ok(id)
        };
        let mut context = TxnStep { now: self.now, transaction_version: self.transaction_version, fresh_id: &mut fresh_id };
        let output = step(&mut self.shard, &mut context);
        let done = drive(&mut self.shard, &mut context, output, &mut self.log);
        self.markers.extend(done.markers);
        let replies: Vec<TxnReply> = done.replies.into_iter().map(|(_, reply)| reply).collect();
        self.replies.extend(replies.clone());
        replies
    }

    fn one(&mut self, step: impl FnOnce(&mut TxnShard, &mut TxnStep, Token) -> TxnOutput) -> TxnReply {
        let mut replies = self.step(|shard, context| step(shard, context, Token(1)));
        assert_eq!(replies.len(), 1, "{replies:?}");
        replies.remove(0)
    }

    fn init(&mut self, expected: Option<(i64, i16)>) -> TxnReply {
        let request = InitProducerId { transactional_id: ID.into(), timeout_ms: TIMEOUT_MS, expected, ..Default::default() };
        self.one(|shard, step, token| shard.init_producer_id(step, token, &request))
    }

    fn add(&mut self, producer: (i64, i16), partitions: &[i32]) -> TxnReply {
        let partitions: Vec<TopicPartition> = partitions.iter().map(|p| tp(*p)).collect();
        self.one(|shard, step, token| shard.add_partitions(step, token, ID, producer, &partitions, 0))
    }

    fn end(&mut self, producer: (i64, i16), commit: bool, version: i16) -> TxnReply {
        self.one(|shard, step, token| shard.end_txn(step, token, ID, producer, commit, version))
    }

    /// All markers that are asked for come to this.
    fn mark(&mut self, result: ErrorCode) {
        for task in std::mem::take(&mut self.markers) {
            let results = task.partitions.iter().map(|partition| (partition.clone(), result)).collect();
            self.step(|shard, step| shard.markers_written(step, &task, results));
        }
    }

    fn wait(&mut self, ms: u64) {
        self.now = self.now.plus(Duration::from_millis(ms));
        self.step(|shard, step| shard.tick(step));
    }

    /// Another coordinator takes over with the log as it is.
    fn reload(&mut self) {
        let mut shard = TxnShard::new(TxnConfig::default(), self.shard.coordinator_epoch + 1);
        for (offset, record) in self.log.records.iter().enumerate() {
            shard.replay(offset as i64, &record.key, record.value.as_ref()).unwrap();
        }
        self.shard = shard;
        let (end, high_watermark) = (self.log.records.len() as i64, self.log.high_watermark());
        self.step(|shard, step| shard.on_loaded(step, end, high_watermark));
    }

    fn current(&self) -> &Metadata {
        &self.shard.txns.get(ID).expect("the id is known").current
    }

    fn state(&self) -> (TxnStatus, i64, i16) {
        let current = self.current();
        (current.status, current.producer_id, current.producer_epoch)
    }

    /// The last record of the log, for ID.
    fn written(&self) -> Metadata {
        let last = self.log.records.last().expect("a record");
        match records::decode(&last.key, last.value.as_ref()).unwrap() {
            StoredTxn::Txn(id, metadata) => {
                assert_eq!(id, ID);
                *metadata
            }
            other => panic!("{other:?}"),
        }
    }
}

fn producer(producer_id: i64, producer_epoch: i16) -> TxnReply {
    TxnReply::Producer { producer_id, producer_epoch }
}

fn failed(error: ErrorCode) -> TxnReply {
    TxnReply::Failed(error)
}
