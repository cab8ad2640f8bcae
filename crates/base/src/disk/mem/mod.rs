//! A disk in memory, for tests and simulation. It keeps apart what is visible and what is durable: `crash` forgets what was not synced,
//! or keeps parts of it, as a power cut does. Faults (full, broken, power gone at the n-th operation) are turned on from outside; the same
//! seed and the same operations give the same disk. Directories at the top stand for file systems of their own.

mod content;
mod faults;
mod names;

use super::{DirEntry, Disk, File, FileInfo, OpenMode, Space};
use content::Content;
use faults::{Operation, State, Verdict};
use names::{Dir, Node};
use parking_lot::Mutex;
use std::io;
use std::path::{Component, Path};
use std::sync::Arc;

pub use content::Survival;
pub use faults::Faults;

#[derive(Clone, Default)]
pub struct MemDisk {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    root: Arc<Mutex<Dir>>,
    state: Mutex<State>,
    dirty: Mutex<Dirty>,
}

/// What a crash has to look at. Something may be listed twice, or be clean by now.
#[derive(Default)]
struct Dirty {
    files: Vec<Arc<MemFile>>,
    dirs: Vec<Arc<Mutex<Dir>>>,
}

struct MemFile {
    /// The directory at the top that it was made in.
    top: String,
    content: Mutex<Content>,
}

/// A file as one `open` gave it.
struct Handle {
    shared: Arc<Shared>,
    file: Arc<MemFile>,
    generation: u64,
}

impl MemDisk {
    pub fn new() -> Self {
        Self::default()
    }

    /// Decides what random faults do from here on.
    pub fn set_seed(&self, seed: u64) {
        self.shared.state.lock().rng = fastrand::Rng::with_seed(seed);
    }

    /// Bytes that can still be written; None lifts the limit. A write that does not fit leaves what does.
    pub fn set_free_space(&self, free: Option<u64>) {
        self.shared.state.lock().free = free;
    }

    /// The same below one directory at the top.
    pub fn set_free_space_of(&self, dir: &Path, free: Option<u64>) {
        let mut state = self.shared.state.lock();
        match free {
            Some(free) => drop(state.free_below.insert(top_of(dir), free)),
            None => drop(state.free_below.remove(&top_of(dir))),
        }
    }

    /// After this many more writes and syncs, all fail with EIO; None heals the disk.
    pub fn fail_after(&self, operations: Option<u64>) {
        self.shared.state.lock().operations_left = operations;
    }

    /// What goes wrong below one directory at the top from now on.
    pub fn set_faults(&self, dir: &Path, faults: Faults) {
        self.shared.state.lock().faults.insert(top_of(dir), faults);
    }

    /// How many operations changed anything, or synced it, since the disk was made.
    pub fn operations(&self) -> u64 {
        self.shared.state.lock().operations
    }

    /// The power goes in the middle of operation `at`, counted as `operations` does; everything fails from there until `crash`.
    pub fn cut_power_at(&self, at: Option<u64>) {
        self.shared.state.lock().cut_at = at;
    }

    /// Whether the power has gone.
    pub fn is_off(&self) -> bool {
        self.shared.state.lock().is_off
    }

    /// The time that files get as their modification time.
    pub fn set_time(&self, now_ms: i64) {
        self.shared.state.lock().now_ms = now_ms;
    }

    /// How many writes and syncs there were; for tests that count system calls.
    pub fn counts(&self) -> (u64, u64) {
        let state = self.shared.state.lock();
        (state.writes, state.syncs)
    }

    /// A power cut, and the power back: names and content fall back to what was synced, except that unsynced changes may have got out,
    /// in part and in any order, as `rng` decides. Open handles are of no use afterwards.
    pub fn crash(&self, rng: &mut fastrand::Rng) {
        let survival = match rng.u8(0..8) {
            0 | 1 => Survival::Nothing,
            2 => Survival::All,
            _ => Survival::Some,
        };
        self.crash_to(survival, rng);
    }

