//! From the command line to a running node and back: the main thread serves HTTP and waits for signals.

use crate::clock;
use crate::format::{FormatOptions, Quorum, format};
use crate::health::{Health, Phase};
use crate::limits;
use crate::listeners::Listeners;
use crate::log_dirs::{self, LogDirs};
use crate::loggers::LogLevels;
use crate::logging;
use crate::meta_properties;
use crate::metrics::Metrics;
use crate::metrics_http::{self, Pages};
use crate::node::{Node, Prepared, spawn};
use crate::options::{HttpListen, StartError, StartOptions};
use crate::settings::Settings;
use base::Uuid;
use base::disk::RealDisk;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// `gregor start`: a combined controller and broker without a configuration file. Returns after a clean stop.
/// The caller prints an error's text to stderr and exits with 1.
pub fn start(options: StartOptions) -> Result<(), StartError> {
    let levels = logging::init();
    run(Settings::zero_config(&options)?, levels)
}

/// `gregor server FILE [--override key=value]*`: runs from a Kafka `server.properties`. Returns after a clean stop.
pub fn run_properties(file: &Path, overrides: &[(String, String)]) -> Result<(), StartError> {
    let levels = logging::init();
    let settings = Settings::from_file(file, overrides)?;
    for notice in &settings.notices {
        tracing::warn!("{notice}");
    }
    run(settings, levels)
}

fn run(settings: Settings, levels: Option<LogLevels>) -> Result<(), StartError> {
    limits::raise_open_files();
    let paths: Vec<PathBuf> = settings.directories().iter().map(|path| log_dirs::absolute(path)).collect();
    let locks = LogDirs::lock(&paths)?;
    let listeners = Listeners::bind(&settings)?;
    let http = bind_http(&settings)?;
    if settings.zero_config {
        format_if_empty(&settings, &listeners)?;
    }
    let health = Arc::new(Health::new(clock::now().mono));
    let net_stats = Arc::<net::Stats>::default();
    let metrics = Arc::new(Metrics::new(health.clone(), net_stats.clone(), paths.clone(), settings.metrics_partitions));
    let pages = Pages { health: health.clone(), metrics: metrics.clone(), turn: Arc::default() };
    let banner = Banner::new(&settings, &listeners, http.as_ref())?;
    let prepared = Prepared { settings, paths, locks, listeners, health, metrics, net_stats, levels };

    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(|e| StartError::Listen(format!("cannot start: {e}; check the limit of open files (ulimit -n)")))?;
    let result = runtime.block_on(supervise(prepared, banner, http, pages));
    // Connections of the HTTP port are not waited for.
    runtime.shutdown_background();
    result
}

async fn supervise(prepared: Prepared, banner: Banner, http: Option<TcpListener>, pages: Pages) -> Result<(), StartError> {
    let mut signals = Signals::new()?;
    if let Some(listener) = http {
        tokio::spawn(async move {
            if let Err(e) = metrics_http::serve(listener, pages, std::future::pending()).await {
                tracing::warn!(error = %e, "metrics and health are not served");
            }
        });
    }
    let health = prepared.health.clone();
    let mut started = on_thread("gregor-start", move || Node::start(prepared))?;
    let (node, early) = tokio::select! {
        node = &mut started => (node, None),
        name = signals.next() => match health.phase() {
            // All logs are open, and clients may be served already: the little that is missing is waited for, to stop cleanly.
            Phase::Registering | Phase::Ready => tokio::select! {
                node = &mut started => (node, Some(name)),
                name = signals.next() => give_up("stopped while starting", name),
            },
            // Nothing is served yet, and what was recovered so far is recovered again at the next start.
            _ => give_up("stopped while starting", name),
        },
    };
    let node = node.unwrap_or_else(|_| Err(StartError::Metadata("the start panicked; see the log".into())))?;
    banner.print();
    let name = match early {
        Some(name) => name,
        None => signals.next().await,
    };
    tracing::info!(signal = name, "stopping; a second signal ends the process at once");
    let stopped = on_thread("gregor-stop", move || node.stop())?;
    tokio::select! {
        result = stopped => {
            let result = result.unwrap_or_else(|_| Err(StartError::Disk("the stop panicked; the next start recovers the logs".into())));
            if result.is_ok() {
                tracing::info!("stopped");
            }
            result
        }
        name = signals.next() => give_up("second signal: not waiting for a clean stop", name),
    }
}

/// Ends the process as the signal would have.
fn give_up(why: &str, signal: &str) -> ! {
    tracing::warn!(signal, "{why}");
    std::process::exit(exit_code(signal))
}

