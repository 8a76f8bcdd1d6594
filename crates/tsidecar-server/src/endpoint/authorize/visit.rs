//! One person with one request, in one browser: what is known before it goes on, and how it goes on.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::header::HeaderValue;
use tsidecar_oauth::assurance::{Assurance, MetadataDigest};
use tsidecar_oauth::authorize::{
    Admitted, Allowance, AuthorizationRequest, Demand, Occasion, RedirectReason, RedirectTarget, demand,
    seal_reason,
};
use tsidecar_oauth::client::Client;
use tsidecar_oauth::consent::{self, Consent, Wish};
use tsidecar_oauth::id::{GrantId, SessionId};
use tsidecar_oauth::identity::Identity;
use tsidecar_oauth::secret::AuthorizationCode;
use tsidecar_oauth::session::{Browser, SIGNED_OUT_LIFETIME, Session, SessionCookie, SessionUse, SignIn};
use tsidecar_oauth::time::UnixTime;

use super::asked::{Asked, unstored};
use super::who::{Nobody, identify};
use super::{Back, Refused};
use crate::app::App;
use crate::clients;
use crate::peer::{Caller, Origin};
use crate::snapshot::Snapshot;
use crate::web::cookie;
use crate::{audit, entropy, lineage};

/// What the code is sent with.
pub(super) struct Granted {
    /// Where to.
    pub(super) target: RedirectTarget,
    /// The code.
    pub(super) code: AuthorizationCode,
    /// What becomes of the browser's cookie.
    pub(super) cookie: Option<HeaderValue>,
}

/// A request that is valid, of a person who may sign in to its client.
pub(super) struct Visit<'a> {
    snapshot: &'a Snapshot,
    caller: &'a Caller,
    address: IpAddr,
    /// What is asked.
    pub(super) asked: Asked,
    admitted: Admitted,
    /// What the client is worth.
    pub(super) assurance: Assurance,
    /// What the person has allowed it, if it is a stranger.
    pub(super) consent: Option<Consent>,
    /// What is known of the browser.
    pub(super) browser: Browser,
    /// The moment.
    pub(super) now: UnixTime,
}

impl<'a> Visit<'a> {
    /// Validates the request, asks whois, the policy, and the cookie of the browser.
    ///
    /// # Errors
    /// [`Refused`].
    pub(super) async fn of(
        app: &App,
        snapshot: &'a Snapshot,
        caller: &'a Caller,
        asked: Asked,
        cookie: Option<&str>,
    ) -> Result<Self, Refused> {
        let Origin::Address(address) = caller.origin() else { return Err(super::Stay::Outside.into()) };
        let (client, target) = (&*asked.client, &asked.target);
        let back = |reason| Refused::back(&asked.client, target, reason);
        let request =
            AuthorizationRequest::validate(&asked.params, client, target.clone(), &snapshot.resources);
        // A `dpop_jkt` that differs was refused at /par.
        let request = request.and_then(|request| match asked.key {
            Some(key) => request.bind(key).map_err(|_| RedirectReason::ProofKey),
            None => Ok(request),
        });
        let request = request.map_err(|reason| {
            audit::authorization_refused(caller, client, reason);
            back(reason)
        })?;
        let identity = identify(app, snapshot, caller, client).await.map_err(|nobody| match nobody {
            Nobody::Stay(stay) => Refused::Stay(stay),
            Nobody::Back(reason, node) => {
                let (client, target) = (Arc::clone(&asked.client), target.clone());
                Refused::Back(Box::new(Back { client, target, reason, node }))
            }
        })?;
        let expected = request.asked().check_person(&identity, &snapshot.signing, &snapshot.issuer);
        let (policy, resources) = (&snapshot.policy, &snapshot.resources);
        let judged = Admitted::judge(request, client, Arc::clone(&identity), policy, resources);
        let admitted = judged.and_then(|admitted| expected.map(|()| admitted)).map_err(|reason| {
            audit::authorization_denied(&identity, client, reason);
            back(reason)
        })?;
        let now = app.clock.now();
        let admitted = grown(app, admitted, client, now).map_err(back)?;
        let browser = browser(app, snapshot, &identity, cookie, now).map_err(back)?;
        let assurance = clients::assurance(app, snapshot, client, target.redirect_uri(), &identity);
        let assurance = assurance.map_err(|error| back(unstored(&error)))?;
        let consent = match assurance {
            Assurance::Stranger => app.store.consent(&identity.subject, client.id()),
            Assurance::Approved | Assurance::Here => Ok(None),
        };
        let consent = consent.map_err(|error| back(unstored(&error)))?;
        Ok(Self { snapshot, caller, address, asked, admitted, assurance, consent, browser, now })
    }

    /// Who asks, by whois of now.
    pub(super) fn identity(&self) -> &Identity {
        self.admitted.identity()
    }

    /// What the request demands of the person.
    pub(super) fn demand(&self) -> Demand {
        let allowance = match (self.assurance, &self.consent) {
            (Assurance::Approved | Assurance::Here, _) => Allowance::NotNeeded,
            (Assurance::Stranger, Some(consent)) if consent.covers(&self.wish()) => Allowance::Given,
            (Assurance::Stranger, Some(_) | None) => Allowance::Missing,
        };
        self.demand_with(allowance)
    }

