//! The device authorization grant (RFC 8628): a device without a browser starts it, a person answers it elsewhere.
//!
//! Layer 2. One record per authorization, found by its user code; the device code stands in it as a digest. What a person says,
//! and what a device is told, is settled here on the current record, as [`settle`](crate::settle) does for grants. **The
//! grant's own record is the used mark**: an approval fixes the grant's id, so that a second redemption finds the grant and
//! revokes it, exactly as with a code.
//!
//! The known attack is somebody who starts an authorization and sends its link to a person (RFC 8628 §5.4). Whois knows whose
//! device began it, so [`Relation`] tells the person, and clients that nobody vouches for are stopped by [`may_approve`].

mod code;
mod form;
mod pace;

use std::net::IpAddr;

use crate::authorize::{RedirectReason, Wanted};
use crate::client::{Client, GrantType};
use crate::error::ErrorCode;
use crate::fresh::FreshId;
use crate::grant::Place;
use crate::id::{ClientId, DeviceId, GrantId, Listener, Subject};
use crate::identity::{Identity, IdentityKind};
use crate::params::Params;
use crate::resource::Resources;
use crate::scope::Scope;
use crate::time::{Lifetime, UnixTime};
use crate::uri::ResourceIndicator;

pub use self::code::{DeviceCodeDigest, UserCode};
pub use self::form::{AnswerForm, FormError};
pub use self::pace::{INTERVAL, Pace, Timing};

/// How long a person has to answer (RFC 8628 §3.2, `expires_in`): time to walk to another device, too short to sell a link.
pub const LIFETIME: Lifetime = Lifetime::from_minutes(10);

/// How long a record outlives its authorization, so that a late device is told `expired_token`.
const REMEMBERED: Lifetime = Lifetime::from_minutes(60);

/// The longest name of a device or person that is kept, in characters.
const LONGEST_NAME: usize = 100;

/// What a device asked for; never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRequest {
    /// The client.
    pub client: ClientId,
    /// The scope that an approval grants.
    pub scope: Scope,
    /// The resources, as registered.
    pub resources: Vec<ResourceIndicator>,
    /// What is remembered of the device code.
    pub code: DeviceCodeDigest,
    /// The device that asked, where whois knows it.
    pub requester: Option<Requester>,
    /// Where a public client asked; it must poll from there.
    pub place: Option<Place>,
    /// When it asked.
    pub started_at: UnixTime,
    /// When nobody can answer any more, and nothing is given out.
    pub expires_at: UnixTime,
}

/// The device that asked, as whois knew it then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requester {
    /// The device.
    pub device: DeviceId,
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub owner: Owner,
}

/// Whose a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A person's.
    Person {
        /// Who.
        subject: Subject,
        /// The login name, or the display name where there is none.
        name: String,
    },
    /// Nobody's: a tagged node.
    Tagged,
}

impl Requester {
    /// What is kept of a person's device, or of a tagged one that a rule lets sign in.
    pub fn of_person(identity: &Identity) -> Self {
        let owner = match identity.kind {
            IdentityKind::User | IdentityKind::External => {
                let name = if identity.login.is_empty() { &identity.display_name } else { &identity.login };
                Owner::Person { subject: identity.subject.clone(), name: short(name) }
            }
            IdentityKind::Tagged(_) => Owner::Tagged,
        };
        Self { device: identity.device.id.clone(), name: short(&identity.device.name), owner }
    }

    /// What is kept of a tagged node.
    pub fn tagged(device: &crate::identity::Device) -> Self {
        Self { device: device.id.clone(), name: short(&device.name), owner: Owner::Tagged }
    }
}

/// A name as it is kept and shown: no control characters, bounded.
fn short(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect()
}

/// Why a device authorization is not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// The client does not list the grant type.
    #[error("this client may not use the device authorization grant")]
    NotAllowed,
    /// Scope or resource, as at the authorization endpoint.
    #[error("{0}")]
    Request(RedirectReason),
}

impl DeviceError {
    /// The code sent to the client (RFC 8628 §3.2 refers to RFC 6749 §5.2; RFC 8707 §2).
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::NotAllowed => ErrorCode::UnauthorizedClient,
            Self::Request(reason) => reason.code(),
        }
    }
}