/// Runs something that blocks, without keeping the main thread from signals and HTTP.
fn on_thread<T: Send + 'static>(name: &str, run: impl FnOnce() -> T + Send + 'static) -> Result<oneshot::Receiver<T>, StartError> {
    let (done, result) = oneshot::channel();
    spawn(name, move || {
        // The receiver is gone only when the process is about to exit.
        let _ = done.send(run());
    })?;
    Ok(result)
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Signals, StartError> {
        let open = |kind| signal(kind).map_err(|e| StartError::Config(format!("cannot listen for signals: {e}")));
        Ok(Signals { interrupt: open(SignalKind::interrupt())?, terminate: open(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// As shells report a process that a signal ended.
fn exit_code(signal: &str) -> i32 {
    if signal == "SIGINT" { 130 } else { 143 }
}

/// An empty data directory becomes a cluster of one node, as `kafka-storage format --standalone` would make it.
fn format_if_empty(settings: &Settings, listeners: &Listeners) -> Result<(), StartError> {
    let config = &settings.config;
    let directories: BTreeSet<String> = settings.directories().into_iter().collect();
    let formatted = |dir: &String| Path::new(dir).join(meta_properties::FILE).exists();
    if directories.iter().any(formatted) {
        return Ok(());
    }
    for dir in &directories {
        refuse_foreign_content(Path::new(dir))?;
    }
    let controllers = listeners.advertised_controllers(config)?;
    let endpoints =
        controllers.into_iter().map(|e| raft::Endpoint { listener: e.listener, host: e.host.unwrap_or_default(), port: e.port });
    let mut rng = fastrand::Rng::new();
    let options = FormatOptions {
        cluster_id: Uuid::random(&mut rng).to_string(),
        node_id: config.node_id,
        metadata_directory: config.metadata_directory().unwrap_or_default().to_owned(),
        directories,
        release_version: None,
        features: BTreeMap::new(),
        quorum: Quorum::Standalone { endpoints: endpoints.collect() },
        extra_records: Vec::new(),
        ignore_formatted: false,
    };
    format(&RealDisk, &options, &mut rng, clock::wall_ms()).map_err(|e| StartError::Disk(e.to_string()))?;
    tracing::info!(cluster_id = options.cluster_id, dirs = ?options.directories, "formatted an empty data directory");
    Ok(())
}

/// Formatting is for directories without data: what looks like somebody's files, or like partitions that lost their
/// meta.properties, stays as it is.
fn refuse_foreign_content(dir: &Path) -> Result<(), StartError> {
    let entries =
        std::fs::read_dir(dir).map_err(|e| StartError::Disk(format!("cannot list {}: {e}; check its permissions", dir.display())))?;
    let ours = [".lock", "bootstrap.checkpoint", "bootstrap.checkpoint.tmp", "meta.properties.tmp", crate::log_dirs::METADATA_PARTITION];
    for entry in entries.flatten() {
        let name = entry.file_name();
        if ours.iter().all(|known| name != *known) {
            let (dir, name) = (dir.display(), name.to_string_lossy().into_owned());
            return Err(StartError::Disk(format!(
                "{dir} has no meta.properties, but it is not empty either ({name}); give an empty directory, or restore meta.properties"
            )));
        }
    }
    let log = dir.join(crate::log_dirs::METADATA_PARTITION).join("00000000000000000000.log");
    if log.exists() {
        let dir = dir.display();
        return Err(StartError::Disk(format!("{dir} holds a metadata log, but no meta.properties; restore that file from a backup")));
    }
    Ok(())
}

fn bind_http(settings: &Settings) -> Result<Option<TcpListener>, StartError> {
    let HttpListen::On(address) = &settings.http else { return Ok(None) };
    let address = address.strip_prefix(':').map_or_else(|| address.clone(), |port| format!("0.0.0.0:{port}"));
    let bound = address.to_socket_addrs().and_then(|addrs| {
        let mut addrs: Vec<_> = addrs.collect();
        addrs.sort_by_key(std::net::SocketAddr::is_ipv6);
        TcpListener::bind(&addrs[..])
    });
    match bound {
        Ok(listener) => Ok(Some(listener)),
        Err(e) if settings.http_asked_for => {
            Err(StartError::Listen(format!("cannot serve HTTP on {address}: {e}; choose another address, or `off`")))
        }
        Err(e) => {
            tracing::warn!(address, error = %e, "metrics and health are not served; choose another address with --http or gregor.http.listener");
            Ok(None)
        }
    }
}

/// What is printed once the node answers.
struct Banner {
    lines: Vec<String>,
}

impl Banner {
    fn new(settings: &Settings, listeners: &Listeners, http: Option<&TcpListener>) -> Result<Banner, StartError> {
        let mut lines = Vec::new();
        for (name, addr) in listeners.names_and_addresses() {
            lines.push(format!("{name} listens on {addr}"));
        }
        if let Some(addr) = http.and_then(|listener| listener.local_addr().ok()) {
            lines.push(format!("Metrics and health: http://{addr}/metrics, http://{addr}/health/ready"));
        }
        if settings.zero_config {
            let advertised = listeners.advertised(&settings.config)?;
            let server = advertised.first().map(|e| format!("{}:{}", e.host.as_deref().unwrap_or("localhost"), e.port)).unwrap_or_default();
            let data = settings.directories().join(",");
            lines.insert(0, format!("Gregor is ready: bootstrap server {server}, data in {data}"));
            lines.push("Try next, in other terminals:".into());
            lines.push(format!("  gregor topics --create --topic MyTopic --bootstrap-server {server}"));
            lines.push(format!("  gregor console-producer --topic MyTopic --bootstrap-server {server}"));
            lines.push(format!("  gregor console-consumer --topic MyTopic --from-beginning --bootstrap-server {server}"));
        }
        Ok(Banner { lines })
    }

    fn print(&self) {
        use std::io::Write;
        let mut out = std::io::stdout().lock();
        for line in &self.lines {
            // Nobody may be reading; the node runs all the same.
            let _ = writeln!(out, "{line}");
        }
        let _ = out.flush();
    }
}
