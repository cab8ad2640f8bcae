//! What the metrics page reads of a shard. Nothing here changes anything.

use super::Shard;

impl Shard {
    /// Every committed offset: group, topic, partition, offset. Those of one group and topic come one after the other.
    pub fn committed_offsets(&self, mut each: impl FnMut(&str, &str, i32, i64)) {
        self.offsets.committed.iter().for_each(|(group, topic, partition, stored)| each(group, topic, partition, stored.offset));
    }
}
