//! One suite for every disk: what the crates below rely on.

use super::{Disk, MemDisk, OpenMode, RealDisk};
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
        assert!(b"durable gone".starts_with(&bytes) && bytes.len() >= 7, "{bytes:?}");
    }
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
