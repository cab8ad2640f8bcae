//! One suite for every disk: what the crates below rely on.

use super::{Disk, Faults, MemDisk, OpenMode, RealDisk, Survival};
use std::io::ErrorKind;
use std::path::Path;

fn conforms(disk: &dyn Disk, root: &Path) {
    let dir = root.join("a/b");
    disk.create_dir_all(&dir).unwrap();
    disk.create_dir_all(&dir).unwrap();
    let path = dir.join("file");
    assert_eq!(disk.open(&path, OpenMode::ReadWrite).err().unwrap().kind(), ErrorKind::NotFound);
    assert!(!disk.exists(&path));

    let file = disk.open(&path, OpenMode::Create).unwrap();
    file.write_at(b"hello", 0).unwrap();
    file.write_two_at(b"--", b"world", 5).unwrap();
    assert_eq!(disk.read(&path).unwrap(), b"hello--world");
    let mut buf = [0; 8];
    assert_eq!(file.read_at(&mut buf, 7).unwrap(), 5);
    assert_eq!(file.read_at(&mut buf, 100).unwrap(), 0);
    assert_eq!(file.read_exact_at(&mut buf, 7).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    file.write_at(b"!", 14).unwrap();
    assert_eq!(disk.read(&path).unwrap(), b"hello--world\0\0!");
    file.set_len(5).unwrap();
    file.set_len(6).unwrap();
    assert_eq!(disk.open(&path, OpenMode::Create).unwrap().len().unwrap(), 6);
    file.sync_data().unwrap();
    file.start_writeback(0, 6);

    let other = dir.join("other");
    disk.write_atomically(&other, b"one").unwrap();
    disk.write_atomically(&other, b"two").unwrap();
    assert_eq!(disk.read(&other).unwrap(), b"two");
    disk.rename(&path, &other).unwrap();
    assert_eq!(disk.read(&other).unwrap(), b"hello\0");
    assert!(!disk.exists(&path));
    // A handle follows its file, whatever its name.
    file.write_at(b"J", 0).unwrap();
    assert_eq!(disk.read(&other).unwrap(), b"Jello\0");

    disk.create_dir_all(&dir.join("sub")).unwrap();
    let names: Vec<_> = disk.list(&dir).unwrap().into_iter().map(|e| (e.name, e.is_dir)).collect();
    assert_eq!(names, [("other".into(), false), ("sub".into(), true)]);
    assert!(disk.info(&dir).unwrap().is_dir);
    assert_eq!(disk.info(&other).unwrap().len, 6);
    disk.rename(&dir, &root.join("moved")).unwrap();
    assert_eq!(disk.read(&root.join("moved/other")).unwrap(), b"Jello\0");
    disk.remove_file(&root.join("moved/other")).unwrap();
    assert_eq!(disk.remove_file(&root.join("moved/other")).unwrap_err().kind(), ErrorKind::NotFound);
    // What is removed can still be read by those who have it open.
    file.reserve(1 << 20);
    assert_eq!(file.len().unwrap(), 6);
    disk.sync_dir(root).unwrap();
    disk.remove_dir_all(&root.join("moved")).unwrap();
    assert!(disk.space(root).unwrap().usable > 0);
}

#[test]
fn real_disk_conforms() {
    let root = std::env::temp_dir().join(format!("gregor-disk-{}", std::process::id()));
    std::fs::create_dir_all(&root).unwrap();
    conforms(&RealDisk, &root);
    std::fs::remove_dir_all(&root).unwrap();
}

#[test]
fn mem_disk_conforms() {
    let disk = MemDisk::new();
    disk.create_dir_all(Path::new("/data")).unwrap();
    conforms(&disk, Path::new("/data"));
}

#[test]
fn a_crash_keeps_what_was_synced() {
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let disk = MemDisk::new();
        let path = Path::new("/file");
        let file = disk.open(path, OpenMode::Create).unwrap();
        file.write_at(b"durable", 0).unwrap();
        file.sync_data().unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        file.write_at(b" gone", 7).unwrap();
        disk.open(Path::new("/late"), OpenMode::Create).unwrap();
        disk.crash(&mut rng);
        let bytes = disk.read(path).unwrap();
        // The length may have got out without the bytes.
        let is_left = |rest: &[u8]| b" gone".starts_with(rest) || rest == [0; 5];
        assert!(bytes.strip_prefix(b"durable").is_some_and(is_left), "{bytes:?}");
        assert!(file.write_at(b"x", 0).is_err(), "a handle from before the power cut");
    }
}

#[test]
fn a_torn_write_leaves_any_of_its_sectors() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..500 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let disk = MemDisk::new();
        let file = disk.open(Path::new("/file"), OpenMode::Create).unwrap();
        file.write_at(&[1; 1024], 0).unwrap();
        file.sync_data().unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        // Overwritten, cut and grown again: what was synced comes back if none of it got out.
        file.write_at(&[2; 1024], 0).unwrap();
        file.set_len(100).unwrap();
        file.set_len(1024).unwrap();
        disk.crash(&mut rng);
        let bytes = disk.read(Path::new("/file")).unwrap();
        seen.insert((bytes.len(), bytes.first().copied(), bytes.get(1000).copied()));
    }
    for wanted in [(1024, 1, 1), (1024, 1, 2), (1024, 2, 1), (1024, 2, 2), (1024, 1, 0), (1024, 2, 0)] {
        assert!(seen.contains(&(wanted.0, Some(wanted.1), Some(wanted.2))), "{wanted:?} is not among {seen:?}");
    }
}

