//! What the metrics page reads of a shard. Nothing here changes anything.

use super::Shard;
use crate::group::Group;

impl Shard {
    /// Every committed offset: group, topic, partition, offset. Those of one group and topic come one after the other.
    pub fn committed_offsets(&self, mut each: impl FnMut(&str, &str, i32, i64)) {
        self.offsets.committed.iter().for_each(|(group, topic, partition, stored)| each(group, topic, partition, stored.offset));
    }

    /// Every group: id, protocol, members.
    pub fn groups(&self, mut each: impl FnMut(&str, &'static str, usize)) {
        for (id, group) in &self.groups {
            match group {
                Group::Classic(group) => each(id, "classic", group.members().len()),
                Group::Consumer(group) => each(id, "consumer", group.member_count()),
                Group::Modern(group) => each(id, group.kind().name(), group.members().count()),
            }
        }
    }
}
