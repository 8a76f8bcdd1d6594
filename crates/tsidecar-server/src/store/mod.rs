//! What must survive: grants, clients made by command, and the clock's highest reading, behind one object-safe trait.
//!
//! Nothing outside this folder knows how a record is kept. Every verb states its atomicity and its durability; one suite
//! (`conformance.rs`) runs against every implementation. Rules are the core's: this module asks
//! [`tsidecar_oauth::settle`] and decides nothing.
//!
//! | File | Owns |
//! | --- | --- |
//! | `verbs.rs` | the verbs, once for every store: which record, which settling function, which write |
//! | `steps.rs` | what they do beside one settling |
//! | `committer.rs` | the one thread that writes: queue, pace, flush, acknowledge |
//! | `jobs.rs` | what still has to be told to others: written with its cause, kept until it is done |
//! | `ledger.rs` | typed records over the bytes of a backend, as the committer sees them |
//! | `pushed.rs` | the places of pushed authorization requests |
//! | `registered.rs` | clients that registered themselves, approvals, documents that were taken away |
//! | `consents.rs` | what people have allowed strangers |
//! | `record.rs` | how a record looks as bytes |
//! | `disk.rs`, `memory.rs` | the two backends |

mod committer;
mod consents;
mod disk;
mod jobs;
mod ledger;
mod memory;
mod pushed;
mod record;
mod registered;
mod steps;
mod verbs;

#[cfg(test)]
pub(crate) mod conformance;
#[cfg(test)]
mod interleavings;

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::{Notify, oneshot};
use tsidecar_oauth::assurance::MetadataDigest;
use tsidecar_oauth::backchannel::{Notice, Target};
use tsidecar_oauth::client::ClientSpec;
use tsidecar_oauth::consent::{Consent, Remembered, Wish};
use tsidecar_oauth::device::{
    Begun, Decided, DeviceAnswer, DeviceAuthorization, DeviceCodeDigest, Polled, UserCode,
};
use tsidecar_oauth::fresh::FreshSecret;
use tsidecar_oauth::grant::{Generation, Grant};
use tsidecar_oauth::id::{ClientId, GrantId, SessionId, Subject};
use tsidecar_oauth::mark::{Mark, MarkKind};
use tsidecar_oauth::par::{Lane, PushedId, PushedRequest};
use tsidecar_oauth::provenance::Registration;
use tsidecar_oauth::seal::CodeEpoch;
use tsidecar_oauth::secret::SecretDigest;
use tsidecar_oauth::settle::{Burned, Redeemed, Rotated};
use tsidecar_oauth::time::{Lifetime, UnixTime};

pub use disk::{DiskOptions, DiskStore, OpenError};
pub use jobs::{Job, MOST_JOBS, MOST_JOBS_OF_CLIENT};
pub use ledger::LEAST_FREE_BYTES;
pub use memory::MemoryStore;
pub use record::{DecodeError, LONGEST_RECORD, survives};

/// The exit code of a process whose database failed to write, flush or sync (`EX_IOERR` of sysexits.h).
///
/// After such an error nobody knows what the page cache still holds, so nothing is acknowledged any more; the next start
/// reads what really is on the disk.
pub const EXIT_STORE_FAILED: i32 = 74;

