//! Opening of all partition logs, on several threads. Kafka: `LogManager.loadLogs`.

use crate::StartError;
use crate::clock;
use crate::health::Health;
use crate::log_dirs::LogDirs;
use config::BrokerConfig;
use metadata::Image;
use parking_lot::Mutex;
use replica::PartitionSet;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

pub fn logs(dirs: &mut LogDirs, replicas: &PartitionSet, image: &Image, config: &BrokerConfig, health: &Health) -> Result<(), StartError> {
    let started = clock::now();
    let found = dirs.scan(image, config.node_id)?;
    for path in found.to_delete {
        replicas.adopt_deleted_dir(path, started);
    }
    let total = found.open.len();
    let unclean = found.open.iter().filter(|task| !task.open.clean_shutdown).count();
    health.logs_total.store(total as u64, Relaxed);
    if unclean > 0 {
        tracing::info!(logs = unclean, "the last stop was not clean; recovering logs");
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let asked = (config.num_recovery_threads_per_data_dir.max(1) as usize).saturating_mul(replicas.dirs().len());
    let threads = asked.max(cores).min(total);
    let tasks = Mutex::new(found.open.into_iter());
    let failed = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while failed.lock().is_none() {
                    let Some(task) = tasks.lock().next() else { return };
                    let name = task.topic_partition.clone();
                    let recovers = !task.open.clean_shutdown;
                    let start = clock::now().mono;
                    if let Err(error) = replicas.open(task, image, clock::now()) {
                        *failed.lock() = Some(format!("cannot open the log of {name}: {error}"));
                        return;
                    }
                    health.logs_loaded.fetch_add(1, Relaxed);
                    health.logs_recovered.fetch_add(u64::from(recovers), Relaxed);
                    let took = clock::now().mono - start;
                    if took > Duration::from_secs(1) {
                        let loaded = health.logs_loaded.load(Relaxed);
                        tracing::info!(partition = %name, took_ms = took.as_millis() as u64, loaded, total, "opened a log");
                    }
                }
            });
        }
    });
    if let Some(problem) = failed.into_inner() {
        return Err(StartError::Disk(problem));
    }
    if total > 0 {
        let took = clock::now().mono - started.mono;
        tracing::info!(logs = total, recovered = unclean, took_ms = took.as_millis() as u64, "opened all logs");
    }
    Ok(())
}
