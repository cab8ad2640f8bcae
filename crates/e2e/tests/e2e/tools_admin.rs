//! The tools that look after topics, configs, the cluster and its disks: Apache's and ours, each against both kinds of broker. All four
//! transcripts must agree: Apache's tool on Apache's broker is the measure. Usage errors and help need no broker, and are compared letter
//! by letter.

use e2e::compare::assert_same;
use e2e::node::CLUSTER_ID;
use e2e::repo::Scratch;
use e2e::{Finished, Kind, Node, Tools};
use std::fmt::Write;

use crate::tools::line;

/// A line each: tool (without `kafka-`) and arguments. `@` stands for the broker, `%` for a directory of the node's own, with the files
/// below in it, `!` for the controller. A line that begins with `#` is compared without its numbers; one that begins with `+TEXT` is asked
/// until TEXT (in which _ is a space) is in the answer, as brokers take up changes a little after they are made.
const QUESTIONS: &str = "
topics --create --topic a-one --partitions 2 --config retention.ms=99999 @
topics --create --topic a-two --replica-assignment 1,1,1 @
topics --create --topic a-one @
topics --create --topic a-x --replica-assignment 1:1 @
topics --create --topic a-x --replica-assignment 7 @
topics --create --topic a-x --config foo @
topics --describe --topic a-.* @
topics --describe --topic a-one --at-min-isr-partitions @
topics --describe --topic a-one --under-min-isr-partitions @
topics --describe --topic a-one --unavailable-partitions @
topics --describe --topic a-one --partition-size-limit-per-response 1 @
topics --describe --topic-id x @
topics --describe --topic-id ABAAAAAAAAAAAAAAAAAAAA @
topics --describe --topic-id ABAAAAAAAAAAAAAAAAAAAA --if-exists @
topics --alter --topic a-two --partitions 4 @
topics --alter --topic a-two --partitions 5 --replica-assignment 1,1,1,1,1 @
topics --alter --topic a-two --partitions 6 --replica-assignment 1,1,1,1,1,9 @
topics --list --topic a-.* @
configs --describe --topic a-one @
configs --describe --topic bad/name @
configs --describe --topic a-one --add-config a=b @
configs --describe --entity-type topics --entity-default @
configs --describe --broker 7 @
configs --describe --broker-defaults @
configs --describe --group g1 @
configs --describe --client-metrics m1 @
configs --describe --entity-type client-metrics @
configs --alter --topic a-two --add-config cleanup.policy=[compact,delete],retention.ms=77777 @
+retention.ms=77777 configs --describe --topic a-two @
configs --alter --topic a-two --delete-config cleanup.policy,retention.ms @
configs --alter --topic a-two --add-config-file %/topic.properties @
configs --alter --topic a-two --add-config-file /nonexistent @
+segment.bytes=2097152 configs --describe --topic a-two @
configs --alter --topic a-two --add-config a!=b @
configs --alter --topic a-none --add-config retention.ms=1 @
configs --alter --broker 1 --add-config log.cleaner.threads=2 @
+log.cleaner.threads=2_sensitive configs --describe --broker 1 @
configs --alter --broker 1 --delete-config log.cleaner.threads @
configs --alter --broker 1 --add-config log.dirs=/x @
configs --alter --broker-defaults --add-config log.retention.ms=99999 @
+log.retention.ms=99999 configs --describe --broker-defaults @
configs --alter --broker-defaults --delete-config log.retention.ms @
configs --alter --broker-logger 1 --add-config no.such.logger=INFO @
configs --alter --group g1 --add-config consumer.session.timeout.ms=46000 @
+46000 configs --describe --group g1 @
configs --alter --group g1 --add-config foo=1 @
configs --alter --client-metrics m1 --add-config interval.ms=5000,metrics=[a,b] @
+5000 configs --describe --client-metrics m1 @
configs --alter --user u1 --add-config nope=1 @
configs --alter --user u1 --delete-config nope @
configs --alter --client c1 --delete-config zz,SCRAM-SHA-256 @
configs --alter --user u1 --add-config SCRAM-SHA-512=[iterations=1,password=x] @
configs --alter --user u1 --add-config SCRAM-SHA-512=foo @
configs --alter --user u1 --add-config SCRAM-SHA-256=[password=x] @
configs --alter --user u1 --add-config producer_byte_rate=1024.5,consumer_byte_rate=5 @
configs --describe --user u1 @
configs --alter --ip 1.2.3.4 --add-config foo=5 @
configs --describe --ip not.a.host.invalid @
get-offsets --topic-partitions a-one:0,a-two:1-3 @
get-offsets --topic a-one --time earliest-local @
get-offsets --topic a-one --time x @
delete-records --offset-json-file %/delete.json @
delete-records --offset-json-file %/topic.properties @
delete-records --offset-json-file /nonexistent @
leader-election --election-type preferred --topic a-one --partition 0 @
leader-election --election-type unclean --topic a-one --partition 9 @
leader-election --election-type preferred --path-to-json-file %/elect.json @
leader-election --election-type preferred --path-to-json-file %/topic.properties @
cluster cluster-id --bootstrap-server ?
cluster unregister --id 99 --bootstrap-server ?
cluster list-endpoints --bootstrap-server ?
# features @ describe
features @ describe --node-id -1
features @ upgrade --dry-run --release-version 4.3
features @ upgrade --feature group.version=1 --feature transaction.version=2
features @ upgrade --feature no.such=1
features @ upgrade --feature no.such
features @ upgrade --feature group.version=7
features @ downgrade --dry-run --feature metadata.version=20
features @ downgrade --dry-run --feature group.version=0
features @ disable --feature share.version --dry-run
# metadata-quorum @ describe --status
# metadata-quorum @ describe --replication
metadata-quorum @ --command-config %/server.properties add-controller --dry-run
metadata-quorum @ remove-controller -i 3 -d AAAAAAAAAAAAAAAAAAAAAQ --dry-run
metadata-quorum @ remove-controller -i 3 -d abc
# log-dirs --describe --topic-list a-one @
log-dirs --describe --broker-list 1,7 @
reassign-partitions --list @
reassign-partitions --generate --topics-to-move-json-file %/topics.json --broker-list 1 @
reassign-partitions --execute --reassignment-json-file %/plan.json @
reassign-partitions --execute --reassignment-json-file %/plan.json --throttle 1000 --replica-alter-log-dirs-throttle 500 @
reassign-partitions --verify --reassignment-json-file %/plan.json @
reassign-partitions --cancel --reassignment-json-file %/plan.json @
storage info -c %/server.properties
storage format -t MkU3OEVBNTcwNTJENDM2Qk -c %/server.properties
storage format -t MkU3OEVBNTcwNTJENDM2Qk -c %/server.properties --ignore-formatted
storage format -t MkU3OEVBNTcwNTJENDM2Qk -c %/server.properties --standalone
storage format -t MkU3OEVBNTcwNTJENDM2Qk -c %/server.properties --ignore-formatted --release-version 1.0
storage format -t MkU3OEVBNTcwNTJENDM2Qk -c %/server.properties --ignore-formatted --feature x
topics --delete --topic a-.* @
topics --list --exclude-internal @
";

