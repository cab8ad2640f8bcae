//! Aborted transactions of a segment, for read_committed consumers. The file appears with the first of them and is searched where it lies: however
//! many there are, none stays in memory. Kafka: TransactionIndex.

use super::entry::Entry;
use super::search::{WINDOW_BYTES, search_file};
use crate::lazy_file::LazyFile;
use base::disk::{Disk, File, OpenMode};
use bytes::Buf;
use std::io;
use std::ops::{ControlFlow, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::AtomicUsize;

const VERSION: i16 = 0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTxn {
    pub producer_id: i64,
    pub first_offset: i64,
    pub last_offset: i64,
    pub last_stable_offset: i64,
}

impl Entry for AbortedTxn {
    const SIZE: usize = 34;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&VERSION.to_be_bytes());
        for value in [self.producer_id, self.first_offset, self.last_offset, self.last_stable_offset] {
            out.extend_from_slice(&value.to_be_bytes());
        }
    }

    fn decode(mut bytes: &[u8]) -> Self {
        bytes.advance(size_of_val(&VERSION));
        Self {
            producer_id: bytes.get_i64(),
            first_offset: bytes.get_i64(),
            last_offset: bytes.get_i64(),
            last_stable_offset: bytes.get_i64(),
        }
    }

    fn precedes(&self, next: &Self) -> bool {
        self.last_offset <= next.last_offset
    }
}

impl AbortedTxn {
    /// The entry, if `bytes` can be one of a segment with these offsets.
    fn sane(bytes: &[u8], offsets: RangeInclusive<i64>) -> Option<Self> {
        // Zeros are what a power cut leaves of an entry.
        if bytes.len() != Self::SIZE || !bytes.starts_with(&VERSION.to_be_bytes()) || bytes.iter().all(|byte| *byte == 0) {
            return None;
        }
        let txn = Self::decode(bytes);
        let sane = txn.producer_id >= 0
            && (0..=txn.last_offset).contains(&txn.first_offset)
            && offsets.contains(&txn.last_offset)
            && (0..=*offsets.end()).contains(&txn.last_stable_offset);
        sane.then_some(txn)
    }
}

pub(crate) struct TxnIndex {
    file: LazyFile,
    /// How many entries the file has; nothing until somebody had to know.
    written: OnceLock<usize>,
    /// Entries that the file does not have yet, behind those that it has: there was no room for them, or it is made anew.
    unwritten: Vec<AbortedTxn>,
    /// Which entry of the file the last search found: a hint.
    found: AtomicUsize,
    /// The file has changed since it was last handed to a flush.
    unsynced: bool,
    /// The entries are made anew, and `unwritten` has them all; the file keeps what it has until they take its place at once: what was durable
    /// stays so.
    rebuilding: bool,
}

impl TxnIndex {
    pub fn new(path: PathBuf) -> Self {
        Self {
            file: LazyFile::new(path),
            written: OnceLock::new(),
            unwritten: Vec::new(),
            found: AtomicUsize::new(0),
            unsynced: false,
            rebuilding: false,
        }
    }

    /// The file, if this segment is known to have aborted transactions.
    pub fn path_if_any(&self) -> Option<&Path> {
        let any = self.written.get().is_some_and(|written| *written > 0) || !self.unwritten.is_empty();
        any.then(|| self.path())
    }

    /// How many entries are to be had from the file.
    fn written(&self, disk: &dyn Disk) -> io::Result<usize> {
        if let Some(written) = self.written.get() {
            return Ok(*written);
        }
        let len = match self.file.get_if_any(disk)? {
            Some(file) => file.len()?,
            None => 0,
        };
        Ok(*self.written.get_or_init(|| len as usize / AbortedTxn::SIZE))
    }

