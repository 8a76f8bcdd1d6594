//! Damage, wrong rights, newer versions and second daemons: each refused with what to do.

use std::os::unix::fs::PermissionsExt;

use tsidecar_oauth::uri::Issuer;

use super::*;
use crate::config::Config;

fn pins() -> Pins {
    Pins::first(&Config::default(), Issuer::parse("https://idp.tail.test").unwrap(), "example.com")
}

/// An empty folder that only we may enter.
pub(crate) fn private() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    set_mode(dir.path(), 0o700);
    dir
}

/// A known folder, unlocked.
fn known() -> tempfile::TempDir {
    let dir = private();
    StateFolder::open(dir.path()).unwrap().complete(&pins()).unwrap();
    dir
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn refusal(dir: &Path) -> String {
    let error = StateFolder::open(dir).and_then(|folder| folder.pins()).unwrap_err();
    error.to_string().replace(&dir.display().to_string(), "/s")
}

#[test]
fn a_new_folder_becomes_known_when_the_first_start_is_complete() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("state");
    let mut folder = StateFolder::open(&dir).unwrap();
    assert!(!folder.is_known());
    assert_eq!(folder.pins().unwrap(), None);
    folder.complete(&pins()).unwrap();
    assert!(folder.is_known());
    drop(folder);
    let folder = StateFolder::open(&dir).unwrap();
    assert!(folder.is_known());
    assert_eq!(folder.pins().unwrap(), Some(pins()));
    for (part, mode) in [
        ("", 0o700),
        ("keys/sealing", 0o700),
        ("db", 0o700),
        ("pins.json", 0o600),
        ("version", 0o600),
        ("lock", 0o600),
    ] {
        assert_eq!(std::fs::metadata(dir.join(part)).unwrap().mode() & 0o7777, mode, "{part}");
    }
}

#[test]
fn an_interrupted_first_start_goes_on() {
    let dir = private();
    drop(StateFolder::open(dir.path()).unwrap());
    write_private(&dir.path().join("pins.json"), pins().to_json().unwrap().as_bytes()).unwrap();
    let folder = StateFolder::open(dir.path()).unwrap();
    assert!(!folder.is_known());
    assert_eq!(folder.pins().unwrap(), Some(pins()));
}

#[test]
fn a_second_daemon_is_told_who_has_the_folder() {
    let dir = known();
    let first = StateFolder::open(dir.path()).unwrap();
    let error = StateFolder::open(dir.path()).unwrap_err();
    assert!(matches!(error, StateError::Locked { holder: Some(pid), .. } if pid == std::process::id()));
    let text = error.to_string().replace(&dir.path().display().to_string(), "/s");
    insta::assert_snapshot!(text.replace(&std::process::id().to_string(), "PID"), @"/s/lock is locked by another tsidecar (pid PID): stop that one first, or give this one its own [state] dir");
    drop(first);
    assert!(StateFolder::open(dir.path()).is_ok());
}

#[test]
fn what_others_may_open_is_refused() {
    let dir = known();
    set_mode(dir.path(), 0o750);
    insta::assert_snapshot!(refusal(dir.path()), @"/s has mode 0750, so others than its owner may open it; run: chmod 0700 /s");
    set_mode(dir.path(), 0o700);
    set_mode(&dir.path().join("pins.json"), 0o640);
    insta::assert_snapshot!(refusal(dir.path()), @"/s/pins.json has mode 0640, so others than its owner may open it; run: chmod 0600 /s/pins.json");
    set_mode(&dir.path().join("pins.json"), 0o600);
    set_mode(&dir.path().join("keys/signing"), 0o755);
    insta::assert_snapshot!(refusal(dir.path()), @"/s/keys/signing has mode 0755, so others than its owner may open it; run: chmod 0700 /s/keys/signing");
    set_mode(&dir.path().join("keys/signing"), 0o700);
    assert!(StateFolder::open(dir.path()).is_ok());
}

