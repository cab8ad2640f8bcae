//! A file that is opened when it is needed and stays open until others need its place, so that thousands of idle partitions hold no descriptors.

use base::disk::{Disk, File, KeptFile, OpenMode};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

pub(crate) struct LazyFile {
    path: PathBuf,
    kept: OnceLock<Arc<KeptFile>>,
}

impl LazyFile {
    pub fn new(path: PathBuf) -> Self {
        Self { path, kept: OnceLock::new() }
    }

    pub fn create(disk: &dyn Disk, path: PathBuf) -> io::Result<Self> {
        let created = Self::new(path);
        created.keep(disk, disk.open(&created.path, OpenMode::Truncate)?);
        Ok(created)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the file is from now on; for one that is renamed. A descriptor stays open.
    pub fn set_path(&mut self, path: PathBuf) {
        self.path = path;
    }

    pub fn get(&self, disk: &dyn Disk) -> io::Result<Arc<dyn File>> {
        if let Some(file) = self.kept.get().and_then(|kept| kept.get()) {
            return Ok(file);
        }
        Ok(self.keep(disk, disk.open(&self.path, OpenMode::ReadWrite)?))
    }

    /// As `get`; none where there is no such file.
    pub fn get_if_any(&self, disk: &dyn Disk) -> io::Result<Option<Arc<dyn File>>> {
        match self.get(disk) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            file => file.map(Some),
        }
    }

    fn keep(&self, disk: &dyn Disk, file: Arc<dyn File>) -> Arc<dyn File> {
        let kept = self.kept.get_or_init(Arc::default);
        kept.put(file.clone());
        if let Some(open_files) = disk.open_files() {
            open_files.opened(kept);
        }
        file
    }

    /// Closes the descriptor; it is opened again when needed.
    pub fn release(&mut self) {
        self.kept = OnceLock::new();
    }
}
