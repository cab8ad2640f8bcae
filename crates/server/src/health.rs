//! How far the start has come, for `/health/ready` and for the log: recovery of a large directory must be visible from outside, so
//! that a supervisor does not kill a node which is only busy.

use base::{Instant, TopicPartition};
use parking_lot::{Mutex, RwLock};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use storage::RecoveryProgress;

/// Partitions whose recovery is told one by one; there are no more threads than this on most machines.
const RECOVERING_SHOWN: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    Starting,
    /// Reading the metadata log.
    Metadata,
    /// Opening, and after an unclean stop recovering, partition logs.
    Logs,
    /// Waiting for the controller to accept and unfence this broker.
    Registering,
    Ready,
    Stopping,
}

const PHASES: [Phase; 6] = [Phase::Starting, Phase::Metadata, Phase::Logs, Phase::Registering, Phase::Ready, Phase::Stopping];

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Metadata => "metadata",
            Phase::Logs => "logs",
            Phase::Registering => "registering",
            Phase::Ready => "ready",
            Phase::Stopping => "stopping",
        }
    }

    /// Kafka's `BrokerState` value (the BrokerState metric).
    pub fn broker_state(self) -> u8 {
        match self {
            Phase::Starting | Phase::Metadata => 1,
            Phase::Logs | Phase::Registering => 2,
            Phase::Ready => 3,
            Phase::Stopping => 6,
        }
    }
}

#[derive(Debug)]
pub struct Health {
    phase: AtomicU8,
    started: Instant,
    /// One for each log directory, once it is known what is in them.
    dirs: RwLock<Vec<Arc<DirHealth>>>,
    /// Cleared when a thread that the node cannot do without has ended.
    alive: AtomicBool,
}

/// How far the logs of one directory are.
#[derive(Debug)]
pub struct DirHealth {
    pub path: PathBuf,
    pub logs: u64,
    /// Logs that were not closed cleanly.
    pub to_recover: u64,
    loaded: AtomicU64,
    recovered: AtomicU64,
    /// Of logs that are done.
    recovered_segments: AtomicU64,
    recovered_bytes: AtomicU64,
    recovering: Mutex<BTreeMap<TopicPartition, Arc<RecoveryProgress>>>,
}

impl DirHealth {
    pub fn new(path: PathBuf, logs: u64, to_recover: u64) -> Self {
        DirHealth {
            path,
            logs,
            to_recover,
            loaded: AtomicU64::default(),
            recovered: AtomicU64::default(),
            recovered_segments: AtomicU64::default(),
            recovered_bytes: AtomicU64::default(),
            recovering: Mutex::default(),
        }
    }

    pub fn begin_recovery(&self, partition: TopicPartition, progress: Arc<RecoveryProgress>) {
        self.recovering.lock().insert(partition, progress);
    }

    pub fn opened(&self, partition: &TopicPartition) {
        // Whoever looks sees this log as being recovered or as open, never as neither.
        let mut recovering = self.recovering.lock();
        if let Some(progress) = recovering.remove(partition) {
            let done = progress.get();
            self.recovered_segments.fetch_add(done.segments.0, Relaxed);
            self.recovered_bytes.fetch_add(done.bytes.0, Relaxed);
            self.recovered.fetch_add(1, Relaxed);
        }
        self.loaded.fetch_add(1, Relaxed);
    }

    pub fn remaining_logs(&self) -> u64 {
        self.to_recover.saturating_sub(self.recovered.load(Relaxed))
    }

    /// Of the logs that are being recovered now.
    pub fn remaining_segments(&self) -> u64 {
        self.recovering.lock().values().map(|progress| progress.get().segments).map(|(done, total)| total.saturating_sub(done)).sum()
    }

    /// Logs that are open, and parts of those that are being recovered.
    fn open_logs(&self) -> f64 {
        let recovering = self.recovering.lock();
        let parts: f64 = recovering.values().map(|progress| progress.get().fraction()).sum();
        self.loaded.load(Relaxed) as f64 + parts
    }

    fn to_json(&self) -> Value {
        let of = |(done, total): (u64, u64)| json!({ "recovered": done, "total": total });
        let recovering: Vec<Value> = self
            .recovering
            .lock()
            .iter()
            .take(RECOVERING_SHOWN)
            .map(|(partition, progress)| {
                let progress = progress.get();
                json!({ "partition": partition.to_string(), "segments": of(progress.segments), "bytes": of(progress.bytes) })
            })
            .collect();
        json!({
            "directory": self.path.to_string_lossy(),
            "logs": { "total": self.logs, "loaded": self.loaded.load(Relaxed) },
            "recovery": {
                "logs": { "total": self.to_recover, "recovered": self.recovered.load(Relaxed) },
                "recovered_segments": self.recovered_segments.load(Relaxed),
                "recovered_bytes": self.recovered_bytes.load(Relaxed),
                "now": recovering,
            },
        })
    }
}

