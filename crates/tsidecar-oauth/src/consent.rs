//! What a person has allowed a stranger: remembered per client, host to return to, resources and scopes (design section 6).
//!
//! Layer 1. One record per person and client. It holds for the metadata that the person saw: any change asks again. What was
//! withdrawn ends everything that was issued on it before.

use serde::{Deserialize, Serialize};

use crate::assurance::MetadataDigest;
use crate::device::FormError;
use crate::id::{ClientId, DeviceId, Subject};
use crate::identity::Identity;
use crate::scope::Scope;
use crate::time::{Lifetime, UnixTime};
use crate::uri::{RedirectUri, ResourceIndicator, is_web, redirect_host};

/// Where people see what they have allowed, and take it back.
pub const CONSENTS: &str = "/consents";

/// How long a consent is remembered that is not used, and a withdrawal at all: longer than any grant lives.
pub const KEPT: Lifetime = Lifetime::from_days(400);

/// Things that one person allows one client; of more the oldest is forgotten, and asked for again.
pub const MOST: usize = 16;

/// Bytes of text in what one person allows one client, beyond which the oldest is forgotten, too: a record has its limit.
const MOST_TEXT: usize = 4_096;

/// How old the last use must be before another one is written down: once a day is enough for [`KEPT`].
const NOTED_EVERY: Lifetime = Lifetime::from_days(1);

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
    /// The device to which that is bound, where it leads to a program: on another one another program answers.
    pub device: Option<DeviceId>,
    /// The resources, in order.
    pub resources: Vec<ResourceIndicator>,
    /// The scopes.
    pub scope: Scope,
    /// When.
    pub at: UnixTime,
}

/// What a stranger asks of a person. The page says it in words, and its form carries it, so that the answer is to what was shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// What the client is like.
    pub digest: MetadataDigest,
    /// The host to return to.
    pub redirect_host: String,
    /// The device of the program to return to, if it is one.
    pub device: Option<DeviceId>,
    /// The resources, sorted, each once.
    pub resources: Vec<ResourceIndicator>,
    /// The scopes.
    pub scope: Scope,
}

impl Wish {
    /// What a request asks that returns to a host of the web. The order of resources says nothing.
    pub fn new(
        digest: MetadataDigest,
        redirect_host: &str,
        resources: &[ResourceIndicator],
        scope: &Scope,
    ) -> Self {
        let mut resources = resources.to_vec();
        resources.sort();
        resources.dedup();
        let (redirect_host, scope) = (redirect_host.to_owned(), scope.clone());
        Self { digest, redirect_host, device: None, resources, scope }
    }

    /// What a request asks that returns to this redirect URI, from this device. A loopback address or a scheme of an application
    /// leads to a program on the device of the browser: it is allowed there, not elsewhere.
    pub fn of_redirect(
        digest: MetadataDigest,
        redirect_uri: &str,
        device: &DeviceId,
        resources: &[ResourceIndicator],
        scope: &Scope,
    ) -> Self {
        let device = leads_to_program(redirect_uri).then(|| device.clone());
        Self { device, ..Self::new(digest, &redirect_host(redirect_uri), resources, scope) }
    }

    /// What a device asks that has no browser and returns nowhere ([`DEVICE_CODE`]).
    pub fn of_device(digest: MetadataDigest, resources: &[ResourceIndicator], scope: &Scope) -> Self {
        Self::new(digest, DEVICE_CODE, resources, scope)
    }
}

/// What stands for the host in what was allowed by the code of a device (RFC 8628): no redirect leads there, so it covers no
/// authorization with one.
pub const DEVICE_CODE: &str = "device code";

/// Tells whether a redirect URI leads to a program on the device of the browser rather than into the web.
pub fn leads_to_program(redirect_uri: &str) -> bool {
    RedirectUri::is_loopback(redirect_uri) || !is_web(redirect_uri)
}

impl Consent {
    /// Tells whether all that is asked was allowed before, of a client that was like this.
    pub fn covers(&self, wish: &Wish) -> bool {
        let covered = |allowed: &Allowed| {
            allowed.leads_where(wish)
                && wish.resources.iter().all(|resource| allowed.resources.contains(resource))
                && (!wish.resources.is_empty() || allowed.resources.is_empty())
                && wish.scope.is_subset_of(&allowed.scope)
        };
        self.digest == wish.digest && self.allowed.iter().any(covered)
    }

    /// Tells whether anything was allowed before of a client like this that returns there: the person knows it.
    pub fn knows(&self, wish: &Wish) -> bool {
        self.digest == wish.digest && self.allowed.iter().any(|allowed| allowed.leads_where(wish))
    }

    /// Tells whether what was issued then still rests on this.
    pub fn holds_for(&self, issued_at: UnixTime) -> bool {
        !self.allowed.is_empty() && issued_at > self.not_before
    }

