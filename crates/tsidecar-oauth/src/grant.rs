//! Grants: who granted what to whom, from where. Immutable facts and four mutable fields.
//!
//! Layer 1. One grant is one chain of refresh tokens, and also the used mark of the code that made it. The mutable
//! fields change only in [`settle`](crate::settle).

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::acr::Acr;
use crate::client::AuthMethod;
use crate::consent::Consent;
use crate::id::{ClientId, DeviceId, GrantId, Listener, SessionId, Subject, Thumbprint};
use crate::identity::Identity;
use crate::requested::RequestedClaims;
use crate::scope::Scope;
use crate::time::{Lifetime, UnixTime};
use crate::uri::ResourceIndicator;
use crate::workload::{Workload, Workloads};

/// Where a grant was redeemed: a public client's refresh token works from there only (RFC 9700 §4.14).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// An application on a device of the tailnet.
    Device(DeviceId),
    /// A web page in a browser on a device of the tailnet: a page is not the person, so it is a place of its own.
    Page(DeviceId),
    /// Through Funnel, or an address that whois does not know: anywhere outside.
    Outside,
}

/// Whose a grant is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A person, whom whois must still name on the device at every use.
    Person(Seen),
    /// A tagged node that asked for itself: whois must still name it, with the tag that is the subject.
    Workload(Seen),
    /// The client itself, by credentials of its own (RFC 6749 §4.4). The tailnet has no say.
    Client,
}

/// Where somebody was seen, for asking again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The device.
    pub device: DeviceId,
    /// An address of that device; whois is asked for it at every use.
    pub address: IpAddr,
    /// The listener of the authorization: every later whois uses its destination.
    pub listener: Listener,
}

/// Whom the tailnet sees where the holder of a grant was seen.
#[derive(Clone, Copy, Debug)]
pub enum Present<'a> {
    /// Somebody who may sign in.
    Person(&'a Identity),
    /// A tagged node.
    Workload(&'a Workload),
}

/// The origin of a grant that came out of a token exchange (RFC 8693): it dies with the grant of its subject token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The grant of the subject token.
    pub parent: GrantId,
    /// Who acts for the subject, the one of now first (RFC 8693 §4.1, `act`); empty for an impersonation.
    pub actors: Vec<Actor>,
}

/// Somebody who acts for the subject of a token (RFC 8693 §4.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// `sub` of the actor.
    pub subject: Subject,
    /// `client_id` of the actor.
    pub client: ClientId,
}

/// Counts the refresh tokens of a grant: the first has generation 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(u32);

impl Generation {
    /// The generation with this number.
    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }

    /// The number of the generation.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The generation that follows.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// The facts of a grant, which never change after redemption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantFacts {
    /// The client to which it was granted.
    pub client: ClientId,
    /// Who it speaks for: the person (or tagged identity) who granted it, or the client or workload itself.
    pub subject: Subject,
    /// Whose grant it is, and where the tailnet must still see them.
    pub holder: Holder,
    /// Whether it rests on the consent of the person: the client was a stranger, and what was withdrawn ends it.
    pub consented: bool,
    /// What it was exchanged for (RFC 8693); `None` for every other grant.
    pub exchange: Option<Exchange>,
    /// The granted scope.
    pub scope: Scope,
    /// The granted resources, as registered.
    pub resources: Vec<ResourceIndicator>,
    /// When the person was authenticated (OpenID Connect Core §2, `auth_time`); of others see [`Self::authentication`].
    pub auth_time: UnixTime,
    /// How the person was authenticated.
    pub acr: Acr,
    /// The session of the browser, if the client has one (`sid`).
    pub session: Option<SessionId>,
    /// Claims that the request named.
    pub requested: RequestedClaims,
    /// The key to which a public client's refresh tokens are bound (RFC 9449 §5).
    pub key: Option<Thumbprint>,
    /// When the code was issued.
    pub issued_at: UnixTime,
    /// How the redemption was authenticated; nothing weaker is accepted later.
    pub method: AuthMethod,
    /// Where a public client redeemed; `None` for a confidential client.
    pub place: Option<Place>,
    /// The end of the grant, however often it is refreshed. Without refresh token: the end of its access token, or of the
    /// session of whose end the client is told.
    pub expires_at: UnixTime,
    /// How long the current refresh token may lie unused; `None` when no refresh token was issued.
    pub idle: Option<Lifetime>,
}

/// A grant: its facts and its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    id: GrantId,
    facts: GrantFacts,
    state: GrantState,
}

/// The mutable fields of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantState {
    /// The generation of the refresh token that is valid now.
    pub generation: Generation,
    /// When the current generation replaced the one before.
    pub rotated_at: UnixTime,
    /// The last redemption or rotation.
    pub last_used: UnixTime,
    /// When the grant was revoked, if it was.
    pub revoked_at: Option<UnixTime>,
}

impl GrantFacts {
    /// Where the holder was seen; `None` when the tailnet has no say.
    pub const fn seen(&self) -> Option<&Seen> {
        match &self.holder {
            Holder::Person(seen) | Holder::Workload(seen) => Some(seen),
            Holder::Client => None,
        }
    }

