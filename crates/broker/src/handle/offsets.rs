//! OffsetCommit, OffsetFetch, OffsetDelete: topics are checked against the metadata here, the rest is the shard's.

use super::gather::{Gather, Part};
use super::group::{call, request_context};
use crate::answer::{Handled, Response};
use crate::context::Context;
use coordinator::{Reply, Shard, assemble, errors};
use metadata::Image;
use wire::ErrorCode;
use wire::messages::offset_commit_request::OffsetCommitRequestTopic;
use wire::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use wire::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use wire::messages::offset_fetch_request::OffsetFetchRequestGroup;
use wire::messages::offset_fetch_response::{OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics};
use wire::messages::{OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse, OffsetFetchRequest};

/// From here on OffsetCommit and OffsetFetch name topics by id.
const TOPIC_ID_VERSION: i16 = 10;

pub(super) fn commit(c: &mut Context, mut request: OffsetCommitRequest) -> Handled {
    let by_id = c.version() >= TOPIC_ID_VERSION;
    let mut refused = Vec::new();
    let mut topics = Vec::new();
    for topic in std::mem::take(&mut request.topics) {
        topics.extend(known_part(&c.image, topic, by_id, &mut refused));
    }
    if topics.is_empty() {
        return c.answer(&OffsetCommitResponse { topics: refused, ..Default::default() });
    }
    request.topics = topics;
    let (context, now) = (request_context(c), c.now);
    let slot = c.broker.groups.call(&request.group_id, now, |shard: &mut Shard, token| shard.offset_commit(now, &context, token, &request));
    let part = Part::of(slot, |error| Reply::OffsetCommit(errors::offset_commit(&request, error)));
    Gather::park(c, vec![part], move |reply, replies| {
        let Some(Reply::OffsetCommit(mut response)) = replies.into_iter().next() else { return None };
        merge(&mut response.topics, refused);
        reply.encode(&response)
    })
}

/// The partitions of a topic that exist; the others go to `refused`.
fn known_part(
    image: &Image,
    mut topic: OffsetCommitRequestTopic,
    by_id: bool,
    refused: &mut Vec<OffsetCommitResponseTopic>,
) -> Option<OffsetCommitRequestTopic> {
    let known = if by_id { image.topics.get_by_id(topic.topic_id) } else { image.topics.get(&topic.name) };
    let exists = |index: i32| known.is_some_and(|t| t.partitions.contains_key(&index));
    let error = if by_id && known.is_none() { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition };
    if let Some(known) = known {
        if by_id {
            topic.name = known.name.to_string();
        }
        topic.topic_id = known.id;
    }
    if topic.partitions.iter().all(|p| exists(p.partition_index)) {
        return (!topic.partitions.is_empty()).then_some(topic);
    }
    let (good, bad): (Vec<_>, Vec<_>) = std::mem::take(&mut topic.partitions).into_iter().partition(|p| exists(p.partition_index));
    if !bad.is_empty() {
        let partitions = bad.into_iter().map(|p| OffsetCommitResponsePartition {
            partition_index: p.partition_index,
            error_code: error.code(),
            ..Default::default()
        });
        let partitions = partitions.collect();
        refused.push(OffsetCommitResponseTopic { name: topic.name.clone(), topic_id: topic.topic_id, partitions, ..Default::default() });
    }
    topic.partitions = good;
    (!topic.partitions.is_empty()).then_some(topic)
}

fn merge(topics: &mut Vec<OffsetCommitResponseTopic>, more: Vec<OffsetCommitResponseTopic>) {
    for topic in more {
        match topics.iter_mut().find(|t| t.name == topic.name && t.topic_id == topic.topic_id) {
            Some(there) => there.partitions.extend(topic.partitions),
            None => topics.push(topic),
        }
    }
}

