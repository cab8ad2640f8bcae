//! The entries of a DescribeConfigs answer: value, where it comes from, and every level that has something to say about it.
//! Counterpart: ConfigHelper.

use std::borrow::Cow;

use crate::dynamic::{listener_override, synonym_group};
use crate::{BrokerConfig, ConfigKey, Layers, Props, Type, UpdateMode, broker, client_metrics, group, topic};

/// `config_source` of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Topic = 1,
    Broker = 2,
    BrokerDefault = 3,
    Static = 4,
    Default = 5,
    BrokerLogger = 6,
    ClientMetrics = 7,
    Group = 8,
}

impl Source {
    pub fn code(self) -> i8 {
        self as i8
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub name: String,
    /// `None` where the value is null or secret.
    pub value: Option<String>,
    pub source: Source,
    pub read_only: bool,
    pub sensitive: bool,
    /// Most important first.
    pub synonyms: Vec<Synonym>,
    pub type_code: i8,
    pub documentation: Cow<'static, str>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Synonym {
    pub name: String,
    pub value: Option<String>,
    pub source: Source,
}

/// All topic keys. `broker` is `layers.config()`.
pub fn topic(layers: &Layers, broker: &BrokerConfig, overrides: &Props) -> Vec<Entry> {
    let shown = |key: &&ConfigKey| !key.internal || overrides.contains_key(key.name);
    let entry = |key: &ConfigKey| {
        let synonyms = key.synonyms.first().map(|(name, _)| broker_synonyms(layers, name, false)).unwrap_or_default();
        overridable(key, topic_value(key, broker, overrides), overrides, Source::Topic, synonyms)
    };
    topic::def().keys().iter().filter(shown).map(entry).collect()
}

/// All group keys.
pub fn group(layers: &Layers, broker: &BrokerConfig, overrides: &Props) -> Vec<Entry> {
    let entry = |key: &ConfigKey| {
        let synonyms = match key.synonyms.first() {
            Some((name, _)) => broker_synonyms(layers, name, false),
            None => vec![Synonym { name: key.name.to_owned(), value: key.default.to_text(), source: Source::Default }],
        };
        overridable(key, group::value(broker, overrides, key.name).to_text(), overrides, Source::Group, synonyms)
    };
    group::def().keys().iter().map(entry).collect()
}

/// All keys of a client-metrics subscription.
pub fn client_metrics(overrides: &Props) -> Vec<Entry> {
    let entry = |key: &ConfigKey| {
        let value = key.parse(overrides.get(key.name).map(String::as_str)).unwrap_or_else(|_| key.default.clone());
        overridable(key, value.to_text(), overrides, Source::ClientMetrics, Vec::new())
    };
    client_metrics::def().keys().iter().map(entry).collect()
}

/// The broker by its id: all keys, and whatever else its properties hold. `broker` is `layers.config()`.
pub fn broker(layers: &Layers, broker: &BrokerConfig) -> Vec<Entry> {
    let known = broker::def().keys().iter().filter(|key| !key.internal && !key.dynamic_only);
    let mut entries: Vec<Entry> = known.map(|key| broker_entry(layers, key.name, broker.value(key.name).to_text(), true)).collect();
    for (name, value) in layers.effective() {
        if broker::def().get(&name).is_none_or(|key| key.internal || key.dynamic_only) {
            entries.push(broker_entry(layers, &name, Some(value), true));
        }
    }
    entries
}

/// The resource BROKER with the empty name: the cluster-wide dynamic configs that are set.
pub fn broker_defaults(layers: &Layers) -> Vec<Entry> {
    layers.cluster.iter().map(|(name, value)| broker_entry(layers, name, Some(value.clone()), false)).collect()
}

/// The type of a broker key; listener overrides have that of the key they override.
pub fn broker_key(name: &str) -> Option<&'static ConfigKey> {
    broker::def().get(name).or_else(|| broker_names(name).iter().find_map(|name| broker::def().get(name)))
}