#[test]
fn what_is_missing_or_damaged_is_refused() {
    let dir = known();
    let version = dir.path().join("version");
    for (text, is_damage) in [("2\n", false), ("one\n", true), ("", true), ("0\n", true)] {
        std::fs::write(&version, text).unwrap();
        assert_eq!(refusal(dir.path()).starts_with("/s/version is damaged"), is_damage, "{text}");
    }
    std::fs::write(&version, "2\n").unwrap();
    insta::assert_snapshot!(refusal(dir.path()), @"/s was written by a newer tsidecar (format 2, this one knows 1); install that version again, or restore a backup that this version made");
    std::fs::write(&version, "1\n").unwrap();

    let pinned = dir.path().join("pins.json");
    let whole = std::fs::read_to_string(&pinned).unwrap();
    std::fs::write(&pinned, whole.replace("idp.tail", "idq.tail")).unwrap();
    insta::assert_snapshot!(refusal(dir.path()), @"/s/pins.json is damaged; nothing is replaced silently: restore it from a backup, or move the whole state folder away to start anew (all logins and tokens end, and relying parties must fetch new keys)");
    std::fs::remove_file(&pinned).unwrap();
    insta::assert_snapshot!(refusal(dir.path()), @"pins.json is missing in /s, which was in use before; nothing is replaced silently: restore it from a backup, or move the whole folder away to start anew (all logins and tokens end, and relying parties must fetch new keys)");
    std::fs::write(&pinned, &whole).unwrap();
    set_mode(&pinned, 0o600);

    std::fs::remove_dir(dir.path().join("db")).unwrap();
    assert!(refusal(dir.path()).starts_with("db is missing in /s, which was in use before"));
    std::fs::create_dir(dir.path().join("db")).unwrap();
    set_mode(&dir.path().join("db"), 0o700);
    std::fs::write(dir.path().join("db/data"), "x").unwrap();
    std::fs::remove_file(&version).unwrap();
    assert!(refusal(dir.path()).starts_with("version is missing in /s, which was in use before"));
}

#[test]
fn a_written_file_replaces_the_old_one_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    write_private(&path, b"one").unwrap();
    std::fs::write(dir.path().join(".a.new"), "left by a crash").unwrap();
    write_private(&path, b"two").unwrap();
    assert_eq!(read_private(&path, Owner::own()).unwrap().unwrap().as_str(), "two");
    assert!(!dir.path().join(".a.new").exists());
    std::fs::write(&path, vec![b'x'; 70_000]).unwrap();
    assert!(matches!(read_private(&path, Owner::own()), Err(StateError::Damaged { .. })));
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(matches!(read_private(&path, Owner::own()), Err(StateError::Damaged { .. })));
}

#[test]
fn the_configuration_wins_over_pins() {
    let pins = pins();
    assert_eq!(
        (pins.email_suffix.as_str(), pins.local_domains.as_slice()),
        ("idp.tail.test", &["example.com".to_owned()][..])
    );
    let other = Pins::first(&Config::default(), pins.issuer.clone(), "alice@gmail.com");
    assert!(other.local_domains.is_empty());
    let mut config = Config::default();
    assert_eq!(pins.issuer(&config), pins.issuer);
    config.issuer = Some(Issuer::parse("https://login.example.com").unwrap());
    config.claims.email_suffix = Some("mail.example.com".to_owned());
    assert_eq!(pins.issuer(&config).as_str(), "https://login.example.com");
    assert_eq!(pins.claims(&config).email_suffix, "mail.example.com");
    assert_eq!(pins.claims(&config).local_domains, ["example.com"]);
}

#[test]
fn an_issuer_comes_from_the_name_of_the_node() {
    assert_eq!(issuer_of("Idp.Tail.test.").unwrap().as_str(), "https://idp.tail.test");
    assert_eq!(issuer_of(""), None);
    assert_eq!(issuer_of("a b"), None);
}
