//! The store on disk: the only file that names sled.
//!
//! sled's flush alone syncs nothing on Linux (attacks.md 6.3), so every flush is followed by `fdatasync` on a handle of
//! our own on its file. Opening is where a damaged database shows, sometimes as a panic inside sled: every failure has a
//! text that says what to do, and a store that was in use never starts empty.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Notify;

use super::committer::{Committer, FatalHook};
use super::ledger::{ChangeError, Entry, Ledger, Records, Table};
use super::record;
use super::verbs::Engine;
use super::{EXIT_STORE_FAILED, Intent, Pending};
use crate::state::write_private;

/// The file beside the folder of the database that says that a database was made, and up to which serial of its meta record
/// it was durable: without it an emptied folder would look like a first start, and a log that lost its end like a whole one.
/// Either way revocations would be forgotten.
const MARKER: &str = "db-in-use";

/// The page cache of sled; its own default is 1 GiB.
const CACHE_BYTES: u64 = 64 << 20;

/// How often sled flushes by itself. The committer does; a shorter period lengthens its rounds, none stops sled's syncs.
const FLUSH_EVERY_MS: u64 = 1000;

/// A database that cannot be opened with less than this left fails because of it, whatever sled says.
const OPENING_NEEDS_BYTES: u64 = 4 << 20;

/// What is done about a write that failed; see [`EXIT_STORE_FAILED`].
pub struct DiskOptions {
    fatal: FatalHook,
    free_bytes: Option<FreeBytes>,
}

type FreeBytes = Box<dyn Fn() -> io::Result<u64> + Send + Sync>;

impl Default for DiskOptions {
    /// A write that fails is logged and ends the process with [`EXIT_STORE_FAILED`].
    fn default() -> Self {
        Self { fatal: Box::new(end_process), free_bytes: None }
    }
}

impl DiskOptions {
    /// For tests: calls this on a failed write, in place of ending the process. The store is closed afterwards.
    #[must_use]
    pub fn on_fatal(self, hook: impl Fn(&io::Error) + Send + 'static) -> Self {
        Self { fatal: Box::new(hook), ..self }
    }

    /// For tests: asks this for the free space, in place of the file system.
    #[must_use]
    pub fn free_bytes(self, free: impl Fn() -> io::Result<u64> + Send + Sync + 'static) -> Self {
        Self { free_bytes: Some(Box::new(free)), ..self }
    }
}

fn end_process(error: &io::Error) {
    tracing::error!(
        error = %error,
        exit_code = EXIT_STORE_FAILED,
        "writing the database failed: nothing can be acknowledged any more, the process ends"
    );
    std::process::exit(EXIT_STORE_FAILED);
}

/// Why the database does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("another process has the database {} open: is a second tsidecar running on this state folder?", path.display())]
    Locked {
        /// The folder of the database.
        path: PathBuf,
    },
    /// The content cannot be read.
    #[error(
        "the database {} is damaged ({reason}): restore a backup; or, to start anew (everybody signs in once more, \
         clients made by command are lost), move it and {} away",
        path.display(), path.with_file_name(MARKER).display()
    )]
    Damaged {
        /// The folder of the database.
        path: PathBuf,
        /// What was found, in sled's words or ours.
        reason: String,
    },
    /// It was there before and is not now.
    #[error(
        "the database {} is gone or empty, though {} says that it was in use: restore a backup; or, to start anew \
         (everybody signs in once more, clients made by command are lost), remove {1}",
        path.display(), marker.display()
    )]
    Lost {
        /// The folder of the database.
        path: PathBuf,
        /// The marker file.
        marker: PathBuf,
    },
    /// It lacks its newest part: cut, rolled back, or copied from elsewhere.
    #[error(
        "the database {} is older than {} says (serial {found}, was {expected}): part of it is lost, and revocations with \
         it; restore a backup; or, to start anew (everybody signs in once more, clients made by command are lost), move \
         both away",
        path.display(), marker.display()
    )]
    Older {
        /// The folder of the database.
        path: PathBuf,
        /// The marker file.
        marker: PathBuf,
        /// The serial in the database.
        found: u64,
        /// The serial in the marker.
        expected: u64,
    },
    /// The disk is full; sled writes when it opens.
    #[error("the database {} cannot be opened: the disk is full ({free_bytes} bytes left); free some space first", path.display())]
    NoSpace {
        /// The folder of the database.
        path: PathBuf,
        /// What is left for us, in bytes.
        free_bytes: u64,
    },
    /// The system refuses: permissions, a read-only file system, a failing disk.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// The store on disk.
pub struct DiskStore {
    records: Arc<DiskRecords>,
    committer: Committer,
    news: Arc<Notify>,
}

