//! Proofs of possession (RFC 9449) at our endpoints: the one header, judged for our own URL, and the nonces that go out.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use tsidecar_oauth::client::Client;
use tsidecar_oauth::dpop::{DpopError, DpopProof, Expected, NonceRule, ServerNonces};
use tsidecar_oauth::error::ErrorCode;
use tsidecar_oauth::id::Thumbprint;
use tsidecar_oauth::time::UnixTime;

use crate::audit;
use crate::client_auth::Shown;
use crate::failure::Failure;
use crate::peer::Caller;
use crate::snapshot::Snapshot;
use crate::web::header;
use crate::web::response::Answer;

/// The header of a proof (RFC 9449 §4.1).
const PROOF: HeaderName = HeaderName::from_static("dpop");

/// The header of a server nonce (RFC 9449 §8).
const NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// The request that a proof must be for.
#[derive(Clone, Copy)]
pub struct Proving<'a> {
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its method.
    pub method: &'a str,
    /// The path of the endpoint. The rest of the URL is the issuer's, whatever the request calls us.
    pub path: &'a str,
    /// The access token that came with it, at a resource.
    pub access_token: Option<&'a str>,
    /// When.
    pub now: UnixTime,
}

/// Reads and judges the proof of a request, if it has one. Its mark is for the store.
///
/// # Errors
/// [`DpopError`].
pub fn read(
    snapshot: &Snapshot,
    client: &Client,
    request: Proving<'_>,
) -> Result<Option<DpopProof>, DpopError> {
    let Some(proof) = header::once(request.headers, &PROOF).map_err(|_| DpopError::Header)? else {
        return Ok(None);
    };
    let expected = Expected {
        method: request.method,
        url: &snapshot.issuer.endpoint(request.path),
        access_token: request.access_token,
        algorithms: client.proof_algorithms(),
        nonce: snapshot.config().dpop.nonce,
        nonces: &nonces(snapshot, request.now).ok_or(DpopError::Nonce)?,
        now: request.now,
    };
    DpopProof::check(proof, &expected).map(Some)
}

/// Reads the proof of a client that authenticated: what is shown once goes to the rest of that, and the key is the result.
///
/// # Errors
/// [`Failure`] with the reason; it is in the audit trail.
pub fn of_client(
    snapshot: &Snapshot,
    client: &Client,
    caller: &Caller,
    request: Proving<'_>,
    shown: &mut Shown,
) -> Result<Option<Thumbprint>, Failure> {
    let proof = read(snapshot, client, request);
    let proof = proof.inspect_err(|error| audit::proof_refused(caller, client, *error))?;
    Ok(proof.map(|proof| {
        shown.prove(&proof);
        proof.jkt()
    }))
}

/// Whether a request failed only for want of a nonce: it will come again with one (RFC 9449 §8), so it has used nothing up.
pub const fn wants_nonce(failure: &Failure) -> bool {
    matches!(failure, Failure::Refused { code: ErrorCode::UseDpopNonce, .. })
}

/// Whether the answer to a request with these headers offers a nonce whatever becomes of it: where nonces are needed, a client
/// always has the next one (RFC 9449 §8.2).
pub fn offers_nonce(snapshot: &Snapshot, headers: &HeaderMap) -> bool {
    snapshot.config().dpop.nonce == NonceRule::Required && headers.contains_key(PROOF)
}

/// Offers the nonce of the moment with an answer.
pub fn with_nonce(mut answer: Answer, snapshot: &Snapshot, now: UnixTime) -> Answer {
    let nonces = nonces(snapshot, now);
    if let Some(nonce) = nonces.and_then(|nonces| HeaderValue::from_str(nonces.current()).ok()) {
        answer.headers_mut().insert(NONCE, nonce);
    }
    answer
}

/// The nonces of the moment; `None` without a sealing key, and then there are no tokens either.
fn nonces(snapshot: &Snapshot, now: UnixTime) -> Option<ServerNonces> {
    snapshot.sealing.nonce_hash().ok().map(|hash| ServerNonces::new(hash, now))
}