    /// As `crash`, leaving of what was not synced what `survival` says.
    pub fn crash_to(&self, survival: Survival, rng: &mut fastrand::Rng) {
        let Dirty { files, dirs } = std::mem::take(&mut *self.shared.dirty.lock());
        for dir in dirs {
            let mut dir = dir.lock();
            let kept = match survival {
                Survival::Nothing => 0,
                Survival::Some => rng.usize(0..=dir.unsynced()),
                Survival::All => dir.unsynced(),
            };
            dir.crash(kept);
        }
        for file in files {
            file.content.lock().crash(survival, rng);
        }
        let mut state = self.shared.state.lock();
        state.is_off = false;
        state.cut_at = None;
        state.generation += 1;
    }

    /// The file systems are mounted again: what failed syncs have forgotten is gone for readers too. Open handles are of no use afterwards.
    pub fn remount(&self) {
        let files = self.shared.dirty.lock().files.clone();
        for file in files {
            file.content.lock().forget_lost();
        }
        self.shared.state.lock().generation += 1;
    }

    /// Makes every name that exists now durable, as if all directories had been synced.
    pub fn sync_names(&self) {
        for dir in std::mem::take(&mut self.shared.dirty.lock().dirs) {
            dir.lock().sync();
        }
    }

    fn dir(&self, path: &Path) -> io::Result<Arc<Mutex<Dir>>> {
        let mut current = self.shared.root.clone();
        for name in names(path)? {
            let next = match current.lock().entries.get(name) {
                Some(Node::Dir(child)) => child.clone(),
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => return Err(io::ErrorKind::NotFound.into()),
            };
            current = next;
        }
        Ok(current)
    }

    /// Looks at the directory of `path`.
    fn with_parent<T>(&self, path: &Path, f: impl FnOnce(&Dir, &str) -> io::Result<T>) -> io::Result<T> {
        let dir = self.dir(path.parent().unwrap_or(Path::new("/")))?;
        let dir = dir.lock();
        f(&dir, file_name(path)?)
    }

    /// Changes names in `dir`. When the power goes, or an error comes, in the middle, the change may have been made.
    fn change_names<T>(&self, dir: &Path, f: impl FnOnce(&mut Dir) -> io::Result<T>) -> io::Result<T> {
        let top = top_of(dir);
        let failure = {
            let mut state = self.shared.state.lock();
            match state.begin(&top, Operation::Name) {
                Verdict::Done => None,
                Verdict::Fails(error) if state.rng.bool() => Some(error),
                Verdict::Fails(error) | Verdict::Refused(error) => return Err(error),
            }
        };
        let shared_dir = self.dir(dir)?;
        let mut locked = shared_dir.lock();
        let was_dirty = locked.is_dirty();
        let out = f(&mut locked);
        if !was_dirty && locked.is_dirty() {
            self.shared.dirty.lock().dirs.push(shared_dir.clone());
        }
        failure.map_or(out, Err)
    }

    fn reading(&self, path: &Path) -> io::Result<()> {
        self.shared.state.lock().begin(&top_of(path), Operation::Read).result()
    }

    fn handle(&self, file: &Arc<MemFile>) -> Arc<dyn File> {
        let generation = self.shared.state.lock().generation;
        Arc::new(Handle { shared: self.shared.clone(), file: file.clone(), generation })
    }

    fn create_file(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let (top, name) = (top_of(path), file_name(path)?);
        let now_ms = {
            let state = self.shared.state.lock();
            if state.usable(&top) == Some(0) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            state.now_ms
        };
        let file = Arc::new(MemFile { top, content: Mutex::new(Content::new(now_ms)) });
        self.change_names(path.parent().unwrap_or(Path::new("/")), |dir| {
            dir.link(name, Node::File(file.clone()));
            Ok(())
        })?;
        Ok(self.handle(&file))
    }
}

