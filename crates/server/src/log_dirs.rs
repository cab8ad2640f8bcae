//! The log directories of this node: locked, identified, with what their files say about how they were left. One that cannot be used is
//! reported to `DirFailures` and left out; the others go on.
//! Kafka: `LogManager` (directories, locks, checkpoints), `FileLock`, `CleanShutdownFileHandler`, `MetaPropertiesEnsemble`.

use crate::StartError;
use crate::checkpoint::{self, Offsets};
use crate::meta_properties::MetaProperties;
use base::disk::{DirFailures, Disk};
use base::{TopicPartition, Uuid};
use config::BrokerConfig;
use metadata::Image;
use replica::{LogDir, OpenTask};
use rustix::fs::{FlockOperation, fcntl_lock};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::LogOpen;

pub const LOCK: &str = ".lock";
const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
const PARTITION_METADATA: &str = "partition.metadata";
pub const METADATA_PARTITION: &str = "__cluster_metadata-0";
const REMOTE_INDEX_CACHE: &str = "remote-log-index-cache";

pub struct LogDirs {
    disk: Arc<dyn Disk>,
    failures: Arc<DirFailures>,
    /// Those that could be opened; they may have failed since.
    dirs: Vec<Dir>,
    /// As configured.
    paths: Vec<PathBuf>,
}

struct Dir {
    path: PathBuf,
    id: Uuid,
    _lock: DirLock,
    /// The broker epoch of the clean-shutdown marker, which is gone by now; `None` without a marker.
    clean: Option<i64>,
    /// What was last written, so that unchanged checkpoints are not written again.
    written: HashMap<&'static str, Offsets>,
}

/// What a directory holds besides the metadata log.
#[derive(Default)]
pub struct Found {
    pub open: Vec<OpenTask>,
    pub to_delete: Vec<PathBuf>,
    /// Future logs of moves that a stop interrupted.
    pub moving: Vec<(TopicPartition, PathBuf)>,
    names: HashSet<TopicPartition>,
}

impl LogDirs {
    /// Locks every directory, creating those that are not there. One that another process uses is an error; one that is broken is `None`,
    /// and found broken again by `open`.
    pub fn lock(paths: &[PathBuf]) -> Result<Vec<Option<DirLock>>, StartError> {
        let mut locks = Vec::new();
        let mut first_error = None;
        for path in paths {
            locks.push(match lock(path) {
                Ok(lock) => Some(lock),
                Err(LockError::InUse(error)) => return Err(error),
                Err(LockError::Broken(error)) => {
                    tracing::error!(dir = %path.display(), %error, "log directory cannot be locked");
                    first_error.get_or_insert(error);
                    None
                }
            });
        }
        match first_error {
            Some(error) if locks.iter().all(Option::is_none) => Err(error),
            _ => Ok(locks),
        }
    }

    /// `locks` as they came from `lock`, in the same order. A directory without a readable meta.properties has failed; only when none
    /// has one is that an error.
    pub fn open(
        disk: Arc<dyn Disk>,
        failures: Arc<DirFailures>,
        paths: &[PathBuf],
        locks: Vec<Option<DirLock>>,
        node_id: i32,
    ) -> Result<(LogDirs, String), StartError> {
        let mut cluster_id: Option<String> = None;
        let mut dirs = Vec::new();
        let mut first_error = None;
        for (path, lock) in paths.iter().zip(locks) {
            let shown = path.display();
            let meta = match (lock, MetaProperties::read(&*disk, path)) {
                (Some(lock), Ok(Some(meta))) => Ok((lock, meta)),
                (_, Ok(None)) => Err(StartError::Disk(format!(
                    "{shown} is not formatted: it has no meta.properties; run `kafka-storage format` with this configuration"
                ))),
                (None, Ok(Some(_))) => Err(StartError::Disk(format!("{shown} cannot be locked; check the disk"))),
                (_, Err(error)) => Err(error),
            };
            let (lock, meta) = match meta {
                Ok(meta) => meta,
                Err(error) => {
                    failures.report(path, &io::Error::other(error.to_string()));
                    first_error.get_or_insert(error);
                    continue;
                }
            };
            if meta.node_id != node_id {
                let theirs = meta.node_id;
                return Err(StartError::Disk(format!(
                    "{shown} belongs to node {theirs}, but node.id is {node_id}; correct node.id or log.dirs"
                )));
            }
            if let Some(known) = cluster_id.as_ref().filter(|known| **known != meta.cluster_id) {
                let theirs = &meta.cluster_id;
                return Err(StartError::Disk(format!(
                    "{shown} belongs to cluster {theirs}, another log directory to cluster {known}; correct log.dirs"
                )));
            }
            cluster_id = Some(meta.cluster_id);
            let id = meta.directory_id.unwrap_or_default();
            if !id.is_zero() && dirs.iter().any(|dir: &Dir| dir.id == id) {
                return Err(StartError::Disk(format!(
                    "{shown} has the directory.id of another log directory; was it copied? correct log.dirs"
                )));
            }
            dirs.push(Dir { path: path.clone(), id, _lock: lock, clean: None, written: HashMap::new() });
        }
        match (cluster_id, first_error) {
            (Some(cluster_id), _) => Ok((LogDirs { disk, failures, dirs, paths: paths.to_vec() }, cluster_id)),
            (None, Some(error)) => Err(error),
            (None, None) => Err(StartError::Config("log.dirs is empty".into())),
        }
    }

