//! Scenarios of consumer groups, on a shard with a log in memory.

mod fencing;
mod membership;
mod migration;
mod regexes;
mod replaying;

use std::collections::BTreeMap;

use base::Uuid;
use wire::ErrorCode;
use wire::messages::consumer_group_describe_response::DescribedGroup;
use wire::messages::consumer_group_heartbeat_request::TopicPartitions;
use wire::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

use crate::group::Group;
use crate::group::consumer::ConsumerGroup;
use crate::output::{Reply, Token};
use crate::testing::{Entry, Harness, context};

pub(super) const GROUP: &str = "g";

/// A first heartbeat for these topics.
pub(super) fn joining(member: &str, topics: &[&str]) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: GROUP.to_owned(),
        member_id: member.to_owned(),
        member_epoch: 0,
        rebalance_timeout_ms: 20_000,
        subscribed_topic_names: Some(topics.iter().map(|t| (*t).to_owned()).collect()),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    }
}

pub(super) fn joining_static(member: &str, instance: &str, topics: &[&str]) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest { instance_id: Some(instance.to_owned()), ..joining(member, topics) }
}

/// A heartbeat that tells nothing new.
pub(super) fn beat(member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest { group_id: GROUP.to_owned(), member_id: member.to_owned(), member_epoch: epoch, ..Default::default() }
}

/// A heartbeat that tells what the member owns.
pub(super) fn owning(member: &str, epoch: i32, owned: &[(Uuid, &[i32])]) -> ConsumerGroupHeartbeatRequest {
    let topic = |(topic_id, partitions): &(Uuid, &[i32])| TopicPartitions {
        topic_id: *topic_id,
        partitions: partitions.to_vec(),
        ..Default::default()
    };
    ConsumerGroupHeartbeatRequest { topic_partitions: Some(owned.iter().map(topic).collect()), ..beat(member, epoch) }
}

impl Harness {
    pub(super) fn send_consumer(&mut self, request: ConsumerGroupHeartbeatRequest) -> Token {
        let token = self.token();
        let out = self.shard.consumer_group_heartbeat(self.now, &context(1), token, request);
        self.drive(out);
        // What a heartbeat leaves to be done at once.
        self.advance(0);
        token
    }

    pub(super) fn consumer(&mut self, request: ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatResponse {
        let token = self.send_consumer(request);
        match self.reply(token) {
            Some(Reply::ConsumerGroupHeartbeat(response)) => response,
            other => panic!("no ConsumerGroupHeartbeat response: {other:?}"),
        }
    }

    pub(super) fn refused(&mut self, request: ConsumerGroupHeartbeatRequest) -> (ErrorCode, String) {
        let response = self.consumer(request);
        (ErrorCode::from_code(response.error_code), response.error_message.unwrap_or_default())
    }

    /// The epoch and the assignment that a heartbeat is answered with.
    pub(super) fn told(&mut self, request: ConsumerGroupHeartbeatRequest) -> (i32, Option<BTreeMap<Uuid, Vec<i32>>>) {
        let response = self.consumer(request);
        assert_eq!((response.error_code, response.error_message), (0, None));
        let assignment = response.assignment.map(|a| a.topic_partitions.into_iter().map(|t| (t.topic_id, t.partitions)).collect());
        (response.member_epoch, assignment)
    }

    pub(super) fn described(&mut self) -> DescribedGroup {
        let token = self.token();
        let out = self.shard.consumer_group_describe(self.now, &context(1), token, &[GROUP.to_owned()]);
        self.drive(out);
        match self.reply(token) {
            Some(Reply::ConsumerGroupDescribe(mut groups)) => groups.remove(0),
            other => panic!("no ConsumerGroupDescribe response: {other:?}"),
        }
    }

    pub(super) fn group(&self) -> &ConsumerGroup {
        match self.shard.groups.get(GROUP) {
            Some(Group::Consumer(group)) => group,
            other => panic!("not a consumer group: {other:?}"),
        }
    }

    /// Types of the records written since `from`; tombstones are negative.
    pub(super) fn written_since(&self, from: usize) -> Vec<i16> {
        let type_of = |entry: &Entry| match entry {
            Entry::Record { record, .. } => {
                let record_type = i16::from_be_bytes([record.key[0], record.key[1]]);
                if record.value.is_some() { record_type } else { -record_type }
            }
            Entry::Marker { .. } => panic!("no transactions here"),
        };
        self.log.entries[from..].iter().map(type_of).collect()
    }
}

pub(super) fn only(topic: Uuid, partitions: &[i32]) -> Option<BTreeMap<Uuid, Vec<i32>>> {
    Some(BTreeMap::from([(topic, partitions.to_vec())]))
}

pub(super) fn nothing() -> Option<BTreeMap<Uuid, Vec<i32>>> {
    Some(BTreeMap::new())
}
