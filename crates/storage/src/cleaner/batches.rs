//! The batches of a sealed segment, read with large sequential reads into one buffer that is used again. Hot path.

use super::{CleanError, Pace};
use crate::error::LogError;
use base::disk::File;
use record::BatchView;
use record::batch::{HEADER_UP_TO_MAGIC, size_of};
use std::path::Path;

pub(super) struct Batches<'a> {
    file: &'a dyn File,
    path: &'a Path,
    /// Where the next read begins.
    position: u64,
    end: u64,
    buffer: &'a mut Vec<u8>,
    /// What of the buffer was not handed out yet.
    start: usize,
    filled: usize,
    pace: &'a dyn Pace,
}

impl<'a> Batches<'a> {
    /// From `position`, where a batch starts, to `end`. The buffer, which must not be empty, keeps its size between segments; a batch that is larger
    /// makes it grow.
    pub fn new(file: &'a dyn File, path: &'a Path, position: u64, end: u64, buffer: &'a mut Vec<u8>, pace: &'a dyn Pace) -> Self {
        Self { file, path, position, end, buffer, start: 0, filled: 0, pace }
    }

    /// Where the batch begins that `next` gives.
    pub fn position(&self) -> u64 {
        self.position - (self.filled - self.start) as u64
    }

    /// The next batch; the checksum is not looked at.
    pub fn next(&mut self) -> Result<Option<BatchView<'_>>, CleanError> {
        let size = loop {
            let have = self.filled - self.start;
            let needed = match size_of(&self.buffer[self.start..self.filled]) {
                None => HEADER_UP_TO_MAGIC,
                Some(size) => size.map_err(|e| self.corrupt(&e))?,
            };
            if have >= needed {
                break needed;
            }
            if self.position >= self.end {
                if have == 0 {
                    return Ok(None);
                }
                return Err(self.corrupt(&format_args!("a batch of {needed} bytes is cut after {have}")));
            }
            if needed as u64 > have as u64 + (self.end - self.position) {
                return Err(self.corrupt(&format_args!("a batch of {needed} bytes does not end in the segment")));
            }
            self.fill(needed)?;
        };
        let from = self.start;
        self.start += size;
        let view = BatchView::first(&self.buffer[from..from + size]);
        match view {
            Ok(Some(view)) => Ok(Some(view)),
            Ok(None) => Err(CleanError::Log(LogError::corrupt(self.path, "a batch is cut"))),
            Err(e) => Err(CleanError::Log(LogError::corrupt(self.path, e.to_string()))),
        }
    }

    fn fill(&mut self, needed: usize) -> Result<(), CleanError> {
        self.pace.check()?;
        self.buffer.copy_within(self.start..self.filled, 0);
        self.filled -= self.start;
        self.start = 0;
        if self.buffer.len() < needed {
            self.buffer.resize(needed, 0);
        }
        let room = &mut self.buffer[self.filled..];
        let n = room.len().min(usize::try_from(self.end - self.position).unwrap_or(usize::MAX));
        self.file.read_exact_at(&mut room[..n], self.position).map_err(LogError::io("cannot read", self.path))?;
        self.filled += n;
        self.position += n as u64;
        self.pace.moved(n as u64);
        Ok(())
    }

    fn corrupt(&self, problem: &dyn std::fmt::Display) -> CleanError {
        CleanError::Log(LogError::corrupt(self.path, format!("at position {}: {problem}", self.position())))
    }
}