/// What a client may begin: its scope and resources, judged as at the authorization endpoint.
#[derive(Clone, Debug)]
pub struct DeviceScope {
    scope: Scope,
    resources: Vec<ResourceIndicator>,
}

impl DeviceScope {
    /// Judges the parameters of a device authorization request (RFC 8628 §3.1, RFC 8707 §2). Nobody knows yet who will approve it,
    /// so the resources are those of the registry: rules admit resources for a person.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn validate(params: &Params, client: &Client, resources: &Resources) -> Result<Self, DeviceError> {
        if !client.may_use(GrantType::DeviceCode) {
            return Err(DeviceError::NotAllowed);
        }
        let wanted = Wanted::read(params, client, resources).and_then(Wanted::listed);
        let wanted = wanted.map_err(DeviceError::Request)?;
        let resources = wanted.resources().map(|resource| resource.uri().clone()).collect();
        Ok(Self { scope: wanted.scope().clone(), resources })
    }

    /// The authorization that waits for a person from now on.
    pub fn begin(
        self,
        client: &Client,
        code: DeviceCodeDigest,
        requester: Option<Requester>,
        place: Place,
        now: UnixTime,
    ) -> DeviceAuthorization {
        let request = DeviceRequest {
            client: client.id().clone(),
            scope: self.scope,
            resources: self.resources,
            code,
            requester,
            place: client.is_public().then_some(place),
            started_at: now,
            expires_at: now.after(LIFETIME),
        };
        DeviceAuthorization { request, answer: None }
    }
}

/// One authorization: what was asked, and what a person said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceAuthorization {
    /// What was asked.
    pub request: DeviceRequest,
    /// What a person said; `None` while nobody has.
    pub answer: Option<DeviceAnswer>,
}

/// What a person said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceAnswer {
    /// No; or the device code was shown by another client, so that somebody has it who should not.
    Denied,
    /// Yes.
    Approved(Approval),
}

/// Who said yes, where and when: what a code holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// The grant that redemption makes.
    pub grant: GrantId,
    /// The person.
    pub subject: Subject,
    /// The device on which the person said it.
    pub device: DeviceId,
    /// An address of that device.
    pub address: IpAddr,
    /// The listener that the person came by.
    pub listener: Listener,
    /// When: `auth_time`.
    pub at: UnixTime,
    /// Whether the client was one that nobody vouches for: the grant rests on the consent of the person, who may withdraw it.
    pub consented: bool,
}

impl Approval {
    /// The approval of a person who has just tapped.
    pub fn of(
        identity: &Identity,
        address: IpAddr,
        listener: &Listener,
        vouched: Vouched,
        fresh: FreshId,
        now: UnixTime,
    ) -> Self {
        Self {
            consented: vouched == Vouched::ByNobody,
            grant: GrantId::new(&identity.subject, fresh),
            subject: identity.subject.clone(),
            device: identity.device.id.clone(),
            address,
            listener: listener.clone(),
            at: now,
        }
    }
}

impl DeviceAuthorization {
    /// Until when the record is kept.
    pub fn kept_until(&self) -> UnixTime {
        self.request.expires_at.after(REMEMBERED)
    }

    /// Tells whether a person may still answer.
    pub fn is_open(&self, now: UnixTime) -> bool {
        self.answer.is_none() && !self.request.expires_at.is_past(now)
    }
}

/// The record to write, if any, and what the change came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled<O> {
    /// The new record under the user code; `None` leaves the stored one.
    pub write: Option<DeviceAuthorization>,
    /// What the caller is told once the batch is durable.
    pub outcome: O,
}

/// What became of a new authorization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It is written.
    New,
    /// Another one has this user code: draw another.
    Taken,
}

/// What became of a person's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    /// It is written, and cannot be taken back here.
    Now,
    /// There is no such authorization (any more), or it has been answered.
    Closed,
}

/// What a poll came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Polled {
    /// No such device code.
    Unknown,
    /// The code was issued to another client: nobody gets anything by it any more. An approval's grant must be revoked.
    WrongClient(Option<GrantId>),
    /// Nobody answered in time, or the device came too late.
    Expired,
    /// Nobody has answered yet.
    Pending,
    /// The person said no.
    Denied,
    /// The person said yes; redeeming the grant comes next, and works once.
    Approved(Box<(DeviceRequest, Approval)>),
}

