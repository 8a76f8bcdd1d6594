//! The verbs, once for every store: which record a change concerns, which function of the core settles it, what is
//! written.
//!
//! A backend only says where its bytes are and how a change reaches the owner of the ledger ([`Engine`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Notify;
use tsidecar_oauth::backchannel::Target;
use tsidecar_oauth::consent::{Consent, Remembered, Wish};
use tsidecar_oauth::device::{
    self, Begun, Decided, DeviceAnswer, DeviceAuthorization, DeviceCodeDigest, Polled, UserCode,
};
use tsidecar_oauth::grant::{Generation, Grant};
use tsidecar_oauth::id::{ClientId, GrantId, SessionId, Subject};
use tsidecar_oauth::mark::Mark;
use tsidecar_oauth::par::{Lane, PushedId, PushedRequest};
use tsidecar_oauth::seal::CodeEpoch;
use tsidecar_oauth::settle::{self, Burned, OfConsent, Redeemed, Rotated};
use tsidecar_oauth::time::{Lifetime, UnixTime};

use super::consents;
use super::jobs::{self, Job};
use super::ledger::{self, ChangeError, Ledger, Records, Table, Telling};
use super::pushed;
use super::registered;
use super::steps::{client, consent_of, end_session, expired, forget, page, session_of};
use super::{
    Approval, GrantPage, Intent, LogOut, Once, Pending, RegisteredClient, Standing, Store, StoreError,
    StoredClient,
};

/// How many client records are read at a time.
pub(super) const CLIENT_PAGE: usize = 256;

/// How a store runs a change.
pub(super) trait Engine: Send + Sync + 'static {
    /// Where reads go.
    fn records(&self) -> &dyn Records;
    /// Queues a change, or runs it at once; see [`Store`] for what its answer means.
    fn submit<T, F>(&self, change: F) -> Pending<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Ledger) -> Result<T, ChangeError> + Send + 'static;
    /// See [`Store::intent`].
    fn intent(&self) -> Intent;
    /// See [`Store::news`].
    fn news(&self) -> Arc<Notify>;
    /// See [`Store::close`].
    fn close(&self);
}

impl<E: Engine> Store for E {
    fn intent(&self) -> Intent {
        Engine::intent(self)
    }

    fn grant(&self, id: GrantId) -> Result<Option<Grant>, StoreError> {
        ledger::read_grant(self.records(), id)
    }

    fn grants_after(&self, after: Option<GrantId>, limit: usize) -> Result<GrantPage, StoreError> {
        let after = after.map(|id| *id.as_bytes());
        let entries = self
            .records()
            .read_after(Table::Grants, after.as_ref().map(<[u8; 24]>::as_slice), limit)
            .map_err(StoreError::Io)?;
        Ok(page(&entries, limit))
    }

    fn redeem_once(&self, draft: Grant, marks: Vec<Mark>, now: UnixTime) -> Pending<Redeemed> {
        self.submit(move |ledger| {
            ledger.saw(now);
            ledger.mark(&marks, now)?;
            let (session, consent) = (session_of(ledger, &draft)?, consent_of(ledger, &draft)?);
            ledger.settle(draft.id(), |stored| settle::redeem(stored, draft, session, consent, now))
        })
    }

    fn burn(&self, draft: Grant, now: UnixTime) -> Pending<Burned> {
        self.submit(move |ledger| {
            ledger.saw(now);
            ledger.settle(draft.id(), |stored| settle::burn(stored, &draft, now))
        })
    }

    fn rotate_once(
        &self,
        id: GrantId,
        shown: Generation,
        marks: Vec<Mark>,
        now: UnixTime,
    ) -> Pending<Rotated> {
        self.submit(move |ledger| {
            ledger.saw(now);
            ledger.mark(&marks, now)?;
            let consent = match ledger.grant(id)? {
                Some(grant) => consent_of(ledger, &grant)?,
                None => OfConsent::Holds,
            };
            ledger.settle(id, |stored| settle::rotate(stored, shown, consent, now))
        })
    }

    fn mark(&self, marks: Vec<Mark>, now: UnixTime) -> Pending<()> {
        if marks.is_empty() {
            return Pending::ready(Ok(()));
        }
        self.submit(move |ledger| {
            ledger.saw(now);
            ledger.mark(&marks, now)
        })
    }