fn names(path: &Path) -> io::Result<Vec<&str>> {
    let parts = path.components().filter(|c| !matches!(c, Component::RootDir | Component::CurDir));
    parts.map(|c| c.as_os_str().to_str().ok_or(io::ErrorKind::InvalidInput.into())).collect()
}

fn file_name(path: &Path) -> io::Result<&str> {
    path.file_name().and_then(|n| n.to_str()).ok_or(io::ErrorKind::InvalidInput.into())
}

fn top_of(path: &Path) -> String {
    let first = path.components().find_map(|c| if let Component::Normal(name) = c { name.to_str() } else { None });
    first.unwrap_or_default().to_owned()
}

impl Handle {
    fn begin(&self, operation: Operation) -> Verdict {
        let mut state = self.shared.state.lock();
        if state.generation != self.generation {
            return Verdict::Refused(io::Error::other("this file was opened before the power cut"));
        }
        state.begin(&self.file.top, operation)
    }

    /// Changes the content, and remembers that a crash has something to do here.
    fn change(&self, f: impl FnOnce(&mut Content)) {
        let mut content = self.file.content.lock();
        let was_dirty = content.is_dirty();
        f(&mut content);
        if !was_dirty && content.is_dirty() {
            self.shared.dirty.lock().files.push(self.file.clone());
        }
    }
}

