//! The end of a transaction on a partition of `__consumer_offsets`: the marker is written under the shard's lock, and the offsets that
//! waited for it become the group's, or are forgotten, before anybody else sees the shard. Kafka: `CoordinatorContext.completeTransaction`.

use super::{Groups, State};
use crate::markers::{Marker, MarkerWritten};
use base::Now;
use coordinator::Output;
use wire::ErrorCode;

impl Groups {
    pub fn write_marker(&self, now: Now, marker: &Marker, partition: i32) -> Result<MarkerWritten, ErrorCode> {
        // What the transaction coordinator understands as "ask again later".
        let cell = self.shards.read().get(&partition).cloned().ok_or(ErrorCode::NotLeaderOrFollower)?;
        let mut cell = cell.lock();
        let State::Active(active) = &mut cell.state else { return Err(ErrorCode::NotLeaderOrFollower) };
        let written = marker.append_to(&active.partition, now)?;
        active.shard.replay_end_transaction_marker(marker.producer_id, marker.commit);
        active.shard.wrote_marker(written.offset);
        active.carry_out(now, Output::default());
        Ok(written)
    }
}
