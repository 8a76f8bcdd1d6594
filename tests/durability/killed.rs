//! `kill -9` under load, two hundred times on one state folder: nothing that was acknowledged is lost, nothing that was
//! rotated away or revoked works again, no used code becomes redeemable.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use tsidecar_oauth::grant::Generation;
use tsidecar_oauth::settle::{Redeemed, Rotated};
use tsidecar_server::store::{DiskOptions, DiskStore, Store};

use crate::child::{Task, child_command};
use crate::sample::{NOW, Random, grant};

const CYCLES: u64 = 200;

/// A child is killed after so many acknowledgements at most.
const MOST: u64 = 250;

/// What was acknowledged of a grant.
#[derive(Clone, Copy, Default)]
struct Known {
    generation: u32,
    revoked: bool,
}

#[test]
fn nothing_acknowledged_is_lost_to_kill_9() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let (mut known, mut random) = (BTreeMap::new(), Random::new(7));
    let (start, mut acknowledged) = (Instant::now(), 0);
    for cycle in 1..=CYCLES {
        let touched = run_and_kill(folder.path(), cycle, 1 + random.below(MOST), &mut known);
        acknowledged += touched.len();
        let store = DiskStore::open(&folder.path().join("db"), DiskOptions::default()).unwrap();
        for number in &touched {
            compare(&store, *number, &mut known);
        }
        try_what_must_not_work(&store, touched.last().copied(), &mut known);
    }
    let store = DiskStore::open(&folder.path().join("db"), DiskOptions::default()).unwrap();
    let numbers: Vec<_> = known.keys().copied().collect();
    for number in &numbers {
        compare(&store, *number, &mut known);
    }
    println!(
        "{CYCLES} times killed in {:?}: {acknowledged} acknowledgements of {} grants, none lost",
        start.elapsed(),
        numbers.len()
    );
}

/// Runs a child until it has acknowledged so many changes, kills it, and notes everything it said until then.
fn run_and_kill(folder: &Path, cycle: u64, after: u64, known: &mut BTreeMap<u64, Known>) -> Vec<u64> {
    let mut child = child_command(Task::Load, folder, cycle).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let (mut touched, mut line) = (Vec::new(), String::new());
    // The end of the stream comes after the kill: what had been said before it counts too.
    while lines.read_line(&mut line).unwrap() > 0 {
        // A line without its end was being written when the child died.
        if let Some(line) = line.strip_suffix('\n') {
            touched.extend(note(line, known));
        }
        line.clear();
        if touched.len() as u64 == after {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(touched.len() as u64 >= after, "the child of cycle {cycle} ended by itself");
    touched
}

/// Notes a line of a child; the number of a grant is returned when the line acknowledges a change.
fn note(line: &str, known: &mut BTreeMap<u64, Known>) -> Option<u64> {
    let mut words = line.split(' ');
    let kind = words.next().filter(|kind| matches!(*kind, "L" | "R" | "G" | "X"))?;
    let number = words.next().unwrap().parse().unwrap();
    let mut generation = || words.next().unwrap().parse().unwrap();
    match kind {
        // Left over from an earlier child, whose last change may have become durable without being acknowledged.
        "L" => {
            let found = generation();
            let before = known.entry(number).or_insert(Known { generation: found, revoked: false });
            assert!(
                found == before.generation || found == before.generation + 1,
                "{number} jumped to {found}"
            );
            assert!(!before.revoked, "the revocation of {number} is lost");
            before.generation = found;
            return None;
        }
        "R" => assert!(known.insert(number, Known::default()).is_none(), "{number} was redeemed twice"),
        "G" => known.get_mut(&number).unwrap().generation = generation(),
        _ => known.get_mut(&number).unwrap().revoked = true,
    }
    Some(number)
}

/// Compares a record with what was acknowledged. One step more may be there: it was on its way when the child died.
fn compare(store: &dyn Store, number: u64, known: &mut BTreeMap<u64, Known>) {
    let expected = known.get_mut(&number).unwrap();
    let stored = store.grant(grant(number).id()).unwrap();
    let stored = stored.unwrap_or_else(|| panic!("the grant {number} was acknowledged and is lost"));
    let generation = stored.state().generation.number();
    assert!(
        generation == expected.generation || generation == expected.generation + 1,
        "{number}: generation {generation} stored, {} acknowledged",
        expected.generation
    );
    assert!(stored.is_revoked() || !expected.revoked, "the revocation of {number} is lost");
    *expected = Known { generation, revoked: stored.is_revoked() };
}

/// Shows a used code and tokens that were rotated away, for one grant of the cycle.
fn try_what_must_not_work(store: &dyn Store, number: Option<u64>, known: &mut BTreeMap<u64, Known>) {
    let Some(number) = number else { return };
    let expected = known.get_mut(&number).unwrap();
    let id = grant(number).id();
    let old = expected.generation.checked_sub(2).map(Generation::from_number);
    if let Some(old) = old {
        let wanted = if expected.revoked { Rotated::Revoked } else { Rotated::Reused };
        assert_eq!(store.rotate(id, old, NOW).wait().unwrap(), wanted);
        expected.revoked = true;
    }
    assert_eq!(store.redeem(grant(number), NOW).wait().unwrap(), Redeemed::Replayed);
    expected.revoked = true;
    let current = Generation::from_number(expected.generation);
    assert_eq!(store.rotate(id, current, NOW).wait().unwrap(), Rotated::Revoked);
}
