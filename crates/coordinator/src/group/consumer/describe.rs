//! How a consumer group looks from outside. Kafka: ConsumerGroup.asDescribedGroup.

use std::collections::BTreeMap;

use base::Uuid;
use wire::messages::consumer_group_describe_response::{Assignment, DescribedGroup, Member as DescribedMember, TopicPartitions};

use super::member::Member;
use super::{ConsumerGroup, Context};
use crate::assignor::Partitions;

impl ConsumerGroup {
    pub(crate) fn describe(&self, c: &Context) -> DescribedGroup {
        DescribedGroup {
            group_id: self.id.to_string(),
            group_state: self.state().to_owned(),
            group_epoch: self.epoch,
            assignment_epoch: self.target.epoch,
            assignor_name: self.preferred_assignor(c, None, None).name().to_owned(),
            members: self.members.values().map(|member| self.describe_member(c, member)).collect(),
            ..Default::default()
        }
    }

    fn describe_member(&self, c: &Context, member: &Member) -> DescribedMember {
        // A member answers for what it is giving up until it has.
        let mut held = Partitions::new();
        for (topic, partitions) in member.assigned.iter().chain(member.pending_revocation.iter()) {
            held.entry(*topic).or_default().extend(partitions.keys());
        }
        let target = self.target_of(&member.id).map(|target| assignment(c, target));
        DescribedMember {
            member_id: member.id.to_string(),
            instance_id: member.instance_id.clone(),
            rack_id: member.rack_id.clone(),
            member_epoch: member.epoch,
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            subscribed_topic_names: member.topic_names.iter().map(|t| t.to_string()).collect(),
            subscribed_topic_regex: member.topic_regex.clone(),
            assignment: assignment(c, &held),
            target_assignment: target.unwrap_or_default(),
            member_type: if member.uses_classic_protocol() { 0 } else { 1 },
            ..Default::default()
        }
    }
}

/// Topics that are gone are left out.
fn assignment(c: &Context, partitions: &BTreeMap<Uuid, std::collections::BTreeSet<i32>>) -> Assignment {
    let topic = |(topic_id, partitions): (&Uuid, &std::collections::BTreeSet<i32>)| {
        let topic = c.cluster.topic_by_id(*topic_id)?;
        Some(TopicPartitions {
            topic_id: *topic_id,
            topic_name: topic.name.to_string(),
            partitions: partitions.iter().copied().collect(),
            ..Default::default()
        })
    };
    Assignment { topic_partitions: partitions.iter().filter_map(topic).collect(), ..Default::default() }
}