/// The store of one tsidecar.
///
/// **A change is queued when the method returns**, so a cancelled request cannot half commit; the [`Pending`] only waits
/// for the acknowledgement. Changes are settled one after the other, each on the record that the one before left, and each
/// writes at most one key, whole or not at all. **An acknowledgement means durable**: the change, and everything that its
/// answer rests on, survives `kill -9` and a power cut, also where the change wrote nothing (a replayed code, a repeated
/// refresh, a second revocation), because it waits for its batch.
///
/// Full queue: [`StoreError::Busy`]. Full disk: [`StoreError::NoSpace`] for what would write. After [`close`](Self::close):
/// [`StoreError::Closed`]. In all three cases nothing was changed.
pub trait Store: Send + Sync + 'static {
    /// Announces a request that may commit, so that the committer knows for whom a batch may wait.
    ///
    /// Take it when the request arrives; **drop it as soon as the verb has returned** (before waiting for its answer), or
    /// when the request is refused. Held longer it costs others up to 2 ms, never correctness.
    fn intent(&self) -> Intent;

    /// Reads a grant, inline (about 10 µs). May see a change that is not yet durable: no success of a state-changing
    /// endpoint may rest on it alone.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for a record that cannot be read, which is never "not found"; [`StoreError::Io`].
    fn grant(&self, id: GrantId) -> Result<Option<Grant>, StoreError>;

    /// Reads the grants after an id in key order: at most `limit` records. Like [`grant`](Self::grant) it may see what is
    /// not yet durable. Unreadable records are skipped and counted, so that one of them does not stop a sweep.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    fn grants_after(&self, after: Option<GrantId>, limit: usize) -> Result<GrantPage, StoreError>;

    /// Redeems a code: writes its grant, or finds that it was written before and revokes it
    /// ([`settle::redeem`](tsidecar_oauth::settle::redeem)). When its session was ended before, or the consent that it rests on was
    /// withdrawn, nothing is written.
    fn redeem(&self, draft: Grant, now: UnixTime) -> Pending<Redeemed> {
        self.redeem_once(draft, Vec::new(), now)
    }

    /// As [`redeem`](Self::redeem), and marks in the same change what may be shown once only; when it was shown before,
    /// nothing is done and the answer is [`StoreError::Seen`].
    fn redeem_once(&self, draft: Grant, marks: Vec<Mark>, now: UnixTime) -> Pending<Redeemed>;

    /// Marks a code used that another client showed ([`settle::burn`](tsidecar_oauth::settle::burn)).
    fn burn(&self, draft: Grant, now: UnixTime) -> Pending<Burned>;

    /// Uses a refresh token of this generation ([`settle::rotate`](tsidecar_oauth::settle::rotate)).
    fn rotate(&self, id: GrantId, shown: Generation, now: UnixTime) -> Pending<Rotated> {
        self.rotate_once(id, shown, Vec::new(), now)
    }

    /// As [`rotate`](Self::rotate), and marks in the same change what may be shown once only; when it was shown before,
    /// nothing is done and the answer is [`StoreError::Seen`].
    fn rotate_once(
        &self,
        id: GrantId,
        shown: Generation,
        marks: Vec<Mark>,
        now: UnixTime,
    ) -> Pending<Rotated>;

    /// Marks what may be shown once only, for requests that change nothing else; [`StoreError::Seen`] when it was shown
    /// before. No mark at all is answered at once.
    fn mark(&self, marks: Vec<Mark>, now: UnixTime) -> Pending<()>;

    /// Keeps a pushed authorization request for [`LIFETIME`](tsidecar_oauth::par::LIFETIME), and marks in the same change what
    /// may be shown once only ([`StoreError::Seen`] when it was shown before; nothing is kept then). The answer is its name:
    /// whoever got it finds the request after a crash, too. `None` when the client has no place left in this lane.
    ///
    /// [`StoreError::TooLarge`] when the request does not fit in a record.
    fn push(
        &self,
        request: PushedRequest,
        lane: Lane,
        once: Once,
        now: UnixTime,
    ) -> Pending<Option<PushedId>>;

    /// Reads a pushed request of a client, inline; `None` when it was used, has expired, or is another client's. It may be
    /// read any number of times until [`finish_pushed`](Self::finish_pushed).
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    fn pushed(
        &self,
        id: PushedId,
        client: &ClientId,
        now: UnixTime,
    ) -> Result<Option<PushedRequest>, StoreError>;

    /// Uses a pushed request up that the caller has read, now or for a page that its person has answered since. `true` for
    /// exactly one caller, and durable when that is answered: only then may the code that it asked for be given out (RFC 9126
    /// §7.3). Remembered for [`USED_FOR`](tsidecar_oauth::par::USED_FOR), longer than any page lives.
    fn finish_pushed(&self, id: PushedId, client: &ClientId, now: UnixTime) -> Pending<bool>;

    /// Ends a session of a browser: it is remembered as ended until then, which must be no sooner than its cookie dies.
    /// `true` when it was not ended before.
    fn end_session(&self, id: SessionId, until: UnixTime, now: UnixTime) -> Pending<bool>;

    /// Tells whether a session was ended, inline (about 10 µs). May see what is not yet durable, which only refuses more.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    fn session_ended(&self, id: SessionId) -> Result<bool, StoreError>;

    /// Revokes a grant; `true` when it was live until now. An unknown grant is `false`.
    ///
    /// As with every verb that ends a live grant, a client that [wants to know](Self::tell) is told: the job is part of the
    /// change.
    fn revoke_grant(&self, id: GrantId, now: UnixTime) -> Pending<bool>;

    /// As [`revoke_grant`](Self::revoke_grant), and nobody is told: for grants that somebody has too many of.
    fn retire_grant(&self, id: GrantId, now: UnixTime) -> Pending<bool>;

    /// Ends a session, revokes grants and tells clients, all in one change.
    fn log_out(&self, what: LogOut, now: UnixTime) -> Pending<()>;

    /// Says which clients want to know when a grant of theirs ends, and where; from the next change on.
    fn tell(&self, clients: BTreeMap<ClientId, Target>) -> Pending<()>;

    /// Woken when a batch with new jobs has become durable.
    fn news(&self) -> Arc<Notify>;

    /// Reads all jobs that wait, at most [`MOST_JOBS`]. One that cannot be read is left out, and in the log.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    fn jobs(&self) -> Result<Vec<Job>, StoreError>;

    /// Forgets a job that is over; `false` when its cause has come again meanwhile, and the new one stays.
    fn finish_job(&self, job: Job) -> Pending<bool>;

    /// Keeps a job for another attempt then; `false` as for [`finish_job`](Self::finish_job).
    fn put_off_job(&self, job: Job, due_at: UnixTime) -> Pending<bool>;

    /// Reads a device authorization by what a person typed, inline. Like [`grant`](Self::grant) it may see what is not yet
    /// durable, and also one whose time is over: for showing, never for giving anything out.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    fn device_by_user_code(&self, user: UserCode) -> Result<Option<DeviceAuthorization>, StoreError>;

    /// Begins a device authorization under its user code, or finds the code taken and changes nothing
    /// ([`device::begin`](tsidecar_oauth::device::begin)).
    fn put_device(&self, user: UserCode, draft: DeviceAuthorization, now: UnixTime) -> Pending<Begun>;

    /// Writes a person's answer to the authorization with this digest, if it is still open
    /// ([`device::decide`](tsidecar_oauth::device::decide)): of several answers the first one stands.
    fn decide_device(
        &self,
        user: UserCode,
        shown: DeviceCodeDigest,
        answer: DeviceAnswer,
        now: UnixTime,
    ) -> Pending<Decided>;

    /// Tells a device what became of its authorization ([`device::poll`](tsidecar_oauth::device::poll)); writes only when
    /// another client showed the code. An approval is redeemed by [`redeem`](Self::redeem), whose grant is the used mark.
    fn poll_device(
        &self,
        user: UserCode,
        shown: DeviceCodeDigest,
        client: &ClientId,
        now: UnixTime,
    ) -> Pending<Polled>;

    /// Deletes those of the grants (at most 64 a call) that nothing refers to any more, and tells how many.
    ///
    /// Each is judged by [`Grant::forget_at`] on the current record: one that was used in the meantime stays.
    fn forget(&self, ids: Vec<GrantId>, now: UnixTime) -> Pending<usize>;

    /// Deletes records whose time is over (marks, ended sessions, pushed requests, device authorizations, jobs), at most
    /// `limit` of them, and tells how many. Blocks for reading: for the sweep.
    fn forget_expired(&self, limit: usize, now: UnixTime) -> Pending<usize>;

    /// Reads all client records, those of removed clients too: their `not_before` counts.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for a record that cannot be read; [`StoreError::Io`].
    fn clients(&self) -> Result<Vec<StoredClient>, StoreError>;

    /// Writes a client record, new or changed. `not_before` never goes back: the later of the stored and the given one is
    /// kept, so what a removal ended stays ended when the id is used again.
    ///
    /// [`StoreError::TooLarge`] when the client does not fit in a record.
    fn put_client(&self, client: StoredClient) -> Pending<()>;

    /// Removes a client; `true` when there was one. Leaves a record without `spec` whose `not_before` is `now`.
    fn remove_client(&self, id: &ClientId, now: UnixTime) -> Pending<bool>;

    /// Reads a client that registered itself, inline; `None` when there is none, or its time is over.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    fn registered(&self, id: &ClientId, now: UnixTime) -> Result<Option<RegisteredClient>, StoreError>;

    /// Reads registered clients after an id, in the order of their ids, at most `limit`; those whose time is over, too, until
    /// the sweep has been there.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    fn registered_after(
        &self,
        after: Option<&ClientId>,
        limit: usize,
    ) -> Result<Vec<RegisteredClient>, StoreError>;

    /// Writes a registered client, new or changed; kept for its `keep_for` after `used_at`.
    ///
    /// [`StoreError::TooLarge`] when it does not fit in a record.
    fn put_registered(&self, client: RegisteredClient, now: UnixTime) -> Pending<()>;

    /// Writes a registered client in place of what is there under its id: its last use, and how long it is kept, stay. `false`, and
    /// nothing is written, when there is none any more: what was removed never comes back.
    ///
    /// [`StoreError::TooLarge`] when it does not fit in a record.
    fn replace_registered(&self, client: RegisteredClient, now: UnixTime) -> Pending<bool>;

    /// Takes note that a registered client was used, and is kept for so long from now on; `false` when there is none.
    fn touch_registered(&self, id: &ClientId, keep_for: Lifetime, now: UnixTime) -> Pending<bool>;

    /// Removes a registered client; `true` when there was one. Its id was random, so it never comes again.
    fn remove_registered(&self, id: &ClientId, now: UnixTime) -> Pending<bool>;

    /// Reads what an administrator approved of a registered client or a document, inline.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    fn approval(&self, id: &ClientId) -> Result<Option<Approval>, StoreError>;

    /// Approves what a client is now.
    fn approve(&self, id: &ClientId, approval: Approval) -> Pending<()>;

    /// Takes an approval back; `true` when there was one. What people were signed in to without a consent until then is void from
    /// that moment: its codes are not redeemed any more, and its grants do not rotate.
    fn disapprove(&self, id: &ClientId, now: UnixTime) -> Pending<bool>;

    /// When an approval of a client was taken back last, inline; 1970 if never.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    fn disapproved_at(&self, id: &ClientId) -> Result<UnixTime, StoreError>;

    /// When the document of a client was taken away last, inline: everything issued until then is void.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    fn document_gone(&self, id: &ClientId) -> Result<UnixTime, StoreError>;

    /// Remembers that the document of a client was taken away.
    fn end_document(&self, id: &ClientId, now: UnixTime) -> Pending<()>;

    /// Reads what a person has allowed a client, inline. No success rests on it alone: a redemption or refresh that needs a
    /// consent asks again by then.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    fn consent(&self, subject: &Subject, client: &ClientId) -> Result<Option<Consent>, StoreError>;

    /// Reads consents after a person's and a client's, at most `limit`; those of one person stand together. `None` begins.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    fn consents_after(
        &self,
        after: Option<(&Subject, &ClientId)>,
        limit: usize,
    ) -> Result<Vec<Consent>, StoreError>;

    /// Reads what one person allows now, at most `limit` clients; what they have withdrawn is left out, and hides nothing.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    fn consents_of(&self, subject: &Subject, limit: usize) -> Result<Standing, StoreError>;

    /// Adds what a person has just allowed on a page of `shown_at` ([`consent::remember`](tsidecar_oauth::consent::remember)), unless it
    /// was withdrawn since; that is judged by the record that the change is made to.
    fn remember_consent(
        &self,
        subject: &Subject,
        client: &ClientId,
        wish: Wish,
        shown_at: UnixTime,
        now: UnixTime,
    ) -> Pending<Remembered>;

    /// Takes note that a consent was used, which keeps it for longer ([`consent::used`](tsidecar_oauth::consent::used)).
    fn use_consent(&self, subject: &Subject, client: &ClientId, now: UnixTime) -> Pending<()>;

    /// Takes everything back that a person has allowed a client ([`consent::withdraw`](tsidecar_oauth::consent::withdraw));
    /// `true` when there was something. What was issued on it is void from now on.
    fn withdraw_consent(&self, subject: &Subject, client: &ClientId, now: UnixTime) -> Pending<bool>;

    /// Compares the clock with the highest time that the store has seen; once at start.
    ///
    /// A clock more than an hour behind starts a new code epoch, so that codes from the lost hours cannot be redeemed
    /// twice; the epoch is durable before it is answered.
    fn begin_clock(&self, now: UnixTime) -> Pending<CodeEpoch>;

    /// Travels through the committer and changes nothing: the watchdog's proof that it is alive.
    fn ping(&self) -> Pending<()>;

    /// Refuses further changes, settles and acknowledges every queued one, past any deadline, and ends the committer.
    /// Blocks until that is done; a second call returns at once. Reads go on working.
    fn close(&self);
}

