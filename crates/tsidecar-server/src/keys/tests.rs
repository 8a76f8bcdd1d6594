//! Key files: made once, read whole, changed one at a time.

use std::os::unix::fs::DirBuilderExt as _;

use super::*;
use crate::state::{Pins, tests::private};

fn now() -> UnixTime {
    UnixTime::from_secs(1_800_000_000)
}

fn folder(dir: &Path) -> StateFolder {
    StateFolder::open(dir).unwrap()
}

fn complete(folder: &mut StateFolder) {
    let issuer = Issuer::parse("https://idp.tail.test").unwrap();
    folder.complete(&Pins::first(&crate::config::Config::default(), issuer, "example.com")).unwrap();
}

fn kinds(keys: &Keys) -> Vec<&str> {
    keys.records.iter().map(|key| key.kind.as_str()).collect()
}

/// A known folder with its keys, unlocked.
fn known() -> tempfile::TempDir {
    let dir = private();
    let mut folder = folder(dir.path());
    Keys::open(&folder, now()).unwrap();
    complete(&mut folder);
    dir
}

fn only(dir: &Path, part: &str, kind: &str) -> PathBuf {
    let of_kind = |path: &PathBuf| std::fs::read_to_string(path).unwrap().contains(&format!("\"{kind}\""));
    files(&dir.join(part)).unwrap().into_iter().find(of_kind).unwrap()
}

fn refusal(dir: &Path) -> String {
    Keys::open(&folder(dir), now()).unwrap_err().to_string().replace(&dir.display().to_string(), "/s")
}

#[test]
fn keys_are_made_once_and_stay_the_same() {
    let dir = private();
    let mut first = folder(dir.path());
    let made = Keys::open(&first, now()).unwrap();
    assert_eq!(kinds(&made), ["RS256", "ES256", "sealing"]);
    // A first start that was interrupted goes on with what is there.
    std::fs::remove_file(only(dir.path(), "keys/signing", "ES256")).unwrap();
    let again = Keys::open(&first, now()).unwrap();
    assert_eq!(kinds(&again), ["RS256", "ES256", "sealing"]);
    complete(&mut first);
    let records = again.records.clone();
    drop(first);
    let read = Keys::open(&folder(dir.path()), now()).unwrap();
    assert_eq!(read.records, records);
    let ring = read.ring(&Issuer::parse("https://idp.tail.test").unwrap(), CodeEpoch(0));
    assert_eq!((ring.signing.iter().count(), ring.sealing.iter().count()), (2, 1));
    assert!(ring.signing.active(Algorithm::Rs256).is_ok() && ring.signing.active(Algorithm::Es256).is_ok());
    let printed = format!("{ring:?}");
    let secret = std::fs::read_to_string(only(dir.path(), "keys/sealing", "sealing")).unwrap();
    let secret: serde_json::Value = serde_json::from_str(&secret).unwrap();
    assert!(!printed.contains(secret["secret"].as_str().unwrap()));
}

#[test]
fn a_damaged_key_stops_the_start() {
    for (part, kind) in [("keys/signing", "RS256"), ("keys/signing", "ES256"), ("keys/sealing", "sealing")] {
        let dir = known();
        let path = only(dir.path(), part, kind);
        let whole = std::fs::read(&path).unwrap();
        let name = path.strip_prefix(dir.path()).unwrap().display().to_string();
        // Any flipped byte, any truncation; every file is still there afterwards, unchanged.
        for place in (0..whole.len()).step_by(7) {
            let mut flipped = whole.clone();
            flipped[place] ^= 1;
            if serde_json::from_slice::<serde_json::Value>(&flipped).ok()
                == serde_json::from_slice::<serde_json::Value>(&whole).ok()
            {
                continue;
            }
            std::fs::write(&path, &flipped).unwrap();
            assert!(refusal(dir.path()).starts_with(&format!("/s/{name} is damaged;")), "{place}");
            assert_eq!(std::fs::read(&path).unwrap(), flipped);
        }
        for length in [0, 1, whole.len() / 2, whole.len() - 3] {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(refusal(dir.path()).starts_with(&format!("/s/{name} is damaged;")), "{length}");
        }
        std::fs::write(&path, &whole).unwrap();
        assert!(Keys::open(&folder(dir.path()), now()).is_ok());
    }
}

#[test]
fn a_missing_key_stops_the_start() {
    let dir = known();
    std::fs::remove_file(only(dir.path(), "keys/signing", "RS256")).unwrap();
    insta::assert_snapshot!(refusal(dir.path()), @"the active RS256 key (keys/signing) is missing in /s, which was in use before; nothing is replaced silently: restore it from a backup, or move the whole folder away to start anew (all logins and tokens end, and relying parties must fetch new keys)");
    let dir = known();
    std::fs::remove_file(only(dir.path(), "keys/sealing", "sealing")).unwrap();
    assert!(refusal(dir.path()).starts_with("the active sealing key (keys/sealing) is missing in /s"));
    assert_eq!(files(&dir.path().join("keys/sealing")).unwrap().len(), 0);
}

#[test]
fn a_key_in_the_wrong_place_is_damage() {
    let dir = known();
    let path = only(dir.path(), "keys/signing", "RS256");
    std::fs::rename(&path, path.with_file_name("other.json")).unwrap();
    assert!(refusal(dir.path()).starts_with("/s/keys/signing/other.json is damaged"));
    std::fs::rename(path.with_file_name("other.json"), &path).unwrap();
    std::fs::write(path.with_file_name(".half.json.new"), "half").unwrap();
    assert!(Keys::open(&folder(dir.path()), now()).is_ok());
}

