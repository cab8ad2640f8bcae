//! The same tool, ours and Apache's, against the same Gregor: output and exit code must agree.

use e2e::compare::assert_same;
use e2e::repo::Scratch;
use e2e::{Finished, Kind, Node, Tools};
use std::fmt::Write;

/// Everything on one line, runs of blanks as one: column widths are compared by the tools' own tests.
pub fn line(finished: &Finished) -> String {
    let text = format!("{} | {}", finished.stdout, first_line(&finished.stderr));
    let mut words: Vec<&str> = text.split_whitespace().collect();
    for i in 1..words.len() {
        if words[i - 1] == "TopicId:" {
            words[i] = "ID";
        }
    }
    format!("exit {:?} {}", finished.code, words.join(" "))
}

/// Apache's tools log, and end some errors with a stack trace, on stderr, which is no part of the contract.
fn first_line(stderr: &str) -> &str {
    let logged = |l: &str| {
        let l = l.trim_start();
        l.is_empty()
            || ["[20", "at ", "Caused by:", "org.apache.", "java.", "(", "..."].iter().any(|start| l.starts_with(start))
            || l.contains("WARN")
    };
    stderr.lines().find(|l| !logged(l)).unwrap_or("")
}

fn ask(tools: Tools, node: &Node) -> String {
    let broker = node.bootstrap();
    let mut out = String::new();
    let questions: &[(&str, &str)] = &[
        ("kafka-topics", "--list"),
        ("kafka-topics", "--list --exclude-internal"),
        ("kafka-topics", "--describe --topic t-one"),
        ("kafka-topics", "--describe --topic t-none"),
        ("kafka-topics", "--describe --topic t-none --if-exists"),
        ("kafka-topics", "--describe --topics-with-overrides"),
        ("kafka-topics", "--describe --under-replicated-partitions"),
        ("kafka-topics", "--create --topic t-one"),
        ("kafka-topics", "--create --topic t-one --if-not-exists"),
        ("kafka-topics", "--create --topic t/bad"),
        ("kafka-topics", "--create --topic t-bad --partitions 0"),
        ("kafka-topics", "--create --topic t-bad --replication-factor 3"),
        ("kafka-topics", "--create --topic t-bad --config no.such=1"),
        ("kafka-topics", "--create --topic t-bad --config retention.ms=x"),
        ("kafka-topics", "--alter --topic t-one --partitions 1"),
        ("kafka-topics", "--alter --topic t-none --partitions 5"),
        ("kafka-topics", "--delete --topic t-none"),
        ("kafka-topics", "--delete --topic t-none --if-exists"),
        ("kafka-configs", "--describe --entity-type topics --entity-name t-one"),
        ("kafka-configs", "--describe --entity-type topics --entity-name t-one --all"),
        ("kafka-configs", "--describe --entity-type topics --entity-name t-none"),
        ("kafka-configs", "--describe --entity-type brokers --entity-name 1"),
        ("kafka-configs", "--describe --entity-type brokers --entity-default"),
        ("kafka-configs", "--alter --entity-type topics --entity-name t-one --add-config retention.ms=70000000,flush.ms=500"),
        ("kafka-configs", "--describe --entity-type topics --entity-name t-one"),
        ("kafka-configs", "--alter --entity-type topics --entity-name t-one --delete-config flush.ms"),
        ("kafka-configs", "--alter --entity-type topics --entity-name t-one --add-config retention.ms=x"),
        ("kafka-configs", "--alter --entity-type topics --entity-name t-one --add-config no.such=1"),
        ("kafka-get-offsets", "--topic t-one"),
        ("kafka-get-offsets", "--topic t-one --time -2"),
        ("kafka-get-offsets", "--topic t-last --time -3"),
        ("kafka-get-offsets", "--topic-partitions t-one:0"),
        ("kafka-get-offsets", "--topic t-none"),
        ("kafka-get-offsets", "--topic t-one --partitions 7"),
        ("kafka-console-consumer", "--topic t-one --from-beginning --max-messages 4 --group t-group"),
        ("kafka-console-consumer", "--topic t-one --partition 0 --offset 1 --max-messages 2 --formatter-property print.offset=true"),
        ("kafka-console-consumer", "--topic t-one --partition 0 --offset latest --timeout-ms 1500"),
        ("kafka-consumer-groups", "--list"),
        ("kafka-consumer-groups", "--list --state"),
        ("kafka-consumer-groups", "--describe --group t-group"),
        ("kafka-consumer-groups", "--describe --group t-group --offsets"),
        ("kafka-consumer-groups", "--describe --group t-group --state"),
        ("kafka-consumer-groups", "--describe --group t-group --members --verbose"),
        ("kafka-consumer-groups", "--describe --group t-none"),
        ("kafka-consumer-groups", "--reset-offsets --group t-group --topic t-one --to-earliest --dry-run"),
        ("kafka-consumer-groups", "--reset-offsets --group t-group --topic t-one --to-offset 2 --execute"),
        ("kafka-consumer-groups", "--reset-offsets --group t-group --topic t-one --shift-by 1 --execute"),
        ("kafka-consumer-groups", "--describe --group t-group"),
        ("kafka-consumer-groups", "--delete --group t-none"),
        ("kafka-consumer-groups", "--delete --group t-group"),
        ("kafka-topics", "--delete --topic t-one"),
    ];
    let setup = |arguments: &str, input: &str, tool: &str| {
        let mut args: Vec<&str> = arguments.split(' ').collect();
        args.extend(["--bootstrap-server", &broker]);
        tools.run_with_input(tool, &args, input).ok()
    };
    setup("--create --topic t-one --partitions 1 --config max.message.bytes=600000", "", "kafka-topics");
    setup("--topic t-one", "a\nb\nc\nd\n", "kafka-console-producer");
    // One record alone: which of several has the latest timestamp depends on when the producer took each up.
    setup("--create --topic t-last --partitions 1", "", "kafka-topics");
    setup("--topic t-last", "z\n", "kafka-console-producer");
    for (tool, arguments) in questions {
        let mut args: Vec<&str> = arguments.split(' ').collect();
        args.extend(["--bootstrap-server", &broker]);
        let _ = writeln!(out, "{tool} {arguments}: {}", line(&tools.run(tool, &args)));
    }
    // Without a broker: usage errors.
    for (tool, arguments) in [
        ("kafka-topics", "--list"),
        ("kafka-topics", "--bootstrap-server x"),
        ("kafka-topics", "--create --bootstrap-server x"),
        ("kafka-console-producer", "--topic x"),
        ("kafka-console-consumer", "--bootstrap-server x"),
        ("kafka-get-offsets", "--no-such-flag"),
        ("kafka-storage", "random-uuid extra"),
        ("kafka-topics", "--version"),
    ] {
        let finished = tools.run(tool, &arguments.split(' ').collect::<Vec<_>>());
        let first = first_line(&finished.stderr).to_owned();
        let stdout = if arguments == "--version" { finished.stdout.clone() } else { String::new() };
        let _ = writeln!(out, "usage, {tool} {arguments}: exit {:?} {first} {}", finished.code, stdout.trim());
    }
    node.normalise(&out)
}

#[test]
fn same_output_as_apache() {
    let scratch = Scratch::new("tools");
    let answers = |tools: Tools| {
        let mut node = Node::start(Kind::Gregor, &scratch.join(&format!("{tools:?}")), &[]);
        let text = ask(tools, &node);
        node.assert_serves();
        node.stop();
        (text, node)
    };
    // The nodes are dropped, and their logs are looked at, only after the comparison, which says more.
    let ((apache, _node), (gregor, _other_node)) = std::thread::scope(|s| {
        let apache = s.spawn(|| answers(Tools::Apache));
        let gregor = s.spawn(|| answers(Tools::Gregor));
        (apache.join().expect("Apache's tools"), gregor.join().expect("Gregor's tools"))
    });
    assert_same("tools", &apache, &gregor, include_str!("../../known/tools.txt"));
}
