//! docs/protocol.md: every API key with its versions, ours beside Apache Kafka's, as both brokers advertise them. `UPDATE_DOCS=1` writes it anew.

use std::collections::BTreeMap;
use std::fmt::Write;

use e2e::repo::{self, Scratch};
use wire::ApiKey;
use wire::messages::ApiVersionsResponse;

use crate::versions::{ask, decode, nodes};

const HEAD: &str = "\
# API keys and versions

What the two brokers advertise to clients, asked of both by ApiVersions version 4 on the client listener: one node, default configuration. The
page is made by a test (`UPDATE_DOCS=1 cargo test -p e2e api_table`), and the test fails when it is out of date.

A key that Gregor serves has exactly Apache Kafka's range. Produce is advertised from version 0 on by both, and served from version 3 on.

| key | API | Apache Kafka 4.3.1 | Gregor | |
|---:|---|---|---|---|
";

/// What a key belongs to that Gregor does not advertise.
fn belongs_to(key: ApiKey) -> &'static str {
    let name = key.name();
    let is = |parts: &[&str]| parts.iter().any(|p| name.contains(p));
    if is(&["Share"]) {
        "share groups"
    } else if is(&["Streams"]) {
        "streams groups"
    } else if is(&["Sasl", "Acls", "Scram", "DelegationToken"]) {
        "security"
    } else if is(&["Txn", "Transactions", "DescribeProducers"]) {
        "transactions"
    } else if is(&["Quotas"]) {
        "quotas"
    } else if is(&["Telemetry"]) {
        "client telemetry"
    } else {
        panic!("{name} is advertised by Apache Kafka and not by Gregor, and belongs to nothing that is left out")
    }
}

type Ranges = BTreeMap<i16, (i16, i16)>;

fn ranges(answer: &ApiVersionsResponse) -> Ranges {
    answer.api_keys.iter().map(|k| (k.api_key, (k.min_version, k.max_version))).collect()
}

fn table(apache: &Ranges, gregor: &Ranges) -> String {
    let mut page = HEAD.to_owned();
    for (code, theirs) in apache {
        let key = ApiKey::from_code(*code).expect("a key of Apache Kafka 4.3.1");
        let range = |(min, max): &(i16, i16)| format!("{min}–{max}");
        let (ours, why) = match gregor.get(code) {
            Some(ours) => (range(ours), ""),
            None => ("–".to_owned(), belongs_to(key)),
        };
        let _ = writeln!(page, "| {code} | {} | {} | {ours} | {why} |", key.name(), range(theirs));
    }
    let _ = write!(page, "\n{} keys, {} of them served by Gregor.\n", apache.len(), gregor.len());
    page
}

#[test]
fn the_table_of_api_keys() {
    let scratch = Scratch::new("api-table");
    let (apache, mut gregor) = nodes(&scratch);
    let [theirs, ours] = [&apache, &gregor].map(|node| ranges(&decode(ask(node, 4), 4)));
    gregor.stop();
    for (key, range) in &ours {
        assert_eq!(theirs.get(key), Some(range), "key {key}");
    }
    let want = table(&theirs, &ours);
    let path = repo::root().join("docs/protocol.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &want).expect("docs/protocol.md is written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == want, "docs/protocol.md is not what the brokers say; run UPDATE_DOCS=1 cargo test -p e2e api_table");
}
