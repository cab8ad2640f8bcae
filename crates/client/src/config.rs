//! Owns: the client configuration as users write it, a map of Kafka's property names to text, and its typed reading.
//! Used by: Producer, Consumer and Admin, each of which parses the keys it knows; unknown names are kept and ignored, as in Java.
//! Kafka: `AbstractConfig`, `CommonClientConfigs`.

use crate::error::Error;
use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

/// Client properties by Kafka's names (`bootstrap.servers`, `linger.ms`, ...).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    properties: BTreeMap<String, String>,
}

impl Config {
    pub fn new() -> Self {
        Self::default()
    }

    /// A configuration that names only where to connect.
    pub fn bootstrap(servers: impl ToString) -> Self {
        Self::new().with("bootstrap.servers", servers)
    }

    pub fn with(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.set(name, value);
        self
    }

    pub fn set(&mut self, name: impl Into<String>, value: impl ToString) {
        self.properties.insert(name.into(), value.to_string());
    }

    /// Sets `name` unless it is there already.
    pub fn set_default(&mut self, name: &str, value: impl ToString) {
        self.properties.entry(name.to_owned()).or_insert_with(|| value.to_string());
    }

    pub fn remove(&mut self, name: &str) -> Option<String> {
        self.properties.remove(name)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        #[cfg(test)]
        tests::asked(name);
        self.properties.get(name).map(String::as_str)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.properties.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of `name` as text, or `default`. An empty text counts as absent.
    pub(crate) fn text(&self, name: &str, default: &str) -> String {
        match self.get(name).map(str::trim) {
            Some(value) if !value.is_empty() => value.to_owned(),
            _ => default.to_owned(),
        }
    }

    pub(crate) fn optional(&self, name: &str) -> Option<String> {
        self.get(name).map(str::trim).filter(|value| !value.is_empty()).map(str::to_owned)
    }

    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        self.get(name).unwrap_or("").split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    pub(crate) fn number<T: FromStr + PartialOrd + Copy + std::fmt::Display>(
        &self,
        name: &str,
        default: T,
        min: T,
        max: T,
    ) -> Result<T, Error> {
        let Some(text) = self.optional(name) else { return Ok(default) };
        let value: T = text.parse().map_err(|_| invalid(name, &text, "Not a number of the expected type"))?;
        if value < min {
            return Err(invalid(name, &text, &format!("Value must be at least {min}")));
        }
        if value > max {
            return Err(invalid(name, &text, &format!("Value must be no more than {max}")));
        }
        Ok(value)
    }

    pub(crate) fn millis(&self, name: &str, default: u64) -> Result<Duration, Error> {
        Ok(Duration::from_millis(self.number(name, default, 0, i64::MAX as u64)?))
    }

    pub(crate) fn boolean(&self, name: &str, default: bool) -> Result<bool, Error> {
        match self.optional(name) {
            None => Ok(default),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(text) => Err(invalid(name, &text, "Expected value to be either true or false")),
        }
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Config {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(items: I) -> Self {
        Self { properties: items.into_iter().map(|(name, value)| (name.into(), value.into())).collect() }
    }
}

impl<K: Into<String>, V: Into<String>> Extend<(K, V)> for Config {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, items: I) {
        self.properties.extend(items.into_iter().map(|(name, value)| (name.into(), value.into())));
    }
}

/// `ConfigException` in Kafka's words.
pub(crate) fn invalid(name: &str, value: &str, why: &str) -> Error {
    Error::Config(format!("Invalid value {value} for configuration {name}: {why}"))
}

/// What every client needs to reach a cluster.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionConfig {
    pub bootstrap: Vec<(String, u16)>,
    /// The addresses are those of controllers (`bootstrap.controllers`, KIP-919): what is known of the cluster is its controllers.
    pub of_controllers: bool,
    pub client_id: String,
    pub request_timeout: Duration,
    pub connection_setup_timeout: Duration,
    pub connection_setup_timeout_max: Duration,
    pub reconnect_backoff: Duration,
    pub reconnect_backoff_max: Duration,
    pub retry_backoff: Duration,
    pub retry_backoff_max: Duration,
    pub metadata_max_age: Duration,
    /// How long without metadata until everything known about the cluster is forgotten and the bootstrap list used again; None is never
    /// (KIP-899, KIP-1102).
    pub rebootstrap_after: Option<Duration>,
    pub connections_max_idle: Option<Duration>,
    pub send_buffer: Option<u32>,
    pub receive_buffer: Option<u32>,
    pub max_in_flight: usize,
    pub allow_auto_topic_creation: bool,
}

impl ConnectionConfig {
    pub fn parse(config: &Config, default_client_id: &str) -> Result<Self, Error> {
        let protocol = config.text("security.protocol", "PLAINTEXT");
        if !protocol.eq_ignore_ascii_case("PLAINTEXT") {
            return Err(invalid("security.protocol", &protocol, "this client connects in PLAINTEXT only"));
        }
        let recovery = config.text("metadata.recovery.strategy", "rebootstrap");
        if !["none", "rebootstrap"].iter().any(|known| recovery.eq_ignore_ascii_case(known)) {
            let why = "String must be one of (case insensitive): NONE, REBOOTSTRAP";
            return Err(invalid("metadata.recovery.strategy", &recovery, why));
        }
        let trigger = config.millis("metadata.recovery.rebootstrap.trigger.ms", 300_000)?;
        let lookup = config.text("client.dns.lookup", "use_all_dns_ips");
        if !["use_all_dns_ips", "resolve_canonical_bootstrap_servers_only"].contains(&lookup.as_str()) {
            let why = "String must be one of: use_all_dns_ips, resolve_canonical_bootstrap_servers_only";
            return Err(invalid("client.dns.lookup", &lookup, why));
        }
        let request_timeout = config.number("request.timeout.ms", 30_000u64, 0, i32::MAX as u64)?;
        let controllers = config.list("bootstrap.controllers");
        Ok(Self {
            of_controllers: !controllers.is_empty(),
            bootstrap: parse_bootstrap(&if controllers.is_empty() { config.list("bootstrap.servers") } else { controllers })?,
            client_id: config.text("client.id", default_client_id),
            request_timeout: Duration::from_millis(request_timeout),
            connection_setup_timeout: config.millis("socket.connection.setup.timeout.ms", 10_000)?,
            connection_setup_timeout_max: config.millis("socket.connection.setup.timeout.max.ms", 30_000)?,
            reconnect_backoff: config.millis("reconnect.backoff.ms", 50)?,
            reconnect_backoff_max: config.millis("reconnect.backoff.max.ms", 1_000)?,
            retry_backoff: config.millis("retry.backoff.ms", 100)?,
            retry_backoff_max: config.millis("retry.backoff.max.ms", 1_000)?,
            metadata_max_age: config.millis("metadata.max.age.ms", 300_000)?,
            rebootstrap_after: recovery.eq_ignore_ascii_case("rebootstrap").then_some(trigger),
            connections_max_idle: match config.number("connections.max.idle.ms", 540_000i64, -1, i64::MAX)? {
                ms if ms < 0 => None,
                ms => Some(Duration::from_millis(ms as u64)),
            },
            send_buffer: buffer_size(config.number("send.buffer.bytes", -1i32, -1, i32::MAX)?),
            receive_buffer: buffer_size(config.number("receive.buffer.bytes", -1i32, -1, i32::MAX)?),
            max_in_flight: config.number("max.in.flight.requests.per.connection", 100usize, 1, i32::MAX as usize)?,
            allow_auto_topic_creation: config.boolean("allow.auto.create.topics", true)?,
        })
    }
}

/// -1 leaves the size to the operating system.
fn buffer_size(bytes: i32) -> Option<u32> {
    u32::try_from(bytes).ok().filter(|bytes| *bytes > 0)
}

/// `ClientUtils.parseAndValidateAddresses`: host:port pairs, `[v6]:port` allowed, also behind a `PROTOCOL://` prefix.
pub(crate) fn parse_bootstrap(urls: &[String]) -> Result<Vec<(String, u16)>, Error> {
    let mut addresses = Vec::new();
    for url in urls {
        let bad = || Error::Config(format!("Invalid url in bootstrap.servers: {url}"));
        let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
        let (host, port) = rest.rsplit_once(':').ok_or_else(bad)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port: u16 = port.parse().map_err(|_| bad())?;
        if host.is_empty() {
            return Err(bad());
        }
        addresses.push((host.to_owned(), port));
    }
    if addresses.is_empty() {
        return Err(Error::Config("No resolvable bootstrap urls given in bootstrap.servers".to_owned()));
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    thread_local! {
        static ASKED: RefCell<BTreeSet<String>> = RefCell::default();
    }

    /// Notes that a key is read.
    pub fn asked(name: &str) {
        ASKED.with_borrow_mut(|names| names.insert(name.to_owned()));
    }

    /// The keys that `parse` reads and that are not among `others`, as the documentation lists them.
    fn keys_of(parse: impl Fn(&Config), others: &BTreeSet<String>) -> (BTreeSet<String>, String) {
        ASKED.take();
        for codec in ["gzip", "lz4", "zstd"] {
            parse(&Config::bootstrap("127.0.0.1:1").with("compression.type", codec));
        }
        let names: BTreeSet<String> = ASKED.take().difference(others).cloned().collect();
        let list = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        (names, list)
    }

    #[test]
    fn the_documentation_lists_every_key() {
        let none = BTreeSet::new();
        let (all, of_all) = keys_of(|config| drop(ConnectionConfig::parse(config, "c").unwrap()), &none);
        let (_, of_producers) = keys_of(|config| crate::producer::parse_config(config).unwrap(), &all);
        let (_, of_consumers) = keys_of(|config| crate::consumer::parse_config(config).unwrap(), &all);
        let (_, of_admins) = keys_of(|config| drop(crate::Admin::new(config.clone()).unwrap()), &all);
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/client.md");
        let text = std::fs::read_to_string(path).unwrap();
        for (who, list) in [("all", of_all), ("producers", of_producers), ("consumers", of_consumers), ("admin clients", of_admins)] {
            let line = format!("| {who} | {list} |");
            assert!(text.contains(&line), "docs/client.md should have this line:\n{line}");
        }
    }

    #[test]
    fn bootstrap_urls() {
        let parse = |text: &str| parse_bootstrap(&Config::bootstrap(text).list("bootstrap.servers"));
        assert_eq!(parse("a:1, b:2").unwrap(), [("a".to_owned(), 1), ("b".to_owned(), 2)]);
        assert_eq!(parse("[::1]:9092").unwrap(), [("::1".to_owned(), 9092)]);
        assert_eq!(parse("PLAINTEXT://h:9").unwrap(), [("h".to_owned(), 9)]);
        assert!(parse("").is_err());
        assert!(parse("h").is_err());
        assert!(parse("h:99999").is_err());
    }

    #[test]
    fn recovery_of_metadata() {
        let parse = |name: &str, value: &str| ConnectionConfig::parse(&Config::bootstrap("h:1").with(name, value), "c");
        let after = |name: &str, value: &str| parse(name, value).unwrap().rebootstrap_after;
        assert_eq!(after("metadata.recovery.strategy", "NONE"), None);
        assert_eq!(after("metadata.recovery.rebootstrap.trigger.ms", "7"), Some(Duration::from_millis(7)));
        assert_eq!(after("client.dns.lookup", "use_all_dns_ips"), Some(Duration::from_secs(300)));
        assert!(parse("metadata.recovery.strategy", "hope").is_err());
        assert!(parse("client.dns.lookup", "default").is_err());
    }

    #[test]
    fn numbers_have_bounds() {
        let config = Config::new().with("linger.ms", "x").with("batch.size", -1);
        assert!(config.millis("linger.ms", 5).is_err());
        let error = config.number("batch.size", 16384i32, 0, i32::MAX).unwrap_err();
        assert_eq!(error.to_string(), "Invalid value -1 for configuration batch.size: Value must be at least 0");
    }
}
