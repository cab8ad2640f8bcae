//! What raft needs from the metadata log and the files beside it. Kafka: `RaftLog`, `QuorumStateStore`.

use base::Now;
use bytes::Bytes;
use std::io;

/// Names a position uniquely: the end offset (exclusive) and the epoch of the record before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OffsetAndEpoch {
    pub offset: i64,
    pub epoch: i32,
}

impl OffsetAndEpoch {
    pub const fn new(offset: i64, epoch: i32) -> Self {
        OffsetAndEpoch { offset, epoch }
    }

    /// Whether a log that ends here may vote down one that ends at `other`: epoch first, then offset.
    pub fn is_up_to_date_with(self, other: OffsetAndEpoch) -> bool {
        (self.epoch, self.offset) >= (other.epoch, other.offset)
    }
}

impl std::fmt::Display for OffsetAndEpoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "offset {} of epoch {}", self.offset, self.epoch)
    }
}

/// The log, its snapshots and the quorum-state file. Appended batches can be read at once; they are durable only after `flush`.
pub trait RaftLog: Send {
    fn start_offset(&self) -> i64;
    /// The log end offset and the epoch of the last batch; where the log is empty, those of the newest snapshot, or zeros.
    fn end(&self) -> OffsetAndEpoch;
    /// Bytes of all segments.
    fn size(&self) -> u64;
    /// Appends one batch whose base offset is the log end offset.
    fn append(&mut self, batch: Bytes, now: Now) -> io::Result<()>;
    /// Whole batches, from the one that holds `offset` on: at least one, if there is one, else up to `max_bytes`. Empty at the end.
    fn read(&self, offset: i64, max_bytes: usize) -> io::Result<Bytes>;
    /// Removes everything from `offset` on.
    fn truncate(&mut self, offset: i64, now: Now) -> io::Result<()>;
    /// Drops all batches and continues at `start`, the end of a snapshot newer than the log.
    fn truncate_fully_and_start_at(&mut self, start: OffsetAndEpoch, now: Now) -> io::Result<()>;
    fn flush(&mut self, now: Now) -> io::Result<()>;

    /// Ids of all complete snapshots, oldest first.
    fn snapshots(&self) -> Vec<OffsetAndEpoch>;
    fn read_snapshot(&self, id: OffsetAndEpoch) -> io::Result<Bytes>;
    /// Stores a snapshot durably; it never changes again.
    fn store_snapshot(&mut self, id: OffsetAndEpoch, bytes: Bytes) -> io::Result<()>;
    /// Removes a snapshot.
    fn delete_snapshot(&mut self, id: OffsetAndEpoch) -> io::Result<()>;
    /// Moves the log start to `offset`, which is the end of a snapshot; segments wholly before it may go.
    fn delete_before(&mut self, offset: i64, now: Now) -> io::Result<()>;

    /// Makes everything durable and leaves the files as a clean stop does. The log is not used afterwards.
    fn close(&mut self, now: Now) -> io::Result<()>;

    fn read_quorum_state(&self) -> io::Result<Option<Bytes>>;
    /// Durable on return.
    fn write_quorum_state(&mut self, bytes: &[u8]) -> io::Result<()>;
}