    /// Those of `log.dirs`, in its order; a metadata.log.dir outside of them holds the metadata log only. One that failed at the start
    /// has no id.
    pub fn for_replicas(&self, config: &BrokerConfig) -> Vec<LogDir> {
        let named: Vec<PathBuf> = config.log_directories().iter().map(|path| absolute(path)).collect();
        let dirs = self.paths.iter().filter(|path| named.contains(path));
        dirs.map(|path| LogDir { path: path.clone(), id: self.id_of(path).unwrap_or_default() }).collect()
    }

    fn is_online(&self, dir: &Dir) -> bool {
        !self.is_offline(&dir.path)
    }

    /// Whatever went wrong while a directory was looked through: the directory has failed.
    fn keep_online<T>(&self, dir: &Path, result: Result<T, StartError>) -> Option<T> {
        result.map_err(|error| self.failures.report(dir, &io::Error::other(error.to_string()))).ok()
    }

    /// What the controller is told at registration.
    pub fn online_ids(&self, config: &BrokerConfig) -> Vec<Uuid> {
        self.for_replicas(config).iter().filter(|dir| !dir.id.is_zero() && !self.is_offline(&dir.path)).map(|dir| dir.id).collect()
    }

    pub fn is_offline(&self, path: &Path) -> bool {
        self.failures.is_offline(path)
    }

    pub fn id_of(&self, path: &Path) -> Option<Uuid> {
        self.dirs.iter().find(|dir| dir.path == path).map(|dir| dir.id)
    }

    /// Takes the clean-shutdown markers. From here on, only a clean stop brings them back.
    /// Returns the broker epoch that all directories agree on, else −1.
    pub fn take_markers(&mut self) -> i64 {
        for at in 0..self.dirs.len() {
            let Some(dir) = self.dirs.get(at) else { break };
            let path = dir.path.clone();
            let clean = self.keep_online(&path, take_marker(&*self.disk, &path)).flatten();
            if let Some(dir) = self.dirs.get_mut(at) {
                dir.clean = clean;
            }
        }
        if self.dirs.len() < self.paths.len() || !self.dirs.iter().all(|dir| self.is_online(dir)) {
            return -1;
        }
        let mut epochs = self.dirs.iter().map(|dir| dir.clean.unwrap_or(-1));
        let first = epochs.next().unwrap_or(-1);
        if epochs.all(|epoch| epoch == first) { first } else { -1 }
    }

    /// The partitions to open, in all directories that are online. Those that the metadata does not know here are set aside as strays.
    pub fn scan(&mut self, image: &Image, broker_id: i32) -> Found {
        let mut found = Found::default();
        let (disk, failures) = (self.disk.clone(), self.failures.clone());
        for dir in self.dirs.iter_mut().filter(|dir| !failures.is_offline(&dir.path)) {
            if let Err(error) = dir.scan(&*disk, image, broker_id, &mut found) {
                failures.report(&dir.path, &io::Error::other(error.to_string()));
            }
        }
        found
    }

    /// Writes one kind of checkpoint in every directory that is online and where it has changed. Partitions come with the directory they
    /// are in. A log that begins at 0 has no need to say so. All directories are tried; the first error is returned.
    pub fn write_checkpoint(&mut self, file: &'static str, offsets: &[(PathBuf, TopicPartition, i64)]) -> io::Result<()> {
        let mut result = Ok(());
        for dir in self.dirs.iter_mut().filter(|dir| !self.failures.is_offline(&dir.path)) {
            let counts = |offset: i64| file != checkpoint::LOG_START || offset > 0;
            let of_dir = offsets.iter().filter(|(path, _, offset)| path.starts_with(&dir.path) && counts(*offset));
            let offsets: Offsets = of_dir.map(|(_, partition, offset)| (partition.clone(), *offset)).collect();
            if dir.written.get(file) == Some(&offsets) {
                continue;
            }
            match checkpoint::write(&*self.disk, &dir.path.join(file), &offsets) {
                Ok(()) => drop(dir.written.insert(file, offsets)),
                Err(error) => result = result.and(Err(error)),
            }
        }
        result
    }

