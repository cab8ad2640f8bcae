use super::*;
use crate::image::partition::{LeaderRecoveryState, NO_LEADER};
use crate::image::security::QuotaEntity;
use base::Uuid;
use bytes::Bytes;
use wire::messages::client_quota_record::EntityData;
use wire::messages::*;

fn replay(records: &[Record]) -> Result<(Image, Delta), ReplayError> {
    let (mut image, mut delta) = (Image::default(), Delta::default());
    for record in records {
        image.replay(record, &mut delta)?;
    }
    Ok((image, delta))
}

const TOPIC: Uuid = Uuid::from_u128(1000);

fn topic(name: &str, topic_id: Uuid) -> Record {
    TopicRecord { name: name.to_owned(), topic_id, ..Default::default() }.into()
}

fn partition(topic_id: Uuid, partition_id: i32) -> Record {
    PartitionRecord {
        partition_id,
        topic_id,
        replicas: vec![1, 2],
        isr: vec![1, 2],
        leader: 1,
        leader_epoch: 0,
        partition_epoch: 0,
        directories: vec![Uuid::from_u128(101), Uuid::from_u128(102)],
        ..Default::default()
    }
    .into()
}

fn config(type_: ResourceType, resource: &str, name: &str, value: Option<&str>) -> Record {
    ConfigRecord {
        resource_type: type_.0,
        resource_name: resource.to_owned(),
        name: name.to_owned(),
        value: value.map(str::to_owned),
        ..Default::default()
    }
    .into()
}

fn feature(name: &str, feature_level: i16) -> Record {
    FeatureLevelRecord { name: name.to_owned(), feature_level, ..Default::default() }.into()
}

/// One record of every kind that leaves something in the image.
fn everything() -> Vec<Record> {
    let quota = |key: &str, value, remove| {
        let entity =
            |t: &str, n: Option<&str>| EntityData { entity_type: t.to_owned(), entity_name: n.map(str::to_owned), ..Default::default() };
        let entity = vec![entity("user", Some("alice")), entity("client-id", None)];
        Record::from(ClientQuotaRecord { entity, key: key.to_owned(), value, remove, ..Default::default() })
    };
    vec![
        feature("metadata.version", 30),
        feature("eligible.leader.replicas.version", 1),
        RegisterBrokerRecord {
            broker_id: 1,
            broker_epoch: 5,
            log_dirs: vec![Uuid::from_u128(102), Uuid::from_u128(101)],
            rack: Some("r".into()),
            ..Default::default()
        }
        .into(),
        BrokerRegistrationChangeRecord { broker_id: 1, broker_epoch: 5, fenced: -1, cordoned_log_dirs: Some(vec![]), ..Default::default() }
            .into(),
        RegisterControllerRecord { controller_id: 1, incarnation_id: Uuid::from_u128(7), ..Default::default() }.into(),
        topic("t", TOPIC),
        config(ResourceType::TOPIC, "t", "retention.ms", Some("5")),
        partition(TOPIC, 0),
        partition(TOPIC, 1),
        PartitionChangeRecord {
            topic_id: TOPIC,
            partition_id: 1,
            leader: NO_LEADER,
            isr: Some(vec![]),
            eligible_leader_replicas: Some(vec![2]),
            last_known_elr: Some(vec![1]),
            ..Default::default()
        }
        .into(),
        config(ResourceType::BROKER, "", "min.insync.replicas", Some("1")),
        quota("producer_byte_rate", 1.5, false),
        quota("consumer_byte_rate", 2.5, false),
        quota("consumer_byte_rate", 0.0, true),
        ProducerIdsRecord { broker_id: 1, broker_epoch: 5, next_producer_id: 1000, ..Default::default() }.into(),
        AccessControlEntryRecord { id: Uuid::from_u128(50), principal: "User:a".into(), host: "*".into(), ..Default::default() }.into(),
        UserScramCredentialRecord {
            name: "u".into(),
            mechanism: 1,
            salt: Bytes::from_static(b"s"),
            iterations: 4096,
            ..Default::default()
        }
        .into(),
        DelegationTokenRecord { owner: "User:a".into(), token_id: "id".into(), max_timestamp: 9, ..Default::default() }.into(),
        NoOpRecord::default().into(),
        ZkMigrationStateRecord::default().into(),
    ]
}

