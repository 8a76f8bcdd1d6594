//! Back-channel logout (OpenID Connect Back-Channel Logout 1.0): who is told of what, with which token, and how often.
//!
//! Layer 1. A [`Notice`] is what has to be said; it is stored in the same change as its cause, and turned into a signed
//! [`LogoutToken`] only when it is delivered, so that the token is always fresh.

use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::client::Client;
use crate::grant::{Grant, GrantFacts};
use crate::id::{ClientId, JwtId, SessionId, Subject};
use crate::identity::Identity;
use crate::jose::Algorithm;
use crate::policy::Policy;
use crate::time::{Lifetime, UnixTime};
use crate::uri::{FetchUrl, Issuer};

/// The one member of `events` (Back-Channel Logout §2.4).
pub const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// How long a logout token lives: two minutes at most (Back-Channel Logout §2.4), and each attempt signs a new one.
const LIFE: Lifetime = Lifetime::from_minutes(2);

/// Pauses after the first attempts that failed; every further one is an hour.
const PAUSES: [Lifetime; 4] =
    [Lifetime::from_secs(5), Lifetime::from_secs(30), Lifetime::from_minutes(2), Lifetime::from_minutes(10)];
const LONGEST_PAUSE: Lifetime = Lifetime::from_minutes(60);

/// How long it is tried: an application that was away for longer has let most sessions go by itself.
pub const TRIED_FOR: Lifetime = Lifetime::from_days(1);

/// Where a client is told that somebody's session has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `backchannel_logout_uri`.
    pub uri: FetchUrl,
    /// The algorithm of the token: that of the client's ID tokens.
    pub algorithm: Algorithm,
    /// `backchannel_logout_session_required`: a token without `sid` is of no use to this client.
    pub session_required: bool,
}

/// What a client is to be told, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Who is told.
    pub client: ClientId,
    /// Whose session has ended.
    pub subject: Subject,
    /// Which session; `None` means all that the client has of this subject.
    pub session: Option<SessionId>,
    /// Why.
    pub cause: Cause,
    /// Where, as it was when this was written down: the client may be gone when it is delivered.
    pub target: Target,
}

/// Why a client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The person has logged out.
    LoggedOut,
    /// The grant was revoked: by somebody, after a replay, or because its client, person or device may no longer have it.
    GrantEnded,
}

impl Cause {
    /// The name in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LoggedOut => "logged_out",
            Self::GrantEnded => "grant_ended",
        }
    }
}

impl Notice {
    /// What the client of a grant is told when the grant ends.
    pub fn of(grant: &Grant, cause: Cause, target: Target) -> Self {
        let facts = grant.facts();
        let (client, subject) = (facts.client.clone(), facts.subject.clone());
        Self { client, subject, session: facts.session, cause, target }
    }

    /// What identifies the notice: the same client, subject and session need to be told only once at a time.
    pub fn key(&self) -> [u8; 16] {
        let session = self.session.as_ref().map_or(&[][..], |session| &session.as_bytes()[..]);
        let mut hash = Sha256::new();
        for part in [self.client.as_str().as_bytes(), self.subject.as_str().as_bytes(), session] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut key = [0; 16];
        key.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
        key
    }

    /// Tells whether the client can make sense of the notice at this target.
    pub const fn fits(&self, target: &Target) -> bool {
        self.session.is_some() || !target.session_required
    }
}

/// Tells whether nobody may use a grant any more: its client is gone or switched off, its device no longer belongs to the
/// person (`identity` is whom whois names at its address now, if anybody), or the person is not admitted.
pub fn is_withdrawn(
    facts: &GrantFacts,
    client: Option<&Client>,
    identity: Option<&Identity>,
    policy: &Policy,
) -> bool {
    let Some(client) = client.filter(|client| !client.is_disabled()) else { return true };
    let Some(identity) = identity else { return true };
    facts.issued_at <= client.not_before()
        || !facts.is_of(identity)
        || policy.admit(client, identity).is_err()
}

/// The claims of a logout token (Back-Channel Logout §2.4). Never a `nonce`: it must not pass for an ID token.
#[derive(Debug, Serialize)]
pub struct LogoutToken<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    iat: UnixTime,
    exp: UnixTime,
    jti: JwtId,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
    events: Value,
}

