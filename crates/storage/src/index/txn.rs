//! Aborted transactions of a segment, for read_committed consumers. The file appears with the first of them. Kafka: TransactionIndex.

use base::disk::{Disk, OpenMode};
use bytes::Buf;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

const SIZE: usize = 34;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTxn {
    pub producer_id: i64,
    pub first_offset: i64,
    pub last_offset: i64,
    pub last_stable_offset: i64,
}

impl AbortedTxn {
    fn encode(&self) -> [u8; SIZE] {
        let mut out = [0; SIZE];
        for (at, value) in [(2, self.producer_id), (10, self.first_offset), (18, self.last_offset), (26, self.last_stable_offset)] {
            out[at..at + 8].copy_from_slice(&value.to_be_bytes());
        }
        out
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        let _version = bytes.try_get_i16().ok()?;
        Some(Self {
            producer_id: bytes.try_get_i64().ok()?,
            first_offset: bytes.try_get_i64().ok()?,
            last_offset: bytes.try_get_i64().ok()?,
            last_stable_offset: bytes.try_get_i64().ok()?,
        })
    }
}

pub(crate) struct TxnIndex {
    path: PathBuf,
    entries: OnceLock<Vec<AbortedTxn>>,
}

impl TxnIndex {
    pub fn new(path: PathBuf) -> Self {
        Self { path, entries: OnceLock::new() }
    }

    /// The file, if this segment is known to have aborted transactions.
    pub fn path_if_any(&self) -> Option<&Path> {
        self.entries.get().is_some_and(|entries| !entries.is_empty()).then_some(&self.path)
    }

    fn entries(&self, disk: &dyn Disk) -> io::Result<&Vec<AbortedTxn>> {
        if let Some(entries) = self.entries.get() {
            return Ok(entries);
        }
        let bytes = match disk.read(&self.path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(e),
        };
        let entries = bytes.chunks_exact(SIZE).filter_map(AbortedTxn::decode).collect();
        Ok(self.entries.get_or_init(|| entries))
    }

    /// Whether the file, if there is one, can be what was written for a segment that begins with `base_offset`.
    pub fn is_sane(&self, disk: &dyn Disk, base_offset: i64) -> io::Result<bool> {
        let bytes = match disk.read(&self.path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(true),
            Err(e) => return Err(e),
        };
        let limit = base_offset.saturating_add(i64::from(i32::MAX));
        let mut last = base_offset;
        let sane = bytes.chunks(SIZE).all(|chunk| {
            let version_is_known = chunk.first_chunk() == Some(&[0, 0]);
            let Some(txn) = AbortedTxn::decode(chunk).filter(|_| version_is_known) else { return false };
            let in_order = txn.last_offset >= last && txn.last_offset <= limit && txn.first_offset <= txn.last_offset;
            last = txn.last_offset;
            in_order && txn.producer_id >= 0 && txn.first_offset >= 0 && txn.last_stable_offset >= 0 && txn.last_stable_offset <= limit
        });
        Ok(sane)
    }

    pub fn append(&mut self, disk: &dyn Disk, txn: AbortedTxn) -> io::Result<()> {
        let count = self.entries(disk)?.len();
        disk.open(&self.path, OpenMode::Create)?.write_at(&txn.encode(), (count * SIZE) as u64)?;
        if let Some(entries) = self.entries.get_mut() {
            entries.push(txn);
        }
        Ok(())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the file is from now on; for one that is renamed.
    pub fn set_path(&mut self, path: PathBuf) {
        self.path = path;
    }

    /// Adds what overlaps `from..upper` to `out`; true once later segments cannot hold more.
    pub fn collect(&self, disk: &dyn Disk, from: i64, upper: i64, out: &mut Vec<(i64, i64)>) -> io::Result<bool> {
        self.visit(disk, from, upper, |txn| out.push((txn.producer_id, txn.first_offset)))
    }

    /// As `collect`, with all there is to know of each.
    pub fn collect_entries(&self, disk: &dyn Disk, from: i64, upper: i64, out: &mut Vec<AbortedTxn>) -> io::Result<bool> {
        self.visit(disk, from, upper, |txn| out.push(*txn))
    }

    fn visit(&self, disk: &dyn Disk, from: i64, upper: i64, mut found: impl FnMut(&AbortedTxn)) -> io::Result<bool> {
        for txn in self.entries(disk)? {
            if txn.last_offset >= from && txn.first_offset < upper {
                found(txn);
            }
            if txn.last_stable_offset >= upper {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub fn reset(&mut self, disk: &dyn Disk) -> io::Result<()> {
        self.entries = OnceLock::new();
        match disk.remove_file(&self.path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    pub fn truncate(&mut self, disk: &dyn Disk, offset: i64) -> io::Result<()> {
        let keep = self.entries(disk)?.iter().take_while(|txn| txn.last_offset < offset).count();
        if let Some(entries) = self.entries.get_mut()
            && keep < entries.len()
        {
            entries.truncate(keep);
            disk.open(&self.path, OpenMode::ReadWrite)?.set_len((keep * SIZE) as u64)?;
        }
        Ok(())
    }
}
