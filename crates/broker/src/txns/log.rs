//! A shard's log: its partition of `__transaction_state`, written like any other.

use crate::shard_log::cannot_append;
use base::Now;
use coordinator::CoordinatorRecord;
use coordinator::txn::TxnLog;
use record::{BatchBuilder, BatchFields};
use replica::{Acks, Partition};
use std::sync::Arc;
use storage::AppendOrigin;
use wire::ErrorCode;

pub(super) struct PartitionLog<'a> {
    pub partition: &'a Arc<Partition>,
    pub now: Now,
}

impl TxnLog for PartitionLog<'_> {
    fn append(&mut self, records: &[CoordinatorRecord]) -> Result<i64, ErrorCode> {
        let mut batch = BatchBuilder::new(BatchFields::default());
        for record in records {
            batch.append(self.now.wall_ms, Some(&record.key), record.value.as_deref(), &[]);
        }
        let bytes = batch.build().map_err(|_| ErrorCode::UnknownServerError)?;
        match self.partition.append(bytes, Acks::All, AppendOrigin::Coordinator, self.now) {
            Ok(done) => Ok(done.info.first_offset),
            Err(error) => {
                cannot_append("transaction", self.partition, error.code);
                Err(error.code)
            }
        }
    }

    fn high_watermark(&self) -> i64 {
        self.partition.high_watermark()
    }
}
