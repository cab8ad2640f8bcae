//! Walks the batches of a segment file: headers only (to find positions and the log end), or whole batches (recovery, timestamps).

use crate::error::LogError;
use base::disk::File;
use bytes::{Bytes, BytesMut};
use record::batch::RECORDS;
use record::{Batch, BatchView, RecordError};
use std::io;

/// A batch header at its place.
#[derive(Clone, Copy)]
pub(crate) struct Head {
    pub position: u64,
    pub size: u64,
    bytes: [u8; RECORDS],
}

impl Head {
    /// Header fields only; checksums and payload are not there.
    pub fn view(&self) -> Option<BatchView<'_>> {
        BatchView::head(&self.bytes).ok().flatten().map(|(view, _)| view)
    }
}

const HEAD_WINDOW: usize = 4096;

pub(crate) struct HeadScan<'a> {
    file: &'a dyn File,
    position: u64,
    end: u64,
    window: Vec<u8>,
    window_at: u64,
    /// Offsets must not be below this, nor beyond `offset_limit`.
    expected: i64,
    offset_limit: i64,
}

impl<'a> HeadScan<'a> {
    /// From `position`, where a batch starts, to `end`.
    pub fn new(file: &'a dyn File, position: u64, end: u64) -> Self {
        Self { file, position, end, window: Vec::new(), window_at: 0, expected: i64::MIN, offset_limit: i64::MAX }
    }

    /// As `new`, for a segment that begins with `base_offset`: a header with an offset that cannot be there is no header.
    pub fn of_segment(file: &'a dyn File, base_offset: i64, position: u64, end: u64) -> Self {
        let offset_limit = base_offset.saturating_add(i64::from(i32::MAX));
        Self { expected: base_offset, offset_limit, ..Self::new(file, position, end) }
    }

    /// After `next` gave None: where the bytes are no batch, unless that was the end.
    pub fn stopped_at(&self) -> Option<u64> {
        (self.position < self.end).then_some(self.position)
    }

    fn fits(&self, view: &BatchView) -> bool {
        let (first, last) = (view.base_offset(), view.last_offset());
        last >= self.expected && last <= self.offset_limit && (view.magic() < 2 || (first >= self.expected && first <= last))
    }

    /// The next header; None at the end, or where the bytes stop being a batch.
    pub fn next(&mut self) -> io::Result<Option<Head>> {
        if self.position >= self.end {
            return Ok(None);
        }
        let in_window = self.position >= self.window_at && self.position + RECORDS as u64 <= self.window_at + self.window.len() as u64;
        if !in_window {
            let len = (self.end - self.position).min(HEAD_WINDOW as u64) as usize;
            self.window.resize(len, 0);
            self.file.read_exact_at(&mut self.window, self.position)?;
            self.window_at = self.position;
        }
        let at = (self.position - self.window_at) as usize;
        let available = &self.window[at..];
        let Ok(Some((view, size))) = BatchView::head(available) else { return Ok(None) };
        let size = size as u64;
        if size > self.end - self.position || !self.fits(&view) {
            return Ok(None);
        }
        let next_offset = view.last_offset().saturating_add(1);
        let mut bytes = [0; RECORDS];
        let n = available.len().min(RECORDS);
        bytes[..n].copy_from_slice(&available[..n]);
        let head = Head { position: self.position, size, bytes };
        self.position += size;
        if self.offset_limit < i64::MAX {
            self.expected = next_offset;
        }
        Ok(Some(head))
    }
}

/// Where behind `from` the next undamaged batch begins whose first offset is at least `expected`: (position, that offset). Looks at every byte.
pub(crate) fn find_next_batch(file: &dyn File, from: u64, end: u64, expected: i64, offset_limit: i64) -> io::Result<Option<(u64, i64)>> {
    let mut window = vec![0; BATCH_WINDOW];
    let mut start = from;
    while start + RECORDS as u64 <= end {
        let len = (end - start).min(BATCH_WINDOW as u64) as usize;
        let Some(bytes) = window.get_mut(..len) else { return Ok(None) };
        file.read_exact_at(bytes, start)?;
        for (at, candidate) in bytes.windows(RECORDS).enumerate() {
            let Ok(Some((view, size))) = BatchView::head(candidate) else { continue };
            let (first, last) = (view.base_offset(), view.last_offset());
            let position = start + at as u64;
            let plausible = view.magic() == 2 && first >= expected && last >= first && last <= offset_limit;
            if !plausible || size as u64 > end - position {
                continue;
            }
            let mut whole = vec![0; size];
            file.read_exact_at(&mut whole, position)?;
            if BatchView::first(&whole).is_ok_and(|batch| batch.is_some_and(|batch| batch.is_valid())) {
                return Ok(Some((position, first)));
            }
        }
        // The next window begins with what was too short for a header here.
        start += (len - RECORDS + 1) as u64;
    }
    Ok(None)
}

const BATCH_WINDOW: usize = 1 << 20;

pub(crate) struct BatchScan<'a> {
    file: &'a dyn File,
    /// Where the next batch starts.
    position: u64,
    end: u64,
    window: Bytes,
}

pub(crate) enum Scanned {
    Batch(Batch),
    /// Bytes at this position are not a complete batch.
    Bad(u64, RecordError),
    End,
}

impl<'a> BatchScan<'a> {
    pub fn new(file: &'a dyn File, position: u64, end: u64) -> Self {
        Self { file, position, end, window: Bytes::new() }
    }

    pub fn next(&mut self) -> io::Result<Scanned> {
        if self.position >= self.end {
            return Ok(Scanned::End);
        }
        let left = (self.end - self.position) as usize;
        loop {
            let needed = match record::batch::size_of(&self.window) {
                Some(Err(error)) => return Ok(Scanned::Bad(self.position, error)),
                Some(Ok(size)) => size.max(record::batch::HEADER_UP_TO_MAGIC),
                None => record::batch::HEADER_UP_TO_MAGIC,
            };
            if needed > left {
                let error = RecordError::Corrupt(format!("a batch of {needed} bytes is cut after {left}"));
                return Ok(Scanned::Bad(self.position, error));
            }
            if self.window.len() >= needed {
                break;
            }
            let mut bytes = BytesMut::zeroed(left.min(BATCH_WINDOW.max(needed)));
            self.file.read_exact_at(&mut bytes, self.position)?;
            self.window = bytes.freeze();
        }
        match Batch::new(self.window.clone()) {
            Err(error) => Ok(Scanned::Bad(self.position, error)),
            Ok(batch) => {
                let size = batch.view().size();
                bytes::Buf::advance(&mut self.window, size);
                self.position += size as u64;
                Ok(Scanned::Batch(batch))
            }
        }
    }
}

/// A file that ends before its own length says was changed under us.
pub(crate) fn unreadable(path: &std::path::Path) -> impl FnOnce(io::Error) -> LogError {
    LogError::io("cannot read", path)
}
