//! The listeners of the configuration: opened, advertised, and handed to the network layer.

use crate::StartError;
use crate::clock;
use crate::settings::Settings;
use config::{BrokerConfig, Endpoint, SecurityProtocol};
use net::{BoundListener, Limits, Net, NetConfig, SocketOptions};
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;
use wire::messages::broker_registration_request::Listener;

pub struct Listeners {
    bound: Vec<(Endpoint, BoundListener)>,
}

impl Listeners {
    /// Opens all of them; connections wait in the backlog until `accept`.
    pub fn bind(settings: &Settings) -> Result<Listeners, StartError> {
        let config = &settings.config;
        let options = socket_options(settings);
        let mut bound = Vec::new();
        for endpoint in config.listener_endpoints().map_err(|e| StartError::Config(e.to_string()))? {
            let host = endpoint.host.as_deref().unwrap_or("");
            match net::bind(&endpoint.listener, host, endpoint.port, &options) {
                Ok(listener) => bound.push((endpoint, listener)),
                // Nobody asked for this one, and a lone node works without it.
                Err(e) if settings.zero_config && config.is_controller_listener(&endpoint.listener) => {
                    tracing::warn!(port = endpoint.port, error = %e, "the controller's own port is not opened; nothing needs it on a single node");
                }
                Err(e) => return Err(StartError::Listen(bind_error(&endpoint, &e))),
            }
        }
        Ok(Listeners { bound })
    }

    pub fn names_and_addresses(&self) -> Vec<(String, std::net::SocketAddr)> {
        self.bound.iter().map(|(endpoint, listener)| (endpoint.listener.clone(), listener.local_addr())).collect()
    }

    /// The port that a listener really has.
    pub fn port(&self, name: &str) -> Option<u16> {
        self.bound.iter().find(|(endpoint, _)| endpoint.listener == name).map(|(_, listener)| listener.local_addr().port())
    }

    /// What clients are told: `advertised.listeners`, with this machine's name for a wildcard and the real port for 0.
    pub fn advertised(&self, config: &BrokerConfig) -> Result<Vec<Endpoint>, StartError> {
        let endpoints = config.advertised_broker_endpoints().map_err(|e| StartError::Config(e.to_string()))?;
        Ok(endpoints.into_iter().map(|endpoint| self.complete(endpoint)).collect())
    }

    pub fn advertised_controllers(&self, config: &BrokerConfig) -> Result<Vec<Endpoint>, StartError> {
        let endpoints = config.advertised_controller_endpoints().map_err(|e| StartError::Config(e.to_string()))?;
        Ok(endpoints.into_iter().map(|endpoint| self.complete(endpoint)).collect())
    }

    pub fn advertised_for_registration(&self, config: &BrokerConfig) -> Result<Vec<Listener>, StartError> {
        let registered = |endpoint: Endpoint| Listener {
            name: endpoint.listener,
            host: endpoint.host.unwrap_or_default(),
            port: endpoint.port,
            security_protocol: endpoint.protocol.id(),
            ..Default::default()
        };
        Ok(self.advertised(config)?.into_iter().map(registered).collect())
    }

    fn complete(&self, mut endpoint: Endpoint) -> Endpoint {
        if endpoint.port == 0 {
            endpoint.port = self.port(&endpoint.listener).unwrap_or(0);
        }
        endpoint.host.get_or_insert_with(host_name);
        endpoint
    }
}

/// Listeners that come and go while the node runs, as the dynamic config `listeners` says. They are known by name: as in Kafka another address
/// for the same name means nothing before the next start, and clients are told of the advertised listeners of the start only.
pub struct DynamicListeners {
    control: net::ListenerControl,
    options: SocketOptions,
    /// What `listeners` said when this was last looked at.
    applied: Vec<String>,
    names: BTreeSet<String>,
}

impl DynamicListeners {
    pub fn new(control: net::ListenerControl, settings: &Settings) -> Self {
        let endpoints = settings.config.listener_endpoints().unwrap_or_default();
        DynamicListeners {
            control,
            options: socket_options(settings),
            applied: settings.config.listeners.clone(),
            names: endpoints.into_iter().map(|endpoint| endpoint.listener).collect(),
        }
    }

    /// Takes over what was changed since the last time.
    pub fn follow(&mut self, config: &BrokerConfig) {
        if self.applied == config.listeners {
            return;
        }
        self.applied.clone_from(&config.listeners);
        let wanted = match config.listener_endpoints() {
            Ok(wanted) => wanted,
            Err(error) => return tracing::error!(%error, "the listeners stay as they are"),
        };
        let lost = self.names.extract_if(.., |name| wanted.iter().all(|endpoint| endpoint.listener != *name));
        for name in lost {
            tracing::info!(listener = name, "closing a listener");
            self.control.close(&name);
        }
        for endpoint in wanted {
            if self.names.contains(&endpoint.listener) {
                continue;
            }
            if endpoint.protocol != SecurityProtocol::Plaintext {
                tracing::error!(listener = endpoint.listener, "not opened: only PLAINTEXT listeners are supported so far");
                continue;
            }
            match net::bind(&endpoint.listener, endpoint.host.as_deref().unwrap_or(""), endpoint.port, &self.options) {
                Ok(bound) => {
                    tracing::info!(listener = endpoint.listener, address = %bound.local_addr(), "opening a listener");
                    self.control.open(bound);
                    self.names.insert(endpoint.listener);
                }
                Err(e) => tracing::error!("{}", bind_error(&endpoint, &e)),
            }
        }
    }
}