/// What a change uses up besides what it is about: marks of what was shown, and the random bytes of a name.
pub struct Once {
    /// What may be shown once only.
    pub marks: Vec<Mark>,
    /// What a new name is made from.
    pub fresh: FreshSecret,
}

/// A client as the store keeps it.
#[derive(Clone, Debug)]
pub struct StoredClient {
    /// `client_id`, the key of the record; the `id` of the spec is taken from it.
    pub id: ClientId,
    /// The description; `None` once the client was removed.
    pub spec: Option<ClientSpec>,
    /// Everything issued to this client before this moment is void.
    pub not_before: UnixTime,
    /// The last change of the record.
    pub changed_at: UnixTime,
}

/// A client that registered itself, as the store keeps it.
#[derive(Clone, Debug)]
pub struct RegisteredClient {
    /// `client_id`, the key of the record.
    pub id: ClientId,
    /// Its description, as far as rules go by it.
    pub spec: ClientSpec,
    /// When, and by whom.
    pub registration: Registration,
    /// The digest of its registration access token (RFC 7592 §3).
    pub token: SecretDigest,
    /// When it was used last, to a day.
    pub used_at: UnixTime,
    /// How long it is kept after that.
    pub keep_for: Lifetime,
    /// What is echoed beside the description (RFC 7591 §3.2.1), as a JSON object; no rule goes by it.
    pub metadata: String,
}

