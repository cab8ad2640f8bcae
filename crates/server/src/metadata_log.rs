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

pub struct MetadataLog {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    log: Log,
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
        let open = LogOpen::default();
        let log = Log::open(disk.clone(), dir.clone(), topic_partition, Some(Uuid::METADATA_TOPIC), config, open, now);
        let mut log = log.map_err(log_error)?;
        // What a single voter's log holds is decided by raft; the log's own high watermark only bounds deletion.
        log.set_high_watermark(log.log_end_offset());
        Ok(MetadataLog { disk, dir, log, snapshots })
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
        let view = record::Batch::new(batch.clone()).map_err(io::Error::other)?;
        let (base, epoch) = (view.view().base_offset(), view.view().leader_epoch());
        if base != self.log.log_end_offset() {
            return Err(io::Error::other(format!("metadata batch at {base} does not follow offset {}", self.log.log_end_offset())));
        }
        self.log.append_as_leader(batch, epoch, AppendOrigin::RaftLeader, now).map_err(|e| io::Error::other(e.to_string()))?;
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
        let file = self.disk.open(&part, OpenMode::Truncate)?;
        file.write_at(&bytes, 0)?;
        file.sync_data()?;
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
        self.disk.write_atomically(&self.dir.join(QUORUM_STATE), bytes)
    }
}

/// A read may end within a batch; that part is left for the next read.
fn whole_batches(bytes: Bytes) -> Bytes {
    let mut batches = record::batches(&bytes);
    while let Some(Ok(_)) = batches.next() {}
    let rest = batches.rest().len();
    bytes.slice(..bytes.len() - rest)
}