/// max.connections and its kin. They may be changed while the node runs.
pub struct ConnectionLimits {
    limits: Arc<Limits>,
    applied: Configured,
}

type Configured = (i32, i32, String);

impl ConnectionLimits {
    pub fn new(config: &BrokerConfig) -> ConnectionLimits {
        let limits = Limits::new(count(config.max_connections), count(config.max_connections_per_ip), overrides(config));
        ConnectionLimits { limits: Arc::new(limits), applied: configured(config) }
    }

    pub fn shared(&self) -> Arc<Limits> {
        self.limits.clone()
    }

    /// Takes over what was changed since the last time.
    pub fn follow(&mut self, config: &BrokerConfig) {
        let wanted = configured(config);
        if wanted != self.applied {
            self.limits.set(count(config.max_connections), count(config.max_connections_per_ip), overrides(config));
            self.applied = wanted;
        }
    }
}

fn configured(config: &BrokerConfig) -> Configured {
    (config.max_connections, config.max_connections_per_ip, config.max_connections_per_ip_overrides.clone())
}

/// Starts the network threads.
pub fn accept(
    listeners: Listeners,
    config: &BrokerConfig,
    limits: Arc<Limits>,
    stats: Arc<net::Stats>,
    service: Arc<dyn net::Service>,
) -> Result<Net, StartError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let net_config = NetConfig {
        threads: (config.num_network_threads.max(1) as usize).min(cores),
        request_max_bytes: config.socket_request_max_bytes.max(0) as usize,
        idle_max: u64::try_from(config.connections_max_idle_ms).ok().map(Duration::from_millis),
        clock: clock::CLOCK,
    };
    let bound = listeners.bound.into_iter().map(|(_, listener)| listener).collect();
    Net::start(&net_config, bound, limits, stats, service)
        .map_err(|e| StartError::Listen(format!("cannot start the network threads: {e}; check the limit of processes (ulimit -u)")))
}

/// Kafka's defaults of 100 KiB and a backlog of 50 date from slower networks: they apply when somebody sets them, otherwise the kernel
/// sizes the buffers and connections have room to queue.
fn socket_options(settings: &Settings) -> SocketOptions {
    let (config, props) = (&settings.config, settings.props());
    let explicit = |key: &str, value: i32| if props.contains_key(key) { usize::try_from(value).ok() } else { None };
    SocketOptions {
        send_buffer: explicit("socket.send.buffer.bytes", config.socket_send_buffer_bytes),
        receive_buffer: explicit("socket.receive.buffer.bytes", config.socket_receive_buffer_bytes),
        backlog: explicit("socket.listen.backlog.size", config.socket_listen_backlog_size).map_or(1024, |n| n as i32),
    }
}

fn count(limit: i32) -> u32 {
    if limit == i32::MAX { u32::MAX } else { limit.max(0) as u32 }
}

fn overrides(config: &BrokerConfig) -> HashMap<IpAddr, u32> {
    let mut limits = HashMap::new();
    for (host, limit) in config.connection_limits_by_address() {
        match (host.as_str(), 0).to_socket_addrs() {
            Ok(addrs) => limits.extend(addrs.map(|addr| (addr.ip().to_canonical(), count(limit)))),
            Err(e) => tracing::warn!(host, error = %e, "max.connections.per.ip.overrides names an unknown host; it has no effect"),
        }
    }
    limits
}

fn bind_error(endpoint: &Endpoint, e: &std::io::Error) -> String {
    let name = &endpoint.listener;
    let address = format!("{}:{}", endpoint.host.as_deref().unwrap_or(""), endpoint.port);
    match e.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!("cannot listen on {address} ({name}): the port is in use; stop the other process or choose another port")
        }
        std::io::ErrorKind::PermissionDenied => format!("cannot listen on {address} ({name}): {e}; ports below 1024 need privileges"),
        std::io::ErrorKind::AddrNotAvailable => format!("cannot listen on {address} ({name}): this machine does not have that address"),
        _ => format!("cannot listen on {address} ({name}): {e}; check the host name"),
    }
}

/// What a wildcard listener is advertised as.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    // A name that this machine cannot resolve itself helps nobody.
    if !name.is_empty() && (name, 0).to_socket_addrs().is_ok() { name.to_owned() } else { "localhost".to_owned() }
}
