//! All partitions of this broker, found by name and by id; created, led and deleted as the metadata says.

use crate::checkpoints::Checkpoints;
use crate::held::NewLog;
use crate::moves::Moves;
use crate::space::{Level, Room};
use crate::{FlushQueue, Partition, Traffic, log_config};
use base::disk::Disk;
use base::{Instant, Now, TopicPartition, Uuid};
use config::{BrokerConfig, Props, TopicConfig};
use metadata::image::partition::directory_id;
use metadata::{ConfigResource, Delta, Image};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use storage::{Log, LogConfig, LogError, LogOpen};

/// A directory that holds partitions.
#[derive(Clone, Debug)]
pub struct LogDir {
    pub path: PathBuf,
    /// From its meta.properties.
    pub id: Uuid,
}

/// A partition whose directory was found at start-up, to be opened on any thread by `PartitionSet::open`.
#[derive(Clone, Debug)]
pub struct OpenTask {
    pub topic_partition: TopicPartition,
    pub topic_id: Uuid,
    pub dir: PathBuf,
    pub open: LogOpen,
}

pub struct PartitionSet {
    pub(crate) disk: Arc<dyn Disk>,
    broker_id: i32,
    dirs: Vec<LogDir>,
    /// Those of `dirs` that have failed; they stay so until the node starts again.
    offline: RwLock<BTreeSet<PathBuf>>,
    /// What was there at the start has been taken over.
    has_applied: AtomicBool,
    /// What topics without overrides get; replaced when dynamic broker configs change.
    broker_config: RwLock<Arc<BrokerConfig>>,
    topics: RwLock<Topics>,
    /// Every partition, in the order of topic and number; made when it is first asked for after a change.
    sorted: Mutex<Option<Arc<[Arc<Partition>]>>>,
    deleted: Mutex<Vec<(Instant, PathBuf)>>,
    pub(crate) moves: Moves,
    checkpoints: Checkpoints,
    flushes: Arc<FlushQueue>,
    /// As many as `dirs`.
    rooms: Vec<Arc<Room>>,
}

/// What the partitions that one update creates have in common.
struct Creation<'a> {
    image: &'a Image,
    now: Now,
    /// Of the topic whose turn it is, once somebody asked.
    config: Option<LogConfig>,
    /// How many partitions each of `dirs` has, once somebody asked.
    loads: Option<Vec<usize>>,
    /// Whose logs are to be created.
    new: Vec<Arc<Partition>>,
}

#[derive(Default)]
struct Topics {
    by_name: HashMap<String, Named>,
    by_id: HashMap<Uuid, Arc<Topic>, BuildHasherDefault<IdHasher>>,
}

/// The controller draws the ids of topics at random: their bits are as good as a hash, and no client can choose which are in the map.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u128(&mut self, id: u128) {
        self.0 ^= (id >> 64) as u64 ^ id as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

struct Named {
    /// The last that a partition came with.
    id: Uuid,
    topic: Arc<Topic>,
}

/// The partitions of one topic that are here. Whoever looks for several finds the topic once.
#[derive(Default)]
pub struct Topic {
    pub traffic: Arc<Traffic>,
    partitions: RwLock<BTreeMap<i32, Arc<Partition>>>,
    /// It gets records: all its partitions are durable, or in the queue for that.
    begun: AtomicBool,
}

impl Topic {
    pub fn get(&self, partition: i32) -> Option<Arc<Partition>> {
        self.partitions.read().get(&partition).cloned()
    }

    fn all(&self) -> Vec<Arc<Partition>> {
        self.partitions.read().values().cloned().collect()
    }
}

impl PartitionSet {
    pub fn new(disk: Arc<dyn Disk>, broker_id: i32, dirs: Vec<LogDir>, broker_config: Arc<BrokerConfig>) -> Self {
        PartitionSet {
            rooms: dirs.iter().map(|dir| Arc::new(Room::new(dir.path.clone()))).collect(),
            disk,
            broker_id,
            dirs,
            offline: RwLock::default(),
            has_applied: AtomicBool::new(false),
            broker_config: RwLock::new(broker_config),
            topics: RwLock::default(),
            sorted: Mutex::default(),
            deleted: Mutex::default(),
            moves: Moves::default(),
            checkpoints: Checkpoints::default(),
            flushes: Arc::default(),
        }
    }

