//! Checks of the admin client.

use crate::{Bench, Check, Outcome, ensure, eventually, text};
use client::admin::{AlterConfigOp, ConfigResource, ConfigResourceType, CreateTopicsOptions, ListGroupsOptions, NewPartitions, NewTopic};
use client::{IsolationLevel, OffsetAndMetadata, OffsetSpec, TopicPartition};
use std::collections::BTreeMap;
use wire::ErrorCode;

pub const CHECKS: &[(&str, Check)] = &[
    ("admin describes the cluster", |bench| Box::pin(describe_cluster(bench))),
    ("admin creates, describes and deletes topics", |bench| Box::pin(topics(bench))),
    ("admin reports Kafka's errors", |bench| Box::pin(errors(bench))),
    ("admin describes and alters configs", |bench| Box::pin(configs(bench))),
    ("admin lists offsets and deletes records", |bench| Box::pin(offsets(bench))),
    ("admin lists, changes and deletes group offsets", |bench| Box::pin(group_offsets(bench))),
];

async fn describe_cluster(bench: &Bench) -> Outcome {
    let cluster = bench.admin.describe_cluster().await.map_err(text)?;
    ensure(!cluster.cluster_id.is_empty() && !cluster.nodes.is_empty(), || format!("{cluster:?}"))?;
    ensure(cluster.controller.is_some(), || "no controller".to_owned())?;
    let versions = bench.admin.api_versions(Some(cluster.nodes[0].0.id)).await.map_err(text)?;
    ensure(versions.api_keys.iter().any(|api| api.api_key == 1 && api.max_version >= 13), || "no Fetch by topic id".to_owned())
}

async fn topics(bench: &Bench) -> Outcome {
    let admin = &bench.admin;
    let name = bench.name("topics");
    let by_hand = bench.name("by-hand");
    let only_checked = bench.name("only-checked");
    let mut assigned = NewTopic::new(&by_hand, -1, -1);
    let broker = admin.nodes().await.map_err(text)?[0].id;
    assigned.assignments = BTreeMap::from([(0, vec![broker]), (1, vec![broker])]);
    let new = vec![NewTopic::new(&name, 3, 1).config("retention.ms", 123_456), assigned];
    let created = admin.create_topics(new, CreateTopicsOptions::default()).await.map_err(text)?;
    for (topic, result) in &created {
        let result = result.as_ref().map_err(|error| format!("{topic}: {error}"))?;
        ensure(!result.topic_id.is_zero(), || "no topic id".to_owned())?;
    }
    let checked = admin.create_topics(vec![NewTopic::new(&only_checked, 1, 1)], CreateTopicsOptions { validate_only: true }).await;
    ensure(checked.map_err(text)?.iter().all(|(_, result)| result.is_ok()), || "validate_only failed".to_owned())?;
    eventually(async || {
        let described = admin.describe_topics(&[name.clone(), by_hand.clone(), only_checked.clone()]).await.map_err(text)?;
        let partitions: Vec<Option<usize>> =
            described.iter().map(|(_, result)| result.as_ref().ok().map(|topic| topic.partitions.len())).collect();
        ensure(partitions == [Some(3), Some(2), None], || format!("{partitions:?}"))
    })
    .await?;
    let described = admin.describe_topics(std::slice::from_ref(&name)).await.map_err(text)?;
    let more = NewPartitions { topic: name.clone(), total_count: 5, assignments: None };
    let fewer = NewPartitions { topic: by_hand.clone(), total_count: 1, assignments: None };
    let grown = admin.create_partitions(vec![more, fewer], false).await.map_err(text)?;
    for (topic, result) in grown {
        let expected = if topic == name { None } else { Some(ErrorCode::InvalidPartitions) };
        ensure(result.as_ref().err().and_then(client::Error::code) == expected, || format!("{topic}: {result:?}"))?;
    }
    let id = described[0].1.as_ref().map(|topic| topic.topic_id).map_err(|error| error.to_string())?;
    eventually(async || {
        let by_id = admin.describe_topics_by_id(&[id]).await.map_err(text)?;
        ensure(by_id[0].1.as_ref().is_ok_and(|topic| topic.name == name && topic.partitions.len() == 5), || format!("{by_id:?}"))
    })
    .await?;
    let listed = admin.list_topics().await.map_err(text)?;
    ensure(listed.iter().any(|topic| topic.name == name && topic.topic_id == id), || "not listed".to_owned())?;
    let deleted = admin.delete_topics(&[name.clone(), by_hand]).await.map_err(text)?;
    ensure(deleted.len() == 2 && deleted.iter().all(|(_, result)| result.is_ok()), || format!("{deleted:?}"))?;
    eventually(async || {
        let gone = admin.describe_topics(std::slice::from_ref(&name)).await.map_err(text)?;
        ensure(gone[0].1.is_err(), || "still there".to_owned())
    })
    .await
}

