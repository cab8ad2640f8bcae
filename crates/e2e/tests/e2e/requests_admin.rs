//! The admin requests beyond topics and configs, well-formed but often wrong: leaders, reassignments, log directories, features, the quorum,
//! unregistering, and the requests of features that are not configured. Both brokers get the same and the decoded answers are compared.

use crate::requests::{Asker, both, both_with, create};
use base::Uuid;
use e2e::raw::{Answer, RawConnection};
use e2e::repo::Scratch;
use e2e::{Kind, Node, Tools};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use wire::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use wire::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use wire::messages::describe_log_dirs_request::DescribableLogDirTopic;
use wire::messages::elect_leaders_request::TopicPartitions;
use wire::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use wire::messages::update_features_request::FeatureUpdateKey;
use wire::messages::*;

#[test]
fn admin_requests() {
    both("admin requests", include_str!("../../known/requests_admin.txt"), |a| {
        create(a, &["q-admin"]);
        elections(a);
        reassignments(a);
        log_dirs(a);
        features(a);
        quorum(a);
        voters_in_the_log(a);
        brokers(a);
        not_configured(a);
    });
}

fn elections(a: &mut Asker) {
    let elect = |election_type, topics: Option<&[(&str, &[i32])]>| ElectLeadersRequest {
        election_type,
        topic_partitions: topics.map(|topics| {
            let topic = |(name, partitions): &(&str, &[i32])| TopicPartitions {
                topic: (*name).into(),
                partitions: partitions.to_vec(),
                ..Default::default()
            };
            topics.iter().map(topic).collect()
        }),
        timeout_ms: 10_000,
        ..Default::default()
    };
    for version in 0..=2 {
        a.ask(&format!("elect v{version}"), version, elect(0, Some(&[("q-admin", &[0, 9, -1]), ("q-unknown", &[0]), ("", &[0])])));
    }
    a.ask("elect uncleanly", 2, elect(1, Some(&[("q-admin", &[1])])));
    a.ask("elect in a strange way", 2, elect(7, Some(&[("q-admin", &[1])])));
    a.ask("elect nothing", 2, elect(0, Some(&[])));
    a.ask("elect all", 2, elect(0, None));
    a.ask("elect one partition twice", 2, elect(0, Some(&[("q-admin", &[0, 0])])));
}

fn reassignments(a: &mut Asker) {
    let alter = |name: &str, partition_index, replicas: Option<&[i32]>| AlterPartitionReassignmentsRequest {
        timeout_ms: 10_000,
        topics: vec![ReassignableTopic {
            name: name.into(),
            partitions: vec![ReassignablePartition { partition_index, replicas: replicas.map(<[i32]>::to_vec), ..Default::default() }],
            ..Default::default()
        }],
        ..Default::default()
    };
    a.ask("reassign to where it is", 0, alter("q-admin", 0, Some(&[1])));
    a.ask("reassign to an unknown broker", 1, alter("q-admin", 0, Some(&[1, 7])));
    a.ask("reassign to nobody", 1, alter("q-admin", 0, Some(&[])));
    a.ask("reassign to one broker twice", 1, alter("q-admin", 0, Some(&[1, 1])));
    a.ask("reassign to a negative broker", 1, alter("q-admin", 0, Some(&[-1])));
    a.ask("cancel nothing", 1, alter("q-admin", 0, None));
    a.ask("reassign an unknown partition", 1, alter("q-admin", 9, Some(&[1])));
    a.ask("reassign an unknown topic", 1, alter("q-unknown", 0, Some(&[1])));
    a.ask("reassign nothing", 1, AlterPartitionReassignmentsRequest { timeout_ms: 10_000, ..Default::default() });
    a.ask(
        "reassign without changing the factor",
        1,
        AlterPartitionReassignmentsRequest { allow_replication_factor_change: false, ..alter("q-admin", 0, Some(&[1])) },
    );
    let list = |topics: Option<&[(&str, &[i32])]>| ListPartitionReassignmentsRequest {
        timeout_ms: 10_000,
        topics: topics.map(|topics| {
            let topic = |(name, partitions): &(&str, &[i32])| ListPartitionReassignmentsTopics {
                name: (*name).into(),
                partition_indexes: partitions.to_vec(),
                ..Default::default()
            };
            topics.iter().map(topic).collect()
        }),
        ..Default::default()
    };
    a.ask("list reassignments", 0, list(None));
    a.ask("list reassignments of some", 0, list(Some(&[("q-admin", &[0, 9]), ("q-unknown", &[0])])));
    a.ask("list reassignments with no time", 0, ListPartitionReassignmentsRequest { timeout_ms: 0, ..list(None) });
}

