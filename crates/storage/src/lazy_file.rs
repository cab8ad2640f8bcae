//! A file that is opened when it is first needed, so that thousands of idle partitions hold no descriptors.

use base::disk::{Disk, File, OpenMode};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

pub(crate) struct LazyFile {
    path: PathBuf,
    file: OnceLock<Arc<dyn File>>,
}

impl LazyFile {
    pub fn new(path: PathBuf) -> Self {
        Self { path, file: OnceLock::new() }
    }

    pub fn create(disk: &dyn Disk, path: PathBuf) -> io::Result<Self> {
        let file = disk.open(&path, OpenMode::Truncate)?;
        Ok(Self { path, file: OnceLock::from(file) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the file is from now on; for one that is renamed. A descriptor stays open.
    pub fn set_path(&mut self, path: PathBuf) {
        self.path = path;
    }

    pub fn get(&self, disk: &dyn Disk) -> io::Result<&Arc<dyn File>> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let file = disk.open(&self.path, OpenMode::ReadWrite)?;
        Ok(self.file.get_or_init(|| file))
    }

    /// Closes the descriptor; it is opened again when needed.
    pub fn release(&mut self) {
        self.file = OnceLock::new();
    }
}
