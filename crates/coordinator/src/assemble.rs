//! For requests that name several groups: how the broker splits one by shard, and puts the answers together.
//!
//! - OffsetFetch: `offset_fetch_groups` gives one part per group, whatever the version; each part goes to its group's shard, and
//!   `offset_fetch_response` makes one response of the answers.
//! - DescribeGroups, DeleteGroups: the group ids are sorted by shard (`base::hash::coordinator_partition`), one call per shard, and the
//!   answers are joined in any order.
//! - ListGroups: one call to every shard; the groups are joined. A shard that is not here is left out; one that is loading makes the
//!   whole answer COORDINATOR_LOAD_IN_PROGRESS.

use wire::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use wire::messages::offset_fetch_response::{OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponseTopic};
use wire::messages::{OffsetFetchRequest, OffsetFetchResponse};

/// The first version of OffsetFetch that asks for several groups.
const OFFSET_FETCH_BATCH_VERSION: i16 = 8;

/// The groups of an OffsetFetch; older versions name a single one in other fields.
pub fn offset_fetch_groups(request: OffsetFetchRequest, api_version: i16) -> Vec<OffsetFetchRequestGroup> {
    if api_version >= OFFSET_FETCH_BATCH_VERSION {
        return request.groups;
    }
    let topics = request.topics.map(|topics| {
        let convert = |t: wire::messages::offset_fetch_request::OffsetFetchRequestTopic| OffsetFetchRequestTopics {
            name: t.name,
            partition_indexes: t.partition_indexes,
            ..Default::default()
        };
        topics.into_iter().map(convert).collect()
    });
    vec![OffsetFetchRequestGroup { group_id: request.group_id, member_id: None, member_epoch: -1, topics, ..Default::default() }]
}

/// One response of the answers for all groups, in the shape of the version.
pub fn offset_fetch_response(groups: Vec<OffsetFetchResponseGroup>, api_version: i16) -> OffsetFetchResponse {
    if api_version >= OFFSET_FETCH_BATCH_VERSION {
        return OffsetFetchResponse { groups, ..Default::default() };
    }
    let Some(group) = groups.into_iter().next() else { return OffsetFetchResponse::default() };
    let topics = group.topics.into_iter().map(|t| OffsetFetchResponseTopic {
        name: t.name,
        partitions: t
            .partitions
            .into_iter()
            .map(|p| OffsetFetchResponsePartition {
                partition_index: p.partition_index,
                committed_offset: p.committed_offset,
                committed_leader_epoch: p.committed_leader_epoch,
                metadata: p.metadata,
                error_code: p.error_code,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    OffsetFetchResponse { error_code: group.error_code, topics: topics.collect(), ..Default::default() }
}
