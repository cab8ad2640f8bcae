//! What is left of a recovery, per log directory. Kafka: `LogManager`. `/health/ready` tells more.

use super::page::{Kind, Page};
use crate::health::{DirHealth, Health};

pub fn write(page: &mut Page, health: &Health) {
    let dirs = health.dirs();
    let mut each = |name: &str, help: &str, value: fn(&DirHealth) -> u64| {
        let mut family = page.family(Kind::Gauge, name, help);
        dirs.iter().for_each(|dir| family.sample(&[("dir", dir.path.to_string_lossy().as_ref().into())], value(dir)));
    };
    each("kafka_log_logmanager_remaininglogstorecover", "Logs that wait for their recovery, or are in it", DirHealth::remaining_logs);
    let name = "kafka_log_logmanager_remainingsegmentstorecover";
    each(name, "Segments left of the logs that are being recovered", DirHealth::remaining_segments);
}