    fn push(
        &self,
        request: PushedRequest,
        lane: Lane,
        once: Once,
        now: UnixTime,
    ) -> Pending<Option<PushedId>> {
        self.submit(move |ledger| {
            ledger.saw(now);
            ledger.mark(&once.marks, now)?;
            pushed::push(ledger, &request, lane, once.fresh, now)
        })
    }

    fn pushed(
        &self,
        id: PushedId,
        client: &ClientId,
        now: UnixTime,
    ) -> Result<Option<PushedRequest>, StoreError> {
        pushed::read(self.records(), id, client, now)
    }

    fn finish_pushed(&self, id: PushedId, client: &ClientId, now: UnixTime) -> Pending<bool> {
        let client = client.clone();
        self.submit(move |ledger| {
            ledger.saw(now);
            pushed::finish(ledger, id, &client, now)
        })
    }

    fn end_session(&self, id: SessionId, until: UnixTime, now: UnixTime) -> Pending<bool> {
        self.submit(move |ledger| {
            ledger.saw(now);
            end_session(ledger, id, until)
        })
    }

    fn session_ended(&self, id: SessionId) -> Result<bool, StoreError> {
        let known: Option<(UnixTime, ())> =
            ledger::read_kept(self.records(), Table::Sessions, id.as_bytes())?;
        Ok(known.is_some())
    }

    fn revoke_grant(&self, id: GrantId, now: UnixTime) -> Pending<bool> {
        self.submit(move |ledger| {
            ledger.saw(now);
            ledger.settle(id, |stored| settle::revoke(stored, now))
        })
    }

    fn retire_grant(&self, id: GrantId, now: UnixTime) -> Pending<bool> {
        self.submit(move |ledger| {
            ledger.saw(now);
            ledger.settle_telling(id, Telling::Nobody, |stored| settle::revoke(stored, now))
        })
    }

    fn log_out(&self, what: LogOut, now: UnixTime) -> Pending<()> {
        self.submit(move |ledger| {
            ledger.saw(now);
            for notice in what.tell {
                ledger.add_job(notice, now)?;
            }
            if let Some((id, until)) = what.session {
                end_session(ledger, id, until)?;
            }
            for id in what.revoke {
                ledger.settle_telling(id, Telling::Nobody, |stored| settle::revoke(stored, now))?;
            }
            Ok(())
        })
    }

    fn tell(&self, clients: BTreeMap<ClientId, Target>) -> Pending<()> {
        self.submit(move |ledger| {
            ledger.jobs.tell(clients);
            Ok(())
        })
    }

    fn news(&self) -> Arc<Notify> {
        Engine::news(self)
    }

    fn jobs(&self) -> Result<Vec<Job>, StoreError> {
        jobs::read(self.records())
    }

    fn finish_job(&self, job: Job) -> Pending<bool> {
        self.submit(move |ledger| ledger.finish_job(&job))
    }

    fn put_off_job(&self, job: Job, due_at: UnixTime) -> Pending<bool> {
        self.submit(move |ledger| ledger.put_off_job(&job, due_at))
    }

    fn device_by_user_code(&self, user: UserCode) -> Result<Option<DeviceAuthorization>, StoreError> {
        ledger::read_device(self.records(), user)
    }

    fn put_device(&self, user: UserCode, draft: DeviceAuthorization, now: UnixTime) -> Pending<Begun> {
        self.submit(move |ledger| {
            ledger.saw(now);
            ledger.settle_device(user, |stored| device::begin(stored, draft, now))
        })
    }

    fn decide_device(
        &self,
        user: UserCode,
        shown: DeviceCodeDigest,
        answer: DeviceAnswer,
        now: UnixTime,
    ) -> Pending<Decided> {
        self.submit(move |ledger| {
            ledger.saw(now);
            ledger.settle_device(user, |stored| device::decide(stored, shown, answer, now))
        })
    }

    fn poll_device(
        &self,
        user: UserCode,
        shown: DeviceCodeDigest,
        client: &ClientId,
        now: UnixTime,
    ) -> Pending<Polled> {
        let client = client.clone();
        self.submit(move |ledger| {
            ledger.saw(now);
            ledger.settle_device(user, |stored| device::poll(stored, shown, &client, now))
        })
    }

    fn forget(&self, ids: Vec<GrantId>, now: UnixTime) -> Pending<usize> {
        self.submit(move |ledger| forget(ledger, ids, now))
    }

    fn forget_expired(&self, limit: usize, now: UnixTime) -> Pending<usize> {
        match expired(self.records(), limit, now) {
            Ok(keys) if keys.is_empty() => Pending::ready(Ok(0)),
            Ok(keys) => self.submit(move |ledger| ledger.forget_kept(&keys, now)),
            Err(error) => Pending::ready(Err(error)),
        }
    }

