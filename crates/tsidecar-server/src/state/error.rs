//! Why a state folder cannot be used, in words that say what to do.

use std::io;
use std::path::{Path, PathBuf};

use tsidecar_oauth::jose::JoseError;

/// Why the state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another daemon has the folder.
    #[error(
        "{} is locked by another tsidecar{}: stop that one first, or give this one its own [state] dir",
        path.display(), holder.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The process that wrote itself down.
        holder: Option<u32>,
    },
    /// Others may open it.
    #[error(
        "{} has mode {mode:04o}, so others than its owner may open it; run: chmod {right:04o} {}",
        path.display(), path.display()
    )]
    Mode {
        /// The file or folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The mode that it should have.
        right: u32,
    },
    /// It belongs to somebody else.
    #[error(
        "{} belongs to uid {owner}, but this daemon runs as uid {own}; run it as the owner, or: chown -R {own} {}",
        path.display(), path.display()
    )]
    Owner {
        /// The file or folder.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Ours.
        own: u32,
    },
    /// It is no folder.
    #[error("{} is no folder", path.display())]
    NoFolder {
        /// The path.
        path: PathBuf,
    },
    /// A newer tsidecar wrote the folder.
    #[error(
        "{} was written by a newer tsidecar (format {found}, this one knows {known}); install that version again, \
         or restore a backup that this version made",
        dir.display()
    )]
    Newer {
        /// The folder.
        dir: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that we know.
        known: u32,
    },
    /// A part is missing in a known folder.
    #[error(
        "{what} is missing in {}, which was in use before; nothing is replaced silently: restore it from a backup, or \
         move the whole folder away to start anew (all logins and tokens end, and relying parties must fetch new keys)",
        dir.display()
    )]
    Missing {
        /// What is missing.
        what: &'static str,
        /// The folder.
        dir: PathBuf,
    },
    /// A file is not what we wrote.
    #[error(
        "{} is damaged; nothing is replaced silently: restore it from a backup, or move the whole state folder away to \
         start anew (all logins and tokens end, and relying parties must fetch new keys)",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A key in a whole file cannot be used.
    #[error("{}: {error}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        error: JoseError,
    },
    /// A key could not be made.
    #[error("a signing key could not be made: {0}")]
    Make(JoseError),
    /// The file system failed.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl StateError {
    /// Names the path in an error of the file system.
    pub(crate) fn io(path: &Path) -> impl Fn(io::Error) -> Self {
        move |error| Self::Io { path: path.to_owned(), error }
    }
}
