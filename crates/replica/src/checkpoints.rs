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

/// With so many names the files are looked at, whether they still have them. Up to three times as many are kept: few enough to be nothing where
/// topics come and go, many enough that a look at the lines of 50,000 partitions costs little for each.
const LOOK_AT: usize = 128;

#[derive(Default)]
pub struct Checkpoints {
    /// Of each directory; read from its files once.
    stale: Mutex<HashMap<PathBuf, Stale>>,
    /// Held while offsets are collected and written, and while names are taken out.
    writing: Mutex<()>,
}

/// Names that the files of a directory may have and no partition there has.
struct Stale {
    /// Whether a look at the files has seen the name here already.
    names: HashMap<TopicPartition, bool>,
    look_at: usize,
}

impl Stale {
    fn read(disk: &dyn Disk, dir: &Path) -> Self {
        Stale { names: names_in(disk, dir).into_iter().map(|name| (name, false)).collect(), look_at: LOOK_AT }
    }

    /// Lets go of names that are in no file any more, so that they are not gathered for ever where topics come and go. A name stays for
    /// one look more, as who cleaned its log when it was deleted may write it once again.
    fn look(&mut self, disk: &dyn Disk, dir: &Path) {
        let written = names_in(disk, dir);
        self.names.retain(|name, seen| !std::mem::replace(seen, true) || written.contains(name));
        self.look_at = LOOK_AT.max(2 * self.names.len());
    }
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
            stale.names.insert(partition.clone(), false);
        }
    }

    /// Before a new log is created: nothing that is known of an earlier one of this name counts.
    pub fn forget(&self, disk: &dyn Disk, dir: &Path, partition: &TopicPartition) -> Result<(), LogError> {
        let mut stale = self.stale.lock();
        let stale = stale.entry(dir.to_owned()).or_insert_with(|| Stale::read(disk, dir));
        if stale.names.len() >= stale.look_at {
            let _writing = self.writing.lock();
            stale.look(disk, dir);
        }
        if !stale.names.contains_key(partition) {
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
        stale.names.remove(partition);
        Ok(())
    }
}

/// Of all files. One that cannot be read is not used either.
fn names_in(disk: &dyn Disk, dir: &Path) -> HashSet<TopicPartition> {
    let lines = FILES.iter().flat_map(|file| checkpoint::read_lines(disk, &dir.join(file)).unwrap_or_default());
    lines.filter_map(|line| name_of(&line)).collect()
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

    #[test]
    fn names_that_are_in_no_file_are_not_kept_for_ever() {
        let disk = MemDisk::new();
        let dir = Path::new("/data");
        disk.create_dir_all(dir).unwrap();
        let checkpoints = Checkpoints::default();
        let partition = |n: usize| TopicPartition::new(format!("t{n}"), 0);
        let kept = || checkpoints.stale.lock()[dir].names.len();
        for n in 0..10 * LOOK_AT {
            checkpoints.forget(&disk, dir, &partition(n)).unwrap();
            checkpoints.deleted(dir, &partition(n));
            if n == LOOK_AT / 2 {
                disk.write_atomically(&dir.join(FILES[2]), b"0\n1\nt7 0 5\n").unwrap();
            }
        }
        assert!(kept() <= 3 * LOOK_AT, "{} names", kept());
        // What a file has is known however long ago it was deleted.
        checkpoints.forget(&disk, dir, &partition(7)).unwrap();
        assert_eq!(checkpoint::read_lines(&disk, &dir.join(FILES[2])).unwrap(), Vec::<String>::new());
    }
}