impl Health {
    pub fn new(started: Instant) -> Self {
        Self { phase: AtomicU8::new(Phase::Starting as u8), started, dirs: RwLock::default(), alive: AtomicBool::new(true) }
    }

    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
    }

    pub fn phase(&self) -> Phase {
        PHASES.get(usize::from(self.phase.load(Relaxed))).copied().unwrap_or(Phase::Starting)
    }

    /// What was found in the log directories and is to be opened.
    pub fn set_dirs(&self, dirs: Vec<Arc<DirHealth>>) {
        *self.dirs.write() = dirs;
    }

    pub fn dirs(&self) -> Vec<Arc<DirHealth>> {
        self.dirs.read().clone()
    }

    pub fn failed(&self) {
        self.alive.store(false, Relaxed);
    }

    pub fn is_live(&self) -> bool {
        self.alive.load(Relaxed)
    }

    pub fn is_ready(&self) -> bool {
        self.is_live() && self.phase() == Phase::Ready
    }

    pub fn logs_loaded(&self) -> u64 {
        self.dirs.read().iter().map(|dir| dir.loaded.load(Relaxed)).sum()
    }

    /// How much of the opening of logs is done, in percent of logs. One that is being recovered counts by its bytes.
    fn percent(&self) -> f64 {
        match self.phase() {
            Phase::Starting | Phase::Metadata => 0.0,
            Phase::Registering | Phase::Ready | Phase::Stopping => 100.0,
            Phase::Logs => {
                let dirs = self.dirs.read();
                let (open, total) = dirs.iter().fold((0.0, 0), |(open, total), dir| (open + dir.open_logs(), total + dir.logs));
                if total == 0 { 0.0 } else { (open / total as f64 * 1000.0).floor() / 10.0 }
            }
        }
    }

    pub fn to_json(&self, now: Instant) -> Value {
        let dirs = self.dirs();
        let sum = |count: fn(&DirHealth) -> u64| dirs.iter().map(|dir| count(dir)).sum::<u64>();
        json!({
            "ready": self.is_ready(),
            "phase": self.phase().name(),
            "percent": self.percent(),
            "logs": {
                "total": sum(|dir| dir.logs),
                "loaded": sum(|dir| dir.loaded.load(Relaxed)),
                "to_recover": sum(|dir| dir.to_recover),
                "recovered": sum(|dir| dir.recovered.load(Relaxed)),
            },
            "directories": dirs.iter().map(|dir| dir.to_json()).collect::<Vec<_>>(),
            "uptime_ms": now.saturating_since(self.started).as_millis() as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn progress_is_told_until_ready() {
        let start = Instant::ZERO + Duration::from_secs(5);
        let health = Health::new(start);
        assert_eq!(health.to_json(start)["percent"], 0.0);
        health.enter(Phase::Logs);
        let (first, second) = (Arc::new(DirHealth::new("/a".into(), 30, 2)), Arc::new(DirHealth::new("/b".into(), 10, 0)));
        health.set_dirs(vec![first.clone(), second.clone()]);
        let partition = |index| TopicPartition::new("t", index);
        first.begin_recovery(partition(0), Arc::default());
        first.begin_recovery(partition(1), Arc::default());
        (0..7).for_each(|index| second.opened(&partition(index)));
        first.opened(&partition(0));
        let json = health.to_json(start + Duration::from_millis(250));
        assert_eq!((&json["phase"], &json["ready"], &json["uptime_ms"]), (&json!("logs"), &json!(false), &json!(250)));
        assert_eq!(json["logs"], json!({"total": 40, "loaded": 8, "to_recover": 2, "recovered": 1}));
        assert_eq!(json["percent"], 20.0);
        let none = json!({"recovered": 0, "total": 0});
        assert_eq!(
            json["directories"][0],
            json!({
                "directory": "/a",
                "logs": {"total": 30, "loaded": 1},
                "recovery": {
                    "logs": {"total": 2, "recovered": 1},
                    "recovered_segments": 0,
                    "recovered_bytes": 0,
                    "now": [{"partition": "t-1", "segments": none, "bytes": none}],
                },
            })
        );
        assert_eq!((first.remaining_logs(), second.remaining_logs()), (1, 0));
        health.enter(Phase::Ready);
        assert!(health.is_ready());
        assert_eq!(health.to_json(start)["percent"], 100.0);
        health.failed();
        assert!(!health.is_ready() && !health.is_live());
    }
}
