//! Looks at a state folder without opening or locking it: for `doctor`, which may run beside the daemon and as root.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tsidecar_oauth::rotation::KeyRecord;
use tsidecar_oauth::time::UnixTime;

use super::{Owner, Pins, StateError, check_private, read_pins, read_version};
use crate::keys::Keys;

/// What a look at a state folder shows.
#[derive(Debug)]
pub enum Look {
    /// There is no folder; the first start makes it.
    Absent,
    /// It is not ours to look at.
    Denied,
    /// It is there.
    Seen(Seen),
}

/// A state folder as it is now.
#[derive(Debug)]
pub struct Seen {
    /// The account that it belongs to, by number.
    pub owner: u32,
    /// Whether a first start was completed.
    pub known: bool,
    /// What was pinned.
    pub pins: Option<Pins>,
    /// What is kept of the keys beside themselves; none when one of them is damaged.
    pub keys: Vec<KeyRecord>,
    /// The time of its newest file: no clock that is right is before it.
    pub newest: UnixTime,
    /// What would stop a start.
    pub problems: Vec<StateError>,
}

/// Looks at a state folder; nothing is changed.
pub fn look(dir: &Path) -> Look {
    let metadata = match std::fs::metadata(dir) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Look::Absent,
        Err(_) => return Look::Denied,
    };
    if std::fs::read_dir(dir).is_err() {
        return Look::Denied;
    }
    let owner = Owner(metadata.uid());
    let mut problems: Vec<StateError> = check_private(dir, &metadata, owner).err().into_iter().collect();
    let mut keep = |problem: StateError| problems.push(problem);
    let known = read_version(dir, owner).unwrap_or_else(|problem| {
        keep(problem);
        true
    });
    let pins = read_pins(dir, owner).unwrap_or_else(|problem| {
        keep(problem);
        None
    });
    let mut keys = Vec::new();
    if known {
        keys = Keys::look(dir, owner).unwrap_or_else(|problem| {
            keep(problem);
            Vec::new()
        });
    }
    for part in ["keys", "keys/signing", "keys/sealing", "db"] {
        let path = dir.join(part);
        match std::fs::metadata(&path) {
            Ok(metadata) => check_private(&path, &metadata, owner).unwrap_or_else(&mut keep),
            Err(_) if known => keep(StateError::Missing { what: part, dir: dir.to_owned() }),
            Err(_) => (),
        }
    }
    let newest = newest(&[dir.to_owned(), dir.join("db")]);
    Look::Seen(Seen { owner: metadata.uid(), known, pins, keys, newest, problems })
}

/// The newest time of change among the files of some folders; 1970 when there is none.
fn newest(folders: &[PathBuf]) -> UnixTime {
    let files = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    let seconds =
        files.filter_map(|file| file.metadata().ok()).filter_map(|file| u64::try_from(file.mtime()).ok());
    UnixTime::from_secs(seconds.max().unwrap_or_default())
}
