//! Metadata: topics, partitions, leaders, brokers; unknown topics are created when both sides allow it.
//! Kafka: `KafkaApis.handleTopicMetadataRequest`, `KRaftMetadataCache`.

use super::topic_partitions::{CLUSTER_OPERATIONS, TOPIC_OPERATIONS, alive, partition_facts};
use crate::answer::Handled;
use crate::auto_create::{is_internal, is_valid_topic_name};
use crate::context::Context;
use base::Uuid;
use std::collections::BTreeSet;
use wire::ErrorCode;
use wire::messages::metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic};
use wire::messages::{MetadataRequest, MetadataResponse};

pub(super) fn handle(c: &mut Context, request: MetadataRequest) -> Handled {
    let listener = c.session.listener.clone();
    let version = c.version();
    // Version 0 has no null: an empty list means all.
    let all = request.topics.as_ref().is_none_or(|topics| version == 0 && topics.is_empty());
    let asked = request.topics.unwrap_or_default();
    if version < 12 && asked.iter().any(|t| t.name.is_none() || !t.topic_id.is_zero()) {
        return Handled::Close(format!("Metadata v{version} names a topic by id or not at all"));
    }

    let mut topics = Vec::new();
    if all {
        topics.extend(c.image.topics.iter().map(|topic| describe(c, topic, &listener)));
    } else if asked.iter().any(|t| !t.topic_id.is_zero()) {
        let ids: BTreeSet<Uuid> = asked.iter().map(|t| t.topic_id).filter(|id| !id.is_zero()).collect();
        for id in ids {
            topics.push(match c.image.topics.get_by_id(id) {
                Some(topic) => describe(c, topic, &listener),
                None => {
                    MetadataResponseTopic { error_code: ErrorCode::UnknownTopicId.code(), topic_id: id, name: None, ..Default::default() }
                }
            });
        }
    } else {
        let may_create = request.allow_auto_topic_creation && c.broker.config().auto_create_topics_enable;
        let names: BTreeSet<String> = asked.into_iter().filter_map(|t| t.name).collect();
        for name in names {
            topics.push(match c.image.topics.get(&name) {
                Some(topic) => describe(c, topic, &listener),
                None => missing(c, name, may_create),
            });
        }
    }
    if version >= 8 && request.include_topic_authorized_operations {
        for topic in topics.iter_mut().filter(|t| t.error_code == 0) {
            topic.topic_authorized_operations = TOPIC_OPERATIONS;
        }
    }

    let brokers: Vec<_> = alive(&c.image, &listener)
        .map(|b| MetadataResponseBroker {
            node_id: b.id,
            host: b.host.to_owned(),
            port: b.port,
            rack: b.rack.map(str::to_owned),
            ..Default::default()
        })
        .collect();
    let with_cluster_operations = (8..=10).contains(&version) && request.include_cluster_authorized_operations;
    c.answer(&MetadataResponse {
        // Any broker takes what is meant for the controller; Kafka names one at random.
        controller_id: brokers.first().map_or(-1, |b| b.node_id),
        brokers,
        cluster_id: Some(c.broker.cluster_id().to_owned()),
        topics,
        cluster_authorized_operations: if with_cluster_operations { CLUSTER_OPERATIONS } else { i32::MIN },
        ..Default::default()
    })
}

fn describe(c: &Context, topic: &metadata::Topic, listener: &str) -> MetadataResponseTopic {
    let partitions = topic.partitions.iter().map(|(index, partition)| {
        let facts = partition_facts(&c.image, partition, listener, c.version() >= 6);
        MetadataResponsePartition {
            error_code: facts.error.code(),
            partition_index: *index,
            leader_id: facts.leader,
            leader_epoch: partition.leader_epoch,
            replica_nodes: partition.replicas.clone(),
            isr_nodes: partition.isr.clone(),
            offline_replicas: facts.offline,
            ..Default::default()
        }
    });
    MetadataResponseTopic {
        name: Some(topic.name.to_string()),
        topic_id: topic.id,
        is_internal: is_internal(&topic.name),
        partitions: partitions.collect(),
        ..Default::default()
    }
}

fn missing(c: &Context, name: String, may_create: bool) -> MetadataResponseTopic {
    let error = match (may_create, is_valid_topic_name(&name)) {
        (_, false) => ErrorCode::InvalidTopicException,
        (true, true) => c.broker.auto_create.create(c.broker, &name, c.now),
        (false, true) => ErrorCode::UnknownTopicOrPartition,
    };
    MetadataResponseTopic { error_code: error.code(), is_internal: is_internal(&name), name: Some(name), ..Default::default() }
}