/// Settles a new authorization on the record under its user code.
pub fn begin(
    stored: Option<&DeviceAuthorization>,
    draft: DeviceAuthorization,
    now: UnixTime,
) -> Settled<Begun> {
    match stored {
        Some(other) if !other.kept_until().is_past(now) => Settled { write: None, outcome: Begun::Taken },
        Some(_) | None => Settled { write: Some(draft), outcome: Begun::New },
    }
}

/// Settles a person's answer to the authorization that they were shown; user codes come again, digests do not.
pub fn decide(
    stored: Option<&DeviceAuthorization>,
    shown: DeviceCodeDigest,
    answer: DeviceAnswer,
    now: UnixTime,
) -> Settled<Decided> {
    match stored {
        Some(open) if open.request.code == shown && open.is_open(now) => {
            let write = DeviceAuthorization { answer: Some(answer), ..open.clone() };
            Settled { write: Some(write), outcome: Decided::Now }
        }
        Some(_) | None => Settled { write: None, outcome: Decided::Closed },
    }
}

/// Settles a poll (RFC 8628 §3.5). The order matters: who does not have the code learns nothing, and a code in wrong hands is
/// dead before anything else is said about it.
pub fn poll(
    stored: Option<&DeviceAuthorization>,
    shown: DeviceCodeDigest,
    client: &ClientId,
    now: UnixTime,
) -> Settled<Polled> {
    let Some(known) = stored.filter(|known| known.request.code == shown) else {
        return Settled { write: None, outcome: Polled::Unknown };
    };
    if known.request.client != *client {
        let grant = match &known.answer {
            Some(DeviceAnswer::Approved(approval)) => Some(approval.grant),
            Some(DeviceAnswer::Denied) | None => None,
        };
        let denied = Some(DeviceAnswer::Denied);
        let write = (known.answer != denied)
            .then(|| DeviceAuthorization { request: known.request.clone(), answer: denied });
        return Settled { write, outcome: Polled::WrongClient(grant) };
    }
    let outcome = match &known.answer {
        Some(DeviceAnswer::Denied) => Polled::Denied,
        _ if known.request.expires_at.is_past(now) => Polled::Expired,
        None => Polled::Pending,
        Some(DeviceAnswer::Approved(approval)) => {
            Polled::Approved(Box::new((known.request.clone(), approval.clone())))
        }
    };
    Settled { write: None, outcome }
}

/// Whose the device is that asked, to the person who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation<'a> {
    /// The very device on which they answer.
    Same,
    /// Another device of theirs.
    Own,
    /// Somebody else's, who has this name.
    Foreign(&'a str),
    /// A tagged node: nobody's.
    Tagged,
    /// whois did not tell.
    Unknown,
}

impl<'a> Relation<'a> {
    /// The relation of a requester to a person.
    pub fn of(requester: Option<&'a Requester>, person: &Identity) -> Self {
        match requester {
            None => Self::Unknown,
            Some(requester) if requester.device == person.device.id => Self::Same,
            Some(Requester { owner: Owner::Tagged, .. }) => Self::Tagged,
            Some(Requester { owner: Owner::Person { subject, name }, .. }) => {
                if *subject == person.subject {
                    Self::Own
                } else {
                    Self::Foreign(name)
                }
            }
        }
    }

    /// Tells whether the person must be warned: what is approved goes to a device that is not theirs.
    pub const fn is_alien(self) -> bool {
        matches!(self, Self::Foreign(_) | Self::Tagged | Self::Unknown)
    }
}

/// Who vouches for a client (design section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vouched {
    /// An administrator: it stands in a file, or was made by command.
    ByAdministrator,
    /// Nobody: it registered itself, or its id is a document.
    ByNobody,
}

/// Judges whether a person may approve, given whose device asked: for a client that nobody vouches for, only a device of the same
/// person's may have asked (design section 6, attack A26).
///
/// # Errors
/// [`NotTheirs`].
pub fn may_approve(vouched: Vouched, relation: Relation<'_>) -> Result<(), NotTheirs> {
    match vouched {
        Vouched::ByNobody if relation.is_alien() => Err(NotTheirs),
        Vouched::ByNobody | Vouched::ByAdministrator => Ok(()),
    }
}

/// The request came from a device that is not the person's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this application may only be signed in on a device of your own")]
pub struct NotTheirs;

#[cfg(test)]
pub(crate) mod tests;
