//! What the cleaner has done, and what it could not do. Kafka: `LogCleaner`, `LogCleanerManager`.

use super::page::{Kind, Label, Page};
use crate::cleaner::Manager;
use base::Instant;

pub fn write(page: &mut Page, manager: &Manager, now: Instant) {
    let numbers = manager.numbers(now);
    let name = "kafka_log_logcleanermanager_uncleanable_partitions_count";
    let mut family = page.family(Kind::Gauge, name, "Compacted partitions whose cleaning failed; they are tried again");
    for (dir, count, _) in &numbers.uncleanable {
        family.sample(&[("logDirectory", Label::Text(&dir.to_string_lossy()))], *count);
    }
    let name = "kafka_log_logcleanermanager_uncleanable_bytes";
    let mut family = page.family(Kind::Gauge, name, "Bytes that were to be cleaned when that failed");
    for (dir, _, bytes) in &numbers.uncleanable {
        family.sample(&[("logDirectory", Label::Text(&dir.to_string_lossy()))], *bytes);
    }
    for (metric, help, value) in [
        ("logcleanermanager_max_dirty_percent", "The share of the dirtiest log that was not cleaned yet", numbers.max_dirty_percent),
        ("logcleanermanager_time_since_last_run_ms", "Since logs were last looked at", numbers.since_last_run_ms),
        ("logcleaner_max_buffer_utilization_percent", "How full the offset map was, last time", numbers.max_buffer_utilization_percent),
        ("logcleaner_cleaner_recopy_percent", "The share of bytes that stayed, last time", numbers.recopy_percent),
        ("logcleaner_max_clean_time_secs", "How long a cleaning took, last time", numbers.max_clean_time_secs),
        ("logcleaner_max_compaction_delay_secs", "By how much max.compaction.lag.ms was exceeded", numbers.max_compaction_delay_secs),
        ("logcleaner_deadthreadcount", "Cleaner threads that have ended and should not have", numbers.dead_threads as i64),
    ] {
        page.gauge(&format!("kafka_log_{metric}"), help, value);
    }
    page.counter("gregor_cleaner_runs", "Logs that were cleaned", numbers.runs);
    page.counter("gregor_cleaner_failures", "Cleanings that failed", numbers.failures);
}
