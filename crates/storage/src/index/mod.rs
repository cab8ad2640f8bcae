//! Sparse indexes of a segment. The one that is appended to lives in memory and reaches its file at flush, roll and close; those of
//! older segments are searched in their files. Byte formats are Kafka's (OffsetIndex, TimeIndex); recovery rebuilds what a crash lost.

pub mod txn;

use crate::lazy_file::LazyFile;
use base::disk::{Disk, OpenMode};
use std::io;
use std::path::{Path, PathBuf};

/// A fixed-size index entry, big-endian on disk.
pub trait Entry: Copy + std::fmt::Debug + PartialEq {
    const SIZE: usize;
    fn encode(&self, out: &mut Vec<u8>);
    /// `bytes` has `SIZE` bytes.
    fn decode(bytes: &[u8]) -> Self;
    /// Whether `next` may follow: what tells entries from the zeros of a file that was never trimmed.
    fn precedes(&self, next: &Self) -> bool;
}

/// The last offset of a batch, relative to the segment's base, and where that batch starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetEntry {
    pub relative_offset: u32,
    pub position: u32,
}

impl Entry for OffsetEntry {
    const SIZE: usize = 8;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.relative_offset.to_be_bytes());
        out.extend_from_slice(&self.position.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Self {
        Self { relative_offset: be_u32(&bytes[..4]), position: be_u32(&bytes[4..8]) }
    }

    fn precedes(&self, next: &Self) -> bool {
        self.relative_offset < next.relative_offset && self.position < next.position
    }
}

/// The largest timestamp so far and the last offset of the batch that has it, relative to the segment's base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeEntry {
    pub timestamp: i64,
    pub relative_offset: u32,
}

impl Entry for TimeEntry {
    const SIZE: usize = 12;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&self.relative_offset.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Self {
        let mut timestamp = [0; 8];
        timestamp.copy_from_slice(&bytes[..8]);
        Self { timestamp: i64::from_be_bytes(timestamp), relative_offset: be_u32(&bytes[8..12]) }
    }

    fn precedes(&self, next: &Self) -> bool {
        self.timestamp < next.timestamp && self.relative_offset <= next.relative_offset
    }
}

