//! Loading: a shard is what its partition says, from the log's start to its end. A record that cannot be read is named in the log and passed
//! over; a batch that cannot be read ends the loading, and the shard goes on with what it has, as in Kafka.
//! Kafka: `TransactionStateManager.loadTransactionMetadata`.

use super::Txns;
use super::cell::{Active, Cell, State};
use crate::Broker;
use crate::auto_create::TRANSACTION_STATE_TOPIC;
use base::Now;
use coordinator::txn::TxnShard;
use parking_lot::Mutex;
use replica::Partition;
use std::collections::HashMap;
use std::sync::Arc;
use storage::ReadLimit;

/// How much of the log is read at a time.
const READ_BYTES: usize = 5 * 1024 * 1024;
/// What one batch of records may expand to.
const DECOMPRESSED_MAX: usize = 256 * 1024 * 1024;

impl Txns {
    pub fn has_pending(&self) -> bool {
        self.cells().iter().any(|(_, cell)| matches!(cell.lock().state, State::Loading))
    }

    /// Loads every shard that waits for it, one after the other; requests to the others go on meanwhile.
    pub fn load_pending(&self, broker: &Broker, now: Now) -> bool {
        let mut any = false;
        for (index, cell) in self.cells() {
            if matches!(cell.lock().state, State::Loading) {
                any = true;
                self.load(broker, index, &cell, now);
            }
        }
        any
    }

    fn load(&self, broker: &Broker, index: i32, cell: &Arc<Mutex<Cell>>, now: Now) {
        let Some(partition) = broker.replicas().get(TRANSACTION_STATE_TOPIC, index) else { return };
        let epoch = cell.lock().epoch;
        let mut shard = TxnShard::new(self.config.lock().clone(), epoch);
        let end = match read_all(&partition, &mut shard) {
            Ok(end) => end,
            Err(error) => {
                tracing::error!(partition = %partition.topic_partition, error, "the transactions of this partition cannot all be loaded");
                partition.with_log(|log| log.log_end_offset()).unwrap_or(0)
            }
        };
        let markers = {
            let mut cell = cell.lock();
            if !matches!(cell.state, State::Loading) {
                return;
            }
            let (committed, high_watermark) = (self.committed_waker(), partition.high_watermark());
            let mut active = Box::new(Active { shard, partition, waiting: HashMap::new(), watch: None, committed });
            let markers = self.run(broker, now, &mut active, |shard, context| shard.on_loaded(context, end, high_watermark));
            cell.state = State::Active(active);
            markers
        };
        self.write_markers(broker, now, index, markers);
    }
}

/// Applies every record to the shard; returns the offset after the last.
fn read_all(partition: &Arc<Partition>, shard: &mut TxnShard) -> Result<i64, String> {
    let start = partition.with_log(|log| (log.log_start_offset(), log.log_end_offset()));
    let (mut offset, end) = start.ok_or("the log is not there")?;
    while offset < end {
        let read = partition.with_log(|log| log.read(offset, READ_BYTES, ReadLimit::LogEnd, true)).ok_or("the log is not there")?;
        let records = read.map_err(|e| e.to_string())?.records;
        let bytes = wire::Records::from_segments(records).to_bytes().map_err(|e| e.to_string())?;
        let before = offset;
        for batch in record::batches(&bytes) {
            let batch = batch.map_err(|e| format!("after offset {offset}: {e}"))?;
            let next = batch.view().next_offset();
            // A read starts with the batch that holds the offset, which may begin before it.
            if next > offset {
                apply(partition, shard, &batch).map_err(|e| format!("in the batch at offset {}: {e}", batch.view().base_offset()))?;
                offset = next;
            }
        }
        // Whoever compacted the log may have left nothing between here and its end.
        if bytes.is_empty() {
            break;
        }
        if offset == before {
            return Err(format!("nothing can be read at offset {offset} although the log ends at {end}"));
        }
    }
    Ok(end)
}

fn apply(partition: &Partition, shard: &mut TxnShard, batch: &record::Batch) -> Result<(), String> {
    if batch.view().is_control() {
        return Ok(());
    }
    for record in batch.records(DECOMPRESSED_MAX).map_err(|e| e.to_string())? {
        let record = record.map_err(|e| e.to_string())?;
        let applied = match &record.key {
            Some(key) => shard.replay(record.offset, key, record.value.as_ref()),
            None => Err(format!("the record at offset {} has no key", record.offset)),
        };
        if let Err(error) = applied {
            tracing::error!(partition = %partition.topic_partition, error, "a transaction record is passed over");
        }
    }
    Ok(())
}