fn ring(dir: &Path) -> KeyRing {
    let keys = Keys::open(&folder(dir), now()).unwrap();
    keys.ring(&Issuer::parse("https://idp.tail.test").unwrap(), CodeEpoch(0))
}

fn policy() -> Policy {
    Policy { every: Some(Lifetime::from_days(90)), ..first() }
}

/// The states of a kind in a ring, the one in use first.
fn states(ring: &KeyRing, kind: KeyKind) -> Vec<&'static str> {
    ring.records.iter().filter(|key| key.kind == kind).map(|key| key.stage.state().as_str()).collect()
}

fn later(days: u64) -> UnixTime {
    now().after(Lifetime::from_days(days))
}

const RS256: KeyKind = KeyKind::Signing(Algorithm::Rs256);

#[test]
fn a_rotation_is_on_disk_before_it_is_in_the_ring() {
    let dir = known();
    let start = ring(dir.path());
    let home = Arc::clone(start.home.as_ref().unwrap());
    let at = |days| home.change(|keys| Ok(plan(keys, later(days), &policy()))).unwrap();
    let published = at(89);
    assert_eq!(
        published.changes.iter().map(|change| change.change.as_str()).collect::<Vec<_>>(),
        ["made"; 3]
    );
    assert_eq!(states(&published.ring, RS256), ["active", "next"]);
    let kid = |ring: &KeyRing| ring.signing.active(Algorithm::Rs256).unwrap().id().clone();
    assert_eq!(kid(&published.ring), kid(&start));
    assert_eq!(published.ring.signing.jwks()["keys"].as_array().unwrap().len(), 4);
    let rotated = at(90);
    assert_eq!(states(&rotated.ring, RS256), ["active", "retired"]);
    assert_ne!(kid(&rotated.ring), kid(&start));
    // What a start reads is what was in force.
    assert_eq!(ring(dir.path()).records, rotated.ring.records);
    assert_eq!(kid(&ring(dir.path())), kid(&rotated.ring));
    assert_eq!(states(&at(98).ring, RS256), ["active"]);
    assert_eq!(states(&at(98).ring, KeyKind::Sealing), ["active", "retired"]);
}

/// A power cut after any file of a rotation: the next start is whole, and goes on to the same states.
#[test]
fn a_crash_between_two_files_costs_nothing() {
    let dir = known();
    for days in [89, 90, 98] {
        let records = ring(dir.path()).records;
        let steps = plan(&records, later(days), &policy());
        assert!(!steps.is_empty());
        for done in 0..=steps.len() {
            let copy = private();
            for part in ["", "keys", "keys/signing", "keys/sealing"] {
                copy_files(&dir.path().join(part), &copy.path().join(part));
            }
            std::fs::DirBuilder::new().mode(0o700).create(copy.path().join("db")).unwrap();
            home::carry_out(copy.path(), steps[..done].to_vec(), |_| ()).unwrap();
            let ring = ring(copy.path());
            assert!(
                ring.signing.active(Algorithm::Rs256).is_ok()
                    && ring.signing.active(Algorithm::Es256).is_ok()
            );
            let sealing = ring.sealing.iter().filter(|(_, state)| *state == KeyState::Active).count();
            assert_eq!(sealing, 1, "after {done} of {steps:?}");
            let home = ring.home.as_ref().unwrap();
            let gone_on = home.change(|keys| Ok(plan(keys, later(days), &policy()))).unwrap();
            let expected = match days {
                89 => ["active", "next"].as_slice(),
                90 => &["active", "retired"],
                _ => &["active"],
            };
            assert_eq!(states(&gone_on.ring, RS256), expected, "after {done} of {steps:?}");
        }
        home::carry_out(dir.path(), steps, |_| ()).unwrap();
    }
}

fn copy_files(from: &Path, to: &Path) {
    std::fs::DirBuilder::new().mode(0o700).recursive(true).create(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() && entry.file_name() != "lock" {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn a_key_that_went_missing_while_running_is_not_replaced() {
    let dir = known();
    let home = ring(dir.path()).home.unwrap();
    std::fs::remove_file(only(dir.path(), "keys/signing", "RS256")).unwrap();
    let refused = home.change(|keys| Ok(plan(keys, later(90), &policy()))).unwrap_err();
    assert!(refused.to_string().starts_with("the active RS256 key (keys/signing) is missing"), "{refused}");
    assert_eq!(files(&dir.path().join("keys/signing")).unwrap().len(), 1);
}

#[test]
fn a_failing_step_leaves_what_was_done_before() {
    let dir = known();
    let home = ring(dir.path()).home.unwrap();
    let sealing = dir.path().join("keys/sealing");
    let unknown = KeyRecord {
        id: tsidecar_oauth::id::KeyId::parse("beef").unwrap(),
        ..Keys::look(dir.path(), Owner::own()).unwrap().remove(0)
    };
    let changed = home
        .change(|keys| {
            let mut steps = plan(keys, later(89), &policy());
            steps.insert(1, tsidecar_oauth::rotation::Step::Retire(unknown));
            Ok(steps)
        })
        .unwrap();
    assert!(changed.failed.is_some());
    assert_eq!(changed.changes.len(), 1);
    assert_eq!(states(&changed.ring, RS256), ["active", "next"]);
    assert_eq!(files(&sealing).unwrap().len(), 1);
}
