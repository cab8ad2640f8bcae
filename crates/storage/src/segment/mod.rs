//! One segment: a file of batches and its indexes. Here: what it is made of, and its files; `append` writes, `search` finds places,
//! `time` finds timestamps, `recover` brings indexes and file in line after a start or a cut. Kafka: LogSegment.

mod append;
mod recover;
mod search;
mod time;

use crate::error::LogError;
use crate::index::txn::TxnIndex;
use crate::index::{Entry, Index, OffsetEntry, TimeEntry};
use crate::lazy_file::LazyFile;
use crate::log::CLEANED;
use base::disk::{Disk, File, OpenMode};
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

pub(crate) use append::Appended;
pub(crate) use recover::{Damage, Resumed};

/// The batches appended last, whose places need no index; most fetches read here.
const RECENT: usize = 128;

/// With as many entries missing in the file of the active segment's index, a flush writes them: with the default index.interval.bytes a
/// recovery reads the headers of 2 MiB at most for want of them.
const PERSIST_AT: usize = 512;

/// A batch's place in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub position: u64,
    pub size: u64,
}

pub(crate) struct Segment {
    pub base_offset: i64,
    pub size: u64,
    log: LazyFile,
    offsets: Index<OffsetEntry>,
    times: Index<TimeEntry>,
    pub txns: TxnIndex,
    /// (timestamp, last offset of its batch); -1 when there is none.
    max_timestamp: OnceLock<(i64, i64)>,
    /// Max timestamp of the first batch: where segment.ms starts to count.
    first_timestamp: OnceLock<i64>,
    bytes_since_index: u64,
    pub created_ms: i64,
    pub jitter_ms: i64,
    recent: VecDeque<(i64, u64)>,
    /// The index files hold all entries, durably.
    pub indexes_synced: bool,
    /// An index entry was found to point wrong: until the indexes are rebuilt they are not used.
    misled: AtomicBool,
    /// Where bytes begin that are known to be no batch.
    holes: Vec<u64>,
    /// More space than the records need was set aside for the file.
    reserved: bool,
}

pub(crate) fn file_name(offset: i64, suffix: &str) -> String {
    format!("{offset:020}{suffix}")
}

pub(crate) const LOG: &str = ".log";
pub(crate) const OFFSET_INDEX: &str = ".index";
pub(crate) const TIME_INDEX: &str = ".timeindex";
pub(crate) const TXN_INDEX: &str = ".txnindex";
pub(crate) const FILES: [&str; 4] = [LOG, OFFSET_INDEX, TIME_INDEX, TXN_INDEX];

impl Segment {
    pub fn create(disk: &dyn Disk, dir: &Path, base_offset: i64, created_ms: i64, jitter_ms: i64) -> Result<Segment, LogError> {
        Self::create_as(disk, dir, base_offset, "", created_ms, jitter_ms)
    }