impl File for Handle {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.begin(Operation::Read).result()?;
        let content = self.file.content.lock();
        let from = content.bytes.len().min(offset as usize);
        let n = buf.len().min(content.bytes.len() - from);
        let n = self.shared.state.lock().read_len(&self.file.top, n);
        buf[..n].copy_from_slice(&content.bytes[from..from + n]);
        Ok(n)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let offset = offset as usize;
        // What an error interrupts has got as far as it has got.
        let failure = match self.begin(Operation::Write) {
            Verdict::Done => None,
            Verdict::Fails(error) => Some(error),
            Verdict::Refused(error) => return Err(error),
        };
        let (fits, now_ms) = {
            let mut state = self.shared.state.lock();
            let wanted = if failure.is_some() { state.rng.usize(0..=buf.len()) } else { buf.len() };
            let end = (offset + wanted).max(offset);
            let grows = end.saturating_sub(self.file.content.lock().bytes.len()) as u64;
            let missing = grows - state.take_space(&self.file.top, grows);
            (wanted.saturating_sub(missing as usize), state.now_ms)
        };
        if fits > 0 {
            self.change(|content| {
                content.modified_ms = now_ms;
                content.write(offset, &buf[..fits]);
            });
        }
        match failure {
            Some(error) => Err(error),
            None if fits < buf.len() => Err(io::ErrorKind::StorageFull.into()),
            None => Ok(()),
        }
    }

    fn len(&self) -> io::Result<u64> {
        self.begin(Operation::Read).result()?;
        Ok(self.file.content.lock().bytes.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.begin(Operation::Name).result()?;
        let len = len as usize;
        let old_len = self.file.content.lock().bytes.len();
        self.shared.state.lock().give_space(&self.file.top, old_len.saturating_sub(len) as u64);
        self.change(|content| content.set_len(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        match self.begin(Operation::Sync) {
            Verdict::Done => {
                self.file.content.lock().sync();
                Ok(())
            }
            Verdict::Fails(error) => {
                let mut state = self.shared.state.lock();
                // When the power goes, the crash decides what got out.
                if !state.is_off {
                    self.file.content.lock().fail_sync(&mut state.rng);
                }
                Err(error)
            }
            Verdict::Refused(error) => Err(error),
        }
    }
}

impl Disk for MemDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        self.reading(path)?;
        let found = self.with_parent(path, |dir, name| match dir.entries.get(name) {
            Some(Node::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            Some(Node::File(file)) => Ok(file.clone()),
            None => Err(io::Error::from(io::ErrorKind::NotFound)),
        });
        match (found, mode) {
            (Ok(file), OpenMode::Truncate) => {
                let handle = self.handle(&file);
                handle.set_len(0)?;
                Ok(handle)
            }
            (Ok(file), _) => Ok(self.handle(&file)),
            (Err(error), OpenMode::Create | OpenMode::Truncate) if error.kind() == io::ErrorKind::NotFound => self.create_file(path),
            (Err(error), _) => Err(error),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.reading(dir)?;
        let dir = self.dir(dir)?;
        let entry = |(name, node): (&String, &Node)| DirEntry { name: name.clone(), is_dir: matches!(node, Node::Dir(_)) };
        Ok(dir.lock().entries.iter().map(entry).collect())
    }

    fn info(&self, path: &Path) -> io::Result<FileInfo> {
        self.reading(path)?;
        if path.file_name().is_none() {
            return Ok(FileInfo { len: 0, is_dir: true, modified_ms: 0 });
        }
        self.with_parent(path, |dir, name| match dir.entries.get(name) {
            Some(Node::Dir(_)) => Ok(FileInfo { len: 0, is_dir: true, modified_ms: 0 }),
            Some(Node::File(file)) => {
                let content = file.content.lock();
                Ok(FileInfo { len: content.bytes.len() as u64, is_dir: false, modified_ms: content.modified_ms })
            }
            None => Err(io::ErrorKind::NotFound.into()),
        })
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut path = std::path::PathBuf::from("/");
        for name in names(dir)? {
            let known = self.dir(&path)?.lock().entries.get(name).map(|node| matches!(node, Node::Dir(_)));
            match known {
                Some(true) => {}
                Some(false) => return Err(io::ErrorKind::NotADirectory.into()),
                None => self.change_names(&path, |parent| {
                    parent.link(name, Node::Dir(Arc::default()));
                    Ok(())
                })?,
            }
            path.push(name);
        }
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let name = file_name(path)?;
        let size = self.with_parent(path, |dir, name| match dir.entries.get(name) {
            Some(Node::File(file)) => Ok(file.content.lock().bytes.len() as u64),
            Some(Node::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        })?;
        self.change_names(path.parent().unwrap_or(Path::new("/")), |dir| {
            dir.unlink(name);
            Ok(())
        })?;
        self.shared.state.lock().give_space(&top_of(path), size);
        Ok(())
    }

    /// File by file, as it happens on a real disk.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let name = file_name(path)?;
        let entries = self.list(path)?;
        for entry in entries {
            let path = path.join(&entry.name);
            if entry.is_dir { self.remove_dir_all(&path)? } else { self.remove_file(&path)? }
        }
        self.change_names(path.parent().unwrap_or(Path::new("/")), |dir| {
            dir.unlink(name);
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from_name, to_name) = (file_name(from)?, file_name(to)?);
        let (from_parent, to_parent) = (from.parent().unwrap_or(Path::new("/")), to.parent().unwrap_or(Path::new("/")));
        if from_parent == to_parent {
            let replaced = self.with_parent(to, |dir, name| match dir.entries.get(name) {
                Some(Node::File(file)) if from_name != name => Ok(file.content.lock().bytes.len() as u64),
                _ => Ok(0),
            })?;
            self.shared.state.lock().give_space(&top_of(to), replaced);
            return self.change_names(from_parent, |dir| match dir.rename(from_name, to_name) {
                true => Ok(()),
                false => Err(io::ErrorKind::NotFound.into()),
            });
        }
        // The target must exist before the source loses its entry.
        self.dir(to_parent)?;
        let node = self.change_names(from_parent, |dir| dir.unlink(from_name).ok_or(io::ErrorKind::NotFound.into()))?;
        self.change_names(to_parent, |dir| {
            dir.link(to_name, node);
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.shared.state.lock().begin(&top_of(dir), Operation::Sync).result()?;
        self.dir(dir)?.lock().sync();
        Ok(())
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        const SIZE: u64 = 1 << 40;
        self.reading(path)?;
        Ok(Space { total: SIZE, usable: self.shared.state.lock().usable(&top_of(path)).unwrap_or(SIZE) })
    }
}
