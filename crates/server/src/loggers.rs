//! Log levels that can be changed while the node runs: the resource BROKER_LOGGER of DescribeConfigs and IncrementalAlterConfigs.
//! A logger is a crate of Gregor (the target of its events); `root` is everything without a level of its own. Nothing survives a restart.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// The crates whose code logs.
const LOGGERS: [&str; 10] = ["broker", "client", "controller", "coordinator", "metadata", "net", "raft", "replica", "server", "storage"];
const ROOT: &str = "root";

pub struct LogLevels {
    filter: reload::Handle<EnvFilter, Registry>,
    /// Loggers that were given a level; nothing while the filter is the one of start-up.
    levels: Mutex<BTreeMap<String, &'static str>>,
    /// What `root` is until somebody changes it.
    initial: &'static str,
}

impl LogLevels {
    pub fn new(filter: reload::Handle<EnvFilter, Registry>) -> Self {
        let initial = filter.with_current(|filter| filter.max_level_hint()).ok().flatten();
        let initial = initial.and_then(|level| level.into_level()).map_or("INFO", |level| level.as_str());
        LogLevels { filter, levels: Mutex::default(), initial: known(initial).unwrap_or("INFO") }
    }
}

/// Kafka's name of a level; FATAL is one that Rust does not have and counts as ERROR.
fn known(level: &str) -> Option<&'static str> {
    ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"].into_iter().find(|name| *name == level)
}

impl broker::Loggers for LogLevels {
    fn levels(&self) -> BTreeMap<String, String> {
        let levels = self.levels.lock();
        let root = levels.get(ROOT).copied().unwrap_or(self.initial);
        let all = LOGGERS.into_iter().chain([ROOT]);
        all.map(|name| (name.to_owned(), levels.get(name).copied().unwrap_or(root).to_owned())).collect()
    }

    fn set(&self, logger: &str, level: Option<&str>) {
        let mut levels = self.levels.lock();
        match level.and_then(known) {
            Some(level) => drop(levels.insert(logger.to_owned(), level)),
            None => drop(levels.remove(logger)),
        }
        let directives = directives(&levels, self.initial);
        let changed = EnvFilter::try_new(&directives).map_err(|e| e.to_string());
        if let Err(reason) = changed.and_then(|filter| self.filter.reload(filter).map_err(|e| e.to_string())) {
            tracing::error!(logger, reason, "log level could not be changed");
        }
    }
}

fn directives(levels: &BTreeMap<String, &'static str>, initial: &str) -> String {
    let lower = |level: &str| if level == "FATAL" { "error".to_owned() } else { level.to_lowercase() };
    let root = lower(levels.get(ROOT).copied().unwrap_or(initial));
    let own = levels.iter().filter(|(name, _)| *name != ROOT).map(|(name, level)| format!(",{name}={}", lower(level)));
    root + &own.collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use broker::Loggers;

    #[test]
    fn levels_become_the_filter() {
        let (_layer, handle) = reload::Layer::new(EnvFilter::new("info"));
        let levels = LogLevels::new(handle);
        assert_eq!(levels.levels().get("storage").map(String::as_str), Some("INFO"));
        levels.set("storage", Some("DEBUG"));
        levels.set("root", Some("FATAL"));
        let now = levels.levels();
        assert_eq!((now["storage"].as_str(), now["net"].as_str(), now["root"].as_str()), ("DEBUG", "FATAL", "FATAL"));
        assert_eq!(directives(&levels.levels.lock(), "INFO"), "error,storage=debug");
        levels.set("storage", None);
        assert_eq!(levels.levels()["storage"], "FATAL");
    }
}
