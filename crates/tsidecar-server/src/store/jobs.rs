//! Jobs: what still has to be told to others. Each is written in the same change as its cause, and kept until it is done.
//!
//! A job's key is made from whom it is about, so the same client is told of the same session once, however often it ends
//! before it could be told. There are at most [`MOST_JOBS`], and [`MOST_JOBS_OF_CLIENT`] of one client.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tsidecar_oauth::backchannel::{Cause, Notice, TRIED_FOR, Target};
use tsidecar_oauth::grant::Grant;
use tsidecar_oauth::id::{ClientId, IdError, SessionId, Subject};
use tsidecar_oauth::time::UnixTime;
use tsidecar_oauth::uri::FetchUrl;

use super::StoreError;
use super::ledger::{ChangeError, Ledger, Records, Table};
use super::record::number::{algorithm, algorithm_number};
use super::record::{DecodeError, decode_kept, encode_kept};
use crate::audit;

/// How many jobs wait at most: with one that takes 5 s to fail and eight at a time, an hour's work.
pub const MOST_JOBS: usize = 4096;

/// How many jobs of one client wait at most: one whose host is gone leaves room for the others.
pub const MOST_JOBS_OF_CLIENT: usize = 1024;

/// How many records are read at a time.
const PAGE: usize = 256;

/// The key of a job.
type JobKey = [u8; 16];

/// Something that a client is still to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// What.
    pub notice: Notice,
    /// When it happened.
    pub made_at: UnixTime,
    /// How often it was tried in vain.
    pub attempts: u32,
    /// When it is tried next.
    pub due_at: UnixTime,
    /// Counts how often it happened again before it could be told.
    made: u32,
}

/// Which jobs wait, and who is told of the end of a grant.
#[derive(Default)]
pub(super) struct Pending {
    told: BTreeMap<ClientId, Target>,
    waiting: BTreeMap<JobKey, ClientId>,
    news: Arc<Notify>,
    has_news: bool,
}

impl Pending {
    /// Reads which jobs wait.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(super) fn read(records: &dyn Records) -> Result<Self, StoreError> {
        let waiting = read(records)?.into_iter().map(|job| (job.notice.key(), job.notice.client)).collect();
        Ok(Self { waiting, ..Self::default() })
    }

    /// Says who is told from now on.
    pub(super) fn tell(&mut self, clients: BTreeMap<ClientId, Target>) {
        self.told = clients;
    }

    /// Woken for new jobs once they are durable.
    pub(super) fn news(&self) -> Arc<Notify> {
        Arc::clone(&self.news)
    }

    /// Wakes whoever does the jobs, when a batch that is durable now had new ones.
    pub(super) fn announce(&mut self) {
        if std::mem::take(&mut self.has_news) {
            self.news.notify_one();
        }
    }

    /// A job is gone.
    pub(super) fn forget(&mut self, key: &[u8]) {
        if let Ok(key) = <&JobKey>::try_from(key) {
            self.waiting.remove(key);
        }
    }

    fn has_room(&self, key: &JobKey, client: &ClientId) -> bool {
        let of_client = || self.waiting.values().filter(|waiting| *waiting == client).count();
        self.waiting.contains_key(key)
            || (self.waiting.len() < MOST_JOBS && of_client() < MOST_JOBS_OF_CLIENT)
    }
}

