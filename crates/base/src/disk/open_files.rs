//! A bound on the files that stay open from one use to the next. A node may hold far more files than a process may have open: each is opened
//! when it is first needed, and the one that was not used for longest is closed when there are too many (second chance: whoever was used since
//! it was last looked at stays).
//!
//! Used by: storage, for the files of segments. A use costs an atomic load and a reference count; only opening takes a lock.
//! Guarantees: whoever has got a file (a flush, a fetch that sends it) keeps it open for as long as that takes, beyond the bound.
//! Non-guarantees: what was written to a file that is closed here and failed to reach the disk before it is opened and synced again is
//! reported by that sync only as long as the kernel remembers the file (Linux keeps the error with the inode).

use super::File;
use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};

/// The place of one file, open or not.
#[derive(Default)]
pub struct KeptFile {
    file: ArcSwapOption<Arc<dyn File>>,
    used: AtomicBool,
}

impl KeptFile {
    /// The file, if it is open.
    pub fn get(&self) -> Option<Arc<dyn File>> {
        let file = self.file.load();
        let file = file.as_ref()?;
        // Mostly it is set already, and a line of memory that is only read is shared by all cores.
        if !self.used.load(Relaxed) {
            self.used.store(true, Relaxed);
        }
        Some(Arc::clone(file))
    }

    /// It was opened and stays so until `close`.
    pub fn put(&self, file: Arc<dyn File>) {
        self.file.store(Some(Arc::new(file)));
    }

    /// Returns whether it was open. Who uses the file at the moment keeps it.
    pub fn close(&self) -> bool {
        self.file.swap(None).is_some()
    }
}

pub struct OpenFiles {
    max: usize,
    /// Files that were opened and not closed here since; the next to be looked at is in front. Some may be gone.
    kept: Mutex<VecDeque<Weak<KeptFile>>>,
}

impl OpenFiles {
    /// At least one file stays open.
    pub fn new(max: usize) -> Self {
        OpenFiles { max: max.max(1), kept: Mutex::default() }
    }

    /// A file was opened: others are closed if there are too many.
    pub fn opened(&self, file: &Arc<KeptFile>) {
        let mut kept = self.kept.lock();
        if kept.len() == kept.capacity() {
            // Before it grows: what was deleted needs no place, and its own memory is free only then.
            kept.retain(|file| file.strong_count() > 0);
        }
        let gone = match (kept.len() + 1).saturating_sub(self.max) {
            0 => Vec::new(),
            excess => take_idle(&mut kept, excess),
        };
        kept.push_back(Arc::downgrade(file));
        drop(kept);
        // Closing is a call of the system.
        for file in gone {
            file.close();
        }
    }

    /// Closes about as many files as that, for something more urgent; returns how many.
    pub fn close_some(&self, count: usize) -> usize {
        let idle = take_idle(&mut self.kept.lock(), count);
        idle.iter().filter(|file| file.close()).count()
    }

    /// How many are kept open, with some that are gone already.
    pub fn len(&self) -> usize {
        self.kept.lock().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Takes `count` out, fewer if there are not as many; of those that are gone none has to be closed.
fn take_idle(kept: &mut VecDeque<Weak<KeptFile>>, count: usize) -> Vec<Arc<KeptFile>> {
    let wanted = kept.len().saturating_sub(count);
    let mut idle = Vec::new();
    // After one round nobody has a chance left.
    let mut chances = kept.len();
    while kept.len() > wanted {
        let Some(next) = kept.pop_front() else { break };
        let Some(file) = next.upgrade() else { continue };
        if file.used.swap(false, Relaxed) && chances > 0 {
            chances -= 1;
            kept.push_back(next);
        } else {
            idle.push(file);
        }
    }
    idle
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, MemDisk, OpenMode};
    use std::path::Path;

    fn files(count: usize, open_files: &OpenFiles) -> Vec<Arc<KeptFile>> {
        let disk = MemDisk::new();
        let open = |n| {
            let file = Arc::new(KeptFile::default());
            file.put(disk.open(Path::new(&format!("/{n}")), OpenMode::Create).unwrap());
            open_files.opened(&file);
            file
        };
        (0..count).map(open).collect()
    }

    fn open(files: &[Arc<KeptFile>]) -> Vec<usize> {
        (0..files.len()).filter(|at| files[*at].file.load().is_some()).collect()
    }

    #[test]
    fn the_one_that_was_not_used_is_closed() {
        let open_files = OpenFiles::new(3);
        let mut all = files(3, &open_files);
        assert!(all[0].get().is_some() && all[2].get().is_some());
        all.extend(files(1, &open_files));
        assert_eq!(open(&all), [0, 2, 3]);
        // Everybody had a chance; the first in the row goes.
        for file in &all {
            file.get();
        }
        all.extend(files(1, &open_files));
        assert_eq!((open(&all).len(), open_files.len()), (3, 3));
        assert!(open(&all).contains(&4));
    }

    #[test]
    fn a_file_in_use_outlives_its_place() {
        let open_files = OpenFiles::new(1);
        let all = files(1, &open_files);
        let in_use = all[0].get().unwrap();
        files(1, &open_files);
        assert!(all[0].get().is_none());
        in_use.write_at(b"x", 0).unwrap();
        assert_eq!(in_use.len().unwrap(), 1);
    }

    #[test]
    fn files_that_are_gone_make_room_first() {
        let open_files = OpenFiles::new(3);
        drop(files(2, &open_files));
        let stays = files(1, &open_files);
        let new = files(2, &open_files);
        assert_eq!((open(&stays), open(&new)), (vec![0], vec![0, 1]));
        assert_eq!(open_files.close_some(9), 3);
        assert!(open(&stays).is_empty() && open_files.is_empty());
    }
}
