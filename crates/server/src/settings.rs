//! What the node runs with: a `server.properties` with overrides, or the properties that `gregor start` stands for.

use crate::options::{HttpListen, StartError, StartOptions};
use config::notice::Notice;
use config::{BrokerConfig, Endpoint, Layers, Props, SecurityProtocol};
use std::path::Path;
use std::sync::Arc;

/// Gregor's own key: where metrics and health are served, `HOST:PORT` or `off`.
pub const HTTP_KEY: &str = "gregor.http.listener";
/// Gregor's own key: whether the metrics page has series per partition, `true` (the default) or `false`.
pub const METRICS_PARTITIONS_KEY: &str = "gregor.metrics.partitions";
pub const CONTROLLER_LISTENER: &str = "CONTROLLER";

#[derive(Clone, Debug)]
pub struct Settings {
    pub layers: Layers,
    pub config: Arc<BrokerConfig>,
    pub http: HttpListen,
    /// Somebody asked for this HTTP address, so that failing to open it is an error and not a warning.
    pub http_asked_for: bool,
    pub metrics_partitions: bool,
    /// Started without a configuration: an empty directory is formatted, and hints are printed.
    pub zero_config: bool,
    pub notices: Vec<Notice>,
}

impl Settings {
    pub fn from_file(file: &Path, overrides: &[(String, String)]) -> Result<Settings, StartError> {
        let name = file.display();
        let bytes = std::fs::read(file)
            .map_err(|e| StartError::Config(format!("cannot read {name}: {e}; give the path of a server.properties")))?;
        let mut props = config::properties::parse(&bytes).map_err(|why| StartError::Config(format!("{name}: {why}")))?;
        props.extend(overrides.iter().cloned());
        Self::from_props(props, false).map_err(|e| StartError::Config(format!("{name}: {e}")))
    }

    pub fn zero_config(options: &StartOptions) -> Result<Settings, StartError> {
        let (host, port) = split_address(&options.listen)
            .ok_or_else(|| StartError::Config(format!("--listen {}: expected HOST:PORT, for example localhost:9092", options.listen)))?;
        let data =
            options.data.to_str().filter(|dir| !dir.is_empty() && !dir.contains(',')).ok_or_else(|| {
                StartError::Config(format!("--data {}: the path must be UTF-8 and without commas", options.data.display()))
            })?;
        let node_id = existing_node_id(&options.data)?.unwrap_or(1);
        // A wildcard address is for listening only; the listeners' syntax writes it as an empty host.
        let host = if matches!(host, "0.0.0.0" | "[::]" | "*") { "" } else { host };
        let controller_port = if port == 0 { 0 } else { port.checked_add(1).unwrap_or(port - 1) };
        let mut props = Props::new();
        let mut set = |key: &str, value: String| props.insert(key.to_owned(), value);
        set("process.roles", "broker,controller".into());
        set("node.id", node_id.to_string());
        set("log.dirs", data.to_owned());
        set("listeners", format!("PLAINTEXT://{host}:{port},{CONTROLLER_LISTENER}://localhost:{controller_port}"));
        set("controller.listener.names", CONTROLLER_LISTENER.into());
        set("controller.quorum.bootstrap.servers", format!("localhost:{}", controller_port.max(1)));
        // One node: internal topics have one replica.
        for key in ["offsets.topic.replication.factor", "transaction.state.log.replication.factor", "transaction.state.log.min.isr"] {
            set(key, "1".into());
        }
        for key in ["share.coordinator.state.topic.replication.factor", "share.coordinator.state.topic.min.isr"] {
            set(key, "1".into());
        }
        // As in the server.properties that comes with Kafka: a lone consumer need not wait three seconds for others.
        set("group.initial.rebalance.delay.ms", "0".into());
        let mut settings = Self::from_props(props, true)?;
        settings.http_asked_for = options.http != HttpListen::parse(HttpListen::DEFAULT);
        settings.http = options.http.clone();
        Ok(settings)
    }

    fn from_props(mut props: Props, zero_config: bool) -> Result<Settings, StartError> {
        let http = props.remove(HTTP_KEY);
        let metrics_partitions = match props.remove(METRICS_PARTITIONS_KEY).as_deref().map(str::trim) {
            None | Some("true") => true,
            Some("false") => false,
            Some(other) => {
                return Err(StartError::Config(format!("{METRICS_PARTITIONS_KEY}={other} is not valid; it must be true or false")));
            }
        };
        let notices = if zero_config { Vec::new() } else { config::notice::notices(&props) };
        if !props.contains_key("process.roles") {
            let advice = notices.iter().find(|n| matches!(n, Notice::Removed { key, .. } if key.starts_with("zookeeper")));
            return Err(StartError::Config(match advice {
                Some(notice) => notice.to_string(),
                None => "process.roles is not set; a node that does everything has process.roles=broker,controller".into(),
            }));
        }
        let layers = Layers::new(props);
        let config = layers.config().map_err(|e| StartError::Config(e.to_string()))?;
        refuse_unsupported(&config)?;
        Ok(Settings {
            layers,
            config: Arc::new(config),
            http_asked_for: http.is_some(),
            metrics_partitions,
            http: HttpListen::parse(http.as_deref().map_or(HttpListen::DEFAULT, str::trim)),
            zero_config,
            notices,
        })
    }

