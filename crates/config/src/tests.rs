//! The tables and the DescribeConfigs answers against what Apache Kafka says (golden/configs).

use crate::alter::{Alteration, Op, ResourceType};
use crate::describe::{Entry, Source};
use crate::validator::Validator;
use crate::*;

fn golden(name: &str) -> String {
    let path = format!("{}/../../golden/configs/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn props(pairs: &[(&str, &str)]) -> Props {
    pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
}

/// As ConfigDef's validators describe themselves.
fn describe_validator(key: &ConfigKey) -> String {
    let text = key.validator_text;
    match &key.validator {
        Validator::None => "-".to_owned(),
        Validator::Range { max: None, .. } => format!("[{},...]", text.trim_start_matches(">=")),
        Validator::Range { .. } => format!("[{}]", text.replace("..", ",...,")),
        Validator::OneOf(items) => format!("[{}]", items.join(", ")),
        Validator::OneOfAnyCase(items) => format!("(case insensitive) [{}]", items.join(", ")),
        Validator::List { allowed, .. } if allowed.is_empty() => String::new(),
        Validator::List { allowed, .. } => format!("[{}]", allowed.join(", ")),
        Validator::NonEmpty => "non-empty string".to_owned(),
        Validator::NonNull => "non-null string".to_owned(),
        Validator::GzipLevel => "[1,...,9] or -1".to_owned(),
        Validator::ThrottledReplicas => "[partitionId]:[brokerId],[partitionId]:[brokerId],...".to_owned(),
        Validator::ShareOffsetReset => "[latest, earliest, by_duration:PnDTnHnMn.nS]".to_owned(),
        Validator::QuorumVoters | Validator::QuorumServers => "non-empty list".to_owned(),
    }
}

#[test]
fn tables_say_what_kafkas_say() {
    let mut ours = Vec::new();
    let kinds = [("broker", broker::def()), ("topic", topic::def()), ("group", group::def()), ("client-metrics", client_metrics::def())];
    for (kind, def) in kinds {
        for key in def.keys() {
            let default = match (&key.default.to_text(), key.required) {
                (_, true) => "required".to_owned(),
                (Some(text), _) => format!("={text}"),
                (None, _) => "null".to_owned(),
            };
            let mode = match (kind, key.mode) {
                ("broker", UpdateMode::ReadOnly) => "read-only",
                (_, UpdateMode::ReadOnly) => "-",
                (_, UpdateMode::PerBroker) => "per-broker",
                (_, UpdateMode::ClusterWide) => "cluster-wide",
            };
            let kind = if key.dynamic_only { "throttle" } else { kind };
            let internal = if key.internal { "internal" } else { "-" };
            let columns =
                [kind, key.name, key.type_.name(), &default, &describe_validator(key), key.importance, mode, internal].map(str::to_owned);
            ours.push(columns.join("\t"));
        }
    }
    let golden = golden("definitions.txt");
    let mut theirs: Vec<&str> = golden.lines().collect();
    ours.sort();
    theirs.sort();
    assert_eq!(ours, theirs);
}

#[test]
fn every_field_can_be_read_and_has_kafkas_default() {
    let config = BrokerConfig::from_props(&minimal()).unwrap();
    assert_eq!(config.topic_defaults, TopicConfig::default());
    assert_eq!((config.node_id, config.broker_id), (1, 1));
    for key in broker::FIELD_KEYS {
        assert!(broker::def().get(key).is_some(), "{key}");
    }
}

fn minimal() -> Props {
    props(&[
        ("node.id", "1"),
        ("process.roles", "broker,controller"),
        ("listeners", "PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093"),
        ("controller.listener.names", "CONTROLLER"),
        ("controller.quorum.voters", "1@localhost:9093"),
    ])
}

fn describe_layers() -> Layers {
    let fixed = properties::parse(golden("describe.properties").as_bytes()).unwrap();
    let cluster = props(&[("log.retention.ms", "7200000"), ("message.max.bytes", "2000000"), ("min.insync.replicas", "1")]);
    let broker = props(&[("log.segment.bytes", "2097152"), ("background.threads", "12"), ("log.roll.ms", "3600000")]);
    Layers::new(fixed).with_dynamic(&cluster, &broker)
}

fn type_name(code: i8) -> &'static str {
    ["UNKNOWN", "BOOLEAN", "STRING", "INT", "SHORT", "LONG", "DOUBLE", "LIST", "CLASS", "PASSWORD"][code as usize]
}