    fn clients(&self) -> Result<Vec<StoredClient>, StoreError> {
        let (mut clients, mut after) = (Vec::new(), None);
        loop {
            let entries = self
                .records()
                .read_after(Table::Clients, after.as_deref(), CLIENT_PAGE)
                .map_err(StoreError::Io)?;
            for (key, value) in &entries {
                clients.push(client(key, value).map_err(|reason| ledger::corrupt(Table::Clients, reason))?);
            }
            match entries.into_iter().last() {
                Some((key, _)) => after = Some(key),
                None => return Ok(clients),
            }
        }
    }

    fn put_client(&self, client: StoredClient) -> Pending<()> {
        self.submit(move |ledger| {
            ledger.saw(client.changed_at);
            let stored = ledger.client(&client.id)?;
            let not_before = stored.map_or(client.not_before, |old| old.not_before.max(client.not_before));
            ledger.write_client(&StoredClient { not_before, ..client })
        })
    }

    fn remove_client(&self, id: &ClientId, now: UnixTime) -> Pending<bool> {
        let id = id.clone();
        self.submit(move |ledger| {
            ledger.saw(now);
            let Some(StoredClient { spec: Some(_), not_before, .. }) = ledger.client(&id)? else {
                return Ok(false);
            };
            let gone = StoredClient { id, spec: None, not_before: now.max(not_before), changed_at: now };
            ledger.write_client(&gone)?;
            Ok(true)
        })
    }

    fn registered(&self, id: &ClientId, now: UnixTime) -> Result<Option<RegisteredClient>, StoreError> {
        registered::read(self.records(), id, now)
    }

    fn registered_after(
        &self,
        after: Option<&ClientId>,
        limit: usize,
    ) -> Result<Vec<RegisteredClient>, StoreError> {
        let after = after.map(|id| id.as_str().as_bytes());
        registered::page(&self.records().read_after(Table::Registered, after, limit).map_err(StoreError::Io)?)
    }

    fn put_registered(&self, client: RegisteredClient, now: UnixTime) -> Pending<()> {
        self.submit(move |ledger| {
            ledger.saw(now);
            registered::put(ledger, &client)
        })
    }

    fn replace_registered(&self, client: RegisteredClient, now: UnixTime) -> Pending<bool> {
        self.submit(move |ledger| {
            ledger.saw(now);
            registered::replace(ledger, client, now)
        })
    }

    fn touch_registered(&self, id: &ClientId, keep_for: Lifetime, now: UnixTime) -> Pending<bool> {
        let id = id.clone();
        self.submit(move |ledger| {
            ledger.saw(now);
            registered::touch(ledger, &id, keep_for, now)
        })
    }

    fn remove_registered(&self, id: &ClientId, now: UnixTime) -> Pending<bool> {
        let id = id.clone();
        self.submit(move |ledger| {
            ledger.saw(now);
            registered::remove(ledger, &id, now)
        })
    }

    fn approval(&self, id: &ClientId) -> Result<Option<Approval>, StoreError> {
        registered::approval(self.records(), id)
    }

    fn approve(&self, id: &ClientId, approval: Approval) -> Pending<()> {
        let id = id.clone();
        self.submit(move |ledger| {
            ledger.saw(approval.at);
            registered::approve(ledger, &id, approval)
        })
    }

    fn disapprove(&self, id: &ClientId, now: UnixTime) -> Pending<bool> {
        let id = id.clone();
        self.submit(move |ledger| {
            ledger.saw(now);
            registered::disapprove(ledger, &id, now)
        })
    }

    fn disapproved_at(&self, id: &ClientId) -> Result<UnixTime, StoreError> {
        registered::disapproved_at(self.records(), id)
    }

    fn document_gone(&self, id: &ClientId) -> Result<UnixTime, StoreError> {
        registered::document_gone(self.records(), id)
    }

    fn end_document(&self, id: &ClientId, now: UnixTime) -> Pending<()> {
        let id = id.clone();
        self.submit(move |ledger| {
            ledger.saw(now);
            registered::end_document(ledger, &id, now)
        })
    }

    fn consent(&self, subject: &Subject, client: &ClientId) -> Result<Option<Consent>, StoreError> {
        consents::read(self.records(), subject, client)
    }

