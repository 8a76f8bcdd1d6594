//! The records as the committer sees them: typed, current, and remembering whether the batch wrote anything.
//!
//! Bytes come from a backend ([`Records`]); this file turns them into grants, clients and the clock's highest reading.
//! Only whoever owns the one [`Ledger`] of a store writes.

use std::io;
use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};
use tsidecar_oauth::device::{self, DeviceAuthorization, UserCode};
use tsidecar_oauth::grant::Grant;
use tsidecar_oauth::id::{ClientId, GrantId};
use tsidecar_oauth::mark::Mark;
use tsidecar_oauth::seal::CodeEpoch;
use tsidecar_oauth::settle::Settled;
use tsidecar_oauth::time::{Lifetime, UnixTime};

use super::jobs::Pending;
use super::record::{self, Meta};
use super::{StoreError, StoredClient};

/// Below so much free space nothing is written: sled cannot even open on a full disk (design section 13).
pub const LEAST_FREE_BYTES: u64 = 64 << 20;

/// How far the stored highest time may lag behind the real one, which saves a write in most batches.
const META_EVERY: Lifetime = Lifetime::from_minutes(1);

/// How far a clock may be behind the highest time seen before outstanding codes die (design section 7).
const CLOCK_TOLERANCE: Lifetime = Lifetime::from_minutes(60);

/// The kinds of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    /// Key: the grant id.
    Grants,
    /// Key: the client id.
    Clients,
    /// One record under [`record::META_KEY`].
    Meta,
    /// What was shown once and must not be shown again. Key: the digest of a mark.
    Marks,
    /// Sessions of browsers that were ended. Key: the session id.
    Sessions,
    /// Pushed authorization requests. Key: their random id.
    Pushed,
    /// Device authorizations. Key: the user code.
    Devices,
    /// What still has to be told to others. Key: a random id.
    Jobs,
    /// Clients that registered themselves. Key: the client id.
    Registered,
    /// What an administrator approved. Key: the client id.
    Approvals,
    /// What people have allowed strangers. Key: see [`super::consents`].
    Consents,
    /// Clients whose document was taken away. Key: the client id.
    Documents,
}

impl Table {
    /// The tables whose records are kept for some time and then forgotten, whatever they say.
    pub(super) const KEPT: [Self; 9] = [
        Self::Marks,
        Self::Sessions,
        Self::Pushed,
        Self::Devices,
        Self::Jobs,
        Self::Registered,
        Self::Approvals,
        Self::Consents,
        Self::Documents,
    ];

    /// The name in error messages, and of the tree.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Grants => "grant",
            Self::Clients => "client",
            Self::Meta => "meta",
            Self::Marks => "mark",
            Self::Sessions => "session",
            Self::Pushed => "pushed request",
            Self::Devices => "device authorization",
            Self::Jobs => "job",
            Self::Registered => "registered client",
            Self::Approvals => "approval",
            Self::Consents => "consent",
            Self::Documents => "client document",
        }
    }
}

/// A key and its value.
pub(super) type Entry = (Vec<u8>, Vec<u8>);

/// Where bytes are kept. Reads may come from any thread at any time; writes only from the owner of the [`Ledger`].
pub(super) trait Records: Send + Sync + 'static {
    /// The value under a key.
    fn read(&self, table: Table, key: &[u8]) -> io::Result<Option<Vec<u8>>>;
    /// At most `limit` entries whose keys are greater than `after`, in key order.
    fn read_after(&self, table: Table, after: Option<&[u8]>, limit: usize) -> io::Result<Vec<Entry>>;
    /// Puts a value under a key: visible to every later read, durable after the next [`flush_and_sync`](Self::flush_and_sync).
    fn insert(&self, table: Table, key: &[u8], value: Vec<u8>) -> io::Result<()>;
    /// Removes a key, with the same visibility and durability.
    fn remove(&self, table: Table, key: &[u8]) -> io::Result<()>;
    /// Makes every earlier write durable, or fails; after a failure the state on the disk is unknown.
    fn flush_and_sync(&self) -> io::Result<()>;
    /// Bytes that we may still write on the disk.
    fn free_bytes(&self) -> io::Result<u64>;
    /// Remembers, outside of the database, that a meta record with this serial is durable in it.
    fn witness(&self, serial: u64) -> io::Result<()>;
}

