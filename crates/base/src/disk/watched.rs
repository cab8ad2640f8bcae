//! Log directories that fail. `WatchedDisk` stands before another disk and sees every error of it; one that says that a directory cannot be
//! trusted any more marks the directory as offline, once and for good, and from then on refuses every operation in it: nothing can be
//! acknowledged that a failed disk may have lost. Whoever finds out on another way tells `Disk::directory_failed` or `File::failed`.
//! It also is where the limit of open files is met: files that are only kept open make room for others.
//!
//! Used by: server, which builds it and takes the partitions of a failed directory away; storage and replica see a `Disk` like any other.
//! Never does: logging, locking of logs; a report may come from under any lock. Not a failure: a full disk, limits of the process, a file
//! that is missing from a directory that is there. Kafka: `LogDirFailureChannel`; KIP-112.

use super::{DirEntry, Disk, File, FileInfo, OpenFiles, OpenMode, Space};
use parking_lot::Mutex;
use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

/// Limits of this process, which say nothing about the directory.
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

/// As many files make room when one cannot be opened.
const ROOM: usize = 64;

/// Which of the log directories have failed, and why.
pub struct DirFailures {
    dirs: Vec<Arc<Dir>>,
    /// Files that every directory has one of at least. A directory without any is an empty mount point.
    witnesses: Vec<String>,
    told: Mutex<Told>,
}

struct Dir {
    path: PathBuf,
    failed: AtomicBool,
}

#[derive(Default)]
struct Told {
    failures: Vec<DirFailure>,
    /// How many of them `take_new` has returned.
    taken: usize,
    waker: Option<Waker>,
}

/// The first error that showed that a directory is not usable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirFailure {
    pub dir: PathBuf,
    /// What was touched at the time.
    pub path: PathBuf,
    pub reason: String,
}

/// Which says nothing about a directory.
fn is_process_limit(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
}

impl DirFailures {
    pub fn new(dirs: impl IntoIterator<Item = PathBuf>, witnesses: &[&str]) -> Self {
        let dirs = dirs.into_iter().map(|path| Arc::new(Dir { path, failed: AtomicBool::new(false) }));
        DirFailures { dirs: dirs.collect(), witnesses: witnesses.iter().map(|name| (*name).to_owned()).collect(), told: Mutex::default() }
    }

    /// Marks the directory that `path` is in as failed; only the first report of a directory counts. May be called under any lock.
    pub fn report(&self, path: &Path, reason: &io::Error) {
        if let Some(dir) = self.dir_of(path) {
            self.mark(dir, path, reason);
        }
    }

    fn mark(&self, dir: &Dir, path: &Path, reason: &io::Error) {
        if dir.failed.swap(true, Ordering::SeqCst) {
            return;
        }
        let mut told = self.told.lock();
        told.failures.push(DirFailure { dir: dir.path.clone(), path: path.to_owned(), reason: reason.to_string() });
        let waker = told.waker.take();
        drop(told);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub fn is_offline(&self, path: &Path) -> bool {
        self.dir_of(path).is_some_and(|dir| dir.failed.load(Ordering::SeqCst))
    }

    pub fn offline(&self) -> Vec<PathBuf> {
        self.dirs.iter().filter(|dir| dir.failed.load(Ordering::SeqCst)).map(|dir| dir.path.clone()).collect()
    }

    pub fn all_failed(&self) -> bool {
        self.dirs.iter().all(|dir| dir.failed.load(Ordering::SeqCst))
    }

    /// The failures that were not returned yet; `waker` is woken by the next one.
    pub fn take_new(&self, waker: &Waker) -> Vec<DirFailure> {
        let mut told = self.told.lock();
        let new = told.failures.get(told.taken..).unwrap_or_default().to_vec();
        told.taken = told.failures.len();
        told.waker = Some(waker.clone());
        new
    }

    fn dir_of(&self, path: &Path) -> Option<&Arc<Dir>> {
        // A directory may lie inside of another one; the innermost is meant.
        self.dirs.iter().filter(|dir| path.starts_with(&dir.path)).max_by_key(|dir| dir.path.as_os_str().len())
    }

    fn refuse_if_offline(&self, path: &Path) -> io::Result<()> {
        match self.dir_of(path) {
            Some(dir) => dir.refuse_if_offline(),
            None => Ok(()),
        }
    }

    /// Whether `error`, met at `path`, says that the whole directory is not usable.
    fn is_failure(&self, disk: &dyn Disk, dir: &Dir, error: &io::Error) -> bool {
        if is_process_limit(error) {
            return false;
        }
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge | ErrorKind::OutOfMemory => false,
            ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::Unsupported | ErrorKind::UnexpectedEof => false,
            ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty | ErrorKind::InvalidInput | ErrorKind::InvalidFilename => false,
            // Something is not where it should be: that concerns one file, unless the directory itself is gone.
            ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory => self.is_gone(disk, dir),
            _ => true,
        }
    }

