//! Full and read-only disks: refused before sled meets them, and recovered from.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use tsidecar_oauth::settle::Redeemed;
use tsidecar_server::store::{DiskOptions, DiskStore, LEAST_FREE_BYTES, OpenError, Store, StoreError};

use crate::sample::{NOW, grant};

const MIB: u64 = 1 << 20;

/// A small disk of its own.
struct Disk(tempfile::TempDir);

impl Disk {
    /// Mounts a disk of so many MiB; `None`, with a word, where that is not allowed. CI is root.
    fn mount(size: u64) -> Option<Self> {
        let place = tempfile::tempdir().unwrap();
        if run(
            "mount",
            &["-t", "tmpfs", "-o", &format!("size={size}m,mode=0700"), "tsidecar-test", path(place.path())],
        ) {
            return Some(Self(place));
        }
        eprintln!("SKIPPED: this test mounts a small disk, for which it must be root");
        assert!(!rustix::process::geteuid().is_root() || std::env::var_os("CI").is_none(), "CI can mount");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn database(&self) -> std::path::PathBuf {
        self.path().join("db")
    }

    /// Takes so many MiB away.
    fn fill(&self, size: u64) {
        let file = File::create(self.path().join("filler")).unwrap();
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size * MIB).unwrap();
    }

    fn free(&self) {
        fs::remove_file(self.path().join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", &["-l", path(self.path())]);
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|ran| ran.status.success())
}

#[test]
fn a_filling_disk_refuses_writes_before_sled_meets_it() {
    let Some(disk) = Disk::mount(96) else { return };
    let store = DiskStore::open(&disk.database(), DiskOptions::default()).unwrap();
    assert_eq!(store.redeem(grant(1), NOW).wait().unwrap(), Redeemed::New);
    disk.fill(64);
    let refused = store.redeem(grant(2), NOW).wait().unwrap_err();
    assert!(
        matches!(refused, StoreError::NoSpace { free_bytes } if free_bytes > 0 && free_bytes < LEAST_FREE_BYTES),
        "{refused}"
    );
    store.ping().wait().unwrap();
    assert_eq!(store.grant(grant(1).id()).unwrap(), Some(grant(1)));
    disk.free();
    assert_eq!(store.redeem(grant(2), NOW).wait().unwrap(), Redeemed::New);
}

#[test]
fn a_full_disk_is_named_at_the_start() {
    let Some(disk) = Disk::mount(96) else { return };
    let store = DiskStore::open(&disk.database(), DiskOptions::default()).unwrap();
    assert_eq!(store.redeem(grant(1), NOW).wait().unwrap(), Redeemed::New);
    drop(store);
    let left = rustix::fs::statvfs(disk.path()).unwrap().f_bavail * 4096 / MIB;
    disk.fill(left);
    match DiskStore::open(&disk.database(), DiskOptions::default()) {
        Err(error) => assert!(matches!(error, OpenError::NoSpace { .. }), "{error}"),
        // Where sled finds room in its own file it may start; then it must refuse to write.
        Ok(store) => {
            assert!(matches!(store.redeem(grant(2), NOW).wait(), Err(StoreError::NoSpace { .. })));
        }
    }
    disk.free();
    let store = DiskStore::open(&disk.database(), DiskOptions::default()).unwrap();
    assert_eq!(store.grant(grant(1).id()).unwrap(), Some(grant(1)));
}

#[test]
fn a_read_only_disk_is_named_at_the_start() {
    let Some(disk) = Disk::mount(96) else { return };
    drop(DiskStore::open(&disk.database(), DiskOptions::default()).unwrap());
    assert!(run("mount", &["-o", "remount,ro", path(disk.path())]));
    let error = DiskStore::open(&disk.database(), DiskOptions::default()).err().unwrap();
    let text = error.to_string();
    assert!(matches!(error, OpenError::Io { .. }) && text.contains("Read-only file system"), "{text}");
}

#[test]
fn free_space_that_cannot_be_read_refuses_writes() {
    let folder = tempfile::tempdir().unwrap();
    let options = DiskOptions::default().free_bytes(|| Err(std::io::Error::other("no answer")));
    let store = DiskStore::open(&folder.path().join("db"), options).unwrap();
    assert!(matches!(store.redeem(grant(1), NOW).wait(), Err(StoreError::NoSpace { free_bytes: 0 })));
    store.ping().wait().unwrap();
}