impl DiskStore {
    /// Opens the database in this folder (`db` in the state folder); makes both when there never was one. The file
    /// `db-in-use` beside the folder remembers that there was.
    ///
    /// Writes to the disk even when nothing changes. Blocks for 50 ms to a few seconds.
    ///
    /// # Errors
    /// [`OpenError`], each with what to do about it.
    pub fn open(folder: &Path, options: DiskOptions) -> Result<Self, OpenError> {
        let path = folder.to_owned();
        let marker = path.with_file_name(MARKER);
        let witnessed = read_marker(&marker)?;
        if witnessed.is_some() && !path.join("db").is_file() {
            return Err(OpenError::Lost { path, marker });
        }
        make_folder(&path)?;
        let records = Arc::new(DiskRecords::open(&path, options.free_bytes)?);
        let is_new = records.is_new()?;
        let of_committer = Arc::clone(&records) as Arc<dyn Records>;
        let mut ledger = Ledger::open(of_committer)
            .map_err(|error| OpenError::Damaged { path: path.clone(), reason: error.to_string() })?;
        let found = ledger.serial();
        match witnessed {
            Some(_) if is_new => return Err(OpenError::Lost { path, marker }),
            Some(expected) if found < expected => {
                return Err(OpenError::Older { path, marker, found, expected });
            }
            Some(_) | None => {}
        }
        sync_tree(&path)?;
        let fail = |source| OpenError::Io { path: path.clone(), source };
        if !is_new {
            ledger.begin();
        }
        ledger.seal().map_err(fail)?;
        if witnessed.is_none() {
            records.witness(ledger.serial()).map_err(fail)?;
        }
        let news = ledger.jobs.news();
        let committer = Committer::start(ledger, options.fatal).map_err(fail)?;
        Ok(Self { records, committer, news })
    }
}

impl Engine for DiskStore {
    fn records(&self) -> &dyn Records {
        &*self.records
    }

    fn submit<T, F>(&self, change: F) -> Pending<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Ledger) -> Result<T, ChangeError> + Send + 'static,
    {
        self.committer.submit(change)
    }

    fn intent(&self) -> Intent {
        Intent::counted(self.committer.ticket())
    }

    fn news(&self) -> Arc<Notify> {
        Arc::clone(&self.news)
    }

    fn close(&self) {
        self.committer.close();
    }
}

struct DiskRecords {
    path: PathBuf,
    database: sled::Db,
    trees: Trees,
    /// Our own handle on sled's file, for `fdatasync`. sled's lock is a `flock` of its handle and not touched by it.
    file: File,
    free: Option<FreeBytes>,
}

impl DiskRecords {
    fn open(path: &Path, free: Option<FreeBytes>) -> Result<Self, OpenError> {
        // Recovery indexes and unwraps what it reads: on a damaged file that is a panic, which must not be the answer.
        let opened = catch_unwind(AssertUnwindSafe(|| open_trees(path)));
        let failure = match opened {
            Ok(Ok((database, trees))) => {
                let file_path = path.join("db");
                let file =
                    File::open(&file_path).map_err(|source| OpenError::Io { path: file_path, source })?;
                return Ok(Self { path: path.to_owned(), database, trees, file, free });
            }
            Ok(Err(error)) => error,
            Err(_) => sled::Error::ReportableBug("its recovery panicked".to_owned()),
        };
        Err(explain(path, failure))
    }

    fn tree(&self, table: Table) -> &sled::Tree {
        match table {
            Table::Grants => &self.trees.grants,
            Table::Clients => &self.trees.clients,
            Table::Meta => &self.trees.meta,
            Table::Marks => &self.trees.marks,
            Table::Sessions => &self.trees.sessions,
            Table::Pushed => &self.trees.pushed,
            Table::Devices => &self.trees.devices,
            Table::Jobs => &self.trees.jobs,
            Table::Registered => &self.trees.registered,
            Table::Approvals => &self.trees.approvals,
            Table::Consents => &self.trees.consents,
            Table::Documents => &self.trees.documents,
        }
    }

    /// Every database that was ever opened has a meta record.
    fn is_new(&self) -> Result<bool, OpenError> {
        let meta = self.trees.meta.get(record::META_KEY).map_err(|error| explain(&self.path, error))?;
        if meta.is_some() {
            return Ok(false);
        }
        if self.trees.grants.is_empty() && self.trees.clients.is_empty() {
            return Ok(true);
        }
        let reason = "it has grants or clients but no meta record".to_owned();
        Err(OpenError::Damaged { path: self.path.clone(), reason })
    }
}

impl Records for DiskRecords {
    fn read(&self, table: Table, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Ok(self.tree(table).get(key)?.map(|value| value.to_vec()))
    }