    fn is_gone(&self, disk: &dyn Disk, dir: &Dir) -> bool {
        let has_witness = || self.witnesses.is_empty() || self.witnesses.iter().any(|name| disk.exists(&dir.path.join(name)));
        !disk.info(&dir.path).is_ok_and(|info| info.is_dir) || !has_witness()
    }

    fn judge(&self, disk: &dyn Disk, path: &Path, error: &io::Error) {
        if let Some(dir) = self.dir_of(path)
            && self.is_failure(disk, dir, error)
        {
            self.mark(dir, path, error);
        }
    }
}

impl Dir {
    fn refuse_if_offline(&self) -> io::Result<()> {
        if self.failed.load(Ordering::SeqCst) {
            return Err(io::Error::other(format!("log directory {} is offline", self.path.display())));
        }
        Ok(())
    }
}

/// A disk whose errors take log directories offline.
pub struct WatchedDisk {
    inner: Arc<dyn Disk>,
    failures: Arc<DirFailures>,
    open_files: OpenFiles,
}

impl WatchedDisk {
    /// No more than `open_files_max` files stay open from one use to the next.
    pub fn new(inner: Arc<dyn Disk>, failures: Arc<DirFailures>, open_files_max: usize) -> Self {
        WatchedDisk { inner, failures, open_files: OpenFiles::new(open_files_max) }
    }

    fn watch<T>(&self, path: &Path, operation: impl Fn(&dyn Disk) -> io::Result<T>) -> io::Result<T> {
        self.failures.refuse_if_offline(path)?;
        self.with_room(operation).inspect_err(|error| self.failures.judge(&*self.inner, path, error))
    }

    /// Files that are only kept open make room when the process has as many open as it may.
    fn with_room<T>(&self, operation: impl Fn(&dyn Disk) -> io::Result<T>) -> io::Result<T> {
        match operation(&*self.inner) {
            Err(error) if is_process_limit(&error) && self.open_files.close_some(ROOM) > 0 => operation(&*self.inner),
            result => result,
        }
    }
}

impl Disk for WatchedDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let inner = self.watch(path, |disk| disk.open(path, mode))?;
        let Some(dir) = self.failures.dir_of(path) else { return Ok(inner) };
        Ok(Arc::new(WatchedFile {
            inner,
            path: path.to_owned(),
            dir: dir.clone(),
            disk: self.inner.clone(),
            failures: self.failures.clone(),
        }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.watch(dir, |disk| disk.list(dir))
    }

    fn info(&self, path: &Path) -> io::Result<FileInfo> {
        self.watch(path, |disk| disk.info(path))
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        // Never the log directory itself: in the place of one that was unmounted it would be another file system.
        if let Some(known) = self.failures.dir_of(dir)
            && !self.inner.exists(&known.path)
        {
            self.failures.mark(known, dir, &ErrorKind::NotFound.into());
        }
        self.watch(dir, |disk| disk.create_dir_all(dir))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.watch(path, |disk| disk.remove_file(path))
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.watch(dir, |disk| disk.remove_dir_all(dir))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.failures.refuse_if_offline(to)?;
        self.watch(from, |disk| disk.rename(from, to))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.failures.refuse_if_offline(dir)?;
        self.with_room(|disk| disk.sync_dir(dir)).inspect_err(|error| match error.kind() {
            // It could not be opened, so nothing was synced.
            _ if is_process_limit(error) => {}
            ErrorKind::NotFound => self.failures.judge(&*self.inner, dir, error),
            _ => self.failures.report(dir, error),
        })
    }

    fn set_read_only(&self, path: &Path) -> io::Result<()> {
        self.watch(path, |disk| disk.set_read_only(path))
    }

    fn set_modified(&self, path: &Path, modified_ms: i64) -> io::Result<()> {
        self.watch(path, |disk| disk.set_modified(path, modified_ms))
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.watch(path, |disk| disk.space(path))
    }

    fn directory_failed(&self, path: &Path, reason: &io::Error) {
        self.failures.report(path, reason);
    }

    fn open_files(&self) -> Option<&OpenFiles> {
        Some(&self.open_files)
    }
}

struct WatchedFile {
    inner: Arc<dyn File>,
    path: PathBuf,
    dir: Arc<Dir>,
    disk: Arc<dyn Disk>,
    failures: Arc<DirFailures>,
}

impl WatchedFile {
    fn watch<T>(&self, operation: impl FnOnce(&dyn File) -> io::Result<T>) -> io::Result<T> {
        self.dir.refuse_if_offline()?;
        operation(&*self.inner).inspect_err(|error| self.judge(error))
    }

