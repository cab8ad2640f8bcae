//! A disk in memory, for tests and simulation. It keeps apart what is visible and what is durable: `crash` forgets what was not synced,
//! or keeps parts of it, as a power cut does. Faults (full, broken) are switched on and off from outside.

use super::{DirEntry, Disk, File, FileInfo, OpenMode, Space};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path};
use std::sync::Arc;

#[derive(Clone, Default)]
pub struct MemDisk {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    root: Mutex<Dir>,
    state: Mutex<State>,
}

/// What a test turns; everything is off by default.
#[derive(Default)]
struct State {
    /// Bytes that may still be written; None is unlimited.
    free: Option<u64>,
    /// Writes and syncs fail with EIO once this many of them succeeded; None never.
    operations_left: Option<u64>,
    now_ms: i64,
    writes: u64,
    syncs: u64,
}

impl Shared {
    fn operation(&self) -> io::Result<()> {
        match &mut self.state.lock().operations_left {
            Some(0) => Err(io::Error::from_raw_os_error(5)),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn take_space(&self, bytes: u64) -> io::Result<()> {
        match &mut self.state.lock().free {
            Some(free) if *free < bytes => Err(io::ErrorKind::StorageFull.into()),
            Some(free) => {
                *free -= bytes;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

#[derive(Clone)]
enum Node {
    Dir(Arc<Mutex<Dir>>),
    File(Arc<MemFile>),
}

#[derive(Default)]
struct Dir {
    entries: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
}

struct MemFile {
    shared: Arc<Shared>,
    content: Mutex<Content>,
}

#[derive(Default)]
struct Content {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// Since the last sync, in order.
    pending: Vec<Change>,
    modified_ms: i64,
}

#[derive(Clone)]
enum Change {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Write(offset, data) => {
                let offset = *offset as usize;
                if bytes.len() < offset + data.len() {
                    bytes.resize(offset + data.len(), 0);
                }
                bytes[offset..offset + data.len()].copy_from_slice(data);
            }
            Change::SetLen(len) => bytes.resize(*len as usize, 0),
        }
    }
}

impl MemDisk {
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes that can still be written; None lifts the limit.
    pub fn set_free_space(&self, free: Option<u64>) {
        self.shared.state.lock().free = free;
    }

    /// After this many more writes and syncs, all fail with EIO; None heals the disk.
    pub fn fail_after(&self, operations: Option<u64>) {
        self.shared.state.lock().operations_left = operations;
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

    /// A power cut: names and content fall back to what was synced, except that unsynced changes may have got out, in part and in any
    /// order, as `rng` decides. Open handles must not be used afterwards.
    pub fn crash(&self, rng: &mut fastrand::Rng) {
        crash_dir(&mut self.shared.root.lock(), rng);
    }

    /// Makes every name that exists now durable, as if all directories had been synced.
    pub fn sync_names(&self) {
        sync_names(&mut self.shared.root.lock());
    }

    fn with_dir<T>(&self, dir: &Path, f: impl FnOnce(&mut Dir) -> io::Result<T>) -> io::Result<T> {
        let names = names(dir)?;
        let Some((first, rest)) = names.split_first() else { return f(&mut self.shared.root.lock()) };
        let mut current = child_dir(&self.shared.root.lock(), first)?;
        for name in rest {
            let next = child_dir(&current.lock(), name)?;
            current = next;
        }
        let mut dir = current.lock();
        f(&mut dir)
    }

    fn with_parent<T>(&self, path: &Path, f: impl FnOnce(&mut Dir, &str) -> io::Result<T>) -> io::Result<T> {
        let name = path.file_name().and_then(|n| n.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
        self.with_dir(path.parent().unwrap_or(Path::new("/")), |dir| f(dir, name))
    }

    fn new_file(&self) -> Arc<MemFile> {
        let file = MemFile { shared: self.shared.clone(), content: Mutex::default() };
        file.content.lock().modified_ms = self.shared.state.lock().now_ms;
        Arc::new(file)
    }
}

fn names(path: &Path) -> io::Result<Vec<&str>> {
    let parts = path.components().filter(|c| !matches!(c, Component::RootDir | Component::CurDir));
    parts.map(|c| c.as_os_str().to_str().ok_or(io::ErrorKind::InvalidInput.into())).collect()
}

fn child_dir(dir: &Dir, name: &str) -> io::Result<Arc<Mutex<Dir>>> {
    match dir.entries.get(name) {
        Some(Node::Dir(child)) => Ok(child.clone()),
        Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
        None => Err(io::ErrorKind::NotFound.into()),
    }
}

fn crash_dir(dir: &mut Dir, rng: &mut fastrand::Rng) {
    if rng.bool() {
        dir.entries = dir.durable.clone();
    } else {
        dir.durable = dir.entries.clone();
    }
    for node in dir.entries.values() {
        match node {
            Node::Dir(child) => crash_dir(&mut child.lock(), rng),
            Node::File(file) => file.content.lock().crash(rng),
        }
    }
}

fn sync_names(dir: &mut Dir) {
    dir.durable = dir.entries.clone();
    for node in dir.entries.values() {
        if let Node::Dir(child) = node {
            sync_names(&mut child.lock());
        }
    }
}

impl Content {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.bytes);
        self.pending.push(change);
    }

    fn crash(&mut self, rng: &mut fastrand::Rng) {
        for change in std::mem::take(&mut self.pending) {
            match (rng.u8(0..3), change) {
                (0, _) => {}
                // A torn write: some of its bytes, possibly none.
                (1, Change::Write(offset, mut data)) => {
                    data.truncate(rng.usize(0..=data.len()));
                    Change::Write(offset, data).apply(&mut self.durable);
                }
                (_, change) => change.apply(&mut self.durable),
            }
        }
        self.bytes = self.durable.clone();
    }
}

impl File for MemFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = self.content.lock();
        let from = content.bytes.len().min(offset as usize);
        let n = buf.len().min(content.bytes.len() - from);
        buf[..n].copy_from_slice(&content.bytes[from..from + n]);
        Ok(n)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.shared.operation()?;
        let now_ms = {
            let mut state = self.shared.state.lock();
            state.writes += 1;
            state.now_ms
        };
        let mut content = self.content.lock();
        let grows = (offset + buf.len() as u64).saturating_sub(content.bytes.len() as u64);
        self.shared.take_space(grows)?;
        content.modified_ms = now_ms;
        content.change(Change::Write(offset, buf.to_vec()));
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.content.lock().bytes.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.shared.operation()?;
        let mut content = self.content.lock();
        content.change(Change::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.shared.operation()?;
        self.shared.state.lock().syncs += 1;
        let mut content = self.content.lock();
        let Content { durable, pending, .. } = &mut *content;
        for change in pending.drain(..) {
            change.apply(durable);
        }
        Ok(())
    }
}

impl Disk for MemDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        self.with_parent(path, |dir, name| match dir.entries.get(name) {
            Some(Node::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            Some(Node::File(file)) => {
                if mode == OpenMode::Truncate {
                    file.content.lock().change(Change::SetLen(0));
                }
                Ok(file.clone() as Arc<dyn File>)
            }
            None if matches!(mode, OpenMode::Create | OpenMode::Truncate) => {
                self.shared.operation()?;
                let file = self.new_file();
                dir.entries.insert(name.to_owned(), Node::File(file.clone()));
                Ok(file as Arc<dyn File>)
            }
            None => Err(io::ErrorKind::NotFound.into()),
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.with_dir(dir, |dir| {
            let entry = |(name, node): (&String, &Node)| DirEntry { name: name.clone(), is_dir: matches!(node, Node::Dir(_)) };
            Ok(dir.entries.iter().map(entry).collect())
        })
    }

    fn info(&self, path: &Path) -> io::Result<FileInfo> {
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
            self.with_dir(&path, |parent| match parent.entries.get(name) {
                Some(Node::Dir(_)) => Ok(()),
                Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
                None => {
                    parent.entries.insert(name.to_owned(), Node::Dir(Arc::default()));
                    Ok(())
                }
            })?;
            path.push(name);
        }
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.with_parent(path, |dir, name| match dir.entries.get(name) {
            Some(Node::File(file)) => {
                if let Some(free) = &mut self.shared.state.lock().free {
                    *free += file.content.lock().bytes.len() as u64;
                }
                dir.entries.remove(name);
                Ok(())
            }
            Some(Node::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        })
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.with_parent(path, |dir, name| match dir.entries.get(name) {
            Some(Node::Dir(_)) => {
                dir.entries.remove(name);
                Ok(())
            }
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.shared.operation()?;
        let (from_parent, to_parent) = (from.parent(), to.parent());
        let to_name = to.file_name().and_then(|n| n.to_str()).ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        if from_parent == to_parent {
            return self.with_parent(from, |dir, name| {
                let node = dir.entries.remove(name).ok_or(io::ErrorKind::NotFound)?;
                dir.entries.insert(to_name, node);
                Ok(())
            });
        }
        // The target must exist before the source loses its entry.
        self.with_parent(to, |_, _| Ok(()))?;
        let node = self.with_parent(from, |dir, name| dir.entries.remove(name).ok_or(io::ErrorKind::NotFound.into()))?;
        self.with_parent(to, |dir, name| {
            dir.entries.insert(name.to_owned(), node);
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.shared.operation()?;
        self.shared.state.lock().syncs += 1;
        self.with_dir(dir, |dir| {
            dir.durable = dir.entries.clone();
            Ok(())
        })
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        const SIZE: u64 = 1 << 40;
        Ok(Space { total: SIZE, usable: self.shared.state.lock().free.unwrap_or(SIZE) })
    }
}
