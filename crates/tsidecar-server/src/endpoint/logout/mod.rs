//! `/logout` (OpenID Connect RP-Initiated Logout 1.0): ends the browser's session, and tells the applications of it.

mod page;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;
use tsidecar_oauth::id::ClientId;

use hyper::header::{HeaderMap, SET_COOKIE};
use hyper::{Method, Request, StatusCode};
use tsidecar_oauth::backchannel::{Cause, Notice};
use tsidecar_oauth::client::Client;
use tsidecar_oauth::grant::Grant;
use tsidecar_oauth::id::GrantId;
use tsidecar_oauth::identity::Identity;
use tsidecar_oauth::logout::{Extent, LogoutForm, LogoutRequest, Step, ends_with_session};
use tsidecar_oauth::params::Params;
use tsidecar_oauth::seal::SealError;
use tsidecar_oauth::session::{Browser, SIGNED_OUT_LIFETIME, SessionCookie};
use tsidecar_oauth::time::UnixTime;
use tsidecar_oauth::uri::policy_source;

use self::page::{Own, Stay};
use super::stay::visitor;
use crate::app::App;
use crate::clients;
use crate::failure::Failure;
use crate::peer::Caller;
use crate::snapshot::Snapshot;
use crate::store::{LogOut, StoreError};
use crate::web::inbound::Inbound;
use crate::web::response::{Answer, redirect};
use crate::web::{body, cookie, form};
use crate::{audit, entropy};

/// Grants of one person that are read at a time.
const PAGE: usize = 256;

/// Grants that one change ends at most: logins wait for no more than that.
const CHUNK: usize = 64;

/// A person at the page, and what is known of their browser.
struct Visit<'a> {
    app: &'a App,
    snapshot: &'a Snapshot,
    caller: &'a Caller,
    identity: Arc<Identity>,
    browser: Browser,
    now: UnixTime,
}

/// Answers a person.
pub async fn handle(
    app: &Arc<App>,
    snapshot: &Snapshot,
    caller: &Caller,
    request: Request<Inbound>,
) -> Answer {
    visit(app, snapshot, caller, request).await.unwrap_or_else(page::ended)
}

async fn visit(
    app: &App,
    snapshot: &Snapshot,
    caller: &Caller,
    request: Request<Inbound>,
) -> Result<Answer, Stay> {
    let identity = visitor(app, snapshot, caller, request.headers()).await?;
    let (parts, body) = request.into_parts();
    // After a POST the browser must go on with GET (RFC 9700 §4.12).
    let (status, params) = if parts.method == Method::GET {
        let query = Params::parse(parts.uri.query().unwrap_or_default().as_bytes());
        (StatusCode::FOUND, query.map_err(Failure::from)?)
    } else {
        (StatusCode::SEE_OTHER, body::form(&parts.headers, parts.uri.query(), body).await?)
    };
    let now = app.clock.now();
    let browser = browser(app, snapshot, &identity, &parts.headers, now)?;
    let visit = Visit { app, snapshot, caller, identity, browser, now };
    if parts.method == Method::POST && params.get("form").is_some() {
        return visit.confirmed(&parts.headers, &params).await;
    }
    visit.requested(&params, status).await
}

/// Opens the cookie of the browser and compares it with the person.
fn browser(
    app: &App,
    snapshot: &Snapshot,
    identity: &Identity,
    headers: &HeaderMap,
    now: UnixTime,
) -> Result<Browser, StoreError> {
    let Some(text) = cookie::session(headers) else { return Ok(Browser::Unknown) };
    let browser = Browser::of(snapshot.sealing.open_session(text).ok(), identity, now);
    match browser.session() {
        Some(session) if app.store.session_ended(session.id)? => Ok(Browser::SignedOut),
        Some(_) | None => Ok(browser),
    }
}