    /// The partitions that wait for a flush.
    pub fn flushes(&self) -> &FlushQueue {
        &self.flushes
    }

    pub(crate) fn rooms(&self) -> &[Arc<Room>] {
        &self.rooms
    }

    /// Unlimited for a directory that is none of ours.
    pub(crate) fn room_in(&self, dir: &Path) -> Arc<Room> {
        let known = self.rooms.iter().find(|room| room.dir() == dir);
        known.cloned().unwrap_or_else(|| Arc::new(Room::new(dir.to_owned())))
    }

    pub(crate) fn broker_config(&self) -> Arc<BrokerConfig> {
        self.broker_config.read().clone()
    }

    pub fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// What whoever writes checkpoints shares with those who create logs.
    pub fn checkpoints(&self) -> &Checkpoints {
        &self.checkpoints
    }

    /// All of log.dirs, failed ones too.
    pub fn dirs(&self) -> &[LogDir] {
        &self.dirs
    }

    pub fn is_online(&self, dir: &Path) -> bool {
        !self.offline.read().contains(dir)
    }

    /// The id of the directory that a partition is in, or was when that failed.
    pub fn directory_of(&self, partition: &Partition) -> Option<Uuid> {
        self.dirs.iter().find(|dir| partition.is_in(&dir.path)).map(|dir| dir.id)
    }

    /// The directories that have failed.
    pub fn offline_dirs(&self) -> Vec<&LogDir> {
        let offline = self.offline.read();
        self.dirs.iter().filter(|dir| offline.contains(&dir.path)).collect()
    }

    /// Takes the partitions of a failed directory offline and gives up what was on its way there; returns the names of the partitions.
    /// Whoever waits for them is woken. Kafka: `ReplicaManager.handleLogDirFailure`.
    pub fn directory_failed(&self, dir: &Path) -> Vec<TopicPartition> {
        self.offline.write().insert(dir.to_owned());
        let mut gone = Vec::new();
        for partition in self.all() {
            if partition.is_in(dir) {
                partition.lose_log();
                gone.push(partition.topic_partition.clone());
            }
        }
        self.give_up_moves(dir, &gone);
        gone
    }

    pub fn get(&self, topic: &str, partition: i32) -> Option<Arc<Partition>> {
        self.topics.read().by_name.get(topic)?.topic.get(partition)
    }

    pub fn get_by_id(&self, topic_id: Uuid, partition: i32) -> Option<Arc<Partition>> {
        self.topics.read().by_id.get(&topic_id)?.get(partition)
    }

    /// For looking up several partitions of one topic.
    pub fn topic(&self, id: Uuid) -> Option<Arc<Topic>> {
        self.topics.read().by_id.get(&id).cloned()
    }

    /// A record comes to one of the partitions of this topic, so others will come to the others: before they do, flushers make durable that
    /// these exist. A topic that is only created costs no sync.
    pub fn begin(&self, topic: &Topic) {
        if !topic.begun.load(Ordering::Relaxed) && !topic.begun.swap(true, Ordering::Relaxed) {
            topic.all().into_iter().for_each(|partition| self.flushes.push_begun(partition));
        }
    }

    /// Every partition, in the order of topic and number.
    pub fn all(&self) -> Vec<Arc<Partition>> {
        self.snapshot().to_vec()
    }

    /// As `all`, shared by all who ask until a partition comes or goes.
    pub fn snapshot(&self) -> Arc<[Arc<Partition>]> {
        let mut sorted = self.sorted.lock();
        if let Some(all) = &*sorted {
            return all.clone();
        }
        let topics = self.topics.read();
        let mut by_name: Vec<(&String, &Named)> = topics.by_name.iter().collect();
        by_name.sort_by_key(|(name, _)| *name);
        let all: Arc<[_]> = by_name.into_iter().flat_map(|(_, named)| named.topic.all()).collect();
        drop(topics);
        *sorted = Some(all.clone());
        all
    }

