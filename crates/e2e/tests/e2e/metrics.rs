//! The pages of a node for those who watch it: every name that docs/metrics.md and the Grafana board speak of is exported and the other way
//! round; lag is what kafka-consumer-groups says; a recovery is told while it goes on.

use std::collections::BTreeSet;

use e2e::repo::{self, Scratch};
use e2e::{Kind, Node, http, wait};
use serde_json::Value;

const OPEN_METRICS: &str = "application/openmetrics-text";

fn page(node: &Node, accept: &str) -> String {
    let (status, body) = http::get(node.http.expect("the node serves HTTP"), "/metrics", accept).expect("the page");
    assert_eq!(status, 200);
    body
}

/// The names of families as dashboards use them: counters with `_total`, information with `_info`.
fn families(page: &str) -> BTreeSet<String> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types
        .map(|(name, kind)| match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        })
        .collect()
}

/// Everything in a text that looks like a metric's name.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'));
    let is_name = |word: &&str| ["kafka_", "gregor_", "process_"].iter().any(|prefix| word.starts_with(prefix)) && !word.ends_with('_');
    words.filter(is_name).map(str::to_owned).collect()
}

/// Queries of the board: of its panels and of its variables.
fn queries(board: &Value, into: &mut Vec<String>) {
    match board {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == "expr" || name == "query" => into.push(text.clone()),
                    other => queries(other, into),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| queries(item, into)),
        _ => {}
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(repo::root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

#[test]
fn the_board_the_documentation_and_the_page_name_the_same_metrics() {
    if repo::self_check() {
        return;
    }
    let scratch = Scratch::new("metrics");
    let mut node = Node::prepare(Kind::Gregor, &scratch.join("node"), &[]);
    node.format();
    node.http = Some(repo::free_port());
    node.start_again();
    let (broker, tools) = (node.bootstrap(), node.kind.tools());
    tools.run("kafka-topics", &["--create", "--topic", "t", "--partitions", "2", "--bootstrap-server", &broker]).ok();
    let lines: String = (0..100).map(|n| format!("record {n}\n")).collect();
    tools.run_with_input("kafka-console-producer", &["--topic", "t", "--bootstrap-server", &broker], &lines).ok();
    let consume = ["--topic", "t", "--group", "g", "--from-beginning", "--max-messages", "30", "--bootstrap-server", &broker];
    tools.run("kafka-console-consumer", &consume).ok();

    let page_text = page(&node, OPEN_METRICS);
    // A consumer that is closed takes its fetch sessions with it.
    assert!(page_text.contains("\nkafka_server_fetchsessioncache_numincrementalfetchsessions 0\n"), "{page_text}");
    let exported = families(&page_text);
    let documented = names(&read("docs/metrics.md"));
    let only = |here: &BTreeSet<String>, there: &BTreeSet<String>| here.difference(there).cloned().collect::<Vec<_>>();
    assert_eq!(only(&exported, &documented), [""; 0], "not in docs/metrics.md");
    assert_eq!(only(&documented, &exported), [""; 0], "only in docs/metrics.md");

    let board: Value = serde_json::from_str(&read("deploy/grafana/gregor.json")).expect("the board is JSON");
    let mut expressions = Vec::new();
    queries(&board, &mut expressions);
    assert!(expressions.len() > 40, "{} queries were found on the board", expressions.len());
    let samples: BTreeSet<&str> =
        page_text.lines().filter(|line| !line.starts_with('#')).map(|line| &line[..line.find(['{', ' ']).unwrap()]).collect();
    for name in expressions.iter().flat_map(|expression| names(expression)) {
        assert!(samples.contains(name.as_str()), "the board shows {name}, which has no sample on the page");
    }
    for name in ["gregor_consumergroup_lag_seconds", "kafka_network_requestmetrics_totaltimems", "kafka_log_log_size"] {
        assert!(samples.contains(name), "{name}");
    }
    let plain = page(&node, "*/*");
    assert!(page_text.ends_with("# EOF\n") && !plain.contains("# EOF"));
    assert!(plain.contains("# TYPE kafka_server_brokertopicmetrics_messagesin_total counter\n"));

    // The lag in records is what Kafka's tool says.
    let described = tools.run("kafka-consumer-groups", &["--describe", "--group", "g", "--bootstrap-server", &broker]).ok();
    let mut compared = 0;
    for line in described.lines().filter(|line| line.starts_with('g')) {
        let column: Vec<&str> = line.split_whitespace().collect();
        let series = format!("gregor_consumergroup_lag_records{{group=\"g\",topic=\"t\",partition=\"{}\"}} {}\n", column[2], column[5]);
        assert!(page_text.contains(&series), "{line}\n{series}");
        compared += 1;
    }
    assert!(compared > 0, "{described}");
    node.stop();
}

/// Enough batches that their recovery takes many times as long as asking for its progress.
#[test]
fn the_progress_of_a_recovery_is_told_while_it_goes_on() {
    if repo::self_check() {
        return;
    }
    let scratch = Scratch::new("recovery-progress");
    let mut node =
        Node::prepare(Kind::Gregor, &scratch.join("node"), &["log.segment.bytes=1048576", "num.recovery.threads.per.data.dir=1"]);
    node.format();
    node.http = Some(repo::free_port());
    node.start_again();
    let (broker, tools) = (node.bootstrap(), node.kind.tools());
    tools.run("kafka-topics", &["--create", "--topic", "t", "--partitions", "1", "--bootstrap-server", &broker]).ok();
    let lines: String = (0..32_000).map(|n| format!("{n:01000}\n")).collect();
    tools.run_with_input("kafka-console-producer", &["--topic", "t", "--batch-size", "4000", "--bootstrap-server", &broker], &lines).ok();
    node.kill();
    // As if nothing had ever been flushed: every segment is recovered.
    let _ = std::fs::remove_file(node.dir.join("data/recovery-point-offset-checkpoint"));
    node.spawn();

    let port = node.http.expect("the node serves HTTP");
    let (mut seen, mut percent) = (Vec::new(), 0.0);
    let ready = wait::until_at_once("the node is ready", || {
        let (status, body) = http::get(port, "/health/ready", "*/*")?;
        let health: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(status == 200, health["ready"] == true, "{status} {body}");
        let now = health["percent"].as_f64().expect("percent");
        assert!(now >= percent && now <= 100.0, "from {percent} to {body}");
        percent = now;
        seen.extend(health["directories"][0]["recovery"]["now"].as_array().into_iter().flatten().cloned());
        (status == 200).then_some(health)
    });
    let done = |progress: &Value| progress["segments"]["recovered"].as_u64().unwrap_or(0);
    let of_topic: Vec<&Value> = seen.iter().filter(|progress| progress["partition"] == "t-0").collect();
    let total = of_topic.iter().filter_map(|progress| progress["segments"]["total"].as_u64()).max().unwrap_or(0);
    assert!(total > 20, "{total} segments to recover were told: {seen:?}");
    assert!(
        of_topic.iter().any(|progress| (1..total).contains(&done(progress))),
        "no segment was told as recovered before all were: {seen:?}"
    );
    assert!(of_topic.is_sorted_by_key(|progress| done(progress)));
    let recovery = &ready["directories"][0]["recovery"];
    assert!(recovery["recovered_segments"].as_u64() > Some(20) && recovery["recovered_bytes"].as_u64() > Some(20 << 20), "{ready}");
    assert_eq!((&recovery["now"], &ready["percent"]), (&serde_json::json!([]), &serde_json::json!(100.0)));
    assert_eq!(ready["logs"]["recovered"], ready["logs"]["to_recover"]);
    wait::until("the broker answers", || e2e::raw::answers(node.port).then_some(()));
    node.stop();
}
