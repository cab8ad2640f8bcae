//! Owns: how far the recovery of one log has come. The log that is opened writes it, whoever watches the start reads it.
//! Kafka: `LogManager`'s metrics remainingLogsToRecover and remainingSegmentsToRecover.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// All zero until the log knows what there is to recover, and for a log with nothing to recover.
#[derive(Debug, Default)]
pub struct RecoveryProgress {
    segments: Progress,
    bytes: Progress,
}

#[derive(Debug, Default)]
struct Progress {
    total: AtomicU64,
    done: AtomicU64,
}

/// (done, total), of segments and of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    pub segments: (u64, u64),
    pub bytes: (u64, u64),
}

impl RecoveryProgress {
    pub(crate) fn begin(&self, segments: u64, bytes: u64) {
        self.segments.total.store(segments, Relaxed);
        self.bytes.total.store(bytes, Relaxed);
    }

    pub(crate) fn read(&self, bytes: u64) {
        self.bytes.done.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn segment_done(&self) {
        self.segments.done.fetch_add(1, Relaxed);
    }

    pub fn get(&self) -> Recovered {
        let pair = |p: &Progress| (p.done.load(Relaxed), p.total.load(Relaxed));
        Recovered { segments: pair(&self.segments), bytes: pair(&self.bytes) }
    }
}

impl Recovered {
    /// From 0 to 1, by bytes; 0 before the total is known.
    pub fn fraction(&self) -> f64 {
        let (done, total) = self.bytes;
        if total == 0 { 0.0 } else { done.min(total) as f64 / total as f64 }
    }
}