/// Why a change did not go through.
#[derive(Debug)]
pub(super) enum ChangeError {
    /// This one is refused, nothing was written by it; the others go on.
    Refused(StoreError),
    /// A write failed: nothing may be acknowledged any more.
    Fatal(io::Error),
}

impl From<StoreError> for ChangeError {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

/// The current records, and what the batch did to them so far.
pub(super) struct Ledger {
    records: Arc<dyn Records>,
    /// As stored, except `highest`, which the stored record may follow by [`META_EVERY`].
    meta: Meta,
    stored_highest: UnixTime,
    /// Whether the batch wrote something.
    wrote: bool,
    /// Whether something was written after the meta record.
    unsealed: bool,
    shortage: Option<u64>,
    /// Which jobs wait, and who is told of the end of a grant.
    pub(super) jobs: Pending,
}

/// Whether the client is told when a grant is revoked by a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Telling {
    /// If it wants to know.
    Client,
    /// Nobody: it is told by other means, or has lost nothing that it uses.
    Nobody,
}

impl Ledger {
    /// Reads what the ledger itself needs. A backend without a meta record is a new one.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] or [`StoreError::Io`] when the meta record cannot be read.
    pub(super) fn open(records: Arc<dyn Records>) -> Result<Self, StoreError> {
        let bytes = records.read(Table::Meta, record::META_KEY).map_err(StoreError::Io)?;
        let meta = match bytes {
            Some(bytes) => record::decode_meta(&bytes).map_err(|reason| corrupt(Table::Meta, reason))?,
            None => Meta::default(),
        };
        let stored_highest = meta.highest;
        let jobs = Pending::read(&*records)?;
        Ok(Self { records, stored_highest, meta, wrote: false, unsealed: true, shortage: None, jobs })
    }

    /// Begins a batch: measures the free space.
    pub(super) fn begin(&mut self) {
        self.shortage = match self.records.free_bytes() {
            Ok(free) if free >= LEAST_FREE_BYTES => None,
            Ok(free) => Some(free),
            // The file system does not even say: writing to it would end the process, refusing does not.
            Err(error) => {
                tracing::error!(error = %error, "the free space of the state folder cannot be read");
                Some(0)
            }
        };
    }

