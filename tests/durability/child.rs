//! The process that the other tests trace, kill and starve: this binary again, told by its environment what to do.

use std::fs;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;

use tsidecar_oauth::grant::Grant;
use tsidecar_oauth::settle::{Redeemed, Rotated};
use tsidecar_server::store::{DiskOptions, DiskStore, Store};

use crate::sample::{NOW, Random, grant, number};

const TASK: &str = "TSIDECAR_DURABILITY_TASK";
const FOLDER: &str = "TSIDECAR_DURABILITY_FOLDER";
const SEED: &str = "TSIDECAR_DURABILITY_SEED";

/// Threads under load, each with grants of its own.
const THREADS: u64 = 8;

/// Live grants that a thread plays with.
const HELD: usize = 6;

/// What a child does.
#[derive(Clone, Copy)]
pub(crate) enum Task {
    /// Redeems, refreshes and replays one after the other, and says so after each.
    Sequence,
    /// Redeems, refreshes and revokes on many threads until it is killed, and says so after each.
    Load,
    /// Writes until something breaks.
    Forever,
    /// Panics in the committer.
    Panic,
}

impl Task {
    const ALL: [Self; 4] = [Self::Sequence, Self::Load, Self::Forever, Self::Panic];

    const fn name(self) -> &'static str {
        match self {
            Self::Sequence => "sequence",
            Self::Load => "load",
            Self::Forever => "forever",
            Self::Panic => "panic",
        }
    }
}

/// The command that starts a child.
pub(crate) fn arguments() -> (PathBuf, [&'static str; 5]) {
    let own = std::env::current_exe().unwrap();
    (own, ["--exact", "child::child", "--ignored", "--nocapture", "--test-threads=1"])
}

/// Tells a child, or what starts it, what to do.
pub(crate) fn tell<'a>(command: &'a mut Command, task: Task, folder: &Path, seed: u64) -> &'a mut Command {
    command.env(TASK, task.name()).env(FOLDER, folder).env(SEED, seed.to_string())
}

/// A child that is to be started.
pub(crate) fn child_command(task: Task, folder: &Path, seed: u64) -> Command {
    let (own, arguments) = arguments();
    let mut command = Command::new(own);
    tell(command.args(arguments), task, folder, seed);
    command
}

#[test]
#[ignore = "started by the other tests, with its task in the environment"]
fn child() {
    let Ok(task) = std::env::var(TASK) else { return };
    let task = Task::ALL.into_iter().find(|known| known.name() == task).unwrap();
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap()).join("db");
    let seed = std::env::var(SEED).unwrap().parse().unwrap();
    match task {
        Task::Sequence => sequence(&*open(&folder)),
        Task::Load => load(&open(&folder), seed),
        Task::Forever => forever(&*open(&folder)),
        Task::Panic => {
            let options = DiskOptions::default().free_bytes(|| panic!("a bug in the committer"));
            let _ = DiskStore::open(&folder, options).unwrap().ping().wait();
        }
    }
}

fn open(folder: &Path) -> Arc<dyn Store> {
    Arc::new(DiskStore::open(folder, DiskOptions::default()).unwrap())
}

/// One line, in one system call.
fn say(line: &str) {
    let mut out = stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

fn sequence(store: &dyn Store) {
    say("BEGIN");
    for n in 0..20 {
        let draft = grant(n);
        assert_eq!(store.redeem(draft.clone(), NOW).wait().unwrap(), Redeemed::New);
        say(&format!("ACK redeemed {n}"));
        let rotated = store.rotate(draft.id(), draft.state().generation, NOW).wait().unwrap();
        assert_eq!(rotated, Rotated::Rotated(draft.state().generation.next()));
        say(&format!("ACK rotated {n}"));
        assert_eq!(store.redeem(draft, NOW).wait().unwrap(), Redeemed::Replayed);
        say(&format!("ACK replayed {n}"));
    }
    say("END");
}

fn load(store: &Arc<dyn Store>, seed: u64) {
    // Ends the line that the test harness has begun.
    say("");
    let threads: Vec<_> = (0..THREADS)
        .map(|own| {
            let store = Arc::clone(store);
            thread::spawn(move || play(&*store, own, seed))
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Plays with the grants that this thread owns: those left by earlier children, and new ones.
fn play(store: &dyn Store, own: u64, seed: u64) {
    let mut random = Random::new(seed * THREADS + own);
    let mut held = left_over(store, own);
    for (number, grant) in &held {
        say(&format!("L {number} {}", grant.state().generation.number()));
    }
    let mut next = seed * 1_000_000 + own;
    loop {
        if held.len() < HELD {
            let draft = grant(next);
            let intent = store.intent();
            let answer = store.redeem(draft.clone(), NOW);
            drop(intent);
            assert_eq!(answer.wait().unwrap(), Redeemed::New);
            say(&format!("R {next}"));
            held.push((next, draft));
            next += THREADS;
            continue;
        }
        let place = random.below(held.len() as u64);
        let place = usize::try_from(place).unwrap();
        let (number, grant) = &held[place];
        if random.below(12) == 0 {
            assert!(store.revoke_grant(grant.id(), NOW).wait().unwrap());
            say(&format!("X {number}"));
            held.swap_remove(place);
        } else {
            let intent = store.intent();
            let answer = store.rotate(grant.id(), grant.state().generation, NOW);
            drop(intent);
            let Rotated::Rotated(now) = answer.wait().unwrap() else { panic!("{number} does not rotate") };
            say(&format!("G {number} {}", now.number()));
            let current = store.grant(grant.id()).unwrap().unwrap();
            held[place].1 = current;
        }
    }
}

fn left_over(store: &dyn Store, own: u64) -> Vec<(u64, Grant)> {
    let (mut held, mut after) = (Vec::new(), None);
    loop {
        let page = store.grants_after(after, 1_000).unwrap();
        let live = page.grants.into_iter().filter(|grant| !grant.is_revoked());
        held.extend(live.map(|grant| (number(grant.id()), grant)).filter(|(n, _)| n % THREADS == own));
        after = page.next;
        if after.is_none() {
            held.truncate(HELD);
            return held;
        }
    }
}

fn forever(store: &dyn Store) {
    for n in 0.. {
        store.redeem(grant(n), NOW).wait().unwrap();
        if n == 0 {
            say("BEGIN");
        }
    }
}

/// Copies a folder with everything in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
