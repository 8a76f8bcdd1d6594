//! What an authorization asks of the person, and what the browser's session answers (OpenID Connect Core §3.1.2.1).
//!
//! Four things are told apart: going on silently, showing the page *Continue as NAME on DEVICE*, showing the one that asks whether a
//! stranger is allowed, and refusing because the application wants no page. One page at a time, and never both: the second one says
//! all that the first does, so its tap confirms the sign-in, too. The table is in `demand`; its test has a row for every cell.

use super::RedirectReason;
use super::claims_request::ClaimsRequest;
use crate::acr::Acr;
use crate::client::{Client, Login};
use crate::hint;
use crate::identity::Identity;
use crate::jose::SigningKeys;
use crate::params::Params;
use crate::requested::RequestedClaims;
use crate::session::{Browser, Session, SessionUse, SignIn};
use crate::time::{Lifetime, UnixTime};
use crate::uri::Issuer;

/// What a request asks of the person and of their sign-in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// `prompt=none`: nothing may be shown.
    silent: bool,
    /// `prompt=login` or `max_age=0`.
    login: bool,
    /// `prompt=select_account`.
    account: bool,
    /// `prompt=consent`.
    consent: bool,
    max_age: Option<Lifetime>,
    /// Only somebody who answered a page will do.
    confirmed: bool,
    /// Who it must be, by `claims`; `None` is anybody.
    subjects: Option<Vec<String>>,
    requested: RequestedClaims,
    hint: Option<String>,
}

impl Asked {
    /// Reads `prompt`, `max_age`, `acr_values`, `claims` and `id_token_hint`.
    ///
    /// `prompt=consent` asks strangers' persons again, even for what they have allowed before. Of other clients it asks nothing:
    /// an administrator has approved them, or the very person has registered them, by a program on the very device, to which alone
    /// the code is of use. OpenID Connect Core §11 allows such conditions in place of a page, and SDKs always send the prompt once
    /// they ask for `offline_access` (reference 4.3), so that a page here would be one at every sign-in. Unknown values of `prompt` are
    /// ignored (§3.1.2.1), so are `login_hint`, `display`, `ui_locales` and `claims_locales`: there is one account, one page.
    ///
    /// # Errors
    /// [`RedirectReason::Prompt`], [`RedirectReason::MaxAge`], [`RedirectReason::Claims`].
    pub fn read(params: &Params) -> Result<Self, RedirectReason> {
        let prompts: Vec<&str> = params.get("prompt").unwrap_or_default().split_ascii_whitespace().collect();
        let silent = prompts.contains(&"none");
        if silent && prompts.len() > 1 {
            return Err(RedirectReason::Prompt);
        }
        let max_age = params.get("max_age").map(str::parse::<u64>).transpose();
        let max_age = max_age.map_err(|_| RedirectReason::MaxAge)?.map(Lifetime::from_secs);
        let claims = match params.get("claims") {
            Some(text) => ClaimsRequest::parse(text).ok_or(RedirectReason::Claims)?,
            None => ClaimsRequest::default(),
        };
        let acr_values = params.get("acr_values").unwrap_or_default().split_ascii_whitespace();
        Ok(Self {
            silent,
            login: prompts.contains(&"login") || max_age == Some(Lifetime::from_secs(0)),
            account: prompts.contains(&"select_account"),
            consent: prompts.contains(&"consent"),
            max_age,
            confirmed: only_confirmed(acr_values) || only_confirmed(claims.acr.iter().map(String::as_str)),
            subjects: claims.subjects,
            requested: claims.requested,
            hint: params.get("id_token_hint").map(str::to_owned),
        })
    }

    /// Claims that the request names.
    pub const fn requested(&self) -> RequestedClaims {
        self.requested
    }

