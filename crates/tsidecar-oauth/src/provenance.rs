//! Where a client comes from: what an administrator wrote down, what registered itself, what a document says.
//!
//! Layer 1. Only facts; what they are worth is judged at each authorization ([`assurance`](crate::assurance)).

use crate::id::{DeviceId, Subject};
use crate::identity::Identity;
use crate::time::UnixTime;

/// How a client came to be known here (design section 6).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Provenance {
    /// An administrator wrote it down, in a file or by command.
    #[default]
    Administrator,
    /// It registered itself (RFC 7591).
    Registered(Registration),
    /// Its id is the URL of the document that describes it (Client ID Metadata Document).
    Document,
}

/// When and by whom a client was registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Who sent the request.
    pub by: Registrar,
    /// When (RFC 7591 §3.2.1, `client_id_issued_at`).
    pub at: UnixTime,
}

/// Who sent a registration request, so far as the network can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registrar {
    /// A program on a device of the tailnet.
    Application(Registrant),
    /// A tagged node, which is nobody's.
    Workload {
        /// The name of the node.
        node: String,
    },
    /// A web page in somebody's browser: a page is not the person (attack A33).
    Page,
    /// Somebody on the internet, through Funnel.
    Outside,
}

/// The person and device behind a registration, as whois named them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registrant {
    /// The person.
    pub subject: Subject,
    /// Their login name, for people to read.
    pub login: String,
    /// The device.
    pub device: DeviceId,
    /// Its name, for people to read.
    pub device_name: String,
}

impl Registrant {
    /// The person and device of an identity.
    pub fn of(identity: &Identity) -> Self {
        Self {
            subject: identity.subject.clone(),
            login: identity.login.clone(),
            device: identity.device.id.clone(),
            device_name: identity.device.name.clone(),
        }
    }

    /// Tells whether this is the same person on the same device.
    pub fn is(&self, identity: &Identity) -> bool {
        self.subject == identity.subject && self.device == identity.device.id
    }
}
