//! `raft::RaftLog` on the real thing: a `storage::Log` in `__cluster_metadata-0`, with snapshots and quorum-state beside its segments.
//! Kafka: `KafkaRaftLog`, `FileQuorumStateStore`, `FileRawSnapshotWriter`.

use base::disk::{Disk, OpenMode};
use base::{Now, Segment, TopicPartition, Uuid};
use bytes::{Bytes, BytesMut};
use raft::{OffsetAndEpoch, RaftLog, snapshot};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::{AppendOrigin, Log, LogConfig, LogError, LogOpen, ReadLimit};

pub const TOPIC: &str = "__cluster_metadata";
const QUORUM_STATE: &str = "quorum-state";
/// Set aside beyond the end of the log, in space that no other file can take: on a full disk the cluster must still be able to delete.
const AHEAD_BYTES: u64 = 4 << 20;

pub struct MetadataLog {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    log: Log,
    /// Appended since space was last set aside.
    taken_ahead: u64,
    snapshots: BTreeSet<OffsetAndEpoch>,
}

impl MetadataLog {
    /// Opens or creates `<metadata_dir>/__cluster_metadata-0`. The log is always recovered in full, whatever markers and checkpoints
    /// say, as Kafka does: it is small, and everything else depends on it.
    pub fn open(disk: Arc<dyn Disk>, metadata_dir: &Path, config: LogConfig, now: Now) -> io::Result<MetadataLog> {
        let topic_partition = TopicPartition::new(TOPIC, 0);
        let dir = metadata_dir.join(topic_partition.to_string());
        disk.create_dir_all(&dir)?;
        let snapshots = scan_snapshots(disk.as_ref(), &dir)?;
        // Every record here was flushed before it counted; only one that was just being written can be torn.
        let open = LogOpen { refuse_damage: true, ..LogOpen::default() };
        let log = Log::open(disk.clone(), dir.clone(), topic_partition, Some(Uuid::METADATA_TOPIC), config, open, now);
        let mut log = log.map_err(log_error)?;
        // Nothing of a new epoch may get out before what is there: see `LogOpen::refuse_damage`.
        let end = log.log_end_offset();
        log.flush(end, now).map_err(log_error)?;
        // What a single voter's log holds is decided by raft; the log's own high watermark only bounds deletion.
        log.set_high_watermark(log.log_end_offset());
        log.reserve_ahead(AHEAD_BYTES).map_err(log_error)?;
        Ok(MetadataLog { disk, dir, log, taken_ahead: 0, snapshots })
    }

    /// Writes a small file that this node cannot do without; if the disk is full, into the space that was set aside for the log.
    fn write_into_reserve(&mut self, mut write: impl FnMut(&Self) -> io::Result<()>) -> io::Result<()> {
        match write(self) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                self.log.give_back_reserve().map_err(log_error)?;
                let written = write(self);
                self.log.reserve_ahead(AHEAD_BYTES / 2).map_err(log_error)?;
                written
            }
            result => result,
        }
    }

    fn snapshot_path(&self, id: OffsetAndEpoch) -> PathBuf {
        self.dir.join(snapshot::file_name(id))
    }
}

/// Complete snapshots; those left half written or marked for deletion are removed.
fn scan_snapshots(disk: &dyn Disk, dir: &Path) -> io::Result<BTreeSet<OffsetAndEpoch>> {
    let mut snapshots = BTreeSet::new();
    for entry in disk.list(dir)? {
        if let Some(id) = snapshot::parse_file_name(&entry.name) {
            snapshots.insert(id);
        } else if entry.name.ends_with(".checkpoint.part") || entry.name.ends_with(".checkpoint.deleted") {
            disk.remove_file(&dir.join(&entry.name))?;
        }
    }
    Ok(snapshots)
}

fn log_error(error: LogError) -> io::Error {
    io::Error::other(error.to_string())
}

impl RaftLog for MetadataLog {
    fn start_offset(&self) -> i64 {
        self.log.log_start_offset()
    }

    fn end(&self) -> OffsetAndEpoch {
        let offset = self.log.log_end_offset();
        let snapshot_epoch = self.snapshots.last().filter(|id| id.offset == offset).map_or(0, |id| id.epoch);
        OffsetAndEpoch::new(offset, self.log.latest_epoch().unwrap_or(0).max(snapshot_epoch))
    }

    fn size(&self) -> u64 {
        self.log.size()
    }