    /// Compares the person whom whois names with the one that the request expects, by `id_token_hint` or by `claims`.
    ///
    /// # Errors
    /// [`RedirectReason::OtherPerson`]; [`RedirectReason::Hint`] for a hint that is no ID token of ours, unless nothing may be
    /// shown: then the person cannot be known to be the expected one, which is what `login_required` says.
    pub fn check_person(
        &self,
        identity: &Identity,
        signing: &SigningKeys,
        issuer: &Issuer,
    ) -> Result<(), RedirectReason> {
        let subject = identity.subject.as_str();
        if self.subjects.as_ref().is_some_and(|subjects| subjects.iter().all(|known| known != subject)) {
            return Err(RedirectReason::OtherPerson);
        }
        let Some(hint) = &self.hint else { return Ok(()) };
        match hint::read(hint, signing, issuer) {
            Ok(hint) if hint.subject == subject => Ok(()),
            Ok(_) => Err(RedirectReason::OtherPerson),
            Err(_) if self.silent => Err(RedirectReason::OtherPerson),
            Err(_) => Err(RedirectReason::Hint),
        }
    }

    fn is_too_old(&self, session: &Session, now: UnixTime) -> bool {
        self.max_age.is_some_and(|max_age| session.auth_time.until(now) > max_age)
    }
}

/// Tells whether of the classes that we know only *confirmed* is among those asked for. Values are in order of preference, and
/// voluntary (OpenID Connect Core §5.5.1.1): where *ambient* will do as well, nobody is bothered.
fn only_confirmed<'a>(values: impl Iterator<Item = &'a str>) -> bool {
    let (mut ambient, mut confirmed) = (false, false);
    for value in values {
        ambient |= value == Acr::Ambient.as_str();
        confirmed |= value == Acr::Confirmed.as_str();
    }
    confirmed && !ambient
}

/// Why the page is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Somebody signed out in this browser.
    SignedOut,
    /// The application asks whether it is really them.
    Asked,
    /// The sign-in is older than the application accepts.
    TooOld,
    /// The application wants the account to be chosen; there is one.
    Account,
    /// The application wants a confirmed sign-in.
    Confirmation,
    /// The client asks every time.
    Always,
    /// A page was answered that was too old, or that somebody else was shown.
    Stale,
}

impl Why {
    /// What an application gets that wants no page; `None` where the page was a wish only.
    const fn refusal(self) -> Option<RedirectReason> {
        match self {
            Self::SignedOut | Self::Asked | Self::TooOld | Self::Stale => Some(RedirectReason::SignInNeeded),
            Self::Always => Some(RedirectReason::PageNeeded),
            // Cannot stand beside `none`.
            Self::Account => Some(RedirectReason::Prompt),
            Self::Confirmation => None,
        }
    }
}

/// Whether the person must be asked to allow the client what it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// Never: it is no stranger.
    NotNeeded,
    /// They allowed it before.
    Given,
    /// They did not.
    Missing,
}

/// What an authorization demands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Demand {
    /// It goes on silently.
    Go(SignIn),
    /// The person is asked.
    Ask(Why),
    /// The person is asked whether they allow the client; why they would have been asked in any case, if they would.
    Consent(Option<Why>),
    /// It is refused.
    Refuse(RedirectReason),
}

/// Judges what an authorization of a client, in this browser, demands of the person.
pub fn demand(
    client: &Client,
    asked: &Asked,
    allowance: Allowance,
    browser: &Browser,
    now: UnixTime,
) -> Demand {
    let asks = match allowance {
        Allowance::NotNeeded => false,
        Allowance::Given => asked.consent,
        Allowance::Missing => true,
    };
    match of_sign_in(client, asked, browser, now) {
        Demand::Go(_) if asks && asked.silent => Demand::Refuse(RedirectReason::ConsentNeeded),
        Demand::Go(_) if asks => Demand::Consent(None),
        Demand::Ask(why) if asks => Demand::Consent(Some(why)),
        demand => demand,
    }
}

/// What the sign-in alone demands.
fn of_sign_in(client: &Client, asked: &Asked, browser: &Browser, now: UnixTime) -> Demand {
    let why = why(client, asked, browser, now);
    let needs_session = client.login() == Login::Session && browser.session().is_none();
    let refusal = match why {
        Some(why) if !asked.silent => return Demand::Ask(why),
        Some(why) => why.refusal(),
        None => None,
    };
    match refusal {
        Some(reason) => Demand::Refuse(reason),
        None if asked.silent && needs_session => Demand::Refuse(RedirectReason::SignInNeeded),
        None => Demand::Go(silently(client, asked, browser, now)),
    }
}

