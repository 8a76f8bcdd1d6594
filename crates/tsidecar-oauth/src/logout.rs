//! `/logout`: what a request to end a session comes to (OpenID Connect RP-Initiated Logout 1.0).
//!
//! Layer 2. Somebody is redirected only to a registered URI of the client to which a hint of theirs was issued, and nobody is signed
//! out unasked but by a hint of their own session in this very browser, or, in a browser without session, by a hint of a sign-in
//! that belonged to none. Everything else is a question on a page of ours.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::device::FormError;
use crate::grant::Grant;
use crate::hint::{self, HintError, IdTokenHint};
use crate::id::{ClientId, DeviceId, SessionId, Subject};
use crate::identity::Identity;
use crate::jose::SigningKeys;
use crate::params::Params;
use crate::session::Browser;
use crate::time::{Lifetime, UnixTime};
use crate::uri::Issuer;

/// How long the page that asks may lie open.
const FORM_LIFETIME: Lifetime = Lifetime::from_minutes(10);

/// Why a request ends on an error page. Never by a redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogoutError {
    /// `id_token_hint` is no ID token of ours.
    #[error("id_token_hint: {0}")]
    Hint(#[from] HintError),
    /// `client_id` is another client than the hint's (RP-Initiated Logout §2).
    #[error("client_id is not the client to which id_token_hint was issued")]
    OtherClient,
    /// The client does not exist, or no longer.
    #[error("the client is not known")]
    UnknownClient,
    /// `post_logout_redirect_uri` is not registered for the client.
    #[error("post_logout_redirect_uri is not registered for the client")]
    UnregisteredRedirect,
}

/// A valid request to end a session.
#[derive(Debug)]
pub struct LogoutRequest {
    hint: Option<IdTokenHint>,
    client: Option<Arc<Client>>,
    location: Option<String>,
}

/// What has to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The person is signed out at once.
    End,
    /// A page asks first.
    Ask,
}

impl LogoutRequest {
    /// Validates the parameters of a request; `find` names clients that exist now.
    ///
    /// # Errors
    /// [`LogoutError`].
    pub fn validate(
        params: &Params,
        find: impl Fn(&str) -> Option<Arc<Client>>,
        signing: &SigningKeys,
        issuer: &Issuer,
    ) -> Result<Self, LogoutError> {
        let find = |id| find(id).filter(|client| !client.is_disabled()).ok_or(LogoutError::UnknownClient);
        let hint = params.get("id_token_hint").map(|text| hint::read(text, signing, issuer)).transpose()?;
        let named = params.get("client_id");
        if let (Some(hint), Some(named)) = (&hint, named)
            && hint.client != named
        {
            return Err(LogoutError::OtherClient);
        }
        let client = hint.as_ref().map(|hint| hint.client.as_str()).or(named).map(find).transpose()?;
        // Without a hint anybody can have written the request, so nobody is sent anywhere (§3).
        let location = match (&hint, client.as_deref(), params.get("post_logout_redirect_uri")) {
            (Some(_), Some(client), Some(uri)) => {
                if !client.returns_to(uri) {
                    return Err(LogoutError::UnregisteredRedirect);
                }
                Some(with_state(uri, params.get("state")))
            }
            _ => None,
        };
        Ok(Self { hint, client, location })
    }

    /// What has to happen, for the person whom whois names and what is known of the browser.
    ///
    /// A hint of another person, of a session that is not this browser's, or of none while the browser has one, says nothing
    /// about this browser: an old ID token ends nobody's session (attack A25).
    pub fn step(&self, identity: &Identity, browser: &Browser) -> Step {
        let Some(hint) = &self.hint else { return Step::Ask };
        let session = browser.session().map(|session| session.id.to_string());
        if self.is_of(identity) && hint.session == session { Step::End } else { Step::Ask }
    }

    /// Whether the hint is of a sign-in of this person.
    fn is_of(&self, identity: &Identity) -> bool {
        self.hint.as_ref().is_some_and(|hint| hint.subject == identity.subject.as_str())
    }

    /// The client that asks, if it says so.
    pub fn client(&self) -> Option<&Client> {
        self.client.as_deref()
    }

    /// Whether the client's sign-in belonged to no session: then what it has of the person on this device ends.
    pub fn is_without_session(&self) -> bool {
        self.hint.as_ref().is_some_and(|hint| hint.session.is_none())
    }

    /// Where the person goes afterwards; `None` for a page of ours.
    pub fn location(&self) -> Option<&str> {
        self.location.as_deref()
    }
}

fn with_state(uri: &str, state: Option<&str>) -> String {
    let Some(state) = state else { return uri.to_owned() };
    let pair = url::form_urlencoded::Serializer::new(String::new()).append_pair("state", state).finish();
    let joint = if uri.contains('?') { '&' } else { '?' };
    format!("{uri}{joint}{pair}")
}