fn topic_value(key: &ConfigKey, broker: &BrokerConfig, overrides: &Props) -> Option<String> {
    if let Some(Ok(value)) = overrides.get(key.name).map(|text| key.parse(Some(text))) {
        return value.to_text();
    }
    let mut found = key.synonyms.iter().filter_map(|(name, factor)| {
        let text = broker.value(name).to_text()?;
        match (*factor, text.parse::<i64>()) {
            (1, _) | (_, Err(_)) => Some(text),
            (factor, Ok(number)) => Some((number * factor).to_string()),
        }
    });
    match found.next() {
        Some(text) if key.name == "retention.ms" && text.starts_with('-') => Some("-1".to_owned()),
        Some(text) => Some(text),
        None => key.default.to_text(),
    }
}

/// An entry whose override, if there is one, stands before the synonyms of the broker.
fn overridable(key: &ConfigKey, value: Option<String>, overrides: &Props, source: Source, mut synonyms: Vec<Synonym>) -> Entry {
    if overrides.contains_key(key.name) {
        synonyms.insert(0, Synonym { name: key.name.to_owned(), value: value.clone(), source });
    }
    Entry {
        name: key.name.to_owned(),
        value,
        source: synonyms.first().map_or(Source::Default, |synonym| synonym.source),
        read_only: false,
        sensitive: false,
        synonyms,
        type_code: key.type_.code(),
        documentation: key.documentation(),
    }
}

fn broker_entry(layers: &Layers, name: &str, value: Option<String>, per_broker: bool) -> Entry {
    let key = broker_key(name);
    let sensitive = key.is_none_or(|key| key.type_ == Type::Password);
    let mut synonyms = broker_synonyms(layers, name, sensitive);
    synonyms.retain(|synonym| per_broker || synonym.source == Source::BrokerDefault);
    let exact = broker::def().get(name);
    Entry {
        name: name.to_owned(),
        value: value.filter(|_| !sensitive),
        source: synonyms.first().map_or(Source::Default, |synonym| synonym.source),
        read_only: exact.is_none_or(|key| key.mode == UpdateMode::ReadOnly),
        sensitive,
        synonyms,
        type_code: key.map_or(0, |key| key.type_.code()),
        documentation: exact.map_or(Cow::Borrowed(""), ConfigKey::documentation),
    }
}

/// The names under which a broker config may be set, most important first.
fn broker_names(name: &str) -> Vec<&str> {
    const PER_MECHANISM: [&str; 5] = [
        "sasl.jaas.config",
        "sasl.login.callback.handler.class",
        "sasl.login.class",
        "sasl.server.callback.handler.class",
        "connections.max.reauth.ms",
    ];
    if let Some(group) = synonym_group(name) {
        return group.to_vec();
    }
    match listener_override(name) {
        Some(base) => vec![name, PER_MECHANISM.into_iter().find(|config| base.ends_with(config)).unwrap_or(base)],
        None => vec![name],
    }
}

/// Each level in turn, each name within it; whatever comes before the name itself is another key's business and left out.
fn broker_synonyms(layers: &Layers, name: &str, sensitive: bool) -> Vec<Synonym> {
    let names = broker_names(name);
    let levels = [(&layers.broker, Source::Broker), (&layers.cluster, Source::BrokerDefault), (&layers.fixed, Source::Static)];
    let mut synonyms = Vec::new();
    for (props, source) in levels {
        for name in &names {
            if let Some(value) = props.get(*name) {
                synonyms.push(Synonym { name: (*name).to_owned(), value: Some(value.clone()).filter(|_| !sensitive), source });
            }
        }
    }
    for name in &names {
        if let Some(value) = broker::def().get(name).filter(|key| !key.dynamic_only).and_then(|key| key.default.to_text()) {
            synonyms.push(Synonym { name: (*name).to_owned(), value: Some(value).filter(|_| !sensitive), source: Source::Default });
        }
    }
    synonyms.into_iter().skip_while(|synonym| synonym.name != name).collect()
}
