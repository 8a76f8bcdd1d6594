//! Sessions of browsers: what the sealed cookie says, and what is left of that once whois has spoken.
//!
//! Layer 1. A cookie never names a person: it says since when, and how strongly, the person whom whois names is signed in.
//! One of another person, or from another device, is dropped (design section 5).

use serde::{Deserialize, Serialize};

use crate::acr::Acr;
use crate::id::{DeviceId, SessionId, Subject};
use crate::identity::Identity;
use crate::time::{Lifetime, UnixTime};

/// How long a session lives when the configuration does not say: whois is asked at every use, so a long one lets nobody in
/// who is not in already. Applications that want a recent sign-in send `max_age`.
pub const LIFETIME: Lifetime = Lifetime::from_days(30);

/// How long a browser remembers that it was signed out: as long as browsers keep cookies at all (RFC 6265bis §5.5).
pub const SIGNED_OUT_LIFETIME: Lifetime = Lifetime::from_days(400);

/// A session of one browser (OpenID Connect Session Management's *session*; `sid` of Back-Channel Logout §2.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// `sid`.
    pub id: SessionId,
    /// Whose it is.
    pub subject: Subject,
    /// The device on which it began.
    pub device: DeviceId,
    /// When the person was authenticated (`auth_time`).
    pub auth_time: UnixTime,
    /// How the person was authenticated (`acr`).
    pub acr: Acr,
    /// When the cookie was sealed.
    pub sealed_at: UnixTime,
    /// When the session ends by itself.
    pub expires_at: UnixTime,
}

/// What the cookie holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionCookie {
    /// A session.
    Session(Session),
    /// Somebody signed out in this browser: the next sign-in needs a click.
    SignedOut {
        /// When.
        at: UnixTime,
    },
}

/// What is known of a browser, its cookie compared with whois.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Browser {
    /// Nothing: no cookie, or none that counts.
    #[default]
    Unknown,
    /// The person has a session in it.
    SignedIn(Session),
    /// Somebody signed out in it.
    SignedOut,
}

impl Browser {
    /// Compares the cookie of a browser with the person whom whois names.
    pub fn of(cookie: Option<SessionCookie>, identity: &Identity, now: UnixTime) -> Self {
        match cookie {
            Some(SessionCookie::Session(session)) if session.is_of(identity, now) => Self::SignedIn(session),
            Some(SessionCookie::SignedOut { at }) if !at.after(SIGNED_OUT_LIFETIME).is_past(now) => {
                Self::SignedOut
            }
            Some(SessionCookie::Session(_) | SessionCookie::SignedOut { .. }) | None => Self::Unknown,
        }
    }

    /// The session, if there is one. Whether it was ended is for the store to say.
    pub const fn session(&self) -> Option<&Session> {
        match self {
            Self::SignedIn(session) => Some(session),
            Self::Unknown | Self::SignedOut => None,
        }
    }
}

impl Session {
    fn is_of(&self, identity: &Identity, now: UnixTime) -> bool {
        let ours = self.subject == identity.subject && self.device == identity.device.id;
        ours && !self.expires_at.is_past(now)
    }
}

/// How a person was authenticated, for a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authentication {
    /// `auth_time`.
    pub time: UnixTime,
    /// `acr`.
    pub acr: Acr,
    /// `sid`.
    pub session: Option<SessionId>,
}

/// A sign-in that may go on, and what it does to the session of the browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// `auth_time`.
    pub auth_time: UnixTime,
    /// `acr`.
    pub acr: Acr,
    /// What becomes of the session.
    pub session: SessionUse,
}

/// What a sign-in does to the session of the browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionUse {
    /// The client has no use for one.
    None,
    /// It has no use for one, but the browser may forget that somebody signed out.
    Forget,
    /// The session stays as it is.
    Same(SessionId),
    /// The session is renewed: the same id, another `auth_time`.
    Renew(SessionId),
    /// A new one begins.
    Begin,
}