impl Visit<'_> {
    /// An application sent the person here, or they came by themselves.
    async fn requested(&self, params: &Params, status: StatusCode) -> Result<Answer, Stay> {
        let unread = Cell::new(None);
        let find = |id: &str| match ClientId::parse(id).map(|id| self.find(&id)) {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => {
                unread.set(Some(error));
                None
            }
            Err(_) => None,
        };
        let request = LogoutRequest::validate(params, find, &self.snapshot.signing, &self.snapshot.issuer);
        if let Some(error) = unread.take() {
            return Err(error.into());
        }
        let request = request.map_err(|error| {
            audit::logout_refused(self.caller, &self.identity, error);
            Stay::Own(Own::Wrong(error.to_string()))
        })?;
        if request.step(&self.identity, &self.browser) == Step::Ask {
            return self.question(&request);
        }
        let sessionless = request.client().filter(|_| request.is_without_session());
        self.log_out(request.client(), sessionless).await?;
        self.signed_out(status, request.location())
    }

    /// Clients that are known by their documents send nobody anywhere after a logout: nothing is fetched for it.
    fn find(&self, id: &ClientId) -> Result<Option<Arc<Client>>, StoreError> {
        clients::find_here(&*self.app.store, self.snapshot, id, self.now)
    }

    /// Asks the person.
    fn question(&self, request: &LogoutRequest) -> Result<Answer, Stay> {
        let form = LogoutForm::new(&self.identity, request, self.now);
        let target = form.location().and_then(policy_source);
        let sealed =
            self.snapshot.sealing.seal_logout(&form, entropy::nonce()).map_err(|error| match error {
                SealError::TooLong => Stay::Unusable(StatusCode::BAD_REQUEST, "state is too long".to_owned()),
                error => Stay::Broken(error.to_string()),
            })?;
        Ok(page::question(&self.identity, request.client(), &sealed, target.as_deref()))
    }

    /// The button was pressed.
    async fn confirmed(&self, headers: &HeaderMap, params: &Params) -> Result<Answer, Stay> {
        if !form::is_our_own(headers, &self.snapshot.issuer) {
            audit::form_forged(self.caller, &self.identity);
            return Err(Stay::Forged);
        }
        let opened = self.snapshot.sealing.open_logout(params.get("form").unwrap_or_default());
        let opened = opened.map_err(tsidecar_oauth::device::FormError::Seal);
        let form = opened.and_then(|form| form.check(&self.identity, self.now).map(|()| form));
        let form = form.map_err(|error| {
            audit::form_refused(self.caller, &self.identity, error);
            Stay::Own(Own::Stale)
        })?;
        let client = form.client().map(|id| self.find(id)).transpose()?.flatten();
        let client = client.as_deref();
        self.log_out(client, client.filter(|_| form.is_without_session())).await?;
        // A client that is gone or switched off by now leads nobody anywhere.
        let client = client.filter(|client| !client.is_disabled());
        self.signed_out(StatusCode::SEE_OTHER, client.and(form.location()))
    }

    /// Ends the session of the browser and the grants that end with it, and queues what clients are told: one change, and more
    /// only for whoever has very many grants, so that logins of others need not wait for all of them.
    ///
    /// The last look finds nothing: a code that was redeemed since the one before is not forgotten, and none is redeemed once the
    /// session has ended.
    async fn log_out(&self, asking: Option<&Client>, sessionless: Option<&Client>) -> Result<(), Stay> {
        let session = self.browser.session();
        let extent = Extent {
            session: session.map(|session| session.id),
            sessionless: sessionless.map(|client| (client, &self.identity.device.id)),
        };
        // No sooner than any cookie with it dies.
        let until =
            |expires_at: UnixTime| expires_at.max(self.now.after(self.snapshot.config().session_lifetime));
        let mut ending = session.map(|session| (session.id, until(session.expires_at)));
        let (mut seen, mut told, mut revoked, mut first) = (BTreeSet::new(), BTreeSet::new(), 0, true);
        loop {
            let intent = self.app.store.intent();
            let grants = self.covered(&extent, &seen)?;
            if grants.is_empty() && !first {
                break;
            }
            let mut change = LogOut { session: ending.take(), ..LogOut::default() };
            for grant in &grants {
                let client = self.snapshot.clients.get(&grant.facts().client);
                let target = client.and_then(|client| client.backchannel());
                let notice = target.map(|target| Notice::of(grant, Cause::LoggedOut, target.clone()));
                change.tell.extend(notice.filter(|notice| told.insert(notice.key())));
                change.revoke.extend(ends_with_session(grant).then(|| grant.id()));
            }
            revoked += change.revoke.len();
            seen.extend(grants.iter().map(Grant::id));
            let pending = self.app.store.log_out(change, self.now);
            drop(intent);
            pending.await?;
            first = false;
        }
        let session = session.map(|session| session.id);
        audit::logged_out(self.caller, &self.identity, asking, session, [told.len(), revoked]);
        Ok(())
    }

    /// Live grants that belong to what ends, beside those that were seen: so many as one change takes.
    fn covered(&self, extent: &Extent<'_>, seen: &BTreeSet<GrantId>) -> Result<Vec<Grant>, StoreError> {
        let range = GrantId::range(&self.identity.subject);
        let mut start = [0; 24];
        start.iter_mut().zip(range).for_each(|(to, from)| *to = from);
        let (mut grants, mut after) = (Vec::new(), Some(GrantId::from_bytes(start)));
        let wanted = |grant: &Grant| {
            let facts = grant.facts();
            facts.subject == self.identity.subject
                && facts.issued_at <= self.now
                && extent.covers(grant)
                && !grant.is_revoked()
                && !seen.contains(&grant.id())
        };
        while let Some(last) = after.filter(|id| id.as_bytes().starts_with(&range)) {
            let page = self.app.store.grants_after(Some(last), PAGE)?;
            grants.extend(page.grants.into_iter().filter(wanted));
            if grants.len() >= CHUNK {
                grants.truncate(CHUNK);
                break;
            }
            after = page.next;
        }
        Ok(grants)
    }

    /// Sends the person on, or says that it is done, with the mark by which this browser remembers that somebody signed out.
    fn signed_out(&self, status: StatusCode, location: Option<&str>) -> Result<Answer, Stay> {
        let answer = location.map_or_else(|| Some(page::done()), |location| redirect(status, location));
        let mut answer = answer.ok_or_else(|| Stay::Broken("the location is no header".to_owned()))?;
        let mark = SessionCookie::SignedOut { at: self.now };
        let sealed = self.snapshot.sealing.seal_session(&mark, entropy::nonce());
        let sealed = sealed.map_err(|error| Stay::Broken(error.to_string()))?;
        let cookie = cookie::set_session(&sealed, SIGNED_OUT_LIFETIME);
        let cookie = cookie.ok_or_else(|| Stay::Broken("the cookie is no header".to_owned()))?;
        answer.headers_mut().insert(SET_COOKIE, cookie);
        Ok(answer)
    }
}
