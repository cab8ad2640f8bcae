//! DescribeTopicPartitions (KIP-966): partitions with their eligible leader replicas, a page at a time.
//! Kafka: `DescribeTopicPartitionsRequestHandler`, `KRaftMetadataCache.describeTopicResponse`.

use super::topic_partitions::{TOPIC_OPERATIONS, partition_facts};
use crate::answer::Handled;
use crate::auto_create::{is_internal, is_valid_topic_name};
use crate::context::Context;
use std::collections::BTreeSet;
use wire::ErrorCode;
use wire::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use wire::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};

/// `max.request.partition.size.limit` is at least this.
const LIMIT_MIN: i32 = 1;

pub(super) fn handle(c: &mut Context, request: DescribeTopicPartitionsRequest) -> Handled {
    let (from_topic, from_partition) = match &request.cursor {
        Some(cursor) if cursor.partition_index < 0 => {
            return Handled::Close(format!("DescribeTopicPartitions cursor partition must be valid: {}", cursor.partition_index));
        }
        Some(cursor) => (cursor.topic_name.clone(), cursor.partition_index),
        None => (String::new(), 0),
    };
    let all = request.topics.is_empty();
    let names: BTreeSet<String> = match all {
        true => c.image.topics.from_name(&from_topic).map(|t| t.name.to_string()).collect(),
        false => request.topics.into_iter().map(|t| t.name).filter(|name| *name >= from_topic).collect(),
    };
    let limit = c.broker.config().max_request_partition_size_limit.min(request.response_partition_limit).max(LIMIT_MIN) as usize;

    let mut page = Page { c, left: limit, next: None };
    let mut topics = Vec::new();
    for name in names {
        if page.left == 0 {
            page.next = Some(Cursor { topic_name: name, partition_index: 0, ..Default::default() });
            break;
        }
        let first = if name == from_topic { from_partition } else { 0 };
        topics.push(page.topic(&name, first));
        if page.next.is_some() {
            break;
        }
    }
    let next_cursor = page.next;
    c.answer(&DescribeTopicPartitionsResponse { topics, next_cursor, ..Default::default() })
}

struct Page<'a, 'b> {
    c: &'a Context<'b>,
    left: usize,
    next: Option<Cursor>,
}

impl Page<'_, '_> {
    fn topic(&mut self, name: &str, first: i32) -> DescribeTopicPartitionsResponseTopic {
        let mut out = DescribeTopicPartitionsResponseTopic {
            name: Some(name.to_owned()),
            is_internal: is_internal(name),
            topic_authorized_operations: TOPIC_OPERATIONS,
            ..Default::default()
        };
        let Some(topic) = self.c.image.topics.get(name) else {
            let error = if is_valid_topic_name(name) { ErrorCode::UnknownTopicOrPartition } else { ErrorCode::InvalidTopicException };
            out.error_code = error.code();
            return out;
        };
        out.topic_id = topic.id;
        for (index, partition) in topic.partitions.range(first..) {
            if self.left == 0 {
                self.next = Some(Cursor { topic_name: name.to_owned(), partition_index: *index, ..Default::default() });
                break;
            }
            self.left -= 1;
            let facts = partition_facts(&self.c.image, partition, &self.c.session.listener, true);
            out.partitions.push(DescribeTopicPartitionsResponsePartition {
                error_code: facts.error.code(),
                partition_index: *index,
                leader_id: facts.leader,
                leader_epoch: partition.leader_epoch,
                replica_nodes: partition.replicas.clone(),
                isr_nodes: partition.isr.clone(),
                eligible_leader_replicas: Some(partition.elr.clone()),
                last_known_elr: Some(partition.last_known_elr.clone()),
                offline_replicas: facts.offline,
                ..Default::default()
            });
        }
        out
    }
}
