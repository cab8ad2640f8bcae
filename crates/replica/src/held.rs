//! What a partition has of its log: the log, or what is needed to create it.
//!
//! Creating a log makes a directory and four files, 50 us and more: a topic of a thousand partitions would hold the metadata thread, and with it
//! everybody who creates a topic meanwhile. So a partition is led, and known to all, as soon as the metadata says so; its log is created by a flusher
//! thread soon after, or by whoever needs it first, under the partition's lock. Kafka: `ReplicaManager.applyDelta`, on a thread of its own, too,
//! which CreateTopics does not wait for.

use base::disk::Disk;
use base::{Now, TopicPartition, Uuid};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::{Log, LogConfig, LogError, LogOpen};

#[expect(clippy::large_enum_variant, reason = "nearly all are logs")]
pub(crate) enum Held {
    /// Closed, deleted, given up with its directory, or not to be opened.
    Nothing,
    New(Box<NewLog>),
    Log(Log),
}

/// A log of which nothing is on disk yet.
pub(crate) struct NewLog {
    pub disk: Arc<dyn Disk>,
    /// Of the partition; in a log directory.
    pub dir: PathBuf,
    pub topic_partition: TopicPartition,
    pub topic_id: Uuid,
    pub config: LogConfig,
    /// When the metadata asked for it.
    pub now: Now,
    /// With which this broker began to lead it.
    pub leader_epoch: Option<i32>,
}

impl NewLog {
    pub fn create(&self) -> Result<Log, LogError> {
        let jitter_seed = self.topic_id.as_u128() as u64 ^ self.topic_partition.partition as u64;
        let open = LogOpen { clean_shutdown: true, jitter_seed, ..LogOpen::default() };
        let (dir, name, config) = (self.dir.clone(), self.topic_partition.clone(), self.config.clone());
        let mut log = Log::open(self.disk.clone(), dir, name, Some(self.topic_id), config, open, self.now)?;
        if let Some(epoch) = self.leader_epoch {
            log.assign_epoch(epoch, log.log_end_offset());
        }
        Ok(log)
    }
}

impl Held {
    /// `None` for a log that is still to be created, too.
    pub fn opened(&self) -> Option<&Log> {
        match self {
            Held::Log(log) => Some(log),
            Held::Nothing | Held::New(_) => None,
        }
    }

    pub fn opened_mut(&mut self) -> Option<&mut Log> {
        match self {
            Held::Log(log) => Some(log),
            Held::Nothing | Held::New(_) => None,
        }
    }

    pub fn is_nothing(&self) -> bool {
        matches!(self, Held::Nothing)
    }

    /// The log directory it is in, or will be.
    pub fn log_dir(&self) -> Option<&Path> {
        match self {
            Held::Nothing => None,
            Held::New(new) => new.dir.parent(),
            Held::Log(log) => log.dir().parent(),
        }
    }

    pub fn high_watermark(&self) -> Option<i64> {
        match self {
            Held::Nothing => None,
            Held::New(_) => Some(0),
            Held::Log(log) => Some(log.high_watermark()),
        }
    }

    /// This broker leads it from here on; noted in the log before its first batch of that epoch.
    pub fn begin_epoch(&mut self, leader_epoch: i32) {
        match self {
            Held::Nothing => {}
            Held::New(new) => new.leader_epoch = Some(leader_epoch),
            Held::Log(log) => log.assign_epoch(leader_epoch, log.log_end_offset()),
        }
    }

    pub fn update_config(&mut self, config: LogConfig) {
        match self {
            Held::Nothing => {}
            Held::New(new) => new.config = config,
            Held::Log(log) => log.update_config(config),
        }
    }

    /// Leaves nothing. There is no log to give when none was created.
    pub fn take(&mut self) -> Option<Log> {
        match std::mem::replace(self, Held::Nothing) {
            Held::Log(log) => Some(log),
            Held::Nothing | Held::New(_) => None,
        }
    }
}