    fn consents_after(
        &self,
        after: Option<(&Subject, &ClientId)>,
        limit: usize,
    ) -> Result<Vec<Consent>, StoreError> {
        let after = after.map(|(subject, client)| consents::key(subject, client));
        let after = after.as_ref().map(<[u8; 24]>::as_slice);
        consents::page(&self.records().read_after(Table::Consents, after, limit).map_err(StoreError::Io)?)
    }

    fn consents_of(&self, subject: &Subject, limit: usize) -> Result<Standing, StoreError> {
        consents::standing(self.records(), subject, limit)
    }

    fn remember_consent(
        &self,
        subject: &Subject,
        client: &ClientId,
        wish: Wish,
        shown_at: UnixTime,
        now: UnixTime,
    ) -> Pending<Remembered> {
        let (subject, client) = (subject.clone(), client.clone());
        self.submit(move |ledger| {
            ledger.saw(now);
            consents::remember(ledger, &subject, &client, &wish, shown_at, now)
        })
    }

    fn use_consent(&self, subject: &Subject, client: &ClientId, now: UnixTime) -> Pending<()> {
        let (subject, client) = (subject.clone(), client.clone());
        self.submit(move |ledger| {
            ledger.saw(now);
            consents::used(ledger, &subject, &client, now)
        })
    }

    fn withdraw_consent(&self, subject: &Subject, client: &ClientId, now: UnixTime) -> Pending<bool> {
        let (subject, client) = (subject.clone(), client.clone());
        self.submit(move |ledger| {
            ledger.saw(now);
            consents::withdraw(ledger, &subject, &client, now)
        })
    }

    fn begin_clock(&self, now: UnixTime) -> Pending<CodeEpoch> {
        self.submit(move |ledger| ledger.begin_clock(now))
    }

    fn ping(&self) -> Pending<()> {
        self.submit(|_| Ok(()))
    }

    fn close(&self) {
        Engine::close(self);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tsidecar_oauth::id::Subject;

    use super::*;
    use crate::store::MemoryStore;
    use crate::store::conformance::{at, client, grant};
    use crate::store::ledger::Records;
    use crate::store::record::DecodeError;

    fn damaged(table: Table, key: &[u8], value: &[u8]) -> (MemoryStore, Arc<dyn Records>) {
        let store = MemoryStore::new();
        let records = store.shared();
        records.insert(table, key, value.to_vec()).unwrap();
        (store, records)
    }

    #[test]
    fn an_unreadable_grant_is_never_unknown() {
        let id = grant(1).id();
        let (store, records) = damaged(Table::Grants, id.as_bytes(), &[1, 2, 3]);
        let is_corrupt =
            |error| matches!(error, StoreError::Corrupt { what: "grant", reason: DecodeError::Content });
        assert!(is_corrupt(store.grant(id).unwrap_err()));
        assert!(is_corrupt(store.redeem(grant(1), at(1_000)).wait().unwrap_err()));
        assert!(is_corrupt(store.rotate(id, Generation::default(), at(1_000)).wait().unwrap_err()));
        assert!(is_corrupt(store.revoke_grant(id, at(1_000)).wait().unwrap_err()));
        assert!(is_corrupt(store.forget(vec![id], at(1_000)).wait().unwrap_err()));
        assert_eq!(records.read(Table::Grants, id.as_bytes()).unwrap(), Some(vec![1, 2, 3]));
    }

    #[test]
    fn an_unreadable_grant_does_not_hide_the_others() {
        let broken = grant(5).id();
        let (store, _) = damaged(Table::Grants, broken.as_bytes(), &[77]);
        for number in [1, 9] {
            store.redeem(grant(number), at(1_000)).wait().unwrap();
        }
        let page = store.grants_after(None, 10).unwrap();
        assert_eq!((page.grants, page.unreadable, page.next), (vec![grant(1), grant(9)], vec![broken], None));
        let range = GrantId::range(&Subject::user(1001));
        assert!(broken.as_bytes().starts_with(&range));
    }

    #[test]
    fn an_unreadable_client_is_an_error() {
        let (store, _) = damaged(Table::Clients, b"app", &[]);
        let error = store.clients().unwrap_err();
        assert!(
            matches!(error, StoreError::Corrupt { what: "client", reason: DecodeError::Empty }),
            "{error}"
        );
        assert!(store.put_client(client("app")).wait().is_err());
        let (store, _) = damaged(Table::Clients, b"userid:1", &[1, 0, 0, 0]);
        let error = store.clients().unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { reason: DecodeError::Key, .. }), "{error}");
    }
}
