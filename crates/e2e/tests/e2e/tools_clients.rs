//! The tools that produce, consume, look after groups and measure: Apache's and ours, each against both kinds of broker. All four
//! transcripts must agree: Apache's tool on Apache's broker is the measure.

use e2e::compare::assert_same;
use e2e::repo::Scratch;
use e2e::{Finished, Kind, Node, Tools};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::tools::line;

/// How the output of a command line is compared.
#[derive(Clone, Copy, PartialEq)]
enum As {
    /// As it is, but for blanks, ports and times.
    Text,
    /// Lines of JSON: the order of the fields, times and rates say nothing.
    Events,
    /// Measured: every number is `N`.
    Measured,
    /// Lines that come from several partitions, in any order.
    Unordered,
    /// Objects of JSON with nothing between them, but for ids of topics.
    Records,
}

/// Tool, arguments, standard input. `@` stands for the broker's address, `%` for a directory of the node's own.
const QUESTIONS: &[(As, &str, &str, &str)] = &[
    (As::Text, "kafka-topics", "--create --topic c-one --partitions 1 --bootstrap-server @", ""),
    (As::Text, "kafka-topics", "--create --topic c-two --partitions 2 --bootstrap-server @", ""),
    (As::Text, "kafka-topics", "--create --topic app-x-changelog --bootstrap-server @", ""),
    (As::Text, "kafka-topics", "--create --topic app-y-repartition --bootstrap-server @", ""),
    // Producers.
    (
        As::Text,
        "kafka-console-producer",
        "--topic c-one --reader-property parse.key=true --reader-property key.separator=: --reader-property null.marker=NULL --bootstrap-server @",
        "k1:v1\nk2:v2\nk3:NULL\n",
    ),
    (
        As::Text,
        "kafka-console-producer",
        "--topic c-one --sync --reader-property parse.headers=true --reader-property headers.delimiter=# --compression-codec zstd --bootstrap-server @",
        "h1:a,h2:b#v4\n",
    ),
    (As::Text, "kafka-console-producer", "--topic c-two --reader-property parse.key=true --bootstrap-server @", "a\t1\nb\t2\nc\t3\nd\t4\n"),
    (As::Text, "kafka-console-producer", "--topic c-one --reader-property parse.key=true --bootstrap-server @", "bad\n"),
    (As::Text, "kafka-console-producer", "--topic c-one --property a=b --reader-property c=d --bootstrap-server @", "x\n"),
    (
        As::Events,
        "kafka-verifiable-producer",
        "--topic c-one --max-messages 2 --value-prefix 7 --repeating-keys 1 --bootstrap-server @",
        "",
    ),
    (As::Events, "kafka-verifiable-producer", "--topic c-one --max-messages 1 --acks 0 --bootstrap-server @", ""),
    (As::Events, "kafka-verifiable-producer", "--topic c/bad --max-messages 1 --bootstrap-server @", ""),
    (As::Text, "kafka-verifiable-producer", "--topic c-one --acks 5 --bootstrap-server @", ""),
    (As::Text, "kafka-verifiable-producer", "--topic c-one", ""),
    // Consumers.
    (
        As::Text,
        "kafka-console-consumer",
        "--topic c-one --from-beginning --max-messages 4 --group c-classic --formatter-property print.key=true --formatter-property \
         print.headers=true --formatter-property print.offset=true --formatter-property print.partition=true --bootstrap-server @",
        "",
    ),
    (
        As::Text,
        "kafka-console-consumer",
        "--topic c-one --from-beginning --max-messages 3 --group c-new --command-property group.protocol=consumer --bootstrap-server @",
        "",
    ),
    (As::Text, "kafka-console-consumer", "--topic c-one --partition 0 --offset 1 --max-messages 2 --bootstrap-server @", ""),
    (As::Unordered, "kafka-console-consumer", "--include c-t.* --from-beginning --max-messages 4 --group c-all --bootstrap-server @", ""),
    (As::Text, "kafka-console-consumer", "--topic c-one --offset 1 --bootstrap-server @", ""),
    (As::Text, "kafka-console-consumer", "--topic c-one --group a --command-property group.id=b --bootstrap-server @", ""),
    (As::Text, "kafka-console-consumer", "--topic c-one --partition 0 --formatter no.Such --bootstrap-server @", ""),
    // One record, in the partition of __consumer_offsets that no other group here is in.
    (As::Text, "kafka-consumer-groups", "--reset-offsets --group c-fix --topic c-one:0 --to-offset 2 --execute --bootstrap-server @", ""),
    (
        As::Records,
        "kafka-console-consumer",
        "--topic __consumer_offsets --partition 21 --offset earliest --max-messages 1 --formatter \
         org.apache.kafka.tools.consumer.OffsetsMessageFormatter --bootstrap-server @",
        "",
    ),
    (As::Events, "kafka-verifiable-consumer", "--topic c-one --group-id c-vc --max-messages 4 --bootstrap-server @", ""),
    (As::Events, "kafka-verifiable-consumer", "--topic c-one --group-id c-vc --max-messages 2 --verbose --bootstrap-server @", ""),
    (
        As::Events,
        "kafka-verifiable-consumer",
        "--topic c-one --group-id c-vn --max-messages 7 --group-protocol consumer --verbose --bootstrap-server @",
        "",
    ),
    (As::Text, "kafka-verifiable-consumer", "--topic c-one --group-id c-vn --group-protocol foo --bootstrap-server @", ""),
    (As::Text, "kafka-verifiable-consumer", "--topic c-one --bootstrap-server @", ""),
    // Groups.
    (As::Unordered, "kafka-consumer-groups", "--list --bootstrap-server @", ""),
    (As::Unordered, "kafka-consumer-groups", "--list --type --state --bootstrap-server @", ""),
    (As::Unordered, "kafka-consumer-groups", "--list --type consumer --state empty --bootstrap-server @", ""),
    (As::Unordered, "kafka-groups", "--list --bootstrap-server @", ""),
    (As::Unordered, "kafka-groups", "--list --group-type consumer --bootstrap-server @", ""),
    (As::Unordered, "kafka-groups", "--list --share --bootstrap-server @", ""),
    (As::Text, "kafka-consumer-groups", "--describe --group c-new --bootstrap-server @", ""),
    (As::Text, "kafka-consumer-groups", "--describe --group c-new --offsets --verbose --bootstrap-server @", ""),
    (As::Text, "kafka-consumer-groups", "--describe --group c-new --members --verbose --bootstrap-server @", ""),
    (As::Text, "kafka-consumer-groups", "--describe --group c-new --state --verbose --bootstrap-server @", ""),
    (As::Unordered, "kafka-consumer-groups", "--describe --all-groups --state --bootstrap-server @", ""),
    (As::Unordered, "kafka-consumer-groups", "--describe --all-groups --bootstrap-server @", ""),
    (As::Text, "kafka-consumer-groups", "--reset-offsets --group c-new --topic c-one:0 --to-earliest --execute --bootstrap-server @", ""),
    (
        As::Text,
        "kafka-consumer-groups",
        "--reset-offsets --group c-classic --all-topics --shift-by -1 --export --dry-run --bootstrap-server @",
        "",
    ),
    (
        As::Unordered,
        "kafka-consumer-groups",
        "--reset-offsets --all-groups --all-topics --to-current --export --dry-run --bootstrap-server @",
        "",
    ),
    (As::Text, "kafka-consumer-groups", "--reset-offsets --group c-classic --from-file %/plan.csv --execute --bootstrap-server @", ""),
    (
        As::Text,
        "kafka-consumer-groups",
        "--reset-offsets --group c-classic --topic c-one --to-datetime 2020-01-01T00:00:00.000 --dry-run --bootstrap-server @",
        "",
    ),
    (
        As::Text,
        "kafka-consumer-groups",
        "--reset-offsets --group c-classic --topic c-one --by-duration P1D --dry-run --bootstrap-server @",
        "",
    ),
    (
        As::Text,
        "kafka-consumer-groups",
        "--reset-offsets --group c-classic --topic c-one --by-duration x --dry-run --bootstrap-server @",
        "",
    ),
    (
        As::Text,
        "kafka-consumer-groups",
        "--reset-offsets --group c-classic --topic c-one --to-offset 99 --dry-run --bootstrap-server @",
        "",
    ),
    (As::Text, "kafka-consumer-groups", "--delete-offsets --group c-classic --topic c-one:0 --bootstrap-server @", ""),
    (As::Text, "kafka-consumer-groups", "--delete-offsets --group c-new --topic c-none --bootstrap-server @", ""),
    (As::Text, "kafka-consumer-groups", "--delete --group c-classic --group c-none --bootstrap-server @", ""),
    (As::Text, "kafka-consumer-groups", "--delete --group c-new --bootstrap-server @", ""),
    (As::Text, "kafka-consumer-groups", "--describe --group c-new --members --state --bootstrap-server @", ""),
    (As::Text, "kafka-consumer-groups", "--validate-regex a(b", ""),
    // Streams.
    (As::Text, "kafka-streams-application-reset", "--application-id app --dry-run --bootstrap-server @", ""),
    (
        As::Text,
        "kafka-streams-application-reset",
        "--application-id app --input-topics c-two,c-none --intermediate-topics c-one --dry-run --bootstrap-server @",
        "",
    ),
    (
        As::Text,
        "kafka-streams-application-reset",
        "--application-id app --input-topics c-one --to-offset 2 --internal-topics app-x-changelog --bootstrap-server @",
        "",
    ),
    (
        As::Text,
        "kafka-streams-application-reset",
        "--application-id app --input-topics c-one --shift-by -5 --dry-run --bootstrap-server @",
        "",
    ),
    (As::Text, "kafka-streams-application-reset", "--application-id app --to-latest --to-earliest --bootstrap-server @", ""),
    (As::Text, "kafka-consumer-groups", "--describe --group app --bootstrap-server @", ""),
    // Measuring.
    (As::Measured, "kafka-producer-perf-test", "--topic c-perf --num-records 20 --record-size 10 --throughput -1 --bootstrap-server @", ""),
    (
        As::Measured,
        "kafka-producer-perf-test",
        "--topic c-perf --num-records 20 --payload-monotonic --warmup-records 5 --throughput 1000 --bootstrap-server @",
        "",
    ),
    (As::Text, "kafka-producer-perf-test", "--topic c-perf --num-records 20 --throughput 1 --bootstrap-server @", ""),
    (As::Measured, "kafka-consumer-perf-test", "--topic c-perf --num-records 40 --date-format yyyy --bootstrap-server @", ""),
    (As::Measured, "kafka-e2e-latency", "--topic c-perf --num-records 2 --producer-acks all --record-size 9 --bootstrap-server @", ""),
    (As::Text, "kafka-e2e-latency", "@ c-perf 1 0 10", ""),
    (As::Text, "kafka-e2e-latency", "a b", ""),
];