/// Which grants of a person end with a logout, or have clients that are told of it.
#[derive(Clone, Copy, Debug)]
pub struct Extent<'a> {
    /// The session that ends.
    pub session: Option<SessionId>,
    /// A client whose sign-ins belong to no session, on this device.
    pub sessionless: Option<(&'a Client, &'a DeviceId)>,
}

impl Extent<'_> {
    /// Tells whether a grant belongs to what ends.
    pub fn covers(&self, grant: &Grant) -> bool {
        let facts = grant.facts();
        match (facts.session, self.sessionless) {
            (Some(session), _) => self.session == Some(session),
            (None, Some((client, device))) => facts.client == *client.id() && facts.device() == Some(device),
            (None, None) => false,
        }
    }
}

/// Tells whether a grant ends with its session (Back-Channel Logout §2.7): one with `offline_access` was given for when the
/// person is away, and goes on.
pub fn ends_with_session(grant: &Grant) -> bool {
    !grant.is_revoked() && !grant.facts().scope.contains("offline_access")
}

/// What the sealed token of the page's form holds: nobody else can send it, from no other device.
#[derive(Debug, Serialize, Deserialize)]
pub struct LogoutForm {
    subject: Subject,
    device: DeviceId,
    expires_at: UnixTime,
    asking: Option<Asking>,
}

/// The client that asks, where it proved by a hint of this very person that it knows them.
#[derive(Debug, Serialize, Deserialize)]
struct Asking {
    client: ClientId,
    is_without_session: bool,
    location: Option<String>,
}

impl LogoutForm {
    /// The form for a person who is asked. Where they go afterwards is sealed into it, if the hint was issued for them; it is
    /// nothing that a request without hint, or with somebody else's, could bring about.
    pub fn new(identity: &Identity, request: &LogoutRequest, now: UnixTime) -> Self {
        let (subject, device) = (identity.subject.clone(), identity.device.id.clone());
        let asking = request.client().filter(|_| request.is_of(identity)).map(|client| Asking {
            client: client.id().clone(),
            is_without_session: request.is_without_session(),
            location: request.location().map(str::to_owned),
        });
        Self { subject, device, expires_at: now.after(FORM_LIFETIME), asking }
    }

    /// The client that asks, if it proved that it knows the person.
    pub fn client(&self) -> Option<&ClientId> {
        self.asking.as_ref().map(|asking| &asking.client)
    }

    /// See [`LogoutRequest::is_without_session`].
    pub fn is_without_session(&self) -> bool {
        self.asking.as_ref().is_some_and(|asking| asking.is_without_session)
    }

    /// Where the person goes afterwards; `None` for a page of ours.
    pub fn location(&self) -> Option<&str> {
        self.asking.as_ref()?.location.as_deref()
    }

