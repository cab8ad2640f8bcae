//! Sparse indexes of a segment, searched in their files. Of the one that is appended to the end lies in memory, and reaches its file in pieces of
//! some hundred entries, at flush, roll and close. Byte formats are Kafka's (OffsetIndex, TimeIndex); recovery rebuilds what a crash lost.

mod entry;
mod search;
pub mod txn;

use crate::lazy_file::LazyFile;
use base::disk::{Disk, File, OpenMode};
pub use entry::{Entry, OffsetEntry, TimeEntry};
use search::search_file;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

pub(crate) struct Index<E> {
    file: LazyFile,
    entries: Entries<E>,
    /// Which entry of the file the last search found: who reads on from there finds the next one soon behind it. A hint.
    found: AtomicUsize,
}

/// How many entries at the end of a growing index stay in memory, at most twice as many of those that the file has: most lookups are there.
const KEPT: usize = 256;
/// Room for an entry of either kind.
const ENTRY_MAX: usize = 12;
/// How many are read at first of an index that is sound.
const READ_AT_FIRST: usize = 32;

enum Entries<E> {
    /// That of the segment that is appended to.
    Growing(Growing<E>),
    /// In the file only.
    Cold,
}

struct Growing<E> {
    /// The last entries; the file has all that come before them.
    recent: Vec<E>,
    first: usize,
    /// How many the file has.
    written: usize,
}

impl<E> Growing<E> {
    const EMPTY: Self = Self { recent: Vec::new(), first: 0, written: 0 };

    fn len(&self) -> usize {
        self.first + self.recent.len()
    }

    /// Forgets what the file has, but for the last of it.
    fn trim(&mut self) {
        if self.recent.len() > 2 * KEPT {
            let surplus = (self.recent.len() - KEPT).min(self.written - self.first);
            self.recent.drain(..surplus);
            self.first += surplus;
        }
    }
}

impl<E: Entry> Index<E> {
    /// A new empty index with its file.
    pub fn create(disk: &dyn Disk, path: PathBuf) -> io::Result<Self> {
        disk.open(&path, OpenMode::Truncate)?;
        Ok(Self { file: LazyFile::new(path), entries: Entries::Growing(Growing::EMPTY), found: AtomicUsize::new(0) })
    }

    /// An index whose file is searched where it lies; a missing file counts as empty.
    pub fn cold(path: PathBuf) -> Self {
        Self { file: LazyFile::new(path), entries: Entries::Cold, found: AtomicUsize::new(0) }
    }

    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Where the file is from now on; for one that is renamed.
    pub fn set_path(&mut self, path: PathBuf) {
        self.file.set_path(path);
    }

    /// To append to it after a clean stop: looks at the end only.
    pub fn open_end(&mut self, disk: &dyn Disk) -> io::Result<()> {
        if matches!(self.entries, Entries::Growing(_)) {
            return Ok(());
        }
        let Some((file, size)) = self.file_if_any(disk)? else { return Ok(()) };
        let in_file = (size / E::SIZE as u64) as usize;
        let first = in_file.saturating_sub(READ_AT_FIRST);
        let mut bytes = vec![0; (in_file - first) * E::SIZE];
        file.read_exact_at(&mut bytes, (first * E::SIZE) as u64)?;
        let recent = sound(&bytes);
        if recent.len() * E::SIZE != bytes.len() || (in_file * E::SIZE) as u64 != size {
            // Never trimmed, or damaged.
            return self.load(disk);
        }
        self.entries = Entries::Growing(Growing { recent, first, written: in_file });
        Ok(())
    }

    /// To append to it: looks at all of it, and cuts what is no entry.
    pub fn load(&mut self, disk: &dyn Disk) -> io::Result<()> {
        if matches!(self.entries, Entries::Growing(_)) {
            return Ok(());
        }
        let Some((file, size)) = self.file_if_any(disk)? else { return Ok(()) };
        let mut bytes = vec![0; size as usize];
        file.read_exact_at(&mut bytes, 0)?;
        let recent: Vec<E> = sound(&bytes);
        let written = recent.len();
        if (written * E::SIZE) as u64 != size {
            file.set_len((written * E::SIZE) as u64)?;
        }
        let mut growing = Growing { recent, first: 0, written };
        growing.trim();
        growing.recent.shrink_to_fit();
        self.entries = Entries::Growing(growing);
        Ok(())
    }