    fn append(&mut self, batch: Bytes, now: Now) -> io::Result<()> {
        let batch_bytes = batch.len() as u64;
        let view = record::Batch::new(batch.clone()).map_err(io::Error::other)?;
        let (base, epoch) = (view.view().base_offset(), view.view().leader_epoch());
        if base != self.log.log_end_offset() {
            return Err(io::Error::other(format!("metadata batch at {base} does not follow offset {}", self.log.log_end_offset())));
        }
        self.log.append_as_leader(batch, epoch, AppendOrigin::RaftLeader, now).map_err(|e| io::Error::other(e.to_string()))?;
        self.taken_ahead += batch_bytes;
        if self.taken_ahead >= AHEAD_BYTES / 2 {
            self.log.reserve_ahead(AHEAD_BYTES).map_err(log_error)?;
            self.taken_ahead = 0;
        }
        Ok(())
    }

    fn read(&self, offset: i64, max_bytes: usize) -> io::Result<Bytes> {
        if offset >= self.log.log_end_offset() {
            return Ok(Bytes::new());
        }
        let read = self.log.read(offset, max_bytes, ReadLimit::LogEnd, true).map_err(|e| io::Error::other(e.to_string()))?;
        let mut out = BytesMut::with_capacity(read.size);
        for segment in read.records {
            match segment {
                Segment::Bytes(bytes) => out.extend_from_slice(&bytes),
                Segment::File(range) => out.extend_from_slice(&range.read()?),
            }
        }
        Ok(whole_batches(out.freeze()))
    }

    fn truncate(&mut self, offset: i64, now: Now) -> io::Result<()> {
        self.log.truncate_to(offset, now).map_err(log_error)?;
        Ok(())
    }

    fn truncate_fully_and_start_at(&mut self, start: OffsetAndEpoch, now: Now) -> io::Result<()> {
        self.log.truncate_fully_and_start_at(start.offset, now).map_err(log_error)?;
        self.log.set_high_watermark(start.offset);
        Ok(())
    }

    fn flush(&mut self, now: Now) -> io::Result<()> {
        let end = self.log.log_end_offset();
        self.log.flush(end, now).map_err(log_error)?;
        self.log.set_high_watermark(end);
        Ok(())
    }

    fn snapshots(&self) -> Vec<OffsetAndEpoch> {
        self.snapshots.iter().copied().collect()
    }

    fn read_snapshot(&self, id: OffsetAndEpoch) -> io::Result<Bytes> {
        Ok(self.disk.read(&self.snapshot_path(id))?.into())
    }

    fn store_snapshot(&mut self, id: OffsetAndEpoch, bytes: Bytes) -> io::Result<()> {
        let path = self.snapshot_path(id);
        let mut part = path.clone().into_os_string();
        part.push(".part");
        let part = PathBuf::from(part);
        self.write_into_reserve(|log| {
            let file = log.disk.open(&part, OpenMode::Truncate)?;
            file.write_at(&bytes, 0)?;
            file.sync_data()
        })?;
        self.disk.set_read_only(&part)?;
        self.disk.rename(&part, &path)?;
        self.disk.sync_dir(&self.dir)?;
        self.snapshots.insert(id);
        Ok(())
    }

    fn delete_snapshot(&mut self, id: OffsetAndEpoch) -> io::Result<()> {
        self.disk.remove_file(&self.snapshot_path(id))?;
        self.snapshots.remove(&id);
        Ok(())
    }

    fn delete_before(&mut self, offset: i64, now: Now) -> io::Result<()> {
        self.log.delete_records_before(offset, now).map_err(log_error)?;
        self.log.delete_old_segments(now).map_err(log_error)?;
        self.log.remove_deleted_files(now).map_err(log_error)?;
        Ok(())
    }

    fn close(&mut self, now: Now) -> io::Result<()> {
        self.flush(now)?;
        self.log.close(now).map_err(log_error)
    }