fn why(client: &Client, asked: &Asked, browser: &Browser, now: UnixTime) -> Option<Why> {
    let session = browser.session();
    let is_confirmed =
        session.is_some_and(|session| session.acr == Acr::Confirmed && !asked.is_too_old(session, now));
    let session_mode = client.login() == Login::Session;
    if *browser == Browser::SignedOut {
        return Some(Why::SignedOut);
    }
    if asked.login {
        return Some(Why::Asked);
    }
    if session_mode && session.is_some_and(|session| asked.is_too_old(session, now)) {
        return Some(Why::TooOld);
    }
    if asked.account {
        return Some(Why::Account);
    }
    if client.login() == Login::Confirm {
        return Some(Why::Always);
    }
    (asked.confirmed && !is_confirmed).then_some(Why::Confirmation)
}

/// A sign-in without a page. In ambient mode whois is the authentication, just now, unless a confirmed one was asked for and
/// the browser's session has it.
fn silently(client: &Client, asked: &Asked, browser: &Browser, now: UnixTime) -> SignIn {
    let session = browser.session();
    let as_session = |session: &&Session| {
        let step_up = asked.confirmed && session.acr == Acr::Confirmed && !asked.is_too_old(session, now);
        client.login() == Login::Session || step_up
    };
    let (auth_time, acr) =
        session.filter(as_session).map_or((now, Acr::Ambient), |session| (session.auth_time, session.acr));
    let session = match session {
        _ if !client.keeps_sessions() => SessionUse::None,
        Some(session) => SessionUse::Same(session.id),
        None => SessionUse::Begin,
    };
    SignIn { auth_time, acr, session }
}

