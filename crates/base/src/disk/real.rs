//! The operating system's files.

use super::{DirEntry, Disk, File, FileInfo, OpenMode, Space};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::UNIX_EPOCH;

#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

/// Pages come and go in pieces, and next to one another at the same time: so one byte in so many is looked at. A look costs a system call and
/// a line of the cache; at every 64 KiB they were a tenth of what sending costs.
const LOOK_STEP: u64 = 256 * 1024;
/// Pages that are asked for come in pieces of the disk's choice: one byte in so many is waited for.
const WAIT_STEP: u64 = 64 * 1024;
/// What was written last is taken to be in the page cache, up to so many bytes.
const HOT: u64 = 1024 * 1024;

struct RealFile {
    file: fs::File,
    /// From here on everything was written just now, by this process.
    hot_from: AtomicU64,
}

impl RealFile {
    fn wrote(&self, offset: u64, len: usize) {
        let hot_from = self.hot_from.load(Relaxed);
        // A race between writers makes a hint worse, no more.
        let from = if offset < hot_from { offset } else { hot_from.max((offset + len as u64).saturating_sub(HOT)) };
        if from != hot_from {
            self.hot_from.store(from, Relaxed);
        }
    }

    /// Looks at the first byte of the range, one in every `step` bytes and the last; gives the first place where `is_there` says no.
    fn probe(offset: u64, len: usize, step: u64, mut is_there: impl FnMut(u64) -> bool) -> Option<u64> {
        let end = offset + len as u64;
        let mut at = offset;
        while at < end {
            if !is_there(at) {
                return Some(at);
            }
            let next = (at / step + 1) * step;
            at = if at < end - 1 { next.min(end - 1) } else { end };
        }
        None
    }
}

impl File for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match self.file.read_at(buf, offset) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(buf, offset)?;
        self.wrote(offset, buf.len());
        Ok(())
    }

    fn write_two_at(&self, first: &[u8], second: &[u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        // A short write is rare; what is left of it is written the plain way.
        while done < first.len() {
            let buffers = [io::IoSlice::new(&first[done..]), io::IoSlice::new(second)];
            match rustix::io::pwritev(&self.file, &buffers, offset + done as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => done += n,
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        let second_done = done - first.len();
        self.file.write_all_at(&second[second_done..], offset + done as u64)?;
        self.wrote(offset, first.len() + second.len());
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn resident(&self, offset: u64, len: usize) -> usize {
        if offset >= self.hot_from.load(Relaxed) {
            return len;
        }
        let is_there = |at| {
            let mut byte = [0];
            let mut buffers = [io::IoSliceMut::new(&mut byte)];
            let read = rustix::io::preadv2(&self.file, &mut buffers, at, rustix::io::ReadWriteFlags::NOWAIT);
            // Not every file system can tell; then it is as if all were there.
            read != Err(rustix::io::Errno::AGAIN)
        };
        RealFile::probe(offset, len, LOOK_STEP, is_there).map_or(len, |at| (at - offset) as usize)
    }

    fn warm(&self, offset: u64, len: usize) {
        // As much again behind it: who reads on finds it there.
        let wanted = std::num::NonZeroU64::new(2 * len as u64);
        let _ = rustix::fs::fadvise(&self.file, offset, wanted, rustix::fs::Advice::WillNeed);
        RealFile::probe(offset, len, WAIT_STEP, |at| self.file.read_at(&mut [0], at).is_ok());
    }

    fn reserve(&self, len: u64) {
        // Not every file system can; the file then grows as it is written.
        let _ = rustix::fs::fallocate(&self.file, rustix::fs::FallocateFlags::KEEP_SIZE, 0, len);
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.as_fd())
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => &mut options,
            OpenMode::ReadWrite => options.write(true),
            OpenMode::Create => options.write(true).create(true).truncate(false),
            OpenMode::Truncate => options.write(true).create(true).truncate(true),
        };
        Ok(Arc::new(RealFile { file: options.open(path)?, hot_from: AtomicU64::new(u64::MAX) }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            // Names that are not UTF-8 cannot be Kafka's; they are shown lossily and never opened.
            let name = entry.file_name().to_string_lossy().into_owned();
            entries.push(DirEntry { name, is_dir: entry.file_type()?.is_dir() });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn info(&self, path: &Path) -> io::Result<FileInfo> {
        let meta = fs::metadata(path)?;
        let modified_ms = meta.modified()?.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
        Ok(FileInfo { len: meta.len(), is_dir: meta.is_dir(), modified_ms })
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir_all(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn set_read_only(&self, path: &Path) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o400))
    }

    fn set_modified(&self, path: &Path, modified_ms: i64) -> io::Result<()> {
        let time = UNIX_EPOCH + std::time::Duration::from_millis(modified_ms.max(0) as u64);
        fs::OpenOptions::new().write(true).open(path)?.set_modified(time)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Space { total: bytes(stat.f_blocks), usable: bytes(stat.f_bavail) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_see_both_ends_and_every_step() {
        let seen = |offset, len| {
            let mut seen = Vec::new();
            assert_eq!(
                RealFile::probe(offset, len, 65_536, |at| {
                    seen.push(at);
                    true
                }),
                None
            );
            seen
        };
        assert_eq!(seen(5, 0), Vec::<u64>::new());
        assert_eq!(seen(5, 1), [5]);
        assert_eq!(seen(5, 10), [5, 14]);
        assert_eq!(seen(65_535, 65_540), [65_535, 65_536, 131_072, 131_074]);
        assert_eq!(RealFile::probe(0, 300_000, 65_536, |at| at < 131_072), Some(131_072));
    }

    #[test]
    fn what_was_written_just_now_is_resident() {
        let path = std::env::temp_dir().join(format!("gregor-resident-{}", std::process::id()));
        let file = RealDisk.open(&path, OpenMode::Truncate).unwrap();
        file.write_at(&[1; 100_000], 0).unwrap();
        file.warm(0, 100_000);
        assert_eq!((file.resident(0, 100_000), file.resident(99_999, 1)), (100_000, 1));
        std::fs::remove_file(path).unwrap();
    }
}
