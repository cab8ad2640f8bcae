//! Transactions that one process begins and another ends, as Flink does: the second takes the producer id and epoch of the first from its
//! checkpoint and never asks for a new one. Between the two the broker is killed (-9) or stopped. Both brokers answer the same.

use crate::both::assert_both_same;
use e2e::repo::Scratch;
use e2e::{Kind, Node, clients};

const BROKER: &[&str] = &["offsets.topic.num.partitions=2", "transaction.state.log.num.partitions=2"];
const IDS: [&str; 7] = ["commit", "abort", "again", "change", "fenced", "more", "empty"];

#[test]
fn a_transaction_is_resumed_by_id_and_epoch() {
    let scratch = Scratch::new("resume");
    assert_both_same("resume", include_str!("../../known/resume.txt"), |kind: Kind| {
        let mut node = Node::start(kind, &scratch.join(&format!("{kind:?}")), BROKER);
        for text in ["not closed cleanly", "unclean", "recover"] {
            node.expect_log(text);
        }
        let broker = node.bootstrap();
        kind.tools().run("kafka-topics", &["--create", "--topic", "resumed", "--partitions", "1", "--bootstrap-server", &broker]).ok();
        let mut answers = String::new();
        for round in ["killed", "stopped", "neither"] {
            let ids = IDS.map(|id| format!("{id}-{round}"));
            let open: Vec<&str> = [&broker, "resumed", "open"].into_iter().chain(ids.iter().map(String::as_str)).collect();
            let opened = clients::java("Resume", &open).ok();
            match round {
                "killed" => {
                    node.kill();
                    node.start_again();
                }
                "stopped" => {
                    node.stop();
                    node.start_again();
                }
                _ => {}
            }
            let resume: Vec<&str> = [&broker, "resumed"].into_iter().chain(opened.lines()).collect();
            answers += &clients::java("Resume", &resume).ok();
        }
        let values = clients::java("Committed", &[&broker, "resumed"]).ok();
        let committed: Vec<&str> = values.lines().filter_map(|line| line.rsplit(' ').next()).collect();
        answers += &format!("committed: {}\n", committed.join(" "));
        let text = node.normalise(&answers);
        node.stop();
        (text, node)
    });
}