/// The sign-in of somebody who has just pressed *Continue*, or *Allow* where *Continue* would have been asked.
pub fn confirmed(client: &Client, browser: &Browser, now: UnixTime) -> SignIn {
    let session = match browser {
        Browser::SignedOut if !client.keeps_sessions() => SessionUse::Forget,
        _ if !client.keeps_sessions() => SessionUse::None,
        Browser::SignedIn(session) => SessionUse::Renew(session.id),
        Browser::SignedOut | Browser::Unknown => SessionUse::Begin,
    };
    SignIn { auth_time: now, acr: Acr::Confirmed, session }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::tests::{confidential, public};
    use crate::client::{ClientSpec, LogoutSpec};
    use crate::id::SessionId;
    use crate::jose::tests::key;
    use crate::jose::{Algorithm, TokenType};
    use crate::key::KeyState;
    use crate::policy::tests::alice;
    use crate::session::tests::{at, session};

    /// The moment of every request; the session began a hundred seconds before.
    const NOW: u64 = 1_100;
    const SID: SessionId = SessionId::from_bytes([7; 16]);
    const CONFIRMED: &str = "acr_values=urn:tsidecar:acr:confirmed";

    fn asked(query: &str) -> Result<Asked, RedirectReason> {
        Asked::read(&Params::parse(query.as_bytes()).unwrap())
    }

    fn client(login: Login, has_logout: bool) -> Client {
        let uris = if has_logout { vec!["https://grafana.test/out".to_owned()] } else { Vec::new() };
        let logout = LogoutSpec { post_logout_redirect_uris: uris, ..LogoutSpec::default() };
        Client::new(ClientSpec { login, logout, ..confidential() }, UnixTime::default()).unwrap()
    }

    fn go(auth_time: u64, acr: Acr, session: SessionUse) -> Demand {
        Demand::Go(SignIn { auth_time: at(auth_time), acr, session })
    }

    fn browsers() -> [Browser; 4] {
        let signed_in = |acr| Browser::SignedIn(session(acr));
        [Browser::Unknown, signed_in(Acr::Ambient), signed_in(Acr::Confirmed), Browser::SignedOut]
    }

    /// Judges one request in the four browsers: unknown, signed in silently, signed in by a tap, signed out.
    fn row(login: Login, has_logout: bool, query: &str) -> [Demand; 4] {
        let (client, asked) = (client(login, has_logout), asked(query).unwrap());
        browsers().map(|browser| demand(&client, &asked, Allowance::NotNeeded, &browser, at(NOW)))
    }

    /// As [`row`], for a stranger.
    fn strange(login: Login, allowance: Allowance, query: &str) -> [Demand; 4] {
        let (client, asked) = (client(login, false), asked(query).unwrap());
        browsers().map(|browser| demand(&client, &asked, allowance, &browser, at(NOW)))
    }

    /// One page says both: whoever must confirm the sign-in does so by allowing.
    #[test]
    fn a_stranger_is_allowed_on_one_page() {
        let consent = |why: Option<Why>| Demand::Consent(why);
        let out = || consent(Some(Why::SignedOut));
        let missing = |query| strange(Login::Ambient, Allowance::Missing, query);
        let plain = [consent(None), consent(None), consent(None), out()];
        for query in ["", "prompt=consent", "max_age=1", "prompt=x"] {
            assert_eq!(missing(query), plain, "{query}");
        }
        for (query, why) in [
            ("prompt=login", Why::Asked),
            ("max_age=0", Why::Asked),
            ("prompt=consent+login", Why::Asked),
            ("prompt=select_account", Why::Account),
        ] {
            let both = || consent(Some(why));
            assert_eq!(missing(query), [both(), both(), both(), out()], "{query}");
        }
        let step_up = missing(CONFIRMED);
        assert_eq!(
            step_up,
            [consent(Some(Why::Confirmation)), consent(Some(Why::Confirmation)), consent(None), out()]
        );
        let needed = Demand::Refuse(RedirectReason::ConsentNeeded);
        assert_eq!(missing("prompt=none"), [needed.clone(), needed.clone(), needed.clone(), NEEDED]);
        assert_eq!(
            strange(Login::Session, Allowance::Missing, "prompt=none"),
            [NEEDED, needed.clone(), needed, NEEDED]
        );
        let always = || consent(Some(Why::Always));
        assert_eq!(strange(Login::Confirm, Allowance::Missing, ""), [always(), always(), always(), out()]);
    }

    #[test]
    fn what_was_allowed_is_asked_again_only_on_request() {
        for query in ["", "prompt=none", "prompt=login", "prompt=select_account", CONFIRMED] {
            assert_eq!(
                strange(Login::Ambient, Allowance::Given, query),
                row(Login::Ambient, false, query),
                "{query}"
            );
        }
        for query in ["prompt=consent", "prompt=consent+login"] {
            let missing = strange(Login::Ambient, Allowance::Missing, query);
            assert_eq!(strange(Login::Ambient, Allowance::Given, query), missing, "{query}");
        }
    }

    const NEEDED: Demand = Demand::Refuse(RedirectReason::SignInNeeded);

    #[test]
    fn ambient_the_network_is_the_session() {
        let now = || go(NOW, Acr::Ambient, SessionUse::None);
        let out = Demand::Ask(Why::SignedOut);
        for query in
            ["", "prompt=consent", "max_age=1", "prompt=x", "acr_values=1+2", "login_hint=bob&display=popup"]
        {
            assert_eq!(row(Login::Ambient, false, query), [now(), now(), now(), out.clone()], "{query}");
        }
        for query in ["prompt=none", "prompt=none&max_age=1", &format!("prompt=none&{CONFIRMED}x")] {
            assert_eq!(row(Login::Ambient, false, query), [now(), now(), now(), NEEDED], "{query}");
        }
    }

    /// A client that wants to know when sessions end has one, and still the network is the authentication.
    #[test]
    fn ambient_with_logout_has_a_session() {
        let (begin, same) =
            (go(NOW, Acr::Ambient, SessionUse::Begin), go(NOW, Acr::Ambient, SessionUse::Same(SID)));
        let expected = |last| [begin.clone(), same.clone(), same.clone(), last];
        assert_eq!(row(Login::Ambient, true, "max_age=1"), expected(Demand::Ask(Why::SignedOut)));
        assert_eq!(row(Login::Ambient, true, "prompt=none"), expected(NEEDED));
    }

    #[test]
    fn session_the_cookie_is_the_session() {
        let begin = go(NOW, Acr::Ambient, SessionUse::Begin);
        let same = |acr| go(1_000, acr, SessionUse::Same(SID));
        let (ambient, confirmed) = (same(Acr::Ambient), same(Acr::Confirmed));
        let out = Demand::Ask(Why::SignedOut);
        for query in ["", "max_age=100", "max_age=10000", "prompt=consent"] {
            let expected = [begin.clone(), ambient.clone(), confirmed.clone(), out.clone()];
            assert_eq!(row(Login::Session, false, query), expected, "{query}");
        }
        for query in ["prompt=none", "prompt=none&max_age=100"] {
            let expected = [NEEDED, ambient.clone(), confirmed.clone(), NEEDED];
            assert_eq!(row(Login::Session, false, query), expected, "{query}");
        }
        let old = Demand::Ask(Why::TooOld);
        assert_eq!(row(Login::Session, false, "max_age=99"), [begin, old.clone(), old, out]);
        assert_eq!(row(Login::Session, false, "prompt=none&max_age=99"), [NEEDED; 4]);
    }

    #[test]
    fn confirm_never_goes_on_silently() {
        let (ask, out) = (Demand::Ask(Why::Always), Demand::Ask(Why::SignedOut));
        let page = Demand::Refuse(RedirectReason::PageNeeded);
        for has_logout in [false, true] {
            for query in ["", "max_age=1", "prompt=consent", CONFIRMED] {
                let expected = [ask.clone(), ask.clone(), ask.clone(), out.clone()];
                assert_eq!(row(Login::Confirm, has_logout, query), expected, "{query}");
            }
            let expected = [page.clone(), page.clone(), page.clone(), NEEDED];
            assert_eq!(row(Login::Confirm, has_logout, "prompt=none"), expected);
        }
    }

    /// A46: an application that asks for a person gets one, in every mode.
    #[test]
    fn what_needs_a_person_shows_the_page() {
        for login in [Login::Ambient, Login::Session, Login::Confirm] {
            for (query, why) in [
                ("prompt=login", Why::Asked),
                ("prompt=consent+login", Why::Asked),
                ("prompt=login+select_account", Why::Asked),
                ("max_age=0", Why::Asked),
                ("prompt=select_account", Why::Account),
            ] {
                let ask = || Demand::Ask(why);
                let expected = [ask(), ask(), ask(), Demand::Ask(Why::SignedOut)];
                assert_eq!(row(login, true, query), expected, "{login:?} {query}");
            }
            assert_eq!(row(login, true, "prompt=none&max_age=0"), [NEEDED; 4], "{login:?}");
        }
    }

    /// RFC 9470: a step-up is answered by a tap, and by a session that had one, as long as that is recent enough.
    #[test]
    fn a_confirmed_sign_in_can_be_asked_for() {
        let (ask, out) = (Demand::Ask(Why::Confirmation), Demand::Ask(Why::SignedOut));
        let stepped = |session| go(1_000, Acr::Confirmed, session);
        let claims = "claims=%7B%22id_token%22%3A%7B%22acr%22%3A%7B%22essential%22%3Atrue%2C%22value%22%3A%22urn%3Atsidecar%3Aacr%3Aconfirmed%22%7D%7D%7D";
        for query in [CONFIRMED, "acr_values=1+urn:tsidecar:acr:confirmed", claims] {
            let expected = |session| [ask.clone(), ask.clone(), stepped(session), out.clone()];
            assert_eq!(row(Login::Ambient, false, query), expected(SessionUse::None), "{query}");
            assert_eq!(row(Login::Ambient, true, query), expected(SessionUse::Same(SID)), "{query}");
            assert_eq!(row(Login::Session, false, query), expected(SessionUse::Same(SID)), "{query}");
        }
        let late = format!("{CONFIRMED}&max_age=99");
        assert_eq!(row(Login::Ambient, true, &late), [ask.clone(), ask.clone(), ask.clone(), out.clone()]);
        let old = Demand::Ask(Why::TooOld);
        assert_eq!(row(Login::Session, false, &late), [ask, old.clone(), old, out]);
        // Without a page the wish stays one: the answer says what the sign-in was.
        let silent = format!("prompt=none&{CONFIRMED}");
        let ambient = go(NOW, Acr::Ambient, SessionUse::None);
        assert_eq!(
            row(Login::Ambient, false, &silent),
            [ambient.clone(), ambient, stepped(SessionUse::None), NEEDED]
        );
        let either = "acr_values=urn:tsidecar:acr:confirmed+urn:tsidecar:acr:ambient";
        assert!(matches!(&row(Login::Ambient, false, either)[0], Demand::Go(_)));
    }

    #[test]
    fn a_tap_is_a_new_authentication() {
        for (client, uses) in [
            (
                client(Login::Ambient, false),
                [SessionUse::None, SessionUse::None, SessionUse::None, SessionUse::Forget],
            ),
            (
                client(Login::Confirm, false),
                [SessionUse::None, SessionUse::None, SessionUse::None, SessionUse::Forget],
            ),
            (
                client(Login::Ambient, true),
                [SessionUse::Begin, SessionUse::Renew(SID), SessionUse::Renew(SID), SessionUse::Begin],
            ),
            (
                client(Login::Session, false),
                [SessionUse::Begin, SessionUse::Renew(SID), SessionUse::Renew(SID), SessionUse::Begin],
            ),
        ] {
            for (browser, session) in browsers().iter().zip(uses) {
                let expected = SignIn { auth_time: at(NOW), acr: Acr::Confirmed, session };
                assert_eq!(confirmed(&client, browser, at(NOW)), expected);
            }
        }
    }

    #[test]
    fn contradictions_and_nonsense_are_refused() {
        use RedirectReason as R;
        for (query, reason) in [
            ("prompt=none+login", R::Prompt),
            ("prompt=select_account+none", R::Prompt),
            ("prompt=none+none", R::Prompt),
            ("max_age=-1", R::MaxAge),
            ("max_age=x", R::MaxAge),
            ("max_age=1.5", R::MaxAge),
            ("claims=x", R::Claims),
            ("claims=[]", R::Claims),
        ] {
            assert_eq!(asked(query).unwrap_err(), reason, "{query}");
        }
    }

    #[test]
    fn the_expected_person_must_be_the_one_of_the_network() {
        let issuer = Issuer::parse("https://idp.tail.test").unwrap();
        let keys = SigningKeys::new(vec![(key(Algorithm::Es256), KeyState::Active)]);
        let check = |query: &str| asked(query).unwrap().check_person(&alice(), &keys, &issuer).err();
        let hint = |subject: &str| {
            let claims = serde_json::json!({"iss": issuer.as_str(), "sub": subject, "aud": "x", "exp": 1, "auth_time": 1});
            let token = keys.active(Algorithm::Es256).unwrap().sign(TokenType::IdToken, &claims).unwrap();
            format!("id_token_hint={}", token.expose())
        };
        let sub = |subject: &str| {
            format!("claims=%7B%22id_token%22:%7B%22sub%22:%7B%22value%22:%22{subject}%22%7D%7D%7D")
        };
        let other = Some(RedirectReason::OtherPerson);
        assert_eq!(check(""), None);
        assert_eq!(check(&hint("userid:1001")), None);
        assert_eq!(check(&hint("userid:7")), other);
        assert_eq!(check(&format!("prompt=none&{}", hint("userid:7"))), other);
        assert_eq!(check(&sub("userid:1001")), None);
        assert_eq!(check(&sub("userid:7")), other);
        assert_eq!(check("id_token_hint=a.b.c"), Some(RedirectReason::Hint));
        assert_eq!(check("prompt=none&id_token_hint=a.b.c"), other);
    }

    #[test]
    fn who_keeps_sessions() {
        assert!(
            client(Login::Session, false).keeps_sessions() && client(Login::Ambient, true).keeps_sessions()
        );
        assert!(!client(Login::Ambient, false).keeps_sessions());
        assert!(!Client::new(public(), UnixTime::default()).unwrap().keeps_sessions());
    }
}