    /// What the sign-in alone demands, once the client is allowed.
    pub(super) fn demand_of_sign_in(&self) -> Demand {
        self.demand_with(Allowance::NotNeeded)
    }

    fn demand_with(&self, allowance: Allowance) -> Demand {
        demand(&self.asked.client, self.admitted.request().asked(), allowance, &self.browser, self.now)
    }

    /// What the client wants to be allowed: what will be granted, by what it is now.
    pub(super) fn wish(&self) -> Wish {
        let request = self.admitted.request();
        let resources: Vec<_> = request.resources().map(|resource| resource.uri().clone()).collect();
        Wish::of_redirect(
            MetadataDigest::of(&self.asked.client),
            self.asked.target.redirect_uri(),
            &self.identity().device.id,
            &resources,
            request.scope(),
        )
    }

    /// Sends the person back with a reason.
    pub(super) fn back(&self, reason: RedirectReason) -> Refused {
        Refused::back(&self.asked.client, &self.asked.target, reason)
    }

    /// Goes on: seals a code, and the session if one is to be written.
    ///
    /// # Errors
    /// [`Refused`].
    pub(super) async fn sign_in(self, app: &App, sign_in: SignIn) -> Result<Granted, Refused> {
        let client = Arc::clone(&self.asked.client);
        let lifetime = self.snapshot.config().session_lifetime;
        let begin = || SessionId::new(entropy::id());
        let session = sign_in.session_to_write(self.identity(), lifetime, self.now, begin);
        let occasion = Occasion {
            listener: self.caller.listener(),
            address: self.address,
            authentication: sign_in.authentication(session.as_ref()),
            now: self.now,
        };
        let terms = self.assurance.terms();
        let code = self.admitted.issue(occasion, terms, entropy::id());
        let sealed = self.snapshot.sealing.seal_code(&code, entropy::nonce());
        let sealed = sealed.map_err(|error| self.back(seal_reason(error)))?;
        let cookie = match (session, sign_in.session) {
            (Some(session), _) => Some(self.sealed(session)?),
            (None, SessionUse::Forget) => cookie::forget_session(),
            (None, _) => None,
        };
        self.asked.finish(app).await.map_err(|reason| {
            audit::authorization_refused(self.caller, &client, reason);
            self.back(reason)
        })?;
        if consent::used(self.consent.as_ref(), self.now).is_some() {
            // Nothing rests on it but for how long the consent is kept, so nobody waits.
            drop(app.store.use_consent(&self.identity().subject, client.id(), self.now));
        }
        audit::authorized(self.identity(), &client, &code, self.admitted.request().resources());
        Ok(Granted { target: self.asked.target, code: sealed, cookie })
    }

    fn sealed(&self, session: Session) -> Result<HeaderValue, Refused> {
        let life = self.now.until(session.expires_at);
        let sealed = self.snapshot.sealing.seal_session(&SessionCookie::Session(session), entropy::nonce());
        let sealed = sealed.map_err(|error| self.back(seal_reason(error)))?;
        let life = life.min(SIGNED_OUT_LIFETIME);
        cookie::set_session(&sealed, life).ok_or_else(|| self.back(RedirectReason::Broken))
    }
}

/// Opens the cookie of a browser and compares it with the person. Without a cookie nothing is read.
fn browser(
    app: &App,
    snapshot: &Snapshot,
    identity: &Identity,
    cookie: Option<&str>,
    now: UnixTime,
) -> Result<Browser, RedirectReason> {
    let Some(text) = cookie else { return Ok(Browser::Unknown) };
    let browser = Browser::of(snapshot.sealing.open_session(text).ok(), identity, now);
    let Some(session) = browser.session() else { return Ok(browser) };
    match app.store.session_ended(session.id) {
        Ok(false) => Ok(browser),
        Ok(true) => Ok(Browser::SignedOut),
        Err(error) => Err(unstored(&error)),
    }
}

/// Grants read at a time, and how many times: the sweep keeps sixteen of a person for each client and device, and what exchanges
/// give stands among the grants of their callers.
const PAGE: usize = 64;
const MOST_PAGES: usize = 32;

/// Adds to the scope what the person granted to the same client for the same resource on the same device before; reads nothing
/// when nothing could be added. What is read may not be durable yet, and need not be: the person could grant it all now. Whoever has
/// to allow the request sees the sum.
fn grown(app: &App, admitted: Admitted, client: &Client, now: UnixTime) -> Result<Admitted, RedirectReason> {
    if !admitted.may_grow() {
        return Ok(admitted);
    }
    let range = GrantId::range(&admitted.identity().subject);
    let mut start = [0; 24];
    start.iter_mut().zip(range).for_each(|(to, from)| *to = from);
    let (mut grants, mut after) = (Vec::new(), Some(GrantId::from_bytes(start)));
    for _ in 0..MOST_PAGES {
        let Some(last) = after.filter(|id| id.as_bytes().starts_with(&range)) else { break };
        let page = app.store.grants_after(Some(last), PAGE).map_err(|error| unstored(&error))?;
        for grant in page.grants.into_iter().filter(|grant| grant.facts().client == *client.id()) {
            if lineage::is_consented(app, &grant).map_err(|error| unstored(&error))? {
                grants.push(grant);
            }
        }
        after = page.next;
    }
    Ok(admitted.with_earlier(client, &grants, now))
}
