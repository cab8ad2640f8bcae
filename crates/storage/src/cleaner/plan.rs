//! What of a log is dirty, and whether cleaning is due. Kafka: LogCleanerManager.cleanableOffsets, maxCompactionDelay, LogToClean.

use crate::error::LogError;
use crate::log::Log;
use base::Now;

/// What the cleaner would do with a log now.
#[derive(Clone, Debug, PartialEq)]
pub struct LogToClean {
    /// Below it everything was cleaned before.
    pub first_dirty_offset: i64,
    /// From here on nothing is touched: the active segment, open transactions, what is younger than min.compaction.lag.ms.
    pub first_uncleanable_offset: i64,
    pub clean_bytes: u64,
    pub cleanable_bytes: u64,
    /// For how long max.compaction.lag.ms has been exceeded; 0 if it is not.
    pub compaction_delay_ms: i64,
    /// The checkpoint did not fit the log; `first_dirty_offset` is to be written there.
    pub checkpoint_reset: bool,
    min_ratio: f64,
}

impl LogToClean {
    pub fn total_bytes(&self) -> u64 {
        self.clean_bytes + self.cleanable_bytes
    }

    /// The share of bytes that was not cleaned before.
    pub fn cleanable_ratio(&self) -> f64 {
        if self.total_bytes() == 0 { 0.0 } else { self.cleanable_bytes as f64 / self.total_bytes() as f64 }
    }

    pub fn is_due(&self) -> bool {
        let delayed = self.compaction_delay_ms > 0 && self.cleanable_bytes > 0;
        self.total_bytes() > 0 && (delayed || self.cleanable_ratio() > self.min_ratio)
    }
}

impl Log {
    /// `checkpoint`: the first dirty offset that was noted after the last cleaning.
    pub fn to_clean(&self, checkpoint: Option<i64>, now: Now) -> Result<LogToClean, LogError> {
        let start = self.log_start_offset();
        let noted = checkpoint.unwrap_or(start);
        let is_wrong = noted < start || noted > self.log_end_offset();
        let first_dirty_offset = if is_wrong { start } else { noted };
        if is_wrong && !(noted < start && self.config().cleanup_delete) {
            tracing::warn!(
                partition = %self.topic_partition(), checkpoint = noted, log_start_offset = start, log_end_offset = self.log_end_offset(),
                "the cleaner's checkpoint does not fit the log; all of it counts as dirty"
            );
        }
        let sealed = self.sealed_segments();
        let from = sealed.partition_point(|s| s.base_offset <= first_dirty_offset).saturating_sub(1);
        let dirty = if first_dirty_offset >= self.active_base_offset() { &[] } else { sealed.get(from..).unwrap_or_default() };
        let disk = self.disk();
        // What a power cut can still take away must not have been the reason to drop what is safe.
        let mut bound = self.last_stable_offset().min(self.active_base_offset()).min(self.recovery_point());
        let lag = self.config().min_compaction_lag_ms;
        if lag > 0 {
            for segment in dirty {
                if segment.largest_timestamp(disk)? > now.wall_ms.saturating_sub(lag) {
                    bound = bound.min(segment.base_offset);
                    break;
                }
            }
        }
        let bound = bound.max(first_dirty_offset);
        // Whole segments only.
        let at = sealed.partition_point(|s| s.base_offset <= bound).saturating_sub(1);
        let first_uncleanable_offset = match sealed.get(at) {
            Some(segment) if bound < self.active_base_offset() => segment.base_offset,
            _ => self.active_base_offset(),
        };
        let size = |part: &[crate::segment::Segment]| part.iter().map(|s| s.size).sum::<u64>();
        let before = sealed.partition_point(|s| s.base_offset < first_dirty_offset);
        let low = if first_dirty_offset >= first_uncleanable_offset { sealed.len() } else { from };
        let high = sealed.partition_point(|s| s.base_offset < first_uncleanable_offset);
        Ok(LogToClean {
            first_dirty_offset,
            first_uncleanable_offset,
            clean_bytes: size(sealed.get(..before).unwrap_or_default()),
            cleanable_bytes: size(sealed.get(low..high).unwrap_or_default()),
            compaction_delay_ms: self.compaction_delay_ms(dirty, now),
            checkpoint_reset: is_wrong,
            min_ratio: self.config().min_cleanable_dirty_ratio,
        })
    }

    fn compaction_delay_ms(&self, dirty: &[crate::segment::Segment], now: Now) -> i64 {
        let lag = self.config().max_compaction_lag_ms.max(0);
        if lag == i64::MAX {
            return 0;
        }
        let oldest = dirty.iter().map(|segment| segment.first_timestamp(self.disk())).filter(|timestamp| *timestamp > 0).min();
        oldest.map_or(0, |oldest| now.wall_ms.saturating_sub(lag).saturating_sub(oldest).max(0))
    }
}
