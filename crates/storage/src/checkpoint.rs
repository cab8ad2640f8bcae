//! Text checkpoints: a version line, a count, then one entry a line. Kafka: CheckpointFile.

use crate::error::LogError;
use base::disk::Disk;
use std::io;
use std::path::Path;

/// The entry lines of a checkpoint; a missing or empty file has none.
pub fn read_lines(disk: &dyn Disk, path: &Path) -> Result<Vec<String>, LogError> {
    let bytes = match disk.read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(LogError::io("cannot read", path)(e)),
    };
    let text = String::from_utf8(bytes).map_err(|_| LogError::corrupt(path, "is not text; remove it to have it written anew"))?;
    let mut lines = text.lines();
    let Some(version) = lines.next() else { return Ok(Vec::new()) };
    let malformed = |line: &str| LogError::corrupt(path, format!("malformed line in checkpoint file: '{line}'"));
    if version.trim() != "0" {
        return Err(LogError::corrupt(path, format!("unrecognized version of the checkpoint file: '{version}', expected 0")));
    }
    let count_line = lines.next().unwrap_or_default();
    let count: usize = count_line.trim().parse().map_err(|_| malformed(count_line))?;
    let entries: Vec<String> = lines.map(str::to_owned).collect();
    if entries.len() != count {
        return Err(LogError::corrupt(path, format!("expected {count} entries in checkpoint file, but found only {}", entries.len())));
    }
    Ok(entries)
}

/// What a checkpoint with these entries holds.
pub fn to_text(entries: impl ExactSizeIterator<Item = String>) -> String {
    let mut text = format!("0\n{}\n", entries.len());
    for entry in entries {
        text.push_str(&entry);
        text.push('\n');
    }
    text
}
