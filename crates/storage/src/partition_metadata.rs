//! `partition.metadata`: which topic id a directory belongs to. Without it Apache sets the directory aside as a stray.
//! Kafka: PartitionMetadataFile.

use crate::error::LogError;
use base::Uuid;
use base::disk::Disk;
use std::io;
use std::path::Path;

pub const FILE_NAME: &str = "partition.metadata";

pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Uuid>, LogError> {
    let path = dir.join(FILE_NAME);
    let bytes = match disk.read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(LogError::io("cannot read", path)(e)),
    };
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

/// Written atomically and synced, before any data of the partition.
pub fn write(disk: &dyn Disk, dir: &Path, topic_id: Uuid) -> Result<(), LogError> {
    let path = dir.join(FILE_NAME);
    let text = format!("version: 0\ntopic_id: {topic_id}");
    disk.write_atomically(&path, text.as_bytes()).map_err(LogError::io("cannot write", path))
}