fn be_u32(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

pub(crate) struct Index<E> {
    file: LazyFile,
    entries: Entries<E>,
}

enum Entries<E> {
    /// All entries, and how many of them the file has.
    Memory { entries: Vec<E>, written: usize },
    /// In the file only.
    Cold,
}

impl<E: Entry> Index<E> {
    /// A new empty index with its file.
    pub fn create(disk: &dyn Disk, path: PathBuf) -> io::Result<Self> {
        disk.open(&path, OpenMode::Truncate)?;
        Ok(Self { file: LazyFile::new(path), entries: Entries::Memory { entries: Vec::new(), written: 0 } })
    }

    /// An index whose file is searched where it lies; a missing file counts as empty.
    pub fn cold(path: PathBuf) -> Self {
        Self { file: LazyFile::new(path), entries: Entries::Cold }
    }

    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Where the file is from now on; for one that is renamed.
    pub fn set_path(&mut self, path: PathBuf) {
        self.file.set_path(path);
    }

    /// Reads the whole file, to append to it.
    pub fn load(&mut self, disk: &dyn Disk) -> io::Result<()> {
        if matches!(self.entries, Entries::Memory { .. }) {
            return Ok(());
        }
        let bytes = match disk.read(self.file.path()) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(e),
        };
        let mut entries: Vec<E> = Vec::new();
        for chunk in bytes.chunks_exact(E::SIZE) {
            let entry = E::decode(chunk);
            if entries.last().is_some_and(|last| !last.precedes(&entry)) {
                break;
            }
            entries.push(entry);
        }
        // A first entry of zeros is the untouched tail of a preallocated file.
        if bytes.len() >= E::SIZE && bytes[..E::SIZE].iter().all(|b| *b == 0) {
            entries.clear();
        }
        let written = entries.len();
        if written * E::SIZE != bytes.len() {
            disk.open(self.file.path(), OpenMode::ReadWrite)?.set_len((written * E::SIZE) as u64)?;
        }
        self.entries = Entries::Memory { entries, written };
        Ok(())
    }

    pub fn len(&self, disk: &dyn Disk) -> io::Result<usize> {
        match &self.entries {
            Entries::Memory { entries, .. } => Ok(entries.len()),
            Entries::Cold => match self.file.get(disk) {
                Ok(file) => Ok(file.len()? as usize / E::SIZE),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
                Err(e) => Err(e),
            },
        }
    }

    /// The number of entries of the index being appended to; 0 for a cold one.
    pub fn memory_len(&self) -> usize {
        match &self.entries {
            Entries::Memory { entries, .. } => entries.len(),
            Entries::Cold => 0,
        }
    }

    /// How many entries are only in memory.
    pub fn unwritten(&self) -> usize {
        match &self.entries {
            Entries::Memory { entries, written } => entries.len() - written,
            Entries::Cold => 0,
        }
    }

    pub fn get(&self, disk: &dyn Disk, at: usize) -> io::Result<Option<E>> {
        match &self.entries {
            Entries::Memory { entries, .. } => Ok(entries.get(at).copied()),
            Entries::Cold => {
                let mut bytes = [0u8; 16];
                let bytes = &mut bytes[..E::SIZE];
                match self.file.get(disk)?.read_exact_at(bytes, (at * E::SIZE) as u64) {
                    Ok(()) => Ok(Some(E::decode(bytes))),
                    Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
                    Err(e) => Err(e),
                }
            }
        }
    }

    pub fn last(&self, disk: &dyn Disk) -> io::Result<Option<E>> {
        match self.len(disk)? {
            0 => Ok(None),
            len => self.get(disk, len - 1),
        }
    }

    /// How many leading entries satisfy `before`.
    pub fn partition_point(&self, disk: &dyn Disk, before: impl Fn(&E) -> bool) -> io::Result<usize> {
        if let Entries::Memory { entries, .. } = &self.entries {
            return Ok(entries.partition_point(before));
        }
        let (mut low, mut high) = (0, self.len(disk)?);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get(disk, middle)? {
                Some(entry) if before(&entry) => low = middle + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// The last entry that satisfies `before`.
    pub fn floor(&self, disk: &dyn Disk, before: impl Fn(&E) -> bool) -> io::Result<Option<E>> {
        match self.partition_point(disk, before)? {
            0 => Ok(None),
            n => self.get(disk, n - 1),
        }
    }

    /// Only for an index in memory.
    pub fn push(&mut self, entry: E) {
        if let Entries::Memory { entries, .. } = &mut self.entries
            && entries.last().is_none_or(|last| last.precedes(&entry))
        {
            entries.push(entry);
        }
    }

    /// Brings the file up to the entries in memory.
    pub fn persist(&mut self, disk: &dyn Disk) -> io::Result<()> {
        let Entries::Memory { entries, written } = &mut self.entries else { return Ok(()) };
        if *written == entries.len() {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity((entries.len() - *written) * E::SIZE);
        for entry in &entries[*written..] {
            entry.encode(&mut bytes);
        }
        let file = disk.open(self.file.path(), OpenMode::Create)?;
        file.write_at(&bytes, (*written * E::SIZE) as u64)?;
        *written = entries.len();
        Ok(())
    }

    /// Writes what is missing, cuts the file to its entries and forgets them.
    pub fn seal(&mut self, disk: &dyn Disk) -> io::Result<()> {
        self.persist(disk)?;
        self.entries = Entries::Cold;
        self.file.release();
        Ok(())
    }

    /// Empties the index and takes it into memory.
    pub fn reset(&mut self, disk: &dyn Disk) -> io::Result<()> {
        disk.open(self.file.path(), OpenMode::Truncate)?;
        self.file.release();
        self.entries = Entries::Memory { entries: Vec::new(), written: 0 };
        Ok(())
    }

    /// Keeps the leading entries that satisfy `keep`; the index is in memory afterwards.
    pub fn truncate(&mut self, disk: &dyn Disk, keep: impl Fn(&E) -> bool) -> io::Result<()> {
        self.load(disk)?;
        let Entries::Memory { entries, written } = &mut self.entries else { return Ok(()) };
        entries.truncate(entries.partition_point(keep));
        if entries.len() < *written {
            *written = entries.len();
            disk.open(self.file.path(), OpenMode::ReadWrite)?.set_len((*written * E::SIZE) as u64)?;
        }
        Ok(())
    }
}
