//! Kafka Streams applications of our own on both brokers: word count, windows, joins, exactly once and at least once; repartition topics that
//! are purged, state restored from compacted changelogs. The same input gives the same output, the same topics and the same offsets.

use crate::both::assert_both_same;
use e2e::repo::Scratch;
use e2e::{Kind, Node, process, streams};
use std::time::Duration;

/// Changelogs are compacted as soon as there is something to compact.
const BROKER: &[&str] = &[
    "offsets.topic.num.partitions=4",
    "transaction.state.log.num.partitions=4",
    "log.cleaner.backoff.ms=200",
    "log.initial.task.delay.ms=100",
];

#[test]
fn streams_applications() {
    let scratch = Scratch::new("topologies");
    assert_both_same("streams", include_str!("../../known/streams.txt"), |kind: Kind| {
        let mut node = Node::start(kind, &scratch.join(&format!("{kind:?}")), BROKER);
        let state = scratch.join(&format!("{kind:?}-state"));
        let mut sweep = streams::command("StreamsSweep", &[&node.bootstrap(), state.to_str().expect("utf-8 path")]);
        let finished = process::run(&mut sweep, "", Duration::from_secs(600));
        assert_eq!(finished.code, Some(0), "{kind:?}: {}\n{}", finished.stdout, finished.stderr);
        let text = node.normalise(&finished.stdout);
        node.stop();
        (text, node)
    });
}
