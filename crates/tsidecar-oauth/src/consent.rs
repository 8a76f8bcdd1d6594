//! What a person has allowed a stranger: remembered per client, host to return to, resources and scopes (design section 6).
//!
//! Layer 1. One record per person and client. It holds for the metadata that the person saw: any change asks again. What was
//! withdrawn ends everything that was issued on it before.

use crate::assurance::MetadataDigest;
use crate::id::{ClientId, Subject};
use crate::scope::Scope;
use crate::time::{Lifetime, UnixTime};
use crate::uri::ResourceIndicator;

/// How long a consent is remembered that is not used, and a withdrawal at all: longer than any grant lives.
pub const KEPT: Lifetime = Lifetime::from_days(400);

/// Things that one person allows one client; of more the oldest is forgotten, and asked for again.
pub const MOST: usize = 16;

/// What one person has allowed one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    /// The person.
    pub subject: Subject,
    /// The client.
    pub client: ClientId,
    /// What the client was like; of another one nothing here speaks.
    pub digest: MetadataDigest,
    /// What was allowed, oldest first.
    pub allowed: Vec<Allowed>,
    /// When it was withdrawn last: everything issued until then is void.
    pub not_before: UnixTime,
    /// When it was given or used last.
    pub used_at: UnixTime,
}

/// One thing that was allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// The host to return to, as the page named it: `app.test`, `127.0.0.1`, or the scheme of an application.
    pub redirect_host: String,
    /// The resources, in order.
    pub resources: Vec<ResourceIndicator>,
    /// The scopes.
    pub scope: Scope,
    /// When.
    pub at: UnixTime,
}

/// What a stranger asks of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// What the client is like.
    pub digest: MetadataDigest,
    /// The host to return to.
    pub redirect_host: String,
    /// The resources, sorted, each once.
    pub resources: Vec<ResourceIndicator>,
    /// The scopes.
    pub scope: Scope,
}

impl Wish {
    /// What a request asks. The order of resources says nothing.
    pub fn new(
        digest: MetadataDigest,
        redirect_host: &str,
        resources: &[ResourceIndicator],
        scope: &Scope,
    ) -> Self {
        let mut resources = resources.to_vec();
        resources.sort();
        resources.dedup();
        Self { digest, redirect_host: redirect_host.to_owned(), resources, scope: scope.clone() }
    }
}

impl Consent {
    /// Tells whether all that is asked was allowed before, of a client that was like this.
    pub fn covers(&self, wish: &Wish) -> bool {
        let covered = |allowed: &Allowed| {
            allowed.redirect_host == wish.redirect_host
                && wish.resources.iter().all(|resource| allowed.resources.contains(resource))
                && (!wish.resources.is_empty() || allowed.resources.is_empty())
                && wish.scope.is_subset_of(&allowed.scope)
        };
        self.digest == wish.digest && self.allowed.iter().any(covered)
    }

    /// Tells whether what was issued then still rests on this.
    pub fn holds_for(&self, issued_at: UnixTime) -> bool {
        !self.allowed.is_empty() && issued_at > self.not_before
    }

    /// When nobody needs the record any more.
    pub fn kept_until(&self) -> UnixTime {
        self.used_at.max(self.not_before).after(KEPT)
    }
}

/// Adds what a person has just allowed. Of a client that has changed, what was allowed before is forgotten.
pub fn remember(
    stored: Option<&Consent>,
    subject: &Subject,
    client: &ClientId,
    wish: &Wish,
    now: UnixTime,
) -> Consent {
    let same = |consent: &&Consent| consent.digest == wish.digest;
    let mut allowed = stored.filter(same).map_or(Vec::new(), |consent| consent.allowed.clone());
    let replaces = |old: &Allowed| {
        old.redirect_host == wish.redirect_host
            && old.resources == wish.resources
            && old.scope.is_subset_of(&wish.scope)
    };
    allowed.retain(|old| !replaces(old));
    if allowed.len() >= MOST {
        allowed.remove(0);
    }
    allowed.push(Allowed {
        redirect_host: wish.redirect_host.clone(),
        resources: wish.resources.clone(),
        scope: wish.scope.clone(),
        at: now,
    });
    let not_before = stored.map_or(UnixTime::default(), |consent| consent.not_before);
    let (subject, client) = (subject.clone(), client.clone());
    Consent { subject, client, digest: wish.digest, allowed, not_before, used_at: now }
}

/// Takes everything back; `None` when there is nothing.
pub fn withdraw(stored: Option<&Consent>, now: UnixTime) -> Option<Consent> {
    let consent = stored.filter(|consent| !consent.allowed.is_empty())?;
    Some(Consent { allowed: Vec::new(), not_before: now.max(consent.not_before), ..consent.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settle::tests::at;

    fn wish(host: &str, resource: &str, scope: &str) -> Wish {
        let resources: Vec<_> =
            resource.split_whitespace().map(|uri| ResourceIndicator::parse(uri).unwrap()).collect();
        Wish::new(MetadataDigest::from_bytes([1; 32]), host, &resources, &Scope::parse(scope))
    }

    fn give(stored: Option<&Consent>, wish: &Wish, now: u64) -> Consent {
        remember(stored, &Subject::user(1), &ClientId::parse("app").unwrap(), wish, at(now))
    }

    #[test]
    fn what_was_allowed_is_not_asked_again() {
        let consent = give(None, &wish("app.test", "https://b.test https://a.test", "read write"), 1_000);
        assert!(consent.covers(&wish("app.test", "https://a.test https://b.test", "read write")));
        assert!(consent.covers(&wish("app.test", "https://a.test", "read")));
        for (host, resource, scope) in [
            ("evil.test", "https://a.test", "read"),
            ("app.test", "https://c.test", "read"),
            ("app.test", "", "read"),
            ("app.test", "https://a.test", "read admin"),
        ] {
            assert!(!consent.covers(&wish(host, resource, scope)), "{host} {resource} {scope}");
        }
        let changed = Wish {
            digest: MetadataDigest::from_bytes([2; 32]),
            ..wish("app.test", "https://a.test", "read")
        };
        assert!(!consent.covers(&changed));
        let anew = give(Some(&consent), &changed, 1_001);
        assert_eq!(anew.allowed.len(), 1, "what another client was allowed is gone");
    }

    #[test]
    fn what_is_withdrawn_is_void_and_may_be_given_again() {
        let consent = give(None, &wish("app.test", "", "openid"), 1_000);
        assert!(consent.holds_for(at(1_001)));
        let gone = withdraw(Some(&consent), at(2_000)).unwrap();
        assert!(!gone.covers(&wish("app.test", "", "openid")));
        assert!(!gone.holds_for(at(1_001)) && !gone.holds_for(at(2_001)));
        assert_eq!(withdraw(Some(&gone), at(2_001)), None);
        let again = give(Some(&gone), &wish("app.test", "", "openid"), 3_000);
        assert!(again.holds_for(at(3_001)) && !again.holds_for(at(2_000)));
    }

    #[test]
    fn the_record_stays_small() {
        let mut consent = None;
        for number in 0..40 {
            consent =
                Some(give(consent.as_ref(), &wish(&format!("{number}.test"), "", "openid"), 1_000 + number));
        }
        let consent = consent.unwrap();
        assert_eq!(consent.allowed.len(), MOST);
        assert!(
            consent.covers(&wish("39.test", "", "openid")) && !consent.covers(&wish("0.test", "", "openid"))
        );
        let wider = give(Some(&consent), &wish("39.test", "", "openid email"), 2_000);
        assert_eq!(wider.allowed.len(), MOST, "the narrower one is replaced");
    }
}
