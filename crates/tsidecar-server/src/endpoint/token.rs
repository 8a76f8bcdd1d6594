//! `/token`: a code, a refresh token or a device code becomes tokens, once what it changes is on disk.

mod client_credentials;
mod device;
mod exchange;

use std::sync::Arc;

use hyper::header::{self, HeaderMap};
use hyper::{Request, StatusCode};
use tsidecar_oauth::client_auth::AuthenticatedClient;
use tsidecar_oauth::discovery::TOKEN;
use tsidecar_oauth::grant::{Generation, Grant, Place};
use tsidecar_oauth::id::{GrantId, Listener, Subject, Thumbprint};
use tsidecar_oauth::identity::Identity;
use tsidecar_oauth::params::Params;
use tsidecar_oauth::resource::{Asking, Resource};
use tsidecar_oauth::scope::Scope;
use tsidecar_oauth::settle::Redeemed;
use tsidecar_oauth::time::UnixTime;
use tsidecar_oauth::token::answer::{Answer as TokenAnswer, Keys, resource_of};
use tsidecar_oauth::token::code::{CodeRefusal, Redemption};
use tsidecar_oauth::token::refresh::{Refresh, successor};
use tsidecar_oauth::token::{CodeRequest, RefreshRequest, TokenError, TokenRequest};

use crate::app::App;
use crate::client_auth::{ClientRequest, Shown, authenticate_with};
use crate::clients;
use crate::failure::Failure;
use crate::identity::Sighting;
use crate::peer::Caller;
use crate::proof::{self, Proving};
use crate::snapshot::Snapshot;
use crate::store::{Intent, Pending, StoreError};
use crate::web::error::Challenge;
use crate::web::inbound::Inbound;
use crate::web::response::{Answer, json};
use crate::web::{body, error};
use crate::{audit, entropy};

/// What the grants share: the client that proved itself, and where and when it asks.
struct Asked<'a> {
    app: &'a App,
    snapshot: &'a Snapshot,
    caller: &'a Caller,
    client: AuthenticatedClient,
    now: UnixTime,
}

/// What a grant came to: everything that signing needs.
struct Granted {
    grant: Grant,
    scope: Scope,
    resource: Option<Resource>,
    /// The person; `None` when the grant is nobody's.
    identity: Option<Arc<Identity>>,
    nonce: Option<String>,
    refresh: Option<Generation>,
    key: Option<Thumbprint>,
}

impl Granted {
    /// What a new grant comes to.
    fn new(
        grant: Grant,
        resource: Option<Resource>,
        identity: Option<Arc<Identity>>,
        key: Option<Thumbprint>,
    ) -> Self {
        let refresh = grant.facts().idle.map(|_| grant.state().generation);
        let scope = grant.facts().scope.clone();
        Self { grant, scope, resource, identity, nonce: None, refresh, key }
    }
}

/// Answers a token request.
pub async fn handle(
    app: &Arc<App>,
    snapshot: &Snapshot,
    caller: &Caller,
    request: Request<Inbound>,
) -> Answer {
    let has_header = request.headers().contains_key(header::AUTHORIZATION);
    let challenge = if has_header { Challenge::Basic } else { Challenge::None };
    let offers_nonce = proof::offers_nonce(snapshot, request.headers());
    let result = token(app, snapshot, caller, request).await;
    let wants_nonce = result.as_ref().is_err_and(proof::wants_nonce);
    let answer = match result {
        Ok(body) => with_pragma(json(StatusCode::OK, body)),
        Err(failure) => error::answer(&failure, &snapshot.issuer, challenge),
    };
    if offers_nonce || wants_nonce { proof::with_nonce(answer, snapshot, app.clock.now()) } else { answer }
}

/// RFC 6749 §5.1 asks for both headers; old caches know only this one.
fn with_pragma(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(header::PRAGMA, header::HeaderValue::from_static("no-cache"));
    answer
}

async fn token(
    app: &App,
    snapshot: &Snapshot,
    caller: &Caller,
    request: Request<Inbound>,
) -> Result<Vec<u8>, Failure> {
    let (parts, body) = request.into_parts();
    let params = body::form(&parts.headers, parts.uri.query(), body).await?;
    let now = app.clock.now();
    let request = ClientRequest { caller, headers: &parts.headers, params: &params, now };
    let (client, mut shown) = authenticate_with(app, snapshot, request).await?;
    let asked = Asked { app, snapshot, caller, client, now };
    let granted = asked.grant(&params, &parts.headers, &mut shown).await;
    match &granted {
        // A request that may simply be sent again has used nothing up.
        Ok(_) | Err(Failure::Unavailable { .. }) => (),
        Err(failure) if proof::wants_nonce(failure) => (),
        Err(_) => shown.record(app, caller, now).await?,
    }
    let granted = granted?;
    clients::used(app, snapshot, asked.client.client(), now).await;
    asked.respond(&granted)
}