fn log_dirs(a: &mut Asker) {
    let describe = |topics: Option<&[(&str, &[i32])]>| DescribeLogDirsRequest {
        topics: topics.map(|topics| {
            let topic = |(name, partitions): &(&str, &[i32])| DescribableLogDirTopic {
                topic: (*name).into(),
                partitions: partitions.to_vec(),
                ..Default::default()
            };
            topics.iter().map(topic).collect()
        }),
        ..Default::default()
    };
    // Free space moves under the answer from version 4 on.
    a.ask("describe log dirs of one partition", 3, describe(Some(&[("q-admin", &[1])])));
    a.ask("describe log dirs of nothing known", 3, describe(Some(&[("q-admin", &[9, -1]), ("q-unknown", &[0])])));
    a.ask("describe log dirs of nothing", 1, describe(Some(&[])));
    let known = a.send(&describe(Some(&[])), 5).map(|answer| {
        let results = answer.results.iter();
        let facts = results.map(|r| (r.error_code, r.total_bytes > r.usable_bytes && r.usable_bytes > 0, r.is_cordoned));
        format!("{:?}", facts.collect::<Vec<_>>())
    });
    a.line("space of log dirs", &known.unwrap_or_else(|e| e));
    let alter = |path: &str, topic: &str, partitions: &[i32]| AlterReplicaLogDirsRequest {
        dirs: vec![AlterReplicaLogDir {
            path: path.into(),
            topics: vec![AlterReplicaLogDirTopic { name: topic.into(), partitions: partitions.to_vec(), ..Default::default() }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let data = a.data_dir();
    a.ask("move to the same dir", 2, alter(&data, "q-admin", &[0]));
    a.ask("move an unknown partition", 1, alter(&data, "q-admin", &[9]));
    a.ask("move an unknown topic", 2, alter(&data, "q-unknown", &[0]));
    a.ask("move a topic with a long name", 2, alter(&data, &"n".repeat(249), &[0]));
    a.ask("move to an unknown dir", 2, alter("/no/such/dir", "q-admin", &[0]));
    a.ask("move to a relative dir", 2, alter("data", "q-admin", &[0]));
    a.ask("move to no dir", 2, alter("", "q-admin", &[0]));
    a.ask("move nothing", 2, AlterReplicaLogDirsRequest::default());
}

/// Every key of every resource: value, source, synonyms, type, documentation.
#[test]
fn described_configs() {
    both("described configs", include_str!("../../known/described_configs.txt"), |a| {
        create(a, &["q-conf"]);
        let set = |kind, name: &str, configs: &[(&str, &str)]| incremental_alter_configs_request::AlterConfigsResource {
            resource_type: kind,
            resource_name: name.into(),
            configs: configs
                .iter()
                .map(|(name, value)| incremental_alter_configs_request::AlterableConfig {
                    name: (*name).into(),
                    value: Some((*value).into()),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        };
        let changes = vec![
            set(2, "q-conf", &[("retention.ms", "1000"), ("cleanup.policy", "compact,delete"), ("min.insync.replicas", "1")]),
            set(4, "1", &[("log.cleaner.threads", "2"), ("max.connections.per.ip", "55")]),
            set(4, "", &[("log.retention.ms", "3000"), ("message.max.bytes", "2000000"), ("max.connections", "555")]),
            set(32, "q-group", &[("consumer.session.timeout.ms", "50000")]),
            set(16, "q-metrics", &[("interval.ms", "1000"), ("match", "client_id=q"), ("metrics", "org.apache")]),
        ];
        let answer = a.send(&IncrementalAlterConfigsRequest { resources: changes, ..Default::default() }, 1).expect("configs are set");
        assert!(answer.responses.iter().all(|r| r.error_code == 0), "{answer:?}");
        // Each with a config that shows that the changes have arrived everywhere.
        let resources = [
            (2, "q-conf", "max.message.bytes", "2000000"),
            (4, "1", "message.max.bytes", "2000000"),
            (4, "", "message.max.bytes", "2000000"),
            (32, "q-group", "consumer.session.timeout.ms", "50000"),
            (32, "q-other", "consumer.session.timeout.ms", "45000"),
            (16, "q-metrics", "interval.ms", "1000"),
            (16, "q-other", "interval.ms", "300000"),
        ];
        for (kind, name, key, value) in resources {
            let resource = describe_configs_request::DescribeConfigsResource {
                resource_type: kind,
                resource_name: name.into(),
                configuration_keys: None,
                ..Default::default()
            };
            let request = DescribeConfigsRequest {
                resources: vec![resource],
                include_synonyms: true,
                include_documentation: true,
                ..Default::default()
            };
            let answer = e2e::wait::until("the configs are known here", || {
                let answer = a.send(&request, 4).expect("described");
                let arrived =
                    |c: &describe_configs_response::DescribeConfigsResourceResult| c.name == key && c.value.as_deref() == Some(value);
                answer.results.iter().flat_map(|r| &r.configs).any(arrived).then_some(answer)
            });
            let mut configs: Vec<_> = answer.results.into_iter().flat_map(|r| r.configs).collect();
            configs.sort_by(|x, y| x.name.cmp(&y.name));
            a.line(&format!("configs of {kind} {name}"), &configs.len().to_string());
            for mut config in configs {
                // The words are each one's own.
                config.documentation = config.documentation.map(|doc| if doc.is_empty() { doc } else { "words".into() });
                a.line(&format!("{kind} {name} {}", config.name), &format!("{config:?}"));
            }
        }
    });
}

/// What is refused of config changes, and in which words.
#[test]
fn refused_configs() {
    both("refused configs", include_str!("../../known/refused_configs.txt"), |a| {
        create(a, &["q-conf"]);
        incremental_refusals(a);
        legacy_refusals(a);
    });
}

/// (kind, name, key, operation, value)
const INCREMENTAL: &[(i8, &str, &str, i8, Option<&str>)] = &[
    (4, "1", "node.id", 0, Some("2")),
    (4, "", "log.dirs", 0, Some("/tmp")),
    (4, "", "log.retention.hours", 0, Some("1")),
    (4, "", "cordoned.log.dirs", 0, Some("*")),
    (4, "1", "cordoned.log.dirs", 0, Some("/no/such/dir")),
    (4, "", "listeners", 0, Some("PLAINTEXT://:9092")),
    (4, "1", "listeners", 0, Some("PLAINTEXT://127.0.0.1:1,OTHER://127.0.0.1:2")),
    (4, "1", "listeners", 0, Some("CONTROLLER://127.0.0.1:2")),
    (4, "1", "listeners", 0, Some("nonsense")),
    (4, "1", "listeners", 0, Some("")),
    (4, "1", "advertised.listeners", 0, Some("PLAINTEXT://:9092")),
    (4, "1", "listener.security.protocol.map", 0, Some("PLAINTEXT:PLAINTEXT,CONTROLLER:NONSENSE")),
    (4, "", "num.io.threads", 0, Some("100")),
    (4, "", "num.io.threads", 0, Some("1")),
    (4, "", "num.network.threads", 0, Some("0")),
    (4, "1", "num.replica.fetchers", 0, Some("many")),
    (4, "", "log.cleaner.threads", 0, Some("50")),
    (4, "", "log.cleaner.dedupe.buffer.size", 0, Some("1000")),
    (4, "", "log.cleaner.io.max.bytes.per.second", 0, Some("-1")),
    (4, "", "max.connections", 0, Some("-1")),
    (4, "", "max.connections.per.ip", 0, Some("-1")),
    (4, "", "max.connections.per.ip", 0, Some("0")),
    (4, "", "max.connections.per.ip.overrides", 0, Some("127.0.0.1")),
    (4, "", "max.connections.per.ip.overrides", 0, Some("127.0.0.1:x")),
    (4, "", "max.connection.creation.rate", 0, Some("-5")),
    (4, "", "log.segment.bytes", 0, Some("1")),
    (4, "", "log.retention.ms", 0, Some("-2")),
    (4, "", "log.retention.bytes", 0, Some("1.5")),
    (4, "", "log.local.retention.ms", 0, Some("999999999999")),
    (4, "", "compression.type", 0, Some("brotli")),
    (4, "", "log.cleanup.policy", 0, Some("delete,delete,burn")),
    (4, "", "log.message.timestamp.type", 0, Some("Never")),
    (4, "", "message.max.bytes", 0, Some("-1")),
    (4, "", "min.insync.replicas", 0, Some("0")),
    (4, "1", "min.insync.replicas", 0, Some("1")),
    (4, "", "min.insync.replicas", 1, None),
    (4, "", "unclean.leader.election.enable", 0, Some("maybe")),
    (4, "", "producer.id.expiration.ms", 0, Some("0")),
    (4, "", "transaction.partition.verification.enable", 0, Some("x")),
    (4, "", "group.consumer.assignment.interval.ms", 0, Some("-1")),
    (4, "", "group.coordinator.cached.buffer.max.bytes", 0, Some("1")),
    (4, "", "leader.replication.throttled.rate", 0, Some("-1")),
    (4, "", "ssl.keystore.location", 0, Some("/x")),
    (4, "1", "ssl.keystore.location", 0, Some("/x")),
    (4, "", "listener.name.plaintext.max.connections", 0, Some("x")),
    (4, "", "listener.name.plaintext.ssl.keystore.location", 0, Some("/x")),
    (4, "1", "listener.name.nobody.max.connections", 0, Some("10")),
    (4, "", "no.such.key", 0, Some("x")),
    (4, "", "log.cleanup.policy", 2, Some("compact")),
    (4, "", "log.retention.ms", 2, Some("1")),
    (4, "", "log.retention.ms", 3, Some("1")),
    (4, "", "no.such.key", 2, Some("x")),
    (4, "2", "log.retention.ms", 0, Some("1")),
    (4, "-1", "log.retention.ms", 0, Some("1")),
    (8, "1", "root", 0, Some("LOUD")),
    (8, "1", "no.such.logger", 0, Some("INFO")),
    (8, "1", "root", 1, None),
    (8, "1", "root", 2, Some("INFO")),
    (8, "2", "root", 0, Some("INFO")),
    (8, "", "root", 0, Some("INFO")),
    (32, "", "consumer.session.timeout.ms", 0, Some("50000")),
    (32, "q", "consumer.session.timeout.ms", 0, Some("1")),
    (32, "q", "consumer.session.timeout.ms", 0, Some("999999")),
    (32, "q", "consumer.session.timeout.ms", 0, Some("x")),
    (32, "q", "consumer.heartbeat.interval.ms", 0, Some("15001")),
    (32, "q", "consumer.assignment.interval.ms", 0, Some("15001")),
    (32, "q", "no.such.key", 0, Some("1")),
    (32, "q", "share.auto.offset.reset", 0, Some("never")),
    (32, "q", "share.isolation.level", 0, Some("never")),
    (32, "q", "streams.num.standby.replicas", 0, Some("99")),
    (16, "", "interval.ms", 0, Some("1000")),
    (16, "q", "interval.ms", 0, Some("1")),
    (16, "q", "no.such.key", 0, Some("1")),
    (16, "q", "match", 0, Some("nothing")),
    (16, "q", "match", 0, Some("client_id=[")),
    (16, "q", "metrics", 1, None),
    (2, "q-conf", "no.such.key", 0, Some("1")),
    (2, "q-conf", "retention.ms", 0, Some("-2")),
    (2, "q-conf", "cleanup.policy", 2, Some("burn")),
    (2, "q-conf", "cleanup.policy", 3, Some("delete")),
    (2, "q-conf", "min.insync.replicas", 0, Some("0")),
    (2, "q-conf", "segment.bytes", 0, Some("13")),
    (2, "q-conf", "remote.storage.enable", 0, Some("true")),
    (2, "q-conf", "leader.replication.throttled.replicas", 0, Some("0:x")),
    (2, "q-unknown", "retention.ms", 0, Some("1")),
    (2, "", "retention.ms", 0, Some("1")),
    (0, "q", "retention.ms", 0, Some("1")),
    (-1, "q", "retention.ms", 0, Some("1")),
];

fn incremental_refusals(a: &mut Asker) {
    for (kind, name, key, operation, value) in INCREMENTAL {
        let config = incremental_alter_configs_request::AlterableConfig {
            name: (*key).into(),
            config_operation: *operation,
            value: value.map(str::to_owned),
            ..Default::default()
        };
        let resource = incremental_alter_configs_request::AlterConfigsResource {
            resource_type: *kind,
            resource_name: (*name).into(),
            configs: vec![config],
            ..Default::default()
        };
        // Tried only, so that each starts from the same.
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: true, ..Default::default() };
        a.ask(&format!("{kind} '{name}' {key} {operation} {value:?}"), 1, request);
    }
}

fn legacy_refusals(a: &mut Asker) {
    let cases: &[(i8, &str, &str, Option<&str>)] = &[
        (2, "q-conf", "retention.ms", Some("1000")),
        (2, "q-conf", "no.such.key", Some("1000")),
        (2, "q-conf", "retention.ms", None),
        (2, "q-unknown", "retention.ms", Some("1")),
        (4, "1", "node.id", Some("2")),
        (4, "1", "log.retention.ms", Some("-2")),
        (4, "", "listeners", Some("PLAINTEXT://:9092")),
        (4, "", "log.cleaner.threads", Some("1")),
        (4, "x", "log.cleaner.threads", Some("1")),
        (8, "1", "root", Some("INFO")),
        (16, "q", "interval.ms", Some("1")),
        (32, "q", "consumer.session.timeout.ms", Some("1")),
        (99, "q", "retention.ms", Some("1")),
    ];
    for (kind, name, key, value) in cases {
        let config = alter_configs_request::AlterableConfig { name: (*key).into(), value: value.map(str::to_owned), ..Default::default() };
        let resource = alter_configs_request::AlterConfigsResource {
            resource_type: *kind,
            resource_name: (*name).into(),
            configs: vec![config],
            ..Default::default()
        };
        let request = AlterConfigsRequest { resources: vec![resource], validate_only: true, ..Default::default() };
        a.ask(&format!("replace {kind} '{name}' {key} {value:?}"), 2, request);
    }
}

/// Topics that come into being because somebody asks for them.
#[test]
fn topics_created_on_demand() {
    let extra = ["num.partitions=3", "offsets.topic.num.partitions=2", "transaction.state.log.num.partitions=2"];
    let share = ["share.coordinator.state.topic.num.partitions=2"];
    both_with("topics on demand", include_str!("../../known/topics_on_demand.txt"), &[&extra[..], &share].concat(), |a| {
        let metadata = |names: &[&str], allow| MetadataRequest {
            topics: Some(
                names
                    .iter()
                    .map(|name| metadata_request::MetadataRequestTopic { name: Some((*name).into()), ..Default::default() })
                    .collect(),
            ),
            allow_auto_topic_creation: allow,
            ..Default::default()
        };
        let errors = |a: &mut Asker, names: &[&str], allow, version| {
            let answer = a.send(&metadata(names, allow), version).expect("an answer");
            let mut seen: Vec<_> = answer.topics.into_iter().map(|t| (t.name, t.error_code, t.is_internal, t.partitions.len())).collect();
            seen.sort();
            seen
        };
        let names =
            ["q-demand", "not/valid", "", "..", "q.dot", "q_dot", "__consumer_offsets", "__transaction_state", "__share_group_state"];
        for (version, allow) in [(12, false), (4, false)] {
            let text = format!("{:?}", errors(a, &names, allow, version));
            a.line(&format!("metadata v{version} that must not create"), &text);
        }
        for name in names {
            let text = format!("{:?}", errors(a, &[name], true, 9));
            a.line(&format!("first metadata of '{name}'"), &text);
        }
        let created: Vec<&str> = names.into_iter().filter(|n| !matches!(*n, "not/valid" | "" | ".." | "q_dot")).collect();
        let seen = e2e::wait::until("the topics are there", || {
            let seen = errors(a, &created, false, 9);
            seen.iter().all(|(_, code, ..)| *code == 0).then_some(seen)
        });
        a.line("created topics", &format!("{seen:?}"));
        let text = format!("{:?}", errors(a, &["q_dot"], true, 9));
        a.line("metadata of a name that collides", &text);
        for name in created {
            let resource = describe_configs_request::DescribeConfigsResource {
                resource_type: 2,
                resource_name: name.into(),
                configuration_keys: None,
                ..Default::default()
            };
            let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
            let answer = a.send(&request, 4).expect("configs");
            let mut own: Vec<_> = answer.results[0].configs.iter().filter(|c| c.config_source == 1).map(|c| (&c.name, &c.value)).collect();
            own.sort();
            a.line(&format!("configs of created '{name}'"), &format!("{own:?}"));
        }
    });
}

/// What a node answers that creates nothing on demand and deletes nothing.
#[test]
fn creation_and_deletion_switched_off() {
    let extra = ["auto.create.topics.enable=false", "delete.topic.enable=false"];
    both_with("switched off", include_str!("../../known/switched_off.txt"), &extra, |a| {
        create(a, &["q-kept"]);
        for version in [1, 5, 12] {
            let name = |name: &str| metadata_request::MetadataRequestTopic { name: Some(name.into()), ..Default::default() };
            let topics = Some(vec![name("q-demand"), name("__consumer_offsets")]);
            let answer = a.send(&MetadataRequest { topics, ..Default::default() }, version).expect("an answer");
            let text = format!("{:?}", answer.topics.iter().map(|t| (&t.name, t.error_code)).collect::<BTreeSet<_>>());
            a.line(&format!("metadata v{version}"), &text);
        }
        for version in 1..=6 {
            let mut request = DeleteTopicsRequest { timeout_ms: 5000, ..Default::default() };
            if version < 6 {
                request.topic_names = vec!["q-kept".into(), "q-unknown".into()];
            } else {
                let state = |name: &str| delete_topics_request::DeleteTopicState { name: Some(name.into()), ..Default::default() };
                request.topics = vec![state("q-kept"), state("q-unknown")];
            }
            a.ask(&format!("delete v{version}"), version, request);
        }
        a.ask("delete nothing", 6, DeleteTopicsRequest { timeout_ms: 5000, ..Default::default() });
    });
}

/// Changes that take effect without a restart: a listener comes and goes, and what is too large for a batch.
#[test]
fn changes_take_effect_while_the_node_runs() {
    let scratch = Scratch::new("dynamic");
    std::thread::scope(|s| {
        for kind in [Kind::Apache, Kind::Gregor] {
            let dir = scratch.join(&format!("{kind:?}"));
            s.spawn(move || change_while_running(kind, &dir));
        }
    });
}

fn change_while_running(kind: Kind, dir: &Path) {
    let mut node = Node::start(kind, dir, &[]);
    let bootstrap = node.bootstrap();
    let alter = |entity: &[&str], change: &str| {
        let args = [&["--bootstrap-server", &bootstrap, "--alter"], entity, &["--add-config", change]].concat();
        Tools::Gregor.run("kafka-configs", &args).ok();
    };
    let this_broker = ["--entity-type", "brokers", "--entity-name", "1"];
    let all_brokers = ["--entity-type", "brokers", "--entity-default"];
    let (port, other) = (node.port, e2e::repo::free_port());
    let usual = format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{}", port + 1);
    alter(&this_broker, "listener.security.protocol.map=[PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,OTHER:PLAINTEXT]");
    alter(&this_broker, &format!("listeners=[{usual},OTHER://127.0.0.1:{other}]"));
    e2e::wait::until("the new listener answers", || e2e::raw::answers(other).then_some(()));
    let mut connection = RawConnection::open(other).expect("connects");
    alter(&this_broker, &format!("listeners=[{usual}]"));
    e2e::wait::until("the listener is gone", || (!e2e::raw::answers(other)).then_some(()));
    assert!(matches!(connection.answer(Duration::from_secs(8)), Answer::Closed), "its connections are closed");
    let mut a = Asker::new(&mut node);
    create(&mut a, &["q-batch"]);
    let produce = crate::requests::produce(Some(crate::requests::Batch::good().encode()));
    let code = |a: &mut Asker| a.send(&produce, 9).expect("an answer").responses[0].partition_responses[0].error_code;
    assert_eq!(code(&mut a), 0);
    alter(&all_brokers, "message.max.bytes=10");
    e2e::wait::until("the batch is too large", || (code(&mut a) == 10).then_some(()));
    alter(&all_brokers, "message.max.bytes=1000");
    e2e::wait::until("the batch is small enough", || (code(&mut a) == 0).then_some(()));
    node.stop();
}

/// A partition goes to another directory while it is served; both brokers do the same, and a restart finds it there.
#[test]
fn a_replica_moves_to_another_directory() {
    let scratch = Scratch::new("moves");
    std::thread::scope(|s| {
        for kind in [Kind::Apache, Kind::Gregor] {
            let dir = scratch.join(&format!("{kind:?}"));
            s.spawn(move || move_replica(kind, &dir));
        }
    });
}

fn move_replica(kind: Kind, dir: &Path) {
    let paths = ["one", "two"].map(|name| dir.join(name).display().to_string());
    let log_dirs = format!("log.dirs={}", paths.join(","));
    let mut node = Node::start(kind, dir, &[&log_dirs, "log.segment.bytes=1048576"]);
    let mut a = Asker::new(&mut node);
    create(&mut a, &["q-move"]);
    let value = "x".repeat(1000);
    let lines: String = (0..3000).map(|i| format!("{i}{value}\n")).collect();
    let bootstrap = a.node().bootstrap();
    let produced = Tools::Gregor.run_with_input(
        "kafka-console-producer",
        &["--bootstrap-server", &bootstrap, "--topic", "q-move", "--command-property", "partitioner.ignore.keys=true"],
        &lines,
    );
    produced.ok();
    let place = |a: &mut Asker| -> Vec<(usize, i32, bool)> {
        let answer = a.send(&DescribeLogDirsRequest { topics: None, ..Default::default() }, 4).expect("log dirs");
        let dirs = paths.iter().enumerate();
        let of = |(at, path): (usize, &String)| {
            let result = answer.results.iter().find(|r| r.log_dir == *path).expect("both directories");
            let partitions = result.topics.iter().filter(|t| t.name == "q-move").flat_map(|t| &t.partitions);
            partitions.map(|p| (at, p.partition_index, p.is_future_key)).collect::<Vec<_>>()
        };
        let mut places: Vec<_> = dirs.flat_map(of).collect();
        places.sort_by_key(|(_, index, _)| *index);
        places
    };
    let before = place(&mut a);
    assert_eq!(before.len(), 2, "{kind:?}: {before:?}");
    let moves = before.iter().map(|(at, index, _)| AlterReplicaLogDir {
        path: paths[1 - at].clone(),
        topics: vec![AlterReplicaLogDirTopic { name: "q-move".into(), partitions: vec![*index], ..Default::default() }],
        ..Default::default()
    });
    let answer = a.send(&AlterReplicaLogDirsRequest { dirs: moves.collect(), ..Default::default() }, 2).expect("moves begin");
    assert!(answer.results.iter().flat_map(|t| &t.partitions).all(|p| p.error_code == 0), "{answer:?}");
    let after: Vec<_> = before.iter().map(|(at, index, _)| (1 - at, *index, false)).collect();
    e2e::wait::until("the replicas are in their new directories", || (place(&mut a) == after).then_some(()));
    let count = |node: &Node| {
        let read = Tools::Gregor.run("kafka-get-offsets", &["--bootstrap-server", &node.bootstrap(), "--topic", "q-move"]);
        let ends: i64 = read.ok().lines().filter_map(|line| line.rsplit(':').next()?.parse::<i64>().ok()).sum();
        let args = [
            "--bootstrap-server",
            &node.bootstrap(),
            "--topic",
            "q-move",
            "--from-beginning",
            "--timeout-ms",
            "5000",
            "--max-messages",
            "3000",
        ];
        (ends, Tools::Gregor.run("kafka-console-consumer", &args).stdout.lines().count())
    };
    assert_eq!(count(a.node()), (3000, 3000));
    node.stop();
    node.start_again();
    let mut a = Asker::new(&mut node);
    assert_eq!(place(&mut a), after);
    assert_eq!(count(a.node()), (3000, 3000));
    node.stop();
}

fn features(a: &mut Asker) {
    let update = |updates: &[(&str, i16, i8)]| UpdateFeaturesRequest {
        feature_updates: updates
            .iter()
            .map(|(feature, max_version_level, upgrade_type)| FeatureUpdateKey {
                feature: (*feature).into(),
                max_version_level: *max_version_level,
                upgrade_type: *upgrade_type,
                ..Default::default()
            })
            .collect(),
        timeout_ms: 10_000,
        ..Default::default()
    };
    a.ask("update no feature", 2, update(&[]));
    a.ask("update an unknown feature", 2, update(&[("q.version", 1, 1)]));
    a.ask("update an unknown feature to 0", 2, update(&[("q.version", 0, 2)]));
    a.ask("update to a negative level", 2, update(&[("group.version", -1, 2)]));
    a.ask("update to an unknown level", 2, update(&[("group.version", 77, 1)]));
    a.ask("update in a strange way", 2, update(&[("group.version", 1, 9)]));
    a.ask("update in an unknown way", 2, update(&[("group.version", 1, 0)]));
    a.ask("downgrade as an upgrade", 2, update(&[("group.version", 0, 1)]));
    a.ask("upgrade as a downgrade", 1, update(&[("group.version", 1, 2)]));
    a.ask("update metadata.version to what it is", 1, update(&[("metadata.version", 29, 1)]));
    a.ask("update metadata.version to nothing known", 2, update(&[("metadata.version", 3, 3)]));
    a.ask("update metadata.version too far", 2, update(&[("metadata.version", 1000, 1)]));
    a.ask("downgrade metadata.version safely", 2, update(&[("metadata.version", 7, 2)]));
    a.ask("downgrade metadata.version unsafely", 2, update(&[("metadata.version", 7, 3)]));
    a.ask("downgrade kraft.version", 2, update(&[("kraft.version", 0, 2)]));
    a.ask("update kraft.version too far", 2, update(&[("kraft.version", 2, 1)]));
    a.ask("one good and one bad feature", 1, update(&[("group.version", 1, 1), ("q.version", 1, 1)]));
    a.ask("try a downgrade", 1, UpdateFeaturesRequest { validate_only: true, ..update(&[("share.version", 0, 2)]) });
    a.ask("features once more", 1, UpdateFeaturesRequest { validate_only: true, ..update(&[("share.version", 1, 1)]) });
}

fn quorum(a: &mut Asker) {
    let describe = |topics: &[(&str, &[i32])]| DescribeQuorumRequest {
        topics: topics
            .iter()
            .map(|(name, partitions)| describe_quorum_request::TopicData {
                topic_name: (*name).into(),
                partitions: partitions
                    .iter()
                    .map(|p| describe_quorum_request::PartitionData { partition_index: *p, ..Default::default() })
                    .collect(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    for version in 0..=2 {
        // Offsets of two logs differ.
        let answer = a.send(&describe(&[("__cluster_metadata", &[0])]), version).map(|mut answer| {
            for partition in answer.topics.iter_mut().flat_map(|t| &mut t.partitions) {
                let behind = partition.current_voters.iter().any(|v| v.log_end_offset < partition.high_watermark);
                partition.high_watermark = i64::from(partition.high_watermark > 0 && !behind);
                partition.current_voters.iter_mut().for_each(|voter| voter.log_end_offset = voter.log_end_offset.signum());
            }
            format!("{answer:?}")
        });
        a.line(&format!("describe quorum v{version}"), &answer.unwrap_or_else(|e| e));
    }
    a.ask("describe the quorum of another topic", 2, describe(&[("q-admin", &[0])]));
    a.ask("describe the quorum of another partition", 2, describe(&[("__cluster_metadata", &[1])]));
    a.ask("describe the quorum twice", 1, describe(&[("__cluster_metadata", &[0]), ("__cluster_metadata", &[0])]));
    a.ask("describe two partitions of the quorum", 0, describe(&[("__cluster_metadata", &[0, 0])]));
    a.ask("describe no quorum", 2, describe(&[]));
    a.ask("add a voter", 0, add(2, Uuid::from_u128(77)));
    a.ask("add a voter of another cluster", 1, AddRaftVoterRequest { cluster_id: Some("q".into()), ..add(2, Uuid::from_u128(77)) });
    a.ask("add a voter of any cluster", 1, AddRaftVoterRequest { cluster_id: None, ..add(2, Uuid::from_u128(77)) });
    a.ask("add a voter without a directory", 1, add(2, Uuid::from_u128(0)));
    a.ask("add a negative voter", 1, add(-2, Uuid::from_u128(77)));
    a.ask("add a voter without a listener", 1, AddRaftVoterRequest { listeners: vec![], ..add(2, Uuid::from_u128(77)) });
    let mut elsewhere = add(2, Uuid::from_u128(77));
    elsewhere.listeners[0].name = "q".into();
    a.ask("add a voter elsewhere", 1, elsewhere);
    a.ask("remove the voter", 0, remove(1, Uuid::from_u128(77)));
    a.ask("remove an unknown voter", 0, remove(5, Uuid::from_u128(77)));
    a.ask("remove a negative voter", 0, remove(-5, Uuid::from_u128(77)));
    a.ask("remove a voter without a directory", 0, remove(1, Uuid::from_u128(0)));
    a.ask(
        "remove a voter of another cluster",
        0,
        RemoveRaftVoterRequest { cluster_id: Some(String::new()), ..remove(1, Uuid::from_u128(77)) },
    );
}

fn add(voter_id: i32, directory: Uuid) -> AddRaftVoterRequest {
    AddRaftVoterRequest {
        cluster_id: Some(e2e::node::CLUSTER_ID.into()),
        timeout_ms: 5000,
        voter_id,
        voter_directory_id: directory,
        listeners: vec![add_raft_voter_request::Listener {
            name: "CONTROLLER".into(),
            host: "127.0.0.1".into(),
            port: 9,
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn remove(voter_id: i32, directory: Uuid) -> RemoveRaftVoterRequest {
    RemoveRaftVoterRequest { cluster_id: Some(e2e::node::CLUSTER_ID.into()), voter_id, voter_directory_id: directory, ..Default::default() }
}

/// kraft.version goes up, and with it the voters go into the log, each with its directory.
fn voters_in_the_log(a: &mut Asker) {
    let raise = |validate_only| UpdateFeaturesRequest {
        feature_updates: vec![FeatureUpdateKey {
            feature: "kraft.version".into(),
            max_version_level: 1,
            upgrade_type: 1,
            ..Default::default()
        }],
        timeout_ms: 10_000,
        validate_only,
        ..Default::default()
    };
    let features = |a: &mut Asker, name: &str| {
        let request = ApiVersionsRequest { client_software_name: "e2e".into(), client_software_version: "1".into(), ..Default::default() };
        let answer = a.send(&request, 4).expect("versions");
        let mut finalized: Vec<_> = answer.finalized_features.into_iter().map(|f| (f.name, f.max_version_level)).collect();
        finalized.sort();
        a.line(name, &format!("{finalized:?}"));
    };
    a.ask("try to raise kraft.version", 2, raise(true));
    features(a, "features after the try");
    a.ask("raise kraft.version", 2, raise(false));
    a.ask("raise kraft.version again", 2, raise(false));
    let topics = vec![describe_quorum_request::TopicData {
        topic_name: "__cluster_metadata".into(),
        partitions: vec![describe_quorum_request::PartitionData::default()],
        ..Default::default()
    }];
    let describe = DescribeQuorumRequest { topics, ..Default::default() };
    let (directory, nodes) = e2e::wait::until("the voter has a directory", || {
        let answer = a.send(&describe, 2).ok()?;
        let directory = answer.topics[0].partitions[0].current_voters[0].replica_directory_id;
        (directory != Uuid::ZERO).then_some((directory, answer.nodes))
    });
    features(a, "features with kraft.version 1");
    a.line("voters with kraft.version 1", &format!("{nodes:?}"));
    let other = Uuid::from_u128(77);
    let added = a.send(&add(1, other), 1);
    a.line("add a voter again", &format!("{added:?}").replace(&directory.to_string(), "OWN"));
    for (id, directory_id) in [(1, directory), (1, other), (5, other)] {
        let removed = a.send(&remove(id, directory_id), 0);
        a.line(&format!("remove voter {id}"), &format!("{removed:?}").replace(&directory.to_string(), "OWN"));
    }
}

fn brokers(a: &mut Asker) {
    for broker_id in [7, -1, i32::MAX] {
        a.ask(&format!("unregister {broker_id}"), 0, UnregisterBrokerRequest { broker_id, ..Default::default() });
    }
}

/// Features that neither node has configured.
fn not_configured(a: &mut Asker) {
    a.ask("sasl handshake", 1, SaslHandshakeRequest { mechanism: "PLAIN".into(), ..Default::default() });
    a.ask("sasl authenticate", 2, SaslAuthenticateRequest::default());
    let all =
        DescribeAclsRequest { resource_type_filter: 1, pattern_type_filter: 1, operation: 1, permission_type: 1, ..Default::default() };
    a.ask("describe acls", 3, all);
    let creation = create_acls_request::AclCreation {
        resource_type: 2,
        resource_name: "q-admin".into(),
        resource_pattern_type: 3,
        principal: "User:q".into(),
        host: "*".into(),
        operation: 3,
        permission_type: 3,
        ..Default::default()
    };
    a.ask("create acls", 3, CreateAclsRequest { creations: vec![creation.clone(), creation], ..Default::default() });
    let filter = delete_acls_request::DeleteAclsFilter {
        resource_type_filter: 1,
        pattern_type_filter: 1,
        operation: 1,
        permission_type: 1,
        ..Default::default()
    };
    a.ask("delete acls", 3, DeleteAclsRequest { filters: vec![filter], ..Default::default() });
    a.ask("create a token", 3, CreateDelegationTokenRequest { max_lifetime_ms: 1000, ..Default::default() });
    let other = CreateDelegationTokenRequest {
        owner_principal_type: Some("User".into()),
        owner_principal_name: Some("q".into()),
        ..Default::default()
    };
    a.ask("create a token for another", 3, other);
    a.ask("renew a token", 2, RenewDelegationTokenRequest::default());
    a.ask("expire a token", 2, ExpireDelegationTokenRequest::default());
    a.ask("describe tokens", 3, DescribeDelegationTokenRequest::default());
}
