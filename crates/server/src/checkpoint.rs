//! The offset checkpoints at the top of a log directory. Kafka: `CheckpointFile`, `OffsetCheckpointFile`.

use base::TopicPartition;
use base::disk::Disk;
use replica::Partition;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::{Log, LogError, checkpoint};

pub const RECOVERY_POINT: &str = "recovery-point-offset-checkpoint";
pub const LOG_START: &str = "log-start-offset-checkpoint";
pub const HIGH_WATERMARK: &str = "replication-offset-checkpoint";
/// First dirty offsets of compacted logs.
pub const CLEANER: &str = "cleaner-offset-checkpoint";

pub type Offsets = BTreeMap<TopicPartition, i64>;

/// An absent or empty file is an empty checkpoint.
pub fn read(disk: &dyn Disk, path: &Path) -> Result<Offsets, LogError> {
    let parse = |line: &String| parse(line).ok_or_else(|| LogError::corrupt(path, format!("malformed line '{line}'")));
    checkpoint::read_lines(disk, path)?.iter().map(parse).collect()
}

pub fn write(disk: &dyn Disk, path: &Path, offsets: &Offsets) -> io::Result<()> {
    let lines = offsets.iter().map(|(partition, offset)| format!("{} {} {offset}", partition.topic, partition.partition));
    disk.write_atomically(path, checkpoint::to_text(lines).as_bytes())
}

/// One offset of every partition whose log is there, with the directory it is in.
pub fn offsets(partitions: &[Arc<Partition>], offset: impl Fn(&Log) -> i64) -> Vec<(PathBuf, TopicPartition, i64)> {
    let of = |partition: &Arc<Partition>| {
        partition.with_created_log(|log| (log.dir().to_path_buf(), log.topic_partition().clone(), offset(log)))
    };
    partitions.iter().filter_map(of).collect()
}

/// `topic partition offset`
fn parse(line: &str) -> Option<(TopicPartition, i64)> {
    let mut words = line.split_whitespace();
    let (topic, partition, offset) = (words.next()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    words.next().is_none().then(|| (TopicPartition::new(topic, partition), offset))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::disk::MemDisk;

    fn check(file: &[u8]) -> Result<Offsets, String> {
        let disk = MemDisk::new();
        let path = Path::new("/data/checkpoint");
        disk.create_dir_all(Path::new("/data")).unwrap();
        disk.write_atomically(path, file).unwrap();
        read(&disk, path).map_err(|e| e.to_string())
    }

    #[test]
    fn reads_kafkas_files() {
        let offsets = check(b"0\n2\nx 1 17\n__consumer_offsets 49 0\n").unwrap();
        assert_eq!(offsets.get(&TopicPartition::new("x", 1)), Some(&17));
        assert_eq!(offsets.len(), 2);
        assert_eq!(check(b"").unwrap(), Offsets::new());
        assert!(check(b"0\n2\nx 1 17\n").unwrap_err().contains("expected 2 entries"));
        assert!(check(b"1\n0\n").unwrap_err().contains("version"));
        for line in ["x 1", "x 1 2 3", "x y 2", "x 1 z"] {
            assert!(check(format!("0\n1\n{line}\n").as_bytes()).unwrap_err().contains("malformed line"), "{line}");
        }
    }

    #[test]
    fn reads_what_it_wrote() {
        let disk = MemDisk::new();
        let path = Path::new("/data/checkpoint");
        disk.create_dir_all(Path::new("/data")).unwrap();
        let offsets = Offsets::from([(TopicPartition::new("a", 0), 0), (TopicPartition::new("b-c", 12), i64::MAX)]);
        write(&disk, path, &offsets).unwrap();
        assert_eq!(read(&disk, path).unwrap(), offsets);
        assert_eq!(read(&disk, Path::new("/data/none")).unwrap(), Offsets::new());
    }
}