    fn judge(&self, error: &io::Error) {
        if self.failures.is_failure(&*self.disk, &self.dir, error) {
            self.failures.mark(&self.dir, &self.path, error);
        }
    }
}

impl File for WatchedFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.watch(|file| file.read_at(buf, offset))
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.watch(|file| file.write_at(buf, offset))
    }

    fn write_two_at(&self, first: &[u8], second: &[u8], offset: u64) -> io::Result<()> {
        self.watch(|file| file.write_two_at(first, second, offset))
    }

    fn len(&self) -> io::Result<u64> {
        self.watch(|file| file.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.watch(|file| file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.dir.refuse_if_offline()?;
        // After a failed sync the page cache may count as clean what never reached the disk: a second one would succeed and prove nothing.
        self.inner.sync_data().inspect_err(|error| self.failures.mark(&self.dir, &self.path, error))
    }

    fn start_writeback(&self, offset: u64, len: u64) {
        self.inner.start_writeback(offset, len);
    }

    fn reserve(&self, len: u64) {
        self.inner.reserve(len);
    }

    fn resident(&self, offset: u64, len: usize) -> usize {
        self.inner.resident(offset, len)
    }

    fn warm(&self, offset: u64, len: usize) {
        self.inner.warm(offset, len);
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.inner.fd()
    }

    fn failed(&self, error: &io::Error) {
        self.judge(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemDisk;

    const A: &str = "/data/a/t-0/0.log";
    const B: &str = "/data/b/t-1/0.log";

    fn disks() -> (MemDisk, Arc<DirFailures>, WatchedDisk) {
        let mem = MemDisk::new();
        for file in [A, B] {
            mem.create_dir_all(Path::new(file).parent().unwrap()).unwrap();
            mem.open(Path::new(file), OpenMode::Create).unwrap();
        }
        for dir in ["/data/a", "/data/b"] {
            mem.open(&Path::new(dir).join("meta.properties"), OpenMode::Create).unwrap();
        }
        let failures = Arc::new(DirFailures::new(["/data/a".into(), "/data/b".into()], &["meta.properties"]));
        let watched = WatchedDisk::new(Arc::new(mem.clone()), failures.clone(), 8);
        (mem, failures, watched)
    }

    #[test]
    fn the_first_error_takes_its_directory_offline_and_no_other() {
        let (mem, failures, disk) = disks();
        let (a, b) = (disk.open(Path::new(A), OpenMode::ReadWrite).unwrap(), disk.open(Path::new(B), OpenMode::ReadWrite).unwrap());
        mem.fail_after(Some(0));
        assert!(a.write_at(b"x", 0).is_err());
        mem.fail_after(None);
        let refused = a.sync_data().unwrap_err().to_string();
        assert!(refused.contains("/data/a is offline"), "{refused}");
        assert!(disk.open(Path::new(A), OpenMode::Read).is_err());
        b.write_at(b"x", 0).unwrap();
        b.sync_data().unwrap();
        assert_eq!((failures.offline(), failures.all_failed()), (vec!["/data/a".into()], false));
        let new = failures.take_new(Waker::noop());
        assert_eq!((new.len(), new[0].path.as_path()), (1, Path::new(A)));
        assert_eq!(failures.take_new(Waker::noop()), []);
    }

    #[test]
    fn a_full_disk_and_a_missing_file_are_no_failures() {
        let (mem, failures, disk) = disks();
        let a = disk.open(Path::new(A), OpenMode::ReadWrite).unwrap();
        mem.set_free_space(Some(0));
        assert_eq!(a.write_at(b"x", 0).unwrap_err().kind(), ErrorKind::StorageFull);
        assert!(disk.open(Path::new("/data/a/t-0/none"), OpenMode::Read).is_err());
        assert!(!disk.exists(Path::new("/data/a/none/none")));
        assert_eq!(failures.offline(), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_directory_that_is_gone_or_an_empty_mount_point_has_failed() {
        let (mem, failures, disk) = disks();
        mem.remove_dir_all(Path::new("/data/a")).unwrap();
        assert!(disk.create_dir_all(Path::new("/data/a/new-0")).is_err());
        mem.remove_file(Path::new("/data/b/meta.properties")).unwrap();
        assert!(!disk.exists(Path::new("/data/b/none")));
        assert!(failures.all_failed());
        assert!(!mem.exists(Path::new("/data/a")));
    }

    #[test]
    fn a_failed_sync_is_final_and_reports_from_elsewhere_count() {
        let (mem, failures, disk) = disks();
        mem.fail_after(Some(0));
        assert!(disk.sync_dir(Path::new("/data/b/t-1")).is_err());
        disk.directory_failed(Path::new(A), &io::Error::from_raw_os_error(5));
        assert!(failures.is_offline(Path::new(A)) && failures.is_offline(Path::new(B)));
        assert!(!failures.is_offline(Path::new("/elsewhere")));
    }
}