impl Ledger {
    /// Tells the client of a grant that has ended, if it wants to know, and if it was a person's: nobody else was signed in.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub(super) fn tell_of(&mut self, grant: &Grant, now: UnixTime) -> Result<(), ChangeError> {
        match self.jobs.told.get(&grant.facts().client) {
            Some(target) if grant.facts().is_of_a_person() => {
                let notice = Notice::of(grant, Cause::GrantEnded, target.clone());
                self.add_job(notice, now)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Writes a job. Where there is no room for it the change goes on without: what ended has ended.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub(super) fn add_job(&mut self, notice: Notice, now: UnixTime) -> Result<(), ChangeError> {
        let key = notice.key();
        if !notice.fits(&notice.target) {
            audit::logout_not_queued(&notice, "the client wants a session named, and there is none");
            return Ok(());
        }
        if !self.jobs.has_room(&key, &notice.client) {
            audit::logout_not_queued(&notice, "too many wait already");
            return Ok(());
        }
        // One that cannot be read is replaced.
        let known = self.kept::<JobV1>(Table::Jobs, &key).ok().flatten();
        let made = known.map_or(0, |(_, job)| job.made.wrapping_add(1));
        let job = Job { notice, made_at: now, attempts: 0, due_at: now, made };
        match self.keep_job(&job) {
            Err(ChangeError::Refused(StoreError::TooLarge { .. })) => {
                audit::logout_not_queued(&job.notice, "backchannel_logout_uri is too long");
                return Ok(());
            }
            written => written?,
        }
        self.jobs.waiting.insert(key, job.notice.client);
        self.jobs.has_news = true;
        Ok(())
    }

    /// Deletes a job, unless its cause has come again; tells whether it did.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub(super) fn finish_job(&mut self, job: &Job) -> Result<bool, ChangeError> {
        let current = self.is_current(job)?;
        if current {
            self.drop_kept(Table::Jobs, &job.notice.key())?;
        }
        Ok(current)
    }

    /// Counts an attempt in vain and says when the next one is, unless the cause has come again; tells whether it did.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub(super) fn put_off_job(&mut self, job: &Job, due_at: UnixTime) -> Result<bool, ChangeError> {
        let current = self.is_current(job)?;
        if current {
            self.keep_job(&Job { attempts: job.attempts.saturating_add(1), due_at, ..job.clone() })?;
        }
        Ok(current)
    }

    fn is_current(&self, job: &Job) -> Result<bool, ChangeError> {
        let stored: Option<(_, JobV1)> = self.kept(Table::Jobs, &job.notice.key())?;
        Ok(stored.is_some_and(|(_, stored)| stored.made == job.made && stored.made_at == job.made_at))
    }

    fn keep_job(&mut self, job: &Job) -> Result<(), ChangeError> {
        // Whoever does the jobs gives up earlier; this is for those that nobody does.
        let until = job.made_at.after(TRIED_FOR).after(TRIED_FOR);
        self.keep(Table::Jobs, &job.notice.key(), until, &JobV1::from(job))
    }
}

/// Reads all jobs.
///
/// # Errors
/// [`StoreError::Io`].
pub(super) fn read(records: &dyn Records) -> Result<Vec<Job>, StoreError> {
    let (mut jobs, mut after) = (Vec::new(), None::<Vec<u8>>);
    while jobs.len() < MOST_JOBS {
        let entries = records.read_after(Table::Jobs, after.as_deref(), PAGE).map_err(StoreError::Io)?;
        let Some((last, _)) = entries.last() else { break };
        after = Some(last.clone());
        for (_, value) in &entries {
            match decode(value) {
                Ok(job) => jobs.push(job),
                Err(error) => tracing::error!(%error, "a stored job cannot be read; nobody is told of it"),
            }
        }
    }
    Ok(jobs)
}

/// A job as it is stored.
#[derive(Serialize, Deserialize)]
struct JobV1 {
    client: String,
    subject: Subject,
    session: Option<SessionId>,
    logged_out: bool,
    uri: String,
    algorithm: u8,
    session_required: bool,
    made_at: UnixTime,
    made: u32,
    attempts: u32,
    due_at: UnixTime,
}

impl From<&Job> for JobV1 {
    fn from(job: &Job) -> Self {
        let Notice { client, subject, session, cause, target } = &job.notice;
        Self {
            client: client.as_str().to_owned(),
            subject: subject.clone(),
            session: *session,
            logged_out: *cause == Cause::LoggedOut,
            uri: target.uri.as_str().to_owned(),
            algorithm: algorithm_number(target.algorithm),
            session_required: target.session_required,
            made_at: job.made_at,
            made: job.made,
            attempts: job.attempts,
            due_at: job.due_at,
        }
    }
}

/// Reads a job back.
///
/// # Errors
/// [`DecodeError`].
pub(super) fn decode(bytes: &[u8]) -> Result<Job, DecodeError> {
    let (_, v1): (_, JobV1) = decode_kept(bytes)?;
    let client = ClientId::parse(&v1.client);
    let target = Target {
        uri: FetchUrl::parse(&v1.uri).map_err(|_| DecodeError::Value("backchannel_logout_uri"))?,
        algorithm: algorithm(v1.algorithm)?,
        session_required: v1.session_required,
    };
    let notice = Notice {
        client: client.map_err(|_: IdError| DecodeError::Value("client"))?,
        subject: v1.subject,
        session: v1.session,
        cause: if v1.logged_out { Cause::LoggedOut } else { Cause::GrantEnded },
        target,
    };
    Ok(Job { notice, made_at: v1.made_at, made: v1.made, attempts: v1.attempts, due_at: v1.due_at })
}