fn source_name(source: Source) -> &'static str {
    match source {
        Source::Topic => "DYNAMIC_TOPIC_CONFIG",
        Source::Broker => "DYNAMIC_BROKER_CONFIG",
        Source::BrokerDefault => "DYNAMIC_DEFAULT_BROKER_CONFIG",
        Source::Static => "STATIC_BROKER_CONFIG",
        Source::Default => "DEFAULT_CONFIG",
        Source::BrokerLogger => "DYNAMIC_BROKER_LOGGER_CONFIG",
        Source::ClientMetrics => "DYNAMIC_CLIENT_METRICS_CONFIG",
        Source::Group => "DYNAMIC_GROUP_CONFIG",
    }
}

fn line(entry: &Entry) -> String {
    let quote = |value: &Option<String>| value.as_ref().map_or("null".to_owned(), |text| format!("\"{text}\""));
    let synonyms: String = entry.synonyms.iter().map(|s| format!(" {}:{}={}", source_name(s.source), s.name, quote(&s.value))).collect();
    let (type_name, source) = (type_name(entry.type_code), source_name(entry.source));
    let flags = format!("{}{}", if entry.read_only { " ro" } else { " rw" }, if entry.sensitive { " sensitive" } else { "" });
    format!("{} {type_name} {source}{flags} = {} |{synonyms}", entry.name, quote(&entry.value))
}

#[test]
fn describe_answers_are_kafkas() {
    let layers = describe_layers();
    let config = layers.config().unwrap();
    let t1 = props(&[("retention.ms", "1000"), ("cleanup.policy", "delete,compact"), ("min.cleanable.dirty.ratio", "0.00001")]);
    let g1 = props(&[("consumer.session.timeout.ms", "55000"), ("share.auto.offset.reset", "earliest")]);
    let m1 = props(&[("interval.ms", "1000"), ("metrics", "a,b")]);
    let none = Props::new();
    let answers = [
        ("BROKER:1", describe::broker(&layers, &config)),
        ("BROKER:", describe::broker_defaults(&layers)),
        ("TOPIC:t1", describe::topic(&layers, &config, &t1)),
        ("TOPIC:t2", describe::topic(&layers, &config, &none)),
        ("GROUP:g1", describe::group(&layers, &config, &g1)),
        ("GROUP:g2", describe::group(&layers, &config, &none)),
        ("CLIENT_METRICS:m1", describe::client_metrics(&m1)),
        ("CLIENT_METRICS:m2", describe::client_metrics(&none)),
    ];
    let mut ours = String::new();
    for (title, mut entries) in answers {
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        ours.push_str(&format!("# {title}\n"));
        ours.extend(entries.iter().map(|entry| line(entry) + "\n"));
    }
    let theirs = golden("describe.txt");
    for (ours, theirs) in ours.lines().zip(theirs.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.lines().count(), theirs.lines().count());
}

/// What Kafka answers to the alteration on the left; ours goes through the broker's own step and the controller's, as a request does.
fn refusal(layers: &Layers, config: &BrokerConfig, line: &str) -> Result<(), ConfigError> {
    let (resource, rest) = line.split_once(' ').unwrap();
    let (op, pairs) = rest.split_once(' ').unwrap();
    let (type_, name) = resource.split_once(':').unwrap();
    let op = match op {
        "SET" => Op::Set,
        "DELETE" => Op::Delete,
        "APPEND" => Op::Append,
        _ => Op::Subtract,
    };
    let alterations: Vec<Alteration> = pairs
        .split(';')
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(key, value)| Alteration { name: key.to_owned(), op, value: (op != Op::Delete).then(|| value.to_owned()) })
        .collect();
    let resource = match type_ {
        "TOPIC" => ResourceType::Topic,
        "BROKER" => ResourceType::Broker,
        "GROUP" => ResourceType::Group,
        _ => ResourceType::ClientMetrics,
    };
    let current = match (resource, name) {
        (ResourceType::Broker, "") => layers.cluster.clone(),
        (ResourceType::Broker, _) => layers.broker.clone(),
        (ResourceType::Topic, _) => props(&[("retention.ms", "1000"), ("cleanup.policy", "delete,compact")]),
        _ => Props::new(),
    };
    if resource == ResourceType::Broker {
        layers.validate_change(config, &alter::prepare_broker_props(&current, &alterations)?, !name.is_empty())?;
    }
    let changes = alter::incremental(resource, &current, &alterations)?;
    alter::check_min_insync_replicas(resource, name, &changes)?;
    alter::validate(resource, name, config, &current, &changes)
}