async fn errors(bench: &Bench) -> Outcome {
    let admin = &bench.admin;
    let name = bench.topic("errors", 1).await?;
    let unknown_config = NewTopic::new(bench.name("e1"), 1, 1).config("no.such.config", 1);
    let wanted = [
        (NewTopic::new(&name, 1, 1), ErrorCode::TopicAlreadyExists),
        (NewTopic::new("not a name!", 1, 1), ErrorCode::InvalidTopicException),
        (NewTopic::new(bench.name("e2"), 0, 1), ErrorCode::InvalidPartitions),
        (NewTopic::new(bench.name("e3"), 1, 99), ErrorCode::InvalidReplicationFactor),
        (unknown_config, ErrorCode::InvalidConfig),
    ];
    for (topic, code) in wanted {
        let shown = topic.name.clone();
        let created = admin.create_topics(vec![topic], CreateTopicsOptions::default()).await.map_err(text)?;
        let error = created[0].1.as_ref().err().ok_or_else(|| format!("{shown} was accepted"))?;
        ensure(error.code() == Some(code) && !error.to_string().is_empty(), || format!("{shown}: {error:?} instead of {code}"))?;
    }
    let deleted = admin.delete_topics(&[bench.name("nothing")]).await.map_err(text)?;
    let code = deleted[0].1.as_ref().err().and_then(client::Error::code);
    ensure(code == Some(ErrorCode::UnknownTopicOrPartition), || format!("{code:?}"))
}

async fn configs(bench: &Bench) -> Outcome {
    let admin = &bench.admin;
    let resource = ConfigResource::topic(bench.topic("configs", 1).await?);
    let value = async |name: &str| -> Result<(Option<String>, bool), String> {
        let described = admin.describe_configs(vec![resource.clone()], true, true).await.map_err(text)?;
        let entries = described.into_iter().next().ok_or("no answer")?.1.map_err(text)?;
        let entry = entries.into_iter().find(|entry| entry.name == name).ok_or_else(|| format!("{name} is missing"))?;
        let default = entry.is_default();
        Ok((entry.value, default))
    };
    eventually(async || {
        ensure(value("segment.bytes").await? == (Some("1073741824".to_owned()), true), || "segment.bytes is not the default".to_owned())
    })
    .await?;
    let change = async |op: AlterConfigOp, check_only: bool| -> Result<Option<ErrorCode>, String> {
        let results = admin.incremental_alter_configs(vec![(resource.clone(), vec![op])], check_only).await.map_err(text)?;
        Ok(results[0].1.as_ref().err().and_then(client::Error::code))
    };
    ensure(change(AlterConfigOp::set("segment.bytes", 2_000_000), true).await?.is_none(), || "validate_only failed".to_owned())?;
    ensure(value("segment.bytes").await?.1, || "validate_only changed something".to_owned())?;
    ensure(change(AlterConfigOp::set("segment.bytes", 2_000_000), false).await?.is_none(), || "set failed".to_owned())?;
    eventually(async || ensure(value("segment.bytes").await? == (Some("2000000".to_owned()), false), || "not set".to_owned())).await?;
    ensure(change(AlterConfigOp::delete("segment.bytes"), false).await?.is_none(), || "delete failed".to_owned())?;
    eventually(async || ensure(value("segment.bytes").await?.1, || "not deleted".to_owned())).await?;
    let code = change(AlterConfigOp::set("segment.bytes", "many"), false).await?;
    ensure(code == Some(ErrorCode::InvalidConfig), || format!("bad value: {code:?}"))?;
    let broker = ConfigResource::new(ConfigResourceType::Broker, admin.nodes().await.map_err(text)?[0].id.to_string());
    let described = admin.describe_configs(vec![broker], false, false).await.map_err(text)?;
    let entries = described.into_iter().next().ok_or("no answer")?.1.map_err(text)?;
    ensure(entries.iter().any(|entry| entry.name == "log.segment.bytes"), || "broker configs are missing".to_owned())
}

