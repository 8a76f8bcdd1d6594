//! What people have allowed strangers: one record per person and client, those of one person side by side.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tsidecar_oauth::assurance::MetadataDigest;
use tsidecar_oauth::consent::{self, Allowed, Consent, Remembered, Wish};
use tsidecar_oauth::id::{ClientId, DeviceId, GrantId, Subject};
use tsidecar_oauth::scope::Scope;
use tsidecar_oauth::time::UnixTime;
use tsidecar_oauth::uri::ResourceIndicator;

use super::ledger::{self, ChangeError, Entry, Ledger, Records, Table};
use super::record;
use super::{Standing, StoreError};

#[derive(Serialize, Deserialize)]
struct ConsentV1 {
    subject: Subject,
    client: ClientId,
    digest: MetadataDigest,
    allowed: Vec<AllowedV1>,
    not_before: UnixTime,
    used_at: UnixTime,
}

#[derive(Serialize, Deserialize)]
struct AllowedV1 {
    redirect_host: String,
    device: Option<DeviceId>,
    resources: Vec<ResourceIndicator>,
    scope: Scope,
    at: UnixTime,
}

impl From<&Consent> for ConsentV1 {
    fn from(consent: &Consent) -> Self {
        let allowed = consent.allowed.iter().map(|allowed| AllowedV1 {
            redirect_host: allowed.redirect_host.clone(),
            device: allowed.device.clone(),
            resources: allowed.resources.clone(),
            scope: allowed.scope.clone(),
            at: allowed.at,
        });
        Self {
            subject: consent.subject.clone(),
            client: consent.client.clone(),
            digest: consent.digest,
            allowed: allowed.collect(),
            not_before: consent.not_before,
            used_at: consent.used_at,
        }
    }
}

impl From<ConsentV1> for Consent {
    fn from(v1: ConsentV1) -> Self {
        let allowed = v1.allowed.into_iter().map(|v1| Allowed {
            redirect_host: v1.redirect_host,
            device: v1.device,
            resources: v1.resources,
            scope: v1.scope,
            at: v1.at,
        });
        Self {
            subject: v1.subject,
            client: v1.client,
            digest: v1.digest,
            allowed: allowed.collect(),
            not_before: v1.not_before,
            used_at: v1.used_at,
        }
    }
}

/// The first eight bytes as in the ids of the person's grants, then sixteen of the digest of the client's id.
pub(super) fn key(subject: &Subject, client: &ClientId) -> [u8; 24] {
    let mut key = [0; 24];
    let digest = Sha256::digest(client.as_str().as_bytes());
    let bytes = GrantId::range(subject).into_iter().chain(digest);
    key.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    key
}

/// Reads what a person has allowed a client.
pub(super) fn read(
    records: &dyn Records,
    subject: &Subject,
    client: &ClientId,
) -> Result<Option<Consent>, StoreError> {
    let kept: Option<(UnixTime, ConsentV1)> =
        ledger::read_kept(records, Table::Consents, &key(subject, client))?;
    let consent = kept.map(|(_, v1)| Consent::from(v1));
    // Whoever finds two names with one digest finds nothing here.
    Ok(consent.filter(|consent| consent.subject == *subject && consent.client == *client))
}

/// A page of them; those of one person stand together.
pub(super) fn page(entries: &[Entry]) -> Result<Vec<Consent>, StoreError> {
    let consent = |(_, value): &Entry| record::decode_kept::<ConsentV1>(value).map(|(_, v1)| v1.into());
    let consents: Result<_, _> = entries.iter().map(consent).collect();
    consents.map_err(|reason| ledger::corrupt(Table::Consents, reason))
}

/// Records read at a time to find what stands among what was withdrawn, which is kept for long; and how many times: 10 ms.
const PAGE: usize = 200;
const MOST_PAGES: usize = 10;