    /// With the names of compaction output.
    pub fn create_cleaned(disk: &dyn Disk, dir: &Path, base_offset: i64, created_ms: i64, jitter_ms: i64) -> Result<Segment, LogError> {
        let left_over = dir.join(file_name(base_offset, TXN_INDEX) + CLEANED);
        match disk.remove_file(&left_over) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(LogError::io("cannot remove", left_over)(e)),
            _ => {}
        }
        Self::create_as(disk, dir, base_offset, CLEANED, created_ms, jitter_ms)
    }

    fn create_as(
        disk: &dyn Disk,
        dir: &Path,
        base_offset: i64,
        ending: &str,
        created_ms: i64,
        jitter_ms: i64,
    ) -> Result<Segment, LogError> {
        let path = |suffix| dir.join(file_name(base_offset, suffix) + ending);
        let error = |path: &PathBuf| LogError::io("cannot create", path.clone());
        let (log, offsets, times) = (path(LOG), path(OFFSET_INDEX), path(TIME_INDEX));
        Ok(Segment {
            base_offset,
            size: 0,
            log: LazyFile::create(disk, log.clone()).map_err(error(&log))?,
            offsets: Index::create(disk, offsets.clone()).map_err(error(&offsets))?,
            times: Index::create(disk, times.clone()).map_err(error(&times))?,
            txns: TxnIndex::new(path(TXN_INDEX)),
            max_timestamp: OnceLock::from((-1, -1)),
            first_timestamp: OnceLock::new(),
            bytes_since_index: 0,
            created_ms,
            jitter_ms,
            recent: VecDeque::new(),
            indexes_synced: false,
            misled: AtomicBool::new(false),
            holes: Vec::new(),
            reserved: false,
        })
    }

    /// An existing segment; nothing but its length is looked at.
    pub fn open(disk: &dyn Disk, dir: &Path, base_offset: i64, created_ms: i64, jitter_ms: i64) -> Result<Segment, LogError> {
        let path = |suffix| dir.join(file_name(base_offset, suffix));
        let log = path(LOG);
        let size = disk.info(&log).map_err(LogError::io("cannot stat", &log))?.len;
        Ok(Segment {
            base_offset,
            size,
            log: LazyFile::new(log),
            offsets: Index::cold(path(OFFSET_INDEX)),
            times: Index::cold(path(TIME_INDEX)),
            txns: TxnIndex::new(path(TXN_INDEX)),
            max_timestamp: OnceLock::new(),
            first_timestamp: OnceLock::new(),
            bytes_since_index: 0,
            created_ms,
            jitter_ms,
            recent: VecDeque::new(),
            indexes_synced: true,
            misled: AtomicBool::new(false),
            holes: Vec::new(),
            reserved: false,
        })
    }

    fn io(&self, action: &'static str) -> impl FnOnce(std::io::Error) -> LogError {
        LogError::io(action, self.log.path())
    }

    pub fn log_path(&self) -> &Path {
        self.log.path()
    }

    /// For preallocate: sets the space of a whole segment aside.
    pub fn reserve(&mut self, disk: &dyn Disk, bytes: u64) -> Result<(), LogError> {
        self.file(disk)?.reserve(bytes);
        self.reserved = true;
        Ok(())
    }

    /// What was set aside and is not needed goes back.
    pub fn give_back_reserve(&mut self, disk: &dyn Disk) -> Result<(), LogError> {
        if std::mem::take(&mut self.reserved) {
            self.file(disk)?.set_len(self.size).map_err(self.io("cannot give back the rest of"))?;
        }
        Ok(())
    }

    pub fn file(&self, disk: &dyn Disk) -> Result<Arc<dyn File>, LogError> {
        self.log.get(disk).map_err(self.io("cannot open"))
    }

    fn relative(&self, offset: i64) -> u32 {
        offset.saturating_sub(self.base_offset).clamp(0, i64::from(i32::MAX)) as u32
    }

    /// The last time entry, forced, when the segment gets no more appends.
    fn finish_times(&mut self, disk: &dyn Disk) -> Result<(), LogError> {
        let (max, offset) = self.max_timestamp(disk)?;
        if max >= 0 {
            self.times.push(TimeEntry { timestamp: max, relative_offset: self.relative(offset) });
        }
        Ok(())
    }

    /// At roll: indexes get their last entries and go to their files for good.
    pub fn seal(&mut self, disk: &dyn Disk) -> Result<(), LogError> {
        self.indexes_synced = false;
        self.give_back_reserve(disk)?;
        self.finish_times(disk)?;
        let error = "cannot write the indexes of";
        self.offsets.seal(disk).map_err(LogError::io(error, self.log.path()))?;
        self.times.seal(disk).map_err(LogError::io(error, self.log.path()))?;
        self.recent = VecDeque::new();
        Ok(())
    }

    /// Sizes of the offset index and the time index.
    pub fn index_bytes(&self, disk: &dyn Disk) -> Result<(u64, u64), LogError> {
        let bytes = |entries: usize, size: usize| (entries * size) as u64;
        let offsets = self.offsets.len(disk).map_err(self.io("cannot read the indexes of"))?;
        let times = self.times.len(disk).map_err(self.io("cannot read the indexes of"))?;
        Ok((bytes(offsets, OffsetEntry::SIZE), bytes(times, TimeEntry::SIZE)))
    }

    fn paths(&self) -> [(&'static str, &Path); 4] {
        [(LOG, self.log.path()), (OFFSET_INDEX, self.offsets.path()), (TIME_INDEX, self.times.path()), (TXN_INDEX, self.txns.path())]
    }

    /// Makes a sealed segment durable with its indexes; the names are for the caller.
    pub fn sync(&mut self, disk: &dyn Disk) -> Result<(), LogError> {
        for (_, path) in self.paths() {
            match disk.open(path, OpenMode::ReadWrite).and_then(|file| file.sync_data()) {
                Err(e) if e.kind() != io::ErrorKind::NotFound || path != self.txns.path() => {
                    return Err(LogError::io("cannot sync", path)(e));
                }
                _ => {}
            }
        }
        self.indexes_synced = true;
        Ok(())
    }

    /// Gives all files names with another ending, the segment first, as Kafka does: a start tells by it how far this came.
    pub fn rename(&mut self, disk: &dyn Disk, dir: &Path, ending: &str) -> Result<(), LogError> {
        for (suffix, from) in self.paths().map(|(suffix, path)| (suffix, path.to_owned())) {
            let to = dir.join(file_name(self.base_offset, suffix) + ending);
            if from == to {
                continue;
            }
            match disk.rename(&from, &to) {
                Err(e) if e.kind() != io::ErrorKind::NotFound || suffix != TXN_INDEX => return Err(LogError::io("cannot rename", from)(e)),
                _ => {}
            }
            match suffix {
                LOG => self.log.set_path(to),
                OFFSET_INDEX => self.offsets.set_path(to),
                TIME_INDEX => self.times.set_path(to),
                _ => self.txns.set_path(to),
            }
        }
        Ok(())
    }

    /// Removes what is there of its files; what cannot be removed is logged.
    pub fn remove_files(&self, disk: &dyn Disk) {
        for (_, path) in self.paths() {
            if let Err(error) = disk.remove_file(path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(file = %path.display(), %error, "cannot remove output of the cleaner");
            }
        }
    }

    /// Before a flush: the index files hold what memory holds, all of it or nearly so.
    pub fn persist_indexes(&mut self, disk: &dyn Disk, all: bool) -> Result<(), LogError> {
        let error = "cannot write the indexes of";
        if !all && self.offsets.unwritten() < PERSIST_AT {
            return Ok(());
        }
        self.offsets.persist(disk).map_err(LogError::io(error, self.log.path()))?;
        self.times.persist(disk).map_err(LogError::io(error, self.log.path()))
    }

    /// The index files, for a sync elsewhere.
    pub fn index_paths(&self, dir: &Path) -> Vec<PathBuf> {
        let always = [OFFSET_INDEX, TIME_INDEX].map(|suffix| dir.join(file_name(self.base_offset, suffix)));
        always.into_iter().chain(self.txns.path_if_any().map(Path::to_owned)).collect()
    }
}
