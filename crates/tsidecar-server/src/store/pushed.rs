//! Pushed authorization requests: which place a new one takes, and what is left of one that was used.
//!
//! Each client has a bounded number of places, so nothing here grows, whether anybody sweeps or not: a place whose time is over
//! is taken again, and one whose request was used is free at once. What stays of that is a mark, for the pages that still show it.

use serde::{Deserialize, Serialize};
use tsidecar_oauth::fresh::FreshSecret;
use tsidecar_oauth::id::{ClientId, Thumbprint};
use tsidecar_oauth::par::{LIFETIME, Lane, PushedId, PushedRequest};
use tsidecar_oauth::params::Params;
use tsidecar_oauth::time::UnixTime;

use super::StoreError;
use super::ledger::{self, ChangeError, Ledger, Records, Table};
use super::record::{self, DecodeError};

/// What stands in a place.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct PushedV1 {
    id: [u8; 32],
    client: ClientId,
    key: Option<Thumbprint>,
    params: Vec<(String, String)>,
}

impl PushedV1 {
    fn new(request: &PushedRequest, id: PushedId) -> Self {
        let pairs = request.params.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self { id: *id.as_bytes(), client: request.client.clone(), key: request.key, params: pairs.collect() }
    }

    fn is(&self, id: PushedId, client: &ClientId) -> bool {
        self.id == *id.as_bytes() && self.client == *client
    }
}

/// Writes a request into the first free place; `None` when there is none among those that are looked at.
pub(super) fn push(
    ledger: &mut Ledger,
    request: &PushedRequest,
    lane: Lane,
    fresh: FreshSecret,
    now: UnixTime,
) -> Result<Option<PushedId>, ChangeError> {
    for id in PushedId::candidates(fresh, lane) {
        let place = id.place(&request.client);
        let taken: Option<(UnixTime, PushedV1)> = ledger.kept(Table::Pushed, &place)?;
        if taken.is_none_or(|(until, _)| until.is_past(now)) {
            ledger.keep(Table::Pushed, &place, now.after(LIFETIME), &PushedV1::new(request, id))?;
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// Reads a request that waits: `None` when it was used, has expired, or is another client's.
pub(super) fn read(
    records: &dyn Records,
    id: PushedId,
    client: &ClientId,
    now: UnixTime,
) -> Result<Option<PushedRequest>, StoreError> {
    let stored: Option<(UnixTime, PushedV1)> = ledger::read_kept(records, Table::Pushed, &id.place(client))?;
    let Some((until, stored)) = stored else { return Ok(None) };
    if until.is_past(now) || !stored.is(id, client) {
        return Ok(None);
    }
    let damaged = |_| ledger::corrupt(Table::Pushed, DecodeError::Content);
    let params = Params::from_pairs(stored.params).map_err(damaged)?;
    Ok(Some(PushedRequest { client: stored.client, params, key: stored.key }))
}

/// Uses a request up: `true` for whoever is the first. Its place is free from now on.
pub(super) fn finish(
    ledger: &mut Ledger,
    id: PushedId,
    client: &ClientId,
    now: UnixTime,
) -> Result<bool, ChangeError> {
    match ledger.mark(&[id.mark(client, now)], now) {
        Err(ChangeError::Refused(StoreError::Seen(_))) => return Ok(false),
        marked => marked?,
    }
    let place = id.place(client);
    let stored: Option<(UnixTime, PushedV1)> = ledger.kept(Table::Pushed, &place)?;
    if stored.is_some_and(|(_, stored)| stored.is(id, client)) {
        ledger.drop_kept(Table::Pushed, &place)?;
    }
    Ok(true)
}

/// Tells whether a record that can be read says the same once it is written again.
pub(super) fn survives(bytes: &[u8]) -> bool {
    let Ok((until, pushed)) = record::decode_kept::<PushedV1>(bytes) else { return true };
    // Too large to have been written.
    let Ok(again) = record::encode_kept(until, &pushed) else { return true };
    record::decode_kept(&again).is_ok_and(|again| again == (until, pushed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::at;
    use crate::store::{MemoryStore, Store};

    #[test]
    fn an_unreadable_request_is_never_unknown() {
        let client = ClientId::parse("app").unwrap();
        let id = PushedId::from_bytes([1; 32]);
        let store = MemoryStore::new();
        store.shared().insert(Table::Pushed, &id.place(&client), vec![1, 0, 0]).unwrap();
        let is_corrupt =
            |error: &StoreError| matches!(error, StoreError::Corrupt { what: "pushed request", .. });
        assert!(store.pushed(id, &client, at(1_000)).is_err_and(|error| is_corrupt(&error)));
        assert!(store.finish_pushed(id, &client, at(1_000)).wait().is_err_and(|error| is_corrupt(&error)));
    }

    #[test]
    fn what_can_be_read_is_written_the_same() {
        let pushed = PushedV1 {
            id: [7; 32],
            client: ClientId::parse("app").unwrap(),
            key: Some(Thumbprint::from_bytes([8; 32])),
            params: vec![("state".into(), "\u{e4}".into()), ("resource".into(), String::new())],
        };
        let bytes = record::encode_kept(at(5), &pushed).unwrap();
        assert!(survives(&bytes));
        for length in 0..bytes.len() {
            assert!(record::decode_kept::<PushedV1>(bytes.get(..length).unwrap()).is_err(), "{length}");
        }
    }
}