    /// The file and its size; without one the index is empty.
    fn file_if_any(&mut self, disk: &dyn Disk) -> io::Result<Option<(Arc<dyn File>, u64)>> {
        match disk.open(self.file.path(), OpenMode::ReadWrite) {
            Ok(file) => {
                let size = file.len()?;
                Ok(Some((file, size)))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.entries = Entries::Growing(Growing::EMPTY);
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    pub fn len(&self, disk: &dyn Disk) -> io::Result<usize> {
        match &self.entries {
            Entries::Growing(growing) => Ok(growing.len()),
            Entries::Cold => match self.file.get_if_any(disk)? {
                Some(file) => Ok(file.len()? as usize / E::SIZE),
                None => Ok(0),
            },
        }
    }

    /// The number of entries of the index being appended to; 0 for a cold one.
    pub fn growing_len(&self) -> usize {
        match &self.entries {
            Entries::Growing(growing) => growing.len(),
            Entries::Cold => 0,
        }
    }

    /// How many entries are only in memory.
    pub fn unwritten(&self) -> usize {
        match &self.entries {
            Entries::Growing(growing) => growing.len() - growing.written,
            Entries::Cold => 0,
        }
    }

    pub fn get(&self, disk: &dyn Disk, at: usize) -> io::Result<Option<E>> {
        if let Entries::Growing(growing) = &self.entries
            && at >= growing.first
        {
            return Ok(growing.recent.get(at - growing.first).copied());
        }
        let mut bytes = [0; ENTRY_MAX];
        let bytes = &mut bytes[..E::SIZE];
        match self.file.get(disk)?.read_exact_at(bytes, (at * E::SIZE) as u64) {
            Ok(()) => Ok(Some(E::decode(bytes))),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(e) => Err(e),
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
        Ok(self.search(disk, before)?.0)
    }

    /// The last entry that satisfies `before`.
    pub fn floor(&self, disk: &dyn Disk, before: impl Fn(&E) -> bool) -> io::Result<Option<E>> {
        Ok(self.search(disk, before)?.1)
    }

    /// How many leading entries satisfy `before`, and the last of them.
    fn search(&self, disk: &dyn Disk, before: impl Fn(&E) -> bool) -> io::Result<(usize, Option<E>)> {
        let len = match &self.entries {
            Entries::Growing(growing) if growing.first == 0 || growing.recent.first().is_some_and(&before) => {
                let count = growing.recent.partition_point(before);
                return Ok((growing.first + count, growing.recent[..count].last().copied()));
            }
            Entries::Growing(growing) => growing.first,
            Entries::Cold => self.len(disk)?,
        };
        if len == 0 {
            return Ok((0, None));
        }
        search_file(self.file.get(disk)?.as_ref(), len, &self.found, before)
    }

    /// Only for an index that grows.
    pub fn push(&mut self, entry: E) {
        if let Entries::Growing(growing) = &mut self.entries
            && growing.recent.last().is_none_or(|last| last.precedes(&entry))
        {
            growing.recent.push(entry);
        }
    }

    /// Brings the file up to the entries in memory.
    pub fn persist(&mut self, disk: &dyn Disk) -> io::Result<()> {
        let Entries::Growing(growing) = &mut self.entries else { return Ok(()) };
        let unwritten = &growing.recent[growing.written - growing.first..];
        if unwritten.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(unwritten.len() * E::SIZE);
        for entry in unwritten {
            entry.encode(&mut bytes);
        }
        let file = disk.open(self.file.path(), OpenMode::Create)?;
        file.write_at(&bytes, (growing.written * E::SIZE) as u64)?;
        growing.written = growing.len();
        growing.trim();
        Ok(())
    }

    /// Writes what is missing, cuts the file to its entries and forgets them.
    pub fn seal(&mut self, disk: &dyn Disk) -> io::Result<()> {
        self.persist(disk)?;
        self.entries = Entries::Cold;
        self.file.release();
        Ok(())
    }

    /// Empties the index, to append to it.
    pub fn reset(&mut self, disk: &dyn Disk) -> io::Result<()> {
        disk.open(self.file.path(), OpenMode::Truncate)?;
        self.file.release();
        self.entries = Entries::Growing(Growing::EMPTY);
        Ok(())
    }

    /// Keeps the leading entries that satisfy `keep`, to append to them.
    pub fn truncate(&mut self, disk: &dyn Disk, keep: impl Fn(&E) -> bool) -> io::Result<()> {
        self.load(disk)?;
        let len = self.partition_point(disk, keep)?;
        let Entries::Growing(growing) = &mut self.entries else { return Ok(()) };
        if len < growing.written {
            disk.open(self.file.path(), OpenMode::ReadWrite)?.set_len((len * E::SIZE) as u64)?;
            growing.written = len;
        }
        if len >= growing.first {
            growing.recent.truncate(len - growing.first);
        }
        if len < growing.first || (growing.recent.is_empty() && len > 0) {
            // The newest of what is left lies in the file.
            self.entries = Entries::Cold;
            return self.open_end(disk);
        }
        Ok(())
    }
}

/// The entries before the first that cannot follow. A first entry of zeros is the untouched tail of a preallocated file.
fn sound<E: Entry>(bytes: &[u8]) -> Vec<E> {
    let mut entries: Vec<E> = Vec::with_capacity(bytes.len() / E::SIZE);
    if bytes.len() >= E::SIZE && bytes[..E::SIZE].iter().all(|b| *b == 0) {
        return entries;
    }
    for chunk in bytes.chunks_exact(E::SIZE) {
        let entry = E::decode(chunk);
        if entries.last().is_some_and(|last| !last.precedes(&entry)) {
            break;
        }
        entries.push(entry);
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::search::WINDOW_BYTES;
    use super::*;
    use base::disk::MemDisk;

    const WINDOW: usize = WINDOW_BYTES / OffsetEntry::SIZE;

    fn entry(n: usize) -> OffsetEntry {
        OffsetEntry { relative_offset: n as u32 * 10, position: n as u32 * 100 }
    }

    /// Entries 1 to `count`.
    fn grown(disk: &MemDisk, count: usize) -> Index<OffsetEntry> {
        let mut index = Index::create(disk, PathBuf::from("/i")).unwrap();
        (1..=count).for_each(|n| index.push(entry(n)));
        index.persist(disk).unwrap();
        index
    }

    fn check(index: &Index<OffsetEntry>, disk: &MemDisk, count: usize) {
        assert_eq!(index.len(disk).unwrap(), count);
        assert_eq!(index.last(disk).unwrap(), (count > 0).then(|| entry(count)));
        for n in 1..=count {
            assert_eq!(index.get(disk, n - 1).unwrap(), Some(entry(n)));
            let floor = index.floor(disk, |e| e.relative_offset <= n as u32 * 10 + 5).unwrap();
            assert_eq!(floor, Some(entry(n)));
        }
        assert_eq!(index.get(disk, count).unwrap(), None);
        assert_eq!(index.floor(disk, |e| e.relative_offset <= 5).unwrap(), None);
    }

    #[test]
    fn little_of_a_long_index_stays_in_memory_and_all_of_it_is_found() {
        let disk = MemDisk::new();
        for count in [0, 1, KEPT, 2 * KEPT, 2 * KEPT + 1, 10 * KEPT] {
            let mut index = grown(&disk, count);
            check(&index, &disk, count);
            let Entries::Growing(growing) = &index.entries else { panic!("it grows") };
            assert!(growing.recent.len() <= 2 * KEPT);
            for open in [Index::open_end, Index::load] {
                index.seal(&disk).unwrap();
                open(&mut index, &disk).unwrap();
                check(&index, &disk, count);
                index.push(entry(count + 1));
                check(&index, &disk, count + 1);
                index.truncate(&disk, |e| e.relative_offset <= count as u32 * 10).unwrap();
                check(&index, &disk, count);
            }
        }
    }

    #[test]
    fn searches_in_any_order_find_the_same() {
        let disk = MemDisk::new();
        let count = 20 * WINDOW;
        let mut index = grown(&disk, count);
        for sealed in [false, true] {
            if sealed {
                index.seal(&disk).unwrap();
            }
            // Strides around the size of a window, forwards and, modulo the length, backwards.
            for stride in [1, 7, WINDOW - 1, WINDOW, WINDOW + 1, 5 * WINDOW + 3, count, count - 1, count - WINDOW] {
                let mut at = 0;
                for _ in 0..200 {
                    at = (at + stride) % (count + 1);
                    let (found, last) = index.search(&disk, |e| e.relative_offset <= at as u32 * 10 + 5).unwrap();
                    assert_eq!((found, last), (at, (at > 0).then(|| entry(at))), "stride {stride}");
                }
            }
        }
    }

    #[test]
    fn a_file_that_was_cut_behind_its_back_is_searched_as_far_as_it_goes() {
        let disk = MemDisk::new();
        let index = grown(&disk, 20 * WINDOW);
        disk.open(Path::new("/i"), OpenMode::ReadWrite).unwrap().set_len(10 * WINDOW as u64 * 8 + 3).unwrap();
        for at in [5, 9 * WINDOW, 10 * WINDOW, 15 * WINDOW] {
            let floor = index.floor(&disk, |e| e.relative_offset <= at as u32 * 10).unwrap();
            assert!(floor.is_some_and(|found| found.relative_offset <= at as u32 * 10), "{at}: {floor:?}");
        }
    }

    #[test]
    fn what_is_cut_goes_wherever_it_lies() {
        for left in [0, 1, 5, KEPT, 9 * KEPT, 10 * KEPT - 1, 10 * KEPT, 10 * KEPT + 3] {
            let disk = MemDisk::new();
            let mut index = grown(&disk, 10 * KEPT);
            (1..=7).for_each(|n| index.push(entry(10 * KEPT + n)));
            index.truncate(&disk, |e| e.relative_offset <= left as u32 * 10).unwrap();
            check(&index, &disk, left);
            index.push(entry(left + 1));
            index.seal(&disk).unwrap();
            check(&index, &disk, left + 1);
        }
    }

    #[test]
    fn a_file_that_was_never_trimmed_ends_where_its_zeros_begin() {
        let disk = MemDisk::new();
        for (count, zeros) in [(0, 100), (3, 100), (200, 10_000), (200, 3)] {
            let mut index = grown(&disk, count);
            index.seal(&disk).unwrap();
            let file = disk.open(Path::new("/i"), OpenMode::ReadWrite).unwrap();
            file.set_len(file.len().unwrap() + zeros).unwrap();
            index.open_end(&disk).unwrap();
            check(&index, &disk, count);
            assert_eq!(file.len().unwrap(), count as u64 * 8);
        }
    }
}
