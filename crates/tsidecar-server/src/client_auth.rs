//! Who the client of a machine request is: reads what it presents, loads its keys, verifies, and sees to it that what may be shown
//! once is durably remembered before anything is answered.
//!
//! Every endpoint that authenticates clients goes through here: most by [`authenticate`]; those whose own change carries the marks
//! (design section 13) by [`authenticate_with`].

use std::sync::Arc;

use hyper::header::{AUTHORIZATION, HeaderMap};
use tsidecar_oauth::assertion::AssertionError;
use tsidecar_oauth::client::{Client, KeySource};
use tsidecar_oauth::client_auth::{AuthenticatedClient, ClientAuthError, Judging, PresentedCredentials};
use tsidecar_oauth::dpop::{DpopError, DpopProof};
use tsidecar_oauth::id::ClientId;
use tsidecar_oauth::jose::PublicKeys;
use tsidecar_oauth::mark::{Mark, MarkKind};
use tsidecar_oauth::params::Params;
use tsidecar_oauth::time::UnixTime;

use crate::app::App;
use crate::audit;
use crate::clients;
use crate::failure::Failure;
use crate::outbound::{FetchError, Requester, Source};
use crate::peer::Caller;
use crate::snapshot::Snapshot;
use crate::store::StoreError;
use crate::web::header::authorization;
use crate::workload;

/// Seconds after which a client may try again whose keys could not be fetched: as long as its host is left alone.
const KEYS_RETRY: u32 = 30;

/// What a request shows that may be shown once only: the `jti` of an assertion, of a proof.
///
/// It must be durable before the request is answered, also when the request is refused for another reason: otherwise somebody who
/// has seen the request could send it again.
#[must_use = "what was shown must be remembered: hand it to a verb of the store, or record it"]
#[derive(Debug, Default)]
pub struct Shown {
    assertion: Option<Mark>,
    proof: Option<Mark>,
    client: Option<ClientId>,
    taken: bool,
}

impl Shown {
    /// Adds a proof of possession.
    pub const fn prove(&mut self, proof: &DpopProof) {
        self.proof = Some(proof.mark());
    }

    /// The marks, for a verb of the store that carries them; nothing more is recorded then.
    pub fn take(&mut self) -> Vec<Mark> {
        let marks = if self.taken { None } else { Some([self.assertion, self.proof]) };
        self.taken = true;
        marks.into_iter().flatten().flatten().collect()
    }

    /// Remembers what was not taken yet.
    ///
    /// # Errors
    /// [`Failure`] when it was shown before, or cannot be made durable.
    pub async fn record(&mut self, app: &App, caller: &Caller, now: UnixTime) -> Result<(), Failure> {
        let marks = self.take();
        if marks.is_empty() {
            return Ok(());
        }
        app.store.mark(marks, now).await.map_err(|error| self.failure(caller, error))
    }

    /// What an error of the verb means that had the marks.
    pub fn failure(&self, caller: &Caller, error: StoreError) -> Failure {
        match error {
            StoreError::Seen(MarkKind::Assertion) => {
                audit::shown_again(caller, self.client.as_ref(), "client assertion");
                ClientAuthError::Assertion(AssertionError::Replayed).into()
            }
            StoreError::Seen(MarkKind::Proof) => {
                audit::shown_again(caller, self.client.as_ref(), "proof of possession");
                DpopError::Replayed.into()
            }
            error => error.into(),
        }
    }
}

/// The parts of a request by which a client authenticates.
#[derive(Clone, Copy)]
pub struct ClientRequest<'a> {
    /// Who sends it.
    pub caller: &'a Caller,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// The parameters of its body.
    pub params: &'a Params,
    /// When.
    pub now: UnixTime,
}