/// Help is the same letter by letter; no broker is asked.
const HELPS: &[(&str, &str)] = &[
    ("kafka-console-producer", "--help"),
    ("kafka-console-consumer", "--help"),
    ("kafka-groups", "--help"),
    ("kafka-dump-log", "--help"),
    ("kafka-e2e-latency", "--topic x --help"),
    ("kafka-streams-application-reset", "--help"),
    ("kafka-verifiable-producer", "--help"),
    ("kafka-verifiable-consumer", "--help"),
    ("kafka-producer-perf-test", "--help"),
    ("kafka-consumer-groups", "--help"),
];

fn masked_numbers(text: &str) -> String {
    let mut out = String::new();
    // What was too fast to measure is a number as well.
    for letter in text.replace("Infinity", "0").chars() {
        let in_number = letter.is_ascii_digit() || letter == '.';
        match (in_number, out.ends_with('N')) {
            (true, true) => {}
            (true, false) => out.push('N'),
            (false, _) => out.push(letter),
        }
    }
    out
}

fn without_topic_id(line: &str) -> String {
    match line.split_once("\"topicId\":\"") {
        Some((before, id)) => format!("{before}\"topicId\":{}", id.split_once('"').map_or("", |(_, after)| after)),
        None => line.to_owned(),
    }
}

