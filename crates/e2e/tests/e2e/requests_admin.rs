//! The admin requests beyond topics and configs, well-formed but often wrong: leaders, reassignments, log directories, features, the quorum,
//! unregistering, and the requests of features that are not configured. Both brokers get the same and the decoded answers are compared.

use crate::requests::{Asker, both, create};
use base::Uuid;
use e2e::repo::Scratch;
use e2e::{Kind, Node, Tools};
use std::path::Path;
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
    let add = |voter_id, directory: u128| AddRaftVoterRequest {
        cluster_id: Some(e2e::node::CLUSTER_ID.into()),
        timeout_ms: 5000,
        voter_id,
        voter_directory_id: Uuid::from_u128(directory),
        listeners: vec![add_raft_voter_request::Listener {
            name: "CONTROLLER".into(),
            host: "127.0.0.1".into(),
            port: 9,
            ..Default::default()
        }],
        ..Default::default()
    };
    a.ask("add a voter", 0, add(2, 77));
    a.ask("add a voter of another cluster", 1, AddRaftVoterRequest { cluster_id: Some("q".into()), ..add(2, 77) });
    a.ask("add a voter of any cluster", 1, AddRaftVoterRequest { cluster_id: None, ..add(2, 77) });
    a.ask("add a voter without a directory", 1, add(2, 0));
    a.ask("add a negative voter", 1, add(-2, 77));
    a.ask("add a voter without a listener", 1, AddRaftVoterRequest { listeners: vec![], ..add(2, 77) });
    let mut elsewhere = add(2, 77);
    elsewhere.listeners[0].name = "q".into();
    a.ask("add a voter elsewhere", 1, elsewhere);
    let remove = |voter_id, directory: u128| RemoveRaftVoterRequest {
        cluster_id: Some(e2e::node::CLUSTER_ID.into()),
        voter_id,
        voter_directory_id: Uuid::from_u128(directory),
        ..Default::default()
    };
    a.ask("remove the voter", 0, remove(1, 77));
    a.ask("remove an unknown voter", 0, remove(5, 77));
    a.ask("remove a negative voter", 0, remove(-5, 77));
    a.ask("remove a voter without a directory", 0, remove(1, 0));
    a.ask("remove a voter of another cluster", 0, RemoveRaftVoterRequest { cluster_id: Some(String::new()), ..remove(1, 77) });
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