    /// Whether the file, if there is one, can be what was written for a segment that begins with `base_offset`.
    pub fn is_sane(&self, disk: &dyn Disk, base_offset: i64) -> io::Result<bool> {
        let file = match disk.open(self.path(), OpenMode::Read) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(true),
            Err(e) => return Err(e),
        };
        let limit = base_offset.saturating_add(i64::from(i32::MAX));
        let mut last: Option<AbortedTxn> = None;
        let sane = each(file.as_ref(), 0, file.len()?, |bytes| {
            last = AbortedTxn::sane(bytes, base_offset..=limit).filter(|txn| last.is_none_or(|last| last.precedes(txn)));
            if last.is_some() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(sane.is_continue())
    }

    /// Adds an entry to the file.
    pub fn append(&mut self, disk: &dyn Disk, txn: AbortedTxn) -> io::Result<()> {
        self.add(txn);
        self.persist(disk)
    }

    /// Adds what has already happened: on a full disk the entry stays in memory until the next flush, which must not succeed without it.
    pub fn note(&mut self, disk: &dyn Disk, txn: AbortedTxn) -> io::Result<()> {
        self.add(txn);
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

    fn add(&mut self, txn: AbortedTxn) {
        self.unwritten.push(txn);
        self.unsynced = true;
    }

    fn persist(&mut self, disk: &dyn Disk) -> io::Result<()> {
        if !self.rebuilding && self.unwritten.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(self.unwritten.len() * AbortedTxn::SIZE);
        self.unwritten.iter().for_each(|txn| txn.encode(&mut bytes));
        if self.rebuilding {
            self.replace(disk, &bytes)?;
            self.rebuilding = false;
        } else {
            let written = self.written(disk)?;
            let file = if written == 0 { disk.open(self.path(), OpenMode::Create)? } else { self.file.get(disk)? };
            file.write_at(&bytes, (written * AbortedTxn::SIZE) as u64)?;
        }
        self.written = OnceLock::from(self.written(disk)? + self.unwritten.len());
        self.unwritten = Vec::new();
        Ok(())
    }

    /// The file becomes `bytes`, unless it is just that.
    fn replace(&mut self, disk: &dyn Disk, bytes: &[u8]) -> io::Result<()> {
        match disk.read(self.path()) {
            Ok(old) if old == bytes => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound && bytes.is_empty() => {
                self.unsynced = false;
                return Ok(());
            }
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        disk.write_atomically(self.path(), bytes)?;
        // The open file is the one that was replaced.
        self.file.release();
        Ok(())
    }

    /// The name of the file, which is complete, if a flush has to sync it.
    pub fn unsynced(&mut self, disk: &dyn Disk) -> io::Result<Option<&Path>> {
        self.persist(disk)?;
        Ok(self.unsynced.then(|| self.path()))
    }

    /// A flush has taken it over to sync the file.
    pub fn handed_over(&mut self) {
        self.unsynced = false;
    }

    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Where the file is from now on; for one that is renamed.
    pub fn set_path(&mut self, path: PathBuf) {
        self.file.set_path(path);
    }

    /// Adds what overlaps `from..upper` to `out`; true once later segments cannot hold more.
    pub fn collect(&self, disk: &dyn Disk, from: i64, upper: i64, out: &mut Vec<(i64, i64)>) -> io::Result<bool> {
        self.visit(disk, from, upper, |txn| out.push((txn.producer_id, txn.first_offset)))
    }

    /// As `collect`, with all there is to know of each.
    pub fn collect_entries(&self, disk: &dyn Disk, from: i64, upper: i64, out: &mut Vec<AbortedTxn>) -> io::Result<bool> {
        self.visit(disk, from, upper, |txn| out.push(txn))
    }

    fn visit(&self, disk: &dyn Disk, from: i64, upper: i64, mut found: impl FnMut(AbortedTxn)) -> io::Result<bool> {
        let mut look_at = |txn: AbortedTxn| {
            if txn.last_offset >= from && txn.first_offset < upper {
                found(txn);
            }
            if txn.last_stable_offset >= upper { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let written = self.written(disk)?;
        if written > 0 {
            let file = self.file.get(disk)?;
            // What fits into a window is as soon read as searched.
            let first = match written * AbortedTxn::SIZE > WINDOW_BYTES {
                true => search_file(file.as_ref(), written, &self.found, |txn: &AbortedTxn| txn.last_offset < from)?.0,
                false => 0,
            };
            let range = [first, written].map(|at| (at * AbortedTxn::SIZE) as u64);
            if each(file.as_ref(), range[0], range[1], |bytes| look_at(AbortedTxn::decode(bytes)))?.is_break() {
                return Ok(true);
            }
        }
        Ok(self.unwritten.iter().try_for_each(|txn| look_at(*txn)).is_break())
    }

    /// Forgets all entries, for others that `note` brings.
    pub fn rebuild(&mut self) {
        self.written = OnceLock::from(0);
        self.unwritten.clear();
        self.unsynced = true;
        self.rebuilding = true;
    }

    /// Keeps the transactions that ended before `offset`.
    pub fn truncate(&mut self, disk: &dyn Disk, offset: i64) -> io::Result<()> {
        let stays = |txn: &AbortedTxn| txn.last_offset < offset;
        self.unwritten.truncate(self.unwritten.partition_point(stays));
        if self.rebuilding {
            return Ok(());
        }
        let written = self.written(disk)?;
        let Some(file) = self.file.get_if_any(disk)? else { return Ok(()) };
        let keep = match self.unwritten.is_empty() {
            true => search_file(file.as_ref(), written, &self.found, stays)?.0,
            false => written,
        };
        let size = (keep * AbortedTxn::SIZE) as u64;
        // A write that a full disk broke off has left more than `written` says.
        if file.len()? > size {
            self.unsynced = true;
            file.set_len(size)?;
            self.written = OnceLock::from(keep);
        }
        Ok(())
    }
}

/// Entries of `file` between two positions, one after the other; the last is shorter if it ends so.
fn each(file: &dyn File, from: u64, to: u64, mut look_at: impl FnMut(&[u8]) -> ControlFlow<()>) -> io::Result<ControlFlow<()>> {
    let mut buffer = [0; WINDOW_BYTES - WINDOW_BYTES % AbortedTxn::SIZE];
    let mut at = from;
    while at < to {
        let len = (to - at).min(buffer.len() as u64) as usize;
        file.read_exact_at(&mut buffer[..len], at)?;
        for entry in buffer[..len].chunks(AbortedTxn::SIZE) {
            if look_at(entry).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        at += len as u64;
    }
    Ok(ControlFlow::Continue(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::disk::MemDisk;
    use std::path::Path;

    const PATH: &str = "/t.txnindex";

    fn new() -> TxnIndex {
        TxnIndex::new(PathBuf::from(PATH))
    }

    /// The `n`th of transactions that overlap their neighbours: each begins before the one before it ends.
    fn txn(n: i64) -> AbortedTxn {
        AbortedTxn { producer_id: 7 + n % 2, first_offset: n * 10, last_offset: n * 10 + 15, last_stable_offset: n * 10 + 10 }
    }

    fn found(index: &TxnIndex, disk: &MemDisk, from: i64, upper: i64) -> (Vec<AbortedTxn>, bool) {
        let mut found = Vec::new();
        let complete = index.collect_entries(disk, from, upper, &mut found).unwrap();
        (found, complete)
    }

    /// What a walk over all of them finds.
    fn expected(count: i64, from: i64, upper: i64) -> (Vec<AbortedTxn>, bool) {
        let read = (0..count).find(|n| txn(*n).last_stable_offset >= upper);
        let overlaps = |txn: &AbortedTxn| txn.last_offset >= from && txn.first_offset < upper;
        ((0..=read.unwrap_or(count - 1)).map(txn).filter(overlaps).collect(), read.is_some())
    }

    fn check(index: &TxnIndex, disk: &MemDisk, count: i64) {
        let end = count * 10 + 30;
        for step in [1, 7, 90, 91, 450, 1801] {
            let froms: Vec<i64> = (0..end).step_by(step * 5).collect();
            for from in froms.iter().chain(froms.iter().rev()) {
                for len in [1, 12, 3000] {
                    assert!(found(index, disk, *from, from + len) == expected(count, *from, from + len), "{count}: {from}, {len}");
                }
            }
        }
    }

    #[test]
    fn any_number_is_found_in_the_file_as_by_a_walk_over_all() {
        for count in [0, 1, 2, 89, 90, 91, 92, 180, 181, 1000] {
            let disk = MemDisk::new();
            let mut index = new();
            (0..count).for_each(|n| index.append(&disk, txn(n)).unwrap());
            check(&index, &disk, count);
            assert_eq!(index.unwritten.capacity(), 0, "none stays in memory");
            assert_eq!(disk.exists(Path::new(PATH)), count > 0);
            let again = new();
            assert!(again.is_sane(&disk, 0).unwrap());
            check(&again, &disk, count);
        }
    }

    #[test]
    fn what_is_cut_is_gone_from_the_file() {
        for left in [0, 1, 89, 90, 91, 299, 300] {
            let disk = MemDisk::new();
            let mut index = new();
            (0..300).for_each(|n| index.append(&disk, txn(n)).unwrap());
            index.handed_over();
            index.truncate(&disk, txn(left).last_offset).unwrap();
            assert_eq!(index.unsynced(&disk).unwrap().is_some(), left < 300);
            check(&index, &disk, left);
            check(&new(), &disk, left);
            index.append(&disk, txn(left)).unwrap();
            check(&index, &disk, left + 1);
        }
    }

    #[test]
    fn on_a_full_disk_entries_wait_in_memory_and_are_cut_there() {
        let disk = MemDisk::new();
        let mut index = new();
        (0..100).for_each(|n| index.append(&disk, txn(n)).unwrap());
        // Room for one of them and a part of another.
        disk.set_free_space(Some(40));
        (100..105).for_each(|n| index.note(&disk, txn(n)).unwrap());
        check(&index, &disk, 105);
        assert!(index.unsynced(&disk).is_err(), "a flush has to fail");
        index.truncate(&disk, txn(103).last_offset).unwrap();
        check(&index, &disk, 103);
        check(&new(), &disk, 101);
        disk.set_free_space(Some(40));
        assert!(index.unsynced(&disk).is_err());
        index.truncate(&disk, txn(100).last_offset).unwrap();
        check(&index, &disk, 100);
        check(&new(), &disk, 100);
        (100..103).for_each(|n| index.note(&disk, txn(n)).unwrap());
        disk.set_free_space(None);
        assert!(index.unsynced(&disk).unwrap().is_some());
        check(&new(), &disk, 103);
        index.truncate(&disk, txn(98).last_offset).unwrap();
        check(&index, &disk, 98);
    }

    #[test]
    fn what_is_made_anew_takes_the_place_of_the_file_at_once() {
        let disk = MemDisk::new();
        let mut index = new();
        (0..200).for_each(|n| index.append(&disk, txn(n)).unwrap());
        check(&index, &disk, 200);
        for count in [150, 0, 170] {
            index.rebuild();
            (0..count).for_each(|n| index.note(&disk, txn(n)).unwrap());
            check(&index, &disk, count);
            index.rebuilt(&disk).unwrap();
            check(&index, &disk, count);
            check(&new(), &disk, count);
        }
        index.append(&disk, txn(170)).unwrap();
        check(&new(), &disk, 171);
    }

    #[test]
    fn a_file_that_was_cut_behind_its_back_is_an_error() {
        let disk = MemDisk::new();
        let mut index = new();
        (0..200).for_each(|n| index.append(&disk, txn(n)).unwrap());
        disk.open(Path::new(PATH), OpenMode::ReadWrite).unwrap().set_len(100 * 34).unwrap();
        assert!(
            index.collect(&disk, 0, i64::MAX, &mut Vec::new()).is_err(),
            "records of aborted transactions would pass for committed ones"
        );
    }

    #[test]
    fn what_cannot_have_been_written_is_told() {
        let whole: Vec<u8> = (0..200)
            .flat_map(|n| {
                let mut bytes = Vec::new();
                txn(n).encode(&mut bytes);
                bytes
            })
            .collect();
        let sane = |bytes: &[u8], base_offset| {
            let disk = MemDisk::new();
            disk.open(Path::new(PATH), OpenMode::Create).unwrap().write_at(bytes, 0).unwrap();
            new().is_sane(&disk, base_offset).unwrap()
        };
        assert!(sane(&whole, 0) && sane(&whole, 15) && sane(&[], 0));
        assert!(!sane(&whole, 16), "an entry of an earlier segment");
        assert!(!sane(&whole[..150 * 34 + 1], 0), "a part of an entry");
        for at in [0, 89, 90, 199] {
            for (byte, bit) in [(0, 7), (1, 0), (2, 7), (10, 7), (18, 7), (20, 0), (26, 7)] {
                let mut harmed = whole.clone();
                harmed[at * 34 + byte] ^= 1 << bit;
                assert!(!sane(&harmed, 0), "entry {at}, byte {byte}");
            }
            let mut harmed = whole.clone();
            harmed[at * 34..(at + 1) * 34].fill(0);
            assert!(!sane(&harmed, 0), "entry {at} is zeros");
        }
    }
}