fn event(text: &str) -> String {
    let Ok(serde_json::Value::Object(mut fields)) = serde_json::from_str(text) else { return text.to_owned() };
    for name in ["timestamp", "avg_throughput"] {
        fields.remove(name);
    }
    fields.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

fn shown(how: As, finished: Finished) -> String {
    let each = |change: &dyn Fn(&str) -> String| finished.stdout.lines().map(change).collect::<Vec<_>>().join("\n");
    let stdout = match how {
        As::Text => finished.stdout,
        As::Events => each(&event),
        As::Measured => each(&masked_numbers),
        As::Unordered => {
            let mut lines: Vec<&str> = finished.stdout.lines().collect();
            lines.sort_unstable();
            lines.join("\n")
        }
        As::Records => {
            let apart = finished.stdout.replace("}{", "}\n{");
            apart.lines().map(without_topic_id).collect::<Vec<_>>().join("\n")
        }
    };
    line(&Finished { stdout, ..finished })
}

fn ask(tools: Tools, node: &Node) -> String {
    let dir = node.dir.display().to_string();
    std::fs::write(node.dir.join("plan.csv"), "c-one,0,1\n").expect("a plan");
    let mut out = String::new();
    for (how, tool, arguments, input) in QUESTIONS {
        let arguments = arguments.replace('@', &node.bootstrap()).replace('%', &dir);
        let words: Vec<&str> = arguments.split_whitespace().collect();
        let finished = tools.run_with_input(tool, &words, input);
        let name = node.normalise(&format!("{tool} {}", words.join(" "))).replace(": ", ":");
        let _ = writeln!(out, "{name}: {}", shown(*how, finished));
    }
    node.normalise(&out)
}

/// Gregor's addition to the table of a group: the reset above has left it behind the end of the log.
fn lag_in_seconds(node: &Node) {
    let broker = node.bootstrap();
    let words = ["--describe", "--group", "app", "--lag-seconds", "--bootstrap-server", &broker];
    let table = Tools::Gregor.run("kafka-consumer-groups", &words).ok();
    let cells: Vec<Vec<&str>> = table.lines().filter(|l| !l.is_empty()).map(|l| l.split_whitespace().collect()).collect();
    let (head, row) = (&cells[0], &cells[1]);
    let column = head.iter().position(|name| *name == "LAG-SECONDS").expect("the column");
    assert!(row[column - 1].parse::<u64>().is_ok_and(|lag| lag > 0) && row[column].parse::<u64>().is_ok_and(|age| age < 86_400), "{table}");
}

/// The first segments of logs that have something in them.
fn segments(data: &Path, beginning: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(data)
        .expect("the log directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(beginning)))
        .map(|path| path.join("00000000000000000000.log"))
        .filter(|path| path.metadata().is_ok_and(|metadata| metadata.len() > 0))
        .collect();
    found.sort();
    found
}

/// Both dump-logs on the same files.
fn dumps(node: &Node, what: &str) -> (String, String) {
    let data = node.dir.join("data");
    let index = data.join("c-one-0/00000000000000000000.index");
    let mut lines: Vec<String> = vec![format!("--verify-index-only --files {}", index.display())];
    for (beginning, options) in [
        ("c-one-", "--print-data-log"),
        ("c-one-", "--deep-iteration --skip-record-metadata --print-data-log"),
        ("__consumer_offsets-", "--offsets-decoder"),
        ("__cluster_metadata-", "--cluster-metadata-decoder --skip-record-metadata"),
    ] {
        let files: Vec<String> = segments(&data, beginning).iter().map(|path| path.display().to_string()).collect();
        lines.push(format!("{options} --files {}", files.join(",")));
    }
    let mut both = (String::new(), String::new());
    for arguments in &lines {
        let words: Vec<&str> = arguments.split(' ').collect();
        let name = format!("dump-log of {what} {}", words[..words.len() - 1].join(" "));
        for (tools, out) in [(Tools::Apache, &mut both.0), (Tools::Gregor, &mut both.1)] {
            let _ = writeln!(out, "{name}: {}", line(&tools.run("kafka-dump-log", &words)));
        }
    }
    both
}

fn helps() -> (String, String) {
    let mut both = (String::new(), String::new());
    for (tool, arguments) in HELPS {
        let words: Vec<&str> = arguments.split(' ').collect();
        for (tools, out) in [(Tools::Apache, &mut both.0), (Tools::Gregor, &mut both.1)] {
            let finished = tools.run(tool, &words);
            // Ours has one option more, at the end.
            let stderr = finished.stderr.split("--lag-seconds").next().unwrap_or_default();
            let text = format!("{}{stderr}", finished.stdout).replace('\n', "\\n");
            let _ = writeln!(out, "help of {tool}: exit {:?} {text}", finished.code);
        }
    }
    both
}

#[test]
fn four_transcripts() {
    let scratch = Scratch::new("tools-clients");
    let run = |tools: Tools, kind: Kind| {
        let mut node = Node::start(kind, &scratch.join(&format!("{tools:?}-{kind:?}")), &[]);
        let text = ask(tools, &node);
        if tools == Tools::Gregor {
            lag_in_seconds(&node);
        }
        node.assert_serves();
        node.stop();
        (text, node)
    };
    let all = std::thread::scope(|s| {
        let pairs =
            [(Tools::Apache, Kind::Apache), (Tools::Apache, Kind::Gregor), (Tools::Gregor, Kind::Apache), (Tools::Gregor, Kind::Gregor)];
        let run = &run;
        let running = pairs.map(|(tools, kind)| s.spawn(move || run(tools, kind)));
        running.map(|thread| thread.join().expect("a transcript"))
    });
    let [(measure, apache), (theirs, gregor), others @ ..] = all;
    let (mut expected, mut found) = (String::new(), String::new());
    let labels = ["Apache's tool on Gregor", "Gregor's tool on Apache", "Gregor's tool on Gregor"];
    for (label, text) in labels.iter().zip([&theirs, &others[0].0, &others[1].0]) {
        measure.lines().for_each(|line| expected.push_str(&format!("{label}, {line}\n")));
        text.lines().for_each(|line| found.push_str(&format!("{label}, {line}\n")));
    }
    for (theirs, ours) in [dumps(&apache, "Apache"), dumps(&gregor, "Gregor"), helps()] {
        expected.push_str(&theirs);
        found.push_str(&ours);
    }
    assert_same("tools_clients", &expected, &found, include_str!("../../known/tools_clients.txt"));
}