impl<'a> LogoutToken<'a> {
    /// The claims of this moment.
    pub fn new(issuer: &'a Issuer, notice: &'a Notice, now: UnixTime, jti: JwtId) -> Self {
        Self {
            iss: issuer.as_str(),
            sub: notice.subject.as_str(),
            aud: notice.client.as_str(),
            iat: now,
            exp: now.after(LIFE),
            jti,
            sid: notice.session.map(|session| session.to_string()),
            events: json!({ EVENT: {} }),
        }
    }
}

/// What a client's answer means (Back-Channel Logout §2.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has logged the person out, or did not know the session.
    Done,
    /// It says that the request is wrong, which it would say again.
    Refused,
    /// Not now: an error on its side, or something else than the client answered.
    Again,
}

impl Verdict {
    /// Judges the status of an answer.
    pub const fn of(status: u16) -> Self {
        match status {
            200 | 204 => Self::Done,
            400 => Self::Refused,
            _ => Self::Again,
        }
    }
}

/// When to try again after so many attempts in vain, the first at `made_at`; `None` when it is time to give up.
pub fn next_attempt(made_at: UnixTime, attempts: u32, now: UnixTime) -> Option<UnixTime> {
    let index = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
    let next = now.after(PAUSES.get(index).copied().unwrap_or(LONGEST_PAUSE));
    (next <= made_at.after(TRIED_FOR)).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fresh::FreshId;
    use crate::settle::tests::{at, grant};

    fn target() -> Target {
        let uri = FetchUrl::parse("https://app.test/logout").unwrap();
        Target { uri, algorithm: Algorithm::Rs256, session_required: false }
    }

    fn notice(session: Option<u8>) -> Notice {
        let session = session.map(|byte| SessionId::from_bytes([byte; 16]));
        Notice { session, ..Notice::of(&grant(), Cause::LoggedOut, target()) }
    }

    /// Back-Channel Logout §2.4, claim by claim.
    #[test]
    fn the_whole_token() {
        let issuer = Issuer::parse("https://idp.tail.test").unwrap();
        let claims = |notice: &Notice| {
            let jti = JwtId::new(FreshId::from_bytes([1; 16]));
            serde_json::to_value(LogoutToken::new(&issuer, notice, at(1_000), jti)).unwrap()
        };
        let with_session = json!({
            "iss": "https://idp.tail.test", "sub": "userid:1001", "aud": "cli", "iat": 1000, "exp": 1120,
            "jti": "AQEBAQEBAQEBAQEBAQEBAQ", "sid": "BwcHBwcHBwcHBwcHBwcHBw",
            "events": { "http://schemas.openid.net/event/backchannel-logout": {} }
        });
        assert_eq!(claims(&notice(Some(7))), with_session);
        let without = claims(&notice(None));
        assert!(without.get("sid").is_none() && without["sub"] == "userid:1001");
    }

    #[test]
    fn sessions_are_told_apart_and_causes_are_not() {
        assert_ne!(notice(None).key(), notice(Some(1)).key());
        assert_ne!(notice(Some(2)).key(), notice(Some(1)).key());
        let other = Notice { cause: Cause::GrantEnded, ..notice(Some(1)) };
        assert_eq!(other.key(), notice(Some(1)).key());
    }

    #[test]
    fn a_client_that_needs_a_session_is_not_told_without_one() {
        let strict = Target { session_required: true, ..target() };
        assert!(notice(None).fits(&target()) && notice(Some(1)).fits(&strict));
        assert!(!notice(None).fits(&strict));
    }

    #[test]
    fn answers_and_what_they_mean() {
        assert_eq!([200, 204].map(Verdict::of), [Verdict::Done; 2]);
        assert_eq!(Verdict::of(400), Verdict::Refused);
        for status in [100, 201, 202, 301, 302, 307, 401, 403, 404, 405, 429, 500, 502, 503, 504] {
            assert_eq!(Verdict::of(status), Verdict::Again, "{status}");
        }
    }

    #[test]
    fn attempts_become_rare_and_end_after_a_day() {
        let mut now = at(1_000);
        let mut pauses = Vec::new();
        for attempts in 1.. {
            let Some(next) = next_attempt(at(1_000), attempts, now) else { break };
            pauses.push(now.until(next).as_secs());
            now = next;
        }
        assert_eq!(pauses[..6], [5, 30, 120, 600, 3_600, 3_600]);
        assert_eq!((pauses.len(), now <= at(1_000 + 86_400)), (4 + 23, true));
        assert_eq!(next_attempt(at(1_000), 1, at(1_000 + 86_400)), None);
        assert!(next_attempt(at(1_000), u32::MAX, at(1_001)).is_some());
    }
}
