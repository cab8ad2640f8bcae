//! Loading: a shard is what its partition says, from the log's start to its end. Kafka: `CoordinatorLoaderImpl`.

use super::{Active, Cell, Groups, State};
use crate::Broker;
use crate::auto_create::OFFSETS_TOPIC;
use base::{Now, Segment};
use bytes::Bytes;
use coordinator::Shard;
use parking_lot::Mutex;
use record::EndTxnMarker;
use replica::Partition;
use std::collections::HashMap;
use std::sync::Arc;
use storage::{ReadLimit, Verification};

/// How much of the log is read at a time.
const READ_BYTES: usize = 5 * 1024 * 1024;
/// What one batch of group records may expand to.
const DECOMPRESSED_MAX: usize = 256 * 1024 * 1024;

impl Groups {
    pub fn has_pending(&self) -> bool {
        self.cells().iter().any(|cell| matches!(cell.lock().state, State::Loading))
    }

    /// Loads every shard that waits for it, one after the other; requests to the others go on meanwhile.
    pub fn load_pending(&self, broker: &Broker, now: Now) -> bool {
        let cells: Vec<(i32, Arc<Mutex<Cell>>)> = self.shards.read().iter().map(|(i, c)| (*i, c.clone())).collect();
        let mut any = false;
        for (index, cell) in cells {
            if matches!(cell.lock().state, State::Loading) {
                any = true;
                self.load(broker, index, &cell, now);
            }
        }
        any
    }

    fn load(&self, broker: &Broker, index: i32, cell: &Arc<Mutex<Cell>>, now: Now) {
        let Some(partition) = broker.replicas().get(OFFSETS_TOPIC, index) else { return };
        let shard = Shard::new(self.config.lock().clone(), self.next_rng());
        let loaded = read_all(&partition, shard);
        let mut cell = cell.lock();
        if !matches!(cell.state, State::Loading) {
            return;
        }
        cell.state = match loaded {
            Ok((mut shard, end)) => {
                // Only now: whoever changes the image later finds the shard active and tells it.
                shard.metadata_changed(&broker.image(), None);
                let output = shard.on_loaded(now, end, partition.high_watermark());
                let mut active = Active {
                    shard,
                    partition,
                    waiting: HashMap::new(),
                    counts: self.counts.clone(),
                    by_timer: false,
                    verification: Verification::NotRequired,
                    watch: None,
                    committed: self.committed_waker(),
                };
                active.carry_out(now, output);
                self.ring_if_earlier(active.shard.next_deadline());
                State::Active(Box::new(active))
            }
            Err(error) => {
                let dir = partition.with_log(|log| log.dir().display().to_string()).unwrap_or_default();
                tracing::error!(
                    partition = %partition.topic_partition, dir, error,
                    "groups of this partition cannot be loaded and have no coordinator; look at the offset with kafka-dump-log --offsets-decoder, \
                     and restore the segment from a backup, or delete records up to it with kafka-delete-records; then restart"
                );
                State::Failed
            }
        };
    }
}

/// The shard with every record applied, and the offset after the last.
fn read_all(partition: &Arc<Partition>, mut shard: Shard) -> Result<(Shard, i64), String> {
    let start = partition.with_log(|log| (log.log_start_offset(), log.log_end_offset()));
    let (mut offset, end) = start.ok_or("the log is not there")?;
    while offset < end {
        let read = partition.with_log(|log| log.read(offset, READ_BYTES, ReadLimit::LogEnd, true)).ok_or("the log is not there")?;
        let bytes = collect(read.map_err(|e| e.to_string())?.records)?;
        let before = offset;
        for batch in record::batches(&bytes) {
            let batch = batch.map_err(|e| format!("after offset {offset}: {e}"))?;
            let next = batch.view().next_offset();
            // A read starts with the batch that holds the offset, which may begin before it.
            if next > offset {
                apply(&mut shard, &batch).map_err(|e| format!("in the batch at offset {}: {e}", batch.view().base_offset()))?;
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
    Ok((shard, end))
}

fn collect(segments: Vec<Segment>) -> Result<Bytes, String> {
    wire::Records::from_segments(segments).to_bytes().map_err(|e| e.to_string())
}

fn apply(shard: &mut Shard, batch: &record::Batch) -> Result<(), String> {
    let view = batch.view();
    let producer_id = if view.is_transactional() { view.producer_id() } else { record::NO_PRODUCER_ID };
    if view.is_control() {
        if let Some((marker, _)) = EndTxnMarker::from_batch(batch).map_err(|e| e.to_string())? {
            shard.replay_end_transaction_marker(view.producer_id(), marker.commit);
        }
        return Ok(());
    }
    for record in batch.records(DECOMPRESSED_MAX).map_err(|e| e.to_string())? {
        let record = record.map_err(|e| e.to_string())?;
        let Some(key) = record.key else { return Err(format!("the record at offset {} has no key", record.offset)) };
        shard.replay(record.offset, producer_id, &key, record.value.as_ref()).map_err(|e| e.to_string())?;
    }
    Ok(())
}