    /// The last act of a clean stop: all logs are closed and all checkpoints written. A directory that has failed gets no marker.
    pub fn write_markers(&self, broker_epoch: i64) -> io::Result<()> {
        let text = format!("{{\"version\":0,\"brokerEpoch\":{broker_epoch}}}");
        let mut online = self.dirs.iter().filter(|dir| self.is_online(dir));
        online.try_for_each(|dir| self.disk.write_atomically(&dir.path.join(CLEAN_SHUTDOWN), text.as_bytes()))
    }
}

fn take_marker(disk: &dyn Disk, dir: &Path) -> Result<Option<i64>, StartError> {
    let path = dir.join(CLEAN_SHUTDOWN);
    let marker = match disk.read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(disk_error("read", &path, &e)),
    };
    disk.remove_file(&path).map_err(|e| disk_error("remove", &path, &e))?;
    // Were the marker back after a power cut, a torn log would be taken for one that was closed.
    disk.sync_dir(dir).map_err(|e| disk_error("sync", dir, &e))?;
    // Older Kafkas left an empty marker, which says that the stop was clean but not in which epoch.
    let epoch = serde_json::from_slice::<serde_json::Value>(&marker).ok().and_then(|json| json.get("brokerEpoch")?.as_i64());
    Ok(Some(epoch.unwrap_or(-1)))
}

impl Dir {
    /// The topic of a partition that the controller has put into this directory.
    fn id_by_name(&self, image: &Image, partition: &TopicPartition, broker_id: i32) -> Option<Uuid> {
        let topic = image.topics.get(&partition.topic)?;
        let assigned = topic.partitions.get(&partition.partition)?.directory_of(broker_id)?;
        (!self.id.is_zero() && assigned == self.id).then_some(topic.id)
    }

    fn scan(&mut self, disk: &dyn Disk, image: &Image, broker_id: i32, found: &mut Found) -> Result<(), StartError> {
        for file in [checkpoint::RECOVERY_POINT, checkpoint::LOG_START, checkpoint::HIGH_WATERMARK, checkpoint::CLEANER] {
            let path = self.path.join(file);
            let offsets = checkpoint::read(disk, &path).unwrap_or_else(|e| {
                tracing::warn!(file = %path.display(), error = %e, "checkpoint is not used");
                Offsets::new()
            });
            self.written.insert(file, offsets);
        }
        let offset = |file: &str, partition: &TopicPartition| self.written.get(file).and_then(|o| o.get(partition)).copied().unwrap_or(0);
        let entries = disk.list(&self.path).map_err(|e| disk_error("list", &self.path, &e))?;
        for entry in entries.into_iter().filter(|entry| entry.is_dir) {
            let path = self.path.join(&entry.name);
            if entry.name == METADATA_PARTITION || entry.name == REMOTE_INDEX_CACHE || entry.name.ends_with("-stray") {
                continue;
            }
            if entry.name.ends_with("-delete") {
                found.to_delete.push(path);
                continue;
            }
            if let Some(name) = parse_future_dir(&entry.name) {
                found.moving.push((name, path));
                continue;
            }
            let Some(topic_partition) = parse_partition_dir(&entry.name) else {
                tracing::warn!(dir = %path.display(), "not a partition; Apache Kafka would not start with it in a log directory, move it away");
                continue;
            };
            let mut topic_id = read_topic_id(disk, &path);
            if topic_id.is_none() {
                topic_id = self.id_by_name(image, &topic_partition, broker_id);
                if let Some(topic_id) = topic_id {
                    tracing::warn!(dir = %path.display(), %topic_id, "partition.metadata is missing or damaged; the cluster metadata knows whose directory this is");
                }
            }
            // A move that was interrupted at its last step leaves two directories with the same records: one is enough.
            let mut is_wanted =
                |id: &Uuid| belongs_here(image, *id, &topic_partition, broker_id) && found.names.insert(topic_partition.clone());
            match topic_id.filter(|id| is_wanted(id)) {
                Some(topic_id) => {
                    let open = LogOpen {
                        recovery_point: offset(checkpoint::RECOVERY_POINT, &topic_partition),
                        log_start_offset: offset(checkpoint::LOG_START, &topic_partition),
                        high_watermark: offset(checkpoint::HIGH_WATERMARK, &topic_partition),
                        clean_shutdown: self.clean.is_some(),
                        compacted: self.written.get(checkpoint::CLEANER).is_some_and(|offsets| offsets.contains_key(&topic_partition)),
                        jitter_seed: fastrand::u64(..),
                        ..LogOpen::default()
                    };
                    found.open.push(OpenTask { topic_partition, topic_id, dir: path, open });
                }
                None => set_aside(disk, &path, topic_id)?,
            }
        }
        Ok(())
    }
}

/// As Kafka names directories to its clients.
pub fn absolute(path: &str) -> PathBuf {
    let path = path.trim();
    std::path::absolute(path).unwrap_or_else(|_| path.into())
}

