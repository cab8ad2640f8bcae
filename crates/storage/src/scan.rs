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
}

impl<'a> HeadScan<'a> {
    /// From `position`, where a batch starts, to `end`.
    pub fn new(file: &'a dyn File, position: u64, end: u64) -> Self {
        Self { file, position, end, window: Vec::new(), window_at: 0 }
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
        let Ok(Some((_, size))) = BatchView::head(available) else { return Ok(None) };
        let size = size as u64;
        if size > self.end - self.position {
            return Ok(None);
        }
        let mut bytes = [0; RECORDS];
        let n = available.len().min(RECORDS);
        bytes[..n].copy_from_slice(&available[..n]);
        let head = Head { position: self.position, size, bytes };
        self.position += size;
        Ok(Some(head))
    }
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