    /// Ends a batch: everything that was written is durable afterwards. Costs nothing when nothing was.
    ///
    /// # Errors
    /// The error of a write or of the sync, after which nothing may be acknowledged.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if !self.wrote {
            return Ok(());
        }
        self.unsealed = true;
        if self.meta.highest > self.stored_highest.after(META_EVERY) {
            self.seal()?;
        } else {
            self.records.flush_and_sync()?;
            self.wrote = false;
        }
        self.jobs.announce();
        Ok(())
    }

    /// Writes the meta record after everything else, makes all of it durable, and has that witnessed: a database in which
    /// this record is missing later has lost its newest part. At start, at the end, and once a minute between.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub(super) fn seal(&mut self) -> io::Result<()> {
        if self.shortage.is_some() || !self.unsealed {
            return Ok(());
        }
        let next = Meta { serial: self.meta.serial.saturating_add(1), ..self.meta };
        let bytes = record::encode_meta(next).map_err(io::Error::other)?;
        self.records.insert(Table::Meta, record::META_KEY, bytes)?;
        self.records.flush_and_sync()?;
        (self.meta, self.stored_highest) = (next, next.highest);
        (self.wrote, self.unsealed) = (false, false);
        if let Err(error) = self.records.witness(next.serial) {
            // What was acknowledged is durable all the same; only a later loss would be noticed less exactly.
            tracing::error!(error = %error, "the marker of the database cannot be written");
        }
        Ok(())
    }

    /// The serial of the meta record as read or written last.
    pub(super) const fn serial(&self) -> u64 {
        self.meta.serial
    }

    /// Takes note of the time of a change.
    pub(super) fn saw(&mut self, now: UnixTime) {
        self.meta.highest = self.meta.highest.max(now);
    }

    /// The records as they are now.
    pub(super) fn records(&self) -> &dyn Records {
        &*self.records
    }

    /// The current record of a grant.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    pub(super) fn grant(&self, id: GrantId) -> Result<Option<Grant>, StoreError> {
        read_grant(&*self.records, id)
    }

    /// Settles a change of one grant on its current record and writes what that wants written. When that ends the grant, its
    /// client is told.
    ///
    /// # Errors
    /// [`ChangeError`]; the grant is unchanged then.
    pub(super) fn settle<O>(
        &mut self,
        id: GrantId,
        rule: impl FnOnce(Option<&Grant>) -> Settled<O>,
    ) -> Result<O, ChangeError> {
        self.settle_telling(id, Telling::Client, rule)
    }

    /// As [`settle`](Self::settle), and says who is told.
    ///
    /// # Errors
    /// [`ChangeError`]; the grant is unchanged then.
    pub(super) fn settle_telling<O>(
        &mut self,
        id: GrantId,
        telling: Telling,
        rule: impl FnOnce(Option<&Grant>) -> Settled<O>,
    ) -> Result<O, ChangeError> {
        let stored = self.grant(id)?;
        let settled = rule(stored.as_ref());
        if let Some(grant) = settled.write {
            let was_live = stored.is_some_and(|grant| !grant.is_revoked());
            if let Some(now) = grant.state().revoked_at.filter(|_| was_live && telling == Telling::Client) {
                // Before the grant: what is cut off here is made good by the next attempt, which finds the grant alive.
                self.tell_of(&grant, now)?;
            }
            self.write(Table::Grants, id.as_bytes(), record::encode_grant(&grant)?)?;
        }
        Ok(settled.outcome)
    }

    /// Deletes a grant.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub(super) fn remove_grant(&mut self, id: GrantId) -> Result<(), ChangeError> {
        self.refuse_when_full()?;
        self.records.remove(Table::Grants, id.as_bytes()).map_err(ChangeError::Fatal)?;
        self.wrote = true;
        Ok(())
    }

    /// The current record of a client.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    pub(super) fn client(&self, id: &ClientId) -> Result<Option<StoredClient>, StoreError> {
        let bytes = self.records.read(Table::Clients, id.as_str().as_bytes()).map_err(StoreError::Io)?;
        bytes
            .map(|bytes| record::decode_client(id.clone(), &bytes))
            .transpose()
            .map_err(|reason| corrupt(Table::Clients, reason))
    }

    /// Writes a client record.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub(super) fn write_client(&mut self, client: &StoredClient) -> Result<(), ChangeError> {
        self.write(Table::Clients, client.id.as_str().as_bytes(), record::encode_client(client)?)
    }

    /// Reads a record that is kept for some time, and the end of that time, which may have passed.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    pub(super) fn kept<T: DeserializeOwned>(
        &self,
        table: Table,
        key: &[u8],
    ) -> Result<Option<(UnixTime, T)>, StoreError> {
        read_kept(&*self.records, table, key)
    }

    /// Writes a record that is kept until then.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub(super) fn keep<T: Serialize>(
        &mut self,
        table: Table,
        key: &[u8],
        until: UnixTime,
        content: &T,
    ) -> Result<(), ChangeError> {
        self.write(table, key, record::encode_kept(until, content)?)
    }

    /// Deletes a record that need not be kept any longer.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub(super) fn drop_kept(&mut self, table: Table, key: &[u8]) -> Result<(), ChangeError> {
        self.refuse_when_full()?;
        self.records.remove(table, key).map_err(ChangeError::Fatal)?;
        if table == Table::Jobs {
            self.jobs.forget(key);
        }
        self.wrote = true;
        Ok(())
    }

    /// Marks what is shown once only. When one of the marks is there already the others are made all the same: what was shown
    /// beside it is used up with it.
    ///
    /// # Errors
    /// [`StoreError::Seen`] as a refusal, otherwise [`ChangeError`].
    pub(super) fn mark(&mut self, marks: &[Mark], now: UnixTime) -> Result<(), ChangeError> {
        let mut seen = None;
        for mark in marks {
            let known: Option<(UnixTime, ())> = self.kept(Table::Marks, mark.digest())?;
            if known.is_some_and(|(until, ())| !until.is_past(now)) {
                seen = seen.or(Some(mark.kind()));
            } else {
                self.keep(Table::Marks, mark.digest(), mark.until(), &())?;
            }
        }
        seen.map_or(Ok(()), |kind| Err(StoreError::Seen(kind).into()))
    }

    /// Settles a change of one device authorization on its current record and writes what that wants written.
    ///
    /// # Errors
    /// [`ChangeError`]; the authorization is unchanged then.
    pub(super) fn settle_device<O>(
        &mut self,
        user: UserCode,
        rule: impl FnOnce(Option<&DeviceAuthorization>) -> device::Settled<O>,
    ) -> Result<O, ChangeError> {
        let stored = read_device(&*self.records, user)?;
        let settled = rule(stored.as_ref());
        if let Some(next) = settled.write {
            self.keep(Table::Devices, user.as_bytes(), next.kept_until(), &record::DeviceV1::of(&next))?;
        }
        Ok(settled.outcome)
    }

    /// Deletes records whose time is over, at most so many, and tells how many.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub(super) fn forget_kept(
        &mut self,
        keys: &[(Table, Vec<u8>)],
        now: UnixTime,
    ) -> Result<usize, ChangeError> {
        let mut forgotten = 0;
        for (table, key) in keys {
            let bytes = self.records.read(*table, key).map_err(StoreError::Io)?;
            let Some(bytes) = bytes else { continue };
            if record::end_of_kept(&bytes).map_err(|reason| corrupt(*table, reason))?.is_past(now) {
                self.drop_kept(*table, key)?;
                forgotten += 1;
            }
        }
        Ok(forgotten)
    }

    /// Compares the clock with the highest time seen; see [`Store::begin_clock`](super::Store::begin_clock).
    ///
    /// # Errors
    /// [`ChangeError`].
    pub(super) fn begin_clock(&mut self, now: UnixTime) -> Result<CodeEpoch, ChangeError> {
        if now.after(CLOCK_TOLERANCE) >= self.meta.highest {
            self.saw(now);
            return Ok(self.meta.epoch);
        }
        // The highest time starts anew with the epoch: no code from before can be redeemed, so nothing rests on it.
        let next = Meta { highest: now, epoch: CodeEpoch(self.meta.epoch.0.saturating_add(1)), ..self.meta };
        self.write(Table::Meta, record::META_KEY, record::encode_meta(next)?)?;
        (self.meta, self.stored_highest) = (next, next.highest);
        Ok(next.epoch)
    }

    fn write(&mut self, table: Table, key: &[u8], value: Vec<u8>) -> Result<(), ChangeError> {
        self.refuse_when_full()?;
        self.records.insert(table, key, value).map_err(ChangeError::Fatal)?;
        self.wrote = true;
        Ok(())
    }

    fn refuse_when_full(&self) -> Result<(), StoreError> {
        self.shortage.map_or(Ok(()), |free_bytes| Err(StoreError::NoSpace { free_bytes }))
    }
}

