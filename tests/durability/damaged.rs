//! Torn and damaged files: a clear refusal, or everything is there; never an empty or shortened store.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use tsidecar_oauth::settle::Redeemed;
use tsidecar_server::store::{DiskOptions, DiskStore, OpenError, Store};

use crate::child::copy;
use crate::sample::{NOW, grant};

const GRANTS: u64 = 3_000;

/// Whether sled's log is all there is, or a snapshot made by a second start stands beside it.
#[derive(Clone, Copy, PartialEq)]
enum Starts {
    One,
    Two,
}

/// A state folder with a database of some megabytes that was closed.
fn filled(starts: Starts) -> tempfile::TempDir {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let store = DiskStore::open(&folder.path().join("db"), DiskOptions::default()).unwrap();
    let answers: Vec<_> = (0..GRANTS)
        .map(|number| {
            let answer = store.redeem(grant(number), NOW);
            if number % 500 == 499 {
                store.ping().wait().unwrap();
            }
            answer
        })
        .collect();
    for answer in answers {
        assert_eq!(answer.wait().unwrap(), Redeemed::New);
    }
    drop(store);
    if starts == Starts::Two {
        assert_eq!(outcome(folder.path()), None);
    }
    folder
}

fn open(state: &Path) -> Result<DiskStore, OpenError> {
    DiskStore::open(&state.join("db"), DiskOptions::default())
}

/// Opens what a damage left: a refusal is returned as its text, a start must have every grant.
fn outcome(state: &Path) -> Option<String> {
    match open(state) {
        Err(error) => Some(error.to_string()),
        Ok(store) => {
            for number in 0..GRANTS {
                let found = store.grant(grant(number).id());
                assert!(matches!(found, Ok(Some(_))), "it started without grant {number}: {found:?}");
            }
            None
        }
    }
}

/// A name, and what is done to a good state folder.
type Case = (&'static str, &'static dyn Fn(&Path));

/// Runs each damage on a copy of a good folder.
fn each(starts: Starts, cases: &[Case], check: impl Fn(&str, Option<String>)) {
    let good = filled(starts);
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    for (number, (name, damage)) in cases.iter().enumerate() {
        let state = place.path().join(number.to_string());
        copy(good.path(), &state);
        damage(&state);
        let outcome = outcome(&state);
        println!("{name}: {}", outcome.as_deref().unwrap_or("starts with everything"));
        check(name, outcome);
    }
}

fn database(state: &Path) -> PathBuf {
    state.join("db/db")
}

fn truncate(path: &Path, share: u64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() * share / 100).unwrap();
}

fn scribble(path: &Path, from: u64, length: usize) {
    use std::os::unix::fs::FileExt;
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&vec![0xa5; length], from).unwrap();
}

fn snapshots(state: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(state.join("db")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("snap")).collect()
}

#[test]
fn a_database_that_is_gone_is_never_made_anew() {
    let cases: [Case; 4] = [
        ("folder gone", &|state| fs::remove_dir_all(state.join("db")).unwrap()),
        ("folder emptied", &|state| {
            fs::remove_dir_all(state.join("db")).unwrap();
            fs::create_dir(state.join("db")).unwrap();
        }),
        ("file gone", &|state| fs::remove_file(database(state)).unwrap()),
        ("file emptied", &|state| truncate(&database(state), 0)),
    ];
    each(Starts::Two, &cases, |name, outcome| {
        let text = outcome.unwrap_or_else(|| panic!("{name}: it started"));
        assert!(text.contains("restore a backup"), "{name}: {text}");
    });
}

#[test]
fn a_damaged_database_is_refused_or_whole() {
    let cases: [Case; 9] = [
        ("cut to 99 %", &|state| truncate(&database(state), 99)),
        ("cut to 50 %", &|state| truncate(&database(state), 50)),
        ("cut to 1 %", &|state| truncate(&database(state), 1)),
        ("all garbage", &|state| {
            let length = fs::metadata(database(state)).unwrap().len();
            scribble(&database(state), 0, usize::try_from(length).unwrap());
        }),
        ("garbage in front", &|state| scribble(&database(state), 0, 4_096)),
        ("garbage in the middle", &|state| scribble(&database(state), 200_000, 4_096)),
        ("config garbage", &|state| scribble(&state.join("db/conf"), 0, 20)),
        ("snapshots garbage", &|state| snapshots(state).iter().for_each(|path| scribble(path, 0, 64))),
        ("snapshots gone", &|state| snapshots(state).iter().for_each(|path| fs::remove_file(path).unwrap())),
    ];
    for starts in [Starts::One, Starts::Two] {
        each(starts, &cases, |name, outcome| {
            if let Some(text) = outcome {
                assert!(text.contains("restore a backup"), "{name}: {text}");
            }
        });
    }
}

#[test]
fn an_older_database_is_not_taken_for_the_current_one() {
    let good = filled(Starts::One);
    let old = tempfile::tempdir_in("/var/tmp").unwrap();
    copy(&good.path().join("db"), &old.path().join("db"));
    assert_eq!(outcome(good.path()), None);
    fs::remove_dir_all(good.path().join("db")).unwrap();
    copy(&old.path().join("db"), &good.path().join("db"));
    let text = outcome(good.path()).unwrap();
    assert!(text.contains("is older than"), "{text}");
}

#[test]
fn a_second_process_is_told_that_there_is_a_first() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let store = open(folder.path()).unwrap();
    let text = open(folder.path()).err().unwrap().to_string();
    assert!(text.contains("another process") && text.contains("second tsidecar"), "{text}");
    store.ping().wait().unwrap();
}

#[test]
fn nobody_else_can_read_the_database() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let store = open(folder.path()).unwrap();
    let mode = |path: &str| fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!([mode("db"), mode("db/blobs")], [0o700, 0o700]);
    assert_eq!([mode("db/db"), mode("db/conf"), mode("db-in-use")], [0o600, 0o600, 0o600]);
    drop(store);
}
