//! Owns: making durable that a partition exists: its `partition.metadata`, its directory, and its name in the log directory. It must be before any
//! data is: without it Apache takes the directory for a stray. Kafka: `UnifiedLog.maybeFlushMetadataFile`, on the first append; here also ahead
//! of it, by a job that needs no lock, because a producer that meets a thousand new partitions would wait for one after the other.

use crate::error::LogError;
use crate::{Log, partition_metadata};
use base::disk::{Disk, OpenMode};
use std::path::PathBuf;
use std::sync::Arc;

/// To be run without the log's lock; then the log is told with [`Log::identity_synced`].
pub struct IdentityJob {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    has_topic_id: bool,
}

impl IdentityJob {
    pub fn run(&self) -> Result<(), LogError> {
        if self.has_topic_id {
            let path = self.dir.join(partition_metadata::FILE_NAME);
            let sync = || self.disk.open(&path, OpenMode::ReadWrite)?.sync_data();
            sync().map_err(LogError::io("cannot sync", &path))?;
        }
        self.disk.sync_dir(&self.dir).map_err(LogError::io("cannot sync", &self.dir))?;
        if let Some(parent) = self.dir.parent() {
            self.disk.sync_dir(parent).map_err(LogError::io("cannot sync", parent))?;
        }
        Ok(())
    }
}

impl Log {
    /// None: it is durable already.
    pub fn identity_job(&self) -> Option<IdentityJob> {
        let job = || IdentityJob { disk: self.disk.clone(), dir: self.dir.clone(), has_topic_id: self.topic_id.is_some() };
        (!self.identity_synced).then(job)
    }

    /// `job` has run and succeeded.
    pub fn identity_synced(&mut self, job: &IdentityJob) {
        // A topic id that came meanwhile, or another directory, is not on disk yet.
        self.identity_synced |= job.dir == self.dir && job.has_topic_id == self.topic_id.is_some();
    }

    pub(super) fn sync_identity(&mut self) -> Result<(), LogError> {
        if let Some(job) = self.identity_job() {
            job.run()?;
            self.dir_dirty = false;
            self.identity_synced = true;
        }
        Ok(())
    }
}