/// Authenticates the client of a request; what it showed is durably remembered.
///
/// # Errors
/// [`Failure`]; a refusal is in the audit trail.
pub async fn authenticate(
    app: &App,
    snapshot: &Snapshot,
    request: ClientRequest<'_>,
) -> Result<AuthenticatedClient, Failure> {
    let (client, mut shown) = authenticate_with(app, snapshot, request).await?;
    shown.record(app, request.caller, request.now).await?;
    Ok(client)
}

/// Authenticates the client of a request whose own change will carry what the client showed.
///
/// # Errors
/// As [`authenticate`].
pub async fn authenticate_with(
    app: &App,
    snapshot: &Snapshot,
    request: ClientRequest<'_>,
) -> Result<(AuthenticatedClient, Shown), Failure> {
    if !shows_credentials(request.headers, request.params) {
        let named = request.params.get("client_id");
        let client = workload::client(app, snapshot, request.caller, named).await?;
        return Ok((client, Shown::default()));
    }
    let header =
        authorization(request.headers).map_err(|error| Failure::invalid_request(error.to_string()))?;
    let presented = PresentedCredentials::read(header, request.params)?;
    let requester = Requester::Caller(request.caller.origin());
    let client = clients::find(app, snapshot, requester, presented.client_id().as_str()).await?;
    let client = client.as_ref();
    let refused =
        |error: &ClientAuthError| audit::client_refused(request.caller, presented.client_id(), *error);
    let judging = |keys| Judging { keys, issuer: &snapshot.issuer, now: request.now };
    // Keys are fetched for nobody who may not authenticate by them.
    let keys = match client {
        Some(client) if client.accepts(presented.method()) && presented.needs_keys() => {
            keys_of(app, client, request.caller, None).await?
        }
        _ => None,
    };
    let mut outcome = presented.verify(client, judging(keys.as_deref()));
    if let (Err(error), Some(client), Some(keys)) = (&outcome, client, &keys)
        && error.wants_newer_keys()
    {
        let newer = keys_of(app, client, request.caller, Some(keys)).await?;
        if let Some(newer) = newer {
            outcome = presented.verify(Some(client), judging(Some(&newer)));
        }
    }
    let client = outcome.inspect_err(refused)?;
    let shown =
        Shown { assertion: client.mark(), client: Some(client.client().id().clone()), ..Shown::default() };
    Ok((client, shown))
}

/// Tells whether a client shows who it is. Without a client id, or with a tag in its place, the node may stand for the request.
pub fn shows_credentials(headers: &HeaderMap, params: &Params) -> bool {
    let shows = |name| params.get(name).is_some();
    let names_client = params.get("client_id").is_some_and(|id| !id.starts_with("tag:"));
    headers.contains_key(AUTHORIZATION) || shows("client_secret") || shows("client_assertion") || names_client
}

/// The keys of a client: those of its description, or those at its `jwks_uri`; there, newer ones than some in which a key was
/// missed, if the host may be asked again already.
///
/// # Errors
/// [`Failure::Unavailable`] when they cannot be fetched: a passing state of somebody's host must not look like a wrong key.
pub async fn keys_of(
    app: &App,
    client: &Client,
    caller: &Caller,
    missed: Option<&Arc<PublicKeys>>,
) -> Result<Option<Arc<PublicKeys>>, Failure> {
    let url = match client.keys() {
        KeySource::None => return Ok(None),
        KeySource::Inline(keys) => return Ok(missed.is_none().then(|| Arc::clone(keys))),
        KeySource::Uri(url) => url.clone(),
    };
    let trust = clients::trust(&app.snapshot.load(), client, &url);
    let named = client.is_by_administrator();
    let source = Source { client: client.id().clone(), url, trust, named };
    let requester = Requester::Caller(caller.origin());
    match missed {
        Some(missed) => Ok(app.client_keys.newer(&source, requester, missed).await),
        None => match app.client_keys.document(&source, requester).await {
            Ok(keys) => Ok(Some(keys)),
            Err(_) => Err(Failure::Unavailable {
                retry_after: KEYS_RETRY,
                why: format!("the keys of the client: {}", FetchError::TEXT),
            }),
        },
    }
}
