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
    /// So many of the last entries are not in the file yet.
    unwritten: usize,
    /// The file has changed since it was last handed to a flush.
    unsynced: bool,
    /// The entries are made anew; the file keeps what it has until all of them take its place at once: what was durable stays so.
    rebuilding: bool,
}

impl TxnIndex {
    pub fn new(path: PathBuf) -> Self {
        Self { path, entries: OnceLock::new(), unwritten: 0, unsynced: false, rebuilding: false }
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
            // Zeros are what a power cut leaves of an entry.
            let version_is_known = chunk.first_chunk() == Some(&[0, 0]) && chunk.iter().any(|byte| *byte != 0);
            let Some(txn) = AbortedTxn::decode(chunk).filter(|_| version_is_known) else { return false };
            let in_order = txn.last_offset >= last && txn.last_offset <= limit && txn.first_offset <= txn.last_offset;
            last = txn.last_offset;
            in_order && txn.producer_id >= 0 && txn.first_offset >= 0 && txn.last_stable_offset >= 0 && txn.last_stable_offset <= limit
        });
        Ok(sane)
    }

    /// Adds an entry to the file.
    pub fn append(&mut self, disk: &dyn Disk, txn: AbortedTxn) -> io::Result<()> {
        self.add(disk, txn)?;
        self.persist(disk)
    }

    /// Adds what has already happened: on a full disk the entry stays in memory until the next flush, which must not succeed without it.
    pub fn note(&mut self, disk: &dyn Disk, txn: AbortedTxn) -> io::Result<()> {
        self.add(disk, txn)?;
        if self.rebuilding { Ok(()) } else { self.persist_if_room(disk) }
    }

    /// After `rebuild` and a `note` for each: the file becomes what the entries are.
    pub fn rebuilt(&mut self, disk: &dyn Disk) -> io::Result<()> {
        self.persist_if_room(disk)
    }

    fn persist_if_room(&mut self, disk: &dyn Disk) -> io::Result<()> {
        match self.persist(disk) {
            Err(e) if e.kind() == io::ErrorKind::StorageFull => Ok(()),
            persisted => persisted,
        }
    }

    fn add(&mut self, disk: &dyn Disk, txn: AbortedTxn) -> io::Result<()> {
        self.entries(disk)?;
        if let Some(entries) = self.entries.get_mut() {
            entries.push(txn);
            self.unwritten += 1;
            self.unsynced = true;
        }
        Ok(())
    }

    fn persist(&mut self, disk: &dyn Disk) -> io::Result<()> {
        let Some(entries) = self.entries.get() else { return Ok(()) };
        if self.rebuilding {
            let bytes: Vec<u8> = entries.iter().flat_map(AbortedTxn::encode).collect();
            match disk.read(&self.path) {
                Ok(old) if old == bytes => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound && bytes.is_empty() => self.unsynced = false,
                Ok(_) => disk.write_atomically(&self.path, &bytes)?,
                Err(e) if e.kind() == io::ErrorKind::NotFound => disk.write_atomically(&self.path, &bytes)?,
                Err(e) => return Err(e),
            }
            self.rebuilding = false;
            self.unwritten = 0;
            return Ok(());
        }
        let written = entries.len() - self.unwritten;
        let Some(missing) = entries.get(written..).filter(|missing| !missing.is_empty()) else { return Ok(()) };
        let bytes: Vec<u8> = missing.iter().flat_map(AbortedTxn::encode).collect();
        disk.open(&self.path, OpenMode::Create)?.write_at(&bytes, (written * SIZE) as u64)?;
        self.unwritten = 0;
        Ok(())
    }

    /// The name of the file, which is complete, if a flush has to sync it.
    pub fn unsynced(&mut self, disk: &dyn Disk) -> io::Result<Option<&Path>> {
        self.persist(disk)?;
        Ok(self.unsynced.then_some(&*self.path))
    }

    /// A flush has taken it over to sync the file.
    pub fn handed_over(&mut self) {
        self.unsynced = false;
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

    /// Forgets all entries, for others that `note` brings.
    pub fn rebuild(&mut self) {
        self.entries = OnceLock::from(Vec::new());
        self.unwritten = 0;
        self.unsynced = true;
        self.rebuilding = true;
    }

    pub fn truncate(&mut self, disk: &dyn Disk, offset: i64) -> io::Result<()> {
        let keep = self.entries(disk)?.iter().take_while(|txn| txn.last_offset < offset).count();
        if let Some(entries) = self.entries.get_mut()
            && keep < entries.len()
        {
            let written = entries.len() - self.unwritten;
            entries.truncate(keep);
            self.unwritten = keep.saturating_sub(written);
            if keep < written {
                self.unsynced = true;
                disk.open(&self.path, OpenMode::ReadWrite)?.set_len((keep * SIZE) as u64)?;
            }
        }
        Ok(())
    }
}