impl SignIn {
    /// Makes the session that is to be written, if one is: `id` is called only for a new one.
    pub fn session_to_write(
        &self,
        identity: &Identity,
        lifetime: Lifetime,
        now: UnixTime,
        id: impl FnOnce() -> SessionId,
    ) -> Option<Session> {
        let id = match self.session {
            SessionUse::None | SessionUse::Forget | SessionUse::Same(_) => return None,
            SessionUse::Renew(known) => known,
            SessionUse::Begin => id(),
        };
        Some(Session {
            id,
            subject: identity.subject.clone(),
            device: identity.device.id.clone(),
            auth_time: self.auth_time,
            acr: self.acr,
            sealed_at: now,
            expires_at: now.after(lifetime),
        })
    }

    /// What the code says of it; `written` is the session that goes into the cookie.
    pub fn authentication(&self, written: Option<&Session>) -> Authentication {
        let known = match self.session {
            SessionUse::Same(id) => Some(id),
            SessionUse::None | SessionUse::Forget | SessionUse::Renew(_) | SessionUse::Begin => None,
        };
        let session = written.map(|session| session.id).or(known);
        Authentication { time: self.auth_time, acr: self.acr, session }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::policy::tests::alice;

    pub(crate) fn at(seconds: u64) -> UnixTime {
        UnixTime::from_secs(seconds)
    }

    /// Alice's session, begun at 1,000.
    pub(crate) fn session(acr: Acr) -> Session {
        Session {
            id: SessionId::from_bytes([7; 16]),
            subject: alice().subject,
            device: alice().device.id,
            auth_time: at(1_000),
            acr,
            sealed_at: at(1_000),
            expires_at: at(1_000).after(LIFETIME),
        }
    }

    /// A cookie never names anybody: whois does.
    #[test]
    fn only_a_cookie_of_the_same_person_on_the_same_device_counts() {
        let ours = session(Acr::Ambient);
        let of = |cookie: SessionCookie, now| Browser::of(Some(cookie), &alice(), at(now));
        let cookie = |session: &Session| SessionCookie::Session(session.clone());
        assert_eq!(of(cookie(&ours), 2_000), Browser::SignedIn(ours.clone()));
        let end = ours.expires_at.as_secs();
        assert_eq!(of(cookie(&ours), end), Browser::Unknown);
        let others = Session { subject: Subject::user(7), ..ours.clone() };
        assert_eq!(of(cookie(&others), 2_000), Browser::Unknown);
        let elsewhere = Session { device: DeviceId::parse("nOTHER").unwrap(), ..ours };
        assert_eq!(of(cookie(&elsewhere), 2_000), Browser::Unknown);
        let out = SessionCookie::SignedOut { at: at(1_000) };
        assert_eq!(of(out.clone(), 2_000), Browser::SignedOut);
        assert_eq!(of(out, 1_000 + SIGNED_OUT_LIFETIME.as_secs()), Browser::Unknown);
        assert_eq!(Browser::of(None, &alice(), at(2_000)), Browser::Unknown);
    }

    #[test]
    fn a_session_is_written_when_it_begins_or_is_renewed() {
        let fresh = SessionId::from_bytes([9; 16]);
        let known = SessionId::from_bytes([7; 16]);
        for (session, written, sid) in [
            (SessionUse::None, None, None),
            (SessionUse::Forget, None, None),
            (SessionUse::Same(known), None, Some(known)),
            (SessionUse::Renew(known), Some(known), Some(known)),
            (SessionUse::Begin, Some(fresh), Some(fresh)),
        ] {
            let sign_in = SignIn { auth_time: at(5), acr: Acr::Confirmed, session };
            let made = sign_in.session_to_write(&alice(), Lifetime::from_secs(10), at(6), || fresh);
            assert_eq!(made.as_ref().map(|session| session.id), written);
            assert_eq!(sign_in.authentication(made.as_ref()).session, sid);
            if let Some(made) = made {
                assert_eq!((made.auth_time, made.acr, made.expires_at), (at(5), Acr::Confirmed, at(16)));
            }
        }
    }
}
