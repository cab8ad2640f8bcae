//! How far the start has come, for `/health/ready` and for the log: recovery of a large directory must be visible from outside, so
//! that a supervisor does not kill a node which is only busy.

use base::Instant;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};

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
    pub logs_total: AtomicU64,
    pub logs_loaded: AtomicU64,
    /// Logs that had not been closed cleanly.
    pub logs_recovered: AtomicU64,
    /// Cleared when a thread that the node cannot do without has ended.
    alive: AtomicBool,
}

impl Health {
    pub fn new(started: Instant) -> Self {
        Self {
            phase: AtomicU8::new(Phase::Starting as u8),
            started,
            logs_total: AtomicU64::new(0),
            logs_loaded: AtomicU64::new(0),
            logs_recovered: AtomicU64::new(0),
            alive: AtomicBool::new(true),
        }
    }

    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
    }

    pub fn phase(&self) -> Phase {
        PHASES.get(usize::from(self.phase.load(Relaxed))).copied().unwrap_or(Phase::Starting)
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

    pub fn to_json(&self, now: Instant) -> serde_json::Value {
        serde_json::json!({
            "ready": self.is_ready(),
            "phase": self.phase().name(),
            "logs": {
                "total": self.logs_total.load(Relaxed),
                "loaded": self.logs_loaded.load(Relaxed),
                "recovered": self.logs_recovered.load(Relaxed),
            },
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
        health.enter(Phase::Logs);
        health.logs_total.store(40, Relaxed);
        health.logs_loaded.store(7, Relaxed);
        let json = health.to_json(start + Duration::from_millis(250));
        assert_eq!(json.to_string(), r#"{"logs":{"loaded":7,"recovered":0,"total":40},"phase":"logs","ready":false,"uptime_ms":250}"#);
        health.enter(Phase::Ready);
        assert!(health.is_ready());
        health.failed();
        assert!(!health.is_ready() && !health.is_live());
    }
}
