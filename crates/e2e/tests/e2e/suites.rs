//! Tests that clients bring with them, run against Gregor: everything passes here that passes on Apache Kafka, but for what is left out, by name.

use e2e::repo::Scratch;
use e2e::{Kind, Node, clients};

use super::sweeps::SETTINGS;

fn node(scratch: &Scratch) -> Node {
    Node::start(Kind::Gregor, &scratch.join("node"), &[SETTINGS, &["num.partitions=4"]].concat())
}

/// How many lines begin with a mark, at whatever depth.
fn count(text: &str, mark: &str) -> usize {
    text.lines().filter(|line| line.trim_start().starts_with(mark)).count()
}

/// Left out: transactions, share groups, SASL.
#[test]
fn franz_go() {
    let scratch = Scratch::new("franz-go");
    let node = node(&scratch);
    let finished = clients::franz_go_tests(&node.bootstrap(), "Txn|Share|SCRAM");
    let failed: Vec<&str> = finished.stdout.lines().filter(|line| line.trim_start().starts_with("--- FAIL")).collect();
    assert_eq!(finished.code, Some(0), "{failed:#?}\n{}", finished.stderr);
    let passed = count(&finished.stdout, "--- PASS");
    println!("franz-go: {passed} passed, {} skipped", count(&finished.stdout, "--- SKIP"));
    assert!(passed > 200, "only {passed} tests have run");
}

/// Left out: transactions, ACLs, SASL, TLS; and what supposes that the broker has the id 0 or is started by the tests themselves.
#[test]
fn kafka_python() {
    let scratch = Scratch::new("kafka-python-tests");
    let node = node(&scratch);
    let left_out = "not transactional and not acls and not SASL and not sasl and not SSL and not test_create_partitions \
                    and not test_describe_configs_topic_resource_returns_configs and not test_group";
    let finished = clients::kafka_python_tests(&node.bootstrap(), left_out);
    let last = finished.stdout.lines().last().unwrap_or_default();
    println!("kafka-python: {last}");
    assert_eq!(finished.code, Some(0), "{}", finished.stdout);
    assert!(count(&finished.stdout, "FAILED") == 0 && last.contains(" passed"), "{last}");
}