#[test]
fn snapshot_recreates_the_image_in_kafkas_order() {
    let (image, _) = replay(&everything()).unwrap();
    let records = snapshot::to_records(&image);
    let kinds: Vec<u32> = records.iter().map(Record::type_id).collect();
    assert_eq!(kinds, [12, 12, 0, 27, 2, 3, 3, 4, 4, 14, 15, 18, 11, 10]);
    assert!(matches!(&records[0], Record::FeatureLevel(r) if r.name == "metadata.version"));
    let encoded: Vec<Bytes> = records.iter().map(|r| r.encode(image.metadata_version()).unwrap()).collect();
    let decoded: Vec<Record> = encoded.into_iter().map(|value| Record::decode(value).unwrap().0).collect();
    assert_eq!(snapshot::from_records(&decoded).unwrap(), image);
}

#[test]
fn every_record_survives_its_encoding() {
    for record in everything() {
        let version = record.version_for(MetadataVersion::LATEST_PRODUCTION);
        let bytes = record.encode(MetadataVersion::LATEST_PRODUCTION).unwrap();
        assert_eq!(bytes[0], 1, "frame version");
        let (read, read_version) = Record::decode(bytes.clone()).unwrap();
        assert_eq!((&read, read_version), (&record, version));
        for len in 0..bytes.len() {
            assert!(Record::decode(bytes.slice(..len)).is_err(), "{} cut to {len}", record.name());
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert!(Record::decode(longer.into()).is_err(), "{} with a byte too many", record.name());
    }
    assert!(matches!(Record::decode(Bytes::from_static(&[2, 12, 0])), Err(RecordError::FrameVersion(2))));
    assert!(matches!(Record::decode(Bytes::from_static(&[1, 6, 0])), Err(RecordError::UnknownType(6))));
    assert!(matches!(Record::decode(Bytes::from_static(&[1, 12, 9])), Err(RecordError::UnknownVersion { version: 9, .. })));
}

#[test]
fn partition_epochs_count_changes() {
    let mut records = vec![feature("metadata.version", 30), topic("t", TOPIC), partition(TOPIC, 0)];
    let change = |leader, isr: Option<Vec<i32>>| {
        Record::from(PartitionChangeRecord { topic_id: TOPIC, partition_id: 0, leader, isr, ..Default::default() })
    };
    let state = |records: &[Record]| {
        let (image, _) = replay(records).unwrap();
        let p = image.topics.partition("t", 0).unwrap();
        (p.leader, p.leader_epoch, p.partition_epoch, p.isr.clone())
    };
    assert_eq!(state(&records), (1, 0, 0, vec![1, 2]));
    records.push(change(-2, Some(vec![1])));
    assert_eq!(state(&records), (1, 0, 1, vec![1]));
    records.push(change(1, None));
    assert_eq!(state(&records), (1, 1, 2, vec![1]));
    records.push(change(NO_LEADER, None));
    assert_eq!(state(&records), (-1, 2, 3, vec![1]));
}

#[test]
fn refuses_what_would_poison_the_log() {
    let base = [feature("metadata.version", 30), topic("t", TOPIC), partition(TOPIC, 0)];
    let refused = |record: Record| {
        let records: Vec<Record> = base.iter().cloned().chain([record]).collect();
        replay(&records).unwrap_err()
    };
    assert_eq!(refused(topic("t", Uuid::from_u128(2000))), ReplayError::DuplicateTopic("t".into()));
    assert!(matches!(refused(partition(Uuid::from_u128(9), 0)), ReplayError::UnknownTopic { .. }));
    let change = PartitionChangeRecord { topic_id: TOPIC, partition_id: 5, ..Default::default() };
    assert!(matches!(refused(change.into()), ReplayError::UnknownPartition { partition: 5, .. }));
    let directories = Some(vec![Uuid::from_u128(101)]);
    let change = PartitionChangeRecord { topic_id: TOPIC, partition_id: 0, directories, ..Default::default() };
    assert!(matches!(refused(change.into()), ReplayError::BadPartition { .. }));
    let change = PartitionChangeRecord { topic_id: TOPIC, partition_id: 0, leader_recovery_state: 9, ..Default::default() };
    assert!(matches!(refused(change.into()), ReplayError::BadPartition { .. }));
    assert!(matches!(refused(RemoveTopicRecord::default().into()), ReplayError::UnknownTopic { .. }));
    assert!(matches!(refused(ClearElrRecord { topic_name: "x".into(), ..Default::default() }.into()), ReplayError::UnknownTopic { .. }));
    let unfence = BrokerRegistrationChangeRecord { broker_id: 1, fenced: -1, ..Default::default() };
    assert!(matches!(refused(unfence.into()), ReplayError::UnknownBroker { broker: 1, .. }));
    assert_eq!(refused(feature("metadata.version", 31)), ReplayError::UnsupportedMetadataVersion(31));
    assert!(matches!(refused(feature("group.version", 7)), ReplayError::UnsupportedFeatureLevel { level: 7, .. }));
    assert!(matches!(refused(RemoveAccessControlEntryRecord::default().into()), ReplayError::UnknownAcl(_)));
    assert!(matches!(refused(RemoveUserScramCredentialRecord::default().into()), ReplayError::UnknownScramCredential(_)));
}

#[test]
fn removing_a_topic_takes_its_configs_and_clears_names() {
    let mut records = everything();
    records.push(RemoveTopicRecord { topic_id: TOPIC, ..Default::default() }.into());
    let (image, delta) = replay(&records).unwrap();
    assert!(image.topics.is_empty());
    assert!(image.configs.get(&ConfigResource::topic("t")).is_empty());
    assert!(delta.created_topics.is_empty() && delta.changed_partitions.is_empty() && delta.deleted_topics.is_empty());
    records.push(topic("t", Uuid::from_u128(2000)));
    assert!(replay(&records).is_ok());
}

#[test]
fn clear_elr_counts_as_a_change() {
    let mut records = everything();
    records.push(ClearElrRecord::default().into());
    let (image, _) = replay(&records).unwrap();
    let p = image.topics.partition("t", 1).unwrap();
    assert!(p.elr.is_empty() && p.last_known_elr.is_empty());
    assert_eq!(p.partition_epoch, 2);
    assert_eq!(image.topics.partition("t", 0).unwrap().partition_epoch, 0);
}

#[test]
fn transactions_are_shown_as_a_whole() {
    let begin = Record::from(BeginTransactionRecord::default());
    let end = Record::from(EndTransactionRecord::default());
    let abort = Record::from(AbortTransactionRecord::default());
    let mut loader = Loader::default();
    let mut delta = Delta::default();
    loader.apply(0, 1, 10, &[feature("metadata.version", 30)], &mut delta).unwrap();
    loader.apply(1, 1, 11, &[begin.clone(), topic("a", TOPIC)], &mut delta).unwrap();
    assert!(loader.image().topics.is_empty());
    assert_eq!(loader.transaction_start_offset(), Some(1));
    assert_eq!(loader.image().provenance.offset, 0);
    assert!(matches!(loader.clone().apply(3, 1, 12, [&begin], &mut delta), Err(ReplayError::TransactionOpen(_))));
    let mut aborted = loader.clone();
    aborted.apply(3, 1, 12, &[abort, topic("b", TOPIC)], &mut Delta::default()).unwrap();
    assert!(aborted.image().topics.get("a").is_none() && aborted.image().topics.get("b").is_some());
    assert!(delta.created_topics.is_empty());
    loader.apply(3, 1, 12, &[partition(TOPIC, 0), end.clone()], &mut delta).unwrap();
    assert_eq!(loader.image().topics.get("a").unwrap().partitions.len(), 1);
    assert_eq!(delta.created_topics.len(), 1);
    assert_eq!(loader.image().provenance, Provenance { offset: 4, epoch: 1, timestamp_ms: 12 });
    assert!(matches!(loader.apply(5, 1, 13, [&end], &mut delta), Err(ReplayError::NoTransaction(_))));
}

#[test]
fn deltas_agree_however_they_come_about() {
    let records = everything();
    let (all, whole) = replay(&records).unwrap();
    assert_eq!(Delta::between(&Image::default(), &all), whole);
    for cut in 0..records.len() {
        let (mut image, mut delta) = replay(&records[..cut]).unwrap();
        let mut rest = Delta::default();
        for record in &records[cut..] {
            image.replay(record, &mut rest).unwrap();
        }
        delta.extend(rest);
        assert_eq!(delta, whole, "cut at {cut}");
    }
    let mut gone = Delta::default();
    let mut image = all.clone();
    image.replay(&RemoveTopicRecord { topic_id: TOPIC, ..Default::default() }.into(), &mut gone).unwrap();
    assert_eq!(Delta::between(&all, &image), gone);
    assert_eq!(gone.deleted_topics[&TOPIC].partitions.len(), 2);
}

#[test]
fn versions_follow_metadata_version_and_content() {
    let version = |record: &Record, level| record.version_for(MetadataVersion::from_level(level).unwrap());
    let partition = partition(TOPIC, 0);
    assert_eq!([7, 16, 17, 22, 23, 30].map(|level| version(&partition, level)), [0, 0, 1, 1, 2, 2]);
    let register = Record::from(RegisterBrokerRecord::default());
    assert_eq!([7, 8, 16, 17, 29, 30].map(|level| version(&register, level)), [1, 2, 2, 3, 3, 4]);
    let change = |f: fn(&mut BrokerRegistrationChangeRecord)| {
        let mut record = BrokerRegistrationChangeRecord::default();
        f(&mut record);
        version(&record.into(), 30)
    };
    assert_eq!(change(|r| r.fenced = -1), 0);
    assert_eq!(change(|r| r.in_controlled_shutdown = 1), 1);
    assert_eq!(change(|r| r.log_dirs = vec![TOPIC]), 2);
    assert_eq!(change(|r| r.cordoned_log_dirs = Some(vec![])), 3);
}

#[test]
fn metadata_version_names() {
    let named = |text| MetadataVersion::from_version_string(text).map(|v| (v.level(), v.name()));
    assert_eq!(named("4.3"), Some((30, "4.3-IV0")));
    assert_eq!(named("4.3.1"), Some((30, "4.3-IV0")));
    assert_eq!(named("4.0"), Some((25, "4.0-IV3")));
    assert_eq!(named("3.3-IV3"), Some((7, "3.3-IV3")));
    assert_eq!(named("3.2"), None);
    assert!(MetadataVersion::metadata_changed_between(MetadataVersion::from_level(30).unwrap(), MetadataVersion::from_level(29).unwrap()));
    assert!(!MetadataVersion::metadata_changed_between(MetadataVersion::from_level(29).unwrap(), MetadataVersion::from_level(24).unwrap()));
}

#[test]
fn quotas_lose_their_entity_with_the_last_key() {
    let entity = vec![EntityData { entity_type: "user".into(), entity_name: None, ..Default::default() }];
    let quota =
        |remove| Record::from(ClientQuotaRecord { entity: entity.clone(), key: "k".into(), value: 1.0, remove, ..Default::default() });
    let (image, delta) = replay(&[quota(false), quota(true)]).unwrap();
    assert!(image.quotas.is_empty());
    assert!(delta.quotas.contains(&QuotaEntity(vec![("user".into(), None)])));
}

mod golden {
    use super::*;

    fn values(name: &str) -> Vec<(i64, bool, Vec<Bytes>)> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/metadata").join(name);
        let bytes = Bytes::from(std::fs::read(path).unwrap());
        ::record::batches(&bytes)
            .map(|batch| {
                let batch = batch.unwrap();
                let values = batch.records(1 << 24).unwrap().map(|r| r.unwrap().value.unwrap()).collect();
                (batch.view().base_offset(), batch.view().is_control(), values)
            })
            .collect()
    }

    /// The image after the log up to `end`, exclusive.
    fn load(name: &str, end: i64) -> Image {
        let mut loader = Loader::default();
        for (base, control, values) in values(name) {
            if base < end && !control {
                let records: Vec<Record> = values.into_iter().map(|v| Record::decode(v).unwrap().0).collect();
                loader.apply(base, 1, 0, &records, &mut Delta::default()).unwrap();
            }
        }
        assert_eq!(loader.transaction_start_offset(), None);
        loader.image().clone()
    }

    #[test]
    fn records_are_written_as_kafka_writes_them() {
        let mut kinds = std::collections::BTreeSet::new();
        for name in ["kraft0.log", "kraft1.log", "kraft1-00000000000000000139-0000000001.checkpoint"] {
            for (base, control, values) in values(name) {
                for value in values.iter().filter(|_| !control) {
                    let (record, version) = Record::decode(value.clone()).unwrap();
                    assert_eq!(record.version_for(MetadataVersion::LATEST_PRODUCTION), version, "{name} at {base}: {record:?}");
                    assert_eq!(record.encode_version(version).unwrap(), value, "{name} at {base}: {record:?}");
                    kinds.insert(record.name());
                }
            }
        }
        assert_eq!(kinds.len(), 13, "{kinds:?}");
    }

    /// Kafka's own snapshots say what its log up to there says.
    #[test]
    fn snapshots_equal_the_replayed_log() {
        for end in [59, 99, 139] {
            let mut records = Vec::new();
            for (_, control, values) in values(&format!("kraft1-{end:020}-0000000001.checkpoint")) {
                if !control {
                    records.extend(values.into_iter().map(|v| Record::decode(v).unwrap().0));
                }
            }
            let snapshot = snapshot::from_records(&records).unwrap();
            assert!(snapshot.same_content(&load("kraft1.log", end)));
            // What we would write differs at most in the order in which Kafka's hash maps come out.
            let mut ours: Vec<String> =
                snapshot::to_records(&snapshot).iter().map(|r| r.to_json(r.version_for(snapshot.metadata_version()))).collect();
            let mut theirs: Vec<String> = records.iter().map(|r| r.to_json(r.version_for(snapshot.metadata_version()))).collect();
            let unordered = |json: &str| json.contains("supportedFeatures") || json.contains("minSupportedVersion");
            ours.retain(|json| !unordered(json));
            theirs.retain(|json| !unordered(json));
            ours.sort();
            theirs.sort();
            assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn a_cluster_with_some_history() {
        let image = load("kraft0.log", i64::MAX);
        assert_eq!(image.metadata_version(), MetadataVersion::LATEST_PRODUCTION);
        assert_eq!(image.features.level("transaction.version"), 2);
        let count = |name: &str| image.topics.get(name).unwrap().partitions.len();
        assert_eq!((count("__consumer_offsets"), count("__transaction_state"), count("__share_group_state")), (50, 50, 50));
        let broker = image.cluster.broker(1).unwrap();
        assert!(broker.fenced && broker.in_controlled_shutdown, "it was stopped cleanly");
        for topic in image.topics.iter() {
            for partition in topic.partitions.values() {
                assert_eq!(partition.leader, NO_LEADER);
                assert_eq!((partition.elr.as_slice(), partition.last_known_elr.as_slice()), (&[1][..], &[1][..]));
                assert_eq!(partition.leader_recovery_state, LeaderRecoveryState::Recovered);
            }
        }
        let again = snapshot::from_records(&snapshot::to_records(&image)).unwrap();
        assert!(again.same_content(&image));
    }
}
