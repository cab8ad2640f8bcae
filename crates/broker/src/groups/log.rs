//! A shard's log: its partition of `__consumer_offsets`, written like any other.

use super::view::GroupCounts;
use crate::shard_log::cannot_append;
use base::Now;
use coordinator::{CoordinatorRecord, Producer, ShardLog};
use record::{BatchBuilder, BatchFields};
use replica::{Acks, Partition};
use std::sync::Arc;
use storage::{AppendOrigin, Verification};
use wire::ErrorCode;

pub(super) struct PartitionLog<'a> {
    pub partition: &'a Arc<Partition>,
    pub now: Now,
    pub counts: &'a GroupCounts,
    /// What is written, is written because something expired.
    pub by_timer: bool,
    /// For the batches with a producer.
    pub verification: Verification,
}

impl ShardLog for PartitionLog<'_> {
    fn append(&mut self, records: &[CoordinatorRecord], producer: Option<Producer>) -> Result<i64, ErrorCode> {
        // Kafka's coordinators write no producer but sequence 0.
        let fields = BatchFields {
            producer_id: producer.map_or(record::NO_PRODUCER_ID, |p| p.id),
            producer_epoch: producer.map_or(record::NO_PRODUCER_EPOCH, |p| p.epoch),
            base_sequence: 0,
            transactional: producer.is_some(),
            ..BatchFields::default()
        };
        let sizes = records.iter().map(|record| BatchBuilder::size_upper_bound(Some(&record.key), record.value.as_deref(), &[]));
        let mut batch = BatchBuilder::with_capacity(fields, sizes.sum());
        for record in records {
            batch.append(self.now.wall_ms, Some(&record.key), record.value.as_deref(), &[]);
        }
        let bytes = batch.build().map_err(|_| ErrorCode::UnknownServerError)?;
        let appended = match producer {
            Some(_) => self.partition.append_in_transaction(bytes, Acks::All, AppendOrigin::Coordinator, self.verification, self.now),
            None => self.partition.append(bytes, Acks::All, AppendOrigin::Coordinator, self.now),
        };
        match appended {
            Ok(done) => {
                self.counts.add(records, self.by_timer);
                Ok(done.info.first_offset)
            }
            Err(error) => {
                cannot_append("group", self.partition, error.code);
                Err(error.code)
            }
        }
    }

    fn high_watermark(&self) -> i64 {
        self.partition.high_watermark()
    }
}