    /// What was moved in and out of a topic, by name, in order.
    pub fn traffic(&self) -> Vec<(String, Arc<Traffic>)> {
        let mut all: Vec<_> = self.topics.read().by_name.iter().map(|(name, named)| (name.clone(), named.topic.traffic.clone())).collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }

    pub fn traffic_of(&self, topic: &str) -> Option<Arc<Traffic>> {
        self.topics.read().by_name.get(topic).map(|named| named.topic.traffic.clone())
    }

    pub fn len(&self) -> usize {
        self.topics.read().by_name.values().map(|named| named.topic.partitions.read().len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Opens a log that was found on disk; touches nothing but that partition, so that many threads may do this at once.
    pub fn open(&self, task: OpenTask, image: &Image, now: Now) -> Result<(), LogError> {
        let config = self.topic_log_config(image, &task.topic_partition.topic);
        let log = Log::open(self.disk.clone(), task.dir, task.topic_partition, Some(task.topic_id), config, task.open, now)?;
        self.insert(Partition::new(self.broker_id, task.topic_id, log));
        Ok(())
    }

    /// For a partition that is known to be here and whose log cannot be opened.
    pub fn insert_offline(&self, topic_partition: TopicPartition, topic_id: Uuid) -> Arc<Partition> {
        self.insert(Partition::offline(self.broker_id, topic_partition, topic_id))
    }

    fn insert(&self, mut partition: Partition) -> Arc<Partition> {
        let mut topics = self.topics.write();
        let TopicPartition { topic, partition: index } = partition.topic_partition.clone();
        let id = partition.topic_id;
        let named = topics.by_name.entry(topic).or_insert_with(|| Named { id, topic: Arc::default() });
        named.id = id;
        let topic = named.topic.clone();
        topics.by_id.insert(id, topic.clone());
        partition.traffic = topic.traffic.clone();
        partition.flushes = self.flushes.clone();
        partition.set_room(|dir| self.room_in(dir));
        let partition = Arc::new(partition);
        topic.partitions.write().insert(index, partition.clone());
        topic.begun.store(false, Ordering::Relaxed);
        drop(topics);
        *self.sorted.lock() = None;
        partition
    }

    /// Carries out what changed. A partition that cannot be created or led is logged and stays away; the others go on. The logs of new
    /// partitions are created soon after, by whoever drives the flushes.
    pub fn apply(&self, delta: &Delta, image: &Image, now: Now) {
        for (id, topic) in &delta.deleted_topics {
            self.delete_topic(*id, &topic.name, now);
        }
        let mut creation = Creation { image, now, config: None, loads: None, new: Vec::new() };
        for (id, partitions) in &delta.changed_partitions {
            let Some(topic) = image.topics.get_by_id(*id) else { continue };
            creation.config = None;
            for index in partitions {
                let Some(registration) = topic.partitions.get(index) else { continue };
                if let Err(error) = self.apply_partition(topic, *index, registration, &mut creation) {
                    tracing::error!(topic = %topic.name, partition = index, %error, "partition cannot be served");
                }
            }
        }
        self.flushes.push_new(creation.new);
        self.apply_configs(delta, image);
        self.has_applied.store(true, Ordering::Relaxed);
    }

    fn apply_partition(
        &self,
        topic: &metadata::Topic,
        index: i32,
        registration: &metadata::Partition,
        creation: &mut Creation<'_>,
    ) -> Result<(), LogError> {
        if !registration.replicas.contains(&self.broker_id) {
            return Ok(());
        }
        let partition = match self.get_by_id(topic.id, index) {
            Some(partition) => partition,
            None => match self.create(topic, index, registration, creation) {
                Ok(partition) => partition,
                Err(error) => {
                    let partition = self.insert_offline(TopicPartition::new(&*topic.name, index), topic.id);
                    partition.apply(registration);
                    return Err(error);
                }
            },
        };
        partition.apply(registration);
        Ok(())
    }

    /// Whether the log of this partition may lie in a directory that has failed: then no other may be begun in its place. Of what was there
    /// before this start the controller may not know yet where it is; what is created later is new.
    fn may_be_in_failed_dir(&self, registration: &metadata::Partition) -> bool {
        let assigned = registration.directory_of(self.broker_id).unwrap_or(directory_id::UNASSIGNED);
        let offline = self.offline.read();
        let is_new = assigned == directory_id::UNASSIGNED && self.has_applied.load(Ordering::Relaxed);
        let in_healthy_dir = self.dirs.iter().any(|dir| dir.id == assigned && !offline.contains(&dir.path));
        !(offline.is_empty() || is_new || in_healthy_dir)
    }

    fn create(
        &self,
        topic: &metadata::Topic,
        index: i32,
        registration: &metadata::Partition,
        creation: &mut Creation<'_>,
    ) -> Result<Arc<Partition>, LogError> {
        let topic_partition = TopicPartition::new(&*topic.name, index);
        if self.may_be_in_failed_dir(registration) {
            let why = "no log is created, because one may exist in a log directory that is offline; repair that one and restart";
            return Err(LogError::Offline(why.into()));
        }
        let log_dir = self.choose_dir(registration, &mut creation.loads);
        self.checkpoints.forget(&*self.disk, &log_dir, &topic_partition)?;
        let new = NewLog {
            disk: self.disk.clone(),
            dir: log_dir.join(topic_partition.to_string()),
            topic_partition,
            topic_id: topic.id,
            config: creation.config.get_or_insert_with(|| self.topic_log_config(creation.image, &topic.name)).clone(),
            now: creation.now,
            leader_epoch: None,
        };
        let partition = self.insert(Partition::to_create(self.broker_id, new));
        creation.new.push(partition.clone());
        Ok(partition)
    }

    /// The directories that `cordoned.log.dirs` closes to new partitions.
    pub fn cordoned_dirs(&self) -> Vec<&LogDir> {
        let config = self.broker_config.read();
        let is_cordoned = |dir: &&LogDir| config.cordoned_log_dirs.iter().any(|path| path == "*" || dir.path.as_os_str() == path.as_str());
        self.dirs.iter().filter(is_cordoned).collect()
    }

    /// The directory the controller assigned, else the one with the fewest partitions that is not cordoned and not full.
    fn choose_dir(&self, registration: &metadata::Partition, loads: &mut Option<Vec<usize>>) -> PathBuf {
        let assigned = registration.directory_of(self.broker_id);
        let online: Vec<(usize, &LogDir)> = self.dirs.iter().enumerate().filter(|(_, dir)| self.is_online(&dir.path)).collect();
        let (chosen, dir) = match online.as_slice() {
            [] => return PathBuf::new(),
            [only] => *only,
            several => match several.iter().find(|(_, dir)| Some(dir.id) == assigned) {
                Some(assigned) => *assigned,
                None => self.emptiest(several, loads.get_or_insert_with(|| self.partitions_of_dirs())),
            },
        };
        if let Some(load) = loads.as_mut().and_then(|loads| loads.get_mut(chosen)) {
            *load += 1;
        }
        dir.path.clone()
    }

    /// How many partitions each of `dirs` has.
    fn partitions_of_dirs(&self) -> Vec<usize> {
        let all = self.snapshot();
        self.dirs.iter().map(|dir| all.iter().filter(|partition| partition.is_in(&dir.path)).count()).collect()
    }

    /// Of several directories, each with its place in `dirs`.
    fn emptiest<'a>(&self, several: &[(usize, &'a LogDir)], loads: &[usize]) -> (usize, &'a LogDir) {
        let cordoned: Vec<Uuid> = self.cordoned_dirs().into_iter().map(|dir| dir.id).collect();
        let cost = |(at, dir): &(usize, &LogDir)| {
            (cordoned.contains(&dir.id), self.room_in(&dir.path).level() == Level::Full, loads.get(*at).copied())
        };
        several.iter().copied().min_by_key(cost).unwrap_or(several[0])
    }

    fn delete_topic(&self, id: Uuid, name: &str, now: Now) {
        let removed = {
            let mut topics = self.topics.write();
            topics.by_id.remove(&id);
            match topics.by_name.get(name) {
                Some(named) if named.id == id => topics.by_name.remove(name),
                _ => None,
            }
        };
        *self.sorted.lock() = None;
        // Taken out: a request may hold the topic and must not find them any more.
        let partitions = removed.map(|named| std::mem::take(&mut *named.topic.partitions.write())).unwrap_or_default();
        for partition in partitions.into_values() {
            self.forget_move(&partition.topic_partition, now);
            let Some(mut log) = partition.take_log() else { continue };
            let delay = Duration::from_millis(log.config().file_delete_delay_ms.max(0) as u64);
            // The suffix only has to be unique in this directory for as long as the deleted directory waits.
            let unique =
                Uuid::from_u128(id.as_u128() ^ u128::from(now.mono.as_nanos()) ^ (partition.topic_partition.partition as u128) << 64);
            if let Some(dir) = log.dir().parent() {
                self.checkpoints.deleted(dir, &partition.topic_partition);
            }
            match log.rename_for_delete(unique) {
                Ok(path) => self.deleted.lock().push((now.mono + delay, path)),
                Err(error) => tracing::error!(partition = %partition.topic_partition, %error, "deleted partition stays on disk"),
            }
        }
    }

    /// Unlinks the directories of deleted partitions whose delay has passed; returns when the next one is due.
    pub fn remove_deleted_dirs(&self, now: Now) -> Option<Instant> {
        let due: Vec<PathBuf> = self.deleted.lock().extract_if(.., |(at, _)| *at <= now.mono).map(|(_, path)| path).collect();
        for path in due {
            if let Err(error) = self.disk.remove_dir_all(&path) {
                tracing::error!(path = %path.display(), %error, "directory of a deleted partition cannot be removed");
            }
        }
        self.deleted.lock().iter().map(|(at, _)| *at).min()
    }

    /// Queues a directory found at start-up under a `-delete` name.
    pub fn adopt_deleted_dir(&self, path: PathBuf, now: Now) {
        self.deleted.lock().push((now.mono, path));
    }

    fn apply_configs(&self, delta: &Delta, image: &Image) {
        let topics = delta.configs.iter().filter(|r| r.type_ == metadata::ResourceType::TOPIC);
        for resource in topics {
            self.update_topic_config(image, &resource.name);
        }
    }

    fn update_topic_config(&self, image: &Image, name: &str) {
        let config = self.topic_log_config(image, name);
        let partitions = self.topics.read().by_name.get(name).map(|named| named.topic.all()).unwrap_or_default();
        for partition in partitions {
            partition.update_config(config.clone());
        }
    }

    /// Takes over changed broker defaults for every topic.
    pub fn set_broker_config(&self, config: Arc<BrokerConfig>, image: &Image) {
        *self.broker_config.write() = config;
        let mut names: Vec<String> = self.topics.read().by_name.keys().cloned().collect();
        names.sort();
        for name in names {
            self.update_topic_config(image, &name);
        }
    }

    fn topic_log_config(&self, image: &Image, topic: &str) -> LogConfig {
        let broker = self.broker_config.read().clone();
        let overrides: Props = image.configs.get(&ConfigResource::topic(topic)).iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        let (topic_config, errors): (TopicConfig, _) = broker.topic_defaults.with_valid_overrides(&overrides);
        for error in errors {
            tracing::warn!(topic, %error, "stored topic config is not valid and is not used");
        }
        log_config(&topic_config, &broker)
    }

    /// Flushes and closes every log; nothing may be used afterwards. Returns the first error after trying all.
    pub fn close(&self, now: Now) -> Result<(), LogError> {
        let mut result = Ok(());
        for partition in self.all() {
            if let Some(mut log) = partition.take_log()
                && let Err(error) = log.close(now)
            {
                tracing::error!(partition = %partition.topic_partition, %error, "log cannot be closed cleanly");
                result = result.and(Err(error));
            }
        }
        result
    }
}

#[cfg(test)]
mod tests;