/// Reads one grant.
///
/// # Errors
/// [`StoreError::Corrupt`], [`StoreError::Io`].
pub(super) fn read_grant(records: &dyn Records, id: GrantId) -> Result<Option<Grant>, StoreError> {
    let bytes = records.read(Table::Grants, id.as_bytes()).map_err(StoreError::Io)?;
    bytes
        .map(|bytes| record::decode_grant(id, &bytes))
        .transpose()
        .map_err(|reason| corrupt(Table::Grants, reason))
}

/// Reads one record that is kept for some time.
///
/// # Errors
/// [`StoreError::Corrupt`], [`StoreError::Io`].
pub(super) fn read_kept<T: DeserializeOwned>(
    records: &dyn Records,
    table: Table,
    key: &[u8],
) -> Result<Option<(UnixTime, T)>, StoreError> {
    let bytes = records.read(table, key).map_err(StoreError::Io)?;
    bytes.map(|bytes| record::decode_kept(&bytes)).transpose().map_err(|reason| corrupt(table, reason))
}

/// Reads one device authorization.
///
/// # Errors
/// [`StoreError::Corrupt`], [`StoreError::Io`].
pub(super) fn read_device(
    records: &dyn Records,
    user: UserCode,
) -> Result<Option<DeviceAuthorization>, StoreError> {
    let kept: Option<(_, record::DeviceV1<'static>)> = read_kept(records, Table::Devices, user.as_bytes())?;
    Ok(kept.map(|(_, v1)| v1.into()))
}

/// An unreadable record as an error of the store.
pub(super) const fn corrupt(table: Table, reason: record::DecodeError) -> StoreError {
    StoreError::Corrupt { what: table.name(), reason }
}
