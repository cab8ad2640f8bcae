//! The disk seam. Everything below the shell reaches files through `Disk` and `File`, so that a simulated disk that loses
//! unsynced data, tears writes and fails can stand in for the real one.
//!
//! Guarantees: `write_at` is visible to later `read_at` at once; it is durable only after `sync_data` (content) and, for names,
//! `sync_dir`. Non-guarantees: writes are not atomic, and their order on the medium is unknown until synced.

mod mem;
mod open_files;
mod real;
mod watched;

use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use mem::{Faults, MemDisk, Survival};
pub use open_files::{KeptFile, OpenFiles};
pub use real::RealDisk;
pub use watched::{DirFailure, DirFailures, WatchedDisk};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading only.
    Read,
    /// An existing file, for reading and writing.
    ReadWrite,
    /// Reading and writing; created empty when absent, kept as it is when present.
    Create,
    /// Reading and writing; an existing file is cut to nothing.
    Truncate,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    pub name: String,
    pub is_dir: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileInfo {
    pub len: u64,
    pub is_dir: bool,
    /// Milliseconds since the Unix epoch.
    pub modified_ms: i64,
}

/// Bytes of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    pub total: u64,
    /// Free for this process.
    pub usable: u64,
}

/// A file that several threads may use at once; all positions are explicit.
pub trait File: Send + Sync {
    /// Reads up to `buf.len()` bytes; 0 means end of file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `buf`.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
    /// Writes `first` and `second` one after the other, in one call where the system has one.
    fn write_two_at(&self, first: &[u8], second: &[u8], offset: u64) -> io::Result<()> {
        self.write_at(first, offset)?;
        self.write_at(second, offset + first.len() as u64)
    }
    fn len(&self) -> io::Result<u64>;
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes content and length durable.
    fn sync_data(&self) -> io::Result<()>;
    /// Starts writing dirty pages of this range back without waiting; a hint.
    fn start_writeback(&self, _offset: u64, _len: u64) {}
    /// Sets space aside for a file that will grow to `len`, which stays as long as it is; a hint.
    fn reserve(&self, _len: u64) {}
    /// How many bytes from `offset` on can be read without waiting for a disk, at most `len`, as far as can be told cheaply.
    fn resident(&self, _offset: u64, len: usize) -> usize {
        len
    }
    /// Waits until these bytes can be read without waiting, and has more brought after them; a hint.
    fn warm(&self, _offset: u64, _len: usize) {}
    /// The descriptor for sendfile, where there is one.
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
    /// Told by who used `fd` when that failed.
    fn failed(&self, _error: &io::Error) {}

    /// Fills `buf` or fails with `UnexpectedEof`.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buf.len() {
            match self.read_at(&mut buf[done..], offset + done as u64)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => done += n,
            }
        }
        Ok(())
    }
}

pub trait Disk: Send + Sync {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>>;
    /// The entries of a directory, sorted by name.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;
    fn info(&self, path: &Path) -> io::Result<FileInfo>;
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Atomically replaces `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Lets only the owner read the file, and nobody write it (mode 0400), where the disk knows permissions.
    fn set_read_only(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }
    /// Sets when a file was last changed, in milliseconds since the Unix epoch, where the disk knows times.
    fn set_modified(&self, _path: &Path, _modified_ms: i64) -> io::Result<()> {
        Ok(())
    }
    /// Of the file system that `path` is on.
    fn space(&self, path: &Path) -> io::Result<Space>;
    /// Takes the log directory that `path` is in offline, where somebody watches over that (`WatchedDisk`). Errors that come from this disk
    /// need not be told; this is for what they do not show, such as data that reads back wrong.
    fn directory_failed(&self, _path: &Path, _reason: &io::Error) {}
    /// What bounds the number of files that stay open; nothing does where there is none.
    fn open_files(&self) -> Option<&OpenFiles> {
        None
    }

    fn exists(&self, path: &Path) -> bool {
        self.info(path).is_ok()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path, OpenMode::Read)?;
        let mut bytes = vec![0; file.len()? as usize];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Writes `path.tmp`, syncs it, renames it over `path` and syncs the directory: a reader sees the old or the new content.
    fn write_atomically(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut tmp = path.as_os_str().to_owned();
        tmp.push(".tmp");
        let tmp = PathBuf::from(tmp);
        let file = self.open(&tmp, OpenMode::Truncate)?;
        file.write_at(bytes, 0)?;
        file.sync_data()?;
        self.rename(&tmp, path)?;
        match path.parent() {
            Some(dir) => self.sync_dir(dir),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