/// What an administrator approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Approval {
    /// What the client was like.
    pub digest: MetadataDigest,
    /// When.
    pub at: UnixTime,
}

/// What a logout changes.
#[derive(Clone, Debug, Default)]
pub struct LogOut {
    /// The session that ends, and until when it is remembered as ended.
    pub session: Option<(SessionId, UnixTime)>,
    /// Grants that end with it.
    pub revoke: Vec<GrantId>,
    /// Who is told.
    pub tell: Vec<Notice>,
}

/// A part of the grants, in key order: the grants of one subject stand together.
#[derive(Debug, Default)]
pub struct GrantPage {
    /// The readable grants.
    pub grants: Vec<Grant>,
    /// Where the next page begins: the last key seen; `None` when the end was reached.
    pub next: Option<GrantId>,
    /// The ids whose record cannot be read.
    pub unreadable: Vec<GrantId>,
}

/// What one person allows now.
#[derive(Debug, PartialEq, Eq)]
pub struct Standing {
    /// The consents, in key order.
    pub consents: Vec<Consent>,
    /// Whether there may be more of them than were read.
    pub more: bool,
}

/// Announces a request that may commit; see [`Store::intent`]. Dropping it ends the announcement.
#[must_use = "an intent counts while it is held: bind it, and drop it when the change is queued"]
pub struct Intent(#[expect(dead_code, reason = "held for its Drop")] Option<committer::Ticket>);

/// What a verb answers with: ready, or waiting for the committer to acknowledge the batch. Dropping it changes nothing.
#[must_use = "the change is queued, but only the answer says what became of it"]
pub struct Pending<T>(State<T>);

enum State<T> {
    Ready(Option<Result<T, StoreError>>),
    Waiting(oneshot::Receiver<Result<T, StoreError>>),
}

impl<T> Unpin for Pending<T> {}

impl<T> Pending<T> {
    /// An answer that is there already.
    pub fn ready(answer: Result<T, StoreError>) -> Self {
        Self(State::Ready(Some(answer)))
    }

    fn waiting(receiver: oneshot::Receiver<Result<T, StoreError>>) -> Self {
        Self(State::Waiting(receiver))
    }

    /// Blocks this thread until the answer is there. For threads of their own (sweep, tests), never inside a task.
    ///
    /// # Errors
    /// Those of the verb.
    pub fn wait(self) -> Result<T, StoreError> {
        match self.0 {
            State::Ready(answer) => answer.unwrap_or(Err(StoreError::Closed)),
            State::Waiting(receiver) => receiver.blocking_recv().unwrap_or(Err(StoreError::Closed)),
        }
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, StoreError>;

    /// Polled again after its answer it says [`StoreError::Closed`].
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Ready(answer) => Poll::Ready(answer.take().unwrap_or(Err(StoreError::Closed))),
            // A sender that is gone without an answer: the committer was ended by an error of the disk.
            State::Waiting(receiver) => {
                Pin::new(receiver).poll(context).map(|answer| answer.unwrap_or(Err(StoreError::Closed)))
            }
        }
    }
}