impl Asked<'_> {
    async fn grant(
        &self,
        params: &Params,
        headers: &HeaderMap,
        shown: &mut Shown,
    ) -> Result<Granted, Failure> {
        let request = TokenRequest::parse(params)?;
        if !self.client.client().may_use(request.grant_type()) {
            return Err(TokenError::GrantTypeNotAllowed.into());
        }
        let key = self.proven(headers, shown)?;
        // From here the request may commit; the committer waits for it a moment before it flushes.
        let intent = self.app.store.intent();
        match &request {
            TokenRequest::AuthorizationCode(request) => self.redeem(request, key, shown, intent).await,
            TokenRequest::RefreshToken(request) => self.refresh(request, key, shown, intent).await,
            TokenRequest::DeviceCode(request) => self.poll(request, key, shown, intent).await,
            TokenRequest::ClientCredentials(request) => self.issue(request, key, shown, intent).await,
            TokenRequest::TokenExchange(request) => self.exchange(request, key, shown, intent).await,
        }
    }

    /// The key that proves itself, before anything is burned; a client may be obliged to.
    fn proven(&self, headers: &HeaderMap, shown: &mut Shown) -> Result<Option<Thumbprint>, Failure> {
        let client = self.client.client();
        let proving = Proving { headers, method: "POST", path: TOKEN, access_token: None, now: self.now };
        let key = proof::of_client(self.snapshot, client, self.caller, proving, shown)?;
        match key {
            None if client.requires_proof() => Err(self.refuse(TokenError::ProofMissing)),
            key => Ok(key),
        }
    }

    async fn redeem(
        &self,
        request: &CodeRequest,
        key: Option<Thumbprint>,
        shown: &mut Shown,
        intent: Intent,
    ) -> Result<Granted, Failure> {
        let code = self.snapshot.sealing.open_code(&request.code).map_err(TokenError::Seal);
        let code = code.map_err(|error| self.refuse(error))?;
        let (resources, life) = (&self.snapshot.resources, self.snapshot.config().session_lifetime);
        let redemption = match Redemption::check(code, request, &self.client, resources, life, self.now) {
            Ok(redemption) => redemption,
            Err(CodeRefusal::Refused(error)) => return Err(self.refuse(error)),
            Err(CodeRefusal::Burn(draft)) => {
                // A client that only repeats what it has seen burns nothing.
                shown.record(self.app, self.caller, self.now).await?;
                let (id, subject) = (draft.id(), draft.facts().subject.clone());
                self.queued(intent, self.app.store.burn(*draft, self.now)).await?;
                return Err(self.refuse_of(Some((id, &subject)), TokenError::WrongClient));
            }
        };
        let redemption = redemption.proven_by(key).map_err(|error| self.refuse(error))?;
        let (address, listener) = redemption.sighting();
        let identity = self.identify(address, listener).await?;
        let by_place = self.client.client().is_public() && key.is_none();
        let place =
            if by_place || redemption.code().terms.only_here { Some(self.place().await?) } else { None };
        let grant = redemption.draft(&self.client, self.asking(&identity), place, self.now);
        let grant = grant.map_err(|error| self.refuse(error))?;
        let resource = resource_of(&grant, &request.resources, self.asking(&identity));
        let resource = resource.map_err(|error| self.refuse(error))?;
        self.write(&grant, shown, intent).await?;
        Ok(Granted {
            nonce: redemption.code().nonce.clone(),
            ..Granted::new(grant, resource, Some(identity), key)
        })
    }

    /// Writes a grant, once.
    async fn write(&self, grant: &Grant, shown: &mut Shown, intent: Intent) -> Result<(), Failure> {
        let redeemed = self.app.store.redeem_once(grant.clone(), shown.take(), self.now);
        let refuse = |error| Err(self.refuse_of(Some((grant.id(), &grant.facts().subject)), error));
        match self.queued(intent, redeemed).await.map_err(|error| shown.failure(self.caller, error))? {
            Redeemed::New => Ok(()),
            Redeemed::Replayed => refuse(TokenError::CodeReplayed),
            Redeemed::SignedOut => refuse(TokenError::SignedOut),
            Redeemed::ConsentWithdrawn => refuse(TokenError::ConsentWithdrawn),
        }
    }

    async fn refresh(
        &self,
        request: &RefreshRequest,
        key: Option<Thumbprint>,
        shown: &mut Shown,
        intent: Intent,
    ) -> Result<Granted, Failure> {
        let token = self.snapshot.sealing.read_refresh(&request.token).map_err(TokenError::Seal);
        let token = token.map_err(|error| self.refuse(error))?;
        let grant = self.app.store.grant(token.grant())?.ok_or(TokenError::GrantUnknown);
        let grant = grant.map_err(|error| self.refuse(error))?;
        let refuse = |error| self.refuse_of(Some((grant.id(), &grant.facts().subject)), error);
        let refresh = Refresh::check(&grant, request, &self.client, &self.snapshot.resources, self.now)
            .and_then(|refresh| refresh.proven_by(key))
            .map_err(refuse)?;
        let place = if refresh.needs_place() { Some(self.place().await?) } else { None };
        let refresh = refresh.at(place.as_ref()).map_err(refuse)?;
        let (address, listener) = refresh.sighting();
        let identity = self.identify(address, listener).await?;
        let (scope, resource) = refresh.admit(self.asking(&identity)).map_err(refuse)?;
        let rotated = self.app.store.rotate_once(grant.id(), token.generation(), shown.take(), self.now);
        let rotated = self.queued(intent, rotated).await;
        let rotated = rotated.map_err(|error| shown.failure(self.caller, error))?;
        let generation = successor(rotated).map_err(refuse)?;
        let identity = Some(identity);
        Ok(Granted { grant, scope, resource, identity, nonce: None, refresh: Some(generation), key })
    }

    /// For whom resources are looked up.
    fn asking<'s>(&'s self, identity: &'s Identity) -> Asking<'s> {
        Asking {
            resources: &self.snapshot.resources,
            policy: &self.snapshot.policy,
            client: self.client.client(),
            identity,
        }
    }

    /// Asks who is on the device of a code or grant, now, by the listener that it began on.
    async fn identify(
        &self,
        address: std::net::IpAddr,
        listener: &Listener,
    ) -> Result<Arc<Identity>, Failure> {
        let sighting = self.app.tailnet.identify(address, listener).await?;
        match self.snapshot.recognise(sighting) {
            Sighting::Person(identity) => Ok(identity),
            Sighting::Workload(_) | Sighting::Refused(_) => Err(self.refuse(TokenError::DeviceRefused)),
            Sighting::Unknown => Err(self.refuse(TokenError::IdentityChanged)),
        }
    }

    /// Where the request comes from.
    async fn place(&self) -> Result<Place, Failure> {
        Ok(self.app.tailnet.place_of(self.caller).await?)
    }

    /// Waits for a change that is queued by now: the batch need not wait for this request any longer.
    async fn queued<T>(&self, intent: Intent, pending: Pending<T>) -> Result<T, StoreError> {
        drop(intent);
        pending.await
    }

    fn refuse(&self, error: TokenError) -> Failure {
        self.refuse_of(None, error)
    }

    /// Refuses, and names the grant whose code or token was shown.
    fn refuse_of(&self, shown: Option<(GrantId, &Subject)>, error: TokenError) -> Failure {
        audit::token_refused(self.caller, self.client.client(), shown, error);
        error.into()
    }

    /// Signs what is durable by now.
    fn respond(&self, granted: &Granted) -> Result<Vec<u8>, Failure> {
        let answer = TokenAnswer {
            client: self.client.client(),
            grant: &granted.grant,
            scope: &granted.scope,
            resource: granted.resource.as_ref(),
            identity: granted.identity.as_deref(),
            policy: &self.snapshot.policy,
            nonce: granted.nonce.as_deref(),
            refresh: granted.refresh,
            key: granted.key,
            now: self.now,
        };
        let keys = Keys {
            issuer: &self.snapshot.issuer,
            signing: &self.snapshot.signing,
            sealing: &self.snapshot.sealing,
        };
        // The change is durable, so it is recorded before anything else can fail.
        let resource = granted.resource.as_ref();
        audit::token_issued(self.client.client(), &granted.grant, &granted.scope, resource, granted.key);
        let response = answer.sign(keys, entropy::nonce())?;
        Ok(response.to_json()?)
    }
}
