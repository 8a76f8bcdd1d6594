//! Pushed authorization requests: which place a new one takes, and what is left of one that was used.
//!
//! Each client has a bounded number of places, so nothing here grows, whether anybody sweeps or not: a place whose time is over
//! is taken again. A used request leaves its name behind until it would have expired anyway.

use serde::{Deserialize, Serialize};
use tsidecar_oauth::fresh::FreshSecret;
use tsidecar_oauth::id::{ClientId, Thumbprint};
use tsidecar_oauth::par::{LIFETIME, Lane, PushedId, PushedRequest};
use tsidecar_oauth::params::Params;
use tsidecar_oauth::time::UnixTime;

use super::StoreError;
use super::ledger::{self, ChangeError, Ledger, Records, Table};
use super::record::DecodeError;

/// What stands in a place.
#[derive(Serialize, Deserialize)]
struct PushedV1 {
    id: [u8; 32],
    client: ClientId,
    key: Option<Thumbprint>,
    /// `None` once a code was issued for it.
    params: Option<Vec<(String, String)>>,
}

impl PushedV1 {
    fn new(request: &PushedRequest, id: PushedId) -> Self {
        let pairs = request.params.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self {
            id: *id.as_bytes(),
            client: request.client.clone(),
            key: request.key,
            params: Some(pairs.collect()),
        }
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
    let Some(pairs) = stored.params else { return Ok(None) };
    let damaged = |_| ledger::corrupt(Table::Pushed, DecodeError::Content);
    let params = Params::from_pairs(pairs).map_err(damaged)?;
    Ok(Some(PushedRequest { client: stored.client, params, key: stored.key }))
}

/// Uses a request up: `true` for whoever is the first, before it has expired.
pub(super) fn finish(
    ledger: &mut Ledger,
    id: PushedId,
    client: &ClientId,
    now: UnixTime,
) -> Result<bool, ChangeError> {
    let place = id.place(client);
    let stored: Option<(UnixTime, PushedV1)> = ledger.kept(Table::Pushed, &place)?;
    let Some((until, stored)) = stored else { return Ok(false) };
    if until.is_past(now) || !stored.is(id, client) || stored.params.is_none() {
        return Ok(false);
    }
    ledger.keep(Table::Pushed, &place, until, &PushedV1 { params: None, ..stored })?;
    Ok(true)
}