    /// Judges who sends it, and when.
    ///
    /// # Errors
    /// [`FormError::Foreign`], [`FormError::Expired`].
    pub fn check(&self, identity: &Identity, now: UnixTime) -> Result<(), FormError> {
        if self.subject != identity.subject || self.device != identity.device.id {
            return Err(FormError::Foreign);
        }
        if self.expires_at.is_past(now) { Err(FormError::Expired) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acr::Acr;
    use crate::client::ClientSpec;
    use crate::client::tests::confidential;
    use crate::policy::tests::alice;
    use crate::scope::Scope;
    use crate::session::tests::session;
    use crate::settle::tests::{at, grant};

    fn client() -> Arc<Client> {
        let mut spec: ClientSpec = confidential();
        spec.logout.post_logout_redirect_uris =
            vec!["https://grafana.test/bye".into(), "https://grafana.test/bye?a=1".into()];
        Arc::new(Client::new(spec, UnixTime::default()).unwrap())
    }

    fn validated(query: &str, client: &Arc<Client>) -> Result<LogoutRequest, LogoutError> {
        let params = Params::parse(query.as_bytes()).unwrap();
        let issuer = Issuer::parse("https://idp.tail.test").unwrap();
        let find = |id: &str| (client.id().as_str() == id).then(|| Arc::clone(client));
        LogoutRequest::validate(&params, find, &SigningKeys::default(), &issuer)
    }

    #[test]
    fn without_a_hint_nobody_is_sent_anywhere() {
        let client = client();
        for query in
            ["", "state=x", "client_id=grafana&post_logout_redirect_uri=https://grafana.test/bye&state=x"]
        {
            let request = validated(query, &client).unwrap();
            assert_eq!(request.location(), None, "{query}");
            let ours = Browser::SignedIn(session(Acr::Ambient));
            assert_eq!(request.step(&alice(), &ours), Step::Ask, "{query}");
        }
        assert_eq!(validated("client_id=nobody", &client).err(), Some(LogoutError::UnknownClient));
        assert!(matches!(validated("id_token_hint=a.b.c", &client), Err(LogoutError::Hint(_))));
        assert!(matches!(validated("id_token_hint=", &client), Ok(_) | Err(LogoutError::Hint(_))));
    }

    /// A25: the session of this browser decides.
    #[test]
    fn a_hint_ends_the_session_of_its_own_browser_and_person() {
        let ours = session(Acr::Ambient);
        let step = |subject: &str, sid: Option<String>, browser: &Browser| {
            let hint = IdTokenHint { subject: subject.into(), client: "grafana".into(), session: sid };
            LogoutRequest { hint: Some(hint), client: None, location: None }.step(&alice(), browser)
        };
        let (alice, sid) = (alice(), Some(ours.id.to_string()));
        let signed_in = Browser::SignedIn(ours);
        let subject = alice.subject.as_str();
        assert_eq!(step(subject, sid.clone(), &signed_in), Step::End);
        assert_eq!(step(subject, None, &Browser::Unknown), Step::End);
        assert_eq!(step(subject, None, &Browser::SignedOut), Step::End);
        let other = Some(SessionId::from_bytes([9; 16]).to_string());
        for (subject, sid, browser) in [
            ("userid:7", sid.clone(), &signed_in),
            ("userid:7", None, &signed_in),
            ("userid:7", None, &Browser::Unknown),
            (subject, None, &signed_in),
            (subject, other, &signed_in),
            (subject, sid.clone(), &Browser::Unknown),
            (subject, sid, &Browser::SignedOut),
        ] {
            assert_eq!(step(subject, sid.clone(), browser), Step::Ask, "{subject} {sid:?} {browser:?}");
        }
    }

    #[test]
    fn state_comes_back_in_the_query() {
        assert_eq!(with_state("https://a.test/bye", None), "https://a.test/bye");
        assert_eq!(with_state("https://a.test/bye", Some("a b&c")), "https://a.test/bye?state=a+b%26c");
        assert_eq!(with_state("https://a.test/bye?a=1", Some("x")), "https://a.test/bye?a=1&state=x");
    }

    #[test]
    fn what_ends_is_the_session_or_what_one_client_has_on_this_device() {
        let with = |session: Option<u8>, scope: &str| {
            let mut facts = grant().facts().clone();
            facts.session = session.map(|byte| SessionId::from_bytes([byte; 16]));
            facts.scope = Scope::parse(scope);
            Grant::new(grant().id(), facts, at(1_000))
        };
        let session = Extent { session: Some(SessionId::from_bytes([7; 16])), sessionless: None };
        assert!(session.covers(&with(Some(7), "openid")));
        assert!(!session.covers(&with(Some(8), "openid")) && !session.covers(&with(None, "openid")));
        let (cli, other) =
            (Client::new(crate::client::tests::public(), UnixTime::default()).unwrap(), client());
        let device = grant().facts().device().unwrap().clone();
        let here = |client| Extent { session: None, sessionless: Some((client, &device)) };
        assert!(here(&cli).covers(&with(None, "openid")) && !here(&cli).covers(&with(Some(7), "openid")));
        assert!(!here(&other).covers(&with(None, "openid")));
        let elsewhere = DeviceId::parse("nOTHER").unwrap();
        let there = Extent { session: None, sessionless: Some((&cli, &elsewhere)) };
        assert!(!there.covers(&with(None, "openid")));
        assert!(ends_with_session(&with(Some(7), "openid")));
        assert!(!ends_with_session(&with(Some(7), "openid offline_access")));
    }

    #[test]
    fn the_form_is_for_one_person_on_one_device_and_for_ten_minutes() {
        let request = LogoutRequest { hint: None, client: None, location: None };
        let form = LogoutForm::new(&alice(), &request, at(1_000));
        assert_eq!(form.check(&alice(), at(1_599)), Ok(()));
        assert_eq!(form.check(&alice(), at(1_600)), Err(FormError::Expired));
        let bob = Identity { subject: Subject::user(7), ..alice() };
        assert_eq!(form.check(&bob, at(1_001)), Err(FormError::Foreign));
        let mut elsewhere = alice();
        elsewhere.device.id = DeviceId::parse("nOTHER").unwrap();
        assert_eq!(form.check(&elsewhere, at(1_001)), Err(FormError::Foreign));
    }

    /// Nobody but the person to whom a hint was issued is sent on after the question.
    #[test]
    fn the_form_carries_what_a_hint_of_theirs_proves() {
        let client = client();
        let form = |subject: Option<&str>| {
            let hint = |subject: &str| IdTokenHint {
                subject: subject.into(),
                client: "grafana".into(),
                session: None,
            };
            let location = Some("https://grafana.test/bye".to_owned());
            let request =
                LogoutRequest { hint: subject.map(hint), client: Some(Arc::clone(&client)), location };
            let form = LogoutForm::new(&alice(), &request, at(1_000));
            (form.client().cloned(), form.location().map(str::to_owned), form.is_without_session())
        };
        let alice = alice();
        let proven = (Some(client.id().clone()), Some("https://grafana.test/bye".to_owned()), true);
        assert_eq!(form(Some(alice.subject.as_str())), proven);
        assert_eq!(form(Some("userid:7")), (None, None, false));
        assert_eq!(form(None), (None, None, false));
    }
}