/// Why a verb has no answer. Nothing was changed by it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The queue is full: try again in a moment.
    #[error("the store is busy: its queue is full")]
    Busy,
    /// Too little space on the disk to write safely.
    #[error(
        "only {free_bytes} bytes are free on the disk of the state folder: \
         nothing is written below {LEAST_FREE_BYTES}"
    )]
    NoSpace {
        /// What is left for us, in bytes.
        free_bytes: u64,
    },
    /// The store is closed, because the process is stopping.
    #[error("the store is closed")]
    Closed,
    /// The record would be larger than the store writes.
    #[error("the record has {bytes} bytes, more than the {LONGEST_RECORD} that one may have")]
    TooLarge {
        /// The size it would have, in bytes.
        bytes: usize,
    },
    /// A stored record cannot be read.
    #[error("a {what} record is damaged: {reason}")]
    Corrupt {
        /// The kind of record.
        what: &'static str,
        /// What is wrong with it.
        reason: DecodeError,
    },
    /// A mark is there already: an assertion or a proof was shown before.
    #[error("it was shown before")]
    Seen(MarkKind),
    /// The database failed to read.
    #[error("the database failed: {0}")]
    Io(#[source] io::Error),
}

impl Intent {
    fn counted(ticket: committer::Ticket) -> Self {
        Self(Some(ticket))
    }

    /// An intent for which nobody waits.
    const fn uncounted() -> Self {
        Self(None)
    }
}
