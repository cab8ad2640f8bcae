//! Bytes on their way out: memory or a range of a file, so that what is read from the log can leave by sendfile.

use crate::disk::File;
use bytes::Bytes;
use std::io;
use std::sync::Arc;

/// `len` bytes of a file from `position` on.
#[derive(Clone)]
pub struct FileRange {
    pub file: Arc<dyn File>,
    pub position: u64,
    pub len: usize,
}

impl FileRange {
    pub fn read(&self) -> io::Result<Bytes> {
        let mut buf = vec![0; self.len];
        self.file.read_exact_at(&mut buf, self.position)?;
        Ok(buf.into())
    }
}

impl std::fmt::Debug for FileRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FileRange({}..+{})", self.position, self.len)
    }
}

#[derive(Clone, Debug)]
pub enum Segment {
    Bytes(Bytes),
    File(FileRange),
}

impl Segment {
    pub fn len(&self) -> usize {
        match self {
            Segment::Bytes(bytes) => bytes.len(),
            Segment::File(range) => range.len,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
