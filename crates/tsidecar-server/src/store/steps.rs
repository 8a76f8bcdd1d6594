//! What verbs do beside one settling: reading pages, ending sessions, forgetting.

use tsidecar_oauth::grant::Grant;
use tsidecar_oauth::id::{ClientId, GrantId, SessionId};
use tsidecar_oauth::settle::{OfConsent, OfSession};
use tsidecar_oauth::time::UnixTime;

use super::ledger::{ChangeError, Entry, Ledger, Records, Table};
use super::record::{self, DecodeError};
use super::verbs::CLIENT_PAGE;
use super::{GrantPage, StoreError, StoredClient, consents, registered};

pub(super) fn session_of(ledger: &Ledger, draft: &Grant) -> Result<OfSession, StoreError> {
    let Some(id) = draft.facts().session else { return Ok(OfSession::Open) };
    let known: Option<(UnixTime, ())> = ledger.kept(Table::Sessions, id.as_bytes())?;
    Ok(if known.is_some() { OfSession::Ended } else { OfSession::Open })
}

pub(super) fn consent_of(ledger: &Ledger, grant: &Grant) -> Result<OfConsent, StoreError> {
    let facts = grant.facts();
    if facts.rests_on_no_consent() {
        let ended = registered::disapproved_at(ledger.records(), &facts.client)?;
        return Ok(if facts.survives_disapproval(ended) { OfConsent::Holds } else { OfConsent::Withdrawn });
    }
    if !facts.consented {
        return Ok(OfConsent::Holds);
    }
    let consent = consents::read(ledger.records(), &facts.subject, &facts.client)?;
    Ok(if facts.is_carried_by(consent.as_ref()) { OfConsent::Holds } else { OfConsent::Withdrawn })
}

pub(super) fn end_session(ledger: &mut Ledger, id: SessionId, until: UnixTime) -> Result<bool, ChangeError> {
    let known: Option<(UnixTime, ())> = ledger.kept(Table::Sessions, id.as_bytes())?;
    if known.as_ref().is_none_or(|(end, ())| *end < until) {
        ledger.keep(Table::Sessions, id.as_bytes(), until, &())?;
    }
    Ok(known.is_none())
}

pub(super) fn forget(ledger: &mut Ledger, ids: Vec<GrantId>, now: UnixTime) -> Result<usize, ChangeError> {
    ledger.saw(now);
    let mut forgotten = 0;
    for id in ids {
        if ledger.grant(id)?.is_some_and(|grant| grant.forget_at().is_past(now)) {
            ledger.remove_grant(id)?;
            forgotten += 1;
        }
    }
    Ok(forgotten)
}

/// The keys of records whose time is over, at most so many. One that cannot be read stays, and is reported where it is used.
pub(super) fn expired(
    records: &dyn Records,
    limit: usize,
    now: UnixTime,
) -> Result<Vec<(Table, Vec<u8>)>, StoreError> {
    let mut keys = Vec::new();
    for table in Table::KEPT {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let entries = records.read_after(table, after.as_deref(), CLIENT_PAGE).map_err(StoreError::Io)?;
            let Some((last, _)) = entries.last() else { break };
            after = Some(last.clone());
            let is_over = |value: &[u8]| record::end_of_kept(value).is_ok_and(|until| until.is_past(now));
            keys.extend(entries.into_iter().filter(|(_, value)| is_over(value)).map(|(key, _)| (table, key)));
            if keys.len() >= limit {
                keys.truncate(limit);
                return Ok(keys);
            }
        }
    }
    Ok(keys)
}

pub(super) fn page(entries: &[Entry], limit: usize) -> GrantPage {
    let mut page = GrantPage::default();
    for (key, value) in entries {
        let Ok(id) = <[u8; 24]>::try_from(key.as_slice()).map(GrantId::from_bytes) else { continue };
        match record::decode_grant(id, value) {
            Ok(grant) => page.grants.push(grant),
            Err(_) => page.unreadable.push(id),
        }
        page.next = (entries.len() >= limit).then_some(id);
    }
    page
}

pub(super) fn client(key: &[u8], value: &[u8]) -> Result<StoredClient, DecodeError> {
    let id = std::str::from_utf8(key).ok().and_then(|text| ClientId::parse(text).ok());
    record::decode_client(id.ok_or(DecodeError::Key)?, value)
}
