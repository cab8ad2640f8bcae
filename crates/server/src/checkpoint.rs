//! The offset checkpoints at the top of a log directory. Kafka: `CheckpointFile`, `OffsetCheckpointFile`.

use base::TopicPartition;
use base::disk::Disk;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::path::Path;

pub const RECOVERY_POINT: &str = "recovery-point-offset-checkpoint";
pub const LOG_START: &str = "log-start-offset-checkpoint";
pub const HIGH_WATERMARK: &str = "replication-offset-checkpoint";

pub type Offsets = BTreeMap<TopicPartition, i64>;

/// An absent or empty file is an empty checkpoint.
pub fn read(disk: &dyn Disk, path: &Path) -> io::Result<Offsets> {
    match disk.read(path) {
        Ok(bytes) => parse(&bytes).map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Offsets::new()),
        Err(e) => Err(e),
    }
}

pub fn write(disk: &dyn Disk, path: &Path, offsets: &Offsets) -> io::Result<()> {
    let mut text = format!("0\n{}\n", offsets.len());
    for (partition, offset) in offsets {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{} {} {offset}", partition.topic, partition.partition);
    }
    disk.write_atomically(path, text.as_bytes())
}

fn parse(bytes: &[u8]) -> Result<Offsets, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not text")?;
    let mut lines = text.lines();
    let Some(version) = lines.next() else { return Ok(Offsets::new()) };
    if version.trim() != "0" {
        return Err(format!("version '{version}' is not known; only 0 is"));
    }
    let expected: usize = lines.next().and_then(|n| n.trim().parse().ok()).ok_or("the second line is no count")?;
    let mut offsets = Offsets::new();
    for line in lines {
        let mut words = line.split_whitespace();
        let entry = (|| Some((words.next()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?)))();
        let (topic, partition, offset) = entry.filter(|_| words.next().is_none()).ok_or_else(|| format!("malformed line '{line}'"))?;
        offsets.insert(TopicPartition::new(topic, partition), offset);
    }
    if offsets.len() != expected {
        return Err(format!("{expected} entries were announced, {} are there", offsets.len()));
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_kafkas_files() {
        let offsets = parse(b"0\n2\nx 1 17\n__consumer_offsets 49 0\n").unwrap();
        assert_eq!(offsets.get(&TopicPartition::new("x", 1)), Some(&17));
        assert_eq!(offsets.len(), 2);
        assert_eq!(parse(b"").unwrap(), Offsets::new());
        assert!(parse(b"0\n2\nx 1 17\n").unwrap_err().contains("announced"));
        assert!(parse(b"1\n0\n").unwrap_err().contains("version"));
        assert!(parse(b"0\n1\nx 1\n").unwrap_err().contains("malformed"));
    }
}
