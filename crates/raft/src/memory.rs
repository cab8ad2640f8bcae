//! A metadata log in memory, for tests and simulations. What was not flushed can be made to vanish.

use crate::log::{OffsetAndEpoch, RaftLog};
use base::Now;
use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;
use std::io;

#[derive(Clone, Debug, Default)]
pub struct MemoryLog {
    /// Base offset, last offset, epoch and bytes of each batch.
    batches: Vec<(i64, i64, i32, Bytes)>,
    start: i64,
    /// Where an empty log continues.
    empty_end: OffsetAndEpoch,
    flushed: usize,
    pub flushes: u64,
    snapshots: BTreeMap<OffsetAndEpoch, Bytes>,
    quorum_state: Option<Bytes>,
}

impl MemoryLog {
    /// Forgets what was appended after the last flush, as a power failure may.
    pub fn lose_unflushed(&mut self) {
        self.batches.truncate(self.flushed);
    }
}

impl RaftLog for MemoryLog {
    fn start_offset(&self) -> i64 {
        self.start
    }

    fn end(&self) -> OffsetAndEpoch {
        self.batches.last().map_or(self.empty_end, |(_, last, epoch, _)| OffsetAndEpoch::new(last + 1, *epoch))
    }

    fn size(&self) -> u64 {
        self.batches.iter().map(|(.., bytes)| bytes.len() as u64).sum()
    }

    fn append(&mut self, batch: Bytes, _now: Now) -> io::Result<()> {
        let view = record::Batch::new(batch.clone()).map_err(io::Error::other)?;
        let (base, last, epoch) = (view.view().base_offset(), view.view().last_offset(), view.view().leader_epoch());
        if base != self.end().offset || epoch < self.end().epoch {
            return Err(io::Error::other(format!("batch at {base} of epoch {epoch} does not follow {}", self.end())));
        }
        self.batches.push((base, last, epoch, batch));
        Ok(())
    }

    fn read(&self, offset: i64, max_bytes: usize) -> io::Result<Bytes> {
        let mut out = BytesMut::new();
        for (.., bytes) in self.batches.iter().skip_while(|(_, last, ..)| *last < offset) {
            if !out.is_empty() && out.len() + bytes.len() > max_bytes {
                break;
            }
            out.extend_from_slice(bytes);
        }
        Ok(out.freeze())
    }

    fn truncate(&mut self, offset: i64, _now: Now) -> io::Result<()> {
        self.batches.retain(|(base, ..)| *base < offset);
        self.flushed = self.flushed.min(self.batches.len());
        Ok(())
    }

    fn truncate_fully_and_start_at(&mut self, start: OffsetAndEpoch, _now: Now) -> io::Result<()> {
        self.batches.clear();
        self.flushed = 0;
        self.start = start.offset;
        self.empty_end = start;
        Ok(())
    }

    fn flush(&mut self, _now: Now) -> io::Result<()> {
        self.flushed = self.batches.len();
        self.flushes += 1;
        Ok(())
    }

    fn snapshots(&self) -> Vec<OffsetAndEpoch> {
        self.snapshots.keys().copied().collect()
    }

    fn read_snapshot(&self, id: OffsetAndEpoch) -> io::Result<Bytes> {
        self.snapshots.get(&id).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn store_snapshot(&mut self, id: OffsetAndEpoch, bytes: Bytes) -> io::Result<()> {
        self.snapshots.insert(id, bytes);
        Ok(())
    }

    fn delete_snapshot(&mut self, id: OffsetAndEpoch) -> io::Result<()> {
        self.snapshots.remove(&id);
        Ok(())
    }

    fn delete_before(&mut self, offset: i64, _now: Now) -> io::Result<()> {
        self.start = self.start.max(offset);
        if let Some((_, last, epoch, _)) = self.batches.last() {
            self.empty_end = OffsetAndEpoch::new(last + 1, *epoch);
        }
        let before = self.batches.len();
        self.batches.retain(|(_, last, ..)| *last >= offset);
        self.flushed = self.flushed.saturating_sub(before - self.batches.len());
        Ok(())
    }

    fn close(&mut self, now: Now) -> io::Result<()> {
        self.flush(now)
    }

    fn read_quorum_state(&self) -> io::Result<Option<Bytes>> {
        Ok(self.quorum_state.clone())
    }

    fn write_quorum_state(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.quorum_state = Some(Bytes::copy_from_slice(bytes));
        Ok(())
    }
}