/// What one person allows now.
pub(super) fn standing(
    records: &dyn Records,
    subject: &Subject,
    limit: usize,
) -> Result<Standing, StoreError> {
    let range = GrantId::range(subject);
    let (mut consents, mut after) = (Vec::new(), range.to_vec());
    for _ in 0..MOST_PAGES {
        let entries = records.read_after(Table::Consents, Some(&after), PAGE).map_err(StoreError::Io)?;
        let of_range: Vec<_> = entries.into_iter().take_while(|(key, _)| key.starts_with(&range)).collect();
        let stands = |consent: &Consent| consent.subject == *subject && !consent.allowed.is_empty();
        consents.extend(page(&of_range)?.into_iter().filter(stands));
        if consents.len() > limit {
            consents.truncate(limit);
            return Ok(Standing { consents, more: true });
        }
        match of_range.into_iter().nth(PAGE - 1) {
            Some((last, _)) => after = last,
            None => return Ok(Standing { consents, more: false }),
        }
    }
    Ok(Standing { consents, more: true })
}

/// Adds what a person has just allowed on a page of `shown_at`, unless it was withdrawn since.
pub(super) fn remember(
    ledger: &mut Ledger,
    subject: &Subject,
    client: &ClientId,
    wish: &Wish,
    shown_at: UnixTime,
    now: UnixTime,
) -> Result<Remembered, ChangeError> {
    let stored = read(ledger.records(), subject, client)?;
    match consent::remember(stored.as_ref(), subject, client, wish, shown_at, now) {
        Some(next) => write(ledger, &next).map(|()| Remembered::Now),
        None => Ok(Remembered::Withdrawn),
    }
}

/// Takes note that a consent was used.
pub(super) fn used(
    ledger: &mut Ledger,
    subject: &Subject,
    client: &ClientId,
    now: UnixTime,
) -> Result<(), ChangeError> {
    let stored = read(ledger.records(), subject, client)?;
    consent::used(stored.as_ref(), now).map_or(Ok(()), |next| write(ledger, &next))
}

/// Takes everything back; `true` when there was something.
pub(super) fn withdraw(
    ledger: &mut Ledger,
    subject: &Subject,
    client: &ClientId,
    now: UnixTime,
) -> Result<bool, ChangeError> {
    let stored = read(ledger.records(), subject, client)?;
    match consent::withdraw(stored.as_ref(), now) {
        Some(next) => write(ledger, &next).map(|()| true),
        None => Ok(false),
    }
}

fn write(ledger: &mut Ledger, consent: &Consent) -> Result<(), ChangeError> {
    let key = key(&consent.subject, &consent.client);
    ledger.keep(Table::Consents, &key, consent.kept_until(), &ConsentV1::from(consent))
}

/// Tells whether a record that can be read says the same once it is written again.
pub(super) fn survives(bytes: &[u8]) -> bool {
    let Ok((until, v1)) = record::decode_kept::<ConsentV1>(bytes) else { return true };
    let consent = Consent::from(v1);
    let Ok(again) = record::encode_kept(until, &ConsentV1::from(&consent)) else { return true };
    record::decode_kept::<ConsentV1>(&again).is_ok_and(|(_, v1)| Consent::from(v1) == consent)
}

#[cfg(test)]
mod tests {
    use super::super::conformance::{at, wish};
    use super::super::{MemoryStore, Store};
    use super::*;

    /// However much was withdrawn, a page costs what it costs, and says so.
    #[test]
    fn what_was_withdrawn_is_skipped_within_bounds() {
        let (store, alice) = (MemoryStore::new(), Subject::user(1001));
        let client = |number: usize| ClientId::parse(&format!("client-{number}")).unwrap();
        let allow = |number| {
            let wish = wish("app.test", "openid");
            store.remember_consent(&alice, &client(number), wish, at(1_000), at(1_000)).wait().unwrap();
        };
        for number in 0..PAGE * MOST_PAGES {
            allow(number);
            assert!(store.withdraw_consent(&alice, &client(number), at(1_001)).wait().unwrap());
            if number + 2 == PAGE * MOST_PAGES {
                let none = Standing { consents: Vec::new(), more: false };
                assert_eq!(store.consents_of(&alice, 10).unwrap(), none, "all of them were read");
            }
        }
        assert!(store.consents_of(&alice, 10).unwrap().more);
    }
}