/// Asked of Apache's controller alone: Gregor's answers other controllers only.
const OF_CONTROLLERS: &str = "
configs --bootstrap-controller ! --describe --broker 1
configs --bootstrap-controller ! --describe --topic a-one
cluster cluster-id --bootstrap-controller !
cluster list-endpoints --bootstrap-controller !
# features --bootstrap-controller ! describe
# metadata-quorum --bootstrap-controller ! describe --status
";

/// Lines without a broker.
const USAGES: &str = "
topics
topics --help
topics --create --topic a --if-exists --bootstrap-server x:1
configs --help
configs --describe
get-offsets --help
delete-records --help
leader-election --help
leader-election --bootstrap-server x:1
leader-election --bootstrap-server x:1 --election-type x --all-topic-partitions
broker-api-versions --help
log-dirs --help
reassign-partitions --help
reassign-partitions --bootstrap-server x:1
reassign-partitions --bootstrap-server x:1 --execute
reassign-partitions --bootstrap-server x:1 --list --additional
replica-verification --help
storage
storage --help
storage format --help
storage format -c x
storage format --standalone --initial-controllers x -t a -c b
storage fromat
storage i
storage version-mapping
storage version-mapping -r 9
storage feature-dependencies --feature eligible.leader.replicas.version=1 -f kraft.version=1
storage feature-dependencies --feature kraft.version=9
cluster --help
cluster list-endpoints --help
cluster cluster-id
cluster unregister -b x:1 --id x
features --help
features upgrade --help
features describe
features version-mapping --release-version 4.1
features feature-dependencies --feature x=1
metadata-quorum --help
metadata-quorum --bootstrap-server x:1 describe --help
metadata-quorum --bootstrap-server x:1 remove-controller
metadata-quorum describe --status
";

