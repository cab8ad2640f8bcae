//! What follows when a log directory fails: its partitions go offline, the controller is told by the heartbeats, and the node goes on with
//! the other directories; without the last one, or without the one with the metadata log, it cannot.
//! A thread of its own waits for failures, since whoever finds one may hold any lock. Kafka: `ReplicaManager.LogDirFailureHandler`.

use crate::StartError;
use crate::bell::Bell;
use crate::clock;
use base::TopicPartition;
use base::disk::{DirFailure, DirFailures};
use broker::Broker;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// Partitions that are named in the log one by one.
const NAMED: usize = 20;

#[derive(Clone)]
pub struct FailureWatch {
    pub failures: Arc<DirFailures>,
    /// The directory with the metadata log.
    pub metadata_dir: PathBuf,
}

impl FailureWatch {
    /// Deals with what has failed since the last call; `offline` takes the partitions of a directory away. An error means that the node
    /// cannot go on.
    pub fn handle(&self, waker: &Waker, mut offline: impl FnMut(&Path) -> Vec<TopicPartition>) -> Result<usize, StartError> {
        let new = self.failures.take_new(waker);
        for DirFailure { dir, path, reason } in &new {
            tracing::error!(
                dir = %dir.display(), path = %path.display(), reason,
                "a log directory has failed and is offline until the node restarts; repair the disk, then restart"
            );
            let gone = offline(dir);
            let named: Vec<String> = gone.iter().take(NAMED).map(ToString::to_string).collect();
            tracing::warn!(dir = %dir.display(), count = gone.len(), partitions = ?named, "stopped serving the partitions of the failed log directory");
            if *dir == self.metadata_dir {
                let dir = dir.display();
                return Err(StartError::Disk(format!(
                    "the metadata log directory {dir} has failed: {reason}; repair the disk, then start again"
                )));
            }
        }
        if !new.is_empty() && self.failures.all_failed() {
            return Err(StartError::Disk("all log directories have failed; repair the disks, then start again".into()));
        }
        Ok(new.len())
    }

    /// Until the bell says stop. `changed` is rung when the controller has to be told.
    pub fn run(self, broker: &Broker, bell: &Arc<Bell>, changed: &Bell, fatal: impl Fn()) {
        let waker = Waker::from(bell.clone());
        loop {
            match self.handle(&waker, |dir| broker.directory_failed(dir, clock::now())) {
                Ok(0) => {}
                Ok(_) => changed.ring(),
                Err(error) => {
                    tracing::error!(%error, "the node stops at once");
                    fatal();
                    return;
                }
            }
            if !bell.wait(Duration::from_secs(3600)) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn watch() -> FailureWatch {
        let dirs = ["/m", "/a", "/b"].map(PathBuf::from);
        FailureWatch { failures: Arc::new(DirFailures::new(dirs, &[])), metadata_dir: "/m".into() }
    }

    fn fail(watch: &FailureWatch, path: &str) -> Result<Vec<PathBuf>, String> {
        watch.failures.report(Path::new(path), &io::Error::from_raw_os_error(5));
        let mut told = Vec::new();
        let handled = watch.handle(Waker::noop(), |dir| {
            told.push(dir.to_owned());
            Vec::new()
        });
        handled.map(|_| told).map_err(|e| e.to_string())
    }

    #[test]
    fn each_directory_goes_once_and_the_metadata_log_is_needed() {
        let watch = watch();
        assert_eq!(fail(&watch, "/a/t-0/x.log").unwrap(), [PathBuf::from("/a")]);
        assert_eq!(fail(&watch, "/a/t-1/y.log").unwrap(), Vec::<PathBuf>::new());
        assert_eq!(fail(&watch, "/b").unwrap(), [PathBuf::from("/b")]);
        assert!(fail(&watch, "/m/__cluster_metadata-0").unwrap_err().contains("metadata log directory /m has failed"));
    }

    #[test]
    fn without_any_directory_the_node_stops() {
        let watch = FailureWatch { metadata_dir: "/elsewhere".into(), ..watch() };
        fail(&watch, "/a").unwrap();
        fail(&watch, "/b").unwrap();
        assert!(fail(&watch, "/m").unwrap_err().contains("all log directories have failed"));
    }
}
