//! The state folder: who owns it, in which version it is, and what was pinned at the first start.
//!
//! | In the folder | Is |
//! | --- | --- |
//! | `lock` | locked by the running daemon; holds its pid |
//! | `keys/signing/*.json`, `keys/sealing/*.json` | one key each ([`crate::keys`]) |
//! | `pins.json` | issuer and names as they were at the first start |
//! | `db/` | the database |
//! | `version` | the format; written last, so it says that the first start was completed |
//!
//! A folder with a `version` is known: whatever is missing or damaged in it stops the start, nothing is replaced silently.

mod error;
mod file;
mod look;
mod pins;

use std::fs::{DirBuilder, File, Metadata};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

pub use self::error::StateError;
pub(crate) use self::file::{base16, checksum, read_private, remove_private, write_private};
pub use self::look::{Look, Seen, look};
pub use self::pins::{Pins, issuer_of};

/// The format that this version writes, and the newest one that it reads.
const FORMAT: u32 = 1;

/// A state folder, locked for this process until dropped.
#[derive(Debug)]
pub struct StateFolder {
    dir: PathBuf,
    known: bool,
    _lock: Lock,
}

impl StateFolder {
    /// Opens and locks a state folder; one that does not exist is made, with mode 0700, if its parent exists.
    ///
    /// # Errors
    /// [`StateError`], each with what to do: another daemon has it, others may enter it, a newer version wrote it, or
    /// parts of it are missing.
    pub fn open(dir: &Path) -> Result<Self, StateError> {
        make_folder(dir)?;
        let lock = lock(&dir.join("lock"))?;
        let known = read_version(dir, Owner::own())?;
        let folder = Self { dir: dir.to_owned(), known, _lock: lock };
        folder.check_parts()?;
        for part in ["keys", "keys/signing", "keys/sealing", "db"] {
            make_folder(&dir.join(part))?;
        }
        Ok(folder)
    }

    /// Tells whether a first start was completed here: then keys and pins must be there.
    pub const fn is_known(&self) -> bool {
        self.known
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the database is.
    pub fn db(&self) -> PathBuf {
        self.dir.join("db")
    }

    /// What was pinned; `None` in a new folder.
    ///
    /// # Errors
    /// [`StateError`] when the file is damaged, or missing in a known folder.
    pub fn pins(&self) -> Result<Option<Pins>, StateError> {
        match read_pins(&self.dir, Owner::own())? {
            None if self.known => Err(StateError::Missing { what: "pins.json", dir: self.dir.clone() }),
            pins => Ok(pins),
        }
    }

    /// Completes the first start: writes the pins, then the version. From here on the folder is known.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn complete(&mut self, pins: &Pins) -> Result<(), StateError> {
        let path = self.dir.join(pins::FILE);
        let text = pins.to_json().map_err(|error| StateError::io(&path)(error.into()))?;
        write_private(&path, text.as_bytes())?;
        write_private(&self.dir.join("version"), format!("{FORMAT}\n").as_bytes())?;
        self.known = true;
        Ok(())
    }

    /// A folder without a version is new, or of a first start that did not get to its end; nothing was served from it yet.
    /// One with a database is neither.
    fn check_parts(&self) -> Result<(), StateError> {
        let db = self.db();
        let used = std::fs::read_dir(&db).is_ok_and(|mut entries| entries.next().is_some());
        match (self.known, used) {
            (false, true) => Err(StateError::Missing { what: "version", dir: self.dir.clone() }),
            (true, _) if !db.is_dir() => Err(StateError::Missing { what: "db", dir: self.dir.clone() }),
            (true, _) | (false, false) => Ok(()),
        }
    }
}

/// Makes a folder of our own if there is none, and checks that nobody else may enter it.
fn make_folder(dir: &Path) -> Result<(), StateError> {
    let failed = StateError::io(dir);
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => (),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => (),
        Err(error) => return Err(failed(error)),
    }
    let metadata = std::fs::metadata(dir).map_err(failed)?;
    if !metadata.is_dir() {
        return Err(StateError::NoFolder { path: dir.to_owned() });
    }
    check_private(dir, &metadata, Owner::own())
}

/// The account to which a state folder and everything in it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner(u32);

impl Owner {
    /// The account that this process runs as.
    pub(crate) fn own() -> Self {
        Self(rustix::process::geteuid().as_raw())
    }
}

/// Checks that a file or folder belongs to its owner and that nobody else may open it.
fn check_private(path: &Path, metadata: &Metadata, owner: Owner) -> Result<(), StateError> {
    let Owner(own) = owner;
    if metadata.uid() != own {
        return Err(StateError::Owner { path: path.to_owned(), owner: metadata.uid(), own });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        let right = if metadata.is_dir() { 0o700 } else { 0o600 };
        return Err(StateError::Mode { path: path.to_owned(), mode, right });
    }
    Ok(())
}

/// Takes the lock, which the kernel gives back when the process ends, however it ends.
fn lock(path: &Path) -> Result<Lock, StateError> {
    let failed = StateError::io(path);
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(&failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => (),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            let holder = (&file).take(20).read_to_string(&mut pid);
            let holder = holder.ok().and_then(|_| pid.trim().parse().ok());
            return Err(StateError::Locked { path: path.to_owned(), holder });
        }
        Err(error) => return Err(failed(error.into())),
    }
    file.set_len(0).map_err(&failed)?;
    file.seek(SeekFrom::Start(0)).map_err(&failed)?;
    writeln!(file, "{}", std::process::id()).map_err(&failed)?;
    Ok(Lock(file))
}

/// The lock. It is given back by name, because a child that is just being started holds a copy of the descriptor.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // A failure leaves the lock to the end of the process, as a kill would.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

/// Reads the version file; `false` when there is none.
fn read_version(dir: &Path, owner: Owner) -> Result<bool, StateError> {
    let path = dir.join("version");
    let Some(text) = read_private(&path, owner)? else { return Ok(false) };
    match text.trim().parse::<u32>() {
        Ok(FORMAT) => Ok(true),
        Ok(found) if found > FORMAT => Err(StateError::Newer { dir: dir.to_owned(), found, known: FORMAT }),
        Ok(_) | Err(_) => Err(StateError::Damaged { path }),
    }
}

/// Reads the pins; `None` when there are none.
fn read_pins(dir: &Path, owner: Owner) -> Result<Option<Pins>, StateError> {
    let path = dir.join(pins::FILE);
    match read_private(&path, owner)? {
        Some(text) => Pins::parse(&text).map(Some).ok_or(StateError::Damaged { path }),
        None => Ok(None),
    }
}

#[cfg(test)]
pub(crate) mod tests;