    fn read_after(&self, table: Table, after: Option<&[u8]>, limit: usize) -> io::Result<Vec<Entry>> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let entries = self.tree(table).range::<&[u8], _>((start, Bound::Unbounded)).take(limit);
        entries
            .map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())).map_err(Into::into))
            .collect()
    }

    fn insert(&self, table: Table, key: &[u8], value: Vec<u8>) -> io::Result<()> {
        self.tree(table).insert(key, value)?;
        Ok(())
    }

    fn remove(&self, table: Table, key: &[u8]) -> io::Result<()> {
        self.tree(table).remove(key)?;
        Ok(())
    }

    fn flush_and_sync(&self) -> io::Result<()> {
        self.database.flush()?;
        self.file.sync_data()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        match &self.free {
            Some(free) => free(),
            None => free_bytes(&self.file),
        }
    }

    fn witness(&self, serial: u64) -> io::Result<()> {
        let text = format!("{serial}\n{MARKER_TEXT}");
        write_private(&self.path.with_file_name(MARKER), text.as_bytes()).map_err(io::Error::other)
    }
}

/// One tree of the database for each table.
struct Trees {
    grants: sled::Tree,
    clients: sled::Tree,
    meta: sled::Tree,
    marks: sled::Tree,
    sessions: sled::Tree,
    pushed: sled::Tree,
    devices: sled::Tree,
    jobs: sled::Tree,
    registered: sled::Tree,
    approvals: sled::Tree,
    consents: sled::Tree,
    documents: sled::Tree,
}

fn open_trees(path: &Path) -> sled::Result<(sled::Db, Trees)> {
    let database = sled::Config::default()
        .path(path)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(Some(FLUSH_EVERY_MS))
        .open()?;
    let open = |table: Table| database.open_tree(table.name());
    let trees = Trees {
        grants: open(Table::Grants)?,
        clients: open(Table::Clients)?,
        meta: open(Table::Meta)?,
        marks: open(Table::Marks)?,
        sessions: open(Table::Sessions)?,
        pushed: open(Table::Pushed)?,
        devices: open(Table::Devices)?,
        jobs: open(Table::Jobs)?,
        registered: open(Table::Registered)?,
        approvals: open(Table::Approvals)?,
        consents: open(Table::Consents)?,
        documents: open(Table::Documents)?,
    };
    Ok((database, trees))
}

/// sled's error as one of ours. What it says of a lock is a text only, so the text is asked.
fn explain(path: &Path, error: sled::Error) -> OpenError {
    let path = path.to_owned();
    let free_bytes = File::open(&path).and_then(|folder| free_bytes(&folder)).unwrap_or(u64::MAX);
    match error {
        sled::Error::Io(source) if source.kind() == io::ErrorKind::StorageFull => {
            OpenError::NoSpace { path, free_bytes }
        }
        _ if free_bytes < OPENING_NEEDS_BYTES => OpenError::NoSpace { path, free_bytes },
        sled::Error::Io(source) if source.to_string().contains("could not acquire lock") => {
            OpenError::Locked { path }
        }
        sled::Error::Io(source)
            if matches!(source.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData) =>
        {
            OpenError::Damaged { path, reason: source.to_string() }
        }
        sled::Error::Io(source) => OpenError::Io { path, source },
        other => OpenError::Damaged { path, reason: other.to_string() },
    }
}

fn free_bytes(file: &File) -> io::Result<u64> {
    let statistics = rustix::fs::fstatvfs(file)?;
    Ok(statistics.f_bavail.saturating_mul(statistics.f_frsize))
}

/// sled makes its files with the process's umask; below a folder that only we may enter that shows nothing.
fn make_folder(path: &Path) -> Result<(), OpenError> {
    let fail = |source| OpenError::Io { path: path.to_owned(), source };
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other.map_err(fail)?,
    }
    fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(fail)
}

/// Closes the modes of sled's files and makes them, and the names under which they are found, durable: sled does neither.
fn sync_tree(folder: &Path) -> Result<(), OpenError> {
    let fail = |source| OpenError::Io { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if path.is_dir() {
            fs::set_permissions(&path, Permissions::from_mode(0o700)).map_err(fail)?;
            sync_folder(&path)?;
        } else {
            fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(fail)?;
            File::open(&path).and_then(|file| file.sync_all()).map_err(fail)?;
        }
    }
    sync_folder(folder)
}

fn sync_folder(path: &Path) -> Result<(), OpenError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| OpenError::Io { path: path.to_owned(), source })
}

/// What the marker says to people, below its number.
const MARKER_TEXT: &str = "The database in db/ is in use, and complete up to this serial. tsidecar does not start without it while this file is here.\n";

/// The serial in the marker; `None` when there is no marker.
fn read_marker(path: &Path) -> Result<Option<u64>, OpenError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(OpenError::Io { path: path.to_owned(), source }),
    };
    let serial = text.lines().next().and_then(|line| line.parse().ok());
    serial.map(Some).ok_or_else(|| OpenError::Damaged {
        path: path.with_file_name("db"),
        reason: format!("{} does not begin with a number", path.display()),
    })
}