/// As [`survives`](super::record::survives), for this record.
pub(super) fn survives(bytes: &[u8]) -> bool {
    let Ok(job) = decode(bytes) else { return true };
    // Garbage may be longer than a record may be.
    let Ok(again) = encode_kept(job.made_at, &JobV1::from(&job)) else { return true };
    decode(&again).is_ok_and(|again| again == job)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tsidecar_oauth::grant::Generation;
    use tsidecar_oauth::jose::Algorithm;

    use super::*;
    use crate::store::conformance::{at, grant};
    use crate::store::{LogOut, MemoryStore, Store};

    fn target() -> Target {
        let uri = FetchUrl::parse("https://app.test/logout").unwrap();
        Target { uri, algorithm: Algorithm::Es256, session_required: false }
    }

    /// Alice's sessions at a client, told apart by a number.
    fn notice(client: &str, session: u32) -> Notice {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&session.to_be_bytes());
        Notice {
            client: ClientId::parse(client).unwrap(),
            subject: Subject::user(1001),
            session: Some(SessionId::from_bytes(bytes)),
            cause: Cause::LoggedOut,
            target: target(),
        }
    }

    type End = fn(&MemoryStore);

    fn telling() -> MemoryStore {
        let store = MemoryStore::new();
        store.tell([(grant(1).facts().client.clone(), target())].into()).wait().unwrap();
        store
    }

    fn log_out(store: &MemoryStore, tell: Vec<Notice>, seconds: u64) {
        store.log_out(LogOut { tell, ..LogOut::default() }, at(seconds)).wait().unwrap();
    }

    #[test]
    fn every_end_of_a_live_grant_is_a_job_and_only_once() {
        let ends: [(&str, End); 4] = [
            ("a replayed code", |s| drop(s.redeem(grant(1), at(1_001)))),
            ("a code shown by another client", |s| drop(s.burn(grant(1), at(1_001)))),
            ("revoked", |s| drop(s.revoke_grant(grant(1).id(), at(1_001)))),
            ("a refresh token newer than the store", |s| {
                drop(s.rotate(grant(1).id(), Generation::from_number(5), at(1_001)));
            }),
        ];
        for (what, end) in ends {
            let store = telling();
            store.redeem(grant(1), at(1_000)).wait().unwrap();
            assert!(store.jobs().unwrap().is_empty(), "{what}");
            end(&store);
            let jobs = store.jobs().unwrap();
            assert_eq!(jobs.len(), 1, "{what}");
            assert_eq!(jobs[0].notice, Notice::of(&grant(1), Cause::GrantEnded, target()), "{what}");
            assert_eq!((jobs[0].made_at, jobs[0].due_at, jobs[0].attempts), (at(1_001), at(1_001), 0));
            assert!(store.finish_job(jobs[0].clone()).wait().unwrap());
            end(&store);
            assert!(store.jobs().unwrap().is_empty(), "{what}: told twice");
        }
    }

    #[test]
    fn reuse_of_a_refresh_token_is_a_job() {
        let store = telling();
        store.redeem(grant(1), at(1_000)).wait().unwrap();
        for generation in 0..2 {
            store.rotate(grant(1).id(), Generation::from_number(generation), at(1_001)).wait().unwrap();
            assert!(store.jobs().unwrap().is_empty());
        }
        store.rotate(grant(1).id(), Generation::default(), at(1_002)).wait().unwrap();
        assert_eq!(store.jobs().unwrap().len(), 1);
    }

    #[test]
    fn nobody_is_told_of_what_was_never_theirs_or_does_not_want_to_know() {
        let store = telling();
        // The code was never redeemed: the client has no session of it.
        store.burn(grant(1), at(1_000)).wait().unwrap();
        store.redeem(grant(2), at(1_000)).wait().unwrap();
        assert!(store.retire_grant(grant(2).id(), at(1_001)).wait().unwrap());
        store.tell(BTreeMap::new()).wait().unwrap();
        store.redeem(grant(3), at(1_000)).wait().unwrap();
        assert!(store.revoke_grant(grant(3).id(), at(1_001)).wait().unwrap());
        assert!(store.jobs().unwrap().is_empty());
    }

    #[test]
    fn a_logout_revokes_and_tells_in_one_change() {
        let store = telling();
        store.redeem(grant(1), at(1_000)).wait().unwrap();
        let tell = vec![Notice::of(&grant(1), Cause::LoggedOut, target())];
        store.log_out(LogOut { session: None, revoke: vec![grant(1).id()], tell }, at(1_001)).wait().unwrap();
        assert!(store.grant(grant(1).id()).unwrap().unwrap().is_revoked());
        let jobs = store.jobs().unwrap();
        assert_eq!((jobs.len(), jobs[0].notice.cause), (1, Cause::LoggedOut));
    }

    #[test]
    fn what_happens_again_while_it_is_told_is_told_again() {
        let store = MemoryStore::new();
        log_out(&store, vec![notice("app", 1)], 1_000);
        let first = store.jobs().unwrap().remove(0);
        log_out(&store, vec![notice("app", 1)], 1_000);
        assert!(!store.finish_job(first.clone()).wait().unwrap());
        assert!(!store.put_off_job(first, at(2_000)).wait().unwrap());
        let second = store.jobs().unwrap().remove(0);
        assert_eq!((second.attempts, second.due_at), (0, at(1_000)));
        assert!(store.put_off_job(second.clone(), at(1_005)).wait().unwrap());
        let third = store.jobs().unwrap().remove(0);
        assert_eq!((third.attempts, third.due_at, &third.notice), (1, at(1_005), &second.notice));
        assert!(store.finish_job(third).wait().unwrap());
        assert!(store.jobs().unwrap().is_empty());
    }

    #[test]
    fn a_client_that_needs_a_session_is_not_told_without_one() {
        let store = MemoryStore::new();
        let strict = Target { session_required: true, ..target() };
        log_out(&store, vec![Notice { session: None, target: strict, ..notice("app", 1) }], 1_000);
        assert!(store.jobs().unwrap().is_empty());
    }

    /// A client whose host is gone fills its share, and no more; what ended has ended all the same.
    #[test]
    fn jobs_are_bounded_for_each_client_and_for_all() {
        let store = MemoryStore::new();
        let count = |client: &str| {
            store.jobs().unwrap().iter().filter(|job| job.notice.client.as_str() == client).count()
        };
        let many = u32::try_from(MOST_JOBS_OF_CLIENT).unwrap();
        for client in ["a", "b", "c", "d", "e"] {
            log_out(&store, (0..many + 5).map(|session| notice(client, session)).collect(), 1_000);
        }
        assert_eq!(["a", "b", "c", "d", "e"].map(count), [1024, 1024, 1024, 1024, 0]);
        let job = store.jobs().unwrap().into_iter().find(|job| job.notice.client.as_str() == "a").unwrap();
        // What waits already may happen again; what is over makes room.
        log_out(&store, vec![job.notice.clone()], 1_001);
        assert_eq!(count("a"), 1024);
        let job = store.jobs().unwrap().into_iter().find(|known| known.notice == job.notice).unwrap();
        assert!(store.finish_job(job).wait().unwrap());
        log_out(&store, vec![notice("e", 1), notice("e", 2)], 1_002);
        assert_eq!((count("a"), count("e")), (1023, 1));
        let sessions: BTreeSet<_> = store.jobs().unwrap().iter().map(|job| job.notice.key()).collect();
        assert_eq!(sessions.len(), MOST_JOBS);
        // The sweep takes what nobody did.
        let swept = store.forget_expired(MOST_JOBS, at(1_002 + 3 * 86_400)).wait().unwrap();
        assert!(swept > 0 && count("e") <= 1);
    }

    #[test]
    fn a_job_that_cannot_be_read_hides_no_other() {
        let store = MemoryStore::new();
        log_out(&store, vec![notice("a", 1), notice("b", 1)], 1_000);
        let records = store.shared();
        records.insert(Table::Jobs, &notice("a", 1).key(), vec![1, 2, 3]).unwrap();
        assert_eq!(store.jobs().unwrap().len(), 1);
        log_out(&store, vec![notice("a", 1)], 1_000);
        assert_eq!(store.jobs().unwrap().len(), 2);
        assert!(decode(&[]).is_err() && decode(&[9, 9]).is_err());
    }

    #[tokio::test]
    async fn whoever_does_the_jobs_is_woken() {
        let store = MemoryStore::new();
        let news = store.news();
        log_out(&store, vec![notice("a", 1)], 1_000);
        news.notified().await;
    }
}