const FILES: [(&str, &str); 5] = [
    ("topics.json", r#"{"version": 1, "topics": [{"topic": "a-one"}, {"topic": "a-two"}]}"#),
    ("plan.json", r#"{"version": 1, "partitions": [{"topic": "a-one", "partition": 1, "replicas": [1]}]}"#),
    ("topic.properties", "retention.ms=123456\nsegment.bytes=2097152\n"),
    ("delete.json", r#"{"partitions": [{"topic": "a-one", "partition": 0, "offset": 0}], "version": 1}"#),
    ("elect.json", r#"{"partitions": [{"topic": "a-one", "partition": 0}, {"topic": "a-one", "partition": 0}]}"#),
];

fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().filter(|line| !line.is_empty())
}

fn without_numbers(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter.is_ascii_digit() {
            true if out.ends_with('N') => {}
            true => out.push('N'),
            false => out.push(letter),
        }
    }
    out
}

/// Ids of directories, which every format draws anew.
fn without_ids(text: &str) -> String {
    let is_id = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    let mut out = String::new();
    for part in text.split_inclusive(|letter| !is_id(letter)) {
        let id = part.trim_end_matches(|letter| !is_id(letter));
        let known = id.len() != 22 || id == CLUSTER_ID;
        out.push_str(&if known { part.to_owned() } else { part.replace(id, "ID") });
    }
    out
}

fn ask(tools: Tools, node: &Node, questions: &'static str) -> String {
    for (name, text) in FILES {
        std::fs::write(node.dir.join(name), text).expect("a file for the tools");
    }
    let bootstrap = format!("--bootstrap-server {}", node.bootstrap());
    let controller = format!("127.0.0.1:{}", node.port + 1);
    let mut out = String::new();
    for question in lines(questions) {
        let awaited = question.strip_prefix('+').and_then(|rest| rest.split_once(' '));
        let (text, asked) = awaited.unwrap_or(("", question.trim_start_matches("# ")));
        let text = &text.replace('_', " ");
        let words = asked.replace('@', &bootstrap).replace('?', &node.bootstrap()).replace(" !", &format!(" {controller}"));
        let words: Vec<String> = words.split(' ').map(|word| word.replace('%', &node.dir.display().to_string())).collect();
        let arguments: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
        let answer = (0..20).map(|_| tools.run(&format!("kafka-{}", words[0]), &arguments));
        let mut answer = answer.skip_while(|finished| !finished.stdout.contains(text.as_str()));
        let answer = answer.next().unwrap_or_else(|| panic!("{asked}: '{text}' never came"));
        let answer = without_ids(&node.normalise(&line(&answer)));
        let answer = if question.starts_with('#') { without_numbers(&answer) } else { answer };
        let _ = writeln!(out, "{asked}: {answer}");
    }
    out
}

/// Everything that is no log line or stack trace.
fn told(finished: Finished) -> String {
    let logged = |line: &&str| {
        line.starts_with("[20")
            || line.starts_with("\tat ")
            || line.starts_with("\t... ")
            || line.starts_with("joptsimple.")
            || line.starts_with("Caused by: ")
    };
    let stderr: Vec<&str> = finished.stderr.lines().filter(|line| !logged(line) && !line.starts_with("org.apache.")).collect();
    let stderr = stderr.join("\\n");
    format!("exit {:?} {}{}", finished.code, finished.stdout.replace('\n', "\\n"), stderr.trim_end_matches("\\n"))
}

fn usages(tools: Tools) -> String {
    let mut out = String::new();
    for usage in lines(USAGES) {
        let words: Vec<&str> = usage.split(' ').collect();
        let _ = writeln!(out, "usage, {usage}: {}", told(tools.run(&format!("kafka-{}", words[0]), &words[1..])));
    }
    out
}

#[test]
fn four_transcripts_of_administration() {
    let scratch = Scratch::new("tools-admin");
    let run = |tools: Tools, kind: Kind| {
        let mut node = Node::start(kind, &scratch.join(&format!("{tools:?}-{kind:?}")), &[]);
        let text = ask(tools, &node, QUESTIONS);
        let of_controller = if kind == Kind::Apache { ask(tools, &node, OF_CONTROLLERS) } else { String::new() };
        node.assert_serves();
        node.stop();
        (text, of_controller, node)
    };
    let (all, usage) = std::thread::scope(|s| {
        let run = &run;
        let pairs =
            [(Tools::Apache, Kind::Apache), (Tools::Apache, Kind::Gregor), (Tools::Gregor, Kind::Apache), (Tools::Gregor, Kind::Gregor)];
        let running = pairs.map(|(tools, kind)| s.spawn(move || run(tools, kind)));
        let usage = [Tools::Apache, Tools::Gregor].map(usages);
        (running.map(|thread| thread.join().expect("a transcript")), usage)
    });
    let [(measure, of_controller, _apache), others @ ..] = &all;
    let [mut expected, mut found] = usage;
    let labels = ["Apache's tool on Gregor", "Gregor's tool on Apache", "Gregor's tool on Gregor"];
    for (label, (text, ..)) in labels.iter().zip(others) {
        measure.lines().for_each(|line| expected.push_str(&format!("{label}, {line}\n")));
        text.lines().for_each(|line| found.push_str(&format!("{label}, {line}\n")));
    }
    expected.push_str(of_controller);
    found.push_str(&others[1].1);
    assert_same("tools_admin", &expected, &found, include_str!("../../known/tools_admin.txt"));
}