    fn read_quorum_state(&self) -> io::Result<Option<Bytes>> {
        let path = self.dir.join(QUORUM_STATE);
        match self.disk.read(&path) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write_quorum_state(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_into_reserve(|log| log.disk.write_atomically(&log.dir.join(QUORUM_STATE), bytes))
    }
}

/// A read may end within a batch; that part is left for the next read.
fn whole_batches(bytes: Bytes) -> Bytes {
    let mut batches = record::batches(&bytes);
    while let Some(Ok(_)) = batches.next() {}
    let rest = batches.rest().len();
    bytes.slice(..bytes.len() - rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::disk::RealDisk;
    use raft::{Config, Durability, Event, Node, Voter, VoterSet};

    fn now() -> Now {
        Now { mono: base::Instant::from_nanos(60_000_000_000), wall_ms: 1_700_000_000_000 }
    }

    struct TempDir(PathBuf);

    impl TempDir {
        fn new(name: &str) -> TempDir {
            let dir = std::env::temp_dir().join(format!("gregor-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&dir);
            std::fs::create_dir_all(&dir).unwrap();
            TempDir(dir)
        }
    }

    impl Drop for TempDir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn open(dir: &Path) -> Node {
        let key = raft::ReplicaKey { id: 1, directory_id: None };
        let voter = Voter { key, endpoints: Vec::new(), kraft_versions: (0, 1) };
        let config = Config {
            node_id: 1,
            directory_id: Uuid::from_u128(1000),
            static_voters: VoterSet::new([voter]),
            endpoints: Vec::new(),
            retention_bytes: 300,
            retention_ms: -1,
        };
        let log_config = LogConfig { segment_bytes: 1 << 20, file_delete_delay_ms: 0, ..LogConfig::default() };
        let log = MetadataLog::open(Arc::new(RealDisk), dir, log_config, now()).unwrap();
        let mut node = Node::open(config, Box::new(log), now()).unwrap();
        node.step(now(), Event::Start).unwrap();
        node
    }

    fn propose(node: &mut Node, value: &'static [u8]) {
        let values = vec![Bytes::from_static(value); 3];
        node.step(now(), Event::Propose { epoch: node.epoch(), values, durability: Durability::Flush }).unwrap();
        node.step(now(), Event::Flush).unwrap();
    }

    #[test]
    fn what_was_committed_is_there_after_a_restart() {
        let dir = TempDir::new("metadata-log");
        let mut node = open(&dir.0);
        for _ in 0..50 {
            propose(&mut node, b"some record");
        }
        let (end, batches) = (node.log_end(), node.read_committed(0).unwrap());
        assert_eq!((end.offset, batches.len()), (151, 51));
        // As after kill -9: nothing is closed.
        drop(node);
        let mut node = open(&dir.0);
        assert_eq!(node.epoch(), 2);
        assert_eq!(node.read_committed(0).unwrap()[..51], batches[..]);
        propose(&mut node, b"more");
        node.step(now(), Event::Resign).unwrap();
        node.close(now()).unwrap();
        let files = dir.0.join("__cluster_metadata-0");
        let state = std::fs::read_to_string(files.join("quorum-state")).unwrap();
        assert!(state.starts_with(r#"{"clusterId":"","leaderId":1,"leaderEpoch":2"#), "{state}");
        let topic = std::fs::read_to_string(files.join("partition.metadata")).unwrap();
        assert_eq!(topic, "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(open(&dir.0).log_end().offset, 156);
    }

    #[test]
    fn a_torn_tail_is_cut() {
        let dir = TempDir::new("metadata-log-torn");
        let mut node = open(&dir.0);
        propose(&mut node, b"whole");
        drop(node);
        let segment = dir.0.join("__cluster_metadata-0/00000000000000000000.log");
        let mut bytes = std::fs::read(&segment).unwrap();
        let len = bytes.len();
        bytes.extend_from_within(len - 60..);
        std::fs::write(&segment, bytes).unwrap();
        let node = open(&dir.0);
        assert_eq!(node.log_end().offset, 5, "one more leader change");
    }

    #[test]
    fn snapshots_are_files_that_nobody_changes() {
        use std::os::unix::fs::PermissionsExt;
        let dir = TempDir::new("metadata-log-snapshots");
        let mut node = open(&dir.0);
        let mut ids = Vec::new();
        for _ in 0..3 {
            propose(&mut node, b"record");
            ids.push(node.log_end());
            assert!(node.store_snapshot(now(), node.log_end(), 1, &[Bytes::from_static(b"state")], 1024).unwrap());
        }
        let files = dir.0.join("__cluster_metadata-0");
        let newest = files.join(snapshot::file_name(ids[2]));
        assert_eq!(std::fs::metadata(&newest).unwrap().permissions().mode() & 0o777, 0o400);
        std::fs::write(files.join("00000000000000000099-0000000001.checkpoint.part"), b"half").unwrap();
        node.clean(now()).unwrap();
        assert_eq!(node.log_start_offset(), ids[2].offset);
        drop(node);
        let mut node = open(&dir.0);
        let names: Vec<String> = std::fs::read_dir(&files).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(names.iter().filter(|name| name.contains(".checkpoint")).count(), 1, "{names:?}");
        assert_eq!(node.latest_snapshot().unwrap().unwrap().0, ids[2]);
        propose(&mut node, b"after");
        // A snapshot that is newer than the log takes its place.
        node.store_snapshot(now(), node.log_end(), 1, &[Bytes::from_static(b"newer")], 1024).unwrap();
        let end = node.log_end();
        drop(node);
        for entry in std::fs::read_dir(&files).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "log") {
                std::fs::remove_file(path).unwrap();
            }
        }
        assert_eq!(open(&dir.0).log_start_offset(), end.offset);
    }
}