async fn offsets(bench: &Bench) -> Outcome {
    let admin = &bench.admin;
    let topic = bench.topic("offsets", 1).await?;
    bench.fill(&topic, 0, 20).await?;
    let partition = TopicPartition::new(&topic, 0);
    let at = async |spec: OffsetSpec| -> Result<i64, String> {
        let found = admin.list_offsets(vec![(partition.clone(), spec)], IsolationLevel::ReadUncommitted).await.map_err(text)?;
        found.into_iter().next().ok_or("no answer")?.1.map(|listed| listed.offset).map_err(text)
    };
    // Records carry the timestamps 1000, 1001, ...
    let wanted = [
        (OffsetSpec::Earliest, 0),
        (OffsetSpec::Latest, 20),
        (OffsetSpec::Timestamp(1_005), 5),
        (OffsetSpec::Timestamp(5_000), -1),
        (OffsetSpec::MaxTimestamp, 19),
    ];
    for (spec, offset) in wanted {
        let found = at(spec).await?;
        ensure(found == offset, || format!("{spec:?} is {found}, not {offset}"))?;
    }
    let deleted = admin.delete_records(vec![(partition.clone(), 7)]).await.map_err(text)?;
    ensure(matches!(deleted[0].1, Ok(7)), || format!("{deleted:?}"))?;
    ensure(at(OffsetSpec::Earliest).await? == 7, || "the start did not move".to_owned())?;
    let beyond = admin.delete_records(vec![(partition, 99)]).await.map_err(text)?;
    let code = beyond[0].1.as_ref().err().and_then(client::Error::code);
    ensure(code == Some(ErrorCode::OffsetOutOfRange), || format!("{code:?}"))
}

async fn group_offsets(bench: &Bench) -> Outcome {
    let admin = &bench.admin;
    let topic = bench.topic("group-offsets", 2).await?;
    let group = bench.name("group-offsets");
    let (first, second) = (TopicPartition::new(&topic, 0), TopicPartition::new(&topic, 1));
    let committed = |offset, metadata: &str| OffsetAndMetadata { offset, leader_epoch: None, metadata: metadata.to_owned() };
    let offsets = BTreeMap::from([(first.clone(), committed(3, "note")), (second.clone(), committed(4, ""))]);
    let altered = admin.alter_group_offsets(&group, offsets).await.map_err(text)?;
    ensure(altered.len() == 2 && altered.values().all(Result::is_ok), || format!("{altered:?}"))?;
    let listed = admin.list_group_offsets(&group, None, true).await.map_err(text)?;
    ensure(listed.get(&first) == Some(&Ok(Some(committed(3, "note")))), || format!("{listed:?}"))?;
    let (groups, errors) = admin.list_groups(ListGroupsOptions::default()).await.map_err(text)?;
    ensure(errors.is_empty(), || format!("{errors:?}"))?;
    let listing = groups.iter().find(|listing| listing.group_id == group).ok_or("the group is not listed")?;
    ensure(listing.state == "Empty" && listing.group_type == "classic", || format!("{listing:?}"))?;
    let deleted = admin.delete_group_offsets(&group, std::slice::from_ref(&first)).await.map_err(text)?;
    ensure(deleted.values().all(Result::is_ok), || format!("{deleted:?}"))?;
    let listed = admin.list_group_offsets(&group, Some(&[first.clone(), second.clone()]), false).await.map_err(text)?;
    ensure(listed.get(&first) == Some(&Ok(None)), || format!("{listed:?}"))?;
    let deleted = admin.delete_groups(&[group.clone(), bench.name("no-group")]).await.map_err(text)?;
    let codes: Vec<Option<ErrorCode>> = deleted.iter().map(|(_, result)| result.as_ref().err().and_then(client::Error::code)).collect();
    ensure(codes == [None, Some(ErrorCode::GroupIdNotFound)], || format!("{codes:?}"))
}