    /// The log directories, and the metadata directory if it is another one.
    pub fn directories(&self) -> Vec<String> {
        let mut all = Vec::new();
        let named = self.config.log_directories().iter().map(String::as_str).chain(self.config.metadata_directory());
        for dir in named.map(str::trim) {
            if !dir.is_empty() && all.iter().all(|known| known != dir) {
                all.push(dir.to_owned());
            }
        }
        all
    }

    /// The static properties, for DescribeConfigs.
    pub fn props(&self) -> &Props {
        &self.layers.fixed
    }
}

/// What would be dangerous to ignore.
fn refuse_unsupported(config: &BrokerConfig) -> Result<(), StartError> {
    let refuse = |text: String| Err(StartError::Config(text));
    if !config.is_broker() || !config.is_controller() {
        return refuse("process.roles must be broker,controller: nodes with one role need a cluster, which is not there yet".into());
    }
    if config.remote_log_storage_system_enable {
        return refuse("remote.log.storage.system.enable is true; tiered storage is not there yet, and topics would rely on it".into());
    }
    let voters = config.voters().map_err(|e| StartError::Config(e.to_string()))?;
    if voters.len() > 1 {
        return refuse("controller.quorum.voters names several nodes; only a quorum of this one node is supported so far".into());
    }
    let endpoints = config.listener_endpoints().map_err(|e| StartError::Config(e.to_string()))?;
    if let Some(Endpoint { listener, protocol, .. }) = endpoints.iter().find(|e| e.protocol != SecurityProtocol::Plaintext) {
        let protocol = protocol.name();
        return refuse(format!(
            "listener {listener} asks for {protocol}; only PLAINTEXT is supported so far, and opening it without would be unsafe"
        ));
    }
    Ok(())
}

/// The node id of a directory that holds data already, so that `gregor start` can open what another configuration has formatted.
fn existing_node_id(data: &Path) -> Result<Option<i32>, StartError> {
    let meta = crate::meta_properties::MetaProperties::read(&base::disk::RealDisk, data)?;
    Ok(meta.map(|meta| meta.node_id))
}

/// `HOST:PORT`, `[V6]:PORT` or `:PORT`; the brackets stay.
fn split_address(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
        return None;
    }
    Some((host, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn props(lines: &str) -> Result<Settings, String> {
        Settings::from_props(config::properties::parse(lines.as_bytes()).unwrap(), false).map_err(|e| e.to_string())
    }

    const COMBINED: &str = "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.bootstrap.servers=localhost:9093\n\
                            listeners=PLAINTEXT://:9092,CONTROLLER://:9093\ncontroller.listener.names=CONTROLLER\nlog.dirs=/tmp/x\n";

    #[test]
    fn kafkas_own_file_is_accepted_and_our_key_is_not_passed_on() {
        let settings = props(&format!("{COMBINED}gregor.http.listener=off\nnum.io.thread=8\n")).unwrap();
        assert_eq!(settings.http, HttpListen::Off);
        assert!(settings.metrics_partitions);
        assert!(!props(&format!("{COMBINED}gregor.metrics.partitions=false\n")).unwrap().metrics_partitions);
        assert!(props(&format!("{COMBINED}gregor.metrics.partitions=no\n")).unwrap_err().contains("true or false"));
        assert_eq!(settings.config.node_id, 1);
        let notices: Vec<String> = settings.notices.iter().map(ToString::to_string).collect();
        assert_eq!(notices, ["num.io.thread is not a known configuration; did you mean num.io.threads?"]);
    }

    #[test]
    fn zookeeper_files_get_advice() {
        let error = props("zookeeper.connect=localhost:2181\nbroker.id=0\nlog.dirs=/tmp/x\n").unwrap_err();
        assert!(error.contains("there is no ZooKeeper any more"), "{error}");
        assert!(props("broker.id=0\n").unwrap_err().contains("process.roles=broker,controller"));
    }

    #[test]
    fn unsafe_downgrades_are_refused() {
        let error = props(&COMBINED.replace("listeners=PLAINTEXT://:9092", "listeners=SSL://:9092")).unwrap_err();
        assert!(error.contains("SSL"), "{error}");
        let error = props(&COMBINED.replace("broker,controller", "broker")).unwrap_err();
        assert!(!error.is_empty());
    }

    #[test]
    fn addresses() {
        assert_eq!(split_address("localhost:9092"), Some(("localhost", 9092)));
        assert_eq!(split_address("[::1]:1"), Some(("[::1]", 1)));
        assert_eq!(split_address(":9092"), Some(("", 9092)));
        assert_eq!(split_address("::1:9092"), None);
        assert_eq!(split_address("localhost"), None);
        assert_eq!(split_address("localhost:99999"), None);
    }

    #[test]
    fn zero_config_listens_where_it_is_told() {
        let options = StartOptions { data: "/nonexistent/x".into(), listen: "0.0.0.0:7000".into(), http: HttpListen::Off };
        let settings = Settings::zero_config(&options).unwrap();
        let endpoints = settings.config.listener_endpoints().unwrap();
        assert_eq!((endpoints[0].host.as_deref(), endpoints[0].port), (None, 7000));
        assert_eq!((endpoints[1].host.as_deref(), endpoints[1].port), (Some("localhost"), 7001));
        assert_eq!(settings.config.offsets_topic_replication_factor, 1);
    }
}
