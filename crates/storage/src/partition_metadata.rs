//! `partition.metadata`: which topic id a directory belongs to. Without it Apache sets the directory aside as a stray.
//! Kafka: PartitionMetadataFile.

use crate::error::LogError;
use base::Uuid;
use base::disk::{Disk, OpenMode};
use std::io;
use std::path::Path;

pub const FILE_NAME: &str = "partition.metadata";

/// None if there is no file, or an empty one: then the partition has no data either.
pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Uuid>, LogError> {
    let path = dir.join(FILE_NAME);
    let bytes = match disk.read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(LogError::io("cannot read", path)(e)),
    };
    if bytes.is_empty() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines();
    if lines.next() != Some("version: 0") {
        return Err(LogError::corrupt(path, "does not start with 'version: 0'"));
    }
    let id = lines.next().and_then(|line| line.strip_prefix("topic_id: ")).and_then(|id| id.trim().parse::<Uuid>().ok());
    match id {
        Some(id) if !id.is_zero() => Ok(Some(id)),
        _ => Err(LogError::corrupt(path, "has no valid topic_id")),
    }
}

/// Writes the file without syncing it: creating a topic waits for no disk. It is to be synced before any data of the partition is
/// written; a crash before that may leave it empty.
pub fn write(disk: &dyn Disk, dir: &Path, topic_id: Uuid) -> Result<(), LogError> {
    let path = dir.join(FILE_NAME);
    let text = format!("version: 0\ntopic_id: {topic_id}");
    let write = || disk.open(&path, OpenMode::Truncate)?.write_at(text.as_bytes(), 0);
    write().map_err(LogError::io("cannot write", &path))
}
