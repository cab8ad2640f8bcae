//! Reading: from an offset to ranges of segment files, which leave by sendfile. No bytes are read here except batch headers.
//! Kafka: LocalLog.read, LogSegment.read, UnifiedLog.collectAbortedTransactions. Hot path.

use super::Log;
use crate::error::{LogError, ReadError};
use base::{FileRange, Segment as Piece};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadLimit {
    HighWatermark,
    LogEnd,
    LastStable,
}

#[derive(Clone, Debug)]
pub struct LogRead {
    /// From the start of the batch that holds the asked offset on; the last batch may be cut by `max_bytes`.
    pub records: Vec<Piece>,
    pub size: usize,
    /// Only for `LastStable`: (producer id, first offset) of aborted transactions that overlap what was read.
    pub aborted_transactions: Option<Vec<(i64, i64)>>,
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    pub log_start_offset: i64,
    pub log_end_offset: i64,
}

impl Log {
    /// Up to `max_bytes` from `offset` on, all of one segment. With `min_one`, at least the first batch, however large.
    pub fn read(&self, offset: i64, max_bytes: usize, limit: ReadLimit, min_one: bool) -> Result<LogRead, ReadError> {
        if offset < self.log_start_offset || offset > self.log_end_offset {
            return Err(ReadError::OffsetOutOfRange { offset, log_start: self.log_start_offset, log_end: self.log_end_offset });
        }
        let last_stable_offset = self.last_stable_offset();
        let end = match limit {
            ReadLimit::LogEnd => self.log_end_offset,
            ReadLimit::HighWatermark => self.high_watermark,
            ReadLimit::LastStable => last_stable_offset,
        };
        let mut read = LogRead {
            records: Vec::new(),
            size: 0,
            aborted_transactions: (limit == ReadLimit::LastStable).then(Vec::new),
            high_watermark: self.high_watermark,
            last_stable_offset,
            log_start_offset: self.log_start_offset,
            log_end_offset: self.log_end_offset,
        };
        if offset >= end {
            return Ok(read);
        }
        // Compaction leaves segments that end before the next one starts; then the next one has the first batch.
        for at in self.segment_at(offset)..self.segments.len() {
            if self.segments[at].base_offset >= end {
                break;
            }
            if let Some(range) = self.read_segment(at, offset, max_bytes, end, min_one)? {
                if let Some(aborted) = &mut read.aborted_transactions {
                    self.collect_aborted(at, offset, range.position + range.len as u64, aborted)?;
                }
                read.size = range.len;
                if range.len > 0 {
                    read.records.push(Piece::File(range));
                }
                break;
            }
        }
        Ok(read)
    }

    fn read_segment(&self, at: usize, offset: i64, max_bytes: usize, end: i64, min_one: bool) -> Result<Option<FileRange>, LogError> {
        let disk = self.disk.as_ref();
        let segment = &self.segments[at];
        let Some(place) = segment.find(disk, offset)? else { return Ok(None) };
        let next_base = self.segments.get(at + 1).map_or(self.log_end_offset, |next| next.base_offset);
        let limit = match (end < next_base).then(|| segment.find(disk, end)).transpose() {
            Ok(None) => segment.size,
            Ok(Some(found)) => found.map_or(segment.size, |p| p.position),
            // Somewhere behind the batch that was asked for: what is before that is read batch by batch.
            Err(LogError::Damaged { .. }) => place.position + place.size,
            Err(error) => return Err(error),
        };
        let limit = limit.min(segment.whole_until(place.position));
        let wanted = if min_one { (max_bytes as u64).max(place.size) } else { max_bytes as u64 };
        // Part of a batch is of no use to anybody: it waits for a fetch that has room for it.
        let len = if wanted < place.size { 0 } else { limit.saturating_sub(place.position).min(wanted) };
        Ok(Some(FileRange { file: segment.file(disk)?, position: place.position, len: len as usize }))
    }

    /// Aborted transactions that overlap what lies between `offset` and `position` of segment `at`, as far as the offset index can tell where
    /// that ends: some that begin after it are told too, as by Kafka, and do no harm.
    fn collect_aborted(&self, at: usize, offset: i64, position: u64, out: &mut Vec<(i64, i64)>) -> Result<(), LogError> {
        let disk = self.disk.as_ref();
        let next_base = self.segments.get(at + 1).map_or(self.log_end_offset, |next| next.base_offset);
        let upper = self.segments[at].upper_offset(disk, position)?.unwrap_or(next_base);
        for segment in &self.segments[at..] {
            let complete = segment
                .txns
                .collect(disk, offset, upper, out)
                .map_err(LogError::io("cannot read the transaction index of", segment.log_path()))?;
            if complete {
                break;
            }
        }
        Ok(())
    }
}
