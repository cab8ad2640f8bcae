//! Opening and closing of all partition logs, on several threads. Kafka: `LogManager.loadLogs` and `shutdown`.

use crate::StartError;
use crate::clock;
use crate::health::{DirHealth, Health};
use crate::log_dirs::LogDirs;
use config::BrokerConfig;
use metadata::Image;
use parking_lot::Mutex;
use replica::{OpenTask, Partition, PartitionSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use storage::Log;

pub fn logs(dirs: &mut LogDirs, replicas: &PartitionSet, image: &Image, config: &BrokerConfig, health: &Health) -> Result<(), StartError> {
    let started = clock::now();
    let found = dirs.scan(image, config.node_id);
    for path in found.to_delete {
        replicas.adopt_deleted_dir(path, started);
    }
    let moving = found.moving;
    let total = found.open.len();
    let unclean = found.open.iter().filter(|task| !task.open.clean_shutdown).count();
    let progress = DirProgress::new(replicas, &found.open);
    health.set_dirs(progress.0.clone());
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
                    let (name, topic_id) = (task.topic_partition.clone(), task.topic_id);
                    let path = task.dir.clone();
                    let dir = progress.of(&task);
                    if let (Some(dir), false) = (dir, task.open.clean_shutdown) {
                        dir.begin_recovery(name.clone(), task.open.progress.clone());
                    }
                    let start = clock::now().mono;
                    if let Err(error) = replicas.open(task, image, clock::now()) {
                        if error.is_process_limit() {
                            *failed.lock() = Some(format!("cannot open the log of {name}: {error}; raise the limit of open files (ulimit -n)"));
                            return;
                        }
                        // Whatever is wrong with one partition keeps no other from being served.
                        let dir = path.display();
                        tracing::error!(partition = %name, %dir, %error, "the log cannot be opened; the partition is offline until that is repaired and the node restarts");
                        replicas.insert_offline(name.clone(), topic_id);
                    }
                    if let Some(dir) = dir {
                        dir.opened(&name);
                    }
                    let took = clock::now().mono - start;
                    if took > Duration::from_secs(1) {
                        let loaded = health.logs_loaded();
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
    for (partition, path) in moving {
        replicas.resume_move(&partition, path, clock::now());
    }
    Ok(())
}

/// Where progress is told, for each log directory.
struct DirProgress(Vec<Arc<DirHealth>>);

impl DirProgress {
    fn new(replicas: &PartitionSet, tasks: &[OpenTask]) -> Self {
        let dir = |path: &Path| {
            let here = || tasks.iter().filter(|task| task.dir.parent() == Some(path));
            let unclean = here().filter(|task| !task.open.clean_shutdown).count();
            Arc::new(DirHealth::new(path.to_path_buf(), here().count() as u64, unclean as u64))
        };
        DirProgress(replicas.dirs().iter().map(|known| dir(&known.path)).collect())
    }

    fn of(&self, task: &OpenTask) -> Option<&DirHealth> {
        self.0.iter().find(|dir| Some(&*dir.path) == task.dir.parent()).map(|dir| &**dir)
    }
}

/// Closing waits for the disk and hardly computes; syncs that run at the same time share the file system's journal commits.
const CLOSING_THREADS: usize = 16;

/// Flushes every log and leaves it so that the next start has nothing to recover. All are tried; the first error is returned.
/// What goes wrong in a directory that has failed is no news.
pub fn close_all(partitions: &[Arc<Partition>], is_offline: impl Fn(&Path) -> bool + Sync) -> Result<(), StartError> {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..CLOSING_THREADS.min(partitions.len()) {
            scope.spawn(|| {
                while let Some(partition) = partitions.get(next.fetch_add(1, Relaxed)) {
                    let close = |log: &mut Log| log.close(clock::now()).map_err(|error| (error, is_offline(log.dir())));
                    if let Some(Err((error, false))) = partition.with_created_log(close) {
                        tracing::error!(partition = %partition.topic_partition, %error, "log cannot be closed cleanly");
                        failed.lock().get_or_insert_with(|| error.to_string());
                    }
                }
            });
        }
    });
    failed.into_inner().map_or(Ok(()), |problem| Err(StartError::Disk(problem)))
}
