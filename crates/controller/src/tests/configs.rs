//! Altering configs and feature levels.

use super::topics::{create, topic};
use super::*;
use metadata::ConfigResource;
use wire::ErrorCode;
use wire::messages::alter_configs_request as legacy;
use wire::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use wire::messages::update_features_request::FeatureUpdateKey;

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;

fn resource(type_: i8, name: &str, configs: &[(&str, i8, Option<&str>)]) -> AlterConfigsResource {
    AlterConfigsResource {
        resource_type: type_,
        resource_name: name.to_owned(),
        configs: configs
            .iter()
            .map(|(name, operation, value)| AlterableConfig {
                name: (*name).to_owned(),
                config_operation: *operation,
                value: value.map(str::to_owned),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

fn alter(sim: &mut Sim, resources: Vec<AlterConfigsResource>) -> Vec<(ErrorCode, String)> {
    let response: IncrementalAlterConfigsResponse = sim.get(IncrementalAlterConfigsRequest { resources, ..Default::default() });
    response.responses.into_iter().map(|r| (ErrorCode::from_code(r.error_code), r.error_message.unwrap_or_default())).collect()
}

#[test]
fn topic_and_broker_configs() {
    let mut sim = Sim::new();
    sim.join(1, 77, -1);
    create(&mut sim, vec![topic("t", 1, 1)]);
    let done = alter(&mut sim, vec![resource(2, "t", &[("retention.ms", SET, Some("9")), ("cleanup.policy", APPEND, Some("compact"))])]);
    assert_eq!(done, [(ErrorCode::None, String::new())]);
    let value = |sim: &Sim, resource: ConfigResource, key: &str| sim.image().configs.value(&resource, key).cloned();
    assert_eq!(value(&sim, ConfigResource::topic("t"), "cleanup.policy").as_deref(), Some("delete,compact"));
    alter(
        &mut sim,
        vec![resource(2, "t", &[("retention.ms", DELETE, None)]), resource(4, "1", &[("log.cleaner.threads", SET, Some("2"))])],
    );
    assert_eq!(value(&sim, ConfigResource::topic("t"), "retention.ms"), None);
    assert_eq!(value(&sim, ConfigResource::broker(1), "log.cleaner.threads").as_deref(), Some("2"));
    let end = sim.node.raft().log_end();
    alter(&mut sim, vec![resource(2, "t", &[("cleanup.policy", SET, Some("delete,compact"))])]);
    assert_eq!(sim.node.raft().log_end(), end, "unchanged topic configs write nothing");

    let set = legacy::AlterableConfig { name: "segment.ms".into(), value: Some("77".into()), ..Default::default() };
    let whole = legacy::AlterConfigsResource { resource_type: 2, resource_name: "t".into(), configs: vec![set], ..Default::default() };
    sim.get::<AlterConfigsResponse>(AlterConfigsRequest { resources: vec![whole], ..Default::default() });
    let left: Vec<String> = sim.image().configs.get(&ConfigResource::topic("t")).keys().cloned().collect();
    assert_eq!(left, ["segment.ms"], "the older call replaces all");
    sim.check();
}

#[test]
fn refusals() {
    let mut sim = Sim::new();
    sim.join(1, 77, -1);
    create(&mut sim, vec![topic("t", 1, 1)]);
    let cases = [
        (resource(2, "none", &[("retention.ms", SET, Some("1"))]), ErrorCode::UnknownTopicOrPartition, "The topic 'none' does not exist."),
        (resource(4, "9", &[("log.cleaner.threads", SET, Some("1"))]), ErrorCode::BrokerIdNotRegistered, "No node with id 9 found."),
        (
            resource(4, "1", &[("min.insync.replicas", SET, Some("1"))]),
            ErrorCode::InvalidConfig,
            "Broker-level min.insync.replicas cannot be altered while ELR is enabled.",
        ),
        (
            resource(4, "", &[("min.insync.replicas", DELETE, None)]),
            ErrorCode::InvalidConfig,
            "Cluster-level min.insync.replicas cannot be removed while ELR is enabled.",
        ),
        (
            resource(2, "t", &[("retention.ms", APPEND, Some("1"))]),
            ErrorCode::InvalidConfig,
            "Can't APPEND to key retention.ms because its type is not LIST.",
        ),
        (resource(77, "t", &[]), ErrorCode::UnsupportedVersion, "Unknown resource type 77."),
    ];
    let end = sim.node.raft().log_end();
    for (resource, code, text) in cases {
        assert_eq!(alter(&mut sim, vec![resource]), [(code, text.to_owned())]);
    }
    assert_eq!(alter(&mut sim, vec![resource(2, "t", &[("nonsense", SET, Some("1"))])])[0].0, ErrorCode::InvalidConfig);
    assert_eq!(alter(&mut sim, vec![resource(2, "t", &[("retention.ms", SET, Some("x"))])])[0].0, ErrorCode::InvalidConfig);
    let twice = alter(&mut sim, vec![resource(2, "t", &[]), resource(2, "t", &[])]);
    assert_eq!(twice, [(ErrorCode::InvalidRequest, "Duplicate resource.".to_owned())]);
    assert_eq!(sim.node.raft().log_end(), end);
}

#[test]
fn a_new_min_isr_clears_elr() {
    let mut sim = Sim::new();
    let epoch = sim.join(1, 77, -1);
    sim.join(2, 77, -1);
    create(&mut sim, vec![topic("t", 1, 1)]);
    alter(&mut sim, vec![resource(2, "t", &[("min.insync.replicas", SET, Some("1"))])]);
    assert!(matches!(sim.log().last(), Some((_, Record::ClearElr(r))) if r.topic_name == "t"));
    alter(&mut sim, vec![resource(4, "", &[("min.insync.replicas", SET, Some("1"))])]);
    assert!(matches!(sim.log().last(), Some((_, Record::ClearElr(r))) if r.topic_name.is_empty()));
    assert!(epoch > 0);
    sim.check();
}

#[test]
fn dynamic_defaults_show_in_new_topics() {
    let mut sim = Sim::new();
    sim.join(1, 77, -1);
    alter(&mut sim, vec![resource(4, "", &[("log.retention.ms", SET, Some("12345"))])]);
    let created = create(&mut sim, vec![topic("t", 1, 1)]).remove(0);
    let configs = created.configs.unwrap();
    let retention = configs.iter().find(|c| c.name == "retention.ms").unwrap();
    assert_eq!((retention.value.as_deref(), retention.config_source), (Some("12345"), 3));
}

#[test]
fn feature_levels() {
    let mut sim = Sim::new();
    sim.join(1, 77, -1);
    let mut update = |name: &str, level: i16, kind: i8| {
        let update = FeatureUpdateKey { feature: name.into(), max_version_level: level, upgrade_type: kind, ..Default::default() };
        let request = UpdateFeaturesRequest { feature_updates: vec![update], ..Default::default() };
        let response: UpdateFeaturesResponse = sim.get(request);
        (ErrorCode::from_code(response.error_code), sim.image().features.level(name))
    };
    assert_eq!(update("transaction.version", 1, 1), (ErrorCode::InvalidUpdateVersion, 2));
    assert_eq!(update("transaction.version", 1, 2), (ErrorCode::None, 1));
    assert_eq!(update("transaction.version", 2, 2), (ErrorCode::InvalidUpdateVersion, 1));
    assert_eq!(update("transaction.version", 2, 1), (ErrorCode::None, 2));
    assert_eq!(update("transaction.version", 3, 1), (ErrorCode::InvalidUpdateVersion, 2));
    assert_eq!(update("no.such", 1, 1).0, ErrorCode::InvalidUpdateVersion);
    assert_eq!(update("metadata.version", 29, 2), (ErrorCode::InvalidUpdateVersion, 30), "4.3 has records that 4.2 does not know");
    assert_eq!(update("group.version", 0, 2), (ErrorCode::None, 0));
    sim.check();
}
