//! A write that fails ends the process with its own exit code, a panic in the committer aborts it.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use tsidecar_oauth::settle::Redeemed;
use tsidecar_server::store::{DiskOptions, DiskStore, EXIT_STORE_FAILED, Store};

use crate::child::{Task, arguments, child_command, tell};
use crate::sample::{NOW, grant};

#[test]
fn a_failing_write_ends_the_process_with_its_own_exit_code() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let store = DiskStore::open(&folder.path().join("db"), DiskOptions::default()).unwrap();
    assert_eq!(store.redeem(grant(1_000_000), NOW).wait().unwrap(), Redeemed::New);
    drop(store);
    // A limit of 2 MiB on files makes the kernel fail a write of the database, as a broken disk would.
    let (own, child) = arguments();
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 4096; exec \"$@\"", "sh"]).arg(own).args(child);
    let ran = tell(&mut shell, Task::Forever, folder.path(), 0).output().unwrap();
    assert!(String::from_utf8_lossy(&ran.stdout).contains("BEGIN"), "it failed before it wrote");
    assert_eq!(ran.status.code(), Some(EXIT_STORE_FAILED), "{}", String::from_utf8_lossy(&ran.stderr));
    // What was acknowledged before is there afterwards.
    let store = DiskStore::open(&folder.path().join("db"), DiskOptions::default()).unwrap();
    assert!(store.grant(grant(1_000_000).id()).unwrap().is_some());
    assert!(store.grant(grant(0).id()).unwrap().is_some());
}

#[test]
fn a_panic_in_the_committer_aborts_the_process() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let ran = child_command(Task::Panic, folder.path(), 0).output().unwrap();
    assert_eq!(ran.status.signal(), Some(6), "{}", String::from_utf8_lossy(&ran.stderr));
}
