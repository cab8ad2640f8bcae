//! Checkpoints know partitions by name only. A topic that is deleted and made anew must not inherit what they say of its predecessor: a log
//! start or a recovery point of before would hide or distrust records of now. So a name that may be in them is taken out before a log is
//! created under it. Kafka writes the checkpoints after each deletion instead (LogManager.asyncDelete).

use base::TopicPartition;
use base::disk::Disk;
use parking_lot::{Mutex, MutexGuard};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use storage::{LogError, checkpoint};

const FILES: [&str; 4] =
    ["recovery-point-offset-checkpoint", "log-start-offset-checkpoint", "replication-offset-checkpoint", "cleaner-offset-checkpoint"];

#[derive(Default)]
pub struct Checkpoints {
    /// Names that the files of a directory may have and no partition there has; read from them once.
    stale: Mutex<HashMap<PathBuf, HashSet<TopicPartition>>>,
    /// Held while offsets are collected and written, and while names are taken out.
    writing: Mutex<()>,
}

impl Checkpoints {
    /// Whoever writes a checkpoint holds this from before he asks the first log.
    pub fn begin_writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock()
    }

    /// A partition was deleted from this directory.
    pub fn deleted(&self, dir: &Path, partition: &TopicPartition) {
        // A directory that was not read yet will be.
        if let Some(stale) = self.stale.lock().get_mut(dir) {
            stale.insert(partition.clone());
        }
    }

    /// Before a new log is created: nothing that is known of an earlier one of this name counts.
    pub fn forget(&self, disk: &dyn Disk, dir: &Path, partition: &TopicPartition) -> Result<(), LogError> {
        let mut stale = self.stale.lock();
        if !stale.contains_key(dir) {
            let mut names = HashSet::new();
            for file in FILES {
                // A checkpoint that cannot be read is not used either.
                let lines = checkpoint::read_lines(disk, &dir.join(file)).unwrap_or_default();
                names.extend(lines.iter().filter_map(|line| name_of(line)));
            }
            stale.insert(dir.to_owned(), names);
        }
        let Some(names) = stale.get_mut(dir) else { return Ok(()) };
        if !names.contains(partition) {
            return Ok(());
        }
        let _writing = self.writing.lock();
        for file in FILES {
            let path = dir.join(file);
            let lines = checkpoint::read_lines(disk, &path).unwrap_or_default();
            let kept: Vec<String> = lines.iter().filter(|line| name_of(line).as_ref() != Some(partition)).cloned().collect();
            if kept.len() < lines.len() {
                let text = checkpoint::to_text(kept.into_iter());
                disk.write_atomically(&path, text.as_bytes()).map_err(LogError::io("cannot write", path))?;
            }
        }
        names.remove(partition);
        Ok(())
    }
}

/// `topic partition offset`
fn name_of(line: &str) -> Option<TopicPartition> {
    let mut words = line.split_whitespace();
    Some(TopicPartition::new(words.next()?, words.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::disk::MemDisk;

    #[test]
    fn a_name_is_taken_out_of_every_file() {
        let disk = MemDisk::new();
        let dir = Path::new("/data");
        disk.create_dir_all(dir).unwrap();
        let write = |file: &str, text: &str| disk.write_atomically(&dir.join(file), text.as_bytes()).unwrap();
        write(FILES[0], "0\n2\na 0 7\na 1 8\n");
        write(FILES[1], "0\n1\na 1 3\n");
        let checkpoints = Checkpoints::default();
        let a = |index| TopicPartition::new("a", index);
        checkpoints.forget(&disk, dir, &a(1)).unwrap();
        let read = |file: &str| checkpoint::read_lines(&disk, &dir.join(file)).unwrap();
        assert_eq!((read(FILES[0]), read(FILES[1])), (vec!["a 0 7".to_owned()], vec![]));
        // What is written later under the name is touched only after another deletion.
        write(FILES[1], "0\n1\na 1 3\n");
        checkpoints.forget(&disk, dir, &a(1)).unwrap();
        assert_eq!(read(FILES[1]).len(), 1);
        checkpoints.deleted(dir, &a(1));
        checkpoints.forget(&disk, dir, &a(1)).unwrap();
        assert_eq!(read(FILES[1]).len(), 0);
    }
}