#[test]
fn what_a_failed_sync_forgot_does_not_get_out() {
    let disk = MemDisk::new();
    disk.create_dir_all(Path::new("/a")).unwrap();
    let mut lost = 0;
    for seed in 0..50 {
        let path = Path::new("/a").join(seed.to_string());
        let file = disk.open(&path, OpenMode::Create).unwrap();
        disk.sync_names();
        file.write_at(b"x", 0).unwrap();
        disk.set_faults(Path::new("/a"), Faults { errors_per_mille: 1000, ..Faults::default() });
        file.sync_data().unwrap_err();
        disk.set_faults(Path::new("/a"), Faults::default());
        file.write_at(b"y", 1).unwrap();
        file.sync_data().unwrap();
        assert_eq!(disk.read(&path).unwrap(), b"xy");
        if seed % 2 == 0 {
            disk.remount();
        }
        disk.crash_to(Survival::Nothing, &mut fastrand::Rng::with_seed(seed));
        let bytes = disk.read(&path).unwrap();
        assert!(bytes == b"xy" || bytes == b"\0y", "{bytes:?}");
        lost += u32::from(bytes != b"xy");
    }
    assert!((5..45).contains(&lost), "{lost}");
}

#[test]
fn the_power_goes_at_any_operation() {
    let write = |disk: &MemDisk| disk.write_atomically(Path::new("/a/file"), b"new");
    let disk = MemDisk::new();
    disk.create_dir_all(Path::new("/a")).unwrap();
    let before = disk.operations();
    write(&disk).unwrap();
    let count = disk.operations() - before;
    assert_eq!(count, 5, "create, write, sync, rename, sync of the directory");
    let mut seen = std::collections::BTreeSet::new();
    for (cut, seed) in (1..=count).flat_map(|cut| (0..20).map(move |seed| (cut, seed))) {
        let disk = MemDisk::new();
        disk.set_seed(seed);
        disk.create_dir_all(Path::new("/a")).unwrap();
        disk.sync_names();
        disk.write_atomically(Path::new("/a/file"), b"old").unwrap();
        disk.cut_power_at(Some(disk.operations() + cut));
        write(&disk).unwrap_err();
        assert!(disk.is_off() && disk.read(Path::new("/a/file")).is_err());
        disk.crash(&mut fastrand::Rng::with_seed(seed));
        let found = disk.read(Path::new("/a/file")).unwrap();
        assert!(found == b"old" || found == b"new", "{found:?}");
        seen.insert((cut, found));
    }
    assert!(seen.contains(&(4, b"new".to_vec())) && !seen.contains(&(3, b"new".to_vec())));
}

#[test]
fn faults_stay_in_their_directory() {
    let disk = MemDisk::new();
    let (a, b) = (Path::new("/a/file"), Path::new("/b/file"));
    disk.create_dir_all(Path::new("/a")).unwrap();
    disk.create_dir_all(Path::new("/b")).unwrap();
    let (file_a, file_b) = (disk.open(a, OpenMode::Create).unwrap(), disk.open(b, OpenMode::Create).unwrap());
    disk.set_free_space_of(Path::new("/a"), Some(5));
    assert_eq!(file_a.write_at(&[1; 8], 0).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!((file_a.len().unwrap(), disk.space(a).unwrap().usable), (5, 0));
    file_b.write_at(&[1; 8], 0).unwrap();
    disk.set_free_space_of(Path::new("/a"), None);
    disk.set_faults(Path::new("/a"), Faults { broken: true, ..Faults::default() });
    assert!(file_a.len().is_err() && disk.read(a).is_err() && disk.sync_dir(Path::new("/a")).is_err());
    assert_eq!(disk.read(b).unwrap(), [1; 8]);
    disk.set_faults(Path::new("/b"), Faults { short_reads: true, ..Faults::default() });
    let mut buf = [0; 8];
    assert!((0..100).any(|_| file_b.read_at(&mut buf, 0).unwrap() < 8));
    assert_eq!(disk.read(b).unwrap(), [1; 8]);
}

#[test]
fn faults() {
    let disk = MemDisk::new();
    let file = disk.open(Path::new("/file"), OpenMode::Create).unwrap();
    disk.set_free_space(Some(10));
    file.write_at(&[1; 8], 0).unwrap();
    file.write_at(&[2; 8], 0).unwrap();
    assert_eq!(file.write_at(&[1; 8], 8).unwrap_err().kind(), ErrorKind::StorageFull);
    disk.set_free_space(None);
    disk.fail_after(Some(1));
    file.write_at(&[1; 8], 8).unwrap();
    assert!(file.sync_data().is_err());
    disk.fail_after(None);
    file.sync_data().unwrap();
}