    /// The device of the holder, for logs and lists.
    pub fn device(&self) -> Option<&DeviceId> {
        self.seen().map(|seen| &seen.device)
    }

    /// Tells whether it is a person's (or a tagged identity's that signs in as one).
    pub const fn is_of_a_person(&self) -> bool {
        matches!(self.holder, Holder::Person(_))
    }

    /// Tells whether it lives as long as its one access token and came out of no code: what a client or workload got for itself, and
    /// what a token exchange gave. There may be very many of them.
    pub const fn is_brief(&self) -> bool {
        !self.is_of_a_person() || self.exchange.is_some()
    }

    /// When and how the person was authenticated; `None` when nobody was there (RFC 9068 §2.2.1).
    pub const fn authentication(&self) -> Option<(UnixTime, Acr)> {
        match self.holder {
            Holder::Person(_) => Some((self.auth_time, self.acr)),
            Holder::Workload(_) | Holder::Client => None,
        }
    }

    /// Tells whether the consent that the grant rests on still carries it; a grant that rests on none needs none.
    pub fn is_carried_by(&self, consent: Option<&Consent>) -> bool {
        !self.consented || consent.is_some_and(|consent| consent.holds_for(self.issued_at))
    }

    /// Tells whether it rests on no consent of the person, but on what the client was worth then: an approval, most often.
    pub const fn rests_on_no_consent(&self) -> bool {
        self.is_of_a_person() && !self.consented
    }

    /// Tells whether taking an approval of its client back at this moment (1970: never) leaves it alone: a consent carries it, or it
    /// was issued later.
    pub fn survives_disapproval(&self, at: UnixTime) -> bool {
        !self.rests_on_no_consent() || self.issued_at > at || at == UnixTime::default()
    }

    /// Tells whether it is the grant of a person, and this is that person on that device still.
    pub fn is_of(&self, identity: &Identity) -> bool {
        match &self.holder {
            Holder::Person(seen) => identity.subject == self.subject && identity.device.id == seen.device,
            Holder::Workload(_) | Holder::Client => false,
        }
    }
}

impl GrantFacts {
    /// Tells whether the holder is still there: the same person on the same device, the same node with the tag that is the
    /// subject and by its rule; a client for itself always is, so far as the tailnet is concerned.
    pub fn is_held(&self, present: Option<Present<'_>>, workloads: &Workloads) -> bool {
        match (&self.holder, present) {
            (Holder::Client, _) => true,
            (Holder::Person(_), Some(Present::Person(identity))) => self.is_of(identity),
            (Holder::Workload(seen), Some(Present::Workload(node))) => {
                let rule = workloads.get(self.subject.as_str()).and_then(|client| client.workload());
                node.device.id == seen.device && rule.is_some_and(|rule| rule.admits(node))
            }
            _ => false,
        }
    }
}

impl Grant {
    /// A new grant at the moment of its redemption.
    pub const fn new(id: GrantId, facts: GrantFacts, now: UnixTime) -> Self {
        let state =
            GrantState { generation: Generation(0), rotated_at: now, last_used: now, revoked_at: None };
        Self { id, facts, state }
    }

    /// A grant as a store keeps it. For stores only: everything else goes through [`settle`](crate::settle).
    pub const fn from_stored(id: GrantId, facts: GrantFacts, state: GrantState) -> Self {
        Self { id, facts, state }
    }

    /// The id, which is also the key in the store.
    pub const fn id(&self) -> GrantId {
        self.id
    }

    /// What never changes.
    pub const fn facts(&self) -> &GrantFacts {
        &self.facts
    }

    /// What changes.
    pub const fn state(&self) -> GrantState {
        self.state
    }

    /// Tells whether the grant was revoked.
    pub const fn is_revoked(&self) -> bool {
        self.state.revoked_at.is_some()
    }

    /// When the grant ends if nothing happens to it: the absolute end, or the end of the idle time if that is sooner.
    pub fn ends_at(&self) -> UnixTime {
        match self.facts.idle {
            Some(idle) => self.facts.expires_at.min(self.state.last_used.after(idle)),
            None => self.facts.expires_at,
        }
    }

    /// The moment after which nothing refers to the grant any more and the sweep may delete it.
    ///
    /// A live grant: an hour after its end. A revoked one stays as a tombstone until its last access token (at most a
    /// day) and its code have expired, plus an hour; marks outlive codes, so a swept grant's code is long dead. Of a brief one
    /// nothing is left an hour after its end, which is that of its token.
    pub fn forget_at(&self) -> UnixTime {
        const HOUR: Lifetime = Lifetime::from_minutes(60);
        if self.facts.is_brief() {
            return self.facts.expires_at.after(HOUR);
        }
        match self.state.revoked_at {
            Some(at) => at.after(Lifetime::from_days(1)).after(HOUR),
            None => {
                self.ends_at().after(HOUR).max(self.state.last_used.after(Lifetime::from_days(1)).after(HOUR))
            }
        }
    }

    pub(crate) fn with_state(&self, change: impl FnOnce(&mut GrantState)) -> Self {
        let mut next = self.clone();
        change(&mut next.state);
        next
    }
}