pub(super) fn fetch(c: &mut Context, request: OffsetFetchRequest) -> Handled {
    let (context, now, version) = (request_context(c), c.now, c.version());
    let by_id = version >= TOPIC_ID_VERSION;
    let require_stable = request.require_stable;
    let mut unknown = Vec::new();
    let parts = assemble::offset_fetch_groups(request, version)
        .into_iter()
        .map(|mut group| {
            unknown.push(if by_id { name_topics(&c.image, &mut group) } else { Vec::new() });
            let asked = group.clone();
            let group_id = group.group_id.clone();
            let slot = c.broker.groups.call(&group_id, now, |shard, token| shard.offset_fetch(now, &context, token, group, require_stable));
            Part::of(slot, |error| Reply::OffsetFetch(errors::offset_fetch(&asked, error, version)))
        })
        .collect();
    let image = c.image.clone();
    Gather::park(c, parts, move |reply, replies| {
        let mut groups: Vec<OffsetFetchResponseGroup> =
            replies.into_iter().filter_map(|r| if let Reply::OffsetFetch(group) = r { Some(group) } else { None }).collect();
        if by_id {
            for (group, unknown) in groups.iter_mut().zip(unknown) {
                // Offsets of topics that are gone are not told: their names could mean other topics by now.
                group.topics.retain_mut(|topic| match image.topics.get(&topic.name) {
                    Some(known) => {
                        topic.topic_id = known.id;
                        true
                    }
                    None => false,
                });
                group.topics.extend(unknown);
            }
        }
        encode_fetch(reply, groups, version)
    })
}

fn encode_fetch(reply: crate::answer::ReplyTo, groups: Vec<OffsetFetchResponseGroup>, version: i16) -> Option<Response> {
    reply.encode(&assemble::offset_fetch_response(groups, version))
}

/// Fills in the names of the topics asked for by id; unknown ones are taken out and returned with their error.
fn name_topics(image: &Image, group: &mut OffsetFetchRequestGroup) -> Vec<OffsetFetchResponseTopics> {
    let mut unknown = Vec::new();
    for mut topic in group.topics.take().into_iter().flatten() {
        match image.topics.get_by_id(topic.topic_id) {
            Some(known) => {
                topic.name = known.name.to_string();
                group.topics.get_or_insert_default().push(topic);
            }
            None => {
                let partitions = topic.partition_indexes.iter().map(|index| OffsetFetchResponsePartitions {
                    partition_index: *index,
                    committed_offset: -1,
                    committed_leader_epoch: -1,
                    metadata: Some(String::new()),
                    error_code: ErrorCode::UnknownTopicId.code(),
                    ..Default::default()
                });
                let partitions = partitions.collect();
                unknown.push(OffsetFetchResponseTopics { topic_id: topic.topic_id, partitions, ..Default::default() });
                group.topics.get_or_insert_default();
            }
        }
    }
    unknown
}

pub(super) fn delete(c: &mut Context, mut request: OffsetDeleteRequest) -> Handled {
    let mut refused: Vec<OffsetDeleteResponseTopic> = Vec::new();
    for topic in &mut request.topics {
        let known = c.image.topics.get(&topic.name);
        let exists = |index: i32| known.is_some_and(|t| t.partitions.contains_key(&index));
        let (good, bad): (Vec<_>, Vec<_>) = std::mem::take(&mut topic.partitions).into_iter().partition(|p| exists(p.partition_index));
        topic.partitions = good;
        if !bad.is_empty() {
            let partitions = bad.into_iter().map(|p| OffsetDeleteResponsePartition {
                partition_index: p.partition_index,
                error_code: ErrorCode::UnknownTopicOrPartition.code(),
                ..Default::default()
            });
            let partitions = partitions.collect();
            refused.push(OffsetDeleteResponseTopic { name: topic.name.clone(), partitions, ..Default::default() });
        }
    }
    request.topics.retain(|t| !t.partitions.is_empty());
    if request.topics.is_empty() {
        return c.answer(&OffsetDeleteResponse { topics: refused, ..Default::default() });
    }
    if refused.is_empty() {
        let (context, now, group_id) = (request_context(c), c.now, request.group_id.clone());
        let step = |shard: &mut Shard, token| shard.offset_delete(now, &context, token, request);
        return call(c, &group_id, step, |error| Reply::OffsetDelete(errors::offset_delete(error)));
    }
    let (context, now, group_id) = (request_context(c), c.now, request.group_id.clone());
    let slot = c.broker.groups.call(&group_id, now, |shard, token| shard.offset_delete(now, &context, token, request));
    let part = Part::of(slot, |error| Reply::OffsetDelete(errors::offset_delete(error)));
    Gather::park(c, vec![part], move |reply, replies| {
        let Some(Reply::OffsetDelete(mut response)) = replies.into_iter().next() else { return None };
        if response.error_code == 0 {
            for topic in refused {
                match response.topics.iter_mut().find(|t| t.name == topic.name) {
                    Some(there) => there.partitions.extend(topic.partitions),
                    None => response.topics.push(topic),
                }
            }
        }
        reply.encode(&response)
    })
}
