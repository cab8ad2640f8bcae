//! The same clients ask Apache Kafka and Gregor the same questions at the same time; the answers must agree, but for the deviations listed
//! with their reasons in `crates/e2e/known`.

use crate::both::assert_both_same;
use e2e::repo::Scratch;
use e2e::{Finished, Kind, Node, clients};

/// Runs `ask` on both brokers at once and compares what it prints.
pub(crate) fn both(what: &str, known: &str, ask: impl Fn(&str) -> Finished + Sync) {
    let scratch = Scratch::new(what);
    let answers = |kind: Kind| {
        let mut node = Node::start(kind, &scratch.join(&format!("{kind:?}")), SETTINGS);
        for refused in EXPECTED_WARNINGS {
            node.expect_log(refused);
        }
        let finished = ask(&node.bootstrap());
        node.assert_serves();
        assert_eq!(finished.code, Some(0), "{what} on {kind:?}: {}\n{}", finished.stdout, finished.stderr);
        let text = node.normalise(&finished.stdout);
        node.stop();
        (text, node)
    };
    assert_both_same(what, known, answers);
}

/// Members of the consumer protocol hear of a change with their next heartbeat: often, so that nobody waits for five seconds.
pub(crate) const SETTINGS: &[&str] = &["group.consumer.min.heartbeat.interval.ms=200", "group.consumer.heartbeat.interval.ms=200"];

/// The sweeps do wrong things on purpose; what Gregor logs about them is no fault.
const EXPECTED_WARNINGS: &[&str] = &[];

#[test]
fn java_clients() {
    both("java", include_str!("../../known/java.txt"), |b| {
        clients::java("Sweep", &[b, "admin", "configs", "produce", "consume", "groups"])
    });
}

#[test]
fn java_client_3_9() {
    let areas = ["admin", "produce", "consume", "groups", "consumer-protocol"];
    both("java39", include_str!("../../known/java39.txt"), |b| clients::old_java("3.9.1", &[&[b], &areas[..]].concat()));
}

#[test]
fn java_client_2_8() {
    let areas = ["admin", "produce", "consume", "groups"];
    both("java28", include_str!("../../known/java28.txt"), |b| clients::old_java("2.8.2", &[&[b], &areas[..]].concat()));
}

#[test]
fn go_client() {
    both("go", include_str!("../../known/go.txt"), clients::go_sweep);
}

#[test]
fn javascript_client() {
    both("js", include_str!("../../known/js.txt"), clients::js_sweep);
}

#[test]
fn confluent_kafka_python() {
    both("python", include_str!("../../known/python.txt"), |b| clients::python("sweep.py", &[b]));
}

#[test]
fn kafka_python() {
    both("kafka-python", include_str!("../../known/kafka_python.txt"), clients::kafka_python_sweep);
}

#[test]
fn kcat() {
    both("kcat", include_str!("../../known/kcat.txt"), clients::kcat_sweep);
}