#[test]
fn refusals_are_kafkas() {
    let layers = describe_layers();
    let config = layers.config().unwrap();
    let answers = golden("refusals.txt");
    // Loggers are the broker's business, and which topics exist the controller's.
    let ours_to_judge = |line: &&str| !line.starts_with("BROKER_LOGGER") && !line.starts_with("TOPIC:missing");
    for line in answers.lines().filter(ours_to_judge) {
        let (question, expect) = line.split_once(" -> ").unwrap();
        let got = match refusal(&layers, &config, question) {
            Ok(()) => "NONE".to_owned(),
            Err(error) => {
                let code = match error.error_code() {
                    40 => "INVALID_CONFIG",
                    42 => "INVALID_REQUEST",
                    _ => "INVALID_TOPIC_EXCEPTION",
                };
                format!("{code} {error}")
            }
        };
        assert_eq!(got, expect, "{question}");
    }
}

/// docs/configs.md is made from the tables; `UPDATE_DOCS=1 cargo test -p config` writes it anew.
#[test]
fn the_documentation_is_made_from_the_tables() {
    let path = format!("{}/../../docs/configs.md", env!("CARGO_MANIFEST_DIR"));
    let want = documentation();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &want).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == want, "docs/configs.md is not what the tables say; run UPDATE_DOCS=1 cargo test -p config");
}

fn documentation() -> String {
    let mut text = String::from(
        "# Configuration keys\n\n\
         Every key of Apache Kafka 4.3.1 is known: parsed and checked by Kafka's rules, shown by DescribeConfigs with Kafka's defaults, sources and\n\
         synonyms. This page says which ones Gregor acts on. Setting one of the others is not an error; `gregor server` names it at start with the\n\
         reason below. The page is made from `crates/config/src/tables` by a test.\n",
    );
    let sections = [
        ("Broker", "in server.properties; keys marked *dynamic* also with `kafka-configs --entity-type brokers`", broker::def()),
        ("Topic", "with `kafka-topics --config` and `kafka-configs --entity-type topics`", topic::def()),
        ("Group", "with `kafka-configs --entity-type groups`", group::def()),
        ("Client metrics", "with `kafka-configs --entity-type client-metrics`", client_metrics::def()),
        ("Gregor's own", "in server.properties; Kafka does not have them", own::def()),
    ];
    for (title, how, def) in sections {
        let (honoured, ignored): (Vec<&ConfigKey>, Vec<&ConfigKey>) =
            def.keys().iter().filter(|key| !key.internal).partition(|key| key.usage == def::Use::Honoured);
        text += &format!("\n## {title} keys\n\n{} of {}, {how}.\n", honoured.len(), honoured.len() + ignored.len());
        if !honoured.is_empty() {
            text += "\n| key | type | default | |\n|---|---|---|---|\n";
        }
        for key in honoured {
            let default = match key.default.to_text() {
                Some(text) if text.is_empty() => "*empty*".to_owned(),
                Some(text) => format!("`{text}`"),
                None => String::new(),
            };
            let dynamic = if key.mode == UpdateMode::ReadOnly { "" } else { " *dynamic*" };
            text += &format!("| `{}` | {} | {default} | {}{dynamic} |\n", key.name, key.type_.name().to_lowercase(), key.doc);
        }
        let mut reasons: Vec<&str> = Vec::new();
        for key in &ignored {
            if let def::Use::Ignored(reason) = key.usage
                && !reasons.contains(&reason)
            {
                reasons.push(reason);
            }
        }
        if !reasons.is_empty() {
            text += "\nKnown, without effect:\n\n";
        }
        for reason in reasons {
            let keys = ignored.iter().filter(|key| key.usage == def::Use::Ignored(reason)).map(|key| format!("`{}`", key.name));
            text += &format!("- {reason}: {}\n", keys.collect::<Vec<_>>().join(", "));
        }
    }
    text
}

#[test]
fn what_is_said_at_start_is_what_kafka_says() {
    for line in golden("startup.txt").lines() {
        let (question, expect) = line.split_once(" -> ").unwrap();
        let mut props = minimal();
        for pair in question.split(';') {
            match pair.split_once('=').unwrap() {
                (key, "") => props.remove(key),
                (key, value) => props.insert(key.to_owned(), value.to_owned()),
            };
        }
        let got = BrokerConfig::from_props(&props).map_or_else(|e| e.to_string(), |_| "ok".to_owned());
        assert_eq!(got, expect, "{question}");
    }
}
