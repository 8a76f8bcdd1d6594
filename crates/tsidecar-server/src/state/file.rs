//! Files of the state folder: written whole or not at all, readable for their owner only.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{Owner, StateError, check_private};

/// No file of ours is longer; more is damage, and is not read into memory.
const LONGEST: u64 = 64 * 1024;

/// Reads a file of ours; `None` when there is none.
///
/// # Errors
/// [`StateError::Mode`] and [`StateError::Owner`] when others may open it, [`StateError::Damaged`] when it is no text of
/// ours, [`StateError::Io`].
pub(crate) fn read_private(path: &Path, owner: Owner) -> Result<Option<Zeroizing<String>>, StateError> {
    let failed = StateError::io(path);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let metadata = file.metadata().map_err(&failed)?;
    check_private(path, &metadata, owner)?;
    let damaged = || StateError::Damaged { path: path.to_owned() };
    if !metadata.is_file() || metadata.len() > LONGEST {
        return Err(damaged());
    }
    let mut text =
        Zeroizing::new(String::with_capacity(usize::try_from(metadata.len()).unwrap_or_default() + 1));
    match file.take(LONGEST).read_to_string(&mut text) {
        Ok(_) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::InvalidData => Err(damaged()),
        Err(error) => Err(failed(error)),
    }
}

/// Writes a file so that after a crash at any moment either the old or the new content is there: a new file beside it,
/// synced, renamed over it, and the folder synced.
///
/// # Errors
/// [`StateError::Io`].
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<(), StateError> {
    let failed = StateError::io(path);
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(failed(ErrorKind::InvalidInput.into()));
    };
    let beside = folder.join(format!(".{}.new", name.to_string_lossy()));
    match std::fs::remove_file(&beside) {
        Ok(()) => (),
        Err(error) if error.kind() == ErrorKind::NotFound => (),
        Err(error) => return Err(failed(error)),
    }
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&beside).map_err(&failed)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(&failed)?;
    std::fs::rename(&beside, path).map_err(&failed)?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(&failed)
}

/// Removes a file for good: after a crash it does not come back. One that is not there is gone already.
///
/// # Errors
/// [`StateError::Io`].
pub(crate) fn remove_private(path: &Path) -> Result<(), StateError> {
    let failed = StateError::io(path);
    match std::fs::remove_file(path) {
        Ok(()) => (),
        Err(error) if error.kind() == ErrorKind::NotFound => (),
        Err(error) => return Err(failed(error)),
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(&failed)
}

/// SHA-256 over parts, each with its length, in hexadecimal digits: what a flipped byte cannot keep.
pub(crate) fn checksum(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    base16(&hash.finalize())
}

/// Hexadecimal digits of bytes.
pub(crate) fn base16(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(digit.into(), 16).unwrap_or_default());
        }
        text
    })
}