/// A directory that no other process uses. Dropping it removes the lock file and lets go.
pub struct DirLock {
    path: PathBuf,
    _file: Option<File>,
}

impl DirLock {
    /// For a disk that no other process can reach.
    pub fn of_own_disk() -> DirLock {
        DirLock { path: PathBuf::new(), _file: None }
    }
}

impl Drop for DirLock {
    fn drop(&mut self) {
        if self._file.is_some()
            && let Err(e) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(file = %self.path.display(), error = %e, "cannot remove the lock file");
        }
    }
}

enum LockError {
    /// Held by another process, or the file system knows no locks.
    InUse(StartError),
    Broken(StartError),
}

fn lock(dir: &Path) -> Result<DirLock, LockError> {
    let broken = |action, path: &Path, e: &io::Error| LockError::Broken(disk_error(action, path, e));
    std::fs::create_dir_all(dir).map_err(|e| broken("create", dir, &e))?;
    let path = dir.join(LOCK);
    let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(|e| broken("open", &path, &e))?;
    // A POSIX record lock, as Java's FileChannel takes it: Apache Kafka and Gregor exclude each other.
    fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|e| {
        let shown = dir.display();
        let e = io::Error::from(e);
        match e.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::PermissionDenied => LockError::InUse(StartError::Disk(format!(
                "{shown} is in use by another process, which holds {LOCK}; stop that one, or choose another directory"
            ))),
            _ => LockError::Broken(StartError::Disk(format!("cannot lock {shown}: {e}; the file system must support fcntl locks"))),
        }
    })?;
    Ok(DirLock { path, _file: Some(file) })
}

fn disk_error(action: &str, path: &Path, e: &io::Error) -> StartError {
    let fix = match e.kind() {
        io::ErrorKind::PermissionDenied => "check the owner and the permissions",
        io::ErrorKind::StorageFull => "free some space",
        io::ErrorKind::ReadOnlyFilesystem => "the file system is mounted read-only",
        _ => "check the directory and the disk",
    };
    StartError::Disk(format!("cannot {action} {}: {e}; {fix}", path.display()))
}

/// `topic-7`; topics may contain dashes.
fn parse_partition_dir(name: &str) -> Option<TopicPartition> {
    let (topic, partition) = name.rsplit_once('-')?;
    let partition: i32 = partition.parse().ok().filter(|n| *n >= 0)?;
    (!topic.is_empty()).then(|| TopicPartition::new(topic, partition))
}

/// `topic-7.<32 digits>-future`
fn parse_future_dir(name: &str) -> Option<TopicPartition> {
    let (partition, unique) = name.strip_suffix("-future")?.rsplit_once('.')?;
    (unique.len() == 32).then(|| parse_partition_dir(partition)).flatten()
}

fn read_topic_id(disk: &dyn Disk, dir: &Path) -> Option<Uuid> {
    let text = String::from_utf8(disk.read(&dir.join(PARTITION_METADATA)).ok()?).ok()?;
    text.lines().find_map(|line| line.strip_prefix("topic_id: "))?.trim().parse().ok()
}

fn belongs_here(image: &Image, topic_id: Uuid, partition: &TopicPartition, broker_id: i32) -> bool {
    let Some(topic) = image.topics.get_by_id(topic_id) else { return false };
    let registration = topic.partitions.get(&partition.partition);
    *topic.name == *partition.topic && registration.is_some_and(|r| r.replicas.contains(&broker_id))
}

/// Renames a partition that the metadata does not know to `<name>.<32 hex digits>-stray`, as Kafka does; nothing is deleted.
fn set_aside(disk: &dyn Disk, path: &Path, topic_id: Option<Uuid>) -> Result<(), StartError> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let unique = format!("{:032x}", topic_id.unwrap_or_default().as_u128() ^ u128::from(fastrand::u64(..)));
    let suffix = format!(".{unique}-stray");
    let kept: String = name.chars().take(255 - suffix.len()).collect();
    let to = path.with_file_name(format!("{kept}{suffix}"));
    tracing::warn!(dir = %path.display(), renamed = %to.display(), "the cluster metadata does not know this partition here; it is set aside");
    disk.rename(path, &to).map_err(|e| disk_error("rename", path, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_directories() {
        assert_eq!(parse_partition_dir("a-b-12"), Some(TopicPartition::new("a-b", 12)));
        assert_eq!(parse_partition_dir("x"), None);
        assert_eq!(parse_partition_dir("x-y"), None);
        assert_eq!(parse_partition_dir("-1"), None);
        let future = format!("a.b-3.{:032x}-future", 7);
        assert_eq!((parse_future_dir(&future), parse_partition_dir(&future)), (Some(TopicPartition::new("a.b", 3)), None));
    }
}
