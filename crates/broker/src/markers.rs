//! Writes the control record that ends a transaction on a partition led here. Used by the transaction coordinator for its own broker and
//! by WriteTxnMarkers for those of others. Never decides whether a transaction ends; the log refuses markers of deposed coordinators.
//! Kafka: `KafkaApis.handleWriteTxnMarkersRequest`, `EndTransactionMarker`.

use crate::Broker;
use crate::auto_create::OFFSETS_TOPIC;
use base::{Now, TopicPartition};
use record::EndTxnMarker;
use replica::Partition;
use std::sync::Arc;
use wire::ErrorCode;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub commit: bool,
    /// Of the coordinator's partition; an older one than the log has seen is refused.
    pub coordinator_epoch: i32,
    /// From 2 on every transaction has its own producer epoch, and the marker a higher one than the data (KIP-1228).
    pub transaction_version: i16,
}

/// A marker in the log of its leader: it counts when the high watermark has passed `offset`.
#[derive(Clone)]
pub(crate) struct MarkerWritten {
    pub partition: Arc<Partition>,
    pub offset: i64,
}

impl Marker {
    pub(crate) fn append_to(&self, partition: &Arc<Partition>, now: Now) -> Result<MarkerWritten, ErrorCode> {
        let record = EndTxnMarker { commit: self.commit, coordinator_epoch: self.coordinator_epoch };
        // The partition's leader epoch is filled in when offsets are.
        let batch = record.batch(now.wall_ms, self.producer_id, self.producer_epoch, -1).map_err(|_| ErrorCode::UnknownServerError)?;
        match partition.append_end_txn_marker(batch, self.transaction_version, now) {
            Ok(done) => Ok(MarkerWritten { partition: partition.clone(), offset: done.info.last_offset }),
            Err(error) => {
                let (partition, text) = (&partition.topic_partition, error.message.as_deref().unwrap_or_default());
                tracing::info!(%partition, marker = ?self, error = %error.code, text, "the end of a transaction cannot be written");
                Err(error.code)
            }
        }
    }
}

/// Appends the end-of-transaction marker to a partition led here; for a partition of `__consumer_offsets` the group shard replays it.
pub(crate) fn write_marker(broker: &Broker, now: Now, marker: &Marker, partition: &TopicPartition) -> Result<MarkerWritten, ErrorCode> {
    let replica = broker.replicas().get(&partition.topic, partition.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if &*partition.topic == OFFSETS_TOPIC {
        return broker.groups.write_marker(now, marker, partition.partition);
    }
    marker.append_to(&replica, now)
}