    /// Tells whether it was withdrawn since a page was shown. Times are seconds, so one that was shown in the second of the withdrawal
    /// counts as shown before it: whoever is in doubt is asked again.
    pub fn withdrawn_since(&self, shown_at: UnixTime) -> bool {
        self.not_before >= shown_at
    }

    /// When nobody needs the record any more.
    pub fn kept_until(&self) -> UnixTime {
        self.used_at.max(self.not_before).after(KEPT)
    }
}

impl Allowed {
    fn leads_where(&self, wish: &Wish) -> bool {
        self.redirect_host == wish.redirect_host && self.device == wish.device
    }

    fn text(&self) -> usize {
        let resources = self.resources.iter().map(|uri| uri.as_str().len());
        self.redirect_host.len() + self.scope.to_string().len() + resources.sum::<usize>()
    }
}

/// What became of the answer of a person who allows something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remembered {
    /// It is remembered.
    Now,
    /// The client's consent was withdrawn since the page was shown: the answer gives nothing.
    Withdrawn,
}

/// Adds what a person has just allowed on a page of `shown_at`; `None` when the consent was withdrawn since, which no older page
/// brings back. Of a client that has changed, what was allowed before is forgotten.
pub fn remember(
    stored: Option<&Consent>,
    subject: &Subject,
    client: &ClientId,
    wish: &Wish,
    shown_at: UnixTime,
    now: UnixTime,
) -> Option<Consent> {
    if stored.is_some_and(|consent| consent.withdrawn_since(shown_at)) {
        return None;
    }
    let same = |consent: &&Consent| consent.digest == wish.digest;
    let mut allowed = stored.filter(same).map_or(Vec::new(), |consent| consent.allowed.clone());
    let replaces = |old: &Allowed| {
        old.leads_where(wish) && old.resources == wish.resources && old.scope.is_subset_of(&wish.scope)
    };
    allowed.retain(|old| !replaces(old));
    allowed.push(Allowed {
        redirect_host: wish.redirect_host.clone(),
        device: wish.device.clone(),
        resources: wish.resources.clone(),
        scope: wish.scope.clone(),
        at: now,
    });
    while allowed.len() > MOST
        || (allowed.len() > 1 && allowed.iter().map(Allowed::text).sum::<usize>() > MOST_TEXT)
    {
        allowed.remove(0);
    }
    let not_before = stored.map_or(UnixTime::default(), |consent| consent.not_before);
    let (subject, client) = (subject.clone(), client.clone());
    Some(Consent { subject, client, digest: wish.digest, allowed, not_before, used_at: now })
}

/// Takes note that a consent was used, which keeps it; `None` when there is none, or that is written down already.
pub fn used(stored: Option<&Consent>, now: UnixTime) -> Option<Consent> {
    let consent = stored.filter(|consent| !consent.allowed.is_empty())?;
    let is_due = consent.used_at.after(NOTED_EVERY).is_past(now);
    is_due.then(|| Consent { used_at: now, ..consent.clone() })
}

/// Takes everything back; `None` when there is nothing.
pub fn withdraw(stored: Option<&Consent>, now: UnixTime) -> Option<Consent> {
    let consent = stored.filter(|consent| !consent.allowed.is_empty())?;
    Some(Consent { allowed: Vec::new(), not_before: now.max(consent.not_before), ..consent.clone() })
}

/// The form by which a person takes back what they have allowed a client: sealed to them, their device and the client.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithdrawalForm {
    subject: Subject,
    device: DeviceId,
    client: ClientId,
    expires_at: UnixTime,
}

impl WithdrawalForm {
    /// The form for a person who is shown what they have allowed a client.
    pub fn new(identity: &Identity, client: &ClientId, now: UnixTime) -> Self {
        Self {
            subject: identity.subject.clone(),
            device: identity.device.id.clone(),
            client: client.clone(),
            expires_at: now.after(FORM_LIFETIME),
        }
    }

    /// The client, if the form was shown to this person, on this device, and not too long ago.
    ///
    /// # Errors
    /// [`FormError::Expired`], [`FormError::Foreign`].
    pub fn check(self, identity: &Identity, now: UnixTime) -> Result<ClientId, FormError> {
        if self.subject != identity.subject || self.device != identity.device.id {
            return Err(FormError::Foreign);
        }
        if self.expires_at.is_past(now) { Err(FormError::Expired) } else { Ok(self.client) }
    }
}

/// How long the page of what a person has allowed may be answered.
const FORM_LIFETIME: Lifetime = Lifetime::from_minutes(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::alice;
    use crate::settle::tests::at;

    fn wish(host: &str, resource: &str, scope: &str) -> Wish {
        let resources: Vec<_> =
            resource.split_whitespace().map(|uri| ResourceIndicator::parse(uri).unwrap()).collect();
        Wish::new(MetadataDigest::from_bytes([1; 32]), host, &resources, &Scope::parse(scope))
    }

    fn give(stored: Option<&Consent>, wish: &Wish, now: u64) -> Consent {
        answer(stored, wish, now, now).unwrap()
    }

    fn answer(stored: Option<&Consent>, wish: &Wish, shown_at: u64, now: u64) -> Option<Consent> {
        let (alice, app) = (Subject::user(1), ClientId::parse("app").unwrap());
        remember(stored, &alice, &app, wish, at(shown_at), at(now))
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

    /// Reference 4.2: what answers on a loopback address, or to a scheme, differs from device to device.
    #[test]
    fn a_program_is_allowed_on_its_device() {
        let wish = |uri: &str, device: &str| {
            let device = DeviceId::parse(device).unwrap();
            Wish::of_redirect(MetadataDigest::from_bytes([1; 32]), uri, &device, &[], &Scope::parse("openid"))
        };
        for (uri, is_bound) in [
            ("http://127.0.0.1:50123/cb", true),
            ("http://localhost/cb", true),
            ("com.example.app:/cb", true),
            ("https://app.test/cb", false),
            ("https://localhost.app.test/cb", false),
        ] {
            let consent = give(None, &wish(uri, "nLAPTOP"), 1_000);
            assert!(consent.covers(&wish(uri, "nLAPTOP")) && consent.knows(&wish(uri, "nLAPTOP")));
            assert_eq!(consent.covers(&wish(uri, "nPHONE")), !is_bound, "{uri}");
            assert_eq!(consent.knows(&wish(uri, "nPHONE")), !is_bound, "{uri}");
        }
        let digest = MetadataDigest::from_bytes([1; 32]);
        let device = give(None, &Wish::of_device(digest, &[], &Scope::parse("openid")), 1_000);
        assert!(device.holds_for(at(1_000)) && !device.knows(&wish("https://app.test/cb", "nLAPTOP")));
    }

    #[test]
    fn what_is_used_is_kept_and_noted_once_a_day() {
        let consent = give(None, &wish("app.test", "", "openid"), 1_000);
        assert_eq!((used(None, at(1_000)), used(Some(&consent), at(86_400))), (None, None));
        let later = used(Some(&consent), at(90_000)).unwrap();
        assert_eq!((later.used_at, &later.allowed), (at(90_000), &consent.allowed));
        assert!(later.kept_until() > consent.kept_until());
        let gone = withdraw(Some(&consent), at(2_000)).unwrap();
        assert_eq!(used(Some(&gone), at(900_000)), None);
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

    /// A42: a page that was open when they withdrew, also in the same second.
    #[test]
    fn a_page_of_before_the_withdrawal_gives_nothing_back() {
        let wish = wish("app.test", "", "openid");
        let consent = give(None, &wish, 1_000);
        assert!(answer(Some(&consent), &wish, 1, 1_500).is_some(), "nothing was withdrawn");
        let gone = withdraw(Some(&consent), at(2_000)).unwrap();
        for shown_at in [1_999, 2_000] {
            assert!(gone.withdrawn_since(at(shown_at)));
            assert_eq!(answer(Some(&gone), &wish, shown_at, 2_001), None, "{shown_at}");
        }
        assert!(!gone.withdrawn_since(at(2_001)));
        assert!(answer(Some(&gone), &wish, 2_001, 2_001).unwrap().holds_for(at(2_001)));
    }

    #[test]
    fn a_withdrawal_is_of_one_person_on_one_device() {
        let client = ClientId::parse("app").unwrap();
        let form = || WithdrawalForm::new(&alice(), &client, at(1_000));
        assert_eq!(form().check(&alice(), at(4_599)), Ok(client.clone()));
        assert_eq!(form().check(&alice(), at(4_600)), Err(FormError::Expired));
        let bob = Identity { subject: Subject::user(2), ..alice() };
        assert_eq!(form().check(&bob, at(1_001)), Err(FormError::Foreign));
        let mut elsewhere = alice();
        elsewhere.device.id = DeviceId::parse("nPHONE").unwrap();
        assert_eq!(form().check(&elsewhere, at(1_001)), Err(FormError::Foreign));
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
        let long = format!("https://mcp.test/{}", "x".repeat(400));
        let longer: Vec<_> = (0..8).map(|number| format!("{long}{number}")).collect();
        let large = give(Some(&consent), &wish("40.test", &longer.join(" "), "openid"), 1_900);
        assert!(
            large.allowed.iter().map(Allowed::text).sum::<usize>() <= MOST_TEXT && large.allowed.len() > 1
        );
        let wider = give(Some(&consent), &wish("39.test", "", "openid email"), 2_000);
        assert_eq!(wider.allowed.len(), MOST, "the narrower one is replaced");
    }
}
